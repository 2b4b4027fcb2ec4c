//! Moves a fleet towards the optimum at the same power, where the gain pays for the change.
//!
//! The optimum is compared with where the miners are. Each miner that should have more is paired with the
//! cheapest that should have less; a pair is worth it when the hashrate that it gains over the horizon is more than
//! what both changes cost. Only the lowering half is commanded: the raising half follows through the ordinary
//! raise, when the power has really been freed.

use crate::control::allocate::optimum::Optimum;
use crate::control::allocate::track::{Change, Terms};
use crate::control::allocate::{Item, Level};
use crate::control::site::{CircuitId, LoadClass};
use crate::control::tree::Tree;

/// Whoever gives power up later is worth so many times as much, whatever anybody's points say.
const CLASS_WEIGHT: f64 = 1e4;

/// Hashes for each joule of a good miner (15 J/TH).
const HASHES: f64 = 1e12 / 15.0;

/// What to lower now, and which items the freed power is meant for.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The lowering half.
    pub changes: Vec<Change>,
    /// One for each item: the level to which the next raises favour it.
    pub favoured: Vec<Option<Level>>,
}

/// In hashes for each of an item's own, so that classes can be weighed against each other: by the watt, a member of a later class
/// brings what a good miner does and [`CLASS_WEIGHT`] for each class between them.
fn weight(item: &Item<'_>) -> f64 {
    let steps = match item.class {
        LoadClass::Miner => return 1.0,
        LoadClass::Interruptible => 1,
        LoadClass::Throttle => 2,
        LoadClass::Guaranteed => 3,
    };
    let (full, power) = (item.full_hashrate(), item.maximum() * item.scale);
    if full > 0.0 { power * HASHES / full * CLASS_WEIGHT.powi(steps) } else { 1.0 }
}

/// Plans the exchanges that pay, freeing `most` watts at the most. `free` is what each circuit has left, in watts: for what fits
/// into it nobody is lowered.
pub fn plan(
    items: &[Item<'_>],
    optimum: &Optimum,
    tree: &Tree,
    mut free: Vec<f64>,
    terms: &Terms,
    most: f64,
) -> Plan {
    let mut plan = Plan { changes: Vec::new(), favoured: vec![None; items.len()] };
    let mut ups: Vec<(f64, usize, f64, f64)> = Vec::new();
    let mut downs: Vec<(f64, usize, Level, f64, f64)> = Vec::new();
    // A start may pay over as long a time as none had to be put to sleep.
    let start = |item: &Item<'_>| match item.level {
        Level::Sleep => item.sleep_cost * (terms.horizon / terms.calm.max(terms.horizon)),
        Level::Power(_) => item.adjust_cost,
    };
    for (index, (item, level)) in items.iter().zip(&optimum.levels).enumerate() {
        if !item.free() || *level == item.level {
            continue;
        }
        let watts = item.power_at(*level) - item.settled;
        let wakes = item.level == Level::Sleep;
        let rises = watts > terms.deadband(item.circuit);
        let may = if wakes { item.wakeable } else { item.raisable };
        if (rises && !may) || (!rises && watts >= 0.0) {
            continue;
        }
        let weight = weight(item);
        let gain = (item.hashrate_at(*level) - item.hashrate_at(item.level)) * terms.horizon * weight;
        let full = item.full_hashrate() * weight;
        if rises {
            let worth = gain - start(item) * full;
            if worth > 0.0 {
                ups.push((worth / watts, index, watts, worth));
            }
        } else {
            let seconds = if *level == Level::Sleep { item.sleep_cost } else { item.adjust_cost };
            let cost = seconds * full - gain;
            downs.push((cost / -watts, index, *level, -watts, cost));
        }
    }
    ups.sort_by(|one, other| other.0.total_cmp(&one.0));
    downs.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut downs = downs.into_iter().peekable();
    let mut freed = 0.0;
    for (_, index, wanted, worth) in ups {
        let Some(item) = items.get(index) else { continue };
        let wakes = item.level == Level::Sleep;
        // Whether it is worth to wake somebody for what is free is judged where that is done.
        if !wakes && tree.least(&free, item.circuit) >= wanted {
            tree.add(&mut free, CircuitId(item.circuit), -wanted);
            continue;
        }
        // Take lowerings until this raise is paid for in watts, then see whether it pays in hashes.
        let (mut watts, mut cost) = (0.0, 0.0);
        let mut taken = Vec::new();
        while watts < wanted {
            let Some((_, item, level, frees, costs)) = downs.peek().copied() else {
                break;
            };
            if cost + costs >= worth {
                break;
            }
            watts += frees;
            cost += costs;
            taken.push(Change { item, level });
            downs.next();
        }
        // Half of the way back to what was agreed cannot be gone.
        let whole = !item.sleeps && item.settled < item.least();
        if taken.is_empty()
            || (whole && watts < wanted)
            || freed + watts > most
            || cost >= worth * (watts / wanted).min(1.0)
        {
            break;
        }
        freed += watts;
        // Nobody makes room for a start before it draws anything.
        if !wakes {
            plan.changes.extend(taken);
        }
        if let (Some(favoured), Some(level)) = (plan.favoured.get_mut(index), optimum.levels.get(index)) {
            *favoured = Some(*level);
        }
    }
    plan
}
