//! `ballast discover`: finds the miners of a network, says what they are, and writes them into a configuration.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::EX_CONFIG;
use crate::config;
use crate::discover::evidence::Ports;
use crate::discover::login::Account;
use crate::discover::merge::{self, Change, MergeError, Merged};
use crate::discover::probe::Prober;
use crate::discover::scan::{self, MOST_RATE, Options, Progress, Scan};
use crate::discover::targets::{self, Target, TargetError};
use crate::discover::{diff, report};
use crate::files::{self, Readers};
use crate::miner::DriverKind;
use crate::secret::Secret;

/// The exit code for a command line that cannot be used (`EX_USAGE` of sysexits.h).
const EX_USAGE: u8 = 64;
/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// Longest password file, in bytes.
const LONGEST_PASSWORD: u64 = 4_096;
/// Most changes of one kind that are listed one by one.
const SHOWN: usize = 12;

/// What `ballast discover` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 when the scan is complete, 64 for a command line that cannot be used, 78 for a configuration \
                        that cannot be merged with, 130 after Ctrl-C, 1 for anything else."
)]
pub struct Args {
    /// Networks (10.20.0.0/22), ranges (10.20.0.1-10.20.0.40) and single hosts; at most 65,536 addresses
    #[arg(required = true, value_name = "TARGET")]
    pub targets: Vec<Target>,
    /// Write what was found into this configuration; what stands in it already stays
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Show what --write would change, and change nothing
    #[arg(long, requires = "write")]
    pub dry_run: bool,
    /// The circuit that feeds new miners
    #[arg(long, value_name = "NAME", requires = "write")]
    pub circuit: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// New hosts a second, at most 1000
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_RATE)))]
    pub rate: u32,
    /// Longest wait for one answer
    #[arg(long, value_name = "TIME", value_parser = super::time, default_value = "3s")]
    pub timeout: Duration,
    /// An account that lets miners tell more: DRIVER=FILE or DRIVER:USER=FILE, where FILE holds the password and nothing
    /// else. May be given several times
    #[arg(long, value_name = "DRIVER[:USER]=FILE")]
    pub credentials: Vec<String>,
    /// Try the vendor's default password, once per miner and only where the login changes nothing
    #[arg(long)]
    pub try_default_passwords: bool,
    /// The port of the miners' web interfaces
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub web_port: u16,
}

/// Why nothing was scanned or written.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A target cannot be used.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// An account cannot be used.
    #[error("--credentials {text}: {reason}")]
    Credentials {
        /// As given, without the password.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// The configuration cannot be merged with.
    #[error("{0}")]
    Merge(#[from] MergeError),
    /// The configuration cannot be read.
    #[error("{0}")]
    Config(config::ConfigErrors),
    /// The configuration cannot be written.
    #[error("cannot write {}: {source}; nothing was changed", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system does not do what is needed.
    #[error("{what}: {reason}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl DiscoverError {
    /// The exit code: 64 for the command line, 78 for the configuration, 1 for the rest.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Target(_) | Self::Credentials { .. } => EX_USAGE,
            Self::Merge(_) | Self::Config(_) => EX_CONFIG,
            Self::Write { .. } | Self::System { .. } => 1,
        }
    }
}

/// Scans, prints and writes. Gives the exit code: 0, or 130 after Ctrl-C.
///
/// # Errors
/// See [`DiscoverError`].
pub async fn run(args: &Args) -> Result<u8, DiscoverError> {
    let stop = CancellationToken::new();
    let watcher = {
        let stop = stop.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        })
    };
    let ports = Ports { web: args.web_port, ..Ports::default() };
    let result = discover(args, ports, &stop, &mut io::stdout()).await;
    watcher.abort();
    result
}

/// As [`run`], with the ports of miners, an end and an output of one's own.
///
/// # Errors
/// As [`run`].
pub async fn discover(
    args: &Args,
    ports: Ports,
    stop: &CancellationToken,
    out: &mut (dyn Write + Send),
) -> Result<u8, DiscoverError> {
    let accounts = accounts(&args.credentials)?;
    // A file that cannot be merged with is better known before a long scan.
    if let Some(file) = &args.write {
        merge::merge(&existing(file)?, file, &Scan::default(), &merge::Options::default())?;
    }
    let addresses = resolve(&args.targets).await?;
    let options = Options { rate: args.rate, ..Options::default() };
    let prober =
        Prober::new(ports, args.timeout, accounts.clone(), args.try_default_passwords).map_err(|error| {
            DiscoverError::System { what: "cannot start", reason: crate::tls::innermost(&error) }
        })?;
    let prober = Arc::new(prober);
    let (sender, receiver) = watch::channel(Progress::default());
    let bar = io::stderr().is_terminal().then(|| tokio::spawn(show_progress(receiver)));
    let scan = scan::scan(&addresses, &options, &prober, stop, &sender).await;
    drop(sender);
    if let Some(bar) = bar {
        let _ = bar.await;
    }
    print(args, &scan, out).map_err(|error| printing(&error))?;
    let code = if scan.interrupted { INTERRUPTED } else { 0 };
    match &args.write {
        Some(file) if scan.interrupted => {
            note(args, out, &format!("\n{} was not changed, because the scan was stopped.", file.display()))?;
        }
        Some(file) => update(args, file, &scan, &accounts, out)?,
        None if !scan.findings.is_empty() => {
            note(args, out, "\nNext: ballast discover … --write FILE puts them into a configuration.")?;
        }
        None => {}
    }
    Ok(code)
}

fn printing(error: &io::Error) -> DiscoverError {
    DiscoverError::System { what: "cannot print", reason: error.to_string() }
}

/// A line for people: beside the JSON it goes to standard error.
fn note(args: &Args, out: &mut (dyn Write + Send), text: &str) -> Result<(), DiscoverError> {
    let written = if args.json { writeln!(io::stderr(), "{text}") } else { writeln!(out, "{text}") };
    written.map_err(|error| printing(&error))
}

fn print(args: &Args, scan: &Scan, out: &mut (dyn Write + Send)) -> io::Result<()> {
    if args.json {
        serde_json::to_writer_pretty(&mut *out, scan)?;
        writeln!(out)?;
        return out.flush();
    }
    report::write(scan, args.try_default_passwords, out)
}

/// The text of a configuration; none when there is no file yet.
fn existing(file: &Path) -> Result<String, DiscoverError> {
    if file.exists() { config::read(file).map_err(DiscoverError::Config) } else { Ok(String::new()) }
}

/// Merges and writes, or shows what would be written.
fn update(
    args: &Args,
    file: &Path,
    scan: &Scan,
    accounts: &[Account],
    out: &mut (dyn Write + Send),
) -> Result<(), DiscoverError> {
    let before = existing(file)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let named = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let options = merge::Options {
        circuit: args.circuit.clone(),
        accounts: accounts
            .iter()
            .map(|account| (account.driver.clone(), account.username.clone(), named(&account.file)))
            .collect(),
    };
    let merged = merge::merge(&before, file, scan, &options)?;
    note(args, out, "")?;
    for text in &merged.notes {
        note(args, out, &format!("note: {text}"))?;
    }
    if merged.changes.is_empty() {
        return note(args, out, &format!("{}: nothing to change", file.display()));
    }
    if args.dry_run {
        note(args, out, &format!("{} would change like this:\n", file.display()))?;
        return note(args, out, diff::lines(&before, &merged.text).trim_end());
    }
    // A link stays one.
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    files::replace(&target, merged.text.as_bytes(), Readers::AsBefore)
        .map_err(|source| DiscoverError::Write { path: file.to_owned(), source })?;
    for line in told(&merged) {
        note(args, out, &format!("{}: {line}", file.display()))?;
    }
    let todo = merged.changes.iter().any(|change| matches!(change, Change::Table { todo: true, .. }));
    let next = if todo { "Next: replace each TODO in it, then" } else { "Next:" };
    note(args, out, &format!("\n{next} ballast check {}", file.display()))
}

/// The changes in words, few of a kind one by one, many as a number.
fn told(merged: &Merged) -> Vec<String> {
    let mut lines = Vec::new();
    let mut added = Vec::new();
    let mut learned = Vec::new();
    for change in &merged.changes {
        match change {
            Change::Added { name, address } => added.push(format!("{name} at {address}")),
            Change::Learned { name } => learned.push(name.clone()),
            Change::Table { header, .. } => lines.push(format!("new {header}")),
            Change::Moved { name, from, to } => lines.push(format!("{name} moved from {from} to {to}")),
            Change::Gone { name, address } => {
                lines.push(format!("{name} is marked: not found at {address}"));
            }
            Change::Back { name } => lines.push(format!("{name} was found again; its mark is gone")),
        }
    }
    let mut list = |names: Vec<String>, what: &str| {
        if names.is_empty() {
            return;
        }
        let more = names.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
        lines.push(format!("{what}: {}{rest}", shown.join(", ")));
    };
    let count = report::counted(added.len(), "new miner");
    list(added, &count);
    list(learned, "hardware address and serial number added");
    lines
}

/// All addresses; names are looked up.
async fn resolve(targets: &[Target]) -> Result<BTreeSet<IpAddr>, TargetError> {
    let mut names = std::collections::BTreeMap::new();
    for target in targets {
        if let Target::Name(name) = target
            && let Ok(mut found) = tokio::net::lookup_host((name.as_str(), 0)).await
            && let Some(first) = found.next()
        {
            names.insert(name.clone(), first.ip());
        }
    }
    targets::addresses(targets, |name| names.get(name).copied())
}

/// Reads `DRIVER[:USER]=FILE` and the file.
fn accounts(texts: &[String]) -> Result<Vec<Account>, DiscoverError> {
    let mut accounts: Vec<Account> = Vec::new();
    for text in texts {
        let wrong = |reason: String| DiscoverError::Credentials { text: text.clone(), reason };
        let (who, file) = text
            .split_once('=')
            .ok_or_else(|| wrong("write DRIVER=FILE, like braiins-os=braiins.password".into()))?;
        let (driver, username) = match who.split_once(':') {
            Some((driver, username)) => (driver, Some(username.to_owned())),
            None => (who, None),
        };
        if DriverKind::from_name(driver).is_none() {
            let known = DriverKind::ALL.map(DriverKind::name).join(", ");
            return Err(wrong(format!("there is no driver `{driver}`; drivers: {known}")));
        }
        if accounts.iter().any(|account| account.driver == driver) {
            return Err(wrong(format!("driver `{driver}` has an account already")));
        }
        let password = password(Path::new(file)).map_err(wrong)?;
        accounts.push(Account { driver: driver.to_owned(), username, password, file: PathBuf::from(file) });
    }
    Ok(accounts)
}

fn password(file: &Path) -> Result<Secret, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let metadata = std::fs::metadata(file).map_err(|error| format!("cannot read it: {error}"))?;
    if !metadata.is_file() {
        return Err(String::from("that is no file"));
    }
    std::fs::File::open(file)
        .and_then(|file| file.take(LONGEST_PASSWORD + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot read it: {error}"))?;
    let text = crate::secret::bare(&text);
    let long = u64::try_from(text.len()).unwrap_or(u64::MAX) > LONGEST_PASSWORD;
    if text.is_empty() || long || text.chars().any(char::is_control) {
        return Err(String::from("the file must hold the password and nothing else"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// Draws a bar on standard error until the scan ends, then wipes it.
async fn show_progress(mut progress: watch::Receiver<Progress>) {
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = beat.tick() => {
                let line = bar(&progress.borrow_and_update());
                // A terminal that has gone away is no reason to stop.
                let _ = write!(io::stderr(), "\r\x1b[2K{line}");
                let _ = io::stderr().flush();
            }
            changed = progress.changed() => {
                if changed.is_err() {
                    break;
                }
                // The beat shows it; waiting here keeps this from running for every host.
                beat.tick().await;
                let line = bar(&progress.borrow_and_update());
                let _ = write!(io::stderr(), "\r\x1b[2K{line}");
                let _ = io::stderr().flush();
            }
        }
    }
    let _ = write!(io::stderr(), "\r\x1b[2K");
    let _ = io::stderr().flush();
}

/// `[########············]  412/1022 hosts  37 miners  5 s left`
fn bar(progress: &Progress) -> String {
    const WIDTH: usize = 24;
    let total = progress.total.max(1);
    let full = (progress.done.min(total) * WIDTH) / total;
    let left = progress.left().map_or(String::new(), |left| format!("  {} s left", left.as_secs()));
    format!(
        "[{}{}] {}/{} hosts  {}{left}",
        "#".repeat(full),
        "·".repeat(WIDTH - full),
        progress.done,
        progress.total,
        report::counted(progress.found, "miner"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_how_many_and_how_long() {
        let progress = Progress { done: 511, total: 1_022, found: 37, elapsed: Duration::from_secs(6) };
        assert_eq!(bar(&progress), "[############············] 511/1022 hosts  37 miners  6 s left");
        assert_eq!(bar(&Progress::default()), "[························] 0/0 hosts  0 miners");
    }

    #[test]
    fn an_account_names_a_driver_and_a_file() {
        let folder = std::env::temp_dir().join(format!("ballast-accounts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("braiins.password");
        std::fs::write(&file, "not the default\n").unwrap();
        let given = |text: String| accounts(&[text]);
        let good = given(format!("braiins-os:root={}", file.display())).unwrap();
        assert_eq!(good[0].username.as_deref(), Some("root"));
        assert_eq!(good[0].password.expose(), "not the default");
        assert!(!format!("{good:?}").contains("not the default"));
        for text in ["braiins-os", "nothing=x", "braiins-os=/nowhere/x", "braiins-os=/"] {
            assert!(given(text.to_owned()).is_err(), "{text}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
