//! Counters of what the sessions do. Shared by all sessions, read by the metrics without stopping any.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::miner::kind::PerDriver;
use crate::miner::{DriverError, DriverKind};

/// How an exchange ended, as a closed set of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// A command was accepted, or a poll gave a reading.
    Ok,
    /// Wrong account or password.
    RejectedCredentials,
    /// The write interface is off.
    RejectedWriteDisabled,
    /// Out of sessions or tokens.
    RejectedBusy,
    /// The value is outside of what the miner accepts.
    RejectedOutOfRange,
    /// Not possible in the state that the miner is in.
    RejectedWrongState,
    /// The firmware has no such command.
    RejectedUnsupported,
    /// Another miner answers at the address; nothing was sent.
    RejectedAnotherMiner,
    /// Something else, in the vendor's words.
    RejectedOther,
    /// No complete answer in time.
    Timeout,
    /// Not what the vendor documents.
    Malformed,
    /// No connection.
    Unreachable,
    /// A poll that gave way to a shed.
    Cancelled,
}

impl Ended {
    /// All, for metrics.
    pub const ALL: [Self; 13] = [
        Self::Ok,
        Self::RejectedCredentials,
        Self::RejectedWriteDisabled,
        Self::RejectedBusy,
        Self::RejectedOutOfRange,
        Self::RejectedWrongState,
        Self::RejectedUnsupported,
        Self::RejectedAnotherMiner,
        Self::RejectedOther,
        Self::Timeout,
        Self::Malformed,
        Self::Unreachable,
        Self::Cancelled,
    ];

    /// As written in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RejectedCredentials => "rejected_credentials",
            Self::RejectedWriteDisabled => "rejected_write_disabled",
            Self::RejectedBusy => "rejected_busy",
            Self::RejectedOutOfRange => "rejected_out_of_range",
            Self::RejectedWrongState => "rejected_wrong_state",
            Self::RejectedUnsupported => "rejected_unsupported",
            Self::RejectedAnotherMiner => "rejected_another_miner",
            Self::RejectedOther => "rejected_other",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
            Self::Cancelled => "cancelled",
        }
    }

    /// How this result of an exchange is counted.
    pub fn of<T>(result: &Result<T, DriverError>) -> Self {
        use crate::control::snapshot::Rejection;
        match result {
            Ok(_) => Self::Ok,
            Err(DriverError::Unreachable { .. }) => Self::Unreachable,
            Err(DriverError::Timeout { .. }) => Self::Timeout,
            Err(DriverError::Malformed { .. }) => Self::Malformed,
            Err(DriverError::Rejected { reason, .. }) => match reason {
                Rejection::Credentials => Self::RejectedCredentials,
                Rejection::WriteDisabled => Self::RejectedWriteDisabled,
                Rejection::Busy => Self::RejectedBusy,
                Rejection::OutOfRange => Self::RejectedOutOfRange,
                Rejection::WrongState => Self::RejectedWrongState,
                Rejection::Unsupported => Self::RejectedUnsupported,
                Rejection::AnotherMiner => Self::RejectedAnotherMiner,
                Rejection::Other(_) => Self::RejectedOther,
            },
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|ended| *ended == self).unwrap_or_default()
    }
}

/// Counts by how an exchange ended.
#[derive(Debug, Default)]
pub struct Endings([AtomicU64; Ended::ALL.len()]);

impl Endings {
    /// Counts one.
    pub fn count(&self, ended: Ended) {
        if let Some(counter) = self.0.get(ended.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many ended so since the start.
    pub fn get(&self, ended: Ended) -> u64 {
        self.0.get(ended.index()).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// Upper bounds of the buckets of [`Durations`], in seconds; one more bucket takes what is longer.
pub const BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// A histogram of durations with fixed buckets.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    microseconds: AtomicU64,
}

/// A [`Durations`] as it stood at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationsRead {
    /// How many were at most as long as each of [`BUCKETS`], cumulative.
    pub cumulative: [u64; BUCKETS.len()],
    /// How many there were.
    pub count: u64,
    /// Their sum in seconds.
    pub seconds: f64,
}

impl Durations {
    /// Adds one.
    pub fn record(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let index = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// What was recorded so far. The count is the sum of the buckets, so the two always agree.
    pub fn read(&self) -> DurationsRead {
        let mut cumulative = [0; BUCKETS.len()];
        let mut count = 0_u64;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count = count.saturating_add(bucket.load(Ordering::Relaxed));
            if let Some(place) = cumulative.get_mut(index) {
                *place = count;
            }
        }
        DurationsRead {
            cumulative,
            count,
            seconds: Duration::from_micros(self.microseconds.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

/// The counters of one kind of driver.
#[derive(Debug, Default)]
pub struct DriverTally {
    /// Commands by how they ended.
    pub commands: Endings,
    /// Polls by how they ended.
    pub polls: Endings,
    /// How long commands took, from sending to the miner's word, successful or not.
    pub command_seconds: Durations,
}

/// The counters of all sessions.
#[derive(Debug, Default)]
pub struct SessionMetrics {
    drivers: PerDriver<DriverTally>,
}

impl SessionMetrics {
    /// The counters of a kind of driver.
    pub const fn driver(&self, kind: DriverKind) -> &DriverTally {
        self.drivers.get(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_a_counter_and_a_name_of_its_own() {
        let endings = Endings::default();
        for (times, ended) in Ended::ALL.into_iter().enumerate() {
            for _ in 0..=times {
                endings.count(ended);
            }
        }
        for (times, ended) in Ended::ALL.into_iter().enumerate() {
            assert_eq!(usize::try_from(endings.get(ended)).unwrap(), times + 1);
        }
        let mut names: Vec<_> = Ended::ALL.into_iter().map(Ended::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Ended::ALL.len());
    }

    #[test]
    fn durations_fall_into_cumulative_buckets() {
        let durations = Durations::default();
        durations.record(Duration::from_millis(10));
        durations.record(Duration::from_millis(300));
        durations.record(Duration::from_secs(60));
        let read = durations.read();
        assert_eq!(read.cumulative, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
        assert_eq!(read.count, 3);
        assert!((read.seconds - 60.31).abs() < 1e-6);
    }
}
