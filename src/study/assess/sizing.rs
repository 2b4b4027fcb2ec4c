//! Fleets of many sizes on one surplus: what they take and leave, how often they start, what they earn.

use std::convert::Infallible;

use serde::Serialize;

use crate::study::number::{count, quantile_of};

/// Power to spare on equal intervals.
#[derive(Clone, Copy, Debug)]
pub struct Surplus<'a> {
    /// In watts, 0 or more; NaN where it is not known.
    pub watts: &'a [f64],
    /// The length of an interval, in seconds.
    pub step: f64,
    /// What each interval counts; empty where each counts once.
    pub weights: &'a [f64],
    /// What the time of day counts of which nothing is known: no fleet runs then.
    pub unseen: f64,
}

/// What a surplus is like.
#[derive(Clone, Copy, Debug)]
pub struct Typical {
    /// The mean, in watts.
    pub mean: f64,
    /// The largest value, in watts.
    pub largest: f64,
    /// What there is in 90 % of the hours, in watts.
    pub firm: f64,
}

/// A fleet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fleet {
    /// What it draws at full power.
    pub watts: f64,
    /// The least it draws while it runs.
    pub minimum_watts: f64,
}

/// What a fleet does on a surplus.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Outcome {
    /// Energy that it took.
    pub taken_watt_hours: f64,
    /// Energy that was to spare and that it left.
    pub left_watt_hours: f64,
    /// How often it started.
    pub starts: usize,
    /// The share of the known time in which it ran.
    pub running: f64,
    /// Its mean draw. As `running`, over days: each hour counts alike where some are known more often than others.
    pub mean_draw_watts: f64,
    /// The most by which its draw exceeded what was to spare: what the feeder's peak may rise by.
    pub added_peak_watts: f64,
    /// Not exceeded by 99 % of the changes of its draw, in watts per minute.
    pub ramp_p99_watts_per_minute: f64,
    /// Time that is known, in hours.
    pub known_hours: f64,
    /// Energy that it drew from the grid because it followed late; `None` where the model cannot know.
    pub imported_watt_hours: Option<f64>,
}

/// What says how a fleet behaves on a surplus: the model below, or a plant.
pub trait Plant {
    /// Why it cannot say.
    type Error;

    /// What becomes of it.
    ///
    /// # Errors
    /// The plant cannot run this fleet on this surplus.
    fn outcome(&self, surplus: &Surplus<'_>, fleet: Fleet) -> Result<Outcome, Self::Error>;
    /// What it is and what it leaves out, for the reader of the report.
    fn told(&self) -> String;
}

/// Interval by interval: never more than there is, nothing below the minimum, a start costs its time, a rise its ramp.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerInterval {
    /// From asleep to the first watt that counts, in seconds.
    pub start_seconds: f64,
    /// How much of the fleet's power it can rise by in a minute.
    pub rise_per_minute: f64,
}

impl Plant for PerInterval {
    type Error = Infallible;

    fn outcome(&self, surplus: &Surplus<'_>, fleet: Fleet) -> Result<Outcome, Infallible> {
        let hours = surplus.step / 3600.0;
        let minutes = surplus.step / 60.0;
        let (mut taken, mut offered, mut starts, mut known) = (0.0, 0.0, 0, 0_usize);
        let (mut running, mut mean, mut all) = (0.0, 0.0, surplus.unseen);
        let mut added = 0.0_f64;
        let mut draw = 0.0_f64;
        // How much of a start is still to come, in seconds.
        let mut waking = self.start_seconds;
        let mut ramps = Vec::with_capacity(surplus.watts.len());
        for (slot, watts) in surplus.watts.iter().enumerate() {
            if watts.is_nan() {
                // Not known: the fleet is not held to it, and does not run on it.
                draw = 0.0;
                waking = self.start_seconds;
                continue;
            }
            known += 1;
            let weight = surplus.weights.get(slot).copied().unwrap_or(1.0);
            all += weight;
            offered += watts * hours;
            let wanted = if *watts >= fleet.minimum_watts { watts.min(fleet.watts) } else { 0.0 };
            let before = draw;
            if wanted <= 0.0 {
                (draw, waking) = (0.0, self.start_seconds);
            } else {
                if before <= 0.0 && waking >= self.start_seconds {
                    starts += 1;
                }
                let awake = (1.0 - waking / surplus.step).max(0.0);
                waking = (waking - surplus.step).max(0.0);
                let most =
                    before.max(fleet.minimum_watts) + self.rise_per_minute * fleet.watts * minutes * awake;
                draw = if awake > 0.0 { wanted.min(most) } else { 0.0 };
                taken += draw * hours * awake;
                running += if draw > 0.0 { weight } else { 0.0 };
                mean += weight * draw * awake;
                added = added.max(draw - watts);
            }
            ramps.push((draw - before).abs() / minutes);
        }
        Ok(Outcome {
            taken_watt_hours: taken,
            left_watt_hours: (offered - taken).max(0.0),
            starts,
            running: running / all,
            mean_draw_watts: mean / all,
            added_peak_watts: added.max(0.0),
            ramp_p99_watts_per_minute: quantile_of(&mut ramps, 0.99),
            known_hours: count(known) * hours,
            imported_watt_hours: None,
        })
    }

    fn told(&self) -> String {
        format!(
            "a model interval by interval, not a plant: a fleet never draws more than the interval's mean, sleeps below its \
             minimum, takes {:.0} s to start and rises by {:.0} % of its power a minute. What happens within an interval is left out",
            self.start_seconds,
            self.rise_per_minute * 100.0
        )
    }
}

/// Sizes that are looked at where none are told, as shares of the surplus's mean.
const SHARES: [f64; 9] = [0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0];

/// What fleets are looked at, and what they earn.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Sizes, in watts; empty for a range about the trace's mean.
    pub fleets: Vec<f64>,
    /// Least powers, as shares of a fleet's power.
    pub minimums: Vec<f64>,
    /// How a fleet behaves.
    pub model: PerInterval,
    /// Hash prices, in dollars for a petahash per second and day.
    pub hash_prices: Vec<f64>,
    /// What a megawatt-hour of surplus costs, in dollars.
    pub power_prices: Vec<f64>,
    /// Joules per terahash of the machines.
    pub joules_per_terahash: f64,
    /// What a kilowatt of fleet costs a year, machines and site, in dollars.
    pub cost_per_kilowatt_year: f64,
}

/// A fleet and what it does.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Size {
    /// The fleet.
    pub fleet: Fleet,
    /// What it does.
    pub outcome: Outcome,
    /// Energy taken, of what a fleet that never stops would draw.
    pub full_power_share: f64,
}

/// The size that pays best at one pair of prices.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Best {
    /// Dollars for a petahash per second and day.
    pub hash_price: f64,
    /// Dollars for a megawatt-hour.
    pub power_price: f64,
    /// The size; 0 where none pays.
    pub fleet_watts: f64,
    /// What it earns a year after power and the cost of the fleet, in dollars.
    pub earns_per_year: f64,
    /// The hash price below which running, machines once bought, no longer pays for the power.
    pub hash_price_to_run: f64,
}

/// Sizes on a surplus.
#[derive(Clone, Debug, Serialize)]
pub struct Sizing {
    /// What the outcomes come from and what it leaves out.
    pub model: String,
    /// Each size with each minimum.
    pub sizes: Vec<Size>,
    /// Carried in 90 % of the hours: firm, whatever the hash price.
    pub firm_watts: f64,
    /// For each pair of prices, at the lowest of the minimums; none where too little is known.
    pub best: Vec<Best>,
    /// Why there is none.
    pub best_withheld: Option<String>,
    /// Joules per terahash that the earnings assume.
    pub joules_per_terahash: f64,
    /// Dollars a year for a kilowatt of fleet that they assume.
    pub cost_per_kilowatt_year: f64,
}

/// Dollars that a megawatt-hour earns at a hash price.
pub fn earned_per_megawatt_hour(hash_price: f64, joules_per_terahash: f64) -> f64 {
    // A megawatt is 10⁶ ÷ J/TH terahashes a second, a thousandth of that in petahashes; a day has 24 hours.
    1e6 / joules_per_terahash / 1e3 * hash_price / 24.0
}

/// How many outcomes `sizing` asks for at the most.
pub fn outcomes(told: &Told) -> usize {
    let fleets = if told.fleets.is_empty() { SHARES.len() } else { told.fleets.len() };
    fleets * told.minimums.len()
}

/// Less time than this says nothing of what pays, in days: weather comes in weeks.
const LEAST_DAYS: f64 = 7.0;

/// Sizes through any plant.
pub(super) fn sizing<P: Plant>(
    plant: &P,
    surplus: &Surplus<'_>,
    typical: Typical,
    told: &Told,
) -> Result<Sizing, P::Error> {
    let Typical { mean, largest, firm } = typical;
    let mut fleets: Vec<f64> = if told.fleets.is_empty() {
        SHARES.iter().map(|share| round(share * mean)).filter(|watts| *watts <= largest).collect()
    } else {
        told.fleets.clone()
    };
    fleets.retain(|watts| *watts > 0.0);
    fleets.sort_by(f64::total_cmp);
    fleets.dedup_by(|a, b| (*a - *b).abs() < 1e-6);
    let mut minimums = told.minimums.clone();
    minimums.sort_by(f64::total_cmp);
    let size = |watts: f64, minimum: f64| {
        let fleet = Fleet { watts, minimum_watts: minimum * watts };
        let outcome = plant.outcome(surplus, fleet)?;
        Ok(Size { fleet, outcome, full_power_share: outcome.mean_draw_watts / watts })
    };
    let sizes = fleets.iter().flat_map(|watts| minimums.iter().map(|minimum| size(*watts, *minimum)));
    let sizes: Vec<Size> = sizes.collect::<Result<_, P::Error>>()?;
    let lowest: Vec<Size> = sizes.iter().step_by(minimums.len().max(1)).copied().collect();
    let best = told
        .hash_prices
        .iter()
        .flat_map(|hash| told.power_prices.iter().map(|power| best(&lowest, *hash, *power, told)));
    let days = count(surplus.watts.iter().filter(|watts| !watts.is_nan()).count()) * surplus.step / 86_400.0;
    let withheld = (days < LEAST_DAYS).then(|| {
        format!("{days:.1} days are known and {LEAST_DAYS:.0} is the least from which a size that pays can be told")
    });
    Ok(Sizing {
        model: plant.told(),
        firm_watts: firm,
        best: if withheld.is_none() { best.collect() } else { Vec::new() },
        best_withheld: withheld,
        sizes,
        joules_per_terahash: told.joules_per_terahash,
        cost_per_kilowatt_year: told.cost_per_kilowatt_year,
    })
}

fn best(sizes: &[Size], hash_price: f64, power_price: f64, told: &Told) -> Best {
    let earned = earned_per_megawatt_hour(hash_price, told.joules_per_terahash);
    let mut best = Best {
        hash_price,
        power_price,
        fleet_watts: 0.0,
        earns_per_year: 0.0,
        hash_price_to_run: power_price / earned_per_megawatt_hour(1.0, told.joules_per_terahash),
    };
    for size in sizes {
        let year = size.full_power_share * size.fleet.watts * 8760.0 / 1e6;
        let earns = year * (earned - power_price) - size.fleet.watts / 1e3 * told.cost_per_kilowatt_year;
        if earns > best.earns_per_year {
            (best.fleet_watts, best.earns_per_year) = (size.fleet.watts, earns);
        }
    }
    best
}

/// To two digits: nobody builds 1.4094 MW.
fn round(watts: f64) -> f64 {
    if watts <= 0.0 {
        return 0.0;
    }
    let unit = 10_f64.powf(watts.log10().floor() - 1.0);
    (watts / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: PerInterval = PerInterval { start_seconds: 300.0, rise_per_minute: 1.0 };

    fn outcome(watts: &[f64], fleet: f64, minimum: f64) -> Outcome {
        let surplus = Surplus { watts, step: 600.0, weights: &[], unseen: 0.0 };
        MODEL.outcome(&surplus, Fleet { watts: fleet, minimum_watts: minimum }).unwrap()
    }

    #[test]
    fn a_fleet_takes_no_more_than_there_is_and_starts_cost_their_time() {
        // 10 minutes each: none, 600 W twice, 100 W, 600 W; the fleet of 300 W sleeps below 150 W.
        let got = outcome(&[0.0, 600.0, 600.0, 100.0, 600.0], 300.0, 150.0);
        assert_eq!(got.starts, 2);
        // Half of the first interval of each start is lost.
        assert!((got.taken_watt_hours - (25.0 + 50.0 + 25.0)).abs() < 1e-9, "{got:?}");
        assert!((got.taken_watt_hours + got.left_watt_hours - 1900.0 / 6.0).abs() < 1e-9);
        assert!(got.added_peak_watts <= 0.0);
        assert!((got.running - 0.6).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_run_on_what_is_not_known() {
        let got = outcome(&[600.0, f64::NAN, 600.0], 300.0, 100.0);
        assert_eq!((got.starts, got.known_hours), (2, 2.0 / 6.0));
    }

    #[test]
    fn firm_power_knows_no_price_and_the_best_size_does() {
        let watts: Vec<f64> = (0..1000_i32).map(|at| f64::from(at) * 1e3).collect();
        let told = Told {
            fleets: vec![1e5, 3e5, 9e5],
            minimums: vec![0.0],
            model: MODEL,
            hash_prices: vec![10.0, 60.0],
            power_prices: vec![0.0],
            joules_per_terahash: 20.0,
            cost_per_kilowatt_year: 150.0,
        };
        let typical = Typical { mean: 5e5, largest: 1e6, firm: 1e5 };
        let surplus = |watts| Surplus { watts, step: 3600.0, weights: &[], unseen: 0.0 };
        let got = sizing(&MODEL, &surplus(&watts), typical, &told).unwrap();
        assert!((got.firm_watts - 1e5).abs() < 1.0 && got.best_withheld.is_none());
        let week = sizing(&MODEL, &surplus(&watts[..167]), typical, &told).unwrap();
        assert!(week.best.is_empty() && week.best_withheld.is_some() && !week.sizes.is_empty());
        assert!(got.best[0].fleet_watts < got.best[1].fleet_watts, "{:?}", got.best);
        // 1 MW at 20 J/TH is 50 PH/s: at 48 dollars 100 dollars an hour.
        assert!((earned_per_megawatt_hour(48.0, 20.0) - 100.0).abs() < 1e-9);
    }
}
