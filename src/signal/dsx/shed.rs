//! From the hints of an alert to limits on circuits, and from cycles to what became of each.
//!
//! ```text
//!  hint ──► judged ──┬─► skipped, with its reason
//!                    └─► a limit ──► waits ──┬─► applied: the measured draw is below it
//!                                            └─► failed: not by its time, or nobody knows
//! ```
//!
//! A hint is one order, called `EVENT/NUMBER/TYPE/ACTION/BREACH/FEED`, so that after a restart a breach that is over is told by what is on
//! disk. The hints of a feed add up until its breach is over; a newer one for the same circuit takes the place of the older.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::alert::{Action, Alert, ResourceType, ShedHint};
use super::message::{Trace, write_power};
use super::tell::{limit, look, others};
use crate::clock::Moment;
use crate::control::decision::{MinerState, Mode};
use crate::control::frame::{Frame, circuit_power, fresh_status, meter_input};
use crate::control::signal::{Ask, Basis, Order, Urgency, Wall};
use crate::control::site::{CircuitId, LoadClass, Miner, Scope, Site, SourceId};
use crate::signal::openadr::time::write_moment;
use crate::units::Watts;

/// The lane of all hints: where several hold on one circuit, the tightest binds.
const LANE: &str = "dsx-flex-infra";
/// A draw that is so far above a limit is below it all the same, as for a load target.
const NEAR: f64 = 0.02;

/// What hints are judged by.
pub struct Surroundings<'s> {
    /// The circuits by the agent's names of their resources.
    pub resources: &'s BTreeMap<String, CircuitId>,
    /// The site by which they are numbered.
    pub site: &'s Site,
    /// What a power that an agent names is the power of.
    pub scope: Scope,
    /// The most that a cap on a circuit is believed.
    pub believed: &'s dyn Fn(CircuitId, Scope) -> Watts,
}

/// The limit that a hint comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shed {
    /// Where it acts.
    pub circuit: CircuitId,
    /// On what.
    pub scope: Scope,
    /// How much, not negative.
    pub cap: Watts,
    /// Whether members may be put to sleep for it.
    pub urgency: Urgency,
}

/// The limit that a hint comes to. Nobody who has power by contract is lowered by it, nobody is switched off, and nobody is paused who did not
/// agree to that: a cap below what the others can give is raised to it.
///
/// # Errors
/// Why it is skipped, in words.
pub fn judge(hint: &ShedHint, around: &Surroundings<'_>) -> Result<Shed, String> {
    let Some(circuit) = around.resources.get(&hint.resource).copied() else {
        return Err("there is no resource of this name here".into());
    };
    let members: Vec<&Miner> = members(around.site, circuit).collect();
    if members.is_empty() {
        return Err("nothing that can be set draws there".into());
    }
    if members.iter().all(|member| member.class == LoadClass::Guaranteed) {
        return Err("guaranteed: it has its power by contract".into());
    }
    let pauses = hint.action == Action::Suspend;
    if pauses && !members.iter().any(|member| may_sleep(member)) {
        return Err(
            "nobody there has agreed to be paused; no job is ended and nothing is switched off".into()
        );
    }
    // Without a power of the agent's it is about what can be set, and nothing else that hangs there.
    let target = hint.target.filter(|_| !pauses);
    let scope = if target.is_some() { around.scope } else { Scope::Miners };
    let floor = floor(around.site, circuit, scope, pauses);
    let cap = match (hint.action, target) {
        (Action::PowerCap, None) => return Err("it names no `target_power`".into()),
        (Action::PowerCap | Action::Throttle, Some(target)) => target,
        (Action::Throttle | Action::Suspend, _) => floor,
    };
    let most = (around.believed)(circuit, scope);
    if cap > most {
        return Err(format!("{cap} is above {most}, up to which a power is believed there; check the unit"));
    }
    let urgency = if pauses { Urgency::Emergency } else { Urgency::Normal };
    Ok(Shed { circuit, scope, cap: cap.max(floor).min(most), urgency })
}

/// The members at or below a circuit.
fn members(site: &Site, circuit: CircuitId) -> impl Iterator<Item = &Miner> {
    site.miners.iter().filter(move |member| site.feeds(circuit, member.circuit))
}

fn may_sleep(member: &Miner) -> bool {
    member.sleeps && matches!(member.class, LoadClass::Miner | LoadClass::Interruptible)
}

/// The lowest limit below which everybody at a circuit gives what they may be asked for, and no more.
fn floor(site: &Site, circuit: CircuitId, scope: Scope, pauses: bool) -> Watts {
    let least = members(site, circuit).map(|member| match member.class {
        LoadClass::Guaranteed => member.maximum(),
        _ if pauses && may_sleep(member) => member.sleep,
        _ => member.minimum(),
    });
    let others = match scope {
        Scope::Miners => Watts::ZERO,
        Scope::Import => others(site, circuit),
    };
    // So much is kept free below each limit there.
    let margin = site.circuits.get(circuit.0).map_or(Watts::ZERO, |circuit| circuit.margin);
    least.sum::<Watts>() + others + margin
}

/// What the name of an order says of the hint that it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<'n> {
    /// What kind of thing its resource is.
    pub kind: ResourceType,
    /// What it asks for.
    pub action: Action,
    /// The breach.
    pub breach: &'n str,
    /// The feed.
    pub feed: &'n str,
}

impl<'n> Named<'n> {
    /// Reads the name of an order; `None` for one that is no hint.
    pub fn read(id: &'n str) -> Option<Self> {
        let mut parts = id.splitn(6, '/').skip(2);
        let (kind, action) = (parts.next()?, parts.next()?);
        Some(Self {
            kind: ResourceType::ALL.into_iter().find(|known| known.name() == kind)?,
            action: Action::ALL.into_iter().find(|known| known.name() == action)?,
            breach: parts.next()?,
            feed: parts.next()?,
        })
    }

    /// Whether an alert ends it: its breach is over. One that is heard late ends its own breach alone, and one that is not ends all of its
    /// feed: an agent that begins again may have another name for a breach that goes on.
    pub fn is_ended_by(&self, alert: &Alert, late: bool) -> bool {
        alert.is_over() && self.feed == alert.feed && (!late || self.breach == alert.breach)
    }
}

/// The order that a hint comes to: number `number` of the alert `event`.
fn order((event, number): (&str, usize), alert: &Alert, hint: &ShedHint, shed: &Shed, from: Wall) -> Order {
    let (kind, action) = (hint.kind.name(), hint.action.name());
    Order {
        id: format!("{event}/{number}/{kind}/{action}/{}/{}", alert.breach, alert.feed).into(),
        revision: u64::try_from(from.as_unix_millis()).unwrap_or(0),
        lane: LANE.into(),
        priority: u32::MAX,
        circuit: shed.circuit,
        scope: shed.scope,
        ask: Ask::Cap(shed.cap),
        basis: Basis::Instant,
        urgency: shed.urgency,
        from,
        until: None,
        start_spread: Duration::ZERO,
    }
}

/// What is left of what stands once an alert comes with these limits, and what of it is over.
pub fn split(standing: Vec<Order>, alert: &Alert, late: bool, sheds: &[Shed]) -> (Vec<Order>, Vec<Order>) {
    standing.into_iter().partition(|order| {
        Named::read(&order.id).is_none_or(|named| {
            let replaced = named.feed == alert.feed && sheds.iter().any(|shed| shed.circuit == order.circuit);
            !replaced && !named.is_ended_by(alert, late)
        })
    })
}

/// What an alert comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// All that is to stand from now on: its own limits, and what goes on beside them.
    pub orders: Vec<Order>,
    /// The limit of each hint and the name of its order, or why it is skipped; in the order of the hints.
    judged: Vec<Result<(Shed, Arc<str>), String>>,
}

impl Plan {
    /// Of an alert that is not over: `event` is its id, its limits begin at `from`, `standing` stood before.
    pub fn of(
        alert: &Alert,
        (event, from): (&str, Wall),
        standing: Vec<Order>,
        around: &Surroundings<'_>,
    ) -> Self {
        let mut orders = Vec::new();
        let mut judged = Vec::with_capacity(alert.hints.len());
        for (number, hint) in alert.hints.iter().enumerate() {
            judged.push(judge(hint, around).map(|shed| {
                let order = order((event, number), alert, hint, &shed, from);
                let id = order.id.clone();
                orders.push(order);
                (shed, id)
            }));
        }
        let sheds: Vec<Shed> =
            judged.iter().filter_map(|one| one.as_ref().ok().map(|(shed, _)| *shed)).collect();
        orders.extend(split(standing, alert, false, &sheds).0);
        Self { orders, judged }
    }

    /// An order was refused, whatever was judged before: its hint is skipped.
    pub fn refuse(&mut self, id: &str, why: &str) {
        for judged in &mut self.judged {
            if judged.as_ref().is_ok_and(|(_, name)| **name == *id) {
                *judged = Err(why.to_owned());
            }
        }
    }

    /// The limit of each hint, or why it is skipped.
    pub fn judged(self) -> impl Iterator<Item = Result<Shed, String>> {
        self.judged.into_iter().map(|one| one.map(|(shed, _)| shed))
    }
}

/// Where a hint stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Its limit is in force, and the draw does not show it yet: why.
    Waits(Shed, &'static str),
    /// The measured draw shows it.
    Applied(Shed),
    /// It does not, by its time: why.
    Failed(Shed, &'static str),
    /// It is not carried out: why.
    Skipped(String),
}

/// What becomes of the hints of one alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The breach.
    pub breach: String,
    /// The feed.
    pub feed: String,
    /// The trace of the alert.
    pub trace: Option<Trace>,
    harder: Vec<&'static str>,
    /// What is measured from here on counts.
    since: Moment,
    /// What has not come by then has failed.
    until: Moment,
    hints: Vec<(ShedHint, Outcome)>,
}

impl Report {
    /// Of an alert whose hints were judged, in their order.
    pub fn new(
        alert: &Alert,
        trace: Option<Trace>,
        judged: impl IntoIterator<Item = Result<Shed, String>>,
        (now, within): (Moment, Duration),
    ) -> Self {
        let outcome = |judged| match judged {
            Ok(shed) => Outcome::Waits(shed, "no cycle has shown it"),
            Err(why) => Outcome::Skipped(why),
        };
        Self {
            breach: alert.breach.clone(),
            feed: alert.feed.clone(),
            trace,
            harder: alert.harder.clone(),
            since: now,
            until: now + within,
            hints: alert.hints.iter().cloned().zip(judged.into_iter().map(outcome)).collect(),
        }
    }

    /// Whether there is nothing to tell: the alert asked for nothing.
    pub fn is_empty(&self) -> bool {
        self.hints.is_empty() && self.harder.is_empty()
    }

    /// Takes note of a cycle.
    pub fn follow(&mut self, frame: &Frame, source: SourceId, now: Moment) {
        for (_, outcome) in &mut self.hints {
            let Outcome::Waits(shed, _) = *outcome else { continue };
            *outcome = match shown(frame, source, &shed, self.since, now) {
                Ok(()) => Outcome::Applied(shed),
                Err(why) => Outcome::Waits(shed, why),
            };
        }
        self.expire(now);
    }

    /// What has not come by its time has failed, also where no cycle comes.
    pub fn expire(&mut self, now: Moment) {
        if now >= self.until {
            self.close();
        }
    }

    /// What has not come has failed.
    pub fn close(&mut self) {
        for (_, outcome) in &mut self.hints {
            if let Outcome::Waits(shed, why) = *outcome {
                *outcome = Outcome::Failed(shed, why);
            }
        }
    }

    /// Whether nothing waits any more, and it can be told.
    pub fn is_settled(&self) -> bool {
        !self.hints.iter().any(|(_, outcome)| matches!(outcome, Outcome::Waits(..)))
    }

    /// Why hints have failed, in their order.
    pub fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.outcomes().filter_map(|outcome| match outcome {
            Outcome::Failed(_, why) => Some(*why),
            Outcome::Waits(..) | Outcome::Applied(_) | Outcome::Skipped(_) => None,
        })
    }

    /// Where each hint stands, in their order.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.hints.iter().map(|(_, outcome)| outcome)
    }

    /// The data of a `grid.powerbreach.enforcement.v1`.
    pub fn write(&self, now: Wall) -> Value {
        let results = self.hints.iter().map(|(hint, outcome)| {
            let (code, message, cap) = match outcome {
                Outcome::Applied(shed) => ("applied", "the measured draw shows it", Some(shed.cap)),
                Outcome::Waits(_, why) | Outcome::Failed(_, why) => ("failed", *why, None),
                Outcome::Skipped(why) => ("skipped", why.as_str(), None),
            };
            let mut result = result((hint.resource.as_str(), hint.kind, hint.action), code, message);
            // Where it is another one than was asked for.
            let other = cap.filter(|cap| hint.target != Some(*cap));
            if let (Some(result), Some(cap)) = (result.as_object_mut(), other) {
                result.insert("applied_power".into(), write_power(cap));
            }
            result
        });
        let mut data =
            enforcement((self.breach.as_str(), self.feed.as_str()), "applied", results.collect(), now);
        if let (Some(data), false) = (data.as_object_mut(), self.harder.is_empty()) {
            let words = format!("not done: {}; that is for people to decide", self.harder.join(", "));
            data.insert("diag_msg".into(), json!(words));
        }
        data
    }
}

/// Whether the draw shows a limit, by what was measured since; or why not.
fn shown(
    frame: &Frame,
    source: SourceId,
    shed: &Shed,
    since: Moment,
    now: Moment,
) -> Result<(), &'static str> {
    let view = look(frame, source, shed.circuit, shed.scope, now).ok_or("its circuit is gone")?;
    if view.cap.is_none_or(|cap| cap > shed.cap) {
        return Err("its limit does not act");
    }
    if matches!(frame.decision.mode, Mode::Observe | Mode::StandBy | Mode::StartUp) {
        return Err("nothing is set here now: it is only looked on");
    }
    let below = |power: Watts| power <= limit(shed.cap, NEAR);
    if !below(view.calculated) {
        return Err("it cannot be set so low: other load, or what was agreed");
    }
    let all = frame.site.miners.iter().zip(&frame.decision.miners);
    for (_, member) in all.filter(|(member, _)| frame.site.feeds(shed.circuit, member.circuit)) {
        match member.state {
            MinerState::Pending | MinerState::Unreachable => return Err("it does not answer"),
            MinerState::Unanswered => return Err("it has not answered to what it was told"),
            MinerState::Straggler => return Err("it does not do what it was told"),
            MinerState::Hashing | MinerState::Starting | MinerState::Asleep | MinerState::Fault => {}
        }
    }
    match drawn(frame, shed, since, now) {
        None => Err("nobody knows what it draws"),
        Some(power) if !below(power) => Err("it draws more"),
        Some(_) => Ok(()),
    }
}

/// What is drawn there, as measured since: by the meter of the circuit, else by the word of each member and the most of what else hangs
/// there. `None` where one of them is not known.
fn drawn(frame: &Frame, shed: &Shed, since: Moment, now: Moment) -> Option<Watts> {
    let circuit = frame.site.circuits.get(shed.circuit.0)?;
    if let Some(meter) = circuit.meter.filter(|_| shed.scope == Scope::Import || circuit.dedicated) {
        let read = meter_input(frame, meter).power?;
        return if read.at >= since { circuit_power(frame, shed.circuit, now) } else { None };
    }
    let mut sum = match shed.scope {
        Scope::Miners => Watts::ZERO,
        Scope::Import => other_load(frame, shed.circuit, now)?,
    };
    for (member, input) in frame.site.miners.iter().zip(&frame.snapshot.miners) {
        if frame.site.feeds(shed.circuit, member.circuit) {
            input.status.as_ref().filter(|read| read.at >= since)?;
            sum += fresh_status(input, now, member.silent_after)?.power.value()?;
        }
    }
    Some(sum)
}

/// The most that is drawn beside the members at or below a circuit: as configured, or as metered below it where that is more. `None` where
/// one of those meters is silent: of what hangs there nobody has written down the most.
fn other_load(frame: &Frame, circuit: CircuitId, now: Moment) -> Option<Watts> {
    let all = frame.site.circuits.iter().zip((0..).map(CircuitId));
    let mut metered =
        all.filter(|(known, id)| known.meter.is_some() && !known.dedicated && frame.site.feeds(circuit, *id));
    if metered.any(|(_, id)| circuit_power(frame, id, now).is_none()) {
        return None;
    }
    Some(others(&frame.site, circuit).max(frame.decision.circuits.get(circuit.0)?.other))
}

/// What is told when the limits of a breach are lifted: `orders` are those that stood, `resources` are the circuits by the agent's names.
/// `None` where none stood.
pub fn reverted(
    (breach, feed): (&str, &str),
    orders: &[Order],
    resources: &BTreeMap<String, CircuitId>,
    now: Wall,
) -> Option<Value> {
    let result = |order: &Order| {
        let named = Named::read(&order.id)?;
        let (resource, _) = resources.iter().find(|(_, circuit)| **circuit == order.circuit)?;
        let message = "its limit is taken back; other limits may hold it, and `return_spread` for a while";
        Some(result((resource.as_str(), named.kind, named.action), "applied", message))
    };
    let results: Vec<Value> = orders.iter().filter_map(result).collect();
    (!results.is_empty()).then(|| enforcement((breach, feed), "reverted", results, now))
}

fn result((resource, kind, action): (&str, ResourceType, Action), code: &str, message: &str) -> Value {
    json!({
        "resource_id": resource,
        "resource_type": kind.name(),
        "requested_action": action.name(),
        "code": code,
        "message": message,
    })
}

fn enforcement((breach, feed): (&str, &str), action: &str, results: Vec<Value>, now: Wall) -> Value {
    let applied =
        results.iter().filter(|result| result.get("code").is_some_and(|code| code == "applied")).count();
    let code = match (applied, results.len()) {
        (0, _) => "error",
        (applied, all) if applied == all => "success",
        _ => "partial",
    };
    json!({
        "breach_id": breach,
        "feed_tag": feed,
        "action": action,
        "code": code,
        "results": results,
        "timestamp": write_moment(now),
    })
}
