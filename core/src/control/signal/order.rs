//! One order: how much, where, from when to when.

use std::sync::Arc;
use std::time::Duration;

use super::time::Wall;
use serde::{Deserialize, Serialize};

use crate::control::site::{CircuitId, Scope};
use crate::units::Watts;

/// How much an order asks for, in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    /// At most this.
    Cap(Watts),
    /// This much less than the baseline that is stated when the order is accepted.
    ReduceBy(Watts),
    /// This part of the nameplate of what hangs on the circuit; 0 to 1.
    ShareOfNameplate(f64),
}

/// Against what a cap is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Basis {
    /// Every instant.
    #[default]
    Instant,
    /// The mean over a window. It is steered to as if every instant counted, and reported as a mean.
    Mean(Duration),
}

/// How an order wants power to come down and go up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Urgency {
    /// Down at once, up along the ramp.
    #[default]
    Normal,
    /// As normal, and miners may be put to sleep where a lower target would be slower.
    Emergency,
}

/// What one source demands of one circuit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The name that the source gives it, unique within the source.
    pub id: Arc<str>,
    /// A later version of the same order has a higher number.
    pub revision: u64,
    /// Orders in different lanes do not hide each other (OpenADR: one lane per payload type). Within a lane the
    /// better priority wins.
    pub lane: Arc<str>,
    /// Lower wins, within its lane alone. Orders without one come last: [`u32::MAX`].
    pub priority: u32,
    /// The circuit that it caps.
    pub circuit: CircuitId,
    /// What it caps there.
    pub scope: Scope,
    /// How much.
    pub ask: Ask,
    /// Against what it is judged.
    pub basis: Basis,
    /// How it wants power to move.
    pub urgency: Urgency,
    /// It holds from here on.
    pub from: Wall,
    /// Up to here; `None` until it is taken back.
    pub until: Option<Wall>,
    /// The source lets the start be delayed at random by up to this.
    pub start_spread: Duration,
}

impl Order {
    /// Whether it ends before it begins.
    pub fn is_backwards(&self) -> bool {
        self.until.is_some_and(|until| until < self.from)
    }
}

/// What the caps of a source are measured with when an order arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bases {
    /// Everything that hangs on the circuit: the rating of the connection for its import, the sum of the miners'
    /// nameplates for their draw. A higher cap is a mistake of somebody.
    pub nameplate: Watts,
    /// What would be drawn without the order; `None` where nobody knows.
    pub baseline: Option<Watts>,
    /// Where in its spread a random delay falls, 0 to 1, drawn once for each order by the shell and kept.
    pub draw: f64,
}

/// What became of an order that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// It is new, and counts.
    Accepted,
    /// It takes the place of an earlier version.
    Replaced,
    /// It is known already, word for word.
    Duplicate,
    /// A later version, or its withdrawal, came first.
    Outdated,
    /// Its time is over.
    Over,
}

/// Why an order is not obeyed. What was in force before stays in force.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Below zero.
    #[error("a cap of {0} is below zero; only zero and above can be obeyed")]
    Negative(Watts),
    /// Above everything that could be drawn: a wrong unit, most likely.
    #[error(
        "a cap of {asked} is above {nameplate}, up to which one is believed on this circuit; check the unit of the signal"
    )]
    AboveNameplate {
        /// What was asked.
        asked: Watts,
        /// The most that is believed: what hangs there or its rating, or several times that where nobody knows.
        nameplate: Watts,
    },
    /// A share that is no share.
    #[error("a share of {0} is not between 0 and 1")]
    Share(f64),
    /// A reduction against a baseline that nobody knows.
    #[error("the order reduces against a baseline, and there is none yet")]
    NoBaseline,
    /// It ends before it begins.
    #[error("the order ends before it begins")]
    Backwards,
    /// Two different orders under one number: the stricter stays.
    #[error("another order of the same name and revision is in force, and it is not looser")]
    SameRevision,
    /// The book is full.
    #[error("the source has {0} orders already; it must take some back")]
    Full(usize),
    /// The name is empty or too long.
    #[error("the order has no usable name (1 to {0} bytes)")]
    Name(usize),
    /// It caps a circuit that does not exist.
    #[error("the order names a circuit that the site does not have")]
    Circuit,
}

impl Ask {
    /// The cap that it comes to.
    ///
    /// # Errors
    /// [`Refusal`] for a number that cannot be meant.
    pub fn resolve(self, bases: &Bases) -> Result<Watts, Refusal> {
        match self {
            Self::Cap(cap) if cap < Watts::ZERO => Err(Refusal::Negative(cap)),
            Self::Cap(cap) if cap > bases.nameplate => {
                Err(Refusal::AboveNameplate { asked: cap, nameplate: bases.nameplate })
            }
            Self::Cap(cap) => Ok(cap),
            Self::ReduceBy(by) if by < Watts::ZERO => Err(Refusal::Negative(by)),
            Self::ReduceBy(by) if by > bases.nameplate => {
                Err(Refusal::AboveNameplate { asked: by, nameplate: bases.nameplate })
            }
            Self::ReduceBy(by) => {
                let baseline = bases.baseline.ok_or(Refusal::NoBaseline)?;
                Ok((baseline - by).at_least_zero())
            }
            Self::ShareOfNameplate(share) if (0.0..=1.0).contains(&share) => {
                Ok(bases.nameplate.scaled(share))
            }
            Self::ShareOfNameplate(share) => Err(Refusal::Share(share)),
        }
    }
}
