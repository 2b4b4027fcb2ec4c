//! Follows a moving budget with few commands.
//!
//! A shed takes from the miners whose watts are worth least, counting what a change costs and how long the watts
//! take to go; a raise gives to those that make most of them. Where one miner can settle the rest of a deficit,
//! the cheapest such miner does.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::control::allocate::ranking::Ranking;
use crate::control::allocate::{Item, Level};
use crate::control::site::{Actuator, CircuitId, LoadClass};
use crate::control::tree::Tree;
use crate::mix::{GOLDEN, mix};

/// How many seconds of average hashrate per watt a second of delay in shedding is worth: while a watt takes its
/// time to go, the site draws it from the grid.
const DELAY_WEIGHT: f64 = 20.0;
/// The same in an emergency.
const EMERGENCY_WEIGHT: f64 = 1_000.0;
/// How many seconds of its ramp a raise may reserve at the least, and the share of its maximum that it always may.
const RISE: (f64, f64) = (15.0, 0.03);
/// And when what they have left so far is worth this part of what sleeping and coming back costs.
const START_COST: f64 = 0.08;
/// A miner is woken when those that run leave this share of what it needs at least.
const LEFT_OVER: f64 = 0.2;
/// How often the cheapest single finisher is searched for in one circuit.
const MOST_FINISHES: usize = 8;
/// By this share of the time that an emergency must take it may take longer, so that a small one does not move everybody.
const HURRY: f64 = 0.05;
/// How often the time that an emergency must take is halved until it is known.
const HALVINGS: u32 = 10;

/// A change of one item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Which item.
    pub item: usize,
    /// Where it is put.
    pub level: Level,
}

/// What the tracking needs to know beside the items.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Over how many seconds a change must pay.
    pub horizon: f64,
    /// The same for waking a miner to have the same power bring more: for as long as none had to be put to sleep.
    pub calm: f64,
    /// For each circuit, watts below which a raise there is not worth a command.
    pub deadbands: Vec<f64>,
    /// An order says that it is an emergency: what is quick is shed first, whatever hashrate that costs.
    pub emergency: bool,
    /// Decides between equals which is raised first, so that it is not always the same ones that wake.
    pub lot: u64,
}

impl Terms {
    /// Watts below which a raise in a circuit is not worth a command.
    pub fn deadband(&self, circuit: usize) -> f64 {
        self.deadbands.get(circuit).copied().unwrap_or(0.0)
    }
}

/// A number for an item that looks random and is the same for the same lot.
fn draw(lot: u64, index: usize) -> u64 {
    mix(lot.wrapping_add(u64::try_from(index).unwrap_or(0)).wrapping_mul(GOLDEN))
}

/// A way to lower one item.
#[derive(Clone, Copy)]
struct Lowering {
    item: usize,
    level: Level,
    watts: f64,
    cost: f64,
    /// What it costs at the least, however few watts it frees.
    least: f64,
}

impl Lowering {
    fn score(&self) -> f64 {
        self.cost / self.watts
    }
}

/// A way to lower with its score and its place before sorting, which decides between equals.
type Ranked = (f64, usize, Lowering);

/// Ways to lower, the cheapest for each watt first.
fn ranking(options: Vec<Lowering>) -> Ranking<Ranked> {
    let ranked = options.into_iter().enumerate().map(|(place, option)| (option.score(), place, option));
    Ranking::new(ranked.collect(), |one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)))
}

/// Sums over circuits of what the items are committed to: settled draw, or what must be counted for those that
/// cannot be moved.
pub fn committed(items: &[Item<'_>], tree: &Tree, circuits: usize) -> Vec<f64> {
    sums(items, tree, circuits, |item| if item.movable { item.settled } else { item.counted })
}

/// Sums over circuits of what the items may draw until their commands have acted: what a raise must leave free.
pub fn in_flight(items: &[Item<'_>], tree: &Tree, circuits: usize) -> Vec<f64> {
    sums(items, tree, circuits, |item| item.counted.max(item.settled))
}

fn sums(items: &[Item<'_>], tree: &Tree, circuits: usize, value: impl Fn(&Item<'_>) -> f64) -> Vec<f64> {
    let mut own = vec![0.0; circuits];
    for item in items {
        if let Some(sum) = own.get_mut(item.circuit) {
            *sum += value(item);
        }
    }
    let mut total = vec![0.0; circuits];
    for (circuit, value) in own.into_iter().enumerate() {
        tree.add(&mut total, CircuitId(circuit), value);
    }
    total
}

/// The cost of lowering an item to a level, in hashes, and the watts that it frees; `None` when it frees none.
fn lowering(item: &Item<'_>, index: usize, level: Level, terms: &Terms) -> Option<Lowering> {
    let watts = item.settled - item.power_at(level);
    // What cannot be set apart is the same.
    let same = match (item.level, level, item.actuator) {
        (Level::Power(from), Level::Power(to), Actuator::Continuous { quantum }) => {
            from - to < quantum.get() * 0.5
        }
        (from, to, _) => from == to,
    };
    if watts <= 0.0 || same {
        return None;
    }
    let lost = (item.hashrate_at(item.level) - item.hashrate_at(level)).max(0.0) * terms.horizon;
    let seconds = match level {
        Level::Sleep => item.sleep_cost,
        Level::Power(_) => item.adjust_cost,
    };
    let full = item.full_hashrate();
    let top = item.maximum() * item.scale;
    let average = if top > 0.0 { full / top } else { 0.0 };
    // Only what is drawn already has to be waited for; a raise that is still under way is called off at once.
    let drawn = (item.drawn - item.power_at(level)).clamp(0.0, watts);
    let weight = if terms.emergency { EMERGENCY_WEIGHT } else { DELAY_WEIGHT };
    let delay = if drawn > 0.0 { item.time_down(drawn) * weight * average * drawn } else { 0.0 };
    // One that is starting has cost its start already, and would cost it again.
    let begun = if item.steady { 1.0 } else { 2.0 };
    let least = seconds * full * begun;
    // What is kept for a start is soon free again: a watt of it is worth less than one that stays.
    let lasting = (item.power_at(item.level) - item.power_at(level)).max(1.0);
    let cost = (lost + least + delay) * (watts / lasting).max(1.0) * item.wary;
    Some(Lowering { item: index, level, watts, cost, least })
}

/// Lowers items until no circuit is above its budget, or everything is as low as it goes: asleep where that is allowed and
/// they sleep, at its minimum else. Whoever gives power up first has given all of it before anybody of the next class is lowered:
/// while somebody may still be put to sleep, and is not yet, those wait. `items` and `sums` (see [`committed`]) are brought up to date.
pub fn shed(
    items: &mut [Item<'_>],
    tree: &Tree,
    budgets: &[f64],
    sums: &mut [f64],
    sleep: bool,
    terms: &Terms,
    changes: &mut Vec<Change>,
) {
    let mut members: Vec<Vec<usize>> = Vec::new();
    for circuit in tree.deepest_first() {
        if over(circuit, budgets, sums) <= 0.0 {
            continue;
        }
        if members.is_empty() {
            members.resize(budgets.len(), Vec::new());
            for (index, item) in items.iter().enumerate() {
                if let Some(members) = members.get_mut(item.circuit) {
                    members.push(index);
                }
            }
        }
        let mut below: Vec<usize> = Vec::new();
        for (own, members) in members.iter().enumerate() {
            if tree.path(own).contains(&circuit) {
                below.extend(members);
            }
        }
        below.sort_unstable();
        for class in LoadClass::ALL {
            let of = |index: &&usize| items.get(**index).is_some_and(|item| item.class == class);
            let these: Vec<usize> = below.iter().filter(of).copied().collect();
            shed_circuit(items, tree, circuit, &these, budgets, sums, sleep, terms, changes);
            let gives = |index: &usize| items.get(*index).is_some_and(Item::may_sleep);
            if over(circuit, budgets, sums) <= 0.0 || (!sleep && these.iter().any(gives)) {
                break;
            }
        }
    }
}

/// How far a circuit is above its budget. A microwatt is rounding, not power.
fn over(circuit: usize, budgets: &[f64], sums: &[f64]) -> f64 {
    match (budgets.get(circuit), sums.get(circuit)) {
        (Some(budget), Some(sum)) if budget.is_finite() => {
            let over = sum - budget;
            if over > 1e-6 { over } else { 0.0 }
        }
        _ => 0.0,
    }
}

/// `below` are the items of the circuit and of those below it.
#[expect(clippy::too_many_arguments, reason = "the books of one pass, kept by the caller")]
fn shed_circuit(
    items: &mut [Item<'_>],
    tree: &Tree,
    circuit: usize,
    below: &[usize],
    budgets: &[f64],
    sums: &mut [f64],
    sleep: bool,
    terms: &Terms,
    changes: &mut Vec<Change>,
) {
    // In an emergency those that do not sleep all go down together: one that went all of its way alone would be down last.
    if terms.emergency {
        let deficit = over(circuit, budgets, sums);
        let within = soonest(items, below, deficit) * (1.0 + HURRY);
        if within.is_finite() {
            let options = lowerings(items, below, within, false, terms);
            lower(items, tree, circuit, options, budgets, sums, terms, changes);
        }
    }
    let options = lowerings(items, below, f64::INFINITY, sleep, terms);
    lower(items, tree, circuit, options, budgets, sums, terms, changes);
}

/// The seconds in which these, all lowered at once, come down by so many watts; infinite where they cannot, and where miners are
/// among them, of which a few that sleep are as quick.
fn soonest(items: &[Item<'_>], below: &[usize], deficit: f64) -> f64 {
    let each = || below.iter().filter_map(|&index| items.get(index)).filter(|item| item.movable);
    if each().any(|item| item.class == LoadClass::Miner) {
        return f64::INFINITY;
    }
    let runs = || each().filter(|item| item.steady && item.level != Level::Sleep);
    let gives =
        |seconds: f64| -> f64 { runs().map(|item| (item.settled - item.down_in(seconds)).max(0.0)).sum() };
    let least = |item: &Item<'_>| item.power_at(Level::Power(item.minimum()));
    let mut longest =
        runs().map(|item| item.time_down((item.drawn - least(item)).max(0.0))).fold(0.0, f64::max);
    if gives(longest) < deficit {
        return f64::INFINITY;
    }
    let mut shortest = 0.0;
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(shortest, longest);
        if gives(middle) < deficit { shortest = middle } else { longest = middle }
    }
    longest
}

/// The ways to lower these, none further than it comes in so many seconds.
fn lowerings(items: &[Item<'_>], below: &[usize], within: f64, sleep: bool, terms: &Terms) -> Vec<Lowering> {
    let mut options: Vec<Lowering> = Vec::with_capacity(2 * below.len());
    for &index in below {
        let Some(item) = items.get(index).filter(|item| item.movable && item.level != Level::Sleep) else {
            continue;
        };
        if item.steady {
            let minimum = Level::Power(item.minimum());
            let level = if within.is_finite() { item.fit(item.down_in(within)) } else { minimum };
            let level = if level == Level::Sleep { minimum } else { level };
            options.extend(lowering(item, index, level, terms));
        }
        if sleep && item.sleeps {
            options.extend(lowering(item, index, Level::Sleep, terms));
        }
    }
    options
}

/// Lowers items of a circuit by these ways until it is no more above its budget, the cheapest first.
#[expect(clippy::too_many_arguments, reason = "the books of one pass, kept by the caller")]
fn lower(
    items: &mut [Item<'_>],
    tree: &Tree,
    circuit: usize,
    options: Vec<Lowering>,
    budgets: &[f64],
    sums: &mut [f64],
    terms: &Terms,
    changes: &mut Vec<Change>,
) {
    let largest = options.iter().map(|option| option.watts).fold(0.0, f64::max);
    let mut finishes = 0;
    let mut options = ranking(options);
    let mut next = 0;
    loop {
        let deficit = over(circuit, budgets, sums);
        if deficit <= 0.0 {
            return;
        }
        if deficit <= largest && finishes < MOST_FINISHES {
            finishes += 1;
            let in_order = cost_in_order(items, &mut options, next, deficit, terms);
            if let Some(change) = finisher(items, &options, deficit, terms, in_order) {
                carry_out(items, tree, sums, change, changes);
                continue;
            }
        }
        let Some((.., option)) = options.get(next) else { return };
        next += 1;
        let Some(item) = items.get(option.item) else {
            continue;
        };
        // An earlier option may have lowered it already.
        if item.settled <= item.power_at(option.level) {
            continue;
        }
        carry_out(items, tree, sums, Change { item: option.item, level: option.level }, changes);
    }
}

/// What it costs to end a deficit with the options in order, from this rank on.
fn cost_in_order(
    items: &[Item<'_>],
    options: &mut Ranking<Ranked>,
    mut rank: usize,
    deficit: f64,
    terms: &Terms,
) -> f64 {
    let (mut watts, mut cost) = (0.0, 0.0);
    while let Some((.., option)) = options.get(rank) {
        rank += 1;
        // What is left to do of it: an earlier option may have lowered the item already.
        let left = items.get(option.item).and_then(|item| lowering(item, option.item, option.level, terms));
        if let Some(left) = left {
            watts += left.watts;
            cost += left.cost;
        }
        if watts >= deficit {
            return cost;
        }
    }
    f64::INFINITY
}

/// The cheapest single change that ends a deficit, where that costs less than `most`; of equals the one that is
/// cheapest per watt.
fn finisher(
    items: &[Item<'_>],
    options: &Ranking<Ranked>,
    deficit: f64,
    terms: &Terms,
    most: f64,
) -> Option<Change> {
    let mut best: Option<(f64, f64, usize, Change)> = None;
    for (score, place, option) in options.all() {
        // Not enough even when it was found, or already dearer than what there is.
        let bound = best.map_or(most, |(least, ..)| least);
        if option.watts < deficit || option.least > bound {
            continue;
        }
        let Some(item) = items.get(option.item) else {
            continue;
        };
        if item.level == Level::Sleep {
            continue;
        }
        let level = match (option.level, item.fit(item.settled - deficit)) {
            (Level::Sleep, _) => Level::Sleep,
            (Level::Power(_), Level::Sleep) => continue,
            (Level::Power(_), level) => level,
        };
        let Some(cost) = lowering(item, option.item, level, terms).filter(|cost| cost.watts >= deficit)
        else {
            continue;
        };
        let better = match best {
            None => cost.cost < most,
            Some((least, rated, earlier, _)) => {
                cost.cost.total_cmp(&least).then(score.total_cmp(&rated)).then(place.cmp(&earlier)).is_lt()
            }
        };
        if better {
            best = Some((cost.cost, *score, *place, Change { item: option.item, level }));
        }
    }
    best.map(|(.., change)| change)
}

fn carry_out(
    items: &mut [Item<'_>],
    tree: &Tree,
    sums: &mut [f64],
    change: Change,
    changes: &mut Vec<Change>,
) {
    let Some(item) = items.get_mut(change.item) else {
        return;
    };
    let before = item.settled;
    item.level = change.level;
    item.settled = item.power_at(change.level);
    tree.add(sums, CircuitId(item.circuit), item.settled - before);
    changes.push(change);
}

/// Raises items that run into the room that is free everywhere above them: up to `budgets` now, on the way to `goals`. `sums` is that
/// of [`in_flight`]; `favoured` items come first in their class, and go no further than the level that they are favoured to.
pub fn raise(
    items: &mut [Item<'_>],
    tree: &Tree,
    (budgets, goals): (&[f64], &[f64]),
    sums: &mut [f64],
    favoured: &[Option<Level>],
    terms: &Terms,
    changes: &mut Vec<Change>,
) {
    let left = |of: &[f64]| of.iter().zip(sums.iter()).map(|(of, sum)| of - sum).collect::<Vec<f64>>();
    let (mut room, whole) = (left(budgets), left(goals));
    let mut options: Vec<((LoadClass, bool), f64, usize)> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if !item.movable || !item.raisable || item.level == Level::Sleep {
            continue;
        }
        let free = tree.least(&room, item.circuit);
        if free < terms.deadband(item.circuit) {
            continue;
        }
        let favour = favoured.get(index).copied().flatten();
        let headed = goal(item, free, favour, false);
        let watts = item.power_at(headed) - item.settled;
        let gain = item.hashrate_at(headed) - item.hashrate_at(item.level);
        // Until it has come up, the power that is kept for it brings nothing.
        let lasts = (terms.horizon - item.time_up(watts)).max(0.0);
        // A step of a long way up costs its part of that: else one that may go in small steps only would stay where each of them is too
        // small to pay.
        let top = goal(item, tree.least(&whole, item.circuit), favour, false);
        let part = (watts / (item.power_at(top) - item.settled).max(watts)).clamp(0.0, 1.0);
        let worth = gain * lasts - item.adjust_cost * item.full_hashrate() * part;
        if watts > 0.0 && worth > 0.0 {
            options.push(((item.class, favour.is_some()), worth / watts, index));
        }
    }
    // Who gives power up last gets it first. Equals keep their order, so that the same few follow the sun.
    options.sort_by(|one, other| {
        other.0.cmp(&one.0).then(other.1.total_cmp(&one.1)).then_with(|| one.2.cmp(&other.2))
    });
    // First what can be used soon; then, with what the quick ones leave over, the long climbs of the slow ones.
    for soon in [true, false] {
        for (_, _, index) in &options {
            // Every item hangs below the root: nobody gets anything any more.
            if room.first().is_some_and(|free| *free <= 0.0) {
                return;
            }
            let favour = favoured.get(*index).copied().flatten();
            let Some((level, more)) =
                items.get(*index).and_then(|item| lift(item, tree, &room, favour, soon, terms))
            else {
                continue;
            };
            let Some(item) = items.get_mut(*index) else { continue };
            tree.add(&mut room, CircuitId(item.circuit), -more);
            tree.add(sums, CircuitId(item.circuit), more);
            item.counted = item.counted.max(item.settled) + more;
            item.level = level;
            item.settled = item.power_at(level);
            changes.push(Change { item: *index, level });
        }
    }
}

/// What waking goes by, one value for each circuit, in true watts.
pub struct Wakes {
    /// What has been there for miners for as long as a start takes, but for short dips.
    pub sustained: Vec<f64>,
    /// What has been there in the same time on the mean: what one more is worth goes by that, and short dips cost little of it.
    pub usual: Vec<f64>,
    /// What those that run or start do not leave to whoever of a class is woken now, for each class of those that sleep: what they
    /// cannot be kept from drawing ([`Item::base`]), and all that is drawn by whoever makes no room for that class.
    pub bases: BTreeMap<LoadClass, Vec<f64>>,
    /// What those that run or start take of it, all budgets considered: soon, where it is surplus, and else at last.
    pub taken: Vec<f64>,
    /// How much may be started in this cycle.
    pub pace: Vec<f64>,
    /// What those that run could not take of late, in watt-seconds.
    pub left_over: Vec<f64>,
}

impl Wakes {
    /// What those that run or start do not leave to an item in a circuit.
    pub fn base(&self, item: &Item<'_>, circuit: usize) -> f64 {
        self.bases.get(&item.class).and_then(|bases| bases.get(circuit)).copied().unwrap_or(0.0)
    }
}

/// Whose turn it is to be woken: by class, whether it is favoured, what it brings for each watt, and by lot.
type Turn = ((LoadClass, bool), f64, u64, usize);

fn turn(item: &Item<'_>, index: usize, favoured: &[Option<Level>], terms: &Terms) -> Option<Turn> {
    let favour = favoured.get(index).copied().flatten().is_some();
    let best = item.best();
    let watts = item.power_at(best) - item.sleep;
    (watts > 0.0)
        .then(|| ((item.class, favour), item.hashrate_at(best) / watts, draw(terms.lot, index), index))
}

fn in_turn(one: &Turn, other: &Turn) -> Ordering {
    let first = other.0.cmp(&one.0).then(other.1.total_cmp(&one.1));
    first.then(one.2.cmp(&other.2)).then(one.3.cmp(&other.3))
}

/// Who is woken first of those of whom this holds.
pub fn first(
    items: &[Item<'_>],
    favoured: &[Option<Level>],
    terms: &Terms,
    of: impl Fn(&Item<'_>) -> bool,
) -> Option<usize> {
    let each = items.iter().enumerate().filter(|(_, item)| item.level == Level::Sleep && of(item));
    let turns = each.filter_map(|(index, item)| turn(item, index, favoured, terms));
    turns.min_by(in_turn).map(|(.., index)| index)
}

/// What an item takes at its lowest beyond what it draws asleep.
fn least(item: &Item<'_>) -> f64 {
    item.power_at(Level::Power(item.minimum())) - item.sleep
}

/// Whether those that run or start take what has usually been there in a circuit above an item, but for too little to wake it.
pub fn is_taken(item: &Item<'_>, circuit: usize, wakes: &Wakes) -> bool {
    let value = |list: &[f64]| list.get(circuit).copied().unwrap_or(0.0);
    value(&wakes.taken) + least(item) * LEFT_OVER > value(&wakes.usual)
}

/// Wakes items where there has been enough for as long as a start takes, and those that run do not take it.
///
/// What a start needs must not be free already: those that run make room for it when it comes.
pub fn wake(
    items: &mut [Item<'_>],
    tree: &Tree,
    wakes: &mut Wakes,
    favoured: &[Option<Level>],
    terms: &Terms,
    changes: &mut Vec<Change>,
) {
    let mut options: Vec<Turn> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if item.level != Level::Sleep || !item.movable || !item.wakeable {
            continue;
        }
        let favour = favoured.get(index).copied().flatten().is_some();
        // Where there is no room at all nobody fits, and a start only takes of it.
        let none = tree.path(item.circuit).iter().any(|&circuit| {
            let value = |list: &[f64]| list.get(circuit).copied().unwrap_or(0.0);
            wakes.base(item, circuit) > value(&wakes.sustained)
                || (!favour && value(&wakes.taken) > value(&wakes.usual))
                || value(&wakes.pace) <= 0.0
        });
        if none {
            continue;
        }
        options.extend(turn(item, index, favoured, terms));
    }
    options.sort_by(in_turn);
    // Where there is too little for paused work, what there is stays there for it: no miner is woken with that.
    let mut kept = vec![false; wakes.sustained.len()];
    for ((class, favour), _, _, index) in options {
        let Some(item) = items.get_mut(index) else { continue };
        let path = tree.path(item.circuit);
        if class == LoadClass::Miner
            && !favour
            && path.iter().any(|&circuit| kept.get(circuit) == Some(&true))
        {
            continue;
        }
        // As low as it runs well: the rest can be added within seconds once it is there.
        let level = item.best();
        let start = item.start_draw(level) - item.sleep;
        let least = least(item);
        let top = item.power_at(Level::Power(item.maximum())) - item.sleep;
        let worth = least * item.sleep_cost * START_COST;
        let fits = |circuit: usize| {
            let value = |list: &[f64]| list.get(circuit).copied().unwrap_or(0.0);
            wakes.base(item, circuit) + start <= value(&wakes.sustained)
                && (favour || (!is_taken(item, circuit, wakes) && value(&wakes.left_over) >= worth))
                && value(&wakes.pace) > 0.0
        };
        if !path.iter().all(|&circuit| fits(circuit)) {
            if class != LoadClass::Miner {
                for &circuit in path.iter().filter(|&&circuit| !fits(circuit)) {
                    kept.get_mut(circuit).into_iter().for_each(|kept| *kept = true);
                }
            }
            continue;
        }
        for bases in wakes.bases.values_mut() {
            tree.add(bases, CircuitId(item.circuit), start);
        }
        tree.add(&mut wakes.taken, CircuitId(item.circuit), top);
        tree.add(&mut wakes.pace, CircuitId(item.circuit), -start);
        tree.add(&mut wakes.left_over, CircuitId(item.circuit), -worth);
        item.counted = item.counted.max(item.settled);
        item.level = level;
        item.settled = item.drawn;
        changes.push(Change { item: index, level });
    }
}

/// The level to which an item that runs can be raised in the room that there is, and what that takes out of it.
fn lift(
    item: &Item<'_>,
    tree: &Tree,
    room: &[f64],
    favour: Option<Level>,
    soon: bool,
    terms: &Terms,
) -> Option<(Level, f64)> {
    let free = tree.least(room, item.circuit);
    let deadband = terms.deadband(item.circuit);
    if free < deadband {
        return None;
    }
    let level = goal(item, free, favour, soon);
    let after = item.power_at(level);
    // What is in flight downwards is counted already and not to be counted off twice.
    let more = (after - item.counted.max(item.settled)).max(0.0);
    // The last bit up to its maximum is worth a command, if not a tiny one.
    let least = if level == Level::Power(item.maximum()) { deadband * 0.1 } else { deadband };
    // One that draws less than it was told to would be lowered by what fits.
    let rises = after > item.power_at(item.level);
    (rises && after - item.settled >= least.min(after * 0.1) && more <= free).then_some((level, more))
}

/// How far an item that runs may go up in this much room.
fn goal(item: &Item<'_>, free: f64, favour: Option<Level>, soon: bool) -> Level {
    let held = item.counted.max(item.settled);
    let mut power = held + free;
    if soon {
        // A slow miner keeps power from the others until it has come up, so it gets no more than it can use soon. That is what it can
        // use until it may be raised again: a little for each of many would leave nobody for what comes next.
        let soon = item.ramp_up * RISE.0.max(item.rest);
        power = power.min(held + soon.max(item.maximum() * item.scale * RISE.1));
    }
    // Where it is favoured to no more than it has, the favour is used up.
    if let Some(most) = favour.map(|level| item.power_at(level)).filter(|most| *most > item.settled) {
        power = power.min(most);
    }
    match item.fit(power) {
        Level::Sleep => item.level,
        level => level,
    }
}
