//! Long answers are made one at a time, away from the threads on which the control cycles run, and serve all who ask at once.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::clock::Moment;
use crate::metrics::Exporter;

/// A request that had to wait this long for its turn is told to come back.
const TURN: Duration = Duration::from_secs(5);
/// An answer as young as this serves the next request as well.
const REUSE: Duration = Duration::from_millis(250);

/// The latest rendering. The lock lets one run at a time: however many ask, one processor at most is kept busy and the control
/// cycles have the others.
pub(super) type Latest = Arc<Mutex<Option<(Moment, Bytes)>>>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRendered {
    /// Too many wait for one.
    Busy,
    /// It cannot be made, which is a mistake in the program and in the log.
    Failed,
    /// The daemon ends.
    Stopping,
}

impl NotRendered {
    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Busy => "too many requests; come back later",
            Self::Failed => "this cannot be rendered; see the log",
            Self::Stopping => "the daemon is stopping",
        }
    }
}

/// Gives the latest rendering if it is young enough, else a new one.
pub(super) async fn reuse(
    exporter: &Arc<Exporter>,
    latest: &Latest,
    render: impl FnOnce(&Exporter) -> Result<Vec<u8>, String> + Send + 'static,
) -> Result<Bytes, NotRendered> {
    let Ok(mut latest) = timeout(TURN, Arc::clone(latest).lock_owned()).await else {
        return Err(NotRendered::Busy);
    };
    let now = exporter.clock().now();
    if let Some((at, body)) = latest.as_ref()
        && now.since(*at) <= REUSE
    {
        return Ok(body.clone());
    }
    let exporter = Arc::clone(exporter);
    // The turn goes along: a client that hangs up does not make room for a second rendering beside this one.
    let rendering = tokio::task::spawn_blocking(move || {
        let body = Bytes::from(render(&exporter)?);
        *latest = Some((now, body.clone()));
        Ok::<_, String>(body)
    });
    match rendering.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            tracing::error!(%error, "a request for metrics or status cannot be answered");
            Err(NotRendered::Failed)
        }
        // The runtime shuts down.
        Err(_) => Err(NotRendered::Stopping),
    }
}

/// Whether a client takes gzip (RFC 9110, 12.5.3): it is named, or everything is, and not with a quality of zero.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
    let mut any = false;
    for coding in lists.flat_map(|list| list.split(',')) {
        let mut parts = coding.split(';');
        let name = parts.next().unwrap_or("").trim();
        let refused = parts.any(|part| {
            let quality = part.trim().strip_prefix("q=").or_else(|| part.trim().strip_prefix("Q="));
            quality.is_some_and(|quality| quality.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0))
        });
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return !refused;
        }
        any |= name == "*" && !refused;
    }
    any
}

/// Compressed as little as there is: an answer is read once, and the processor is the miners'.
pub(super) fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}
