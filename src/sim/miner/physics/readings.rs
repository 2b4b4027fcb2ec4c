//! What can be read off a miner: the truth for the plant, and what the firmware makes of it.

use std::time::Duration;

use crate::clock::Moment;
use crate::units::{Hashrate, Watts};

use super::body::channel;
use super::{Action, MinerState, Phase, Physics, READING_NOISE, REFRESH, Setting, TAIL_FRACTION, TAIL_LAG};

impl Physics {
    /// True draw at the wall.
    pub fn power(&mut self, now: Moment) -> Watts {
        self.advance(now);
        if let Some(power) = self.at_work() {
            return power;
        }
        Watts::saturating(self.with_drift(self.draw).min(self.body.nameplate))
    }

    /// Draw, hashrate, and up to when the draw stands still by itself: heat, which takes minutes, and the next command left
    /// aside. `now` while it moves.
    pub fn pulse(&mut self, now: Moment) -> (Watts, Hashrate, Moment) {
        let power = self.power(now);
        let moves = (self.course().0 - self.draw).abs() > 1e-6;
        let cools = match self.phase {
            Phase::Asleep { since } | Phase::Tripped { since } => {
                since > Moment::START && now.since(since).as_secs_f64() < 5.0 * TAIL_LAG
            }
            _ => false,
        };
        let mut until = if moves || cools { now } else { Moment::after_start(Duration::MAX) };
        if let Some((due, _)) = self.pending.first() {
            until = until.min(*due);
        }
        if let Phase::Rebooting { until: end, .. }
        | Phase::Starting { until: end }
        | Phase::Tuning { until: end } = self.phase
        {
            until = until.min(end);
        }
        if let Some(jobs) = &self.jobs {
            until = until.min(jobs.still(self.at));
        }
        (power, self.hashrate(now), until)
    }

    /// Adds what slow heat and a stopped miner's tail do to a draw.
    pub(super) fn with_drift(&self, draw: f64) -> f64 {
        if self.is_powered() {
            let turn = std::f64::consts::TAU * self.at.since_start().as_secs_f64() / self.body.wander_period;
            let wander = 0.002 * (turn + self.body.wander_phase).sin();
            draw * (1.0 + self.habits.thermal_drift * self.warmth + wander)
        } else {
            draw + self.tail()
        }
    }

    fn tail(&self) -> f64 {
        match self.phase {
            // A miner that sleeps since the beginning of the simulation has cooled down long ago.
            Phase::Asleep { since } | Phase::Tripped { since } if since > Moment::START => {
                let time = self.at.since(since).as_secs_f64();
                // Counts only as far as the draw itself has gone, so that a stop never begins with a rise.
                let gone =
                    (1.0 - (self.draw - self.body.sleep) / self.body.nameplate.max(1.0)).clamp(0.0, 1.0);
                TAIL_FRACTION * self.body.nameplate * gone * (-time / TAIL_LAG).exp()
            }
            _ => 0.0,
        }
    }

    /// The draw that the miner reports: filtered, with noise, refreshed once a second.
    pub fn reported(&mut self, now: Moment) -> Watts {
        let phase = self.body.refresh_phase;
        let ticks = (now.since_start().saturating_sub(phase)).as_millis() / REFRESH.as_millis().max(1);
        let tick = u64::try_from(ticks).unwrap_or(u64::MAX);
        if self.refresh != Some(tick) {
            let seconds = u32::try_from(tick).unwrap_or(u32::MAX);
            let moment = Moment::START + phase + REFRESH * seconds;
            // The refresh was before `now`: look at the state as it was then.
            if moment >= self.at && moment <= now {
                self.advance(moment);
            }
            let noise = 1.0 + READING_NOISE * self.noise.bell(channel::READING, tick);
            self.reported = self.says_of(self.with_drift(self.filtered)) * noise * self.body.says;
            self.refresh = Some(tick);
        }
        self.advance(now);
        Watts::saturating(self.reported).at_least_zero()
    }

    /// The average over some minutes that some firmware reports.
    pub fn average(&mut self, now: Moment) -> Watts {
        self.advance(now);
        Watts::saturating(self.says_of(self.with_drift(self.average)) * self.body.says).at_least_zero()
    }

    /// Hashrate, a few seconds behind the draw.
    pub fn hashrate(&mut self, now: Moment) -> Hashrate {
        self.advance(now);
        if let Some(drawn) = self.at_work() {
            return self.jobs.as_ref().map_or(Hashrate::ZERO, |jobs| jobs.rate(drawn.get(), self.at));
        }
        if self.hashing <= self.body.sleep {
            return Hashrate::ZERO;
        }
        // Two miners with the same setting hash alike; the one with the worse chips draws more for it.
        Hashrate::saturating(self.body.hashrate(self.hashing / (1.0 + self.body.error)))
    }

    /// What it is doing.
    pub fn state(&mut self, now: Moment) -> MinerState {
        self.advance(now);
        match self.phase {
            Phase::Rebooting { .. } | Phase::Dark { .. } => MinerState::Rebooting,
            Phase::Asleep { .. } => MinerState::Asleep,
            Phase::Starting { .. } => MinerState::Starting,
            Phase::Rising | Phase::Tuning { .. } => MinerState::Tuning,
            Phase::Hashing => MinerState::Hashing,
            Phase::Tripped { .. } => MinerState::Tripped,
        }
    }

    /// When the control board goes down or comes up next, if that is known.
    pub fn next_boot_change(&mut self, now: Moment) -> Option<Moment> {
        self.advance(now);
        if let Phase::Rebooting { until, .. } = self.phase {
            return Some(until);
        }
        self.pending.iter().find(|(_, action)| matches!(action, Action::Reboot { .. })).map(|(due, _)| *due)
    }

    /// The setting that the firmware would show: the latest one given, whether in force yet or not.
    pub fn shown_setting(&mut self, now: Moment) -> Option<Setting> {
        self.advance(now);
        self.latest()
    }

    /// What 100 % is.
    pub fn limit(&self) -> Watts {
        Watts::saturating(self.limit)
    }

    /// Warmth from 0 (cold) to 1 (long at nameplate power).
    pub fn warmth(&mut self, now: Moment) -> f64 {
        self.advance(now);
        self.warmth.clamp(0.0, 1.0)
    }

    /// Time since the mining software started; zero while it does not run.
    pub fn mining_time(&mut self, now: Moment) -> Duration {
        self.advance(now);
        let runs = self.is_powered() || matches!(self.phase, Phase::Starting { .. });
        if !runs && (self.habits.sleep_ends_software || !matches!(self.phase, Phase::Asleep { .. })) {
            return Duration::ZERO;
        }
        let head_start = if self.mining_since == Moment::START { self.head_start } else { Duration::ZERO };
        now.since(self.mining_since) + head_start
    }

    /// Time since the control board started.
    pub fn uptime(&mut self, now: Moment) -> Duration {
        self.advance(now);
        now.since(self.up_since) + self.head_start
    }

    /// How often mining was restarted by a command.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }
}
