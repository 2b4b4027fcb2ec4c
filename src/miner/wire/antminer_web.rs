//! HTTP with the firmwares of Antminers, whatever the way of logging in.

use reqwest::{Client, Method, RequestBuilder, StatusCode};

use crate::control::snapshot::Rejection;
use crate::miner::reply::fields::{self, words};
use crate::miner::wire::Place;
use crate::miner::wire::exchange;
pub use crate::miner::wire::exchange::Answer;
use crate::miner::{Connection, DriverError};

/// The way to one miner. The HTTP client that words the requests is shared by all; the connection is its own.
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
        let request = dress(self.http.request(method, format!("{}{path}", self.base)));
        exchange::over_http(&self.place.patient(patience), name, request).await
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
