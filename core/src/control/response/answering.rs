//! How long a miner takes to answer a command.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::PACE_WEIGHT;

/// How long an answer is waited for, in seconds, until one was heard: to a command that sets a power, and to one that puts to sleep
/// or wakes, which some firmware answers only when it has done so.
pub(super) const SETTING: f64 = 1.5;
pub(super) const SWITCHING: f64 = 2.5;
/// The same where some were: the least and the most. Half as much again as they took is waited for, though not longer than the last.
const KNOWN: (f64, f64, f64) = (1.0, 4.0, 15.0);

/// How long the answers to one kind of command take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Answering {
    /// As heard, in seconds.
    known: Option<f64>,
    /// How long they may take by what is known of the device ([`AnswerWithin`](crate::control::site::AnswerWithin)).
    slow: Duration,
}

impl Answering {
    /// For so long, in seconds, no answer is no sign; `first` where none was heard yet.
    pub(super) fn patience(self, first: f64) -> f64 {
        let known = |took: f64| (3.0 * took + 0.3).clamp(KNOWN.0, KNOWN.1).max(1.5 * took).min(KNOWN.2);
        self.known.map_or(first, known).max(self.slow.as_secs_f64())
    }

    pub(super) fn may_take(&mut self, slow: Duration) {
        self.slow = slow;
    }

    /// One came after so many seconds.
    pub(super) fn heard(&mut self, took: f64) {
        self.known = Some(self.known.map_or(took, |known| known + (took - known) * PACE_WEIGHT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_is_given_time_to_come_again() {
        let mut answering = Answering::default();
        assert!((answering.patience(SWITCHING) - SWITCHING).abs() < 1e-9);
        for (took, patience) in [(0.01, 1.0), (0.5, 1.8), (1.5, 4.0), (6.0, 9.0), (21.0, 15.0)] {
            answering = Answering::default();
            answering.heard(took);
            assert!((answering.patience(SETTING) - patience).abs() < 1e-9, "{took}: {answering:?}");
        }
        answering.may_take(Duration::from_secs(30));
        assert!((answering.patience(SETTING) - 30.0).abs() < 1e-9);
    }
}
