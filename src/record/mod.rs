//! The record: every cycle of the control law on disk, so that it can be replayed ([`replay`]).
//!
//! ```text
//!  the loop ── snapshot, decision ──► queue ──► thread ──► record/2026-11-29T04-43-52.123Z.record
//!           ── now and then: the state ──►
//! ```
//!
//! The loop never waits: what the queue cannot take is lost, counted, and marked in the record. A disk that fails is told
//! once, and tried again later. The control law knows nothing of all this.
//!
//! | File | What it does |
//! |---|---|
//! | `columns` | numbers as few bytes |
//! | `delta` | a cycle as what differs from the one before |
//! | `segment` | the file: header, state, blocks of cycles |
//! | `folder` | how many files there may be |
//! | `writer` | the thread |
//! | `recorder` | what the loop hands over, and when |
//! | `replay` | runs the control law over a record again |
//! | `anonymous` | a record without names |

pub mod anonymous;
mod columns;
pub mod delta;
mod folder;
mod recorder;
pub mod replay;
pub mod segment;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use recorder::{Recorder, settle};

/// `[record]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether anything is recorded.
    pub enabled: bool,
    /// The folder; `None`: `record` beside the database.
    pub folder: Option<PathBuf>,
    /// The most that it may hold, in bytes.
    pub max_size: u64,
    /// Older segments are deleted.
    pub keep: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, folder: None, max_size: 500_000_000, keep: Duration::from_secs(14 * 86_400) }
    }
}

/// How the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// What is on disk, in bytes.
    pub bytes: u64,
    /// Cycles that are not in the record since the start, because the disk was too slow or failed.
    pub lost: u64,
    /// Writes that failed since the start.
    pub errors: u64,
    /// Whether the latest write failed.
    pub failing: bool,
}

/// What loop, thread and metrics share.
#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
    /// The thread cannot write.
    failed: AtomicBool,
    /// The segment has become long.
    full: AtomicBool,
}

impl Shared {
    fn health(&self) -> Health {
        Health {
            bytes: self.bytes.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            failing: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// Whoever knows how the record is; a cheap copy.
#[derive(Clone, Debug)]
pub struct Watch(std::sync::Arc<Shared>);

impl Watch {
    /// How it is now.
    pub fn health(&self) -> Health {
        self.0.health()
    }
}
