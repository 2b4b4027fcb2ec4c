//! A configuration in words, for the person who installed the site.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::quantity::write_time;
use super::{Config, ExitPolicy};
use crate::control::measure::Measure;
use crate::control::site::{
    Actuator, Cap, CircuitId, Combination, Limit, LoadClass, Meter, MeterId, Miner, Part, Scope, Site,
};
use crate::meter::Transport;
use crate::units::Watts;

/// What would be controlled: the tree of circuits with their meters, limits, margins and miners, and what happens
/// when a meter is lost.
pub fn summary(config: &Config) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_all(&mut text, config);
    text
}

fn write_all(out: &mut String, config: &Config) -> std::fmt::Result {
    let site = &config.site;
    let settings = &site.settings;
    let miners = count(site.miners.len(), "miner");
    if site.miners.is_empty() && site.meters.is_empty() {
        writeln!(out, "{}: has no meters and no miners; there is nothing to watch yet.", site.name)?;
    } else if site.miners.is_empty() {
        writeln!(out, "{}: has no miners; its meters are read, and nothing is commanded.", site.name)?;
    } else if settings.observe {
        writeln!(out, "{}: watches {miners} and commands none of them (mode = \"observe\").", site.name)?;
    } else {
        writeln!(out, "{}: controls {miners}.", site.name)?;
    }
    writeln!(
        out,
        "\nDecides every {}. Lowers at once; raises by at most {}; lets in at most {} % of what the miners draw.",
        write_time(settings.period),
        settings.raise_rate,
        number(settings.import_share * 100.0)
    )?;
    let servers = site.miners.iter().any(|member| member.class != LoadClass::Miner);
    let end = match config.exit {
        ExitPolicy::Sleep if servers => {
            "puts every miner to sleep, pauses servers that have a hook, and lowers the others as far as was agreed; with on_exit = \"hold\" \
             their work goes on as it is"
        }
        ExitPolicy::Sleep => "puts every miner to sleep",
        ExitPolicy::Hold => "leaves every miner as it is",
        ExitPolicy::Restore => "gives every miner its highest power that its limits leave room for",
    };
    if !settings.observe {
        writeln!(out, "When it is stopped it {end}.")?;
    }
    writeln!(out, "Metrics and health: http://{}/", config.web.listen)?;
    if let Some(mqtt) = &config.mqtt {
        let scheme = if mqtt.tls.is_some() { "mqtts" } else { "mqtt" };
        write!(out, "MQTT: state to {scheme}://{}:{} at {}", mqtt.host, mqtt.port, mqtt.prefix)?;
        match &mqtt.orders {
            Some(orders) => writeln!(out, "; orders of {} come from there.", orders.source)?,
            None => writeln!(out, "; no orders come from there.")?,
        }
    }

    writeln!(out, "\nCircuits")?;
    let tree = Tree::new(site);
    tree.write(out, config, CircuitId(0), "", "")?;

    writeln!(out, "\nMiners")?;
    kinds(out, config)?;
    lost_caps(out, config)?;
    charges(out, config)?;
    super::summary_orders::protection(out, config)?;
    super::summary_orders::orders(out, config)
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Sums of the miners on a circuit and below.
#[derive(Clone, Copy, Default)]
struct Sum {
    miners: usize,
    minimum: Watts,
    maximum: Watts,
    nameplate: Watts,
    sleep: Watts,
}

struct Tree<'s> {
    site: &'s Site,
    children: Vec<Vec<CircuitId>>,
    sums: Vec<Sum>,
    limits: Vec<Vec<&'s Limit>>,
}

impl<'s> Tree<'s> {
    fn new(site: &'s Site) -> Self {
        let circuits = site.circuits.len();
        let mut tree = Self {
            site,
            children: vec![Vec::new(); circuits],
            sums: vec![Sum::default(); circuits],
            limits: vec![Vec::new(); circuits],
        };
        for limit in &site.limits {
            if let Some(limits) = tree.limits.get_mut(limit.circuit.0) {
                limits.push(limit);
            }
        }
        for miner in &site.miners {
            if let Some(sum) = tree.sums.get_mut(miner.circuit.0) {
                sum.miners += 1;
                sum.minimum += miner.contract.unwrap_or_default().max(miner.minimum());
                sum.maximum += miner.maximum();
                sum.nameplate += miner.nameplate;
                sum.sleep += miner.least();
            }
        }
        // Parents come first: from the end, every circuit is complete before it is added to its parent.
        for (at, circuit) in site.circuits.iter().enumerate().rev() {
            let Some(CircuitId(parent)) = circuit.parent else {
                continue;
            };
            let sum = tree.sums.get(at).copied().unwrap_or_default();
            if let Some(above) = tree.sums.get_mut(parent) {
                above.miners += sum.miners;
                above.minimum += sum.minimum;
                above.maximum += sum.maximum;
                above.nameplate += sum.nameplate;
                above.sleep += sum.sleep;
            }
            if let Some(children) = tree.children.get_mut(parent) {
                children.insert(0, CircuitId(at));
            }
        }
        tree
    }

    /// Writes a circuit and all below it. `first` stands before its name, `rest` before its other lines.
    fn write(
        &self,
        out: &mut String,
        config: &Config,
        id: CircuitId,
        first: &str,
        rest: &str,
    ) -> std::fmt::Result {
        let Some(circuit) = self.site.circuits.get(id.0) else {
            return Ok(());
        };
        let none = Vec::new();
        let children = self.children.get(id.0).unwrap_or(&none);
        let bar = if children.is_empty() { "    " } else { "│   " };
        writeln!(out, "{first}{}", circuit.name)?;
        let mut line = |label: &str, text: String| writeln!(out, "{rest}{bar}{label:<8} {text}");

        match circuit.meter.and_then(|meter| Some((meter, self.site.meters.get(meter.0)?))) {
            Some((id, meter)) => {
                for (at, text) in where_read(config, id).into_iter().enumerate() {
                    line(if at == 0 { "meter" } else { "" }, text)?;
                }
                if circuit.dedicated {
                    line("", String::from("sees miners alone"))?;
                }
                line("", lost(meter, circuit.fail_safe))?;
            }
            None => line("meter", String::from("none: counted by what its miners say"))?,
        }
        if circuit.other_load > Watts::ZERO {
            line(
                "load",
                format!("up to {} besides miners, counted in full where no meter tells", circuit.other_load),
            )?;
        }
        for limit in self.limits.get(id.0).into_iter().flatten() {
            line("limit", self.limit(limit))?;
        }
        if circuit.margin > Watts::ZERO {
            line(
                "margin",
                format!("{} kept free; below limits of class surplus only at first", circuit.margin),
            )?;
        }
        let sum = self.sums.get(id.0).copied().unwrap_or_default();
        let miners = if sum.miners == 0 {
            String::from("none")
        } else {
            format!(
                "{}: {} all asleep, {} all at their lowest, {} all at their highest; nameplate {}",
                sum.miners, sum.sleep, sum.minimum, sum.maximum, sum.nameplate
            )
        };
        line("miners", miners)?;

        for (at, child) in children.iter().enumerate() {
            let last = at + 1 == children.len();
            let (branch, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            self.write(out, config, *child, &format!("{rest}{branch}"), &format!("{rest}{below}"))?;
        }
        Ok(())
    }

    fn limit(&self, limit: &Limit) -> String {
        let what = match limit.scope {
            Scope::Import => "import",
            Scope::Miners => "its miners",
        };
        let cap = match limit.cap {
            Cap::Constant(cap) if limit.scope == Scope::Import && cap < Watts::ZERO => {
                let when = self.condition(limit);
                return format!("{} ({}): export at least {}{when}", limit.name, limit.class.name(), -cap);
            }
            Cap::Constant(cap) => format!("at most {cap}"),
            Cap::Reading { meter, .. } => {
                let name = self.site.meters.get(meter.0).map_or("", |meter| meter.name.as_str());
                format!("at most what meter {name} shows")
            }
        };
        format!("{} ({}): {what} {cap}{}", limit.name, limit.class.name(), self.condition(limit))
    }

    /// When a limit acts, in words that go on after it; empty for always.
    fn condition(&self, limit: &Limit) -> String {
        let Some(condition) = limit.condition else { return String::new() };
        let meter = self.site.meters.get(condition.meter.0).map_or("", |meter| meter.name.as_str());
        let percent = |share: f64| format!("{} %", (share * 1e6).round() / 1e4);
        format!(
            ", while {meter} is charged below {}, until it is above {}; also while that is not known",
            percent(condition.below),
            percent(condition.until)
        )
    }
}

/// Where a meter's power comes from, in lines: its own, then those of its parts.
fn where_read(config: &Config, id: MeterId) -> Vec<String> {
    let mut lines = Vec::new();
    describe(config, id, 0, &mut lines);
    lines
}

/// Deeper nesting is not written out.
const SHOWN_LEVELS: usize = 4;

fn describe(config: &Config, id: MeterId, level: usize, lines: &mut Vec<String>) {
    let Some(meter) = config.site.meters.get(id.0) else { return };
    let indent = "  ".repeat(level);
    let Some(combination) = &meter.combined else {
        if let Some(connection) = config.meters.get(id.0) {
            lines.push(format!("{indent}{}", device(config, meter, connection)));
        }
        return;
    };
    let name = |part: &Part| {
        let meter = config.site.meters.get(part.meter.0).map_or("", |meter| meter.name.as_str());
        if part.measure == Measure::Power {
            meter.to_owned()
        } else {
            format!("{meter}.{}", part.measure.name())
        }
    };
    lines.push(match combination {
        Combination::Sum(terms) => {
            let mut words = String::new();
            for term in terms {
                words.push_str(match (words.is_empty(), term.negative) {
                    (true, false) => "",
                    (true, true) => "-",
                    (false, false) => " + ",
                    (false, true) => " - ",
                });
                words.push_str(&name(&term.part));
            }
            format!("{indent}{}: the sum {words}, lost with any of them", meter.name)
        }
        Combination::Redundant(redundant) => {
            let names: Vec<String> = redundant.parts.iter().map(name).collect();
            format!(
                "{indent}{}: {}; the worse value while they differ by more than {} for {}",
                meter.name,
                names.join(", else "),
                redundant.disagreement,
                write_time(redundant.disagreement_for)
            )
        }
    });
    let mut told: Vec<MeterId> = Vec::new();
    for part in combination.parts() {
        if level < SHOWN_LEVELS && !told.contains(&part.meter) {
            told.push(part.meter);
            describe(config, part.meter, level + 1, lines);
        }
    }
}

fn device(config: &Config, meter: &Meter, connection: &crate::meter::Connection) -> String {
    let link = config.links.get(connection.link.0);
    let place = link.map_or_else(String::new, |link| match &link.transport {
        Transport::Tcp(endpoint) => format!("{} at {endpoint}", link.name),
        Transport::RtuOverTcp(endpoint, _) => format!("{} at {endpoint} (RTU over TCP)", link.name),
        Transport::Rtu(path, line) => format!("{} at {path} ({line})", link.name),
    });
    let invert = if connection.invert { ", sign turned" } else { "" };
    format!(
        "{}: {} on {place}, unit {}{invert}, read every {}",
        meter.name,
        connection.profile.name,
        connection.unit,
        write_time(meter.period)
    )
}

fn lost(meter: &Meter, fail_safe: Watts) -> String {
    let most = if fail_safe > Watts::ZERO {
        format!("at most {fail_safe}")
    } else {
        String::from("nothing but their sleep")
    };
    format!(
        "if it is lost: holds for {}, then lowers; from {} on the miners get {most}",
        write_time(meter.stale_after),
        write_time(meter.fail_safe_after)
    )
}

/// Miners that are alike, once each.
fn kinds(out: &mut String, config: &Config) -> std::fmt::Result {
    let site = &config.site;
    if site.miners.is_empty() {
        writeln!(out, "    none")?;
    }
    let mut kinds: BTreeMap<(usize, &str, String), (usize, usize)> = BTreeMap::new();
    for (miner, connection) in site.miners.iter().zip(&config.miners) {
        let entry = kinds.entry((miner.circuit.0, miner.driver, range(miner))).or_default();
        entry.0 += 1;
        let wants_one = connection.driver.needs_password()
            && connection.driver != crate::miner::DriverKind::CgminerReadOnly;
        entry.1 += usize::from(connection.credentials.is_none() && wants_one);
    }
    for ((circuit, driver, range), (miners, watched)) in kinds {
        let circuit = site.circuits.get(circuit).map_or("", |circuit| circuit.name.as_str());
        write!(out, "    {miners} × {driver} on {circuit}: {range}")?;
        if watched > 0 && !site.settings.observe {
            write!(out, "; {watched} without a password, watched only")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn range(miner: &Miner) -> String {
    let (low, high) = (miner.minimum(), miner.maximum());
    let fineness = match miner.actuator {
        Actuator::Continuous { quantum } => format!("{low} to {high} in steps of {quantum}"),
        Actuator::Steps => format!("{low} to {high} in {}", count(miner.points.len(), "step")),
        Actuator::Fixed => format!("read only: it counts as a load of up to {}", miner.nameplate),
        Actuator::OnOff => format!("on ({high}) or asleep"),
    };
    let contract = miner.contract.map_or_else(String::new, |contract| format!(", keeps {contract}"));
    let class = match miner.class {
        LoadClass::Miner => String::new(),
        class if miner.sleeps => format!("; {}{contract}, paused by its tenant's hook", class.name()),
        class => format!("; {}{contract}", class.name()),
    };
    format!("{fineness}, nameplate {}{class}", miner.nameplate)
}

/// What happens when a meter is lost whose value is a cap.
fn lost_caps(out: &mut String, config: &Config) -> std::fmt::Result {
    let site = &config.site;
    let mut first = true;
    for limit in &site.limits {
        let Cap::Reading { meter, fail_safe } = limit.cap else {
            continue;
        };
        let (id, Some(meter)) = (meter, site.meters.get(meter.0)) else {
            continue;
        };
        if std::mem::take(&mut first) {
            writeln!(out, "\nCaps that are read")?;
        }
        for line in where_read(config, id) {
            writeln!(out, "    {line}")?;
        }
        writeln!(
            out,
            "        if it is lost: limit {} holds for {}, then falls; from {} on it is {fail_safe}",
            limit.name,
            write_time(meter.stale_after),
            write_time(meter.fail_safe_after)
        )?;
    }
    Ok(())
}

/// Where the charges are read that let limits rest.
fn charges(out: &mut String, config: &Config) -> std::fmt::Result {
    let mut meters: Vec<MeterId> = Vec::new();
    for condition in config.site.limits.iter().filter_map(|limit| limit.condition) {
        if !meters.contains(&condition.meter) {
            meters.push(condition.meter);
        }
    }
    if !meters.is_empty() {
        writeln!(out, "\nCharges that are read")?;
    }
    for meter in meters {
        for line in where_read(config, meter) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

/// A small number without useless digits.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
