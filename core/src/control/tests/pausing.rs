//! Work that is paused by its tenant's hook, and comes back.

use std::time::Duration;

use super::classes::{FULL, hall_with_hooks, miners, order, run, servers};
use super::plant::{Manner, Plant, SimMiner};
use crate::control::decision::{Decision, MinerDecision, MinerState};
use crate::control::signal::Urgency;
use crate::control::snapshot::Target;

/// Miners that were raised and come down to what they were told within minutes, as tuning ones do.
#[test]
fn who_draws_more_than_it_was_raised_to_is_lowered_like_the_others_before_any_work_is_paused() {
    let mut plant = Plant::new(hall_with_hooks(10), 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.orders = vec![order(26_000, Urgency::Normal)];
    run(&mut plant, 180);
    plant.orders = vec![order(48_000, Urgency::Normal)];
    let late = |decision: &Decision| -> Vec<usize> {
        let miners = decision.miners.iter().take(10).enumerate();
        let late =
            |it: &MinerDecision| it.state == MinerState::Straggler && it.setpoint != Some(Target::Sleep);
        miners.filter(|(_, it)| late(it)).map(|(index, _)| index).collect()
    };
    let mut above = Vec::new();
    for second in 0..240 {
        for miner in plant.miners.iter_mut().take(10) {
            miner.error = 1.0 + 0.12 * (-f64::from(second) / 120.0).exp();
        }
        above = late(&plant.cycle());
        if above.len() >= 2 {
            break;
        }
    }
    assert!(above.len() >= 2, "only {above:?} do not follow");
    // All miners must sleep for it, and more.
    plant.orders = vec![order(12_000, Urgency::Normal)];
    let mut told = [None; 10];
    for second in 0..60 {
        for command in plant.cycle().commands.iter().filter(|it| it.target == Target::Sleep) {
            told.get_mut(command.miner.0).into_iter().for_each(|told| _ = told.get_or_insert(second));
        }
    }
    for index in above {
        let told = told[index];
        assert!(told.is_some_and(|told| told <= 1), "miner {index} is told after {told:?} s");
    }
    assert!(plant.draw() < 12_100.0, "{} W", plant.draw());
}

#[test]
fn what_is_too_little_for_paused_work_goes_to_no_miner() {
    let mut plant = Plant::new(hall_with_hooks(10), 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.orders = vec![order(9_500, Urgency::Normal)];
    run(&mut plant, 180);
    let paused = |plant: &Plant| plant.miners.iter().skip(10).take(2).filter(|it| it.draw < 700.0).count();
    assert_eq!(paused(&plant), 2);
    // Those that run are at their highest, and there is enough to wake a miner and not to resume one of the paused.
    plant.orders = vec![order(16_300, Urgency::Normal)];
    for _ in 0..300 {
        let decision = plant.cycle();
        let woken = decision.commands.iter().find(|it| it.miner.0 < 10 && it.target != Target::Sleep);
        assert!(woken.is_none(), "{woken:?}");
    }
    assert!(paused(&plant) == 2 && servers(&plant) > 13.1e3, "{} W", servers(&plant));
    plant.orders = vec![order(30_000, Urgency::Normal)];
    run(&mut plant, 300);
    assert!(servers(&plant) > 0.98 * FULL && miners(&plant) > 4e3, "{} W", plant.draw());
}

/// A hook that says `pausing` for much longer than its notice.
#[test]
fn work_that_is_being_paused_counts_as_running_until_its_hook_says_otherwise() {
    let mut plant = Plant::new(hall_with_hooks(0), 0.9, |_| -90e3);
    run(&mut plant, 120);
    for server in plant.miners.iter_mut().take(2) {
        server.pauses = Some(Duration::from_secs(80));
        server.read_every = Duration::from_secs(10);
    }
    // With one of them paused, and the margin of a kilowatt.
    plant.orders = vec![order(12_500, Urgency::Normal)];
    for second in 0..70 {
        let decision = plant.cycle();
        let counted: f64 = decision.miners.iter().map(|it| it.draw.get()).sum();
        assert!(
            counted > plant.draw() - 100.0,
            "{counted} W where {} W are drawn after {second} s",
            plant.draw()
        );
        for (index, it) in decision.miners.iter().enumerate().take(2) {
            assert!(it.state != MinerState::Asleep, "server {index} is said to sleep after {second} s");
        }
        if second > 5 {
            assert!(plant.draw() < 12_200.0, "{} W after {second} s: the others stand in", plant.draw());
        }
    }
    run(&mut plant, 60);
    assert!(plant.draw() <= 11_600.0, "{} W", plant.draw());
}

#[test]
fn a_pause_that_has_not_begun_is_called_off_when_nobody_needs_it_any_more() {
    let mut plant = Plant::new(hall_with_hooks(0), 0.9, |_| -90e3);
    run(&mut plant, 120);
    for server in plant.miners.iter_mut().take(2) {
        server.pauses = Some(Duration::from_secs(25));
    }
    plant.orders = vec![order(9_000, Urgency::Normal)];
    let told = run(&mut plant, 4);
    assert!(told.miners.iter().take(2).all(|it| it.setpoint == Some(Target::Sleep)), "{:?}", told.miners);
    plant.orders.clear();
    run(&mut plant, 12);
    let resumed = |it: &SimMiner| it.target != Target::Sleep;
    assert!(plant.miners.iter().take(2).all(resumed), "none is paused for nothing");
    run(&mut plant, 60);
    assert!(servers(&plant) > 0.98 * FULL, "{} W", servers(&plant));
}

#[test]
fn whoever_was_paused_is_resumed_before_any_miner_is_woken() {
    let mut plant = Plant::new(hall_with_hooks(10), 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.orders = vec![order(15_500, Urgency::Normal)];
    run(&mut plant, 180);
    assert!(miners(&plant) < 1e3);
    plant.orders.clear();
    let (mut server, mut miner) = (None, None);
    for second in 0..300 {
        for command in plant.cycle().commands.iter().filter(|it| it.target != Target::Sleep) {
            match command.miner.0 {
                0..10 => miner.get_or_insert(second),
                10 | 11 => server.get_or_insert(second),
                _ => continue,
            };
        }
    }
    let (Some(server), Some(miner)) = (server, miner) else { panic!("{server:?} and {miner:?}") };
    assert!(server <= miner, "after {server} s and {miner} s");
    assert!(servers(&plant) > 0.98 * FULL, "{} W", servers(&plant));
}

#[test]
fn a_pause_takes_its_notice_while_others_stand_in_and_is_no_disobedience() {
    let mut plant = Plant::new(hall_with_hooks(10), 0.9, |_| -90e3);
    run(&mut plant, 120);
    assert!(servers(&plant) > 0.98 * FULL, "{} W", servers(&plant));
    // Less than all of them draw at their lowest: one must be paused.
    plant.orders = vec![order(17_500, Urgency::Normal)];
    let mut longest = 0;
    for second in 0..60 {
        let decision = plant.cycle();
        let late = decision.miners.iter().skip(10).filter(|it| it.state == MinerState::Straggler).count();
        assert_eq!(late, 0, "after {second} s");
        if plant.draw() > 17_600.0 {
            longest = second;
        }
    }
    assert!(longest < 15, "servers that are only slowed down stand in: over for {longest} s");
    run(&mut plant, 60);
    let paused = plant.miners.iter().skip(10).take(2).filter(|server| server.draw < 700.0).count();
    assert_eq!(paused, 1, "no more than needed");
    assert!(plant.draw() <= 17_600.0 && plant.draw() > 14e3, "they have it back: {} W", plant.draw());
}

#[test]
fn a_hook_that_answers_late_has_nobody_else_paused() {
    let mut site = hall_with_hooks(10);
    for server in site.miners.iter_mut().skip(10).take(2) {
        server.answer_within.switch = Duration::from_secs(20);
    }
    let mut plant = Plant::new(site, 0.9, |_| -90e3);
    run(&mut plant, 120);
    for server in plant.miners.iter_mut().skip(10).take(2) {
        server.manner = Manner::Hangs;
    }
    plant.orders = vec![order(17_500, Urgency::Normal)];
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..15 {
        let decision = plant.cycle();
        told.extend(
            decision
                .commands
                .iter()
                .filter(|it| it.target == Target::Sleep && it.miner.0 >= 10)
                .map(|it| it.miner),
        );
    }
    assert_eq!(told.len(), 1, "{told:?}");
}
