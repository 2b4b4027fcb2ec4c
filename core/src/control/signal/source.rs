//! What is known of a source in advance, and the state that it is in.

use std::time::Duration;

use super::time::Doubt;
use crate::control::site::{CircuitId, LimitClass, Scope};
use crate::units::Watts;

/// How a source tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// It sends, with a heartbeat in between. A heartbeat alone does not give control back after a loss: an order
    /// (or the word that there is none) must come.
    Stream,
    /// It is asked, and each good answer tells everything: the whole list of its orders.
    Polled,
    /// A level that is read over and over: a contact, a register.
    Level,
    /// It needs nobody else: a calendar. It is lost only with the clock.
    Calendar,
}

/// What ends the fail-safe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Release {
    /// A fresh signal alone.
    FreshSignal,
    /// A fresh signal, or the end of the hold: then this cap stands instead. It is never more than that.
    AfterHold(Watts),
}

/// The cap of a source that is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailSafe {
    /// Where it acts.
    pub circuit: CircuitId,
    /// On what.
    pub scope: Scope,
    /// How much.
    pub cap: Watts,
}

/// A source, as the configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceSettings {
    /// Unique name, the `source` in metrics and logs.
    pub name: String,
    /// Who stands behind it.
    pub class: LimitClass,
    /// How it tells.
    pub feed: Feed,
    /// No fresh signal for this long: the source is lost.
    pub lost_after: Duration,
    /// What holds then; `None` for sources that are only ever an offer (a price, an operator): their loss takes
    /// nothing away but what they have said.
    pub fail_safe: Option<FailSafe>,
    /// The fail-safe stays at least this long, even when the signal comes back at once: a link that comes and goes
    /// must not pump the fleet.
    pub fail_safe_hold: Duration,
    /// What ends it.
    pub release: Release,
    /// Windows that were known when the signal was lost begin and end as they were announced, and the fail-safe
    /// follows the last of them. Otherwise the fail-safe stands at once, and what was in force stays in force.
    pub finish_schedule: bool,
    /// After the end of an order its cap stays for a random part of this: many sites must not come back in one
    /// second.
    pub return_spread: Duration,
    /// By how much windows begin early and end late when the clock cannot be trusted and nobody knows how far it is
    /// off.
    pub clock_allowance: Duration,
    /// Differences from the source's clock up to this are nothing to speak of.
    pub clock_tolerance: Duration,
}

impl SourceSettings {
    /// By how much windows begin early and end late while the clock is in doubt.
    pub fn clock_margin(&self, doubt: Doubt) -> Duration {
        match doubt {
            Doubt::None => Duration::ZERO,
            Doubt::Off(by) if by <= self.clock_tolerance => Duration::ZERO,
            Doubt::Off(by) => by,
            Doubt::Unknown => self.clock_allowance,
        }
    }
}

/// The state of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceState {
    /// Nothing has come yet since the start.
    Init,
    /// It is there, and no order holds.
    Controlled,
    /// It is there, and an order holds.
    Limited,
    /// It is there, with a doubt: see [`super::book::Trouble`].
    Degraded,
    /// It is lost.
    Failsafe,
    /// It is lost for longer than its hold, and the configured cap for that stands.
    Released,
}

impl SourceState {
    /// Every state, in the order of the numbers that metrics use.
    pub const ALL: [Self; 6] =
        [Self::Init, Self::Controlled, Self::Limited, Self::Degraded, Self::Failsafe, Self::Released];

    /// As written in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Controlled => "controlled",
            Self::Limited => "limited",
            Self::Degraded => "degraded",
            Self::Failsafe => "failsafe",
            Self::Released => "released",
        }
    }
}
