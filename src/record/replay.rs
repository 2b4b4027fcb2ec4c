//! A record is run through the control law again: it decides the same, or the first difference is told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::anonymous::Anonymous;
use super::delta::{Cycle, FLEET, HASHED, Outcome};
use super::folder;
use super::segment::{Encoder, Header, Reason, RecordError, Segment};
use crate::control::decision::{Cause, Command};
use crate::control::site::{CircuitId, MinerId, Site, SourceId};
use crate::control::snapshot::{
    Delivery, MeterInput, MinerInput, OrderCap, Outcome as Answer, Snapshot, Target,
};
use crate::control::{Decision, State, step};

/// Most differences of one cycle that are told.
const MOST_TOLD: usize = 12;
/// Cycles of a block of a record that is cut out.
const BLOCK: u64 = 600;

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

/// What two configurations would have come to, over the same time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// Mean budget of the fleet, in watts.
    pub budget: f64,
    /// Mean of what the fleet is set to, in watts.
    pub setpoint: f64,
    /// Commands.
    pub commands: u64,
    /// Commands to sleep among them.
    pub sleeps: u64,
    /// Of each circuit by name, its mean budget in watts.
    pub circuits: BTreeMap<String, f64>,
}

/// What another configuration would have done with the same inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WhatIf {
    /// Cycles in the window.
    pub cycles: u64,
    /// As recorded.
    pub recorded: Tally,
    /// With the other configuration.
    pub other: Tally,
    /// The first cycle in which the budget differs by a watt or more, or other commands are sent.
    pub first: Option<Difference>,
    /// What is in the record alone, by name.
    pub only_recorded: BTreeSet<String>,
    /// What is in the other configuration alone, by name: nothing was ever heard of it, so it counts as what it may draw.
    pub only_other: BTreeSet<String>,
    /// What could not be read.
    pub damaged: Vec<String>,
}

fn add(tally: &mut Tally, site: &Site, decision: &Decision) {
    tally.budget += decision.fleet.budget.get();
    tally.setpoint += decision.fleet.setpoint.get();
    for command in &decision.commands {
        tally.commands += 1;
        tally.sleeps += u64::from(command.target == Target::Sleep);
    }
    for (circuit, decided) in site.circuits.iter().zip(&decision.circuits) {
        *tally.circuits.entry(circuit.name.clone()).or_default() += decided.budget.get();
    }
}

fn divide(tally: &mut Tally, cycles: u64) {
    let by = f64::from(u32::try_from(cycles.max(1)).unwrap_or(u32::MAX));
    tally.budget /= by;
    tally.setpoint /= by;
    tally.circuits.values_mut().for_each(|value| *value /= by);
}

/// The latest command to each miner.
type Sent = BTreeMap<MinerId, Command>;

/// Where each part of a site is in another one, by name.
struct Match {
    meters: Vec<Option<usize>>,
    miners: Vec<Option<usize>>,
    circuits: Vec<Option<usize>>,
    /// From the recorded to the other one.
    back: BTreeMap<usize, usize>,
    sources: BTreeMap<usize, usize>,
}

fn places<'n>(from: impl Iterator<Item = &'n str>, to: impl Iterator<Item = &'n str>) -> Vec<Option<usize>> {
    let known: BTreeMap<&str, usize> = from.enumerate().map(|(at, name)| (name, at)).collect();
    to.map(|name| known.get(name).copied()).collect()
}

fn turned(places: &[Option<usize>]) -> BTreeMap<usize, usize> {
    places.iter().enumerate().filter_map(|(to, from)| Some(((*from)?, to))).collect()
}

fn devices(site: &Site) -> impl Iterator<Item = &str> {
    site.meters.iter().filter(|meter| meter.combined.is_none()).map(|meter| meter.name.as_str())
}

fn miners(site: &Site) -> impl Iterator<Item = &str> {
    site.miners.iter().map(|miner| miner.name.as_str())
}

fn circuits(site: &Site) -> impl Iterator<Item = &str> {
    site.circuits.iter().map(|circuit| circuit.name.as_str())
}

fn sources(site: &Site) -> impl Iterator<Item = &str> {
    site.sources.iter().map(|source| source.name.as_str())
}

impl Match {
    fn new(recorded: &Site, other: &Site) -> Self {
        let circuits = places(circuits(recorded), circuits(other));
        Self {
            meters: places(devices(recorded), devices(other)),
            miners: places(miners(recorded), miners(other)),
            back: turned(&circuits),
            circuits,
            sources: turned(&places(sources(recorded), sources(other))),
        }
    }

    /// What the other site would have been told. A command that was sent as recorded is answered as recorded; another one
    /// counts as accepted at once.
    fn told(&self, snapshot: &Snapshot, recorded: &Sent, sent: &Sent) -> Snapshot {
        let meter = |from: &Option<usize>| {
            from.and_then(|from| snapshot.meters.get(from)).copied().unwrap_or(MeterInput::PENDING)
        };
        let miner = |(at, from): (usize, &Option<usize>)| {
            let input = from.and_then(|from| snapshot.miners.get(from)).cloned();
            let mut input = input.unwrap_or(MinerInput::PENDING);
            let own = from.and_then(|from| recorded.get(&MinerId(from)));
            if let Some(command) = sent.get(&MinerId(at)).filter(|command| own != Some(command)) {
                input.delivery = Some(Delivery {
                    sequence: command.sequence,
                    target: command.target,
                    at: snapshot.now,
                    outcome: Answer::Accepted,
                });
            }
            input
        };
        let breaker = |from: &Option<usize>| {
            let input = from.and_then(|from| snapshot.breakers.get(from)).cloned();
            input.unwrap_or(MinerInput::PENDING)
        };
        let order = |order: &OrderCap| {
            let source = SourceId(*self.sources.get(&order.source.0)?);
            let circuit = CircuitId(*self.back.get(&order.active.circuit.0)?);
            let active = crate::control::signal::Active { circuit, ..order.active.clone() };
            Some(OrderCap { source, active })
        };
        Snapshot {
            now: snapshot.now,
            meters: self.meters.iter().map(meter).collect(),
            miners: self.miners.iter().enumerate().map(miner).collect(),
            orders: snapshot.orders.iter().filter_map(order).collect(),
            breakers: self.circuits.iter().map(breaker).collect(),
        }
    }
}

/// What is in the first of two sites alone.
fn only(one: &Site, other: &Site) -> BTreeSet<String> {
    let both: [(&str, BTreeSet<&str>, BTreeSet<&str>); 4] = [
        ("meter", devices(one).collect(), devices(other).collect()),
        ("miner", miners(one).collect(), miners(other).collect()),
        ("circuit", circuits(one).collect(), circuits(other).collect()),
        ("source", sources(one).collect(), sources(other).collect()),
    ];
    let each = both
        .iter()
        .flat_map(|(kind, one, other)| one.difference(other).map(move |name| format!("{kind} {name}")));
    each.collect()
}

/// Runs another site's configuration over what was recorded. Miners, meters, circuits and sources are matched by name. What
/// was recorded does not answer to what the other configuration commands.
///
/// # Errors
/// Nothing of it can be read, or the site has none of the recorded miners.
pub fn what_if(files: &[PathBuf], window: Window, site: &Arc<Site>) -> Result<WhatIf, RecordError> {
    let mut all = WhatIf::default();
    let mut damaged = Vec::new();
    let mut segments = Segments::new(files, window, &mut damaged);
    let mut stopped = Vec::new();
    let mut carried: Option<(State, Sent, Sent)> = None;
    let mut opened = false;
    while let Some(mut segment) = segments.next() {
        opened = true;
        let mut own = segment.state.clone();
        let goes_on = segment.header.reason == Reason::Turn && segment.header.lost == 0;
        let (mut other, mut recorded, mut sent) = carried.take().filter(|_| goes_on).unwrap_or_else(|| {
            // As it is after a reload, which the same configuration needs none of.
            let mut other = own.clone();
            if *segment.site != **site {
                other = State::new(site.clone());
                other.inherit(&own);
            }
            (other, Sent::new(), Sent::new())
        });
        let places = Match::new(&segment.site, site);
        if places.miners.iter().all(Option::is_none) {
            return Err(RecordError::OtherSite {
                recorded: segment.site.name.clone(),
                other: site.name.clone(),
            });
        }
        all.only_recorded.append(&mut only(&segment.site, site));
        all.only_other.append(&mut only(site, &segment.site));
        let mut number = 0;
        loop {
            let cycle = match segment.next_cycle() {
                Ok(Some(cycle)) if !window.is_after(cycle.wall) => cycle,
                Ok(_) => break,
                Err(error) => {
                    stopped.push(error.to_string());
                    break;
                }
            };
            number += 1;
            let told = places.told(&cycle.snapshot, &recorded, &sent);
            let (Some(before), Some(after)) = (decide(&mut own, &cycle.snapshot), decide(&mut other, &told))
            else {
                stopped.push(impossible(&segment, number));
                break;
            };
            recorded.extend(before.commands.iter().map(|command| (command.miner, *command)));
            sent.extend(after.commands.iter().map(|command| (command.miner, *command)));
            if window.is_before(cycle.wall) {
                continue;
            }
            all.cycles += 1;
            add(&mut all.recorded, &segment.site, &before);
            add(&mut all.other, site, &after);
            if all.first.is_none() {
                let points = apart(&segment.site, &before, site, &after);
                all.first = (!points.is_empty()).then(|| Difference {
                    segment: segment.path().to_owned(),
                    cycle: number,
                    wall: cycle.wall,
                    points,
                });
            }
        }
        carried = Some((other, recorded, sent));
    }
    drop(segments);
    damaged.append(&mut stopped);
    divide(&mut all.recorded, all.cycles);
    divide(&mut all.other, all.cycles);
    match (opened, files) {
        (false, [only]) => Segment::open(only).map(|_| all),
        _ => Ok(WhatIf { damaged, ..all }),
    }
}

/// What two configurations decide differently in a cycle.
fn apart(site: &Site, before: &Decision, other_site: &Site, after: &Decision) -> Vec<Discrepancy> {
    let mut points = Vec::new();
    let (one, other) = (before.fleet.budget, after.fleet.budget);
    if (one.get() - other.get()).abs() >= 1.0 {
        points.push(Discrepancy {
            what: "budget of the fleet".into(),
            recorded: one.to_string(),
            replayed: other.to_string(),
        });
    }
    let named = |site: &Site, decision: &Decision| -> BTreeMap<String, (Target, Cause)> {
        let each =
            decision.commands.iter().map(|it| (name(site, it.miner).to_owned(), (it.target, it.cause)));
        each.collect()
    };
    let (one, other) = (named(site, before), named(other_site, after));
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let commands = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    points.extend(commands.map(|name| Discrepancy {
        what: format!("command to {name}"),
        recorded: command(one.get(name)),
        replayed: command(other.get(name)),
    }));
    points.truncate(MOST_TOLD);
    points
}

/// What to cut out of a record, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// From when to when.
    pub window: Window,
    /// Without names, texts and the hash of the configuration.
    pub anonymise: bool,
    /// What is recorded as decided is what this program decides.
    pub decide_anew: bool,
}

/// Why nothing was cut out.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Written {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in the window.
    #[error(
        "nothing was recorded in this time; ballast replay without --from and --to shows from when to when there is something"
    )]
    Empty,
}

/// Cuts a piece out of a record, as segments of their own in a folder. Returns them. A piece begins where the window does, as
/// long as the control law still comes to the state that it had there; else where the segment does.
///
/// # Errors
/// It cannot be read, or not be written, or there is nothing in the window.
pub fn cut(files: &[PathBuf], how: Cut, to: &Path) -> Result<Vec<PathBuf>, CutError> {
    let mut damaged = Vec::new();
    let mut segments = Segments::new(files, how.window, &mut damaged);
    let mut written = Vec::new();
    let mut names = Anonymous::default();
    while let Some(segment) = segments.next() {
        let path = segment.path().to_owned();
        drop(segment);
        written.extend(cut_one(&path, how, &mut names, to)?);
    }
    if let (true, [only]) = (written.is_empty(), files) {
        Segment::open(only)?;
    }
    if written.is_empty() { Err(CutError::Empty) } else { Ok(written) }
}

/// How many cycles of a segment come before the window; none, where the control law comes to another state on the way there.
fn ahead(path: &Path, window: Window) -> Result<u64, RecordError> {
    let mut segment = Segment::open(path)?;
    let mut state = segment.state.clone();
    let mut number = 0;
    while let Ok(Some(cycle)) = segment.next_cycle() {
        if !window.is_before(cycle.wall) {
            return Ok(number);
        }
        let decided = decide(&mut state, &cycle.snapshot).map(|decision| Outcome::of(&decision));
        if decided.as_ref() != Some(&cycle.outcome) {
            return Ok(0);
        }
        number += 1;
    }
    Ok(number)
}

fn cut_one(path: &Path, how: Cut, names: &mut Anonymous, to: &Path) -> Result<Option<PathBuf>, CutError> {
    let skip = ahead(path, how.window)?;
    let mut segment = Segment::open(path)?;
    let mut state = segment.state.clone();
    let mut bytes = Vec::new();
    let mut encoder: Option<Encoder> = None;
    let mut begun = None;
    let mut number = 0;
    // A torn end is no reason not to keep the rest.
    while let Ok(Some(mut cycle)) = segment.next_cycle() {
        if how.window.is_after(cycle.wall) {
            break;
        }
        number += 1;
        let before = (number == skip + 1).then(|| state.clone());
        let Some(decision) = decide(&mut state, &cycle.snapshot) else { break };
        if number <= skip {
            continue;
        }
        if how.decide_anew {
            cycle.outcome = Outcome::of(&decision);
        }
        if let Some(before) = before {
            let mut header =
                Header { wall: cycle.wall, reason: Reason::Cut, lost: 0, ..segment.header.clone() };
            if how.anonymise {
                names.hide_site(&mut header.site);
                header.configuration = [0; 32];
            }
            let (begins, first) = Encoder::begin(&header, &before);
            (encoder, bytes, begun) = (Some(begins), first, Some(cycle.wall));
        }
        if how.anonymise {
            names.hide_texts(&mut cycle.snapshot);
        }
        if let Some(encoder) = &mut encoder {
            encoder.cycle(cycle.wall, &cycle.snapshot, &cycle.outcome);
            if encoder.waiting() >= BLOCK {
                bytes.extend_from_slice(&encoder.block());
            }
        }
    }
    let (Some(mut encoder), Some(wall)) = (encoder, begun) else { return Ok(None) };
    bytes.extend_from_slice(&encoder.block());
    let file = to.join(folder::name(wall));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CutError::Written { path, source }
    };
    std::fs::create_dir_all(to).map_err(failed(to))?;
    let open = std::fs::OpenOptions::new().write(true).create_new(true).open(&file);
    open.and_then(|mut open| open.write_all(&bytes)).map_err(failed(&file))?;
    Ok(Some(file))
}
