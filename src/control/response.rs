//! How a miner's draw follows its commands: what is in flight, what is late, and what was learned.
//!
//! For each miner the track holds the command that was sent, what the draw was then, and where it will settle.
//! The estimate of the draw *now* is the latest reading, moved by what the model says has happened since; without
//! a reading it is the model alone. The bound that budgets count is never below the estimate.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::allocate::curve;
use crate::control::decision::MinerState;
use crate::control::site::{Actuator, Miner, OperatingPoint, Settings};
use crate::control::snapshot::{
    Activity, Contact, Delivery, MinerInput, MinerStatus, Outcome, Rejection, Target,
};
use crate::units::{Hashrate, Watts};

/// How far from its target a miner's settled draw may be learned to lie.
const SETTLE_RANGE: (f64, f64) = (0.85, 1.15);
/// Weight of a new observation of the settled draw.
const SETTLE_WEIGHT: f64 = 0.1;
/// How far the learned response times may lie from the model's.
const PACE_RANGE: (f64, f64) = (0.5, 4.0);
/// Weight of a new observation of the response time.
const PACE_WEIGHT: f64 = 0.2;
/// A draw within this fraction of the target (or within [`NEAR_WATTS`]) has arrived.
const NEAR: f64 = 0.04;
/// See [`NEAR`].
const NEAR_WATTS: f64 = 60.0;
/// How long a miner may tune after it has started before it is late.
const TUNING: Duration = Duration::from_secs(60);
/// How far beyond the configured bounds a point of the device may lie, as a fraction of the nameplate.
const POINT_SLACK: f64 = 0.01;
/// More points than any firmware offers.
const MOST_POINTS: usize = 128;
/// Longest pause between two tries to move a miner that does not follow.
const LONGEST_RETRY: Duration = Duration::from_secs(600);

/// A command as the control law remembers it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sent {
    /// Its number.
    pub sequence: u64,
    /// When it was decided.
    pub at: Moment,
    /// Where the miner was put before.
    pub previous: Option<Target>,
    /// The estimated draw at that moment, in watts.
    pub from: f64,
    /// Whether the miner was asleep then.
    pub from_sleep: bool,
    /// Whether its outcome was looked at already.
    pub answered: bool,
    /// Whether the miner said yes.
    pub accepted: bool,
    /// Whether it was sent because an earlier one was not followed.
    pub escalated: bool,
    /// Whether the draw has been seen to arrive.
    pub arrived: bool,
    /// Whether it asks for less than the setpoint before.
    pub lowers: bool,
    /// Since when it moves this way without having got anywhere: a new command in the same direction does not
    /// give a miner that ignores all of them more time.
    pub stuck_since: Moment,
    /// The draw at that moment, in watts.
    pub stuck_at: f64,
}

/// What is known of one miner from cycle to cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// Where the miner was put, by a command or by adopting what it did.
    pub setpoint: Option<Target>,
    /// The latest command; `None` when the setpoint was adopted.
    pub sent: Option<Sent>,
    /// Settled draw over target, learned.
    pub settle: f64,
    /// Response time over the model's, learned.
    pub pace: f64,
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
            settle: 1.0,
            pace: 1.0,
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
            learned_at: None,
            uptime: None,
            was_starting: false,
            restarted: false,
            responded: None,
        }
    }
}

impl Track {
    /// The draw at which a target settles, in the miner's own watts, never above its nameplate.
    pub fn settled(&self, miner: &Miner, target: Option<Target>) -> f64 {
        match target {
            Some(Target::Sleep) => miner.sleep.get(),
            Some(Target::Power(power)) => (power.get() * self.settle).min(miner.nameplate.get()),
            None => miner.nameplate.get(),
        }
    }

    /// Where the model says that the draw is at a moment, on the way of the latest command.
    fn modelled(&self, miner: &Miner, moment: Moment) -> f64 {
        let goal = self.settled(miner, self.setpoint);
        let Some(sent) = self.sent else { return goal };
        let response = &miner.response;
        let (dead, ramp) = if goal < sent.from {
            (response.dead_time_down, response.ramp_down.get())
        } else if sent.from_sleep {
            (response.start_time, response.ramp_up.get())
        } else {
            (response.dead_time_up, response.ramp_up.get())
        };
        let moving = (moment - sent.at).as_secs_f64() - dead.as_secs_f64() * self.pace;
        if moving <= 0.0 {
            return sent.from;
        }
        let moved = moving * ramp / self.pace;
        if goal < sent.from { (sent.from - moved).max(goal) } else { (sent.from + moved).min(goal) }
    }

    /// How long the way of the latest command should take.
    fn expected(&self, miner: &Miner, from: f64, from_sleep: bool, goal: f64) -> Duration {
        let response = &miner.response;
        let (dead, ramp) = if goal < from {
            (response.dead_time_down, response.ramp_down.get())
        } else if from_sleep {
            (response.start_time, response.ramp_up.get())
        } else {
            (response.dead_time_up, response.ramp_up.get())
        };
        let ramping = if ramp > 0.0 { (goal - from).abs() / ramp } else { 0.0 };
        let seconds = (dead.as_secs_f64() + ramping) * self.pace;
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_RETRY)
    }

    /// Takes in what the snapshot says of the miner and brings the estimates up to now.
    pub fn update(&mut self, miner: &Miner, settings: &Settings, input: &MinerInput, now: Moment) {
        self.dead = false;
        let status = input.status.as_ref();
        let fresh = status.filter(|status| now - status.at <= miner.silent_after);
        self.responded = None;
        self.note_delivery(input.delivery.as_ref(), now);
        if let Some(status) = fresh {
            self.note_restart(&status.value, status.at);
            self.range = status.value.range.map(|(low, high)| (low.get(), high.get())).or(self.range);
            self.note_points(miner, status.value.points.as_ref());
        }
        let reading = status
            .and_then(|status| status.value.power.value().map(|power| (status.at, power.get().max(0.0))));
        // A miner that reports no power at all is known by what it says it does.
        let reading = reading.or_else(|| {
            fresh.and_then(|status| match status.value.activity {
                Activity::Asleep => Some((status.at, miner.sleep.get())),
                _ => None,
            })
        });
        self.draw = self.estimate(miner, reading, now);
        let reachable = matches!(input.contact, Contact::Reachable) && fresh.is_some();
        let goal = self.settled(miner, self.setpoint);
        if let Some((at, power)) = reading.filter(|_| reachable) {
            // What starts, stops or has restarted says nothing about where a miner settles.
            let steady = !self.restarted
                && fresh.is_some_and(|status| {
                    matches!(status.value.activity, Activity::Hashing | Activity::Unknown)
                });
            self.learn(miner, power, at, goal, steady);
            self.note_progress(power, goal, now);
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
        self.state = self.judge(miner, settings, input, reachable, activity, goal, now);
        if self.restarted && activity == Some(&Activity::Hashing) && near(self.draw, goal) {
            self.restarted = false;
        }
        self.counted = self.bound(miner, goal);
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
            Actuator::Continuous { .. } if self.points.is_some() => Actuator::Steps,
            other => other,
        }
    }

    /// Its circuit is open in this cycle: whatever it was told, it draws nothing, and nobody can move it.
    pub fn without_power(&mut self) {
        self.state = MinerState::Unreachable;
        self.draw = 0.0;
        self.counted = 0.0;
        self.dead = true;
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
        if let (Target::Power(asked), Some(power), Activity::Hashing) =
            (target, power, &status.value.activity)
            && let Some(ratio) = power.ratio(asked)
        {
            self.settle = ratio.clamp(SETTLE_RANGE.0, SETTLE_RANGE.1);
        }
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
        let still_waking = self.sent.is_some_and(|sent| sent.from_sleep && !sent.arrived);
        let from_sleep = self.asleep_since.is_some() || still_waking;
        let raises = match (self.setpoint, target) {
            (_, Target::Sleep) => false,
            (Some(Target::Power(before)), Target::Power(after)) => after > before,
            (Some(Target::Sleep) | None, Target::Power(_)) => true,
        };
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
        let previous = self.setpoint;
        self.setpoint = Some(target);
        self.restarted = false;
        self.sent = Some(Sent {
            sequence,
            at: now,
            previous,
            from: self.draw,
            from_sleep,
            answered: false,
            accepted: false,
            escalated,
            arrived: false,
            lowers: !raises,
            stuck_since,
            stuck_at,
        });
    }

    /// Whether the control law may move it at will: it answers, and does what it is told.
    pub fn movable(&self) -> bool {
        matches!(self.state, MinerState::Hashing | MinerState::Starting | MinerState::Asleep)
            && self.setpoint.is_some()
    }

    fn note_delivery(&mut self, delivery: Option<&Delivery>, now: Moment) {
        let (Some(sent), Some(delivery)) = (self.sent.as_mut(), delivery) else {
            return;
        };
        if delivery.sequence != sent.sequence || sent.answered {
            return;
        }
        match delivery.outcome {
            Outcome::InFlight => {}
            Outcome::Accepted => {
                sent.answered = true;
                sent.accepted = true;
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

    fn note_restart(&mut self, status: &MinerStatus, at: Moment) {
        if self.learned_at.is_some_and(|learned| learned >= at) {
            return;
        }
        if let (Some(before), Some(after)) = (self.uptime, status.uptime) {
            self.restarted |= after + Duration::from_secs(2) < before;
        }
        self.uptime = status.uptime.or(self.uptime);
    }

    fn estimate(&self, miner: &Miner, reading: Option<(Moment, f64)>, now: Moment) -> f64 {
        let goal = self.settled(miner, self.setpoint);
        let Some((at, power)) = reading else {
            return if self.setpoint.is_some() { self.modelled(miner, now) } else { self.draw };
        };
        if self.setpoint.is_none() {
            return power;
        }
        let drift = self.modelled(miner, now) - self.modelled(miner, at);
        (power + drift).clamp(power.min(goal), power.max(goal))
    }

    /// Learns from a reading: how far from its target the draw settles, and how fast it gets there.
    fn learn(&mut self, miner: &Miner, power: f64, at: Moment, goal: f64, steady: bool) {
        if self.learned_at.is_some_and(|learned| learned >= at) {
            return;
        }
        self.learned_at = Some(at);
        let Some(Target::Power(asked)) = self.setpoint else {
            if near(power, goal) {
                self.arrive(at, goal);
            }
            return;
        };
        let (sent_at, expected) = match self.sent {
            Some(sent) => (sent.at, self.expected(miner, sent.from, sent.from_sleep, goal)),
            None => (Moment::START, Duration::ZERO),
        };
        let taken = at - sent_at;
        let arrived = near(power, goal);
        if let Some(sent) = self.sent.filter(|sent| arrived && !sent.arrived) {
            // Only a way that was long enough tells anything about time.
            if !near(sent.from, goal) && expected > Duration::ZERO {
                let ratio = taken.as_secs_f64() / expected.as_secs_f64();
                // A first reading that comes late says only "not slower than that".
                if ratio > 1.0 || taken < expected {
                    let pace = (self.pace * ratio).clamp(PACE_RANGE.0, PACE_RANGE.1);
                    self.pace += (pace - self.pace) * PACE_WEIGHT;
                }
            }
        }
        if arrived {
            self.arrive(at, goal);
        }
        if steady && taken > expected.mul_f64(1.5) + Duration::from_secs(2) && asked.get() > 0.0 {
            let ratio = (power / asked.get()).clamp(SETTLE_RANGE.0, SETTLE_RANGE.1);
            self.settle += (ratio - self.settle) * SETTLE_WEIGHT;
        }
    }

    fn note_progress(&mut self, power: f64, goal: f64, now: Moment) {
        if let Some(sent) = self.sent.as_mut() {
            let closer = (sent.stuck_at - goal).abs() - (power - goal).abs();
            if near(power, goal) || closer > (sent.stuck_at.abs() * NEAR).max(NEAR_WATTS) {
                sent.stuck_since = now;
                sent.stuck_at = power;
            }
        }
    }

    /// A reading of this moment is at the goal.
    fn arrive(&mut self, at: Moment, goal: f64) {
        if let Some(sent) = self.sent.as_mut() {
            if !sent.arrived && at > sent.at && !near(sent.from, goal) {
                self.responded = Some(at - sent.at);
            }
            sent.arrived = true;
            // A miner that had to be forced to sleep, or that said no, is not trusted again because it lies still.
            if !sent.accepted || sent.escalated {
                return;
            }
        }
        self.failures = 0;
    }

    #[expect(clippy::too_many_arguments, reason = "one judgement over all that is known")]
    fn judge(
        &self,
        miner: &Miner,
        settings: &Settings,
        input: &MinerInput,
        reachable: bool,
        activity: Option<&Activity>,
        goal: f64,
        now: Moment,
    ) -> MinerState {
        if matches!(input.contact, Contact::Pending) && input.status.is_none() {
            return MinerState::Pending;
        }
        if !reachable {
            return MinerState::Unreachable;
        }
        let wanted_asleep = matches!(self.setpoint, Some(Target::Sleep));
        if let Some(Activity::Fault(_)) = activity {
            return if wanted_asleep { MinerState::Asleep } else { MinerState::Fault };
        }
        let said_no = self.sent.is_some_and(|sent| sent.answered && !sent.accepted);
        let refused = said_no && self.draw > goal && !near(self.draw, goal);
        let starting = activity == Some(&Activity::Starting);
        // What it does is known for the moment of its last reading, and of a command that it has not got, nothing.
        let seen = input.status.as_ref().map_or(now, |status| status.at.min(now));
        if refused || self.overdue(miner, settings, goal, starting, seen) {
            return MinerState::Straggler;
        }
        match activity {
            _ if wanted_asleep => MinerState::Asleep,
            Some(Activity::Asleep) if self.setpoint.is_none() => MinerState::Asleep,
            Some(Activity::Starting | Activity::Asleep) => MinerState::Starting,
            Some(Activity::Hashing | Activity::Unknown | Activity::Fault(_)) | None => MinerState::Hashing,
        }
    }

    /// The draw was seen above its goal, or the miner not awake, later than its model and the grace allow.
    fn overdue(&self, miner: &Miner, settings: &Settings, goal: f64, starting: bool, seen: Moment) -> bool {
        let Some(sent) = self.sent else { return false };
        if !sent.answered && sent.stuck_since == sent.at {
            return false;
        }
        let way = self.expected(miner, sent.stuck_at, sent.from_sleep, goal);
        let late = sent.stuck_since + way + settings.straggler_grace;
        if seen <= late {
            return false;
        }
        // While it starts and tunes it may draw its maximum, which is counted; but not for ever.
        let tuning = starting && seen <= late + miner.response.start_time + TUNING;
        let above = self.draw > goal && !near(self.draw, goal) && !tuning;
        let never_woke = !matches!(self.setpoint, Some(Target::Sleep))
            && self.draw < miner.minimum().get() * 0.5
            && seen > late + miner.response.start_time;
        above || never_woke
    }

    fn bound(&self, miner: &Miner, goal: f64) -> f64 {
        let nameplate = miner.nameplate.get();
        match self.state {
            // Law 4: unknown means the most it can draw.
            MinerState::Pending | MinerState::Unreachable => nameplate,
            MinerState::Starting if self.restarted => nameplate,
            MinerState::Starting => {
                let full = if miner.response.starts_at_full { miner.maximum().get() } else { 0.0 };
                let overshoot = goal.max(full) * (1.0 + miner.response.start_overshoot);
                self.draw.max(overshoot.min(nameplate))
            }
            MinerState::Hashing if self.restarted => self.draw.max(goal).max(miner.maximum().get()),
            MinerState::Straggler | MinerState::Fault | MinerState::Asleep | MinerState::Hashing => {
                self.draw.max(goal)
            }
        }
    }
}

/// Whether a draw is at its goal, within what noise and settling explain.
pub fn near(power: f64, goal: f64) -> bool {
    (power - goal).abs() <= (goal.abs() * NEAR).max(NEAR_WATTS)
}
