//! What the drivers share on the wire: errors that name the place, connections, and bounds.

pub(super) mod antminer_web;
pub(crate) mod digest;
pub(crate) mod exchange;
pub(crate) mod frames;
pub(super) mod http;
pub(super) mod plain_http;
pub(super) mod rpc;
pub(super) mod stream;
pub(super) mod web;

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use crate::clock::Clock;
use crate::control::snapshot::Rejection;
use crate::miner::reply::fields::words;
use crate::miner::reply::mend;
use crate::miner::wire::http::Kept;
use crate::miner::wire::stream::{Secure, Stream};
use crate::miner::{Connection, DriverError, Endpoint};
use crate::tls::Unusable;

/// Largest reply that is read. Real ones are a few kilobytes.
pub const MAX_REPLY: usize = 1024 * 1024;

/// Where an exchange goes to and how long it may take in total: connecting, writing and reading.
#[derive(Clone, Debug)]
pub struct Place {
    endpoint: Endpoint,
    limit: Duration,
    kept: Kept,
    clock: Clock,
    secure: Option<Secure>,
    /// The Unix socket that it listens on instead.
    socket: Option<Arc<Path>>,
}

impl Place {
    /// The place and the time limit of a connection.
    pub fn new(connection: &Connection) -> Self {
        Self {
            endpoint: connection.endpoint.clone(),
            limit: connection.timeout,
            kept: Kept::default(),
            clock: Clock::start(),
            secure: None,
            socket: connection.gpus.as_ref().and_then(|gpus| gpus.socket.clone()),
        }
    }

    /// The same place over TLS: nothing is ever sent there in the clear. With it why nothing may be sent at all, where TLS cannot be
    /// prepared.
    pub fn over_tls(self, config: Result<ClientConfig, Unusable>) -> (Self, Option<&'static str>) {
        match config.ok().and_then(|config| Secure::new(&self.endpoint.host, config)) {
            Some(secure) => (Self { secure: Some(secure), ..self }, None),
            None => (self, Some("TLS cannot be prepared for it; check `certificate`, `ca` and its address")),
        }
    }

    /// How addresses of this place begin.
    pub const fn scheme(&self) -> &'static str {
        if self.secure.is_some() { "https" } else { "http" }
    }

    /// The same place with a time limit that is so many times longer, for requests that the vendor is known to
    /// answer late.
    pub fn patient(&self, times: u32) -> Self {
        Self { limit: self.limit.saturating_mul(times.max(1)), ..self.clone() }
    }

    /// The connection over HTTP that was kept.
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The clock by which it is kept.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Runs an exchange under the time limit.
    pub async fn within<T>(
        &self,
        exchange: &'static str,
        work: impl Future<Output = Result<T, DriverError>>,
    ) -> Result<T, DriverError> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(result) => result,
            Err(_) => Err(self.timeout(exchange)),
        }
    }

    /// Connects. Commands are small and urgent, so nothing is held back to fill a packet.
    pub async fn connect(&self) -> Result<TcpStream, DriverError> {
        self.endpoint.connect().await.map_err(|error| self.unreachable(&error))
    }

    /// Connects as the place demands: in the clear, over TLS or to a socket of this machine.
    pub async fn open(&self) -> Result<Stream, DriverError> {
        if let Some(socket) = &self.socket {
            let connected = UnixStream::connect(socket).await;
            let named =
                |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", socket.display()));
            return connected.map(Stream::Local).map_err(|error| self.unreachable(&named(error)));
        }
        let stream = self.connect().await?;
        match &self.secure {
            None => Ok(Stream::Plain(stream)),
            Some(secure) => secure.shake_hands(stream).await.map_err(|error| self.unreachable(&error)),
        }
    }

    /// No connection.
    pub fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> DriverError {
        let reason = words(&crate::tls::innermost(error), &[]);
        DriverError::Unreachable { endpoint: self.endpoint.clone(), reason }
    }

    /// Whether another port of the same host accepts connections.
    pub async fn is_open(&self, port: u16) -> bool {
        let limit = self.limit.min(Duration::from_secs(1));
        let other = Endpoint { host: self.endpoint.host.clone(), port };
        matches!(tokio::time::timeout(limit, other.connect()).await, Ok(Ok(_)))
    }

    /// No complete answer in time.
    pub fn timeout(&self, exchange: &'static str) -> DriverError {
        DriverError::Timeout { endpoint: self.endpoint.clone(), exchange, limit: self.limit }
    }

    /// An answer that is not what the vendor documents.
    pub fn malformed(&self, exchange: &'static str, reason: impl Into<String>) -> DriverError {
        DriverError::Malformed { endpoint: self.endpoint.clone(), exchange, reason: reason.into() }
    }

    /// Reads a reply as JSON, mended where known firmware writes what is none; what was mended is told at debug level.
    pub fn json(&self, exchange: &'static str, bytes: &[u8]) -> Result<Value, DriverError> {
        let read = mend::read(bytes).map_err(|reason| self.malformed(exchange, reason))?;
        if !read.mended.is_empty() {
            let mended = read.mended.join(", ");
            tracing::debug!(endpoint = %self.endpoint, exchange, mended, "its answer was not quite JSON");
        }
        Ok(read.value)
    }

    /// The connection broke in the middle of an exchange: it is not known how far the request came.
    pub fn broken(&self, exchange: &'static str, error: &io::Error) -> DriverError {
        self.malformed(exchange, format!("the connection broke ({})", error.kind()))
    }

    /// The miner said no.
    pub fn rejected(&self, exchange: &'static str, reason: Rejection) -> DriverError {
        DriverError::Rejected { endpoint: self.endpoint.clone(), exchange, reason }
    }

    /// It failed after something was done: a refusal of the rest is none of the whole, and it is not known what stands.
    pub fn halfway(&self, done: &str, error: DriverError) -> DriverError {
        let DriverError::Rejected { exchange, .. } = error else { return error };
        self.malformed(exchange, format!("{done}, and then: {error}"))
    }

    /// The miner said no in words of its own, which are bounded and freed of secrets first.
    pub fn other(&self, exchange: &'static str, text: &str, secrets: &[&str]) -> DriverError {
        self.rejected(exchange, Rejection::Other(Arc::from(words(text, secrets))))
    }
}
