//! What an order would come to, without giving it.

use std::sync::Arc;

use super::desk::{Desk, DeskError};
use super::key::SourceKey;
use crate::control::signal::{Active, Order, Refusal, Why};
use crate::control::site::Site;
use crate::control::snapshot::OrderCap;

impl Desk {
    /// The cap that an order would set if it acted now, and the site whose positions it names.
    ///
    /// # Errors
    /// The source is not there any more, or the order cannot be obeyed.
    pub fn would_cap(&self, source: SourceKey, order: &Order) -> Result<(Arc<Site>, OrderCap), DeskError> {
        let state = self.state();
        let name = state.at(source).ok_or(DeskError::NoSource)?.name.clone();
        // The circuits of the order are numbered by the site by which its source was found.
        let site = state.site_of(source.generation).ok_or(DeskError::NoSource)?;
        if !Arc::ptr_eq(&site, &state.site) {
            return Err(DeskError::NoSource);
        }
        if order.is_backwards() {
            return Err(DeskError::Refused(Refusal::Backwards));
        }
        let cap = order.ask.resolve(&state.bases(&name, order)).map_err(DeskError::Refused)?;
        let active = Active {
            circuit: order.circuit,
            scope: order.scope,
            cap,
            why: Why::Order(order.id.clone()),
            basis: order.basis,
            urgency: order.urgency,
        };
        Ok((site, OrderCap { source: source.at, active }))
    }

    /// The cap of an order that is held; `None` when there is none of that name.
    pub fn held_cap(&self, source: SourceKey, id: &str) -> Option<OrderCap> {
        let state = self.state();
        let held =
            state.at(source)?.book.orders().find(|held| *held.order.id == *id && held.withdrawn.is_none())?;
        let order = &held.order;
        let active = Active {
            circuit: order.circuit,
            scope: order.scope,
            cap: held.cap,
            why: Why::Order(order.id.clone()),
            basis: order.basis,
            urgency: order.urgency,
        };
        Some(OrderCap { source: source.at, active })
    }
}
