//! Jobs of simulated servers: `[[job]]`, what their work asks for over time.
//!
//! A job begins and never ends by itself: another one takes its place, or it goes on. What a cap takes from it is counted
//! ([`crate::sim::jobs`]).

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::quantity::{Rhythm, Share, Time, TimeOfDay};
use super::read::{Source, share};
use super::{MinerChoice, ScenarioError, differ};

/// What a server without work draws of its highest power, unless told otherwise.
const IDLE: f64 = 0.2;
/// What inference draws at the quietest time of the day, unless told otherwise.
const QUIET: f64 = 0.4;
/// How fast training swings, in hertz, unless told otherwise.
const USUAL_FREQUENCY: f64 = 1.0;
/// How wide a peak of the day is, in seconds: after so long its height has fallen to three fifths.
const WIDTH: f64 = 2.5 * 3_600.0;
const DAY: f64 = 86_400.0;
/// When inference is asked for most, unless told otherwise: in the morning and in the evening.
const PEAKS: [Duration; 2] = [Duration::from_secs(10 * 3_600), Duration::from_secs(20 * 3_600)];

/// What some servers work on from a time on.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEvent {
    /// Which servers.
    pub choice: MinerChoice,
    /// From when on.
    pub at: Duration,
    /// What it asks for.
    pub demand: Demand,
}

/// What a job asks for over time, without any cap.
#[derive(Debug, Clone, PartialEq)]
pub enum Demand {
    /// Full power, with a swing around a mean that lies so much below it that the highest is full power.
    Training {
        /// How far it swings, as a fraction of the mean.
        swing: f64,
        /// How often, in hertz.
        frequency: f64,
        /// All servers of the job swing together; otherwise each in a phase of its own.
        in_step: bool,
    },
    /// A day with peaks, as people ask.
    Inference {
        /// The least of the day, as a fraction of the highest power.
        low: f64,
        /// At a peak, as a fraction of the highest power.
        high: f64,
        /// The times of the day of the peaks.
        peaks: Vec<Duration>,
        /// The time of day at which the scenario begins.
        begins: Duration,
    },
    /// No work at all.
    Idle {
        /// What is drawn all the same, as a fraction of the highest power.
        draw: f64,
    },
}

impl Demand {
    /// No work.
    pub const NONE: Self = Self::Idle { draw: IDLE };

    /// What is asked for at a scenario time, as a fraction of the server's highest power. `phase`, from 0 to 1, is that of the
    /// server.
    pub fn share(&self, time: Duration, phase: f64) -> f64 {
        match self {
            Self::Training { swing, frequency, in_step } => {
                let turns = time.as_secs_f64() * *frequency + if *in_step { 0.0 } else { phase };
                (1.0 + *swing * (std::f64::consts::TAU * turns.fract()).sin()) / (1.0 + *swing)
            }
            Self::Inference { low, high, peaks, begins } => {
                let now = (time.as_secs_f64() + begins.as_secs_f64()).rem_euclid(DAY);
                let bump = |peak: &Duration| {
                    let apart = (now - peak.as_secs_f64()).abs();
                    let apart = apart.min(DAY - apart) / WIDTH;
                    (apart * apart / -2.0).exp()
                };
                *low + (*high - *low) * peaks.iter().map(bump).fold(0.0, f64::max)
            }
            Self::Idle { draw } => *draw,
        }
    }

    /// Whether it moves from second to second.
    pub fn swings(&self) -> bool {
        matches!(self, Self::Training { swing, .. } if *swing > 0.0)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawJob {
    name: Spanned<String>,
    circuit: Option<Spanned<String>>,
    count: Option<Spanned<usize>>,
    share: Option<Spanned<Share>>,
    at: Option<Time>,
    training: Option<RawTraining>,
    inference: Option<RawInference>,
    idle: Option<RawIdle>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTraining {
    swing: Option<Spanned<Share>>,
    frequency: Option<Rhythm>,
    #[serde(default)]
    in_step: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInference {
    low: Option<Spanned<Share>>,
    high: Option<Spanned<Share>>,
    peaks: Option<Vec<TimeOfDay>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdle {
    draw: Option<Spanned<Share>>,
}

/// Reads a job. `begins` is the time of day at which the scenario does.
pub(super) fn read(source: &Source<'_>, raw: &RawJob, begins: Duration) -> Result<JobEvent, ScenarioError> {
    let demand = match (&raw.training, &raw.inference, &raw.idle) {
        (Some(training), None, None) => Demand::Training {
            swing: share(source, training.swing.as_ref(), 0.0, 0.0..=0.9)?,
            frequency: training.frequency.map_or(USUAL_FREQUENCY, |rhythm| rhythm.0),
            in_step: training.in_step,
        },
        (None, Some(inference), None) => {
            let high = share(source, inference.high.as_ref(), 1.0, 0.0..=1.0)?;
            let low = share(source, inference.low.as_ref(), QUIET.min(high), 0.0..=1.0)?;
            if let Some(span) = inference.low.as_ref().filter(|_| low > high).map(Spanned::span) {
                return Err(source.error(span, "`low` must not be above `high`"));
            }
            let told = inference.peaks.as_ref().map(|peaks| peaks.iter().map(|time| time.0).collect());
            Demand::Inference { low, high, peaks: told.unwrap_or_else(|| PEAKS.to_vec()), begins }
        }
        (None, None, Some(idle)) => {
            Demand::Idle { draw: share(source, idle.draw.as_ref(), IDLE, 0.0..=1.0)? }
        }
        _ => {
            let words = "a job is exactly one of `training`, `inference`, `idle`";
            return Err(source.error(raw.name.span(), words));
        }
    };
    let name = source.named(&raw.name);
    Ok(JobEvent {
        choice: differ::choice(source, name, &raw.circuit, &raw.count, &raw.share)?,
        at: raw.at.map_or(Duration::ZERO, |time| time.0),
        demand,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Scenario;

    fn read(job: &str) -> Result<Demand, String> {
        let text = format!("description = \"jobs\"\n[[job]]\nname = \"*\"\n{job}\n");
        let scenario = Scenario::parse("t.toml", &text).map_err(|error| error.to_string())?;
        Ok(scenario.jobs.into_iter().next().unwrap().demand)
    }

    #[test]
    fn training_swings_around_its_mean_and_up_to_full_power() {
        let job = read("training = { swing = \"20 %\", frequency = \"0.5 Hz\", in_step = true }").unwrap();
        let at = |millis| job.share(Duration::from_millis(millis), 0.3);
        assert!((at(500) - 1.0).abs() < 1e-9 && (at(0) - 1.0 / 1.2).abs() < 1e-9, "{} {}", at(500), at(0));
        assert!((at(1_500) - 0.8 / 1.2).abs() < 1e-9, "{}", at(1_500));
        assert!(job.swings() && !read("training = {}").unwrap().swings());
        let apart = read("training = { swing = \"20 %\" }").unwrap();
        assert!((apart.share(Duration::ZERO, 0.25) - 1.0).abs() < 1e-9, "each has its phase");
    }

    #[test]
    fn inference_has_two_peaks_a_day_and_nights_between() {
        let job = read("inference = { low = \"30 %\", high = \"90 %\" }").unwrap();
        let at = |hour: u64| job.share(Duration::from_secs(hour * 3_600), 0.0);
        assert!((at(10) - 0.9).abs() < 1e-9 && (at(20) - 0.9).abs() < 1e-9);
        assert!(at(15) < 0.5 && at(3) < 0.4 && at(15) > 0.3, "{} {}", at(15), at(3));
        assert!((at(34) - at(10)).abs() < 1e-9, "every day");
    }

    #[test]
    fn what_is_no_job_is_refused_at_its_place() {
        for (job, words) in [
            ("", "exactly one of"),
            ("idle = {}\ntraining = {}", "exactly one of"),
            ("training = { swing = \"95 %\" }", "must lie between"),
            ("training = { frequency = \"50 Hz\" }", "0.01 to 20 Hz"),
            ("inference = { low = \"90 %\", high = \"50 %\" }", "not be above"),
            ("idle = { power = \"1 kW\" }", "power"),
        ] {
            let told = read(job).unwrap_err();
            assert!(told.starts_with("t.toml:") && told.contains(words), "{told}");
        }
    }
}
