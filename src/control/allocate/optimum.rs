//! The best allocation under the budgets of the whole tree, and a proven upper bound on it.
//!
//! Each miner's operating points, sleep included, are replaced by their concave hull. Filling the hulls' segments
//! in order of hashrate per watt is optimal for that relaxation, because the circuits' capacities are nested (a
//! laminar family), so its value bounds every real allocation from above. Rounding down to what the miners can
//! really do leaves some power over, which a local repair uses up: first by raising what still fits, then by
//! solving the few miners around the break exactly ([`super::core`]).

use std::collections::BTreeMap;

use crate::control::allocate::{Item, Level, core, curve};
use crate::control::site::{Actuator, CircuitId, OperatingPoint};
use crate::control::tree::Tree;
use crate::units::{Hashrate, Watts};

/// The most repairs in one run; each is an improvement, so cutting off only leaves a smaller one out.
const MOST_REPAIRS: usize = 96;
/// How many items may be looked at in all repairs together: in a large fleet one more step is worth nothing.
const REPAIR_EFFORT: usize = 100_000;
/// The most items of one kind in a core, and the most items in it.
const CORE_OF_A_KIND: usize = 4;
/// See [`CORE_OF_A_KIND`].
const CORE_SIZE: usize = 24;

/// A piece of a hull.
#[derive(Clone, Copy, Debug)]
struct Segment {
    item: usize,
    watts: f64,
    hashrate: f64,
}

impl Segment {
    fn slope(&self) -> f64 {
        self.hashrate / self.watts
    }
}

/// The hulls of a fleet, sorted; kept from one run to the next while the miners' scales hardly change.
#[derive(Clone, Debug, Default)]
pub struct Hulls {
    segments: Vec<Segment>,
    /// For each item the scale that its segments were made with, and the ends of its hull.
    built: Vec<(f64, f64, f64)>,
}

/// How far a scale may drift before the hulls are made anew.
const SCALE_DRIFT: f64 = 0.005;

impl Hulls {
    /// Makes the hulls of these items, unless they are still good.
    pub fn refresh(&mut self, items: &[Item<'_>]) {
        let good = self.built.len() == items.len()
            && self.built.iter().zip(items).all(|((scale, low, high), item)| {
                (scale / item.scale - 1.0).abs() <= SCALE_DRIFT
                    && (low - item.minimum()).abs() < 1e-9
                    && (high - item.maximum()).abs() < 1e-9
            });
        if good {
            return;
        }
        self.segments.clear();
        self.built.clear();
        let mut corners = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let (low, high) = (item.minimum(), item.maximum());
            let end = |power: f64| OperatingPoint {
                power: Watts::saturating(power),
                hashrate: Hashrate::saturating(curve::hashrate(item.points, power)),
            };
            // The device may accept less than its points: then the ends of its range take the place of those beyond.
            let within = item.points.iter().copied().filter(|point| {
                let power = point.power.get();
                power > low && power < high && item.actuator != Actuator::OnOff
            });
            let stops = std::iter::once(end(low)).chain(within).chain((high > low).then(|| end(high)));
            curve::hull(item.sleep, item.scale, stops, &mut corners);
            for pair in corners.windows(2) {
                if let [from, to] = pair {
                    self.segments.push(Segment {
                        item: index,
                        watts: to.0 - from.0,
                        hashrate: to.1 - from.1,
                    });
                }
            }
            self.built.push((item.scale, low, high));
        }
        // Stable, so that the segments of one miner stay in their order and equals keep the miners' order.
        self.segments.sort_by(|one, other| other.slope().total_cmp(&one.slope()));
    }
}

/// The best allocation found and the bound that it was measured against.
#[derive(Clone, Debug, Default)]
pub struct Optimum {
    /// One for each item; items that cannot be moved keep their level.
    pub levels: Vec<Level>,
    /// Hashrate of the movable items at these levels, in hashes per second.
    pub hashrate: f64,
    /// No allocation under these budgets has more.
    pub bound: f64,
}

impl Optimum {
    /// How far the allocation may be below the optimum, as a fraction of the bound.
    pub fn gap(&self) -> f64 {
        if self.bound > 0.0 { ((self.bound - self.hashrate) / self.bound).max(0.0) } else { 0.0 }
    }
}

/// What each circuit has left when every movable item sleeps.
fn room_asleep(items: &[Item<'_>], tree: &Tree, budgets: &[f64]) -> Vec<f64> {
    let mut room = budgets.to_vec();
    for item in items {
        let held = if item.free() { item.sleep } else { item.counted };
        tree.add(&mut room, CircuitId(item.circuit), -held);
    }
    room
}

/// Solves for these budgets (one for each circuit, infinite where none). `hulls` must be fresh for `items`.
pub fn solve(items: &[Item<'_>], hulls: &Hulls, tree: &Tree, budgets: &[f64]) -> Optimum {
    let asleep = room_asleep(items, tree, budgets);
    let mut room = asleep.clone();
    let mut powers: Vec<f64> = items.iter().map(|item| item.sleep).collect();
    let mut closed = vec![false; items.len()];
    let mut bound = 0.0;
    // Where in the order each circuit ran full: the miners around that place are the ones to look at again.
    let mut tight: Vec<Option<usize>> = vec![None; budgets.len()];
    for (position, segment) in hulls.segments.iter().enumerate() {
        let (Some(item), Some(power), Some(shut)) =
            (items.get(segment.item), powers.get_mut(segment.item), closed.get_mut(segment.item))
        else {
            continue;
        };
        if !item.free() || *shut {
            continue;
        }
        let free = tree.least(&room, item.circuit);
        let taken = if free >= segment.watts { segment.watts } else { free.max(0.0) };
        *shut = taken < segment.watts;
        if *shut {
            let fullest = tree
                .path(item.circuit)
                .iter()
                .filter_map(|&circuit| room.get(circuit).map(|room| (circuit, *room)))
                .min_by(|one, other| one.1.total_cmp(&other.1));
            if let Some(slot) = fullest.and_then(|(circuit, _)| tight.get_mut(circuit)) {
                slot.get_or_insert(position);
            }
        }
        if taken > 0.0 {
            bound += segment.hashrate * (taken / segment.watts);
            *power += taken;
            tree.add(&mut room, CircuitId(item.circuit), -taken);
        }
    }
    let mut room = asleep;
    let mut levels: Vec<Level> = Vec::with_capacity(items.len());
    for (item, power) in items.iter().zip(&powers) {
        let level = if item.free() { item.fit(*power) } else { item.level };
        if item.free() {
            let more = item.power_at(level) - item.sleep;
            tree.add(&mut room, CircuitId(item.circuit), -more);
        }
        levels.push(level);
    }
    fill(items, tree, &mut room, &mut levels);
    for circuit in tree.deepest_first() {
        if let Some(position) = tight.get(circuit).copied().flatten() {
            let core = core(items, hulls, tree, &tight, circuit, position);
            core::improve(items, tree, circuit, &core, &mut room, &mut levels);
        }
    }
    fill(items, tree, &mut room, &mut levels);
    let hashrate = items
        .iter()
        .zip(&levels)
        .filter(|(item, _)| item.free())
        .map(|(item, level)| item.hashrate_at(*level))
        .sum();
    Optimum { levels, hashrate, bound }
}

/// Moves one item and keeps the books.
fn put(items: &[Item<'_>], tree: &Tree, room: &mut [f64], levels: &mut [Level], index: usize, level: Level) {
    let (Some(item), Some(slot)) = (items.get(index), levels.get_mut(index)) else {
        return;
    };
    let more = item.power_at(level) - item.power_at(*slot);
    tree.add(room, CircuitId(item.circuit), -more);
    *slot = level;
}

/// Uses up what is left over by raising whatever brings most in it.
fn fill(items: &[Item<'_>], tree: &Tree, room: &mut [f64], levels: &mut [Level]) {
    let repairs = (REPAIR_EFFORT / items.len().max(1)).clamp(2, MOST_REPAIRS);
    for _ in 0..repairs {
        let mut best: Option<(f64, usize, Level)> = None;
        for (index, (item, level)) in items.iter().zip(levels.iter()).enumerate() {
            if !item.free() || *level == Level::Power(item.maximum()) {
                continue;
            }
            let free = tree.least(room, item.circuit);
            if free <= 0.0 {
                continue;
            }
            let higher = item.fit(item.power_at(*level) + free);
            let gain = item.hashrate_at(higher) - item.hashrate_at(*level);
            if gain > best.map_or(0.0, |(gain, _, _)| gain) {
                best = Some((gain, index, higher));
            }
        }
        let Some((_, index, level)) = best else { return };
        put(items, tree, room, levels, index, level);
    }
}

/// The items around the place where a circuit ran full, a few of each kind.
fn core(
    items: &[Item<'_>],
    hulls: &Hulls,
    tree: &Tree,
    tight: &[Option<usize>],
    circuit: usize,
    position: usize,
) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::with_capacity(CORE_SIZE);
    let mut kinds: BTreeMap<(usize, u64, u64), usize> = BTreeMap::new();
    let (before, after) = hulls.segments.split_at(position.min(hulls.segments.len()));
    let mut before = before.iter().rev();
    let mut after = after.iter();
    // A bounded look to both sides: in a large fleet thousands of miners are alike.
    for _ in 0..CORE_SIZE * 64 {
        let sides = [after.next(), before.next()];
        if chosen.len() >= CORE_SIZE || sides.iter().all(Option::is_none) {
            break;
        }
        for segment in sides.into_iter().flatten() {
            let Some(item) = items.get(segment.item) else {
                continue;
            };
            // Miners below a circuit that ran full itself are bound by that one.
            let full = |circuit: usize| tight.get(circuit).copied().flatten().is_some();
            let bound_by = tree.path(item.circuit).iter().find(|&&above| full(above));
            if !item.free() || bound_by != Some(&circuit) || chosen.contains(&segment.item) {
                continue;
            }
            let kind = (item.circuit, segment.watts.to_bits(), segment.hashrate.to_bits());
            let count = kinds.entry(kind).or_insert(0);
            if *count < CORE_OF_A_KIND && chosen.len() < CORE_SIZE {
                *count += 1;
                chosen.push(segment.item);
            }
        }
    }
    chosen
}
