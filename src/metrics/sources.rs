//! How sources, bounds and freshness are put in words and labels.

use std::borrow::Cow;

use crate::control::decision::{Binding, Source};
use crate::control::measure::Measure;
use crate::control::site::{CircuitId, MeterId, MinerId, Part, Site, SourceId};

/// The source of a bound as a label: the limit's name, `lost-meter:` and the meter's name, or `fleet-maximum`.
pub fn source_label(site: &Site, source: Source) -> Cow<'_, str> {
    match source {
        Source::Limit(id) => Cow::Borrowed(site.limits.get(id.0).map_or("unknown", |limit| &limit.name)),
        Source::Order(id) => Cow::Borrowed(source_name(site, id)),
        Source::LostSource(id) => Cow::Owned(format!("lost-signal:{}", source_name(site, id))),
        Source::Interlock(id) => Cow::Owned(format!("interlock:{}", circuit_name(site, id))),
        Source::Stop(id) => Cow::Owned(format!("emergency-stop:{}", circuit_name(site, id))),
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
        Source::Stop(_) => format!("the emergency stop of {circuit}"),
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
