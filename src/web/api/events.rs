//! What is going on, as it changes: server-sent events.
//!
//! Each viewer has a task that waits for a cycle, works out what to tell away from the threads on which the control cycles run, and
//! hands it over when the one before has gone. A slow viewer gets the latest cycle and misses those between; nobody waits for
//! them, and no more than one event for each is in memory beside the one that is being sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Peer;
use super::body::shorten;
use super::document::ReadErrors;
use super::problem::Problem;
use super::query::{Query, bad};
use super::reads::Reads;
use super::viewer::{Common, Viewer};
use crate::door::Held;
use crate::metrics::Exporter;
use crate::web::routes::no_store;

/// So many viewers at one time.
const MOST_VIEWERS: usize = 16;
/// Frames come no closer than this.
const PACE: Duration = Duration::from_secs(1);
/// After so long without anything to tell a comment says that the daemon lives.
const SILENCE: Duration = Duration::from_secs(15);
/// The longest name of a generation.
const LONGEST_GENERATION: usize = 64;
/// Whoever loses the connection comes again after this many milliseconds.
const AGAIN: &str = "retry: 500\n\n";
const COMMENT: &str = ":\n\n";

/// Those who are told what changes.
#[derive(Debug)]
pub(super) struct Hub {
    exporter: Arc<Exporter>,
    seats: Arc<Semaphore>,
    common: Common,
}

impl Hub {
    pub(super) fn new(exporter: Arc<Exporter>) -> Self {
        Self { exporter, seats: Arc::new(Semaphore::new(MOST_VIEWERS)), common: Common::default() }
    }
}

/// What a task hands over, as the body of an answer.
struct Feed(mpsc::Receiver<Bytes>);

impl HttpBody for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What is going on, as it changes: server-sent events `roster` and `frame`
///
/// `roster` comes first, unless the parameter `roster` names the present generation, and again when the configuration was read
/// anew: `generation`, `states`, `miners` as `[name, position of the circuit, driver, nameplate in watts]`, `servers` as `[position,
/// class]` where there are any, `circuits` with `name` and `parent` as a position. `frame` comes after each cycle, once a second at the most: `at` in milliseconds since 1970 (UTC),
/// `generation`, `status` as `GET /api/v1/status` gives it, how many `alarms` are raised by severity (`null` where nobody looks), and
/// `miners` with `whole` and `rows` of `[position, position of the
/// state, draw in watts, told watts, mark]`. Told is `null` where nothing was told and -1 for sleep; the mark is 1 for a fault and
/// for the next miner that waits to be woken. The first frame is whole, later ones have the rows that changed. The server ends the
/// connection after two minutes.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "site", security((), ("bearer" = [])),
    params(("roster" = Option<String>, Query, max_length = 64, description = "the generation whose roster is known")),
    responses((status = 200, description = "the events", body = String, content_type = "text/event-stream"), ReadErrors)
)]
pub(super) async fn events(
    State(reads): State<Reads>,
    from: Option<Extension<Peer>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = Query::read(query.as_deref(), &["roster"])?;
    let known = query.text("roster").filter(|known| !known.is_empty());
    if let Some(known) = known.filter(|known| known.len() > LONGEST_GENERATION) {
        return Err(bad(
            format!("`roster` is no generation: \"{}\"", shorten(known)),
            "write the `generation` of the latest event, or leave it away",
        ));
    }
    let seat = Arc::clone(&reads.hub.seats).try_acquire_owned().map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MOST_VIEWERS} viewers are told of changes already"),
            "close one, or read GET /api/v1/status now and then",
        )
    })?;
    let (sender, receiver) = mpsc::channel(1);
    let place = from.map(|Extension(peer)| (peer.seat.hold(), peer.closing));
    let viewer = Viewer::knowing(known.map(str::to_owned));
    tokio::spawn(feed(Arc::clone(&reads.hub), viewer, sender, place, seat));
    let kind = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // A proxy that collects an answer before it hands it on would never hand this one on.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((no_store(), kind, Body::new(Feed(receiver))).into_response())
}

/// Tells one viewer what changes, until they go or their connection is to close.
async fn feed(
    hub: Arc<Hub>,
    viewer: Viewer,
    sender: mpsc::Sender<Bytes>,
    place: Option<(Held, CancellationToken)>,
    _seat: OwnedSemaphorePermit,
) {
    let (_held, closing) = match place {
        Some((held, closing)) => (Some(held), closing),
        None => (None, CancellationToken::new()),
    };
    let gone = sender.clone();
    tokio::select! {
        () = closing.cancelled() => {}
        () = gone.closed() => {}
        _ = tell(hub, viewer, sender) => {}
    }
}

async fn tell(hub: Arc<Hub>, mut viewer: Viewer, sender: mpsc::Sender<Bytes>) -> Option<()> {
    let mut changes = hub.exporter.changes();
    sender.send(Bytes::from_static(AGAIN.as_bytes())).await.ok()?;
    let mut next = now(&hub);
    loop {
        // Only once there is room: what is worked out then is the latest.
        let room = sender.reserve().await.ok()?;
        sleep_until(next).await;
        changes.mark_unchanged();
        let about = Arc::clone(&hub);
        let (back, text) = tokio::task::spawn_blocking(move || {
            let text = viewer.next_with(&about.exporter, &about.common);
            (viewer, text)
        })
        .await
        .ok()?;
        viewer = back;
        if text.is_empty() {
            drop(room);
        } else {
            room.send(text.into());
            next = now(&hub) + PACE;
        }
        if timeout(SILENCE, changes.changed()).await.is_err() {
            sender.send(Bytes::from_static(COMMENT.as_bytes())).await.ok()?;
        }
    }
}

/// Now, on the scale of timers.
fn now(hub: &Hub) -> Instant {
    let clock = hub.exporter.clock();
    clock.instant(clock.now())
}
