//! `ballast assess`: from recordings of a surplus to how many megawatts of flexible load it carries, and why.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Failure;
use super::reading::{Reading, STDIN, amount, positive, share, watts};
use crate::study::assess::plant::Simulated;
use crate::study::assess::rank::{Ranked, rank};
use crate::study::assess::{self, Assessment, YearTold, sizing};
use crate::study::report;
use crate::study::trace::{Trace, TraceError};

/// What `ballast assess` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// CSV files with a time and a power to spare, `-` for standard input; several are ranked
    #[arg(required_unless_present = "record", value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// The daemon's own record instead of a file of rows: its folder, such as /var/lib/ballast/record; may be given again
    #[arg(long, value_name = "FOLDER")]
    pub record: Vec<PathBuf>,
    /// How the traces are read
    #[command(flatten)]
    pub reading: Reading,
    /// A guaranteed load that comes first, such as an AI hall's floor
    #[arg(long, value_name = "POWER", value_parser = watts, default_value = "0 W", allow_hyphen_values = true)]
    pub floor: f64,
    /// A hall of servers beside miners: what each class of it would have had of the surplus, and left of it
    #[arg(long, value_name = "POWER", value_parser = watts, default_value = "0 W", allow_hyphen_values = true)]
    pub hall: f64,
    /// Fleet sizes, such as "1 MW,2 MW"; otherwise a range about the mean
    #[arg(long, value_name = "POWER", value_parser = watts, value_delimiter = ',', help_heading = "Fleets", allow_hyphen_values = true)]
    pub fleets: Vec<f64>,
    /// The least power of a running fleet, as shares of its full power
    #[arg(long, value_name = "SHARE", value_parser = share, value_delimiter = ',', default_value = "0.02,0.5", help_heading = "Fleets", allow_hyphen_values = true)]
    pub minimums: Vec<f64>,
    /// From asleep to hashing
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "5min", help_heading = "Fleets", allow_hyphen_values = true)]
    pub start_time: std::time::Duration,
    /// How much of its power a fleet can rise by in a minute, as a share
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.5", help_heading = "Fleets", allow_hyphen_values = true)]
    pub rise: f64,
    /// Run each fleet through the real control law and a simulated plant instead of a formula; takes minutes
    #[arg(long, help_heading = "Fleets")]
    pub plant: bool,
    /// How many days of the recording, chosen to stand for all, each fleet runs with --plant
    #[arg(long, value_name = "DAYS", default_value = "6", requires = "plant", value_parser = clap::value_parser!(u16).range(1..=366), help_heading = "Fleets")]
    pub plant_days: u16,
    /// Hash prices, in dollars for a PH/s and day
    #[arg(long, value_name = "DOLLARS", value_parser = amount, value_delimiter = ',', default_value = "30,40,50,60", help_heading = "Fleets", allow_hyphen_values = true)]
    pub hash_prices: Vec<f64>,
    /// What a MWh of surplus costs, in dollars
    #[arg(long, value_name = "DOLLARS", value_parser = amount, value_delimiter = ',', default_value = "0,20,40", help_heading = "Fleets", allow_hyphen_values = true)]
    pub power_prices: Vec<f64>,
    /// Joules that a terahash takes
    #[arg(long, value_name = "J", value_parser = positive, default_value = "20", help_heading = "Fleets", allow_hyphen_values = true)]
    pub joules_per_terahash: f64,
    /// What a kilowatt of fleet costs a year, machines and site, in dollars
    #[arg(long, value_name = "DOLLARS", value_parser = amount, default_value = "150", help_heading = "Fleets", allow_hyphen_values = true)]
    pub fleet_cost: f64,
    /// Standard deviation of the energy from year to year, as a share: not in the data of a year or two
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.06", help_heading = "Years", allow_hyphen_values = true)]
    pub sigma_years: f64,
    /// Standard deviation of measurement and model, as a share
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.03", help_heading = "Years", allow_hyphen_values = true)]
    pub sigma_model: f64,
    /// Days that are drawn together
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=366), default_value = "7", help_heading = "Years", allow_hyphen_values = true)]
    pub block_days: u16,
    /// The seed of the draws
    #[arg(long, default_value_t = 1, help_heading = "Years", allow_hyphen_values = true)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page for a browser or a printer
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// How a page begins.
const PAGE: &[u8] = b"<!doctype html>";

/// What is printed as JSON.
#[derive(Serialize)]
struct Output<'a> {
    /// Changes when a reader has to change.
    schema: u32,
    sites: &'a [Assessment],
    ranking: &'a [Ranked],
}

/// Reads, assesses and tells. Gives the exit code.
///
/// # Errors
/// See [`Failure`].
pub fn run(args: &Args) -> Result<u8, Failure> {
    twice(args.traces.iter().chain(&args.record))?;
    let names = names(&args.traces);
    let mut sites = Vec::new();
    for (path, name) in args.traces.iter().zip(names) {
        let mut trace = args.reading.read(path)?;
        if let Some(name) = name {
            trace.name = name;
        }
        sites.push(site(args, &trace)?);
    }
    for path in &args.record {
        sites.push(site(args, &args.reading.read_record(path)?)?);
    }
    let ranked = if sites.len() > 1 { rank(&sites) } else { Vec::new() };
    if let Some(file) = &args.html {
        replace_page(file, &report::page(&sites, &ranked))
            .map_err(|source| Failure::Written { file: file.display().to_string(), source })?;
    }
    let text = if args.json {
        super::json(&Output { schema: 1, sites: &sites, ranking: &ranked })?
    } else {
        let mut text = sites.iter().map(report::report).collect::<Vec<_>>().join("\n\n");
        if !ranked.is_empty() {
            text.push('\n');
            text.push_str(&report::ranking(&ranked));
        }
        text
    };
    super::answer(&text)?;
    Ok(0)
}

/// Assesses a trace; with fleets through the simulated plant a terminal is told how far it is.
fn site(args: &Args, trace: &Trace) -> Result<Assessment, Failure> {
    let told = assessed(args);
    if !args.plant {
        return Ok(assess::assess(trace, &told));
    }
    let all = sizing::outcomes(&told.sizing);
    let (done, shown) = (std::cell::Cell::new(0_usize), std::io::stderr().is_terminal());
    let name = trace.name.clone();
    let progress = move || {
        done.set(done.get() + 1);
        if shown {
            // A terminal that is gone is no reason to stop.
            let _ = write!(std::io::stderr(), "\r{name}: {} of up to {all} fleets ", done.get());
        }
    };
    let plant = Simulated::new(usize::from(args.plant_days), args.seed, Box::new(progress));
    let assessment = assess::assess_with(trace, &told, &plant);
    if shown {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(assessment?)
}

/// Refuses a file that is given twice: a ranking would hold it against itself.
fn twice<'a>(traces: impl Iterator<Item = &'a PathBuf>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for path in traces {
        // What is not there is told when it is read.
        let real = if path == Path::new(STDIN) { Ok(path.clone()) } else { path.canonicalize() };
        if real.is_ok_and(|real| !seen.insert(real)) {
            let what = if path == Path::new(STDIN) { "standard input" } else { "the same file" };
            return Err(TraceError::File {
                name: path.display().to_string(),
                what: format!("{what} is given twice; name each recording once"),
            }
            .into());
        }
    }
    Ok(())
}

/// What traces are called whose files have the same name in different folders: by their paths. `None` for the others.
fn names(traces: &[PathBuf]) -> Vec<Option<String>> {
    let same =
        |path: &PathBuf| traces.iter().filter(|other| other.file_name() == path.file_name()).count() > 1;
    traces.iter().map(|path| same(path).then(|| path.display().to_string())).collect()
}

/// Writes a page where there is none yet or an earlier one. Anything else stays: a slip of the hand must not cost a year of recordings.
fn replace_page(file: &Path, page: &str) -> std::io::Result<()> {
    let is_page = |text: &[u8]| text.get(..PAGE.len()).is_some_and(|head| head.eq_ignore_ascii_case(PAGE));
    match std::fs::File::open(file) {
        Ok(there) => {
            let mut head = Vec::new();
            there.take(u64::try_from(PAGE.len()).unwrap_or(0)).read_to_end(&mut head)?;
            if !head.is_empty() && !is_page(&head) {
                return Err(std::io::Error::new(
                    ErrorKind::AlreadyExists,
                    "it is there already and is no page; name another file, or remove it first",
                ));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    std::fs::write(file, page)
}

fn assessed(args: &Args) -> assess::Told {
    assess::Told {
        capacity: args.reading.capacity(),
        floor: args.floor,
        hall: args.hall,
        year: YearTold {
            sigma_years: args.sigma_years,
            sigma_model: args.sigma_model,
            block_days: usize::from(args.block_days),
            seed: args.seed,
        },
        sizing: sizing::Told {
            fleets: args.fleets.clone(),
            minimums: args.minimums.clone(),
            model: sizing::PerInterval {
                start_seconds: args.start_time.as_secs_f64(),
                rise_per_minute: args.rise,
            },
            hash_prices: args.hash_prices.clone(),
            power_prices: args.power_prices.clone(),
            joules_per_terahash: args.joules_per_terahash,
            cost_per_kilowatt_year: args.fleet_cost,
        },
    }
}
