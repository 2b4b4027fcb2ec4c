//! Simulated meters: they see the true power of a circuit through a filter, refresh their registers now and then,
//! and can fail in the ways that meters on real buses do.
//!
//! A meter serves every point of its profile: the power, thirds of it on the phases, its integral as energies, the voltage
//! and frequency of the mains, and a steady 50 % of charge. A group of contacts is a meter whose power is their bits.

pub mod bus;
mod dial;
pub mod encode;
pub mod manner;
pub mod pty;
pub mod rtu;
pub mod server;

use std::sync::Arc;

use super::plant::Mains;
use super::scenario::MeterFault;
use crate::clock::Moment;
use crate::control::measure::Measure;
use crate::control::signal::contacts::bits;
use crate::meter::Connection;
use crate::meter::profile::{Point, Profile};
use crate::units::Watts;
use bus::{Bus, Door};
pub use dial::{Dial, Face};

/// A meter on its bus.
#[derive(Debug)]
pub struct SimMeter {
    /// Position among the site's meters.
    position: usize,
    unit: u8,
    profile: Profile,
    bus: Arc<Bus>,
    dial: Dial,
}

impl SimMeter {
    /// A meter whose registers are already part of the bus.
    pub fn new(position: usize, connection: &Connection, dial: Dial, bus: Arc<Bus>) -> Self {
        Self {
            position,
            unit: connection.unit,
            profile: connection.profile.clone(),
            bus,
            dial: dial.mounted(connection.invert),
        }
    }

    /// Takes the true state of the mains, which shows with the next value.
    pub fn feel(&mut self, mains: Mains) {
        self.dial.feel(mains);
    }

    /// Takes the true power of a moment, and refreshes the registers when it is time.
    pub fn observe(&mut self, truth: Watts, now: Moment) {
        let face = self.dial.observe(truth, now);
        self.show(face);
    }

    /// Puts what the meter shows into its registers, if that is something new.
    fn show(&self, face: Option<Face>) {
        match face {
            None => {}
            Some(Face::Nothing) => self.write(|_, point| encode::unavailable(point)),
            Some(face) => self.write(|measure, point| {
                let value = face.value(measure)?;
                if self.profile.contacts {
                    return Some(encode::contacts(point, bits(value.round()).unwrap_or(0)));
                }
                Some(encode::value(point, value))
            }),
        }
    }

    /// Writes the words of all points at one instant, the power last: where it shares registers with the phases, it
    /// is it that is right.
    fn write(&self, words: impl Fn(Measure, &Point) -> Option<Vec<encode::Word>>) {
        let mut points: Vec<_> = self.profile.points().collect();
        points.reverse();
        let all: Vec<_> =
            points.into_iter().filter_map(|(measure, point)| words(measure, point)).flatten().collect();
        self.bus.write(self.position, self.unit, &all);
    }

    /// Lets a fault begin. It shows in the registers at once where it is one of the value.
    pub fn inject(&mut self, fault: MeterFault) {
        let face = self.dial.inject(fault);
        self.changed(face);
    }

    /// Ends a fault that began with the same words.
    pub fn clear(&mut self, fault: MeterFault) {
        let face = self.dial.clear(fault);
        self.changed(face);
    }

    fn changed(&self, face: Option<Face>) {
        let bends = self.dial.faults().iter().filter_map(|fault| match fault {
            MeterFault::Answers { bend, every } => Some((*bend, *every)),
            _ => None,
        });
        self.bus.behave(self.position, bends.collect());
        self.show(face);
    }

    /// Who gets in at the whole link on account of this meter.
    pub fn door(&self) -> Door {
        self.dial.faults().iter().fold(Door::default(), |door, fault| {
            door.and(match fault {
                MeterFault::Refuse => Door { refusing: true, ..Door::default() },
                MeterFault::Mute => Door { mute: true, ..Door::default() },
                MeterFault::Clients { most, keeps } => {
                    Door { most: Some((*most, *keeps)), ..Door::default() }
                }
                _ => Door::default(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter::LinkId;
    use crate::meter::profile::{Format, Function, Profile, Register, WordOrder};
    use crate::sim::scenario::{Bend, Metering, Noise};
    use manner::Answer;

    fn connection(invert: bool) -> Connection {
        Connection {
            link: LinkId(0),
            unit: 1,
            profile: Profile {
                name: "test".into(),
                power: Point::of(vec![Register {
                    function: Function::Input,
                    address: 0,
                    format: Format::F32,
                    word_order: WordOrder::HighFirst,
                    ..Register::default()
                }]),
                ..Profile::default()
            },
            invert,
            plausible: None,
            frozen_after: None,
            stale_after: Duration::from_secs(5),
            period: Duration::from_secs(1),
        }
    }

    fn meter(invert: bool, refresh: u64, lag: u64) -> SimMeter {
        let connection = connection(invert);
        let mut bus = Bus::new();
        bus.add(0, 1, encode::registers(&connection.profile.power));
        let metering = Metering {
            refresh: Duration::from_millis(refresh),
            lag: Duration::from_millis(lag),
            delay: Duration::ZERO,
            noise: Noise::NONE,
        };
        SimMeter::new(0, &connection, Dial::new(0, 1, metering, Duration::ZERO), Arc::new(bus))
    }

    fn shown(meter: &SimMeter) -> f32 {
        match meter.bus.answer(1, &[4, 0, 0, 0, 2]) {
            Answer::Reply(reply) => f32::from_be_bytes(reply.pdu[2..6].try_into().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn run(meter: &mut SimMeter, from_ms: u64, to_ms: u64, watts: i32) {
        for ms in (from_ms..to_ms).step_by(50) {
            meter.observe(Watts::whole(watts), Moment::millis(ms));
        }
    }

    #[test]
    fn the_first_value_stands_at_once() {
        let mut meter = meter(false, 10_000, 0);
        meter.observe(Watts::whole(1_234), Moment::START);
        assert!((shown(&meter) - 1_234.0).abs() < 0.01);
    }

    #[test]
    fn registers_change_only_when_the_meter_refreshes() {
        let mut meter = meter(false, 500, 0);
        let mut changes = 0;
        let mut last = f32::NAN;
        for ms in (0..10_000).step_by(50) {
            meter.observe(Watts::whole(i32::try_from(ms).unwrap()), Moment::millis(ms));
            if shown(&meter).to_bits() != last.to_bits() {
                changes += 1;
                last = shown(&meter);
            }
        }
        assert!((20..=21).contains(&changes), "{changes}");
    }

    #[test]
    fn the_filter_trails_a_ramp_by_its_lag() {
        let mut meter = meter(false, 50, 2_000);
        for ms in (0..30_000).step_by(50) {
            meter.observe(Watts::whole(i32::try_from(ms).unwrap()), Moment::millis(ms));
        }
        // 1 kW/s and 2 s: 2 kW behind, and one refresh at the most.
        let behind = 29_950.0 - shown(&meter);
        assert!((1_900.0..2_150.0).contains(&behind), "{behind}");
    }

    #[test]
    fn an_inverted_meter_shows_import_as_negative() {
        let mut meter = meter(true, 500, 0);
        meter.observe(Watts::whole(700), Moment::START);
        assert!((shown(&meter) + 700.0).abs() < 0.01);
    }

    #[test]
    fn faults_of_the_value_show_at_once_and_go_again() {
        let mut meter = meter(false, 10_000, 0);
        run(&mut meter, 0, 1_000, 1_000);
        meter.inject(MeterFault::Offset(Watts::whole(50)));
        assert!((shown(&meter) - 1_050.0).abs() < 0.01);
        meter.inject(MeterFault::Factor(-1.0));
        assert!((shown(&meter) + 1_050.0).abs() < 0.01);
        meter.clear(MeterFault::Offset(Watts::whole(50)));
        meter.clear(MeterFault::Factor(-1.0));
        assert!((shown(&meter) - 1_000.0).abs() < 0.01);
        meter.inject(MeterFault::Unavailable);
        assert!(shown(&meter).is_nan());
        meter.clear(MeterFault::Unavailable);
        assert!((shown(&meter) - 1_000.0).abs() < 0.01);
    }

    #[test]
    fn a_frozen_meter_keeps_its_last_value() {
        let mut meter = meter(false, 500, 0);
        run(&mut meter, 0, 2_000, 1_000);
        meter.inject(MeterFault::Frozen);
        run(&mut meter, 2_000, 6_000, 9_000);
        assert!((shown(&meter) - 1_000.0).abs() < 0.01);
        meter.clear(MeterFault::Frozen);
        assert!((shown(&meter) - 9_000.0).abs() < 0.01);
    }

    #[test]
    fn a_meter_that_refreshes_slowly_shows_old_values_and_recovers() {
        let mut meter = meter(false, 500, 0);
        run(&mut meter, 0, 1_000, 1_000);
        let slow = MeterFault::Refresh(Duration::from_secs(10));
        meter.inject(slow);
        // The refresh that is on its way may still come.
        run(&mut meter, 1_000, 2_000, 2_000);
        run(&mut meter, 2_000, 10_000, 3_000);
        assert!((shown(&meter) - 2_000.0).abs() < 0.01, "{}", shown(&meter));
        run(&mut meter, 10_000, 12_100, 3_000);
        assert!((shown(&meter) - 3_000.0).abs() < 0.01);
        run(&mut meter, 12_100, 12_300, 4_000);
        meter.clear(slow);
        assert!((shown(&meter) - 4_000.0).abs() < 0.01);
    }

    #[test]
    fn a_meter_that_lags_trails_a_step() {
        let mut meter = meter(false, 50, 0);
        run(&mut meter, 0, 1_000, 0);
        meter.inject(MeterFault::Lag(Duration::from_secs(2)));
        run(&mut meter, 1_000, 3_000, 10_000);
        let trailing = shown(&meter);
        assert!((5_500.0..7_000.0).contains(&trailing), "63 % after its time constant: {trailing}");
    }

    #[test]
    fn every_point_of_a_profile_is_served() {
        let float =
            |address| Point::of(vec![Register { address, format: Format::F32, ..Register::default() }]);
        let mut profile = Profile { name: "test".into(), power: float(0), ..Profile::default() };
        for (measure, address) in
            [(Measure::PowerL2, 10), (Measure::Frequency, 20), (Measure::EnergyExport, 30)]
        {
            profile.others.insert(measure, float(address));
        }
        let connection = Connection { profile, ..connection(false) };
        let mut bus = Bus::new();
        let points = connection.profile.points().flat_map(|(_, point)| encode::registers(point));
        bus.add(0, 1, points);
        let metering = Metering { noise: Noise::NONE, lag: Duration::ZERO, ..Metering::DEFAULT };
        let dial = Dial::new(0, 1, metering, Duration::ZERO);
        let mut meter = SimMeter::new(0, &connection, dial, Arc::new(bus));
        run(&mut meter, 0, 3_600_000, -6_000);
        for (address, expected) in [(0, -6_000.0), (10, -2_000.0), (20, 50.0), (30, 436_000.0)] {
            let Answer::Reply(reply) = meter.bus.answer(1, &[3, 0, address, 0, 2]) else {
                panic!("no reply")
            };
            let value = f32::from_be_bytes(reply.pdu[2..6].try_into().unwrap());
            assert!((value - expected).abs() < 5.0, "{address}: {value}");
        }
    }

    #[test]
    fn faults_of_answers_and_of_the_link_reach_them() {
        let mut meter = meter(false, 500, 0);
        meter.inject(MeterFault::Answers { bend: Bend::Silent, every: 1 });
        assert_eq!(meter.bus.answer(1, &[4, 0, 0, 0, 2]), Answer::Silence);
        meter.inject(MeterFault::Mute);
        assert!(meter.door().mute && !meter.door().refusing);
        meter.clear(MeterFault::Mute);
        assert_eq!(meter.door(), Door::default());
    }
}
