//! LuxOS: cgminer-style JSON on TCP 4028, one request per connection.
//!
//! Reads are free, several in one request (`"summary+power+config"`). A command needs a session, of which a miner
//! has one at a time: log on, write, log off, so that the operator's other tools get their turn.
//!
//! Power is set with `profileset` among the profiles that the miner lists with their watts, or, on models where power
//! targeting is on, in watts with `powertargetset`. Only profiles up to the default one (step 0) are used, or up to
//! the one that was active before this program's first command: a miner is never overclocked that its operator has
//! not overclocked. `curtail` puts to sleep and wakes, at the ordinary ramp; `mode=unsafe` is never sent. While ATM
//! (advanced thermal management) is on, it holds the profile: that is said, and ATM is left alone.
//!
//! Sources: Luxor "LuxOS API" (docs.luxor.tech/firmware/api): pages "Introduction", "Session management", `logon`,
//! `profileset`, `curtail`, `atm`, "Power Targeting"; reply shapes as recorded by asic-rs 0.8.6 for LUXminer 2025.4
//! and 2025.9; the fields of power targeting and the form `power=<watts>` from users of LUXminer 2026.4.
//!
//! The whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields::{self, words};
use crate::miner::reply::presets::{Steps, step};
use crate::miner::reply::pulse::Pulse;
use crate::miner::reply::said::Said;
use crate::miner::wire::Place;
use crate::miner::wire::exchange;
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "luxos",
    // A session keeps programs apart and is no security feature (vendor's page "Session management").
    needs_password: false,
    new: |connection, _| Box::new(Luxos::new(connection)),
    traits: Traits {
        quantum: Quantum::Fraction(0.05),
        class: Class::Steps,
        restarts: false,
        // While autosave is on, which it is by default; sleep always (vendor's pages "profileset", "curtail").
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            // Boards are ramped in steps of 5 MHz and 0.05 V by default ("profileset"); how long that takes is
            // a cautious guess. Sleep is under 5 s by the vendor's word.
            dead_time_down: Duration::from_secs(2),
            dead_time_up: Duration::from_secs(4),
            ramp_down: WattsPerSecond::whole(150),
            ramp_up: WattsPerSecond::whole(40),
            start_time: Duration::from_secs(60),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        // One session at a time, and every profile is saved to flash.
        cost: ChangeCost {
            adjust: Duration::from_secs(30),
            sleep: Duration::from_secs(180),
            min_interval: Duration::from_secs(60),
        },
        port: 4028,
        username: None,
    },
};

/// A session ends after a minute without use; a little earlier it is not used any more.
const SESSION_LIFE: Duration = Duration::from_secs(50);
/// Pause between two connections to one miner: LUXminer 2026.4 refuses connections for a while when two come within
/// less than a millisecond (a user's report).
const GAP: Duration = Duration::from_millis(50);
/// The profiles change only when somebody tunes or edits them.
const PROFILES_EVERY: u32 = 120;
/// The session could not be had: another one is active (documented by users; the vendor documents the rule).
const CODE_BUSY: i64 = 402;
/// No such command, as in every cgminer API.
const CODE_NO_COMMAND: i64 = 14;
/// A miner that should hash and has not for this long since its start has a fault.
const START_LIMIT: f64 = 900.0;

/// Everything that this driver can say to a miner.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    /// `summary`, `power` and `config` in one.
    Poll,
    /// The same with `profiles` and `limits`.
    FullPoll,
    Config,
    Logon,
    Logoff,
    Profile(String),
    PowerTarget(u32),
    Sleep,
    Wake,
}

impl Request {
    const fn name(&self) -> &'static str {
        match self {
            Self::Poll => "summary+power+config",
            Self::FullPoll => "summary+power+config+profiles+limits",
            Self::Config => "config",
            Self::Logon => "logon",
            Self::Logoff => "logoff",
            Self::Profile(_) => "profileset",
            Self::PowerTarget(_) => "powertargetset",
            Self::Sleep | Self::Wake => "curtail",
        }
    }

    fn body(&self, session: &str) -> Value {
        let parameter = match self {
            Self::Poll | Self::FullPoll | Self::Config | Self::Logon => {
                return json!({ "command": self.name() });
            }
            Self::Logoff => session.to_owned(),
            Self::Profile(name) => format!("{session},{name}"),
            Self::PowerTarget(watts) => format!("{session},power={watts}"),
            Self::Sleep => format!("{session},sleep"),
            Self::Wake => format!("{session},wakeup"),
        };
        json!({ "command": self.name(), "parameter": parameter })
    }
}

/// A session that is ours.
struct Session {
    id: String,
    used: Moment,
}

/// What `config` says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    asleep: bool,
    power_supply: Option<bool>,
    atm: bool,
    system: String,
    profile: Option<String>,
    step: Option<i32>,
    /// The target of power targeting, where that is on; `Some(None)` where it is on without a number.
    power_target: Option<Option<f64>>,
}

impl Config {
    /// Whether ATM is on, which holds the profile.
    pub(crate) const fn holds_profile(&self) -> bool {
        self.atm
    }

    /// Reads `CONFIG[0]`; what is missing is unknown.
    pub(crate) fn read(config: &Value) -> Self {
        let mode = fields::text(config, "CurtailMode").unwrap_or_default().to_ascii_lowercase();
        let targeting = fields::flag(config, "IsPowerTargetEnabled") == Some(true);
        Self {
            asleep: !matches!(mode.as_str(), "" | "none"),
            power_supply: fields::flag(config, "IsPowerSupplyOn"),
            atm: fields::flag(config, "IsAtmEnabled") == Some(true),
            system: words(fields::text(config, "SystemStatus").unwrap_or("Normal"), &[]),
            profile: fields::text(config, "Profile").filter(|name| !name.is_empty()).map(str::to_owned),
            step: config.get("ProfileStep").and_then(whole),
            power_target: targeting
                .then(|| fields::first_number(config, &["IdealPowerTarget", "ActualPowerTarget"])),
        }
    }
}

/// What `summary` and `power` say, in our units; what is missing is unknown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readings {
    /// In hashes a second.
    rate: Option<f64>,
    elapsed: Option<f64>,
    power: Option<f64>,
}

impl Readings {
    /// Reads `SUMMARY[0]` and `POWER[0]`.
    pub(crate) fn read(summary: &Value, power: &Value) -> Self {
        let rates = [
            ("GHS 5s", 1e9),
            ("MHS 5s", 1e6),
            ("GHS 1m", 1e9),
            ("MHS 1m", 1e6),
            ("GHS av", 1e9),
            ("MHS av", 1e6),
        ];
        Self {
            rate: fields::agreed(
                rates.map(|(key, factor)| fields::number(summary, key).map(|rate| rate * factor)),
            ),
            elapsed: fields::number(summary, "Elapsed"),
            power: fields::number(power, "Watts"),
        }
    }

    /// What they mean beside the configuration; `hashing`: by memory, where there is one.
    pub(crate) fn said(&self, config: &Config, hashing: Option<bool>) -> Said {
        let hashing = hashing.unwrap_or(self.rate.is_some_and(|rate| rate > 0.0));
        let late = self.elapsed.is_some_and(|elapsed| elapsed > START_LIMIT);
        let activity = if hashing {
            Activity::Hashing
        } else if config.asleep {
            Activity::Asleep
        } else if !config.system.is_empty() && !config.system.eq_ignore_ascii_case("normal") {
            Activity::Fault(Arc::from(config.system.as_str()))
        } else if config.power_supply == Some(false) && late {
            Activity::Fault(Arc::from("its power supply is off"))
        } else {
            Activity::Starting
        };
        Said {
            // A control board that answers draws something: nothing is what the firmware says for "not measured".
            power: fields::live_watts(self.power, true),
            hashrate: fields::hashes(self.rate, true),
            activity,
        }
    }
}

/// Speaks with one miner.
pub struct Luxos {
    place: Place,
    rated: Watts,
    clock: Clock,
    session: Option<Session>,
    /// End of the latest connection.
    latest: Option<Moment>,
    config: Option<Config>,
    steps: Steps,
    /// The highest profile that may be used, by its step; set with the first reading.
    ceiling: Option<i32>,
    /// The range of power targets.
    range: Option<(Watts, Watts)>,
    elapsed: Option<f64>,
    polls: u32,
    pulse: Pulse,
}

impl Luxos {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Self {
        Self {
            place: Place::new(connection),
            rated: connection.rated,
            clock: Clock::start(),
            session: None,
            latest: None,
            config: None,
            steps: Steps::default(),
            ceiling: None,
            range: None,
            elapsed: None,
            polls: 0,
            pulse: Pulse::default(),
        }
    }

    /// One request on one connection; the reply ends with a NUL, with its JSON, or with the connection.
    async fn exchange(&mut self, request: &Request, session: &str) -> Result<Value, DriverError> {
        if let Some(latest) = self.latest {
            let since = self.clock.now().since(latest);
            if since < GAP {
                tokio::time::sleep(GAP - since).await;
            }
        }
        let name = request.name();
        let body = request.body(session).to_string();
        let result = exchange::over_tcp(&self.place, name, body.as_bytes()).await;
        self.latest = Some(self.clock.now());
        let reply = result?;
        self.place.json(name, &reply)
    }

    /// One section of a joined reply, checked: its own `STATUS` must be good.
    fn section<'a>(
        &self,
        request: &Request,
        reply: &'a Value,
        section: &str,
    ) -> Result<&'a Value, DriverError> {
        let whole = reply
            .pointer(&format!("/{section}/0"))
            .filter(|value| value.is_object())
            .ok_or_else(|| self.place.malformed(request.name(), format!("its `{section}` is missing")))?;
        self.good(request, whole, "")?;
        Ok(whole)
    }

    /// The row of a section of a joined reply; nothing where the miner has none to tell now, as while its mining software
    /// starts, or has no such command.
    fn row<'a>(
        &self,
        request: &Request,
        reply: &'a Value,
        section: &str,
        place: &str,
    ) -> Result<&'a Value, DriverError> {
        match self.section(request, reply, section) {
            Ok(section) => Ok(section.pointer(place).unwrap_or(&Value::Null)),
            Err(DriverError::Rejected { .. }) => Ok(&Value::Null),
            Err(error) => Err(error),
        }
    }

    /// Whether a reply is a yes.
    fn good(&self, request: &Request, reply: &Value, session: &str) -> Result<(), DriverError> {
        let name = request.name();
        let status = reply
            .pointer("/STATUS/0")
            .filter(|status| status.is_object())
            .ok_or_else(|| self.place.malformed(name, "its `STATUS` is missing"))?;
        let letter = fields::text(status, "STATUS")
            .ok_or_else(|| self.place.malformed(name, "its `STATUS` is not a letter"))?;
        if matches!(letter, "S" | "I") {
            return Ok(());
        }
        let message = fields::text(status, "Msg").unwrap_or_default();
        let lower = message.to_ascii_lowercase();
        let code = status.get("Code").and_then(Value::as_i64);
        let reason = match code {
            // It is asleep, or awake, as it was asked to be.
            _ if matches!(request, Request::Sleep | Request::Wake) && lower.contains("already") => {
                return Ok(());
            }
            Some(CODE_BUSY) if *request == Request::Logon => Rejection::Busy,
            _ if *request == Request::Logon && lower.contains("another session") => Rejection::Busy,
            _ if lower.contains("session") => Rejection::Busy,
            Some(CODE_NO_COMMAND) => Rejection::Unsupported,
            _ if lower.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| word == "atm") => {
                atm()
            }
            _ => return Err(self.place.other(name, message, &[session])),
        };
        Err(self.place.rejected(name, reason))
    }

    /// Logs on, unless a session of ours is still open; says whether it was.
    async fn logon(&mut self) -> Result<(String, bool), DriverError> {
        let now = self.clock.now();
        if let Some(session) = self.session.as_mut().filter(|session| now.since(session.used) < SESSION_LIFE)
        {
            session.used = now;
            return Ok((session.id.clone(), true));
        }
        self.session = None;
        let request = Request::Logon;
        let reply = self.exchange(&request, "").await?;
        self.good(&request, &reply, "")?;
        let id = reply
            .pointer("/SESSION/0/SessionID")
            .and_then(Value::as_str)
            // It becomes part of a list that is separated by commas.
            .filter(|id| {
                !id.is_empty() && id.len() <= 64 && id.chars().all(|letter| letter.is_ascii_alphanumeric())
            })
            .ok_or_else(|| self.place.malformed(request.name(), "its `SessionID` is missing"))?
            .to_owned();
        self.session = Some(Session { id: id.clone(), used: self.clock.now() });
        Ok((id, false))
    }

    /// Logs off. Where that is not heard, the session is kept in mind, for it would stand in our own way.
    async fn logoff(&mut self) {
        let Some(session) = &self.session else {
            return;
        };
        let id = session.id.clone();
        let request = Request::Logoff;
        // Whatever the miner says to it, the session is no longer ours.
        if self.exchange(&request, &id).await.is_ok() {
            self.session = None;
        }
    }

    /// One command within a session.
    async fn command(&mut self, request: &Request) -> Result<Value, DriverError> {
        let (id, reused) = self.logon().await?;
        let reply = self.exchange(request, &id).await?;
        match self.good(request, &reply, &id) {
            // The session had ended meanwhile, so the command was not carried out; once more with a new one.
            Err(DriverError::Rejected { reason: Rejection::Busy, .. }) if reused => {
                self.session = None;
                let (id, _) = self.logon().await?;
                let reply = self.exchange(request, &id).await?;
                self.good(request, &reply, &id).map(|()| reply)
            }
            verdict => verdict.map(|()| reply),
        }
    }

    /// Reads the object of `config`.
    fn parse_config(&self, request: &Request, section: &Value) -> Result<Config, DriverError> {
        let name = request.name();
        let malformed = |reason: String| self.place.malformed(name, reason);
        let config = section
            .pointer("/CONFIG/0")
            .filter(|config| config.is_object())
            .ok_or_else(|| malformed("its `CONFIG` is missing".to_owned()))?;
        Ok(Config::read(config))
    }

    /// The configuration in a joined reply; the latest one where the miner does not tell it now.
    fn config_of(&self, request: &Request, reply: &Value) -> Result<Config, DriverError> {
        match self.section(request, reply, "config") {
            Ok(section) => self.parse_config(request, section),
            Err(DriverError::Rejected { .. }) => Ok(self.config.clone().unwrap_or_default()),
            Err(error) => Err(error),
        }
    }

    async fn read_config(&mut self) -> Result<Config, DriverError> {
        let request = Request::Config;
        let reply = self.exchange(&request, "").await?;
        self.good(&request, &reply, "")?;
        let config = self.parse_config(&request, &reply)?;
        self.config = Some(config.clone());
        Ok(config)
    }

    /// Reads the profiles that may be used.
    fn parse_profiles(&self, section: &Value, config: &Config) -> Steps {
        let list = section.get("PROFILES").and_then(Value::as_array).into_iter().flatten();
        let ceiling = self.ceiling.unwrap_or(0);
        let mut found = Vec::new();
        let mut without_step = Vec::new();
        // What a profile of the operator's own, which has no step, may draw at most.
        let mut most = Watts::ZERO;
        for profile in list {
            let Some(name) = fields::text(profile, "Profile Name").filter(|name| is_plain(name)) else {
                continue;
            };
            let watts = fields::number(profile, "Watts").unwrap_or(0.0);
            let rate = fields::number(profile, "Hashrate").unwrap_or(0.0);
            let step_of = profile.get("Step").and_then(whole);
            let entry = step(name, watts, rate);
            match step_of {
                Some(step) if step <= ceiling => {
                    most = most.max(entry.point.power);
                    found.push(entry);
                }
                Some(_) => {}
                None => without_step.push(entry),
            }
        }
        if found.is_empty() {
            most = self.rated;
        }
        let is_active =
            |entry: &crate::miner::reply::presets::Step| config.profile.as_ref() == Some(&entry.name);
        if let Some(active) = without_step.iter().find(|entry| is_active(entry)) {
            most = most.max(active.point.power);
        }
        found.extend(without_step.into_iter().filter(|entry| entry.point.power <= most));
        Steps::new(found)
    }

    /// Reads the profiles and limits of a full poll.
    fn take_in(&mut self, request: &Request, reply: &Value, config: &Config) -> Result<(), DriverError> {
        if self.ceiling.is_none() {
            self.ceiling = Some(config.step.unwrap_or(0).max(0));
        }
        match self.section(request, reply, "profiles") {
            Ok(profiles) => self.steps = self.parse_profiles(profiles, config),
            // Not now: what was listed before still holds, and the next poll asks again.
            Err(DriverError::Rejected { .. }) => self.polls = 0,
            Err(error) => return Err(error),
        }
        self.range = None;
        if config.power_target.is_some()
            && let Some(limits) = reply.pointer("/limits/0/LIMITS/0")
        {
            let edge = |key: &str| fields::number(limits, key);
            if let (Some(low), Some(high)) = (edge("PowerTargetMin"), edge("PowerTargetMax"))
                && 0.0 < low
                && low <= high
            {
                self.range = Some((Watts::saturating(low), Watts::saturating(high)));
            }
        }
        Ok(())
    }

    async fn full_poll(&mut self) -> Result<(Value, Config), DriverError> {
        let request = Request::FullPoll;
        let reply = self.exchange(&request, "").await?;
        let config = self.config_of(&request, &reply)?;
        self.take_in(&request, &reply, &config)?;
        self.config = Some(config.clone());
        Ok((reply, config))
    }

    /// Sets the power of a miner that is awake, or about to be.
    async fn set_power(&mut self, power: Watts, config: &Config) -> Result<(), DriverError> {
        if config.power_target.is_some() {
            return self.set_target(power).await;
        }
        let name = Request::Profile(String::new()).name();
        let Some(step) = self.steps.choose(power) else {
            let text = "it lists no profile that may be used";
            return Err(self.place.rejected(name, Rejection::Other(text.into())));
        };
        let wanted = step.name.clone();
        if config.profile.as_ref() == Some(&wanted) {
            return Ok(());
        }
        if config.atm && self.read_config().await?.atm {
            return Err(self.place.rejected(name, atm()));
        }
        if let Some(config) = &mut self.config {
            // Until it has said which one it took: what is asked for after an answer that was lost must be sent.
            config.profile = None;
        }
        let reply = self.command(&Request::Profile(wanted.clone())).await?;
        let taken = reply.pointer("/PROFILE/0/Profile").and_then(Value::as_str);
        if let Some(taken) = taken.filter(|taken| *taken != wanted) {
            let text = words(&format!("asked for profile {wanted}, it took {taken}"), &[]);
            return Err(self.place.rejected(name, Rejection::Other(text.into())));
        }
        if let Some(config) = &mut self.config {
            config.profile = Some(wanted);
        }
        Ok(())
    }

    /// Sets a power target in whole watts, never more than asked for.
    async fn set_target(&mut self, power: Watts) -> Result<(), DriverError> {
        let name = Request::PowerTarget(0).name();
        let (low, high) = self.range.unwrap_or((Watts::whole(1), self.rated));
        if power < low {
            return Err(self.place.rejected(name, Rejection::OutOfRange));
        }
        let whole = power.min(high).get().floor();
        let watts: u32 =
            format!("{whole:.0}").parse().map_err(|_| self.place.rejected(name, Rejection::OutOfRange))?;
        self.command(&Request::PowerTarget(watts)).await?;
        if let Some(config) = &mut self.config {
            config.power_target = Some(Some(f64::from(watts)));
        }
        Ok(())
    }

    async fn obey(&mut self, target: Target) -> Result<(), DriverError> {
        let Target::Power(power) = target else {
            self.command(&Request::Sleep).await?;
            if let Some(config) = &mut self.config {
                config.asleep = true;
            }
            return Ok(());
        };
        let config = match self.config.clone().filter(|_| self.ceiling.is_some()) {
            Some(config) => config,
            None => self.full_poll().await?.1,
        };
        if !config.asleep {
            return self.set_power(power, &config).await;
        }
        // The power first, so that the miner wakes towards it and not towards an older, higher one.
        let early =
            match self.set_power(power, &config).await {
                Ok(()) => true,
                // Whether it is taken in sleep is not documented.
                Err(DriverError::Rejected {
                    reason: Rejection::Other(_) | Rejection::WrongState, ..
                }) if !config.atm => false,
                Err(error) => return Err(error),
            };
        self.command(&Request::Wake).await?;
        if let Some(config) = &mut self.config {
            config.asleep = false;
        }
        if early {
            return Ok(());
        }
        self.set_power(power, &config).await.map_err(|error| self.place.halfway("it was woken", error))
    }
}

/// ATM stands in the way; that is for the operator to decide.
fn atm() -> Rejection {
    Rejection::Other("ATM is on and holds the profile; switch ATM off in the miner's settings".into())
}

/// A step as the firmware writes it: a number, mostly as text; profiles of the operator's own have none.
fn whole(value: &Value) -> Option<i32> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64().and_then(|step| i32::try_from(step).ok()),
    }
}

/// Whether a profile's name can be sent without being taken for something else: commas separate parameters, a number
/// from 0 to 3 means a board, a leading sign a relative step, and the endings W, kW and THs select by value.
fn is_plain(name: &str) -> bool {
    let selects = name.ends_with('W') || name.ends_with("THs") || name.starts_with(['+', '-']);
    let board = matches!(name, "0" | "1" | "2" | "3");
    let clean = name.chars().all(|letter| letter.is_ascii_graphic() && letter != ',' && letter != '=');
    !name.is_empty() && clean && !selects && !board
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let row = |place: &str| reply.pointer(place).unwrap_or(&Value::Null);
    let readings = Readings::read(row("/SUMMARY/0"), row("/POWER/0"));
    vec![readings.said(&Config::read(row("/CONFIG/0")), None)]
}

#[async_trait]
impl Driver for Luxos {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let full = self.ceiling.is_none() || self.polls.is_multiple_of(PROFILES_EVERY);
        self.polls = self.polls.wrapping_add(1);
        let (request, reply, config) = if full {
            let (reply, config) = self.full_poll().await?;
            (Request::FullPoll, reply, config)
        } else {
            let request = Request::Poll;
            let reply = self.exchange(&request, "").await?;
            let config = self.config_of(&request, &reply)?;
            self.config = Some(config.clone());
            (request, reply, config)
        };
        let summary = self.row(&request, &reply, "summary", "/SUMMARY/0")?;
        let power = self.row(&request, &reply, "power", "/POWER/0")?;
        let readings = Readings::read(summary, power);
        let elapsed = readings.elapsed;
        let Said { power, hashrate, activity } =
            readings.said(&config, Some(self.pulse.beats(readings.rate)));
        let target = match (&config.profile, config.power_target) {
            _ if config.asleep => Measured::Value(Target::Sleep),
            (_, Some(Some(watts))) if watts > 0.0 => Measured::Value(Target::Power(Watts::saturating(watts))),
            (_, Some(_)) => Measured::Unavailable,
            (Some(profile), None) => match self.steps.power(profile) {
                Some(power) => Measured::Value(Target::Power(power)),
                None => Measured::Unavailable,
            },
            (None, None) => Measured::Unavailable,
        };
        if matches!((self.elapsed, elapsed), (Some(before), Some(now)) if now < before) {
            // After a restart everything is read anew with the next poll.
            self.polls = 0;
        }
        self.elapsed = elapsed.or(self.elapsed);
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: self.range,
            points: if config.power_target.is_some() { None } else { self.steps.points() },
            uptime: elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let result = self.obey(target).await;
        match &result {
            // A miner that does not answer would let a log-off wait in vain; the session is kept in mind.
            Err(DriverError::Timeout { .. } | DriverError::Unreachable { .. }) => {}
            _ => self.logoff().await,
        }
        result
    }

    async fn close(&mut self) {
        self.logoff().await;
        self.session = None;
    }
}
