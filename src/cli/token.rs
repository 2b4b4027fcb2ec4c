//! `ballast token`: who may read and order over the interface, without a token in any file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::Failure;
use super::moment::day_time;
use super::table::{Align, Table};
use crate::clock;
use crate::config::{self, Options, Secrets, Web};
use crate::signal::Kind;
use crate::token::Scopes;
use crate::token::kept::{self, Kept, KeptError};

/// Where the shipped service keeps what it must not forget (`StateDirectory=ballast`).
const STATE: &str = "/var/lib/ballast";
/// A token for longer than this is one for ever.
const LONGEST: Duration = Duration::from_secs(3_660 * 86_400);
/// So often and so long is waited for another writer.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// What `ballast token` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a token, and print it this once
    Create(Create),
    /// Show which tokens there are; never a token
    List(List),
    /// Let a token no longer in
    Revoke(Revoke),
}

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Only the token's hash (SHA-256) is kept, in tokens.json beside the database or where tokens_file in \
                        [web] says. The running daemon knows the token within two seconds. The token goes to standard \
                        output and everything else to standard error: `ballast token create NAME … > FILE`."
)]
struct Create {
    /// Its name, for logs and records: whose it is
    name: String,
    /// What it may do: read everything; give and take back the orders of one source (`limits`); do what the operator may.
    /// May be given twice
    #[arg(long, value_name = "SCOPE", required = true, value_parser = clap::builder::PossibleValuesParser::new(Scopes::NAMES))]
    scope: Vec<String>,
    /// With --scope limits: for which [signals.SOURCE] it orders
    #[arg(long)]
    source: Option<String>,
    /// Let it in for so long, such as 90d; for ever without it
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    expires: Option<Duration>,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Args)]
struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Debug, clap::Args)]
struct Revoke {
    /// Its name
    name: String,
    #[command(flatten)]
    place: Place,
}

/// Where tokens are kept.
#[derive(Clone, Debug, clap::Args)]
struct Place {
    /// The daemon's configuration
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    config: PathBuf,
}

impl Place {
    fn web(&self) -> Result<Web, Failure> {
        let text = config::read(&self.config).map_err(Failure::Config)?;
        let options = Options { secrets: Secrets::Skip, ..Options::default() };
        let mut web = config::door(&text, &self.config, &options).map_err(Failure::Config)?;
        web.keep_tokens_beside(Some(&Path::new(STATE).join("ballast.db")));
        Ok(web)
    }
}

/// Does what was asked for.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Create(args) => create(args).await,
        Command::List(args) => list(args),
        Command::Revoke(args) => {
            let file = file(&args.place.web()?);
            patiently(|| kept::remove(&file, &args.name)).await?;
            super::answer(&format!(
                "the token {} is revoked: a running daemon lets it no longer in within two seconds\n",
                args.name
            ))
        }
    }
}

fn file(web: &Web) -> PathBuf {
    web.tokens_file.clone().unwrap_or_else(|| Path::new(STATE).join(kept::FILE))
}

/// Waits a little for another writer.
async fn patiently<T>(mut attempt: impl FnMut() -> Result<T, KeptError>) -> Result<T, KeptError> {
    for _ in 0..TRIES {
        match attempt() {
            Err(KeptError::Busy(_)) => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    attempt()
}

async fn create(args: &Create) -> Result<(), Failure> {
    let wrong = |words: String| Err(Failure::Site(words));
    let web = args.place.web()?;
    let name = args.name.as_str();
    if !kept::is_name(name) {
        let most = kept::LONGEST_NAME;
        return wrong(format!(
            "{name:?} is no name for a token: take 1 to {most} letters, digits and - _ . @"
        ));
    }
    if web.tokens.iter().any(|token| &*token.name == name) {
        return wrong(format!(
            "[web.tokens.{name}] stands in {}; choose another name",
            args.place.config.display()
        ));
    }
    let Some(scopes) = Scopes::of(args.scope.iter().map(String::as_str)) else {
        return wrong(String::from(
            "a token cannot have both `limits` and `operator`: make two, the one orders for a source, the other for the \
             operator",
        ));
    };
    match (&args.source, scopes.limits) {
        (None, true) => {
            return wrong(String::from("--scope limits needs --source: for which source does it order?"));
        }
        (Some(_), false) => {
            return wrong(String::from(
                "--source says for whom the scope `limits` orders; add --scope limits",
            ));
        }
        (Some(source), true) => known(source, &args.place.config)?,
        (None, false) => {}
    }
    if args.expires.is_some_and(|time| time.is_zero() || time > LONGEST) {
        return wrong(String::from(
            "--expires must be more than nothing and ten years at the most; leave it away for ever",
        ));
    }
    let token = kept::make();
    let created = clock::unix_millis();
    let kept = Kept {
        name: name.to_owned(),
        hash: crate::token::Hash::of(token.expose().as_bytes()).to_string(),
        scopes: scopes.names().into_iter().map(str::to_owned).collect(),
        source: args.source.clone(),
        created,
        expires: args
            .expires
            .map(|time| created.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))),
    };
    let file = file(&web);
    patiently(|| kept::add(&file, kept.clone())).await?;
    let until =
        kept.expires.map_or_else(String::new, |at| format!(" It expires on {}.", day_time(&at.into())));
    super::complain(format_args!(
        "This is the token {name}, shown this once: only its hash is kept, in {}.{until}",
        file.display()
    ));
    super::answer(&format!("{}\n", token.expose()))
}

/// Refuses a source that the configuration does not have, as far as it can be read here.
fn known(source: &str, path: &Path) -> Result<(), Failure> {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    let Ok(config) = config::load_with(path, &options) else { return Ok(()) };
    let http: Vec<&str> = config
        .signals
        .iter()
        .filter(|spec| spec.kind == Kind::Http)
        .map(|spec| spec.settings.name.as_str())
        .collect();
    if http.contains(&source) {
        return Ok(());
    }
    let there = match http.is_empty() {
        true => String::from("it has none with kind = \"http\""),
        false => format!("there are {}", http.join(", ")),
    };
    Err(Failure::Site(format!("{} has no source `{source}` that orders over HTTP; {there}", path.display())))
}

fn list(args: &List) -> Result<(), Failure> {
    let web = args.place.web()?;
    let tokens = kept::read(&file(&web))?;
    let now = clock::unix_millis();
    if args.json {
        let all: Vec<_> = tokens
            .iter()
            .map(|kept| {
                json!({
                    "name": kept.name, "scopes": kept.scopes, "source": kept.source, "created": kept.created,
                    "expires": kept.expires, "expired": is_over(kept, now), "fingerprint": fingerprint(kept),
                })
            })
            .collect();
        let configured: Vec<_> = web
            .tokens
            .iter()
            .map(|token| json!({ "name": *token.name, "scopes": token.scopes.names(), "source": token.source }))
            .collect();
        return super::answer(&super::json(&json!({ "tokens": all, "in_configuration": configured }))?);
    }
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("SCOPES", Align::Left),
        ("SOURCE", Align::Left),
        ("CREATED", Align::Left),
        ("EXPIRES", Align::Left),
        ("FINGERPRINT", Align::Left),
    ]);
    let dash = || String::from("–");
    for kept in &tokens {
        let expires = match kept.expires {
            Some(at) if is_over(kept, now) => format!("expired on {}", day_time(&at.into())),
            Some(at) => day_time(&at.into()),
            None => String::from("never"),
        };
        table.row(vec![
            kept.name.clone(),
            kept.scopes.join(", "),
            kept.source.clone().unwrap_or_else(dash),
            day_time(&kept.created.into()),
            expires,
            fingerprint(kept),
        ]);
    }
    for token in &web.tokens {
        table.row(vec![
            token.name.to_string(),
            token.scopes.names().join(", "),
            token.source.clone().unwrap_or_else(dash),
            String::from("in the configuration"),
            String::from("never"),
            token.hash.map_or_else(dash, |hash| hash.fingerprint()),
        ]);
    }
    let none = "no tokens: `ballast token create` makes one\n";
    super::answer(&if table.is_empty() { none.to_owned() } else { table.within(super::width()) })
}

fn is_over(kept: &Kept, now: i64) -> bool {
    kept.expires.is_some_and(|at| now >= at)
}

fn fingerprint(kept: &Kept) -> String {
    kept.hash.parse::<crate::token::Hash>().map_or_else(|_| String::new(), |hash| hash.fingerprint())
}
