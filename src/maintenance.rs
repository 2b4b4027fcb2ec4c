//! Miners and circuits that somebody works on: which, how they are kept, who said so, and until when.
//!
//! ```text
//!  API, command line ──► Maintenance ──► Snapshot.holds ──► control law
//!                             │
//!                             └─► database, before it is answered
//! ```
//!
//! Names last: what is worked on is known by its name, and by positions only within a cycle. A circuit stands for every miner that
//! hangs on it or below. This is no lock: whoever works on live parts opens the circuit and locks it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{self, Clock, Moment};
use crate::control::site::{MinerId, Site};
use crate::control::snapshot::{HeldMiner, Hold};
use crate::line::is_line;
use crate::store::{MaintenanceRow, Store, Write};

/// More than anybody works on at once.
pub const MOST: usize = 1_000;
/// The longest name of somebody, and the longest note, in characters.
pub const LONGEST_TEXT: usize = 200;
/// Clocks that are no further apart, in milliseconds, count as one: an end comes that much earlier or later.
const ENDS_APART: u64 = 10_000;
/// No longer than this: what lasts longer is left open, and ended by somebody.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What somebody works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One miner.
    Miner,
    /// All miners of a circuit and of those below it.
    Circuit,
}

impl Kind {
    /// As written in requests and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Miner => "miner",
            Self::Circuit => "circuit",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Miner, Self::Circuit].into_iter().find(|kind| kind.name() == name)
    }
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// What kind of thing is worked on.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// How its miners are kept.
    pub hold: Hold,
    /// Who said so.
    pub by: Arc<str>,
    /// What they said; may be empty.
    pub note: Arc<str>,
    /// When it was begun, in Unix milliseconds.
    pub begun: i64,
    /// When it ends by itself, in Unix milliseconds; `None` when somebody is to end it.
    pub until: Option<i64>,
}

/// Why a piece of work cannot be begun or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaintenanceError {
    /// The site has none of this name.
    #[error("the site has no {kind} `{name}`", kind = kind.name())]
    Unknown {
        /// Of which kind.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// There is a miner and a circuit of this name.
    #[error("a miner and a circuit are called `{0}`: say which, with `kind`")]
    Which(String),
    /// Nobody works on it.
    #[error("nobody works on `{0}`")]
    None(String),
    /// A text that cannot be used.
    #[error("`{0}` cannot be used: write 1 to {LONGEST_TEXT} characters in one line")]
    Text(&'static str),
    /// The end is over already, or too far away.
    #[error("`until` has to lie ahead, and at most 366 days; leave it away when nobody knows the end")]
    Until,
    /// There are too many.
    #[error("{MOST} things are worked on already; end some, or say it of a whole circuit")]
    Full,
}

/// What was begun or ended, and whether that is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The work.
    pub work: Work,
    /// It is on disk; `None` where nothing is kept.
    pub stored: Option<bool>,
}

#[derive(Clone, Debug)]
struct Entry {
    work: Work,
    /// The same end on the clock that never jumps.
    ends: Option<Moment>,
}

type Key = (Kind, Arc<str>);

/// All that is worked on. Copies share it.
#[derive(Clone, Debug)]
pub struct Maintenance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: Mutex<BTreeMap<Key, Entry>>,
    store: Option<Store>,
    clock: Clock,
    /// By how many milliseconds this machine's clock is ahead of the one's that leads, where this one stands by.
    ahead: Mutex<i64>,
}

impl Maintenance {
    /// With what a run before has left on disk.
    pub fn new(kept: Vec<MaintenanceRow>, store: Option<Store>, clock: Clock) -> Self {
        let now = (clock.now(), clock::unix_millis());
        let entries = kept.into_iter().filter_map(from_row).map(|work| (key(&work), Entry::new(work, now)));
        Self(Arc::new(Inner { entries: Mutex::new(entries.collect()), store, clock, ahead: Mutex::new(0) }))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a piece of work, in the place of what was said of the same thing before. In force at once, and on disk when this
    /// returns, where the disk takes it.
    ///
    /// # Errors
    /// [`MaintenanceError`]; then nothing has changed.
    pub async fn begin(&self, site: &Site, work: Work) -> Result<Said, MaintenanceError> {
        known(site, &work)?;
        for (key, text, least) in [("by", &work.by, 1), ("note", &work.note, 0)] {
            if !is_said(text, least) {
                return Err(MaintenanceError::Text(key));
            }
        }
        let now = clock::unix_millis();
        let longest = i64::try_from(LONGEST.as_millis()).unwrap_or(i64::MAX);
        if work.until.is_some_and(|until| until <= now || until - now > longest) {
            return Err(MaintenanceError::Until);
        }
        {
            let mut entries = self.entries();
            if entries.len() >= MOST && !entries.contains_key(&key(&work)) {
                return Err(MaintenanceError::Full);
            }
            entries.insert(key(&work), Entry::new(work.clone(), (self.0.clock.now(), now)));
        }
        let (kind, by) = (work.kind.name(), &*work.by);
        tracing::info!(name = &*work.name, kind, hold = work.hold.name(), by, "maintenance begins");
        let stored = self.keep().await;
        Ok(Said { work, stored })
    }

    /// Ends what is worked on under this name; where a miner and a circuit have it, `kind` says which.
    ///
    /// # Errors
    /// Nobody works on it, or it is not clear on which.
    pub async fn end(&self, name: &str, kind: Option<Kind>, by: &str) -> Result<Said, MaintenanceError> {
        let short = || name.chars().take(LONGEST_TEXT).collect::<String>();
        let work = {
            let mut entries = self.entries();
            let fits =
                |entry: &&Entry| *entry.work.name == *name && kind.is_none_or(|kind| entry.work.kind == kind);
            let found: Vec<Key> = entries.values().filter(fits).map(|entry| key(&entry.work)).collect();
            match found.as_slice() {
                [] => return Err(MaintenanceError::None(short())),
                [one] => entries.remove(one),
                _ => return Err(MaintenanceError::Which(short())),
            }
        };
        let work = work.ok_or_else(|| MaintenanceError::None(short()))?.work;
        tracing::info!(name, kind = work.kind.name(), by, "maintenance ends");
        let stored = self.keep().await;
        Ok(Said { work, stored })
    }

    /// All that is worked on, for the machine that stands by.
    pub fn copy(&self) -> Vec<MaintenanceRow> {
        self.entries().values().map(|entry| to_row(&entry.work)).collect()
    }

    /// Takes what the machine that leads has, in the place of what is known here. Whether that is on disk; `None` where nothing
    /// has changed, or nothing is kept.
    ///
    /// `ahead` is by how many milliseconds this machine's clock is ahead of the other one's: where that is more than a moment, an end
    /// is moved along, so that it comes when it comes there.
    pub async fn mirror(&self, rows: Vec<MaintenanceRow>, ahead: i64) -> Option<bool> {
        let now = (self.0.clock.now(), clock::unix_millis());
        // Kept until it is another one for certain, or each look would bring another end.
        let ahead = {
            let mut known = self.0.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            if ahead.abs_diff(*known) > ENDS_APART {
                *known = ahead;
            }
            *known
        };
        let moved = |mut row: MaintenanceRow| {
            row.until_ms = row.until_ms.map(|until| until.saturating_add(ahead));
            row
        };
        let said = |work: &Work| is_said(&work.by, 1) && is_said(&work.note, 0);
        // What is over by this clock has been ended here.
        let over = |work: &Work| work.until.is_some_and(|until| until <= now.1);
        let works = rows.into_iter().take(MOST).map(moved).filter_map(from_row).filter(said);
        let works = works.filter(|work| !over(work));
        let works: BTreeMap<Key, Work> = works.map(|work| (key(&work), work)).collect();
        if self.list().iter().eq(works.values()) {
            return None;
        }
        *self.entries() = works.into_iter().map(|(key, work)| (key, Entry::new(work, now))).collect();
        self.keep().await
    }

    /// All that is worked on, by kind and name.
    pub fn list(&self) -> Vec<Work> {
        self.entries().values().map(|entry| entry.work.clone()).collect()
    }

    /// Who works on a miner, itself or through its circuits: as the law has it, whoever wants it left alone before those who want it
    /// asleep, and of equals the nearest.
    pub fn of(&self, site: &Site, miner: MinerId) -> Option<Work> {
        let entries = self.entries();
        let miner = site.miners.get(miner.0)?;
        let above = site.up(miner.circuit).map(|(_, circuit)| (Kind::Circuit, circuit.name.as_str()));
        let names = std::iter::once((Kind::Miner, miner.name.as_str())).chain(above);
        let all: Vec<&Work> =
            names.filter_map(|(kind, name)| Some(&entries.get(&(kind, name.into()))?.work)).collect();
        let alone = all.iter().find(|work| work.hold == Hold::HandsOff);
        alone.or_else(|| all.first()).map(|work| (*work).clone())
    }

    /// The names of which nobody is to be called meanwhile.
    pub fn quiet(&self) -> BTreeSet<Arc<str>> {
        self.entries().values().map(|entry| entry.work.name.clone()).collect()
    }

    /// Ends what is over by its own word, and tells which miners of a site are held, by rising miner, each once.
    pub fn look(&self, site: &Site) -> Vec<HeldMiner> {
        let now = self.0.clock.now();
        let mut entries = self.entries();
        if entries.is_empty() {
            return Vec::new();
        }
        entries.retain(|_, entry| {
            let over = entry.ends.is_some_and(|ends| now >= ends);
            if over {
                let (name, kind) = (&*entry.work.name, entry.work.kind.name());
                tracing::info!(name, kind, "maintenance is over, as was said when it was begun");
            }
            !over
        });
        held(site, entries.values().map(|entry| &entry.work))
    }

    /// Which miners would be held if this were begun, or ended.
    ///
    /// # Errors
    /// The site has none of this name, or nobody works on it.
    pub fn would(&self, site: &Site, work: &Work, begins: bool) -> Result<Vec<HeldMiner>, MaintenanceError> {
        if begins {
            known(site, work)?;
        }
        let mut all = self.list();
        let before = all.len();
        all.retain(|other| key(other) != key(work));
        if begins {
            all.push(work.clone());
        } else if all.len() == before {
            return Err(MaintenanceError::None(work.name.chars().take(LONGEST_TEXT).collect()));
        }
        Ok(held(site, all.iter()))
    }

    /// Brings everything to disk. What is over is not there any more after the next change; at the start it is left out.
    async fn keep(&self) -> Option<bool> {
        let store = self.0.store.as_ref()?;
        let rows = self.entries().values().map(|entry| to_row(&entry.work)).collect();
        Some(store.write(Write { maintenance: Some(rows), ..Write::default() }).await.is_ok())
    }
}

impl Entry {
    /// What is over already at the start is ended by the first look. A wall clock that is behind ends it later, and the miner
    /// sleeps meanwhile.
    fn new(work: Work, (now, wall): (Moment, i64)) -> Self {
        let left = work.until.map(|until| u64::try_from(until.saturating_sub(wall)).unwrap_or(0));
        Self { ends: left.map(|left| now + Duration::from_millis(left).min(LONGEST)), work }
    }
}

/// The miners of a site that are held by this, by rising miner, each once.
fn held<'w>(site: &Site, works: impl Iterator<Item = &'w Work>) -> Vec<HeldMiner> {
    let (mut circuits, mut miners) = (HashMap::new(), HashMap::new());
    for work in works {
        match work.kind {
            Kind::Miner => miners.insert(&*work.name, work.hold),
            Kind::Circuit => circuits.insert(&*work.name, work.hold),
        };
    }
    let mut above: Vec<Option<Hold>> = Vec::with_capacity(site.circuits.len());
    for circuit in &site.circuits {
        let fed = circuit.parent.and_then(|parent| above.get(parent.0).copied().flatten());
        above.push(stricter(circuits.get(circuit.name.as_str()).copied(), fed));
    }
    let each = site.miners.iter().enumerate().filter_map(|(index, miner)| {
        let own = miners.get(miner.name.as_str()).copied();
        let hold = stricter(own, above.get(miner.circuit.0).copied().flatten())?;
        Some(HeldMiner { miner: MinerId(index), hold })
    });
    each.collect()
}

/// Whether the site has it.
fn known(site: &Site, work: &Work) -> Result<(), MaintenanceError> {
    let there = match work.kind {
        Kind::Miner => site.miners.iter().any(|miner| *miner.name == *work.name),
        Kind::Circuit => site.circuits.iter().any(|circuit| *circuit.name == *work.name),
    };
    let name = || work.name.chars().take(LONGEST_TEXT).collect();
    if there { Ok(()) } else { Err(MaintenanceError::Unknown { kind: work.kind, name: name() }) }
}

fn key(work: &Work) -> Key {
    (work.kind, work.name.clone())
}

fn stricter(one: Option<Hold>, other: Option<Hold>) -> Option<Hold> {
    match (one, other) {
        (Some(Hold::HandsOff), _) | (_, Some(Hold::HandsOff)) => Some(Hold::HandsOff),
        (one, other) => one.or(other),
    }
}

/// Whether a text can stand as what somebody said: a line of at most [`LONGEST_TEXT`] characters, and at least so many without
/// what surrounds them.
pub fn is_said(text: &str, least: usize) -> bool {
    text.chars().count() <= LONGEST_TEXT && text.trim().chars().count() >= least && is_line(text)
}

fn to_row(work: &Work) -> MaintenanceRow {
    MaintenanceRow {
        kind: work.kind.name().into(),
        name: work.name.clone(),
        hold: work.hold.name().into(),
        by: work.by.clone(),
        note: work.note.clone(),
        begun_ms: work.begun,
        until_ms: work.until,
    }
}

/// `None` for a word that a later version of the program knows.
fn from_row(row: MaintenanceRow) -> Option<Work> {
    Some(Work {
        kind: Kind::named(&row.kind)?,
        name: row.name,
        hold: Hold::named(&row.hold)?,
        by: row.by,
        note: row.note,
        begun: row.begun_ms,
        until: row.until_ms,
    })
}

/// How many miners of a site a piece of work holds.
pub fn miners_of(site: &Site, work: &Work) -> usize {
    held(site, std::iter::once(work)).len()
}

/// How many are kept in each way.
pub fn counts(holds: &[HeldMiner]) -> [(Hold, usize); 2] {
    [Hold::Asleep, Hold::HandsOff].map(|hold| (hold, holds.iter().filter(|held| held.hold == hold).count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::snapshot::hold_of;
    use crate::store;

    fn site() -> Arc<Site> {
        crate::config::demo(crate::config::DEMO_NETWORK).unwrap().site
    }

    fn work(kind: Kind, name: &str) -> Work {
        Work {
            kind,
            name: name.into(),
            hold: Hold::Asleep,
            by: "Aisha".into(),
            note: "fan 2".into(),
            begun: clock::unix_millis(),
            until: None,
        }
    }

    fn miners_of(site: &Site, circuit: &str) -> Vec<usize> {
        let of = |miner: &crate::control::site::Miner| site.circuits[miner.circuit.0].name == circuit;
        site.miners.iter().enumerate().filter(|(_, miner)| of(miner)).map(|(index, _)| index).collect()
    }

    #[tokio::test]
    async fn a_circuit_stands_for_all_of_its_miners_and_a_miner_for_itself() {
        let (site, clock) = (site(), Clock::start());
        let maintenance = Maintenance::new(Vec::new(), None, clock);
        assert_eq!(maintenance.look(&site), []);
        let leaf = site.miners[0].circuit;
        let circuit = site.circuits[leaf.0].name.clone();
        let said = maintenance.begin(&site, work(Kind::Circuit, &circuit)).await.unwrap();
        assert_eq!(said.stored, None);
        let held = maintenance.look(&site);
        assert_eq!(held.iter().map(|held| held.miner.0).collect::<Vec<_>>(), miners_of(&site, &circuit));
        let single = Work { hold: Hold::HandsOff, ..work(Kind::Miner, &site.miners[0].name) };
        maintenance.begin(&site, single.clone()).await.unwrap();
        let held = maintenance.look(&site);
        assert_eq!(hold_of(&held, MinerId(0)), Some(Hold::HandsOff));
        assert_eq!(maintenance.of(&site, MinerId(0)).unwrap(), single);
        assert_eq!(counts(&held)[1].1, 1);
        let root = site.circuits[0].name.clone();
        maintenance.begin(&site, work(Kind::Circuit, &root)).await.unwrap();
        assert_eq!(maintenance.look(&site).len(), site.miners.len());
        for (name, kind) in
            [(root.as_str(), None), (circuit.as_str(), Some(Kind::Circuit)), (&single.name, None)]
        {
            maintenance.end(name, kind, "Aisha").await.unwrap();
        }
        assert_eq!(maintenance.look(&site), []);
        let again = maintenance.end(&root, None, "Aisha").await.unwrap_err();
        assert_eq!(again, MaintenanceError::None(root));
    }

    #[tokio::test]
    async fn what_cannot_be_is_refused_and_changes_nothing() {
        let (site, clock) = (site(), Clock::start());
        let maintenance = Maintenance::new(Vec::new(), None, clock);
        let good = work(Kind::Miner, &site.miners[0].name);
        let now = clock::unix_millis();
        for wrong in [
            work(Kind::Circuit, &site.miners[0].name),
            Work { by: "".into(), ..good.clone() },
            Work { by: " ".into(), ..good.clone() },
            Work { by: "A\nB".into(), ..good.clone() },
            Work { note: "x".repeat(201).into(), ..good.clone() },
            Work { until: Some(now - 1), ..good.clone() },
            Work { until: Some(now + 400 * 86_400_000), ..good.clone() },
        ] {
            maintenance.begin(&site, wrong).await.unwrap_err();
        }
        assert_eq!(maintenance.list(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_by_itself_by_a_clock_that_never_jumps() {
        let (site, clock) = (site(), Clock::start());
        let maintenance = Maintenance::new(Vec::new(), None, clock);
        let until = Some(clock::unix_millis() + 60_000);
        maintenance.begin(&site, Work { until, ..work(Kind::Miner, &site.miners[0].name) }).await.unwrap();
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(maintenance.look(&site).len(), 1);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(maintenance.look(&site), []);
        assert_eq!(maintenance.list(), []);
    }

    #[tokio::test]
    async fn it_is_there_again_after_a_restart() {
        let folder = std::env::temp_dir().join(format!("ballast-maintenance-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ballast.db");
        let (site, clock) = (site(), Clock::start());
        let mut opened = store::Store::open(&path, 0).unwrap();
        for (round, expected) in [(0, 0), (1, 2), (2, 1)] {
            let kept = std::mem::take(&mut opened.loaded.maintenance);
            let maintenance = Maintenance::new(kept, Some(opened.store.clone()), clock);
            assert_eq!(maintenance.list().len(), expected);
            if round == 0 {
                let until = Some(clock::unix_millis() + 3_600_000);
                let timed = Work { until, ..work(Kind::Miner, &site.miners[3].name) };
                assert_eq!(maintenance.begin(&site, timed).await.unwrap().stored, Some(true));
                maintenance.begin(&site, work(Kind::Circuit, &site.circuits[1].name)).await.unwrap();
            } else if round == 1 {
                assert_eq!(maintenance.list()[0].note, "fan 2".into());
                maintenance.end(&site.miners[3].name, None, "Bilal").await.unwrap();
            }
            drop((maintenance, opened));
            opened = store::Store::open(&path, 0).unwrap();
        }
        drop(opened);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
