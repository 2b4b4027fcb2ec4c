//! Meters that stand still: dead ones beside miners that stand still as well, and those that do so and live.

use std::time::Duration;

use super::plant::Plant;
use crate::control::decision::{Decision, MinerState};
use crate::control::site::{Actuator, Site};
use crate::control::snapshot::MeterStatus;
use crate::control::testing::site;
use crate::units::Watts;

fn frozen(decision: &Decision) -> bool {
    decision.meters[0].input.status == MeterStatus::Frozen
}

/// A steady sky that goes dark after ten minutes; from the fifth on the meter of the connection repeats the latest value.
fn repeats(site: Site) -> Plant {
    let mut plant = Plant::new(site, 0.7, |at| if at < 600.0 { -80e3 } else { 2e3 });
    plant.flickers = Some(1.0);
    let held = std::cell::Cell::new(None);
    plant.shown = Box::new(move |at, truth| {
        if at >= 300.0 {
            return held.get().unwrap_or(truth);
        }
        held.set(Some(truth));
        truth
    });
    plant
}

fn on_and_off() -> Site {
    let mut site = site(20);
    for miner in &mut site.miners {
        miner.actuator = Actuator::OnOff;
    }
    site
}

#[test]
fn a_meter_that_repeats_its_last_value_beside_miners_that_stand_still_is_found_out() {
    for site in [site(20), on_and_off()] {
        let mut plant = repeats(site);
        plant.run(299);
        plant.imported = 0.0;
        assert!(plant.draw() > 70e3, "{}", plant.draw());
        let found = (0..400).find(|_| frozen(&plant.cycle()));
        assert!(found.is_some_and(|found| found < 75), "found after {found:?} s");
        plant.run(60);
        assert!(plant.draw() <= 40.0 * 20.0 + 1.0, "the fail-safe before it is dark: {}", plant.draw());
        assert!(plant.imported < 1e3, "imported {} Ws", plant.imported);
    }
}

#[test]
fn nobody_gets_used_to_a_meter_that_was_dead_or_silent() {
    for silent in [false, true] {
        // Away for ten minutes, back for five, and then dead.
        let mut site = site(20);
        if silent {
            // They stay where they are without it.
            site.circuits[0].fail_safe = Watts::whole(200_000);
        }
        let mut plant = Plant::new(site, 0.7, |_| -80e3);
        plant.flickers = Some(1.0);
        let held = std::cell::Cell::new(None);
        plant.shown = Box::new(move |at, truth| {
            let dead = at >= 1_200.0 || (!silent && (300.0..900.0).contains(&at));
            if !dead {
                held.set(Some(truth));
            }
            held.get().unwrap_or(truth)
        });
        plant.run(299);
        plant.meter_up = !silent;
        plant.run(601);
        plant.meter_up = true;
        plant.run(299);
        assert!(plant.draw() > 70e3, "{silent}: it is back: {}", plant.draw());
        let found = (0..300).find(|_| frozen(&plant.cycle()));
        assert!(found.is_some_and(|found| found < 75), "{silent}: found after {found:?} s");
    }
}

#[test]
fn a_meter_that_stands_still_and_lives_is_asked_less_and_less_often() {
    for (site, least) in [(site(20), 0.995), (on_and_off(), 0.97)] {
        let mut plant = Plant::new(site, 0.7, |_| -80e3);
        plant.run(120);
        let (captured, surplus) = (plant.captured, plant.surplus);
        let (mut questions, mut asked) = (0, false);
        for _ in 0..7_200 {
            let decision = plant.cycle();
            assert_eq!(decision.meters[0].input.status, MeterStatus::Ok, "{} s", plant.seconds());
            let asks = decision.meters[0].asked.is_some();
            questions += u32::from(asks && !asked);
            asked = asks;
        }
        assert!((3..=9).contains(&questions), "asked {questions} times in two hours");
        let share = (plant.captured - captured) / (plant.surplus - surplus);
        assert!(share > least, "{share} captured");
    }
}

#[test]
fn a_coarse_meter_is_never_taken_for_dead() {
    for resolution in [100.0, 1_000.0, 5_000.0, 20_000.0] {
        // At night, on a contract that lets it import, beside a load that hardly moves; then by day.
        let mut plant = Plant::new(site(20), 0.7, |at| -80e3 + 3e3 * (at / 700.0).sin());
        plant.shown = Box::new(move |_, truth| (truth / resolution).round() * resolution);
        for _ in 0..7_200 {
            let decision = plant.cycle();
            assert!(!frozen(&decision), "{resolution} W, after {} s", plant.seconds());
        }
        assert!(plant.draw() > 50e3, "{resolution} W: {}", plant.draw());
    }
}

#[test]
fn nobody_is_put_lower_for_it_while_others_start() {
    let mut plant = Plant::new(site(20), 0.0, |_| -110e3);
    let mut full = None;
    for second in 0..400 {
        let decision = plant.cycle();
        let starts = decision.miners.iter().any(|miner| miner.state == MinerState::Starting);
        assert!(!starts || decision.meters[0].asked.is_none(), "{second} s");
        full = full.or((plant.draw() > 95e3).then_some(second));
    }
    assert!(full.is_some_and(|full| full < 200), "full after {full:?} s");
}

#[test]
fn a_battery_that_levels_the_connection_answers_for_its_meter() {
    // It takes over within seconds what comes and goes, and the meter tells no less than 100 W.
    for share in [0.3, 0.6, 0.9] {
        let mut plant = Plant::new(site(20), 0.7, |at| -80e3 + 1e3 * (at / 300.0).sin());
        let battery = std::cell::Cell::new(0.0);
        plant.shown = Box::new(move |at, truth| {
            let left = truth - battery.get();
            if at > 60.0 {
                battery.set(battery.get() + left * share);
            }
            (left / 100.0).round() * 100.0
        });
        let (mut questions, mut asked) = (0, false);
        for _ in 0..3_600 {
            let decision = plant.cycle();
            assert!(!frozen(&decision), "{share}: after {} s", plant.seconds());
            let asks = decision.meters[0].asked.is_some();
            questions += u32::from(asks && !asked);
            asked = asks;
        }
        // What each question takes from the miners the battery has from then on.
        assert!(questions <= 8, "{share}: asked {questions} times");
    }
}

#[test]
fn nothing_is_exceeded_and_nothing_opened_because_a_meter_is_asked() {
    let mut plant = Plant::new(on_and_off(), 0.7, |_| -80e3);
    plant.run(30);
    let mut questions = 0;
    for _ in 0..600 {
        let decision = plant.cycle();
        questions += u32::from(decision.meters[0].asked.is_some());
        let short = decision.circuits.iter().any(|circuit| circuit.shortfall > Watts::ZERO);
        assert!(!short, "{} s", plant.seconds());
    }
    assert!(questions > 20, "it was asked for {questions} s");
}

#[test]
fn a_slow_meter_that_dies_is_found_within_a_few_of_its_values() {
    for refresh in [5, 10, 30, 60] {
        let mut site = site(20);
        site.meters[0].stale_after = Duration::from_secs(3 * refresh + 4);
        site.meters[0].fail_safe_after = Duration::from_secs(6 * refresh + 14);
        let mut plant = Plant::new(site, 0.7, |_| -80e3);
        plant.flickers = Some(1.0);
        plant.refresh = Duration::from_secs(refresh);
        let held = std::cell::Cell::new(None);
        plant.shown = Box::new(move |at, truth| {
            if at < 900.0 {
                held.set(Some(truth));
            }
            held.get().unwrap_or(truth)
        });
        plant.run(900);
        assert!(plant.draw() > 70e3, "{refresh} s: {}", plant.draw());
        let found = (0..1_200).find(|_| frozen(&plant.cycle()));
        assert!(found.is_some_and(|found| found < 30 + 8 * refresh), "{refresh} s: found after {found:?} s");
    }
}
