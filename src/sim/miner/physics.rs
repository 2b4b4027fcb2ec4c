//! What a miner does with power over time: a pure function of commands and time, without sockets or clocks.
//!
//! ```text
//!                 wake               start time over           target + overshoot reached
//!   Asleep ───────────────► Starting ───────────────► Rising ───────────────────────────► Tuning
//!     ▲                        ▲                                                             │ hold over
//!     │ sleep (any state)      │ restart, or set below the least stable power                ▼
//!     └────────────────────────┴──────────────────────────────────────────────────────── Hashing
//!
//!   Rebooting: control board down, then Starting (or Asleep where the firmware remembers it).
//!   Tripped:   stopped by a fault of its own until the fault is cleared, then Starting.
//!   Dark:      without power, then Rebooting and Starting with all forgotten.
//! ```
//!
//! Between two events the draw is a straight line, so every filter has an exact solution and the state can be
//! carried over any span of time in a handful of steps.
//!
//! Each miner differs from its model by what its seed gives: the controller is told the model, the plant has
//! the truth. A scenario may bend it further ([`Deviation`]).

mod body;
mod job;
mod readings;

use std::time::Duration;

use crate::clock::Moment;
use crate::control::site::Miner;
use crate::units::Watts;

use super::Initial;
use super::noise::Noise;
use crate::sim::scenario::Deviation;
use body::{Body, channel};

pub use body::Habits;
pub use job::Work;

/// Time constant of the hashrate behind the draw, in seconds: shares need a while to show.
const HASHRATE_LAG: f64 = 3.0;
/// Time constant of warming up, in seconds.
const THERMAL_LAG: f64 = 240.0;
/// Time constant of the five-minute average that some firmware reports, in seconds.
const AVERAGE_LAG: f64 = 100.0;
/// Fans and capacitors after a stop: this fraction of the nameplate power, fading with [`TAIL_LAG`].
const TAIL_FRACTION: f64 = 0.01;
/// Time constant of that tail, in seconds.
const TAIL_LAG: f64 = 15.0;
/// Commands that may wait for their dead time at once; firmware keeps the latest, this is only a bound.
const PENDING_MAX: usize = 8;
/// How far below the least stable power a setting may fall, as a fraction of the rated power, before mining
/// restarts: settings in whole percent cannot hit the least power exactly.
const MINIMUM_SLACK: f64 = 0.02;
/// Time from `set_power_pct_v2` or mode `normal` to the new power, for the whole range: "a few minutes".
const GENTLE_SPAN: f64 = 180.0;
/// Standard deviation of one power reading.
const READING_NOISE: f64 = 0.003;
/// Time between two refreshes of the reported power.
const REFRESH: Duration = Duration::from_secs(1);
/// From the acceptance of a reboot command to the control board going down.
const REBOOT_NOTICE: Duration = Duration::from_millis(400);

/// What a miner is doing, as it is in truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MinerState {
    /// The control board is down, or without power: nothing answers.
    Rebooting,
    /// Stopped on command.
    Asleep,
    /// On its way to hashing, boards not yet under power.
    Starting,
    /// Hashing, but still ramping up and looking for its frequency.
    Tuning,
    /// Hashing at its setting.
    Hashing,
    /// Stopped by a fault of its own.
    Tripped,
}

/// What the power is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    /// Percent of the stable power at 100 %.
    Percent(f64),
    /// Watts at the wall.
    Watts(Watts),
}

/// How quickly a setting is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At the ramps of the model.
    Quick,
    /// Over minutes, for efficiency's sake.
    Gentle,
}

/// Where it is in its life; the times are the ends of states that end by themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Rebooting { until: Moment, then: AfterBoot },
    Asleep { since: Moment },
    Starting { until: Moment },
    Rising,
    Tuning { until: Moment },
    Hashing,
    Tripped { since: Moment },
    Dark { boot: Duration },
}

/// What follows a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterBoot {
    Start,
    Sleep,
    Trip,
}

/// What happens when a dead time is over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Apply(Setting, Pace),
    Sleep,
    Reboot { off_for: Duration },
}

/// The state of one simulated miner's power train.
#[derive(Clone, Debug)]
pub struct Physics {
    body: Body,
    habits: Habits,
    noise: Noise,
    /// Everything below is true at this moment.
    at: Moment,
    phase: Phase,
    pending: Vec<(Moment, Action)>,
    /// The power limit: what 100 % is. Survives everything.
    limit: f64,
    /// The setting in force; `None` is the power limit.
    setting: Option<Setting>,
    /// The setting that waits for tuning to end.
    waiting: Option<(Setting, Pace)>,
    pace: Pace,
    /// Draw without drift and tail, in watts.
    draw: f64,
    /// Draw behind the filter of the reported value, before noise.
    filtered: f64,
    /// The same behind a slow filter.
    average: f64,
    /// Draw behind the lag of the hashrate.
    hashing: f64,
    /// Warmth, 0 cold to 1 at nameplate power.
    warmth: f64,
    /// The reported value of the latest refresh.
    reported: f64,
    /// Which refresh that was.
    refresh: Option<u64>,
    mining_since: Moment,
    up_since: Moment,
    /// Uptime that it had before the simulation began.
    head_start: Duration,
    restarts: u32,
    /// What it works on, where it is a server with jobs.
    jobs: Option<job::Jobs>,
}

/// A first-order filter's output after `time`, when its input starts at `input` and changes by `slope` a second.
fn lagged(output: f64, input: f64, slope: f64, lag: f64, time: f64) -> f64 {
    // A filter that has come to rest stays there; most do, most of the time.
    if slope.to_bits() << 1 == 0 && (output - input).abs() < 1e-9 {
        return input;
    }
    let offset = slope * lag;
    input + slope * time - offset + (output - input + offset) * (-time / lag).exp()
}

impl Physics {
    /// A miner that hashes, settled and warm, at a fraction of its rated power (the least it can at 0).
    pub fn hashing(spec: &Miner, rated: Watts, habits: Habits, seed: u64, fraction: f64) -> Self {
        Self::new(spec, rated, habits, seed, Initial::Hashing { fraction }, &Deviation::NONE)
    }

    /// A miner that was put to sleep a while ago.
    pub fn asleep(spec: &Miner, rated: Watts, habits: Habits, seed: u64) -> Self {
        Self::new(spec, rated, habits, seed, Initial::Asleep, &Deviation::NONE)
    }

    /// A miner that differs from its model, settled as it is in the beginning.
    pub fn new(
        spec: &Miner,
        rated: Watts,
        habits: Habits,
        seed: u64,
        initial: Initial,
        differs: &Deviation,
    ) -> Self {
        let mut physics = Self::cold(spec, rated, habits, seed, differs);
        let Initial::Hashing { fraction } = initial else {
            physics.draw = physics.body.sleep;
            physics.settle();
            return physics;
        };
        let fraction = if fraction.is_finite() { fraction } else { 1.0 };
        if fraction < 1.0 {
            let watts = (physics.limit * fraction).max(physics.body.minimum);
            physics.setting = Some(if habits.waits_for_tuning {
                Setting::Percent(100.0 * watts / physics.limit)
            } else {
                Setting::Watts(Watts::saturating(watts))
            });
        }
        physics.phase = Phase::Hashing;
        physics.draw = physics.goal();
        physics.settle();
        physics
    }

    fn cold(spec: &Miner, rated: Watts, habits: Habits, seed: u64, differs: &Deviation) -> Self {
        let noise = Noise::new(seed);
        let body = Body::new(spec, &habits, noise, differs);
        let limit = rated.get().clamp(1.0, body.nameplate.max(1.0));
        Self {
            habits,
            noise,
            at: Moment::START,
            phase: Phase::Asleep { since: Moment::START },
            pending: Vec::new(),
            limit,
            setting: None,
            waiting: None,
            pace: Pace::Quick,
            draw: 0.0,
            filtered: 0.0,
            average: 0.0,
            hashing: 0.0,
            warmth: 0.0,
            reported: 0.0,
            refresh: None,
            mining_since: Moment::START,
            up_since: Moment::START,
            head_start: Duration::from_secs_f64(noise.between(channel::UPTIME, 0, 3_600.0, 400_000.0)),
            restarts: 0,
            jobs: None,
            body,
        }
    }

    /// Lets every filter forget its past.
    fn settle(&mut self) {
        self.filtered = self.draw;
        self.average = self.draw;
        self.hashing = if self.is_powered() { self.draw } else { 0.0 };
        self.warmth = self.draw / self.body.nameplate.max(1.0);
        self.reported = self.draw * self.body.says;
    }

    /// Boards are under power.
    fn is_powered(&self) -> bool {
        matches!(self.phase, Phase::Rising | Phase::Tuning { .. } | Phase::Hashing)
    }

    /// What a setting asks for, in watts, before any error.
    fn nominal(&self, setting: Option<Setting>) -> f64 {
        match setting {
            None => self.limit,
            Some(Setting::Percent(percent)) => self.limit * percent / 100.0,
            Some(Setting::Watts(watts)) => watts.get(),
        }
    }

    /// Where the draw settles under the setting in force.
    fn goal(&self) -> f64 {
        let nominal = self.nominal(self.setting).clamp(self.body.minimum, self.body.nameplate);
        // A quick percentage is only approximate, a different miss for each value (API 2.0.5, set_power_pct).
        let approximate = match (self.setting, self.pace) {
            (Some(Setting::Percent(percent)), Pace::Quick) => {
                0.005 * self.noise.between(channel::APPROXIMATE, percent.to_bits(), -1.0, 1.0)
            }
            _ => 0.0,
        };
        (nominal * (1.0 + self.body.error + approximate)).min(self.body.nameplate)
    }

    /// Where the draw is going and how fast.
    fn course(&self) -> (f64, f64) {
        let body = &self.body;
        let goal = match self.phase {
            Phase::Dark { .. } => 0.0,
            Phase::Rebooting { .. } => body.sleep * 0.5,
            Phase::Asleep { .. } | Phase::Tripped { .. } => body.sleep,
            Phase::Starting { .. } => body.sleep + 0.004 * body.nameplate,
            Phase::Rising | Phase::Tuning { .. } => {
                (self.goal() * (1.0 + body.overshoot)).min(body.nameplate)
            }
            Phase::Hashing => self.goal(),
        };
        let gentle = self.limit / GENTLE_SPAN;
        let rate = match self.phase {
            // Power is cut, not ramped; only what is in the capacitors takes a moment.
            Phase::Rebooting { .. } | Phase::Tripped { .. } | Phase::Starting { .. } => body.nameplate * 4.0,
            Phase::Dark { .. } => body.nameplate * 100.0,
            Phase::Asleep { .. } => body.ramp_down.max(body.nameplate / 3.0),
            Phase::Hashing if self.pace == Pace::Gentle => gentle,
            _ if goal < self.draw => body.ramp_down,
            _ => body.ramp_up,
        };
        (goal, rate.max(1.0))
    }

    /// Carries the state to `now`. An earlier moment changes nothing.
    fn advance(&mut self, now: Moment) {
        while self.at < now {
            let (goal, rate) = self.course();
            let distance = goal - self.draw;
            let mut until = now;
            if distance.abs() > 1e-9 {
                let time = Duration::try_from_secs_f64(distance.abs() / rate).unwrap_or(Duration::MAX);
                until = until.min(self.at + time.max(Duration::from_micros(1)));
            }
            if let Some((due, _)) = self.pending.first() {
                until = until.min(*due);
            }
            if let Phase::Rebooting { until: end, .. }
            | Phase::Starting { until: end }
            | Phase::Tuning { until: end } = self.phase
            {
                until = until.min(end);
            }
            self.flow(until, goal, rate);
            self.events();
        }
    }

    /// A stretch without events.
    fn flow(&mut self, until: Moment, goal: f64, rate: f64) {
        let time = until.since(self.at).as_secs_f64();
        let distance = goal - self.draw;
        let step = (rate * time).min(distance.abs());
        let end = if (distance.abs() - step) < 1e-9 { goal } else { self.draw + step.copysign(distance) };
        if time > 0.0 {
            let slope = (end - self.draw) / time;
            self.filtered = lagged(self.filtered, self.draw, slope, self.habits.report_lag, time);
            self.average = lagged(self.average, self.draw, slope, AVERAGE_LAG, time);
            let (input, change) = if self.is_powered() { (self.draw, slope) } else { (0.0, 0.0) };
            self.hashing = lagged(self.hashing, input, change, HASHRATE_LAG, time);
            let full = self.body.nameplate.max(1.0);
            self.warmth = lagged(self.warmth, self.draw / full, slope / full, THERMAL_LAG, time);
        }
        self.draw = end;
        self.at = until;
    }

    /// What is due at the present moment.
    fn events(&mut self) {
        while let Some((due, action)) = self.pending.first().copied() {
            if due > self.at {
                break;
            }
            self.pending.remove(0);
            self.act(action);
        }
        match self.phase {
            Phase::Rebooting { until, then } if until <= self.at => {
                self.up_since = self.at;
                self.mining_since = self.at;
                match then {
                    AfterBoot::Start => self.start(),
                    AfterBoot::Sleep => self.phase = Phase::Asleep { since: self.at },
                    AfterBoot::Trip => self.phase = Phase::Tripped { since: self.at },
                }
            }
            Phase::Starting { until } if until <= self.at => self.phase = Phase::Rising,
            Phase::Rising if (self.course().0 - self.draw).abs() < 1e-6 => {
                self.phase = Phase::Tuning { until: self.at + self.body.hold };
            }
            Phase::Tuning { until } if until <= self.at => {
                self.phase = Phase::Hashing;
                if let Some((setting, pace)) = self.waiting.take() {
                    self.order(setting, pace);
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Apply(setting, pace) => {
                self.setting = Some(setting);
                self.pace = pace;
            }
            Action::Sleep => self.phase = Phase::Asleep { since: self.at },
            Action::Reboot { off_for } => {
                let then = match self.phase {
                    Phase::Asleep { .. } if self.habits.keeps_sleep => AfterBoot::Sleep,
                    Phase::Tripped { .. } => AfterBoot::Trip,
                    _ => AfterBoot::Start,
                };
                self.forget();
                self.head_start = Duration::ZERO;
                self.phase = Phase::Rebooting { until: self.at + off_for, then };
            }
        }
    }

    /// The setting that was given last, whether in force yet or not.
    fn latest(&self) -> Option<Setting> {
        let queued = self.pending.iter().rev().find_map(|(_, action)| match action {
            Action::Apply(setting, _) => Some(*setting),
            Action::Sleep | Action::Reboot { .. } => None,
        });
        self.waiting.map(|(setting, _)| setting).or(queued).or(self.setting)
    }

    /// A reboot or a restart of the mining software: what is not saved is gone, what is saved is in force.
    fn forget(&mut self) {
        self.setting = self.latest().filter(|setting| match setting {
            Setting::Percent(_) => self.habits.keeps_percent,
            Setting::Watts(_) => true,
        });
        self.pending.clear();
        self.waiting = None;
        self.pace = Pace::Quick;
    }

    /// The boards are brought up.
    fn start(&mut self) {
        self.phase = Phase::Starting { until: self.at + self.body.start_time };
    }

    /// Queues an action behind its dead time; it wins over an older one of its kind that would come later.
    fn queue(&mut self, delay: Duration, action: Action) {
        let due = self.at + delay;
        let kind = std::mem::discriminant(&action);
        self.pending.retain(|(other, earlier)| *other < due || std::mem::discriminant(earlier) != kind);
        self.pending.truncate(PENDING_MAX - 1);
        self.pending.push((due, action));
        self.pending.sort_by_key(|(due, _)| *due);
    }

    /// Takes a setting while hashing.
    fn order(&mut self, setting: Setting, pace: Pace) {
        let nominal = self.nominal(Some(setting));
        let restarts = nominal < self.body.restart_below - MINIMUM_SLACK * self.limit;
        if self.habits.restarts_below_minimum && restarts {
            self.restart_at_once();
            return;
        }
        let delay = if nominal < self.draw { self.body.dead_down } else { self.body.dead_up };
        self.queue(delay, Action::Apply(setting, pace));
    }

    fn restart_at_once(&mut self) {
        self.forget();
        self.restarts = self.restarts.saturating_add(1);
        self.mining_since = self.at;
        self.start();
    }

    /// Sets the power. While it sleeps or starts the setting is kept for later; see [`Habits::waits_for_tuning`].
    pub fn set(&mut self, setting: Setting, pace: Pace, now: Moment) {
        self.advance(now);
        match self.phase {
            Phase::Hashing => self.order(setting, pace),
            Phase::Rebooting { .. } | Phase::Dark { .. } => {}
            _ if self.habits.waits_for_tuning => self.waiting = Some((setting, pace)),
            Phase::Rising | Phase::Tuning { .. } => self.order(setting, pace),
            Phase::Asleep { .. } | Phase::Starting { .. } | Phase::Tripped { .. } => {
                self.setting = Some(setting);
                self.pace = pace;
            }
        }
    }

    /// Back to the power limit.
    pub fn restore(&mut self, now: Moment) {
        self.set(Setting::Percent(100.0), Pace::Quick, now);
    }

    /// Stops mining, behind the dead time of a lowering.
    pub fn sleep(&mut self, now: Moment) {
        self.advance(now);
        match self.phase {
            Phase::Hashing | Phase::Rising | Phase::Tuning { .. } => {
                self.queue(self.body.dead_down, Action::Sleep);
            }
            Phase::Starting { .. } => {
                self.pending.clear();
                self.phase = Phase::Asleep { since: self.at };
            }
            Phase::Rebooting { .. } | Phase::Asleep { .. } | Phase::Tripped { .. } | Phase::Dark { .. } => {}
        }
    }

    /// Starts mining. Does nothing to a miner that mines, and takes back a sleep that has not begun.
    pub fn wake(&mut self, now: Moment) {
        self.advance(now);
        self.pending.retain(|(_, action)| *action != Action::Sleep);
        if matches!(self.phase, Phase::Asleep { .. }) {
            if self.habits.sleep_ends_software {
                self.mining_since = self.at;
            }
            self.start();
        }
    }

    /// Restarts the mining software, as a change of the power limit or mode does: minutes at nothing.
    pub fn restart(&mut self, limit: Option<Watts>, now: Moment) {
        self.advance(now);
        if let Some(limit) = limit {
            self.limit = limit.get().clamp(1.0, self.body.nameplate.max(1.0));
            // A setting from before would hide the new limit.
            self.setting = None;
            self.waiting = None;
            self.pending.retain(|(_, action)| !matches!(action, Action::Apply(..)));
        }
        if self.is_powered() || matches!(self.phase, Phase::Starting { .. }) {
            self.restart_at_once();
        }
    }

    /// Takes the control board down for a while, at once.
    pub fn cut(&mut self, off_for: Duration, now: Moment) {
        self.advance(now);
        if !self.is_down() {
            self.act(Action::Reboot { off_for });
        }
    }

    /// The same on command: the answer still goes out.
    pub fn reboot(&mut self, off_for: Duration, now: Moment) {
        self.advance(now);
        if !self.is_down() {
            self.queue(REBOOT_NOTICE, Action::Reboot { off_for });
        }
    }

    /// The control board is down.
    fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Rebooting { .. } | Phase::Dark { .. })
    }

    /// Takes the power away. All that it was told is forgotten: what comes after is its maximum.
    pub fn black_out(&mut self, boot: Duration, now: Moment) {
        self.advance(now);
        self.pending.clear();
        self.waiting = None;
        self.setting = None;
        self.pace = Pace::Quick;
        self.head_start = Duration::ZERO;
        self.phase = Phase::Dark { boot };
    }

    /// The power is back: boots, and starts by itself.
    pub fn power_returns(&mut self, now: Moment) {
        self.advance(now);
        if let Phase::Dark { boot } = self.phase {
            self.phase = Phase::Rebooting { until: self.at + boot, then: AfterBoot::Start };
        }
    }

    /// Stops by a fault of its own.
    pub fn trip(&mut self, now: Moment) {
        self.advance(now);
        self.forget();
        match &mut self.phase {
            Phase::Rebooting { then, .. } => *then = AfterBoot::Trip,
            // Without power there is nothing that could trip.
            Phase::Dark { .. } => {}
            phase => *phase = Phase::Tripped { since: self.at },
        }
    }

    /// The fault is gone: starts again.
    pub fn untrip(&mut self, now: Moment) {
        self.advance(now);
        match &mut self.phase {
            Phase::Rebooting { then, .. } if *then == AfterBoot::Trip => *then = AfterBoot::Start,
            Phase::Tripped { .. } => {
                self.forget();
                self.mining_since = self.at;
                self.start();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
