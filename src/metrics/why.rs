//! What binds and why, in words that nobody has to look up: for the log, the page and the interface alike.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::sentence::all_run;
use super::sources::{circuit_name, meter_name, source_name};
use crate::clock;
use crate::control::decision::{CircuitDecision, Decision, LimitValue, Mode, Source, Waiting};
use crate::control::frame::Frame;
use crate::control::lead::Lead;
use crate::control::signal::{Active, Wall, Why};
use crate::control::site::{Cap, CircuitId, LimitClass, LimitId, MeterId, Scope, Site, SourceId};
use crate::control::snapshot::{OrderCap, Snapshot};
use crate::control::stop::StopState;
use crate::signal::OPERATOR;
use crate::signal::desk::START_UP;
use crate::signal::status::{CapStatus, Status};
use crate::units::Watts;

/// Where and when the reader is: times are told as their clock on the wall shows them.
#[derive(Clone, Debug)]
pub struct Here {
    /// What the wall clock shows.
    pub now: Wall,
    /// The zone of this machine.
    pub zone: TimeZone,
}

impl Here {
    /// This machine, now.
    pub fn now() -> Self {
        Self { now: Wall::unix_millis(clock::unix_millis()), zone: TimeZone::system() }
    }

    /// A point in time, with its date where that is not today's, and with seconds where it is no full minute: `18:30`,
    /// `2026-07-02 06:00`, `18:30:42`.
    pub fn time(&self, at: Wall) -> String {
        let local = |wall: Wall| {
            let at = Timestamp::from_millisecond(wall.as_unix_millis()).ok()?;
            Some(at.to_zoned(self.zone.clone()))
        };
        let (Some(at), now) = (local(at), local(self.now)) else { return "the end of time".into() };
        let date = if now.is_some_and(|now| now.date() == at.date()) { "" } else { "%Y-%m-%d " };
        let seconds = if at.second() == 0 { "" } else { ":%S" };
        at.strftime(&format!("{date}%H:%M{seconds}")).to_string()
    }
}

/// A power as people say it: without zeros behind the point that tell nothing.
pub(crate) fn said(watts: Watts) -> String {
    let text = watts.to_string();
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => text,
    }
}

/// A cap that acts, and what there is to say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The circuit on which it acts.
    pub circuit: CircuitId,
    /// What set it.
    pub source: Source,
    /// The cap itself, in its own scope; `None` for a lost meter, and where nothing caps.
    pub cap: Option<Watts>,
    /// Why, in words.
    pub words: String,
    /// Up to when, where an order says so.
    pub until: Option<Wall>,
}

/// What an interlock goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lock<'f> {
    /// The meter that tells.
    pub meter: &'f str,
    /// What it reads, while that counts.
    pub reads: Option<Watts>,
    /// What it has to read at least.
    pub needs: Watts,
}

/// A circuit above holds the miners of a circuit where it leaves them less than this share of what their own limits leave.
const CLEARLY: f64 = 0.95;

/// What leaves the miners of a circuit the least, over that circuit and all above it, and where; `None` where no limit acts. Of what a
/// circuit above leaves, the other miners there take what they draw or are set to.
pub fn tightest(site: &Site, decision: &Decision, circuit: CircuitId) -> Option<(CircuitId, Source)> {
    let takes = |circuit: &CircuitDecision| circuit.setpoint.max(circuit.miners);
    let own = takes(decision.circuits.get(circuit.0)?);
    let acting = site.up(circuit).filter_map(|(id, _)| {
        let here = decision.circuits.get(id.0).filter(|here| here.limits.iter().any(|limit| limit.acts))?;
        let leaves = if id == circuit {
            here.headroom.scaled(CLEARLY)
        } else {
            (here.headroom - takes(here) + own).at_least_zero()
        };
        Some((id, here.binding, leaves))
    });
    let (id, source, _) = acting.min_by(|(.., one), (.., other)| one.total_cmp(other))?;
    Some((id, source))
}

/// Whether something else than the surplus lets the miners of a circuit draw nothing: they do not wait for power.
pub(super) fn is_put_to_sleep(site: &Site, decision: &Decision, circuit: CircuitId) -> bool {
    let nothing = decision.circuits.get(circuit.0).is_some_and(|here| here.budget < Watts::whole(1));
    let surplus = |source: Source| match source {
        Source::Limit(id) => site.limits.get(id.0).is_some_and(|limit| limit.class == LimitClass::Surplus),
        _ => false,
    };
    nothing && tightest(site, decision, circuit).is_some_and(|(_, source)| !surplus(source))
}

/// How an emergency stop stands, in words.
pub fn stop_words(state: StopState, circuit: &str) -> String {
    match state {
        StopState::Ready => format!("the emergency stop of {circuit} is ready"),
        StopState::Open => format!("the emergency stop of {circuit} is open"),
        StopState::Unknown => format!("the contact of the emergency stop of {circuit} cannot be read"),
        StopState::Latched => format!("the emergency stop of {circuit} is closed again, and not released"),
        StopState::Unread => format!("the contact of the emergency stop of {circuit} has not been read yet"),
    }
}

/// One cycle, and who gives orders meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Speaker<'f> {
    site: &'f Site,
    snapshot: &'f Snapshot,
    decision: &'f Decision,
    /// The sources as they stand, for the ends of their orders.
    signals: Option<&'f Status>,
    here: &'f Here,
}

impl<'f> Speaker<'f> {
    /// Of a frame. Without the sources no end of an order is told.
    pub fn new(frame: &'f Frame, signals: Option<&'f Status>, here: &'f Here) -> Self {
        Self::of(&frame.site, &frame.snapshot, &frame.decision, signals, here)
    }

    /// The same, from its parts.
    pub fn of(
        site: &'f Site,
        snapshot: &'f Snapshot,
        decision: &'f Decision,
        signals: Option<&'f Status>,
        here: &'f Here,
    ) -> Self {
        Self { site, snapshot, decision, signals, here }
    }

    /// What binds the fleet: `held at 412 kW by the order 17 of openadr until 18:30`, `follows the surplus: 36 kW`.
    pub fn binding(&self) -> Told {
        let told = self.bound();
        if self.decision.lead != Lead::Lowers {
            return told;
        }
        // Whatever binds, this is why nobody is raised.
        let words = format!("nobody knows which daemon leads, so miners are only lowered; {}", told.words);
        Told { words, ..told }
    }

    fn bound(&self) -> Told {
        let binding = &self.decision.binding;
        // What is lost may hold a part of the site alone, or not yet the most, while something else binds the whole.
        let lost = |source: Source| matches!(source, Source::LostMeter(_) | Source::LostSource(_));
        if self.decision.would_be == Mode::FailSafe && !lost(binding.source) {
            let mut each = self.decision.circuits.iter().enumerate();
            if let Some((id, circuit)) = each.find(|(_, circuit)| lost(circuit.binding)) {
                return self.tell(CircuitId(id), circuit.binding);
            }
        }
        match binding.source {
            Source::Fleet => Told {
                circuit: binding.circuit,
                source: binding.source,
                cap: None,
                words: match all_run(self.decision) {
                    true => "the fleet takes all it can: nothing binds".into(),
                    // Some sleep, start or do not answer: it could take more.
                    false => "no limit holds the fleet back".into(),
                },
                until: None,
            },
            source => self.tell(binding.circuit, source),
        }
    }

    /// Who is woken next, and waits for the power to do so.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let miner = |waiting: &Waiting| self.site.miners.get(waiting.miner.0);
        let waits = |waiting: &Waiting| {
            miner(waiting).is_none_or(|miner| !is_put_to_sleep(self.site, self.decision, miner.circuit))
        };
        self.decision.waiting.filter(waits)
    }

    /// The cap that leaves the miners of a circuit the least, over that circuit and all above it.
    pub fn cap(&self, circuit: CircuitId) -> Told {
        match tightest(self.site, self.decision, circuit) {
            Some((here, source)) => self.tell(here, source),
            None => Told {
                circuit,
                source: Source::Fleet,
                cap: None,
                words: "no limit acts here".into(),
                until: None,
            },
        }
    }

    /// A bound that acts on a circuit.
    fn tell(&self, circuit: CircuitId, source: Source) -> Told {
        let value = self.value(circuit, source);
        let cap = value.and_then(|value| value.cap);
        let (words, until) = match source {
            Source::Limit(id) => (self.limit(circuit, id, cap), None),
            Source::Order(id) | Source::LostSource(id) => self.order(circuit, id, source, cap),
            Source::Interlock(at) => (self.locked(at), None),
            Source::Stop(at) => (self.stopped(at), None),
            Source::LostMeter(id) => (self.lost_meter(circuit, id, value), None),
            Source::Fleet => ("the miners take all they can: nothing binds".into(), None),
        };
        Told { circuit, source, cap, words, until }
    }

    /// What the interlock of a circuit goes by; `None` without one.
    pub(crate) fn lock(&self, circuit: CircuitId) -> Option<Lock<'f>> {
        let (site, decision) = (self.site, self.decision);
        let lock = site.circuits.get(circuit.0)?.interlock?;
        let taken = decision.meters.get(lock.meter.0);
        let input = match taken {
            Some(taken) => Some(taken.input),
            None => self.snapshot.meters.get(lock.meter.0).copied(),
        };
        let stale_after = site.meters.get(lock.meter.0)?.stale_after;
        let counts = |at| taken.is_none_or(|taken| taken.lost <= 0.0) && decision.at.since(at) <= stale_after;
        let reads = input.and_then(|input| input.power).filter(|power| counts(power.at));
        Some(Lock {
            meter: meter_name(site, lock.meter),
            reads: reads.map(|power| power.value),
            needs: lock.at_least,
        })
    }

    /// Why an interlock lets nobody run.
    fn locked(&self, circuit: CircuitId) -> String {
        let name = circuit_name(self.site, circuit);
        match self.lock(circuit) {
            Some(Lock { meter, reads: Some(reads), needs }) => format!(
                "the interlock of {name} does not hold ({meter} reads {}, {} are needed): its miners sleep",
                said(reads),
                said(needs)
            ),
            Some(Lock { meter, needs, .. }) => format!(
                "nobody knows whether the interlock of {name} holds ({meter} has no fresh value, {} are needed): its miners \
                 sleep",
                said(needs)
            ),
            None => format!("the interlock of {name} does not hold, or nobody knows: its miners sleep"),
        }
    }

    /// Why an emergency stop lets nobody run.
    fn stopped(&self, circuit: CircuitId) -> String {
        let name = circuit_name(self.site, circuit);
        let state = self.decision.circuits.get(circuit.0).and_then(|circuit| circuit.emergency_stop);
        match state {
            Some(state) => format!("{}: its miners sleep", stop_words(state, name)),
            None => format!("the emergency stop of {name} is latched: its miners sleep"),
        }
    }

    /// The tightest of the bounds that a source sets on a circuit.
    fn value(&self, circuit: CircuitId, source: Source) -> Option<&'f LimitValue> {
        let limits = &self.decision.circuits.get(circuit.0)?.limits;
        let own = limits.iter().filter(|limit| limit.acts && limit.source == source);
        own.min_by(|one, other| one.headroom.total_cmp(&other.headroom))
    }

    /// `feeder-2 is ` where that is not the whole site.
    fn whose(&self, circuit: CircuitId, scope: Scope) -> String {
        let name = circuit_name(self.site, circuit);
        match (circuit.0, scope) {
            (0, Scope::Import) => String::new(),
            (0, Scope::Miners) => "the miners are ".into(),
            (_, Scope::Import) => format!("{name} is "),
            (_, Scope::Miners) => format!("the miners of {name} are "),
        }
    }

    fn limit(&self, circuit: CircuitId, id: LimitId, cap: Option<Watts>) -> String {
        let name = circuit_name(self.site, circuit);
        let Some(limit) = self.site.limits.get(id.0) else { return "a limit that is not known".into() };
        let much = cap.map_or_else(String::new, |cap| format!(", {}", said(cap)));
        // A limit bears its own name beside that of its circuit, so that it is found in the configuration.
        let own = if limit.name == *name { String::new() } else { format!(" ({})", limit.name) };
        match (limit.class, limit.scope, limit.cap) {
            (LimitClass::Surplus, ..) if circuit.0 == 0 && cap.is_none_or(|cap| cap <= Watts::ZERO) => {
                format!("follows the surplus: {}", said(self.decision.fleet.surplus))
            }
            (LimitClass::Surplus, ..) => {
                let own = self.decision.circuits.get(circuit.0).map_or(Watts::ZERO, |own| own.budget);
                format!("follows the surplus of {name}: {}", said(own))
            }
            (_, _, Cap::Reading { meter, .. }) => {
                let told = cap.map_or_else(|| "a cap".into(), said);
                format!(
                    "{}held at {told} by what {} tells{own}",
                    self.whose(circuit, limit.scope),
                    meter_name(self.site, meter)
                )
            }
            (LimitClass::Safety, Scope::Import, _) => format!("rating of {name}{much}{own}"),
            (LimitClass::Safety, Scope::Miners, _) => format!("rating for the miners of {name}{much}{own}"),
            (class, scope, _) => {
                let whose = match class {
                    LimitClass::Grid => "limit of the grid",
                    LimitClass::Contract => "limit of the contract",
                    _ => "limit of the operator",
                };
                let whom = match scope {
                    Scope::Import => name.to_owned(),
                    Scope::Miners => format!("the miners of {name}"),
                };
                format!("{whose} for {whom}{much}{own}")
            }
        }
    }

    /// The cap of a source that acts on a circuit, as the cycle was told it.
    fn active(&self, circuit: CircuitId, source: Source, cap: Option<Watts>) -> Option<&'f Active> {
        let its = self.snapshot.orders.iter().filter(|OrderCap { source: id, active }| {
            let lost = matches!(active.why, Why::FailSafe | Why::Released);
            let same = match source {
                Source::Order(own) => own == *id && !lost,
                Source::LostSource(own) => own == *id && lost,
                _ => false,
            };
            same && active.circuit == circuit
        });
        let near = |active: &Active| cap.is_none_or(|cap| (cap - active.cap).abs() < Watts::whole(1));
        let mut all: Vec<&Active> = its.map(|order| &order.active).collect();
        all.sort_by(|one, other| near(other).cmp(&near(one)).then(one.cap.total_cmp(&other.cap)));
        all.first().copied()
    }

    fn order(
        &self,
        circuit: CircuitId,
        id: SourceId,
        source: Source,
        cap: Option<Watts>,
    ) -> (String, Option<Wall>) {
        let name = source_name(self.site, id);
        let Some(active) = self.active(circuit, source, cap) else {
            return (format!("held by {name}"), None);
        };
        let held = format!("{}held at {}", self.whose(circuit, active.scope), said(active.cap));
        match &active.why {
            Why::Order(order) if **order == *START_UP => {
                ("held back after a power outage, so that not all sites start at once".into(), None)
            }
            Why::Order(order) => {
                let cap = self.end(name, order);
                let until = cap.and_then(|cap| cap.until);
                let late = cap.and_then(|cap| cap.late);
                let ends = match (until, cap) {
                    (Some(until), _) => {
                        let longer = late.map_or_else(String::new, |late| format!(", and {}", late.words()));
                        format!(" until {}{longer}", self.here.time(until))
                    }
                    (None, Some(_)) => " until it is taken back".into(),
                    (None, None) => String::new(),
                };
                (format!("{held} by {}{ends}", by(name, order)), until)
            }
            Why::Returning(order) => {
                (format!("{held} for a moment after {}, which is over", by(name, order)), None)
            }
            Why::Kept(order) => (
                format!("{held} by {}: {name} is not heard, and what it ordered last stays", by(name, order)),
                None,
            ),
            Why::FailSafe => (
                format!(
                    "{name} is not heard: its fail-safe value of {}{} holds",
                    said(active.cap),
                    at(self.site, circuit)
                ),
                None,
            ),
            Why::Released => (
                format!(
                    "{name} is still not heard: the {}{} that are configured for that hold",
                    said(active.cap),
                    at(self.site, circuit)
                ),
                None,
            ),
        }
    }

    /// What is known of the end of an order that holds; `None` where the order is not known at all.
    fn end(&self, source: &str, order: &str) -> Option<&'f CapStatus> {
        let sources = self.signals.map(|status| status.sources.as_slice()).unwrap_or_default();
        let mut caps = sources.iter().filter(|it| *it.name == *source).flat_map(|it| &it.caps);
        caps.find(|cap| cap.order.as_deref() == Some(order))
    }

    fn lost_meter(&self, circuit: CircuitId, id: MeterId, value: Option<&LimitValue>) -> String {
        let meter = meter_name(self.site, id);
        let own = self.site.circuits.get(circuit.0).filter(|circuit| circuit.meter == Some(id));
        let reading = self.site.limits.iter().find_map(|limit| match limit.cap {
            Cap::Reading { meter, fail_safe } if meter == id && limit.circuit == circuit => Some(fail_safe),
            _ => None,
        });
        let fail_safe = match (own, reading) {
            (Some(circuit), _) => Some(circuit.fail_safe),
            (None, reading) => reading,
        };
        let lost = self.decision.meters.get(id.0).map_or(1.0, |meter| meter.lost);
        let whose = at(self.site, circuit);
        match fail_safe {
            Some(fail_safe) if lost < 1.0 => {
                let now = value.map_or_else(String::new, |value| format!(", {} now", said(value.headroom)));
                format!(
                    "the meter {meter} is silent: what may be drawn{whose} falls to its fail-safe value of {}{now}",
                    said(fail_safe)
                )
            }
            Some(fail_safe) => {
                format!("the meter {meter} is lost: its fail-safe value of {}{whose} holds", said(fail_safe))
            }
            None => format!("the meter {meter} is lost{whose}"),
        }
    }
}

/// ` at feeder-2` where that is not the whole site.
fn at(site: &Site, circuit: CircuitId) -> String {
    if circuit.0 == 0 { String::new() } else { format!(" at {}", circuit_name(site, circuit)) }
}

/// An order and whose it is. A name of several words stands in quotes.
fn by(source: &str, order: &str) -> String {
    let order: Cow<'_, str> =
        if order.contains(char::is_whitespace) { format!("\"{order}\"").into() } else { order.into() };
    if source == OPERATOR {
        format!("the operator's order {order}")
    } else {
        format!("the order {order} of {source}")
    }
}

/// What binds the fleet in a cycle, for a line of the log.
pub fn binding_reason(
    site: &Site,
    snapshot: &Snapshot,
    decision: &Decision,
    signals: Option<&Status>,
) -> String {
    Speaker::of(site, snapshot, decision, signals, &Here::now()).binding().words
}

/// The tightest cap on the root circuit that is not there to follow the surplus, whatever it caps.
pub(crate) fn root_cap(site: &Site, decision: &Decision) -> Option<Watts> {
    let limits = decision.circuits.first()?.limits.iter();
    let firm = limits.filter(|value| {
        let surplus = match value.source {
            Source::Limit(id) => {
                site.limits.get(id.0).is_some_and(|limit| limit.class == LimitClass::Surplus)
            }
            _ => false,
        };
        value.acts && !surplus
    });
    firm.filter_map(|value| value.cap).reduce(Watts::min)
}
