//! The thread that owns the database.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use rusqlite::Connection;

use super::{Health, Job, Kept, Loaded, StoreError, StoredOrder, Write, learned, rows};
use crate::clock;
use crate::control::signal::Wall;

/// The ledger is trimmed once in so many writes to it.
const TRIM_EVERY: u64 = 64;

pub(super) struct Worker {
    connection: Connection,
    /// What is on disk.
    known: BTreeMap<Arc<str>, Kept>,
    last_number: u64,
    ledger_writes: u64,
    health: Arc<Health>,
}

impl Worker {
    pub(super) fn new(connection: Connection, loaded: &Loaded, health: Arc<Health>) -> Self {
        let known = loaded.sources.iter().cloned().collect();
        Self { connection, known, last_number: loaded.last_number, ledger_writes: 0, health }
    }

    /// Writes until the last [`super::Store`] is gone.
    pub(super) fn run(mut self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            let result = self.write(&job.write).map_err(|error| StoreError::Write(error.to_string()));
            if result.is_ok() && self.health.failing.swap(false, Ordering::Relaxed) {
                tracing::info!("the database is written to again");
            }
            // Whoever asked may have run out of patience.
            let _ = job.done.send(result);
        }
    }

    /// One transaction. What is known to be on disk changes with its commit alone.
    fn write(&mut self, write: &Write) -> rusqlite::Result<()> {
        let changed: Vec<&(Arc<str>, Kept)> = write
            .sources
            .iter()
            .filter(|(source, kept)| self.known.get(source).unwrap_or(&Kept::default()) != kept)
            .collect();
        if changed.is_empty() && write.ledger.is_empty() && write.alive.is_none() && write.learned.is_empty()
        {
            return Ok(());
        }
        // A sign of life and a figure in the ledger are worth no wait for the platter; an order is.
        let synchronous = if changed.is_empty() { "NORMAL" } else { "FULL" };
        self.connection.pragma_update(None, "synchronous", synchronous)?;
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for (source, kept) in &changed {
            let none = Kept::default();
            difference(&transaction, source, self.known.get(source).unwrap_or(&none), kept)?;
        }
        let mut last = self.last_number;
        for row in &write.ledger {
            rows::put_ledger(&transaction, row)?;
            last = last.max(row.number);
        }
        let trims = !write.ledger.is_empty() && self.ledger_writes.is_multiple_of(TRIM_EVERY);
        if trims {
            rows::trim_ledger(&transaction, last, Wall::unix_millis(clock::unix_millis()))?;
        }
        if let Some(alive) = &write.alive {
            rows::put_alive(&transaction, alive)?;
        }
        learned::put(&transaction, &write.learned)?;
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
