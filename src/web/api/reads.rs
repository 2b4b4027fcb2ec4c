//! What is going on, for programs: reads that move nothing.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::json;
use super::body::shorten;
use super::document::ReadErrors;
use super::events::{self, Hub};
use super::problem::Problem;
use super::query::{Name, Query, bad};
use super::{Api, Need, Peer};
use crate::clock::{self, Moment};
use crate::control::decision::MinerState;
use crate::control::frame::Frame;
use crate::control::site::{CircuitId, LoadClass, MinerId, Site};
use crate::history;
use crate::metrics::{Exporter, Here, Known, Speaker, explain};
use crate::token::Unknown;
use crate::web::render::{Latest, NotRendered, gzip, reuse, takes_gzip};
use crate::web::routes::no_store;
use crate::web::status::{Circuit, Meter, Miner, Status, circuit, circuits, meters, miner, status};

/// Miners in one answer at most, and without a wish.
const MOST_MINERS: usize = 1_000;
const SOME_MINERS: usize = 100;
/// No site has more miners.
const MOST_OFFSET: usize = 100_000;
/// The longest text that is looked for.
const LONGEST_SEARCH: usize = 128;
/// An answer that is at least so large is compressed for whoever takes that.
const WORTH_PRESSING: usize = 8 * 1024;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Reads {
    pub(super) exporter: Arc<Exporter>,
    pub(super) hub: Arc<Hub>,
    /// Who knows the tokens; `None` where there are none.
    orders: Option<Arc<Api>>,
    /// The latest long status.
    miners: Latest,
    document: Arc<OnceLock<Bytes>>,
}

impl Reads {
    pub(super) fn new(exporter: Arc<Exporter>, orders: Option<Arc<Api>>) -> Self {
        let hub = Arc::new(Hub::new(exporter.clone()));
        Self { exporter, hub, orders, miners: Latest::default(), document: Arc::default() }
    }

    /// Takes the document in, once all routes are known.
    pub(super) fn documented(&self, document: &OpenApi) {
        match document.to_json() {
            Ok(text) => drop(self.document.set(Bytes::from(text))),
            Err(error) => tracing::error!(%error, "the document of the interface cannot be written"),
        }
    }

    /// The alarms; `None` where nobody looks for any.
    pub(super) fn alarms(&self) -> Option<&crate::alarm::Alarms> {
        self.orders.as_ref()?.alarms.as_ref()
    }

    /// Where the proof ends; `None` where there is none.
    pub(super) fn proof_head(&self) -> Option<(u64, String)> {
        self.orders.as_ref()?.desk.proof().head()
    }

    /// Where energy is read; `None` where none is kept.
    pub(super) fn shelf(&self) -> Option<&super::energy::Shelf> {
        self.orders.as_ref()?.shelf.as_ref()
    }

    /// What somebody works on; `None` where nobody keeps it.
    pub(super) fn maintenance(&self) -> Option<&crate::maintenance::Maintenance> {
        self.orders.as_ref()?.maintenance.as_ref()
    }

    /// The site as it is configured now.
    pub(super) fn site(&self) -> Arc<Site> {
        self.exporter.site()
    }

    /// The emergency stops; `None` where nobody keeps them.
    pub(super) fn stops(&self) -> Option<&crate::stops::Stops> {
        self.orders.as_ref()?.stops.as_ref()
    }

    /// The last cycle, and the moment.
    pub(super) fn frame(&self) -> Result<(Frame, Moment), Problem> {
        let frame = self.exporter.frame().ok_or_else(Problem::too_early)?;
        Ok((frame, self.exporter.clock().now()))
    }
}

/// The routes. All ask for a token from everywhere but this machine.
pub(super) fn routes(reads: Reads) -> OpenApiRouter {
    let alarms = match reads.alarms() {
        Some(_) => OpenApiRouter::new().routes(routes!(super::alarms::list)),
        None => OpenApiRouter::new(),
    };
    let energy = match reads.shelf() {
        Some(_) => OpenApiRouter::new().routes(routes!(super::energy::quarters)),
        None => OpenApiRouter::new(),
    };
    let proof = match &reads.orders {
        Some(api) if api.desk.proof().is_kept() => OpenApiRouter::new().routes(routes!(super::proof::head)),
        _ => OpenApiRouter::new(),
    };
    let works = match reads.maintenance() {
        Some(_) => OpenApiRouter::new().routes(routes!(super::maintenance::list)),
        None => OpenApiRouter::new(),
    };
    let stops = match reads.stops() {
        Some(_) => OpenApiRouter::new().routes(routes!(super::stops::list)),
        None => OpenApiRouter::new(),
    };
    OpenApiRouter::new()
        .routes(routes!(site_status))
        .routes(routes!(all_circuits))
        .routes(routes!(one_circuit))
        .routes(routes!(all_meters))
        .routes(routes!(some_miners))
        .routes(routes!(one_miner))
        .routes(routes!(curves))
        .routes(routes!(events::events))
        .routes(routes!(document))
        .merge(proof)
        .merge(alarms)
        .merge(energy)
        .merge(works)
        .merge(stops)
        .route_layer(middleware::from_fn_with_state(reads.clone(), may_read))
        .with_state(reads)
}

async fn may_read(State(reads): State<Reads>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let here = peer.as_ref().is_some_and(|peer| peer.is_here(request.headers()));
    if !here {
        let admitted = match &reads.orders {
            Some(api) => api.admit(request.headers(), peer, Need::Read).map(drop),
            None => Err(Unknown::Closed.into()),
        };
        if let Err(problem) = admitted {
            return problem.into_response();
        }
    }
    next.run(request).await
}

type Answered = Result<Response, Problem>;

impl From<NotRendered> for Problem {
    fn from(why: NotRendered) -> Self {
        let code = match why {
            NotRendered::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            NotRendered::Busy | NotRendered::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(code, why.words(), "ask again later, or look into the daemon's log")
    }
}

/// A body of JSON that is ready.
fn ready(body: Bytes) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (no_store(), kind, body).into_response()
}

/// The same, compressed where it is large and that is taken.
pub(super) async fn large(headers: &HeaderMap, body: &impl Serialize) -> Answered {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "an answer cannot be written");
        Problem::from(NotRendered::Failed)
    };
    let bytes = serde_json::to_vec(body).map_err(|error| failed(&error))?;
    if bytes.len() < WORTH_PRESSING || !takes_gzip(headers) {
        return Ok(ready(bytes.into()));
    }
    let small = tokio::task::spawn_blocking(move || gzip(&bytes)).await;
    let small = small.map_err(|_| NotRendered::Stopping)?.map_err(|error| failed(&error))?;
    let coding = [
        (header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    Ok((coding, ready(small.into())).into_response())
}

/// What is going on: the last cycle
#[utoipa::path(
    get, path = "/api/v1/status", tag = "site", security((), ("bearer" = [])),
    params(("miners" = Option<u8>, Query, maximum = 1, description = "1 adds each miner")),
    responses((status = 200, description = "the last cycle", body = Status), ReadErrors)
)]
async fn site_status(State(reads): State<Reads>, RawQuery(query): RawQuery) -> Answered {
    let query = Query::read(query.as_deref(), &["miners"])?;
    if query.whole("miners", 0, 1)?.unwrap_or(0) == 0 {
        return Ok(json(StatusCode::OK, &status(&reads.exporter, false)));
    }
    let render = move |exporter: &Exporter| {
        serde_json::to_vec(&status(exporter, true)).map_err(|error| error.to_string())
    };
    Ok(ready(reuse(&reads.exporter, &reads.miners, render).await?))
}

/// The answer of `GET /api/v1/circuits`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Circuits {
    circuits: Vec<Circuit>,
}

/// All circuits, each with the cap that counts and where it comes from
#[utoipa::path(
    get, path = "/api/v1/circuits", tag = "site", security((), ("bearer" = [])),
    responses((status = 200, description = "each after the one that feeds it", body = Circuits), ReadErrors)
)]
async fn all_circuits(State(reads): State<Reads>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    Query::read(query.as_deref(), &[])?;
    let (frame, now) = reads.frame()?;
    let (signals, here) = (reads.exporter.signals(), Here::now());
    let circuits = circuits(&frame, now, &Speaker::new(&frame, signals.as_ref(), &here));
    large(&headers, &Circuits { circuits }).await
}

/// One circuit
#[utoipa::path(
    get, path = "/api/v1/circuits/{name}", tag = "site", security((), ("bearer" = [])),
    params(("name" = String, Path, description = "its name, as in [circuits.NAME]")),
    responses((status = 200, description = "the circuit", body = Circuit), ReadErrors)
)]
async fn one_circuit(State(reads): State<Reads>, Name(name): Name, RawQuery(query): RawQuery) -> Answered {
    Query::read(query.as_deref(), &[])?;
    let (frame, now) = reads.frame()?;
    let id = circuit_of(&frame.site, &name)?;
    let (signals, here) = (reads.exporter.signals(), Here::now());
    let circuit = circuit(&frame, id, now, &Speaker::new(&frame, signals.as_ref(), &here));
    Ok(json(StatusCode::OK, &circuit.ok_or_else(Problem::too_early)?))
}

fn circuit_of(site: &Site, name: &str) -> Result<CircuitId, Problem> {
    let at = site.circuits.iter().position(|circuit| circuit.name == name);
    at.map(CircuitId).ok_or_else(|| {
        let first: Vec<&str> = site.circuits.iter().take(8).map(|circuit| circuit.name.as_str()).collect();
        let more = if site.circuits.len() > first.len() { ", and more" } else { "" };
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("the site has no circuit `{}`", shorten(name)),
            format!("there are {}{more}", first.join(", ")),
        )
    })
}

/// The answer of `GET /api/v1/meters`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Meters {
    meters: Vec<Meter>,
}

/// All meters, with the age of what they tell
#[utoipa::path(
    get, path = "/api/v1/meters", tag = "site", security((), ("bearer" = [])),
    responses((status = 200, description = "the meters", body = Meters), ReadErrors)
)]
async fn all_meters(State(reads): State<Reads>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    Query::read(query.as_deref(), &[])?;
    let (frame, now) = reads.frame()?;
    large(&headers, &Meters { meters: meters(&frame, now) }).await
}

/// The answer of `GET /api/v1/miners`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Miners {
    /// How many there are that fit what was asked for.
    total: usize,
    /// How many of them stand before these.
    offset: usize,
    miners: Vec<Miner>,
}

/// Miners, by state, class, circuit and name, page by page
#[utoipa::path(
    get, path = "/api/v1/miners", tag = "site", security((), ("bearer" = [])),
    params(
        ("offset" = Option<u32>, Query, maximum = 100000, description = "so many are left out"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "so many at the most; 100 without it"),
        ("state" = Option<String>, Query, description = "those in this state, such as asleep"),
        ("class" = Option<String>, Query, description = "those of this class, such as throttle"),
        ("circuit" = Option<String>, Query, description = "those on this circuit or below it"),
        ("search" = Option<String>, Query, max_length = 128, description = "those whose name or driver has this in it")
    ),
    responses((status = 200, description = "the miners, in the order of the configuration", body = Miners), ReadErrors)
)]
async fn some_miners(State(reads): State<Reads>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    let query = Query::read(query.as_deref(), &["offset", "limit", "state", "class", "circuit", "search"])?;
    let offset = query.whole("offset", 0, MOST_OFFSET)?.unwrap_or(0);
    let limit = query.whole("limit", 1, MOST_MINERS)?.unwrap_or(SOME_MINERS);
    let (frame, now) = reads.frame()?;
    let state = query.text("state").map(state_of).transpose()?;
    let class = query.text("class").map(class_of).transpose()?;
    let circuit = query.text("circuit").map(|name| circuit_of(&frame.site, name)).transpose()?;
    let search = query.text("search").unwrap_or("");
    if search.len() > LONGEST_SEARCH {
        return Err(bad("`search` is too long", format!("write at most {LONGEST_SEARCH} bytes")));
    }
    let search = search.to_lowercase();
    let Frame { site, decision, .. } = &frame;
    let below = circuit.map(|circuit| below(site, circuit));
    let fits = |index: &usize| {
        let Some((its, outcome)) = site.miners.get(*index).zip(decision.miners.get(*index)) else {
            return false;
        };
        state.is_none_or(|state| outcome.state == state)
            && class.is_none_or(|class| its.class == class)
            && below.as_ref().is_none_or(|below| below.get(its.circuit.0) == Some(&true))
            && (search.is_empty()
                || its.name.to_lowercase().contains(&search)
                || its.driver.contains(&search))
    };
    let fit: Vec<usize> = (0..site.miners.len()).filter(fits).collect();
    let page = fit.iter().skip(offset).take(limit);
    let miners = page.filter_map(|index| miner(&frame, MinerId(*index), now)).collect();
    large(&headers, &Miners { total: fit.len(), offset, miners }).await
}

fn state_of(word: &str) -> Result<MinerState, Problem> {
    MinerState::ALL.into_iter().find(|state| state.name() == word).ok_or_else(|| {
        let names: Vec<&str> = MinerState::ALL.iter().map(|state| state.name()).collect();
        bad(format!("there is no state `{}`", shorten(word)), format!("there are {}", names.join(", ")))
    })
}

fn class_of(word: &str) -> Result<LoadClass, Problem> {
    LoadClass::ALL.into_iter().find(|class| class.name() == word).ok_or_else(|| {
        let names = LoadClass::ALL.map(LoadClass::name).join(", ");
        bad(format!("there is no class `{}`", shorten(word)), format!("there are {names}"))
    })
}

/// Of each circuit, whether it is this one or below it. Each stands after its parent.
pub(super) fn below(site: &Site, top: CircuitId) -> Vec<bool> {
    let mut below: Vec<bool> = Vec::with_capacity(site.circuits.len());
    for (index, circuit) in site.circuits.iter().enumerate() {
        let fed = circuit.parent.and_then(|parent| below.get(parent.0)).copied().unwrap_or(false);
        below.push(index == top.0 || fed);
    }
    below
}

/// The answer of `GET /api/v1/miners/{name}`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ExplainedMiner {
    #[serde(flatten)]
    miner: Miner,
    /// Why it stands where it stands, in sentences, the most telling one first.
    explanation: Vec<String>,
}

/// One miner, and why it stands where it stands
#[utoipa::path(
    get, path = "/api/v1/miners/{name}", tag = "site", security((), ("bearer" = [])),
    params(("name" = String, Path, description = "its name")),
    responses((status = 200, description = "the miner", body = ExplainedMiner), ReadErrors)
)]
async fn one_miner(State(reads): State<Reads>, Name(name): Name, RawQuery(query): RawQuery) -> Answered {
    Query::read(query.as_deref(), &[])?;
    let (frame, now) = reads.frame()?;
    let at = frame.site.miners.iter().position(|miner| miner.name == name).map(MinerId);
    let found = at.and_then(|id| Some((id, miner(&frame, id, now)?)));
    let (id, miner) = found.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("the site has no miner `{}`", shorten(&name)),
            "GET /api/v1/miners?search= finds one by a part of its name",
        )
    })?;
    let (told, learned) = reads.exporter.known_of(id);
    let signals = reads.exporter.signals();
    let work = reads.maintenance().and_then(|maintenance| maintenance.of(&frame.site, id));
    let known = Known {
        told: told.as_ref(),
        learned: learned.as_ref(),
        signals: signals.as_ref(),
        work: work.as_ref(),
    };
    let explanation = explain(&frame, id, known, now, &Here::now());
    Ok(json(StatusCode::OK, &ExplainedMiner { miner, explanation }))
}

/// The answer of `GET /api/v1/history`: lists of one length, an entry for each interval; `null` where nothing was known in it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Curves {
    /// The length of an interval.
    step_seconds: u64,
    /// When the first one began, in milliseconds since 1970 (UTC).
    from: i64,
    /// Left over locally before the miners took any.
    surplus_watts: Vec<Option<f64>>,
    /// Draw of the fleet.
    power_watts: Vec<Option<f64>>,
    /// Power into the root circuit by its meter; negative is export.
    import_watts: Vec<Option<f64>>,
    /// What the fleet could draw.
    budget_watts: Vec<Option<f64>>,
    /// The tightest cap on the root circuit, that of the surplus aside.
    cap_watts: Vec<Option<f64>>,
    /// What bound last in the interval, as a position in `sources`.
    binding: Vec<Option<usize>>,
    /// As in the label `source` of the metrics.
    sources: Vec<String>,
}

/// The last hours, in means over ten seconds
#[utoipa::path(
    get, path = "/api/v1/history", tag = "site", security((), ("bearer" = [])),
    params(("minutes" = Option<u32>, Query, minimum = 1, maximum = 360, description = "240 without it")),
    responses((status = 200, description = "the curves", body = Curves), ReadErrors)
)]
async fn curves(State(reads): State<Reads>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answered {
    let query = Query::read(query.as_deref(), &["minutes"])?;
    let minutes = query.whole("minutes", 1, 360)?.unwrap_or(240_u64);
    let now = reads.exporter.clock().now();
    let last = reads.exporter.history().last(now, Duration::from_secs(minutes * 60));
    // A part of a watt in a mean over ten seconds tells nothing and doubles the answer.
    let whole = |curve: Vec<Option<f64>>| curve.into_iter().map(|value| value.map(f64::round)).collect();
    let [surplus, power, import, budget, cap] = last.values;
    let ago = i64::try_from(last.ago.as_millis()).unwrap_or(i64::MAX);
    let curves = Curves {
        step_seconds: history::STEP.as_secs(),
        from: clock::unix_millis().saturating_sub(ago),
        surplus_watts: whole(surplus),
        power_watts: whole(power),
        import_watts: whole(import),
        budget_watts: whole(budget),
        cap_watts: whole(cap),
        binding: last.binding,
        sources: last.sources.iter().map(ToString::to_string).collect(),
    };
    large(&headers, &curves).await
}

/// This document
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "site", security((), ("bearer" = [])),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value), ReadErrors)
)]
async fn document(State(reads): State<Reads>, RawQuery(query): RawQuery) -> Answered {
    Query::read(query.as_deref(), &[])?;
    reads.document.get().cloned().map(ready).ok_or_else(|| NotRendered::Failed.into())
}
