//! The report for programs: CSV by RFC 4180, and JSON. Units stand in the names.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Report, Subject, stamp};
use crate::control::signal::Wall;
use crate::control::site::Scope;
use crate::energy::figures::Figures;
use crate::energy::settle::{Settled, Settlement};
use crate::energy::{QUARTER, Sums};
use crate::units::{Joules, Watts};

/// Which of the tables of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// Each quarter of each circuit and tenant
    #[default]
    Quarters,
    /// Each hour
    Hours,
    /// Each day
    Days,
    /// The whole time in one row each
    Totals,
    /// Each quarter of each order
    Orders,
    /// The alarms
    Alarms,
}

/// A cell. What a spreadsheet would take for a formula is marked as text; what has a comma, a quotation mark or a line break
/// is quoted.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn line(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    out.push_str(&cells.join(","));
    out.push_str("\r\n");
}

/// A table as CSV.
pub fn csv(report: &Report, table: Table) -> String {
    let mut out = String::new();
    match table {
        Table::Quarters => energy(&mut out, report, |subject| {
            let end = |start: i64| start.saturating_add(i64::try_from(QUARTER.as_millis()).unwrap_or(0));
            let each = subject.quarters.iter();
            each.map(|(start, sums)| (times(*start, end(*start)), *sums)).collect()
        }),
        Table::Hours => energy(&mut out, report, |subject| {
            let all = subject.by(|start| Some(start.div_euclid(3_600_000)));
            let at = |hour: i64| hour.saturating_mul(3_600_000);
            all.into_iter().map(|(hour, sums)| (times(at(hour), at(hour + 1)), sums)).collect()
        }),
        Table::Days => energy(&mut out, report, |subject| {
            let edge = |day: jiff::civil::Date| {
                day.to_zoned(report.zone.clone()).ok().map(|at| at.timestamp().as_millisecond())
            };
            let all = subject.by(|start| report.day(start));
            let span = |day: jiff::civil::Date| Some(times(edge(day)?, edge(day.tomorrow().ok()?)?));
            all.into_iter().filter_map(|(day, sums)| Some((span(day)?, sums))).collect()
        }),
        Table::Totals => energy(&mut out, report, |subject| {
            vec![((stamp(report.from), stamp(report.until)), subject.total)]
        }),
        Table::Orders => orders(&mut out, report),
        Table::Alarms => alarms(&mut out, report),
    }
    out
}

/// The last columns of each table: a file that lies among others says whose it is, and what a day is in it.
const WHOSE: [&str; 2] = ["site", "zone"];

fn of_site(report: &Report) -> [String; 2] {
    [cell(report.site.as_deref().unwrap_or("")), cell(&report.zone_name())]
}

fn times(from: i64, until: i64) -> (String, String) {
    (stamp(Wall::unix_millis(from)), stamp(Wall::unix_millis(until)))
}

fn energy(out: &mut String, report: &Report, rows: impl Fn(&Subject) -> Vec<((String, String), Sums)>) {
    let head = ["start_utc", "end_utc", "kind", "name", "parent"].map(str::to_owned);
    let names = Figures::default().columns().map(|(name, _)| name.to_owned());
    line(out, head.into_iter().chain(names).chain(WHOSE.map(str::to_owned)));
    for subject in &report.subjects {
        for ((from, until), sums) in rows(subject) {
            let whose = [
                from,
                until,
                subject.kind.name().to_owned(),
                cell(&subject.name),
                cell(subject.parent.as_deref().unwrap_or("")),
            ];
            let figures = Figures::from(&sums).columns().map(|(_, value)| number(value));
            line(out, whose.into_iter().chain(figures).chain(of_site(report)));
        }
    }
}

fn orders(out: &mut String, report: &Report) {
    line(
        out,
        [
            "source",
            "order",
            "circuit",
            "scope",
            "cap_watts",
            "baseline",
            "start_utc",
            "held_seconds",
            "baseline_watt_hours",
            "measured_watt_hours",
            "asked_watt_hours",
            "delivered_watt_hours",
            "delivered_ratio",
            "verdict",
            "excused",
            "held_from_utc",
            "held_until_utc",
            "ordered_from_utc",
            "ordered_until_utc",
            "recorded_delivered_ratio",
        ]
        .into_iter()
        .chain(WHOSE)
        .map(str::to_owned),
    );
    for order in &report.orders {
        for quarter in &order.quarters {
            let told = Quarter::new(quarter);
            line(
                out,
                [
                    cell(&order.event.source),
                    cell(&order.event.id),
                    cell(&order.event.circuit),
                    scope(order).to_owned(),
                    number(Some(order.event.cap.get())),
                    order.baseline.name().to_owned(),
                    told.start_utc,
                    number(Some(told.held_seconds)),
                    number(told.baseline_watt_hours),
                    number(told.measured_watt_hours),
                    number(told.asked_watt_hours),
                    number(told.delivered_watt_hours),
                    number(told.delivered_ratio),
                    told.verdict.to_owned(),
                    cell(told.excused.as_deref().unwrap_or("")),
                    stamp(order.event.from),
                    stamp(order.event.until),
                    stamp(order.event.ordered.0),
                    order.event.ordered.1.map(stamp).unwrap_or_default(),
                    number(order.event.recorded.map(rounded)),
                ]
                .into_iter()
                .chain(of_site(report)),
            );
        }
    }
}

fn alarms(out: &mut String, report: &Report) {
    let head = ["raised_utc", "cleared_utc", "kind", "severity", "subject", "words", "acknowledged_by"];
    line(out, head.into_iter().chain(WHOSE).map(str::to_owned));
    for alarm in &report.alarms {
        let at = |ms: i64| stamp(Wall::unix_millis(ms));
        line(
            out,
            [
                at(alarm.raised_ms),
                alarm.cleared_ms.map(at).unwrap_or_default(),
                cell(&alarm.kind),
                cell(&alarm.severity),
                cell(&alarm.subject),
                cell(&alarm.words),
                cell(alarm.acknowledged_by.as_deref().unwrap_or("")),
            ]
            .into_iter()
            .chain(of_site(report)),
        );
    }
}

pub(super) const fn scope(order: &Settlement) -> &'static str {
    match order.event.scope {
        Scope::Import => "import",
        Scope::Miners => "miners",
    }
}

fn hours(energy: Option<Joules>) -> Option<f64> {
    energy.map(|energy| (energy.get() / 3.6).round() / 1e3)
}

/// What was delivered of what was asked; `None` where nothing was asked.
pub(super) fn ratio(delivered: Option<Joules>, asked: Option<Joules>) -> Option<f64> {
    let asked = asked.filter(|asked| asked.get() > 0.0)?;
    delivered?.ratio(asked).map(rounded)
}

fn rounded(ratio: f64) -> f64 {
    (ratio * 1e4).round() / 1e4
}

#[derive(Serialize)]
struct Quarter {
    start_utc: String,
    held_seconds: f64,
    baseline_watt_hours: Option<f64>,
    measured_watt_hours: Option<f64>,
    asked_watt_hours: Option<f64>,
    delivered_watt_hours: Option<f64>,
    delivered_ratio: Option<f64>,
    verdict: &'static str,
    excused: Option<String>,
}

impl Quarter {
    fn new(quarter: &Settled) -> Self {
        Self {
            start_utc: stamp(quarter.start),
            held_seconds: quarter.held.as_secs_f64(),
            baseline_watt_hours: hours(quarter.baseline),
            measured_watt_hours: hours(quarter.measured),
            asked_watt_hours: hours(quarter.asked),
            delivered_watt_hours: hours(quarter.delivered),
            delivered_ratio: ratio(quarter.delivered, quarter.asked),
            verdict: quarter.verdict.name(),
            excused: quarter.excused.clone(),
        }
    }
}

#[derive(Serialize)]
struct Told {
    start_utc: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize)]
struct Whose<'r> {
    kind: &'static str,
    name: &'r str,
    parent: Option<&'r str>,
    total: Figures,
    quarters: Vec<Told>,
}

#[derive(Serialize)]
struct Order<'r> {
    number: u64,
    source: &'r str,
    order: &'r str,
    circuit: &'r str,
    scope: &'static str,
    cap_watts: f64,
    from_utc: String,
    until_utc: String,
    ordered_from_utc: String,
    ordered_until_utc: Option<String>,
    recorded_delivered_ratio: Option<f64>,
    settled_by: &'static str,
    baseline: &'static str,
    baseline_firm_watts: Option<f64>,
    baseline_adjustment_ratio: Option<f64>,
    baseline_days: Vec<String>,
    baseline_note: Option<&'r str>,
    asked_watt_hours: Option<f64>,
    delivered_watt_hours: Option<f64>,
    delivered_ratio: Option<f64>,
    verdict: &'static str,
    quarters: Vec<Quarter>,
}

impl<'r> Order<'r> {
    fn new(order: &'r Settlement) -> Self {
        let curve = order.curve.as_ref();
        let note = curve.map_or_else(|why| Some(why.as_str()), |curve| curve.note.as_deref());
        Self {
            number: order.event.number,
            source: &order.event.source,
            order: &order.event.id,
            circuit: &order.event.circuit,
            scope: scope(order),
            cap_watts: order.event.cap.get(),
            from_utc: stamp(order.event.from),
            until_utc: stamp(order.event.until),
            ordered_from_utc: stamp(order.event.ordered.0),
            ordered_until_utc: order.event.ordered.1.map(stamp),
            recorded_delivered_ratio: order.event.recorded.map(rounded),
            settled_by: if order.by_order { "order" } else { "quarters" },
            baseline: order.baseline.name(),
            baseline_firm_watts: match order.baseline {
                crate::energy::baseline::Baseline::Firm(watts) => Some(Watts::get(watts)),
                _ => None,
            },
            baseline_adjustment_ratio: curve.ok().and_then(|curve| curve.adjustment),
            baseline_days: curve
                .map_or_else(|_| Vec::new(), |curve| curve.days.iter().map(ToString::to_string).collect()),
            baseline_note: note,
            asked_watt_hours: hours(order.asked),
            delivered_watt_hours: hours(order.delivered),
            delivered_ratio: ratio(order.delivered, order.asked),
            verdict: order.verdict.name(),
            quarters: order.quarters.iter().map(Quarter::new).collect(),
        }
    }
}

#[derive(Serialize)]
struct Alarm<'r> {
    raised_utc: String,
    cleared_utc: Option<String>,
    kind: &'r str,
    severity: &'r str,
    subject: &'r str,
    words: &'r str,
    acknowledged_by: Option<&'r str>,
}

#[derive(Serialize)]
struct Whole<'r> {
    /// Changes when a reader has to change.
    schema: u32,
    site: Option<&'r str>,
    from_utc: String,
    until_utc: String,
    zone: String,
    interval_seconds: u64,
    energy: Vec<Whose<'r>>,
    orders: Vec<Order<'r>>,
    alarms: Vec<Alarm<'r>>,
}

/// All of it as JSON.
///
/// # Errors
/// What the serialiser says.
pub fn json(report: &Report) -> Result<String, serde_json::Error> {
    let quarter = |(start, sums): (&i64, &Sums)| Told {
        start_utc: stamp(Wall::unix_millis(*start)),
        figures: Figures::from(sums),
    };
    let whole = Whole {
        schema: 1,
        site: report.site.as_deref(),
        from_utc: stamp(report.from),
        until_utc: stamp(report.until),
        zone: report.zone_name(),
        interval_seconds: QUARTER.as_secs(),
        energy: (report.subjects.iter())
            .map(|subject| Whose {
                kind: subject.kind.name(),
                name: &subject.name,
                parent: subject.parent.as_deref(),
                total: Figures::from(&subject.total),
                quarters: subject.quarters.iter().map(quarter).collect(),
            })
            .collect(),
        orders: report.orders.iter().map(Order::new).collect(),
        alarms: (report.alarms.iter())
            .map(|alarm| Alarm {
                raised_utc: stamp(Wall::unix_millis(alarm.raised_ms)),
                cleared_utc: alarm.cleared_ms.map(|at| stamp(Wall::unix_millis(at))),
                kind: &alarm.kind,
                severity: &alarm.severity,
                subject: &alarm.subject,
                words: &alarm.words,
                acknowledged_by: alarm.acknowledged_by.as_deref(),
            })
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&whole)?;
    let _ = writeln!(text);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_by_the_rules_and_is_never_a_formula() {
        assert_eq!(cell("feeder-1"), "feeder-1");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("a \"b\""), "\"a \"\"b\"\"\"");
        assert_eq!(cell("two\nlines"), "\"two\nlines\"");
        for wrong in ["=1+1", "+cmd", "-2", "@sum(a1)", "\t=1"] {
            assert!(cell(wrong).starts_with('\''), "{wrong}");
        }
        assert_eq!(cell("=HYPERLINK(\"x\",1)"), "\"'=HYPERLINK(\"\"x\"\",1)\"");
    }
}
