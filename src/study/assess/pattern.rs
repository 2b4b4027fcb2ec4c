//! How power is spread over hours, days and months, and how fast it changes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::coverage::Coverage;
use crate::study::number::{self, count, mean, quantile, quantile_of, seconds, sorted};
use crate::study::trace::{Shift, Trace};

/// A day of the calendar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    /// Days since 1970.
    pub date: i64,
    /// The mean of what is known, in watts.
    pub mean: f64,
    /// The share that is known.
    pub known: f64,
    /// The energy where all of it is known, in watt-hours.
    pub whole: Option<f64>,
}

/// A month of the calendar.
#[derive(Clone, Debug, Serialize)]
pub struct Month {
    /// Such as `2014-01`.
    pub month: String,
    /// The share of its hours that is known.
    pub known: f64,
    /// The mean of what is known.
    pub mean_watts: f64,
    /// The mean over the capacity.
    pub capacity_factor: f64,
}

/// An hour of the day, over all days.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HourOfDay {
    /// 0 to 23, on the clock of the trace's zone.
    pub hour: u8,
    /// The mean.
    pub mean_watts: f64,
    /// Exceeded by nine tenths of the intervals at this hour.
    pub p90_watts: f64,
    /// Exceeded by half of them.
    pub p50_watts: f64,
    /// Exceeded by a tenth.
    pub p10_watts: f64,
}

/// How fast power changes from an interval to the next, in watts per minute.
#[derive(Clone, Debug, Serialize)]
pub struct Ramps {
    /// Not exceeded by 99 % of the changes, up or down.
    pub p99_watts_per_minute: f64,
    /// The fastest rise.
    pub fastest_rise_watts_per_minute: f64,
    /// When.
    pub fastest_rise_at: String,
    /// The fastest fall, as a positive number.
    pub fastest_fall_watts_per_minute: f64,
    /// When.
    pub fastest_fall_at: String,
}

/// The days of a trace, in order.
pub(super) fn days(values: &[f64], local: &[i64], step: i64) -> Vec<Day> {
    let mut all: BTreeMap<i64, (f64, usize, usize)> = BTreeMap::new();
    for (value, at) in values.iter().zip(local) {
        let (sum, known, slots) = all.entry(at.div_euclid(86_400)).or_default();
        *slots += 1;
        if !value.is_nan() {
            *sum += value;
            *known += 1;
        }
    }
    // A day on which the clock is changed has 23 or 25 hours.
    let least = number::slots((86_400 - 3_600) / step.max(1));
    let all = all.into_iter().map(|(date, (sum, known, slots))| Day {
        date,
        mean: sum / count(known),
        known: count(known) * seconds(step) / 86_400.0,
        whole: (known == slots && known >= least.max(1)).then(|| sum * seconds(step) / 3600.0),
    });
    let mut all: Vec<Day> = all.collect();
    // The first and the last day are whole only where they begin and end at midnight.
    let full = number::slots(86_400 / step.max(1));
    let cut = |day: &mut Day, edge: bool| {
        if edge && day.known + 1e-9 < count(full) * seconds(step) / 86_400.0 {
            day.whole = None;
        }
    };
    if let Some(day) = all.first_mut() {
        cut(day, true);
    }
    if let Some(day) = all.last_mut() {
        cut(day, true);
    }
    all
}

/// The mean change from a whole day to the next whole one, in watt-hours.
pub(super) fn day_to_day(days: &[Day]) -> f64 {
    mean(days.windows(2).filter_map(|pair| {
        let [a, b] = pair else { return None };
        let (first, second) = (a.whole?, b.whole?);
        (b.date == a.date + 1).then(|| (second - first).abs())
    }))
}

/// The standard deviation of a sample; NaN for fewer than two.
pub(super) fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values.iter().copied());
    let squares: f64 = values.iter().map(|value| (value - middle) * (value - middle)).sum();
    if values.len() < 2 { f64::NAN } else { (squares / count(values.len() - 1)).sqrt() }
}

/// The months of a trace, in order.
pub(super) fn months(
    values: &[f64],
    local: &[i64],
    step: i64,
    capacity: f64,
    coverage: &Coverage,
) -> Vec<Month> {
    // From which slot to which, and how many a whole month has.
    let mut all: BTreeMap<(i16, i8), (usize, usize, f64)> = BTreeMap::new();
    let (mut day, mut key, mut length) = (i64::MIN, (0, 0), 1.0);
    for (slot, at) in local.iter().enumerate().take(values.len()) {
        if at.div_euclid(86_400) != day {
            day = at.div_euclid(86_400);
            let date = jiff::Timestamp::from_second(*at)
                .map(|at| jiff::tz::TimeZone::UTC.to_datetime(at).date())
                .unwrap_or_default();
            key = (date.year(), date.month());
            length = f64::from(date.days_in_month()) * 86_400.0 / seconds(step);
        }
        let (_, to, slots) = all.entry(key).or_insert((slot, slot, length));
        (*to, *slots) = (slot + 1, length);
    }
    let month = |((year, month), (from, to, slots)): ((i16, i8), (usize, usize, f64))| {
        let part = values.iter().zip(local).skip(from).take(to - from);
        let known = || part.clone().filter(|(value, _)| !value.is_nan()).map(|(value, at)| (*value, *at));
        let mean_watts = coverage.mean_of(known());
        Month {
            month: format!("{year:04}-{month:02}"),
            known: (count(known().count()) / slots).min(1.0),
            mean_watts,
            capacity_factor: mean_watts / capacity,
        }
    };
    all.into_iter().map(month).filter(|month| month.known > 0.0).collect()
}

/// By the hour of the day; spans whose clock is off do not count.
pub(super) fn hours(values: &[f64], local: &[i64], shifts: &[Shift]) -> Vec<HourOfDay> {
    let mut all: Vec<Vec<f64>> = vec![Vec::new(); 24];
    for (slot, (value, at)) in values.iter().zip(local).enumerate() {
        let shifted = shifts.iter().any(|shift| (shift.from..shift.to).contains(&slot));
        let hour = number::slots(at.rem_euclid(86_400) / 3600);
        if let Some(hour) = all.get_mut(hour).filter(|_| !shifted && !value.is_nan()) {
            hour.push(*value);
        }
    }
    (0_u8..)
        .zip(all)
        .filter(|(_, values)| !values.is_empty())
        .map(|(hour, values)| {
            let order = sorted(values);
            HourOfDay {
                hour,
                mean_watts: mean(order.iter().copied()),
                p90_watts: quantile(&order, 0.1),
                p50_watts: quantile(&order, 0.5),
                p10_watts: quantile(&order, 0.9),
            }
        })
        .collect()
}

/// The correlation of values with themselves `lag` slots later, over the pairs of which both are known.
pub fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let pairs = || {
        values
            .iter()
            .zip(values.iter().skip(lag))
            .filter(|(a, b)| !a.is_nan() && !b.is_nan())
            .map(|(a, b)| (*a, *b))
    };
    let n = pairs().count();
    if lag == 0 || n < 3 {
        return f64::NAN;
    }
    let (mean_a, mean_b) = (mean(pairs().map(|(a, _)| a)), mean(pairs().map(|(_, b)| b)));
    let (ab, aa, bb) = pairs().fold((0.0, 0.0, 0.0), |(ab, aa, bb), (a, b)| {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab + a * b, aa + a * a, bb + b * b)
    });
    ab / (aa * bb).sqrt()
}

/// Changes between neighbours that are both known.
pub(super) fn ramps(trace: &Trace, values: &[f64]) -> Ramps {
    let minutes = seconds(trace.step) / 60.0;
    let (mut rise, mut fall) = ((0.0, None), (0.0, None));
    let mut all = Vec::with_capacity(values.len());
    for (slot, pair) in values.windows(2).enumerate() {
        let [a, b] = pair else { continue };
        let change = (b - a) / minutes;
        if change.is_nan() {
            continue;
        }
        all.push(change.abs());
        if change > rise.0 {
            rise = (change, Some(slot));
        }
        if -change > fall.0 {
            fall = (-change, Some(slot));
        }
    }
    let when = |slot: Option<usize>| slot.map_or(String::new(), |slot| trace.told(slot));
    Ramps {
        p99_watts_per_minute: quantile_of(&mut all, 0.99),
        fastest_rise_watts_per_minute: rise.0,
        fastest_rise_at: when(rise.1),
        fastest_fall_watts_per_minute: fall.0,
        fastest_fall_at: when(fall.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_is_its_own_opposite_half_a_period_later() {
        let values: Vec<f64> =
            (0..2400_i32).map(|at| (f64::from(at) * std::f64::consts::TAU / 24.0).sin()).collect();
        assert!((autocorrelation(&values, 24) - 1.0).abs() < 1e-9);
        assert!((autocorrelation(&values, 12) + 1.0).abs() < 1e-9);
        assert!(autocorrelation(&values, 6).abs() < 0.01);
        assert!(autocorrelation(&values[..2], 1).is_nan());
    }

    #[test]
    fn only_whole_days_have_an_energy() {
        // 36 hours of 1 kW from midnight, an unknown one on the second day.
        let values = vec![1000.0; 60];
        let local: Vec<i64> = (0..60).map(|hour| hour * 3600).collect();
        let all = days(&values, &local, 3600);
        let energies: Vec<Option<f64>> = all.iter().map(|day| day.whole).collect();
        assert_eq!(energies, [Some(24_000.0), Some(24_000.0), None]);
        let mut patchy = values;
        patchy[30] = f64::NAN;
        assert_eq!(days(&patchy, &local, 3600)[1].whole, None);
    }
}
