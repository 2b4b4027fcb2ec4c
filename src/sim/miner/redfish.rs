//! A server's BMC with Redfish: one power limit in each of the forms that BMCs have, in front of the same model of power as a miner.
//!
//! Paths and fields are those of DMTF's schemas as its mock-up `public-rackmount1` shows them; values come from the simulation. How it
//! behaves is [`Manner`], which tests change. Of the faults of scenarios, commands that are rejected are answered with 503, those that
//! are ignored with 200, and a write interface that is off is a `ControlMode` `Disabled`.

mod resources;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::door::Door;
use super::rest::{self, Asked};
use super::{Face, Habits, Make, Refusal, Setting, SimMiner};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("admin", "a-bmc-of-the-simulation"),
    faces: [Face { model: "Rack server", chips: 0 }, Face { model: "Rack server", chips: 0 }],
    habits: Habits::STEADY,
    // BMCs have few, and one is all that is asked for.
    connections: 4,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

/// The form in which it has its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Form {
    /// `EnvironmentMetrics` of the chassis.
    #[default]
    Environment,
    /// `EnvironmentMetrics` of each of four graphics processors.
    Processors,
    /// `EnvironmentMetrics` of each of four modules, which are chassis within the server's. In each is a graphics processor, a chassis
    /// as well, that only states a range.
    Modules,
    /// A control in watts.
    Control,
    /// A control in percent.
    Percent,
    /// `Power` of the chassis.
    Power,
}

/// How it behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Manner {
    /// Where its limit is.
    pub form: Form,
    /// It opens sessions.
    pub sessions: bool,
    /// A limit below this, in watts, is answered with yes and dropped.
    pub drops_below: f64,
    /// So many writes more are answered with 503.
    pub busy: u32,
    /// What it asks for then, in seconds.
    pub retry_after: u64,
    /// All powers are told in kilowatts, as if they were watts.
    pub kilowatts: bool,
    /// So many writes more find that somebody else wrote before.
    pub outrun: u32,
    /// It says 202, and the limit stands so many readings later.
    pub late: u32,
    /// It shows a set point beyond of what it allows.
    pub beyond: bool,
    /// All sessions have ended.
    pub forgets: bool,
    /// Whoever else writes sets this, in watts.
    pub rival: Option<f64>,
    /// Its ETags are over the whole resource with its readings: each answer has another one.
    pub hashes_readings: bool,
    /// It takes `If-Match: *`; one that does not takes writes without a version.
    pub takes_any: bool,
    /// So many further readings of a limit fail (500).
    pub fails: u32,
    /// So many readings of a limit after each write are answered with 503.
    pub busy_after_write: u32,
    /// So many further logins are answered with 503.
    pub busy_logins: u32,
    /// A resource that is for no account (401).
    pub forbidden: Option<&'static str>,
    /// Set points are rounded down to multiples of this, in watts.
    pub rounds: f64,
    /// It does not say what it allows.
    pub unstated: bool,
    /// So many entries `PowerControl` has in the old form.
    pub entries: usize,
    /// The capacity that the old form states, as a multiple of the highest power.
    pub capacity: f64,
    /// The part, counted from 0, that is in mode `Disabled`.
    pub disabled: Option<usize>,
    /// How many sessions are open: counted here, and not obeyed.
    pub open_sessions: usize,
    /// How many logins were tried: counted here, and not obeyed.
    pub logins: u32,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            form: Form::default(),
            sessions: true,
            drops_below: 0.0,
            busy: 0,
            retry_after: 2,
            kilowatts: false,
            outrun: 0,
            late: 0,
            beyond: false,
            forgets: false,
            rival: None,
            hashes_readings: false,
            takes_any: true,
            fails: 0,
            busy_after_write: 0,
            busy_logins: 0,
            forbidden: None,
            rounds: 0.0,
            unstated: false,
            entries: 1,
            capacity: 1.0,
            disabled: None,
            open_sessions: 0,
            logins: 0,
        }
    }
}

/// Graphics processors of the form that has some.
const PROCESSORS: usize = 4;
/// What the rest of the server draws then, as a part of the least.
const REST: f64 = 0.2;
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Set points in watts: one, or that of each processor.
    set: Vec<f64>,
    /// Those that stand only after some more readings.
    coming: Option<(Vec<f64>, u32)>,
    /// Counts the changes.
    version: u64,
    /// Counts the answers, where each has a version of its own.
    answers: u64,
    /// So many further readings of a limit are answered with 503.
    busy: u32,
    /// The number of each that is open, and its token.
    sessions: Vec<(u64, String)>,
    opened: u64,
}

/// Serves until cancelled.
async fn run(door: Door) {
    let (miner, clock) = (Arc::clone(door.miner()), door.clock());
    let set = match miner.view(clock.now()).setting {
        Some(Setting::Watts(watts)) => watts.get(),
        _ => miner.maximum.get(),
    };
    let rest = rest_of(&miner);
    let count = processors();
    let mut all = vec![set];
    all.extend(std::iter::repeat_n((set - rest) / count, PROCESSORS));
    let kept = Mutex::new(Kept {
        set: all,
        coming: None,
        version: 1,
        answers: 0,
        busy: 0,
        sessions: Vec::new(),
        opened: 0,
    });
    rest::run(door, Service { miner, clock, kept }).await;
}

fn processors() -> f64 {
    f64::from(u8::try_from(PROCESSORS).unwrap_or(1))
}

fn rest_of(miner: &SimMiner) -> f64 {
    miner.minimum.get() * REST
}

fn problem(status: StatusCode, id: &str, words: &str) -> Response {
    let info = json!([{ "MessageId": format!("Base.1.13.{id}"), "Message": words }]);
    rest::json(
        status,
        json!({ "error": { "code": format!("Base.1.13.{id}"), "message": words, "@Message.ExtendedInfo": info } }),
    )
}

fn missing() -> Response {
    problem(StatusCode::NOT_FOUND, "ResourceMissingAtURI", "there is nothing at this path")
}

impl rest::Service for Service {
    fn answer(&self, asked: &Asked) -> Response {
        let (method, path) = (asked.method.as_str(), asked.uri.path().trim_end_matches('/'));
        if self.miner.bmc(|manner| std::mem::take(&mut manner.forgets)) {
            self.kept().sessions.clear();
            self.count_sessions();
        }
        match (method, path) {
            ("GET", "/redfish/v1") => return rest::json(StatusCode::OK, self.root()),
            ("POST", SESSIONS) => return self.open(asked),
            _ => {}
        }
        let forbidden = self.miner.bmc(|manner| manner.forbidden);
        if !self.is_let_in(asked) || forbidden == Some(path) {
            return problem(StatusCode::UNAUTHORIZED, "NoValidSession", "there is no valid session");
        }
        let now = self.clock.now();
        match method {
            "GET" => self.read(path, now),
            "PATCH" => self.write(path, asked, now),
            "DELETE" if path.starts_with(SESSIONS) => {
                let id = path.rsplit('/').next().and_then(|id| id.parse::<u64>().ok());
                self.kept().sessions.retain(|(known, _)| Some(*known) != id);
                self.count_sessions();
                StatusCode::NO_CONTENT.into_response()
            }
            _ => {
                self.miner.trespass();
                problem(StatusCode::METHOD_NOT_ALLOWED, "OperationNotAllowed", "this is not allowed")
            }
        }
    }
}

impl Service {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn form(&self) -> Form {
        self.miner.bmc(|manner| manner.form)
    }

    fn count_sessions(&self) {
        let open = self.kept().sessions.len();
        self.miner.bmc(|manner| manner.open_sessions = open);
    }

    fn open(&self, asked: &Asked) -> Response {
        let manner = self.miner.bmc(|manner| {
            let before = manner.clone();
            manner.logins += 1;
            manner.busy_logins = manner.busy_logins.saturating_sub(1);
            before
        });
        if manner.busy_logins > 0 {
            return busy(manner.retry_after);
        }
        if !manner.sessions {
            return missing();
        }
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let is = |key: &str, wanted: &str| body.get(key).and_then(Value::as_str) == Some(wanted);
        if !is("UserName", &self.miner.username) || !is("Password", &self.miner.password) {
            return problem(
                StatusCode::UNAUTHORIZED,
                "ResourceAtUriUnauthorized",
                "the account is not known",
            );
        }
        let (id, token) = {
            let mut kept = self.kept();
            kept.opened += 1;
            let opened = (kept.opened, self.miner.identity.fresh(kept.opened, 16));
            kept.sessions.push(opened.clone());
            opened
        };
        self.count_sessions();
        let path = format!("{SESSIONS}/{id}");
        let mut answer = rest::json(StatusCode::CREATED, resources::session(id, &self.miner.username));
        for (name, value) in [("x-auth-token", token.as_str()), ("location", path.as_str())] {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.headers_mut().insert(name, value);
            }
        }
        answer
    }

    fn is_let_in(&self, asked: &Asked) -> bool {
        let header = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(token) = header("x-auth-token") {
            return self.kept().sessions.iter().any(|(_, known)| known == token);
        }
        let account = format!("{}:{}", self.miner.username, self.miner.password);
        let basic = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, account);
        header("authorization") == Some(format!("Basic {basic}").as_str())
    }

    fn read(&self, path: &str, now: Moment) -> Response {
        let view = self.miner.view(now);
        let form = self.form();
        if let Some(refusal) = self.unreadable(path) {
            return refusal;
        }
        let Some(body) = self.resource(path, form, &view) else { return missing() };
        self.kept().answers += 1;
        let mut answer = rest::json(StatusCode::OK, body);
        if let Ok(tag) = HeaderValue::from_str(&self.tag()) {
            answer.headers_mut().insert(header::ETAG, tag);
        }
        answer
    }

    /// What a reading of a limit is answered with while it cannot be read.
    fn unreadable(&self, path: &str) -> Option<Response> {
        if !["/EnvironmentMetrics", "/Power", "/PowerLimit"].iter().any(|end| path.ends_with(end)) {
            return None;
        }
        let (fails, retry_after) = self.miner.bmc(|manner| {
            let fails = manner.fails > 0;
            manner.fails = manner.fails.saturating_sub(1);
            (fails, manner.retry_after)
        });
        let mut kept = self.kept();
        if kept.busy > 0 {
            kept.busy -= 1;
            return Some(busy(retry_after));
        }
        fails.then(|| problem(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "it failed"))
    }

    fn tag(&self) -> String {
        let hashes = self.miner.bmc(|manner| manner.hashes_readings);
        let kept = self.kept();
        let answers = if hashes { kept.answers } else { 0 };
        format!("W/\"{}-{answers}\"", kept.version)
    }

    /// Set point of a place, after what is on its way has come nearer.
    fn set(&self, place: usize) -> f64 {
        let mut kept = self.kept();
        if let Some((coming, left)) = kept.coming.take() {
            if left == 0 { kept.set = coming } else { kept.coming = Some((coming, left - 1)) }
        }
        kept.set.get(place).copied().unwrap_or_default()
    }

    fn write(&self, path: &str, asked: &Asked, now: Moment) -> Response {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let Some((place, watts)) = self.asked_for(path, &body) else {
            self.miner.trespass();
            return problem(StatusCode::BAD_REQUEST, "PropertyNotWritable", "this cannot be written");
        };
        let manner = self.miner.bmc(|manner| {
            let before = manner.clone();
            manner.busy = manner.busy.saturating_sub(1);
            manner.outrun = manner.outrun.saturating_sub(u32::from(before.busy == 0));
            before
        });
        if manner.busy > 0 {
            return busy(manner.retry_after);
        }
        {
            let mut kept = self.kept();
            kept.version += u64::from(manner.outrun > 0);
            // It takes a new reading for each comparison.
            kept.answers += 1;
            if let (Some(rival), Some(set)) =
                (manner.rival.filter(|_| manner.outrun > 0), kept.set.get_mut(place))
            {
                *set = rival;
            }
        }
        let known = asked.headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok());
        let fits = match known {
            Some("*") => manner.takes_any,
            None => !manner.takes_any,
            Some(known) => known == self.tag(),
        };
        if !fits {
            return problem(
                StatusCode::PRECONDITION_FAILED,
                "PreconditionFailed",
                "it was changed since it was read",
            );
        }
        let (low, high) = self.bounds(place);
        if !(low - 1.0..=high + 1.0).contains(&watts) {
            return problem(StatusCode::BAD_REQUEST, "PropertyValueOutOfRange", "the limit is out of range");
        }
        let watts = if manner.rounds > 0.0 { (watts / manner.rounds).floor() * manner.rounds } else { watts };
        let mut set = self.kept().set.clone();
        if let Some(set) = set.get_mut(place) {
            *set = watts;
        }
        let whole = if place == 0 { watts } else { set.iter().skip(1).sum::<f64>() + rest_of(&self.miner) };
        let drops = watts < manner.drops_below || !self.miner.obeys() || self.miner.view(now).write_api_off;
        if !drops {
            match self.miner.set_power(Watts::saturating(whole), now) {
                Ok(()) => {}
                Err(Refusal::Failed | Refusal::WriteDisabled) => return busy(manner.retry_after),
            }
            let mut kept = self.kept();
            kept.version += 1;
            kept.busy = manner.busy_after_write;
            if manner.late > 0 { kept.coming = Some((set, manner.late)) } else { kept.set = set }
        }
        if manner.late > 0 {
            return StatusCode::ACCEPTED.into_response();
        }
        StatusCode::NO_CONTENT.into_response()
    }

    fn bounds(&self, place: usize) -> (f64, f64) {
        let (low, high) = (self.miner.minimum.get(), self.miner.maximum.get());
        if place == 0 {
            // The old form states no lowest, and has one.
            return (low, high);
        }
        let (rest, count) = (rest_of(&self.miner), processors());
        ((low - rest) / count, (high - rest) / count)
    }

    /// The place and the watts of a body that sets a limit and nothing else.
    fn asked_for(&self, path: &str, body: &Value) -> Option<(usize, f64)> {
        let only = |value: &Value| value.as_object().is_some_and(|object| object.len() == 1);
        if !only(body) {
            return None;
        }
        let form = self.form();
        let (place, value) = match (form, path) {
            (Form::Environment, "/redfish/v1/Chassis/1/EnvironmentMetrics") => {
                let limit = body.get("PowerLimitWatts").filter(|limit| only(limit))?;
                (0, limit.get("SetPoint")?)
            }
            (Form::Processors | Form::Modules, path) => {
                let (place, metrics) = place_of(parts_of(form), path)?;
                let limit = body.get("PowerLimitWatts").filter(|limit| metrics && only(limit))?;
                (place + 1, limit.get("SetPoint")?)
            }
            (Form::Control | Form::Percent, "/redfish/v1/Chassis/1/Controls/PowerLimit") => {
                (0, body.get("SetPoint")?)
            }
            (Form::Power, "/redfish/v1/Chassis/1/Power") => {
                let controls = body.get("PowerControl").and_then(Value::as_array)?;
                // A shorter array would take the other entries away.
                let rest = controls.iter().skip(1).all(|control| *control == json!({}));
                let whole = controls.len() == self.miner.bmc(|manner| manner.entries);
                let control = controls.first().filter(|control| rest && whole && only(control))?;
                let limit = control.get("PowerLimit").filter(|limit| only(limit))?;
                (0, limit.get("LimitInWatts")?)
            }
            _ => return None,
        };
        let unit = if form == Form::Percent { self.miner.rated.get() / 100.0 } else { 1.0 };
        Some((place, value.as_f64()? * unit))
    }
}

/// Where the parts of a form are, without their numbers.
fn parts_of(form: Form) -> &'static str {
    if form == Form::Modules {
        "/redfish/v1/Chassis/Module_"
    } else {
        "/redfish/v1/Systems/1/Processors/GPU_"
    }
}

/// Which of the parts below a path another one is about, and whether it is its metrics.
fn place_of(parts: &str, path: &str) -> Option<(usize, bool)> {
    let rest = path.strip_prefix(parts)?;
    let (place, metrics) = match rest.strip_suffix("/EnvironmentMetrics") {
        Some(place) => (place, true),
        None => (rest, false),
    };
    Some((place.parse().ok().filter(|place| *place < PROCESSORS)?, metrics))
}

fn busy(seconds: u64) -> Response {
    let mut answer =
        problem(StatusCode::SERVICE_UNAVAILABLE, "ServiceTemporarilyUnavailable", "try again later");
    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
        answer.headers_mut().insert(header::RETRY_AFTER, value);
    }
    answer
}
