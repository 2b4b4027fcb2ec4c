//! The open quarters: what each cycle adds to them, and when they are closed.

mod meters;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::counter::{Anchor, Between, Counter, GAP};
use super::tally::Totals;
use super::{CounterRow, Kind, Row, Sums, quarter, share};
use crate::clock::Moment;
use crate::control::decision::{LimitValue, Source};
use crate::control::frame::{Frame, circuit_power, fresh_status};
use crate::control::signal::Wall;
use crate::control::signal::time::FOUNDED;
use crate::control::site::{CircuitId, LimitClass, LoadClass, MeterId, Scope, Site};
use crate::control::snapshot::MinerInput;
use crate::units::{Joules, Watts};

/// Two cycles further apart say nothing of the time between them.
const LONGEST_STEP: Duration = GAP;
/// By so much the wall clock may go otherwise than the steady one from cycle to cycle, and has not jumped.
const EVEN: i64 = 2_000;
/// A quarter is closed so long after its end: counters are read late, and one that stands is found out late.
const SETTLES: Duration = Duration::from_secs(600);
/// By so much the times of readings and of cycles differ where nothing is missing.
const EDGE: Duration = Duration::from_secs(5);
/// Quarters that are open at most. A clock that jumps to and fro would open more; the oldest are closed then.
const MOST_OPEN: usize = 8;

/// The directions in which energy flows through a meter.
const IMPORT: usize = 0;
const EXPORT: usize = 1;

/// Which energy belongs to whom: of a site's circuits, miners and tenants.
#[derive(Clone, Debug, Default)]
struct Layout {
    circuits: Vec<Place>,
    tenants: Vec<Arc<str>>,
    /// Of each miner, its tenant.
    tenant_of: Vec<Option<usize>>,
    /// Nameplates of each tenant's miners.
    tenant_nameplates: Vec<f64>,
}

/// A circuit.
#[derive(Clone, Debug)]
struct Place {
    name: Arc<str>,
    parent: Option<usize>,
    meter: Option<(MeterId, Arc<str>)>,
    dedicated: bool,
    /// Of the miners in it and below: what they can draw together, as they are set and at the most.
    maximum: f64,
    nameplate: f64,
}

impl Layout {
    fn new(site: &Site, tenants: &[Option<Arc<str>>]) -> Self {
        let place = |circuit: &crate::control::site::Circuit| Place {
            name: circuit.name.as_str().into(),
            parent: circuit.parent.map(|parent| parent.0),
            meter: circuit.meter.and_then(|id| {
                let meter = site.meters.get(id.0)?;
                Some((id, meter.name.as_str().into()))
            }),
            dedicated: circuit.dedicated,
            maximum: 0.0,
            nameplate: 0.0,
        };
        let mut layout = Self { circuits: site.circuits.iter().map(place).collect(), ..Self::default() };
        for (index, miner) in site.miners.iter().enumerate() {
            let (most, plate) = (miner.maximum().get(), miner.nameplate.get());
            let mut at = Some(miner.circuit.0);
            while let Some(circuit) = at.and_then(|at| layout.circuits.get_mut(at)) {
                circuit.maximum += most;
                circuit.nameplate += plate;
                at = circuit.parent;
            }
            let tenant = tenants.get(index).and_then(Option::as_ref).map(|name| {
                layout.tenants.iter().position(|known| known == name).unwrap_or_else(|| {
                    layout.tenants.push(name.clone());
                    layout.tenant_nameplates.push(0.0);
                    layout.tenants.len() - 1
                })
            });
            if let Some(sum) = tenant.and_then(|tenant| layout.tenant_nameplates.get_mut(tenant)) {
                *sum += plate;
            }
            layout.tenant_of.push(tenant);
        }
        layout
    }
}

/// A quarter that is open, or a part of it.
#[derive(Clone, Debug)]
struct Part {
    start: Wall,
    id: i64,
    circuits: Vec<Share>,
    tenants: Vec<Sums>,
    /// It has changed since it was last handed over.
    dirty: bool,
    /// Since when another one is the latest.
    left: Option<Moment>,
}

/// What a circuit has in a part.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    sums: Sums,
    /// By the power, in each direction, since the latest reading of its counter.
    pending: [Between; 2],
    /// By the power, in each direction, since its counter last moved.
    held: [Between; 2],
    /// Import by the power, while it was known together with the miners.
    seen: Joules,
    /// The most that the miners drew while the meter told no power.
    unseen: Joules,
}

impl Share {
    /// What is kept of it, with what is not known to be caused by anybody. Of a counter's energy that is what lies beyond the
    /// power, where it tells of more time than the power does: its steps and its error alone are nothing that is missing.
    fn sums(&self) -> Sums {
        let [pending, _] = self.pending;
        let metered = self.sums.metered().saturating_add(pending.time);
        let together = self.sums.together;
        let mut sums = self.sums;
        if metered.saturating_sub(together) > EDGE {
            sums.unattributed = (sums.import + pending.energy - self.seen).at_least_zero();
        }
        // What the power alone tells is known to the cycle.
        let edge = if sums.by_counter.is_zero() { Duration::ZERO } else { EDGE };
        if sums.observed.saturating_sub(metered.max(together)) > edge {
            sums.unmetered = self.unseen;
        }
        sums
    }
}

/// What is known of the meter at the head of a circuit.
#[derive(Clone, Debug, Default)]
struct Track {
    counters: [Counter; 2],
    largest: Watts,
}

/// What one cycle tells of a circuit or tenant.
#[derive(Clone, Copy, Debug, Default)]
struct Draw {
    /// Of the miners that are not known: what they are taken to draw, the most they can, and their nameplates.
    unknown: f64,
    unknown_most: f64,
    unknown_plates: f64,
    /// Of those that are known.
    known: f64,
    hashrate: f64,
    /// Nameplates of the miners whose hashrate is not known.
    mute_plates: f64,
}

/// Adds energies up.
#[derive(Clone, Debug, Default)]
pub struct Account {
    layout: Layout,
    tracks: Vec<Track>,
    parts: VecDeque<Part>,
    /// Rows that are ready and belong to no open part.
    done: Vec<Row>,
    /// Parts that are closed since it was last asked.
    closed: Vec<Vec<Row>>,
    last: Option<(Moment, Wall)>,
    epoch: u64,
    last_id: i64,
    totals: Totals,
}

impl Account {
    /// For a site. `tenants` says of each of its miners whose it is. `counters` are those that an earlier run has left.
    pub fn new(site: &Site, tenants: &[Option<Arc<str>>], counters: &[CounterRow]) -> Self {
        let layout = Layout::new(site, tenants);
        let tracks = layout.circuits.iter().map(|circuit| track(circuit, counters)).collect();
        Self { layout, tracks, ..Self::default() }
    }

    /// Takes a new configuration. Open quarters are closed, and go on in other parts; counters of the same meters go on.
    pub fn configure(&mut self, site: &Site, tenants: &[Option<Arc<str>>]) {
        self.finish();
        let old = std::mem::replace(&mut self.layout, Layout::new(site, tenants));
        // A label that nobody has any more would be exported for ever.
        self.totals.retain(|name, _| self.layout.tenants.contains(name));
        let mut tracks = std::mem::take(&mut self.tracks);
        let mut known = old.circuits.iter().zip(tracks.iter_mut()).collect::<Vec<_>>();
        self.tracks = (self.layout.circuits.iter())
            .map(|circuit| {
                let meter = |place: &Place| place.meter.as_ref().map(|(_, name)| name.clone());
                let same = |(place, _): &&mut (&Place, &mut Track)| {
                    place.name == circuit.name && meter(place) == meter(circuit)
                };
                known.iter_mut().find(same).map(|(_, track)| std::mem::take(*track)).unwrap_or_default()
            })
            .collect();
    }

    /// One cycle, and what the wall clock shows. A clock that was never set is no clock: nothing is added up by it.
    pub fn tell(&mut self, frame: &Frame, wall: Wall) {
        let now = frame.snapshot.now;
        if wall < FOUNDED {
            self.last = None;
            self.epoch = self.epoch.wrapping_add(1);
            return;
        }
        let (step, even) = match self.last.replace((now, wall)) {
            None => (Duration::ZERO, true),
            Some((before, shown)) => {
                let step = now - before;
                let moved = wall.as_unix_millis().saturating_sub(shown.as_unix_millis());
                let passed = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
                (step, moved.abs_diff(passed) <= EVEN.unsigned_abs())
            }
        };
        if !even {
            self.epoch = self.epoch.wrapping_add(1);
            if let Some(part) = self.parts.back_mut() {
                part.circuits.iter_mut().for_each(|share| share.sums.jumps += 1);
                part.dirty = true;
            }
        }
        let pieces = self.pieces(now, wall, step, even);
        let known = step > Duration::ZERO && step <= LONGEST_STEP;
        let draws = self.draws(frame, now);
        for (part, time) in pieces {
            if known {
                self.add(frame, now, part, time, &draws);
            }
        }
        self.read_counters(frame, now, wall);
        self.close(now);
    }

    /// The open parts into which a step falls, with how much of it. Opens the part of this moment.
    fn pieces(&mut self, now: Moment, wall: Wall, step: Duration, even: bool) -> Vec<(usize, Duration)> {
        let start = quarter(wall);
        let latest = self.parts.back().map(|part| part.start);
        if latest == Some(start) {
            return vec![(self.parts.len() - 1, step)];
        }
        if let Some(part) = self.parts.back_mut() {
            part.left = Some(now);
        }
        if self.parts.len() >= MOST_OPEN {
            self.close_first();
        }
        let before = self.parts.len().checked_sub(1);
        self.last_id = self.last_id.saturating_add(1).max(wall.as_unix_millis());
        self.parts.push_back(Part {
            start,
            id: self.last_id,
            circuits: vec![Share::default(); self.layout.circuits.len()],
            tenants: vec![Sums::default(); self.layout.tenants.len()],
            dirty: true,
            left: None,
        });
        let next = self.parts.len() - 1;
        let Some(before) = before else { return vec![(next, step)] };
        if !even {
            // Nobody knows in which of the two it was: the time until now was that of the clock before.
            return vec![(before, step)];
        }
        let after = wall.since(start).min(step);
        vec![(before, step.saturating_sub(after)), (next, after)]
    }

    /// What each circuit's and each tenant's miners draw.
    fn draws(&self, frame: &Frame, now: Moment) -> (Vec<Draw>, Vec<Draw>) {
        let mut circuits = vec![Draw::default(); self.layout.circuits.len()];
        let mut tenants = vec![Draw::default(); self.layout.tenants.len()];
        let pending = MinerInput::PENDING;
        for (index, (miner, told)) in frame.site.miners.iter().zip(&frame.decision.miners).enumerate() {
            let input = frame.snapshot.miners.get(index).unwrap_or(&pending);
            let status = fresh_status(input, now, miner.silent_after);
            // A server has no hashrate to be missed.
            let plate = if miner.class == LoadClass::Miner { miner.nameplate } else { Watts::ZERO };
            let mut add = |draw: &mut Draw| {
                if let Some(status) = status {
                    draw.known += told.draw.get();
                    match status.hashrate.value() {
                        Some(rate) => draw.hashrate += rate.get(),
                        None => draw.mute_plates += plate.get(),
                    }
                } else {
                    draw.unknown += told.draw.get();
                    draw.unknown_most += told.counted.get();
                    draw.unknown_plates += miner.nameplate.get();
                    draw.mute_plates += plate.get();
                }
            };
            let mut at = Some(miner.circuit.0);
            while let Some(circuit) = at {
                circuits.get_mut(circuit).into_iter().for_each(&mut add);
                at = self.layout.circuits.get(circuit).and_then(|circuit| circuit.parent);
            }
            let tenant = self.layout.tenant_of.get(index).copied().flatten();
            tenant.and_then(|tenant| tenants.get_mut(tenant)).into_iter().for_each(&mut add);
        }
        (circuits, tenants)
    }

    fn add(
        &mut self,
        frame: &Frame,
        now: Moment,
        part: usize,
        time: Duration,
        draws: &(Vec<Draw>, Vec<Draw>),
    ) {
        let Some(part) = self.parts.get_mut(part).filter(|_| !time.is_zero()) else { return };
        part.dirty = true;
        let places = self.layout.circuits.iter().zip(&mut self.tracks);
        for (index, ((place, track), share)) in places.zip(&mut part.circuits).enumerate() {
            let draw = draws.0.get(index).copied().unwrap_or_default();
            let power = place.meter.as_ref().and_then(|_| circuit_power(frame, CircuitId(index), now));
            add_circuit(frame, index, place, track, share, time, (power, draw));
        }
        let plates = self.layout.tenant_nameplates.iter().copied();
        for ((sums, draw), plates) in part.tenants.iter_mut().zip(&draws.1).zip(plates) {
            sums.observed = sums.observed.saturating_add(time);
            add_miners(sums, *draw, plates, Watts::saturating(draw.known), time);
        }
        for (name, draw) in self.layout.tenants.iter().zip(&draws.1) {
            let total = self.totals.entry(name.clone()).or_default();
            total.energy += Watts::saturating(draw.known).at_least_zero().over(time);
            total.terahashes += draw.hashrate.max(0.0) / 1e12 * time.as_secs_f64();
        }
    }

    /// Closes what has settled.
    fn close(&mut self, now: Moment) {
        while self.parts.front().is_some_and(|part| part.left.is_some_and(|left| now - left >= SETTLES)) {
            self.close_first();
        }
    }

    /// Closes all: nobody goes on with them.
    pub fn finish(&mut self) {
        while !self.parts.is_empty() {
            self.close_first();
        }
    }

    fn close_first(&mut self) {
        let Some(mut part) = self.parts.pop_front() else { return };
        // What waits for a reading that did not come.
        for (share, track) in part.circuits.iter_mut().zip(&mut self.tracks) {
            for (way, counter) in track.counters.iter_mut().enumerate() {
                let pending = share.pending.get_mut(way).map(std::mem::take).unwrap_or_default();
                counter.given += pending.energy;
                counter.given_for = counter.given_for.saturating_add(pending.time);
                by_power(&mut share.sums, way, pending);
            }
        }
        let rows = self.rows(&part);
        self.done.extend(rows.iter().cloned());
        self.closed.push(rows);
    }

    fn rows(&self, part: &Part) -> Vec<Row> {
        let circuits = self.layout.circuits.iter().zip(&part.circuits).map(|(place, share)| {
            let parent = place.parent.and_then(|parent| self.layout.circuits.get(parent));
            (Kind::Circuit, &place.name, parent.map(|parent| parent.name.clone()), share.sums())
        });
        let tenants = self.layout.tenants.iter().zip(&part.tenants);
        let tenants = tenants.map(|(name, sums)| (Kind::Tenant, name, None, *sums));
        circuits
            .chain(tenants)
            .map(|(kind, name, parent, sums)| Row {
                start: part.start,
                part: part.id,
                kind,
                name: name.clone(),
                parent,
                sums,
            })
            .collect()
    }

    /// What is new or has changed since it was last taken: each row stands for all of its part so far.
    pub fn take_rows(&mut self) -> Vec<Row> {
        let mut rows = std::mem::take(&mut self.done);
        let dirty: Vec<usize> =
            self.parts.iter().enumerate().filter(|(_, part)| part.dirty).map(|(at, _)| at).collect();
        for at in dirty {
            let more = self.parts.get(at).map(|part| self.rows(part)).unwrap_or_default();
            rows.extend(more);
            if let Some(part) = self.parts.get_mut(at) {
                part.dirty = false;
            }
        }
        rows
    }

    /// The parts that were closed since they were last taken, each with all its rows: nothing is added to them any more.
    pub fn take_closed(&mut self) -> Vec<Vec<Row>> {
        std::mem::take(&mut self.closed)
    }

    /// What each tenant's miners did since the start; tenants that are gone are left out.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Where the counters stand.
    pub fn counters(&self) -> Vec<CounterRow> {
        let each = self.layout.circuits.iter().zip(&self.tracks);
        each.filter_map(|(place, track)| {
            let [import, export] = &track.counters;
            let latest =
                [import, export].into_iter().filter_map(|counter| counter.anchor).max_by_key(|it| it.wall)?;
            Some(CounterRow {
                circuit: place.name.clone(),
                meter: place.meter.as_ref()?.1.clone(),
                // What was taken from the power meanwhile is not to be counted again.
                import: import.anchor.map(|anchor| anchor.value + import.given),
                export: export.anchor.map(|anchor| anchor.value + export.given),
                at: latest.wall,
                largest: track.largest,
            })
        })
        .collect()
    }
}

/// What an earlier run has left of the meter of a circuit.
fn track(place: &Place, counters: &[CounterRow]) -> Track {
    let meter = place.meter.as_ref().map(|(_, name)| name);
    let known = counters.iter().find(|row| row.circuit == place.name && Some(&row.meter) == meter);
    let Some(row) = known else { return Track::default() };
    let anchor = |value: Option<Joules>| {
        Counter::resumed(value.map(|value| Anchor { value, at: None, wall: row.at, epoch: 0 }))
    };
    Track { counters: [anchor(row.import), anchor(row.export)], largest: row.largest }
}

fn plus(one: Between, other: Between) -> Between {
    Between {
        energy: one.energy + other.energy,
        gross: one.gross + other.gross,
        time: one.time.saturating_add(other.time),
    }
}

fn by_power(sums: &mut Sums, way: usize, flowed: Between) {
    if way == IMPORT {
        sums.import += flowed.energy;
        sums.by_power = sums.by_power.saturating_add(flowed.time);
    } else {
        sums.export += flowed.energy;
    }
}

/// What the miners of a circuit or tenant drew and computed.
fn add_miners(sums: &mut Sums, draw: Draw, plates: f64, known: Watts, time: Duration) {
    let of = |missing: f64| if plates > 0.0 { 1.0 - missing / plates } else { 1.0 };
    sums.miners += known.at_least_zero().over(time);
    sums.miners_unknown += Watts::saturating(draw.unknown_most).at_least_zero().over(time);
    sums.miners_known = sums.miners_known.saturating_add(share(time, of(draw.unknown_plates)));
    sums.terahashes += draw.hashrate.max(0.0) / 1e12 * time.as_secs_f64();
    sums.hash_known = sums.hash_known.saturating_add(share(time, of(draw.mute_plates)));
}

fn add_circuit(
    frame: &Frame,
    index: usize,
    place: &Place,
    track: &mut Track,
    to: &mut Share,
    time: Duration,
    (power, draw): (Option<Watts>, Draw),
) {
    let sums = &mut to.sums;
    sums.observed = sums.observed.saturating_add(time);
    let told = frame.decision.circuits.get(index);
    let estimate = told.map_or(Watts::ZERO, |told| told.miners);
    let by_meter = power.filter(|_| place.dedicated);
    let (known, draw) = match by_meter {
        // Nothing but miners hangs here: the meter is their draw, whoever is silent.
        Some(power) => (power, Draw { unknown_most: 0.0, unknown_plates: 0.0, ..draw }),
        None => (estimate - Watts::saturating(draw.unknown), draw),
    };
    add_miners(sums, draw, place.nameplate, known, time);
    if let Some(cap) = told.and_then(|told| import_cap(frame, CircuitId(index), &told.limits)) {
        sums.cap += cap.over(time);
        sums.capped = sums.capped.saturating_add(time);
    }
    let Some(power) = power else {
        to.unseen +=
            (known.at_least_zero() + Watts::saturating(draw.unknown_most).at_least_zero()).over(time);
        return;
    };
    to.seen += power.at_least_zero().over(time);
    track.largest = track.largest.max(power.abs());
    let miners = by_meter.unwrap_or(estimate).at_least_zero();
    sums.together = sums.together.saturating_add(time);
    sums.other += (power - miners).over(time);
    sums.caused += power.at_least_zero().min(miners).over(time);
    let room = (Watts::saturating(place.maximum) - miners).at_least_zero();
    sums.unused += (-power).at_least_zero().min(room).over(time);
    for (way, flow) in [(IMPORT, power.at_least_zero()), (EXPORT, (-power).at_least_zero())] {
        let flowed = Between { energy: flow.over(time), gross: power.abs().over(time), time };
        let counts = track.counters.get(way).is_some_and(Counter::counts);
        match to.pending.get_mut(way).filter(|_| counts) {
            Some(pending) => *pending = plus(*pending, flowed),
            None => by_power(&mut to.sums, way, flowed),
        }
    }
}

/// The tightest cap on what flows in; that of following the surplus is none that anybody has to keep.
fn import_cap(frame: &Frame, circuit: CircuitId, limits: &[LimitValue]) -> Option<Watts> {
    let fixed = limits.iter().filter(|value| value.acts).filter_map(|value| match value.source {
        Source::Limit(id) => {
            let limit = frame.site.limits.get(id.0)?;
            let counts = limit.scope == Scope::Import && limit.class != LimitClass::Surplus;
            value.cap.filter(|_| counts)
        }
        _ => None,
    });
    let orders = frame.snapshot.orders.iter().map(|order| &order.active);
    let orders = orders.filter(|active| active.circuit == circuit && active.scope == Scope::Import);
    fixed.chain(orders.map(|active| active.cap)).reduce(Watts::min)
}
