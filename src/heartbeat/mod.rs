//! A sign of life for a PLC: a coil that is toggled or a register that counts, written over Modbus TCP only when a control
//! cycle has really run and what came of it is in force.
//!
//! ```text
//!  frames (each completed cycle) ──► judge ──► beat ──► coil or register
//!                                      └─────► told: state, draw, setpoint
//! ```
//!
//! Each output is a task of its own with connections of its own, so that it holds up no meter, no command and no cycle. It has
//! no timer that beats: without a cycle that is newer than the one of the last beat, nothing is written. When the loop hangs or
//! the daemon ends, the value stands still, and the watchdog of the PLC acts.
//!
//! | File | What it does |
//! |---|---|
//! | `judge` | whether a cycle deserves a beat, and what is told beside it; pure |
//! | `task` | writes |

mod judge;
mod task;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Moment};
use crate::control::frame::Frame;
use crate::end;
use crate::endpoint::Endpoint;
use crate::miner::drivers::generic::modbus::{Address, Number};

pub use judge::{Judgement, Withheld, code, judge};

/// `[heartbeat.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// Where the PLC listens.
    pub endpoint: Endpoint,
    /// Unit identifier.
    pub unit: u8,
    /// What beats: a coil that is toggled, or a holding register that counts from 1 to 65535 and begins again at 1.
    pub beat: Address,
    /// A place and a value that is written beside each beat: what says that the counter is meant.
    pub alive: Option<(Address, u16)>,
    /// The register that holds the state, see [`code`].
    pub state: Option<Address>,
    /// Where the draw of the fleet is told; watts, divided by its scale.
    pub draw: Option<Number>,
    /// Where that is told what the fleet is set to; watts, divided by its scale.
    pub setpoint: Option<Number>,
    /// Time between two beats.
    pub period: Duration,
    /// Time for one exchange.
    pub timeout: Duration,
    /// It beats in observe mode, too.
    pub in_observe: bool,
    /// It does not beat while a fail-safe value holds.
    pub stops_in_fail_safe: bool,
    /// It does not beat while miners with more than this share of the nameplates are out of hand.
    pub stops_above_lost: Option<f64>,
}

/// How an output stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Why nothing is to be written; `None` when it is to beat.
    pub withheld: Option<Withheld>,
    /// Why the latest beat could not be written; `None` when it could, or was not to be.
    pub error: Option<Arc<str>>,
    /// When the latest beat was written.
    pub beat_at: Option<Moment>,
    /// Beats that were written since the start.
    pub beats: u64,
    /// Writes that failed since the start, of the beat and of what is told beside it.
    pub failures: u64,
}

/// How all outputs stand, by name. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<Arc<str>, Health>>>);

impl Board {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Health>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every output and how it stands.
    pub fn list(&self) -> Vec<(Arc<str>, Health)> {
        self.all().iter().map(|(name, health)| (name.clone(), health.clone())).collect()
    }

    /// Notes how an output stands, unless a reload has taken it away meanwhile.
    fn note(&self, name: &Arc<str>, change: impl FnOnce(&mut Health)) {
        if let Some(health) = self.all().get_mut(name) {
            change(health);
        }
    }

    /// Keeps those of these names, and begins those that are new.
    fn keep(&self, names: &[Arc<str>]) {
        let mut all = self.all();
        all.retain(|name, _| names.contains(name));
        for name in names {
            all.entry(name.clone()).or_default();
        }
    }
}

/// The outputs of a daemon. Dropping it ends them.
#[derive(Debug)]
pub struct Heartbeats {
    running: Vec<(Settings, CancellationToken)>,
    board: Board,
    clock: Clock,
    frames: watch::Receiver<Option<Frame>>,
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.end();
    }
}

impl Heartbeats {
    /// Starts them. `frames` must change with each completed cycle and with nothing else; when its sender is gone, they end.
    pub fn start(settings: &[Settings], clock: Clock, frames: watch::Receiver<Option<Frame>>) -> Self {
        let mut all = Self { running: Vec::new(), board: Board::default(), clock, frames };
        all.configure(settings);
        all
    }

    /// How they stand.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Takes a new configuration. One that has not changed goes on.
    pub fn configure(&mut self, settings: &[Settings]) {
        let names: Vec<Arc<str>> = settings.iter().map(|one| one.name.clone()).collect();
        self.board.keep(&names);
        let mut before = std::mem::take(&mut self.running);
        for wanted in settings {
            let known = before.iter().position(|(known, _)| known == wanted);
            let member = if let Some(at) = known { before.swap_remove(at) } else { self.open(wanted) };
            self.running.push(member);
        }
        for (_, cancel) in before {
            cancel.cancel();
        }
    }

    fn open(&self, settings: &Settings) -> (Settings, CancellationToken) {
        let cancel = CancellationToken::new();
        let work = task::Task::new(settings.clone(), self.board.clone(), self.clock).run(self.frames.clone());
        // One that panics takes the whole program along, as any task does: a PLC is never told of half a daemon.
        tokio::spawn(end::at(cancel.clone(), work));
        (settings.clone(), cancel)
    }

    /// Ends them: nothing is written any more.
    pub fn end(&mut self) {
        for (_, cancel) in &self.running {
            cancel.cancel();
        }
    }
}
