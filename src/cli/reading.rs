//! How a recording is read: the options that all commands have that take one.

use std::io::IsTerminal as _;
use std::path::Path;

use jiff::tz::TimeZone;

use super::Failure;
use crate::config::quantity;
use crate::record::segment;
use crate::study::trace::{self, DateOrder, Sign, Stamp, Unit};

/// How a recording is read.
#[derive(Clone, Debug, clap::Args)]
pub struct Reading {
    /// The column of the time, by name or number; DATE+TIME where they are apart
    #[arg(long, value_name = "COLUMN", help_heading = "Reading", allow_hyphen_values = true)]
    pub time: Option<String>,
    /// The column of the power, by name or number
    #[arg(long, value_name = "COLUMN", help_heading = "Reading", allow_hyphen_values = true)]
    pub value: Option<String>,
    /// The column that says whose row it is: rows of one instant are added up, where all are there
    #[arg(long, value_name = "COLUMN", help_heading = "Reading", allow_hyphen_values = true)]
    pub id_column: Option<String>,
    /// W, kW, MW, Wh-per-interval, kWh-per-interval or MWh-per-interval
    #[arg(long, value_parser = unit, help_heading = "Reading", allow_hyphen_values = true)]
    pub unit: Option<Unit>,
    /// What is positive: surplus (generation, export) or import
    #[arg(long, value_parser = sign, help_heading = "Reading", allow_hyphen_values = true)]
    pub sign: Option<Sign>,
    /// What the time of a row marks: the start of its interval or the end; start unless told
    #[arg(long, value_parser = stamp, help_heading = "Reading", allow_hyphen_values = true)]
    pub stamp: Option<Stamp>,
    /// The zone of times that say none, and of days and hours: Asia/Karachi, UTC or +05:00
    #[arg(long, value_parser = zone, help_heading = "Reading", allow_hyphen_values = true)]
    pub zone: Option<TimeZone>,
    /// Take local times as written, without the offset beside them: for a clock that follows daylight saving while its offset does not
    #[arg(long, requires = "zone", help_heading = "Reading")]
    pub ignore_offset: bool,
    /// What separates the fields: `,`, `;` or tab
    #[arg(long, value_parser = separator, help_heading = "Reading", allow_hyphen_values = true)]
    pub separator: Option<u8>,
    /// What stands before the decimals: point or comma
    #[arg(long, value_parser = decimal, help_heading = "Reading", allow_hyphen_values = true)]
    pub decimal: Option<bool>,
    /// Whether the first row names the columns: yes or no
    #[arg(long, value_parser = yes, help_heading = "Reading", allow_hyphen_values = true)]
    pub header: Option<bool>,
    /// Which comes first in dates such as 1/2/2025: day or month
    #[arg(long, value_parser = date_order, help_heading = "Reading", allow_hyphen_values = true)]
    pub date_order: Option<DateOrder>,
    /// Average to this interval while reading, such as 1min
    #[arg(long, value_name = "TIME", value_parser = every, help_heading = "Reading", allow_hyphen_values = true)]
    pub every: Option<std::time::Duration>,
    /// A word that stands for a missing value; may be given again
    #[arg(long, value_name = "WORD", help_heading = "Reading", allow_hyphen_values = true)]
    pub missing: Vec<String>,
    /// Keep what looks stale, interpolated or out of line; it is told all the same
    #[arg(long, help_heading = "Reading")]
    pub keep_doubtful: bool,
    /// The most that the source can give, such as "8.2 MW"
    #[arg(long, value_name = "POWER", value_parser = watts, allow_hyphen_values = true)]
    pub capacity: Option<f64>,
}

/// What stands for standard input.
pub(super) const STDIN: &str = "-";

impl Reading {
    /// The most that the source can give, in watts, if told.
    pub(super) fn capacity(&self) -> Option<f64> {
        self.capacity.filter(|capacity| *capacity > 0.0)
    }

    fn told(&self) -> trace::Told {
        trace::Told {
            time: self.time.clone(),
            value: self.value.clone(),
            id: self.id_column.clone(),
            unit: self.unit,
            sign: self.sign,
            stamp: self.stamp,
            zone: self.zone.clone(),
            ignore_offset: self.ignore_offset,
            separator: self.separator,
            decimal_comma: self.decimal,
            header: self.header,
            date_order: self.date_order,
            every: self.every.and_then(|every| i64::try_from(every.as_secs()).ok()),
            capacity: self.capacity(),
            missing: self.missing.clone(),
            keep_doubtful: self.keep_doubtful,
        }
    }

    /// Reads a record of the daemon: a file of it, or the folder with all.
    pub(super) fn read_record(&self, path: &Path) -> Result<trace::Trace, Failure> {
        let files = segment::find(path)?;
        Ok(trace::read_record(&files, &self.told())?)
    }

    /// Reads a trace, `-` from standard input; on a terminal standard error shows how far it is.
    pub(super) fn read(&self, path: &Path) -> Result<trace::Trace, Failure> {
        if path == Path::new(STDIN) {
            return Ok(trace::read("standard input", std::io::stdin().lock(), &self.told(), &mut |_| ())?);
        }
        let size = std::fs::metadata(path).map_or(0, |about| about.len());
        let shown = std::io::stderr().is_terminal() && size > 50_000_000;
        let mut last = u64::MAX;
        // Errors name the file as it was given, reports by its last part.
        let name = path.display().to_string();
        let file = std::fs::File::open(path)
            .map_err(|source| trace::TraceError::Io { name: name.clone(), source })?;
        let trace = trace::read(&name, file, &self.told(), &mut |bytes| {
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
        let mut trace = trace?;
        if let Some(last) = path.file_name() {
            trace.name = last.to_string_lossy().into_owned();
        }
        Ok(trace)
    }
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

fn every(text: &str) -> Result<std::time::Duration, String> {
    let every = super::time(text)?;
    let whole = every.subsec_nanos() == 0 && (1..=86_400).contains(&every.as_secs());
    if whole { Ok(every) } else { Err("it is whole seconds, from 1s to 1d".into()) }
}

fn sign(text: &str) -> Result<Sign, String> {
    named(text, &[("surplus", Sign::Surplus), ("import", Sign::Import)])
}

fn stamp(text: &str) -> Result<Stamp, String> {
    named(text, &[("start", Stamp::Start), ("end", Stamp::End)])
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

/// The largest power that is taken: beyond it a figure is a slip, and sums of it are no numbers.
const MOST_WATTS: f64 = 1e15;
/// The largest price and the like.
const MOST_AMOUNT: f64 = 1e9;

pub(super) fn watts(text: &str) -> Result<f64, String> {
    let value = quantity::parse(text, &quantity::POWER).map_err(|error| error.to_string())?;
    if (0.0..=MOST_WATTS).contains(&value) { Ok(value) } else { Err("it is from 0 W to 1,000,000 GW".into()) }
}

pub(super) fn amount(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_| String::from("it is a number, 0 or more"))?;
    if (0.0..=MOST_AMOUNT).contains(&value) { Ok(value) } else { Err("it is from 0 to 1,000,000,000".into()) }
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    amount(text)
        .and_then(|value| if value >= 1e-3 { Ok(value) } else { Err("it is a thousandth or more".into()) })
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_| String::from("it is a number from 0 to 1"))?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("it is a share from 0 to 1".into()) }
}
