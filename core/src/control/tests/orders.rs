//! Orders from outside are limits like any other.

use super::plant::{Manner, Plant};
use super::slow_meters::with_feeder;
use crate::control::decision::{Held, MinerState, Mode, Source};
use crate::control::signal::{Active, Basis, Urgency, Why};
use crate::control::site::{CircuitId, LimitClass, OrderSource, Scope, Site, SourceId};
use crate::control::snapshot::OrderCap;
use crate::control::testing::site;
use crate::units::Watts;

fn ordered() -> Site {
    let source = |name: &str| OrderSource { name: name.into(), class: LimitClass::Grid };
    Site { sources: vec![source("operator"), source("utility")], ..site(20) }
}

fn cap(source: usize, circuit: usize, scope: Scope, kilowatts: f64) -> OrderCap {
    let active = Active {
        circuit: CircuitId(circuit),
        scope,
        cap: Watts::kilowatts(kilowatts),
        why: Why::Order("peak".into()),
        basis: Basis::Instant,
        urgency: Urgency::Normal,
    };
    OrderCap { source: SourceId(source), active }
}

#[test]
fn an_order_is_met_within_seconds_and_its_end_is_a_ramp() {
    let mut plant = Plant::new(ordered(), 0.9, |_| -200e3);
    plant.run(60);
    assert!(plant.draw() > 110e3, "draws {}", plant.draw());
    plant.orders = vec![cap(1, 0, Scope::Miners, 40.0)];
    let decision = plant.cycle();
    assert_eq!(decision.binding.source, Source::Order(SourceId(1)));
    assert_eq!(decision.mode, Mode::Limited);
    assert!(!decision.commands.is_empty(), "it is obeyed in the cycle in which it comes");
    plant.run(5);
    assert!(plant.draw() <= 40e3, "draws {}", plant.draw());
    plant.run(60);
    plant.orders.clear();
    let mut last = plant.draw();
    for _ in 0..120 {
        plant.cycle();
        assert!(plant.draw() - last < 20e3, "it comes back in steps: {last} to {}", plant.draw());
        last = plant.draw();
    }
    assert!(last > 110e3, "and it does come back: {last}");
}

#[test]
fn an_order_on_a_circuit_without_any_limit_ends_in_a_ramp_too() {
    let mut site = ordered();
    site.limits.clear();
    let mut plant = Plant::new(site, 1.0, |_| 0.0);
    plant.orders = vec![cap(1, 1, Scope::Miners, 10.0)];
    plant.run(90);
    plant.orders.clear();
    let before = plant.draw();
    plant.cycle();
    plant.cycle();
    assert!(plant.draw() - before < 25e3, "{before} to {}", plant.draw());
}

#[test]
fn the_tightest_of_two_sources_binds_and_neither_loosens_the_other() {
    let mut plant = Plant::new(ordered(), 0.9, |_| -200e3);
    plant.orders = vec![cap(0, 0, Scope::Miners, 90.0), cap(1, 0, Scope::Miners, 60.0)];
    let decision = plant.run(30);
    assert_eq!(decision.binding.source, Source::Order(SourceId(1)));
    assert!(plant.draw() <= 60e3);
    plant.orders = vec![cap(0, 0, Scope::Miners, 900.0), cap(1, 0, Scope::Miners, 60.0)];
    plant.run(60);
    assert!(plant.draw() <= 60e3, "a generous order raised the fleet to {}", plant.draw());
}

#[test]
fn a_cap_on_the_import_leaves_the_generation_to_the_miners() {
    let mut site = ordered();
    site.limits.clear();
    let mut plant = Plant::new(site, 0.9, |_| -50e3);
    plant.orders = vec![cap(1, 0, Scope::Import, 20.0)];
    plant.run(60);
    let import = plant.import();
    assert!((10e3..=20e3).contains(&import), "imports {import}");
    assert!(plant.draw() > 60e3);
}

#[test]
fn a_lost_source_is_told_as_such() {
    let mut plant = Plant::new(ordered(), 0.9, |_| -200e3);
    plant.run(30);
    let mut lost = cap(1, 0, Scope::Miners, 30.0);
    lost.active.why = Why::FailSafe;
    plant.orders = vec![lost];
    let decision = plant.run(10);
    assert_eq!(decision.binding.source, Source::LostSource(SourceId(1)));
    assert_eq!(decision.mode, Mode::FailSafe);
    assert!(plant.draw() <= 30e3);
}

/// In an emergency what is quick goes first, whatever hashrate that costs.
#[test]
fn an_emergency_sheds_what_is_quick() {
    let fall = |urgency: Urgency| {
        let mut site = ordered();
        // Every second one is efficient and quick, the others are wasteful and slow.
        for (index, miner) in site.miners.iter_mut().enumerate() {
            let slow = index % 4 < 2;
            miner.response.dead_time_down = std::time::Duration::from_secs(if slow { 20 } else { 1 });
            if slow {
                for point in &mut miner.points {
                    point.hashrate = point.hashrate.scaled(0.6);
                }
            }
        }
        let mut plant = Plant::new(site, 0.9, |_| -200e3);
        plant.run(60);
        let mut order = cap(1, 0, Scope::Miners, 80.0);
        order.active.urgency = urgency;
        plant.orders = vec![order];
        plant.run(6);
        plant.draw()
    };
    let (calm, hurried) = (fall(Urgency::Normal), fall(Urgency::Emergency));
    assert!(hurried <= 80e3, "an emergency still draws {hurried}");
    assert!(calm > hurried + 5e3, "without one {calm}, with one {hurried}");
}

/// What all draw asleep, and half as much again.
const ASLEEP: f64 = 40.0 * 60.0 * 1.5;

#[test]
fn nothing_rests_that_draws_on_though_it_was_told_to_sleep() {
    for deaf in [false, true] {
        let mut plant = Plant::new(ordered(), 0.9, |_| -200e3);
        plant.run(60);
        if deaf {
            plant.miners.iter_mut().for_each(|miner| miner.manner = Manner::Ignores);
        }
        plant.orders = vec![cap(1, 0, Scope::Miners, 0.0)];
        let mut rested = 0;
        for second in 0..120 {
            let decision = plant.cycle();
            let rests = decision.at_rest(&plant.site);
            assert!(!rests[0] || plant.draw() <= ASLEEP, "{second} s, deaf {deaf}: {} W", plant.draw());
            assert!(!rests[0] || (rests[1] && rests[2]), "{rests:?}");
            let asleep = decision.miners.iter().filter(|miner| miner.state == MinerState::Asleep).count();
            assert!(
                asleep < 40 || plant.draw() < 60e3,
                "{second} s: {asleep} sleep and draw {}",
                plant.draw()
            );
            rested += usize::from(rests[0]);
        }
        assert_eq!(rested > 100, !deaf, "deaf {deaf}: {rested} s at rest");
    }
}

#[test]
fn a_fleet_that_an_order_holds_in_part_is_limited_all_the_time() {
    // The other hall takes what is left, so that the surplus and the order bind by turns.
    let load = |seconds: f64| if (seconds / 10.0).floor() % 2.0 == 0.0 { -88e3 } else { -80e3 };
    let mut plant = Plant::new(ordered(), 0.9, load);
    plant.run(60);
    plant.orders = vec![cap(1, 1, Scope::Miners, 30.0)];
    plant.run(30);
    for second in 0..180 {
        let decision = plant.cycle();
        assert_eq!(decision.mode, Mode::Limited, "{second} s: {:?}", decision.binding);
    }
    // Where the cap is far above what the sun leaves, it holds nobody.
    plant.other = Box::new(|_| -20e3);
    plant.run(120);
    assert_eq!(plant.cycle().mode, Mode::Following);
    // Nor does one on a circuit without miners.
    let mut bare = ordered();
    bare.miners.retain(|miner| miner.circuit == CircuitId(1));
    let mut plant = Plant::new(bare, 0.9, |_| -20e3);
    plant.orders = vec![cap(1, 2, Scope::Import, 0.0)];
    assert_eq!(plant.run(60).mode, Mode::Following);
}

#[test]
fn one_that_an_order_keeps_asleep_does_not_wait_for_a_meter_to_prove_itself() {
    let mut plant = Plant::new(ordered(), 0.0, |_| -60e3);
    plant.orders = vec![cap(1, 0, Scope::Miners, 3.5)];
    let decision = plant.run(60);
    let waiting = decision.waiting.expect("it waits");
    assert_eq!(waiting.held, Held::Short, "{waiting:?}");
}

#[test]
fn nothing_rests_while_a_meter_that_sees_the_miners_alone_shows_that_they_draw() {
    let mut plant = Plant::new(Site { sources: ordered().sources, ..with_feeder(true) }, 0.9, |_| -200e3);
    plant.run(60);
    for miner in &mut plant.miners {
        (miner.manner, miner.says) = (Manner::Ignores, 0.0);
    }
    plant.orders = vec![cap(1, 1, Scope::Miners, 0.0)];
    for second in 0..90 {
        let decision = plant.cycle();
        assert!(!decision.at_rest(&plant.site)[1], "{second} s: {:?}", decision.circuits[1]);
    }
}
