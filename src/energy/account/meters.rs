//! What the meters' own counters add to the open quarters.

use std::time::Duration;

use super::super::counter::{Anchor, Between, GAP, Meaning};
use super::super::{Kind, QUARTER_MS, Row, Sums, quarter, share};
use super::{Account, EXPORT, IMPORT, Part, by_power, plus};
use crate::clock::Moment;
use crate::control::frame::{Frame, meter_input};
use crate::control::measure::Measure;
use crate::control::signal::Wall;
use crate::units::Joules;

impl Account {
    /// What the meters' own counters tell.
    pub(super) fn read_counters(&mut self, frame: &Frame, now: Moment, wall: Wall) {
        for index in 0..self.layout.circuits.len() {
            let Some((meter, _)) = self.layout.circuits.get(index).and_then(|place| place.meter.clone())
            else {
                continue;
            };
            let others = meter_input(frame, meter).others;
            for (way, measure) in [(IMPORT, Measure::EnergyImport), (EXPORT, Measure::EnergyExport)] {
                let reading = others.get(measure).filter(|reading| now - reading.at <= GAP);
                let Some(reading) = reading.filter(|reading| reading.value.is_finite()) else {
                    self.overdue(index, way, now);
                    continue;
                };
                let anchor = Anchor {
                    value: Joules::saturating(reading.value * 3_600.0),
                    at: Some(reading.at),
                    wall: wall.earlier(now - reading.at),
                    epoch: self.epoch,
                };
                self.read(index, way, anchor);
            }
        }
    }

    fn read(&mut self, index: usize, way: usize, new: Anchor) {
        let between = self.between(index, way);
        let Some(track) = self.tracks.get_mut(index) else { return };
        let largest = track.largest;
        let Some(counter) = track.counters.get_mut(way) else { return };
        if counter.anchor.is_some_and(|old| old.at.zip(new.at).is_some_and(|(old, new)| new <= old)) {
            return;
        }
        let (old, was_dead) = (counter.anchor, counter.dead);
        let meaning = counter.read(new, between, largest);
        let Some(old) = old else { return };
        match meaning {
            // While it stood still the power counted. What it says of that time was counted.
            _ if was_dead => {}
            Meaning::Begins | Meaning::Lost => self.flush(index, way, false),
            Meaning::Odd => {
                self.flush(index, way, false);
                if let Some(share) = self.parts.back_mut().and_then(|part| part.circuits.get_mut(index)) {
                    share.sums.resets = share.sums.resets.saturating_add(1);
                }
            }
            Meaning::Flowed(energy, time) => {
                self.forget(index, way, energy > Joules::ZERO);
                self.spread(index, way, (&old, &new), energy, (time, false));
            }
            Meaning::Bridges(energy, time) => {
                self.forget(index, way, true);
                self.spread(index, way, (&old, &new), energy, (time, true));
            }
            Meaning::Dies => self.revive(index, way),
        }
    }

    /// What the power tells since the latest reading of a counter.
    fn between(&self, index: usize, way: usize) -> Between {
        let mut sum = Between::default();
        for part in &self.parts {
            if let Some(one) = part.circuits.get(index).and_then(|share| share.pending.get(way)) {
                sum = plus(sum, *one);
            }
        }
        sum
    }

    /// What the power tells since then is not needed: the counter tells the same.
    fn forget(&mut self, index: usize, way: usize, moved: bool) {
        for part in &mut self.parts {
            let Some(share) = part.circuits.get_mut(index) else { continue };
            let (Some(pending), Some(held)) = (share.pending.get_mut(way), share.held.get_mut(way)) else {
                continue;
            };
            *held = if moved { Between::default() } else { plus(*held, *pending) };
            *pending = Between::default();
        }
    }

    /// What the power tells since then counts: there is no reading that tells it. One that comes later and tells the same time
    /// too (`covered`) counts only for what is more.
    fn flush(&mut self, index: usize, way: usize, covered: bool) {
        let mut given = Between::default();
        for part in &mut self.parts {
            let Some(share) = part.circuits.get_mut(index) else { continue };
            let Some(pending) = share.pending.get_mut(way).map(std::mem::take) else { continue };
            if pending.time.is_zero() {
                continue;
            }
            given = plus(given, pending);
            by_power(&mut share.sums, way, pending);
            part.dirty = true;
        }
        let counter = self.tracks.get_mut(index).and_then(|track| track.counters.get_mut(way));
        if let Some(counter) = counter.filter(|counter| covered && counter.anchor.is_some()) {
            counter.given += given.energy;
            counter.given_for = counter.given_for.saturating_add(given.time);
        }
    }

    /// A counter stood while power flowed: the power counts from when it last moved.
    fn revive(&mut self, index: usize, way: usize) {
        for part in &mut self.parts {
            let Some(share) = part.circuits.get_mut(index) else { continue };
            let held = share.held.get_mut(way).map(std::mem::take).unwrap_or_default();
            let pending = share.pending.get_mut(way).map(std::mem::take).unwrap_or_default();
            if way == IMPORT {
                share.sums.by_counter = share.sums.by_counter.saturating_sub(held.time);
            }
            by_power(&mut share.sums, way, plus(held, pending));
            part.dirty = true;
        }
    }

    /// No reading has come for long: what the power tells counts, and the counter makes up for the rest when it comes back.
    fn overdue(&mut self, index: usize, way: usize, now: Moment) {
        let counter = self.tracks.get(index).and_then(|track| track.counters.get(way));
        if counter.is_some_and(|counter| counter.overdue(now)) {
            self.flush(index, way, true);
        }
    }

    /// Spreads an energy evenly over the time between two readings.
    fn spread(
        &mut self,
        index: usize,
        way: usize,
        (old, new): (&Anchor, &Anchor),
        energy: Joules,
        (time, bridged): (Duration, bool),
    ) {
        let (from, to) = (old.wall.as_unix_millis(), new.wall.as_unix_millis());
        let same = old.at.is_none() || old.epoch == new.epoch;
        if !same || to <= from {
            // The clock jumped in between, or stands before what it showed: it counts where it is told.
            if let Some(part) = self.parts.back_mut() {
                told(part, index, way, energy, time, bridged);
            }
            return;
        }
        let mut at = from;
        let mut closed = Vec::new();
        while at < to {
            let start = quarter(Wall::unix_millis(at));
            let end = start.as_unix_millis().saturating_add(QUARTER_MS).min(to);
            let part_of = millis(end - at) / millis(to - from);
            let (piece, time) = (energy.scaled(part_of), share(time, part_of));
            match self.parts.iter_mut().rev().find(|part| part.start == start) {
                Some(part) => told(part, index, way, piece, time, bridged),
                None => closed.extend(self.supplement(start, index, way, piece, time)),
            }
            at = end;
        }
        if !closed.is_empty() {
            self.done.extend(closed.iter().cloned());
            self.closed.push(closed);
        }
    }

    /// Energy of a quarter that is closed: a row of its own.
    fn supplement(
        &mut self,
        start: Wall,
        index: usize,
        way: usize,
        energy: Joules,
        time: Duration,
    ) -> Option<Row> {
        let place = self.layout.circuits.get(index)?;
        let mut sums = Sums::default();
        add_told(&mut sums, way, energy, time, true);
        sums.unattributed = sums.import;
        self.last_id = self.last_id.saturating_add(1).max(start.as_unix_millis());
        let parent = place.parent.and_then(|parent| self.layout.circuits.get(parent));
        Some(Row {
            start,
            part: self.last_id,
            kind: Kind::Circuit,
            name: place.name.clone(),
            parent: parent.map(|parent| parent.name.clone()),
            sums,
        })
    }
}

fn millis(time: i64) -> f64 {
    Duration::from_millis(time.unsigned_abs()).as_secs_f64()
}

fn add_told(sums: &mut Sums, way: usize, energy: Joules, time: Duration, bridged: bool) {
    if way == EXPORT {
        sums.export += energy;
        return;
    }
    sums.import += energy;
    let known = if bridged { &mut sums.bridged } else { &mut sums.by_counter };
    *known = known.saturating_add(time);
}

fn told(part: &mut Part, index: usize, way: usize, energy: Joules, time: Duration, bridged: bool) {
    if let Some(share) = part.circuits.get_mut(index) {
        add_told(&mut share.sums, way, energy, time, bridged);
        part.dirty = true;
    }
}
