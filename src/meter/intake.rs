//! What is made of an attempt to read a meter: its status, its reading, its counters, its line in the log.
//!
//! A bad attempt changes the status and keeps the last good reading with its old stamp; it is for the control law
//! to say how old is too old. The stamp of a reading is the moment at which its answer arrived, and it does not
//! advance any more once the value is taken for frozen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::Connection;
use super::counters::MeterCounters;
use super::profile::Plausible;
use super::session::ReadError;
use crate::clock::Moment;
use crate::control::snapshot::{MeterInput, MeterStatus, Reading};
use crate::units::Watts;

/// So many good readings in a row end an episode of trouble; a meter that fails every other time is one episode.
const GOOD_IN_A_ROW: u32 = 3;

/// A time of trouble, for the log: each kind of trouble is told once.
#[derive(Debug)]
struct Episode {
    since: Moment,
    told: Vec<&'static str>,
    good: u32,
}

/// Judges and publishes the readings of one meter.
#[derive(Debug)]
pub(super) struct Intake {
    name: Arc<str>,
    invert: bool,
    plausible: Option<Plausible>,
    frozen_after: Option<Duration>,
    output: watch::Sender<MeterInput>,
    counters: Arc<MeterCounters>,
    /// The bits of the latest value and when they first came.
    seen: Option<(u64, Moment)>,
    episode: Option<Episode>,
}

impl Intake {
    pub(super) fn new(
        name: Arc<str>,
        connection: &Connection,
        output: watch::Sender<MeterInput>,
        counters: Arc<MeterCounters>,
    ) -> Self {
        Self {
            name,
            invert: connection.invert,
            plausible: connection.plausible,
            frozen_after: connection.frozen_after,
            output,
            counters,
            seen: None,
            episode: None,
        }
    }

    /// The meter's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the decoded power (`None`: the device has no value) of an answer that arrived at a moment.
    pub(super) fn accept(&mut self, power: Option<f64>, at: Moment) {
        let Some(power) = power.and_then(|power| Watts::new(power).ok()) else {
            self.publish(MeterStatus::Unavailable, None);
            self.tell(MeterStatus::Unavailable, at, || {
                "the device says that it has no value (a sentinel or NaN); look at its display and its wiring"
                    .into()
            });
            return;
        };
        let power = if self.invert { -power } else { power };
        if let Some(range) = self.plausible.filter(|range| power < range.low || power > range.high) {
            self.publish(MeterStatus::Implausible, None);
            self.tell(MeterStatus::Implausible, at, || {
                format!(
                    "{power} is outside of the plausible {} to {}; check the profile's scale and word order, the \
                     current transformers, and the range itself",
                    range.low, range.high
                )
            });
            return;
        }
        let unchanged = self.unchanged(power, at);
        if let Some(limit) = self.frozen_after.filter(|limit| unchanged > *limit) {
            self.publish(MeterStatus::Frozen, None);
            self.tell(MeterStatus::Frozen, at, || {
                format!(
                    "the value has been exactly {power} for more than {limit:?}: the meter is taken for frozen; \
                     restart it or its gateway, or raise frozen_after if it may stand still that long"
                )
            });
            return;
        }
        if self.output.borrow().power.is_none() {
            info!(meter = %self.name, "first reading: {power}");
        }
        self.publish(MeterStatus::Ok, Some(Reading { value: power, at }));
        self.recover(at);
    }

    /// Takes note of a failed attempt. A failed connection is the link's to tell, once for all of its meters.
    pub(super) fn fail(&mut self, error: &ReadError, now: Moment) {
        let status = error.status();
        self.publish(status, None);
        if !matches!(error, ReadError::Connect { .. }) {
            self.tell(status, now, || error.to_string());
        }
    }

    /// For how long the value has been the same to the last bit. An interruption in between does not count as a
    /// change: a gateway that comes back with its old cache is no proof of life.
    fn unchanged(&mut self, power: Watts, at: Moment) -> Duration {
        let bits = power.get().to_bits();
        match self.seen {
            Some((seen, since)) if seen == bits => at - since,
            previous => {
                if let Some((_, since)) = previous {
                    self.counters.learn_refresh(at - since);
                }
                self.seen = Some((bits, at));
                Duration::ZERO
            }
        }
    }

    fn publish(&self, status: MeterStatus, reading: Option<Reading<Watts>>) {
        self.counters.count(status);
        self.output.send_modify(|input| {
            input.status = status;
            if reading.is_some() {
                input.power = reading;
            }
        });
    }

    /// Logs a kind of trouble the first time that it comes up in an episode.
    fn tell(&mut self, status: MeterStatus, now: Moment, what: impl FnOnce() -> String) {
        let episode = self.episode.get_or_insert_with(|| Episode { since: now, told: Vec::new(), good: 0 });
        episode.good = 0;
        if !episode.told.contains(&status.name()) {
            episode.told.push(status.name());
            warn!(meter = %self.name, status = status.name(), "{}", what());
        }
    }

    /// Counts a good reading towards the end of an episode.
    fn recover(&mut self, now: Moment) {
        let Some(episode) = &mut self.episode else { return };
        episode.good += 1;
        if episode.good >= GOOD_IN_A_ROW {
            info!(meter = %self.name, "reads well again, {:.1?} after the first failure", now - episode.since);
            self.episode = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::LinkId;
    use super::super::profile::Profile;
    use super::*;

    fn intake(change: impl FnOnce(&mut Connection)) -> (Intake, watch::Receiver<MeterInput>) {
        let mut connection = Connection {
            link: LinkId(0),
            unit: 1,
            profile: Profile { name: "test".into(), ..Profile::default() },
            invert: false,
            plausible: None,
            frozen_after: None,
            period: Duration::from_secs(1),
        };
        change(&mut connection);
        let (output, input) = watch::channel(MeterInput::PENDING);
        (Intake::new("grid".into(), &connection, output, Arc::default()), input)
    }

    fn good(value: f64, at: Moment) -> MeterInput {
        MeterInput::new(MeterStatus::Ok, Some(Reading { value: Watts::saturating(value), at }))
    }

    #[test]
    fn a_bad_attempt_keeps_the_last_good_reading_with_its_stamp() {
        let (mut intake, input) = intake(|_| ());
        let first = Moment::millis(1000);
        intake.accept(Some(500.0), first);
        assert_eq!(*input.borrow(), good(500.0, first));
        let timeout =
            ReadError::Timeout { place: "gateway:502".into(), unit: 1, limit: Duration::from_secs(1) };
        intake.fail(&timeout, Moment::millis(3000));
        assert_eq!(input.borrow().status, MeterStatus::Unreachable);
        assert_eq!(input.borrow().power, good(500.0, first).power);
        intake.accept(None, Moment::millis(4000));
        assert_eq!(input.borrow().status, MeterStatus::Unavailable);
        assert_eq!(input.borrow().power, good(500.0, first).power);
        intake.accept(Some(f64::NAN), Moment::millis(5000));
        assert_eq!(input.borrow().status, MeterStatus::Unavailable);
        assert_eq!(input.borrow().power, good(500.0, first).power);
    }

    #[test]
    fn an_implausible_value_is_refused_after_the_sign_was_turned() {
        let (mut intake, input) = intake(|connection| {
            connection.invert = true;
            connection.plausible = Some(Plausible { low: Watts::whole(-100), high: Watts::whole(1000) });
        });
        intake.accept(Some(-1000.0), Moment::millis(1));
        assert_eq!(*input.borrow(), good(1000.0, Moment::millis(1)));
        intake.accept(Some(1000.0), Moment::millis(2));
        assert_eq!(input.borrow().status, MeterStatus::Implausible);
        assert_eq!(input.borrow().power, good(1000.0, Moment::millis(1)).power);
    }

    #[test]
    fn a_frozen_value_loses_its_fresh_stamp_until_it_moves() {
        let (mut intake, input) = intake(|connection| connection.frozen_after = Some(Duration::from_secs(2)));
        for second in 0..5 {
            intake.accept(Some(42.5), Moment::millis(1000 * second));
        }
        assert_eq!(input.borrow().status, MeterStatus::Frozen);
        assert_eq!(input.borrow().power, good(42.5, Moment::millis(2000)).power);
        intake.accept(Some(42.6), Moment::millis(5000));
        assert_eq!(*input.borrow(), good(42.6, Moment::millis(5000)));
        assert_eq!(intake.counters.reads_of("frozen"), 2);
    }

    #[test]
    fn an_interruption_is_no_proof_that_a_value_lives() {
        let (mut intake, input) = intake(|connection| connection.frozen_after = Some(Duration::from_secs(2)));
        intake.accept(Some(42.5), Moment::millis(0));
        intake.accept(None, Moment::millis(1000));
        intake.accept(Some(42.5), Moment::millis(9000));
        assert_eq!(input.borrow().status, MeterStatus::Frozen);
    }

    #[test]
    fn without_a_limit_a_value_may_stand_still() {
        let (mut intake, input) = intake(|_| ());
        for hour in 0..24 {
            intake.accept(Some(0.0), Moment::millis(3_600_000 * hour));
        }
        assert_eq!(*input.borrow(), good(0.0, Moment::millis(3_600_000 * 23)));
    }

    #[test]
    fn a_meter_that_fails_every_other_time_is_one_episode() {
        let (mut intake, _input) = intake(|_| ());
        intake.accept(None, Moment::millis(0));
        for round in 1..10 {
            intake.accept(Some(f64::from(round)), Moment::START);
            intake.accept(None, Moment::START);
        }
        assert_eq!(intake.episode.as_ref().unwrap().told, ["unavailable"]);
        for round in 0..3 {
            intake.accept(Some(f64::from(round)), Moment::START);
        }
        assert!(intake.episode.is_none());
    }
}
