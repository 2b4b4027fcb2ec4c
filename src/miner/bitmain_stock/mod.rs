//! Bitmain's own firmware for Antminers: CGI programs over HTTP with digest authentication, port 80.
//!
//! The firmware has no power target. Its configuration has a mode: 0 normal, 1 sleep, 2 high, 3 low. A change of mode
//! is a write of the whole configuration, restarts mining, and takes 10 to 120 s to be answered; so this miner is an
//! on/off block that is changed rarely. The configuration is read, its mode is changed, and all else goes back byte
//! for byte (`config.rs`). A write that would change nothing is not made.
//!
//! What low draws the firmware does not say. A target of full power (99 % of the rated power or more) means normal,
//! anything less means low; both only where the control law asks for it.
//!
//! Most air-cooled models report no power at all, which is then unsupported: count them by a sub-meter or by their
//! model. Where `stats.cgi` has one, its field is `chain_power`, `power` or `watt`.
//!
//! Sources: shapes of `stats.cgi`, `summary.cgi`, `get_miner_conf.cgi`, `set_miner_conf.cgi` and the modes as known to
//! asic-rs 0.8.6 and pyasic 0.7x; which key the firmware heeds, and that it answers after about 21 s, from asic-rs #245,
//! #249, #260, #312 and #325.
//!
//! The whole list of what can be sent is `Request` below.

mod config;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::antminer_web::{Answer, Web};
use super::digest::Challenge;
use super::fields::{self, measured, words};
use super::pulse::Pulse;
use super::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::clock::{Clock, Moment};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::units::{Hashrate, Watts};
use config::{Config, Mode};

/// The account of the firmware as it is delivered.
const DEFAULT_ACCOUNT: &str = "root";
/// After a refused password no other try is made for this long.
const LOGIN_BACK_OFF: Duration = Duration::from_secs(60);
/// The write is given this many time limits, because the firmware answers it late.
const WRITE_PATIENCE: u32 = 6;
/// The configuration is read every so many polls of a miner that hashes.
const CONFIG_EVERY: u32 = 12;
/// So many polls after a command read everything.
const FULL_READS_AFTER_COMMAND: u32 = 6;
/// A miner that should hash and has not for this long since its start is asked for its faults.
const START_LIMIT: f64 = 900.0;
/// From this share of the rated power on a target means full power.
const FULL: f64 = 0.99;
/// What the firmware says while its mining software is down.
const DOWN: &[u8] = b"Socket connect failed";

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Stats,
    Summary,
    GetConfig,
    SetConfig,
}

impl Request {
    const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats.cgi",
            Self::Summary => "summary.cgi",
            Self::GetConfig => "get_miner_conf.cgi",
            Self::SetConfig => "set_miner_conf.cgi",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::SetConfig => Method::POST,
            _ => Method::GET,
        }
    }
}

/// What `stats.cgi` says, in our units.
#[derive(Clone, Copy, Debug, Default)]
struct Stats {
    rate: Option<f64>,
    power: Option<f64>,
    elapsed: Option<f64>,
    mode: Option<Mode>,
}

/// Speaks with one miner.
pub struct BitmainStock {
    web: Web,
    credentials: Option<Credentials>,
    clock: Clock,
    rated: Watts,
    challenge: Option<Challenge>,
    /// No login is tried before this.
    no_login_until: Moment,
    /// By the configuration.
    mode: Option<Mode>,
    /// By the mining software; `None` where it does not say.
    running: Option<Mode>,
    /// The latest mode that was accepted and the power that it was asked for.
    sent: Option<(Mode, Watts)>,
    elapsed: Option<f64>,
    polls: u32,
    pulse: Pulse,
    full_reads_left: u32,
}

impl BitmainStock {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: Web::new(connection, http),
            credentials: connection.credentials.clone(),
            clock: Clock::start(),
            rated: connection.rated,
            challenge: None,
            no_login_until: Moment::START,
            mode: None,
            running: None,
            sent: None,
            elapsed: None,
            polls: 0,
            pulse: Pulse::default(),
            full_reads_left: 0,
        }
    }

    fn malformed(&self, request: Request, reason: impl Into<String>) -> DriverError {
        self.web.place().malformed(request.name(), reason)
    }

    fn rejected(&self, request: Request, reason: Rejection) -> DriverError {
        self.web.place().rejected(request.name(), reason)
    }

    /// One request, with the answer to the server's challenge where there was one.
    async fn exchange(&mut self, request: Request, body: Option<&str>) -> Result<Answer, DriverError> {
        let name = request.name();
        let path = format!("/cgi-bin/{name}");
        let mut authorization = None;
        if let (Some(challenge), Some(account)) = (&mut self.challenge, &self.credentials) {
            let username = account.username.as_deref().unwrap_or(DEFAULT_ACCOUNT);
            let fresh = format!("{:016x}", rand::random::<u64>());
            let method = request.method();
            let text =
                challenge.authorize(username, account.password.expose(), method.as_str(), &path, &fresh);
            let mut value = HeaderValue::from_str(&text).map_err(|_| {
                self.web.place().malformed(name, "its challenge cannot be answered in a header")
            })?;
            value.set_sensitive(true);
            authorization = Some(value);
        }
        let patience = if request == Request::SetConfig { WRITE_PATIENCE } else { 1 };
        self.web
            .exchange(name, request.method(), &path, patience, |mut builder| {
                if let Some(value) = authorization {
                    builder = builder.header(AUTHORIZATION, value);
                }
                match body {
                    Some(body) => builder.header(CONTENT_TYPE, "application/json").body(body.to_owned()),
                    None => builder,
                }
            })
            .await
    }

    /// Makes a request, logged in. A request that was answered with 401 was not carried out, so it may be repeated
    /// once, with the answer to the new challenge.
    async fn call(&mut self, request: Request, body: Option<&str>) -> Result<Vec<u8>, DriverError> {
        if self.credentials.is_none() || self.clock.now() < self.no_login_until {
            return Err(self.rejected(request, Rejection::Credentials));
        }
        let mut answer = self.exchange(request, body).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.challenge = Challenge::of(&answer.headers);
            if self.challenge.is_none() {
                return Err(self.malformed(request, "it asks for a login that is no known digest"));
            }
            answer = self.exchange(request, body).await?;
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            self.challenge = None;
            self.no_login_until = self.clock.now() + LOGIN_BACK_OFF;
            return Err(self.rejected(request, Rejection::Credentials));
        }
        if !answer.status.is_success() {
            let password = self.credentials.as_ref().map(|account| account.password.expose());
            let secrets = [password.unwrap_or_default()];
            return Err(self.web.refusal(request.name(), &answer, &["msg", "message"], &secrets));
        }
        Ok(answer.body)
    }

    /// Reads `stats.cgi`; `None` while the mining software is down, as it is in sleep on some firmware.
    async fn read_stats(&mut self) -> Result<Option<Stats>, DriverError> {
        let request = Request::Stats;
        let body = self.call(request, None).await?;
        let text = body.trim_ascii();
        if text.is_empty() || text.starts_with(DOWN) {
            return Ok(None);
        }
        let reply = fields::parse(text).map_err(|reason| self.malformed(request, reason))?;
        stats(&reply).map(Some).map_err(|reason| self.malformed(request, reason))
    }

    async fn read_config(&mut self) -> Result<Config, DriverError> {
        let request = Request::GetConfig;
        let body = self.call(request, None).await?;
        let config = Config::parse(&body).map_err(|reason| self.malformed(request, reason))?;
        self.mode = Some(config.mode());
        Ok(config)
    }

    /// What the miner complains about, in its words.
    async fn read_fault(&mut self) -> Option<Arc<str>> {
        let body = self.call(Request::Summary, None).await.ok()?;
        let reply = fields::parse(&body).ok()?;
        let list = reply.pointer("/SUMMARY/0/status")?.as_array()?;
        let bad = list.iter().find(|entry| {
            fields::text(entry, "status").is_some_and(|status| !status.eq_ignore_ascii_case("s"))
        })?;
        let text = fields::text(bad, "msg")
            .filter(|text| !text.trim().is_empty())
            .or_else(|| fields::text(bad, "type"))?;
        Some(Arc::from(words(text, &[])))
    }

    /// Sets the mode, unless it is in force already.
    async fn set_mode(&mut self, mode: Mode) -> Result<(), DriverError> {
        let config = self.read_config().await?;
        if config.mode() == mode && self.running.is_none_or(|running| running == mode) {
            return Ok(());
        }
        let request = Request::SetConfig;
        let body = config.with(mode).map_err(|reason| {
            self.rejected(Request::GetConfig, Rejection::Other(words(&reason, &[]).into()))
        })?;
        // Until it is read back: a mode that was written may or may not have been taken.
        self.mode = None;
        self.running = None;
        let body = self.call(request, Some(&body)).await?;
        let reply = fields::parse(&body).map_err(|reason| self.malformed(request, reason))?;
        let success = match fields::text(&reply, "stats") {
            Some(stats) => stats.eq_ignore_ascii_case("success"),
            None => return Err(self.malformed(request, "its `stats` is missing")),
        };
        if success {
            return Ok(());
        }
        let code = fields::text(&reply, "code").unwrap_or("no code");
        let message = fields::text(&reply, "msg").unwrap_or("no reason given");
        let password = self.credentials.as_ref().map(|account| account.password.expose());
        Err(self.web.place().other(
            request.name(),
            &format!("{code}: {message}"),
            &[password.unwrap_or_default()],
        ))
    }
}

/// Reads `stats.cgi`: the web's own shape with one entry, or cgminer's with a head before it.
fn stats(reply: &Value) -> Result<Stats, String> {
    let list = reply.get("STATS").and_then(Value::as_array).ok_or("`STATS` is missing")?;
    let row = list
        .iter()
        .find(|row| row.get("elapsed").is_some() || row.get("Elapsed").is_some())
        .ok_or("`STATS` has no entry with `elapsed`")?;
    let unit = fields::text(row, "rate_unit").unwrap_or("GH/s").trim();
    let factor = match unit.chars().next().map(|letter| letter.to_ascii_uppercase()) {
        Some('K') => 1e3,
        Some('M') => 1e6,
        Some('G') => 1e9,
        Some('T') => 1e12,
        Some('P') => 1e15,
        _ => return Err("`rate_unit` is not known".to_owned()),
    };
    // "3250 W"
    let chain_power = fields::text(row, "chain_power")
        .and_then(|text| text.split_whitespace().next())
        .and_then(|text| text.parse().ok())
        .filter(|power: &f64| power.is_finite());
    let power = match chain_power {
        Some(power) => Some(power),
        None => fields::first_number(row, &["power", "Power", "watt"])?,
    };
    let rate = fields::first_number(row, &["rate_5s", "GHS 5s", "rate_avg", "GHS av"])?;
    Ok(Stats {
        rate: rate.map(|rate| rate * factor),
        power,
        elapsed: fields::first_number(row, &["elapsed", "Elapsed"])?,
        mode: row.get("miner-mode").and_then(Mode::read),
    })
}

#[async_trait]
impl Driver for BitmainStock {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let found = self.read_stats().await?;
        let said = found.unwrap_or_default();
        let hashing = self.pulse.beats(said.rate);
        let restarted = matches!((self.elapsed, said.elapsed), (Some(before), Some(now)) if now < before);
        self.elapsed = said.elapsed.or(self.elapsed);
        self.running = said.mode;
        let full = self.mode.is_none()
            || restarted
            || !hashing
            || self.full_reads_left > 0
            || said.mode.is_some_and(|mode| Some(mode) != self.mode)
            || self.polls.is_multiple_of(CONFIG_EVERY);
        self.polls = self.polls.wrapping_add(1);
        self.full_reads_left = self.full_reads_left.saturating_sub(1);
        if full {
            self.read_config().await?;
        }
        let asleep = self.mode == Some(Mode::Sleep);
        let activity = if hashing {
            // Also where the mode says sleep: it has not followed yet.
            Activity::Hashing
        } else if asleep {
            Activity::Asleep
        } else if said.elapsed.is_some_and(|elapsed| elapsed > START_LIMIT) {
            self.read_fault().await.map_or(Activity::Starting, Activity::Fault)
        } else {
            Activity::Starting
        };
        let target = match (self.mode, self.sent) {
            (Some(Mode::Sleep), _) => Measured::Value(Target::Sleep),
            (Some(mode), Some((sent, power))) if sent == mode => Measured::Value(Target::Power(power)),
            (Some(Mode::Normal), _) => Measured::Value(Target::Power(self.rated)),
            // What these draw the firmware does not say.
            (Some(Mode::Low | Mode::High) | None, _) => Measured::Unavailable,
        };
        let down = found.is_none();
        Ok(MinerStatus {
            power: match measured(said.power, down, Watts::saturating) {
                // A control board that answers draws something.
                Measured::Value(power) if power <= Watts::ZERO => Measured::Unavailable,
                power => power,
            },
            hashrate: measured(said.rate, down, Hashrate::saturating),
            activity,
            target,
            range: None,
            points: None,
            uptime: said.elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let mode = match target {
            Target::Sleep => Mode::Sleep,
            Target::Power(power) if power >= self.rated.scaled(FULL) => Mode::Normal,
            Target::Power(_) => Mode::Low,
        };
        self.full_reads_left = FULL_READS_AFTER_COMMAND;
        self.set_mode(mode).await?;
        if let Target::Power(power) = target {
            self.sent = Some((mode, power));
        }
        Ok(())
    }

    async fn close(&mut self) {
        // A digest login has no end; the connection belongs to the pool.
        self.challenge = None;
    }
}
