//! Wall-clock time: orders say from when to when they hold in it, and it may be wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// A point of wall-clock time: milliseconds since 1970-01-01 00:00 UTC, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

    /// As far from `here` as this is from `there`: the same time on another scale.
    pub fn moved(self, there: Self, here: Self) -> Self {
        Self(self.0.saturating_sub(there.0).saturating_add(here.0))
    }

    /// Time since an earlier point; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A wall clock that shows less than this was never set: it is before this program was (2026-01-01 00:00 UTC).
pub const FOUNDED: Wall = Wall(1_767_225_600_000);

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

/// The moment of a cycle on its three scales. The wall clock says when an order begins. How long it then holds, and
/// everything else, is measured on the others, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now {
    /// Monotonic, from the start of the daemon.
    pub moment: Moment,
    /// Monotonic, and going on over restarts: it once showed what the wall clock did, and follows no jump of it since. It
    /// says how much time has passed, and not what time it is.
    pub steady: Wall,
    /// Wall clock.
    pub wall: Wall,
    /// How far the wall clock can be trusted.
    pub doubt: Doubt,
}
