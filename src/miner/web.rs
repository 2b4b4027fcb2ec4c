//! What drivers of REST APIs share: one bounded exchange over HTTP.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;

use super::fields;
use super::wire::{MAX_REPLY, Place};
use super::{Connection, DriverError};

/// How much of a refusal is read for its words.
const MAX_REFUSAL: usize = 4096;

/// An answer, its body bounded.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; that of a refusal may be cut short.
    pub body: Vec<u8>,
}

/// Makes requests to one device. The HTTP client, and with it the pool of connections, is shared.
pub struct Web {
    place: Place,
    http: Client,
    base: String,
}

impl Web {
    /// For one device; `root` is put before every path and begins with a slash. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client, root: &str) -> Self {
        Self {
            place: Place::new(connection),
            http: http.clone(),
            base: format!("http://{}{root}", connection.endpoint),
        }
    }

    /// Where it is, for errors.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// A request to a path below the root.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// One exchange under the time limit: connection, answer and body.
    ///
    /// # Errors
    /// No connection, no complete answer in time, no HTTP, too large an answer. A refusal is an answer.
    pub async fn send(&self, name: &'static str, request: RequestBuilder) -> Result<Answer, DriverError> {
        let work = async {
            let mut response = request.send().await.map_err(|error| self.failure(name, &error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let whole = status.is_success();
            let limit = if whole { MAX_REPLY } else { MAX_REFUSAL };
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(name, &error))? {
                if body.len() + chunk.len() > limit {
                    if whole {
                        return Err(self.place.malformed(name, "it is larger than 1 MiB"));
                    }
                    body.extend_from_slice(chunk.get(..limit - body.len()).unwrap_or_default());
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status, headers, body })
        };
        self.place.within(name, work).await
    }

    /// Reads a body as JSON.
    ///
    /// # Errors
    /// [`DriverError::Malformed`].
    pub fn json(&self, name: &'static str, answer: &Answer) -> Result<Value, DriverError> {
        fields::parse(&answer.body).map_err(|reason| self.place.malformed(name, reason))
    }

    /// A refusal in the words of the device.
    pub fn refused(&self, name: &'static str, answer: &Answer, secrets: &[&str]) -> DriverError {
        let text = String::from_utf8_lossy(&answer.body);
        let parsed = fields::parse(&answer.body).unwrap_or_default();
        let message = ["message", "msg", "error"]
            .iter()
            .find_map(|key| fields::text(&parsed, key))
            .or_else(|| parsed.pointer("/error/message").and_then(Value::as_str))
            .unwrap_or(&text);
        self.place.other(name, &format!("HTTP {}: {message}", answer.status.as_u16()), secrets)
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
}
