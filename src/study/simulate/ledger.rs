//! What a simulation comes to: energies by second and by billing interval. What is not known is not counted.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::classes;
use crate::clock::Moment;
use crate::control::decision::{Decision, Mode};
use crate::control::site::MeterId;
use crate::control::snapshot::MeterStatus;
use crate::sim::curve::Curve;
use crate::sim::replay::Watcher;
use crate::sim::truth::Flows;
use crate::units::Watts;

/// Billing intervals that are looked at, in seconds.
pub const BILLING: [u32; 3] = [900, 1_800, 3_600];

/// What was counted. Energies are in watt-hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Time that is known and was counted, in hours.
    pub known_hours: f64,
    /// Time that is not known in the trace and was not counted, in hours.
    pub unknown_hours: f64,
    /// Power to spare at the point of common coupling.
    pub surplus_watt_hours: f64,
    /// The part of it that the fleet could have taken with perfect foresight: see [`super::BOUND`].
    pub usable_watt_hours: f64,
    /// The part of the usable surplus that the miners took, counted while at least one of them computes: what a fleet
    /// draws in which all sleep is not taken. Never more than what is usable.
    pub captured_watt_hours: f64,
    /// Drawn by the miners.
    pub fleet_watt_hours: f64,
    /// Drawn from the grid, more than without the miners, second by second.
    pub added_import_watt_hours: f64,
    /// The same, netted within billing intervals of 15, 30 and 60 minutes.
    pub added_import_netted_watt_hours: [f64; 3],
    /// Drawn from the grid without any miner, second by second.
    pub import_without_miners_watt_hours: f64,
    /// The highest power from the grid of a second, as far as it is more than without the miners, in watts.
    pub added_peak_watts: f64,
    /// Hashes computed.
    pub hashes: f64,
    /// Commands sent to miners.
    pub commands: u64,
    /// Miners woken.
    pub starts: u64,
    /// Miners put to sleep.
    pub sleeps: u64,
    /// Time in which at least one miner computed, in hours.
    pub running_hours: f64,
    /// Of Ballast alone: time in which an input was lost and its fail-safe value bound, in hours.
    pub fail_safe_hours: f64,
    /// Of Ballast alone: time in which a meter that it follows the surplus by told what lies outside of `plausible`, in hours.
    pub refused_hours: f64,
    /// Of Ballast alone: time in which such a meter did not answer, or was not believed for another reason, in hours.
    pub lost_hours: f64,
    /// Changes of the miners' draw from one minute to the next.
    #[serde(skip)]
    pub ramps: Ramps,
    /// Of Ballast alone, and where the fleet has servers: by class.
    #[serde(skip)]
    pub classes: classes::Accounts,
}

/// How often the draw changed by how much from one minute to the next, in classes each `FACTOR` times the one below.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ramps([u32; 32]);

impl Ramps {
    /// The upper end of the lowest class, as a share of all miners' full power.
    const LOWEST: f64 = 1e-3;
    /// From one class to the next: the highest ends above twice the full power.
    const FACTOR: f64 = 1.28;

    /// Counts a change, as a share of all miners' full power.
    fn count(&mut self, share: f64) {
        let mut end = Self::LOWEST;
        for class in &mut self.0 {
            if share <= end {
                *class = class.saturating_add(1);
                return;
            }
            end *= Self::FACTOR;
        }
        if let Some(last) = self.0.last_mut() {
            *last = last.saturating_add(1);
        }
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }

    /// What this part of the changes does not exceed, as a share of all miners' full power in a minute, rounded up to the
    /// class; nothing without any.
    pub fn quantile(&self, part: f64) -> f64 {
        let all: f64 = self.0.iter().map(|class| f64::from(*class)).sum();
        let (mut seen, mut end) = (0.0, Self::LOWEST);
        for class in self.0 {
            seen += f64::from(class);
            if seen >= all * part {
                break;
            }
            end *= Self::FACTOR;
        }
        if all > 0.0 { end } else { 0.0 }
    }
}

impl Account {
    /// Adds what was counted at another time.
    pub fn add(&mut self, other: &Self) {
        self.known_hours += other.known_hours;
        self.unknown_hours += other.unknown_hours;
        self.surplus_watt_hours += other.surplus_watt_hours;
        self.usable_watt_hours += other.usable_watt_hours;
        self.captured_watt_hours += other.captured_watt_hours;
        self.fleet_watt_hours += other.fleet_watt_hours;
        self.added_import_watt_hours += other.added_import_watt_hours;
        for (sum, more) in
            self.added_import_netted_watt_hours.iter_mut().zip(other.added_import_netted_watt_hours)
        {
            *sum += more;
        }
        self.import_without_miners_watt_hours += other.import_without_miners_watt_hours;
        self.added_peak_watts = self.added_peak_watts.max(other.added_peak_watts);
        self.hashes += other.hashes;
        self.commands += other.commands;
        self.starts += other.starts;
        self.sleeps += other.sleeps;
        self.running_hours += other.running_hours;
        self.fail_safe_hours += other.fail_safe_hours;
        self.refused_hours += other.refused_hours;
        self.lost_hours += other.lost_hours;
        self.ramps.add(&other.ramps);
        classes::add(&mut self.classes, &other.classes);
    }

    /// Taken, as a share of what could have been; `None` where that is nothing.
    pub fn captured_share(&self) -> Option<f64> {
        share(self.captured_watt_hours, self.usable_watt_hours)
    }

    /// Imported because of the miners, as a share of the surplus; `None` where there is none.
    pub fn import_share(&self) -> Option<f64> {
        share(self.added_import_watt_hours, self.surplus_watt_hours)
    }
}

/// One energy as a share of another; `None` where the other is nothing.
pub fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// What flows from the grid, with the miners and without, in joules.
#[derive(Clone, Copy, Debug, Default)]
struct Grid {
    with: f64,
    without: f64,
}

impl Grid {
    fn add(&mut self, other: Self) {
        self.with += other.with;
        self.without += other.without;
    }

    /// What is drawn more than without miners, when this much is netted.
    fn added(self) -> f64 {
        (self.with.max(0.0) - self.without.max(0.0)).max(0.0)
    }
}

/// What the control law could not see at its latest decision.
#[derive(Clone, Copy, Debug, Default)]
struct Blind {
    fail_safe: bool,
    refused: bool,
    lost: bool,
}

/// Counts what flows from a moment on.
pub struct Ledger {
    curve: Arc<Curve>,
    /// Where on the scale of billing intervals the simulation's time begins.
    shift: Duration,
    from: Moment,
    /// The least that one miner needs, and the most that all can draw, in watts.
    reach: (f64, f64),
    last: Option<(Moment, Flows)>,
    second: (u64, Grid),
    intervals: [(u64, Grid); 3],
    /// The minute that is being counted: its number, the miners' energy in joules, and its seconds so far.
    minute: (u64, f64, f64),
    /// The minute before: its number and the miners' mean draw, in watts.
    minute_before: Option<(u64, f64)>,
    /// The meters that the surplus is followed by.
    eyes: Vec<MeterId>,
    blind: Blind,
    account: Account,
}

impl Ledger {
    /// Begins to count at a moment of the curve's time; `shift` of billing time lies before the curve begins. `eyes` are the
    /// meters that the surplus is followed by.
    pub fn new(
        curve: Arc<Curve>,
        shift: Duration,
        from: Moment,
        reach: (Watts, Watts),
        eyes: Vec<MeterId>,
    ) -> Self {
        Self {
            eyes,
            blind: Blind::default(),
            curve,
            shift,
            from,
            reach: (reach.0.get(), reach.1.get()),
            last: None,
            second: (0, Grid::default()),
            intervals: [(0, Grid::default()); 3],
            minute: (0, 0.0, 0.0),
            minute_before: None,
            account: Account::default(),
        }
    }

    /// Ends the last second and the last intervals.
    pub fn close(mut self) -> Account {
        self.end_second();
        self.end_minute();
        for position in 0..BILLING.len() {
            self.end_interval(position);
        }
        self.account
    }

    fn end_second(&mut self) {
        let (_, grid) = std::mem::take(&mut self.second);
        self.account.added_import_watt_hours += grid.added() / 3600.0;
        self.account.import_without_miners_watt_hours += grid.without.max(0.0) / 3600.0;
        // Energy of a second in joules is its mean power in watts.
        self.account.added_peak_watts = self.account.added_peak_watts.max(grid.added());
    }

    fn end_minute(&mut self) {
        let (number, joules, seconds) = std::mem::take(&mut self.minute);
        if seconds < 30.0 {
            return;
        }
        let mean = joules / seconds;
        if let Some((_, before)) = self.minute_before.filter(|(before, _)| before + 1 == number) {
            self.account.ramps.count((mean - before).abs() / self.reach.1.max(1e-9));
        }
        self.minute_before = Some((number, mean));
    }

    fn end_interval(&mut self, position: usize) {
        let Some(interval) = self.intervals.get_mut(position) else { return };
        let (_, grid) = std::mem::take(interval);
        if let Some(sum) = self.account.added_import_netted_watt_hours.get_mut(position) {
            *sum += grid.added() / 3600.0;
        }
    }

    /// A stretch within one second, on straight lines.
    fn stretch(&mut self, at: Moment, seconds: f64, from: &Flows, to: &Flows) {
        let time = at.since_start();
        if !self.curve.knows(time) {
            self.account.unknown_hours += seconds / 3600.0;
            return;
        }
        let second = self.shift.saturating_add(time).as_secs();
        if second != self.second.0 {
            self.end_second();
            self.second.0 = second;
        }
        if second / 60 != self.minute.0 {
            self.end_minute();
            self.minute.0 = second / 60;
        }
        for (position, length) in BILLING.into_iter().enumerate() {
            let number = second / u64::from(length);
            if self.intervals.get(position).is_some_and(|interval| interval.0 != number) {
                self.end_interval(position);
            }
            if let Some(interval) = self.intervals.get_mut(position) {
                interval.0 = number;
            }
        }
        let (least, most) = self.reach;
        let usable = |flows: &Flows| {
            let surplus = flows.surplus().get();
            if surplus >= least { surplus.min(most) } else { 0.0 }
        };
        let mean = |of: &dyn Fn(&Flows) -> f64| (of(from) + of(to)) / 2.0;
        let hours = seconds / 3600.0;
        let account = &mut self.account;
        account.known_hours += hours;
        account.surplus_watt_hours += mean(&|flows| flows.surplus().get()) * hours;
        account.usable_watt_hours += mean(&usable) * hours;
        // What sleeping miners draw does no work: it is taken only as a part of what a fleet draws that computes.
        let runs = |flows: &Flows| flows.hashrate.get() > 0.0;
        let captured =
            |flows: &Flows| if runs(flows) { flows.captured().get().min(usable(flows)) } else { 0.0 };
        account.captured_watt_hours += mean(&captured) * hours;
        account.fleet_watt_hours += mean(&|flows| flows.fleet.get()) * hours;
        account.running_hours += mean(&|flows| if runs(flows) { 1.0 } else { 0.0 }) * hours;
        let when = |is: bool| if is { hours } else { 0.0 };
        account.fail_safe_hours += when(self.blind.fail_safe);
        account.refused_hours += when(self.blind.refused);
        account.lost_hours += when(self.blind.lost);
        self.minute.1 += mean(&|flows| flows.fleet.get()) * seconds;
        self.minute.2 += seconds;
        account.hashes += mean(&|flows| flows.hashrate.get()) * seconds;
        let grid = Grid {
            with: mean(&|flows| flows.pcc().get()) * seconds,
            without: mean(&|flows| (flows.other - flows.generation).get()) * seconds,
        };
        self.second.1.add(grid);
        for interval in &mut self.intervals {
            interval.1.add(grid);
        }
    }
}

impl Watcher for Ledger {
    fn flows(&mut self, at: Moment, flows: &Flows) {
        let before = self.last.replace((at, *flows));
        let Some((mut from, mut then)) = before.filter(|(from, _)| *from >= self.from) else { return };
        while from < at {
            // To the end of the second at the furthest.
            let into = self.shift.saturating_add(from.since_start()).subsec_nanos();
            let end = (from + Duration::from_nanos(1_000_000_000 - u64::from(into))).min(at);
            let seconds = end.since(from).as_secs_f64();
            let there = partly(&then, flows, seconds / at.since(from).as_secs_f64());
            self.stretch(from, seconds, &then, &there);
            (from, then) = (end, there);
        }
    }

    fn decision(&mut self, decision: &Decision, _: &Flows) {
        let status =
            |id: &MeterId| decision.meters.get(id.0).map_or(MeterStatus::Pending, |m| m.input.status);
        self.blind = Blind { fail_safe: decision.mode == Mode::FailSafe, ..Blind::default() };
        for status in self.eyes.iter().map(status) {
            match status {
                MeterStatus::Ok | MeterStatus::Pending => {}
                MeterStatus::Implausible => self.blind.refused = true,
                _ => self.blind.lost = true,
            }
        }
    }
}

/// Between two flows, on a straight line.
fn partly(from: &Flows, to: &Flows, share: f64) -> Flows {
    let on = |from: Watts, to: Watts| from + (to - from).scaled(share);
    Flows {
        generation: on(from.generation, to.generation),
        other: on(from.other, to.other),
        fleet: on(from.fleet, to.fleet),
        hashrate: from.hashrate + (to.hashrate - from.hashrate).scaled(share),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Hashrate;

    fn flows(surplus: f64, fleet: f64) -> Flows {
        Flows {
            generation: Watts::saturating(surplus.max(0.0)),
            other: Watts::saturating((-surplus).max(0.0)),
            fleet: Watts::saturating(fleet),
            // Below the least power of a miner all of them sleep.
            hashrate: if fleet >= 100.0 { Hashrate::saturating(1e12) } else { Hashrate::ZERO },
        }
    }

    fn ledger(means: &[f64]) -> Ledger {
        let curve = Arc::new(Curve::new(means, Duration::from_secs(600)));
        Ledger::new(
            curve,
            Duration::ZERO,
            Moment::START,
            (Watts::whole(100), Watts::whole(1_000)),
            Vec::new(),
        )
    }

    fn at(seconds: u64) -> Moment {
        Moment::millis(seconds * 1_000)
    }

    #[test]
    fn what_is_netted_within_an_interval_is_no_import_of_it() {
        let mut ledger = ledger(&[500.0; 12]);
        // Five minutes 200 W too much, ten minutes 100 W too little: netted in 15 minutes it is nothing.
        for (from, to, fleet) in [(0, 300, 700.0), (300, 900, 400.0), (900, 1_800, 600.0)] {
            ledger.flows(at(from) + Duration::from_nanos(1), &flows(500.0, fleet));
            ledger.flows(at(to), &flows(500.0, fleet));
        }
        let got = ledger.close();
        let first = 200.0 * 300.0 / 3600.0;
        let second = 100.0 * 900.0 / 3600.0;
        assert!((got.added_import_watt_hours - first - second).abs() < 1e-3, "{got:?}");
        let [quarter, half, hour] = got.added_import_netted_watt_hours;
        assert!((quarter - second).abs() < 1e-3, "{got:?}");
        assert!((half - second).abs() < 1e-3 && (hour - second).abs() < 1e-3);
        assert!((got.added_peak_watts - 200.0).abs() < 1e-3);
        assert!((got.usable_watt_hours - 250.0).abs() < 1e-3);
        assert!((got.captured_watt_hours + got.added_import_watt_hours - got.fleet_watt_hours).abs() < 1e-3);
    }

    #[test]
    fn what_the_site_imports_without_miners_is_not_theirs_and_what_is_too_little_is_not_usable() {
        let mut ledger = ledger(&[-300.0, 50.0]);
        ledger.flows(at(0), &flows(-300.0, 10.0));
        ledger.flows(at(600), &flows(-300.0, 10.0));
        ledger.flows(at(600) + Duration::from_nanos(1), &flows(50.0, 0.0));
        ledger.flows(at(1_200), &flows(50.0, 0.0));
        let got = ledger.close();
        assert!((got.import_without_miners_watt_hours - 50.0).abs() < 1e-3, "{got:?}");
        assert!((got.added_import_watt_hours - 10.0 / 6.0).abs() < 1e-3, "{got:?}");
        assert!((got.surplus_watt_hours - 50.0 / 6.0).abs() < 1e-3);
        assert!(got.usable_watt_hours < 1e-6);
    }

    #[test]
    fn what_a_sleeping_fleet_draws_is_not_taken_and_taken_is_never_more_than_usable() {
        let mut asleep = ledger(&[500.0; 2]);
        asleep.flows(at(0), &flows(500.0, 40.0));
        asleep.flows(at(600), &flows(500.0, 40.0));
        let got = asleep.close();
        assert!(got.captured_watt_hours <= 0.0 && got.running_hours <= 0.0, "{got:?}");
        assert!((got.fleet_watt_hours - 40.0 / 6.0).abs() < 1e-6 && got.captured_share() == Some(0.0));
        // A miner that still runs while the surplus is too little for one, and more than all at full power.
        for (surplus, fleet, usable) in [(60.0, 300.0, 0.0), (1_500.0, 1_200.0, 1_000.0)] {
            let mut ledger = ledger(&[surplus; 2]);
            ledger.flows(at(0), &flows(surplus, fleet));
            ledger.flows(at(600), &flows(surplus, fleet));
            let got = ledger.close();
            assert!((got.usable_watt_hours - usable / 6.0).abs() < 1e-6, "{got:?}");
            assert!(got.captured_watt_hours <= got.usable_watt_hours + 1e-9, "{got:?}");
        }
    }

    #[test]
    fn changes_from_minute_to_minute_are_counted() {
        let mut ledger = ledger(&[500.0; 12]);
        for second in 0..=1_800_u64 {
            ledger.flows(at(second), &flows(500.0, if second % 120 < 60 { 400.0 } else { 50.0 }));
        }
        let got = ledger.close();
        let (most, least) = (got.ramps.quantile(0.99), got.ramps.quantile(0.01));
        assert!((0.3..0.45).contains(&most) && least > 0.3, "{most} {least}");
        assert!((got.running_hours - 0.25).abs() < 0.01, "{got:?}");
        assert!(Ramps::default().quantile(0.99) <= 0.0);
    }

    #[test]
    fn what_is_not_known_is_not_counted() {
        let mut ledger = ledger(&[400.0, f64::NAN, 400.0]);
        ledger.flows(at(0), &flows(400.0, 400.0));
        ledger.flows(at(1_800), &flows(400.0, 400.0));
        let got = ledger.close();
        assert!((got.known_hours - 1.0 / 3.0).abs() < 1e-9 && (got.unknown_hours - 1.0 / 6.0).abs() < 1e-9);
        assert!((got.captured_watt_hours - 400.0 / 3.0).abs() < 1e-6);
    }
}
