//! A site without power, and runs that repeat.

use ballast::clock::Moment;
use ballast::config;
use ballast::control::site::MinerId;
use ballast::control::snapshot::{Activity, Contact, Measured, MeterStatus, Target};
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use ballast::units::Watts;

use super::bench::{built_in, calm, draw, event, feeder, pcc, range, truth, until, watts};

#[test]
fn in_an_outage_nothing_flows_and_nobody_answers_and_then_every_miner_goes_to_its_maximum() {
    let mut replay = built_in("outage");
    until(&mut replay, 30.0);
    for number in 0..120 {
        let target =
            if number < 10 { Target::Sleep } else { Target::Power(Watts::saturating(range(number).0)) };
        replay.order(MinerId(number), target, 1);
    }
    until(&mut replay, 59.5);
    assert!(watts(feeder(&replay)) > 100_000.0);
    for second in 61..150 {
        until(&mut replay, f64::from(second));
        assert!(replay.circuits().iter().all(|power| *power == Watts::ZERO), "at {second} s");
        assert!(replay.draws().iter().all(|power| *power == Watts::ZERO), "at {second} s");
        let snapshot = replay.snapshot();
        assert!(snapshot.meters.iter().all(|meter| meter.status == MeterStatus::Unreachable));
        assert!(snapshot.meters.iter().all(|meter| meter.power.unwrap().at < Moment::millis(60_100)));
        assert!(
            snapshot.miners.iter().all(|miner| miner.status.as_ref().unwrap().at < Moment::millis(60_100))
        );
    }
    let snapshot = replay.snapshot();
    assert!(snapshot.miners.iter().all(|miner| matches!(miner.contact, Contact::Unreachable { .. })));
    // The plant and its meters are back at once, the miners boot.
    until(&mut replay, 152.0);
    assert_eq!(pcc(&replay).status, MeterStatus::Ok);
    assert!(truth(&replay) < -240_000.0, "nobody draws it yet");
    until(&mut replay, 190.0);
    assert!(replay.draws().iter().all(|power| *power < Watts::whole(50)));
    until(&mut replay, 450.0);
    let snapshot = replay.snapshot();
    for number in 0..120 {
        let (_, maximum) = range(number);
        let input = &snapshot.miners[number];
        assert!((draw(&replay, number) / maximum - 1.0).abs() < 0.06, "{number}: {}", draw(&replay, number));
        assert_eq!(input.contact, Contact::Reachable);
        let status = &input.status.as_ref().unwrap().value;
        assert_eq!(status.activity, Activity::Hashing);
        // What it was told before is forgotten, and so it says.
        let Measured::Value(Target::Power(target)) = status.target else { panic!("{status:?}") };
        assert!((target.get() / maximum - 1.0).abs() < 0.06, "{number}: {target}");
    }
}

#[test]
fn the_power_of_some_miners_alone_can_be_cut() {
    let cut = "miner = { name = \"*\", circuit = \"container-2\", fault = \"power-cut\", with = { boot = \"10s\" } }";
    let mut replay = calm(&event("10s", "20s", cut));
    until(&mut replay, 12.0);
    let dark = (0..120).filter(|number| draw(&replay, *number) == 0.0).collect::<Vec<_>>();
    assert_eq!(dark, (40..80).collect::<Vec<_>>());
    assert_eq!(pcc(&replay).status, MeterStatus::Ok);
    until(&mut replay, 240.0);
    assert!((40..80).all(|number| draw(&replay, number) > 0.9 * range(number).1));
}

#[test]
fn the_same_scenario_is_the_same_run() {
    for name in ["meter-noisy", "miners-differ", "outage"] {
        let run = || {
            let mut replay =
                Replay::new(&config::demo(config::DEMO_NETWORK).unwrap(), &Scenario::find(name).unwrap())
                    .unwrap();
            until(&mut replay, 100.0);
            (replay.snapshot(), replay.commands())
        };
        assert_eq!(run(), run(), "{name}");
    }
}
