//! The physics of the site without its miners: what is generated, what others draw, and how the power of every
//! circuit follows from the tree.
//!
//! The mains are taken as stiff: they deliver and take whatever is left over, at the voltage and frequency that the
//! scenario says, whatever the site does.

use std::sync::Arc;
use std::time::Duration;

use super::curve::Curve;
use super::random::{lattice, smooth_noise, stream, unit};
use super::scenario::{Change, Machine, Named, PlantEvent, Scenario, ScenarioError};
use super::sun::Sun;
use crate::control::site::{CircuitId, Site};
use crate::units::{Watts, WattsPerSecond};

/// Period of the fine noise of the other load.
const NOISE_PERIOD: Duration = Duration::from_secs(3);
const NOISE_STREAM: u64 = 0x61;
const SWING_STREAM: u64 = 0x62;
const MACHINE_KIND: u32 = 0x63;

/// Generation and other load at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Balance {
    /// Output of the photovoltaic plant; positive is generation, a little below zero at night.
    pub sun: Watts,
    /// Generation that does not change. Not negative.
    pub steady: Watts,
    /// The other load, without the circuits' auxiliaries.
    pub load: Watts,
    /// Loads that the scenario puts on circuits of their own, in the order in which it names them.
    pub placed: Vec<Watts>,
    /// Sum of the circuits' auxiliaries.
    pub auxiliaries: Watts,
}

impl Balance {
    /// A site without power.
    pub const DARK: Self = Self {
        sun: Watts::ZERO,
        steady: Watts::ZERO,
        load: Watts::ZERO,
        placed: Vec::new(),
        auxiliaries: Watts::ZERO,
    };

    /// All local generation; positive.
    pub fn generation(&self) -> Watts {
        self.sun + self.steady
    }

    /// All load that is not a miner.
    pub fn other(&self) -> Watts {
        self.load + self.auxiliaries + self.placed()
    }

    /// Sum of the loads that have circuits of their own.
    fn placed(&self) -> Watts {
        self.placed.iter().copied().sum()
    }

    /// Generation that nobody but miners could use: not below zero.
    pub fn surplus(&self) -> Watts {
        (self.generation() - self.other()).at_least_zero()
    }
}

/// The state of the mains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mains {
    /// In hertz.
    pub frequency: f64,
    /// From each phase to neutral, in volts.
    pub voltage: f64,
}

impl Mains {
    /// As they should be.
    pub const NOMINAL: Self = Self { frequency: 50.0, voltage: 230.0 };

    /// Not there.
    pub const GONE: Self = Self { frequency: 0.0, voltage: 0.0 };
}

/// The plant of a scenario. A pure function of scenario time.
#[derive(Debug, Clone)]
pub struct Plant {
    scenario: Scenario,
    sun: Sun,
    auxiliaries: Watts,
    /// What was recorded stands in for generation and load.
    recorded: Option<Arc<Curve>>,
}

impl Plant {
    /// Builds the plant.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            sun: Sun::new(&scenario.sun, scenario.seed),
            auxiliaries: scenario.auxiliaries.iter().map(|(_, power)| *power).sum(),
            scenario: scenario.clone(),
            recorded: None,
        }
    }

    /// The plant of a scenario in which a recorded surplus stands in for its sun, its other generation and its other load:
    /// what is above zero counts as the output of the photovoltaic plant, what is below as other load. Loads on circuits of
    /// their own, auxiliaries and events stay.
    pub fn recorded(scenario: &Scenario, curve: Arc<Curve>) -> Self {
        Self { recorded: Some(curve), ..Self::new(scenario) }
    }

    /// Generation and other load at a scenario time.
    pub fn at(&self, time: Duration) -> Balance {
        // Where no sun is described, its events change the generation that there is.
        let steady = self.scenario.steady_generation;
        let sunless = self.scenario.sun.peak <= Watts::ZERO;
        let recorded = self.recorded.as_ref().map(|curve| curve.at(time));
        let (sun, steady) = match recorded {
            Some(surplus) => (surplus.at_least_zero(), Watts::ZERO),
            None if sunless => (steady, Watts::ZERO),
            None => (self.sun.output(time), steady),
        };
        let mut balance = Balance {
            sun,
            steady,
            load: recorded.map_or_else(|| self.natural_load(time), |surplus| (-surplus).at_least_zero()),
            placed: placed(&self.scenario).map(|(_, load)| load.at(time)).collect(),
            auxiliaries: self.auxiliaries,
        };
        for event in &self.scenario.plant_events {
            let weight = event.weight(time);
            if weight <= 0.0 || event.circuit.is_some() {
                continue;
            }
            let towards = |from: Watts, to: Watts| from + (to - from).scaled(weight);
            match event.change {
                Change::LoadBy(by) => balance.load += by.scaled(weight),
                Change::SunTo(to) => balance.sun = towards(balance.sun, to),
                Change::SunTimes(factor) => balance.sun = towards(balance.sun, balance.sun.scaled(factor)),
                Change::SurplusTo(to) => {
                    let wanted = balance.generation() - to - balance.auxiliaries - balance.placed();
                    balance.load = towards(balance.load, wanted);
                }
                Change::FrequencyTo(_) | Change::VoltageTo(_) => {}
            }
        }
        balance
    }

    /// Whether anything changes in it beside what was recorded.
    pub fn is_eventful(&self) -> bool {
        !self.scenario.plant_events.is_empty()
    }

    /// The mains at a scenario time.
    pub fn mains(&self, time: Duration) -> Mains {
        let mut mains = Mains::NOMINAL;
        for event in &self.scenario.plant_events {
            let weight = event.weight(time);
            match event.change {
                Change::FrequencyTo(to) => mains.frequency += (to - mains.frequency) * weight,
                Change::VoltageTo(to) => mains.voltage += (to - mains.voltage) * weight,
                _ => {}
            }
        }
        mains
    }

    /// Upper bound for how fast the surplus changes by itself in scenario time, events left aside.
    pub fn steepest_ramp(&self) -> WattsPerSecond {
        let load = &self.scenario.load;
        let swing = load.swing.get().abs() * std::f64::consts::TAU / load.swing_period.as_secs_f64();
        let noise = load.noise.get().abs() * 2.0 * super::random::STEEPEST_STEP / NOISE_PERIOD.as_secs_f64();
        let machines: f64 = load
            .machines
            .iter()
            .map(|machine| machine.power.get().abs() / machine.ramp.as_secs_f64().max(1e-3))
            .sum();
        let squares: f64 = load.squares.iter().map(|square| square.power.get().abs() / 1e-3).sum();
        self.sun.steepest_ramp() + WattsPerSecond::saturating(swing + noise + machines + squares)
    }

    fn natural_load(&self, time: Duration) -> Watts {
        let load = &self.scenario.load;
        let seed = self.scenario.seed;
        let (_, into) = lattice(time, load.swing_period);
        let phase = (into + unit(seed, SWING_STREAM, 0)) * std::f64::consts::TAU;
        let noise = smooth_noise(seed, NOISE_STREAM, time, NOISE_PERIOD);
        let machines: Watts = load
            .machines
            .iter()
            .enumerate()
            .map(|(position, machine)| running(machine, seed, stream(MACHINE_KIND, position), time))
            .sum();
        let squares: Watts =
            load.squares.iter().filter(|square| square.circuit.is_none()).map(|square| square.at(time)).sum();
        squares + load.base + load.swing.scaled(phase.sin()) + load.noise.scaled(noise) + machines
    }
}

/// A load with a circuit of its own.
enum Placed<'a> {
    Square(&'a super::scenario::Square),
    Step(&'a PlantEvent, Watts),
}

impl Placed<'_> {
    fn at(&self, time: Duration) -> Watts {
        match self {
            Self::Square(square) => square.at(time),
            Self::Step(event, by) => by.scaled(event.weight(time)),
        }
    }
}

/// All loads with circuits of their own, always in the same order.
fn placed(scenario: &Scenario) -> impl Iterator<Item = (&Named, Placed<'_>)> {
    let squares = scenario
        .load
        .squares
        .iter()
        .filter_map(|square| Some((square.circuit.as_ref()?, Placed::Square(square))));
    let steps = scenario.plant_events.iter().filter_map(|event| match (&event.circuit, event.change) {
        (Some(circuit), Change::LoadBy(by)) => Some((circuit, Placed::Step(event, by))),
        _ => None,
    });
    squares.chain(steps)
}

/// What a machine draws: in every cycle it starts at another moment of its pause.
fn running(machine: &Machine, seed: u64, stream: u64, time: Duration) -> Watts {
    let cycle = machine.on.saturating_add(machine.off);
    let (number, into) = lattice(time, cycle);
    let into = into * cycle.as_secs_f64();
    let starts = machine.off.as_secs_f64() * unit(seed, stream, number);
    let ends = starts + machine.on.as_secs_f64();
    let ramp = machine.ramp.as_secs_f64().max(1e-3);
    let level = ((into - starts) / ramp).min((ends - into) / ramp).clamp(0.0, 1.0);
    machine.power.scaled(level)
}

/// Where generation, load and miners hang in the site's tree.
#[derive(Debug, Clone)]
pub struct Wiring {
    parents: Vec<Option<CircuitId>>,
    miners: Vec<CircuitId>,
    sun: CircuitId,
    load: CircuitId,
    placed: Vec<CircuitId>,
    auxiliaries: Vec<(CircuitId, Watts)>,
}

/// The root circuit: [`Site::circuits`] begins with it.
const ROOT: CircuitId = CircuitId(0);

impl Wiring {
    /// Looks up the circuits that a scenario names.
    ///
    /// # Errors
    /// A circuit that the site does not have.
    pub fn new(scenario: &Scenario, site: &Site) -> Result<Self, ScenarioError> {
        let find = |name: &Named| circuit(scenario, site, name);
        let or_root = |name: &Option<Named>| name.as_ref().map_or(Ok(ROOT), find);
        let auxiliaries: Result<_, _> =
            scenario.auxiliaries.iter().map(|(name, power)| Ok((find(name)?, *power))).collect();
        Ok(Self {
            parents: site.circuits.iter().map(|circuit| circuit.parent).collect(),
            miners: site.miners.iter().map(|miner| miner.circuit).collect(),
            sun: or_root(&scenario.sun.circuit)?,
            load: or_root(&scenario.load.circuit)?,
            placed: placed(scenario).map(|(name, _)| find(name)).collect::<Result<_, _>>()?,
            auxiliaries: auxiliaries?,
        })
    }

    /// The power into every circuit of a site without power.
    pub fn dead(&self) -> Vec<Watts> {
        vec![Watts::ZERO; self.parents.len()]
    }

    /// The power into every circuit, import positive, in the order of the site. Miners without an entry in
    /// `miners` count as zero. Steady generation feeds the root.
    pub fn circuits(&self, balance: &Balance, miners: &[Watts]) -> Vec<Watts> {
        let mut power = vec![Watts::ZERO; self.parents.len()];
        let mut add = |circuit: CircuitId, watts: Watts| {
            if let Some(slot) = power.get_mut(circuit.0) {
                *slot += watts;
            }
        };
        add(ROOT, -balance.steady);
        add(self.sun, -balance.sun);
        add(self.load, balance.load);
        for (circuit, watts) in self.placed.iter().zip(&balance.placed) {
            add(*circuit, *watts);
        }
        for (circuit, watts) in &self.auxiliaries {
            add(*circuit, *watts);
        }
        for (circuit, watts) in self.miners.iter().zip(miners) {
            add(*circuit, *watts);
        }
        // A parent stands before its children, so from the end every child is complete when it is added.
        for (index, parent) in self.parents.iter().enumerate().rev() {
            let own = power.get(index).copied().unwrap_or(Watts::ZERO);
            if let Some(slot) = parent.and_then(|parent| power.get_mut(parent.0)) {
                *slot += own;
            }
        }
        power
    }
}

/// Looks up a circuit by the name that a scenario gives.
///
/// # Errors
/// The names that there are.
pub fn circuit(scenario: &Scenario, site: &Site, name: &Named) -> Result<CircuitId, ScenarioError> {
    let position = site.circuits.iter().position(|circuit| circuit.name == name.text);
    position.map(CircuitId).ok_or_else(|| {
        let names: Vec<_> = site.circuits.iter().map(|circuit| circuit.name.as_str()).collect();
        scenario.error(
            name.place,
            format!("the site has no circuit `{}`; it has {}", name.text, names.join(", ")),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = r#"
description = "a tree"
[sun]
peak = "1 MW"
start = "23:00"
circuit = "roof"
[generation]
steady = "100 kW"
[load]
base = "60 kW"
circuit = "hall"
[auxiliary]
container = "5 kW"
[[event]]
at = "0s"
sun = { to = "300 kW" }
"#;

    /// pcc → hall → container, pcc → roof; two miners in the container, one in the hall.
    fn wiring(scenario: &Scenario) -> Wiring {
        let id = |name: &Named| match name.text.as_str() {
            "hall" => CircuitId(1),
            "container" => CircuitId(2),
            "roof" => CircuitId(3),
            other => panic!("{other}"),
        };
        Wiring {
            parents: vec![None, Some(CircuitId(0)), Some(CircuitId(1)), Some(CircuitId(0))],
            miners: vec![CircuitId(2), CircuitId(2), CircuitId(1)],
            sun: id(scenario.sun.circuit.as_ref().unwrap()),
            load: id(scenario.load.circuit.as_ref().unwrap()),
            placed: placed(scenario).map(|(name, _)| id(name)).collect(),
            auxiliaries: scenario.auxiliaries.iter().map(|(name, power)| (id(name), *power)).collect(),
        }
    }

    #[test]
    fn every_circuit_carries_what_hangs_below_it() {
        let scenario = Scenario::parse("tree.toml", SITE).unwrap();
        let balance = Plant::new(&scenario).at(Duration::ZERO);
        let draws = [3.0, 4.0, 10.0].map(Watts::kilowatts);
        let powers = wiring(&scenario).circuits(&balance, &draws);
        let expected = [60.0 + 5.0 + 17.0 - 300.0 - 100.0, 60.0 + 5.0 + 17.0, 5.0 + 7.0, -300.0];
        for (power, kilowatts) in powers.iter().zip(expected) {
            assert!((*power - Watts::kilowatts(kilowatts)).abs() < Watts::whole(1), "{powers:?}");
        }
    }

    #[test]
    fn without_a_sun_its_events_change_the_steady_generation() {
        let events = "[[event]]\nat = \"10s\"\nfor = \"10s\"\nsun = { times = 0.5 }\n\
                      [[event]]\nat = \"30s\"\nsun = { to = \"1 kW\" }\n";
        let text = format!("description = \"steady\"\n[generation]\nsteady = \"4 kW\"\n{events}");
        let plant = Plant::new(&Scenario::parse("steady.toml", &text).unwrap());
        let at = |second| plant.at(Duration::from_secs(second)).generation();
        assert_eq!(
            [at(5), at(15), at(25), at(35)],
            [4, 2, 4, 1].map(|kilowatts| Watts::whole(kilowatts * 1_000))
        );
    }

    #[test]
    fn a_machine_runs_once_in_every_cycle_for_its_time() {
        let machine = Machine {
            name: "compressor".into(),
            power: Watts::whole(40_000),
            on: Duration::from_secs(60),
            off: Duration::from_secs(90),
            ramp: Duration::from_secs(2),
        };
        let tenth = Duration::from_millis(100);
        let mut starts = std::collections::BTreeSet::new();
        for cycle in 0..20_u32 {
            let draws: Vec<f64> =
                (0..1_500_u32).map(|i| running(&machine, 4, 1, tenth * (cycle * 1_500 + i)).get()).collect();
            let energy: f64 = draws.iter().sum::<f64>() * 0.1;
            // On for a minute, from foot to foot of its two ramps.
            assert!((energy - 40e3 * 58.0).abs() < 20e3, "{energy}");
            starts.insert(draws.iter().position(|watts| *watts > 0.0));
        }
        assert!(starts.len() > 15, "it does not start at the same moment of every cycle");
    }
}
