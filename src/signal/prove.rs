//! What the ledger hands over to the proof.

use serde_json::{Value, json};

use crate::control::signal::Wall;
use crate::control::site::Scope;
use crate::proof::{Kind, Writer};
use crate::store::LedgerRow;
use crate::units::{Joules, Watts};

/// What has happened to an order, as it stands in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Received,
    Resumed,
    Refused,
    Acting,
    Met,
    Ended,
}

impl Event {
    const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Resumed => "resumed",
            Self::Refused => "refused",
            Self::Acting => "acting",
            Self::Met => "met",
            Self::Ended => "ended",
        }
    }
}

/// Figures that follow from what was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) mean: Option<Watts>,
    pub(super) deviation: Option<Watts>,
    pub(super) avoided: Option<Joules>,
    pub(super) delivered: Option<f64>,
}

/// Hands over what has happened to an order, with all that is known of it. Its end is signed.
pub(super) fn order(to: &Writer, event: Event, row: &LedgerRow, figures: Figures) {
    let body = body(event, row, figures);
    if matches!(event, Event::Ended | Event::Refused) {
        to.append_signed(Kind::Order, body);
    } else {
        to.append(Kind::Order, body);
    }
}

fn body(event: Event, row: &LedgerRow, figures: Figures) -> Value {
    let watts = |power: Option<Watts>| power.map(Watts::get);
    let millis = |wall: Option<Wall>| wall.map(Wall::as_unix_millis);
    let measured = !row.measured.is_zero();
    json!({
        "event": event.name(),
        "source": &*row.source,
        "order": &*row.id,
        "revision": row.revision,
        "circuit": &*row.circuit,
        "scope": match row.scope { Scope::Import => "import", Scope::Miners => "miners" },
        "reason": row.reason.as_deref(),
        "cap_w": watts(row.cap),
        "baseline_w": watts(row.baseline),
        "from_ms": row.from.as_unix_millis(),
        "until_ms": millis(row.until),
        "received_ms": row.received.as_unix_millis(),
        "applied_ms": millis(row.applied),
        "met_ms": millis(row.met),
        "ended_ms": millis(row.ended),
        "measured_ms": measured.then(|| u64::try_from(row.measured.as_millis()).unwrap_or(u64::MAX)),
        "energy_j": measured.then(|| row.energy.get()),
        "worst_over_w": measured.then(|| row.worst.get()),
        "mean_w": watts(figures.mean),
        "deviation_w": watts(figures.deviation),
        "avoided_j": figures.avoided.map(Joules::get),
        "delivered": figures.delivered,
        "stored": row.stored,
        "by": row.by.as_deref(),
        "note": row.remark.as_deref(),
    })
}

/// Somebody has lifted the caps of a source, or a restart has ended that.
pub(super) fn lift(to: &Writer, event: &str, source: &str, by: &str, until: Option<Wall>) {
    to.append(
        Kind::Operator,
        json!({ "event": event, "source": source, "by": by, "until_ms": until.map(Wall::as_unix_millis) }),
    );
}
