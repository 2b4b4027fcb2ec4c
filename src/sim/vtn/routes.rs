//! What the top node answers to what.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Fault, MOST, Shared, body};

/// Largest request body.
const BODY_MAX: usize = 1024 * 1024;
/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 32;
/// Most entries that may be asked for at once (OpenADR 3.1.1).
const LIMIT: usize = 50;

/// Serves until cancelled; every connection ends with it.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, cancel: CancellationToken) {
    let router = Router::new().fallback(dispatch).layer(DefaultBodyLimit::max(BODY_MAX)).with_state(shared);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let _place = place;
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn dispatch(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    {
        let mut state = shared.state();
        state.counts.requests = state.counts.requests.saturating_add(1);
    }
    let mut faults = shared.faults.subscribe();
    if faults.wait_for(|faults| !faults.contains(&Fault::Hang)).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let mut response = answer(&shared, &method, &uri, &headers, &body);
    if let Ok(date) = HeaderValue::from_str(&http_date(&shared)) {
        // The server leaves a date alone that is there.
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// As in RFC 9110, section 5.6.7.
fn http_date(shared: &Shared) -> String {
    let moment = jiff::Timestamp::from_millisecond(shared.wall().as_unix_millis()).unwrap_or_default();
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn answer(shared: &Shared, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
    let Some(path) = uri.path().strip_prefix(shared.options.root.as_str()) else {
        return problem(StatusCode::NOT_FOUND, "There is nothing here");
    };
    if path == "/auth/server" {
        let url = format!("http://{}{}/auth/token", shared.address, shared.options.root);
        return Json(json!({ "tokenURL": url })).into_response();
    }
    if let Some(target) = shared.faults.borrow().iter().find_map(|fault| match fault {
        Fault::Redirect(target) => Some(target.clone()),
        _ => None,
    }) {
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response();
    }
    if shared.has(&Fault::ServerError) {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "The database is away");
    }
    if path == "/auth/token" {
        return token(shared, method, headers, body);
    }
    if !allowed(shared, headers) || shared.has(&Fault::Unauthorised) {
        let mut state = shared.state();
        state.counts.refused = state.counts.refused.saturating_add(1);
        let forbids = shared.has(&Fault::Forbids);
        let status = if forbids { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED };
        return problem(status, "The token is not known");
    }
    let query = |key: &str| {
        let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["programs"]) => {
            let programmes = shared.state().programmes.values().cloned().collect();
            list(shared, programmes, &query)
        }
        ("GET", ["programs", id]) => match shared.state().programmes.get(*id) {
            Some(programme) => Json(programme.clone()).into_response(),
            None => problem(StatusCode::NOT_FOUND, "There is no such programme"),
        },
        ("GET", ["events"]) => events(shared, &query),
        ("POST", ["events"]) => put_event(shared, body, None),
        ("PUT", ["events", id]) => put_event(shared, body, Some(id)),
        ("DELETE", ["events", id]) => {
            if shared.delete_event(id) {
                Json(json!({ "id": id })).into_response()
            } else {
                problem(StatusCode::NOT_FOUND, "There is no such event")
            }
        }
        ("GET", ["reports"]) => list(shared, shared.state().reports.clone(), &query),
        ("POST", ["reports"]) => report(shared, body),
        _ => problem(StatusCode::NOT_FOUND, "There is nothing here"),
    }
}

fn problem(status: StatusCode, title: &str) -> Response {
    let body = json!({ "title": title, "status": status.as_u16() }).to_string();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

fn allowed(shared: &Shared, headers: &HeaderMap) -> bool {
    if shared.options.client.is_none() {
        return true;
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|token| shared.knows(token))
}

/// RFC 6749, section 4.4: credentials in the body, or in the header.
fn token(shared: &Shared, method: &Method, headers: &HeaderMap, body: &Bytes) -> Response {
    let refuse = |status: StatusCode, error: &str| (status, Json(json!({ "error": error }))).into_response();
    if method != Method::POST {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "Tokens are given to those who post");
    }
    let text = String::from_utf8_lossy(body);
    let field = |name: &str| {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
    };
    if field("grant_type").as_deref() != Some("client_credentials") {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| {
        let coded = value.to_str().ok()?.strip_prefix("Basic ")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(coded).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((decoded(id), decoded(secret)))
    });
    let given = basic.or_else(|| Some((field("client_id")?, field("client_secret")?)));
    let known = shared.options.client.is_none() || given == shared.options.client;
    if !known || shared.has(&Fault::NoToken) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let token = shared.give_token();
    let life = shared.options.token_life.as_secs();
    Json(json!({ "access_token": token, "token_type": "Bearer", "expires_in": life })).into_response()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn events(shared: &Shared, query: &dyn Fn(&str) -> Vec<String>) -> Response {
    let programme = query("programID").into_iter().next();
    let targets: Vec<String> = query("targets").iter().map(|target| decoded(target)).collect();
    let mut events = shared.state().events.clone();
    events.retain(|event| {
        let of = event.get("programID").and_then(Value::as_str);
        let meant = event.get("targets").and_then(Value::as_array).filter(|list| !list.is_empty());
        let asked = targets.is_empty()
            || meant.is_none_or(|list| list.iter().any(|one| targets.iter().any(|target| one == target)));
        programme.as_deref().is_none_or(|programme| of == Some(programme)) && asked
    });
    for fault in shared.faults.borrow().iter() {
        if let Fault::BadEvent(text) = fault {
            // In the middle of the others.
            let at = events.len() / 2;
            events.insert(at, serde_json::from_str(text).unwrap_or(Value::Null));
        }
    }
    let response = list(shared, events, query);
    if response.status().is_success() {
        let mut state = shared.state();
        state.counts.events = state.counts.events.saturating_add(1);
    }
    response
}

/// One page of a list.
fn list(shared: &Shared, entries: Vec<Value>, query: &dyn Fn(&str) -> Vec<String>) -> Response {
    let number = |key: &str| query(key).first().map(|value| value.parse::<usize>());
    let (Ok(skip), Ok(limit)) = (number("skip").unwrap_or(Ok(0)), number("limit").unwrap_or(Ok(LIMIT)))
    else {
        return problem(StatusCode::BAD_REQUEST, "skip and limit are whole numbers");
    };
    if !(1..=LIMIT).contains(&limit) {
        return problem(StatusCode::BAD_REQUEST, "limit is from 1 to 50");
    }
    let skip = if shared.has(&Fault::NoSkip) { 0 } else { skip };
    let page: Vec<Value> =
        entries.into_iter().skip(skip).take(limit.min(shared.options.page.max(1))).collect();
    let text = Value::Array(page).to_string();
    let faults = shared.faults.borrow().clone();
    let json =
        |body: Body| (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    for fault in &faults {
        match fault {
            Fault::HalfAnswer => return json(body::half(text.as_bytes())),
            Fault::Endless => return json(body::endless()),
            Fault::CutJson => {
                let half: String = text.chars().take(text.chars().count() / 2).collect();
                return json(half.into());
            }
            Fault::Html => return axum::response::Html("<html><body>Sign in</body></html>").into_response(),
            Fault::NoList => return json("{}".into()),
            _ => {}
        }
    }
    json(text.into())
}

fn put_event(shared: &Shared, body: &Bytes, id: Option<&str>) -> Response {
    let Ok(mut event) = serde_json::from_slice::<Value>(body) else {
        return problem(StatusCode::BAD_REQUEST, "This is no JSON");
    };
    let Some(fields) = event.as_object_mut() else {
        return problem(StatusCode::BAD_REQUEST, "An event is an object");
    };
    if let Some(id) = id {
        fields.insert("id".into(), json!(id));
        fields.remove("modificationDateTime");
    }
    let id = shared.put_event(event);
    let status = StatusCode::CREATED;
    (status, Json(json!({ "id": id }))).into_response()
}

fn report(shared: &Shared, body: &Bytes) -> Response {
    if shared.has(&Fault::NoReports) {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "The box is broken");
    }
    let Ok(report) = serde_json::from_slice::<Value>(body) else {
        return problem(StatusCode::BAD_REQUEST, "This is no JSON");
    };
    // What version 3.1 requires; a stricter server would refuse the rest, too.
    for key in ["eventID", "clientName", "resources"] {
        if report.get(key).is_none() {
            return problem(StatusCode::BAD_REQUEST, &format!("A report needs {key}"));
        }
    }
    let mut state = shared.state();
    if state.reports.len() >= MOST {
        state.reports.remove(0);
    }
    state.reports.push(report.clone());
    (StatusCode::CREATED, Json(report)).into_response()
}
