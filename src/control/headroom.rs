//! What each circuit's own limits leave to its miners.
//!
//! `headroom(t) = limit − (meter(t) − miners(t))`, meter and miners **at the same instant**, so that a command in
//! flight cancels out and is never corrected twice. Where a dedicated feeder meter covers the miners, its reading
//! at that instant is their draw; elsewhere it is the estimate that the control law kept of that instant.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::combine::Seen;
use crate::control::decision::{LimitValue, Source};
use crate::control::history::History;
use crate::control::lag::LagEstimator;
use crate::control::signal::{Active, Why};
use crate::control::site::{Cap, Circuit, CircuitId, LimitId, Meter, Miner, Scope, Site};
use crate::control::snapshot::OrderCap;
use crate::control::tree::Tree;
use crate::units::Watts;

/// How far a dedicated meter may lie from the miners' own readings before it is no longer believed to be a matter
/// of calibration.
const GAIN_RANGE: (f64, f64) = (0.9, 1.15);
/// Caps beyond this many watts mean the same, and leave differences exact: see what is plausible of a meter.
const PLAUSIBLE: Watts = Watts::whole(2_000_000_000);
/// Time constant with which the calibration is learned, in seconds.
const GAIN_TIME: f64 = 30.0;
/// Of how many seconds one sample can tell at the most, and at the least, however far apart they are.
const GAIN_SAMPLE: (f64, f64) = (1.0, 6.0);
/// A comparison waits at the most this long for the meters that see the miners alone.
const COMMON_WAIT: Duration = Duration::from_secs(2);

/// The meters of one cycle.
#[derive(Clone, Copy)]
pub struct Meters<'m> {
    /// The moment of the cycle.
    pub now: Moment,
    /// One for each of the site's meters.
    pub seen: &'m [Seen],
}

impl Meters<'_> {
    fn of<'a>(&self, site: &'a Site, circuit: &Circuit) -> Option<(&'a Meter, Seen)> {
        let id = circuit.meter?;
        let meter = site.meters.get(id.0)?;
        Some((meter, self.seen.get(id.0).copied().unwrap_or(Seen::NOTHING)))
    }
}

/// What is remembered of a circuit between cycles.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitMemory {
    /// Estimated draw of all its miners, in the miners' own watts.
    pub estimate: History,
    /// The meter's samples at the instants that they stand for.
    pub metered: History,
    /// Receipt of the newest sample of its meter.
    pub sample_at: Option<Moment>,
    /// Load other than miners, in watts, at the instants at which it was compared.
    pub others: History,
    /// The stamps of the samples with which a raise was last thought of: of the circuit's own meter, and of the readings
    /// that are caps here.
    pub counted: Vec<Option<Moment>>,
    /// Learns how late its meter shows what the miners do.
    pub lag: LagEstimator,
    /// The lag that the stamps in `metered` and `others` have taken off.
    pub lag_used: Duration,
    /// Whether meters see all of its miners alone.
    pub miners_metered: bool,
    /// Metered draw over the miners' own readings, learned; 1 without a dedicated meter.
    pub gain: f64,
}

impl Default for CircuitMemory {
    fn default() -> Self {
        Self {
            estimate: History::default(),
            metered: History::default(),
            sample_at: None,
            others: History::default(),
            counted: Vec::new(),
            lag: LagEstimator::default(),
            lag_used: Duration::ZERO,
            miners_metered: false,
            gain: 1.0,
        }
    }
}

/// A circuit's own limits in one cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct Headroom {
    /// The meter's latest good value, while it is fresh.
    pub power: Option<Watts>,
    /// Load other than miners, generation negative.
    pub other: f64,
    /// What the tightest own limit leaves to the miners; infinite without any.
    pub headroom: f64,
    /// The same, had nothing been kept free for what may come ([`Self::reserve`]). At least the headroom.
    pub unreserved: f64,
    /// What set it; [`Source::Fleet`] without any.
    pub binding: Source,
    /// Every limit that acts here.
    pub limits: Vec<LimitValue>,
    /// What is kept free because the other load is rising (or generation falling) as this is decided.
    pub reserve: f64,
    /// Whether a new sample came since the cycle before; always true where no meter matters.
    pub new_sample: bool,
    /// Whether a limit that acts is exceeded by what its meter says, or nothing says that it is not.
    pub exceeded: bool,
}

/// Feeds the newest samples and estimates into the memories. `estimates` holds, per circuit, the estimated draw of
/// all miners at or below it, in the miners' own watts; `nameplates` the sum of their nameplates.
pub fn remember(
    site: &Site,
    memories: &mut [CircuitMemory],
    meters: Meters<'_>,
    estimates: &[f64],
    nameplates: &[f64],
) {
    for (memory, estimate) in memories.iter_mut().zip(estimates) {
        memory.estimate.push(meters.now, *estimate);
    }
    for (index, circuit) in site.circuits.iter().enumerate() {
        let (Some((meter, seen)), Some(memory)) = (meters.of(site, circuit), memories.get_mut(index)) else {
            continue;
        };
        let (Some(low), Some(high)) = (seen.low, seen.high) else { continue };
        if memory.sample_at == Some(high.at) {
            continue;
        }
        memory.sample_at = Some(high.at);
        let nameplate = nameplates.get(index).copied().unwrap_or(0.0);
        let middle = (low.value.get() + high.value.get()) / 2.0;
        memory.lag.take(high.at, middle, &memory.estimate, memory.gain, nameplate);
        let lag = if meter.learn_lag { memory.lag.learned().unwrap_or(meter.lag) } else { meter.lag };
        memory.set_lag(lag);
        let instant = high.at.earlier(lag);
        // In doubt, the miners have drawn less than a meter says that sees them alone: then the rest is other load.
        let worse = if circuit.dedicated { low } else { high };
        memory.metered.push(instant, worse.value.get());
        if circuit.dedicated {
            calibrate(memory, high.value.get(), instant, nameplate, seen.period);
        }
    }
}

impl CircuitMemory {
    /// Takes the stamps of all samples for later or earlier by as much as the lag has changed: else the next samples
    /// would seem to lie before those that are known, and be left out.
    fn set_lag(&mut self, lag: Duration) {
        let (by, later) = (lag.abs_diff(self.lag_used), lag < self.lag_used);
        if !by.is_zero() {
            self.metered.restamp(by, later);
            self.others.restamp(by, later);
            self.lag_used = lag;
        }
    }
}

/// Learns how the meter sees the miners' own watts; only while they are calm, since a shift in time would be
/// taken for a shift in scale.
fn calibrate(memory: &mut CircuitMemory, metered: f64, instant: Moment, nameplate: f64, period: Duration) {
    let Some(estimate) = memory.estimate.at(instant) else {
        return;
    };
    let before = memory.estimate.at(instant.earlier(period.max(Duration::from_secs(4))));
    let after = memory.estimate.newest().map(|(_, value)| value);
    let calm =
        [before, after].into_iter().flatten().all(|value| (value - estimate).abs() < 0.01 * estimate.abs());
    if estimate < 0.05 * nameplate || !calm || !(metered / estimate).is_finite() {
        return;
    }
    let ratio = (metered / estimate).clamp(GAIN_RANGE.0, GAIN_RANGE.1);
    let (least, most) = GAIN_SAMPLE;
    memory.gain += (ratio - memory.gain) * period.as_secs_f64().clamp(least, most) / GAIN_TIME;
}

/// The newest instant at which the meter of a circuit and the meters that see its miners alone were all read: there
/// both sides of the comparison are measured, and no model stands between them. A miners' meter that is later than the
/// circuit's own by more than two samples, or by more than a moment, holds nothing up: the estimate goes on from its
/// newest sample.
fn common_instant(
    site: &Site,
    tree: &Tree,
    memories: &[CircuitMemory],
    meters: Meters<'_>,
    index: usize,
    newest: Moment,
    period: Duration,
) -> Moment {
    let mut common = newest;
    for &child in tree.children(index) {
        let Some(circuit) = site.circuits.get(child) else { continue };
        let known = memories.get(child).and_then(|memory| memory.metered.newest());
        match (meters.of(site, circuit).filter(|_| circuit.dedicated), known) {
            (Some((_, seen)), Some((at, _)))
                if newest - at <= (seen.period.min(period) * 2).min(COMMON_WAIT) =>
            {
                common = common.min(at);
            }
            (Some(_), _) => {}
            (None, _) => {
                common = common.min(common_instant(site, tree, memories, meters, child, newest, period));
            }
        }
    }
    common
}

/// The draw of all miners at or below a circuit at an instant, in metered watts.
fn miners_at(
    site: &Site,
    tree: &Tree,
    memories: &[CircuitMemory],
    meters: Meters<'_>,
    index: usize,
    instant: Moment,
) -> f64 {
    let (Some(circuit), Some(memory)) = (site.circuits.get(index), memories.get(index)) else {
        return 0.0;
    };
    let estimate = |at: Moment| memory.estimate.at(at).unwrap_or(0.0) * memory.gain;
    if circuit.dedicated {
        let fresh = meters.of(site, circuit).is_some_and(|(_, seen)| seen.fresh());
        if let (true, Some((newest, value))) = (fresh, memory.metered.newest()) {
            return if instant <= newest {
                memory.metered.at(instant).unwrap_or(value)
            } else {
                // Beyond the newest sample, what the estimate says has moved since.
                value + estimate(instant) - estimate(newest)
            };
        }
        return estimate(instant);
    }
    let below: f64 = tree
        .children(index)
        .iter()
        .map(|&child| memories.get(child).map_or(0.0, |memory| memory.estimate.at(instant).unwrap_or(0.0)))
        .sum();
    let direct = memory.estimate.at(instant).unwrap_or(0.0) - below;
    let covered: f64 = tree
        .children(index)
        .iter()
        .map(|&child| miners_at(site, tree, memories, meters, child, instant))
        .sum();
    direct.max(0.0) + covered
}

/// Everything about the circuits' own limits, parents before children. `acting` tells of each limit whether it acts.
pub fn headrooms(
    site: &Site,
    tree: &Tree,
    memories: &mut [CircuitMemory],
    meters: Meters<'_>,
    nameplates: &[f64],
    acting: &[bool],
    orders: &[OrderCap],
) -> Vec<Headroom> {
    // Load other than miners is known from the leaves up: a circuit without a meter adds up what it feeds.
    let mut others: Vec<f64> = vec![0.0; site.circuits.len()];
    for (index, circuit) in site.circuits.iter().enumerate().rev() {
        let below: f64 = tree.children(index).iter().filter_map(|&child| others.get(child)).sum::<f64>();
        let metered = meters.of(site, circuit).filter(|_| !circuit.dedicated);
        let other = match metered {
            None if circuit.dedicated => 0.0,
            None => circuit.other_load.get() + below,
            Some((_, seen)) => {
                let memory = memories.get(index);
                let newest = memory.and_then(|memory| memory.metered.newest());
                let compared = memory.and_then(|memory| memory.others.newest());
                let instant = newest.map(|(newest, _)| {
                    common_instant(site, tree, memories, meters, index, newest, seen.period)
                });
                // An instant is compared once: later estimates of it would be no better.
                let fresh = instant.filter(|instant| compared.is_none_or(|(before, _)| *instant > before));
                let power = |instant: Moment| memory.and_then(|memory| memory.metered.at(instant));
                match (fresh.and_then(|instant| Some((instant, power(instant)?))), compared) {
                    (Some((instant, power)), _) => {
                        let other = power - miners_at(site, tree, memories, meters, index, instant);
                        if let Some(memory) = memories.get_mut(index) {
                            memory.others.push(instant, other);
                        }
                        other
                    }
                    (None, Some((_, known))) => known,
                    (None, None) => circuit.other_load.get() + below.max(0.0),
                }
            }
        };
        if let Some(slot) = others.get_mut(index) {
            *slot = other;
        }
    }
    let news = new_samples(site, memories, meters);
    let mut result: Vec<Headroom> = site
        .circuits
        .iter()
        .zip(others)
        .zip(news.into_iter().zip(memories.iter()))
        .map(|((circuit, other), (new_sample, memory))| Headroom {
            reserve: reserve(site, meters, circuit, memory),
            power: meters
                .of(site, circuit)
                .filter(|(_, seen)| seen.fresh())
                .and_then(|(_, seen)| seen.input.power)
                .map(|reading| reading.value),
            other,
            headroom: f64::INFINITY,
            unreserved: f64::INFINITY,
            binding: Source::Fleet,
            limits: Vec::new(),
            new_sample,
            exceeded: false,
        })
        .collect();
    apply_limits(site, meters, acting, &mut result);
    apply_orders(site, orders, &mut result);
    apply_interlocks(site, tree, meters, &mut result);
    apply_lost_meters(site, meters, nameplates, &mut result);
    result
}

/// Of each circuit, whether every meter that matters to its own limits has told something new since this was last so.
/// What is asked once a second and renews itself once in ten is new once in ten.
fn new_samples(site: &Site, memories: &mut [CircuitMemory], meters: Meters<'_>) -> Vec<bool> {
    let own = |circuit: &Circuit, memory: &CircuitMemory| {
        let metered = meters.of(site, circuit).filter(|_| !circuit.dedicated);
        metered.map(|_| memory.others.newest().map(|(at, _)| at))
    };
    let mut stamps: Vec<Vec<Option<Moment>>> = site
        .circuits
        .iter()
        .zip(memories.iter())
        .map(|(circuit, memory)| own(circuit, memory).into_iter().collect())
        .collect();
    for limit in &site.limits {
        if let (Cap::Reading { meter, .. }, Some(stamps)) = (limit.cap, stamps.get_mut(limit.circuit.0)) {
            let seen = meters.seen.get(meter.0);
            stamps.push(seen.and_then(|seen| seen.input.power).map(|reading| reading.at));
        }
    }
    let each = stamps.into_iter().zip(memories.iter_mut()).map(|(stamps, memory)| {
        memory.counted.resize(stamps.len(), None);
        // `None`, never read, is below every moment.
        let news = stamps.iter().zip(&memory.counted).all(|(stamp, counted)| stamp > counted);
        if news {
            memory.counted = stamps;
        }
        news
    });
    each.collect()
}

/// The pace of a change is taken over this many steps.
const PACE_STEPS: u32 = 3;
/// How much of what unmetered miners have moved may be an error of the estimate.
const ESTIMATE_DOUBT: f64 = 0.2;
/// The steps are at least this long, however fast the meter is: shorter ones would measure noise.
const PACE_SPACING: Duration = Duration::from_secs(1);

/// What the other load will gain until a shed that is decided now shows, at the pace of the latest samples: never
/// negative. The pace is the median of the latest changes, so that a step, which is over, is not taken for the
/// beginning of a ramp; what the deadband covers is not worth keeping.
fn reserve(site: &Site, meters: Meters<'_>, circuit: &Circuit, memory: &CircuitMemory) -> f64 {
    let Some((meter, seen)) = meters.of(site, circuit).filter(|_| !circuit.dedicated) else {
        return 0.0;
    };
    let apart = seen.period.max(PACE_SPACING);
    let Some((newest, _)) = memory.others.newest() else { return 0.0 };
    let known = memory.others.oldest().is_some_and(|(oldest, _)| newest - oldest >= apart * PACE_STEPS);
    if !known {
        return 0.0;
    }
    // Without a meter that sees the miners alone, an error in the estimate of moving miners looks like other load.
    let change = memory.estimate.at(newest).zip(memory.estimate.at(newest.earlier(apart * PACE_STEPS)));
    let moved = change.map_or(0.0, |(later, before)| (later - before).abs());
    let doubt = if memory.miners_metered { 0.0 } else { moved * ESTIMATE_DOUBT };
    let mut paces: Vec<f64> = (0..PACE_STEPS)
        .filter_map(|steps| {
            let later = memory.others.at(newest.earlier(apart * steps))?;
            let before = memory.others.at(newest.earlier(apart * (steps + 1)))?;
            Some((later - before) / apart.as_secs_f64())
        })
        .collect();
    paces.sort_by(f64::total_cmp);
    let Some(pace) = paces.get(paces.len() / 2) else { return 0.0 };
    let ahead = (meters.now - newest) + site.settings.anticipate;
    let gained = pace * ahead.min(meter.stale_after + memory.lag_used).as_secs_f64();
    (gained - doubt - site.settings.deadband.get()).max(0.0)
}

/// A value on its way from what was last known to the fail-safe, never above either while it is lost.
fn decay(known: f64, fail_safe: f64, lost: f64) -> f64 {
    if lost <= 0.0 { known } else { known + (fail_safe.min(known) - known) * lost }
}

fn apply_limits(site: &Site, meters: Meters<'_>, acting: &[bool], result: &mut [Headroom]) {
    for (index, limit) in site.limits.iter().enumerate() {
        let Some((circuit, slot)) = site.circuits.get(limit.circuit.0).zip(result.get_mut(limit.circuit.0))
        else {
            continue;
        };
        let id = Source::Limit(LimitId(index));
        let (cap, source) = match limit.cap {
            Cap::Constant(cap) => (cap.clamp(-PLAUSIBLE, PLAUSIBLE).get(), id),
            Cap::Reading { meter: meter_id, fail_safe } => {
                let Some(seen) = meters.seen.get(meter_id.0) else {
                    continue;
                };
                let cap = match seen.input.power {
                    Some(reading) => decay(reading.value.get(), fail_safe.get(), seen.lost),
                    None => fail_safe.get(),
                };
                (cap, if seen.lost > 0.0 { Source::LostMeter(meter_id) } else { id })
            }
        };
        let acts = acting.get(index).copied().unwrap_or(true);
        slot.cap(circuit, limit.scope, cap, (id, source), acts);
    }
}

/// Orders from outside are limits like any other.
fn apply_orders(site: &Site, orders: &[OrderCap], result: &mut [Headroom]) {
    for OrderCap { source, active: Active { circuit: id, scope, cap, why, .. } } in orders {
        let Some((circuit, slot)) = site.circuits.get(id.0).zip(result.get_mut(id.0)) else { continue };
        let source = match why {
            Why::Order(_) | Why::Returning(_) | Why::Kept(_) => Source::Order(*source),
            Why::FailSafe | Why::Released => Source::LostSource(*source),
        };
        let cap = (*cap).clamp(-PLAUSIBLE, PLAUSIBLE).get();
        slot.cap(circuit, *scope, cap, (source, source), true);
    }
}

/// Where what must hold does not hold, or is not known to, the miners sleep. They may draw what they draw asleep.
fn apply_interlocks(site: &Site, tree: &Tree, meters: Meters<'_>, result: &mut [Headroom]) {
    for ((circuit, slot), index) in site.circuits.iter().zip(result.iter_mut()).zip(0..) {
        let Some(interlock) = circuit.interlock else { continue };
        let seen = meters.seen.get(interlock.meter.0).filter(|seen| seen.fresh());
        let holds = seen.and_then(|seen| seen.low).is_some_and(|power| power.value >= interlock.at_least);
        let on_it = |miner: &&Miner| tree.path(miner.circuit.0).contains(&index);
        let asleep: Watts = site.miners.iter().filter(on_it).map(|miner| miner.sleep).sum();
        let source = Source::Interlock(CircuitId(index));
        let cap = Some(asleep);
        slot.limits.push(LimitValue { source, cap, headroom: asleep, acts: !holds });
        if !holds && asleep.get() < slot.headroom {
            slot.headroom = asleep.get();
            slot.unreserved = asleep.get();
            slot.binding = source;
        }
    }
}

impl Headroom {
    /// Takes in a cap on its circuit. `names` are what it is listed as, and what binds where it is the tightest.
    fn cap(&mut self, circuit: &Circuit, scope: Scope, cap: f64, names: (Source, Source), acts: bool) {
        let margin = circuit.margin.get();
        let (headroom, reserved) = match scope {
            Scope::Import => (cap - margin - self.other - self.reserve, self.reserve),
            Scope::Miners => (cap - margin, 0.0),
        };
        self.limits.push(LimitValue {
            source: names.0,
            cap: Some(Watts::saturating(cap)),
            headroom: Watts::saturating(headroom),
            acts,
        });
        if !acts {
            return;
        }
        let told = self.power.filter(|_| scope == Scope::Import || circuit.dedicated);
        self.exceeded |= told.is_none_or(|power| power.get() > cap);
        self.unreserved = self.unreserved.min(headroom + reserved);
        if headroom < self.headroom {
            self.headroom = headroom;
            self.binding = names.1;
        }
    }
}

/// A meter that is lost is a limit on the miners of its circuit, whether other limits stand on it or not.
fn apply_lost_meters(site: &Site, meters: Meters<'_>, nameplates: &[f64], result: &mut [Headroom]) {
    for ((circuit, slot), nameplate) in site.circuits.iter().zip(result.iter_mut()).zip(nameplates) {
        let (Some(id), Some((_, seen))) = (circuit.meter, meters.of(site, circuit)) else {
            continue;
        };
        if seen.lost <= 0.0 {
            continue;
        }
        let fail_safe = circuit.fail_safe.get();
        let known = seen.input.power.is_some();
        let headroom =
            if known { decay(slot.headroom.min(*nameplate), fail_safe, seen.lost) } else { fail_safe };
        let source = Source::LostMeter(id);
        slot.limits.push(LimitValue { source, cap: None, headroom: Watts::saturating(headroom), acts: true });
        if headroom <= slot.headroom || !known {
            slot.headroom = slot.headroom.min(headroom);
            slot.unreserved = slot.unreserved.min(headroom);
            slot.binding = source;
        }
    }
}
