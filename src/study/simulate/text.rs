//! The report of a simulation in characters, 80 columns wide.

use super::{Simulation, Way};

/// The widest line.
const WIDTH: usize = 80;

/// The report.
pub fn report(simulation: &Simulation) -> String {
    let s = simulation;
    let mut lines = vec![
        format!("SIMULATION · {} · {}", s.site, s.trace),
        format!("{} to {} ({}), every {} s", s.first, s.last, s.zone, s.interval_seconds),
    ];
    let account = s.ways.first().map(|way| way.account).unwrap_or_default();
    lines.push(format!(
        "{} miners, {} to {}; seed {}",
        s.miners,
        power(s.least_power_watts),
        power(s.full_power_watts),
        s.seed
    ));
    lines.push(format!(
        "counted: {:.1} h; not known and not counted: {:.1} h; warm-up: {:.1} h",
        account.known_hours, account.unknown_hours, s.warm_up_hours
    ));
    lines.push(format!(
        "surplus {}, of which a fleet like this can take {}",
        energy(account.surplus_watt_hours),
        energy(s.bound_watt_hours)
    ));
    lines.push(String::new());
    lines.push(row("", s, |way| way.name.to_owned()));
    lines.push(row("taken of what can be, %", s, |way| percent(way.captured_share, 1)));
    lines.push(row("taken, MWh", s, |way| mega(way.account.captured_watt_hours)));
    lines.push(row("import added, % of surplus", s, |way| percent(way.import_share, 2)));
    lines.push(row("import added, kWh", s, |way| kilo(way.account.added_import_watt_hours)));
    for (position, minutes) in [15, 30, 60].into_iter().enumerate() {
        let netted = |way: &Way| way.account.added_import_netted_watt_hours.get(position).copied();
        lines
            .push(row(&format!("  netted in {minutes} min, kWh"), s, |way| kilo(netted(way).unwrap_or(0.0))));
    }
    lines.push(row("highest second, kW", s, |way| kilo(way.account.added_peak_watts)));
    lines.push(row("commands/miner/hour", s, |way| format!("{:.1}", way.commands_per_miner_hour)));
    lines.push(row("starts/miner/day", s, |way| format!("{:.2}", way.starts_per_miner_day)));
    lines.push(row("sleeps", s, |way| way.account.sleeps.to_string()));
    if s.ways.iter().any(|way| way.earned.is_some()) {
        lines.push(row("earned, $", s, |way| dollars(way.earned)));
    }
    if s.ways.iter().any(|way| way.left_after_power.is_some()) {
        lines.push(row("  after power, $", s, |way| dollars(way.left_after_power)));
    }
    lines.push(String::new());
    for way in s.ways.iter().skip(1) {
        wrap(&mut lines, &format!("{}: {}", way.name, way.what));
    }
    wrap(&mut lines, &format!("What can be taken: {}.", s.bound));
    lines.push(String::new());
    lines.push("WHAT THIS LEAVES OUT".into());
    for words in &s.left_out {
        wrap(&mut lines, &format!("- {words}"));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn row(name: &str, simulation: &Simulation, value: impl Fn(&Way) -> String) -> String {
    let mut line = format!("{name:<28}");
    for way in &simulation.ways {
        line.push_str(&format!("{:>12}", value(way)));
    }
    line
}

/// Breaks a paragraph into lines; what goes on is set in.
fn wrap(lines: &mut Vec<String>, words: &str) {
    let mut line = String::new();
    for word in words.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, String::from("  ")));
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
}

fn percent(share: Option<f64>, digits: usize) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.digits$}", share * 100.0))
}

fn mega(watt_hours: f64) -> String {
    let value = watt_hours / 1e6;
    if value < 10.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}

fn kilo(watt_hours: f64) -> String {
    let value = watt_hours / 1e3;
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn dollars(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}

fn power(watts: f64) -> String {
    crate::units::Watts::saturating(watts).to_string()
}

fn energy(watt_hours: f64) -> String {
    crate::units::Joules::saturating(watt_hours * 3600.0).to_string()
}
