//! Where the proof ends: a head that somebody keeps elsewhere proves later that nothing before it was changed.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::json;
use super::document::ReadErrors;
use super::problem::Problem;
use super::reads::Reads;

/// The answer of `GET /api/v1/proof/head`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ProofHead {
    /// The number of the latest entry.
    number: u64,
    /// Its hash: SHA-256, in hexadecimal digits.
    hash: String,
}

/// Where the chained record ends
#[utoipa::path(
    get, path = "/api/v1/proof/head", tag = "site", security((), ("bearer" = [])),
    responses((status = 200, description = "the latest entry that is on disk", body = ProofHead), ReadErrors)
)]
pub(super) async fn head(State(reads): State<Reads>) -> Result<Response, Problem> {
    let (number, hash) = reads.proof_head().ok_or_else(Problem::nothing_here)?;
    Ok(json(StatusCode::OK, &ProofHead { number, hash }))
}
