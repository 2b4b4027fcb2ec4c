//! What an order would do, before it is given.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::answer::json;
use super::body::{self, End};
use super::document::{LimitOrder, OrderErrors};
use super::limits::{no_limit, refused};
use super::problem::Problem;
use super::query::Query;
use super::{Need, Peer, Shared, body_of};
use crate::control::preview::{Change, Preview, Skip};
use crate::control::site::{Scope, Site};
use crate::metrics::{circuit_name, miner_name};
use crate::signal::status::Late;
use crate::units::Watts;

/// Miners that are told one by one.
const MOST_MOVES: usize = 100;
/// Names that are told of those that stay.
const MOST_NAMES: usize = 20;
/// For how long the answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A question to the control loop, which answers from a copy of its state and goes on meanwhile.
#[derive(Debug)]
pub struct Ask {
    /// By whose positions the change is written.
    pub site: Arc<Site>,
    /// What would be changed.
    pub change: Change,
    /// Where the answer goes; `None` when the site is another one by now, or no cycle has completed.
    pub answer: oneshot::Sender<Option<Preview>>,
}

/// Where questions go. One is answered at a time: they cost the processor that control needs.
#[derive(Debug)]
pub struct Asker {
    questions: mpsc::Sender<Ask>,
    turn: tokio::sync::Mutex<()>,
}

impl Asker {
    /// A way to the control loop.
    pub fn new(questions: mpsc::Sender<Ask>) -> Self {
        Self { questions, turn: tokio::sync::Mutex::default() }
    }

    pub(super) async fn ask(&self, site: Arc<Site>, change: Change) -> Result<Preview, Problem> {
        let busy = |why: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, why, "ask again in a second");
        let _turn = self.turn.try_lock().map_err(|_| busy("another preview is being worked out"))?;
        let (answer, answered) = oneshot::channel();
        let sent = self.questions.try_send(Ask { site, change, answer });
        sent.map_err(|_| busy("the control loop is busy"))?;
        match timeout(PATIENCE, answered).await {
            Ok(Ok(Some(preview))) => Ok(preview),
            Ok(_) => {
                Err(busy("the configuration was read anew meanwhile, or no control cycle has completed yet"))
            }
            Err(_) => Err(busy("the preview takes too long")),
        }
    }
}

/// What an order would do. The control law itself has worked it out on its own models, with sun and other load as they are.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Preview)]
pub(super) struct PreviewBody {
    /// The circuit.
    circuit: String,
    /// `import` or `miners`.
    scope: &'static str,
    /// The cap that the order comes to; `null` for one that would be taken back.
    cap_watts: Option<f64>,
    /// Power in the scope of the order now.
    power_watts: f64,
    /// The same at the end of what was looked at.
    after_watts: f64,
    /// How far it is above the cap then.
    short_watts: f64,
    /// How long it takes to meet the cap; `null` when it is not met.
    met_after_seconds: Option<f64>,
    /// How far was looked ahead.
    looked_seconds: f64,
    /// Who would be moved.
    moves: Moves,
    /// Who would not, and why.
    skipped: Vec<Skipped>,
    /// How much more the miners of other circuits are set to draw by then, whatever the reason; negative for less.
    elsewhere_watts: f64,
    /// By how much the order may hold on behind its end, because the clock is in doubt; `null` where it is not, and for what
    /// has no end.
    margin_seconds: Option<f64>,
    /// Why.
    margin_reason: Option<&'static str>,
    /// Meters and miners are still being read after a start: the rest says nothing yet.
    starting: bool,
}

/// Who would be moved.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Moves {
    total: usize,
    lowered: usize,
    put_to_sleep: usize,
    raised: usize,
    woken: usize,
    /// At most 100, those that change the most first.
    miners: Vec<MinerMove>,
}

/// A miner that would be moved.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct MinerMove {
    name: String,
    from_watts: f64,
    to_watts: f64,
    sleeps: bool,
    after_seconds: f64,
}

/// Miners that would not be moved.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Skipped {
    why: &'static str,
    miners: usize,
    /// What they draw together, as far as is known.
    watts: f64,
    /// At most 20.
    names: Vec<String>,
}

impl PreviewBody {
    pub(super) fn new(site: &Site, change: &Change, preview: &Preview) -> Self {
        let (circuit, scope, cap) = match change {
            Change::Give(order) => (order.active.circuit, order.active.scope, Some(order.active.cap.get())),
            Change::TakeBack { order } => (order.active.circuit, order.active.scope, None),
            Change::Hold { circuit, .. } => (*circuit, Scope::Miners, None),
        };
        let mut moves: Vec<_> = preview.moves.iter().collect();
        moves.sort_by(|one, other| (other.from - other.to).abs().total_cmp(&(one.from - one.to).abs()));
        let count =
            |of: &dyn Fn(&crate::control::preview::Move) -> bool| moves.iter().filter(|it| of(it)).count();
        let mut skipped: Vec<Skipped> = Vec::new();
        for why in [Skip::Silent, Skip::Unanswered, Skip::Straggler, Skip::Fixed, Skip::Held, Skip::Pending] {
            let those: Vec<_> = preview.skipped.iter().filter(|it| it.why == why).collect();
            if !those.is_empty() {
                let names =
                    those.iter().take(MOST_NAMES).map(|it| miner_name(site, it.miner).to_owned()).collect();
                let watts = those.iter().map(|it| it.draw).sum::<Watts>().get();
                skipped.push(Skipped { why: why.words(), miners: those.len(), watts, names });
            }
        }
        Self {
            circuit: circuit_name(site, circuit).to_owned(),
            scope: super::answer::scope(scope),
            cap_watts: cap,
            power_watts: preview.before.get(),
            after_watts: preview.after.get(),
            short_watts: preview.short.get(),
            met_after_seconds: preview.met_after.map(|after| after.as_secs_f64()),
            looked_seconds: preview.looked.as_secs_f64(),
            moves: Moves {
                total: moves.len(),
                lowered: count(&|it| it.to < it.from && !it.sleeps),
                put_to_sleep: count(&|it| it.sleeps),
                raised: count(&|it| it.to >= it.from && !it.sleeps && !it.wakes),
                woken: count(&|it| it.wakes && !it.sleeps),
                miners: moves
                    .iter()
                    .take(MOST_MOVES)
                    .map(|it| MinerMove {
                        name: miner_name(site, it.miner).to_owned(),
                        from_watts: it.from.get(),
                        to_watts: it.to.get(),
                        sleeps: it.sleeps,
                        after_seconds: it.after.as_secs_f64(),
                    })
                    .collect(),
            },
            skipped,
            elsewhere_watts: preview.elsewhere.get(),
            margin_seconds: None,
            margin_reason: None,
            starting: preview.starting,
        }
    }

    /// The same, with how much longer than it says the order may hold.
    fn late(self, late: Option<Late>) -> Self {
        let seconds = late.map(|late| late.by.as_secs_f64());
        Self { margin_seconds: seconds, margin_reason: late.map(|late| late.why), ..self }
    }
}

/// What an order would do
///
/// The body is that of `PUT /api/v1/limits/{id}`; nothing is given and nothing is kept. With the parameter `withdraw` and no body:
/// what would happen if that order were taken back. An order that lies ahead is looked at as if its time had come.
#[utoipa::path(
    post, path = "/api/v1/preview", tag = "orders", request_body = Option<LimitOrder>, security(("bearer" = [])),
    params(
        ("id" = Option<String>, Query, description = "the name of the order, where it would replace one that is there"),
        ("withdraw" = Option<String>, Query, description = "the name of an order that would be taken back")
    ),
    responses((status = 200, description = "what would happen", body = PreviewBody), OrderErrors)
)]
pub(super) async fn preview(
    State(api): Shared,
    from: Option<Extension<Peer>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = api.admit(&headers, from.map(|Extension(peer)| peer), Need::Order)?;
    let asker = api.asker.as_ref().ok_or_else(Problem::nothing_here)?;
    let (_, name) = api.source_of(&caller)?;
    let query = Query::read(query.as_deref(), &["id", "withdraw"])?;
    let bytes = body_of(&headers, body).await?;
    let (site, change, late) = match query.text("withdraw") {
        Some(id) => {
            let (source, site) = api
                .desk
                .source_and_site(&name)
                .ok_or_else(|| refused(&crate::signal::DeskError::NoSource, &name))?;
            let order = api.desk.held_cap(source, id).ok_or_else(|| no_limit(id))?;
            (site, Change::TakeBack { order }, None)
        }
        None => {
            let limit = body::limit(&bytes)?;
            let id = query.text("id").filter(|id| !id.is_empty()).unwrap_or("preview");
            super::limits::usable(id)?;
            let (source, order) = api.order(&name, id, &limit)?;
            let (site, order) = api.desk.would_cap(source, &order).map_err(|error| refused(&error, &name))?;
            let at = api.desk.glance(source).filter(|_| !matches!(limit.end, End::Open));
            let late = at.and_then(|at| at.late());
            (site, Change::Give(order), late)
        }
    };
    let preview = asker.ask(site.clone(), change.clone()).await?;
    Ok(json(StatusCode::OK, &PreviewBody::new(&site, &change, &preview).late(late)))
}
