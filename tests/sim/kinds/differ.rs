//! Miners that are not what their model says.

use ballast::clock::Moment;
use ballast::control::site::MinerId;
use ballast::control::snapshot::{Activity, Target};
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use ballast::units::Watts;

use super::bench::{CALM, TICK, built_in, calm, draw, feeder, miner, range, site, told, until, watts};

#[test]
fn a_miner_keeps_its_true_floor_and_does_not_restart_above_that_of_its_model() {
    for (number, floor, expected) in [(5, "\"80 %\"", 0.8), (50, "\"2600 W\"", 0.0), (90, "\"75 %\"", 0.75)] {
        let name = site().site.miners[number].name.clone();
        let mut replay = calm(&format!("[[differ]]\nname = \"{name}\"\nfloor = {floor}\n"));
        let (minimum, maximum) = range(number);
        let expected = if expected > 0.0 { expected * maximum } else { 2_600.0 };
        assert!(expected > minimum + 100.0, "{name}");
        until(&mut replay, 5.0);
        for neighbour in [number, number + 1] {
            replay.order(MinerId(neighbour), Target::Power(Watts::saturating(minimum)), 1);
        }
        until(&mut replay, 90.0);
        assert!((draw(&replay, number) / expected - 1.0).abs() < 0.04, "{name}: {}", draw(&replay, number));
        assert!(draw(&replay, number + 1) < minimum * 1.05, "its neighbour is as its model says");
        assert_eq!(replay.restarts(), 0, "{name}");
    }
}

#[test]
fn a_thirsty_sleeper_draws_what_the_scenario_says() {
    let mut replay = calm("[[differ]]\nname = \"m60s-*\"\nsleep = \"90 W\"\n");
    until(&mut replay, 5.0);
    for number in [0, 50] {
        replay.order(MinerId(number), Target::Sleep, 1);
    }
    until(&mut replay, 300.0);
    assert!((draw(&replay, 0) - 90.0).abs() < 1.0, "{}", draw(&replay, 0));
    let model = site().site.miners[50].sleep.get();
    assert!((draw(&replay, 50) - model).abs() < 1.0, "{}", draw(&replay, 50));
    assert_eq!(miner(&replay, 0).status.unwrap().value.activity, Activity::Asleep);
}

#[test]
fn readings_are_off_by_their_factor_and_the_meter_is_not() {
    let mut replay = calm("[[differ]]\nreadings = 0.8\n[[differ]]\nshare = \"50 %\"\nreadings = 1.2\n");
    until(&mut replay, 30.0);
    let mut high = 0;
    for number in 0..120 {
        let ratio = told(&replay, number) / draw(&replay, number);
        let expected = if ratio > 1.0 { 1.2 } else { 0.8 };
        high += u32::from(ratio > 1.0);
        assert!((ratio - expected).abs() < 0.03, "{number}: {ratio}");
    }
    assert_eq!(high, 60);
    assert!((watts(feeder(&replay)) / replay.circuits()[1].get() - 1.0).abs() < 0.001);
}

#[test]
fn a_share_is_spread_evenly_over_the_fleet() {
    for (share, each) in [("50 %", 20), ("25 %", 10), ("10 %", 4)] {
        let mut replay = calm(&format!("[[differ]]\nshare = \"{share}\"\nreadings = 2.0\n"));
        until(&mut replay, 5.0);
        for container in 0..3 {
            let numbers = 40 * container..40 * (container + 1);
            let off = numbers.filter(|number| told(&replay, *number) > 1.5 * draw(&replay, *number)).count();
            assert_eq!(off, each, "{share}");
        }
    }
    let name = site().site.miners[7].name.clone();
    for (choice, words) in [
        (format!("name = \"{name}\"\nshare = \"1 %\""), "not even one"),
        ("name = \"x*\"\nshare = \"50 %\"".to_owned(), "this needs 1 of the miners `x*`"),
        ("name = \"x*\"".to_owned(), "this needs 1 of the miners `x*`"),
    ] {
        let scenario = Scenario::parse("x.toml", &format!("{CALM}[[differ]]\n{choice}\nsleep = \"1 W\"\n"));
        let error = Replay::new(&site(), &scenario.unwrap()).err().unwrap().to_string();
        assert!(error.starts_with("x.toml:12:8: ") && error.contains(words), "{error}");
    }
}

/// How long miner 0 takes to come within 3 % of a target from its maximum.
fn settling(more: &str, target: f64) -> f64 {
    let mut replay = calm(more);
    until(&mut replay, 10.0);
    let (_, maximum) = range(90);
    let goal = maximum * target;
    replay.order(MinerId(90), Target::Power(Watts::saturating(goal)), 1);
    while (draw(&replay, 90) / goal - 1.0).abs() > 0.03 {
        replay.run(TICK, |_, _| {});
        assert!(replay.now() < Moment::millis(600_000));
    }
    (replay.now() - Moment::millis(10_000)).as_secs_f64()
}

#[test]
fn pace_makes_miners_slower_and_faster() {
    let normal = settling("", 0.8);
    let slow = settling("[[differ]]\npace = 0.5\n", 0.8);
    let fast = settling("[[differ]]\npace = 4.0\n", 0.8);
    assert!((slow / normal - 2.0).abs() < 0.3, "{normal} s, slow {slow} s");
    assert!(fast < 0.4 * normal, "{normal} s, fast {fast} s");
}

#[test]
fn the_start_takes_as_many_times_longer_as_the_scenario_says() {
    let starting = |more: &str| {
        let mut replay = calm(&format!("[miners]\nstart = \"asleep\"\n{more}"));
        until(&mut replay, 5.0);
        let (minimum, _) = range(0);
        replay.order(MinerId(0), Target::Power(Watts::saturating(minimum)), 1);
        // Boards under power: the end of the start, before its ramp.
        while draw(&replay, 0) < 200.0 {
            replay.run(TICK, |_, _| {});
            assert!(replay.now() < Moment::millis(900_000));
        }
        (replay.now() - Moment::millis(5_000)).as_secs_f64()
    };
    let (normal, long) = (starting(""), starting("[[differ]]\nstart_time = 3.0\n"));
    assert!((long / normal - 3.0).abs() < 0.25, "{normal} s and {long} s");
}

#[test]
fn the_fleet_of_miners_differ_is_as_its_file_says() {
    let mut replay = built_in("miners-differ");
    until(&mut replay, 20.0);
    let high = (0..120).filter(|number| told(&replay, *number) > draw(&replay, *number)).count();
    assert_eq!(high, 60);
    for number in 0..120 {
        let (minimum, _) = range(number);
        replay.order(MinerId(number), Target::Power(Watts::saturating(minimum)), 1);
    }
    until(&mut replay, 200.0);
    let stuck = (0..120).filter(|number| draw(&replay, *number) > 0.72 * range(*number).1).count();
    assert_eq!(stuck, 40, "a third of the fleet");
    for number in 0..120 {
        replay.order(MinerId(number), Target::Sleep, 2);
    }
    until(&mut replay, 400.0);
    let thirsty = (0..120).filter(|number| (draw(&replay, *number) - 90.0).abs() < 2.0).count();
    assert_eq!(thirsty, 24);
}
