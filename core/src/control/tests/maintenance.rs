//! Miners that somebody works on, and such as do not answer while nothing but the surplus is at stake.

use super::plant::{Manner, Plant};
use crate::control::decision::{Cause, Decision, MinerState};
use crate::control::site::{LimitClass, MinerId, Scope};
use crate::control::snapshot::{HeldMiner, Hold, Target};
use crate::control::testing::{limit, site};

const MINERS: usize = 20;

fn held(hold: Hold, miners: impl IntoIterator<Item = usize>) -> Vec<HeldMiner> {
    miners.into_iter().map(|miner| HeldMiner { miner: MinerId(miner), hold }).collect()
}

/// What the first miners were told in so many seconds.
fn told(plant: &mut Plant, first: usize, seconds: u32) -> Vec<(usize, Target, Cause)> {
    let mut told = Vec::new();
    for _ in 0..seconds {
        let decision = plant.cycle();
        let each = decision.commands.iter().filter(|command| command.miner.0 < first);
        told.extend(each.map(|command| (command.miner.0, command.target, command.cause)));
    }
    told
}

fn draw_of(plant: &Plant, miners: usize) -> f64 {
    plant.miners.iter().take(miners).map(|miner| miner.draw).sum()
}

#[test]
fn whoever_is_worked_on_sleeps_and_is_woken_only_when_that_is_over() {
    let mut plant = Plant::new(site(MINERS), 0.9, |_| -200e3);
    plant.run(60);
    plant.holds = held(Hold::Asleep, 0..4);
    let first = told(&mut plant, 4, 1);
    let expected: Vec<_> = (0..4).map(|miner| (miner, Target::Sleep, Cause::Maintenance)).collect();
    assert_eq!(first, expected, "told in the cycle in which it is said");
    assert_eq!(told(&mut plant, 4, 900), [], "there is plenty of surplus, and nobody is woken");
    assert!(draw_of(&plant, 4) < 200.0, "draws {}", draw_of(&plant, 4));
    let others = plant.draw() - draw_of(&plant, 4);
    assert!(others > 0.98 * 16.0 * plant.site.miners[0].maximum().get(), "the others go on: {others}");
    plant.holds.clear();
    plant.run(300);
    assert!(draw_of(&plant, 4) > 10e3, "they are back: {}", draw_of(&plant, 4));
}

#[test]
fn one_that_begins_by_itself_is_put_to_sleep_again_though_there_is_room() {
    let mut plant = Plant::new(site(MINERS), 0.9, |_| -200e3);
    plant.holds = held(Hold::Asleep, [0]);
    plant.run(120);
    plant.reboot(0);
    let told = told(&mut plant, 1, 60);
    assert!(!told.is_empty() && told.iter().all(|(_, target, _)| *target == Target::Sleep), "{told:?}");
    assert!(draw_of(&plant, 1) < 100.0);
}

#[test]
fn one_that_says_no_is_asked_again_and_not_in_every_cycle() {
    let mut plant = Plant::new(site(MINERS), 0.9, |_| -200e3);
    plant.run(60);
    plant.miners[0].manner = Manner::Refuses;
    plant.holds = held(Hold::Asleep, [0]);
    let asked = told(&mut plant, 1, 300);
    assert!((3..30).contains(&asked.len()), "asked {} times", asked.len());
    plant.miners[0].manner = Manner::Obeys;
    told(&mut plant, 1, 600);
    assert!(draw_of(&plant, 1) < 100.0, "and it does sleep when it can");
}

#[test]
fn nothing_is_told_to_one_that_is_left_alone_and_the_others_make_up_for_it() {
    // There is for 30 kW, and one miner that nobody moves.
    let mut plant = Plant::new(site(MINERS), 0.9, |at| if at < 120.0 { -200e3 } else { -30e3 });
    plant.run(60);
    plant.holds = held(Hold::HandsOff, [0, 1]);
    let before = draw_of(&plant, 2);
    assert_eq!(told(&mut plant, 2, 300), []);
    assert!((draw_of(&plant, 2) - before).abs() < 1.0);
    assert!(plant.import() <= 100.0, "the others have shed for it: {}", plant.import());
    // Whoever works on it starts it anew. It rises to its maximum by itself, and is still not told anything.
    plant.reboot(1);
    assert_eq!(told(&mut plant, 2, 300), []);
    assert!(plant.import() <= 100.0, "{}", plant.import());
    assert!(plant.draw() > 28e3, "what is left is used: {}", plant.draw());
    // Handed back, it is one of the fleet again, from where it is.
    let draw = plant.draw();
    plant.holds.clear();
    plant.cycle();
    assert!((plant.draw() - draw).abs() < 1.5e3, "nothing jumps: {draw} to {}", plant.draw());
    plant.other = Box::new(|_| -1e3);
    plant.run(60);
    assert!(draw_of(&plant, 2) < 200.0, "it sheds like the others: {}", draw_of(&plant, 2));
}

#[test]
fn the_stricter_of_two_holds_counts_whatever_their_order() {
    for turn in [false, true] {
        let mut plant = Plant::new(site(MINERS), 0.9, |_| -200e3);
        plant.run(60);
        plant.holds = held(Hold::Asleep, [0]);
        plant.holds.extend(held(Hold::HandsOff, [0]));
        if turn {
            plant.holds.reverse();
        }
        assert_eq!(told(&mut plant, 1, 60), []);
    }
}

/// A quarter of the fleet sleeps, confirmed, when its network fails.
fn a_quarter_falls_silent(site: crate::control::site::Site) -> (f64, f64, Decision) {
    let mut plant = Plant::new(site, 0.9, |at| {
        let ripple = 300.0 * (at / 11.0).sin();
        ripple - if at < 90.0 { 200e3 } else { 30e3 }
    });
    plant.run(60);
    plant.holds = held(Hold::Asleep, 0..10);
    plant.run(300);
    plant.holds.clear();
    for miner in plant.miners.iter_mut().take(10) {
        miner.manner = Manner::Silent;
    }
    let before = plant.draw();
    let mut lowest = f64::MAX;
    for _ in 0..600 {
        plant.cycle();
        lowest = lowest.min(plant.draw());
    }
    (before, lowest, plant.cycle())
}

#[test]
fn sleepers_that_fall_silent_cost_no_surplus_where_the_meter_would_show_them() {
    let (before, lowest, decision) = a_quarter_falls_silent(site(MINERS));
    assert!(decision.miners[0].state == MinerState::Unreachable);
    assert!(before > 28e3 && lowest > before - 1.5e3, "{before} fell to {lowest}");
    // They may still draw anything, and whoever looks is told so.
    assert_eq!(decision.miners[0].counted, site(MINERS).miners[0].nameplate);
}

#[test]
fn under_any_other_limit_they_count_at_their_nameplates() {
    // What is granted to the miners alone is one, too: the meter of the connection point does not tell what silent ones take of it.
    for class in [LimitClass::Contract, LimitClass::Surplus] {
        let mut capped = site(MINERS);
        // Ten of them at their nameplates leave nothing of it to the others.
        capped.limits.push(limit("granted", 0, Scope::Miners, class, 36_000));
        let (before, lowest, _) = a_quarter_falls_silent(capped);
        assert!(before > 28e3 && lowest < 10e3, "{class:?}: {before} fell to {lowest}");
    }
}

#[test]
fn the_dead_of_a_site_cost_no_surplus_after_a_minute() {
    let mut plant = Plant::new(site(MINERS), 0.0, |at| -30e3 + 300.0 * (at / 11.0).sin());
    for miner in plant.miners.iter_mut().take(10) {
        miner.manner = Manner::Silent;
        (miner.draw, miner.goal, miner.from, miner.asleep) = (0.0, 0.0, 0.0, 0.0);
    }
    plant.run(600);
    assert!(plant.draw() > 28e3, "draws {}", plant.draw());
}
