//! What of a meter is read together, and which of its requests may be asked.
//!
//! A meter has up to three batches. The *lead* is what its status follows: its power or, where it tells none, everything
//! but its energies. It is read at the meter's period. Of the rest, energies are read every [`SLOW`], everything else
//! every [`FAST`] (or at the meter's period, if that is longer), one request at a time in the pauses of the link.

use std::time::Duration;

use super::plan::{Plan, Span};
use super::profile::{Measure, Profile};
use crate::clock::Moment;

/// How often phases, voltages, the frequency and the state of charge are read beside power.
pub(super) const FAST: Duration = Duration::from_secs(1);
/// How often energies are read: nobody acts on them.
pub(super) const SLOW: Duration = Duration::from_secs(5);
/// For how long a request that was refused with exception 1, 2 or 3 is not repeated, unless the link is opened anew.
const REFUSED: Duration = Duration::from_secs(600);
/// How long the first pause of a request is that was not answered; it doubles up to [`REFUSED`].
const UNANSWERED: Duration = Duration::from_secs(10);
/// A request that was never answered is given up after so many tries: each costs the whole link a timeout.
const TRIES: u32 = 3;

/// Why a request is not asked at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Hold {
    /// Refused: not before this moment.
    refused: Option<Moment>,
    /// Not answered: not before this moment.
    unanswered: Option<Moment>,
    /// Failures in a row.
    failures: u32,
    /// Whether it was ever answered.
    answered: bool,
}

impl Hold {
    fn over(&self, now: Moment) -> bool {
        let given_up = !self.answered && self.failures >= TRIES;
        !given_up && [self.refused, self.unanswered].into_iter().flatten().all(|until| now >= until)
    }
}

/// Some measures of a meter and the requests that read them.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) plan: Plan,
    pub(super) measures: Vec<Measure>,
    /// Time between two rounds.
    pub(super) every: Duration,
    /// When the next round begins; in the past while one is under way.
    pub(super) due: Moment,
    /// The request that is next in this round.
    position: usize,
    /// By request.
    holds: Vec<Hold>,
    /// About the longest that one of its requests takes.
    pub(super) took: Option<Duration>,
}

impl Batch {
    fn new(profile: &Profile, measures: Vec<Measure>, every: Duration, due: Moment) -> Self {
        let plan = Plan::new(measures.iter().filter_map(|measure| profile.point(*measure)));
        let holds = vec![Hold::default(); plan.requests()];
        Self { plan, measures, every, due, position: 0, holds, took: None }
    }

    /// The lead of a meter and the rest of its measures.
    pub(super) fn split_up(profile: &Profile, period: Duration, now: Moment) -> (Self, Vec<Self>) {
        let all: Vec<Measure> = profile.points().map(|(measure, _)| measure).collect();
        let energy = |measure: &Measure| matches!(measure, Measure::EnergyImport | Measure::EnergyExport);
        let (slow, mut fast): (Vec<_>, Vec<_>) = all.into_iter().partition(energy);
        let power = fast.iter().position(|measure| *measure == Measure::Power);
        let (lead, fast, slow) = match power {
            Some(at) => (vec![fast.remove(at)], fast, slow),
            None if fast.is_empty() => (slow, Vec::new(), Vec::new()),
            None => (fast, Vec::new(), slow),
        };
        let rest = [(fast, FAST), (slow, SLOW)];
        let rest = rest.into_iter().filter(|(measures, _)| !measures.is_empty());
        let rest = rest.map(|(measures, every)| Self::new(profile, measures, every.max(period), now));
        (Self::new(profile, lead, period, now), rest.collect())
    }

    /// Begins a round: nothing of the one before is taken for new.
    pub(super) fn begin(&mut self) {
        self.position = 0;
        self.plan.forget();
    }

    /// The next request of the round that may be asked, with its position; `None` at the end of the round.
    pub(super) fn next(&mut self, now: Moment) -> Option<(usize, Span)> {
        while let Some(hold) = self.holds.get(self.position) {
            if hold.over(now) {
                return Some((self.position, self.plan.span(self.position)?));
            }
            self.position += 1;
        }
        None
    }

    /// Ends a round if it is over, and sets the beginning of the next. A round in which nothing may be asked is over
    /// at once.
    pub(super) fn turn(&mut self, now: Moment) {
        if self.next(now).is_none() {
            self.due = next_beat(self.due, self.every, now);
            self.begin();
        }
    }

    /// Takes the answer to the request at the present position, and goes on.
    pub(super) fn take(&mut self, words: &[u16], now: Moment) {
        self.plan.store_at(self.position, words, now);
        if let Some(hold) = self.holds.get_mut(self.position) {
            *hold = Hold { answered: true, ..Hold::default() };
        }
        self.position += 1;
    }

    /// Splits the present request in two; `false` when it is a single value.
    pub(super) fn split(&mut self) -> bool {
        let split = self.plan.split(self.position);
        if split {
            self.holds.insert(self.position + 1, Hold::default());
        }
        split
    }

    /// The present request was refused for good; goes on with the next. Gives what is missing from now on.
    pub(super) fn refuse(&mut self, profile: &Profile, now: Moment) -> Vec<&'static str> {
        if let Some(hold) = self.holds.get_mut(self.position) {
            hold.refused = Some(now + REFUSED);
        }
        self.pass(profile)
    }

    /// The present request got no proper answer; goes on with the next. Gives what is missing from now on.
    pub(super) fn fail(&mut self, profile: &Profile, now: Moment) -> Vec<&'static str> {
        if let Some(hold) = self.holds.get_mut(self.position) {
            let pause = UNANSWERED.saturating_mul(1 << hold.failures.min(10)).min(REFUSED);
            hold.failures = hold.failures.saturating_add(1);
            hold.unanswered = Some(now + pause);
        }
        self.pass(profile)
    }

    /// Leaves the present request out of this round.
    pub(super) fn pass(&mut self, profile: &Profile) -> Vec<&'static str> {
        let position = self.position;
        self.position += 1;
        self.measures_at(position, profile).map(Measure::name).collect()
    }

    /// The measures that need words of a request.
    pub(super) fn measures_at<'b>(
        &'b self,
        position: usize,
        profile: &'b Profile,
    ) -> impl Iterator<Item = Measure> + 'b {
        let needs = move |measure: &Measure| {
            profile.point(*measure).is_some_and(|point| self.plan.concerns(position, point))
        };
        self.measures.iter().copied().filter(needs)
    }

    /// A new connection: what was refused may be served by now.
    pub(super) fn connected(&mut self) {
        self.holds.iter_mut().for_each(|hold| hold.refused = None);
    }

    /// Whether nothing of it may be asked at the moment.
    pub(super) fn all_held(&self, now: Moment) -> bool {
        !self.holds.iter().any(|hold| hold.over(now))
    }

    /// Asks everything again.
    pub(super) fn release(&mut self) {
        self.holds.fill(Hold::default());
    }

    /// Takes note of how long a request took. A longer time counts at once, shorter ones slowly.
    pub(super) fn clock(&mut self, took: Duration) {
        self.took = Some(match self.took {
            Some(known) if known > took => known.saturating_sub((known - took) / 16),
            _ => took,
        });
    }
}

/// The first moment after `now` that is a whole number of periods after `due`.
pub(super) fn next_beat(due: Moment, period: Duration, now: Moment) -> Moment {
    let late = (now - due).as_nanos();
    let into = late % period.as_nanos().max(1);
    let rest = period.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)));
    now.max(due) + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::profile::{Point, Register};
    use super::*;

    fn profile(power: bool, others: &[(Measure, u16)]) -> Profile {
        let point = |address| Point::of(vec![Register { address, ..Register::default() }]);
        Profile {
            power: if power { point(0) } else { Point::default() },
            others: others
                .iter()
                .map(|(measure, address)| (*measure, point(*address)))
                .collect::<BTreeMap<_, _>>(),
            ..Profile::default()
        }
    }

    const ALL: [(Measure, u16); 4] = [
        (Measure::Frequency, 10),
        (Measure::VoltageL1, 11),
        (Measure::EnergyImport, 30),
        (Measure::StateOfCharge, 20),
    ];
    const PERIOD: Duration = Duration::from_millis(100);

    fn late(seconds: u64) -> Moment {
        Moment::millis(1_000 * seconds)
    }

    #[test]
    fn power_leads_and_energies_come_last() {
        let (lead, rest) = Batch::split_up(&profile(true, &ALL), PERIOD, Moment::START);
        assert_eq!((lead.measures.as_slice(), lead.every), (&[Measure::Power][..], PERIOD));
        let rest: Vec<_> = rest.iter().map(|batch| (batch.measures.len(), batch.every)).collect();
        assert_eq!(rest, [(3, FAST), (1, SLOW)]);
        let slow_meter = Duration::from_secs(30);
        let (_, rest) = Batch::split_up(&profile(true, &ALL), slow_meter, Moment::START);
        assert!(rest.iter().all(|batch| batch.every == slow_meter), "never more often than power");
    }

    #[test]
    fn without_power_the_rest_leads() {
        let (lead, rest) = Batch::split_up(&profile(false, &ALL), PERIOD, Moment::START);
        assert_eq!((lead.measures.len(), rest.len()), (3, 1));
        let (lead, rest) =
            Batch::split_up(&profile(false, &[(Measure::EnergyImport, 30)]), PERIOD, Moment::START);
        assert_eq!((lead.measures.as_slice(), rest.len()), (&[Measure::EnergyImport][..], 0));
    }

    #[test]
    fn what_is_refused_is_left_alone_for_ten_minutes_or_until_a_new_connection() {
        let profile = profile(true, &ALL);
        let (_, mut rest) = Batch::split_up(&profile, PERIOD, Moment::START);
        let batch = &mut rest[0];
        batch.begin();
        assert_eq!(batch.next(late(0)).unwrap().1.count, 2, "10 and 11 in one request");
        assert!(batch.split());
        assert_eq!(batch.refuse(&profile, late(0)), ["frequency"]);
        assert_eq!(batch.next(late(0)).unwrap().1.address, 11);
        batch.take(&[2300], late(0));
        batch.take(&[50], late(0));
        batch.turn(late(0));
        assert_eq!(batch.due, late(1));
        assert_eq!(batch.next(late(1)).unwrap().1.address, 11);
        batch.begin();
        assert_eq!(batch.next(late(599)).unwrap().1.address, 11);
        batch.begin();
        assert_eq!(batch.next(late(600)).unwrap().1.address, 10);
        batch.refuse(&profile, late(600));
        batch.begin();
        batch.connected();
        assert_eq!(batch.next(late(601)).unwrap().1.address, 10);
    }

    #[test]
    fn what_is_never_answered_is_given_up_and_what_was_is_not() {
        let profile = profile(true, &[(Measure::Frequency, 10)]);
        let tries = |batch: &mut Batch| {
            let mut tries = Vec::new();
            for second in 0..4_000 {
                batch.begin();
                if batch.next(late(second)).is_some() {
                    tries.push(second);
                    batch.fail(&profile, late(second));
                }
            }
            tries
        };
        let (_, mut rest) = Batch::split_up(&profile, PERIOD, Moment::START);
        assert_eq!(tries(&mut rest[0]), [0, 10, 30], "and no more");
        assert!(rest[0].all_held(late(100_000)));
        rest[0].release();
        rest[0].begin();
        rest[0].next(late(0));
        rest[0].take(&[50], late(0));
        assert_eq!(tries(&mut rest[0]), [0, 10, 30, 70, 150, 310, 630, 1_230, 1_830, 2_430, 3_030, 3_630]);
    }

    #[test]
    fn missed_deadlines_are_skipped_and_the_beat_is_kept() {
        let period = Duration::from_millis(100);
        let next = |now| next_beat(Moment::millis(1000), period, Moment::millis(now));
        assert_eq!(next(1000), Moment::millis(1100));
        assert_eq!(next(1030), Moment::millis(1100));
        assert_eq!(next(1099), Moment::millis(1100));
        assert_eq!(next(1100), Moment::millis(1200));
        assert_eq!(next(5555), Moment::millis(5600));
        assert_eq!(next(900), Moment::millis(1100), "read before its deadline");
    }
}
