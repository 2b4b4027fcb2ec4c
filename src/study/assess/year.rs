//! The energy of a year, and how sure it is. Not to be mixed up with the exceedance of power at an instant.

use serde::Serialize;

use super::pattern::{Day, Month, deviation};
use crate::sim::random;
use crate::study::number::{self, count, mean, quantile, sorted};

/// Hours of a year.
const HOURS: f64 = 8760.0;
/// Standard normal deviates that are exceeded by 90 and by 99 %.
const Z90: f64 = 1.281_551_565_544_6;
/// See above.
const Z99: f64 = 2.326_347_874_040_8;
/// How often the days are drawn anew.
const DRAWS: u64 = 1000;

/// What is told of a year.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct YearTold {
    /// The standard deviation from year to year, as a share of the mean: not in the data of one or two years.
    pub sigma_years: f64,
    /// That of the measurement and whatever else is not resource, as a share.
    pub sigma_model: f64,
    /// The length of a block, in days.
    pub block_days: usize,
    /// The seed of the draws.
    pub seed: u64,
}

/// The energy of a year.
#[derive(Clone, Debug, Serialize)]
pub struct Year {
    /// Months of the calendar that are there, 12 at the most: below, a year is scaled up from what is there.
    pub months: usize,
    /// Exceeded in half of all years.
    pub p50_watt_hours: f64,
    /// Exceeded in 90 of 100 years; not known from fewer than two blocks of days.
    pub p90_watt_hours: f64,
    /// Exceeded in 99 of 100 years.
    pub p99_watt_hours: f64,
    /// The standard deviation that they rest on, as a share: sample, years and model together.
    pub sigma: f64,
    /// The part that the draws show; not known from fewer than two blocks of days.
    pub sigma_sample: f64,
    /// The part that was told: from year to year.
    pub sigma_years: f64,
    /// The part that was told: measurement and model.
    pub sigma_model: f64,
    /// Of the mean, from the draws: 5 % lie below.
    pub interval_low_watt_hours: f64,
    /// And 5 % above.
    pub interval_high_watt_hours: f64,
    /// Days in a block.
    pub block_days: usize,
    /// Blocks in a draw; fewer than about 10 say little.
    pub blocks: usize,
}

/// The mean of each of many draws of blocks of days, as shares of the mean of all; the blocks go round at the end.
pub(super) fn draws(days: &[f64], block: usize, seed: u64) -> Vec<f64> {
    let whole = mean(days.iter().copied());
    if days.is_empty() || whole <= 0.0 {
        return Vec::new();
    }
    let blocks = u64::try_from(days.len().div_ceil(block.max(1))).unwrap_or(u64::MAX);
    let each = (0..DRAWS).map(|draw| {
        let (mut sum, mut n) = (0.0, 0_usize);
        for number in 0..blocks {
            let from = number::floor(random::unit(seed, draw, number) * count(days.len()));
            let left = (days.len() - n).min(block);
            sum += days.iter().cycle().skip(from).take(left).sum::<f64>();
            n += left;
        }
        sum / count(n) / whole
    });
    sorted(each)
}

pub(super) fn year(days: &[Day], months: &[Month], mean_watts: f64, told: &YearTold) -> Year {
    // Each month of the calendar counts with its own length, however often and however much of it is there.
    let mut calendar = [(0.0, 0.0); 12];
    for month in months {
        let number = month.month.get(5..).and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
        if let Some((sum, weight)) = calendar.get_mut(number.saturating_sub(1)) {
            *sum += month.mean_watts * month.known;
            *weight += month.known;
        }
    }
    let lengths = [31.0, 28.25, 31.0, 30.0, 31.0, 30.0, 31.0, 31.0, 30.0, 31.0, 30.0, 31.0];
    let there = || calendar.iter().zip(lengths).filter(|((_, weight), _)| *weight >= 0.2);
    let number = there().count();
    let annual = if number == 12 {
        there().map(|((sum, weight), length)| sum / weight * length).sum::<f64>()
            / lengths.iter().sum::<f64>()
    } else {
        mean_watts
    };
    let p50 = annual * HOURS;
    let usable: Vec<f64> = days.iter().filter(|day| day.known >= 0.8).map(|day| day.mean).collect();
    let block = told.block_days.max(1);
    let drawn = draws(&usable, block, told.seed);
    let sample = if usable.len() < 2 * block { f64::NAN } else { deviation(&drawn) };
    // Without it σ would look smaller for knowing less: then it is not known, nor what rests on it.
    let sigma = (sample.powi(2) + told.sigma_years.powi(2) + told.sigma_model.powi(2)).sqrt();
    let exceeded =
        |deviate: f64| if sigma.is_nan() { f64::NAN } else { p50 * (1.0 - deviate * sigma).max(0.0) };
    let drawn_share = |share: f64| if sample.is_nan() { f64::NAN } else { p50 * quantile(&drawn, share) };
    Year {
        months: number.max(usize::from(!months.is_empty())),
        p50_watt_hours: p50,
        p90_watt_hours: exceeded(Z90),
        p99_watt_hours: exceeded(Z99),
        sigma,
        sigma_sample: sample,
        sigma_years: told.sigma_years,
        sigma_model: told.sigma_model,
        interval_low_watt_hours: drawn_share(0.05),
        interval_high_watt_hours: drawn_share(0.95),
        block_days: block,
        blocks: number::floor(count(usable.len()) / count(block)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_says_nothing_of_how_sure_a_year_is() {
        let told = YearTold { sigma_years: 0.06, sigma_model: 0.03, block_days: 7, seed: 1 };
        let day = Day { date: 0, mean: 1000.0, known: 1.0, whole: Some(24_000.0) };
        let few = year(&[day; 3], &[], 1000.0, &told);
        assert!(
            few.p90_watt_hours.is_nan() && few.sigma.is_nan() && (few.p50_watt_hours - 8.76e6).abs() < 1.0
        );
        let many = year(&[day; 30], &[], 1000.0, &told);
        assert!((many.sigma - 0.06_f64.hypot(0.03)).abs() < 1e-9);
        assert!((many.p90_watt_hours / many.p50_watt_hours - (1.0 - Z90 * many.sigma)).abs() < 1e-9);
    }

    #[test]
    fn blocks_see_what_single_days_hide() {
        // Fair and foul weeks: single days believe in 140 independent values, weeks in 20.
        let days: Vec<f64> = (0..140_i32).map(|day| if day / 7 % 2 == 0 { 2.0 } else { 1.0 }).collect();
        let (single, weeks) = (deviation(&draws(&days, 1, 1)), deviation(&draws(&days, 7, 1)));
        assert!(weeks > 1.4 * single, "{weeks} {single}");
        assert_eq!(draws(&days, 7, 5), draws(&days, 7, 5));
        assert!(draws(&[], 7, 1).is_empty());
    }
}
