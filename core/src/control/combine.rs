//! What each meter says in a cycle, those included that are put together from others.
//!
//! A **sum** is taken at one instant: that of the newest sample of its slowest part. The other parts have been sampled
//! before and after it, and are taken in a straight line between those two samples; a part is wrong there by no more
//! than it has moved within one of its own periods. The sum is therefore as old as its oldest part, and it is lost with
//! any of them: a part that has fallen silent is never added to what the others say now.
//!
//! **Redundant** parts measure the same. The preferred one counts while it is good, then the next; it is returned to
//! when it has been good for a while. Where good parts differ for long, nobody knows which is right, so the worse value
//! counts: the higher one for what flows into a circuit, the lower one for a reading that is a cap.
//!
//! Because a sum can turn the sign of a part, what is worse is not known where the parts are compared. Every combined
//! meter therefore carries its lowest and its highest possible value; they differ while parts disagree.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::history::History;
use crate::control::measure::{Measure, Readings};
use crate::control::site::{Cap, Combination, Meter, MeterId, Part, Redundant, Site, Term};
use crate::control::snapshot::{MeterInput, MeterStatus, Reading, Snapshot};
use crate::moment::Moment;
use crate::units::Watts;

/// More than any single site draws: 2 GW, in watts. Whatever lies beyond is taken for this, so that no sum or
/// difference of what comes in can overflow; that such a value makes no sense is for the meter to say.
const PLAUSIBLE: Watts = Watts::whole(2_000_000_000);
/// A part that fails without being suspect in itself is used for this many of its periods; then another one is.
const PATIENCE: u32 = 3;

/// A value at an instant, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extent {
    /// The instant, the lag of whatever measured it taken off.
    pub at: Moment,
    /// The least that it can be, in watts.
    pub low: f64,
    /// The most that it can be, in watts.
    pub high: f64,
}

/// A meter in one cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// As the snapshot has it, within what is plausible at all; of a combined meter, what was made of its parts. Its
    /// power is the worse value for what the meter is used for.
    pub input: MeterInput,
    /// The least that its power can be; stamped as the input.
    pub low: Option<Reading<Watts>>,
    /// The most that its power can be; stamped as the input.
    pub high: Option<Reading<Watts>>,
    /// How far it has gone from trusted (0) to lost (1).
    pub lost: f64,
    /// Time between two samples: that of the polls, or of the device where that is longer.
    pub period: Duration,
    /// Of redundant parts, the position of the one in use.
    pub in_use: Option<usize>,
    /// Whether redundant parts disagree.
    pub disagreement: Option<bool>,
}

impl Seen {
    /// A meter of which nothing is known.
    pub const NOTHING: Self = Self {
        input: MeterInput::PENDING,
        low: None,
        high: None,
        lost: 1.0,
        period: Duration::from_secs(1),
        in_use: None,
        disagreement: None,
    };

    /// Whether it is known to one side only: a register of it stands at its end, and does not show what moves.
    pub fn one_sided(&self) -> bool {
        self.low.zip(self.high).is_some_and(|(low, high)| (high.value - low.value) >= PLAUSIBLE.scaled(0.5))
    }

    /// Whether its value may be used as it is.
    pub fn fresh(&self) -> bool {
        self.lost <= 0.0 && self.input.power.is_some()
    }
}

/// What is remembered of a part of a combined meter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct PartMemory {
    low: History,
    high: History,
    /// Since when it has been good without a break.
    good_since: Option<Moment>,
}

/// What is remembered of a combined meter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    parts: Vec<PartMemory>,
    /// Of a sum, the latest.
    sum: Option<Extent>,
    in_use: usize,
    /// Since when parts have differed by more than they may, or by less, without a break.
    apart_since: Option<Moment>,
    together_since: Option<Moment>,
    disagree: bool,
}

/// All meters from cycle to cycle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Combiner {
    /// The combined meters, each after its parts. One that were a part of itself would not be among them.
    order: Vec<usize>,
    /// For each meter: its value is a cap, so that the lower one is the worse.
    caps: Vec<bool>,
    memories: Vec<Memory>,
}

impl Combiner {
    /// Whether it is that of this site, as far as its own lists tell.
    pub(super) fn fits(&self, site: &Site) -> bool {
        let new = Self::new(site);
        self.order == new.order && self.caps == new.caps && self.memories.len() == new.memories.len()
    }

    /// A combiner that has seen nothing yet.
    pub fn new(site: &Site) -> Self {
        let mut caps = vec![false; site.meters.len()];
        for limit in &site.limits {
            if let Cap::Reading { meter, .. } = limit.cap
                && let Some(cap) = caps.get_mut(meter.0)
            {
                *cap = true;
            }
        }
        let memories = site.meters.iter().map(|meter| Memory {
            parts: meter
                .combined
                .iter()
                .flat_map(Combination::parts)
                .map(|_| PartMemory::default())
                .collect(),
            ..Memory::default()
        });
        Self { order: parts_first(site), caps, memories: memories.collect() }
    }

    /// Takes over what an earlier configuration knew of combined meters of the same name and the same parts.
    pub fn inherit(&mut self, site: &Site, earlier: &Self, before: &Site) {
        let names = |site: &Site, meter: &Meter| -> Option<Vec<(String, Measure)>> {
            let parts = meter.combined.as_ref()?.parts();
            let name = |part: Part| Some((site.meters.get(part.meter.0)?.name.clone(), part.measure));
            parts.map(name).collect()
        };
        for (meter, memory) in site.meters.iter().zip(self.memories.iter_mut()) {
            let known =
                before.meters.iter().zip(&earlier.memories).find(|(known, _)| known.name == meter.name);
            if let Some((known, remembered)) = known
                && meter.combined.is_some()
                && names(site, meter) == names(before, known)
            {
                *memory = remembered.clone();
            }
        }
    }

    /// What every meter of the site says in this cycle.
    pub fn look(&mut self, site: &Site, snapshot: &Snapshot) -> Vec<Seen> {
        let mut seen: Vec<Seen> = (0..site.meters.len())
            .zip(&site.meters)
            .map(|(index, meter)| match meter.combined {
                None => device(meter, snapshot.meters.get(index), snapshot.now),
                Some(_) => Seen::NOTHING,
            })
            .collect();
        for (seen, _) in seen.iter_mut().zip(&self.caps).filter(|(seen, cap)| **cap && seen.input.at_most) {
            seen.input.power = seen.low;
        }
        for &index in &self.order {
            let (Some(meter), Some(memory)) = (site.meters.get(index), self.memories.get_mut(index)) else {
                continue;
            };
            let views: Vec<View> = meter
                .combined
                .iter()
                .flat_map(Combination::parts)
                .map(|part| view(site, &seen, part, snapshot.now))
                .collect();
            for (view, part) in views.iter().zip(memory.parts.iter_mut()) {
                if let Some(extent) = view.extent {
                    part.low.push(extent.at, extent.low);
                    part.high.push(extent.at, extent.high);
                }
            }
            let mut combined = match &meter.combined {
                None => Seen::NOTHING,
                Some(Combination::Sum(terms)) => sum(terms, &views, memory),
                Some(Combination::Redundant(redundant)) => choose(redundant, &views, memory, snapshot.now),
            };
            // Nothing known is lost, however fresh the parts are.
            if combined.high.is_none() {
                combined.lost = 1.0;
            }
            combined.input.power =
                if self.caps.get(index) == Some(&true) { combined.low } else { combined.high };
            if let Some(slot) = seen.get_mut(index) {
                *slot = combined;
            }
        }
        seen
    }
}

/// The combined meters, each after the combined meters that are its parts.
fn parts_first(site: &Site) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    let mut placed: Vec<bool> = site.meters.iter().map(|meter| meter.combined.is_none()).collect();
    // Each round places at least one, or what is left goes round in a circle.
    loop {
        let next = site.meters.iter().enumerate().find(|(index, meter)| {
            placed.get(*index) == Some(&false)
                && meter
                    .combined
                    .iter()
                    .flat_map(Combination::parts)
                    .all(|part| placed.get(part.meter.0) == Some(&true))
        });
        let Some((index, _)) = next else { return order };
        order.push(index);
        if let Some(mark) = placed.get_mut(index) {
            *mark = true;
        }
    }
}

/// How far a value of this age has gone from trusted (0) to lost (1).
pub fn lost(meter: &Meter, age: Option<Duration>) -> f64 {
    let Some(age) = age else { return 1.0 };
    if age <= meter.stale_after {
        return 0.0;
    }
    let span = meter.fail_safe_after.saturating_sub(meter.stale_after).as_secs_f64();
    let gone = (age - meter.stale_after).as_secs_f64();
    if span > 0.0 { (gone / span).min(1.0) } else { 1.0 }
}

/// A meter that is a device of its own.
fn device(meter: &Meter, input: Option<&MeterInput>, now: Moment) -> Seen {
    let mut input = input.copied().unwrap_or(MeterInput::PENDING);
    if let Some(reading) = input.power.as_mut() {
        reading.value = reading.value.clamp(-PLAUSIBLE, PLAUSIBLE);
    }
    // Nobody knows how much less than what it can show.
    let low = input
        .power
        .map(|reading| if input.at_most { Reading { value: -PLAUSIBLE, ..reading } } else { reading });
    Seen {
        input,
        low,
        high: input.power,
        lost: lost(meter, input.power.map(|reading| now - reading.at)),
        period: input.refresh.map_or(meter.period, |refresh| refresh.max(meter.period)),
        in_use: None,
        disagreement: None,
    }
}

/// A part, as its combined meter sees it.
struct View {
    extent: Option<Extent>,
    status: MeterStatus,
    lost: f64,
    period: Duration,
    refresh: Option<Duration>,
    others: Readings,
    age: Option<Duration>,
}

fn view(site: &Site, seen: &[Seen], part: Part, now: Moment) -> View {
    let seen = seen.get(part.meter.0).copied().unwrap_or(Seen::NOTHING);
    let Some(meter) = site.meters.get(part.meter.0) else {
        return View {
            extent: None,
            status: MeterStatus::Pending,
            lost: 1.0,
            period: Duration::from_secs(1),
            refresh: None,
            others: Readings::NONE,
            age: None,
        };
    };
    let (extent, lost, at) = if part.measure == Measure::Power {
        let extent = seen.low.zip(seen.high).map(|(low, high)| Extent {
            at: low.at.earlier(meter.lag),
            low: low.value.get(),
            high: high.value.get(),
        });
        (extent, seen.lost, seen.low.map(|low| low.at))
    } else {
        let reading = seen.input.others.get(part.measure);
        let extent = reading.map(|reading| {
            let value = Watts::saturating(reading.value).clamp(-PLAUSIBLE, PLAUSIBLE).get();
            Extent { at: reading.at.earlier(meter.lag), low: value, high: value }
        });
        (extent, lost(meter, reading.map(|reading| now - reading.at)), reading.map(|reading| reading.at))
    };
    View {
        extent,
        status: seen.input.status,
        lost,
        period: seen.period,
        refresh: seen.input.refresh,
        others: seen.input.others,
        age: at.map(|at| now - at),
    }
}

/// How bad a status is, for the one word that is said of several.
fn badness(status: MeterStatus) -> u8 {
    match status {
        MeterStatus::Ok => 0,
        MeterStatus::Unavailable => 1,
        MeterStatus::Implausible => 2,
        MeterStatus::Frozen | MeterStatus::Turned => 3,
        MeterStatus::Exception(_) => 4,
        MeterStatus::Malformed => 5,
        MeterStatus::Unreachable => 6,
        MeterStatus::Pending => 7,
    }
}

fn sum(terms: &[Term], views: &[View], memory: &mut Memory) -> Seen {
    let newest = |part: &PartMemory| part.high.newest().map(|(at, _)| at);
    let instants: Option<Vec<Moment>> = memory.parts.iter().map(newest).collect();
    let common = instants.and_then(|instants| instants.into_iter().min());
    let news = common.filter(|common| memory.sum.is_none_or(|before| before.at < *common));
    if let Some(at) = news {
        // A part of which nothing is known as early as that would be taken for constant.
        let known = memory
            .parts
            .iter()
            .zip(views)
            .all(|(part, view)| part.high.oldest().is_some_and(|(oldest, _)| oldest <= at + view.period));
        let mut extent = Extent { at, low: 0.0, high: 0.0 };
        for (term, part) in terms.iter().zip(&memory.parts) {
            let (low, high) = (part.low.at(at).unwrap_or(0.0), part.high.at(at).unwrap_or(0.0));
            if term.negative {
                extent.low -= high;
                extent.high -= low;
            } else {
                extent.low += low;
                extent.high += high;
            }
        }
        if known {
            memory.sum = Some(extent);
        }
    }
    let reading =
        |value: f64, at| Reading { value: Watts::saturating(value).clamp(-PLAUSIBLE, PLAUSIBLE), at };
    let status = views.iter().map(|view| view.status).max_by_key(|status| badness(*status));
    Seen {
        input: MeterInput {
            refresh: views.iter().filter_map(|view| view.refresh).max(),
            ..MeterInput::new(status.unwrap_or(MeterStatus::Pending), None)
        },
        low: memory.sum.map(|sum| reading(sum.low, sum.at)),
        high: memory.sum.map(|sum| reading(sum.high, sum.at)),
        lost: views.iter().map(|view| view.lost).fold(0.0, f64::max),
        period: views.iter().map(|view| view.period).max().unwrap_or(Duration::from_secs(1)),
        in_use: None,
        disagreement: None,
    }
}

/// Whether a part may be followed: it is fresh, and nothing speaks against the device itself. A read that failed is no
/// reason yet; a value that is frozen, makes no sense or that the device takes back, is.
fn good(view: &View) -> bool {
    let patient = || view.age.is_some_and(|age| age <= view.period * PATIENCE);
    view.lost <= 0.0
        && view.extent.is_some()
        && match view.status {
            MeterStatus::Ok => true,
            MeterStatus::Frozen
            | MeterStatus::Turned
            | MeterStatus::Implausible
            | MeterStatus::Unavailable => false,
            MeterStatus::Pending
            | MeterStatus::Unreachable
            | MeterStatus::Malformed
            | MeterStatus::Exception(_) => patient(),
        }
}

fn choose(redundant: &Redundant, views: &[View], memory: &mut Memory, now: Moment) -> Seen {
    for (part, view) in memory.parts.iter_mut().zip(views) {
        part.good_since = if good(view) { part.good_since.or(Some(now)) } else { None };
    }
    let is_good = |index: usize| memory.parts.get(index).is_some_and(|part| part.good_since.is_some());
    let settled = |index: usize| {
        let since = memory.parts.get(index).and_then(|part| part.good_since);
        since.is_some_and(|since| now - since >= redundant.return_after)
    };
    let current = memory.in_use;
    let unasked =
        views.get(current).is_some_and(|view| view.extent.is_none() && view.status == MeterStatus::Pending);
    memory.in_use = if is_good(current) {
        (0..current).find(|&index| settled(index)).unwrap_or(current)
    } else if unasked {
        // At the start the first answer of the preferred part is waited for; its end is in sight.
        current
    } else {
        let least = || {
            let known = views.iter().enumerate().filter(|(_, view)| view.extent.is_some());
            known.min_by(|one, other| one.1.lost.total_cmp(&other.1.lost)).map_or(current, |(index, _)| index)
        };
        (0..views.len()).find(|&index| is_good(index)).unwrap_or_else(least)
    };

    let doubt = compare(redundant, memory, now);
    let chosen = views.get(memory.in_use);
    let own = chosen.and_then(|view| view.extent);
    let extent = doubt.or(own);
    let reading = |value: f64, at| Reading { value: Watts::saturating(value), at };
    let status = chosen.map_or(MeterStatus::Pending, |view| view.status);
    Seen {
        input: MeterInput {
            status: if doubt.is_some() { MeterStatus::Ok } else { status },
            power: None,
            others: chosen.map_or(Readings::NONE, |view| view.others),
            refresh: chosen.and_then(|view| view.refresh),
            at_most: false,
        },
        low: extent.map(|extent| reading(extent.low, extent.at)),
        high: extent.map(|extent| reading(extent.high, extent.at)),
        lost: if doubt.is_some() { 0.0 } else { chosen.map_or(1.0, |view| view.lost) },
        period: chosen.map_or(Duration::from_secs(1), |view| view.period),
        in_use: Some(memory.in_use),
        disagreement: Some(doubt.is_some()),
    }
}

/// Compares the good parts at one instant; tells between which values the truth must lie when they have disagreed for
/// too long.
fn compare(redundant: &Redundant, memory: &mut Memory, now: Moment) -> Option<Extent> {
    let good: Vec<&PartMemory> = memory.parts.iter().filter(|part| part.good_since.is_some()).collect();
    let at = good.iter().filter_map(|part| part.high.newest()).map(|(at, _)| at).min();
    let (Some(at), true) = (at, good.len() > 1) else {
        memory.apart_since = None;
        memory.together_since = None;
        return None;
    };
    let low = good.iter().filter_map(|part| part.low.at(at));
    let high = good.iter().filter_map(|part| part.high.at(at));
    let (highest_low, low) = low.fold((f64::MIN, f64::MAX), |(most, least), v| (most.max(v), least.min(v)));
    let (high, lowest_high) = high.fold((f64::MIN, f64::MAX), |(most, least), v| (most.max(v), least.min(v)));
    // Parts that are in doubt themselves disagree only where not even their nearest ends meet.
    let apart = highest_low - lowest_high > redundant.disagreement.get();
    if apart {
        memory.together_since = None;
        let since = *memory.apart_since.get_or_insert(now);
        memory.disagree |= now - since >= redundant.disagreement_for;
    } else {
        memory.apart_since = None;
        let since = *memory.together_since.get_or_insert(now);
        memory.disagree &= now - since < redundant.disagreement_for;
    }
    memory.disagree.then_some(Extent { at, low, high })
}

/// The state of charge by a meter, as a fraction of full, while it is fresh.
pub fn charge(site: &Site, seen: &[Seen], meter: MeterId, now: Moment) -> Option<f64> {
    let spec = site.meters.get(meter.0)?;
    let reading = seen.get(meter.0)?.input.others.get(Measure::StateOfCharge)?;
    let sane = (0.0..=100.0).contains(&reading.value);
    (sane && lost(spec, Some(now - reading.at)) <= 0.0).then_some(reading.value / 100.0)
}
