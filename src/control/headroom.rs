//! What each circuit's own limits leave to its miners.
//!
//! `headroom(t) = limit − (meter(t) − miners(t))`, meter and miners **at the same instant**, so that a command in
//! flight cancels out and is never corrected twice. Where a dedicated feeder meter covers the miners, its reading
//! at that instant is their draw; elsewhere it is the estimate that the control law kept of that instant.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::decision::{LimitValue, Source};
use crate::control::history::History;
use crate::control::site::{Cap, Circuit, LimitId, Meter, MeterId, Scope, Site};
use crate::control::snapshot::{MeterInput, Snapshot};
use crate::control::tree::Tree;
use crate::units::Watts;

/// How far a dedicated meter may lie from the miners' own readings before it is no longer believed to be a matter
/// of calibration.
const GAIN_RANGE: (f64, f64) = (0.9, 1.15);
/// More than any single site draws: 2 GW, in watts. Whatever lies beyond is taken for this, so that no sum or
/// difference of what comes in can overflow; that such a value makes no sense is for the meter to say.
const PLAUSIBLE: Watts = Watts::whole(2_000_000_000);
/// Time constant with which the calibration is learned.
const GAIN_TIME: f64 = 30.0;

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
    /// What set it; [`Source::Fleet`] without any.
    pub binding: Source,
    /// Every limit that acts here.
    pub limits: Vec<LimitValue>,
    /// What is kept free because the other load is rising (or generation falling) as this is decided.
    pub reserve: f64,
    /// Whether a new sample came since the cycle before; always true where no meter matters.
    pub new_sample: bool,
}

/// Feeds the newest samples and estimates into the memories. `estimates` holds, per circuit, the estimated draw of
/// all miners at or below it, in the miners' own watts; `nameplates` the sum of their nameplates.
pub fn remember(
    site: &Site,
    memories: &mut [CircuitMemory],
    snapshot: &Snapshot,
    estimates: &[f64],
    nameplates: &[f64],
) {
    for (memory, estimate) in memories.iter_mut().zip(estimates) {
        memory.estimate.push(snapshot.now, *estimate);
    }
    for (index, circuit) in site.circuits.iter().enumerate() {
        let Some((meter, input)) = meter_of(site, snapshot, circuit) else {
            continue;
        };
        let (Some(reading), Some(memory)) = (input.power, memories.get_mut(index)) else {
            continue;
        };
        if memory.sample_at == Some(reading.at) {
            continue;
        }
        memory.sample_at = Some(reading.at);
        let instant = reading.at.earlier(meter.lag);
        memory.metered.push(instant, reading.value.get());
        if circuit.dedicated {
            let nameplate = nameplates.get(index).copied().unwrap_or(0.0);
            calibrate(memory, reading.value.get(), instant, nameplate);
        }
    }
}

/// Learns how the meter sees the miners' own watts; only while they are calm, since a shift in time would be
/// taken for a shift in scale.
fn calibrate(memory: &mut CircuitMemory, metered: f64, instant: Moment, nameplate: f64) {
    let Some(estimate) = memory.estimate.at(instant) else {
        return;
    };
    let before = memory.estimate.at(instant.earlier(Duration::from_secs(4)));
    let after = memory.estimate.newest().map(|(_, value)| value);
    let calm =
        [before, after].into_iter().flatten().all(|value| (value - estimate).abs() < 0.01 * estimate.abs());
    if estimate < 0.05 * nameplate || !calm || !(metered / estimate).is_finite() {
        return;
    }
    let ratio = (metered / estimate).clamp(GAIN_RANGE.0, GAIN_RANGE.1);
    memory.gain += (ratio - memory.gain) / GAIN_TIME;
}

fn meter_of<'a>(site: &'a Site, snapshot: &Snapshot, circuit: &Circuit) -> Option<(&'a Meter, MeterInput)> {
    let id = circuit.meter?;
    let meter = site.meters.get(id.0)?;
    Some((meter, reading_of(snapshot, id)))
}

/// A meter's input, its value within [`PLAUSIBLE`]: sums and differences of such values are exact and finite.
fn reading_of(snapshot: &Snapshot, id: MeterId) -> MeterInput {
    let mut input = snapshot.meters.get(id.0).copied().unwrap_or(MeterInput::PENDING);
    if let Some(reading) = input.power.as_mut() {
        reading.value = reading.value.clamp(-PLAUSIBLE, PLAUSIBLE);
    }
    input
}

/// The newest instant at which the meter of a circuit and the meters that see its miners alone were all read: there
/// both sides of the comparison are measured, and no model stands between them. A miners' meter that is much later
/// than the circuit's own holds nothing up.
fn common_instant(
    site: &Site,
    tree: &Tree,
    memories: &[CircuitMemory],
    snapshot: &Snapshot,
    index: usize,
    newest: Moment,
) -> Moment {
    let mut common = newest;
    for &child in tree.children(index) {
        let Some(circuit) = site.circuits.get(child) else { continue };
        let known = memories.get(child).and_then(|memory| memory.metered.newest());
        match (meter_of(site, snapshot, circuit).filter(|_| circuit.dedicated), known) {
            (Some((meter, _)), Some((at, _))) if newest - at <= meter.period + meter.period => {
                common = common.min(at);
            }
            (Some(_), _) => {}
            (None, _) => {
                common = common.min(common_instant(site, tree, memories, snapshot, child, newest));
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
    snapshot: &Snapshot,
    index: usize,
    instant: Moment,
) -> f64 {
    let (Some(circuit), Some(memory)) = (site.circuits.get(index), memories.get(index)) else {
        return 0.0;
    };
    let estimate = |at: Moment| memory.estimate.at(at).unwrap_or(0.0) * memory.gain;
    if circuit.dedicated {
        let fresh = meter_of(site, snapshot, circuit).is_some_and(|(meter, input)| {
            input.power.is_some_and(|reading| snapshot.now - reading.at <= meter.stale_after)
        });
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
        .map(|&child| miners_at(site, tree, memories, snapshot, child, instant))
        .sum();
    direct.max(0.0) + covered
}

/// Everything about the circuits' own limits, parents before children.
pub fn headrooms(
    site: &Site,
    tree: &Tree,
    memories: &mut [CircuitMemory],
    snapshot: &Snapshot,
    nameplates: &[f64],
) -> Vec<Headroom> {
    // Load other than miners is known from the leaves up: a circuit without a meter adds up what it feeds.
    let mut others: Vec<f64> = vec![0.0; site.circuits.len()];
    let mut news: Vec<bool> = vec![true; site.circuits.len()];
    for (index, circuit) in site.circuits.iter().enumerate().rev() {
        let below: f64 = tree.children(index).iter().filter_map(|&child| others.get(child)).sum::<f64>();
        let metered = meter_of(site, snapshot, circuit).filter(|_| !circuit.dedicated);
        let other = match metered {
            None if circuit.dedicated => 0.0,
            None => circuit.other_load.get() + below,
            Some(_) => {
                let memory = memories.get(index);
                let newest = memory.and_then(|memory| memory.metered.newest());
                let compared = memory.and_then(|memory| memory.others.newest());
                let instant =
                    newest.map(|(newest, _)| common_instant(site, tree, memories, snapshot, index, newest));
                // An instant is compared once: later estimates of it would be no better.
                let fresh = instant.filter(|instant| compared.is_none_or(|(before, _)| *instant > before));
                if let Some(new) = news.get_mut(index) {
                    *new = fresh.is_some();
                }
                let power = |instant: Moment| memory.and_then(|memory| memory.metered.at(instant));
                match (fresh.and_then(|instant| Some((instant, power(instant)?))), compared) {
                    (Some((instant, power)), _) => {
                        let other = power - miners_at(site, tree, memories, snapshot, index, instant);
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
    let mut result: Vec<Headroom> = site
        .circuits
        .iter()
        .zip(others)
        .zip(news.into_iter().zip(memories.iter()))
        .map(|((circuit, other), (new_sample, memory))| Headroom {
            reserve: reserve(site, snapshot, circuit, memory),
            power: meter_of(site, snapshot, circuit)
                .and_then(|(meter, input)| Some((meter, input.power?)))
                .filter(|(meter, reading)| snapshot.now - reading.at <= meter.stale_after)
                .map(|(_, reading)| reading.value),
            other,
            headroom: f64::INFINITY,
            binding: Source::Fleet,
            limits: Vec::new(),
            new_sample,
        })
        .collect();
    apply_limits(site, snapshot, &mut result);
    apply_lost_meters(site, snapshot, nameplates, &mut result);
    result
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
fn reserve(site: &Site, snapshot: &Snapshot, circuit: &Circuit, memory: &CircuitMemory) -> f64 {
    let Some((meter, _)) = meter_of(site, snapshot, circuit).filter(|_| !circuit.dedicated) else {
        return 0.0;
    };
    let apart = meter.period.max(PACE_SPACING);
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
    let ahead = (snapshot.now - newest) + site.settings.anticipate;
    let gained = pace * ahead.min(meter.stale_after + meter.lag).as_secs_f64();
    (gained - doubt - site.settings.deadband.get()).max(0.0)
}

/// How far a value of this age has gone from trusted (0) to lost (1).
fn lost(meter: &Meter, age: Option<Duration>) -> f64 {
    let Some(age) = age else { return 1.0 };
    if age <= meter.stale_after {
        return 0.0;
    }
    let span = meter.fail_safe_after.saturating_sub(meter.stale_after).as_secs_f64();
    let gone = (age - meter.stale_after).as_secs_f64();
    if span > 0.0 { (gone / span).min(1.0) } else { 1.0 }
}

/// A value on its way from what was last known to the fail-safe, never above either while it is lost.
fn decay(known: f64, fail_safe: f64, lost: f64) -> f64 {
    if lost <= 0.0 { known } else { known + (fail_safe.min(known) - known) * lost }
}

fn apply_limits(site: &Site, snapshot: &Snapshot, result: &mut [Headroom]) {
    for (index, limit) in site.limits.iter().enumerate() {
        let Some((circuit, slot)) = site.circuits.get(limit.circuit.0).zip(result.get_mut(limit.circuit.0))
        else {
            continue;
        };
        let id = Source::Limit(LimitId(index));
        let (cap, source) = match limit.cap {
            Cap::Constant(cap) => (cap.clamp(-PLAUSIBLE, PLAUSIBLE).get(), id),
            Cap::Reading { meter: meter_id, fail_safe } => {
                let Some(meter) = site.meters.get(meter_id.0) else {
                    continue;
                };
                let input = reading_of(snapshot, meter_id);
                let lost = lost(meter, input.power.map(|reading| snapshot.now - reading.at));
                let cap = match input.power {
                    Some(reading) => decay(reading.value.get(), fail_safe.get(), lost),
                    None => fail_safe.get(),
                };
                (cap, if lost > 0.0 { Source::LostMeter(meter_id) } else { id })
            }
        };
        let margin = circuit.margin.get();
        let headroom = match limit.scope {
            Scope::Import => cap - margin - slot.other - slot.reserve,
            Scope::Miners => cap - margin,
        };
        slot.limits.push(LimitValue {
            source: id,
            cap: Some(Watts::saturating(cap)),
            headroom: Watts::saturating(headroom),
        });
        if headroom < slot.headroom {
            slot.headroom = headroom;
            slot.binding = source;
        }
    }
}

/// A meter that is lost is a limit on the miners of its circuit, whether other limits stand on it or not.
fn apply_lost_meters(site: &Site, snapshot: &Snapshot, nameplates: &[f64], result: &mut [Headroom]) {
    for ((circuit, slot), nameplate) in site.circuits.iter().zip(result.iter_mut()).zip(nameplates) {
        let (Some(id), Some((meter, input))) = (circuit.meter, meter_of(site, snapshot, circuit)) else {
            continue;
        };
        let lost = lost(meter, input.power.map(|reading| snapshot.now - reading.at));
        if lost <= 0.0 {
            continue;
        }
        let fail_safe = circuit.fail_safe.get();
        let headroom = match input.power {
            Some(_) => decay(slot.headroom.min(*nameplate), fail_safe, lost),
            None => fail_safe,
        };
        let source = Source::LostMeter(id);
        slot.limits.push(LimitValue { source, cap: None, headroom: Watts::saturating(headroom) });
        if headroom <= slot.headroom || input.power.is_none() {
            slot.headroom = slot.headroom.min(headroom);
            slot.binding = source;
        }
    }
}
