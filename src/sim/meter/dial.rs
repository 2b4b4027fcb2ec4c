//! What a meter shows, apart from how it is asked: it sees the true power of a circuit through a filter and a delay,
//! takes a new value now and then, adds its noise, and can be wrong in the ways in which values are.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Moment;
use crate::control::measure::Measure;
use crate::sim::plant::Mains;
use crate::sim::random::{signed, stream, unit};
use crate::sim::scenario::{MeterFault, Metering, Noise, Scenario};
use crate::units::Watts;

const NOISE_KIND: u32 = 0x71;
const PHASE_KIND: u32 = 0x72;

/// What the energy registers show at the start, in watt-hours: meters are not born with the site.
const COUNTED: (f64, f64) = (1_250_000.0, 430_000.0);

/// What a meter shows since its latest refresh, as it is mounted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Face {
    /// Its pattern for "no value".
    Nothing,
    /// Values.
    Values {
        /// In watts.
        power: f64,
        /// Taken in and given out, in watt-hours.
        energy: (f64, f64),
        /// As it sees them.
        mains: Mains,
    },
}

impl Face {
    /// One of its values; `None` where it shows none.
    pub fn value(&self, measure: Measure) -> Option<f64> {
        let Self::Values { power, energy: (taken, given), mains } = self else {
            return None;
        };
        Some(match measure {
            Measure::Power => *power,
            Measure::PowerL1 | Measure::PowerL2 | Measure::PowerL3 => power / 3.0,
            Measure::VoltageL1 | Measure::VoltageL2 | Measure::VoltageL3 => mains.voltage,
            Measure::EnergyImport => *taken,
            Measure::EnergyExport => *given,
            Measure::Frequency => mains.frequency,
            Measure::StateOfCharge => 50.0,
        })
    }
}

/// A meter without its wire.
#[derive(Debug)]
pub struct Dial {
    /// Position among the site's meters.
    position: usize,
    invert: bool,
    metering: Metering,
    seed: u64,
    /// How far back it must remember.
    keep: Duration,
    /// The filtered value of the present moment.
    filtered: Option<(Moment, f64)>,
    /// Between two looks at it the power runs straight; otherwise the looks are so close together that it is taken to stand.
    straight: bool,
    /// The true power of that moment.
    truth: f64,
    /// Filtered values, the oldest first; the first may be older than must be remembered.
    past: VecDeque<(Moment, f64)>,
    energy: (f64, f64),
    /// When it takes a new value; `None` before the first one.
    refresh_at: Option<Moment>,
    refreshes: u64,
    faults: Vec<MeterFault>,
    mains: Mains,
}

impl Dial {
    /// The meter at a position of the site.
    pub fn of(scenario: &Scenario, position: usize, metering: Metering) -> Self {
        Self::new(position, scenario.seed, metering, scenario.longest_delay())
    }

    /// A meter that remembers as far back as it must.
    pub fn new(position: usize, seed: u64, metering: Metering, keep: Duration) -> Self {
        Self {
            position,
            invert: false,
            metering,
            seed,
            keep: keep.max(metering.delay),
            filtered: None,
            straight: false,
            truth: 0.0,
            past: VecDeque::new(),
            energy: COUNTED,
            refresh_at: None,
            refreshes: 0,
            faults: Vec::new(),
            mains: Mains::NOMINAL,
        }
    }

    /// The same, with its current transformers mounted the other way round if so.
    pub fn mounted(self, invert: bool) -> Self {
        Self { invert, ..self }
    }

    /// The same, looked at so seldom that the power is taken to run straight in between.
    pub fn looked_at_seldom(self) -> Self {
        Self { straight: true, ..self }
    }

    /// Takes the true state of the mains, which shows with the next value.
    pub fn feel(&mut self, mains: Mains) {
        self.mains = mains;
    }

    /// The faults that it has.
    pub fn faults(&self) -> &[MeterFault] {
        &self.faults
    }

    /// When it takes a new value next; `None` before the first one.
    pub fn next(&self) -> Option<Moment> {
        self.refresh_at
    }

    /// Takes the true power of a moment. Gives what it shows from now on, when it takes a new value.
    pub fn observe(&mut self, truth: Watts, now: Moment) -> Option<Face> {
        let filtered = match self.filtered {
            None => truth.get(),
            Some((before, value)) => {
                let lag = self.lag().as_secs_f64();
                let step = now.since(before).as_secs_f64();
                self.count(value, step);
                let fades = if lag > 0.0 { (-step / lag).exp() } else { 0.0 };
                // The exact answer of the filter to a power that has stood or has run straight since.
                let slope = if self.straight && step > 0.0 { (truth.get() - self.truth) / step } else { 0.0 };
                let began = if self.straight { self.truth } else { truth.get() };
                let behind = slope * lag;
                truth.get() - behind + (value - began + behind) * fades
            }
        };
        self.truth = truth.get();
        self.filtered = Some((now, filtered));
        self.remember(now, filtered);
        let period = self.period();
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
            Some(_) => return None,
        }
        self.refresh()
    }

    /// Lets a fault begin. Gives what it shows from now on: one of the value shows at once.
    pub fn inject(&mut self, fault: MeterFault) -> Option<Face> {
        self.faults.push(fault);
        self.changed()
    }

    /// Ends a fault that began with the same words.
    pub fn clear(&mut self, fault: MeterFault) -> Option<Face> {
        if let Some(position) = self.faults.iter().position(|active| *active == fault) {
            self.faults.remove(position);
        }
        self.changed()
    }

    fn changed(&mut self) -> Option<Face> {
        // Not later than with the period that holds now.
        if let (Some(at), Some((now, _))) = (self.refresh_at, self.filtered) {
            self.refresh_at = Some(at.min(now + self.period()));
        }
        if self.faults.iter().any(|fault| matches!(fault, MeterFault::Refresh(_))) {
            return None;
        }
        self.refresh()
    }

    /// The latest fault of a kind.
    fn latest<T>(&self, of: impl Fn(&MeterFault) -> Option<T>) -> Option<T> {
        self.faults.iter().rev().find_map(of)
    }

    /// Time between two new values, at present.
    fn period(&self) -> Duration {
        let fault = self.latest(|fault| match fault {
            MeterFault::Refresh(period) => Some(*period),
            _ => None,
        });
        fault.unwrap_or(self.metering.refresh)
    }

    /// Time constant of the filter, at present.
    fn lag(&self) -> Duration {
        let fault = self.latest(|fault| match fault {
            MeterFault::Lag(time) => Some(*time),
            _ => None,
        });
        fault.unwrap_or(self.metering.lag)
    }

    /// The pure delay, at present.
    fn delay(&self) -> Duration {
        let fault = self.latest(|fault| match fault {
            MeterFault::Delay(time) => Some(*time),
            _ => None,
        });
        fault.unwrap_or(self.metering.delay)
    }

    fn noise(&self) -> Noise {
        let fault = self.latest(|fault| match fault {
            MeterFault::Noise(noise) => Some(*noise),
            _ => None,
        });
        fault.unwrap_or(self.metering.noise)
    }

    fn has_no_voltage(&self) -> bool {
        self.faults.contains(&MeterFault::NoVoltage)
    }

    fn remember(&mut self, now: Moment, filtered: f64) {
        if self.keep.is_zero() {
            return;
        }
        self.past.push_back((now, filtered));
        let oldest = now.earlier(self.keep);
        // The one before the oldest moment is what held then.
        while self.past.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.past.pop_front();
        }
    }

    /// What it would show at present, were it exact. Before anything is old enough, the oldest that there is.
    fn seen(&self) -> Option<f64> {
        let (now, filtered) = self.filtered?;
        let delay = self.delay();
        if delay.is_zero() {
            return Some(filtered);
        }
        let then = now.earlier(delay);
        let later = self.past.partition_point(|(at, _)| *at <= then);
        let held = self.past.get(later.saturating_sub(1));
        Some(held.map_or(filtered, |(_, value)| *value))
    }

    /// As it is mounted.
    fn shown(&self, value: f64) -> f64 {
        if self.invert { -value } else { value }
    }

    /// Counts energy at a power in watts for some seconds.
    fn count(&mut self, value: f64, seconds: f64) {
        if self.has_no_voltage() {
            return;
        }
        let energy = self.shown(value) * seconds / 3_600.0;
        self.energy.0 += energy.max(0.0);
        self.energy.1 += (-energy).max(0.0);
    }

    /// A new value, unless it is frozen.
    fn refresh(&mut self) -> Option<Face> {
        let seen = self.seen()?;
        self.refreshes = self.refreshes.saturating_add(1);
        let noise = signed(self.seed, stream(NOISE_KIND, self.position), self.refreshes);
        let mut value = seen + noise * self.noise().amplitude(seen);
        let mut mains = self.mains;
        for fault in &self.faults {
            match fault {
                MeterFault::Frozen => return None,
                // Sites whose meter has no such pattern for its power are refused when the simulation starts.
                MeterFault::Unavailable => return Some(Face::Nothing),
                MeterFault::Offset(by) => value += by.get(),
                MeterFault::Factor(factor) => value *= factor,
                MeterFault::Glitch(to) => value = to.get(),
                MeterFault::NoVoltage => {
                    value = 0.0;
                    mains = Mains::GONE;
                }
                _ => {}
            }
        }
        Some(Face::Values { power: self.shown(value), energy: self.energy, mains })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dial(delay: u64, noise: Noise) -> Dial {
        let metering = Metering {
            refresh: Duration::from_millis(50),
            lag: Duration::ZERO,
            delay: Duration::from_millis(delay),
            noise,
        };
        Dial::new(0, 7, metering, Duration::from_secs(10))
    }

    /// Runs for a while, at a power that is a function of the time in milliseconds, and gives what is shown then.
    fn run(dial: &mut Dial, from: u64, to: u64, watts: impl Fn(u64) -> u64, shown: &mut Vec<Face>) {
        for ms in (from..=to).step_by(50) {
            let watts = Watts::whole(i32::try_from(watts(ms)).unwrap());
            shown.extend(dial.observe(watts, Moment::millis(ms)));
        }
    }

    fn shows(face: Option<&Face>, watts: f64) -> bool {
        (power(face) - watts).abs() < 1e-6
    }

    fn power(face: Option<&Face>) -> f64 {
        face.and_then(|face| face.value(Measure::Power)).unwrap()
    }

    #[test]
    fn a_delayed_value_is_the_true_one_of_then_and_the_first_until_there_is_one() {
        let (mut dial, mut shown) = (dial(3_000, Noise::NONE), Vec::new());
        run(&mut dial, 0, 2_000, |ms| 1_000 + ms, &mut shown);
        assert!(shows(shown.last(), 1_000.0));
        run(&mut dial, 2_050, 20_000, |ms| 1_000 + ms, &mut shown);
        assert!(shows(shown.last(), 18_000.0));
        assert!(dial.past.len() <= 202, "{} values are kept", dial.past.len());
    }

    #[test]
    fn a_delay_that_begins_later_knows_what_was_before_it() {
        let (mut dial, mut shown) = (dial(0, Noise::NONE), Vec::new());
        run(&mut dial, 0, 20_000, |ms| ms, &mut shown);
        assert!(shows(shown.last(), 20_000.0));
        let late = MeterFault::Delay(Duration::from_secs(10));
        assert!(shows(dial.inject(late).as_ref(), 10_000.0));
        assert!(shows(dial.clear(late).as_ref(), 20_000.0));
    }

    #[test]
    fn noise_is_new_with_every_value_and_stays_in_its_bounds() {
        let noise = Noise { absolute: Watts::whole(100), share: 0.01 };
        let (mut dial, mut shown) = (dial(0, noise), Vec::new());
        run(&mut dial, 0, 100_000, |_| 50_000, &mut shown);
        let errors: Vec<f64> = shown.iter().map(|face| power(Some(face)) - 50_000.0).collect();
        assert!(errors.iter().all(|error| error.abs() <= 600.0));
        assert!(errors.iter().any(|error| *error > 550.0) && errors.iter().any(|error| *error < -550.0));
        assert!(errors.windows(2).all(|pair| pair[0].to_bits() != pair[1].to_bits()));
    }

    #[test]
    fn a_glitch_is_exact_and_goes_again() {
        let noise = Noise { absolute: Watts::whole(100), share: 0.0 };
        let (mut dial, mut shown) = (dial(0, noise), Vec::new());
        run(&mut dial, 0, 1_000, |_| 50_000, &mut shown);
        let glitch = MeterFault::Glitch(Watts::whole(i32::MAX));
        assert!(shows(dial.inject(glitch).as_ref(), f64::from(i32::MAX)));
        shown.clear();
        run(&mut dial, 1_050, 3_000, |_| 50_000, &mut shown);
        assert!(shown.iter().all(|face| shows(Some(face), f64::from(i32::MAX))));
        assert!((power(dial.clear(glitch).as_ref()) - 50_000.0).abs() <= 100.0);
    }

    #[test]
    fn a_meter_without_voltage_shows_zero_of_everything_and_counts_nothing() {
        let (mut dial, mut shown) = (dial(0, Noise::NONE), Vec::new());
        run(&mut dial, 0, 1_000, |_| 50_000, &mut shown);
        let before = dial.inject(MeterFault::NoVoltage).unwrap();
        run(&mut dial, 1_050, 60_000, |_| 50_000, &mut shown);
        let face = shown.last().unwrap();
        for measure in [Measure::Power, Measure::PowerL2, Measure::VoltageL1, Measure::Frequency] {
            assert_eq!(face.value(measure), Some(0.0), "{measure:?}");
        }
        assert_eq!(face.value(Measure::EnergyImport), before.value(Measure::EnergyImport));
    }
}
