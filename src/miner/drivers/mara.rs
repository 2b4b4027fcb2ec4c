//! MARA firmware (MaraFW, "kaonsu"): REST under `/kaonsu/v1` on port 80 with digest authentication.
//!
//! Nothing of it is documented in public. Sources: asic-rs 0.8.6 (`miner_config` read, one field changed, written
//! back; the answer `{"error":false,"msg":"success"}`; `log?type=miner_config_history`) and pyasic 0.79 (the modes
//! `Auto`, `Fixed`, `Stock`, `Sleep` under `mode.work-mode-selector`, the target under `mode.concorde`).
//!
//! The firmware takes its whole configuration back at once, pools and their passwords included. It gets back the very
//! bytes that it gave, with the value of one or two keys exchanged (`splice`):
//!
//! - sleep: `mode.work-mode-selector` becomes `"Sleep"`;
//! - power: `mode.concorde.power-target` becomes the watts, where the operator has chosen the mode `Auto` with
//!   `PowerTarget`; a miner in another mode is not moved out of it, and is an on/off block;
//! - waking: the selector becomes what it was before `Sleep`, by what was seen here or by the miner's own history.
//!
//! A configuration that was changed by somebody else between the reading and the writing would be written over; there
//! is nothing to guard against that in the protocol but speed, so the two exchanges follow each other at once.
//!
//! The whole list of what can be sent is `Request` below.

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
use crate::miner::reply::fields;
use crate::miner::reply::said::Said;
use crate::miner::reply::splice::{self, Change};
use crate::miner::wire::digest::Challenge;
use crate::miner::wire::web::{Answer, Web};
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "mara",
    needs_password: true,
    new: |connection, http| Box::new(Mara::new(connection, http)),
    // Nothing is documented in public; that a change restarts mining is a cautious guess, as is every time.
    // The write budget is that of a configuration file in flash.
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: true,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(5),
            dead_time_up: Duration::from_secs(10),
            ramp_down: WattsPerSecond::whole(100),
            ramp_up: WattsPerSecond::whole(10),
            start_time: Duration::from_secs(120),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(120),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(300),
        },
        port: 80,
        username: Some("root"),
    },
};

/// The account of a new installation.
const DEFAULT_ACCOUNT: &str = "root";
/// Everything is below this path.
const ROOT: &str = "/kaonsu/v1/";
/// After refused credentials none are offered for this long.
const LOGIN_BACK_OFF: Duration = Duration::from_secs(60);
/// The largest power target that is ever sent; no miner comes near.
const MAX_WATTS: f64 = 1e6;
/// How many entries of the history are looked through, from the newest on.
const MAX_HISTORY: usize = 1_000;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Brief,
    Config,
    History,
    SetConfig,
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Brief => "brief",
            Self::Config | Self::SetConfig => "miner_config",
            Self::History => "log?type=miner_config_history",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Brief | Self::Config | Self::History => Method::GET,
            Self::SetConfig => Method::POST,
        }
    }
}

/// `mode` of the configuration.
#[derive(Clone, Debug, PartialEq)]
struct Mode {
    selector: String,
    /// `Auto` works towards a power target rather than a hashrate.
    by_power: bool,
    target: Option<f64>,
}

impl Mode {
    fn read(config: &Value) -> Result<Self, String> {
        let mode = fields::object(config, "mode")?;
        let selector = fields::text(mode, "work-mode-selector")
            .ok_or("`mode.work-mode-selector` is missing")?
            .to_owned();
        let concorde = mode.get("concorde").unwrap_or(&Value::Null);
        Ok(Self {
            by_power: fields::text(concorde, "mode-select") == Some("PowerTarget"),
            target: fields::number(concorde, "power-target"),
            selector,
        })
    }

    fn is_asleep(&self) -> bool {
        self.selector.eq_ignore_ascii_case("sleep")
    }
}

/// Speaks with one miner.
pub struct Mara {
    web: Web,
    credentials: Option<Credentials>,
    rated: Watts,
    clock: Clock,
    challenge: Option<Challenge>,
    no_login_until: Moment,
    /// The selector that was last seen while it was not asleep.
    awake: Option<String>,
}

impl Mara {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: Web::new(connection, http, ROOT),
            credentials: connection.credentials.clone(),
            rated: connection.rated,
            clock: Clock::start(),
            challenge: None,
            no_login_until: Moment::START,
            awake: None,
        }
    }

    /// One exchange, with an answer to the challenge that there is.
    async fn exchange(&mut self, request: Request, body: Option<&str>) -> Result<Answer, DriverError> {
        let name = request.path();
        let mut builder = self.web.request(request.method(), name);
        if let (Some(challenge), Some(account)) = (&mut self.challenge, &self.credentials) {
            let header = challenge.authorize(
                account.username.as_deref().unwrap_or(DEFAULT_ACCOUNT),
                account.password.expose(),
                request.method().as_str(),
                &format!("{ROOT}{name}"),
                &format!("{:016x}", rand::random::<u64>()),
            );
            let mut value = HeaderValue::from_str(&header)
                .map_err(|_| self.web.place().malformed(name, "its challenge cannot go into a header"))?;
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        if let Some(body) = body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body.to_owned());
        }
        self.web.send(name, builder).await
    }

    /// A request with credentials. What was answered with 401 was not carried out, so it is said again, once, in
    /// answer to the new challenge.
    async fn call(&mut self, request: Request, body: Option<&str>) -> Result<Answer, DriverError> {
        let name = request.path();
        let place = self.web.place().clone();
        if self.clock.now() < self.no_login_until {
            return Err(place.rejected(name, Rejection::Credentials));
        }
        let mut answer = self.exchange(request, body).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.credentials.is_some() {
            let Some(challenge) = Challenge::of(&answer.headers) else {
                let reason = "it asks for another authentication than digest";
                return Err(place.malformed(name, reason));
            };
            self.challenge = Some(challenge);
            answer = self.exchange(request, body).await?;
        }
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.challenge = None;
                if self.credentials.is_some() {
                    self.no_login_until = self.clock.now() + LOGIN_BACK_OFF;
                }
                Err(place.rejected(name, Rejection::Credentials))
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Err(place.rejected(name, Rejection::Unsupported))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Err(place.rejected(name, Rejection::Busy))
            }
            status if status.is_success() => Ok(answer),
            _ => Err(self.web.refused(name, &answer, &[self.password()])),
        }
    }

    fn password(&self) -> &str {
        self.credentials.as_ref().map(|account| account.password.expose()).unwrap_or_default()
    }

    /// Reads the configuration: its bytes as they came, and its mode.
    async fn config(&mut self) -> Result<(Vec<u8>, Mode), DriverError> {
        let name = Request::Config.path();
        let answer = self.call(Request::Config, None).await?;
        let place = self.web.place();
        let config = self.web.json(name, &answer)?;
        let mode = Mode::read(&config).map_err(|reason| place.malformed(name, reason))?;
        if !mode.is_asleep() {
            self.awake = Some(mode.selector.clone());
        }
        Ok((answer.body, mode))
    }

    /// Writes the configuration back with some values exchanged.
    async fn write(&mut self, bytes: &[u8], changes: &[Change<'_>]) -> Result<(), DriverError> {
        let name = Request::SetConfig.path();
        let place = self.web.place().clone();
        let text = std::str::from_utf8(bytes).map_err(|_| place.malformed(name, "it is not UTF-8"))?;
        let body = splice::replace(text, changes).map_err(|reason| place.malformed(name, reason))?;
        let answer = self.call(Request::SetConfig, Some(&body)).await?;
        let reply = self.web.json(name, &answer)?;
        match fields::flag(&reply, "error") {
            Some(false) => Ok(()),
            Some(true) => {
                let words = fields::text(&reply, "msg").unwrap_or_default();
                Err(place.other(name, words, &[self.password()]))
            }
            None => Err(place.malformed(name, "its `error` is missing, or neither true nor false")),
        }
    }

    /// What the selector was before the latest change to `Sleep`, by the miner's own history.
    async fn before_sleep(&mut self) -> Result<Option<String>, DriverError> {
        let name = Request::History.path();
        let answer = match self.call(Request::History, None).await {
            Ok(answer) => answer,
            Err(DriverError::Rejected { reason: Rejection::Unsupported, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let history = self.web.json(name, &answer)?;
        Ok(mode_before_sleep(&history))
    }

    /// The words for an operator whose miner is in a mode that Ballast leaves alone.
    fn other_mode(&self, selector: &str) -> DriverError {
        self.web.place().other(
            Request::SetConfig.path(),
            &format!(
                "its work mode is `{selector}`; choose Auto with a power target once, then its power can be set"
            ),
            &[],
        )
    }

    async fn set_power(&mut self, power: Watts) -> Result<(), DriverError> {
        let name = Request::SetConfig.path();
        let whole = power.get().floor();
        if !(1.0..=MAX_WATTS).contains(&whole) {
            return Err(self.web.place().rejected(name, Rejection::OutOfRange));
        }
        let (text, mode) = self.config().await?;
        let selector = if mode.is_asleep() {
            let before = match self.awake.clone() {
                Some(selector) => Some(selector),
                None => self.before_sleep().await?,
            };
            // A miner whose past is unknown wakes to its power target, if it has one.
            before.unwrap_or_else(|| "Auto".to_owned())
        } else {
            mode.selector.clone()
        };
        let controllable = selector.eq_ignore_ascii_case("auto") && mode.by_power;
        if !controllable && whole < self.rated.get().floor() {
            // It would draw its full power, which is more than asked for.
            return Err(self.other_mode(&selector));
        }
        let mut changes = Vec::new();
        if mode.is_asleep() {
            let value = Value::from(selector.as_str()).to_string();
            changes.push(Change { path: &["mode", "work-mode-selector"], value });
        }
        if controllable && mode.target.is_none_or(|target| (target - whole).abs() > 0.5) {
            changes
                .push(Change { path: &["mode", "concorde", "power-target"], value: format!("{whole:.0}") });
        }
        // What is in force already is not written again: every writing is one to flash, and may restart mining.
        if changes.is_empty() {
            return Ok(());
        }
        self.write(&text, &changes).await?;
        self.awake = Some(selector);
        Ok(())
    }
}

/// Entries are objects of lists of changes `{"type":"update","path":["Mode","WorkModeSelector"],"from":…,"to":…}`, the
/// newest last.
fn mode_before_sleep(history: &Value) -> Option<String> {
    let is = |value: Option<&Value>, word: &str| {
        value.and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(word))
    };
    let entries = history.as_array()?.iter().rev().take(MAX_HISTORY);
    let lists = entries.filter_map(Value::as_object).flat_map(|entry| entry.values());
    let mut changes = lists.filter_map(Value::as_array).flatten();
    changes.find_map(|change| {
        let path = change.get("path")?;
        let matches = is(change.get("type"), "update")
            && is(path.get(0), "Mode")
            && is(path.get(1), "WorkModeSelector")
            && is(change.get("to"), "Sleep");
        let from = fields::text(change, "from")?;
        let known = ["Auto", "Fixed", "Stock"].into_iter().find(|mode| mode.eq_ignore_ascii_case(from))?;
        matches.then(|| known.to_owned())
    })
}

/// Hashes a second. The two public readers of this firmware disagree on the unit of `hashrate_realtime` (TH/s, GH/s)
/// and agree on that of `hashrate_ideal` (GH/s): the one tells the other, unless a unit is given.
fn hashrate(brief: &Value) -> Option<f64> {
    let factor = |rate: f64| match fields::text(brief, "hashrate_unit") {
        Some("TH/s") => Some(1e12),
        Some("GH/s") => Some(1e9),
        Some("MH/s") => Some(1e6),
        Some("PH/s") => Some(1e15),
        Some(_) => None,
        None => match fields::number(brief, "hashrate_ideal") {
            // In TH/s the number is a thousandth of the ideal one; twice that is more than any miner gives.
            Some(ideal) if ideal > 0.0 && rate > ideal * 0.002 => Some(1e9),
            _ => Some(1e12),
        },
    };
    let rates = ["hashrate_realtime", "hashrate_average"].map(|key| fields::number(brief, key));
    fields::agreed(rates.map(|rate| rate.and_then(|rate| Some(rate * factor(rate)?))))
}

/// What `brief` means. A miner that does not say what it does is known by its hashrate.
pub(crate) fn said(brief: &Value) -> Said {
    let rate = hashrate(brief);
    let power = fields::number(brief, "power_consumption_estimated");
    Said {
        // The firmware's own figure. A board that answers draws something: nothing at all is no reading.
        power: fields::live_watts(power, true),
        hashrate: fields::hashes(rate, true),
        activity: activity(
            fields::text(brief, "status").unwrap_or_default(),
            rate.is_some_and(|rate| rate > 0.0),
        ),
    }
}

/// What `status` means: `Mining` is known for certain, the other words are told apart by their sense.
fn activity(status: &str, hashing: bool) -> Activity {
    let lower = status.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["critical", "fatal", "fail", "error", "fault"]) {
        Activity::Fault(Arc::from(fields::words(status, &[])))
    } else if has(&["sleep", "pause", "curtail", "suspend", "stopped", "idle"]) {
        Activity::Asleep
    } else if has(&["start", "init", "tun", "warm", "boot", "ramp"]) {
        Activity::Starting
    } else if hashing {
        Activity::Hashing
    } else if lower == "mining" {
        Activity::Starting
    } else {
        Activity::Unknown
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let _ = (Mode::read(reply), mode_before_sleep(reply));
    vec![said(reply)]
}

#[async_trait]
impl Driver for Mara {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let name = Request::Brief.path();
        let brief = match self.call(Request::Brief, None).await {
            Ok(answer) => Some(self.web.json(name, &answer)?),
            Err(
                error @ DriverError::Rejected {
                    reason: Rejection::Credentials | Rejection::Unsupported, ..
                },
            ) => {
                return Err(error);
            }
            // The mining software is down; the configuration still tells whether it should be.
            Err(DriverError::Rejected { .. }) => None,
            Err(error) => return Err(error),
        };
        if brief.as_ref().is_some_and(|brief| !brief.is_object()) {
            return Err(self.web.place().malformed(name, "it is not an object"));
        }
        let Said { power, hashrate, activity: mut doing } = match &brief {
            Some(brief) => said(brief),
            None => Said { activity: Activity::Starting, ..said(&Value::Null) },
        };
        let elapsed = brief.as_ref().and_then(|brief| fields::number(brief, "elapsed"));
        let mode = match self.config().await {
            Ok((_, mode)) => Some(mode),
            // It cannot be commanded then; what it does it says all the same.
            Err(DriverError::Malformed { .. }) if brief.is_some() => None,
            Err(error) => return Err(error),
        };
        let asleep = mode.as_ref().is_some_and(Mode::is_asleep);
        let target = match &mode {
            _ if asleep => Measured::Value(Target::Sleep),
            Some(Mode { by_power: true, target: Some(watts), selector })
                if selector.eq_ignore_ascii_case("auto") && *watts > 0.0 =>
            {
                Measured::Value(Target::Power(Watts::saturating(*watts)))
            }
            _ => Measured::Unavailable,
        };
        if asleep && !matches!(doing, Activity::Fault(_)) {
            doing = Activity::Asleep;
        }
        Ok(MinerStatus {
            power,
            hashrate,
            activity: doing,
            target,
            range: None,
            points: None,
            uptime: elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match target {
            Target::Sleep => {
                let (text, mode) = self.config().await?;
                if mode.is_asleep() {
                    return Ok(());
                }
                let value = "\"Sleep\"".to_owned();
                self.write(&text, &[Change { path: &["mode", "work-mode-selector"], value }]).await
            }
            Target::Power(power) => self.set_power(power).await,
        }
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if self.credentials.is_none() {
            return Ok(false);
        }
        self.call(Request::Config, None).await?;
        Ok(true)
    }

    async fn close(&mut self) {
        // Digest authentication has no session; the connection ends with the driver.
        self.challenge = None;
    }
}
