//! What was learned of the miners and the meters as rows of the database.

use std::time::Duration;

use rusqlite::{Row, Transaction, params};

use super::{LearnedRow, MOST_LEARNED, RefreshRow, rows};
use crate::control::learned::Learned;
use crate::control::signal::Wall;

/// Writes rows in the place of what was known of their miners, and drops the oldest where there are too many.
pub(super) fn put(to: &Transaction<'_>, all: &[LearnedRow]) -> rusqlite::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut statement =
        to.prepare_cached("INSERT OR REPLACE INTO learned VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
    for row in all {
        let Learned { scale, floor, sleep, pace, start } = row.learned;
        let stamp = row.stamp.as_unix_millis();
        statement.execute(params![row.miner, row.identity, scale, floor, sleep, pace, start, stamp])?;
    }
    // By number, and not by age: a clock that is ahead would forget all of it.
    to.prepare_cached(
        "DELETE FROM learned WHERE miner NOT IN (SELECT miner FROM learned ORDER BY stamp_ms DESC LIMIT ?)",
    )?
    .execute([MOST_LEARNED])?;
    Ok(())
}

/// Writes how often meters have new values, likewise.
pub(super) fn put_refreshes(to: &Transaction<'_>, all: &[RefreshRow]) -> rusqlite::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut statement = to.prepare_cached("INSERT OR REPLACE INTO refreshes VALUES (?, ?, ?, ?)")?;
    for row in all {
        let stamp = row.stamp.as_unix_millis();
        statement.execute(params![row.meter, row.device, row.refresh.as_secs_f64(), stamp])?;
    }
    to.prepare_cached(
        "DELETE FROM refreshes WHERE meter NOT IN (SELECT meter FROM refreshes ORDER BY stamp_ms DESC LIMIT ?)",
    )?
    .execute([MOST_LEARNED])?;
    Ok(())
}

/// Reads how often a meter has a new value. What is no time is an error of the row.
pub(super) fn refresh(row: &Row<'_>) -> rusqlite::Result<RefreshRow> {
    let seconds: f64 = row.get("refresh_s")?;
    let refresh = Duration::try_from_secs_f64(seconds);
    Ok(RefreshRow {
        meter: rows::text(row, "meter")?,
        device: rows::text(row, "device")?,
        refresh: refresh.map_err(|_| rusqlite::Error::IntegralValueOutOfRange(2, 0))?,
        stamp: Wall::unix_millis(row.get("stamp_ms")?),
    })
}

/// Reads a row. Whether its numbers make sense the control law judges.
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<LearnedRow> {
    Ok(LearnedRow {
        miner: rows::text(row, "miner")?,
        identity: rows::text(row, "identity")?,
        learned: Learned {
            scale: row.get("scale")?,
            floor: row.get("floor_w")?,
            sleep: row.get("sleep_w")?,
            pace: row.get("pace")?,
            start: row.get("start_s")?,
        },
        stamp: Wall::unix_millis(row.get("stamp_ms")?),
    })
}
