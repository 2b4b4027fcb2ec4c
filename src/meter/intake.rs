//! What is made of an attempt to read a meter: its status, its reading, its counters, its line in the log.
//!
//! A bad attempt changes the status and keeps the last good reading with its old stamp; it is for the control law
//! to say how old is too old. The stamp of a reading is that of the *sample*: the moment at which an answer first brought
//! this value. A value that is the same to the last bit is a new sample once the refresh period of the device has gone by
//! (as far as it was learned, see [`super::refresh`]; else the poll period), and after half of the meter's `stale_after`
//! at the latest, so that a power that really stands still stays fresh. Once the value is taken for frozen the stamp does
//! not advance any more.
//!
//! What the meter tells beside its power is published with its own stamp and has no influence on its status.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use super::Connection;
use super::counters::MeterCounters;
use super::decode::{Absent, Amount};
use super::profile::{Measure, Plausible, Profile, Register};
use super::refresh::Refresh;
use super::session::ReadError;
use crate::clock::Moment;
use crate::control::snapshot::{MeterInput, MeterStatus, Reading};
use crate::units::Watts;

/// So many good readings in a row end an episode of trouble; a meter that fails every other time is one episode.
const GOOD_IN_A_ROW: u32 = 3;
/// Where a meter works there is more voltage than this, in volts; and for how long what it told of it counts: voltages are
/// read less often than power.
const NO_VOLTAGE: f64 = 1.0;
const VOLTAGES_HOLD: Duration = Duration::from_secs(60);

/// Beyond this part of what a narrow register counts through, a jump is its running over and none of the power.
const RUNS_OVER: f64 = 0.75;
/// A narrow register that has run over is believed again on this side of that part of its way from zero.
const BACK: f64 = 0.25;
/// A jump is one between two values that are no further apart than this.
const AT_ONCE: Duration = Duration::from_secs(30);
/// A register comes to its end by and by: the value before it was beyond this part of it.
const NEAR_ITS_END: f64 = 0.5;

/// A time of trouble, for the log: each kind of trouble is told once.
#[derive(Debug)]
struct Episode {
    since: Moment,
    told: Vec<&'static str>,
    good: u32,
}

/// Judges and publishes the readings of one meter.
#[derive(Debug)]
pub(crate) struct Intake {
    name: Arc<str>,
    invert: bool,
    plausible: Option<Plausible>,
    /// By how much its power jumps when the narrowest of its registers runs over; `None` where none does.
    turnover: Option<f64>,
    /// The power before it ran over, while it has not come back, in watts.
    ran_over: Option<f64>,
    /// It stood at the end of a register at once, and has shown no value since.
    jumped: bool,
    frozen_after: Option<Duration>,
    period: Duration,
    /// Half of `stale_after`.
    longest_hold: Duration,
    output: watch::Sender<MeterInput>,
    counters: Arc<MeterCounters>,
    /// The bits of the latest value and when they first came.
    seen: Option<(u64, Moment)>,
    refresh: Refresh,
    episode: Option<Episode>,
    /// What was told of the other measures, so that it is told once.
    absent: Vec<(Measure, Absent)>,
    /// The measures of which it was told that the device does not serve them.
    missing: Vec<&'static str>,
    /// Whether it was told that the device is slower than `stale_after` allows for.
    slowness_told: bool,
    /// The number is that of a group of contacts, not a power.
    contacts: bool,
}

impl Intake {
    pub(crate) fn new(
        name: Arc<str>,
        connection: &Connection,
        output: watch::Sender<MeterInput>,
        counters: Arc<MeterCounters>,
    ) -> Self {
        Self {
            name,
            invert: connection.invert,
            plausible: connection.plausible,
            turnover: turnover(&connection.profile),
            ran_over: None,
            jumped: false,
            frozen_after: connection.frozen_after,
            period: connection.period,
            longest_hold: connection.stale_after / 2,
            output,
            counters,
            seen: None,
            refresh: Refresh::default(),
            episode: None,
            absent: Vec::new(),
            missing: Vec::new(),
            slowness_told: connection.profile.contacts,
            contacts: connection.profile.contacts,
        }
    }

    /// The meter's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// As [`Self::take`], of a power that is known or not.
    pub(crate) fn accept(&mut self, power: Result<f64, Absent>, at: Moment) {
        self.take(power.map(Amount::Exactly), at);
    }

    /// Reads by other registers from now on.
    pub(super) fn adopt(&mut self, profile: &Profile) {
        self.turnover = turnover(profile);
        self.ran_over = None;
    }

    /// Takes what an answer that arrived at a moment says of the power, or the reason why it says nothing.
    pub(crate) fn take(&mut self, power: Result<Amount, Absent>, at: Moment) {
        let power = power.map(|power| if self.invert { -power } else { power });
        let power = power.and_then(|power| match power {
            Amount::Exactly(power) => {
                self.jumped = false;
                Ok((power, false))
            }
            // More flows out than the register can show: what is known is enough. Of what flows in it is not.
            Amount::AtMost(power) if self.comes_to(power, at) => Ok((power, true)),
            Amount::AtMost(_) | Amount::AtLeast(_) => Err(Absent::Saturated),
        });
        let power = power.and_then(|(power, at_most)| {
            Watts::new(power).map(|power| (power, at_most)).map_err(|_| Absent::Unavailable)
        });
        let (power, at_most) = match power {
            Ok(power) => power,
            Err(absent) => return self.reject(absent, at),
        };
        if let Some(before) = self.runs_over(power.get(), at) {
            self.refresh.lost();
            self.publish(MeterStatus::Implausible, None);
            self.tell(MeterStatus::Implausible, "runs over", at, || {
                format!(
                    "{power} right after {before}: a register of 16 bits has run over, and more flows than it can show; it \
                     is believed again when it has come back. Take a profile with a wider register. Where the power \
                     really jumps like this, a restart takes the value as it is"
                )
            });
            return;
        }
        if let Some(range) = self.plausible.filter(|range| power < range.low || power > range.high) {
            self.refresh.lost();
            self.publish(MeterStatus::Implausible, None);
            self.tell(MeterStatus::Implausible, "implausible", at, || {
                format!(
                    "{power} is outside of the plausible {} to {}; check the profile's scale and word order, the \
                     current transformers, and the range itself (`plausible`, which without being set is a hundred \
                     times what hangs at the site)",
                    range.low, range.high
                )
            });
            return;
        }
        if power == Watts::ZERO && self.is_dead(at) {
            self.refresh.lost();
            self.publish(MeterStatus::Unavailable, None);
            self.tell(MeterStatus::Unavailable, "no voltage", at, || {
                String::from(
                    "it says 0 W while all of its own voltages are 0 V: its inputs are not connected, or its fuses are \
                     blown; this is no measurement of the power",
                )
            });
            return;
        }
        let unchanged = self.unchanged(power, at);
        if let Some(limit) = self.frozen_after.filter(|limit| unchanged > *limit && !at_most) {
            self.publish(MeterStatus::Frozen, None);
            self.tell(MeterStatus::Frozen, "frozen", at, || {
                format!(
                    "the value has been exactly {power} for more than {limit:?}: the meter is taken for frozen; \
                     restart it or its gateway, or raise frozen_after if it may stand still that long"
                )
            });
            return;
        }
        let before = self.output.borrow().power;
        match before {
            None if self.contacts => info!(contacts = %self.name, "first reading: {:.0}", power.get()),
            None => info!(meter = %self.name, "first reading: {power}"),
            Some(_) => {}
        }
        let held = before.filter(|before| before.value.get().to_bits() == power.get().to_bits());
        let reading = match held {
            Some(held) if at - held.at < self.hold() => None,
            _ => Some(Reading { value: power, at }),
        };
        if at_most != self.output.borrow().at_most {
            self.output.send_modify(|input| input.at_most = at_most);
            if at_most {
                info!(meter = %self.name, "a register stands at its end: {power} or less, and all above it is surplus unseen");
            }
        }
        self.publish(MeterStatus::Ok, reading);
        self.recover(at);
    }

    /// Whether the power can have come to the end of a register: it was on its way there, or nothing is known of the time
    /// before. What was there from one reading to the next is a device in trouble, until it has shown a value again.
    fn comes_to(&mut self, end: f64, at: Moment) -> bool {
        let before = self.output.borrow().power.filter(|before| at - before.at <= AT_ONCE);
        self.jumped |= before.is_some_and(|before| before.value.get() > end.min(0.0) * NEAR_ITS_END);
        !self.jumped
    }

    /// Whether a narrow register has run over and not come back: the power before it did.
    fn runs_over(&mut self, power: f64, at: Moment) -> Option<Watts> {
        let span = self.turnover?;
        let before = match self.ran_over {
            Some(before) => before,
            None => {
                let before = self.output.borrow().power.filter(|before| at - before.at <= AT_ONCE)?;
                let before = before.value.get();
                if (power - before).abs() < RUNS_OVER * span {
                    return None;
                }
                before
            }
        };
        let away = if before > 0.0 { power < -BACK * span } else { power > BACK * span };
        self.ran_over = away.then_some(before);
        self.ran_over.map(Watts::saturating)
    }

    /// Whether the meter says of itself that nothing reaches it: it has told voltages, and none of them is there.
    fn is_dead(&self, now: Moment) -> bool {
        let others = self.output.borrow().others;
        let mut voltages = [Measure::VoltageL1, Measure::VoltageL2, Measure::VoltageL3]
            .into_iter()
            .filter_map(|measure| others.get(measure))
            .filter(|reading| now - reading.at <= VOLTAGES_HOLD)
            .peekable();
        voltages.peek().is_some() && voltages.all(|reading| reading.value.abs() < NO_VOLTAGE)
    }

    /// Takes note of an answer without a usable value.
    fn reject(&mut self, absent: Absent, at: Moment) {
        let status = absent.status();
        let (kind, help) = match absent {
            Absent::NotRead | Absent::Unavailable => ("absent", "look at its display and its wiring"),
            Absent::Saturated => ("saturated", "no value is known until the power falls"),
            Absent::Away => {
                ("away", "check the meter or sensor behind the device, and the line between the two")
            }
            Absent::NoScale => ("no scale", "check the profile's scale register and its factors"),
            Absent::NoSign => ("no sign", "check the profile's register with the sign"),
            Absent::OutOfRange => ("out of range", "check the profile's range and the full scale"),
        };
        self.refresh.lost();
        self.publish(status, None);
        self.tell(status, kind, at, || format!("{absent}; {help}"));
    }

    /// For how long an unchanged value is the same sample. Polls do not come to the moment: half a period before the
    /// time is the time.
    fn hold(&self) -> Duration {
        let refresh = self.counters.refresh_period().unwrap_or(self.period);
        refresh.min(self.longest_hold).saturating_sub(self.period / 2)
    }

    /// Takes what a meter without power tells, each value with its arrival: good if there is any.
    pub(crate) fn accept_others(
        &mut self,
        values: impl IntoIterator<Item = (Measure, Result<f64, Absent>, Moment)>,
        now: Moment,
    ) {
        let mut good = false;
        let mut absent = None;
        for (measure, value, at) in values {
            match value {
                Ok(_) => good = true,
                Err(reason) => absent = absent.or(Some(reason)),
            }
            self.take_other(measure, value, at);
        }
        if !good {
            return self.reject(absent.unwrap_or(Absent::NotRead), now);
        }
        if self.output.borrow().status == MeterStatus::Pending {
            info!(meter = %self.name, "first reading");
        }
        self.publish(MeterStatus::Ok, None);
        self.recover(now);
    }

    /// Takes another measure than power, or the reason why there is none. It stays with its stamp until a newer one
    /// comes. Does not wake anybody: the next read of power does.
    pub(crate) fn take_other(&mut self, measure: Measure, value: Result<f64, Absent>, at: Moment) {
        // The power of a phase may stand in for the meter's: it is no more believed than that, whichever way it flows.
        let most =
            self.plausible.filter(|_| measure.is_power()).map(|range| range.high.max(-range.low).get());
        let value = value.and_then(|value| match most {
            Some(most) if value.abs() > most => Err(Absent::OutOfRange),
            _ => Ok(value),
        });
        let value = match value {
            Ok(value) => value,
            Err(absent) => {
                if !self.absent.contains(&(measure, absent)) {
                    self.absent.push((measure, absent));
                    info!(meter = %self.name, point = measure.name(), "no value: {absent}; everything else is read on");
                }
                return;
            }
        };
        let (measure, value) = if self.invert { turned(measure, value) } else { (measure, value) };
        self.output.send_if_modified(|input| {
            input.others.set(measure, Reading { value, at });
            false
        });
    }

    /// Tells once what of the meter is missing from now on.
    pub(super) fn miss(&mut self, measures: &[&'static str], error: &ReadError, for_now: &str) {
        let fresh: Vec<&str> =
            measures.iter().copied().filter(|measure| !self.missing.contains(measure)).collect();
        if !fresh.is_empty() {
            info!(meter = %self.name, points = %fresh.join(", "), "{error}; these points are left out {for_now}");
            self.missing.extend(fresh);
        }
    }

    /// A device that does not say what its registers mean, or nothing that can be used.
    pub(super) fn unknown(&mut self, now: Moment, what: impl FnOnce() -> String) {
        self.refresh.lost();
        self.publish(MeterStatus::Unavailable, None);
        self.tell(MeterStatus::Unavailable, "unknown registers", now, what);
    }

    /// Takes note of a failed attempt. A failed connection is the link's to tell, once for all of its meters.
    pub(crate) fn fail(&mut self, error: &ReadError, now: Moment) {
        let status = error.status();
        self.refresh.lost();
        self.publish(status, None);
        if !matches!(error, ReadError::Connect { .. }) {
            self.tell(status, status.name(), now, || error.to_string());
        }
    }

    /// For how long the value has been the same to the last bit. An interruption in between does not count as a
    /// change: a gateway that comes back with its old cache is no proof of life.
    fn unchanged(&mut self, power: Watts, at: Moment) -> Duration {
        let bits = power.get().to_bits();
        match self.seen {
            Some((seen, since)) if seen == bits => {
                self.refresh.same();
                at - since
            }
            _ => {
                self.seen = Some((bits, at));
                if let Some(learned) = self.refresh.changed(at) {
                    self.learn(learned);
                }
                Duration::ZERO
            }
        }
    }

    fn learn(&mut self, refresh: Duration) {
        self.counters.learned_refresh(refresh);
        // A contact stands still while nobody moves it.
        let contact = self.seen.is_some_and(|(bits, _)| [0.0, 1.0].contains(&f64::from_bits(bits)));
        if refresh > self.longest_hold && !contact && !std::mem::replace(&mut self.slowness_told, true) {
            info!(
                meter = %self.name,
                "it seems to have a new value every {refresh:.1?} only; set stale_after to at least twice that, or an \
                 old value is taken for a new one before the device has one"
            );
        }
    }

    fn publish(&self, status: MeterStatus, reading: Option<Reading<Watts>>) {
        self.counters.count(status);
        self.output.send_modify(|input| {
            input.status = status;
            if reading.is_some() {
                input.power = reading;
            }
            input.refresh = self.counters.refresh_period();
        });
    }

    /// Logs a kind of trouble the first time that it comes up in an episode.
    fn tell(&mut self, status: MeterStatus, kind: &'static str, now: Moment, what: impl FnOnce() -> String) {
        let episode = self.episode.get_or_insert_with(|| Episode { since: now, told: Vec::new(), good: 0 });
        episode.good = 0;
        if !episode.told.contains(&kind) {
            episode.told.push(kind);
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

/// By how much the power of a profile jumps when the narrowest of its registers runs over.
fn turnover(profile: &Profile) -> Option<f64> {
    let terms = profile.power.terms.iter().filter(|_| !profile.contacts);
    terms.filter_map(Register::turnover).min_by(f64::total_cmp)
}

/// What a measure is when the current transformers are mounted the other way round.
fn turned(measure: Measure, value: f64) -> (Measure, f64) {
    match measure {
        Measure::EnergyImport => (Measure::EnergyExport, value),
        Measure::EnergyExport => (Measure::EnergyImport, value),
        power if power.is_power() => (power, -value),
        other => (other, value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LinkId;
    use super::*;

    fn intake(change: impl FnOnce(&mut Connection)) -> (Intake, watch::Receiver<MeterInput>) {
        let mut connection = Connection {
            link: LinkId(0),
            unit: 1,
            profile: Profile { name: "test".into(), ..Profile::default() },
            invert: false,
            plausible: None,
            frozen_after: None,
            stale_after: Duration::from_secs(5),
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
        intake.accept(Ok(500.0), first);
        assert_eq!(*input.borrow(), good(500.0, first));
        let timeout =
            ReadError::Timeout { place: "gateway:502".into(), unit: 1, limit: Duration::from_secs(1) };
        intake.fail(&timeout, Moment::millis(3000));
        assert_eq!(input.borrow().status, MeterStatus::Unreachable);
        assert_eq!(input.borrow().power, good(500.0, first).power);
        intake.accept(Err(Absent::Unavailable), Moment::millis(4000));
        assert_eq!(input.borrow().status, MeterStatus::Unavailable);
        assert_eq!(input.borrow().power, good(500.0, first).power);
        intake.accept(Ok(f64::NAN), Moment::millis(5000));
        assert_eq!(input.borrow().status, MeterStatus::Unavailable);
        assert_eq!(input.borrow().power, good(500.0, first).power);
    }

    /// An intake of a profile with a register of 16 bits, one watt a count.
    fn narrow() -> (Intake, watch::Receiver<MeterInput>) {
        intake(|connection| {
            let register = Register { format: super::super::profile::Format::I16, ..Register::default() };
            connection.profile.power = super::super::profile::Point::of(vec![register]);
        })
    }

    #[test]
    fn more_export_than_a_register_can_show_is_surplus_and_more_import_is_no_value() {
        let (mut intake, input) = narrow();
        let second = |at: u64| Moment::millis(1_000 * at);
        intake.accept(Ok(-31_000.0), second(1));
        for at in 2..100 {
            intake.take(Ok(Amount::AtMost(-32_768.0)), second(at));
            assert_eq!((input.borrow().status, input.borrow().at_most), (MeterStatus::Ok, true));
            assert!(
                second(at) - input.borrow().power.unwrap().at <= Duration::from_secs(3),
                "it stays fresh"
            );
        }
        intake.accept(Ok(-32_000.0), second(100));
        assert_eq!(
            (input.borrow().power, input.borrow().at_most),
            (good(-32_000.0, second(100)).power, false)
        );
        // What flows in beyond the register is not known.
        intake.take(Ok(Amount::AtLeast(32_767.0)), second(200));
        assert_eq!(input.borrow().status, MeterStatus::Implausible);
        // Nobody exports that much from one reading to the next: it is the pattern of a device in trouble.
        let (mut intake, input) = narrow();
        intake.accept(Ok(4_000.0), second(1));
        intake.take(Ok(Amount::AtMost(-32_768.0)), second(2));
        assert_eq!((input.borrow().status, input.borrow().at_most), (MeterStatus::Implausible, false));
        assert_eq!(input.borrow().power, good(4_000.0, second(1)).power);
        intake.take(Ok(Amount::AtMost(-32_768.0)), second(300));
        assert_eq!(input.borrow().status, MeterStatus::Implausible, "however long that lasts");
        // After an outage nobody knows what was in between.
        intake.accept(Ok(4_000.0), second(400));
        intake.take(Ok(Amount::AtMost(-32_768.0)), second(500));
        assert_eq!((input.borrow().status, input.borrow().at_most), (MeterStatus::Ok, true));
    }

    #[test]
    fn a_turned_meter_turns_the_side_of_which_something_is_known() {
        let (mut intake, input) = intake(|connection| connection.invert = true);
        intake.take(Ok(Amount::AtLeast(32_767.0)), Moment::millis(1));
        assert_eq!((input.borrow().status, input.borrow().at_most), (MeterStatus::Ok, true));
        assert_eq!(input.borrow().power, good(-32_767.0, Moment::millis(1)).power);
        intake.take(Ok(Amount::AtMost(-32_768.0)), Moment::millis(2));
        assert_eq!(input.borrow().status, MeterStatus::Implausible);
    }

    #[test]
    fn a_register_that_runs_over_is_refused_until_it_has_come_back() {
        let (mut intake, input) = narrow();
        let mut at = 0;
        let mut says = |watts: f64| {
            at += 1;
            intake.accept(Ok(watts), Moment::millis(1_000 * at));
            input.borrow().status
        };
        assert_eq!(says(31_000.0), MeterStatus::Ok);
        // 33.8 kW of import.
        assert_eq!(says(-31_736.0), MeterStatus::Implausible);
        assert_eq!(says(-25_000.0), MeterStatus::Implausible, "40.5 kW, and no more believed than before");
        assert_eq!(says(31_500.0), MeterStatus::Ok);
        assert_eq!(says(2_000.0), MeterStatus::Ok, "what is possible stays so");
        assert_eq!(says(-30_000.0), MeterStatus::Ok);
        assert_eq!(says(-32_000.0), MeterStatus::Ok);
        assert_eq!(says(32_000.0), MeterStatus::Implausible, "and the other way round");
        assert_eq!(says(-32_000.0), MeterStatus::Ok);
    }

    #[test]
    fn no_power_without_voltage_is_no_value() {
        let (mut intake, input) = intake(|_| ());
        let second = |at: u64| Moment::millis(1_000 * at);
        intake.accept(Ok(500.0), second(1));
        // Nothing is known of voltages: 0 W may be.
        intake.accept(Ok(0.0), second(2));
        assert_eq!(*input.borrow(), good(0.0, second(2)));
        intake.take_other(Measure::VoltageL1, Ok(0.0), second(3));
        intake.take_other(Measure::VoltageL2, Ok(231.0), second(3));
        // One phase is enough to measure.
        intake.accept(Ok(0.0), second(4));
        assert_eq!(input.borrow().status, MeterStatus::Ok);
        intake.take_other(Measure::VoltageL2, Ok(0.1), second(5));
        intake.accept(Ok(-0.0), second(6));
        assert_eq!(input.borrow().status, MeterStatus::Unavailable);
        assert_eq!(input.borrow().power.unwrap().at, second(4));
        // What it measures it measures, whatever its voltages say.
        intake.accept(Ok(40.0), second(7));
        assert_eq!(input.borrow().status, MeterStatus::Ok);
        // A voltage that was told long ago says nothing of now.
        intake.accept(Ok(0.0), second(70));
        assert_eq!(input.borrow().status, MeterStatus::Ok);
    }

    #[test]
    fn the_power_of_a_phase_is_no_more_believed_than_that_of_all() {
        let (mut intake, input) = intake(|connection| {
            connection.plausible = Some(Plausible { low: Watts::whole(-100), high: Watts::whole(1000) });
        });
        intake.take_other(Measure::PowerL1, Ok(-900.0), Moment::millis(1_000));
        intake.take_other(Measure::PowerL1, Ok(2_147_483_648.0), Moment::millis(2_000));
        intake.take_other(Measure::EnergyImport, Ok(2_147_483_648.0), Moment::millis(2_000));
        let others = input.borrow().others;
        assert_eq!(others.get(Measure::PowerL1), Some(Reading { value: -900.0, at: Moment::millis(1_000) }));
        assert!(others.get(Measure::EnergyImport).is_some());
    }

    #[test]
    fn an_implausible_value_is_refused_after_the_sign_was_turned() {
        let (mut intake, input) = intake(|connection| {
            connection.invert = true;
            connection.plausible = Some(Plausible { low: Watts::whole(-100), high: Watts::whole(1000) });
        });
        intake.accept(Ok(-1000.0), Moment::millis(1));
        assert_eq!(*input.borrow(), good(1000.0, Moment::millis(1)));
        intake.accept(Ok(1000.0), Moment::millis(2));
        assert_eq!(input.borrow().status, MeterStatus::Implausible);
        assert_eq!(input.borrow().power, good(1000.0, Moment::millis(1)).power);
    }

    #[test]
    fn a_frozen_value_loses_its_fresh_stamp_until_it_moves() {
        let (mut intake, input) = intake(|connection| connection.frozen_after = Some(Duration::from_secs(2)));
        for second in 0..5 {
            intake.accept(Ok(42.5), Moment::millis(1000 * second));
        }
        assert_eq!(input.borrow().status, MeterStatus::Frozen);
        assert_eq!(input.borrow().power, good(42.5, Moment::millis(2000)).power);
        intake.accept(Ok(42.6), Moment::millis(5000));
        assert_eq!(*input.borrow(), good(42.6, Moment::millis(5000)));
        assert_eq!(intake.counters.reads_of("frozen"), 2);
    }

    #[test]
    fn an_interruption_is_no_proof_that_a_value_lives() {
        let (mut intake, input) = intake(|connection| connection.frozen_after = Some(Duration::from_secs(2)));
        intake.accept(Ok(42.5), Moment::millis(0));
        intake.accept(Err(Absent::Unavailable), Moment::millis(1000));
        intake.accept(Ok(42.5), Moment::millis(9000));
        assert_eq!(input.borrow().status, MeterStatus::Frozen);
    }

    #[test]
    fn without_a_limit_a_value_may_stand_still() {
        let (mut intake, input) = intake(|_| ());
        for hour in 0..24 {
            intake.accept(Ok(0.0), Moment::millis(3_600_000 * hour));
        }
        assert_eq!(*input.borrow(), good(0.0, Moment::millis(3_600_000 * 23)));
    }

    #[test]
    fn a_meter_that_fails_every_other_time_is_one_episode() {
        let (mut intake, _input) = intake(|_| ());
        intake.accept(Err(Absent::Unavailable), Moment::millis(0));
        for round in 1..10 {
            intake.accept(Ok(f64::from(round)), Moment::START);
            intake.accept(Err(Absent::Unavailable), Moment::START);
        }
        assert_eq!(intake.episode.as_ref().unwrap().told, ["absent"]);
        for round in 0..3 {
            intake.accept(Ok(f64::from(round)), Moment::START);
        }
        assert!(intake.episode.is_none());
    }

    #[test]
    fn a_value_that_stands_still_is_a_new_sample_once_the_refresh_period_has_gone_by() {
        let (mut intake, input) = intake(|connection| connection.stale_after = Duration::from_secs(60));
        // A device that refreshes every 10 s.
        for second in 0..60_u32 {
            intake.accept(Ok(f64::from(second / 10)), Moment::millis(u64::from(1000 * second)));
        }
        assert_eq!(input.borrow().refresh, Some(Duration::from_secs(10)));
        assert_eq!(input.borrow().power, good(5.0, Moment::millis(50_000)).power, "not the latest answer");
        // From here on it is at a standstill, or the power is.
        let stamps: Vec<u64> = (60..100)
            .map(|second| {
                intake.accept(Ok(5.0), Moment::millis(1000 * second));
                assert_eq!(input.borrow().status, MeterStatus::Ok);
                input.borrow().power.unwrap().at.since_start().as_secs()
            })
            .collect();
        let mut expected = stamps.clone();
        expected.dedup();
        assert_eq!(expected, [60, 70, 80, 90]);
    }

    #[test]
    fn half_of_stale_after_bounds_how_long_a_value_is_the_same_sample() {
        let (mut intake, input) = intake(|connection| connection.stale_after = Duration::from_secs(6));
        for second in 0..180_u32 {
            let now = Moment::millis(u64::from(1000 * second));
            intake.accept(Ok(f64::from(second / 30)), now);
            let age = now - input.borrow().power.unwrap().at;
            assert!(age <= Duration::from_secs(3), "{age:?}");
        }
        assert_eq!(input.borrow().refresh, Some(Duration::from_secs(30)), "learned all the same");
        assert!(intake.slowness_told);
    }

    #[test]
    fn a_constant_value_of_which_nothing_is_learned_is_new_at_every_poll() {
        let (mut intake, input) = intake(|_| ());
        for round in 0..50 {
            // Polls do not come to the moment.
            let at = Moment::millis(1000 * round + (round * 37) % 90);
            intake.accept(Ok(7.0), at);
            assert_eq!(input.borrow().power.unwrap().at, at);
        }
        assert_eq!(input.borrow().refresh, None);
    }

    #[test]
    fn the_reason_for_an_absent_value_is_in_the_status() {
        let (mut intake, input) = intake(|_| ());
        for (absent, status) in [
            (Absent::Unavailable, MeterStatus::Unavailable),
            (Absent::NotRead, MeterStatus::Unavailable),
            (Absent::Saturated, MeterStatus::Implausible),
            (Absent::NoScale, MeterStatus::Implausible),
            (Absent::OutOfRange, MeterStatus::Implausible),
            (Absent::NoSign, MeterStatus::Implausible),
            (Absent::Away, MeterStatus::Unavailable),
        ] {
            intake.accept(Err(absent), Moment::START);
            assert_eq!(input.borrow().status, status, "{absent:?}");
        }
        assert_eq!(
            intake.episode.unwrap().told,
            ["absent", "saturated", "no scale", "out of range", "no sign", "away"]
        );
    }

    #[test]
    fn a_turned_meter_turns_its_phases_and_swaps_its_energies() {
        let (mut intake, mut input) = intake(|connection| connection.invert = true);
        input.borrow_and_update();
        for (measure, value) in [
            (Measure::PowerL2, 5.0),
            (Measure::EnergyImport, 100.0),
            (Measure::EnergyExport, 7.0),
            (Measure::VoltageL1, 230.0),
        ] {
            intake.take_other(measure, Ok(value), Moment::millis(9));
        }
        let others = input.borrow().others;
        let value = |measure| others.get(measure).map(|reading| reading.value);
        assert_eq!(value(Measure::PowerL2), Some(-5.0));
        assert_eq!(value(Measure::EnergyImport), Some(7.0));
        assert_eq!(value(Measure::EnergyExport), Some(100.0));
        assert_eq!(value(Measure::VoltageL1), Some(230.0));
        assert!(!input.has_changed().unwrap(), "nobody is woken");
        assert_eq!(input.borrow().status, MeterStatus::Pending);
    }

    #[test]
    fn a_meter_without_power_is_good_while_it_tells_anything() {
        let (mut intake, input) = intake(|_| ());
        let at = Moment::millis(3);
        let absent = (Measure::Frequency, Err(Absent::Unavailable), at);
        intake.accept_others([absent, (Measure::StateOfCharge, Ok(55.0), at)], at);
        assert_eq!((input.borrow().status, input.borrow().power), (MeterStatus::Ok, None));
        assert_eq!(input.borrow().others.get(Measure::StateOfCharge), Some(Reading { value: 55.0, at }));
        intake.accept_others([absent], Moment::millis(9));
        assert_eq!(input.borrow().status, MeterStatus::Unavailable);
        assert_eq!(input.borrow().others.get(Measure::StateOfCharge).unwrap().at, at, "old, and still known");
        intake.accept_others([], Moment::millis(9));
        assert_eq!((intake.counters.reads_of("ok"), intake.counters.reads_of("unavailable")), (1, 2));
    }
}
