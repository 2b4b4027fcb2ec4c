//! Whether a source is heard, and all that it says.

use std::sync::Arc;

use super::desk::{Desk, SourceKey};
use crate::control::signal::book::Told;

/// How much is known of what a source says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Word {
    /// Its orders were not heard since the start: what it said before may have been missed.
    #[default]
    Unheard,
    /// Its orders were heard, and nothing is known to be missed since.
    Whole,
    /// Something of what it said is known to be missed: that it lives says nothing.
    Missed,
}

/// What a source was heard to say by a change of its book.
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// Its orders, and what is wrong with them.
    Orders(Option<Arc<str>>),
    /// Not all that it says, or nothing new; and what is wrong with that.
    Part(Option<Arc<str>>),
}

impl Desk {
    /// Something of what the source said is known to be missed: until its orders are heard, that it lives counts for nothing, also after a
    /// reload.
    pub fn miss(&self, source: SourceKey) {
        if let Some(source) = self.state().at_mut(source) {
            source.word = Word::Missed;
        }
    }

    /// What is known of how whole that is which the source has said; `None` where the site has no such source.
    pub fn word(&self, source: SourceKey) -> Option<Word> {
        self.state().at(source).map(|source| source.word)
    }

    /// The source lives, and says nothing else.
    pub fn heartbeat(&self, source: SourceKey) {
        let mut state = self.state();
        if let Some(source) = state.at_mut(source).filter(|source| source.word != Word::Missed) {
            let now = self.now(source.doubt);
            source.book.fresh(Told::Heartbeat, None, &now);
        }
    }

    /// Something authenticated came that could not be obeyed; see [`Book::complain`](crate::control::signal::Book::complain).
    pub fn complain(&self, source: SourceKey, complaint: Arc<str>) {
        if let Some(source) = self.state().at_mut(source) {
            source.book.complain(complaint);
        }
    }
}
