//! The circuits, with what caps them and why.

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Moment;
use crate::control::classes::{ClassSum, by_circuit};
use crate::control::decision::{BreakerState, Source};
use crate::control::frame::{Frame, circuit_power};
use crate::control::site::{CircuitId, LoadClass, Site};
use crate::control::stop::StopState;
use crate::metrics::{Speaker, Told, circuit_name, meter_name, source_label};
use crate::units::Watts;

/// A circuit in that cycle.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Circuit {
    /// Its name.
    pub name: String,
    /// The circuit that feeds it; `null` for the root.
    pub parent: Option<String>,
    /// The meter that measures it; `null` without one.
    pub meter: Option<String>,
    /// Power into it by its meter; `null` without a fresh value.
    pub power_watts: Option<f64>,
    /// The most that its miners can ever draw.
    pub nameplate_watts: f64,
    /// Estimated draw of its miners.
    pub miners_watts: f64,
    /// Load other than miners, generation negative, as estimated.
    pub other_watts: f64,
    /// What its own limits leave to its miners; `null` where it has none.
    pub headroom_watts: Option<f64>,
    /// What its miners may draw; all that they can, where no limit acts on them.
    pub budget_watts: f64,
    /// What its miners are set to.
    pub setpoint_watts: f64,
    /// How far its miners cannot help exceeding the budget.
    pub shortfall_watts: f64,
    /// How far they are above it beyond what they would draw if all slept, which nobody can help; what they were told already and do
    /// in time counts as done.
    pub over_watts: f64,
    /// All of its miners sleep as asked, and draw no more than they do so.
    pub rests: bool,
    /// Its breaker: `closed`, `opening`, `open` or `unknown`; `null` without one.
    pub breaker: Option<&'static str>,
    /// Whether its interlock permits its miners to run; `null` without one.
    pub interlock: Option<bool>,
    /// What its interlock goes by; `null` without one.
    pub interlock_meter: Option<InterlockMeter>,
    /// Its emergency stop: `ready`, `open`, `unknown`, `latched` or `unread`; `null` without one.
    pub emergency_stop: Option<&'static str>,
    /// The source of the tightest of its own limits.
    pub binding: String,
    /// What caps it in effect: the cap that leaves its miners the least, over it and all circuits above it.
    pub cap: EffectiveCap,
    /// Every limit that acts here.
    pub limits: Vec<CircuitLimit>,
    /// Its members by class, the first to give power up first; absent where all of them are miners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
}

/// The members of a class together.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Class {
    /// `miner`, `interruptible`, `throttle` or `guaranteed`.
    #[schema(example = "throttle")]
    pub class: &'static str,
    /// How many members.
    pub members: u64,
    /// Estimated draw.
    pub power_watts: f64,
    /// Settled draw at their setpoints.
    pub setpoint_watts: f64,
    /// What they would still give up if all were told the lowest that breaks no contract; nothing of whoever does not answer.
    pub sheddable_watts: f64,
    /// How many servers of it are paused.
    pub paused: u64,
}

impl From<&ClassSum> for Class {
    fn from(sum: &ClassSum) -> Self {
        Self {
            class: sum.class.name(),
            members: sum.members,
            power_watts: sum.draw.get(),
            setpoint_watts: sum.setpoint.get(),
            sheddable_watts: sum.sheddable.get(),
            paused: sum.paused,
        }
    }
}

/// What an interlock goes by.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct InterlockMeter {
    /// The meter.
    pub meter: String,
    /// What it reads; `null` without a fresh value, which does not hold.
    pub power_watts: Option<f64>,
    /// What it has to read at least.
    pub at_least_watts: f64,
}

/// The cap that counts for a circuit.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EffectiveCap {
    /// The circuit on which it acts.
    pub circuit: String,
    /// The cap in its own scope; `null` for a lost meter and where no limit acts.
    pub cap_watts: Option<f64>,
    /// As in the label `source` of the metrics.
    pub source: String,
    /// In words.
    pub words: String,
    /// Up to when the order behind it holds, in milliseconds since 1970 (UTC); `null` without such an end.
    pub until: Option<i64>,
}

impl EffectiveCap {
    /// From what is told of it.
    fn new(site: &Site, told: Told) -> Self {
        Self {
            circuit: circuit_name(site, told.circuit).to_owned(),
            cap_watts: told.cap.map(|cap| cap.get()),
            source: source_label(site, told.source).into_owned(),
            words: told.words,
            until: told.until.map(|until| until.as_unix_millis()),
        }
    }
}

/// A limit as it stood in that cycle.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CircuitLimit {
    /// As in the label `source` of the metrics.
    pub source: String,
    /// The cap itself; `null` for a lost meter.
    pub cap_watts: Option<f64>,
    /// What it leaves to the miners.
    pub headroom_watts: f64,
    /// Whether it acts: `false` while the condition that it has lets it rest.
    pub acts: bool,
}

/// All circuits of a frame.
pub(in crate::web) fn circuits(frame: &Frame, now: Moment, speaker: &Speaker<'_>) -> Vec<Circuit> {
    let site = &frame.site;
    let each = by_circuit(frame).into_iter().zip(frame.decision.at_rest(site)).zip(site.nameplates());
    let each = each.enumerate().filter_map(|(index, ((sums, rests), full))| {
        one(frame, CircuitId(index), now, speaker, (&sums, rests, full))
    });
    each.collect()
}

/// One of them.
pub(in crate::web) fn circuit(
    frame: &Frame,
    id: CircuitId,
    now: Moment,
    speaker: &Speaker<'_>,
) -> Option<Circuit> {
    let site = &frame.site;
    let rests = frame.decision.at_rest(site).get(id.0).copied()?;
    let full = site.nameplates().get(id.0).copied()?;
    one(frame, id, now, speaker, (by_circuit(frame).get(id.0)?, rests, full))
}

fn one(
    frame: &Frame,
    id: CircuitId,
    now: Moment,
    speaker: &Speaker<'_>,
    (sums, rests, full): (&[ClassSum], bool, Watts),
) -> Option<Circuit> {
    let site = &frame.site;
    let (circuit, outcome) = (site.circuits.get(id.0)?, frame.decision.circuits.get(id.0)?);
    Some(Circuit {
        name: circuit.name.clone(),
        parent: circuit.parent.map(|parent| circuit_name(site, parent).to_owned()),
        meter: circuit.meter.map(|meter| meter_name(site, meter).to_owned()),
        power_watts: circuit_power(frame, id, now).map(|power| power.get()),
        nameplate_watts: full.get(),
        miners_watts: outcome.miners.get(),
        other_watts: outcome.other.get(),
        headroom_watts: outcome.limits.iter().any(|limit| limit.acts).then(|| outcome.headroom.get()),
        budget_watts: outcome.bound().unwrap_or(full).get(),
        setpoint_watts: outcome.setpoint.get(),
        shortfall_watts: outcome.shortfall.get(),
        over_watts: outcome.over().get(),
        rests,
        breaker: outcome.breaker.map(BreakerState::name),
        interlock: outcome
            .limits
            .iter()
            .find(|limit| matches!(limit.source, Source::Interlock(_)))
            .map(|limit| !limit.acts),
        interlock_meter: speaker.lock(id).map(|lock| InterlockMeter {
            meter: lock.meter.to_owned(),
            power_watts: lock.reads.map(|reads| reads.get()),
            at_least_watts: lock.needs.get(),
        }),
        emergency_stop: outcome.emergency_stop.map(StopState::name),
        binding: source_label(site, outcome.binding).into_owned(),
        cap: EffectiveCap::new(site, speaker.cap(id)),
        limits: outcome
            .limits
            .iter()
            .map(|limit| CircuitLimit {
                source: source_label(site, limit.source).into_owned(),
                cap_watts: limit.cap.map(|cap| cap.get()),
                headroom_watts: limit.headroom.get(),
                acts: limit.acts,
            })
            .collect(),
        classes: match sums {
            [] => Vec::new(),
            [only] if only.class == LoadClass::Miner => Vec::new(),
            sums => sums.iter().map(Class::from).collect(),
        },
    })
}
