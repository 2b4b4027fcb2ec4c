//! What the loop hands over to the record, and when.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{self, Sender, error::TrySendError};
use tokio::sync::oneshot;

use super::segment::Reason;
use super::writer::{Begin, Job, Writer};
use super::{Settings, Shared, Watch};
use crate::clock::{self, Moment};
use crate::control::frame::Frame;
use crate::control::snapshot::{Contact, MinerInput, Reading, Snapshot};
use crate::control::{State, measure::Readings};

/// Cycles that may wait for the disk.
const QUEUE: usize = 32;
/// How long a segment becomes: so much is run again at the most before the cycle that somebody wants to see.
const SEGMENT: Duration = Duration::from_secs(3_600);
/// After cycles were lost, the record begins anew no sooner than this.
const AFTER_GAP: Duration = Duration::from_secs(10);
/// A disk that failed is tried again no sooner than this.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);
/// How long the end waits for the thread.
const FAREWELL: Duration = Duration::from_secs(1);

/// The unit of the stamps that the control law is told.
const MILLISECOND: u128 = 1_000_000;
/// That of the readings of miners, which come seldom and change slowly.
const CENTISECOND: u128 = 10_000_000;

fn down(moment: Moment, unit: u128) -> Moment {
    let nanos = moment.since_start().as_nanos();
    let whole = u64::try_from(nanos - nanos % unit).unwrap_or(u64::MAX);
    Moment::after_start(Duration::from_nanos(whole))
}

fn settle_input(input: &mut MinerInput) {
    if let Contact::Unreachable { since } = &mut input.contact {
        *since = down(*since, MILLISECOND);
    }
    if let Some(status) = &mut input.status {
        status.at = down(status.at, CENTISECOND);
    }
    if let Some(delivery) = &mut input.delivery {
        delivery.at = down(delivery.at, MILLISECOND);
    }
}

/// Brings every stamp of a snapshot down to the millisecond, and that of a miner's reading to the hundredth of a second: what
/// stands behind that is the jitter of the network, and would make up most of the record. It makes a reading look older,
/// never younger. Done before the control law sees it, so that it decides by what is recorded.
pub fn settle(snapshot: &mut Snapshot) {
    snapshot.now = down(snapshot.now, MILLISECOND);
    for meter in &mut snapshot.meters {
        if let Some(power) = &mut meter.power {
            power.at = down(power.at, MILLISECOND);
        }
        let mut others = Readings::NONE;
        for (measure, reading) in meter.others.iter() {
            others.set(measure, Reading { at: down(reading.at, MILLISECOND), ..reading });
        }
        meter.others = others;
    }
    snapshot.miners.iter_mut().chain(&mut snapshot.breakers).for_each(settle_input);
}

/// The record, from the side of the loop. Nothing here waits.
#[derive(Debug)]
pub struct Recorder {
    queue: Option<Sender<Job>>,
    ended: Option<oneshot::Receiver<()>>,
    shared: Arc<Shared>,
    configuration: [u8; 32],
    /// Why a segment is to begin, and not before when.
    wanted: Option<(Reason, Moment)>,
    /// When the present one began.
    begun: Moment,
}

impl Recorder {
    /// Begins to record, where that is wanted and there is a folder. `configuration` is the hash of its text.
    pub fn start(settings: &Settings, folder: Option<PathBuf>, configuration: [u8; 32]) -> Self {
        let folder = folder.filter(|_| settings.enabled);
        let shared = Arc::new(Shared::default());
        let mut recorder = Self {
            queue: None,
            ended: None,
            shared: shared.clone(),
            configuration,
            wanted: Some((Reason::Start, Moment::START)),
            begun: Moment::START,
        };
        let Some(folder) = folder else { return recorder };
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (done, ended) = oneshot::channel();
        let writer = Writer::new(folder, settings.clone(), shared);
        let thread = std::thread::Builder::new().name("record".into()).spawn(move || {
            writer.run(inbox);
            let _ = done.send(());
        });
        match thread {
            Ok(_) => (recorder.queue, recorder.ended) = (Some(queue), Some(ended)),
            Err(error) => tracing::warn!("nothing is recorded: the system gives no thread for it: {error}"),
        }
        recorder
    }

    /// How it is; `None` where nothing is recorded.
    pub fn watch(&self) -> Option<Watch> {
        self.queue.as_ref().map(|_| Watch(self.shared.clone()))
    }

    /// Another configuration is in force.
    pub fn reload(&mut self, configuration: [u8; 32]) {
        self.configuration = configuration;
        let at = self.wanted.map_or(Moment::START, |(_, at)| at);
        self.wanted = Some((Reason::Reload, at));
    }

    /// To be called before each cycle, with the state that it begins with.
    pub fn before(&mut self, state: &State, now: Moment) {
        let Some(queue) = &self.queue else { return };
        if self.shared.failed.swap(false, Ordering::AcqRel) {
            self.wanted = Some((Reason::Trouble, now + AFTER_TROUBLE));
        }
        let full = self.shared.full.load(Ordering::Relaxed) || now - self.begun >= SEGMENT;
        let reason = match self.wanted {
            Some((reason, at)) if now >= at => reason,
            None if full => Reason::Turn,
            _ => return,
        };
        // Only with a place in the queue is it worth to copy the state.
        let Ok(place) = queue.try_reserve() else { return };
        place.send(Job::Begin(Box::new(Begin {
            state: state.clone(),
            configuration: self.configuration,
            wall: clock::unix_millis(),
            reason,
        })));
        (self.wanted, self.begun) = (None, now);
    }

    /// Takes what a cycle has left behind.
    pub fn cycle(&mut self, frame: &Frame) {
        let Some(queue) = &self.queue else { return };
        let full = if self.wanted.is_some() {
            // Until the next state is on disk, nobody could make anything of a cycle.
            None
        } else {
            let job = Job::Cycle {
                wall: clock::unix_millis(),
                snapshot: frame.snapshot.clone(),
                decision: frame.decision.clone(),
            };
            match queue.try_send(job) {
                Ok(()) => return,
                Err(TrySendError::Full(_)) => Some((Reason::Gap, frame.decision.at + AFTER_GAP)),
                Err(TrySendError::Closed(_)) => {
                    tracing::warn!(
                        "the thread of the record has ended by itself; nothing is recorded any more"
                    );
                    self.shared.errors.fetch_add(1, Ordering::Relaxed);
                    self.queue = None;
                    return;
                }
            }
        };
        self.wanted = self.wanted.or(full);
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes what is left: a second at the most.
    pub async fn end(&mut self) {
        self.queue = None;
        if let Some(ended) = self.ended.take() {
            let _ = tokio::time::timeout(FAREWELL, ended).await;
        }
    }
}
