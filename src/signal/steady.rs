//! The scale on which the time of orders is counted: no jump of the wall clock moves it, and a restart goes on with it.

use std::sync::PoisonError;
use std::time::Duration;

use super::desk::Desk;
use crate::clock::Moment;
use crate::control::signal::{Doubt, Wall};

/// The steady scale: what the wall clock once showed, carried on by the monotonic clock alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady {
    /// At the start of the daemon's clock.
    base: Wall,
    /// Time for which the machine was off, by the wall clock alone. It counts once that is confirmed.
    off: Option<Duration>,
}

/// A wall clock that has run evenly, and was kept right, for this long since the start is believed in what it says of the
/// time before it.
const CONFIRMED_AFTER: Duration = Duration::from_secs(600);

impl Steady {
    /// It begins with what the wall clock shows.
    pub(super) const fn new(base: Wall) -> Self {
        Self { base, off: None }
    }

    /// It goes on.
    pub(super) const fn resumed(base: Wall, off: Option<Duration>) -> Self {
        Self { base, off }
    }

    pub(super) fn at(&self, moment: Moment) -> Wall {
        self.base.later(moment.since_start())
    }
}

impl Desk {
    /// Counts the time for which the machine was off, once the clock that says so is confirmed.
    pub(super) fn account(&self, now: Moment) {
        let mut steady = self.0.steady.lock().unwrap_or_else(PoisonError::into_inner);
        let confirmed = now.since_start() >= CONFIRMED_AFTER && (self.0.wall)().1 == Doubt::None;
        if let Some(off) = steady.off.filter(|_| confirmed) {
            steady.base = steady.base.later(off);
            steady.off = None;
        }
    }
}
