//! Down at once, up with care.
//!
//! A circuit's headroom may be used to raise only as far as it has been there all along for a while, over enough
//! fresh samples, and no faster than the configured rate. A fall is passed on in the same cycle.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::site::Settings;

/// The most samples of headroom that are kept; more would only mean a hold of minutes.
const MOST: usize = 600;

/// However far apart two samples are, a raise goes no further than the rate allows in this time.
const LONGEST_STEP: Duration = Duration::from_secs(5);

/// What a raise gains in this time, if kept free in vain, waits for the hold like any headroom: giving that back at once
/// would follow every ripple.
const ORDINARY: Duration = Duration::from_secs(2);

/// The ramp of one circuit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ramp {
    /// Headroom at each fresh sample of the hold time.
    window: VecDeque<(Moment, f64)>,
    /// When the newest fresh sample came.
    sampled_at: Option<Moment>,
    /// What the miners may use now; `None` before the first cycle in control.
    allowed: Option<f64>,
}

impl Ramp {
    /// Starts from what the miners draw, so that taking over moves nothing by itself.
    pub fn anchor(&mut self, draw: f64) {
        if self.allowed.is_none() {
            self.allowed = Some(draw);
        }
    }

    /// Takes this cycle's headroom and returns what may be used; infinite headroom needs no care.
    ///
    /// `unreserved` is the headroom had nothing been kept free in case it falls on. That is what must have been there
    /// for the hold time, but for the little that the slopes of an ordinary sky make it keep: what a steep step made it
    /// keep in vain is given back as soon as it is free again, at the rate of any raise.
    pub fn step(
        &mut self,
        settings: &Settings,
        headroom: f64,
        unreserved: f64,
        new_sample: bool,
        now: Moment,
        since_last: Duration,
    ) -> f64 {
        if headroom.is_infinite() {
            self.window.clear();
            self.allowed = Some(headroom);
            return headroom;
        }
        // A meter that renews itself slowly may be followed as fast as any, as far as its samples allow.
        let since_sample = self.sampled_at.map_or(since_last, |before| (now - before).max(since_last));
        if new_sample {
            let ordinary = settings.raise_rate.over(ORDINARY).get();
            self.window.push_back((now, headroom.max(unreserved - ordinary)));
            self.sampled_at = Some(now);
        }
        // Keep the newest sample that is older than the hold: it shows that the hold time is covered. And never fewer
        // than a raise needs, however far apart they are.
        let oldest = now.earlier(settings.raise_hold);
        let enough = |count: usize| u32::try_from(count).is_ok_and(|count| count > settings.raise_samples);
        while self.window.len() > MOST
            || (enough(self.window.len()) && self.window.get(1).is_some_and(|&(second, _)| second <= oldest))
        {
            self.window.pop_front();
        }
        let allowed = self.allowed.unwrap_or(headroom);
        if headroom <= allowed {
            self.allowed = Some(headroom);
            return headroom;
        }
        let samples = u32::try_from(self.window.len()).unwrap_or(u32::MAX);
        let covered = self.window.front().is_some_and(|&(first, _)| now - first >= settings.raise_hold);
        if !new_sample || samples < settings.raise_samples || !covered {
            return allowed;
        }
        let steady = self.window.iter().map(|&(_, value)| value).fold(headroom, f64::min);
        let step = settings.raise_rate.over(since_sample.min(LONGEST_STEP)).get();
        let raised = steady.min(allowed + step).max(allowed);
        self.allowed = Some(raised);
        raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::settings;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: u64) -> Moment {
        Moment::after_start(Duration::from_secs(second))
    }

    #[test]
    fn a_fall_is_passed_on_in_the_same_cycle() {
        let mut ramp = Ramp::default();
        ramp.anchor(100.0);
        assert!(ramp.step(&settings(), -50.0, -50.0, false, at(1), SECOND) <= -50.0);
    }

    #[test]
    fn a_rise_waits_for_the_hold_and_then_keeps_to_the_rate() {
        let settings = settings();
        let mut ramp = Ramp::default();
        ramp.anchor(0.0);
        let rate = settings.raise_rate.get();
        let hold = settings.raise_hold.as_secs();
        let mut last = 0.0;
        for second in 0..hold {
            last = ramp.step(&settings, 1e9, 1e9, true, at(second), SECOND);
        }
        assert!(last <= 0.0, "raised before the hold had passed: {last}");
        for second in hold..hold + 10 {
            let next = ramp.step(&settings, 1e9, 1e9, true, at(second), SECOND);
            assert!(next - last <= rate + 1e-6, "{next} after {last}");
            last = next;
        }
        assert!(last > 0.0);
    }

    #[test]
    fn a_dip_inside_the_hold_holds_the_raise_down() {
        let settings = settings();
        let mut ramp = Ramp::default();
        ramp.anchor(0.0);
        let mut last = 0.0;
        for second in 0..60 {
            let headroom = if second % 3 == 0 { 10.0 } else { 1e9 };
            last = ramp.step(&settings, headroom, headroom, true, at(second), SECOND);
        }
        assert!(last <= 10.0, "{last}");
    }

    #[test]
    fn what_was_kept_free_in_vain_waits_for_no_hold_but_keeps_to_the_rate() {
        let settings = settings();
        let mut ramp = Ramp::default();
        ramp.anchor(100e3);
        for second in 0..20 {
            ramp.step(&settings, 100e3, 100e3, true, at(second), SECOND);
        }
        assert!(ramp.step(&settings, 40e3, 100e3, true, at(20), SECOND) <= 40e3);
        let back = ramp.step(&settings, 100e3, 100e3, true, at(21), SECOND);
        assert!((back - 50e3).abs() < 1.0, "{back}");
    }

    #[test]
    fn samples_that_are_far_apart_raise_when_enough_have_come() {
        let settings = settings();
        let mut ramp = Ramp::default();
        ramp.anchor(0.0);
        let mut raised = Vec::new();
        let mut last = 0.0;
        for second in 0..120 {
            let next = ramp.step(&settings, 1e9, 1e9, second % 30 == 0, at(second), SECOND);
            if next > last {
                raised.push(second);
                assert!(next - last <= 5.0 * settings.raise_rate.get() + 1e-6, "{next} after {last}");
            }
            last = next;
        }
        assert_eq!(raised, [60, 90], "on new samples alone, and on the third first");
    }

    #[test]
    fn old_samples_raise_nothing() {
        let settings = settings();
        let mut ramp = Ramp::default();
        ramp.anchor(0.0);
        for second in 0..100 {
            assert!(ramp.step(&settings, 1e9, 1e9, false, at(second), SECOND) <= 0.0);
        }
    }
}
