//! `ballast status`: one screen that says how the site stands, and why. And one line for programs that watch it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;

use serde_json::{Value, json};

use super::Failure;
use super::moment::day_time;
use super::orders::{Daemon, DaemonCallError, Reach, at, flow, text, watts};
use super::table::{Align, Table};
use crate::line::clean;

/// A last cycle that is older than this, in seconds, is no news of how the site stands: the longest cycle is a minute.
const OLD: f64 = 180.0;
/// Alarms and meters of which one line each is told.
const SOME: usize = 8;

/// What `ballast status` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 if the fleet follows the surplus, stands under a limit or is only observed; 2 in fail-safe; 3 at \
                  the start, before anything is known; 1 if no daemon answers; 78 for a wrong configuration.\n\n\
                  With --check, as monitoring plugins have it: 0 OK; 1 WARNING, with a warning that nobody has acknowledged, or \
                  at the start; 2 CRITICAL, in fail-safe, with a critical alarm that nobody has acknowledged, or with a last \
                  cycle of more than three minutes ago; 3 UNKNOWN, if no daemon answers."
)]
pub struct Args {
    /// One line and an exit code for programs that watch, with figures behind a bar
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Shows how the site stands. Returns the exit code.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<u8, Failure> {
    let seen = match look(&args.reach).await {
        Err(failure) if args.check => {
            super::answer(&format!("BALLAST UNKNOWN - {}\n", failure.to_string().replace(['\n', '|'], " ")))?;
            return Ok(3);
        }
        seen => seen?,
    };
    if args.check {
        let (code, line) = seen.checked();
        super::answer(&line)?;
        return Ok(code);
    }
    if args.json {
        super::answer(&super::json(&json!({
            "status": seen.status, "alarms": seen.alarms, "maintenance": at(&seen.works, "/maintenance"),
        }))?)?;
    } else {
        super::answer_as_it_is(&painted(&seen.screen(super::width()), colours()))?;
    }
    Ok(seen.code())
}

async fn look(reach: &Reach) -> Result<Seen, Failure> {
    let daemon = Daemon::reach_to_read(reach)?;
    let status = daemon.get(&["status"]).await?;
    let alarms = match daemon.get(&["alarms"]).await {
        Ok(mut answer) => {
            if let Some(all) = answer.get_mut("alarms").and_then(Value::as_array_mut) {
                all.retain(|alarm| alarm["cleared"].is_null());
            }
            at(&answer, "/alarms").clone()
        }
        // Nobody looks for any there.
        Err(Failure::Call(DaemonCallError::Refused { code: 404, .. })) => Value::Null,
        Err(failure) => return Err(failure),
    };
    let works = works(&daemon).await?;
    Ok(Seen { status, alarms, works })
}

/// What is worked on; null where nobody keeps it.
pub(super) async fn works(daemon: &Daemon) -> Result<Value, Failure> {
    match daemon.get(&["maintenance"]).await {
        Err(Failure::Call(DaemonCallError::Refused { code: 404, .. })) => Ok(Value::Null),
        answer => answer,
    }
}

/// Whether standard output takes colours.
pub(super) fn colours() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() && !dumb
}

/// How a line looks. It says the same without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Held,
    Bad,
}

/// Lines with their colours, which have no width.
fn painted(lines: &[(Tone, String)], colours: bool) -> String {
    let mut out = String::new();
    for (tone, line) in lines {
        let code = match tone {
            _ if !colours => "",
            Tone::Plain => "",
            Tone::Good => "\u{1b}[1;32m",
            Tone::Held => "\u{1b}[1;33m",
            Tone::Bad => "\u{1b}[1;31m",
        };
        let end = if code.is_empty() { "" } else { "\u{1b}[0m" };
        for part in line.lines() {
            let _ = writeln!(out, "{code}{part}{end}");
        }
        if line.is_empty() {
            out.push('\n');
        }
    }
    out
}

/// What the daemon says.
struct Seen {
    status: Value,
    /// Those that are raised; null where nobody looks for any.
    alarms: Value,
    /// What is worked on; null where nobody keeps it.
    works: Value,
}

impl Seen {
    /// The state of the controller; in observe mode the one that it would have.
    fn state(&self) -> &str {
        let place = if matches!(at(&self.status, "/mode").as_str(), Some("observe" | "stand-by")) {
            "/would_be"
        } else {
            "/mode"
        };
        at(&self.status, place).as_str().unwrap_or("")
    }

    fn code(&self) -> u8 {
        match self.state() {
            "following" | "limited" => 0,
            "fail-safe" => 2,
            _ => 3,
        }
    }

    fn alarms(&self) -> &[Value] {
        self.alarms.as_array().map_or(&[], Vec::as_slice)
    }

    /// Raised alarms of a severity that nobody knows of yet.
    fn unknown(&self, severity: &str) -> Option<&Value> {
        let new = |alarm: &&Value| {
            alarm["severity"] == severity && alarm["acknowledged"].is_null() && alarm["quiet"] != true
        };
        self.alarms().iter().find(new)
    }

    /// One line, and the exit code of a monitoring plugin.
    fn checked(&self) -> (u8, String) {
        let cycle = at(&self.status, "/cycle");
        let binding = text(at(cycle, "/binding/words"));
        let age = cycle["age_seconds"].as_f64();
        let (code, what) = if self.state() == "fail-safe" {
            (2, format!("fail-safe: {binding}"))
        } else if age.is_some_and(|age| age > OLD) {
            (2, format!("the last cycle was {:.0} s ago", age.unwrap_or(0.0)))
        } else if let Some(alarm) = self.unknown("critical") {
            (2, text(&alarm["words"]))
        } else if let Some(alarm) = self.unknown("warning") {
            (1, text(&alarm["words"]))
        } else if self.state() == "start-up" {
            (1, String::from("starting up"))
        } else if cycle.is_null() {
            (0, format!("{}: the configuration was read again", self.state()))
        } else {
            (0, format!("{}: {binding}", self.state()))
        };
        let word = ["OK", "WARNING", "CRITICAL"].get(usize::from(code)).unwrap_or(&"UNKNOWN");
        // A bar would be taken for the beginning of the figures.
        let what = clean(&what).replace('|', "/");
        let mut figures = String::new();
        for (name, place) in [
            ("surplus", "/fleet/surplus_watts"),
            ("budget", "/fleet/budget_watts"),
            ("fleet", "/fleet/power_watts"),
            ("import", "/circuits/0/power_watts"),
        ] {
            if let Some(watts) = at(cycle, place).as_f64() {
                let _ = write!(figures, " {name}={watts:.0}W");
            }
        }
        let _ = write!(figures, " alarms={}", self.alarms().len());
        (code, format!("BALLAST {word} - {what} |{figures}\n"))
    }

    /// All of it, line by line.
    fn screen(&self, width: Option<usize>) -> Vec<(Tone, String)> {
        let (status, cycle) = (&self.status, at(&self.status, "/cycle"));
        let mode = text(&status["mode"]);
        let tone = match self.state() {
            "following" => Tone::Good,
            "limited" => Tone::Held,
            _ => Tone::Bad,
        };
        let fit = |words: String| super::fit(&clean(&words), width);
        let would = match matches!(&*mode, "observe" | "stand-by") {
            true => format!(" (it would be {})", self.state()),
            false => String::new(),
        };
        let mut lines = vec![(tone, fit(format!("{}: {mode}{would}", text(&status["site"]))))];
        if cycle.is_null() {
            lines.push((Tone::Plain, fit(text(&status["summary"]))));
            return lines;
        }
        let mut plain = |words: String| lines.push((Tone::Plain, words));
        plain(fit(text(at(cycle, "/binding/words"))));
        if let Some(age) = cycle["age_seconds"].as_f64().filter(|age| *age > 10.0) {
            plain(fit(format!("The last cycle was {age:.0} s ago.")));
        }
        plain(String::new());
        let fleet = at(cycle, "/fleet");
        let hashes = fleet["hashrate_hashes_per_second"].as_f64().unwrap_or(0.0);
        plain(fit(format!(
            "surplus {}   budget {}   fleet {}   {}   {:.1} PH/s",
            watts(&fleet["surplus_watts"]),
            watts(&fleet["budget_watts"]),
            watts(&fleet["power_watts"]),
            flow(at(cycle, "/circuits/0/power_watts")),
            hashes / 1e15,
        )));
        plain(fit(counted(at(cycle, "/miners_by_state"))));
        if let Some(late) = cycle["late_miners"].as_u64().filter(|late| *late > 0) {
            let answer = if late == 1 { "does" } else { "do" };
            plain(fit(format!(
                "{late} of them {answer} not answer for now, and count as before until silent for long enough"
            )));
        }
        let works = super::maintenance::sentences(&self.works);
        works.iter().take(SOME).for_each(|work| plain(fit(work.clone())));
        if works.len() > SOME {
            plain(format!("and {} more: ballast maintenance", works.len() - SOME));
        }
        if let Some(why) = fleet["left_why"].as_str() {
            plain(fit(format!("{} unused: {why}", watts(&fleet["left_watts"]))));
        }
        let over = at(fleet, "/over_budget");
        if !over.is_null() {
            let most = if over["at_most"] == true { "up to " } else { "" };
            let (much, whose) = (watts(&over["watts"]), text(&over["circuit"]));
            plain(fit(format!(
                "{most}{much} over what the miners of {whose} may draw, once all have followed"
            )));
        }
        if let Some(words) = at(fleet, "/waiting/words").as_str() {
            plain(fit(format!("next: {} {words}", text(at(fleet, "/waiting/miner")))));
        }
        plain(String::new());
        plain(circuits(at(cycle, "/circuits"), width));
        if let Some(classes) = classes(at(cycle, "/classes"), width) {
            plain(classes);
        }
        plain(meters(at(cycle, "/meters"), width));
        if let Some(sources) = signals(at(status, "/signals/sources"), width) {
            plain(sources);
        }
        let acting = acting(at(status, "/signals/sources"));
        if acting.is_empty() {
            plain(String::from("no orders act"));
        }
        acting.into_iter().for_each(|order| plain(fit(order)));
        self.alarm_lines(&fit, &mut lines);
        lines
    }

    fn alarm_lines(&self, fit: &impl Fn(String) -> String, lines: &mut Vec<(Tone, String)>) {
        if self.alarms.is_null() {
            return;
        }
        let alarms = self.alarms();
        if alarms.is_empty() {
            lines.push((Tone::Plain, String::from("no alarms")));
        }
        for alarm in alarms.iter().take(SOME) {
            let known = at(alarm, "/acknowledged/by").as_str();
            let known = known.map_or_else(String::new, |by| format!(" (known to {by})"));
            let (severity, words) = (text(&alarm["severity"]), text(&alarm["words"]));
            let tone = if severity == "critical" { Tone::Bad } else { Tone::Plain };
            lines.push((tone, fit(format!("alarm, {severity}: {words}{known}"))));
        }
        if alarms.len() > SOME {
            let more = alarms.len() - SOME;
            lines.push((Tone::Plain, format!("and {more} more alarms: ballast alarms")));
        }
    }
}

/// How many miners there are, and in which states.
pub(super) fn counted(states: &Value) -> String {
    let empty = serde_json::Map::new();
    let states = states.as_object().unwrap_or(&empty);
    let mut counts: Vec<(u64, &str)> =
        states.iter().filter_map(|(name, count)| Some((count.as_u64()?, name.as_str()))).collect();
    counts.retain(|(count, _)| *count > 0);
    counts.sort_by_key(|(count, name)| (std::cmp::Reverse(*count), *name));
    let all: u64 = counts.iter().map(|(count, _)| *count).sum();
    let each: Vec<String> = counts.iter().map(|(count, name)| format!("{count} {name}")).collect();
    match all {
        0 => String::from("no miners"),
        1 => format!("1 miner: {}", each.join(", ")),
        _ => format!("{all} miners: {}", each.join(", ")),
    }
}

/// The classes of the members; none where all of them are miners.
fn with_servers(classes: &Value) -> &[Value] {
    let all = classes.as_array().map_or(&[][..], Vec::as_slice);
    if all.iter().any(|class| class["class"] != "miner") { all } else { &[] }
}

/// What each class draws and could still give up; `None` where there are miners alone.
fn classes(classes: &Value, width: Option<usize>) -> Option<String> {
    let mut table = Table::new(&[
        ("CLASS", Align::Left),
        ("MEMBERS", Align::Right),
        ("DRAWS", Align::Right),
        ("EXPECTED", Align::Right),
        ("CAN GIVE", Align::Right),
        ("PAUSED", Align::Right),
    ]);
    let count = |value: &Value| value.as_u64().map_or_else(|| String::from("–"), |count| count.to_string());
    for class in with_servers(classes) {
        table.row(vec![
            text(&class["class"]),
            count(&class["members"]),
            watts(&class["power_watts"]),
            watts(&class["setpoint_watts"]),
            watts(&class["sheddable_watts"]),
            count(&class["paused"]),
        ]);
    }
    (!table.is_empty()).then(|| table.wrapped(width) + "\n")
}

/// The same in a line: `miner 24 kW (24 kW to give), throttle 18 kW (6 kW to give)`.
pub(super) fn classes_in_a_line(classes: &Value) -> Option<String> {
    let one = |class: &Value| {
        let paused = match class["paused"].as_u64() {
            None | Some(0) => String::new(),
            Some(count) => format!(", {count} paused"),
        };
        let gives = watts(&class["sheddable_watts"]);
        format!("{} {} ({gives} to give{paused})", text(&class["class"]), watts(&class["power_watts"]))
    };
    let each: Vec<String> = with_servers(classes).iter().map(one).collect();
    (!each.is_empty()).then(|| each.join(", "))
}

/// The circuits in the order of their tree, each with how deep it stands.
pub(super) fn tree(circuits: &Value) -> Vec<(usize, &Value)> {
    let all = circuits.as_array().map_or(&[][..], Vec::as_slice);
    let mut below: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for circuit in all.iter().rev() {
        below.entry(circuit["parent"].as_str().unwrap_or("")).or_default().push(circuit);
    }
    let mut waiting: Vec<(usize, &Value)> =
        below.remove("").unwrap_or_default().into_iter().map(|root| (0, root)).collect();
    let mut ordered = Vec::with_capacity(all.len());
    while let Some((depth, circuit)) = waiting.pop() {
        ordered.push((depth, circuit));
        let its = below.remove(circuit["name"].as_str().unwrap_or("")).unwrap_or_default();
        waiting.extend(its.into_iter().map(|circuit| (depth + 1, circuit)));
    }
    ordered
}

/// What holds a circuit: nothing where its miners may draw all that they can, in words where that is its own cap, else by the name of
/// the circuit above it whose cap counts.
pub(super) fn held(circuit: &Value) -> String {
    let cap = at(circuit, "/cap");
    let free = match (circuit["budget_watts"].as_f64(), circuit["nameplate_watts"].as_f64()) {
        (Some(may), Some(full)) => full > 0.0 && may >= full * 0.999,
        _ => false,
    };
    let mut words = match cap["circuit"].as_str().filter(|name| circuit["name"] != *name) {
        Some(above) if !cap["cap_watts"].is_null() => format!("as {above}"),
        None if free => "nothing".into(),
        _ => text(&cap["words"]),
    };
    match circuit["breaker"].as_str() {
        Some("closed") | None => {}
        Some(breaker) => words.push_str(&format!("; its breaker is {breaker}")),
    }
    // What its cap says already is not told twice; that of another circuit is.
    let told = |what: &str| cap["source"] == format!("{what}:{}", text(&circuit["name"]));
    match circuit["emergency_stop"].as_str() {
        Some("ready") | None => {}
        Some(_) if told("emergency-stop") => {}
        Some(stop) => words.push_str(&format!("; emergency stop ({})", super::stops::words(stop))),
    }
    if circuit["interlock"] == false && !told("interlock") {
        let lock = at(circuit, "/interlock_meter");
        let reads = match lock["power_watts"].is_null() {
            true => String::from("has no fresh value"),
            false => format!("reads {}", watts(&lock["power_watts"])),
        };
        words.push_str("; its interlock does not hold");
        if let Some(meter) = lock["meter"].as_str() {
            words.push_str(&format!(": {meter} {reads}, {} are needed", watts(&lock["at_least_watts"])));
        }
    }
    words
}

fn circuits(circuits: &Value, width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("CIRCUIT", Align::Left),
        ("POWER", Align::Right),
        ("MINERS", Align::Right),
        ("BUDGET", Align::Right),
        ("HELD BY", Align::Left),
    ]);
    for (depth, circuit) in tree(circuits) {
        table.row(vec![
            format!("{}{}", "  ".repeat(depth), text(&circuit["name"])),
            watts(&circuit["power_watts"]),
            watts(&circuit["miners_watts"]),
            watts(&circuit["budget_watts"]),
            held(circuit),
        ]);
    }
    table.wrapped(width) + "\n"
}

/// How old something is, in short.
fn age(value: &Value) -> String {
    match value.as_f64() {
        None => String::from("never"),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.1} s"),
        Some(seconds) => format!("{:.0} min", seconds / 60.0),
    }
}

fn meters(meters: &Value, width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("METER", Align::Left),
        ("POWER", Align::Right),
        ("AGE", Align::Right),
        ("STATE", Align::Left),
    ]);
    for meter in meters.as_array().map_or(&[][..], Vec::as_slice) {
        let mut state = text(&meter["status"]);
        if meter["up"] == false {
            state.push_str(", cannot be relied on");
        }
        if meter["disagreement"] == true {
            state.push_str(", its parts disagree");
        }
        table.row(vec![
            text(&meter["name"]),
            meter["contact"].as_str().map_or_else(|| watts(&meter["power_watts"]), str::to_owned),
            age(&meter["age_seconds"]),
            state,
        ]);
    }
    table.wrapped(width) + "\n"
}

/// The sources of orders other than the operator; `None` without any.
fn signals(sources: &Value, width: Option<usize>) -> Option<String> {
    let mut table = Table::new(&[("SOURCE", Align::Left), ("HEARD", Align::Right), ("STATE", Align::Left)]);
    let all = sources.as_array().map_or(&[][..], Vec::as_slice);
    for source in all.iter().filter(|source| source["name"] != crate::signal::OPERATOR) {
        let mut state = text(&source["state"]);
        for trouble in source["trouble"].as_array().map_or(&[][..], Vec::as_slice) {
            state.push_str(&format!("; {}", text(trouble)));
        }
        if let Some(by) = source["lifted_by"].as_str() {
            state.push_str(&format!("; its caps are lifted by {by}"));
        }
        let heard = match source["age_seconds"].is_null() {
            true => String::from("–"),
            false => age(&source["age_seconds"]),
        };
        table.row(vec![text(&source["name"]), heard, state]);
    }
    (!table.is_empty()).then(|| table.wrapped(width) + "\n")
}

/// The caps that sources set now, a line each.
pub(super) fn acting(sources: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for source in sources.as_array().map_or(&[][..], Vec::as_slice) {
        for cap in source["caps"].as_array().map_or(&[][..], Vec::as_slice) {
            let what = match (cap["order"].as_str(), cap["why"].as_str()) {
                (Some(order), Some("order")) => format!("order {order}"),
                (Some(order), why) => format!("order {order} ({})", why.unwrap_or("–")),
                (None, why) => why.unwrap_or("–").to_owned(),
            };
            let scope = if cap["caps"] == "miners" { "the miners of " } else { "" };
            let until = &cap["until"];
            let until = if until.is_null() { String::new() } else { format!(" until {}", day_time(until)) };
            lines.push(format!(
                "{what} of {}: {} on {scope}{}{until}",
                text(&source["name"]),
                watts(&cap["cap_watts"]),
                text(&cap["circuit"]),
            ));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(change: impl FnOnce(&mut Value, &mut Value)) -> Seen {
        let circuit = |name: &str, parent: Value, held: &str, words: &str| {
            json!({
                "name": name, "parent": parent, "power_watts": 1_000.0, "miners_watts": 284_000.0,
                "budget_watts": 285_100.0, "breaker": null, "interlock": null,
                "cap": { "circuit": held, "cap_watts": 0.0, "source": "follow-surplus", "words": words, "until": null },
            })
        };
        let follows = "follows the surplus: 285.1 kW";
        let mut status = json!({
            "site": "Mill", "mode": "following", "would_be": "following", "summary": "…",
            "signals": { "sources": [
                { "name": "operator", "state": "controlled", "age_seconds": null, "caps": [] },
                { "name": "utility", "state": "limited", "age_seconds": 2.0, "trouble": [], "caps": [
                    { "circuit": "fleet", "caps": "miners", "cap_watts": 150_000.0, "why": "order", "order": "night" },
                ] },
            ] },
            "cycle": {
                "age_seconds": 0.4,
                "binding": { "words": follows, "circuit": "pcc" },
                "fleet": {
                    "surplus_watts": 285_600.0, "budget_watts": 285_100.0, "power_watts": 284_000.0,
                    "hashrate_hashes_per_second": 1.53e16, "left_why": null,
                    "waiting": { "miner": "c3-07", "words": "waits for 3.31 kW" },
                },
                "miners_by_state": { "hashing": 110, "asleep": 10, "fault": 0 },
                "circuits": [
                    circuit("pcc", Value::Null, "pcc", follows),
                    circuit("north", json!("pcc"), "pcc", follows),
                    circuit("south", json!("pcc"), "south", "rating, 140 kW (south-rating)"),
                    circuit("north-1", json!("north"), "pcc", follows),
                ],
                "meters": [{ "name": "grid", "status": "ok", "up": true, "power_watts": 1_000.0, "age_seconds": 0.2 }],
            },
        });
        let mut alarms = json!([]);
        change(&mut status, &mut alarms);
        Seen { status, alarms, works: Value::Null }
    }

    fn words(seen: &Seen, width: Option<usize>) -> String {
        painted(&seen.screen(width), false)
    }

    #[test]
    fn an_interlock_that_does_not_hold_is_told_with_its_meter_and_a_contact_by_its_word() {
        let seen = seen(|status, _| {
            let south = &mut status["cycle"]["circuits"][2];
            south["interlock"] = json!(false);
            south["interlock_meter"] =
                json!({ "meter": "pump", "power_watts": 31.0, "at_least_watts": 500.0 });
            status["cycle"]["meters"][0]["contact"] = json!("closed");
        });
        let words = words(&seen, None);
        assert!(words.contains("its interlock does not hold: pump reads 31 W, 500 W are needed"), "{words}");
        assert!(words.contains("grid   closed  0.2 s  ok"), "{words}");
        let mut told = json!({ "name": "south", "interlock": false, "interlock_meter": { "meter": "pump" },
                               "cap": { "circuit": "south", "cap_watts": 0.0, "source": "interlock:south",
                                        "words": "the interlock of south does not hold (…)" } });
        assert_eq!(held(&told), "the interlock of south does not hold (…)", "once is enough");
        told["name"] = json!("south-1");
        assert!(held(&told).starts_with("as south; its interlock does not hold: pump "), "{}", held(&told));
    }

    #[test]
    fn who_is_late_to_answer_is_told() {
        let late = |count: u64| words(&seen(|status, _| status["cycle"]["late_miners"] = json!(count)), None);
        assert!(late(7).contains("7 of them do not answer for now"), "{}", late(7));
        assert!(!late(0).contains("for now"), "{}", late(0));
    }

    #[test]
    fn an_emergency_stop_is_told_once_and_in_words() {
        let mut told = json!({ "name": "hall", "emergency_stop": "open",
                               "cap": { "circuit": "hall", "cap_watts": 0.0, "source": "emergency-stop:hall",
                                        "words": "the emergency stop of hall is open: its miners sleep" } });
        assert_eq!(held(&told), "the emergency stop of hall is open: its miners sleep");
        told["name"] = json!("row");
        told["emergency_stop"] = json!("unknown");
        assert_eq!(held(&told), "as hall; emergency stop (stopped: its contact cannot be read)");
    }

    #[test]
    fn one_screen_says_how_it_stands_and_why() {
        let seen = seen(|_, _| {});
        let words = words(&seen, None);
        let lines: Vec<&str> = words.lines().collect();
        assert_eq!(lines[..2], ["Mill: following", "follows the surplus: 285.1 kW"], "{words}");
        for line in [
            "surplus 286 kW   budget 285 kW   fleet 284 kW   import 1 kW   15.3 PH/s",
            "120 miners: 110 hashing, 10 asleep",
            "next: c3-07 waits for 3.31 kW",
            "pcc           1 kW  284 kW  285 kW  follows the surplus: 285.1 kW",
            "  north       1 kW  284 kW  285 kW  as pcc",
            "    north-1   1 kW  284 kW  285 kW  as pcc",
            "  south       1 kW  284 kW  285 kW  rating, 140 kW (south-rating)",
            "grid    1 kW  0.2 s  ok",
            "utility  2.0 s  limited",
            "order night of utility: 150 kW on the miners of fleet",
            "no alarms",
        ] {
            assert!(lines.contains(&line), "{line:?} is not in\n{words}");
        }
        let out = self::seen(|status, _| status["cycle"]["circuits"][0]["power_watts"] = json!(-8_800.0));
        let told = self::words(&out, None);
        assert!(told.contains("   fleet 284 kW   export 8.8 kW   15.3 PH/s"), "{told}");
        for width in [40, 60, 80] {
            let narrow = self::words(&seen, Some(width));
            assert!(narrow.lines().all(|line| line.chars().count() <= width), "{width}\n{narrow}");
        }
    }

    #[test]
    fn where_there_are_servers_each_class_says_what_it_draws_and_could_give() {
        let class = |name: &str, watts: f64, gives: f64, paused: u64| {
            json!({ "class": name, "members": 4, "power_watts": watts, "setpoint_watts": watts,
                    "sheddable_watts": gives, "paused": paused })
        };
        let all =
            json!([class("miner", 13_600.0, 13_520.0, 0), class("interruptible", 15_500.0, 9_500.0, 1)]);
        let hall = seen(|status, _| status["cycle"]["classes"] = all.clone());
        let told = words(&hall, None);
        let line = "interruptible        4  15.5 kW   15.5 kW    9.5 kW       1";
        assert!(told.lines().any(|it| it == line), "{line:?} is not in\n{told}");
        let line = "miner 13.6 kW (13.5 kW to give), interruptible 15.5 kW (9.5 kW to give, 1 paused)";
        assert_eq!(classes_in_a_line(&all).unwrap(), line);
        let miners = seen(|status, _| status["cycle"]["classes"] = json!([class("miner", 1.0, 1.0, 0)]));
        assert!(!words(&miners, None).contains("CLASS"), "miners alone are told as they always were");
    }

    #[test]
    fn colours_change_no_word() {
        let seen = seen(|status, _| status["mode"] = json!("limited"));
        let lines = seen.screen(None);
        let (plain, colour) = (painted(&lines, false), painted(&lines, true));
        assert!(colour.starts_with("\u{1b}[1;33mMill: limited\u{1b}[0m\n"), "{colour:?}");
        assert_eq!(colour.replace("\u{1b}[1;33m", "").replace("\u{1b}[0m", ""), plain);
        assert!(!plain.contains('\u{1b}'));
    }

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        let seen = seen(|status, alarms| {
            status["site"] = json!("Mill\u{1b}[2J");
            *alarms = json!([{ "severity": "warning", "words": "odd\r\n\u{1b}", "acknowledged": null }]);
        });
        assert!(!painted(&seen.screen(Some(80)), false).contains(['\u{1b}', '\r']));
        assert!(!seen.checked().1.trim_end().contains(['\u{1b}', '\n']));
    }

    #[test]
    fn the_exit_code_says_the_state() {
        for (mode, would_be, code) in [
            ("following", "following", 0),
            ("limited", "limited", 0),
            ("observe", "limited", 0),
            ("observe", "fail-safe", 2),
            ("fail-safe", "fail-safe", 2),
            ("start-up", "start-up", 3),
        ] {
            let seen =
                seen(|status, _| (status["mode"], status["would_be"]) = (json!(mode), json!(would_be)));
            assert_eq!(seen.code(), code, "{mode} {would_be}");
        }
    }

    #[test]
    fn a_check_is_one_line_with_the_code_of_a_monitoring_plugin() {
        let alarm = |severity: &str, known: Value| json!([{ "severity": severity, "words": "grid | does not answer", "acknowledged": known, "quiet": false }]);
        let figures = "| surplus=285600W budget=285100W fleet=284000W import=1000W alarms=";
        type Change = Box<dyn Fn(&mut Value, &mut Value)>;
        let cases: [(u8, &str, Change); 7] = [
            (0, "OK - following: follows the surplus: 285.1 kW", Box::new(|_, _| {})),
            (
                1,
                "WARNING - grid / does not answer",
                Box::new(move |_, alarms| *alarms = alarm("warning", Value::Null)),
            ),
            (
                0,
                "OK - following",
                Box::new(move |_, alarms| *alarms = alarm("critical", json!({ "by": "Aisha" }))),
            ),
            (
                2,
                "CRITICAL - grid / does not answer",
                Box::new(move |_, alarms| *alarms = alarm("critical", Value::Null)),
            ),
            (2, "CRITICAL - fail-safe: follows", Box::new(|status, _| status["mode"] = json!("fail-safe"))),
            (
                2,
                "CRITICAL - the last cycle was 200 s ago",
                Box::new(|status, _| status["cycle"]["age_seconds"] = json!(200.0)),
            ),
            (0, "OK - limited", Box::new(|status, _| status["mode"] = json!("limited"))),
        ];
        for (code, words, change) in cases {
            let (told, line) = seen(|status, alarms| change(status, alarms)).checked();
            assert_eq!(told, code, "{line}");
            assert!(line.starts_with(&format!("BALLAST {words}")) && line.contains(figures), "{line}");
            assert_eq!(line.matches(['|', '\n']).count(), 2, "{line:?}");
        }
        let early = seen(|status, _| (status["cycle"], status["mode"]) = (Value::Null, json!("start-up")));
        assert_eq!(early.checked(), (1, "BALLAST WARNING - starting up | alarms=0\n".into()));
        assert_eq!(words(&early, None), "Mill: start-up\n…\n");
    }
}
