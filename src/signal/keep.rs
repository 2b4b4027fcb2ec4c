//! What the store holds of a source, and what a start makes of it.

use std::sync::Arc;

use super::record::Stage;
use crate::control::signal::book::Held;
use crate::control::signal::{Active, Book, SourceSettings};
use crate::control::site::{CircuitId, Site};
use crate::store::{Kept, StoredCap, StoredOrder};

/// The name of a circuit.
pub(super) fn circuit_name(site: &Site, id: CircuitId) -> Arc<str> {
    site.circuits.get(id.0).map_or("unknown", |circuit| circuit.name.as_str()).into()
}

/// The circuit of a name.
pub(super) fn circuit(site: &Site, name: &str) -> Option<CircuitId> {
    site.circuits.iter().position(|circuit| circuit.name == name).map(CircuitId)
}

/// The circuit of one site that has the name which another site gives to a position.
pub(super) fn moved(from: &Site, to: &Site, id: CircuitId) -> Option<CircuitId> {
    circuit(to, &from.circuits.get(id.0)?.name)
}

/// Everything of a book that goes to disk.
pub(super) fn of_book(book: &Book, site: &Site) -> Kept {
    let order = |held: &Held| {
        let mut held = held.clone();
        let circuit = circuit_name(site, held.order.circuit);
        held.order.circuit = CircuitId(0);
        StoredOrder { circuit, held }
    };
    let cap = |active: &Active| {
        let circuit = circuit_name(site, active.circuit);
        StoredCap { circuit, active: Active { circuit: CircuitId(0), ..active.clone() } }
    };
    Kept {
        orders: book.orders().map(order).collect(),
        withdrawn: book.withdrawn().cloned().collect(),
        caps: book.kept().map(cap).collect(),
        lift: book.lifted(),
    }
}

/// A book as it was on disk, and the orders whose circuit the site does not have any more. A lift is not resumed.
pub(super) fn to_book(settings: SourceSettings, kept: &Kept, site: &Site) -> (Book, Vec<StoredOrder>) {
    let mut gone = Vec::new();
    let mut orders = Vec::with_capacity(kept.orders.len());
    for stored in &kept.orders {
        match circuit(site, &stored.circuit) {
            Some(circuit) => {
                let mut held = stored.held.clone();
                held.order.circuit = circuit;
                orders.push(held);
            }
            None => gone.push(stored.clone()),
        }
    }
    let caps = kept
        .caps
        .iter()
        .filter_map(|cap| Some(Active { circuit: circuit(site, &cap.circuit)?, ..cap.active.clone() }));
    (Book::resume(settings, orders, kept.withdrawn.iter().cloned(), caps), gone)
}

/// The stage that a row of the ledger names.
pub(super) fn stage(name: &str, reason: Option<&Arc<str>>) -> Stage {
    match name {
        "refused" => Stage::Refused(reason.cloned().unwrap_or_else(|| "".into())),
        "accepted" => Stage::Accepted,
        "acting" => Stage::Acting,
        _ => Stage::Ended,
    }
}
