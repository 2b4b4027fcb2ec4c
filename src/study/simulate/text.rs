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
        "{} {}, {} to {}; seed {}",
        s.miners,
        if s.miners == 1 { "miner" } else { "miners" },
        power(s.least_power_watts),
        power(s.full_power_watts),
        s.seed
    ));
    if let Some(played) = &s.scenario {
        let events = if played.events == 1 { "event" } else { "events" };
        wrap(
            &mut lines,
            &format!(
                "scenario {}, {} {events}, times counted from {}: {}",
                played.name, played.events, played.begins, played.description
            ),
        );
    }
    wrap(
        &mut lines,
        &format!(
            "counted: {:.2} h; not known and not counted: {:.2} h; warm-up: {:.2} h",
            account.known_hours,
            account.unknown_hours + s.gap_hours,
            s.warm_up_hours
        ),
    );
    wrap(
        &mut lines,
        &format!(
            "surplus {}, of which a fleet like this can take {}",
            energy(account.surplus_watt_hours),
            energy(s.bound_watt_hours)
        ),
    );
    if !s.notes.is_empty() {
        lines.push(String::new());
        lines.push("TO KNOW FIRST".into());
        for words in &s.notes {
            wrap(&mut lines, &format!("- {words}"));
        }
    }
    lines.push(String::new());
    lines.push(row("", s, |way| way.name.to_owned()));
    lines.push(row("taken of what can be, %", s, |way| percent(way.captured_share, 1)));
    let scale = Unit::of(s);
    let energy = |watt_hours: f64| scale.text(watt_hours);
    let unit = scale.name();
    lines.push(row(&format!("taken, {unit}"), s, |way| energy(way.account.captured_watt_hours)));
    lines.push(row("a miner runs, h", s, |way| format!("{:.2}", way.account.running_hours)));
    lines.push(row("import added, % of surplus", s, |way| percent(way.import_share, 2)));
    lines.push(row(&format!("import added, {unit}"), s, |way| energy(way.account.added_import_watt_hours)));
    for (position, minutes) in [15, 30, 60].into_iter().enumerate() {
        let netted = |way: &Way| way.account.added_import_netted_watt_hours.get(position).copied();
        lines.push(row(&format!("  netted in {minutes} min, {unit}"), s, |way| {
            energy(netted(way).unwrap_or(0.0))
        }));
    }
    lines.push(row("largest import peak, kW", s, |way| kilo(way.account.added_peak_watts)));
    lines.push(row("commands/miner/hour", s, |way| format!("{:.1}", way.commands_per_miner_hour)));
    lines.push(row("starts/miner/day", s, |way| format!("{:.2}", way.starts_per_miner_day)));
    lines.push(row("sleeps", s, |way| way.account.sleeps.to_string()));
    if s.ways.iter().any(|way| way.earned.is_some()) {
        lines.push(row("earned, $", s, |way| dollars(way.earned)));
    }
    if s.ways.iter().any(|way| way.left_after_power.is_some()) {
        lines.push(row("  after power, $", s, |way| dollars(way.left_after_power)));
    }
    classes(&mut lines, s, scale);
    lines.push(String::new());
    for way in s.ways.iter().skip(1) {
        wrap(&mut lines, &format!("{}: {}", way.name, way.what));
    }
    wrap(&mut lines, &format!("What can be taken: {}.", s.bound));
    wrap(
        &mut lines,
        "Taken: what the miners draw of that while at least one of them computes. What they draw while all sleep is not taken.",
    );
    lines.push(String::new());
    lines.push("WHAT THIS LEAVES OUT".into());
    for words in &s.left_out {
        wrap(&mut lines, &format!("- {words}"));
    }
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// What each class came to, where there are servers.
fn classes(lines: &mut Vec<String>, simulation: &Simulation, unit: Unit) {
    if simulation.classes.is_empty() {
        return;
    }
    lines.push(String::new());
    let drew = format!("drew, {}", unit.name());
    // As wide as the rows below it.
    lines.push(format!("BY CLASS (Ballast)       members{drew:>12}  of full, %  at work, %     work, %"));
    for class in &simulation.classes {
        lines.push(format!(
            "{:<22}{:>10}{:>12}{:>12}{:>12}{:>12}",
            class.class,
            class.members,
            unit.text(class.watt_hours),
            percent(class.of_full_share, 1),
            percent(class.at_work_share, 1),
            percent(class.work_share, 1)
        ));
    }
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

/// The unit of all energies of a table.
#[derive(Clone, Copy)]
enum Unit {
    Kilo,
    Mega,
}

impl Unit {
    /// From here on, in watt-hours, a table is in megawatt-hours.
    const LARGE: f64 = 10e6;

    /// By what the miners drew in the way that drew the most.
    fn of(simulation: &Simulation) -> Self {
        let most = simulation.ways.iter().map(|way| way.account.fleet_watt_hours).fold(0.0, f64::max);
        if most >= Self::LARGE { Self::Mega } else { Self::Kilo }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kilo => "kWh",
            Self::Mega => "MWh",
        }
    }

    fn text(self, watt_hours: f64) -> String {
        match self {
            Self::Kilo => kilo(watt_hours),
            Self::Mega if watt_hours < 100e6 => format!("{:.3}", watt_hours / 1e6),
            Self::Mega => format!("{:.1}", watt_hours / 1e6),
        }
    }
}

/// Thousands, of watts or watt-hours.
fn kilo(value: f64) -> String {
    let value = value / 1e3;
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
