//! Energy as rows of the database: quarters, where the counters stand, and which baseline a source has.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Row as Line, Transaction, params};

use super::rows;
use crate::control::signal::Wall;
use crate::energy::baseline::Baseline;
use crate::energy::{CounterRow, Kind, Row, Sums};
use crate::units::{Joules, Watts};

/// Quarters that stay on disk: 400 days. Their number alone decides: by their age a wrong clock would drop them.
pub const MOST_QUARTERS: u32 = 38_400;
/// Rows that stay on disk at most, however many circuits and tenants there are: some 300 MB.
pub const MOST_ROWS: u32 = 2_000_000;
/// Meters whose counters are kept.
const MOST_COUNTERS: u32 = 10_000;
/// Changes of baselines that are kept.
const MOST_BASELINES: u32 = 10_000;

/// The tables.
pub(super) const TABLES: &str = "
CREATE TABLE energy (
    start_ms INTEGER NOT NULL, part INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, parent TEXT,
    observed_s REAL NOT NULL, import_j REAL NOT NULL, export_j REAL NOT NULL, by_counter_s REAL NOT NULL,
    by_power_s REAL NOT NULL, bridged_s REAL NOT NULL, miners_j REAL NOT NULL, miners_known_s REAL NOT NULL,
    miners_unknown_j REAL NOT NULL, other_j REAL NOT NULL, caused_j REAL NOT NULL, unused_j REAL NOT NULL,
    together_s REAL NOT NULL, cap_j REAL NOT NULL, capped_s REAL NOT NULL, terahashes REAL NOT NULL,
    hash_known_s REAL NOT NULL, resets INTEGER NOT NULL, jumps INTEGER NOT NULL,
    PRIMARY KEY (start_ms, part, kind, name)) WITHOUT ROWID;
CREATE TABLE energy_counters (
    circuit TEXT PRIMARY KEY, meter TEXT NOT NULL, import_j REAL, export_j REAL, at_ms INTEGER NOT NULL,
    largest_w REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE baselines (
    number INTEGER PRIMARY KEY, source TEXT NOT NULL, since_ms INTEGER NOT NULL, baseline TEXT NOT NULL, firm_w REAL);
";

/// Import of which nobody knows whether the miners caused it. Earlier versions did not keep it: of what they wrote it is the most that
/// it can be.
pub(super) const DOUBT: &str = "
ALTER TABLE energy ADD COLUMN unattributed_j REAL NOT NULL DEFAULT 0;
ALTER TABLE energy ADD COLUMN unmetered_j REAL NOT NULL DEFAULT 0;
UPDATE energy SET unattributed_j = max(0, import_j - caused_j)
    WHERE kind = 'circuit' AND by_counter_s + by_power_s + bridged_s > together_s + 5;
UPDATE energy SET unmetered_j = max(0, miners_j + miners_unknown_j - caused_j)
    WHERE kind = 'circuit' AND observed_s > max(together_s, by_counter_s + by_power_s + bridged_s) + 5;
";

/// The columns that are added up over the parts of a quarter.
pub(super) const SUMS: [&str; 21] = [
    "observed_s",
    "import_j",
    "export_j",
    "by_counter_s",
    "by_power_s",
    "bridged_s",
    "miners_j",
    "miners_known_s",
    "miners_unknown_j",
    "other_j",
    "caused_j",
    "unused_j",
    "together_s",
    "cap_j",
    "capped_s",
    "terahashes",
    "hash_known_s",
    "resets",
    "jumps",
    "unattributed_j",
    "unmetered_j",
];

/// Which baseline the orders of a source have, from a time on.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineRow {
    /// Name of the source.
    pub source: Arc<str>,
    /// From when.
    pub since: Wall,
    /// Which.
    pub baseline: Baseline,
}

/// Writes rows in the place of what was known of their parts.
pub(super) fn put(to: &Transaction<'_>, all: &[Row]) -> rusqlite::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut statement = to.prepare_cached(
        "INSERT OR REPLACE INTO energy VALUES \
         (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for row in all {
        let sums = &row.sums;
        let seconds = Duration::as_secs_f64;
        statement.execute(params![
            row.start.as_unix_millis(),
            row.part,
            row.kind.name(),
            row.name,
            row.parent,
            seconds(&sums.observed),
            sums.import.get(),
            sums.export.get(),
            seconds(&sums.by_counter),
            seconds(&sums.by_power),
            seconds(&sums.bridged),
            sums.miners.get(),
            seconds(&sums.miners_known),
            sums.miners_unknown.get(),
            sums.other.get(),
            sums.caused.get(),
            sums.unused.get(),
            seconds(&sums.together),
            sums.cap.get(),
            seconds(&sums.capped),
            sums.terahashes,
            seconds(&sums.hash_known),
            sums.resets,
            sums.jumps,
            sums.unattributed.get(),
            sums.unmetered.get(),
        ])?;
    }
    Ok(())
}

/// Drops the oldest quarters where there are too many.
pub(super) fn trim(to: &Transaction<'_>) -> rusqlite::Result<()> {
    to.prepare_cached(
        "DELETE FROM energy WHERE start_ms < \
         (SELECT DISTINCT start_ms FROM energy ORDER BY start_ms DESC LIMIT 1 OFFSET ?)",
    )?
    .execute([MOST_QUARTERS - 1])?;
    to.prepare_cached(
        "DELETE FROM energy WHERE start_ms < (SELECT start_ms FROM energy ORDER BY start_ms DESC LIMIT 1 OFFSET ?)",
    )?
    .execute([MOST_ROWS])?;
    Ok(())
}

/// Writes where the counters stand.
pub(super) fn put_counters(to: &Transaction<'_>, all: &[CounterRow]) -> rusqlite::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let mut statement =
        to.prepare_cached("INSERT OR REPLACE INTO energy_counters VALUES (?, ?, ?, ?, ?, ?)")?;
    for row in all {
        let [import, export] = [row.import, row.export].map(|value| value.map(Joules::get));
        let at = row.at.as_unix_millis();
        statement.execute(params![row.circuit, row.meter, import, export, at, row.largest.get()])?;
    }
    // By number, and not by age: a clock that is ahead would forget all of it.
    to.prepare_cached(
        "DELETE FROM energy_counters WHERE circuit NOT IN \
         (SELECT circuit FROM energy_counters ORDER BY at_ms DESC LIMIT ?)",
    )?
    .execute([MOST_COUNTERS])?;
    Ok(())
}

/// Notes which baselines there are, where that is news.
pub(super) fn put_baselines(to: &Transaction<'_>, all: &[BaselineRow]) -> rusqlite::Result<()> {
    for row in all {
        let firm = firm(row.baseline).map(Watts::get);
        to.prepare_cached(
            "INSERT INTO baselines (source, since_ms, baseline, firm_w) SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS \
             (SELECT 1 FROM (SELECT * FROM baselines WHERE source = ?1 ORDER BY number DESC LIMIT 1) \
              WHERE baseline = ?3 AND firm_w IS ?4)",
        )?
        .execute(params![row.source, row.since.as_unix_millis(), row.baseline.name(), firm])?;
    }
    if !all.is_empty() {
        to.prepare_cached("DELETE FROM baselines WHERE number <= (SELECT max(number) FROM baselines) - ?")?
            .execute([MOST_BASELINES])?;
    }
    Ok(())
}

const fn firm(baseline: Baseline) -> Option<Watts> {
    match baseline {
        Baseline::Firm(watts) => Some(watts),
        _ => None,
    }
}

/// Reads a row.
pub(super) fn row(line: &Line<'_>) -> rusqlite::Result<Row> {
    let joules = |column: &str| -> rusqlite::Result<Joules> {
        Joules::new(line.get(column)?).map_err(|error| rows::strange(column, &error.to_string()))
    };
    let time = |column: &str| -> rusqlite::Result<Duration> {
        let seconds: f64 = line.get(column)?;
        Duration::try_from_secs_f64(seconds).map_err(|error| rows::strange(column, &error.to_string()))
    };
    let kind: String = line.get("kind")?;
    let terahashes: f64 = line.get("terahashes")?;
    Ok(Row {
        start: Wall::unix_millis(line.get("start_ms")?),
        part: line.get("part")?,
        kind: Kind::from_name(&kind).ok_or_else(|| rows::strange("kind", &kind))?,
        name: rows::text(line, "name")?,
        parent: line.get::<_, Option<String>>("parent")?.map(Into::into),
        sums: Sums {
            observed: time("observed_s")?,
            import: joules("import_j")?,
            export: joules("export_j")?,
            by_counter: time("by_counter_s")?,
            by_power: time("by_power_s")?,
            bridged: time("bridged_s")?,
            miners: joules("miners_j")?,
            miners_known: time("miners_known_s")?,
            miners_unknown: joules("miners_unknown_j")?,
            other: joules("other_j")?,
            caused: joules("caused_j")?,
            unattributed: joules("unattributed_j")?,
            unmetered: joules("unmetered_j")?,
            unused: joules("unused_j")?,
            together: time("together_s")?,
            cap: joules("cap_j")?,
            capped: time("capped_s")?,
            terahashes: if terahashes.is_finite() { terahashes } else { 0.0 },
            hash_known: time("hash_known_s")?,
            resets: line.get("resets")?,
            jumps: line.get("jumps")?,
        },
    })
}

/// Reads where a counter stands.
pub(super) fn counter(line: &Line<'_>) -> rusqlite::Result<CounterRow> {
    let joules = |column: &str| -> rusqlite::Result<Option<Joules>> {
        let value: Option<f64> = line.get(column)?;
        value
            .map(|value| Joules::new(value).map_err(|error| rows::strange(column, &error.to_string())))
            .transpose()
    };
    let largest = line.get("largest_w")?;
    Ok(CounterRow {
        circuit: rows::text(line, "circuit")?,
        meter: rows::text(line, "meter")?,
        import: joules("import_j")?,
        export: joules("export_j")?,
        at: Wall::unix_millis(line.get("at_ms")?),
        largest: Watts::new(largest).map_err(|error| rows::strange("largest_w", &error.to_string()))?,
    })
}

/// Reads a baseline.
pub(super) fn baseline(line: &Line<'_>) -> rusqlite::Result<BaselineRow> {
    let name: String = line.get("baseline")?;
    let firm: Option<f64> = line.get("firm_w")?;
    let firm = firm.and_then(|watts| Watts::new(watts).ok());
    let baseline = Baseline::from_name(&name, firm).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            0,
            Type::Text,
            format!("there is no baseline {name}").into(),
        )
    })?;
    Ok(BaselineRow {
        source: rows::text(line, "source")?,
        since: Wall::unix_millis(line.get("since_ms")?),
        baseline,
    })
}
