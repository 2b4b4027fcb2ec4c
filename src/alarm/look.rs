//! What is wrong at a moment: from what a cycle left behind to a list of findings. Pure.
//!
//! Nothing here waits: for how long something must last is the book's affair.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::book::Found;
use super::kind::{Kind, Severity};
use super::window::Muting;
use crate::clock::Moment;
use crate::control::decision::{BreakerState, LimitValue, MinerDecision, MinerState, Mode, Source};
use crate::control::frame::{Frame, circuit_power, meter_input, meter_up};
use crate::control::lead::Lead;
use crate::control::signal::SourceState;
use crate::control::site::{CircuitId, LimitClass, MeterId, MinerId, Scope, Site};
use crate::control::snapshot::{Hold, MeterStatus, Target, hold_of};
use crate::control::stop::StopState;
use crate::heartbeat::{Health, Withheld};
use crate::metrics::{disobedience, left_words, long, source_label, stop_words, tightest};
use crate::record;
use crate::signal::status::{CLOCK_IN_DOUBT, SourceStatus, Status};
use crate::standby;
use crate::units::Watts;

/// A cap is exceeded when the power is above it by more than this share of it: meters and miners have their own errors.
const OVER: f64 = 0.02;
/// The same for a cap near zero, and what a shortfall must come to: a share of the nameplates of the circuit's miners.
const OVER_NAMEPLATE: f64 = 0.01;
/// So many miners of a circuit in trouble at once have something in common …
const MANY: usize = 5;
/// … if they are this share of its miners, too.
const MANY_SHARE: f64 = 0.1;
/// With half of them in trouble the circuit does not do what it is told any more.
const MOST_SHARE: f64 = 0.5;

/// So many are told by name in one alarm.
const NAMED: usize = 3;

/// All that a look is taken at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The latest cycle.
    pub frame: &'a Frame,
    /// The sources of orders, the database and the clock; `None` where nobody keeps them.
    pub signals: Option<&'a Status>,
    /// How the record is; `None` where nothing is recorded.
    pub record: Option<record::Health>,
    /// Which emergency stops are latched cannot be written.
    pub stops_unsaved: bool,
    /// For what nobody is called by the webhook at this time.
    pub muting: &'a [Muting],
    /// How the signs of life for PLCs are.
    pub heartbeats: &'a [(Arc<str>, Health)],
    /// What other programs say that they hold of this daemon's.
    pub strangers: u64,
    /// How the pair is; `None` for a machine that stands alone.
    pub pair: Option<&'a standby::Health>,
    /// On the steady clock.
    pub now: Moment,
}

/// Names of which nobody is to be called for: those of circuits stand for all that is in them and below.
pub type Quiet = BTreeSet<Arc<str>>;

/// Whether the site has got beyond its start: before, what is not seen is not known to be well.
pub fn settled(frame: &Frame) -> bool {
    frame.decision.would_be != Mode::StartUp
}

/// Everything that is wrong.
pub fn look(view: &View<'_>, quiet: &Quiet) -> Vec<Found> {
    let mut found = Finds { site: &view.frame.site, quiet, muting: view.muting, all: Vec::new() };
    meters(view, &mut found);
    circuits(view, &mut found);
    miners(view, &mut found);
    contracts(view, &mut found);
    fleet(view, &mut found);
    if let Some(status) = view.signals {
        for source in &status.sources {
            signal(source, &mut found);
            breach(source, &mut found);
        }
        machine(status, &mut found);
    }
    if view.record.is_some_and(|record| record.failing) {
        found.add(
            Kind::Disk,
            "record",
            Severity::Warning,
            None,
            "the record of the control cycles cannot be written".into(),
        );
    }
    if view.stops_unsaved {
        found.add(
            Kind::Disk,
            "emergency-stops",
            Severity::Critical,
            None,
            "which emergency stops are latched cannot be written: a restart takes all of them for latched, where the file could be taken \
             away, and else none of what is not in it"
                .into(),
        );
    }
    for (name, health) in view.heartbeats {
        heartbeat(name, health, &mut found);
    }
    if view.strangers > 0 {
        let words = match view.strangers {
            1 => "another program says that it holds a miner or the configuration of this daemon".to_owned(),
            many => format!("other programs say that they hold {many} of what this daemon holds"),
        };
        found.add(Kind::Stranger, "programs", Severity::Critical, None, words);
    }
    if let Some(pair) = view.pair {
        stand_by(pair, view.frame.decision.lead, &mut found);
    }
    found.all
}

/// What is wrong with a pair. While the other machine leads, that one calls for what is wrong at the site.
fn stand_by(pair: &standby::Health, lead: Lead, found: &mut Finds<'_>) {
    if pair.peer_leads && !pair.holds {
        // What is wrong with this machine itself the other one does not see.
        let own = |kind| matches!(kind, Kind::Disk | Kind::Clock | Kind::Stranger);
        found.all.iter_mut().filter(|found| !own(found.kind)).for_each(|found| found.quiet = true);
    }
    if lead == Lead::Lowers {
        let words = match (pair.holds, pair.peer_leads) {
            (true, true) => "both machines have the address that moves, and both lead",
            (true, false) => "somebody else moves the miners: another daemon leads, too",
            (false, _) => "neither machine has the address that moves",
        };
        let words = format!("{words}: miners are lowered, and none is raised");
        found.add(Kind::StandBy, "pair", Severity::Critical, None, words);
    } else if let Some(trouble) = &pair.trouble {
        found.add(Kind::StandBy, "pair", Severity::Warning, None, trouble.clone());
    }
}

struct Finds<'a> {
    site: &'a Site,
    quiet: &'a Quiet,
    muting: &'a [Muting],
    all: Vec<Found>,
}

impl Finds<'_> {
    fn add(
        &mut self,
        kind: Kind,
        subject: &str,
        severity: Severity,
        circuit: Option<CircuitId>,
        words: String,
    ) {
        let quiet = self.quiet.contains(subject) || circuit.is_some_and(|id| has(self.site, self.quiet, id));
        let muted = self.muting.iter().any(|muting| {
            let here = || circuit.is_some_and(|id| has(self.site, &muting.circuits, id));
            muting.kinds.contains(&kind) && (muting.circuits.is_empty() || here())
        });
        self.all.push(Found { kind, subject: subject.into(), severity, words, quiet, muted, covered: false });
    }
}

/// Whether a circuit, or one above it, is among these.
fn has(site: &Site, names: &Quiet, id: CircuitId) -> bool {
    !names.is_empty() && site.up(id).any(|(_, circuit)| names.contains(circuit.name.as_str()))
}

/// Of each meter, the circuit at whose head it stands: the first one.
fn heads(site: &Site) -> BTreeMap<usize, CircuitId> {
    let mut heads = BTreeMap::new();
    for (index, circuit) in site.circuits.iter().enumerate() {
        if let Some(meter) = circuit.meter {
            heads.entry(meter.0).or_insert(CircuitId(index));
        }
    }
    heads
}

fn meters(view: &View<'_>, found: &mut Finds<'_>) {
    let (frame, site) = (view.frame, &view.frame.site);
    let heads = heads(site);
    for (index, meter) in site.meters.iter().enumerate() {
        let id = MeterId(index);
        let head = heads.get(&index).copied();
        // A meter at the head of a circuit holds its limits; without it the fail-safe value does.
        let severity = if head.is_some() { Severity::Critical } else { Severity::Warning };
        let input = meter_input(frame, id);
        let name = meter.name.as_str();
        let implausible = match input.status {
            MeterStatus::Implausible => Some("tells a value that cannot be".to_owned()),
            MeterStatus::Frozen => Some("stands still while what it measures moves".to_owned()),
            MeterStatus::Turned => Some("moves the wrong way when the miners move".to_owned()),
            _ => None,
        };
        let disagree =
            frame.decision.meters.get(index).is_some_and(|outcome| outcome.disagreement == Some(true));
        if let Some(what) = implausible {
            found.add(
                Kind::MeterImplausible,
                name,
                severity,
                head,
                format!("{name} {what}; it counts as lost"),
            );
        } else if meter_up(frame, id, view.now) == Some(false) {
            let age = input.power.map(|reading| view.now.since(reading.at).as_secs());
            let last = age.map_or_else(
                || "there was no value yet".to_owned(),
                |age| format!("its latest value is {age} s old"),
            );
            let how = match input.status {
                MeterStatus::Ok => "has no fresh value".to_owned(),
                MeterStatus::Exception(code) => format!("answers with Modbus exception {code}"),
                MeterStatus::Unavailable => "says that it has no value".to_owned(),
                MeterStatus::Malformed => "gives an answer that cannot be read".to_owned(),
                _ => "does not answer".to_owned(),
            };
            found.add(Kind::MeterLost, name, severity, head, format!("{name} {how}; {last}"));
        }
        if disagree {
            let words = format!("the parts of {name} disagree; the worse value counts");
            found.add(Kind::MeterImplausible, name, Severity::Warning, head, words);
        }
    }
}

/// Whether a limit is one that must not be exceeded, and how much that matters. Following the surplus is a matter of money, and so
/// is a price.
fn gravity(site: &Site, source: Source) -> Option<(Severity, Scope)> {
    match source {
        Source::Limit(id) => {
            let limit = site.limits.get(id.0)?;
            of_class(limit.class).map(|severity| (severity, limit.scope))
        }
        // Of an order the scope is not told here: the caller knows it.
        Source::Order(id) | Source::LostSource(id) => {
            let source = site.sources.get(id.0)?;
            of_class(source.class).map(|severity| (severity, Scope::Import))
        }
        Source::Interlock(_) | Source::Stop(_) | Source::LostMeter(_) | Source::Fleet => None,
    }
}

const fn of_class(class: LimitClass) -> Option<Severity> {
    match class {
        LimitClass::Safety => Some(Severity::Critical),
        LimitClass::Grid | LimitClass::Contract => Some(Severity::Warning),
        LimitClass::Surplus | LimitClass::Economic => None,
    }
}

fn circuits(view: &View<'_>, found: &mut Finds<'_>) {
    let (frame, site) = (view.frame, &view.frame.site);
    let nameplates = site.nameplates();
    // Somebody works on them and wants them left alone; they do not answer, or do not do what they were told.
    let alone = beyond_least(frame, |id, _| hold_of(&frame.snapshot.holds, id) == Some(Hold::HandsOff));
    let resisting = beyond_least(frame, |_, now| {
        matches!(trouble(now.state), Some(Kind::MinerStraggler | Kind::MinerSilent))
    });
    for (index, (circuit, now)) in site.circuits.iter().zip(&frame.decision.circuits).enumerate() {
        let (id, name) = (CircuitId(index), circuit.name.as_str());
        let slack = nameplates.get(index).copied().unwrap_or(Watts::ZERO).scaled(OVER_NAMEPLATE);
        if let Some((severity, words)) = over(view, id, name, &now.limits, (slack, now.asleep)) {
            found.add(Kind::OverLimit, name, severity, Some(id), words);
        }
        // The root speaks for all; below, a circuit speaks for itself where the root is well.
        // What all of them draw asleep is left on purpose, and so is what those draw that somebody works on: nobody can do anything
        // about the one, and nobody may about the other.
        let lowest = now.asleep + alone.get(index).copied().unwrap_or(Watts::ZERO);
        let left = (lowest - now.budget).at_least_zero();
        if now.shortfall - left > slack.max(Watts::whole(1)) {
            let source = tightest(site, &frame.decision, id);
            let source = source_label(site, source.map_or(Source::Fleet, |(_, source)| source));
            let resists = resisting.get(index).copied().unwrap_or(Watts::ZERO);
            let why = if resists > slack.max(Watts::whole(1)) {
                format!("{resists} of it by who does not answer or does not do what it was told")
            } else {
                String::from("though all do what they were told: contracts and lowest caps leave no less")
            };
            let words = format!(
                "the miners of {name} draw up to {} more than they may under {source}, and cannot be lowered further, {why}",
                now.shortfall
            );
            found.add(Kind::Shortfall, name, Severity::Warning, Some(id), words);
        }
        let lock = now.limits.iter().find(|value| matches!(value.source, Source::Interlock(_)));
        if lock.is_some_and(|value| value.acts) {
            let words = format!("the interlock of {name} does not permit its miners to run, or nobody knows");
            found.add(Kind::Interlock, name, Severity::Notice, Some(id), words);
        }
        if let Some(words) = stopped(frame, id, name) {
            found.add(Kind::EmergencyStop, name, Severity::Critical, Some(id), words);
        }
        let (severity, words) = match now.breaker {
            None | Some(BreakerState::Closed) => continue,
            Some(BreakerState::Opening) => (
                Severity::Critical,
                format!("the breaker of {name} is told to open, and is not seen to be open"),
            ),
            Some(BreakerState::Open) => (Severity::Critical, format!("the breaker of {name} is open")),
            Some(BreakerState::Unknown) if !settled(frame) => continue,
            Some(BreakerState::Unknown) => (
                Severity::Warning,
                format!("the breaker of {name} does not answer: it may not open when it must"),
            ),
        };
        found.add(Kind::Breaker, name, severity, Some(id), words);
    }
}

/// What an emergency stop has to say, unless it is ready or its contact is still to be read.
fn stopped(frame: &Frame, id: CircuitId, name: &str) -> Option<String> {
    match frame.decision.circuits.get(id.0)?.emergency_stop? {
        StopState::Ready | StopState::Unread => None,
        state @ (StopState::Open | StopState::Latched) => {
            Some(format!("{}: its miners are stopped", stop_words(state, name)))
        }
        StopState::Unknown => Some(format!(
            "{}: its miners are stopped. Nobody need have pressed it: check the device that reads it, its power and its cable first",
            stop_words(StopState::Unknown, name)
        )),
    }
}

/// Of each circuit, what those miners at or below it draw beyond their least of whom this holds.
fn beyond_least(frame: &Frame, of: impl Fn(MinerId, &MinerDecision) -> bool) -> Vec<Watts> {
    frame.site.sums(|id, miner| {
        let decided = frame.decision.miners.get(id.0).filter(|now| of(id, now));
        decided.map_or(Watts::ZERO, |now| (now.counted - miner.least()).at_least_zero())
    })
}

/// The gravest limit of a circuit that its power exceeds by more than `slack`, in words. No limit on the miners alone is
/// exceeded by `lowest`, which is what they draw together when all of them sleep.
fn over(
    view: &View<'_>,
    id: CircuitId,
    name: &str,
    limits: &[LimitValue],
    (slack, lowest): (Watts, Watts),
) -> Option<(Severity, String)> {
    let (frame, site) = (view.frame, &view.frame.site);
    let into = circuit_power(frame, id, view.now);
    // What a meter says that sees them alone stands beside what they say themselves: the worse counts.
    let alone = into.filter(|_| site.circuits.get(id.0).is_some_and(|circuit| circuit.dedicated));
    let said = frame.decision.circuits.get(id.0).map(|circuit| circuit.miners);
    let miners = said.map(|said| alone.map_or(said, |seen| seen.max(said)));
    let exceeded = limits.iter().filter(|limit| limit.acts).filter_map(|limit| {
        let (severity, scope) = gravity(site, limit.source)?;
        let cap = limit.cap?;
        let scope = scope_of_order(frame, id, limit).unwrap_or(scope);
        let most = cap + cap.abs().scaled(OVER).max(slack);
        let (power, most) = match scope {
            Scope::Import => (into?, most),
            Scope::Miners => (miners?, most.max(lowest)),
        };
        (power > most).then_some((severity, power, cap, scope, limit.source))
    });
    let excess = |power: Watts, cap: Watts| power - cap;
    let (severity, power, cap, scope, source) = exceeded.max_by(|one, other| {
        one.0.cmp(&other.0).then(excess(one.1, one.2).total_cmp(&excess(other.1, other.2)))
    })?;
    let take = match scope {
        Scope::Import => format!("{name} takes"),
        Scope::Miners => format!("the miners of {name} take"),
    };
    Some((severity, format!("{take} {power}, and {} allows {cap}", source_label(site, source))))
}

/// The scope of an order that acts on a circuit.
fn scope_of_order(frame: &Frame, circuit: CircuitId, limit: &LimitValue) -> Option<Scope> {
    let (Source::Order(id) | Source::LostSource(id)) = limit.source else { return None };
    let orders = frame.snapshot.orders.iter().filter(|order| order.source == id);
    let mut here = orders.filter(|order| order.active.circuit == circuit);
    here.find(|order| Some(order.active.cap) == limit.cap).map(|order| order.active.scope)
}

/// The trouble that a miner is in.
fn trouble(state: MinerState) -> Option<Kind> {
    match state {
        MinerState::Straggler => Some(Kind::MinerStraggler),
        MinerState::Fault => Some(Kind::MinerFault),
        MinerState::Unanswered | MinerState::Unreachable => Some(Kind::MinerSilent),
        MinerState::Pending | MinerState::Hashing | MinerState::Starting | MinerState::Asleep => None,
    }
}

fn miners(view: &View<'_>, found: &mut Finds<'_>) {
    let (frame, site) = (view.frame, &view.frame.site);
    let decisions = &frame.decision.miners;
    // Of each circuit, how many miners hang on it, and how many of them are in which trouble. Those that are too few to have something
    // in common there may have it with others further up.
    let mut crowds: Vec<(usize, BTreeMap<Kind, usize>)> = vec![Default::default(); site.circuits.len()];
    for (miner, now) in site.miners.iter().zip(decisions) {
        for (id, _) in site.up(miner.circuit) {
            crowds.get_mut(id.0).into_iter().for_each(|(all, _)| *all = all.saturating_add(1));
        }
        if let (Some(kind), Some((_, bad))) = (trouble(now.state), crowds.get_mut(miner.circuit.0)) {
            let count = bad.entry(kind).or_default();
            *count = count.saturating_add(1);
        }
    }
    let mut many = vec![false; site.circuits.len()];
    // Children stand behind their parents.
    for (index, circuit) in site.circuits.iter().enumerate().rev() {
        let Some((all, kinds)) = crowds.get_mut(index).map(|crowd| (crowd.0, std::mem::take(&mut crowd.1)))
        else {
            continue;
        };
        let bad: usize = kinds.values().sum();
        if bad >= MANY && count(bad) >= count(all) * MANY_SHARE {
            many.get_mut(index).into_iter().for_each(|many| *many = true);
            let half = count(bad) >= count(all) * MOST_SHARE;
            let severity = if half { Severity::Critical } else { Severity::Warning };
            let words = crowd(&circuit.name, all, &kinds);
            found.add(Kind::ManyMiners, &circuit.name, severity, Some(CircuitId(index)), words);
        } else if let Some((_, above)) = circuit.parent.and_then(|parent| crowds.get_mut(parent.0)) {
            for (kind, bad) in kinds {
                let count = above.entry(kind).or_default();
                *count = count.saturating_add(bad);
            }
        }
    }
    let told = |circuit| site.up(circuit).any(|(id, _)| many.get(id.0) == Some(&true));
    for (miner, now) in site.miners.iter().zip(decisions) {
        let Some(kind) = trouble(now.state) else { continue };
        let name = miner.name.as_str();
        let words = match kind {
            Kind::MinerStraggler => format!("{name} {}", disobedience(now)),
            Kind::MinerFault => format!("{name} reports a fault of its own"),
            _ if now.state == MinerState::Unanswered => {
                format!("{name} has not answered its latest order; it counts at {}", now.counted)
            }
            _ => format!("{name} does not answer; it counts at {}", now.counted),
        };
        found.add(kind, name, Severity::Warning, Some(miner.circuit), words);
        if told(miner.circuit) {
            found.all.last_mut().into_iter().for_each(|found| found.covered = true);
        }
    }
}

/// Of each circuit, the servers on it that are held below what they keep by contract. One on which somebody works is so on purpose.
fn contracts(view: &View<'_>, found: &mut Finds<'_>) {
    let (frame, site) = (view.frame, &view.frame.site);
    if matches!(frame.decision.mode, Mode::Observe | Mode::StandBy) {
        // Where they stand was not told by this daemon.
        return;
    }
    let mut broken: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (index, (member, now)) in site.miners.iter().zip(&frame.decision.miners).enumerate() {
        let held = hold_of(&frame.snapshot.holds, MinerId(index)).is_some();
        let Some((contract, target)) = member.contract.zip(now.setpoint).filter(|_| !held) else { continue };
        let has = match target {
            Target::Sleep => member.sleep,
            // One that is known to draw more than it is told has that.
            Target::Power(power) => power.max(now.settled),
        };
        if contract - has >= Watts::whole(1) {
            let words = format!("{} has {has} of {contract}", member.name);
            broken.entry(member.circuit.0).or_default().push(words);
        }
    }
    for (index, all) in broken {
        let id = CircuitId(index);
        let Some(circuit) = site.circuits.get(index) else { continue };
        let source = tightest(site, &frame.decision, id).map_or(Source::Fleet, |(_, source)| source);
        let more = all.len().saturating_sub(NAMED);
        let named = all.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let words = format!(
            "servers of {} are held below their contract by {}: {named}{more}",
            circuit.name,
            source_label(site, source)
        );
        found.add(Kind::ContractBroken, &circuit.name, Severity::Critical, Some(id), words);
    }
}

/// Many miners in one sentence: how many of each trouble.
fn crowd(name: &str, all: usize, kinds: &BTreeMap<Kind, usize>) -> String {
    let bad: usize = kinds.values().sum();
    let parts = kinds.iter().map(|(kind, count)| match kind {
        Kind::MinerStraggler => format!("{count} do not follow"),
        Kind::MinerFault => format!("{count} report faults of their own"),
        _ => format!("{count} do not answer, or have not answered their latest order"),
    });
    format!("{bad} of {all} miners of {name} are in trouble: {}", parts.collect::<Vec<_>>().join(", "))
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

fn fleet(view: &View<'_>, found: &mut Finds<'_>) {
    let decision = &view.frame.decision;
    // Under another limit what is left is not the surplus's, and who observes leaves all of it.
    if !decision.fleet.left_for.is_zero() && decision.mode == Mode::Following {
        let (left, lasts) = (decision.fleet.left, long(decision.fleet.left_for));
        let words = format!("leaves {left} of the surplus unused for {lasts}: {}", left_words(decision));
        let root = view.frame.site.circuits.first().map_or("site", |root| root.name.as_str());
        found.add(Kind::SurplusUnused, root, Severity::Warning, Some(CircuitId(0)), words);
    }
}

fn signal(source: &SourceStatus, found: &mut Finds<'_>) {
    let name = &*source.name;
    let silent = || {
        source
            .age
            .map_or_else(|| "was never heard".to_owned(), |age| format!("is silent for {} s", age.as_secs()))
    };
    match source.state {
        Some(SourceState::Failsafe) => {
            let words = format!("{name} {}; its fail-safe value holds", silent());
            found.add(Kind::SignalLost, name, Severity::Critical, None, words);
        }
        Some(SourceState::Released) => {
            let words = format!("{name} {}; the value that is configured for that holds", silent());
            found.add(Kind::SignalLost, name, Severity::Critical, None, words);
        }
        Some(SourceState::Degraded) => {
            // The clock of this machine is one trouble, not one of each source: it has an alarm of its own.
            let own: Vec<&str> =
                source.trouble.iter().map(String::as_str).filter(|it| *it != CLOCK_IN_DOUBT).collect();
            if !own.is_empty() {
                let words = format!("{name}: {}", own.join("; "));
                found.add(Kind::SignalDegraded, name, Severity::Warning, None, words);
            }
        }
        Some(SourceState::Init | SourceState::Controlled | SourceState::Limited) | None => {}
    }
}

/// What a source is told of that is drawn beyond what it allows.
fn breach(source: &SourceStatus, found: &mut Finds<'_>) {
    let watched = source.link.iter().flat_map(|link| &link.watched);
    let open = watched.filter_map(|(circuit, exceeded)| Some((circuit, (*exceeded)?)));
    let (mut severity, mut words) = (Severity::Warning, Vec::new());
    for (circuit, it) in open {
        if it.critical {
            severity = Severity::Critical;
        }
        words.push(format!("{circuit} draws {} of {}", it.measured, it.cap));
    }
    if words.is_empty() {
        return;
    }
    let name = &*source.name;
    words.truncate(NAMED);
    let words =
        format!("more is drawn than {name} allows, which has been reported to it: {}", words.join(", "));
    found.add(Kind::Breach, name, severity, None, words);
}

/// A sign of life that cannot be given, or is withheld because of the miners. That the site only observes or starts up is no trouble,
/// and a fail-safe has an alarm of its own.
fn heartbeat(name: &str, health: &Health, found: &mut Finds<'_>) {
    if let Some(error) = &health.error {
        let words = format!("the heartbeat {name} is not written: {error}");
        found.add(Kind::Heartbeat, name, Severity::Warning, None, words);
    } else if let Some(why @ Withheld::Lost(_)) = health.withheld {
        let words = format!("the heartbeat {name} is withheld, so that the PLC acts: {}", why.words());
        found.add(Kind::Heartbeat, name, Severity::Critical, None, words);
    }
}

fn machine(status: &Status, found: &mut Finds<'_>) {
    if !status.clock_synchronised {
        let words = "the system clock is not synchronised: orders begin early and end late".to_owned();
        found.add(Kind::Clock, "clock", Severity::Warning, None, words);
    }
    if status.store_failing {
        let words = "the database cannot be written: a restart would forget the newest orders".to_owned();
        found.add(Kind::Disk, "database", Severity::Warning, None, words);
    }
}
