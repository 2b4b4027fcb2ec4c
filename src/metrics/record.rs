//! What is said of the record.

use prometheus::proto::MetricFamily;

use super::catalogue as names;
use super::family::{Family, number};
use crate::record::Health;

/// Adds how the record is.
pub(super) fn record(health: Health, families: &mut Vec<MetricFamily>) {
    families.push(Family::single(&names::RECORD_BYTES, number(health.bytes)));
    families.push(Family::single(&names::RECORD_LOST, number(health.lost)));
    families.push(Family::single(&names::RECORD_ERRORS, number(health.errors)));
}
