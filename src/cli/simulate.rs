//! `ballast simulate`: a configuration on a recorded surplus, in simulated time.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::Failure;
use super::reading::{Reading, amount, share};
use crate::config::{self, Options, Secrets};
use crate::sim::Scenario;
use crate::sim::replay::Steps;
use crate::study::simulate::{self, Simulation, Told};
use crate::study::trace::{Trace, TraceError};

/// What `ballast simulate` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A CSV file with a time and the power to spare at the point of common coupling, in front of the miners
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,
    /// The configuration of the site
    #[arg(long, value_name = "FILE", default_value = super::CONFIG)]
    pub config: PathBuf,
    /// What goes wrong and what is ordered meanwhile: a scenario file, or the name of a built-in one
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<String>,
    /// Begin here, in the zone of the trace: "2025-06-01" or "2025-06-01 06:00"
    #[arg(long, value_name = "TIME", value_parser = civil, allow_hyphen_values = true)]
    pub from: Option<jiff::civil::DateTime>,
    /// End here; a day alone is included as a whole
    #[arg(long, value_name = "TIME", value_parser = last, allow_hyphen_values = true)]
    pub to: Option<jiff::civil::DateTime>,
    /// How the trace is read
    #[command(flatten)]
    pub reading: Reading,
    /// The seed of the plant: how miners differ from their models, how meters err
    #[arg(long, value_name = "NUMBER", value_parser = seed, default_value = "1", allow_hyphen_values = true)]
    pub seed: u64,
    /// Restlessness to add within the intervals of the trace, as a share of the power
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0", allow_hyphen_values = true)]
    pub noise: f64,
    /// How long the simulation runs at the beginning, and after long gaps, before anything is counted
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "15min", allow_hyphen_values = true)]
    pub warm_up: Duration,
    /// Look at everything every 50 ms: slow, to check the usual steps against
    #[arg(long)]
    pub fine: bool,
    /// How far apart cycles of the control law may be while a trace of a minute or more moves by less than a hundredth of full power; 0s for every one
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "2s", allow_hyphen_values = true)]
    pub calm_cycle: Duration,
    /// Simulate this configuration alone, without the ways of today
    #[arg(long)]
    pub alone: bool,
    /// Dollars for a PH/s and day
    #[arg(long, value_name = "DOLLARS", value_parser = amount, allow_hyphen_values = true)]
    pub hash_price: Option<f64>,
    /// What a MWh of surplus costs, in dollars
    #[arg(long, value_name = "DOLLARS", value_parser = amount, allow_hyphen_values = true)]
    pub power_price: Option<f64>,
    /// What a MWh from the grid costs, in dollars; the power price unless told
    #[arg(long, value_name = "DOLLARS", value_parser = amount, allow_hyphen_values = true)]
    pub import_price: Option<f64>,
    /// How many threads; the result is the same with any number
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub threads: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn seed(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| String::from("it is a whole number, 0 or more"))
}

fn civil(text: &str) -> Result<jiff::civil::DateTime, String> {
    text.trim().parse().map_err(|_| String::from("it is a time like 2025-06-01 or \"2025-06-01 06:00\""))
}

fn last(text: &str) -> Result<jiff::civil::DateTime, String> {
    super::moment::behind(text).map_or_else(|| civil(text), Ok)
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Output<'a> {
    /// Changes when a reader has to change.
    schema: u32,
    #[serde(flatten)]
    simulation: &'a Simulation,
}

/// Reads, simulates and tells. Gives the exit code.
///
/// # Errors
/// See [`Failure`].
pub fn run(args: &Args) -> Result<u8, Failure> {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let config = config::load_with(&args.config, &options).map_err(Failure::Config)?;
    let scenario = args.scenario.as_deref().map(Scenario::find).transpose()?;
    let trace = cut(args.reading.read(&args.trace)?, args)?;
    let shown = std::io::stderr().is_terminal();
    // Of a hundred, and one more than is done, so that 0 % is told too.
    let last = AtomicUsize::new(0);
    let progress = |done: usize, all: usize| {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
        if shown && last.fetch_max(percent + 1, Ordering::Relaxed) < percent + 1 {
            let _ = write!(std::io::stderr(), "\rsimulated: {percent} % ");
        }
    };
    progress(0, 1);
    let simulation = simulate::simulate(&config, scenario.as_ref(), &trace, &told(args), &progress);
    if shown {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    let simulation = simulation?;
    let text = if args.json {
        super::json(&Output { schema: 1, simulation: &simulation })?
    } else {
        simulate::report(&simulation)
    };
    super::answer(&text)?;
    Ok(0)
}

fn told(args: &Args) -> Told {
    Told {
        seed: args.seed,
        noise: args.noise,
        warm_up: args.warm_up,
        steps: if args.fine { Steps::Fine } else { Steps::Adaptive },
        calm: Some(args.calm_cycle).filter(|pause| !pause.is_zero()),
        threads: args.threads,
        habits: !args.alone,
        hash_price: args.hash_price,
        power_price: args.power_price,
        import_price: args.import_price,
        ..Told::default()
    }
}

/// The part of a trace that was asked for.
fn cut(mut trace: Trace, args: &Args) -> Result<Trace, Failure> {
    let fail = |what: String| TraceError::File { name: trace.name.clone(), what };
    let at = |time: jiff::civil::DateTime| {
        let zoned = trace.zone.to_ambiguous_timestamp(time).compatible();
        zoned.map(|at| at.as_second()).map_err(|_| fail(format!("{time} does not exist in its zone")))
    };
    let length = trace.values.len();
    let slot = |time: i64| usize::try_from(trace.slot(time)).unwrap_or(0).min(length);
    let from = args.from.map(at).transpose()?.map_or(0, slot);
    let to = args.to.map(at).transpose()?.map_or(length, slot);
    if from >= to {
        let words = format!(
            "nothing is left between --from and --to: it goes from {} to {}",
            trace.told(0),
            trace.told(length)
        );
        return Err(fail(words).into());
    }
    trace.cut(from, to);
    Ok(trace)
}
