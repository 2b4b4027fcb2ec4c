//! One cycle of the control law.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::allocate::track::{self, Change, Terms};
use crate::control::allocate::{Item, Level, optimum, rebalance};
use crate::control::combine::{self, Seen};
use crate::control::decision::{Binding, Cause, Command, Decision, Energy, MinerState, Mode, Source};
use crate::control::headroom::{self, CircuitMemory, Headroom, Meters};
use crate::control::report::{Decided, Report};
use crate::control::signal::Urgency;
use crate::control::site::{Actuator, CircuitId, LimitClass, OperatingPoint, Site};
use crate::control::snapshot::{Contact, MeterStatus, MinerInput, Snapshot, Target};
use crate::control::state::State;
use crate::control::{breaker, budget, commands, response::Track};
use crate::units::Watts;

/// Share of the fleet's nameplate that one rebalancing may move.
const REBALANCE_SHARE: f64 = 0.05;
/// A gain in hashrate below this fraction is not worth looking for.
const GAP_WORTH_MOVING: f64 = 0.002;

/// For how many seconds the same of several equals are raised first.
const LOT: u64 = 3_600;

/// Decides one cycle. Snapshots must come in the order of their moments; one from the past counts as now.
pub fn step(state: &mut State, snapshot: &Snapshot) -> Decision {
    let now = snapshot.now;
    let since_last = state.before.map_or(Duration::ZERO, |before| now - before);
    let begun = *state.begun.get_or_insert(now);
    let site = state.site.clone();
    let inputs = Inputs { snapshot, pending: MinerInput::PENDING };
    let seen = state.combiner.look(&site, snapshot);
    let meters = Meters { now, seen: &seen };
    conditions(&site, &mut state.acting, meters);

    let strangers: Vec<(usize, f64)> = (0..)
        .zip(&state.tracks)
        .filter(|(_, track)| track.setpoint.is_none())
        .map(|(index, track)| (index, track.draw))
        .collect();
    let unplaced = site.settings.observe || !strangers.is_empty();
    for ((miner, track), index) in site.miners.iter().zip(state.tracks.iter_mut()).zip(0..) {
        track.update(miner, &site.settings, inputs.miner(index), now);
    }
    breaker::hear(&site, &mut state.trips, snapshot);
    let dead = breaker::dead(&state.tree, &state.trips);
    for (miner, track) in site.miners.iter().zip(state.tracks.iter_mut()) {
        if dead.get(miner.circuit.0) == Some(&true) {
            track.without_power();
        }
    }
    let starting = state.mode == Mode::StartUp && !ready(&site, snapshot, &seen, begun);
    if !starting && state.mode == Mode::StartUp {
        // What the miners drew before they had answered is not known, least of all to have been nothing. Neither is
        // other load that was worked out with it: it would put the whole fleet to sleep.
        for memory in &mut state.memories {
            *memory = CircuitMemory { miners_metered: memory.miners_metered, ..CircuitMemory::default() };
        }
    }
    if !starting && unplaced {
        adopt(&site, state, &inputs, now);
        introduce(&site, state, &strangers);
    }

    let estimates = per_circuit(state, |track| track.draw);
    headroom::remember(&site, &mut state.memories, meters, &estimates, &state.nameplates);
    let circuits = headroom::headrooms(
        &site,
        &state.tree,
        &mut state.memories,
        meters,
        &state.nameplates,
        &state.acting,
        &snapshot.orders,
    );

    let scales = scales(&site, state);
    // Shared with the tracks, which change while the items are in use.
    let offered: Vec<Option<Arc<[OperatingPoint]>>> =
        state.tracks.iter().map(|track| track.points.clone()).collect();
    let mut items = items(&site, state, &offered, &scales, now);
    let flying = track::in_flight(&items, &state.tree, site.circuits.len());
    let ceilings = ceilings(&site, &state.nameplates);
    let mut allowed = Vec::with_capacity(circuits.len());
    for (((ramp, circuit), flying), ceiling) in
        state.ramps.iter_mut().zip(&circuits).zip(&flying).zip(ceilings)
    {
        if starting {
            allowed.push(circuit.headroom);
            continue;
        }
        ramp.anchor(*flying);
        let headroom = circuit.headroom.min(ceiling);
        let unreserved = circuit.unreserved.min(ceiling);
        allowed.push(ramp.step(&site.settings, headroom, unreserved, circuit.new_sample, now, since_last));
    }
    // Rounding in the sums of thousands of numbers must never look like power.
    let allowed: Vec<f64> = allowed.into_iter().map(|allowed| allowed.max(0.0)).collect();

    let mut orders: Vec<(usize, Target, Cause)> = Vec::new();
    let emergency = snapshot.orders.iter().any(|order| order.active.urgency == Urgency::Emergency);
    if !starting {
        allocate(&site, state, &mut items, &allowed, flying, (now, emergency), &mut orders);
        correct(&site, state, &inputs, now, &mut orders);
    }
    let sums = track::committed(&items, &state.tree, site.circuits.len());

    let mut sent: Vec<Command> = Vec::new();
    if !site.settings.observe {
        for (miner, target, cause) in orders {
            sent.extend(commands::send(&mut state.tracks, miner, target, cause, &mut state.sequence, now));
        }
    }

    let headrooms: Vec<f64> = circuits.iter().map(|circuit| circuit.headroom).collect();
    let over: Vec<f64> = sums
        .iter()
        .enumerate()
        .map(|(index, sum)| sum - state.tree.least(&headrooms, index).max(0.0))
        .map(|over| if starting || over <= 1e-6 { 0.0 } else { over })
        .collect();
    let mut breakers = Vec::new();
    if !starting && !site.settings.observe {
        let excess = (circuits.as_slice(), over.as_slice());
        let (trips, tracks) = (&mut state.trips, &state.tracks);
        breakers = breaker::decide(&site, &state.tree, trips, excess, tracks, &mut state.sequence, now);
    }

    let binding = bind(&site, state, &circuits, &scales);
    state.mode = mode(&site, starting, &circuits, &binding);
    account(&site, state, &seen, &circuits, since_last);
    state.before = Some(now);
    let report = Report { site: &site, state, inputs: &inputs, seen: &seen, scales: &scales, items: &items };
    let decided = Decided { binding, circuits, allowed, sums, estimates, sent, breakers, over };
    report.decision(now, decided)
}

/// Access to a snapshot whose lists may be shorter than the site's: what is missing is pending.
pub(super) struct Inputs<'a> {
    snapshot: &'a Snapshot,
    pending: MinerInput,
}

impl Inputs<'_> {
    pub(super) fn miner(&self, index: usize) -> &MinerInput {
        self.snapshot.miners.get(index).unwrap_or(&self.pending)
    }
}

/// Brings up to date which limits act. A charge between the two thresholds changes nothing, so that a battery that is
/// at one of them does not switch the fleet to and fro; one that is not known lets the limit act.
fn conditions(site: &Site, acting: &mut [bool], meters: Meters<'_>) {
    for (limit, acts) in site.limits.iter().zip(acting) {
        let Some(condition) = limit.condition else { continue };
        match combine::charge(site, meters.seen, condition.meter, meters.now) {
            Some(charge) if charge > condition.until => *acts = false,
            Some(charge) if charge >= condition.below => {}
            Some(_) | None => *acts = true,
        }
    }
}

/// Where a limit comes and goes, its going is a raise like any other: what no miner can draw stands in for "no limit",
/// and the ramp leads there. Infinite for all other circuits.
fn ceilings(site: &Site, nameplates: &[f64]) -> Vec<f64> {
    if !site.sources.is_empty() {
        // An order may come to any circuit, and go.
        return nameplates.iter().map(|nameplate| nameplate * 2.0).collect();
    }
    let mut comes_and_goes: Vec<bool> =
        site.circuits.iter().map(|circuit| circuit.interlock.is_some()).collect();
    for limit in site.limits.iter().filter(|limit| limit.condition.is_some()) {
        if let Some(comes_and_goes) = comes_and_goes.get_mut(limit.circuit.0) {
            *comes_and_goes = true;
        }
    }
    let ceiling = |(nameplate, comes_and_goes)| if comes_and_goes { nameplate * 2.0 } else { f64::INFINITY };
    nameplates.iter().copied().zip(comes_and_goes).map(ceiling).collect()
}

/// Whether every meter and miner has answered or failed once, or the wait is over.
fn ready(site: &Site, snapshot: &Snapshot, seen: &[Seen], begun: Moment) -> bool {
    if snapshot.now - begun >= site.settings.start_timeout {
        return true;
    }
    let meters =
        seen.iter().all(|seen| seen.input.power.is_some() && seen.input.status != MeterStatus::Pending);
    let miners = (0..site.miners.len()).all(|index| {
        snapshot.miners.get(index).is_some_and(|input| {
            !matches!(input.contact, Contact::Pending)
                && (input.status.is_some() || matches!(input.contact, Contact::Unreachable { .. }))
        })
    });
    meters && miners
}

/// Takes miners as they are: all in observe mode, else those that were never put anywhere.
fn adopt(site: &Site, state: &mut State, inputs: &Inputs<'_>, now: Moment) {
    for ((miner, track), index) in site.miners.iter().zip(state.tracks.iter_mut()).zip(0..) {
        if track.setpoint.is_none() || site.settings.observe {
            let asleep_since = track.asleep_since;
            track.adopt(miner, inputs.miner(index), now);
            if site.settings.observe {
                track.asleep_since =
                    asleep_since.or(track.asleep_since).filter(|_| track.asleep_since.is_some());
            } else if track.asleep_since.is_some() {
                // Nobody knows how long it slept; it was not put to sleep by this controller.
                track.asleep_since = Some(Moment::START);
            }
        }
    }
}

/// What a miner that was met only now draws, it drew before too: the meters have seen it all along.
fn introduce(site: &Site, state: &mut State, strangers: &[(usize, f64)]) {
    for (index, before) in strangers {
        let (Some(miner), Some(track)) = (site.miners.get(*index), state.tracks.get(*index)) else {
            continue;
        };
        if track.setpoint.is_none() {
            continue;
        }
        for &above in state.tree.path(miner.circuit.0) {
            if let Some(memory) = state.memories.get_mut(above) {
                memory.estimate.shift(track.draw - before);
            }
        }
    }
}

/// Sums of a value of the miners over the circuits at or above them.
fn per_circuit(state: &State, value: impl Fn(&Track) -> f64) -> Vec<f64> {
    let count = state.site.circuits.len();
    let mut own = vec![0.0; count];
    for (miner, track) in state.site.miners.iter().zip(&state.tracks) {
        if let Some(sum) = own.get_mut(miner.circuit.0) {
            *sum += value(track);
        }
    }
    let mut total = vec![0.0; count];
    for (circuit, value) in own.into_iter().enumerate() {
        state.tree.add(&mut total, CircuitId(circuit), value);
    }
    total
}

/// For each circuit, true watts per own watt of the miners directly on it.
fn scales(site: &Site, state: &State) -> Vec<f64> {
    (0..site.circuits.len())
        .map(|circuit| {
            state
                .tree
                .dedicated(circuit)
                .and_then(|dedicated| state.memories.get(dedicated))
                .map_or(1.0, |memory| memory.gain)
        })
        .collect()
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

/// The miners as the allocation sees them.
fn items<'a>(
    site: &'a Site,
    state: &State,
    offered: &'a [Option<Arc<[OperatingPoint]>>],
    scales: &[f64],
    now: Moment,
) -> Vec<Item<'a>> {
    let settings = &site.settings;
    site.miners
        .iter()
        .zip(&state.tracks)
        .zip(offered)
        .map(|((miner, track), offered)| {
            let gain = scales.get(miner.circuit.0).copied().unwrap_or(1.0);
            let movable = track.movable() && miner.actuator != Actuator::Fixed;
            let steady = track.state != MinerState::Starting && !track.restarted;
            let settled = track.settled(miner, track.setpoint);
            // What starts is counted at what it draws, what started by itself at the most that it may.
            let held = match (steady, track.restarted) {
                (true, _) => settled,
                (false, false) => settled.max(track.draw),
                (false, true) => settled.max(track.counted),
            };
            let held = if track.dead { 0.0 } else { held };
            let rested = track.asleep_since.is_some_and(|since| now - since >= settings.min_sleep);
            let unhurried = track.raised_at.is_none_or(|raised| now - raised >= miner.cost.min_interval);
            let calm = now >= track.retry_at;
            Item {
                circuit: miner.circuit.0,
                points: offered.as_deref().unwrap_or(&miner.points),
                sleep: miner.sleep.get() * gain,
                scale: track.settle * gain,
                actuator: track.actuator(miner),
                range: track.range.unwrap_or((0.0, f64::INFINITY)),
                level: level(track.setpoint),
                settled: held * gain,
                drawn: track.draw * gain,
                counted: track.counted * gain,
                movable,
                steady,
                raisable: movable
                    && track.state == MinerState::Hashing
                    && unhurried
                    && calm
                    && !track.restarted,
                wakeable: movable && track.state == MinerState::Asleep && rested && calm,
                adjust_cost: miner.cost.adjust.as_secs_f64(),
                sleep_cost: miner.cost.sleep.as_secs_f64(),
                dead_time_down: miner.response.dead_time_down.as_secs_f64(),
                ramp_down: miner.response.ramp_down.get(),
                dead_time_up: (
                    miner.response.start_time.as_secs_f64(),
                    miner.response.dead_time_up.as_secs_f64(),
                ),
                ramp_up: miner.response.ramp_up.get(),
                overshoot: miner.response.start_overshoot,
                starts_at_full: miner.response.starts_at_full,
            }
        })
        .collect()
}

/// Sheds, raises and, now and then, rebalances. `flying` is [`track::in_flight`] of the items.
fn allocate(
    site: &Site,
    state: &mut State,
    items: &mut [Item<'_>],
    allowed: &[f64],
    mut flying: Vec<f64>,
    (now, emergency): (Moment, bool),
    orders: &mut Vec<(usize, Target, Cause)>,
) {
    let count = site.circuits.len();
    let terms = Terms {
        horizon: site.settings.horizon.as_secs_f64(),
        deadband: site.settings.deadband.get(),
        emergency,
        lot: now.since_start().as_secs() / LOT,
    };
    let mut changes: Vec<Change> = Vec::new();
    let mut sums = track::committed(items, &state.tree, count);
    track::shed(items, &state.tree, allowed, &mut sums, &terms, &mut changes);
    note(items, &changes, Cause::Shed, orders);
    let shed = !changes.is_empty();

    let due = state.balanced_at.is_none_or(|balanced| now - balanced >= site.settings.rebalance_period);
    if due {
        state.balanced_at = Some(now);
        rebalance_fleet(state, items, allowed, shed, &terms, orders);
        flying = track::in_flight(items, &state.tree, count);
    }
    if !shed {
        changes.clear();
        let mut starts = starts(site, state);
        track::raise(
            items,
            &state.tree,
            allowed,
            &mut flying,
            &mut starts,
            &state.favoured,
            &terms,
            &mut changes,
        );
        note(items, &changes, Cause::Raise, orders);
    }
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
    allowed: &[f64],
    shed: bool,
    terms: &Terms,
    orders: &mut Vec<(usize, Target, Cause)>,
) {
    state.hulls.refresh(items);
    let best = optimum::solve(items, &state.hulls, &state.tree, allowed);
    let hashrate: f64 =
        items.iter().filter(|item| item.free()).map(|item| item.hashrate_at(item.level)).sum();
    state.gap = if best.bound > 0.0 { ((best.bound - hashrate) / best.bound).max(0.0) } else { 0.0 };
    state.favoured.clear();
    if shed || state.gap < GAP_WORTH_MOVING {
        return;
    }
    let most = state.nameplates.first().copied().unwrap_or(0.0) * REBALANCE_SHARE;
    let plan = rebalance::plan(items, &best, terms, most);
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

/// How many more miners each circuit may wake now.
fn starts(site: &Site, state: &State) -> Vec<usize> {
    let mut starts = vec![site.settings.max_starting; site.circuits.len()];
    for (miner, track) in site.miners.iter().zip(&state.tracks) {
        if track.state == MinerState::Starting
            && let Some(left) = starts.get_mut(miner.circuit.0)
        {
            *left = left.saturating_sub(1);
        }
    }
    starts
}

/// Adds what miners need that are not where they were put; the allocation's own orders come first.
fn correct(
    site: &Site,
    state: &State,
    inputs: &Inputs<'_>,
    now: Moment,
    orders: &mut Vec<(usize, Target, Cause)>,
) {
    let mut ordered = vec![false; site.miners.len()];
    for (miner, _, _) in orders.iter() {
        if let Some(ordered) = ordered.get_mut(*miner) {
            *ordered = true;
        }
    }
    for (((miner, track), ordered), index) in site.miners.iter().zip(&state.tracks).zip(ordered).zip(0..) {
        if ordered {
            continue;
        }
        if let Some((target, cause)) = commands::correction(miner, track, inputs.miner(index), now) {
            orders.push((index, target, cause));
        }
    }
}

/// What binds the fleet: the limits, or nothing but the miners themselves.
fn bind(site: &Site, state: &State, circuits: &[Headroom], scales: &[f64]) -> Binding {
    let mut own = vec![0.0; site.circuits.len()];
    for (miner, track) in site.miners.iter().zip(&state.tracks) {
        let gain = scales.get(miner.circuit.0).copied().unwrap_or(1.0);
        if let Some(sum) = own.get_mut(miner.circuit.0) {
            *sum += (miner.maximum().get() * track.settle).min(miner.nameplate.get()) * gain;
        }
    }
    budget::fit(&state.tree, circuits, &own, 0)
}

fn mode(site: &Site, starting: bool, circuits: &[Headroom], binding: &Binding) -> Mode {
    if starting {
        return Mode::StartUp;
    }
    let lost = |source: &Source| matches!(source, Source::LostMeter(_) | Source::LostSource(_));
    if lost(&binding.source) || circuits.iter().any(|circuit| lost(&circuit.binding)) {
        return Mode::FailSafe;
    }
    match binding.source {
        Source::Limit(id) => match site.limits.get(id.0).map(|limit| limit.class) {
            Some(LimitClass::Surplus) | None => Mode::Following,
            Some(_) => Mode::Limited,
        },
        Source::Order(_) | Source::Interlock(_) => Mode::Limited,
        Source::Fleet | Source::LostMeter(_) | Source::LostSource(_) => Mode::Following,
    }
}

/// Adds this cycle's energy at the root circuit. Without a fresh meter there nothing is known, so nothing is
/// counted.
fn account(site: &Site, state: &mut State, seen: &[Seen], circuits: &[Headroom], since_last: Duration) {
    let (Some(root), Some(circuit)) = (circuits.first(), site.circuits.first()) else {
        return;
    };
    let fresh = circuit.meter.and_then(|meter| {
        let seen = seen.get(meter.0).filter(|seen| seen.fresh())?;
        Some(seen.input.power?.value)
    });
    let Some(power) = fresh else { return };
    let surplus = Watts::saturating(-root.other).at_least_zero();
    let draw = (power - Watts::saturating(root.other)).at_least_zero();
    let most = Watts::saturating(state.nameplates.first().copied().unwrap_or(0.0));
    let captured = draw.min(surplus);
    let energy = Energy {
        surplus: surplus.over(since_last),
        captured: captured.over(since_last),
        imported: power.at_least_zero().min(draw).over(since_last),
        curtailed: (surplus.min(most) - captured).at_least_zero().over(since_last),
    };
    state.energy.surplus += energy.surplus;
    state.energy.captured += energy.captured;
    state.energy.imported += energy.imported;
    state.energy.curtailed += energy.curtailed;
}
