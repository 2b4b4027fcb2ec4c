//! Reads a database beside the daemon that writes it, or without one: for reports.
//!
//! All reads of one reader see one state. The daemon is never waited for and never waits: the log beside the file (WAL)
//! holds what it writes meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row as Line, params};

use super::{AlarmRow, BaselineRow, LedgerRow, alarms, energy, file, rows};
use crate::control::signal::Wall;
use crate::energy::Row;

/// Another process that holds the file is waited for that long.
const BUSY: Duration = Duration::from_secs(2);

/// Why a database cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened.
    #[error(
        "cannot read the database {}: {reason}; run this as root or as the account of the service, or name another one with \
         --database",
        path.display()
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system or the database said.
        reason: String,
    },
    /// It is none of this program and version.
    #[error("the database {} {what}", path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// What it is, and what to do.
        what: String,
    },
    /// A read failed.
    #[error("cannot read from the database {}: {reason}; check the disk", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
}

/// A database that is only read.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// Which energy is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Quarters that begin at this point or later, in Unix milliseconds.
    pub from_ms: i64,
    /// Quarters that begin before this point.
    pub until_ms: i64,
    /// Of this circuit alone, and of the tenant if one is named too.
    pub circuit: Option<String>,
    /// Of this tenant alone, and of the circuit if one is named too.
    pub tenant: Option<String>,
}

impl Wanted {
    /// The condition of SQL, with four parameters.
    const WHERE: &str = "start_ms >= ?1 AND start_ms < ?2 AND ((?3 IS NULL AND ?4 IS NULL) OR (kind = 'circuit' AND name = ?3) \
                         OR (kind = 'tenant' AND name = ?4))";
}

impl Reader {
    /// Opens it.
    ///
    /// # Errors
    /// There is none, it may not be read, or it is of another version.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let fail = |reason: String| ReadError::Open { path: path.to_owned(), reason };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if let Err(error) = std::fs::File::open(path) {
            return Err(fail(error.to_string()));
        }
        let open = || -> rusqlite::Result<(Connection, i64, i64)> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            let application = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
            let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            connection.execute_batch("BEGIN")?;
            Ok((connection, application, version))
        };
        let (connection, application, version) = open().map_err(|error| fail(error.to_string()))?;
        let version_error = |what: String| Err(ReadError::Version { path: path.to_owned(), what });
        if application != file::APPLICATION {
            return version_error("is not Ballast's; name its ballast.db".into());
        }
        if version < file::VERSION {
            return version_error(format!(
                "is of version {version}; a daemon of this version brings it to {} when it starts",
                file::VERSION
            ));
        }
        if version > file::VERSION {
            return version_error(format!(
                "is of version {version}, and this program knows {} at the most; use the one that the daemon is of",
                file::VERSION
            ));
        }
        Ok(Self { connection, path: path.to_owned() })
    }

    fn all<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl Fn(&Line<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ReadError> {
        let found = || -> rusqlite::Result<Vec<T>> {
            let mut statement = self.connection.prepare(sql)?;
            statement.query_map(parameters, read)?.collect()
        };
        found().map_err(|error| ReadError::Read { path: self.path.clone(), reason: error.to_string() })
    }

    /// Energy, the oldest first; at most `most` rows after the first `skip`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn energy(&self, wanted: &Wanted, skip: u32, most: u32) -> Result<Vec<Row>, ReadError> {
        let sql = format!(
            "SELECT * FROM energy WHERE {} ORDER BY start_ms, part, kind, name LIMIT ?5 OFFSET ?6",
            Wanted::WHERE
        );
        let Wanted { from_ms, until_ms, circuit, tenant } = wanted;
        self.all(&sql, params![from_ms, until_ms, circuit, tenant, most, skip], energy::row)
    }

    /// The same with the parts of each quarter added up: one row for each quarter, kind and name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn quarters(&self, wanted: &Wanted, skip: u32, most: u32) -> Result<Vec<Row>, ReadError> {
        let sums = energy::SUMS.map(|column| format!("sum({column}) AS {column}")).join(", ");
        let sql = format!(
            "SELECT start_ms, min(part) AS part, kind, name, max(parent) AS parent, {sums} FROM energy WHERE {} \
             GROUP BY start_ms, kind, name ORDER BY start_ms, kind, name LIMIT ?5 OFFSET ?6",
            Wanted::WHERE
        );
        let Wanted { from_ms, until_ms, circuit, tenant } = wanted;
        self.all(&sql, params![from_ms, until_ms, circuit, tenant, most, skip], energy::row)
    }

    /// How many quarters there are so.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count_quarters(&self, wanted: &Wanted) -> Result<u64, ReadError> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM energy WHERE {} GROUP BY start_ms, kind, name)",
            Wanted::WHERE
        );
        let Wanted { from_ms, until_ms, circuit, tenant } = wanted;
        let count = |row: &Line<'_>| row.get::<_, i64>(0);
        let found = self.all(&sql, params![from_ms, until_ms, circuit, tenant], count)?;
        Ok(found.first().and_then(|count| u64::try_from(*count).ok()).unwrap_or(0))
    }

    /// The first and the last quarter of which anything is known.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn span(&self) -> Result<Option<(Wall, Wall)>, ReadError> {
        let ends = |row: &Line<'_>| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?));
        let found = self.all("SELECT min(start_ms), max(start_ms) FROM energy", [], ends)?;
        let (first, last) = found.first().copied().unwrap_or_default();
        Ok(first.zip(last).map(|(first, last)| (Wall::unix_millis(first), Wall::unix_millis(last))))
    }

    /// Which circuit feeds which, as it was in the last quarter before a time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn parents(&self, until: Wall) -> Result<Vec<(String, String)>, ReadError> {
        self.all(
            "SELECT DISTINCT name, parent FROM energy WHERE kind = 'circuit' AND parent IS NOT NULL AND start_ms = \
             (SELECT max(start_ms) FROM energy WHERE start_ms < ?1)",
            [until.as_unix_millis()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    /// Orders that were taken in and may have held in a time, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn orders(&self, from: Wall, until: Wall) -> Result<Vec<LedgerRow>, ReadError> {
        self.all(
            "SELECT * FROM ledger WHERE from_ms < ?2 AND coalesce(ended_ms, until_ms, ?2) > ?1 AND cap_w IS NOT NULL \
             ORDER BY number",
            [from.as_unix_millis(), until.as_unix_millis()],
            rows::ledger_of,
        )
    }

    /// The name of the site, as the record has it of the latest configuration; `None` where the record does not reach back to one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn site(&self) -> Result<Option<String>, ReadError> {
        let sql = "SELECT body FROM proof WHERE kind IN ('start', 'reload') ORDER BY number DESC LIMIT 1";
        let found = self.all(sql, [], |row| row.get::<_, String>(0))?;
        let body = found.first().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        Ok(body.and_then(|body| body.get("site")?.as_str().map(str::to_owned)))
    }

    /// Alarms that were raised in a time or before it and not over then, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn alarms(&self, from: Wall, until: Wall) -> Result<Vec<AlarmRow>, ReadError> {
        self.all(
            "SELECT * FROM alarms WHERE raised_ms < ?2 AND coalesce(cleared_ms, ?2) > ?1 ORDER BY raised_ms, id",
            [from.as_unix_millis(), until.as_unix_millis()],
            alarms::row,
        )
    }

    /// Which baselines there were, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn baselines(&self) -> Result<Vec<BaselineRow>, ReadError> {
        self.all("SELECT * FROM baselines ORDER BY number", [], energy::baseline)
    }
}
