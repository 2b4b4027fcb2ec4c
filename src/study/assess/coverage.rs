//! Which hours of the day a recording covers, and what follows for its means: a recording of sunny hours alone must not pass for
//! one of whole days.
//!
//! Where all hours are known about as often as each other, each interval counts once. Elsewhere each hour of the day counts
//! alike, and an hour that is in no day counts as one without power: that is the worst that it can be.

use crate::study::number::{self, count, mean, quantile, sorted};

/// So much may the known shares of two hours of the day differ for intervals to count once each.
const EVEN: f64 = 0.02;
/// An hour counts at most so many times for what is known of it; the rest of it counts as not seen.
const MOST: f64 = 20.0;
/// Seconds of a day.
const DAY: i64 = 86_400;

/// A part of the day: an hour, or an interval where those are longer.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    /// Slots from the first midnight to the last.
    expected: usize,
    known: usize,
    sum: f64,
    /// What a slot that is known counts.
    weight: f64,
    /// The sum of the weights that nothing stands for.
    unseen: f64,
}

/// How much each interval counts.
#[derive(Clone, Debug)]
pub(super) struct Coverage {
    width: i64,
    parts: Vec<Part>,
    even: bool,
}

impl Coverage {
    pub(super) fn of(values: &[f64], local: &[i64], step: i64) -> Self {
        let step = step.max(1);
        let width = (1..).map(|times| times * step).find(|width| *width >= 3600).unwrap_or(DAY);
        let width = (width..=DAY).step_by(usize::try_from(step).unwrap_or(1)).find(|width| DAY % width == 0);
        let Some(width) = width else { return Self { width: DAY, parts: Vec::new(), even: true } };
        let mut parts = vec![Part::default(); number::slots(DAY / width)];
        let place = |at: i64| number::slots(at.rem_euclid(DAY) / width);
        for (value, at) in values.iter().zip(local) {
            if let Some(part) = parts.get_mut(place(*at)) {
                part.expected += 1;
                if !value.is_nan() {
                    part.known += 1;
                    part.sum += value;
                }
            }
        }
        // The first day begins at midnight and the last ends there, recorded or not.
        let (first, last) = (local.first().copied().unwrap_or(0), local.last().copied().unwrap_or(0));
        let before =
            (1..).map(|n| first - n * step).take_while(|at| at.div_euclid(DAY) == first.div_euclid(DAY));
        let after =
            (1..).map(|n| last + n * step).take_while(|at| at.div_euclid(DAY) == last.div_euclid(DAY));
        for at in before.chain(after) {
            if let Some(part) = parts.get_mut(place(at)) {
                part.expected += 1;
            }
        }
        let shares = || parts.iter().map(|part| count(part.known) / count(part.expected));
        let shares = || shares().filter(|share| !share.is_nan());
        let (least, most) = (shares().fold(1.0, f64::min), shares().fold(0.0, f64::max));
        let even = least >= most - EVEN;
        for part in &mut parts {
            let (expected, known) = (count(part.expected), count(part.known));
            part.weight = if known > 0.0 { (expected / known).min(MOST / most) } else { 0.0 };
            part.unseen = (expected - known * part.weight).max(0.0);
        }
        Self { width, parts, even }
    }

    /// Whether each interval counts once.
    pub(super) const fn is_even(&self) -> bool {
        self.even
    }

    fn part(&self, at: i64) -> Option<&Part> {
        self.parts.get(number::slots(at.rem_euclid(DAY) / self.width))
    }

    /// What each slot counts; empty where each counts once.
    pub(super) fn weights(&self, local: &[i64]) -> Vec<f64> {
        if self.even {
            return Vec::new();
        }
        local.iter().map(|at| self.part(*at).map_or(1.0, |part| part.weight)).collect()
    }

    /// The weight of the time of day of which nothing is known.
    pub(super) fn unseen(&self) -> f64 {
        if self.even { 0.0 } else { self.parts.iter().map(|part| part.unseen).sum() }
    }

    /// The mean over a day of a part of the recording, such as a month: what it does not know of an hour is as in the rest of it.
    /// For even ones, the plain mean.
    pub(super) fn mean_of(&self, part: impl Iterator<Item = (f64, i64)>) -> f64 {
        if self.even {
            return mean(part.map(|(value, _)| value));
        }
        let mut own = vec![(0.0, 0_usize); self.parts.len()];
        for (value, at) in part {
            if let Some((sum, n)) = own.get_mut(number::slots(at.rem_euclid(DAY) / self.width)) {
                (*sum, *n) = (*sum + value, *n + 1);
            }
        }
        let (mut sum, mut all) = (0.0, 0.0);
        for (part, (own, n)) in self.parts.iter().zip(own) {
            let mean = if n > 0 { own / count(n) } else { part.sum / count(part.known.max(1)) };
            sum += mean * count(part.known) * part.weight;
            all += count(part.expected);
        }
        sum / all
    }

    /// The hours of the day that are in no day, as spans of the clock.
    pub(super) fn never(&self) -> Vec<String> {
        let clock = |place: usize| {
            let minutes = number::signed(place) * self.width / 60;
            format!("{:02}:{:02}", minutes / 60, minutes % 60)
        };
        let mut spans = Vec::new();
        let mut at = 0;
        for run in self.parts.chunk_by(|a, b| (a.known == 0) == (b.known == 0)) {
            if run.first().is_some_and(|part| part.known == 0) && !self.even {
                spans.push(format!("{} to {}", clock(at), clock(at + run.len())));
            }
            at += run.len();
        }
        spans
    }
}

/// Values in order, each with what it counts.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    /// The values in order.
    pub order: Vec<f64>,
    /// Sums of the weights up to each; empty where each counts once.
    sums: Vec<f64>,
    /// The mean.
    pub mean: f64,
    /// The share of the time without any.
    pub without: f64,
}

impl Spread {
    /// Of values that are 0 or more.
    pub(super) fn of(values: &[f64], weights: &[f64], unseen: f64) -> Self {
        if weights.is_empty() {
            let order = sorted(values.iter().copied());
            let without = order.partition_point(|value| *value <= 0.0);
            let mean = mean(order.iter().copied());
            return Self { without: count(without) / count(order.len()), order, sums: Vec::new(), mean };
        }
        let mut pairs: Vec<(f64, f64)> = values
            .iter()
            .copied()
            .zip(weights.iter().copied())
            .filter(|(value, _)| !value.is_nan())
            .collect();
        pairs.push((0.0, unseen));
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0.0;
        let sums: Vec<f64> = pairs
            .iter()
            .map(|(_, weight)| {
                sum += weight;
                sum
            })
            .collect();
        let without = pairs.partition_point(|(value, _)| *value <= 0.0);
        let without = without.checked_sub(1).and_then(|last| sums.get(last)).copied().unwrap_or(0.0);
        Self {
            mean: pairs.iter().map(|(value, weight)| value * weight).sum::<f64>() / sum,
            without: without / sum,
            order: pairs.into_iter().map(|(value, _)| value).collect(),
            sums,
        }
    }

    /// The value that is exceeded for a share of the time.
    pub(super) fn exceeded(&self, share: f64) -> f64 {
        if self.sums.is_empty() {
            return quantile(&self.order, 1.0 - share);
        }
        let wanted = (1.0 - share) * self.sums.last().copied().unwrap_or(0.0);
        let place = self.sums.partition_point(|sum| *sum < wanted);
        self.order.get(place.min(self.order.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours from midnight.
    fn hours(n: i64) -> Vec<i64> {
        (0..n).map(|hour| hour * 3600).collect()
    }

    #[test]
    fn whole_days_count_as_they_are_and_gaps_of_whole_days_too() {
        let mut values: Vec<f64> = (0..240_i32).map(|at| f64::from(at % 24)).collect();
        values[48..72].fill(f64::NAN);
        let coverage = Coverage::of(&values, &hours(240), 3600);
        assert!(
            coverage.is_even() && coverage.weights(&hours(240)).is_empty() && coverage.never().is_empty()
        );
        let plain = Spread::of(&values, &[], 0.0);
        assert!((plain.mean - 11.5).abs() < 1e-9 && (plain.exceeded(0.5) - 11.5).abs() < 1e-9);
    }

    #[test]
    fn a_day_and_a_half_is_as_much_as_a_day() {
        // The nights have 0, the days 1: from midnight to noon is half a night and half a day, but 36 hours from 6 to 18 h are not.
        let local: Vec<i64> = (6..42).map(|hour| hour * 3600).collect();
        let values: Vec<f64> =
            (6..42).map(|hour| if (6..18).contains(&(hour % 24)) { 1.0 } else { 0.0 }).collect();
        let coverage = Coverage::of(&values, &local, 3600);
        let spread = Spread::of(&values, &coverage.weights(&local), coverage.unseen());
        assert!((spread.mean - 0.5).abs() < 1e-9, "{}", spread.mean);
        assert!((spread.without - 0.5).abs() < 1e-9);
    }

    #[test]
    fn hours_in_no_day_count_as_without_power() {
        let local: Vec<i64> =
            (0..10).flat_map(|day| (8..16).map(move |hour| day * DAY + hour * 3600)).collect();
        let (mut values, mut grid) = (Vec::new(), Vec::new());
        for at in (8 * 3600..=9 * DAY + 15 * 3600).step_by(3600) {
            grid.push(at);
            values.push(if local.contains(&at) { 900.0 } else { f64::NAN });
        }
        let coverage = Coverage::of(&values, &grid, 3600);
        assert_eq!(coverage.never(), ["00:00 to 08:00", "16:00 to 24:00"]);
        let spread = Spread::of(&values, &coverage.weights(&grid), coverage.unseen());
        assert!((spread.mean - 300.0).abs() < 1e-9, "{}", spread.mean);
        assert!(spread.exceeded(0.3) > 899.0 && spread.exceeded(0.4) < 1.0);
        let month = values.iter().copied().zip(grid.iter().copied()).filter(|(value, _)| !value.is_nan());
        assert!((coverage.mean_of(month) - 300.0).abs() < 1e-9);
    }
}
