//! The tasks of the sources of orders, and the desk that they give them to.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::frame::Frame;
use crate::control::signal::SourceSettings;
use crate::daemon::memory::Kept;
use crate::daemon::meters::Meters;
use crate::signal::start::{Beginning, MOST_RECORDS};
use crate::signal::wall::{self, Trust};
use crate::signal::{self, Desk, Spec};
use crate::store::Store;

/// The running tasks. Dropping it ends them.
pub struct Signals {
    tasks: TaskTracker,
    /// How many there are.
    count: usize,
    guard: DropGuard,
}

/// How long the end of the tasks is waited for: they end at their next wait.
const PATIENCE: Duration = Duration::from_millis(500);

impl Signals {
    /// Starts the tasks of the sources of a configuration.
    pub fn start(
        specs: &[Spec],
        desk: &Desk,
        clock: Clock,
        frames: &watch::Receiver<Option<Frame>>,
        meters: &Meters,
    ) -> Self {
        let cancel = CancellationToken::new();
        let tasks = TaskTracker::new();
        let count = signal::start(specs, desk, clock, frames, meters.contacts(), &cancel, &tasks);
        tasks.close();
        Self { tasks, count, guard: cancel.drop_guard() }
    }

    /// None: another daemon leads, and hears them.
    pub fn none() -> Self {
        Self { tasks: TaskTracker::new(), count: 0, guard: CancellationToken::new().drop_guard() }
    }

    /// Whether one of them has ended by itself.
    pub fn have_ended(&self) -> bool {
        self.tasks.len() < self.count
    }

    /// Ends the tasks, and waits for that, though not for long.
    pub async fn end(&mut self) {
        let none = CancellationToken::new().drop_guard();
        drop(std::mem::replace(&mut self.guard, none));
        if tokio::time::timeout(PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::warn!("a source of orders does not end within {PATIENCE:?}");
        }
    }
}

/// What the desk must know of the sources.
pub fn settings(config: &Config) -> Vec<SourceSettings> {
    config.signals.iter().map(|spec| spec.settings.clone()).collect()
}

/// The desk of a configuration, with what was on disk. Everything that can be wrong with the disk is logged and stops
/// nothing: what is not known is at its fail-safe. Beside it, what was learned of the miners, where there is a disk.
pub async fn desk(config: &Config, clock: Clock) -> (Desk, Option<Kept>) {
    let wall = wall::of_this_machine(clock, config.clock.unwrap_or(Trust::Trusted));
    let (site, sources) = (config.site.clone(), settings(config));
    let Some(path) = config.store.path.clone() else {
        return (Desk::new(site, sources, clock, wall), None);
    };
    let opening = tokio::task::spawn_blocking({
        let path = path.clone();
        move || Store::open(&path, MOST_RECORDS)
    });
    let mut opened = match opening.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => {
            tracing::error!(
                "{error}; orders are obeyed all the same, and a restart forgets them unless it can be opened until then: it \
                 is tried again"
            );
            let store = Store::absent(&path);
            let kept = Kept { empty: true, ..Kept::nothing(store.clone()) };
            return (Desk::without_disk(site, sources, clock, wall, store), Some(kept));
        }
        Err(error) => {
            tracing::error!("cannot open the database {}: {error}", path.display());
            return (Desk::without_disk(site, sources, clock, wall, Store::broken()), None);
        }
    };
    if let Some(damaged) = opened.damaged.as_ref().filter(|damaged| !damaged.all) {
        tracing::error!(
            "the database {}: {}; a copy is {}, for whoever wants to look. Orders that are lost are not obeyed: every source \
             that is heard tells them anew; those of the operator must be given again (`ballast limit list`)",
            path.display(),
            damaged.reason,
            damaged.aside.display()
        );
    }
    if let Some(damaged) = opened.damaged.as_ref().filter(|damaged| damaged.all) {
        tracing::error!(
            "the database {} could not be used: {}; it is now {}, for whoever wants to look, and a new one is begun: \
             orders from before are not known, and every source begins at its fail-safe value",
            path.display(),
            damaged.reason,
            damaged.aside.display()
        );
    }
    if opened.loaded.unreadable > 0 {
        tracing::error!(
            rows = opened.loaded.unreadable,
            "some of what was on disk makes no sense and is left out"
        );
    }
    let kept = Kept {
        store: opened.store.clone(),
        empty: opened.loaded.alive.is_none(),
        rows: std::mem::take(&mut opened.loaded.learned),
        refreshes: std::mem::take(&mut opened.loaded.refreshes),
        alarms: std::mem::take(&mut opened.loaded.alarms),
        counters: std::mem::take(&mut opened.loaded.counters),
        maintenance: std::mem::take(&mut opened.loaded.maintenance),
    };
    let beginning = Beginning { opened: Some(opened), settings: &config.store, clock, wall };
    (Desk::start(site, sources, beginning), Some(kept))
}
