//! Down at once, up with care.
//!
//! What is measured and what the miners count for say at every moment how far they may be raised; nothing is added up
//! from cycle to cycle, so that nothing has to be unwound. What is kept here is how fast a raise may be, and whether it is
//! certain that miners must be put to sleep.

use std::time::Duration;

use crate::clock::Moment;
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ramp {
    /// When it was last raised.
    raised_at: Option<Moment>,
    /// Since when more is missing than lowering can give, and how much that has come to, in watt-seconds.
    missing: Option<(Moment, f64)>,
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

    /// They were raised.
    pub fn raised(&mut self, now: Moment) {
        self.raised_at = Some(now);
    }

    /// Takes in what is missing with every miner at its minimum, and says whether some must be put to sleep. `largest`
    /// is the most that putting one to sleep would give, and `ordinary` what is no odd value yet.
    pub fn must_sleep(
        &mut self,
        missing: f64,
        largest: f64,
        ordinary: f64,
        now: Moment,
        since_last: Duration,
    ) -> bool {
        if missing <= 0.0 {
            self.missing = None;
            return false;
        }
        if self.open_until.is_some_and(|until| now < until) {
            return true;
        }
        let (since, energy) = self.missing.get_or_insert((now, 0.0));
        *energy += missing * since_last.min(LONGEST_STEP).as_secs_f64();
        let wait = if missing <= ordinary { CERTAIN_IF_SMALL } else { CERTAIN };
        let certain = now - *since >= wait && *energy >= largest * WORTH;
        if certain {
            self.open_until = Some(now + OPEN);
        }
        certain
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

    #[test]
    fn one_odd_sample_puts_nobody_to_sleep_and_a_lack_that_lasts_does() {
        let mut ramp = Ramp::default();
        assert!(!ramp.must_sleep(1e6, 2e3, 10e3, at(0), SECOND));
        assert!(!ramp.must_sleep(1e6, 2e3, 10e3, at(2), SECOND));
        assert!(!ramp.must_sleep(0.0, 2e3, 10e3, at(3), SECOND));
        assert!(!ramp.must_sleep(1e6, 2e3, 10e3, at(4), SECOND));
        assert!(!ramp.must_sleep(1e6, 2e3, 10e3, at(5), SECOND));
        assert!(!ramp.must_sleep(1e6, 2e3, 10e3, at(6), SECOND));
        assert!(ramp.must_sleep(1e6, 2e3, 10e3, at(7), SECOND));
    }

    #[test]
    fn a_small_lack_must_last_longer() {
        let mut ramp = Ramp::default();
        let slept = (0..60).find(|&second| ramp.must_sleep(500.0, 2e3, 10e3, at(second), SECOND));
        assert_eq!(slept, Some(3));
    }
}
