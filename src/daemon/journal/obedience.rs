//! Miners that do not follow or have a fault: told once, and back in order only when they have been so for a while.

use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Moment;
use crate::control::decision::{Decision, MinerState};
use crate::control::site::Site;
use crate::metrics::disobedience;

/// What has been well for as long is over. What comes and goes faster is one episode, and is told once.
pub(super) const CALM: Duration = Duration::from_secs(60);

/// Something that is told when it begins and when it is over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Episode {
    told: bool,
    well_since: Option<Moment>,
}

/// What is to be said of an [`Episode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Begins,
    Over,
}

impl Episode {
    /// Takes how it is now.
    pub(super) fn note(&mut self, bad: bool, now: Moment) -> Option<Said> {
        if bad {
            self.well_since = None;
            return (!std::mem::replace(&mut self.told, true)).then_some(Said::Begins);
        }
        let since = *self.well_since.get_or_insert(now);
        (self.told && now - since >= CALM).then(|| {
            self.told = false;
            Said::Over
        })
    }
}

/// What was told of each miner.
#[derive(Debug, Default)]
pub(super) struct Obedience {
    miners: Vec<[Episode; 2]>,
}

impl Obedience {
    /// Tells who has begun not to follow or to have a fault, and who is back in order.
    pub(super) fn write(&mut self, site: &Site, decision: &Decision) {
        // What is found at the start is on the page; the log tells changes.
        let first = self.miners.len() != decision.miners.len();
        if first {
            self.miners = vec![Default::default(); decision.miners.len()];
        }
        for ((miner, now), [deaf, faulty]) in site.miners.iter().zip(&decision.miners).zip(&mut self.miners) {
            // Of who does not answer nothing is known, neither good nor bad.
            if matches!(now.state, MinerState::Unanswered | MinerState::Unreachable | MinerState::Pending) {
                continue;
            }
            let name = miner.name.as_str();
            let does_not_follow = deaf.note(now.state == MinerState::Straggler, decision.at);
            let has_a_fault = faulty.note(now.state == MinerState::Fault, decision.at);
            match (does_not_follow, has_a_fault) {
                _ if first => {}
                (Some(Said::Begins), _) => warn!(miner = name, "{}", disobedience(now)),
                (_, Some(Said::Begins)) => warn!(miner = name, "reports a fault of its own"),
                (Some(Said::Over), _) | (_, Some(Said::Over)) => {
                    info!(miner = name, "is back in order: {}", now.state.name());
                }
                (None, None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_one_episode() {
        let mut episode = Episode::default();
        let at = |seconds| Moment::millis(seconds * 1_000);
        assert_eq!(episode.note(false, at(0)), None);
        assert_eq!(episode.note(true, at(100)), Some(Said::Begins));
        for second in 101..160_u64 {
            assert_eq!(episode.note(second % 6 < 3, at(second)), None, "{second}");
        }
        assert_eq!(episode.note(false, at(218)), None);
        assert_eq!(episode.note(false, at(219)), Some(Said::Over));
        assert_eq!(episode.note(false, at(220)), None);
        assert_eq!(episode.note(true, at(221)), Some(Said::Begins));
    }
}
