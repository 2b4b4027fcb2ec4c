//! What drivers of REST APIs share: the way to one device, and what it says when it refuses.

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::miner::reply::fields;
use crate::miner::wire::Place;
use crate::miner::wire::exchange;
pub use crate::miner::wire::exchange::Answer;
use crate::miner::{Connection, DriverError};

/// Makes requests to one device. The HTTP client that words the requests is shared; the connection is its own, and that of all
/// copies.
#[derive(Clone)]
pub struct Web {
    place: Place,
    http: Client,
    base: String,
}

impl Web {
    /// For one device; `root` is put before every path and begins with a slash. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client, root: &str) -> Self {
        Self::at(Place::new(connection), connection, http, root)
    }

    /// The same for a device at a place that may be reached over TLS.
    pub fn at(place: Place, connection: &Connection, http: &Client, root: &str) -> Self {
        let base = format!("{}://{}{root}", place.scheme(), connection.endpoint);
        Self { place, http: http.clone(), base }
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
        exchange::over_http(&self.place, name, request).await
    }

    /// Reads a body as JSON.
    ///
    /// # Errors
    /// [`DriverError::Malformed`].
    pub fn json(&self, name: &'static str, answer: &Answer) -> Result<Value, DriverError> {
        self.place.json(name, &answer.body)
    }

    /// A refusal in the words of the device.
    pub fn refused(&self, name: &'static str, answer: &Answer, secrets: &[&str]) -> DriverError {
        let text = String::from_utf8_lossy(&answer.body);
        let parsed = fields::parse(&answer.body).unwrap_or_default();
        let message = ["message", "msg", "error", "title"]
            .iter()
            .find_map(|key| fields::text(&parsed, key))
            .or_else(|| parsed.pointer("/error/message").and_then(Value::as_str))
            .unwrap_or(&text);
        self.place.other(name, &format!("HTTP {}: {message}", answer.status.as_u16()), secrets)
    }
}
