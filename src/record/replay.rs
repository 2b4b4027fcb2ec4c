//! A record is run through the control law again: it decides the same, or the first difference is told.

mod cut;
mod what_if;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use serde::Serialize;

use super::delta::{Cycle, FLEET, HASHED, Outcome};
use super::segment::{Reason, RecordError, Segment};
use crate::control::decision::{Cause, Command};
use crate::control::site::{MinerId, Site};
use crate::control::snapshot::{Snapshot, Target};
use crate::control::{Decision, State, step};
pub use cut::{Cut, CutError, cut};
pub use what_if::{Tally, WhatIf, what_if};

/// Most differences of one cycle that are told.
const MOST_TOLD: usize = 12;

/// From when to when, in milliseconds since 1970, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// `None`: from the beginning.
    pub from: Option<i64>,
    /// `None`: to the end.
    pub to: Option<i64>,
}

impl Window {
    fn is_before(self, wall: i64) -> bool {
        self.from.is_some_and(|from| wall < from)
    }

    fn is_after(self, wall: i64) -> bool {
        self.to.is_some_and(|to| wall > to)
    }
}

/// One thing that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discrepancy {
    /// What.
    pub what: String,
    /// As recorded.
    pub recorded: String,
    /// As it came out now.
    pub replayed: String,
}

/// A cycle in which something differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which file.
    pub segment: PathBuf,
    /// Which cycle of it; the first is 1.
    pub cycle: u64,
    /// When, in milliseconds since 1970.
    pub wall: i64,
    /// What differs, at most a dozen.
    pub points: Vec<Discrepancy>,
}

/// What is missing in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// When the record goes on, in milliseconds since 1970.
    pub wall: i64,
    /// How many cycles are missing.
    pub lost: u64,
    /// Why.
    pub reason: &'static str,
}

/// What came out of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Segments with cycles in the window.
    pub segments: u64,
    /// Cycles in the window.
    pub cycles: u64,
    /// When the first and the last of them were, in milliseconds since 1970.
    pub first_wall: Option<i64>,
    /// See [`Verdict::first_wall`].
    pub last_wall: Option<i64>,
    /// Versions of the program that wrote it.
    pub programs: BTreeSet<String>,
    /// Hashes of the configurations, in hexadecimal digits.
    pub configurations: BTreeSet<String>,
    /// Cycles that differ.
    pub differing: u64,
    /// The first cycle in which anything differs.
    pub first: Option<Difference>,
    /// The first cycle in which other commands are sent.
    pub first_command: Option<Difference>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// What could not be read.
    pub damaged: Vec<String>,
}

impl Verdict {
    /// Whether all that could be read came out as it was recorded.
    pub fn same(&self) -> bool {
        self.first.is_none()
    }
}

/// One cycle of the control law. What was read may be made so that no law can go on with it.
fn decide(state: &mut State, snapshot: &Snapshot) -> Option<Decision> {
    catch_unwind(AssertUnwindSafe(|| step(state, snapshot))).ok()
}

fn impossible(segment: &Segment, cycle: u64) -> String {
    format!("{}: the control law cannot go on with cycle {cycle}", segment.path().display())
}

fn target(target: Option<Target>) -> String {
    match target {
        None => "nothing".into(),
        Some(Target::Sleep) => "sleep".into(),
        Some(Target::Power(power)) => format!("{:.3} W", power.get()),
    }
}

fn name(site: &Site, miner: MinerId) -> &str {
    site.miners.get(miner.0).map_or("a miner that is not there", |miner| &miner.name)
}

fn by_miner(commands: &[Command]) -> BTreeMap<MinerId, (Target, Cause)> {
    commands.iter().map(|command| (command.miner, (command.target, command.cause))).collect()
}

fn command(command: Option<&(Target, Cause)>) -> String {
    command.map_or_else(
        || String::from("none"),
        |(to, cause)| format!("{} ({})", target(Some(*to)), cause.name()),
    )
}

fn other_commands(site: &Site, recorded: &Outcome, replayed: &Outcome) -> Vec<Discrepancy> {
    let (one, other) = (by_miner(&recorded.commands), by_miner(&replayed.commands));
    let miners: BTreeSet<MinerId> = one.keys().chain(other.keys()).copied().collect();
    let mut points: Vec<Discrepancy> = miners
        .into_iter()
        .filter(|miner| one.get(miner) != other.get(miner))
        .map(|miner| Discrepancy {
            what: format!("command to {}", name(site, miner)),
            recorded: command(one.get(&miner)),
            replayed: command(other.get(&miner)),
        })
        .collect();
    if points.is_empty() && recorded.commands != replayed.commands {
        let numbers = |commands: &[Command]| {
            let numbers: Vec<String> = commands.iter().map(|command| command.sequence.to_string()).collect();
            format!("numbers {}", numbers.join(", "))
        };
        points.push(Discrepancy {
            what: "commands".into(),
            recorded: numbers(&recorded.commands),
            replayed: numbers(&replayed.commands),
        });
    }
    if recorded.breakers != replayed.breakers {
        let opened = |outcome: &Outcome| {
            let names = outcome.breakers.iter().filter_map(|breaker| site.circuits.get(breaker.circuit.0));
            let names: Vec<&str> = names.map(|circuit| circuit.name.as_str()).collect();
            if names.is_empty() { "none".into() } else { names.join(", ") }
        };
        let (recorded, replayed) = (opened(recorded), opened(replayed));
        points.push(Discrepancy { what: "breakers that are opened".into(), recorded, replayed });
    }
    points
}

/// What differs between two outcomes of a cycle, what matters most first.
fn compare(site: &Site, recorded: &Outcome, replayed: &Outcome) -> Vec<Discrepancy> {
    let mut points = other_commands(site, recorded, replayed);
    if recorded.mode != replayed.mode {
        points.push(Discrepancy {
            what: "mode".into(),
            recorded: recorded.mode.name().into(),
            replayed: replayed.mode.name().into(),
        });
    }
    for ((what, one), other) in FLEET.iter().zip(recorded.fleet).zip(replayed.fleet) {
        if one.to_bits() != other.to_bits() {
            points.push(Discrepancy {
                what: format!("{what} of the fleet"),
                recorded: format!("{one} W"),
                replayed: format!("{other} W"),
            });
        }
    }
    for (at, (one, other)) in recorded.miners.iter().zip(&replayed.miners).enumerate() {
        if one != other {
            let words = |it: &(_, _)| {
                let (state, setpoint): &(crate::control::decision::MinerState, Option<Target>) = it;
                format!("{}, set to {}", state.name(), target(*setpoint))
            };
            points.push(Discrepancy {
                what: name(site, MinerId(at)).into(),
                recorded: words(one),
                replayed: words(other),
            });
        }
    }
    let shown = !points.is_empty();
    for ((what, one), other) in HASHED.iter().zip(recorded.hashes).zip(replayed.hashes) {
        if one != other && (!shown || points.len() < MOST_TOLD) {
            points.push(Discrepancy {
                what: format!("numbers of {what}, by their hash"),
                recorded: format!("{one:04x}"),
                replayed: format!("{other:04x}"),
            });
        }
    }
    points.truncate(MOST_TOLD);
    points
}

fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The segments of a record that reach into a window, opened one after the other. What cannot be opened is noted.
struct Segments<'w> {
    files: std::slice::Iter<'w, PathBuf>,
    next: Option<Segment>,
    window: Window,
    damaged: &'w mut Vec<String>,
}

impl<'w> Segments<'w> {
    fn new(files: &'w [PathBuf], window: Window, damaged: &'w mut Vec<String>) -> Self {
        Self { files: files.iter(), next: None, window, damaged }
    }

    fn open(&mut self) -> Option<Segment> {
        for file in self.files.by_ref() {
            match Segment::open(file) {
                Ok(segment) => return Some(segment),
                Err(error) => self.damaged.push(error.to_string()),
            }
        }
        None
    }

    fn next(&mut self) -> Option<Segment> {
        let mut now = self.next.take().or_else(|| self.open())?;
        loop {
            if self.window.is_after(now.header.wall) {
                return None;
            }
            self.next = self.open();
            // It ends where the next one begins.
            match self.next.take() {
                Some(next) if self.window.is_before(next.header.wall) => now = next,
                next => {
                    self.next = next;
                    return Some(now);
                }
            }
        }
    }
}

/// A cycle that was run again.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// The site.
    pub site: &'a Site,
    /// Wall-clock time, in milliseconds since 1970.
    pub wall: i64,
    /// What was decided, again.
    pub decision: &'a Decision,
}

/// Runs a record again and compares.
///
/// # Errors
/// Nothing of it can be read.
pub fn verify(files: &[PathBuf], window: Window) -> Result<Verdict, RecordError> {
    verify_with(files, window, &mut |_| {})
}

/// Runs a record again and compares. `each` is told of each cycle in the window.
///
/// # Errors
/// Nothing of it can be read.
pub fn verify_with(
    files: &[PathBuf],
    window: Window,
    each: &mut dyn FnMut(Again<'_>),
) -> Result<Verdict, RecordError> {
    let mut verdict = Verdict::default();
    let mut damaged = Vec::new();
    let mut segments = Segments::new(files, window, &mut damaged);
    let mut carried: Option<State> = None;
    let mut opened = false;
    let mut stopped = Vec::new();
    while let Some(mut segment) = segments.next() {
        opened = true;
        if segment.header.lost > 0 {
            verdict.gaps.push(Gap {
                wall: segment.header.wall,
                lost: segment.header.lost,
                reason: segment.header.reason.words(),
            });
        }
        let mut state = segment.state.clone();
        let goes_on = segment.header.reason == Reason::Turn && segment.header.lost == 0;
        if let Some(before) = carried.take().filter(|_| goes_on) {
            note_jump(&mut verdict, &segment, &before, &state);
        }
        let (mut number, mut inside) = (0, 0);
        let whole = loop {
            let cycle = match segment.next_cycle() {
                Ok(Some(cycle)) if !window.is_after(cycle.wall) => cycle,
                Ok(Some(_)) => break false,
                Ok(None) => break true,
                Err(error) => {
                    stopped.push(error.to_string());
                    break false;
                }
            };
            number += 1;
            let Some(decision) = decide(&mut state, &cycle.snapshot) else {
                stopped.push(impossible(&segment, number));
                break false;
            };
            if window.is_before(cycle.wall) {
                continue;
            }
            inside += 1;
            verdict.first_wall.get_or_insert(cycle.wall);
            verdict.last_wall = Some(cycle.wall);
            each(Again { site: &segment.site, wall: cycle.wall, decision: &decision });
            note_cycle(&mut verdict, &segment, number, &cycle, &Outcome::of(&decision));
        };
        if inside > 0 {
            verdict.segments += 1;
            verdict.cycles += inside;
            verdict.programs.insert(segment.header.program.clone());
            verdict.configurations.insert(hexadecimal(&segment.header.configuration));
        }
        carried = whole.then_some(state);
    }
    drop(segments);
    damaged.append(&mut stopped);
    match (opened, files) {
        // With one file, why it cannot be read is the answer.
        (false, [only]) => Segment::open(only).map(|_| verdict),
        _ => Ok(Verdict { damaged, ..verdict }),
    }
}

/// Whether a segment was written by this version. What another one worked its hashes out of may have had other fields.
fn of_this_version(segment: &Segment) -> bool {
    segment.header.program == env!("CARGO_PKG_VERSION")
}

fn note_cycle(verdict: &mut Verdict, segment: &Segment, number: u64, cycle: &Cycle, replayed: &Outcome) {
    let mut replayed = replayed.clone();
    if !of_this_version(segment) {
        replayed.hashes = cycle.outcome.hashes;
    }
    let replayed = &replayed;
    if cycle.outcome == *replayed {
        return;
    }
    verdict.differing += 1;
    let difference =
        |points| Difference { segment: segment.path().to_owned(), cycle: number, wall: cycle.wall, points };
    if verdict.first.is_none() {
        verdict.first = Some(difference(compare(&segment.site, &cycle.outcome, replayed)));
    }
    let commands = other_commands(&segment.site, &cycle.outcome, replayed);
    if verdict.first_command.is_none() && !commands.is_empty() {
        verdict.first_command = Some(difference(commands.into_iter().take(MOST_TOLD).collect()));
    }
}

/// A segment that goes on from the one before begins with the state in which that one ended, to the last bit.
fn note_jump(verdict: &mut Verdict, segment: &Segment, before: &State, state: &State) {
    let bytes = |state: &State| rmp_serde::to_vec(state).unwrap_or_default();
    if verdict.first.is_some() || !of_this_version(segment) || bytes(before) == bytes(state) {
        return;
    }
    let point = Discrepancy {
        what: "the state at the beginning of this segment".into(),
        recorded: "as kept".into(),
        replayed: "another one, after the segment before".into(),
    };
    verdict.first = Some(Difference {
        segment: segment.path().to_owned(),
        cycle: 0,
        wall: segment.header.wall,
        points: vec![point],
    });
}
