//! A miner with Braiins OS 25.07 or later: the public REST API 1.x on HTTP port 80.
//!
//! `POST /api/v1/auth/login` gives a token for the `Authorization` header, bare; an hour without a request ends it.
//! Errors are status codes: 400 and 422 for a body that cannot be read, 401 for the token, 404, 409 for a wrong
//! state, 412 for a value outside of the constraints.

pub(super) mod grpc;
mod replies;

pub(super) use replies::target_of as target;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::door::Door;
use super::{Beside, Face, Habits, Make, MinerState, Obstacle, Refusal, SimMiner, legacy};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("root", "root"),
    faces: [Face { model: "Antminer S19 Pro", chips: 114 }, Face { model: "Antminer S19k Pro", chips: 77 }],
    habits: Habits::STEADY,
    connections: CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[
        legacy::BESIDE,
        Beside {
            port: grpc::PORT,
            connections: super::grpc::CONNECTIONS_MAX,
            serve: |door| tokio::spawn(grpc::run(door)),
        },
    ],
};

/// Connections that are served at once.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Largest request body.
const BODY_MAX: usize = 16 * 1024;
/// Life of a token since its last use.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);
/// Tokens that are known at once; the oldest makes room.
const TOKENS_MAX: usize = 64;

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    tokens: Mutex<Tokens>,
    /// Stopped, not paused: only `start` ends it.
    stopped: AtomicBool,
    garbled: AtomicU64,
}

#[derive(Default)]
struct Tokens {
    issued: u64,
    valid: Vec<(String, Moment)>,
}

type Shared = Arc<Service>;

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let service = Arc::new(Service {
        miner: Arc::clone(door.miner()),
        clock: door.clock(),
        tokens: Mutex::default(),
        stopped: AtomicBool::new(false),
        garbled: AtomicU64::new(0),
    });
    let cancel = door.cancel().clone();
    let router = Router::new()
        .fallback(dispatch)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&service), obstruct))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(service);
    tokio::select! {
        // Its connections are guests of the door and end with the same token.
        _ = axum::serve(door, router) => {}
        () = cancel.cancelled() => {}
    }
}

/// Puts the faults between request and answer.
async fn obstruct(State(service): State<Shared>, request: Request, next: Next) -> Response {
    if service.miner.obstacle() == Obstacle::Hang {
        service.miner.unhung().await;
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::CONNECTION, "close")]).into_response();
    }
    if service.miner.obstacle() == Obstacle::Garbage {
        let index = service.garbled.fetch_add(1, Ordering::Relaxed);
        return service.miner.identity.garbage(index).into_response();
    }
    let response = next.run(request).await;
    if let Obstacle::Delay(delay) = service.miner.obstacle() {
        tokio::time::sleep(delay).await;
    }
    response
}

/// An error with the text that a person may read.
fn error(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({"message": text}))).into_response()
}

fn ok(body: Value) -> Response {
    axum::Json(body).into_response()
}

/// All paths. A table of its own instead of axum's router, because a path that exists with another method and a
/// path that does not exist must both ask for the token first.
async fn dispatch(
    State(service): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    match (method.as_str(), path) {
        ("GET", "/") => {
            return Html("<!doctype html><html><head><title>Braiins OS</title></head><body></body></html>")
                .into_response();
        }
        ("POST", "/graphql") => {
            // The two questions by which other tools identify it.
            return ok(json!({"data": {
                "bosminer": {"info": {"modelName": service.miner.identity.model}},
                "bos": {"info": {"version": {"full": replies::VERSION}}},
            }}));
        }
        ("GET", "/api/v1/version") => return ok(json!({"major": 1, "minor": 3, "patch": 0})),
        ("POST", "/api/v1/auth/login") => return service.login(&body),
        _ => {}
    }
    let Some(command) = path.strip_prefix("/api/v1/") else {
        return error(StatusCode::NOT_FOUND, "not found");
    };
    if !service.is_authorized(&headers) {
        return error(StatusCode::UNAUTHORIZED, "missing or expired token");
    }
    let now = service.clock.now();
    match method.as_str() {
        "GET" => {
            let view = service.miner.view(now);
            match replies::read(&service.miner, &view, service.is_stopped(&view.state), command) {
                Some(body) => ok(body),
                None => error(StatusCode::NOT_FOUND, "not found"),
            }
        }
        "PUT" | "PATCH" | "POST" | "DELETE" => service.write(method.as_str(), command, &body, now),
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn login(&self, body: &[u8]) -> Response {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return error(StatusCode::BAD_REQUEST, "the body is not JSON");
        };
        let field = |name: &str| body.get(name).and_then(Value::as_str);
        let (Some(username), Some(password)) = (field("username"), field("password")) else {
            return error(StatusCode::UNPROCESSABLE_ENTITY, "username and password are required");
        };
        if username != self.miner.username || password != self.miner.password {
            return error(StatusCode::UNAUTHORIZED, "invalid username or password");
        }
        let now = self.clock.now();
        let mut tokens = self.lock();
        tokens.valid.retain(|(_, until)| *until > now);
        if tokens.valid.len() >= TOKENS_MAX {
            tokens.valid.remove(0);
        }
        tokens.issued += 1;
        let token = self.miner.identity.fresh(tokens.issued, 16);
        tokens.valid.push((token.clone(), now + TOKEN_LIFE));
        ok(json!({"token": token, "timeout_s": TOKEN_LIFE.as_secs()}))
    }

    /// Checks the token and prolongs its life.
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let given =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let now = self.clock.now();
        let mut tokens = self.lock();
        match tokens.valid.iter_mut().find(|(token, until)| token == given && *until > now) {
            Some((_, until)) => {
                *until = now + TOKEN_LIFE;
                true
            }
            None => false,
        }
    }

    fn is_stopped(&self, state: &MinerState) -> bool {
        *state == MinerState::Asleep && self.stopped.load(Ordering::Relaxed)
    }

    fn write(&self, method: &str, command: &str, body: &[u8], now: Moment) -> Response {
        let miner = &self.miner;
        let state = miner.state(now);
        let conflict = || error(StatusCode::CONFLICT, "not possible in the present state");
        let (result, answer) = match (method, command) {
            ("PUT", "performance/power-target") => {
                let watts = match parse_watts(body, |body| body.get("watt")) {
                    Ok(watts) => watts,
                    Err(status) => return error(status, "expected {\"watt\": integer}"),
                };
                match self.target(watts, now) {
                    Ok(result) => (result, json!({"watt": watts})),
                    Err(refused) => return refused,
                }
            }
            ("PUT", "performance/mode") => {
                let place = "/tunermode/target/powertarget/power_target/watt";
                let watts = match parse_watts(body, |body| body.pointer(place)) {
                    Ok(watts) => watts,
                    Err(status) => return error(status, "expected a tuner mode with a power target"),
                };
                match self.target(watts, now) {
                    Ok(result) => (result, replies::mode(watts)),
                    Err(refused) => return refused,
                }
            }
            ("PUT", "actions/pause" | "actions/resume") if self.is_stopped(&state) => return conflict(),
            (
                "PUT",
                "actions/pause" | "actions/resume" | "actions/start" | "actions/stop" | "actions/restart",
            ) if matches!(state, MinerState::Tripped | MinerState::Rebooting) => {
                return conflict();
            }
            ("PUT", "actions/pause" | "actions/stop") => {
                let result = miner.sleep(now);
                if result.is_ok() {
                    self.stopped.store(command == "actions/stop", Ordering::Relaxed);
                }
                (result, json!(state == MinerState::Asleep))
            }
            ("PUT", "actions/resume" | "actions/start") => {
                let result = miner.wake(now);
                if result.is_ok() {
                    self.stopped.store(false, Ordering::Relaxed);
                }
                (result, json!(state != MinerState::Asleep))
            }
            ("PUT", "actions/restart") => (miner.restart(None, now), json!(true)),
            ("PUT", "actions/reboot") => (miner.reboot(now), Value::Null),
            (_, other) if is_foreign(other) => {
                miner.trespass();
                return error(StatusCode::FORBIDDEN, "the simulation does not allow this");
            }
            _ => return error(StatusCode::NOT_FOUND, "not found"),
        };
        match result {
            Ok(()) if answer.is_null() => StatusCode::NO_CONTENT.into_response(),
            Ok(()) => ok(answer),
            Err(Refusal::WriteDisabled) => error(StatusCode::FORBIDDEN, "changes are not allowed"),
            Err(Refusal::Failed) => conflict(),
        }
    }

    /// Sets the power target, or says what is wrong with it.
    #[expect(clippy::result_large_err, reason = "the error is the answer itself")]
    fn target(&self, watts: u32, now: Moment) -> Result<Result<(), Refusal>, Response> {
        let target = Watts::saturating(f64::from(watts));
        let (low, high) = replies::target_range(&self.miner);
        if target < low || target > high {
            return Err(error(
                StatusCode::PRECONDITION_FAILED,
                "the power target is outside of the constraints",
            ));
        }
        Ok(self.miner.set_power(target, now))
    }
}

/// Reads whole watts from a place in a body: 400 for no JSON, 422 for JSON of another shape.
fn parse_watts(body: &[u8], place: impl FnOnce(&Value) -> Option<&Value>) -> Result<u32, StatusCode> {
    let body: Value = serde_json::from_slice(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    place(&body)
        .and_then(Value::as_u64)
        .and_then(|watts| u32::try_from(watts).ok())
        .ok_or(StatusCode::UNPROCESSABLE_ENTITY)
}

/// Paths that change what is none of a power controller's business.
fn is_foreign(command: &str) -> bool {
    ["pools", "network", "auth/", "cooling/", "configuration/", "upgrade", "license"]
        .iter()
        .any(|group| command.starts_with(group))
}

#[cfg(test)]
mod tests {
    use super::super::tests::miner;
    use super::*;
    use crate::miner::DriverKind;

    #[tokio::test(start_paused = true)]
    async fn a_token_lives_an_hour_after_its_last_use() {
        let service = Service {
            miner: Arc::new(miner(DriverKind::BraiinsOs, 1)),
            clock: Clock::start(),
            tokens: Mutex::default(),
            stopped: AtomicBool::new(false),
            garbled: AtomicU64::new(0),
        };
        let login = service.login(br#"{"username":"root","password":"root"}"#);
        assert_eq!(login.status(), StatusCode::OK);
        let token = service.lock().valid[0].0.parse().unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, token)]);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(3_000)).await;
            assert!(service.is_authorized(&headers));
        }
        tokio::time::advance(TOKEN_LIFE).await;
        assert!(!service.is_authorized(&headers));
    }
}
