//! What a miner settles at is its truth, whatever its model says.
//!
//! Two steady observations say all that the control law needs: the one at the highest target gives the scale (what the
//! miner reports over what it was asked for), the one at a low target that lies above it gives the floor below which the
//! miner does not go. A first observation counts in full.

use serde::{Deserialize, Serialize};

/// Targets closer than this share of the nameplate are one and the same.
const SAME: f64 = 0.03;
/// A draw within this share of what was expected is as expected.
const CLOSE: f64 = 0.03;
/// Weight of a further observation at the same target.
const WEIGHT: f64 = 0.3;
/// Scales beyond this are no matter of scale.
const RANGE: (f64, f64) = (0.5, 2.0);
/// What draws more than this share of the least that it may hash at is not asleep, whatever it says.
const ASLEEP: f64 = 0.5;

/// What was learned of where one miner settles. All in the miner's own watts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settling {
    /// The highest target at which it was seen to be steady, and its draw there.
    high: Option<(f64, f64)>,
    /// A lower target at which it drew more than that asks for, and its draw there.
    low: Option<(f64, f64)>,
    /// Its draw asleep.
    sleep: Option<f64>,
}

impl Settling {
    /// From what was kept: scale, floor and draw asleep. What makes no sense is left out.
    pub fn known(scale: f64, floor: Option<f64>, sleep: Option<f64>, top: f64) -> Self {
        let sane = |value: f64| value.is_finite() && value >= 0.0;
        let high =
            (sane(scale) && scale > 0.0 && top > 0.0).then(|| (top, top * scale.clamp(RANGE.0, RANGE.1)));
        let low = floor.filter(|floor| sane(*floor) && *floor > 0.0).map(|floor| (0.0, floor));
        Self { high, low: low.filter(|_| high.is_some()), sleep: sleep.filter(|sleep| sane(*sleep)) }
    }

    /// Draw over target where no floor holds it up.
    pub fn scale(&self) -> f64 {
        self.high.map_or(1.0, |(target, power)| (power / target).clamp(RANGE.0, RANGE.1))
    }

    /// The draw below which it does not go while it hashes, where that is known.
    pub fn floor(&self) -> Option<f64> {
        self.low.map(|(_, power)| power)
    }

    /// The draw asleep, where that is known.
    pub fn sleep(&self) -> Option<f64> {
        self.sleep
    }

    /// Whether anything was learned yet.
    pub fn is_known(&self) -> bool {
        self.high.is_some()
    }

    /// Where a target settles.
    pub fn power(&self, target: f64) -> f64 {
        (target * self.scale()).max(self.floor().unwrap_or(0.0))
    }

    /// Learns from a steady draw at a target. `nameplate` gives the measure.
    pub fn learn(&mut self, target: f64, power: f64, nameplate: f64) {
        if target <= 0.0 || power <= 0.0 {
            return;
        }
        let same = nameplate * SAME;
        let Some((high, reached)) = self.high else {
            self.high = Some((target, power));
            return;
        };
        if target > high - same {
            let again = (target - high).abs() <= same;
            let value = if again { reached + (power - reached) * WEIGHT } else { power };
            // An observation at the lower target that lies above the new scale was the floor.
            let held = !again && reached > high * (power / target) * (1.0 + CLOSE) && self.low.is_none();
            if held {
                self.low = Some((high, reached));
            }
            self.high =
                Some((target.max(high), if again { value * target.max(high) / target } else { value }));
        } else {
            let expected = target * self.scale();
            if power > expected * (1.0 + CLOSE) {
                self.low = Some(match self.low {
                    Some((before, known)) if (target - before).abs() <= same => {
                        (target, known + (power - known) * WEIGHT)
                    }
                    _ => (target, power),
                });
            } else {
                // As expected, or less: the scale follows slowly.
                let implied = power / target * high;
                self.high = Some((high, reached + (implied - reached) * WEIGHT));
            }
        }
        if self.low.is_some_and(|(_, floor)| power < floor * (1.0 - CLOSE)) {
            self.low = None;
        }
    }

    /// Learns from the draw of a miner that says it is asleep. `least` is the least that it hashes at.
    pub fn learn_sleep(&mut self, power: f64, least: f64) {
        if power < least * ASLEEP {
            self.sleep = Some(self.sleep.map_or(power, |known| known + (power - known) * WEIGHT));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMEPLATE: f64 = 3_300.0;

    fn learned(pairs: &[(f64, f64)]) -> Settling {
        let mut settling = Settling::default();
        pairs.iter().for_each(|(target, power)| settling.learn(*target, *power, NAMEPLATE));
        settling
    }

    #[test]
    fn the_first_observation_counts_in_full() {
        assert!((learned(&[(2_640.0, 3_168.0)]).scale() - 1.2).abs() < 1e-9);
        assert!((Settling::default().power(2_000.0) - 2_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_floor_is_told_from_a_scale_in_either_order() {
        for pairs in [[(2_640.0, 2_640.0), (1_950.0, 2_145.0)], [(1_950.0, 2_145.0), (2_640.0, 2_640.0)]] {
            let settling = learned(&pairs);
            assert!((settling.scale() - 1.0).abs() < 1e-9, "{settling:?}");
            assert_eq!(settling.floor(), Some(2_145.0));
            assert!((settling.power(1_950.0) - 2_145.0).abs() < 1e-9);
            assert!((settling.power(3_000.0) - 3_000.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_floor_that_is_gone_is_forgotten() {
        let mut settling = learned(&[(2_640.0, 2_640.0), (1_950.0, 2_145.0)]);
        settling.learn(1_950.0, 1_950.0, NAMEPLATE);
        assert_eq!(settling.floor(), None);
    }

    #[test]
    fn a_scale_is_no_floor() {
        let settling = learned(&[(2_640.0, 3_168.0), (1_950.0, 2_340.0), (3_200.0, 3_840.0)]);
        assert!((settling.scale() - 1.2).abs() < 1e-3, "{settling:?}");
        assert_eq!(settling.floor(), None);
    }

    #[test]
    fn what_hashes_does_not_teach_how_much_sleep_draws() {
        let mut settling = Settling::default();
        settling.learn_sleep(2_000.0, 1_950.0);
        assert_eq!(settling.sleep(), None);
        settling.learn_sleep(146.0, 1_950.0);
        assert_eq!(settling.sleep(), Some(146.0));
    }
}
