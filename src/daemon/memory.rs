//! What was learned of the miners, over a restart: taught to the control law at the start, written now and then.
//!
//! Nothing here waits for the disk but the end, and nothing depends on it: without it the control law learns anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::{self, Moment};
use crate::config::Config;
use crate::control::State;
use crate::control::learned::Learned;
use crate::control::signal::Wall;
use crate::control::site::MinerId;
use crate::energy::CounterRow;
use crate::miner::Connection;
use crate::miner::identity::Identity;
use crate::store::{AlarmRow, LEARNED_AGE, LearnedRow, MaintenanceRow, Store, Write};

/// Time between two writes.
const EVERY: Duration = Duration::from_secs(600);
/// A row that says the same within this share is not written again before [`REFRESH`]: the disk may be a flash card.
const SAME: f64 = 0.01;
/// See [`SAME`].
const REFRESH: Duration = Duration::from_secs(86_400);

/// What was on disk, and where to write.
pub struct Kept {
    /// The database.
    pub store: Store,
    /// It knew nothing: it is new, was set aside, or could not be opened.
    pub empty: bool,
    /// What was in it.
    pub rows: Vec<LearnedRow>,
    /// The alarms that were in it.
    pub alarms: Vec<AlarmRow>,
    /// Where the energy counters stood.
    pub counters: Vec<CounterRow>,
    /// What somebody works on.
    pub maintenance: Vec<MaintenanceRow>,
}

/// By name of the miner.
type Rows = BTreeMap<Arc<str>, LearnedRow>;

/// Writes what is learned.
#[derive(Default)]
pub struct Memory {
    /// `None` where nothing is kept.
    store: Option<Store>,
    /// Of each of the site's miners, its name and which device it is.
    miners: Vec<(Arc<str>, Arc<str>)>,
    /// What is on disk.
    written: Arc<Mutex<Rows>>,
    /// When it was last written.
    at: Moment,
    writing: Option<JoinHandle<()>>,
}

/// Which device a miner is, as far as the configuration tells: by what cannot change where that is known, else by where
/// it listens. What was learned of one device is worth nothing for another.
fn device(connection: &Connection, identity: &Identity) -> Arc<str> {
    let driver = connection.driver.name();
    let model = identity.model.as_deref().unwrap_or("");
    let text = match (identity.mac, &identity.serial) {
        (None, None) => format!("{driver} {model} at {}", connection.endpoint),
        (Some(mac), serial) => format!("{driver} {model} {mac} {}", serial.as_deref().unwrap_or("")),
        (None, Some(serial)) => format!("{driver} {model} {serial}"),
    };
    text.into()
}

/// Whether a row says nothing that the one on disk does not say.
fn says_the_same(before: &LearnedRow, after: &LearnedRow) -> bool {
    let near = |one: f64, other: f64| (one - other).abs() <= one.abs().max(other.abs()) * SAME;
    let both = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => near(one, other),
        (None, None) => true,
        _ => false,
    };
    let (old, new): (&Learned, &Learned) = (&before.learned, &after.learned);
    let age = after.stamp.as_unix_millis().saturating_sub(before.stamp.as_unix_millis());
    before.identity == after.identity
        && u128::try_from(age).is_ok_and(|age| age < REFRESH.as_millis())
        && near(old.scale, new.scale)
        && both(old.floor, new.floor)
        && both(old.sleep, new.sleep)
        && near(old.pace, new.pace)
        && both(old.start, new.start)
}

impl Memory {
    /// Teaches a controller that has not begun yet what was on disk of its miners. A row of another device than the one
    /// that is configured now, or one that is too old, is left out, and replaced once there is something new.
    pub fn start(config: &Config, kept: Option<Kept>, state: &mut State) -> Self {
        let mut memory = Self::default();
        memory.configure(config);
        let Some(Kept { store, rows, .. }) = kept else { return memory };
        memory.store = Some(store);
        let mut known: Rows = rows.into_iter().map(|row| (row.miner.clone(), row)).collect();
        let oldest = i64::try_from(LEARNED_AGE.as_millis()).unwrap_or(i64::MAX);
        let oldest = clock::unix_millis().saturating_sub(oldest);
        let mut taught = 0_usize;
        for (index, (name, device)) in memory.miners.iter().enumerate() {
            let Some(row) = known.get(name) else { continue };
            let good = row.identity == *device && row.stamp.as_unix_millis() >= oldest;
            if good && state.teach(MinerId(index), &row.learned) {
                taught += 1;
            } else {
                known.remove(name);
            }
        }
        if taught > 0 {
            tracing::info!(
                miners = taught,
                "what was learned of the miners before the restart is known again"
            );
        }
        memory.written = Arc::new(Mutex::new(known));
        memory
    }

    /// Takes a new configuration.
    pub fn configure(&mut self, config: &Config) {
        let nobody = Identity::default();
        let identities = config.identities.iter().chain(std::iter::repeat(&nobody));
        let each = config.site.miners.iter().zip(&config.miners).zip(identities);
        self.miners = each
            .map(|((miner, connection), identity)| (miner.name.as_str().into(), device(connection, identity)))
            .collect();
    }

    /// What is to be written.
    fn news(&self, state: &State) -> Vec<LearnedRow> {
        let stamp = Wall::unix_millis(clock::unix_millis());
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = state.learned().into_iter().filter_map(|(miner, learned)| {
            let (name, device) = self.miners.get(miner.0)?;
            let row = LearnedRow { miner: name.clone(), identity: device.clone(), learned, stamp };
            (!written.get(name).is_some_and(|before| says_the_same(before, &row))).then_some(row)
        });
        rows.collect()
    }

    /// Writes what is new, when it is time. Does not wait: a task of its own does.
    pub fn keep(&mut self, state: &State, now: Moment) {
        if self.store.is_none() || now - self.at < EVERY {
            return;
        }
        self.at = now;
        // A disk that takes so long gets no more to do.
        if self.writing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.writing = Some(tokio::spawn(self.write(state)));
        }
    }

    /// Writes what is new a last time, once this is awaited: a second at the most.
    pub fn last(&self, state: &State) -> impl Future<Output = ()> + use<> {
        self.write(state)
    }

    fn write(&self, state: &State) -> impl Future<Output = ()> + use<> {
        let rows = if self.store.is_some() { self.news(state) } else { Vec::new() };
        let (store, written) = (self.store.clone(), self.written.clone());
        async move {
            let Some(store) = store.filter(|_| !rows.is_empty()) else { return };
            // What failed is counted and logged there, and is tried again the next time.
            if store.write(Write { learned: rows.clone(), ..Write::default() }).await.is_ok() {
                let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
                written.extend(rows.into_iter().map(|row| (row.miner.clone(), row)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    const LEARNED: Learned =
        Learned { scale: 1.2, floor: Some(2_100.0), sleep: Some(40.0), pace: 2.0, start: Some(50.0) };

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ballast-memory-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
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

    fn config() -> Config {
        crate::config::demo(crate::config::DEMO_NETWORK).unwrap()
    }

    fn open(path: &Path) -> Kept {
        let opened = Store::open(path, 1).unwrap();
        Kept {
            empty: false,
            store: opened.store,
            rows: opened.loaded.learned,
            alarms: Vec::new(),
            maintenance: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// A start with what is in a file, or with nothing.
    fn start(config: &Config, kept: Option<Kept>) -> (Memory, State) {
        let mut state = State::new(config.site.clone());
        let memory = Memory::start(config, kept, &mut state);
        (memory, state)
    }

    /// A run that has learned this of the third miner, and ends.
    async fn run(config: &Config, path: &Path) {
        let (memory, mut state) = start(config, Some(open(path)));
        assert!(state.teach(MinerId(2), &LEARNED), "a run that has learned something");
        memory.last(&state).await;
    }

    fn close(learned: &Learned) -> bool {
        (learned.scale - LEARNED.scale).abs() < 1e-9
            && Learned { scale: LEARNED.scale, ..*learned } == LEARNED
    }

    #[tokio::test]
    async fn a_restart_begins_with_what_was_learned() {
        let (folder, config) = (Folder::new("restart"), config());
        run(&config, &folder.database()).await;
        let (_, state) = start(&config, Some(open(&folder.database())));
        let told = state.learned();
        assert!(matches!(told.as_slice(), [(MinerId(2), learned)] if close(learned)), "{told:?}");
        let (_, state) = start(&config, None);
        assert!(state.learned().is_empty(), "without a store nothing is kept");
    }

    #[tokio::test]
    async fn what_was_learned_of_another_device_is_not_taken() {
        let (folder, config) = (Folder::new("device"), config());
        run(&config, &folder.database()).await;
        let mut other = config.clone();
        other.identities[2].serial = Some("HTM30X51K21092500011".into());
        let (memory, mut state) = start(&other, Some(open(&folder.database())));
        assert!(state.learned().is_empty());
        // What is learned anew stands in its place.
        assert!(state.teach(MinerId(2), &Learned { scale: 0.9, ..LEARNED }));
        memory.last(&state).await;
        drop(memory);
        let rows = open(&folder.database()).rows;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert!((rows[0].learned.scale - 0.9).abs() < 1e-9);
    }

    #[tokio::test]
    async fn what_is_old_or_cannot_be_true_is_not_taken() {
        let (folder, config) = (Folder::new("old"), config());
        run(&config, &folder.database()).await;
        let Kept { store, rows, .. } = open(&folder.database());
        let days = |days: i64| Wall::unix_millis(clock::unix_millis() - days * 86_400_000);
        let changed = |change: fn(&mut LearnedRow)| {
            let mut rows = rows.clone();
            change(&mut rows[0]);
            start(
                &config,
                Some(Kept {
                    empty: false,
                    store: store.clone(),
                    rows,
                    alarms: Vec::new(),
                    maintenance: Vec::new(),
                    counters: Vec::new(),
                }),
            )
            .1
            .learned()
        };
        assert_eq!(changed(|_| {}).len(), 1);
        assert!(changed(|row| row.learned.scale = 40.0).is_empty());
        let old = LearnedRow { stamp: days(91), ..rows[0].clone() };
        assert!(
            start(
                &config,
                Some(Kept {
                    empty: false,
                    store,
                    rows: vec![old],
                    alarms: Vec::new(),
                    maintenance: Vec::new(),
                    counters: Vec::new()
                })
            )
            .1
            .learned()
            .is_empty()
        );
    }

    #[tokio::test]
    async fn it_is_written_every_ten_minutes_and_only_what_is_new() {
        let (folder, config) = (Folder::new("often"), config());
        let (mut memory, mut state) = start(&config, Some(open(&folder.database())));
        assert!(state.teach(MinerId(2), &LEARNED));
        memory.keep(&state, Moment::after_start(EVERY - Duration::from_secs(1)));
        assert!(memory.writing.is_none(), "too early");
        memory.keep(&state, Moment::after_start(EVERY));
        memory.writing.take().unwrap().await.unwrap();
        assert!(memory.news(&state).is_empty(), "it is on disk");
        memory.keep(&state, Moment::after_start(EVERY + Duration::from_secs(1)));
        assert!(memory.writing.is_none(), "ten minutes have not gone by");
        assert!(state.teach(MinerId(3), &LEARNED));
        assert_eq!(memory.news(&state).len(), 1);
    }

    #[tokio::test]
    async fn a_broken_disk_disturbs_nobody() {
        let config = config();
        let (mut memory, mut state) = start(
            &config,
            Some(Kept {
                empty: false,
                store: Store::broken(),
                rows: Vec::new(),
                alarms: Vec::new(),
                maintenance: Vec::new(),
                counters: Vec::new(),
            }),
        );
        assert!(state.teach(MinerId(2), &LEARNED));
        memory.keep(&state, Moment::after_start(EVERY));
        memory.writing.take().unwrap().await.unwrap();
        assert_eq!(memory.news(&state).len(), 1, "it is tried again");
        memory.last(&state).await;
    }
}
