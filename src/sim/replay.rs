//! A site in simulated time: the same plant, the same simulated meters and miners with their faults, and the real
//! control law, without sockets.
//!
//! An hour takes seconds, so a test can hold the figures that the control law must reach, and a scenario can be
//! tried before it is run in real time. Values are judged as the program judges them, and sessions and polls follow its
//! times. What is left out is the wire itself: answers are not bytes, meters on one link do not wait for each other,
//! contacts and top nodes say nothing, and breakers are not asked.

mod gauge;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use super::fleet;
use super::meter::Dial;
use super::plant::{Balance, Mains, Plant, Wiring};
use super::scenario::{InitialMiners, MeterFault, MinerFault, Scenario};
use super::script::{Scheduled, Source, Stage, Turn, play, power_cut, schedule, sources};
use super::site::SimError;
use super::truth::{Accountant, Flows, Totals};
use crate::clock::Moment;
use crate::config::Config;
use crate::control::decision::Decision;
use crate::control::site::{MinerId, Site};
use crate::control::snapshot::{Snapshot, Target};
use crate::control::{State, step};
use crate::units::Watts;
use gauge::Gauge;
use unit::Unit;

/// Step of the physics.
const TICK: Duration = Duration::from_millis(50);

/// A site in simulated time.
pub struct Replay {
    site: Arc<Site>,
    state: State,
    plant: Plant,
    wiring: Wiring,
    units: Vec<Unit>,
    gauges: Vec<(Gauge, Source)>,
    schedule: Vec<Scheduled>,
    /// Outages of the site that last.
    outages: u32,
    accountant: Accountant,
    now: Moment,
    next_cycle: Moment,
    commands: u64,
    circuits: Vec<Watts>,
}

impl Replay {
    /// Builds the site of a configuration in a scenario.
    ///
    /// # Errors
    /// The scenario does not fit the site.
    pub fn new(config: &Config, scenario: &Scenario) -> Result<Self, SimError> {
        let site = config.site.clone();
        let now = Moment::START;
        let built = fleet::build(config, scenario)?;
        let units = built
            .into_iter()
            .zip(site.miners.iter().zip(&config.miners))
            .zip(0_u64..)
            .map(|((sim, (spec, connection)), number)| {
                let phase = f64::from(u8::try_from(number % 20).unwrap_or(0)) / 20.0;
                let target = match scenario.miners {
                    InitialMiners::Hashing { fraction } => {
                        Target::Power(connection.rated.scaled(fraction).max(spec.minimum()))
                    }
                    InitialMiners::Asleep => Target::Sleep,
                };
                Unit::new(sim, spec, connection, now + spec.poll_period.mul_f64(phase), target)
            })
            .collect();
        // The combined meters of a site stand behind its devices and are the control law's to work out.
        let gauges = sources(&site, scenario)?
            .into_iter()
            .zip(site.meters.iter().zip(&config.meters))
            .enumerate()
            .map(|(position, (source, (meter, connection)))| {
                let dial = Dial::of(scenario, position, scenario.metering(&meter.name));
                (Gauge::new(config, &meter.name, connection, dial), source)
            })
            .collect();
        let schedule = schedule(config, scenario, |_, fault| fleet::parsed(fault).map(|_| ()))?;
        let maximum = site.miners.iter().map(|miner| miner.maximum()).sum();
        Ok(Self {
            state: State::new(site.clone()),
            plant: Plant::new(scenario),
            wiring: Wiring::new(scenario, &site)?,
            units,
            gauges,
            schedule,
            outages: 0,
            accountant: Accountant::new(maximum, now),
            now,
            next_cycle: now + site.settings.period,
            commands: 0,
            circuits: Vec::new(),
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
        self.units.iter().map(Unit::restarts).sum()
    }

    /// The simulated time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// What is known of the site at present: what the control law would be told.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(
            self.now,
            self.gauges.iter().map(|(gauge, _)| gauge.input()).collect(),
            self.units.iter().map(|unit| unit.input().clone()).collect(),
        )
    }

    /// The true power into every circuit, import positive, in the order of the site.
    pub fn circuits(&self) -> &[Watts] {
        &self.circuits
    }

    /// The true draw of every miner, in the order of the site.
    pub fn draws(&self) -> Vec<Watts> {
        self.units.iter().map(|unit| unit.power(self.now)).collect()
    }

    /// Gives a miner an order from outside of the control law, as a shed would go. For sites that only observe.
    pub fn order(&mut self, miner: MinerId, target: Target, sequence: u64) {
        if let Some(unit) = self.units.get_mut(miner.0) {
            unit.order(target, sequence, true, self.now);
        }
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
        let time = now.since_start();
        let mut schedule = std::mem::take(&mut self.schedule);
        play(&mut schedule, time, self);
        self.schedule = schedule;

        self.units.iter_mut().for_each(|unit| unit.tick(now));
        let draws: Vec<Watts> = self.units.iter().map(|unit| unit.power(now)).collect();
        let hashrate = self.units.iter().map(|unit| unit.hashrate(now)).sum();
        let dark = self.outages > 0;
        let balance = if dark { Balance::DARK } else { self.plant.at(time) };
        let mains = if dark { Mains::GONE } else { self.plant.mains(time) };
        self.circuits = if dark { self.wiring.dead() } else { self.wiring.circuits(&balance, &draws) };
        let flows = Flows {
            generation: balance.generation(),
            other: balance.other(),
            fleet: draws.into_iter().sum(),
            hashrate,
        };
        self.accountant.sample(now, flows);
        for (gauge, source) in &mut self.gauges {
            let truth = match source {
                Source::Circuit(circuit) => self.circuits.get(circuit.0).copied().unwrap_or(Watts::ZERO),
                Source::Reading(script) => script.value(time, flows.surplus()),
                Source::Contacts(bits) => Watts::saturating(f64::from(*bits)),
            };
            gauge.tick(truth, mains, now);
        }
        flows
    }

    fn cycle(&mut self) -> Decision {
        let snapshot = self.snapshot();
        let decision = step(&mut self.state, &snapshot);
        for command in &decision.commands {
            self.commands += 1;
            if let Some(unit) = self.units.get_mut(command.miner.0) {
                unit.command(command, self.now);
            }
        }
        decision
    }
}

impl Stage for Replay {
    fn meter(&mut self, position: usize, fault: MeterFault, turn: Turn) {
        // Behind the meters stand groups of contacts, which are not replayed.
        if let Some((gauge, _)) = self.gauges.get_mut(position) {
            gauge.turn(fault, turn);
        }
    }

    fn miner(&mut self, position: usize, fault: &MinerFault, turn: Turn) {
        if let Some(unit) = self.units.get(position) {
            unit.turn(fault, turn, self.now);
        }
    }

    fn contact(&mut self, _: usize, _: u32) {}

    fn site(&mut self, boot: Duration, turn: Turn) {
        self.outages = match turn {
            Turn::Begins => self.outages.saturating_add(1),
            Turn::Ends => self.outages.saturating_sub(1),
        };
        for (gauge, _) in &mut self.gauges {
            gauge.turn(MeterFault::Refuse, turn);
        }
        let cut = power_cut(boot);
        for unit in &self.units {
            unit.turn(&cut, turn, self.now);
        }
    }
}
