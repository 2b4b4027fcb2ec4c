//! Repeatable noise: the same seed and place give the same number, so that a scenario replays exactly and a pure
//! function of time may still look like a measurement.

use ballast_core::mix::spread;

/// A source of numbers that are addressed, not drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noise(u64);

impl Noise {
    /// A source of its own for each seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(spread(seed))
    }

    /// All bits at a place.
    pub(super) const fn bits(self, channel: u64, index: u64) -> u64 {
        spread(self.0 ^ spread(channel.wrapping_mul(0x1000_0001) ^ spread(index)))
    }

    /// From 0 (included) to 1 (excluded).
    pub(super) fn unit(self, channel: u64, index: u64) -> f64 {
        let high = u32::try_from(self.bits(channel, index) >> 32).unwrap_or_default();
        f64::from(high) / 4_294_967_296.0
    }

    /// Evenly spread over a range.
    pub(super) fn between(self, channel: u64, index: u64, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit(channel, index)
    }

    /// Bell-shaped around zero with standard deviation 1, never beyond ±3.5: a sum of twelve even spreads, which
    /// is near enough to a normal distribution for a meter's noise and has no far tails.
    pub(super) fn bell(self, channel: u64, index: u64) -> f64 {
        let sum: f64 = (0..12).map(|part| self.unit(channel ^ (part << 32), index)).sum();
        (sum - 6.0).clamp(-3.5, 3.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_gives_the_same_number() {
        assert_eq!(Noise::new(7).bits(1, 2), Noise::new(7).bits(1, 2));
        assert_ne!(Noise::new(7).bits(1, 2), Noise::new(8).bits(1, 2));
        assert_ne!(Noise::new(7).bits(1, 2), Noise::new(7).bits(2, 1));
    }

    #[test]
    fn the_bell_has_mean_zero_and_deviation_one() {
        let noise = Noise::new(3);
        let values: Vec<f64> = (0..20_000).map(|index| noise.bell(9, index)).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.05, "variance {variance}");
    }
}
