//! What is asked of servers beside the ordinary shed: caps that nobody uses, contracts, and to stand in for those that are slow.

use std::time::Duration;

use super::per_circuit;
use crate::control::allocate::track::{self, Change, Terms};
use crate::control::allocate::{Item, Level};
use crate::control::headroom::Headroom;
use crate::control::site::{CircuitId, LoadClass};
use crate::control::tree::Tree;

/// Whoever begins to lower its draw within so many seconds can stand in for slower ones.
const QUICK: f64 = 1.0;

/// Within this share of a notice it is worth it, too: a BMC takes seconds.
const SOON: f64 = 0.3;

/// Where a limit other than the surplus is used up by what is counted, caps that take nothing from anybody's work go first: those of
/// servers come down to a little above what they have drawn lately, and stay there until they draw that. Tells what each circuit's limits other than the
/// surplus leave then, and how much more than they were found to leave that is.
pub(super) fn trim(
    items: &mut [Item<'_>],
    tree: &Tree,
    circuits: &[Headroom],
    sums: &[f64],
    terms: &Terms,
    changes: &mut Vec<Change>,
) -> (Vec<f64>, Vec<f64>) {
    let mut freed = vec![0.0; circuits.len()];
    let mut urgent: Vec<f64> = circuits.iter().map(|circuit| circuit.urgent).collect();
    let full: Vec<bool> = (0..)
        .zip(sums.iter().zip(&urgent))
        .map(|(circuit, (sum, most))| *sum > most.max(0.0) - 2.0 * terms.deadband(circuit))
        .collect();
    let limited = |path: &[usize]| {
        path.iter().any(|above| circuits.get(*above).is_some_and(|circuit| circuit.urgent.is_finite()))
    };
    let used_up = |path: &[usize]| path.iter().any(|above| full.get(*above) == Some(&true));
    for (index, item) in items.iter_mut().enumerate() {
        if !item.unused() || !item.movable || item.level == Level::Sleep {
            continue;
        }
        let path = tree.path(item.circuit);
        if !limited(path) {
            continue;
        }
        item.raisable = false;
        if !item.idle() || !used_up(path) {
            continue;
        }
        let level = match item.fit(item.trimmed()) {
            Level::Sleep => Level::Power(item.minimum()),
            level @ Level::Power(_) => level,
        };
        let less = (item.power_at(item.level) - item.power_at(level)).min(item.slack);
        if less > 0.0 {
            tree.add(&mut freed, CircuitId(item.circuit), less);
            item.slack -= less;
            item.level = level;
            changes.push(Change { item: index, level });
        }
    }
    for (most, freed) in urgent.iter_mut().zip(&freed) {
        *most = (*most + freed).max(0.0);
    }
    (urgent, freed)
}

/// What protects people and wires stands before what was agreed, where nothing else is left to give.
pub(super) fn break_contracts(
    items: &mut [Item<'_>],
    tree: &Tree,
    circuits: &[Headroom],
    freed: &[f64],
    terms: &Terms,
    sums: &mut [f64],
    changes: &mut Vec<Change>,
) {
    if !items.iter().any(|item| item.contract > 0.0 && item.movable) {
        return;
    }
    let safety: Vec<f64> =
        circuits.iter().zip(freed).map(|(circuit, freed)| (circuit.safety + freed).max(0.0)).collect();
    let over: Vec<bool> = sums.iter().zip(&safety).map(|(sum, most)| sum - most > 1e-6).collect();
    let contracts: Vec<f64> = items.iter().map(|item| item.contract).collect();
    for item in items.iter_mut() {
        if tree.path(item.circuit).iter().any(|&above| over.get(above) == Some(&true)) {
            item.contract = 0.0;
        }
    }
    track::shed(items, tree, &safety, sums, true, terms, changes);
    // Nothing else does.
    for (item, contract) in items.iter_mut().zip(contracts) {
        item.contract = contract;
    }
}

/// Members that give power up after the miners and do so at once stand in while others are on their way down: an emergency asks
/// what is drawn now, not what will be, and the notice of a pause, which is given where one is under way, is minutes. They get it back
/// as the others give it up.
pub(super) fn cover(
    items: &mut [Item<'_>],
    tree: &Tree,
    budgets: &[f64],
    pausing: Option<Duration>,
    terms: &Terms,
    changes: &mut Vec<Change>,
) {
    let soon = pausing.map_or(0.0, |notice| notice.as_secs_f64() * SOON).max(QUICK);
    let quick = |item: &Item<'_>| {
        item.movable
            && item.steady
            && item.class != LoadClass::Miner
            && item.dead_time_down <= soon
            && item.level != Level::Sleep
    };
    if !items.iter().any(quick) {
        return;
    }
    // What they were told in this cycle they have done in the next.
    let drawn = |item: &Item<'_>| if quick(item) { item.settled } else { item.counted.max(item.settled) };
    let mut sums = per_circuit(items, tree, budgets.len(), drawn);
    // Nobody is put to sleep for it, and so nobody waits for those who might be.
    let before: Vec<(bool, bool)> = items.iter().map(|item| (item.movable, item.sleeps)).collect();
    for item in items.iter_mut() {
        (item.movable, item.sleeps) = (quick(item), false);
    }
    track::shed(items, tree, budgets, &mut sums, false, terms, changes);
    for (item, before) in items.iter_mut().zip(before) {
        (item.movable, item.sleeps) = before;
    }
}
