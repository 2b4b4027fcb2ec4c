//! How often a device has a new value, learned from the values themselves.
//!
//! Only the times at which a value changes can be seen, and only as finely as it is polled: a device that refreshes
//! every 10 s shows changes 10 s apart, give or take a poll, and 20 or 30 s apart where a value came out the same as
//! the one before. So the estimate is the mean of the short times: those that are at most half as long again as the
//! lower quartile of the latest [`KEPT`].
//!
//! What tells nothing of the device is not learned from: the time until the first change (nobody saw the refresh before
//! it), times with a failed read in them, and times longer than [`LONGEST`], in which the power simply stood still.

use std::time::Duration;

use crate::clock::Moment;

/// How many times between two changes are kept.
const KEPT: usize = 16;
/// No device known here refreshes less often; a value that stood still for longer says nothing.
pub(super) const LONGEST: Duration = Duration::from_secs(120);

/// What the latest changes of a value tell of its device.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// The latest times between two changes, in no order.
    times: Vec<Duration>,
    /// Which of them is the oldest, once all places are taken.
    oldest: usize,
    /// When the value last changed, if that was seen.
    changed: Option<Moment>,
    /// Whether the read before this one was good.
    unbroken: bool,
}

impl Refresh {
    /// The value is that of the read before.
    pub(super) fn same(&mut self) {
        self.unbroken = true;
    }

    /// The value is new, or the first. Gives the estimate, once there is one.
    pub(super) fn changed(&mut self, at: Moment) -> Option<Duration> {
        if !std::mem::replace(&mut self.unbroken, true) {
            self.changed = None;
            return self.estimate();
        }
        if let Some(before) = self.changed.replace(at) {
            self.learn(at - before);
        }
        self.estimate()
    }

    /// A read failed: what happens until the next good one is not seen.
    pub(super) fn lost(&mut self) {
        self.unbroken = false;
        self.changed = None;
    }

    fn learn(&mut self, time: Duration) {
        if time > LONGEST {
            return;
        }
        if self.times.len() < KEPT {
            self.times.push(time);
        } else if let Some(oldest) = self.times.get_mut(self.oldest) {
            *oldest = time;
            self.oldest = (self.oldest + 1) % KEPT;
        }
    }

    fn estimate(&self) -> Option<Duration> {
        let mut sorted = [Duration::MAX; KEPT];
        for (slot, time) in sorted.iter_mut().zip(&self.times) {
            *slot = *time;
        }
        sorted.sort_unstable();
        let quartile = *sorted.get(self.times.len().checked_sub(1)? / 4)?;
        let short = self.times.iter().filter(|time| **time <= quartile.mul_f64(1.5));
        let (sum, count) =
            short.fold((Duration::ZERO, 0_u32), |(sum, count), time| (sum.saturating_add(*time), count + 1));
        sum.checked_div(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls a device that takes a new value every `refresh`, and shows the value before it again where `repeats` says
    /// so. Gives what was learned.
    fn learned(
        refresh: u64,
        poll: u64,
        rounds: u64,
        repeats: impl Fn(u64) -> bool,
        lost: impl Fn(u64) -> bool,
    ) -> Option<f64> {
        let mut learner = Refresh::default();
        let mut estimate = None;
        let (mut seen, mut shown) = (None, 0);
        for round in 0..rounds {
            // The device's beat is not that of the polls.
            let now = round * poll + (round * 37) % (poll / 8 + 1);
            let sample = (now + 137) / refresh;
            if !repeats(sample) {
                shown = sample;
            }
            if lost(round) {
                learner.lost();
            } else if seen == Some(shown) {
                learner.same();
            } else {
                seen = Some(shown);
                estimate = learner.changed(Moment::millis(now)).or(estimate);
            }
        }
        estimate.map(|estimate| estimate.as_secs_f64())
    }

    #[test]
    fn devices_of_1_10_and_60_seconds_are_told_at_every_poll_period() {
        for refresh in [1_000, 10_000, 60_000] {
            for poll in [100, 250, 500, 1_000] {
                let found = learned(refresh, poll, 20 * refresh / poll, |_| false, |_| false).unwrap();
                let wanted = Duration::from_millis(refresh).as_secs_f64();
                assert!((found - wanted).abs() <= 0.1 * wanted, "{refresh} ms at {poll} ms: {found} s");
            }
        }
    }

    #[test]
    fn values_that_come_out_the_same_now_and_then_do_not_lengthen_it() {
        for every in [2, 3, 5] {
            let found = learned(10_000, 500, 1_000, |sample| sample % (2 * every) < every - 1, |_| false);
            assert!((found.unwrap() - 10.0).abs() < 0.6, "{every}: {found:?}");
        }
    }

    #[test]
    fn a_failed_read_hides_what_happened_meanwhile() {
        let found = learned(10_000, 500, 2_000, |_| false, |round| round % 33 < 3).unwrap();
        assert!((found - 10.0).abs() < 0.6, "{found}");
    }

    #[test]
    fn the_first_change_tells_nothing_and_neither_does_a_night() {
        let mut learner = Refresh::default();
        assert_eq!(learner.changed(Moment::millis(0)), None);
        assert_eq!(learner.changed(Moment::millis(300)), None, "nobody knows how long that value had stood");
        assert_eq!(learner.changed(Moment::millis(10_300)), Some(Duration::from_secs(10)));
        assert_eq!(learner.changed(Moment::millis(30_000_000)), Some(Duration::from_secs(10)));
        learner.lost();
        assert_eq!(learner.changed(Moment::millis(30_000_100)), Some(Duration::from_secs(10)));
        assert_eq!(learner.changed(Moment::millis(30_000_200)), Some(Duration::from_secs(10)));
    }

    #[test]
    fn a_device_that_becomes_faster_is_noticed() {
        let mut learner = Refresh::default();
        let mut now = Moment::START;
        let mut estimate = None;
        for round in 0..40 {
            now = now + Duration::from_secs(if round < 20 { 10 } else { 1 });
            learner.same();
            estimate = learner.changed(now);
        }
        assert_eq!(estimate, Some(Duration::from_secs(1)));
    }
}
