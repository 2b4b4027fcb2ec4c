//! What is said of the broker of MQTT.

use prometheus::proto::MetricFamily;

use super::catalogue as names;
use super::collector::flag;
use super::family::{Family, number};

/// What was done over MQTT since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MqttCounts {
    /// Whether the broker is connected.
    pub connected: bool,
    /// Messages that were handed over to be sent.
    pub published: u64,
    /// Connections that failed or were lost.
    pub connections_failed: u64,
    /// Messages that found no room.
    pub publishes_failed: u64,
    /// Orders and heartbeats that were done.
    pub done: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those that were not looked at.
    pub dropped: u64,
}

/// Whoever knows how the broker is.
pub trait MqttStats: Send + Sync {
    /// The counts as they stand; `None` while no broker is configured.
    fn mqtt(&self) -> Option<MqttCounts>;
}

/// Adds what is known of the broker.
pub(super) fn mqtt(counts: MqttCounts, families: &mut Vec<MetricFamily>) {
    families.push(Family::single(&names::MQTT_CONNECTED, flag(counts.connected)));
    families.push(Family::single(&names::MQTT_PUBLISHED, number(counts.published)));
    let mut messages = Family::with_capacity(&names::MQTT_MESSAGES, 3);
    for (result, count) in [("done", counts.done), ("refused", counts.refused), ("dropped", counts.dropped)] {
        messages.add(&[result], number(count));
    }
    let mut failures = Family::with_capacity(&names::MQTT_FAILURES, 2);
    for (failure, count) in [("connection", counts.connections_failed), ("publish", counts.publishes_failed)]
    {
        failures.add(&[failure], number(count));
    }
    families.push(messages.finish());
    families.push(failures.finish());
}
