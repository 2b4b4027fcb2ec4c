//! `ballast check`: reads a configuration, says what would be controlled, or everything that is wrong with it.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::config::{self, Options, Secrets};

/// The exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
pub use super::EX_CONFIG;

/// What `ballast check` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "It asks no device. Exit code: 0 for a configuration that can be used, 78 for mistakes, and for warnings with \
                        --strict."
)]
pub struct Args {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    pub config: PathBuf,
    /// The configuration, without the word --config
    #[arg(value_name = "FILE", conflicts_with = "config")]
    pub file: Option<PathBuf>,
    /// Do not look for passwords: for checking a file on another machine
    #[arg(long)]
    pub no_secrets: bool,
    /// Take every warning for a mistake
    #[arg(long)]
    pub strict: bool,
    /// Print nothing but warnings and mistakes
    #[arg(short, long)]
    pub quiet: bool,
}

/// Checks a configuration. What would be controlled goes to `out`, warnings and mistakes go to `err`. Returns the
/// exit code: 0, or [`EX_CONFIG`].
///
/// # Errors
/// Writing failed.
pub fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let secrets = if args.no_secrets { Secrets::Skip } else { Secrets::ByHand };
    let path = args.file.as_ref().unwrap_or(&args.config);
    match config::load_with(path, &Options { secrets, ..Options::default() }) {
        Ok(config) => {
            if !args.quiet {
                write!(out, "{}", super::fit(&config::summary(&config), super::width()))?;
                out.flush()?;
            }
            for warning in &config.warnings {
                writeln!(err, "\nwarning: {warning}")?;
            }
            if args.strict && !config.warnings.is_empty() {
                writeln!(err, "\n{}: {} warnings, and --strict", path.display(), config.warnings.len())?;
                return Ok(EX_CONFIG);
            }
            Ok(0)
        }
        Err(errors) => {
            writeln!(err, "{errors}")?;
            Ok(EX_CONFIG)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn check(file: &Path, strict: bool) -> (u8, String, String) {
        let args = Args { config: file.to_owned(), file: None, no_secrets: true, strict, quiet: false };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, &mut out, &mut err).unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_good_file_is_told_in_words_and_gives_zero() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml");
        let (code, out, err) = check(&demo, true);
        assert_eq!((code, err.as_str()), (0, ""));
        for words in ["controls 120 miners", "follow-surplus", "if it is lost", "└── fleet"] {
            assert!(out.contains(words), "{words} is not in:\n{out}");
        }
    }

    #[test]
    fn a_warning_fails_only_when_asked_to() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config/idle-limits.toml");
        let (code, out, err) = check(&file, false);
        assert_eq!(code, 0);
        assert!(out.contains("controls 11 miners") && err.contains("warning: "), "{out}{err}");
        assert_eq!(check(&file, true).0, EX_CONFIG);
    }

    #[test]
    fn a_missing_file_gives_78_and_says_which() {
        let (code, out, err) = check(Path::new("/nowhere/ballast.toml"), false);
        assert_eq!((code, out.as_str()), (EX_CONFIG, ""));
        assert!(err.contains("/nowhere/ballast.toml"), "{err}");
    }
}
