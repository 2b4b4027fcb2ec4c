//! The subcommands of `ballast`.

pub mod alarms;
pub mod assess;
pub mod check;
pub mod demo;
pub mod discover;
pub mod docs;
pub mod history;
pub mod ledger;
pub mod limit;
mod live;
pub mod maintenance;
pub mod meter;
pub mod miner;
pub mod miners;
mod moment;
pub mod orders;
mod preview;
pub mod reading;
pub mod reload;
pub mod replay;
pub mod report;
pub mod run;
pub mod schema;
pub mod sim;
pub mod simulate;
pub mod status;
pub mod stops;
mod table;
pub mod tail;
pub mod token;
pub mod top;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::config::{ConfigErrors, quantity};
use crate::sim::SimError;
use crate::sim::scenario::ScenarioError;
use crate::study::assess::plant::PlantError;
use crate::study::simulate::SimulateError;

/// Where a configuration is looked for unless the command line says otherwise.
pub const CONFIG: &str = "/etc/ballast/ballast.toml";

/// The exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
pub const EX_CONFIG: u8 = 78;

/// Why a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(ConfigErrors),
    /// The scenario cannot be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The simulated site cannot be served.
    #[error(transparent)]
    Simulation(#[from] SimError),
    /// The daemon cannot run.
    #[error(transparent)]
    Daemon(#[from] crate::daemon::DaemonError),
    /// Another daemon is there already.
    #[error(transparent)]
    NotAlone(#[from] crate::daemon::single::NotAlone),
    /// The running daemon does not do what it is asked.
    #[error(transparent)]
    Call(#[from] orders::DaemonCallError),
    /// The file of tokens cannot be used.
    #[error(transparent)]
    Tokens(#[from] crate::token::kept::KeptError),
    /// The running daemon has not read its configuration again.
    #[error(transparent)]
    Reload(#[from] crate::daemon::call::ReloadError),
    /// The configuration does not have what the command needs.
    #[error("{0}")]
    Site(String),
    /// A trace cannot be assessed.
    #[error(transparent)]
    Trace(#[from] crate::study::trace::TraceError),
    /// A site cannot be simulated on a trace.
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// There is no report of the energy.
    #[error("{0}")]
    Energy(String),
    /// Fleets of an assessment cannot be simulated.
    #[error(transparent)]
    Plant(#[from] PlantError),
    /// A time that ends before it begins.
    #[error("--from ({from}) is after --to ({to})")]
    Window {
        /// Its beginning.
        from: String,
        /// Its end.
        to: String,
    },
    /// A record cannot be replayed.
    #[error(transparent)]
    Record(#[from] crate::record::segment::RecordError),
    /// Nothing can be cut out of a record.
    #[error(transparent)]
    Cut(#[from] crate::record::replay::CutError),
    /// The proof cannot be read.
    #[error(transparent)]
    Proof(#[from] crate::proof::read::ReadError),
    /// A key of the proof cannot be read.
    #[error(transparent)]
    Key(#[from] crate::proof::key::KeyError),
    /// An order cannot be taken out of the proof.
    #[error(transparent)]
    Export(#[from] crate::proof::export::ExportError),
    /// A file cannot be written.
    #[error("{file}: {source}")]
    Written {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system does not do what every program needs.
    #[error("{what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Failure {
    /// The exit code: 78 for what was configured wrong, 1 for the rest.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Scenario(_) | Self::Site(_) => EX_CONFIG,
            Self::Reload(crate::daemon::call::ReloadError::Refused(_)) => EX_CONFIG,
            Self::Simulation(
                SimError::Scenario(_) | SimError::NoReading { .. } | SimError::NotLoopback { .. },
            ) => EX_CONFIG,
            Self::Simulate(SimulateError::TooShort { .. }) => 1,
            Self::Simulate(SimulateError::Site(error)) => match error {
                SimError::Scenario(_) | SimError::NoReading { .. } => EX_CONFIG,
                _ => 1,
            },
            Self::Simulate(_) => EX_CONFIG,
            Self::Simulation(_)
            | Self::Daemon(_)
            | Self::Call(_)
            | Self::Reload(_)
            | Self::Tokens(_)
            | Self::NotAlone(_)
            | Self::Trace(_)
            | Self::Plant(_)
            | Self::Energy(_)
            | Self::Window { .. }
            | Self::Record(_)
            | Self::Cut(_)
            | Self::Proof(_)
            | Self::Key(_)
            | Self::Export(_)
            | Self::Written { .. }
            | Self::System { .. } => 1,
        }
    }
}

impl From<crate::daemon::service::ServiceError> for Failure {
    fn from(error: crate::daemon::service::ServiceError) -> Self {
        use crate::daemon::service::ServiceError;
        match error {
            ServiceError::Config(errors) => Self::Config(errors),
            ServiceError::Daemon(error) => Self::Daemon(error),
            ServiceError::NotAlone(error) => Self::NotAlone(error),
            ServiceError::Signals(source) => Self::System { what: "cannot receive signals", source },
        }
    }
}

/// What a value of `BALLAST_LOG` means to the logger; `None` when it means nothing. A level alone is that of Ballast, whose
/// libraries say more at `debug` than anybody wants to read; `trace` alone is everything.
fn directives(wanted: &str) -> Option<String> {
    match wanted.trim().to_ascii_lowercase().as_str() {
        level @ ("off" | "error" | "warn" | "info" | "trace") => Some(level.to_owned()),
        "debug" => Some(String::from("info,ballast=debug")),
        // A word alone that is no level would be taken for the name of a library, and nothing would be logged.
        word if word.contains('=') => {
            tracing_subscriber::EnvFilter::try_new(word).ok().map(|_| wanted.trim().to_owned())
        }
        _ => None,
    }
}

/// How many columns the terminal has; `None` where standard output is none.
pub(crate) fn width() -> Option<usize> {
    let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(std::io::stdout())?;
    (columns >= 20).then(|| usize::from(columns))
}

/// Breaks lines that are wider than the terminal where words of their own begin, and never between a number and its unit.
/// What goes on is set in below.
pub(crate) fn fit(text: &str, width: Option<usize>) -> String {
    // What programs read stays as it is.
    let Some(width) = width.filter(|_| !text.starts_with(['{', '['])) else { return text.to_owned() };
    let mut fitted = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let indent = " ".repeat(line.chars().take_while(|c| *c == ' ').count() + 4);
        let mut used = 0;
        for part in parts(line) {
            let long = part.trim_end().chars().count();
            if used > 0 && used + long > width {
                fitted.truncate(fitted.trim_end().len());
                fitted.push('\n');
                fitted.push_str(&indent);
                used = indent.len();
            }
            fitted.push_str(part);
            used += part.chars().count();
        }
    }
    fitted
}

/// What of a line stays together: a word with the blanks behind it, and a number with the unit that follows.
fn parts(line: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut before) = (0, ' ');
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let number = before.is_ascii_digit() && next.is_some_and(char::is_alphabetic);
        if c == ' ' && at > 0 && next.is_some_and(|next| next != ' ') && !number {
            parts.push(line.get(start..=at).unwrap_or(""));
            start = at + 1;
        }
        before = c;
    }
    parts.push(line.get(start..).unwrap_or(""));
    parts
}

/// Writes text to standard output. Fails when nobody reads any more, such as `head`, which ends a command and is no mistake.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(fit(text, width()).as_bytes())?;
    out.flush()
}

/// Writes what a command was asked for to standard output. A reader that has gone away, such as `head`, is no failure; a full disk is
/// one, or a program would take nothing for an answer.
///
/// # Errors
/// It cannot be written.
pub(crate) fn answer(text: &str) -> Result<(), Failure> {
    match print(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "cannot write to standard output", source: error })
        }
        _ => Ok(()),
    }
}

/// The same for text that is broken into lines already, or has colours.
///
/// # Errors
/// As [`answer`].
pub(crate) fn answer_as_it_is(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "cannot write to standard output", source: error })
        }
        _ => Ok(()),
    }
}

/// Shows an answer of the daemon: as it is for programs, else in words for a terminal of so many columns.
///
/// # Errors
/// As [`answer`].
fn tell(
    told: &serde_json::Value,
    as_json: bool,
    words: impl FnOnce(&serde_json::Value, Option<usize>) -> String,
) -> Result<(), Failure> {
    answer(&if as_json { json(told)? } else { words(told, width()) })
}

/// An answer for programs.
///
/// # Errors
/// Something in it has no place in JSON.
pub(crate) fn json(answer: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(answer);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::System { what: "cannot write JSON", source: error.into() })
}

/// Writes a line to standard error. That nobody reads it is no reason to fail.
pub fn complain(words: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Sends the log to standard error. `BALLAST_LOG` says how much, for example `debug` or `ballast::daemon=debug`.
/// Under systemd the journal has its own time stamps.
pub fn log(default: &str) {
    let wanted = std::env::var("BALLAST_LOG").ok().filter(|wanted| !wanted.trim().is_empty());
    let known = wanted.as_deref().map(directives);
    if let (Some(wanted), Some(None)) = (&wanted, &known) {
        complain(format_args!(
            "BALLAST_LOG = {wanted:?} is no level (off, error, warn, info, debug, trace) and no list like \
             ballast::daemon=debug; the log stays as it is without it"
        ));
    }
    let filter = tracing_subscriber::EnvFilter::new(known.flatten().as_deref().unwrap_or(default));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A line that nobody reads is lost. To say so where nobody reads either would end the daemon, miners and all.
    let log = log.log_internal_errors(false);
    // Colours are for terminals; in a file they are noise.
    let log = log.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // A second logger in one process (tests) is no reason to fail.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
}

/// A time as people write it on the command line: `90s`, `5min`.
fn time(text: &str) -> Result<Duration, String> {
    quantity::parse_time(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_between_words_and_never_in_a_quantity() {
        let line = "  0:20  limited · surplus 400.1 kW · budget 366.5 kW (container-3-rating at container-3) · fleet 351.5 kW\n";
        for width in 20..100 {
            let fitted = fit(line, Some(width));
            let joined: Vec<&str> = fitted.split_whitespace().collect();
            assert_eq!(joined, line.split_whitespace().collect::<Vec<_>>());
            let whole = |words: &str| fitted.lines().any(|line| line.contains(words));
            assert!(whole("400.1 kW") && whole("366.5 kW") && whole("351.5 kW"), "{fitted}");
            assert!(fitted.lines().all(|line| line.chars().count() <= width.max(26)), "{width}:\n{fitted}");
        }
        assert_eq!(fit(line, None), line);
        assert_eq!(fit("a\n\n  b\n", Some(20)), "a\n\n  b\n");
    }

    #[test]
    fn a_level_alone_is_that_of_ballast_and_nonsense_is_told() {
        assert_eq!(directives("debug").as_deref(), Some("info,ballast=debug"));
        assert_eq!(directives(" WARN ").as_deref(), Some("warn"));
        assert_eq!(directives("ballast::daemon=debug").as_deref(), Some("ballast::daemon=debug"));
        assert_eq!(directives("debgu"), None);
        assert_eq!(directives("ballast=loud"), None);
    }
}
