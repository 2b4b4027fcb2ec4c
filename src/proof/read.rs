//! Entries of a database, or of an exported file. A database is read beside the daemon that writes it, and never written.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain;
use super::entry::Entry;

/// Longest line of a file, in bytes.
const LONGEST_LINE: u64 = 64 * 1024;
/// How a database begins.
const DATABASE: &[u8] = b"SQLite format 3\0";

/// Why entries cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The system does not give the file.
    #[error("{file}: {reason}")]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is a database, and not one with a chain.
    #[error("{file}: {reason}; is it the database of a daemon of this version (state folder, ballast.db)?")]
    Database {
        /// Which.
        file: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// It is no exported file.
    #[error("{file}, line {line}: {reason}")]
    Line {
        /// Which.
        file: PathBuf,
        /// Where, from 1.
        line: u64,
        /// Why.
        reason: String,
    },
}

/// The first line of an exported file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heading {
    /// The version of the form: 1.
    pub ballast_proof: u64,
    /// The public key of the daemon, as PEM.
    pub public_key: String,
    /// What the chain says last of the order.
    pub order: Value,
    /// Entries about the order.
    pub entries: Vec<u64>,
    /// Whether a signature follows its end.
    pub complete: bool,
}

/// Where entries come from.
#[derive(Debug)]
pub enum Entries {
    /// A database.
    Database(Connection, PathBuf),
    /// An exported file.
    Export(Box<Heading>, PathBuf),
}

impl Entries {
    /// Opens a file, whichever of the two it is.
    ///
    /// # Errors
    /// It cannot be read, or is neither.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let fail =
            |error: std::io::Error| ReadError::File { file: path.to_owned(), reason: error.to_string() };
        let mut start = Vec::new();
        let length = u64::try_from(DATABASE.len()).unwrap_or(0);
        File::open(path).map_err(fail)?.take(length).read_to_end(&mut start).map_err(fail)?;
        if start == DATABASE {
            let wrong = |error| database(path, &error);
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
            connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(wrong)?;
            connection.prepare("SELECT number FROM proof").map_err(wrong)?;
            return Ok(Self::Database(connection, path.to_owned()));
        }
        let mut lines = Lines::open(path)?;
        let first = lines.next()?.unwrap_or_default();
        let heading = serde_json::from_str(&first).map_err(|error| lines.wrong(&error.to_string()))?;
        Ok(Self::Export(Box::new(heading), path.to_owned()))
    }

    /// Hands each entry over, in the order of the file, or of the numbers of a database from `from` to `to`.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn each(&self, from: u64, to: u64, mut take: impl FnMut(Entry)) -> Result<(), ReadError> {
        match self {
            Self::Database(connection, path) => {
                let wrong = |error| database(path, &error);
                let sql = "SELECT number, at_ms, kind, body, hash FROM proof WHERE number BETWEEN ? AND ? ORDER BY number";
                let mut statement = connection.prepare(sql).map_err(wrong)?;
                let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                // A number that is none below zero stands there because somebody has written it.
                let from = if from == 0 { i64::MIN } else { bound(from) };
                let mut rows = statement.query([from, bound(to)]).map_err(wrong)?;
                while let Some(row) = rows.next().map_err(wrong)? {
                    take(chain::entry(row).map_err(wrong)?);
                }
            }
            Self::Export(_, path) => {
                let mut lines = Lines::open(path)?;
                lines.next()?;
                while let Some(line) = lines.next()? {
                    let entry: Entry =
                        serde_json::from_str(&line).map_err(|error| lines.wrong(&error.to_string()))?;
                    if (from..=to).contains(&entry.number) {
                        take(entry);
                    }
                }
            }
        }
        Ok(())
    }
}

fn database(path: &Path, error: &rusqlite::Error) -> ReadError {
    ReadError::Database { file: path.to_owned(), reason: error.to_string() }
}

struct Lines {
    file: BufReader<File>,
    path: PathBuf,
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path)
            .map_err(|error| ReadError::File { file: path.to_owned(), reason: error.to_string() })?;
        Ok(Self { file: BufReader::new(file), path: path.to_owned(), number: 0 })
    }

    fn next(&mut self) -> Result<Option<String>, ReadError> {
        self.number = self.number.saturating_add(1);
        let mut line = Vec::new();
        let read = (&mut self.file).take(LONGEST_LINE).read_until(b'\n', &mut line);
        read.map_err(|error| self.wrong(&error.to_string()))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            return Err(self.wrong("it has no end: the file is cut, or is none of `ballast ledger export`"));
        }
        String::from_utf8(line).map(Some).map_err(|error| self.wrong(&error.to_string()))
    }

    fn wrong(&self, reason: &str) -> ReadError {
        ReadError::Line { file: self.path.clone(), line: self.number, reason: reason.to_owned() }
    }
}
