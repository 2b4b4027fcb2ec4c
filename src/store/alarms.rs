//! Alarms as rows of the database.

use rusqlite::{Row, Transaction, params};

use super::{AlarmRow, MOST_ALARMS, MOST_ALARMS_READ, rows};

/// Writes alarms in the place of what was known of them, and drops the oldest where there are too many.
pub(super) fn put(to: &Transaction<'_>, all: &[AlarmRow]) -> rusqlite::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut statement =
        to.prepare_cached("INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    for row in all {
        statement.execute(params![
            row.id.cast_signed(),
            row.kind,
            row.severity,
            row.subject,
            row.words,
            row.raised_ms,
            row.cleared_ms,
            row.acknowledged_by,
            row.acknowledged_ms,
            row.note,
            row.told,
        ])?;
    }
    // By number, and not by age: a clock that is ahead would drop all of them.
    to.prepare_cached("DELETE FROM alarms WHERE id <= (SELECT max(id) FROM alarms) - ?")?
        .execute([MOST_ALARMS])?;
    Ok(())
}

/// What is read at the start: those that are not over first, then the newest.
pub(super) fn newest() -> String {
    format!("SELECT * FROM alarms ORDER BY cleared_ms IS NOT NULL, id DESC LIMIT {MOST_ALARMS_READ}")
}

/// Reads a row. Whether its words are known, whoever asks for them judges.
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<AlarmRow> {
    let optional = |name: &str| -> rusqlite::Result<Option<std::sync::Arc<str>>> {
        Ok(row.get::<_, Option<String>>(name)?.map(Into::into))
    };
    Ok(AlarmRow {
        id: row.get::<_, i64>("id")?.cast_unsigned(),
        kind: rows::text(row, "kind")?,
        severity: rows::text(row, "severity")?,
        subject: rows::text(row, "subject")?,
        words: rows::text(row, "words")?,
        raised_ms: row.get("raised_ms")?,
        cleared_ms: row.get("cleared_ms")?,
        acknowledged_by: optional("acknowledged_by")?,
        acknowledged_ms: row.get("acknowledged_ms")?,
        note: optional("note")?,
        told: row.get("told")?,
    })
}
