//! What is said of the alarms.

use std::sync::Arc;

use prometheus::proto::MetricFamily;

use super::catalogue as names;
use super::collector::flag;
use super::family::{Family, number};

/// The alarms as they stand.
#[derive(Clone, Debug, Default)]
pub struct AlarmCounts {
    /// Those that are raised and not quiet: kind, severity, what it is about, and whether somebody has said that they know.
    pub raised: Vec<(&'static str, &'static str, Arc<str>, bool)>,
    /// How many of each kind were raised since the start.
    pub totals: Vec<(&'static str, u64)>,
    /// How many were not raised because too many were.
    pub left_out: u64,
    /// How many could not be told to the webhook; `None` without one.
    pub posts_failed: Option<u64>,
}

/// How many alarms there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlarmSummary {
    /// Raised, of this severity.
    pub critical: u64,
    /// Raised, of this severity.
    pub warning: u64,
    /// Raised, of this severity.
    pub notice: u64,
    /// Raised and not quiet, and nobody has said that they know.
    pub unacknowledged: u64,
    /// The highest number that was given; 0 before the first.
    pub newest: u64,
}

/// Whoever knows the alarms.
pub trait AlarmStats: Send + Sync {
    /// The alarms as they stand. Must not wait for a disk.
    fn alarms(&self) -> AlarmCounts;

    /// How many there are.
    fn summary(&self) -> AlarmSummary;
}

/// Adds everything that is known of the alarms.
pub(super) fn alarms(counts: &AlarmCounts, families: &mut Vec<MetricFamily>) {
    let mut raised = Family::with_capacity(&names::ALARM_RAISED, counts.raised.len());
    let mut known = Family::with_capacity(&names::ALARM_ACKNOWLEDGED, counts.raised.len());
    for (kind, severity, subject, acknowledged) in &counts.raised {
        raised.add(&[kind, severity, subject], 1.0);
        known.add(&[kind, severity, subject], flag(*acknowledged));
    }
    let mut totals = Family::with_capacity(&names::ALARMS, counts.totals.len());
    for (kind, count) in &counts.totals {
        totals.add(&[kind], number(*count));
    }
    for family in [raised, known, totals] {
        families.push(family.finish());
    }
    families.push(Family::single(&names::ALARMS_LEFT_OUT, number(counts.left_out)));
    if let Some(failed) = counts.posts_failed {
        families.push(Family::single(&names::ALARM_POSTS_FAILED, number(failed)));
    }
}
