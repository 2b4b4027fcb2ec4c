//! What must survive a restart: the orders from outside, the ledger of what became of them, and what was learned of the
//! miners.
//!
//! One thread owns the database (SQLite) and writes what it is handed, each hand-over in one transaction. Whoever hands
//! over says the whole state of a source; the thread knows what is on disk and writes the difference, so that a
//! hand-over that failed is made good by the next one, and one that changes nothing costs nothing.
//!
//! ```text
//!  Desk ── the state of a source ──► queue ──► thread ── difference ──► ballast.db
//!    ◄──────────── on disk ────────────────────┘
//! ```
//!
//! | File | What it does |
//! |---|---|
//! | `file` | opens and checks the database; sets a damaged one aside |
//! | `rows` | orders and ledger entries as rows |
//! | `wal` | whether the log beside it is whole |
//! | `alarms` | alarms as rows |
//! | `maintenance` | what somebody works on as rows |
//! | `learned` | what was learned of the miners as rows |
//! | `energy` | energy by the quarter hour as rows |
//! | `read` | reads the file beside the daemon, for reports |
//! | `worker` | the thread |
//! | `proving` | what the thread adds to the proof |
//! | `boot` | whether this start follows a power outage |

mod alarms;
pub mod boot;
mod energy;
mod file;
mod learned;
mod maintenance;
mod proving;
pub mod read;
mod rows;
mod wal;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::control::learned::Learned;
use crate::control::signal::book::Held;
use crate::control::signal::{Active, Basis, Wall};
use crate::control::site::Scope;
use crate::energy::{CounterRow, Row};
use crate::proof::{Queue, Writer};
use crate::units::{Joules, Watts};
use boot::Alive;
pub use energy::{BaselineRow, MOST_QUARTERS, MOST_ROWS};

/// How long a writer waits for the disk.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long a writer waits while the disk is known to fail: orders must not queue up behind it.
const LITTLE_PATIENCE: Duration = Duration::from_millis(50);
/// Hand-overs that may wait for the disk.
const QUEUE: usize = 64;
/// Entries of the ledger that stay on disk. Their number alone decides: by their age a wrong clock would drop them.
pub const MOST_LEDGER: u32 = 20_000;
/// Miners, and meters, of which is kept what was learned.
pub const MOST_LEARNED: u32 = 20_000;
/// Alarms that stay on disk.
pub const MOST_ALARMS: u32 = 10_000;
/// Alarms that are read at the start.
pub const MOST_ALARMS_READ: u32 = 1_500;
/// What was learned of a miner or a meter and has not been confirmed for so long may be another one's, and is not used.
pub const LEARNED_AGE: Duration = Duration::from_secs(90 * 86_400);

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The database; `None` where the configuration does not name one.
    pub path: Option<PathBuf>,
    /// A machine that was off for longer than this has had a power outage.
    pub outage_after: Duration,
    /// After a power outage the fleet waits for a part of this, which is the site's own, before it starts.
    pub restart_spread: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { path: None, outage_after: Duration::from_secs(600), restart_spread: Duration::from_secs(300) }
    }
}

/// Why something is not on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be used.
    #[error(
        "cannot open the database {}: {reason}; make its folder writable for the account of the service, then restart",
        path.display()
    )]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system or the database said.
        reason: String,
    },
    /// It was not written.
    #[error("cannot write to the database: {0}; check the disk: space, rights, health")]
    Write(String),
    /// It takes too long. It may still be written.
    #[error("the database has not answered within {0:?}; check the disk")]
    Slow(Duration),
    /// Too much waits for the disk already.
    #[error("{QUEUE} writes wait for the database already; check the disk")]
    Full,
    /// The thread has ended.
    #[error("the thread of the database has ended; restart the service")]
    Ended,
}

/// An order and where it acts. The position of the circuit in the order itself means nothing here: names last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredOrder {
    /// Name of the circuit.
    pub circuit: Arc<str>,
    /// The order; its circuit is `CircuitId(0)`.
    pub held: Held,
}

/// A cap that stands because its source was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredCap {
    /// Name of the circuit.
    pub circuit: Arc<str>,
    /// The cap; its circuit is `CircuitId(0)`.
    pub active: Active,
}

/// Everything that is kept of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Its orders.
    pub orders: Vec<StoredOrder>,
    /// Names and revisions that were taken back, the latest last.
    pub withdrawn: Vec<(Arc<str>, u64)>,
    /// The caps that stand because it is lost.
    pub caps: Vec<StoredCap>,
    /// Who has lifted its caps, and until when.
    pub lift: Option<(Arc<str>, Wall)>,
}

/// One order in the ledger: what was said, what became of it, what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// Rises with every entry; names it.
    pub number: u64,
    /// Name of the source.
    pub source: Arc<str>,
    /// The name that the source gives the order.
    pub id: Arc<str>,
    /// Its version.
    pub revision: u64,
    /// Name of the circuit.
    pub circuit: Arc<str>,
    /// What it caps there.
    pub scope: Scope,
    /// [`crate::signal::record::Stage::name`].
    pub stage: Arc<str>,
    /// Why it was refused, or ended before its time.
    pub reason: Option<Arc<str>>,
    /// The cap that it came to; `None` when it was refused.
    pub cap: Option<Watts>,
    /// Its baseline.
    pub baseline: Option<Watts>,
    /// Against what it is judged.
    pub basis: Basis,
    /// When it holds by its own word.
    pub from: Wall,
    /// Up to when.
    pub until: Option<Wall>,
    /// When it came.
    pub received: Wall,
    /// When a decision first obeyed it.
    pub applied: Option<Wall>,
    /// When it was first met.
    pub met: Option<Wall>,
    /// When it ended.
    pub ended: Option<Wall>,
    /// For how long power was measured.
    pub measured: Duration,
    /// Energy in that time.
    pub energy: Joules,
    /// The farthest above the cap after it was first met.
    pub worst: Watts,
    /// The highest mean over a whole window.
    pub worst_mean: Option<Watts>,
    /// Whether the order itself was on disk.
    pub stored: bool,
    /// Who has given it, where somebody has put a name to it.
    pub by: Option<Arc<str>>,
    /// Why, in their words.
    pub remark: Option<Arc<str>>,
}

/// What was learned of a miner.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedRow {
    /// Name of the miner; there is one row for each.
    pub miner: Arc<str>,
    /// Of which device it was learned, as far as that is known.
    pub identity: Arc<str>,
    /// What was learned.
    pub learned: Learned,
    /// When it was last so.
    pub stamp: Wall,
}

/// How often a meter has a new value, as was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRow {
    /// Name of the meter; there is one row for each.
    pub meter: Arc<str>,
    /// Of which device it was learned, and how that was read.
    pub device: Arc<str>,
    /// The time between two of its values.
    pub refresh: Duration,
    /// When it was last so.
    pub stamp: Wall,
}

/// An alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    /// Names it; there is one row for each.
    pub id: u64,
    /// What it is, as a word.
    pub kind: Arc<str>,
    /// How much it matters, as a word.
    pub severity: Arc<str>,
    /// Name of what it is about.
    pub subject: Arc<str>,
    /// What is wrong.
    pub words: Arc<str>,
    /// When it was raised, in Unix milliseconds.
    pub raised_ms: i64,
    /// When it was over, in Unix milliseconds.
    pub cleared_ms: Option<i64>,
    /// Who has said that they know.
    pub acknowledged_by: Option<Arc<str>>,
    /// When, in Unix milliseconds.
    pub acknowledged_ms: Option<i64>,
    /// What they said.
    pub note: Option<Arc<str>>,
    /// Somebody was told: it did not come in a window that still lasts.
    pub told: bool,
}

/// What somebody works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceRow {
    /// What kind of thing, as a word.
    pub kind: Arc<str>,
    /// Its name; there is one row for each kind and name.
    pub name: Arc<str>,
    /// How it is kept, as a word.
    pub hold: Arc<str>,
    /// Who said so.
    pub by: Arc<str>,
    /// What they said.
    pub note: Arc<str>,
    /// When it was begun, in Unix milliseconds.
    pub begun_ms: i64,
    /// When it ends by itself, in Unix milliseconds.
    pub until_ms: Option<i64>,
}

/// What was on disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// By name of the source.
    pub sources: Vec<(Arc<str>, Kept)>,
    /// The newest entries of the ledger, the newest last; at most as many as were asked for.
    pub ledger: Vec<LedgerRow>,
    /// The highest number that the ledger has given.
    pub last_number: u64,
    /// When the daemon was last known to run.
    pub alive: Option<Alive>,
    /// What was learned of the miners.
    pub learned: Vec<LearnedRow>,
    /// How often the meters have new values.
    pub refreshes: Vec<RefreshRow>,
    /// The alarms that are not over, and the newest of those that are; at most [`MOST_ALARMS_READ`].
    pub alarms: Vec<AlarmRow>,
    /// Where the meters' energy counters stood.
    pub counters: Vec<CounterRow>,
    /// What somebody works on.
    pub maintenance: Vec<MaintenanceRow>,
    /// Rows that could not be read and were left out.
    pub unreadable: u64,
}

/// What became of the file at the start.
#[derive(Debug)]
pub struct Opened {
    /// Where to write.
    pub store: Store,
    /// What was there.
    pub loaded: Loaded,
    /// Where a damaged file went: its orders are not known.
    pub damaged: Option<Damaged>,
}

/// A file that could not be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Where it is now.
    pub aside: PathBuf,
    /// What was wrong with it.
    pub reason: String,
    /// Whether a new one was begun; otherwise what was written last is lost, and the rest is there.
    pub all: bool,
}

/// One hand-over.
#[derive(Debug, Default)]
pub struct Write {
    /// The whole state of some sources, by name.
    pub sources: Vec<(Arc<str>, Kept)>,
    /// Entries of the ledger, new or changed.
    pub ledger: Vec<LedgerRow>,
    /// The daemon runs.
    pub alive: Option<Alive>,
    /// What was learned of some miners, each in the place of what was known of it.
    pub learned: Vec<LearnedRow>,
    /// How often some meters have new values, likewise.
    pub refreshes: Vec<RefreshRow>,
    /// Alarms, each in the place of what was known of it.
    pub alarms: Vec<AlarmRow>,
    /// Energy, each row in the place of what was known of its part.
    pub energy: Vec<Row>,
    /// Where the meters' energy counters stand.
    pub counters: Vec<CounterRow>,
    /// Which baselines the sources have; what is no news is not written.
    pub baselines: Vec<BaselineRow>,
    /// Whether the proof is brought to disk and signed, too, before this is answered.
    pub seal: bool,
    /// All that somebody works on, in the place of what was there.
    pub maintenance: Option<Vec<MaintenanceRow>>,
}

/// What was in a file that could not be opened at the start, and could later.
type Late = Arc<Mutex<Option<Loaded>>>;
/// Entries of the ledger that are read of such a file: they are on record, and not shown.
const LATE_RECORDS: usize = 0;

struct Job {
    write: Write,
    done: oneshot::Sender<Result<(), StoreError>>,
    /// Whoever hands over knew what was in a file that came late.
    joined: bool,
}

#[derive(Debug, Default)]
struct Health {
    errors: AtomicU64,
    failing: AtomicBool,
}

impl Health {
    /// Counts an error; tells whether it is the first of its episode.
    fn fail(&self) -> bool {
        self.errors.fetch_add(1, Ordering::Relaxed);
        !self.failing.swap(true, Ordering::Relaxed)
    }
}

/// Where to write. Copies share one thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: Option<SyncSender<Job>>,
    health: Arc<Health>,
    late: Late,
    /// See [`Self::has_joined`].
    joined: Arc<AtomicBool>,
    proof: Arc<Queue>,
}

impl Store {
    /// Opens the database of a file, makes it where there is none, and starts its thread. Blocks for as long as that
    /// takes. At most `newest` entries of the ledger are read.
    ///
    /// # Errors
    /// The file cannot be made, opened or locked. A damaged one is no error: it is set aside.
    pub fn open(path: &Path, newest: usize) -> Result<Opened, StoreError> {
        let (connection, damaged) = file::open(path)?;
        let loaded = rows::load(&connection, newest)
            .map_err(|error| StoreError::Open { path: path.to_owned(), reason: error.to_string() })?;
        let because = damaged.as_ref().filter(|damaged| damaged.all).map(|damaged| {
            let aside = damaged.aside.file_name().unwrap_or_default().to_string_lossy();
            format!("the database was damaged and is set aside as {aside}: {}", damaged.reason)
        });
        let store = Self::start(path, Some((connection, &loaded)), because)
            .map_err(|error| StoreError::Open { path: path.to_owned(), reason: error.to_string() })?;
        if damaged.is_some() {
            store.health.errors.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Opened { store, loaded, damaged })
    }

    /// A store whose file could not be opened. It is tried again with each hand-over, which fails until then.
    pub fn absent(path: &Path) -> Self {
        let store = Self::start(path, None, None).unwrap_or_else(|_| Self::broken());
        store.health.fail();
        store
    }

    fn start(
        path: &Path,
        opened: Option<(rusqlite::Connection, &Loaded)>,
        because: Option<String>,
    ) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel(QUEUE);
        let store = Self {
            jobs: Some(jobs),
            health: Arc::default(),
            late: Late::default(),
            joined: Arc::default(),
            proof: Arc::default(),
        };
        let proof = proving::Proving::new(path, store.proof.clone(), because);
        let worker =
            worker::Worker::new(path.to_owned(), opened, store.late.clone(), store.health.clone(), proof);
        std::thread::Builder::new().name("store".into()).spawn(move || worker.run(&inbox))?;
        Ok(store)
    }

    /// What was on disk when it could be had at last; once. Until [`Self::has_joined`] its orders stay on disk, also where
    /// a hand-over leaves them out: it does not know of them.
    pub fn take_late(&self) -> Option<Loaded> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What [`Self::take_late`] gave is known to whoever hands over from now on.
    pub fn has_joined(&self) {
        self.joined.store(true, Ordering::Release);
    }

    /// A store that writes nothing and counts each hand-over as an error: the file could not be opened.
    pub fn broken() -> Self {
        let health = Arc::new(Health::default());
        health.fail();
        Self { jobs: None, health, late: Late::default(), joined: Arc::default(), proof: Arc::default() }
    }

    /// Where entries of the proof are handed over. They are added by the thread that owns the database; nobody waits.
    pub fn proof(&self) -> Writer {
        let Some(jobs) = self.jobs.clone() else { return Writer::nowhere() };
        let wake = move || {
            // Where so much waits that there is no room, the thread is awake.
            let _ = jobs.try_send(Job { write: Write::default(), done: oneshot::channel().0, joined: false });
        };
        Writer::new(self.proof.clone(), Arc::new(wake))
    }

    /// Brings to disk what waits for the proof, and signs its head.
    ///
    /// # Errors
    /// It is not on disk, or nobody knows.
    pub async fn seal(&self) -> Result<(), StoreError> {
        self.write(Write { seal: true, ..Write::default() }).await
    }

    /// Hands over, and waits until it is on disk: a second at the most, and hardly at all while the disk is known to
    /// fail. The first failure of an episode is logged, and its end.
    ///
    /// # Errors
    /// It is not on disk, or nobody knows.
    pub async fn write(&self, write: Write) -> Result<(), StoreError> {
        let result = self.hand_over(write).await;
        if let Err(error) = &result
            && self.health.fail()
        {
            tracing::error!(
                "{error}; orders are obeyed all the same, and a restart would forget the new ones"
            );
        }
        result
    }

    async fn hand_over(&self, write: Write) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or(StoreError::Ended)?;
        let patience = if self.failing() { LITTLE_PATIENCE } else { PATIENCE };
        let (done, answer) = oneshot::channel();
        let joined = self.joined.load(Ordering::Acquire);
        jobs.try_send(Job { write, done, joined }).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Full,
            TrySendError::Disconnected(_) => StoreError::Ended,
        })?;
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(StoreError::Ended),
            Err(_) => Err(StoreError::Slow(patience)),
        }
    }

    /// How many hand-overs have failed since the start.
    pub fn errors(&self) -> u64 {
        self.health.errors.load(Ordering::Relaxed)
    }

    /// Whether the latest hand-over failed.
    pub fn failing(&self) -> bool {
        self.health.failing.load(Ordering::Relaxed)
    }
}
