//! Auradine's Teraflux miners ("FluxOS"): HTTP on port 8080 under a token, and a reading port on TCP 4028.
//!
//! `POST /token {"command", "user", "password"}` gives a token that goes into the header `Token`. `GET /mode` tells
//! mode, power target and sleep; `POST /mode` sets them: `{"command": "mode", "mode": "custom", "tune": "power",
//! "power": W}` and `{"command": "mode", "sleep": "on" | "off"}`. Hashrate, and on newer firmware the draw, are in the
//! `summary` of port 4028; elsewhere the draw is `PowerIn` of `GET /psu`.
//!
//! Sources: pyasic 0.79 and asic-rs 0.8 (`auradine`: paths, bodies, replies on record of FluxOS 2023-12 to 2024-06).
//! The vendor's own document is not public, and how fast the draw follows is not known. Every command is absolute. The
//! whole list of what can be sent is `Request` below.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::HeaderName;
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
use crate::miner::wire::plain_http::{Ask, PlainHttp};
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::secret::Secret;
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "auradine",
    needs_password: true,
    new: |connection, http| Box::new(Auradine::new(connection, http)),
    // The vendor publishes no times: all of them are cautious guesses.
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: false,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(5),
            dead_time_up: Duration::from_secs(10),
            ramp_down: WattsPerSecond::whole(100),
            ramp_up: WattsPerSecond::whole(20),
            start_time: Duration::from_secs(120),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(60),
            sleep: Duration::from_secs(600),
            min_interval: Duration::from_secs(60),
        },
        port: 8080,
        username: Some("admin"),
    },
};

/// The account of a new miner.
const DEFAULT_ACCOUNT: &str = "admin";
/// The reading port, beside the port of the connection.
const READING_PORT: u16 = 4028;
/// After a refused login no other is tried for this long.
const LOGIN_BACK_OFF: Duration = Duration::from_secs(60);
/// A reading port that does not answer is left alone for this long.
const READING_BACK_OFF: Duration = Duration::from_secs(60);
/// The largest power target that is ever sent; no miner comes near.
const MAX_WATTS: f64 = 100_000.0;
/// More power supplies than a miner has.
const MOST_SUPPLIES: usize = 8;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Token,
    Mode,
    Psu,
    Power(u32),
    Sleep(bool),
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Mode | Self::Power(_) | Self::Sleep(_) => "mode",
            Self::Psu => "psu",
        }
    }

    fn body(self) -> Option<Value> {
        match self {
            Self::Token | Self::Mode | Self::Psu => None,
            Self::Power(watts) => {
                Some(json!({ "command": "mode", "mode": "custom", "tune": "power", "power": watts }))
            }
            Self::Sleep(on) => Some(json!({ "command": "mode", "sleep": if on { "on" } else { "off" } })),
        }
    }
}

/// What the reading port's `summary` says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    /// In hashes a second.
    rate: Option<f64>,
    watts: Option<f64>,
    elapsed: Option<f64>,
}

impl Summary {
    /// Reads it; what is missing is unknown, all of it while the mining software starts.
    pub(crate) fn read(reply: &Value) -> Self {
        let row = reply.pointer("/SUMMARY/0").unwrap_or(&Value::Null);
        let rates = ["MHS 5s", "MHS 1m", "MHS av"];
        Self {
            rate: fields::agreed(rates.map(|key| fields::number(row, key).map(|rate| rate * 1e6))),
            watts: fields::number(row, "Wattage").filter(|watts| *watts > 0.0),
            elapsed: fields::number(row, "Elapsed"),
        }
    }
}

/// What `GET /mode` says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    asleep: Option<bool>,
    /// The power target, where the mode is the one that has one.
    watts: Option<f64>,
}

impl Mode {
    /// Reads it; what is missing is unknown.
    pub(crate) fn read(reply: &Value) -> Self {
        let row = reply.pointer("/Mode/0").unwrap_or(&Value::Null);
        let custom = fields::text(row, "Mode").is_some_and(|mode| mode.eq_ignore_ascii_case("custom"));
        Self {
            asleep: fields::flag(row, "Sleep"),
            watts: fields::number(row, "Power").filter(|watts| custom && *watts > 0.0),
        }
    }
}

/// The sum of what the supplies draw, as in `"PowerIn": "58.94W"`. A supply that cannot be read says 0, and a sum with a
/// part missing is none.
pub(crate) fn supply_power(reply: &Value) -> Option<f64> {
    let rows = reply.get("PSU")?.as_array()?.iter().take(MOST_SUPPLIES);
    let told = rows.filter(|row| fields::is_there(row, &["PowerIn"]));
    let sum = told.map(|row| fields::number(row, "PowerIn")).reduce(|sum, watts| Some(sum? + watts?))?;
    sum.filter(|watts| *watts > 0.0)
}

/// What they mean; `supply` is asked for where `summary` tells no draw.
pub(crate) fn said(summary: &Summary, mode: &Mode, supply: Option<f64>) -> Said {
    let activity = match summary.rate {
        _ if mode.asleep == Some(true) => Activity::Asleep,
        Some(rate) if rate > 0.0 => Activity::Hashing,
        Some(_) => Activity::Starting,
        None => Activity::Unknown,
    };
    Said {
        power: fields::watts(summary.watts.or(supply), true),
        hashrate: fields::hashes(summary.rate, true),
        activity,
    }
}

/// Speaks with one miner.
pub struct Auradine {
    web: PlainHttp,
    reading: Place,
    credentials: Option<Credentials>,
    time: Clock,
    token: Option<Secret>,
    renewal: Renewal,
    no_login_until: Moment,
    no_reading_until: Moment,
    asleep: Option<bool>,
    /// What was asked last, and the whole watts that went for it.
    asked: Option<(Watts, u32)>,
}

impl Auradine {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        let mut beside = connection.clone();
        beside.endpoint.port = READING_PORT;
        Self {
            web: PlainHttp::new(connection, http),
            reading: Place::new(&beside),
            credentials: connection.credentials.clone(),
            time: Clock::start(),
            token: None,
            renewal: Renewal::default(),
            no_login_until: Moment::START,
            no_reading_until: Moment::START,
            asleep: None,
            asked: None,
        }
    }

    /// Logs in. The token takes the place of any other.
    async fn login(&mut self) -> Result<(), DriverError> {
        let name = Request::Token.path();
        self.token = None;
        let place = self.web.place();
        let Some(account) = self.credentials.clone().filter(|_| self.time.now() >= self.no_login_until)
        else {
            return Err(place.rejected(name, Rejection::Credentials));
        };
        let body = json!({
            "command": "token",
            "user": account.username.as_deref().unwrap_or(DEFAULT_ACCOUNT),
            "password": account.password.expose(),
        });
        let ask = Ask { method: Method::POST, body: Some(&body), ..Ask::get(name, name) };
        let (status, bytes) = self.web.send(ask).await?;
        let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !status.is_success() && !refused {
            return Err(self.http_refusal(name, status, &bytes));
        }
        let reply = if refused { Value::Null } else { place.json(name, &bytes)? };
        if refused || letter(&reply).is_some_and(|letter| letter != "S") {
            self.no_login_until = self.time.now() + LOGIN_BACK_OFF;
            return Err(place.rejected(name, Rejection::Credentials));
        }
        let token = reply.pointer("/Token/0/Token").and_then(Value::as_str).filter(|token| !token.is_empty());
        match token {
            Some(token) => self.token = Some(Secret::new(token.to_owned())),
            None => return Err(place.malformed(name, "its `Token` is missing")),
        }
        Ok(())
    }

    async fn once(&self, request: Request) -> Result<(StatusCode, Vec<u8>), DriverError> {
        let name = request.path();
        let body = request.body();
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let token = self.token.as_ref().map(|token| (HeaderName::from_static("token"), token));
        self.web.send(Ask { method, token, body: body.as_ref(), ..Ask::get(name, name) }).await
    }

    /// Makes a request as somebody who is logged in. A login that has ended is renewed once; a request that was refused
    /// for its token was not carried out, so it may be repeated.
    async fn call(&mut self, request: Request) -> Result<Value, DriverError> {
        let name = request.path();
        let mut fresh = self.token.is_none();
        if fresh {
            self.login().await?;
        }
        loop {
            let (status, bytes) = self.once(request).await?;
            let place = self.web.place();
            let mut ended = self.renewal.is_due(status, !fresh, self.time.now());
            if !ended {
                if !status.is_success() {
                    return Err(self.http_refusal(name, status, &bytes));
                }
                let reply = place.json(name, &bytes)?;
                match letter(&reply) {
                    Some("S" | "I") => return Ok(reply),
                    Some("E" | "F" | "W") => {
                        let message =
                            reply.pointer("/STATUS/0/Msg").and_then(Value::as_str).unwrap_or_default();
                        let lower = message.to_ascii_lowercase();
                        ended = ["token", "unauthorized", "expired"].iter().any(|word| lower.contains(word));
                        if !ended {
                            return Err(self.refusal(name, message));
                        }
                    }
                    _ => return Err(place.malformed(name, "its `STATUS` is missing or unknown")),
                }
            }
            if fresh {
                self.token = None;
                return Err(self.web.place().rejected(name, Rejection::Credentials));
            }
            self.login().await?;
            fresh = true;
        }
    }

    fn refusal(&self, name: &'static str, message: &str) -> DriverError {
        let place = self.web.place();
        let lower = message.to_ascii_lowercase();
        if lower.contains("range") || lower.contains("invalid power") {
            return place.rejected(name, Rejection::OutOfRange);
        }
        if lower.contains("permission") || lower.contains("access denied") {
            return place.rejected(name, Rejection::WriteDisabled);
        }
        if lower.contains("invalid command") || lower.contains("unknown command") {
            return place.rejected(name, Rejection::Unsupported);
        }
        place.other(name, message, &self.secrets())
    }

    fn http_refusal(&self, name: &'static str, status: StatusCode, body: &[u8]) -> DriverError {
        let place = self.web.place();
        let reason = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Rejection::Credentials,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Rejection::Unsupported
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Rejection::Busy,
            _ => {
                let text = format!("HTTP {}: {}", status.as_u16(), String::from_utf8_lossy(body));
                return place.other(name, &text, &self.secrets());
            }
        };
        place.rejected(name, reason)
    }

    fn secrets(&self) -> [&str; 2] {
        let password = self.credentials.as_ref().map(|account| account.password.expose());
        let token = self.token.as_ref().map(Secret::expose);
        [password.unwrap_or_default(), token.unwrap_or_default()]
    }

    async fn read_mode(&mut self) -> Result<Mode, DriverError> {
        let mode = match self.call(Request::Mode).await {
            Ok(reply) => Mode::read(&reply),
            Err(error @ DriverError::Rejected { reason: Rejection::Credentials, .. }) => return Err(error),
            // It has nothing to tell now.
            Err(DriverError::Rejected { .. }) => Mode::default(),
            Err(error) => return Err(error),
        };
        self.asleep = mode.asleep.or(self.asleep);
        Ok(mode)
    }

    /// The reading port's summary; a miner that does not open the port is controlled all the same.
    async fn read_summary(&mut self) -> Result<Option<Summary>, DriverError> {
        if self.time.now() < self.no_reading_until {
            return Ok(None);
        }
        let request = json!({ "command": "summary" }).to_string();
        let bytes = match exchange::over_tcp(&self.reading, "summary", request.as_bytes()).await {
            Ok(bytes) => bytes,
            // Closed, or behind a firewall that says nothing.
            Err(DriverError::Unreachable { .. } | DriverError::Timeout { .. }) => {
                self.no_reading_until = self.time.now() + READING_BACK_OFF;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let reply = self.reading.json("summary", &bytes)?;
        match letter(&reply) {
            Some("S" | "I") => Ok(Some(Summary::read(&reply))),
            // The mining software is down while the miner sleeps or starts.
            Some("E" | "F" | "W") => Ok(None),
            _ => Err(self.reading.malformed("summary", "its `STATUS` is missing or unknown")),
        }
    }

    /// Sends a power target in whole watts, never more than asked for.
    async fn set_power(&mut self, power: Watts) -> Result<(), DriverError> {
        let whole = power.get().floor();
        let watts = (1.0..=MAX_WATTS).contains(&whole).then(|| format!("{whole:.0}").parse().ok()).flatten();
        let Some(watts) = watts else {
            return Err(self.web.place().rejected(Request::Power(0).path(), Rejection::OutOfRange));
        };
        self.call(Request::Power(watts)).await?;
        self.asked = Some((power, watts));
        Ok(())
    }
}

/// The letter of cgminer's envelope.
fn letter(reply: &Value) -> Option<&str> {
    let status = reply.get("STATUS")?;
    status.as_str().or_else(|| status.pointer("/0/STATUS").and_then(Value::as_str))
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let (summary, mode) = (Summary::read(reply), Mode::read(reply));
    let _ = letter(reply);
    vec![said(&summary, &mode, supply_power(reply))]
}

#[async_trait]
impl Driver for Auradine {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let mode = self.read_mode().await?;
        let summary = self.read_summary().await?;
        let values = summary.unwrap_or_default();
        let mut unsupported = false;
        let supply = match values.watts {
            Some(_) => None,
            None => match self.call(Request::Psu).await {
                Ok(reply) => supply_power(&reply),
                Err(DriverError::Rejected { reason: Rejection::Unsupported, .. }) => {
                    unsupported = true;
                    None
                }
                Err(error @ DriverError::Rejected { reason: Rejection::Credentials, .. }) => {
                    return Err(error);
                }
                Err(DriverError::Rejected { .. }) => None,
                Err(error) => return Err(error),
            },
        };
        let asleep = mode.asleep == Some(true);
        let Said { power, hashrate, activity } = said(&values, &mode, supply);
        let target = match (asleep, mode.watts, self.asked) {
            (true, _, _) => Measured::Value(Target::Sleep),
            (false, Some(watts), Some((asked, sent))) if (watts - f64::from(sent)).abs() < 0.5 => {
                Measured::Value(Target::Power(asked))
            }
            (false, Some(watts), _) => Measured::Value(Target::Power(Watts::saturating(watts))),
            (false, None, _) => Measured::Unavailable,
        };
        Ok(MinerStatus {
            power: if unsupported { Measured::Unsupported } else { power },
            hashrate,
            activity,
            target,
            range: None,
            points: None,
            uptime: values.elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match target {
            Target::Sleep => {
                self.call(Request::Sleep(true)).await?;
                self.asleep = Some(true);
                Ok(())
            }
            Target::Power(power) => {
                if self.asleep.is_none() {
                    self.read_mode().await?;
                }
                // The target first, so that the miner wakes towards it and not towards an older, higher one.
                self.set_power(power).await?;
                if self.asleep == Some(true) {
                    self.call(Request::Sleep(false)).await?;
                    self.asleep = Some(false);
                }
                Ok(())
            }
        }
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if self.credentials.is_none() {
            return Ok(false);
        }
        self.call(Request::Mode).await?;
        Ok(true)
    }

    async fn close(&mut self) {
        // The API has no way to log out, and the connection ends with the driver.
        self.token = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::wire::plain_http::testing::any_json;
    use proptest::prelude::*;

    #[test]
    fn supplies_add_up_and_their_unit_is_read() {
        let reply = json!({"PSU": [{"PowerIn": "58.94W"}, {"PowerIn": "41.06 W"}, {}]});
        assert_eq!(supply_power(&reply), Some(100.0));
        for none in [
            json!({"PSU": []}),
            json!({}),
            json!({"PSU": [{"PowerIn": "lots"}, {"PowerIn": "41.06 W"}]}),
            json!({"PSU": [{"PowerIn": []}]}),
            json!({"PSU": [{"PowerIn": "0W"}]}),
        ] {
            assert_eq!(supply_power(&none), None);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(
            reply in any_json(&["Mode", "Sleep", "Power", "custom", "on", "PSU", "PowerIn", "SUMMARY", "Wattage", "STATUS"])
        ) {
            prop_assert!(Mode::read(&reply).watts.is_none_or(|watts| watts > 0.0));
            let _ = (supply_power(&reply), Summary::read(&reply), letter(&reply).map(str::len));
        }
    }
}
