//! A trace from the daemon's own record: what the connection point would have had to spare without the miners.
//!
//! In each cycle that is what flows out at the meter of the root circuit and what the fleet draws: −(meter − fleet). The mean of
//! each minute is a row.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::read::{MAX_ROWS, Row, Rows};
use super::sniff::Shape;
use super::time::DateOrder;
use super::{Finding, Sign, Stamp, Told, Trace, TraceError, Unit, grid, instant};
use crate::control::site::{MeterId, Site};
use crate::control::snapshot::Snapshot;
use crate::control::{State, step};
use crate::record::delta::Cycle;
use crate::record::segment::Segment;

/// The length of a row, in milliseconds.
const MINUTE: i64 = 60_000;

/// What is known of a minute.
#[derive(Clone, Copy, Default)]
struct Minute {
    sum: f64,
    known: u32,
    cycles: u32,
}

/// Reads a record of the daemon, given its segments, the oldest first. Of `told`, the zone, the capacity and whether to keep what is
/// doubtful count. The power of a minute is known where it is in half of its cycles at least.
///
/// # Errors
/// Nothing of it can be read, or the connection point of the site has no meter.
pub fn read_record(files: &[PathBuf], told: &Told) -> Result<Trace, TraceError> {
    let mut name = String::from("record");
    let mut minutes: BTreeMap<i64, Minute> = BTreeMap::new();
    let mut damaged = Vec::new();
    let mut cycles = 0;
    for file in files {
        let mut segment = match Segment::open(file) {
            Ok(segment) => segment,
            Err(error) => {
                damaged.push(error.to_string());
                continue;
            }
        };
        name.clone_from(&segment.site.name);
        let fail = |what: String| TraceError::File { name: file.display().to_string(), what };
        let root = segment.site.circuits.first();
        let Some(meter) = root.and_then(|root| root.meter) else {
            return Err(fail(format!(
                "the circuit {} of its site has no meter, so nothing tells what was to spare; give a recording of one",
                root.map_or("at the connection point", |root| root.name.as_str())
            )));
        };
        let mut state = segment.state.clone();
        loop {
            let cycle = match segment.next_cycle() {
                Ok(Some(cycle)) => cycle,
                Ok(None) => break,
                Err(error) => {
                    damaged.push(error.to_string());
                    break;
                }
            };
            cycles += 1;
            let power = power(&segment.site, meter, &cycle.snapshot, &mut state);
            take(&mut minutes, &cycle, power);
            if minutes.len() > MAX_ROWS {
                return Err(fail(format!(
                    "the record has more than {MAX_ROWS} minutes; give a part of its files"
                )));
            }
        }
    }
    let zone = told.zone.clone().unwrap_or(TimeZone::UTC);
    let rows: Vec<Row> = minutes
        .iter()
        .map(|(minute, of)| {
            let known = of.known * 2 >= of.cycles && of.known > 0;
            let mean = of.sum / f64::from(of.known.max(1));
            Row {
                at: minute * MINUTE / 1000,
                value: if known { mean } else { 0.0 },
                id: 0,
                parts: u32::from(known),
            }
        })
        .collect();
    if rows.is_empty() {
        let what = damaged.first().cloned().unwrap_or_else(|| "there is no cycle in the record".into());
        return Err(TraceError::File { name, what });
    }
    let mut findings = Vec::new();
    if let Some(first) = damaged.first() {
        findings.push(Finding {
            kind: "missing",
            count: damaged.len(),
            first: rows.first().map_or(String::new(), |row| instant(row.at, &zone)),
            last: rows.last().map_or(String::new(), |row| instant(row.at, &zone)),
            what: format!("files of the record that are damaged; read as far as they go. The first: {first}"),
        });
    }
    let zone_name = zone.iana_name().map_or_else(|| instant_zone(&zone), str::to_owned);
    let mut assumed = vec![
        "to spare is what flowed out at the meter of the connection point and what the miners drew, by the daemon's own estimate"
            .to_owned(),
    ];
    if told.zone.is_none() {
        assumed.push("days and hours are those of UTC; --zone says otherwise".into());
    }
    let missing = rows.iter().filter(|row| row.parts == 0).count();
    let read =
        Rows { rows, ids: vec![String::new()], read: cycles, missing, zone, zone_name, findings, assumed };
    let shape = Shape {
        separator: b',',
        comma: false,
        header: false,
        names: Vec::new(),
        time: 0,
        clock: None,
        value: 1,
        id: None,
        unit: Unit::Watts,
        order: DateOrder::DayFirst,
        preamble: 0,
        newest_first: false,
        assumed: Vec::new(),
    };
    let told = Told {
        sign: Some(Sign::Import),
        stamp: Some(Stamp::Start),
        zone: told.zone.clone(),
        capacity: told.capacity,
        keep_doubtful: told.keep_doubtful,
        ..Told::default()
    };
    grid::build(&name, read, &shape, &told)
}

/// Where a zone has no name.
fn instant_zone(zone: &TimeZone) -> String {
    super::read::offset_name(super::time::offset(0, zone))
}

/// The power into the site by its meter, in watts, while that is young enough to be used as it is. What is put together from
/// several meters only the control law knows, so that it is run again there.
fn power(site: &Site, meter: MeterId, snapshot: &Snapshot, state: &mut State) -> Option<f64> {
    let about = site.meters.get(meter.0)?;
    if about.combined.is_some() {
        let decision = catch_unwind(AssertUnwindSafe(|| step(state, snapshot))).ok()?;
        return decision.circuits.first()?.power.map(|power| power.get());
    }
    let reading = snapshot.meters.get(meter.0)?.power?;
    (snapshot.now.since(reading.at) <= about.stale_after).then(|| reading.value.get())
}

/// Adds a cycle to its minute: import without the miners.
fn take(minutes: &mut BTreeMap<i64, Minute>, cycle: &Cycle, power: Option<f64>) {
    let minute = minutes.entry(cycle.wall.div_euclid(MINUTE)).or_default();
    minute.cycles = minute.cycles.saturating_add(1);
    let [draw, ..] = cycle.outcome.fleet;
    if let Some(power) = power
        && draw.is_finite()
    {
        minute.sum += power - f64::from(draw);
        minute.known = minute.known.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_record_of_the_daemon_is_a_trace_as_the_control_law_sees_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records");
        let files = crate::record::segment::find(&folder).unwrap();
        let trace = read_record(&files, &Told { keep_doubtful: true, ..Told::default() }).unwrap();
        assert_eq!((trace.step, trace.rows), (60, 120));
        // The same by running the control law again, and by its own estimates.
        let mut segment = Segment::open(&files[0]).unwrap();
        let mut state = segment.state.clone();
        let mut minutes: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        while let Some(cycle) = segment.next_cycle().unwrap() {
            let decision = step(&mut state, &cycle.snapshot);
            let (sum, n) = minutes.entry(cycle.wall.div_euclid(MINUTE)).or_default();
            if let Some(power) = decision.circuits[0].power {
                *sum += decision.circuits[0].miners.get() - power.get();
                *n += 1.0;
            }
        }
        assert_eq!(minutes.len(), trace.values.len());
        for ((sum, n), got) in minutes.values().zip(&trace.values) {
            assert!((sum / n - got).abs() < 1.0, "{} {got}", sum / n);
        }
        assert!(read_record(&[folder.join("nowhere")], &Told::default()).is_err());
    }
}
