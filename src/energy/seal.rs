//! What the proof says of quarters that are closed: their sums in short, and a hash of all their rows, by which anybody who has
//! the database finds a row that was changed.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::figures::Figures;
use super::{Kind, Row};
use crate::units::Joules;

/// The text of a row that is hashed: whole joules and whole milliseconds, so that every program writes the same.
fn line(row: &Row) -> String {
    let joules = |energy: Joules| format!("{:.0}", energy.get().floor());
    let time = |time: Duration| time.as_millis().to_string();
    let sums = &row.sums;
    let mut line = format!("{}\t{}\t{}\t{}", row.start.as_unix_millis(), row.part, row.kind.name(), row.name);
    for figure in [
        joules(sums.import),
        joules(sums.export),
        time(sums.metered()),
        joules(sums.miners),
        time(sums.miners_known),
        joules(sums.caused),
        time(sums.together),
        format!("{:.0}", sums.terahashes.floor()),
    ] {
        // Writing to a string does not fail.
        let _ = write!(line, "\t{}", if figure == "-0" { "0" } else { &figure });
    }
    line.push('\n');
    line
}

/// The body of an entry about rows that belong together and do not change any more; `None` for none.
pub fn body(rows: &[Row]) -> Option<Value> {
    let first = rows.first()?;
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.sort_unstable();
    let hash = Sha256::digest(lines.concat());
    let hash = hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let root = rows.iter().find(|row| row.kind == Kind::Circuit && row.parent.is_none()).unwrap_or(first);
    let told = Figures::from(&root.sums);
    Some(json!({
        "start_utc": jiff::Timestamp::from_millisecond(first.start.as_unix_millis()).ok()?.to_string(),
        "part": first.part,
        "rows": rows.len(),
        "rows_sha256": hash,
        "name": &*root.name,
        "import_watt_hours": told.import_watt_hours,
        "export_watt_hours": told.export_watt_hours,
        "metered_seconds": told.metered_seconds,
        "miners_watt_hours": told.miners_watt_hours,
        "import_caused_by_miners_watt_hours": told.import_caused_by_miners_watt_hours,
        "import_not_known_whether_caused_watt_hours": told.import_not_known_whether_caused_watt_hours,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::signal::Wall;
    use crate::energy::Sums;

    fn row(name: &str, parent: Option<&str>, import: f64) -> Row {
        Row {
            start: Wall::unix_millis(1_780_272_000_000),
            part: 7,
            kind: Kind::Circuit,
            name: name.into(),
            parent: parent.map(Into::into),
            sums: Sums {
                import: Joules::saturating(import),
                by_counter: Duration::from_secs(900),
                ..Sums::default()
            },
        }
    }

    #[test]
    fn a_row_that_was_changed_or_is_missing_has_another_hash_and_their_order_none() {
        let rows = [row("hall", Some("pcc"), 1_234.9), row("pcc", None, 3_600_000.0)];
        let hash = |rows: &[Row]| body(rows).unwrap()["rows_sha256"].clone();
        let told = body(&rows).unwrap();
        assert_eq!((&told["name"], &told["import_watt_hours"]), (&json!("pcc"), &json!(1_000.0)));
        assert_eq!(told["start_utc"], "2026-06-01T00:00:00Z");
        assert_eq!(hash(&rows), hash(&[rows[1].clone(), rows[0].clone()]));
        assert_ne!(hash(&rows), hash(&rows[..1]));
        assert_ne!(hash(&rows), hash(&[row("hall", Some("pcc"), 1_236.0), rows[1].clone()]));
        assert_eq!(line(&rows[0]), "1780272000000\t7\tcircuit\thall\t1234\t0\t900000\t0\t0\t0\t0\t0\n");
        assert!(body(&[]).is_none());
    }
}
