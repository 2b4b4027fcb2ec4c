//! A meter in simulated time: the simulated device, the polls, and the judgement of the real program.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Moment;
use crate::config::Config;
use crate::control::measure::Measure;
use crate::control::snapshot::MeterInput;
use crate::meter::counters::MeterCounters;
use crate::meter::decode::Absent;
use crate::meter::intake::Intake;
use crate::meter::profile::{Function, Point, Profile};
use crate::meter::{Connection, ReadError};
use crate::sim::meter::{Dial, Face, encode};
use crate::sim::plant::Mains;
use crate::sim::scenario::{Bend, MeterFault};
use crate::sim::script::Turn;
use crate::units::Watts;

/// How a poll ends.
enum Answer {
    /// With what the registers held.
    Face(Face),
    /// Badly.
    Failed(ReadError),
}

pub(super) struct Gauge {
    dial: Dial,
    profile: Profile,
    place: String,
    unit: u8,
    timeout: Duration,
    period: Duration,
    /// What the registers hold.
    face: Face,
    next: Moment,
    /// The poll on its way, and when it ends.
    asked: Option<(Moment, Answer)>,
    /// An answer came twice: the second one will be taken for that of the next request, and seen through.
    owed: bool,
    /// Polls since the faults of its answers last changed.
    asks: u32,
    intake: Intake,
    output: watch::Receiver<MeterInput>,
}

impl Gauge {
    /// The meter of a connection, first asked at a moment.
    pub(super) fn new(config: &Config, name: &str, connection: &Connection, dial: Dial, now: Moment) -> Self {
        let link = config.links.get(connection.link.0);
        let (sender, output) = watch::channel(MeterInput::PENDING);
        let intake = Intake::new(name.into(), connection, sender, Arc::new(MeterCounters::default()));
        Self {
            dial: dial.mounted(connection.invert),
            profile: connection.profile.clone(),
            place: link.map(|link| link.name.clone()).unwrap_or_default(),
            unit: connection.unit,
            timeout: link.map_or(Duration::from_secs(1), |link| link.timeout),
            period: connection.period.max(Duration::from_millis(1)),
            face: Face::Nothing,
            next: now,
            asked: None,
            owed: false,
            asks: 0,
            intake,
            output,
        }
    }

    /// What is known of it.
    pub(super) fn input(&self) -> MeterInput {
        *self.output.borrow()
    }

    pub(super) fn turn(&mut self, fault: MeterFault, turn: Turn) {
        let face = match turn {
            Turn::Begins => self.dial.inject(fault),
            Turn::Ends => self.dial.clear(fault),
        };
        self.face = face.unwrap_or(self.face);
        if matches!(fault, MeterFault::Answers { .. }) {
            self.asks = 0;
        }
    }

    /// When it does something next by itself.
    pub(super) fn due(&self) -> Moment {
        let asks = self.asked.as_ref().map_or(self.next, |(due, _)| *due);
        self.dial.next().map_or(asks, |refresh| asks.min(refresh))
    }

    /// Takes the true power of a moment. Gives whether a poll has ended.
    pub(super) fn tick(&mut self, truth: Watts, mains: Mains, now: Moment) -> bool {
        self.dial.feel(mains);
        self.face = self.dial.observe(truth, now).unwrap_or(self.face);
        if self.asked.is_none() && now >= self.next {
            // On its own beat: what was missed is not made up for.
            while self.next <= now {
                self.next = self.next + self.period;
            }
            self.asked = Some(self.ask(now));
        }
        if let Some((due, answer)) = self.asked.take() {
            if due > now {
                self.asked = Some((due, answer));
                return false;
            }
            match answer {
                Answer::Face(face) => self.take(face, due),
                Answer::Failed(error) => self.intake.fail(&error, due),
            }
            return true;
        }
        false
    }

    /// How a poll that begins now will end, and when.
    fn ask(&mut self, now: Moment) -> (Moment, Answer) {
        let place = || self.place.clone();
        let unit = self.unit;
        let silence = || {
            let error = ReadError::Timeout { place: place(), unit, limit: self.timeout };
            (now + self.timeout, Answer::Failed(error))
        };
        let broken =
            |reason: &str| Answer::Failed(ReadError::Broken { place: place(), unit, reason: reason.into() });
        let malformed = |reason: &str| {
            let kind = "Modbus";
            Answer::Failed(ReadError::Malformed { place: place(), unit, reason: reason.into(), kind })
        };
        for fault in self.dial.faults() {
            match fault {
                MeterFault::Refuse => {
                    let reason = "refused".into();
                    return (now, Answer::Failed(ReadError::Connect { place: place(), reason }));
                }
                MeterFault::Mute => return silence(),
                _ => {}
            }
        }
        if std::mem::take(&mut self.owed) {
            return (now, malformed("an answer that nobody asked for"));
        }
        self.asks = self.asks.saturating_add(1);
        let hit = |every: u32| self.asks.is_multiple_of(every.max(1));
        let bend = self.dial.faults().iter().find_map(|fault| match fault {
            MeterFault::Answers { bend, every } if hit(*every) => Some(*bend),
            _ => None,
        });
        match bend {
            None => (now, Answer::Face(self.face)),
            Some(Bend::Twice) => {
                self.owed = true;
                (now, Answer::Face(self.face))
            }
            Some(Bend::Slow(delay) | Bend::Late(delay)) if delay < self.timeout => {
                (now + delay, Answer::Face(self.face))
            }
            Some(Bend::Slow(_) | Bend::Late(_) | Bend::Silent | Bend::CutOff) => silence(),
            Some(Bend::Reset) => (now, broken("reset")),
            Some(Bend::Exception(code)) => {
                let (function, address, count) = (Function::Holding, 0, 1);
                let error = ReadError::Exception { place: place(), unit, function, address, count, code };
                (now, Answer::Failed(error))
            }
            Some(
                bend @ (Bend::Short | Bend::Count | Bend::Function | Bend::Unit | Bend::Crossed | Bend::Crc),
            ) => (now, malformed(&format!("{bend:?}"))),
        }
    }

    /// Reads registers as the program does.
    fn take(&mut self, face: Face, at: Moment) {
        let read = |measure: Measure, point: Option<&Point>| match (face.value(measure), point) {
            // What the registers mean is only known once the device was asked: the value as it is.
            (Some(value), Some(point)) if point.terms.is_empty() => Ok(value),
            (Some(value), Some(point)) => Ok(encode::held(point, value)),
            (None, _) | (_, None) => Err(Absent::Unavailable),
        };
        let others: Vec<_> = self
            .profile
            .others
            .iter()
            .map(|(measure, point)| (*measure, read(*measure, Some(point)), at))
            .collect();
        if self.profile.tells_power() {
            for (measure, value, at) in others {
                self.intake.take_other(measure, value, at);
            }
            self.intake.accept(read(Measure::Power, Some(&self.profile.power)), at);
        } else {
            self.intake.accept_others(others, at);
        }
    }
}
