//! The output of a photovoltaic plant: a recorded day, minute by minute, and what happens between the minutes.
//!
//! **The day** is `data/pv-1min.csv`: the array has about 6 kW peak, and the trace is scaled by
//! `peak / 6 kW`. A plant of 1 MW therefore gives 771 kW at the trace's noon, as a real plant gives less than its
//! peak. The minutes are joined by a monotone cubic (Fritsch and Carlson, SIAM J. Numer. Anal. 17, 1980), which
//! never overshoots its points. After midnight the day begins again.
//!
//! **Between the minutes** the recorded curve is multiplied by
//! `1 + flutter × noise(t) + Σ patches`. A *patch* is a cloud's edge (or the edge of a gap) that crosses the
//! plant: it darkens or brightens it by up to `patch_depth`, within `patch_edge` to twice that, stays for a while
//! and leaves in the same way; shallow ones are more frequent than deep ones. Patches never overlap.
//!
//! **Why these edges.** A plant averages over its own area: a cloud that moves at 10–20 m/s needs 5–15 s to cross the
//! 100–150 m of a 1 MW plant, so its output changes by 5–10 % of peak within 5–10 s and only now and then faster.
//! (Lave, Kleissl and Arias-Castro, Solar Energy 86, 2012, found ramps of up to 60 %/s at a single sensor, but
//! none of 5 %/s for 10 MW; Marcos et al., 2011, describe a plant as a low-pass filter over the sensor.)
//!
//! **The steepest ramp** has a bound, [`Sun::steepest_ramp`], which a test holds against the curve.

use std::time::Duration;

use super::random::{STEEPEST_STEP, lattice, signed, smooth_noise, smoothstep, unit};
use super::scenario;
use crate::units::{Watts, WattsPerSecond};

/// The recorded day: `time,power_w`, one row a minute.
const TRACE: &str = include_str!("../../data/pv-1min.csv");

/// Peak power of the recorded array.
const RECORDED_PEAK: f64 = 6_000.0;

const MINUTE: Duration = Duration::from_secs(60);
const MINUTES_OF_DAY: usize = 24 * 60;

/// Flutter is made of a slow and a quick part: share and period.
const FLUTTER: [(f64, Duration, u64); 2] =
    [(0.8, Duration::from_secs(15), 0x51), (0.2, Duration::from_secs(4), 0x52)];

const PATCH_STREAM: u64 = 0x53;

/// A photovoltaic plant. Pure: the same scenario gives the same output at the same time, always.
#[derive(Debug, Clone)]
pub struct Sun {
    settings: scenario::Sun,
    seed: u64,
    /// Output at each minute of the day, scaled, in watts; the first minute is repeated at the end.
    minutes: Vec<f64>,
}

/// One patch: when it comes, how long its edges take, when it goes, and what it does to the output.
struct Patch {
    starts: f64,
    coming: f64,
    leaves: f64,
    going: f64,
    depth: f64,
}

impl Sun {
    /// Scales the recorded day to a scenario's plant.
    pub fn new(settings: &scenario::Sun, seed: u64) -> Self {
        let scale = settings.peak.get() / RECORDED_PEAK;
        let mut minutes = vec![0.0; MINUTES_OF_DAY];
        for (minute, power) in TRACE.lines().skip(1).filter_map(row) {
            if let Some(slot) = minutes.get_mut(minute) {
                *slot = power * scale;
            }
        }
        minutes.extend(minutes.first().copied());
        Self { settings: settings.clone(), seed, minutes }
    }

    /// Output at a scenario time. A little below zero at night: the inverters' own draw.
    pub fn output(&self, time: Duration) -> Watts {
        let smooth = self.recorded(time);
        let restless = smooth * (1.0 + self.flutter(time) + self.patch(time));
        Watts::saturating(restless).min(self.settings.peak)
    }

    /// An upper bound for how fast the output can change, at any time of the day, at speed 1:
    /// the steepest minute × 3 (the steepest that a monotone cubic can be between two points), times the largest
    /// factor, plus the brightest minute × the steepest change of the factor.
    pub fn steepest_ramp(&self) -> WattsPerSecond {
        let steps = self.minutes.iter().zip(self.minutes.iter().skip(1));
        let steepest = steps.map(|(a, b)| (b - a).abs()).fold(0.0, f64::max) * 3.0 / 60.0;
        let brightest = self.minutes.iter().copied().fold(0.0, f64::max);
        let flutter: f64 =
            FLUTTER.iter().map(|(share, period, _)| share * 2.0 * STEEPEST_STEP / period.as_secs_f64()).sum();
        let patch = if self.settings.patches_per_hour > 0.0 {
            self.settings.patch_depth * STEEPEST_STEP / self.settings.patch_edge.as_secs_f64()
        } else {
            0.0
        };
        let factor = 1.0 + self.settings.flutter + self.settings.patch_depth;
        WattsPerSecond::saturating(steepest * factor + brightest * (self.settings.flutter * flutter + patch))
    }

    /// The recorded curve, minutes joined.
    fn recorded(&self, time: Duration) -> f64 {
        let (minute, into) = lattice(time.saturating_add(self.settings.start), MINUTE);
        let minute = usize::try_from(minute).unwrap_or(0) % MINUTES_OF_DAY;
        let at = |offset: usize| {
            // The night before is as dark as the night after.
            let index = (minute + MINUTES_OF_DAY + offset - 1) % MINUTES_OF_DAY;
            self.minutes.get(index).copied().unwrap_or(0.0)
        };
        let (before, from, to, after) = (at(0), at(1), at(2), at(3));
        let slope_from = tangent(from - before, to - from);
        let slope_to = tangent(to - from, after - to);
        let (x, x2) = (into, into * into);
        let x3 = x2 * x;
        from * (2.0 * x3 - 3.0 * x2 + 1.0)
            + to * (3.0 * x2 - 2.0 * x3)
            + slope_from * (x3 - 2.0 * x2 + x)
            + slope_to * (x3 - x2)
    }

    fn flutter(&self, time: Duration) -> f64 {
        let noise: f64 = FLUTTER
            .iter()
            .map(|(share, period, stream)| share * smooth_noise(self.seed, *stream, time, *period))
            .sum();
        self.settings.flutter * noise
    }

    fn patch(&self, time: Duration) -> f64 {
        let rate = self.settings.patches_per_hour;
        if rate <= 0.0 {
            return 0.0;
        }
        let cell_length = Duration::from_secs_f64(3600.0 / rate);
        let (cell, into) = lattice(time, cell_length);
        let patch = self.patch_in(cell, cell_length.as_secs_f64());
        let into = into * cell_length.as_secs_f64();
        let shape = smoothstep((into - patch.starts) / patch.coming)
            - smoothstep((into - patch.leaves) / patch.going);
        patch.depth * shape
    }

    /// The patch of a cell of time; wholly inside it.
    fn patch_in(&self, cell: u64, length: f64) -> Patch {
        let draw = |which: u64| unit(self.seed, PATCH_STREAM + which, cell);
        let edge = self.settings.patch_edge.as_secs_f64();
        let (coming, going) = (edge * (1.0 + draw(0)), edge * (1.0 + draw(1)));
        let room = (length - coming - going).max(0.0);
        let stay = room * draw(2);
        let starts = (room - stay) * draw(3);
        let size = draw(4);
        let sign = if signed(self.seed, PATCH_STREAM + 5, cell) < 0.0 { -1.0 } else { 1.0 };
        Patch {
            starts,
            coming,
            leaves: starts + coming + stay,
            going,
            depth: sign * self.settings.patch_depth * (0.2 + 0.8 * size * size),
        }
    }
}

/// Slope at a point between two steps (per minute): zero at a turn, else their harmonic mean, which keeps the
/// curve monotone.
fn tangent(left: f64, right: f64) -> f64 {
    if left * right <= 0.0 { 0.0 } else { 2.0 * left * right / (left + right) }
}

/// Reads `2022-03-18T14:05:00-07:00,2904.1` as minute of the day and watts.
fn row(line: &str) -> Option<(usize, f64)> {
    let (time, power) = line.split_once(',')?;
    let (_, clock) = time.split_once('T')?;
    let (hours, rest) = clock.split_once(':')?;
    let (minutes, _) = rest.split_once(':')?;
    let minute = hours.parse::<usize>().ok()? * 60 + minutes.parse::<usize>().ok()?;
    let power: f64 = power.trim().parse().ok()?;
    (power.is_finite() && minute < MINUTES_OF_DAY).then_some((minute, power))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> scenario::Sun {
        scenario::Sun {
            peak: Watts::whole(1_000_000),
            start: Duration::from_secs(14 * 3600),
            flutter: 0.02,
            patches_per_hour: 40.0,
            patch_depth: 0.2,
            patch_edge: Duration::from_secs(7),
            circuit: None,
        }
    }

    fn calm() -> scenario::Sun {
        scenario::Sun { flutter: 0.0, patches_per_hour: 0.0, patch_depth: 0.0, ..settings() }
    }

    #[test]
    fn the_whole_recorded_day_is_there() {
        let rows: Vec<_> = TRACE.lines().skip(1).map(row).collect();
        assert_eq!(rows.len(), 1_167);
        assert!(rows.iter().all(Option::is_some));
        assert_eq!(rows[0].unwrap().0, 4 * 60 + 33);
        assert_eq!(rows[1_166].unwrap().0, 23 * 60 + 59);
    }

    #[test]
    fn a_calm_sun_passes_through_the_recorded_minutes() {
        let sun = Sun::new(&calm(), 1);
        let recorded =
            TRACE.lines().skip(1).filter_map(row).find(|(minute, _)| *minute == 14 * 60 + 7).unwrap();
        let output = sun.output(Duration::from_secs(7 * 60)).get();
        assert!((output - recorded.1 / 6_000.0 * 1e6).abs() < 1e-6, "{output}");
    }

    #[test]
    fn a_calm_sun_never_overshoots_its_minutes() {
        let sun = Sun::new(&calm(), 1);
        for minute in 0..600_u32 {
            let ends = [minute, minute + 1].map(|m| sun.output(MINUTE * m).get());
            for tenth in 0..10_u32 {
                let value = sun.output(MINUTE * minute + Duration::from_secs(6) * tenth).get();
                assert!(value >= ends[0].min(ends[1]) - 1e-6 && value <= ends[0].max(ends[1]) + 1e-6);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_sun_and_another_seed_another() {
        let (a, b, c) = (Sun::new(&settings(), 7), Sun::new(&settings(), 7), Sun::new(&settings(), 8));
        let times: Vec<_> = (0..3_600_u64).map(Duration::from_secs).collect();
        assert!(times.iter().all(|t| a.output(*t) == b.output(*t)));
        assert!(times.iter().any(|t| a.output(*t) != c.output(*t)));
        // Asked backwards it is the same: nothing is remembered.
        let forwards: Vec<_> = times.iter().map(|t| a.output(*t)).collect();
        let mut backwards: Vec<_> = times.iter().rev().map(|t| a.output(*t)).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
    }

    #[test]
    fn the_steepest_ramp_keeps_its_bound_all_day() {
        let mut day = settings();
        day.start = Duration::ZERO;
        let sun = Sun::new(&day, 3);
        let bound = sun.steepest_ramp().get();
        let step = Duration::from_millis(200);
        let mut previous = sun.output(Duration::ZERO).get();
        let mut steepest: f64 = 0.0;
        for i in 1..432_000_u32 {
            let value = sun.output(step * i).get();
            steepest = steepest.max((value - previous).abs() / 0.2);
            previous = value;
        }
        assert!(steepest <= bound, "{steepest} W/s, bound {bound}");
        // The bound says something: it is not many times what happens.
        assert!(steepest * 3.0 > bound, "{steepest} W/s, bound {bound}");
    }

    #[test]
    fn a_cloud_edge_is_what_a_plant_of_a_megawatt_shows() {
        let sun = Sun::new(&settings(), 3);
        let five_seconds = |i: u32| {
            let from = Duration::from_millis(500) * i;
            (sun.output(from + Duration::from_secs(5)) - sun.output(from)).abs().get()
        };
        let largest = (0..7_200).map(five_seconds).fold(0.0, f64::max);
        assert!((50_000.0..150_000.0).contains(&largest), "5 to 15 % of peak in 5 s: {largest}");
    }

    #[test]
    fn the_inverters_clip_at_the_peak_and_the_night_is_dark() {
        let mut bright = settings();
        bright.start = Duration::from_secs(11 * 3600);
        bright.patch_depth = 0.9;
        let sun = Sun::new(&bright, 3);
        let outputs: Vec<_> = (0..3_600).map(|s| sun.output(Duration::from_secs(s)).get()).collect();
        assert!(outputs.iter().all(|w| *w <= 1e6));
        assert!(outputs.iter().any(|w| (*w - 1e6).abs() < 1e-9));
        let night = sun.output(Duration::from_secs(11 * 3600)).get();
        assert!((-2_000.0..=0.0).contains(&night), "{night}");
        // Past midnight the same day begins again.
        let tomorrow = sun.output(Duration::from_secs(24 * 3600 + 60));
        assert!((tomorrow - sun.output(Duration::from_secs(60))).abs() < Watts::whole(500_000));
    }
}
