//! Droughts: the longest run below a level, and the longest window whose mean is below it.

use serde::Serialize;

use crate::study::number;
use crate::study::trace::Trace;

/// The droughts of one level.
#[derive(Clone, Debug, Serialize)]
pub struct Drought {
    /// The level as a share of the site's own mean.
    pub share_of_mean: f64,
    /// The level.
    pub watts: f64,
    /// The variable-duration mean below threshold: the longest window whose mean is below the level.
    pub window_hours: f64,
    /// Where it begins; empty where there is none.
    pub window_from: String,
    /// Where it ends.
    pub window_to: String,
    /// How much of it is not known.
    pub window_unknown_hours: f64,
    /// Whether it begins or ends where the recording does, or at a part that is not known: then it may have been longer.
    pub window_open: bool,
    /// The same where a gap is filled with the value before it, and the level is a share of the mean of that: some of the
    /// literature fills so.
    pub window_held_hours: f64,
    /// The longest run of values below the level, each of them; what is not known does not end it.
    pub run_hours: f64,
    /// Where it begins.
    pub run_from: String,
    /// How much of it is not known.
    pub run_unknown_hours: f64,
    /// As of the window: it may have been longer.
    pub run_open: bool,
}

/// The longest window, as the slot it begins at and the one after its end, whose mean of known values is below a level. It
/// begins and ends with a known value. In one pass over the sums: a window that ends at `j` is longest from the first `i` whose
/// sum of differences is higher, and the highest sums so far rise, so that two fingers find all.
pub fn drought(values: &[f64], level: f64) -> Option<(usize, usize)> {
    let known: Vec<(usize, f64)> =
        values.iter().copied().enumerate().filter(|(_, value)| !value.is_nan()).collect();
    let mut sums = Vec::with_capacity(known.len() + 1);
    let mut sum = 0.0;
    sums.push(sum);
    for (_, value) in &known {
        sum += value - level;
        sums.push(sum);
    }
    // The lowest sum from here on.
    let mut lowest = sums.clone();
    let mut least = f64::INFINITY;
    for (low, sum) in lowest.iter_mut().rev().zip(sums.iter().rev()) {
        least = least.min(*sum);
        *low = least;
    }
    let slot = |at: usize| known.get(at).map(|(slot, _)| *slot);
    let mut best: Option<(usize, usize)> = None;
    let mut to = 0;
    let mut highest = f64::NEG_INFINITY;
    for (from, sum) in sums.iter().enumerate() {
        // A later beginning is longer only where it is higher than all before it.
        if *sum <= highest {
            continue;
        }
        highest = *sum;
        while lowest.get(to + 1).is_some_and(|low| low < sum) {
            to += 1;
        }
        if to > from
            && let (Some(first), Some(last)) = (slot(from), slot(to - 1))
            && best.is_none_or(|(a, b)| last + 1 - first > b - a)
        {
            best = Some((first, last + 1));
        }
    }
    best
}

/// The longest run of known values below a level, as the slot it begins at and the one after its end. Values that are not known
/// do not end it, and it begins and ends with one that is known.
pub fn longest_below(values: &[f64], level: f64) -> Option<(usize, usize)> {
    let mut best: Option<(usize, usize)> = None;
    let mut run: Option<(usize, usize)> = None;
    for (slot, value) in values.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
        run = (*value < level).then(|| (run.map_or(slot, |(from, _)| from), slot + 1));
        if let Some((from, to)) = run
            && best.is_none_or(|(a, b)| to - from > b - a)
        {
            best = run;
        }
    }
    best
}

/// Values with each gap filled by what was before it; what is not known at the beginning is left out.
pub(super) fn held(values: &[f64]) -> Vec<f64> {
    let mut last = f64::NAN;
    let filled = values.iter().map(|value| {
        if !value.is_nan() {
            last = *value;
        }
        last
    });
    filled.filter(|value| !value.is_nan()).collect()
}

/// The droughts below a share of the mean.
pub(super) fn told(trace: &Trace, surplus: &[f64], held: &[f64], share: f64, mean: f64) -> Drought {
    let level = share * mean;
    let window = drought(surplus, level);
    let run = longest_below(surplus, level);
    let (from, to) = window.unwrap_or((0, 0));
    let unknown = |span: Option<(usize, usize)>| {
        let (from, to) = span.unwrap_or((0, 0));
        trace.hours(surplus.iter().skip(from).take(to - from).filter(|value| value.is_nan()).count())
    };
    let open = |span: Option<(usize, usize)>| {
        let not_known =
            |slot: Option<usize>| slot.and_then(|slot| surplus.get(slot)).is_none_or(|value| value.is_nan());
        span.is_some_and(|(from, to)| not_known(from.checked_sub(1)) || not_known(Some(to)))
    };
    Drought {
        share_of_mean: share,
        watts: level,
        window_hours: trace.hours(to - from),
        window_from: window.map_or(String::new(), |(from, _)| trace.told(from)),
        window_to: window.map_or(String::new(), |(_, to)| trace.told(to)),
        window_unknown_hours: unknown(window),
        window_open: open(window),
        window_held_hours: drought(held, share * number::mean(held.iter().copied()))
            .map_or(0.0, |(from, to)| trace.hours(to - from)),
        run_hours: run.map_or(0.0, |(from, to)| trace.hours(to - from)),
        run_from: run.map_or(String::new(), |(from, _)| trace.told(from)),
        run_unknown_hours: unknown(run),
        run_open: open(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lucky_interval_cuts_a_run_but_not_a_window() {
        let values = [5.0, 0.0, 0.0, 1.5, 0.0, 0.0, 5.0];
        assert_eq!(longest_below(&values, 1.0), Some((1, 3)));
        assert_eq!(drought(&values, 1.0), Some((1, 6)));
        assert_eq!(drought(&values, 1.6), Some((0, 6)));
        assert_eq!(drought(&values, 3.0), Some((0, 7)));
        assert_eq!(drought(&[5.0, 5.0], 1.0), None);
        assert_eq!(drought(&[], 1.0), None);
    }

    #[test]
    fn what_is_not_known_is_neither_power_nor_its_absence() {
        let nan = f64::NAN;
        let values = [nan, 5.0, 0.0, nan, nan, 0.0, nan, 5.0];
        assert_eq!(longest_below(&values, 1.0), Some((2, 6)));
        assert_eq!(drought(&values, 1.0), Some((2, 6)));
    }

    #[test]
    fn a_gap_may_hold_the_value_before_it() {
        assert_eq!(held(&[f64::NAN, 1.0, f64::NAN, f64::NAN, 3.0]), [1.0, 1.0, 1.0, 3.0]);
    }

    #[test]
    fn the_window_is_that_of_trying_all() {
        let mut state = 7_u64;
        for n in 1..60_usize {
            let values: Vec<f64> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let x = f64::from(u32::try_from(state >> 33).unwrap_or(0) % 100);
                    if x > 90.0 { f64::NAN } else { x }
                })
                .collect();
            for level in [5.0, 20.0, 40.0, 60.0] {
                let mut most = 0;
                for from in 0..n {
                    for to in from + 1..=n {
                        let window = &values[from..to];
                        let known: Vec<f64> = window.iter().copied().filter(|x| !x.is_nan()).collect();
                        let ends = !window[0].is_nan() && !window[window.len() - 1].is_nan();
                        if ends && known.iter().map(|x| x - level).sum::<f64>() < 0.0 {
                            most = most.max(to - from);
                        }
                    }
                }
                assert_eq!(
                    drought(&values, level).map_or(0, |(from, to)| to - from),
                    most,
                    "{values:?} {level}"
                );
            }
        }
    }
}
