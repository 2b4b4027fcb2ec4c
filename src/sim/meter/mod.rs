//! Simulated meters: they see the true power of a circuit through a filter, refresh their registers now and then,
//! and can fail in the ways that meters on real buses do.

pub mod bus;
pub mod encode;
pub mod pty;
pub mod rtu;
pub mod server;

use std::sync::Arc;

use super::random::{signed, stream, unit};
use super::scenario::{MeterFault, Metering};
use crate::clock::Moment;
use crate::meter::Connection;
use crate::meter::profile::Point;
use crate::units::Watts;
use bus::{Bus, Manner};

const NOISE_KIND: u32 = 0x71;
const PHASE_KIND: u32 = 0x72;

/// A meter with its filter, its refresh and its faults.
#[derive(Debug)]
pub struct SimMeter {
    /// Position among the site's meters.
    position: usize,
    unit: u8,
    point: Point,
    invert: bool,
    metering: Metering,
    seed: u64,
    bus: Arc<Bus>,
    filtered: Option<(Moment, f64)>,
    /// When the registers change next; `None` before the first value.
    refresh_at: Option<Moment>,
    refreshes: u64,
    faults: Vec<MeterFault>,
}

impl SimMeter {
    /// A meter whose registers are already part of the bus.
    pub fn new(
        position: usize,
        connection: &Connection,
        metering: Metering,
        seed: u64,
        bus: Arc<Bus>,
    ) -> Self {
        Self {
            position,
            unit: connection.unit,
            point: connection.profile.power.clone(),
            invert: connection.invert,
            metering,
            seed,
            bus,
            filtered: None,
            refresh_at: None,
            refreshes: 0,
            faults: Vec::new(),
        }
    }

    /// Takes the true power of a moment, and refreshes the registers when it is time.
    pub fn observe(&mut self, truth: Watts, now: Moment) {
        let filtered = match self.filtered {
            None => truth.get(),
            Some((before, value)) => {
                let lag = self.metering.lag.as_secs_f64();
                let step = now.since(before).as_secs_f64();
                let share = if lag > 0.0 { 1.0 - (-step / lag).exp() } else { 1.0 };
                value + (truth.get() - value) * share
            }
        };
        self.filtered = Some((now, filtered));
        let period = self.metering.refresh;
        match self.refresh_at {
            // Meters were not all switched on at the same instant.
            None => {
                let phase = unit(self.seed, stream(PHASE_KIND, self.position), 0);
                self.refresh_at = Some(now + period.mul_f64(phase));
            }
            Some(at) if now >= at => {
                let next = at + period;
                self.refresh_at = Some(if next > now { next } else { now + period });
            }
            Some(_) => return,
        }
        self.refresh(filtered);
    }

    fn refresh(&mut self, filtered: f64) {
        self.refreshes += 1;
        let noise = signed(self.seed, stream(NOISE_KIND, self.position), self.refreshes);
        let mut value = filtered + noise * self.metering.noise.get();
        for fault in &self.faults {
            match fault {
                MeterFault::Frozen => return,
                MeterFault::Unavailable => {
                    // Sites whose meter has no such pattern are refused when the simulation starts.
                    if let Some(words) = encode::unavailable(&self.point) {
                        self.bus.write(self.position, self.unit, &words);
                    }
                    return;
                }
                MeterFault::Offset(by) => value += by.get(),
                MeterFault::Factor(factor) => value *= factor,
                _ => {}
            }
        }
        let shown = if self.invert { -value } else { value };
        self.bus.write(self.position, self.unit, &encode::value(&self.point, shown));
    }

    /// Lets a fault begin. It shows in the registers at once where it is one of the value.
    pub fn inject(&mut self, fault: MeterFault) {
        self.faults.push(fault);
        self.changed();
    }

    /// Ends a fault that began with the same words.
    pub fn clear(&mut self, fault: MeterFault) {
        if let Some(position) = self.faults.iter().position(|active| *active == fault) {
            self.faults.remove(position);
        }
        self.changed();
    }

    /// Whether the whole link refuses connections on account of this meter.
    pub fn refuses(&self) -> bool {
        self.faults.contains(&MeterFault::Refuse)
    }

    fn changed(&mut self) {
        let mut manner = Manner::default();
        for fault in &self.faults {
            match fault {
                MeterFault::Silent => manner.silent = true,
                MeterFault::Exception(code) => manner.exception = Some(*code),
                MeterFault::Slow(delay) => manner.delay = manner.delay.max(*delay),
                MeterFault::Short => manner.short = true,
                MeterFault::Crossed => manner.crossed = true,
                MeterFault::Refuse
                | MeterFault::Frozen
                | MeterFault::Unavailable
                | MeterFault::Offset(_)
                | MeterFault::Factor(_) => {}
            }
        }
        self.bus.behave(self.position, manner);
        if let Some((_, filtered)) = self.filtered {
            self.refresh(filtered);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::meter::LinkId;
    use crate::meter::profile::{Format, Function, Profile, Register, WordOrder};
    use bus::Answer;

    fn connection(invert: bool) -> Connection {
        Connection {
            link: LinkId(0),
            unit: 1,
            profile: Profile {
                name: "test".into(),
                power: Point {
                    terms: vec![Register {
                        function: Function::Input,
                        address: 0,
                        format: Format::F32,
                        word_order: WordOrder::HighFirst,
                        ..Register::default()
                    }],
                },
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
            noise: Watts::ZERO,
        };
        SimMeter::new(0, &connection, metering, 1, Arc::new(bus))
    }

    fn shown(meter: &SimMeter) -> f32 {
        match meter.bus.answer(1, &[4, 0, 0, 0, 2]) {
            Answer::Reply { pdu, .. } => f32::from_be_bytes(pdu[2..6].try_into().unwrap()),
            Answer::Silence => panic!("silence"),
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
}
