//! The meters' own energy counters: what a reading of one adds, and whether it can be believed.
//!
//! A counter that goes back was reset, has run over or belongs to another meter; one that leaps is another meter's. What
//! flowed meanwhile is then what the power added up to. One that stands while power flows does not count, and is not used.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::signal::Wall;
use crate::units::{Joules, Watts};

/// Two readings further apart have a gap between them.
pub(super) const GAP: Duration = Duration::from_secs(60);
/// A gap that is longer is not bridged: what flowed in it is not known quarter by quarter in any useful way.
pub(super) const LONGEST_BRIDGE: Duration = Duration::from_secs(86_400);
/// A leap up to this is never odd.
const LEAST_LEAP: Joules = Joules::whole(3_600_000);
/// A counter that stands for so long, while more than [`STANDS`] and three of its steps flow, does not count.
const STANDS_FOR: Duration = Duration::from_secs(600);
/// See [`STANDS_FOR`].
const STANDS: Joules = Joules::whole(7_200_000);
/// A counter may jitter back by this: its value comes as a float of 32 bits.
const JITTER: f64 = 1e-6;

/// A reading of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anchor {
    pub(super) value: Joules,
    /// `None` for one of an earlier run.
    pub(super) at: Option<Moment>,
    pub(super) wall: Wall,
    /// Between two readings of different epochs the clock jumped.
    pub(super) epoch: u64,
}

/// One counter of a meter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counter {
    pub(super) anchor: Option<Anchor>,
    /// What was taken from the power since the anchor, for want of a reading.
    pub(super) given: Joules,
    pub(super) given_for: Duration,
    /// The largest step that it was ever seen to make within a minute.
    step: Joules,
    /// What flowed by the power since it last moved, and since when.
    still: Joules,
    still_since: Option<Moment>,
    /// It stands while power flows.
    pub(super) dead: bool,
}

/// What a reading means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// The first one: from here it counts.
    Begins,
    /// So much flowed since the one before.
    Flowed(Joules),
    /// The same over a gap, beyond what was taken from the power; how much of the gap that was not.
    Bridges(Joules, Duration),
    /// It cannot follow from the one before.
    Odd,
    /// The gap is too long to say anything of.
    Lost,
    /// It stands while power flows: from here on it is not used. What the power told meanwhile counts.
    Dies,
}

/// What the power tells of the time between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Between {
    /// In the direction of the counter.
    pub(super) energy: Joules,
    /// In either direction.
    pub(super) gross: Joules,
    /// For how much time it is known.
    pub(super) time: Duration,
}

impl Counter {
    /// One that goes on from a reading of an earlier run.
    pub(super) fn resumed(anchor: Option<Anchor>) -> Self {
        Self { anchor, ..Self::default() }
    }

    /// Whether what flows is told by it.
    pub(super) fn counts(&self) -> bool {
        self.anchor.is_some() && !self.dead
    }

    /// Whether a reading is overdue.
    pub(super) fn overdue(&self, now: Moment) -> bool {
        self.anchor.is_some_and(|anchor| anchor.at.is_none_or(|at| now - at > GAP))
    }

    /// Takes a reading that is newer than the anchor. `largest` is the largest power that was ever seen.
    pub(super) fn read(&mut self, new: Anchor, between: Between, largest: Watts) -> Meaning {
        let given = std::mem::take(&mut self.given);
        let given_for = std::mem::take(&mut self.given_for);
        let Some(old) = self.anchor.replace(new) else { return Meaning::Begins };
        let steady = old.at.zip(new.at).map(|(old, new)| new - old);
        let span = steady.unwrap_or_else(|| new.wall.since(old.wall));
        let mut flowed = new.value - old.value;
        if flowed.get() < 0.0 && flowed.get().abs() <= old.value.get().abs() * JITTER {
            flowed = Joules::ZERO;
        }
        if steady.is_none_or(|span| span > GAP) {
            self.alive(new.at);
            if span > LONGEST_BRIDGE {
                return Meaning::Lost;
            }
            let most = largest.scaled(3.0).over(span.max(GAP)) + LEAST_LEAP;
            let believed = flowed.get() >= 0.0 && (largest == Watts::ZERO || flowed <= most);
            if !believed {
                return Meaning::Odd;
            }
            let rest = (flowed - given).at_least_zero();
            return Meaning::Bridges(rest, span.saturating_sub(given_for));
        }
        let mean = Watts::saturating(between.gross.get() / between.time.as_secs_f64().max(1.0));
        let slack = self.step.scaled(10.0).max(mean.over(super::QUARTER)).max(LEAST_LEAP);
        if flowed.get() < 0.0 || flowed > between.gross.scaled(4.0) + slack {
            self.alive(new.at);
            return Meaning::Odd;
        }
        if flowed > Joules::ZERO {
            self.step = self.step.max(flowed);
            self.alive(new.at);
            return Meaning::Flowed(flowed);
        }
        self.still += between.energy;
        let since = *self.still_since.get_or_insert(old.at.unwrap_or(Moment::START));
        let long = new.at.is_some_and(|at| at - since > STANDS_FOR);
        if !self.dead && long && self.still > STANDS.max(self.step.scaled(3.0)) {
            self.dead = true;
            return Meaning::Dies;
        }
        Meaning::Flowed(Joules::ZERO)
    }

    /// It has moved, or is another one.
    fn alive(&mut self, at: Option<Moment>) {
        self.still = Joules::ZERO;
        self.still_since = at;
        self.dead = false;
    }
}
