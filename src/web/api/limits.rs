//! The requests themselves.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::answer::{self, Alive, Delivered, Given, Lifted, Limit, Limits, Orders, Source, json};
use super::body::{self, End, LimitBody};
use super::document::{Heartbeat, LiftOrder, LimitOrder, OrderErrors};
use super::problem::Problem;
use super::query::{Name, Query};
use super::{Api, Need, Peer, Shared, body_of};
use crate::control::signal::book::{MOST_NAME, Phase};
use crate::control::signal::{Doubt, Order, Receipt, Refusal, Wall};
use crate::control::site::{CircuitId, Scope};
use crate::signal::desk::Made;
use crate::signal::glance::Giver;
use crate::signal::record::Record;
use crate::signal::{DeskError, List, SourceKey};
use crate::token::Caller;

/// A clock that is further off does not know the day.
const MOST_APART: Duration = Duration::from_secs(86_400);
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
    headers: HeaderMap,
    body: Body,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Order)?;
    let (source, name) = api.source_of(&caller)?;
    let read = body_of(&headers, body).await;
    let read = read.and_then(|bytes| {
        usable(&id)?;
        let limit = body::limit(&bytes)?;
        api.plausible(limit.sent_at)?;
        Ok(limit)
    });
    let complain = |problem: Problem| api.complain(&caller, source, &id, problem);
    let limit = read.map_err(complain)?;
    let (source, order) = api.order(&name, &id, &limit).map_err(complain)?;
    let (until, now) = (order.until, api.desk.wall());
    // Given to the desk, it would end the version before it: a wrong date must not take a cap away.
    if order.from <= now && until.is_some_and(|until| order.from <= until && until <= now) {
        return Err(complain(over(until)));
    }
    let receipt = match api.desk.give_sent(source, order, limit.sent_at).await {
        Ok(receipt) => receipt,
        Err(error) => return Err(complain(refused(&error, &name))),
    };
    if receipt == Receipt::Over {
        return Err(over(until));
    }
    if receipt == Receipt::Outdated {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "a later version of this order, or its withdrawal, came first",
            "send a higher `revision`, or leave it away: then it is the next one, unless its `sent_at` is older",
        ));
    }
    api.compare_clocks(source, limit.sent_at);
    let taken = matches!(receipt, Receipt::Accepted | Receipt::Replaced);
    let giver = Giver {
        id: id.as_str().into(),
        by: limit.by.as_deref().map(Into::into),
        remark: limit.note.as_deref().map(Into::into),
    };
    if taken && (giver.by.is_some() || giver.remark.is_some()) {
        api.desk.given_by(source, &giver);
    }
    let at = api.desk.glance(source);
    let stored = at.as_ref().is_some_and(|at| at.stored(&id));
    let limit = at.as_ref().and_then(|at| Some(Limit::new(at.find(&id)?, at)));
    if receipt != Receipt::Duplicate {
        tracing::info!(
            source = name,
            order = id,
            token = &*caller.name,
            by = giver.by.as_deref(),
            note = giver.remark.as_deref(),
            "order {}",
            answer::outcome(receipt)
        );
    }
    let code = if receipt == Receipt::Accepted { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(code, &Given { outcome: answer::outcome(receipt), stored, limit }))
}

/// Take an order back
#[utoipa::path(
    delete, path = "/api/v1/limits/{id}", tag = "orders", security(("bearer" = [])),
    params(
        ("id" = String, Path, description = "the name of the order"),
        ("revision" = Option<u64>, Query, format = "uint64", description = "up to which version it is taken back")
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
    let revision = Query::read(query.as_deref(), &["revision"])?.whole("revision", 0, u64::MAX)?;
    let before = api.desk.glance(source);
    if let (Some(revision), Some(held)) = (revision, before.as_ref().and_then(|at| at.find(&id)))
        && held.withdrawn.is_none()
        && revision < held.order.revision
    {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("version {} of the order is in force", held.order.revision),
            "take back that version, or leave `revision` away",
        ));
    }
    let known = api.desk.take_back(source, &id, revision).await.map_err(|error| refused(&error, &name))?;
    if !known {
        return Err(no_limit(&id));
    }
    tracing::info!(source = name, order = id, token = &*caller.name, "order taken back");
    let stored = api.desk.glance(source).is_some_and(|at| at.stored(&id));
    Ok(json(StatusCode::OK, &Given { outcome: "withdrawn", stored, limit: None }))
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
    let read = body_of(&headers, body).await.and_then(|bytes| {
        let heartbeat = body::heartbeat(&bytes)?;
        api.plausible(heartbeat.sent_at)?;
        Ok(heartbeat)
    });
    let heartbeat = read.map_err(|problem| api.complain(&caller, source, "heartbeat", problem))?;
    api.compare_clocks(source, heartbeat.sent_at);
    match heartbeat.limits {
        None => api.desk.heartbeat(source),
        Some(names) => {
            let at = api.desk.glance(source);
            let stands = |name: &String| at.as_ref().is_some_and(|at| at.standing(name).is_some());
            let missing: Vec<&String> = names.iter().filter(|name| !stands(name)).collect();
            if let Some(first) = missing.first() {
                // It lives, but what it orders is not all known: control is not given back on its word.
                api.desk.heartbeat(source);
                return Err(Problem::new(
                    StatusCode::CONFLICT,
                    format!(
                        "{} of these orders are not known, such as `{}`",
                        missing.len(),
                        body::shorten(first)
                    ),
                    "send each with PUT /api/v1/limits/{id}, then say again which stand",
                ));
            }
            // An order that came after it was made stands, too.
            let made = Some(Made { sent: heartbeat.sent_at, arrived });
            let list =
                List { unreadable: names.into_iter().map(Arc::from).collect(), made, ..List::default() };
            api.desk.list(source, list).await.map_err(|error| refused(&error, &name))?;
        }
    }
    let state = api.desk.view(source);
    let state_before = state.map(|view| view.state.name());
    Ok(json(StatusCode::OK, &Alive { source: name, state_before }))
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
    let until = answer::stamp(until);
    tracing::warn!(
        source = name,
        by = lift.by,
        until,
        token = &*caller.name,
        "the caps of this source are lifted: the site may draw more than was ordered"
    );
    Ok(json(StatusCode::OK, &Lifted { source: name, lifted_by: Some(lift.by), lifted_until: until }))
}

/// End a lift before its time
#[utoipa::path(
    delete, path = "/api/v1/lifts/{source}", tag = "orders", security(("bearer" = [])),
    params(("source" = String, Path, description = "the source, as in [signals.SOURCE]")),
    responses((status = 200, description = "its caps hold again", body = Lifted), OrderErrors)
)]
pub(super) async fn end_lift(
    State(api): Shared,
    from: From,
    Name(name): Name,
    headers: HeaderMap,
) -> Answered {
    let caller = api.admit(&headers, peer(from), Need::Operator)?;
    let source = api.source(&name)?;
    api.desk.end_lift(source).await.map_err(|error| refused(&error, &name))?;
    tracing::warn!(source = name, token = &*caller.name, "the caps of this source are not lifted any more");
    Ok(json(StatusCode::OK, &Lifted { source: name, lifted_by: None, lifted_until: None }))
}

impl Api {
    /// An order of a source as the desk takes it. Names are found in one configuration, all of them.
    pub(super) fn order(
        &self,
        source: &str,
        id: &str,
        body: &LimitBody,
    ) -> Result<(SourceKey, Order), Problem> {
        let (default_circuit, default_scope) = self.place(source).unwrap_or((String::new(), Scope::Import));
        let (key, site) =
            self.desk.source_and_site(source).ok_or_else(|| refused(&DeskError::NoSource, source))?;
        let name = body.circuit.as_ref().unwrap_or(&default_circuit);
        let circuit = site.circuits.iter().position(|circuit| circuit.name == *name).map(CircuitId);
        let circuit = circuit.ok_or_else(|| {
            let names: Vec<&str> = site.circuits.iter().map(|circuit| circuit.name.as_str()).collect();
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("the site has no circuit `{}`", body::shorten(name)),
                format!("there are {}", names.join(", ")),
            )
        })?;
        let now = self.desk.wall();
        let build = |from: Wall, revision: u64| Order {
            id: id.into(),
            revision,
            lane: "".into(),
            priority: body.priority.unwrap_or(u32::MAX),
            circuit,
            scope: body.scope.unwrap_or(default_scope),
            ask: body.ask,
            basis: body.basis,
            urgency: body.urgency,
            from,
            until: match body.end {
                End::Open => None,
                End::At(until) => Some(until),
                End::After(time) => Some(from.later(time)),
            },
            start_spread: body.start_spread,
        };
        let at = self.desk.glance(key);
        let standing = at.as_ref().and_then(|at| at.standing(id));
        let from = body.from.unwrap_or(now);
        let next = self.desk.next_revision(key, id);
        let order = match (body.revision, standing) {
            // The same version again begins when it began.
            (Some(revision), Some(held)) if held.order.revision == revision => {
                build(body.from.unwrap_or(held.order.from), revision)
            }
            (Some(revision), _) => build(from, revision),
            (None, Some(held)) => {
                let again = build(body.from.unwrap_or(held.order.from), held.order.revision);
                // "For two hours" without a beginning means from now on, each time that it is said.
                let moving = body.from.is_none() && matches!(body.end, End::After(_));
                if again == held.order && !moving { again } else { build(from, next) }
            }
            (None, None) => build(from, next),
        };
        Ok((key, order))
    }

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

    /// Refuses what was sent on another day, by the clock of its sender: that clock, or ours, was never set.
    fn plausible(&self, sent_at: Option<Wall>) -> Result<(), Problem> {
        let (Some(theirs), ours) = (sent_at, self.desk.wall()) else { return Ok(()) };
        if ours.since(theirs).max(theirs.since(ours)) <= MOST_APART {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("`sent_at` is {}, and it is {} here", stamp(Some(theirs)), stamp(Some(ours))),
            "set the clock that is wrong, or leave `sent_at` away; what was in force stays in force",
        ))
    }

    /// Makes the source degraded for something that could not be obeyed, and says so in the log.
    fn complain(&self, caller: &Caller, source: SourceKey, id: &str, problem: Problem) -> Problem {
        let id = body::shorten(id);
        self.desk.complain(source, format!("{id}: {}", problem.error).into());
        tracing::warn!(token = &*caller.name, order = id, error = problem.error, "an order is refused");
        problem
    }

    fn compare_clocks(&self, source: SourceKey, sent_at: Option<Wall>) {
        if let Some(theirs) = sent_at {
            let ours = self.desk.wall();
            self.desk.doubt(source, Doubt::Off(ours.since(theirs).max(theirs.since(ours))));
        }
    }
}

pub(super) fn usable(id: &str) -> Result<(), Problem> {
    if id.is_empty() || id.len() > MOST_NAME || id.chars().any(char::is_control) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "the name of the order cannot be used",
            format!("it must be 1 to {MOST_NAME} bytes without control characters"),
        ));
    }
    Ok(())
}

fn over(until: Option<Wall>) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        format!("the order is over already: it ends at {}", stamp(until)),
        "check the dates and the clocks of both machines; DELETE takes an order back",
    )
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

fn stamp(wall: Option<Wall>) -> String {
    wall.and_then(answer::stamp).unwrap_or_else(|| String::from("the end of time"))
}
