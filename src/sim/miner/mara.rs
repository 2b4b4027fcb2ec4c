//! A miner with MARA firmware: `/kaonsu/v1` on HTTP port 80 behind digest authentication.
//!
//! The firmware is documented nowhere in public. Paths, names and modes follow what asic-rs 0.8.6 and pyasic 0.79 send
//! and read; how the configuration looks between them is an invention with odd spacing on purpose, because it has to
//! come back as it went. A configuration that differs in more than the mode and the power target is refused and
//! counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment, unix_seconds};
use crate::units::Watts;

use super::cgminer;
use super::door::Door;
use super::rest::{self, Asked};
use super::{Face, Habits, Make, MinerState, Refusal, SimMiner, View, legacy, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("root", "root"),
    faces: [Face { model: "Antminer S21", chips: 108 }, Face { model: "Antminer S19J Pro", chips: 126 }],
    habits: Habits::STEADY,
    connections: rest::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[legacy::BESIDE],
};

/// Life of a nonce; the next request after it is told that it was too old.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Nonces that are known at once; the oldest makes room.
const NONCES_MAX: usize = 32;
const REALM: &str = "MaraFW";

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    inner: Mutex<Inner>,
}

struct Inner {
    /// The configuration as text, byte for byte as it was last written.
    config: String,
    history: Vec<Value>,
    issued: u64,
    /// With the moment of its end and the highest count that was used.
    nonces: Vec<(String, Moment, u32)>,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let miner = Arc::clone(door.miner());
    let view = miner.view(door.clock().now());
    let selector = if view.state == MinerState::Asleep { "Sleep" } else { "Auto" };
    let inner = Inner {
        config: configuration(selector, whole(target_of(&view).get())),
        history: if selector == "Sleep" { vec![changed("Auto", "Sleep")] } else { Vec::new() },
        issued: 0,
        nonces: Vec::new(),
    };
    let service = Service { miner, clock: door.clock(), inner: Mutex::new(inner) };
    rest::run(door, service).await;
}

fn configuration(selector: &str, watts: i64) -> String {
    format!(
        r#"{{
 "pools" : [ {{"url":"stratum+tcp://pool.invalid:3333", "user":"sim.worker","pass":"x\u0021","gid":0}} ],
 "pool-group":[{{"gid":0,"alias":"","percent":100}}],
 "mode" : {{"work-mode-selector" :"{selector}","fixed":{{"frequency":"550","voltage":13.70}},
   "concorde": {{"mode-select":"PowerTarget", "hash-target":120.0,  "power-target" : {watts} ,"fine-tune":1e2}} }},
 "general-config":{{"environment-profile":"AirCooling"}},
 "advance-config":{{"override-fan-control":false,"fan-fixed-percent":0}}
}}
"#
    )
}

fn changed(from: &str, to: &str) -> Value {
    json!({unix_seconds().to_string(): [
        {"type": "update", "path": ["Mode", "WorkModeSelector"], "from": from, "to": to},
    ]})
}

fn target_of(view: &View) -> Watts {
    match view.setting {
        Some(super::Setting::Watts(watts)) => watts,
        Some(super::Setting::Percent(percent)) => view.limit.scaled(percent / 100.0),
        None => view.limit,
    }
}

impl rest::Service for Service {
    fn answer(&self, asked: &Asked) -> Response {
        if let Err(challenge) = self.authorize(asked) {
            return challenge;
        }
        let now = self.clock.now();
        let Some(path) = asked.uri.path().strip_prefix("/kaonsu/v1/") else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let ok = |body: Value| rest::json(StatusCode::OK, body);
        match (asked.method.as_str(), path) {
            ("GET", "miner_config") => {
                ([(header::CONTENT_TYPE, "application/json")], self.lock().config.clone()).into_response()
            }
            ("POST", "miner_config") => ok(self.write(&asked.body, now)),
            ("GET", "log") if asked.uri.query() == Some("type=miner_config_history") => {
                ok(Value::Array(self.lock().history.clone()))
            }
            ("GET", _) => match read(&self.miner, &self.miner.view(now), path) {
                Some(body) => ok(body),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            _ => {
                self.miner.trespass();
                ok(json!({"error": true, "msg": "the simulation does not allow this"}))
            }
        }
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::result_large_err, reason = "the error is the answer itself")]
    fn authorize(&self, asked: &Asked) -> Result<(), Response> {
        let now = self.clock.now();
        let mut inner = self.lock();
        inner.nonces.retain(|(_, until, _)| *until > now);
        let mut stale = false;
        if let Some(given) = credentials(&asked.headers) {
            let right = given.is_right(asked, &self.miner.username, &self.miner.password);
            let known = inner.nonces.iter_mut().find(|(nonce, ..)| *nonce == given.nonce);
            match known {
                // A count that was used before is a replay.
                Some((_, _, used)) if right && given.count > *used => {
                    *used = given.count;
                    return Ok(());
                }
                None => stale = right,
                Some(_) => {}
            }
        }
        inner.issued += 1;
        let nonce = self.miner.identity.fresh(inner.issued, 24);
        if inner.nonces.len() >= NONCES_MAX {
            inner.nonces.remove(0);
        }
        inner.nonces.push((nonce.clone(), now + NONCE_LIFE, 0));
        let stale = if stale { ", stale=true" } else { "" };
        let challenge =
            format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"{stale}");
        Err((StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response())
    }

    /// Takes a whole configuration.
    fn write(&self, body: &[u8], now: Moment) -> Value {
        let refuse = |msg: &str| json!({"error": true, "msg": msg});
        let Ok(text) = std::str::from_utf8(body) else { return refuse("not UTF-8") };
        let Ok(new) = serde_json::from_str::<Value>(text) else { return refuse("parse error") };
        let before = self.lock().config.clone();
        let old: Value = serde_json::from_str(&before).unwrap_or_default();
        if masked(&old) != masked(&new) {
            self.miner.trespass();
            return refuse("the simulation takes changes of the power alone");
        }
        let selector = |value: &Value| {
            value.pointer("/mode/work-mode-selector").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (from, to) = (selector(&old), selector(&new));
        let watts = new.pointer("/mode/concorde/power-target").and_then(Value::as_f64).unwrap_or_default();
        if !["Auto", "Fixed", "Stock", "Sleep"].contains(&to.as_str()) || !(100.0..=20_000.0).contains(&watts)
        {
            return refuse("value out of range");
        }
        let target = Watts::saturating(watts);
        let result = self.miner.command(|physics| {
            if to == "Sleep" {
                physics.sleep(now);
                return;
            }
            if to == "Auto" {
                physics.set(super::Setting::Watts(target), super::Pace::Quick, now);
            }
            physics.wake(now);
        });
        match result {
            Ok(()) => {
                let mut inner = self.lock();
                if from != to {
                    inner.history.push(changed(&from, &to));
                }
                text.clone_into(&mut inner.config);
                json!({"error": false, "msg": "success"})
            }
            Err(Refusal::WriteDisabled) => refuse("configuration is locked"),
            Err(Refusal::Failed) => refuse("internal error"),
        }
    }
}

/// A configuration without what may change.
fn masked(config: &Value) -> Value {
    let mut config = config.clone();
    for path in ["/mode/work-mode-selector", "/mode/concorde/power-target"] {
        if let Some(value) = config.pointer_mut(path) {
            *value = Value::Null;
        }
    }
    config
}

/// What a client answers to a challenge (RFC 7616). Read apart from the driver's writing of it.
struct Given {
    username: String,
    nonce: String,
    uri: String,
    cnonce: String,
    nc: String,
    response: String,
    count: u32,
}

fn credentials(headers: &HeaderMap) -> Option<Given> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Digest ")?;
    // None of the values here has a comma in it.
    let get = |name: &str| {
        text.split(',')
            .filter_map(|part| part.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"').to_owned())
    };
    let nc = get("nc")?;
    Some(Given {
        username: get("username")?,
        nonce: get("nonce")?,
        uri: get("uri")?,
        cnonce: get("cnonce")?,
        response: get("response")?,
        count: u32::from_str_radix(&nc, 16).ok()?,
        nc,
    })
}

impl Given {
    fn is_right(&self, asked: &Asked, username: &str, password: &str) -> bool {
        let hash =
            |text: String| -> String { Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect() };
        let secret = hash(format!("{username}:{REALM}:{password}"));
        let request = hash(format!("{}:{}", asked.method, self.uri));
        let expected = hash(format!("{secret}:{}:{}:{}:auth:{request}", self.nonce, self.nc, self.cnonce));
        let path = asked.uri.path_and_query().map_or("", |path| path.as_str());
        self.username == username && self.uri == path && self.response == expected
    }
}

/// The readable paths.
fn read(miner: &SimMiner, view: &View, path: &str) -> Option<Value> {
    let identity = &miner.identity;
    let status = match view.state {
        MinerState::Hashing => "Mining",
        MinerState::Tuning => "Tuning",
        MinerState::Starting | MinerState::Rebooting => "Starting",
        MinerState::Asleep => "Sleeping",
        MinerState::Tripped => "Failure",
    };
    let gigahashes = view.hashrate.get() / 1e9;
    let ideal = miner.top_hashrate() / 1e9;
    Some(match path {
        "brief" => json!({
            "status": status, "status_long": status, "work_mode": "Auto", "elapsed": view.mining_time.as_secs(),
            "hashrate_realtime": rounded(gigahashes / 1e3, 2), "hashrate_average": rounded(gigahashes / 1e3, 2),
            "hashrate_ideal": rounded(ideal, 1), "power_consumption_estimated": whole(view.power.get()),
            "power_source": "PSU", "power_indicator": 0, "temperature_max": whole(35.0 + 35.0 * view.warmth),
        }),
        "overview" => json!({
            "model": identity.model, "mac": identity.mac.to_lowercase(), "version_firmware": "2.3.0-sim",
            "control_board": "Amlogic", "ip": identity.ip,
        }),
        "network_config" => json!({"hostname": "MaraFW", "dhcp": true}),
        "hashboards" => json!({"hashboards": (0..identity.boards).map(|board| json!({
            "index": board, "asic_num": identity.chips, "asic_num_ideal": identity.chips,
            "hashrate_average": rounded(gigahashes / f64::from(identity.boards), 1),
            "temperature_pcb": [whole(30.0 + 30.0 * view.warmth), whole(32.0 + 30.0 * view.warmth)],
            "temperature_chip": [whole(35.0 + 35.0 * view.warmth), whole(37.0 + 35.0 * view.warmth)],
            "serial_number": format!("{}-{board}", identity.serial),
        })).collect::<Vec<_>>()}),
        "fans" => json!({"fans": (0..4).map(|_| json!({"current_speed": 5_000})).collect::<Vec<_>>()}),
        "locate_miner" => json!({"blinking": false}),
        "pools" => json!([{
            "index": 0, "priority": 0, "status": "Alive", "url": "stratum+tcp://pool.invalid:3333",
            "user": "sim.worker", "accepted": view.mining_time.as_secs() / 6, "rejected": 0, "stale": 0,
            "discarded": 0,
        }]),
        _ => return None,
    })
}

/// Its old reading port, by which other tools recognise it: `version` names the firmware, all else is `summary`.
pub(super) fn old(miner: &SimMiner, view: &View, command: &str) -> Value {
    if command.contains('+') {
        return cgminer::joined(command, |part| Some(old(miner, view, part))).unwrap_or_default();
    }
    let (code, msg, name, row) = if command == "version" {
        (
            22,
            "KAONSU versions",
            "VERSION",
            json!({"BMMiner": "1.0.0", "API": "3.1", "Miner": "MARAFW", "Type": "KAONSU", "Model": miner.identity.model}),
        )
    } else {
        let rate = rounded(view.hashrate.get() / 1e9, 2);
        let row =
            json!({"Elapsed": view.mining_time.as_secs(), "GHS 5s": rate, "GHS av": rate, "GHS 30m": rate});
        (11, "Summary", "SUMMARY", row)
    };
    json!({
        "STATUS": [{
            "STATUS": "S", "When": unix_seconds(), "Code": code, "Msg": msg, "Description": "kaonsu 1.0.0",
        }],
        name: [row], "id": 1,
    })
}
