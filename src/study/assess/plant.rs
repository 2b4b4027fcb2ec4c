//! Fleets of many sizes through the real control law and the simulated plant, instead of a formula.
//!
//! A year with each of many sizes would take hours, so each size runs some days of the surplus: of all days, sorted by their
//! energy, those in the middle of equal parts. A fleet of megawatts is simulated by a few miners on a surplus that is smaller
//! by as much: nothing in the control law is in absolute watts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::sizing::{Fleet, Outcome, Plant, Surplus};
use crate::config::{self, Config, ConfigErrors};
use crate::study::number::{count, floor};
use crate::study::simulate::{self, SimulateError, Told};

/// The share of its full power below which a miner of the simulated fleet does not hash: that of the S19 XP.
const LEAST_OF_ONE: f64 = 1_700.0 / 3_350.0;
/// The most miners of a simulated fleet.
const MOST_MINERS: usize = 32;
/// A day of which less than this share is known is not simulated.
const KNOWN: f64 = 0.9;
const DAY: f64 = 86_400.0;

/// Why sizes cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum PlantError {
    /// No day is known well enough.
    #[error(
        "no whole day of the recording is known to at least 90 %, so no fleet can be simulated on one; leave --plant away, or give \
         a recording with whole days"
    )]
    NoDay,
    /// The site that stands for the fleet.
    #[error("the simulated fleet: {0}")]
    Site(#[from] ConfigErrors),
    /// The simulation.
    #[error("the simulated fleet: {0}")]
    Simulate(#[from] SimulateError),
}

/// The control law on simulated miners, on some days.
pub struct Simulated {
    /// How many days of the surplus each size runs.
    pub days: usize,
    /// How time goes on, threads and the like.
    pub told: Told,
    /// Is told after each size.
    pub progress: Box<dyn Fn()>,
    sites: RefCell<BTreeMap<usize, Rc<Config>>>,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").field("days", &self.days).finish_non_exhaustive()
    }
}

impl Simulated {
    /// Fleets on so many days. `progress` is called after each size.
    pub fn new(days: usize, seed: u64, progress: Box<dyn Fn()>) -> Self {
        let calm = Some(Duration::from_secs(2));
        let told = Told { seed, calm, habits: false, ..Told::default() };
        Self { days, told, progress, sites: RefCell::default() }
    }

    fn site(&self, miners: usize) -> Result<Rc<Config>, PlantError> {
        if let Some(known) = self.sites.borrow().get(&miners) {
            return Ok(known.clone());
        }
        let options = config::Options { secrets: config::Secrets::Skip, ..config::Options::default() };
        let made = Rc::new(config::parse(&site(miners), Path::new("the simulated fleet"), &options)?);
        self.sites.borrow_mut().insert(miners, made.clone());
        Ok(made)
    }
}

/// A site with so many miners at one connection, each of which sleeps or runs from half of its power to all of it.
fn site(miners: usize) -> String {
    let mut text = String::from(
        "[site]\nname = \"fleet\"\nclock = \"trusted\"\nmode = \"control\"\n\
         [circuits.pcc]\nmeter = \"pcc\"\n[circuits.fleet]\nparent = \"pcc\"\n\
         [limits.follow-surplus]\ncircuit = \"pcc\"\nimport = \"0 W\"\n\
         [links.pcc]\ntcp = \"127.0.0.1:502\"\n\
         [meters.pcc]\nlink = \"pcc\"\nunit = 1\npower = { function = \"input\", address = 52, format = \"f32\" }\n\
         [groups.fleet]\ndriver = \"braiins-os\"\nmodel = \"s19-xp\"\ncircuit = \"fleet\"\n\
         credentials = { username = \"root\", password_env = \"NOT_READ\" }\n",
    );
    // Writing to a text cannot fail.
    let _ = writeln!(text, "addresses = [\"127.0.1.1-127.0.1.{miners}\"]");
    text
}

/// How many miners have together this least power, as a share of their full power: each of them alone runs from half on.
fn miners_for(minimum: f64) -> usize {
    (1..=MOST_MINERS)
        .min_by(|one, other| {
            let off = |miners: usize| (LEAST_OF_ONE / count(miners) - minimum).abs();
            off(*one).total_cmp(&off(*other))
        })
        .unwrap_or(1)
}

/// Of all days that are known, sorted by energy, those in the middle of so many equal parts, by where they begin.
fn sample(surplus: &Surplus<'_>, days: usize) -> Vec<(Duration, Duration)> {
    let Some(slots) = whole(DAY / surplus.step).filter(|slots| *slots > 0) else { return Vec::new() };
    let mut known: Vec<(f64, usize)> = surplus
        .watts
        .chunks_exact(slots)
        .enumerate()
        .filter_map(|(day, watts)| {
            let there: Vec<f64> = watts.iter().copied().filter(|watts| !watts.is_nan()).collect();
            (count(there.len()) >= KNOWN * count(slots)).then(|| (there.iter().sum::<f64>(), day))
        })
        .collect();
    known.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let days = days.min(known.len());
    let mut chosen: Vec<usize> = (0..days)
        .filter_map(|part| known.get((2 * part + 1) * known.len() / (2 * days)).map(|(_, day)| *day))
        .collect();
    chosen.sort_unstable();
    let at = |day: usize| Duration::from_secs_f64(DAY * count(day));
    chosen.into_iter().map(|day| (at(day), at(day + 1))).collect()
}

/// A whole number of intervals.
fn whole(value: f64) -> Option<usize> {
    let whole = floor(value.round());
    ((count(whole) - value).abs() < 1e-6).then_some(whole)
}

impl Plant for Simulated {
    type Error = PlantError;

    fn outcome(&self, surplus: &Surplus<'_>, fleet: Fleet) -> Result<Outcome, PlantError> {
        let days = sample(surplus, self.days.max(1));
        if days.is_empty() {
            return Err(PlantError::NoDay);
        }
        let miners = miners_for(fleet.minimum_watts / fleet.watts);
        let config = self.site(miners)?;
        let full: f64 = config.site.miners.iter().map(|miner| miner.maximum().get()).sum();
        let scale = full / fleet.watts;
        let values: Vec<f64> = surplus.watts.iter().map(|watts| watts * scale).collect();
        let step = Duration::from_secs_f64(surplus.step);
        let got = simulate::stretches_of(&config, &values, step, &days, &self.told)?;
        (self.progress)();
        let known: Vec<f64> = surplus.watts.iter().copied().filter(|watts| !watts.is_nan()).collect();
        let known_hours = count(known.len()) * surplus.step / 3600.0;
        let offered = known.iter().sum::<f64>() * surplus.step / 3600.0;
        // The days stand for all of them: by energy where it is about energy, by time where it is about time.
        let share = simulate::share(got.captured_watt_hours, got.surplus_watt_hours).unwrap_or(0.0);
        let part = |hours: f64| if got.known_hours > 0.0 { hours / got.known_hours } else { 0.0 };
        // As the model counts it: each hour of the day alike, and nothing in those of which nothing is known.
        let weight = |slot: usize| surplus.weights.get(slot).copied().unwrap_or(1.0);
        let weighted = || surplus.watts.iter().enumerate().filter(|(_, watts)| !watts.is_nan());
        let all: f64 = weighted().map(|(slot, _)| weight(slot)).sum::<f64>() + surplus.unseen;
        let mean = weighted().map(|(slot, watts)| weight(slot) * watts).sum::<f64>() / all;
        let alike = 1.0 - surplus.unseen / all;
        let starts = count(usize::try_from(got.starts).unwrap_or(usize::MAX)) / count(miners);
        let starts = floor((starts * part(known_hours)).round());
        Ok(Outcome {
            taken_watt_hours: offered * share,
            left_watt_hours: offered * (1.0 - share),
            starts,
            running: part(got.running_hours) * alike,
            mean_draw_watts: mean * share,
            imported_watt_hours: Some(
                offered * simulate::share(got.added_import_watt_hours, got.surplus_watt_hours).unwrap_or(0.0),
            ),
            added_peak_watts: got.added_peak_watts / scale,
            ramp_p99_watts_per_minute: got.ramps.quantile(0.99) * fleet.watts,
            known_hours,
        })
    }

    fn told(&self) -> String {
        format!(
            "the real control law on simulated miners second by second, on up to {} days that stand for all (of all days sorted by \
             energy, those in the middle of equal parts). A fleet is up to {MOST_MINERS} miners that each run from half of \
             their power on, scaled to its size; starts are those of one miner; the added peak is that of a second; what \
             sleeping miners draw at night is in both peak and import. What changes within an interval of the recording is left out",
            self.days
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hourly(watts: &[f64]) -> Surplus<'_> {
        Surplus { watts, step: 3600.0, weights: &[], unseen: 0.0 }
    }

    #[test]
    fn the_days_stand_for_all_of_them() {
        // Ten days of hours with 1, 2, … 10 kW; the fourth is not known.
        let watts: Vec<f64> = (1..=10_u32)
            .flat_map(|day| [if day == 4 { f64::NAN } else { f64::from(day) * 1e3 }; 24])
            .collect();
        let days = sample(&hourly(&watts), 3);
        let begin = |day: u64| Duration::from_secs(day * 86_400);
        assert_eq!(days, [(begin(1), begin(2)), (begin(5), begin(6)), (begin(8), begin(9))]);
        assert_eq!(sample(&hourly(&watts), 99).len(), 9);
        assert!(sample(&hourly(&[]), 3).is_empty());
    }

    #[test]
    fn a_least_power_says_how_many_miners() {
        assert_eq!([miners_for(0.02), miners_for(0.25), miners_for(0.5), miners_for(0.9)], [25, 2, 1, 1]);
    }

    #[test]
    fn a_fleet_takes_what_is_there_and_no_more() {
        // Two days with a broad noon of 1 MW.
        let watts: Vec<f64> = (0..192_i32)
            .map(|quarter| {
                (1.6e6 * (f64::from(quarter % 96 - 24) / 48.0 * std::f64::consts::PI).sin()).clamp(0.0, 1e6)
            })
            .collect();
        let plant = Simulated::new(1, 1, Box::new(|| {}));
        let surplus = Surplus { step: 900.0, ..hourly(&watts) };
        let small = plant.outcome(&surplus, Fleet { watts: 3e5, minimum_watts: 6e3 }).unwrap();
        let all = small.taken_watt_hours + small.left_watt_hours;
        assert!((all - watts.iter().sum::<f64>() / 4.0).abs() < 1.0);
        // At night sleeping miners draw what they draw asleep; by day next to nothing is imported.
        let asleep = 3e5 * 40.0 / 3_350.0;
        let night = 48.0 * (1.0 - small.running) * asleep;
        assert!(
            small.imported_watt_hours.unwrap() < night + small.taken_watt_hours * 1e-3,
            "{small:?} {night}"
        );
        assert!(small.added_peak_watts < asleep + 3e5 * 0.01, "{small:?}");
        assert!((0.3..0.6).contains(&small.running), "{small:?}");
        let large = plant.outcome(&surplus, Fleet { watts: 1e6, minimum_watts: 2e4 }).unwrap();
        assert!(large.taken_watt_hours > all * 0.9, "{large:?} of {all}");
        assert!(small.taken_watt_hours < large.taken_watt_hours);
    }
}
