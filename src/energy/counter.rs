//! The meters' own energy counters: what a reading of one adds, and whether it can be believed.
//!
//! A counter that goes back was reset, has run over or belongs to another meter; one that leaps is another meter's. What
//! flowed meanwhile is then what the power added up to. One that stands while power flows does not count, and is not used.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::signal::Wall;
use crate::units::{Joules, Watts};

/// Two readings further apart have a gap between them.
pub(super) const GAP: Duration = Duration::from_secs(60);
/// A gap that is longer is not bridged: what flowed in it is not known quarter by quarter in any useful way.
pub(super) const LONGEST_BRIDGE: Duration = Duration::from_secs(86_400);
/// A leap up to this is never odd.
const LEAST_LEAP: Joules = Joules::whole(3_600_000);
/// A counter that stands for so long, while more than [`STANDS`] and three of its steps flow, does not count.
const STANDS_FOR: Duration = Duration::from_secs(600);
/// See [`STANDS_FOR`].
const STANDS: Joules = Joules::whole(7_200_000);
/// A counter may jitter back by this: its value comes as a float of 32 bits.
const JITTER: f64 = 1e-6;

/// A reading of a counter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Anchor {
    pub(super) value: Joules,
    /// `None` for one of an earlier run.
    pub(super) at: Option<Moment>,
    pub(super) wall: Wall,
    /// Between two readings of different epochs the clock jumped.
    pub(super) epoch: u64,
}

/// One counter of a meter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counter {
    pub(super) anchor: Option<Anchor>,
    /// What was taken from the power since the anchor, for want of a reading.
    pub(super) given: Joules,
    pub(super) given_for: Duration,
    /// The largest step that it was ever seen to make within a minute.
    step: Joules,
    /// What flowed by the power since it last moved, and since when.
    still: Joules,
    still_since: Option<Moment>,
    /// It stands while power flows.
    pub(super) dead: bool,
}

/// What a reading means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Meaning {
    /// The first one: from here it counts.
    Begins,
    /// So much flowed since the one before, beyond what was taken from the power; how much of the time that was not.
    Flowed(Joules, Duration),
    /// The same over a gap, beyond what was taken from the power; how much of the gap that was not.
    Bridges(Joules, Duration),
    /// It cannot follow from the one before.
    Odd,
    /// The gap is too long to say anything of.
    Lost,
    /// It stands while power flows: from here on it is not used. What the power told meanwhile counts.
    Dies,
}

/// What the power tells of the time between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Between {
    /// In the direction of the counter.
    pub(super) energy: Joules,
    /// In either direction.
    pub(super) gross: Joules,
    /// For how much time it is known.
    pub(super) time: Duration,
}

impl Counter {
    /// One that goes on from a reading of an earlier run.
    pub(super) fn resumed(anchor: Option<Anchor>) -> Self {
        Self { anchor, ..Self::default() }
    }

    /// Whether what flows is told by it.
    pub(super) fn counts(&self) -> bool {
        self.anchor.is_some() && !self.dead
    }

    /// Whether a reading is overdue.
    pub(super) fn overdue(&self, now: Moment) -> bool {
        self.anchor.is_some_and(|anchor| anchor.at.is_none_or(|at| now - at > GAP))
    }

    /// Takes a reading that is newer than the anchor. `largest` is the largest power that was ever seen.
    pub(super) fn read(&mut self, new: Anchor, between: Between, largest: Watts) -> Meaning {
        let given = std::mem::take(&mut self.given);
        let given_for = std::mem::take(&mut self.given_for);
        let Some(old) = self.anchor.replace(new) else { return Meaning::Begins };
        let steady = old.at.zip(new.at).map(|(old, new)| new - old);
        let span = steady.unwrap_or_else(|| new.wall.since(old.wall));
        let mut flowed = new.value - old.value;
        if flowed.get() < 0.0 && flowed.get().abs() <= old.value.get().abs() * JITTER {
            flowed = Joules::ZERO;
        }
        if steady.is_none_or(|span| span > GAP) {
            self.alive(new.at);
            if span > LONGEST_BRIDGE {
                return Meaning::Lost;
            }
            let most = largest.scaled(3.0).over(span.max(GAP)) + LEAST_LEAP;
            let believed = flowed.get() >= 0.0 && (largest == Watts::ZERO || flowed <= most);
            if !believed {
                return Meaning::Odd;
            }
            let rest = (flowed - given).at_least_zero();
            return Meaning::Bridges(rest, span.saturating_sub(given_for));
        }
        let mean = Watts::saturating(between.gross.get() / between.time.as_secs_f64().max(1.0));
        let slack = self.step.scaled(10.0).max(mean.over(super::QUARTER)).max(LEAST_LEAP);
        if flowed.get() < 0.0 || flowed > between.gross.scaled(4.0) + slack {
            self.alive(new.at);
            return Meaning::Odd;
        }
        if flowed > Joules::ZERO {
            self.step = self.step.max(flowed);
            self.alive(new.at);
            return Meaning::Flowed((flowed - given).at_least_zero(), span.saturating_sub(given_for));
        }
        self.still += between.energy;
        let since = *self.still_since.get_or_insert(old.at.unwrap_or(Moment::START));
        let long = new.at.is_some_and(|at| at - since > STANDS_FOR);
        if !self.dead && long && self.still > STANDS.max(self.step.scaled(3.0)) {
            self.dead = true;
            return Meaning::Dies;
        }
        Meaning::Flowed(Joules::ZERO, span.saturating_sub(given_for))
    }

    /// It has moved, or is another one.
    fn alive(&mut self, at: Option<Moment>) {
        self.still = Joules::ZERO;
        self.still_since = at;
        self.dead = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(second: u64, watt_hours: f64) -> Anchor {
        Anchor {
            value: Joules::saturating(watt_hours * 3_600.0),
            at: Some(Moment::after_start(Duration::from_secs(second))),
            wall: Wall::unix_millis(i64::try_from(second).unwrap() * 1_000),
            epoch: 0,
        }
    }

    /// What the power tells of five seconds at so many watts.
    fn five(watts: f64) -> Between {
        let energy = Joules::saturating(watts * 5.0);
        Between { energy, gross: energy, time: Duration::from_secs(5) }
    }

    fn wh(meaning: Meaning) -> f64 {
        match meaning {
            Meaning::Flowed(energy, _) | Meaning::Bridges(energy, _) => energy.get() / 3_600.0,
            other => panic!("{other:?}"),
        }
    }

    const LARGEST: Watts = Watts::whole(20_000);

    #[test]
    fn the_difference_of_two_readings_is_what_flowed() {
        let mut counter = Counter::default();
        assert_eq!(counter.read(anchor(0, 500.0), Between::default(), LARGEST), Meaning::Begins);
        assert!((wh(counter.read(anchor(5, 514.0), five(10_000.0), LARGEST)) - 14.0).abs() < 1e-9);
        // It counts in steps of a kilowatt-hour: nothing for long, then one at once.
        assert!(wh(counter.read(anchor(10, 514.0), five(10_000.0), LARGEST)).abs() < 1e-9);
        assert!((wh(counter.read(anchor(15, 1_514.0), five(10_000.0), LARGEST)) - 1_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_counter_that_goes_back_or_leaps_is_odd_and_goes_on_from_there() {
        for other in [0.0, 499_000.0, 9_000_000.0] {
            let mut counter = Counter::default();
            counter.read(anchor(0, 500_000.0), Between::default(), LARGEST);
            assert_eq!(counter.read(anchor(5, other), five(10_000.0), LARGEST), Meaning::Odd, "{other}");
            assert!(
                (wh(counter.read(anchor(10, other + 14.0), five(10_000.0), LARGEST)) - 14.0).abs() < 1e-6
            );
        }
        // A float of 32 bits that jitters is not.
        let mut counter = Counter::default();
        counter.read(anchor(0, 5_000_000.0), Between::default(), LARGEST);
        assert!(wh(counter.read(anchor(5, 4_999_999.5), five(0.0), LARGEST)).abs() < 1e-9);
    }

    #[test]
    fn a_gap_is_bridged_less_what_the_power_told_and_a_day_is_the_most() {
        let mut counter = Counter::default();
        counter.read(anchor(0, 500.0), Between::default(), LARGEST);
        counter.given = Joules::saturating(100.0 * 3_600.0);
        counter.given_for = Duration::from_secs(60);
        let meaning = counter.read(anchor(600, 1_500.0), Between::default(), LARGEST);
        assert_eq!(meaning, Meaning::Bridges(Joules::saturating(900.0 * 3_600.0), Duration::from_secs(540)));
        assert_eq!(counter.read(anchor(1_200, 900_000.0), Between::default(), LARGEST), Meaning::Odd);
        assert_eq!(counter.read(anchor(90_000, 900_001.0), Between::default(), LARGEST), Meaning::Lost);
    }

    #[test]
    fn a_counter_that_stands_while_power_flows_does_not_count_until_it_moves() {
        let mut counter = Counter::default();
        counter.read(anchor(0, 0.0), Between::default(), LARGEST);
        let mut died = 0;
        for step in 1..=200_u64 {
            match counter.read(anchor(step * 5, 0.0), five(20_000.0), LARGEST) {
                Meaning::Dies => died = step * 5,
                Meaning::Flowed(energy, _) => assert_eq!(energy, Joules::ZERO),
                other => panic!("{other:?}"),
            }
        }
        assert!(counter.dead && died > 600, "{died}");
        counter.read(anchor(1_005, 30.0), five(20_000.0), LARGEST);
        assert!(counter.counts());
        // Where nothing flows in its direction it may stand for ever.
        let mut counter = Counter::default();
        counter.read(anchor(0, 0.0), Between::default(), LARGEST);
        for step in 1..=2_000 {
            let export = Between { energy: Joules::ZERO, ..five(20_000.0) };
            counter.read(anchor(step * 5, 0.0), export, LARGEST);
        }
        assert!(counter.counts());
    }
}
