//! The report as one page that needs nothing from elsewhere: no script, no font, no picture of another server.

use std::fmt::Write as _;

use super::{OPEN, at_least, dollars, energy, percent, power, verdict};
use crate::study::assess::rank::Ranked;
use crate::study::assess::{Assessment, HourOfDay};
use crate::study::number::count;
use crate::web::page::escape;

/// How it looks, on a screen of any width and on A4.
const STYLE: &str = "\
:root{--ink:#16202a;--soft:#5b6875;--line:#d5dbe1;--fill:#1f6f8b;--warm:#c8553d;--paper:#fff}\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}h1{font-size:1.6rem;margin:.2rem 0;overflow-wrap:anywhere}\
h2{font-size:1.15rem;margin:2rem 0 .3rem;border-top:1px solid var(--line);padding-top:1rem}\
p{margin:.4rem 0;max-width:44rem}.soft{color:var(--soft);font-size:.9em}.verdict{font-size:1.1em}\
.warn{border-left:4px solid var(--warm);padding:.3rem .8rem;background:#fbefec}\
.key{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.6rem;margin:1rem 0}\
.key div{border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}.key b{display:block;font-size:1.3rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .5rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}\
th:first-child,td:first-child,.words td,.words th{text-align:left}th{color:var(--soft);font-weight:600}\
td,th{white-space:nowrap}.words td{white-space:normal}.lines td{white-space:pre-line}.words td:last-child{min-width:16rem}\
svg{width:100%;height:auto;display:block;margin:.5rem 0}svg text{font:12px system-ui,sans-serif;fill:var(--soft)}\
.site{break-before:page}.site:first-of-type{break-before:auto}\
@media(max-width:600px){svg text{font-size:20px}svg .odd{display:none}\
.lines thead{display:none}.lines td{display:inline-block;border:0;overflow-wrap:anywhere}.lines td:last-child{display:block;min-width:0}}\
@media print{@page{size:A4;margin:15mm}body{font-size:10.5pt}main{max-width:none;padding:0}.wide{overflow:visible}table{font-size:8.5pt}th{white-space:normal}\
p{max-width:none}.key{grid-template-columns:repeat(5,1fr)}.key b{font-size:1rem}h2,h2+p,p:has(+.wide){break-after:avoid}svg,tr,.key,.wide{break-inside:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// The page.
pub fn page(sites: &[Assessment], ranked: &[Ranked]) -> String {
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Site assessment</title><style>");
    out.push_str(STYLE);
    out.push_str("</style></head><body><main>\n");
    // Writing to a string does not fail.
    let _ = body(&mut out, sites, ranked);
    out.push_str("</main></body></html>\n");
    out
}

/// A table; cells are text.
fn table(out: &mut String, class: &str, head: &[&str], rows: &[Vec<String>]) {
    out.push_str("<div class=\"wide\"><table class=\"");
    out.push_str(class);
    out.push_str("\"><thead><tr>");
    for cell in head {
        let _ = write!(out, "<th>{}</th>", escape(cell));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escape(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
}

fn body(out: &mut String, sites: &[Assessment], ranked: &[Ranked]) -> std::fmt::Result {
    if !ranked.is_empty() {
        writeln!(out, "<section class=\"site\"><h1>{} sites, the most regular first</h1>", sites.len())?;
        let rows: Vec<Vec<String>> = ranked
            .iter()
            .map(|site| {
                vec![
                    site.rank.to_string(),
                    site.name.clone(),
                    site.points.to_string(),
                    site.reasons.join("\n"),
                ]
            })
            .collect();
        table(out, "words lines", &["Rank", "Site", "Points", "Place in each respect"], &rows);
        writeln!(out, "<p class=\"soft\">Points are the sum of the places; fewer are better.</p></section>")?;
    }
    for site in sites {
        writeln!(out, "<section class=\"site\">")?;
        one(out, site)?;
        writeln!(out, "</section>")?;
    }
    Ok(())
}

fn one(out: &mut String, site: &Assessment) -> std::fmt::Result {
    writeln!(
        out,
        "<p class=\"soft\">How much flexible load does this surplus carry?</p><h1>{}</h1>",
        escape(&site.name)
    )?;
    for line in &site.warnings {
        writeln!(out, "<p class=\"warn\">{}</p>", escape(line))?;
    }
    for line in verdict(site) {
        writeln!(out, "<p class=\"verdict\">{}</p>", escape(&line))?;
    }
    let carried = |percent: u8| {
        site.carried.iter().find(|step| step.percent_of_time == percent).map_or(f64::NAN, |step| step.watts)
    };
    let drought = site.droughts.get(1).map_or_else(
        || "not known".into(),
        |drought| format!("{}{:.1} days", at_least(drought.window_open), drought.window_hours / 24.0),
    );
    writeln!(out, "<div class=\"key\">")?;
    for (what, value) in [
        ("mean power to spare", power(site.mean_watts)),
        ("in 50 % of the hours", power(carried(50))),
        ("in 90 % of the hours (firm)", power(carried(90))),
        ("a year, in 90 of 100 years", energy(site.year.p90_watt_hours)),
        ("longest drought (under ¼ of the mean)", drought),
    ] {
        writeln!(out, "<div><b>{value}</b>{what}</div>")?;
    }
    writeln!(out, "</div>")?;
    power_charts(out, site)?;
    droughts(out, site)?;
    year(out, site)?;
    fleets(out, site)?;
    known(out, site)
}

fn power_charts(out: &mut String, site: &Assessment) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>Power at an instant</h2><p>For how much of the time the power to spare is at least so much.</p>"
    )?;
    duration(out, site)?;
    let table_rows: Vec<Vec<String>> = site
        .carried
        .iter()
        .map(|step| {
            vec![
                format!("{} % of the hours", step.percent_of_time),
                power(step.watts),
                percent(step.watts / site.mean_watts),
            ]
        })
        .collect();
    table(out, "", &["Carried in", "Power", "Of the mean"], &table_rows);
    writeln!(
        out,
        "<p class=\"soft\">Mean {}, largest {}; nothing to spare {} of the time. Capacity factor {} of {}{}.</p>",
        power(site.mean_watts),
        power(site.largest_watts),
        percent(site.share_without),
        percent(site.capacity_factor),
        power(site.capacity_watts),
        if site.capacity_told { "" } else { " (the largest value; no capacity was told)" }
    )?;
    if site.floor_watts > 0.0 {
        writeln!(
            out,
            "<p>A guaranteed load of {} was taken off first; the surplus alone carries it {} of the time.</p>",
            power(site.floor_watts),
            percent(site.floor_carried)
        )?;
    }
    writeln!(out, "<h2>Months</h2><p>Mean power of each month.</p>")?;
    let months: Vec<(String, f64, String)> = site
        .months
        .iter()
        .map(|month| (month.month.clone(), month.mean_watts, power(month.mean_watts)))
        .collect();
    bars(out, &months)?;
    writeln!(
        out,
        "<h2>Hours of the day</h2><p>Mean power (bars) and what nine days of ten exceed (line in each bar).</p>"
    )?;
    if site.hours.len() > 1 {
        columns(out, &site.hours)?;
    } else {
        writeln!(out, "<p>Not known: the intervals are as long as the day.</p>")?;
    }
    let like: Vec<String> =
        site.autocorrelation.iter().map(|(hours, value)| format!("{value:.2} after {hours} h")).collect();
    let days = &site.day_energy;
    writeln!(
        out,
        "<h2>Regularity</h2><p>Correlation with itself: {}. {}</p>",
        if like.is_empty() { "not known".into() } else { like.join(", ") },
        match days.days {
            0 => String::from("No day is known from midnight to midnight, so nothing is said of days."),
            1 =>
                format!("One day is known from midnight to midnight; it has {}.", energy(days.p50_watt_hours)),
            n => format!(
                "From day to day energy changes by {} of a mean day. Of {n} whole days half have more than {}, nine of ten more than {}.",
                percent(site.day_to_day),
                energy(days.p50_watt_hours),
                energy(days.p90_watt_hours)
            ),
        }
    )?;
    writeln!(
        out,
        "<p>Ramps: 99 % of the changes are slower than {} a minute; fastest rise {} ({}), fastest fall {} ({}).</p>",
        power(site.ramps.p99_watts_per_minute),
        power(site.ramps.fastest_rise_watts_per_minute),
        escape(&site.ramps.fastest_rise_at),
        power(site.ramps.fastest_fall_watts_per_minute),
        escape(&site.ramps.fastest_fall_at)
    )
}

/// The duration curve.
fn duration(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let ticks = ticks(site.largest_watts);
    let top = ticks.last().copied().unwrap_or(1.0);
    let x = |percent: f64| 96.0 + percent * 5.9;
    let y = |watts: f64| 220.0 - 200.0 * watts / top;
    let mut line = format!("M{:.1} {:.1}", x(0.0), y(site.largest_watts));
    for step in &site.duration {
        let _ = write!(line, "L{:.1} {:.1}", x(f64::from(step.percent_of_time)), y(step.watts));
    }
    write!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 720 266\" role=\"img\" aria-label=\"Duration curve\">"
    )?;
    for tenth in 0..=10_u8 {
        let at = x(f64::from(tenth) * 10.0);
        write!(
            out,
            "<path d=\"M{at} 20V220\" stroke=\"#e7ebef\"/><text x=\"{at}\" y=\"240\"{} text-anchor=\"middle\">{} %</text>",
            if tenth.is_multiple_of(2) { "" } else { " class=\"odd\"" },
            tenth * 10
        )?;
    }
    for watts in ticks {
        write!(
            out,
            "<path d=\"M96 {0:.1}H690\" stroke=\"#d5dbe1\"/><text x=\"90\" y=\"{0:.1}\" dy=\"4\" text-anchor=\"end\">{1}</text>",
            y(watts),
            short(watts)
        )?;
    }
    writeln!(
        out,
        "<path d=\"{line}L{:.1} 220L96 220Z\" fill=\"#1f6f8b\" opacity=\".15\"/><path d=\"{line}\" fill=\"none\" stroke=\"#1f6f8b\" \
         stroke-width=\"2.5\"/><path d=\"M96 {mean:.1}H690\" stroke=\"#c8553d\" stroke-dasharray=\"5 4\"/><text x=\"686\" y=\"{mean:.1}\" \
         dy=\"-5\" text-anchor=\"end\">mean {}</text><text x=\"391\" y=\"260\" text-anchor=\"middle\">share of the time</text></svg></div>",
        x(99.0),
        power(site.mean_watts),
        mean = y(site.mean_watts)
    )
}

/// Where an axis has its lines: from 0 on, four or five of them, at numbers that people use.
fn ticks(most: f64) -> Vec<f64> {
    let raw = most.max(1e-6) / 4.0;
    let unit = 10_f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0].into_iter().map(|times| times * unit).find(|step| *step >= raw * (1.0 - 1e-9));
    let step = step.unwrap_or(10.0 * unit);
    let mut all = vec![0.0];
    for n in 1..=4_u8 {
        let last = all.last().copied().unwrap_or(0.0);
        if last >= most * (1.0 - 1e-9) {
            break;
        }
        all.push(f64::from(n) * step);
    }
    all
}

/// A power without the zeros at its end: `1.5 MW`.
fn short(watts: f64) -> String {
    let text = power(watts);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// Bars, one below the other, each with its name and value.
fn bars(out: &mut String, rows: &[(String, f64, String)]) -> std::fmt::Result {
    let top = rows.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    write!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 720 {}\" role=\"img\" aria-label=\"Months\">",
        rows.len() * 26 + 8
    )?;
    for (at, (name, value, told)) in rows.iter().enumerate() {
        let y = at * 26 + 4;
        let wide = (value / top * 500.0).max(0.0);
        write!(
            out,
            "<text x=\"90\" y=\"{}\" text-anchor=\"end\">{}</text><rect x=\"98\" y=\"{y}\" width=\"{wide:.1}\" height=\"18\" \
             fill=\"#1f6f8b\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 15,
            escape(name),
            104.0 + wide,
            y + 15,
            escape(told)
        )?;
    }
    writeln!(out, "</svg></div>")
}

/// The 24 hours side by side, with a line across each; those of which nothing is known stay empty.
fn columns(out: &mut String, hours: &[HourOfDay]) -> std::fmt::Result {
    let most = hours.iter().map(|hour| hour.mean_watts.max(hour.p90_watts)).fold(0.0, f64::max);
    let ticks = ticks(most);
    let top = ticks.last().copied().unwrap_or(1.0);
    let each = 594.0 / 24.0;
    let y = |watts: f64| 180.0 - 160.0 * watts.max(0.0) / top;
    write!(
        out,
        "<div class=\"wide\"><svg viewBox=\"0 0 720 222\" role=\"img\" aria-label=\"Hours of the day\">"
    )?;
    for watts in ticks {
        write!(
            out,
            "<path d=\"M96 {0:.1}H690\" stroke=\"#d5dbe1\"/><text x=\"90\" y=\"{0:.1}\" dy=\"4\" text-anchor=\"end\">{1}</text>",
            y(watts),
            short(watts)
        )?;
    }
    for hour in 0..24_u8 {
        let x = 96.0 + each * f64::from(hour);
        if let Some(there) = hours.iter().find(|there| there.hour == hour) {
            let (mean, low) = (y(there.mean_watts), y(there.p90_watts));
            write!(
                out,
                "<rect x=\"{0:.1}\" y=\"{mean:.1}\" width=\"{1:.1}\" height=\"{2:.1}\" fill=\"#1f6f8b\" opacity=\".75\"/><path d=\"M{0:.1} \
                 {low:.1}h{1:.1}\" stroke=\"#c8553d\" stroke-width=\"3\"/>",
                x + 2.0,
                each - 4.0,
                180.0 - mean
            )?;
        }
        let odd = if hour.is_multiple_of(4) { "" } else { " class=\"odd\"" };
        write!(out, "<text x=\"{:.1}\" y=\"199\"{odd} text-anchor=\"middle\">{hour}</text>", x + each / 2.0)?;
    }
    writeln!(out, "<text x=\"391\" y=\"218\" text-anchor=\"middle\">hour of the day</text></svg></div>")
}

fn droughts(out: &mut String, site: &Assessment) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>Droughts</h2><p>The longest window whose <b>mean</b> lies below a share of the site's own mean, and the longest run \
         without a single interval above. The window is the one to plan for: one lucky interval cuts a run.</p>"
    )?;
    let rows: Vec<Vec<String>> = site
        .droughts
        .iter()
        .map(|drought| {
            vec![
                format!("{:.0} % of the mean", drought.share_of_mean * 100.0),
                power(drought.watts),
                format!("{}{:.1} h", at_least(drought.window_open), drought.window_hours),
                drought.window_from.clone(),
                format!("{:.1} h", drought.window_unknown_hours),
                format!("{:.1} h", drought.window_held_hours),
                format!("{}{:.1} h", at_least(drought.run_open), drought.run_hours),
                format!("{:.1} h", drought.run_unknown_hours),
            ]
        })
        .collect();
    table(
        out,
        "",
        &["Below", "Power", "Window", "From", "Of it not known", "Gaps held", "Run", "Of it not known"],
        &rows,
    );
    if site.droughts.iter().any(|drought| drought.window_open || drought.run_open) {
        writeln!(out, "<p class=\"soft\">{OPEN}.</p>")?;
    }
    Ok(())
}

fn year(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let year = &site.year;
    writeln!(
        out,
        "<h2>Energy of a year</h2><p>How much a year brings, and how sure that is. This is another question than the power at an \
         instant.{}</p>",
        if year.months < 12 {
            format!(
                " <b>Scaled up from {} of the 12 months of the year: the seasons are not in it.</b>",
                year.months
            )
        } else {
            String::new()
        }
    )?;
    let rows = [("50", year.p50_watt_hours), ("90", year.p90_watt_hours), ("99", year.p99_watt_hours)];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(years, value)| vec![format!("{years} of 100 years (P{years})"), energy(*value)])
        .collect();
    table(out, "", &["Exceeded in", "Energy"], &rows);
    if year.sigma.is_nan() {
        return writeln!(
            out,
            "<p class=\"soft\">How sure that is is not known: {} blocks of {} days are too few. From year to year {} and for measurement \
             {} were told; they are not in the data.</p>",
            year.blocks,
            year.block_days,
            percent(year.sigma_years),
            percent(year.sigma_model)
        );
    }
    writeln!(
        out,
        "<p class=\"soft\">Standard deviation {}: {} from this sample (drawn anew in blocks of {} days, {} blocks; nine draws of \
         ten lie between {} and {}), {} from year to year and {} of measurement. The last two were told and are not in the data.</p>",
        percent(year.sigma),
        percent(year.sigma_sample),
        year.block_days,
        year.blocks,
        energy(year.interval_low_watt_hours),
        energy(year.interval_high_watt_hours),
        percent(year.sigma_years),
        percent(year.sigma_model)
    )
}

fn fleets(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let sizing = &site.sizing;
    writeln!(out, "<h2>Fleets</h2><p class=\"soft\">By {}.</p>", escape(&sizing.model))?;
    let rows: Vec<Vec<String>> = sizing
        .sizes
        .iter()
        .map(|size| {
            let outcome = &size.outcome;
            vec![
                power(size.fleet.watts),
                power(size.fleet.minimum_watts),
                percent(outcome.taken_watt_hours / (outcome.taken_watt_hours + outcome.left_watt_hours)),
                percent(size.full_power_share),
                outcome.starts.to_string(),
                percent(outcome.running),
                power(outcome.added_peak_watts),
                power(outcome.ramp_p99_watts_per_minute),
                super::text::imported(outcome),
            ]
        })
        .collect();
    let head = [
        "Fleet",
        "Least power",
        "Surplus taken",
        "Full power",
        "Starts",
        "Running",
        "Added peak",
        "Ramp a minute, P99",
        "Imported",
    ];
    table(out, "", &head, &rows);
    writeln!(
        out,
        "<p><b>Firm:</b> {} in 90 % of the hours, whatever the hash price. <b>Economic</b>, at {:.1} J/TH and {:.0} $ a year for a \
         kilowatt of fleet:</p>",
        power(sizing.firm_watts),
        sizing.joules_per_terahash,
        sizing.cost_per_kilowatt_year
    )?;
    if let Some(why) = &sizing.best_withheld {
        return writeln!(out, "<p>Not said: {}.</p>", escape(why));
    }
    let rows: Vec<Vec<String>> = sizing
        .best
        .iter()
        .map(|best| {
            vec![
                format!("{:.1}", best.hash_price),
                format!("{:.1}", best.power_price),
                if best.fleet_watts > 0.0 { power(best.fleet_watts) } else { "none pays".into() },
                dollars(best.earns_per_year),
                format!("{:.1}", best.hash_price_to_run),
            ]
        })
        .collect();
    table(
        out,
        "",
        &["$/PH/day", "$/MWh", "Best fleet", "Earns $ a year", "Running pays above $/PH/day"],
        &rows,
    );
    Ok(())
}

fn known(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let known = &site.known;
    writeln!(
        out,
        "<h2>What was known, and what was not</h2><p>{} to {} ({}), {} rows, {} intervals of {} s; {} of them trusted.</p>",
        escape(&known.first),
        escape(&known.last),
        escape(&known.zone),
        known.rows,
        known.intervals,
        known.interval_seconds,
        percent(count(known.trusted) / count(known.intervals))
    )?;
    if !known.findings.is_empty() {
        let rows: Vec<Vec<String>> = known
            .findings
            .iter()
            .map(|found| {
                vec![
                    found.kind.into(),
                    found.count.to_string(),
                    found.first.clone(),
                    found.last.clone(),
                    found.what.clone(),
                ]
            })
            .collect();
        table(out, "words", &["Not trusted", "Count", "From", "To", "What it is"], &rows);
    }
    writeln!(out, "<ul>")?;
    for assumed in &known.assumed {
        writeln!(out, "<li>Assumed: {}.</li>", escape(assumed))?;
    }
    for unknown in &known.not_known {
        writeln!(out, "<li>Not known: {}.</li>", escape(unknown))?;
    }
    writeln!(out, "</ul>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_called_ends_no_tag() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
