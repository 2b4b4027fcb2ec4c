//! The meter tasks of one configuration, and what was known before a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::control::signal::Wall;
use crate::control::snapshot::{MeterInput, MeterStatus};
use crate::meter::{self, counters::MeterCounters};
use crate::metrics::{MeterReads, ReadCount};
use crate::signal::Kind;
use crate::store::RefreshRow;

/// The running meters. Dropping it ends their tasks.
pub struct Meters {
    names: Vec<String>,
    /// Which devices they are and how they are read: what was learned of one says nothing of another.
    devices: Vec<Arc<str>>,
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
    /// Starts the tasks. Values of `before` stand until a meter has answered, and age as before. `known` is what was learned of
    /// the meters until now, before a restart or a reload; that of other devices is left out.
    pub fn start(config: &Config, clock: Clock, before: Option<&Self>, known: &[RefreshRow]) -> Self {
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
        let devices: Vec<Arc<str>> = config.meters.iter().map(|meter| device(config, meter)).collect();
        for ((name, device), counters) in labels.iter().zip(&devices).zip(&running.counters) {
            if let Some(row) = known.iter().find(|row| *row.meter == **name && row.device == *device) {
                counters.learned_refresh(row.refresh);
            }
        }

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
            devices,
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

    /// How often the meters have new values, of those of which that is learned.
    pub fn refreshes(&self) -> Vec<RefreshRow> {
        let stamp = Wall::unix_millis(clock::unix_millis());
        let each = self.names.iter().zip(&self.devices).zip(&self.counters.now);
        each.filter_map(|((name, device), counters)| {
            let refresh = counters.refresh_period()?;
            Some(RefreshRow { meter: name.as_str().into(), device: device.clone(), refresh, stamp })
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

/// Which device a meter is and how it is read, as far as that tells how often it has a new value.
fn device(config: &Config, meter: &meter::Connection) -> Arc<str> {
    let place = config.links.get(meter.link.0).map(|link| link.transport.to_string()).unwrap_or_default();
    format!("{place} unit {} {} every {:?}", meter.unit, meter.profile.name, meter.period).into()
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn how_often_a_meter_has_a_new_value_stays_known_over_a_restart_and_a_reload_and_not_of_another_device()
     {
        let config = crate::config::demo(crate::config::DEMO_NETWORK).unwrap();
        let clock = Clock::start();
        let row = |meter: &str, device: &Arc<str>, seconds| RefreshRow {
            meter: meter.into(),
            device: device.clone(),
            refresh: Duration::from_secs(seconds),
            stamp: Wall::unix_millis(clock::unix_millis()),
        };
        let devices: Vec<_> = config.meters.iter().map(|meter| device(&config, meter)).collect();
        assert_ne!(devices[0], devices[1]);
        let known = [row("pcc", &devices[0], 60), row("feeder", &devices[0], 10)];
        let told = |meters: &Meters| {
            let rows = meters.refreshes().into_iter();
            rows.map(|row| (row.meter.to_string(), row.refresh.as_secs())).collect::<Vec<_>>()
        };
        let first = Meters::start(&config, clock, None, &known);
        assert_eq!(
            told(&first),
            [("pcc".to_owned(), 60)],
            "what is under the name of the other was learned of another device"
        );
        let again = Meters::start(&config, clock, Some(&first), &first.refreshes());
        assert_eq!(told(&again), told(&first), "a reload");
        let mut other = config.clone();
        other.meters[0].period *= 2;
        let other = Meters::start(&other, clock, Some(&again), &again.refreshes());
        assert!(told(&other).is_empty(), "read in another way it may look another time");
        let longest = Meters::start(&config, clock, None, &[row("pcc", &devices[0], 1_000_000)]);
        assert_eq!(
            told(&longest),
            [("pcc".to_owned(), 120)],
            "and nothing in a file makes it longer than any is"
        );
    }
}
