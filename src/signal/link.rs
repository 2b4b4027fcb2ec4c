//! How a source is doing that keeps a connection of its own and is told things by messages: for metrics and alarms. It moves nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::desk::{Desk, SourceKey};
use crate::clock::Moment;
use crate::units::Watts;

/// What became of a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// It is obeyed, or was a sign of life.
    Taken,
    /// It came before, as it is.
    Again,
    /// It cannot be read.
    Unreadable,
    /// Its signature is not believed.
    Signature,
    /// It is signed, and its content cannot be used.
    Content,
    /// It is signed for somebody else.
    Audience,
    /// It does not say under its signature when it was signed.
    Undated,
    /// It is of another kind.
    Kind,
    /// It says to come from somebody else.
    Sender,
    /// It is too old.
    Old,
    /// It was sent in the future.
    Ahead,
    /// Its id came before.
    Replayed,
    /// What it says came before under another id.
    Rewrapped,
    /// One that was sent later came before it.
    Outdated,
    /// No orders can be made of it here, or there are too many.
    Unplanned,
    /// Too many waited for a key that is not known.
    Crowded,
}

impl Came {
    /// All, for metrics.
    pub const ALL: [Self; 16] = [
        Self::Taken,
        Self::Again,
        Self::Unreadable,
        Self::Signature,
        Self::Content,
        Self::Audience,
        Self::Undated,
        Self::Kind,
        Self::Sender,
        Self::Old,
        Self::Ahead,
        Self::Replayed,
        Self::Rewrapped,
        Self::Outdated,
        Self::Unplanned,
        Self::Crowded,
    ];

    /// As written in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Again => "again",
            Self::Unreadable => "unreadable",
            Self::Signature => "signature",
            Self::Content => "content",
            Self::Audience => "audience",
            Self::Undated => "undated",
            Self::Kind => "kind",
            Self::Sender => "sender",
            Self::Old => "old",
            Self::Ahead => "ahead",
            Self::Replayed => "replayed",
            Self::Rewrapped => "rewrapped",
            Self::Outdated => "outdated",
            Self::Unplanned => "unplanned",
            Self::Crowded => "crowded",
        }
    }
}

/// How a source is doing that keeps a connection of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// Whether the connection stands.
    pub connected: bool,
    /// How many messages came since the start, by what became of them.
    pub came: BTreeMap<Came, u64>,
    /// How many states of the feeds were handed over to be sent.
    pub states_sent: u64,
    /// How many alerts of breaches were.
    pub alerts_sent: u64,
    /// How many reports of what became of hints were.
    pub reports_sent: u64,
    /// When a list of its orders came into force last; `None` while none did since the start.
    pub listed: Option<Moment>,
    /// The circuits whose draw is held against its orders, each with the breach that is open there.
    pub watched: Vec<(Arc<str>, Option<Exceeded>)>,
}

/// A breach: more is drawn than an order allows, and the source is told so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exceeded {
    /// What the order allows.
    pub cap: Watts,
    /// What was measured last.
    pub measured: Watts,
    /// So far above that it is called critical.
    pub critical: bool,
}

impl Link {
    /// A message came.
    pub fn count(&mut self, came: Came) {
        let count = self.came.entry(came).or_default();
        *count = count.saturating_add(1);
    }
}

impl Desk {
    /// Notes how the connection of a source is doing. The first note says that it has one.
    pub fn link(&self, source: SourceKey, note: impl FnOnce(&mut Link)) {
        if let Some(source) = self.state().at_mut(source) {
            note(source.link.get_or_insert_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_fate_of_a_message_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Came::ALL.iter().map(|came| came.name()).collect();
        assert_eq!(names.len(), Came::ALL.len());
    }
}
