//! The last resort: a circuit is opened when miners on it do not do what they are told and a limit is exceeded for it.
//!
//! Everything gentler comes first: the other miners are shed, the late one is told again, put to sleep, told to stop.
//! Only when a budget is exceeded all the same, by what a meter says or for lack of one, and for as long as the operator
//! has set, the breaker is opened: one circuit at a time, that with the most power that cannot be moved. It is told again
//! until it is seen to be open. It is never closed by the program: whoever closes it has looked at why it opened.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::decision::{BreakerCommand, BreakerState};
use crate::control::headroom::Headroom;
use crate::control::response::Track;
use crate::control::site::{Breaker, CircuitId, Site};
use crate::control::snapshot::{Activity, Contact, MinerInput, Snapshot};
use crate::control::tree::Tree;
use crate::moment::Moment;

/// Time between two orders to open that are not seen to be followed.
const REPEAT_AFTER: Duration = Duration::from_secs(5);
/// What a breaker has said counts for this long.
const SILENT_AFTER: Duration = Duration::from_secs(30);
/// A miner that draws no more than this above what it draws asleep is no reason to open a circuit, in watts.
const WORTH_OPENING: f64 = 100.0;

/// A breaker from cycle to cycle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trip {
    /// Since when its circuit is the reason that a budget is exceeded.
    stuck_since: Option<Moment>,
    /// It was told to open, and nobody has closed it since.
    tripped: bool,
    /// It was open since then.
    was_open: bool,
    asked_at: Option<Moment>,
    /// What it says, as far as that counts: `Some(true)` is open.
    told: Option<bool>,
}

impl Trip {
    /// Takes in what it says.
    pub fn hear(&mut self, input: Option<&MinerInput>, now: Moment) {
        self.told = input.filter(|input| input.contact == Contact::Reachable).and_then(|input| {
            let status = input.status.as_ref().filter(|status| now - status.at <= SILENT_AFTER)?;
            // Before an order to open has been answered, what it said earlier says nothing.
            Some(status.value.activity == Activity::Asleep)
        });
        match self.told {
            Some(true) => self.was_open = true,
            Some(false) if self.was_open => *self = Self { told: Some(false), ..Self::default() },
            Some(false) | None => {}
        }
    }

    /// It is to be opened, whatever is exceeded. Whoever closes it before the reason is gone sees it opened again.
    pub(super) fn open(&mut self) {
        self.tripped |= !self.is_open();
    }

    /// Whether nothing behind it can draw anything.
    pub fn is_open(&self) -> bool {
        self.told == Some(true)
    }

    /// As people see it.
    pub fn state(&self) -> BreakerState {
        match (self.told, self.tripped) {
            (Some(true), _) => BreakerState::Open,
            (_, true) => BreakerState::Opening,
            (Some(false), false) => BreakerState::Closed,
            (None, false) => BreakerState::Unknown,
        }
    }

    fn late(&self, breaker: &Breaker, now: Moment) -> bool {
        !self.tripped && self.stuck_since.is_some_and(|since| now - since >= breaker.after)
    }
}

/// Of each circuit, whether it is dead because a breaker at or above it is open.
pub fn dead(tree: &Tree, trips: &[Trip]) -> Vec<bool> {
    (0..trips.len())
        .map(|circuit| tree.path(circuit).iter().any(|above| trips.get(*above).is_some_and(Trip::is_open)))
        .collect()
}

/// What the breakers are told in this cycle. `over` tells of each circuit by how many watts it cannot help exceeding its
/// budget.
pub fn decide(
    site: &Site,
    tree: &Tree,
    trips: &mut [Trip],
    (circuits, over): (&[Headroom], &[f64]),
    tracks: &[Track],
    sequence: &mut u64,
    now: Moment,
) -> Vec<BreakerCommand> {
    if site.circuits.iter().all(|circuit| circuit.breaker.is_none()) {
        return Vec::new();
    }
    let mut stuck = vec![0.0; site.circuits.len()];
    for (miner, track) in site.miners.iter().zip(tracks).filter(|(_, track)| !track.movable()) {
        let excess = track.counted - miner.sleep.get();
        if excess > WORTH_OPENING {
            for above in tree.path(miner.circuit.0) {
                if let Some(sum) = stuck.get_mut(*above) {
                    *sum += excess;
                }
            }
        }
    }
    let exceeded = |circuit: usize| {
        let above = circuits.get(circuit).is_some_and(|circuit| circuit.exceeded);
        above && over.get(circuit).is_some_and(|over| *over > WORTH_OPENING)
    };
    let mut worst: Option<(f64, usize)> = None;
    let each = site.circuits.iter().zip(trips.iter_mut()).zip(&stuck).enumerate();
    for (index, ((circuit, trip), stuck)) in each {
        let Some(breaker) = circuit.breaker else { continue };
        let reason = *stuck > 0.0 && !trip.is_open() && tree.path(index).iter().any(|above| exceeded(*above));
        trip.stuck_since = if reason { trip.stuck_since.or(Some(now)) } else { None };
        if trip.late(&breaker, now) && worst.is_none_or(|(most, _)| *stuck > most) {
            worst = Some((*stuck, index));
        }
    }
    if let Some((_, index)) = worst {
        for (trip, other) in trips.iter_mut().zip(0..) {
            if other == index {
                trip.tripped = true;
            } else if trip.stuck_since.is_some() {
                // What this one takes away is to be seen before another one is opened.
                trip.stuck_since = Some(now);
            }
        }
    }
    let mut commands = Vec::new();
    for (trip, index) in trips.iter_mut().zip(0..) {
        let due = trip.asked_at.is_none_or(|asked| now - asked >= REPEAT_AFTER);
        if trip.tripped && !trip.is_open() && due {
            trip.asked_at = Some(now);
            *sequence += 1;
            commands.push(BreakerCommand { circuit: CircuitId(index), sequence: *sequence });
        }
    }
    commands
}

/// Hears every breaker of the site.
pub fn hear(site: &Site, trips: &mut [Trip], snapshot: &Snapshot) {
    for ((circuit, trip), index) in site.circuits.iter().zip(trips.iter_mut()).zip(0..) {
        if circuit.breaker.is_some() {
            trip.hear(snapshot.breakers.get::<usize>(index), snapshot.now);
        }
    }
}
