//! `ballast run`: the daemon.

use std::path::PathBuf;

use super::Failure;
use crate::daemon::service;

/// What `ballast run` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "SIGHUP reads the configuration again; SIGTERM or Ctrl-C ends it as `on_exit` says. \
                        BALLAST_LOG=debug says more in the log.")]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    pub config: PathBuf,
}

/// Runs until a signal ends it.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    super::log("info");
    Ok(service::run(&args.config).await?)
}
