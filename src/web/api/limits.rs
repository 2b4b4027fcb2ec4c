//! The requests themselves.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::answer::{self, Alive, Delivered, Given, Lifted, Limit, Limits, Orders, Source, json};
use super::body::{self, End, LONGEST_NAME, LONGEST_REMARK};
use super::document::{Heartbeat, LiftOrder, LimitOrder, OrderErrors};
use super::problem::Problem;
use super::query::{Name, Query, bad};
use super::{Api, Need, Peer, Person, Shared, body_of};
use crate::control::signal::book::{MOST_NAME, Phase};
use crate::control::signal::{Refusal, Wall};
use crate::line::is_line;
use crate::signal::record::Record;
use crate::signal::{DeskError, SourceKey};
use crate::token::Caller;

/// The longest time for which an operator may raise above a source's caps at once.
const LONGEST_LIFT: Duration = Duration::from_secs(86_400);

type From = Option<Extension<Peer>>;
type Answered = Result<Response, Problem>;

fn peer(from: From) -> Option<Peer> {
    from.map(|Extension(peer)| peer)
}

/// Give an order, or a later version of it
///
/// For whoever has a token of the scope `limits` (in the name of its source) or `operator`.
#[utoipa::path(
    put, path = "/api/v1/limits/{id}", tag = "orders", request_body = LimitOrder, security(("bearer" = [])),
    params(("id" = String, Path, description = "the name of the order, unique within its source")),
    responses(
        (status = 201, description = "it is new", body = Given),
        (status = 200, description = "it is changed, or was known already", body = Given),
        OrderErrors
    )
)]
pub(super) async fn give(
    State(api): Shared,
    from: From,
    Name(id): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Order)?;
    Query::read(query.as_deref(), &[])?;
    let (source, name) = api.source_of(&caller)?;
    let read = body_of(&headers, body).await;
    let read = read.and_then(|bytes| {
        usable(&id)?;
        Ok(body::limit(&bytes)?)
    });
    let (code, given) = api.set_limit(&caller, (source, &name), &id, read).await?;
    Ok(json(code, &given))
}

/// Take an order back
#[utoipa::path(
    delete, path = "/api/v1/limits/{id}", tag = "orders", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "the name of the order"),
        ("revision" = Option<u64>, Query, format = "uint64", description = "up to which version it is taken back"),
        ("by" = Option<String>, Query, max_length = 128, description = "who takes it back, for the record"),
        ("note" = Option<String>, Query, max_length = 500, description = "why, for the record")
    ),
    responses((status = 200, description = "it is taken back", body = Given), OrderErrors)
)]
pub(super) async fn take_back(
    State(api): Shared,
    from: From,
    Name(id): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Order)?;
    let (source, name) = api.source_of(&caller)?;
    usable(&id)?;
    let query = Query::read(query.as_deref(), &["revision", "by", "note"])?;
    let revision = query.whole("revision", 0, u64::MAX)?;
    let given = api.clear_limit(&caller, (source, &name), &id, revision, person(&query)?).await?;
    Ok(json(StatusCode::OK, &given))
}

/// The orders that are known, and the state of their sources
#[utoipa::path(
    get, path = "/api/v1/limits", tag = "orders", security(("bearer" = [])),
    params(("source" = Option<String>, Query, description = "of this source alone")),
    responses((status = 200, description = "orders and sources", body = Limits), OrderErrors)
)]
pub(super) async fn list(
    State(api): Shared,
    from: From,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Read)?;
    let query = Query::read(query.as_deref(), &["source"])?;
    let mut limits = Limits { sources: Vec::new(), limits: Vec::new() };
    for source in api.seen_by(&caller, query.text("source"))? {
        let Some(at) = api.desk.glance(source) else { continue };
        limits.sources.push(Source::new(&at));
        let held = at.held.iter().filter(|held| at.phase(held) != Phase::Over);
        limits.limits.extend(held.map(|held| Limit::new(held, &at)));
    }
    Ok(json(StatusCode::OK, &limits))
}

/// One order
#[utoipa::path(
    get, path = "/api/v1/limits/{id}", tag = "orders", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "the name of the order"),
        ("source" = Option<String>, Query, description = "of this source alone")
    ),
    responses((status = 200, description = "the order", body = Limit), OrderErrors)
)]
pub(super) async fn one(
    State(api): Shared,
    from: From,
    Name(id): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Read)?;
    usable(&id)?;
    let query = Query::read(query.as_deref(), &["source"])?;
    for source in api.seen_by(&caller, query.text("source"))? {
        let at = api.desk.glance(source);
        if let Some((held, at)) = at.as_ref().and_then(|at| Some((at.find(&id)?, at))) {
            return Ok(json(StatusCode::OK, &Limit::new(held, at)));
        }
    }
    Err(no_limit(&id))
}

/// What became of every order
#[utoipa::path(
    get, path = "/api/v1/orders", tag = "orders", security(("bearer" = [])),
    params(("source" = Option<String>, Query, description = "of this source alone")),
    responses((status = 200, description = "the records, the newest first", body = Orders), OrderErrors)
)]
pub(super) async fn orders(
    State(api): Shared,
    from: From,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Read)?;
    let query = Query::read(query.as_deref(), &["source"])?;
    let seen = api.seen_by(&caller, query.text("source"))?;
    let seen: Vec<String> =
        seen.into_iter().filter_map(|source| Some(api.desk.settings(source)?.name)).collect();
    let (site, records) = api.desk.records_and_site();
    let name = |record: &Record| site.sources.get(record.source.0).map_or("", |source| source.name.as_str());
    let orders = records
        .iter()
        .filter(|record| seen.iter().any(|seen| seen == name(record)))
        .map(|record| Delivered::new(record, name(record), &site))
        .collect();
    Ok(json(StatusCode::OK, &Orders { orders }))
}

/// Say that a source lives, and which of its orders stand
#[utoipa::path(
    post, path = "/api/v1/heartbeat", tag = "orders", request_body = Option<Heartbeat>, security(("bearer" = [])),
    responses((status = 200, description = "it is heard", body = Alive), OrderErrors)
)]
pub(super) async fn heartbeat(State(api): Shared, from: From, headers: HeaderMap, body: Body) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Heartbeat)?;
    let (source, name) = api.source_of(&caller)?;
    let arrived = api.desk.wall();
    let read = body_of(&headers, body).await.and_then(|bytes| Ok(body::heartbeat(&bytes)?));
    let alive = api.heard(&caller, (source, &name), arrived, read).await?;
    Ok(json(StatusCode::OK, &alive))
}

/// Draw more than a source has ordered, for a time and in somebody's name
#[utoipa::path(
    put, path = "/api/v1/lifts/{source}", tag = "orders", request_body = LiftOrder, security(("bearer" = [])),
    params(("source" = String, Path, description = "the source, as in [signals.SOURCE]")),
    responses((status = 200, description = "its caps are lifted", body = Lifted), OrderErrors)
)]
pub(super) async fn lift(
    State(api): Shared,
    from: From,
    Name(name): Name,
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Operator)?;
    let lift = body::lift(&body_of(&headers, body).await?)?;
    let source = api.source(&name)?;
    let now = api.desk.wall();
    let until = match lift.end {
        End::At(until) => until,
        End::After(time) => now.later(time),
        End::Open => now,
    };
    if until > now.later(LONGEST_LIFT) {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "a lift may last a day at the most",
            "lift for less, and again when the day is over",
        ));
    }
    let lifted = api.desk.lift(source, &lift.by, until).await.map_err(|error| refused(&error, &name))?;
    if !lifted {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("the lift is over already: it ends at {}", stamp(Some(until))),
            "write `duration`, or a `valid_until` that is to come",
        ));
    }
    api.prove(&caller, "lift", &name, None, Person { by: Some(&lift.by), note: lift.note.as_deref() });
    let until = answer::stamp(until);
    tracing::warn!(
        source = name,
        by = lift.by,
        note = lift.note,
        until,
        token = &*caller.name,
        "the caps of this source are lifted: the site may draw more than was ordered"
    );
    Ok(json(StatusCode::OK, &Lifted { source: name, lifted_by: Some(lift.by), lifted_until: until }))
}

/// End a lift before its time
#[utoipa::path(
    delete, path = "/api/v1/lifts/{source}", tag = "orders", security(("bearer" = [])),
    params(
        ("source" = String, Path, description = "the source, as in [signals.SOURCE]"),
        ("by" = Option<String>, Query, max_length = 128, description = "who ends it, for the record"),
        ("note" = Option<String>, Query, max_length = 500, description = "why, for the record")
    ),
    responses((status = 200, description = "its caps hold again", body = Lifted), OrderErrors)
)]
pub(super) async fn end_lift(
    State(api): Shared,
    from: From,
    Name(name): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Operator)?;
    let query = Query::read(query.as_deref(), &["by", "note"])?;
    let person = person(&query)?;
    let source = api.source(&name)?;
    api.desk.end_lift(source).await.map_err(|error| refused(&error, &name))?;
    api.prove(&caller, "lift ended", &name, None, person);
    tracing::warn!(
        source = name,
        token = &*caller.name,
        by = person.by,
        note = person.note,
        "the caps of this source are not lifted any more"
    );
    Ok(json(StatusCode::OK, &Lifted { source: name, lifted_by: None, lifted_until: None }))
}

impl Api {
    /// The sources of which somebody may read.
    fn seen_by(&self, caller: &Caller, wanted: Option<&str>) -> Result<Vec<SourceKey>, Problem> {
        let all = caller.scopes.operator || caller.scopes.read;
        let own = caller.source.as_deref();
        match wanted {
            Some(name) if all || own == Some(name) => self.source(name).map(|source| vec![source]),
            Some(name) => Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("the token `{}` may not read of `{}`", caller.name, body::shorten(name)),
                "use one with the scope `read` or `operator`",
            )),
            None if all => {
                let site = self.desk.site();
                Ok(site.sources.iter().filter_map(|source| self.desk.source(&source.name)).collect())
            }
            None => self.source(own.unwrap_or("")).map(|source| vec![source]),
        }
    }
}

/// Who answers for a request that has no body, and why, as far as they say so.
fn person(query: &Query) -> Result<Person<'_>, Problem> {
    let said = |key: &str, longest: usize| {
        let text = query.text(key).map(str::trim).filter(|text| !text.is_empty());
        if text.is_some_and(|text| text.len() > longest || !is_line(text)) {
            return Err(bad(
                format!("`{key}` is too long, or has control characters"),
                format!("write at most {longest} bytes in one line"),
            ));
        }
        Ok(text)
    };
    Ok(Person { by: said("by", LONGEST_NAME)?, note: said("note", LONGEST_REMARK)? })
}

pub(super) fn usable(id: &str) -> Result<(), Problem> {
    if id.is_empty() || id.len() > MOST_NAME || !is_line(id) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "the name of the order cannot be used",
            format!("it must be 1 to {MOST_NAME} bytes without control characters"),
        ));
    }
    Ok(())
}

pub(super) fn no_limit(id: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("no order `{}` is in force or to come", body::shorten(id)),
        "it may be over, or taken back already; GET /api/v1/limits lists what is there",
    )
}

/// What the desk says no to.
pub(super) fn refused(error: &DeskError, source: &str) -> Problem {
    let words = error.to_string();
    let (code, help) = match error {
        DeskError::NoSource => (
            StatusCode::NOT_FOUND,
            format!("the configuration in force has no [signals.{source}] any more; check it"),
        ),
        DeskError::Refused(Refusal::SameRevision) => (
            StatusCode::CONFLICT,
            String::from("send a higher `revision`, or leave it away: then it is the next one"),
        ),
        DeskError::Refused(Refusal::NoBaseline) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            String::from("order a `cap` instead, or wait until the daemon has measured for a while"),
        ),
        _ if matches!(error, DeskError::Refused(_)) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            String::from("what was in force stays in force; correct the order and send it again"),
        ),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            String::from("the order is not in force; look into the daemon's log, then send it again"),
        ),
    };
    Problem::new(code, words, help)
}

pub(super) fn stamp(wall: Option<Wall>) -> String {
    wall.and_then(answer::stamp).unwrap_or_else(|| String::from("the end of time"))
}
