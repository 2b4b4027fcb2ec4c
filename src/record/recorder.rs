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
const SEGMENT: Duration = Duration::from_secs(7_200);
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

    /// To be called with the state that the next cycle begins with, whenever that has changed.
    pub fn checkpoint(&mut self, state: &State, now: Moment) {
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
        self.shared.full.store(false, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::replay::{Verdict, Window, verify};
    use super::super::segment::find;
    use super::*;
    use crate::control::snapshot::{MeterInput, MeterStatus};
    use crate::control::step;
    use crate::units::Watts;

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("ballast-record-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A site, its state, and the cycle that comes next.
    struct Bench {
        state: State,
        next: u64,
    }

    impl Bench {
        fn new() -> Self {
            let site = Arc::new(crate::config::testing::site(4));
            Self { state: State::new(site), next: 1 }
        }

        /// A cycle, as the loop does it.
        fn cycle(&mut self, recorder: &mut Recorder) {
            let now = Moment::millis(self.next * 1_000);
            let power =
                Watts::saturating(f64::from(u32::try_from(self.next * 977 % 5_000).unwrap()) - 9_000.0);
            let meter = MeterInput::new(MeterStatus::Ok, Some(Reading { value: power, at: now }));
            let miners = vec![MinerInput::PENDING; self.state.site().miners.len()];
            let snapshot = Snapshot::new(now, vec![meter], miners);
            recorder.checkpoint(&self.state, now);
            let decision = step(&mut self.state, &snapshot);
            let site = self.state.site().clone();
            recorder.cycle(&Frame { site, snapshot: Arc::new(snapshot), decision: Arc::new(decision) });
            self.next += 1;
        }

        /// Cycles that the thread keeps up with.
        fn cycles(&mut self, recorder: &mut Recorder, count: u64) {
            for _ in 0..count {
                while recorder.queue.as_ref().is_some_and(|queue| queue.capacity() < QUEUE / 2) {
                    std::thread::yield_now();
                }
                self.cycle(recorder);
            }
        }
    }

    fn start(folder: &Path, settings: &Settings) -> Recorder {
        Recorder::start(settings, Some(folder.to_owned()), [1; 32])
    }

    fn look(folder: &Path) -> Verdict {
        let verdict = verify(&find(folder).unwrap(), Window::default()).unwrap();
        assert!(verdict.same() && verdict.damaged.is_empty(), "{verdict:#?}");
        verdict
    }

    #[tokio::test]
    async fn hours_reloads_and_restarts_are_recorded_and_replayed() {
        let folder = Folder::new("hours");
        let mut bench = Bench::new();
        let mut recorder = start(&folder.0, &Settings::default());
        bench.cycles(&mut recorder, 7_300);
        recorder.reload([2; 32]);
        let mut state = State::new(bench.state.site().clone());
        state.inherit(&bench.state);
        bench.state = state;
        bench.cycles(&mut recorder, 100);
        recorder.end().await;
        assert_eq!(recorder.shared.health().lost, 0);
        let mut again = Bench::new();
        let mut recorder = start(&folder.0, &Settings::default());
        again.cycles(&mut recorder, 50);
        recorder.end().await;
        let verdict = look(&folder.0);
        assert_eq!((verdict.segments, verdict.cycles), (4, 7_450));
        assert_eq!(verdict.configurations.len(), 2);
        assert!(verdict.gaps.is_empty());
    }

    #[tokio::test]
    async fn cycles_that_find_no_place_are_counted_and_the_gap_is_marked() {
        let folder = Folder::new("gap");
        let mut bench = Bench::new();
        let (queue, inbox) = mpsc::channel(4);
        let mut recorder = start(&folder.0, &Settings { enabled: false, ..Settings::default() });
        assert!(recorder.watch().is_none());
        recorder.queue = Some(queue);
        // Nobody takes anything out.
        (0..30).for_each(|_| bench.cycle(&mut recorder));
        assert_eq!(recorder.shared.health().lost, 27, "a beginning and three cycles had room");
        let writer = Writer::new(folder.0.clone(), Settings::default(), recorder.shared.clone());
        let thread = std::thread::spawn(move || writer.run(inbox));
        while recorder.queue.as_ref().unwrap().capacity() < 4 {
            std::thread::yield_now();
        }
        for _ in 0..20 {
            while recorder.queue.as_ref().unwrap().capacity() < 3 {
                std::thread::yield_now();
            }
            bench.cycle(&mut recorder);
        }
        recorder.queue = None;
        thread.join().unwrap();
        let verdict = look(&folder.0);
        assert_eq!(verdict.cycles, 23, "{verdict:?}");
        assert_eq!(verdict.gaps.iter().map(|gap| gap.lost).sum::<u64>(), 27, "{verdict:?}");
    }

    #[tokio::test]
    async fn a_disk_that_fails_disturbs_nobody_and_is_tried_again() {
        let folder = Folder::new("trouble");
        // A file is where the folder should be.
        std::fs::write(&folder.0, "in the way").unwrap();
        let mut bench = Bench::new();
        let mut recorder = start(&folder.0, &Settings::default());
        bench.cycle(&mut recorder);
        while recorder.shared.health().errors == 0 {
            std::thread::yield_now();
        }
        bench.cycles(&mut recorder, 30);
        std::fs::remove_file(&folder.0).unwrap();
        bench.cycles(&mut recorder, 60);
        recorder.end().await;
        assert_eq!(recorder.shared.health().errors, 1);
        let verdict = look(&folder.0);
        assert!(verdict.cycles >= 20, "{verdict:?}");
        assert_eq!(verdict.gaps.len(), 1, "{verdict:?}");
        assert_eq!(verdict.gaps[0].lost + verdict.cycles, 91, "{verdict:?}");
    }

    #[tokio::test]
    async fn a_folder_that_is_deleted_while_it_is_written_is_noticed() {
        let folder = Folder::new("deleted");
        let mut bench = Bench::new();
        let mut recorder = start(&folder.0, &Settings::default());
        bench.cycles(&mut recorder, 25);
        while !folder.0.exists() {
            std::thread::yield_now();
        }
        std::fs::remove_dir_all(&folder.0).unwrap();
        // It is noticed with the next block, which may be as far behind as the queue is long, and tried again after a minute.
        bench.cycles(&mut recorder, 300);
        recorder.end().await;
        let health = recorder.shared.health();
        assert_eq!(health.errors, 1);
        let verdict = look(&folder.0);
        assert!(verdict.cycles >= 150 && verdict.gaps.len() == 1, "{verdict:?}");
    }

    #[tokio::test]
    async fn the_folder_never_holds_more_than_it_may() {
        let folder = Folder::new("bound");
        let settings = Settings { max_size: 90_000, ..Settings::default() };
        let mut bench = Bench::new();
        let mut recorder = start(&folder.0, &settings);
        let held = || -> u64 {
            let files = std::fs::read_dir(&folder.0).into_iter().flatten().flatten();
            files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
        };
        let mut most = 0;
        for _ in 0..40 {
            bench.cycles(&mut recorder, 100);
            most = most.max(held());
        }
        // The end waits a second for what is left: that much is written on any machine.
        while recorder.queue.as_ref().is_some_and(|queue| queue.capacity() < QUEUE) {
            std::thread::yield_now();
        }
        recorder.end().await;
        assert!(most.max(held()) <= 90_000, "{most} bytes");
        assert!(held() > 40_000, "and it is made use of: {} bytes", held());
        let verdict = look(&folder.0);
        assert!(verdict.segments > 2 && verdict.cycles > 150 && verdict.gaps.is_empty(), "{verdict:?}");
    }
}
