//! Miners that somebody works on.
//!
//! One that is kept asleep is told to sleep like any other, and is not woken; `move_fleet` does that. One that is left alone
//! is moved by whoever works on it: where it is counts as where it was put, from cycle to cycle, so that nothing jumps when it is
//! handed back.

use std::time::Duration;

use crate::control::decision::MinerState;
use crate::control::response::Track;
use crate::control::site::Site;
use crate::control::snapshot::{HeldMiner, Hold};
use crate::control::step::Inputs;
use crate::moment::Moment;

/// For so long what was told to a miner before may still be carried out.
const IN_FLIGHT: Duration = Duration::from_secs(10);

/// Notes who is held in this cycle. One that does not sleep is left alone instead.
pub(super) fn note(site: &Site, tracks: &mut [Track], holds: &[HeldMiner]) {
    for track in tracks.iter_mut() {
        track.hold = None;
    }
    for held in holds {
        if let Some(track) = tracks.get_mut(held.miner.0)
            && track.hold != Some(Hold::HandsOff)
        {
            let sleeps = site.miners.get(held.miner.0).is_none_or(|miner| miner.sleeps);
            track.hold = Some(if sleeps { held.hold } else { Hold::HandsOff });
        }
    }
}

/// Takes those that are left alone as they are, or all.
pub(super) fn follow(site: &Site, tracks: &mut [Track], inputs: &Inputs<'_>, all: bool, now: Moment) {
    for (index, (miner, track)) in site.miners.iter().zip(tracks).enumerate() {
        let left_alone = track.hold == Some(Hold::HandsOff);
        if !all && !left_alone {
            continue;
        }
        if !left_alone && track.state == MinerState::Straggler {
            // It is told again what it was told, and counts where it is.
            continue;
        }
        let mut patience = IN_FLIGHT.max(track.way(miner).mul_f64(1.5));
        if !left_alone {
            // Whoever is still told things has their time to do them: one that does not is found out, and not taken as it is before.
            patience = patience.max(track.way(miner) + site.settings.straggler_grace + miner.silent_after);
        }
        let in_flight = track.sent.is_some_and(|sent| !sent.arrived && now - sent.at < patience);
        if in_flight {
            continue;
        }
        let asleep_since = track.asleep_since;
        track.adopt(miner, inputs.miner(index), now);
        if track.asleep_since.is_some() {
            track.asleep_since = asleep_since.or(track.asleep_since);
        }
    }
}
