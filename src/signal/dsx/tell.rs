//! What the partner is told of each feed: where it stands, which targets there are, and the transitions in between.
//!
//! ```text
//!            target set, tighter               drawn power at or below it, and at rest
//!   Still ─────────────────────────► Down ────────────────────────────────────────────► Still
//!     └──────────────────────────────► Up ───────────────────────────────────────────────┘
//!            looser, or none                     at rest for a while
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::message::{write_most, write_power};
use super::plan::{Told, binding};
use crate::clock::Moment;
use crate::control::frame::{Frame, circuit_power, fresh_status};
use crate::control::signal::Wall;
use crate::control::site::{CircuitId, Scope, Site, SourceId};
use crate::control::snapshot::Target;
use crate::signal::openadr::time::write_moment;
use crate::units::Watts;

/// A draw that is within this part of its setpoint has arrived …
const NEAR: f64 = 0.02;
/// … or within this.
const NEAR_WATTS: Watts = Watts::whole(200);
/// A change of a cap that is smaller is none.
const SAME: Watts = Watts::whole(1);
/// A way up is over when everything has been at rest for so long.
const REST: Duration = Duration::from_secs(10);
/// Most transitions of a feed that wait to be told.
const MOST_WAITING: usize = 8;

/// Why a status is told, in the words of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A list of targets was taken.
    TargetSet,
    /// A limit came or became tighter.
    StartRampDown,
    /// Power is down.
    EndRampDown,
    /// A limit went or became looser.
    StartRampUp,
    /// Power is up.
    EndRampUp,
    /// Nothing has changed.
    Periodic,
}

impl Event {
    /// As the schema has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TargetSet => "target_set",
            Self::StartRampDown => "start_ramp_down",
            Self::EndRampDown => "end_ramp_down",
            Self::StartRampUp => "start_ramp_up",
            Self::EndRampUp => "end_ramp_up",
            Self::Periodic => "periodic",
        }
    }
}

/// A feed in one cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The power that counts against a target, as measured: into the circuit, or its members' draw. `None` while nobody knows.
    pub measured: Option<Watts>,
    /// What it comes to once everybody is where they are set to.
    pub calculated: Watts,
    /// The draw of its members is where it is set to.
    pub arrived: bool,
    /// What its members are set to, in all.
    pub setpoint: Watts,
    /// The tightest cap of this source on it, for whatever reason.
    pub cap: Option<Watts>,
}

/// Looks at a feed; `None` for a circuit that the cycle did not have.
pub fn look(frame: &Frame, source: SourceId, circuit: CircuitId, scope: Scope, now: Moment) -> Option<View> {
    let decided = frame.decision.circuits.get(circuit.0)?;
    let (measured, calculated) = match scope {
        Scope::Import => (circuit_power(frame, circuit, now), decided.other + decided.setpoint),
        Scope::Miners => {
            // Where nothing but members hangs on it, its meter is their draw.
            let known = frame.site.circuits.get(circuit.0);
            let own = known.is_some_and(|known| known.dedicated && known.meter.is_some());
            let measured =
                if own { circuit_power(frame, circuit, now) } else { Some(said(frame, circuit, now)) };
            (measured, decided.setpoint)
        }
    };
    let near = decided.setpoint.scaled(NEAR).max(NEAR_WATTS);
    let caps = frame.snapshot.orders.iter().filter(|order| {
        order.source == source && order.active.circuit == circuit && order.active.scope == scope
    });
    Some(View {
        measured,
        calculated: calculated.at_least_zero(),
        arrived: (decided.miners - decided.setpoint).abs() <= near,
        setpoint: decided.setpoint,
        cap: caps.map(|order| order.active.cap).reduce(Watts::min),
    })
}

/// What the members at or below a circuit say that they draw; of one that does not say it, the most that it may draw.
fn said(frame: &Frame, circuit: CircuitId, now: Moment) -> Watts {
    let each = frame.site.miners.iter().zip(&frame.snapshot.miners).zip(&frame.decision.miners);
    let below = each.filter(|((member, _), _)| frame.site.feeds(circuit, member.circuit));
    below
        .map(|((member, input), decided)| {
            let read = fresh_status(input, now, member.silent_after);
            read.and_then(|status| status.power.value()).unwrap_or(decided.counted)
        })
        .sum()
}

/// What of a feed does not change while it is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metadata {
    /// What is drawn with every member as low as it goes.
    pub minimum: Watts,
    /// The most that it can come to: what is drawn without a target.
    pub maximum: Watts,
}

impl Metadata {
    /// Of a circuit; `maximum` is all that hangs there, or its rating.
    pub fn of(site: &Site, circuit: CircuitId, scope: Scope, maximum: Watts) -> Self {
        let lowest = site.sums(|_, member| match member.lowest() {
            Target::Sleep => member.sleep,
            Target::Power(power) => power.max(member.contract.unwrap_or(Watts::ZERO)),
        });
        let members = lowest.get(circuit.0).copied().unwrap_or(Watts::ZERO);
        let others = match scope {
            Scope::Miners => Watts::ZERO,
            Scope::Import => others(site, circuit),
        };
        Self { minimum: (members + others).min(maximum), maximum }
    }
}

/// The most that is drawn beside the members at or below a circuit, as far as it is configured.
pub fn others(site: &Site, circuit: CircuitId) -> Watts {
    let below = site.circuits.iter().zip((0..).map(CircuitId)).filter(|(_, id)| site.feeds(circuit, *id));
    below.map(|(circuit, _)| circuit.other_load).sum()
}

/// Where a feed is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Still,
    Down,
    Up,
}

/// A feed, followed from cycle to cycle.
#[derive(Debug)]
pub struct Feed {
    /// Its tag.
    pub tag: String,
    /// Its circuit.
    pub circuit: CircuitId,
    metadata: Metadata,
    way: Way,
    /// Since when it is on its way.
    since: Option<Wall>,
    /// The view before.
    before: Option<View>,
    /// Since when everything is at rest.
    rest: Option<Moment>,
    waiting: VecDeque<Event>,
}

impl Feed {
    /// A feed of which nothing was seen yet.
    pub fn new(tag: &str, circuit: CircuitId, metadata: Metadata) -> Self {
        Self {
            tag: tag.to_owned(),
            circuit,
            metadata,
            way: Way::Still,
            since: None,
            before: None,
            rest: None,
            waiting: VecDeque::new(),
        }
    }

    /// Something is to be told of it.
    pub fn push(&mut self, event: Event) {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(event);
        }
    }

    /// Whether something is to be told of it.
    pub fn has_news(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What has waited longest was told.
    pub fn was_told(&mut self) {
        self.waiting.pop_front();
    }

    /// Takes note of a cycle.
    pub fn follow(&mut self, view: View, now: Moment, wall: Wall) {
        let before = self.before.replace(view);
        // What was there before we looked is no transition.
        let Some(before) = before else { return };
        let change = match (before.cap, view.cap) {
            (None, Some(_)) => Some(Way::Down),
            (Some(_), None) => Some(Way::Up),
            (Some(old), Some(new)) if new < old - SAME => Some(Way::Down),
            (Some(old), Some(new)) if new > old + SAME => Some(Way::Up),
            _ => None,
        };
        let moves = (view.setpoint - before.setpoint).abs() > view.setpoint.scaled(NEAR / 4.0).max(SAME);
        if moves || !view.arrived || change.is_some() {
            self.rest = None;
        } else {
            self.rest.get_or_insert(now);
        }
        if let Some(way) = change {
            self.way = way;
            self.since = Some(wall);
            self.push(if way == Way::Down { Event::StartRampDown } else { Event::StartRampUp });
            return;
        }
        let over = match self.way {
            Way::Still => false,
            Way::Down => {
                let below =
                    view.cap.zip(view.measured).is_some_and(|(cap, power)| power <= limit(cap, NEAR / 2.0));
                below && view.arrived
            }
            Way::Up => self.rest.is_some_and(|since| now.since(since) >= REST),
        };
        if over {
            self.push(if self.way == Way::Down { Event::EndRampDown } else { Event::EndRampUp });
            self.way = Way::Still;
            self.since = None;
        }
    }

    /// The state of it for a status, with the next transition that waits. `allowed` is how far above a target still counts as met, as a
    /// fraction.
    fn state(&self, targets: &[Told], allowed: f64) -> Value {
        let event = self.waiting.front().copied().unwrap_or(Event::Periodic);
        let own: Vec<Value> =
            targets.iter().filter(|told| told.circuit == self.circuit).map(write_target).collect();
        // Before the first cycle nothing is known, and what is not known is the worst.
        let calculated = self.before.map_or(self.metadata.maximum, |view| view.calculated);
        let measured = self.before.and_then(|view| view.measured);
        let compliant = binding(targets, self.circuit, true)
            .is_none_or(|target| measured.is_some_and(|power| power <= limit(target.cap, allowed)));
        let on_its_way = self.way != Way::Still || self.before.is_none_or(|view| !view.arrived);
        let mut state = json!({
            "metadata": {
                "power_minimum": write_power(self.metadata.minimum),
                "power_maximum": write_most(self.metadata.maximum),
                "default_constraint": write_most(self.metadata.maximum),
            },
            "targets": own,
            "calculated_load": write_power(calculated),
            "in_flight": on_its_way,
            "event": event.name(),
            "compliant": compliant,
        });
        if let (Some(state), Some(since)) = (state.as_object_mut(), self.since) {
            state.insert("power_event_start_time".into(), json!(write_moment(since)));
        }
        state
    }
}

/// The power up to which a target counts as met.
pub fn limit(cap: Watts, allowed: f64) -> Watts {
    cap + cap.scaled(allowed).max(NEAR_WATTS.scaled(0.5))
}

fn write_target(told: &Told) -> Value {
    let mut interval = Map::new();
    interval.insert("start_time".into(), json!(write_moment(told.from)));
    if let Some(until) = told.until {
        interval.insert("end_time".into(), json!(write_moment(until)));
    }
    json!({
        "active": told.active,
        "load_constraint": write_power(told.cap),
        "interval": interval,
        "strategy": { "best_effort": told.best_effort },
        "correlation_id": told.correlation,
    })
}

/// The data of a `grid.powerstate.status.v1`: every feed, each with the next transition of it that waits, and goes on to until [`Feed::was_told`].
pub fn status(feeds: &[Feed], targets: &[Told], allowed: f64, now: Wall) -> Value {
    let states: Map<String, Value> =
        feeds.iter().map(|feed| (feed.tag.clone(), feed.state(targets, allowed))).collect();
    json!({ "snapshot_time": write_moment(now), "feeds": states })
}
