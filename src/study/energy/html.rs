//! The report as a page that prints.

use std::collections::BTreeMap;
use std::fmt::{Result, Write as _};
use std::time::Duration;

use jiff::civil::Date;

use super::{Report, Subject, tables, to_the_second, written};
use crate::control::signal::Wall;
use crate::energy::settle::{LEAST, MOST, Settlement, Verdict};
use crate::energy::{Kind, Sums};
use crate::study::number::{count, quantile, sorted};
use crate::study::page::{document, short_of, table, ticks};
use crate::study::report::{energy, percent, power};
use crate::units::Joules;
use crate::web::page::escape;

/// Days that are told one by one in a chart or table; more are told month by month.
const MOST_DAYS: usize = 62;
/// Circuits whose hours are drawn.
const MOST_MAPS: usize = 12;
/// Other load below this share of the import is the error of the meters.
const MINERS_ALONE: f64 = 0.005;
/// Days in a map of hours.
const MAP_DAYS: usize = 31;
/// Orders, and quarters of one order, that are told one by one; the CSV has all.
const MOST_ORDERS: usize = 100;
const MOST_QUARTERS: usize = 40;
/// Energy below this, in watt-hours, is told as none.
const SOME: f64 = 0.5;
/// Alarms in the table.
const MOST_ALARMS: usize = 200;

/// The page.
pub fn page(report: &Report) -> String {
    let title = report
        .site
        .as_ref()
        .map_or_else(|| String::from("Energy report"), |site| format!("Energy report of {site}"));
    document(&title, |out| {
        head(out, report)?;
        days(out, report)?;
        circuits(out, report)?;
        tenants(out, report)?;
        caused(out, report)?;
        orders(out, report)?;
        alarms(out, report)?;
        known(out, report)
    })
}

fn hours(joules: Joules) -> f64 {
    joules.get() / 3_600.0
}

/// An energy, or that it is not known.
fn told(known: Duration, joules: Joules) -> String {
    if known.is_zero() { String::from("not known") } else { energy(hours(joules)) }
}

/// What was imported because of the miners: between two bounds where it is not known of all that was imported.
fn because(sums: &Sums) -> String {
    let (least, doubt) = (hours(sums.caused), hours(sums.unattributed));
    if doubt < SOME {
        return told(sums.together, sums.caused);
    }
    format!("{} to {}", energy(least), energy(least + doubt))
}

/// A length of time, in the largest unit of which it has two.
fn lasting(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 120.0 => format!("{short:.0} s"),
        some if some < 7_200.0 => format!("{:.1} minutes", some / 60.0),
        long => format!("{:.1} hours", long / 3_600.0),
    }
}

/// For how much of the time something was known.
fn part_of(known: Duration, whole: Duration) -> String {
    match (lasting(known).split_once(' '), lasting(whole).split_once(' ')) {
        (Some((known, unit)), Some((whole, same))) if unit == same => format!("{known} of {whole} {unit}"),
        _ => format!("{} of {}", lasting(known), lasting(whole)),
    }
}

fn share(part: Duration, whole: f64) -> String {
    if whole <= 0.0 { String::from("–") } else { percent((part.as_secs_f64() / whole).min(1.0)) }
}

fn length(report: &Report) -> f64 {
    report.until.since(report.from).as_secs_f64()
}

fn head(out: &mut String, report: &Report) -> Result {
    let (from, until) = (written(report.from, &report.zone), written(report.until, &report.zone));
    writeln!(
        out,
        "<p class=\"soft\">Energy and orders{}, from the records of Ballast</p><h1>{from} to {until}</h1>\
         <p class=\"soft\">Times, days and hours are those of the zone {}; quarters of an hour are added up in UTC.</p>",
        report.site.as_ref().map_or_else(String::new, |site| format!(" of {}", escape(site))),
        escape(&report.zone_name())
    )?;
    let Some(top) = report.subjects.first() else { return Ok(()) };
    let sums = &top.total;
    writeln!(out, "<div class=\"key\">")?;
    let miners = told(sums.miners_known, sums.miners);
    let boxes: Vec<(&str, String)> = match top.kind {
        Kind::Circuit => vec![
            ("drawn by the miners", miners),
            ("imported because of them", because(sums)),
            ("imported in all", told(sums.metered(), sums.import)),
            ("exported", told(sums.metered(), sums.export)),
            ("of the time known", share(sums.metered(), length(report))),
        ],
        Kind::Tenant => vec![
            ("drawn by the miners", miners),
            ("hashes", hashes(sums)),
            ("of the time known", share(sums.miners_known, length(report))),
        ],
    };
    for (what, value) in boxes {
        writeln!(out, "<div><b>{value}</b>{what}</div>")?;
    }
    writeln!(out, "</div>")?;
    if top.kind == Kind::Circuit && !sums.together.is_zero() && sums.miners.get() > 0.0 {
        verdict(out, &top.name, sums)?;
    }
    Ok(())
}

/// What became of the miners' draw, in a sentence: shares where all of it is known, and their bounds where it is not.
fn verdict(out: &mut String, name: &str, sums: &Sums) -> Result {
    let of = |energy: Joules| (energy.get() / sums.miners.get()).clamp(0.0, 1.0);
    let (least, most) = (of(sums.caused), of(sums.caused + sums.doubtful()));
    let shares = if percent(least) == percent(most) {
        let (grid, left) = (percent(least), percent(1.0 - least));
        format!(
            "{grid} came from the grid because of them, and {left} was power that nobody else here would have used"
        )
    } else {
        let (least, most, left) = (percent(least), percent(most), percent(1.0 - most));
        format!(
            "at least {least} and at most {most} came from the grid because of them, and at least {left} was power that nobody \
             else here would have used"
        )
    };
    write!(
        out,
        "<p class=\"verdict\">Of what the miners of {} drew, {shares}. {} more of it was left unused that they could have taken.",
        escape(name),
        energy(hours(sums.unused))
    )?;
    if hours(sums.unattributed) >= SOME {
        write!(
            out,
            " {} were imported while it was not known whether because of them (known for {}).",
            energy(hours(sums.unattributed)),
            part_of(sums.together, sums.observed.max(sums.metered()))
        )?;
    }
    // The moment until the first reading after a start is no matter.
    if percent(of(sums.unmetered)) != percent(0.0) {
        write!(
            out,
            " They drew up to {} while it was not known what flowed in at all.",
            energy(hours(sums.unmetered))
        )?;
    }
    writeln!(out, "</p>")
}

fn hashes(sums: &Sums) -> String {
    if sums.hash_known.is_zero() {
        return String::from("not known");
    }
    match sums.terahashes {
        small if small < 1e6 => format!("{small:.0} TH"),
        more => format!("{:.2} EH", more / 1e6),
    }
}

/// Day by day, or month by month, of the first circuit or tenant.
fn days(out: &mut String, report: &Report) -> Result {
    let Some(top) = report.subjects.first() else { return Ok(()) };
    let by_day = top.by(|start| report.day(start));
    let name = |day: Date, long: bool| {
        if long { day.strftime("%Y-%m").to_string() } else { day.strftime("%d %b").to_string() }
    };
    let long = by_day.len() > MOST_DAYS;
    let mut each: Vec<(String, Sums)> = Vec::new();
    for (day, sums) in by_day {
        let name = name(day, long);
        match each.last_mut() {
            Some((last, total)) if *last == name => *total += sums,
            _ => each.push((name, sums)),
        }
    }
    writeln!(
        out,
        "<h2>{}</h2><p>What the miners of {} drew: <span style=\"color:#1f6f8b\">■</span> of what was left over, \
         <span style=\"color:#c8553d\">■</span> from the grid because of them, <span style=\"color:#9aa5b1\">■</span> not known which.</p>",
        if long { "Months" } else { "Days" },
        escape(&top.name)
    )?;
    let bars: Vec<(String, [f64; 3])> = each
        .iter()
        .map(|(name, sums)| {
            let caused = hours(sums.caused.min(sums.miners));
            let rest = (hours(sums.miners) - caused).max(0.0);
            // Where the import is not known for a part of the time, so is what they took.
            let doubt = if sums.together.is_zero() { rest } else { hours(sums.doubtful()).min(rest) };
            (name.clone(), [rest - doubt, doubt, caused])
        })
        .collect();
    stacked(out, &bars)?;
    let rows: Vec<Vec<String>> = each
        .iter()
        .map(|(name, sums)| {
            vec![
                name.clone(),
                told(sums.miners_known, sums.miners),
                because(sums),
                told(sums.metered(), sums.import),
                told(sums.metered(), sums.export),
                told(sums.together, sums.unused),
                format!("{:.1} h", sums.metered().as_secs_f64() / 3_600.0),
            ]
        })
        .collect();
    table(
        out,
        "",
        &["", "Miners", "Imported because of them", "Import", "Export", "Left unused", "Known for"],
        &rows,
    );
    Ok(())
}

/// Columns side by side, each of three parts.
fn stacked(out: &mut String, bars: &[(String, [f64; 3])]) -> Result {
    let most = bars.iter().map(|(_, parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max);
    let ticks = ticks(most);
    let top = ticks.last().copied().unwrap_or(1.0);
    let each = 594.0 / count(bars.len().max(1));
    let y = |value: f64| 180.0 - 160.0 * value.max(0.0) / top;
    write!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 720 206\" role=\"img\" aria-label=\"Energy of the miners\">"
    )?;
    for value in ticks {
        write!(
            out,
            "<path d=\"M96 {0:.1}H690\" stroke=\"#d5dbe1\"/><text x=\"90\" y=\"{0:.1}\" dy=\"4\" text-anchor=\"end\">{1}</text>",
            y(value),
            short_of(&energy(value))
        )?;
    }
    let every = bars.len().div_ceil(12).max(1);
    for (at, (name, parts)) in bars.iter().enumerate() {
        let x = 96.0 + each * count(at);
        let wide = (each * 0.8).max(1.0);
        let mut below = 0.0;
        for (part, colour) in parts.iter().zip(["#1f6f8b", "#9aa5b1", "#c8553d"]) {
            let (foot, top) = (y(below), y(below + part));
            below += part;
            write!(
                out,
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                (foot - top).max(0.0)
            )?;
        }
        if at.is_multiple_of(every) {
            write!(
                out,
                "<text x=\"{:.1}\" y=\"198\" text-anchor=\"middle\">{}</text>",
                x + wide / 2.0,
                escape(name)
            )?;
        }
    }
    writeln!(out, "</svg></div>")
}

fn of_kind(report: &Report, kind: Kind) -> impl Iterator<Item = &Subject> {
    report.subjects.iter().filter(move |subject| subject.kind == kind)
}

fn circuits(out: &mut String, report: &Report) -> Result {
    let rows: Vec<Vec<String>> = of_kind(report, Kind::Circuit)
        .map(|subject| {
            let sums = &subject.total;
            vec![
                format!("{}{}", "\u{2003}".repeat(subject.depth), subject.name),
                told(sums.metered(), sums.import),
                told(sums.metered(), sums.export),
                told(sums.miners_known, sums.miners),
                told(sums.together, sums.other),
                because(sums),
                told(sums.together, sums.unused),
                sums.mean_cap().map_or_else(|| String::from("none"), |cap| power(cap.get())),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Circuits</h2>")?;
    table(
        out,
        "",
        &[
            "Circuit",
            "Import",
            "Export",
            "Miners",
            "Other load",
            "Caused by miners",
            "Left unused",
            "Mean cap",
        ],
        &rows,
    );
    writeln!(
        out,
        "<p class=\"soft\">Each with all that hangs below it. Other load is negative where generation was larger.</p>"
    )
}

fn tenants(out: &mut String, report: &Report) -> Result {
    let rows: Vec<Vec<String>> = of_kind(report, Kind::Tenant)
        .map(|subject| {
            let sums = &subject.total;
            let whole = sums.observed.as_secs_f64();
            let efficiency = if sums.terahashes > 0.0 && !sums.hash_known.is_zero() {
                format!("{:.1} J/TH", sums.miners.get() / sums.terahashes)
            } else {
                String::from("not known")
            };
            vec![
                subject.name.to_string(),
                told(sums.miners_known, sums.miners),
                hashes(sums),
                efficiency,
                share(sums.miners_known, whole),
                energy(hours(sums.miners_unknown)),
            ]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Tenants</h2>")?;
    table(out, "", &["Tenant", "Energy", "Hashes", "Efficiency", "Known", "Silent miners, at most"], &rows);
    Ok(())
}

/// Import because of the miners, by hour and circuit.
fn caused(out: &mut String, report: &Report) -> Result {
    // Where nothing but miners hangs, all that flows in is theirs, and nothing is said by it.
    let shared = |it: &&Subject| {
        !it.total.together.is_zero() && it.total.other.abs() > it.total.import.scaled(MINERS_ALONE)
    };
    let metered: Vec<&Subject> = of_kind(report, Kind::Circuit).filter(shared).collect();
    if metered.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>Took only what nobody else would have used</h2><p>Import that would not have been without the miners, hour by hour: in \
         each cycle the smaller of what flowed into the circuit and what they drew. Where it is zero, they took what was left over \
         there and no more. A surplus limit above 0 W allows more than that. Circuits of miners alone are left out: what flows \
         into them is their draw.</p>"
    )?;
    for subject in metered.iter().take(MOST_MAPS) {
        map(out, report, subject)?;
    }
    if metered.len() > MOST_MAPS {
        writeln!(
            out,
            "<p class=\"soft\">{} more circuits are in the CSV: --format csv --table hours.</p>",
            metered.len() - MOST_MAPS
        )?;
    }
    Ok(())
}

/// A day in each row, an hour in each column.
fn map(out: &mut String, report: &Report, subject: &Subject) -> Result {
    let hourly: BTreeMap<(Date, i8), Sums> = subject.by(|start| report.hour(start));
    let known = hourly.values().filter(|sums| !sums.together.is_zero());
    let all: Vec<f64> = known.map(|sums| hours(sums.caused)).collect();
    let some = all.iter().filter(|value| **value >= SOME).count();
    let worst = hourly.iter().max_by(|one, other| one.1.caused.total_cmp(&other.1.caused));
    let (date, hour, most) = worst.map_or_else(
        || (String::new(), 0, 0.0),
        |((date, hour), sums)| (date.to_string(), *hour, hours(sums.caused)),
    );
    writeln!(
        out,
        "<p><b>{}</b>: {}; it was known for {}. {some} of {} hours of the clock had any{}.</p>",
        escape(&subject.name),
        because(&subject.total),
        part_of(subject.total.together, subject.total.observed.max(subject.total.metered())),
        all.len(),
        if some > 0 {
            format!(", the most {} on {date} from {hour:02}:00", energy(most))
        } else {
            String::new()
        }
    )?;
    let mut dates: Vec<Date> = hourly.keys().map(|(date, _)| *date).collect();
    dates.dedup();
    let shown = dates.get(dates.len().saturating_sub(MAP_DAYS)..).unwrap_or_default();
    // One hour that stands out must not make all others look like nothing.
    let scale = quantile(&sorted(all.iter().copied().filter(|value| *value > 0.0)), 0.95);
    let scale = if scale.is_finite() && scale > 0.0 { scale } else { 1.0 };
    let tall = 14 * shown.len() + 34;
    write!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 720 {tall}\" role=\"img\" aria-label=\"Import caused by miners in each hour\">"
    )?;
    for hour in (0..24_u8).step_by(3) {
        write!(out, "<text x=\"{}\" y=\"12\">{hour}</text>", 96.0 + 24.0 * f64::from(hour))?;
    }
    for (row, date) in shown.iter().enumerate() {
        let y = 18 + 14 * row;
        write!(out, "<text x=\"90\" y=\"{}\" text-anchor=\"end\">{}</text>", y + 10, date.strftime("%d %b"))?;
        for hour in 0..24_i8 {
            let x = 96.0 + 24.0 * f64::from(hour);
            let sums = hourly.get(&(*date, hour)).filter(|sums| !sums.together.is_zero());
            let fill = match sums.map(|sums| (hours(sums.caused), hours(sums.doubtful()))) {
                None => String::from("fill=\"none\" stroke=\"#d5dbe1\""),
                Some((value, doubt)) if value < SOME && doubt >= SOME => String::from("fill=\"#9aa5b1\""),
                Some((value, _)) if value < SOME => String::from("fill=\"#e4eef1\""),
                Some((value, _)) => {
                    format!("fill=\"#c8553d\" fill-opacity=\"{:.2}\"", (0.2 + 0.8 * value / scale).min(1.0))
                }
            };
            write!(out, "<rect x=\"{x:.0}\" y=\"{y}\" width=\"22\" height=\"12\" {fill}/>")?;
        }
    }
    writeln!(
        out,
        "<text x=\"96\" y=\"{}\">hour of the day; pale: none, red: the more the darker, grey: none that is known, and not all is known, empty: not known{}</text></svg></div>",
        tall - 4,
        if dates.len() > MAP_DAYS { "; the last 31 days" } else { "" }
    )
}

const fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Below => "below",
        Verdict::Within => "within",
        Verdict::Above => "above",
        Verdict::NothingAsked => "nothing was asked",
        Verdict::NotKnown => "not known",
    }
}

fn delivered(delivered: Option<Joules>, asked: Option<Joules>) -> String {
    tables::ratio(delivered, asked).map_or_else(|| String::from("–"), percent)
}

fn orders(out: &mut String, report: &Report) -> Result {
    writeln!(
        out,
        "<h2>Orders</h2><p>Delivered is what would have flowed (the baseline) less what did. {:.0} to {:.0} % of what was asked is \
         <i>within</i>. Quarters that are excused count in no total. An order in which no whole quarter lies is settled by what was \
         measured while it held, where nine tenths of it were.</p>",
        LEAST * 100.0,
        MOST * 100.0
    )?;
    if report.orders.is_empty() {
        return writeln!(out, "<p>None held in this time.</p>");
    }
    let optional = |value: Option<Joules>| value.map_or_else(|| String::from("–"), |it| energy(hours(it)));
    let rows: Vec<Vec<String>> = report
        .orders
        .iter()
        .take(MOST_ORDERS)
        .map(|order| {
            let excused = order.quarters.iter().filter(|quarter| quarter.excused.is_some()).count();
            vec![
                format!("{} {}", order.event.source, order.event.id),
                format!("{} ({})", order.event.circuit, tables::scope(order)),
                power(order.event.cap.get()),
                span(report, order),
                order.baseline.name().to_owned(),
                optional(order.asked),
                optional(order.delivered),
                delivered(order.delivered, order.asked),
                match excused {
                    0 => words(order.verdict).to_owned(),
                    some => format!("{}\n{some} of {} excused", words(order.verdict), order.quarters.len()),
                },
            ]
        })
        .collect();
    let head = ["Order", "Where", "Cap", "When", "Baseline", "Asked", "Delivered", "Share", "Verdict"];
    table(out, "lines", &head, &rows);
    for order in report.orders.iter().take(MOST_ORDERS) {
        one(out, report, order)?;
    }
    if report.orders.len() > MOST_ORDERS {
        writeln!(out, "<p class=\"soft\">More are in the CSV: --format csv --table orders.</p>")?;
    }
    Ok(())
}

/// From when to when, the day once where it is the same, in two lines.
fn span(report: &Report, order: &Settlement) -> String {
    let (from, until) = (written(order.event.from, &report.zone), written(order.event.until, &report.zone));
    match from.split_once(' ').zip(until.split_once(' ')) {
        Some(((day, from), (same, until))) if day == same => format!("{day}\n{from} to {until}"),
        _ => format!("{from}\nto {until}"),
    }
}

/// For how long an order held, where that is not what it says, and what the record says of it.
fn really(report: &Report, order: &Settlement) -> String {
    let event = &order.event;
    let clock = |at: Wall| to_the_second(at, event.ordered.0, &report.zone);
    let mut text = String::new();
    if event.differs() {
        let minutes = event.until.since(event.from).as_secs_f64() / 60.0;
        let own = event
            .ordered
            .1
            .map_or_else(|| String::from("on, without an end"), |own| format!("to {}", clock(own)));
        let (from, until, first) = (clock(event.from), clock(event.until), clock(event.ordered.0));
        let _ = write!(
            text,
            " It held from {from} to {until}, {minutes:.1} min; it was ordered from {first} {own}."
        );
    }
    if let Some(share) = event.recorded {
        let _ = write!(
            text,
            " By the record, while it held and against what was stated when it came: {}.",
            percent(share)
        );
    }
    text
}

fn one(out: &mut String, report: &Report, order: &Settlement) -> Result {
    let how = match &order.curve {
        Err(why) => format!("There is no baseline {}: {why}.", order.baseline.name()),
        Ok(curve) => {
            let mut text = match curve.watts.values().next() {
                Some(watts) if curve.days.is_empty() => {
                    format!("Baseline {}: {}.", order.baseline.name(), power(watts.get()))
                }
                _ => format!("Baseline {} of {} days", order.baseline.name(), curve.days.len()),
            };
            if let (Some(first), Some(last)) = (curve.days.last(), curve.days.first()) {
                let _ = write!(text, " from {first} to {last}");
                let adjusted = curve.adjustment.map_or_else(
                    || String::from("."),
                    |ratio| format!(", times {ratio:.3} by the hours before the order."),
                );
                text.push_str(&adjusted);
            }
            if let Some(note) = &curve.note {
                let _ = write!(text, " It is {note}.");
            }
            text
        }
    };
    writeln!(
        out,
        "<p><b>{} {}</b>. {}{}</p>",
        escape(&order.event.source),
        escape(&order.event.id),
        escape(&how),
        escape(&really(report, order))
    )?;
    let optional = |value: Option<Joules>| value.map_or_else(|| String::from("–"), |it| energy(hours(it)));
    let rows: Vec<Vec<String>> = order
        .quarters
        .iter()
        .filter(|quarter| {
            quarter.start >= Wall::unix_millis(report.from.as_unix_millis().saturating_sub(900_000))
        })
        .take(MOST_QUARTERS)
        .map(|quarter| {
            vec![
                written(quarter.start, &report.zone),
                optional(quarter.baseline),
                optional(quarter.measured),
                optional(quarter.asked),
                optional(quarter.delivered),
                delivered(quarter.delivered, quarter.asked),
                match &quarter.excused {
                    Some(why) => format!("excused: {why}"),
                    None => words(quarter.verdict).to_owned(),
                },
            ]
        })
        .collect();
    table(out, "", &["Quarter", "Baseline", "Measured", "Asked", "Delivered", "Share", "Verdict"], &rows);
    Ok(())
}

fn alarms(out: &mut String, report: &Report) -> Result {
    writeln!(out, "<h2>Alarms</h2>")?;
    if report.alarms.is_empty() {
        return writeln!(out, "<p>None in this time.</p>");
    }
    let at = |ms: i64| written(Wall::unix_millis(ms), &report.zone);
    let rows: Vec<Vec<String>> = report
        .alarms
        .iter()
        .take(MOST_ALARMS)
        .map(|alarm| {
            vec![
                at(alarm.raised_ms),
                alarm.cleared_ms.map_or_else(|| String::from("not over"), at),
                alarm.severity.to_string(),
                alarm.subject.to_string(),
                alarm.words.to_string(),
            ]
        })
        .collect();
    table(out, "words", &["Raised", "Over", "Severity", "About", "What"], &rows);
    if report.alarms.len() > MOST_ALARMS {
        writeln!(out, "<p class=\"soft\">{} in all; the CSV has the rest.</p>", report.alarms.len())?;
    }
    Ok(())
}

fn known(out: &mut String, report: &Report) -> Result {
    writeln!(
        out,
        "<h2>What was known, and how</h2><p>Of {:.1} hours. What was not known is in no sum above, and is not zero.</p>",
        length(report) / 3_600.0
    )?;
    let whole = length(report);
    let rows: Vec<Vec<String>> = report
        .subjects
        .iter()
        .map(|subject| {
            let sums = &subject.total;
            let metered = |time: Duration| match subject.kind {
                Kind::Circuit => share(time, whole),
                Kind::Tenant => String::from("–"),
            };
            vec![
                subject.name.to_string(),
                share(sums.observed, whole),
                metered(sums.by_counter),
                metered(sums.by_power),
                metered(sums.bridged),
                share(sums.miners_known, whole),
                energy(hours(sums.miners_unknown)),
                sums.resets.to_string(),
                sums.jumps.to_string(),
            ]
        })
        .collect();
    let head = [
        "",
        "Daemon ran",
        "By the meter's counter",
        "By its power",
        "Counter, over a gap",
        "Miners known",
        "Silent miners, at most",
        "Counter resets",
        "Clock jumps",
    ];
    table(out, "", &head, &rows);
    writeln!(
        out,
        "<ul><li>By the meter's counter: the difference of its readings. By its power: added up in each cycle, where the meter has no \
         counter, or one that went back or stood. Over a gap: what the counter says after it, spread evenly.</li>\
         <li>A miner that is silent counts in no energy of miners; beside it stands the most that it may have drawn.</li>\
         <li>Hashes are what the miners say of themselves.</li></ul>"
    )
}
