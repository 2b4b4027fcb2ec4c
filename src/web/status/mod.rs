//! The last cycle as JSON. Power in watts, import and consumption positive; what is not known is `null`.

mod circuits;
mod devices;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Moment;
use crate::control::classes::by_class;
use crate::control::decision::{Decision, Mode, Source};
use crate::control::frame::Frame;
use crate::control::signal::SourceState;
use crate::control::site::{self, Scope, Site};
use crate::control::snapshot::{Contact, MinerInput, Outcome};
use crate::metrics::{
    Exporter, Here, Present, Speaker, circuit_name, count_by_state, describe, left_words, miner_name,
    over_budget, root_cap, source_label, surplus, waiting_words,
};
use crate::signal::status::SourceStatus;
use crate::units::Watts;

pub use circuits::{Circuit, Class};
pub(super) use circuits::{circuit, circuits};
pub use devices::{Meter, Miner};
pub(super) use devices::{meters, miner, miners};

/// The answer of `/api/v1/status`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// The name that the operator gave the site.
    pub site: String,
    /// The version that runs.
    pub version: &'static str,
    /// The state of the controller.
    pub mode: &'static str,
    /// The state that it would have if it commanded; differs in observe mode alone.
    pub would_be: &'static str,
    /// What is going on, in one line for people.
    pub summary: String,
    /// The last cycle; `null` before the first.
    pub cycle: Option<Cycle>,
    /// The sources of orders, the store and the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<Signals>,
}

/// Who gives orders, and what they come to.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Signals {
    /// Each source.
    pub sources: Vec<Signal>,
    /// Writes to the database that have failed since the start; `null` where nothing is kept on disk.
    pub store_errors: Option<u64>,
    /// Whether the wall clock is trusted.
    pub clock_synchronised: bool,
}

/// A source of orders.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// `init`, `controlled`, `limited`, `degraded`, `failsafe` or `released`; `null` before the first cycle.
    pub state: Option<&'static str>,
    /// Time since it was last heard with a good answer.
    pub age_seconds: Option<f64>,
    /// Why it is degraded, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trouble: Vec<String>,
    /// Who has lifted its caps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted_by: Option<String>,
    /// The caps that it sets now.
    pub caps: Vec<SignalCap>,
    /// From obeying its latest order until it was met.
    pub met_after_seconds: Option<f64>,
    /// How far measured power is above its orders now.
    pub shortfall_watts: Option<f64>,
    /// Mean power under its latest order minus the cap.
    pub deviation_watts: Option<f64>,
}

/// A cap of a source.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SignalCap {
    /// The circuit.
    pub circuit: String,
    /// `import` or `miners`.
    pub caps: &'static str,
    /// The cap.
    pub cap_watts: f64,
    /// `order`, `returning`, `kept`, `fail-safe` or `released`.
    pub why: &'static str,
    /// The order behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Up to when it holds, in milliseconds since 1970 (UTC); absent without such an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// What one cycle left behind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Cycle {
    /// Time since it completed.
    pub age_seconds: f64,
    /// What binds the fleet.
    pub binding: Binding,
    /// The fleet.
    pub fleet: Fleet,
    /// Number of miners by state.
    pub miners_by_state: BTreeMap<&'static str, u64>,
    /// Miners that have let more than two polls go by without an answer, are not busy with a command, and are not unreachable yet.
    pub late_miners: usize,
    /// The members by class, the first to give power up first.
    pub classes: Vec<Class>,
    /// Energy since the start.
    pub energy: Energy,
    /// All circuits.
    pub circuits: Vec<Circuit>,
    /// All meters.
    pub meters: Vec<Meter>,
    /// All miners, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub miners: Option<Vec<Miner>>,
}

/// The tightest bound and where it acts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Binding {
    /// In words.
    pub words: String,
    /// The circuit.
    pub circuit: String,
    /// As in the label `source` of the metrics.
    pub source: String,
    /// `surplus`, `safety`, `grid`, `contract` or `economic`; `null` when no limit of the site binds.
    pub class: Option<&'static str>,
    /// What fits the whole tree.
    pub budget_watts: f64,
}

/// The fleet in that cycle.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Fleet {
    /// Left over locally before the miners take any; `null` while the meter of the root is lost.
    pub surplus_watts: Option<f64>,
    /// What fits the whole tree.
    pub budget_watts: f64,
    /// The tightest cap on the root circuit, that of the surplus aside; `null` without one.
    pub cap_watts: Option<f64>,
    /// The budget after the ramp.
    pub target_watts: f64,
    /// What the miners are set to.
    pub setpoint_watts: f64,
    /// Estimated draw.
    pub power_watts: f64,
    /// How far the fleet cannot help exceeding its budgets.
    pub shortfall_watts: f64,
    /// Where more is drawn than may be, beyond what meters hum and miners draw asleep; `null` where nowhere.
    pub over_budget: Option<OverBudget>,
    /// Sum of the hashrates that the miners report.
    pub hashrate_hashes_per_second: f64,
    /// How far the allocation is below a proven upper bound; 0.001 is 0.1 %.
    pub optimality_gap_ratio: f64,
    /// What the miners could take within every limit and do not, beyond what is kept free.
    pub left_watts: f64,
    /// For how long that has been worth telling.
    pub left_for_seconds: f64,
    /// Why, in words; `null` while it is not worth telling.
    pub left_why: Option<String>,
    /// The next miner to be woken, where it waits for power.
    pub waiting: Option<Waiting>,
}

/// More is drawn in a part of the site than may be.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OverBudget {
    /// The circuit.
    pub circuit: String,
    /// By how much.
    pub watts: f64,
    /// It is the most that it may be: some that do not answer are counted at their worst.
    pub at_most: bool,
}

/// What the next miner to be woken waits for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Waiting {
    /// Which miner.
    pub miner: String,
    /// In words.
    pub words: String,
    /// What it needs to start.
    pub needed_watts: f64,
    /// What is there for it.
    pub available_watts: f64,
}

/// Energy since the start, in joules.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Energy {
    /// Left over locally before the miners took any.
    pub surplus_joules: f64,
    /// The part of it that the miners took.
    pub captured_joules: f64,
    /// The miners' share of the import.
    pub imported_joules: f64,
    /// The part of the surplus that the miners could have taken and did not.
    pub curtailed_joules: f64,
}

/// The last cycle, with each miner if asked for.
pub fn status(exporter: &Exporter, with_miners: bool) -> Status {
    status_of(exporter, &exporter.present(), with_miners)
}

/// What is told of one moment.
pub(super) fn status_of(exporter: &Exporter, present: &Present, with_miners: bool) -> Status {
    let orders = exporter.signals();
    let Some(frame) = &present.frame else {
        let before = exporter.last_cycle();
        let mode =
            |of: fn(&Decision) -> Mode| before.as_ref().map_or(Mode::StartUp, |it| of(&it.decision)).name();
        let summary = match before {
            Some(_) => "the configuration was read again: its first control cycle is under way",
            None => "starting up: no control cycle has completed yet",
        };
        return Status {
            site: present.site.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            mode: mode(|it| it.mode),
            would_be: mode(|it| it.would_be),
            summary: summary.into(),
            cycle: None,
            signals: orders.map(signals),
        };
    };
    let here = Here::now();
    let speaker = Speaker::new(frame, orders.as_ref(), &here);
    Status {
        site: frame.site.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        mode: frame.decision.mode.name(),
        would_be: frame.decision.would_be.name(),
        summary: describe(&frame.site, &frame.decision),
        cycle: Some(cycle(frame, exporter.clock().now(), &speaker, with_miners)),
        signals: orders.clone().map(signals),
    }
}

fn signals(status: crate::signal::status::Status) -> Signals {
    let source = |source: SourceStatus| Signal {
        name: source.name.to_string(),
        state: source.state.map(SourceState::name),
        age_seconds: source.age.map(|age| age.as_secs_f64()),
        trouble: source.trouble,
        lifted_by: source.lifted.map(|(by, _)| by.to_string()),
        caps: source
            .caps
            .into_iter()
            .map(|cap| SignalCap {
                circuit: cap.circuit.to_string(),
                caps: match cap.scope {
                    Scope::Import => "import",
                    Scope::Miners => "miners",
                },
                cap_watts: cap.cap.get(),
                why: cap.why,
                order: cap.order.map(|order| order.to_string()),
                until: cap.until.map(|until| until.as_unix_millis()),
            })
            .collect(),
        met_after_seconds: source.met_after.map(|time| time.as_secs_f64()),
        shortfall_watts: source.shortfall.map(|watts| watts.get()),
        deviation_watts: source.deviation.map(|watts| watts.get()),
    };
    Signals {
        sources: status.sources.into_iter().map(source).collect(),
        store_errors: status.store_errors,
        clock_synchronised: status.clock_synchronised,
    }
}

fn cycle(frame: &Frame, now: Moment, speaker: &Speaker<'_>, with_miners: bool) -> Cycle {
    let Frame { site, decision, .. } = frame;
    let (fleet, energy) = (&decision.fleet, &decision.energy);
    let by_state = count_by_state(decision).into_iter();
    let bound = speaker.binding();
    Cycle {
        age_seconds: now.since(decision.at).as_secs_f64(),
        binding: Binding {
            words: bound.words,
            circuit: circuit_name(site, bound.circuit).to_owned(),
            source: source_label(site, bound.source).into_owned(),
            class: class(site, bound.source),
            budget_watts: decision.binding.budget.get(),
        },
        fleet: Fleet {
            surplus_watts: surplus(site, decision).map(Watts::get),
            budget_watts: fleet.budget.get(),
            cap_watts: root_cap(site, decision).map(|cap| cap.get()),
            target_watts: fleet.target.get(),
            setpoint_watts: fleet.setpoint.get(),
            power_watts: fleet.draw.get(),
            shortfall_watts: fleet.shortfall.get(),
            over_budget: over_budget(site, decision).map(|over| OverBudget {
                circuit: circuit_name(site, over.circuit).to_owned(),
                watts: over.by.get(),
                at_most: over.at_most,
            }),
            hashrate_hashes_per_second: fleet.hashrate.get(),
            optimality_gap_ratio: fleet.optimality_gap,
            left_watts: fleet.left.get(),
            left_for_seconds: fleet.left_for.as_secs_f64(),
            left_why: (!fleet.left_for.is_zero()).then(|| left_words(decision)),
            waiting: speaker.waiting().map(|waiting| Waiting {
                miner: miner_name(site, waiting.miner).to_owned(),
                words: waiting_words(&waiting),
                needed_watts: waiting.needs.get(),
                available_watts: waiting.there.get(),
            }),
        },
        miners_by_state: by_state.map(|(state, count)| (state.name(), count)).collect(),
        late_miners: late_miners(frame),
        classes: by_class(frame).iter().map(Class::from).collect(),
        energy: Energy {
            surplus_joules: energy.surplus.get(),
            captured_joules: energy.captured.get(),
            imported_joules: energy.imported.get(),
            curtailed_joules: energy.curtailed.get(),
        },
        circuits: circuits(frame, now, speaker),
        meters: meters(frame, now),
        miners: with_miners.then(|| miners(frame, now)),
    }
}

fn class(site: &Site, source: Source) -> Option<&'static str> {
    match source {
        Source::Limit(id) => site.limits.get(id.0).map(|limit| limit.class.name()),
        Source::Order(id) | Source::LostSource(id) => {
            site.sources.get(id.0).map(|source| source.class.name())
        }
        Source::Interlock(_) | Source::Stop(_) => Some(crate::control::site::LimitClass::Safety.name()),
        Source::LostMeter(_) | Source::Fleet => None,
    }
}

/// So long after its poll an answer is late.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// How many miners should have answered by now and do not count as unreachable for that yet.
fn late_miners(frame: &Frame) -> usize {
    let is_late = |miner: &site::Miner, input: &MinerInput| {
        let delivery = input.delivery.as_ref();
        // While one is busy with a command it is asked nothing else.
        let busy = delivery.is_some_and(|delivery| delivery.outcome == Outcome::InFlight);
        let told = delivery.map_or(Moment::START, |delivery| delivery.at);
        let due = miner.poll_period * 2 + ANSWERS_WITHIN;
        let old = input.status.as_ref().is_some_and(|status| frame.decision.at - status.at.max(told) > due);
        old && !busy && matches!(input.contact, Contact::Reachable)
    };
    let each = frame.site.miners.iter().zip(&frame.snapshot.miners);
    each.filter(|(miner, input)| is_late(miner, input)).count()
}
