//! Energy by the quarter hour, on its way to the disk: told each cycle, written once a minute.
//!
//! Nothing here waits for the disk but the end. What is not on disk is handed over again, up to a bound; control goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::{self, Moment};
use crate::config::Config;
use crate::control::frame::Frame;
use crate::control::signal::Wall;
use crate::energy::account::Account;
use crate::energy::tally::Tally;
use crate::energy::{CounterRow, Kind, Row, seal};
use crate::proof::{self, Writer};
use crate::store::{BaselineRow, Store, Write};

/// Time between two writes: a crash costs no more.
const EVERY: Duration = Duration::from_secs(60);
/// Rows that wait for the disk at most. The oldest are lost first, and that is told.
const MOST_WAITING: usize = 50_000;

/// Adds energy up and sees to it that it is kept.
#[derive(Default)]
pub struct Energy {
    /// `None` where nothing is kept.
    store: Option<Store>,
    /// Where closed quarters are put on record.
    proof: Option<Writer>,
    account: Account,
    tally: Tally,
    baselines: Vec<BaselineRow>,
    waiting: Arc<Mutex<Waiting>>,
    at: Moment,
    writing: Option<JoinHandle<()>>,
}

/// Which row of which part.
type Key = (Wall, i64, Kind, Arc<str>);

/// What is not on disk yet.
#[derive(Debug, Default)]
struct Waiting {
    rows: BTreeMap<Key, Row>,
    baselines: bool,
    lost: u64,
}

fn locked(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// Takes rows in, the later ones of a part in the place of the earlier ones.
    fn add(&mut self, rows: Vec<Row>) {
        self.rows
            .extend(rows.into_iter().map(|row| ((row.start, row.part, row.kind, row.name.clone()), row)));
        while self.rows.len() > MOST_WAITING {
            self.rows.pop_first();
            if self.lost == 0 {
                tracing::error!("the database takes no energy for so long that the oldest of it is lost");
            }
            self.lost = self.lost.saturating_add(1);
        }
    }
}

fn baselines(config: &Config) -> Vec<BaselineRow> {
    let since = Wall::unix_millis(clock::unix_millis());
    let each = config.signals.iter();
    each.map(|spec| BaselineRow {
        source: spec.settings.name.as_str().into(),
        since,
        baseline: spec.baseline,
    })
    .collect()
}

impl Energy {
    /// Begins to add up, from where the counters stood.
    pub fn start(config: &Config, store: Option<Store>, counters: &[CounterRow]) -> Self {
        Self {
            proof: store.as_ref().map(Store::proof),
            store,
            account: Account::new(&config.site, &config.tenants, counters),
            baselines: baselines(config),
            ..Self::default()
        }
    }

    /// What the metrics show of it.
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// Takes a new configuration.
    pub fn configure(&mut self, config: &Config) {
        self.account.configure(&config.site, &config.tenants);
        self.baselines = baselines(config);
        locked(&self.waiting).baselines = false;
    }

    /// One cycle.
    pub fn cycle(&mut self, frame: &Frame) {
        let now = frame.snapshot.now;
        self.account.tell(frame, Wall::unix_millis(clock::unix_millis()));
        self.tally.set(self.account.totals());
        if self.store.is_none() {
            drop((self.account.take_rows(), self.account.take_closed()));
            return;
        }
        if now - self.at < EVERY {
            return;
        }
        self.at = now;
        // A disk that takes so long gets no more to do; what is new waits in the account.
        if self.writing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.writing = Some(tokio::spawn(self.write()));
        }
    }

    /// Writes what is new a last time, once this is awaited: a second at the most.
    pub fn last(&mut self) -> impl Future<Output = ()> + use<> {
        self.account.finish();
        self.write()
    }

    fn write(&mut self) -> impl Future<Output = ()> + use<> {
        let waiting = self.waiting.clone();
        let store = self.store.clone();
        let counters = self.account.counters();
        let (rows, baselines) = {
            let mut kept = locked(&waiting);
            kept.add(self.account.take_rows());
            (
                kept.rows.values().cloned().collect::<Vec<_>>(),
                if kept.baselines { Vec::new() } else { self.baselines.clone() },
            )
        };
        for closed in self.account.take_closed() {
            if let Some((proof, body)) = self.proof.as_ref().zip(seal::body(&closed)) {
                proof.append(proof::Kind::Energy, body);
            }
        }
        async move {
            let Some(store) = store else { return };
            let told = !baselines.is_empty();
            let write = Write { energy: rows.clone(), counters, baselines, ..Write::default() };
            // What failed is counted and logged there, and is tried again the next time.
            if store.write(write).await.is_ok() {
                let mut kept = locked(&waiting);
                for row in rows {
                    let key = (row.start, row.part, row.kind, row.name.clone());
                    // One that has changed since stays.
                    if kept.rows.get(&key) == Some(&row) {
                        kept.rows.remove(&key);
                    }
                }
                kept.baselines |= told;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::Sums;

    fn row(number: i64, part: i64, seconds: u64) -> Row {
        Row {
            start: Wall::unix_millis(number * 900_000),
            part,
            kind: Kind::Circuit,
            name: "pcc".into(),
            parent: None,
            sums: Sums { observed: Duration::from_secs(seconds), ..Sums::default() },
        }
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded_and_told_once_as_it_is_now() {
        let mut waiting = Waiting::default();
        waiting.add(vec![row(1, 1, 60), row(1, 2, 10)]);
        waiting.add(vec![row(1, 1, 120)]);
        let seconds: Vec<u64> = waiting.rows.values().map(|row| row.sums.observed.as_secs()).collect();
        assert_eq!(seconds, [120, 10]);
        let many = i64::try_from(MOST_WAITING).unwrap();
        waiting.add((2..many + 2).map(|number| row(number, 1, 1)).collect());
        assert_eq!((waiting.rows.len(), waiting.lost), (MOST_WAITING, 2), "the oldest are lost first");
    }

    #[tokio::test]
    async fn a_broken_disk_disturbs_nobody_and_what_is_new_is_kept_for_later() {
        let config = crate::config::demo(crate::config::DEMO_NETWORK).unwrap();
        let mut energy = Energy::start(&config, Some(Store::broken()), &[]);
        locked(&energy.waiting).add(vec![row(1, 1, 60)]);
        energy.last().await;
        assert_eq!(locked(&energy.waiting).rows.len(), 1);
        assert!(!locked(&energy.waiting).baselines, "they are not on disk either");
    }
}
