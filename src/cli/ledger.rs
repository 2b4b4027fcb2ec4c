//! `ballast ledger`: what can be proven, without the daemon.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use jiff::Timestamp;
use serde_json::Value;

use super::Failure;
use super::moment::{self, utc};
use super::report;
use crate::files::{self, Readers};
use crate::line::clean;
use crate::proof::export;
use crate::proof::key::{PUBLIC, PublicKey};
use crate::proof::read::{Entries, Heading};
use crate::proof::verify::{Report, Verifier};
use crate::proof::{Entry, Kind};

/// What `ballast ledger` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Find what was changed, removed or moved
    Verify(Verify),
    /// Print entries
    Show(Show),
    /// Print where the chain ends, as NUMBER:HASH, to be kept elsewhere
    Head(Place),
    /// Print the public key, as PEM
    Key(Place),
    /// Write the entries of one order into a file that a stranger can verify
    Export(Export),
    /// Write the time stamps of somebody else into files that `openssl ts` verifies
    Stamps(Stamps),
}

/// Which chain.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The folder of the daemon's state
    #[arg(long, value_name = "DIR", default_value = report::STATE)]
    state: PathBuf,
    /// A database, or a file of `ballast ledger export`, instead
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    database: Option<PathBuf>,
    /// The daemon's configuration instead, which says where its database is
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["state", "database"])]
    config: Option<PathBuf>,
}

impl Place {
    fn file(&self) -> Result<PathBuf, Failure> {
        report::database(&self.state, self.database.as_deref(), self.config.as_deref())
    }

    fn open(&self) -> Result<Entries, Failure> {
        Ok(Entries::open(&self.file()?)?)
    }

    /// The key beside the database, or in the exported file.
    fn key(&self, entries: &Entries) -> Result<PublicKey, Failure> {
        let file = self.file()?;
        Ok(match entries {
            Entries::Database(..) => {
                PublicKey::of_file(&file.parent().unwrap_or(Path::new("")).join(PUBLIC))?
            }
            Entries::Export(heading, _) => {
                PublicKey::of_pem(&heading.public_key, &file.display().to_string())?
            }
        })
    }
}

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 when everything holds, 1 when something was changed, removed or moved, or cannot be read.\n\n\
                  See docs/guide/proof.md."
)]
struct Verify {
    #[command(flatten)]
    place: Place,
    /// A key whose signatures count, as PEM; without it the one beside the database, or in the file
    #[arg(long, value_name = "PEM")]
    public_key: Vec<PathBuf>,
    /// A head that was kept elsewhere: it must be in the chain
    #[arg(long, value_name = "NUMBER:HASH", value_parser = head)]
    expect_head: Option<(u64, String)>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// From this time on: 2026-11-29T04:43, with Z or an offset behind it, else in the zone of this machine; 04:43 is of today
    #[arg(long, value_name = "TIME", value_parser = moment::past)]
    from: Option<Timestamp>,
    /// Up to this time; a day alone is included as a whole
    #[arg(long, value_name = "TIME", value_parser = moment::end)]
    to: Option<Timestamp>,
    /// Of this kind alone, such as order
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    /// As JSON, one entry in a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug, clap::Args)]
struct Stamps {
    /// The folder, which is made where it is not there; files that are there stay as they are
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Args)]
struct Export {
    /// The name that its source gives the order
    order: String,
    /// The file; an earlier export of the same order is replaced, and nothing else
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    place: Place,
}

fn head(text: &str) -> Result<(u64, String), String> {
    let wrong = || String::from("write it as `ballast ledger head` prints it: NUMBER:HASH");
    let (number, hash) = text.trim().split_once(':').ok_or_else(wrong)?;
    let good = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = number.parse().map_err(|_| wrong())?;
    if good { Ok((number, hash.to_ascii_lowercase())) } else { Err(wrong()) }
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::named(text)
        .ok_or_else(|| format!("there is no such kind; there are {}", Kind::ALL.map(Kind::name).join(", ")))
}

/// Runs the command. Gives the exit code.
///
/// # Errors
/// The chain cannot be read, or nothing can be written.
pub fn run(args: &Args) -> Result<u8, Failure> {
    match &args.command {
        Command::Verify(args) => verify(args),
        Command::Show(args) => show(args).map(|()| 0),
        Command::Head(place) => {
            let mut last = None;
            place
                .open()?
                .each(0, u64::MAX, |entry| last = Some(format!("{}:{}\n", entry.number, entry.hash)))?;
            super::answer(&last.unwrap_or_else(|| String::from("there is no entry yet\n"))).map(|()| 0)
        }
        Command::Key(place) => {
            let key = place.key(&place.open()?)?;
            super::answer(&key.pem()).map(|()| 0)
        }
        Command::Export(args) => export(args).map(|()| 0),
        Command::Stamps(args) => stamps(args).map(|()| 0),
    }
}

fn verify(args: &Verify) -> Result<u8, Failure> {
    let entries = args.place.open()?;
    let mut keys = Vec::new();
    for file in &args.public_key {
        keys.push(PublicKey::of_file(file)?);
    }
    let own = keys.is_empty();
    if own {
        keys.push(args.place.key(&entries)?);
    }
    let excerpt = matches!(entries, Entries::Export(..));
    let mut verifier = Verifier::new(keys.clone(), args.expect_head.clone(), excerpt);
    let heading = match &entries {
        Entries::Export(heading, _) => Some(heading),
        Entries::Database(..) => None,
    };
    let mut run = heading.map(|heading| {
        let text = |name: &str| heading.order.get(name).and_then(Value::as_str).unwrap_or("");
        export::Run::new(text("order"), Some(text("source")))
    });
    entries.each(0, u64::MAX, |entry| {
        verifier.read(&entry);
        if let Some(run) = &mut run {
            run.read(&entry);
        }
    })?;
    let mut report = verifier.end();
    // The first line is not signed: the entries are.
    if let (Some(said), Some(run)) = (heading, run) {
        let is = run.heading(said.public_key.clone());
        if said.order != is.order {
            report.fault("the first line says something else of the order than its last entry".into());
        }
        if said.entries != is.entries {
            let there = is.entries.len();
            report.fault(format!(
                "the first line names other entries of the order than the {there} that are there"
            ));
        }
        if (said.complete, said.ballast_proof) != (is.complete, is.ballast_proof) {
            report.fault(
                "the first line has another form, or says something else of whether the order is over".into(),
            );
        }
    }
    if args.json {
        super::answer(&super::json(&report)?)?;
    } else {
        super::answer(&words(&report, &keys, own, excerpt, args.expect_head.is_some()))?;
    }
    Ok(u8::from(!report.holds()))
}

fn words(report: &Report, keys: &[PublicKey], own: bool, excerpt: bool, expected: bool) -> String {
    let mut text = String::new();
    let mut say = |words: std::fmt::Arguments<'_>| {
        let _ = text.write_fmt(format_args!("{words}\n"));
    };
    if report.entries == 0 {
        say(format_args!("there is no entry"));
    } else if report.holds() {
        say(format_args!(
            "entries {} to {} hold: none was changed, removed or moved",
            report.first, report.last
        ));
    }
    for fault in &report.faults {
        say(format_args!("FAULT: {fault}"));
    }
    let more = report.fault_count.saturating_sub(u64::try_from(report.faults.len()).unwrap_or(u64::MAX));
    if more > 0 {
        say(format_args!("FAULT: and {more} more"));
    }
    match report.signed {
        Some(signed) => say(format_args!("signed up to entry {signed}, {} signatures", report.signatures)),
        None => say(format_args!(
            "no signature was checked: whoever can write to the file could have made it all"
        )),
    }
    for key in keys {
        say(format_args!("  by the key {}", key.fingerprint()));
    }
    if let Some((number, time, by)) = &report.stamped {
        say(format_args!(
            "{} time stamps, the latest of entry {number} at {time} by the word of {by}: `ballast ledger stamps` writes them for \
             `openssl ts -verify`",
            report.stamps
        ));
    }
    if own && excerpt {
        say(format_args!("  which stands in the file itself: compare it with the one that you were given"));
    } else if own {
        say(format_args!("  which lies beside the database: compare it with a copy that is kept elsewhere"));
    }
    if report.unsigned_tail > 0 && report.signed.is_some() {
        say(format_args!(
            "{} entries behind the latest signature are not signed: whoever can write to the file could have made others",
            report.unsigned_tail
        ));
    }
    if !excerpt && !report.ends_with_stop && !expected {
        say(format_args!(
            "it does not end with a stop: the daemon runs, was killed, or the tail is cut; a head that was kept elsewhere \
             tells (--expect-head)"
        ));
    }
    say(format_args!("head {}:{}", report.last, report.head));
    text
}

fn show(args: &Show) -> Result<(), Failure> {
    let mut failed = Ok(());
    let line = |entry: &Entry| {
        if args.json {
            return export::line(entry);
        }
        let body = clean(&entry.body);
        format!("{:>7}  {}  {:<10}  {body}\n", entry.number, utc(entry.at), entry.kind)
    };
    args.place.open()?.each(0, u64::MAX, |entry| {
        let wanted = args.kind.is_none_or(|kind| kind.name() == entry.kind)
            && args.from.is_none_or(|from| entry.at >= from.as_millisecond())
            && args.to.is_none_or(|to| entry.at <= to.as_millisecond());
        if wanted && failed.is_ok() {
            failed = io::stdout().lock().write_all(line(&entry).as_bytes());
        }
    })?;
    match failed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::System { what: "cannot write to standard output", source: error })
        }
        _ => Ok(()),
    }
}

fn stamps(args: &Stamps) -> Result<(), Failure> {
    let fail = |file: &Path, source| Failure::Written { file: file.display().to_string(), source };
    std::fs::create_dir_all(&args.out).map_err(|error| fail(&args.out, error))?;
    let (mut last, mut count, mut damaged, mut failed) = (None, 0_u64, 0_u64, Ok(()));
    args.place.open()?.each(0, u64::MAX, |entry| {
        if entry.kind != Kind::Stamp.name() || failed.is_err() {
            return;
        }
        let body = entry.value();
        let text = |name: &str| body.get(name).and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
        let token = base64::engine::general_purpose::STANDARD.decode(text("token")).unwrap_or_default();
        if token.is_empty() || text("head").is_empty() {
            damaged = damaged.saturating_add(1);
            return;
        }
        for (end, content) in [("head", text("head").into_bytes()), ("token", token)] {
            let file = args.out.join(format!("{}.{end}", entry.number));
            let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&file);
            match written.and_then(|mut file| file.write_all(&content)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    failed = Err(fail(&file, error))
                }
                _ => {}
            }
        }
        count = count.saturating_add(1);
        last = Some(entry.number);
    })?;
    failed?;
    let damaged = match damaged {
        0 => String::new(),
        some => {
            format!("{some} time stamps cannot be read: `ballast ledger verify` tells what was changed\n")
        }
    };
    let Some(last) = last else {
        return super::answer(if damaged.is_empty() {
            "there is no time stamp: [proof.time_stamps] asks for them\n"
        } else {
            &damaged
        });
    };
    let name = args.out.join(last.to_string());
    super::answer(&format!(
        "{count} time stamps in {}; with the authority's certificate from elsewhere:\n\
         openssl ts -verify -data {name}.head -in {name}.token -token_in -CAfile AUTHORITY.pem\n{damaged}",
        args.out.display(),
        name = name.display()
    ))
}

/// Whether an export may be written there: where nothing is, or an earlier export of the same run of the same order.
fn replaceable(out: &Path, heading: &Heading) -> io::Result<()> {
    match std::fs::symlink_metadata(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        // Nothing is read of what is no file: a terminal would wait.
        Ok(there) if !there.is_file() => {}
        Ok(_) => {
            let whose = |heading: &Heading| {
                let of = |name: &str| heading.order.get(name).cloned();
                (of("source"), of("order"), heading.entries.first().copied())
            };
            if let Ok(Entries::Export(there, _)) = Entries::open(out)
                && whose(&there) == whose(heading)
            {
                return Ok(());
            }
        }
    }
    let words = "it is there, and is no earlier export of this order: name another file, or move it away";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, words))
}

/// Writes a part of a chain. Gives how many entries it has.
fn fill(file: &mut File, entries: &Entries, part: &export::Part) -> io::Result<u64> {
    let mut file = io::BufWriter::new(file);
    writeln!(file, "{}", serde_json::to_string(&part.heading)?)?;
    let (mut written, mut count) = (Ok(()), 0_u64);
    let read = entries.each(part.from, part.to, |entry| {
        if written.is_ok() {
            written = file.write_all(export::line(&entry).as_bytes());
            count = count.saturating_add(1);
        }
    });
    read.map_err(io::Error::other)?;
    written?;
    file.flush()?;
    Ok(count)
}

fn export(args: &Export) -> Result<(), Failure> {
    let entries = args.place.open()?;
    let key = args.place.key(&entries)?;
    let part = export::find(&entries, &args.order, args.source.as_deref(), key.pem())?;
    // Whoever reads it meanwhile, or exports it from itself, finds a whole one.
    let count = replaceable(&args.out, &part.heading)
        .and_then(|()| files::write(&args.out, Readers::AsBefore, |file| fill(file, &entries, &part)))
        .map_err(|source| Failure::Written { file: args.out.display().to_string(), source })?;
    let mut text = format!(
        "{}: {count} entries, {} to {}, of which {} are about the order\n",
        args.out.display(),
        part.from,
        part.to,
        part.heading.entries.len()
    );
    if !part.heading.complete {
        text.push_str("the order is not over, or no signature follows its end yet: export it again later\n");
    }
    text.push_str(&format!("key {}\n", key.fingerprint()));
    super::answer(&text)
}
