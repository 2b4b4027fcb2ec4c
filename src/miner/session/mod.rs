//! One session per miner: a task that owns the driver, polls, and carries out the latest order.
//!
//! ```text
//!             order (watch)                      report (watch)
//!  shell ────────────────────►  session task  ────────────────────►  snapshot
//!                                  │    ▲
//!                           apply  ▼    │  read
//!                                  driver
//! ```
//!
//! - The latest order wins: one that was replaced before it was sent is never sent.
//! - One exchange is in flight at a time. A shed ends at once whatever else is under way - a poll, a question who it is, a
//!   proof of the account, a command that has time - and drops its connection. A command that it ends counts as
//!   unanswered: it may or may not have been carried out. Behind another shed it waits for the answer, at the most for one
//!   exchange of `GRACE` where it asks for less power.
//! - Any other order waits for the poll or command that is under way, and goes right after it.
//! - A session that takes another one's place begins when that has ended (see [`Leaving`]).
//! - Commands do not wait for the polls of other miners, which the [`Gate`] bounds.
//! - Before the first command, and whenever another miner may have come to the address, the miner is asked who it is
//!   (see `trust`). Another one is never commanded and its draw never taken for that of the miner that is meant, which
//!   counts as unreachable.
//! - Nothing is sent twice: what to do about a command that failed is for the control law to decide.
//! - After a command the miner is read back quickly, so that the control law sees the draw move.

pub mod gate;
pub mod tally;
mod trust;
mod vouch;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Moment};
use crate::control::snapshot::{
    Activity, Contact, Delivery, MinerInput, MinerStatus, Outcome, Reading, Rejection, Target,
};
use crate::miner::identity::Identity;
use crate::miner::reply::models;
use crate::miner::session::gate::Lane;
pub use crate::miner::session::gate::{Bounds, Gate};
use crate::miner::session::tally::{DriverTally, Ended, SessionMetrics};
use crate::miner::session::trust::{Trust, Verdict};
pub use crate::miner::session::vouch::Vouch;
use crate::miner::{Driver, DriverError, DriverKind, Endpoint, Urgency};

/// When a miner is read back after a command, counted from the end of the command.
const READ_BACKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The longest pause between two polls of a miner that does not answer.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// How often an idle connection is looked after.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// A driver that has not returned after this many of its own time limits never will; the session goes on without.
const DRIVER_PATIENCE: u32 = 8;
/// How often account and model are asked for before that is left.
const MOST_INTRODUCTIONS: u32 = 3;
/// How long a shed that is under way is still waited for when one that asks for less power comes, and any command when the
/// session ends. Twice as long after each shed that was not waited for to its end, so that a slow miner follows too.
const GRACE: Duration = Duration::from_secs(1);
/// How long closing a session may take.
const CLOSING: Duration = Duration::from_secs(1);

/// What a miner is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Order {
    /// The target.
    pub target: Target,
    /// The number of the command; every new order has another one.
    pub sequence: u64,
    /// Whether power must fall now.
    pub urgency: Urgency,
}

/// What a session must know of its miner besides the driver.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// The miner's name, for logs and for spreading the polls.
    pub name: Arc<str>,
    /// Under which driver it is counted.
    pub kind: DriverKind,
    /// Where the miner listens, for errors.
    pub endpoint: Endpoint,
    /// Time between two polls.
    pub poll_period: Duration,
    /// No successful exchange for this long means unreachable.
    pub silent_after: Duration,
    /// The driver's time limit of one exchange.
    pub timeout: Duration,
    /// Who the miner is; without hardware address and serial number whoever answers is taken for it.
    pub identity: Identity,
    /// Which model it is by the configuration, where that can be compared with what the device says.
    pub model: Option<String>,
}

impl Order {
    /// Whether this one leaves the miner less power than another one.
    fn is_below(&self, other: &Self) -> bool {
        match (self.target, other.target) {
            (_, Target::Sleep) => false,
            (Target::Sleep, Target::Power(_)) => true,
            (Target::Power(own), Target::Power(other)) => own < other,
        }
    }
}

/// Sessions that were told to end and may still be speaking with their miners. None that comes after begins before the last
/// of them has ended, whatever names and addresses they have: so no miner is ever commanded by two. That takes `GRACE` and
/// a second for closing at the most.
#[derive(Clone, Debug)]
pub struct Leaving(TaskTracker);

impl Default for Leaving {
    fn default() -> Self {
        let tasks = TaskTracker::new();
        tasks.close();
        Self(tasks)
    }
}

impl Leaving {
    /// Takes the task of a session that was told to end.
    pub fn add(&self, task: JoinHandle<()>) {
        self.0.spawn(task);
    }

    /// Waits until all have ended.
    pub async fn gone(&self) {
        self.0.wait().await;
    }
}

/// The two ends of a running session, and its task.
#[derive(Debug)]
pub struct Session {
    /// Takes orders; only the latest counts. Dropping it ends the session.
    pub order: watch::Sender<Option<Order>>,
    /// What is known of the miner.
    pub report: watch::Receiver<MinerInput>,
    /// Whether what is told to the miner belongs to an emergency.
    pub emergency: Arc<AtomicBool>,
    /// Ends after the session was cancelled and has closed its driver.
    pub task: JoinHandle<()>,
}

impl Session {
    /// The latest order, where power must fall and nothing is known yet of what became of it.
    pub fn open_shed(&self) -> Option<Order> {
        let order = (*self.order.borrow()).filter(|order| order.urgency == Urgency::Shed)?;
        let report = self.report.borrow();
        let ended = report.delivery.as_ref().is_some_and(|delivery| {
            delivery.sequence == order.sequence && delivery.outcome != Outcome::InFlight
        });
        (!ended).then_some(order)
    }
}

/// What sessions share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Bounds how many speak at once.
    pub gate: Arc<Gate>,
    /// Where their exchanges are counted.
    pub metrics: Arc<SessionMetrics>,
    /// Which sessions must have ended first.
    pub leaving: Leaving,
    /// Whether a control law stands behind what they are told.
    pub vouch: Vouch,
}

impl Shared {
    /// For sessions before which there were none.
    pub fn new(gate: Gate) -> Self {
        Self {
            gate: Arc::new(gate),
            metrics: Arc::default(),
            leaving: Leaving::default(),
            vouch: Vouch::default(),
        }
    }
}

/// Starts a session, which speaks with nobody before those in [`Shared::leaving`] have ended.
pub fn spawn(
    driver: Box<dyn Driver>,
    spec: SessionSpec,
    clock: Clock,
    shared: Shared,
    cancel: CancellationToken,
) -> Session {
    let Shared { gate, metrics, leaving, vouch } = shared;
    let (order, orders) = watch::channel(None);
    let (reports, report) = watch::channel(MinerInput::PENDING);
    let emergency = Arc::new(AtomicBool::new(false));
    let mut hasher = DefaultHasher::new();
    spec.name.hash(&mut hasher);
    let now = clock.now();
    let worker = Worker {
        spread: hasher.finish(),
        lane: gate.lane(spec.kind, &spec.endpoint),
        trust: Trust::new(spec.identity.clone()),
        warned: false,
        introductions: MOST_INTRODUCTIONS,
        spec,
        clock,
        metrics,
        leaving,
        vouch,
        emergency: emergency.clone(),
        cancel,
        orders,
        reports,
        done: None,
        cut_off: 0,
        contact_at: now,
        failing_since: None,
        failures: 0,
        started: now,
        next_poll: now,
        read_backs: None,
        complaint: None,
        last_error: None,
    };
    Session { order, report, emergency, task: tokio::spawn(worker.run(driver)) }
}

/// What the session does next.
enum Next {
    Stop,
    Command(Order),
    Poll,
    KeepAlive,
    Silent,
}

struct Worker {
    spec: SessionSpec,
    clock: Clock,
    lane: Lane,
    trust: Trust,
    /// That it does not tell who it is was logged.
    warned: bool,
    /// How often it is still tried to find out what the first reading does not show; see [`Worker::introduce`].
    introductions: u32,
    metrics: Arc<SessionMetrics>,
    leaving: Leaving,
    vouch: Vouch,
    emergency: Arc<AtomicBool>,
    cancel: CancellationToken,
    orders: watch::Receiver<Option<Order>>,
    reports: watch::Sender<MinerInput>,
    /// The sequence of the latest order that was sent.
    done: Option<u64>,
    /// Sheds in a row that were not waited for to their end.
    cut_off: u32,
    /// The latest successful exchange, or the start.
    contact_at: Moment,
    failing_since: Option<Moment>,
    failures: u32,
    started: Moment,
    next_poll: Moment,
    /// End of the latest command and how many read-backs it has had.
    read_backs: Option<(Moment, usize)>,
    /// The refusal that was logged last.
    complaint: Option<Outcome>,
    last_error: Option<DriverError>,
    /// A hash of the name: spreads the fleet's polls.
    spread: u64,
}

impl Worker {
    async fn run(mut self, mut driver: Box<dyn Driver>) {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return,
            () = self.leaving.gone() => {}
        }
        self.next_poll = self.started + self.part_of(self.spec.poll_period.min(Duration::from_secs(1)));
        loop {
            match self.wait().await {
                Next::Stop => break,
                Next::Command(order) => self.command(&mut *driver, order).await,
                Next::Poll => {
                    self.poll(&mut *driver).await;
                    if self.introductions > 0 && self.failures == 0 && self.pending_order().is_none() {
                        self.introduce(&mut *driver).await;
                    }
                }
                Next::KeepAlive => tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => {}
                    _ = self.orders.changed() => {}
                    _ = tokio::time::timeout(self.spec.timeout, driver.keep_alive()) => {}
                },
                Next::Silent => self.fall_silent(),
            }
        }
        let _ = tokio::time::timeout(CLOSING, driver.close()).await;
    }

    /// Waits for the next thing to do, the more important first.
    async fn wait(&mut self) -> Next {
        let due = self.next_due();
        let keep_alive = self.clock.now() + KEEP_ALIVE;
        let silent = self.silent_at();
        loop {
            if self.cancel.is_cancelled() {
                return Next::Stop;
            }
            if let Some(order) = self.pending_order() {
                return Next::Command(order);
            }
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Next::Stop,
                changed = self.orders.changed() => if changed.is_err() { return Next::Stop },
                () = until(self.clock, silent) => return Next::Silent,
                () = tokio::time::sleep_until(self.clock.instant(due)) => return Next::Poll,
                () = tokio::time::sleep_until(self.clock.instant(keep_alive)) => return Next::KeepAlive,
            }
        }
    }

    /// The latest order, if it was not sent yet.
    fn pending_order(&mut self) -> Option<Order> {
        let order = *self.orders.borrow_and_update();
        order.filter(|order| self.done != Some(order.sequence))
    }

    /// When the next poll is due: a read-back or the normal one.
    fn next_due(&self) -> Moment {
        let read_back = self.read_backs.and_then(|(end, had)| READ_BACKS.get(had).map(|after| end + *after));
        read_back.map_or(self.next_poll, |at| at.min(self.next_poll))
    }

    /// When the miner counts as unreachable, if exchanges are failing and it does not count so already.
    fn silent_at(&self) -> Option<Moment> {
        let already = matches!(self.reports.borrow().contact, Contact::Unreachable { .. });
        (self.failing_since.is_some() && !already).then(|| self.contact_at + self.spec.silent_after)
    }

    /// A part of a time that depends on the name alone, less than the whole.
    fn part_of(&self, whole: Duration) -> Duration {
        let parts = 1_u32 << 16;
        let part = u32::try_from(self.spread % u64::from(parts)).unwrap_or_default();
        whole.mul_f64(f64::from(part) / f64::from(parts))
    }

    /// Sends an order and reports what became of it.
    async fn command(&mut self, driver: &mut dyn Driver, order: Order) {
        let lane = self.lane.clone();
        let cancel = self.cancel.clone();
        let turn = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            // A newer order takes the place of this one, which was not sent, or it is called off.
            Ok(()) = self.orders.changed() => return,
            turn = lane.command(order.urgency) => turn,
        };
        self.done = Some(order.sequence);
        self.deliver(order, Outcome::InFlight);
        let begun = self.clock.now();
        let patience = self.spec.timeout.saturating_mul(DRIVER_PATIENCE);
        let grace = GRACE.min(self.spec.timeout).saturating_mul(1 << self.cut_off.min(8)).min(patience);
        let mut trust = std::mem::take(&mut self.trust);
        // Who it is, a shed asks for no longer than one exchange may take.
        let asking = match order.urgency {
            Urgency::Shed => self.spec.timeout,
            Urgency::Normal => patience,
        };
        let (endpoint, limit) = (self.spec.endpoint.clone(), self.spec.timeout);
        let name = Arc::clone(&self.spec.name);
        let work = async {
            if trust.must_ask() {
                let told = tokio::time::timeout(asking, driver.identify()).await;
                let late =
                    || DriverError::Timeout { endpoint: endpoint.clone(), exchange: "identification", limit };
                check(trust.take(told.unwrap_or_else(|_| Err(late()))), endpoint)?;
            }
            driver.emergency(self.emergency.load(Ordering::Relaxed));
            driver.apply(order.target, order.urgency).await
        };
        let applied = tokio::select! {
            biased;
            result = tokio::time::timeout(patience, work) => Some(result.ok()),
            // It may be carried out or not.
            () = overtaken(&mut self.orders, order, grace) => None,
            // A command on its way is given a moment when the session ends.
            () = async {
                cancel.cancelled().await;
                tokio::time::sleep(GRACE).await;
                tracing::warn!(
                    miner = &*name,
                    "its answer to the last command is waited for no longer: it may be carried out or not"
                );
            } => None,
        };
        self.trust = trust;
        drop(turn);
        let Some(answered) = applied else {
            self.cut_off = if order.urgency == Urgency::Shed { self.cut_off + 1 } else { self.cut_off };
            self.tally().commands.count(Ended::Cancelled);
            self.read_backs = Some((self.clock.now(), 0));
            self.deliver(order, Outcome::Unknown);
            return;
        };
        self.cut_off = 0;
        let result = answered.unwrap_or_else(|| Err(self.stuck("the command")));
        let now = self.clock.now();
        let tally = self.tally();
        tally.commands.count(Ended::of(&result));
        tally.command_seconds.record(now.since(begun));
        self.read_backs = Some((now, 0));
        let outcome = match &result {
            Ok(()) => Outcome::Accepted,
            Err(DriverError::Rejected { reason, .. }) => Outcome::Rejected(reason.clone()),
            Err(_) => Outcome::Unknown,
        };
        match &result {
            Ok(()) => self.succeeded(),
            // It answers, but a refusal is not yet a reading. Another miner has another password.
            Err(DriverError::Rejected { reason, .. }) => {
                if *reason == Rejection::Credentials {
                    self.trust.doubt();
                }
            }
            Err(error) => {
                let _ = self.failing_since.get_or_insert(now);
                self.weaken(error);
            }
        }
        self.complain(&outcome, result.err());
        self.deliver(order, outcome);
    }

    /// An exchange failed: whether another miner may have come to the address since. A lost answer alone does not say
    /// so; it does once it lasts.
    fn weaken(&mut self, error: &DriverError) {
        if matches!(error, DriverError::Unreachable { .. } | DriverError::Malformed { .. }) {
            self.trust.doubt();
        }
    }

    fn deliver(&self, order: Order, outcome: Outcome) {
        let delivery =
            Delivery { sequence: order.sequence, target: order.target, at: self.clock.now(), outcome };
        self.reports.send_modify(|report| report.delivery = Some(delivery));
    }

    /// Logs a command that failed, once until another thing happens.
    fn complain(&mut self, outcome: &Outcome, error: Option<DriverError>) {
        let name = &*self.spec.name;
        match error {
            None => {
                if self.complaint.take().is_some() {
                    tracing::info!(miner = name, "takes commands again");
                }
            }
            Some(error) => {
                if self.complaint.as_ref() != Some(outcome) {
                    tracing::warn!(miner = name, "command failed: {error}");
                    self.complaint = Some(outcome.clone());
                }
            }
        }
    }

    /// Reads the miner, unless a shed comes first.
    async fn poll(&mut self, driver: &mut dyn Driver) {
        let lane = self.lane.clone();
        let silent = self.silent_at();
        let cancel = self.cancel.clone();
        let turn = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            // An order does not wait for the gate, and the poll can wait for the order.
            _ = self.orders.changed() => return,
            () = until(self.clock, silent) => return self.fall_silent(),
            turn = lane.poll(self.failures > 0) => turn,
        };
        let patience = self.spec.timeout.saturating_mul(DRIVER_PATIENCE);
        let mut trust = std::mem::take(&mut self.trust);
        let mut fell_silent = false;
        let looked = {
            driver.vouched(self.vouch.holds(self.clock.now()));
            driver.emergency(self.emergency.load(Ordering::Relaxed));
            let looking = look(driver, &mut trust, self.clock);
            let mut looking = std::pin::pin!(tokio::time::timeout(patience, looking));
            let mut open = true;
            loop {
                let silent = self.silent_at();
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => break None,
                    changed = self.orders.changed(), if open => {
                        open = changed.is_ok();
                        if self.pending_order().is_some_and(|order| order.urgency == Urgency::Shed) {
                            self.tally().polls.count(Ended::Cancelled);
                            break None;
                        }
                    }
                    () = until(self.clock, silent) => {
                        fell_silent = true;
                        self.fall_silent();
                    }
                    looked = &mut looking => break Some(looked),
                }
            }
        };
        self.trust = trust;
        if fell_silent {
            self.trust.doubt();
        }
        drop(turn);
        let Some(looked) = looked else { return };
        let seen = looked.unwrap_or_else(|_| Err(self.stuck("the poll")));
        self.tally().polls.count(Ended::of(&seen));
        match seen {
            Ok(Seen::Miner(status)) => self.polled(Ok(status)),
            Ok(Seen::Stranger(reason)) => self.met_stranger(&reason),
            Err(error) => self.polled(Err(error)),
        }
        if !self.warned && self.trust.cannot_tell() {
            self.warned = true;
            tracing::warn!(
                miner = &*self.spec.name,
                "does not tell its hardware address or serial number, so `mac` and `serial` cannot be checked; check its \
                 credentials, or keep its address fixed"
            );
        }
    }

    /// Finds out once what a reading does not show and a person should know before the first command: whether the account is
    /// accepted, where a read can prove it, and whether the model is the one of the configuration. An order ends it.
    async fn introduce(&mut self, driver: &mut dyn Driver) {
        self.introductions -= 1;
        let model = self.spec.model.clone();
        let patience = self.spec.timeout.saturating_mul(DRIVER_PATIENCE);
        let cancel = self.cancel.clone();
        let lane = self.lane.clone();
        let asking = tokio::time::timeout(patience, async {
            let _turn = lane.poll(false).await;
            let proven = driver.prove_account().await;
            let told = if model.is_some() { driver.identify().await } else { Ok(None) };
            (proven, told)
        });
        let asked = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            // It is tried again after another poll.
            _ = self.orders.changed() => return,
            asked = asking => asked,
        };
        let Ok((proven, told)) = asked else { return };
        let name = &*self.spec.name;
        if let Err(error @ DriverError::Rejected { reason: Rejection::Credentials, .. }) = &proven {
            tracing::warn!(miner = name, "can be read and not be commanded: {error}");
        }
        let told_model = told.as_ref().ok().and_then(Option::as_ref).and_then(|told| told.model.clone());
        if let (Some(model), Some(told)) = (&model, told_model)
            && !models::agrees(model, &told)
        {
            tracing::warn!(
                miner = name,
                "says that it is `{told}`, and the configuration has model = \"{model}\": its powers may be those of \
                 another miner"
            );
        }
        let settled = |error: &DriverError| matches!(error, DriverError::Rejected { .. });
        if proven.as_ref().err().is_none_or(settled) && told.as_ref().err().is_none_or(settled) {
            self.introductions = 0;
        }
    }

    /// Another miner answers where this one should be: nothing is known of this one.
    fn met_stranger(&mut self, reason: &str) {
        let now = self.clock.now();
        self.read_backs = None;
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert(now);
        let fault = Activity::Fault(format!("another miner answers at its address: {reason}").into());
        let status = MinerStatus { activity: fault, ..MinerStatus::default() };
        let mut news = false;
        self.reports.send_modify(|report| {
            news = report.status.as_ref().is_none_or(|known| known.value.activity != status.activity);
            if !matches!(report.contact, Contact::Unreachable { .. }) {
                report.contact = Contact::Unreachable { since };
            }
            report.status = Some(Reading { value: status, at: now });
        });
        if news {
            tracing::warn!(
                miner = &*self.spec.name,
                endpoint = %self.spec.endpoint,
                "another miner answers at its address and is not commanded: {reason}; correct `address`, or `mac` and \
                 `serial`"
            );
        }
        self.schedule(now);
    }

    /// Takes in the outcome of a poll.
    fn polled(&mut self, result: Result<MinerStatus, DriverError>) {
        let now = self.clock.now();
        if let Some((end, had)) = self.read_backs {
            // Read-backs whose time has gone by are not made up for.
            let next = READ_BACKS.iter().position(|after| end + *after > now).unwrap_or(READ_BACKS.len());
            self.read_backs = (next.max(had) < READ_BACKS.len()).then_some((end, next.max(had)));
        }
        match result {
            Ok(status) => {
                self.succeeded();
                self.reports.send_modify(|report| report.status = Some(Reading { value: status, at: now }));
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let _ = self.failing_since.get_or_insert(now);
                self.weaken(&error);
                self.last_error = Some(error);
                if now.since(self.contact_at) >= self.spec.silent_after {
                    self.fall_silent();
                }
            }
        }
        self.schedule(now);
    }

    /// Sets the time of the next normal poll.
    fn schedule(&mut self, now: Moment) {
        let period = self.spec.poll_period.max(Duration::from_millis(10));
        if self.failures > 0 {
            let longest = period.saturating_mul(4).min(LONGEST_BACK_OFF).max(period);
            let pause = period.saturating_mul(1 << self.failures.saturating_sub(1).min(2)).min(longest);
            // Between three quarters and the whole of it, so that a fleet that was lost together does not come
            // back in one burst.
            let jitter = self.part_of(pause).mul_f64(0.25);
            self.next_poll = now + (pause - jitter);
            return;
        }
        // Every miner has a phase of its own, so that the polls of a fleet lie evenly over the period. The next
        // one is the first of its phase that is at least half a period away.
        let phase = self.part_of(period);
        let since = now.since(self.started).as_secs_f64();
        let period_seconds = period.as_secs_f64();
        let slot = ((since - phase.as_secs_f64()) / period_seconds + 0.5).ceil().max(0.0);
        let offset = Duration::try_from_secs_f64(slot * period_seconds).unwrap_or(period) + phase;
        let at = self.started + offset;
        self.next_poll = at.max(now + period / 2).min(now + period.mul_f64(1.5));
    }

    fn tally(&self) -> &DriverTally {
        self.metrics.driver(self.spec.kind)
    }

    fn stuck(&self, exchange: &'static str) -> DriverError {
        DriverError::Timeout {
            endpoint: self.spec.endpoint.clone(),
            exchange,
            limit: self.spec.timeout.saturating_mul(DRIVER_PATIENCE),
        }
    }

    /// An exchange went well.
    fn succeeded(&mut self) {
        self.contact_at = self.clock.now();
        self.failing_since = None;
        self.failures = 0;
        self.last_error = None;
        let mut before = Contact::Reachable;
        self.reports.send_if_modified(|report| {
            before = report.contact;
            report.contact = Contact::Reachable;
            before != Contact::Reachable
        });
        let name = &*self.spec.name;
        match before {
            Contact::Reachable => {}
            Contact::Pending => tracing::debug!(miner = name, "answers"),
            Contact::Unreachable { since } => {
                let seconds = self.contact_at.since(since).as_secs();
                tracing::info!(miner = name, seconds, "answers again");
            }
        }
    }

    /// Too long without a successful exchange.
    fn fall_silent(&mut self) {
        self.trust.doubt();
        let since = self.failing_since.unwrap_or_else(|| self.clock.now());
        let changed = self.reports.send_if_modified(|report| {
            let known = matches!(report.contact, Contact::Unreachable { .. });
            if !known {
                report.contact = Contact::Unreachable { since };
            }
            !known
        });
        if changed {
            let name = &*self.spec.name;
            match &self.last_error {
                Some(error) => tracing::warn!(miner = name, "unreachable: {error}"),
                None => tracing::warn!(miner = name, "unreachable: commands are not answered"),
            }
        }
    }
}

/// What an answer to "who are you?" means for a command.
fn check(verdict: Verdict, endpoint: Endpoint) -> Result<(), DriverError> {
    match verdict {
        Verdict::Sure => Ok(()),
        Verdict::Unsure(error) => Err(error),
        Verdict::Stranger(_) => {
            Err(DriverError::Rejected { endpoint, exchange: "the command", reason: Rejection::AnotherMiner })
        }
    }
}

/// Resolves when a shed must go before the command that is under way: at once where that has time, else after the grace and
/// where it asks for less power. And when a command that can wait is called off.
async fn overtaken(orders: &mut watch::Receiver<Option<Order>>, under_way: Order, grace: Duration) {
    let mut waited = false;
    loop {
        let latest = *orders.borrow_and_update();
        if latest.is_none() && under_way.urgency == Urgency::Normal {
            return;
        }
        let shed = latest.filter(|it| it.sequence != under_way.sequence && it.urgency == Urgency::Shed);
        match (shed, under_way.urgency) {
            (Some(_), Urgency::Normal) => return,
            (Some(shed), Urgency::Shed) if shed.is_below(&under_way) => {
                if waited {
                    return;
                }
                waited = true;
                tokio::time::sleep(grace).await;
                continue;
            }
            _ => {}
        }
        if orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a poll found.
enum Seen {
    Miner(MinerStatus),
    Stranger(Arc<str>),
}

/// Reads the miner, and asks who it is where that is not certain. A stranger is asked and not read.
async fn look(driver: &mut dyn Driver, trust: &mut Trust, clock: Clock) -> Result<Seen, DriverError> {
    if trust.is_stranger() {
        match trust.take(driver.identify().await) {
            Verdict::Sure => {}
            Verdict::Stranger(reason) => return Ok(Seen::Stranger(reason)),
            Verdict::Unsure(error) => return Err(error),
        }
    }
    let status = driver.read().await?;
    trust.note_uptime(status.uptime, clock.now());
    if trust.must_ask()
        && let Verdict::Stranger(reason) = trust.take(driver.identify().await)
    {
        return Ok(Seen::Stranger(reason));
    }
    // A question that was not answered is asked again with the next poll, or before the next command.
    Ok(Seen::Miner(status))
}

/// Waits until a moment, for ever without one.
async fn until(clock: Clock, moment: Option<Moment>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(clock.instant(moment)).await,
        None => std::future::pending().await,
    }
}
