//! A site's own configuration on a recorded surplus: the real control law and the simulated plant in simulated time, beside
//! the ways in which people follow a surplus today and a bound with perfect foresight.
//!
//! A long recording is cut into parts that are simulated side by side; each begins with a warm-up that is not counted. The
//! parts follow from the recording alone, so that the result is the same whatever the number of threads.

mod classes;
mod habits;
mod known;
mod ledger;
mod text;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::number;
use super::trace::{Trace, instant};
use crate::clock::Moment;
use crate::config::Config;
use crate::control::decision::Decision;
use crate::control::site::{Actuator, Cap, LimitClass, LoadClass, Miner, Site};
use crate::sim::curve::Curve;
use crate::sim::miner::Initial;
use crate::sim::replay::{Replay, Setup, Steps, Watcher};
use crate::sim::scenario::{OtherLoad, Scenario};
use crate::sim::site::SimError;
use crate::sim::truth::Flows;
use crate::units::Watts;
use classes::Members;
pub use classes::{Accounts, ClassAccount, ClassResult};
pub use habits::Habit;
pub use known::{Place, Played, Uncounted};
pub use ledger::{Account, BILLING, Ledger, Ramps, share};
pub use text::report;

/// What the bound with perfect foresight is.
pub const BOUND: &str = "the energy of min(surplus, full power of all miners), of every moment at which the surplus is enough \
                         for the least power of the smallest miner: no fleet with these floors takes more, and one that \
                         knew the future, started at once and could be set to any watt would take just this";

/// A scenario in which nothing happens.
const NOTHING: &str = "description = \"nothing happens\"\n";

/// Parts of a long recording, and of a short one; up to which length it is short.
const LONG_PART: i64 = 24 * 3600;
const SHORT_PART: i64 = 6 * 3600;
const SHORT: i64 = 4 * 24 * 3600;
/// A gap that is not simulated: what comes before it has no influence on what comes after.
const GAP: i64 = 2 * 3600;
/// From this interval on nothing moves from second to second.
const SMOOTH: Duration = Duration::from_secs(60);
/// Progress is told each time so much was simulated.
const STRIDE: Duration = Duration::from_secs(600);
/// The most threads.
const MOST_THREADS: usize = 64;

/// How it is simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// All randomness of the plant: spread of the miners, noise of meters.
    pub seed: u64,
    /// Restlessness within the intervals of the trace, as a share of the power; 0 for none.
    pub noise: f64,
    /// How long each part runs before it is counted.
    pub warm_up: Duration,
    /// How time goes on.
    pub steps: Steps,
    /// A cycle comes early for a fresh meter value, but not sooner than this part of the control period.
    pub earliest: f64,
    /// How far apart cycles may be while the surplus hardly moves; `None` for every cycle of the daemon. Only on traces of a
    /// minute and more without added noise: where something moves from second to second it is not the same.
    pub calm: Option<Duration>,
    /// Threads; `None` for as many as there are cores.
    pub threads: Option<NonZeroUsize>,
    /// Whether the trace is cut into parts.
    pub parts: bool,
    /// Whether the ways of today are simulated, too.
    pub habits: bool,
    /// Dollars for a PH/s and day, if told.
    pub hash_price: Option<f64>,
    /// Dollars for a MWh of surplus, if told.
    pub power_price: Option<f64>,
    /// Dollars for a MWh from the grid; if not told, that of the surplus.
    pub import_price: Option<f64>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            seed: 1,
            noise: 0.0,
            warm_up: Duration::from_secs(900),
            steps: Steps::Adaptive,
            earliest: 0.25,
            calm: None,
            threads: None,
            parts: true,
            habits: true,
            hash_price: None,
            power_price: None,
            import_price: None,
        }
    }
}

/// Why a site cannot be simulated on a trace.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// Nothing in the configuration follows the surplus.
    #[error(
        "no limit of class \"surplus\" is in this configuration, so nothing would follow the trace; add \
         [limits.follow-surplus] with circuit = \"{root}\" and import = \"0 W\""
    )]
    NoSurplusLimit {
        /// The root circuit.
        root: String,
    },
    /// What follows the surplus has no meter.
    #[error(
        "the limit `{limit}` follows the surplus at the circuit `{circuit}`, which has no meter: add `meter = \"…\"` to \
         [circuits.{circuit}], and the meter under [meters.…]"
    )]
    NoMeter {
        /// The limit.
        limit: String,
        /// Its circuit.
        circuit: String,
    },
    /// What follows the surplus does not hang where the surplus is.
    #[error(
        "the limit `{limit}` follows a surplus at the circuit `{circuit}`, but the trace is the surplus at the point of common \
         coupling, `{root}`: put the limit there"
    )]
    NotAtRoot {
        /// The limit.
        limit: String,
        /// Its circuit.
        circuit: String,
        /// The root circuit.
        root: String,
    },
    /// Nobody can be commanded.
    #[error("this configuration has no miner that can be commanded")]
    NoMiners,
    /// The site only observes.
    #[error(
        "this configuration only observes (mode = \"observe\"), so nothing would be commanded; simulate a copy with mode = \"control\""
    )]
    Observes,
    /// The trace is too short.
    #[error(
        "the trace is known for {length:?} without a long gap, and the warm-up, which is not counted, is {warm_up:?}; give a \
         longer trace or a shorter --warm-up"
    )]
    TooShort {
        /// How long the longest stretch of it without a long gap is.
        length: Duration,
        /// The warm-up.
        warm_up: Duration,
    },
    /// The scenario does not fit the site, or the site cannot be simulated.
    #[error(transparent)]
    Site(#[from] SimError),
}

/// One way to follow the surplus, and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    /// What was counted.
    #[serde(flatten)]
    pub account: Account,
    /// Taken, as a share of the bound; `None` where that is nothing.
    pub captured_share: Option<f64>,
    /// Added import, second by second, as a share of the surplus.
    pub import_share: Option<f64>,
    /// Commands for each miner and hour.
    pub commands_per_miner_hour: f64,
    /// Starts for each miner and day.
    pub starts_per_miner_day: f64,
    /// What the hashes earn, in dollars, where the hash price is told.
    pub earned: Option<f64>,
    /// What is left of it after the power, in dollars, where prices are told.
    pub left_after_power: Option<f64>,
}

/// A simulation and its result.
#[derive(Clone, Debug, Serialize)]
pub struct Simulation {
    /// The trace.
    pub trace: String,
    /// The site, by its configuration.
    pub site: String,
    /// Miners of the site.
    pub miners: usize,
    /// What all of them draw at full power, in watts.
    pub full_power_watts: f64,
    /// The least power of the smallest, in watts.
    pub least_power_watts: f64,
    /// The beginning of the trace, in its zone.
    pub first: String,
    /// Its end.
    pub last: String,
    /// The zone.
    pub zone: String,
    /// The trace's interval, in seconds.
    pub interval_seconds: i64,
    /// Restlessness that was added within the intervals, as a share.
    pub noise: f64,
    /// The seed of the plant.
    pub seed: u64,
    /// The scenario that was played; `None` where nothing goes wrong.
    pub scenario: Option<Played>,
    /// What has to be known before the figures are read.
    pub notes: Vec<String>,
    /// Parts that were simulated apart.
    pub parts: usize,
    /// Time at the beginning of the trace and after long gaps that was simulated and not counted, in hours.
    pub warm_up_hours: f64,
    /// Time that was not simulated at all, in hours: gaps of more than two hours, and stretches between them that are no longer
    /// than the warm-up.
    pub gap_hours: f64,
    /// Ballast first; then the others.
    pub ways: Vec<Way>,
    /// Of Ballast, by class, who gives power up first stands first; absent for a fleet of miners alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassResult>,
    /// What the bound is.
    pub bound: &'static str,
    /// The bound, in watt-hours.
    pub bound_watt_hours: f64,
    /// What the simulation leaves out, and what the trace hides.
    pub left_out: Vec<String>,
}

/// A part of the trace: simulated from `begins` on, counted from `counts` to `ends`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    begins: Duration,
    counts: Duration,
    ends: Duration,
}

/// Simulates a site on a trace. Without a scenario nothing goes wrong, nothing is ordered, and the miners begin as the surplus
/// would have them; with one they begin as it says. `progress` is told how much of how much is done, in steps of simulated time;
/// several threads call it.
///
/// # Errors
/// See [`SimulateError`].
pub fn simulate(
    config: &Config,
    scenario: Option<&Scenario>,
    trace: &Trace,
    told: &Told,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Simulation, SimulateError> {
    follows(&config.site)?;
    let interval = Duration::from_secs(u64::try_from(trace.step).unwrap_or(1));
    let curve = Curve::new(&trace.values, interval).with_flutter(told.noise, told.seed);
    if curve.length() <= told.warm_up {
        return Err(SimulateError::TooShort { length: curve.length(), warm_up: told.warm_up });
    }
    let curve = Arc::new(curve);
    let told_scenario = scenario;
    let nothing = Scenario::parse("nothing", NOTHING).map_err(SimError::from)?;
    let scenario = Scenario { seed: told.seed, ..bare(scenario.unwrap_or(&nothing)) };
    let local = trace.local().first().copied().unwrap_or(0);
    let parts =
        if told.parts { parts(trace, local, told.warm_up) } else { vec![whole(&curve, told.warm_up)] };
    known::counts(&parts, longest(trace), told.warm_up)?;
    let begins_told = told_scenario.is_some();
    let job = Job { config, scenario: &scenario, begins_told, curve: &curve, told, local };
    let mut ways: Vec<Option<Habit>> = vec![None];
    if told.habits {
        ways.extend(Habit::ALL.map(Some));
    }
    let accounts = job.all(&ways, &parts, progress)?;
    let site = &config.site;
    let account = accounts.first().copied().unwrap_or_default();
    let played = told_scenario.map(|_| known::played(&scenario, trace, &curve, &parts));
    let notes = known::notes(config, &account, played.as_ref(), told);
    let warm_up: Duration = parts.iter().map(|part| part.counts.saturating_sub(part.begins)).sum();
    let overlaps =
        parts.iter().zip(parts.iter().skip(1)).filter(|(one, next)| one.ends == next.counts).count();
    let overlap = told.warm_up.saturating_mul(u32::try_from(overlaps).unwrap_or(u32::MAX));
    let warm_up_hours = warm_up.saturating_sub(overlap).as_secs_f64() / 3600.0;
    let simulated = account.known_hours + account.unknown_hours + warm_up_hours;
    let gap_hours = curve.length().as_secs_f64() / 3600.0 - simulated;
    Ok(Simulation {
        trace: trace.name.clone(),
        site: site.name.clone(),
        miners: site.miners.len(),
        full_power_watts: full_power(site).get(),
        least_power_watts: least_power(site).get(),
        first: trace.told(0),
        last: instant(trace.at(trace.values.len()), &trace.zone),
        zone: trace.zone_name.clone(),
        interval_seconds: trace.step,
        noise: told.noise,
        seed: told.seed,
        parts: parts.len(),
        scenario: played,
        notes,
        warm_up_hours,
        // What is left of rounding is no gap.
        gap_hours: if gap_hours > 1e-3 { gap_hours } else { 0.0 },
        ways: ways
            .into_iter()
            .zip(accounts)
            .map(|(habit, account)| way(habit, account, site, told))
            .collect(),
        classes: classes::results(site, &account.classes, account.known_hours),
        bound: BOUND,
        bound_watt_hours: account.usable_watt_hours,
        left_out: left_out(config, trace, told),
    })
}

/// Single stretches of a surplus alone, each with a warm-up before it: what a site takes in all of them together. `values` are
/// watts to spare on equal intervals, NaN where that is not known; stretches are from and to, from the beginning on.
///
/// # Errors
/// See [`SimulateError`].
pub fn stretches_of(
    config: &Config,
    values: &[f64],
    interval: Duration,
    stretches: &[(Duration, Duration)],
    told: &Told,
) -> Result<Account, SimulateError> {
    follows(&config.site)?;
    let curve = Arc::new(Curve::new(values, interval).with_flutter(told.noise, told.seed));
    let nothing = Scenario::parse("nothing", NOTHING).map_err(SimError::from)?;
    let scenario = Scenario { seed: told.seed, ..bare(&nothing) };
    let parts: Vec<Part> = stretches
        .iter()
        .map(|&(from, to)| Part {
            begins: from.saturating_sub(told.warm_up),
            counts: from,
            ends: to.min(curve.length()),
        })
        .collect();
    let job = Job { config, scenario: &scenario, begins_told: false, curve: &curve, told, local: 0 };
    let accounts = job.all(&[None], &parts, &|_, _| {})?;
    Ok(accounts.into_iter().next().unwrap_or_default())
}

/// The scenario without its own generation and load, which the trace stands in for.
fn bare(scenario: &Scenario) -> Scenario {
    let mut bare = scenario.clone();
    bare.sun.peak = Watts::ZERO;
    bare.sun.circuit = None;
    bare.steady_generation = Watts::ZERO;
    bare.load = OtherLoad {
        base: Watts::ZERO,
        swing: Watts::ZERO,
        noise: Watts::ZERO,
        machines: Vec::new(),
        squares: Vec::new(),
        circuit: None,
        ..bare.load
    };
    bare.auxiliaries.clear();
    bare
}

/// Whether something in the site follows the surplus that the trace tells.
fn follows(site: &Site) -> Result<(), SimulateError> {
    let root = site.circuits.first().map(|circuit| circuit.name.clone()).unwrap_or_default();
    if site.settings.observe {
        return Err(SimulateError::Observes);
    }
    if site.miners.iter().all(|miner| miner.actuator == Actuator::Fixed) {
        return Err(SimulateError::NoMiners);
    }
    let mut found = None;
    for limit in site.limits.iter().filter(|limit| limit.class == LimitClass::Surplus) {
        let circuit = site.circuits.get(limit.circuit.0);
        let name = circuit.map(|circuit| circuit.name.clone()).unwrap_or_default();
        let limit_name = limit.name.clone();
        match limit.cap {
            Cap::Reading { .. } => return Ok(()),
            Cap::Constant(_) if limit.circuit.0 != 0 => {
                found =
                    Some(SimulateError::NotAtRoot { limit: limit_name, circuit: name, root: root.clone() });
            }
            Cap::Constant(_) if circuit.is_some_and(|circuit| circuit.meter.is_none()) => {
                found = Some(SimulateError::NoMeter { limit: limit_name, circuit: name });
            }
            Cap::Constant(_) => return Ok(()),
        }
    }
    Err(found.unwrap_or(SimulateError::NoSurplusLimit { root }))
}

fn full_power(site: &Site) -> Watts {
    site.miners.iter().map(|miner| miner.maximum()).sum()
}

fn least_power(site: &Site) -> Watts {
    site.miners.iter().map(|miner| miner.minimum()).reduce(Watts::min).unwrap_or(Watts::ZERO)
}

fn way(habit: Option<Habit>, account: Account, site: &Site, told: &Told) -> Way {
    let miners = number::count(site.miners.len()).max(1.0);
    let each = |count: u64, hours: f64| {
        let count = number::count(usize::try_from(count).unwrap_or(usize::MAX));
        if account.known_hours > 0.0 { count / miners / account.known_hours * hours } else { 0.0 }
    };
    let earned = told.hash_price.map(|price| account.hashes / 1e15 / 86_400.0 * price);
    let megawatt_hours = |watt_hours: f64| watt_hours / 1e6;
    // What is drawn asleep is paid for, too.
    let of_surplus = (account.fleet_watt_hours - account.added_import_watt_hours).max(0.0);
    let import_price = told.import_price.or(told.power_price);
    let power = import_price.map(|import_price| {
        megawatt_hours(of_surplus) * told.power_price.unwrap_or(0.0)
            + megawatt_hours(account.added_import_watt_hours) * import_price
    });
    Way {
        name: habit.map_or("Ballast", Habit::name),
        what: habit.map_or("this configuration, with the control law of the daemon", Habit::told),
        captured_share: account.captured_share(),
        import_share: account.import_share(),
        commands_per_miner_hour: each(account.commands, 1.0),
        starts_per_miner_day: each(account.starts, 24.0),
        earned,
        left_after_power: earned.zip(power).map(|(earned, power)| earned - power),
        account,
    }
}

fn left_out(config: &Config, trace: &Trace, told: &Told) -> Vec<String> {
    let mut left_out = vec![String::from(
        "within an interval of the trace the power runs on straight lines that keep the interval's energy",
    )];
    if trace.step > 5 && told.noise <= 0.0 {
        left_out.push(format!(
            "what changes within {} s does not show: the real capture is lower and the real import higher; --noise adds \
             such changes",
            trace.step
        ));
    }
    if told.noise > 0.0 {
        left_out.push(format!(
            "restlessness of up to {:.1} % was added within the intervals; it is not in the trace",
            told.noise * 100.0
        ));
    }
    let sources: Vec<&str> = config.site.sources.iter().skip(1).map(|source| source.name.as_str()).collect();
    if !sources.is_empty() {
        left_out.push(format!(
            "{} of the configuration gave no orders: only those of a scenario do",
            sources.join(", ")
        ));
    }
    if config.breakers.iter().any(Option::is_some) {
        left_out.push("breakers are not simulated".into());
    }
    if config.site.miners.iter().any(|member| member.class != LoadClass::Miner) {
        left_out.push(
            "pauses by a hook are not simulated: such a server goes to its lowest and no further. The other ways know no classes \
             and order servers about like miners"
                .into(),
        );
    }
    left_out.push("meters on one link do not wait for each other, and the network loses nothing".into());
    left_out.push("the mains are stiff: voltage and frequency stay what they are".into());
    left_out
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The whole trace in one part.
fn whole(curve: &Curve, warm_up: Duration) -> Part {
    Part { begins: Duration::ZERO, counts: warm_up, ends: curve.length() }
}

/// Cuts a trace at hours of its local clock, and at long gaps. `local` is the local time of its beginning in seconds.
fn parts(trace: &Trace, local: i64, warm_up: Duration) -> Vec<Part> {
    let length = number::signed(trace.values.len()) * trace.step;
    let part = if length > SHORT { LONG_PART } else { SHORT_PART };
    let warm_up = i64::try_from(warm_up.as_secs()).unwrap_or(0);
    let mut all = Vec::new();
    for (from, to) in stretches(trace) {
        // The first warm-up of a stretch is its own beginning.
        let mut counts = from + warm_up;
        while counts < to {
            let next = (local + counts).div_euclid(part) * part + part - local;
            // A rest that is hardly longer than its warm-up goes with what is before it.
            let ends = if next + warm_up >= to { to } else { next };
            all.push(Part {
                begins: seconds(counts - warm_up),
                counts: seconds(counts),
                ends: seconds(ends),
            });
            counts = ends;
        }
    }
    all
}

/// Where the trace is known but for short gaps: from and to, in seconds from its beginning.
fn stretches(trace: &Trace) -> Vec<(i64, i64)> {
    let mut all: Vec<(i64, i64)> = Vec::new();
    for (slot, value) in trace.values.iter().enumerate() {
        if value.is_nan() {
            continue;
        }
        let (from, to) = (number::signed(slot) * trace.step, number::signed(slot + 1) * trace.step);
        match all.last_mut() {
            Some((_, end)) if from - *end <= GAP => *end = to,
            _ => all.push((from, to)),
        }
    }
    all
}

/// The longest time for which a trace is known but for short gaps.
fn longest(trace: &Trace) -> Duration {
    stretches(trace).into_iter().map(|(from, to)| seconds(to - from)).max().unwrap_or_default()
}

/// A ledger, and who is told how far the simulation is.
struct Watched<'a> {
    ledger: Ledger,
    /// Of Ballast alone, and where there are servers.
    members: Option<Members>,
    curve: &'a Curve,
    tell: &'a dyn Fn(usize),
    /// How often it was told, and when it is the next time.
    times: usize,
    next: Moment,
}

impl Watcher for Watched<'_> {
    fn flows(&mut self, at: Moment, flows: &Flows) {
        self.ledger.flows(at, flows);
        if at >= self.next {
            self.next = self.next + STRIDE;
            self.times += 1;
            (self.tell)(1);
        }
    }

    fn members(&mut self, at: Moment, draws: &[Watts]) {
        if let Some(members) = &mut self.members {
            members.see(at, draws, self.curve.knows(at.since_start()));
        }
    }

    fn decision(&mut self, decision: &Decision, flows: &Flows) {
        self.ledger.decision(decision, flows);
    }
}

/// How often a part tells of its progress.
fn strides(part: &Part) -> usize {
    let whole = part.ends.saturating_sub(part.begins).as_secs() / STRIDE.as_secs();
    usize::try_from(whole).unwrap_or(usize::MAX - 1) + 1
}

/// All that a part needs.
struct Job<'a> {
    config: &'a Config,
    scenario: &'a Scenario,
    /// Miners begin as the scenario says.
    begins_told: bool,
    curve: &'a Arc<Curve>,
    told: &'a Told,
    /// Local seconds at the beginning of the trace.
    local: i64,
}

impl Job<'_> {
    /// Each way on each part; what a way comes to, in the order given.
    fn all(
        &self,
        ways: &[Option<Habit>],
        parts: &[Part],
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Vec<Account>, SimulateError> {
        let tasks: Vec<(usize, Option<Habit>, Part)> = ways
            .iter()
            .enumerate()
            .flat_map(|(way, habit)| parts.iter().map(move |part| (way, *habit, *part)))
            .collect();
        let results: Vec<Mutex<Option<Result<Account, SimError>>>> =
            tasks.iter().map(|_| Mutex::new(None)).collect();
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = self.told.threads.map_or(cores, NonZeroUsize::get).min(MOST_THREADS).min(tasks.len());
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all = tasks.iter().fold(0_usize, |sum, (.., part)| sum.saturating_add(strides(part)));
        let tell = |steps: usize| progress(done.fetch_add(steps, Ordering::Relaxed) + steps, all);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let (Some((_, habit, part)), Some(slot)) = (tasks.get(number), results.get(number)) else {
                    return;
                };
                let account = self.part(*habit, *part, &tell);
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(account);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        // Summed up in the order of the parts, whoever was ready first.
        let mut accounts = vec![Account::default(); ways.len()];
        for ((way, ..), slot) in tasks.iter().zip(results) {
            let result = slot.into_inner().unwrap_or_else(PoisonError::into_inner);
            if let (Some(result), Some(account)) = (result, accounts.get_mut(*way)) {
                account.add(&result?);
            }
        }
        Ok(accounts)
    }

    fn part(&self, habit: Option<Habit>, part: Part, tell: &dyn Fn(usize)) -> Result<Account, SimError> {
        let site = &self.config.site;
        let start = Moment::after_start(part.begins);
        let first = part.begins.is_zero() && self.begins_told;
        let setup = Setup {
            recorded: Some(self.curve.clone()),
            start,
            steps: self.told.steps,
            earliest: self.told.earliest,
            calm: self.told.calm.filter(|_| self.curve.interval() >= SMOOTH && self.told.noise <= 0.0),
            pilot: habit.map(Habit::pilot),
            initial: if first { Vec::new() } else { initial(site, self.curve.at(part.begins)) },
        };
        let mut replay = Replay::with(self.config, self.scenario, setup)?;
        let reach = (least_power(site), full_power(site));
        let counts = Moment::after_start(part.counts);
        let shift = seconds(self.local.rem_euclid(24 * 3600));
        let ledger = Ledger::new(self.curve.clone(), shift, counts, reach, known::eyes(site));
        let members = Members::of(site, counts).filter(|_| habit.is_none());
        let mut watched =
            Watched { ledger, members, curve: self.curve, tell, times: 0, next: start + STRIDE };
        replay.watch(part.counts.saturating_sub(part.begins), &mut watched);
        let before = (replay.commands(), replay.turns());
        let work = replay.work();
        replay.watch(part.ends.saturating_sub(part.counts), &mut watched);
        tell(strides(&part).saturating_sub(watched.times));
        let (starts, sleeps) = replay.turns();
        Ok(Account {
            commands: replay.commands() - before.0,
            starts: starts - before.1.0,
            sleeps: sleeps - before.1.1,
            classes: watched
                .members
                .take()
                .map(|members| members.close(&work, &replay.work()))
                .unwrap_or_default(),
            ..watched.ledger.close()
        })
    }
}

/// How miners would stand in a surplus that has been there for a while: as many awake as it can carry beside the servers, at equal
/// parts. Servers are at work and without a cap.
fn initial(site: &Site, surplus: Watts) -> Vec<Initial> {
    let is_miner = |member: &&Miner| member.class == LoadClass::Miner;
    let servers: Watts = site.miners.iter().filter(|one| !is_miner(one)).map(Miner::maximum).sum();
    let surplus = (surplus - servers).at_least_zero();
    let (mut least, mut most, mut awake) = (Watts::ZERO, Watts::ZERO, 0_usize);
    for miner in site.miners.iter().filter(is_miner) {
        if least + miner.minimum() > surplus {
            break;
        }
        least += miner.minimum();
        most += miner.maximum();
        awake += 1;
    }
    let fraction = surplus.ratio(most).unwrap_or(0.0).clamp(0.0, 1.0);
    let begins = |member: &Miner| {
        if member.class != LoadClass::Miner {
            return Initial::Hashing { fraction: 1.0 };
        }
        let runs = awake > 0;
        awake = awake.saturating_sub(1);
        if runs { Initial::Hashing { fraction } } else { Initial::Asleep }
    };
    site.miners.iter().map(begins).collect()
}

#[cfg(test)]
mod tests;
