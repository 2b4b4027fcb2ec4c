//! Sums as reports and the interface tell them: plain numbers under names with their unit. What was not known is absent.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::Sums;
use crate::units::{Joules, Watts};

/// What is told of some time. Energies are in watt-hours, and `null` where nothing was known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Figures {
    /// For how long the daemon looked.
    pub observed_seconds: f64,
    /// Into the circuit by its meter.
    pub import_watt_hours: Option<f64>,
    /// Out of the circuit by its meter.
    pub export_watt_hours: Option<f64>,
    /// For how much time import and export are known.
    pub metered_seconds: f64,
    /// Of that, by the meter's own counters.
    pub by_counter_seconds: f64,
    /// Of that, by adding its power up.
    pub by_power_seconds: f64,
    /// Of that, a sum that a counter tells across a gap, spread evenly over it.
    pub bridged_seconds: f64,
    /// Draw of the miners that were known.
    pub miners_watt_hours: Option<f64>,
    /// For how much time they were known; of miners of which half are silent, half of the time.
    pub miners_known_seconds: f64,
    /// The most that the others may have drawn.
    pub miners_unknown_at_most_watt_hours: f64,
    /// Load other than miners; negative where generation was larger.
    pub other_watt_hours: Option<f64>,
    /// Import that would not have been without the miners.
    pub import_caused_by_miners_watt_hours: Option<f64>,
    /// Import of the time for which it is not known whether the miners caused it; in no part of the one before.
    pub import_not_known_whether_caused_watt_hours: Option<f64>,
    /// Export that the miners could have taken.
    pub surplus_left_unused_watt_hours: Option<f64>,
    /// For how much time meter and miners were known together: that of `other`, of what was caused and of what was left unused.
    pub together_seconds: f64,
    /// Mean of the tightest cap on the import while there was one.
    pub mean_cap_watts: Option<f64>,
    /// For how much time there was one.
    pub capped_seconds: f64,
    /// Hashes by the miners' own word, in terahashes.
    pub hashes_terahashes: Option<f64>,
    /// For how much time the hashrate was known, as with the draw.
    pub hash_known_seconds: f64,
    /// How often a counter went back or leapt.
    pub counter_resets: u32,
    /// How often the clock jumped.
    pub clock_jumps: u32,
}

/// To a thousandth: what lies behind it is noise.
fn rounded(value: f64) -> f64 {
    let rounded = (value * 1e3).round() / 1e3;
    // No minus before a zero.
    if rounded == 0.0 { 0.0 } else { rounded }
}

fn hours(energy: Joules) -> f64 {
    rounded(energy.get() / 3_600.0)
}

impl From<&Sums> for Figures {
    fn from(sums: &Sums) -> Self {
        let seconds = |time: Duration| rounded(time.as_secs_f64());
        let known = |time: Duration, energy: Joules| (!time.is_zero()).then(|| hours(energy));
        let (metered, together) = (sums.metered(), sums.together);
        Self {
            observed_seconds: seconds(sums.observed),
            import_watt_hours: known(metered, sums.import),
            export_watt_hours: known(metered, sums.export),
            metered_seconds: seconds(metered),
            by_counter_seconds: seconds(sums.by_counter),
            by_power_seconds: seconds(sums.by_power),
            bridged_seconds: seconds(sums.bridged),
            miners_watt_hours: known(sums.miners_known, sums.miners),
            miners_known_seconds: seconds(sums.miners_known),
            miners_unknown_at_most_watt_hours: hours(sums.miners_unknown),
            other_watt_hours: known(together, sums.other),
            import_caused_by_miners_watt_hours: known(together, sums.caused),
            import_not_known_whether_caused_watt_hours: known(metered, sums.unattributed),
            surplus_left_unused_watt_hours: known(together, sums.unused),
            together_seconds: seconds(together),
            mean_cap_watts: sums.mean_cap().map(Watts::get).map(rounded),
            capped_seconds: seconds(sums.capped),
            hashes_terahashes: (!sums.hash_known.is_zero()).then(|| rounded(sums.terahashes)),
            hash_known_seconds: seconds(sums.hash_known),
            counter_resets: sums.resets,
            clock_jumps: sums.jumps,
        }
    }
}

impl Figures {
    /// Each with its name, for a table.
    pub fn columns(&self) -> [(&'static str, Option<f64>); 21] {
        [
            ("observed_seconds", Some(self.observed_seconds)),
            ("import_watt_hours", self.import_watt_hours),
            ("export_watt_hours", self.export_watt_hours),
            ("metered_seconds", Some(self.metered_seconds)),
            ("by_counter_seconds", Some(self.by_counter_seconds)),
            ("by_power_seconds", Some(self.by_power_seconds)),
            ("bridged_seconds", Some(self.bridged_seconds)),
            ("miners_watt_hours", self.miners_watt_hours),
            ("miners_known_seconds", Some(self.miners_known_seconds)),
            ("miners_unknown_at_most_watt_hours", Some(self.miners_unknown_at_most_watt_hours)),
            ("other_watt_hours", self.other_watt_hours),
            ("import_caused_by_miners_watt_hours", self.import_caused_by_miners_watt_hours),
            ("import_not_known_whether_caused_watt_hours", self.import_not_known_whether_caused_watt_hours),
            ("surplus_left_unused_watt_hours", self.surplus_left_unused_watt_hours),
            ("together_seconds", Some(self.together_seconds)),
            ("mean_cap_watts", self.mean_cap_watts),
            ("capped_seconds", Some(self.capped_seconds)),
            ("hashes_terahashes", self.hashes_terahashes),
            ("hash_known_seconds", Some(self.hash_known_seconds)),
            ("counter_resets", Some(f64::from(self.counter_resets))),
            ("clock_jumps", Some(f64::from(self.clock_jumps))),
        ]
    }
}
