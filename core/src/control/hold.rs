//! Miners that somebody works on.
//!
//! One that is kept asleep is told to sleep like any other, and is not woken; `move_fleet` does that. One that is left alone
//! is moved by whoever works on it: where it is counts as where it was put, from cycle to cycle, so that nothing jumps when it is
//! handed back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::decision::MinerState;
use crate::control::response::Track;
use crate::control::site::{Miner, Site};
use crate::control::snapshot::{HeldMiner, Hold, MinerInput};
use crate::control::step::Inputs;
use crate::moment::Moment;

/// For so long what was told to a miner before may still be carried out.
const IN_FLIGHT: Duration = Duration::from_secs(10);

/// Who is kept in this cycle, and how. One that does not sleep is left alone instead. An emergency stop goes before everything, also
/// before the word of whoever has asked to be left alone: their miners sleep, too. `stopped` tells of each circuit whether it is.
pub(super) fn held(site: &Site, holds: &[HeldMiner], stopped: &[bool]) -> BTreeMap<usize, Hold> {
    let mut all = BTreeMap::new();
    for told in holds {
        let Some(miner) = site.miners.get(told.miner.0) else { continue };
        let hold = if miner.sleeps { told.hold } else { Hold::HandsOff };
        let known = all.entry(told.miner.0).or_insert(hold);
        if *known != Hold::HandsOff {
            *known = hold;
        }
    }
    for (index, hold) in &mut all {
        let circuit = site.miners.get(*index).map(|miner| miner.circuit.0);
        if circuit.and_then(|circuit| stopped.get(circuit)) == Some(&true) {
            *hold = Hold::Asleep;
        }
    }
    all
}

/// Takes those that are left alone as they are, or all.
pub(super) fn follow(
    site: &Site,
    tracks: &mut [Track],
    inputs: &Inputs<'_>,
    held: &BTreeMap<usize, Hold>,
    all: bool,
    now: Moment,
) {
    if all {
        for (index, (miner, track)) in site.miners.iter().zip(tracks).enumerate() {
            take(miner, track, inputs.miner(index), site.settings.straggler_grace, now);
        }
        return;
    }
    for (&index, _) in held.iter().filter(|(_, hold)| **hold == Hold::HandsOff) {
        if let (Some(miner), Some(track)) = (site.miners.get(index), tracks.get_mut(index)) {
            take(miner, track, inputs.miner(index), site.settings.straggler_grace, now);
        }
    }
}

/// Takes one as it is, unless what it was told may still be carried out.
fn take(miner: &Miner, track: &mut Track, input: &MinerInput, grace: Duration, now: Moment) {
    let left_alone = track.hold == Some(Hold::HandsOff);
    if !left_alone && track.state == MinerState::Straggler {
        // It is told again what it was told, and counts where it is.
        return;
    }
    let mut patience = IN_FLIGHT.max(track.way(miner).mul_f64(1.5));
    if !left_alone {
        // Whoever is still told things has their time to do them: one that does not is found out, and not taken as it is before.
        patience = patience.max(track.way(miner) + grace + miner.silent_after);
    }
    if track.sent.is_some_and(|sent| !sent.arrived && now - sent.at < patience) {
        return;
    }
    let asleep_since = track.asleep_since;
    track.adopt(miner, input, now);
    if track.asleep_since.is_some() {
        track.asleep_since = asleep_since.or(track.asleep_since);
    }
}
