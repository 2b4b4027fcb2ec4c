//! The one task that owns a link: which meter is read when, and what a failure costs whom.
//!
//! ```text
//!            earliest deadline
//!   meters ──────────────────► wait ─► connected? ─► requests of that meter ─► intake ─► next deadline
//!      ▲                                  │ no               │ timeout, broken, malformed
//!      │                                  ▼                  ▼
//!      └──────────── due again ◄──── pause (link)      drop the connection, pause (unit)
//! ```
//!
//! - The meter whose deadline is earliest is next. A served meter's deadline lies ahead and a waiting one's stays
//!   where it is, so nobody starves when the link is too slow for its periods. Deadlines that have passed in the
//!   meantime are skipped, never queued.
//! - A failure to connect pauses the link, for all of its meters. A unit that does not answer pauses alone: it
//!   has cost the others one timeout, and the longer it stays silent the less often it may do so.
//! - Pauses grow by doubling, with jitter, to [`PAUSE_MAX`].
//!
//! # Late answers on serial lines
//!
//! An RTU answer does not say which request it belongs to, so one that comes late fits the next request to the same
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

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;
use tracing::{debug, info, warn};

use super::counters::LinkCounters;
use super::decode;
use super::intake::Intake;
use super::plan::{Plan, Span};
use super::profile::Profile;
use super::session::{ExceptionKind, ReadError, Refusal, Session};
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
    plan: Plan,
    intake: Intake,
    due: Moment,
    /// What its silence costs; shared by value between meters of the same unit.
    pause: Pause,
    /// How many of its answers are not to be believed; shared likewise. Zero where answers are numbered.
    doubts: u8,
}

impl Polled {
    pub(super) fn new(connection: &Connection, intake: Intake, now: Moment) -> Self {
        Self {
            unit: connection.unit,
            plan: Plan::new([&connection.profile.power]),
            profile: connection.profile.clone(),
            period: connection.period.max(PERIOD_MIN),
            intake,
            due: now,
            pause: Pause::default(),
            doubts: 0,
        }
    }

    /// Sets the next deadline: the first of the meter's own beat that lies ahead, and not within a pause.
    fn schedule(&mut self, now: Moment, not_before: Moment) {
        self.due = next_beat(self.due, self.period, now).max(not_before);
    }
}

/// The first moment after `now` that is a whole number of periods after `due`.
fn next_beat(due: Moment, period: Duration, now: Moment) -> Moment {
    let late = (now - due).as_nanos();
    let into = late % period.as_nanos().max(1);
    let rest = period.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0)));
    now.max(due) + rest
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
            counters,
        }
    }

    /// Reads the meters, for ever. Dropping the future closes the connection.
    pub(super) async fn run(mut self) {
        while let Some((index, due)) = self.next() {
            sleep_until(self.clock.instant(due)).await;
            match self.read(index).await {
                Ok(at) => self.accept(index, at),
                Err(error @ ReadError::Connect { .. }) => self.fail_all(&error),
                Err(error) => self.fail(index, &error),
            }
        }
    }

    fn next(&self) -> Option<(usize, Moment)> {
        let due = self.meters.iter().enumerate().map(|(index, meter)| (index, meter.due));
        due.min_by_key(|(_, due)| *due)
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
            Ok(_) => self.counters.opened(),
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

    /// Reads all registers of a meter. Gives the moment at which the oldest of them arrived.
    async fn read(&mut self, index: usize) -> Result<Moment, ReadError> {
        let mut arrived = None;
        let mut position = 0;
        while let Some((unit, span)) = self.request(index, position) {
            let session = self.connect().await?;
            let answered = session.answered();
            self.next_transaction = session.next_transaction().wrapping_add(1);
            let (session, result) = session.read(&self.link, self.clock, unit, span).await;
            self.session = session;
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
                Ok(words) => {
                    arrived.get_or_insert(self.clock.now());
                    if let Some(meter) = self.meters.get_mut(index) {
                        meter.plan.store(position, &words);
                    }
                    position += 1;
                }
                // The same request over a fresh connection, at once. That one has not answered yet, so it cannot
                // end like this again without having brought the read forward.
                Err(Refusal::HungUp) => {}
                Err(Refusal::Failed(error)) => {
                    if self.split(index, position, &error) {
                        continue;
                    }
                    if !answered && matches!(error, ReadError::Broken { .. }) {
                        // A device that accepts and hangs up is as good as one that does not accept.
                        self.pause.extend(self.clock.now(), PAUSE_MAX);
                    }
                    return Err(error);
                }
            }
        }
        Ok(arrived.unwrap_or_else(|| self.clock.now()))
    }

    /// The unit may still answer what it was asked: see the notes on late answers above.
    fn doubt(&mut self, unit: u8) {
        if self.link.transport.line().is_none() {
            return;
        }
        self.quiet_until = self.clock.now() + self.link.quarantine();
        self.unit(unit).for_each(|meter| meter.doubts = DOUBTS);
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

    fn request(&self, index: usize, position: usize) -> Option<(u8, Span)> {
        let meter = self.meters.get(index)?;
        Some((meter.unit, meter.plan.span(position)?))
    }

    /// Splits a request that the device refuses as a whole. `false` when that is not what happened or the request
    /// is a single register.
    fn split(&mut self, index: usize, position: usize, error: &ReadError) -> bool {
        let ReadError::Exception { code, address, count, .. } = error else {
            return false;
        };
        let Some(meter) = self.meters.get_mut(index) else {
            return false;
        };
        if ExceptionKind::of(*code) != ExceptionKind::Configuration || !meter.plan.split(position) {
            return false;
        }
        debug!(
            meter = %meter.intake.name(),
            "{count} registers from {address} together give exception {code}; they are read apart from now on",
        );
        true
    }

    /// There is no connection: every meter that is due by now has failed and is due again after the pause.
    fn fail_all(&mut self, error: &ReadError) {
        let now = self.clock.now();
        for meter in self.meters.iter_mut().filter(|meter| meter.due <= now) {
            meter.intake.fail(error, now);
            meter.due = self.pause.until.max(meter.pause.until);
        }
    }

    fn accept(&mut self, index: usize, at: Moment) {
        let now = self.clock.now();
        let Some(meter) = self.meters.get_mut(index) else {
            return;
        };
        let power = decode::point(&meter.profile.power, |register| meter.plan.words(register));
        meter.intake.accept(power, at);
        meter.schedule(now, Moment::START);
        let unit = meter.unit;
        self.unit(unit).for_each(|meter| meter.pause.end());
    }

    fn fail(&mut self, index: usize, error: &ReadError) {
        let now = self.clock.now();
        let Some(meter) = self.meters.get_mut(index) else {
            return;
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_deadlines_are_skipped_and_the_beat_is_kept() {
        let period = Duration::from_millis(100);
        let next = |now| next_beat(Moment::millis(1000), period, Moment::millis(now));
        assert_eq!(next(1000), Moment::millis(1100));
        assert_eq!(next(1030), Moment::millis(1100));
        assert_eq!(next(1099), Moment::millis(1100));
        assert_eq!(next(1100), Moment::millis(1200));
        assert_eq!(next(5555), Moment::millis(5600));
        assert_eq!(next(900), Moment::millis(1100), "read before its deadline");
    }

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
