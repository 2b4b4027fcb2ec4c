//! The table of the chain: entries are added, the head is signed, the oldest are removed.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde_json::{Value, json};

use super::entry::{Entry, Kind, NO_HASH, canonical, hash};
use super::key::{Key, KeyError, PublicKey};
use super::queue::Pending;
use crate::clock;

/// The tables of the chain, for the database's own list of steps.
pub const TABLE: &str = "
CREATE TABLE proof (
    number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, hash TEXT NOT NULL);
";
/// The head is signed after so many entries.
pub const SIGN_AFTER: u64 = 1_000;
/// The head is signed after so long, in milliseconds, where there is something new.
const SIGN_EVERY_MS: u64 = 3_600_000;
/// Entries beyond those that are kept before the oldest are removed.
const SLACK: u64 = 1_000;
/// No more are removed at once: whoever gives an order waits for the same disk.
const MOST_REMOVED: u64 = 5_000;

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the latest entry; 0 where there is none.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for Head {
    fn default() -> Self {
        Self { number: 0, hash: NO_HASH.to_owned() }
    }
}

/// The chain of an open database.
#[derive(Debug)]
pub struct Chain {
    folder: PathBuf,
    key: Option<Key>,
    /// Whether it was told that there is no key.
    told: bool,
    at: State,
    /// Why a chain begins that is none yet.
    because: Option<String>,
}

#[derive(Clone, Debug)]
struct State {
    head: Head,
    first: u64,
    /// Entries since the latest signature.
    unsigned: u64,
    signed_ms: i64,
}

impl Chain {
    /// Goes on where the table ends. `because` says why it is a new one, where it is.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn resume(connection: &Connection, folder: &Path, because: Option<String>) -> rusqlite::Result<Self> {
        let last = "SELECT number, hash FROM proof ORDER BY number DESC LIMIT 1";
        let head = connection
            .query_row(last, [], |row| Ok(Head { number: number(row, 0)?, hash: row.get(1)? }))
            .optional()?
            .unwrap_or_default();
        let first: Option<i64> =
            connection.query_row("SELECT min(number) FROM proof", [], |row| row.get(0))?;
        let signed = "SELECT number, at_ms FROM proof WHERE kind = 'checkpoint' ORDER BY number DESC LIMIT 1";
        let (signed, signed_ms) = connection
            .query_row(signed, [], |row| Ok((number(row, 0)?, row.get(1)?)))
            .optional()?
            .unwrap_or((0, clock::unix_millis()));
        let state = State {
            unsigned: head.number.saturating_sub(signed),
            first: first.and_then(|first| u64::try_from(first).ok()).unwrap_or(1),
            signed_ms,
            head,
        };
        let chain = Self { folder: folder.to_owned(), key: None, told: false, at: state, because };
        if let Some(wrong) = chain.tail_fault(connection, signed)? {
            tracing::error!(
                "the proof does not hold from entry {wrong} on: it was changed behind the daemon's back, or the disk is bad; \
                 `ballast ledger verify` says more"
            );
        }
        Ok(chain)
    }

    /// The first entry since the latest signature that is not what was written.
    fn tail_fault(&self, connection: &Connection, signed: u64) -> rusqlite::Result<Option<u64>> {
        let sql =
            "SELECT number, at_ms, kind, body, hash FROM proof WHERE number >= ? ORDER BY number LIMIT 3000";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([signed.cast_signed()])?;
        let mut before: Option<Entry> = None;
        while let Some(row) = rows.next()? {
            let entry = entry(row)?;
            let previous = match &before {
                Some(before) => before.hash.clone(),
                None if entry.number == 1 => NO_HASH.to_owned(),
                None => entry.value().get("head").and_then(Value::as_str).unwrap_or("").to_owned(),
            };
            let follows =
                before.as_ref().is_none_or(|before| before.number.saturating_add(1) == entry.number);
            if !follows || hash(&previous, entry.number, entry.at, &entry.kind, &entry.body) != entry.hash {
                return Ok(Some(entry.number));
            }
            before = Some(entry);
        }
        Ok(None)
    }

    /// Where it ends.
    pub fn head(&self) -> &Head {
        &self.at.head
    }

    /// The key that signs, where there is one.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.key.as_ref().map(Key::public)
    }

    /// Adds entries in one transaction, of which an order's waits for the platter. Signs the head where that is due or
    /// `sign` asks for it, and removes the oldest where there are more than `keep`. Nothing has changed where it fails.
    ///
    /// # Errors
    /// It is not on disk.
    pub fn add(
        &mut self,
        connection: &mut Connection,
        pending: &[Pending],
        lost: u64,
        keep: u64,
        sign: bool,
    ) -> rusqlite::Result<()> {
        let now = clock::unix_millis();
        let passed = self.at.signed_ms.abs_diff(now) >= SIGN_EVERY_MS;
        let asked = sign || pending.iter().any(|one| one.sign);
        if pending.is_empty() && lost == 0 && (self.at.unsigned == 0 || !(passed || asked)) {
            return Ok(());
        }
        self.have_key();
        let weighs = asked || lost > 0 || pending.iter().any(|one| one.kind.weighs());
        connection.pragma_update(None, "synchronous", if weighs { "FULL" } else { "NORMAL" })?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut at = self.at.clone();
        if at.head.number == 0 {
            let body = json!({
                "format": 1,
                "because": self.because.as_deref().unwrap_or("there was no chain before"),
                "key": self.public_key().map(|key| key.fingerprint()),
            });
            at.put(&transaction, now, Kind::Begin, &canonical(&body))?;
        }
        for one in pending {
            at.put(&transaction, one.at, one.kind, &one.body)?;
            if at.unsigned >= SIGN_AFTER {
                at.sign(&transaction, now, self.key.as_ref())?;
            }
        }
        if lost > 0 {
            at.put(&transaction, now, Kind::Gap, &canonical(&json!({ "lost_entries": lost })))?;
        }
        if at.unsigned > 0 && (passed || asked) {
            at.sign(&transaction, now, self.key.as_ref())?;
        }
        at.trim(&transaction, now, keep)?;
        transaction.commit()?;
        self.at = at;
        Ok(())
    }

    fn have_key(&mut self) {
        if self.key.is_some() {
            return;
        }
        match Key::of_folder(&self.folder) {
            Ok(key) => self.key = Some(key),
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    let help = match &error {
                        KeyError::NoKey(_) => "put the right one there, or remove the file for a new one",
                        _ => "make its folder writable for the account of the service",
                    };
                    tracing::error!("the proof is not signed: {error}; {help}");
                }
            }
        }
    }
}

impl State {
    fn put(&mut self, to: &Transaction<'_>, at: i64, kind: Kind, body: &str) -> rusqlite::Result<()> {
        let number = self.head.number.saturating_add(1);
        let hash = hash(&self.head.hash, number, at, kind.name(), body);
        to.prepare_cached("INSERT INTO proof VALUES (?, ?, ?, ?, ?)")?.execute(params![
            number.cast_signed(),
            at,
            kind.name(),
            body,
            hash
        ])?;
        self.head = Head { number, hash };
        self.unsigned = self.unsigned.saturating_add(1);
        Ok(())
    }

    fn sign(&mut self, to: &Transaction<'_>, now: i64, key: Option<&Key>) -> rusqlite::Result<()> {
        let Head { number, hash } = self.head.clone();
        let body = checkpoint(number, &hash, key);
        self.put(to, now, Kind::Checkpoint, &body)?;
        self.unsigned = 0;
        self.signed_ms = now;
        Ok(())
    }

    fn trim(&mut self, to: &Transaction<'_>, now: i64, keep: u64) -> rusqlite::Result<()> {
        let there = self.head.number.saturating_sub(self.first).saturating_add(1);
        if there <= keep.saturating_add(SLACK) {
            return Ok(());
        }
        let most = self.head.number.saturating_sub(keep).min(self.first.saturating_add(MOST_REMOVED));
        let sql = "SELECT number FROM proof WHERE kind = 'checkpoint' AND number <= ? AND number > ? ORDER BY number DESC \
                   LIMIT 1";
        let bounds = [most.cast_signed(), self.first.cast_signed()];
        let cut = to.query_row(sql, bounds, |row| number(row, 0)).optional()?;
        let Some(cut) = cut else { return Ok(()) };
        let removed = to.execute("DELETE FROM proof WHERE number < ?", [cut.cast_signed()])?;
        self.first = cut;
        self.put(to, now, Kind::Trim, &canonical(&json!({ "first": cut, "removed_entries": removed })))
    }
}

/// The body of an entry that signs the head before it.
pub fn checkpoint(number: u64, hash: &str, key: Option<&Key>) -> String {
    canonical(&json!({
        "head": hash,
        "number": number,
        "key": key.map(|key| key.public().fingerprint()),
        "signature": key.map(|key| key.sign(number, hash)),
    }))
}

fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

/// Reads a row of number, time, kind, body and hash.
pub(super) fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        number: number(row, 0)?,
        at: row.get(1)?,
        kind: row.get(2)?,
        body: row.get(3)?,
        hash: row.get(4)?,
    })
}
