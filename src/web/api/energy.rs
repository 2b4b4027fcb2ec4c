//! Energy by the quarter hour, from the database: read beside the thread that writes it, and never by it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::answer::stamp;
use super::document::ReadErrors;
use super::problem::Problem;
use super::query::{Query, bad};
use super::reads::{Reads, large};
use crate::clock;
use crate::control::signal::Wall;
use crate::energy::figures::Figures;
use crate::energy::{QUARTER, Row};
use crate::store::read::{ReadError, Reader, Wanted};

/// Quarters in one answer at most, and without a wish.
const MOST: u32 = 1_000;
const SOME: u32 = 500;
/// The most that can be left out in front.
const MOST_OFFSET: u32 = 1_000_000;
/// The longest time of one request, in milliseconds: 32 days. `ballast report` takes any.
const LONGEST: i64 = 32 * 86_400_000;
/// Without a wish: the last day.
const USUAL: i64 = 86_400_000;
/// The longest name that is looked for.
const LONGEST_NAME: usize = 256;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// How many read at once.
const READERS: usize = 2;

/// Where energy is read.
#[derive(Clone, Debug)]
pub struct Shelf {
    path: PathBuf,
    turns: Arc<Semaphore>,
}

impl Shelf {
    /// In this database.
    pub fn new(path: PathBuf) -> Self {
        Self { path, turns: Arc::new(Semaphore::new(READERS)) }
    }
}

/// The answer of `GET /api/v1/energy`.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Quarters {
    /// The length of an interval.
    interval_seconds: u64,
    /// From here on.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Up to here.
    #[schema(format = DateTime)]
    to: Option<String>,
    /// How many quarters of circuits and tenants there are in this time.
    total: u64,
    /// How many are left out in front.
    offset: u32,
    /// The oldest first.
    quarters: Vec<Quarter>,
}

/// A quarter hour of a circuit or tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Quarter {
    /// When it begins.
    #[schema(format = DateTime)]
    start: Option<String>,
    /// `circuit` or `tenant`.
    kind: &'static str,
    name: String,
    /// Of a circuit, the one that feeds it.
    parent: Option<String>,
    #[serde(flatten)]
    figures: Figures,
}

impl Quarter {
    fn new(row: &Row) -> Self {
        Self {
            start: stamp(row.start),
            kind: row.kind.name(),
            name: row.name.to_string(),
            parent: row.parent.as_ref().map(ToString::to_string),
            figures: Figures::from(&row.sums),
        }
    }
}

/// Energy by the quarter hour, of circuits and tenants
#[utoipa::path(
    get, path = "/api/v1/energy", tag = "site", security((), ("bearer" = [])),
    params(
        ("from" = Option<String>, Query, description = "RFC 3339; a day before `to` without it, and at most 32"),
        ("to" = Option<String>, Query, description = "RFC 3339; now without it"),
        ("circuit" = Option<String>, Query, max_length = 256, description = "this circuit alone"),
        ("tenant" = Option<String>, Query, max_length = 256, description = "this tenant alone"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "500 without it"),
        ("offset" = Option<u32>, Query, maximum = 1_000_000, description = "0 without it"),
    ),
    responses((status = 200, description = "the quarters", body = Quarters), ReadErrors)
)]
pub(super) async fn quarters(
    State(reads): State<Reads>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let shelf = reads.shelf().cloned().ok_or_else(Problem::nothing_here)?;
    let query = Query::read(query.as_deref(), &["from", "to", "circuit", "tenant", "limit", "offset"])?;
    let wanted = wanted(&query)?;
    let limit = query.whole("limit", 1, MOST)?.unwrap_or(SOME);
    let offset = query.whole("offset", 0, MOST_OFFSET)?.unwrap_or(0);
    let busy = || {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many read the database at once", "ask again later")
    };
    let turn = timeout(TURN, shelf.turns.clone().acquire_owned()).await.map_err(|_| busy())?;
    let turn = turn.map_err(|_| busy())?;
    let asked = wanted.clone();
    let reading = tokio::task::spawn_blocking(move || -> Result<(u64, Vec<Row>), ReadError> {
        let reader = Reader::open(&shelf.path)?;
        let found = (reader.count_quarters(&asked)?, reader.quarters(&asked, offset, limit)?);
        drop(turn);
        Ok(found)
    });
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "somebody asked for energy, and the database cannot be read");
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the database cannot be read now",
            "ask again later, or look into the daemon's log",
        )
    };
    let found = reading.await.map_err(|error| failed(&error))?;
    let (total, rows) = found.map_err(|error| failed(&error))?;
    let answer = Quarters {
        interval_seconds: QUARTER.as_secs(),
        from: stamp(Wall::unix_millis(wanted.from_ms)),
        to: stamp(Wall::unix_millis(wanted.until_ms)),
        total,
        offset,
        quarters: rows.iter().map(Quarter::new).collect(),
    };
    large(&headers, &answer).await
}

fn wanted(query: &Query) -> Result<Wanted, Problem> {
    let time = |key: &str| {
        let Some(text) = query.text(key) else { return Ok(None) };
        let stamp = text.parse::<jiff::Timestamp>().map(|at| Some(at.as_millisecond()));
        stamp.map_err(|_| {
            bad(
                format!("`{key}` is no point in time"),
                "write it by RFC 3339, like 2026-07-01T12:00:00Z; a + is written %2B here",
            )
        })
    };
    let until_ms = time("to")?.unwrap_or_else(clock::unix_millis);
    let from_ms = time("from")?.unwrap_or_else(|| until_ms.saturating_sub(USUAL));
    let length = until_ms.saturating_sub(from_ms);
    if !(1..=LONGEST).contains(&length) {
        return Err(bad(
            "`from` and `to` are not in order, or more than 32 days apart",
            "ask for less at a time; `ballast report` takes any time at once",
        ));
    }
    let name = |key: &str| match query.text(key) {
        Some(name) if name.len() > LONGEST_NAME => Err(bad(
            format!("`{key}` is longer than any name"),
            "GET /api/v1/circuits tells the names of circuits",
        )),
        name => Ok(name.map(str::to_owned)),
    };
    Ok(Wanted { from_ms, until_ms, circuit: name("circuit")?, tenant: name("tenant")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_bounded_and_in_order() {
        let ask =
            |query: &str| wanted(&Query::read(Some(query), &["from", "to", "circuit", "tenant"]).unwrap());
        let good = ask("from=2026-07-01T00:00:00Z&to=2026-07-02T00:00:00%2B02:00&circuit=pcc").unwrap();
        assert_eq!(good.until_ms - good.from_ms, 22 * 3_600_000);
        assert_eq!(good.circuit.as_deref(), Some("pcc"));
        assert_eq!(ask("to=2026-07-02T00:00:00Z").unwrap().from_ms, good.from_ms);
        for wrong in [
            "from=2026-07-01T00:00:00Z&to=2026-07-01T00:00:00Z",
            "from=2026-07-02T00:00:00Z&to=2026-07-01T00:00:00Z",
            "from=2026-01-01T00:00:00Z&to=2026-07-01T00:00:00Z",
            "from=yesterday",
        ] {
            assert!(ask(wrong).is_err(), "{wrong}");
        }
        assert!(ask(&format!("circuit={}", "x".repeat(300))).is_err());
    }
}
