//! Answers that are not yes: problem details (RFC 9457), in which the title says what is wrong and the detail what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;
use super::body::Wrong;
use crate::token::Unknown;

/// The content type of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// Something that is not done, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) code: StatusCode,
    pub(super) error: String,
    pub(super) help: String,
}

/// Why a request is not done, and what to do about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// What is wrong.
    title: &'a str,
    /// The status of HTTP.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What to do.
    detail: &'a str,
}

impl Problem {
    pub(crate) fn new(code: StatusCode, error: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, error: error.into(), help: help.into() }
    }

    /// No cycle has completed yet.
    pub(super) fn too_early() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no control cycle has completed yet",
            "ask again in a second",
        )
    }

    /// What was sent is not the latest of its kind any more.
    pub(super) fn outdated() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "a later version of this order, or its withdrawal, came first",
            "send a higher `revision`, or leave it away: then it is the next one, unless its `sent_at` is older",
        )
    }

    /// There is nothing at this path.
    pub(crate) fn nothing_here() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "there is nothing at this path",
            "GET /api/v1/openapi.json tells every path that there is",
        )
    }

    /// This cannot be done with what is at this path.
    pub(crate) fn method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "what is at this path does not know this method",
            "the header `Allow` names those that it knows",
        )
    }
}

impl From<Wrong> for Problem {
    fn from(wrong: Wrong) -> Self {
        Self::new(StatusCode::BAD_REQUEST, wrong.error, wrong.help)
    }
}

impl From<Unknown> for Problem {
    fn from(unknown: Unknown) -> Self {
        let bearer = "send the header `Authorization: Bearer TOKEN` with a token of `ballast token create` or [web.tokens.*]";
        let (code, error, help) = match unknown {
            Unknown::Closed => (
                StatusCode::FORBIDDEN,
                "no token is configured, so nobody can order over HTTP, nor read from another machine",
                "make one with `ballast token create`, or add [web.tokens.NAME] to the configuration and reload the daemon",
            ),
            Unknown::Missing => (StatusCode::UNAUTHORIZED, "the request has no token", bearer),
            Unknown::Wrong => (StatusCode::UNAUTHORIZED, "the token is not known", bearer),
            Unknown::Expired => (
                StatusCode::UNAUTHORIZED,
                "the token has expired",
                "have a new one made: `ballast token revoke NAME`, then `ballast token create NAME`",
            ),
            Unknown::TooMany => (
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests came with tokens that are not known",
                "wait a minute, then try with a token that is known",
            ),
            Unknown::TooFast => (
                StatusCode::TOO_MANY_REQUESTS,
                "this token asks too often",
                "ask at most ten times a second; orders need to be told once",
            ),
        };
        Self::new(code, error, help)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: "about:blank",
            title: &self.error,
            status: self.code.as_u16(),
            detail: &self.help,
        };
        let mut response = answer::json(self.code, &body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        match self.code {
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer realm=\"ballast\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("6"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        response
    }
}
