//! A Bitaxe with AxeOS 2.14: HTTP on port 80, by ESP-Miner's `openapi.yaml` and its own source.
//!
//! There is no account. `PATCH /api/system` takes any of the settings and answers with nothing; a clock is taken over
//! whatever it is, as the firmware does. A pause is forgotten when the device restarts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::door::Door;
use super::web::{self, Site};
use super::{Face, Habits, Make, MinerState, Refusal, SimMiner, View, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", ""),
    faces: [Face { model: "BM1370", chips: 1 }, Face { model: "BM1370", chips: 1 }],
    // A pause is kept in memory alone (ESP-Miner).
    habits: Habits { keeps_sleep: false, report_lag: 1.0, ..Habits::STEADY },
    connections: web::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

/// Firmware.
const VERSION: &str = "v2.14.0";
/// Clock of the rated power, in megahertz.
const DEFAULT_CLOCK: f64 = 525.0;
/// Clocks that the device's page offers.
const CLOCKS: [u32; 6] = [400, 490, 525, 550, 600, 625];
/// Core voltage, in millivolts.
const MILLIVOLTS: u32 = 1_150;
/// The part of the draw that does not follow the clock.
const STANDING_PART: f64 = 0.15;

struct Service {
    miner: Arc<SimMiner>,
    time: Clock,
    /// The clock in flash.
    clock: Mutex<f64>,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service::new(Arc::clone(door.miner()), door.clock());
    web::run(door, service).await;
}

impl Site for Service {
    fn answer(&self, method: &str, path: &str, _: &HeaderMap, body: &[u8]) -> Response {
        let now = self.time.now();
        let result = match (method, path) {
            ("GET", "/") => return web::page("AxeOS"),
            ("GET", "/api/system/info") => {
                return axum::Json(self.info(&self.miner.view(now))).into_response();
            }
            ("GET", "/api/system/asic") => return axum::Json(self.asic()).into_response(),
            ("POST", "/api/system/pause") => {
                self.miner.sleep(now).map(|()| Some(json!({"message": "Mining paused"})))
            }
            ("POST", "/api/system/resume") => {
                self.miner.wake(now).map(|()| Some(json!({"message": "Mining resumed"})))
            }
            ("POST", "/api/system/restart") => self.miner.reboot(now).map(|()| None),
            ("PATCH", "/api/system") => match serde_json::from_slice(body) {
                Ok(Value::Object(settings)) => self.patch(&Value::Object(settings), now).map(|()| None),
                _ => return (StatusCode::BAD_REQUEST, "Invalid JSON").into_response(),
            },
            ("POST" | "PATCH" | "PUT" | "DELETE", path) if path.starts_with("/api/") => {
                self.miner.trespass();
                return (StatusCode::NOT_FOUND, "This URI does not exist").into_response();
            }
            // An unknown path is led back to the page.
            ("GET", _) => return (StatusCode::FOUND, [("location", "/")]).into_response(),
            _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
        };
        match result {
            Ok(Some(body)) => axum::Json(body).into_response(),
            Ok(None) => StatusCode::OK.into_response(),
            Err(Refusal::WriteDisabled) => (StatusCode::UNAUTHORIZED, "Unauthorized").into_response(),
            Err(Refusal::Failed) => (StatusCode::BAD_REQUEST, "Wrong API input").into_response(),
        }
    }
}

impl Service {
    fn new(miner: Arc<SimMiner>, time: Clock) -> Self {
        // The clock of the power that it begins with.
        let view = miner.view(time.now());
        let watts = match view.setting {
            Some(super::Setting::Watts(watts)) => watts.get(),
            Some(super::Setting::Percent(percent)) => view.limit.get() * percent / 100.0,
            None => view.limit.get(),
        };
        let share = (watts / miner.rated.get() - STANDING_PART) / (1.0 - STANDING_PART);
        let clock = Mutex::new((DEFAULT_CLOCK * share).round().max(50.0));
        Self { miner, time, clock }
    }

    fn clock(&self) -> MutexGuard<'_, f64> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes settings over; those that are no matter of power are counted and not taken.
    fn patch(&self, settings: &Value, now: Moment) -> Result<(), Refusal> {
        let object = settings.as_object().ok_or(Refusal::Failed)?;
        if object.keys().any(|key| key != "frequency") {
            self.miner.trespass();
            return Err(Refusal::Failed);
        }
        let clock = settings.get("frequency").and_then(Value::as_f64).ok_or(Refusal::Failed)?;
        if !(1.0..=65_535.0).contains(&clock) {
            return Err(Refusal::Failed);
        }
        let share = STANDING_PART + (1.0 - STANDING_PART) * clock / DEFAULT_CLOCK;
        self.miner.set_power(Watts::saturating(self.miner.rated.get() * share), now)?;
        *self.clock() = clock;
        Ok(())
    }

    fn asic(&self) -> Value {
        json!({
            "ASICModel": self.miner.identity.model, "deviceModel": "Gamma", "swarmColor": "green", "asicCount": 1,
            "hashDomains": 1, "defaultFrequency": DEFAULT_CLOCK, "frequencyOptions": CLOCKS,
            "defaultVoltage": MILLIVOLTS, "voltageOptions": [1_000, 1_060, 1_100, MILLIVOLTS, 1_200, 1_250],
        })
    }

    fn info(&self, view: &View) -> Value {
        let identity = &self.miner.identity;
        let gigahashes = rounded(view.hashrate.get() / 1e9, 3);
        let mut info = json!({
            "ASICModel": identity.model, "version": VERSION, "axeOSVersion": VERSION, "idfVersion": "v5.5",
            "boardVersion": "601", "asicCount": 1, "smallCoreCount": 2_040, "macAddr": identity.mac,
            "hostname": "bitaxe", "ipv4": identity.ip, "ssid": "simulation", "wifiStatus": "Connected!", "wifiRSSI": -55,
            "power": rounded(view.power.get(), 3), "voltage": 5_100.0, "current": rounded(view.power.get() / 5.1e-3, 1),
            "temp": rounded(30.0 + 30.0 * view.warmth, 2), "vrTemp": rounded(35.0 + 30.0 * view.warmth, 1),
            "maxPower": whole(self.miner.nameplate.get()), "nominalVoltage": 5,
        });
        let mining = json!({
            "hashRate": gigahashes, "hashRate_1m": gigahashes, "expectedHashrate": gigahashes,
            "frequency": *self.clock(), "actualFrequency": *self.clock(), "coreVoltage": MILLIVOLTS,
            "coreVoltageActual": MILLIVOLTS, "uptimeSeconds": view.mining_time.as_secs(),
            "miningPaused": view.state == MinerState::Asleep, "overheat_mode": 0, "overclockEnabled": 0,
            "sharesAccepted": view.mining_time.as_secs() / 30, "sharesRejected": 0, "bestDiff": 1, "bestSessionDiff": 1,
            "fanspeed": 40, "fanrpm": whole(2_000.0 + 2_000.0 * view.warmth), "autofanspeed": 1, "temptarget": 60,
            "stratumURL": "pool.invalid", "stratumPort": 3_333, "stratumUser": "sim.worker",
            "fallbackStratumURL": "pool.invalid", "fallbackStratumPort": 3_333, "fallbackStratumUser": "sim.worker",
            "isUsingFallbackStratum": 0, "runningPartition": "ota_0", "freeHeap": 8_000_000,
        });
        if let (Some(info), Value::Object(mining)) = (info.as_object_mut(), mining) {
            info.extend(mining);
            if view.state == MinerState::Tripped {
                info.insert("hardware_fault".into(), json!("ASIC communication failed"));
            }
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::miner;
    use super::*;
    use crate::miner::DriverKind;

    #[test]
    fn a_clock_is_power_and_all_else_is_none_of_a_controllers_business() {
        let miner = Arc::new(miner(DriverKind::AxeOs, 1));
        let service = Service::new(Arc::clone(&miner), Clock::start());
        assert_eq!(service.patch(&json!({"frequency": 400}), Moment::START), Ok(()));
        let drawn = miner.power(Moment::millis(600_000)).get() / miner.rated.get();
        assert!((drawn - (0.15 + 0.85 * 400.0 / 525.0)).abs() < 0.03, "{drawn}");
        assert!(service.patch(&json!({"frequency": 450, "coreVoltage": 1_200}), Moment::START).is_err());
        assert!(service.patch(&json!({"frequency": 0}), Moment::START).is_err());
        assert_eq!((*service.clock(), miner.tally().trespasses), (400.0, 1));
    }
}
