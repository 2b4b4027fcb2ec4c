//! What a reading teaches: where a draw settles, how fast it gets there, and whether it is on its way.

use super::judge::{band, beside_a_cap};
use super::{
    DEAF, MOVED, NEAR, PACE_RANGE, PACE_WEIGHT, SHORT_WAY, STEADY, STEADY_OVER, STOOD, Sent, Track, near,
};
use crate::control::site::{Miner, Settings};
use crate::control::snapshot::{Activity, Target};
use crate::moment::Moment;
use std::time::Duration;

impl Track {
    /// Learns from a reading: where the draw settles, and how fast it gets there. `goal` is where it should, by what is known.
    pub(super) fn learn(
        &mut self,
        miner: &Miner,
        settings: &Settings,
        goal: f64,
        power: f64,
        at: Moment,
        activity: &Activity,
    ) {
        if self.learned_at.is_some_and(|learned| learned >= at) {
            return;
        }
        self.learned_at = Some(at);
        let steady = self.steady(miner, power, at);
        if self.standing.is_none_or(|(_, known)| (power - known).abs() > band(miner)) {
            self.standing = Some((at, power));
        }
        let (sent_at, expected, from) = match self.sent {
            Some(sent) => (sent.at, self.expected(miner, sent.from, sent.from_sleep, goal), sent.from),
            None => (Moment::START, Duration::ZERO, goal),
        };
        let taken = at - sent_at;
        let due = taken > expected.mul_f64(1.5) + Duration::from_secs(2);
        let Some(Target::Power(asked)) = self.setpoint else {
            // A mean that is still coming down is no draw of one that sleeps.
            if *activity == Activity::Asleep && (due && steady || near(miner, power, goal)) {
                self.settling.learn_sleep(power, miner.minimum().get());
            }
            if near(miner, power, self.settled(miner, self.setpoint)) {
                self.arrive(miner, at, goal);
            }
            return;
        };
        let arrived = near(miner, power, goal);
        // A rise under a cap takes as long as whatever must start there.
        let told = arrived && (!miner.response.caps || goal < from);
        if let Some(sent) = self.sent.filter(|sent| told && !sent.arrived && !sent.from_sleep) {
            // Only a way that was long enough tells anything about time.
            if !near(miner, sent.from, goal) && expected > Duration::ZERO {
                let ratio = taken.as_secs_f64() / expected.as_secs_f64();
                // A first reading that comes late says only "not slower than that".
                if ratio > 1.0 || taken < expected {
                    let pace = (self.pace * ratio).clamp(PACE_RANGE.0, PACE_RANGE.1);
                    self.pace += (pace - self.pace) * PACE_WEIGHT;
                }
            }
        }
        if arrived {
            self.arrive(miner, at, goal);
        }
        // What starts, stops or has restarted says nothing about where a miner settles. Nor does one that draws next to nothing
        // and does not sleep: it waits for its pool, say, and may draw all that it was told at any moment.
        let idle = power < miner.minimum().get() * MOVED;
        let hashing = matches!(activity, Activity::Hashing | Activity::Unknown) && !self.restarted && !idle;
        if !hashing || !due || !steady || self.unheard(at) {
            return;
        }
        let way = goal - from;
        let long_way = way.abs() > miner.nameplate.get() * SHORT_WAY;
        let stuck = long_way && (power - from).abs() < way.abs() * MOVED;
        // Whoever said no and got there all the same follows, too.
        let follows = |sent: &Sent| sent.accepted || (sent.answered && arrived && !self.unanswered);
        // Under a cap that was lowered one that stands there has done what it was told, however short the way.
        let capped = miner.response.caps && arrived && self.sent.is_some_and(|sent| sent.lowered);
        let far = long_way && !stuck;
        if (far || capped) && self.sent.as_ref().is_some_and(follows) {
            self.deaf_until = None;
            if far {
                self.proven = true;
                self.deaf_for = DEAF.0;
            }
        }
        let long = taken > expected.mul_f64(3.0) + settings.straggler_grace;
        if stuck && (way < 0.0 || !long) {
            return;
        }
        // Below where it was told to go a slow one may still be on its way up.
        let rising = power > from && power < asked.get() && !near(miner, power, asked.get());
        if rising && !self.has_stood(at) {
            return;
        }
        // Above a cap, one that stands there has no lower place under it.
        if beside_a_cap(miner, asked, power) && (power < asked.get() || !self.has_stood(at)) {
            return;
        }
        self.settling.learn(asked.get(), power, miner.nameplate.get());
        self.holds = Some(self.holds.map_or(power, |known| known + (power - known) * PACE_WEIGHT));
        if near(miner, power, self.settled(miner, self.setpoint)) {
            self.arrive(miner, at, power);
        }
    }

    /// Whether the draw has stood since the reading before.
    fn steady(&mut self, miner: &Miner, power: f64, at: Moment) -> bool {
        let Some((before, known)) = self.reading else {
            self.reading = Some((at, power));
            return false;
        };
        let apart = at - before;
        if apart < STEADY_OVER {
            return false;
        }
        self.reading = Some((at, power));
        let most = miner.nameplate.get() * STEADY * apart.as_secs_f64().min(10.0);
        // A reading is steady within its own noise, whatever the time.
        (power - known).abs() <= most.max(band(miner))
    }

    /// Whether the draw has stood for longer than a slow climb stays within its noise.
    fn has_stood(&self, at: Moment) -> bool {
        self.standing.is_some_and(|(since, _)| at - since >= STOOD)
    }

    pub(super) fn note_progress(&mut self, miner: &Miner, power: f64, goal: f64, now: Moment) {
        if let Some(sent) = self.sent.as_mut() {
            let way = sent.from - goal;
            sent.moving |= way.abs() > miner.nameplate.get() * NEAR.1 && (sent.from - power) / way > MOVED;
            let closer = (sent.stuck_at - goal).abs() - (power - goal).abs();
            if near(miner, power, goal)
                || closer > (sent.stuck_at.abs() * NEAR.0).max(miner.nameplate.get() * NEAR.1)
            {
                sent.stuck_since = now;
                sent.stuck_at = power;
            }
        }
    }

    /// A reading of this moment is at the goal.
    fn arrive(&mut self, miner: &Miner, at: Moment, goal: f64) {
        if let Some(sent) = self.sent.as_mut() {
            if at <= sent.at {
                return;
            }
            if !sent.arrived && !near(miner, sent.from, goal) {
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
}
