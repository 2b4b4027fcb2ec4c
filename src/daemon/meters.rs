//! The meter tasks of one configuration, and what was known before a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::snapshot::{MeterInput, MeterStatus};
use crate::meter::{self, counters::MeterCounters};
use crate::metrics::{MeterReads, ReadCount};
use crate::signal::Kind;

/// The running meters. Dropping it ends their tasks.
pub struct Meters {
    names: Vec<String>,
    inputs: Vec<watch::Receiver<MeterInput>>,
    /// The groups of contacts, which hang on the same links.
    contacts: Vec<watch::Receiver<MeterInput>>,
    /// What a meter of the same name last said under the configuration before.
    carried: Vec<MeterInput>,
    counters: Arc<Counters>,
    news: Arc<Notify>,
    /// The owners of the links, and how many there are.
    owners: TaskTracker,
    count: usize,
    /// Those that tell of news.
    tasks: TaskTracker,
    _guard: DropGuard,
}

impl Meters {
    /// Starts the tasks. Values of `before` stand until a meter has answered, and age as before.
    pub fn start(config: &Config, clock: Clock, before: Option<&Self>) -> Self {
        let cancel = CancellationToken::new();
        let (owners, tasks) = (TaskTracker::new(), TaskTracker::new());
        // The devices; what is put together from them is worked out by the control law.
        let devices = config.site.meters.iter().take(config.meters.len());
        let names: Vec<String> = devices.map(|meter| meter.name.clone()).collect();
        let labels: Vec<&str> = names.iter().map(String::as_str).collect();
        // Contacts share links with meters, and a link has one owner: they are read as meters are, and end there.
        let (groups, connections) = contacts(config);
        let all: Vec<_> = config.meters.iter().chain(connections).cloned().collect();
        let read: Vec<&str> = labels.iter().copied().chain(groups).collect();
        let mut running = meter::spawn(&config.links, &all, &read, clock, &cancel, &owners);
        let contacts = running.inputs.split_off(labels.len().min(running.inputs.len()));

        let known: BTreeMap<&str, MeterInput> = before
            .map(|before| before.names.iter().map(String::as_str).zip(before.inputs()).collect())
            .unwrap_or_default();
        let carried =
            labels.iter().map(|name| known.get(name).copied().unwrap_or(MeterInput::PENDING)).collect();

        let news = Arc::new(Notify::new());
        for input in &running.inputs {
            let (mut input, news, cancel) = (input.clone(), news.clone(), cancel.clone());
            tasks.spawn(cancel.run_until_cancelled_owned(async move {
                while input.changed().await.is_ok() {
                    let good = input.borrow_and_update().status == MeterStatus::Ok;
                    if good {
                        news.notify_one();
                    }
                }
            }));
        }
        owners.close();
        tasks.close();
        let counters = Counters { names: names.clone(), now: running.counters, before: Vec::new() };
        let earlier = before.map(|before| before.counters.reads()).unwrap_or_default();
        Self {
            names,
            inputs: running.inputs,
            contacts,
            carried,
            counters: Arc::new(Counters { before: earlier, ..counters }),
            news,
            owners,
            count: running.tasks,
            tasks,
            _guard: cancel.drop_guard(),
        }
    }

    /// The latest of every meter that is a device, in the order of the site.
    pub fn inputs(&self) -> Vec<MeterInput> {
        self.inputs
            .iter()
            .zip(&self.carried)
            .map(|(input, carried)| {
                let input = *input.borrow();
                // A value from before the reload is older, and that is all.
                let mut others = carried.others;
                input.others.iter().for_each(|(measure, reading)| others.set(measure, reading));
                MeterInput { power: input.power.or(carried.power), others, ..input }
            })
            .collect()
    }

    /// The groups of contacts, in the order of their sources.
    pub fn contacts(&self) -> &[watch::Receiver<MeterInput>] {
        &self.contacts
    }

    /// Wakes when a meter has a new value.
    pub fn news(&self) -> Arc<Notify> {
        self.news.clone()
    }

    /// The counts for the metrics; they go on over a reload.
    pub fn reads(&self) -> Arc<dyn MeterReads> {
        self.counters.clone()
    }

    /// Ends the tasks and waits until they have closed their connections.
    pub async fn stop(self) {
        drop(self._guard);
        self.owners.wait().await;
        self.tasks.wait().await;
    }

    /// Whether the owner of a link has ended by itself.
    pub fn have_ended(&self) -> bool {
        self.owners.len() < self.count
    }
}

/// The groups of contacts of a configuration: their names and how they are read.
fn contacts(config: &Config) -> (Vec<&str>, Vec<&meter::Connection>) {
    let groups = config.signals.iter().filter_map(|spec| match &spec.kind {
        Kind::Contact(settings) => Some((spec.settings.name.as_str(), &settings.connection)),
        _ => None,
    });
    groups.unzip()
}

struct Counters {
    names: Vec<String>,
    now: Vec<Arc<MeterCounters>>,
    before: Vec<ReadCount>,
}

impl MeterReads for Counters {
    fn reads(&self) -> Vec<ReadCount> {
        let mut counts: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        for earlier in &self.before {
            if self.names.contains(&earlier.meter) {
                counts.insert((earlier.meter.clone(), earlier.result), earlier.count);
            }
        }
        for (name, counters) in self.names.iter().zip(&self.now) {
            for (result, count) in counters.reads() {
                let sum = counts.entry((name.clone(), result)).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        counts.into_iter().map(|((meter, result), count)| ReadCount { meter, result, count }).collect()
    }
}
