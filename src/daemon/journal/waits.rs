//! What the next miner waits for. Surplus that is left unused is an alarm.

use std::time::Duration;

use tracing::info;

use crate::clock::Moment;
use crate::control::decision::Decision;
use crate::control::site::Site;
use crate::metrics::{miner_name, waiting_words};

/// A miner that waits for longer is worth a line; one that nobody has waited for as long ends the episode.
const WAITS_FOR: Duration = Duration::from_secs(60);

/// Whether a miner waits for more than its turn.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Since when it has been as it is now.
    since: Option<(bool, Moment)>,
    told: bool,
}

impl Waits {
    /// Tells of a miner that waits for long.
    pub(super) fn write(&mut self, site: &Site, decision: &Decision) {
        // That those that run go first is no news.
        let waiting = decision.waiting.filter(|waiting| !waiting.held.is_turn());
        let waits = waiting.is_some();
        let since = match self.since {
            Some((before, since)) if before == waits => since,
            _ => decision.at,
        };
        self.since = Some((waits, since));
        if decision.at - since < WAITS_FOR {
            return;
        }
        match &waiting {
            Some(waiting) if !self.told => {
                self.told = true;
                info!(miner = miner_name(site, waiting.miner), "{}", waiting_words(waiting));
            }
            Some(_) => {}
            None => self.told = false,
        }
    }
}
