//! What the interface answers: JSON, power in watts under names that say so, points in time in UTC (RFC 3339).

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::signal::book::{Held, Phase, Trouble};
use crate::control::signal::{Active, Basis, Doubt, Receipt, Urgency, Wall, Why};
use crate::control::site::{Scope, Site};
use crate::metrics::circuit_name;
use crate::signal::desk::Glance;
use crate::signal::record::{Record, Stage};

/// An answer of this moment.
pub(super) fn json(code: StatusCode, body: &impl Serialize) -> Response {
    let fresh: [(HeaderName, HeaderValue); 2] = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (code, fresh, axum::Json(body)).into_response()
}

/// A point in time as it is written; `None` beyond the year 9999.
pub(super) fn stamp(wall: Wall) -> Option<String> {
    jiff::Timestamp::from_millisecond(wall.as_unix_millis()).ok().map(|at| at.to_string())
}

/// An order that is known.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Order)]
pub(super) struct Limit {
    source: String,
    id: String,
    revision: u64,
    circuit: String,
    scope: &'static str,
    cap_watts: f64,
    baseline_watts: Option<f64>,
    mean_window_seconds: Option<f64>,
    urgency: &'static str,
    priority: Option<u32>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    /// By how much it may begin before `valid_from` and hold on behind `valid_until`, because the clock is in doubt; `null`
    /// where it is not.
    margin_seconds: Option<f64>,
    /// Why.
    margin_reason: Option<&'static str>,
    received_at: Option<String>,
    withdrawn_at: Option<String>,
    stored: bool,
    phase: &'static str,
    /// Who has given it, where somebody has put a name to it.
    by: Option<String>,
    /// Why, in their words.
    note: Option<String>,
}

impl Limit {
    pub(super) fn new(held: &Held, at: &Glance) -> Self {
        let order = &held.order;
        let site = &at.site;
        let giver = at.giver(&order.id);
        let late = at.late();
        Self {
            source: at.settings.name.clone(),
            id: order.id.to_string(),
            revision: order.revision,
            circuit: circuit_name(site, order.circuit).to_owned(),
            scope: scope(order.scope),
            cap_watts: held.cap.get(),
            baseline_watts: held.baseline.map(|baseline| baseline.get()),
            mean_window_seconds: window(order.basis),
            urgency: match order.urgency {
                Urgency::Normal => "normal",
                Urgency::Emergency => "emergency",
            },
            priority: (order.priority != u32::MAX).then_some(order.priority),
            valid_from: stamp(order.from),
            valid_until: order.until.and_then(stamp),
            margin_seconds: late.map(|late| late.by.as_secs_f64()),
            margin_reason: late.map(|late| late.why),
            received_at: stamp(held.received),
            withdrawn_at: held.withdrawn.and_then(stamp),
            stored: at.stored(&order.id),
            phase: match at.phase(held) {
                Phase::Ahead => "ahead",
                Phase::Acting => "acting",
                Phase::Returning => "returning",
                Phase::Over => "over",
            },
            by: giver.and_then(|giver| giver.by.as_ref()).map(ToString::to_string),
            note: giver.and_then(|giver| giver.remark.as_ref()).map(ToString::to_string),
        }
    }
}

pub(super) fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Import => "import",
        Scope::Miners => "miners",
    }
}

fn window(basis: Basis) -> Option<f64> {
    match basis {
        Basis::Instant => None,
        Basis::Mean(window) => Some(window.as_secs_f64()),
    }
}

/// A cap that acts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ActingCap)]
struct Acting {
    circuit: String,
    scope: &'static str,
    cap_watts: f64,
    why: &'static str,
    order: Option<String>,
}

impl Acting {
    fn new(active: &Active, site: &Site) -> Self {
        let (why, order) = match &active.why {
            Why::Order(id) => ("order", Some(id)),
            Why::Returning(id) => ("returning", Some(id)),
            Why::Kept(id) => ("kept", Some(id)),
            Why::FailSafe => ("fail-safe", None),
            Why::Released => ("released", None),
        };
        Self {
            circuit: circuit_name(site, active.circuit).to_owned(),
            scope: scope(active.scope),
            cap_watts: active.cap.get(),
            why,
            order: order.map(ToString::to_string),
        }
    }
}

/// A source and the caps that act by its word.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderSource)]
pub(super) struct Source {
    name: String,
    class: &'static str,
    state: Option<&'static str>,
    signal_age_seconds: Option<f64>,
    trouble: Vec<String>,
    lifted_by: Option<String>,
    lifted_until: Option<String>,
    acting: Vec<Acting>,
}

impl Source {
    pub(super) fn new(at: &Glance) -> Self {
        let (settings, view, site) = (&at.settings, at.view.as_ref(), &at.site);
        let lifted = view.and_then(|view| view.lifted.as_ref());
        Self {
            name: settings.name.clone(),
            class: settings.class.name(),
            state: view.map(|view| view.state.name()),
            signal_age_seconds: view.and_then(|view| view.age).map(|age| age.as_secs_f64()),
            trouble: view.map_or_else(Vec::new, |view| view.trouble.iter().map(trouble).collect()),
            lifted_by: lifted.map(|(by, _)| by.to_string()),
            lifted_until: lifted.and_then(|(_, until)| stamp(*until)),
            acting: view.map_or_else(Vec::new, |view| {
                view.caps.iter().map(|active| Acting::new(active, site)).collect()
            }),
        }
    }
}

fn trouble(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Unreadable(words) => format!("could not be obeyed: {words}"),
        Trouble::Clock(Doubt::Off(by)) => format!("its clock and ours differ by {:.0} s", by.as_secs_f64()),
        Trouble::Clock(_) => String::from("our clock cannot be trusted"),
    }
}

/// The answer of `GET /api/v1/limits`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Limits {
    pub(super) sources: Vec<Source>,
    pub(super) limits: Vec<Limit>,
}

/// The answer to an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = GivenOrder)]
pub(super) struct Given {
    pub(super) outcome: &'static str,
    /// Whether it is on disk: what is not, a restart forgets.
    pub(super) stored: bool,
    pub(super) limit: Option<Limit>,
}

/// What became of an order, in a word.
pub(super) fn outcome(receipt: Receipt) -> &'static str {
    match receipt {
        Receipt::Accepted => "accepted",
        Receipt::Replaced => "replaced",
        Receipt::Duplicate => "duplicate",
        Receipt::Outdated => "outdated",
        Receipt::Over => "over",
    }
}

/// The record of an order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OrderRecord)]
pub(super) struct Delivered {
    source: String,
    id: String,
    revision: u64,
    circuit: String,
    scope: &'static str,
    stage: &'static str,
    reason: Option<String>,
    cap_watts: Option<f64>,
    baseline_watts: Option<f64>,
    mean_window_seconds: Option<f64>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    received_at: Option<String>,
    applied_at: Option<String>,
    met_at: Option<String>,
    ended_at: Option<String>,
    measured_seconds: f64,
    mean_watts: Option<f64>,
    deviation_watts: Option<f64>,
    worst_watts: f64,
    shortfall_watts: Option<f64>,
    avoided_joules: Option<f64>,
    delivered_ratio: Option<f64>,
    stored: bool,
    /// Why it ended otherwise than by its own word.
    note: Option<String>,
    /// Who has given it, where somebody has put a name to it.
    by: Option<String>,
    /// The `note` with which they gave it.
    remark: Option<String>,
}

impl Delivered {
    pub(super) fn new(record: &Record, source: &str, site: &Site) -> Self {
        Self {
            source: source.to_owned(),
            id: record.id.to_string(),
            revision: record.revision,
            circuit: circuit_name(site, record.circuit).to_owned(),
            scope: scope(record.scope),
            stage: record.stage.name(),
            reason: match &record.stage {
                Stage::Refused(why) => Some(why.to_string()),
                Stage::Accepted | Stage::Acting | Stage::Ended => None,
            },
            cap_watts: record.cap.map(|cap| cap.get()),
            baseline_watts: record.baseline.map(|baseline| baseline.get()),
            mean_window_seconds: window(record.basis),
            valid_from: stamp(record.from),
            valid_until: record.until.and_then(stamp),
            received_at: stamp(record.received),
            applied_at: record.applied.and_then(stamp),
            met_at: record.met.and_then(stamp),
            ended_at: record.ended.and_then(stamp),
            measured_seconds: record.measured.as_secs_f64(),
            mean_watts: record.mean.map(|mean| mean.get()),
            deviation_watts: record.deviation.map(|deviation| deviation.get()),
            worst_watts: record.worst.get(),
            shortfall_watts: record.shortfall.map(|shortfall| shortfall.get()),
            avoided_joules: record.avoided.map(|avoided| avoided.get()),
            delivered_ratio: record.delivered,
            stored: record.stored,
            note: record.note.as_ref().map(ToString::to_string),
            by: record.by.as_ref().map(ToString::to_string),
            remark: record.remark.as_ref().map(ToString::to_string),
        }
    }
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    pub(super) source: String,
    /// What the source was before; `null` before the first cycle.
    pub(super) state_before: Option<&'static str>,
}

/// The answer to a lift, and to its end.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Lifted {
    pub(super) source: String,
    pub(super) lifted_by: Option<String>,
    pub(super) lifted_until: Option<String>,
}

/// The answer of `GET /api/v1/orders`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Orders {
    pub(super) orders: Vec<Delivered>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::testing;
    use crate::control::site::{CircuitId, SourceId};
    use crate::units::{Joules, Watts};

    #[test]
    fn a_record_is_told_whole_and_what_is_not_known_is_null() {
        let wall = |seconds: i64| Wall::unix_millis(1_782_907_200_000 + seconds * 1_000);
        let record = Record {
            source: SourceId(1),
            id: "evening".into(),
            revision: 4,
            circuit: CircuitId(0),
            scope: Scope::Miners,
            stage: Stage::Ended,
            cap: Some(Watts::kilowatts(300.0)),
            baseline: Some(Watts::kilowatts(500.0)),
            basis: Basis::Mean(Duration::from_secs(900)),
            from: wall(0),
            until: Some(wall(3_600)),
            received: wall(-60),
            applied: Some(wall(0)),
            met: Some(wall(8)),
            ended: Some(wall(3_600)),
            measured: Duration::from_secs(3_599),
            mean: Some(Watts::kilowatts(290.0)),
            deviation: Some(Watts::kilowatts(-10.0)),
            worst: Watts::kilowatts(2.0),
            shortfall: None,
            avoided: Some(Joules::saturating(756e6)),
            delivered: Some(1.05),
            stored: true,
            note: None,
            by: Some("Aisha".into()),
            remark: None,
        };
        let site = testing::site(1);
        let told = serde_json::to_value(Delivered::new(&record, "utility", &site)).unwrap();
        assert_eq!(
            told,
            serde_json::json!({
                "source": "utility", "id": "evening", "revision": 4, "circuit": site.circuits[0].name,
                "scope": "miners", "stage": "ended", "reason": null, "cap_watts": 300_000.0,
                "baseline_watts": 500_000.0, "mean_window_seconds": 900.0,
                "valid_from": "2026-07-01T12:00:00Z", "valid_until": "2026-07-01T13:00:00Z",
                "received_at": "2026-07-01T11:59:00Z", "applied_at": "2026-07-01T12:00:00Z",
                "met_at": "2026-07-01T12:00:08Z", "ended_at": "2026-07-01T13:00:00Z", "measured_seconds": 3_599.0,
                "mean_watts": 290_000.0, "deviation_watts": -10_000.0, "worst_watts": 2_000.0,
                "shortfall_watts": null, "avoided_joules": 756e6, "delivered_ratio": 1.05, "stored": true, "note": null,
                "by": "Aisha", "remark": null,
            })
        );
        let refused = Record { stage: Stage::Refused("below zero".into()), cap: None, ..record };
        let told = serde_json::to_value(Delivered::new(&refused, "utility", &site)).unwrap();
        assert_eq!((&told["stage"], &told["reason"]), (&"refused".into(), &"below zero".into()));
        assert!(told["cap_watts"].is_null());
    }
}
