//! What is served over HTTP: metrics, health, a status page, and orders for whoever has a token.
//!
//! | Path | |
//! |---|---|
//! | `/` | a page for people |
//! | `/metrics` | for Prometheus |
//! | `/healthz` | 200 while cycles complete, else 503 with the reason |
//! | `/api/v1/status` | the last cycle as JSON; `?miners=1` adds each miner |
//! | `/api/v1/limits`, `/orders`, `/heartbeat`, `/lifts` | orders from outside, with a token: see [`api`] |
//!
//! Everything is bounded: the number of connections, the size and the time of a request, the life of a
//! connection, and renderings at one time. The pages are meant for the network of the site; they carry no secret
//! and take no order, so they ask for no password. What takes orders asks for a token, always.

pub mod api;
mod health;
mod page;
mod routes;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Exporter;
use api::{Api, Peer};

pub use health::{Health, health};
pub use status::{Status, status};

/// Connections at one time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 32;
/// The whole head of a request: a scrape needs a few hundred bytes. 8 KiB is the least that hyper takes.
const HEAD_SIZE: usize = 16 * 1024;
/// Number of header fields of a request.
const HEADERS: usize = 64;
/// Longest time for the head of a request to arrive, and longest silence between two requests.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// A connection is closed after the answer in flight at this age, so that slow readers give way.
const LIFE: Duration = Duration::from_secs(120);
/// What an answer in flight is given to end when its connection or the server is to close.
const GRACE: Duration = Duration::from_secs(3);
/// Pause after a connection could not be accepted, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The address cannot be listened on.
    #[error("cannot serve metrics and health on {address}: {reason}; {}", advice(*address, reason))]
    Bind {
        /// The address of the configuration.
        address: SocketAddr,
        /// The operating system's words.
        reason: io::Error,
    },
}

/// What to do about an address that cannot be listened on.
fn advice(address: SocketAddr, reason: &io::Error) -> String {
    match reason.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there (another ballast?): stop it or give `listen` another port".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this computer has no address {}: give `listen` one that it has", address.ip())
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for the system: give `listen` a higher port".into()
        }
        _ => "check `listen` in the configuration".into(),
    }
}

/// Opens the address at which [`serve`] is to answer.
///
/// # Errors
/// [`WebError::Bind`] when it is taken, not of this computer, or not allowed.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, WebError> {
    TcpListener::bind(address).await.map_err(|reason| WebError::Bind { address, reason })
}

/// Answers requests until `cancel`, then lets the answers in flight end, for a few seconds at most. Takes no orders.
pub async fn serve(listener: TcpListener, shared: Arc<Exporter>, cancel: CancellationToken) {
    answer(listener, routes::router(shared), cancel).await;
}

/// As [`serve`], and takes orders.
pub async fn serve_with(
    listener: TcpListener,
    shared: Arc<Exporter>,
    orders: Arc<Api>,
    cancel: CancellationToken,
) {
    answer(listener, routes::router(shared).merge(api::router(orders)), cancel).await;
}

async fn answer(listener: TcpListener, router: axum::Router, cancel: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, permit, peer)) => {
                failing = false;
                let service = TowerToHyperService::new(router.clone().layer(Extension(Peer(peer))));
                connections.spawn(connection(stream, permit, service, cancel.clone()));
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "cannot accept connections for metrics and health; trying on");
                }
                failing = true;
                tokio::select! {
                    () = cancel.cancelled() => break,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    connections.close();
    // Each connection has its own deadline, so this ends.
    connections.wait().await;
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit, SocketAddr)> {
    let permit = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, permit, peer))
}

/// Serves one connection to its end.
async fn connection(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    service: TowerToHyperService<axum::Router>,
    cancel: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            trace_end(result);
            return;
        }
        () = cancel.cancelled() => {}
        () = sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(result) = timeout(GRACE, connection).await {
        trace_end(result);
    }
    drop(permit);
}

/// What a client does wrong is its own affair: it is told, and traced for whoever looks for it.
fn trace_end(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::trace!(%error, "a connection for metrics and health ended early");
    }
}
