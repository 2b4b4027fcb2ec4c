//! What became of each order, for people, metrics and whoever pays for it.

use std::sync::Arc;
use std::time::Duration;

use crate::control::signal::{Basis, Wall};
use crate::control::site::{CircuitId, Scope, SourceId};
use crate::units::{Joules, Watts};

/// How far an order has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// It was refused, and why; what was in force stayed in force.
    Refused(Arc<str>),
    /// It was accepted, and its time has not come, or it is hidden by one of better priority.
    Accepted,
    /// It holds.
    Acting,
    /// It is over: its time, its withdrawal, or a later version.
    Ended,
}

impl Stage {
    /// As written in tables and JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Accepted => "accepted",
            Self::Acting => "acting",
            Self::Ended => "ended",
        }
    }
}

/// One order and what was delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which source gave it.
    pub source: SourceId,
    /// The name that the source gives it.
    pub id: Arc<str>,
    /// Its version.
    pub revision: u64,
    /// The circuit that it caps.
    pub circuit: CircuitId,
    /// What it caps there.
    pub scope: Scope,
    /// How far it has come.
    pub stage: Stage,
    /// The cap that it came to; `None` when it was refused.
    pub cap: Option<Watts>,
    /// What would have been drawn without it, as stated when it was accepted.
    pub baseline: Option<Watts>,
    /// Against what it is judged.
    pub basis: Basis,
    /// When it holds by its own word.
    pub from: Wall,
    /// Up to when; `None` until it is taken back.
    pub until: Option<Wall>,
    /// When it came.
    pub received: Wall,
    /// When a decision first obeyed it.
    pub applied: Option<Wall>,
    /// When the measured power was first at or below its cap.
    pub met: Option<Wall>,
    /// When it ended.
    pub ended: Option<Wall>,
    /// For how long it held and power was measured.
    pub measured: Duration,
    /// Mean power in that time.
    pub mean: Option<Watts>,
    /// How far the mean lies above the cap (positive) or below it (negative).
    pub deviation: Option<Watts>,
    /// The farthest above the cap after it was first met.
    pub worst: Watts,
    /// How far the latest measurement is above the cap; `None` while nothing is measured or it does not hold.
    pub shortfall: Option<Watts>,
    /// Energy that was not consumed, against the baseline.
    pub avoided: Option<Joules>,
    /// What was delivered of the reduction that was asked, as a fraction; 1 is exactly that.
    pub delivered: Option<f64>,
    /// Whether it is on disk: a restart resumes it.
    pub stored: bool,
    /// Why it ended otherwise than by its own word; `None` when it did not.
    pub note: Option<Arc<str>>,
    /// Who has given it, where somebody has put a name to it.
    pub by: Option<Arc<str>>,
    /// Why, in their words.
    pub remark: Option<Arc<str>>,
}

/// Something about an order that is worth a line in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// Name of the source.
    pub source: Arc<str>,
    /// The name that it gives the order.
    pub id: Arc<str>,
    /// What has happened.
    pub what: What,
}

/// What has happened to an order.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It was accepted.
    Accepted {
        /// The cap that it came to.
        cap: Watts,
        /// Name of the circuit.
        circuit: Arc<str>,
        /// What it caps there.
        scope: Scope,
        /// Whether it is on disk.
        stored: bool,
    },
    /// It was refused, and why.
    Refused(Arc<str>),
    /// No order, but somebody (whose name stands in the place of the order's) who has lifted the caps of the source.
    Lifted {
        /// Until when.
        until: Wall,
    },
    /// No order either: a restart has ended the lift that somebody (named so, too) had begun.
    LiftGone,
    /// Measured power is at or below its cap for the first time, so long after it was first obeyed.
    Met(Duration),
    /// It is over.
    Ended {
        /// Mean power while it held.
        mean: Option<Watts>,
        /// How far that is above its cap (positive) or below (negative).
        deviation: Option<Watts>,
        /// Why it ended otherwise than by its own word.
        note: Option<Arc<str>>,
    },
}
