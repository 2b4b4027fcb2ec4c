//! A recorded surplus as a function of time: equal intervals of which the means are known, and what happens between.
//!
//! Inside an interval the power runs in two straight pieces, from its value at the beginning over one in the middle to
//! that at the end, without a jump from one interval to the next. In intervals of 30 s and more the one in the middle is such
//! that **the mean of each interval is exactly what was recorded**: no energy is made or lost, and where all means are at or
//! above zero, so is the curve. Shorter intervals are taken for samples, joined by straight lines: the energy of the whole is
//! kept, and none of the restlessness is made up that the exact mean of each second would take.
//!
//! A recording of coarse intervals hides what was quicker. [`Curve::with_flutter`] adds a restlessness of a share of the
//! power, which is the same for the same seed; it is not in the recording.

use std::time::Duration;

use super::random::{lattice, smooth_noise};
use crate::units::Watts;

/// Restlessness is made of a slow and a quick part: share, period and stream.
const FLUTTER: [(f64, Duration, u64); 2] =
    [(0.8, Duration::from_secs(15), 0x91), (0.2, Duration::from_secs(4), 0x92)];

/// From here on the mean of each interval is kept; shorter ones are samples.
const COARSE: Duration = Duration::from_secs(30);

/// A recorded surplus: generation less what others draw, in front of the miners; negative where power is missing.
#[derive(Debug, Clone)]
pub struct Curve {
    interval: Duration,
    /// Mean of each interval, in watts; bridged where it is not known.
    means: Vec<f64>,
    known: Vec<bool>,
    flutter: f64,
    seed: u64,
}

impl Curve {
    /// A curve through the means of equal intervals, in watts; NaN is not known. An interval is a millisecond at least.
    pub fn new(means: &[f64], interval: Duration) -> Self {
        let known: Vec<bool> = means.iter().map(|mean| mean.is_finite()).collect();
        Self {
            interval: interval.max(Duration::from_millis(1)),
            means: bridged(means),
            known,
            flutter: 0.0,
            seed: 0,
        }
    }

    /// The same with a restlessness of at most this share of the power, from a seed.
    #[must_use]
    pub fn with_flutter(self, share: f64, seed: u64) -> Self {
        Self { flutter: if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }, seed, ..self }
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.interval.saturating_mul(u32::try_from(self.means.len()).unwrap_or(u32::MAX))
    }

    /// The length of an interval.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the power of a time is known; nothing is before the beginning and after the end.
    pub fn knows(&self, time: Duration) -> bool {
        self.known.get(self.slot(time).0).copied().unwrap_or(false)
    }

    /// The power at a time since the beginning. After the end it stays what it was last.
    pub fn at(&self, time: Duration) -> Watts {
        let (slot, into) = self.slot(time);
        let (begins, middle, ends) = self.knots(slot);
        let value = if into < 0.5 {
            begins + (middle - begins) * 2.0 * into
        } else {
            middle + (ends - middle) * (2.0 * into - 1.0)
        };
        if self.flutter <= 0.0 {
            return Watts::saturating(value);
        }
        let noise: f64 = FLUTTER
            .iter()
            .map(|(share, period, stream)| share * smooth_noise(self.seed, *stream, time, *period))
            .sum();
        Watts::saturating(value * (1.0 + self.flutter * noise))
    }

    /// Between which powers it stays from one time to another.
    pub fn range(&self, from: Duration, to: Duration) -> (Watts, Watts) {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut take = |value: f64| {
            let most = value.abs() * self.flutter;
            low = low.min(value - most);
            high = high.max(value + most);
        };
        let (first, last) = (self.slot(from).0, self.slot(to).0);
        take(self.at(from).get());
        take(self.at(to).get());
        let half = self.interval / 2;
        for slot in first..=last {
            let (begins, middle, ends) = self.knots(slot);
            let start = self.interval.saturating_mul(u32::try_from(slot).unwrap_or(u32::MAX));
            for (at, value) in
                [(start, begins), (start.saturating_add(half), middle), (start + self.interval, ends)]
            {
                if at >= from && at <= to {
                    take(value);
                }
            }
        }
        (Watts::saturating(low), Watts::saturating(high))
    }

    /// In which interval a time lies, and how far into it.
    fn slot(&self, time: Duration) -> (usize, f64) {
        let (slot, into) = lattice(time, self.interval);
        (usize::try_from(slot).unwrap_or(usize::MAX), into)
    }

    fn mean(&self, slot: usize) -> f64 {
        self.means.get(slot).or(self.means.last()).copied().unwrap_or(0.0)
    }

    /// The powers at the beginning, in the middle and at the end of an interval.
    fn knots(&self, slot: usize) -> (f64, f64, f64) {
        let mean = self.mean(slot);
        let before = slot.checked_sub(1).map_or(mean, |before| self.mean(before));
        let after = self.mean(slot.saturating_add(1));
        if self.interval < COARSE {
            return ((before + mean) / 2.0, mean, (mean + after) / 2.0);
        }
        let (begins, ends) = (between(before, mean), between(mean, after));
        (begins, 2.0 * mean - (begins + ends) / 2.0, ends)
    }
}

/// The power between two intervals: the middle of their means, as far as both can still be met without a change of sign.
fn between(one: f64, other: f64) -> f64 {
    let middle = (one + other) / 2.0;
    if one >= 0.0 && other >= 0.0 {
        middle.min(2.0 * one.min(other))
    } else if one <= 0.0 && other <= 0.0 {
        middle.max(2.0 * one.max(other))
    } else {
        0.0
    }
}

/// What is not known, on a straight line from what was known last to what is known next; beyond the ends, what is nearest.
fn bridged(means: &[f64]) -> Vec<f64> {
    let mut filled = Vec::with_capacity(means.len());
    let mut last: Option<f64> = None;
    let mut gap = 0_u32;
    for mean in means {
        if !mean.is_finite() {
            gap = gap.saturating_add(1);
            continue;
        }
        let from = last.unwrap_or(*mean);
        for step in 1..=gap {
            filled.push(from + (mean - from) * f64::from(step) / (f64::from(gap) + 1.0));
        }
        filled.push(*mean);
        (last, gap) = (Some(*mean), 0);
    }
    filled.extend((0..gap).map(|_| last.unwrap_or(0.0)));
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(means: &[f64]) -> Curve {
        Curve::new(means, Duration::from_secs(60))
    }

    fn mean(curve: &Curve, slot: u32) -> f64 {
        let middles = (0..600_u32).map(|part| Duration::from_millis(50 + 100 * u64::from(part)));
        let start = Duration::from_secs(60) * slot;
        middles.map(|into| curve.at(start + into).get()).sum::<f64>() / 600.0
    }

    #[test]
    fn every_interval_keeps_its_energy_and_no_sun_shines_below_zero() {
        let means = [0.0, 0.0, 500.0, 20.0, 900.0, 0.0, 5.0, -300.0, 40.0];
        let curve = curve(&means);
        for (slot, expected) in (0..).zip(means) {
            assert!((mean(&curve, slot) - expected).abs() < 1e-6, "{slot}: {}", mean(&curve, slot));
        }
        for second in 0..7 * 60 {
            assert!(curve.at(Duration::from_secs(second)).get() >= -1e-9, "{second}");
        }
    }

    #[test]
    fn samples_are_joined_by_straight_lines_and_the_whole_keeps_its_energy() {
        let samples = [4.0, 4.0, 10.0, 0.0, 8.0, 8.0];
        let curve = Curve::new(&samples, Duration::from_secs(1));
        let at = |milliseconds| curve.at(Duration::from_millis(milliseconds)).get();
        assert!(
            (at(2_500) - 10.0).abs() < 1e-9
                && (at(3_500) - 0.0).abs() < 1e-9
                && (at(3_000) - 5.0).abs() < 1e-9
        );
        let mean = (0..600).map(|part| at(5 + 10 * part)).sum::<f64>() / 600.0;
        assert!((mean - samples.iter().sum::<f64>() / 6.0).abs() < 1e-3, "{mean}");
    }

    #[test]
    fn nothing_jumps_and_the_range_holds_all_that_lies_in_it() {
        let curve = curve(&[100.0, 800.0, 300.0, -200.0, 50.0]).with_flutter(0.05, 9);
        let (from, to) = (Duration::from_secs(31), Duration::from_secs(260));
        let (low, high) = curve.range(from, to);
        let mut before = curve.at(from);
        for tenth in 310..=2_600_u64 {
            let now = curve.at(Duration::from_millis(100 * tenth));
            assert!(now >= low && now <= high);
            assert!((now - before).abs() < Watts::whole(20), "{tenth}");
            before = now;
        }
    }

    #[test]
    fn what_is_not_known_is_bridged_and_said() {
        let curve = curve(&[f64::NAN, 100.0, f64::NAN, f64::NAN, 400.0, f64::NAN]);
        assert_eq!(curve.means, [100.0, 100.0, 200.0, 300.0, 400.0, 400.0]);
        let known: Vec<bool> = (0..8).map(|slot| curve.knows(Duration::from_secs(60 * slot + 30))).collect();
        assert_eq!(known, [false, true, false, false, true, false, false, false]);
    }

    #[test]
    fn the_same_seed_flutters_alike_and_keeps_the_mean() {
        let flat = || curve(&[1_000.0; 100]);
        let one = flat().with_flutter(0.1, 4);
        let values: Vec<f64> = (0..6_000).map(|second| one.at(Duration::from_secs(second)).get()).collect();
        let again = flat().with_flutter(0.1, 4);
        assert!((0..6_000).all(|s| again.at(Duration::from_secs(s)) == one.at(Duration::from_secs(s))));
        let mean = values.iter().sum::<f64>() / 6_000.0;
        assert!((mean - 1_000.0).abs() < 10.0, "{mean}");
        assert!(values.iter().any(|value| (value - 1_000.0).abs() > 50.0));
    }
}
