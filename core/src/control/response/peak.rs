//! The most that a member drew lately.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// What a server has drawn in so long, or in twice that, it may draw at any moment: training swings several times in a second,
/// and a job begins when it likes.
pub(super) const ENVELOPE: Duration = Duration::from_secs(10);

/// The most that was drawn lately: over the last [`ENVELOPE`], and up to as long before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Peak {
    since: Option<Moment>,
    latest: f64,
    before: Option<f64>,
}

impl Peak {
    pub(super) fn note(&mut self, draw: f64, now: Moment) {
        match self.since {
            Some(since) if now - since < ENVELOPE => self.latest = self.latest.max(draw),
            Some(_) => *self = Self { since: Some(now), latest: draw, before: Some(self.latest) },
            None => *self = Self { since: Some(now), latest: draw, before: None },
        }
    }

    /// Nothing before it has been watched for long enough.
    pub(super) fn most(&self) -> Option<f64> {
        self.before.map(|before| before.max(self.latest))
    }
}
