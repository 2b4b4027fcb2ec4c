//! What really flowed, integrated from the simulated plant itself and not from any meter.
//!
//! Of every moment: `surplus = max(0, generation − other load)`, `pcc = other − generation + fleet`.
//! The fleet's energy splits exactly into *captured* (`min(fleet, surplus)`) and *attributable import*
//! (`min(fleet, max(0, pcc))`): what the miners drew beyond the surplus came from the grid because of them.

use std::time::Duration;

use super::jobs::Work;
use crate::clock::Moment;
use crate::units::{Hashrate, Joules, Watts};

/// The true powers of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Flows {
    /// All local generation, positive.
    pub generation: Watts,
    /// All load that is not a miner.
    pub other: Watts,
    /// Draw of all miners.
    pub fleet: Watts,
    /// Hashrate of all miners.
    pub hashrate: Hashrate,
}

impl Flows {
    /// Power at the point of common coupling, import positive.
    pub fn pcc(&self) -> Watts {
        self.other + self.fleet - self.generation
    }

    /// Generation that nobody but miners could use. Not negative.
    pub fn surplus(&self) -> Watts {
        (self.generation - self.other).at_least_zero()
    }

    /// Import at the point of common coupling. Not negative.
    pub fn import(&self) -> Watts {
        self.pcc().at_least_zero()
    }

    /// The part of the import that is there because of the miners. Not negative.
    pub fn attributable_import(&self) -> Watts {
        self.import().min(self.fleet).at_least_zero()
    }

    /// The part of the surplus that the miners drew. Not negative.
    pub fn captured(&self) -> Watts {
        self.surplus().min(self.fleet).at_least_zero()
    }
}

/// Energies since counting began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// When counting began.
    pub counting_from: Moment,
    /// How long it has been counted.
    pub time: Duration,
    /// The longest time between two samples: how finely was counted.
    pub longest_step: Duration,
    /// Local generation.
    pub generated: Joules,
    /// Load that is not a miner.
    pub other: Joules,
    /// Drawn by the miners.
    pub fleet: Joules,
    /// Generation that nobody but miners could use.
    pub surplus: Joules,
    /// The part of the surplus that the fleet could have drawn at its maximum.
    pub usable_surplus: Joules,
    /// The part of the surplus that the miners drew.
    pub captured: Joules,
    /// Imported at the point of common coupling.
    pub imported: Joules,
    /// Imported because of the miners.
    pub attributable_import: Joules,
    /// Exported at the point of common coupling.
    pub exported: Joules,
    /// Hashes computed.
    pub hashes: f64,
    /// The highest import of any sample.
    pub peak_import: Watts,
    /// The highest import because of the miners of any sample.
    pub peak_attributable_import: Watts,
}

impl Totals {
    /// Captured share of the surplus; `None` while there was none.
    pub fn captured_share(&self) -> Option<f64> {
        self.captured.ratio(self.surplus)
    }

    /// Captured share of what the fleet could have drawn; `None` while there was none.
    pub fn usable_captured_share(&self) -> Option<f64> {
        self.captured.ratio(self.usable_surplus)
    }
}

/// The true state of the site.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Truth {
    /// When.
    pub at: Moment,
    /// Scenario time: how long sun and load have been running.
    pub scenario_time: Duration,
    /// Generation that nobody but miners could use.
    pub surplus: Watts,
    /// Power at the point of common coupling, import positive.
    pub pcc: Watts,
    /// All load that is not a miner.
    pub other: Watts,
    /// All local generation, photovoltaic and steady; positive.
    pub pv: Watts,
    /// Draw of all miners.
    pub fleet: Watts,
    /// Hashrate of all miners.
    pub hashrate: Hashrate,
    /// Power into every circuit, import positive, in the order of the site.
    pub circuits: Vec<Watts>,
    /// The work of every member of the site since the simulation began, in its order; empty without any jobs.
    pub work: Vec<Option<Work>>,
    /// Energies since counting began.
    pub totals: Totals,
}

/// Integrates flows over time. Between two samples every flow is taken to run straight.
#[derive(Debug, Clone)]
pub struct Accountant {
    fleet_maximum: Watts,
    last: Option<(Moment, Flows)>,
    totals: Totals,
}

impl Accountant {
    /// Begins to count at a moment. `fleet_maximum` is what the miners can be asked to draw together.
    pub fn new(fleet_maximum: Watts, from: Moment) -> Self {
        Self { fleet_maximum, last: None, totals: Totals { counting_from: from, ..Totals::default() } }
    }

    /// Forgets what was counted and begins again at a moment, like after a warm-up. The next sample is the
    /// first that counts.
    pub fn restart(&mut self, from: Moment) {
        *self = Self::new(self.fleet_maximum, from);
    }

    /// Takes a sample; one that is not later than the last is ignored.
    pub fn sample(&mut self, at: Moment, now: Flows) {
        let Some((before, then)) = self.last else {
            self.last = Some((at, now));
            self.peaks(&now);
            return;
        };
        if at <= before {
            return;
        }
        let step = at.since(before);
        let maximum = self.fleet_maximum;
        let energy = |power: &dyn Fn(&Flows) -> Watts| (power(&then) + power(&now)).scaled(0.5).over(step);
        let totals = &mut self.totals;
        totals.time += step;
        totals.longest_step = totals.longest_step.max(step);
        totals.generated += energy(&|flows| flows.generation);
        totals.other += energy(&|flows| flows.other);
        totals.fleet += energy(&|flows| flows.fleet);
        totals.surplus += energy(&Flows::surplus);
        totals.usable_surplus += energy(&|flows| flows.surplus().min(maximum));
        totals.captured += energy(&Flows::captured);
        totals.imported += energy(&Flows::import);
        totals.attributable_import += energy(&Flows::attributable_import);
        totals.exported += energy(&|flows| (-flows.pcc()).at_least_zero());
        totals.hashes += 0.5 * (then.hashrate.get() + now.hashrate.get()) * step.as_secs_f64();
        self.last = Some((at, now));
        self.peaks(&now);
    }

    fn peaks(&mut self, now: &Flows) {
        let totals = &mut self.totals;
        totals.peak_import = totals.peak_import.max(now.import());
        totals.peak_attributable_import = totals.peak_attributable_import.max(now.attributable_import());
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flows(generation: f64, other: f64, fleet: f64) -> Flows {
        Flows {
            generation: Watts::kilowatts(generation),
            other: Watts::kilowatts(other),
            fleet: Watts::kilowatts(fleet),
            hashrate: Hashrate::terahashes(fleet * 50.0),
        }
    }

    fn close(joules: Joules, kilowatt_seconds: f64) {
        assert!(
            (joules.get() - kilowatt_seconds * 1e3).abs() < 1e-3,
            "{} J, not {kilowatt_seconds} kJ",
            joules.get()
        );
    }

    #[test]
    fn a_short_story_is_counted_as_by_hand() {
        let mut accountant = Accountant::new(Watts::kilowatts(250.0), Moment::START);
        // 10 s: 500 kW sun, 200 kW others, 240 kW miners: 300 surplus of which 250 usable, 60 exported.
        accountant.sample(Moment::millis(0), flows(500.0, 200.0, 240.0));
        accountant.sample(Moment::millis(10_000), flows(500.0, 200.0, 240.0));
        let totals = accountant.totals();
        close(totals.surplus, 3_000.0);
        close(totals.usable_surplus, 2_500.0);
        close(totals.captured, 2_400.0);
        close(totals.exported, 600.0);
        close(totals.imported, 0.0);
        assert!((totals.captured_share().unwrap() - 0.8).abs() < 1e-9);
        assert!((totals.usable_captured_share().unwrap() - 0.96).abs() < 1e-9);
        // At once the sun falls to 150 kW: no surplus, 50 kW are missing without any miner, 290 are imported.
        accountant.sample(Moment::millis(10_000) + Duration::from_nanos(1), flows(150.0, 200.0, 240.0));
        accountant.sample(Moment::millis(12_000), flows(150.0, 200.0, 240.0));
        let totals = accountant.totals();
        close(totals.surplus, 3_000.0);
        close(totals.captured, 2_400.0);
        close(totals.imported, 580.0);
        close(totals.attributable_import, 480.0);
        assert_eq!(totals.peak_import, Watts::kilowatts(290.0));
        assert_eq!(totals.peak_attributable_import, Watts::kilowatts(240.0));
        assert_eq!(totals.time, Duration::from_secs(12));
        // 12 s at 12,000 TH/s.
        assert!((totals.hashes / 144e15 - 1.0).abs() < 1e-9, "{}", totals.hashes);
        // The miners ramp from 240 kW to nothing within 4 s: half of it.
        accountant.sample(Moment::millis(16_000), flows(150.0, 200.0, 0.0));
        close(accountant.totals().attributable_import, 480.0 + 480.0);
        close(accountant.totals().imported, 580.0 + 480.0 + 200.0);
    }

    #[test]
    fn the_fleets_energy_is_surplus_or_import_and_nothing_else() {
        let mut accountant = Accountant::new(Watts::kilowatts(480.0), Moment::START);
        for i in 0..2_000_u32 {
            let x = f64::from(i);
            let now = flows(
                300.0 + 300.0 * (x / 70.0).sin(),
                200.0 + 50.0 * (x / 31.0).cos(),
                240.0 + 240.0 * (x / 53.0).sin(),
            );
            accountant.sample(Moment::START + Duration::from_millis(50) * i, now);
        }
        let t = accountant.totals();
        assert!((t.captured.get() + t.attributable_import.get() - t.fleet.get()).abs() < 1.0);
        let balance = t.generated.get() + t.imported.get() - t.exported.get() - t.other.get() - t.fleet.get();
        assert!(balance.abs() < 1.0, "{balance}");
        assert_eq!(t.longest_step, Duration::from_millis(50));
    }

    #[test]
    fn counting_again_after_a_warm_up_forgets_everything_before() {
        let mut accountant = Accountant::new(Watts::kilowatts(480.0), Moment::START);
        accountant.sample(Moment::millis(0), flows(0.0, 200.0, 480.0));
        accountant.sample(Moment::millis(5_000), flows(0.0, 200.0, 480.0));
        accountant.restart(Moment::millis(5_000));
        assert_eq!(accountant.totals().peak_import, Watts::ZERO);
        accountant.sample(Moment::millis(5_000), flows(500.0, 200.0, 100.0));
        accountant.sample(Moment::millis(6_000), flows(500.0, 200.0, 100.0));
        let totals = accountant.totals();
        assert_eq!(totals.counting_from, Moment::millis(5_000));
        assert_eq!(totals.time, Duration::from_secs(1));
        close(totals.imported, 0.0);
        close(totals.captured, 100.0);
    }

    #[test]
    fn time_that_stands_still_counts_nothing() {
        let mut accountant = Accountant::new(Watts::kilowatts(480.0), Moment::START);
        accountant.sample(Moment::millis(1_000), flows(0.0, 200.0, 480.0));
        accountant.sample(Moment::millis(1_000), flows(0.0, 200.0, 480.0));
        accountant.sample(Moment::millis(500), flows(0.0, 200.0, 480.0));
        assert_eq!(accountant.totals().time, Duration::ZERO);
        close(accountant.totals().imported, 0.0);
    }
}
