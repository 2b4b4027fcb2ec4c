//! `ballast miners`: which there are and what they do. `ballast miner explain`: why one stands where it stands.

use serde_json::{Value, json};

use super::Failure;
use super::orders::{Daemon, DaemonCallError, Reach, at, text, watts};
use super::table::{Align, Table};
use crate::line::clean;

/// Miners of one answer.
const PAGE: usize = 1_000;
/// No site has more.
const MOST: usize = 100_000;
/// Names that are offered for a misspelt one.
const OFFERED: usize = 3;

/// What `ballast miners` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only those in this state: pending, hashing, starting, asleep, straggler, fault, unanswered or unreachable
    #[arg(long)]
    state: Option<String>,
    /// Only those of this class: miner, interruptible, throttle or guaranteed
    #[arg(long)]
    class: Option<String>,
    /// Only those on this circuit or below it
    #[arg(long)]
    circuit: Option<String>,
    /// Only those whose name or driver has this in it
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// What `ballast miner explain` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    miner: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Shows the miners.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    let daemon = Daemon::reach_to_read(&args.reach)?;
    let mut query: Vec<(&str, &str)> = Vec::new();
    let keys = [
        ("state", &args.state),
        ("class", &args.class),
        ("circuit", &args.circuit),
        ("search", &args.search),
    ];
    for (key, value) in keys {
        query.extend(value.as_deref().map(|value| (key, value)));
    }
    let miners = all(&daemon, &query).await?;
    if args.json {
        return super::answer(&super::json(&json!({ "total": miners.len(), "miners": miners }))?);
    }
    super::answer(&listing(&miners, super::width()))
}

/// All that fit, page by page.
async fn all(daemon: &Daemon, query: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
    let mut miners: Vec<Value> = Vec::new();
    let size = PAGE.to_string();
    loop {
        let offset = miners.len().to_string();
        let mut query = query.to_vec();
        query.extend([("limit", size.as_str()), ("offset", offset.as_str())]);
        let mut answer = daemon.look(&["miners"], &query).await?;
        let total = at(&answer, "/total").as_u64().and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
        let Some(Value::Array(page)) = answer.get_mut("miners").map(Value::take) else { return Ok(miners) };
        let last = page.len() < PAGE;
        miners.extend(page);
        if last || miners.len() >= total.min(MOST) {
            return Ok(miners);
        }
    }
}

fn listing(miners: &[Value], width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("MINER", Align::Left),
        ("CIRCUIT", Align::Left),
        ("STATE", Align::Left),
        ("DRAWS", Align::Right),
        ("TOLD", Align::Right),
        ("HASHES", Align::Right),
        ("REMARKS", Align::Left),
    ]);
    for miner in miners {
        let told = match miner["setpoint"].as_str() {
            Some("sleep") => String::from("sleep"),
            Some(_) => watts(&miner["told_watts"]),
            None => String::from("–"),
        };
        let hashes = miner["hashrate_hashes_per_second"].as_f64();
        let mut remarks = server(miner);
        match (miner["fault"].as_str(), miner["power_watts"].is_null()) {
            (Some(fault), _) => remarks.push(fault.to_owned()),
            (None, true) => remarks
                .push(format!("its draw is an estimate, by {} at the most", watts(&miner["counted_watts"]))),
            (None, false) => {}
        }
        let draws =
            if miner["power_watts"].is_null() { &miner["estimate_watts"] } else { &miner["power_watts"] };
        table.row(vec![
            text(&miner["name"]),
            text(&miner["circuit"]),
            text(&miner["state"]),
            watts(draws),
            told,
            hashes.map_or_else(|| String::from("–"), |hashes| format!("{:.1} TH/s", hashes / 1e12)),
            remarks.join("; "),
        ]);
    }
    if table.is_empty() { String::from("no miners that fit\n") } else { table.wrapped(width) }
}

/// What there is to say of a server: its class, what it keeps by contract, and whether it is paused.
fn server(member: &Value) -> Vec<String> {
    let mut words: Vec<String> =
        member["class"].as_str().filter(|class| *class != "miner").map(String::from).into_iter().collect();
    if !at(member, "/contract_watts").is_null() {
        words.push(format!("keeps {}", watts(&member["contract_watts"])));
    }
    words.extend(member["pause"].as_str().filter(|pause| *pause != "running").map(String::from));
    words
}

/// Says why a miner stands where it stands.
///
/// # Errors
/// See [`Failure`].
pub async fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let daemon = Daemon::reach_to_read(&args.reach)?;
    let answer = match daemon.get(&["miners", &args.miner]).await {
        Err(Failure::Call(DaemonCallError::Refused { code: 404, error, .. })) => {
            let names: Vec<String> =
                all(&daemon, &[]).await?.iter().map(|miner| text(&miner["name"])).collect();
            let help = alike(&args.miner, &names);
            return Err(DaemonCallError::Refused { code: 404, error, help: format!("; {help}") }.into());
        }
        answer => answer?,
    };
    super::tell(&answer, args.json, |answer, _| explained(answer))
}

fn explained(answer: &Value) -> String {
    let head = format!(
        "{} on {}: {}, {}\n",
        text(&answer["name"]),
        text(&answer["circuit"]),
        text(&answer["state"]),
        watts(&answer["estimate_watts"])
    );
    let mut out = clean(head.trim_end()) + "\n";
    for sentence in at(answer, "/explanation").as_array().map_or(&[][..], Vec::as_slice) {
        out.push_str(&format!("  {}\n", clean(&text(sentence))));
    }
    out
}

/// What somebody may have meant.
fn alike(wrong: &str, names: &[String]) -> String {
    let close = |name: &String| {
        let (wrong, name) = (wrong.to_lowercase(), name.to_lowercase());
        let part = !wrong.is_empty() && name.contains(&wrong);
        if part { 1.0 } else { strsim::jaro_winkler(&wrong, &name) }
    };
    let mut close: Vec<(f64, &String)> = names.iter().map(|name| (close(name), name)).collect();
    close.retain(|(how, _)| *how > 0.75);
    close.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let offered: Vec<String> = close.iter().take(OFFERED).map(|(_, name)| format!("`{name}`")).collect();
    match offered.as_slice() {
        [] => String::from("`ballast miners` lists them"),
        [.., _] => format!("did you mean {}?", offered.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miner_is_a_row_and_an_estimate_is_told_as_one() {
        let miner = |more: Value| {
            let mut miner = json!({
                "name": "c1-01", "circuit": "container-1", "driver": "braiins-os", "state": "hashing",
                "power_watts": 3_310.0, "estimate_watts": 3_300.0, "counted_watts": 3_400.0, "setpoint": "power",
                "told_watts": 3_300.0, "setpoint_watts": 3_300.0, "hashrate_hashes_per_second": 1.2e14,
            });
            miner.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            miner
        };
        let silent = json!({
            "state": "unreachable", "power_watts": null, "setpoint": "sleep", "hashrate_hashes_per_second": null,
        });
        let words = listing(
            &[miner(json!({})), miner(silent), miner(json!({ "fault": "fan\u{1b}", "setpoint": null }))],
            None,
        );
        let lines: Vec<&str> = words.lines().collect();
        assert_eq!(lines[1], "c1-01  container-1  hashing      3.3 kW  3.3 kW  120.0 TH/s", "{words}");
        assert!(
            lines[2].contains("sleep           –  its draw is an estimate, by 3.4 kW at the most"),
            "{words}"
        );
        assert!(lines[3].contains("fan\u{fffd}"), "{words}");
        assert_eq!(listing(&[], None), "no miners that fit\n");
        let kept = json!({ "class": "guaranteed", "contract_watts": 5_000.0 });
        let paused = json!({ "class": "interruptible", "pause": "paused", "fault": "fan" });
        let words = listing(&[miner(kept), miner(paused)], None);
        assert!(words.contains("  guaranteed; keeps 5 kW\n"), "{words}");
        assert!(words.contains("  interruptible; paused; fan\n"), "{words}");
    }

    #[test]
    fn a_misspelt_name_is_offered_those_that_are_alike() {
        let names: Vec<String> = ["c1-01", "c1-02", "c2-01", "workshop-9"].map(String::from).to_vec();
        assert_eq!(alike("workshp-9", &names), "did you mean `workshop-9`?");
        assert!(alike("c1", &names).starts_with("did you mean `c1-01` or `c1-02`"));
        assert_eq!(alike("zzz", &names), "`ballast miners` lists them");
    }

    #[test]
    fn an_explanation_is_a_head_and_its_sentences() {
        let answer = json!({
            "name": "c1-01", "circuit": "container-1", "state": "asleep", "estimate_watts": 12.0,
            "explanation": ["It sleeps.", "It is the next to be woken, and waits for 3.31 kW."],
        });
        let told = "c1-01 on container-1: asleep, 12 W\n  It sleeps.\n  It is the next to be woken, and waits for 3.31 kW.\n";
        assert_eq!(explained(&answer), told);
    }
}
