//! What simulated REST APIs share: HTTP behind a miner's door, with its faults between request and answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::door::Door;
use super::{Obstacle, SimMiner};

/// Connections that are served at once.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Largest request body.
const BODY_MAX: usize = 64 * 1024;

/// A request, whole.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What is behind HTTP.
pub(super) trait Service: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(&self, asked: &Asked) -> Response;
}

struct Shared<S> {
    miner: Arc<SimMiner>,
    service: S,
    garbled: AtomicU64,
}

/// Serves until cancelled.
pub(super) async fn run<S: Service>(door: Door, service: S) {
    let shared = Arc::new(Shared { miner: Arc::clone(door.miner()), service, garbled: AtomicU64::new(0) });
    let cancel = door.cancel().clone();
    let router =
        Router::new().fallback(dispatch::<S>).layer(DefaultBodyLimit::max(BODY_MAX)).with_state(shared);
    tokio::select! {
        // Its connections are guests of the door and end with the same token.
        _ = axum::serve(door, router) => {}
        () = cancel.cancelled() => {}
    }
}

async fn dispatch<S: Service>(
    State(shared): State<Arc<Shared<S>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let miner = &shared.miner;
    if miner.obstacle() == Obstacle::Hang {
        miner.unhung().await;
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::CONNECTION, "close")]).into_response();
    }
    if miner.obstacle() == Obstacle::Garbage {
        let index = shared.garbled.fetch_add(1, Ordering::Relaxed);
        return miner.identity.garbage(index).into_response();
    }
    let response = shared.service.answer(&Asked { method, uri, headers, body });
    if let Obstacle::Delay(delay) = miner.obstacle() {
        tokio::time::sleep(delay).await;
    }
    response
}

/// An answer with a body of JSON.
pub(super) fn json(status: StatusCode, body: Value) -> Response {
    (status, axum::Json(body)).into_response()
}
