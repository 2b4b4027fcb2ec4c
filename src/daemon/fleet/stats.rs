//! The counts of the sessions, as the metrics want them.

use std::sync::Arc;

use crate::metrics::{CommandCount, CommandDurations, CommandStats};
use crate::miner::DriverKind;
use crate::miner::session::tally::{BUCKETS, Ended, SessionMetrics};

/// Reads the counters of the sessions.
pub(super) struct Stats(pub(super) Arc<SessionMetrics>);

impl CommandStats for Stats {
    fn commands(&self) -> Vec<CommandCount> {
        let mut counts = Vec::new();
        for kind in DriverKind::ALL {
            let tally = self.0.driver(kind);
            for ended in Ended::ALL {
                let result = if ended == Ended::Ok { "accepted" } else { ended.name() };
                counts.push(CommandCount { driver: kind.name(), result, count: tally.commands.get(ended) });
            }
        }
        counts
    }

    fn durations(&self) -> Vec<CommandDurations> {
        DriverKind::ALL
            .into_iter()
            .map(|kind| {
                let read = self.0.driver(kind).command_seconds.read();
                CommandDurations {
                    driver: kind.name(),
                    buckets: BUCKETS.into_iter().zip(read.cumulative).collect(),
                    count: read.count,
                    sum: read.seconds,
                }
            })
            .collect()
    }
}
