//! Which alarms there are: from what is found in each look to what is raised, cleared and acknowledged.
//!
//! Pure: time comes in. Durations are counted on the steady clock, stamps for people on the wall clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::kind::{Kind, Severity};
use crate::clock::Moment;
use crate::maintenance::{LONGEST_TEXT, is_said};
use crate::metrics::long;

/// Alarms that can be raised at one time. Many miners of a circuit are one alarm, so that this many are never needed.
pub const MOST_RAISED: usize = 1_000;
/// Alarms that are over and still told of.
pub const MOST_CLEARED: usize = 500;
/// The longest name and note of whoever acknowledges, in characters.
pub const LONGEST_NOTE: usize = LONGEST_TEXT;

/// Something that is wrong at the moment of a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Name of the meter, circuit, miner or source that it is about.
    pub subject: Arc<str>,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in one sentence with figures.
    pub words: String,
    /// Whether somebody has said that they work on it: it is shown, and nobody is called.
    pub quiet: bool,
    /// Whether a window is open in which the webhook is not called for it.
    pub muted: bool,
    /// Whether another one tells of it together with others: it is not raised by itself, and one that was is not over for that.
    pub covered: bool,
}

/// Who has said that they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Their name.
    pub by: Arc<str>,
    /// When, in Unix milliseconds.
    pub at: i64,
    /// What they say; may be empty.
    pub note: Arc<str>,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// Rises with every alarm, over restarts too where there is a database.
    pub id: u64,
    /// What it is.
    pub kind: Kind,
    /// Name of what it is about.
    pub subject: Arc<str>,
    /// The highest severity that it has had.
    pub severity: Severity,
    /// What is wrong; of one that is over, what was wrong last; of one that is well again and watched, that it is.
    pub words: Arc<str>,
    /// When it was raised, in Unix milliseconds.
    pub raised: i64,
    /// When it was over, in Unix milliseconds; `None` while it is not.
    pub cleared: Option<i64>,
    /// Who has said that they know.
    pub acknowledged: Option<Acknowledgement>,
    /// Whether nobody is called for it now.
    pub quiet: bool,
    /// Whether the webhook is not called for it now, because of the time.
    pub muted: bool,
    /// Whether the webhook was called for it as it is.
    pub told: bool,
}

/// What has happened to an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It has begun, or was quiet until now.
    Raised,
    /// It matters more than before.
    Worse,
    /// It is over.
    Cleared,
    /// Somebody has said that they know.
    Acknowledged,
}

impl What {
    /// As written for machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Worse => "worse",
            Self::Cleared => "cleared",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// An alarm to which something has happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// What.
    pub what: What,
    /// The alarm as it is then.
    pub alarm: Alarm,
}

/// Why an alarm cannot be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlarmError {
    /// There is none of this number.
    #[error("there is no alarm {0}; `ballast alarms` lists those that there are")]
    NoSuch(u64),
    /// It is over.
    #[error("the alarm {0} is over already; there is nothing to acknowledge")]
    Over(u64),
    /// The name is missing, or a text is too long.
    #[error(
        "`{0}` cannot be used; write 1 to {LONGEST_NOTE} characters in one line (a note may be left away)"
    )]
    Text(&'static str),
}

#[derive(Clone, Debug)]
enum Phase {
    /// Found, and not for long enough.
    Rising { since: Moment },
    /// Raised, and found in the latest look or not long before.
    Raised {
        alarm: Alarm,
        /// When it was found first; `None` for one of a run before.
        since: Option<Moment>,
        /// Since when it is not found any more, and what was wrong last.
        well: Option<(Moment, Arc<str>)>,
    },
}

/// Other times than those of the kinds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    /// Severity instead of the one that was found; `None`: never an alarm.
    pub severity: BTreeMap<Kind, Option<Severity>>,
    /// Instead of [`Kind::after`].
    pub after: BTreeMap<Kind, Duration>,
}

/// All alarms of a site.
#[derive(Clone, Debug, Default)]
pub struct Book {
    last: u64,
    open: BTreeMap<(Kind, Arc<str>), Phase>,
    cleared: VecDeque<Alarm>,
    tuning: Tuning,
    /// How many of each kind were raised since the start.
    counts: BTreeMap<Kind, u64>,
    /// How many were not raised because there were too many.
    left_out: u64,
}

impl Book {
    /// A book with what a run before has left: alarms that were raised stand until they are seen to be over.
    pub fn new(kept: Vec<Alarm>, last: u64) -> Self {
        let mut book = Self { last, ..Self::default() };
        let mut kept = kept;
        kept.sort_by_key(|alarm| alarm.id);
        for alarm in kept {
            book.last = book.last.max(alarm.id);
            if alarm.cleared.is_some() {
                book.close(alarm);
            } else if book.open.len() < MOST_RAISED {
                let key = (alarm.kind, alarm.subject.clone());
                book.open.insert(key, Phase::Raised { alarm, since: None, well: None });
            }
        }
        book
    }

    /// Takes other times and severities.
    pub fn tune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }

    /// The highest number that was given.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many of each kind were raised since the start.
    pub fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }

    /// How many were not raised because [`MOST_RAISED`] were raised already.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Takes what a look has found. `settled` is false while the site starts: what is not found then is not over, for
    /// nobody has looked yet. `now` is on the steady clock, `wall` in Unix milliseconds.
    pub fn look(&mut self, found: Vec<Found>, settled: bool, now: Moment, wall: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut seen: Vec<(Kind, Arc<str>)> = Vec::with_capacity(found.len());
        for mut found in found {
            match self.tuning.severity.get(&found.kind) {
                Some(None) => continue,
                Some(Some(severity)) => found.severity = *severity,
                None => {}
            }
            let key = (found.kind, found.subject.clone());
            if found.covered && !matches!(self.open.get(&key), Some(Phase::Raised { .. })) {
                continue;
            }
            seen.push(key.clone());
            self.found(key, found, now, wall, &mut changes);
        }
        seen.sort_unstable();
        let gone: Vec<(Kind, Arc<str>)> = self
            .open
            .iter_mut()
            .filter(|(key, _)| seen.binary_search(key).is_err())
            .filter_map(|(key, phase)| {
                let over = match phase {
                    Phase::Rising { .. } => true,
                    Phase::Raised { .. } if !settled => false,
                    Phase::Raised { alarm, since, well } => {
                        let (well, _) = well.get_or_insert_with(|| (now, alarm.words.clone()));
                        let lasted =
                            since.map_or_else(String::new, |since| format!(" for {}", long(*well - since)));
                        let was = key.0.was(&key.1);
                        alarm.words = format!(
                            "{was}{lasted}; it has been well again for {}, and is watched for a while",
                            long(now - *well)
                        )
                        .into();
                        now - *well >= key.0.calm()
                    }
                };
                over.then(|| key.clone())
            })
            .collect();
        for key in gone {
            if let Some(Phase::Raised { mut alarm, well, .. }) = self.open.remove(&key) {
                alarm.cleared = Some(wall);
                if let Some((_, words)) = well {
                    alarm.words = words;
                }
                changes.push(Change { what: What::Cleared, alarm: alarm.clone() });
                self.close(alarm);
            }
        }
        changes
    }

    fn found(
        &mut self,
        key: (Kind, Arc<str>),
        found: Found,
        now: Moment,
        wall: i64,
        changes: &mut Vec<Change>,
    ) {
        let full = self.open.len() >= MOST_RAISED && !self.open.contains_key(&key);
        if full {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let after = self.tuning.after.get(&found.kind).copied().unwrap_or(found.kind.after());
        let phase = self.open.entry(key).or_insert(Phase::Rising { since: now });
        match phase {
            Phase::Rising { since } if now - *since < after => {}
            Phase::Rising { since } => {
                let since = Some(*since);
                self.last = self.last.saturating_add(1);
                let alarm = Alarm {
                    id: self.last,
                    kind: found.kind,
                    subject: found.subject,
                    severity: found.severity,
                    words: found.words.into(),
                    raised: wall,
                    cleared: None,
                    acknowledged: None,
                    quiet: found.quiet,
                    muted: found.muted,
                    told: !found.quiet && !found.muted,
                };
                let count = self.counts.entry(found.kind).or_default();
                *count = count.saturating_add(1);
                changes.push(Change { what: What::Raised, alarm: alarm.clone() });
                *phase = Phase::Raised { alarm, since, well: None };
            }
            Phase::Raised { alarm, well, .. } => {
                *well = None;
                if *alarm.words != *found.words {
                    alarm.words = found.words.into();
                }
                let worse = found.severity > alarm.severity;
                // What was not told in a window is told when that ends.
                let free = alarm.muted && !found.muted && !found.quiet && !alarm.told;
                let loud = (alarm.quiet && !found.quiet) || free;
                alarm.severity = alarm.severity.max(found.severity);
                (alarm.quiet, alarm.muted) = (found.quiet, found.muted);
                if worse || loud {
                    alarm.told = !found.quiet && !found.muted;
                }
                if worse || loud {
                    let what = if loud { What::Raised } else { What::Worse };
                    changes.push(Change { what, alarm: alarm.clone() });
                }
            }
        }
    }

    fn close(&mut self, alarm: Alarm) {
        if self.cleared.len() >= MOST_CLEARED {
            self.cleared.pop_front();
        }
        self.cleared.push_back(alarm);
    }

    /// The alarms that are raised, the most urgent first, and of one severity the newest first.
    pub fn raised(&self) -> Vec<&Alarm> {
        let mut raised: Vec<&Alarm> = self.open.values().filter_map(raised).collect();
        raised.sort_by_key(|alarm| (std::cmp::Reverse(alarm.severity), std::cmp::Reverse(alarm.id)));
        raised
    }

    /// The alarms that are over and still told of, the newest first.
    pub fn cleared(&self) -> impl Iterator<Item = &Alarm> {
        self.cleared.iter().rev()
    }

    /// Somebody says that they know of an alarm. What was said before is replaced.
    ///
    /// # Errors
    /// [`AlarmError`].
    pub fn acknowledge(&mut self, id: u64, by: &str, note: &str, wall: i64) -> Result<Change, AlarmError> {
        let (by, note) = (by.trim(), note.trim());
        for (key, text, least) in [("by", by, 1), ("note", note, 0)] {
            if !is_said(text, least) {
                return Err(AlarmError::Text(key));
            }
        }
        let mut open = self.open.values_mut().filter_map(|phase| match phase {
            Phase::Raised { alarm, well, .. } => Some((alarm, well)),
            Phase::Rising { .. } => None,
        });
        match open.find(|(alarm, _)| alarm.id == id) {
            Some((alarm, well)) => {
                alarm.acknowledged = Some(Acknowledgement { by: by.into(), at: wall, note: note.into() });
                let mut alarm = alarm.clone();
                // What is kept is what was wrong: how long ago that was is soon another figure.
                if let Some((_, words)) = well {
                    alarm.words = words.clone();
                }
                Ok(Change { what: What::Acknowledged, alarm })
            }
            None if self.cleared.iter().any(|alarm| alarm.id == id) => Err(AlarmError::Over(id)),
            None => Err(AlarmError::NoSuch(id)),
        }
    }
}

fn raised(phase: &Phase) -> Option<&Alarm> {
    match phase {
        Phase::Raised { alarm, .. } => Some(alarm),
        Phase::Rising { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn wall(seconds: u64) -> i64 {
        1_790_000_000_000 + i64::try_from(seconds).unwrap() * 1_000
    }

    fn found(kind: Kind, subject: &str, severity: Severity) -> Found {
        Found {
            kind,
            subject: subject.into(),
            severity,
            words: format!("{subject} is bad"),
            quiet: false,
            muted: false,
            covered: false,
        }
    }

    #[test]
    fn what_others_tell_of_is_not_raised_by_itself_and_is_not_over_for_that() {
        let mut book = Book::default();
        let silent =
            |covered: bool| vec![Found { covered, ..found(Kind::MinerSilent, "a1", Severity::Warning) }];
        assert_eq!(look(&mut book, silent(true), 0), []);
        assert_eq!(look(&mut book, silent(true), 600), [], "somebody else tells of it");
        look(&mut book, silent(false), 700);
        let raised = look(&mut book, silent(false), 800);
        assert_eq!(raised, [What::Raised]);
        assert_eq!(look(&mut book, silent(true), 900), []);
        assert_eq!(look(&mut book, silent(true), 9_000), [], "it is as silent as before");
        look(&mut book, Vec::new(), 9_001);
        let over = look(&mut book, Vec::new(), 9_900);
        assert_eq!(over, [What::Cleared]);
    }

    fn lost() -> Vec<Found> {
        vec![found(Kind::MeterLost, "grid", Severity::Critical)]
    }

    fn look(book: &mut Book, found: Vec<Found>, second: u64) -> Vec<What> {
        book.look(found, true, at(second), wall(second)).iter().map(|change| change.what).collect()
    }

    #[test]
    fn it_is_raised_after_its_time_and_over_after_its_calm() {
        let mut book = Book::default();
        assert_eq!(look(&mut book, lost(), 0), []);
        assert_eq!(look(&mut book, lost(), 9), []);
        assert_eq!(look(&mut book, lost(), 10), [What::Raised]);
        assert_eq!(look(&mut book, lost(), 11), []);
        assert_eq!(look(&mut book, vec![], 20), []);
        assert_eq!(look(&mut book, vec![], 79), []);
        assert_eq!(book.raised().len(), 1);
        let said = lost()[0].words.clone();
        let well = "the meter grid gave no fresh value for 20 s; it has been well again for 59 s, and is watched \
                    for a while";
        assert_eq!(&*book.raised()[0].words, well, "nobody is told that it still is so");
        let change = book.acknowledge(1, "Aisha", "", wall(79)).unwrap();
        assert_eq!(&*change.alarm.words, said, "what is kept is what was wrong");
        assert_eq!(look(&mut book, vec![], 80), [What::Cleared]);
        let over: Vec<_> = book.cleared().collect();
        assert_eq!(&*over[0].words, said);
        assert_eq!((over[0].raised, over[0].cleared), (wall(10), Some(wall(80))));
        assert!(book.raised().is_empty());
    }

    #[test]
    fn what_comes_and_goes_is_one_episode_or_none() {
        let mut book = Book::default();
        // Never for ten seconds.
        for second in 0..600 {
            let found = if second % 9 == 8 { vec![] } else { lost() };
            assert_eq!(look(&mut book, found, second), [], "{second}");
        }
        for second in 600..612 {
            look(&mut book, lost(), second);
        }
        assert_eq!(book.last(), 1);
        for second in 612..1_200 {
            let found = if second % 50 == 0 { lost() } else { vec![] };
            assert_eq!(look(&mut book, found, second), [], "{second}");
        }
        assert_eq!(book.last(), 1);
    }

    #[test]
    fn a_restart_goes_on_with_what_was_raised_and_calls_nobody_twice() {
        let mut book = Book::default();
        look(&mut book, lost(), 0);
        look(&mut book, lost(), 10);
        book.acknowledge(1, "Aisha", "on my way", wall(12)).unwrap();
        let kept = book.raised().into_iter().cloned().collect();
        let mut book = Book::new(kept, 1);
        // Nobody has looked at the meters yet.
        for second in 0..300 {
            assert_eq!(book.look(vec![], false, at(second), wall(second)), []);
        }
        assert_eq!(look(&mut book, lost(), 300), []);
        assert_eq!(book.raised()[0].acknowledged.as_ref().unwrap().by.as_ref(), "Aisha");
        look(&mut book, vec![], 301);
        assert!(
            book.raised()[0].words.contains("fresh value; it has been well again for 0 s"),
            "since when is not known"
        );
        assert_eq!(look(&mut book, vec![], 361), [What::Cleared]);
        look(&mut book, lost(), 400);
        look(&mut book, lost(), 410);
        assert_eq!(book.raised()[0].id, 2);
    }

    #[test]
    fn one_that_gets_worse_is_told_again_and_one_that_gets_better_is_not() {
        let mut book = Book::default();
        let mild = || vec![found(Kind::Breaker, "hall", Severity::Warning)];
        let bad = || vec![found(Kind::Breaker, "hall", Severity::Critical)];
        assert_eq!(look(&mut book, mild(), 1), [What::Raised]);
        assert_eq!(look(&mut book, bad(), 2), [What::Worse]);
        assert_eq!(look(&mut book, mild(), 3), []);
        assert_eq!(look(&mut book, bad(), 4), []);
    }

    #[test]
    fn quiet_ones_are_told_when_the_quiet_is_over() {
        let mut book = Book::default();
        let quiet = || vec![Found { quiet: true, ..found(Kind::MinerFault, "a1", Severity::Warning) }];
        look(&mut book, quiet(), 0);
        let raised = book.look(quiet(), true, at(60), wall(60));
        assert!(raised[0].alarm.quiet);
        assert_eq!(look(&mut book, quiet(), 61), []);
        let loud = vec![found(Kind::MinerFault, "a1", Severity::Warning)];
        assert_eq!(look(&mut book, loud, 62), [What::Raised]);
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let mut book = Book::default();
        book.tune(Tuning {
            severity: [(Kind::MeterLost, None), (Kind::Disk, Some(Severity::Critical))].into(),
            after: [(Kind::Disk, Duration::from_secs(1))].into(),
        });
        let both = || vec![lost().remove(0), found(Kind::Disk, "database", Severity::Warning)];
        look(&mut book, both(), 0);
        assert_eq!(look(&mut book, both(), 1), [What::Raised]);
        let raised = book.raised();
        assert_eq!((raised.len(), raised[0].severity), (1, Severity::Critical));
    }

    #[test]
    fn there_are_never_too_many() {
        let mut book = Book::default();
        let all = |from: usize| {
            (from..from + 3_000).map(|n| found(Kind::Breaker, &format!("c{n}"), Severity::Warning)).collect()
        };
        look(&mut book, all(0), 0);
        look(&mut book, all(0), 1);
        assert_eq!(book.raised().len(), MOST_RAISED);
        assert!(book.left_out() > 0);
        look(&mut book, vec![], 2);
        look(&mut book, vec![], 20);
        assert_eq!((book.raised().len(), book.cleared().count()), (0, MOST_CLEARED));
    }

    #[test]
    fn who_acknowledges_says_who_they_are() {
        let mut book = Book::default();
        look(&mut book, lost(), 0);
        look(&mut book, lost(), 10);
        assert_eq!(book.acknowledge(1, " ", "", 0), Err(AlarmError::Text("by")));
        assert_eq!(book.acknowledge(1, "x", "two\nlines", 0), Err(AlarmError::Text("note")));
        assert_eq!(book.acknowledge(1, &"x".repeat(201), "", 0), Err(AlarmError::Text("by")));
        assert_eq!(book.acknowledge(7, "x", "", 0), Err(AlarmError::NoSuch(7)));
        assert!(book.acknowledge(1, "x", "", 0).is_ok());
        look(&mut book, vec![], 11);
        look(&mut book, vec![], 71);
        assert_eq!(book.acknowledge(1, "x", "", 0), Err(AlarmError::Over(1)));
    }

    #[test]
    fn the_most_urgent_stand_first() {
        let mut book = Book::default();
        let all = || {
            vec![
                found(Kind::Breaker, "a", Severity::Notice),
                found(Kind::Breaker, "b", Severity::Critical),
                found(Kind::Breaker, "c", Severity::Critical),
            ]
        };
        look(&mut book, all(), 0);
        look(&mut book, all(), 1);
        let order: Vec<_> = book.raised().iter().map(|alarm| alarm.subject.to_string()).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }

    #[test]
    fn what_comes_in_a_window_is_told_when_it_ends_and_what_was_told_before_is_not_told_again() {
        let of = |severity: Severity, muted: bool| {
            vec![Found { muted, ..found(Kind::MinerFault, "a1", severity) }]
        };
        let mut book = Book::default();
        let mut tell = |severity: Severity, muted: bool, second: u64| {
            let changes = book.look(of(severity, muted), true, at(second), wall(second));
            changes.iter().map(|change| (change.what, change.alarm.told)).collect::<Vec<_>>()
        };
        let warning = Severity::Warning;
        assert_eq!(tell(warning, true, 0), []);
        assert_eq!(tell(warning, true, 100), [(What::Raised, false)], "it is shown, and nobody is called");
        assert_eq!(tell(warning, true, 200), []);
        assert_eq!(tell(warning, false, 300), [(What::Raised, true)], "the window ends");
        assert_eq!(tell(warning, true, 400), [], "the next window");
        assert_eq!(tell(warning, false, 500), [], "it was told before");
        assert_eq!(tell(warning, true, 600), []);
        assert_eq!(tell(Severity::Critical, true, 700), [(What::Worse, false)]);
        assert_eq!(
            tell(Severity::Critical, false, 800),
            [(What::Raised, true)],
            "that it got worse was not told"
        );
    }
}
