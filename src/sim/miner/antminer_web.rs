//! What the web servers of the Antminer firmwares share: one function from request to answer, behind the faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::clock::{Clock, Moment};

use super::door::Door;
use super::{Obstacle, SimMiner};

/// Connections that are served at once.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Largest request body.
const BODY_MAX: usize = 64 * 1024;

/// One request.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What is behind the server.
pub(super) trait Site: Send + Sync + 'static {
    /// The answer, and how long the firmware takes for it.
    fn answer(&self, asked: &Asked, now: Moment) -> (Response, Duration);
}

struct Service<S> {
    miner: Arc<SimMiner>,
    clock: Clock,
    garbled: AtomicU64,
    site: S,
}

/// Serves until cancelled.
pub(super) async fn run<S: Site>(door: Door, site: S) {
    let service = Arc::new(Service {
        miner: Arc::clone(door.miner()),
        clock: door.clock(),
        garbled: AtomicU64::new(0),
        site,
    });
    let cancel = door.cancel().clone();
    let router =
        Router::new().fallback(dispatch::<S>).layer(DefaultBodyLimit::max(BODY_MAX)).with_state(service);
    tokio::select! {
        // Its connections are guests of the door and end with the same token.
        _ = axum::serve(door, router) => {}
        () = cancel.cancelled() => {}
    }
}

async fn dispatch<S: Site>(
    State(service): State<Arc<Service<S>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let miner = &service.miner;
    if miner.obstacle() == Obstacle::Hang {
        miner.unhung().await;
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::CONNECTION, "close")]).into_response();
    }
    if miner.obstacle() == Obstacle::Garbage {
        let index = service.garbled.fetch_add(1, Ordering::Relaxed);
        return miner.identity.garbage(index).into_response();
    }
    let asked = Asked { method, path: uri.path().to_owned(), headers, body };
    let (response, time) = service.site.answer(&asked, service.clock.now());
    let time = match miner.obstacle() {
        Obstacle::Delay(delay) => delay.max(time),
        _ => time,
    };
    if time > Duration::ZERO {
        tokio::time::sleep(time).await;
    }
    response
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: Value) -> Response {
    (status, axum::Json(body)).into_response()
}
