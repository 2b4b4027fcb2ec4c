//! What another Ballast must know of this one to lead it as one large miner: what it draws, what it can take, what holds it
//! back, and whether its word is worth anything now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::json;
use super::document::OrderErrors;
use super::problem::Problem;
use super::query::Query;
use super::reads::{Reads, below};
use super::{Api, Need, Peer};
use crate::clock::Moment;
use crate::control::decision::{MinerState, Source as Bound};
use crate::control::frame::{Frame, fresh_power, fresh_status, meter_input, meter_up};
use crate::control::signal::source::Feed;
use crate::control::signal::{SourceState, Why};
use crate::control::site::{Actuator, CircuitId, MeterId, MinerId};
use crate::control::snapshot::{Hold, MinerInput, hold_of};
use crate::metrics::{circuit_name, source_label};
use crate::signal::glance::Glance;

/// What the handler shares.
#[derive(Clone)]
pub(super) struct Both {
    reads: Reads,
    api: Arc<Api>,
}

/// The route; it needs those who read and those who order.
pub(super) fn routes(reads: Reads, api: Arc<Api>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(member)).with_state(Both { reads, api })
}

/// The answer of `GET /api/v1/member`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Member {
    /// The name that the operator gave the site.
    site: String,
    /// The version that runs.
    version: &'static str,
    /// `start-up`, `following`, `limited`, `fail-safe` or `observe`.
    mode: &'static str,
    /// Age of the control cycle that tells this.
    cycle_age_seconds: f64,
    /// Meters that cannot be relied on now.
    stale_meters: Vec<String>,
    /// The circuit on which the orders of the token's source act. What follows is of this circuit and those below it.
    circuit: String,
    /// Draw of its miners.
    power: MemberPower,
    /// What they are set to, settled.
    setpoint_watts: f64,
    /// What they can be asked for.
    range: MemberRange,
    /// The tightest cap that is not by the token's source, and what set it; `null` without one.
    held_by: Option<HeldBy>,
    /// Sum of the hashrates that the miners report.
    hashrate_hashes_per_second: f64,
    /// Number of miners by state.
    miners_by_state: BTreeMap<&'static str, u64>,
    /// The token's source.
    source: MemberSource,
}

/// A draw, and how it is known.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct MemberPower {
    /// The draw.
    watts: f64,
    /// Age of the oldest value in it; `null` where none of it was measured.
    age_seconds: Option<f64>,
    /// Dedicated meters that it comes from.
    meters: Vec<String>,
    /// Miners beside those meters whose own fresh readings are in it.
    miners_read: u64,
    /// Miners beside those meters that did not tell, each counted at the most that it may draw.
    miners_counted: u64,
}

/// What the miners of the circuit can be asked for together.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct MemberRange {
    /// All asleep, with those that cannot be moved.
    asleep_watts: f64,
    /// The same with one running at its lowest; `null` where none can be moved.
    lowest_watts: Option<f64>,
    /// All at their highest.
    highest_watts: f64,
    /// The most that they can ever draw.
    nameplate_watts: f64,
}

/// A cap of somebody else.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct HeldBy {
    /// What it leaves to the miners.
    watts: f64,
    /// As in the label `source` of the metrics.
    source: String,
    /// The circuit on which it acts.
    circuit: String,
}

/// The source whose token asks.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct MemberSource {
    /// Its name.
    name: String,
    /// `init`, `controlled`, `limited`, `degraded`, `failsafe` or `released`; `null` before the first cycle.
    state: Option<&'static str>,
    /// After this long without a word its fail-safe holds; `null` where it need not be heard.
    lost_after_seconds: Option<f64>,
    /// What holds then.
    fail_safe_watts: Option<f64>,
    /// Who has lifted its caps.
    lifted_by: Option<String>,
    /// The tightest of its caps that acts on this circuit.
    cap_watts: Option<f64>,
    /// Whether that is what it ordered, and not what holds because it was not heard.
    ordered: bool,
}

/// What another Ballast must know of this one to lead it
///
/// For whoever has a token of the scope `limits`: of the circuit on which the orders of its source act.
#[utoipa::path(
    get, path = "/api/v1/member", tag = "orders", security(("bearer" = [])),
    responses((status = 200, description = "this daemon as one large miner", body = Member), OrderErrors)
)]
async fn member(
    State(both): State<Both>,
    from: Option<Extension<Peer>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Query::read(query.as_deref(), &[])?;
    let caller = both.api.admit(&headers, from.map(|Extension(peer)| peer), Need::Heartbeat)?;
    let (key, name) = both.api.source_of(&caller)?;
    let circuit = both.api.place(&name).map(|(circuit, _)| circuit).unwrap_or_default();
    let (frame, now) = both.reads.frame()?;
    let id = frame.site.circuits.iter().position(|known| known.name == circuit).map(CircuitId);
    // What the two number is of one configuration.
    let same = |at: &Glance| Arc::ptr_eq(&at.site, &frame.site);
    let (Some(id), Some(at)) = (id, both.api.desk.glance(key).filter(same)) else {
        // Between two configurations.
        return Err(Problem::too_early());
    };
    Ok(json(StatusCode::OK, &of(&frame, id, &at, now)))
}

/// All of it, of one moment.
fn of(frame: &Frame, id: CircuitId, at: &Glance, now: Moment) -> Member {
    let (site, decision) = (&frame.site, &frame.decision);
    let inside = below(site, id);
    let meters = site.circuits.iter().filter_map(|circuit| circuit.meter);
    let stale = meters.filter(|meter| meter_up(frame, *meter, now) == Some(false));
    let mut by_state: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut hashrate = 0.0;
    for (miner, outcome) in site.miners.iter().zip(&decision.miners) {
        if inside.get(miner.circuit.0) == Some(&true) {
            *by_state.entry(outcome.state.name()).or_default() += 1;
            hashrate += outcome.hashrate.get();
        }
    }
    Member {
        site: site.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        mode: decision.mode.name(),
        cycle_age_seconds: now.since(decision.at).as_secs_f64(),
        stale_meters: stale.map(|meter| meter_name(frame, meter)).collect(),
        circuit: circuit_name(site, id).to_owned(),
        power: power(frame, id, &inside, now),
        setpoint_watts: decision.circuits.get(id.0).map_or(0.0, |outcome| outcome.setpoint.get()),
        range: range(frame, &inside),
        held_by: held_by(frame, id, &at.settings.name),
        hashrate_hashes_per_second: hashrate,
        miners_by_state: by_state,
        source: source(at, id),
    }
}

fn meter_name(frame: &Frame, id: MeterId) -> String {
    frame.site.meters.get(id.0).map_or_else(String::new, |meter| meter.name.clone())
}

/// The draw: by each dedicated meter as far as it is fresh, beside those by what the miners say, and where one says nothing by
/// the most that it may draw.
fn power(frame: &Frame, id: CircuitId, inside: &[bool], now: Moment) -> MemberPower {
    let site = &frame.site;
    let mut told =
        MemberPower { watts: 0.0, age_seconds: None, meters: Vec::new(), miners_read: 0, miners_counted: 0 };
    let mut oldest: Option<Duration> = None;
    let mut take = |age: Duration| oldest = Some(oldest.map_or(age, |known| known.max(age)));
    // Of each circuit, whether it is seen by a meter that is fresh. Each stands after the one that feeds it.
    let mut seen: Vec<bool> = Vec::with_capacity(site.circuits.len());
    for (index, circuit) in site.circuits.iter().enumerate() {
        let within = inside.get(index) == Some(&true);
        let above = circuit.parent.filter(|_| index != id.0);
        let above = above.and_then(|parent| seen.get(parent.0)).copied().unwrap_or(false);
        let own = circuit.meter.filter(|_| within && circuit.dedicated && !above).and_then(|meter| {
            let up = meter_up(frame, meter, now) == Some(true);
            let at = meter_input(frame, meter).power.map(|reading| reading.at)?;
            fresh_power(frame, meter, now).filter(|_| up).map(|power| (meter, power, at))
        });
        if let Some((meter, power, at)) = own {
            told.watts += power.get().max(0.0);
            told.meters.push(meter_name(frame, meter));
            take(now.since(at));
        }
        seen.push(within && (above || own.is_some()));
    }
    for (index, miner) in site.miners.iter().enumerate() {
        if inside.get(miner.circuit.0) != Some(&true) || seen.get(miner.circuit.0) == Some(&true) {
            continue;
        }
        let input = frame.snapshot.miners.get(index).unwrap_or(&MinerInput::PENDING);
        let read = fresh_status(input, now, miner.silent_after).and_then(|status| status.power.value());
        match (read, input.status.as_ref()) {
            (Some(power), Some(reading)) => {
                told.watts += power.get().max(0.0);
                told.miners_read += 1;
                take(now.since(reading.at));
            }
            _ => {
                told.watts += frame.decision.miners.get(index).map_or(0.0, |outcome| outcome.counted.get());
                told.miners_counted += 1;
            }
        }
    }
    told.age_seconds = oldest.map(|age| age.as_secs_f64());
    told
}

/// What can be asked for.
fn range(frame: &Frame, inside: &[bool]) -> MemberRange {
    let site = &frame.site;
    let (mut asleep, mut more, mut nameplate) = (0.0, 0.0, 0.0);
    let mut first: Option<f64> = None;
    for (index, miner) in site.miners.iter().enumerate() {
        let Some(outcome) = frame.decision.miners.get(index) else { continue };
        if inside.get(miner.circuit.0) != Some(&true) {
            continue;
        }
        nameplate += miner.nameplate.get();
        let says = frame.snapshot.miners.get(index).and_then(|input| input.status.as_ref());
        let says = says.and_then(|reading| reading.value.range);
        let (low, high) = (miner.minimum().get(), miner.maximum().get());
        let (low, high) = says.map_or((low, high), |(least, most)| {
            let low = low.max(least.get());
            (low, high.min(most.get()).max(low))
        });
        let sleep = miner.least().get();
        let hold = hold_of(&frame.snapshot.holds, MinerId(index));
        match outcome.state {
            _ if miner.actuator == Actuator::Fixed || hold == Some(Hold::HandsOff) => {
                asleep += outcome.counted.get();
            }
            MinerState::Pending | MinerState::Straggler | MinerState::Unreachable => {
                asleep += outcome.counted.get();
            }
            _ if hold.is_some() => asleep += sleep,
            MinerState::Asleep
            | MinerState::Hashing
            | MinerState::Starting
            | MinerState::Fault
            | MinerState::Unanswered => {
                asleep += sleep;
                more += high - sleep;
                first = Some(first.map_or(low - sleep, |known| known.min(low - sleep)));
            }
        }
    }
    MemberRange {
        asleep_watts: asleep,
        lowest_watts: first.map(|first| asleep + first),
        highest_watts: asleep + more,
        nameplate_watts: nameplate,
    }
}

/// The tightest cap that is not by this source, on the circuit and those above it.
fn held_by(frame: &Frame, id: CircuitId, own: &str) -> Option<HeldBy> {
    let site = &frame.site;
    let own = |source: &Bound| match source {
        Bound::Order(id) | Bound::LostSource(id) => {
            site.sources.get(id.0).is_some_and(|source| source.name == own)
        }
        _ => false,
    };
    let caps = site.up(id).filter_map(|(at, _)| Some((at, frame.decision.circuits.get(at.0)?)));
    let caps = caps.flat_map(|(at, outcome)| outcome.limits.iter().map(move |limit| (at, limit)));
    let caps = caps.filter(|(_, limit)| limit.acts && !own(&limit.source));
    let (at, limit) = caps.min_by(|(_, one), (_, other)| one.headroom.total_cmp(&other.headroom))?;
    Some(HeldBy {
        watts: limit.headroom.get().max(0.0),
        source: source_label(site, limit.source).into_owned(),
        circuit: circuit_name(site, at).to_owned(),
    })
}

fn source(at: &Glance, id: CircuitId) -> MemberSource {
    let (settings, view) = (&at.settings, at.view.as_ref());
    let caps = view.into_iter().flat_map(|view| &view.caps).filter(|active| active.circuit == id);
    let tightest = caps.min_by(|one, other| one.cap.total_cmp(&other.cap));
    MemberSource {
        name: settings.name.clone(),
        state: view.map(|view| view.state).map(SourceState::name),
        lost_after_seconds: (settings.feed == Feed::Stream).then_some(settings.lost_after.as_secs_f64()),
        fail_safe_watts: settings.fail_safe.map(|fail_safe| fail_safe.cap.get()),
        lifted_by: view.and_then(|view| view.lifted.as_ref()).map(|(by, _)| by.to_string()),
        cap_watts: tightest.map(|active| active.cap.get()),
        ordered: tightest.is_some_and(|active| matches!(active.why, Why::Order(_))),
    }
}
