//! `ballast orders`: what was ordered and what was delivered. And the way to the running daemon, for all commands that
//! need it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use super::Failure;
use super::moment::day_time;
use super::table::{Align, Table};
use crate::config::{self, Options, Secrets, Web};
use crate::line::clean;
use crate::secret::Secret;
use crate::token::Token;
use crate::web;

/// The longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer, in bytes.
const LARGEST: usize = 8 << 20;
/// The folder that systemd makes for the service (`RuntimeDirectory=ballast`).
const RUNTIME_FOLDER: &str = "/run/ballast";
/// Where a token is looked for unless the command line says otherwise.
const TOKEN_VARIABLE: &str = "BALLAST_TOKEN_FILE";

/// How the running daemon is reached.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The daemon")]
pub struct Reach {
    /// The daemon's configuration: where it listens, and the token. A daemon of this machine is called by its socket if it
    /// has one
    #[arg(short, long, value_name = "FILE", default_value = super::CONFIG)]
    pub config: PathBuf,
    /// Its address instead, such as http://127.0.0.1:9842
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// A file with the token; without it the one that BALLAST_TOKEN_FILE names, else the configuration's first with the
    /// scope `operator`
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The running `ballast demo` of this machine: an order is given with the token of the demo, which no other daemon takes
    #[arg(long, conflicts_with_all = ["config", "token_file"])]
    pub demo: bool,
}

/// What a command takes that shows what the daemon knows.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct List {
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) reach: Reach,
}

/// What `ballast orders` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only of this source
    #[arg(long)]
    pub source: Option<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// How the daemon is reached
    #[command(flatten)]
    pub reach: Reach,
}

/// Shows the orders.
///
/// # Errors
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<(), Failure> {
    let daemon = Daemon::reach(&args.reach)?;
    let query = args.source.as_ref().map(|source| ("source", source.as_str()));
    let answer = daemon.ask(Method::GET, &["orders"], query, None).await?;
    super::tell(&answer, args.json, listing)
}

/// Why the daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DaemonCallError {
    /// An address that is none.
    #[error("{0:?} is no address of a daemon; write it like http://127.0.0.1:9842")]
    Url(String),
    /// A name that stands for something else in an address.
    #[error("{0:?} cannot be a name here; choose another one")]
    Name(String),
    /// Nobody has a token.
    #[error(
        "there is no token: the configuration has none with the scope `operator`; add [web.tokens.operator] to it, or \
         name a file with --token-file or {TOKEN_VARIABLE}"
    )]
    NoToken,
    /// A file that holds no token.
    #[error("cannot take a token from {file}: {reason}")]
    TokenFile {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// No HTTPS can be spoken.
    #[error("cannot prepare TLS: {0}; install the certificates of the system (package ca-certificates)")]
    Prepare(String),
    /// Nobody answers.
    #[error(
        "no daemon answers at {at}: {reason}; is it running (systemctl status ballast)? --url names another address"
    )]
    Unreachable {
        /// Where.
        at: String,
        /// Why.
        reason: String,
    },
    /// It has refused.
    #[error("the daemon refuses ({code}): {error}{help}")]
    Refused {
        /// The status of HTTP.
        code: u16,
        /// What.
        error: String,
        /// What to do, with its separator.
        help: String,
    },
    /// A daemon, and not the demo's.
    #[error(
        "the daemon at {at} is no demo: it does not take the demo's token. The demo says at its start where it listens: \
         --demo --url http://127.0.0.1:PORT"
    )]
    NoDemo {
        /// Where.
        at: String,
    },
    /// What came is no answer.
    #[error("what answers at {at} is no daemon of this version: {reason}")]
    Strange {
        /// Where.
        at: String,
        /// Why.
        reason: String,
    },
}

/// The way to a daemon.
pub(super) struct Daemon {
    base: Url,
    /// Where it is reached, for messages.
    at: String,
    token: Option<Secret>,
    http: reqwest::Client,
    /// It is to be the demo, and nobody else.
    demo: bool,
}

impl Daemon {
    /// Finds out where it is and with which token it is asked. Nothing is sent yet.
    pub(super) fn reach(reach: &Reach) -> Result<Self, Failure> {
        let daemon = Self::find(reach)?;
        if daemon.token.is_none() {
            return Err(DaemonCallError::NoToken.into());
        }
        Ok(daemon)
    }

    /// The same for what may be read on its machine without a token.
    pub(super) fn reach_to_read(reach: &Reach) -> Result<Self, Failure> {
        // Whoever names the address needs no configuration, which may be on another machine or for other eyes.
        if let (Some(url), None, false, false) = (&reach.url, named(reach), reach.config.exists(), reach.demo)
        {
            return Self::new(base(url)?, None, None);
        }
        Self::find(reach)
    }

    fn find(reach: &Reach) -> Result<Self, Failure> {
        let named = named(reach);
        let needs_config = reach.url.is_none() || named.is_none();
        let door = match (needs_config, reach.demo) {
            (false, _) => None,
            (true, true) => Some(config::demo_door().map_err(Failure::Config)?),
            (true, false) => {
                let secrets = if named.is_some() { Secrets::Skip } else { Secrets::Read };
                let text = config::read(&reach.config).map_err(Failure::Config)?;
                let options = Options { secrets, ..Options::default() };
                Some(config::door(&text, &reach.config, &options).map_err(Failure::Config)?)
            }
        };
        let base = match (&reach.url, &door) {
            (Some(url), _) => base(url)?,
            (None, Some(door)) => base(&format!("http://{}", dial(door.listen)))?,
            (None, None) => return Err(DaemonCallError::Url(String::new()).into()),
        };
        let socket = door.as_ref().filter(|_| reach.url.is_none() && !reach.demo).and_then(socket);
        let token = match named {
            Some(file) => Some(token_of(file)?),
            None => first_operator(door.map_or_else(Vec::new, |door| door.tokens)),
        };
        Ok(Self { demo: reach.demo, ..Self::new(base, socket.as_deref(), token)? })
    }

    fn new(base: Url, socket: Option<&Path>, token: Option<Secret>) -> Result<Self, Failure> {
        let mut http = crate::tls::client(base.scheme() == "https").timeout(PATIENCE);
        if let Some(socket) = socket {
            http = http.unix_socket(socket);
        }
        let at = match socket {
            Some(socket) => socket.display().to_string(),
            None => base.as_str().trim_end_matches('/').to_owned(),
        };
        let http = http.build().map_err(|error| DaemonCallError::Prepare(crate::tls::innermost(&error)))?;
        Ok(Self { base, at, token, http, demo: false })
    }

    fn refusal(&self, status: StatusCode, body: Option<Value>) -> DaemonCallError {
        if self.demo && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return DaemonCallError::NoDemo { at: self.at.clone() };
        }
        refusal(status, body)
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None, None).await
    }

    pub(super) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, None, Some(body)).await
    }

    pub(super) async fn post(
        &self,
        path: &[&str],
        query: Option<(&str, &str)>,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.ask(Method::POST, path, query, body).await
    }

    /// The same with several parameters.
    pub(super) async fn post_with(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.ask(Method::POST, path, query.iter().copied(), None).await
    }

    /// The same with parameters.
    pub(super) async fn delete_with(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, query.iter().copied(), None).await
    }

    /// Reads with parameters.
    pub(super) async fn look(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.ask(Method::GET, path, query.iter().copied(), None).await
    }

    /// Where it is reached, for messages.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Begins to listen to what changes, for `patience` at the most.
    pub(super) async fn listen(
        &self,
        roster: Option<&str>,
        patience: Duration,
    ) -> Result<reqwest::Response, Failure> {
        let query = roster.map(|roster| ("roster", roster));
        let request = self.request(Method::GET, &["events"], query)?.timeout(patience);
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.whole(&mut response).await?;
        Err(self.refusal(status, serde_json::from_slice(&bytes).ok()).into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> DaemonCallError {
        DaemonCallError::Unreachable { at: self.at.clone(), reason: innermost(error) }
    }

    fn request<'q>(
        &self,
        method: Method,
        path: &[&str],
        query: impl IntoIterator<Item = (&'q str, &'q str)>,
    ) -> Result<reqwest::RequestBuilder, Failure> {
        // What stands for another place, or for none, is the name of nothing.
        if let Some(name) = path.iter().find(|name| matches!(**name, "" | "." | "..")) {
            return Err(DaemonCallError::Name((*name).to_owned()).into());
        }
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(["api", "v1"]).extend(path);
            }
            Err(()) => return Err(DaemonCallError::Url(self.at.clone()).into()),
        }
        for (key, value) in query {
            url.query_pairs_mut().append_pair(key, value);
        }
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        })
    }

    /// The whole body of an answer.
    async fn whole(&self, response: &mut reqwest::Response) -> Result<Vec<u8>, DaemonCallError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if bytes.len() + chunk.len() > LARGEST {
                let reason = String::from("its answer has no end");
                return Err(DaemonCallError::Strange { at: self.at.clone(), reason });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    async fn ask<'q>(
        &self,
        method: Method,
        path: &[&str],
        query: impl IntoIterator<Item = (&'q str, &'q str)>,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let mut request = self.request(method, path, query)?;
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = self.whole(&mut response).await?;
        let body = serde_json::from_slice::<Value>(&bytes);
        if !status.is_success() {
            return Err(self.refusal(status, body.ok()).into());
        }
        let strange = |reason| DaemonCallError::Strange { at: self.at.clone(), reason };
        body.map_err(|error| strange(error.to_string()).into())
    }
}

/// The file with the token that somebody names.
fn named(reach: &Reach) -> Option<PathBuf> {
    // The demo has a token of its own. That of a site is not shown to whatever else answers at its address.
    if reach.demo {
        return None;
    }
    let variable = || std::env::var_os(TOKEN_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    reach.token_file.clone().or_else(variable)
}

fn refusal(status: StatusCode, body: Option<Value>) -> DaemonCallError {
    let words = |key: &str| {
        let text = body.as_ref().and_then(|body| body.get(key)).and_then(Value::as_str);
        text.map(clean)
    };
    let error = words("title").unwrap_or_else(|| match status {
        StatusCode::NOT_FOUND => String::from("there is no such thing here; is it a daemon of this version?"),
        _ => status.canonical_reason().unwrap_or("without a word").to_owned(),
    });
    let help = words("detail").filter(|help| !help.is_empty());
    let help = help.map_or_else(String::new, |help| format!("; {}", as_commands(help)));
    DaemonCallError::Refused { code: status.as_u16(), error, help }
}

/// What a program would ask for is a command here. The longer ones first: a path may begin another one.
fn as_commands(help: String) -> String {
    [
        ("GET /api/v1/miners?search=", "`ballast miners --search`"),
        ("GET /api/v1/maintenance", "`ballast maintenance`"),
        ("GET /api/v1/circuits", "`ballast status`"),
        ("GET /api/v1/alarms", "`ballast alarms`"),
        ("GET /api/v1/limits", "`ballast limit list`"),
        ("GET /api/v1/stops", "`ballast stops`"),
    ]
    .iter()
    .fold(help, |help, (path, command)| help.replace(path, command))
}

fn base(text: &str) -> Result<Url, DaemonCallError> {
    let wrong = || DaemonCallError::Url(text.to_owned());
    let url = Url::parse(text).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    (matches!(url.scheme(), "http" | "https") && plain).then_some(url).ok_or_else(wrong)
}

/// Where to call a daemon that listens there: one that listens everywhere is called on this machine.
fn dial(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The socket of the daemon of this configuration, if somebody answers there who lets us in. It is this machine's own way: however
/// many others are connected to the pages, they are not there.
fn socket(door: &Web) -> Option<PathBuf> {
    let path = match &door.socket {
        Some(path) => path.clone(),
        None => web::socket_in(Path::new(RUNTIME_FOLDER), door.listen),
    };
    web::knock(&path).is_ok().then_some(path)
}

fn first_operator(tokens: Vec<Token>) -> Option<Secret> {
    tokens.into_iter().find(|token| token.scopes.operator).and_then(|token| token.secret)
}

fn token_of(file: PathBuf) -> Result<Secret, DaemonCallError> {
    let fail = |reason: String| DaemonCallError::TokenFile { file: file.clone(), reason };
    let text = std::fs::read_to_string(&file).map_err(|error| {
        fail(format!("{error}; name a file that you can read, with the token and nothing else"))
    })?;
    let token = crate::secret::bare(&text);
    if token.is_empty() || token.len() > 512 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(fail(String::from("it must hold the token and nothing else")));
    }
    Ok(Secret::new(token.to_owned()))
}

/// The operating system's words; the outer ones repeat the address.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", PATIENCE.as_secs());
    }
    crate::tls::innermost(error)
}

/// What stands at a place of an answer, such as `/moves/total`; null where there is nothing.
pub(super) fn at<'a>(answer: &'a Value, place: &str) -> &'a Value {
    answer.pointer(place).unwrap_or(&Value::Null)
}

/// A text of the answer; a dash for none.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or("–").to_owned()
}

/// A power of the answer, as people write it.
pub(super) fn watts(value: &Value) -> String {
    // What nothing bounds is no number.
    let Some(watts) = value.as_f64().filter(|watts| watts.abs() < 1e15) else { return String::from("–") };
    let (scaled, unit) = match watts.abs() {
        large if large >= 999_950.0 => (watts / 1e6, "MW"),
        large if large >= 999.95 => (watts / 1e3, "kW"),
        _ => (watts, "W"),
    };
    let digits = if scaled.abs() >= 99.95 { 0 } else { 1 };
    let number = format!("{scaled:.digits$}");
    let number = number.strip_suffix(".0").unwrap_or(&number);
    format!("{} {unit}", if number == "-0" { "0" } else { number })
}

/// What flows at a connection point, by its direction: `import 1 kW`, `export 8.8 kW`.
pub(super) fn flow(value: &Value) -> String {
    match value.as_f64().filter(|watts| *watts < 0.0) {
        Some(out) => format!("export {}", watts(&(-out).into())),
        None => format!("import {}", watts(value)),
    }
}

/// How long after one point another lies: `0.4 s`, `3 min 20 s`.
fn after(from: &Value, to: &Value) -> String {
    let at = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let Some((from, to)) = at(from).zip(at(to)) else { return String::from("–") };
    let seconds = to.duration_since(from).as_secs_f64();
    let minutes = (seconds / 60.0).floor();
    match seconds {
        short if short < 100.0 => format!("+{short:.1} s"),
        long if long < 36_000.0 => format!("+{minutes:.0} min {:.0} s", (long - minutes * 60.0).floor()),
        long => format!("+{:.1} h", long / 3_600.0),
    }
}

/// Who has given an order, and why: `Aisha: the transformer hums`; nothing where nobody has said so.
pub(super) fn given_by(by: &Value, note: &Value) -> String {
    match (by.as_str(), note.as_str()) {
        (Some(by), Some(note)) => format!("{by}: {note}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => String::new(),
    }
}

/// The orders as a table.
fn listing(answer: &Value, width: Option<usize>) -> String {
    let mut table = Table::new(&[
        ("SOURCE", Align::Left),
        ("ORDER", Align::Left),
        ("CAP", Align::Right),
        ("RECEIVED", Align::Left),
        ("STATE", Align::Left),
        ("APPLIED", Align::Right),
        ("MET", Align::Right),
        ("MEAN", Align::Right),
        ("DEVIATION", Align::Right),
        ("SHORTFALL", Align::Right),
        ("DELIVERED", Align::Right),
        ("AVOIDED", Align::Right),
        ("BY", Align::Left),
    ]);
    let orders = answer["orders"].as_array().map_or(&[][..], Vec::as_slice);
    let mut reasons = String::new();
    for order in orders {
        let received = &order["received_at"];
        let number = |key: &str, words: &dyn Fn(f64) -> String| {
            order[key].as_f64().map_or_else(|| String::from("–"), words)
        };
        if let Some(reason) = order["reason"].as_str() {
            let reason = clean(reason);
            reasons.push_str(&format!("  {} {}: {reason}\n", text(&order["source"]), text(&order["id"])));
        }
        table.row(vec![
            text(&order["source"]),
            text(&order["id"]),
            watts(&order["cap_watts"]),
            day_time(received),
            text(&order["stage"]),
            after(received, &order["applied_at"]),
            after(received, &order["met_at"]),
            watts(&order["mean_watts"]),
            watts(&order["deviation_watts"]),
            watts(&order["shortfall_watts"]),
            number("delivered_ratio", &|ratio| format!("{:.0} %", ratio * 100.0)),
            number("avoided_joules", &|joules| format!("{:.1} kWh", joules / 3.6e6)),
            given_by(&order["by"], &order["remark"]),
        ]);
    }
    match (table.is_empty(), reasons.is_empty()) {
        (true, _) => String::from("no orders yet\n"),
        (false, true) => table.within(width),
        (false, false) => format!("{}\nrefused:\n{reasons}", table.within(width)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn powers_are_written_as_people_do() {
        let written = |watts: f64| super::watts(&json!(watts));
        assert_eq!(written(300_000.0), "300 kW");
        assert_eq!(written(12_340.0), "12.3 kW");
        assert_eq!(written(-850.0), "-850 W");
        assert_eq!(written(999_960.0), "1 MW");
        assert_eq!(written(-0.01), "0 W");
        assert_eq!(super::watts(&Value::Null), "–");
    }

    #[test]
    fn a_record_is_a_row_and_a_refusal_says_why_below() {
        let answer = json!({ "orders": [
            { "source": "utility", "id": "evening", "stage": "acting", "reason": null, "cap_watts": 300_000.0,
              "received_at": "2026-07-01T12:00:00Z", "applied_at": "2026-07-01T12:00:00.2Z",
              "met_at": "2026-07-01T12:03:20Z", "mean_watts": 291_500.0, "deviation_watts": -8_500.0,
              "shortfall_watts": 0.0, "delivered_ratio": 1.04, "avoided_joules": 360e6, "by": "Aisha",
              "remark": "the transformer hums" },
            { "source": "utility", "id": "odd", "stage": "refused", "reason": "a cap of -1 W is below zero",
              "cap_watts": null, "received_at": "2026-07-01T12:00:00Z" },
        ] });
        let words = listing(&answer, None);
        let lines: Vec<&str> = words.lines().collect();
        for cell in [
            "evening",
            "300 kW",
            "+0.2 s",
            "+3 min 20 s",
            "292 kW",
            "-8.5 kW",
            "0 W",
            "104 %",
            "100.0 kWh  Aisha: the transformer hums",
        ] {
            assert!(lines[1].contains(cell), "{cell} is not in {words}");
        }
        assert!(lines[2].contains("refused") && lines[2].ends_with('–'), "{words}");
        assert_eq!(lines[5], "  utility odd: a cap of -1 W is below zero");
        assert_eq!(listing(&json!({ "orders": [] }), None), "no orders yet\n");
    }

    #[test]
    fn a_daemon_that_listens_everywhere_is_called_on_this_machine() {
        assert_eq!(dial("0.0.0.0:9842".parse().unwrap()).to_string(), "127.0.0.1:9842");
        assert_eq!(dial("[::]:9842".parse().unwrap()).to_string(), "[::1]:9842");
        assert_eq!(dial("10.0.0.1:9842".parse().unwrap()).to_string(), "10.0.0.1:9842");
    }

    #[test]
    fn an_address_that_is_none_is_told() {
        for wrong in ["", "127.0.0.1:9842", "ftp://x", "http://user:secret@x/"] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }
}
