//! What a recording says that cannot be so: the same value too long, straight lines, spikes, a clock that jumps.

use super::{Finding, Mark, Shift, Sign, Told, Trace, flat};
use crate::study::number::{self, count, quantile, seconds, sorted};

/// So many times the capacity is a mistake, of the recording or of who told the capacity.
const ABOVE: f64 = 1.2;
/// From this share of the values on it is not the recording that is mistaken.
const TOO_MANY: f64 = 0.01;

/// Marks the slots of a trace; what is marked loses its value unless it is to be kept.
///
/// # Errors
/// A capacity that the recording exceeds again and again.
pub(super) fn mark(trace: &mut Trace, told: &Told) -> Result<(), String> {
    let keep = told.keep_doubtful;
    for (mark, value) in trace.marks.iter_mut().zip(&trace.values) {
        if value.is_nan() {
            *mark = Mark::Missing;
        }
    }
    let known = sorted(trace.values.iter().copied());
    let most = quantile(&known, 0.995).max(0.0);
    let top = known.last().copied().unwrap_or(0.0).min(trace.capacity.unwrap_or(f64::INFINITY));
    let steps = flat::steps(&trace.values, most);
    above_capacity(trace, keep)?;
    outliers(trace, most, steps, told.sign);
    flat::mark(trace, most, top, steps);
    let negative = trace.marks.iter().zip(&trace.values);
    let negative = negative.filter(|(mark, value)| **mark == Mark::Outlier && **value < 0.0).count();
    for (kind, wanted, what) in [
        ("stale", Mark::Stale, "the same value too long, not at night and not at the top"),
        ("interpolated", Mark::Interpolated, "on a straight line too long: filled in, not measured"),
        ("outlier", Mark::Outlier, "out of line with its neighbours, or more than the source can give"),
    ] {
        let slots =
            || trace.marks.iter().enumerate().filter(|(_, mark)| **mark == wanted).map(|(slot, _)| slot);
        let (Some(first), Some(last)) = (slots().next(), slots().next_back()) else { continue };
        let done = if keep { "kept, as was asked" } else { "left out" };
        let mut what = format!("{what}; {done}");
        if wanted == Mark::Outlier && negative > 0 {
            what.push_str(&format!(
                "; of these {negative} lie below 0 and count as nothing to spare (--sign import, where it is import)"
            ));
        }
        let finding =
            Finding { kind, count: slots().count(), first: trace.told(first), last: trace.told(last), what };
        trace.findings.push(finding);
    }
    if !keep {
        for (mark, value) in trace.marks.iter().zip(&mut trace.values) {
            if *mark == Mark::Outlier && *value < 0.0 {
                // Import or a mistake: in either case nobody can count on power to spare then.
                *value = 0.0;
            } else if !matches!(mark, Mark::Trusted) {
                *value = f64::NAN;
            }
        }
    }
    clock(trace, most);
    Ok(())
}

/// Tells what lies above the capacity, and refuses a capacity that would cut the top off.
fn above_capacity(trace: &mut Trace, keep: bool) -> Result<(), String> {
    let Some(capacity) = trace.capacity else { return Ok(()) };
    let known = trace.values.iter().filter(|value| !value.is_nan()).count();
    let over = |times: f64| trace.values.iter().filter(|value| **value > times * capacity).count();
    let (above, far) = (over(1.0), over(ABOVE));
    let largest = trace.values.iter().copied().filter(|value| !value.is_nan()).fold(0.0, f64::max);
    let share = |n: usize| 100.0 * count(n) / count(known.max(1));
    if !keep && count(far) > TOO_MANY * count(known) {
        return Err(format!(
            "{far} of its values ({:.1} %) are more than {ABOVE} times the capacity of {:.3} kW that was told; the largest is {:.3} \
             kW. Mend --capacity or --unit; --keep-doubtful takes the values as they are",
            share(far),
            capacity / 1e3,
            largest / 1e3
        ));
    }
    // A meter's error is no news.
    let told = over(1.02);
    let mut slots = trace.values.iter().enumerate().filter(|(_, value)| **value > 1.02 * capacity);
    if told > 0
        && let Some((first, _)) = slots.next()
    {
        let last = slots.next_back().map_or(first, |(last, _)| last);
        let finding = Finding {
            kind: "capacity",
            count: above,
            first: trace.told(first),
            last: trace.told(last),
            what: format!(
                "values above the capacity of {:.3} kW ({:.2} % of all), the largest {:.3} kW; {far} of them are more than {ABOVE} times \
                 it and {}; is --capacity right?",
                capacity / 1e3,
                share(above),
                largest / 1e3,
                if keep { "kept, as was asked" } else { "left out" }
            ),
        };
        trace.findings.push(finding);
    }
    Ok(())
}

/// Spikes and dips of one slot, and what lies beyond what the source can give.
fn outliers(trace: &mut Trace, most: f64, steps: f64, sign: Option<Sign>) {
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
    let high = trace.capacity.map_or(f64::INFINITY, |capacity| ABOVE * capacity);
    // Where power hardly ever flows the other way, a large value that does may be none; a meter at the connection point
    // measures import, however seldom it is.
    let import = sign == Some(Sign::Import);
    let negative = values.iter().filter(|value| **value < -0.02 * most).count();
    let never_negative = negative * 50 < values.len() && !import;
    for (slot, mark) in trace.marks.iter_mut().enumerate() {
        let value = values.get(slot).copied().unwrap_or(f64::NAN);
        let far = slot.checked_sub(2).and_then(|at| beyond.get(at)).copied().unwrap_or(0.0);
        let spike = far > 0.25 * most && far > 2.5 * steps && !(import && value < 0.0) && {
            let usual = around(slot);
            far > 7.0 * usual || (far > 3.0 * usual && value > 1.02 * most)
        };
        if spike || value > high || (never_negative && value < -0.1 * most) {
            *mark = Mark::Outlier;
        }
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
