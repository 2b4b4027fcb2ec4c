//! The control law against a small plant.

use std::sync::Arc;
use std::time::Duration;

use super::plant::{Manner, Plant};
use crate::control::decision::MinerState;
use crate::control::decision::{Mode, Source};
use crate::control::site::{Actuator, CircuitId, LimitClass, MeterId, Miner, Scope};
use crate::control::snapshot::Target;
use crate::control::testing::{limit, site};
use crate::units::Watts;

/// 40 miners of up to 3.4 kW: 136 kW.
fn plant(fraction: f64, other: impl Fn(f64) -> f64 + 'static) -> Plant {
    Plant::new(site(20), fraction, other)
}

#[test]
fn the_fleet_settles_below_the_surplus_and_stays_there() {
    let mut plant = plant(0.5, |_| -100e3);
    plant.run(60);
    let settled = plant.draw();
    assert!((96e3..=100e3).contains(&settled), "{settled}");
    // Rebalancing may still move a few; it must come to an end.
    plant.run(240);
    let before = plant.commands;
    plant.run(120);
    assert!(plant.commands - before <= 2, "hunts: {} commands in steady state", plant.commands - before);
}

#[test]
fn taking_over_moves_nothing_by_itself() {
    // 40 miners at 2 380 W with a surplus that just covers them.
    let mut plant = plant(0.7, |_| -40.0 * 2_380.0 - 1_200.0);
    plant.run(3);
    assert_eq!(plant.commands, 0);
}

#[test]
fn a_fall_of_the_surplus_is_followed_within_seconds() {
    let mut plant = plant(0.9, |at| if at < 60.0 { -130e3 } else { -70e3 });
    plant.run(60);
    let mut seconds = 0;
    loop {
        plant.cycle();
        seconds += 1;
        if plant.import() <= 0.0 {
            break;
        }
        assert!(seconds < 5, "still importing {} W after {seconds} s", plant.import());
    }
    plant.run(30);
    assert!(plant.draw() > 66e3, "over-shed to {}", plant.draw());
}

#[test]
fn a_meter_that_lags_does_not_make_the_fleet_hunt() {
    let mut site = site(20);
    site.meters[0].lag = Duration::from_secs(5);
    site.meters[0].learn_lag = false;
    let mut plant = Plant::new(site, 0.9, |at| if at < 60.0 { -130e3 } else { -70e3 });
    plant.meter_lag = Duration::from_secs(5);
    plant.run(75);
    let before = plant.commands;
    for _ in 0..120 {
        plant.cycle();
        assert!(plant.import() < 500.0, "imports {}", plant.import());
        assert!(plant.draw() > 60e3, "over-sheds to {}", plant.draw());
    }
    assert!(plant.commands - before < 60, "{} commands", plant.commands - before);
}

#[test]
fn a_miner_that_can_only_be_read_counts_as_a_load_and_is_never_commanded() {
    let mut site = site(20);
    for miner in site.miners.iter_mut().take(4) {
        miner.actuator = Actuator::Fixed;
    }
    let mut plant = Plant::new(site, 0.8, |at| if at < 60.0 { -100e3 } else { -70e3 });
    for _ in 0..180 {
        let decision = plant.cycle();
        assert!(decision.commands.iter().all(|command| command.miner.0 >= 4), "{:?}", decision.commands);
    }
    let draw = plant.draw();
    assert!(plant.import() <= 0.0 && draw > 60e3, "the others make room for them: {draw}");
}

#[test]
fn miners_that_settle_above_their_target_are_learned() {
    let mut plant = plant(0.5, |_| -100e3);
    for miner in &mut plant.miners {
        miner.error = 1.06;
        miner.goal *= 1.06;
    }
    plant.run(120);
    for _ in 0..60 {
        plant.cycle();
        assert!(plant.import() <= 100.0, "imports {}", plant.import());
    }
    assert!(plant.draw() > 94e3, "{}", plant.draw());
}

#[test]
fn a_slow_climb_is_nowhere_to_settle_and_whoever_draws_what_they_were_told_is_no_straggler() {
    // They climb at 12 W a second where their model says 800.
    let mut plant = plant(0.6, |at| if at < 200.0 { -110e3 } else { -130e3 });
    let mut slow = (*plant.site).clone();
    for miner in &mut slow.miners {
        miner.response.ramp_up = crate::units::WattsPerSecond::whole(12);
    }
    plant.site = Arc::new(slow);
    for second in 0..400 {
        let decision = plant.cycle();
        let stragglers = decision.miners.iter().filter(|miner| miner.state == MinerState::Straggler).count();
        assert_eq!(stragglers, 0, "second {second}");
        for (miner, track) in plant.miners.iter().zip(&plant.state.tracks) {
            let scale = track.settling.scale();
            assert!(
                scale > 0.95,
                "second {second}: {scale} at {} W on its way to {} W",
                miner.draw,
                miner.goal
            );
        }
    }
    assert!(plant.draw() > 120e3, "{}", plant.draw());
}

#[test]
fn what_stands_below_a_cap_for_minutes_is_not_asked_for_more_than_it_may_draw() {
    // A whole fleet behind a name waits for its own miners to start: a watt a second is standing, for a single miner.
    let lowest = |caps: bool| {
        let mut plant = plant(0.6, |at| if at < 200.0 { -110e3 } else { -130e3 });
        let mut model = (*plant.site).clone();
        for miner in &mut model.miners {
            miner.response.caps = caps;
        }
        let mut slow = model.clone();
        for miner in &mut slow.miners {
            miner.response.ramp_up = crate::units::WattsPerSecond::whole(1);
        }
        // The law knows the model, and the miners are slower.
        plant.state = crate::control::State::new(Arc::new(model));
        plant.site = Arc::new(slow);
        let mut lowest = f64::INFINITY;
        for _ in 0..600 {
            let decision = plant.cycle();
            for (outcome, track) in decision.miners.iter().zip(&plant.state.tracks) {
                assert_ne!(outcome.state, MinerState::Straggler);
                lowest = lowest.min(track.settling.scale());
            }
        }
        lowest
    };
    assert!(lowest(false) < 0.9, "a miner's own scale is learned");
    let under_a_cap = lowest(true);
    assert!(under_a_cap > 0.95 - 1e-9, "a cap is none: {under_a_cap}");
}

#[test]
fn a_lost_meter_takes_the_fleet_to_its_fail_safe_and_back() {
    let mut plant = plant(0.9, |_| -130e3);
    plant.run(30);
    plant.meter_up = false;
    let decision = plant.run(4);
    assert_eq!(decision.mode, Mode::Following, "still fresh enough");
    let decision = plant.run(3);
    assert_eq!(decision.mode, Mode::FailSafe);
    assert_eq!(decision.binding.source, Source::LostMeter(MeterId(0)));
    let partly = decision.fleet.budget;
    assert!(partly < Watts::kilowatts(128.0) && partly > Watts::kilowatts(10.0), "no cliff: {partly}");
    plant.run(15);
    assert!(plant.draw() <= 40.0 * 20.0 + 1.0, "all asleep: {}", plant.draw());
    plant.meter_up = true;
    plant.run(180);
    assert!(plant.draw() > 120e3, "comes back by itself: {}", plant.draw());
}

#[test]
fn a_silent_miner_counts_at_the_most_it_can_draw() {
    let mut plant = plant(0.6, |_| -100e3);
    plant.run(60);
    plant.miners[0].manner = Manner::Silent;
    plant.miners[1].manner = Manner::Silent;
    let decision = plant.run(30);
    assert_eq!(decision.miners[0].state, MinerState::Unreachable);
    assert_eq!(decision.miners[0].counted, Watts::whole(3_600));
    let others: f64 = plant.miners[2..].iter().map(|miner| miner.draw).sum();
    assert!(others + 2.0 * 3_600.0 <= 99e3 + 1.0 + 2.0 * (3_600.0 - 2_000.0), "{others}");
    assert!(plant.import() <= 0.0);
}

#[test]
fn a_miner_that_accepts_and_does_not_obey_is_named_and_its_power_stays_counted() {
    let mut plant = plant(0.9, |at| if at < 30.0 { -130e3 } else { -60e3 });
    for index in 0..5 {
        plant.miners[index].manner = Manner::Ignores;
    }
    plant.run(30);
    let decision = plant.run(40);
    let stragglers = decision.miners.iter().filter(|miner| miner.state == MinerState::Straggler).count();
    assert!((1..=5).contains(&stragglers), "{stragglers} stragglers");
    assert!(plant.import() <= 0.0, "the others make up for it: import {}", plant.import());
}

#[test]
fn a_miner_that_refuses_is_not_hammered() {
    let mut plant = plant(0.9, |at| if at < 30.0 { -130e3 } else { -60e3 });
    plant.miners[0].manner = Manner::Refuses;
    plant.run(30);
    let mut orders = 0;
    for _ in 0..120 {
        let decision = plant.cycle();
        orders += decision.commands.iter().filter(|command| command.miner.0 == 0).count();
    }
    assert!(orders <= 8, "{orders} commands to a miner that refuses");
    assert!(plant.import() <= 0.0);
}

#[test]
fn a_sleeping_miner_that_wakes_by_itself_is_put_back_at_once() {
    let mut plant = plant(0.9, |_| -20e3);
    plant.run(60);
    let asleep = plant.miners.iter().position(|miner| miner.draw < 100.0).expect("some sleep");
    plant.miners[asleep].target = Target::Power(Watts::whole(3_400));
    plant.miners[asleep].goal = 3_400.0;
    plant.miners[asleep].from = 20.0;
    plant.miners[asleep].since = plant.now;
    plant.run(12);
    assert!(plant.miners[asleep].draw < 100.0, "still draws {}", plant.miners[asleep].draw);
}

#[test]
fn observe_mode_decides_and_sends_nothing() {
    let mut site = site(20);
    site.settings.observe = true;
    let mut plant = Plant::new(site, 0.9, |_| -60e3);
    let decision = plant.run(30);
    assert_eq!(plant.commands, 0);
    assert_eq!(decision.mode, Mode::Observe);
    assert_eq!(decision.would_be, Mode::Following);
    assert!(decision.fleet.setpoint <= Watts::kilowatts(60.0), "{}", decision.fleet.setpoint);
}

#[test]
fn a_rating_below_binds_and_is_named() {
    let mut site = site(20);
    site.limits.push(limit("north-breaker", 1, Scope::Miners, LimitClass::Safety, 40_000));
    let mut plant = Plant::new(site, 0.9, |_| -1e6);
    let decision = plant.run(60);
    assert_eq!(decision.mode, Mode::Limited);
    assert_eq!(decision.binding.circuit.0, 1);
    let north: f64 = plant
        .miners
        .iter()
        .zip(&plant.site.miners)
        .filter(|(_, spec)| spec.circuit.0 == 1)
        .map(|(miner, _)| miner.draw)
        .sum();
    assert!(north <= 40_000.0, "{north}");
    assert!(plant.draw() > 100e3, "south runs free: {}", plant.draw());
}

#[test]
fn a_fleet_that_slept_through_the_night_wakes_in_steps() {
    let mut plant = plant(0.0, |_| -100e3);
    let mut most = 0;
    for _ in 0..200 {
        let decision = plant.cycle();
        let woken = decision.commands.iter().map(|command| &plant.miners[command.miner.0]);
        most = most.max(woken.filter(|miner| miner.waking && miner.since == plant.now).count());
        assert!(plant.import() <= 0.0, "imports {}", plant.import());
    }
    // Ten kilowatts a second, and a miner wakes at 1.4 kW.
    assert!(most <= 8, "{most} started in one cycle");
    assert!(plant.draw() > 90e3, "{}", plant.draw());
}

#[test]
fn a_cloudy_sky_is_followed_without_import_to_speak_of() {
    let sky = |at: f64| -(95e3 + 25e3 * (at / 37.0).sin() + 8e3 * (at / 5.3).sin());
    let mut plant = plant(0.6, sky);
    plant.run(60);
    (plant.imported, plant.surplus, plant.captured) = (0.0, 0.0, 0.0);
    plant.run(600);
    let (import, captured) = (plant.imported / plant.surplus, plant.captured / plant.surplus);
    assert!(captured > 0.93, "captured {captured:.3}, import {import:.4}, {} commands", plant.commands);
    assert!(import < 0.003, "import {import:.4}, captured {captured:.3}");
}

#[test]
fn a_miner_whose_answers_are_lost_is_neither_hammered_nor_put_to_sleep() {
    let mut plant = plant(0.9, |at| if at < 30.0 { -130e3 } else { -100e3 });
    for miner in &mut plant.miners {
        miner.manner = Manner::Mute;
    }
    let mut commands = vec![0; plant.miners.len()];
    plant.run(28);
    for _ in 0..90 {
        let decision = plant.cycle();
        for command in &decision.commands {
            commands[command.miner.0] += 1;
        }
        let sleeps = decision.commands.iter().filter(|command| command.target == Target::Sleep).count();
        assert_eq!(sleeps, 0, "an answer that is lost is no reason to sleep");
    }
    assert!(plant.import() <= 0.0);
    assert!(plant.draw() > 90e3, "{}", plant.draw());
    // The step, and what can be given back of it.
    assert!(commands.iter().all(|commands| *commands <= 3), "{commands:?} commands");
}

#[test]
fn a_rebooted_miner_counts_in_full_and_gets_its_setpoint_again() {
    let mut plant = plant(0.6, |_| -83e3);
    plant.run(60);
    let before = plant.draw();
    // One that is set low: after the reboot it would run at its maximum.
    let low = |plant: &Plant| {
        (0..plant.miners.len())
            .filter(|index| plant.miners[*index].draw > 1_000.0)
            .min_by(|one, other| plant.miners[*one].draw.total_cmp(&plant.miners[*other].draw))
            .expect("one hashes")
    };
    let index = low(&plant);
    let setting = plant.miners[index].goal;
    plant.reboot(index);
    // In its first seconds a miner draws nothing, however it starts; then it may come to anything.
    let decision = plant.run(10);
    assert!(
        decision.miners[index].counted >= plant.site.miners[index].maximum(),
        "unknown is the worst case: {:?}",
        decision.miners[index]
    );
    for _ in 0..60 {
        plant.cycle();
        assert!(plant.import() <= 0.0, "imports {}", plant.import());
    }
    assert!(plant.miners[index].draw <= setting + 100.0, "draws {}", plant.miners[index].draw);
    assert!(plant.draw() > before - 4e3, "{} after {before}", plant.draw());
}

#[test]
fn a_dedicated_feeder_meter_keeps_the_loop_calm_while_the_miners_move() {
    let mut site = site(20);
    site.circuits[1].parent = Some(crate::control::site::CircuitId(0));
    let mut feeder = crate::control::testing::circuit("fleet", Some(0));
    feeder.meter = Some(MeterId(1));
    feeder.dedicated = true;
    site.circuits = vec![site.circuits[0].clone(), feeder];
    site.meters.push(crate::control::testing::meter("feeder"));
    for miner in &mut site.miners {
        miner.circuit = crate::control::site::CircuitId(1);
    }
    let mut plant = Plant::new(site, 0.5, |at| if at < 60.0 { -80e3 } else { -125e3 });
    plant.run(60);
    let mut highest = f64::MIN;
    for _ in 0..120 {
        plant.cycle();
        highest = highest.max(plant.import());
    }
    assert!(highest <= 0.0, "the rise overshoots by {highest}");
    assert!(plant.draw() > 120e3, "{}", plant.draw());
}

#[test]
fn readings_that_are_averages_are_not_taken_for_a_calibration_that_leaves_more_room() {
    // Caps on the feeder and on what lies above it, on the miners and on what flows in.
    for (circuit, scope) in [(1, Scope::Miners), (1, Scope::Import), (0, Scope::Miners), (0, Scope::Import)] {
        for averages in [2.0, 5.0, 10.0, 20.0] {
            for cap in [50_000, 115_000, 120_000, 128_000] {
                let mut site = super::slow_meters::with_feeder(true);
                site.circuits[0].margin = Watts::ZERO;
                site.limits = vec![limit("rating", circuit, scope, LimitClass::Safety, cap)];
                let mut plant = Plant::new(site, if cap == 50_000 { 0.0 } else { 1.0 }, |_| 0.0);
                for miner in &mut plant.miners {
                    miner.averages = averages;
                }
                let (cap, what) =
                    (f64::from(cap), format!("{scope:?} at {circuit}, averages over {averages} s"));
                // While they are lowered at first they cannot but be above it.
                plant.run(10);
                let mut above = 0;
                // A meter that stands still as this one does is asked now and then: for some seconds they draw less.
                let mut lately = 0.0_f64;
                for second in 0..300 {
                    plant.cycle();
                    let draw = plant.draw();
                    lately = if second < 270 { draw } else { lately.max(draw) };
                    above += usize::from(draw > cap * 1.004);
                    assert!(draw < cap * 1.0075, "{what}: {draw} W under a cap of {cap} W");
                }
                assert!(above <= 10, "{what}: {above} s above a cap of {cap} W");
                // At the connection some is kept free for other load, which seems to move as the readings do.
                let least = if (circuit, scope) == (0, Scope::Import) { 0.93 } else { 0.985 };
                assert!(lately > cap * least, "{what}: {lately} of {cap} W");
            }
        }
    }
}

#[test]
fn a_steep_step_does_not_take_the_fleet_far_below_the_surplus_for_long() {
    for feeder in [false, true] {
        let mut site = super::slow_meters::with_feeder(feeder);
        // Somebody has told that the meter is not late: else what is in flight is in doubt.
        for meter in &mut site.meters {
            meter.learn_lag = false;
        }
        let model = site.miners[0].clone();
        let circuit = |index: usize| CircuitId(if feeder { 1 } else { 1 + index % 2 });
        let miner =
            |index: usize| Miner { name: format!("m{index}"), circuit: circuit(index), ..model.clone() };
        site.miners = (0..120).map(miner).collect();
        // 400 kW of surplus become 300 kW within three seconds.
        let step = |at: f64| -400e3 + 100e3 * ((at - 120.0) / 3.0).clamp(0.0, 1.0);
        let mut plant = Plant::new(site, 0.97, step);
        plant.run(120);
        (plant.imported, plant.captured, plant.surplus) = (0.0, 0.0, 0.0);
        let (mut lowest, mut importing) = (f64::MAX, 0);
        for _ in 0..40 {
            plant.cycle();
            lowest = lowest.min(plant.draw());
            importing += usize::from(plant.import() > 0.0);
        }
        let unused = plant.surplus - plant.captured;
        // What was kept free in case it would fall on is given back as soon as it does not, at the rate of any raise.
        assert!(lowest > 225e3, "feeder {feeder}: over-shed to {lowest}");
        assert!(unused < 450e3, "feeder {feeder}: {unused} J were left unused");
        // A fall of three seconds that nothing announced: each of them is imported for as long as the loop takes, which is
        // the cycle, the dead time and the first tenth of the way.
        let loop_time = 1.0 + 1.0 + 0.3;
        assert!(importing <= 6, "feeder {feeder}: imported {} J in {importing} s", plant.imported);
        assert!(plant.imported < 100e3 * loop_time, "feeder {feeder}: imported {} J", plant.imported);
    }
}
