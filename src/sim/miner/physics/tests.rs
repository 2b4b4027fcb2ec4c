//! Tests of the physics: what a controller relies on and what hurts one that relies on too much.

use proptest::prelude::*;

use super::*;
use crate::control::site::{Actuator, AnswerWithin, ChangeCost, CircuitId, Response};
use crate::control::site::{LoadClass, OperatingPoint};
use crate::miner::DriverKind;
use crate::units::Hashrate;
use crate::units::WattsPerSecond;

/// A Whatsminer of 3400 W as a site describes it.
pub(in crate::sim::miner) fn spec(driver: DriverKind) -> Miner {
    let traits = driver.traits();
    let point = |watts: i32, terahashes: f64| OperatingPoint {
        power: Watts::whole(watts),
        hashrate: Hashrate::terahashes(terahashes),
    };
    Miner {
        name: "m1".into(),
        driver: driver.name(),
        circuit: CircuitId(0),
        points: vec![point(1_700, 92.0), point(2_500, 130.0), point(3_400, 170.0)],
        class: LoadClass::Miner,
        contract: None,
        sleeps: true,
        notice: Duration::ZERO,
        answer_within: AnswerWithin::NONE,
        restarts: false,
        sleep: Watts::whole(20),
        nameplate: Watts::whole(3_700),
        actuator: Actuator::Continuous { quantum: Watts::whole(34) },
        response: traits.response,
        cost: traits.cost,
        poll_period: Duration::from_secs(2),
        silent_after: Duration::from_secs(10),
    }
}

fn at(seconds: f64) -> Moment {
    Moment::after_start(Duration::from_secs_f64(seconds))
}

fn running(driver: DriverKind, seed: u64) -> Physics {
    Physics::hashing(&spec(driver), Watts::whole(3_400), Habits::of(driver), seed, 1.0)
}

fn sleeping(driver: DriverKind, seed: u64) -> Physics {
    Physics::asleep(&spec(driver), Watts::whole(3_400), Habits::of(driver), seed)
}

#[test]
fn a_quick_percentage_is_reached_within_three_seconds_and_settles_near_it() {
    let mut miner = running(DriverKind::WhatsminerV2, 1);
    miner.set(Setting::Percent(60.0), Pace::Quick, at(10.0));
    let before = miner.power(at(10.5)).get();
    assert!(before > 3_250.0, "nothing moves during the dead time, got {before}");
    let after = miner.power(at(13.0)).get();
    assert!((after / 2_040.0 - 1.0).abs() < 0.035, "settled at {after}");
}

#[test]
fn braiins_falls_fast_and_rises_slowly() {
    let mut miner = running(DriverKind::BraiinsOs, 2);
    miner.set(Setting::Watts(Watts::whole(2_000)), Pace::Quick, at(10.0));
    assert!(miner.power(at(20.0)).get() < 2_080.0);
    miner.set(Setting::Watts(Watts::whole(3_200)), Pace::Quick, at(30.0));
    let early = miner.power(at(50.0)).get();
    assert!((2_100.0..2_700.0).contains(&early), "after 20 s at {early}");
    assert!(miner.power(at(140.0)).get() > 3_100.0);
}

#[test]
fn sleep_leaves_the_standby_draw_after_a_tail() {
    let mut miner = running(DriverKind::WhatsminerV3, 3);
    miner.sleep(at(5.0));
    let soon = miner.power(at(12.0)).get();
    assert!((21.0..60.0).contains(&soon), "the tail, got {soon}");
    let later = miner.power(at(200.0)).get();
    assert!((19.9..20.1).contains(&later), "standby, got {later}");
    assert_eq!(miner.state(at(200.0)), MinerState::Asleep);
    assert_eq!(miner.hashrate(at(200.0)), Hashrate::ZERO);
}

#[test]
fn waking_passes_through_start_overshoot_and_tuning() {
    let mut miner = sleeping(DriverKind::WhatsminerV2, 4);
    miner.wake(at(10.0));
    assert_eq!(miner.state(at(40.0)), MinerState::Starting);
    assert!(miner.power(at(40.0)).get() < 60.0);
    let peak = (500..1_500).map(|tenth| miner.power(at(f64::from(tenth) / 10.0)).get()).fold(0.0, f64::max);
    let settled = miner.power(at(200.0)).get();
    assert_eq!(miner.state(at(200.0)), MinerState::Hashing);
    assert!(peak > settled * 1.01, "peak {peak} over {settled}");
    assert!(peak <= 3_700.0);
    assert!(miner.hashrate(at(200.0)).as_terahashes() > 160.0);
}

#[test]
fn a_percentage_given_before_tuning_has_ended_waits() {
    let mut miner = sleeping(DriverKind::WhatsminerV3, 5);
    miner.wake(at(0.0));
    miner.set(Setting::Percent(60.0), Pace::Quick, at(1.0));
    assert_eq!(miner.state(at(75.0)), MinerState::Tuning);
    assert!(miner.power(at(75.0)).get() > 3_000.0, "tunes at its limit first");
    assert_eq!(miner.shown_setting(at(75.0)), Some(Setting::Percent(60.0)));
    let settled = miner.power(at(120.0)).get();
    assert!((settled / 2_040.0 - 1.0).abs() < 0.035, "then obeys, got {settled}");
}

#[test]
fn a_watt_target_given_while_starting_is_the_target_of_the_start() {
    let mut miner = sleeping(DriverKind::BraiinsOs, 6);
    miner.wake(at(0.0));
    miner.set(Setting::Watts(Watts::whole(1_800)), Pace::Quick, at(1.0));
    let peak = (0..4_000).map(|tenth| miner.power(at(f64::from(tenth) / 10.0)).get()).fold(0.0, f64::max);
    assert!(peak < 1_800.0 * 1.08, "peak {peak}");
}

#[test]
fn a_reboot_loses_the_percentage_but_keeps_watts_and_sleep_where_the_firmware_does() {
    let mut whatsminer = running(DriverKind::WhatsminerV2, 7);
    whatsminer.set(Setting::Percent(60.0), Pace::Quick, at(1.0));
    whatsminer.cut(Duration::from_secs(30), at(10.0));
    assert_eq!(whatsminer.state(at(20.0)), MinerState::Rebooting);
    assert!(whatsminer.power(at(20.0)).get() < 20.0);
    assert_eq!(whatsminer.shown_setting(at(300.0)), None);
    assert!(whatsminer.power(at(300.0)).get() > 3_200.0);
    assert!(whatsminer.uptime(at(300.0)) < Duration::from_secs(261));

    let mut braiins = running(DriverKind::BraiinsOs, 7);
    braiins.set(Setting::Watts(Watts::whole(2_000)), Pace::Quick, at(1.0));
    braiins.cut(Duration::from_secs(30), at(10.0));
    let power = braiins.power(at(600.0)).get();
    assert!((power / 2_000.0 - 1.0).abs() < 0.03, "got {power}");
    braiins.sleep(at(700.0));
    braiins.cut(Duration::from_secs(30), at(720.0));
    assert_eq!(braiins.state(at(800.0)), MinerState::Asleep);
}

#[test]
fn too_low_a_percentage_restarts_mining() {
    let mut miner = running(DriverKind::WhatsminerV2, 8);
    miner.set(Setting::Percent(20.0), Pace::Quick, at(1.0));
    assert_eq!(miner.state(at(5.0)), MinerState::Starting);
    assert_eq!(miner.restarts(), 1);
    // Two percent of slack: whole percents cannot hit the least power exactly.
    let mut careful = running(DriverKind::WhatsminerV2, 8);
    careful.set(Setting::Percent(49.0), Pace::Quick, at(1.0));
    assert_eq!(careful.state(at(5.0)), MinerState::Hashing);
}

#[test]
fn a_new_power_limit_costs_a_restart() {
    let mut miner = running(DriverKind::WhatsminerV2, 9);
    miner.restart(Some(Watts::whole(3_000)), at(1.0));
    assert!(miner.power(at(20.0)).get() < 60.0);
    let settled = miner.power(at(300.0)).get();
    assert!((settled / 3_000.0 - 1.0).abs() < 0.035, "got {settled}");
    assert!(miner.mining_time(at(300.0)) < Duration::from_secs(300));
}

#[test]
fn a_wake_takes_back_a_sleep_that_has_not_begun() {
    let mut miner = running(DriverKind::BraiinsOs, 10);
    miner.sleep(at(1.0));
    miner.wake(at(1.5));
    assert_eq!(miner.state(at(30.0)), MinerState::Hashing);
    assert!(miner.power(at(30.0)).get() > 3_000.0);
}

#[test]
fn a_target_given_just_before_sleep_is_not_lost() {
    let mut miner = running(DriverKind::BraiinsOs, 11);
    miner.set(Setting::Watts(Watts::whole(3_500)), Pace::Quick, at(1.0));
    miner.sleep(at(1.1));
    assert_eq!(miner.state(at(30.0)), MinerState::Asleep);
    assert_eq!(miner.shown_setting(at(30.0)), Some(Setting::Watts(Watts::whole(3_500))));
}

#[test]
fn watts_that_were_accepted_survive_a_reboot_even_before_they_were_in_force() {
    for driver in [DriverKind::WhatsminerV3, DriverKind::BraiinsOs] {
        let mut miner = running(driver, 17);
        miner.set(Setting::Watts(Watts::whole(2_000)), Pace::Quick, at(1.0));
        miner.cut(Duration::from_secs(10), at(1.1));
        let settled = miner.power(at(400.0)).get();
        assert!((settled / 2_000.0 - 1.0).abs() < 0.035, "{driver:?} at {settled}");
    }
}

#[test]
fn a_trip_stops_it_until_the_fault_is_gone() {
    let mut miner = running(DriverKind::WhatsminerV3, 12);
    miner.trip(at(1.0));
    assert_eq!(miner.state(at(2.0)), MinerState::Tripped);
    miner.wake(at(3.0));
    miner.cut(Duration::from_secs(5), at(4.0));
    assert_eq!(miner.state(at(100.0)), MinerState::Tripped);
    assert!(miner.power(at(100.0)).get() < 30.0);
    miner.untrip(at(101.0));
    assert_eq!(miner.state(at(300.0)), MinerState::Hashing);
}

#[test]
fn the_reported_power_is_refreshed_once_a_second_with_little_noise() {
    let mut miner = running(DriverKind::WhatsminerV3, 13);
    let mut distinct = 0;
    let mut last = f64::NAN;
    for tenth in 0..1_000 {
        let now = at(f64::from(tenth) / 10.0);
        let reported = miner.reported(now).get();
        assert!((reported / miner.power(now).get() - 1.0).abs() < 0.015);
        if reported.to_bits() != last.to_bits() {
            distinct += 1;
            last = reported;
        }
    }
    assert!((99..=102).contains(&distinct), "{distinct} values in 100 s");
}

#[test]
fn the_reported_power_lags_behind_the_true_draw() {
    let mut miner = running(DriverKind::BraiinsOs, 14);
    miner.sleep(at(10.0));
    let (mut behind, mut caught_up) = (false, false);
    for tenth in 100..400 {
        let now = at(f64::from(tenth) / 10.0);
        let gap = miner.reported(now).get() - miner.power(now).get();
        behind |= gap > 300.0;
        caught_up = gap < 10.0;
    }
    assert!(behind && caught_up);
}

#[test]
fn one_long_step_ends_where_many_short_ones_do() {
    let script = |miner: &mut Physics, step: f64| {
        let mut time = 0.0;
        while time < 600.0 {
            time += step;
            miner.power(at(time));
        }
        miner.power(at(600.0)).get()
    };
    let mut coarse = sleeping(DriverKind::WhatsminerV2, 15);
    coarse.wake(at(0.0));
    coarse.set(Setting::Percent(70.0), Pace::Gentle, at(0.5));
    let mut fine = coarse.clone();
    let (one, many) = (script(&mut coarse, 300.0), script(&mut fine, 0.07));
    assert!((one - many).abs() < 0.5, "{one} and {many}");
}

#[test]
fn a_gentle_percentage_takes_minutes() {
    let mut miner = running(DriverKind::WhatsminerV2, 16);
    miner.set(Setting::Percent(60.0), Pace::Gentle, at(0.0));
    let half = miner.power(at(30.0)).get();
    assert!((2_600.0..3_100.0).contains(&half), "after 30 s at {half}");
    assert!(miner.power(at(120.0)).get() < 2_120.0);
}

#[test]
fn odd_models_do_not_break_it() {
    let mut odd = spec(DriverKind::WhatsminerV2);
    odd.response = Response {
        dead_time_down: Duration::ZERO,
        dead_time_up: Duration::ZERO,
        ramp_down: WattsPerSecond::ZERO,
        ramp_up: WattsPerSecond::ZERO,
        start_time: Duration::ZERO,
        starts_at_full: false,
        start_overshoot: 0.0,
        caps: false,
    };
    odd.cost = ChangeCost { adjust: Duration::ZERO, sleep: Duration::ZERO, min_interval: Duration::ZERO };
    odd.points.truncate(1);
    let mut miner = Physics::asleep(&odd, Watts::ZERO, Habits::of(DriverKind::WhatsminerV2), 1);
    miner.wake(at(0.0));
    miner.set(Setting::Percent(f64::NAN), Pace::Quick, at(1.0));
    assert!(miner.power(at(100_000.0)).get().is_finite());
}

#[derive(Clone, Debug)]
enum Step {
    Set(f64),
    Watts(i32),
    Sleep,
    Wake,
    Restart,
    Reboot,
    Trip,
    Untrip,
    BlackOut,
    PowerReturns,
}

fn step() -> impl Strategy<Value = (f64, Step)> {
    let kind = prop_oneof![
        4 => (0.0..110.0).prop_map(Step::Set),
        4 => (0..5_000).prop_map(Step::Watts),
        2 => Just(Step::Sleep),
        3 => Just(Step::Wake),
        1 => Just(Step::Restart),
        1 => Just(Step::Reboot),
        1 => Just(Step::Trip),
        1 => Just(Step::Untrip),
        1 => Just(Step::BlackOut),
        1 => Just(Step::PowerReturns),
    ];
    (0.0..90.0, kind)
}

proptest! {
    #[test]
    fn the_draw_never_leaves_the_range_from_nothing_to_nameplate(
        seed in any::<u64>(),
        braiins in any::<bool>(),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let driver = if braiins { DriverKind::BraiinsOs } else { DriverKind::WhatsminerV3 };
        let mut miner = running(driver, seed);
        let mut time = 0.0;
        for (pause, step) in steps {
            for part in 0..20 {
                let now = at(time + pause * f64::from(part) / 20.0);
                let power = miner.power(now).get();
                prop_assert!((0.0..=3_700.0).contains(&power), "{power}");
                let reported = miner.reported(now).get();
                prop_assert!((0.0..=3_800.0).contains(&reported), "{reported}");
                let hashrate = miner.hashrate(now).as_terahashes();
                prop_assert!((0.0..=170.1).contains(&hashrate), "{hashrate}");
            }
            time += pause;
            let now = at(time);
            match step {
                Step::Set(percent) => miner.set(Setting::Percent(percent), Pace::Quick, now),
                Step::Watts(watts) => miner.set(Setting::Watts(Watts::whole(watts)), Pace::Gentle, now),
                Step::Sleep => miner.sleep(now),
                Step::Wake => miner.wake(now),
                Step::Restart => miner.restart(None, now),
                Step::Reboot => miner.cut(Duration::from_secs(20), now),
                Step::Trip => miner.trip(now),
                Step::Untrip => miner.untrip(now),
                Step::BlackOut => miner.black_out(Duration::from_secs(30), now),
                Step::PowerReturns => miner.power_returns(now),
            }
            prop_assert!(miner.pending.len() <= PENDING_MAX);
        }
    }

    #[test]
    fn a_settled_miner_draws_what_it_was_told_within_three_percent_and_a_half(
        seed in any::<u64>(),
        watts in 1_700..3_400,
        braiins in any::<bool>(),
    ) {
        let driver = if braiins { DriverKind::BraiinsOs } else { DriverKind::WhatsminerV2 };
        let mut miner = running(driver, seed);
        miner.set(Setting::Watts(Watts::whole(watts)), Pace::Quick, at(1.0));
        let settled = miner.power(at(1_000.0)).get();
        prop_assert!((settled / f64::from(watts) - 1.0).abs() < 0.035, "{settled} for {watts}");
    }

    #[test]
    fn time_that_runs_backwards_changes_nothing(seed in any::<u64>(), back in 0.0..50.0) {
        let mut miner = running(DriverKind::WhatsminerV2, seed);
        miner.set(Setting::Percent(70.0), Pace::Quick, at(50.0));
        let power = miner.power(at(52.0));
        prop_assert_eq!(miner.power(at(back)), power);
        prop_assert_eq!(miner.power(at(52.0)), power);
    }
}
