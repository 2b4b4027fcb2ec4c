//! Stretches of one value and stretches on a straight line: a dead meter, rows that were filled in, or a slow power that is
//! counted in coarse steps.

use super::{Mark, Trace};
use crate::study::number::{self, count, sorted};

/// The shortest stretch that counts as stale or interpolated, in slots: shorter ones happen.
const LEAST_SLOTS: usize = 6;
/// And in seconds.
const LEAST_SECONDS: i64 = 5_400;
/// Below this share of the largest values nothing stands out: night, or a standstill.
const NIGHT: f64 = 0.001;
/// From this share of the largest value on a constant is a limit that was reached, not a dead meter.
const LIMITED: f64 = 0.97;
/// So many changes are looked at for the steps of a meter.
const MOST_CHANGES: usize = 200_000;
/// So many times its mean stay at one value a recording may stay there, whatever comes after.
const LONG_STAY: f64 = 6.0;

/// A stretch on a straight line: where it begins, how many slots it has, and its slope in watts a slot.
struct Stretch {
    from: usize,
    length: usize,
    slope: f64,
}

/// What is too small to be a change, in watts.
fn tolerance(most: f64) -> f64 {
    1e-7 * most.max(f64::MIN_POSITIVE)
}

/// The steps in which a recording counts, in watts; 0 where it has none. It is the least change that comes again and again and
/// of which nearly all others are multiples: values that were filled in, which lie between the steps, do not hide it.
pub(super) fn steps(values: &[f64], most: f64) -> f64 {
    let tolerance = tolerance(most);
    let stride = (values.len() / MOST_CHANGES).max(1);
    let changes = values.windows(2).step_by(stride).map(|pair| match pair {
        [a, b] => (b - a).abs(),
        _ => f64::NAN,
    });
    let changes = sorted(changes.filter(|change| *change > tolerance));
    let often = (changes.len() / 100).max(3);
    let mut rest = changes.as_slice();
    let mut tried = 0;
    while let Some(first) = rest.first().copied().filter(|_| tried < 20) {
        let same = rest.partition_point(|change| change - first <= (2.0 * tolerance).max(1e-6 * first));
        if same >= often {
            tried += 1;
            let multiples = changes.iter().filter(|change| {
                let times = **change / first;
                (times - times.round()).abs() <= 1e-3
            });
            // By chance it would be one in five hundred.
            if multiples.count() * 10 >= changes.len() * 6 {
                return first;
            }
        }
        rest = rest.get(same.max(1)..).unwrap_or(&[]);
    }
    0.0
}

/// How a recording usually moves.
struct Usual {
    /// The steps in which it counts, in watts; 0 for none.
    step: f64,
    /// For how many slots it stays at one value in the mean, where there is power.
    stay: f64,
    /// How many steps there are up to the largest values.
    levels: f64,
}

impl Usual {
    fn of(values: &[f64], most: f64, top: f64, step: f64) -> Self {
        let awake = |value: f64| value > NIGHT * most && value < LIMITED * top;
        let (slots, changes) =
            values.windows(2).fold((0_usize, 1_usize), |(slots, changes), pair| match pair {
                [a, b] if awake(*a) && awake(*b) => {
                    (slots + 1, changes + usize::from((b - a).abs() > tolerance(most)))
                }
                _ => (slots, changes),
            });
        let levels = if step > 0.0 { (most / step).max(1.0) } else { 1.0 };
        Self { step, stay: count(slots) / count(changes), levels }
    }

    /// Whether such a stretch of one value is what this recording is like.
    fn stays(&self, values: &[f64], stretch: &Stretch, least: usize) -> bool {
        let length = count(stretch.length);
        if length < count(least) || (self.stay >= 2.0 && length < LONG_STAY * self.stay) {
            return true;
        }
        // A slow power that is counted in steps comes and goes by a step or two; a meter that was dead jumps. At the top of a
        // wave it stays for as long as the wave is flat, which is some √levels times as long as elsewhere.
        let near = |mut slots: Box<dyn Iterator<Item = f64> + '_>, value: f64| {
            slots.find(|other| !other.is_nan()).is_none_or(|other| (other - value).abs() <= 2.5 * self.step)
        };
        let value = values.get(stretch.from).copied().unwrap_or(f64::NAN);
        let (before, after) = values.split_at_checked(stretch.from).unwrap_or((&[], &[]));
        let after = after.get(stretch.length..).unwrap_or(&[]);
        self.step > 0.0
            && length < 4.0 * self.stay.max(1.0) * self.levels.sqrt()
            && near(Box::new(before.iter().rev().take(least).copied()), value)
            && near(Box::new(after.iter().take(least).copied()), value)
    }

    /// Whether such a slope comes of the steps: a few of them in each slot. What was filled in has slopes that lie between.
    fn rises(&self, slope: f64) -> bool {
        let times = slope.abs() / self.step;
        self.step > 0.0 && times < 3.5 && (times - times.round()).abs() < 1e-3
    }
}

/// Marks stretches of one value and stretches on a straight line that this recording cannot have by itself.
pub(super) fn mark(trace: &mut Trace, most: f64, top: f64, step: f64) {
    let least = LEAST_SLOTS.max(number::slots(LEAST_SECONDS / trace.step.max(1)));
    let all = stretches(&trace.values, tolerance(most), least);
    if all.is_empty() {
        return;
    }
    let usual = Usual::of(&trace.values, most, top, step);
    for stretch in all {
        let get = |slot: usize| trace.values.get(slot).copied().unwrap_or(f64::NAN);
        let (first, last) = (get(stretch.from), get(stretch.from + stretch.length - 1));
        let flat = stretch.slope.abs() <= tolerance(most);
        let natural = first.abs().max(last.abs()) <= NIGHT * most
            || (flat && first >= LIMITED * top)
            || if flat { usual.stays(&trace.values, &stretch, least) } else { usual.rises(stretch.slope) };
        if !natural {
            let mark = if flat { Mark::Stale } else { Mark::Interpolated };
            for other in trace.marks.iter_mut().skip(stretch.from).take(stretch.length) {
                *other = mark;
            }
        }
    }
}

/// All stretches on a straight line, level ones too, that have so many slots.
fn stretches(values: &[f64], tolerance: f64, least: usize) -> Vec<Stretch> {
    let mut all = Vec::new();
    let mut from = 0;
    while from + 1 < values.len() {
        let get = |slot: usize| values.get(slot).copied().unwrap_or(f64::NAN);
        let slope = get(from + 1) - get(from);
        let mut to = from + 1;
        // Neighbouring slopes are compared, and the line through the first two with where it has come to: a slow curve is none.
        while (get(to + 1) - get(to) - slope).abs() <= tolerance
            && (get(from) + slope * count(to + 1 - from) - get(to + 1)).abs()
                <= 3.0 * tolerance.max(slope.abs() * 1e-3)
        {
            to += 1;
        }
        if !slope.is_nan() && to + 1 - from >= least {
            all.push(Stretch { from, length: to + 1 - from, slope });
        }
        from = to;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(at: i32) -> f64 {
        20e3 + 15e3 * (f64::from(at) * 0.004).sin() + 4e3 * (f64::from(at) * 0.0007).cos()
    }

    #[test]
    fn the_steps_of_a_meter_are_found_through_rows_that_were_filled_in() {
        let coarse: Vec<f64> = (0..4000).map(|at| (wave(at) / 500.0).round() * 500.0).collect();
        assert!((steps(&coarse, 39e3) - 500.0).abs() < 1e-6);
        let mut filled = coarse;
        for gap in 0..5_i32 {
            let from = usize::try_from(gap * 700).unwrap();
            let (a, b) = (filled[from], filled[from + 15] + 77.0);
            for at in 0..=15_i32 {
                filled[from + usize::try_from(at).unwrap()] = a + (b - a) * f64::from(at) / 15.0;
            }
        }
        assert!((steps(&filled, 39e3) - 500.0).abs() < 1e-6, "{}", steps(&filled, 39e3));
        let fine: Vec<f64> = (0..4000).map(wave).collect();
        assert!(steps(&fine, 39e3).abs() < 1e-12);
        assert!(steps(&[], 0.0).abs() < 1e-12);
    }
}
