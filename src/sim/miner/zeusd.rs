//! A server whose graphics processors are set by a `zeusd` on it: four of them, in front of the same model of power as a miner.
//!
//! Routes, bodies and statuses are those of `zeusd` 0.5.0 (github.com/ml-energy/zeus, tag `zeusd-v0.5.0`: `routes/gpu.rs`,
//! `routes/server.rs`, `auth.rs`, `error.rs`); values come from the simulation. Its streams, its clock, its counter of energy, the
//! persistence mode and the group `cpu-read` are left out. How it behaves is [`Manner`], which tests change. Of the faults of
//! scenarios, commands that are rejected are answered with 500, those that are ignored with 200, a write interface that is off is a
//! group `gpu-control` that is not enabled, and after a cut of the power all limits are at their highest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::door::Door;
use super::rest::{self, Asked};
use super::{Face, Habits, Make, Setting, SimMiner, View, whole};

/// What such a server is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", "a-token-of-the-simulated-zeusd"),
    faces: [
        Face { model: "NVIDIA H100 80GB HBM3", chips: 0 },
        Face { model: "NVIDIA A100-SXM4-80GB", chips: 0 },
    ],
    habits: Habits::STEADY,
    connections: rest::CONNECTIONS_MAX,
    serve: |door, connection| {
        let base = connection.gpus.as_ref().map_or(0.0, |gpus| gpus.base.get());
        tokio::spawn(run(door, base))
    },
    beside: &[],
};

/// How many processors a small server has, and a large one.
const GPUS: [u16; 2] = [4, 8];
/// No processor draws more, in watts: a server whose four would is a large one.
const MOST_OF_ONE: f64 = 1_000.0;

/// How it behaves.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Manner {
    /// These processors (by id) refuse every new limit, and go on with the one that they have.
    pub stuck: Vec<u16>,
    /// These have fallen off the bus: every question about them and every limit for them fails.
    pub lost: Vec<u16>,
    /// The token has the scope `gpu-read` alone.
    pub reads_only: bool,
    /// The group `gpu-read` is not enabled.
    pub read_off: bool,
    /// It was started without a key: it asks for no token.
    pub open: bool,
    /// The driver of the processors was loaded anew: all limits are at their highest.
    pub forgets: bool,
}

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    /// What the server draws beside its processors, in watts.
    base: f64,
    /// How many processors it has.
    gpus: u16,
    /// The limit of each processor, in milliwatts.
    limits: Mutex<Vec<u32>>,
}

/// What came of a request for one processor: a value, or the status and the words of an error.
type One<T> = Result<T, (StatusCode, &'static str)>;

/// `NvmlError` of nvml-wrapper 0.12 in its words, with the status that `error.rs` gives each.
const LOST: (StatusCode, &str) = (
    StatusCode::INTERNAL_SERVER_ERROR,
    "NVML error: device fell off the bus or has otherwise become inacessible",
);
const FAILED: (StatusCode, &str) =
    (StatusCode::INTERNAL_SERVER_ERROR, "NVML error: an internal driver error occurred");
const INVALID: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "NVML error: a supplied argument was invalid");

/// Serves until cancelled. `base` is what it draws beside its processors, in watts.
async fn run(door: Door, base: f64) {
    let (miner, clock) = (Arc::clone(door.miner()), door.clock());
    let set = match miner.view(clock.now()).setting {
        Some(Setting::Watts(watts)) => watts.get(),
        _ => miner.maximum.get(),
    };
    let gpus = gpus_of(miner.maximum.get() - base);
    let limits = Mutex::new(vec![each(set, base, gpus); usize::from(gpus)]);
    rest::run(door, Service { miner, clock, base, gpus, limits }).await;
}

/// How many processors draw so many watts together at the most.
fn gpus_of(watts: f64) -> u16 {
    let [few, many] = GPUS;
    if watts > f64::from(few) * MOST_OF_ONE { many } else { few }
}

/// The part of one of these processors in a power of the server, in milliwatts.
fn each(watts: f64, base: f64, gpus: u16) -> u32 {
    milliwatts((watts - base) / f64::from(gpus))
}

fn milliwatts(watts: f64) -> u32 {
    u32::try_from(whole(watts * 1e3)).unwrap_or_default()
}

fn error(status: StatusCode, words: impl Into<String>) -> Response {
    rest::json(status, json!({ "error": words.into() }))
}

/// The group that a path belongs to.
fn group_of(path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix("/gpu/")?;
    Some(if rest.starts_with("set_") || rest.starts_with("reset_") { "gpu-control" } else { "gpu-read" })
}

impl rest::Service for Service {
    fn answer(&self, asked: &Asked) -> Response {
        let now = self.clock.now();
        if self.miner.zeusd(|manner| std::mem::take(&mut manner.forgets)) {
            // Counts among its commands; a fault that refuses those is none that a test would want beside this.
            let _ = self.miner.set_power(self.miner.maximum, now);
            self.limits().fill(self.bounds().1);
        }
        let view = self.miner.view(now);
        if view.setting.is_none() {
            self.limits().fill(self.bounds().1);
        }
        let manner = self.miner.zeusd(|manner| manner.clone());
        let path = asked.uri.path();
        if let Err(refusal) = self.let_in(path, asked, &manner, &view) {
            return refusal;
        }
        match (asked.method.as_str(), path) {
            ("GET", "/discover") => rest::json(StatusCode::OK, self.discovery(&manner, &view)),
            ("GET", "/auth/whoami") => {
                let scopes: &[&str] =
                    if manner.reads_only { &["gpu-read"] } else { &["gpu-control", "gpu-read"] };
                rest::json(StatusCode::OK, json!({ "sub": "ballast", "scopes": scopes }))
            }
            ("GET", path) if path.starts_with("/gpu/") => self.read(path, asked, &manner, &view, now),
            ("POST", "/gpu/set_power_limit") => self.set(asked, &manner, now),
            ("POST", _) => {
                self.miner.trespass();
                StatusCode::NOT_FOUND.into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

/// Milliseconds since the simulation began, where the daemon tells those of Unix time.
fn stamp(now: Moment) -> u64 {
    u64::try_from(now.since_start().as_millis()).unwrap_or(u64::MAX)
}

impl Service {
    fn limits(&self) -> MutexGuard<'_, Vec<u32>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lowest and highest limit of each processor, in milliwatts.
    fn bounds(&self) -> (u32, u32) {
        let of = |watts: Watts| each(watts.get(), self.base, self.gpus);
        (of(self.miner.minimum), of(self.miner.maximum))
    }

    /// The groups that are enabled.
    fn groups(manner: &Manner, view: &View) -> Vec<&'static str> {
        let all = [("gpu-control", !view.write_api_off), ("gpu-read", !manner.read_off)];
        all.into_iter().filter(|(_, on)| *on).map(|(group, _)| group).collect()
    }

    /// The order of its middleware: the group, the token, the scope.
    #[expect(clippy::result_large_err, reason = "the error is the answer itself")]
    fn let_in(&self, path: &str, asked: &Asked, manner: &Manner, view: &View) -> Result<(), Response> {
        let group = group_of(path);
        if let Some(group) = group.filter(|group| !Self::groups(manner, view).contains(group)) {
            let words = format!("API group '{group}' is not enabled on this server.");
            return Err(error(StatusCode::NOT_FOUND, words));
        }
        if manner.open {
            return if path.starts_with("/auth/") {
                Err(error(StatusCode::NOT_FOUND, "Authentication is not enabled on this server."))
            } else {
                Ok(())
            };
        }
        if path == "/discover" {
            return Ok(());
        }
        let token = asked.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        match token.and_then(|token| token.strip_prefix("Bearer ")) {
            None => {
                let words = "Authentication required. Provide an Authorization: Bearer <token> header.";
                Err(error(StatusCode::UNAUTHORIZED, words))
            }
            Some(token) if token != self.miner.password => {
                Err(error(StatusCode::UNAUTHORIZED, "Invalid token: InvalidSignature"))
            }
            Some(_) if manner.reads_only && group == Some("gpu-control") => {
                let words =
                    "Token for user 'ballast' lacks required scope 'gpu-control'. Token scopes: ['gpu-read']";
                Err(error(StatusCode::FORBIDDEN, words))
            }
            Some(_) => Ok(()),
        }
    }

    fn discovery(&self, manner: &Manner, view: &View) -> Value {
        let gpu = |id: u16| json!({ "id": id, "name": self.miner.identity.model });
        json!({
            "gpus": (0..self.gpus).map(gpu).collect::<Vec<_>>(), "cpus": [],
            "enabled_api_groups": Self::groups(manner, view), "auth_required": !manner.open,
        })
    }

    fn limit(&self, id: u16) -> u32 {
        self.limits().get(usize::from(id)).copied().unwrap_or_default()
    }

    /// What a processor draws, in milliwatts: the more of it, the higher its limit.
    fn draw(&self, id: u16, view: &View) -> u32 {
        let all: f64 = self.limits().iter().copied().map(f64::from).sum();
        let part = f64::from(self.limit(id)) / all.max(1.0);
        milliwatts((view.power.get() - self.base).max(0.0) * part)
    }

    fn read(&self, path: &str, asked: &Asked, manner: &Manner, view: &View, now: Moment) -> Response {
        let query = match query(asked, &["gpu_ids"]) {
            Ok(query) => query,
            Err(refusal) => return refusal,
        };
        let ids = match query.get("gpu_ids") {
            None => (0..self.gpus).collect(),
            Some(ids) => match ids_of(ids, self.gpus, |id| {
                error(StatusCode::BAD_REQUEST, format!("GPU {id} not found"))
            }) {
                Ok(ids) => ids,
                Err(refusal) => return refusal,
            },
        };
        let (low, high) = self.bounds();
        let one = |id: u16| match path {
            "/gpu/get_power" => Some(Value::from(self.draw(id, view))),
            "/gpu/get_power_limit" => Some(json!({ "power_limit_mw": self.limit(id) })),
            "/gpu/get_power_limit_constraints" => {
                Some(json!({ "min_power_limit_mw": low, "max_power_limit_mw": high }))
            }
            _ => None,
        };
        let mut map = Map::new();
        let mut errors: BTreeMap<u16, One<()>> = BTreeMap::new();
        for id in ids {
            let Some(value) = one(id) else { return StatusCode::NOT_FOUND.into_response() };
            if manner.lost.contains(&id) {
                errors.insert(id, Err(LOST));
            } else {
                map.insert(id.to_string(), value);
            }
        }
        if let Some(refusal) = aggregate(&errors) {
            return refusal;
        }
        let body = if path == "/gpu/get_power" {
            json!({ "timestamp_ms": stamp(now), "power_mw": map })
        } else {
            Value::Object(map)
        };
        rest::json(StatusCode::OK, body)
    }

    fn set(&self, asked: &Asked, manner: &Manner, now: Moment) -> Response {
        let query = match query(asked, &["gpu_ids", "power_limit_mw", "block"]) {
            Ok(query) => query,
            Err(refusal) => return refusal,
        };
        let limit = query.get("power_limit_mw").and_then(|text| text.parse::<u32>().ok());
        let block = query.get("block").and_then(|text| text.parse::<bool>().ok());
        let (Some(ids), Some(limit), Some(_)) = (query.get("gpu_ids"), limit, block) else {
            return (StatusCode::BAD_REQUEST, "Query deserialize error: missing or invalid field")
                .into_response();
        };
        // Here alone it answers in plain words.
        let words = |id| (StatusCode::BAD_REQUEST, format!("GPU index {id} does not exist.")).into_response();
        let ids = match ids_of(ids, self.gpus, words) {
            Ok(ids) => ids,
            Err(refusal) => return refusal,
        };
        let (low, high) = self.bounds();
        let judge = |id: &u16| {
            if manner.lost.contains(id) {
                Err(LOST)
            } else if manner.stuck.contains(id) {
                Err(FAILED)
            } else if !(low..=high).contains(&limit) {
                Err(INVALID)
            } else {
                Ok(())
            }
        };
        let mut results: BTreeMap<u16, One<()>> = ids.iter().map(|id| (*id, judge(id))).collect();
        let mut limits = self.limits().clone();
        for (id, set) in limits.iter_mut().enumerate() {
            let id = u16::try_from(id).unwrap_or(u16::MAX);
            if results.get(&id).is_some_and(Result::is_ok) {
                *set = limit;
            }
        }
        if results.values().any(Result::is_ok) {
            let all: f64 = limits.iter().copied().map(f64::from).sum();
            match self.miner.set_power(Watts::saturating(self.base + all / 1e3), now) {
                Ok(()) if self.miner.obeys() => *self.limits() = limits,
                Ok(()) => {}
                Err(_) => results.values_mut().for_each(|result| *result = Err(FAILED)),
            }
        }
        aggregate(&results).unwrap_or_else(|| StatusCode::OK.into_response())
    }
}

/// The errors of all processors together, under the worst status; `None` where there are none.
fn aggregate(results: &BTreeMap<u16, One<()>>) -> Option<Response> {
    let errors = || results.iter().filter_map(|(id, result)| Some((id, result.err()?)));
    let status = errors().map(|(_, (status, _))| status).max()?;
    let words: Map<String, Value> = errors().map(|(id, (_, words))| (id.to_string(), words.into())).collect();
    Some(rest::json(status, json!({ "errors": words })))
}

/// The query, of which nothing but these may be part.
#[expect(clippy::result_large_err, reason = "the error is the answer itself")]
fn query(asked: &Asked, known: &[&str]) -> Result<BTreeMap<String, String>, Response> {
    let text = asked.uri.query().unwrap_or_default();
    let query: BTreeMap<String, String> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    match query.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(query),
        Some(key) => {
            let words = format!("Query deserialize error: unknown field `{key}`");
            Err((StatusCode::BAD_REQUEST, words).into_response())
        }
    }
}

/// A list of ids; one that it does not have, of so many, is answered with `unknown`.
#[expect(clippy::result_large_err, reason = "the error is the answer itself")]
fn ids_of(text: &str, gpus: u16, unknown: impl Fn(u16) -> Response) -> Result<Vec<u16>, Response> {
    if text.trim().is_empty() {
        return Err(error(StatusCode::BAD_REQUEST, "gpu_ids must contain at least one GPU index"));
    }
    let mut ids = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Ok(id) = part.parse::<u16>() else {
            return Err(error(StatusCode::BAD_REQUEST, format!("Invalid GPU index: {part}")));
        };
        if id >= gpus {
            return Err(unknown(id));
        }
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
