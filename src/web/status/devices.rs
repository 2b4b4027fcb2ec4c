//! The meters and the miners.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Moment;
use crate::control::classes::{Pause, pause};
use crate::control::frame::{Frame, fresh_measure, fresh_power, fresh_status, meter_input, meter_up};
use crate::control::measure::Measure;
use crate::control::site::{Combination, Interlock, MeterId, MinerId, Site};
use crate::control::snapshot::{Activity, Contact, MinerInput, Target};
use crate::control::stop::CLOSED;
use crate::metrics::{circuit_name, part_name};

/// A meter.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Meter {
    /// Its name.
    pub name: String,
    /// How the latest read ended.
    pub status: &'static str,
    /// Whether it can be relied on; `null` before the first read ended.
    pub up: Option<bool>,
    /// Its value while it is fresh.
    pub power_watts: Option<f64>,
    /// `closed` or `open`, of a contact: one that an emergency stop reads, or an interlock that needs no more than 1 W.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<&'static str>,
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
    /// For how long it has shown the same value, while its miners are put a little lower to see whether it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_seconds: Option<f64>,
    /// What else it tells and is fresh, by the names of the configuration, in V, Hz, W, Wh and %.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub readings: BTreeMap<&'static str, f64>,
}

/// A miner.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Miner {
    /// Its name.
    pub name: String,
    /// The circuit that feeds it.
    pub circuit: String,
    /// Which driver speaks with it.
    pub driver: &'static str,
    /// Who gives power up before whom: `miner`, `interruptible`, `throttle`, `guaranteed`, the first of these first.
    #[schema(example = "miner")]
    pub class: &'static str,
    /// What it keeps by contract, except where people or wires are in danger; absent where nothing was agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_watts: Option<f64>,
    /// `running`, `pausing` or `paused`, of a server that may be paused; absent of all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<&'static str>,
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
    /// What it was told to draw at most; `null` where it was told to sleep, or nothing.
    pub told_watts: Option<f64>,
    /// What is counted for it at the setpoint: its settled draw, and of one that starts what it starts with.
    pub setpoint_watts: Option<f64>,
    /// Its hashrate by its own fresh reading.
    pub hashrate_hashes_per_second: Option<f64>,
    /// The vendor's words when it reports a fault of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Whether a meter is a contact, whose watts say nothing: one that an emergency stop reads, or an interlock for which the
/// least of a closed contact is enough.
fn contact(site: &Site, id: MeterId) -> bool {
    let locks = |lock: &Interlock| lock.meter == id && lock.at_least <= CLOSED;
    site.reads_stop(id) || site.circuits.iter().any(|circuit| circuit.interlock.as_ref().is_some_and(locks))
}

/// All meters of a frame.
pub(in crate::web) fn meters(frame: &Frame, now: Moment) -> Vec<Meter> {
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
        let power = fresh_power(frame, id, now);
        let closed = power.filter(|_| contact(site, id)).map(|power| power >= CLOSED);
        Meter {
            name: meter.name.clone(),
            status: input.status.name(),
            up: meter_up(frame, id, now),
            power_watts: power.map(|power| power.get()),
            contact: closed.map(|closed| if closed { "closed" } else { "open" }),
            age_seconds: input.power.map(|reading| now.since(reading.at).as_secs_f64()),
            refresh_seconds: input.refresh.map(|refresh| refresh.as_secs_f64()),
            lag_seconds: outcome.map_or(meter.lag, |outcome| outcome.lag).as_secs_f64(),
            in_use: in_use.map(|part| part_name(site, *part).into_owned()),
            disagreement: outcome.and_then(|outcome| outcome.disagreement),
            asked_seconds: outcome.and_then(|outcome| outcome.asked).map(|time| time.as_secs_f64()),
            readings: told.collect(),
        }
    });
    each.collect()
}

/// All miners of a frame.
pub(in crate::web) fn miners(frame: &Frame, now: Moment) -> Vec<Miner> {
    (0..frame.site.miners.len()).filter_map(|index| miner(frame, MinerId(index), now)).collect()
}

/// One of them.
pub(in crate::web) fn miner(frame: &Frame, id: MinerId, now: Moment) -> Option<Miner> {
    let Frame { site, snapshot, decision } = frame;
    let (miner, outcome) = (site.miners.get(id.0)?, decision.miners.get(id.0)?);
    let input = snapshot.miners.get(id.0).unwrap_or(&MinerInput::PENDING);
    let status = fresh_status(input, now, miner.silent_after);
    Some(Miner {
        name: miner.name.clone(),
        circuit: circuit_name(site, miner.circuit).to_owned(),
        driver: miner.driver,
        class: miner.class.name(),
        contract_watts: miner.contract.map(|contract| contract.get()),
        pause: pause(miner, outcome).map(Pause::name),
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
        told_watts: outcome.setpoint.and_then(|target| match target {
            Target::Sleep => None,
            Target::Power(power) => Some(power.get()),
        }),
        setpoint_watts: outcome.setpoint.map(|_| outcome.settled.get()),
        hashrate_hashes_per_second: status
            .and_then(|status| status.hashrate.value())
            .map(|hashrate| hashrate.get()),
        fault: status.and_then(|status| match &status.activity {
            Activity::Fault(text) => Some(text.to_string()),
            _ => None,
        }),
    })
}
