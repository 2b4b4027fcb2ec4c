//! The question for the state of a server's work, beside its readings: a hook that hangs holds up none of them.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::hook::{Hook, State};
use crate::clock::{Clock, Moment};
use crate::miner::DriverError;

/// What it said stands for so long where it has not answered anew.
const FRESH: Duration = Duration::from_secs(15);
/// So long a reading waits for an answer where one stands.
const PROMPT: Duration = Duration::from_millis(250);

/// What it said, and when.
struct Heard {
    said: Result<State, DriverError>,
    at: Moment,
}

/// Asks a hook for the state, once at a time.
pub(super) struct Asking {
    hook: Arc<Hook>,
    clock: Clock,
    /// Ended when this is dropped.
    under_way: Option<AbortOnDropHandle<Heard>>,
    heard: Option<Heard>,
}

impl Asking {
    /// Nothing is asked yet.
    pub(super) fn new(hook: &Arc<Hook>, clock: Clock) -> Self {
        Self { hook: Arc::clone(hook), clock, under_way: None, heard: None }
    }

    /// Asks, and waits for the answer where none stands that is fresh.
    pub(super) async fn ask(&mut self) {
        // What was answered since the round before.
        self.wait(Duration::ZERO).await;
        if self.under_way.is_none() {
            let (hook, clock) = (Arc::clone(&self.hook), self.clock);
            let asking = async move {
                let said = hook.state().await;
                Heard { said, at: clock.now() }
            };
            self.under_way = Some(AbortOnDropHandle::new(tokio::spawn(asking)));
        }
        let fresh = self.heard.as_ref().is_some_and(|heard| self.clock.now() - heard.at < FRESH);
        if !fresh {
            // The question has an end of its own, and an earlier one.
            self.wait(FRESH).await;
        }
    }

    /// What it says, for which a reading waits hardly longer than it takes itself; else what it said in the round before.
    pub(super) async fn answer(&mut self) -> Result<State, DriverError> {
        self.wait(PROMPT).await;
        self.heard.as_ref().map_or_else(|| Err(self.hook.unheard()), |heard| heard.said.clone())
    }

    /// What was asked until now says nothing of what comes.
    pub(super) fn forget(&mut self) {
        (self.under_way, self.heard) = (None, None);
    }

    /// Takes in the answer, if it comes within this time.
    async fn wait(&mut self, most: Duration) {
        let Some(asking) = self.under_way.as_mut() else { return };
        let Ok(ended) = tokio::time::timeout(most, asking).await else { return };
        self.under_way = None;
        self.heard = ended.ok();
    }
}
