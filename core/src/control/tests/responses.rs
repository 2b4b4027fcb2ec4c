//! How long miners take to follow, as the control law tells it, and miners that move by themselves in the middle of a
//! limit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::classes::order;
use super::plant::{Manner, Plant};
use crate::control::decision::{Cause, Decision, MinerState};
use crate::control::signal::Urgency;
use crate::control::site::{Actuator, Cap, LimitClass, Miner, MinerId, Scope};
use crate::control::snapshot::{Outcome, Target};
use crate::control::testing::{limit, site};
use crate::units::Watts;

/// 40 miners of up to 3.4 kW at nine tenths, with a surplus that falls from 130 to 40 kW after a minute.
fn falling() -> Plant {
    Plant::new(site(20), 0.9, |at| if at < 60.0 { -130e3 } else { -40e3 })
}

fn sheds(decision: &Decision) -> BTreeSet<MinerId> {
    let sheds = decision.commands.iter().filter(|command| command.cause == Cause::Shed);
    sheds.map(|command| command.miner).collect()
}

#[test]
fn each_command_that_is_followed_is_told_once_with_its_time() {
    let mut plant = falling();
    plant.run(59);
    let (mut shed, mut followed) = (BTreeSet::new(), Vec::new());
    for _ in 0..30 {
        let decision = plant.cycle();
        shed.append(&mut sheds(&decision));
        followed.extend(decision.responses);
    }
    assert!(shed.len() > 20, "{}", shed.len());
    let miners: BTreeSet<MinerId> = followed.iter().map(|(miner, _)| *miner).collect();
    assert!(shed.is_subset(&miners), "every miner that was shed has followed");
    for (miner, took) in &followed {
        assert!((0.5..20.0).contains(&took.as_secs_f64()), "{miner:?} {took:?}");
    }
    let later: usize = (0..60).map(|_| plant.cycle().responses.len()).sum();
    assert!(later <= plant.miners.len() / 2, "told again and again: {later}");
}

#[test]
fn a_miner_that_accepts_and_does_not_move_is_never_told_as_followed() {
    let mut plant = falling();
    plant.run(50);
    for miner in &mut plant.miners {
        miner.manner = Manner::Ignores;
    }
    let told: usize = (0..60).map(|_| plant.cycle().responses.len()).sum();
    assert_eq!(told, 0);
}

#[test]
fn a_miner_that_was_silent_when_the_limit_came_is_shed_when_it_answers_again() {
    let mut plant = falling();
    plant.run(50);
    plant.miners[3].manner = Manner::Silent;
    plant.run(60);
    assert!(plant.miners[3].draw > 1_000.0, "it goes on as it was");
    plant.miners[3].manner = Manner::Obeys;
    plant.run(15);
    assert!(plant.import() <= 0.0, "{}", plant.import());
}

#[test]
fn a_limit_holds_when_sleeping_miners_wake_by_themselves_again_and_again() {
    let mut plant = Plant::new(site(20), 0.9, |at| if at < 30.0 { -130e3 } else { -1e3 });
    plant.run(90);
    assert!(plant.miners.iter().all(|miner| miner.target == Target::Sleep));
    for round in 0_u32..3 {
        let now = plant.now;
        for miner in plant.miners.iter_mut().skip(5).take(4) {
            (miner.target, miner.from, miner.since) = (Target::Power(Watts::whole(3_400)), miner.draw, now);
            (miner.goal, miner.draw) = (3_400.0, 3_400.0);
        }
        plant.run(20);
        assert!(plant.miners.iter().all(|miner| miner.target == Target::Sleep), "round {round}");
        assert!(plant.import() <= 0.0);
    }
}

/// One that was woken loses the order that calls it off, and goes on by the one before. How long a start takes is no time to leave it so.
#[test]
fn a_miner_whose_wake_is_called_off_and_that_does_not_hear_it_is_told_again_soon() {
    let mut slow = site(20);
    for miner in &mut slow.miners {
        miner.response.start_time = std::time::Duration::from_secs(300);
    }
    slow.limits.push(limit("order", 0, Scope::Miners, LimitClass::Safety, 200_000));
    let order = slow.limits.len() - 1;
    let mut plant = Plant::new(slow, 0.9, |_| -1e3);
    plant.run(90);
    assert!(plant.miners.iter().all(|miner| miner.target == Target::Sleep));
    plant.other = Box::new(|_| -130e3);
    let woken = (0..300).find_map(|_| {
        plant
            .cycle()
            .commands
            .iter()
            .find(|command| command.target != Target::Sleep)
            .map(|command| command.miner.0)
    });
    let woken = woken.expect("somebody is woken");
    plant.miners[woken].manner = Manner::Hangs;
    let mut none = (*plant.site).clone();
    none.limits[order].cap = Cap::Constant(Watts::ZERO);
    plant.state.site = Arc::new(none);
    let called_off = (0..20).any(|_| {
        plant
            .cycle()
            .commands
            .iter()
            .any(|command| command.miner.0 == woken && command.target == Target::Sleep)
    });
    assert!(called_off && plant.miners[woken].target != Target::Sleep, "{:?}", plant.miners[woken].target);
    plant.miners[woken].manner = Manner::Obeys;
    let delivery = plant.miners[woken].delivery.as_mut().unwrap();
    delivery.outcome = Outcome::Unknown;
    // It is there sooner than its model says.
    let now = plant.now;
    let miner = &mut plant.miners[woken];
    (miner.goal, miner.draw, miner.from, miner.since) = (1_900.0, 1_900.0, 1_900.0, now);
    plant.run(60);
    assert_eq!(plant.miners[woken].target, Target::Sleep);
}

#[test]
fn a_miner_that_has_not_answered_a_raise_is_told_to_sleep_when_an_order_needs_it_and_counts_until_it_answers()
{
    let mut site = site(20);
    site.limits.push(limit("order", 0, Scope::Miners, LimitClass::Safety, 200_000));
    let order = site.limits.len() - 1;
    let mut plant = Plant::new(site, 0.7, |_| -100e3);
    plant.run(60);
    // More sun, and every raise hangs.
    plant.other = Box::new(|_| -130e3);
    for miner in &mut plant.miners {
        miner.manner = Manner::Hangs;
    }
    let raised: BTreeSet<MinerId> =
        (0..6).flat_map(|_| plant.cycle().commands).map(|command| command.miner).collect();
    assert!(raised.len() > 10, "{}", raised.len());
    let mut none = (*plant.site).clone();
    none.limits[order].cap = Cap::Constant(Watts::ZERO);
    plant.state.site = Arc::new(none);
    let decision = plant.cycle();
    let told: BTreeSet<MinerId> = decision.commands.iter().map(|command| command.miner).collect();
    assert_eq!(
        told.len(),
        plant.miners.len(),
        "all are told at once, also those of which an answer is still awaited"
    );
    assert!(decision.commands.iter().all(|command| command.target == Target::Sleep));
    // Each once; and what they may draw counts for as long as they have not answered.
    for second in 0..8 {
        let decision = plant.cycle();
        let again = decision.commands.iter().filter(|command| raised.contains(&command.miner)).count();
        assert_eq!(again, 0, "second {second}");
        for miner in &raised {
            let counted = decision.miners[miner.0].counted.get();
            assert!(counted >= plant.miners[miner.0].draw, "second {second}: {counted}");
        }
    }
    // One answers, and is believed.
    let one = raised.iter().next().unwrap().0;
    plant.miners[one].delivery.as_mut().unwrap().outcome = Outcome::Accepted;
    let now = plant.now;
    plant.miners[one].delivery.as_mut().unwrap().at = now;
    let decision = plant.cycle();
    assert_ne!(decision.miners[one].state, MinerState::Unanswered);
}

/// A cap on 24 miners of up to 3.4 kW that asks for 15 of them to sleep.
fn capped(alter: impl Fn(&mut Miner), answers: [u64; 2]) -> Plant {
    let mut site = site(12);
    site.miners.iter_mut().for_each(alter);
    let mut plant = Plant::new(site, 1.0, |_| -120e3);
    for miner in &mut plant.miners {
        miner.answers = answers.map(Duration::from_millis);
    }
    plant
}

fn asleep(plant: &Plant) -> usize {
    plant.miners.iter().filter(|miner| miner.target == Target::Sleep).count()
}

/// How many are told to sleep at the most.
fn most_asleep(plant: &mut Plant, seconds: u32) -> usize {
    let told = (0..seconds).map(|_| {
        plant.cycle();
        asleep(plant)
    });
    told.max().unwrap_or_default()
}

#[test]
fn who_takes_long_to_answer_that_it_sleeps_has_nobody_else_put_to_sleep() {
    let slept = |late: u64, orders: u32| {
        let mut plant = capped(|_| {}, [100, late]);
        plant.run(120);
        // What they answer to another target is quick, and is known.
        for watts in [76_000, 60_000] {
            plant.orders = vec![order(watts, Urgency::Normal)];
            plant.run(60);
        }
        let mut most = 0;
        for _ in 0..orders {
            plant.orders.clear();
            plant.run(120);
            plant.orders = vec![order(17_500, Urgency::Normal)];
            most = most_asleep(&mut plant, 60);
        }
        most
    };
    for late in [700, 1_400, 2_000, 2_400] {
        assert_eq!(slept(late, 1), slept(0, 1), "answers after {late} ms");
    }
    // Longer than anybody takes of whom nothing is known: for once.
    for late in [3_500, 6_000] {
        assert_eq!(slept(late, 2), slept(0, 2), "answers after {late} ms");
    }
}

#[test]
fn a_firmware_that_answers_after_its_restart_has_nobody_else_put_to_sleep() {
    let slow = |miner: &mut crate::control::site::Miner| {
        miner.actuator = Actuator::OnOff;
        miner.response.dead_time_down = Duration::from_secs(25);
        miner.response.dead_time_up = Duration::from_secs(25);
        miner.response.start_time = Duration::from_secs(240);
        miner.cost.min_interval = Duration::from_secs(900);
        miner.answer_within.switch = Duration::from_secs(30);
        miner.silent_after = Duration::from_secs(15);
    };
    let mut plant = capped(slow, [21_000; 2]);
    plant.run(60);
    plant.orders = vec![order(33_000, Urgency::Normal)];
    assert_eq!(most_asleep(&mut plant, 180), 15);
    assert!(plant.draw() > 29e3 && plant.draw() <= 33e3, "{} W", plant.draw());
}

#[test]
fn who_ends_its_software_to_sleep_is_not_taken_for_one_that_restarts() {
    let slept = |ends: bool| {
        let mut plant = capped(|_| {}, [0; 2]);
        for miner in &mut plant.miners {
            // It says at once that it sleeps, and later what it draws then.
            (miner.ends_software, miner.averages) = (ends, 2.0);
        }
        plant.run(60);
        plant.orders = vec![order(17_500, Urgency::Normal)];
        most_asleep(&mut plant, 60)
    };
    assert_eq!(slept(true), slept(false));
}

#[test]
fn who_restarts_to_change_its_power_is_not_taken_for_one_that_has_lost_it() {
    let mut plant = capped(|miner| miner.restarts = true, [0; 2]);
    plant.run(60);
    plant.orders = vec![order(60_000, Urgency::Normal)];
    for _ in 0..60 {
        for command in plant.cycle().commands {
            plant.miners[command.miner.0].uptime_from = plant.now;
        }
        assert_eq!(asleep(&plant), 0);
    }
    assert!(plant.draw() > 57e3, "{} W", plant.draw());
}

#[test]
fn a_start_that_was_asked_for_is_not_taken_for_a_restart() {
    let mut site = site(12);
    site.limits.push(limit("hall", 0, Scope::Miners, LimitClass::Contract, 50_000));
    let mut plant = Plant::new(site, 0.0, |_| -120e3);
    for _ in 0..120 {
        for command in plant.cycle().commands {
            // Its software starts now, and has run for longer before.
            plant.miners[command.miner.0].uptime_from = plant.now;
        }
    }
    assert!(plant.state.tracks.iter().all(|track| !track.restarted));
}

#[test]
fn nobody_is_raised_because_others_say_late_how_far_they_have_come_down() {
    for (averages, watts) in [(0.5, 50_000), (1.5, 30_000), (3.0, 30_000), (3.0, 55_000)] {
        // 20 kW of other load, and a cap on what comes in.
        let mut site = site(12);
        site.limits = vec![limit("rating", 0, Scope::Import, LimitClass::Safety, 150_000)];
        let mut plant = Plant::new(site, 1.0, |_| 20e3);
        for miner in &mut plant.miners {
            miner.averages = averages;
        }
        plant.run(60);
        let mut capped = order(watts, Urgency::Normal);
        capped.active.scope = Scope::Import;
        plant.orders = vec![capped];
        let cap = f64::from(watts);
        let (mut below, mut most) = (None, 0.0_f64);
        for _ in 0..60 {
            plant.cycle();
            if plant.import() <= cap {
                below.get_or_insert(plant.seconds());
            }
            if below.is_some() {
                most = most.max(plant.import());
            }
        }
        assert!(below.is_some() && most <= cap, "{averages} s, {cap} W: {most} W");
    }
}

#[test]
fn commands_that_are_taken_make_no_old_reading_young() {
    let mut plant = capped(|_| {}, [0; 2]);
    plant.run(60);
    (plant.miners[0].unread, plant.miners[0].manner) = (true, Manner::Ignores);
    for second in 0_u32..40 {
        // It is told something else every four seconds.
        if second % 4 == 0 {
            plant.orders = vec![order(if second % 8 == 0 { 60_000 } else { 50_000 }, Urgency::Normal)];
        }
        let decision = plant.cycle();
        let state = decision.miners[0].state;
        let known = matches!(state, MinerState::Hashing | MinerState::Asleep);
        assert!(second < 18 || !known, "after {second} s: {state:?}");
    }
}
