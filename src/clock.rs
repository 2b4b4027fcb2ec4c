//! The only clock reads of the program.
//!
//! The control law takes time as an argument: a [`Moment`] on a monotonic scale that starts at zero when the
//! daemon starts. Wall-clock time is for people, logs and (later) validity windows.

use std::time::SystemTime;

pub use ballast_core::moment::Moment;

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
        Moment::after_start(tokio::time::Instant::now().saturating_duration_since(self.start))
    }

    /// What tokio's timers call a moment of this scale.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        self.start + moment.since_start()
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
