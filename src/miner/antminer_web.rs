//! HTTP with the firmwares of Antminers: one bounded exchange, whatever the way of logging in.

use reqwest::{Client, Method, RequestBuilder, StatusCode};

use super::fields::{self, words};
use super::wire::{MAX_REPLY, Place};
use super::{Connection, DriverError};
use crate::control::snapshot::Rejection;

/// How much of a refusal is read for its words.
const MAX_REFUSAL: usize = 4096;
/// More ways of logging in than any server offers.
const CHALLENGES_MAX: usize = 4;

/// One answer, bounded in size.
#[derive(Debug)]
pub struct Answer {
    /// Of HTTP.
    pub status: StatusCode,
    /// The `WWW-Authenticate` headers.
    pub challenges: Vec<String>,
    /// Whole where the status is a success, cut off where it is a refusal.
    pub body: Vec<u8>,
}

/// The way to one miner. The HTTP client, and with it the pool of connections, is shared by all.
pub struct Web {
    place: Place,
    base: String,
    http: Client,
}

impl Web {
    /// For the miner of a connection.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            place: Place::new(connection),
            base: format!("http://{}", connection.endpoint),
            http: http.clone(),
        }
    }

    /// Where errors are said to come from.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// One request for a path that begins with `/`, and its whole answer, under the time limit or `patience` times
    /// that. `dress` adds headers and body.
    ///
    /// # Errors
    /// `Unreachable`, `Timeout`, and `Malformed` for what is not HTTP or larger than 1 MiB.
    pub async fn exchange(
        &self,
        name: &'static str,
        method: Method,
        path: &str,
        patience: u32,
        dress: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Answer, DriverError> {
        let work = async {
            let builder = dress(self.http.request(method, format!("{}{path}", self.base)));
            let mut response = builder.send().await.map_err(|error| self.failure(name, &error))?;
            let status = response.status();
            let challenges = response
                .headers()
                .get_all(reqwest::header::WWW_AUTHENTICATE)
                .iter()
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .take(CHALLENGES_MAX)
                .collect();
            let limit = if status.is_success() { MAX_REPLY } else { MAX_REFUSAL };
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(name, &error))? {
                let room = limit - body.len();
                if chunk.len() > room {
                    if status.is_success() {
                        return Err(self.place.malformed(name, "it is larger than 1 MiB"));
                    }
                    body.extend_from_slice(chunk.get(..room).unwrap_or_default());
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status, challenges, body })
        };
        self.place.patient(patience).within(name, work).await
    }

    fn failure(&self, name: &'static str, error: &reqwest::Error) -> DriverError {
        if error.is_connect() {
            // The innermost cause is the operating system's words; the outer ones repeat the address.
            let mut cause: &dyn std::error::Error = error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            self.place.unreachable(cause)
        } else if error.is_timeout() {
            self.place.timeout(name)
        } else if error.is_builder() {
            self.place.malformed(name, "the request cannot be built; check the address")
        } else {
            self.place.malformed(name, "it is not HTTP, or the connection broke")
        }
    }

    /// What a refusal means that has no meaning of its own in this vendor's API. The words are the first of the
    /// given fields of the body, or the body.
    pub fn refusal(
        &self,
        name: &'static str,
        answer: &Answer,
        keys: &[&str],
        secrets: &[&str],
    ) -> DriverError {
        let reason = match answer.status {
            StatusCode::UNAUTHORIZED => Rejection::Credentials,
            StatusCode::CONFLICT => Rejection::WrongState,
            StatusCode::PRECONDITION_FAILED | StatusCode::UNPROCESSABLE_ENTITY => Rejection::OutOfRange,
            StatusCode::NOT_IMPLEMENTED | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                Rejection::Unsupported
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Rejection::Busy,
            status => {
                let text = String::from_utf8_lossy(&answer.body);
                let parsed = fields::parse(&answer.body).unwrap_or_default();
                let message = keys.iter().find_map(|key| fields::text(&parsed, key)).unwrap_or(&text);
                let text = words(&format!("HTTP {}: {message}", status.as_u16()), secrets);
                Rejection::Other(text.into())
            }
        };
        self.place.rejected(name, reason)
    }
}
