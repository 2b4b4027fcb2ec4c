//! Another Ballast, as its interface under `/api/v1` shows it to the daemon above: one miner stands for its whole fleet.
//!
//! How a fleet behaves is not simulated here: the real daemon before simulated miners does that (`docs/guide/many-sites.md`).
//! What is here is the wire: the token, the answers, the refusals, and the source that is lost when it is not heard.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::door::Door;
use super::rest::{self, Asked};
use super::{Face, Habits, Make, MinerState, SimMiner, rounded};

/// What such a daemon is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", "a-token-of-the-simulated-ballast"),
    faces: [Face { model: "Ballast", chips: 0 }, Face { model: "Ballast", chips: 0 }],
    habits: Habits::STEADY,
    connections: rest::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

/// Its source counts as lost after so long without a word.
const LOST_AFTER: Duration = Duration::from_secs(30);

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    source: Mutex<Source>,
}

/// The source of the daemon above.
#[derive(Clone, Copy, Debug)]
struct Source {
    cap: Option<f64>,
    heard: Moment,
    lost: bool,
}

/// Serves until cancelled.
async fn run(door: Door) {
    let clock = door.clock();
    let source = Mutex::new(Source { cap: None, heard: clock.now(), lost: true });
    let service = Service { miner: Arc::clone(door.miner()), clock, source };
    rest::run(door, service).await;
}

fn problem(status: StatusCode, title: &str) -> Response {
    let body =
        json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": "see the guide"});
    let mut response = rest::json(status, body);
    let kind = header::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl rest::Service for Service {
    fn answer(&self, asked: &Asked) -> Response {
        let (method, path) = (asked.method.as_str(), asked.uri.path());
        if (method, path) == ("GET", "/") {
            return Html("<!doctype html><html><head><title>Ballast</title></head><body></body></html>")
                .into_response();
        }
        if (method, path) == ("GET", "/api/v1/status") {
            return rest::json(
                StatusCode::OK,
                json!({"site": self.miner.identity.serial, "mode": "limited"}),
            );
        }
        let token = asked.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if token.and_then(|token| token.strip_prefix("Bearer ")) != Some(&self.miner.password) {
            return problem(StatusCode::UNAUTHORIZED, "the token is not known");
        }
        let now = self.clock.now();
        match (method, path) {
            ("GET", "/api/v1/member") => rest::json(StatusCode::OK, self.member(now)),
            ("POST", "/api/v1/heartbeat") => {
                self.heard(now, false);
                rest::json(StatusCode::OK, json!({"source": "upper", "state_before": "limited"}))
            }
            ("PUT", "/api/v1/limits/ballast") => self.limit(&asked.body, now),
            _ => {
                self.miner.trespass();
                problem(StatusCode::NOT_FOUND, "there is nothing at this path")
            }
        }
    }
}

impl Service {
    fn heard(&self, now: Moment, ordered: bool) -> Source {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.lost |= now.since(source.heard) > LOST_AFTER;
        source.heard = now;
        source.lost &= !ordered;
        *source
    }

    fn limit(&self, body: &[u8], now: Moment) -> Response {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let known = |key: &String| matches!(key.as_str(), "cap_watts" | "scope" | "revision");
        let cap = body.get("cap_watts").and_then(Value::as_f64).filter(|cap| *cap >= 0.0);
        let (Some(cap), true) = (cap, body.as_object().is_some_and(|body| body.keys().all(known))) else {
            self.miner.trespass();
            return problem(StatusCode::BAD_REQUEST, "the order does not say how much");
        };
        if cap > self.miner.nameplate.get() {
            return problem(StatusCode::UNPROCESSABLE_ENTITY, "the cap is above the nameplate");
        }
        let done = if cap < self.miner.minimum.get() {
            self.miner.sleep(now)
        } else {
            let power = Watts::saturating(cap.min(self.miner.maximum.get()));
            let asleep = self.miner.state(now) == MinerState::Asleep;
            self.miner.set_power(power, now).and_then(|()| if asleep { self.miner.wake(now) } else { Ok(()) })
        };
        if done.is_err() {
            return problem(StatusCode::UNPROCESSABLE_ENTITY, "the order cannot be obeyed");
        }
        self.heard(now, true);
        self.source.lock().unwrap_or_else(PoisonError::into_inner).cap = Some(cap);
        let limit = json!({"source": "upper", "id": "ballast", "scope": "miners", "cap_watts": cap});
        rest::json(StatusCode::OK, json!({"outcome": "replaced", "stored": true, "limit": limit}))
    }

    fn member(&self, now: Moment) -> Value {
        let (miner, view) = (&self.miner, self.miner.view(now));
        let source = *self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = source.lost || now.since(source.heard) > LOST_AFTER;
        let (state, stale): (&str, &[&str]) = match view.state {
            MinerState::Asleep => ("asleep", &[]),
            MinerState::Starting | MinerState::Rebooting => ("starting", &[]),
            MinerState::Tuning | MinerState::Hashing => ("hashing", &[]),
            MinerState::Tripped => ("fault", &["feeder"]),
        };
        let mode = if stale.is_empty() { "limited" } else { "fail-safe" };
        json!({
            "site": miner.identity.serial, "version": env!("CARGO_PKG_VERSION"), "mode": mode,
            "cycle_age_seconds": 0.4, "stale_meters": stale, "circuit": "fleet",
            "power": {"watts": rounded(view.power.get(), 1), "age_seconds": 0.5, "meters": ["feeder"],
                "miners_read": 0, "miners_counted": 0},
            "setpoint_watts": source.cap,
            "range": {"asleep_watts": 20.0, "lowest_watts": miner.minimum.get(),
                "highest_watts": miner.maximum.get(), "nameplate_watts": miner.nameplate.get()},
            "held_by": null,
            "hashrate_hashes_per_second": rounded(view.hashrate.get(), 0),
            "miners_by_state": {state: 1},
            "source": {"name": "upper", "state": if lost { "failsafe" } else { "limited" },
                "lost_after_seconds": LOST_AFTER.as_secs(), "fail_safe_watts": 0.0, "lifted_by": null,
                "cap_watts": source.cap, "ordered": !lost},
        })
    }
}
