//! The last cycle as JSON. Power in watts, import and consumption positive; what is not known is `null`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Moment;
use crate::control::decision::{BreakerState, Mode, Source};
use crate::control::frame::{
    Frame, circuit_power, fresh_measure, fresh_power, fresh_status, meter_input, meter_up,
};
use crate::control::measure::Measure;
use crate::control::signal::SourceState;
use crate::control::site::{CircuitId, Combination, MeterId, Scope, Site};
use crate::control::snapshot::{Activity, Contact, MinerInput, Target};
use crate::metrics::{
    Exporter, binding_words, circuit_name, count_by_state, describe, left_words, miner_name, part_name,
    source_label, waiting_words,
};
use crate::signal::status::SourceStatus;

/// The answer of `/api/v1/status`.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
pub struct Signals {
    /// Each source.
    pub sources: Vec<Signal>,
    /// Writes to the database that have failed since the start; `null` where nothing is kept on disk.
    pub store_errors: Option<u64>,
    /// Whether the wall clock is trusted.
    pub clock_synchronised: bool,
}

/// A source of orders.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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
}

/// What one cycle left behind.
#[derive(Clone, Debug, Serialize)]
pub struct Cycle {
    /// Time since it completed.
    pub age_seconds: f64,
    /// What binds the fleet.
    pub binding: Binding,
    /// The fleet.
    pub fleet: Fleet,
    /// Number of miners by state.
    pub miners_by_state: BTreeMap<&'static str, u64>,
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
#[derive(Clone, Debug, Serialize)]
pub struct Binding {
    /// In words.
    pub words: String,
    /// The circuit.
    pub circuit: String,
    /// As in the label `source` of the metrics.
    pub source: String,
    /// `surplus`, `safety`, `grid`, `contract` or `economic`; `null` when no limit of the site binds.
    pub class: Option<&'static str>,
    /// What the miners of the circuit may draw under it.
    pub budget_watts: f64,
}

/// The fleet in that cycle.
#[derive(Clone, Debug, Serialize)]
pub struct Fleet {
    /// Left over locally before the miners take any.
    pub surplus_watts: f64,
    /// What fits the whole tree.
    pub budget_watts: f64,
    /// The budget after the ramp.
    pub target_watts: f64,
    /// What the miners are set to.
    pub setpoint_watts: f64,
    /// Estimated draw.
    pub power_watts: f64,
    /// How far the fleet cannot help exceeding its budgets.
    pub shortfall_watts: f64,
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

/// What the next miner to be woken waits for.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Debug, Serialize)]
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

/// A circuit in that cycle.
#[derive(Clone, Debug, Serialize)]
pub struct Circuit {
    /// Its name.
    pub name: String,
    /// Power into it by its meter; `null` without a fresh value.
    pub power_watts: Option<f64>,
    /// Estimated draw of its miners.
    pub miners_watts: f64,
    /// Load other than miners, generation negative, as estimated.
    pub other_watts: f64,
    /// What its own limits leave to its miners; `null` where it has none.
    pub headroom_watts: Option<f64>,
    /// What its miners may draw.
    pub budget_watts: f64,
    /// What its miners are set to.
    pub setpoint_watts: f64,
    /// How far its miners cannot help exceeding the budget.
    pub shortfall_watts: f64,
    /// Its breaker: `closed`, `opening`, `open` or `unknown`; `null` without one.
    pub breaker: Option<&'static str>,
    /// The source of the tightest of its own limits.
    pub binding: String,
    /// Every limit that acts here.
    pub limits: Vec<Limit>,
}

/// A limit as it stood in that cycle.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    /// As in the label `source` of the metrics.
    pub source: String,
    /// The cap itself; `null` for a lost meter.
    pub cap_watts: Option<f64>,
    /// What it leaves to the miners.
    pub headroom_watts: f64,
    /// Whether it acts: `false` while the condition that it has lets it rest.
    pub acts: bool,
}

/// A meter.
#[derive(Clone, Debug, Serialize)]
pub struct Meter {
    /// Its name.
    pub name: String,
    /// How the latest read ended.
    pub status: &'static str,
    /// Whether it can be relied on; `null` before the first read ended.
    pub up: Option<bool>,
    /// Its value while it is fresh.
    pub power_watts: Option<f64>,
    /// Age of the latest good value.
    pub age_seconds: Option<f64>,
    /// How often the device has a new value, as learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_seconds: Option<f64>,
    /// How late its value is taken to be.
    pub lag_seconds: f64,
    /// Of redundant meters, the part in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<String>,
    /// Whether redundant meters disagree, so that the worse value counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<bool>,
    /// What else it tells and is fresh, by the names of the configuration, in V, Hz, W, Wh and %.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub readings: BTreeMap<&'static str, f64>,
}

/// A miner.
#[derive(Clone, Debug, Serialize)]
pub struct Miner {
    /// Its name.
    pub name: String,
    /// The circuit that feeds it.
    pub circuit: String,
    /// Which driver speaks with it.
    pub driver: &'static str,
    /// How it is counted.
    pub state: &'static str,
    /// Whether it answers; `null` before it was asked.
    pub up: Option<bool>,
    /// Its draw by its own fresh reading.
    pub power_watts: Option<f64>,
    /// Best estimate of its draw.
    pub estimate_watts: f64,
    /// The most that it may draw before the next command acts.
    pub counted_watts: f64,
    /// `sleep`, `power`, or `null` while nothing was commanded or adopted.
    pub setpoint: Option<&'static str>,
    /// Settled draw at the setpoint.
    pub setpoint_watts: Option<f64>,
    /// Its hashrate by its own fresh reading.
    pub hashrate_hashes_per_second: Option<f64>,
    /// The vendor's words when it stopped by a fault of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// The last cycle, with each miner if asked for.
pub fn status(exporter: &Exporter, with_miners: bool) -> Status {
    let Some(frame) = exporter.frame() else {
        return Status {
            site: exporter.site().name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            mode: Mode::StartUp.name(),
            would_be: Mode::StartUp.name(),
            summary: "starting up: no control cycle has completed yet".into(),
            cycle: None,
            signals: exporter.signals().map(signals),
        };
    };
    let now = exporter.clock().now();
    Status {
        site: frame.site.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        mode: frame.decision.mode.name(),
        would_be: frame.decision.would_be.name(),
        summary: describe(&frame.site, &frame.decision),
        cycle: Some(cycle(&frame, now, with_miners)),
        signals: exporter.signals().map(signals),
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

fn cycle(frame: &Frame, now: Moment, with_miners: bool) -> Cycle {
    let Frame { site, decision, .. } = frame;
    let (fleet, energy) = (&decision.fleet, &decision.energy);
    let by_state = count_by_state(decision).into_iter();
    Cycle {
        age_seconds: now.since(decision.at).as_secs_f64(),
        binding: Binding {
            words: binding_words(site, &decision.binding),
            circuit: circuit_name(site, decision.binding.circuit).to_owned(),
            source: source_label(site, decision.binding.source).into_owned(),
            class: class(site, decision.binding.source),
            budget_watts: decision.binding.budget.get(),
        },
        fleet: Fleet {
            surplus_watts: fleet.surplus.get(),
            budget_watts: fleet.budget.get(),
            target_watts: fleet.target.get(),
            setpoint_watts: fleet.setpoint.get(),
            power_watts: fleet.draw.get(),
            shortfall_watts: fleet.shortfall.get(),
            hashrate_hashes_per_second: fleet.hashrate.get(),
            optimality_gap_ratio: fleet.optimality_gap,
            left_watts: fleet.left.get(),
            left_for_seconds: fleet.left_for.as_secs_f64(),
            left_why: (!fleet.left_for.is_zero()).then(|| left_words(decision)),
            waiting: decision.waiting.map(|waiting| Waiting {
                miner: miner_name(site, waiting.miner).to_owned(),
                words: waiting_words(&waiting),
                needed_watts: waiting.needs.get(),
                available_watts: waiting.there.get(),
            }),
        },
        miners_by_state: by_state.map(|(state, count)| (state.name(), count)).collect(),
        energy: Energy {
            surplus_joules: energy.surplus.get(),
            captured_joules: energy.captured.get(),
            imported_joules: energy.imported.get(),
            curtailed_joules: energy.curtailed.get(),
        },
        circuits: circuits(frame, now),
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
        Source::Interlock(_) => Some(crate::control::site::LimitClass::Safety.name()),
        Source::LostMeter(_) | Source::Fleet => None,
    }
}

fn circuits(frame: &Frame, now: Moment) -> Vec<Circuit> {
    let site = &frame.site;
    let each = site.circuits.iter().zip(&frame.decision.circuits).enumerate();
    each.map(|(index, (circuit, outcome))| Circuit {
        name: circuit.name.clone(),
        power_watts: circuit_power(frame, CircuitId(index), now).map(|power| power.get()),
        miners_watts: outcome.miners.get(),
        other_watts: outcome.other.get(),
        headroom_watts: outcome.limits.iter().any(|limit| limit.acts).then(|| outcome.headroom.get()),
        budget_watts: outcome.budget.get(),
        setpoint_watts: outcome.setpoint.get(),
        shortfall_watts: outcome.shortfall.get(),
        breaker: outcome.breaker.map(BreakerState::name),
        binding: source_label(site, outcome.binding).into_owned(),
        limits: outcome
            .limits
            .iter()
            .map(|limit| Limit {
                source: source_label(site, limit.source).into_owned(),
                cap_watts: limit.cap.map(|cap| cap.get()),
                headroom_watts: limit.headroom.get(),
                acts: limit.acts,
            })
            .collect(),
    })
    .collect()
}

fn meters(frame: &Frame, now: Moment) -> Vec<Meter> {
    let site = &frame.site;
    let each = site.meters.iter().enumerate().map(|(index, meter)| {
        let id = MeterId(index);
        let input = meter_input(frame, id);
        let outcome = frame.decision.meters.get(index);
        let in_use = outcome.and_then(|outcome| outcome.in_use).and_then(|position| match &meter.combined {
            Some(Combination::Redundant(redundant)) => redundant.parts.get(position),
            _ => None,
        });
        let told = Measure::NAMES.iter().filter_map(|(name, measure)| {
            let value = fresh_measure(site, id, &input, *measure, now)?;
            Some((*name, value))
        });
        Meter {
            name: meter.name.clone(),
            status: input.status.name(),
            up: meter_up(frame, id, now),
            power_watts: fresh_power(frame, id, now).map(|power| power.get()),
            age_seconds: input.power.map(|reading| now.since(reading.at).as_secs_f64()),
            refresh_seconds: input.refresh.map(|refresh| refresh.as_secs_f64()),
            lag_seconds: outcome.map_or(meter.lag, |outcome| outcome.lag).as_secs_f64(),
            in_use: in_use.map(|part| part_name(site, *part).into_owned()),
            disagreement: outcome.and_then(|outcome| outcome.disagreement),
            readings: told.collect(),
        }
    });
    each.collect()
}

fn miners(frame: &Frame, now: Moment) -> Vec<Miner> {
    let Frame { site, snapshot, decision } = frame;
    let each = site.miners.iter().zip(&decision.miners).enumerate();
    each.map(|(index, (miner, outcome))| {
        let input = snapshot.miners.get(index).unwrap_or(&MinerInput::PENDING);
        let status = fresh_status(input, now, miner.silent_after);
        Miner {
            name: miner.name.clone(),
            circuit: circuit_name(site, miner.circuit).to_owned(),
            driver: miner.driver,
            state: outcome.state.name(),
            up: match input.contact {
                Contact::Pending => None,
                Contact::Reachable => Some(true),
                Contact::Unreachable { .. } => Some(false),
            },
            power_watts: status.and_then(|status| status.power.value()).map(|power| power.get()),
            estimate_watts: outcome.draw.get(),
            counted_watts: outcome.counted.get(),
            setpoint: outcome.setpoint.map(|target| match target {
                Target::Sleep => "sleep",
                Target::Power(_) => "power",
            }),
            setpoint_watts: outcome.setpoint.map(|_| outcome.settled.get()),
            hashrate_hashes_per_second: status
                .and_then(|status| status.hashrate.value())
                .map(|hashrate| hashrate.get()),
            fault: status.and_then(|status| match &status.activity {
                Activity::Fault(text) => Some(text.to_string()),
                _ => None,
            }),
        }
    })
    .collect()
}
