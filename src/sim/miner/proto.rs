//! A Proto Rig with the MDK API on HTTP port 80.
//!
//! Paths, fields, states and status codes follow the OpenAPI document of MDK API 1.8.2; the values come from the
//! simulation. Identification (`system`, `network`, `hardware`) needs no login, everything else does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::door::Door;
use super::rest::{self, Asked};
use super::{Face, Habits, Make, MinerState, Refusal, Setting, SimMiner, View, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", "proto-rig"),
    faces: [Face { model: "Rig", chips: 120 }, Face { model: "Rig", chips: 120 }],
    habits: Habits::STEADY,
    connections: rest::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

/// Logins that are known at once; the oldest makes room.
const TOKENS_MAX: usize = 16;
/// What its software says of itself.
const VERSION: &str = "1.8.2";

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    issued: u64,
    valid: Vec<String>,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service { miner: Arc::clone(door.miner()), clock: door.clock(), tokens: Mutex::default() };
    rest::run(door, service).await;
}

fn message(status: StatusCode, text: &str) -> Response {
    rest::json(status, json!({"message": text}))
}

fn ok(body: Value) -> Response {
    rest::json(StatusCode::OK, body)
}

impl rest::Service for Service {
    fn answer(&self, asked: &Asked) -> Response {
        let (method, path) = (asked.method.as_str(), asked.uri.path());
        if (method, path) == ("GET", "/") {
            return Html("<!doctype html><html><head><title>Proto OS</title></head><body></body></html>")
                .into_response();
        }
        let Some(command) = path.strip_prefix("/api/v1/") else {
            return message(StatusCode::NOT_FOUND, "not found");
        };
        let now = self.clock.now();
        let view = self.miner.view(now);
        match (method, command) {
            ("POST", "auth/login") => return self.login(&asked.body),
            ("GET", "system" | "system/status" | "network" | "hardware") => {
                return ok(public(&self.miner, &view, command));
            }
            _ => {}
        }
        let Some(token) = self.token(&asked.headers) else {
            return message(StatusCode::UNAUTHORIZED, "missing or invalid token");
        };
        match (method, command) {
            ("POST", "auth/logout") => {
                self.lock().valid.retain(|valid| *valid != token);
                message(StatusCode::OK, "logged out")
            }
            ("GET", _) => match self.read(&view, command) {
                Some(body) => ok(body),
                None => message(StatusCode::NOT_FOUND, "not found"),
            },
            ("PUT", "mining/target") => self.set_target(&asked.body, now),
            ("POST", "mining/start") if view.state == MinerState::Tripped => {
                message(StatusCode::UNPROCESSABLE_ENTITY, "not possible now")
            }
            ("POST", "mining/start") => Self::done(self.miner.wake(now), "Mining started"),
            ("POST", "mining/stop") => Self::done(self.miner.sleep(now), "Mining stopped"),
            ("POST", "system/reboot") => Self::done(self.miner.reboot(now), "Rebooting"),
            _ => {
                self.miner.trespass();
                message(StatusCode::FORBIDDEN, "the simulation does not allow this")
            }
        }
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn login(&self, body: &[u8]) -> Response {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return message(StatusCode::BAD_REQUEST, "the body is not JSON");
        };
        if body.get("password").and_then(Value::as_str) != Some(&self.miner.password) {
            return message(StatusCode::UNAUTHORIZED, "invalid password");
        }
        let mut tokens = self.lock();
        if tokens.valid.len() >= TOKENS_MAX {
            tokens.valid.remove(0);
        }
        tokens.issued += 1;
        let access = self.miner.identity.fresh(tokens.issued, 40);
        tokens.valid.push(access.clone());
        ok(
            json!({"access_token": access, "refresh_token": self.miner.identity.fresh(tokens.issued + (1 << 20), 40)}),
        )
    }

    /// The valid token of a request.
    fn token(&self, headers: &HeaderMap) -> Option<String> {
        let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
        self.lock().valid.iter().find(|valid| *valid == given).cloned()
    }

    fn done(result: Result<(), Refusal>, text: &str) -> Response {
        match result {
            Ok(()) => message(StatusCode::ACCEPTED, text),
            Err(Refusal::WriteDisabled) => message(StatusCode::FORBIDDEN, "default password must be changed"),
            Err(Refusal::Failed) => message(StatusCode::UNPROCESSABLE_ENTITY, "not possible now"),
        }
    }

    fn set_target(&self, body: &[u8], now: Moment) -> Response {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return message(StatusCode::BAD_REQUEST, "the body is not JSON");
        };
        // Every other field of this request is none of a power controller's business.
        if body.as_object().is_none_or(|object| object.keys().any(|key| key != "power_target_watts")) {
            self.miner.trespass();
            return message(StatusCode::BAD_REQUEST, "the simulation takes the power target alone");
        }
        let Some(watts) = body.get("power_target_watts").and_then(Value::as_u64) else {
            return message(StatusCode::BAD_REQUEST, "power_target_watts must be an integer");
        };
        let target = Watts::saturating(f64::from(u32::try_from(watts).unwrap_or(u32::MAX)));
        let (low, high) = range(&self.miner);
        if target < low || target > high {
            return message(StatusCode::UNPROCESSABLE_ENTITY, "power_target_watts is out of range");
        }
        match self.miner.set_power(target, now) {
            Ok(()) => ok(target_body(&self.miner, target)),
            refused => Self::done(refused, ""),
        }
    }

    fn read(&self, view: &View, command: &str) -> Option<Value> {
        let miner = &self.miner;
        let terahashes = rounded(view.hashrate.as_terahashes(), 3);
        Some(match command {
            "mining" => json!({"mining-status": {
                "status": state(view.state), "mining_uptime_s": view.mining_time.as_secs(),
                "reboot_uptime_s": view.uptime.as_secs(), "hashrate_ghs": rounded(terahashes * 1e3, 1),
                "average_hashrate_ghs": rounded(terahashes * 1e3, 1),
                "ideal_hashrate_ghs": rounded(miner.top_hashrate() / 1e9, 1),
                "power_usage_watts": rounded(view.power.get(), 2), "power_target_watts": whole(target_of(view).get()),
                "average_asic_temp_c": rounded(30.0 + 40.0 * view.warmth, 1), "hw_errors": 0,
                "hashboards_installed": miner.identity.boards, "hashboards_mining": miner.identity.boards,
            }}),
            "mining/target" => target_body(miner, target_of(view)),
            "telemetry" => json!({"timestamp": "2026-01-01T00:00:00Z", "miner": {
                "hashrate": {"value": terahashes, "unit": "TH/s"},
                "power": {"value": rounded(view.power.get(), 2), "unit": "W"},
                "temperature": {"value": rounded(30.0 + 40.0 * view.warmth, 1), "unit": "°C"},
                "efficiency": {"value": 0.0, "unit": "J/TH"},
            }}),
            "errors" if view.state == MinerState::Tripped => json!([{
                "source": "rig", "slot": 0, "error_code": "SimulatedFault", "timestamp": 0, "message": "tripped",
            }]),
            "errors" => json!([]),
            "pools" => json!({"pools": [{
                "id": 0, "url": "stratum+tcp://pool.invalid:3333", "user": "sim.worker", "priority": 0,
                "status": "Active",
            }]}),
            "cooling" => json!({"cooling-status": {"fan_mode": "Auto", "fans": []}}),
            _ => return None,
        })
    }
}

/// The words of the document's enumeration.
const fn state(state: MinerState) -> &'static str {
    match state {
        MinerState::Rebooting => "Uninitialized",
        MinerState::Asleep => "Stopped",
        MinerState::Starting => "PoweringOn",
        MinerState::Tuning | MinerState::Hashing => "Mining",
        MinerState::Tripped => "Error",
    }
}

fn target_of(view: &View) -> Watts {
    match view.setting {
        Some(Setting::Watts(watts)) => watts,
        Some(Setting::Percent(percent)) => view.limit.scaled(percent / 100.0),
        None => view.limit,
    }
}

/// Whole watts, outwards: the ends that are shown are accepted.
fn range(miner: &SimMiner) -> (Watts, Watts) {
    let low = miner.minimum.get().floor();
    let high = miner.maximum.max(miner.rated).get().ceil();
    (Watts::saturating(low), Watts::saturating(high))
}

fn target_body(miner: &SimMiner, target: Watts) -> Value {
    let (low, high) = range(miner);
    json!({
        "power_target_watts": whole(target.get()), "power_target_min_watts": whole(low.get()),
        "power_target_max_watts": whole(high.get()), "default_power_target_watts": whole(miner.rated.get()),
        "performance_mode": "MaximumHashrate", "balance_bays": false, "hash_on_disconnect": false,
    })
}

/// What needs no login.
fn public(miner: &SimMiner, view: &View, command: &str) -> Value {
    let identity = &miner.identity;
    match command {
        "system/status" => json!({"onboarded": true, "password_set": true}),
        "network" => json!({"network-info": {
            "dhcp": true, "ip": identity.ip, "mac": identity.mac, "hostname": "proto-miner", "netmask": "255.0.0.0",
            "gateway": "127.0.0.1",
        }}),
        "hardware" => json!({"hardware-info": {
            "cb-info": {"board_id": "CB-001", "machine_name": identity.model, "serial_number": identity.serial},
            "fans-info": [], "psus-info": [],
            "hashboards-info": (0..identity.boards).map(|board| json!({
                "board": "B4", "hb_sn": format!("{}-{board}", identity.serial), "mining_asic": "BZM",
                "mining_asic_count": identity.chips, "port": board, "slot": board + 1,
            })).collect::<Vec<_>>(),
        }}),
        _ => json!({"system-info": {
            "manufacturer": "Proto", "model": identity.model, "product_name": "Proto Rig", "board": "C3",
            "cb_sn": identity.serial, "uptime_seconds": view.uptime.as_secs(),
            "os": {"name": "ProtoOS", "version": VERSION, "variant": "release"},
            "web_server": {"name": "miner-api-server", "version": VERSION},
        }}),
    }
}
