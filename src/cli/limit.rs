//! `ballast limit`: the operator's hand on a running daemon.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Failure;
use super::moment::{self, day_time};
use super::orders::{Daemon, List, Reach, at, given_by, text, watts};
use super::preview;
use super::table::{Align, Table};
use crate::config::quantity;
use crate::daemon::own_account;
use crate::line::is_line;

/// What `ballast limit` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Cap a circuit, in the operator's name
    Set(Set),
    /// Take one of the operator's caps back
    Clear(Clear),
    /// Show who caps what, and the state of every source of orders
    List(List),
    /// Draw more than a source has ordered, for a time and in somebody's name
    Lift(Lift),
}

#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("much").required(true))]
struct Set {
    /// Name of the cap: the same name again changes it
    name: String,
    /// At most this much, such as "300 kW"
    #[arg(long, value_name = "POWER", group = "much", allow_hyphen_values = true)]
    cap: Option<String>,
    /// This much less than would be drawn otherwise
    #[arg(long, value_name = "POWER", group = "much", allow_hyphen_values = true)]
    reduce_by: Option<String>,
    /// This part of the nameplate of what hangs on the circuit, 0 to 100
    #[arg(long, value_name = "PERCENT", group = "much", allow_hyphen_values = true)]
    percent: Option<f64>,
    /// On this circuit; the root circuit without it
    #[arg(long)]
    circuit: Option<String>,
    /// Cap the draw of the miners alone, not the import of the circuit
    #[arg(long)]
    miners: bool,
    /// Hold for this time, such as 2h or 45min
    #[arg(long = "for", value_name = "TIME", value_parser = super::time, conflicts_with = "until")]
    duration: Option<Duration>,
    /// Hold until this time: "18:30", "2026-07-01 18:30" or with an offset "2026-07-01T18:30:00+05:00"
    #[arg(long, value_name = "TIME", value_parser = moment::coming)]
    until: Option<Timestamp>,
    /// Begin at this time, written like --until; now without it
    #[arg(long, value_name = "TIME", value_parser = moment::coming)]
    from: Option<Timestamp>,
    /// Among the operator's own caps, lower numbers win over higher ones; without numbers the tightest wins
    #[arg(long)]
    priority: Option<u32>,
    /// Put miners to sleep where a lower power would be slower
    #[arg(long)]
    emergency: bool,
    /// Who answers for it, for the record; the account that runs this command without it
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Only say what it would do
    #[arg(long)]
    preview: bool,
    /// With --preview: as JSON
    #[arg(long, requires = "preview")]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Debug, clap::Args)]
struct Clear {
    /// Name of the cap
    name: String,
    /// Who takes it back, for the record; the account that runs this command without it
    #[arg(long, value_name = "NAME", conflicts_with = "preview")]
    by: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", conflicts_with = "preview")]
    note: Option<String>,
    /// Only say what it would do
    #[arg(long)]
    preview: bool,
    /// With --preview: as JSON
    #[arg(long, requires = "preview")]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Debug, clap::Args)]
struct Lift {
    /// The source, as in [signals.SOURCE]
    source: String,
    /// Who answers for it; with --end the account that runs this command without it
    #[arg(long, value_name = "NAME", required_unless_present = "end")]
    by: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// For this time, such as 30min; a day at the most
    #[arg(long = "for", value_name = "TIME", value_parser = super::time, required_unless_present_any = ["until", "end"],
          conflicts_with = "until")]
    duration: Option<Duration>,
    /// Until this time, written as for `ballast limit set`
    #[arg(long, value_name = "TIME", value_parser = moment::coming)]
    until: Option<Timestamp>,
    /// End a lift before its time
    #[arg(long, conflicts_with_all = ["duration", "until"])]
    end: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Runs a subcommand.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    let words = match &args.command {
        Command::Set(args) if args.preview => {
            let (id, body) = (("id", args.name.as_str()), order(args));
            let answer = Daemon::reach(&args.reach)?.post(&["preview"], Some(id), Some(&body)).await?;
            if args.json { super::json(&answer)? } else { preview::words(&answer, super::width()) }
        }
        Command::Clear(args) if args.preview => {
            let withdraw = ("withdraw", args.name.as_str());
            let answer = Daemon::reach(&args.reach)?.post(&["preview"], Some(withdraw), None).await?;
            if args.json { super::json(&answer)? } else { preview::words(&answer, super::width()) }
        }
        Command::Set(args) => {
            let daemon = Daemon::reach(&args.reach)?;
            let answer = daemon.put(&["limits", &args.name], &order(args)).await?;
            let limit = at(&answer, "/limit");
            // It was given: what else there is to say of it may be missing, and is asked for only where there may be something.
            let status = match limit["scope"].as_str() {
                Some("import") => daemon.get(&["status"]).await.unwrap_or_default(),
                _ => Value::Null,
            };
            given(&args.name, &answer) + &by_itself(limit, &status)
        }
        Command::Clear(args) => {
            let (by, note) = (args.by.clone().or_else(account), args.note.as_deref());
            let query = person(by.as_deref(), note);
            Daemon::reach(&args.reach)?.delete_with(&["limits", &args.name], &query).await?;
            format!("{} is taken back\n", args.name)
        }
        Command::List(args) => {
            let answer = Daemon::reach(&args.reach)?.get(&["limits"]).await?;
            if args.json { super::json(&answer)? } else { listing(&answer, super::width()) }
        }
        Command::Lift(args) => lift(args).await?,
    };
    super::answer(&words)
}

async fn lift(args: &Lift) -> Result<String, Failure> {
    let daemon = Daemon::reach(&args.reach)?;
    let path = ["lifts", args.source.as_str()];
    if args.end {
        let by = args.by.clone().or_else(account);
        daemon.delete_with(&path, &person(by.as_deref(), args.note.as_deref())).await?;
        return Ok(format!("the caps of {} hold again\n", args.source));
    }
    let mut body = Map::new();
    insert(&mut body, "by", args.by.clone());
    insert(&mut body, "note", args.note.clone());
    insert(&mut body, "duration", args.duration.map(quantity::write_time));
    insert(&mut body, "valid_until", args.until.map(|at| at.to_string()));
    let answer = daemon.put(&path, &Value::Object(body)).await?;
    Ok(lifted(&args.source, &answer))
}

fn lifted(source: &str, answer: &Value) -> String {
    format!(
        "the caps of {source} are lifted until {}, in the name of {}; this is on record\n",
        day_time(&answer["lifted_until"]),
        text(&answer["lifted_by"]),
    )
}

/// The body of an order.
fn order(args: &Set) -> Value {
    let mut body = Map::new();
    insert(&mut body, "cap", args.cap.clone());
    insert(&mut body, "reduce_by", args.reduce_by.clone());
    insert(&mut body, "percent", args.percent);
    insert(&mut body, "circuit", args.circuit.clone());
    insert(&mut body, "scope", args.miners.then_some("miners"));
    insert(&mut body, "duration", args.duration.map(quantity::write_time));
    insert(&mut body, "valid_until", args.until.map(|at| at.to_string()));
    insert(&mut body, "valid_from", args.from.map(|at| at.to_string()));
    insert(&mut body, "priority", args.priority);
    insert(&mut body, "urgency", args.emergency.then_some("emergency"));
    insert(&mut body, "by", args.by.clone().or_else(account));
    insert(&mut body, "note", args.note.clone());
    Value::Object(body)
}

/// Who answers for what has no body, as parameters.
fn person<'p>(by: Option<&'p str>, note: Option<&'p str>) -> Vec<(&'static str, &'p str)> {
    by.map(|by| ("by", by)).into_iter().chain(note.map(|note| ("note", note))).collect()
}

/// The account that runs the command: before `sudo`, where that was used. A service or a container often has no `USER`: then
/// what the machine calls the account, or its number where it has no name.
pub(super) fn account() -> Option<String> {
    let sound = |name: &String| !name.is_empty() && name.len() <= 128 && is_line(name);
    let told = |variable: &&str| std::env::var(variable).ok().filter(sound);
    ["SUDO_USER", "USER"].iter().find_map(told).or_else(|| {
        let own = own_account().ok()?;
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Some(named(&accounts, own).filter(sound).unwrap_or_else(|| format!("uid {own}")))
    })
}

/// The name of an account in the list of the machine.
fn named(accounts: &str, uid: u32) -> Option<String> {
    accounts.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, number) = (parts.next()?, parts.nth(1)?);
        (number.parse::<u32>() == Ok(uid)).then(|| name.to_owned())
    })
}

fn insert(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.into(), value.into());
    }
}

/// What became of an order, in a line.
fn given(name: &str, answer: &Value) -> String {
    let limit = &answer["limit"];
    let outcome = match answer["outcome"].as_str() {
        Some("accepted") => "is accepted",
        Some("replaced") => "is changed",
        _ => "was accepted already",
    };
    let because = text(&limit["margin_reason"]);
    let (earlier, longer) = match margin(limit) {
        Some(much) => (
            format!(" or up to {much} earlier, because {because}"),
            format!(", and up to {much} longer because {because}"),
        ),
        None => (String::new(), String::new()),
    };
    let begins = match limit["phase"].as_str() {
        Some("ahead") => format!("from {} on{earlier}, ", day_time(&limit["valid_from"])),
        _ => String::new(),
    };
    let ends = match limit["valid_until"] {
        Value::Null => String::from("until it is taken back"),
        ref until => format!("until {}{longer}", day_time(until)),
    };
    let forgotten = match answer["stored"] {
        Value::Bool(false) => "It holds, and is not on disk: a restart of the daemon forgets it.\n",
        _ => "",
    };
    format!(
        "{name} {outcome}: {begins}{} of {} at most {}, {ends}\n{forgotten}",
        what(limit),
        text(&limit["circuit"]),
        watts(&limit["cap_watts"]),
    )
}

/// That a cap on the import asks for nothing where power flows out: many a one was meant for the miners.
fn by_itself(limit: &Value, status: &Value) -> String {
    let circuits = at(status, "/cycle/circuits").as_array().map_or(&[][..], Vec::as_slice);
    let on = circuits.iter().find(|circuit| circuit["name"] == limit["circuit"]);
    let power = on.and_then(|circuit| circuit["power_watts"].as_f64());
    let import = limit["scope"] == json!("import") && limit["phase"] != json!("ahead");
    match power.filter(|power| import && *power < 0.0) {
        Some(power) => format!(
            "{} exports {} now, so this cap is met by itself, and nothing changes: with --miners it caps the draw of the miners.\n",
            text(&limit["circuit"]),
            watts(&json!(-power)),
        ),
        None => String::new(),
    }
}

/// By how much its window is wider than it says, where the clock is in doubt. It is the most that it may be: minutes are
/// rounded up.
pub(super) fn margin(limit: &Value) -> Option<String> {
    let seconds = limit["margin_seconds"].as_f64().filter(|seconds| *seconds > 0.0)?;
    Some(if seconds < 60.0 {
        format!("{:.0} s", seconds.ceil())
    } else {
        format!("{:.0} min", (seconds / 60.0).ceil())
    })
}

fn what(limit: &Value) -> &'static str {
    if limit["scope"] == json!("miners") { "the miners" } else { "the import" }
}

/// The sources, what acts, and the orders.
fn listing(answer: &Value, width: Option<usize>) -> String {
    let rows = |key: &str| answer[key].as_array().map_or(&[][..], Vec::as_slice).iter();
    let mut sources = Table::new(&[
        ("SOURCE", Align::Left),
        ("STATE", Align::Left),
        ("SIGNAL", Align::Right),
        ("CAPS NOW", Align::Left),
        ("REMARKS", Align::Left),
    ]);
    for source in rows("sources") {
        let list = |key: &str| source[key].as_array().map_or(&[][..], Vec::as_slice).iter();
        let caps: Vec<String> = list("acting")
            .map(|cap| {
                let why = match cap["order"].as_str() {
                    Some(order) => order.to_owned(),
                    None => text(&cap["why"]),
                };
                let of = if cap["scope"] == json!("miners") { "miners of " } else { "" };
                format!("{} on {of}{} ({why})", watts(&cap["cap_watts"]), text(&cap["circuit"]))
            })
            .collect();
        let mut remarks: Vec<String> = list("trouble").map(text).collect();
        if let Some(by) = source["lifted_by"].as_str() {
            remarks.push(format!("lifted by {by} until {}", day_time(&source["lifted_until"])));
        }
        let age = source["signal_age_seconds"].as_f64();
        sources.row(vec![
            text(&source["name"]),
            text(&source["state"]),
            age.map_or_else(|| "–".into(), |age| format!("{age:.0} s ago")),
            if caps.is_empty() { "none".into() } else { caps.join(", ") },
            remarks.join("; "),
        ]);
    }
    let mut limits = Table::new(&[
        ("ORDER", Align::Left),
        ("SOURCE", Align::Left),
        ("CAP", Align::Right),
        ("ON", Align::Left),
        ("FROM", Align::Left),
        ("UNTIL", Align::Left),
        ("NOW", Align::Left),
        ("BY", Align::Left),
    ]);
    let mut wider: Vec<String> = Vec::new();
    for limit in rows("limits") {
        let until = match (limit["valid_until"].is_null(), margin(limit)) {
            (true, _) => String::from("–"),
            (false, None) => day_time(&limit["valid_until"]),
            (false, Some(much)) => {
                let source = text(&limit["source"]);
                let words = format!(
                    "Orders of {source} may begin up to {much} earlier and hold up to {much} longer than they say, because \
                     {}.\n",
                    text(&limit["margin_reason"])
                );
                if !wider.contains(&words) {
                    wider.push(words);
                }
                format!("{} (+ {much})", day_time(&limit["valid_until"]))
            }
        };
        limits.row(vec![
            text(&limit["id"]),
            text(&limit["source"]),
            watts(&limit["cap_watts"]),
            format!("{} of {}", what(limit).trim_start_matches("the "), text(&limit["circuit"])),
            day_time(&limit["valid_from"]),
            until,
            text(&limit["phase"]),
            given_by(&limit["by"], &limit["note"]),
        ]);
    }
    let acts = rows("sources").any(|source| source["acting"].as_array().is_some_and(|caps| !caps.is_empty()));
    let limits = match (limits.is_empty(), acts) {
        (false, _) => limits.within(width),
        (true, true) => String::from("no orders; these caps act without one, or have just been taken back\n"),
        (true, false) => String::from("no orders\n"),
    };
    let wider = wider.concat();
    let between = if wider.is_empty() { "" } else { "\n" };
    format!("{}\n{limits}{between}{wider}", sources.within(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_account_has_a_name_by_its_number() {
        let accounts =
            "root:x:0:0:root:/home/root:/bin/sh\n+nis\naisha:x:1000:1000:Aisha:/home/aisha:/bin/sh\n";
        assert_eq!(named(accounts, 1000).as_deref(), Some("aisha"));
        assert_eq!(named(accounts, 0).as_deref(), Some("root"));
        assert_eq!(named(accounts, 100), None);
        assert!(account().is_some_and(|name| !name.is_empty()), "whoever runs this has an account");
    }

    #[test]
    fn an_order_is_told_in_a_line() {
        let answer = json!({ "outcome": "accepted", "limit": {
            "cap_watts": 300_000.0, "circuit": "pcc", "scope": "import", "phase": "acting", "valid_until": null,
        } });
        assert_eq!(
            given("night", &answer),
            "night is accepted: the import of pcc at most 300 kW, until it is taken back\n"
        );
        let mut forgotten = answer;
        forgotten["stored"] = json!(false);
        assert!(given("night", &forgotten).ends_with("a restart of the daemon forgets it.\n"));
    }

    #[test]
    fn a_cap_on_the_import_of_a_circuit_that_exports_is_told_to_change_nothing() {
        let limit = |scope: &str, phase: &str| json!({ "circuit": "pcc", "scope": scope, "phase": phase });
        let status =
            |watts: f64| json!({ "cycle": { "circuits": [{ "name": "pcc", "power_watts": watts }] } });
        let said = by_itself(&limit("import", "acting"), &status(-8_800.0));
        assert!(said.starts_with("pcc exports 8.8") && said.contains("--miners"), "{said}");
        for (limit, status) in [
            (limit("miners", "acting"), status(-8_800.0)),
            (limit("import", "ahead"), status(-8_800.0)),
            (limit("import", "acting"), status(8_800.0)),
            (limit("import", "acting"), Value::Null),
        ] {
            assert_eq!(by_itself(&limit, &status), "");
        }
    }

    #[test]
    fn a_clock_in_doubt_is_told_with_what_it_does_to_the_end() {
        let mut limit = json!({
            "id": "night", "source": "operator", "cap_watts": 300_000.0, "circuit": "pcc", "scope": "import",
            "phase": "acting", "valid_from": "2026-07-01T12:00:00Z", "valid_until": "2026-07-01T12:03:00Z",
            "margin_seconds": 300.0, "margin_reason": "the clock is not synchronised",
        });
        let words = given("night", &json!({ "outcome": "accepted", "limit": limit }));
        assert!(
            words.ends_with(", and up to 5 min longer because the clock is not synchronised\n"),
            "{words}"
        );
        let words = listing(&json!({ "sources": [], "limits": [limit] }), None);
        assert!(words.contains(" (+ 5 min)  acting"), "{words}");
        let footer = "Orders of operator may begin up to 5 min earlier and hold up to 5 min longer than they say, because the \
                      clock is not synchronised.\n";
        assert!(words.ends_with(footer), "{words}");
        limit["phase"] = json!("ahead");
        limit["margin_seconds"] = json!(45.0);
        limit["margin_reason"] = json!("the clocks do not agree");
        let words = given("night", &json!({ "outcome": "accepted", "limit": limit }));
        assert!(words.contains(" on or up to 45 s earlier, because the clocks do not agree, "), "{words}");
        limit["margin_seconds"] = Value::Null;
        let words = given("night", &json!({ "outcome": "accepted", "limit": limit }));
        assert!(!words.contains("because") && !words.contains("earlier"), "{words}");
    }

    #[test]
    fn sources_and_orders_stand_in_two_tables() {
        let answer = json!({
            "sources": [
                { "name": "operator", "state": "limited", "signal_age_seconds": 12.4, "trouble": [], "lifted_by": null,
                  "acting": [{ "circuit": "pcc", "scope": "import", "cap_watts": 300_000.0, "why": "order",
                               "order": "night" }] },
                { "name": "utility", "state": "failsafe", "signal_age_seconds": null, "trouble": ["a", "b"],
                  "lifted_by": "A. Khan", "lifted_until": "2026-07-01T12:00:00Z", "acting": [] },
            ],
            "limits": [
                { "id": "night", "source": "operator", "cap_watts": 300_000.0, "scope": "import", "circuit": "pcc",
                  "valid_from": "2026-07-01T12:00:00Z", "valid_until": null, "phase": "acting" },
            ],
        });
        let words = listing(&answer, None);
        let lines: Vec<&str> = words.lines().collect();
        assert!(lines[0].starts_with("SOURCE    STATE"), "{words}");
        assert!(lines[1].contains("300 kW on pcc (night)"), "{words}");
        assert!(lines[2].contains("none") && lines[2].contains("a; b; lifted by A. Khan until"), "{words}");
        assert!(lines[5].starts_with("night  operator  300 kW  import of pcc"), "{words}");
        assert!(listing(&json!({ "sources": [], "limits": [] }), None).contains("no orders"));
        // A cap without an order, such as that of a source that is not heard, is not denied below.
        let mut alone = answer;
        alone["limits"] = json!([]);
        let words = listing(&alone, None);
        assert!(
            words.contains("300 kW on pcc") && words.ends_with("or have just been taken back\n"),
            "{words}"
        );
        let narrow = crate::cli::fit(&listing(&alone, Some(60)), Some(60));
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
        assert!(narrow.contains("300 kW on pcc (night)"), "{narrow}");
    }

    #[tokio::test]
    async fn a_cap_below_zero_reaches_the_daemon_which_says_what_is_wrong_with_it() {
        use clap::Parser as _;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        for (key, value) in [("--cap", "-1 kW"), ("--reduce-by", "-1 kW"), ("--percent", "-5")] {
            let line =
                Line::try_parse_from(["limit", "set", "night", key, value]).unwrap_or_else(|e| panic!("{e}"));
            let Command::Set(set) = &line.args.command else { panic!("{key}") };
            assert!(order(set).to_string().contains(value), "{}", order(set));
        }
    }
}
