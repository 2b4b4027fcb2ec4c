//! The document of the interface (OpenAPI 3.1), as far as it does not stand at the handlers: what it is, how one is let in, the
//! bodies that are read key by key, and the answers that are not yes.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi as _, ToSchema};

use super::problem::{CONTENT_TYPE, ProblemBody};

/// The document without any path.
pub(super) fn blank() -> OpenApi {
    Blank::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Ballast",
        description = "What a site does, and orders to it. Power is in watts, import and consumption are positive; points in \
                       time are milliseconds since 1970 (UTC) where they are numbers and RFC 3339 where they are texts; what \
                       is not known is null, never zero.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "site", description = "What is going on. Open to whoever is on this machine; from elsewhere with any token"),
        (name = "orders", description = "Orders from outside. With a token, always")
    ),
    modifiers(&Bearer)
)]
struct Blank;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let mut scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        scheme.description = Some("A token of [web.tokens.*] in the configuration".into());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// A body of `PUT /api/v1/limits/{id}`. One of `cap`, `reduce_by` and `percent` says how much. A quantity is a text with its unit,
/// or a number in the base unit under the longer name; of the two only one.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"cap": "400 kW", "duration": "2h"}))]
pub(super) struct LimitOrder {
    /// At most this.
    #[schema(example = "400 kW")]
    cap: Option<String>,
    /// The same in watts.
    cap_watts: Option<f64>,
    /// This much less than the baseline that is known when it arrives.
    #[schema(example = "100 kW")]
    reduce_by: Option<String>,
    /// The same in watts.
    reduce_by_watts: Option<f64>,
    /// This part of the nameplate of what hangs on the circuit.
    #[schema(minimum = 0, maximum = 100)]
    percent: Option<f64>,
    /// The circuit; the source's own without it.
    #[schema(max_length = 128)]
    circuit: Option<String>,
    /// `import` of the circuit, or the draw of its `miners`; the source's own without it.
    #[schema(inline)]
    scope: Option<ScopeWord>,
    /// From when on (RFC 3339); now without it.
    #[schema(format = DateTime)]
    valid_from: Option<String>,
    /// Up to when (RFC 3339); until it is taken back without it.
    #[schema(format = DateTime)]
    valid_until: Option<String>,
    /// For how long, instead of `valid_until`; at most 366 days.
    #[schema(example = "2h")]
    duration: Option<String>,
    /// The same in seconds.
    #[schema(exclusive_minimum = 0, maximum = 31_622_400)]
    duration_seconds: Option<f64>,
    /// Rises with each version of the order; the next one without it.
    #[schema(format = "uint64")]
    revision: Option<u64>,
    /// Within its source the lower number wins; without numbers the tightest.
    priority: Option<u32>,
    /// It is judged by the mean over this window.
    #[schema(example = "15min")]
    mean_window: Option<String>,
    /// The same in seconds.
    #[schema(minimum = 1, maximum = 31_622_400)]
    mean_window_seconds: Option<f64>,
    /// `normal`, or `emergency`: miners may be put to sleep where a lower power would be slower.
    #[schema(inline)]
    urgency: Option<UrgencyWord>,
    /// The start may be put off at random by up to this.
    #[schema(example = "5min")]
    start_spread: Option<String>,
    /// The same in seconds.
    #[schema(minimum = 0, maximum = 86_400)]
    start_spread_seconds: Option<f64>,
    /// What the sender's clock shows (RFC 3339).
    #[schema(format = DateTime)]
    sent_at: Option<String>,
    /// Who answers for it, for the record.
    #[schema(max_length = 128, example = "A. Khan")]
    by: Option<String>,
    /// Why, for the record.
    #[schema(max_length = 500)]
    note: Option<String>,
}

/// On what an order acts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "the document alone needs its words")]
pub(super) enum ScopeWord {
    /// What flows into the circuit.
    Import,
    /// What its miners draw.
    Miners,
}

/// How an order wants power to move.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "the document alone needs its words")]
pub(super) enum UrgencyWord {
    /// Down at once, up along the ramp.
    Normal,
    /// And miners may be put to sleep where a lower power would be slower.
    Emergency,
}

/// A body of `POST /api/v1/heartbeat`, which may be empty.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    /// The names of all orders that stand: others are taken back.
    #[schema(max_items = 512)]
    limits: Option<Vec<String>>,
    /// What the sender's clock shows (RFC 3339).
    #[schema(format = DateTime)]
    sent_at: Option<String>,
}

/// A body of `PUT /api/v1/lifts/{source}`. It has an end: one of `duration`, `duration_seconds` and `valid_until`, a day off at
/// the most.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"by": "A. Khan, night shift", "duration": "30min"}))]
pub(super) struct LiftOrder {
    /// Who answers for it.
    #[schema(min_length = 1, max_length = 128)]
    by: String,
    /// Why; may be left away.
    #[schema(max_length = 500)]
    note: Option<String>,
    /// For how long.
    #[schema(example = "30min")]
    duration: Option<String>,
    /// The same in seconds.
    #[schema(exclusive_minimum = 0, maximum = 86_400)]
    duration_seconds: Option<f64>,
    /// Up to when (RFC 3339).
    #[schema(format = DateTime)]
    valid_until: Option<String>,
}

fn problems(all: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let problem = |words: &str| {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        ResponseBuilder::new().description(words).content(CONTENT_TYPE, content).build()
    };
    all.iter().map(|(code, words)| (code.to_string(), RefOr::T(problem(words)))).collect()
}

/// Answers that are not yes to whoever reads.
pub(super) struct ReadErrors;

impl IntoResponses for ReadErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (400, "a parameter cannot be read"),
            (401, "from another machine a token is needed"),
            (403, "from another machine a token is needed, and none is configured"),
            (404, "there is no such thing"),
            (421, "the request is meant for another host"),
            (429, "too often"),
            (503, "not now: no cycle has completed yet, or too many ask"),
        ])
    }
}

/// Answers that are not yes to whoever orders.
pub(super) struct OrderErrors;

impl IntoResponses for OrderErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            (400, "the request cannot be read"),
            (401, "no token, or one that is not known"),
            (403, "the token may not do this, or none is configured"),
            (404, "there is no such order or source"),
            (408, "the body did not arrive in time"),
            (409, "a later version came first, or orders are not known"),
            (413, "the body is too large"),
            (415, "the body is no JSON"),
            (421, "the request is meant for another host"),
            (422, "it cannot be obeyed"),
            (429, "too often"),
            (503, "the order is not in force"),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::body;
    use super::*;

    /// The keys of a schema, by the document.
    fn keys<S: ToSchema>() -> Vec<String> {
        let schema = serde_json::to_value(S::schema()).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    }

    /// The keys that a reader says it knows, when it meets one that it does not.
    fn known(error: &body::Wrong) -> Vec<String> {
        assert!(error.error.contains("unknown key"), "{error}");
        let mut keys: Vec<String> =
            error.help.trim_start_matches("there are ").split(", ").map(str::to_owned).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_document_and_the_readers_of_bodies_know_the_same_keys() {
        let odd = known(&body::limit(br#"{"cap_watts": 1, "odd": 1}"#).unwrap_err());
        assert_eq!(odd, keys::<LimitOrder>());
        assert_eq!(known(&body::heartbeat(br#"{"odd": 1}"#).unwrap_err()), keys::<Heartbeat>());
        let odd = known(&body::lift(br#"{"by": "a", "duration": "1s", "odd": 1}"#).unwrap_err());
        assert_eq!(odd, keys::<LiftOrder>());
    }
}
