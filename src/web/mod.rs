//! What is served over HTTP: metrics, health, a status page, and orders for whoever has a token.
//!
//! | Path | |
//! |---|---|
//! | `/` | a page for people; `/plain` without a script, `/assets` its files |
//! | `/metrics` | for Prometheus |
//! | `/healthz` | 200 while cycles complete, else 503 with the reason |
//! | `/api/v1` | for programs: what is going on, and orders; see [`api`] |
//!
//! Everything is bounded: the number of connections, the size and the time of a request, the life of a
//! connection, and renderings at one time. The page, the metrics and the health are meant for the network of the site; they
//! carry no secret and take no order, so they ask for no password. What is read by programs asks for a token from everywhere
//! but this machine, and what takes orders asks for one always.
//!
//! Nobody is kept waiting for a place: where all are taken, the connection that has been silent for the longest time goes
//! (`src/door.rs`), and whoever has sent a token that is known has a place that others cannot take. The command line
//! comes by a socket of its own ([`Local`]), with the same tokens.

pub mod api;
mod assets;
mod health;
mod hosts;
mod listen;
pub(crate) mod page;
mod render;
mod routes;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::door::{Door, Row, Seats};
use crate::metrics::Exporter;
use crate::rate::Bucket;
use api::{Api, Peer};
use listen::{Listener, Stream};

pub use api::Viewer;
pub use health::{Health, health};
pub use hosts::Hosts;
pub use listen::{Local, Pages, bind, holders, knock, socket_in};
pub use status::{Status, status};

/// Connections over the network at one time: of anybody, and besides of those that have sent a token that is known.
const SEATS: Seats = Seats { open: 64, kept: 32 };
/// The same over the socket of this machine.
const LOCAL_SEATS: Seats = Seats { open: 16, kept: 16 };
/// Requests on one connection at once, and for each second on and on, before it has shown a token: each page is made anew, beside
/// the control cycles.
const ASKS: (u32, f64) = (100, 20.0);
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

/// Answers requests until `cancel`, then lets the answers in flight end, for a few seconds at most. Takes no orders.
pub async fn serve(listener: TcpListener, shared: Arc<Exporter>, cancel: CancellationToken) {
    let hosts = Arc::new(Hosts::default());
    answer(
        Listener::Tcp(Pages::Open(listener)),
        SEATS,
        named(routes::router(shared.clone()).merge(api::router(shared, None)), hosts),
        cancel,
    )
    .await;
}

/// As [`serve`], takes orders, and answers at a socket of this machine too where there is one.
pub async fn serve_with(
    pages: Pages,
    local: Option<Local>,
    shared: Arc<Exporter>,
    orders: Arc<Api>,
    cancel: CancellationToken,
) {
    let hosts = orders.hosts();
    let router = named(routes::router(shared.clone()).merge(api::router(shared, Some(orders))), hosts);
    let beside = async {
        if let Some(local) = local {
            answer(Listener::Local(local), LOCAL_SEATS, router.clone(), cancel.clone()).await;
        }
    };
    tokio::join!(answer(Listener::Tcp(pages), SEATS, router.clone(), cancel.clone()), beside);
}

/// Refuses what is meant for somebody else, and keeps the seat of whoever is being answered.
fn named(router: axum::Router, hosts: Arc<Hosts>) -> axum::Router {
    router.layer(middleware::from_fn_with_state((hosts, Clock::start()), one))
}

async fn one(State((hosts, clock)): State<(Arc<Hosts>, Clock)>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned();
    let api = routes::is_api(request.uri().path());
    if peer.as_ref().is_some_and(|peer| !peer.seat.is_kept() && !peer.may_ask(clock.now())) {
        return routes::too_much(api);
    }
    let _busy = peer.as_ref().map(|peer| peer.seat.busy());
    match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(host) => {
            tracing::debug!(host, "a request that is meant for another host is refused");
            routes::misdirected(api)
        }
    }
}

async fn answer(mut listener: Listener, seats: Seats, router: axum::Router, cancel: CancellationToken) {
    let door = Door::new(seats);
    let (connections, mut row) = (TaskTracker::new(), Row::default());
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                failing = false;
                let seat = Arc::new(door.enter());
                let asks = Arc::new(Mutex::new(Bucket::new(ASKS.0, ASKS.1)));
                let closing = cancel.child_token();
                let peer = Peer { address, seat: Arc::clone(&seat), asks, closing: closing.clone() };
                let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
                connections.spawn(async move {
                    // Whoever has been silent for the longest time makes room for the one that comes.
                    let _ = seat.until_evicted(connection(stream, service, closing)).await;
                });
                row.one_more().await;
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

/// Serves one connection to its end.
async fn connection(
    stream: Box<dyn Stream>,
    service: TowerToHyperService<axum::Router>,
    closing: CancellationToken,
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
        () = closing.cancelled() => {}
        () = sleep(LIFE) => {}
    }
    // An answer that goes on by itself ends now.
    closing.cancel();
    connection.as_mut().graceful_shutdown();
    if let Ok(result) = timeout(GRACE, connection).await {
        trace_end(result);
    }
}

/// What a client does wrong is its own affair: it is told, and traced for whoever looks for it.
fn trace_end(result: Result<(), hyper::Error>) {
    if let Err(error) = result {
        tracing::trace!(%error, "a connection for metrics and health ended early");
    }
}
