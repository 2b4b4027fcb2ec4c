//! The proof: a record in which each entry names the one before it by a hash, so that nobody changes, removes or moves an
//! entry unseen, with signatures of its head now and then.
//!
//! ```text
//!  desk, journal, alarms, energy ──► Writer ──► thread of the database ──► table `proof`
//!                                    (bounded)                               │
//!                                        ballast ledger verify, export ◄─────┘
//! ```
//!
//! | File | What it does |
//! |---|---|
//! | `entry` | what an entry is, and its hash |
//! | `queue` | what waits for the thread of the database |
//! | `key` | the key that signs, and signatures |
//! | `chain` | the table: entries are added, the head is signed, the oldest removed |
//! | `stamp`, `authority` | time stamps of somebody else: what is asked and answered, and the asking |
//! | `verify` | whether entries are what was written |
//! | `read` | entries of a database or of an exported file |
//! | `export` | the entries of one order, for a stranger |

pub mod authority;
pub mod chain;
pub mod entry;
pub mod export;
pub mod key;
mod queue;
pub mod read;
pub mod stamp;
pub mod verify;

use std::time::Duration;

pub use entry::{Entry, Kind};
pub use queue::{Pending, Queue, Writer};

/// Why an order ended whose later version has taken its place.
pub const LATER_VERSION: &str = "a later version";

/// `[proof]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Entries that stay on disk; the oldest are removed, up to a signed one. Their number alone decides: by their age a
    /// wrong clock would drop them.
    pub keep: u64,
    /// Entries of decisions follow each other no faster than this; what was left out between is counted.
    pub decisions_every: Duration,
    /// Who stamps the head now and then; `None` for nobody.
    pub time_stamps: Option<authority::Authority>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keep: 250_000, decisions_every: Duration::from_secs(10), time_stamps: None }
    }
}
