//! `ballast miner`: for a person who puts miners into service.
//!
//! `read` asks miners of a configuration what the daemon would ask them, over connections of its own: a reading, who they
//! are, and a read that proves the account where the vendor has one. It sends no command.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Failure;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::discover::identified::Identified;
use crate::discover::neighbours::Neighbours;
use crate::discover::who::Witness;
use crate::line::clean;
use crate::miner::identity::{Identity, Sameness, same_miner};
use crate::miner::reply::models;
use crate::miner::{self, Connection, Driver, DriverError};
use crate::units::Watts;

/// How often a driver's own time limit a miner may take for each of the three questions.
const PATIENCE: u32 = 4;

/// What `ballast miner` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Read miners of a configuration as the daemon would, and prove their accounts; nothing is changed
    Read(ReadArgs),
    /// Ask the running daemon why a miner stands where it stands
    Explain(super::miners::ExplainArgs),
}

/// What `ballast miner read` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 if every miner was read and none refused its account, else 1; 78 for a wrong configuration.\n\n\
                  Where the vendor has a read that needs the account (Braiins OS, VNish, Bitmain stock, Auradine, MARA, Proto, another Ballast, a BMC, a zeusd with tokens), \
                  the password is proven with it. Elsewhere only a command would prove it, and none is sent."
)]
pub struct ReadArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    pub config: PathBuf,
    /// Which miners
    #[arg(required = true, value_name = "NAME")]
    pub miners: Vec<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Does what was asked for. Returns the exit code.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<u8, Failure> {
    let args = match &args.command {
        Command::Read(args) => args,
        Command::Explain(args) => {
            super::miners::explain(args).await?;
            return Ok(0);
        }
    };
    let (text, code) = read(args).await?;
    super::answer(&text)?;
    Ok(code)
}

/// Reads, and gives what is printed with the exit code.
///
/// # Errors
/// A configuration that cannot be used, or does not have the miners that were named.
pub async fn read(args: &ReadArgs) -> Result<(String, u8), Failure> {
    let config = config::load_with(&args.config, &config::Options::default()).map_err(Failure::Config)?;
    let http = miner::http_client().map_err(|error| Failure::System {
        what: "cannot start the HTTP client",
        source: std::io::Error::other(error.without_url()),
    })?;
    let neighbours = Arc::new(Neighbours::new(Clock::start()));
    let mut told = Vec::new();
    for name in &args.miners {
        let (connection, expected, model) = find(&config, name)?;
        let driver = miner::driver(connection, &http);
        let driver: Box<dyn Driver> = match Witness::new(connection, &http, &neighbours) {
            Some(witness) => Box::new(Identified::new(driver, witness)),
            None => driver,
        };
        told.push(Told::ask(name, connection, expected, model, driver).await);
    }
    let code = u8::from(!told.iter().all(Told::is_well));
    let text = if args.json {
        let all: Vec<Value> = told.iter().map(Told::document).collect();
        format!("{:#}\n", json!({ "site": config.site.name, "miners": all }))
    } else {
        told.iter().map(Told::text).collect::<Vec<_>>().join("\n")
    };
    Ok((text, code))
}

fn find<'c>(config: &'c Config, name: &str) -> Result<(&'c Connection, Identity, Option<String>), Failure> {
    let place = config.miners.iter().position(|miner| &*miner.name == name);
    let Some((place, connection)) = place.and_then(|place| Some((place, config.miners.get(place)?))) else {
        let some: Vec<&str> = config.miners.iter().take(8).map(|miner| &*miner.name).collect();
        let more = if config.miners.len() > some.len() { ", …" } else { "" };
        return Err(Failure::Site(format!(
            "{} has no miner `{name}`; there are: {}{more}",
            config.path.display(),
            some.join(", ")
        )));
    };
    let model = config.models.get(place).cloned().flatten();
    Ok((connection, config.identities.get(place).cloned().unwrap_or_default(), model))
}

/// What became of the account.
enum Account {
    /// None is configured.
    None,
    /// A read proved it.
    Accepted,
    /// The vendor has no read that needs it.
    NoProof,
    /// The miner refuses it.
    Refused,
    /// It could not be asked.
    Unclear(String),
}

impl Account {
    fn of(connection: &Connection, proven: Result<bool, DriverError>) -> Self {
        match proven {
            Ok(true) => Self::Accepted,
            Ok(false) if connection.credentials.is_none() => Self::None,
            Ok(false) => Self::NoProof,
            Err(DriverError::Rejected { reason: Rejection::Credentials, .. }) => Self::Refused,
            Err(error) => Self::Unclear(error.to_string()),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::None => {
                "none configured: it can be read and not be commanded, unless its vendor asks for none".into()
            }
            Self::Accepted => "accepted".into(),
            Self::NoProof => "cannot be proven without a command".into(),
            Self::Refused => "REFUSED: wrong account or password".into(),
            Self::Unclear(why) => format!("not known: {why}"),
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Accepted => "accepted",
            Self::NoProof => "cannot-be-proven",
            Self::Refused => "refused",
            Self::Unclear(_) => "not-known",
        }
    }
}

/// One miner, and what it said.
struct Told {
    name: String,
    driver: &'static str,
    at: String,
    expected: Identity,
    model: Option<String>,
    status: Result<MinerStatus, String>,
    who: Result<Option<Identity>, String>,
    account: Account,
}

impl Told {
    async fn ask(
        name: &str,
        connection: &Connection,
        expected: Identity,
        model: Option<String>,
        mut driver: Box<dyn Driver>,
    ) -> Self {
        let patience = connection.timeout.saturating_mul(PATIENCE);
        let late = || format!("it did not answer within {patience:?}");
        let status = match tokio::time::timeout(patience, driver.read()).await {
            Ok(status) => status.map_err(|error| error.to_string()),
            Err(_) => Err(late()),
        };
        let who = match tokio::time::timeout(patience, driver.identify()).await {
            Ok(who) => who.map_err(|error| error.to_string()),
            Err(_) => Err(late()),
        };
        let account = match tokio::time::timeout(patience, driver.prove_account()).await {
            Ok(proven) => Account::of(connection, proven),
            Err(_) => Account::Unclear(late()),
        };
        let _ = tokio::time::timeout(patience, driver.close()).await;
        let (driver, at) = (connection.driver.name(), connection.endpoint.to_string());
        Self { name: name.to_owned(), driver, at, expected, model, status, who, account }
    }

    fn is_well(&self) -> bool {
        self.status.is_ok() && !matches!(self.account, Account::Refused) && self.stranger().is_none()
    }

    /// In what it is another miner than the one of the configuration.
    fn stranger(&self) -> Option<String> {
        let who = self.who.as_ref().ok()?.as_ref()?;
        match same_miner(&self.expected, who) {
            Sameness::Different(reason) => Some(reason),
            Sameness::Same | Sameness::CannotTell => None,
        }
    }

    /// The configured model, where the device says another one.
    fn other_model(&self) -> Option<&str> {
        let told = self.who.as_ref().ok()?.as_ref()?.model.as_deref()?;
        self.model.as_deref().filter(|model| !models::agrees(model, told))
    }

    fn text(&self) -> String {
        let mut text = format!("{} ({} at {})\n", self.name, self.driver, self.at);
        let mut line = |what: &str, words: &str| {
            let _ = writeln!(text, "  {what:<9} {}", clean(words));
        };
        match &self.status {
            Ok(status) => {
                line("does", &doing(&status.activity));
                line("draws", &measured(status.power, |watts: Watts| watts.to_string()));
                line("hashes", &measured(status.hashrate, |rate| rate.to_string()));
                line("target", &measured(status.target, target));
                if let Some((low, high)) = status.range {
                    line("range", &format!("{low} to {high}"));
                }
                if let Some(points) = &status.points {
                    line("steps", &points.len().to_string());
                }
                if let Some(uptime) = status.uptime {
                    line("up", &format!("{} s", uptime.as_secs()));
                }
            }
            Err(error) => line("reading", &format!("FAILED: {error}")),
        }
        line("account", &self.account.words());
        match &self.who {
            Ok(Some(who)) => {
                let mac = who.mac.map(|mac| format!("mac {mac}"));
                let serial = who.serial.as_ref().map(|serial| format!("serial {serial}"));
                let parts: Vec<String> = [who.model.clone(), mac, serial].into_iter().flatten().collect();
                line("it is", &parts.join(", "));
            }
            Ok(None) => line("it is", "it does not say"),
            Err(error) => line("it is", &format!("not known: {error}")),
        }
        if let Some(reason) = self.stranger() {
            line("warning", &format!("another miner answers at this address: {reason}"));
        }
        if let Some(model) = self.other_model() {
            line(
                "warning",
                &format!(
                    "the configuration has model = \"{model}\": its powers may be those of another miner"
                ),
            );
        }
        text
    }

    fn document(&self) -> Value {
        let status = self.status.as_ref().ok();
        json!({
            "name": self.name,
            "driver": self.driver,
            "address": self.at,
            "error": self.status.as_ref().err(),
            "state": status.map(|status| doing(&status.activity)),
            "power_watts": status.and_then(|status| status.power.value()).map(Watts::get),
            "hashrate_terahashes": status.and_then(|status| status.hashrate.value()).map(|rate| rate.as_terahashes()),
            "target": status.map(|status| measured(status.target, target)),
            "account": self.account.name(),
            "identity": self.who.as_ref().ok().and_then(Option::as_ref),
            "another_miner": self.stranger(),
            "contradicts_model": self.other_model(),
        })
    }
}

fn doing(activity: &Activity) -> String {
    match activity {
        Activity::Unknown => "not known".to_owned(),
        Activity::Hashing => "hashing".to_owned(),
        Activity::Asleep => "asleep".to_owned(),
        Activity::Starting => "starting".to_owned(),
        Activity::Fault(words) => format!("FAULT: {words}"),
    }
}

fn target(target: Target) -> String {
    match target {
        Target::Sleep => "sleep".to_owned(),
        Target::Power(watts) => watts.to_string(),
    }
}

fn measured<T>(value: Measured<T>, words: impl Fn(T) -> String) -> String {
    match value {
        Measured::Value(value) => words(value),
        Measured::Unavailable => "not available now".to_owned(),
        Measured::Unsupported => "this device does not say".to_owned(),
    }
}
