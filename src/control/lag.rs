//! How late a meter shows what the miners do, learned from what both say.
//!
//! Each new sample of the meter is compared with the estimated draw of the miners at the same time, half a second
//! before, a second before and so on: where the two move alike, there the lag is. Compared are changes of changes, not
//! values: what else hangs on the circuit mostly keeps its level or its slope over three samples, and vanishes; a fleet
//! that was told to move does not. That also keeps apart what the fleet does and the cloud that it answers, which look
//! alike a few seconds later.
//!
//! What was learned minutes ago is forgotten in favour of what is seen now, and nothing is said before the miners have
//! moved enough, the meter's movements are explained by theirs in good part, and neighbouring lags explain them clearly
//! worse.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::history::History;

/// The longest lag that is looked for is one step less than this many.
const CANDIDATES: usize = 21;
/// Between two candidates.
const STEP: Duration = Duration::from_millis(500);
/// Samples further apart than this tell nothing of lags of some seconds.
const WIDEST: Duration = Duration::from_secs(5);
/// Over this time what was seen loses most of its weight, in seconds.
const FORGET: f64 = 300.0;
/// A movement of this part of the nameplates counts as one.
const MOVEMENT: f64 = 0.02;
/// So many such movements must be remembered.
const EXCITED: f64 = 6.0;
/// This part of the meter's movement must be the miners'.
const EXPLAINED: f64 = 0.5;
/// Lags this many steps away must explain the meter worse, by this factor.
const NEIGHBOURS: usize = 3;
/// See [`NEIGHBOURS`].
const WORSE: f64 = 1.3;
/// So many samples in a row must point at the same lag.
const AGREED: u32 = 20;

/// Learns the lag of one meter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LagEstimator {
    /// The latest two samples: stamp, and value in watts.
    before: [Option<(Moment, f64)>; 2],
    /// For each candidate, what the miners leave unexplained of the meter's movement, and their own movement; in
    /// watts squared.
    rest: [f64; CANDIDATES],
    moved: [f64; CANDIDATES],
    /// The meter's movement, in watts squared.
    seen: f64,
    /// The candidate that the latest samples point at, and how many in a row.
    pointed: Option<(usize, u32)>,
    learned: Option<usize>,
}

impl LagEstimator {
    /// The lag, once it is certain; stays until another one is.
    pub fn learned(&self) -> Option<Duration> {
        self.learned.map(|steps| STEP * u32::try_from(steps).unwrap_or(0))
    }

    /// Takes a new sample by its stamp. `draw` is the estimated draw of the miners that the meter sees, `gain` turns it
    /// into the meter's watts, and `nameplate` is the most that they can draw, in watts.
    pub fn take(&mut self, at: Moment, value: f64, draw: &History, gain: f64, nameplate: f64) {
        let [older, newer] = self.before;
        if newer.is_some_and(|(before, _)| before >= at) {
            return;
        }
        self.before = [newer, Some((at, value))];
        let (Some((first, low)), Some((middle, mid))) = (older, newer) else { return };
        let (early, late) = (middle - first, at - middle);
        let known = draw.oldest().is_some_and(|(oldest, _)| oldest <= first.earlier(longest()));
        if early > WIDEST || late > WIDEST || early.is_zero() || !known || nameplate <= 0.0 {
            return;
        }
        let stretch = late.as_secs_f64() / early.as_secs_f64();
        let bend = |low: f64, mid: f64, high: f64| (high - mid) - (mid - low) * stretch;
        let meter = bend(low, mid, value);
        let keep = (-late.as_secs_f64() / FORGET).exp();
        self.seen = self.seen * keep + meter * meter;
        let sums = self.rest.iter_mut().zip(self.moved.iter_mut());
        for ((rest, moved), steps) in sums.zip(0_u32..) {
            let then = |moment: Moment| draw.at(moment.earlier(STEP * steps)).unwrap_or(0.0) * gain;
            let miners = bend(then(first), then(middle), then(at));
            *rest = *rest * keep + (meter - miners) * (meter - miners);
            *moved = *moved * keep + miners * miners;
        }
        self.judge(nameplate);
    }

    fn judge(&mut self, nameplate: f64) {
        let best = self.best(nameplate);
        self.pointed = match (best, self.pointed) {
            (Some(best), Some((before, times))) if best.abs_diff(before) <= 1 => {
                Some((best, times.saturating_add(1)))
            }
            (Some(best), _) => Some((best, 1)),
            (None, _) => None,
        };
        if let Some((best, times)) = self.pointed
            && times >= AGREED
            // To and fro between two neighbours would be no news.
            && self.learned.is_none_or(|learned| learned.abs_diff(best) > 1 || times >= 4 * AGREED)
        {
            self.learned = Some(best);
            self.pointed = Some((best, 0));
        }
    }

    /// The candidate that explains the meter best, if it does so clearly.
    fn best(&self, nameplate: f64) -> Option<usize> {
        let candidates = self.rest.iter().copied().enumerate();
        let (best, rest) = candidates.min_by(|one, other| one.1.total_cmp(&other.1))?;
        let movement = nameplate * MOVEMENT;
        let excited = self.moved.get(best)? / (movement * movement) >= EXCITED;
        let explained = rest <= (1.0 - EXPLAINED) * self.seen;
        let sharp = self
            .rest
            .iter()
            .enumerate()
            .filter(|(steps, _)| steps.abs_diff(best) >= NEIGHBOURS)
            .all(|(_, other)| *other >= rest * WORSE);
        (excited && explained && sharp).then_some(best)
    }
}

/// The longest lag that is looked for.
fn longest() -> Duration {
    STEP * u32::try_from(CANDIDATES - 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 kW of miners that move at random about every seven seconds, seen by a meter with this lag among other load.
    fn learn(lag: f64, noise: f64, slope: f64, move_share: f64) -> Option<f64> {
        let mut seed = 7_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 33).unwrap()) / f64::from(u32::MAX >> 1) - 0.5
        };
        let mut estimator = LagEstimator::default();
        let (mut draw, mut truth) = (History::default(), History::default());
        let (mut level, mut goal) = (50e3, 50e3);
        for tick in 0..6_000_u64 {
            let now = Moment::millis(20_000 + tick * 100);
            if tick % 70 == 0 {
                goal = 50e3 + 100e3 * move_share * random();
            }
            level += (goal - level).clamp(-2_000.0, 2_000.0);
            draw.push(now, level);
            truth.push(now, level);
            if tick % 10 == 0 {
                let seen = truth.at(now.earlier(Duration::from_secs_f64(lag))).unwrap();
                let seconds = now.since_start().as_secs_f64();
                let other = -slope * (seconds / 20.0).sin() + noise * random();
                estimator.take(now, seen + other, &draw, 1.0, 100e3);
            }
        }
        estimator.learned().map(|lag| lag.as_secs_f64())
    }

    #[test]
    fn the_lag_of_a_meter_that_sees_miners_alone_is_found() {
        for lag in [0.0, 0.5, 1.5, 2.0, 4.0, 7.0] {
            let found = learn(lag, 200.0, 0.0, 0.3).unwrap();
            assert!((found - lag).abs() <= 0.5, "{found} for {lag}");
        }
    }

    #[test]
    fn clouds_over_the_same_meter_do_not_hide_it() {
        for lag in [0.0, 2.0, 4.0] {
            let found = learn(lag, 500.0, 30e3, 0.3).unwrap();
            assert!((found - lag).abs() <= 0.5, "{found} for {lag}");
        }
    }

    #[test]
    fn nothing_is_claimed_without_movement_or_in_noise() {
        assert_eq!(learn(2.0, 200.0, 0.0, 0.005), None, "the miners hardly move");
        assert_eq!(learn(2.0, 60e3, 0.0, 0.1), None, "the other load moves more than the miners");
    }
}
