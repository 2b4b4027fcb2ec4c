//! Emergency stops on their way over a restart: which are latched, since when, and who releases them.
//!
//! ```text
//!  API, command line ──► release ──► Snapshot.released ──► control law ──► State::latched
//!  the machine that leads ──► mirror ──► Snapshot.latched ──┘
//!                                                                             │
//!                              a file beside the database  ◄── note ◄─────────┘
//! ```
//!
//! What is latched is decided by the control law alone ([`crate::control::stop`]). Here it is only kept, in a small file of its own, so
//! that neither a restart nor a database that was set aside starts what somebody has stopped. A file that cannot be read, or is not there
//! although the database is, stands for everything: nobody knows what was stopped. So one that cannot be written is taken away, which
//! needs no room on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::clock;
use crate::control::State;
use crate::control::site::{CircuitId, Site};
use crate::files::{self, Readers};

/// Its name beside the database.
pub const FILE: &str = "emergency-stops.json";
/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Releases that may wait for the next cycle.
const MOST_WAITING: usize = 64;
/// Whoever releases waits for no longer than this for the next cycle.
const ANSWERS: Duration = Duration::from_secs(5);
/// Cycles after which what could not be written is tried again.
const AGAIN_AFTER: u32 = 20;
/// Cycles after which it is looked whether the file is still there.
const LOOK_AFTER: u32 = 30;
/// More circuits than a site has.
const MOST_MIRRORED: usize = 100_000;

/// Why an emergency stop is not released.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// The circuit has none, or there is no such circuit.
    #[error("the site has no circuit `{0}` with an emergency stop")]
    Unknown(String),
    /// It has stopped nothing.
    #[error("the emergency stop of `{0}` is not latched")]
    NotLatched(String),
    /// Its contact is open or cannot be read.
    #[error("the emergency stop of `{0}` stays: its contact is open or cannot be read")]
    NotClosed(String),
    /// Too many wait, or the daemon ends.
    #[error("nobody takes it at the moment")]
    Busy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    /// The circuits, and since when in Unix milliseconds.
    latched: BTreeMap<String, i64>,
}

#[derive(Debug)]
struct Waiting {
    circuit: Arc<str>,
    answer: oneshot::Sender<bool>,
}

/// The emergency stops of the machine that leads.
#[derive(Debug)]
struct Elsewhere {
    latched: BTreeSet<Arc<str>>,
    /// When somebody has released each, in Unix milliseconds.
    released: BTreeMap<Arc<str>, i64>,
}

#[derive(Debug, Default)]
struct Inside {
    latched: BTreeMap<Arc<str>, i64>,
    waiting: Vec<Waiting>,
    /// Those that the cycle that runs has been told of.
    asked: Vec<Waiting>,
    /// The file could not be read at the start.
    all: bool,
    /// The file was not there at the start, and the database was: what the configuration had then counts as latched.
    missing: bool,
    /// The latest attempt to write it failed.
    failing: bool,
    /// The configuration has an emergency stop.
    used: bool,
    /// Cycles since it was looked whether the file is there.
    looked: u32,
    /// What the machine that leads has latched and released, where this one stands by and has just heard of it.
    mirrored: Option<Elsewhere>,
    /// When somebody has released each, in Unix milliseconds, since the start.
    released: BTreeMap<Arc<str>, i64>,
    /// What is latched is not on disk, and the cycles since that was tried.
    unsaved: Option<u32>,
    /// What brings it there.
    writing: Option<JoinHandle<()>>,
}

/// The emergency stops of a daemon. Copies share them.
#[derive(Clone, Debug)]
pub struct Stops(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    inside: Mutex<Inside>,
    /// Where they are kept; `None` where nothing is. Held while it is written.
    file: Mutex<Option<PathBuf>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_stop(site: &Site, name: &str) -> bool {
    site.circuits.iter().any(|circuit| circuit.name == name && circuit.emergency_stop.is_some())
}

impl Stops {
    /// With what a run before has left in the folder of the database; `None` where nothing is kept. `first`: there was no database
    /// before, so that nothing can have been latched.
    pub fn new(database: Option<&Path>, first: bool) -> Self {
        let file = database.map(|database| database.with_file_name(FILE));
        let mut inside = Inside::default();
        match file.as_deref().map(read) {
            Some(Ok(Some(latched))) => inside.latched = latched,
            Some(Ok(None)) => {
                inside.missing = !first;
                inside.unsaved = Some(AGAIN_AFTER);
            }
            Some(Err(reason)) => {
                let path = file.as_deref().unwrap_or(Path::new("")).display();
                error!(
                    "{path} cannot be read ({reason}): nobody knows which emergency stops were latched, so all are; release them \
                     with `ballast stops release`"
                );
                inside.all = true;
            }
            None => {}
        }
        Self(Arc::new(Shared { inside: Mutex::new(inside), file: Mutex::new(file) }))
    }

    /// The circuits whose latched stop a new configuration would give up: nobody would have released it.
    pub fn given_up(&self, now: &Site, next: &Site) -> Vec<String> {
        let latched = self.latched();
        let gone = |name: &&Arc<str>| has_stop(now, name) && !has_stop(next, name);
        latched.keys().filter(gone).map(|name| name.to_string()).collect()
    }

    /// Tells the control law what was latched in a run before, or when the configuration had it last.
    pub fn restore(&self, state: &mut State) {
        let inside = locked(&self.0.inside);
        let site = state.site().clone();
        let latched: Vec<CircuitId> = state.latched().collect();
        for (index, circuit) in
            site.circuits.iter().enumerate().filter(|(index, _)| !latched.contains(&CircuitId(*index)))
        {
            let known = inside.all || inside.missing || inside.latched.contains_key(circuit.name.as_str());
            if circuit.emergency_stop.is_some() && inside.missing {
                error!(
                    circuit = circuit.name.as_str(),
                    "there is no {FILE} although there is a database: nobody knows whether its emergency stop was latched, so it is; \
                     release it with `ballast stops release`"
                );
                state.latch(CircuitId(index));
            } else if circuit.emergency_stop.is_some() && known {
                warn!(circuit = circuit.name.as_str(), "its emergency stop was latched before, and stays so");
                state.latch(CircuitId(index));
            }
        }
        for name in inside.latched.keys().filter(|name| !has_stop(&site, name)) {
            warn!(
                circuit = &**name,
                "an emergency stop of this name was latched when the configuration had it last, and nobody has released it: what hung \
                 there is stopped by nobody now. Where the circuit was renamed, make sure that nobody is in danger"
            );
        }
    }

    /// Since when each is latched, by the name of its circuit, in Unix milliseconds.
    pub fn latched(&self) -> BTreeMap<Arc<str>, i64> {
        locked(&self.0.inside).latched.clone()
    }

    /// When somebody has released each since the start, for the machine that stands by.
    pub fn released(&self) -> Vec<(Arc<str>, i64)> {
        locked(&self.0.inside).released.iter().map(|(name, at)| (name.clone(), *at)).collect()
    }

    /// What the machine that leads has latched, for the one that stands by: what it has, this one has. What somebody has released
    /// there after it was latched here is released here, too, where the contact is seen to be closed. That it is not latched there is
    /// no release: a machine that has forgotten everything has nothing latched.
    ///
    /// `ahead` is by how many milliseconds this machine's clock is ahead of the other one's; `None` where they are too far apart for
    /// one to say what came first: then nothing is released.
    pub fn mirror(&self, latched: Vec<Arc<str>>, released: Vec<(Arc<str>, i64)>, ahead: Option<i64>) {
        let latched = latched.into_iter().take(MOST_MIRRORED).collect();
        let here = |(name, at): (Arc<str>, i64)| Some((name, at.saturating_add(ahead?)));
        let released = released.into_iter().take(MOST_MIRRORED).filter_map(here).collect();
        locked(&self.0.inside).mirrored = Some(Elsewhere { latched, released });
    }

    /// What the control law is told in the cycle that begins: whose stop somebody releases, and whose is latched at the machine that
    /// leads.
    pub fn take(&self, site: &Site) -> (Vec<CircuitId>, Vec<CircuitId>) {
        let mut inside = locked(&self.0.inside);
        let (mut released, mut latched) = (Vec::new(), Vec::new());
        if let Some(Elsewhere { latched: there, released: freed }) = inside.mirrored.take() {
            for (index, circuit) in site.circuits.iter().enumerate() {
                let name = circuit.name.as_str();
                let since = inside.latched.get(name);
                if there.contains(name) {
                    latched.push(CircuitId(index));
                } else if since.zip(freed.get(name)).is_some_and(|(since, at)| at > since) {
                    released.push(CircuitId(index));
                }
            }
        }
        let mut waiting = std::mem::take(&mut inside.waiting);
        // Whoever was told that nobody takes it has gone, and does not expect it any more.
        waiting.retain(|one| !one.answer.is_closed());
        let at = |one: &Waiting| site.circuits.iter().position(|circuit| *circuit.name == *one.circuit);
        released.extend(waiting.iter().filter_map(at).map(CircuitId));
        released.sort_unstable();
        released.dedup();
        inside.asked = waiting;
        (released, latched)
    }

    /// Takes in what is latched after a cycle, answers whoever releases, and brings what has changed to disk. Never waits.
    pub fn note(&self, state: &State) {
        let site = state.site();
        let name = |id: CircuitId| site.circuits.get(id.0).map(|circuit| Arc::from(circuit.name.as_str()));
        let now: Vec<Arc<str>> = state.latched().filter_map(name).collect();
        let mut inside = locked(&self.0.inside);
        // One that the configuration does not have now is kept for when it has it again.
        let gone = |name: &str| !has_stop(site, name);
        let here = inside.latched.keys().filter(|name| !gone(name)).count();
        let same = now.len() == here && now.iter().all(|name| inside.latched.contains_key(name));
        inside.missing = false;
        inside.used = site.circuits.iter().any(|circuit| circuit.emergency_stop.is_some());
        // A damaged file stands for all of them until there is one that it can stand for.
        if inside.used {
            inside.all = false;
        }
        if !same {
            let before = std::mem::take(&mut inside.latched);
            let wall = clock::unix_millis();
            let kept = before.iter().filter(|(name, _)| gone(name));
            inside.latched = kept.map(|(name, since)| (name.clone(), *since)).collect();
            for name in now {
                let since = before.get(&name).copied().unwrap_or(wall);
                inside.latched.insert(name, since);
            }
            inside.unsaved = Some(AGAIN_AFTER);
        }
        inside.looked = inside.looked.saturating_add(1);
        if inside.unsaved.is_none() && inside.looked >= LOOK_AFTER {
            inside.looked = 0;
            if inside.writing.as_ref().is_none_or(JoinHandle::is_finished)
                && tokio::runtime::Handle::try_current().is_ok()
            {
                let shared = self.clone();
                inside.writing = Some(tokio::task::spawn_blocking(move || shared.look()));
            }
        }
        if let Some(cycles) = inside.unsaved.as_mut() {
            *cycles = cycles.saturating_add(1);
            let due = *cycles > AGAIN_AFTER;
            // A disk that hangs holds up one of them, and no more.
            let idle = inside.writing.as_ref().is_none_or(JoinHandle::is_finished);
            if due && idle && tokio::runtime::Handle::try_current().is_ok() {
                inside.unsaved = Some(0);
                let shared = self.clone();
                inside.writing = Some(tokio::task::spawn_blocking(move || {
                    let _ = shared.keep();
                }));
            }
        }
        for one in std::mem::take(&mut inside.asked) {
            let free = !inside.latched.contains_key(&one.circuit);
            if free {
                // Here and not by whoever asked, who may have gone.
                info!(circuit = &*one.circuit, "its emergency stop is released");
                inside.released.insert(one.circuit.clone(), clock::unix_millis());
            }
            // Whoever asked may have gone.
            let _ = one.answer.send(free);
        }
    }

    /// Releases the emergency stop of a circuit with the next cycle. Whether that is on disk; `None` where nothing is kept.
    ///
    /// # Errors
    /// [`StopError`]; then it stays as it is.
    pub async fn release(&self, site: &Site, circuit: &str) -> Result<Option<bool>, StopError> {
        let short = || circuit.chars().take(200).collect::<String>();
        let known = site.circuits.iter().find(|known| known.name == circuit);
        if known.is_none_or(|known| known.emergency_stop.is_none()) {
            return Err(StopError::Unknown(short()));
        }
        let (answer, heard) = oneshot::channel();
        {
            let mut inside = locked(&self.0.inside);
            if !inside.latched.contains_key(circuit) {
                return Err(StopError::NotLatched(short()));
            }
            if inside.waiting.len() >= MOST_WAITING {
                return Err(StopError::Busy);
            }
            inside.waiting.push(Waiting { circuit: circuit.into(), answer });
        }
        match tokio::time::timeout(ANSWERS, heard).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return Err(StopError::NotClosed(short())),
            Ok(Err(_)) | Err(_) => return Err(StopError::Busy),
        }
        let shared = self.clone();
        Ok(tokio::task::spawn_blocking(move || shared.keep()).await.unwrap_or(Some(false)))
    }

    /// Brings what is latched to disk at the end of the daemon.
    pub async fn last(&self) {
        let shared = self.clone();
        // What fails has been told.
        let _ = tokio::task::spawn_blocking(move || shared.keep()).await;
    }

    /// Brings what is latched now to disk; `None` where nothing is kept.
    fn keep(&self) -> Option<bool> {
        // Whoever comes second writes what is newest then.
        let file = locked(&self.0.file);
        let path = file.as_deref()?;
        if locked(&self.0.inside).all {
            // Nobody knows what it says, and it goes on standing for everything.
            return Some(false);
        }
        let latched: BTreeMap<String, i64> =
            locked(&self.0.inside).latched.iter().map(|(name, since)| (name.to_string(), *since)).collect();
        let written = write(path, &Kept { version: 1, latched: latched.clone() });
        locked(&self.0.inside).failing = written.is_err();
        if written.is_ok() {
            let mut inside = locked(&self.0.inside);
            // What has changed meanwhile is written by whoever has changed it.
            let now = inside.latched.iter().map(|(name, since)| (&**name, since));
            if now.eq(latched.iter().map(|(name, since)| (name.as_str(), since))) {
                inside.unsaved = None;
            }
        }
        let matters = locked(&self.0.inside).used || !latched.is_empty();
        if let Some(reason) = written.as_ref().err().filter(|_| matters) {
            // One that says less than is latched is worse than none, and needs no room to go.
            let then = if latched.is_empty() {
                "until it can, a restart takes those for latched that it names"
            } else if std::fs::remove_file(path).is_ok() || !path.exists() {
                "until it can, a restart takes all emergency stops for latched"
            } else {
                "nor can it be taken away: a restart would not know which emergency stops are latched"
            };
            error!("{} cannot be written: {reason}; {then}", path.display());
        }
        Some(written.is_ok())
    }

    /// Writes the file again where somebody has taken it away.
    fn look(&self) {
        let there = locked(&self.0.file).as_deref().is_none_or(Path::exists);
        if !there {
            warn!("{FILE} is gone from beside the database, and is written again");
            self.keep();
        }
    }

    /// What is latched is not on disk, and cannot be brought there.
    pub fn is_failing(&self) -> bool {
        let inside = locked(&self.0.inside);
        inside.used && inside.failing && inside.unsaved.is_some()
    }
}

/// `None` where there is none.
fn read(path: &Path) -> io::Result<Option<BTreeMap<Arc<str>, i64>>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LARGEST).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let kept: Kept = serde_json::from_slice(&text)?;
    if kept.version != 1 {
        return Err(io::Error::other("it is of a later version of this program"));
    }
    Ok(Some(kept.latched.into_iter().map(|(name, since)| (name.into(), since)).collect()))
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(kept)?;
    text.push(b'\n');
    files::replace(path, &text, Readers::Writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::site::{EmergencyStop, MeterId, OpensBreaker};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ballast-stops-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn database(&self) -> PathBuf {
            self.0.join("ballast.db")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn site() -> Arc<Site> {
        let demo = crate::config::demo(crate::config::DEMO_NETWORK).unwrap();
        let mut site = (*demo.site).clone();
        for circuit in &mut site.circuits {
            circuit.emergency_stop =
                Some(EmergencyStop { meter: MeterId(0), opens_breaker: OpensBreaker::Never });
        }
        Arc::new(site)
    }

    /// What a cycle has left to be written is written: of two that write the same file at once, one fails.
    async fn noted(stops: &Stops, state: &State) {
        stops.note(state);
        while locked(&stops.0.inside).writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            tokio::task::yield_now().await;
        }
    }

    fn latched(state: &State) -> usize {
        state.latched().count()
    }

    #[tokio::test]
    async fn what_is_latched_is_known_after_a_restart_and_what_is_released_is_not() {
        let folder = Folder::new("restart");
        let site = site();
        let stops = Stops::new(Some(&folder.database()), true);
        let mut state = State::new(site.clone());
        stops.restore(&mut state);
        assert_eq!(latched(&state), 0);
        state.latch(CircuitId(1));
        noted(&stops, &state).await;
        assert_eq!(stops.keep(), Some(true));
        let after = Stops::new(Some(&folder.database()), true);
        let mut state = State::new(site.clone());
        after.restore(&mut state);
        assert_eq!(state.latched().collect::<Vec<_>>(), [CircuitId(1)]);
        noted(&after, &state).await;

        // The control law says no: the contact is open.
        let name = site.circuits[1].name.clone();
        let releasing = tokio::spawn({
            let (after, site, name) = (after.clone(), site.clone(), name.clone());
            async move { after.release(&site, &name).await }
        });
        while after.take(&site).0.is_empty() {
            tokio::task::yield_now().await;
        }
        noted(&after, &state).await;
        assert_eq!(releasing.await.unwrap(), Err(StopError::NotClosed(name.clone())));
        // It says yes.
        let releasing = tokio::spawn({
            let (after, site, name) = (after.clone(), site.clone(), name.clone());
            async move { after.release(&site, &name).await }
        });
        while after.take(&site).0.is_empty() {
            tokio::task::yield_now().await;
        }
        noted(&after, &State::new(site.clone())).await;
        assert_eq!(releasing.await.unwrap(), Ok(Some(true)));
        let mut state = State::new(site.clone());
        Stops::new(Some(&folder.database()), true).restore(&mut state);
        assert_eq!(latched(&state), 0);
        assert_eq!(after.release(&site, &name).await, Err(StopError::NotLatched(name)));
        assert_eq!(after.release(&site, "nowhere").await, Err(StopError::Unknown("nowhere".into())));
    }

    #[tokio::test]
    async fn a_file_that_is_gone_stands_for_everything_and_one_that_cannot_be_written_goes() {
        let folder = Folder::new("gone");
        let site = site();
        let start = |first: bool| {
            let (stops, mut state) = (Stops::new(Some(&folder.database()), first), State::new(site.clone()));
            stops.restore(&mut state);
            (stops, state)
        };
        let (stops, mut state) = start(true);
        assert_eq!(latched(&state), 0, "there was nothing before");
        assert_eq!(stops.keep(), Some(true));
        assert_eq!(latched(&start(false).1), 0, "the file says that there was nothing");
        // Somebody takes it away while the daemon runs: it is written again.
        std::fs::remove_file(folder.0.join(FILE)).unwrap();
        stops.look();
        assert_eq!(latched(&start(false).1), 0);
        // It is latched, and nothing can be written any more.
        std::fs::create_dir(folder.0.join(format!("{FILE}.new"))).unwrap();
        state.latch(CircuitId(1));
        noted(&stops, &state).await;
        assert_eq!(stops.keep(), Some(false));
        assert!(stops.is_failing());
        assert_eq!(latched(&start(false).1), site.circuits.len(), "nobody knows which");
        std::fs::remove_dir(folder.0.join(format!("{FILE}.new"))).unwrap();
        assert_eq!(stops.keep(), Some(true));
        assert!(!stops.is_failing());
        assert_eq!(start(false).1.latched().collect::<Vec<_>>(), [CircuitId(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_told_that_nobody_takes_it_has_released_nothing() {
        let (site, stops) = (site(), Stops::new(None, true));
        let mut state = State::new(site.clone());
        state.latch(CircuitId(1));
        stops.note(&state);
        // No cycle runs.
        let name = site.circuits[1].name.clone();
        assert_eq!(stops.release(&site, &name).await, Err(StopError::Busy));
        assert_eq!(stops.take(&site).0, [], "they have gone, and somebody may go back in");
    }

    #[tokio::test]
    async fn a_damaged_file_outlives_a_configuration_without_emergency_stops() {
        let folder = Folder::new("outlives");
        std::fs::write(folder.0.join(FILE), "{").unwrap();
        let mut none = (*site()).clone();
        none.circuits.iter_mut().for_each(|circuit| circuit.emergency_stop = None);
        let stops = Stops::new(Some(&folder.database()), false);
        let mut state = State::new(Arc::new(none));
        stops.restore(&mut state);
        noted(&stops, &state).await;
        stops.last().await;
        let mut state = State::new(site());
        Stops::new(Some(&folder.database()), false).restore(&mut state);
        assert_eq!(latched(&state), state.site().circuits.len());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_stands_for_everything() {
        let folder = Folder::new("damaged");
        let site = site();
        for damage in ["", "{", "{\"version\": 2, \"latched\": {}}", "[]"] {
            std::fs::write(folder.0.join(FILE), damage).unwrap();
            let mut state = State::new(site.clone());
            Stops::new(Some(&folder.database()), true).restore(&mut state);
            assert_eq!(latched(&state), site.circuits.len(), "{damage:?}");
        }
    }
}
