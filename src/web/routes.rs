//! Which path gives what.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
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
    /// The same, compressed.
    compressed: Arc<Mutex<Rendered>>,
    /// The same for the long status.
    miners: Arc<Mutex<Rendered>>,
}

pub(super) fn router(exporter: Arc<Exporter>) -> Router {
    let shared =
        Shared { exporter, metrics: Arc::default(), compressed: Arc::default(), miners: Arc::default() };
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

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match shared.metrics(takes_gzip(&headers)).await {
        Ok((body, coding)) => {
            let vary = [(header::VARY, HeaderValue::from_static("accept-encoding"))];
            let mut response = (vary, answer(StatusCode::OK, CONTENT_TYPE, body)).into_response();
            if let Some(coding) = coding {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            response
        }
        Err(response) => response,
    }
}

/// Whether a client takes gzip (RFC 9110, 12.5.3): it is named, or everything is, and not with a quality of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    let mut any = false;
    for coding in lists.flat_map(|list| list.split(',')) {
        let mut parts = coding.split(';');
        let name = parts.next().unwrap_or("").trim();
        let refused = parts.any(|part| {
            let quality = part.trim().strip_prefix("q=").or_else(|| part.trim().strip_prefix("Q="));
            quality.is_some_and(|quality| quality.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0))
        });
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return !refused;
        }
        any |= name == "*" && !refused;
    }
    any
}

/// Compressed as little as there is: a scrape is read once, and the processor is the miners'.
fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
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
            match shared.reuse(&shared.miners, render).await {
                Ok(body) => answer(StatusCode::OK, "application/json", body),
                Err(response) => response,
            }
        }
        Some(_) => plain(StatusCode::BAD_REQUEST, "the only parameter is `miners`, with 0 or 1\n"),
    }
}

impl Shared {
    /// The metrics, and how they are coded.
    async fn metrics(&self, compress: bool) -> Result<(Bytes, Option<&'static str>), Response> {
        let render = |exporter: &Exporter| exporter.render().map_err(|error| error.to_string());
        let text = self.reuse(&self.metrics, render).await?;
        if !compress {
            return Ok((text, None));
        }
        let compress = move |_: &Exporter| gzip(&text).map_err(|error| error.to_string());
        Ok((self.reuse(&self.compressed, compress).await?, Some("gzip")))
    }

    /// Gives the latest rendering if it is young enough, else a new one, made away from the threads on which the control
    /// cycles run.
    async fn reuse(
        &self,
        latest: &Arc<Mutex<Rendered>>,
        render: impl FnOnce(&Exporter) -> Result<Vec<u8>, String> + Send + 'static,
    ) -> Result<Bytes, Response> {
        let Ok(mut latest) = timeout(TURN, Arc::clone(latest).lock_owned()).await else {
            return Err(plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests; come back later\n"));
        };
        let now = self.exporter.clock().now();
        if let Some((at, body)) = latest.as_ref()
            && now.since(*at) <= REUSE
        {
            return Ok(body.clone());
        }
        let exporter = Arc::clone(&self.exporter);
        // The turn goes along: a client that hangs up does not make room for a second rendering beside this one.
        let rendering = tokio::task::spawn_blocking(move || {
            let body = Bytes::from(render(&exporter)?);
            *latest = Some((now, body.clone()));
            Ok::<_, String>(body)
        });
        match rendering.await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) => {
                tracing::error!(%error, "a request for metrics or status cannot be answered");
                Err(plain(StatusCode::INTERNAL_SERVER_ERROR, "this cannot be rendered; see the log\n"))
            }
            // The runtime shuts down.
            Err(_) => Err(plain(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping\n")),
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

/// A request bears a name that is not this daemon's.
pub(super) fn misdirected() -> Response {
    plain(
        StatusCode::MISDIRECTED_REQUEST,
        "this daemon is not known by the name in the request's Host; call it by its address or localhost, or add the \
         name to `hosts` in [web]\n",
    )
}

/// More requests over one connection than it is for.
pub(super) fn too_much() -> Response {
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    let refused = plain(
        StatusCode::TOO_MANY_REQUESTS,
        "too many requests over this connection; a few for each second are answered\n",
    );
    (close, refused).into_response()
}

fn plain(code: StatusCode, text: &'static str) -> Response {
    answer(code, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}
