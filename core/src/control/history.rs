//! A short memory of a value, so that two values can be compared at the same instant.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// Samples of the recent past, by rising time; bounded in time and number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    samples: VecDeque<(Moment, f64)>,
}

/// The longest time that is remembered: several samples of the slowest meter that a control loop can use, and far more
/// than the lag of any.
const KEEP: Duration = Duration::from_secs(300);
/// The most samples that are kept.
const MOST: usize = 1_200;
/// Steps from where a sample should be before it is searched for.
const STRIDES: usize = 6;

impl History {
    /// Adds a sample. One that is not later than the newest replaces it when the times are equal and is
    /// dropped otherwise.
    pub fn push(&mut self, at: Moment, value: f64) {
        match self.samples.back_mut() {
            Some(newest) if newest.0 == at => newest.1 = value,
            Some(newest) if newest.0 > at => return,
            _ => self.samples.push_back((at, value)),
        }
        let oldest = at.earlier(KEEP);
        while self.samples.len() > MOST || self.samples.get(1).is_some_and(|&(second, _)| second < oldest) {
            self.samples.pop_front();
        }
    }

    /// Adds the same to every sample: something was there all along and is only known now.
    pub fn shift(&mut self, by: f64) {
        for (_, value) in &mut self.samples {
            *value += by;
        }
    }

    /// The least and the greatest value from one moment to another, both included; `None` when empty.
    pub fn range(&self, from: Moment, to: Moment) -> Option<(f64, f64)> {
        let (first, last) = (self.at(from)?, self.at(to)?);
        let begin = self.after(from);
        let within = self.samples.iter().skip(begin).take_while(|&&(at, _)| at < to);
        let ends = (first.min(last), first.max(last));
        Some(within.fold(ends, |(low, high), &(_, value)| (low.min(value), high.max(value))))
    }

    /// How many samples are not later than a moment.
    ///
    /// Samples mostly come evenly, so the place is nearly where it would be if all did; from there it is a few steps, and where
    /// it is not, the search by halves.
    fn after(&self, moment: Moment) -> usize {
        let (Some(&(first, _)), Some(&(last, _))) = (self.samples.front(), self.samples.back()) else {
            return 0;
        };
        let count = self.samples.len();
        if moment >= last {
            return count;
        }
        if moment < first {
            return 0;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let steps = u64::try_from(count.saturating_sub(1)).unwrap_or(0);
        let guess = nanos(moment - first).saturating_mul(steps).checked_div(nanos(last - first)).unwrap_or(0);
        let mut place = usize::try_from(guess).unwrap_or(0).min(count);
        for _ in 0..STRIDES {
            let here = self.samples.get(place).is_some_and(|&(at, _)| at <= moment);
            let before = place.checked_sub(1).and_then(|index| self.samples.get(index));
            let passed = before.is_none_or(|&(at, _)| at <= moment);
            match (passed, here) {
                (true, false) => return place,
                (_, true) => place += 1,
                (false, false) => place -= 1,
            }
        }
        self.samples.partition_point(|&(at, _)| at <= moment)
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<(Moment, f64)> {
        self.samples.back().copied()
    }

    /// The newest sample that is not later than a moment.
    pub fn latest(&self, moment: Moment) -> Option<(Moment, f64)> {
        let later = self.after(moment);
        later.checked_sub(1).and_then(|index| self.samples.get(index)).copied()
    }

    /// The oldest sample that is remembered.
    pub fn oldest(&self) -> Option<(Moment, f64)> {
        self.samples.front().copied()
    }

    /// The value below which this part of the samples since a moment lies; `None` without any.
    pub fn quantile(&self, since: Moment, part: f64) -> Option<f64> {
        let begin = self.samples.partition_point(|&(at, _)| at < since);
        let mut values: Vec<f64> = self.samples.iter().skip(begin).map(|&(_, value)| value).collect();
        let last = values.len().checked_sub(1)?;
        // Counted from the nearer end, so that only a few have to be put in order.
        let above = (1.0 - part).clamp(0.0, 1.0) * f64::from(u32::try_from(last).unwrap_or(u32::MAX));
        let skipped =
            (0..=last).take_while(|rank| f64::from(u32::try_from(*rank).unwrap_or(u32::MAX)) < above);
        let rank = last - skipped.count().min(last);
        let (_, value, _) = values.select_nth_unstable_by(rank, f64::total_cmp);
        Some(*value)
    }

    /// By how much it changed at the most from one sample to the next since a moment, for each second; zero without two samples.
    pub fn steepest(&self, since: Moment) -> f64 {
        let recent = self.samples.iter().rev().take_while(|&&(at, _)| at >= since);
        let pairs = recent.clone().skip(1).zip(recent);
        pairs.fold(0.0, |steepest: f64, (&(from, before), &(to, after))| {
            let seconds = (to - from).as_secs_f64();
            if seconds > 0.0 { steepest.max((after - before).abs() / seconds) } else { steepest }
        })
    }

    /// The mean of the samples since a moment; `None` without any.
    pub fn mean(&self, since: Moment) -> Option<f64> {
        let recent = self.samples.iter().rev().take_while(|&&(at, _)| at >= since);
        let (count, sum) = recent.fold((0.0, 0.0), |(count, sum), &(_, value)| (count + 1.0, sum + value));
        (count > 0.0).then(|| sum / count)
    }

    /// The value at a moment, linear between samples, constant beyond both ends; `None` when empty.
    pub fn at(&self, moment: Moment) -> Option<f64> {
        let later = self.after(moment);
        let before = later.checked_sub(1).and_then(|index| self.samples.get(index));
        match (before, self.samples.get(later)) {
            (Some(&(from, low)), Some(&(to, high))) => {
                let span = (to - from).as_secs_f64();
                let part = if span > 0.0 { (moment - from).as_secs_f64() / span } else { 1.0 };
                Some(low + (high - low) * part)
            }
            (Some(&(_, value)), None) | (None, Some(&(_, value))) => Some(value),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steepest_change_is_that_of_neighbouring_samples_since_a_moment() {
        let mut history = History::default();
        let is = |history: &History, since: u64, watts: f64| {
            let steepest = history.steepest(Moment::millis(since));
            assert!((steepest - watts).abs() < 1e-9, "{steepest} since {since}");
        };
        is(&history, 0, 0.0);
        for (at, value) in [(1_000, 90.0), (2_000, 10.0), (2_500, 20.0), (3_500, 24.0)] {
            history.push(Moment::millis(at), value);
        }
        is(&history, 0, 80.0);
        is(&history, 2_000, 20.0);
        is(&history, 3_500, 0.0);
    }

    #[test]
    fn values_between_samples_are_interpolated_and_ends_are_held() {
        let mut history = History::default();
        assert_eq!(history.at(Moment::millis(5)), None);
        history.push(Moment::millis(1_000), 10.0);
        history.push(Moment::millis(2_000), 20.0);
        assert_eq!(history.at(Moment::millis(500)), Some(10.0));
        assert_eq!(history.at(Moment::millis(1_500)), Some(15.0));
        assert_eq!(history.at(Moment::millis(9_000)), Some(20.0));
    }

    #[test]
    fn a_sample_is_found_however_unevenly_they_came() {
        let mut history = History::default();
        let mut at = 0;
        for step in 0..400_u64 {
            at += [1, 1_000, 1_000, 3, 40_000, 999, 1_001][usize::try_from(step % 7).unwrap()];
            history.push(Moment::millis(at), 1.0);
        }
        for moment in (0..at + 2_000).step_by(37) {
            let moment = Moment::millis(moment);
            let known = history.samples.partition_point(|&(at, _)| at <= moment);
            assert_eq!(history.after(moment), known);
        }
    }

    #[test]
    fn it_forgets_what_is_old_and_stays_bounded() {
        let mut history = History::default();
        for tick in 0..100_000_u64 {
            history.push(Moment::millis(tick * 50), 1.0);
        }
        assert!(history.samples.len() <= MOST + 1);
        history.push(Moment::millis(100), 7.0);
        assert_eq!(history.newest().map(|(_, value)| value), Some(1.0), "time does not run backwards");
    }
}
