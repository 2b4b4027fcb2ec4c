//! From rows to a grid of equal intervals: duplicates, gaps, mixed intervals, several sources.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::read::{MAX_ROWS, Row, Rows, gather, mean_of, turned};
use super::sniff::Shape;
use super::{Finding, Mark, Stamp, Told, Trace, TraceError, faults, instant, time};
use crate::study::number::{self, count, seconds};

/// Where the slots lie: equal intervals of time, or of the local clock.
#[derive(Clone, Copy)]
pub(super) struct Slots<'a> {
    pub start: i64,
    pub step: i64,
    /// See [`Trace::civil`].
    pub civil: Option<i64>,
    pub zone: &'a TimeZone,
}

impl Slots<'_> {
    pub(super) fn at(&self, slot: usize) -> i64 {
        let along = number::signed(slot) * self.step;
        self.civil.map_or(self.start + along, |local| time::instant_of(local + along, self.zone))
    }

    pub(super) fn slot(&self, at: i64) -> i64 {
        let along = self.civil.map_or(at - self.start, |local| at + time::offset(at, self.zone) - local);
        along.div_euclid(self.step.max(1))
    }

    fn told(&self, slot: usize) -> String {
        instant(self.at(slot), self.zone)
    }
}

/// Changes of the clock are as long as this or shorter: longer intervals cannot keep both times.
const CLOCK_CHANGE: i64 = 1800;
/// A date is taken for wrong where it lies so far from all others, in seconds, and they reach not four times as far.
const LONE: i64 = 7 * 86_400;

/// Distinct distances between rows that are counted; a regular recording has a handful.
const MAX_DISTANCES: usize = 10_000;

/// Puts rows on a grid and judges them.
pub(super) fn build(name: &str, mut read: Rows, shape: &Shape, told: &Told) -> Result<Trace, TraceError> {
    let file = |what: String| TraceError::File { name: name.to_owned(), what };
    let mut findings = std::mem::take(&mut read.findings);
    if told.every.is_some() {
        gather(&mut read.rows);
    }
    if !read.rows.is_sorted_by_key(|row| (row.at, row.id)) {
        read.rows.sort_by_key(|row| (row.at, row.id));
    }
    lone(&mut read.rows, read.ids.len(), &read.zone, &mut findings);
    let rows = read.rows.len();
    let differ = duplicates(&mut read.rows, &read.zone, &mut findings);
    if differ > 10 && differ * 10 > rows {
        return Err(file(format!(
            "{differ} of {rows} rows are of an instant that was there before, with another value: if several sources are in one \
             file, say --id-column NAME"
        )));
    }
    let (Some(first), Some(last)) = (read.rows.first().map(|row| row.at), read.rows.last().map(|row| row.at))
    else {
        return Err(file("there is no row in it".into()));
    };
    if first == last {
        return Err(file(
            "all rows are of one instant; a trace needs two at least, and two days to say anything".into(),
        ));
    }
    if shape.unit.is_energy() && told.every.is_some() {
        return Err(file("--every averages powers; with energies of intervals leave it out".into()));
    }
    let step = match told.every {
        Some(every) => every,
        None => interval(&read.rows, shape.unit.is_energy(), &read.zone, &mut findings).map_err(file)?,
    };
    if told.every.is_some() {
        let apart = read.rows.windows(2).filter_map(|pair| match pair {
            [one, next] if next.at > one.at => Some(next.at - one.at),
            _ => None,
        });
        if apart.min().is_some_and(|apart| apart >= 2 * step) {
            return Err(file(format!(
                "its rows are further apart than --every ({step} s), which averages them and makes no finer ones: leave it out, or \
                 say a longer time"
            )));
        }
    }
    let civil = civil(&read.rows, step, &read.zone);
    let mut slots = Slots { start: first, step, civil, zone: &read.zone };
    let length = number::slots(slots.slot(last)) + 1;
    if length > MAX_ROWS {
        return Err(file(format!(
            "from {} to {} there are {length} intervals of {step} s, more than {MAX_ROWS}; is a date wrong? Otherwise say --every with a longer interval",
            instant(first, &read.zone),
            instant(last, &read.zone)
        )));
    }
    let factor = shape.unit.factor() * turned(told.sign)
        / if shape.unit.is_energy() { seconds(step) / 3600.0 } else { 1.0 };
    let (mut values, partial) = summed(&read.rows, read.ids.len(), &slots, length, factor);
    if told.stamp == Some(Stamp::End) && told.every.is_none() {
        slots.civil = slots.civil.map(|local| local - step);
        slots.start = slots.civil.map_or(first - step, |local| time::instant_of(local, slots.zone));
    }
    if shape.unit.is_energy() && civil.is_some() {
        // The energy of a day of 25 hours is that of 25 hours.
        for (slot, value) in values.iter_mut().enumerate() {
            *value *= seconds(step) / seconds((slots.at(slot + 1) - slots.at(slot)).max(1));
        }
    }
    if partial > 0 {
        findings.push(Finding {
            kind: "missing",
            count: partial,
            first: instant(first, &read.zone),
            last: instant(last, &read.zone),
            what: format!(
                "intervals in which some of the {} sources are there and others not; left out",
                read.ids.len()
            ),
        });
    }
    let unknown = values.iter().filter(|value| value.is_nan()).count();
    if unknown == values.len() {
        return Err(file("no interval has a value".into()));
    }
    if read.missing > 0 {
        findings.push(Finding {
            kind: "missing",
            count: read.missing,
            first: instant(first, &read.zone),
            last: instant(last, &read.zone),
            what: "rows that are there without a value; left out".into(),
        });
    }
    gaps(&values, &slots, &mut findings);
    plausible(&values, step, shape, told, &mut findings).map_err(file)?;
    let (start, civil) = (slots.start, slots.civil);
    let mut trace = Trace {
        name: name.to_owned(),
        start,
        step,
        civil,
        marks: vec![Mark::Trusted; values.len()],
        values: std::mem::take(&mut values),
        shifts: Vec::new(),
        zone: read.zone,
        zone_name: read.zone_name,
        rows: read.read,
        findings,
        assumed: read.assumed,
        capacity: told.capacity,
    };
    if told.sign.is_none() {
        trace.assumed.push("positive is power to spare; --sign import turns it round".into());
    }
    if told.stamp.is_none() {
        trace.assumed.push("a time is the start of its interval; --stamp end says otherwise".into());
    }
    faults::mark(&mut trace, told).map_err(file)?;
    if trace.values.iter().all(|value| value.is_nan()) {
        return Err(file(format!(
            "nothing in it can be trusted: {}. --keep-doubtful takes it as it is",
            trace.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(trace)
}

/// Leaves out rows whose dates lie far from all others, such as 1970 or 2099 among those of a year: a clock that was not set.
fn lone(rows: &mut Vec<Row>, ids: usize, zone: &TimeZone, findings: &mut Vec<Finding>) {
    let few = (rows.len() / 1000).clamp(ids.max(1), 10_000);
    if rows.len() < 20 * few {
        return;
    }
    let mut out = Vec::new();
    // One end hides the other, so each is looked at in turn.
    for _ in 0..8 {
        let before = rows.len();
        let at = |place: usize| rows.get(place).map_or(0, |row| row.at);
        let far = |apart: i64, rest: i64| apart > LONE && apart > rest / 4;
        let last = before.saturating_sub(1);
        let back = (last.saturating_sub(few)..last)
            .find(|place| far(at(place + 1) - at(*place), at(*place) - at(0)))
            .map_or(before, |place| place + 1);
        out.extend(rows.drain(back..).map(|row| row.at));
        let at = |place: usize| rows.get(place).map_or(0, |row| row.at);
        let last = rows.len().saturating_sub(1);
        let front = (1..=few.min(last))
            .rev()
            .find(|place| far(at(*place) - at(place - 1), at(last) - at(*place)))
            .unwrap_or(0);
        out.extend(rows.drain(..front).map(|row| row.at));
        if rows.len() == before {
            break;
        }
    }
    out.sort_unstable();
    if let (Some(first), Some(last)) = (out.first(), out.last()) {
        findings.push(Finding {
            kind: "time",
            count: out.len(),
            first: instant(*first, zone),
            last: instant(*last, zone),
            what: "rows whose date lies far from all others: a clock that was not set, or a slip; left out"
                .into(),
        });
    }
}

/// The local time of the first row where the rows keep the local clock and not the time, as those of days do. Only long
/// intervals show the difference.
fn civil(rows: &[Row], step: i64, zone: &TimeZone) -> Option<i64> {
    let first = rows.first()?.at;
    let first_local = first + time::offset(first, zone);
    if step <= CLOCK_CHANGE {
        return None;
    }
    let (mut local, mut even) = (0_usize, 0_usize);
    for row in rows {
        even += usize::from((row.at - first).rem_euclid(step) == 0);
        local += usize::from((row.at + time::offset(row.at, zone) - first_local).rem_euclid(step) == 0);
    }
    // A zone that changes its clock at all shows it in half a year; in doubt time is time.
    (local > even).then_some(first_local)
}

/// Leaves the first row of each instant and source that has a value; gives how many others differed from it.
fn duplicates(rows: &mut Vec<Row>, zone: &TimeZone, findings: &mut Vec<Finding>) -> usize {
    let (mut n, mut differ, mut first, mut last) = (0_usize, 0_usize, 0, 0);
    rows.dedup_by(|row, kept| {
        let same = row.at == kept.at && row.id == kept.id;
        if same {
            if n == 0 {
                first = row.at;
            }
            (n, last) = (n + 1, row.at);
            if kept.parts == 0 {
                *kept = *row;
            } else if row.parts > 0 && (mean_of(row) - mean_of(kept)).abs() > 1e-9 * mean_of(kept).abs() {
                differ += 1;
            }
        }
        same
    });
    if n > 0 {
        findings.push(Finding {
            kind: "duplicate",
            count: n,
            first: instant(first, zone),
            last: instant(last, zone),
            what: format!(
                "rows of an instant that was there before; the first counts ({differ} differ from it)"
            ),
        });
    }
    differ
}

/// The interval of the rows: the one most of them keep. Where stretches keep another, a multiple, the longest is taken and
/// the finer rows are averaged.
fn interval(rows: &[Row], energy: bool, zone: &TimeZone, findings: &mut Vec<Finding>) -> Result<i64, String> {
    let mut all: BTreeMap<i64, usize> = BTreeMap::new();
    // A distance that its predecessor had too: a gap is alone, a stretch is not.
    let mut kept: BTreeMap<i64, usize> = BTreeMap::new();
    let (mut before, mut distance, mut n) = (None, 0, 0_usize);
    for row in rows {
        let Some(last) = before.replace(row.at) else { continue };
        let next = row.at - last;
        if next == 0 {
            continue;
        }
        n += 1;
        if all.len() < MAX_DISTANCES || all.contains_key(&next) {
            *all.entry(next).or_default() += 1;
        }
        if next == distance {
            *kept.entry(next).or_default() += 1;
        }
        distance = next;
    }
    let Some((mode, times)) =
        all.iter().max_by_key(|(_, times)| **times).map(|(mode, times)| (*mode, *times))
    else {
        return Err("all rows are of one instant".into());
    };
    let span = rows.last().map_or(0, |row| row.at) - rows.first().map_or(0, |row| row.at);
    let stretches: Vec<(i64, usize)> = kept
        .iter()
        .filter(|(step, times)| **times >= 3 && seconds(**step) * count(**times) >= 0.02 * seconds(span))
        .map(|(step, times)| (*step, *times))
        .collect();
    let told: Vec<String> =
        stretches.iter().map(|(step, times)| format!("{step} s ({} rows)", times + 1)).collect();
    if stretches.len() < 2 {
        if times * 2 < n {
            return Err(format!(
                "the rows keep no interval (the commonest, {mode} s, is kept by {times} of {n}); say --every 15min, or \
                 another interval, to average over"
            ));
        }
        return Ok(mode);
    }
    let longest = stretches.iter().map(|(step, _)| *step).max().unwrap_or(mode);
    if energy || stretches.iter().any(|(step, _)| longest % step != 0) || longest > 86_400 {
        return Err(format!(
            "its intervals are mixed: {}; {}",
            told.join(", "),
            if energy {
                "energies of such cannot be told apart: split the file"
            } else {
                "say --every 15min, or another interval, to average over"
            }
        ));
    }
    findings.push(Finding {
        kind: "interval",
        count: stretches.len(),
        first: rows.first().map_or(String::new(), |row| instant(row.at, zone)),
        last: rows.last().map_or(String::new(), |row| instant(row.at, zone)),
        what: format!("mixed intervals, {}: the finer rows are averaged to {longest} s", told.join(", ")),
    });
    Ok(longest)
}

/// The sum over the sources for each slot, NaN where one is missing; and how many slots lack some of them only.
fn summed(rows: &[Row], ids: usize, slots: &Slots<'_>, length: usize, factor: f64) -> (Vec<f64>, usize) {
    let mut values = vec![f64::NAN; length];
    let mut partial = 0;
    let mut parts = vec![(0.0, 0_usize); ids];
    for group in rows.chunk_by(|a, b| slots.slot(a.at) == slots.slot(b.at)) {
        parts.fill((0.0, 0));
        for row in group {
            let part = usize::try_from(row.id).ok().and_then(|id| parts.get_mut(id));
            if let Some((sum, n)) = part.filter(|_| row.parts > 0) {
                *sum += mean_of(row);
                *n += 1;
            }
        }
        let there = parts.iter().filter(|(_, n)| *n > 0).count();
        if there < ids {
            partial += usize::from(there > 0);
            continue;
        }
        let slot = group.first().map_or(0, |row| number::slots(slots.slot(row.at)));
        if let Some(value) = values.get_mut(slot) {
            *value = factor * parts.iter().map(|(sum, n)| sum / count(*n)).sum::<f64>();
        }
    }
    (values, partial)
}

/// Tells the gaps, the longest first of all.
fn gaps(values: &[f64], grid: &Slots<'_>, findings: &mut Vec<Finding>) {
    let (mut n, mut slots, mut longest, mut at) = (0_usize, 0_usize, (0_usize, 0_usize), 0_usize);
    for run in values.chunk_by(|a, b| a.is_nan() == b.is_nan()) {
        if run.first().is_some_and(|value| value.is_nan()) {
            n += 1;
            slots += run.len();
            if run.len() > longest.0 {
                longest = (run.len(), at);
            }
        }
        at += run.len();
    }
    if n > 0 {
        findings.push(Finding {
            kind: "gap",
            count: slots,
            first: grid.told(longest.1),
            last: grid.told(longest.1 + longest.0),
            what: format!(
                "intervals without a value in {n} gaps; left out. The longest, told here, is {:.1} h",
                count(longest.0) * seconds(grid.step) / 3600.0
            ),
        });
    }
}

/// The least power that is taken for one, in watts.
const LEAST: f64 = 1e-3;
/// Energy the wrong way round, as a share of that the right way, from which nobody can tell but a person which is which.
const BOTH_WAYS: f64 = 0.05;
/// So many energies of intervals that never fall are readings of a counter.
const COUNTER_ROWS: usize = 24;

/// Refuses a sign or a unit that cannot be meant.
fn plausible(
    values: &[f64],
    step: i64,
    shape: &Shape,
    told: &Told,
    findings: &mut Vec<Finding>,
) -> Result<(), String> {
    let known = || values.iter().copied().filter(|value| !value.is_nan());
    let spare: f64 = known().filter(|value| *value > 0.0).sum();
    let import: f64 = -known().filter(|value| *value < 0.0).sum::<f64>();
    if spare <= 0.0 && import <= 0.0 {
        return Err("all values are 0; is it the right column?".into());
    }
    if spare <= 0.0 || (told.sign.is_none() && import > 20.0 * spare) {
        let other = match told.sign {
            Some(super::Sign::Import) => "surplus",
            _ => "import",
        };
        let known = match (told.sign, other) {
            (Some(_), _) => "",
            (None, "import") => " (--sign surplus says that you know)",
            (None, _) => " (--sign import says that you know)",
        };
        return Err(format!(
            "there is next to no power to spare in it: the sign looks turned round. If values below 0 are power to spare, say \
             --sign {other}; if this site imports all the time, there is nothing to assess{known}"
        ));
    }
    if told.sign.is_none() && import > BOTH_WAYS * spare {
        let megawatt_hours = |watts: f64| watts * seconds(step) / 3.6e9;
        return Err(format!(
            "it goes both ways: {:.3} MWh are above 0 and {:.3} MWh below, and nothing says which of them is to spare. A meter at the \
             connection point usually counts import as positive: --sign import; one of generation or export: --sign surplus",
            megawatt_hours(spare),
            megawatt_hours(import)
        ));
    }
    let rises = known().zip(known().skip(1)).filter(|(before, after)| after > before).count();
    let falls = known().zip(known().skip(1)).any(|(before, after)| after < before);
    if shape.unit.is_energy() && !falls && rises >= COUNTER_ROWS {
        return Err(format!(
            "its values never fall: they look like readings of a counter, and the unit {} wants the energy of each interval. Give the \
             differences from row to row",
            shape.unit.name()
        ));
    }
    let sorted = number::sorted(known());
    let most = number::quantile(&sorted, 0.999);
    if sorted.last().is_none_or(|largest| *largest < LEAST) {
        return Err(format!(
            "its largest value is less than a thousandth of a watt in the unit {}; is it the right column, and the right --unit?",
            shape.unit.name()
        ));
    }
    if let Some(capacity) = told.capacity {
        let (unit, ratio) = (shape.unit.name(), most / capacity);
        if !(1.0 / 300.0..=30.0).contains(&ratio) {
            return Err(format!(
                "its largest values are {:.3} kW in the unit {unit}, {ratio:.4} times the capacity of {:.3} kW that was told; the \
                 unit looks off by 1,000: say --unit or mend --capacity",
                most / 1e3,
                capacity / 1e3
            ));
        }
    } else if !(1e3..=1e10).contains(&most) {
        findings.push(Finding {
            kind: "unit",
            count: sorted.len(),
            first: String::new(),
            last: String::new(),
            what: format!(
                "the largest values are {:.4} kW; is the unit {}? --unit says another, --capacity lets it be checked",
                most / 1e3,
                shape.unit.name()
            ),
        });
    }
    Ok(())
}
