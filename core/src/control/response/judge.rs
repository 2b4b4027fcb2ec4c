//! How a miner is counted: the state that people see, and the most that it may draw.

use std::time::Duration;

use super::{MAY_RETURN, MOVED, NEAR, TUNING, Track, near};
use crate::control::decision::MinerState;
use crate::control::site::{LoadClass, Miner, Settings};
use crate::control::snapshot::{Activity, Contact, MinerInput, Target};
use crate::moment::Moment;
use crate::units::Watts;

/// One that has never been heard is other load after so long.
const NEVER_HEARD: Duration = Duration::from_secs(60);

/// How far readings of a steady draw may lie apart, in watts.
pub(super) fn band(miner: &Miner) -> f64 {
    miner.nameplate.get() * NEAR.1 / 2.0
}

/// A draw that differs from a target that is a cap by more than this share of it is no sign of where it settles.
const BESIDE_A_CAP: f64 = 0.05;

/// Whether a draw lies so far from a target that is a cap that it says nothing of where that settles: below it something starts,
/// above it something has not come down yet.
pub(super) fn beside_a_cap(miner: &Miner, asked: Watts, power: f64) -> bool {
    miner.response.caps && (power - asked.get()).abs() > asked.get() * BESIDE_A_CAP
}

impl Track {
    /// What is in `counted` though nothing says that it is drawn: how much more one that nobody hears may come to draw, by itself,
    /// than it drew and was told to draw when it was last heard, and a server under its cap than it drew lately. In watts as it
    /// reports them; `expected` is its [`Self::expected_draw`].
    pub fn unseen(&self, miner: &Miner, expected: f64, now: Moment) -> f64 {
        if expected.is_finite() {
            return (self.counted - expected).max(0.0);
        }
        if self.state != MinerState::Unreachable || self.dead {
            return 0.0;
        }
        let settled = |target| self.settled(miner, Some(target));
        let known = match self.setpoint {
            Some(target) => {
                let before = self.sent.filter(|sent| !sent.arrived).and_then(|sent| sent.previous);
                settled(target).max(before.map_or(0.0, settled))
            }
            // What one draws that was never heard is in the meter's value, as other load.
            None if self.silent_since.is_some_and(|since| now - since >= NEVER_HEARD) => 0.0,
            None => return 0.0,
        };
        (self.counted - self.draw.max(known)).max(0.0)
    }

    /// It was told to sleep, whoever works on it has a notice, and it has not gone down to what it draws asleep yet. One that refused is
    /// not waited for.
    pub fn is_pausing(&self, miner: &Miner) -> bool {
        !miner.notice.is_zero()
            && self.movable()
            && self.setpoint == Some(Target::Sleep)
            && self.sent.is_some_and(|sent| !sent.arrived)
            && self.draw > self.sleep(miner)
            && !near(miner, self.draw, self.sleep(miner))
    }

    /// How the draw moves on a way by its model: the time until it begins and the watts per second from then on, both before what was
    /// learned, and the notice that whoever works on it has besides, which nothing shortens.
    pub(super) fn manner(&self, miner: &Miner, falls: bool, from_sleep: bool) -> (Duration, f64, Duration) {
        let response = &miner.response;
        // Whoever is told to sleep before having come up is not starting: the order for that is called off.
        let asleep = self.setpoint == Some(Target::Sleep);
        let (paused, falls) = (falls && asleep, falls || asleep);
        let notice = if paused { miner.notice } else { Duration::ZERO };
        if falls {
            (response.dead_time_down, response.ramp_down.get(), notice)
        } else if from_sleep {
            (response.start_time, response.ramp_up.get(), notice)
        } else {
            (response.dead_time_up, response.ramp_up.get(), notice)
        }
    }

    /// The latest command to lower should have shown by now, and the draw has not moved at all: until it does, or the
    /// grace is over, it counts where it is.
    pub fn is_late(&self, miner: &Miner) -> bool {
        let (Some(sent), Some(read)) = (self.sent, self.learned_at) else { return false };
        if !sent.accepted || sent.arrived {
            return false;
        }
        let way = sent.stuck_at - self.settled(miner, self.setpoint);
        // Told again, it has no more time than before.
        way > 0.0
            && sent.stuck_at - self.draw < way * MOVED
            && read > sent.stuck_since + self.way(miner).mul_f64(1.5) + Duration::from_millis(1_500)
    }

    #[expect(clippy::too_many_arguments, reason = "one judgement over all that is known")]
    pub(super) fn judge(
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
            // Before it counts as silent, what it was told may have been done or not.
            let unheard = self.unheard(now) && !matches!(input.contact, Contact::Unreachable { .. });
            return if unheard { MinerState::Unanswered } else { MinerState::Unreachable };
        }
        if self.unheard(now) {
            return MinerState::Unanswered;
        }
        let wanted_asleep = matches!(self.setpoint, Some(Target::Sleep));
        let fault = matches!(activity, Some(Activity::Fault(_)));
        if fault && !self.works_on(miner) {
            return if wanted_asleep { MinerState::Asleep } else { MinerState::Fault };
        }
        let said_no = !self.unanswered && self.sent.is_some_and(|sent| sent.answered && !sent.accepted);
        let refused = said_no && self.draw > goal && !near(miner, self.draw, goal);
        let starting = activity == Some(&Activity::Starting);
        // What it does is known for the moment of its last reading, and of a command that it has not got, nothing.
        let seen = input.status.as_ref().map_or(now, |status| status.at.min(now));
        // Off is off, whatever it draws.
        let off =
            wanted_asleep && activity == Some(&Activity::Asleep) && self.draw < miner.minimum().get() * 0.5;
        if !off && (refused || self.overdue(miner, settings, goal, starting, seen)) {
            return MinerState::Straggler;
        }
        match activity {
            // Who was told to pause works until it is said that it does not.
            Some(Activity::Hashing | Activity::Unknown) if self.yet_to_pause(miner, activity) => {
                MinerState::Hashing
            }
            _ if wanted_asleep => MinerState::Asleep,
            Some(Activity::Asleep) if self.setpoint.is_none() => MinerState::Asleep,
            Some(Activity::Starting | Activity::Asleep) => MinerState::Starting,
            Some(Activity::Fault(_)) => MinerState::Fault,
            Some(Activity::Hashing | Activity::Unknown) | None => MinerState::Hashing,
        }
    }

    /// Whether it does not follow, and was not told to draw less since it did: it draws more than it was raised to, say, and has not
    /// refused any lowering, so that one is worth a try before somebody else gives up more.
    pub fn lowerable(&self, miner: &Miner) -> bool {
        self.state == MinerState::Straggler
            && self.setpoint.is_some()
            && self.draw >= miner.minimum().get() * 0.5
            && self.sent.is_some_and(|sent| sent.answered && !sent.lowered)
            && !self.unanswered
    }

    /// Whether whoever works on it was told to pause it and has not said that it is paused.
    pub(super) fn yet_to_pause(&self, miner: &Miner, activity: Option<&Activity>) -> bool {
        !miner.notice.is_zero()
            && self.setpoint == Some(Target::Sleep)
            && !matches!(activity, Some(Activity::Asleep))
    }

    /// Whether a fault that it reports has not stopped it: a server with one dead processor of eight works on with the others, and can be
    /// told to draw less like any other.
    pub fn works_on(&self, miner: &Miner) -> bool {
        miner.class != LoadClass::Miner && self.draw >= miner.minimum().get() * 0.5
    }

    /// Whether it reports a fault that has stopped it.
    pub fn stopped(&self, miner: &Miner) -> bool {
        self.state == MinerState::Fault && !self.works_on(miner)
    }

    /// The draw was seen above its goal, or the miner not awake, later than its model and the grace allow.
    fn overdue(&self, miner: &Miner, settings: &Settings, goal: f64, starting: bool, seen: Moment) -> bool {
        let Some(sent) = self.sent else { return false };
        if !sent.answered && sent.stuck_since == sent.at {
            return false;
        }
        let way = (sent.from - goal).max(0.0);
        let moved = sent.from - self.draw > way * MOVED;
        // One that moved has a floor of its own, which is learned; one that did not is a straggler.
        let stays = !moved || matches!(self.setpoint, Some(Target::Sleep));
        // One that was raised and draws no more than it was told does what it was told, whatever was learned of it; so does one under a
        // cap.
        let most = match self.setpoint {
            Some(Target::Power(told)) if !sent.lowers || miner.response.caps => goal.max(told.get()),
            _ => goal,
        };
        let above = stays && self.draw > most && !near(miner, self.draw, most);
        // A server without work draws little, whatever its cap.
        let asleep = miner.class == LoadClass::Miner
            && !matches!(self.setpoint, Some(Target::Sleep))
            && self.draw < miner.minimum().get() * 0.5;
        if !above && !asleep {
            return false;
        }
        let way = self.expected(miner, sent.stuck_at, sent.from_sleep, goal);
        let late = sent.stuck_since + way + settings.straggler_grace;
        // While it starts and tunes it may draw its maximum, which is counted; but not for ever.
        let tuning = starting && seen <= late + miner.response.start_time + TUNING;
        let never_woke = asleep && seen > late + miner.response.start_time;
        seen > late && (above && !tuning || never_woke)
    }

    pub(super) fn bound(&self, miner: &Miner, goal: f64, now: Moment) -> f64 {
        let most = self.most(miner);
        match self.state {
            // Law 4: unknown means the most it can draw.
            MinerState::Pending | MinerState::Unreachable => most,
            // The worst of before and after.
            MinerState::Unanswered => {
                let before = self.sent.and_then(|sent| sent.previous);
                let before = before.map_or(0.0, |target| self.settled(miner, Some(target)));
                self.draw.max(goal).max(if self.draw > miner.minimum().get() * 0.5 { before } else { 0.0 })
            }
            MinerState::Starting if self.quiet_start(miner, now) => self.draw,
            MinerState::Starting if self.restarted => most,
            MinerState::Starting => self.draw.max(self.start_draw(miner).min(most)),
            MinerState::Hashing if self.restarted => self.draw.max(goal).max(miner.maximum().get()),
            MinerState::Fault
                if self.stopped(miner) && self.fault_since.is_some_and(|since| now - since >= MAY_RETURN) =>
            {
                self.draw
            }
            MinerState::Straggler | MinerState::Fault | MinerState::Asleep | MinerState::Hashing => {
                self.draw.max(goal)
            }
        }
    }
}
