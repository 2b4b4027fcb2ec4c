//! VNish (also AnthillOS): the HTTP API under `/api/v1` on port 80.
//!
//! Firmware from 1.3 has a throttle: a percentage of what the active preset draws, from 20 to 100, taken up within
//! seconds and without a restart. Older firmware has presets only; of these, tuned ones alone are used: an untuned
//! one starts hours of tuning, or is ignored with an answer of success. Which of the two it is shows in
//! `miner_status`: firmware with a throttle says `throttled`.
//!
//! Reads need no login. For commands `POST /unlock {"pw"}` gives a token, which is kept, renewed on 401 and given
//! back with `POST /lock`.
//!
//! Sources: the vendor's OpenAPI descriptions "xminer-api" of firmware 1.2.6 and 1.3.4 (as kept by the asic-rs
//! project); asic-rs 0.8.6 and pyasic 0.7x for what the fields mean in practice. A preset is changed by its name
//! alone, `{"miner":{"overclock":{"preset":"3250"}}}`: every field of `/settings` may be left out by that description,
//! and sending the rest of `overclock` back writes the old preset's frequencies over the new one's (a user's report).
//! `power_usage`, which some tools read, is described as efficiency; `power_consumption` is in watts.
//!
//! The whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields::{self, words};
use crate::miner::reply::percent::{PercentBase, whole_percent};
use crate::miner::reply::presets::{Step, Steps, step};
use crate::miner::reply::pulse::Pulse;
use crate::miner::reply::said::Said;
use crate::miner::wire::antminer_web::{Answer, Web};
use crate::miner::wire::exchange::Renewal;
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::secret::Secret;
use crate::units::{Hashrate, Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "vnish",
    needs_password: true,
    new: |connection, http| Box::new(Vnish::new(connection, http)),
    traits: Traits {
        quantum: Quantum::Fraction(0.01),
        // By throttle, from firmware 1.3; older firmware tells its presets, which are then its steps.
        class: Class::Continuous,
        restarts: false,
        // Not documented for the throttle: taken as lost, so that it is set anew after a restart.
        persists: false,
        answers: AnswerWithin::NONE,
        response: Response {
            // "Within seconds and proportionally" (a user's report on an S19 Pro Hydro, asic-rs #289); the
            // figures are cautious guesses within that.
            dead_time_down: Duration::from_secs(2),
            dead_time_up: Duration::from_secs(2),
            ramp_down: WattsPerSecond::whole(300),
            ramp_up: WattsPerSecond::whole(100),
            start_time: Duration::from_secs(90),
            starts_at_full: true,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(5),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(10),
        },
        port: 80,
        // The password alone counts (`POST /unlock {"pw"}`).
        username: None,
    },
};

/// The least throttle that the firmware takes.
const LEAST_PERCENT: u8 = 20;
/// After a refused password no other login is tried for this long: the firmware locks itself after a few.
const LOGIN_BACK_OFF: Duration = Duration::from_secs(60);
/// The longest that the firmware's own wish for a pause is heeded.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(600);
/// Which preset is active is asked every so many polls, and after each command.
const PRESET_EVERY: u32 = 12;
/// The list of presets changes only when somebody tunes.
const PRESETS_EVERY: u32 = 360;
/// So many polls after a command read everything.
const FULL_READS_AFTER_COMMAND: u32 = 4;

/// Everything that this driver can say to a miner.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Unlock,
    Lock,
    Summary,
    Status,
    PerfSummary,
    Presets,
    Settings,
    Throttle(u8),
    SetPreset(String),
    Pause,
    Resume,
    Start,
}

impl Request {
    const fn name(&self) -> &'static str {
        match self {
            Self::Unlock => "unlock",
            Self::Lock => "lock",
            Self::Summary => "summary",
            Self::Status => "status",
            Self::PerfSummary => "perf-summary",
            Self::Presets => "autotune/presets",
            Self::Settings | Self::SetPreset(_) => "settings",
            Self::Throttle(_) => "mining/throttle",
            Self::Pause => "mining/pause",
            Self::Resume => "mining/resume",
            Self::Start => "mining/start",
        }
    }

    const fn method(&self) -> Method {
        match self {
            Self::Summary | Self::Status | Self::PerfSummary | Self::Presets | Self::Settings => Method::GET,
            _ => Method::POST,
        }
    }

    /// Whether it needs a login, by the vendor's description.
    const fn needs_login(&self) -> bool {
        !matches!(self, Self::Unlock | Self::Summary | Self::Status | Self::PerfSummary)
    }

    fn body(&self) -> Option<Value> {
        match self {
            Self::Throttle(percent) => Some(json!({ "percent": percent })),
            Self::SetPreset(name) => Some(json!({ "miner": { "overclock": { "preset": name } } })),
            _ => None,
        }
    }
}

/// What `miner_status` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    name: String,
    seconds: Option<f64>,
    throttled: Option<u8>,
    description: String,
}

impl State {
    /// Reads `miner_status`; what is missing is unknown.
    pub(crate) fn read(status: &Value) -> Self {
        let word = |key: &str| fields::text(status, key).map_or_else(String::new, |text| words(text, &[]));
        Self {
            name: word("miner_state"),
            seconds: fields::number(status, "miner_state_time"),
            throttled: fields::number(status, "throttled").and_then(whole_percent),
            description: word("description"),
        }
    }

    fn is_stopped(&self) -> bool {
        matches!(self.name.as_str(), "stopped" | "paused" | "sleep" | "sleeping")
    }
}

/// The hashrate in `miner`, in hashes a second. `hr_realtime` counts what `hr_measure` of `info` says, mostly gigahashes;
/// where that was not asked, `instant_hashrate`, which is always in terahashes, tells it.
fn hashrate(miner: &Value, measure: Option<&str>) -> Option<f64> {
    let now = fields::number(miner, "hr_realtime");
    let terahashes = fields::number(miner, "instant_hashrate");
    let factor = match (measure, now, terahashes) {
        (Some("TH/s"), ..) => 1e12,
        (Some("MH/s"), ..) => 1e6,
        (None, Some(now), Some(terahashes)) if now > 0.0 && terahashes > 0.0 && now < terahashes * 30.0 => {
            1e12
        }
        _ => 1e9,
    };
    let average = fields::number(miner, "hr_average").filter(|_| now.is_some());
    match miner.get("hr_realtime") {
        // Firmware before it had that field.
        None => terahashes.map(|rate| rate * 1e12),
        Some(_) => fields::agreed([now, average].map(|rate| rate.map(|rate| rate * factor))),
    }
}

/// What `miner` of `summary` means, `None` while the mining software is down. `measure` is the unit that `info` names.
pub(crate) fn said(miner: Option<&Value>, state: &State, measure: Option<&str>) -> Said {
    let down = miner.is_none();
    let rate = miner.and_then(|miner| hashrate(miner, measure));
    let hashing = rate.is_some_and(|rate| rate > 0.0);
    let activity = match state.name.as_str() {
        _ if state.is_stopped() => Activity::Asleep,
        "failure" => {
            let text = if state.description.is_empty() { "failure" } else { &state.description };
            Activity::Fault(Arc::from(text))
        }
        "mining" if hashing => Activity::Hashing,
        "mining" | "initializing" | "starting" | "auto-tuning" | "restarting" => Activity::Starting,
        _ if hashing => Activity::Hashing,
        _ => Activity::Unknown,
    };
    let power = miner.and_then(|miner| fields::number(miner, "power_consumption"));
    let has_power = miner.is_some_and(|miner| fields::is_there(miner, &["power_consumption"]));
    Said {
        // A control board that answers draws something: nothing is what the firmware says for "not measured".
        power: fields::live_watts(power, down || has_power),
        hashrate: fields::hashes(
            rate,
            down || miner.is_some_and(|miner| fields::is_there(miner, &["hr_realtime"])),
        ),
        activity,
    }
}

/// Speaks with one miner.
pub struct Vnish {
    web: Web,
    credentials: Option<Credentials>,
    clock: Clock,
    token: Option<Secret>,
    renewal: Renewal,
    /// Why no login is tried at present, and until when.
    hold: Option<(Moment, Rejection)>,
    percent: PercentBase,
    state: Option<State>,
    /// The active preset by its name.
    preset: Option<String>,
    steps: Steps,
    uptime: Option<f64>,
    polls: u32,
    pulse: Pulse,
    full_reads_left: u32,
    /// `resume` was accepted; where the miner still says "stopped", it was stopped and not paused.
    resumed: bool,
}

impl Vnish {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: Web::new(connection, http),
            credentials: connection.credentials.clone(),
            clock: Clock::start(),
            token: None,
            renewal: Renewal::default(),
            hold: None,
            percent: PercentBase::new(connection.rated),
            state: None,
            preset: None,
            steps: Steps::default(),
            uptime: None,
            polls: 0,
            pulse: Pulse::default(),
            full_reads_left: 0,
            resumed: false,
        }
    }

    /// One request with the token, where there is one.
    async fn exchange(&self, request: &Request, body: Option<&Value>) -> Result<Answer, DriverError> {
        let name = request.name();
        let token = match self.token.as_ref().filter(|_| *request != Request::Unlock) {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                    .map_err(|_| self.malformed("unlock", "its token cannot go into a header"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let path = format!("/api/v1/{name}");
        self.web
            .exchange(name, request.method(), &path, 1, |mut builder| {
                if let Some(token) = token {
                    builder = builder.header(AUTHORIZATION, token);
                }
                match body {
                    Some(body) => builder.json(body),
                    None => builder,
                }
            })
            .await
    }

    fn malformed(&self, name: &'static str, reason: impl Into<String>) -> DriverError {
        self.web.place().malformed(name, reason)
    }

    fn rejected(&self, name: &'static str, reason: Rejection) -> DriverError {
        self.web.place().rejected(name, reason)
    }

    fn refusal(&self, request: &Request, answer: &Answer) -> DriverError {
        let password = self.credentials.as_ref().map(|account| account.password.expose());
        let token = self.token.as_ref().map(Secret::expose);
        let secrets = [password.unwrap_or_default(), token.unwrap_or_default()];
        if answer.status == StatusCode::FORBIDDEN {
            return self.rejected(request.name(), Rejection::Credentials);
        }
        self.web.refusal(request.name(), answer, &["err", "message"], &secrets)
    }

    /// Logs in. The token takes the place of any other.
    async fn unlock(&mut self) -> Result<(), DriverError> {
        let request = Request::Unlock;
        let name = request.name();
        self.token = None;
        let Some(account) = &self.credentials else {
            return Err(self.rejected(name, Rejection::Credentials));
        };
        if let Some((until, reason)) = &self.hold
            && self.clock.now() < *until
        {
            return Err(self.rejected(name, reason.clone()));
        }
        let body = json!({ "pw": account.password.expose() });
        let answer = self.exchange(&request, Some(&body)).await?;
        let reason = match answer.status {
            status if status.is_success() => {
                let reply = self.web.place().json(name, &answer.body)?;
                let token = fields::text(&reply, "token")
                    .filter(|token| !token.is_empty())
                    .ok_or_else(|| self.malformed(name, "its `token` is missing"))?;
                self.token = Some(Secret::new(token.to_owned()));
                self.hold = None;
                return Ok(());
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Rejection::Credentials,
            StatusCode::TOO_MANY_REQUESTS => Rejection::Busy,
            _ => return Err(self.refusal(&request, &answer)),
        };
        // `unlock_timeout` tells for how many seconds further logins are refused.
        let wish = fields::parse(&answer.body)
            .ok()
            .and_then(|reply| fields::number(&reply, "unlock_timeout"))
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or_default();
        let pause = wish.clamp(LOGIN_BACK_OFF, LONGEST_BACK_OFF);
        self.hold = Some((self.clock.now() + pause, reason.clone()));
        Err(self.rejected(name, reason))
    }

    /// Makes a request, logged in where that is needed. A request that was answered with 401, or with 403 for a token of
    /// before, was not carried out, so it may be repeated once.
    async fn call(&mut self, request: &Request) -> Result<Value, DriverError> {
        let name = request.name();
        let held = self.token.is_some();
        if request.needs_login() && !held {
            self.unlock().await?;
        }
        let body = request.body();
        let mut answer = self.exchange(request, body.as_ref()).await?;
        if self.renewal.is_due(answer.status, held, self.clock.now()) {
            self.unlock().await?;
            answer = self.exchange(request, body.as_ref()).await?;
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            self.token = None;
            // A fresh login was no help: another one at once would not be either.
            self.hold = Some((self.clock.now() + LOGIN_BACK_OFF, Rejection::Credentials));
        }
        if !answer.status.is_success() {
            return Err(self.refusal(request, &answer));
        }
        if answer.body.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        // Pause and resume answer without JSON by the description; their status alone counts.
        match fields::parse(&answer.body) {
            Ok(value) => Ok(value),
            Err(_) if matches!(request, Request::Pause | Request::Resume | Request::Start) => Ok(Value::Null),
            Err(reason) => Err(self.malformed(name, reason)),
        }
    }

    /// Reads `summary`: the object `miner`, `None` while the mining software is down, and its state.
    async fn read_summary(&mut self) -> Result<(Option<Value>, State), DriverError> {
        let name = Request::Summary.name();
        let mut summary = self.call(&Request::Summary).await?;
        if !summary.is_object() {
            return Err(self.malformed(name, "it is not an object"));
        }
        let miner = summary.get_mut("miner").map(Value::take).filter(|miner| !miner.is_null());
        if miner.as_ref().is_some_and(|miner| !miner.is_object()) {
            return Err(self.malformed(name, "`miner` is not an object"));
        }
        let state = match miner.as_ref().and_then(|miner| miner.get("miner_status")) {
            Some(status) => State::read(status),
            None => match self.call(&Request::Status).await {
                Ok(status) => State::read(&status),
                Err(DriverError::Rejected { .. }) => State::default(),
                Err(error) => return Err(error),
            },
        };
        if !state.is_stopped() {
            self.resumed = false;
        }
        self.state = Some(state.clone());
        Ok((miner, state))
    }

    /// Reads which preset is active. Firmware that does not tell leaves it open.
    async fn read_preset(&mut self) -> Result<(), DriverError> {
        let reply = match self.call(&Request::PerfSummary).await {
            Ok(reply) => reply,
            Err(DriverError::Rejected { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let preset = reply.get("current_preset").filter(|preset| preset.is_object());
        self.preset = preset.and_then(|preset| fields::text(preset, "name")).map(|name| words(name, &[]));
        let power = preset.and_then(preset_step).map(|step| step.point.power);
        // What the preset draws is not reduced by the throttle that is in force.
        self.percent.observe(power, Some(0));
        Ok(())
    }

    /// Reads the tuned presets. Needs a login; without an account they stay unknown.
    async fn read_presets(&mut self) -> Result<(), DriverError> {
        let name = Request::Presets.name();
        let reply = self.call(&Request::Presets).await?;
        let list = reply
            .as_array()
            .or_else(|| reply.get("presets").and_then(Value::as_array))
            .ok_or_else(|| self.malformed(name, "it is not a list"))?;
        let tuned = list.iter().filter(|preset| fields::text(preset, "status") == Some("tuned"));
        self.steps = Steps::new(tuned.filter_map(preset_step));
        Ok(())
    }

    /// Lowers or raises the power of a miner that hashes, or of one that is about to wake.
    async fn set_power(&mut self, power: Watts, throttle: bool, waking: bool) -> Result<(), DriverError> {
        let (request, name) = if throttle {
            let name = Request::Throttle(0).name();
            match self.percent.percent(power).filter(|percent| *percent >= LEAST_PERCENT) {
                Some(percent) => (Request::Throttle(percent), name),
                None => return Err(self.rejected(name, Rejection::OutOfRange)),
            }
        } else {
            let name = Request::SetPreset(String::new()).name();
            // Whether a preset is tuned can change, and an untuned one must not be sent; and somebody may have chosen
            // another by hand.
            self.read_presets().await?;
            self.read_preset().await?;
            match self.steps.choose(power) {
                Some(step) if self.preset.as_ref() == Some(&step.name) => return Ok(()),
                Some(step) => (Request::SetPreset(step.name.clone()), name),
                None => {
                    let text = "it has no tuned preset; let it tune some of its presets first";
                    return Err(self.rejected(name, Rejection::Other(text.into())));
                }
            }
        };
        if !throttle {
            // Until it is read back: one whose answer is lost may have been taken or not.
            self.preset = None;
        }
        let reply = self.call(&request).await?;
        match &request {
            Request::Throttle(percent) => self.percent.accepted(*percent, power),
            Request::SetPreset(wanted) => {
                // Success is also the answer to a preset that is ignored (pyasic); the settings tell.
                let settings = self.call(&Request::Settings).await;
                let settings = settings.map_err(|error| self.web.place().halfway("it said yes", error))?;
                let taken = match settings.pointer("/miner/overclock/preset") {
                    Some(Value::String(name)) => name.clone(),
                    Some(Value::Number(name)) => name.to_string(),
                    _ => return Err(self.malformed("settings", "`miner.overclock.preset` is missing")),
                };
                if taken != *wanted {
                    let text = words(&format!("it answered yes to preset {wanted}, but kept {taken}"), &[]);
                    return Err(self.rejected(name, Rejection::Other(text.into())));
                }
                self.preset = Some(taken);
            }
            _ => {}
        }
        let wants = |key: &str| fields::flag(&reply, key) == Some(true);
        if (wants("restart_required") || wants("reboot_required")) && !waking {
            let text =
                "it took the value, but wants a restart before it heeds it; nothing is restarted from here";
            return Err(self.rejected(name, Rejection::Other(text.into())));
        }
        Ok(())
    }

    /// Wakes a miner: `resume` after a pause, `start` where that has been no help.
    async fn wake(&mut self) -> Result<(), DriverError> {
        if !self.resumed {
            match self.call(&Request::Resume).await {
                Ok(_) => {
                    self.resumed = true;
                    return Ok(());
                }
                Err(DriverError::Rejected {
                    reason: Rejection::Other(_) | Rejection::WrongState, ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        self.call(&Request::Start).await?;
        self.resumed = false;
        Ok(())
    }
}

/// A preset as a step: its name is its power in watts, and `pretty` reads like "3250 watt ~ 110 TH".
pub(crate) fn preset_step(preset: &Value) -> Option<Step> {
    let name = fields::text(preset, "name")?;
    let watts: f64 = name.trim().parse().ok().filter(|watts: &f64| (1.0..100_000.0).contains(watts))?;
    let pretty = fields::text(preset, "pretty").unwrap_or_default();
    let rate = pretty.split_once('~').map(|(_, rate)| rate.trim()).unwrap_or_default();
    let rate = rate.split_whitespace().next().and_then(|rate| rate.parse().ok());
    let rate = rate.filter(|rate: &f64| (0.0..100_000.0).contains(rate)).unwrap_or(0.0);
    Some(step(name, watts, rate))
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let miner = reply.get("miner");
    let state = State::read(miner.and_then(|miner| miner.get("miner_status")).unwrap_or(reply));
    let presets = reply.as_array().into_iter().flatten().filter_map(preset_step).take(64);
    assert!(presets.into_iter().all(|step| step.point.power > Watts::ZERO));
    vec![said(miner, &state, None), said(Some(reply), &state, fields::text(reply, "hr_measure"))]
}

#[async_trait]
impl Driver for Vnish {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let (miner, state) = self.read_summary().await?;
        let restarted = matches!((self.uptime, state.seconds), (Some(before), Some(now)) if now < before);
        self.uptime = state.seconds.or(self.uptime);
        let full = restarted || self.full_reads_left > 0;
        self.full_reads_left = self.full_reads_left.saturating_sub(1);
        if full || self.polls.is_multiple_of(PRESET_EVERY) {
            self.read_preset().await?;
        }
        let throttle = state.throttled;
        if throttle.is_none()
            && self.credentials.is_some()
            && (restarted || self.polls.is_multiple_of(PRESETS_EVERY))
        {
            match self.read_presets().await {
                // A refused login shows in the commands; the reading itself goes on.
                Ok(()) | Err(DriverError::Rejected { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.polls = self.polls.wrapping_add(1);

        let base = self.percent.base();
        let Said { power, hashrate, activity } = said(miner.as_ref(), &state, None);
        let hashing = self.pulse.beats(hashrate.value().map(Hashrate::get));
        let activity = match activity {
            // It was told to stop and has not yet; or what is left is the average of a past.
            Activity::Asleep if hashing => Activity::Hashing,
            Activity::Hashing if !hashing && state.name == "mining" => Activity::Starting,
            Activity::Hashing if !hashing => Activity::Unknown,
            activity => activity,
        };
        let target = match (throttle, &self.preset) {
            _ if state.is_stopped() => Measured::Value(Target::Sleep),
            (Some(percent), _) => Measured::Value(self.percent.target(percent)),
            (None, Some(preset)) => match self.steps.power(preset) {
                Some(power) => Measured::Value(Target::Power(power)),
                None => Measured::Unavailable,
            },
            (None, None) => Measured::Unavailable,
        };
        // The time in the present state is kept up for "mining" only, by the description.
        let uptime = state.seconds.filter(|_| state.name == "mining");
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: throttle.map(|_| (base.scaled(f64::from(LEAST_PERCENT) / 100.0), base)),
            points: if throttle.is_none() { self.steps.points() } else { None },
            uptime: uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        self.full_reads_left = FULL_READS_AFTER_COMMAND;
        let Target::Power(power) = target else {
            self.call(&Request::Pause).await?;
            self.resumed = false;
            if let Some(state) = &mut self.state {
                "paused".clone_into(&mut state.name);
            }
            return Ok(());
        };
        let known = self.state.clone();
        let state = match known {
            Some(state) => state,
            None => {
                let (_, state) = self.read_summary().await?;
                self.read_preset().await?;
                state
            }
        };
        let throttle = state.throttled.is_some();
        if !state.is_stopped() {
            return self.set_power(power, throttle, false).await;
        }
        // The power first, so that the miner wakes towards it and not towards an older, higher one.
        let early =
            match self.set_power(power, throttle, true).await {
                Ok(()) => true,
                // Not every version is known to take it while it sleeps.
                Err(DriverError::Rejected {
                    reason: Rejection::Other(_) | Rejection::WrongState, ..
                }) if throttle => false,
                Err(error) => return Err(error),
            };
        self.wake().await?;
        if let Some(state) = &mut self.state {
            "starting".clone_into(&mut state.name);
        }
        if early {
            return Ok(());
        }
        let set = self.set_power(power, throttle, true).await;
        set.map_err(|error| self.web.place().halfway("it was woken", error))
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if self.credentials.is_none() {
            return Ok(false);
        }
        if self.token.is_none() {
            self.unlock().await?;
        }
        Ok(true)
    }

    async fn close(&mut self) {
        if self.token.is_some() {
            // Whether or not it is heard: the session also ends by itself.
            let _ = self.exchange(&Request::Lock, None).await;
            self.token = None;
        }
    }
}
