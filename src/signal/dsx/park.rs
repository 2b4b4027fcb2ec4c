//! Messages that wait for a key of the partner, and when keys are asked for.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::signal::Wall;

/// Keys are asked for again no sooner than this after they came …
pub const AGAIN: Duration = Duration::from_secs(60);
/// … this after they did not …
const RETRY: Duration = Duration::from_secs(5);
/// … and as often as this at least: a key that was taken back is not believed for long.
const EVERY: Duration = Duration::from_secs(3_600);
/// Messages that may wait.
pub const MOST_PARKED: usize = 8;

/// Whether keys are to be asked for: `asked` is when they were asked for last, and whether they came; `waits` tells that a message does.
pub fn due(asked: Option<(Moment, bool)>, waits: bool, now: Moment) -> bool {
    asked.is_none_or(|(at, came)| {
        let after = match (came, waits) {
            (false, _) => RETRY,
            (true, true) => AGAIN,
            (true, false) => EVERY,
        };
        now.since(at) >= after
    })
}

/// A message that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parked<M> {
    /// The message.
    pub message: M,
    /// When it came.
    pub at: Moment,
    /// The same by the wall clock.
    pub wall: Wall,
    /// It asks for something, by its own word: all do but statuses.
    pub asks: bool,
}

impl<M> Parked<M> {
    /// By what moment its age is judged: our own wait for keys makes no message old, unless it takes longer than it should.
    pub fn judged_at(&self, now: Wall) -> Wall {
        self.wall.max(now.earlier(AGAIN))
    }
}

/// The messages that wait, the oldest first.
#[derive(Debug)]
pub struct Parking<M>(VecDeque<Parked<M>>);

impl<M> Default for Parking<M> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<M> Parking<M> {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Since when the one waits that came first.
    pub fn oldest(&self) -> Option<Moment> {
        self.0.front().map(|parked| parked.at)
    }

    /// Takes one in; gives the one that must make room where there is none: the oldest that asks for nothing, else the oldest, for
    /// the newest list is the one that counts.
    pub fn put(&mut self, parked: Parked<M>) -> Option<Parked<M>> {
        self.0.push_back(parked);
        if self.0.len() <= MOST_PARKED {
            return None;
        }
        let first = self.0.iter().position(|parked| !parked.asks).unwrap_or(0);
        self.0.remove(first)
    }

    /// Takes all out, the oldest first.
    pub fn take(&mut self) -> VecDeque<Parked<M>> {
        std::mem::take(&mut self.0)
    }
}
