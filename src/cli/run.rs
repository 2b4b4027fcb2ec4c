//! `ballast run`: the daemon.

use std::path::PathBuf;

use super::Failure;
use crate::daemon::service;

/// What `ballast run` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "`ballast reload` or SIGHUP reads the configuration again; SIGTERM or Ctrl-C ends it as `on_exit` says. \
                        BALLAST_LOG=debug says more in the log.\n\nExit code: 0 when it was ended in order, 78 for a wrong configuration, which \
                        trying again does not mend, 1 for anything else."
)]
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
    abort_on_panic();
    Ok(service::run(&args.config).await?)
}

/// From here on a panic in any task or thread ends the process at once, after its words. Otherwise the task alone would be
/// gone: the last reading, order or command of what it served would stand for ever, and everything would look well. Whoever
/// started the daemon starts it again (`Restart=always`), and it takes the miners as they are.
pub fn abort_on_panic() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        super::complain(format_args!(
            "ballast: a part of the daemon has failed, which is a mistake in the program, please report it. It ends at once, \
             so that it is started anew instead of going on without that part."
        ));
        std::process::abort();
    }));
}
