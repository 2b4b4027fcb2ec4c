//! Miners that do not follow or have a fault: told once, and back in order only when they have been so for a while.

use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Moment;
use crate::control::decision::{Decision, MinerDecision, MinerState};
use crate::control::site::Site;
use crate::control::snapshot::Target;

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
                (_, Some(Said::Begins)) => warn!(miner = name, "has stopped by a fault of its own"),
                (Some(Said::Over), _) | (_, Some(Said::Over)) => {
                    info!(miner = name, "is back in order: {}", now.state.name());
                }
                (None, None) => {}
            }
        }
    }
}

/// What a miner does instead of what it was told. Two figures stand beside each other only where they differ as printed.
fn disobedience(now: &MinerDecision) -> String {
    let told = match now.setpoint {
        Some(Target::Sleep) => String::from("to sleep"),
        Some(Target::Power(power)) => format!("{power}"),
        None => now.settled.to_string(),
    };
    let draws = now.draw.to_string();
    if draws == told {
        return format!(
            "does not follow: what it was told, {told}, is not taken or not kept; its power stays counted"
        );
    }
    format!("does not follow: draws {draws} where it was told {told}; its power stays counted")
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

    #[test]
    fn two_figures_that_are_alike_are_not_told_as_a_difference() {
        use crate::units::{Hashrate, Watts};
        let mut now = MinerDecision {
            state: MinerState::Straggler,
            draw: Watts::whole(3_162),
            counted: Watts::whole(3_162),
            hashrate: Hashrate::ZERO,
            setpoint: Some(Target::Power(Watts::whole(3_158))),
            settled: Watts::whole(3_158),
        };
        assert!(!disobedience(&now).contains("draws"), "{}", disobedience(&now));
        now.setpoint = Some(Target::Sleep);
        assert!(disobedience(&now).contains("draws 3.16 kW where it was told to sleep"));
        now.setpoint = Some(Target::Power(Watts::whole(2_000)));
        assert!(disobedience(&now).contains("draws 3.16 kW where it was told 2.00 kW"));
    }
}
