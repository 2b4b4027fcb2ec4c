//! The law of a frequency or voltage guard: from samples to how much may still be drawn.
//!
//! A *level* from 0 to 1 is what is left: 1 is everything. A threshold knows two levels, a droop curve all between.
//!
//! - Down: when so many samples in a row ask for less, at once, to the highest level that any of them asks for.
//! - Up: when every sample has allowed more for a while, to the lowest level that any of them allowed. The while is
//!   fixed, plus a part of a spread that is drawn from the guard's name and the number of its trips: many sites must not
//!   come back in one second, and a replay must give the same.
//! - Between the two lies the hysteresis: a value that asks for less no more, but does not allow more yet.
//! - A value that is not known for longer than the source may be silent counts as the worst, where that is configured.

use std::time::Duration;

use crate::control::snapshot::Reading;
use crate::mix::spread;
use crate::moment::Moment;

/// More samples than anybody should wait for.
pub const MOST_SAMPLES: usize = 100;

/// What a value asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Curve {
    /// Level 0 below a value; level 1 again from another on, which is not below the first.
    Threshold {
        /// Below this it trips.
        below: f64,
        /// From this on it may return.
        back: f64,
    },
    /// Levels at values, by falling value, between them in a straight line, beyond them as at the last.
    Droop {
        /// Value and level; at least two.
        points: Vec<(f64, f64)>,
        /// By how much the value must be higher before more is allowed than it asked for on its way down. Not negative.
        hysteresis: f64,
    },
}

/// Steps in which a droop curve moves the level: finer ones would only write commands.
const STEPS: f64 = 100.0;

impl Curve {
    /// The level that a value asks for on its way down.
    fn asks(&self, value: f64) -> f64 {
        match self {
            Self::Threshold { below, .. } => f64::from(u8::from(value >= *below)),
            Self::Droop { points, .. } => droop(points, value),
        }
    }

    /// The level that a value allows on its way up.
    fn allows(&self, value: f64) -> f64 {
        match self {
            Self::Threshold { back, .. } => f64::from(u8::from(value >= *back)),
            Self::Droop { points, hysteresis } => droop(points, value - hysteresis),
        }
    }

    /// The lowest level that it knows.
    pub fn lowest(&self) -> f64 {
        match self {
            Self::Threshold { .. } => 0.0,
            Self::Droop { points, .. } => points.iter().map(|(_, level)| *level).fold(1.0, f64::min),
        }
    }
}

fn droop(points: &[(f64, f64)], value: f64) -> f64 {
    let mut level = points.first().map_or(1.0, |(_, level)| *level);
    for pair in points.windows(2) {
        let [(above, high), (below, low)] = pair else { continue };
        if value >= *above {
            break;
        }
        let part = ((above - value) / (above - below)).clamp(0.0, 1.0);
        level = high + (low - high) * part;
    }
    // Rounding down is the careful side; what is a step but for the last bit is that step.
    ((level * STEPS + 1e-9).floor() / STEPS).clamp(0.0, 1.0)
}

/// A guard, as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    /// What a value asks for.
    pub curve: Curve,
    /// How many samples in a row must ask for less; 1 to [`MOST_SAMPLES`].
    pub samples: usize,
    /// For how long more must have been allowed before power returns.
    pub return_after: Duration,
    /// Up to so much more, at random.
    pub return_spread: Duration,
    /// A value is not known any more at this age.
    pub lost_after: Duration,
    /// A value that is not known counts as the worst.
    pub unknown_acts: bool,
}

/// What a guard comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// What is left, 0 to 1.
    pub left: f64,
    /// The value is not known.
    pub unknown: bool,
    /// The latest value, however old; `None` before the first.
    pub value: Option<f64>,
    /// A sample has come that was not there at the latest look.
    pub fresh: bool,
}

/// The state of a guard.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// For drawing, from the guard's name.
    seed: u64,
    begun: Option<Moment>,
    sample: Option<Reading<f64>>,
    /// The levels that the latest samples ask for, the newest last.
    asked: Vec<f64>,
    left: f64,
    /// Since when more was allowed, and the least of it.
    rising: Option<(Moment, f64)>,
    trips: u64,
}

impl Guard {
    /// A guard of this name that has seen nothing yet.
    pub fn new(name: &str) -> Self {
        Self {
            seed: seed(name),
            begun: None,
            sample: None,
            asked: Vec::new(),
            left: 1.0,
            rising: None,
            trips: 0,
        }
    }

    /// Looks at the latest reading, which may be the one of the latest look. One that is not finite is none.
    pub fn look(&mut self, law: &Law, reading: Option<Reading<f64>>, now: Moment) -> Level {
        let begun = *self.begun.get_or_insert(now);
        let reading = reading.filter(|reading| reading.value.is_finite());
        let fresh = reading.filter(|new| self.sample.is_none_or(|known| new.at > known.at));
        if let Some(new) = fresh {
            if self.sample.is_some_and(|known| new.at - known.at > law.lost_after) {
                self.asked.clear();
                self.rising = None;
            }
            self.sample = Some(new);
            self.take(law, new);
        }
        let age = self.sample.map_or(now - begun, |sample| now - sample.at);
        let unknown = age > law.lost_after;
        if unknown && law.unknown_acts && self.left > law.curve.lowest() {
            self.fall(law.curve.lowest());
        }
        if unknown {
            self.rising = None;
        }
        Level {
            left: self.left,
            unknown,
            value: self.sample.map(|sample| sample.value),
            fresh: fresh.is_some() && !unknown,
        }
    }

    fn take(&mut self, law: &Law, sample: Reading<f64>) {
        let samples = law.samples.clamp(1, MOST_SAMPLES);
        self.asked.push(law.curve.asks(sample.value));
        let surplus = self.asked.len().saturating_sub(samples);
        self.asked.drain(..surplus);
        let asked = self.asked.iter().copied().fold(0.0, f64::max);
        if self.asked.len() == samples && asked < self.left {
            return self.fall(asked);
        }
        let allowed = law.curve.allows(sample.value);
        if allowed <= self.left {
            self.rising = None;
            return;
        }
        let (since, least) = self.rising.map_or((sample.at, allowed), |(at, least)| (at, least.min(allowed)));
        let wait = law.return_after.saturating_add(law.return_spread.mul_f64(self.draw()));
        if sample.at - since >= wait {
            self.left = least;
            self.rising = None;
        } else {
            self.rising = Some((since, least));
        }
    }

    fn fall(&mut self, level: f64) {
        if self.left >= 1.0 {
            self.trips = self.trips.wrapping_add(1);
        }
        self.left = level;
        self.rising = None;
    }

    /// Where in the spread the return falls, 0 to 1.
    fn draw(&self) -> f64 {
        let mixed = spread(self.seed ^ spread(self.trips));
        f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

/// FNV-1a, 64 bits: the same in every version of the program.
fn seed(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn law() -> Law {
        Law {
            curve: Curve::Threshold { below: 49.7, back: 49.9 },
            samples: 3,
            return_after: Duration::from_secs(10),
            return_spread: Duration::ZERO,
            lost_after: Duration::from_secs(5),
            unknown_acts: true,
        }
    }

    /// One sample a second; what is left after each.
    fn run(guard: &mut Guard, law: &Law, from: u64, values: &[f64]) -> Vec<f64> {
        (from..)
            .zip(values)
            .map(|(second, value)| {
                let at = Moment::millis(second * 1_000);
                guard.look(law, Some(Reading { value: *value, at }), at).left
            })
            .collect()
    }

    #[test]
    fn so_many_samples_in_a_row_trip_it_and_one_that_is_good_begins_anew() {
        let mut guard = Guard::new("g");
        let left = run(&mut guard, &law(), 0, &[50.0, 49.6, 49.6, 49.8, 49.6, 49.69, 49.6]);
        assert_eq!(left, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn the_same_sample_looked_at_twice_is_one() {
        let mut guard = Guard::new("g");
        let law = law();
        for millis in 0..3_000 {
            let reading = Reading { value: 49.0, at: Moment::millis(5) };
            assert_eq!(Some(guard.look(&law, Some(reading), Moment::millis(millis)).left), Some(1.0));
        }
    }

    #[test]
    fn power_returns_after_a_while_above_the_upper_edge_alone() {
        let mut guard = Guard::new("g");
        run(&mut guard, &law(), 0, &[49.0; 3]);
        let left = run(&mut guard, &law(), 3, &[49.8; 30]);
        assert_eq!(left, [0.0; 30], "between the edges nothing moves");
        let left = run(&mut guard, &law(), 33, &[50.0; 11]);
        assert_eq!((left[9], left[10]), (0.0, 1.0));
        run(&mut guard, &law(), 44, &[49.0; 3]);
        let mut values = [50.0; 20];
        values[8] = 49.85;
        let left = run(&mut guard, &law(), 47, &values);
        assert_eq!((left[18], left[19]), (0.0, 1.0), "a dip below the edge begins the wait anew");
    }

    #[test]
    fn the_return_is_spread_by_name_and_trip_and_always_the_same() {
        let law = Law { return_spread: Duration::from_secs(100), ..law() };
        let returns = |name: &str| {
            let mut guard = Guard::new(name);
            let mut times = Vec::new();
            let mut second = 0;
            for _ in 0..3 {
                run(&mut guard, &law, second, &[49.0; 3]);
                second += 3;
                let left = run(&mut guard, &law, second, &[50.0; 120]);
                times.push(left.iter().position(|left| *left >= 1.0).unwrap());
                second += 120;
            }
            times
        };
        assert_eq!(returns("site-a"), returns("site-a"));
        assert_ne!(returns("site-a"), returns("site-b"));
        assert!(returns("site-a").iter().all(|time| (10..=110).contains(time)));
        let first = returns("site-a");
        assert!(first[0] != first[1] || first[1] != first[2], "{first:?}");
    }

    #[test]
    fn a_value_that_is_not_known_is_the_worst() {
        let mut guard = Guard::new("g");
        let law = law();
        let look = |guard: &mut Guard, second: u64| guard.look(&law, None, Moment::millis(second * 1_000));
        assert_eq!(Some(look(&mut guard, 0).left), Some(1.0), "the start has its time");
        assert_eq!(Some(look(&mut guard, 5).left), Some(1.0));
        let level = look(&mut guard, 6);
        assert_eq!((level.left, level.unknown, level.value), (0.0, true, None));
        let left = run(&mut guard, &law, 7, &[50.0; 11]);
        assert_eq!((left[9], left[10]), (0.0, 1.0), "it returns like after a trip");
        let harmless = Law { unknown_acts: false, ..law.clone() };
        let mut guard = Guard::new("g");
        assert_eq!(Some(guard.look(&harmless, None, Moment::millis(0)).left), Some(1.0));
        assert_eq!(Some(guard.look(&harmless, None, Moment::millis(60_000)).left), Some(1.0));
        let wrong = Some(Reading { value: f64::NAN, at: Moment::millis(60_001) });
        assert!(!guard.look(&harmless, wrong, Moment::millis(60_001)).fresh, "no number is no value");
    }

    #[test]
    fn a_droop_curve_follows_down_at_once_and_up_with_care() {
        let curve = Curve::Droop { points: vec![(49.8, 1.0), (49.3, 0.5), (49.2, 0.0)], hysteresis: 0.05 };
        let law = Law { curve, samples: 1, ..law() };
        let mut guard = Guard::new("g");
        let left = run(&mut guard, &law, 0, &[50.0, 49.8, 49.7, 49.55, 49.3, 49.25, 49.0]);
        assert_eq!(left, [1.0, 1.0, 0.9, 0.75, 0.5, 0.25, 0.0]);
        let left = run(&mut guard, &law, 7, &[49.6; 12]);
        assert_eq!((left[9], left[10]), (0.0, 0.75), "as at 49.55, by the hysteresis");
        let left = run(&mut guard, &law, 19, &[49.6; 30]);
        assert_eq!(left, [0.75; 30]);
    }

    proptest! {
        /// Whatever comes: the level is one of the curve's, it falls only when so many samples ask for less (or nobody
        /// knows), and rises only when the wait is over.
        #[test]
        fn it_never_acts_on_less_than_its_samples(
            values in proptest::collection::vec(48.0..51.0_f64, 1..80), samples in 1..6_usize,
        ) {
            let law = Law { samples, ..law() };
            let mut guard = Guard::new("g");
            let left = run(&mut guard, &law, 0, &values);
            let mut before = 1.0;
            for (at, now) in left.iter().enumerate() {
                if *now < before {
                    let begin = (at + 1).saturating_sub(samples);
                    prop_assert!(values[begin..=at].iter().all(|value| *value < 49.7));
                    prop_assert!(at + 1 >= samples);
                }
                if *now > before {
                    prop_assert!(values[at.saturating_sub(10)..=at].iter().all(|value| *value >= 49.9));
                }
                before = *now;
            }
        }
    }
}
