//! What else than miners hangs on a circuit: its level without the noise of the meter, where it is going, and how wrong
//! that has lately been.
//!
//! **Level.** The samples are taken for a random walk that is seen through noise (the local level model: A. C. Harvey,
//! "Forecasting, structural time series models and the Kalman filter", 1989). Noise makes neighbouring changes of the
//! samples cancel, a real movement does not: the covariance of neighbouring changes is minus the variance of the noise,
//! and from both the gain of the filter follows. Without noise the gain is one and a sample counts at once and in full.
//! A step, two samples in a row that are far outside of what the noise explains, is taken at once as well; one such sample counts
//! for nothing once it is over. Of a meter with a new
//! value every few seconds or more seldom each counts in full: clouds change so much in between that their samples look like noise.
//!
//! **Trend.** A step is not a ramp: the load is taken to go on rising only when it has risen over each of the latest
//! three stretches of time, and as slowly as in the slowest of them.
//!
//! **Surprise.** Each sample is compared with what the control law had gone by for that instant: the level, and its
//! trend, of as long before as the whole loop takes (the lag of the meter, the cycle, the miners' own time). By so much
//! would the fleet have drawn too much. The reserve is the least that, kept free, would have held the energy imported in
//! this way to the stated share of what the miners draw. Only what has come again within a minute or two counts: a single
//! step, however large, says nothing about the next minutes. And what can still come depends on where the load is: one
//! that switches to and fro between two levels does not rise from the upper one. So surprises are kept apart by where in
//! the range of the last forty seconds the load was.
//!
//! What the reserve is worked out from is still a model of the loop. So its result is measured: while more is really
//! imported than the stated share, the reserve is worked out for less, and the other way round; it never becomes more than
//! what has been seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::history::History;
use crate::control::switching::Switching;
use crate::moment::Moment;

/// The statistics of changes follow the latest samples over this time, in seconds.
const CHANGE_TIME: f64 = 60.0;
/// A change beyond this many times the usual one counts as that many: one odd sample teaches little.
const ODD: f64 = 5.0;
/// Neighbouring changes that cancel by less than this say nothing about noise.
const NOISY: f64 = -0.12;
/// Two samples in a row this many times further off than usual are a step.
const STEP: f64 = 4.0;
/// Without a sample for this many usual pauses, and at least this long, the level is not known any more.
const GAP: (u32, Duration) = (6, Duration::from_secs(15));
/// The stretches of time over which a trend must hold are at least this long.
const STRETCH: Duration = Duration::from_secs(4);
/// Surprises lose most of their weight over this time, in seconds.
const SURPRISE_TIME: f64 = 70.0;
/// And so do those of a part of the range in which the load has not stood for this long.
const UNSEEN: Duration = Duration::from_secs(180);
/// But never over fewer samples than this.
const LEAST_KEPT: f64 = 30.0;
/// What has been watched for less than this is not known yet, in seconds.
const KNOWN: f64 = 60.0;
/// And by fewer samples than this.
const SAMPLES: f64 = 12.0;
/// Samples further apart than this are too few to tell where in that range they stand, or what of them is noise.
const SELDOM: Duration = Duration::from_secs(3);
/// So long before a load that switches may come back, room is made for it, beyond the time that the loop takes.
const AHEAD: Duration = Duration::from_millis(500);
/// Classes of surprises, each this many times the one below, from this share of the nameplates up to all of them.
const CLASSES: usize = 55;
const CLASS: f64 = 1.15;
const LOWEST: f64 = 0.000_5;
/// Over so long the range is taken in which the load stands low or high.
const RANGE: Duration = Duration::from_secs(40);
/// A range of less than this share of the nameplates is none.
const NARROW: f64 = 0.003;
/// How many parts of the range are told apart, where the upper ones begin, and where the middle of each lies. They are
/// narrower towards the top: a load that is on its way to its upper level has only the rest of the way to go.
const PARTS: usize = 4;
const EDGES: [f64; PARTS] = [0.0, 0.35, 0.7, 0.92];
const MIDDLES: [f64; PARTS] = [0.175, 0.525, 0.81, 0.96];
/// Where the load counts as standing while nobody can tell: the very middle of a part, so that what is learned there is
/// also what is kept free, and not mixed with a part in which nothing was ever learned.
const SOMEWHERE: f64 = 0.525;
/// Over this time, in seconds, what was really imported corrects the share that the reserve is worked out for, and by
/// which factors at the most.
const CORRECT_TIME: f64 = 100.0;
const CORRECTION: (f64, f64) = (0.02, 3.0);
/// What has come up less often than this lately, as the weights go, is a single event.
const OFTEN: f64 = 2.2;

/// Surprises of the recent past by size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Surprises {
    /// Seconds, and watt-seconds, spent in each class.
    #[serde(with = "crate::control::array")]
    seconds: [f64; CLASSES],
    #[serde(with = "crate::control::array")]
    energy: [f64; CLASSES],
    /// How many times the class, or a higher one, was reached, and when last.
    #[serde(with = "crate::control::array")]
    times: [f64; CLASSES],
    #[serde(with = "crate::control::array")]
    last: [Option<Moment>; CLASSES],
    /// All time that was watched, and the end of it.
    watched: f64,
    seen: Option<Moment>,
}

impl Default for Surprises {
    fn default() -> Self {
        Self {
            seconds: [0.0; CLASSES],
            energy: [0.0; CLASSES],
            times: [0.0; CLASSES],
            last: [None; CLASSES],
            watched: 0.0,
            seen: None,
        }
    }
}

impl Surprises {
    /// Time goes by in which the load is elsewhere. After a while what is not seen again becomes a single event, and in the
    /// end none: nothing is kept free for ever because the load does not come back.
    fn age(&mut self, at: Moment, seconds: f64) {
        if self.seen.is_none_or(|seen| at - seen < UNSEEN) {
            return;
        }
        let keep = (-seconds / SURPRISE_TIME).exp();
        let all = self.seconds.iter_mut().chain(self.energy.iter_mut()).chain(self.times.iter_mut());
        all.for_each(|value| *value *= keep);
        self.watched *= keep;
    }

    /// What was this large has another reason.
    fn forget(&mut self, watts: f64, nameplate: f64) {
        let mut edge = nameplate * LOWEST;
        let each = self.seconds.iter_mut().zip(self.energy.iter_mut()).zip(self.times.iter_mut());
        for ((seconds, energy), times) in each {
            if edge >= watts {
                (*seconds, *energy, *times) = (0.0, 0.0, 0.0);
            }
            edge *= CLASS;
        }
    }

    /// `apart` is how long a class must not have been reached for the next time to be another one.
    fn take(&mut self, at: Moment, watts: f64, seconds: f64, apart: Duration, nameplate: f64) {
        let keep = (-seconds / SURPRISE_TIME.max(seconds * LEAST_KEPT)).exp();
        let all = self.seconds.iter_mut().chain(self.energy.iter_mut()).chain(self.times.iter_mut());
        all.for_each(|value| *value *= keep);
        self.watched = self.watched * keep + seconds;
        self.seen = Some(at);
        let mut edge = nameplate * LOWEST;
        let each = self.seconds.iter_mut().zip(self.energy.iter_mut());
        let each = each.zip(self.times.iter_mut().zip(self.last.iter_mut()));
        for ((time, energy), (times, last)) in each {
            if watts < edge {
                break;
            }
            // What goes on counts with time, so that a long rise is more than one event and a step is not.
            *times += last.map_or(1.0, |last| ((at - last).as_secs_f64() / apart.as_secs_f64()).min(1.0));
            *last = Some(at);
            edge *= CLASS;
            if watts < edge {
                *time += seconds;
                *energy += watts * seconds;
            }
        }
        // Beyond the highest class: as the highest.
        if watts >= edge
            && let (Some(time), Some(energy)) = (self.seconds.last_mut(), self.energy.last_mut())
        {
            *time += seconds;
            *energy += edge * seconds;
        }
    }

    /// What must be kept free so that no more than `share` (in watts, as a mean over all time) would have been missing.
    fn reserve(&self, share: f64, nameplate: f64) -> f64 {
        let budget = share * self.watched;
        let (mut seconds, mut energy) = (0.0, 0.0);
        let mut edge = nameplate * LOWEST * CLASS.powi(i32::try_from(CLASSES).unwrap_or(0));
        let each = self.seconds.iter().zip(&self.energy).zip(&self.times).rev();
        for ((time, used), times) in each {
            let top = edge;
            edge /= CLASS;
            seconds += time;
            if *times < OFTEN {
                // Not seen often enough: as if it had just reached the class below.
                energy = seconds * edge;
                continue;
            }
            energy += used;
            if energy - seconds * edge > budget {
                // Between this edge and the one above.
                return if seconds > 0.0 { ((energy - budget) / seconds).clamp(edge, top) } else { edge };
            }
        }
        if seconds > 0.0 { ((energy - budget) / seconds).max(0.0) } else { 0.0 }
    }
}

/// What is known of the other load at one instant, in watts; generation is negative.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outlook {
    /// The level, freed of noise.
    pub level: f64,
    /// By how much less the other load may be, because the miners may be drawing more of what the meter shows.
    pub below: f64,
    /// By how much more it may be.
    pub above: f64,
    /// By how much more than that, because miners on their way down may be drawing less than they say. It is over within seconds:
    /// following the surplus it costs less to be wrong than to wait.
    pub further: f64,
    /// By how much it will have risen until a shed that is decided now shows.
    pub ahead: f64,
}

impl Outlook {
    /// What a raise goes by: the most that is in doubt.
    pub fn for_raise(&self) -> f64 {
        self.level + self.above + self.ahead
    }
}

/// The other load of one circuit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Balance {
    /// The level at the instants of the samples.
    levels: History,
    /// The level and its trend at the instants of the samples.
    gone_by: History,
    outlook: Option<Outlook>,
    raw: Option<(Moment, f64)>,
    change: Option<f64>,
    /// Variance of the changes, covariance of neighbouring ones, in watts squared; and how many were seen.
    variance: f64,
    covariance: f64,
    count: f64,
    /// The sample before was far above or below the level.
    odd: Option<bool>,
    /// The level before that one, in watts.
    even: f64,
    slope: f64,
    /// Usual time between two samples, and how many were compared.
    period: Duration,
    samples: f64,
    /// By where in its range the load was, the lowest part first.
    surprises: [Surprises; PARTS],
    switching: Switching,
    /// That of the newest sample.
    loop_time: Duration,
    /// What the share is multiplied by, as a logarithm, by what was really imported.
    correction: f64,
}

/// A new comparison of the meter with the miners.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The instant that it stands for.
    pub instant: Moment,
    /// Other load at that instant, with the most likely lag.
    pub value: f64,
    /// See [`Outlook::below`] and [`Outlook::above`].
    pub doubt: (f64, f64),
    /// By how much more it may be because servers swing between two samples: nothing is raised on that.
    pub swing: f64,
    /// See [`Outlook::further`].
    pub further: f64,
    /// From a change of the other load until the miners have answered it.
    pub loop_time: Duration,
    /// Usual time between two samples.
    pub period: Duration,
    /// The most that the miners of the circuit can draw.
    pub nameplate: f64,
}

impl Balance {
    /// Takes a new sample; one that is not later than the newest is left out.
    pub fn take(&mut self, sample: &Sample) {
        let Sample { instant, value, period, .. } = *sample;
        let before = self.raw.filter(|(at, _)| instant - *at <= (period * GAP.0).max(GAP.1));
        if self.raw.is_some_and(|(at, _)| at >= instant) {
            return;
        }
        self.period = period;
        let level = match (before, self.levels.newest()) {
            (Some((at, raw)), Some((_, level))) => {
                self.learn(value - raw, (instant - at).as_secs_f64());
                self.filter(level, value)
            }
            _ => {
                self.change = None;
                self.odd = None;
                value
            }
        };
        self.levels.push(instant, level);
        self.loop_time = sample.loop_time;
        if period <= SELDOM {
            self.switching.take(&self.levels, sample.nameplate, period);
        }
        if let Some((at, _)) = before {
            self.surprise(sample, level, instant - at);
        }
        self.raw = Some((instant, value));
        self.slope = if before.is_some() { self.trend(instant, period) } else { 0.0 };
        let (below, above) = sample.doubt;
        // While the miners' share of the meter is in doubt, so is where the rest of it is going.
        let sure = self.slope * sample.loop_time.as_secs_f64() - (below + above);
        let ahead = sure.max(0.0);
        self.gone_by.push(instant, level + ahead);
        self.outlook =
            Some(Outlook { level, below, above: above + sample.swing, further: sample.further, ahead });
    }

    /// What is known, if anything was ever known.
    pub fn outlook(&self) -> Option<Outlook> {
        self.outlook
    }

    /// Usual time between two samples; zero before the first.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The instant of the newest sample.
    pub fn instant(&self) -> Option<Moment> {
        self.raw.map(|(at, _)| at)
    }

    /// Something was there all along and is only known now.
    pub fn shift(&mut self, by: f64) {
        self.levels.shift(by);
        self.gone_by.shift(by);
        self.switching.shift(by);
        if let Some((_, raw)) = &mut self.raw {
            *raw += by;
        }
        self.even += by;
        if let Some(outlook) = &mut self.outlook {
            outlook.level += by;
        }
    }

    /// What must be kept free so that the import stays below a mean of this many watts. Until it is known, `first`.
    pub fn reserve(&self, share: f64, first: f64, nameplate: f64) -> f64 {
        let now = self.raw.map_or(Moment::START, |(at, _)| at);
        let come = self.switching.reserve(now, self.loop_time + AHEAD);
        self.reserve_at(self.place(now, nameplate), share, first, nameplate).max(come)
    }

    /// The same, were the load as high as it has been in the last forty seconds.
    pub fn reserve_at_top(&self, share: f64, first: f64, nameplate: f64) -> f64 {
        let place = if self.period > SELDOM { SOMEWHERE } else { 1.0 };
        self.reserve_at(place, share, first, nameplate)
    }

    /// What may come, in watts, at any time, because it comes often.
    pub fn away(&self) -> f64 {
        self.raw.map_or(0.0, |(at, _)| self.switching.away(at))
    }

    /// Between the middles of two parts it lies in between: nothing jumps when the load passes from one to the next.
    fn reserve_at(&self, place: f64, share: f64, first: f64, nameplate: f64) -> f64 {
        let watched: f64 = self.surprises.iter().map(|part| part.watched).sum();
        let known = (watched / KNOWN).min(self.samples / SAMPLES).min(1.0);
        let share = share * self.correction.exp();
        let mut below: Option<(f64, f64)> = None;
        let mut mixed = None;
        for (middle, part) in MIDDLES.iter().zip(&self.surprises) {
            let here = part.reserve(share, nameplate);
            if place <= *middle {
                mixed = Some(
                    below.map_or(here, |(from, low)| low + (here - low) * (place - from) / (middle - from)),
                );
                break;
            }
            below = Some((*middle, here));
        }
        let mixed = mixed.or(below.map(|(_, low)| low)).unwrap_or(0.0);
        mixed.max(first * (1.0 - known))
    }

    /// Takes in what was imported in this time, and what may be, both in watts. What is beyond the reserve itself is a
    /// step, which nothing could have been kept free for.
    pub fn spend(&mut self, imported: f64, may: f64, seconds: f64, reserve: f64, nameplate: f64) {
        if may <= 0.0 {
            return;
        }
        let counts = imported.clamp(0.0, reserve.max(nameplate * NARROW));
        let change = (counts / may - 1.0) * seconds.min(CORRECT_TIME) / CORRECT_TIME;
        self.correction = (self.correction - change).clamp(CORRECTION.0.ln(), CORRECTION.1.ln());
    }

    /// Where in its range of the last forty seconds the load stood, from 0 (low) to 1 (high).
    fn place(&self, at: Moment, nameplate: f64) -> f64 {
        if self.period > SELDOM {
            return SOMEWHERE;
        }
        let Some(((low, high), level)) = self.levels.range(at.earlier(RANGE), at).zip(self.levels.at(at))
        else {
            return SOMEWHERE;
        };
        if high - low > nameplate * NARROW {
            ((level - low) / (high - low)).clamp(0.0, 1.0)
        } else {
            SOMEWHERE
        }
    }

    /// The usual size of the noise, in watts; zero where none is seen.
    pub fn noise(&self) -> f64 {
        self.noise_variance().sqrt()
    }

    /// The same, squared. Of a meter with a new value every few seconds or more seldom nobody can tell: what hangs there changes so much in
    /// between that neighbouring changes cancel as those of noise do.
    fn noise_variance(&self) -> f64 {
        let seen = self.period <= SELDOM && self.covariance < NOISY * self.variance;
        if seen { (-self.covariance).max(0.0) } else { 0.0 }
    }

    fn learn(&mut self, change: f64, seconds: f64) {
        let most = if self.count > 6.0 { ODD * self.variance.sqrt() } else { f64::INFINITY };
        let change = change.clamp(-most, most);
        self.count += 1.0;
        let weight = (1.0 - (-seconds / CHANGE_TIME).exp()).max(1.0 / self.count);
        self.variance += (change * change - self.variance) * weight;
        if let Some(before) = self.change {
            self.covariance += (change * before - self.covariance) * weight;
        }
        self.change = Some(change);
    }

    fn filter(&mut self, level: f64, value: f64) -> f64 {
        let noise = self.noise_variance();
        if noise <= 0.0 || self.count < 8.0 {
            self.odd = None;
            return value;
        }
        let walk = (self.variance - 2.0 * noise).max(0.002 * self.variance);
        let gain = ((walk * walk + 4.0 * walk * noise).sqrt() - walk) / (2.0 * noise);
        // What stood apart counts for nothing once it is over.
        let level = if self.odd.is_some() { self.even } else { level };
        let off = value - level;
        let odd = off.abs() > STEP * self.variance.sqrt();
        let step = odd && self.odd == Some(off > 0.0);
        (self.odd, self.even) = (odd.then_some(off > 0.0), level);
        if step {
            self.odd = None;
            return value;
        }
        level + gain.clamp(0.0, 1.0) * off
    }

    fn surprise(&mut self, sample: &Sample, level: f64, since: Duration) {
        let then = sample.instant.earlier(sample.loop_time);
        let known = self.gone_by.oldest().is_some_and(|(oldest, _)| oldest <= then);
        // A slow meter tells in between nothing new: what is then gone by is the newest sample.
        let slow = since > sample.loop_time;
        let from = if slow { self.raw.map_or(then, |(at, _)| at) } else { then };
        let (Some(gone_by), true) = (self.gone_by.at(from), known || slow) else { return };
        self.samples += 1.0;
        let apart = sample.loop_time.max(since) + Duration::from_secs(2);
        let place = self.place(from, sample.nameplate);
        // What is in doubt is no surprise.
        let (below, above) = sample.doubt;
        let here = EDGES.iter().rposition(|edge| *edge <= place);
        let came = self.switching.came(sample.instant, sample.loop_time + sample.period * 2);
        for (index, part) in self.surprises.iter_mut().enumerate() {
            if let Some(by) = came {
                part.forget(by * 0.5, sample.nameplate);
            }
            if Some(index) == here {
                // What was foreseen is none.
                let surprise = if came.is_some() { 0.0 } else { level - below - above - gone_by };
                part.take(sample.instant, surprise, since.as_secs_f64(), apart, sample.nameplate);
            } else {
                part.age(sample.instant, since.as_secs_f64());
            }
        }
    }

    /// Watts per second by which the load is rising, not below zero.
    fn trend(&self, now: Moment, period: Duration) -> f64 {
        let stretch = (period * 4).max(STRETCH);
        let known = self.levels.oldest().is_some_and(|(oldest, _)| now - oldest >= stretch * 3);
        if !known {
            return 0.0;
        }
        let slopes = (0..3_u32).filter_map(|part| {
            let later = self.levels.at(now.earlier(stretch * part))?;
            let before = self.levels.at(now.earlier(stretch * (part + 1)))?;
            Some((later - before) / stretch.as_secs_f64())
        });
        slopes.fold(f64::INFINITY, f64::min).clamp(0.0, f64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(seconds: u32, value: impl Fn(f64) -> f64) -> Balance {
        watch_each(1, seconds, value)
    }

    /// By a meter with a new value each so many seconds.
    fn watch_each(apart: u32, seconds: u32, value: impl Fn(f64) -> f64) -> Balance {
        let mut balance = Balance::default();
        for second in (0..seconds).step_by(usize::try_from(apart).unwrap()) {
            balance.take(&Sample {
                instant: Moment::after_start(Duration::from_secs(u64::from(second))),
                value: value(f64::from(second)),
                doubt: (0.0, 0.0),
                swing: 0.0,
                further: 0.0,
                loop_time: Duration::from_secs(2),
                period: Duration::from_secs(u64::from(apart)),
                nameplate: 100e3,
            });
        }
        balance
    }

    fn reserve(balance: &Balance) -> f64 {
        balance.reserve(60.0, 0.0, 100e3)
    }

    #[test]
    fn a_step_is_taken_at_once_and_is_no_reason_to_keep_anything_free() {
        let balance = watch(120, |at| if at < 118.0 { -80e3 } else { -60e3 });
        let outlook = balance.outlook().unwrap();
        assert!((outlook.level + 60e3).abs() < 1.0, "{outlook:?}");
        assert!(outlook.ahead.abs() < 1.0, "{outlook:?}");
        assert!(reserve(&balance) < 100.0, "{}", reserve(&balance));
    }

    #[test]
    fn a_load_that_switches_again_and_again_is_kept_free_in_full() {
        let balance = watch(300, |at| if (at / 7.0) % 2.0 < 1.0 { -90e3 } else { -40e3 });
        assert!((46e3..=51e3).contains(&reserve(&balance)), "{}", reserve(&balance));
    }

    #[test]
    fn a_ramp_is_anticipated_and_kept_free_for_only_once() {
        let balance = watch(120, |at| -80e3 + 200.0 * at);
        let outlook = balance.outlook().unwrap();
        assert!((outlook.ahead - 400.0).abs() < 1.0, "{outlook:?}");
        assert!(reserve(&balance) < 100.0, "{}", reserve(&balance));
    }

    #[test]
    fn noise_is_averaged_out_and_a_step_in_it_is_still_seen_within_two_samples() {
        // Noise of three kilowatts to either side, from a fixed sequence.
        let noise = |at: f64| 6e3 * (((at * 12.9898).sin() * 43_758.545_3).fract().abs() - 0.5);
        let balance = watch(300, |at| -80e3 + noise(at));
        let outlook = balance.outlook().unwrap();
        assert!((outlook.level + 80e3).abs() < 1e3, "{outlook:?}");
        assert!(balance.noise() > 1e3, "{}", balance.noise());
        let stepped = watch(302, |at| if at < 300.0 { -80e3 } else { -40e3 } + noise(at));
        assert!(stepped.outlook().unwrap().level > -45e3, "{:?}", stepped.outlook());
    }

    #[test]
    fn what_a_slow_meter_shows_is_never_taken_for_noise() {
        let flicker = |at: f64| 6e3 * (((at * 12.9898).sin() * 43_758.545_3).fract().abs() - 0.5);
        for (apart, noisy) in [(1, true), (3, true), (4, false), (60, false)] {
            let balance = watch_each(apart, 60 * apart, |at| -80e3 + flicker(at));
            assert_eq!(balance.noise() > 1e3, noisy, "{apart} s apart: {}", balance.noise());
            let (_, newest) = balance.raw.unwrap();
            let level = balance.outlook().unwrap().level;
            assert!(noisy || (level - newest).abs() < 1e-9, "{apart} s apart: {level} of {newest}");
        }
    }

    #[test]
    fn one_odd_sample_keeps_nothing_free() {
        let balance = watch(300, |at| if (200.0..202.0).contains(&at) { 1e6 } else { -80e3 });
        assert!(reserve(&balance) < 100.0, "{}", reserve(&balance));
    }
}
