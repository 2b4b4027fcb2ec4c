//! How late a meter shows what the miners do, and how sure that is.
//!
//! Each new sample of the meter is compared with the draw of the miners (the control law's estimate, or a meter that
//! sees them alone) at the same time, half a second before, a second before and so on. Compared are changes of changes:
//! what else hangs on the circuit mostly keeps its level or its slope over three samples, and vanishes; a fleet that was
//! told to move does not. That also keeps apart what the fleet does and the cloud that it answers, which look alike a
//! few seconds later.
//!
//! For each candidate the evidence is summed up as a logarithm of likelihood, by Student's distribution with two degrees
//! of freedom: one sample, however odd, moves it by little. What is not yet ruled out is the [`Doubt`], and the
//! control law counts with all of it. Before any evidence that is everything up to ten seconds.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// Between two candidates.
const STEP: Duration = HALFWAY.saturating_mul(2);
/// What is learned stands for all lags as far as halfway to the next candidate.
pub const HALFWAY: Duration = Duration::from_millis(250);
/// Candidates before zero: the meter may be ahead of the one that sees the miners.
const AHEAD: usize = 4;
/// Candidates from zero on.
const BEHIND: usize = 41;
const CANDIDATES: usize = AHEAD + BEHIND;
/// Samples closer than this to the one before are left out: they would be compared with the noise of time stamps.
const CLOSEST: Duration = Duration::from_millis(900);
/// Samples further apart than this tell nothing of lags of some seconds.
const WIDEST: Duration = Duration::from_secs(90);
/// Over this time evidence loses most of its weight, in seconds.
const FORGET: f64 = 600.0;
/// Degrees of freedom of the distribution of what the miners leave unexplained.
const FREEDOM: f64 = 2.0;
/// Changes of changes overlap, so that three samples say about as much as one.
const OVERLAP: f64 = 0.4;
/// The size of what is unexplained follows the latest samples over this time, in seconds.
const SIZE_TIME: f64 = 60.0;
/// Movements of less than this part of the nameplates tell nothing.
const STILL: f64 = 0.002;
/// The estimate of a movement is wrong by this share of it, if only in time: a miner that starts or is read seldom is
/// seen late itself. One clean movement proves little.
const MODEL: f64 = 0.08;
/// A candidate that is less likely than the best one by this factor (a logarithm: 55 to 1) is ruled out.
const RULED_OUT: f64 = 4.0;
/// How much less likely a lag is before any evidence: it falls by e for each of these, in seconds. Meters that share a
/// link with the one that sees the miners are mostly as late as that.
const PRIOR: (f64, f64) = (2.5, 1.2);
/// A lag is told to people once it is known to this.
const KNOWN: Duration = Duration::from_secs(2);
/// More samples that wait to be compared than any link delivers meanwhile.
const MOST_WAITING: usize = 64;

/// What is not ruled out of how late a meter is, in seconds; negative when it is ahead of what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    /// The most likely.
    pub best: f64,
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Doubt {
    /// No doubt.
    pub const fn certain(lag: f64) -> Self {
        Self { best: lag, least: lag, most: lag }
    }

    /// Half a second or a second more to either side: what time stamps and models of single miners are wrong by.
    pub fn widened(self, by: f64) -> Self {
        Self { best: self.best, least: self.least - by, most: self.most + by }
    }
}

/// What a meter is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Against {
    /// The estimate: a meter cannot be ahead of it.
    Estimate,
    /// Another meter, or several.
    Meters,
}

/// Learns the lag of one meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LagEstimator {
    waiting: VecDeque<(Moment, f64)>,
    /// The latest two samples that were compared: stamp, and value in watts.
    before: [Option<(Moment, f64)>; 2],
    /// For each candidate, how likely it is; a logarithm.
    #[serde(with = "crate::control::array")]
    score: [f64; CANDIDATES],
    /// The usual size of what the best candidate leaves unexplained, in watts.
    size: Option<f64>,
    /// What people are told; to and fro between two neighbours would be no news.
    told: Option<f64>,
}

impl Default for LagEstimator {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), before: [None; 2], score: [0.0; CANDIDATES], size: None, told: None }
    }
}

/// The lag of a candidate, in seconds.
fn lag(candidate: usize) -> f64 {
    let steps =
        f64::from(u32::try_from(candidate).unwrap_or(0)) - f64::from(u32::try_from(AHEAD).unwrap_or(0));
    steps * STEP.as_secs_f64()
}

/// The moment by the lag of a candidate earlier.
fn earlier(at: Moment, candidate: usize) -> Moment {
    let steps = |count: usize| STEP * u32::try_from(count).unwrap_or(0);
    match candidate.checked_sub(AHEAD) {
        Some(behind) => at.earlier(steps(behind)),
        None => at + steps(AHEAD.saturating_sub(candidate)),
    }
}

/// How far a movement of the meter lies outside of all that the miners did at the lags from halfway to the candidate before up to halfway
/// to the one after.
fn beyond(meter: f64, moves: &[f64; CANDIDATES], candidate: usize) -> f64 {
    let Some(own) = moves.get(candidate) else { return meter.abs() };
    let at = |place: Option<usize>| place.and_then(|place| moves.get(place)).copied();
    // By the third degree where there are four of them: what swings within a few steps is no straight line between two.
    let halfway = |inner: Option<f64>, next: Option<f64>, beyond: Option<f64>| match (inner, next, beyond) {
        (Some(inner), Some(next), Some(beyond)) => (9.0 * (own + next) - inner - beyond) / 16.0,
        (_, Some(next), _) => f64::midpoint(*own, next),
        (_, None, _) => *own,
    };
    let [one, two] = [1, 2].map(|steps| candidate.checked_sub(steps));
    let [first, second] = [1, 2].map(|steps| candidate.checked_add(steps));
    let before = halfway(at(first), at(one), at(two));
    let after = halfway(at(one), at(first), at(second));
    let (low, high) = (own.min(before).min(after), own.max(before).max(after));
    (low - meter).max(meter - high).max(0.0)
}

/// The moment by a number of seconds earlier, or later where that is negative.
pub fn shifted(at: Moment, seconds: f64) -> Moment {
    let by = Duration::try_from_secs_f64(seconds.abs()).unwrap_or(Duration::ZERO);
    if seconds < 0.0 { at + by } else { at.earlier(by) }
}

impl LagEstimator {
    /// What is not ruled out.
    pub fn doubt(&self, against: Against) -> Doubt {
        let (best, _) = self.best(against);
        let ends = |(least, most): (f64, f64), lag: f64| (least.min(lag), most.max(lag));
        let (least, most) = self.open(against).fold((best, best), ends);
        Doubt { best, least, most }
    }

    /// Each candidate and how likely it is, by what is known before any evidence, too.
    fn judged(&self, against: Against) -> impl Iterator<Item = (f64, f64)> {
        let (first, prior) = match against {
            Against::Estimate => (AHEAD, PRIOR.0),
            Against::Meters => (0, PRIOR.1),
        };
        let all = self.score.iter().enumerate().skip(first);
        all.map(move |(candidate, score)| (lag(candidate), score - lag(candidate).abs() / prior))
    }

    /// The most likely one, and how likely it is.
    fn best(&self, against: Against) -> (f64, f64) {
        let more = |(best, top): (f64, f64), (lag, score): (f64, f64)| {
            if score > top { (lag, score) } else { (best, top) }
        };
        self.judged(against).fold((0.0, f64::NEG_INFINITY), more)
    }

    /// Those that are not ruled out, the least first.
    fn open(&self, against: Against) -> impl Iterator<Item = f64> {
        let (_, top) = self.best(against);
        self.judged(against).filter(move |(_, score)| *score >= top - RULED_OUT).map(|(lag, _)| lag)
    }

    /// The lag, once it is certain enough to be told.
    pub fn learned(&self) -> Option<Duration> {
        self.told.map(|lag| Duration::try_from_secs_f64(lag.max(0.0)).unwrap_or(Duration::ZERO))
    }

    /// Takes a new sample by its stamp. `miners` tells the draw of the miners in the meter's watts at a moment, as far as
    /// it is known, and `known` up to when; `starting` what those among them draw whose estimate may be off by all of it; `nameplate` is the
    /// most that they can draw, in watts.
    pub fn take(
        &mut self,
        at: Moment,
        value: f64,
        (miners, starting): (impl Fn(Moment) -> Option<f64>, impl Fn(Moment) -> f64),
        known: Moment,
        against: Against,
        nameplate: f64,
    ) {
        let newest = self.waiting.back().copied().or(self.before.last().copied().flatten());
        if newest.is_none_or(|(before, _)| at >= before + CLOSEST) && self.waiting.len() < MOST_WAITING {
            self.waiting.push_back((at, value));
        }
        let ahead = match against {
            Against::Estimate => Duration::ZERO,
            Against::Meters => STEP * u32::try_from(AHEAD).unwrap_or(0),
        };
        while let Some(&(at, value)) = self.waiting.front().filter(|(at, _)| *at + ahead <= known) {
            self.waiting.pop_front();
            self.compare(at, value, (&miners, &starting), against, nameplate);
            let doubt = self.doubt(against);
            let known = self.size.is_some() && doubt.most - doubt.least <= KNOWN.as_secs_f64();
            if known && self.told.is_none_or(|told| (told - doubt.best).abs() > 1.0) {
                self.told = Some(doubt.best);
            }
        }
    }

    fn compare(
        &mut self,
        at: Moment,
        value: f64,
        (miners, starting): (impl Fn(Moment) -> Option<f64>, impl Fn(Moment) -> f64),
        against: Against,
        nameplate: f64,
    ) {
        let [older, newer] = self.before;
        self.before = [newer, Some((at, value))];
        let (Some((first, low)), Some((middle, mid))) = (older, newer) else { return };
        let (early, late) = (middle - first, at - middle);
        if early > WIDEST || late > WIDEST || early.is_zero() || nameplate <= 0.0 {
            return;
        }
        let stretch = late.as_secs_f64() / early.as_secs_f64();
        let bend = |low: f64, mid: f64, high: f64| (high - mid) - (mid - low) * stretch;
        let meter = bend(low, mid, value);
        let mut moves = [0.0; CANDIDATES];
        // When one that starts begins to draw is a guess until its next reading: by all of that the estimate may be off.
        let mut guessed = 0.0_f64;
        for (candidate, moved) in moves.iter_mut().enumerate() {
            let then = |moment: Moment| miners(earlier(moment, candidate));
            let (Some(low), Some(mid), Some(high)) = (then(first), then(middle), then(at)) else { return };
            *moved = bend(low, mid, high);
            let [low, mid, high] = [first, middle, at].map(|moment| starting(earlier(moment, candidate)));
            guessed = guessed.max(bend(low, mid, high).abs());
        }
        let keep = (-late.as_secs_f64() / FORGET).exp();
        let floor = nameplate * STILL / 4.0;
        let size = self.size.unwrap_or(meter.abs()).max(floor);
        let largest = moves.iter().fold(0.0_f64, |largest, moved| largest.max(moved.abs()));
        let moving = largest > nameplate * STILL;
        let size = size.hypot(largest * MODEL).hypot(guessed);
        let likely =
            |rest: f64| -OVERLAP * (FREEDOM + 1.0) / 2.0 * (rest * rest / (FREEDOM * size * size)).ln_1p();
        let mut rests = moves.map(|moved| (meter - moved).abs());
        if against == Against::Meters {
            // Two meters have new values at moments of their own: a candidate stands for all lags up to halfway to the next.
            for (candidate, rest) in rests.iter_mut().enumerate() {
                *rest = beyond(meter, &moves, candidate);
            }
        }
        let mut least = meter.abs();
        for (rest, score) in rests.iter().zip(self.score.iter_mut()) {
            *score *= keep;
            if moving {
                *score += likely(*rest);
            }
            least = least.min(*rest);
        }
        let best = self.doubt(Against::Meters).best;
        let rest = rests
            .iter()
            .enumerate()
            .find(|(candidate, _)| (lag(*candidate) - best).abs() < STEP.as_secs_f64() / 2.0)
            .map_or(least, |(_, rest)| *rest);
        let weight = 1.0 - (-late.as_secs_f64().min(SIZE_TIME) / SIZE_TIME).exp();
        self.size = Some(match self.size {
            // One odd sample must not make everything look small.
            Some(known) => known + (rest.min(known.max(floor) * 6.0) - known) * weight,
            None => rest,
        });
        // Only differences count: kept near zero so that nothing is lost to rounding.
        let top = self.score.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        self.score.iter_mut().for_each(|score| *score -= top);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::history::History;

    /// 100 kW of miners that move at random about every seven seconds, seen by a meter with this lag among other load.
    fn watch(seconds: u64, lag: f64, noise: f64, slope: f64, share: f64) -> LagEstimator {
        let mut seed = 7_u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 33).unwrap()) / f64::from(u32::MAX >> 1) - 0.5
        };
        let mut estimator = LagEstimator::default();
        let mut draw = History::default();
        let (mut level, mut goal) = (50e3, 50e3);
        for tick in 0..seconds * 10 {
            let now = Moment::millis(20_000 + tick * 100);
            if tick % 70 == 0 {
                goal = 50e3 + 100e3 * share * random();
            }
            level += (goal - level).clamp(-2_000.0, 2_000.0);
            draw.push(now, level);
            if tick % 10 == 0 {
                let seen = draw.at(now.earlier(Duration::from_secs_f64(lag))).unwrap();
                let seconds = now.since_start().as_secs_f64();
                let other = -slope * (seconds / 20.0).sin() + noise * random();
                let known = draw.newest().unwrap().0;
                estimator.take(
                    now,
                    seen + other,
                    (|at| draw.at(at), |_| 0.0),
                    known,
                    Against::Estimate,
                    100e3,
                );
            }
        }
        estimator
    }

    #[test]
    fn before_any_evidence_everything_up_to_ten_seconds_is_open() {
        let doubt = LagEstimator::default().doubt(Against::Estimate);
        assert!(doubt.least.abs() < 1e-9 && doubt.most >= 10.0, "{doubt:?}");
        assert_eq!(LagEstimator::default().learned(), None);
    }

    #[test]
    fn the_lag_of_a_meter_is_narrowed_within_a_minute_and_never_ruled_out() {
        for (noise, slope) in [(200.0, 0.0), (500.0, 30e3), (3e3, 10e3)] {
            for lag in [0.0, 0.5, 2.0, 4.0, 7.0, 15.0] {
                let doubt = watch(120, lag, noise, slope, 0.3).doubt(Against::Estimate);
                assert!(doubt.least <= lag + 1e-9 && doubt.most >= lag - 1e-9, "{doubt:?} for {lag}");
                assert!(doubt.most - doubt.least <= 3.0, "{doubt:?} for {lag}, noise {noise}");
            }
        }
    }

    /// Miners begin to draw 3 kW each, one every seven seconds. The meter shows it half a second later, and they say it with their next reading,
    /// which comes up to five seconds later: the estimate moves while the meter stands.
    #[test]
    fn miners_that_start_prove_no_lag() {
        let (mut estimator, mut draw, mut starts) =
            (LagEstimator::default(), History::default(), History::default());
        for tick in 0..120_u32 {
            let seconds = f64::from(tick);
            let now = Moment::after_start(Duration::from_secs(u64::from(20 + tick)));
            let begun =
                |late: f64| (0..15).filter(|miner| seconds >= 10.0 + 7.0 * f64::from(*miner) + late).count();
            let kilowatts = |miners: usize| 3e3 * f64::from(u32::try_from(miners).unwrap());
            let late = 2.0 + f64::from(tick / 7 % 4);
            draw.push(now, kilowatts(begun(late)));
            starts.push(now, kilowatts(begun(late) - begun(40.0)));
            let starting = |at: Moment| starts.at(at).unwrap_or(0.0);
            let noise = 60.0 * (seconds * 1.7).sin();
            let seen = kilowatts(begun(0.5)) + noise;
            estimator.take(now, seen, (|at| draw.at(at), starting), now, Against::Estimate, 72e3);
        }
        let doubt = estimator.doubt(Against::Estimate);
        assert!(
            doubt.least <= 0.5 && doubt.most >= 10.0,
            "what is true is not ruled out, and not much is: {doubt:?}"
        );
        assert_eq!(estimator.learned(), None);
    }

    /// 0.37 Hz beside a meter that has its values a part of a second before or after the other: then one period or three are nearer to a
    /// candidate than what it really is.
    #[test]
    fn periods_of_a_swing_are_not_taken_for_a_lag() {
        for late in [-0.2, -0.1, 0.2] {
            let swing = |at: f64| 200e3 * (at * std::f64::consts::TAU * 0.37).sin();
            let (mut estimator, mut draw) = (LagEstimator::default(), History::default());
            for half in 0..600_u32 {
                let now = Moment::after_start(Duration::from_millis(20_000 + 500 * u64::from(half)));
                draw.push(now, swing(now.since_start().as_secs_f64()));
                let seen = swing(now.since_start().as_secs_f64() - late);
                estimator.take(now, seen, (|at| draw.at(at), |_| 0.0), now, Against::Meters, 2e6);
            }
            let doubt = estimator.doubt(Against::Meters);
            assert!(doubt.best.abs() <= 0.5, "{doubt:?} for {late}");
        }
    }

    #[test]
    fn nothing_is_claimed_without_movement_or_in_noise() {
        for (noise, share) in [(200.0, 0.002), (60e3, 0.1)] {
            let seen = watch(600, 2.0, noise, 0.0, share);
            assert_eq!(seen.learned(), None);
        }
    }
}
