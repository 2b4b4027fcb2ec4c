//! ePIC's UMC OS ("PowerPlay") on Antminer hardware and on the BlockMiner: HTTP on port 4028.
//!
//! Reads are open. A command is a POST whose body carries the password beside its `param`; the answer is
//! `{"result": true}`, or `{"result": false, "error": …}` where the error is a word or an object of one word.
//!
//! Power is a matter of "perpetual tune". Where `/capabilities` lists the power algorithm its target is in watts.
//! Where it lists hashrate algorithms alone, the tune presets with their watts are the steps: the target becomes the
//! hashrate of a preset, under the algorithm that already runs. What else the command carries (`min_throttle`,
//! `throttle_step`) is sent back as it was read. Tuning is never switched on: an operator who runs fixed clocks did so
//! on purpose.
//!
//! Sources: the vendor's OpenAPI description "ePIC UMC API" 1.22.5 and 1.30.0 (paths, `AlgoInfo`, `ApiError`,
//! `MinerState`, `OpState`, `TuneOption`), which has the power algorithm as `Power`; asic-rs 0.8 calls it
//! `PowerTune`: the name that the miner itself lists is used. Every command is absolute. The whole list of what can
//! be sent is `Request` below.

mod offers;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::control::site::{AnswerWithin, ChangeCost, OperatingPoint, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::said::Said;
use crate::miner::wire::plain_http::{Ask, PlainHttp};
use crate::miner::{Connection, Credentials, Driver, DriverError, Urgency};
use crate::units::{Hashrate, Watts, WattsPerSecond};

use offers::{Algorithm, Capabilities, Preset, Tune};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "epic",
    needs_password: true,
    new: |connection, http| Box::new(Epic::new(connection, http)),
    // The class is that of the power algorithm; a miner that has none tells its presets as points. The
    // vendor says that tuning is perpetual and live, and gives no times: all of them are cautious guesses.
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: false,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(5),
            dead_time_up: Duration::from_secs(10),
            ramp_down: WattsPerSecond::whole(50),
            ramp_up: WattsPerSecond::whole(15),
            start_time: Duration::from_secs(120),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(60),
            sleep: Duration::from_secs(600),
            min_interval: Duration::from_secs(120),
        },
        port: 4028,
        // The password goes alone.
        username: None,
    },
};

/// A preset may lie this far above a power target.
const TOLERANCE: f64 = 1.01;
/// The largest number that is ever sent as a target.
const MOST_TARGET: f64 = 100_000.0;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Summary,
    Capabilities,
    Miner,
    Algorithm,
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Capabilities => "capabilities",
            Self::Miner => "miner",
            Self::Algorithm => "perpetualtune/algo",
        }
    }
}

/// The last target that the miner took.
#[derive(Clone, Copy, Debug)]
struct Sent {
    algorithm: Algorithm,
    target: f64,
    asked: Watts,
}

/// Speaks with one miner.
pub struct Epic {
    web: PlainHttp,
    credentials: Option<Credentials>,
    capabilities: Option<Capabilities>,
    tune: Tune,
    asleep: Option<bool>,
    /// Our own command to stop was accepted, and none to start since.
    stopped: bool,
    sent: Option<Sent>,
    uptime: Option<Duration>,
}

impl Epic {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: PlainHttp::new(connection, http),
            credentials: connection.credentials.clone(),
            capabilities: None,
            tune: Tune::default(),
            asleep: None,
            stopped: false,
            sent: None,
            uptime: None,
        }
    }

    /// Reads a path.
    async fn get(&self, request: Request) -> Result<Value, DriverError> {
        let name = request.path();
        let (status, bytes) = self.web.send(Ask::get(name, name)).await?;
        if !status.is_success() {
            return Err(self.http_refusal(name, status, &bytes));
        }
        let value = self.web.place().json(name, &bytes)?;
        // A refusal of a read has the shape of a refused command.
        if value.get("result") == Some(&Value::Bool(false)) {
            return Err(self.refusal(name, &value));
        }
        Ok(value)
    }

    /// Sends a command and takes only yes for an answer.
    async fn command(&self, request: Request, param: Value) -> Result<(), DriverError> {
        let name = request.path();
        let place = self.web.place();
        let Some(account) = &self.credentials else {
            return Err(place.rejected(name, Rejection::Credentials));
        };
        let body = json!({ "param": param, "password": account.password.expose() });
        let ask = Ask { method: Method::POST, body: Some(&body), ..Ask::get(name, name) };
        let (status, bytes) = self.web.send(ask).await?;
        if !status.is_success() {
            return Err(self.http_refusal(name, status, &bytes));
        }
        let reply = place.json(name, &bytes)?;
        match reply.get("result").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            Some(false) => Err(self.refusal(name, &reply)),
            None => Err(place.malformed(name, "its `result` is missing")),
        }
    }

    /// What a refusal means, by the vendor's `ApiError`: a word, or an object whose one key is the word.
    fn refusal(&self, name: &'static str, reply: &Value) -> DriverError {
        let place = self.web.place();
        let (word, detail) = match reply.get("error") {
            Some(Value::String(word)) => (word.as_str(), String::new()),
            Some(Value::Object(object)) => match object.iter().next() {
                Some((word, detail)) => (word.as_str(), detail.to_string()),
                None => ("", String::new()),
            },
            _ => ("", String::new()),
        };
        let reason = match word {
            "BadPassword" => Rejection::Credentials,
            "LastCmdStillPending" => Rejection::Busy,
            "SystemUpdateInProgress" => Rejection::WrongState,
            "InvalidMethod" | "InvalidUrl" => Rejection::Unsupported,
            _ => {
                let password = self.credentials.as_ref().map(|account| account.password.expose());
                let text = format!("{word} {detail}");
                return place.other(name, &text, &[password.unwrap_or_default()]);
            }
        };
        place.rejected(name, reason)
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
                let password = self.credentials.as_ref().map(|account| account.password.expose());
                let text = format!("HTTP {}: {}", status.as_u16(), String::from_utf8_lossy(body));
                return place.other(name, &text, &[password.unwrap_or_default()]);
            }
        };
        place.rejected(name, reason)
    }

    /// Reads `/summary` and notes what a command needs of it.
    async fn read_summary(&mut self) -> Result<Value, DriverError> {
        let name = Request::Summary.path();
        let summary = self.get(Request::Summary).await?;
        // An answer of another program on that port would have none of these.
        if !["Status", "HBs", "PerpetualTune", "Power Supply Stats"]
            .iter()
            .any(|key| summary.get(key).is_some())
        {
            return Err(self.web.place().malformed(name, "its `Status` is missing"));
        }
        self.tune = Tune::read(&summary);
        let state = summary.pointer("/Status/Operating State").and_then(Value::as_str);
        self.asleep = state.map(|state| matches!(state, "Idling" | "Stopping"));
        Ok(summary)
    }

    async fn read_capabilities(&mut self) -> Result<(), DriverError> {
        let name = Request::Capabilities.path();
        let capabilities = match self.get(Request::Capabilities).await {
            Ok(reply) => {
                Capabilities::read(&reply).map_err(|reason| self.web.place().malformed(name, reason))?
            }
            Err(DriverError::Rejected { reason: Rejection::Unsupported, .. }) => Capabilities::default(),
            // Not now, as while it starts: asked again with the next reading.
            Err(DriverError::Rejected { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.capabilities = Some(capabilities);
        Ok(())
    }

    /// The hashrate algorithm in force and its steps, where that is the way to set power.
    fn steps(&self) -> Option<(Algorithm, Vec<Preset>)> {
        let capabilities = self.capabilities.as_ref()?;
        let algorithm = self.tune.algorithm.filter(|algorithm| !algorithm.is_power())?;
        if capabilities.power().is_some() || !self.tune.running {
            return None;
        }
        let steps = capabilities.steps(algorithm);
        (!steps.is_empty()).then_some((algorithm, steps))
    }

    /// The target of the algorithm in force, in watts.
    fn target(&self) -> Measured<Target> {
        let (true, Some(algorithm), Some(target)) =
            (self.tune.running, self.tune.algorithm, self.tune.target)
        else {
            return Measured::Unavailable;
        };
        // What was asked reads back as it was asked, not as its rounding to a whole watt or to a preset.
        if let Some(sent) = self.sent
            && sent.algorithm == algorithm
            && (sent.target - target).abs() < 0.5
        {
            return Measured::Value(Target::Power(sent.asked));
        }
        if algorithm.is_power() {
            return Measured::Value(Target::Power(Watts::saturating(target)));
        }
        let presets = self.capabilities.as_ref().map(|known| known.presets.as_slice()).unwrap_or_default();
        presets
            .iter()
            .find(|preset| (preset.terahashes.floor() - target).abs() < 0.5)
            .map_or(Measured::Unavailable, |preset| {
                Measured::Value(Target::Power(Watts::saturating(preset.watts)))
            })
    }

    /// Which algorithm and which whole number for a power.
    fn choose(&self, power: Watts) -> Result<(Algorithm, u32), DriverError> {
        let name = Request::Algorithm.path();
        let place = self.web.place();
        let (algorithm, target) = if let Some(offer) =
            self.capabilities.as_ref().and_then(Capabilities::power)
        {
            if power.get() < offer.low {
                return Err(place.rejected(name, Rejection::OutOfRange));
            }
            (offer.algorithm, power.get().min(offer.high).floor())
        } else if let Some((algorithm, steps)) = self.steps() {
            let fits = |preset: &&Preset| preset.watts <= power.get() * TOLERANCE;
            let step = steps.iter().rfind(fits).or(steps.first());
            (algorithm, step.map_or(0.0, |step| step.terahashes.floor()))
        } else if self.tune.running {
            return Err(place.rejected(name, Rejection::Unsupported));
        } else {
            let text = "perpetual tune is off; switch it on in the miner's own pages to let its power be set";
            return Err(place.other(name, text, &[]));
        };
        if !(1.0..=MOST_TARGET).contains(&target) {
            return Err(place.rejected(name, Rejection::OutOfRange));
        }
        let whole =
            format!("{target:.0}").parse().map_err(|_| place.rejected(name, Rejection::OutOfRange))?;
        Ok((algorithm, whole))
    }

    /// Sets the power by the algorithm in force. What else the command carries goes back as it was read.
    async fn set_power(&mut self, power: Watts) -> Result<(), DriverError> {
        let (algorithm, target) = self.choose(power)?;
        let mut param = Map::new();
        param.insert("algo".to_owned(), Value::from(algorithm.name()));
        param.insert("target".to_owned(), Value::from(target));
        // The throttle settings of another algorithm are in another unit.
        if self.tune.algorithm == Some(algorithm) {
            param.extend(self.tune.throttle.clone());
        }
        self.command(Request::Algorithm, Value::Object(param)).await?;
        self.sent = Some(Sent { algorithm, target: f64::from(target), asked: power });
        Ok(())
    }
}

/// What the vendor's `MinerState` means. A miner that idles with an error and without a command to stop has a fault.
fn activity(summary: &Value, hashing: bool, stopped_by_us: bool) -> Activity {
    let status = summary.get("Status").unwrap_or(&Value::Null);
    let state = fields::text(status, "Operating State").unwrap_or_default();
    match state {
        "Idling" => {
            let last = fields::text(status, "Last Command").unwrap_or_default().to_ascii_lowercase();
            match status.get("Last Error") {
                None | Some(Value::Null) => Activity::Asleep,
                Some(_) if stopped_by_us || last.contains("stop") => Activity::Asleep,
                Some(Value::String(word)) => Activity::Fault(Arc::from(fields::words(word, &[]))),
                Some(Value::Object(object)) => {
                    let word = object.keys().next().map_or("error", String::as_str);
                    Activity::Fault(Arc::from(fields::words(word, &[])))
                }
                Some(_) => Activity::Fault(Arc::from("error")),
            }
        }
        // The clocks are changed while it hashes on.
        "Mining" | "AdjustingClockVoltage" | "Stopping" if hashing => Activity::Hashing,
        "Stopping" => Activity::Asleep,
        "Mining"
        | "AdjustingClockVoltage"
        | "Initializing"
        | "Loading"
        | "PreInitCooldown"
        | "Rebooting"
        | "SoftRebooting"
        | "Testing"
        | "UpdatingFirmware" => Activity::Starting,
        _ => Activity::Unknown,
    }
}

/// The sum over the boards, in megahashes per second; each board's list begins with its hashrate. A board that has none now
/// adds nothing.
fn megahashes(summary: &Value) -> Option<f64> {
    let boards = summary.get("HBs")?.as_array()?;
    boards
        .iter()
        .filter_map(|board| fields::as_number(board.pointer("/Hashrate/0")?))
        .reduce(|sum, rate| sum + rate)
}

/// What `summary` means; `stopped`: by a command of ours.
pub(crate) fn said(summary: &Value, stopped: bool) -> Said {
    let rate = megahashes(summary);
    let supply = summary.get("Power Supply Stats");
    Said {
        // A supply without a meter reports zero, and no miner that answers draws nothing.
        power: fields::live_watts(
            supply.and_then(|supply| fields::number(supply, "Input Power")),
            supply.is_some(),
        ),
        hashrate: fields::hashes(rate.map(|megahashes| megahashes * 1e6), true),
        activity: activity(summary, rate.is_some_and(|rate| rate > 0.0), stopped),
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    assert!(Tune::read(reply).throttle.values().all(Value::is_number));
    if let Ok(known) = Capabilities::read(reply) {
        let steps = Algorithm::ALL.map(|algorithm| known.steps(algorithm));
        assert!(steps.iter().flatten().all(|step| step.watts > 0.0 && step.terahashes > 0.0));
    }
    vec![said(reply, false), said(reply, true)]
}

#[async_trait]
impl Driver for Epic {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let summary = self.read_summary().await?;
        let uptime = summary.get("Session").and_then(|session| fields::number(session, "Uptime"));
        let uptime = uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let restarted = matches!((self.uptime, uptime), (Some(before), Some(now)) if now < before);
        self.uptime = uptime.or(self.uptime);
        if self.capabilities.is_none() || restarted {
            self.read_capabilities().await?;
        }
        let Said { power, hashrate, activity } = said(&summary, self.stopped);
        let target = match activity {
            Activity::Asleep => Measured::Value(Target::Sleep),
            _ => self.target(),
        };
        let offer = self.capabilities.as_ref().and_then(Capabilities::power);
        let points = self.steps().map(|(_, steps)| {
            let point = |step: &Preset| OperatingPoint {
                power: Watts::saturating(step.watts),
                hashrate: Hashrate::terahashes(step.terahashes),
            };
            steps.iter().map(point).collect::<Arc<[_]>>()
        });
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: offer.map(|offer| (Watts::saturating(offer.low), Watts::saturating(offer.high))),
            points,
            uptime,
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        match target {
            Target::Sleep => {
                self.command(Request::Miner, json!("Stop")).await?;
                (self.asleep, self.stopped) = (Some(true), true);
                Ok(())
            }
            Target::Power(power) => {
                // The throttle settings go back as they are now, not as they were at some earlier poll.
                self.read_summary().await?;
                if self.capabilities.is_none() {
                    self.read_capabilities().await?;
                }
                // The target first, so that the miner wakes towards it and not towards an older, higher one.
                self.set_power(power).await?;
                if self.asleep == Some(true) {
                    self.command(Request::Miner, json!("Autostart")).await?;
                    (self.asleep, self.stopped) = (Some(false), false);
                }
                Ok(())
            }
        }
    }

    async fn close(&mut self) {
        // The API has no sessions, and the connection ends with the driver.
    }
}
