//! What an ePIC miner offers for tuning, and what it does of it.

use serde_json::{Map, Value};

use crate::miner::reply::fields;

/// More presets than any model has.
const MOST_PRESETS: usize = 64;

/// The tuning algorithms that the vendor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Power,
    PowerTune,
    VoltageOptimizer,
    BoardTune,
    ChipTune,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] =
        [Self::Power, Self::PowerTune, Self::VoltageOptimizer, Self::BoardTune, Self::ChipTune];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Power => "Power",
            Self::PowerTune => "PowerTune",
            Self::VoltageOptimizer => "VoltageOptimizer",
            Self::BoardTune => "BoardTune",
            Self::ChipTune => "ChipTune",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Its target is in watts; the others' is in terahashes per second.
    pub(super) const fn is_power(self) -> bool {
        matches!(self, Self::Power | Self::PowerTune)
    }
}

/// An algorithm with the range of its targets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Offer {
    pub(super) algorithm: Algorithm,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A tune preset that says its watts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Preset {
    pub(super) terahashes: f64,
    pub(super) watts: f64,
}

/// What `/capabilities` lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Capabilities {
    pub(super) offers: Vec<Offer>,
    /// By rising power.
    pub(super) presets: Vec<Preset>,
}

impl Capabilities {
    pub(super) fn read(reply: &Value) -> Result<Self, String> {
        if !reply.is_object() {
            return Err("it is not an object".to_owned());
        }
        let rows =
            |key: &str| reply.get(key).and_then(Value::as_array).into_iter().flatten().take(MOST_PRESETS);
        let mut offers = Vec::new();
        for row in rows("PerpetualTune") {
            // An algorithm that this program does not know is none that it would use.
            let Some(algorithm) = fields::text(row, "algorithm").and_then(Algorithm::from_name) else {
                continue;
            };
            if let (Some(low), Some(high)) = (fields::number(row, "min"), fields::number(row, "max"))
                && 0.0 <= low
                && low <= high
                && high > 0.0
            {
                offers.push(Offer { algorithm, low, high });
            }
        }
        let mut presets = Vec::new();
        for row in rows("Tune Presets") {
            if let (Some(terahashes), Some(watts)) =
                (fields::number(row, "hashrate"), fields::number(row, "power"))
                && terahashes > 0.0
                && watts > 0.0
            {
                presets.push(Preset { terahashes, watts });
            }
        }
        presets.sort_by(|one, other| one.watts.total_cmp(&other.watts));
        presets.dedup_by(|one, other| one.watts <= other.watts);
        Ok(Self { offers, presets })
    }

    pub(super) fn power(&self) -> Option<Offer> {
        self.offers.iter().copied().find(|offer| offer.algorithm.is_power())
    }

    /// The presets whose hashrate an algorithm accepts as a target.
    pub(super) fn steps(&self, algorithm: Algorithm) -> Vec<Preset> {
        let Some(offer) = self.offers.iter().find(|offer| offer.algorithm == algorithm) else {
            return Vec::new();
        };
        let inside = |preset: &&Preset| (offer.low..=offer.high).contains(&preset.terahashes.floor());
        self.presets.iter().filter(inside).copied().collect()
    }
}

/// What perpetual tune does, by `/summary`.
#[derive(Clone, Debug, Default)]
pub(super) struct Tune {
    pub(super) running: bool,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) target: Option<f64>,
    /// `min_throttle` and `throttle_step` as read, to be sent back.
    pub(super) throttle: Map<String, Value>,
}

impl Tune {
    pub(super) fn read(summary: &Value) -> Self {
        let Some(tune) = summary.get("PerpetualTune").filter(|tune| !tune.is_null()) else {
            return Self::default();
        };
        let running = fields::flag(tune, "Running").unwrap_or(false);
        let mut found = Self { running, ..Self::default() };
        let Some(Value::Object(algorithms)) = tune.get("Algorithm") else {
            return found;
        };
        // The summary holds the algorithm in force alone.
        let Some((name, stats)) = algorithms.iter().next() else {
            return found;
        };
        found.algorithm = Algorithm::from_name(name);
        found.target = fields::number(stats, "Target");
        for (read, sent) in [("Min Throttle Target", "min_throttle"), ("Throttle Step", "throttle_step")] {
            if let Some(value) = stats.get(read).filter(|value| value.is_number()) {
                found.throttle.insert(sent.to_owned(), value.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::{activity, megahashes};
    use super::*;
    use crate::miner::wire::plain_http::testing::any_json;
    use proptest::prelude::*;

    const KEYS: [&str; 20] = [
        "PerpetualTune",
        "Tune Presets",
        "algorithm",
        "Power",
        "VoltageOptimizer",
        "min",
        "max",
        "hashrate",
        "power",
        "Algorithm",
        "Running",
        "Target",
        "Min Throttle Target",
        "Throttle Step",
        "HBs",
        "Hashrate",
        "Status",
        "Operating State",
        "Idling",
        "Last Error",
    ];

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(reply in any_json(&KEYS), rate in any::<bool>()) {
            if let Ok(known) = Capabilities::read(&reply) {
                for algorithm in Algorithm::ALL {
                    let steps = known.steps(algorithm);
                    prop_assert!(steps.iter().all(|step| step.watts > 0.0 && step.terahashes > 0.0));
                    prop_assert!(steps.windows(2).all(|pair| pair[0].watts < pair[1].watts));
                }
            }
            prop_assert!(Tune::read(&reply).throttle.values().all(Value::is_number));
            let _ = megahashes(&reply);
            let _ = activity(&reply, rate, false);
        }
    }
}
