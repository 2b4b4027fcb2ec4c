//! What is said of the sources of orders.

use std::collections::BTreeMap;

use prometheus::proto::MetricFamily;

use super::catalogue::{self as names, Definition};
use super::collector::flag;
use super::family::{Family, number};
use crate::clock::Moment;
use crate::control::signal::SourceState;
use crate::signal::Desk;
use crate::signal::link::Came;
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
pub(super) fn signals(status: &Status, now: Moment, families: &mut Vec<MetricFamily>) {
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
    links(status, now, families);
    if let Some(errors) = status.store_errors {
        families.push(Family::single(&names::STORE_ERRORS, number(errors)));
    }
    families.push(Family::single(&names::CLOCK_SYNCHRONISED, flag(status.clock_synchronised)));
}

/// Adds what is known of the connections of those sources that have one.
fn links(status: &Status, now: Moment, families: &mut Vec<MetricFamily>) {
    let mut connected = Family::new(&names::SIGNAL_CONNECTED);
    let mut messages = Family::new(&names::SIGNAL_MESSAGES);
    let mut sent = Family::new(&names::SIGNAL_SENT);
    let mut age = Family::new(&names::SIGNAL_LIST_AGE);
    let mut breach = Family::new(&names::SIGNAL_BREACH);
    for source in &status.sources {
        let Some(link) = &source.link else { continue };
        let name = &*source.name;
        connected.add(&[name], flag(link.connected));
        for came in Came::ALL {
            messages.add(&[name, came.name()], number(link.came.get(&came).copied().unwrap_or(0)));
        }
        sent.add(&[name, "status"], number(link.states_sent));
        sent.add(&[name, "breach"], number(link.alerts_sent));
        sent.add(&[name, "enforcement"], number(link.reports_sent));
        if let Some(at) = link.listed {
            age.add(&[name], now.since(at).as_secs_f64());
        }
        // Several feeds may be one circuit: two series with the same labels would make Prometheus refuse all.
        let mut open: BTreeMap<&str, bool> = BTreeMap::new();
        for (circuit, exceeded) in &link.watched {
            *open.entry(circuit).or_default() |= exceeded.is_some();
        }
        for (circuit, open) in open {
            breach.add(&[name, circuit], flag(open));
        }
    }
    families.extend([connected, messages, sent, age, breach].map(Family::finish));
}
