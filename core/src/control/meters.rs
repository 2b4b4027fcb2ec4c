//! What the circuits' meters tell of their miners and of everything else, from cycle to cycle.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::balance::{Balance, Outlook, Sample};
use crate::control::combine::Seen;
use crate::control::history::History;
use crate::control::lag::{Against, Doubt, HALFWAY, LagEstimator, shifted};
use crate::control::site::{Circuit, Meter, Site};
use crate::control::snapshot::MeterStatus;
use crate::control::tree::Tree;
use crate::moment::Moment;

mod pulse;

pub use pulse::{Pulse, Question};
use pulse::{SHOWN, SLOWEST};

/// How far a dedicated meter may lie from the miners' own readings before it is no longer believed to be a matter
/// of calibration.
const GAIN_RANGE: (f64, f64) = (0.6, 1.6);
/// A meter that shows less than this share of what the miners say sees a fleet that has stopped, and whose words are means of what it
/// drew before.
const NO_CALIBRATION: f64 = GAIN_RANGE.0 / 2.0;
/// Time over which the calibration is learned, in seconds, and the least that must be seen before it counts.
const GAIN_TIME: (f64, f64) = (120.0, 3.0);
/// A calibration that differs by less is the same.
const GAIN_STEP: f64 = 0.003;
/// A fleet that has moved by more than this share in the time before teaches nothing about calibration. Where it has not
/// stood within the second share, a difference that its movement explains teaches a tenth of what it teaches else: its readings
/// are behind it.
const CALM: (f64, f64) = (0.15, 0.02);
/// How many times its movement readings may be behind a fleet: where they say too little, and too much.
const BEHIND: (f64, f64) = (1.0, 3.0);
/// The time before, for the one and the other.
const CALM_FOR: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// What a moving fleet counts beside one that stands.
const MOVING_COUNTS: f64 = 0.1;
/// A comparison waits at the most this long for the meters that see the miners alone.
const COMMON_WAIT: Duration = Duration::from_secs(2);
/// What the estimate of a whole fleet is wrong by in time, to either side, in seconds.
const MODEL_DOUBT: f64 = 0.5;
/// How steeply servers may swing from one sample to the next is what they did in so long.
const SWINGS: Duration = Duration::from_secs(5);
/// What a dedicated meter shows beyond its miners counts beyond this many times its noise.
const BEYOND_NOISE: f64 = 3.0;

/// A fleet that draws less than this part of its nameplates may import as much as one that draws so much.
pub const LEAST_DRAWN: f64 = 0.25;

/// Whether a meter moves with its miners or against them, over stretches that are long beside any lag.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Direction {
    /// Beginning of the stretch, the meter and what the miners said then.
    from: Option<(Moment, f64, f64)>,
    /// The sample before.
    latest: Option<f64>,
    /// In this stretch the meter has jumped.
    jumped: bool,
    /// In how many of the latest stretches in which the miners moved it has moved against them.
    times: u32,
    /// After so many it is taken to be turned round.
    enough: u32,
    /// It has moved with them.
    proven: bool,
    /// It moves against its miners.
    turned: bool,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            from: None,
            latest: None,
            jumped: false,
            times: 0,
            enough: AGAINST_TIMES.0,
            proven: false,
            turned: false,
        }
    }
}

/// A stretch, and how far the miners must move in it, as a share of their nameplates.
const STRETCH: (Duration, f64) = (Duration::from_secs(60), 0.05);
/// By this share of the nameplates a meter moves from one sample to the next where a stretch may begin or end.
const CALM_MOVE: f64 = 0.1;
/// One that has moved with its miners, and jumps by this share of the nameplates between two samples, shows a load that came or went:
/// what the miners make of it afterwards is no movement against them.
const JUMP: f64 = 0.05;
/// By so much for each watt of the miners moves a meter that is turned round, and what else hangs there moves as well. What the
/// miners follow moves less than they do: with the sun alone it comes to nothing.
const AGAINST: std::ops::RangeInclusive<f64> = -1.6..=-0.5;
/// So many times in a row, at first and at the most: twice as often whenever it has turned out to be wrong.
const AGAINST_TIMES: (u32, u32) = (3, 24);
/// A fleet that draws more than this share of what it can draw does not take the whole of a rise, so that a sound meter moves
/// against it: what begins or ends there says nothing.
const FULL: f64 = 0.93;
/// A meter that is taken to be turned round has its fleet put down. Where that is at least this share of the nameplates, what it
/// shows then is beyond doubt: no sun goes down like that.
const TRIAL: f64 = 0.2;
/// By so much for each watt of the miners moves one that is not, likewise; miners may say a third of what they draw.
const WITH: std::ops::RangeInclusive<f64> = 0.5..=3.0;
/// What moves for a shorter time than this may be a coincidence, or be over before the meter shows it.
const SHORTEST_PROOF: Duration = Duration::from_secs(10);
/// Where no sample is calm, a stretch ends after so many times its length and tells nothing.
const UNTOLD: u32 = 3;
/// Until a meter has moved with the miners they rise by this share of their nameplates in a stretch at the most: one that
/// is turned round says that the more they draw, the more there is.
const UNPROVEN_RISE: f64 = 0.1;

impl Direction {
    /// Takes in a sample. From `full` watts on the fleet is full.
    fn take(&mut self, at: Moment, meter: f64, miners: f64, nameplate: f64, full: f64) {
        // A value that stands apart from the one before it, or the one after such, begins and ends no stretch.
        let leap = self.latest.map_or(f64::INFINITY, |latest| (meter - latest).abs());
        let apart = leap > nameplate * CALM_MOVE;
        self.jumped |= leap > nameplate * JUMP;
        self.latest = Some(meter);
        let Some((from, before, said)) = self.from else {
            self.from = Some((at, meter, miners)).filter(|_| !apart);
            self.jumped = false;
            return;
        };
        if apart {
            self.from = self.from.filter(|_| at - from < STRETCH.0 * UNTOLD);
            return;
        }
        let (own, seen) = (miners - said, meter - before);
        let moved = own.abs() >= nameplate * STRETCH.1;
        // What they say comes to little while the meter stands: it was the mean of what they drew before, and nothing begins at it.
        let stopped = miners < said * NO_CALIBRATION;
        if !self.proven && moved && stopped && (seen / own).abs() < *WITH.start() {
            if at - from >= STRETCH.0 {
                self.times = 0;
            }
            (self.from, self.jumped) = (Some((at, meter, miners)), false);
            return;
        }
        let with = moved && at - from >= SHORTEST_PROOF && WITH.contains(&(seen / own));
        self.proven |= with;
        if self.turned && with && own <= -nameplate * TRIAL {
            (self.turned, self.times) = (false, 0);
            self.enough = (self.enough * 2).min(AGAINST_TIMES.1);
        }
        if at - from < STRETCH.0 {
            return;
        }
        self.from = Some((at, meter, miners));
        let jumped = std::mem::take(&mut self.jumped);
        if !moved || miners.max(said) > full || (self.proven && jumped) {
            return;
        }
        let against = AGAINST.contains(&(seen / own));
        self.times = if against { self.times.saturating_add(1) } else { 0 };
        self.turned |= self.times >= self.enough;
    }
}

/// The meters of one cycle.
#[derive(Clone, Copy)]
pub struct Meters<'m> {
    /// The moment of the cycle.
    pub now: Moment,
    /// One for each of the site's meters.
    pub seen: &'m [Seen],
}

impl Meters<'_> {
    /// The meter of a circuit and what it says.
    pub fn of<'a>(&self, site: &'a Site, circuit: &Circuit) -> Option<(&'a Meter, Seen)> {
        let id = circuit.meter?;
        let meter = site.meters.get(id.0)?;
        Some((meter, self.seen.get(id.0).copied().unwrap_or(Seen::NOTHING)))
    }
}

/// What is remembered of a circuit between cycles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitMemory {
    /// Estimated draw of all its miners, in the miners' own watts.
    pub estimate: History,
    /// What they say that they draw, likewise: no model has a part in it.
    pub told: History,
    /// The least that they may have been drawing, as the estimate.
    least: History,
    /// The part of the estimate that is of miners which start.
    starting: History,
    /// The meter's samples by their stamps.
    pub metered: History,
    /// Receipt of the newest sample of its meter.
    pub sample_at: Option<Moment>,
    /// Load other than miners.
    pub balance: Balance,
    /// How late its meter shows what the miners do, by the estimate.
    pub lag: LagEstimator,
    /// The same, by the meters that see them alone.
    pub against: LagEstimator,
    /// Whether meters see all of its miners alone.
    pub miners_metered: bool,
    /// Whether its miners are servers, all of them: what its meter shows moving beyond commands is their swing.
    pub only_servers: bool,
    /// Metered draw over the miners' own readings, learned; 1 without a dedicated meter.
    pub gain: f64,
    /// What the calibration rests on: metered and estimated watt-seconds, and seconds.
    calibration: (f64, f64, f64),
    /// When the newest of its samples was last read again.
    repeated_at: Option<Moment>,
    /// Whether its meter lives.
    pub pulse: Pulse,
    direction: Direction,
}

impl Default for CircuitMemory {
    fn default() -> Self {
        Self {
            estimate: History::default(),
            told: History::default(),
            least: History::default(),
            starting: History::default(),
            metered: History::default(),
            sample_at: None,
            balance: Balance::default(),
            lag: LagEstimator::default(),
            against: LagEstimator::default(),
            miners_metered: false,
            only_servers: false,
            gain: 1.0,
            calibration: (0.0, 0.0, 0.0),
            repeated_at: None,
            pulse: Pulse::default(),
            direction: Direction::default(),
        }
    }
}

impl CircuitMemory {
    /// Takes over what is remembered by another. What the site says of the circuit stays.
    pub fn take_over(&mut self, known: Self) {
        let (miners_metered, only_servers) = (self.miners_metered, self.only_servers);
        *self = Self { miners_metered, only_servers, ..known };
    }

    /// What a dedicated meter shows beyond what its miners say that they draw, in watts: other load, or a calibration that is not
    /// learned yet. Less than a calibration is ever wrong by is none.
    pub fn unexplained(&self, known: &Outlook) -> f64 {
        let miners = self.estimate.newest().map_or(0.0, |(_, value)| value * self.gain);
        let hair = (miners * GAIN_STEP).max(self.balance.noise() * BEYOND_NOISE);
        (known.level - known.below - hair).max(0.0)
    }

    /// Whether a value is only the one before, read again: the device has had no time for a new one. Of a device of which
    /// nobody knows how often it has one that is so when the miners have moved since and it must have shown that by now.
    fn repeats(&mut self, at: Moment, value: f64, refresh: Option<Duration>, nameplate: f64) -> bool {
        let Some((since, known)) = self.metered.newest() else { return false };
        if known.total_cmp(&value).is_eq() {
            self.repeated_at = Some(at);
            if let Some(refresh) = refresh {
                return at - since < refresh.mul_f64(1.3);
            }
            let doubt = self.lag.doubt(Against::Estimate).widened(MODEL_DOUBT);
            let moved = |lag: f64| {
                let drawn =
                    |moment: Moment| self.estimate.at(shifted(moment, lag)).unwrap_or(0.0) * self.gain;
                (drawn(at) - drawn(since)).abs() > nameplate * SHOWN.0
            };
            // However late it is.
            return moved(doubt.least.max(0.0)) && moved(doubt.most) && at - since < SLOWEST;
        }
        // A quick device has had this value until now; of a slow one nobody knows.
        let quick = refresh.is_none_or(|refresh| refresh <= COMMON_WAIT);
        if let Some(until) = self.repeated_at.take().filter(|until| quick && *until > since) {
            self.metered.push(until, known);
        }
        false
    }

    /// How late its meter is, as far as that is known.
    ///
    /// `feeders` is the lag of the meters that see the miners alone, where somebody has told it.
    pub fn doubt(&self, meter: &Meter, against: Against, feeders: Option<f64>) -> Doubt {
        match against {
            Against::Meters => match feeders.filter(|_| !meter.learn_lag) {
                Some(feeders) => Doubt::certain(meter.lag.as_secs_f64() - feeders),
                None => self.against.doubt(against),
            },
            Against::Estimate if !meter.learn_lag => Doubt::certain(meter.lag.as_secs_f64()),
            Against::Estimate => self.lag.doubt(against),
        }
    }

    /// The lag that people are told, and that the stamps of its samples stand for.
    pub fn lag_used(&self, meter: &Meter) -> Duration {
        if meter.learn_lag { self.lag.learned().unwrap_or(meter.lag) } else { meter.lag }
    }

    /// What its miners may draw at the most until its meter has been seen to move with them, in watts; infinite from then on.
    ///
    /// `scale` is what they draw for each watt that they say; `step` is what the one among them draws at the most that draws
    /// most, in watts: one may always rise.
    pub fn unproven(&self, nameplate: f64, scale: f64, step: f64) -> f64 {
        if self.direction.proven {
            return f64::INFINITY;
        }
        let from = self.direction.from.map(|(_, _, miners)| miners);
        let from = from.or(self.told.newest().map(|(_, told)| told)).unwrap_or(0.0);
        from * scale + (nameplate * UNPROVEN_RISE).max(step)
    }

    /// What was learned of the direction of the meter is forgotten: somebody has been there.
    pub fn look_again(&mut self) {
        if self.direction.turned {
            self.direction = Direction::default();
        }
    }
}

/// What the memories are brought up to date with.
pub struct Terms<'t> {
    /// The site.
    pub site: &'t Site,
    /// Its circuits.
    pub tree: &'t Tree,
    /// Per circuit, the estimated draw of all miners at or below it, in the miners' own watts.
    pub estimates: &'t [f64],
    /// Per circuit, what they said last that they draw.
    pub told: &'t [f64],
    /// Per circuit, by how much less than estimated those on their way down may be drawing.
    pub further: &'t [f64],
    /// Per circuit, the part of the estimates that is of miners which start.
    pub starting: &'t [f64],
    /// Per circuit, the nameplates of those, less those of the ones that run. Above zero the estimate may be off by all of what they draw.
    pub more_start: &'t [f64],
    /// Per circuit, the sum of their nameplates.
    pub nameplates: &'t [f64],
    /// Per circuit, the sum of their highest points.
    pub maxima: &'t [f64],
    /// The longest time between two readings of a miner.
    pub poll: Duration,
    /// From a decision until the miners have begun to follow a shed.
    pub response: Duration,
    /// Whether the miners may be moved to see whether a meter lives.
    pub asks: bool,
}

/// Feeds the newest samples and estimates into the memories.
pub fn remember(terms: &Terms<'_>, memories: &mut [CircuitMemory], meters: Meters<'_>) {
    let each = terms.estimates.iter().zip(terms.told).zip(terms.starting.iter().zip(terms.further));
    for (memory, ((estimate, told), (starting, further))) in memories.iter_mut().zip(each) {
        memory.estimate.push(meters.now, *estimate);
        memory.told.push(meters.now, *told);
        memory.starting.push(meters.now, *starting);
        memory.least.push(meters.now, *estimate - *further);
    }
    for (index, circuit) in terms.site.circuits.iter().enumerate() {
        let (Some((_, seen)), Some(memory)) = (meters.of(terms.site, circuit), memories.get_mut(index))
        else {
            continue;
        };
        let nameplate = terms.nameplates.get(index).copied().unwrap_or(0.0);
        // Where there is no limit nothing is at stake.
        let asks = terms.asks && terms.site.limits.iter().any(|limit| limit.circuit.0 == index);
        let delay = terms.poll + Duration::from_secs(2);
        pulse::watch(memory, &seen, meters.now, nameplate, delay, asks);
        let (Some(low), Some(high)) = (seen.low, seen.high) else { continue };
        if memory.sample_at == Some(high.at) {
            continue;
        }
        memory.sample_at = Some(high.at);
        // In doubt, the miners have drawn less than a meter says that sees them alone: then the rest is other load.
        let worse = if circuit.dedicated && !seen.one_sided() { low } else { high };
        if memory.repeats(high.at, worse.value.get(), seen.input.refresh, nameplate) {
            continue;
        }
        memory.metered.push(high.at, worse.value.get());
        if seen.one_sided() {
            continue;
        }
        let middle = (low.value.get() + high.value.get()) / 2.0;
        let CircuitMemory { estimate, starting, lag, gain, .. } = memory;
        let reach = estimate.oldest().map(|(at, _)| at);
        let miners = |at: Moment| {
            // Before the beginning nothing is known.
            estimate.at(at).filter(|_| reach.is_some_and(|reach| reach <= at)).map(|value| value * *gain)
        };
        // Among many that run, the few that start are no more than an error of the estimate like others.
        let guessed = terms.more_start.get(index).is_some_and(|more| *more > 0.0);
        let starts = |at: Moment| starting.at(at).filter(|_| guessed).map_or(0.0, |value| value * *gain);
        lag.take(high.at, middle, (miners, starts), meters.now, Against::Estimate, nameplate);
        let miners = memory.told.at(high.at).unwrap_or(0.0);
        let full = terms.maxima.get(index).copied().unwrap_or(0.0) * FULL;
        memory.direction.take(high.at, middle, miners, nameplate, full);
        if circuit.dedicated {
            calibrate(memory, high.value.get(), high.at, nameplate, seen.period);
        }
    }
    // Children first: what meters below see is known before it is compared with what lies above.
    for index in (0..terms.site.circuits.len()).rev() {
        compare(terms, memories, meters, index);
    }
}

/// Meters that cannot be believed are lost ones.
pub fn distrust(site: &Site, memories: &[CircuitMemory], seen: &mut [Seen]) {
    for (circuit, memory) in site.circuits.iter().zip(memories) {
        let Some(seen) = circuit.meter.and_then(|meter| seen.get_mut(meter.0)) else { continue };
        let status = match (memory.direction.turned, memory.pulse.frozen()) {
            (true, _) => MeterStatus::Turned,
            (false, true) => MeterStatus::Frozen,
            (false, false) => continue,
        };
        // Of one that is silent it is no news that its latest value stands still, nor of one that answers again with that.
        let speaks = seen.input.status == MeterStatus::Ok && seen.fresh();
        seen.lost = 1.0;
        if speaks {
            seen.input.status = status;
        }
    }
}

/// Learns how the meter sees the miners' own watts, from what both say over some time: a shift in time averages out.
fn calibrate(memory: &mut CircuitMemory, metered: f64, at: Moment, nameplate: f64, period: Duration) {
    let then = shifted(at, memory.lag.doubt(Against::Estimate).best);
    let Some(estimate) = memory.estimate.at(then) else { return };
    let newest = memory.estimate.newest().map_or(then, |(at, _)| at);
    // What the meter shows moving, they say later.
    let shown =
        memory.metered.range(at.earlier(CALM_FOR.0), at).map_or(f64::INFINITY, |(low, high)| high - low);
    if shown >= CALM.0 * metered.max(estimate) || metered < estimate * NO_CALIBRATION {
        return;
    }
    let moved = |time: Duration| {
        let range = memory.estimate.range(then.earlier(time), newest);
        range.map_or(f64::INFINITY, |(low, high)| high - low)
    };
    if estimate < 0.05 * nameplate || moved(CALM_FOR.0) >= CALM.0 * estimate {
        return;
    }
    let stood = moved(CALM_FOR.1) < CALM.1 * estimate;
    let off = metered - estimate * memory.gain;
    // That they draw more than they say is believed sooner: it is the side on which a cap is exceeded.
    let behind = if off > 0.0 { BEHIND.0 } else { BEHIND.1 };
    let explained = off.abs() <= moved(CALM_FOR.1) * memory.gain * behind;
    let counts = if stood || !explained { 1.0 } else { MOVING_COUNTS };
    let seconds = period.as_secs_f64().clamp(0.25, GAIN_TIME.0 / 5.0);
    let keep = (-seconds / GAIN_TIME.0).exp();
    let weight = seconds * counts;
    let (seen, own, time) = memory.calibration;
    memory.calibration =
        (seen * keep + metered * weight, own * keep + estimate * weight, time * keep + weight);
    let (seen, own, time) = memory.calibration;
    let gain = (seen / own).clamp(GAIN_RANGE.0, GAIN_RANGE.1);
    // To follow every flicker would move the miners for nothing.
    if time >= GAIN_TIME.1 && gain.is_finite() && (gain - memory.gain).abs() > GAIN_STEP {
        memory.gain = gain;
    }
}

/// The meters below a circuit that see its miners alone, as far as they are fresh.
fn feeders(terms: &Terms<'_>, meters: Meters<'_>, index: usize, found: &mut Vec<usize>) -> bool {
    terms.tree.children(index).iter().all(|&child| {
        let Some(circuit) = terms.site.circuits.get(child) else { return true };
        match meters.of(terms.site, circuit).filter(|_| circuit.dedicated) {
            Some((_, seen)) => {
                found.push(child);
                seen.fresh()
            }
            None => feeders(terms, meters, child, found),
        }
    })
}

/// Compares the newest sample of a circuit's meter with its miners.
fn compare(terms: &Terms<'_>, memories: &mut [CircuitMemory], meters: Meters<'_>, index: usize) {
    let site = terms.site;
    let Some((circuit, (meter, seen))) =
        site.circuits.get(index).and_then(|circuit| Some((circuit, meters.of(site, circuit)?)))
    else {
        return;
    };
    let Some((newest, memory)) =
        memories.get(index).and_then(|memory| Some((memory.metered.newest()?, memory)))
    else {
        return;
    };
    let mut below = Vec::new();
    let by_meters = !circuit.dedicated
        && memory.miners_metered
        && feeders(terms, meters, index, &mut below)
        && !below.is_empty();
    let against = if by_meters { Against::Meters } else { Against::Estimate };
    let known = below.iter().filter_map(|&child| memories.get(child)?.metered.newest()).map(|(at, _)| at);
    let known = if by_meters { known.min().unwrap_or(newest.0) } else { meters.now };

    // Learn before comparing, so that this sample already counts by what it teaches.
    if by_meters {
        let nameplate = terms.nameplates.get(index).copied().unwrap_or(0.0);
        let mut estimator =
            memories.get_mut(index).map(|memory| std::mem::take(&mut memory.against)).unwrap_or_default();
        let reach =
            below.iter().filter_map(|&child| memories.get(child)?.metered.oldest()).map(|(at, _)| at).max();
        // Before the beginning nothing is known.
        let drawn =
            |at: Moment| drawn_by(memories, &below, at).filter(|_| reach.is_some_and(|reach| reach <= at));
        estimator.take(newest.0, newest.1, (drawn, |_| 0.0), known, Against::Meters, nameplate);
        if let Some(memory) = memories.get_mut(index) {
            memory.against = estimator;
        }
    }
    let Some(memory) = memories.get(index) else { return };
    let told = below.iter().map(|&child| {
        let (feeder, _) = meters.of(site, site.circuits.get(child)?)?;
        (!feeder.learn_lag).then_some(feeder.lag.as_secs_f64())
    });
    let told = told.collect::<Option<Vec<f64>>>().map(|lags| lags.into_iter().fold(0.0, f64::max));
    let doubt = memory.doubt(meter, against, told);
    let doubt = if by_meters || !meter.learn_lag { doubt } else { doubt.widened(MODEL_DOUBT) };
    // The newest instant at which both sides were measured, unless the one is far behind the other.
    let both = shifted(known, -doubt.best) + seen.period / 4;
    let wait = (seen.period * 2).min(COMMON_WAIT);
    let at = match memory.metered.latest(both) {
        Some((at, _)) if newest.0.since(both) <= wait => at,
        _ => newest.0,
    };
    if memory.balance.instant().is_some_and(|before| at <= before) {
        return;
    }
    let Some(power) = memory.metered.at(at) else { return };
    let (from, to) = (shifted(at, doubt.most), shifted(at, doubt.least));
    let drawn = if by_meters {
        let spread = below.iter().filter_map(|&child| memories.get(child)?.metered.range(from, to));
        let spread = spread.fold((0.0, 0.0), |sum, range| (sum.0 + range.0, sum.1 + range.1));
        drawn_by(memories, &below, shifted(at, doubt.best)).map(|best| (best, spread))
    } else {
        let scaled = |value: f64| value * memory.gain;
        let best = memory.estimate.at(shifted(at, doubt.best).min(meters.now)).map(scaled);
        let spread =
            memory.estimate.range(from, to.min(meters.now)).map(|(low, high)| (scaled(low), scaled(high)));
        best.zip(spread)
    };
    let Some((best, (low, high))) = drawn else { return };
    let lag = memory.doubt(meter, Against::Estimate, None).best.max(0.0);
    let loop_time = terms.response + Duration::try_from_secs_f64(lag).unwrap_or(Duration::ZERO);
    let sample = Sample {
        instant: at,
        value: power - best,
        doubt: ((high - best).max(0.0), (best - low).max(0.0)),
        swing: if by_meters {
            below.iter().filter_map(|&child| swing(memories.get(child)?, from, to)).sum()
        } else {
            0.0
        },
        further: if by_meters {
            0.0
        } else {
            let least = memory.least.range(from, to.min(meters.now));
            least.map_or(0.0, |(least, _)| (low.min(best) - least * memory.gain).max(0.0))
        },
        loop_time,
        period: seen.period,
        nameplate: terms.nameplates.get(index).copied().unwrap_or(0.0),
    };
    if let Some(memory) = memories.get_mut(index) {
        let before = memory.balance.instant();
        memory.balance.take(&sample);
        // What was really imported, by the filtered meter.
        let since = before.map_or(0.0, |before| (at - before).as_secs_f64());
        let now = memory.estimate.at(shifted(at, lag)).map_or(best, |estimate| estimate * memory.gain);
        let level = memory.balance.outlook().map_or(sample.value, |outlook| outlook.level);
        let drawn = now.max(sample.nameplate * LEAST_DRAWN);
        let may = site.settings.import_share * drawn;
        let kept = memory.balance.reserve(may, 0.0, sample.nameplate);
        memory.balance.spend((level + now).min(now), may, since, kept, sample.nameplate);
    }
}

/// By how much less than the least value of a meter from one moment to another its servers may draw: they swing between two samples, and on
/// after the newest. No further than they did lately, and not below nothing.
fn swing(memory: &CircuitMemory, from: Moment, to: Moment) -> Option<f64> {
    let history = &memory.metered;
    let (newest, _) = history.newest().filter(|_| memory.only_servers)?;
    let end = to + HALFWAY;
    let (near, _) = history.range(from, to)?;
    let (far, _) = history.range(from.earlier(HALFWAY), end)?;
    let lately = newest.earlier(SWINGS.max(memory.balance.period() * 2));
    let (low, high) = history.range(lately, newest)?;
    let further = (history.steepest(lately) * end.since(newest).as_secs_f64()).min(high - low);
    Some((near - far + further).clamp(0.0, near.max(0.0)))
}

/// What meters that see miners alone say together of a moment. Beyond the newest sample, what the estimate says has
/// moved since.
fn drawn_by(memories: &[CircuitMemory], feeders: &[usize], at: Moment) -> Option<f64> {
    let mut sum = 0.0;
    for &feeder in feeders {
        let memory = memories.get(feeder)?;
        let (newest, value) = memory.metered.newest()?;
        sum += if at <= newest {
            memory.metered.at(at)?
        } else {
            value + (memory.estimate.at(at)? - memory.estimate.at(newest)?) * memory.gain
        };
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty minutes of a meter beside 100 kW of miners that move by `own`, seen `factor` fold, with other load.
    fn turned_after(factor: f64, own: impl Fn(f64) -> f64, other: impl Fn(f64) -> f64) -> Option<u32> {
        let mut direction = Direction::default();
        (0..1_200).find(|second| {
            let at = f64::from(*second);
            let meter = factor * (other(at) + own(at));
            direction.take(
                Moment::after_start(Duration::from_secs(u64::from(*second))),
                meter,
                own(at),
                100e3,
                93e3,
            );
            direction.turned
        })
    }

    /// Orders that come and go, say.
    fn steps(at: f64) -> f64 {
        if (at / 75.0) % 2.0 < 1.0 { 90e3 } else { 50e3 }
    }

    #[test]
    fn a_meter_that_is_turned_round_is_told_from_one_that_is_not() {
        let calm = |at: f64| 3e3 * (at / 11.0).sin() - 20e3;
        let found = turned_after(-1.0, steps, calm);
        assert!(found.is_some_and(|second| second < 600), "{found:?}");
        assert_eq!(turned_after(1.0, steps, calm), None);
    }

    #[test]
    fn a_load_that_switches_turns_no_meter_that_has_moved_with_its_miners() {
        // They take a part of what it leaves, in time, and give it back at once.
        let phase = |at: f64| (at + 10.0) % 120.0;
        let away = |at: f64| at > 240.0 && phase(at) < 60.0;
        let taken = |at: f64| if away(at) { (phase(at) * 0.35e3).min(20e3) } else { 0.0 };
        let other = |at: f64| if away(at) { -80e3 } else { -40e3 };
        for shift in 0..12 {
            let shift = f64::from(shift) * 5.0;
            let own = |at: f64| 30e3 + 5e3 * (at.min(120.0) / 60.0) + taken(at + shift);
            assert_eq!(turned_after(1.0, own, |at| other(at + shift)), None, "{shift}");
        }
    }

    #[test]
    fn a_fleet_that_follows_the_sun_late_turns_no_meter() {
        for late in [0.0, 5.0, 20.0] {
            let sun = |at: f64| 90e3 + 40e3 * (at / 47.0).sin() + 15e3 * (at / 13.0).sin();
            assert_eq!(turned_after(1.0, |at| sun(at - late), |at| -sun(at)), None, "{late} s");
        }
    }

    /// A daemon that begins when the miners have just fallen asleep hears means that come down; 20 s later they are woken.
    #[test]
    fn words_that_come_down_after_the_beginning_do_not_keep_a_meter_from_being_proven() {
        let draw = |at: f64| if at < 20.0 { 1e3 } else { (1e3 + (at - 20.0) * 2e3).min(9e3) };
        let mut direction = Direction::default();
        for second in 0..36_u32 {
            let at = f64::from(second);
            let said = draw(at) + (6e3 - at * 600.0).max(0.0);
            let moment = Moment::after_start(Duration::from_secs(u64::from(second)));
            direction.take(moment, draw(at) - 24e3, said, 30e3, 28e3);
        }
        assert!(direction.proven, "{direction:?}");
    }

    #[test]
    fn a_full_fleet_that_takes_a_part_of_what_clouds_leave_turns_no_meter() {
        for period in [30.0, 60.0, 120.0, 240.0, 500.0] {
            let sun = move |at: f64| 95e3 + 25e3 * (at * std::f64::consts::TAU / period).sin();
            let taken = move |at: f64| sun(at - 3.0).min(98e3);
            assert_eq!(turned_after(1.0, taken, |at| -sun(at)), None, "{period} s");
        }
    }

    #[test]
    fn odd_values_turn_no_meter() {
        let odd = |at: f64| if at % 60.0 < 1.0 { -(at * 1e6) } else { -20e3 };
        assert_eq!(turned_after(1.0, steps, odd), None);
    }
}
