//! Whether a control law stands behind what miners were told: for members, which go on by their last order only as long as it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// A cycle vouches for so many periods, and for this time at least: a control loop that stands still vouches for nobody.
const LASTS: (u32, Duration) = (3, Duration::from_secs(5));

/// When a cycle last ran that may command. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Vouch(Arc<AtomicU64>);

impl Vouch {
    /// A cycle has run, of those that run each `period`, and may command or not: one that only looks on vouches for nothing.
    pub fn cycle(&self, now: Moment, period: Duration, commands: bool) {
        let until = (now + (period * LASTS.0).max(LASTS.1)).since_start().as_millis();
        let until = if commands { u64::try_from(until).unwrap_or(u64::MAX) } else { 0 };
        self.0.store(until, Ordering::Relaxed);
    }

    /// Whether one stands behind it now.
    pub fn holds(&self, now: Moment) -> bool {
        now.since_start() < Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_or_looks_on_vouches_for_nobody() {
        let (vouch, at) = (Vouch::default(), |seconds| Moment::after_start(Duration::from_secs(seconds)));
        assert!(!vouch.holds(at(0)));
        let second = Duration::from_secs(1);
        vouch.cycle(at(100), second, true);
        assert!(vouch.holds(at(100)) && vouch.holds(at(104)) && !vouch.holds(at(105)));
        vouch.cycle(at(106), second, true);
        vouch.cycle(at(107), second, false);
        assert!(!vouch.holds(at(107)));
        vouch.cycle(at(110), 30 * second, true);
        assert!(vouch.holds(at(199)) && !vouch.holds(at(200)), "slow cycles are no standstill");
    }
}
