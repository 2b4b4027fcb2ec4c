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

#[cfg(test)]
mod tests {
    use super::*;

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
