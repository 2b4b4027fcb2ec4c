//! Wall-clock time: orders say from when to when they hold in it, and it may be wrong.

use std::time::Duration;

use crate::clock::Moment;

/// A point of wall-clock time: milliseconds since 1970-01-01 00:00 UTC, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

impl Wall {
    /// This many milliseconds after the start of 1970, UTC.
    pub const fn unix_millis(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the start of 1970, UTC.
    pub const fn as_unix_millis(self) -> i64 {
        self.0
    }

    /// This much later; the end of time where that lies beyond it.
    pub fn later(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    /// This much earlier; the beginning of time where that lies before it.
    pub fn earlier(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis(time)))
    }

    /// Time since an earlier point; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// How far the wall clock can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Doubt {
    /// It is synchronised, and agrees with the source where the source tells its time.
    #[default]
    None,
    /// It differs by this much from the source's.
    Off(Duration),
    /// Nobody knows: it is not synchronised.
    Unknown,
}

/// The moment of a cycle on both scales. Windows are judged by the wall clock, everything else by the monotonic one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Monotonic.
    pub moment: Moment,
    /// Wall clock.
    pub wall: Wall,
    /// How far the wall clock can be trusted.
    pub doubt: Doubt,
}
