//! The report for a terminal of 80 columns.

use std::fmt::Write as _;

use super::{OPEN, at_least, dollars, energy, fine_percent, hall_words, percent, power, verdict};
use crate::line::clean;
use crate::study::assess::Assessment;
use crate::study::assess::rank::Ranked;
use crate::study::assess::sizing;
use crate::study::number;

/// The widest line.
const WIDTH: usize = 80;

/// Everything about one site.
pub fn report(site: &Assessment) -> String {
    let mut out = String::new();
    let _ = tell(&mut out, site);
    out
}

/// Sites in order, with reasons.
pub fn ranking(ranked: &[Ranked]) -> String {
    let mut out = String::from("RANKING: the most regular first\n");
    for site in ranked {
        let _ = writeln!(out, "  {}. {}  ({} points, fewer are better)", site.rank, site.name, site.points);
        for reason in &site.reasons {
            let _ = writeln!(out, "       {reason}");
        }
    }
    out
}

/// Words in lines of the report's width, set in by `indent`.
fn wrapped(out: &mut String, text: &str, indent: usize) {
    let mut used = 0;
    for word in text.split(' ') {
        let long = word.chars().count();
        if used > 0 && indent + used + 1 + long > WIDTH {
            out.push('\n');
            used = 0;
        }
        if used == 0 {
            out.push_str(&" ".repeat(indent));
        } else {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += long;
    }
    out.push('\n');
}

/// A bar of eighths of a character.
fn bar(share: f64, width: usize) -> String {
    let eighths = number::floor((share.clamp(0.0, 1.0) * number::count(width * 8)).round());
    let mut text = "█".repeat(eighths / 8);
    if let Some(part) = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8) {
        text.push_str(part);
    }
    text
}

fn tell(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let known = &site.known;
    writeln!(out, "{}", clean(&site.name))?;
    writeln!(out, "{}", "=".repeat(site.name.chars().count().min(WIDTH)))?;
    for line in &site.warnings {
        wrapped(out, &format!("! {line}"), 0);
    }
    for line in verdict(site) {
        wrapped(out, &line, 0);
    }
    writeln!(out, "\nWHAT WAS KNOWN")?;
    writeln!(out, "  {} to {} ({})", known.first, known.last, known.zone)?;
    writeln!(
        out,
        "  {} rows, {} intervals of {} s, {} of them trusted ({})",
        known.rows,
        known.intervals,
        known.interval_seconds,
        known.trusted,
        percent(number::count(known.trusted) / number::count(known.intervals))
    )?;
    if !known.findings.is_empty() {
        writeln!(out, "\n  NOT TRUSTED     COUNT  FROM              TO")?;
        for found in &known.findings {
            writeln!(out, "  {:<13} {:>7}  {:<16}  {}", found.kind, found.count, found.first, found.last)?;
            wrapped(out, &found.what, 6);
        }
    }
    for assumed in &known.assumed {
        wrapped(out, &format!("Assumed: {assumed}."), 2);
    }
    for unknown in &known.not_known {
        wrapped(out, &format!("Not known: {unknown}."), 2);
    }
    let top = site.largest_watts.max(f64::MIN_POSITIVE);
    writeln!(out, "\nPOWER AT AN INSTANT: exceeded for this share of the time")?;
    for step in
        site.duration.iter().filter(|step| step.percent_of_time % 10 == 0 || step.percent_of_time > 90)
    {
        writeln!(
            out,
            "  {:>3} %  {:>11}  {}",
            step.percent_of_time,
            power(step.watts),
            bar(step.watts / top, 54)
        )?;
    }
    writeln!(
        out,
        "  mean {}, largest {}, without any {} of the time\n  capacity factor {} of {}{}",
        power(site.mean_watts),
        power(site.largest_watts),
        percent(site.share_without),
        percent(site.capacity_factor),
        power(site.capacity_watts),
        if site.capacity_told { "" } else { " (the largest; --capacity says another)" }
    )?;
    if site.floor_watts > 0.0 {
        writeln!(
            out,
            "  a guaranteed load of {} was taken off first; the surplus alone carries it {} of the time",
            power(site.floor_watts),
            percent(site.floor_carried)
        )?;
    }
    halls(out, site)?;
    writeln!(out, "\nMONTHS: mean power, capacity factor, share known")?;
    let most = site.months.iter().map(|month| month.mean_watts).fold(f64::MIN_POSITIVE, f64::max);
    for month in &site.months {
        writeln!(
            out,
            "  {}  {:>11}  {:>7}  {:>7}  {}",
            month.month,
            power(month.mean_watts),
            percent(month.capacity_factor),
            percent(month.known),
            bar(month.mean_watts / most, 36)
        )?;
    }
    writeln!(out, "\nHOURS OF THE DAY: mean (bar), and what 90 % of the days exceed")?;
    let most = site.hours.iter().map(|hour| hour.mean_watts).fold(f64::MIN_POSITIVE, f64::max);
    if site.hours.len() < 2 {
        writeln!(out, "  not known: the intervals are as long as the day")?;
    }
    for hour in site.hours.iter().filter(|_| site.hours.len() > 1) {
        writeln!(
            out,
            "  {:>2} h  {:>11}  {:>11}  {}",
            hour.hour,
            power(hour.mean_watts),
            power(hour.p90_watts),
            bar(hour.mean_watts / most, 45)
        )?;
    }
    writeln!(out, "\nREGULARITY")?;
    for (hours, value) in &site.autocorrelation {
        writeln!(out, "  like {hours:>2} h before: {value:.3} (1 is always, 0 is by chance)")?;
    }
    let days = &site.day_energy;
    match days.days {
        0 => {
            writeln!(out, "  no day is known from midnight to midnight: nothing is said of days")?;
        }
        1 => writeln!(out, "  one day is known from midnight to midnight: {}", energy(days.p50_watt_hours))?,
        n => {
            writeln!(out, "  from day to day energy changes by {} of a mean day", percent(site.day_to_day))?;
            writeln!(out, "  spread of the days' energies: {} of a mean day", percent(site.day_variation))?;
            writeln!(
                out,
                "  days ({n} whole): half exceed {}, 90 % {}, 99 % {}",
                energy(days.p50_watt_hours),
                energy(days.p90_watt_hours),
                energy(days.p99_watt_hours)
            )?;
        }
    }
    writeln!(out, "\nDROUGHTS: the longest window whose mean is below, and the longest run below")?;
    writeln!(out, "  BELOW        LEVEL      WINDOW  UNKNOWN  GAPS HELD       RUN  WINDOW FROM")?;
    for drought in &site.droughts {
        writeln!(
            out,
            "  {:>3.0} %  {:>11}  {:>8} h  {:>5.1} h  {:>7.1} h  {:>6} h  {}",
            drought.share_of_mean * 100.0,
            power(drought.watts),
            format!("{}{:.1}", at_least(drought.window_open), drought.window_hours),
            drought.window_unknown_hours,
            drought.window_held_hours,
            format!("{}{:.1}", at_least(drought.run_open), drought.run_hours),
            drought.window_from
        )?;
    }
    if site.droughts.iter().any(|drought| drought.window_open || drought.run_open) {
        wrapped(out, &format!("{OPEN}."), 2);
    }
    writeln!(
        out,
        "  longest run below a twentieth of the capacity: {:.1} h",
        site.run_below_twentieth_of_capacity_hours
    )?;
    let ramps = &site.ramps;
    writeln!(out, "\nRAMPS, per minute")?;
    writeln!(out, "  99 % of the changes are slower than {}", power(ramps.p99_watts_per_minute))?;
    writeln!(
        out,
        "  fastest rise {} at {}",
        power(ramps.fastest_rise_watts_per_minute),
        ramps.fastest_rise_at
    )?;
    writeln!(
        out,
        "  fastest fall {} at {}",
        power(ramps.fastest_fall_watts_per_minute),
        ramps.fastest_fall_at
    )?;
    year(out, site)?;
    sizes(out, site)
}

fn halls(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let Some(hall) = &site.hall else { return Ok(()) };
    writeln!(out, "\nA HALL OF {} beside miners, which comes before them", power(hall.watts))?;
    writeln!(out, "  CLASS             WORK     FULL   SLOWED  TOO LITTLE   FROM GRID  FOR MINERS")?;
    for class in &hall.classes {
        writeln!(
            out,
            "  {:<13} {:>8} {:>8} {:>8}  {:>10} {:>11} {:>11}",
            class.class,
            percent(class.work_share),
            percent(class.full_share),
            percent(class.slowed_share),
            percent(class.too_little_share),
            power(class.mean_import_watts),
            power(class.mean_left_watts)
        )?;
    }
    wrapped(out, &hall_words(hall), 2);
    Ok(())
}

fn year(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let year = &site.year;
    writeln!(out, "\nENERGY OF A YEAR: not to be mixed up with the power at an instant above")?;
    if year.months < 12 {
        wrapped(
            out,
            &format!(
                "Scaled up from {} of the 12 months of the year: the seasons are not in it.",
                year.months
            ),
            2,
        );
    }
    writeln!(
        out,
        "  exceeded in 50 of 100 years {}, in 90 {}, in 99 {}",
        energy(year.p50_watt_hours),
        energy(year.p90_watt_hours),
        energy(year.p99_watt_hours)
    )?;
    if year.sigma.is_nan() {
        wrapped(
            out,
            &format!(
                "How sure that is is not known: {} blocks of {} days are too few. {} from year to year and {} of measurement are told \
                 (--sigma-years, --sigma-model) and not in the data.",
                year.blocks,
                year.block_days,
                percent(year.sigma_years),
                percent(year.sigma_model)
            ),
            2,
        );
        return Ok(());
    }
    wrapped(
        out,
        &format!(
            "σ {}: {} from the sample (drawn anew in blocks of {} days, {} blocks), {} from year to year and {} of measurement, \
             which are told (--sigma-years, --sigma-model) and not in the data.",
            percent(year.sigma),
            percent(year.sigma_sample),
            year.block_days,
            year.blocks,
            percent(year.sigma_years),
            percent(year.sigma_model)
        ),
        2,
    );
    writeln!(
        out,
        "  9 of 10 draws lie between {} and {}",
        energy(year.interval_low_watt_hours),
        energy(year.interval_high_watt_hours)
    )
}

/// Drawn from the grid, as a share of what was taken; a dash where the model cannot know.
pub(super) fn imported(outcome: &sizing::Outcome) -> String {
    let share = |imported: f64| imported / outcome.taken_watt_hours.max(1e-9);
    outcome.imported_watt_hours.map_or_else(|| String::from("-"), |imported| fine_percent(share(imported)))
}

fn sizes(out: &mut String, site: &Assessment) -> std::fmt::Result {
    let sizing = &site.sizing;
    writeln!(out, "\nFLEETS")?;
    wrapped(out, &format!("By {}.", sizing.model), 2);
    writeln!(out, "     FLEET   MINIMUM    TAKEN  FULL POWER  STARTS  RUNNING  ADDED PEAK  IMPORTED")?;
    for size in &sizing.sizes {
        let outcome = &size.outcome;
        writeln!(
            out,
            "  {:>8}  {:>8}  {:>7}  {:>10}  {:>6}  {:>7}  {:>10}  {:>8}",
            power(size.fleet.watts),
            power(size.fleet.minimum_watts),
            percent(outcome.taken_watt_hours / (outcome.taken_watt_hours + outcome.left_watt_hours)),
            percent(size.full_power_share),
            outcome.starts,
            percent(outcome.running),
            power(outcome.added_peak_watts),
            imported(outcome)
        )?;
    }
    writeln!(out, "\n  Firm, whatever the hash price: {} in 90 % of the hours.", power(sizing.firm_watts))?;
    wrapped(
        out,
        &format!(
            "Economic, at {:.1} J/TH and {:.0} $ a year for a kilowatt of fleet (machines and site):",
            sizing.joules_per_terahash, sizing.cost_per_kilowatt_year
        ),
        2,
    );
    if let Some(why) = &sizing.best_withheld {
        wrapped(out, &format!("Not said: {why}."), 2);
        return Ok(());
    }
    writeln!(out, "  $/PH/DAY  $/MWh   BEST FLEET   EARNS $/YEAR  RUNNING PAYS ABOVE $/PH/DAY")?;
    for best in &sizing.best {
        writeln!(
            out,
            "  {:>8.1}  {:>5.1}  {:>11}  {:>13}  {:>27.1}",
            best.hash_price,
            best.power_price,
            if best.fleet_watts > 0.0 { power(best.fleet_watts) } else { String::from("none pays") },
            dollars(best.earns_per_year),
            best.hash_price_to_run
        )?;
    }
    Ok(())
}
