//! How sources, bounds and freshness are put in words and labels.

use std::borrow::Cow;
use std::time::Duration;

use super::Frame;
use crate::clock::Moment;
use crate::control::decision::{Binding, Source};
use crate::control::measure::Measure;
use crate::control::site::{CircuitId, MeterId, MinerId, Part, Site, SourceId};
use crate::control::snapshot::{Contact, MeterInput, MeterStatus, MinerInput, MinerStatus, Reading};
use crate::units::Watts;

/// The source of a bound as a label: the limit's name, `lost-meter:` and the meter's name, or `fleet-maximum`.
pub fn source_label(site: &Site, source: Source) -> Cow<'_, str> {
    match source {
        Source::Limit(id) => Cow::Borrowed(site.limits.get(id.0).map_or("unknown", |limit| &limit.name)),
        Source::Order(id) => Cow::Borrowed(source_name(site, id)),
        Source::LostSource(id) => Cow::Owned(format!("lost-signal:{}", source_name(site, id))),
        Source::Interlock(id) => Cow::Owned(format!("interlock:{}", circuit_name(site, id))),
        Source::LostMeter(id) => Cow::Owned(format!("lost-meter:{}", meter_name(site, id))),
        Source::Fleet => Cow::Borrowed("fleet-maximum"),
    }
}

/// What binds and where, in words: `follow-surplus at pcc`, `meter pcc lost, at pcc`, `all miners at maximum`.
pub fn binding_words(site: &Site, binding: &Binding) -> String {
    let circuit = circuit_name(site, binding.circuit);
    match binding.source {
        Source::Limit(_) | Source::Order(_) => format!("{} at {circuit}", source_label(site, binding.source)),
        Source::Interlock(_) => format!("the interlock of {circuit}"),
        Source::LostSource(id) => format!("signal {} lost, at {circuit}", source_name(site, id)),
        Source::LostMeter(id) => format!("meter {} lost, at {circuit}", meter_name(site, id)),
        Source::Fleet => "all miners at maximum".into(),
    }
}

/// A circuit's name.
pub(crate) fn circuit_name(site: &Site, id: CircuitId) -> &str {
    site.circuits.get(id.0).map_or("unknown", |circuit| &circuit.name)
}

/// The name of a source of orders.
pub(crate) fn source_name(site: &Site, id: SourceId) -> &str {
    site.sources.get(id.0).map_or("unknown", |source| &source.name)
}

/// A meter's name.
pub(crate) fn meter_name(site: &Site, id: MeterId) -> &str {
    site.meters.get(id.0).map_or("unknown", |meter| &meter.name)
}

/// A miner's name.
pub(crate) fn miner_name(site: &Site, id: MinerId) -> &str {
    site.miners.get(id.0).map_or("unknown", |miner| &miner.name)
}

/// A part of a combined meter in words: its meter's name, and which of its powers where that is not the whole.
pub(crate) fn part_name(site: &Site, part: Part) -> Cow<'_, str> {
    let meter = meter_name(site, part.meter);
    if part.measure == Measure::Power {
        Cow::Borrowed(meter)
    } else {
        Cow::Owned(format!("{meter}.{}", part.measure.name()))
    }
}

/// What a meter said in a cycle: a device by the snapshot, a combined meter by the decision. A device that the control
/// law does not believe is not well, however good its answers are.
pub(crate) fn meter_input(frame: &Frame, id: MeterId) -> MeterInput {
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
pub(crate) fn fresh_measure(
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
pub(crate) fn fresh_power(frame: &Frame, id: MeterId, now: Moment) -> Option<Watts> {
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
pub(crate) fn meter_up(frame: &Frame, id: MeterId, now: Moment) -> Option<bool> {
    match meter_input(frame, id).status {
        MeterStatus::Pending => None,
        MeterStatus::Ok => Some(fresh_power(frame, id, now).is_some()),
        _ => Some(false),
    }
}

/// The latest reading of a miner while the miner answers and the reading is young enough to be told.
pub(crate) fn fresh_status(input: &MinerInput, now: Moment, silent_after: Duration) -> Option<&MinerStatus> {
    let reading = input.status.as_ref()?;
    let told = input.contact == Contact::Reachable && now.since(reading.at) <= silent_after;
    told.then_some(&reading.value)
}
