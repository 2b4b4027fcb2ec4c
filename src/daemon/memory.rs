//! What was learned of the miners, and how often the meters have new values, over a restart: taught at the start, written now and then.
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
use crate::store::{AlarmRow, LEARNED_AGE, LearnedRow, MaintenanceRow, RefreshRow, Store, Write};

/// Time between two writes.
const EVERY: Duration = Duration::from_secs(600);
/// A row that says the same within this share is not written again before [`REFRESH`]: the disk may be a flash card.
const SAME: f64 = 0.01;
/// The same of how often a meter has a new value, which wavers more.
const SAME_REFRESH: f64 = 0.1;
/// See [`SAME`].
const REFRESH: Duration = Duration::from_secs(86_400);

/// What was on disk, and where to write.
pub struct Kept {
    /// The database.
    pub store: Store,
    /// It knew nothing: it is new, was set aside, or could not be opened.
    pub empty: bool,
    /// What was in it of the miners.
    pub rows: Vec<LearnedRow>,
    /// And of the meters.
    pub refreshes: Vec<RefreshRow>,
    /// The alarms that were in it.
    pub alarms: Vec<AlarmRow>,
    /// Where the energy counters stood.
    pub counters: Vec<CounterRow>,
    /// What somebody works on.
    pub maintenance: Vec<MaintenanceRow>,
}

impl Kept {
    /// A database in which there was nothing to go on with.
    pub fn nothing(store: Store) -> Self {
        Self {
            store,
            empty: false,
            rows: Vec::new(),
            refreshes: Vec::new(),
            alarms: Vec::new(),
            counters: Vec::new(),
            maintenance: Vec::new(),
        }
    }
}

/// What is on disk, by name of the miner and of the meter.
#[derive(Default)]
struct Rows {
    miners: BTreeMap<Arc<str>, LearnedRow>,
    meters: BTreeMap<Arc<str>, RefreshRow>,
}

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

/// Whether two numbers are the same within a share of the larger one.
fn near(one: f64, other: f64, share: f64) -> bool {
    (one - other).abs() <= one.abs().max(other.abs()) * share
}

/// Whether what was written then need not be written again for its age.
fn is_young(before: Wall, after: Wall) -> bool {
    let age = after.as_unix_millis().saturating_sub(before.as_unix_millis());
    u128::try_from(age).is_ok_and(|age| age < REFRESH.as_millis())
}

/// Whether a row of a meter says nothing that the one on disk does not say.
fn is_known(before: &RefreshRow, after: &RefreshRow) -> bool {
    before.device == after.device
        && is_young(before.stamp, after.stamp)
        && near(before.refresh.as_secs_f64(), after.refresh.as_secs_f64(), SAME_REFRESH)
}

/// Whether a row says nothing that the one on disk does not say.
fn says_the_same(before: &LearnedRow, after: &LearnedRow) -> bool {
    let near = |one: f64, other: f64| near(one, other, SAME);
    let both = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => near(one, other),
        (None, None) => true,
        _ => false,
    };
    let (old, new): (&Learned, &Learned) = (&before.learned, &after.learned);
    before.identity == after.identity
        && is_young(before.stamp, after.stamp)
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
        let Some(Kept { store, rows, refreshes, .. }) = kept else { return memory };
        memory.store = Some(store);
        let mut known: BTreeMap<_, _> = rows.into_iter().map(|row| (row.miner.clone(), row)).collect();
        let oldest = i64::try_from(LEARNED_AGE.as_millis()).unwrap_or(i64::MAX);
        let oldest = clock::unix_millis().saturating_sub(oldest);
        let young = refreshes.into_iter().filter(|row| row.stamp.as_unix_millis() >= oldest);
        let meters = young.map(|row| (row.meter.clone(), row)).collect();
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
        memory.written = Arc::new(Mutex::new(Rows { miners: known, meters }));
        memory
    }

    /// How often meters had new values before the restart. Of which of them that still says something whoever reads them judges.
    pub fn refreshes(&self) -> Vec<RefreshRow> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).meters.values().cloned().collect()
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
    fn news(&self, state: &State, refreshes: Vec<RefreshRow>) -> Write {
        let stamp = Wall::unix_millis(clock::unix_millis());
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = state.learned().into_iter().filter_map(|(miner, learned)| {
            let (name, device) = self.miners.get(miner.0)?;
            let row = LearnedRow { miner: name.clone(), identity: device.clone(), learned, stamp };
            (!written.miners.get(name).is_some_and(|before| says_the_same(before, &row))).then_some(row)
        });
        let learned = rows.collect();
        let is_new =
            |row: &RefreshRow| !written.meters.get(&row.meter).is_some_and(|before| is_known(before, row));
        let refreshes = refreshes.into_iter().filter(is_new).collect();
        Write { learned, refreshes, ..Write::default() }
    }

    /// Writes what is new, when it is time. Does not wait: a task of its own does.
    pub fn keep(&mut self, state: &State, meters: impl FnOnce() -> Vec<RefreshRow>, now: Moment) {
        if self.store.is_none() || now - self.at < EVERY {
            return;
        }
        self.at = now;
        // A disk that takes so long gets no more to do.
        if self.writing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.writing = Some(tokio::spawn(self.write(state, meters())));
        }
    }

    /// Writes what is new a last time, once this is awaited: a second at the most.
    pub fn last(&self, state: &State, meters: Vec<RefreshRow>) -> impl Future<Output = ()> + use<> {
        self.write(state, meters)
    }

    fn write(&self, state: &State, meters: Vec<RefreshRow>) -> impl Future<Output = ()> + use<> {
        let news = if self.store.is_some() { self.news(state, meters) } else { Write::default() };
        let (store, written) = (self.store.clone(), self.written.clone());
        async move {
            let (learned, refreshes) = (news.learned.clone(), news.refreshes.clone());
            let Some(store) = store.filter(|_| !(learned.is_empty() && refreshes.is_empty())) else { return };
            // What failed is counted and logged there, and is tried again the next time.
            if store.write(news).await.is_ok() {
                let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
                written.miners.extend(learned.into_iter().map(|row| (row.miner.clone(), row)));
                written.meters.extend(refreshes.into_iter().map(|row| (row.meter.clone(), row)));
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
            rows: opened.loaded.learned,
            refreshes: opened.loaded.refreshes,
            ..Kept::nothing(opened.store)
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
        memory.last(&state, Vec::new()).await;
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
        memory.last(&state, Vec::new()).await;
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
            start(&config, Some(Kept { rows, ..Kept::nothing(store.clone()) })).1.learned()
        };
        assert_eq!(changed(|_| {}).len(), 1);
        assert!(changed(|row| row.learned.scale = 40.0).is_empty());
        let old = LearnedRow { stamp: days(91), ..rows[0].clone() };
        let (_, state) = start(&config, Some(Kept { rows: vec![old], ..Kept::nothing(store) }));
        assert!(state.learned().is_empty());
    }

    #[tokio::test]
    async fn it_is_written_every_ten_minutes_and_only_what_is_new() {
        let (folder, config) = (Folder::new("often"), config());
        let (mut memory, mut state) = start(&config, Some(open(&folder.database())));
        assert!(state.teach(MinerId(2), &LEARNED));
        memory.keep(&state, Vec::new, Moment::after_start(EVERY - Duration::from_secs(1)));
        assert!(memory.writing.is_none(), "too early");
        memory.keep(&state, Vec::new, Moment::after_start(EVERY));
        memory.writing.take().unwrap().await.unwrap();
        assert!(memory.news(&state, Vec::new()).learned.is_empty(), "it is on disk");
        memory.keep(&state, Vec::new, Moment::after_start(EVERY + Duration::from_secs(1)));
        assert!(memory.writing.is_none(), "ten minutes have not gone by");
        assert!(state.teach(MinerId(3), &LEARNED));
        assert_eq!(memory.news(&state, Vec::new()).learned.len(), 1);
    }

    fn refresh(meter: &str, seconds: f64, days: i64) -> RefreshRow {
        let stamp = Wall::unix_millis(clock::unix_millis() - days * 86_400_000);
        RefreshRow {
            meter: meter.into(),
            device: "192.0.2.10:502 unit 1".into(),
            refresh: Duration::from_secs_f64(seconds),
            stamp,
        }
    }

    #[tokio::test]
    async fn how_often_a_meter_has_a_new_value_is_known_after_a_restart() {
        let (folder, config) = (Folder::new("refresh"), config());
        let (memory, state) = start(&config, Some(open(&folder.database())));
        memory.last(&state, vec![refresh("grid", 60.0, 0), refresh("feeder", 10.0, 91)]).await;
        // What wavers a little is no news, and what is another time, device or day is.
        let news = |row| memory.news(&state, vec![row]).refreshes.len();
        assert_eq!(news(refresh("grid", 57.0, 0)), 0);
        assert_eq!(news(refresh("grid", 30.0, 0)), 1);
        assert_eq!(
            news(RefreshRow { device: "192.0.2.11:502 unit 1".into(), ..refresh("grid", 60.0, 0) }),
            1
        );
        assert_eq!(news(refresh("grid", 60.0, -2)), 1);
        let (memory, _) = start(&config, Some(open(&folder.database())));
        let known: Vec<_> = memory.refreshes().into_iter().map(|row| (row.meter, row.refresh)).collect();
        assert_eq!(known, [("grid".into(), Duration::from_secs(60))], "that of the feeder is too old");
    }

    #[tokio::test]
    async fn a_broken_disk_disturbs_nobody() {
        let config = config();
        let (mut memory, mut state) = start(&config, Some(Kept::nothing(Store::broken())));
        assert!(state.teach(MinerId(2), &LEARNED));
        memory.keep(&state, Vec::new, Moment::after_start(EVERY));
        memory.writing.take().unwrap().await.unwrap();
        assert_eq!(memory.news(&state, Vec::new()).learned.len(), 1, "it is tried again");
        memory.last(&state, Vec::new()).await;
    }
}
