//! Miners that were told something and have not answered: who they are, and when they do again.

use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Moment;
use crate::control::decision::{Decision, MinerState};
use crate::control::site::Site;

/// So many miners are named within [`WINDOW`], on each side; the others are counted.
const NAMED: usize = 10;
/// See [`NAMED`].
const WINDOW: Duration = Duration::from_secs(60);

/// Which miners owe an answer, and how much was told of them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Of each miner, by its position, whether it owes an answer.
    owing: Vec<bool>,
    silent: Named,
    heard: Named,
}

/// How many were named lately, and how many were not.
#[derive(Debug, Default)]
struct Named {
    since: Moment,
    named: usize,
    unnamed: usize,
    /// That there are more was told already.
    counted: bool,
}

impl Named {
    /// Opens the next window once this one is over; tells how many were left out and not yet told of.
    fn begin(&mut self, now: Moment) -> Option<usize> {
        if now - self.since < WINDOW {
            return None;
        }
        let rest = std::mem::replace(self, Self { since: now, ..Self::default() }).unnamed;
        (rest > 0).then_some(rest)
    }

    /// Whether there is room to name one more.
    fn room(&mut self) -> bool {
        let room = self.named < NAMED;
        if room {
            self.named = self.named.saturating_add(1);
        } else {
            self.unnamed = self.unnamed.saturating_add(1);
        }
        room
    }

    /// How many of this cycle were not named: told at once the first time, later at the end of the window.
    fn rest(&mut self) -> Option<usize> {
        if self.counted || self.unnamed == 0 {
            return None;
        }
        self.counted = true;
        Some(std::mem::take(&mut self.unnamed))
    }
}

impl Answers {
    /// Tells who has begun to owe an answer, and who has given it.
    pub(super) fn write(&mut self, site: &Site, decision: &Decision) {
        let now = decision.at;
        if self.owing.len() != decision.miners.len() {
            self.owing = vec![false; decision.miners.len()];
        }
        let (silent, heard) = (self.silent.begin(now), self.heard.begin(now));
        self.tell_rest(silent, heard);
        for ((miner, outcome), owing) in site.miners.iter().zip(&decision.miners).zip(&mut self.owing) {
            let name = miner.name.as_str();
            match outcome.state {
                MinerState::Unanswered if !*owing => {
                    *owing = true;
                    if self.silent.room() {
                        warn!(
                            miner = name,
                            "was told something and has not answered: it counts at the worst of before and after, {}",
                            outcome.counted
                        );
                    }
                }
                // Who has fallen silent for good has not answered either.
                MinerState::Unanswered | MinerState::Unreachable | MinerState::Pending => {}
                state if *owing => {
                    *owing = false;
                    if self.heard.room() {
                        info!(miner = name, "has answered: {}", state.name());
                    }
                }
                _ => {}
            }
        }
        let (silent, heard) = (self.silent.rest(), self.heard.rest());
        self.tell_rest(silent, heard);
    }

    fn tell_rest(&self, silent: Option<usize>, heard: Option<usize>) {
        if let Some(rest) = silent {
            warn!("{rest} more miners were told something and have not answered");
        }
        if let Some(rest) = heard {
            info!("{rest} more miners have answered");
        }
    }
}
