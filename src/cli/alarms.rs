//! `ballast alarms`: what somebody should know of, and who does.

use serde_json::{Value, json};

use super::Failure;
use super::moment::day_time;
use super::orders::{Daemon, Reach, at, text};
use super::table::{Align, Table};

/// What `ballast alarms` takes.
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
    /// Say that you know of an alarm: it stays until it is over
    #[command(alias = "ack")]
    Acknowledge(Acknowledge),
}

#[derive(Clone, Debug, clap::Args)]
struct List {
    /// Those that are over, too
    #[arg(long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Debug, clap::Args)]
struct Acknowledge {
    /// Number of the alarm
    id: u64,
    /// Who knows
    #[arg(long, value_name = "NAME")]
    by: String,
    /// What to remember about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    reach: Reach,
}

/// Shows the alarms, or acknowledges one.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Some(Command::Acknowledge(args)) => {
            let daemon = Daemon::reach(&args.reach)?;
            let id = args.id.to_string();
            let body = json!({ "by": args.by, "note": args.note });
            let answer = daemon.post(&["alarms", &id, "acknowledge"], None, Some(&body)).await?;
            super::answer(&format!(
                "alarm {id} is acknowledged by {}: {}\n",
                text(at(&answer, "/acknowledged/by")),
                text(at(&answer, "/words"))
            ))
        }
        None => {
            let args = &args.list;
            let mut answer = Daemon::reach_to_read(&args.reach)?.get(&["alarms"]).await?;
            if !args.all
                && let Some(alarms) = answer.get_mut("alarms").and_then(Value::as_array_mut)
            {
                alarms.retain(|alarm| alarm["cleared"].is_null());
            }
            super::tell(&answer, args.json, listing)
        }
    }
}

fn listing(answer: &Value, width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("ID", Align::Right),
        ("SEVERITY", Align::Left),
        ("SINCE", Align::Left),
        ("WHAT", Align::Left),
        ("STATE", Align::Left),
    ]);
    for alarm in answer["alarms"].as_array().map_or(&[][..], Vec::as_slice) {
        let known = &alarm["acknowledged"];
        let state = if alarm["cleared"].is_i64() {
            format!("over {}", day_time(&alarm["cleared"]))
        } else if let Some(by) = known["by"].as_str() {
            let note = known["note"].as_str().filter(|note| !note.is_empty());
            format!("known to {by}{}", note.map(|note| format!(": {note}")).unwrap_or_default())
        } else if alarm["quiet"] == true {
            "quiet".into()
        } else if alarm["muted"] == true {
            "nobody is called now".into()
        } else {
            "new".into()
        };
        table.row(vec![
            alarm["id"].as_u64().map_or_else(|| "–".into(), |id| id.to_string()),
            text(&alarm["severity"]),
            day_time(&alarm["raised"]),
            text(&alarm["words"]),
            state,
        ]);
    }
    if table.is_empty() { "no alarms\n".into() } else { table.within(width) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_stand_in_a_table_with_what_is_known_of_them() {
        let alarm = |id: u64, more: Value| {
            let mut alarm = json!({
                "id": id, "severity": "critical", "raised": 1_790_000_000_000_i64, "words": "grid does not answer",
                "cleared": null, "acknowledged": null, "quiet": false,
            });
            alarm.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            alarm
        };
        let answer = json!({ "alarms": [
            alarm(3, json!({})),
            alarm(2, json!({ "acknowledged": { "by": "Aisha", "note": "on my way" } })),
            alarm(1, json!({ "cleared": 1_790_000_060_000_i64 })),
        ] });
        let words = listing(&answer, None);
        let lines: Vec<&str> = words.lines().collect();
        assert!(lines[1].ends_with("new"), "{words}");
        assert!(lines[2].ends_with("known to Aisha: on my way"), "{words}");
        assert!(lines[3].contains("over "), "{words}");
        assert_eq!(listing(&json!({ "alarms": [] }), None), "no alarms\n");
    }
}
