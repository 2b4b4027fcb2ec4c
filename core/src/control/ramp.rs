//! Down at once, up with care.
//!
//! What is measured and what the miners count for say at every moment how far they may be raised; nothing is added up
//! from cycle to cycle, so that nothing has to be unwound. What is kept here is how fast a raise may be, and whether it is
//! certain that miners must be put to sleep.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::units::WattsPerSecond;

/// However long nothing was raised, a raise goes no further than the rate allows in this time.
const LONGEST_STEP: Duration = Duration::from_secs(5);
/// More than the minimum of all miners must have been missing for this long before one is put to sleep for the surplus:
/// a single odd sample, and what is still in flight, are over by then.
pub const CERTAIN: Duration = Duration::from_millis(2_500);

/// A lack that is small beside the circuit is no odd sample.
const CERTAIN_IF_SMALL: Duration = Duration::from_millis(500);
/// And what has been missing must have come to the most that one of them gives in this time, in seconds.
const WORTH: f64 = 0.8;
/// For so long more may follow.
const OPEN: Duration = Duration::from_secs(15);

/// The ramp of one circuit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ramp {
    /// When it was last raised.
    raised_at: Option<Moment>,
    /// Since when nobody there may be raised yet.
    rests_since: Option<Moment>,
    /// Since when more is missing than lowering can give, how much that has come to, in watt-seconds, and what the miners
    /// drew then.
    missing: Option<(Moment, f64, f64)>,
    /// Until when more may be put to sleep without waiting anew: not all that were told may have done it.
    open_until: Option<Moment>,
    /// What those that run could not take of late, in watt-seconds.
    pub left_over: f64,
}

impl Ramp {
    /// How far the miners may be raised now. `held` is what they count for, `room` what they may come to.
    ///
    /// `apart` is the time between two cycles, or between two samples of the meter where that is longer: one that renews
    /// itself slowly may be followed as fast as any.
    pub fn allow(&self, rate: WattsPerSecond, held: f64, room: f64, now: Moment, apart: Duration) -> f64 {
        // Nor are those slower that may be raised now and then only, all at the same time.
        let apart = apart.max(self.rests_since.map_or(Duration::ZERO, |since| now - since));
        let since = self.raised_at.map_or(apart, |raised| now - raised).min(apart).min(LONGEST_STEP);
        room.min(held.max(0.0) + rate.over(since).get())
    }

    /// Takes in what those that run cannot take, and tells what that has come to, in watt-seconds. It goes as it came.
    pub fn leave(&mut self, watts: f64, since_last: Duration) -> f64 {
        let seconds = since_last.min(LONGEST_STEP).as_secs_f64();
        self.left_over =
            if watts.is_infinite() { f64::INFINITY } else { (self.left_over + watts * seconds).max(0.0) };
        self.left_over
    }

    /// Takes in, after a raise was worked out, whether somebody may be raised.
    pub fn rests(&mut self, now: Moment, raisable: bool) {
        self.rests_since = if raisable { None } else { self.rests_since.or(Some(now)) };
    }

    /// They were raised.
    pub fn raised(&mut self, now: Moment) {
        self.raised_at = Some(now);
    }

    /// Takes in what the miners draw at the least without sleep and what there is for them, and tells down to what they
    /// must be put to sleep; infinite while that is not certain. `largest` is the most that putting one to sleep would
    /// give, and `ordinary` what is no odd value yet: so much is certain sooner, and the rest with time.
    pub fn sleep_down_to(
        &mut self,
        (drawn, there): (f64, f64),
        largest: f64,
        ordinary: f64,
        now: Moment,
        since_last: Duration,
    ) -> f64 {
        let missing = drawn - there;
        if !missing.is_finite() || missing <= 1e-6 || largest <= 0.0 {
            self.missing = None;
            return f64::INFINITY;
        }
        if self.open_until.is_some_and(|until| now < until) {
            return there;
        }
        let (since, energy, first) = self.missing.get_or_insert((now, 0.0, drawn));
        *energy += missing * since_last.min(LONGEST_STEP).as_secs_f64();
        if *energy < largest * WORTH || now - *since < CERTAIN_IF_SMALL {
            return f64::INFINITY;
        }
        if now - *since >= CERTAIN {
            self.open_until = Some(now + OPEN);
            return there;
        }
        let least = *first - ordinary;
        if drawn > least { there.max(least) } else { f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: u64) -> Moment {
        Moment::after_start(Duration::from_secs(second))
    }

    #[test]
    fn a_raise_keeps_to_the_rate_and_starts_from_what_the_miners_draw() {
        let mut ramp = Ramp::default();
        let rate = WattsPerSecond::whole(100);
        let mut held = 0.0;
        for second in 0..10 {
            let next = ramp.allow(rate, held, 1e9, at(second), SECOND);
            assert!((next - held - 100.0).abs() < 1e-9, "{next} after {held}");
            ramp.raised(at(second));
            held = next;
        }
        assert!(ramp.allow(rate, held, 0.0, at(10), SECOND) <= 0.0, "a fall is passed on at once");
    }

    #[test]
    fn after_anything_at_all_the_way_back_takes_as_long_as_the_rate_says() {
        let mut ramp = Ramp::default();
        let rate = WattsPerSecond::whole(1_000);
        for (second, room) in [(0, -2e9), (1, 2e9), (2, -5.0), (3, f64::INFINITY), (4, -2e9)] {
            let _ = ramp.allow(rate, 0.0, room, at(second), SECOND);
        }
        let mut held = 0.0;
        for second in 5..105 {
            held = ramp.allow(rate, held, 100e3, at(second), SECOND);
            ramp.raised(at(second));
        }
        assert!(held >= 100e3, "{held}");
    }

    fn down_to(ramp: &mut Ramp, drawn: f64, there: f64, millis: u64) -> f64 {
        let step = Duration::from_millis(500);
        ramp.sleep_down_to((drawn, there), 2e3, 10e3, Moment::millis(10_000 + millis), step)
    }

    #[test]
    fn one_odd_sample_puts_no_more_to_sleep_than_an_ordinary_one_and_a_lack_that_lasts_does() {
        let mut ramp = Ramp::default();
        assert!(down_to(&mut ramp, 80e3, -1e6, 0).is_infinite());
        for millis in [500, 1_000, 1_500, 2_000] {
            let least = down_to(&mut ramp, 80e3, -1e6, millis);
            assert!((least - 70e3).abs() < 1.0, "{least}");
            assert!(down_to(&mut ramp, 70e3, -1e6, millis).is_infinite(), "once");
        }
        assert!(down_to(&mut ramp, 70e3, -1e6, 2_500) < 0.0);
    }

    #[test]
    fn what_is_over_before_it_is_certain_is_forgotten() {
        let mut ramp = Ramp::default();
        assert!(down_to(&mut ramp, 80e3, 75e3, 0).is_infinite());
        assert!(down_to(&mut ramp, 80e3, 81e3, 500).is_infinite());
        assert!(down_to(&mut ramp, 80e3, 75e3, 1_000).is_infinite());
        assert!((down_to(&mut ramp, 80e3, 75e3, 1_500) - 75e3).abs() < 1.0);
    }

    #[test]
    fn a_small_lack_must_last_longer() {
        let mut ramp = Ramp::default();
        let slept = (0..60).find(|step| down_to(&mut ramp, 80e3, 79.5e3, step * 500).is_finite());
        assert_eq!(slept, Some(6));
    }

    #[test]
    fn a_larger_lack_never_puts_fewer_to_sleep() {
        for millis in (0..5_000).step_by(250) {
            let down = |there: f64| {
                let mut ramp = Ramp::default();
                (0..=millis / 250).fold(f64::INFINITY, |_, step| down_to(&mut ramp, 80e3, there, step * 250))
            };
            assert!(down(20e3) <= down(75e3) || down(75e3).is_infinite(), "after {millis} ms");
        }
    }
}
