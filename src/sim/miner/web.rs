//! A miner's HTTP server: the faults stand between request and answer, the rest is the vendor's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};

use super::door::Door;
use super::{Obstacle, SimMiner};

/// Connections that are served at once; control boards have little memory.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// Largest request body.
const BODY_MAX: usize = 16 * 1024;

/// What is behind the server.
pub(super) trait Site: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(&self, method: &str, path: &str, headers: &HeaderMap, body: &[u8]) -> Response;
}

struct Shared<S> {
    miner: Arc<SimMiner>,
    site: S,
    garbled: AtomicU64,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door, site: impl Site) {
    let cancel = door.cancel().clone();
    let shared = Arc::new(Shared { miner: Arc::clone(door.miner()), site, garbled: AtomicU64::new(0) });
    let router = Router::new().fallback(dispatch).layer(DefaultBodyLimit::max(BODY_MAX)).with_state(shared);
    tokio::select! {
        // Its connections are guests of the door and end with the same token.
        _ = axum::serve(door, router) => {}
        () = cancel.cancelled() => {}
    }
}

async fn dispatch<S: Site>(
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
        return miner.identity.garbage(shared.garbled.fetch_add(1, Ordering::Relaxed)).into_response();
    }
    let response = shared.site.answer(method.as_str(), uri.path(), &headers, &body);
    if let Obstacle::Delay(delay) = miner.obstacle() {
        tokio::time::sleep(delay).await;
    }
    response
}

/// A page by whose title other tools know the firmware.
pub(super) fn page(title: &str) -> Response {
    Html(format!("<!doctype html><html><head><title>{title}</title></head><body></body></html>"))
        .into_response()
}

/// A server that has such a page and nothing else.
pub(super) struct Page(pub(super) &'static str);

impl Site for Page {
    fn answer(&self, method: &str, path: &str, _: &HeaderMap, _: &[u8]) -> Response {
        match (method, path) {
            ("GET", "/") => page(self.0),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}
