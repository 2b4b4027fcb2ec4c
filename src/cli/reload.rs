//! `ballast reload`: lets the running daemon read its configuration again, and says what came of it.

use std::path::PathBuf;

use super::Failure;
use crate::daemon::call;

/// What `ballast reload` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "The daemon is found by the file that it was started with. A file with a mistake is not used: the \
                        running configuration stays in force. What changes with a restart only is named.\n\nExit code: 0 when \
                        the new configuration is in force, 78 when the daemon refuses it, 1 when no daemon answers."
)]
pub struct Args {
    /// The configuration, as the daemon was started with it
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    pub config: PathBuf,
}

/// Asks, and waits for the answer.
///
/// # Errors
/// Nobody runs with that file, or the daemon does not use it.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let call::Taken { warnings, restart } = call::reload(&args.config).await?;
    if !warnings.is_empty() {
        super::complain(format_args!("{warnings}\n"));
    }
    super::answer(&told(&restart))
}

/// What came of it; what waits for a restart is not in force.
fn told(restart: &[String]) -> String {
    let done = "the new configuration is in force";
    if restart.is_empty() {
        return format!("{done}\n");
    }
    format!("{done}, but for what changes with a restart only: {}\n", restart.join(", "))
}
