//! Alarms: which there are, and who knows of them.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::json;
use super::document::{OrderErrors, ReadErrors};
use super::problem::Problem;
use super::query::{Name, bad};
use super::reads::Reads;
use super::{Need, Peer, Shared, shape_of};
use crate::alarm::book::{Alarm, AlarmError, LONGEST_NOTE};

/// The alarms of a site.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Alarms {
    /// Those that are raised, the most urgent first; then those that are over, the newest first.
    alarms: Vec<AlarmBody>,
}

/// Something that somebody should know of.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Alarm)]
pub struct AlarmBody {
    /// Rises with every alarm.
    id: u64,
    /// What it is: a word of the list in the guide.
    #[schema(example = "meter-lost")]
    kind: &'static str,
    /// `notice`, `warning` or `critical`: the highest that it has had.
    #[schema(example = "critical")]
    severity: &'static str,
    /// Name of the meter, circuit, miner or source that it is about.
    subject: String,
    /// What is wrong; of one that is over, what was wrong last.
    words: String,
    /// What to do about it.
    help: &'static str,
    /// When it was raised, in milliseconds since 1970 (UTC).
    raised: i64,
    /// When it was over; `null` while it is not.
    cleared: Option<i64>,
    /// Who has said that they know.
    acknowledged: Option<Acknowledged>,
    /// Whether nobody is called for it now.
    quiet: bool,
    /// Whether the webhook is not called for it now, because of the time.
    muted: bool,
}

/// Who has said that they know of an alarm.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Acknowledged {
    by: String,
    /// In milliseconds since 1970 (UTC).
    at: i64,
    note: String,
}

/// Who knows of an alarm, and what they say.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledge {
    /// Their name.
    #[schema(min_length = 1, max_length = 200)]
    by: String,
    /// What they say; may be left away.
    #[serde(default)]
    #[schema(max_length = 200)]
    note: String,
}

impl AlarmBody {
    fn new(alarm: Alarm) -> Self {
        Self {
            id: alarm.id,
            kind: alarm.kind.name(),
            severity: alarm.severity.name(),
            subject: alarm.subject.to_string(),
            words: alarm.words.to_string(),
            help: alarm.kind.help(),
            raised: alarm.raised,
            cleared: alarm.cleared,
            acknowledged: alarm.acknowledged.map(|known| Acknowledged {
                by: known.by.to_string(),
                at: known.at,
                note: known.note.to_string(),
            }),
            quiet: alarm.quiet,
            muted: alarm.muted,
        }
    }
}

/// The alarms that are raised, the most urgent first, as far as `most` of them.
pub fn raised(alarms: &crate::alarm::Alarms, most: usize) -> Vec<AlarmBody> {
    alarms.list().0.into_iter().take(most).map(AlarmBody::new).collect()
}

/// What somebody should know of
#[utoipa::path(
    get, path = "/api/v1/alarms", tag = "site", security((), ("bearer" = [])),
    responses((status = 200, description = "the alarms", body = Alarms), ReadErrors)
)]
pub(super) async fn list(State(reads): State<Reads>) -> Result<Response, Problem> {
    let alarms = reads.alarms().ok_or_else(Problem::nothing_here)?;
    let (raised, over) = alarms.list();
    let alarms = raised.into_iter().chain(over).map(AlarmBody::new).collect();
    Ok(json(StatusCode::OK, &Alarms { alarms }))
}

/// Say that somebody knows of an alarm
///
/// For whoever has a token of the scope `operator`.
#[utoipa::path(
    post, path = "/api/v1/alarms/{id}/acknowledge", tag = "site", request_body = Acknowledge, security(("bearer" = [])),
    params(("id" = u64, Path, description = "the number of the alarm")),
    responses((status = 200, description = "it is acknowledged", body = AlarmBody), OrderErrors)
)]
pub(super) async fn acknowledge(
    State(api): Shared,
    from: Option<Extension<Peer>>,
    Name(id): Name,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let caller = api.admit(&headers, from.map(|Extension(peer)| peer), Need::Operator)?;
    let alarms = api.alarms.as_ref().ok_or_else(Problem::nothing_here)?;
    let id = id.parse::<u64>().ok().filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()));
    let id = id.ok_or_else(|| bad("the number of the alarm is none", "GET /api/v1/alarms lists them"))?;
    let read: Acknowledge = shape_of(&headers, body, "send {\"by\": \"NAME\", \"note\": \"…\"}").await?;
    let alarm = alarms.acknowledge(id, &read.by, &read.note).map_err(|error| match &error {
        AlarmError::NoSuch(_) => Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no alarm {id}"),
            "GET /api/v1/alarms lists those that there are",
        ),
        AlarmError::Over(_) => Problem::new(
            StatusCode::CONFLICT,
            format!("the alarm {id} is over already"),
            "there is nothing to acknowledge",
        ),
        AlarmError::Text(key) => bad(
            format!("`{key}` cannot be used"),
            format!("write 1 to {LONGEST_NOTE} characters in one line"),
        ),
    })?;
    tracing::info!(alarm = id, token = &*caller.name, "acknowledged over HTTP");
    Ok(json(StatusCode::OK, &AlarmBody::new(alarm)))
}
