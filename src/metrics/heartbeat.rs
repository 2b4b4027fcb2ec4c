//! What is said of the signs of life for PLCs.

use std::sync::Arc;

use prometheus::proto::MetricFamily;

use super::catalogue as names;
use super::collector::flag;
use super::family::{Family, number};
use crate::clock::Moment;
use crate::heartbeat::Health;

/// Adds everything that is known of them.
pub(super) fn heartbeats(all: &[(Arc<str>, Health)], now: Moment, families: &mut Vec<MetricFamily>) {
    let family = |definition| Family::with_capacity(definition, all.len());
    let mut up = family(&names::HEARTBEAT_UP);
    let mut age = family(&names::HEARTBEAT_AGE);
    let mut beats = family(&names::HEARTBEATS);
    let mut failures = family(&names::HEARTBEAT_FAILURES);
    for (name, health) in all {
        let well = health.withheld.is_none() && health.error.is_none() && health.beat_at.is_some();
        up.add(&[name], flag(well));
        if let Some(at) = health.beat_at {
            age.add(&[name], now.since(at).as_secs_f64());
        }
        beats.add(&[name], number(health.beats));
        failures.add(&[name], number(health.failures));
    }
    families.extend([up, age, beats, failures].map(Family::finish));
}
