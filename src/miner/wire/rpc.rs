//! The cgminer API, as much firmware kept it: one JSON request per TCP connection, the reply ends with the object, a
//! NUL or the end of the stream. No password: who reaches the port may speak.
//!
//! Source: cgminer's `API-README` and `api.c` (codes, the letters of `STATUS`, the bare word `RESTART`).

use serde_json::Value;

use crate::control::snapshot::Rejection;
use crate::miner::reply::fields;
use crate::miner::wire::Place;
use crate::miner::wire::exchange;
use crate::miner::{Connection, DriverError};

/// "Access denied": the API is there for reading only (`api-allow` without `W:`).
const CODE_DENIED: i64 = 45;
/// "Invalid command".
const CODE_NO_COMMAND: i64 = 14;

/// A reply whose envelope was read.
pub struct Reply {
    success: bool,
    code: Option<i64>,
    value: Value,
}

impl Reply {
    /// Whether the miner said yes.
    pub const fn is_success(&self) -> bool {
        self.success
    }

    /// The words of the envelope, where it has any.
    pub fn message(&self) -> &str {
        self.value
            .pointer("/STATUS/0/Msg")
            .and_then(Value::as_str)
            .or_else(|| fields::text(&self.value, "Msg"))
            .unwrap_or_default()
    }

    /// The first object of a section, as `SUMMARY[0]`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn row(&self, section: &str) -> Result<&Value, String> {
        match self.value.get(section) {
            Some(Value::Array(rows)) => match rows.first() {
                Some(row) if row.is_object() => Ok(row),
                Some(_) => Err(format!("`{section}` does not hold an object")),
                None => Err(format!("`{section}` is empty")),
            },
            Some(row) if row.is_object() => Ok(row),
            Some(_) => Err(format!("`{section}` is not a list")),
            None => Err(format!("`{section}` is missing")),
        }
    }
}

impl Reply {
    /// Whether a section is there and holds nothing.
    pub fn is_empty(&self, section: &str) -> bool {
        self.value.get(section).and_then(Value::as_array).is_some_and(Vec::is_empty)
    }
}

/// Speaks the API with one miner.
pub struct Rpc {
    place: Place,
}

impl Rpc {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Self {
        Self { place: Place::new(connection) }
    }

    /// Where it is, for errors.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// One request on one connection, under the time limit; the bytes of the reply without the NUL.
    ///
    /// # Errors
    /// No connection, no complete answer in time, too large an answer.
    pub async fn exchange(&self, name: &'static str, request: &Value) -> Result<Vec<u8>, DriverError> {
        exchange::over_tcp(&self.place, name, request.to_string().as_bytes()).await
    }

    /// Asks and reads the envelope: `STATUS` is a list with one object, or a letter.
    ///
    /// # Errors
    /// As [`Rpc::exchange`], and what is no reply of this API.
    pub async fn ask(&self, name: &'static str, request: &Value) -> Result<Reply, DriverError> {
        let bytes = self.exchange(name, request).await?;
        self.reply(name, &bytes)
    }

    /// Reads a reply that came.
    ///
    /// # Errors
    /// What is no reply of this API.
    pub fn reply(&self, name: &'static str, bytes: &[u8]) -> Result<Reply, DriverError> {
        self.envelope(name, self.place.json(name, bytes)?)
    }

    fn envelope(&self, name: &'static str, value: Value) -> Result<Reply, DriverError> {
        let inner = value.pointer("/STATUS/0");
        let letter =
            inner.and_then(|inner| fields::text(inner, "STATUS")).or_else(|| fields::text(&value, "STATUS"));
        let success = match letter {
            Some("S" | "I") => true,
            Some("E" | "F" | "W") => false,
            Some(_) => return Err(self.place.malformed(name, "its `STATUS` is unknown")),
            None => return Err(self.place.malformed(name, "its `STATUS` is missing")),
        };
        let code =
            inner.and_then(|inner| inner.get("Code")).or_else(|| value.get("Code")).and_then(Value::as_i64);
        Ok(Reply { success, code, value })
    }

    /// What a refusal means.
    pub fn refusal(&self, name: &'static str, reply: &Reply) -> DriverError {
        match reply.code {
            Some(CODE_DENIED) => self.place.rejected(name, Rejection::WriteDisabled),
            Some(CODE_NO_COMMAND) => self.place.rejected(name, Rejection::Unsupported),
            _ => self.place.other(name, reply.message(), &[]),
        }
    }
}
