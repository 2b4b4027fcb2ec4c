//! The subcommands of `ballast`.

pub mod check;
pub mod demo;
pub mod discover;
pub mod limit;
pub mod meter;
pub mod miner;
pub mod orders;
pub mod run;
pub mod sim;
mod table;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use crate::config::{ConfigErrors, quantity};
use crate::sim::SimError;
use crate::sim::scenario::ScenarioError;

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
    /// The configuration does not have what the command needs.
    #[error("{0}")]
    Site(String),
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
            Self::Simulation(
                SimError::Scenario(_) | SimError::NoReading { .. } | SimError::NotLoopback { .. },
            ) => EX_CONFIG,
            Self::Simulation(_)
            | Self::Daemon(_)
            | Self::Call(_)
            | Self::NotAlone(_)
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

/// Writes text to standard output. Fails when nobody reads any more, such as `head`, which ends a command and is no mistake.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
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
    fn a_level_alone_is_that_of_ballast_and_nonsense_is_told() {
        assert_eq!(directives("debug").as_deref(), Some("info,ballast=debug"));
        assert_eq!(directives(" WARN ").as_deref(), Some("warn"));
        assert_eq!(directives("ballast::daemon=debug").as_deref(), Some("ballast::daemon=debug"));
        assert_eq!(directives("debgu"), None);
        assert_eq!(directives("ballast=loud"), None);
    }
}
