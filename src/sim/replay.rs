//! A site in simulated time: the same plant, the same miners' physics and the real control law, without sockets.
//!
//! An hour takes seconds, so a test can hold the figures that the control law must reach, and a scenario can be
//! tried before it is run in real time. What is left out is the wire: readings arrive and commands act without
//! loss, a fixed time after they were sent.

use std::sync::Arc;
use std::time::Duration;

use super::miner::physics::{Habits, MinerState, Pace, Physics, Setting};
use super::plant::{Plant, Wiring};
use super::scenario::{InitialMiners, Scenario, ScenarioError};
use super::truth::{Accountant, Flows, Totals};
use crate::clock::Moment;
use crate::config::Config;
use crate::control::decision::Decision;
use crate::control::site::Site;
use crate::control::snapshot::{
    Activity, Contact, Delivery, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, Outcome,
    Reading, Snapshot, Target,
};
use crate::control::{State, step};
use crate::miner::DriverKind;
use crate::units::Watts;

/// Step of the physics.
const TICK: Duration = Duration::from_millis(50);
/// From a reading or command on one side to the other.
const WIRE: Duration = Duration::from_millis(30);
/// When a miner is read back after a command.
const READ_BACKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Time constant of a meter's filter.
const METER_LAG: f64 = 0.3;

struct Unit {
    physics: Physics,
    driver: DriverKind,
    rated: Watts,
    input: MinerInput,
    next_poll: Moment,
    read_backs: Vec<Moment>,
    target: Target,
}

struct Gauge {
    circuit: Option<usize>,
    period: Duration,
    filtered: Option<f64>,
    next: Moment,
    input: MeterInput,
}

/// A site in simulated time.
pub struct Replay {
    site: Arc<Site>,
    state: State,
    plant: Plant,
    wiring: Wiring,
    units: Vec<Unit>,
    gauges: Vec<Gauge>,
    accountant: Accountant,
    now: Moment,
    next_cycle: Moment,
    commands: u64,
}

impl Replay {
    /// Builds the site of a configuration in a scenario. Faults of the scenario are not replayed, and readings that
    /// are caps stay pending.
    ///
    /// # Errors
    /// The scenario does not fit the site.
    pub fn new(config: &Config, scenario: &Scenario) -> Result<Self, ScenarioError> {
        let site = config.site.clone();
        let now = Moment::START;
        let units = site
            .miners
            .iter()
            .zip(&config.miners)
            .zip(0_u64..)
            .map(|((spec, connection), number)| {
                let habits = Habits::of(connection.driver);
                let seed = scenario.seed.wrapping_add(number);
                let physics = match scenario.miners {
                    InitialMiners::Hashing { fraction } => {
                        Physics::hashing(spec, connection.rated, habits, seed, fraction)
                    }
                    InitialMiners::Asleep => Physics::asleep(spec, connection.rated, habits, seed),
                };
                let asleep = matches!(scenario.miners, InitialMiners::Asleep);
                let share = match scenario.miners {
                    InitialMiners::Hashing { fraction } => fraction,
                    InitialMiners::Asleep => 0.0,
                };
                let watts = connection.rated.scaled(share).max(spec.minimum());
                Unit {
                    physics,
                    driver: connection.driver,
                    rated: connection.rated,
                    input: MinerInput::PENDING,
                    next_poll: now
                        + spec.poll_period.mul_f64(f64::from(u8::try_from(number % 20).unwrap_or(0)) / 20.0),
                    read_backs: Vec::new(),
                    target: if asleep { Target::Sleep } else { Target::Power(watts) },
                }
            })
            .collect();
        let gauges = site
            .meters
            .iter()
            .enumerate()
            .map(|(index, meter)| Gauge {
                circuit: site.circuits.iter().position(|circuit| circuit.meter.map(|id| id.0) == Some(index)),
                period: meter.period,
                filtered: None,
                next: now,
                input: MeterInput::PENDING,
            })
            .collect();
        let maximum = site.miners.iter().map(|miner| miner.maximum()).sum();
        Ok(Self {
            state: State::new(site.clone()),
            plant: Plant::new(scenario),
            wiring: Wiring::new(scenario, &site)?,
            units,
            gauges,
            accountant: Accountant::new(maximum, now),
            now,
            next_cycle: now + site.settings.period,
            commands: 0,
            site,
        })
    }

    /// The energies since the start or the latest [`Replay::restart_counting`].
    pub fn totals(&self) -> Totals {
        self.accountant.totals()
    }

    /// Commands sent since the start.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Restarts of mining that commands have caused in all miners together.
    pub fn restarts(&self) -> u32 {
        self.units.iter().map(|unit| unit.physics.restarts()).sum()
    }

    /// Counts energies from now on.
    pub fn restart_counting(&mut self) {
        self.accountant.restart(self.now);
    }

    /// Runs for this long and hands every decision with the flows of its moment to `seen`.
    pub fn run(&mut self, time: Duration, mut seen: impl FnMut(&Decision, &Flows)) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + TICK;
            let flows = self.tick();
            if self.now >= self.next_cycle {
                self.next_cycle = self.now + self.site.settings.period;
                let decision = self.cycle();
                seen(&decision, &flows);
            }
        }
    }

    fn tick(&mut self) -> Flows {
        let now = self.now;
        let draws: Vec<Watts> = self.units.iter_mut().map(|unit| unit.physics.power(now)).collect();
        let hashrate = self.units.iter_mut().map(|unit| unit.physics.hashrate(now)).sum();
        let balance = self.plant.at(now.since_start());
        let circuits = self.wiring.circuits(&balance, &draws);
        let flows = Flows {
            generation: balance.generation(),
            other: balance.other(),
            fleet: draws.into_iter().sum(),
            hashrate,
        };
        self.accountant.sample(now, flows);
        for gauge in &mut self.gauges {
            let Some(truth) = gauge.circuit.and_then(|circuit| circuits.get(circuit)) else { continue };
            let share = 1.0 - (-TICK.as_secs_f64() / METER_LAG).exp();
            let before = gauge.filtered.unwrap_or(truth.get());
            let filtered = before + (truth.get() - before) * share;
            gauge.filtered = Some(filtered);
            if now >= gauge.next {
                gauge.next = now + gauge.period;
                let power = Reading { value: Watts::saturating(filtered), at: now };
                gauge.input = MeterInput::new(MeterStatus::Ok, Some(power));
            }
        }
        for (unit, spec) in self.units.iter_mut().zip(&self.site.miners) {
            let due = unit.read_backs.first().is_some_and(|at| *at <= now);
            if due {
                unit.read_backs.remove(0);
            }
            if due || now >= unit.next_poll {
                unit.next_poll = now + spec.poll_period;
                unit.poll(now);
            }
        }
        flows
    }

    fn cycle(&mut self) -> Decision {
        let snapshot = Snapshot::new(
            self.now,
            self.gauges.iter().map(|gauge| gauge.input).collect(),
            self.units.iter().map(|unit| unit.input.clone()).collect(),
        );
        let decision = step(&mut self.state, &snapshot);
        for command in &decision.commands {
            self.commands += 1;
            if let Some(unit) = self.units.get_mut(command.miner.0) {
                unit.obey(command.target, command.sequence, self.now + WIRE);
            }
        }
        decision
    }
}

impl Unit {
    fn poll(&mut self, now: Moment) {
        let activity = match self.physics.state(now) {
            MinerState::Rebooting => {
                self.input.contact = Contact::Unreachable { since: now };
                return;
            }
            MinerState::Asleep => Activity::Asleep,
            MinerState::Starting | MinerState::Tuning => Activity::Starting,
            MinerState::Hashing => Activity::Hashing,
            MinerState::Tripped => Activity::Fault("tripped".into()),
        };
        let status = MinerStatus {
            power: Measured::Value(self.physics.reported(now)),
            hashrate: Measured::Value(self.physics.hashrate(now)),
            activity,
            target: Measured::Value(self.target),
            range: None,
            points: None,
            uptime: Some(self.physics.uptime(now)),
        };
        self.input.contact = Contact::Reachable;
        self.input.status = Some(Reading { value: status, at: now });
    }

    fn obey(&mut self, target: Target, sequence: u64, at: Moment) {
        let asleep = self.target == Target::Sleep;
        match target {
            Target::Sleep => self.physics.sleep(at),
            Target::Power(power) => {
                let setting = match self.driver {
                    // Percent, rounded down, as the drivers do.
                    DriverKind::WhatsminerV2 | DriverKind::WhatsminerV3 => {
                        Setting::Percent((power.ratio(self.rated).unwrap_or(1.0) * 100.0).floor().min(100.0))
                    }
                    DriverKind::Vnish => Setting::Percent(
                        (power.ratio(self.rated).unwrap_or(1.0) * 100.0).floor().clamp(20.0, 100.0),
                    ),
                    // The replay's miner takes watts where the firmware has steps: the control law gives only powers
                    // that are steps.
                    _ => Setting::Watts(power),
                };
                if asleep {
                    self.physics.wake(at);
                }
                self.physics.set(setting, Pace::Quick, at);
            }
        }
        self.target = target;
        self.read_backs = READ_BACKS.iter().map(|after| at + *after).collect();
        self.input.delivery = Some(Delivery { sequence, target, at, outcome: Outcome::Accepted });
    }
}
