//! What is said of each meter.

use std::collections::BTreeSet;

use prometheus::proto::MetricFamily;

use super::catalogue::{self as names, Definition};
use super::collector::flag;
use super::family::Family;
use super::sources::part_name;
use crate::clock::Moment;
use crate::control::frame::{Frame, fresh_measure, fresh_power, meter_input, meter_up};
use crate::control::measure::Measure;
use crate::control::site::{Combination, MeterId};

/// Joules in a watt-hour.
const JOULES: f64 = 3_600.0;

/// The measures that have a metric, with the values of its labels after the meter and the factor to its base unit.
const TOLD: [(Measure, &Definition, Option<&str>, f64); 10] = [
    (Measure::Frequency, &names::METER_FREQUENCY, None, 1.0),
    (Measure::VoltageL1, &names::METER_VOLTAGE, Some("L1"), 1.0),
    (Measure::VoltageL2, &names::METER_VOLTAGE, Some("L2"), 1.0),
    (Measure::VoltageL3, &names::METER_VOLTAGE, Some("L3"), 1.0),
    (Measure::PowerL1, &names::METER_PHASE_POWER, Some("L1"), 1.0),
    (Measure::PowerL2, &names::METER_PHASE_POWER, Some("L2"), 1.0),
    (Measure::PowerL3, &names::METER_PHASE_POWER, Some("L3"), 1.0),
    (Measure::EnergyImport, &names::METER_ENERGY, Some("import"), JOULES),
    (Measure::EnergyExport, &names::METER_ENERGY, Some("export"), JOULES),
    (Measure::StateOfCharge, &names::METER_CHARGE, None, 0.01),
];

/// Adds everything that is known of the meters.
pub(super) fn meters(frame: &Frame, now: Moment, families: &mut Vec<MetricFamily>) {
    let size = frame.site.meters.len();
    let family = |definition: &'static Definition| Family::with_capacity(definition, size);
    let mut up = family(&names::METER_UP);
    let mut power = family(&names::METER_POWER);
    let mut age = family(&names::METER_AGE);
    let mut refresh = family(&names::METER_REFRESH);
    let mut lag = family(&names::METER_LAG);
    let mut in_use = Family::new(&names::METER_IN_USE);
    let mut disagreement = Family::new(&names::METER_DISAGREEMENT);
    for (index, meter) in frame.site.meters.iter().enumerate() {
        let (id, name) = (MeterId(index), meter.name.as_str());
        let input = meter_input(frame, id);
        if let Some(truth) = meter_up(frame, id, now) {
            up.add(&[name], flag(truth));
        }
        if let Some(watts) = fresh_power(frame, id, now) {
            power.add(&[name], watts.get());
        }
        if let Some(reading) = &input.power {
            age.add(&[name], now.since(reading.at).as_secs_f64());
        }
        if let Some(period) = input.refresh {
            refresh.add(&[name], period.as_secs_f64());
        }
        let Some(outcome) = frame.decision.meters.get(index) else { continue };
        if !meter.learn_lag && meter.combined.is_none() {
            lag.add(&[name, "configured"], meter.lag.as_secs_f64());
        }
        if let Some(learned) = outcome.learned_lag {
            lag.add(&[name, "learned"], learned.as_secs_f64());
        }
        if let (Some(Combination::Redundant(redundant)), Some(used)) = (&meter.combined, outcome.in_use) {
            for (position, part) in redundant.parts.iter().enumerate() {
                in_use.add(&[name, &part_name(&frame.site, *part)], flag(position == used));
            }
        }
        if let Some(differ) = outcome.disagreement {
            disagreement.add(&[name], flag(differ));
        }
    }
    for family in [up, power, age, refresh, lag, in_use, disagreement] {
        families.push(family.finish());
    }
    readings(frame, now, families);
}

/// Adds what the meters tell besides their power.
fn readings(frame: &Frame, now: Moment, families: &mut Vec<MetricFamily>) {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for (_, definition, _, _) in &TOLD {
        if !done.insert(definition.name) {
            continue;
        }
        let mut family = Family::new(definition);
        let own = || TOLD.iter().filter(|(_, other, _, _)| other.name == definition.name);
        for (index, meter) in frame.site.meters.iter().enumerate() {
            let id = MeterId(index);
            let input = meter_input(frame, id);
            for (measure, _, label, factor) in own() {
                let Some(value) = fresh_measure(&frame.site, id, &input, *measure, now) else { continue };
                if !value.is_finite() {
                    continue;
                }
                match label {
                    Some(label) => family.add(&[&meter.name, label], value * factor),
                    None => family.add(&[&meter.name], value * factor),
                }
            }
        }
        families.push(family.finish());
    }
}
