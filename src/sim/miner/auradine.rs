//! An Auradine Teraflux with FluxOS: HTTP on port 8080 under a token, and the reading port TCP 4028, as pyasic and
//! asic-rs have them on record.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::clock::{Clock, Moment, unix_seconds};
use crate::units::Watts;

use super::cgminer::{self, command_of};
use super::door::Door;
use super::web::{self, Site};
use super::{
    Beside, Face, Habits, Make, MinerState, Refusal, Setting, SimMiner, View, legacy, rounded, whole,
};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("admin", "admin"),
    faces: [Face { model: "AT2880", chips: 132 }, Face { model: "AT1500", chips: 132 }],
    habits: Habits::STEADY,
    connections: web::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[Beside { serve: |door| tokio::spawn(reading_port(door)), ..legacy::BESIDE }],
};

/// Tokens that are known at once; the oldest makes room.
const TOKENS_MAX: usize = 16;
/// Build in every envelope.
const BUILD: &str = "FluxOS-2024-06.11-sim";

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    tokens: Mutex<(u64, Vec<String>)>,
}

/// Serves the API until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service { miner: Arc::clone(door.miner()), clock: door.clock(), tokens: Mutex::default() };
    web::run(door, service).await;
}

/// Serves the reading port until cancelled.
pub(super) async fn reading_port(door: Door) {
    let reader = Reader { miner: Arc::clone(door.miner()), clock: door.clock() };
    cgminer::run(door, reader).await;
}

fn envelope(letter: &str, code: u32, message: &str) -> Value {
    json!([{"STATUS": letter, "When": unix_seconds(), "Code": code, "Msg": message, "Description": BUILD}])
}

fn reply(code: u32, message: &str, name: &str, list: Value) -> Value {
    json!({"STATUS": envelope("S", code, message), name: list, "id": 1})
}

fn error(code: u32, message: &str) -> Value {
    json!({"STATUS": envelope("E", code, message), "id": 1})
}

impl Site for Service {
    fn answer(&self, method: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Response {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if (method, path) == ("POST", "/token") {
            return axum::Json(self.token(&body)).into_response();
        }
        let token = headers.get("token").and_then(|token| token.to_str().ok()).unwrap_or_default();
        let known =
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner).1.iter().any(|one| one == token);
        if !known {
            return (StatusCode::UNAUTHORIZED, axum::Json(error(45, "Invalid token"))).into_response();
        }
        let now = self.clock.now();
        let answer = match (method, path) {
            ("GET", path) => match read(&self.miner, &self.miner.view(now), path.trim_start_matches('/')) {
                Some(answer) => answer,
                None => return StatusCode::NOT_FOUND.into_response(),
            },
            ("POST", "/mode") => self.mode(&body, now),
            ("POST", "/reboot") => outcome(self.miner.reboot(now), "Rebooting"),
            ("POST", "/restart-gcminer") => outcome(self.miner.restart(None, now), "Restarting"),
            ("POST", _) => {
                self.miner.trespass();
                error(14, "the simulation does not allow this")
            }
            _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
        };
        axum::Json(answer).into_response()
    }
}

fn outcome(result: Result<(), Refusal>, message: &str) -> Value {
    match result {
        Ok(()) => json!({"STATUS": envelope("S", 540, message), "id": 1}),
        Err(Refusal::WriteDisabled) => error(45, "Permission denied"),
        Err(Refusal::Failed) => error(541, "Operation failed"),
    }
}

impl Service {
    fn token(&self, body: &Value) -> Value {
        let field = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("user") != self.miner.username || field("password") != self.miner.password {
            return error(46, "Invalid user or password");
        }
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.0 += 1;
        let token = self.miner.identity.fresh(tokens.0, 24);
        if tokens.1.len() >= TOKENS_MAX {
            tokens.1.remove(0);
        }
        tokens.1.push(token.clone());
        reply(600, "Token", "Token", json!([{"Token": token}]))
    }

    fn mode(&self, body: &Value, now: Moment) -> Value {
        let miner = &self.miner;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        match (text("sleep"), text("mode"), text("tune")) {
            (Some("on"), None, None) => outcome(miner.sleep(now), "Sleep mode on"),
            (Some("off"), None, None) => outcome(miner.wake(now), "Sleep mode off"),
            (None, Some("custom"), Some("power")) => {
                let watts =
                    body.get("power").and_then(Value::as_u64).and_then(|watts| u32::try_from(watts).ok());
                match watts.map(|watts| Watts::saturating(f64::from(watts))) {
                    Some(power) if power <= miner.nameplate && power >= miner.minimum.scaled(0.5) => {
                        outcome(miner.set_power(power, now), "Custom mode set")
                    }
                    Some(_) => error(542, "Power out of range"),
                    None => error(14, "Invalid power"),
                }
            }
            _ => error(14, "Invalid parameters"),
        }
    }
}

/// The readable paths.
fn read(miner: &SimMiner, view: &View, path: &str) -> Option<Value> {
    let identity = &miner.identity;
    let asleep = view.state == MinerState::Asleep;
    Some(match path {
        "mode" => {
            let mode = match view.setting {
                Some(Setting::Watts(watts)) => {
                    json!({"Mode": "custom", "Power": whole(watts.get()), "Ths": 0})
                }
                _ => json!({"Mode": "normal"}),
            };
            let mut mode = mode;
            if let Some(mode) = mode.as_object_mut() {
                mode.insert("Sleep".into(), json!(if asleep { "on" } else { "off" }));
            }
            reply(540, "Operating mode", "Mode", json!([mode]))
        }
        "psu" => {
            let watts = format!("{:.2}W", view.power.get());
            reply(
                570,
                "PSU status",
                "PSU",
                json!([{
                    "PowerIn": watts, "PowerOut": "0.00W", "PoutMax": format!("{:.2}W", miner.nameplate.get()),
                    "Vin": "245.00V", "Iin": "0.00A", "Vout": "11.53V", "VoutSet": "11.50V", "FanSpeed1": "4052.00 RPM",
                }]),
            )
        }
        "ipreport" => reply(
            620,
            "IP Report",
            "IPReport",
            json!([{
                "command": "ipreport", "hostname": "teraflux-sim", "ip": identity.ip, "mac": identity.mac.to_lowercase(),
                "model": identity.model, "version": "2024-06.11", "SerialNo": identity.serial,
                "ChassisSerialNo": identity.serial, "CBSerialNo": identity.serial, "InternalType": "T0",
                "HBSerialNo": (0..identity.boards).map(|board| format!("{}{board}", identity.serial)).collect::<Vec<_>>(),
            }]),
        ),
        "fan" => {
            let speed = whole(2_000.0 + 2_500.0 * view.warmth);
            reply(
                500,
                "Fan status",
                "Fan",
                json!([
                    {"ID": 1, "Max": 7_200, "Speed": speed, "Target": speed},
                    {"ID": 2, "Max": 7_200, "Speed": speed, "Target": speed},
                ]),
            )
        }
        "led" => {
            reply(530, "Total LEDs 2", "LED", json!([{"Code": 2, "LED1": 1, "LED2": 1, "Msg": "Normal"}]))
        }
        _ => return None,
    })
}

struct Reader {
    miner: Arc<SimMiner>,
    clock: Clock,
}

impl cgminer::Service for Reader {
    fn answer(&self, request: &Map<String, Value>, _client: IpAddr) -> Value {
        let view = self.miner.view(self.clock.now());
        let command = command_of(request).unwrap_or_default();
        summary(&self.miner, &view, command).unwrap_or_else(|| error(14, "Invalid command"))
    }

    fn broken(&self) -> Value {
        error(23, "Invalid JSON")
    }
}

/// The reading port's commands.
fn summary(miner: &SimMiner, view: &View, command: &str) -> Option<Value> {
    if command.contains('+') {
        return cgminer::joined(command, |part| summary(miner, view, part));
    }
    let identity = &miner.identity;
    let megahashes = rounded(view.hashrate.get() / 1e6, 2);
    Some(match command {
        "version" => reply(22, "GCMiner versions", "VERSION", json!([{"API": "1.0", "GCMiner": "0.5"}])),
        "summary" => {
            let mut row = json!({
                "Elapsed": view.mining_time.as_secs(), "MHS 5s": megahashes, "MHS 1m": megahashes,
                "MHS 5m": megahashes, "MHS 15m": megahashes, "MHS av": megahashes,
                "Accepted": view.mining_time.as_secs() / 6, "Rejected": 0, "Hardware Errors": 0,
            });
            // Newer firmware tells the draw here too.
            if let Some(row) = row.as_object_mut().filter(|_| !identity.older) {
                row.insert("Wattage".into(), json!(whole(view.power.get())));
            }
            reply(11, "Summary", "SUMMARY", json!([row]))
        }
        "devs" => {
            let boards: Vec<Value> = (1..=identity.boards)
                .map(|id| {
                    json!({
                        "DEV": id, "ID": id, "Name": "ASICBoard", "Enabled": true, "Status": "Alive",
                        "Temperature": rounded(30.0 + 30.0 * view.warmth, 2),
                        "MHS 5s": rounded(megahashes / f64::from(identity.boards), 2),
                    })
                })
                .collect();
            reply(9, "3 Dev(s)", "DEVS", json!(boards))
        }
        "devdetails" => reply(
            69,
            "Device Details",
            "DEVDETAILS",
            json!([
                {"DEVDETAILS": 0, "ID": 1, "Name": "ASICBoard", "Driver": "flux", "Model": identity.model},
            ]),
        ),
        "asccount" => reply(
            104,
            "ASC count",
            "ASCCount",
            json!([
                {"AsicCount": identity.boards * identity.chips, "BoardCount": identity.boards},
            ]),
        ),
        "pools" => reply(
            7,
            "1 Pool(s)",
            "POOLS",
            json!([
                {"POOL": 0, "URL": "stratum+tcp://pool.invalid:3333", "User": "sim.worker", "Status": "Alive"},
            ]),
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::miner;
    use super::*;
    use crate::miner::DriverKind;

    #[test]
    fn nothing_is_told_or_done_without_a_token() {
        let miner = Arc::new(miner(DriverKind::Auradine, 1));
        let service = Service { miner: Arc::clone(&miner), clock: Clock::start(), tokens: Mutex::default() };
        let body = br#"{"command":"mode","sleep":"on"}"#;
        let answer = service.answer("POST", "/mode", &HeaderMap::new(), body);
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(miner.tally().commands, 0);
        let token = service.token(&json!({"command": "token", "user": "admin", "password": "admin"}));
        let token = token["Token"][0]["Token"].as_str().unwrap().parse().unwrap();
        let headers = HeaderMap::from_iter([(axum::http::HeaderName::from_static("token"), token)]);
        assert_eq!(service.answer("POST", "/mode", &headers, body).status(), StatusCode::OK);
        service.answer("POST", "/fan", &headers, b"{}");
        assert_eq!((miner.tally().commands, miner.tally().trespasses), (1, 1));
        let refused = service.token(&json!({"user": "admin", "password": "x"}));
        assert_eq!(refused["STATUS"][0]["STATUS"], "E");
    }
}
