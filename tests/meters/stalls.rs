//! How late this machine is: a test that measures times allows for it, and for no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ballast::clock::Clock;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// Steps of a time that is measured, such as a request, its answer and a timer: each of them may be late.
const STEPS: u32 = 4;

/// Watches how late the timers of this runtime fire, as long as it lives.
pub struct Stalls {
    longest: Arc<AtomicU64>,
    watch: JoinHandle<()>,
}

impl Stalls {
    pub fn watch() -> Self {
        let longest = Arc::<AtomicU64>::default();
        let seen = Arc::clone(&longest);
        let watch = tokio::spawn(async move {
            let clock = Clock::start();
            loop {
                let before = clock.now();
                sleep(LOOK).await;
                let late = (clock.now() - before).saturating_sub(LOOK);
                seen.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { longest, watch }
    }

    /// What the machine may have added to a time that was measured meanwhile; a few milliseconds on an idle one.
    pub fn most(&self) -> Duration {
        Duration::from_micros(self.longest.load(Ordering::Relaxed)).saturating_mul(STEPS)
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
