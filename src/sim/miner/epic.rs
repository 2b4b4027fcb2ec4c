//! A miner with ePIC's UMC OS: HTTP on port 4028, by the vendor's OpenAPI description "ePIC UMC API" 1.30.0.
//!
//! Reads need no account. Every command carries the password in its body and is answered with `result` and, where that
//! is false, `error`. The vendor's own pages are on port 80.

mod replies;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::door::Door;
use super::web::{self, Site};
use super::{Beside, Face, Habits, Make, Refusal, SimMiner, legacy};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", "letmein"),
    faces: [Face { model: "AntMiner S19 XP", chips: 110 }, Face { model: "AntMiner S19k Pro", chips: 77 }],
    habits: Habits::STEADY,
    connections: web::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[Beside {
        port: PAGE_PORT,
        connections: legacy::CONNECTIONS_MAX,
        serve: |door| tokio::spawn(page(door)),
    }],
};

/// Where the vendor's pages are.
pub(super) const PAGE_PORT: u16 = 80;
/// A change of the tuning is in the works for this long, and another one is refused meanwhile.
const PENDING: Duration = Duration::from_millis(300);

/// What perpetual tune is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tune {
    algorithm: &'static str,
    /// Watts or terahashes per second, as the algorithm has it.
    target: u64,
    min_throttle: Option<u64>,
    throttle_step: Option<u64>,
    changed: Option<Moment>,
}

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    tune: Mutex<Tune>,
    last: Mutex<Option<&'static str>>,
}

/// Serves the API until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service::new(Arc::clone(door.miner()), door.clock());
    web::run(door, service).await;
}

/// Serves the vendor's page until cancelled.
pub(super) async fn page(door: Door) {
    web::run(door, web::Page("Miner Web Dashboard")).await;
}

impl Site for Service {
    fn answer(&self, method: &str, path: &str, _: &HeaderMap, body: &[u8]) -> Response {
        let now = self.clock.now();
        match method {
            "GET" => {
                let view = self.miner.view(now);
                let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
                match replies::read(&self.miner, &view, *self.tune(), last, path) {
                    Some(body) => axum::Json(body).into_response(),
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
            "POST" => match self.post(path, body, now) {
                Some(Ok(())) => axum::Json(json!({"result": true, "error": null})).into_response(),
                Some(Err(error)) => axum::Json(json!({"result": false, "error": error})).into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }
}

impl Service {
    fn new(miner: Arc<SimMiner>, clock: Clock) -> Self {
        // As it comes: tuned for its full hashrate by an algorithm that knows no watts.
        let tune = Tune {
            algorithm: "VoltageOptimizer",
            target: replies::presets(&miner).last().map_or(0, |preset| preset.terahashes),
            min_throttle: Some(40),
            throttle_step: Some(5),
            changed: None,
        };
        Self { miner, clock, tune: Mutex::new(tune), last: Mutex::new(None) }
    }

    fn tune(&self) -> MutexGuard<'_, Tune> {
        self.tune.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command; `None` where there is none of this path.
    fn post(&self, path: &str, body: &[u8], now: Moment) -> Option<Result<(), Value>> {
        if !POSTS.contains(&path) {
            return None;
        }
        let body: Value = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(_) => return Some(Err(json!("MissingParam"))),
        };
        if body.get("password").and_then(Value::as_str) != Some(&self.miner.password) {
            return Some(Err(json!("BadPassword")));
        }
        let Some(param) = body.get("param") else {
            return Some(Err(json!("MissingParam")));
        };
        let miner = &self.miner;
        let result = match (path, param.as_str()) {
            ("/miner", Some("Stop")) => {
                self.note("Stop");
                miner.sleep(now)
            }
            ("/miner", Some("Autostart")) => {
                self.note("Autostart");
                miner.wake(now)
            }
            ("/miner", _) => return Some(Err(json!({"UnknownError": "unknown variant"}))),
            ("/perpetualtune/algo", _) => match self.algorithm(param, now) {
                Ok(result) => result,
                Err(error) => return Some(Err(error)),
            },
            ("/softreboot", _) => miner.restart(None, now),
            ("/reboot", _) => miner.reboot(now),
            _ => {
                miner.trespass();
                Err(Refusal::Failed)
            }
        };
        Some(result.map_err(|refusal| match refusal {
            Refusal::WriteDisabled => json!("BadPassword"),
            Refusal::Failed => json!({"UnknownError": "the simulation does not allow this"}),
        }))
    }

    fn note(&self, command: &'static str) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(command);
    }

    /// `AlgoInfo`: the algorithm and its target; what else it carries is replaced, by nothing where it is missing.
    fn algorithm(&self, param: &Value, now: Moment) -> Result<Result<(), Refusal>, Value> {
        let unknown = |text: &str| json!({"UnknownError": text});
        let miner = &self.miner;
        let number = |key: &str| param.get(key).and_then(Value::as_u64);
        let name = param.get("algo").and_then(Value::as_str).unwrap_or_default();
        let offers = replies::offers(miner);
        let offer = offers.iter().find(|offer| offer.algorithm == name);
        let (Some(offer), Some(target)) = (offer, number("target")) else {
            return Err(unknown("data did not match AlgoInfo"));
        };
        if !(offer.low..=offer.high).contains(&target) {
            return Err(unknown("the target is out of range"));
        }
        let mut tune = self.tune();
        if tune.changed.is_some_and(|changed| now.since(changed) < PENDING) {
            return Err(json!({"LastCmdStillPending": "PerpetualTune"}));
        }
        let watts = replies::watts(miner, offer.algorithm, target);
        let result = miner.set_power(Watts::saturating(watts), now);
        if result.is_ok() {
            *tune = Tune {
                algorithm: offer.algorithm,
                target,
                min_throttle: number("min_throttle"),
                throttle_step: number("throttle_step"),
                changed: Some(now),
            };
        }
        Ok(result)
    }
}

/// The paths that take a command.
const POSTS: [&str; 35] = [
    "/boardenable",
    "/clearhashrate",
    "/coin",
    "/criticaltemp",
    "/defaultconfig",
    "/disableboardonfailure",
    "/enableboardsonidle",
    "/fans/minimum",
    "/fanspeed",
    "/hashratesplit",
    "/hashratesplit/enable",
    "/id",
    "/id/variant",
    "/identify",
    "/idleonconnectionlost",
    "/miner",
    "/network",
    "/otelsettings",
    "/overdrive",
    "/password",
    "/perpetualtune",
    "/perpetualtune/algo",
    "/perpetualtune/reset",
    "/reboot",
    "/shutdowntemp",
    "/softreboot",
    "/systemupdate",
    "/timezone",
    "/tune",
    "/tune/clock/all",
    "/tune/clock/board",
    "/tune/clock/chip",
    "/tune/config/chip",
    "/tune/voltage",
    "/wifi",
];

#[cfg(test)]
mod tests {
    use super::super::tests::miner;
    use super::*;
    use crate::miner::DriverKind;

    fn service() -> Service {
        Service::new(Arc::new(miner(DriverKind::Epic, 1)), Clock::start())
    }

    fn post(service: &Service, path: &str, body: &Value, at: u64) -> Option<Result<(), Value>> {
        service.post(path, body.to_string().as_bytes(), Moment::millis(at))
    }

    #[test]
    fn a_command_needs_the_password_and_a_second_one_its_time() {
        let service = service();
        let algo = |password: &str| json!({"param": {"algo": "VoltageOptimizer", "target": 130}, "password": password});
        assert_eq!(post(&service, "/perpetualtune/algo", &algo("x"), 0), Some(Err(json!("BadPassword"))));
        assert_eq!(post(&service, "/perpetualtune/algo", &algo("letmein"), 0), Some(Ok(())));
        assert!(matches!(post(&service, "/perpetualtune/algo", &algo("letmein"), 10), Some(Err(_))));
        assert_eq!(post(&service, "/perpetualtune/algo", &algo("letmein"), 400), Some(Ok(())));
        assert_eq!(post(&service, "/nowhere", &algo("letmein"), 400), None);
    }

    #[test]
    fn what_a_command_leaves_out_is_forgotten_and_what_is_foreign_is_counted() {
        let service = service();
        let algo =
            json!({"param": {"algo": "ChipTune", "target": 120, "throttle_step": 4}, "password": "letmein"});
        assert_eq!(post(&service, "/perpetualtune/algo", &algo, 0), Some(Ok(())));
        // One lock, not two within one expression.
        let tune = *service.tune();
        assert_eq!((tune.min_throttle, tune.throttle_step), (None, Some(4)));
        let fans = json!({"param": {"Manual": 100}, "password": "letmein"});
        assert!(matches!(post(&service, "/fanspeed", &fans, 0), Some(Err(_))));
        assert_eq!(service.miner.tally().trespasses, 1);
    }
}
