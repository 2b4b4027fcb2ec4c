//! Emergency stops: how they stand, and who releases them.

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::json;
use super::document::{OrderErrors, ReadErrors};
use super::problem::Problem;
use super::query::{Name, Query, bad};
use super::reads::Reads;
use super::{Need, Peer, Shared, shape_of};
use crate::maintenance::{LONGEST_TEXT, is_said};
use crate::stops::{StopError, Stops};

/// The emergency stops of a site.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct All {
    /// One for each circuit that has one.
    stops: Vec<StopBody>,
}

/// The emergency stop of a circuit.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EmergencyStop)]
struct StopBody {
    /// The name of the circuit.
    circuit: String,
    /// The meter that reads its contact.
    meter: String,
    /// `ready`; `open`: its contact is open; `unknown`: it cannot be read; `latched`: it is closed again and waits to be released;
    /// `unread`: its contact has not been read yet.
    #[schema(example = "ready")]
    state: &'static str,
    /// Since when it is stopped, in milliseconds since 1970 (UTC); `null` while it is not.
    since: Option<i64>,
}

/// Who releases an emergency stop.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"by": "A. Khan", "note": "the hall is clear"}))]
pub(super) struct Release {
    /// Their name.
    #[schema(min_length = 1, max_length = 200)]
    by: String,
    /// What they have seen to; may be left away.
    #[serde(default)]
    #[schema(max_length = 200)]
    note: String,
}

/// What was released.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Released {
    /// The name of the circuit.
    circuit: String,
    /// Who has released it.
    by: String,
    /// Whether that is on disk; `null` where nothing is kept.
    stored: Option<bool>,
}

fn refused(error: &StopError) -> Problem {
    let (code, help) = match error {
        StopError::Unknown(_) => (StatusCode::NOT_FOUND, "GET /api/v1/stops lists those that there are"),
        StopError::NotLatched(_) => (StatusCode::CONFLICT, "there is nothing to release"),
        StopError::NotClosed(_) => (
            StatusCode::CONFLICT,
            "find out why it was pressed, turn it back, and see that its contact is closed",
        ),
        StopError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "try again"),
    };
    Problem::new(code, error.to_string(), help)
}

/// Emergency stops
#[utoipa::path(
    get, path = "/api/v1/stops", tag = "site", security((), ("bearer" = [])),
    responses((status = 200, description = "in the order of the circuits", body = All), ReadErrors)
)]
pub(super) async fn list(
    axum::extract::State(reads): axum::extract::State<Reads>,
) -> Result<Response, Problem> {
    let stops = reads.stops().ok_or_else(Problem::nothing_here)?;
    let (frame, _) = reads.frame()?;
    let latched = stops.latched();
    let all = frame.site.circuits.iter().enumerate().filter_map(|(index, circuit)| {
        let stop = circuit.emergency_stop?;
        let meter = frame.site.meters.get(stop.meter.0)?;
        Some(StopBody {
            circuit: circuit.name.clone(),
            meter: meter.name.clone(),
            state: frame.decision.circuits.get(index)?.emergency_stop?.name(),
            since: latched.get(circuit.name.as_str()).copied(),
        })
    });
    Ok(json(StatusCode::OK, &All { stops: all.collect() }))
}

/// Release an emergency stop
///
/// Only while its contact is closed. The miners of the circuit are commanded again from then on, and wake along the ramp. For whoever has
/// a token of the scope `operator`.
#[utoipa::path(
    post, path = "/api/v1/stops/{circuit}/release", tag = "site", request_body = Release, security(("bearer" = [])),
    params(("circuit" = String, Path, description = "the name of the circuit")),
    responses((status = 200, description = "it is released", body = Released), OrderErrors)
)]
pub(super) async fn release(
    State(api): Shared,
    from: Option<Extension<Peer>>,
    Name(circuit): Name,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = api.admit(&headers, from.map(|Extension(peer)| peer), Need::Operator)?;
    Query::read(query.as_deref(), &[])?;
    let stops: &Stops = api.stops.as_ref().ok_or_else(Problem::nothing_here)?;
    let Release { by, note } = shape_of(&headers, body, "send {\"by\": \"NAME\", \"note\": \"…\"}").await?;
    if !is_said(&by, 1) || !is_said(&note, 0) {
        let help = format!("write 1 to {LONGEST_TEXT} characters in one line; a note may be left away");
        return Err(bad("`by` or `note` cannot be used", help));
    }
    let site = api.desk.site();
    // On a task of its own: what somebody has released is on record though they hang up.
    let (stops, proof, by) = (stops.clone(), api.desk.proof(), by.trim().to_owned());
    let released = tokio::spawn(async move {
        let stored = stops.release(&site, &circuit).await?;
        let body = serde_json::json!({
            "event": "emergency stop released", "token": &*caller.name, "by": by, "note": note.trim(), "circuit": circuit,
        });
        proof.append(crate::proof::Kind::Operator, body);
        tracing::warn!(
            circuit = circuit.as_str(),
            by,
            token = &*caller.name,
            "somebody has released its emergency stop"
        );
        Ok(Released { circuit, by, stored })
    });
    let released = released.await.unwrap_or(Err(StopError::Busy)).map_err(|error| refused(&error))?;
    Ok(json(StatusCode::OK, &released))
}
