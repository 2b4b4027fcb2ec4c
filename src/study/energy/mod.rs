//! What a site's daemon has kept of its energy, as a report: by circuit and tenant, by quarter, hour and day, with the orders
//! settled. Offline: from the database alone.
//!
//! | File | What it does |
//! |---|---|
//! | `tables` | as CSV and JSON |
//! | `html` | as a page |

mod html;
mod tables;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::control::signal::Wall;
use crate::control::signal::delivery::Delivery;
use crate::control::site::Scope;
use crate::energy::baseline::Baseline;
use crate::energy::settle::{Event, Excuse, Series, Settlement, settle};
use crate::energy::{KNOWN, Kind, Row, Sums};
use crate::signal::desk::MOST_OFF;
use crate::store::read::{ReadError, Reader, Wanted};
use crate::store::{AlarmRow, BaselineRow, LedgerRow};

pub use html::page;
pub use tables::{Table, csv, json};

/// Quarters of all circuits and tenants that one report takes at most.
const MOST_QUARTERS: usize = 1_000_000;
/// Rows that are read at a time.
const PAGE: u32 = 50_000;
/// Orders that one report settles at most.
const MOST_ORDERS: usize = 5_000;
/// How far back a baseline looks, and how far ahead, in milliseconds.
const BEFORE: i64 = 47 * 86_400_000;
const AFTER: i64 = 4 * 3_600_000;

/// What a report is to be about.
#[derive(Clone, Debug)]
pub struct Told {
    /// The name of the site; what the record has without it.
    pub site: Option<String>,
    /// From here on.
    pub from: Wall,
    /// Up to here.
    pub until: Wall,
    /// Whose days and hours.
    pub zone: TimeZone,
    /// This circuit alone.
    pub circuit: Option<String>,
    /// This tenant alone.
    pub tenant: Option<String>,
    /// Other baselines than those that were in force, by source.
    pub baselines: Vec<(String, Baseline)>,
    /// Times that are not held against the site.
    pub excuses: Vec<Excuse>,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnergyReportError {
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nothing is known of that time.
    #[error("{0}")]
    Nothing(String),
    /// It is too long.
    #[error(
        "this comes to more than {MOST_QUARTERS} quarters of circuits and tenants; ask for a shorter time, or for one --circuit"
    )]
    TooLong,
    /// Too many orders.
    #[error("more than {MOST_ORDERS} orders held in this time; ask for a shorter one")]
    TooManyOrders,
}

/// A circuit or tenant.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which of both.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Of a circuit, the one that feeds it.
    pub parent: Option<Arc<str>>,
    /// How far below the root it is.
    pub depth: usize,
    /// By the beginning of the quarter, in Unix milliseconds.
    pub quarters: BTreeMap<i64, Sums>,
    /// Over all of them.
    pub total: Sums,
}

impl Subject {
    /// Sums by something that follows from the time.
    pub fn by<K: Ord>(&self, key: impl Fn(i64) -> Option<K>) -> BTreeMap<K, Sums> {
        let mut all: BTreeMap<K, Sums> = BTreeMap::new();
        for (start, sums) in &self.quarters {
            if let Some(key) = key(*start) {
                *all.entry(key).or_default() += *sums;
            }
        }
        all
    }
}

/// A report.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the site, where it is known.
    pub site: Option<String>,
    /// From here on.
    pub from: Wall,
    /// Up to here.
    pub until: Wall,
    /// Whose days and hours.
    pub zone: TimeZone,
    /// Circuits first, each after the one that feeds it; then tenants.
    pub subjects: Vec<Subject>,
    /// The orders, the oldest first.
    pub orders: Vec<Settlement>,
    /// The alarms of that time, the oldest first.
    pub alarms: Vec<AlarmRow>,
}

impl Report {
    /// The day of a quarter.
    pub fn day(&self, start: i64) -> Option<Date> {
        Some(Timestamp::from_millisecond(start).ok()?.to_zoned(self.zone.clone()).date())
    }

    /// The day and the hour of a quarter.
    pub fn hour(&self, start: i64) -> Option<(Date, i8)> {
        let at = Timestamp::from_millisecond(start).ok()?.to_zoned(self.zone.clone());
        Some((at.date(), at.hour()))
    }

    /// The zone by its name; by how far it is from UTC where it has none.
    pub fn zone_name(&self) -> String {
        // A machine that does not say its zone is taken to be at UTC.
        if let Some(name) = self.zone.iana_name().filter(|name| *name != "Etc/Unknown") {
            return name.to_owned();
        }
        let offset =
            Timestamp::from_millisecond(self.from.as_unix_millis()).map(|at| self.zone.to_offset(at));
        match offset {
            Ok(offset) if offset.seconds() != 0 => format!("UTC{offset}"),
            _ => String::from("UTC"),
        }
    }
}

/// A point in time as people of the zone write it.
fn written(at: Wall, zone: &TimeZone) -> String {
    Timestamp::from_millisecond(at.as_unix_millis()).map_or_else(
        |_| String::from("–"),
        |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// The same to the second, without the day where it is that of `first`.
fn to_the_second(at: Wall, first: Wall, zone: &TimeZone) -> String {
    let zoned =
        |at: Wall| Timestamp::from_millisecond(at.as_unix_millis()).ok().map(|at| at.to_zoned(zone.clone()));
    let Some(there) = zoned(at) else { return String::from("–") };
    let same = zoned(first).is_some_and(|first| first.date() == there.date());
    there.strftime(if same { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// A point in time in UTC, by RFC 3339.
fn stamp(at: Wall) -> String {
    Timestamp::from_millisecond(at.as_unix_millis()).map_or_else(|_| String::new(), |at| at.to_string())
}

/// Reads a database and makes a report of it.
///
/// # Errors
/// It cannot be read, there is nothing of that time in it, or there is too much.
pub fn report(reader: &Reader, told: &Told) -> Result<Report, EnergyReportError> {
    let (from_ms, until_ms) = (told.from.as_unix_millis(), told.until.as_unix_millis());
    let wanted = Wanted { from_ms, until_ms, circuit: told.circuit.clone(), tenant: told.tenant.clone() };
    let mut all: BTreeMap<(Kind, Arc<str>), Subject> = BTreeMap::new();
    let mut quarters = 0_usize;
    each(reader, &wanted, |row| {
        let key = (row.kind, row.name.clone());
        let subject = all.entry(key).or_insert_with(|| Subject {
            kind: row.kind,
            name: row.name,
            parent: None,
            depth: 0,
            quarters: BTreeMap::new(),
            total: Sums::default(),
        });
        subject.parent = row.parent;
        subject.total += row.sums;
        let sums = subject.quarters.entry(row.start.as_unix_millis()).or_insert_with(|| {
            quarters += 1;
            Sums::default()
        });
        *sums += row.sums;
        quarters <= MOST_QUARTERS
    })?;
    if all.is_empty() {
        return Err(EnergyReportError::Nothing(nothing(reader, told)?));
    }
    let orders =
        if told.tenant.is_some() && told.circuit.is_none() { Vec::new() } else { settled(reader, told)? };
    Ok(Report {
        site: told.site.clone().map_or_else(|| reader.site(), |site| Ok(Some(site)))?,
        from: told.from,
        until: told.until,
        zone: told.zone.clone(),
        subjects: in_order(all),
        orders,
        alarms: reader.alarms(told.from, told.until)?,
    })
}

/// Hands each row of energy to `take`, which says whether there may be more.
fn each(
    reader: &Reader,
    wanted: &Wanted,
    mut take: impl FnMut(Row) -> bool,
) -> Result<(), EnergyReportError> {
    let mut skip = 0_u32;
    loop {
        let rows = reader.energy(wanted, skip, PAGE)?;
        let count = u32::try_from(rows.len()).unwrap_or(PAGE);
        for row in rows {
            if !take(row) {
                return Err(EnergyReportError::TooLong);
            }
        }
        if count < PAGE {
            return Ok(());
        }
        skip = skip.saturating_add(PAGE);
    }
}

/// Why there is nothing, and of what there is something.
fn nothing(reader: &Reader, told: &Told) -> Result<String, ReadError> {
    let whose = match (&told.circuit, &told.tenant) {
        (Some(circuit), _) => format!(" of the circuit `{circuit}`"),
        (None, Some(tenant)) => format!(" of the tenant `{tenant}`"),
        (None, None) => String::new(),
    };
    let (from, until) = (written(told.from, &told.zone), written(told.until, &told.zone));
    let known = match reader.span()? {
        Some((first, last)) => {
            format!("there is energy from {} to {}", written(first, &told.zone), written(last, &told.zone))
        }
        None => String::from("there is none at all yet: the daemon writes it once a minute"),
    };
    Ok(format!("nothing is known{whose} from {from} to {until}; {known}"))
}

/// Circuits from the root down, then tenants.
fn in_order(all: BTreeMap<(Kind, Arc<str>), Subject>) -> Vec<Subject> {
    let (mut circuits, tenants): (Vec<_>, Vec<_>) =
        all.into_values().partition(|subject| subject.kind == Kind::Circuit);
    let mut ordered: Vec<Subject> = Vec::new();
    let mut stack: Vec<(Option<Arc<str>>, usize)> = vec![(None, 0)];
    // Whose parent is not told of stands at the top.
    let names: Vec<Arc<str>> = circuits.iter().map(|subject| subject.name.clone()).collect();
    for subject in &mut circuits {
        if subject.parent.as_ref().is_some_and(|parent| !names.contains(parent)) {
            subject.parent = None;
        }
    }
    while let Some((parent, depth)) = stack.pop() {
        let (here, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut circuits).into_iter().partition(|subject| subject.parent == parent);
        circuits = rest;
        let mut here = here.into_iter().map(|subject| Subject { depth, ..subject });
        if parent.is_none() && stack.is_empty() && ordered.is_empty() {
            let roots: Vec<Subject> = here.collect();
            for root in roots.into_iter().rev() {
                stack.push((Some(root.name.clone()), 1));
                ordered.push(root);
            }
            continue;
        }
        let at = ordered.iter().position(|known| Some(&known.name) == parent.as_ref()).map_or(0, |at| at + 1);
        for (offset, subject) in here.by_ref().enumerate() {
            stack.push((Some(subject.name.clone()), depth + 1));
            ordered.insert(at + offset, subject);
        }
    }
    // Circuits that feed each other in a ring, which no configuration makes.
    ordered.extend(circuits);
    ordered.extend(tenants);
    ordered
}

/// An order as it is settled; `None` for one that was never obeyed.
fn event(row: &LedgerRow, until: Wall) -> Option<Event> {
    let applied = row.applied?;
    // Earlier than its own beginning where a clock was in doubt; much earlier where that clock was never set.
    let from = if row.from.since(applied) > MOST_OFF { row.from } else { applied };
    let end = match (row.ended, row.until) {
        // It may end later than it says, by a clock in doubt or a random delay. Of one that ended while the daemon was down the
        // record has the next start: then its own end counts, for most of that time was not measured.
        (Some(ended), Some(own)) if ended.since(own) > MOST_OFF => {
            let held = ended.since(from).as_secs_f64();
            if row.measured.as_secs_f64() >= held * KNOWN { ended } else { own }
        }
        (Some(ended), _) => ended,
        (None, own) => own.unwrap_or(until),
    };
    (end > from).then(|| Event {
        number: row.number,
        source: row.source.clone(),
        id: row.id.clone(),
        circuit: row.circuit.clone(),
        scope: row.scope,
        cap: row.cap.unwrap_or_default(),
        stated: row.baseline,
        from,
        until: end,
        ordered: (row.from, row.until),
        measured: (row.measured, row.energy),
        recorded: recorded(row),
    })
}

/// What was delivered by the record, as `ballast orders` and the proof tell it.
fn recorded(row: &LedgerRow) -> Option<f64> {
    let mut delivery = Delivery::new(row.cap?, row.baseline, row.basis, row.received);
    (delivery.measured, delivery.energy) = (row.measured, row.energy);
    delivery.delivered()
}

/// The baseline that was in force for a source when an order came.
fn in_force(rows: &[BaselineRow], told: &Told, event: &Event) -> Baseline {
    let other = told.baselines.iter().find(|(source, _)| **source == *event.source);
    let known = || {
        let of_source = rows.iter().filter(|row| row.source == event.source);
        let (before, after): (Vec<_>, Vec<_>) = of_source.partition(|row| row.since <= event.from);
        before.last().or(after.first()).map(|row| row.baseline)
    };
    other.map(|(_, baseline)| *baseline).or_else(known).unwrap_or_default()
}

fn settled(reader: &Reader, told: &Told) -> Result<Vec<Settlement>, EnergyReportError> {
    let back = |at: Wall, by: i64| Wall::unix_millis(at.as_unix_millis().saturating_add(by));
    let rows = reader.orders(back(told.from, -BEFORE), back(told.until, AFTER))?;
    let events: Vec<Event> = rows.iter().filter_map(|row| event(row, told.until)).collect();
    let asked = |event: &&Event| {
        event.from < told.until
            && event.until > told.from
            && told.circuit.as_ref().is_none_or(|circuit| **circuit == *event.circuit)
    };
    let here: Vec<&Event> = events.iter().filter(asked).collect();
    if here.len() > MOST_ORDERS {
        return Err(EnergyReportError::TooManyOrders);
    }
    let known = reader.parents(told.until)?;
    let parents: BTreeMap<&str, &str> =
        known.iter().map(|(name, parent)| (name.as_str(), parent.as_str())).collect();
    let above = |upper: &str, lower: &str| {
        // A ring would have no end.
        std::iter::successors(Some(lower), |at| parents.get(at).copied()).take(64).any(|at| at == upper)
    };
    let related = |one: &str, other: &str| above(one, other) || above(other, one);
    let baselines = reader.baselines()?;
    let mut series: BTreeMap<(Arc<str>, bool), Series> = BTreeMap::new();
    for event in &here {
        let key = (event.circuit.clone(), event.scope == Scope::Import);
        if series.contains_key(&key) {
            continue;
        }
        let mut one = Series::default();
        let wanted = Wanted {
            from_ms: told.from.as_unix_millis().saturating_sub(BEFORE),
            until_ms: told.until.as_unix_millis().saturating_add(AFTER),
            circuit: Some(event.circuit.to_string()),
            tenant: None,
        };
        each(reader, &wanted, |row| {
            one.add(row.start, event.scope, &row.sums);
            true
        })?;
        series.insert(key, one);
    }
    let none = Series::default();
    Ok(here
        .into_iter()
        .map(|event| {
            let known = series.get(&(event.circuit.clone(), event.scope == Scope::Import)).unwrap_or(&none);
            let how = in_force(&baselines, told, event);
            settle(event, how, known, &events, &told.excuses, &told.zone, related)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::signal::Basis;
    use crate::units::{Joules, Watts};
    use std::time::Duration;

    const MINUTE: i64 = 60_000;
    const NOON: i64 = 1_782_907_200_000;

    /// Ordered from noon for `own` minutes; applied and ended so many minutes after noon.
    fn row(own: i64, applied: i64, ended: Option<i64>, measured: u64) -> LedgerRow {
        let at = |minutes: i64| Wall::unix_millis(NOON + minutes * MINUTE);
        LedgerRow {
            number: 1,
            source: "utility".into(),
            id: "evening".into(),
            revision: 1,
            circuit: "pcc".into(),
            scope: Scope::Import,
            stage: "ended".into(),
            reason: None,
            cap: Some(Watts::kilowatts(100.0)),
            baseline: Some(Watts::kilowatts(200.0)),
            basis: Basis::Instant,
            from: at(0),
            until: Some(at(own)),
            received: at(-60),
            applied: Some(at(applied)),
            met: None,
            ended: ended.map(at),
            measured: Duration::from_secs(measured * 60),
            energy: Watts::kilowatts(75.0).over(Duration::from_secs(measured * 60)),
            worst: Watts::ZERO,
            worst_mean: None,
            by: None,
            remark: None,
            stored: true,
        }
    }

    #[test]
    fn an_order_counts_from_when_it_held_to_when_it_ended() {
        let end = Wall::unix_millis(NOON + 600 * MINUTE);
        let held = |row: &LedgerRow| {
            let event = event(row, end).unwrap();
            let minutes = |at: Wall| (at.as_unix_millis() - NOON) / MINUTE;
            (minutes(event.from), minutes(event.until))
        };
        // A clock in doubt makes it begin earlier and end later.
        let wide = row(2, -5, Some(7), 12);
        assert_eq!(held(&wide), (-5, 7));
        let event = event(&wide, end).unwrap();
        assert!(event.differs() && event.recorded == Some(1.25), "{event:?}");
        assert_eq!(event.measured, (Duration::from_secs(720), Joules::saturating(75e3 * 720.0)));
        // Taken back; by a clock that was never set; still to end; over while the daemon was down; by a long random delay.
        assert_eq!(held(&row(60, 0, Some(20), 20)), (0, 20));
        assert_eq!(held(&row(60, -500_000, Some(60), 60)), (0, 60));
        assert_eq!(held(&row(60, 0, None, 20)), (0, 60));
        assert_eq!(held(&row(60, 0, Some(300), 50)), (0, 60));
        assert_eq!(held(&row(60, 0, Some(300), 290)), (0, 300));
    }

    #[test]
    fn a_time_of_another_day_is_told_with_its_day() {
        let (noon, zone) = (Wall::unix_millis(NOON), TimeZone::UTC);
        assert_eq!(to_the_second(noon, noon, &zone), "12:00:00");
        let later = Wall::unix_millis(NOON + 1_290 * MINUTE);
        assert_eq!(to_the_second(later, noon, &zone), "2026-07-02 09:30:00");
    }

    #[test]
    fn a_zone_without_a_name_is_told_by_its_offset() {
        let report = |zone: TimeZone| Report {
            site: None,
            from: Wall::unix_millis(NOON),
            until: Wall::unix_millis(NOON + MINUTE),
            zone,
            subjects: Vec::new(),
            orders: Vec::new(),
            alarms: Vec::new(),
        };
        assert_eq!(report(TimeZone::get("Asia/Karachi").unwrap()).zone_name(), "Asia/Karachi");
        assert_eq!(report(TimeZone::fixed(jiff::tz::offset(5))).zone_name(), "UTC+05");
        assert_eq!(report(TimeZone::unknown()).zone_name(), "UTC");
    }
}
