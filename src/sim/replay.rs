//! A site in simulated time: the same plant, the same simulated meters and miners with their faults, and the real
//! control law, without sockets.
//!
//! An hour takes seconds, so a test can hold the figures that the control law must reach, and a scenario can be
//! tried before it is run in real time. Values are judged as the program judges them, and sessions and polls follow its
//! times. What is left out is the wire itself: answers are not bytes, meters on one link do not wait for each other,
//! contacts and top nodes say nothing, and breakers are not asked.
//!
//! Time goes on in one of two ways ([`Steps`]). *Fine*: all is looked at every 50 ms. *Adaptive*: from one thing that happens
//! to the next (a meter's new value, a poll, a command that arrives, a cycle), and of the miners only those are looked at
//! that move or have something to do: between two events the physics of a miner has an exact solution. In a **lull**, while
//! nothing moves, nothing was commanded for a while and nothing can be, cycles and polls are further apart
//! (`replay/lull.rs`).

mod gauge;
mod lull;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use super::curve::Curve;
use super::fleet;
use super::jobs::Work;
use super::meter::Dial;
use super::miner::Initial;
use super::plant::{Balance, Mains, Plant, Wiring, circuit};
use super::scenario::{MeterFault, MinerFault, OrderEvent, Scenario};
use super::script::{Scheduled, Source, Stage, Turn, play, power_cut, schedule, sources};
use super::site::SimError;
use super::truth::{Accountant, Flows, Totals};
use crate::clock::Moment;
use crate::config::Config;
use crate::control::decision::Decision;
use crate::control::signal::{Active, Basis, Urgency, Why};
use crate::control::site::{CircuitId, MinerId, Scope, Site, SourceId};
use crate::control::snapshot::{MinerInput, OrderCap, Snapshot, Target};
use crate::control::{State, step};
use crate::units::{Hashrate, Watts};
use gauge::Gauge;
use lull::Lull;
use unit::Unit;

/// Step of the physics where all is looked at.
const TICK: Duration = Duration::from_millis(50);

/// The longest adaptive step outside of a lull: what is steep in between is not missed.
const LONGEST: Duration = Duration::from_millis(500);

/// Flows are told at least as often, whatever the steps.
const SAMPLE: Duration = Duration::from_secs(1);

/// The operator stands first among the sources of orders.
const OPERATOR: SourceId = SourceId(0);

/// How time goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Every 50 ms.
    Fine,
    /// From event to event.
    Adaptive,
}

/// Who decides in the place of the control law.
pub trait Pilot: Send {
    /// What is ordered now, when this flows; asked every [`Pilot::period`].
    fn decide(&mut self, site: &Site, snapshot: &Snapshot, flows: &Flows) -> Vec<(MinerId, Target)>;

    /// Time between two decisions.
    fn period(&self) -> Duration;
}

/// Who sees what happens.
pub trait Watcher {
    /// What flows at a moment. Moments come in order, at least one every second; in between all runs straight.
    fn flows(&mut self, at: Moment, flows: &Flows);

    /// What each member draws at a moment that was told last, in the order of the site. Of a long step its end alone is told.
    fn members(&mut self, _: Moment, _: &[Watts]) {}

    /// A decision of the control law, and what flows at its moment.
    fn decision(&mut self, _: &Decision, _: &Flows) {}
}

/// How a site is replayed.
pub struct Setup {
    /// A recorded surplus that stands in for the scenario's sun, generation and load.
    pub recorded: Option<Arc<Curve>>,
    /// When it begins on the scale of the scenario and of the recording.
    pub start: Moment,
    /// How time goes on.
    pub steps: Steps,
    /// A cycle comes early for a fresh meter value, but not sooner than this part of the period after the one before; at 1
    /// there is one cycle each period and no more.
    pub earliest: f64,
    /// How far apart cycles may be while a recorded surplus hardly moves; see `replay/lull.rs`.
    pub calm: Option<Duration>,
    /// Who decides in the place of the control law.
    pub pilot: Option<Box<dyn Pilot>>,
    /// How each miner begins, in the order of the site; what is missing begins as the scenario says.
    pub initial: Vec<Initial>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            recorded: None,
            start: Moment::START,
            steps: Steps::Fine,
            earliest: 1.0,
            calm: None,
            pilot: None,
            initial: Vec::new(),
        }
    }
}

/// An order of the scenario and the circuit that it caps.
#[derive(Debug)]
struct Order {
    event: OrderEvent,
    circuit: CircuitId,
}

impl Order {
    fn active(&self) -> OrderCap {
        let event = &self.event;
        OrderCap {
            source: OPERATOR,
            active: Active {
                circuit: self.circuit,
                scope: if event.miners { Scope::Miners } else { Scope::Import },
                cap: event.cap,
                why: Why::Order("scenario".into()),
                basis: Basis::Instant,
                urgency: if event.emergency { Urgency::Emergency } else { Urgency::Normal },
            },
        }
    }
}

/// A site in simulated time.
pub struct Replay {
    site: Arc<Site>,
    state: State,
    plant: Plant,
    recorded: Option<Arc<Curve>>,
    wiring: Wiring,
    units: Vec<Unit>,
    gauges: Vec<(Gauge, Source)>,
    schedule: Vec<Scheduled>,
    orders: Vec<Order>,
    /// Outages of the site that last.
    outages: u32,
    accountant: Accountant,
    now: Moment,
    steps: Steps,
    /// The longest adaptive step outside of a lull.
    longest: Duration,
    /// Servers have jobs, which move by themselves.
    works: bool,
    pilot: Option<Box<dyn Pilot>>,
    earliest: f64,
    calm: Option<Duration>,
    last_cycle: Moment,
    next_cycle: Moment,
    /// A meter was read since the last cycle.
    fresh: bool,
    commands: u64,
    circuits: Vec<Watts>,
    /// Of each miner, its draw, its hashrate, until when the draw stands still, and when the unit has something to do.
    draws: Vec<Watts>,
    hashrates: Vec<Hashrate>,
    still: Vec<Moment>,
    due: Vec<Moment>,
    lull: Lull,
    inputs: Vec<MinerInput>,
    last: Option<(Moment, Flows)>,
}

impl Replay {
    /// Builds the site of a configuration in a scenario.
    ///
    /// # Errors
    /// The scenario does not fit the site.
    pub fn new(config: &Config, scenario: &Scenario) -> Result<Self, SimError> {
        Self::with(config, scenario, Setup::default())
    }

    /// Builds it in a way of one's own.
    ///
    /// # Errors
    /// The scenario does not fit the site.
    pub fn with(config: &Config, scenario: &Scenario, setup: Setup) -> Result<Self, SimError> {
        let site = config.site.clone();
        let now = setup.start;
        let built = fleet::build(config, scenario, &setup.initial)?;
        let units: Vec<Unit> = built
            .into_iter()
            .zip(site.miners.iter().zip(&config.miners))
            .zip(0_usize..)
            .map(|((sim, (spec, connection)), number)| {
                let phase = f64::from(u8::try_from(number % 20).unwrap_or(0)) / 20.0;
                let target = match fleet::begins(scenario, &setup.initial, number, spec) {
                    Initial::Hashing { fraction } => {
                        Target::Power(connection.rated.scaled(fraction).max(spec.minimum()))
                    }
                    Initial::Asleep => Target::Sleep,
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
                let dial = if setup.steps == Steps::Adaptive { dial.looked_at_seldom() } else { dial };
                (Gauge::new(config, &meter.name, connection, dial, now), source)
            })
            .collect();
        let schedule = schedule(config, scenario, |_, fault| fleet::parsed(fault).map(|_| ()))?;
        let mut orders = Vec::new();
        for event in &scenario.orders {
            orders.push(Order { circuit: circuit(scenario, &site, &event.circuit)?, event: event.clone() });
        }
        let maximum = site.miners.iter().map(|miner| miner.maximum()).sum();
        let plant = match &setup.recorded {
            Some(curve) => Plant::recorded(scenario, curve.clone()),
            None => Plant::new(scenario),
        };
        let miners = units.len();
        let period = setup.pilot.as_ref().map_or(site.settings.period, |pilot| pilot.period());
        Ok(Self {
            state: State::new(site.clone()),
            plant,
            recorded: setup.recorded,
            wiring: Wiring::new(scenario, &site)?,
            units,
            gauges,
            schedule,
            orders,
            outages: 0,
            accountant: Accountant::new(maximum, now),
            now,
            steps: setup.steps,
            longest: if scenario.jobs.iter().any(|job| job.demand.swings()) { TICK } else { LONGEST },
            works: !scenario.jobs.is_empty(),
            pilot: setup.pilot,
            earliest: setup.earliest,
            calm: setup.calm,
            last_cycle: now,
            next_cycle: now + period,
            fresh: false,
            commands: 0,
            circuits: Vec::new(),
            draws: vec![Watts::ZERO; miners],
            hashrates: vec![Hashrate::ZERO; miners],
            still: vec![now; miners],
            due: vec![now; miners],
            lull: Lull::default(),
            inputs: vec![MinerInput::PENDING; miners],
            last: None,
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

    /// How often miners were woken, and how often put to sleep, since the start.
    pub fn turns(&self) -> (u64, u64) {
        self.units.iter().map(Unit::turns).fold((0, 0), |(starts, sleeps), (started, slept)| {
            (starts + u64::from(started), sleeps + u64::from(slept))
        })
    }

    /// The simulated time.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// What is known of the site at present: what the control law would be told.
    pub fn snapshot(&self) -> Snapshot {
        self.frozen(self.units.iter().map(|unit| unit.input().clone()).collect())
    }

    fn frozen(&self, miners: Vec<MinerInput>) -> Snapshot {
        let time = self.now.since_start();
        let mut snapshot =
            Snapshot::new(self.now, self.gauges.iter().map(|(gauge, _)| gauge.input()).collect(), miners);
        let holding = self.orders.iter().filter(|order| order.event.holds(time));
        snapshot.orders = holding.map(Order::active).collect();
        snapshot
    }

    /// The true power into every circuit, import positive, in the order of the site.
    pub fn circuits(&self) -> &[Watts] {
        &self.circuits
    }

    /// The true draw of every miner, in the order of the site.
    pub fn draws(&self) -> Vec<Watts> {
        self.units.iter().map(|unit| unit.power(self.now)).collect()
    }

    /// The work of every member of the site since the start, in its order; `None` for whom the scenario gives no job.
    pub fn work(&self) -> Vec<Option<Work>> {
        self.units.iter().map(Unit::work).collect()
    }

    /// Gives a miner an order from outside of the control law, as a shed would go. For sites that only observe.
    pub fn order(&mut self, miner: MinerId, target: Target, sequence: u64) {
        if let Some(unit) = self.units.get_mut(miner.0) {
            unit.order(target, sequence, true, self.now);
        }
        self.look_at(miner.0);
    }

    /// Counts energies from now on.
    pub fn restart_counting(&mut self) {
        self.accountant.restart(self.now);
    }

    /// Runs for this long and hands every decision with the flows of its moment to `seen`.
    pub fn run(&mut self, time: Duration, seen: impl FnMut(&Decision, &Flows)) {
        struct Decisions<F>(F);
        impl<F: FnMut(&Decision, &Flows)> Watcher for Decisions<F> {
            fn flows(&mut self, _: Moment, _: &Flows) {}
            fn decision(&mut self, decision: &Decision, flows: &Flows) {
                (self.0)(decision, flows);
            }
        }
        self.watch(time, &mut Decisions(seen));
    }

    /// Runs for this long under the eyes of a watcher.
    pub fn watch(&mut self, time: Duration, watcher: &mut impl Watcher) {
        let end = self.now + time;
        while self.now < end {
            self.now = match self.steps {
                Steps::Fine => self.now + TICK,
                Steps::Adaptive => self.next(end),
            };
            let flows = self.tick(watcher);
            if self.is_time() {
                self.last_cycle = self.now;
                self.fresh = false;
                let decision = self.cycle(&flows);
                self.next_cycle = self.now + self.pause();
                if let Some(decision) = decision {
                    watcher.decision(&decision, &flows);
                }
            }
        }
    }

    fn is_time(&self) -> bool {
        let early = self.pilot.is_none() && self.fresh && !self.lull.holds(self.now) && self.earliest < 1.0;
        let soonest = self.last_cycle + self.site.settings.period.mul_f64(self.earliest.clamp(0.0, 1.0));
        self.now >= self.next_cycle || (early && self.now >= soonest)
    }

    /// From this cycle to the next at the latest.
    fn pause(&mut self) -> Duration {
        let period = match &self.pilot {
            Some(pilot) => pilot.period(),
            None => self.site.settings.period,
        };
        if self.steps == Steps::Fine {
            return period;
        }
        let lull = self.look_for_lull(period);
        self.lull.begin(self.now, lull);
        lull.unwrap_or(period)
    }

    /// When the next thing happens.
    fn next(&self, end: Moment) -> Moment {
        let soonest = self.now + Duration::from_millis(1);
        let script = self.schedule.iter().filter_map(Scheduled::next).map(Moment::after_start);
        let mut next = script.fold(end.min(self.next_cycle), Moment::min);
        if !self.lull.holds(self.now) {
            next = next.min(self.now + self.longest);
            for (gauge, _) in &self.gauges {
                next = next.min(gauge.due());
            }
            if self.fresh && self.earliest < 1.0 && self.pilot.is_none() {
                let early = self.last_cycle + self.site.settings.period.mul_f64(self.earliest);
                next = next.min(early);
            }
        }
        next.max(soonest)
    }

    /// A unit is to be looked at, and its draw with it.
    fn look_at(&mut self, position: usize) {
        if let Some(due) = self.due.get_mut(position) {
            *due = self.now;
        }
        if let Some(still) = self.still.get_mut(position) {
            *still = self.now;
        }
    }

    fn tick(&mut self, watcher: &mut impl Watcher) -> Flows {
        let now = self.now;
        let time = now.since_start();
        let mut schedule = std::mem::take(&mut self.schedule);
        if play(&mut schedule, time, self) {
            self.still.iter_mut().for_each(|still| *still = now);
            self.due.iter_mut().for_each(|due| *due = now);
        }
        self.schedule = schedule;

        self.tick_units();
        let fleet: Watts = self.draws.iter().copied().sum();
        let hashrate: Hashrate = self.hashrates.iter().copied().sum();
        self.between(fleet, hashrate, watcher);
        let dark = self.outages > 0;
        let balance = if dark { Balance::DARK } else { self.plant.at(time) };
        let mains = if dark { Mains::GONE } else { self.plant.mains(time) };
        self.circuits = if dark { self.wiring.dead() } else { self.wiring.circuits(&balance, &self.draws) };
        let flows = Flows { generation: balance.generation(), other: balance.other(), fleet, hashrate };
        self.accountant.sample(now, flows);
        watcher.flows(now, &flows);
        watcher.members(now, &self.draws);
        self.last = Some((now, flows));
        for (gauge, source) in &mut self.gauges {
            let truth = match source {
                Source::Circuit(circuit) => self.circuits.get(circuit.0).copied().unwrap_or(Watts::ZERO),
                Source::Reading(script) => script.value(time, flows.surplus()),
                Source::Contacts(bits) => Watts::saturating(f64::from(*bits)),
            };
            self.fresh |= gauge.tick(truth, mains, now);
        }
        flows
    }

    /// Lets every unit do what it has to until now, and takes its draw where that has moved.
    fn tick_units(&mut self) {
        let now = self.now;
        let fine = self.steps == Steps::Fine;
        let lull = self.lull.holds(self.last.map_or(now, |(at, _)| at));
        let states = self.due.iter_mut().zip(self.still.iter_mut());
        let powers = self.draws.iter_mut().zip(self.hashrates.iter_mut());
        for ((unit, (due, still)), (draw, hashrate)) in self.units.iter_mut().zip(states).zip(powers) {
            if fine {
                unit.tick(now);
                (*draw, *hashrate) = (unit.power(now), unit.hashrate(now));
                continue;
            }
            if *due <= now {
                if lull {
                    unit.skip(now);
                    *due = unit.due(*due);
                }
                while *due <= now {
                    unit.tick(*due);
                    *due = unit.due(*due);
                }
                *still = now;
            }
            if *still <= now {
                (*draw, *hashrate, *still) = unit.pulse(now);
            }
        }
    }

    /// Tells the flows of the seconds that a long step left out: the fleet in proportion, the plant as it was.
    fn between(&mut self, fleet: Watts, hashrate: Hashrate, watcher: &mut impl Watcher) {
        let Some((from, flows)) = self.last else { return };
        if self.now.since(from) <= SAMPLE || self.outages > 0 {
            return;
        }
        let span = self.now.since(from).as_secs_f64();
        let mut at = from + SAMPLE;
        while at < self.now {
            let share = at.since(from).as_secs_f64() / span;
            let balance = self.plant.at(at.since_start());
            let flows = Flows {
                generation: balance.generation(),
                other: balance.other(),
                fleet: flows.fleet + (fleet - flows.fleet).scaled(share),
                hashrate: flows.hashrate + (hashrate - flows.hashrate).scaled(share),
            };
            self.accountant.sample(at, flows);
            watcher.flows(at, &flows);
            at = at + SAMPLE;
        }
    }

    fn cycle(&mut self, flows: &Flows) -> Option<Decision> {
        let mut inputs = std::mem::take(&mut self.inputs);
        for (input, unit) in inputs.iter_mut().zip(&mut self.units) {
            if let Some(news) = unit.news() {
                input.clone_from(news);
            }
        }
        let snapshot = self.frozen(inputs);
        let decision = if let Some(pilot) = &mut self.pilot {
            for (miner, target) in pilot.decide(&self.site, &snapshot, flows) {
                self.commands += 1;
                let sequence = self.commands;
                if let Some(unit) = self.units.get_mut(miner.0) {
                    unit.order(target, sequence, true, self.now);
                }
                self.look_at(miner.0);
                self.lull.disturb();
            }
            None
        } else {
            let decision = step(&mut self.state, &snapshot);
            for command in &decision.commands {
                self.commands += 1;
                if let Some(unit) = self.units.get_mut(command.miner.0) {
                    unit.command(command, self.now);
                }
                self.look_at(command.miner.0);
                self.lull.disturb();
            }
            Some(decision)
        };
        self.inputs = snapshot.miners;
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
