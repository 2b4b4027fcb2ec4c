//! Counters that live elsewhere: what the exporter asks of their owners, and a ready-made set of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many reads of a meter ended in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCount {
    /// The meter's name; a name that the site does not have is left out of the metrics.
    pub meter: String,
    /// How they ended; one of a closed set, such as [`crate::control::snapshot::MeterStatus::name`].
    pub result: &'static str,
    /// How many since the start; only ever rises.
    pub count: u64,
}

/// Whoever counts the reads of the meters.
pub trait MeterReads: Send + Sync {
    /// The counts as they stand. Must not wait for a meter.
    fn reads(&self) -> Vec<ReadCount>;
}

/// How many commands of a driver ended in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandCount {
    /// The driver's name.
    pub driver: &'static str,
    /// How they ended; one of a closed set: `accepted`, `unknown` and
    /// [`crate::control::snapshot::Rejection::name`].
    pub result: &'static str,
    /// How many since the start; only ever rises.
    pub count: u64,
}

/// How long the commands of a driver took.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandDurations {
    /// The driver's name.
    pub driver: &'static str,
    /// Upper bounds in seconds, rising, each with the number of commands that took no longer.
    pub buckets: Vec<(f64, u64)>,
    /// All commands, those above the last bound included.
    pub count: u64,
    /// Their durations together, in seconds.
    pub sum: f64,
}

/// Whoever counts the commands to the miners.
pub trait CommandStats: Send + Sync {
    /// The counts as they stand. Must not wait for a miner.
    fn commands(&self) -> Vec<CommandCount>;
    /// The durations as they stand. Must not wait for a miner.
    fn durations(&self) -> Vec<CommandDurations>;
}

/// Counts reads of meters.
#[derive(Debug, Default)]
pub struct ReadTally {
    counts: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl ReadTally {
    /// Counts one read that ended. `result` is one of a closed set, `meter` a name of the configuration.
    pub fn record(&self, meter: &str, result: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((meter.to_owned(), result)).or_default();
        *count = count.saturating_add(1);
    }
}

impl MeterReads for ReadTally {
    fn reads(&self) -> Vec<ReadCount> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|((meter, result), count)| ReadCount { meter: meter.clone(), result, count: *count })
            .collect()
    }
}

/// Upper bounds for command durations, in seconds: a miner on the local network answers within tens of
/// milliseconds, a busy one within seconds, and a driver gives up after some ten.
pub const COMMAND_BOUNDS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];

#[derive(Debug, Default)]
struct Lane {
    results: BTreeMap<&'static str, u64>,
    /// Commands up to each of [`COMMAND_BOUNDS`] and not up to the one before.
    within: [u64; COMMAND_BOUNDS.len()],
    count: u64,
    sum: f64,
}

/// Counts commands to miners and how long they took.
#[derive(Debug, Default)]
pub struct CommandTally {
    lanes: Mutex<BTreeMap<&'static str, Lane>>,
}

impl CommandTally {
    /// Counts one command that ended. `driver` and `result` are each one of a closed set.
    pub fn record(&self, driver: &'static str, result: &'static str, took: Duration) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.entry(driver).or_default();
        let count = lane.results.entry(result).or_default();
        *count = count.saturating_add(1);
        let seconds = took.as_secs_f64();
        let bucket = COMMAND_BOUNDS.iter().zip(&mut lane.within);
        if let Some((_, within)) = bucket.into_iter().find(|(bound, _)| seconds <= **bound) {
            *within = within.saturating_add(1);
        }
        lane.count = lane.count.saturating_add(1);
        lane.sum += seconds;
    }
}

impl CommandStats for CommandTally {
    fn commands(&self) -> Vec<CommandCount> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = lanes.iter().flat_map(|(driver, lane)| {
            lane.results.iter().map(|(result, count)| CommandCount { driver, result, count: *count })
        });
        counts.collect()
    }

    fn durations(&self) -> Vec<CommandDurations> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = lanes.iter().map(|(driver, lane)| {
            let mut total = 0_u64;
            let buckets = COMMAND_BOUNDS.iter().zip(&lane.within).map(|(bound, within)| {
                total = total.saturating_add(*within);
                (*bound, total)
            });
            CommandDurations { driver, buckets: buckets.collect(), count: lane.count, sum: lane.sum }
        });
        durations.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_slow_command_is_counted_above_the_last() {
        let tally = CommandTally::default();
        tally.record("braiins-os", "accepted", Duration::from_millis(10));
        tally.record("braiins-os", "accepted", Duration::from_millis(900));
        tally.record("braiins-os", "unknown", Duration::from_secs(60));
        let durations = tally.durations();
        let lane = &durations[0];
        assert_eq!(lane.buckets[0], (0.01, 1), "a bound belongs to its own bucket");
        assert_eq!(lane.buckets[3], (0.3, 1));
        assert_eq!(lane.buckets[4], (1.0, 2));
        assert_eq!(lane.buckets[9], (30.0, 2));
        assert_eq!(lane.count, 3);
        assert!((lane.sum - 60.91).abs() < 1e-9);
        assert_eq!(tally.commands().iter().map(|row| row.count).sum::<u64>(), 3);
    }

    #[test]
    fn reads_are_counted_by_meter_and_result() {
        let tally = ReadTally::default();
        for result in ["ok", "ok", "unreachable"] {
            tally.record("pcc", result);
        }
        let reads = tally.reads();
        assert_eq!(reads.len(), 2);
        assert_eq!((reads[0].result, reads[0].count), ("ok", 2));
        assert_eq!((reads[1].result, reads[1].count), ("unreachable", 1));
    }
}
