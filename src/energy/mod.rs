//! Energy by the quarter hour: what each circuit took and gave, what its miners drew, and what each tenant's miners did.
//!
//! Pure: told each cycle's frame and the wall clock, [`account::Account`] adds up, and gives rows that whoever has a disk
//! writes. The quarters are those of the wall clock in UTC, so that they are also quarters in every time zone and no
//! change to summer time makes one longer.
//!
//! Of every sum it is known for how much time it was known. What was not known is in no sum, and is not zero: the time
//! says how much is missing.
//!
//! | File | What it does |
//! |---|---|
//! | `account` | the open quarters: what each cycle adds, which clock jumps, what is closed |
//! | `counter` | the meters' own counters: resets, exchanges, gaps, counters that stand |
//! | `sums`, `figures` | what is kept of a quarter, and how it is told |
//! | `seal` | what the proof says of closed quarters |
//! | `tally` | what each tenant's miners did since the start |
//! | `baseline` | what would have been drawn without an order, by named methods |
//! | `settle` | what of an order was delivered, quarter by quarter |

pub mod account;
pub mod baseline;
mod counter;
pub mod figures;
pub mod seal;
pub mod settle;
mod sums;
pub mod tally;

use std::sync::Arc;
use std::time::Duration;

use crate::control::signal::Wall;
use crate::units::{Joules, Watts};

pub use sums::Sums;

/// The length of an interval.
pub const QUARTER: Duration = Duration::from_secs(900);
/// The same in milliseconds.
const QUARTER_MS: i64 = 900_000;
/// The share that must be known for the rest to count: of a quarter, of the time for which an order held, of the quarters before one.
pub(crate) const KNOWN: f64 = 0.9;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A circuit of the site.
    Circuit,
    /// Whom miners belong to.
    Tenant,
}

impl Kind {
    /// As written in the database, in reports and in the interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Circuit => "circuit",
            Self::Tenant => "tenant",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Circuit, Self::Tenant].into_iter().find(|kind| kind.name() == name)
    }
}

/// What was added up of one circuit or tenant in a part of a quarter. The parts of a quarter add up to it: there is more
/// than one after a restart, a new configuration or a jump of the clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When the quarter begins.
    pub start: Wall,
    /// Tells the parts of one quarter apart.
    pub part: i64,
    /// What it is about.
    pub kind: Kind,
    /// Name of the circuit or tenant.
    pub name: Arc<str>,
    /// Of a circuit, the one that feeds it.
    pub parent: Option<Arc<str>>,
    /// The sums.
    pub sums: Sums,
}

/// The latest reading of the counters of the meter at the head of a circuit: from here a restart goes on.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterRow {
    /// Name of the circuit.
    pub circuit: Arc<str>,
    /// Name of the meter.
    pub meter: Arc<str>,
    /// Energy taken in since the meter began to count; `None` where it does not tell.
    pub import: Option<Joules>,
    /// Energy given out since the meter began to count; `None` where it does not tell.
    pub export: Option<Joules>,
    /// When it was read.
    pub at: Wall,
    /// The largest power that was seen, without its sign.
    pub largest: Watts,
}

/// The beginning of the quarter in which a point of time lies.
pub fn quarter(at: Wall) -> Wall {
    Wall::unix_millis(at.as_unix_millis().div_euclid(QUARTER_MS).saturating_mul(QUARTER_MS))
}

/// The share of a time.
fn share(time: Duration, share: f64) -> Duration {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    Duration::try_from_secs_f64(time.as_secs_f64() * share).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
