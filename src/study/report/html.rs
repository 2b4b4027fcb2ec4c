//! The report as one page that needs nothing from elsewhere: no script, no font, no picture of another server.

use std::fmt::Write as _;

use super::{OPEN, at_least, dollars, energy, hall_words, percent, power, verdict};
use crate::study::assess::rank::Ranked;
use crate::study::assess::{Assessment, HallClass, HourOfDay};
use crate::study::number::count;
use crate::study::page::{bars, document, short, table, ticks};
use crate::web::page::escape;

/// The page.
pub fn page(sites: &[Assessment], ranked: &[Ranked]) -> String {
    document("Site assessment", |out| body(out, sites, ranked))
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
    halls(out, site)?;
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

fn halls(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let Some(hall) = &site.hall else { return Ok(()) };
    writeln!(
        out,
        "<h2>A hall of {} beside miners</h2><p>{}</p>",
        power(hall.watts),
        escape(&hall_words(hall))
    )?;
    let rows = |class: &HallClass| {
        vec![
            class.class.to_owned(),
            percent(class.work_share),
            percent(class.full_share),
            percent(class.slowed_share),
            percent(class.too_little_share),
            power(class.mean_import_watts),
            power(class.mean_left_watts),
        ]
    };
    let rows: Vec<Vec<String>> = hall.classes.iter().map(rows).collect();
    let head = ["Class", "Work", "Full", "Slowed", "Too little", "From the grid", "Left for miners"];
    table(out, "", &head, &rows);
    Ok(())
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
