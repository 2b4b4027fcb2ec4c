//! What is kept of a quarter hour.

use std::ops::AddAssign;
use std::time::Duration;

use crate::units::{Joules, Watts};

/// Sums over some time, each with the time for which it was known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// For how long the daemon looked.
    pub observed: Duration,
    /// Energy into the circuit by its meter. Not negative. Known for [`Self::metered`].
    pub import: Joules,
    /// Energy out of the circuit by its meter. Not negative.
    pub export: Joules,
    /// For how much time the meter's own counters told the energy.
    pub by_counter: Duration,
    /// For how much time its power was added up instead.
    pub by_power: Duration,
    /// For how much time a counter told the sum across a gap; it is spread evenly over the gap.
    pub bridged: Duration,
    /// Draw of the miners that were known, as they or their meters tell.
    pub miners: Joules,
    /// For how much time they were known; miners of which half are silent are known for half of the time.
    pub miners_known: Duration,
    /// The most that the miners may have drawn that were not known.
    pub miners_unknown: Joules,
    /// Load other than miners; negative where generation was larger. Known for `together`.
    pub other: Joules,
    /// Import that would not have been without the miners: in each cycle the smaller of import and draw. Not negative.
    pub caused: Joules,
    /// Import that the meter's counter tells of a time for which nobody knows whether the miners caused it: its meter told no power
    /// then. Not negative; in no part of `caused`.
    pub unattributed: Joules,
    /// The most that the miners drew while not even the import was known. Not negative.
    pub unmetered: Joules,
    /// Export that the miners could have taken and did not: in each cycle the smaller of export and of what they were below
    /// their highest power. Not negative.
    pub unused: Joules,
    /// For how much time meter and miners were known together.
    pub together: Duration,
    /// The tightest cap on the circuit's import times its time; divided by `capped` it is the mean cap.
    pub cap: Joules,
    /// For how much time there was a cap.
    pub capped: Duration,
    /// Hashes by the miners' own word, in terahashes.
    pub terahashes: f64,
    /// For how much time the hashrate was known, as with `miners_known`.
    pub hash_known: Duration,
    /// How often a counter went back or leapt: reset, run over, or another meter.
    pub resets: u32,
    /// How often the clock jumped.
    pub jumps: u32,
}

impl Sums {
    /// For how much time import and export are known, however.
    pub fn metered(&self) -> Duration {
        self.by_counter.saturating_add(self.by_power).saturating_add(self.bridged)
    }

    /// The most that may have been imported because of the miners beyond `caused`, as far as it is known how much flowed or what
    /// they drew at the most.
    pub fn doubtful(&self) -> Joules {
        self.unattributed + self.unmetered
    }

    /// The mean of the tightest cap while there was one.
    pub fn mean_cap(&self) -> Option<Watts> {
        let seconds = self.capped.as_secs_f64();
        (seconds > 0.0).then(|| Watts::saturating(self.cap.get() / seconds))
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        let time = |one: &mut Duration, other: Duration| *one = one.saturating_add(other);
        time(&mut self.observed, other.observed);
        self.import += other.import;
        self.export += other.export;
        time(&mut self.by_counter, other.by_counter);
        time(&mut self.by_power, other.by_power);
        time(&mut self.bridged, other.bridged);
        self.miners += other.miners;
        time(&mut self.miners_known, other.miners_known);
        self.miners_unknown += other.miners_unknown;
        self.other += other.other;
        self.caused += other.caused;
        self.unattributed += other.unattributed;
        self.unmetered += other.unmetered;
        self.unused += other.unused;
        time(&mut self.together, other.together);
        self.cap += other.cap;
        time(&mut self.capped, other.capped);
        self.terahashes += other.terahashes;
        time(&mut self.hash_known, other.hash_known);
        self.resets = self.resets.saturating_add(other.resets);
        self.jumps = self.jumps.saturating_add(other.jumps);
    }
}
