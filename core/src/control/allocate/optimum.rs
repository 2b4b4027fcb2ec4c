//! The best allocation under the budgets of the whole tree, and a proven upper bound on it.
//!
//! Each miner's operating points, sleep included, are replaced by their concave hull. Filling the hulls' segments
//! in order of hashrate per watt is optimal for that relaxation, because the circuits' capacities are nested (a
//! laminar family), so its value bounds every real allocation from above. Rounding down to what the miners can
//! really do leaves some power over, which a local repair uses up: first by raising what still fits, then by
//! solving the few miners around the break exactly ([`super::core`]).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};

use crate::control::allocate::ranking::Ranking;
use crate::control::allocate::{Item, Level, core, curve};
use crate::control::site::{Actuator, CircuitId, LoadClass, OperatingPoint};
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
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Segment {
    #[serde(default)]
    class: LoadClass,
    item: usize,
    watts: f64,
    hashrate: f64,
    /// Hashrate per watt.
    slope: f64,
}

impl Segment {
    /// Who gives power up last comes first; then steep before flat; equals keep the miners' order. The segments of one miner fall
    /// strictly.
    fn order(&self, other: &Self) -> Ordering {
        self.rank(other).then(self.item.cmp(&other.item))
    }

    /// The same, where equals stand in the miners' order already.
    fn rank(&self, other: &Self) -> Ordering {
        other.class.cmp(&self.class).then(other.slope.total_cmp(&self.slope))
    }
}

/// The hulls of a fleet, sorted; kept from one run to the next while the miners' scales hardly change.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Hulls {
    segments: Vec<Segment>,
    /// For each item the scale that its segments were made with, and the ends of its hull.
    built: Vec<(f64, f64, f64, f64)>,
}

/// How far a scale may drift before the hulls are made anew.
const SCALE_DRIFT: f64 = 0.005;

impl Hulls {
    /// Makes the hulls of these items, unless they are still good.
    pub fn refresh(&mut self, items: &[Item<'_>]) {
        if self.built.len() != items.len() {
            self.segments.clear();
            self.built = vec![(0.0, 0.0, 0.0, 0.0); items.len()];
        }
        let mut stale = vec![false; items.len()];
        let mut fresh: Vec<Segment> = Vec::new();
        let mut corners = Vec::new();
        for (index, ((item, built), stale)) in
            items.iter().zip(self.built.iter_mut()).zip(stale.iter_mut()).enumerate()
        {
            let (low, high) = (item.minimum(), item.maximum());
            // A device may offer other points than before between the same bounds.
            let mark: f64 = item.points.iter().map(|point| point.power.get()).sum();
            let good = (built.0 / item.scale - 1.0).abs() <= SCALE_DRIFT
                && (built.1 - low).abs() < 1e-9
                && (built.2 - high).abs() < 1e-9
                && (built.3 - mark).abs() < 1e-9;
            if good {
                continue;
            }
            *stale = true;
            *built = (item.scale, low, high, mark);
            pieces(item, index, &mut corners, &mut fresh);
        }
        if fresh.is_empty() && !stale.contains(&true) {
            return;
        }
        // Those that are still good are in order: only the new ones have to be put in order and in between.
        // They stand by rising item. In a fleet of few models nearly all slopes are equal to others, which a stable sort makes use of.
        fresh.sort_by(Segment::rank);
        self.segments.retain(|segment| stale.get(segment.item) == Some(&false));
        let mut kept = self.segments.len();
        // From the last on, so that each goes where nobody stands any more.
        self.segments.extend_from_slice(&fresh);
        let mut end = self.segments.len();
        while let Some(new) = fresh.last() {
            let last = kept.checked_sub(1).and_then(|last| self.segments.get(last)).copied();
            let next = match last.filter(|old| old.order(new) == Ordering::Greater) {
                Some(old) => {
                    kept -= 1;
                    Some(old)
                }
                None => fresh.pop(),
            };
            end -= 1;
            if let (Some(slot), Some(next)) = (self.segments.get_mut(end), next) {
                *slot = next;
            }
        }
    }
}

/// The segments of one item's hull.
fn pieces(item: &Item<'_>, index: usize, corners: &mut Vec<curve::Corner>, segments: &mut Vec<Segment>) {
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
    let lowest = (item.least(), item.hashrate_at(item.lowest()));
    curve::hull(lowest, item.scale, stops, corners);
    for pair in corners.windows(2) {
        if let [from, to] = pair {
            let (watts, hashrate) = (to.0 - from.0, to.1 - from.1);
            let slope = hashrate / watts;
            segments.push(Segment { class: item.class, item: index, watts, hashrate, slope });
        }
    }
}

/// What the movable items bring, for each class by itself: hashes per second of miners, and of servers what their points say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worth([f64; LoadClass::ALL.len()]);

impl Worth {
    /// What the items bring that are free, each at a level of its own.
    pub fn of<'i>(items: impl Iterator<Item = (&'i Item<'i>, Level)>) -> Self {
        let mut worth = Self::default();
        for (item, level) in items.filter(|(item, _)| item.free()) {
            worth.add(item.class, item.hashrate_at(level));
        }
        worth
    }

    fn add(&mut self, class: LoadClass, value: f64) {
        if let Some(sum) = self.0.get_mut(class as usize) {
            *sum += value;
        }
    }

    /// All classes together: of use where there is one.
    pub fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// How far this is below a bound, as a fraction of that, in the class where it is furthest.
    pub fn below(&self, bound: &Self) -> f64 {
        let each = self.0.iter().zip(bound.0).filter(|(_, bound)| *bound > 0.0);
        each.map(|(worth, bound)| (bound - worth) / bound).fold(0.0, f64::max)
    }
}

/// The best allocation found and the bound that it was measured against: first for those who give power up last, then with what
/// those leave for the class before them, and so on.
#[derive(Clone, Debug, Default)]
pub struct Optimum {
    /// One for each item; items that cannot be moved keep their level.
    pub levels: Vec<Level>,
    /// What the movable items bring at these levels.
    pub worth: Worth,
    /// No allocation under these budgets brings more.
    pub bound: Worth,
}

impl Optimum {
    /// How far the allocation may be below the optimum, as a fraction of the bound.
    pub fn gap(&self) -> f64 {
        self.worth.below(&self.bound)
    }
}

/// What each circuit has left when every movable item is at its lowest.
fn room_lowest(items: &[Item<'_>], tree: &Tree, budgets: &[f64]) -> Vec<f64> {
    let mut room = budgets.to_vec();
    for item in items {
        let held = if item.free() { item.least() } else { item.counted };
        tree.add(&mut room, CircuitId(item.circuit), -held);
    }
    room
}

/// An item while the hulls are filled: little, so that a large fleet fits the processor's cache.
struct Seat {
    circuit: usize,
    power: f64,
    open: bool,
}

/// Solves for these budgets (one for each circuit, infinite where none). `hulls` must be fresh for `items`.
pub fn solve(items: &[Item<'_>], hulls: &Hulls, tree: &Tree, budgets: &[f64]) -> Optimum {
    relax(items, hulls, tree, budgets).round(items, hulls, tree)
}

/// The optimum of the relaxation: it bounds every allocation, and the best of them lies near it.
pub struct Relaxed {
    /// See [`Optimum::bound`].
    pub bound: Worth,
    seats: Vec<Seat>,
    /// What each circuit has left when every movable item is at its lowest.
    lowest: Vec<f64>,
    /// Where in the order of the segments each circuit ran full.
    tight: Vec<Option<usize>>,
}

/// Fills the hulls up to these budgets. Half of the way of [`solve`], and all of it where only the bound is wanted.
pub fn relax(items: &[Item<'_>], hulls: &Hulls, tree: &Tree, budgets: &[f64]) -> Relaxed {
    let lowest = room_lowest(items, tree, budgets);
    let mut room = lowest.clone();
    let mut seats: Vec<Seat> = items
        .iter()
        .map(|item| Seat { circuit: item.circuit, power: item.least(), open: item.free() })
        .collect();
    let mut bound = Worth::of(items.iter().map(|item| (item, item.lowest())));
    // Where in the order each circuit ran full: the miners around that place are the ones to look at again.
    let mut tight: Vec<Option<usize>> = vec![None; budgets.len()];
    for (position, segment) in hulls.segments.iter().enumerate() {
        let Some(seat) = seats.get_mut(segment.item).filter(|seat| seat.open) else {
            continue;
        };
        let free = tree.least(&room, seat.circuit);
        let taken = if free >= segment.watts { segment.watts } else { free.max(0.0) };
        seat.open = taken >= segment.watts;
        if taken > 0.0 {
            bound.add(segment.class, segment.hashrate * (taken / segment.watts));
            seat.power += taken;
        }
        if !seat.open {
            let fullest = tree
                .path(seat.circuit)
                .iter()
                .filter_map(|&circuit| room.get(circuit).map(|room| (circuit, *room)))
                .min_by(|one, other| one.1.total_cmp(&other.1));
            if let Some(slot) = fullest.and_then(|(circuit, _)| tight.get_mut(circuit)) {
                slot.get_or_insert(position);
            }
        }
        if taken > 0.0 {
            tree.add(&mut room, CircuitId(seat.circuit), -taken);
        }
        // Once the root is full nobody gets anything any more, and no room changes.
        if !seat.open && room.first().is_some_and(|root| *root <= 0.0) {
            let unknown = room.iter().zip(&tight).any(|(room, tight)| *room <= 0.0 && tight.is_none());
            if !unknown {
                break;
            }
        }
    }
    Relaxed { bound, seats, lowest, tight }
}

impl Relaxed {
    /// Rounds down to what the items can really do, and uses up what that leaves. The items and hulls are those that it was
    /// made of.
    pub fn round(self, items: &[Item<'_>], hulls: &Hulls, tree: &Tree) -> Optimum {
        let Self { bound, seats, lowest: mut room, tight } = self;
        let mut levels: Vec<Level> = Vec::with_capacity(items.len());
        for (item, seat) in items.iter().zip(&seats) {
            let level = if item.free() { item.fit(seat.power) } else { item.level };
            if item.free() {
                let more = item.power_at(level) - item.least();
                tree.add(&mut room, CircuitId(item.circuit), -more);
            }
            levels.push(level);
        }
        let mut filling = Filling::new(items, tree, &room, &levels);
        filling.run(items, tree, &mut room, &mut levels);
        let mut carried: f64 = items.iter().zip(&levels).map(|(item, level)| item.power_at(*level)).sum();
        let mut changed: Vec<usize> = Vec::new();
        for circuit in tree.deepest_first() {
            if let Some(position) = tight.get(circuit).copied().flatten() {
                let core = core(items, hulls, tree, &tight, circuit, position);
                core::improve(items, tree, circuit, &core, &mut carried, &mut room, &mut levels);
                changed.extend(core);
            }
        }
        filling.resume(items, tree, &room, &levels, &changed);
        filling.run(items, tree, &mut room, &mut levels);
        let worth = Worth::of(items.iter().zip(levels.iter().copied()));
        Optimum { levels, worth, bound }
    }
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

/// What raising an item as far as it goes would bring. Who gives power up last is first, then the most, of equals the first miner.
#[derive(Clone, Copy)]
struct Lift {
    class: LoadClass,
    gain: f64,
    index: usize,
    /// Where it is raised from and to.
    from: Level,
    level: Level,
    /// The room that this was found for.
    free: f64,
}

impl Ord for Lift {
    fn cmp(&self, other: &Self) -> Ordering {
        let class = self.class.cmp(&other.class);
        class.then(self.gain.total_cmp(&other.gain)).then(other.index.cmp(&self.index))
    }
}

impl PartialOrd for Lift {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Lift {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Lift {}

/// How far an item can be raised in this much room; `None` when that brings nothing.
fn lift(item: &Item<'_>, index: usize, level: Level, free: f64) -> Option<Lift> {
    if !item.free() || free <= 0.0 || level == Level::Power(item.maximum()) {
        return None;
    }
    let higher = item.fit(item.power_at(level) + free);
    if higher == level || item.power_at(higher) - item.power_at(level) > free * (1.0 + 1e-9) + 1e-6 {
        return None;
    }
    let gain = item.hashrate_at(higher) - item.hashrate_at(level);
    (gain > 0.0).then_some(Lift { class: item.class, gain, index, from: level, level: higher, free })
}

/// Uses up what is left over by raising whatever brings most in it.
///
/// Room only shrinks meanwhile, and less room never brings more: what was found earlier is an upper bound, and only
/// the item with the highest one has to be looked at again.
struct Filling {
    /// What was found for the room of the beginning, and how many of them were taken.
    found: Ranking<Lift>,
    taken: usize,
    /// What was found since.
    again: BinaryHeap<Lift>,
    /// What could not be raised any more, and the room that it was looked at for.
    dropped: Vec<(usize, f64)>,
    /// The room of each circuit at the beginning: more was never looked at.
    most: Vec<f64>,
}

impl Filling {
    fn new(items: &[Item<'_>], tree: &Tree, room: &[f64], levels: &[Level]) -> Self {
        let most: Vec<f64> = (0..room.len()).map(|circuit| tree.least(room, circuit)).collect();
        let found: Vec<Lift> = items
            .iter()
            .zip(levels.iter())
            .enumerate()
            .filter_map(|(index, (item, level))| lift(item, index, *level, *most.get(item.circuit)?))
            .collect();
        // The best first.
        let found = Ranking::new(found, |one, other| other.cmp(one));
        Self { found, taken: 0, again: BinaryHeap::new(), dropped: Vec::new(), most }
    }

    /// Takes the best.
    fn pop(&mut self) -> Option<Lift> {
        let found = self.found.get(self.taken);
        if self.again.peek().is_some_and(|again| found.is_none_or(|found| again >= found)) {
            return self.again.pop();
        }
        let found = found.copied();
        self.taken += usize::from(found.is_some());
        found
    }

    /// Fills up, with a bounded number of raises.
    fn run(&mut self, items: &[Item<'_>], tree: &Tree, room: &mut [f64], levels: &mut [Level]) {
        let mut repairs = (REPAIR_EFFORT / items.len().max(1)).clamp(2, MOST_REPAIRS);
        while let Some(best) = self.pop() {
            let Some((item, level)) = items.get(best.index).zip(levels.get(best.index)) else {
                continue;
            };
            if *level != best.from {
                continue;
            }
            let free = tree.least(room, item.circuit);
            if free < best.free {
                match lift(item, best.index, *level, free) {
                    Some(lift) => self.again.push(lift),
                    None => self.dropped.push((best.index, free)),
                }
                continue;
            }
            put(items, tree, room, levels, best.index, best.level);
            let free = tree.least(room, item.circuit);
            match lift(item, best.index, best.level, free) {
                Some(lift) => self.again.push(lift),
                None => self.dropped.push((best.index, free)),
            }
            repairs -= 1;
            if repairs == 0 {
                return;
            }
        }
    }

    /// Takes in that the levels of some items, and with them the room, have changed in between.
    fn resume(&mut self, items: &[Item<'_>], tree: &Tree, room: &[f64], levels: &[Level], changed: &[usize]) {
        let free: Vec<f64> = (0..room.len()).map(|circuit| tree.least(room, circuit)).collect();
        if free.iter().zip(&self.most).any(|(free, most)| free > most) {
            *self = Self::new(items, tree, room, levels);
            return;
        }
        // What was found at the beginning was found for all the room that there was then, and bounds what fits into less.
        let mut again: Vec<usize> = changed.to_vec();
        let room_of = |index: usize| items.get(index).and_then(|item| free.get(item.circuit)).copied();
        let more = |index: usize, known: f64| room_of(index).is_some_and(|free| free > known);
        self.again.retain(|lift| {
            let more = more(lift.index, lift.free);
            again.extend(more.then_some(lift.index));
            !more
        });
        self.dropped.retain(|(index, known)| {
            let more = more(*index, *known);
            again.extend(more.then_some(*index));
            !more
        });
        again.sort_unstable();
        again.dedup();
        for index in again {
            if let (Some(item), Some(level), Some(free)) =
                (items.get(index), levels.get(index), room_of(index))
            {
                self.again.extend(lift(item, index, *level, free));
            }
        }
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
    let class = after.first().map(|segment| segment.class);
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
            // What one class brings is not weighed against another.
            if Some(item.class) != class
                || !item.free()
                || bound_by != Some(&circuit)
                || chosen.contains(&segment.item)
            {
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
