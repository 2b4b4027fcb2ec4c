//! The shape of a scenario file, key by key, before anything is checked.
//!
//! What each key means stands at the fields of [`super::Scenario`] that it fills.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::quantity::{Frequency, Level, Power, Share, Time, TimeOfDay, Voltage};

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
    pub(super) differ: Vec<RawDiffer>,
    #[serde(default)]
    pub(super) job: Vec<super::job::RawJob>,
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
    #[serde(default)]
    pub(super) square: Vec<RawSquare>,
    pub(super) circuit: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSquare {
    pub(super) name: String,
    pub(super) power: Power,
    pub(super) half_period: Spanned<Time>,
    pub(super) from: Option<Time>,
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
pub(super) struct RawDiffer {
    pub(super) name: Option<Spanned<String>>,
    pub(super) circuit: Option<Spanned<String>>,
    pub(super) count: Option<Spanned<usize>>,
    pub(super) share: Option<Spanned<Share>>,
    pub(super) floor: Option<Spanned<Level>>,
    pub(super) sleep: Option<Spanned<Power>>,
    pub(super) readings: Option<Spanned<f64>>,
    pub(super) pace: Option<Spanned<f64>>,
    pub(super) start_time: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetering {
    pub(super) refresh: Option<Spanned<Time>>,
    pub(super) lag: Option<Time>,
    pub(super) delay: Option<Spanned<Time>>,
    pub(super) noise: Option<Power>,
    pub(super) noise_share: Option<Spanned<Share>>,
    pub(super) connections: Option<Spanned<usize>>,
    pub(super) keeps: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMeter {
    pub(super) refresh: Option<Spanned<Time>>,
    pub(super) lag: Option<Time>,
    pub(super) delay: Option<Spanned<Time>>,
    pub(super) noise: Option<Power>,
    pub(super) noise_share: Option<Spanned<Share>>,
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
    pub(super) outage: Option<RawOutageEvent>,
    pub(super) order: Option<RawOrderEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutageEvent {
    pub(super) boot: Option<Spanned<Time>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOrderEvent {
    pub(super) circuit: Spanned<String>,
    pub(super) cap: Spanned<Power>,
    #[serde(default)]
    pub(super) miners: bool,
    #[serde(default)]
    pub(super) emergency: bool,
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
    pub(super) circuit: Option<Spanned<String>>,
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
    pub(super) to: Option<Spanned<Power>>,
    pub(super) share: Option<Spanned<Share>>,
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
    pub(super) share: Option<Spanned<Share>>,
    pub(super) fault: String,
    #[serde(default)]
    pub(super) with: toml::Table,
}

/// What `[metering]` and `[meters.…]` have in common.
pub(super) struct Common<'a> {
    pub(super) refresh: &'a Option<Spanned<Time>>,
    pub(super) lag: &'a Option<Time>,
    pub(super) delay: &'a Option<Spanned<Time>>,
    pub(super) noise: &'a Option<Power>,
    pub(super) noise_share: &'a Option<Spanned<Share>>,
}

macro_rules! common {
    ($($table:ty),*) => {$(
        impl $table {
            pub(super) fn common(&self) -> Common<'_> {
                Common {
                    refresh: &self.refresh,
                    lag: &self.lag,
                    delay: &self.delay,
                    noise: &self.noise,
                    noise_share: &self.noise_share,
                }
            }
        }
    )*};
}

common!(RawMetering, RawMeter);
