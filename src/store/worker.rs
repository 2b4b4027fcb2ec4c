//! The thread that owns the database.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};

use rusqlite::Connection;

use super::{
    Health, Job, Kept, Late, LedgerRow, Loaded, StoreError, StoredOrder, Write, alarms, energy, file,
    learned, maintenance, proving::Proving, rows,
};

/// The ledger is trimmed once in so many writes to it.
const TRIM_EVERY: u64 = 64;
/// Old quarters are dropped once in so many writes of energy: twice a day.
const THIN_EVERY: u64 = 720;

pub(super) struct Worker {
    path: PathBuf,
    /// `None` while the file cannot be had.
    connection: Option<Connection>,
    /// Whether there ever was one.
    opened: bool,
    /// Which file that is: one that was deleted can be written to, and nobody will ever find it again.
    identity: Option<(u64, u64)>,
    /// Where what was found in a file that could be opened at last is left.
    late: Late,
    /// Of that, what whoever hands over does not know of yet.
    unjoined: BTreeMap<Arc<str>, Kept>,
    /// What entries of the ledger are numbered from, in a file that could not be had at the start.
    numbered_from: u64,
    /// What is on disk.
    known: BTreeMap<Arc<str>, Kept>,
    last_number: u64,
    ledger_writes: u64,
    energy_writes: u64,
    health: Arc<Health>,
    proof: Proving,
    /// Whether the latest entries could not be added to it.
    proof_fails: bool,
}

impl Worker {
    pub(super) fn new(
        path: PathBuf,
        opened: Option<(Connection, &Loaded)>,
        late: Late,
        health: Arc<Health>,
        proof: Proving,
    ) -> Self {
        let loaded = opened.as_ref().map(|(_, loaded)| *loaded);
        Self {
            identity: file::identity(&path),
            opened: opened.is_some(),
            late,
            unjoined: BTreeMap::new(),
            numbered_from: 0,
            known: loaded.map(|loaded| loaded.sources.iter().cloned().collect()).unwrap_or_default(),
            last_number: loaded.map_or(0, |loaded| loaded.last_number),
            ledger_writes: 0,
            energy_writes: 0,
            connection: opened.map(|(connection, _)| connection),
            path,
            health,
            proof,
            proof_fails: false,
        }
    }

    /// Writes until the last [`super::Store`] is gone.
    pub(super) fn run(mut self, inbox: &Receiver<Job>) {
        while let Ok(Job { mut write, done, joined }) = inbox.recv() {
            let result = self.have_file().and_then(|()| {
                if joined {
                    self.unjoined.clear();
                }
                self.spare(&mut write.sources);
                self.write(&write).map_err(|error| StoreError::Write(error.to_string()))
            });
            if result.is_ok() && !self.proof_fails {
                self.recover();
            }
            // Whoever gave an order waits for the order, and not for its entry in the proof.
            let seal = write.seal;
            let waiting = if seal {
                Some(done)
            } else {
                // Whoever asked may have run out of patience.
                let _ = done.send(result.clone());
                None
            };
            let written = result.is_ok();
            let proven = result.and_then(|()| self.prove(seal));
            if written && proven.is_err() {
                // Counted once an episode: what could not be added waits, and is no error of its own the next time.
                let first = !std::mem::replace(&mut self.proof_fails, true);
                if first && self.health.fail() {
                    tracing::error!(
                        "the proof cannot be written: check the disk; orders are obeyed all the same, and what waits is \
                         added later"
                    );
                }
            } else if proven.is_ok() && std::mem::take(&mut self.proof_fails) {
                self.recover();
            }
            if let Some(done) = waiting {
                let _ = done.send(proven);
            }
        }
        // The last one has let go: what waits would be lost.
        let _ = self.prove(false);
    }

    fn recover(&self) {
        if self.health.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the database is written to again");
        }
    }

    fn prove(&mut self, seal: bool) -> Result<(), StoreError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        self.proof.add(connection, seal).map_err(|error| StoreError::Write(error.to_string()))
    }

    /// Sees to it that what is written can be found again: the file is open, and is the one that has the name.
    fn have_file(&mut self) -> Result<(), StoreError> {
        if self.connection.is_some() {
            if self.identity.is_some() && file::identity(&self.path) == self.identity {
                return Ok(());
            }
            self.connection = None;
            self.proof.lose_file();
            tracing::error!(
                "the database {} is not there any more, or is another one: a new one is begun with the orders that are \
                 known; the records from before are gone with it",
                self.path.display()
            );
        }
        // All that was to be on disk is not.
        let lost = std::mem::take(&mut self.known);
        self.open(lost, !self.opened)
    }

    /// Opens the file anew, and brings to it what is known to belong there.
    fn open(&mut self, lost: BTreeMap<Arc<str>, Kept>, late: bool) -> Result<(), StoreError> {
        let again = |this: &mut Self, lost, error| {
            this.known = lost;
            this.connection = None;
            Err(error)
        };
        let (connection, damaged) = match file::open(&self.path) {
            Ok(opened) => opened,
            Err(error) => return again(self, lost, error),
        };
        if damaged.is_some_and(|damaged| damaged.all) {
            self.proof.lose_file();
        }
        let loaded = match rows::load(&connection, super::LATE_RECORDS) {
            Ok(loaded) => loaded,
            Err(error) => return again(self, lost, StoreError::Write(error.to_string())),
        };
        self.known = loaded.sources.iter().cloned().collect();
        self.connection = Some(connection);
        self.identity = file::identity(&self.path);
        let all = Write { sources: lost.clone().into_iter().collect(), ..Write::default() };
        if let Err(error) = self.write(&all) {
            return again(self, lost, StoreError::Write(error.to_string()));
        }
        self.opened = true;
        if late {
            self.numbered_from = loaded.last_number;
            self.unjoined = loaded.sources.iter().cloned().collect();
            *self.late.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
            tracing::info!("the database {} can be used now", self.path.display());
        }
        Ok(())
    }

    /// Adds to what is handed over the orders that it leaves out because whoever hands over does not know of them yet: an
    /// end in the meantime would forget them.
    fn spare(&self, sources: &mut [(Arc<str>, Kept)]) {
        for (name, kept) in sources {
            let Some(found) = self.unjoined.get(name) else { continue };
            for order in &found.orders {
                let id = &order.held.order.id;
                let known = kept.orders.iter().any(|known| known.held.order.id == *id)
                    || kept.withdrawn.iter().any(|(gone, _)| gone == id);
                if !known {
                    kept.orders.push(order.clone());
                }
            }
        }
    }

    /// One transaction. What is known to be on disk changes with its commit alone.
    fn write(&mut self, write: &Write) -> rusqlite::Result<()> {
        let changed: Vec<&(Arc<str>, Kept)> = write
            .sources
            .iter()
            .filter(|(source, kept)| self.known.get(source).unwrap_or(&Kept::default()) != kept)
            .collect();
        let nothing_else = write.ledger.is_empty()
            && write.alive.is_none()
            && write.learned.is_empty()
            && write.refreshes.is_empty()
            && write.alarms.is_empty()
            && write.energy.is_empty()
            && write.counters.is_empty()
            && write.baselines.is_empty()
            && write.maintenance.is_none();
        if changed.is_empty() && nothing_else {
            return Ok(());
        }
        // A sign of life and a figure in the ledger are worth no wait for the platter; an order is, and who
        // is worked on.
        let awaited = !changed.is_empty() || write.maintenance.is_some();
        let synchronous = if awaited { "FULL" } else { "NORMAL" };
        let Some(connection) = &mut self.connection else { return Err(rusqlite::Error::InvalidQuery) };
        connection.pragma_update(None, "synchronous", synchronous)?;
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for (source, kept) in &changed {
            let none = Kept::default();
            difference(&transaction, source, self.known.get(source).unwrap_or(&none), kept)?;
        }
        let mut last = self.last_number;
        for row in &write.ledger {
            let number = row.number.saturating_add(self.numbered_from);
            rows::put_ledger(&transaction, &LedgerRow { number, ..row.clone() })?;
            last = last.max(number);
        }
        let trims = !write.ledger.is_empty() && self.ledger_writes.is_multiple_of(TRIM_EVERY);
        if trims {
            rows::trim_ledger(&transaction, last)?;
        }
        if let Some(alive) = &write.alive {
            rows::put_alive(&transaction, alive)?;
        }
        learned::put(&transaction, &write.learned)?;
        learned::put_refreshes(&transaction, &write.refreshes)?;
        alarms::put(&transaction, &write.alarms)?;
        energy::put(&transaction, &write.energy)?;
        energy::put_counters(&transaction, &write.counters)?;
        energy::put_baselines(&transaction, &write.baselines)?;
        let thins = !write.energy.is_empty() && self.energy_writes.is_multiple_of(THIN_EVERY);
        if thins {
            energy::trim(&transaction)?;
        }
        maintenance::put(&transaction, write.maintenance.as_deref())?;
        transaction.commit()?;
        for (source, kept) in changed {
            if *kept == Kept::default() {
                self.known.remove(source);
            } else {
                self.known.insert(source.clone(), kept.clone());
            }
        }
        self.last_number = last;
        if !write.ledger.is_empty() {
            self.ledger_writes = self.ledger_writes.wrapping_add(1);
        }
        if !write.energy.is_empty() {
            self.energy_writes = self.energy_writes.wrapping_add(1);
        }
        Ok(())
    }
}

/// Brings one source on disk from one state to another.
fn difference(
    to: &rusqlite::Transaction<'_>,
    source: &str,
    before: &Kept,
    after: &Kept,
) -> rusqlite::Result<()> {
    let old: BTreeMap<&str, &StoredOrder> = by_name(&before.orders);
    let new: BTreeMap<&str, &StoredOrder> = by_name(&after.orders);
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        rows::drop_order(to, source, name)?;
    }
    for (name, order) in &new {
        if old.get(name) != Some(order) {
            rows::put_order(to, source, order)?;
        }
    }
    if before.withdrawn != after.withdrawn {
        // What is new stands behind what both know; the rest has fallen off at the front.
        let common = (0..=before.withdrawn.len())
            .find(|start| {
                let rest = before.withdrawn.get(*start..).unwrap_or_default();
                after.withdrawn.starts_with(rest)
            })
            .unwrap_or(before.withdrawn.len());
        let both = before.withdrawn.len() - common;
        for (name, revision) in after.withdrawn.get(both..).unwrap_or_default() {
            rows::add_withdrawn(to, source, name, *revision)?;
        }
        rows::trim_withdrawn(to, source, after.withdrawn.len())?;
    }
    if before.caps != after.caps {
        rows::put_caps(to, source, &after.caps)?;
    }
    if before.lift != after.lift {
        rows::put_lift(to, source, after.lift.as_ref())?;
    }
    Ok(())
}

fn by_name(orders: &[StoredOrder]) -> BTreeMap<&str, &StoredOrder> {
    orders.iter().map(|order| (&*order.held.order.id, order)).collect()
}
