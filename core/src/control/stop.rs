//! Emergency stops: a contact that must be closed for the miners of a circuit to run.
//!
//! When it is open, or cannot be read for its time, its miners sleep at once and stay asleep: what was stopped is **latched**
//! until somebody releases it, and that only works while the contact is seen to be closed. A contact that has not been read yet lets
//! nobody wake, but latches nothing before it has had its time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::breaker::Trip;
use crate::control::combine::Seen;
use crate::control::site::{CircuitId, EmergencyStop, OpensBreaker, Site};
use crate::control::snapshot::Snapshot;
use crate::control::tree::Tree;
use crate::moment::Moment;
use crate::units::Watts;

/// A contact that is closed reads as at least this; open, it reads as nothing.
pub const CLOSED: Watts = Watts::whole(1);

/// An emergency stop from cycle to cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// When it was first looked at.
    known_since: Option<Moment>,
    /// It was stopped, and nobody has released it since.
    latched: bool,
    /// Its contact was seen to be open since then, and not only lost.
    opened: bool,
}

impl Stop {
    /// One that was stopped in a run before.
    pub(super) const LATCHED: Self = Self { known_since: None, latched: true, opened: false };

    /// Whether it is latched.
    pub const fn latched(&self) -> bool {
        self.latched
    }
}

/// How an emergency stop stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopState {
    /// Its contact is closed, and nothing is stopped.
    Ready,
    /// Its contact is open.
    Open,
    /// Its contact cannot be read, and it has stopped its miners for that.
    Unknown,
    /// Its contact is closed again, and it waits to be released.
    Latched,
    /// Its contact has not been read yet: nobody is woken, and nobody who runs is stopped for it.
    Unread,
}

impl StopState {
    /// All, for metrics.
    pub const ALL: [Self; 5] = [Self::Ready, Self::Open, Self::Unknown, Self::Latched, Self::Unread];

    /// As written in metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Open => "open",
            Self::Unknown => "unknown",
            Self::Latched => "latched",
            Self::Unread => "unread",
        }
    }
}

/// How it stands by what is latched and by what its contact is seen to say.
pub(super) fn state_of(state: Stop, stop: &EmergencyStop, seen: &[Seen]) -> StopState {
    match (contact(seen, stop), state.latched) {
        (Some(false), _) => StopState::Open,
        (None, true) => StopState::Unknown,
        (None, false) => StopState::Unread,
        (Some(true), true) => StopState::Latched,
        (Some(true), false) => StopState::Ready,
    }
}

fn seen_of<'s>(seen: &'s [Seen], stop: &EmergencyStop) -> Option<&'s Seen> {
    seen.get(stop.meter.0)
}

/// What its contact is seen to say: closed, open, or nothing that counts.
pub(super) fn contact(seen: &[Seen], stop: &EmergencyStop) -> Option<bool> {
    let low = seen_of(seen, stop).filter(|seen| seen.fresh())?.low?;
    Some(low.value >= CLOSED)
}

/// Brings up to date what is latched: by what the contacts say, by whom somebody releases in this cycle, and by what the machine that
/// leads has latched.
pub(super) fn look(site: &Site, stops: &mut [Stop], snapshot: &Snapshot, seen: &[Seen]) {
    let now = snapshot.now;
    for ((circuit, state), index) in site.circuits.iter().zip(stops.iter_mut()).zip(0..) {
        let Some(stop) = &circuit.emergency_stop else {
            *state = Stop::default();
            continue;
        };
        let since = *state.known_since.get_or_insert(now);
        let told = contact(seen, stop);
        let lost = told.is_none() && {
            let read = seen_of(seen, stop).is_some_and(|seen| seen.input.power.is_some());
            let stale_after = site.meters.get(stop.meter.0).map_or(Duration::ZERO, |meter| meter.stale_after);
            read || now - since >= site.settings.start_timeout.max(stale_after)
        };
        if told == Some(true) && snapshot.released.contains(&CircuitId(index)) {
            (state.latched, state.opened) = (false, false);
        }
        state.latched |= lost || told == Some(false) || snapshot.latched.contains(&CircuitId(index));
        state.opened |= told == Some(false);
    }
}

/// Of each circuit, whether it or one above it is latched.
pub(super) fn stopped(tree: &Tree, stops: &[Stop]) -> Vec<bool> {
    let own: Vec<bool> = stops.iter().map(Stop::latched).collect();
    tree.below(&own)
}

/// Has the breakers opened at and below circuits that are stopped, where their stops say so.
pub(super) fn trip(site: &Site, tree: &Tree, stops: &[Stop], trips: &mut [Trip]) {
    let opens = |above: &usize| {
        let stop = site.circuits.get(*above).and_then(|circuit| circuit.emergency_stop);
        stop.zip(stops.get(*above)).is_some_and(|(stop, state)| match stop.opens_breaker {
            OpensBreaker::Always => state.latched,
            OpensBreaker::WhenOpen => state.opened,
            OpensBreaker::Never => false,
        })
    };
    for ((circuit, trip), index) in site.circuits.iter().zip(trips.iter_mut()).zip(0..) {
        if circuit.breaker.is_some() && tree.path(index).iter().any(opens) {
            trip.open();
        }
    }
}
