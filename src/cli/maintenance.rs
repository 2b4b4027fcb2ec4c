//! `ballast maintenance`: on what somebody works, and how it is kept meanwhile.

use std::time::Duration;

use serde_json::{Value, json};

use super::Failure;
use super::limit::account;
use super::moment::day_time;
use super::orders::{Daemon, List, Reach, text};
use super::preview;
use super::table::{Align, Table};
use crate::clock;
use crate::config::quantity;

/// What `ballast maintenance` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Say that somebody works on a miner, or on all miners of a circuit
    Begin(Begin),
    /// Say that the work is done: it is commanded again
    End(End),
}

#[derive(Clone, Debug, clap::Args)]
struct Begin {
    /// Name of the miner or circuit
    name: String,
    /// Who works on it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// What they do
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// It ends by itself after this time, such as 2h; without it when somebody ends it
    #[arg(long = "for", value_name = "TIME", value_parser = quantity::parse_time)]
    time: Option<Duration>,
    /// Do not put it to sleep either: tell it nothing at all
    #[arg(long)]
    hands_off: bool,
    /// Which of the two, where a miner and a circuit have this name
    #[arg(long, value_name = "KIND", value_parser = ["miner", "circuit"])]
    kind: Option<String>,
    /// Only show who would be moved
    #[arg(long)]
    preview: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Debug, clap::Args)]
struct End {
    /// Name of the miner or circuit
    name: String,
    /// Who ends it, for the record; the account that runs this command without it
    #[arg(long, value_name = "NAME", conflicts_with = "preview")]
    by: Option<String>,
    /// Which of the two, where a miner and a circuit have this name
    #[arg(long, value_name = "KIND", value_parser = ["miner", "circuit"])]
    kind: Option<String>,
    /// Only show who would be moved
    #[arg(long)]
    preview: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Shows what is worked on, begins or ends it.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => {
            let args = &args.list;
            let answer = Daemon::reach_to_read(&args.reach)?.get(&["maintenance"]).await?;
            super::tell(&answer, args.json, listing)
        }
        Some(Command::Begin(args)) => {
            let until = args.time.map(|time| {
                clock::unix_millis().saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
            });
            let mut body = json!({ "by": args.by, "note": args.note, "until": until });
            if let Some(body) = body.as_object_mut() {
                let hold = if args.hands_off { "hands-off" } else { "asleep" };
                body.insert("hold".into(), hold.into());
                if let Some(kind) = &args.kind {
                    body.insert("kind".into(), kind.as_str().into());
                }
            }
            let daemon = Daemon::reach(&args.reach)?;
            if args.preview {
                let answer = daemon.post(&["maintenance", &args.name, "preview"], None, Some(&body)).await?;
                return super::tell(&answer, args.json, preview::words);
            }
            let answer = daemon.put(&["maintenance", &args.name], &body).await?;
            super::tell(&answer, args.json, |answer, _| told(answer, "in maintenance"))
        }
        Some(Command::End(args)) => {
            let daemon = Daemon::reach(&args.reach)?;
            let mut query: Vec<(&str, &str)> = args.kind.iter().map(|kind| ("kind", kind.as_str())).collect();
            if args.preview {
                query.push(("ends", "1"));
                let answer = daemon.post_with(&["maintenance", &args.name, "preview"], &query).await?;
                return super::tell(&answer, args.json, preview::words);
            }
            let by = args.by.clone().or_else(account);
            query.extend(by.iter().map(|by| ("by", by.as_str())));
            let answer = daemon.delete_with(&["maintenance", &args.name], &query).await?;
            super::tell(&answer, args.json, |answer, _| told(answer, "not in maintenance any more"))
        }
    }
}

fn told(answer: &Value, what: &str) -> String {
    let lost = if answer["stored"] == false {
        "it is not on disk: a restart would forget it (see the log of the daemon)\n"
    } else {
        ""
    };
    format!("the {} {} is {what}\n{lost}", text(&answer["kind"]), text(&answer["name"]))
}

/// What is worked on, a sentence each, for those who look at the whole site.
pub(super) fn sentences(answer: &Value) -> Vec<String> {
    let works = answer["maintenance"].as_array().map_or(&[][..], Vec::as_slice);
    works.iter().map(sentence).collect()
}

fn sentence(work: &Value) -> String {
    let what = match (work["kind"].as_str(), work["miners"].as_u64()) {
        (Some("circuit"), Some(1)) => format!("circuit {} (1 miner)", text(&work["name"])),
        (Some("circuit"), Some(many)) => format!("circuit {} ({many} miners)", text(&work["name"])),
        (Some(kind), _) => format!("{kind} {}", text(&work["name"])),
        (None, _) => text(&work["name"]),
    };
    let time = |words: &str, at: &Value| {
        if at.is_null() { String::new() } else { format!("{words} {}", day_time(at)) }
    };
    let (since, until) = (time(" since", &work["begun"]), time(", until", &work["until"]));
    let alone = if work["hold"] == "hands-off" { ", left alone" } else { "" };
    let note = work["note"].as_str().filter(|note| !note.is_empty());
    let note = note.map_or_else(String::new, |note| format!(": {note}"));
    format!("in maintenance: {what}{since} by {}{alone}{until}{note}", text(&work["by"]))
}

fn listing(answer: &Value, width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("KIND", Align::Left),
        ("MINERS", Align::Right),
        ("KEPT", Align::Left),
        ("BY", Align::Left),
        ("SINCE", Align::Left),
        ("UNTIL", Align::Left),
        ("NOTE", Align::Left),
    ]);
    for work in answer["maintenance"].as_array().map_or(&[][..], Vec::as_slice) {
        table.row(vec![
            text(&work["name"]),
            text(&work["kind"]),
            work["miners"].as_u64().map_or_else(|| "–".into(), |miners| miners.to_string()),
            text(&work["hold"]),
            text(&work["by"]),
            day_time(&work["begun"]),
            if work["until"].is_null() { "it is ended".into() } else { day_time(&work["until"]) },
            text(&work["note"]),
        ]);
    }
    if table.is_empty() { "nothing is in maintenance\n".into() } else { table.within(width) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worked_on_stands_in_a_table() {
        let answer = json!({ "maintenance": [
            { "name": "hall-a", "kind": "circuit", "miners": 12, "hold": "asleep", "by": "Aisha", "note": "cooling",
              "begun": 1_790_000_000_000_i64, "until": null },
        ] });
        let words = listing(&answer, None);
        assert!(
            words.contains("hall-a") && words.contains("it is ended") && words.contains("cooling"),
            "{words}"
        );
        assert!(
            sentences(&answer)[0].starts_with("in maintenance: circuit hall-a (12 miners) since 20"),
            "{words}"
        );
        assert!(sentences(&answer)[0].ends_with(" by Aisha: cooling"), "{words}");
        assert_eq!(listing(&json!({ "maintenance": [] }), None), "nothing is in maintenance\n");
    }
}
