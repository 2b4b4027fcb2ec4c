//! What is lost besides the meter at the connection point: each row of the guide's table has its test.

use super::plant::Plant;
use crate::control::decision::{Mode, Source};
use crate::control::site::{Cap, CircuitId, LimitClass, LimitId, MeterId, Scope, Site};
use crate::control::snapshot::{MeterInput, MeterStatus, Reading};
use crate::control::testing::{circuit, limit, meter, site};
use crate::units::Watts;

/// A device that tells a value up to a moment, and is silent from then on.
fn until(lost_at: f64, value: impl Fn(&Plant) -> f64 + 'static) -> Box<dyn Fn(&Plant) -> MeterInput> {
    let last = std::cell::Cell::new(None);
    Box::new(move |plant| {
        if plant.seconds() < lost_at {
            last.set(Some(Reading { value: Watts::new(value(plant)).unwrap(), at: plant.now }));
            return MeterInput::new(MeterStatus::Ok, last.get());
        }
        MeterInput::new(MeterStatus::Unreachable, last.get())
    })
}

/// 40 miners on a feeder whose meter is the third of the site; the second is not used.
fn with_lost_feeder(limited: bool) -> Plant {
    let mut site: Site = site(20);
    let mut fleet = circuit("fleet", Some(0));
    fleet.meter = Some(MeterId(2));
    fleet.dedicated = true;
    fleet.fail_safe = Watts::kilowatts(50.0);
    site.circuits = vec![site.circuits[0].clone(), fleet];
    site.meters.extend([meter("spare"), meter("feeder")]);
    for miner in &mut site.miners {
        miner.circuit = CircuitId(1);
    }
    if limited {
        site.limits.push(limit("breaker", 1, Scope::Import, LimitClass::Safety, 130_000));
    }
    let mut plant = Plant::new(site, 0.8, |_| -110e3);
    plant.more.push(until(60.0, Plant::draw));
    plant
}

#[test]
fn a_meter_that_was_never_read_is_a_lost_one_once_the_wait_is_over() {
    let mut plant = Plant::new(site(20), 0.9, |_| -130e3);
    plant.meter_up = false;
    let wait = plant.site.settings.start_timeout.as_secs_f64();
    while plant.seconds() < wait - 1.0 {
        let decision = plant.cycle();
        assert_eq!(decision.mode, Mode::StartUp);
        assert!(decision.commands.is_empty(), "nothing is commanded while it waits");
    }
    let decision = plant.run(3);
    assert_eq!((decision.mode, decision.binding.source), (Mode::FailSafe, Source::LostMeter(MeterId(0))));
    plant.run(15);
    assert!(plant.draw() <= 40.0 * 20.0 + 1.0, "all asleep: {}", plant.draw());
}

#[test]
fn a_lost_feeder_meter_brings_the_miners_below_it_to_its_fail_safe() {
    let mut plant = with_lost_feeder(true);
    plant.run(59);
    assert!(plant.draw() > 100e3, "{}", plant.draw());
    let decision = plant.run(40);
    assert_eq!(decision.mode, Mode::FailSafe);
    assert_eq!(decision.binding.source, Source::LostMeter(MeterId(2)));
    assert!(plant.draw() <= 50_001.0 && plant.draw() > 40e3, "{}", plant.draw());
}

#[test]
fn a_lost_feeder_meter_stops_nobody_where_no_limit_of_its_own_is_at_risk() {
    let mut plant = with_lost_feeder(false);
    plant.run(59);
    for _ in 0..120 {
        let decision = plant.cycle();
        assert_eq!(decision.mode, Mode::Following);
        assert!(plant.import() <= 0.0, "imports {}", plant.import());
    }
    assert!(plant.draw() > 100e3, "{}", plant.draw());
}

#[test]
fn a_lost_cap_falls_to_its_fail_safe_and_never_rises_on_the_way() {
    let mut site = site(20);
    site.meters.extend([meter("spare"), meter("energy manager")]);
    let mut read = limit("granted", 0, Scope::Miners, LimitClass::Grid, 0);
    read.cap = Cap::Reading { meter: MeterId(2), fail_safe: Watts::kilowatts(30.0) };
    site.limits.push(read);
    let mut plant = Plant::new(site, 0.6, |_| -130e3);
    plant.more.push(until(60.0, |_| 80e3));
    let decision = plant.run(59);
    assert_eq!(decision.binding.source, Source::Limit(LimitId(1)));
    assert!((70e3..=80e3).contains(&plant.draw()), "{}", plant.draw());
    let mut budget = f64::INFINITY;
    let mut last = decision;
    for _ in 0..40 {
        last = plant.cycle();
        assert!(last.fleet.budget.get() <= budget, "rose from {budget} to {}", last.fleet.budget);
        budget = last.fleet.budget.get();
    }
    assert_eq!(last.binding.source, Source::LostMeter(MeterId(2)));
    assert!(plant.draw() <= 30e3 && plant.draw() > 20e3, "{}", plant.draw());
}

#[test]
fn a_cap_that_was_never_read_is_its_fail_safe() {
    let mut site = site(20);
    site.meters.extend([meter("spare"), meter("energy manager")]);
    let mut read = limit("granted", 0, Scope::Miners, LimitClass::Grid, 0);
    read.cap = Cap::Reading { meter: MeterId(2), fail_safe: Watts::kilowatts(30.0) };
    site.limits.push(read);
    let mut plant = Plant::new(site, 0.6, |_| -130e3);
    plant.more.push(Box::new(|_| MeterInput::new(MeterStatus::Unreachable, None)));
    plant.run(60);
    assert!(plant.draw() <= 30e3, "{}", plant.draw());
}
