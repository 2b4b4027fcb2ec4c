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
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::clock::{Clock, Moment, unix_seconds};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::drivers::whatsminer_crypto::v3_token;
use crate::miner::kind::{About, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::percent::{PercentBase, whole_percent};
use crate::miner::reply::said::Said;
use crate::miner::wire::frames::{self, HEARTBEAT};
use crate::miner::wire::{MAX_REPLY, Place};
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::units::Watts;

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "whatsminer-v3",
    needs_password: true,
    new: |connection, _| Box::new(WhatsminerV3::new(connection)),
    // The same machines as those of API 2.
    traits: Traits { port: 4433, username: Some(DEFAULT_ACCOUNT), ..super::whatsminer_v2::ABOUT.traits },
};

/// The account of the vendor's default configuration that may send commands.
const DEFAULT_ACCOUNT: &str = "super";
/// The miner closes a connection after 300 s of silence.
const IDLE_LIMIT: Duration = Duration::from_secs(280);
/// A connection that has been silent for this long is kept open with a heartbeat.
const HEARTBEAT_AFTER: Duration = Duration::from_secs(45);
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

/// What `get.device.info` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    salt: String,
    working: Option<bool>,
    /// Whether commands are allowed, where the device says.
    writable: Option<bool>,
    limit: Option<Watts>,
    fault: Option<Arc<str>>,
}

impl Info {
    /// Reads the `msg`; a device that leaves parts out can be read, and without a `salt` not be commanded.
    pub(crate) fn read(message: &Value) -> Self {
        let (miner, system) = (part(message, "miner"), part(message, "system"));
        Self {
            salt: fields::text(message, "salt").unwrap_or_default().to_owned(),
            working: fields::flag(miner, "working"),
            writable: fields::flag(system, "apiswitch"),
            limit: power_limit(miner, "power-limit-set"),
            fault: fault(message),
        }
    }

    /// Whether commands are allowed, where the device says.
    pub(crate) const fn writable(&self) -> Option<bool> {
        self.writable
    }
}

/// A part of an answer, which may be missing.
fn part<'v>(message: &'v Value, key: &str) -> &'v Value {
    message.get(key).unwrap_or(&Value::Null)
}

fn power_limit(object: &Value, key: &str) -> Option<Watts> {
    fields::number(object, key).filter(|watts| *watts > 0.0).map(Watts::saturating)
}

/// What `get.miner.status` says under `summary`, in our units.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    power: Option<f64>,
    has_power: bool,
    limit: Option<Watts>,
    /// In hashes a second.
    hashrate: Option<f64>,
    elapsed: Option<f64>,
    tuning: bool,
}

impl Summary {
    /// Reads the `msg`. `None` where it holds no summary, as while the mining service is down.
    pub(crate) fn read(message: &Value) -> Option<Self> {
        let row = message.get("summary").filter(|row| row.as_object().is_some_and(|row| !row.is_empty()))?;
        let powers = ["power-realtime", "power-5min"];
        let rates = ["hash-realtime", "hash-1min", "hash-average"];
        Some(Self {
            // For a few seconds after a start some of these show a counter that was never set.
            power: fields::first_number(row, &powers).filter(|watts| *watts <= fields::MOST_WATTS),
            has_power: fields::is_there(row, &powers),
            limit: power_limit(row, "power-limit"),
            hashrate: fields::agreed(rates.map(|key| fields::number(row, key).map(|rate| rate * 1e12))),
            elapsed: fields::number(row, "elapsed"),
            tuning: fields::number(row, "up-freq-finish").is_some_and(|finished| finished < 0.5),
        })
    }

    fn is_old(&self) -> bool {
        self.elapsed.is_some_and(|elapsed| elapsed > START_LIMIT)
    }
}

/// The power limit that the device says.
pub(crate) fn limit(summary: Option<&Summary>, info: &Info) -> Option<Watts> {
    info.limit.or(summary.and_then(|summary| summary.limit))
}

/// What both mean.
pub(crate) fn said(summary: Option<&Summary>, info: &Info) -> Said {
    let missing = summary.is_none();
    let values = summary.copied().unwrap_or_default();
    let hashing = values.hashrate.is_some_and(|rate| rate > 0.0);
    let activity = if info.working == Some(false) {
        Activity::Asleep
    } else if !hashing
        && values.is_old()
        && let Some(fault) = &info.fault
    {
        Activity::Fault(Arc::clone(fault))
    } else if !hashing || (values.tuning && !values.is_old()) {
        Activity::Starting
    } else {
        Activity::Hashing
    };
    Said {
        power: fields::watts(values.power, missing || values.has_power),
        hashrate: fields::hashes(values.hashrate, true),
        activity,
    }
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
        let frame = frames::frame(&body.to_string()).map_err(|why| Failure::Malformed(why.to_owned()))?;
        link.stream.write_all(&frame).await.map_err(Failure::from)?;
        let reply = frames::read(&mut link.stream, MAX_REPLY).await.map_err(|unread| match unread {
            frames::Unread::Broken(error) => Failure::from(error),
            frames::Unread::Heartbeats => Failure::Malformed("it is nothing but heartbeats".to_owned()),
            frames::Unread::TooLarge => Failure::Malformed("its frame is larger than 1 MiB".to_owned()),
            frames::Unread::Short => Failure::Malformed("it is cut short".to_owned()),
        })?;
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
        let message = self.ask(Request::Info).await?;
        if !message.is_object() {
            return Err(self.place.malformed(Request::Info.name(), "its `msg` is not an object"));
        }
        let info = Info::read(&message);
        self.info = Some(info.clone());
        if let Some(working) = info.working {
            self.asleep = Some(!working);
        }
        Ok(info)
    }

    /// Reads what the device was told; firmware before API 3.0.3 leaves parts out.
    async fn read_setting(&mut self) -> Result<Setting, DriverError> {
        let message = match self.ask(Request::Setting).await {
            Ok(message) => message,
            Err(DriverError::Rejected { .. }) => {
                self.no_setting = true;
                return Ok(Setting::default());
            }
            Err(error) => return Err(error),
        };
        if !message.is_object() {
            return Err(self.place.malformed(Request::Setting.name(), "its `msg` is not an object"));
        }
        let percent = fields::number(&message, "power-percent").and_then(whole_percent);
        Ok(Setting { percent, limit: power_limit(&message, "power-limit") })
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
        if info.salt.is_empty() {
            return Err(self.place.malformed(Request::Info.name(), "its `salt` is missing"));
        }
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

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let message = reply.get("msg").unwrap_or(reply);
    let (summary, info) = (Summary::read(message), Info::read(message));
    let _ = limit(summary.as_ref(), &info);
    vec![said(summary.as_ref(), &info)]
}

#[async_trait]
impl Driver for WhatsminerV3 {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        // The first thing on a new connection is the salt, for commands that cannot wait.
        if self.info.is_none() || self.link.is_none() {
            self.read_info().await?;
        }
        let summary = match self.ask(Request::Summary).await {
            Ok(message) if message.is_object() => Summary::read(&message),
            Ok(_) => return Err(self.place.malformed(Request::Summary.name(), "its `msg` is not an object")),
            // Firmware whose mining service is stopped may have no summary to give.
            Err(DriverError::Rejected { .. }) => None,
            Err(error) => return Err(error),
        };
        let elapsed = summary.and_then(|summary| summary.elapsed);
        let hashing = summary.and_then(|summary| summary.hashrate).is_some_and(|rate| rate > 0.0);

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

        let mut info = self.info.clone().unwrap_or_default();
        let setting = self.setting.unwrap_or_default();
        self.percent.observe(setting.limit.or(limit(summary.as_ref(), &info)), setting.percent);
        let asleep = self.asleep.unwrap_or(false);
        info.working = self.asleep.map(|asleep| !asleep);
        let Said { power, hashrate, activity } = said(summary.as_ref(), &info);
        let target = match setting.percent {
            _ if asleep => Measured::Value(Target::Sleep),
            // It does not show where watts were set.
            _ if self.way == Way::Watts => Measured::Unsupported,
            Some(percent) => Measured::Value(self.percent.target(percent)),
            None => Measured::Unsupported,
        };
        Ok(MinerStatus {
            power,
            hashrate,
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
                    let set = self.set(percent, power).await;
                    set.map_err(|error| self.place.halfway("it was woken", error))?;
                } else {
                    self.set(percent, power).await?;
                }
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
