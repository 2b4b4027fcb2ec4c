//! Which path gives what.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{health, page, status};
use crate::clock::Moment;
use crate::metrics::{CONTENT_TYPE, Exporter};

/// A request that had to wait this long for its turn is told to come back.
const TURN: Duration = Duration::from_secs(5);
/// An answer as young as this serves the next request as well.
const REUSE: Duration = Duration::from_millis(250);

type Rendered = Option<(Moment, Bytes)>;

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    exporter: Arc<Exporter>,
    /// The latest rendering of the metrics. The lock lets one rendering run at a time: however many ask, one
    /// processor at most is kept busy and the control cycles have the others.
    metrics: Arc<Mutex<Rendered>>,
    /// The same for the long status.
    miners: Arc<Mutex<Rendered>>,
}

pub(super) fn router(exporter: Arc<Exporter>) -> Router {
    let shared = Shared { exporter, metrics: Arc::default(), miners: Arc::default() };
    Router::new()
        .route("/", get(root))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/api/v1/status", get(api_status))
        .fallback(async || plain(StatusCode::NOT_FOUND, "there is nothing here; see /\n"))
        .with_state(shared)
}

async fn root(State(shared): State<Shared>) -> Response {
    let page = page::page(&status(&shared.exporter, false), &health(&shared.exporter));
    answer(StatusCode::OK, "text/html; charset=utf-8", page.into())
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let render = move |exporter: &Exporter| exporter.render().map_err(|error| error.to_string());
    shared.reuse(&shared.metrics, CONTENT_TYPE, render).await
}

async fn healthz(State(shared): State<Shared>) -> Response {
    let health = health(&shared.exporter);
    let code = if health.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, no_store(), axum::Json(health)).into_response()
}

async fn api_status(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    match query.as_deref() {
        None | Some("" | "miners=0") => {
            (no_store(), axum::Json(status(&shared.exporter, false))).into_response()
        }
        Some("miners=1") => {
            let render = move |exporter: &Exporter| {
                serde_json::to_vec(&status(exporter, true)).map_err(|error| error.to_string())
            };
            shared.reuse(&shared.miners, "application/json", render).await
        }
        Some(_) => plain(StatusCode::BAD_REQUEST, "the only parameter is `miners`, with 0 or 1\n"),
    }
}

impl Shared {
    /// Answers with the latest rendering if it is young enough, else with a new one, made away from the threads
    /// on which the control cycles run.
    async fn reuse(
        &self,
        latest: &Arc<Mutex<Rendered>>,
        content: &'static str,
        render: impl FnOnce(&Exporter) -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Response {
        let Ok(mut latest) = timeout(TURN, Arc::clone(latest).lock_owned()).await else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests; come back later\n");
        };
        let now = self.exporter.clock().now();
        if let Some((at, body)) = latest.as_ref()
            && now.since(*at) <= REUSE
        {
            return answer(StatusCode::OK, content, body.clone());
        }
        let exporter = Arc::clone(&self.exporter);
        // The turn goes along: a client that hangs up does not make room for a second rendering beside this one.
        let rendering = tokio::task::spawn_blocking(move || {
            let body = Bytes::from(render(&exporter)?);
            *latest = Some((now, body.clone()));
            Ok::<_, String>(body)
        });
        match rendering.await {
            Ok(Ok(body)) => answer(StatusCode::OK, content, body),
            Ok(Err(error)) => {
                tracing::error!(%error, "a request for metrics or status cannot be answered");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "this cannot be rendered; see the log\n")
            }
            // The runtime shuts down.
            Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n"),
        }
    }
}

/// What is told is of this moment, and of the type that it says it is.
fn no_store() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ]
}

fn answer(code: StatusCode, content: &'static str, body: Bytes) -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(content));
    // Pages have a style of their own and nothing else: no script, no picture, nothing from elsewhere.
    let policy = (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    (code, no_store(), [kind, policy], body).into_response()
}

fn plain(code: StatusCode, text: &'static str) -> Response {
    answer(code, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}
