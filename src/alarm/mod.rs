//! Alarms: what somebody should know of, raised once, kept until it is over, and acknowledged by whoever knows.
//!
//! ```text
//!  frames ──► look ──► book ──► journal, metrics, API
//!                        ├────► database
//!                        └────► webhook
//! ```
//!
//! A task of its own looks at the latest cycle once a second: the control loop knows nothing of alarms and waits for none.
//!
//! | File | What it does |
//! |---|---|
//! | `kind` | what there can be an alarm of |
//! | `look` | what is wrong at a moment; pure |
//! | `book` | which alarms there are: hysteresis, acknowledgement; pure |
//! | `window` | times in which nobody is called |
//! | `hook` | tells somebody else by HTTP |

pub mod book;
mod hook;
pub mod kind;
pub mod look;
pub mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{self, Clock};
use crate::control::frame::Frame;
use crate::maintenance::Maintenance;
use crate::metrics::{AlarmCounts, AlarmStats, AlarmSummary, Exporter};
use crate::proof::{self, Writer};
use crate::record::Watch;
use crate::standby::Standby;
use crate::stops::Stops;
use crate::store::{AlarmRow, Store, Write};
use book::{Acknowledgement, Alarm, AlarmError, Book, Change, Tuning, What};
pub use hook::Webhook;
use kind::{Kind, Severity};
use look::{Quiet, View};
use window::{Muting, Window};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Lines in the journal for one look: what is more is counted.
const MOST_LINES: usize = 20;
/// Time between two writes of alarms.
const PAUSE: Duration = Duration::from_millis(200);
/// Changes that may wait for the database.
const QUEUE: usize = 1_024;

/// `[alarms]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Other severities and times than those of the kinds.
    pub tuning: Tuning,
    /// Who is told by HTTP.
    pub webhook: Option<Webhook>,
    /// For whom nobody is called.
    pub quiet: Quiet,
    /// When nobody is called for some alarms.
    pub windows: Vec<Window>,
}

/// The alarms of a daemon. Copies share them.
#[derive(Clone, Debug)]
pub struct Alarms(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    book: Mutex<Book>,
    settings: Mutex<Settings>,
    rows: mpsc::Sender<AlarmRow>,
    posts: mpsc::Sender<Change>,
    /// Where the tasks take them from, until they run.
    outlets: Mutex<Option<(mpsc::Receiver<AlarmRow>, mpsc::Receiver<Change>)>>,
    told: hook::Tally,
    proof: OnceLock<Writer>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Alarms {
    /// Alarms with what a run before has left on disk.
    pub fn new(settings: &Settings, kept: Vec<AlarmRow>) -> Self {
        let last = kept.iter().map(|row| row.id).max().unwrap_or(0);
        let mut book = Book::new(kept.into_iter().filter_map(from_row).collect(), last);
        book.tune(settings.tuning.clone());
        let (rows, row_outlet) = mpsc::channel(QUEUE);
        let (posts, post_outlet) = mpsc::channel(hook::QUEUE);
        Self(Arc::new(Inner {
            book: Mutex::new(book),
            settings: Mutex::new(settings.clone()),
            rows,
            posts,
            outlets: Mutex::new(Some((row_outlet, post_outlet))),
            told: hook::Tally::default(),
            proof: OnceLock::new(),
        }))
    }

    /// Says where changes go that are to be proven later; once.
    pub fn prove_to(&self, proof: Writer) {
        let _ = self.0.proof.set(proof);
    }

    /// Takes a new configuration.
    pub fn configure(&self, settings: &Settings) {
        locked(&self.0.book).tune(settings.tuning.clone());
        *locked(&self.0.settings) = settings.clone();
    }

    /// The alarms that are raised, the most urgent first, and those that are over, the newest first.
    pub fn list(&self) -> (Vec<Alarm>, Vec<Alarm>) {
        let book = locked(&self.0.book);
        (book.raised().into_iter().cloned().collect(), book.cleared().cloned().collect())
    }

    /// Somebody says that they know of an alarm.
    ///
    /// # Errors
    /// [`AlarmError`].
    pub fn acknowledge(&self, id: u64, by: &str, note: &str) -> Result<Alarm, AlarmError> {
        let change = locked(&self.0.book).acknowledge(id, by, note, clock::unix_millis())?;
        let alarm = change.alarm.clone();
        self.tell(&[change]);
        Ok(alarm)
    }

    /// Takes a look. For what is worked on nobody is called.
    pub fn look(&self, view: &View<'_>, worked_on: Quiet) {
        let mut quiet = worked_on;
        quiet.extend(locked(&self.0.settings).quiet.iter().cloned());
        let wall = clock::unix_millis();
        let muting = self.muting(view, wall);
        let found = look::look(&View { muting: &muting, ..*view }, &quiet);
        let settled = look::settled(view.frame);
        let changes = locked(&self.0.book).look(found, settled, view.now, wall);
        self.tell(&changes);
    }

    /// For what nobody is called now. Where the wall clock is in doubt nobody knows whether a window is open, and people are called.
    fn muting(&self, view: &View<'_>, wall: i64) -> Vec<Muting> {
        if view.signals.is_some_and(|status| !status.clock_synchronised) {
            return Vec::new();
        }
        let settings = locked(&self.0.settings);
        settings
            .windows
            .iter()
            .filter(|window| window.is_open(wall))
            .map(|window| window.mutes.clone())
            .collect()
    }

    /// Tells the journal, the database and the webhook what has happened.
    fn tell(&self, changes: &[Change]) {
        for change in changes.iter().take(MOST_LINES) {
            log(change);
        }
        if let Some(rest) = changes.len().checked_sub(MOST_LINES).filter(|rest| *rest > 0) {
            warn!("{rest} more alarms were raised or are over; `ballast alarms` lists them");
        }
        let mut lost = 0_usize;
        for change in changes {
            if let Some(proof) = self.0.proof.get() {
                prove(proof, change);
            }
            lost = lost.saturating_add(usize::from(self.0.rows.try_send(to_row(&change.alarm)).is_err()));
            let wanted = self.webhook().is_some_and(|hook| hook.wants(change));
            if wanted && self.0.posts.try_send(change.clone()).is_err() {
                self.0.told.failed();
            }
        }
        if lost > 0 {
            warn!("{lost} changes of alarms are not on disk: too many wait for it");
        }
    }

    /// Looks, writes and tells until `cancel`. Ends by itself only when it is run a second time.
    pub async fn run(
        self,
        around: Around,
        frames: watch::Receiver<Option<Frame>>,
        cancel: CancellationToken,
    ) {
        let Some((mut rows, posts)) = locked(&self.0.outlets).take() else { return };
        let store = around.store.clone();
        let writing = write(store.clone(), &mut rows);
        let posting = hook::run(self.clone(), around.site.clone(), posts);
        let looking = self.look_on(&around, frames);
        tokio::select! {
            () = cancel.cancelled() => {}
            () = writing => {}
            () = posting => {}
            () = looking => {}
        }
        // What came last is known after a restart, too.
        let alarms: Vec<AlarmRow> = std::iter::from_fn(|| rows.try_recv().ok()).take(QUEUE).collect();
        if let Some(store) = store.filter(|_| !alarms.is_empty()) {
            let _ = store.write(Write { alarms, ..Write::default() }).await;
        }
    }

    async fn look_on(&self, around: &Around, frames: watch::Receiver<Option<Frame>>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(frame) = frames.borrow().clone() else { continue };
            let signals = around.exporter.signals();
            let heartbeats = around.exporter.heartbeats();
            let pair = around.standby.as_ref().map(Standby::health);
            let view = View {
                muting: &[],
                heartbeats: &heartbeats,
                pair: pair.as_ref(),
                frame: &frame,
                signals: signals.as_ref(),
                record: around.record.as_ref().map(Watch::health),
                stops_unsaved: around.stops.is_failing(),
                strangers: around.exporter.strangers(),
                now: around.clock.now(),
            };
            self.look(&view, around.maintenance.quiet());
        }
    }

    fn webhook(&self) -> Option<Webhook> {
        locked(&self.0.settings).webhook.clone()
    }
}

/// What the alarms are seen from.
#[derive(Clone, Debug)]
pub struct Around {
    /// Where the sources of orders are asked, and other programs.
    pub exporter: Arc<Exporter>,
    /// How the record is; `None` where nothing is recorded.
    pub record: Option<Watch>,
    /// Where alarms are kept; `None` where nothing is kept.
    pub store: Option<Store>,
    /// The other machine of a pair, where there is one.
    pub standby: Option<Standby>,
    /// What somebody works on.
    pub maintenance: Maintenance,
    /// The emergency stops.
    pub stops: Stops,
    /// The clock of the frames.
    pub clock: Clock,
    /// The name of the site, for whoever is told.
    pub site: Arc<str>,
}

/// Writes changes to the database, many at once where many wait. What fails is told by the store itself.
async fn write(store: Option<Store>, rows: &mut mpsc::Receiver<AlarmRow>) {
    let mut batch = Vec::new();
    loop {
        if rows.recv_many(&mut batch, QUEUE).await == 0 {
            return;
        }
        let alarms = std::mem::take(&mut batch);
        if let Some(store) = &store {
            let _ = store.write(Write { alarms, ..Write::default() }).await;
            // Orders go first on a slow disk.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Hands a change over to the proof.
fn prove(to: &Writer, change: &Change) {
    let alarm = &change.alarm;
    let known = alarm.acknowledged.as_ref().filter(|_| change.what == What::Acknowledged);
    let event = match change.what {
        What::Raised => "raised",
        What::Worse => "worse",
        What::Cleared => "cleared",
        What::Acknowledged => "acknowledged",
    };
    let body = json!({
        "event": event,
        "alarm": alarm.id,
        "kind": alarm.kind.name(),
        "severity": alarm.severity.name(),
        "subject": &*alarm.subject,
        "words": &*alarm.words,
        "by": known.map(|it| &*it.by),
        "note": known.map(|it| &*it.note).filter(|note| !note.is_empty()),
    });
    to.append(proof::Kind::Alarm, body);
}

fn log(change: &Change) {
    let Alarm { id, kind, severity, subject, words, quiet, acknowledged, .. } = &change.alarm;
    let (kind, severity, subject) = (kind.name(), severity.name(), &**subject);
    match change.what {
        What::Raised | What::Worse if *quiet => {
            info!(alarm = id, kind, severity, subject, "alarm (quiet): {words}");
        }
        What::Raised | What::Worse if change.alarm.severity > Severity::Notice => {
            warn!(alarm = id, kind, severity, subject, "alarm: {words}; {}", change.alarm.kind.help());
        }
        What::Raised | What::Worse => info!(alarm = id, kind, severity, subject, "alarm: {words}"),
        What::Cleared => info!(alarm = id, kind, subject, "alarm is over: {words}"),
        What::Acknowledged => {
            let by = acknowledged.as_ref().map_or("?", |it| &*it.by);
            info!(alarm = id, kind, subject, by, "alarm is acknowledged");
        }
    }
}

fn to_row(alarm: &Alarm) -> AlarmRow {
    let known = alarm.acknowledged.as_ref();
    AlarmRow {
        id: alarm.id,
        kind: alarm.kind.name().into(),
        severity: alarm.severity.name().into(),
        subject: alarm.subject.clone(),
        words: alarm.words.clone(),
        raised_ms: alarm.raised,
        cleared_ms: alarm.cleared,
        acknowledged_by: known.map(|it| it.by.clone()),
        acknowledged_ms: known.map(|it| it.at),
        note: known.map(|it| it.note.clone()),
        told: alarm.told,
    }
}

/// `None` for a kind that a later version of the program knows.
fn from_row(row: AlarmRow) -> Option<Alarm> {
    let acknowledged = row.acknowledged_by.zip(row.acknowledged_ms).map(|(by, at)| Acknowledgement {
        by,
        at,
        note: row.note.unwrap_or_default(),
    });
    Some(Alarm {
        id: row.id,
        kind: Kind::named(&row.kind)?,
        subject: row.subject,
        severity: Severity::named(&row.severity)?,
        words: row.words,
        raised: row.raised_ms,
        cleared: row.cleared_ms,
        acknowledged,
        quiet: false,
        // Of what was not told the first look finds out whether its window still lasts.
        muted: !row.told,
        told: row.told,
    })
}

impl AlarmStats for Alarms {
    fn alarms(&self) -> AlarmCounts {
        let book = locked(&self.0.book);
        let mut raised: BTreeMap<(&'static str, &'static str, Arc<str>), bool> = BTreeMap::new();
        for alarm in book.raised().into_iter().filter(|alarm| !alarm.quiet) {
            let key = (alarm.kind.name(), alarm.severity.name(), alarm.subject.clone());
            raised.insert(key, alarm.acknowledged.is_some());
        }
        AlarmCounts {
            raised: raised
                .into_iter()
                .map(|((kind, severity, subject), known)| (kind, severity, subject, known))
                .collect(),
            totals: Kind::ALL
                .into_iter()
                .map(|kind| (kind.name(), book.counts().get(&kind).copied().unwrap_or(0)))
                .collect(),
            left_out: book.left_out(),
            posts_failed: self.webhook().is_some().then(|| self.0.told.failures()),
        }
    }

    fn summary(&self) -> AlarmSummary {
        let book = locked(&self.0.book);
        let mut summary = AlarmSummary { newest: book.last(), ..AlarmSummary::default() };
        for alarm in book.raised() {
            let count = match alarm.severity {
                Severity::Notice => &mut summary.notice,
                Severity::Warning => &mut summary.warning,
                Severity::Critical => &mut summary.critical,
            };
            *count = count.saturating_add(1);
            if alarm.acknowledged.is_none() && !alarm.quiet {
                summary.unacknowledged = summary.unacknowledged.saturating_add(1);
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_leads_back_to_the_alarm() {
        let alarm = Alarm {
            id: 7,
            kind: Kind::MeterLost,
            subject: "grid".into(),
            severity: Severity::Critical,
            words: "grid does not answer".into(),
            raised: 1_790_000_000_000,
            cleared: Some(1_790_000_060_000),
            acknowledged: Some(Acknowledgement { by: "Aisha".into(), at: 5, note: "".into() }),
            quiet: false,
            muted: false,
            told: true,
        };
        assert_eq!(from_row(to_row(&alarm)), Some(alarm.clone()));
        let open = Alarm { cleared: None, acknowledged: None, ..alarm };
        assert_eq!(from_row(to_row(&open)), Some(open.clone()));
        let untold = Alarm { muted: true, told: false, ..open.clone() };
        assert_eq!(from_row(to_row(&untold)), Some(untold), "it is told when its window is over");
        assert_eq!(from_row(AlarmRow { kind: "of-the-future".into(), ..to_row(&open) }), None);
    }
}
