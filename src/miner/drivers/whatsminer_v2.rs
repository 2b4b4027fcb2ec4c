//! MicroBT Whatsminer, API 2.x on TCP 4028.
//!
//! One JSON request per connection; the reply ends with a NUL or the end of the stream. Reads are plain text.
//! Commands are encrypted under a key that comes from the admin password and a salt that the miner gives with
//! `get_token`; a token lives for 30 minutes and a miner has few of them, so one is kept and reused.
//!
//! Sources: MicroBT "WhatsMiner API 2.0.x"; reply shapes as captured from miners by the asic-rs, pyasic and
//! MiningOS projects. Both `"command"` and the document's `"cmd"` are accepted as the name of a request.
//!
//! Power is set with `set_power_pct`: about a second either way, without a restart, relative to the stable power
//! after the start. It is lost when the mining software restarts. Firmware without it gets `set_power_pct_v2`, which
//! takes minutes. `set_power` in watts is documented too thinly to be used. Nothing that restarts mining is ever sent,
//! neither `adjust_power_limit` nor a power mode; the whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::drivers::whatsminer_crypto::{Cipher, md5_crypt};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::percent::{PercentBase, whole_percent};
use crate::miner::reply::said::Said;
use crate::miner::wire::Place;
use crate::miner::wire::exchange;
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "whatsminer-v2",
    needs_password: true,
    new: |connection, _| Box::new(WhatsminerV2::new(connection)),
    traits: Traits {
        quantum: Quantum::Fraction(0.01),
        class: Class::Continuous,
        restarts: false,
        // The percentage is meant as temporary, and is gone after a reboot.
        persists: false,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(1),
            dead_time_up: Duration::from_secs(1),
            ramp_down: WattsPerSecond::whole(2_000),
            ramp_up: WattsPerSecond::whole(1_000),
            start_time: Duration::from_secs(60),
            // The percent takes effect once tuning has ended (vendor's API 3 document); until then the
            // miner may run at its limit.
            starts_at_full: true,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(1),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(2),
        },
        port: 4028,
        username: None,
    },
};

/// A token lives for 30 minutes; it is given up a little earlier, so that it does not end on its way.
const TOKEN_LIFE: Duration = Duration::from_secs(28 * 60);
/// How long no token is asked for after the miner said that it has none left, or refused a command under a fresh
/// one: asking again would not help and would use up the few tokens that there are.
const TOKEN_BACK_OFF: Duration = Duration::from_secs(60);
/// While a miner hashes steadily its summary alone tells all but the target; the rest is read every so many polls.
const FULL_READ_EVERY: u32 = 6;
/// So many polls after a command read everything.
const FULL_READS_AFTER_COMMAND: u32 = 5;
/// A miner that should hash and has not for this long since its start is asked for its error codes.
const START_LIMIT: f64 = 900.0;

/// Where API 3 listens.
const NEXT_PORT: u16 = 4433;

/// Command done.
const CODE_OK: i64 = 131;
/// Token given.
const CODE_TOKEN: i64 = 134;
/// The token is wrong or has ended.
const CODE_BAD_TOKEN: i64 = 135;
/// More tokens than the miner gives out.
const CODE_TOO_MANY_TOKENS: i64 = 136;
/// Permission denied: the write interface is off.
const CODE_DENIED: i64 = 45;
/// Not JSON: what a miner says that cannot decrypt a command, because the password differs.
const CODE_BAD_JSON: i64 = 23;
/// No such command.
const CODE_NO_COMMAND: i64 = 14;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Summary,
    Status,
    ErrorCodes,
    Token,
    SetPercent(u8),
    /// The same over minutes.
    SetPercentGently(u8),
    PowerOff,
    PowerOn,
}

impl Request {
    const fn name(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Status => "status",
            Self::ErrorCodes => "get_error_code",
            Self::Token => "get_token",
            Self::SetPercent(_) => "set_power_pct",
            Self::SetPercentGently(_) => "set_power_pct_v2",
            Self::PowerOff => "power_off",
            Self::PowerOn => "power_on",
        }
    }

    fn body(self) -> Value {
        match self {
            Self::SetPercent(percent) | Self::SetPercentGently(percent) => {
                json!({ "command": self.name(), "percent": percent.to_string() })
            }
            // Answers before it switches off; the vendor wants the truth value as text.
            Self::PowerOff => json!({ "command": self.name(), "respbefore": "true" }),
            _ => json!({ "command": self.name() }),
        }
    }
}

/// A token and the cipher that goes with it.
struct Token {
    sign: String,
    cipher: Cipher,
    until: Moment,
}

/// A reply whose envelope was read: the code and the whole value.
struct Reply {
    success: bool,
    code: Option<i64>,
    value: Value,
}

impl Reply {
    /// The words of the reply, where it has any.
    fn message(&self) -> &str {
        fields::text(&self.value, "Msg")
            .or_else(|| self.value.pointer("/STATUS/0/Msg").and_then(Value::as_str))
            .or_else(|| fields::text(&self.value, "Description"))
            .unwrap_or_default()
    }
}

/// What `status` said last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch {
    off: Option<bool>,
    reason: String,
    percent: Option<u8>,
    limit: Option<Watts>,
}

impl Switch {
    /// Reads the answer to `status`; one without a `Msg` says nothing.
    pub(crate) fn read(reply: &Value) -> Self {
        let message = reply.get("Msg").unwrap_or(&Value::Null);
        let watts = fields::number(message, "power_limit_set");
        Self {
            // The second is its name in firmware before 2022.
            off: fields::flag(message, "mineroff").or_else(|| fields::flag(message, "btmineroff")),
            reason: fields::text(message, "mineroff_reason").unwrap_or_default().to_owned(),
            percent: fields::number(message, "power_pct").and_then(whole_percent),
            limit: watts.filter(|watts| *watts > 0.0).map(Watts::saturating),
        }
    }
}

/// What `summary` says, in our units.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    power: Option<f64>,
    has_power: bool,
    limit: Option<f64>,
    /// In hashes a second.
    hashrate: Option<f64>,
    elapsed: Option<f64>,
    tuned: Option<bool>,
}

impl Summary {
    /// Reads `summary`: the cgminer shape `SUMMARY[0]`, or `Msg` as firmware of API 2.2 has it. `None` where it is there and
    /// empty, as while the mining software starts.
    ///
    /// # Errors
    /// When it is no such answer at all.
    pub(crate) fn read(reply: &Value) -> Result<Option<Self>, String> {
        let row = match reply.get("SUMMARY") {
            Some(Value::Array(rows)) => rows.first(),
            Some(_) => return Err("`SUMMARY` is not a list".to_owned()),
            None => Some(fields::object(reply, "Msg").map_err(|_| "`SUMMARY` is missing")?),
        };
        let Some(row) = row else { return Ok(None) };
        if !row.is_object() {
            return Err("`SUMMARY` does not hold an object".to_owned());
        }
        // The real-time reading where there is one; `Power` is averaged on firmware that has both.
        let powers = ["Power_RT", "Power"];
        // `HS RT` counts megahashes like the others; on some firmware it does not.
        let rates = ["HS RT", "MHS 5s", "MHS 1m", "MHS av"];
        Ok(Some(Self {
            power: fields::first_number(row, &powers),
            has_power: fields::is_there(row, &powers),
            limit: fields::number(row, "Power Limit"),
            hashrate: fields::agreed(rates.map(|key| fields::number(row, key).map(|rate| rate * 1e6))),
            elapsed: fields::number(row, "Elapsed"),
            tuned: match fields::number(row, "Upfreq Complete") {
                Some(complete) => Some(complete > 0.5),
                None => fields::flag(row, "Hash Stable"),
            },
        }))
    }

    fn is_old(&self) -> bool {
        self.elapsed.is_some_and(|elapsed| elapsed > START_LIMIT)
    }
}

/// The power limit that the device says.
pub(crate) fn limit(summary: Option<&Summary>, switch: &Switch) -> Option<Watts> {
    let shown = summary.and_then(|summary| summary.limit).filter(|watts| *watts > 0.0);
    switch.limit.or(shown.map(Watts::saturating))
}

/// What both mean. Without a summary the mining software is down, or starts.
pub(crate) fn said(summary: Option<&Summary>, switch: &Switch) -> Said {
    let missing = summary.is_none();
    let values = summary.copied().unwrap_or_default();
    let hashing = values.hashrate.is_some_and(|rate| rate > 0.0);
    let activity = match switch.off {
        Some(true) if is_fault(&switch.reason) => {
            Activity::Fault(Arc::from(fields::words(&switch.reason, &[])))
        }
        Some(true) => Activity::Asleep,
        _ if missing || !hashing || (values.tuned == Some(false) && !values.is_old()) => Activity::Starting,
        _ => Activity::Hashing,
    };
    Said {
        power: fields::watts(values.power, missing || values.has_power),
        hashrate: fields::hashes(values.hashrate, true),
        activity,
    }
}

/// Speaks API 2.x with one miner.
pub struct WhatsminerV2 {
    place: Place,
    credentials: Option<Credentials>,
    clock: Clock,
    token: Option<Token>,
    /// Why no token is asked for at present, and until when.
    hold: Option<(Moment, Rejection)>,
    percent: PercentBase,
    /// The firmware has only the slow command for a percentage.
    gentle: bool,
    switch: Option<Switch>,
    /// Asleep by its own word or by our own accepted command; `None` before either.
    asleep: Option<bool>,
    elapsed: Option<f64>,
    /// Polls until the next one that reads everything.
    full_read_in: u32,
    full_reads_left: u32,
}

impl WhatsminerV2 {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Self {
        Self {
            place: Place::new(connection),
            credentials: connection.credentials.clone(),
            clock: Clock::start(),
            token: None,
            hold: None,
            percent: PercentBase::new(connection.rated),
            gentle: false,
            switch: None,
            asleep: None,
            elapsed: None,
            full_read_in: 0,
            full_reads_left: 0,
        }
    }

    /// One request on one connection.
    async fn exchange(&self, request: Request, bytes: &[u8]) -> Result<Vec<u8>, DriverError> {
        exchange::over_tcp(&self.place, request.name(), bytes).await
    }

    /// Reads the envelope of a reply: `STATUS` is a letter, or a list with one object.
    fn envelope(&self, request: Request, value: Value) -> Result<Reply, DriverError> {
        let inner = value.pointer("/STATUS/0");
        let letter =
            inner.and_then(|inner| fields::text(inner, "STATUS")).or_else(|| fields::text(&value, "STATUS"));
        let success = match letter {
            Some("S" | "I") => true,
            Some("E" | "F" | "W") => false,
            Some(_) => return Err(self.place.malformed(request.name(), "its `STATUS` is unknown")),
            None => return Err(self.place.malformed(request.name(), "its `STATUS` is missing")),
        };
        let code =
            inner.and_then(|inner| inner.get("Code")).or_else(|| value.get("Code")).and_then(Value::as_i64);
        Ok(Reply { success, code, value })
    }

    /// Asks without a token.
    async fn ask(&self, request: Request) -> Result<Reply, DriverError> {
        let bytes = self.exchange(request, request.body().to_string().as_bytes()).await?;
        self.envelope(request, self.place.json(request.name(), &bytes)?)
    }

    /// Asks without a token and takes only yes for an answer.
    async fn ask_ok(&self, request: Request) -> Result<Reply, DriverError> {
        let reply = self.ask(request).await?;
        if reply.success { Ok(reply) } else { Err(self.refusal(request, &reply)) }
    }

    /// What a refusal means.
    fn refusal(&self, request: Request, reply: &Reply) -> DriverError {
        let message = reply.message();
        let lower = message.to_ascii_lowercase();
        let sealed = !matches!(request, Request::Summary | Request::Status | Request::ErrorCodes);
        let reason = match reply.code {
            Some(CODE_BAD_TOKEN | CODE_BAD_JSON) if sealed => Rejection::Credentials,
            Some(CODE_TOO_MANY_TOKENS) => Rejection::Busy,
            Some(CODE_DENIED) => Rejection::WriteDisabled,
            // Older firmware reports these under the general error code.
            _ if lower.contains("access write") || lower.contains("permission") => Rejection::WriteDisabled,
            _ if lower.contains("over max") => Rejection::Busy,
            Some(CODE_NO_COMMAND) => Rejection::Unsupported,
            _ => {
                let password = self.credentials.as_ref().map(|account| account.password.expose());
                let sign = self.token.as_ref().map(|token| token.sign.as_str());
                let secrets = [password.unwrap_or_default(), sign.unwrap_or_default()];
                return self.place.other(request.name(), message, &secrets);
            }
        };
        self.place.rejected(request.name(), reason)
    }

    /// Makes sure that there is a token; says whether it had to be fetched.
    async fn ensure_token(&mut self) -> Result<bool, DriverError> {
        let name = Request::Token.name();
        let now = self.clock.now();
        if self.token.as_ref().is_some_and(|token| now < token.until) {
            return Ok(false);
        }
        self.token = None;
        let Some(account) = self.credentials.clone() else {
            return Err(self.place.rejected(name, Rejection::Credentials));
        };
        if let Some((_, reason)) = self.hold.as_ref().filter(|(until, _)| now < *until) {
            return Err(self.place.rejected(name, reason.clone()));
        }
        let reply = self.ask(Request::Token).await?;
        let given = reply.success && matches!(reply.code, Some(CODE_TOKEN | CODE_OK) | None);
        if !given {
            let error = self.refusal(Request::Token, &reply);
            self.hold_back(&error);
            return Err(error);
        }
        let message =
            fields::object(&reply.value, "Msg").map_err(|reason| self.place.malformed(name, reason))?;
        let part = |key: &str| {
            let text = match message.get(key) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                _ => None,
            };
            text.ok_or_else(|| self.place.malformed(name, format!("its `{key}` is missing")))
        };
        let (time, salt, new_salt) = (part("time")?, part("salt")?, part("newsalt")?);
        let key = md5_crypt(account.password.expose(), &salt);
        let sign = md5_crypt(&format!("{key}{time}"), &new_salt);
        self.token = Some(Token { sign, cipher: Cipher::new(&key), until: self.clock.now() + TOKEN_LIFE });
        Ok(true)
    }

    /// Stops asking for tokens for a while where more of them would not help.
    fn hold_back(&mut self, error: &DriverError) {
        if let DriverError::Rejected { reason, .. } = error
            && matches!(reason, Rejection::Busy | Rejection::Credentials)
        {
            self.token = None;
            self.hold = Some((self.clock.now() + TOKEN_BACK_OFF, reason.clone()));
        }
    }

    /// Sends an encrypted command once, with the token that there is.
    async fn send(&self, request: Request) -> Result<Reply, DriverError> {
        let name = request.name();
        let Some(token) = &self.token else {
            return Err(self.place.rejected(name, Rejection::Credentials));
        };
        let mut body = request.body();
        if let Some(object) = body.as_object_mut() {
            object.insert("token".to_owned(), Value::from(token.sign.as_str()));
        }
        let sealed = json!({ "enc": 1, "data": token.cipher.encrypt(&body.to_string()) });
        let bytes = self.exchange(request, sealed.to_string().as_bytes()).await?;
        let outer = self.place.json(name, &bytes)?;
        // Refusals often come in the clear: the miner may not know under which key to answer.
        let value = match outer.get("enc") {
            Some(Value::String(sealed)) => {
                let text =
                    token.cipher.decrypt(sealed).map_err(|reason| self.place.malformed(name, reason))?;
                self.place.json(name, text.as_bytes())?
            }
            Some(_) => return Err(self.place.malformed(name, "its `enc` is not text")),
            None => outer,
        };
        self.envelope(request, value)
    }

    /// Sends an encrypted command; a token that has ended is renewed once.
    async fn command(&mut self, request: Request) -> Result<(), DriverError> {
        let fresh = self.ensure_token().await?;
        self.full_reads_left = FULL_READS_AFTER_COMMAND;
        let mut reply = self.send(request).await?;
        if !fresh && !reply.success && matches!(reply.code, Some(CODE_BAD_TOKEN | CODE_BAD_JSON)) {
            // The token has ended. The command was not carried out, so saying it again is safe.
            self.token = None;
            self.ensure_token().await?;
            reply = self.send(request).await?;
        }
        match (reply.success, reply.code) {
            (true, Some(CODE_OK) | None) => Ok(()),
            (true, Some(_)) => {
                Err(self.place.malformed(request.name(), "it is a success without the success code"))
            }
            (false, _) => {
                let error = self.refusal(request, &reply);
                self.hold_back(&error);
                Err(error)
            }
        }
    }

    /// Sets a percentage; remembers when the firmware has only the slow command for it.
    async fn set(&mut self, percent: u8) -> Result<(), DriverError> {
        if !self.gentle {
            match self.command(Request::SetPercent(percent)).await {
                Err(DriverError::Rejected { reason: Rejection::Unsupported, .. }) => self.gentle = true,
                result => return result,
            }
        }
        let result = self.command(Request::SetPercentGently(percent)).await;
        self.gentle = result.is_ok();
        result
    }

    /// Reads `status`; firmware that does not know the command gives an empty answer.
    async fn read_switch(&self) -> Result<Switch, DriverError> {
        let reply = self.ask(Request::Status).await?;
        Ok(if reply.success { Switch::read(&reply.value) } else { Switch::default() })
    }

    /// Says so where the miner is there, behind the port of the next API: firmware updates close the old one, or leave it open
    /// with little behind it.
    async fn explain(&self, error: DriverError) -> DriverError {
        let told = matches!(
            &error,
            DriverError::Unreachable { .. }
                | DriverError::Malformed { .. }
                | DriverError::Rejected { reason: Rejection::Unsupported | Rejection::Other(_), .. }
        );
        if !told || !self.place.is_open(NEXT_PORT).await {
            return error;
        }
        let with = |reason: &str| {
            format!(
                "{reason}, but its port {NEXT_PORT} is open: its firmware has API 3 now, so write driver = \"whatsminer-v3\""
            )
        };
        match error {
            DriverError::Unreachable { endpoint, reason } => {
                DriverError::Unreachable { endpoint, reason: with(&reason) }
            }
            DriverError::Malformed { endpoint, exchange, reason } => {
                DriverError::Malformed { endpoint, exchange, reason: with(&reason) }
            }
            DriverError::Rejected { endpoint, exchange, reason } => {
                let reason = Rejection::Other(with(&reason.explain()).into());
                DriverError::Rejected { endpoint, exchange, reason }
            }
            error @ DriverError::Timeout { .. } => error,
        }
    }

    /// The error codes of a miner that should hash and does not.
    async fn read_fault(&self) -> Option<Arc<str>> {
        let reply = self.ask_ok(Request::ErrorCodes).await.ok()?;
        let codes = reply.value.pointer("/Msg/error_code")?.as_array()?;
        let mut text = String::new();
        for code in codes.iter().take(4) {
            // Newer firmware: `{"110": "2024-06-15 09:15:00"}`; older: the bare number.
            let name = match code {
                Value::Object(object) => object.keys().find(|key| key.as_str() != "reason").cloned(),
                Value::Number(number) => Some(number.to_string()),
                Value::String(text) => Some(text.clone()),
                _ => None,
            };
            if let Some(name) = name {
                text.push_str(if text.is_empty() { "error " } else { ", " });
                text.push_str(&name);
            }
        }
        (!text.is_empty()).then(|| Arc::from(fields::words(&text, &[])))
    }
}

/// Whether the miner's reason for being off speaks of a fault rather than of somebody's wish.
fn is_fault(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["error", "fault", "fail", "protect", "over", "abnormal", "temp"].iter().any(|word| reason.contains(word))
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let (summary, switch) = (Summary::read(reply).ok().flatten(), Switch::read(reply));
    let _ = limit(summary.as_ref(), &switch);
    vec![said(summary.as_ref(), &switch)]
}

impl WhatsminerV2 {
    /// Reads what it says of itself.
    async fn look(&mut self) -> Result<MinerStatus, DriverError> {
        let name = Request::Summary.name();
        let reply = self.ask(Request::Summary).await?;
        let said = if reply.success {
            Summary::read(&reply.value).map_err(|reason| self.place.malformed(name, reason))?
        } else {
            // The mining software may be down, which `status` tells.
            None
        };
        let values = said.unwrap_or_default();
        let hashing = values.hashrate.is_some_and(|rate| rate > 0.0);

        if let Some(elapsed) = values.elapsed {
            if self.elapsed.is_some_and(|before| elapsed < before) {
                self.percent.restarted();
                self.full_read_in = 0;
            }
            self.elapsed = Some(elapsed);
        }
        if !hashing || self.full_reads_left > 0 || self.full_read_in == 0 || self.asleep != Some(false) {
            let switch = self.read_switch().await?;
            self.asleep = switch.off.or(self.asleep);
            self.switch = Some(switch);
            self.full_read_in = FULL_READ_EVERY;
            self.full_reads_left = self.full_reads_left.saturating_sub(1);
        }
        self.full_read_in = self.full_read_in.saturating_sub(1);
        let switch = self.switch.clone().unwrap_or_default();
        if !reply.success && switch.off.is_none() {
            return Err(self.refusal(Request::Summary, &reply));
        }

        self.percent.observe(limit(said.as_ref(), &switch), switch.percent);
        let asleep = switch.off.unwrap_or(false);
        let target = match switch.percent {
            _ if asleep => Measured::Value(Target::Sleep),
            Some(percent) => Measured::Value(self.percent.target(percent)),
            None => Measured::Unsupported,
        };
        let Said { power, hashrate, activity } = self::said(said.as_ref(), &switch);
        let activity = match activity {
            Activity::Starting if values.is_old() && !hashing => {
                self.read_fault().await.map_or(Activity::Starting, Activity::Fault)
            }
            activity => activity,
        };
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: self.percent.range(),
            points: None,
            uptime: values.elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    /// Tells it what to do.
    async fn tell(&mut self, target: Target) -> Result<(), DriverError> {
        match target {
            Target::Sleep => {
                self.command(Request::PowerOff).await?;
                self.asleep = Some(true);
                Ok(())
            }
            Target::Power(power) => {
                if self.asleep.is_none() {
                    let switch = self.read_switch().await?;
                    self.percent.observe(switch.limit, switch.percent);
                    self.asleep = Some(switch.off.unwrap_or(false));
                }
                let Some(percent) = self.percent.percent(power) else {
                    return Err(self.place.rejected(Request::SetPercent(0).name(), Rejection::OutOfRange));
                };
                if self.asleep == Some(true) {
                    self.command(Request::PowerOn).await?;
                    self.asleep = Some(false);
                    self.percent.restarted();
                    let set = self.set(percent).await;
                    set.map_err(|error| self.place.halfway("it was woken", error))?;
                } else {
                    self.set(percent).await?;
                }
                self.percent.accepted(percent, power);
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Driver for WhatsminerV2 {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        match self.look().await {
            Err(error) => Err(self.explain(error).await),
            status => status,
        }
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match self.tell(target).await {
            Err(error) => Err(self.explain(error).await),
            done => done,
        }
    }

    async fn close(&mut self) {
        // Nothing is open between two exchanges, and a token cannot be given back: it ends by itself.
        self.token = None;
    }
}
