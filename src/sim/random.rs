//! Randomness that is a pure function of (seed, stream, index): the same scenario gives the same day on every
//! machine, at every tick rate, and any moment of it can be asked for without playing what came before.
//!
//! The `rand` crate is not used here on purpose: it promises no stable sequences across its versions.

use std::time::Duration;

use ballast_core::mix::{GOLDEN, mix};

/// 64 random bits. Different streams of one seed have nothing to do with each other.
pub const fn bits(seed: u64, stream: u64, index: u64) -> u64 {
    let keyed = mix(seed.wrapping_add(GOLDEN)) ^ mix(stream.wrapping_mul(GOLDEN).wrapping_add(1));
    mix(keyed.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// Evenly spread over `0 <= x < 1`.
pub fn unit(seed: u64, stream: u64, index: u64) -> f64 {
    let high = u32::try_from(bits(seed, stream, index) >> 32).unwrap_or(u32::MAX);
    f64::from(high) / 4_294_967_296.0
}

/// Evenly spread over `-1 <= x < 1`.
pub fn signed(seed: u64, stream: u64, index: u64) -> f64 {
    2.0 * unit(seed, stream, index) - 1.0
}

/// From 0 to 1 as `x` goes from 0 to 1, level at both ends; never steeper than [`STEEPEST_STEP`].
pub fn smoothstep(x: f64) -> f64 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// The largest slope of [`smoothstep`], in its middle.
pub const STEEPEST_STEP: f64 = 1.5;

/// In which period of a regular lattice a time lies (counted from 0) and how far into it (`0 <= x < 1`).
/// A period of zero counts as one nanosecond.
pub fn lattice(time: Duration, period: Duration) -> (u64, f64) {
    let period = period.max(Duration::from_nanos(1));
    let (time_ns, period_ns) = (time.as_nanos(), period.as_nanos());
    let cell = u64::try_from(time_ns / period_ns).unwrap_or(u64::MAX);
    let into = u64::try_from(time_ns % period_ns).unwrap_or(0);
    (cell, Duration::from_nanos(into).as_secs_f64() / period.as_secs_f64())
}

/// Smooth noise in −1…1 that takes a new random value every period. Its slope never exceeds
/// `2 × STEEPEST_STEP / period`.
pub fn smooth_noise(seed: u64, stream: u64, time: Duration, period: Duration) -> f64 {
    let (cell, into) = lattice(time, period);
    let from = signed(seed, stream, cell);
    let to = signed(seed, stream, cell.wrapping_add(1));
    from + (to - from) * smoothstep(into)
}

/// A stream number made of a kind and the position of a thing of that kind.
pub fn stream(kind: u32, position: usize) -> u64 {
    (u64::from(kind) << 32) | u64::try_from(position).map_or(u64::from(u32::MAX), |p| p & 0xFFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_pinned_so_that_scenarios_stay_what_they_were() {
        assert_eq!(bits(7, 3, 0), bits(7, 3, 0));
        assert_ne!(bits(7, 3, 0), bits(7, 3, 1));
        assert_ne!(bits(7, 3, 0), bits(7, 4, 0));
        assert_ne!(bits(7, 3, 0), bits(8, 3, 0));
        assert_eq!(bits(0, 0, 0), PINNED);
    }

    /// Taken from the first run; a change would silently change every scenario.
    const PINNED: u64 = 3_777_882_419_325_163_568;

    #[test]
    fn the_mean_of_many_draws_is_in_the_middle() {
        let sum: f64 = (0..10_000).map(|i| unit(1, 2, i)).sum();
        assert!((sum / 10_000.0 - 0.5).abs() < 0.01, "{sum}");
    }

    #[test]
    fn smooth_noise_stays_in_range_and_under_its_slope() {
        let period = Duration::from_secs(4);
        let step = Duration::from_millis(10);
        let bound = 2.0 * STEEPEST_STEP / 4.0 * 0.01 * 1.0001;
        let mut previous = smooth_noise(5, 1, Duration::ZERO, period);
        for i in 1..40_000_u32 {
            let value = smooth_noise(5, 1, step * i, period);
            assert!((-1.0..=1.0).contains(&value));
            assert!((value - previous).abs() <= bound, "{value} after {previous}");
            previous = value;
        }
    }

    #[test]
    fn the_lattice_has_no_seams() {
        let period = Duration::from_secs(3);
        assert_eq!(lattice(Duration::from_secs(6), period), (2, 0.0));
        let (cell, into) = lattice(Duration::from_millis(5_999), period);
        assert_eq!(cell, 1);
        assert!(into > 0.999 && into < 1.0);
    }
}
