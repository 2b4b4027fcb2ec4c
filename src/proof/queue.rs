//! What waits for the thread of the database: bounded, and nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::entry::{Kind, canonical};
use crate::clock;

/// Entries that may wait. Decisions and energy take half of it at the most.
pub const MOST_WAITING: usize = 2_048;
/// Longest body, in bytes: what is longer is told to be.
pub const LONGEST_BODY: usize = 8_192;
/// The same for a time stamp, which brings certificates along.
const LONGEST_STAMP: usize = 32_768;

/// An entry that is not in the chain yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was handed over, in Unix milliseconds.
    pub at: i64,
    /// What it is about.
    pub kind: Kind,
    /// [`canonical`] JSON.
    pub body: String,
    /// Whether the head is to be signed behind it.
    pub sign: bool,
}

/// What there is for the chain to add.
#[derive(Debug, Default)]
pub struct Queue(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    waiting: VecDeque<Pending>,
    /// Entries for which there was no room.
    lost: u64,
    /// Whether the thread was told that something waits.
    woken: bool,
    keep: Option<u64>,
    head: Option<(u64, String)>,
}

impl Queue {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that waits, the oldest first, and how many were lost. They come back by [`Queue::give_back`].
    pub fn take(&self) -> (Vec<Pending>, u64) {
        let mut inside = self.inside();
        inside.woken = false;
        (inside.waiting.drain(..).collect(), std::mem::take(&mut inside.lost))
    }

    /// What could not be added.
    pub fn give_back(&self, pending: Vec<Pending>, lost: u64) {
        let mut inside = self.inside();
        inside.lost = inside.lost.saturating_add(lost);
        for one in pending.into_iter().rev() {
            if inside.waiting.len() < MOST_WAITING {
                inside.waiting.push_front(one);
            } else {
                inside.lost = inside.lost.saturating_add(1);
            }
        }
    }

    /// How many entries stay on disk.
    pub fn keep(&self) -> u64 {
        self.inside().keep.unwrap_or(super::Settings::default().keep)
    }

    /// The chain ends here now.
    pub fn set_head(&self, number: u64, hash: &str) {
        self.inside().head = Some((number, hash.to_owned()));
    }
}

/// Where entries are handed over. Copies share one queue; without a database they fall away.
#[derive(Clone)]
pub struct Writer {
    queue: Option<Arc<Queue>>,
    wake: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("kept", &self.queue.is_some()).finish_non_exhaustive()
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::nowhere()
    }
}

impl Writer {
    /// A writer whose entries go nowhere: there is no database.
    pub const fn nowhere() -> Self {
        Self { queue: None, wake: None }
    }

    /// A writer to a queue; `wake` tells whoever empties it that something waits.
    pub fn new(queue: Arc<Queue>, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { queue: Some(queue), wake: Some(wake) }
    }

    /// Hands an entry over. Never waits: where too much waits already it is lost, which is counted, and told in the chain by
    /// an entry of its own (`gap`).
    ///
    /// The body is an object of few members with units in their names; see [`canonical`] for what becomes of its numbers.
    pub fn append(&self, kind: Kind, body: Value) {
        self.hand_over(kind, &body, false);
    }

    /// The same, and the head is signed behind it.
    pub fn append_signed(&self, kind: Kind, body: Value) {
        self.hand_over(kind, &body, true);
    }

    fn hand_over(&self, kind: Kind, body: &Value, sign: bool) {
        let Some(queue) = &self.queue else { return };
        let mut text = canonical(body);
        let longest = if kind == Kind::Stamp { LONGEST_STAMP } else { LONGEST_BODY };
        if text.len() > longest {
            text = canonical(&json!({ "too_long_bytes": text.len() }));
        }
        let pending = Pending { at: clock::unix_millis(), kind, body: text, sign };
        let room = if kind.weighs() { MOST_WAITING } else { MOST_WAITING / 2 };
        let call = {
            let mut inside = queue.inside();
            if inside.waiting.len() >= room {
                inside.lost = inside.lost.saturating_add(1);
            } else {
                inside.waiting.push_back(pending);
            }
            !std::mem::replace(&mut inside.woken, true)
        };
        if let Some(wake) = self.wake.as_ref().filter(|_| call) {
            wake();
        }
    }

    /// Says how many entries stay on disk.
    pub fn set_keep(&self, keep: u64) {
        if let Some(queue) = &self.queue {
            queue.inside().keep = Some(keep);
        }
    }

    /// Whether anything is kept at all.
    pub fn is_kept(&self) -> bool {
        self.queue.is_some()
    }

    /// The number and the hash of the latest entry on disk; `None` before there is one.
    pub fn head(&self) -> Option<(u64, String)> {
        self.queue.as_ref()?.inside().head.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_and_orders_have_more_of_it() {
        let queue = Arc::new(Queue::default());
        let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = calls.clone();
        let wake = move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let writer = Writer::new(queue.clone(), Arc::new(wake));
        for _ in 0..MOST_WAITING {
            writer.append(Kind::Decision, json!({}));
        }
        writer.append(Kind::Order, json!({"long": "x".repeat(LONGEST_BODY)}));
        let (taken, lost) = queue.take();
        assert_eq!((taken.len(), lost), (MOST_WAITING / 2 + 1, 1_024));
        assert_eq!(taken.last().unwrap().body, r#"{"too_long_bytes":8203}"#);
        assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 1, "it is told once");
        queue.give_back(taken.clone(), lost);
        assert_eq!(queue.take(), (taken, lost));
        Writer::nowhere().append(Kind::Stop, json!({}));
    }
}
