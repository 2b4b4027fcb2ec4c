//! A battery that goes first: the surplus is held back for it, then released.

use std::cell::Cell;
use std::rc::Rc;

use super::plant::Plant;
use crate::control::decision::Source;
use crate::control::measure::Measure;
use crate::control::site::{Condition, Limit, LimitClass, LimitId, MeterId, Scope, Site};
use crate::control::snapshot::{MeterInput, MeterStatus, Reading};
use crate::control::testing::{limit, meter, site};
use crate::units::Watts;

/// The third meter is the battery's. North may run only when it is charged.
fn held(below: f64, until: f64) -> Site {
    let mut site = site(20);
    site.meters.push(meter("unused"));
    site.meters.push(meter("battery"));
    let battery = Condition { meter: MeterId(2), below, until };
    site.limits.push(Limit {
        condition: Some(battery),
        ..limit("battery-first", 1, Scope::Miners, LimitClass::Economic, 0)
    });
    site
}

/// The state of charge in percent; not a number for a meter that has fallen silent.
fn plant(charge: f64) -> (Plant, Rc<Cell<f64>>) {
    let told = Rc::new(Cell::new(charge));
    let said = told.clone();
    let last = Cell::new(None);
    let mut plant = Plant::new(held(0.60, 0.80), 0.0, |_| -120e3);
    plant.more.push(Box::new(move |plant| {
        let mut input = MeterInput::new(MeterStatus::Ok, Some(Reading { value: Watts::ZERO, at: plant.now }));
        if !said.get().is_nan() {
            last.set(Some(Reading { value: said.get(), at: plant.now }));
        }
        if let Some(last) = last.get() {
            input.others.set(Measure::StateOfCharge, last);
        }
        input
    }));
    (plant, told)
}

fn north(plant: &Plant) -> f64 {
    let each = plant.miners.iter().zip(&plant.site.miners);
    each.filter(|(_, spec)| spec.circuit.0 == 1).map(|(miner, _)| miner.draw).sum()
}

#[test]
fn the_surplus_is_held_back_for_the_battery_and_then_released() {
    let (mut plant, charge) = plant(30.0);
    let decision = plant.run(120);
    assert!(north(&plant) < 20.0 * 20.0 + 1.0, "north draws {}", north(&plant));
    assert!(plant.draw() > 50e3, "south runs: {}", plant.draw());
    assert_eq!(decision.circuits[1].binding, Source::Limit(LimitId(1)));
    // It fills up. Between the thresholds nothing changes.
    charge.set(79.0);
    plant.run(60);
    assert!(north(&plant) < 20.0 * 20.0 + 1.0);
    charge.set(80.5);
    let before = plant.draw();
    let decision = plant.cycle();
    let value = decision.circuits[1].limits[0];
    assert!(!value.acts, "it stands there and does not act");
    assert_eq!(value.source, Source::Limit(LimitId(1)));
    let mut last = before;
    for _ in 0..200 {
        plant.cycle();
        assert!(plant.draw() - last < 20e3, "released in steps, not at once: {last} to {}", plant.draw());
        assert!(plant.import() <= 0.0, "imports {}", plant.import());
        last = plant.draw();
    }
    assert!(north(&plant) > 45e3, "north draws {}", north(&plant));
}

#[test]
fn a_charge_that_trembles_at_a_threshold_does_not_switch_the_fleet() {
    let (mut plant, charge) = plant(85.0);
    plant.run(300);
    assert!(north(&plant) > 45e3);
    let before = plant.commands;
    for second in 0..300 {
        charge.set(if second % 2 == 0 { 60.2 } else { 61.0 });
        plant.cycle();
    }
    assert!(north(&plant) > 45e3, "still above the lower threshold");
    assert!(plant.commands - before <= 10, "{} commands", plant.commands - before);
    charge.set(59.9);
    plant.run(12);
    assert!(north(&plant) < 20.0 * 20.0 + 1.0, "below it: the battery goes first");
    let before = plant.commands;
    for second in 0..300 {
        charge.set(if second % 2 == 0 { 59.8 } else { 60.5 });
        plant.cycle();
    }
    assert!(plant.commands - before <= 10, "{} commands", plant.commands - before);
}

#[test]
fn a_charge_that_is_not_known_counts_as_a_low_one() {
    let (mut unknown, _) = plant(f64::NAN);
    unknown.run(60);
    assert!(north(&unknown) < 20.0 * 20.0 + 1.0, "never told");
    let (mut plant, charge) = plant(90.0);
    plant.run(300);
    assert!(north(&plant) > 45e3);
    charge.set(f64::NAN);
    plant.run(3);
    assert!(north(&plant) > 45e3, "still fresh enough");
    plant.run(12);
    assert!(north(&plant) < 20.0 * 20.0 + 1.0, "stale");
    // Between the thresholds it is not let go again.
    charge.set(70.0);
    plant.run(100);
    assert!(north(&plant) < 20.0 * 20.0 + 1.0);
    charge.set(250.0);
    plant.run(30);
    assert!(north(&plant) < 20.0 * 20.0 + 1.0, "no battery is that full");
    charge.set(81.0);
    plant.run(200);
    assert!(north(&plant) > 45e3);
}
