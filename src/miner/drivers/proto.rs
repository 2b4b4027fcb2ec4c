//! Proto Rig: the Mining Development Kit API under `/api/v1`, over plain HTTP on port 80.
//!
//! `POST auth/login` with the password alone gives an access and a refresh token; the access token goes as `Bearer`
//! into `Authorization`, and `POST auth/logout` ends both. Power is a target in whole watts, taken up live.
//! `mining/stop` leaves the control board alone running, `mining/start` goes on at the power target.
//!
//! Sources: MDK API 1.8.2, OpenAPI document of the proto-fleet project (`mining`, `mining/target`, `mining/start`,
//! `mining/stop`, `auth/*`, `telemetry`, `errors`); replies of ProtoOS 1.8.0 as captured by the asic-rs project. A
//! target is sent as `power_target_watts` alone: every field of that request is optional, and those that are left out
//! (performance mode, balance of the bays, hashing without a pool) stay as they are. The header by which the fleet
//! software marks a stop as its own is not sent: this is not that software.
//!
//! The whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::said::Said;
use crate::miner::wire::exchange::Renewal;
use crate::miner::wire::web::{Answer, Web};
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::secret::Secret;
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "proto",
    needs_password: true,
    new: |connection, http| Box::new(Proto::new(connection, http)),
    // Whole watts, live and kept: MDK API 1.8.2, `mining/target`. No time is documented: cautious guesses.
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
        username: None,
    },
};

/// After a refused login no other is tried for this long.
const LOGIN_BACK_OFF: Duration = Duration::from_secs(60);
/// The largest power target that is ever sent; no miner comes near.
const MAX_WATTS: f64 = 1e6;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Login,
    Logout,
    Mining,
    Telemetry,
    Errors,
    Target,
    SetTarget,
    Start,
    Stop,
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Login => "auth/login",
            Self::Logout => "auth/logout",
            Self::Mining => "mining",
            Self::Telemetry => "telemetry?level=miner",
            Self::Errors => "errors",
            Self::Target | Self::SetTarget => "mining/target",
            Self::Start => "mining/start",
            Self::Stop => "mining/stop",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Login | Self::Logout | Self::Start | Self::Stop => Method::POST,
            Self::SetTarget => Method::PUT,
            Self::Mining | Self::Telemetry | Self::Errors | Self::Target => Method::GET,
        }
    }
}

/// What a login gave.
struct Tokens {
    access: Secret,
    refresh: Option<Secret>,
}

/// Speaks the MDK API with one miner.
pub struct Proto {
    web: Web,
    password: Option<Secret>,
    clock: Clock,
    tokens: Option<Tokens>,
    renewal: Renewal,
    no_login_until: Moment,
    range: Option<(Watts, Watts)>,
    state: State,
    uptime: Option<Duration>,
}

impl Proto {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: Web::new(connection, http, "/api/v1/"),
            password: connection.credentials.as_ref().map(|account| account.password.clone()),
            clock: Clock::start(),
            tokens: None,
            renewal: Renewal::default(),
            no_login_until: Moment::START,
            range: None,
            state: State::Unknown,
            uptime: None,
        }
    }

    async fn exchange(&self, request: Request, body: Option<&Value>) -> Result<Answer, DriverError> {
        let mut builder = self.web.request(request.method(), request.path());
        if let Some(tokens) = self.tokens.as_ref().filter(|_| request != Request::Login) {
            builder = builder.bearer_auth(tokens.access.expose());
        }
        if let Some(body) = body {
            builder = builder.json(body);
        }
        self.web.send(request.path(), builder).await
    }

    async fn login(&mut self) -> Result<(), DriverError> {
        let request = Request::Login;
        let name = request.path();
        self.tokens = None;
        let place = self.web.place().clone();
        let password = self.password.clone().filter(|_| self.clock.now() >= self.no_login_until);
        let Some(password) = password else {
            return Err(place.rejected(name, Rejection::Credentials));
        };
        let answer = self.exchange(request, Some(&json!({ "password": password.expose() }))).await?;
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) {
            self.no_login_until = self.clock.now() + LOGIN_BACK_OFF;
            return Err(place.rejected(name, Rejection::Credentials));
        }
        if !answer.status.is_success() {
            return Err(self.refusal(request, &answer));
        }
        let reply = self.web.json(name, &answer)?;
        let token = |key: &str| {
            fields::text(&reply, key).filter(|text| !text.is_empty()).map(|text| Secret::new(text.to_owned()))
        };
        let access =
            token("access_token").ok_or_else(|| place.malformed(name, "its `access_token` is missing"))?;
        // What cannot stand in a header would come back as an error of every request to come.
        if reqwest::header::HeaderValue::from_str(access.expose()).is_err() {
            return Err(place.malformed(name, "its token cannot go into a header"));
        }
        self.tokens = Some(Tokens { access, refresh: token("refresh_token") });
        Ok(())
    }

    /// Makes a request as somebody who is logged in. A login that has ended is renewed once; a request that was
    /// answered with 401, or with 403 for a login of before, was not carried out, so it may be repeated.
    async fn call(&mut self, request: Request, body: Option<&Value>) -> Result<Answer, DriverError> {
        let held = self.tokens.is_some();
        if !held && self.password.is_some() {
            self.login().await?;
        }
        let mut answer = self.exchange(request, body).await?;
        if self.renewal.is_due(answer.status, held, self.clock.now()) {
            self.login().await?;
            answer = self.exchange(request, body).await?;
        }
        if answer.status.is_success() {
            return Ok(answer);
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            self.tokens = None;
        }
        Err(self.refusal(request, &answer))
    }

    /// The same for an answer that is an object; 204 says that there is nothing to tell now.
    async fn ask(&mut self, request: Request) -> Result<Option<Value>, DriverError> {
        let answer = self.call(request, None).await?;
        if answer.status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let value = self.web.json(request.path(), &answer)?;
        Ok(Some(value))
    }

    /// The same for what not every version has, or has only while it mines.
    async fn ask_for_now(&mut self, request: Request) -> Result<Option<Value>, DriverError> {
        match self.ask(request).await {
            Err(error @ DriverError::Rejected { reason: Rejection::Credentials, .. }) => Err(error),
            Err(DriverError::Rejected { .. }) => Ok(None),
            result => result,
        }
    }

    /// What a refusal means.
    fn refusal(&self, request: Request, answer: &Answer) -> DriverError {
        let name = request.path();
        let reason = match answer.status {
            StatusCode::UNAUTHORIZED => Rejection::Credentials,
            // The document gives 422 for a target out of range and for a start or stop that is not possible now.
            StatusCode::UNPROCESSABLE_ENTITY if request == Request::SetTarget => Rejection::OutOfRange,
            StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT => Rejection::WrongState,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Rejection::Unsupported
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Rejection::Busy,
            _ => {
                let password = self.password.as_ref().map(Secret::expose).unwrap_or_default();
                let token = self.tokens.as_ref().map(|tokens| tokens.access.expose()).unwrap_or_default();
                return self.web.refused(name, answer, &[password, token]);
            }
        };
        self.web.place().rejected(name, reason)
    }

    /// Reads the range of power targets, where the firmware has one.
    async fn read_range(&mut self) -> Result<(), DriverError> {
        let Some(reply) = self.ask_for_now(Request::Target).await? else { return Ok(()) };
        let edge = |key| fields::number(&reply, key);
        if let (Some(low), Some(high)) = (edge("power_target_min_watts"), edge("power_target_max_watts"))
            && 0.0 <= low
            && low <= high
            && high > 0.0
        {
            self.range = Some((Watts::saturating(low), Watts::saturating(high)));
        }
        Ok(())
    }

    /// The hashrate of this moment, for firmware whose `mining` has only the average since the start.
    async fn read_rate(&mut self) -> Result<Option<f64>, DriverError> {
        Ok(self.ask_for_now(Request::Telemetry).await?.as_ref().and_then(telemetry_rate))
    }

    /// The errors of a miner that says it has some.
    async fn read_errors(&mut self) -> Arc<str> {
        let Ok(Some(reply)) = self.ask(Request::Errors).await else { return Arc::from("error") };
        let error = reply.get(0).unwrap_or(&Value::Null);
        let text = [fields::text(error, "error_code"), fields::text(error, "message")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": ");
        if text.is_empty() { Arc::from("error") } else { Arc::from(fields::words(&text, &[])) }
    }

    /// Sends a power target in whole watts, never more than asked for.
    async fn set_target(&mut self, power: Watts) -> Result<(), DriverError> {
        let name = Request::SetTarget.path();
        let place = self.web.place().clone();
        let mut whole = power.get().floor();
        if let Some((low, high)) = self.range {
            if power < low {
                return Err(place.rejected(name, Rejection::OutOfRange));
            }
            whole = whole.min(high.get().floor());
        }
        if !(1.0..=MAX_WATTS).contains(&whole) {
            return Err(place.rejected(name, Rejection::OutOfRange));
        }
        // A whole number in JSON: the document has an integer.
        let watts: u32 =
            format!("{whole:.0}").parse().map_err(|_| place.rejected(name, Rejection::OutOfRange))?;
        let body = json!({ "power_target_watts": watts });
        let answer = self.call(Request::SetTarget, Some(&body)).await?;
        if answer.body.is_empty() {
            return Ok(());
        }
        let reply = self.web.json(name, &answer)?;
        match fields::confirmed(&reply, "power_target_watts")
            .map_err(|reason| place.malformed(name, reason))?
        {
            // It took a higher value instead: the read-back tells which, and the answer is not a yes.
            Some(taken) if taken > whole + 0.5 => Err(place.rejected(name, Rejection::OutOfRange)),
            _ => Ok(()),
        }
    }

    /// Reads what it does. `None`: nothing to tell now.
    async fn read_mining(&mut self) -> Result<Option<Mining>, DriverError> {
        let name = Request::Mining.path();
        let mining = match self.ask(Request::Mining).await? {
            Some(reply) => Mining::read(&reply).map_err(|reason| self.web.place().malformed(name, reason))?,
            None => None,
        };
        self.state = mining.map_or(State::Unknown, |mining| mining.state);
        Ok(mining)
    }
}

/// What `mining` says, in our units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mining {
    state: State,
    power: Option<f64>,
    target: Option<f64>,
    uptime: Option<f64>,
    /// In hashes a second: now, and since the start.
    rate: Option<f64>,
    average: Option<f64>,
}

impl Mining {
    /// Reads it; `None` where it is empty, as in the first moments.
    ///
    /// # Errors
    /// When it is no such answer at all.
    pub(crate) fn read(reply: &Value) -> Result<Option<Self>, String> {
        let status = match reply.get("mining-status") {
            Some(Value::Null) => return Ok(None),
            Some(status) if status.is_object() => status,
            _ => return Err("`mining-status` is missing".to_owned()),
        };
        let gigahashes = |key: &str| fields::number(status, key).map(|rate| rate * 1e9);
        Ok(Some(Self {
            state: State::from_name(fields::text(status, "status").unwrap_or_default()),
            power: fields::number(status, "power_usage_watts"),
            target: fields::number(status, "power_target_watts"),
            uptime: fields::number(status, "mining_uptime_s"),
            rate: gigahashes("hashrate_ghs"),
            average: gigahashes("average_hashrate_ghs"),
        }))
    }

    /// What it means, with the hashrate of `telemetry` for firmware whose `mining` has only the average since the start, and
    /// with the words of `errors`.
    pub(crate) fn said(&self, telemetry: Option<f64>, errors: Option<Arc<str>>) -> Said {
        let rate = match (self.rate, self.state) {
            (Some(rate), _) => {
                fields::agreed([Some(rate), self.average.filter(|_| self.state == State::Mining)])
            }
            (None, State::Mining) => telemetry.or(self.average),
            (None, _) => None,
        };
        let activity = match self.state {
            State::Mining if rate == Some(0.0) => Activity::Starting,
            State::Mining => Activity::Hashing,
            State::Starting => Activity::Starting,
            State::Stopped => Activity::Asleep,
            State::NoPools => Activity::Fault(Arc::from("no pool")),
            State::Error => Activity::Fault(errors.unwrap_or_else(|| Arc::from("error"))),
            State::Unknown => Activity::Unknown,
        };
        Said { power: fields::watts(self.power, true), hashrate: fields::hashes(rate, true), activity }
    }
}

/// The hashrate in `telemetry`, in hashes a second.
pub(crate) fn telemetry_rate(reply: &Value) -> Option<f64> {
    let rate = reply.pointer("/miner/hashrate")?;
    let factor = match fields::text(rate, "unit") {
        Some("TH/s") | None => 1e12,
        Some("GH/s") => 1e9,
        Some("PH/s") => 1e15,
        Some(_) => return None,
    };
    fields::number(rate, "value").map(|value| value * factor)
}

/// What the miner says it is doing, as the document lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Starting,
    Mining,
    Stopped,
    NoPools,
    Error,
}

impl State {
    fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "uninitialized" | "poweringon" => Self::Starting,
            "mining" | "degradedmining" => Self::Mining,
            "poweringoff" | "stopped" | "curtailed" => Self::Stopped,
            "nopools" => Self::NoPools,
            "error" => Self::Error,
            _ => Self::Unknown,
        }
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let rate = telemetry_rate(reply);
    Mining::read(reply).ok().flatten().map(|mining| vec![mining.said(rate, None)]).unwrap_or_default()
}

#[async_trait]
impl Driver for Proto {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let Some(mining) = self.read_mining().await? else {
            // "No mining statistics available": it has just come up.
            return Ok(MinerStatus {
                power: Measured::Unavailable,
                hashrate: Measured::Unavailable,
                activity: Activity::Starting,
                range: self.range,
                ..MinerStatus::default()
            });
        };
        let uptime = mining.uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let restarted = matches!((self.uptime, uptime), (Some(before), Some(now)) if now < before);
        self.uptime = uptime.or(self.uptime);
        if self.range.is_none() || restarted {
            self.read_range().await?;
        }
        let telemetry =
            if mining.rate.is_none() && self.state == State::Mining { self.read_rate().await? } else { None };
        let errors = if self.state == State::Error { Some(self.read_errors().await) } else { None };
        let Said { power, hashrate, activity } = mining.said(telemetry, errors);
        let target = match (self.state, mining.target) {
            (State::Stopped, _) => Measured::Value(Target::Sleep),
            (_, Some(watts)) if watts > 0.0 => Measured::Value(Target::Power(Watts::saturating(watts))),
            _ => Measured::Unavailable,
        };
        Ok(MinerStatus { power, hashrate, activity, target, range: self.range, points: None, uptime })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let power = match target {
            Target::Sleep => {
                self.call(Request::Stop, None).await?;
                self.state = State::Stopped;
                return Ok(());
            }
            Target::Power(power) => power,
        };
        if self.state == State::Unknown {
            self.read_mining().await?;
        }
        // The target first: the start takes the power target into account that is in force then.
        self.set_target(power).await?;
        if self.state == State::Stopped {
            self.call(Request::Start, None).await?;
            self.state = State::Starting;
        }
        Ok(())
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if self.password.is_none() {
            return Ok(false);
        }
        self.call(Request::Target, None).await?;
        Ok(true)
    }

    async fn close(&mut self) {
        if let Some(tokens) = &self.tokens {
            let mut body = json!({ "access_token": tokens.access.expose() });
            if let (Some(refresh), Some(object)) = (&tokens.refresh, body.as_object_mut()) {
                object.insert("refresh_token".to_owned(), Value::from(refresh.expose()));
            }
            // A miner that is gone keeps its tokens until they end by themselves.
            let _ = self.exchange(Request::Logout, Some(&body)).await;
        }
        self.tokens = None;
    }
}
