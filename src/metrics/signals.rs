//! What is said of the sources of orders.

use prometheus::proto::MetricFamily;

use super::catalogue::{self as names, Definition};
use super::collector::flag;
use super::family::{Family, number};
use crate::control::signal::SourceState;
use crate::signal::Desk;
use crate::signal::status::Status;

/// Whoever knows the sources of orders.
pub trait SignalStats: Send + Sync {
    /// The sources as they stand. Must not wait for any of them, nor for a disk.
    fn status(&self) -> Status;
}

impl SignalStats for Desk {
    fn status(&self) -> Status {
        Self::status(self)
    }
}

/// Adds everything that is known of the sources.
pub(super) fn signals(status: &Status, families: &mut Vec<MetricFamily>) {
    let size = status.sources.len();
    let family = |definition: &'static Definition| Family::with_capacity(definition, size);
    let mut states = family(&names::SIGNAL_STATE);
    let mut age = family(&names::SIGNAL_AGE);
    let mut met = family(&names::LIMIT_MET);
    let mut shortfall = family(&names::ORDER_SHORTFALL);
    let mut deviation = family(&names::ORDER_DEVIATION);
    let mut orders = family(&names::ORDERS);
    for source in &status.sources {
        let name = &*source.name;
        if let Some(current) = source.state {
            for state in SourceState::ALL {
                states.add(&[name, state.name()], flag(state == current));
            }
        }
        if let Some(time) = source.age {
            age.add(&[name], time.as_secs_f64());
        }
        if let Some(time) = source.met_after {
            met.add(&[name], time.as_secs_f64());
        }
        if let Some(watts) = source.shortfall {
            shortfall.add(&[name], watts.get());
        }
        if let Some(watts) = source.deviation {
            deviation.add(&[name], watts.get());
        }
        for (result, count) in &source.orders {
            orders.add(&[name, result], number(*count));
        }
    }
    for family in [states, age, met, shortfall, deviation, orders] {
        families.push(family.finish());
    }
    if let Some(errors) = status.store_errors {
        families.push(Family::single(&names::STORE_ERRORS, number(errors)));
    }
    families.push(Family::single(&names::CLOCK_SYNCHRONISED, flag(status.clock_synchronised)));
}
