//! Surplus that is left unused, and what the next miner waits for.

use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Moment;
use crate::control::decision::{Decision, Mode};
use crate::control::site::Site;
use crate::metrics::{left_words, miner_name, waiting_words};

/// Surplus that is left for longer is a fault worth a warning: starts and clouds are over by then.
const LEFT_FOR: Duration = Duration::from_secs(180);
/// A miner that waits for longer is worth a line; one that nobody has waited for as long ends the episode.
const WAITS_FOR: Duration = Duration::from_secs(60);

/// What was told of unused surplus.
#[derive(Debug, Default)]
pub(super) struct Unused {
    /// Of this episode it was told.
    left: bool,
    waiting: Waits,
}

/// Whether a miner waits for power.
#[derive(Debug, Default)]
struct Waits {
    /// Since when it has been as it is now.
    since: Option<(bool, Moment)>,
    told: bool,
}

impl Unused {
    /// Tells of surplus that is left for long, and of a miner that waits for long.
    pub(super) fn write(&mut self, site: &Site, decision: &Decision) {
        let fleet = &decision.fleet;
        let long = fleet.left_for > LEFT_FOR;
        // Under another limit what is left is not the surplus's, and who observes leaves all of it.
        if long && !self.left && decision.mode == Mode::Following {
            self.left = true;
            let minutes = fleet.left_for.as_secs() / 60;
            warn!("leaves {} of the surplus unused for {minutes} min: {}", fleet.left, left_words(decision));
        } else if fleet.left_for.is_zero() && std::mem::take(&mut self.left) {
            info!("the surplus is used again as far as the limits let it");
        }
        self.waiting.write(site, decision);
    }
}

impl Waits {
    fn write(&mut self, site: &Site, decision: &Decision) {
        let waits = decision.waiting.is_some();
        let since = match self.since {
            Some((before, since)) if before == waits => since,
            _ => decision.at,
        };
        self.since = Some((waits, since));
        if decision.at - since < WAITS_FOR {
            return;
        }
        match &decision.waiting {
            Some(waiting) if !self.told => {
                self.told = true;
                info!(miner = miner_name(site, waiting.miner), "{}", waiting_words(waiting));
            }
            Some(_) => {}
            None => self.told = false,
        }
    }
}
