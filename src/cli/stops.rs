//! `ballast stops`: the emergency stops of circuits, and who releases them.

use serde_json::{Value, json};

use super::Failure;
use super::moment::day_time;
use super::orders::{Daemon, List, Reach, text};
use super::table::{Align, Table};

/// What `ballast stops` takes.
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
    /// Release the emergency stop of a circuit whose contact is closed again: its miners may run
    Release(Release),
}

#[derive(Clone, Debug, clap::Args)]
struct Release {
    /// Name of the circuit
    circuit: String,
    /// Who releases it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// What they have seen to
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Lists emergency stops, or releases one.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        None => {
            let args = &args.list;
            let answer = Daemon::reach_to_read(&args.reach)?.get(&["stops"]).await?;
            super::tell(&answer, args.json, listing)
        }
        Some(Command::Release(args)) => {
            let body = json!({ "by": args.by, "note": args.note });
            let path = ["stops", &args.circuit, "release"];
            let answer = Daemon::reach(&args.reach)?.post(&path, None, Some(&body)).await?;
            super::tell(&answer, args.json, |answer, _| released(answer))
        }
    }
}

fn released(answer: &Value) -> String {
    let lost = if answer["stored"] == false {
        "that is not on disk: after a restart it would be latched again (see the log of the daemon)\n"
    } else {
        ""
    };
    format!("the emergency stop of {} is released: its miners may run\n{lost}", text(&answer["circuit"]))
}

fn listing(answer: &Value, width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("CIRCUIT", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Left),
        ("CONTACT", Align::Left),
    ]);
    for stop in answer["stops"].as_array().map_or(&[][..], Vec::as_slice) {
        table.row(vec![
            text(&stop["circuit"]),
            words(stop["state"].as_str().unwrap_or("")).to_owned(),
            day_time(&stop["since"]),
            text(&stop["meter"]),
        ]);
    }
    if table.is_empty() { "no circuit has an emergency stop\n".into() } else { table.within(width) }
}

/// A state in words.
pub(super) fn words(state: &str) -> &'static str {
    match state {
        "ready" => "ready",
        "open" => "stopped: its contact is open",
        "unknown" => "stopped: its contact cannot be read",
        "latched" => "stopped: closed again, waits to be released",
        "unread" => "its contact has not been read yet: nobody is woken",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_in_a_table() {
        let answer = json!({ "stops": [
            { "circuit": "hall-a", "meter": "stop-a", "state": "latched", "since": 1_790_000_000_000_i64 },
            { "circuit": "hall-b", "meter": "stop-b", "state": "ready", "since": null },
            { "circuit": "hall-c", "meter": "stop-c", "state": "unread", "since": null },
        ] });
        let text = listing(&answer, None);
        assert!(text.contains("waits to be released") && text.contains("stop-b"), "{text}");
        assert!(text.contains("has not been read yet") && !text.contains('?'), "{text}");
        assert_eq!(listing(&json!({ "stops": [] }), None), "no circuit has an emergency stop\n");
        assert!(released(&json!({ "circuit": "hall-a", "stored": false })).contains("not on disk"));
    }
}
