//! What one cycle left behind, and what of it is young enough to be told.

use std::sync::Arc;
use std::time::Duration;

use crate::control::decision::Decision;
use crate::control::measure::Measure;
use crate::control::site::{CircuitId, MeterId, Site};
use crate::control::snapshot::{
    Contact, MeterInput, MeterStatus, MinerInput, MinerStatus, Reading, Snapshot,
};
use crate::moment::Moment;
use crate::units::Watts;

/// What one cycle left behind.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The site as it was configured in that cycle.
    pub site: Arc<Site>,
    /// What the cycle was told.
    pub snapshot: Arc<Snapshot>,
    /// What it decided.
    pub decision: Arc<Decision>,
}

/// What a meter said in a cycle: a device by the snapshot, a combined meter by the decision. A device that the control
/// law does not believe is not well, however good its answers are.
pub fn meter_input(frame: &Frame, id: MeterId) -> MeterInput {
    let combined = frame.site.meters.get(id.0).is_some_and(|meter| meter.combined.is_some());
    let taken = frame.decision.meters.get(id.0).map(|meter| meter.input);
    if combined {
        return taken.unwrap_or(MeterInput::PENDING);
    }
    let mut input = frame.snapshot.meters.get(id.0).copied().unwrap_or(MeterInput::PENDING);
    if let Some(status @ (MeterStatus::Frozen | MeterStatus::Turned)) = taken.map(|taken| taken.status) {
        input.status = status;
    }
    input
}

/// A value of a meter that is not its power, while it is young enough to be told.
pub fn fresh_measure(
    site: &Site,
    id: MeterId,
    input: &MeterInput,
    measure: Measure,
    now: Moment,
) -> Option<f64> {
    let meter = site.meters.get(id.0)?;
    fresh(input.others.get(measure).as_ref(), now, meter.stale_after)
}

fn fresh<T: Clone>(reading: Option<&Reading<T>>, now: Moment, at_most: Duration) -> Option<T> {
    reading.filter(|reading| now.since(reading.at) <= at_most).map(|reading| reading.value.clone())
}

/// The latest good value of a meter while it is young enough to be used as it is.
///
/// Whether a combined meter is, the control law has worked out from its parts; here it only grows old with the cycle.
pub fn fresh_power(frame: &Frame, id: MeterId, now: Moment) -> Option<Watts> {
    let meter = frame.site.meters.get(id.0)?;
    let power = meter_input(frame, id).power?;
    if meter.combined.is_none() {
        return fresh(Some(&power), now, meter.stale_after);
    }
    let outcome = frame.decision.meters.get(id.0)?;
    let told = outcome.lost <= 0.0 && now.since(frame.decision.at) <= meter.stale_after;
    told.then_some(power.value)
}

/// Whether a meter can be relied on; `None` before its first read ended.
pub fn meter_up(frame: &Frame, id: MeterId, now: Moment) -> Option<bool> {
    match meter_input(frame, id).status {
        MeterStatus::Pending => None,
        MeterStatus::Ok => Some(fresh_power(frame, id, now).is_some()),
        _ => Some(false),
    }
}

/// The latest reading of a miner while the miner answers and the reading is young enough to be told.
pub fn fresh_status(input: &MinerInput, now: Moment, silent_after: Duration) -> Option<&MinerStatus> {
    let reading = input.status.as_ref()?;
    let told = input.contact == Contact::Reachable && now.since(reading.at) <= silent_after;
    told.then_some(&reading.value)
}

/// The power into a circuit, unless its meter is stale.
pub fn circuit_power(frame: &Frame, id: CircuitId, now: Moment) -> Option<Watts> {
    let power = frame.decision.circuits.get(id.0)?.power?;
    match frame.site.circuits.get(id.0)?.meter {
        Some(meter) => fresh_power(frame, meter, now).map(|_| power),
        None => Some(power),
    }
}
