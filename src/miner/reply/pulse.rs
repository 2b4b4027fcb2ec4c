//! Whether a miner hashes, from a hashrate that is an average and falls slowly after a stop.

/// Below this share of the highest hashrate seen, what is left is the average of a past.
const REST: f64 = 0.05;

/// Remembers the highest hashrate that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    peak: f64,
}

impl Pulse {
    /// Whether this hashrate, in any unit that stays the same, is that of a miner that hashes.
    pub fn beats(&mut self, rate: Option<f64>) -> bool {
        let Some(rate) = rate.filter(|rate| *rate > 0.0) else {
            return false;
        };
        self.peak = self.peak.max(rate);
        rate > self.peak * REST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_an_average_is_no_hashing() {
        let mut pulse = Pulse::default();
        assert!(!pulse.beats(None) && !pulse.beats(Some(0.0)) && !pulse.beats(Some(-1.0)));
        assert!(pulse.beats(Some(100.0)));
        assert!(pulse.beats(Some(30.0)));
        assert!(!pulse.beats(Some(4.0)));
        assert!(pulse.beats(Some(60.0)));
    }
}
