//! Braiins OS 25.07 and later: REST under `/api/v1` on port 80.
//!
//! `POST auth/login` gives a token that goes bare into `Authorization` and ends after an hour without use. Power is
//! a target in whole watts; it is written to the miner's configuration, so every command costs a write to flash.
//!
//! Sources: Braiins "OS Public REST API" (developer.braiins-os.com): `auth/login`, `performance/power-target`,
//! `performance/tuner-state`, `configuration/constraints`, `actions/pause`, `actions/resume`, `miner/stats`,
//! `miner/details`; reply shapes as captured from miners by the asic-rs project. States of the miner by the public
//! API: 1 not started, 2 normal, 3 paused, 4 suspended, 5 restricted.
//!
//! Every command is absolute, so none adds up when it is said twice; after a timeout nothing is repeated here all
//! the same, the control law decides. The whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::said::Said;
use crate::miner::wire::Place;
use crate::miner::wire::exchange::{self, Renewal};
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::secret::Secret;
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "braiins-os",
    needs_password: true,
    new: |connection, http| Box::new(BraiinsOs::new(connection, http)),
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: false,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(2),
            dead_time_up: Duration::from_secs(4),
            ramp_down: WattsPerSecond::whole(300),
            ramp_up: WattsPerSecond::whole(20),
            start_time: Duration::from_secs(60),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(30),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(60),
        },
        port: 80,
        username: Some("root"),
    },
};

/// The account of a new installation.
const DEFAULT_ACCOUNT: &str = "root";
/// How long a token lives without use, where the login does not say.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// A token this close to its end is not used any more.
const TOKEN_MARGIN: Duration = Duration::from_secs(30);
/// After a refused login no other is tried for this long: some versions lock the account.
const LOGIN_BACK_OFF: Duration = Duration::from_secs(60);
/// The largest power target that is ever sent; no miner comes near.
const MAX_WATTS: Watts = Watts::whole(1_000_000);

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Login,
    Stats,
    Details,
    TunerState,
    Constraints,
    PowerTarget,
    Pause,
    Resume,
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Login => "auth/login",
            Self::Stats => "miner/stats",
            Self::Details => "miner/details",
            Self::TunerState => "performance/tuner-state",
            Self::Constraints => "configuration/constraints",
            Self::PowerTarget => "performance/power-target",
            Self::Pause => "actions/pause",
            Self::Resume => "actions/resume",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Login => Method::POST,
            Self::Stats | Self::Details | Self::TunerState | Self::Constraints => Method::GET,
            Self::PowerTarget | Self::Pause | Self::Resume => Method::PUT,
        }
    }
}

/// A login.
struct Token {
    text: Secret,
    life: Duration,
    used: Moment,
}

/// Speaks the REST API with one miner. The HTTP client that words the requests is shared; the connection is its own.
pub struct BraiinsOs {
    place: Place,
    base: String,
    http: Client,
    credentials: Option<Credentials>,
    clock: Clock,
    token: Option<Token>,
    renewal: Renewal,
    no_login_until: Moment,
    range: Option<(Watts, Watts)>,
    paused: Option<bool>,
    uptime: Option<Duration>,
}

impl BraiinsOs {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            place: Place::new(connection),
            base: format!("http://{}/api/v1/", connection.endpoint),
            http: http.clone(),
            credentials: connection.credentials.clone(),
            clock: Clock::start(),
            token: None,
            renewal: Renewal::default(),
            no_login_until: Moment::START,
            range: None,
            paused: None,
            uptime: None,
        }
    }

    /// One request: connection, answer and body under the time limit. Gives the status and the bounded body.
    async fn exchange(
        &self,
        request: Request,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), DriverError> {
        let name = request.path();
        let mut builder = self.http.request(request.method(), format!("{}{name}", self.base));
        if let Some(token) = self.token.as_ref().filter(|_| request != Request::Login) {
            let mut value = reqwest::header::HeaderValue::from_str(token.text.expose())
                .map_err(|_| self.place.malformed("auth/login", "its token cannot go into a header"))?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            builder = builder.json(body);
        }
        let answer = exchange::over_http(&self.place, name, builder).await?;
        Ok((answer.status, answer.body))
    }

    /// Logs in. The token takes the place of any other.
    async fn login(&mut self) -> Result<(), DriverError> {
        let request = Request::Login;
        let name = request.path();
        self.token = None;
        let Some(account) = self.credentials.clone() else {
            return Err(self.place.rejected(name, Rejection::Credentials));
        };
        if self.clock.now() < self.no_login_until {
            return Err(self.place.rejected(name, Rejection::Credentials));
        }
        let body = json!({
            "username": account.username.as_deref().unwrap_or(DEFAULT_ACCOUNT),
            "password": account.password.expose(),
        });
        let (status, bytes) = self.exchange(request, Some(&body)).await?;
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST) {
            self.no_login_until = self.clock.now() + LOGIN_BACK_OFF;
            return Err(self.place.rejected(name, Rejection::Credentials));
        }
        if !status.is_success() {
            return Err(self.refusal(request, status, &bytes));
        }
        let reply = self.place.json(name, &bytes)?;
        let token = fields::text(&reply, "token")
            .filter(|token| !token.is_empty())
            .ok_or_else(|| self.place.malformed(name, "its `token` is missing"))?;
        let life = fields::number(&reply, "timeout_s");
        self.token = Some(Token {
            text: Secret::new(token.to_owned()),
            life: life
                .filter(|seconds| *seconds > 0.0)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .unwrap_or(TOKEN_LIFE),
            used: self.clock.now(),
        });
        Ok(())
    }

    /// Makes a request as somebody who is logged in. A login that has ended is renewed once; a request that was
    /// answered with 401, or with 403 for a login of before, was not carried out, so it may be repeated.
    async fn call(&mut self, request: Request, body: Option<&Value>) -> Result<Value, DriverError> {
        let name = request.path();
        let now = self.clock.now();
        let usable = self
            .token
            .as_ref()
            .is_some_and(|token| now.since(token.used) + TOKEN_MARGIN < token.life.max(TOKEN_MARGIN * 2));
        if !usable && self.credentials.is_some() {
            self.login().await?;
        }
        let (mut status, mut bytes) = self.exchange(request, body).await?;
        if self.renewal.is_due(status, usable, now) {
            self.login().await?;
            (status, bytes) = self.exchange(request, body).await?;
        }
        if status == StatusCode::UNAUTHORIZED {
            self.token = None;
            return Err(self.place.rejected(name, Rejection::Credentials));
        }
        if let Some(token) = &mut self.token {
            token.used = self.clock.now();
        }
        if !status.is_success() {
            return Err(self.refusal(request, status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        self.place.json(name, &bytes)
    }

    /// The same for what may have nothing to tell now: while the mining software starts, is paused or was just updated.
    async fn call_for_now(&mut self, request: Request) -> Result<Option<Value>, DriverError> {
        match self.call(request, None).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error @ DriverError::Rejected { reason: Rejection::Credentials, .. }) => Err(error),
            Err(DriverError::Rejected { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a refusal means.
    fn refusal(&self, request: Request, status: StatusCode, body: &[u8]) -> DriverError {
        let name = request.path();
        let reason = match status {
            StatusCode::CONFLICT => Rejection::WrongState,
            StatusCode::PRECONDITION_FAILED | StatusCode::UNPROCESSABLE_ENTITY => Rejection::OutOfRange,
            StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Rejection::Unsupported
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Rejection::Busy,
            _ => {
                let text = String::from_utf8_lossy(body);
                let parsed = fields::parse(body).unwrap_or_default();
                let message = fields::text(&parsed, "message")
                    .or_else(|| fields::text(&parsed, "error"))
                    .unwrap_or(&text);
                let password = self.credentials.as_ref().map(|account| account.password.expose());
                let token = self.token.as_ref().map(|token| token.text.expose());
                let secrets = [password.unwrap_or_default(), token.unwrap_or_default()];
                return self.place.other(name, &format!("HTTP {}: {message}", status.as_u16()), &secrets);
            }
        };
        self.place.rejected(name, reason)
    }

    /// Reads the range of power targets; firmware without one leaves it open.
    async fn read_range(&mut self) -> Result<(), DriverError> {
        let reply = self.call_for_now(Request::Constraints).await?.unwrap_or_default();
        if let Some((low, high)) = range(&reply) {
            self.range = Some((Watts::saturating(low), Watts::saturating(high)));
        }
        Ok(())
    }

    /// Reads state and time since the mining software started.
    async fn read_details(&mut self) -> Result<Details, DriverError> {
        let details = Details::read(&self.call_for_now(Request::Details).await?.unwrap_or_default());
        if details.state != State::Unknown {
            self.paused = Some(details.state == State::Paused);
        }
        Ok(details)
    }

    /// Reads the target that the tuner works to.
    async fn read_target(&mut self) -> Result<Measured<Watts>, DriverError> {
        let reply = match self.call(Request::TunerState, None).await {
            Ok(reply) => reply,
            Err(DriverError::Rejected { reason: Rejection::Unsupported, .. }) => {
                return Ok(Measured::Unsupported);
            }
            Err(error @ DriverError::Rejected { reason: Rejection::Credentials, .. }) => return Err(error),
            // The tuner says nothing while the mining software is down.
            Err(DriverError::Rejected { .. }) => return Ok(Measured::Unavailable),
            Err(error) => return Err(error),
        };
        // Another tuning mode (by hashrate) has another key, or none: then there is no power target.
        let target = reply.pointer("/mode_state/powertargetmodestate/current_target");
        let watts = target.and_then(|target| fields::number(target, "watt")).filter(|watts| *watts > 0.0);
        Ok(fields::watts(watts, true))
    }

    /// Sends a power target in whole watts, never more than asked for.
    async fn set_target(&mut self, power: Watts) -> Result<(), DriverError> {
        let name = Request::PowerTarget.path();
        let mut whole = power.get().floor();
        if let Some((low, high)) = self.range {
            if power < low {
                return Err(self.place.rejected(name, Rejection::OutOfRange));
            }
            whole = whole.min(high.get().floor());
        }
        if whole < 1.0 || whole > MAX_WATTS.get() {
            return Err(self.place.rejected(name, Rejection::OutOfRange));
        }
        // A whole number in JSON: the device refuses `3200.0`.
        let watt: u32 =
            format!("{whole:.0}").parse().map_err(|_| self.place.rejected(name, Rejection::OutOfRange))?;
        let reply = self.call(Request::PowerTarget, Some(&json!({ "watt": watt }))).await?;
        match fields::confirmed(&reply, "watt").map_err(|reason| self.place.malformed(name, reason))? {
            // It took another value instead: the read-back tells which, and the answer is not a yes.
            Some(taken) if taken > f64::from(watt) + 0.5 => {
                Err(self.place.rejected(name, Rejection::OutOfRange))
            }
            _ => Ok(()),
        }
    }
}

/// What the miner says it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    NotStarted,
    Normal,
    Paused,
    Suspended,
    Restricted,
}

impl State {
    /// A number, by the vendor's list, or its name.
    fn read(value: &Value) -> Self {
        const BY_NUMBER: [State; 6] = [
            State::Unknown,
            State::NotStarted,
            State::Normal,
            State::Paused,
            State::Suspended,
            State::Restricted,
        ];
        let numbered = |number: f64| {
            let mut states = BY_NUMBER.into_iter().zip(0_u8..);
            states.find(|(_, place)| (f64::from(*place) - number).abs() < 0.5).map(|(state, _)| state)
        };
        match (fields::as_number(value), value) {
            (Some(number), _) => numbered(number).unwrap_or_default(),
            (None, Value::String(text)) => Self::from_name(text),
            _ => Self::Unknown,
        }
    }

    fn from_name(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        match name.trim_start_matches("miner_status_") {
            "not_started" => Self::NotStarted,
            "normal" => Self::Normal,
            "paused" => Self::Paused,
            "suspended" => Self::Suspended,
            "restricted" => Self::Restricted,
            _ => Self::Unknown,
        }
    }
}

/// What `miner/details` says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Details {
    state: State,
    uptime: Option<Duration>,
}

impl Details {
    /// Reads it; what is missing is unknown.
    pub(crate) fn read(reply: &Value) -> Self {
        let uptime = fields::number(reply, "bosminer_uptime_s");
        Self {
            state: reply.get("status").map(State::read).unwrap_or_default(),
            uptime: uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }
}

/// The lowest and the highest power target that `configuration/constraints` lists, in watts.
pub(crate) fn range(reply: &Value) -> Option<(f64, f64)> {
    let limits = reply.pointer("/tuner_constraints/power_target")?;
    let edge = |edge: &str| fields::number(limits.get(edge)?, "watt");
    let (low, high) = (edge("min")?, edge("max")?);
    (low >= 0.0 && high > 0.0 && low <= high).then_some((low, high))
}

/// Hashes per second out of the object in which the API wraps every hashrate.
fn hashrate(value: &Value) -> Option<f64> {
    [("gigahash_per_second", 1e9), ("terahash_per_second", 1e12), ("megahash_per_second", 1e6)]
        .into_iter()
        .find_map(|(key, factor)| fields::number(value, key).map(|number| number * factor))
}

/// What `miner/stats` and `miner/details` mean.
pub(crate) fn said(stats: &Value, details: Details) -> Said {
    let power = stats.pointer("/power_stats/approximated_consumption");
    let windows = ["last_5s", "last_15s", "last_30s", "last_1m", "last_5m"];
    let rates = stats.pointer("/miner_stats/real_hashrate").unwrap_or(&Value::Null);
    let rate = fields::agreed(windows.map(|window| hashrate(rates.get(window)?)));
    let hashing = rate.is_some_and(|rate| rate > 0.0);
    let activity = match details.state {
        State::Paused => Activity::Asleep,
        State::Suspended => Activity::Fault(Arc::from("suspended")),
        State::NotStarted => Activity::Starting,
        State::Normal | State::Restricted if hashing => Activity::Hashing,
        State::Normal | State::Restricted => Activity::Starting,
        State::Unknown if hashing => Activity::Hashing,
        State::Unknown => Activity::Unknown,
    };
    Said {
        power: fields::watts(power.and_then(|power| fields::number(power, "watt")), true),
        hashrate: fields::hashes(rate, true),
        activity,
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    assert!(range(reply).is_none_or(|(low, high)| low <= high));
    vec![said(reply, Details::read(reply))]
}

#[async_trait]
impl Driver for BraiinsOs {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let stats = self.call_for_now(Request::Stats).await?;
        // An answer of another program on that port would have neither.
        if let Some(stats) = &stats
            && stats.get("power_stats").is_none()
            && stats.get("miner_stats").is_none()
        {
            let reason = "`power_stats` and `miner_stats` are missing";
            return Err(self.place.malformed(Request::Stats.path(), reason));
        }
        let details = self.read_details().await?;
        let (state, uptime) = (details.state, details.uptime);
        let restarted = matches!((self.uptime, uptime), (Some(before), Some(now)) if now < before);
        if self.range.is_none() || restarted {
            self.read_range().await?;
        }
        self.uptime = uptime.or(self.uptime);
        let target = match state {
            State::Paused => Measured::Value(Target::Sleep),
            _ => match self.read_target().await? {
                Measured::Value(watts) => Measured::Value(Target::Power(watts)),
                Measured::Unsupported => Measured::Unsupported,
                Measured::Unavailable => Measured::Unavailable,
            },
        };
        let Said { power, hashrate, activity } = said(&stats.unwrap_or_default(), details);
        Ok(MinerStatus { power, hashrate, activity, target, range: self.range, points: None, uptime })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match target {
            Target::Sleep => {
                self.call(Request::Pause, None).await?;
                self.paused = Some(true);
                Ok(())
            }
            Target::Power(power) => {
                if self.paused.is_none() {
                    self.read_details().await?;
                }
                if self.paused != Some(true) {
                    return self.set_target(power).await;
                }
                // The target first, so that the miner wakes towards it and not towards an older, higher one.
                let early = match self.set_target(power).await {
                    Ok(()) => true,
                    // Some versions take a target only while they mine.
                    Err(DriverError::Rejected { reason: Rejection::WrongState, .. }) => false,
                    Err(error) => return Err(error),
                };
                self.call(Request::Resume, None).await?;
                self.paused = Some(false);
                if early {
                    return Ok(());
                }
                self.set_target(power).await.map_err(|error| self.place.halfway("it was woken", error))
            }
        }
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if self.credentials.is_none() {
            return Ok(false);
        }
        self.call(Request::Details, None).await?;
        Ok(true)
    }

    async fn close(&mut self) {
        // The API has no way to log out; the token ends by itself, and the connection with the driver.
        self.token = None;
    }
}
