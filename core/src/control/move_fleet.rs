//! From what each circuit leaves to its miners to who is told what.

use std::sync::Arc;
use std::time::Duration;

use crate::control::allocate::track::{self, Change, Terms, Wakes};
use crate::control::allocate::{Item, Level, optimum, rebalance};
use crate::control::commands;
use crate::control::decision::{Cause, MinerState, Waiting};
use crate::control::headroom::{Headroom, above, endangered, stopped};
use crate::control::response::Track;
use crate::control::site::{Actuator, CircuitId, LoadClass, OperatingPoint, Site};
use crate::control::snapshot::{Activity, Hold, Target};
use crate::control::state::State;
use crate::control::step::Inputs;
use crate::control::tree::Tree;
use crate::moment::Moment;
use crate::units::Watts;

mod servers;
mod waiting;

use servers::{break_contracts, cover, trim};
use waiting::{bases, taken, waiting};

/// Share of the fleet's nameplate that one rebalancing may move.
const REBALANCE_SHARE: f64 = 0.05;
/// A gain in hashrate below this fraction is not worth looking for.
const GAP_WORTH_MOVING: f64 = 0.002;
/// For how many seconds the same of several equals are raised first.
const LOT: u64 = 3_600;
/// Below this share of the nameplates a raise is not worth a command.
const DEADBAND: f64 = 0.003;
/// How much dearer it counts to lower a miner that has never been seen to follow.
const UNPROVEN: f64 = 2.0;
/// A lack of this share of the nameplates is nothing out of the ordinary.
const ORDINARY: f64 = 0.1;
/// Of the deadband, and of what is kept free, the part that may be used before anybody is lowered.
const SLACK: f64 = 0.5;
/// Of the half of the time that a start takes, the part in which there may have been less.
const DIPS: f64 = 0.05;
/// What has been there for less than this has not been there for long enough to wake anybody.
const WATCHED: Duration = Duration::from_secs(10);
/// The longest time over which waking a miner for a better distribution may pay.
const LONGEST_CALM: Duration = Duration::from_secs(7_200);
/// What is left of the surplus is worth telling beyond this share of the nameplates, once it has lasted.
const LEFT: f64 = 0.05;

/// The cycle.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) now: Moment,
    pub(super) since_last: Duration,
    pub(super) emergency: bool,
    /// The longest notice of a server that has been told to pause and has not yet: others stand in meanwhile.
    pub(super) pausing: Option<Duration>,
    /// Whether anybody may be raised, woken or told again to draw more.
    pub(super) raises: bool,
}

/// What became of it.
pub(super) struct Moved {
    /// Who is told what, and why.
    pub(super) orders: Vec<(usize, Target, Cause)>,
    /// Per circuit, what its miners are committed to.
    pub(super) sums: Vec<f64>,
    /// Per circuit, what they might use now.
    pub(super) allowed: Vec<f64>,
    /// What the miners could take and do not, in watts.
    pub(super) left: f64,
    /// The next one that would be woken, and what it waits for.
    pub(super) waiting: Option<Waiting>,
}

impl Moved {
    /// Nothing is moved in this cycle.
    pub(super) fn still(items: &[Item<'_>], tree: &Tree, circuits: &[Headroom]) -> Self {
        Self {
            orders: Vec::new(),
            sums: track::committed(items, tree, circuits.len()),
            allowed: circuits.iter().map(|circuit| circuit.headroom.max(0.0)).collect(),
            left: 0.0,
            waiting: None,
        }
    }
}

fn level(target: Option<Target>) -> Level {
    match target {
        Some(Target::Power(power)) => Level::Power(power.get()),
        Some(Target::Sleep) | None => Level::Sleep,
    }
}

pub(super) fn target(level: Level) -> Target {
    match level {
        Level::Sleep => Target::Sleep,
        Level::Power(power) => Target::Power(Watts::saturating(power)),
    }
}

/// For each circuit, what the miners directly on it come to, in true watts but for what they draw asleep.
pub(super) struct Sums {
    /// Asleep, in their own watts.
    pub(super) asleep: Vec<f64>,
    /// As they are estimated to draw now.
    pub(super) drawn: Vec<f64>,
    /// At their highest.
    pub(super) most: Vec<f64>,
    /// What is counted for them though nothing says that it is drawn.
    pub(super) unseen: Vec<f64>,
    /// What of servers is counted beyond their draw because they drew it lately.
    pub(super) swing: Vec<f64>,
}

impl Sums {
    fn add(&mut self, circuit: usize, values: [f64; 5]) {
        let each = [&mut self.asleep, &mut self.drawn, &mut self.most, &mut self.unseen, &mut self.swing];
        for (sums, value) in each.into_iter().zip(values) {
            if let Some(sum) = sums.get_mut(circuit) {
                *sum += value;
            }
        }
    }
}

/// The miners as the allocation sees them, and what they come to.
pub(super) fn items<'a>(
    site: &'a Site,
    state: &State,
    offered: &'a [Option<Arc<[OperatingPoint]>>],
    scales: &[f64],
    now: Moment,
) -> (Vec<Item<'a>>, Sums) {
    let settings = &site.settings;
    let none = vec![0.0; site.circuits.len()];
    let mut sums = Sums {
        asleep: none.clone(),
        drawn: none.clone(),
        most: none.clone(),
        unseen: none.clone(),
        swing: none,
    };
    let items = site
        .miners
        .iter()
        .zip(&state.tracks)
        .zip(offered)
        .map(|((miner, track), offered)| {
            let gain = scales.get(miner.circuit.0).copied().unwrap_or(1.0);
            let actuator = track.actuator(miner);
            let lowerable = track.lowerable(miner);
            let movable = (track.movable() || lowerable) && actuator != Actuator::Fixed;
            let kept = track.hold == Some(Hold::Asleep);
            let starting = track.state == MinerState::Starting;
            let stopped = track.stopped(miner);
            let steady = !starting && !track.restarted && !stopped;
            let quiet = starting && track.quiet_start(miner, now);
            let settled = track.settled(miner, track.setpoint);
            // What starts is counted at what it draws until it is about to draw more, what started by itself at the most
            // that it may, what has a fault at what it draws: others use what it leaves.
            let expected = track.expected_draw(miner, now);
            let unseen = track.unseen(miner, expected, now);
            let counted = track.counted - unseen;
            let asleep = track.sleep(miner);
            let drawn = track.draw * gain;
            let most = track.settled(miner, Some(Target::Power(miner.maximum()))) * gain;
            let stays = if track.dead {
                0.0
            } else if track.state == MinerState::Unreachable {
                counted
            } else if quiet || stopped {
                track.draw
            } else if track.restarted {
                settled.max(track.counted)
            } else if starting {
                track.start_draw(miner).max(track.draw)
            } else if track.is_late(miner) || lowerable {
                settled.max(track.draw)
            } else {
                track.held(miner).min(expected)
            };
            let swing = if expected.is_finite() { (stays - track.draw).max(0.0) } else { 0.0 };
            sums.add(miner.circuit.0, [asleep, drawn, most, unseen * gain, swing * gain]);
            let points = offered.as_deref().unwrap_or(&miner.points);
            // How long one slept that nobody here put to sleep is not known, and no reason to wait.
            let rested = track
                .asleep_since
                .is_some_and(|since| since == Moment::START || now - since >= settings.min_sleep);
            let unhurried = track.raised_at.is_none_or(|raised| now - raised >= miner.cost.min_interval);
            let calm = now >= track.retry_at;
            // A pause that has not begun is called off as soon as nobody needs it.
            let pausing = track.is_pausing(miner) && track.state == MinerState::Hashing;
            let could_wake = movable && !kept && (track.state == MinerState::Asleep || pausing) && calm;
            let rested = rested || pausing;
            let mut item = Item {
                circuit: miner.circuit.0,
                points,
                class: miner.class,
                sleeps: miner.sleeps,
                // What was agreed holds for the draw and for the cap under which the work sees itself, whatever was learned of the two.
                contract: miner
                    .contract
                    .map_or(0.0, |contract| contract.get() / track.settling.scale().min(1.0)),
                sleep: asleep * gain,
                scale: track.settling.scale() * gain,
                floor: track.settling.floor().unwrap_or(0.0) * gain,
                base: 0.0,
                actuator,
                range: track.range.unwrap_or((0.0, f64::INFINITY)),
                level: level(track.setpoint),
                settled: stays * gain,
                drawn,
                counted: counted * gain,
                slack: if miner.class != LoadClass::Miner && steady { unseen * gain } else { 0.0 },
                movable,
                steady,
                held: kept,
                raisable: movable
                    && !kept
                    && (track.state == MinerState::Hashing || (track.state == MinerState::Fault && !stopped))
                    && unhurried
                    && calm
                    && !track.restarted,
                wakeable: could_wake && rested && unhurried,
                resting: could_wake && !(rested && unhurried),
                adjust_cost: miner.cost.adjust.as_secs_f64(),
                sleep_cost: miner.cost.sleep.as_secs_f64(),
                wary: if track.proven { 1.0 } else { UNPROVEN },
                dead_time_down: miner.response.dead_time_down.as_secs_f64() * track.pace,
                ramp_down: miner.response.ramp_down.get() / track.pace,
                dead_time_up: (
                    track.start.unwrap_or(miner.response.start_time.as_secs_f64()),
                    miner.response.dead_time_up.as_secs_f64() * track.pace,
                ),
                ramp_up: miner.response.ramp_up.get() / track.pace,
                rest: miner.cost.min_interval.as_secs_f64(),
                overshoot: miner.response.start_overshoot,
                starts_at_full: miner.response.starts_at_full,
            };
            item.base = match (movable, item.level) {
                (false, _) => item.counted,
                (true, Level::Sleep) => item.least().max(item.settled),
                (true, Level::Power(_)) if starting && !track.starts_before(miner, now) => {
                    track.start_draw(miner) * gain
                }
                (true, Level::Power(_)) if stopped => item.settled,
                (true, Level::Power(_)) => item.power_at(Level::Power(item.minimum())),
            };
            item
        })
        .collect();
    (items, sums)
}

fn per_circuit(
    items: &[Item<'_>],
    tree: &Tree,
    circuits: usize,
    value: impl Fn(&Item<'_>) -> f64,
) -> Vec<f64> {
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

/// Sheds, raises, wakes and, now and then, rebalances; then looks after those that are not where they were put.
pub(super) fn run(
    site: &Site,
    state: &mut State,
    inputs: &Inputs<'_>,
    items: &mut [Item<'_>],
    circuits: &[Headroom],
    cycle: Now,
) -> Moved {
    let count = circuits.len();
    let now = cycle.now;
    let mut orders: Vec<(usize, Target, Cause)> = Vec::new();
    let terms = terms(site, state, cycle);
    let mut changes: Vec<Change> = Vec::new();
    // Before anything else keeps them from it: whether their own pace lets somebody be raised.
    let mut raisable = vec![false; count];
    for item in items.iter().filter(|item| item.raisable) {
        for &above in state.tree.path(item.circuit) {
            raisable.get_mut(above).into_iter().for_each(|raisable| *raisable = true);
        }
    }
    let stopped = stopped(&state.tree, circuits);
    for item in items.iter_mut().filter(|item| stopped.get(item.circuit) == Some(&true)) {
        (item.raisable, item.wakeable) = (false, false);
    }
    hold(site, state, inputs, items, &mut orders);
    for (item, track) in items.iter_mut().zip(&state.tracks) {
        // Who draws more than it was raised to is likely to come down by itself: for the surplus it is left alone.
        if !item.movable || track.movable() {
            continue;
        }
        let path = state.tree.path(item.circuit);
        let tight = |circuit: &Headroom| circuit.urgent.is_finite() && !circuit.follows_surplus();
        item.movable = path.iter().any(|above| circuits.get(*above).is_some_and(tight));
        item.base = if item.movable { item.base } else { item.counted };
    }
    let mut sums = track::committed(items, &state.tree, count);
    shed(state, items, circuits, cycle, &terms, &mut sums, &mut changes);
    note(items, &changes, Cause::Shed, &mut orders);
    if changes.iter().any(|change| change.level == Level::Sleep) {
        state.slept_at = Some(now);
    }
    // What was lowered in this cycle is raised in none of its circuits; the others go on.
    for change in &changes {
        if let Some(item) = items.get_mut(change.item) {
            (item.raisable, item.wakeable) = (false, false);
        }
    }

    if !cycle.raises {
        for item in items.iter_mut() {
            (item.raisable, item.wakeable) = (false, false);
        }
    }
    let mut flying = track::in_flight(items, &state.tree, count);
    let allowed: Vec<f64> = state
        .ramps
        .iter()
        .zip(circuits)
        .zip(&flying)
        .map(|((ramp, circuit), flying)| {
            let room = if circuit.shows { circuit.raise } else { circuit.raise.min(*flying) };
            ramp.allow(site.settings.raise_rate, *flying, room, now, cycle.since_last.max(circuit.apart))
        })
        .collect();
    for (ramp, raisable) in state.ramps.iter_mut().zip(raisable) {
        ramp.rests(now, raisable);
    }
    let due = state.balanced_at.is_none_or(|balanced| now - balanced >= site.settings.rebalance_period);
    if due && cycle.raises {
        state.balanced_at = Some(now);
        rebalance_fleet(state, items, circuits, !changes.is_empty(), &terms, &mut orders);
        flying = track::in_flight(items, &state.tree, count);
    }
    changes.clear();
    let goals: Vec<f64> = circuits.iter().map(|circuit| circuit.raise).collect();
    track::raise(items, &state.tree, (&allowed, &goals), &mut flying, &state.favoured, &terms, &mut changes);
    let waiting = wake(site, state, items, circuits, cycle, &terms, &mut changes);
    for change in &changes {
        let Some(item) = items.get(change.item) else { continue };
        for &above in state.tree.path(item.circuit) {
            if let Some(ramp) = state.ramps.get_mut(above) {
                ramp.raised(now);
            }
        }
    }
    note(items, &changes, Cause::Raise, &mut orders);
    correct(site, state, inputs, items, circuits, &stopped, &flying, &sums, cycle, &mut orders);
    let sums = track::committed(items, &state.tree, count);
    let left = left(items, &state.tree, circuits);
    let nameplate = state.nameplates.first().copied().unwrap_or(0.0);
    let much = left > nameplate * LEFT;
    state.left_since = if much { state.left_since.or(Some(now)) } else { None };
    Moved { orders, sums, allowed, left, waiting }
}

fn terms(site: &Site, state: &State, cycle: Now) -> Terms {
    let own = |nameplate: &f64| site.settings.deadband.map_or(nameplate * DEADBAND, Watts::get);
    let each: Vec<f64> = state.nameplates.iter().map(own).collect();
    let calm = state.slept_at.or(state.begun).map_or(Duration::ZERO, |since| cycle.now - since);
    let horizon = site.settings.horizon;
    Terms {
        horizon: horizon.as_secs_f64(),
        calm: calm.clamp(horizon, LONGEST_CALM.max(horizon)).as_secs_f64(),
        deadbands: (0..each.len()).map(|circuit| state.tree.least(&each, circuit)).collect(),
        emergency: cycle.emergency,
        lot: cycle.now.since_start().as_secs() / LOT,
    }
}

/// Puts to sleep whom somebody works on, or whom an emergency stop takes, where that has not been done yet and they answer.
fn hold(
    site: &Site,
    state: &State,
    inputs: &Inputs<'_>,
    items: &mut [Item<'_>],
    orders: &mut Vec<(usize, Target, Cause)>,
) {
    let each = site.miners.iter().zip(&state.tracks).zip(items.iter_mut()).enumerate();
    for (index, ((miner, track), item)) in each {
        // Looked at first: in nearly every cycle it is all that is.
        if !item.held {
            continue;
        }
        // One that did not follow another order before is told this one at once: the pause is for what was tried in vain.
        if !commands::is_above(miner, track, inputs.miner(index)) {
            continue;
        }
        // Nothing that was agreed stands before whoever works on it, or an emergency stop.
        item.contract = 0.0;
        let least = item.least();
        (item.level, item.settled, item.base) = (item.lowest(), least, least);
        // Whoever works on it wanted it left alone: then it is an emergency stop that takes it.
        let cause = if inputs.hold(index) == Some(Hold::HandsOff) { Cause::Shed } else { Cause::Maintenance };
        orders.push((index, track.lowest(miner), cause));
    }
}

/// Lowers what must be lowered. What a limit other than the surplus asks for is done at once, by sleep where that is
/// best. What the surplus asks for, with what is kept free, is done by lowering alone; only what is missing beyond that
/// for certain puts miners to sleep.
fn shed(
    state: &mut State,
    items: &mut [Item<'_>],
    circuits: &[Headroom],
    cycle: Now,
    terms: &Terms,
    sums: &mut [f64],
    changes: &mut Vec<Change>,
) {
    let (urgent, freed) = trim(items, &state.tree, circuits, sums, terms, changes);
    track::shed(items, &state.tree, &urgent, sums, true, terms, changes);
    call_off(items, &state.tree, &urgent, changes);
    let reserved: Vec<f64> = (0..)
        .zip(circuits)
        .zip(sums.iter().zip(&freed))
        .map(|((index, circuit), (sum, freed))| {
            // What caps have just given up is not in the headroom yet.
            let there = (circuit.headroom + freed).min(circuit.asked).max(0.0);
            // A hair over what is kept free is what it is kept free for.
            let slack = terms.deadband(index).min(circuit.reserve) * SLACK;
            if sum - there <= slack { f64::INFINITY } else { there }
        })
        .collect();
    track::shed(items, &state.tree, &reserved, sums, false, terms, changes);
    let mut largest = vec![0.0_f64; circuits.len()];
    for item in items.iter().filter(|item| item.may_sleep()) {
        if let Some(largest) = largest.get_mut(item.circuit) {
            *largest = largest.max(item.settled - item.sleep);
        }
    }
    let largest = state.tree.largest(&largest);
    let each = state.ramps.iter_mut().zip(circuits).zip(sums.iter().zip(largest)).zip(&state.nameplates);
    let certain: Vec<f64> = each
        .zip(&freed)
        .map(|((((ramp, circuit), (sum, largest)), nameplate), freed)| {
            let ordinary = nameplate * ORDINARY;
            let asked = if circuit.asked_by_sleep { circuit.asked } else { f64::INFINITY };
            let both = (*sum, (circuit.firm + freed).min(asked).max(0.0));
            ramp.sleep_down_to(both, largest, ordinary, cycle.now, cycle.since_last)
        })
        .collect();
    track::shed(items, &state.tree, &certain, sums, true, terms, changes);
    break_contracts(items, &state.tree, circuits, &freed, terms, sums, changes);
    if cycle.emergency || cycle.pausing.is_some() {
        cover(items, &state.tree, &urgent, cycle.pausing, terms, changes);
    }
    ask_the_unheard(state, items, circuits, terms, sums, changes);
}

/// Where those that answer are not enough, those that have not answered are told to go lower, too: what is told to them may
/// arrive. Nothing is counted on it before they answer, so `sums` stay.
fn ask_the_unheard(
    state: &State,
    items: &mut [Item<'_>],
    circuits: &[Headroom],
    terms: &Terms,
    sums: &[f64],
    changes: &mut Vec<Change>,
) {
    let unheard = |track: &Track, item: &Item<'_>| {
        track.state == MinerState::Unanswered
            && item.actuator != Actuator::Fixed
            && item.level != Level::Sleep
    };
    let over = sums.iter().zip(circuits).any(|(sum, circuit)| *sum > circuit.firm.max(0.0));
    if !over || !state.tracks.iter().zip(&*items).any(|(track, item)| unheard(track, item)) {
        return;
    }
    let mut asked: Vec<Item<'_>> = items.to_vec();
    let danger = endangered(&state.tree, circuits, sums);
    for (item, track) in asked.iter_mut().zip(&state.tracks) {
        item.movable = unheard(track, item);
        item.settled = item.counted;
        if danger.get(item.circuit) == Some(&true) {
            item.contract = 0.0;
        }
    }
    let mut told = Vec::new();
    let mut sums = sums.to_vec();
    let urgent: Vec<f64> = circuits.iter().map(|circuit| circuit.urgent.max(0.0)).collect();
    let firm: Vec<f64> = circuits.iter().map(|circuit| circuit.firm.max(0.0)).collect();
    track::shed(&mut asked, &state.tree, &urgent, &mut sums, true, terms, &mut told);
    // For the surplus alone one that was told to go lower already is waited for.
    for (item, track) in asked.iter_mut().zip(&state.tracks) {
        item.movable &= track.sent.is_some_and(|sent| !sent.lowers);
    }
    track::shed(&mut asked, &state.tree, &firm, &mut sums, false, terms, &mut told);
    for change in told {
        let Some(item) = items.get_mut(change.item) else { continue };
        // Each is told the same once, and never more than before.
        if item.power_at(change.level) < item.power_at(item.level) {
            item.level = change.level;
            changes.push(change);
        }
    }
}

/// Starts for which there will be no room are called off before they draw anything.
fn call_off(items: &mut [Item<'_>], tree: &Tree, budgets: &[f64], changes: &mut Vec<Change>) {
    let begins = |item: &Item<'_>| {
        item.movable && !item.steady && item.level != Level::Sleep && item.settled < item.base
    };
    let Some(first) = items.iter().position(begins) else { return };
    let mut bases = per_circuit(items, tree, budgets.len(), |item| item.base);
    for (index, item) in items.iter_mut().enumerate().skip(first) {
        if !begins(item) {
            continue;
        }
        let none = |circuit: &usize| bases.get(*circuit) > budgets.get(*circuit);
        if tree.path(item.circuit).iter().any(none) {
            tree.add(&mut bases, CircuitId(item.circuit), item.sleep - item.base);
            (item.level, item.base) = (Level::Sleep, item.sleep);
            changes.push(Change { item: index, level: Level::Sleep });
        }
    }
}

/// Wakes whom it is worth to wake, and tells what the next one waits for.
fn wake(
    site: &Site,
    state: &mut State,
    items: &mut [Item<'_>],
    circuits: &[Headroom],
    cycle: Now,
    terms: &Terms,
    changes: &mut Vec<Change>,
) -> Option<Waiting> {
    let now = cycle.now;
    for (taken, circuit) in state.taken.iter_mut().zip(circuits) {
        taken.push(now, circuit.outlook.for_raise());
    }
    let rate = site.settings.raise_rate.over(cycle.since_last).get();
    state.wake_debt = (state.wake_debt - rate).max(0.0);
    let asleep = items.iter().filter(|item| item.level == Level::Sleep && item.movable);
    // Of nobody there is none.
    let longest = asleep.map(|item| item.dead_time_up.0).reduce(f64::max)?.max(0.0);
    let count = circuits.len();
    let window = Duration::try_from_secs_f64(longest / 2.0).unwrap_or(Duration::ZERO).max(WATCHED * 2);
    let from = now.earlier(window);
    let (sustained, usual) = state
        .taken
        .iter()
        .zip(circuits)
        .map(|(taken, circuit)| {
            if circuit.raise.is_infinite() {
                return (circuit.raise, circuit.raise);
            }
            let watched = taken.oldest().is_some_and(|(oldest, _)| now - oldest >= WATCHED);
            if !watched || !circuit.shows {
                return (0.0, 0.0);
            }
            let current = circuit.outlook.for_raise();
            let most = taken.quantile(from, 1.0 - DIPS).unwrap_or(current);
            // What switches comes back before a start is through.
            let most = if circuit.away > 0.0 { most.max(current + circuit.away) } else { most };
            let mean = taken.mean(from).unwrap_or(current);
            // As if the load were as high as it has been, with what is to be kept free then.
            let at_top = circuit.raise + circuit.reserve - circuit.reserve_at_top - (most - current);
            // As it has been on the mean, and is: with what is to be kept free now.
            let usual = at_top.max(circuit.raise - (mean - current).max(0.0));
            // Only the surplus may be low for a moment: no other limit is wider than it is now.
            let most = if circuit.follows_surplus() { f64::INFINITY } else { circuit.raise };
            (at_top.min(most), usual.min(most))
        })
        .unzip();
    let mut wakes = Wakes {
        sustained,
        usual,
        bases: bases(items, &state.tree, count),
        taken: taken(items, &state.tree, circuits),
        pace: vec![rate - state.wake_debt; count],
        left_over: Vec::new(),
    };
    wakes.left_over = state
        .ramps
        .iter_mut()
        .zip(wakes.usual.iter().zip(&wakes.taken))
        .zip(circuits)
        .map(|((ramp, (usual, taken)), circuit)| {
            // Only the surplus comes and goes: where another limit binds, or none, what is there stays.
            let left = if circuit.follows_surplus() { usual - taken } else { f64::INFINITY };
            ramp.leave(left, cycle.since_last)
        })
        .collect();
    if state.wake_debt <= 0.0 {
        let before = wakes.pace.first().copied().unwrap_or(0.0);
        track::wake(items, &state.tree, &mut wakes, &state.favoured, terms, changes);
        state.wake_debt += before - wakes.pace.first().copied().unwrap_or(0.0);
        for (ramp, left) in state.ramps.iter_mut().zip(&wakes.left_over) {
            ramp.left_over = *left;
        }
    }
    waiting(state, items, circuits, terms, &wakes)
}

/// What miners could take within all budgets and do not.
fn left(items: &[Item<'_>], tree: &Tree, circuits: &[Headroom]) -> f64 {
    let mut most = vec![0.0; circuits.len()];
    for item in items {
        if let Some(sum) = most.get_mut(item.circuit) {
            let free = item.movable && !item.held;
            *sum += if free { item.power_at(Level::Power(item.maximum())) } else { item.drawn };
        }
    }
    for circuit in tree.deepest_first() {
        let firm = circuits.get(circuit).map_or(f64::INFINITY, |circuit| circuit.firm.max(0.0));
        let own = most.get(circuit).copied().unwrap_or(0.0).min(firm);
        if let Some(top) = tree.path(circuit).get(1).and_then(|&parent| most.get_mut(parent)) {
            *top += own;
        }
        if let Some(sum) = most.get_mut(circuit) {
            *sum = own;
        }
    }
    let drawn: f64 = items.iter().map(|item| item.drawn).sum();
    let reserve = circuits.first().map_or(0.0, |root| root.reserve);
    (most.first().copied().unwrap_or(0.0) - drawn - reserve).max(0.0)
}

/// Adds changes to the orders; of several changes of one miner the last counts.
fn note(items: &[Item<'_>], changes: &[Change], cause: Cause, orders: &mut Vec<(usize, Target, Cause)>) {
    if changes.is_empty() {
        return;
    }
    let mut changed = vec![false; items.len()];
    for change in changes {
        if let Some(changed) = changed.get_mut(change.item) {
            *changed = true;
        }
    }
    orders.retain(|(miner, _, _)| changed.get(*miner) != Some(&true));
    let last = items.iter().zip(changed).enumerate().filter(|(_, (_, changed))| *changed);
    orders.extend(last.map(|(miner, (item, _))| (miner, target(item.level), cause)));
}

fn rebalance_fleet(
    state: &mut State,
    items: &mut [Item<'_>],
    circuits: &[Headroom],
    shed: bool,
    terms: &Terms,
    orders: &mut Vec<(usize, Target, Cause)>,
) {
    let budgets: Vec<f64> = circuits.iter().map(|circuit| circuit.raise.max(0.0)).collect();
    state.hulls.refresh(items);
    let best = optimum::relax(items, &state.hulls, &state.tree, &budgets);
    state.gap = optimum::Worth::of(items.iter().map(|item| (item, item.level))).below(&best.bound);
    state.favoured.clear();
    if shed || state.gap < GAP_WORTH_MOVING {
        return;
    }
    let best = best.round(items, &state.hulls, &state.tree);
    let most = state.nameplates.first().copied().unwrap_or(0.0) * REBALANCE_SHARE;
    let flying = track::in_flight(items, &state.tree, circuits.len());
    let free = budgets.iter().zip(flying).map(|(budget, flying)| budget - flying).collect();
    let plan = rebalance::plan(items, &best, &state.tree, free, terms, most);
    for change in &plan.changes {
        if let Some(item) = items.get_mut(change.item) {
            item.level = change.level;
            item.settled = item.power_at(change.level);
        }
    }
    note(items, &plan.changes, Cause::Rebalance, orders);
    // What was lowered to make room is not raised again in the same breath.
    for change in &plan.changes {
        if let Some(item) = items.get_mut(change.item) {
            item.raisable = false;
            item.wakeable = false;
        }
    }
    state.favoured = plan.favoured;
}

/// Adds what miners need that are not where they were put; the allocation's own orders come first. Those that began by
/// themselves are kept where there is room for them.
#[expect(clippy::too_many_arguments, reason = "the books of one cycle, kept by the caller")]
fn correct(
    site: &Site,
    state: &mut State,
    inputs: &Inputs<'_>,
    items: &mut [Item<'_>],
    circuits: &[Headroom],
    stopped: &[bool],
    flying: &[f64],
    sums: &[f64],
    cycle: Now,
    orders: &mut Vec<(usize, Target, Cause)>,
) {
    let now = cycle.now;
    let mut ordered = vec![false; site.miners.len()];
    for (miner, _, _) in orders.iter() {
        if let Some(ordered) = ordered.get_mut(*miner) {
            *ordered = true;
        }
    }
    let mut room: Vec<f64> =
        circuits.iter().zip(flying).map(|(circuit, flying)| circuit.raise - flying).collect();
    let over = above(&state.tree, circuits, sums, |circuit| circuit.headroom);
    let danger = endangered(&state.tree, circuits, sums);
    let each = site.miners.iter().zip(state.tracks.iter_mut()).zip(items.iter_mut()).zip(ordered);
    for ((((miner, track), item), ordered), index) in each.zip(0..) {
        if ordered {
            continue;
        }
        let input = inputs.miner(index);
        let over = over.get(miner.circuit.0) == Some(&true);
        let kept = track.hold == Some(Hold::Asleep);
        // One that does not follow is told to stop at once as well, and not what it was told before once more.
        let takes = stopped.get(miner.circuit.0) == Some(&true) && track.hold != Some(Hold::HandsOff);
        if takes && commands::is_above(miner, track, input) {
            orders.push((index, track.lowest(miner), Cause::Shed));
            continue;
        }
        if !kept && commands::is_awake_unasked(miner, track, input, now, &site.settings) {
            let draw =
                track.draw.max(track.start_draw_of(miner, input)) * item.scale / track.settling.scale();
            let free = state.tree.least(&room, miner.circuit.0);
            if !over && free >= draw - item.counted.max(item.settled) {
                state.tree.add(&mut room, miner.circuit, -draw);
                track.adopt(miner, input, now);
                track.raised_at = Some(now);
                item.level = level(track.setpoint);
                continue;
            }
        }
        if commands::is_lost(miner, track, input, now, &site.settings) {
            // What it was told last is out of date; where it is counts from here on.
            track.adopt(miner, input, now);
            continue;
        }
        if !over && !kept && commands::is_held_low(miner, track, input, now) {
            // Nobody wants it down any more: it is raised like the others, which resumes its work, whatever became of the pause.
            track.take_back(miner, input, now);
            item.level = level(track.setpoint);
            continue;
        }
        // One that does not follow is told no less than it keeps by contract, but where that hurts somebody.
        let endangered = danger.get(miner.circuit.0) == Some(&true);
        let lowest = if endangered { track.lowest(miner) } else { target(item.lowest()) };
        let wanted = commands::correction(miner, track, input, (over || kept, lowest), now);
        // Whoever only lowers puts nobody back to where somebody else may have taken them from.
        let wanted = wanted.filter(|(_, cause)| cycle.raises || *cause != Cause::Reapply);
        if let Some((target, cause)) = wanted {
            orders.push((index, target, cause));
        }
    }
}

/// Helps [`Track`] to say what a miner that began by itself may come to.
impl Track {
    fn start_draw_of(
        &self,
        miner: &crate::control::site::Miner,
        input: &crate::control::snapshot::MinerInput,
    ) -> f64 {
        let starting =
            input.status.as_ref().is_some_and(|status| status.value.activity == Activity::Starting);
        if starting {
            let full = self.settled(miner, Some(Target::Power(miner.maximum())));
            full * (1.0 + miner.response.start_overshoot)
        } else {
            self.draw
        }
    }
}
