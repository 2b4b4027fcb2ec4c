//! The fleet is allocated, not switched: which miner runs at which power.
//!
//! [`track`] follows a moving budget with few commands, [`optimum`] finds the best allocation and a proven bound,
//! and [`rebalance`] moves from one to the other where the gain pays for the change. All three work on the same
//! [`Item`]s; powers are true settled watts.

pub mod core;
pub mod curve;
pub mod optimum;
mod ranking;
pub mod rebalance;
pub mod track;

use serde::{Deserialize, Serialize};

use crate::control::site::{Actuator, LoadClass, OperatingPoint};

/// A cap of a server that is no further above its draw than this share of its highest takes from its work, or soon may.
const LITTLE_SLACK: f64 = 0.03;
/// What is left above the draw of one whose cap comes down because nobody uses it, as a share of its highest: so that a job which goes on as
/// it did stands below its cap and is not raised for nothing.
const SPARE: f64 = 0.02;
/// One that draws to within this share of its highest of its cap uses it.
const USED: f64 = 0.01;

/// Where a miner is or shall be put. The power is in the miner's own watts, as it is commanded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Level {
    /// Not hashing.
    Sleep,
    /// Hashing at this target.
    Power(f64),
}

/// One miner as the allocation sees it.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Its circuit.
    pub circuit: usize,
    /// Its operating points, by rising power.
    pub points: &'a [OperatingPoint],
    /// Who gives power up before whom.
    pub class: LoadClass,
    /// Whether it can be put to sleep.
    pub sleeps: bool,
    /// Own watts below which it is not told to go, because that was agreed; 0 where nothing was, or where that does not count now.
    pub contract: f64,
    /// True watts asleep. Of one that does not sleep it says nothing.
    pub sleep: f64,
    /// True watts below which it does not go while it hashes, whatever its target.
    pub floor: f64,
    /// True watts that it cannot be kept from drawing, short of sleep, once a miner that is woken now begins to draw.
    pub base: f64,
    /// True settled watts per commanded watt.
    pub scale: f64,
    /// How finely it can be set.
    pub actuator: Actuator,
    /// The range of targets that the device itself accepts, in its own watts.
    pub range: (f64, f64),
    /// Where it is put now.
    pub level: Level,
    /// True settled watts at that level.
    pub settled: f64,
    /// True watts that it draws now, as estimated.
    pub drawn: f64,
    /// True watts that budgets count for it at least until the next command acts.
    pub counted: f64,
    /// True watts that it may draw under its cap and has not drawn lately: taken off every limit but that of the surplus.
    pub slack: f64,
    /// Whether it may be commanded at all; if not, `counted` stands.
    pub movable: bool,
    /// Whether it runs at its level, or sleeps. One that starts, or has restarted by itself, draws what it draws until
    /// it is there: `settled` is then what must be counted for it, and sleep is the only way to lower it.
    pub steady: bool,
    /// Whether it is kept asleep because somebody works on it.
    pub held: bool,
    /// Whether its power may be raised now.
    pub raisable: bool,
    /// Whether it may be woken now.
    pub wakeable: bool,
    /// Whether it could be woken, had it not been moved a short time ago.
    pub resting: bool,
    /// Seconds of full hashrate that an adjustment costs.
    pub adjust_cost: f64,
    /// Seconds of full hashrate that sleeping and coming back costs.
    pub sleep_cost: f64,
    /// How many times dearer lowering it counts because it may not follow; 1 for one that was seen to.
    pub wary: f64,
    /// Seconds until a lowering begins to show.
    pub dead_time_down: f64,
    /// Watts per second while lowering.
    pub ramp_down: f64,
    /// Seconds until a raise begins to show: from sleep and from hashing.
    pub dead_time_up: (f64, f64),
    /// Watts per second while raising.
    pub ramp_up: f64,
    /// Seconds from a raise to the next one.
    pub rest: f64,
    /// Fraction above its target that it may draw while starting.
    pub overshoot: f64,
    /// Whether it starts at its maximum, whatever its target.
    pub starts_at_full: bool,
}

impl Item<'_> {
    /// Whether the allocation may put it at any level. One that is idle has a cap that nobody uses: what it draws is another matter.
    pub fn free(&self) -> bool {
        self.movable && self.steady && !self.held && !self.idle()
    }

    /// Whether its cap lies so far above what it draws that it takes nothing from its work.
    pub fn idle(&self) -> bool {
        self.slack > 0.0 && self.slack > self.maximum() * self.scale * LITTLE_SLACK
    }

    /// Whether its work has not come near its cap, which a higher one would not change.
    pub fn unused(&self) -> bool {
        self.slack > 0.0 && self.slack > self.maximum() * self.scale * USED
    }

    /// True watts to which the cap of an idle one comes down.
    pub fn trimmed(&self) -> f64 {
        self.settled + self.maximum() * self.scale * SPARE
    }

    /// The least own watts while hashing: by its points, by the device where that is more, and by what was agreed.
    pub fn minimum(&self) -> f64 {
        // Most have neither a contract nor a floor, and this is asked often.
        let own = |watts: f64| if watts > 0.0 { watts / self.scale } else { 0.0 };
        match self.actuator {
            Actuator::OnOff | Actuator::Fixed => self.maximum(),
            Actuator::Continuous { quantum } => {
                let lowest = self.points.first().map_or(0.0, |point| point.power.get());
                let whole = |watts: f64, to: fn(f64) -> f64| {
                    if watts > 0.0 { to(watts / quantum.get()) * quantum.get() } else { 0.0 }
                };
                // A floor lies where it lies; a target that is the lowest is one that can be set.
                let floor = whole(own(self.floor), f64::floor);
                let agreed = whole(self.contract, f64::ceil);
                lowest.max(self.range.0).max(floor).max(agreed).min(self.maximum())
            }
            Actuator::Steps => {
                let enough = self.points.iter().find(|point| point.power.get() >= self.contract);
                enough.or(self.points.last()).map_or(0.0, |point| point.power.get())
            }
        }
    }

    /// Whether there is a lowering of it that takes certainty: to sleep.
    pub fn may_sleep(&self) -> bool {
        self.sleeps && self.movable && self.level != Level::Sleep && self.settled > self.sleep
    }

    /// The lowest level that it can be put to.
    pub fn lowest(&self) -> Level {
        if self.sleeps { Level::Sleep } else { Level::Power(self.minimum()) }
    }

    /// True settled watts there.
    pub fn least(&self) -> f64 {
        if self.sleeps { self.sleep } else { self.power_at(self.lowest()) }
    }

    /// The most own watts: by its points, and by the device where that is less.
    pub fn maximum(&self) -> f64 {
        let (lowest, highest) = match self.points {
            [lowest, .., highest] => (lowest.power.get(), highest.power.get()),
            [only] => (only.power.get(), only.power.get()),
            [] => (0.0, 0.0),
        };
        match self.actuator {
            Actuator::Continuous { .. } => highest.min(self.range.1).max(lowest),
            Actuator::Steps | Actuator::OnOff | Actuator::Fixed => highest,
        }
    }

    /// The level with the most hashrate for what it draws beyond sleep.
    pub fn best(&self) -> Level {
        let least = self.least() / self.scale;
        let worth = |point: &OperatingPoint| point.hashrate.get() / (point.power.get() - least).max(1.0);
        let best = match self.actuator {
            Actuator::OnOff | Actuator::Fixed => self.points.last(),
            Actuator::Continuous { .. } | Actuator::Steps => {
                let each = self.points.iter().map(|point| (worth(point), point));
                each.max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, point)| point)
            }
        };
        let within = |power: f64| power.clamp(self.minimum(), self.maximum().max(self.minimum()));
        best.map_or(self.lowest(), |point| Level::Power(within(point.power.get())))
    }

    /// Hashrate at the maximum.
    pub fn full_hashrate(&self) -> f64 {
        curve::hashrate(self.points, self.maximum())
    }

    /// True settled watts at a level.
    pub fn power_at(&self, level: Level) -> f64 {
        match level {
            Level::Sleep => self.sleep,
            Level::Power(power) => (power * self.scale).max(self.floor),
        }
    }

    /// Hashrate at a level.
    pub fn hashrate_at(&self, level: Level) -> f64 {
        match level {
            Level::Sleep => 0.0,
            Level::Power(power) => curve::hashrate(self.points, power),
        }
    }

    /// The highest level that settles at or below a true power: rounded down, never up. The lowest when not even the
    /// minimum fits.
    pub fn fit(&self, power: f64) -> Level {
        // A hair of tolerance, so that a level that was taken for a budget is found again under the same budget.
        let own = power / self.scale * (1.0 + 1e-12) + 1e-9;
        let (low, high) = (self.minimum(), self.maximum());
        if own.is_nan() || own < low {
            return self.lowest();
        }
        match self.actuator {
            Actuator::OnOff | Actuator::Fixed => Level::Power(high),
            Actuator::Steps => {
                let above = self.points.partition_point(|point| point.power.get() <= own);
                let point = above.checked_sub(1).and_then(|index| self.points.get(index));
                point.map_or(self.lowest(), |point| Level::Power(point.power.get()))
            }
            Actuator::Continuous { .. } if own >= high => Level::Power(high),
            Actuator::Continuous { quantum } => {
                let quantum = quantum.get().max(1e-3);
                Level::Power(((own / quantum).floor() * quantum).clamp(low, high))
            }
        }
    }

    /// Seconds until a raise by this many watts has happened.
    pub fn time_up(&self, watts: f64) -> f64 {
        let (waking, awake) = self.dead_time_up;
        let dead = if self.level == Level::Sleep { waking } else { awake };
        dead + if self.ramp_up > 0.0 { watts / self.ramp_up } else { 0.0 }
    }

    /// True watts to keep free for waking it to a level.
    pub fn start_draw(&self, level: Level) -> f64 {
        let goal = self.power_at(level);
        let most = if self.starts_at_full { self.power_at(Level::Power(self.maximum())) } else { goal };
        goal.max(most) * (1.0 + self.overshoot)
    }

    /// Seconds until a lowering by this many watts has happened.
    pub fn time_down(&self, watts: f64) -> f64 {
        self.dead_time_down + if self.ramp_down > 0.0 { watts / self.ramp_down } else { 0.0 }
    }

    /// True watts that it can be up to in so many seconds, wherever it is put.
    pub fn up_in(&self, seconds: f64) -> f64 {
        let moving = (seconds - self.dead_time_up.1).max(0.0);
        let up = if self.ramp_up > 0.0 || moving <= 0.0 { moving * self.ramp_up } else { f64::INFINITY };
        self.drawn + up
    }

    /// True watts that it can be down to in so many seconds without sleep.
    pub fn down_in(&self, seconds: f64) -> f64 {
        let moving = seconds - self.dead_time_down;
        let down = if moving <= 0.0 {
            0.0
        } else if self.ramp_down > 0.0 {
            moving * self.ramp_down
        } else {
            f64::INFINITY
        };
        (self.drawn.min(self.settled) - down).max(self.power_at(Level::Power(self.minimum())))
    }
}
