//! The one task that owns a link: which meter is read when, and what a failure costs whom.
//!
//! ```text
//!            earliest deadline
//!   meters ──────────────────► wait ─► connected? ─► requests of its lead ───► intake ─► next deadline
//!      ▲                                  │ no               │ timeout, broken, malformed
//!      │                                  ▼                  ▼
//!      └──────────── due again ◄──── pause (link)      drop the connection, pause (unit)
//! ```
//!
//! - The meter whose deadline is earliest is next. A served meter's deadline lies ahead and a waiting one's stays
//!   where it is, so nobody starves when the link is too slow for its periods. Deadlines that have passed in the
//!   meantime are skipped, never queued.
//! - What a meter tells beside its lead (see `batch`) is read in the pauses: one request at a time, and only if it is
//!   probably over before the next deadline of any meter. On a link without such pauses one request in [`FORCED_EVERY`]
//!   goes out all the same for what has waited for [`PATIENCE`] of its rounds. Only a meter whose lead was just read
//!   well is asked for more; a request for more that fails is no failure of the meter, and if it is refused, or not
//!   answered, it is left alone for some time.
//! - A SunSpec meter has its deadline at once for as long as it has to be asked what its registers mean (see `quest`);
//!   one request is one turn, so the others come in between.
//! - A failure to connect pauses the link, for all of its meters. A unit that does not answer pauses alone: it
//!   has cost the others one timeout, and the longer it stays silent the less often it may do so.
//! - Pauses grow by doubling, with jitter, to [`PAUSE_MAX`].
//!
//! # Late answers on serial lines
//!
//! An RTU answer, and that of a gateway that does not repeat the numbers of requests (`numbered = false`), does not say which
//! request it belongs to, so one that comes late fits the next request to the same
//! unit that asks for as many registers. After any end of an exchange but an answer or an exception:
//!
//! 1. The connection is dropped, and nothing is sent to anybody for another timeout and 3.5 characters. (So it is
//!    before the first connection, too: whoever was here before may have asked.)
//! 2. The new connection is drained until it is silent.
//! 3. The unit that was asked is in doubt: its next [`DOUBTS`] answers are thrown away, asked for one right after the other, and
//!    then the line is listened to for a whole timeout. Bytes in that time are an answer too many, and everything
//!    begins anew.
//!
//! The third step is for answers later than two timeouts. Units answer in the order in which they were asked: an old
//! answer taken for a new one leaves the new one to come. If it comes at once it falls into the listening; if the unit
//! is always this late, the second request in doubt runs into its timeout, because it gets no answer of its own and
//! the one before is still on its way.
//!
//! And the second request in doubt asks for another number of registers ([`Span::unlike`]): a gateway that gives each
//! answer only when the next request comes would pass all of this, one answer behind for ever, and here its answer has
//! the wrong length. A unit that does not answer such a request at all is asked the plain one the next time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::batch::{Batch, next_beat};
use super::counters::LinkCounters;
use super::decode;
use super::intake::Intake;
use super::plan::Span;
use super::profile::Profile;
use super::quest::{self, Quest, Step};
use super::session::{ExceptionKind, ReadError, Refusal, Session};
use super::sunspec::Refused;
use super::{Connection, Link};
use crate::clock::{Clock, Moment};

/// The first pause after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: the control law needs its meters.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A silent unit that shares its link may pause longer, so that its timeouts (and what follows them on a serial
/// line) take at most a fifth of the link's time, but not longer than this.
const SHARED_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many answers of a unit are thrown away before it is believed again.
const DOUBTS: u8 = 2;
/// On a link that is always busy, one request for something else than a lead goes out in this time.
const FORCED_EVERY: Duration = Duration::from_secs(1);
/// For so many of its rounds such a request waits for a pause of the link first.
const PATIENCE: u32 = 3;
/// How long a device that does not say what its registers mean is left alone before it is asked again.
const QUEST_PAUSE: Duration = Duration::from_secs(10);
/// No meter is read more often, whatever the configuration says.
const PERIOD_MIN: Duration = Duration::from_millis(10);

/// Failures in a row and the pause that they bring.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    failures: u32,
    until: Moment,
}

impl Pause {
    fn extend(&mut self, now: Moment, longest: Duration) {
        let doubled = PAUSE_MIN.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        // Jitter keeps daemons and links that lost the same gateway from coming back in step.
        self.until = now + doubled.min(longest).mul_f64(rand::random_range(0.75..=1.0));
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}

/// A meter on a link.
pub(super) struct Polled {
    unit: u8,
    profile: Profile,
    period: Duration,
    /// What its status follows.
    lead: Batch,
    /// What else it tells.
    rest: Vec<Batch>,
    /// For a device that has to be asked what its registers mean.
    quest: Option<Quest>,
    /// Whether the latest read of the lead went well.
    healthy: bool,
    intake: Intake,
    due: Moment,
    /// What its silence costs; shared by value between meters of the same unit.
    pause: Pause,
    /// How many of its answers are not to be believed; shared likewise. Zero where answers are numbered.
    doubts: u8,
    /// The unit did not answer a request that differs from the one it is asked for; shared likewise.
    plain: bool,
}

impl Polled {
    pub(super) fn new(connection: &Connection, intake: Intake, now: Moment) -> Self {
        let period = connection.period.max(PERIOD_MIN);
        let (lead, rest) = Batch::split_up(&connection.profile, period, now);
        Self {
            unit: connection.unit,
            lead,
            rest,
            quest: connection.profile.sunspec.map(Quest::new),
            healthy: false,
            profile: connection.profile.clone(),
            period,
            intake,
            due: now,
            pause: Pause::default(),
            doubts: 0,
            plain: false,
        }
    }

    /// Sets the next deadline: the first of the meter's own beat that lies ahead, and not within a pause.
    fn schedule(&mut self, now: Moment, not_before: Moment) {
        self.due = next_beat(self.due, self.period, now).max(not_before);
    }

    /// What has to be asked before its registers are known, or can be trusted again.
    fn question(&self) -> Option<Span> {
        self.quest.as_ref()?.request()
    }

    /// A new connection to its link.
    fn connected(&mut self, now: Moment) {
        self.lead.connected();
        self.rest.iter_mut().for_each(Batch::connected);
        if let Some(quest) = &mut self.quest {
            quest.connected(now);
        }
    }

    /// Reads it by other registers from now on.
    fn adopt(&mut self, profile: Profile, now: Moment) {
        (self.lead, self.rest) = Batch::split_up(&profile, self.period, now);
        self.intake.adopt(&profile);
        self.profile = profile;
    }
}

/// What an owner does next.
enum Turn {
    /// Wait for a moment and look again.
    Wait(Moment),
    /// Serve this meter.
    Lead(usize),
    /// Read a request of a batch of the rest of a meter.
    Rest(usize, usize),
}

/// The owner of a link.
pub(super) struct Owner {
    link: Link,
    clock: Clock,
    meters: Vec<Polled>,
    session: Option<Session>,
    /// The transaction number with which the next connection begins.
    next_transaction: u16,
    pause: Pause,
    /// Until when the line is left alone.
    quiet_until: Moment,
    /// The longest pause of a silent unit.
    unit_pause_max: Duration,
    /// When connecting began to fail, if it has been told.
    down_since: Option<Moment>,
    /// When a request of the rest last went out without a pause for it.
    forced: Moment,
    counters: Arc<LinkCounters>,
}

impl Owner {
    pub(super) fn new(link: Link, clock: Clock, meters: Vec<Polled>, counters: Arc<LinkCounters>) -> Self {
        let shared = meters.iter().any(|meter| meters.iter().any(|other| other.unit != meter.unit));
        let quarantine = link.quarantine();
        let unit_pause_max = if shared {
            link.timeout.saturating_add(quarantine).saturating_mul(4).clamp(PAUSE_MAX, SHARED_PAUSE_MAX)
        } else {
            PAUSE_MAX
        };
        Self {
            quiet_until: clock.now() + quarantine,
            link,
            clock,
            meters,
            session: None,
            next_transaction: rand::random(),
            pause: Pause::default(),
            unit_pause_max,
            down_since: None,
            forced: Moment::START,
            counters,
        }
    }

    /// Reads the meters, for ever. Dropping the future closes the connection.
    pub(super) async fn run(mut self) {
        while let Some(turn) = self.turn() {
            match turn {
                Turn::Wait(until) => sleep_until(self.clock.instant(until)).await,
                Turn::Lead(index) => self.serve(index).await,
                Turn::Rest(index, batch) => self.read_rest(index, batch).await,
            }
        }
    }

    /// What to do now; `None` where there is no meter.
    fn turn(&mut self) -> Option<Turn> {
        let now = self.clock.now();
        let due = self.meters.iter().enumerate().map(|(index, meter)| (index, meter.due));
        let (index, due) = due.min_by_key(|(_, due)| *due)?;
        // Only over an open connection: opening one is for those whom somebody waits for.
        let Some(session) = &self.session else {
            return Some(if due <= now { Turn::Lead(index) } else { Turn::Wait(due) });
        };
        let start = now.max(session.quiet_until()).max(self.quiet_until);
        let mut first_ready: Option<(Moment, usize, usize)> = None;
        let mut first_late = first_ready;
        let mut wake = due;
        for (at, meter) in self.meters.iter().enumerate() {
            if !meter.healthy || meter.doubts > 0 || meter.question().is_some() {
                continue;
            }
            for (number, batch) in meter.rest.iter().enumerate() {
                if batch.due > now {
                    wake = wake.min(batch.due);
                    continue;
                }
                let candidate = Some((batch.due, at, number));
                let earlier =
                    |known: Option<(Moment, usize, usize)>| known.is_none_or(|known| batch.due < known.0);
                let took = batch.took.or(meter.lead.took).unwrap_or(self.link.timeout);
                if start + took + self.link.silence() <= due {
                    if earlier(first_ready) {
                        first_ready = candidate;
                    }
                } else if now - batch.due >= batch.every.saturating_mul(PATIENCE) && earlier(first_late) {
                    first_late = candidate;
                }
            }
        }
        if let Some((_, at, number)) = first_ready {
            return Some(Turn::Rest(at, number));
        }
        if let Some((_, at, number)) = first_late.filter(|_| now - self.forced >= FORCED_EVERY) {
            self.forced = now;
            return Some(Turn::Rest(at, number));
        }
        Some(if due <= now { Turn::Lead(index) } else { Turn::Wait(wake) })
    }

    /// The open connection, or a new one when the link is not in a pause.
    async fn connect(&mut self) -> Result<Session, ReadError> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        if self.clock.now() < self.pause.until {
            return Err(ReadError::Connect {
                place: self.link.transport.to_string(),
                reason: "the latest attempt has just failed".into(),
            });
        }
        sleep_until(self.clock.instant(self.quiet_until)).await;
        let opened = Session::open(&self.link, self.clock, self.next_transaction).await;
        match &opened {
            Ok(_) => {
                self.counters.opened();
                let now = self.clock.now();
                self.meters.iter_mut().for_each(|meter| meter.connected(now));
            }
            Err(error) => {
                self.counters.failed();
                let now = self.clock.now();
                self.pause.extend(now, PAUSE_MAX);
                if self.down_since.is_none() {
                    self.down_since = Some(now);
                    let meters: Vec<&str> = self.meters.iter().map(|meter| meter.intake.name()).collect();
                    warn!(link = %self.link.name, meters = %meters.join(", "), "{error}");
                }
            }
        }
        opened
    }

    /// The turn of a meter: its lead, or the next question to a device that has to say what its registers mean.
    async fn serve(&mut self, index: usize) {
        if let Err(error) = self.prepare(index).await {
            return self.fail(index, &error);
        }
        if let Some(span) = self.meters.get(index).and_then(Polled::question) {
            return self.ask(index, span).await;
        }
        match self.read(index).await {
            Ok(true) => self.accept(index),
            Ok(false) => {}
            Err(error) => self.fail(index, &error),
        }
    }

    /// Connects before a device is served that may be another one on every connection.
    async fn prepare(&mut self, index: usize) -> Result<(), ReadError> {
        if self.session.is_none() && self.meters.get(index).is_some_and(|meter| meter.quest.is_some()) {
            self.session = Some(self.connect().await?);
        }
        Ok(())
    }

    /// Reads the lead of a meter. `false` when the device has to be asked first who it is: it is then due at once.
    async fn read(&mut self, index: usize) -> Result<bool, ReadError> {
        let mut begun = false;
        let mut good = false;
        let mut refusal = None;
        loop {
            let now = self.clock.now();
            let Some(meter) = self.meters.get_mut(index) else { return Ok(false) };
            // Power is all or nothing. Of a meter that tells several other things, some may be refused.
            let all = !meter.profile.power.terms.is_empty();
            if !std::mem::replace(&mut begun, true) {
                meter.lead.begin();
                if meter.lead.all_held(now) {
                    meter.lead.release();
                }
            }
            let Some((_, span)) = meter.lead.next(now) else { break };
            let unit = meter.unit;
            let result = self.exchange(unit, span).await;
            let now = self.clock.now();
            let Some(meter) = self.meters.get_mut(index) else { return Ok(false) };
            match result {
                Ok(_) if meter.question().is_some() => {
                    meter.due = now;
                    return Ok(false);
                }
                Ok((words, took)) => {
                    meter.lead.clock(took);
                    meter.lead.take(&words, now);
                    good = true;
                }
                Err(error) if error.is_refusal() && meter.lead.split() => apart(meter, &error),
                Err(error) if error.is_refusal() && !all => {
                    let missing = meter.lead.refuse(&meter.profile, now);
                    meter.intake.miss(&missing, &error, FOR_SOME_TIME);
                    refusal = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match refusal {
            Some(error) if !good => Err(error),
            _ => Ok(true),
        }
    }

    /// Reads one request of what a meter tells beside its lead. Whatever comes of it, its status stays.
    async fn read_rest(&mut self, index: usize, number: usize) {
        let now = self.clock.now();
        let Some(meter) = self.meters.get_mut(index) else { return };
        let unit = meter.unit;
        let Some(batch) = meter.rest.get_mut(number) else { return };
        let Some((position, span)) = batch.next(now) else {
            return batch.turn(now);
        };
        let result = self.exchange(unit, span).await;
        let now = self.clock.now();
        let Some(meter) = self.meters.get_mut(index) else { return };
        if meter.question().is_some() {
            meter.due = now;
            return;
        }
        let Polled { rest, profile, intake, healthy, .. } = meter;
        let Some(batch) = rest.get_mut(number) else { return };
        match result {
            Ok((words, took)) => {
                batch.clock(took);
                batch.take(&words, now);
                for measure in batch.measures_at(position, profile) {
                    if let Some(point) = profile.point(measure)
                        && let Some(at) = batch.plan.arrival(point)
                    {
                        let value = decode::explain(point, |register| batch.plan.words(register));
                        intake.take_other(measure, value, at);
                    }
                }
            }
            Err(error) if error.is_refusal() && batch.split() => {}
            Err(error) if error.is_refusal() => {
                let missing = batch.refuse(profile, now);
                intake.miss(&missing, &error, FOR_SOME_TIME);
            }
            Err(error @ (ReadError::Exception { .. } | ReadError::Connect { .. })) => {
                debug!(meter = %intake.name(), "{error}; what it tells beside its power is asked again");
                batch.pass(profile);
            }
            Err(error) => {
                // Some devices do not answer at all for a register that they do not have.
                let missing = batch.fail(profile, now);
                intake.miss(
                    &missing,
                    &error,
                    "for some seconds, then for longer, and given up if it never answers",
                );
                *healthy = false;
            }
        }
        batch.turn(now);
    }

    /// Asks a device something of what its registers mean.
    async fn ask(&mut self, index: usize, span: Span) {
        let Some(unit) = self.meters.get(index).map(|meter| meter.unit) else { return };
        let answer = match self.exchange(unit, span).await {
            Ok((words, _)) => Ok(words),
            Err(ReadError::Exception { code, .. }) if ExceptionKind::of(code) != ExceptionKind::Transient => {
                Err(Refused)
            }
            Err(error) => return self.fail(index, &error),
        };
        let now = self.clock.now();
        let Some(meter) = self.meters.get_mut(index) else { return };
        let Some(step) = meter.quest.as_mut().map(|quest| quest.answer(&answer, now)) else { return };
        // Others whose deadline has passed in the meantime come first.
        meter.due = now;
        match step {
            Step::More | Step::Same => {}
            Step::Found(found, all) => {
                info!(
                    meter = %meter.intake.name(),
                    "SunSpec: {}, with the models {}; read as {} by model {}",
                    quest::who(&found),
                    quest::models(&all),
                    found.kind.name(),
                    found.model,
                );
                meter.adopt(found.profile, now);
            }
            Step::Lacking(kind, all) => {
                meter.due = now + QUEST_PAUSE;
                meter.intake.unknown(now, || {
                    format!(
                        "SunSpec: it has no model of the kind {}, only {}; change `prefer`, or check the unit id",
                        kind.name(),
                        quest::models(&all)
                    )
                });
            }
            Step::Failed(error) => {
                meter.due = now + QUEST_PAUSE;
                meter.intake.unknown(now, || format!("{error}; asked again every {QUEST_PAUSE:?}"));
            }
        }
        self.unit(unit).for_each(|meter| meter.pause.end());
    }

    /// One request and its words, with the time that it took. A device that has closed the connection while nothing was
    /// asked is asked again over a fresh one.
    async fn exchange(&mut self, unit: u8, span: Span) -> Result<(Vec<u16>, Duration), ReadError> {
        loop {
            let session = self.connect().await?;
            let answered = session.answered();
            // Without the silence before it.
            let begun = self.clock.now().max(session.quiet_until());
            self.next_transaction = session.next_transaction().wrapping_add(1);
            let decoy = self.decoy(unit);
            let asked = if decoy { span.unlike() } else { span };
            let (session, result) = session.read(&self.link, self.clock, unit, asked).await;
            self.session = session;
            if matches!(result, Err(Refusal::Failed(ReadError::Timeout { .. }))) {
                self.unit(unit).for_each(|meter| meter.plain = decoy);
            }
            if self.session.is_some() {
                self.pause.end();
                if let Some(since) = self.down_since.take() {
                    let time = self.clock.now() - since;
                    info!(link = %self.link.name, "answers again, {time:.1?} after the first failure");
                }
            } else {
                self.counters.closed();
            }
            if self.session.is_none() && !matches!(result, Err(Refusal::HungUp)) {
                self.doubt(unit);
            } else if self.session.is_some() && self.throw_away(unit) {
                continue;
            }
            match result {
                Ok(words) => return Ok((words, self.clock.now() - begun)),
                // The same request over a fresh connection, at once. That one has not answered yet, so it cannot
                // end like this again without having brought the read forward.
                Err(Refusal::HungUp) => {}
                Err(Refusal::Failed(error)) => {
                    if !answered && matches!(error, ReadError::Broken { .. }) {
                        // A device that accepts and hangs up is as good as one that does not accept.
                        self.pause.extend(self.clock.now(), PAUSE_MAX);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The unit may still answer what it was asked: see the notes on late answers above.
    fn doubt(&mut self, unit: u8) {
        if self.link.tells_requests_apart() {
            return;
        }
        self.quiet_until = self.clock.now() + self.link.quarantine();
        self.unit(unit).for_each(|meter| meter.doubts = DOUBTS);
    }

    /// Whether the next answer of a unit is the last to be thrown away, so that the request may differ.
    fn decoy(&mut self, unit: u8) -> bool {
        self.unit(unit).next().is_some_and(|meter| meter.doubts == 1 && !meter.plain)
    }

    /// Counts an answer of a unit in doubt. `true` when it is to be thrown away and the request repeated.
    fn throw_away(&mut self, unit: u8) -> bool {
        let Some(doubts @ 1..) = self.unit(unit).map(|meter| meter.doubts).max() else {
            return false;
        };
        self.unit(unit).for_each(|meter| meter.doubts = doubts - 1);
        if doubts == 1
            && let Some(session) = &mut self.session
        {
            session.listen(self.clock, self.link.quarantine());
        }
        true
    }

    /// There is no connection: every meter that is due by now has failed and is due again after the pause.
    fn fail_all(&mut self, error: &ReadError) {
        let now = self.clock.now();
        for meter in self.meters.iter_mut().filter(|meter| meter.due <= now) {
            meter.intake.fail(error, now);
            meter.healthy = false;
            meter.due = self.pause.until.max(meter.pause.until);
        }
    }

    fn accept(&mut self, index: usize) {
        let now = self.clock.now();
        let Some(meter) = self.meters.get_mut(index) else {
            return;
        };
        let Polled { lead, profile, intake, .. } = &mut *meter;
        let decoded = |point| decode::explain(point, |register| lead.plan.words(register));
        if profile.power.terms.is_empty() {
            let values = lead.measures.iter().filter_map(|measure| {
                let point = profile.point(*measure)?;
                Some((*measure, decoded(point), lead.plan.arrival(point)?))
            });
            intake.accept_others(values, now);
        } else {
            let power = decode::amount(&profile.power, |register| lead.plan.words(register));
            intake.take(power, lead.plan.arrival(&profile.power).unwrap_or(now));
        }
        meter.healthy = true;
        if let Some(quest) = &mut meter.quest {
            quest.served();
        }
        meter.schedule(now, Moment::START);
        let unit = meter.unit;
        self.unit(unit).for_each(|meter| meter.pause.end());
    }

    fn fail(&mut self, index: usize, error: &ReadError) {
        let now = self.clock.now();
        let Some(meter) = self.meters.get_mut(index) else {
            return;
        };
        meter.healthy = false;
        if let Some(quest) = &mut meter.quest {
            quest.failed(matches!(error, ReadError::Timeout { .. }));
            if error.is_refusal() {
                quest.refused();
            }
        }
        if matches!(error, ReadError::Connect { .. }) {
            return self.fail_all(error);
        }
        let unit = meter.unit;
        let mut pause = meter.pause;
        meter.intake.fail(error, now);
        // Gateways answer 10 and 11 after they have waited for the unit themselves: that is silence, too.
        let silent = !matches!(error, ReadError::Exception { code, .. } if !matches!(code, 10 | 11));
        if !silent {
            meter.schedule(now, Moment::START);
            self.unit(unit).for_each(|meter| meter.pause.end());
            return;
        }
        pause.extend(now, self.unit_pause_max);
        meter.schedule(now, pause.until);
        // The other meters of this unit would wait for the same silence: they skip this cycle.
        for other in self.unit(unit) {
            other.pause = pause;
            if other.due <= now {
                other.intake.fail(error, now);
                other.schedule(now, pause.until);
            }
            other.due = other.due.max(pause.until);
        }
    }

    fn unit(&mut self, unit: u8) -> impl Iterator<Item = &mut Polled> {
        self.meters.iter_mut().filter(move |meter| meter.unit == unit)
    }
}

/// For how long a refused request is left alone, for the log.
const FOR_SOME_TIME: &str = "until the link is opened anew, or for ten minutes; everything else is read on";

/// Tells that a request was split.
fn apart(meter: &Polled, error: &ReadError) {
    debug!(meter = %meter.intake.name(), "{error}; they are read apart from now on");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_end_with_success() {
        let mut pause = Pause::default();
        let now = Moment::millis(50_000);
        let mut previous = Duration::ZERO;
        for round in 0..40 {
            pause.extend(now, PAUSE_MAX);
            let length = pause.until - now;
            assert!(length <= PAUSE_MAX);
            if round < 5 {
                assert!(length > previous, "{length:?} after {previous:?}");
            } else {
                assert!(length >= PAUSE_MAX.mul_f64(0.75));
            }
            previous = length;
        }
        pause.end();
        assert_eq!(pause.until, Moment::START);
        pause.extend(now, PAUSE_MAX);
        assert!(pause.until - now <= PAUSE_MIN);
    }
}
