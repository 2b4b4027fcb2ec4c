//! AxeOS, the firmware of the Bitaxe and its relatives ("ESP-Miner"): HTTP on port 80, without an account.
//!
//! Power is set by the clock of the chips: `PATCH /api/system {"frequency": MHz}` is taken over within a second and
//! without a restart; each one is written to flash. The core voltage stays as the operator set it: a lower clock is
//! stable at the voltage of a higher one, the reverse is not, so the clock never rises above what the operator ran at this
//! voltage or the vendor's default. Nor does it rise in a fault: overheat protection sets 50 MHz at 1,000 mV, and that is not
//! to be undone from here. `POST /api/system/pause` and `/resume` (from 2.14) cut and restore the power of the chips;
//! a restart of the device forgets the pause. Firmware without them (earlier ones, NerdQAxe++) goes to its lowest clock
//! instead, which is less draw and no sleep, and is never called one.
//!
//! The device says what it draws, but not what it would draw at another clock, so a power becomes a clock by the latest
//! steady reading: part of the draw does not depend on the clock, and that part is assumed so that the guess errs on
//! the low side.
//!
//! Sources: ESP-Miner's source and `openapi.yaml`, 2.4 to 2.15 (`http_server.c`, `system_api_json.c`,
//! `power_management_task.c`, `asic_settings.c`); reply of 2.4 as asic-rs has it on record. Every command is absolute.
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
use crate::miner::wire::plain_http::{Ask, PlainHttp};
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "axeos",
    // Its API knows no accounts.
    needs_password: false,
    new: |connection, http| Box::new(AxeOs::new(connection, http)),
    // ESP-Miner looks for a new clock ten times a second and walks there in small steps; the ramps and the time to
    // start are cautious guesses. A clock is written to flash, a pause is not kept.
    traits: Traits {
        quantum: Quantum::Fraction(0.03),
        class: Class::Continuous,
        restarts: false,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(1),
            dead_time_up: Duration::from_secs(1),
            ramp_down: WattsPerSecond::whole(5),
            ramp_up: WattsPerSecond::whole(2),
            start_time: Duration::from_secs(15),
            starts_at_full: false,
            start_overshoot: 0.1,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(30),
            sleep: Duration::from_secs(60),
            min_interval: Duration::from_secs(60),
        },
        port: 80,
        username: None,
    },
};

/// The lowest clock that the device's own page offers on every model (`frequency_options`), in megahertz; used where
/// the device does not list its own.
const LOWEST_CLOCK: f64 = 400.0;
/// The highest clock that is ever sent; no model comes near.
const HIGHEST_CLOCK: f64 = 1_500.0;
/// The part of the draw that does not follow the clock when it is lowered: regulator, controller, fan, leakage.
const STANDING_PART: f64 = 0.2;
/// After a change of the clock the draw is still on its way for so long.
const SETTLING: Duration = Duration::from_secs(10);
/// More than any of these devices draws, in watts.
const MOST_WATTS: f64 = 1_000.0;
/// More clocks than any model lists.
const MOST_OPTIONS: usize = 64;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Info,
    Asic,
    Clock(u32),
    Pause,
    Resume,
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Info => "api/system/info",
            Self::Asic => "api/system/asic",
            Self::Clock(_) => "api/system",
            Self::Pause => "api/system/pause",
            Self::Resume => "api/system/resume",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Info | Self::Asic => Method::GET,
            Self::Clock(_) => Method::PATCH,
            Self::Pause | Self::Resume => Method::POST,
        }
    }
}

/// What `/api/system/info` says, in the device's units.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    power: Option<f64>,
    has_power: bool,
    gigahashes: Option<f64>,
    clock: Option<f64>,
    millivolts: Option<f64>,
    uptime: Option<f64>,
    paused: Option<bool>,
    fault: Option<Arc<str>>,
}

impl Info {
    /// Reads it.
    ///
    /// # Errors
    /// When it is an answer of another program.
    pub(crate) fn read(reply: &Value) -> Result<Self, String> {
        if !reply.is_object() {
            return Err("it is not an object".to_owned());
        }
        if reply.get("power").is_none() && reply.get("hashRate").is_none() {
            return Err("`power` and `hashRate` are missing".to_owned());
        }
        let mut fault = None;
        for key in ["hardware_fault", "power_fault"] {
            if let Some(text) = fields::text(reply, key).filter(|text| !text.is_empty()) {
                fault = Some(Arc::from(fields::words(text, &[])));
            }
        }
        // A truth value, or a number that counts up.
        let hot = fields::flag(reply, "overheat_mode").unwrap_or(false)
            || fields::number(reply, "overheat_mode").is_some_and(|mode| mode > 0.0);
        if fault.is_none() && hot {
            fault = Some(Arc::from("overheat mode"));
        }
        Ok(Self {
            power: power(reply),
            has_power: fields::is_there(reply, &["power"]),
            gigahashes: fields::first_number(reply, &["hashRate", "hashRate_1m"]),
            clock: fields::number(reply, "frequency").filter(|clock| *clock > 0.0),
            millivolts: fields::number(reply, "coreVoltage"),
            uptime: fields::number(reply, "uptimeSeconds"),
            // The relatives have another name for it.
            paused: fields::flag(reply, "miningPaused").or_else(|| fields::flag(reply, "isPaused")),
            fault,
        })
    }

    fn hashes(&self) -> bool {
        self.gigahashes.is_some_and(|rate| rate > 0.0) && self.paused != Some(true) && self.fault.is_none()
    }

    /// What it means.
    pub(crate) fn said(&self) -> Said {
        let activity = match &self.fault {
            Some(fault) => Activity::Fault(Arc::clone(fault)),
            None if self.paused == Some(true) => Activity::Asleep,
            None if self.hashes() => Activity::Hashing,
            None => Activity::Starting,
        };
        // With the chips' power cut the number that stands there is from before.
        let rate = self.gigahashes.filter(|_| self.fault.is_none());
        Said {
            // A board without a meter says 0.
            power: fields::live_watts(self.power, self.has_power),
            hashrate: fields::hashes(rate.map(|rate| rate * 1e9), self.gigahashes.is_some()),
            activity,
        }
    }
}

/// The draw in watts. Some relatives give milliwatts: then it contradicts their own voltage (mV) and current (mA), is far
/// beyond what they say they may draw, or more than any of them draws.
fn power(reply: &Value) -> Option<f64> {
    let power = fields::number(reply, "power")?;
    let own = match (fields::number(reply, "voltage"), fields::number(reply, "current")) {
        (Some(millivolts), Some(milliamperes)) => {
            Some(millivolts * milliamperes / 1e6).filter(|own| *own > 1.0)
        }
        _ => None,
    };
    let most = fields::number(reply, "maxPower").filter(|most| *most > 1.0);
    let most = own.or(most).map_or(MOST_WATTS, |watts| watts * 100.0);
    Some(if power > most { power / 1e3 } else { power })
}

/// What `/api/system/asic` lists.
#[derive(Clone, Copy, Debug, Default)]
struct Model {
    lowest: Option<f64>,
    default_clock: Option<f64>,
    default_millivolts: Option<f64>,
}

impl Model {
    /// Firmware before 2.6 has no such path; what cannot be read there is as good as absent.
    fn read(reply: &Value) -> Self {
        let number = |key: &str| fields::number(reply, key).filter(|number| *number > 0.0);
        let options = reply.get("frequencyOptions").and_then(Value::as_array);
        let clocks = options.into_iter().flatten().take(MOST_OPTIONS).filter_map(Value::as_f64);
        Self {
            lowest: clocks.filter(|clock| *clock >= 1.0).min_by(f64::total_cmp),
            default_clock: number("defaultFrequency"),
            default_millivolts: number("defaultVoltage"),
        }
    }
}

/// A clock and what the device drew with it, settled.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reference {
    watts: f64,
    clock: f64,
}

impl Reference {
    /// The clock for a power, in whole megahertz. Downwards a part of the draw is taken to stay; upwards none, so that
    /// the guess is on the low side both ways.
    fn clock_for(self, power: Watts) -> f64 {
        let ratio = power.get() / self.watts;
        let part = if ratio < 1.0 { (ratio - STANDING_PART) / (1.0 - STANDING_PART) } else { ratio };
        // Lets the power that is drawn now keep the clock that it is drawn with.
        (self.clock * part + 1e-6).floor()
    }
}

/// A clock that was run, and the core voltage in millivolts that it was run with, as far as that is told.
#[derive(Clone, Copy, Debug)]
struct Ran {
    clock: f64,
    millivolts: Option<f64>,
}

impl Ran {
    /// Whether the clock is stable with the voltage that is set now.
    fn holds(self, info: &Info) -> bool {
        match (self.millivolts, info.millivolts) {
            (Some(ran), Some(set)) => set >= ran,
            _ => true,
        }
    }
}

/// Speaks with one miner.
pub struct AxeOs {
    web: PlainHttp,
    time: Clock,
    rated: Watts,
    model: Option<Model>,
    /// The highest clock that the operator was seen to run.
    operators: Option<Ran>,
    reference: Option<Reference>,
    /// Clock of the latest reading.
    seen: Option<f64>,
    changed: Option<Moment>,
    /// The last clock that the device took, and what was asked.
    sent: Option<(f64, Watts)>,
}

impl AxeOs {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: PlainHttp::new(connection, http),
            time: Clock::start(),
            rated: connection.rated,
            model: None,
            operators: None,
            reference: None,
            seen: None,
            changed: None,
            sent: None,
        }
    }

    /// One request. The controller has few sockets, so none is kept.
    async fn ask(&self, request: Request) -> Result<Vec<u8>, DriverError> {
        let name = request.path();
        let body = match request {
            Request::Clock(megahertz) => Some(json!({ "frequency": megahertz })),
            _ => None,
        };
        let ask = Ask { method: request.method(), body: body.as_ref(), keep: false, ..Ask::get(name, name) };
        let (status, bytes) = self.web.send(ask).await?;
        if status.is_success() { Ok(bytes) } else { Err(self.refusal(name, status, &bytes)) }
    }

    fn refusal(&self, name: &'static str, status: StatusCode, body: &[u8]) -> DriverError {
        let place = self.web.place();
        let reason = match status {
            StatusCode::BAD_REQUEST => Rejection::OutOfRange,
            // An unknown path is led back to the page.
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED
            | StatusCode::FOUND
            | StatusCode::TEMPORARY_REDIRECT => Rejection::Unsupported,
            StatusCode::UNAUTHORIZED => {
                return place.other(name, "it talks to its own network alone", &[]);
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Rejection::Busy,
            _ => {
                let text = format!("HTTP {}: {}", status.as_u16(), String::from_utf8_lossy(body));
                return place.other(name, &text, &[]);
            }
        };
        place.rejected(name, reason)
    }

    async fn read_info(&mut self) -> Result<Info, DriverError> {
        let name = Request::Info.path();
        let bytes = self.ask(Request::Info).await?;
        let place = self.web.place();
        let info = Info::read(&place.json(name, &bytes)?).map_err(|reason| place.malformed(name, reason))?;
        if self.model.is_none() {
            let reply = match self.ask(Request::Asic).await {
                Ok(bytes) => fields::parse(&bytes).unwrap_or_default(),
                Err(DriverError::Rejected { .. }) => Value::Null,
                Err(error) => return Err(error),
            };
            self.model = Some(Model::read(&reply));
        }
        self.learn(&info);
        Ok(info)
    }

    /// Takes in what a reading says of clock and draw.
    fn learn(&mut self, info: &Info) {
        let now = self.time.now();
        let Some(clock) = info.clock else {
            return;
        };
        if self.sent.is_none_or(|(sent, _)| (sent - clock).abs() >= 0.5) {
            self.sent = None;
            // Somebody else's doing, so theirs to answer for: not the firmware's, when it protects itself.
            let known = self.operators.filter(|known| known.holds(info));
            if info.fault.is_none() && known.is_none_or(|known| known.clock < clock) {
                self.operators = Some(Ran { clock, millivolts: info.millivolts });
            }
        }
        let steady = self.changed.is_none_or(|changed| now.since(changed) >= SETTLING)
            && self.seen.is_none_or(|seen| (seen - clock).abs() < 0.5);
        self.seen = Some(clock);
        if let Some(watts) = info.power.filter(|watts| *watts > 0.0 && steady && info.hashes()) {
            self.reference = Some(Reference { watts, clock });
        }
    }

    /// The highest clock that may be sent: the operator's own at this voltage, or the default at the default voltage or more;
    /// where neither fits, and in a fault, the one that is set.
    fn highest(&self, info: &Info) -> Option<f64> {
        if info.fault.is_some() {
            return info.clock;
        }
        let model = self.model.unwrap_or_default();
        let fits = match (info.millivolts, model.default_millivolts) {
            (Some(set), Some(default)) => set >= default,
            _ => false,
        };
        let default = model.default_clock.filter(|_| fits);
        let own = self.operators.filter(|own| own.holds(info)).map(|own| own.clock);
        match (own, default) {
            (Some(own), Some(default)) => Some(own.max(default)),
            (own, default) => own.or(default).or(info.clock),
        }
        .map(|clock| clock.min(HIGHEST_CLOCK))
    }

    /// The clock for a power.
    fn clock_for(&self, power: Watts, info: &Info) -> Result<u32, DriverError> {
        let name = Request::Clock(0).path();
        let place = self.web.place();
        let Some(highest) = self.highest(info) else {
            return Err(place.malformed(name, "its `frequency` is missing, so no other can be chosen"));
        };
        let lowest = self.model.and_then(|model| model.lowest).unwrap_or(LOWEST_CLOCK).min(highest);
        let reference =
            self.reference.unwrap_or(Reference { watts: self.rated.get().max(0.1), clock: highest });
        let clock = reference.clock_for(power).min(highest).max(lowest).floor();
        let whole = format!("{clock:.0}").parse().ok().filter(|clock| *clock > 0);
        whole.ok_or_else(|| place.rejected(name, Rejection::OutOfRange))
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    assert!(Model::read(reply).lowest.is_none_or(|lowest| lowest >= 1.0));
    Info::read(reply).map(|info| vec![info.said()]).unwrap_or_default()
}

#[async_trait]
impl Driver for AxeOs {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let info = self.read_info().await?;
        let Said { power, hashrate, activity } = info.said();
        let asleep = info.paused == Some(true);
        let target = match (asleep, self.sent) {
            (true, _) => Measured::Value(Target::Sleep),
            // The device knows its clock; the power behind it is known for the clock that was sent.
            (false, Some((_, asked))) if asked > Watts::ZERO => Measured::Value(Target::Power(asked)),
            (false, _) => Measured::Unavailable,
        };
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: None,
            points: None,
            uptime: info.uptime.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let (power, refused) = match target {
            Target::Sleep => match self.ask(Request::Pause).await {
                // Firmware without a pause does the least that it can, and says that this is no sleep.
                Err(error @ DriverError::Rejected { reason: Rejection::Unsupported, .. }) => {
                    (Watts::ZERO, Some(error))
                }
                result => return result.map(drop),
            },
            Target::Power(power) => (power, None),
        };
        let info = self.read_info().await?;
        let clock = self.clock_for(power, &info)?;
        // The clock first, so that the miner wakes with it and not with an older, higher one. A clock that is
        // set already is not written again.
        if info.clock.is_none_or(|set| (set - f64::from(clock)).abs() >= 0.5) {
            self.ask(Request::Clock(clock)).await?;
            self.changed = Some(self.time.now());
        }
        if let Some(error) = refused {
            // Ours, so no clock that the operator ran; no power was asked for with it.
            self.sent = Some((f64::from(clock), Watts::ZERO));
            return Err(error);
        }
        self.sent = Some((f64::from(clock), power));
        if info.paused == Some(true) {
            self.ask(Request::Resume).await?;
            self.changed = Some(self.time.now());
        }
        Ok(())
    }

    async fn close(&mut self) {
        // There are no sessions, and no connection is kept.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::miner::wire::plain_http::testing::any_json;
    use proptest::prelude::*;

    #[test]
    fn the_power_that_is_drawn_keeps_its_clock() {
        let reference = Reference { watts: 17.3, clock: 525.0 };
        assert!((reference.clock_for(Watts::saturating(17.3)) - 525.0).abs() < 0.1);
    }

    proptest! {
        #[test]
        fn a_guessed_clock_never_draws_more_than_asked(
            watts in 2.0..60.0_f64, clock in 400.0..900.0_f64, ratio in 0.0..2.0_f64, standing in 0.0..0.2_f64
        ) {
            let guess = Reference { watts, clock }.clock_for(Watts::saturating(watts * ratio));
            // Any true share of the standing part up to the assumed one.
            let drawn = watts * (standing + (1.0 - standing) * guess.max(0.0) / clock);
            let asked = (watts * ratio).max(watts * standing);
            prop_assert!(drawn <= asked + 1e-6, "{drawn} of {asked}");
        }

        #[test]
        fn any_answer_is_read_without_a_panic(
            reply in any_json(&[
                "power", "hashRate", "frequency", "coreVoltage", "uptimeSeconds", "miningPaused", "overheat_mode",
                "power_fault", "frequencyOptions", "defaultFrequency", "defaultVoltage",
            ])
        ) {
            if let Ok(info) = Info::read(&reply) {
                prop_assert!(info.clock.is_none_or(|clock| clock > 0.0));
            }
            prop_assert!(Model::read(&reply).lowest.is_none_or(|lowest| lowest >= 1.0));
        }
    }
}
