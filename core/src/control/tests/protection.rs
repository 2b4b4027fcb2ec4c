//! What must hold before miners run, and what opens their circuit in the end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::plant::{Manner, Plant};
use crate::control::decision::{BreakerState, Source};
use crate::control::site::{Breaker, CircuitId, Interlock, LimitClass, MeterId, Scope, Site};
use crate::control::snapshot::{MeterInput, MeterStatus, Reading};
use crate::control::testing::{limit, meter, site};
use crate::units::Watts;

/// North runs only while its pump draws half a kilowatt; the second meter is the feeder's, the third the pump's.
fn cooled() -> (Plant, Rc<Cell<f64>>) {
    let mut site = site(10);
    site.meters.push(meter("unused"));
    site.meters.push(meter("pump"));
    site.circuits[1].interlock = Some(Interlock { meter: MeterId(2), at_least: Watts::whole(500) });
    let draws = Rc::new(Cell::new(800.0_f64));
    let says = draws.clone();
    let last = Cell::new(None);
    let mut plant = Plant::new(site, 0.8, |_| -120e3);
    plant.more.push(Box::new(move |plant| {
        if says.get().is_nan() {
            return MeterInput::new(MeterStatus::Unreachable, last.get());
        }
        last.set(Some(Reading { value: Watts::new(says.get()).unwrap(), at: plant.now }));
        MeterInput::new(MeterStatus::Ok, last.get())
    }));
    (plant, draws)
}

fn north(plant: &Plant) -> f64 {
    let each = plant.miners.iter().zip(&plant.site.miners);
    each.filter(|(_, spec)| spec.circuit.0 == 1).map(|(miner, _)| miner.draw).sum()
}

#[test]
fn miners_sleep_when_their_pump_stops_and_wake_with_it() {
    let (mut plant, pump) = cooled();
    plant.run(60);
    assert!(north(&plant) > 20e3);
    pump.set(120.0);
    let decision = plant.run(6);
    assert_eq!(decision.circuits[1].binding, Source::Interlock(CircuitId(1)));
    assert!(north(&plant) < 250.0, "draws {}", north(&plant));
    assert!(decision.circuits[1].shortfall.get() < 1.0, "what they draw asleep is no shortfall");
    assert!(plant.draw() > 20e3, "the other container runs on");
    pump.set(800.0);
    plant.run(120);
    assert!(north(&plant) > 20e3, "draws {}", north(&plant));
}

#[test]
fn a_pump_that_nobody_hears_of_has_stopped() {
    let (mut plant, pump) = cooled();
    plant.run(60);
    pump.set(f64::NAN);
    plant.run(12);
    assert!(north(&plant) < 250.0, "draws {}", north(&plant));
}

#[test]
fn nothing_wakes_before_the_pump_is_seen_to_run() {
    let (mut plant, pump) = cooled();
    pump.set(f64::NAN);
    plant.run(60);
    assert!(north(&plant) < 250.0, "draws {}", north(&plant));
}

/// Both containers have a breaker; nothing may flow in.
fn breakered(after: u64) -> Site {
    let mut site = site(10);
    for index in [1, 2] {
        site.circuits[index].breaker = Some(Breaker { after: Duration::from_secs(after) });
    }
    site
}

#[test]
fn a_breaker_opens_when_stragglers_exceed_the_limit_and_nothing_else_helps() {
    let mut plant = Plant::new(breakered(30), 0.9, |time| if time < 60.0 { -120e3 } else { 5e3 });
    plant.breakers.extend([(1, false), (2, false)]);
    plant.run(50);
    for miner in plant.miners.iter_mut().step_by(2) {
        miner.manner = Manner::Ignores;
    }
    plant.run(30);
    assert!(!plant.breakers[&1], "the gentle ways come first");
    let decision = plant.run(90);
    assert!(plant.breakers[&1], "north's miners ignore everything");
    assert!(!plant.breakers[&2], "south has done what it was told");
    assert_eq!(decision.circuits[1].breaker, Some(BreakerState::Open));
    assert_eq!(decision.circuits[2].breaker, Some(BreakerState::Closed));
    assert!(decision.breakers.is_empty(), "it is open: it is not told again");
    assert!(north(&plant) < 1.0);
    let counted: f64 = decision.miners.iter().step_by(2).map(|miner| miner.counted.get()).sum();
    assert!(counted < 1.0, "behind an open breaker nothing is counted: {counted}");
}

#[test]
fn a_breaker_stays_closed_while_the_meter_shows_that_the_limit_holds() {
    // Miners that have fallen silent count at their nameplate, but the meter sees what they draw.
    let mut site = breakered(20);
    site.limits[0] = limit("rating", 0, Scope::Import, LimitClass::Safety, 40_000);
    let mut plant = Plant::new(site, 0.5, |_| 0.0);
    plant.breakers.extend([(1, false), (2, false)]);
    plant.run(30);
    for miner in plant.miners.iter_mut().step_by(2) {
        miner.manner = Manner::Silent;
        miner.goal = 0.0;
        miner.from = 0.0;
        miner.draw = 0.0;
    }
    plant.run(200);
    assert!(!plant.breakers[&1]);
}

#[test]
fn one_breaker_opens_at_a_time() {
    let mut plant = Plant::new(breakered(30), 0.9, |time| if time < 60.0 { -120e3 } else { 5e3 });
    plant.breakers.extend([(1, false), (2, false)]);
    plant.run(50);
    for miner in &mut plant.miners {
        miner.manner = Manner::Ignores;
    }
    let mut opened = Vec::new();
    for second in 0..200 {
        let decision = plant.cycle();
        opened.extend(decision.breakers.iter().map(|command| (second, command.circuit.0)));
    }
    assert_eq!(opened.len(), 2, "{opened:?}");
    assert!(opened[1].0 >= opened[0].0 + 30, "{opened:?}");
}

#[test]
fn in_observe_mode_no_breaker_opens() {
    let mut site = breakered(10);
    site.settings.observe = true;
    let mut plant = Plant::new(site, 0.9, |_| 5e3);
    plant.breakers.extend([(1, false), (2, false)]);
    let decision = plant.run(120);
    assert!(decision.breakers.is_empty());
    assert!(!plant.breakers[&1] && !plant.breakers[&2]);
}
