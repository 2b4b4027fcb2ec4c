//! The tasks of the sources of orders.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::control::signal::{Doubt, SourceSettings, Wall};
use crate::daemon::meters::Meters;
use crate::signal::desk::WallClock;
use crate::signal::{self, Desk};

/// The running tasks. Dropping it ends them.
pub struct Signals {
    tasks: TaskTracker,
    _guard: DropGuard,
}

impl Signals {
    /// Starts the tasks of a configuration.
    pub fn start(config: &Config, desk: &Desk, clock: Clock, meters: &Meters) -> Self {
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        signal::start(&config.signals, desk, clock, meters.contacts(), &cancel, &tasks);
        tasks.close();
        Self { tasks, _guard: cancel.drop_guard() }
    }

    /// Ends the tasks and waits for that.
    pub async fn stop(self) {
        drop(self._guard);
        self.tasks.wait().await;
    }
}

/// What the desk must know of the sources.
pub fn settings(config: &Config) -> Vec<SourceSettings> {
    config.signals.iter().map(|spec| spec.settings.clone()).collect()
}

/// The wall clock of this machine.
pub fn wall_clock() -> WallClock {
    Arc::new(|| {
        let since = clock::wall().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        (Wall::unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)), Doubt::None)
    })
}
