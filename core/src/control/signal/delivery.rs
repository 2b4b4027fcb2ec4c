//! Whether an order was delivered: measured, not assumed.

use std::time::Duration;

use super::order::Basis;
use super::time::Wall;
use crate::units::{Joules, Watts};

/// Power up to this share above a cap, or [`TOLERANCE_LEAST`], still meets it: meters and miners are not exact.
const TOLERANCE: f64 = 0.01;
/// See [`TOLERANCE`].
const TOLERANCE_LEAST: Watts = Watts::whole(100);
/// A gap between two observations longer than this is not counted as measured time.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// The record of one order.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The cap that it came to.
    pub cap: Watts,
    /// What would have been drawn without it, as stated when it was accepted.
    pub baseline: Option<Watts>,
    /// Against what it is judged.
    pub basis: Basis,
    /// When it was received.
    pub received: Wall,
    /// When a decision first obeyed it.
    pub applied: Option<Wall>,
    /// When the measured power was first at or below it, or as low as its miners go, since it was applied.
    pub met: Option<Wall>,
    /// When it ended.
    pub ended: Option<Wall>,
    /// The time for which it held and power was measured.
    pub measured: Duration,
    /// Energy in that time.
    pub energy: Joules,
    /// The farthest above the cap after it was first met; zero when never.
    pub worst: Watts,
    /// How far the latest measurement is above the cap; zero when it is met, as when all sleep whom it caps; `None` while nothing is
    /// measured.
    pub shortfall: Option<Watts>,
    /// The highest mean over a whole window, where the order is judged so.
    pub worst_mean: Option<Watts>,
    window: (Duration, Joules),
    last: Option<Wall>,
}

impl Delivery {
    /// An order that was accepted at a moment.
    pub fn new(cap: Watts, baseline: Option<Watts>, basis: Basis, received: Wall) -> Self {
        Self {
            cap,
            baseline,
            basis,
            received,
            applied: None,
            met: None,
            ended: None,
            measured: Duration::ZERO,
            energy: Joules::ZERO,
            worst: Watts::ZERO,
            shortfall: None,
            worst_mean: None,
            window: (Duration::ZERO, Joules::ZERO),
            last: None,
        }
    }

    /// One cycle in which the order held. `power` is what its scope measures; `None` while nothing is measured,
    /// which is no delivery. `rests`: nothing is measured but what miners draw asleep, so that nobody can go lower. The figures
    /// are of what was measured all the same.
    pub fn observe(&mut self, wall: Wall, power: Option<Watts>, rests: bool) {
        self.applied.get_or_insert(wall);
        let step = self.last.map_or(Duration::ZERO, |last| wall.since(last));
        self.last = Some(wall);
        let Some(power) = power else {
            self.shortfall = None;
            return;
        };
        let above = (power - self.cap).at_least_zero();
        let tolerance = self.cap.scaled(TOLERANCE).max(TOLERANCE_LEAST);
        let meets = rests || above <= tolerance;
        self.shortfall = Some(if meets { Watts::ZERO } else { above });
        if meets {
            self.met.get_or_insert(wall);
        }
        if self.met.is_some() {
            self.worst = self.worst.max(above);
        }
        if step > LONGEST_STEP {
            return;
        }
        self.measured = self.measured.saturating_add(step);
        self.energy += power.over(step);
        if let Basis::Mean(window) = self.basis {
            self.window = (self.window.0.saturating_add(step), self.window.1 + power.over(step));
            if self.window.0 >= window {
                let mean = mean(self.window.1, self.window.0);
                self.worst_mean = Some(self.worst_mean.map_or(mean, |worst| worst.max(mean)));
                self.window = (Duration::ZERO, Joules::ZERO);
            }
        }
    }

    /// It holds no longer.
    pub fn end(&mut self, wall: Wall) {
        self.ended.get_or_insert(wall);
        self.shortfall = None;
    }

    /// Mean power while it held; `None` before anything was measured.
    pub fn mean(&self) -> Option<Watts> {
        (self.measured > Duration::ZERO).then(|| mean(self.energy, self.measured))
    }

    /// How far the mean lies above the cap (positive) or below it (negative).
    pub fn deviation(&self) -> Option<Watts> {
        self.mean().map(|mean| mean - self.cap)
    }

    /// Energy that was not consumed, against the baseline; negative when more was. `None` without a baseline.
    pub fn avoided(&self) -> Option<Joules> {
        self.baseline.map(|baseline| baseline.over(self.measured) - self.energy)
    }

    /// What was delivered of the reduction that was asked, as a fraction: 1 is exactly what was asked, 1.2 a fifth
    /// more. `None` without a baseline, before anything was measured, and where nothing was to be reduced.
    pub fn delivered(&self) -> Option<f64> {
        let baseline = self.baseline?;
        (baseline - self.mean()?).ratio((baseline - self.cap).at_least_zero())
    }
}

/// Mean power of an energy over a time that is not zero.
fn mean(energy: Joules, time: Duration) -> Watts {
    Watts::saturating(energy.get() / time.as_secs_f64())
}
