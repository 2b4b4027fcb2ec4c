//! MicroBT Whatsminer, API 3.x on TCP 4433 (firmware from the middle of 2024).
//!
//! Messages are JSON behind a length of four bytes, little end first; a length of zero is a heartbeat. A miner
//! serves ten clients and closes a connection after 300 s of silence, so one connection is kept and reused.
//! Commands carry a token made from the command, the account's password, a salt of the device and the time.
//!
//! Sources: MicroBT "WhatsMiner API 3.0" (apidoc.whatsminer.com), sections "TCP Data Framing", "Token
//! Generation", `get.miner.status`, `get.miner.setting`, `get.device.info`, `set.miner.power_percent`,
//! `set.miner.service`; reply shapes as captured from miners by the asic-rs and MiningOS projects.
//!
//! Power is set with `set.miner.power_percent` in `fast` mode: about a second, without a restart, relative to the
//! stable power after the start, effective only once tuning has ended, lost on a restart. Firmware that refuses the
//! mode gets `normal` (minutes), and firmware without the command `set.miner.power` in watts (live once tuning has
//! ended; saved, so it wears the flash, and comes last). Nothing that restarts mining is ever sent, neither
//! `set.miner.power_limit` nor `set.miner.power_mode`; the whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fields::{self, measured};
use super::percent::{PercentBase, whole_percent};
use super::whatsminer_crypto::v3_token;
use super::wire::{MAX_REPLY, Place};
use super::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::clock::{Clock, Moment, unix_seconds};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::units::{Hashrate, Watts};

/// The account of the vendor's default configuration that may send commands.
const DEFAULT_ACCOUNT: &str = "super";
/// The miner closes a connection after 300 s of silence.
const IDLE_LIMIT: Duration = Duration::from_secs(280);
/// A connection that has been silent for this long is kept open with a heartbeat.
const HEARTBEAT_AFTER: Duration = Duration::from_secs(45);
const HEARTBEAT: [u8; 4] = [0; 4];
/// More heartbeats than this in front of one answer are not a miner.
const MAX_HEARTBEATS: usize = 64;
/// While a miner hashes steadily its summary alone tells all but the target; the rest is read every so many polls.
const FULL_READ_EVERY: u32 = 6;
/// So many polls after a command read everything.
const FULL_READS_AFTER_COMMAND: u32 = 5;
/// A miner that should hash and has not for this long since its start is asked for its error codes.
const START_LIMIT: f64 = 900.0;

/// Done.
const CODE_OK: i64 = 0;
/// Failed, in the state or with the value that it has.
const CODE_FAIL: i64 = -1;
/// No such command.
const CODE_NO_COMMAND: i64 = -2;
/// A parameter is wrong.
const CODE_BAD_ITEM: i64 = -3;
/// No permission: write access is off, the default password is still set, or the token is wrong.
const CODE_DENIED: i64 = -4;
/// Out of memory.
const CODE_NO_MEMORY: i64 = -5;

/// How a firmware lets its power be set, the gentlest and quickest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Percent, within about a second.
    Fast,
    /// Percent, within minutes.
    Normal,
    /// Watts, which are saved.
    Watts,
}

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Info,
    Summary,
    Setting,
    SetPercent(u8, Way),
    /// Whole watts.
    SetPower(i64),
    Stop,
    Start,
}

impl Request {
    const fn name(self) -> &'static str {
        match self {
            Self::Info => "get.device.info",
            Self::Summary => "get.miner.status",
            Self::Setting => "get.miner.setting",
            Self::SetPercent(..) => "set.miner.power_percent",
            Self::SetPower(_) => "set.miner.power",
            Self::Stop | Self::Start => "set.miner.service",
        }
    }

    fn parameter(self) -> Option<Value> {
        match self {
            Self::Info | Self::Setting => None,
            Self::Summary => Some(json!("summary")),
            // Documented as a number, but the firmware reads a text.
            Self::SetPercent(percent, way) => {
                let mode = if way == Way::Fast { "fast" } else { "normal" };
                Some(json!({ "percent": percent.to_string(), "mode": mode }))
            }
            Self::SetPower(watts) => Some(json!(watts)),
            Self::Stop => Some(json!("stop")),
            Self::Start => Some(json!("start")),
        }
    }
}

/// The open connection.
struct Link {
    stream: TcpStream,
    used: Moment,
    /// Nothing was asked on it yet.
    fresh: bool,
}

/// What `get.device.info` said last.
#[derive(Clone, Debug, Default)]
struct Info {
    salt: String,
    working: Option<bool>,
    /// Whether commands are allowed, where the device says.
    writable: Option<bool>,
    limit: Option<Watts>,
    fault: Option<Arc<str>>,
}

/// What `get.miner.setting` said last.
#[derive(Clone, Copy, Debug, Default)]
struct Setting {
    percent: Option<u8>,
    limit: Option<Watts>,
}

/// Speaks API 3.x with one miner.
pub struct WhatsminerV3 {
    place: Place,
    credentials: Option<Credentials>,
    clock: Clock,
    link: Option<Link>,
    info: Option<Info>,
    setting: Option<Setting>,
    /// The firmware has no `get.miner.setting`.
    no_setting: bool,
    percent: PercentBase,
    way: Way,
    asleep: Option<bool>,
    elapsed: Option<f64>,
    full_read_in: u32,
    full_reads_left: u32,
}

impl WhatsminerV3 {
    /// For one miner. Nothing is opened yet.
    pub fn new(connection: &Connection) -> Self {
        Self {
            place: Place::new(connection),
            credentials: connection.credentials.clone(),
            clock: Clock::start(),
            link: None,
            info: None,
            setting: None,
            no_setting: false,
            percent: PercentBase::new(connection.rated),
            way: Way::Fast,
            asleep: None,
            elapsed: None,
            full_read_in: 0,
            full_reads_left: 0,
        }
    }

    /// Takes the open connection if it is still good, else opens one.
    async fn link(&mut self) -> Result<Link, DriverError> {
        if let Some(link) = self.link.take()
            && self.clock.now().since(link.used) < IDLE_LIMIT
            && is_open(&link.stream)
        {
            return Ok(link);
        }
        // A device that came back may have another salt.
        self.info = None;
        Ok(Link { stream: self.place.connect().await?, used: self.clock.now(), fresh: true })
    }

    /// One request and its answer. The connection is out of `self` while it is in use, so a call that is dropped
    /// drops the connection with it, and a late answer cannot be taken for another one.
    async fn exchange(&mut self, request: Request, body: &Value) -> Result<Value, DriverError> {
        let place = self.place.clone();
        let name = request.name();
        let work = async {
            let mut link = self.link().await?;
            let reused = !link.fresh;
            match self.transact(&mut link, request, body).await {
                // The miner closed the connection in between. A question may be asked again, a command not:
                // nobody knows how far it came.
                Err(Failure::Closed) if reused && !is_command(request) => {
                    self.info = None;
                    link = Link { stream: place.connect().await?, used: self.clock.now(), fresh: true };
                    let value = self.transact(&mut link, request, body).await;
                    self.settle(link, value, name)
                }
                value => self.settle(link, value, name),
            }
        };
        place.within(name, work).await
    }

    /// Keeps the connection after a good answer and drops it after anything else.
    fn settle(
        &mut self,
        mut link: Link,
        value: Result<Value, Failure>,
        name: &'static str,
    ) -> Result<Value, DriverError> {
        match value {
            Ok(value) => {
                link.used = self.clock.now();
                link.fresh = false;
                self.link = Some(link);
                Ok(value)
            }
            Err(Failure::Closed) => Err(self.place.malformed(name, "the connection was closed instead")),
            Err(Failure::Broken(kind)) => {
                Err(self.place.malformed(name, format!("the connection broke ({kind})")))
            }
            Err(Failure::Malformed(reason)) => Err(self.place.malformed(name, reason)),
        }
    }

    /// Writes one frame and reads one.
    async fn transact(&self, link: &mut Link, request: Request, body: &Value) -> Result<Value, Failure> {
        let text = body.to_string();
        let length =
            u32::try_from(text.len()).map_err(|_| Failure::Malformed("it is too long to send".to_owned()))?;
        let mut frame = Vec::with_capacity(text.len() + 4);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(text.as_bytes());
        link.stream.write_all(&frame).await.map_err(Failure::from)?;

        let mut length = 0;
        for _ in 0..MAX_HEARTBEATS {
            let mut prefix = [0_u8; 4];
            link.stream.read_exact(&mut prefix).await.map_err(Failure::from)?;
            length = u32::from_le_bytes(prefix);
            if length != 0 {
                break;
            }
        }
        if length == 0 {
            return Err(Failure::Malformed("it is nothing but heartbeats".to_owned()));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_REPLY {
            return Err(Failure::Malformed("its frame is larger than 1 MiB".to_owned()));
        }
        // Grows with what arrives, not with what is announced.
        let mut reply = Vec::with_capacity(length.min(4096));
        let limit = u64::try_from(length).unwrap_or_default();
        (&mut link.stream).take(limit).read_to_end(&mut reply).await.map_err(Failure::from)?;
        if reply.len() < length {
            return Err(Failure::Malformed("it is cut short".to_owned()));
        }
        let value = fields::parse(&reply).map_err(Failure::Malformed)?;
        if let Some(answered) = fields::text(&value, "desc")
            && !answered.is_empty()
            && answered != request.name()
        {
            return Err(Failure::Malformed("it answers another command".to_owned()));
        }
        Ok(value)
    }

    /// Reads something. Gives the `msg` of the answer.
    async fn ask(&mut self, request: Request) -> Result<Value, DriverError> {
        let mut body = json!({ "cmd": request.name() });
        if let (Some(parameter), Some(object)) = (request.parameter(), body.as_object_mut()) {
            object.insert("param".to_owned(), parameter);
        }
        let mut value = self.exchange(request, &body).await?;
        self.check(request, &value)?;
        Ok(value.get_mut("msg").map(Value::take).unwrap_or_default())
    }

    /// Turns the code of an answer into an error.
    fn check(&self, request: Request, value: &Value) -> Result<(), DriverError> {
        let name = request.name();
        let message = fields::text(value, "msg").unwrap_or_default();
        let reason = match value.get("code").and_then(Value::as_i64) {
            Some(CODE_OK) => return Ok(()),
            None => return Err(self.place.malformed(name, "its `code` is missing")),
            Some(CODE_DENIED) => {
                // The same code stands for all three; the device says in its information which way the switch is.
                if self.info.as_ref().and_then(|info| info.writable) == Some(false) {
                    Rejection::WriteDisabled
                } else {
                    Rejection::Credentials
                }
            }
            Some(CODE_NO_COMMAND) => Rejection::Unsupported,
            Some(CODE_BAD_ITEM) => Rejection::OutOfRange,
            Some(CODE_NO_MEMORY) => Rejection::Busy,
            Some(CODE_FAIL) if is_command(request) => Rejection::WrongState,
            Some(_) => {
                let password = self.credentials.as_ref().map(|account| account.password.expose());
                return Err(self.place.other(name, message, &[password.unwrap_or_default()]));
            }
        };
        Err(self.place.rejected(name, reason))
    }

    /// Reads what the device is: salt, switch, whether it mines.
    async fn read_info(&mut self) -> Result<Info, DriverError> {
        let name = Request::Info.name();
        let message = self.ask(Request::Info).await?;
        let malformed = |reason| self.place.malformed(name, reason);
        let salt = fields::text(&message, "salt")
            .ok_or_else(|| self.place.malformed(name, "its `salt` is missing"))?;
        let nothing = Value::Null;
        let miner = message.get("miner").unwrap_or(&nothing);
        let system = message.get("system").unwrap_or(&nothing);
        let limit = fields::number(miner, "power-limit-set").map_err(malformed)?;
        let info = Info {
            salt: salt.to_owned(),
            working: fields::flag(miner, "working").map_err(malformed)?,
            writable: fields::flag(system, "apiswitch").map_err(malformed)?,
            limit: limit.filter(|watts| *watts > 0.0).map(Watts::saturating),
            fault: fault(&message),
        };
        self.info = Some(info.clone());
        if let Some(working) = info.working {
            self.asleep = Some(!working);
        }
        Ok(info)
    }

    /// Reads what the device was told; firmware before API 3.0.3 leaves parts out.
    async fn read_setting(&mut self) -> Result<Setting, DriverError> {
        let name = Request::Setting.name();
        let message = match self.ask(Request::Setting).await {
            Ok(message) => message,
            Err(DriverError::Rejected { .. }) => {
                self.no_setting = true;
                return Ok(Setting::default());
            }
            Err(error) => return Err(error),
        };
        let malformed = |reason| self.place.malformed(name, reason);
        if !message.is_object() {
            return Err(self.place.malformed(name, "its `msg` is not an object"));
        }
        let limit = fields::number(&message, "power-limit").map_err(malformed)?;
        Ok(Setting {
            percent: fields::number(&message, "power-percent").map_err(malformed)?.and_then(whole_percent),
            limit: limit.filter(|watts| *watts > 0.0).map(Watts::saturating),
        })
    }

    /// Sends a command with a token of its own.
    async fn command(&mut self, request: Request) -> Result<(), DriverError> {
        let name = request.name();
        let Some(account) = self.credentials.clone() else {
            return Err(self.place.rejected(name, Rejection::Credentials));
        };
        // The salt belongs to the connection: without a good one it is asked for on the one that will be used.
        let usable = self
            .link
            .as_ref()
            .is_some_and(|link| self.clock.now().since(link.used) < IDLE_LIMIT && is_open(&link.stream));
        let info = match &self.info {
            Some(info) if usable => info.clone(),
            _ => self.read_info().await?,
        };
        let time = unix_seconds();
        let mut body = json!({
            "cmd": name,
            "account": account.username.as_deref().unwrap_or(DEFAULT_ACCOUNT),
            "ts": time,
            "token": v3_token(name, account.password.expose(), &info.salt, time),
        });
        if let (Some(parameter), Some(object)) = (request.parameter(), body.as_object_mut()) {
            object.insert("param".to_owned(), parameter);
        }
        self.full_reads_left = FULL_READS_AFTER_COMMAND;
        let value = self.exchange(request, &body).await?;
        let result = self.check(request, &value);
        if result.is_err() {
            // A refused token may come from a salt that has changed.
            self.info = None;
        }
        result
    }
}

impl WhatsminerV3 {
    /// Sets the power by the first way that the firmware has. What it refused once is not tried again.
    async fn set(&mut self, percent: u8, power: Watts) -> Result<(), DriverError> {
        loop {
            let request = match self.way {
                Way::Watts => Request::SetPower(floor(power.min(self.percent.base()))),
                way => Request::SetPercent(percent, way),
            };
            let Err(error) = self.command(request).await else { return Ok(()) };
            let DriverError::Rejected { reason, .. } = &error else { return Err(error) };
            self.way = match (self.way, reason) {
                // The percent is one that the driver has checked, so it is the mode that is refused.
                (Way::Fast, Rejection::OutOfRange) => Way::Normal,
                (Way::Fast | Way::Normal, Rejection::Unsupported) => Way::Watts,
                _ => {
                    self.way = Way::Fast;
                    return Err(error);
                }
            };
        }
    }
}

/// Whole watts, not rounded up.
#[expect(clippy::cast_possible_truncation, reason = "clamped to the vendor's range first")]
fn floor(power: Watts) -> i64 {
    power.get().floor().clamp(0.0, 99_999.0) as i64
}

/// Why a frame did not come.
enum Failure {
    /// The other side closed before a byte of the answer.
    Closed,
    Broken(std::io::ErrorKind),
    Malformed(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match error.kind() {
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => Self::Closed,
            kind => Self::Broken(kind),
        }
    }
}

/// Whether a request changes something.
const fn is_command(request: Request) -> bool {
    matches!(request, Request::SetPercent(..) | Request::SetPower(_) | Request::Stop | Request::Start)
}

/// Whether a connection that is not in use is still open; takes off heartbeats that wait on it. Anything else
/// that waits there was not asked for, and the connection is not trusted any more.
fn is_open(stream: &TcpStream) -> bool {
    let mut waiting = [0_u8; 64];
    match stream.try_read(&mut waiting) {
        Ok(0) => false,
        Ok(count) => count % HEARTBEAT.len() == 0 && waiting.iter().take(count).all(|byte| *byte == 0),
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// The error codes of the device in words, where it has any: `[{"264": "time", "reason": "words"}]`.
fn fault(message: &Value) -> Option<Arc<str>> {
    let codes = message.get("error-code")?.as_array()?;
    let mut text = String::new();
    for code in codes.iter().take(4).filter_map(Value::as_object) {
        let Some(name) = code.keys().find(|key| key.as_str() != "reason") else {
            continue;
        };
        text.push_str(if text.is_empty() { "error " } else { ", " });
        text.push_str(name);
        if let Some(reason) = code.get("reason").and_then(Value::as_str) {
            text.push(' ');
            text.push_str(reason);
        }
    }
    (!text.is_empty()).then(|| Arc::from(fields::words(&text, &[])))
}

#[async_trait]
impl Driver for WhatsminerV3 {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let name = Request::Summary.name();
        // The first thing on a new connection is the salt, for commands that cannot wait.
        if self.info.is_none() || self.link.is_none() {
            self.read_info().await?;
        }
        let message = match self.ask(Request::Summary).await {
            Ok(message) => Some(message),
            // Firmware whose mining service is stopped may have no summary to give.
            Err(DriverError::Rejected { .. }) => None,
            Err(error) => return Err(error),
        };
        let malformed = |reason| self.place.malformed(name, reason);
        let nothing = json!({});
        let summary = match &message {
            Some(message) => fields::object(message, "summary").map_err(malformed)?,
            None => &nothing,
        };
        let power = fields::first_number(summary, &["power-realtime", "power-5min"]).map_err(malformed)?;
        let shown_limit = fields::number(summary, "power-limit").map_err(malformed)?;
        let hashrate = fields::first_number(summary, &["hash-realtime", "hash-1min", "hash-average"])
            .map_err(malformed)?;
        let elapsed = fields::number(summary, "elapsed").map_err(malformed)?;
        let tuned = fields::number(summary, "up-freq-finish").map_err(malformed)?;
        let hashing = hashrate.is_some_and(|rate| rate > 0.0);
        let missing = message.is_none();

        if let Some(elapsed) = elapsed {
            if self.elapsed.is_some_and(|before| elapsed < before) {
                self.percent.restarted();
                self.full_read_in = 0;
            }
            self.elapsed = Some(elapsed);
        }
        if !hashing || self.full_reads_left > 0 || self.full_read_in == 0 || self.asleep != Some(false) {
            self.read_info().await?;
            if !self.no_setting {
                self.setting = Some(self.read_setting().await?);
            }
            self.full_read_in = FULL_READ_EVERY;
            self.full_reads_left = self.full_reads_left.saturating_sub(1);
        }
        self.full_read_in = self.full_read_in.saturating_sub(1);

        let info = self.info.clone().unwrap_or_default();
        let setting = self.setting.unwrap_or_default();
        let shown = shown_limit.filter(|watts| *watts > 0.0).map(Watts::saturating);
        self.percent.observe(setting.limit.or(info.limit).or(shown), setting.percent);
        let asleep = self.asleep.unwrap_or(false);
        let target = match setting.percent {
            _ if asleep => Measured::Value(Target::Sleep),
            // It does not show where watts were set.
            _ if self.way == Way::Watts => Measured::Unsupported,
            Some(percent) => Measured::Value(self.percent.target(percent)),
            None => Measured::Unsupported,
        };
        let started_long_ago = elapsed.is_some_and(|elapsed| elapsed > START_LIMIT);
        let activity = if asleep {
            Activity::Asleep
        } else if !hashing
            && started_long_ago
            && let Some(fault) = info.fault
        {
            Activity::Fault(fault)
        } else if !hashing || (tuned == Some(0.0) && !started_long_ago) {
            Activity::Starting
        } else {
            Activity::Hashing
        };
        Ok(MinerStatus {
            power: measured(power, missing, Watts::saturating),
            hashrate: measured(hashrate, missing, Hashrate::terahashes),
            activity,
            target,
            range: self.percent.range(),
            points: None,
            uptime: elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match target {
            Target::Sleep => {
                self.command(Request::Stop).await?;
                self.asleep = Some(true);
                Ok(())
            }
            Target::Power(power) => {
                if self.credentials.is_some() && self.asleep.is_none() {
                    let info = self.read_info().await?;
                    self.percent.observe(info.limit, None);
                }
                let Some(percent) = self.percent.percent(power) else {
                    return Err(self
                        .place
                        .rejected(Request::SetPercent(0, self.way).name(), Rejection::OutOfRange));
                };
                if self.asleep == Some(true) {
                    self.command(Request::Start).await?;
                    self.asleep = Some(false);
                    self.percent.restarted();
                }
                self.set(percent, power).await?;
                self.percent.accepted(percent, power);
                Ok(())
            }
        }
    }

    async fn keep_alive(&mut self) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        let quiet = self.clock.now().since(link.used);
        if quiet < HEARTBEAT_AFTER {
            self.link = Some(link);
            return;
        }
        if quiet >= IDLE_LIMIT || !is_open(&link.stream) {
            return;
        }
        let place = self.place.clone();
        let sent = place
            .within("heartbeat", async {
                link.stream.write_all(&HEARTBEAT).await.map_err(|error| place.broken("heartbeat", &error))
            })
            .await;
        if sent.is_ok() {
            link.used = self.clock.now();
            self.link = Some(link);
        }
    }

    async fn close(&mut self) {
        if let Some(mut link) = self.link.take() {
            // The miner has ten places: tell it at once that this one is free.
            let _ = tokio::time::timeout(Duration::from_millis(200), link.stream.shutdown()).await;
        }
    }
}
