//! One cycle of the control law.

use std::sync::Arc;
use std::time::Duration;

use crate::control::combine::{self, Seen};
use crate::control::decision::{Binding, Command, Decision, Energy, MinerState, Mode, Source};
use crate::control::headroom::{self, Headroom};
use crate::control::lead::{self, Lead};
use crate::control::meters::{self, CircuitMemory, Meters};
use crate::control::move_fleet::{self, Now};
use crate::control::report::{Decided, Report};
use crate::control::site::{CircuitId, LimitClass, MinerId, OperatingPoint, Site};
use crate::control::snapshot::{Contact, Hold, MeterStatus, MinerInput, Snapshot, hold_of};
use crate::control::state::State;
use crate::control::{breaker, budget, commands, hold, stop};
use crate::moment::Moment;
use crate::units::Watts;

/// An order holds miners that draw this share of what it leaves to them.
const NEARLY: f64 = 0.9;
/// For how long after that it still counts as holding them, while it is there.
const STILL: Duration = Duration::from_secs(60);

/// Decides one cycle. Snapshots must come in the order of their moments; one from the past counts as now.
pub fn step(state: &mut State, snapshot: &Snapshot) -> Decision {
    let now = snapshot.now;
    let since_last = state.before.map_or(Duration::ZERO, |before| now - before);
    let begun = *state.begun.get_or_insert(now);
    let site = state.site.clone();
    let inputs = Inputs { snapshot, pending: MinerInput::PENDING };
    let mut seen = state.combiner.look(&site, snapshot);
    meters::distrust(&site, &state.memories, &mut seen);
    conditions(&site, &mut state.acting, Meters { now, seen: &seen });

    stop::look(&site, &mut state.stops, snapshot, &seen);
    let held = hold::held(&site, &snapshot.holds, &stop::stopped(&state.tree, &state.stops));
    breaker::hear(&site, &mut state.trips, snapshot);
    let dead = breaker::dead(&state.tree, &state.trips);
    // Whoever was never put anywhere, and what was taken for their draw.
    let mut strangers: Vec<(usize, f64)> = Vec::new();
    for ((miner, track), index) in site.miners.iter().zip(state.tracks.iter_mut()).zip(0..) {
        if track.setpoint.is_none() {
            strangers.push((index, track.draw));
        }
        track.hold = held.get(&index).copied();
        track.update(miner, &site.settings, inputs.miner(index), now);
        if dead.get(miner.circuit.0) == Some(&true) {
            track.without_power();
        }
    }
    // Whoever commands nothing takes every miner as it is.
    let looks_on = site.settings.observe || snapshot.lead == Lead::Follows;
    let unplaced = looks_on || !strangers.is_empty();
    let starting = state.mode == Mode::StartUp && !ready(&site, snapshot, &seen, begun);
    if !starting && state.mode == Mode::StartUp {
        // What the miners drew before they had answered is not known, least of all to have been nothing. Neither is
        // other load that was worked out with it: it would put the whole fleet to sleep.
        for memory in &mut state.memories {
            memory.take_over(CircuitMemory::default());
        }
    }
    let lead = lead::role(snapshot.lead, &mut state.contest, &site, &mut state.tracks, &inputs, now);
    if !starting && unplaced {
        adopt(&site, state, &inputs, looks_on, now);
        introduce(&site, state, &strangers);
    }
    if !starting {
        let all = lead == Lead::Lowers || state.contest.settles(now);
        hold::follow(&site, &mut state.tracks, &inputs, &held, all, now);
    }

    let survey = Survey::of(&site, state, now);
    let own = [survey.drawn, survey.said, survey.further, survey.starting, survey.more_start];
    let [estimates, told, further, starting_draw, more_start] = own.map(|own| over_tree(state, own));
    let terms = meters::Terms {
        site: &site,
        told: &told,
        further: &further,
        starting: &starting_draw,
        more_start: &more_start,
        tree: &state.tree,
        estimates: &estimates,
        nameplates: &state.nameplates,
        maxima: &state.maxima,
        poll: survey.poll,
        response: survey.response,
        asks: !starting && !looks_on && lead != Lead::Lowers,
    };
    meters::remember(&terms, &mut state.memories, Meters { now, seen: &seen });
    meters::distrust(&site, &state.memories, &mut seen);
    let meters = Meters { now, seen: &seen };
    let scales = scales(&site, state);
    let (mut items, sums) = move_fleet::items(&site, state, &survey.offered, &scales, now);
    let most = sums.most;
    let [asleep, scaled, unseen, swing] =
        [sums.asleep, sums.drawn, sums.unseen, sums.swing].map(|own| over_tree(state, own));
    let scale: Vec<f64> = scaled
        .iter()
        .zip(&estimates)
        .map(|(scaled, own)| if *own > 0.0 { scaled / own } else { 1.0 })
        .collect();
    let terms = headroom::Terms {
        site: &site,
        tree: &state.tree,
        nameplates: &state.nameplates,
        scale: &scale,
        largest: &survey.largest,
        asleep: &asleep,
        drawn: &estimates,
        unseen: &unseen,
        swing: &swing,
        acting: &state.acting,
        stops: &state.stops,
        orders: &snapshot.orders,
    };
    let circuits = headroom::headrooms(&terms, &state.memories, meters);

    // What binds the fleet: the limits, or nothing but the miners themselves.
    let binding = budget::fit(&state.tree, &circuits, &most, 0);

    let raises = lead != Lead::Lowers;
    let emergency = headroom::emergency(&snapshot.orders);
    let cycle = Now { now, since_last, emergency, pausing: survey.pausing, raises };
    let moved = if starting {
        move_fleet::Moved::still(&items, &state.tree, &circuits)
    } else {
        move_fleet::run(&site, state, &inputs, &mut items, &circuits, cycle)
    };

    let mut sent: Vec<Command> = Vec::new();
    if !looks_on {
        for &(miner, target, cause) in &moved.orders {
            sent.extend(commands::send(&mut state.tracks, miner, target, cause, &mut state.sequence, now));
        }
    }

    let headrooms: Vec<f64> = circuits.iter().map(|circuit| circuit.headroom).collect();
    let over: Vec<f64> = moved
        .sums
        .iter()
        .enumerate()
        .map(|(index, sum)| sum - state.tree.least(&headrooms, index).max(0.0))
        .map(|over| if starting || over <= 1e-6 { 0.0 } else { over })
        .collect();
    let mut breakers = Vec::new();
    if !looks_on {
        stop::trip(&site, &state.tree, &state.stops, &mut state.trips);
        // Nothing is exceeded while the site starts, so that only what was told to open before is told again then.
        let excess = (circuits.as_slice(), over.as_slice());
        let (trips, tracks) = (&mut state.trips, &state.tracks);
        breakers = breaker::decide(&site, &state.tree, trips, excess, tracks, &mut state.sequence, now);
    }

    let ordered = holds_part(state, &circuits, &scaled, now);
    state.mode = mode(&site, starting, &circuits, &binding, ordered);
    account(&site, state, &seen, &circuits, since_last);
    state.before = Some(now);
    let report = Report { site: &site, state, inputs: &inputs, seen: &seen, scales: &scales, items: &items };
    let decided = Decided { lead, binding, circuits, moved, estimates, sent, breakers, over, asleep };
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

    /// How whoever works on it wants it kept.
    pub(super) fn hold(&self, index: usize) -> Option<Hold> {
        hold_of(&self.snapshot.holds, MinerId(index))
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

/// Takes miners as they are: all for whoever looks on, else those that were never put anywhere.
fn adopt(site: &Site, state: &mut State, inputs: &Inputs<'_>, looks_on: bool, now: Moment) {
    for ((miner, track), index) in site.miners.iter().zip(state.tracks.iter_mut()).zip(0..) {
        if track.setpoint.is_none() || looks_on {
            let asleep_since = track.asleep_since;
            track.adopt(miner, inputs.miner(index), now);
            if looks_on {
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
                if !memory.miners_metered {
                    memory.balance.shift((before - track.draw) * memory.gain);
                }
            }
        }
    }
}

/// What is asked of every miner before the meters are looked at, in one pass over all of them: in a large fleet the tracks do
/// not fit into the processor's cache.
struct Survey {
    /// For each circuit, the estimated draw of the miners directly on it, in their own watts.
    drawn: Vec<f64>,
    /// The same of what they said last that they draw.
    said: Vec<f64>,
    /// By how much less they may be drawing ([`Track::further`](crate::control::response::Track::further)).
    further: Vec<f64>,
    /// The part of the draw that is of miners which start.
    starting: Vec<f64>,
    /// The nameplates of those that start, less those of the ones that run.
    more_start: Vec<f64>,
    /// For each circuit, the most that one miner at or below it draws while it starts, in the miners' own watts.
    largest: Vec<f64>,
    /// The longest time between two polls of a miner.
    poll: Duration,
    /// From a decision until the miners have begun to follow a shed: the dead time and the first fifth of the way of those
    /// that run, and a cycle.
    response: Duration,
    /// The longest notice of those who pause.
    pausing: Option<Duration>,
    /// The points that each miner offers. Shared with the tracks, which change while the items are in use.
    offered: Vec<Option<Arc<[OperatingPoint]>>>,
}

impl Survey {
    fn of(site: &Site, state: &State, now: Moment) -> Self {
        let none = vec![0.0_f64; site.circuits.len()];
        let [mut drawn, mut said, mut further, mut starting, mut more_start, mut largest] =
            [none.clone(), none.clone(), none.clone(), none.clone(), none.clone(), none];
        let mut poll = Duration::ZERO;
        let mut pausing = None;
        let mut offered = Vec::with_capacity(site.miners.len());
        let (mut seconds, mut watts) = (0.0, 0.0);
        for (miner, track) in site.miners.iter().zip(&state.tracks) {
            let circuit = miner.circuit.0;
            if let (Some(drawn), Some(said), Some(further), Some(starting), Some(more_start), Some(largest)) = (
                drawn.get_mut(circuit),
                said.get_mut(circuit),
                further.get_mut(circuit),
                starting.get_mut(circuit),
                more_start.get_mut(circuit),
                largest.get_mut(circuit),
            ) {
                if track.state == MinerState::Starting || track.restarted {
                    *starting += track.draw;
                    *more_start += miner.nameplate.get();
                } else if track.state == MinerState::Hashing {
                    *more_start -= miner.nameplate.get();
                }
                *drawn += track.draw;
                *said += track.said;
                *further += track.further(miner, now);
                *largest = largest.max(track.most(miner) * (1.0 + miner.response.start_overshoot));
            }
            poll = poll.max(miner.poll_period);
            if track.is_pausing(miner) {
                pausing = pausing.max(Some(miner.notice));
            }
            offered.push(track.points.clone());
            let way = miner.maximum().get() * 0.2 / miner.response.ramp_down.get().max(1e-3);
            let draw = track.draw.max(miner.sleep.get()).max(1e-3);
            seconds += (miner.response.dead_time_down.as_secs_f64() + way) * track.pace * draw;
            watts += draw;
        }
        let mean = if watts > 0.0 { seconds / watts } else { 0.0 };
        let begins = Duration::try_from_secs_f64(mean.min(60.0)).unwrap_or(Duration::ZERO);
        let response = site.settings.period + begins;
        let largest = state.tree.largest(&largest);
        Self { drawn, said, further, starting, more_start, largest, poll, response, pausing, offered }
    }
}

/// For each circuit, what is at or below it, from what is directly on each.
fn over_tree(state: &State, own: Vec<f64>) -> Vec<f64> {
    let mut total = vec![0.0; own.len()];
    for (circuit, value) in own.into_iter().enumerate() {
        state.tree.add(&mut total, CircuitId(circuit), value);
    }
    total
}

/// For each circuit, true watts per own watt of the miners directly on it.
pub(super) fn scales(site: &Site, state: &State) -> Vec<f64> {
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

/// Whether an order, an interlock or a stop holds the miners of a circuit: what they draw is near what it leaves, or was a short time
/// ago. While all other miners take what those leave, the surplus and the order bind the fleet by turns, and it is limited all the time.
fn holds_part(state: &mut State, circuits: &[Headroom], drawn: &[f64], now: Moment) -> bool {
    let ordered = |circuit: &Headroom, nameplate: f64| {
        matches!(circuit.binding, Source::Order(_) | Source::Interlock(_) | Source::Stop(_))
            && circuit.headroom < nameplate
            && nameplate > 0.0
    };
    let each = circuits.iter().zip(state.nameplates.iter().zip(drawn));
    let mut left = each.filter(|(circuit, (nameplate, _))| ordered(circuit, **nameplate)).peekable();
    if left.peek().is_none() {
        state.held_at = None;
    } else if left.any(|(circuit, (_, draw))| *draw >= circuit.headroom * NEARLY) {
        state.held_at = Some(now);
    }
    state.held_at.is_some_and(|at| now - at < STILL)
}

fn mode(site: &Site, starting: bool, circuits: &[Headroom], binding: &Binding, ordered: bool) -> Mode {
    if starting {
        return Mode::StartUp;
    }
    let lost = |source: &Source| matches!(source, Source::LostMeter(_) | Source::LostSource(_));
    if lost(&binding.source) || circuits.iter().any(|circuit| lost(&circuit.binding)) {
        return Mode::FailSafe;
    }
    let limited = match binding.source {
        Source::Limit(id) => site.limits.get(id.0).is_some_and(|limit| limit.class != LimitClass::Surplus),
        Source::Order(_) | Source::Interlock(_) | Source::Stop(_) => true,
        Source::Fleet | Source::LostMeter(_) | Source::LostSource(_) => false,
    };
    if limited || ordered { Mode::Limited } else { Mode::Following }
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
    let surplus = Watts::saturating(-root.other()).at_least_zero();
    let draw = (power - Watts::saturating(root.other())).at_least_zero();
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
