//! `ballast replay`: what the daemon has recorded, through the control law again.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::moment::{self, utc};
use super::{Failure, json};
use crate::config::{self, Options, Secrets};
use crate::control::decision::MinerState;
use crate::control::snapshot::Target;
use crate::metrics::{binding_words, surplus};
use crate::record::replay::{self, Again, Cut, Difference, Verdict, WhatIf, Window};
use crate::record::segment;
use crate::units::Watts;

/// What `ballast replay` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 when everything came out as it was recorded, 1 when something differs or is damaged.\n\n\
                  See docs/guide/record.md."
)]
pub struct Args {
    /// A file of the record, or the folder with all of them
    #[arg(value_name = "FILE|FOLDER")]
    pub record: PathBuf,
    /// Look at cycles from this time on: 2026-11-29T04:43, with Z or an offset behind it, else in the zone of this machine; 04:43 is of today
    #[arg(long, value_name = "TIME", value_parser = moment::past)]
    pub from: Option<Timestamp>,
    /// Look at cycles up to this time; a day alone is included as a whole
    #[arg(long, value_name = "TIME", value_parser = moment::end)]
    pub to: Option<Timestamp>,
    /// Show what this configuration would have done with the same inputs
    #[arg(long, value_name = "FILE", conflicts_with = "export_test")]
    pub config: Option<PathBuf>,
    /// Print each cycle as CSV: surplus, budget and what binds it, the fleet, the connection point, commands
    #[arg(long, conflicts_with_all = ["config", "export_test", "json"])]
    pub cycles: bool,
    /// Cut the cycles out, as a record of its own in this folder, for a test or a report
    #[arg(long, value_name = "FOLDER")]
    pub export_test: Option<PathBuf>,
    /// Put numbers in the place of all names and texts in what is cut out
    #[arg(long, requires = "export_test")]
    pub anonymise: bool,
    /// Write the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// The record or the configuration cannot be read, or nothing can be written.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let [from, to] = [args.from, args.to].map(|at| at.map(Timestamp::as_millisecond));
    if let Some((from, to)) = from.zip(to).filter(|(from, to)| from > to) {
        return Err(Failure::Window { from: utc(from), to: utc(to) });
    }
    let files = segment::find(&args.record)?;
    let window = Window { from, to };
    if let Some(folder) = &args.export_test {
        let how = Cut { window, anonymise: args.anonymise, decide_anew: false };
        let written = replay::cut(&files, how, folder)?;
        let mut text = String::new();
        for file in written {
            let _ = writeln!(text, "{}", file.display());
        }
        return show(&text, true);
    }
    if let Some(path) = &args.config {
        return another(args, &files, window, path);
    }
    let mut rows = if args.cycles { String::from(HEAD) } else { String::new() };
    let verdict = replay::verify_with(&files, window, &mut |again| {
        if args.cycles {
            row(&mut rows, &again);
        }
    })?;
    let good = verdict.same() && verdict.damaged.is_empty() && verdict.cycles > 0;
    if args.cycles {
        for damage in &verdict.damaged {
            tracing::warn!("{damage}");
        }
        return show(&rows, good);
    }
    show(&if args.json { json(&verdict)? } else { words(&verdict) }, good)
}

fn another(args: &Args, files: &[PathBuf], window: Window, path: &Path) -> Result<u8, Failure> {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config = config::load_with(path, &options).map_err(Failure::Config)?;
    let outcome = replay::what_if(files, window, &config.site)?;
    let good = outcome.damaged.is_empty() && outcome.cycles > 0;
    show(&if args.json { json(&outcome)? } else { what_if_words(&outcome) }, good)
}

/// The head of the listing of cycles.
const HEAD: &str = "time,mode,surplus_watts,budget_watts,binds,fleet_draw_watts,fleet_setpoint_watts,shortfall_watts,\
                    connection_point_watts,commands,to_sleep,not_in_order\n";

/// A cycle in the listing; what is not known is empty. Watts are whole: who wants them to the last bit has `--json` and the record.
fn row(rows: &mut String, again: &Again<'_>) {
    let Again { site, wall, decision } = *again;
    let fleet = &decision.fleet;
    let power = decision.circuits.first().and_then(|root| root.power);
    let whole = |power: Option<Watts>| power.map_or_else(String::new, |power| format!("{:.0}", power.get()));
    let sleeps = decision.commands.iter().filter(|command| command.target == Target::Sleep).count();
    let trouble =
        |state: MinerState| !matches!(state, MinerState::Hashing | MinerState::Asleep | MinerState::Starting);
    let _ = writeln!(
        rows,
        "{},{},{},{:.0},{},{:.0},{:.0},{:.0},{},{},{sleeps},{}",
        utc(wall),
        decision.mode.name(),
        whole(surplus(site, decision)),
        fleet.budget.get(),
        quoted(&binding_words(site, &decision.binding)),
        fleet.draw.get(),
        fleet.setpoint.get(),
        fleet.shortfall.get(),
        whole(power),
        decision.commands.len(),
        decision.miners.iter().filter(|miner| trouble(miner.state)).count(),
    );
}

/// As CSV wants a text that may have commas in it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn show(text: &str, good: bool) -> Result<u8, Failure> {
    super::answer(text)?;
    Ok(u8::from(!good))
}

fn difference(text: &mut String, title: &str, difference: &Difference) {
    let _ = writeln!(
        text,
        "{title}: {}, cycle {} of {}",
        utc(difference.wall),
        difference.cycle,
        difference.segment.display()
    );
    for point in &difference.points {
        let _ = writeln!(text, "  {}: {} · now {}", point.what, point.recorded, point.replayed);
    }
}

fn words(verdict: &Verdict) -> String {
    let mut text = String::new();
    match (verdict.first_wall, verdict.last_wall) {
        (Some(first), Some(last)) => {
            let _ = writeln!(
                text,
                "{} cycles in {}, {} to {}",
                verdict.cycles,
                if verdict.segments == 1 { "1 file".into() } else { format!("{} files", verdict.segments) },
                utc(first),
                utc(last)
            );
        }
        _ => text.push_str("no cycle was recorded in this time\n"),
    }
    let programs: Vec<&str> = verdict.programs.iter().map(String::as_str).collect();
    if !programs.is_empty() {
        let own = env!("CARGO_PKG_VERSION");
        let _ = writeln!(text, "recorded by version {}, replayed by {own}", programs.join(", "));
    }
    for gap in &verdict.gaps {
        let _ = writeln!(text, "{} cycles are missing before {}: {}", gap.lost, utc(gap.wall), gap.reason);
    }
    for damage in &verdict.damaged {
        let _ = writeln!(text, "{damage}");
    }
    match &verdict.first {
        None if verdict.cycles > 0 => text.push_str("same: every cycle was decided as it was recorded\n"),
        None => {}
        Some(first) => {
            let _ = writeln!(text, "{} cycles differ", verdict.differing);
            difference(&mut text, "first difference", first);
        }
    }
    if let Some(first) = verdict.first_command.as_ref().filter(|it| verdict.first.as_ref() != Some(it)) {
        difference(&mut text, "first other command", first);
    }
    text
}

/// Names that one side alone has; the first few of many.
fn alone(text: &mut String, title: &str, names: &BTreeSet<String>) {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return;
    }
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let _ = writeln!(text, "{title}: {}{rest}", first.join(", "));
}

fn what_if_words(outcome: &WhatIf) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{} cycles, as recorded and with the other configuration", outcome.cycles);
    text.push_str(
        "What was recorded does not answer to the other commands: the miners draw what they drew, and the meters show it.\n",
    );
    let (one, other) = (&outcome.recorded, &outcome.other);
    let watts = Watts::saturating;
    let _ = writeln!(text, "mean budget of the fleet: {} · then {}", watts(one.budget), watts(other.budget));
    let _ = writeln!(text, "mean setpoint: {} · then {}", watts(one.setpoint), watts(other.setpoint));
    let _ = writeln!(
        text,
        "commands: {} ({} to sleep) · then {} ({} to sleep)",
        one.commands, one.sleeps, other.commands, other.sleeps
    );
    for (name, budget) in &one.circuits {
        if let Some(then) = other.circuits.get(name) {
            let _ = writeln!(text, "mean budget of {name}: {} · then {}", watts(*budget), watts(*then));
        }
    }
    alone(&mut text, "only in the record", &outcome.only_recorded);
    alone(&mut text, "only in the other configuration", &outcome.only_other);
    if outcome.only_other.iter().any(|name| name.starts_with("miner ")) {
        text.push_str(
            "Miners that were not recorded never answer here and count at the most that they can draw: setpoints and commands above \
             are not what would come of them.\n",
        );
    }
    for damage in &outcome.damaged {
        let _ = writeln!(text, "{damage}");
    }
    match &outcome.first {
        Some(first) => difference(&mut text, "first cycle that is decided differently", first),
        None => text.push_str("no budget and no command differs\n"),
    }
    text
}
