//! `ballast assess`: from recordings of a surplus to how many megawatts of flexible load it carries, and why.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::Failure;
use crate::config::quantity;
use crate::study::assess::rank::{Ranked, rank};
use crate::study::assess::{self, Assessment, YearTold, sizing};
use crate::study::report;
use crate::study::trace::{self, DateOrder, Sign, Unit};

/// What `ballast assess` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// CSV files with a time and a power to spare; several are ranked
    #[arg(required = true, value_name = "TRACE")]
    pub traces: Vec<PathBuf>,
    /// The column of the time, by name or number; DATE+TIME where they are apart
    #[arg(long, value_name = "COLUMN", help_heading = "Reading")]
    pub time: Option<String>,
    /// The column of the power, by name or number
    #[arg(long, value_name = "COLUMN", help_heading = "Reading")]
    pub value: Option<String>,
    /// The column that says whose row it is: rows of one instant are added up, where all are there
    #[arg(long, value_name = "COLUMN", help_heading = "Reading")]
    pub id_column: Option<String>,
    /// W, kW, MW, Wh-per-interval, kWh-per-interval or MWh-per-interval
    #[arg(long, value_parser = unit, help_heading = "Reading")]
    pub unit: Option<Unit>,
    /// What is positive: surplus (generation, export) or import
    #[arg(long, value_parser = sign, help_heading = "Reading")]
    pub sign: Option<Sign>,
    /// The zone of times that say none, and of days and hours: Asia/Karachi, UTC or +05:00
    #[arg(long, value_parser = zone, help_heading = "Reading", allow_hyphen_values = true)]
    pub zone: Option<TimeZone>,
    /// Take local times as written, without the offset beside them: for a clock that follows daylight saving while its offset does not
    #[arg(long, requires = "zone", help_heading = "Reading")]
    pub ignore_offset: bool,
    /// What separates the fields: `,`, `;` or tab
    #[arg(long, value_parser = separator, help_heading = "Reading")]
    pub separator: Option<u8>,
    /// What stands before the decimals: point or comma
    #[arg(long, value_parser = decimal, help_heading = "Reading")]
    pub decimal: Option<bool>,
    /// Whether the first row names the columns: yes or no
    #[arg(long, value_parser = yes, help_heading = "Reading")]
    pub header: Option<bool>,
    /// Which comes first in dates such as 1/2/2025: day or month
    #[arg(long, value_parser = date_order, help_heading = "Reading")]
    pub date_order: Option<DateOrder>,
    /// Average to this interval while reading, such as 1min
    #[arg(long, value_name = "TIME", value_parser = super::time, help_heading = "Reading")]
    pub every: Option<std::time::Duration>,
    /// A word that stands for a missing value; may be given again
    #[arg(long, value_name = "WORD", help_heading = "Reading", allow_hyphen_values = true)]
    pub missing: Vec<String>,
    /// Keep what looks stale, interpolated or out of line; it is told all the same
    #[arg(long, help_heading = "Reading")]
    pub keep_doubtful: bool,
    /// The most that the source can give, such as "8.2 MW"
    #[arg(long, value_name = "POWER", value_parser = watts)]
    pub capacity: Option<f64>,
    /// A guaranteed load that comes first, such as an AI hall's floor
    #[arg(long, value_name = "POWER", value_parser = watts, default_value = "0 W")]
    pub floor: f64,
    /// Fleet sizes, such as "1 MW,2 MW"; otherwise a range about the mean
    #[arg(long, value_name = "POWER", value_parser = watts, value_delimiter = ',', help_heading = "Fleets")]
    pub fleets: Vec<f64>,
    /// The least power of a running fleet, as shares of its full power
    #[arg(long, value_name = "SHARE", value_parser = share, value_delimiter = ',', default_value = "0.02,0.5", help_heading = "Fleets")]
    pub minimums: Vec<f64>,
    /// From asleep to hashing
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "5min", help_heading = "Fleets")]
    pub start_time: std::time::Duration,
    /// How much of its power a fleet can rise by in a minute, as a share
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.5", help_heading = "Fleets")]
    pub rise: f64,
    /// Hash prices, in dollars for a PH/s and day
    #[arg(long, value_name = "DOLLARS", value_parser = amount, value_delimiter = ',', default_value = "30,40,50,60", help_heading = "Fleets")]
    pub hash_prices: Vec<f64>,
    /// What a MWh of surplus costs, in dollars
    #[arg(long, value_name = "DOLLARS", value_parser = amount, value_delimiter = ',', default_value = "0,20,40", help_heading = "Fleets")]
    pub power_prices: Vec<f64>,
    /// Joules that a terahash takes
    #[arg(long, value_name = "J", value_parser = positive, default_value = "20", help_heading = "Fleets")]
    pub joules_per_terahash: f64,
    /// What a kilowatt of fleet costs a year, machines and site, in dollars
    #[arg(long, value_name = "DOLLARS", value_parser = amount, default_value = "150", help_heading = "Fleets")]
    pub fleet_cost: f64,
    /// Standard deviation of the energy from year to year, as a share: not in the data of a year or two
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.06", help_heading = "Years")]
    pub sigma_years: f64,
    /// Standard deviation of measurement and model, as a share
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.03", help_heading = "Years")]
    pub sigma_model: f64,
    /// Days that are drawn together
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=366), default_value = "7", help_heading = "Years")]
    pub block_days: u16,
    /// The seed of the draws
    #[arg(long, default_value_t = 1, help_heading = "Years")]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write a page for a browser or a printer
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

fn named<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let found = all.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| format!("it is one of {}", names.join(", ")))
}

fn unit(text: &str) -> Result<Unit, String> {
    // Upper and lower case differ: mW is no MW.
    let names: Vec<&str> = Unit::ALL.iter().map(|unit| unit.name()).collect();
    let found = Unit::ALL.into_iter().find(|unit| unit.name() == text);
    found.ok_or_else(|| format!("it is one of {}", names.join(", ")))
}

fn sign(text: &str) -> Result<Sign, String> {
    named(text, &[("surplus", Sign::Surplus), ("import", Sign::Import)])
}

fn zone(text: &str) -> Result<TimeZone, String> {
    trace::zone(text).ok_or_else(|| "no such zone; it is like Asia/Karachi, UTC or +05:00".into())
}

fn separator(text: &str) -> Result<u8, String> {
    named(text, &[(",", b','), (";", b';'), ("tab", b'\t'), ("\t", b'\t'), ("\\t", b'\t'), ("|", b'|')])
}

fn decimal(text: &str) -> Result<bool, String> {
    named(text, &[("point", false), (".", false), ("comma", true), (",", true)])
}

fn yes(text: &str) -> Result<bool, String> {
    named(text, &[("yes", true), ("no", false)])
}

fn date_order(text: &str) -> Result<DateOrder, String> {
    named(text, &[("day", DateOrder::DayFirst), ("month", DateOrder::MonthFirst)])
}

fn watts(text: &str) -> Result<f64, String> {
    let value = quantity::parse(text, &quantity::POWER).map_err(|error| error.to_string())?;
    if value < 0.0 { Err("it is 0 W or more".into()) } else { Ok(value) }
}

fn amount(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_| String::from("it is a number"))?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("it is 0 or more".into()) }
}

fn positive(text: &str) -> Result<f64, String> {
    amount(text).and_then(|value| if value > 0.0 { Ok(value) } else { Err("it is more than 0".into()) })
}

fn share(text: &str) -> Result<f64, String> {
    amount(text)
        .and_then(|value| if value <= 1.0 { Ok(value) } else { Err("it is a share from 0 to 1".into()) })
}

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
    let mut sites = Vec::new();
    for path in &args.traces {
        let trace = read(path, &told(args))?;
        sites.push(assess::assess(&trace, &assessed(args)));
    }
    let ranked = if sites.len() > 1 { rank(&sites) } else { Vec::new() };
    if let Some(file) = &args.html {
        std::fs::write(file, report::page(&sites, &ranked))
            .map_err(|source| Failure::Written { file: file.display().to_string(), source })?;
    }
    let text = if args.json {
        let mut text =
            serde_json::to_string_pretty(&Output { schema: 1, sites: &sites, ranking: &ranked })
                .map_err(|error| Failure::System { what: "cannot write JSON", source: error.into() })?;
        text.push('\n');
        text
    } else {
        let mut text = sites.iter().map(report::report).collect::<Vec<_>>().join("\n\n");
        if !ranked.is_empty() {
            text.push('\n');
            text.push_str(&report::ranking(&ranked));
        }
        text
    };
    // A reader that has gone away, such as `head`, is no failure.
    let _ = super::print(&text);
    Ok(0)
}

fn told(args: &Args) -> trace::Told {
    trace::Told {
        time: args.time.clone(),
        value: args.value.clone(),
        id: args.id_column.clone(),
        unit: args.unit,
        sign: args.sign,
        zone: args.zone.clone(),
        ignore_offset: args.ignore_offset,
        separator: args.separator,
        decimal_comma: args.decimal,
        header: args.header,
        date_order: args.date_order,
        every: args.every.map(|every| i64::try_from(every.as_secs()).unwrap_or(i64::MAX).clamp(1, 86_400)),
        capacity: args.capacity.filter(|capacity| *capacity > 0.0),
        missing: args.missing.clone(),
        keep_doubtful: args.keep_doubtful,
    }
}

fn assessed(args: &Args) -> assess::Told {
    assess::Told {
        capacity: args.capacity.filter(|capacity| *capacity > 0.0),
        floor: args.floor,
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

/// Reads a trace; on a terminal standard error shows how far it is.
fn read(path: &Path, told: &trace::Told) -> Result<trace::Trace, Failure> {
    let size = std::fs::metadata(path).map_or(0, |about| about.len());
    let shown = std::io::stderr().is_terminal() && size > 50_000_000;
    let mut last = u64::MAX;
    let trace = trace::read_file(path, told, &mut |bytes| {
        let percent = (bytes * 100).checked_div(size).unwrap_or(100);
        if shown && percent != last {
            last = percent;
            let _ = std::io::Write::write_fmt(
                &mut std::io::stderr(),
                format_args!("\r{}: {percent} % ", path.display()),
            );
        }
    });
    if shown {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\r\x1b[K");
    }
    Ok(trace?)
}
