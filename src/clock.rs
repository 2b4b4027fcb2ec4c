//! The only clock reads of the program.
//!
//! The control law takes time as an argument: a [`Moment`] on a monotonic scale that starts at zero when the
//! daemon starts. Wall-clock time is for people, logs and (later) validity windows.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

/// A point on the daemon's monotonic time scale: the time since its clock was started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Duration);

impl Moment {
    /// The start of the scale.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment this long after the start.
    pub const fn after_start(time: Duration) -> Self {
        Self(time)
    }

    /// The moment this many milliseconds after the start.
    pub const fn millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// Time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time since an earlier moment; zero when `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This long before; not before the start.
    pub fn earlier(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

impl Sub for Moment {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

/// Reads the clocks. Copies share one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// Starts a scale at zero, now. Follows tokio's paused time in tests.
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// The time since the start.
    #[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
    pub fn now(&self) -> Moment {
        Moment(tokio::time::Instant::now().saturating_duration_since(self.start))
    }

    /// What tokio's timers call a moment of this scale.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        self.start + moment.0
    }
}

/// Wall-clock time, for people, logs and vendor commands that carry a timestamp.
#[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970, as vendor protocols want it; zero for a clock that was never set.
pub fn unix_seconds() -> u64 {
    wall().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Milliseconds since 1970; zero for a clock that was never set.
pub fn unix_millis() -> i64 {
    let since = wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
