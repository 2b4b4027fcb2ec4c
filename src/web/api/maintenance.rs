//! What somebody works on: who begins and ends it, and what that would do.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::json;
use super::body::shorten;
use super::document::{OrderErrors, ReadErrors};
use super::preview::PreviewBody;
use super::problem::Problem;
use super::query::{Name, Query, bad};
use super::reads::Reads;
use super::{Api, Need, Peer, Person, Shared, shape_of};
use crate::clock;
use crate::control::preview::Change;
use crate::control::site::{CircuitId, Site};
use crate::control::snapshot::Hold;
use crate::maintenance::{Kind, Maintenance, MaintenanceError, Said, Work, is_said, miners_of};
use crate::token::Caller;

/// What somebody works on.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Works {
    /// By kind and name.
    maintenance: Vec<WorkBody>,
}

/// A miner or a circuit that somebody works on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Maintenance)]
pub(super) struct WorkBody {
    /// Name of the miner or circuit.
    name: String,
    /// `miner` or `circuit`, which stands for all miners that hang on it or below.
    #[schema(example = "miner")]
    kind: &'static str,
    /// How many miners of the site that are.
    miners: usize,
    /// `asleep`: kept asleep. `hands-off`: nothing at all is told to it.
    #[schema(example = "asleep")]
    hold: &'static str,
    /// Who said so.
    by: String,
    /// What they said; may be empty.
    note: String,
    /// When it was begun, in milliseconds since 1970 (UTC).
    begun: i64,
    /// When it ends by itself, in milliseconds since 1970 (UTC); `null` when somebody is to end it.
    until: Option<i64>,
    /// Whether it is on disk; only in the answer to whoever began or ended it, `null` where nothing is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<bool>,
}

/// A miner or circuit on which somebody begins to work.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"by": "A. Khan", "note": "fan 2 replaced"}))]
pub(super) struct Begin {
    /// Which of the two, where a miner and a circuit have the same name.
    #[serde(default)]
    #[schema(inline)]
    kind: Option<KindWord>,
    /// How it is kept; `asleep` without it.
    #[serde(default)]
    #[schema(inline)]
    hold: Option<HoldWord>,
    /// Who works on it.
    #[schema(min_length = 1, max_length = 200)]
    by: String,
    /// What they do; may be left away.
    #[serde(default)]
    #[schema(max_length = 200)]
    note: String,
    /// When it ends by itself, in milliseconds since 1970 (UTC), a year ahead at the most; without it when somebody ends it.
    #[serde(default)]
    until: Option<i64>,
}

/// What is worked on.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum KindWord {
    /// One miner.
    Miner,
    /// All miners of a circuit and of those below it.
    Circuit,
}

/// How it is kept.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum HoldWord {
    /// Kept asleep.
    Asleep,
    /// Nothing is told to it.
    HandsOff,
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Miner => Self::Miner,
            KindWord::Circuit => Self::Circuit,
        }
    }
}

impl WorkBody {
    fn new(site: &Site, work: Work, stored: Option<bool>) -> Self {
        Self {
            miners: miners_of(site, &work),
            name: work.name.to_string(),
            kind: work.kind.name(),
            hold: work.hold.name(),
            by: work.by.to_string(),
            note: work.note.to_string(),
            begun: work.begun,
            until: work.until,
            stored,
        }
    }
}

fn refused(error: &MaintenanceError) -> Problem {
    let (code, help) = match error {
        MaintenanceError::Unknown { .. } => {
            (StatusCode::NOT_FOUND, "GET /api/v1/miners?search= and GET /api/v1/circuits tell the names")
        }
        MaintenanceError::None(_) => {
            (StatusCode::NOT_FOUND, "GET /api/v1/maintenance lists what is worked on")
        }
        MaintenanceError::Which(_) => (StatusCode::CONFLICT, "add `kind`: `miner` or `circuit`"),
        MaintenanceError::Text(_) | MaintenanceError::Until => {
            (StatusCode::BAD_REQUEST, "correct the body and send it again")
        }
        MaintenanceError::Full => (StatusCode::UNPROCESSABLE_ENTITY, "GET /api/v1/maintenance lists them"),
    };
    Problem::new(code, error.to_string(), help)
}

fn kind_of(query: &Query) -> Result<Option<Kind>, Problem> {
    let Some(word) = query.text("kind") else { return Ok(None) };
    let unknown = || bad(format!("there is no kind `{}`", shorten(word)), "write `miner` or `circuit`");
    Kind::named(word).map(Some).ok_or_else(unknown)
}

/// What is called so. Where both are, whoever asks has to say which.
fn find(site: &Site, name: &str, kind: Option<Kind>) -> Result<Kind, MaintenanceError> {
    let miner = site.miners.iter().any(|miner| miner.name == name);
    let circuit = site.circuits.iter().any(|circuit| circuit.name == name);
    match (kind, miner, circuit) {
        (Some(kind), _, _) => Ok(kind),
        (None, true, true) => Err(MaintenanceError::Which(shorten(name))),
        (None, _, true) => Ok(Kind::Circuit),
        (None, _, false) => Ok(Kind::Miner),
    }
}

impl Api {
    fn maintenance(&self) -> Result<&Maintenance, Problem> {
        self.maintenance.as_ref().ok_or_else(Problem::nothing_here)
    }
}

/// What somebody works on
#[utoipa::path(
    get, path = "/api/v1/maintenance", tag = "site", security((), ("bearer" = [])),
    responses((status = 200, description = "by kind and name", body = Works), ReadErrors)
)]
pub(super) async fn list(State(reads): State<Reads>) -> Result<Response, Problem> {
    let maintenance = reads.maintenance().ok_or_else(Problem::nothing_here)?;
    let site = reads.site();
    let works = maintenance.list().into_iter().map(|work| WorkBody::new(&site, work, None)).collect();
    Ok(json(StatusCode::OK, &Works { maintenance: works }))
}

async fn read(site: &Site, name: &str, headers: &HeaderMap, body: Body) -> Result<Work, Problem> {
    let help = "send {\"by\": \"NAME\", \"note\": \"…\", \"until\": …}";
    let read: Begin = shape_of(headers, body, help).await?;
    Ok(Work {
        kind: find(site, name, read.kind.map(Kind::from)).map_err(|error| refused(&error))?,
        name: name.into(),
        hold: match read.hold {
            Some(HoldWord::HandsOff) => Hold::HandsOff,
            Some(HoldWord::Asleep) | None => Hold::Asleep,
        },
        by: read.by.as_str().into(),
        note: read.note.as_str().into(),
        begun: clock::unix_millis(),
        until: read.until,
    })
}

/// Begin to work on a miner or circuit
///
/// For whoever has a token of the scope `operator`. What was said of it before is replaced.
#[utoipa::path(
    put, path = "/api/v1/maintenance/{name}", tag = "site", request_body = Begin, security(("bearer" = [])),
    params(("name" = String, Path, description = "the name of the miner or circuit")),
    responses((status = 200, description = "it is in force", body = WorkBody), OrderErrors)
)]
pub(super) async fn begin(
    State(api): Shared,
    from: Option<Extension<Peer>>,
    Name(name): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = api.admit(&headers, from.map(|Extension(peer)| peer), Need::Operator)?;
    Query::read(query.as_deref(), &[])?;
    let maintenance = api.maintenance()?;
    let site = api.desk.site();
    let work = read(&site, &name, &headers, body).await?;
    let Said { work, stored } = maintenance.begin(&site, work).await.map_err(|error| refused(&error))?;
    let person = Person { by: Some(&*work.by), note: Some(&*work.note).filter(|note| !note.is_empty()) };
    note(&api, &caller, person, "maintenance begun", &work);
    Ok(json(StatusCode::OK, &WorkBody::new(&site, work, stored)))
}

fn note(api: &Api, caller: &Caller, Person { by, note }: Person<'_>, event: &str, work: &Work) {
    let body = serde_json::json!({
        "event": event, "token": &*caller.name, "by": by, "note": note, "name": &*work.name, "until_ms": work.until,
    });
    api.desk.proof().append(crate::proof::Kind::Operator, body);
    tracing::info!(name = &*work.name, token = &*caller.name, "maintenance was changed over HTTP");
}

/// End the work on a miner or circuit
///
/// It is commanded again from the next cycle on. For whoever has a token of the scope `operator`.
#[utoipa::path(
    delete, path = "/api/v1/maintenance/{name}", tag = "site", security(("bearer" = [])),
    params(
        ("name" = String, Path, description = "the name of the miner or circuit"),
        ("kind" = Option<String>, Query, description = "`miner` or `circuit`, where both have the name"),
        ("by" = Option<String>, Query, max_length = 200, description = "who ends it; the name of the token without it")
    ),
    responses((status = 200, description = "it has ended", body = WorkBody), OrderErrors)
)]
pub(super) async fn end(
    State(api): Shared,
    from: Option<Extension<Peer>>,
    Name(name): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = api.admit(&headers, from.map(|Extension(peer)| peer), Need::Operator)?;
    let query = Query::read(query.as_deref(), &["kind", "by"])?;
    let kind = kind_of(&query)?;
    let by = query.text("by").unwrap_or(&caller.name).trim();
    if !is_said(by, 1) {
        return Err(refused(&MaintenanceError::Text("by")));
    }
    let ended = api.maintenance()?.end(&name, kind, by).await;
    let Said { work, stored } = ended.map_err(|error| refused(&error))?;
    // Its note is of whoever began it.
    note(&api, &caller, Person { by: Some(by), note: None }, "maintenance ended", &work);
    Ok(json(StatusCode::OK, &WorkBody::new(&api.desk.site(), work, stored)))
}

/// What it would do to begin or to end work
///
/// The body is that of `PUT /api/v1/maintenance/{name}`; nothing is begun. With the parameter `ends` and no body: what would happen
/// if it were ended.
#[utoipa::path(
    post, path = "/api/v1/maintenance/{name}/preview", tag = "site", request_body = Option<Begin>,
    security(("bearer" = [])),
    params(
        ("name" = String, Path, description = "the name of the miner or circuit"),
        ("ends" = Option<u8>, Query, maximum = 1, description = "1 looks at its end"),
        ("kind" = Option<String>, Query, description = "with `ends`: `miner` or `circuit`, where both have the name")
    ),
    responses((status = 200, description = "what would happen", body = PreviewBody), OrderErrors)
)]
pub(super) async fn preview(
    State(api): Shared,
    from: Option<Extension<Peer>>,
    Name(name): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    api.admit(&headers, from.map(|Extension(peer)| peer), Need::Operator)?;
    let asker = api.asker.as_ref().ok_or_else(Problem::nothing_here)?;
    let query = Query::read(query.as_deref(), &["ends", "kind"])?;
    let ends = query.whole("ends", 0, 1)? == Some(1);
    let (maintenance, site) = (api.maintenance()?, api.desk.site());
    let work = if ends {
        let kind = kind_of(&query)?;
        let fits = |work: &Work| *work.name == *name && kind.is_none_or(|kind| work.kind == kind);
        let known = maintenance.list().into_iter().find(fits);
        known.ok_or_else(|| refused(&MaintenanceError::None(shorten(&name))))?
    } else {
        read(&site, &name, &headers, body).await?
    };
    let holds = maintenance.would(&site, &work, !ends).map_err(|error| refused(&error))?;
    let circuit = match work.kind {
        Kind::Circuit => site.circuits.iter().position(|circuit| *circuit.name == *work.name).map(CircuitId),
        Kind::Miner => site.miners.iter().find(|miner| *miner.name == *work.name).map(|miner| miner.circuit),
    };
    // What is not on the site any more holds nobody.
    let circuit = circuit.unwrap_or(CircuitId(0));
    let change = Change::Hold { circuit, holds };
    let preview = asker.ask(Arc::clone(&site), change.clone()).await?;
    Ok(json(StatusCode::OK, &PreviewBody::new(&site, &change, &preview)))
}
