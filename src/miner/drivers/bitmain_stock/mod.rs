//! Bitmain's own firmware for Antminers: CGI programs over HTTP with digest authentication, port 80.
//!
//! The firmware has no power target. Its configuration has a mode: 0 normal, 1 sleep, 2 high, 3 low. A change of mode
//! is a write of the whole configuration, restarts mining, and takes 10 to 120 s to be answered; so this miner is an
//! on/off block that is changed rarely. The configuration is read, its mode is changed, and all else goes back byte
//! for byte (`config.rs`). A write that would change nothing is not made.
//!
//! What low draws the firmware does not say, and what 2 is depends on the model (on an S19k Pro the efficient mode). A target
//! of full power (99 % of the rated power or more) means the mode that the operator chose, as far as it was seen since the
//! start of the program, else normal; anything less means low. So a miner wakes in the mode in which it was put to sleep.
//!
//! A miner that sleeps, and one whose mining software starts, leave things out: `"STATS": []` or `{}`, or a text instead of
//! JSON. Its configuration still tells the mode, so it is asleep or starting and never unreachable for that.
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

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields::{self, words};
use crate::miner::reply::pulse::Pulse;
use crate::miner::reply::said::Said;
use crate::miner::wire::antminer_web::{Answer, Web};
use crate::miner::wire::digest::Challenge;
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};
use config::Config;

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "bitmain-stock",
    needs_password: true,
    new: |connection, http| Box::new(BitmainStock::new(connection, http)),
    traits: Traits {
        quantum: Quantum::Fraction(0.01),
        class: Class::OnOff,
        restarts: true,
        persists: true,
        // Measured: 21 s. Others who write to it wait for 30 to 35 s.
        answers: AnswerWithin { set: Duration::from_secs(30), switch: Duration::from_secs(30) },
        response: Response {
            // The write takes about 21 s to be answered (measured on an S19j Pro, asic-rs #245); the rest
            // are cautious guesses.
            dead_time_down: Duration::from_secs(25),
            dead_time_up: Duration::from_secs(25),
            ramp_down: WattsPerSecond::whole(500),
            ramp_up: WattsPerSecond::whole(50),
            start_time: Duration::from_secs(240),
            starts_at_full: true,
            start_overshoot: 0.05,
            caps: false,
        },
        // Each change restarts mining from cold and writes flash: rarely.
        cost: ChangeCost {
            adjust: Duration::from_secs(300),
            sleep: Duration::from_secs(600),
            min_interval: Duration::from_secs(900),
        },
        port: 80,
        username: Some("root"),
    },
};
pub(crate) use config::Mode;

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

/// What `stats.cgi` says, or `stats` of the cgminer API.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    /// In hashes a second; none where it hashes something else than Bitcoin.
    rate: Option<f64>,
    power: Option<f64>,
    elapsed: Option<f64>,
    mode: Option<Mode>,
}

impl Stats {
    /// Reads it; `None` where there is nothing to read, as while the mining software is down.
    ///
    /// # Errors
    /// When it is no such answer at all.
    pub(crate) fn read(reply: &Value) -> Result<Option<Self>, String> {
        let list = match reply.get("STATS") {
            Some(Value::Array(list)) => list.as_slice(),
            Some(row @ Value::Object(_)) => std::slice::from_ref(row),
            // Some say that their mining software is down in an envelope of its own.
            None if reply.get("STATUS").is_some() => &[],
            _ => return Err("`STATS` is missing".to_owned()),
        };
        let is_row = |row: &&Value| {
            fields::is_there(
                row,
                &["elapsed", "Elapsed", "rate_5s", "GHS 5s", "rate_avg", "GHS av", "miner-mode"],
            )
        };
        let Some(row) = list.iter().find(is_row) else { return Ok(None) };
        let model = ["/INFO/type", "/INFO/Type"].iter().find_map(|place| reply.pointer(place)?.as_str());
        let model =
            model.or_else(|| list.iter().find_map(|row| fields::text(row, "Type"))).unwrap_or_default();
        let unit = fields::text(row, "rate_unit").unwrap_or("GH/s").trim();
        let factor = match unit.to_ascii_uppercase().trim_end_matches("/S") {
            "KH" => Some(1e3),
            "MH" => Some(1e6),
            "GH" => Some(1e9),
            "TH" => Some(1e12),
            "PH" => Some(1e15),
            // "KSol/s" and others count something else.
            _ => None,
        };
        let factor = factor.filter(|_| crate::miner::reply::models::hashes_bitcoin(model));
        let keys = ["rate_5s", "GHS 5s", "rate_30m", "rate_avg", "GHS av"];
        let rates = keys.map(|key| fields::number(row, key).and_then(|rate| Some(rate * factor?)));
        Ok(Some(Self {
            rate: fields::agreed(rates),
            power: fields::first_number(row, &["chain_power", "power", "Power", "watt"]),
            elapsed: fields::first_number(row, &["elapsed", "Elapsed"]),
            mode: row.get("miner-mode").and_then(Mode::read),
        }))
    }

    /// Whether it says its mode itself.
    pub(crate) const fn tells_mode(&self) -> bool {
        self.mode.is_some()
    }

    /// What it means beside the mode of the configuration, or without one.
    pub(crate) fn said(found: Option<Self>, mode: Option<Mode>) -> Said {
        let stats = found.unwrap_or_default();
        let down = found.is_none();
        let activity = if stats.rate.is_some_and(|rate| rate > 0.0) {
            // Also where the mode says sleep: it has not followed yet.
            Activity::Hashing
        } else if mode.or(stats.mode) == Some(Mode::Sleep) {
            Activity::Asleep
        } else {
            Activity::Starting
        };
        Said {
            // A control board that answers draws something.
            power: fields::live_watts(stats.power, down),
            hashrate: fields::hashes(stats.rate, down || mode == Some(Mode::Sleep)),
            activity,
        }
    }
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
    /// The mode in which it last ran that was not this program's doing.
    operators: Option<Mode>,
    /// It takes the mode the other way than it gives it, as text for a number or the reverse.
    other_way: bool,
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
            operators: None,
            other_way: false,
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
        let reply = self.web.place().json(request.name(), text)?;
        Stats::read(&reply).map_err(|reason| self.malformed(request, reason))
    }

    async fn read_config(&mut self) -> Result<Config, DriverError> {
        let request = Request::GetConfig;
        let body = self.call(request, None).await?;
        let config = Config::parse(&body).map_err(|reason| self.malformed(request, reason))?;
        let mode = config.mode();
        if mode != Mode::Sleep && self.sent.is_none_or(|(sent, _)| sent != mode) {
            self.operators = Some(mode);
        }
        self.mode = Some(mode);
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
    async fn set_mode(&mut self, wanted: impl Fn(&Self) -> Mode) -> Result<Mode, DriverError> {
        let config = self.read_config().await?;
        let mode = wanted(self);
        if config.mode() == mode && self.running.is_none_or(|running| running == mode) {
            return Ok(mode);
        }
        let request = Request::SetConfig;
        let compose = |other| {
            config.with(mode, other).map_err(|reason| {
                self.rejected(Request::GetConfig, Rejection::Other(words(&reason, &[]).into()))
            })
        };
        let (body, other) = (compose(self.other_way)?, compose(!self.other_way)?);
        // Until it is read back: a mode that was written may or may not have been taken.
        self.mode = None;
        self.running = None;
        let body = match self.call(request, Some(&body)).await {
            // Not carried out: this firmware wants the mode as text where it gave a number, or the reverse.
            Err(error) if is_bad_request(&error) => {
                let body = self.call(request, Some(&other)).await?;
                self.other_way = !self.other_way;
                body
            }
            result => result?,
        };
        let reply = self.web.place().json(request.name(), &body)?;
        let success = match fields::text(&reply, "stats") {
            Some(stats) => stats.eq_ignore_ascii_case("success"),
            None => return Err(self.malformed(request, "its `stats` is missing")),
        };
        if success {
            return Ok(mode);
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

/// Whether the firmware did not understand what was written.
fn is_bad_request(error: &DriverError) -> bool {
    matches!(error, DriverError::Rejected { reason: Rejection::Other(text), .. } if text.starts_with("HTTP 400"))
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let mode = Mode::of(reply);
    Stats::read(reply).map(|found| vec![Stats::said(found, mode)]).unwrap_or_default()
}

/// The configuration as it comes and goes, for the fuzz targets: whatever is written differs in its mode alone.
#[cfg(any(test, fuzzing))]
pub(crate) fn rewrite(bytes: &[u8]) {
    let Ok(config) = Config::parse(bytes) else { return };
    for mode in [Mode::Sleep, Mode::Low] {
        if let Ok(text) = config.with(mode, false) {
            assert!(Config::parse(text.as_bytes()).is_ok_and(|written| written.mode() == mode));
        }
    }
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
            match self.read_config().await {
                // It cannot be commanded then; what it does it says all the same.
                Err(DriverError::Malformed { .. }) if found.is_some() => self.mode = None,
                result => drop(result?),
            }
        }
        let Said { power, hashrate, activity } = Stats::said(found, self.mode);
        let activity = match activity {
            Activity::Hashing if !hashing && self.mode == Some(Mode::Sleep) => Activity::Asleep,
            Activity::Hashing if !hashing => Activity::Starting,
            Activity::Starting if said.elapsed.is_some_and(|elapsed| elapsed > START_LIMIT) => {
                self.read_fault().await.map_or(Activity::Starting, Activity::Fault)
            }
            activity => activity,
        };
        let target = match (self.mode, self.sent) {
            (Some(Mode::Sleep), _) => Measured::Value(Target::Sleep),
            (Some(mode), Some((sent, power))) if sent == mode => Measured::Value(Target::Power(power)),
            (Some(Mode::Normal), _) => Measured::Value(Target::Power(self.rated)),
            // What these draw the firmware does not say.
            (Some(Mode::Low | Mode::High) | None, _) => Measured::Unavailable,
        };
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: None,
            points: None,
            uptime: said.elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let full = self.rated.scaled(FULL);
        self.full_reads_left = FULL_READS_AFTER_COMMAND;
        let mode = self
            .set_mode(|this| match target {
                Target::Sleep => Mode::Sleep,
                Target::Power(power) if power < full => Mode::Low,
                // From sleep it wakes as the operator ran it; awake, low is what full power is an end of.
                Target::Power(_) => match (this.mode, this.operators) {
                    (Some(Mode::Sleep), Some(mode)) | (_, Some(mode @ Mode::High)) => mode,
                    _ => Mode::Normal,
                },
            })
            .await?;
        if let Target::Power(power) = target {
            self.sent = Some((mode, power));
        }
        Ok(())
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if self.credentials.is_none() {
            return Ok(false);
        }
        self.call(Request::GetConfig, None).await?;
        Ok(true)
    }

    async fn close(&mut self) {
        // A digest login has no end; the connection ends with the driver.
        self.challenge = None;
    }
}
