//! What the other machine of a pair asks for: everything that it must know to take over.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::answer::json;
use super::document::ReadErrors;
use super::problem::Problem;
use super::{Need, Peer, Shared};

/// All that the other machine of a pair must know
///
/// Between two machines of one version: the shape of the body is theirs, and changes with it.
#[utoipa::path(
    get, path = "/api/v1/standby", tag = "site", security(("bearer" = [])),
    responses(
        (status = 200, description = "whether this one leads, its orders and what is worked on", body = serde_json::Value),
        ReadErrors
    )
)]
pub(super) async fn standby(
    State(api): Shared,
    from: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = api.admit(&headers, from.map(|Extension(peer)| peer), Need::Read)?;
    // Here stand the orders of all sources, which a token for one of them does not see elsewhere either.
    if !caller.scopes.read && !caller.scopes.operator {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!("the token `{}` may not do this", caller.name),
            "use one with the scope `read` or `operator`",
        ));
    }
    let standby = api.standby.as_ref().ok_or_else(Problem::nothing_here)?;
    Ok(json(StatusCode::OK, &standby.word(&api.desk, api.maintenance.as_ref(), api.stops.as_ref())))
}
