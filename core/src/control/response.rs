//! How a miner's draw follows its commands: what is in flight, what is late, and what was learned.
//!
//! For each miner the track holds the command that was sent, what the draw was then, and where it will settle.
//! The estimate of the draw *now* is the latest reading, moved by what the model says has happened since; without
//! a reading it is the model alone. The bound that budgets count is never below the estimate.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::allocate::curve;
use crate::control::decision::MinerState;
use crate::control::settle::Settling;
use crate::control::site::{Actuator, LoadClass, Miner, OperatingPoint, Settings};
use crate::control::snapshot::{
    Activity, Contact, Delivery, Hold, Measured, MinerInput, MinerStatus, Outcome, Reading, Rejection, Target,
};
use crate::moment::Moment;
use crate::units::{Hashrate, Watts};

mod answering;
mod judge;
mod learn;
mod peak;

use answering::{Answering, SETTING, SWITCHING};
use judge::beside_a_cap;
use peak::{ENVELOPE, Peak};

/// How far the learned response times may lie from the model's.
pub(super) const PACE_RANGE: (f64, f64) = (0.5, 30.0);
/// Weight of a new observation of the response time.
const PACE_WEIGHT: f64 = 0.3;
/// A draw within this fraction of the target, or of the nameplate, has arrived.
const NEAR: (f64, f64) = (0.04, 0.018);
/// A draw that changes by less than this share of the nameplate per second is steady.
const STEADY: f64 = 0.002;
/// Two readings closer than this do not tell whether a draw is steady.
const STEADY_OVER: Duration = Duration::from_secs(2);
/// A draw that has stood for so long is no stage of a slow climb.
const STOOD: Duration = Duration::from_secs(10);
/// So long after its way the draw has been said, too.
const REPORTED: Duration = Duration::from_secs(2);
/// A miner that went less than this share of its way has not moved.
const MOVED: f64 = 0.2;
/// A way shorter than this share of the nameplate is no proof that a miner does not move: its floor may be in between.
const SHORT_WAY: f64 = 0.15;
/// A miner that says it draws more than this many times its nameplate says nothing.
const ABSURD: f64 = 1.5;
/// For so long a miner that reports a fault may return by itself to where it was put.
const MAY_RETURN: Duration = Duration::from_secs(120);
/// A miner that did not move when it was told to is not counted on for so long, at first and at the most.
const DEAF: (Duration, Duration) = (Duration::from_secs(1_800), Duration::from_secs(8 * 3_600));
/// A start is not counted with before this part of the time that it should take, and of the time that it has taken
/// before.
const QUIET_START: (f64, f64) = (0.6, 0.8);
/// One that began by itself, before this part.
const QUIET_RESTART: f64 = 0.4;
/// How long a miner may tune after it has started before it is late.
const TUNING: Duration = Duration::from_secs(60);
/// How far beyond the configured bounds a point of the device may lie, as a fraction of the nameplate.
const POINT_SLACK: f64 = 0.01;
/// More points than any firmware offers.
const MOST_POINTS: usize = 128;
/// Longest pause between two tries to move a miner that does not follow.
const LONGEST_RETRY: Duration = Duration::from_secs(600);

/// A command as the control law remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Its number.
    pub sequence: u64,
    /// When it was decided.
    pub at: Moment,
    /// Where the miner was put before; of several that were not answered, the highest.
    pub previous: Option<Target>,
    /// The estimated draw at that moment, in watts.
    pub from: f64,
    /// Whether the miner was asleep then.
    pub from_sleep: bool,
    /// When it went out to the miner, as far as that was seen: it may have waited behind another one.
    #[serde(default)]
    pub out: Option<Moment>,
    /// Whether its outcome was looked at already.
    pub answered: bool,
    /// Whether the miner said yes.
    pub accepted: bool,
    /// Whether it was sent because an earlier one was not followed.
    pub escalated: bool,
    /// Whether the draw has been seen to arrive.
    pub arrived: bool,
    /// Whether a reading since has shown the draw well on its way.
    pub moving: bool,
    /// Whether a start that it asked for has begun to draw power.
    pub begun: bool,
    /// Whether it asks for no more than the setpoint before.
    pub lowers: bool,
    /// Whether it asks for less than that, or repeats one that did and was not followed.
    #[serde(default)]
    pub lowered: bool,
    /// Since when it moves this way without having got anywhere: a new command in the same direction does not
    /// give a miner that ignores all of them more time.
    pub stuck_since: Moment,
    /// The draw at that moment, in watts.
    pub stuck_at: f64,
}

/// What is known of one miner from cycle to cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Track {
    /// Where the miner was put, by a command or by adopting what it did.
    pub setpoint: Option<Target>,
    /// The latest command; `None` when the setpoint was adopted.
    pub sent: Option<Sent>,
    /// Where it settles, learned.
    pub settling: Settling,
    /// Response time over the model's, learned.
    pub pace: f64,
    /// From waking until the draw rises, learned, in seconds.
    pub start: Option<f64>,
    /// How long it takes to answer a command that sets its power, and one that puts it to sleep or wakes it.
    sets: Answering,
    switches: Answering,
    /// Since when it is starting, by command or by itself.
    start_at: Option<Moment>,
    /// What it draws steadily at its present setpoint.
    holds: Option<f64>,
    /// It has been seen to move when it was told to.
    pub proven: bool,
    /// It did not move when it was told to: until then it is not counted on, and the next such time is twice as long.
    deaf_until: Option<Moment>,
    deaf_for: Duration,
    /// Since when it reports a fault.
    fault_since: Option<Moment>,
    /// What it said last that it draws, in watts; nothing until it has said so.
    pub said: f64,
    /// The most that it drew lately.
    peak: Peak,
    /// The reading before, to tell what is steady.
    reading: Option<(Moment, f64)>,
    /// The first of the readings since which the draw has not left the band of its noise.
    standing: Option<(Moment, f64)>,
    /// Failed tries to move it, in a row: refused, unanswered, or accepted and not followed.
    pub failures: u32,
    /// The latest command may or may not have arrived.
    pub unanswered: bool,
    /// Nothing is tried again before this moment.
    pub retry_at: Moment,
    /// Since when it is asleep by command or adoption.
    pub asleep_since: Option<Moment>,
    /// When its power was last raised.
    pub raised_at: Option<Moment>,
    /// How it is counted.
    pub state: MinerState,
    /// Best estimate of its draw now, in watts.
    pub draw: f64,
    /// The most it may draw before the next command acts, in watts.
    pub counted: f64,
    /// The range of targets that the device itself accepts, in watts, where it says.
    pub range: Option<(f64, f64)>,
    /// The powers at which the device can run by its own word, within the bounds of the configuration; `None` where
    /// those of the configuration stand.
    pub points: Option<Arc<[OperatingPoint]>>,
    /// The points as the device told them, so that the same ones are not looked at again.
    told: Option<Arc<[OperatingPoint]>>,
    /// Its circuit is open: nothing can draw there.
    pub dead: bool,
    /// How it is kept in this cycle, because somebody works on it.
    pub hold: Option<Hold>,
    /// It said last that its target is the one that it was put to.
    pub agreed: bool,
    /// When it was last seen that somebody else had moved it.
    pub moved_at: Option<Moment>,
    /// Since when it has not answered, as of the latest cycle.
    silent_since: Option<Moment>,
    /// Moment of the reading that was last learned from.
    learned_at: Option<Moment>,
    /// Uptime of that reading, to notice restarts.
    uptime: Option<Duration>,
    /// It was starting in the cycle before.
    was_starting: bool,
    /// The miner restarted by itself: a setting that does not persist is gone.
    pub restarted: bool,
    /// Its draw was seen in this cycle, for the first time, where the latest command put it: how long after that.
    pub responded: Option<Duration>,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            setpoint: None,
            sent: None,
            settling: Settling::default(),
            pace: 1.0,
            start: None,
            sets: Answering::default(),
            switches: Answering::default(),
            start_at: None,
            holds: None,
            proven: false,
            deaf_until: None,
            deaf_for: DEAF.0,
            fault_since: None,
            said: 0.0,
            peak: Peak::default(),
            reading: None,
            standing: None,
            failures: 0,
            unanswered: false,
            retry_at: Moment::START,
            asleep_since: None,
            raised_at: None,
            state: MinerState::Pending,
            draw: 0.0,
            counted: 0.0,
            range: None,
            points: None,
            told: None,
            dead: false,
            hold: None,
            agreed: false,
            moved_at: None,
            silent_since: None,
            learned_at: None,
            uptime: None,
            was_starting: false,
            restarted: false,
            responded: None,
        }
    }
}

impl Track {
    /// The draw at which a target settles, in the miner's own watts, never above the most that it can draw.
    pub fn settled(&self, miner: &Miner, target: Option<Target>) -> f64 {
        match target {
            Some(Target::Sleep) => self.sleep(miner),
            Some(Target::Power(power)) => self.settling.power(power.get()).min(self.most(miner)),
            None => self.most(miner),
        }
    }

    /// What it draws in the end where it was put: seen, where it has been steady there, else as learned.
    pub fn held(&self, miner: &Miner) -> f64 {
        self.holds.unwrap_or_else(|| self.settled(miner, self.setpoint))
    }

    /// The most that it will draw in the next seconds where it was put, by what it drew lately; infinite where that says nothing.
    ///
    /// A cap above what a job draws saves nothing and takes nothing: what such a server might draw, and does not, is left to
    /// others while a meter would show it.
    pub fn expected_draw(&self, miner: &Miner, now: Moment) -> f64 {
        if miner.class == LoadClass::Miner || self.state != MinerState::Hashing {
            return f64::INFINITY;
        }
        if self.sent.is_some_and(|sent| !sent.lowers && now - sent.at < ENVELOPE * 2) {
            return f64::INFINITY;
        }
        self.peak.most().map_or(f64::INFINITY, |most| most.max(self.draw))
    }

    /// The lowest that it can be told, by the device's own word too.
    pub fn lowest(&self, miner: &Miner) -> Target {
        match (miner.lowest(), self.range) {
            (Target::Power(power), Some((least, _))) => {
                Target::Power(power.max(Watts::saturating(least)).min(miner.maximum()))
            }
            (lowest, _) => lowest,
        }
    }

    /// Its draw asleep; of one that does not sleep, at its lowest point.
    pub fn sleep(&self, miner: &Miner) -> f64 {
        match self.lowest(miner) {
            Target::Sleep => self.settling.sleep().unwrap_or(miner.sleep.get()),
            lowest @ Target::Power(_) => self.settled(miner, Some(lowest)),
        }
    }

    /// The most that it can draw, in watts as it reports them.
    pub fn most(&self, miner: &Miner) -> f64 {
        miner.nameplate.get() * self.settling.scale().max(1.0)
    }

    /// The most that it may draw while it starts.
    pub fn start_draw(&self, miner: &Miner) -> f64 {
        let goal = self.settled(miner, self.setpoint);
        let full = if miner.response.starts_at_full {
            self.settled(miner, Some(Target::Power(miner.maximum())))
        } else {
            0.0
        };
        (goal.max(full) * (1.0 + miner.response.start_overshoot))
            .min(self.most(miner) * (1.0 + miner.response.start_overshoot))
    }

    /// It starts, and it is too early for it to draw anything to speak of.
    pub fn quiet_start(&self, miner: &Miner, now: Moment) -> bool {
        let Some(since) = self.start_at else { return false };
        let model = miner.response.start_time.as_secs_f64();
        let by_itself = self.restarted || !self.sent.is_some_and(|sent| sent.from_sleep);
        let quiet = if by_itself {
            model * QUIET_RESTART
        } else {
            self.start.map_or(model * QUIET_START.0, |known| known * QUIET_START.1)
        };
        (now - since).as_secs_f64() < quiet && self.draw < miner.minimum().get() * MOVED
    }

    /// Whether it will have started before one that is woken now begins to draw.
    pub fn starts_before(&self, miner: &Miner, now: Moment) -> bool {
        let model = miner.response.start_time.as_secs_f64();
        let takes = self.start.unwrap_or(model * 1.2) + TUNING.as_secs_f64() / 2.0;
        self.start_at.is_some_and(|since| (now - since).as_secs_f64() + model * QUIET_START.0 > takes)
    }

    /// It did not move when it was told to, and is not counted on for a while.
    pub fn is_deaf(&self) -> bool {
        self.deaf_until.is_some()
    }

    /// The latest command was not answered in its time, and nothing shows that it has been carried out.
    pub fn unheard(&self, now: Moment) -> bool {
        let Some(sent) = self.sent.filter(|sent| !sent.arrived && !sent.moving) else { return false };
        let late = !sent.answered && (now - sent.at).as_secs_f64() > self.patience(&sent);
        late || self.unanswered
    }

    /// Whether the latest command puts it to sleep or wakes it.
    fn is_switched(&self, sent: &Sent) -> bool {
        self.setpoint == Some(Target::Sleep) || sent.previous == Some(Target::Sleep)
    }

    /// For how long the latest command may go without an answer, in seconds.
    fn patience(&self, sent: &Sent) -> f64 {
        if self.is_switched(sent) { self.switches.patience(SWITCHING) } else { self.sets.patience(SETTING) }
    }

    /// Where the model says that the draw is at a moment, on the way of the latest command.
    pub(super) fn modelled(&self, miner: &Miner, moment: Moment) -> f64 {
        self.on_the_way(miner, self.settled(miner, self.setpoint), moment)
    }

    /// The same, where it is known already where it settles.
    fn on_the_way(&self, miner: &Miner, goal: f64, moment: Moment) -> f64 {
        self.at_pace(miner, goal, moment, self.pace)
    }

    /// The same at another pace.
    fn at_pace(&self, miner: &Miner, goal: f64, moment: Moment, pace: f64) -> f64 {
        let Some(sent) = self.sent else { return goal };
        let (dead, ramp, notice) = self.manner(miner, goal < sent.from, sent.from_sleep);
        let moving = (moment - sent.at).as_secs_f64() - dead.as_secs_f64() * pace - notice.as_secs_f64();
        if moving <= 0.0 {
            return sent.from;
        }
        let moved = moving * ramp / pace;
        if goal < sent.from { (sent.from - moved).max(goal) } else { (sent.from + moved).min(goal) }
    }

    /// By how much less than estimated it may be drawing on its way down: what it says is a mean, or old, and its pace was learned from
    /// that.
    pub fn further(&self, miner: &Miner, now: Moment) -> f64 {
        let known = matches!(self.state, MinerState::Hashing | MinerState::Asleep);
        let Some(sent) = self.sent.filter(|sent| known && sent.lowers && sent.accepted && !sent.arrived)
        else {
            return 0.0;
        };
        // It is late, or stays where it is.
        if now > sent.at + self.way(miner).mul_f64(1.5) + REPORTED {
            return 0.0;
        }
        let goal = self.settled(miner, self.setpoint);
        (self.draw - self.at_pace(miner, goal, now, self.pace.min(1.0))).max(0.0)
    }

    /// How long the way of the latest command should take.
    fn expected(&self, miner: &Miner, from: f64, from_sleep: bool, goal: f64) -> Duration {
        let (dead, ramp, notice) = self.manner(miner, goal < from, from_sleep);
        let ramping = if ramp > 0.0 { (goal - from).abs() / ramp } else { 0.0 };
        let seconds = (dead.as_secs_f64() + ramping) * self.pace + notice.as_secs_f64();
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_RETRY)
    }

    /// How long the way of the latest command should take; nothing without one.
    pub fn way(&self, miner: &Miner) -> Duration {
        let goal = self.settled(miner, self.setpoint);
        self.sent.map_or(Duration::ZERO, |sent| self.expected(miner, sent.from, sent.from_sleep, goal))
    }

    /// Takes in what the snapshot says of the miner and brings the estimates up to now.
    pub fn update(&mut self, miner: &Miner, settings: &Settings, input: &MinerInput, now: Moment) {
        self.dead = false;
        self.sets.may_take(miner.answer_within.set);
        self.switches.may_take(miner.answer_within.switch);
        let status = input.status.as_ref();
        self.responded = None;
        self.note_delivery(input.delivery.as_ref(), now);
        let busy = |since| self.busy(input.delivery.as_ref(), since, now);
        let fresh = status.filter(|status| now - status.at <= miner.silent_after + busy(status.at));
        if let Some(status) = fresh {
            self.note_restart(miner, &status.value, status.at);
            self.range = status.value.range.map(|(low, high)| (low.get(), high.get())).or(self.range);
            self.note_points(miner, status.value.points.as_ref());
        }
        let absurd = miner.nameplate.get() * ABSURD;
        let reading = status
            .and_then(|status| status.value.power.value().map(|power| (status.at, power.get().max(0.0))))
            .filter(|(_, power)| *power <= absurd);
        // A miner that reports no power at all is known by what it says it does.
        let reading = reading.or_else(|| {
            fresh.and_then(|status| match (&status.value.activity, status.value.power) {
                (Activity::Asleep, Measured::Unsupported | Measured::Unavailable) => {
                    Some((status.at, self.sleep(miner)))
                }
                _ => None,
            })
        });
        let goal = self.settled(miner, self.setpoint);
        let stays = || self.stays(miner, fresh);
        // Until its hook says that it is paused, a server is known to come down to its lowest cap, and no further.
        let known = if self.yet_to_pause(miner, fresh.map(|status| &status.value.activity)) {
            goal.max(self.settled(miner, Some(Target::Power(miner.minimum()))))
        } else {
            goal
        };
        self.draw = reading
            .is_none()
            .then(stays)
            .flatten()
            .unwrap_or_else(|| self.estimate(miner, known, reading, now));
        self.said = reading.map_or(self.said, |(_, power)| power);
        if miner.class != LoadClass::Miner {
            self.peak.note(self.draw, now);
        }
        let reachable = matches!(input.contact, Contact::Reachable) && fresh.is_some();
        if reachable && self.silent_since.is_some() {
            // Whatever it did not do while nobody could speak with it is no reason to wait now.
            self.failures = 0;
            self.retry_at = now;
        }
        self.silent_since = match input.contact {
            Contact::Unreachable { since } => Some(since),
            Contact::Pending | Contact::Reachable => None,
        };
        if let (Some((at, power)), Some(status)) = (reading.filter(|_| reachable), fresh) {
            self.learn(miner, settings, goal, power, at, &status.value.activity);
            self.note_progress(miner, power, goal, now);
        }
        let activity = fresh.map(|status| &status.value.activity);
        let starting = activity == Some(&Activity::Starting);
        if self.was_starting && !starting {
            // It takes up its target only now.
            if let Some(sent) = self.sent.as_mut() {
                (sent.stuck_since, sent.stuck_at) = (now, self.draw);
            }
        }
        self.was_starting = starting;
        self.note_start(miner, fresh, now);
        self.state = self.judge(miner, settings, input, reachable, activity, goal, now);
        if self.state == MinerState::Straggler && self.deaf_until.is_none() && !self.lowerable(miner) {
            self.deaf_until = Some(now + self.deaf_for);
            self.deaf_for = (self.deaf_for * 2).min(DEAF.1);
        }
        if self.deaf_until.is_some_and(|until| now >= until) {
            // Tried anew.
            self.deaf_until = None;
        }
        if activity == Some(&Activity::Asleep) && matches!(self.setpoint, Some(Target::Sleep)) {
            self.deaf_until = None;
        }
        let told = matches!(self.state, MinerState::Hashing | MinerState::Asleep | MinerState::Starting);
        if self.deaf_until.is_some() && told {
            self.state = MinerState::Straggler;
        }
        if self.restarted && activity == Some(&Activity::Hashing) && near(miner, self.draw, goal) {
            self.restarted = false;
        }
        let fault = self.state == MinerState::Fault;
        self.fault_since = if fault { self.fault_since.or(Some(now)) } else { None };
        self.counted = self.bound(miner, goal, now);
    }

    /// Since when it starts, and how long that took.
    fn note_start(&mut self, miner: &Miner, fresh: Option<&Reading<MinerStatus>>, now: Moment) {
        let starting = fresh.is_some_and(|status| status.value.activity == Activity::Starting);
        let woken = self.sent.filter(|sent| sent.from_sleep && !sent.arrived);
        if !starting && woken.is_none() {
            self.start_at = None;
            return;
        }
        let by_itself = || {
            let uptime = fresh.and_then(|status| Some(status.at.earlier(status.value.uptime?)));
            uptime.unwrap_or(now)
        };
        let since = *self.start_at.get_or_insert_with(|| woken.map_or_else(by_itself, |sent| sent.at));
        if let (Some(status), Some(sent)) = (fresh, woken)
            && status.at > sent.at
            && !self.restarted
            && self.draw > miner.minimum().get() * SHORT_WAY.max(MOVED)
            && sent.from < miner.minimum().get() * MOVED
            && !sent.begun
        {
            let took = (status.at - since).as_secs_f64();
            self.start = Some(
                self.start.map_or(took, |known| known.min(took) + (took - known).max(0.0) * PACE_WEIGHT),
            );
            if let Some(sent) = self.sent.as_mut() {
                sent.begun = true;
            }
        }
    }

    /// Takes over the points that the device offers. What the operator allows bounds them; what the device does not say of
    /// their hashrate, the configuration tells.
    fn note_points(&mut self, miner: &Miner, told: Option<&Arc<[OperatingPoint]>>) {
        let Some(told) = told.filter(|told| self.told.as_ref() != Some(*told)) else { return };
        self.told = Some(told.clone());
        // A preset is named after a round number: a hair beyond the bound is the bound.
        let slack = miner.nameplate.get() * POINT_SLACK;
        let (low, high) = (miner.minimum().get() - slack, miner.maximum().get() + slack);
        let allowed = |power: Watts| {
            (low..=high).contains(&power.get()) && power > miner.sleep && power <= miner.nameplate
        };
        let mut points: Vec<OperatingPoint> =
            told.iter().copied().filter(|point| allowed(point.power)).take(MOST_POINTS).collect();
        for point in &mut points {
            if point.hashrate.get() <= 0.0 {
                let hashrate = curve::hashrate(&miner.points, point.power.get());
                point.hashrate = Hashrate::new(hashrate).unwrap_or(Hashrate::ZERO);
            }
        }
        points.sort_by(|one, other| one.power.total_cmp(&other.power));
        points.dedup_by(|later, earlier| later.power == earlier.power);
        self.points = (!points.is_empty()).then(|| points.into());
    }

    /// How finely it can be set: by the points that it offers, where it does.
    pub fn actuator(&self, miner: &Miner) -> Actuator {
        match miner.actuator {
            _ if self.hold == Some(Hold::HandsOff) => Actuator::Fixed,
            Actuator::Continuous { .. } if self.points.is_some() => Actuator::Steps,
            other => other,
        }
    }

    /// Whether nothing may be told to it: its driver cannot, or somebody works on it.
    pub fn is_fixed(&self, miner: &Miner) -> bool {
        self.actuator(miner) == Actuator::Fixed
    }

    /// Its circuit is open in this cycle: whatever it was told, it draws nothing, and nobody can move it.
    pub fn without_power(&mut self) {
        self.state = MinerState::Unreachable;
        self.draw = 0.0;
        self.counted = 0.0;
        self.dead = true;
    }

    /// Puts it where it already is, and counts on it again: nothing is asked of it that it does not do.
    pub fn take_back(&mut self, miner: &Miner, input: &MinerInput, now: Moment) {
        self.adopt(miner, input, now);
        self.deaf_until = None;
    }

    /// Puts the miner where it already is, without a command: the start is bumpless.
    pub fn adopt(&mut self, miner: &Miner, input: &MinerInput, now: Moment) {
        let Some(status) = input.status.as_ref() else {
            return;
        };
        if !matches!(input.contact, Contact::Reachable) {
            return;
        }
        let power = status.value.power.value();
        let target = match (&status.value.activity, status.value.target.value(), power) {
            (Activity::Asleep, _, _) | (_, Some(Target::Sleep), _) => Target::Sleep,
            // While it starts, its target says where it is going; its draw does not.
            (_, Some(target), _) => target,
            (Activity::Starting, None, _) | (_, None, None) => Target::Power(miner.maximum()),
            (_, None, Some(power)) => Target::Power(power),
        };
        let target = match target {
            Target::Power(power) => Target::Power(power.clamp(miner.minimum(), miner.nameplate)),
            Target::Sleep => Target::Sleep,
        };
        // What it draws at that target is known already where it runs steadily.
        if let (Target::Power(asked), Some(power), Activity::Hashing) = (
            target,
            power.filter(|power| power.get() <= miner.nameplate.get() * ABSURD),
            &status.value.activity,
        ) && !self.settling.is_known()
            && !beside_a_cap(miner, asked, power.get())
        {
            self.settling.learn(asked.get(), power.get(), miner.nameplate.get());
        }
        self.holds = None;
        self.setpoint = Some(target);
        self.sent = None;
        self.failures = 0;
        self.unanswered = false;
        self.asleep_since = matches!(target, Target::Sleep).then_some(now);
        self.draw = power.map_or_else(|| self.settled(miner, Some(target)), |power| power.get().max(0.0));
        self.counted = self.draw.max(self.settled(miner, Some(target)));
    }

    /// Notes that a command leaves now. An escalated one counts as one more try that failed.
    pub fn command(&mut self, target: Target, sequence: u64, escalated: bool, now: Moment) {
        if escalated {
            self.fail(now);
        }
        self.agreed = false;
        let still_waking = self.sent.is_some_and(|sent| sent.from_sleep && !sent.arrived);
        let from_sleep = self.asleep_since.is_some() || still_waking;
        let raises = match (self.setpoint, target) {
            (_, Target::Sleep) => false,
            (Some(Target::Power(before)), Target::Power(after)) => after > before,
            (Some(Target::Sleep) | None, Target::Power(_)) => true,
        };
        let lowered = !raises && self.setpoint != Some(target);
        if raises {
            self.raised_at = Some(now);
        }
        self.asleep_since = match target {
            Target::Sleep => self.asleep_since.or(Some(now)),
            Target::Power(_) => None,
        };
        let (stuck_since, stuck_at) = match self.sent {
            Some(before) if !before.arrived && !raises && before.lowers => {
                (before.stuck_since, before.stuck_at)
            }
            _ => (now, self.draw),
        };
        // While nobody knows whether it heard the one before, it may still do what it was told before that, or that.
        let unheard = self.unheard(now);
        self.unanswered |= unheard;
        let doubted = self.sent.filter(|_| unheard).and_then(|sent| sent.previous);
        let previous = match (self.setpoint, doubted) {
            (Some(Target::Power(told)), Some(Target::Power(before))) => Some(Target::Power(told.max(before))),
            (Some(Target::Sleep) | None, Some(Target::Power(before))) => Some(Target::Power(before)),
            (told, _) => told,
        };
        self.setpoint = Some(target);
        self.holds = None;
        self.restarted = false;
        self.start_at =
            if from_sleep && target != Target::Sleep { self.start_at.or(Some(now)) } else { None };
        self.sent = Some(Sent {
            sequence,
            at: now,
            previous,
            from: self.draw,
            from_sleep,
            out: None,
            answered: false,
            accepted: false,
            escalated,
            arrived: false,
            moving: false,
            begun: false,
            lowers: !raises,
            lowered: lowered || !raises && self.sent.is_some_and(|before| before.lowered && !before.arrived),
            stuck_since,
            stuck_at,
        });
    }

    /// Whether the control law may move it at will: it answers, and does what it is told. What it reports of itself is
    /// another matter: a miner with a fault can be told to draw less like any other.
    pub fn movable(&self) -> bool {
        matches!(
            self.state,
            MinerState::Hashing | MinerState::Starting | MinerState::Asleep | MinerState::Fault
        ) && self.setpoint.is_some()
    }

    fn note_delivery(&mut self, delivery: Option<&Delivery>, now: Moment) {
        let switched = self.sent.is_some_and(|sent| self.is_switched(&sent));
        let (Some(sent), Some(delivery)) = (self.sent.as_mut(), delivery) else {
            return;
        };
        if delivery.sequence != sent.sequence || sent.answered {
            return;
        }
        match delivery.outcome {
            Outcome::InFlight => sent.out = sent.out.or(Some(delivery.at)),
            Outcome::Accepted => {
                sent.answered = true;
                sent.accepted = true;
                let took = (delivery.at - sent.out.unwrap_or(sent.at)).as_secs_f64();
                if switched {
                    self.switches.heard(took)
                } else {
                    self.sets.heard(took)
                }
                // The time on the way there is not the miner's.
                if sent.stuck_since == sent.at {
                    sent.stuck_since = delivery.at.max(sent.at);
                }
                self.unanswered = false;
            }
            // Not now, and a wake may already be under way: ask again later, and count the worst meanwhile.
            Outcome::Rejected(Rejection::Busy | Rejection::WrongState) | Outcome::Unknown => {
                sent.answered = true;
                self.unanswered = true;
                self.fail(now);
            }
            Outcome::Rejected(_) => {
                sent.answered = true;
                self.unanswered = false;
                // It said no to more power, so it stays where it was; a no to less is tried again.
                if !sent.lowers {
                    self.setpoint = sent.previous;
                    self.asleep_since = matches!(sent.previous, Some(Target::Sleep)).then_some(now);
                }
                self.fail(now);
            }
        }
    }

    /// Counts a failed try; the next one waits longer each time.
    pub fn fail(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        let pause = Duration::from_secs(1_u64 << self.failures.min(10)).min(LONGEST_RETRY);
        self.retry_at = now + pause;
    }

    /// For how long since a moment the latest command has kept it from being asked anything else: some do one thing at a time. No longer
    /// than the command may go without an answer.
    fn busy(&self, delivery: Option<&Delivery>, since: Moment, now: Moment) -> Duration {
        let Some(sent) = self.sent else { return Duration::ZERO };
        let answer = delivery.filter(|delivery| sent.answered && delivery.sequence == sent.sequence);
        let patience = Duration::try_from_secs_f64(self.patience(&sent)).unwrap_or_default();
        answer.map_or(now, |answer| answer.at).min(sent.at + patience) - sent.at.max(since)
    }

    /// Whether it restarted by itself. Its software also ends when it goes to sleep, and some end it to change their power.
    fn note_restart(&mut self, miner: &Miner, status: &MinerStatus, at: Moment) {
        if self.learned_at.is_some_and(|learned| learned >= at) {
            return;
        }
        let told_to = self.setpoint == Some(Target::Sleep) && status.activity == Activity::Asleep
            || self
                .sent
                .is_some_and(|sent| at > sent.at && !sent.arrived && (miner.restarts || sent.from_sleep));
        if told_to {
            self.uptime = None;
        }
        if let (Some(before), Some(after)) = (self.uptime, status.uptime)
            && after + Duration::from_secs(2) < before
        {
            self.restarted = true;
            self.holds = None;
            self.deaf_until = None;
        }
        self.uptime = status.uptime.or(self.uptime);
    }

    /// What one draws that said no to less, and does not tell its draw: what its target leaves it, where it has told that since, and else what
    /// it drew before. `None` where it did not say no.
    fn stays(&self, miner: &Miner, fresh: Option<&Reading<MinerStatus>>) -> Option<f64> {
        let no = |sent: &Sent| sent.lowers && sent.answered && !sent.accepted && !self.unanswered;
        let sent = self.sent.filter(no)?;
        let told = fresh.filter(|status| status.at > sent.at).and_then(|status| status.value.target.value());
        let target = told.filter(|target| *target != Target::Sleep);
        Some(target.map_or(sent.from, |target| self.settled(miner, Some(target)).min(sent.from)))
    }

    /// The draw now; `goal` is where it settles.
    fn estimate(&self, miner: &Miner, goal: f64, reading: Option<(Moment, f64)>, now: Moment) -> f64 {
        let Some((at, power)) = reading else {
            return if self.setpoint.is_some() { self.on_the_way(miner, goal, now) } else { self.draw };
        };
        // When exactly a miner that was woken begins to draw, no model knows.
        let waking = self.sent.is_some_and(|sent| sent.from_sleep && !sent.begun && !sent.arrived);
        if self.setpoint.is_none() || self.unheard(now) || waking {
            return power;
        }
        let drift = self.on_the_way(miner, goal, now) - self.on_the_way(miner, goal, at);
        (power + drift).clamp(power.min(goal), power.max(goal))
    }
}

/// Whether a draw is at its goal, within what noise and settling explain.
pub fn near(miner: &Miner, power: f64, goal: f64) -> bool {
    (power - goal).abs() <= (goal.abs() * NEAR.0).max(miner.nameplate.get() * NEAR.1)
}
