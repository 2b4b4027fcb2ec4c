//! Opens and checks the database.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Damaged, StoreError, energy, wal};
use crate::{clock, proof};

/// The version of the tables below, in `PRAGMA user_version`.
pub(super) const VERSION: i64 = 11;
/// "blst": that the file is Ballast's, in `PRAGMA application_id`.
pub(super) const APPLICATION: i64 = 0x626c_7374;
/// Another process that holds the file (a backup, a curious person) is waited for that long.
const BUSY: Duration = Duration::from_millis(500);
/// How many names are tried for a file that is set aside.
const NAMES: u32 = 100;

/// The steps from each version to the next one; the first makes the tables of an empty file.
const STEPS: [&str; 11] = [
    "
CREATE TABLE orders (
    source TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL, lane TEXT NOT NULL,
    priority INTEGER NOT NULL, circuit TEXT NOT NULL, scope TEXT NOT NULL,
    ask TEXT NOT NULL, amount REAL NOT NULL, window_ms INTEGER, urgency TEXT NOT NULL,
    from_ms INTEGER NOT NULL, until_ms INTEGER, start_spread_ms INTEGER NOT NULL,
    cap_w REAL NOT NULL, baseline_w REAL, received_ms INTEGER NOT NULL,
    start_delay_ms INTEGER NOT NULL, return_delay_ms INTEGER NOT NULL, withdrawn_ms INTEGER,
    PRIMARY KEY (source, name)) WITHOUT ROWID;
CREATE TABLE withdrawn (
    sequence INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE caps (
    source TEXT NOT NULL, circuit TEXT NOT NULL, scope TEXT NOT NULL, cap_w REAL NOT NULL, why TEXT NOT NULL,
    name TEXT NOT NULL, window_ms INTEGER, urgency TEXT NOT NULL);
CREATE TABLE lifts (source TEXT PRIMARY KEY, person TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE ledger (
    number INTEGER PRIMARY KEY, source TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
    circuit TEXT NOT NULL, scope TEXT NOT NULL, stage TEXT NOT NULL, reason TEXT,
    cap_w REAL, baseline_w REAL, window_ms INTEGER, from_ms INTEGER NOT NULL, until_ms INTEGER,
    received_ms INTEGER NOT NULL, applied_ms INTEGER, met_ms INTEGER, ended_ms INTEGER,
    measured_ms INTEGER NOT NULL, energy_j REAL NOT NULL, worst_w REAL NOT NULL, worst_mean_w REAL,
    stored INTEGER NOT NULL);
CREATE TABLE alive (
    id INTEGER PRIMARY KEY CHECK (id = 1), boot TEXT, uptime_ms INTEGER, wall_ms INTEGER NOT NULL);
",
    "
CREATE TABLE learned (
    miner TEXT PRIMARY KEY, identity TEXT NOT NULL, scale REAL NOT NULL, floor_w REAL, sleep_w REAL,
    pace REAL NOT NULL, start_s REAL, stamp_ms INTEGER NOT NULL) WITHOUT ROWID;
",
    // When an order began: by the wall clock and on the steady scale. One that is on disk already began when its time
    // came, or will.
    "
ALTER TABLE orders ADD COLUMN begun_ms INTEGER;
ALTER TABLE orders ADD COLUMN begun_steady_ms INTEGER;
ALTER TABLE alive ADD COLUMN steady_ms INTEGER;
",
    "
CREATE TABLE alarms (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, severity TEXT NOT NULL, subject TEXT NOT NULL, words TEXT NOT NULL,
    raised_ms INTEGER NOT NULL, cleared_ms INTEGER, acknowledged_by TEXT, acknowledged_ms INTEGER, note TEXT);
",
    "
CREATE TABLE maintenance (
    kind TEXT NOT NULL, name TEXT NOT NULL, hold TEXT NOT NULL, person TEXT NOT NULL, note TEXT NOT NULL,
    begun_ms INTEGER NOT NULL, until_ms INTEGER, PRIMARY KEY (kind, name)) WITHOUT ROWID;
",
    // Who has given an order, and why.
    "
ALTER TABLE ledger ADD COLUMN given_by TEXT;
ALTER TABLE ledger ADD COLUMN remark TEXT;
",
    proof::chain::TABLE,
    energy::TABLES,
    // Whether the person on duty was told: what came in a window is told when that ends, after a restart as well. And what the clock of
    // the source showed when it sent an order: what it sent before that comes late.
    "
ALTER TABLE alarms ADD COLUMN told INTEGER NOT NULL DEFAULT 1;
ALTER TABLE orders ADD COLUMN sent_ms INTEGER;
",
    energy::DOUBT,
    "
CREATE TABLE refreshes (
    meter TEXT PRIMARY KEY, device TEXT NOT NULL, refresh_s REAL NOT NULL, stamp_ms INTEGER NOT NULL) WITHOUT ROWID;
",
];

/// Why a file is not used as it is.
enum Trouble {
    /// Its content cannot be trusted.
    Damaged(String),
    /// The system does not let us have it.
    System(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::System(error.to_string()),
        }
    }
}

/// Opens a file or makes it. One that cannot be trusted is set aside under another name, never deleted.
pub(super) fn open(path: &Path) -> Result<(Connection, Option<Damaged>), StoreError> {
    let system = |reason: String| StoreError::Open { path: path.to_owned(), reason };
    // The database itself passes over a damaged log without a word, and with it over everything that was written since
    // the log was begun.
    let log = wal::fault(&ending(path, "-wal")).map(|reason| {
        let aside = copy_aside(path).unwrap_or_else(|_| path.to_owned());
        Damaged { aside, reason, all: false }
    });
    let reason = match connect(path) {
        Ok(connection) => return Ok((connection, log)),
        Err(Trouble::System(reason)) => return Err(system(reason)),
        Err(Trouble::Damaged(reason)) => reason,
    };
    let aside =
        set_aside(path).map_err(|error| system(format!("{reason}, and cannot be set aside: {error}")))?;
    match connect(path) {
        Ok(connection) => Ok((connection, Some(Damaged { aside, reason, all: true }))),
        Err(Trouble::System(reason) | Trouble::Damaged(reason)) => Err(system(reason)),
    }
}

fn connect(path: &Path) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Checked before anything is written to it.
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Trouble::Damaged(verdict));
    }
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && tables > 0 {
        return Err(Trouble::Damaged("it is the database of another program".into()));
    }
    if !(0..=VERSION).contains(&version) {
        return Err(Trouble::Damaged(format!(
            "it is of version {version}, and this program knows {VERSION} at the most"
        )));
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The log beside the file is cut back to this after it was written into the file.
    connection.query_row("PRAGMA journal_size_limit = 4194304", [], |row| row.get::<_, i64>(0))?;
    let transaction = connection.transaction()?;
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    if version < VERSION {
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(connection)
}

/// Which file an open database is, where the system tells: another one may take its name, or none.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        path.exists().then_some((0, 0))
    }
}

fn ending(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(end);
    PathBuf::from(name)
}

/// An ending that no file beside the database has.
fn free_ending(path: &Path) -> std::io::Result<String> {
    let now = clock::unix_seconds();
    let free = (0..NAMES).map(|attempt| match attempt {
        0 => format!(".damaged-{now}"),
        more => format!(".damaged-{now}-{more}"),
    });
    let mut free = free.filter(|end| !ending(path, end).exists());
    free.next().ok_or_else(|| std::io::Error::other("every name for it is taken"))
}

/// Copies the database and its log, for whoever wants to look.
fn copy_aside(path: &Path) -> std::io::Result<PathBuf> {
    let end = free_ending(path)?;
    std::fs::copy(path, ending(path, &end))?;
    std::fs::copy(ending(path, "-wal"), ending(path, &format!("{end}-wal")))?;
    Ok(ending(path, &end))
}

/// `ballast.db` becomes `ballast.db.damaged-1763800000`, and so does what lies beside it.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let end = free_ending(path)?;
    let ending = |end: &str| ending(path, end);
    std::fs::rename(path, ending(&end))?;
    for beside in ["-wal", "-shm"] {
        let file = ending(beside);
        if file.exists() {
            std::fs::rename(file, ending(&format!("{end}{beside}")))?;
        }
    }
    Ok(ending(&end))
}
