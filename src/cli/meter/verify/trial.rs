//! What a meter's readings say about a step that was taken several times. Pure.
//!
//! Load and generation that have nothing to do with the test move too, above all at a point of common coupling. So the
//! step is taken down and up several times, and each plateau is compared with the two around it at its own moment: a
//! steady drift cancels, and what is left between the comparisons is the uncertainty.
//!
//! ```text
//!   reading   ────┐        ┌────┐        ┌────      d₁ = v₁ − (v₀ at t₁ … v₂ at t₁ on the line between them)
//!                 └────────┘    └────────┘
//!   plateau    0       1     2       3     4
//! ```

use crate::units::Watts;

/// Values of Student's t for 95 %, by degrees of freedom from 1 on; beyond the last, 2.
const STUDENT: [f64; 10] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23];
/// Neighbouring comparisons share plateaus, so their mean is less certain than that of as many independent ones: by a
/// factor of 1.8 to 2.0 for 3 to 9 plateaus of independent noise.
const SHARED: f64 = 2.0;
/// Time between two looks at the mean course of the steps, in seconds.
const GRID: f64 = 0.1;
/// Time between two guesses at how late a meter is, in seconds.
const LATE_STEP: f64 = 0.5;
/// What is known less exactly than to this part of itself is not known.
const BLUR: f64 = 0.2;
/// Times are told only when the noise of the mean course is below this part of the step.
const QUIET: f64 = 0.2;

/// A value at a time, in seconds since the test began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// When.
    pub(super) at: f64,
    /// In watts.
    pub(super) value: f64,
}

/// A time during which the miners were left where they had been put.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Phase {
    /// When the commands went out.
    pub(super) begun: f64,
    /// From here on everything is taken to be settled.
    pub(super) settled: f64,
    /// When the next commands went out.
    pub(super) ended: f64,
    /// Whether the miners were lowered.
    pub(super) lowered: bool,
}

/// A mean and how far the truth may be from it, with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    /// In watts.
    pub(super) mean: f64,
    /// In watts, not negative.
    pub(super) within: f64,
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / count(values.len())) }
}

/// The standard deviation about the mean; zero for less than two values.
fn deviation(values: &[f64]) -> f64 {
    let Some(mean) = mean(values).filter(|_| values.len() > 1) else { return 0.0 };
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / count(values.len() - 1)).sqrt()
}

/// The standard deviation of some samples about their own straight line: noise without drift.
pub(super) fn noise(samples: &[Sample]) -> f64 {
    let times: Vec<f64> = samples.iter().map(|sample| sample.at).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let (Some(time), Some(value)) = (mean(&times), mean(&values)) else { return 0.0 };
    let spread: f64 = times.iter().map(|at| (at - time).powi(2)).sum();
    let along: f64 = samples.iter().map(|sample| (sample.at - time) * (sample.value - value)).sum();
    let slope = if spread > 0.0 { along / spread } else { 0.0 };
    let rest: Vec<f64> = samples.iter().map(|sample| sample.value - slope * (sample.at - time)).collect();
    deviation(&rest)
}

/// The mean of a settled phase: its middle in time, its value, its noise and how many samples.
struct Plateau {
    middle: f64,
    value: f64,
    noise: f64,
    samples: usize,
}

fn plateau(samples: &[Sample], phase: &Phase) -> Option<Plateau> {
    let within: Vec<Sample> =
        samples.iter().copied().filter(|sample| (phase.settled..=phase.ended).contains(&sample.at)).collect();
    let times: Vec<f64> = within.iter().map(|sample| sample.at).collect();
    let values: Vec<f64> = within.iter().map(|sample| sample.value).collect();
    Some(Plateau {
        middle: mean(&times)?,
        value: mean(&values)?,
        noise: noise(&within),
        samples: within.len(),
    })
}

/// By how much a series fell while the miners were lowered; positive is a fall. `None` without three plateaus.
pub(super) fn fall(samples: &[Sample], phases: &[Phase]) -> Option<Estimate> {
    let plateaus: Vec<(bool, Plateau)> = phases
        .iter()
        .map(|phase| Some((phase.lowered, plateau(samples, phase)?)))
        .collect::<Option<Vec<_>>>()?;
    let mut falls = Vec::new();
    let mut noises = Vec::new();
    for three in plateaus.windows(3) {
        let [(_, before), (lowered, now), (_, after)] = three else { continue };
        let way = (now.middle - before.middle) / (after.middle - before.middle).max(f64::MIN_POSITIVE);
        let without = before.value + (after.value - before.value) * way.clamp(0.0, 1.0);
        falls.push(if *lowered { without - now.value } else { now.value - without });
        // Of the difference between one mean and the mean of two others.
        noises.push(1.5 * now.noise.powi(2) / count(now.samples.max(1)));
    }
    let mean_fall = mean(&falls)?;
    // Samples of a slow meter are not independent; so the scatter of whole plateaus counts, and the noise within them
    // only as a floor.
    let floor = SHARED * (mean(&noises).unwrap_or(0.0) / count(falls.len())).sqrt();
    let freedom = falls.len().saturating_sub(1);
    let within = match freedom {
        // One comparison says nothing of its own scatter.
        0 => 2.0 * floor,
        _ => {
            let student = STUDENT.get(freedom - 1).copied().unwrap_or(2.0);
            (SHARED * student * deviation(&falls) / count(falls.len()).sqrt()).max(floor)
        }
    };
    Some(Estimate { mean: mean_fall, within })
}

/// A meter that has shown less than this part of the step in the first plateau had not shown it yet.
const STAYED: f64 = 0.3;
/// A time that shows the step this much larger than the plateaus do, and surer, is when the meter shows it.
const CLEARER: f64 = 1.3;

/// How much later than the plateaus the meter shows the step, in seconds, and what it is then: where the plateaus were over
/// before it came, and what they tell is none of the meter's own. `None` where no time shows it any clearer. The samples go
/// on for some time after the last phase.
pub(super) fn late(samples: &[Sample], phases: &[Phase]) -> Option<(f64, Estimate)> {
    let now = fall(samples, phases);
    let shortest = phases.windows(2).map(|two| match two {
        [one, next] => next.begun - one.begun,
        _ => f64::INFINITY,
    });
    // Later than that another step of the test is taken for this one.
    let longest = 2.0 * shortest.fold(f64::INFINITY, f64::min);
    let end = samples.last()?.at;
    let mut best: Option<(f64, Estimate)> = None;
    let mut by = LATE_STEP;
    while by.is_finite() && by < longest {
        let shifted: Option<Vec<Phase>> = phases
            .iter()
            .map(|phase| {
                let (settled, ended) = (phase.settled + by, (phase.ended + by).min(end));
                (ended - settled > LATE_STEP).then_some(Phase { settled, ended, ..*phase })
            })
            .collect();
        if let Some(estimate) = shifted.and_then(|shifted| fall(samples, &shifted))
            && estimate.mean.abs() > 2.0 * estimate.within
            && best.is_none_or(|(_, known)| estimate.mean.abs() > 1.05 * known.mean.abs())
        {
            best = Some((by, estimate));
        }
        by += LATE_STEP;
    }
    // Whatever a meter shows of a step, and whichever way, it shows after the first one, if it is in time.
    let first = |phase: usize| Some(plateau(samples, phases.get(phase)?)?.value);
    let moved = first(0).zip(first(1)).map_or(0.0, |(before, lowered)| (before - lowered).abs());
    best.filter(|(_, found)| {
        moved < STAYED * found.mean.abs()
            || now.is_none_or(|now| {
                found.mean.abs() > CLEARER * now.mean.abs()
                    || now.within > BLUR * now.mean.abs().max(found.mean.abs())
            })
    })
}

/// How often the series had a new value, in seconds; after a single one at least half of all the time. `None` where it never
/// had one: that is no slowness. A value that came out the same as the one before is none.
pub(super) fn renewal(samples: &[Sample]) -> Option<f64> {
    let changes = samples.windows(2).filter_map(|two| match two {
        [one, next] if one.value.to_bits() != next.value.to_bits() => Some(next.at),
        _ => None,
    });
    let changes: Vec<f64> = changes.collect();
    let (first, last) = (changes.first()?, changes.last()?);
    if changes.len() == 1 {
        return Some((samples.last()?.at - samples.first()?.at) / 2.0);
    }
    Some((last - first) / count(changes.len() - 1))
}

/// When half and when 90 % of the falls had come, in seconds after the commands. `None` where noise hides it.
pub(super) fn times(samples: &[Sample], phases: &[Phase]) -> Option<(f64, f64)> {
    let mut courses = Vec::new();
    let mut unrest = 0.0_f64;
    for two in phases.windows(2) {
        let [before, now] = two else { continue };
        if !now.lowered {
            continue;
        }
        let (from, to) = (plateau(samples, before)?, plateau(samples, now)?);
        let size = from.value - to.value;
        if size.abs() < f64::MIN_POSITIVE {
            return None;
        }
        unrest = unrest.max(from.noise.max(to.noise) / size.abs());
        courses.push((now.begun, now.ended - now.begun, from.value, size));
    }
    if courses.is_empty() || unrest / count(courses.len()).sqrt() > QUIET {
        return None;
    }
    let longest = courses.iter().map(|(_, length, ..)| *length).fold(f64::INFINITY, f64::min);
    let course = |after: f64| -> Option<f64> {
        let parts: Option<Vec<f64>> = courses
            .iter()
            .map(|(begun, _, from, size)| Some((from - held(samples, begun + after)?) / size))
            .collect();
        mean(&parts?)
    };
    let when = |share: f64| -> Option<f64> {
        let mut after = 0.0;
        while after < longest {
            // Once more a little later: a single noisy sample is not an arrival.
            if course(after)? >= share && course(after + 5.0 * GRID)? >= share * 0.95 {
                return Some(after);
            }
            after += GRID;
        }
        None
    };
    Some((when(0.5)?, when(0.9)?))
}

/// The latest value at a time.
fn held(samples: &[Sample], at: f64) -> Option<f64> {
    let after = samples.partition_point(|sample| sample.at <= at);
    samples.get(after.checked_sub(1)?).map(|sample| sample.value)
}

/// Whether a series stands still: the means of the latest two windows differ by no more than the tolerance.
pub(super) fn still(samples: &[Sample], now: f64, window: f64, tolerance: Watts) -> bool {
    let between = |from: f64, to: f64| {
        let values: Vec<f64> = samples
            .iter()
            .filter(|sample| sample.at > from && sample.at <= to)
            .map(|sample| sample.value)
            .collect();
        mean(&values)
    };
    match (between(now - 2.0 * window, now - window), between(now - window, now)) {
        (Some(before), Some(after)) => (before - after).abs() <= tolerance.get(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phases of 30 s, settled after 10 s: `rounds` times down and up.
    fn phases(rounds: u32) -> Vec<Phase> {
        (0..=2 * rounds)
            .map(|index| {
                let begun = 30.0 * f64::from(index);
                Phase { begun, settled: begun + 10.0, ended: begun + 30.0, lowered: index % 2 == 1 }
            })
            .collect()
    }

    /// A meter read every half second: `offset`, a step that comes `late` seconds later in a straight line of `ramp`
    /// seconds, drift per second, and noise from a small generator.
    fn meter(rounds: u32, step: f64, late: f64, ramp: f64, drift: f64, noise: f64) -> Vec<Sample> {
        let mut seed = 7_u64;
        let end = 30.0 * f64::from(2 * rounds + 1);
        let level = |at: f64| {
            let phase = (at / 30.0).floor();
            let moved = ((at - 30.0 * phase - late) / ramp).clamp(0.0, 1.0);
            if phase % 2.0 > 0.5 {
                moved
            } else if phase > 0.0 {
                1.0 - moved
            } else {
                0.0
            }
        };
        let mut samples = Vec::new();
        let mut at = 0.0;
        while at < end {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = f64::from(u32::try_from(seed >> 33).unwrap()) / f64::from(1_u32 << 31) * 2.0 - 1.0;
            samples.push(Sample { at, value: 50_000.0 + drift * at - step * level(at) + noise * random });
            at += 0.5;
        }
        samples
    }

    #[test]
    fn a_step_is_measured_and_a_steady_drift_cancels() {
        let fall = fall(&meter(3, 20_000.0, 2.0, 1.0, 100.0, 50.0), &phases(3)).unwrap();
        // The load drifts by 21 kW over the test, more than the step.
        assert!((fall.mean - 20_000.0).abs() < 100.0, "{fall:?}");
        assert!(fall.within < 200.0, "{fall:?}");
    }

    #[test]
    fn the_uncertainty_holds_what_it_promises() {
        let noisy = fall(&meter(3, 5_000.0, 2.0, 1.0, -40.0, 4_000.0), &phases(3)).unwrap();
        assert!((noisy.mean - 5_000.0).abs() <= noisy.within, "{noisy:?}");
        assert!(noisy.within > 200.0, "{noisy:?}");
        let nothing = fall(&meter(3, 0.0, 2.0, 1.0, 0.0, 4_000.0), &phases(3)).unwrap();
        assert!(nothing.mean.abs() <= nothing.within, "{nothing:?}");
    }

    #[test]
    fn a_reading_that_rises_is_a_negative_fall() {
        let fall = fall(&meter(2, -8_000.0, 1.0, 1.0, 0.0, 10.0), &phases(2)).unwrap();
        assert!((fall.mean + 8_000.0).abs() < 50.0, "{fall:?}");
    }

    #[test]
    fn one_round_is_enough_for_an_estimate_and_none_is_not() {
        let fall_once = fall(&meter(1, 8_000.0, 1.0, 1.0, 50.0, 100.0), &phases(1)).unwrap();
        assert!((fall_once.mean - 8_000.0).abs() <= fall_once.within.max(50.0), "{fall_once:?}");
        assert_eq!(fall(&meter(1, 8_000.0, 1.0, 1.0, 0.0, 0.0), &phases(1)[..2]), None);
        assert_eq!(fall(&[], &phases(1)), None);
    }

    #[test]
    fn times_are_those_of_half_and_of_ninety_percent() {
        let (half, most) = times(&meter(3, 20_000.0, 2.0, 4.0, 0.0, 50.0), &phases(3)).unwrap();
        assert!((4.0..=4.6).contains(&half), "{half}");
        assert!((5.5..=6.3).contains(&most), "{most}");
        assert_eq!(times(&meter(3, 1_000.0, 2.0, 4.0, 0.0, 2_000.0), &phases(3)), None, "hidden by noise");
    }

    /// The same as a meter shows it that is so many seconds late, from the beginning on and until the last step has come.
    fn after(samples: &[Sample], late: f64) -> Vec<Sample> {
        let first = samples[0];
        let before =
            (0..).map(f64::from).take_while(|at| *at < late).map(|at| Sample { at, value: first.value });
        before.chain(samples.iter().map(|sample| Sample { at: sample.at + late, ..*sample })).collect()
    }

    #[test]
    fn a_meter_that_shows_the_step_after_the_plateaus_is_late_and_a_noisy_one_is_not() {
        // A whole step later it looks like a meter that is turned round.
        for (rounds, late_by) in [(3, 12.0), (3, 18.0), (3, 24.0), (1, 12.0), (1, 24.0), (3, 31.0), (1, 31.0)]
        {
            let samples = after(&meter(rounds, 20_000.0, 0.0, 1.0, 0.0, 50.0), late_by);
            let (by, found) = late(&samples, &phases(rounds)).unwrap();
            // The plateaus begin 10 s after the commands.
            assert!((by + 10.0 - late_by - 1.0).abs() <= 2.0, "{late_by}: {by}");
            assert!((found.mean - 20_000.0).abs() < 1_500.0, "{late_by}: {found:?}");
        }
        assert_eq!(late(&meter(3, 20_000.0, 2.0, 1.0, 0.0, 50.0), &phases(3)), None, "it is in time");
        assert_eq!(late(&meter(3, -20_000.0, 2.0, 1.0, 0.0, 50.0), &phases(3)), None, "it is turned round");
        assert_eq!(late(&meter(1, -20_000.0, 2.0, 1.0, 0.0, 50.0), &phases(1)), None);
        assert_eq!(late(&meter(3, 20_000.0, 2.0, 1.0, 100.0, 50.0), &phases(3)), None, "whatever drifts");
        assert_eq!(late(&meter(3, 0.0, 2.0, 1.0, 0.0, 4_000.0), &phases(3)), None, "there is no step");
    }

    #[test]
    fn how_often_there_is_a_new_value_is_seen_from_the_values() {
        let at = |index: u32| f64::from(index) * 0.5;
        let series: Vec<Sample> =
            (0..400).map(|index| Sample { at: at(index), value: f64::from(index / 40) }).collect();
        assert!((renewal(&series).unwrap() - 20.0).abs() < 1e-9);
        assert!(renewal(&series[..60]).unwrap() > 14.0, "at least half of the time");
        assert_eq!(renewal(&series[..30]), None, "none at all is no slowness");
    }

    #[test]
    fn noise_is_told_without_drift() {
        let samples = meter(0, 0.0, 0.0, 1.0, 500.0, 0.0);
        assert!(noise(&samples) < 1e-6, "{}", noise(&samples));
        let uniform = noise(&meter(3, 0.0, 0.0, 1.0, 0.0, 1_000.0));
        // Of a uniform distribution from -1000 to 1000: 577.
        assert!((500.0..650.0).contains(&uniform), "{uniform}");
        assert!(noise(&[]) == 0.0);
    }

    #[test]
    fn a_series_stands_still_when_two_windows_agree() {
        let samples = meter(1, 10_000.0, 2.0, 10.0, 0.0, 0.0);
        let tolerance = Watts::whole(200);
        assert!(!still(&samples, 36.0, 2.0, tolerance), "on its way");
        assert!(still(&samples, 50.0, 2.0, tolerance));
        assert!(!still(&samples, 1.0, 2.0, tolerance), "too few samples");
    }
}
