//! What can be said about a trace: how much, how often, how long not, how sure.
//!
//! All of it is computed from what is trusted. What is not known neither counts as power nor as its absence, and how much that
//! is stands in [`Known`].

mod coverage;
mod drought;
mod hall;
mod pattern;
pub mod plant;
pub mod rank;
pub mod sizing;
mod year;

use serde::Serialize;

pub use drought::{Drought, drought, longest_below};
pub use hall::{Hall, HallClass};
pub use pattern::{HourOfDay, Month, Ramps, autocorrelation};
pub use year::{Year, YearTold};

use self::sizing::Plant;
use super::number::{count, mean, quantile, seconds, sorted};
use super::report::percent;
use super::trace::{Finding, Mark, Trace};
use coverage::{Coverage, Spread};

/// Shares of the time of the duration curve, in percent.
const DURATION: [u8; 21] = [1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 90, 95, 99];
/// Shares of the hours for which what is carried is told, in percent.
const CARRIED: [u8; 4] = [50, 90, 95, 99];
/// Shares of the site's own mean below which there is a drought.
pub const DROUGHTS: [f64; 4] = [0.1, 0.25, 0.5, 0.75];

/// What the assessment was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The most that the source can give, in watts; otherwise the largest value.
    pub capacity: Option<f64>,
    /// A guaranteed load that comes first, in watts; 0 for none.
    pub floor: f64,
    /// A hall of servers beside miners, in watts; 0 for none.
    pub hall: f64,
    /// A year's energy.
    pub year: YearTold,
    /// A fleet.
    pub sizing: sizing::Told,
}

/// What was known and what was not.
#[derive(Clone, Debug, Serialize)]
pub struct Known {
    /// The first instant, in the trace's zone.
    pub first: String,
    /// The end of the last interval.
    pub last: String,
    /// The zone of days and hours.
    pub zone: String,
    /// The length of an interval.
    pub interval_seconds: i64,
    /// Rows in the file.
    pub rows: usize,
    /// Intervals from the first to the last.
    pub intervals: usize,
    /// Those that are trusted.
    pub trusted: usize,
    /// Their share; below 0.9 it is among the warnings.
    pub trusted_share: f64,
    /// Whether each hour of the day counts alike because some are known more often than others; otherwise each interval counts
    /// once.
    pub hours_count_alike: bool,
    /// Hours of the day that are in no day, such as `00:00 to 04:00`: they count as without power.
    pub hours_never_known: Vec<String>,
    /// Those without a value.
    pub missing: usize,
    /// Those with the same value too long.
    pub stale: usize,
    /// Those on a straight line too long.
    pub interpolated: usize,
    /// Those out of line.
    pub outliers: usize,
    /// Days of the calendar with all their intervals.
    pub whole_days: usize,
    /// Months of the calendar of which something is there, 12 at the most.
    pub months_of_the_year: usize,
    /// What the reader assumed.
    pub assumed: Vec<String>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What nobody can know from this trace.
    pub not_known: Vec<String>,
}

/// A power that is exceeded for a share of the time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Exceeded {
    /// Percent of the known time.
    pub percent_of_time: u8,
    /// The power.
    pub watts: f64,
}

/// Energies of whole days that are exceeded on 50, 90 and 99 % of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DayEnergy {
    /// How many days.
    pub days: usize,
    /// On half of them.
    pub p50_watt_hours: f64,
    /// On 90 %.
    pub p90_watt_hours: f64,
    /// On 99 %.
    pub p99_watt_hours: f64,
}

/// All that is said about a trace.
#[derive(Clone, Debug, Serialize)]
pub struct Assessment {
    /// The file.
    pub name: String,
    /// What has to be said before any figure.
    pub warnings: Vec<String>,
    /// What was known.
    pub known: Known,
    /// The mean of the power to spare.
    pub mean_watts: f64,
    /// The largest value.
    pub largest_watts: f64,
    /// What the shares of capacity refer to.
    pub capacity_watts: f64,
    /// Whether it was told; otherwise it is the largest value.
    pub capacity_told: bool,
    /// The mean over the capacity.
    pub capacity_factor: f64,
    /// Hours without any power to spare, of those known.
    pub share_without: f64,
    /// The guaranteed load that was taken off first.
    pub floor_watts: f64,
    /// The share of the known time in which the floor is carried by the surplus; 1 without a floor.
    pub floor_carried: f64,
    /// What a hall of servers would have had, what comes first taken off; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hall: Option<Hall>,
    /// Exceedance of power at an instant.
    pub duration: Vec<Exceeded>,
    /// What a fleet may draw for 50, 90, 95 and 99 % of the hours.
    pub carried: Vec<Exceeded>,
    /// Month by month.
    pub months: Vec<Month>,
    /// Correlation with itself 1, 6 and 24 hours later; absent where the interval does not divide them.
    pub autocorrelation: Vec<(u32, f64)>,
    /// The mean change of a day's energy to the next, as a share of a mean day.
    pub day_to_day: f64,
    /// Standard deviation over mean of the days' energies.
    pub day_variation: f64,
    /// Days' energies of the power to spare.
    pub day_energy: DayEnergy,
    /// Days' energies of the values as they were recorded, import taken off.
    pub day_energy_recorded: DayEnergy,
    /// By the hour of the day.
    pub hours: Vec<HourOfDay>,
    /// Droughts.
    pub droughts: Vec<Drought>,
    /// The longest run below a twentieth of the capacity, in hours.
    pub run_below_twentieth_of_capacity_hours: f64,
    /// Ramps.
    pub ramps: Ramps,
    /// The energy of a year.
    pub year: Year,
    /// Fleets.
    pub sizing: sizing::Sizing,
}

/// Says what can be said, with fleets by the model interval by interval.
pub fn assess(trace: &Trace, told: &Told) -> Assessment {
    match assess_with(trace, told, &told.sizing.model) {
        Ok(assessment) => assessment,
        Err(never) => match never {},
    }
}

/// Says what can be said, with fleets by a plant.
///
/// # Errors
/// The plant cannot run a fleet.
pub fn assess_with<P: Plant>(trace: &Trace, told: &Told, plant: &P) -> Result<Assessment, P::Error> {
    let raw: Vec<f64> = trace.surplus().collect();
    let surplus: Vec<f64> = raw.iter().map(|value| above(*value, told.floor)).collect();
    let local = trace.local();
    let coverage = Coverage::of(&surplus, &local, trace.step);
    let (weights, unseen) = (coverage.weights(&local), coverage.unseen());
    let spread = Spread::of(&surplus, &weights, unseen);
    let mean_watts = spread.mean;
    let largest = spread.order.last().copied().unwrap_or(0.0);
    let capacity = told.capacity.unwrap_or(largest);
    let exceeded = |percent: u8| Exceeded {
        percent_of_time: percent,
        watts: spread.exceeded(f64::from(percent) / 100.0),
    };
    let held = drought::held(&surplus);
    let recorded: Vec<f64> = trace.values.iter().map(|value| value - told.floor).collect();
    let days = pattern::days(&surplus, &local, trace.step);
    let whole: Vec<f64> = days.iter().filter_map(|day| day.whole).collect();
    let whole_recorded: Vec<f64> =
        pattern::days(&recorded, &local, trace.step).iter().filter_map(|day| day.whole).collect();
    let mean_day = mean(whole.iter().copied());
    let months = pattern::months(&surplus, &local, trace.step, capacity, &coverage);
    let year = year::year(&days, &months, mean_watts, &told.year);
    let known = what_is_known(trace, whole.len(), year.months, &coverage);
    Ok(Assessment {
        name: trace.name.clone(),
        warnings: warnings(&known),
        known,
        mean_watts,
        largest_watts: largest,
        capacity_watts: capacity,
        capacity_told: told.capacity.is_some(),
        capacity_factor: mean_watts / capacity,
        share_without: spread.without,
        floor_watts: told.floor,
        floor_carried: carried(&raw, told.floor, &weights, unseen),
        hall: hall::hall(told.hall, &surplus, &weights, unseen, |slots| trace.hours(slots)),
        duration: DURATION.into_iter().map(exceeded).collect(),
        carried: CARRIED.into_iter().map(exceeded).collect(),
        autocorrelation: [1, 6, 24]
            .into_iter()
            .filter_map(|hours| {
                let lag = i64::from(hours) * 3600;
                let even = trace.step > 0 && lag % trace.step == 0;
                even.then(|| (hours, autocorrelation(&surplus, super::number::slots(lag / trace.step))))
            })
            .filter(|(_, value)| value.is_finite())
            .collect(),
        day_to_day: pattern::day_to_day(&days) / mean_day,
        day_variation: pattern::deviation(&whole) / mean_day,
        day_energy: day_energy(&whole),
        day_energy_recorded: day_energy(&whole_recorded),
        hours: pattern::hours(&surplus, &local, &trace.shifts),
        droughts: DROUGHTS
            .into_iter()
            .map(|share| drought::told(trace, &surplus, &held, share, mean_watts))
            .collect(),
        run_below_twentieth_of_capacity_hours: longest_below(&surplus, 0.05 * capacity)
            .map_or(0.0, |(from, to)| trace.hours(to - from)),
        ramps: pattern::ramps(trace, &surplus),
        months,
        year,
        sizing: sizing::sizing(
            plant,
            &sizing::Surplus { watts: &surplus, step: seconds(trace.step), weights: &weights, unseen },
            sizing::Typical { mean: mean_watts, largest, firm: spread.exceeded(0.9) },
            &told.sizing,
        )?,
    })
}

/// The share of the time in which a load is carried; 1 for none.
fn carried(raw: &[f64], floor: f64, weights: &[f64], unseen: f64) -> f64 {
    if floor <= 0.0 {
        return 1.0;
    }
    let weight = |slot: usize| weights.get(slot).copied().unwrap_or(1.0);
    let known = || raw.iter().enumerate().filter(|(_, value)| !value.is_nan());
    let carried: f64 = known().filter(|(_, value)| **value >= floor).map(|(slot, _)| weight(slot)).sum();
    carried / (known().map(|(slot, _)| weight(slot)).sum::<f64>() + unseen)
}

/// Below this share of trusted intervals it is said before anything else.
const TRUSTED: f64 = 0.9;

/// What has to be said before any figure.
fn warnings(known: &Known) -> Vec<String> {
    let mut all = Vec::new();
    let share = |n: usize| percent(count(n) / count(known.intervals));
    if known.trusted_share < TRUSTED {
        let why = [
            (known.missing, "missing"),
            (known.stale, "stale"),
            (known.interpolated, "interpolated"),
            (known.outliers, "out of line"),
        ];
        let why: Vec<String> =
            why.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", share(*n))).collect();
        all.push(format!(
            "Only {} of the recording is known and trusted ({}): every figure below is of that part alone.",
            percent(known.trusted_share),
            why.join(", ")
        ));
    }
    if !known.hours_never_known.is_empty() {
        all.push(format!(
            "Nothing is known of the time from {} on any day: it counts as without power to spare, the worst that it can be.",
            known.hours_never_known.join(" and from ")
        ));
    }
    all
}

/// What is left above a load that comes first; NaN stays.
fn above(value: f64, floor: f64) -> f64 {
    if value < floor { 0.0 } else { value - floor }
}

fn day_energy(days: &[f64]) -> DayEnergy {
    let order = sorted(days.iter().copied());
    DayEnergy {
        days: days.len(),
        p50_watt_hours: quantile(&order, 0.5),
        p90_watt_hours: quantile(&order, 0.1),
        p99_watt_hours: quantile(&order, 0.01),
    }
}

fn what_is_known(trace: &Trace, whole_days: usize, months: usize, coverage: &Coverage) -> Known {
    let marked = |wanted: Mark| trace.marks.iter().filter(|mark| **mark == wanted).count();
    let trusted = trace.values.iter().filter(|value| !value.is_nan()).count();
    let mut not_known = vec![String::from(
        "how other years differ from this time: the year-to-year spread is a parameter, not a result",
    )];
    if months < 12 {
        not_known.push(format!(
            "the seasons: {months} of the 12 months of the year are there, and a year is scaled up from them"
        ));
    }
    let never = coverage.never();
    let mut assumed = trace.assumed.clone();
    if !coverage.is_even() {
        assumed.push(
            "each hour of the day counts alike in means, shares of the time and the energy of a year, because some hours are known \
             more often than others; a recording of whole days needs no such help"
                .into(),
        );
        if !never.is_empty() {
            not_known.push(format!("the time from {}: it is in no day", never.join(" and from ")));
        }
    }
    if trace.step > 60 {
        not_known.push(format!(
            "what happens within {} s: ramps and starts inside an interval do not show",
            trace.step
        ));
    }
    not_known.push("whether the surplus would have been sold, stored or curtailed otherwise; and the limits of the wires".into());
    Known {
        first: trace.told(0),
        last: trace.told(trace.values.len()),
        zone: trace.zone_name.clone(),
        interval_seconds: trace.step,
        rows: trace.rows,
        intervals: trace.values.len(),
        trusted,
        trusted_share: count(trusted) / count(trace.values.len()),
        hours_count_alike: !coverage.is_even(),
        hours_never_known: never,
        missing: marked(Mark::Missing),
        stale: marked(Mark::Stale),
        interpolated: marked(Mark::Interpolated),
        outliers: marked(Mark::Outlier),
        whole_days,
        months_of_the_year: months,
        assumed,
        findings: trace.findings.clone(),
        not_known,
    }
}
