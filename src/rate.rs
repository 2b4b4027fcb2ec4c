//! How often something may happen.

use crate::clock::Moment;

/// Lets so many through at once, and so many per second on and on.
#[derive(Clone, Debug)]
pub struct Bucket {
    room: f64,
    left: f64,
    per_second: f64,
    at: Moment,
}

impl Bucket {
    /// A full one.
    pub fn new(at_once: u32, per_second: f64) -> Self {
        let room = f64::from(at_once);
        Self { room, left: room, per_second, at: Moment::START }
    }

    /// Whether one more is let through. Moments must not go back; one that does counts as the one before.
    pub fn take(&mut self, now: Moment) -> bool {
        let since = now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + since * self.per_second).min(self.room);
        let through = self.left >= 1.0;
        if through {
            self.left -= 1.0;
        }
        through
    }
}

/// Lets words of one kind into the log as a [`Bucket`] does, and counts those that it does not.
#[derive(Clone, Debug)]
pub struct Words {
    bucket: Bucket,
    quiet: u64,
}

impl Words {
    /// None were kept back yet.
    pub fn new(at_once: u32, per_second: f64) -> Self {
        Self { bucket: Bucket::new(at_once, per_second), quiet: 0 }
    }

    /// How many were kept back since the latest that were let through; `None` where these are kept back, too.
    pub fn take(&mut self, now: Moment) -> Option<u64> {
        if self.bucket.take(now) {
            return Some(std::mem::take(&mut self.quiet));
        }
        self.quiet = self.quiet.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_kept_back_are_counted() {
        let mut words = Words::new(2, 1.0);
        let mut at = |millis: u64| words.take(Moment::millis(millis));
        assert_eq!([at(0), at(0), at(0), at(500)], [Some(0), Some(0), None, None]);
        assert_eq!([at(1_000), at(2_000)], [Some(2), Some(0)]);
    }

    #[test]
    fn a_bucket_lets_a_handful_through_and_then_its_rate() {
        let mut bucket = Bucket::new(3, 2.0);
        let mut at = |millis: u64| bucket.take(Moment::millis(millis));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(499), at(500), at(500)], [false, true, false]);
        assert_eq!(
            [at(100), at(1_000), at(1_000)],
            [false, true, false],
            "time that goes back brings nothing"
        );
        assert_eq!([at(60_000), at(60_000), at(60_000), at(60_000)], [true, true, true, false]);
    }
}
