//! The shape of a scenario file, key by key, before anything is checked.
//!
//! What each key means stands at the fields of [`super::Scenario`] that it fills.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::quantity::{Frequency, Power, Share, Time, TimeOfDay, Voltage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScenario {
    pub(super) description: String,
    #[serde(default)]
    pub(super) seed: u32,
    pub(super) sun: Option<RawSun>,
    pub(super) generation: Option<RawGeneration>,
    pub(super) load: Option<RawLoad>,
    #[serde(default)]
    pub(super) auxiliary: BTreeMap<Spanned<String>, Power>,
    pub(super) miners: Option<RawMiners>,
    pub(super) metering: Option<RawMetering>,
    #[serde(default)]
    pub(super) meters: BTreeMap<Spanned<String>, RawMeter>,
    #[serde(default)]
    pub(super) readings: BTreeMap<Spanned<String>, RawReading>,
    #[serde(default)]
    pub(super) event: Vec<RawEvent>,
    #[serde(default)]
    pub(super) vtn: Vec<super::vtn::RawVtn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSun {
    pub(super) peak: Spanned<Power>,
    pub(super) start: TimeOfDay,
    pub(super) flutter: Option<Spanned<Share>>,
    pub(super) patches_per_hour: Option<Spanned<f64>>,
    pub(super) patch_depth: Option<Spanned<Share>>,
    pub(super) patch_edge: Option<Time>,
    pub(super) circuit: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGeneration {
    pub(super) steady: Spanned<Power>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLoad {
    pub(super) base: Power,
    pub(super) swing: Option<Power>,
    pub(super) swing_period: Option<Spanned<Time>>,
    pub(super) noise: Option<Power>,
    #[serde(default)]
    pub(super) machine: Vec<RawMachine>,
    pub(super) circuit: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMachine {
    pub(super) name: String,
    pub(super) power: Power,
    pub(super) on: Spanned<Time>,
    pub(super) off: Spanned<Time>,
    pub(super) ramp: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMiners {
    pub(super) start: Spanned<String>,
    pub(super) at: Option<Spanned<Share>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetering {
    pub(super) refresh: Option<Spanned<Time>>,
    pub(super) lag: Option<Time>,
    pub(super) noise: Option<Power>,
    pub(super) connections: Option<Spanned<usize>>,
    pub(super) keeps: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMeter {
    pub(super) refresh: Option<Spanned<Time>>,
    pub(super) lag: Option<Time>,
    pub(super) noise: Option<Power>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReading {
    pub(super) value: Option<Power>,
    pub(super) follows: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) steps: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) at: Spanned<Time>,
    pub(super) to: Power,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEvent {
    pub(super) at: Spanned<Time>,
    pub(super) r#for: Option<Time>,
    pub(super) load: Option<RawLoadEvent>,
    pub(super) sun: Option<RawSunEvent>,
    pub(super) surplus: Option<RawSurplusEvent>,
    pub(super) meter: Option<RawMeterEvent>,
    pub(super) miner: Option<RawMinerEvent>,
    pub(super) mains: Option<RawMainsEvent>,
    pub(super) contact: Option<RawContactEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMainsEvent {
    pub(super) frequency: Option<Frequency>,
    pub(super) voltage: Option<Voltage>,
    pub(super) over: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawContactEvent {
    pub(super) source: Spanned<String>,
    pub(super) name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLoadEvent {
    pub(super) by: Power,
    pub(super) over: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSunEvent {
    pub(super) to: Option<Power>,
    pub(super) times: Option<Spanned<f64>>,
    pub(super) over: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSurplusEvent {
    pub(super) to: Power,
    pub(super) over: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMeterEvent {
    pub(super) name: Spanned<String>,
    pub(super) fault: Spanned<String>,
    pub(super) by: Option<Spanned<Power>>,
    pub(super) factor: Option<Spanned<f64>>,
    pub(super) code: Option<Spanned<u8>>,
    pub(super) delay: Option<Spanned<Time>>,
    pub(super) period: Option<Spanned<Time>>,
    pub(super) time: Option<Spanned<Time>>,
    pub(super) every: Option<Spanned<u32>>,
    pub(super) most: Option<Spanned<usize>>,
    pub(super) keeps: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMinerEvent {
    pub(super) name: Spanned<String>,
    pub(super) circuit: Option<Spanned<String>>,
    pub(super) count: Option<Spanned<usize>>,
    pub(super) fault: String,
    #[serde(default)]
    pub(super) with: toml::Table,
}

/// What `[metering]` and `[meters.…]` have in common.
pub(super) type Common<'a> = (&'a Option<Spanned<Time>>, &'a Option<Time>, &'a Option<Power>);

impl RawMetering {
    pub(super) fn common(&self) -> Common<'_> {
        (&self.refresh, &self.lag, &self.noise)
    }
}

impl RawMeter {
    pub(super) fn common(&self) -> Common<'_> {
        (&self.refresh, &self.lag, &self.noise)
    }
}
