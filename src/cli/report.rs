//! `ballast report`: the energy of a site and what became of its orders, on paper. Offline, from the database.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Failure, moment};
use crate::config::{self, Options, Secrets};
use crate::control::signal::Wall;
use crate::energy::baseline::Baseline;
use crate::energy::settle::Excuse;
use crate::line::is_line;
use crate::store::read::Reader;
use crate::study::energy::{self, Table, Told};
use crate::units::Watts;

/// The folder that systemd makes for the service (`StateDirectory=ballast`).
pub(super) const STATE: &str = "/var/lib/ballast";
/// The database in it.
const DATABASE: &str = "ballast.db";

/// As what the report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A page for a browser or a printer
    #[default]
    Html,
    /// A table for a spreadsheet; --table says which
    Csv,
    /// All of it for a program
    Json,
}

/// What `ballast report` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// From here on: a day, or a time like 2026-07-01T06:00
    #[arg(long, value_name = "DATE", value_parser = civil)]
    pub from: DateTime,
    /// Up to here; a day is included as a whole
    #[arg(long, value_name = "DATE", value_parser = last)]
    pub to: DateTime,
    /// The folder of the daemon, with its ballast.db
    #[arg(long, value_name = "FOLDER", default_value = STATE)]
    pub state: PathBuf,
    /// The database itself
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    pub database: Option<PathBuf>,
    /// The daemon's configuration instead, which says where its database is
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["state", "database"])]
    pub config: Option<PathBuf>,
    /// As what it is written
    #[arg(long, value_enum, default_value = "html")]
    pub format: Format,
    /// Which table, as CSV
    #[arg(long, value_enum, default_value = "quarters")]
    pub table: Table,
    /// Write it to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// This tenant alone
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// This circuit alone
    #[arg(long, value_name = "NAME")]
    pub circuit: Option<String>,
    /// Whose days and hours, such as Europe/Vienna; otherwise those of this machine
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub zone: Option<TimeZone>,
    /// The name of the site on it; otherwise what the record has of it
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Settle the orders of a source by another baseline than it had, such as utility=10-in-10 or "utility=firm 400 kW"
    #[arg(long, value_name = "SOURCE=BASELINE", value_parser = baseline, help_heading = "Orders")]
    pub baseline: Vec<(String, Baseline)>,
    /// A time that is not held against the site, such as "2026-07-01T12:00/2026-07-01T14:00=maintenance"
    #[arg(long, value_name = "FROM/TO=REASON", value_parser = excuse, help_heading = "Orders")]
    pub excuse: Vec<(DateTime, DateTime, String)>,
}

/// The database that is meant: by its own name, by the configuration of its daemon, or by its folder. A configuration that names
/// none leaves it to systemd, and is then that of the service.
///
/// # Errors
/// The configuration cannot be used.
pub(super) fn database(
    state: &Path,
    database: Option<&Path>,
    config: Option<&Path>,
) -> Result<PathBuf, Failure> {
    if let Some(config) = config {
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        let config = config::load_with(config, &options).map_err(Failure::Config)?;
        return Ok(config.store.path.unwrap_or_else(|| state.join(DATABASE)));
    }
    Ok(database.map_or_else(|| state.join(DATABASE), Path::to_owned))
}

fn civil(text: &str) -> Result<DateTime, String> {
    text.trim()
        .parse()
        .map_err(|_| String::from("it is a day like 2026-07-01 or a time like 2026-07-01T06:00"))
}

/// The end of a time: a day counts as a whole.
fn last(text: &str) -> Result<DateTime, String> {
    moment::behind(text).map_or_else(|| civil(text), Ok)
}

fn zone(text: &str) -> Result<TimeZone, String> {
    TimeZone::get(text).map_err(|_| String::from("it is a zone like Europe/Vienna or UTC"))
}

fn baseline(text: &str) -> Result<(String, Baseline), String> {
    let wrong =
        || String::from("write SOURCE=meter-before, =10-in-10, =same-day-3+2 or \"SOURCE=firm 400 kW\"");
    let (source, word) = text.split_once('=').ok_or_else(wrong)?;
    let (name, level) = word.trim().split_once(' ').unwrap_or((word.trim(), ""));
    let firm = match level {
        "" => None,
        level => Some(Watts::saturating(super::reading::watts(level)?)),
    };
    let found =
        Baseline::from_name(name, firm).filter(|found| firm.is_none() || matches!(found, Baseline::Firm(_)));
    found.map(|found| (source.trim().to_owned(), found)).ok_or_else(wrong)
}

fn excuse(text: &str) -> Result<(DateTime, DateTime, String), String> {
    let wrong =
        || String::from("write FROM/TO=REASON, like \"2026-07-01T12:00/2026-07-01T14:00=maintenance\"");
    let (times, reason) = text.split_once('=').ok_or_else(wrong)?;
    let (from, to) = times.split_once('/').ok_or_else(wrong)?;
    let reason = reason.trim();
    if reason.is_empty() || !is_line(reason) {
        return Err(wrong());
    }
    Ok((civil(from)?, last(to)?, reason.to_owned()))
}

/// A point in time of a zone. In the hour that a change of the clocks leaves out or has twice, the first that fits.
fn wall(at: DateTime, zone: &TimeZone) -> Result<Wall, Failure> {
    let stamp = zone.to_ambiguous_timestamp(at).compatible();
    stamp
        .map(|stamp| Wall::unix_millis(stamp.as_millisecond()))
        .map_err(|error| Failure::Energy(format!("{at} is no time: {error}")))
}

/// Reads, settles and tells.
///
/// # Errors
/// See [`Failure`].
pub fn run(args: &Args) -> Result<(), Failure> {
    let zone = args.zone.clone().unwrap_or_else(TimeZone::system);
    let (from, until) = (wall(args.from, &zone)?, wall(args.to, &zone)?);
    if from >= until {
        let (from, to) = (args.from.to_string(), args.to.to_string());
        return Err(Failure::Window { from, to });
    }
    let mut excuses = Vec::new();
    for (from, until, reason) in &args.excuse {
        let (from, until) = (wall(*from, &zone)?, wall(*until, &zone)?);
        excuses.push(Excuse { from, until, reason: reason.clone() });
    }
    let path = database(&args.state, args.database.as_deref(), args.config.as_deref())?;
    let fail = |error: &dyn std::fmt::Display| Failure::Energy(error.to_string());
    let reader = Reader::open(&path).map_err(|error| fail(&error))?;
    let told = Told {
        site: args.site.clone(),
        from,
        until,
        zone,
        circuit: args.circuit.clone(),
        tenant: args.tenant.clone(),
        baselines: args.baseline.clone(),
        excuses,
    };
    let report = energy::report(&reader, &told).map_err(|error| fail(&error))?;
    let text = match args.format {
        Format::Html => energy::page(&report),
        Format::Csv => energy::csv(&report, args.table),
        Format::Json => energy::json(&report)
            .map_err(|error| Failure::System { what: "cannot write JSON", source: error.into() })?,
    };
    match &args.out {
        Some(file) => write(file, &text),
        None => super::answer_as_it_is(&text),
    }
}

/// Writes a file in one go: whoever reads it meanwhile has the old one or the new one.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|source| Failure::Written { file: file.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_at_the_end_is_included_and_a_time_is_not() {
        assert_eq!(last("2026-07-01").unwrap().to_string(), "2026-07-02T00:00:00");
        assert_eq!(last("2026-07-01T06:00").unwrap().to_string(), "2026-07-01T06:00:00");
        assert!(last("July").is_err());
    }

    #[test]
    fn the_database_is_that_of_the_configuration_where_one_is_named() {
        let folder = std::env::temp_dir().join(format!("ballast-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("site.toml");
        let site = include_str!("../../config/demo.toml");
        let state = Path::new("/state");
        for (store, wanted) in
            [("\n[store]\npath = \"own.db\"\n", folder.join("own.db")), ("", state.join(DATABASE))]
        {
            std::fs::write(&file, format!("{site}{store}")).unwrap();
            assert_eq!(database(state, None, Some(&file)).unwrap(), wanted);
        }
        std::fs::write(&file, "[site]").unwrap();
        assert!(matches!(database(state, None, Some(&file)), Err(Failure::Config(_))));
        assert_eq!(database(state, Some(Path::new("a.db")), None).unwrap(), Path::new("a.db"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn baselines_and_excuses_are_read_or_refused_with_an_example() {
        assert_eq!(baseline("utility=10-in-10").unwrap().1, Baseline::TenInTen);
        let firm = baseline("utility=firm 400 kW").unwrap();
        assert_eq!(firm, ("utility".into(), Baseline::Firm(Watts::kilowatts(400.0))));
        for wrong in ["utility", "utility=none", "utility=firm", "utility=10-in-10 5 kW", "utility=firm 5"] {
            assert!(baseline(wrong).is_err(), "{wrong}");
        }
        let (from, to, reason) = excuse("2026-07-01T12:00/2026-07-01T14:00=a = b").unwrap();
        assert_eq!((from.hour(), to.hour(), reason.as_str()), (12, 14, "a = b"));
        assert!(excuse("2026-07-01=x").is_err() && excuse("2026-07-01/2026-07-02=").is_err());
    }
}
