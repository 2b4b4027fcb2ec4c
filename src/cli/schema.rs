//! `ballast schema`: what editors need to complete and check a configuration while it is written.

use super::{Failure, answer_as_it_is, json};

/// What `ballast schema` takes: nothing.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(
    after_help = "It is for editors with taplo or tombi, such as VS Code with Even Better TOML: write it beside the configuration, \
                  `ballast schema > ballast.schema.json`, and name it in the first line of that, `#:schema ballast.schema.json`. \
                  The package has it in /usr/share/doc/ballast/config. An editor does not see all that `ballast check` sees."
)]
pub struct Args {}

/// Prints the schema.
///
/// # Errors
/// Standard output takes no more.
pub fn run(_: &Args) -> Result<(), Failure> {
    answer_as_it_is(&json(&crate::config::schema())?)
}
