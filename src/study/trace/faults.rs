//! What a recording says that cannot be so: the same value too long, straight lines, spikes, a clock that jumps.

use super::{Finding, Mark, Shift, Trace};
use crate::study::number::{self, count, quantile, seconds, sorted};

/// The shortest stretch that counts as stale or interpolated, in slots: shorter ones happen.
const LEAST_SLOTS: usize = 6;
/// And in seconds.
const LEAST_SECONDS: i64 = 5_400;
/// Below this share of the largest values nothing stands out: night, or a standstill.
const NIGHT: f64 = 0.001;
/// From this share of the largest value on a constant is a limit that was reached, not a dead meter.
const LIMITED: f64 = 0.97;

/// Marks the slots of a trace; what is marked loses its value unless it is to be kept.
pub(super) fn mark(trace: &mut Trace, keep: bool) {
    for (mark, value) in trace.marks.iter_mut().zip(&trace.values) {
        if value.is_nan() {
            *mark = Mark::Missing;
        }
    }
    let known = sorted(trace.values.iter().copied());
    let most = quantile(&known, 0.995).max(0.0);
    let top = known.last().copied().unwrap_or(0.0).min(trace.capacity.unwrap_or(f64::INFINITY));
    let least = LEAST_SLOTS.max(number::slots(LEAST_SECONDS / trace.step.max(1)));
    outliers(trace, most);
    straight(trace, most, top, least);
    for (kind, wanted, what) in [
        ("stale", Mark::Stale, "the same value too long, not at night and not at the top"),
        ("interpolated", Mark::Interpolated, "on a straight line too long: filled in, not measured"),
        ("outlier", Mark::Outlier, "out of line with its neighbours, or more than the source can give"),
    ] {
        let slots =
            || trace.marks.iter().enumerate().filter(|(_, mark)| **mark == wanted).map(|(slot, _)| slot);
        let (Some(first), Some(last)) = (slots().next(), slots().next_back()) else { continue };
        let done = if keep { "kept, as was asked" } else { "left out" };
        let finding = Finding {
            kind,
            count: slots().count(),
            first: trace.told(first),
            last: trace.told(last),
            what: format!("{what}; {done}"),
        };
        trace.findings.push(finding);
    }
    if !keep {
        for (mark, value) in trace.marks.iter().zip(&mut trace.values) {
            if !matches!(mark, Mark::Trusted) {
                *value = f64::NAN;
            }
        }
    }
    clock(trace, most);
}

/// Spikes and dips of one slot, and what lies beyond what the source can give.
fn outliers(trace: &mut Trace, most: f64) {
    let values = &trace.values;
    // How far a value lies outside of what its four neighbours span.
    let beyond: Vec<f64> = values
        .windows(5)
        .map(|window| {
            let &[a, b, value, c, d] = window else { return f64::NAN };
            let (low, high) = (a.min(b).min(c).min(d), a.max(b).max(c).max(d));
            if [a, b, value, c, d].iter().any(|value| value.is_nan()) {
                f64::NAN
            } else if value > high {
                value - high
            } else {
                (low - value).max(0.0)
            }
        })
        .collect();
    // The surroundings say what is usual: under broken cloud a jump is weather, on a clear day it is not.
    let around = |slot: usize| {
        let steps = (slot.saturating_sub(12)..slot + 12).filter(|at| *at != slot && at + 1 != slot);
        let get = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
        quantile(&sorted(steps.map(|at| (get(at + 1) - get(at)).abs())), 0.9)
    };
    let high = trace.capacity.map_or(f64::INFINITY, |capacity| 1.2 * capacity);
    // Where power hardly ever flows the other way, a large value that does is none.
    let negative = values.iter().filter(|value| **value < -0.02 * most).count();
    let never_negative = negative * 50 < values.len();
    for (slot, mark) in trace.marks.iter_mut().enumerate() {
        let value = values.get(slot).copied().unwrap_or(f64::NAN);
        let far = slot.checked_sub(2).and_then(|at| beyond.get(at)).copied().unwrap_or(0.0);
        let spike = far > 0.25 * most && {
            let usual = around(slot);
            far > 7.0 * usual || (far > 3.0 * usual && value > 1.02 * most)
        };
        if spike || value > high || (never_negative && value < -0.1 * most) {
            *mark = Mark::Outlier;
        }
    }
}

/// Stretches of one value and stretches on a straight line.
fn straight(trace: &mut Trace, most: f64, top: f64, least: usize) {
    let tolerance = 1e-7 * most.max(f64::MIN_POSITIVE);
    let values = &trace.values;
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
        let length = to + 1 - from;
        if slope.is_nan() || length < least {
            from = to;
            continue;
        }
        let level = get(from).abs().max(get(to).abs());
        let flat = slope.abs() <= tolerance;
        let mark = if flat { Mark::Stale } else { Mark::Interpolated };
        let natural = level <= NIGHT * most || (flat && get(from) >= LIMITED * top);
        if !natural {
            for other in trace.marks.iter_mut().skip(from).take(length) {
                *other = mark;
            }
        }
        from = to;
    }
}

/// A clock that jumps: the middle of the sunny day moves by an hour from one week to the next. Only what has nights shows it.
fn clock(trace: &mut Trace, most: f64) {
    let per_day = number::slots(86_400 / trace.step.max(1));
    if per_day < 24 || trace.values.len() < per_day * 30 {
        return;
    }
    let dark = trace.values.iter().filter(|value| **value <= 0.01 * most).count();
    let known = trace.values.iter().filter(|value| !value.is_nan()).count();
    if dark * 4 < known || most <= 0.0 {
        return;
    }
    // Days are cut where the darkest hour is, whatever the zone.
    let mut sums = vec![0.0; per_day];
    for (slot, value) in trace.values.iter().enumerate() {
        if let Some(sum) = sums.get_mut(slot % per_day).filter(|_| *value > 0.0) {
            *sum += value;
        }
    }
    let (x, y) = sums.iter().enumerate().fold((0.0, 0.0), |(x, y), (slot, sum)| {
        let angle = std::f64::consts::TAU * count(slot) / count(per_day);
        (x + sum * angle.cos(), y + sum * angle.sin())
    });
    let total: f64 = sums.iter().sum();
    if x.hypot(y) < 0.4 * total {
        return; // No sun in it.
    }
    let noon = y.atan2(x).rem_euclid(std::f64::consts::TAU) / std::f64::consts::TAU * count(per_day);
    let cut = number::floor(noon + count(per_day) / 2.0) % per_day;
    let middles: Vec<f64> =
        trace.values.get(cut..).unwrap_or(&[]).chunks_exact(per_day).map(|day| middle(day, most)).collect();
    let minutes = seconds(trace.step) / 60.0;
    let mut jumps: Vec<(usize, f64)> = Vec::new();
    let week = 10;
    let steps: Vec<f64> = (week..middles.len().saturating_sub(week))
        .map(|day| {
            let half = |from: usize| {
                let days = sorted(middles.iter().skip(from).take(week).copied());
                if days.len() < 5 { f64::NAN } else { quantile(&days, 0.5) }
            };
            (half(day) - half(day - week)) * minutes
        })
        .collect();
    for (at, step) in steps.iter().enumerate() {
        let near = steps.iter().skip(at.saturating_sub(week)).take(2 * week + 1);
        // The largest of its surroundings, and about an hour.
        if (45.0..=85.0).contains(&step.abs())
            && near.fold(0.0_f64, |most, other| most.max(other.abs())) <= step.abs()
            && jumps.last().is_none_or(|(last, _)| at + week > last + week / 2)
        {
            let day = at + week;
            if jumps.last().is_none_or(|(last, _)| day > last + week) {
                jumps.push((day, *step));
            }
        }
    }
    if jumps.is_empty() {
        return;
    }
    // Between two jumps the clock is off by what they sum up to; the longest stretch is right.
    let mut spans = Vec::new();
    let (mut from, mut off) = (0, 0.0);
    for (day, step) in jumps.iter().copied().chain([(middles.len(), 0.0)]) {
        spans.push((from, day, off));
        (from, off) = (day, off + step.signum() * 60.0);
    }
    let mut lengths: Vec<(i64, usize)> = Vec::new();
    for (from, to, off) in &spans {
        let off = number::whole(*off);
        match lengths.iter_mut().find(|(other, _)| *other == off) {
            Some((_, length)) => *length += to - from,
            None => lengths.push((off, to - from)),
        }
    }
    let right = lengths.iter().max_by_key(|(_, length)| *length).map_or(0, |(off, _)| *off);
    for (from, to, off) in spans {
        let minutes = number::whole(off) - right;
        if minutes != 0 {
            let last = if to == middles.len() { trace.values.len() } else { cut + to * per_day };
            let first = if from == 0 { 0 } else { cut + from * per_day };
            trace.shifts.push(Shift { from: first, to: last, minutes });
        }
    }
    let slots: usize = trace.shifts.iter().map(|shift| shift.to - shift.from).sum();
    let all: Vec<String> = jumps
        .iter()
        .map(|(day, step)| format!("{} ({step:+.0} min)", trace.told(cut + day * per_day)))
        .collect();
    let (Some(first), Some(last)) = (trace.shifts.first(), trace.shifts.last()) else { return };
    let finding = Finding {
        kind: "clock",
        count: slots,
        first: trace.told(first.from),
        last: trace.told(last.to),
        what: format!(
            "the middle of the sunny day jumps on or near {}: the clock was shifted, as by daylight saving that the zone {} does \
             not have; left out of the hours of the day. If the recording follows daylight saving, say --zone Area/City, and --ignore-offset where an offset is written beside the times",
            all.join(", "),
            trace.zone_name
        ),
    };
    trace.findings.push(finding);
}

/// The middle between the first and the last slot of a day with a twentieth of the day's most; NaN for a dark or patchy one.
fn middle(day: &[f64], most: f64) -> f64 {
    let peak = day.iter().copied().filter(|value| !value.is_nan()).fold(0.0, f64::max);
    let unknown = day.iter().filter(|value| value.is_nan()).count();
    if peak < 0.1 * most || unknown * 10 > day.len() {
        return f64::NAN;
    }
    let light = |value: &f64| *value > 0.05 * peak;
    match (day.iter().position(light), day.iter().rposition(light)) {
        (Some(first), Some(last)) => (count(first) + count(last)) / 2.0,
        _ => f64::NAN,
    }
}
