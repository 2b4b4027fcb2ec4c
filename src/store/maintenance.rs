//! What somebody works on, as rows of the database.

use rusqlite::{Row, Transaction, params};

use super::{MaintenanceRow, rows};

/// Writes all of it in the place of what was there; nothing when nothing was handed over.
pub(super) fn put(to: &Transaction<'_>, all: Option<&[MaintenanceRow]>) -> rusqlite::Result<()> {
    let Some(all) = all else { return Ok(()) };
    to.execute("DELETE FROM maintenance", [])?;
    let mut statement = to.prepare_cached("INSERT INTO maintenance VALUES (?, ?, ?, ?, ?, ?, ?)")?;
    for row in all {
        statement.execute(params![
            row.kind,
            row.name,
            row.hold,
            row.by,
            row.note,
            row.begun_ms,
            row.until_ms
        ])?;
    }
    Ok(())
}

/// Reads a row. Whether its words are known, whoever asks for them judges.
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<MaintenanceRow> {
    Ok(MaintenanceRow {
        kind: rows::text(row, "kind")?,
        name: rows::text(row, "name")?,
        hold: rows::text(row, "hold")?,
        by: rows::text(row, "person")?,
        note: rows::text(row, "note")?,
        begun_ms: row.get("begun_ms")?,
        until_ms: row.get("until_ms")?,
    })
}
