//! What the metrics show of a meter and of a link: plain atomic counters, written by the link's task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::refresh::LONGEST;
use super::session::ExceptionKind;
use crate::control::snapshot::MeterStatus;

/// The results that a read can have, in the order of [`MeterCounters::reads`].
const RESULTS: [&str; 7] = [
    MeterStatus::Ok.name(),
    MeterStatus::Unreachable.name(),
    MeterStatus::Malformed.name(),
    MeterStatus::Exception(0).name(),
    MeterStatus::Unavailable.name(),
    MeterStatus::Implausible.name(),
    MeterStatus::Frozen.name(),
];

const KINDS: [ExceptionKind; 3] =
    [ExceptionKind::Configuration, ExceptionKind::Transient, ExceptionKind::Device];

/// What has become of the reads of one meter since the start. Counters only rise.
#[derive(Debug, Default)]
pub struct MeterCounters {
    results: [AtomicU64; RESULTS.len()],
    exceptions: [AtomicU64; KINDS.len()],
    /// Nanoseconds, zero for not known yet.
    refresh: AtomicU64,
}

impl MeterCounters {
    /// How many reads ended with each result. The names are those of [`MeterStatus::name`]; every read has one
    /// result.
    pub fn reads(&self) -> [(&'static str, u64); RESULTS.len()] {
        let mut counts = self.results.iter().map(|count| count.load(Relaxed));
        RESULTS.map(|name| (name, counts.next().unwrap_or(0)))
    }

    /// How many reads ended with one result; zero for a name that is no result.
    pub fn reads_of(&self, result: &str) -> u64 {
        self.reads().into_iter().find_map(|(name, count)| (name == result).then_some(count)).unwrap_or(0)
    }

    /// How many of the reads that ended with an exception had one of each kind, under [`ExceptionKind::name`].
    pub fn exceptions(&self) -> [(&'static str, u64); KINDS.len()] {
        let mut counts = self.exceptions.iter().map(|count| count.load(Relaxed));
        KINDS.map(|kind| (kind.name(), counts.next().unwrap_or(0)))
    }

    /// How often the device seems to have a new value: the shortest time between two changes of the reading that
    /// keeps coming back. Not below the poll period, too long for a value that hardly moves; `None` until the value has
    /// changed twice.
    pub fn refresh_period(&self) -> Option<Duration> {
        match self.refresh.load(Relaxed) {
            0 => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        }
    }

    /// Counts the end of a read.
    pub(super) fn count(&self, status: MeterStatus) {
        let found = RESULTS.iter().position(|name| *name == status.name());
        if let Some(counter) = found.and_then(|index| self.results.get(index)) {
            counter.fetch_add(1, Relaxed);
        }
        if let MeterStatus::Exception(code) = status {
            let kind = ExceptionKind::of(code);
            let found = KINDS.iter().position(|known| *known == kind);
            if let Some(counter) = found.and_then(|index| self.exceptions.get(index)) {
                counter.fetch_add(1, Relaxed);
            }
        }
    }

    /// Takes over what was learned, here or before a restart.
    pub fn learned_refresh(&self, period: Duration) {
        let nanoseconds = u64::try_from(period.min(LONGEST).as_nanos()).unwrap_or(u64::MAX);
        self.refresh.store(nanoseconds, Relaxed);
    }
}

/// What has become of the connections of one link since the start.
#[derive(Debug, Default)]
pub struct LinkCounters {
    connections: AtomicU64,
    failures: AtomicU64,
    connected: AtomicBool,
}

impl LinkCounters {
    /// How many connections were opened.
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// How many attempts to connect failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Whether a connection is open, as far as this side knows.
    pub fn connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.connected.store(true, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
        self.connected.store(false, Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connected.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_counted_under_its_own_name() {
        let counters = MeterCounters::default();
        let all = [
            MeterStatus::Ok,
            MeterStatus::Unreachable,
            MeterStatus::Malformed,
            MeterStatus::Exception(2),
            MeterStatus::Unavailable,
            MeterStatus::Implausible,
            MeterStatus::Frozen,
        ];
        for (times, status) in (1..).zip(all) {
            for _ in 0..times {
                counters.count(status);
            }
            assert_eq!(counters.reads_of(status.name()), times);
        }
        assert_eq!(counters.reads().map(|(_, count)| count), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(counters.reads_of("pending"), 0);
    }

    #[test]
    fn exceptions_are_counted_by_whose_fault_they_are() {
        let counters = MeterCounters::default();
        for code in [1, 2, 3, 4, 5, 6, 8, 10, 11] {
            counters.count(MeterStatus::Exception(code));
        }
        assert_eq!(counters.exceptions(), [("configuration", 3), ("transient", 4), ("device", 2)]);
        assert_eq!(counters.reads_of("exception"), 9);
    }
}
