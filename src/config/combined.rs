//! Meters in `[meters.*]` that are put together from others: a `sum`, or `redundant` ones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::circuits::Names;
use super::diagnostic::{At, Report, Span};
use super::meters::Meters;
use super::reader::{MOST_POWER, Table, is_a, shorten};
use crate::control::measure::Measure;
use crate::control::site::{Combination, Meter, MeterId, Part, Redundant, Term};

/// The most parts of a sum: every feeder of a large switchboard.
const MOST_TERMS: usize = 64;
/// The most meters of one power.
const MOST_REDUNDANT: usize = 4;

/// The most combined meters: bounds the search for cycles.
const MOST_COMBINED: usize = 200;

/// The keys that belong to a device, and what to do about them.
const OF_A_DEVICE: [&str; 13] = [
    "link",
    "unit",
    "profile",
    "power",
    "invert",
    "period",
    "lag",
    "stale_after",
    "fail_safe_after",
    "frozen_after",
    "plausible",
    "full_scale",
    "sunspec",
];

/// Whether the table is a combined meter.
pub(super) fn is_combined(table: &Table<'_>) -> bool {
    table.has("sum") || table.has("redundant")
}

/// Reads the combined meters and adds them after the devices. `names` are those of all meters, in that order.
pub(super) fn combine<'a>(root: &Table<'a>, names: &Names<'a>, meters: &mut Meters) {
    let report = root.report();
    let mistakes = report.count();
    let mut found: Vec<Found<'a>> = Vec::new();
    for (name, table) in root.named("meters").into_iter().filter(|(_, table)| is_combined(table)) {
        found.push(Found { name, spans: Vec::new(), combination: None });
        if let (Some(slot), Some((combination, spans))) =
            (found.last_mut(), combination(name, &table, names, meters))
        {
            slot.combination = Some(combination);
            slot.spans = spans;
        }
    }
    let first = meters.meters.len();
    let many = found.get(MOST_COMBINED).map(|combined| combined.name.span);
    if let Some(span) = many {
        report.error(
            span,
            format!("the file has {} combined meters", found.len()),
            format!("at most {MOST_COMBINED} are supported; a sum may have {MOST_TERMS} parts"),
        );
    }
    let circles = many.is_some() || circles(&found, first, report);
    for combined in &found {
        meters.spans.push(combined.name.span);
        meters.meters.push(Meter {
            name: combined.name.value.to_owned(),
            period: Duration::from_secs(1),
            lag: Duration::ZERO,
            learn_lag: true,
            stale_after: Duration::from_secs(5),
            fail_safe_after: Duration::from_secs(20),
            combined: combined.combination.clone(),
        });
    }
    if !circles && report.count() == mistakes {
        times(meters, first);
    }
}

struct Found<'a> {
    name: At<&'a str>,
    combination: Option<Combination>,
    /// Where each part stands.
    spans: Vec<Span>,
}

fn combination<'a>(
    name: At<&'a str>,
    table: &Table<'a>,
    names: &Names<'a>,
    meters: &Meters,
) -> Option<(Combination, Vec<Span>)> {
    let report = table.report();
    for key in OF_A_DEVICE {
        if table.has(key) {
            report.error(
                table.key_span(key),
                format!("meter `{}` is put together from others and has a `{key}`", name.value),
                "that belongs to its parts: a combined meter reads nothing itself, and its times follow from theirs",
            );
        }
    }
    let both = table.has("sum") && table.has("redundant");
    if both {
        report.error(
            table.key_span("redundant"),
            format!("meter `{}` has both `sum` and `redundant`", name.value),
            "keep one; a sum may have a redundant meter of another name among its parts",
        );
    }
    let sum = parts(table, "sum", MOST_TERMS, names, meters);
    let redundant = parts(table, "redundant", MOST_REDUNDANT, names, meters);
    let seconds = Duration::from_secs;
    let disagreement = table.power("disagreement", 0.0, MOST_POWER);
    let disagreement_for = table.time("disagreement_for", Duration::ZERO, seconds(3_600));
    let return_after = table.time("return_after", Duration::ZERO, seconds(86_400));
    let disagreement = if table.has("redundant") {
        table.require(
            "disagreement",
            disagreement,
            "say how far the parts may lie apart, like disagreement = \"5 kW\": their errors and what lies between them",
        )
    } else {
        for key in ["disagreement", "disagreement_for", "return_after"] {
            if table.has(key) {
                report.error(
                    table.key_span(key),
                    format!("`{key}` belongs to `redundant` meters, and `{}` is a sum", name.value),
                    "leave it out",
                );
            }
        }
        None
    };
    // What belongs to a device was told already; nothing else may be there.
    let known = OF_A_DEVICE.iter().any(|key| table.has(key));
    if !known {
        table.check();
    }
    if both {
        return None;
    }
    if let Some(sum) = sum {
        let terms = sum.iter().map(|(term, _)| *term).collect();
        return Some((Combination::Sum(terms), sum.iter().map(|(_, span)| *span).collect()));
    }
    let redundant = redundant?;
    if let [(_, span)] = redundant.as_slice() {
        report.error(
            *span,
            format!("meter `{}` has one part only", name.value),
            "redundant meters are two or more: the one that is preferred first",
        );
        return None;
    }
    for (term, span) in &redundant {
        if term.negative {
            report.error(
                *span,
                format!("a part of `{}` has a sign", name.value),
                "redundant parts measure the same; turn a meter round with its own `invert`",
            );
        }
    }
    let combination = Combination::Redundant(Redundant {
        parts: redundant.iter().map(|(term, _)| term.part).collect(),
        disagreement: disagreement?.value,
        disagreement_for: disagreement_for.map_or(seconds(10), |at| at.value),
        return_after: return_after.map_or(seconds(60), |at| at.value),
    });
    Some((combination, redundant.iter().map(|(_, span)| *span).collect()))
}

/// The parts of a list, each with its place; `None` when one of them is wrong.
fn parts<'a>(
    table: &Table<'a>,
    key: &'static str,
    most: usize,
    names: &Names<'a>,
    meters: &Meters,
) -> Option<Vec<(Term, Span)>> {
    let report = table.report();
    let list = table.list(key)?;
    if list.value.is_empty() {
        report.error(list.span, format!("`{key}` is empty"), "name the meters: [\"a\", \"b\"]");
        return None;
    }
    if list.value.len() > most {
        report.error(
            list.span,
            format!("`{key}` has {} parts", list.value.len()),
            format!("at most {most} are supported; a part may be a combined meter itself"),
        );
        return None;
    }
    let mut terms: Vec<(Term, Span)> = Vec::new();
    let mut sound = true;
    for (span, value) in &list.value {
        let Some(text) = value.as_str() else {
            let help = format!("write the names of meters in quotes: {key} = [\"a\", \"b\"]");
            report.error(*span, format!("a part of `{key}` {}", is_a(value)), help);
            sound = false;
            continue;
        };
        let Some(term) = term(text, *span, names, meters, report) else {
            sound = false;
            continue;
        };
        if terms.iter().any(|(other, _)| other.part == term.part) {
            report.error(
                *span,
                format!("`{}` is a part twice", shorten(text.trim_start_matches(['-', '+']))),
                "each part counts once",
            );
            sound = false;
        }
        terms.push((term, *span));
    }
    sound.then_some(terms)
}

/// `"feeder"`, `"-pv"`, `"pcc.power_l1"`.
fn term<'a>(
    text: &'a str,
    span: Span,
    names: &Names<'a>,
    meters: &Meters,
    report: &Report<'_>,
) -> Option<Term> {
    let (negative, name) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let name = name.trim();
    // A name may have a point in it; then the whole of it is the name.
    let whole = names.position(name);
    let split = name.rsplit_once('.').filter(|(meter, _)| whole.is_none() && names.position(meter).is_some());
    let Some((meter, measure)) = split else {
        let meter = MeterId(names.find(report, At::new(name, span))?);
        return Some(Term { part: Part { meter, measure: Measure::Power }, negative });
    };
    let powers = Measure::NAMES.iter().filter(|(_, measure)| measure.is_power());
    let Some((_, found)) = powers.clone().find(|(known, _)| *known == measure) else {
        report.error(
            span,
            format!("`{}` is no power of meter `{meter}`", shorten(measure)),
            report.suggest(measure, powers.map(|(name, _)| *name)),
        );
        return None;
    };
    let meter = MeterId(names.position(meter)?);
    if *found != Measure::Power && !tells(meters, meter, *found) {
        report.error(
            span,
            format!("meter `{}` does not tell its `{}`", name_of(name), found.name()),
            "its profile has no such point; `ballast meter profiles` shows what each tells",
        );
        return None;
    }
    Some(Term { part: Part { meter, measure: *found }, negative })
}

/// The meter's part of `meter.measure`.
fn name_of(text: &str) -> &str {
    text.rsplit_once('.').map_or(text, |(meter, _)| meter)
}

/// Whether a meter tells a measure besides its power. A combined meter tells its power alone.
pub(super) fn tells(meters: &Meters, meter: MeterId, measure: Measure) -> bool {
    meters.connections.get(meter.0).is_some_and(|device| {
        // What a profile without any register can tell is told by the device itself.
        device.profile.point(measure).is_some() || device.profile.power.terms.is_empty()
    })
}

/// Notes meters that are parts of themselves; tells whether there are any.
fn circles(found: &[Found<'_>], first: usize, report: &Report<'_>) -> bool {
    let parts = |index: usize| -> Vec<(usize, Span)> {
        let Some(at) = found.get(index) else { return Vec::new() };
        let parts = at.combination.iter().flat_map(Combination::parts);
        let own =
            parts.zip(&at.spans).filter_map(|(part, span)| Some((part.meter.0.checked_sub(first)?, *span)));
        own.collect()
    };
    let mut told = vec![false; found.len()];
    let mut any = false;
    for start in 0..found.len() {
        // The way by which each meter was first reached from here.
        let mut reached: BTreeMap<usize, (usize, Span)> = BTreeMap::new();
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            for (part, span) in parts(at) {
                if let std::collections::btree_map::Entry::Vacant(entry) = reached.entry(part) {
                    entry.insert((at, span));
                    open.push(part);
                }
            }
        }
        let Some((mut from, span)) = reached.get(&start).copied() else { continue };
        any = true;
        let mut members = vec![start];
        while from != start && members.len() <= found.len() {
            members.push(from);
            from = reached.get(&from).map_or(start, |(from, _)| *from);
        }
        let news = members.iter().all(|member| told.get(*member) == Some(&false));
        for member in &members {
            if let Some(told) = told.get_mut(*member) {
                *told = true;
            }
        }
        if news {
            members.push(start);
            let name = |index: &usize| found.get(*index).map(|at| format!("`{}`", at.name.value));
            let words: Vec<String> = members.iter().take(12).filter_map(name).collect();
            report.error(
                span,
                format!("these meters are put together from each other in a cycle: {}", words.join(" ← ")),
                "a combined meter comes from devices in the end",
            );
        }
    }
    any
}

/// The times of the combined meters: the slowest period and the tightest patience of their parts.
fn times(meters: &mut Meters, first: usize) {
    // Nested ones settle one level in each round, and there are no cycles.
    for _ in first..meters.meters.len() {
        for index in first..meters.meters.len() {
            let parts: Vec<Meter> = meters
                .meters
                .get(index)
                .and_then(|meter| meter.combined.as_ref())
                .into_iter()
                .flat_map(Combination::parts)
                .filter_map(|part| meters.meters.get(part.meter.0).cloned())
                .collect();
            let Some(meter) = meters.meters.get_mut(index) else { continue };
            meter.period = parts.iter().map(|part| part.period).max().unwrap_or(meter.period);
            meter.stale_after = parts.iter().map(|part| part.stale_after).min().unwrap_or(meter.stale_after);
            meter.fail_safe_after =
                parts.iter().map(|part| part.fail_safe_after).min().unwrap_or(meter.fail_safe_after);
            meter.learn_lag = parts.iter().any(|part| part.learn_lag);
            // The lags of the parts are off the stamps already.
            meter.lag = Duration::ZERO;
        }
    }
}
