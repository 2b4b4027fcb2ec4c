//! Which path gives what, besides the interface for programs ([`super::api`]).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::api::Problem;
use super::assets::{self, FILES, PAGE};
use super::render::{Latest, NotRendered, gzip, reuse, takes_gzip};
use super::{health, page, status};
use crate::metrics::{CONTENT_TYPE, Exporter};

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    exporter: Arc<Exporter>,
    metrics: Latest,
    /// The same, compressed.
    compressed: Latest,
}

pub(super) fn router(exporter: Arc<Exporter>) -> Router {
    let shared = Shared { exporter, metrics: Arc::default(), compressed: Arc::default() };
    Router::new()
        .route("/", get(root))
        .route("/plain", get(plain_page))
        .route("/assets/{file}", get(asset))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .fallback(nothing)
        .with_state(shared)
}

/// Whether a path belongs to the interface for programs, whose answers are problem details where they are not yes.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/api/")
}

async fn nothing(request: Request) -> Response {
    if is_api(request.uri().path()) {
        return Problem::nothing_here().into_response();
    }
    plain(StatusCode::NOT_FOUND, "there is nothing here; see /\n")
}

/// The page for people: that of the browser where there is one, else the plain one.
async fn root(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match assets::find(&FILES, PAGE) {
        Some(page) => assets::serve(page, &headers),
        None => plain_page(State(shared)).await,
    }
}

async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    match assets::find(&FILES, &file) {
        Some(asset) => assets::serve(asset, &headers),
        None => plain(StatusCode::NOT_FOUND, "there is nothing here; see /\n"),
    }
}

/// The page without a script.
async fn plain_page(State(shared): State<Shared>) -> Response {
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

async fn healthz(State(shared): State<Shared>) -> Response {
    let health = health(&shared.exporter);
    let code = if health.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, no_store(), axum::Json(health)).into_response()
}

impl Shared {
    /// The metrics, and how they are coded.
    async fn metrics(&self, compress: bool) -> Result<(Bytes, Option<&'static str>), Response> {
        let render = |exporter: &Exporter| exporter.render().map_err(|error| error.to_string());
        let text = reuse(&self.exporter, &self.metrics, render).await.map_err(not_rendered)?;
        if !compress {
            return Ok((text, None));
        }
        let compress = move |_: &Exporter| gzip(&text).map_err(|error| error.to_string());
        let compressed = reuse(&self.exporter, &self.compressed, compress).await.map_err(not_rendered)?;
        Ok((compressed, Some("gzip")))
    }
}

/// What is told is of this moment, and of the type that it says it is.
pub(super) fn no_store() -> [(HeaderName, HeaderValue); 2] {
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

fn not_rendered(why: NotRendered) -> Response {
    let code = match why {
        NotRendered::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        NotRendered::Busy | NotRendered::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    answer(code, "text/plain; charset=utf-8", format!("{}\n", why.words()).into())
}

/// A request bears a name that is not this daemon's.
pub(super) fn misdirected(api: bool) -> Response {
    if api {
        return Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this daemon is not known by the name in the request's Host",
            "call it by its address or localhost, or add the name to `hosts` in [web]",
        )
        .into_response();
    }
    plain(
        StatusCode::MISDIRECTED_REQUEST,
        "this daemon is not known by the name in the request's Host; call it by its address or localhost, or add the \
         name to `hosts` in [web]\n",
    )
}

/// More requests over one connection than it is for.
pub(super) fn too_much(api: bool) -> Response {
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    let refused = if api {
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests over this connection",
            "a few for each second are answered; GET /api/v1/events tells by itself what changes",
        )
        .into_response()
    } else {
        plain(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests over this connection; a few for each second are answered\n",
        )
    };
    (close, refused).into_response()
}

fn plain(code: StatusCode, text: &'static str) -> Response {
    answer(code, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}
