//! Meters: late, noisy, slow, wrong, frozen, not there.

use ballast::clock::Moment;
use ballast::control::measure::Measure;
use ballast::control::snapshot::MeterStatus;
use ballast::meter::profile::Plausible;
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use ballast::units::Watts;

use super::bench::{CALM, TICK, built_in, calm, event, feeder, of, pcc, seconds, site, truth, until, watts};

#[test]
fn a_meter_of_the_replay_measures_as_the_scenario_says_each_on_its_own() {
    let more = "[meters.feeder]\ndelay = \"10s\"\n".to_owned()
        + "[[load.square]]\nname = \"x\"\npower = \"50 kW\"\nhalf_period = \"7s\"\ncircuit = \"fleet\"\n";
    let mut replay = calm(&more);
    let mut past = Vec::new();
    while replay.now() < Moment::millis(60_000) {
        replay.run(TICK, |_, _| {});
        past.push(replay.circuits()[1].get());
        // Polls come every 500 ms: the value is at most that much older.
        let at_pcc = watts(pcc(&replay));
        assert!(past.len() < 20 || (0..=11).any(|back| (replay_pcc(&past, back) - at_pcc).abs() < 1_500.0));
        if past.len() > 230 {
            let shown = watts(feeder(&replay));
            let then = (200..=211).map(|back| past[past.len() - 1 - back]);
            assert!(
                then.clone().any(|then| (then - shown).abs() < 1.0),
                "{shown} at {:?} is not {:?}",
                replay.now(),
                then.collect::<Vec<_>>()
            );
        }
    }
}

/// What the point of common coupling has when the fleet's circuit has what it had so many ticks ago.
fn replay_pcc(past: &[f64], back: usize) -> f64 {
    past.len().checked_sub(1 + back).map_or(f64::NAN, |at| past[at] - 400_000.0)
}

#[test]
fn a_late_meter_shows_what_was_true_then() {
    let mut replay = built_in("meter-late");
    let mut past = Vec::new();
    let mut lagging = 0;
    while replay.now() < Moment::millis(100_000) {
        replay.run(TICK, |_, _| {});
        past.push(truth(&replay));
        if past.len() < 160 {
            continue;
        }
        let shown = watts(pcc(&replay));
        // 5 s late, up to 2 s between two values, up to 500 ms until it is read.
        let then = (100..=151).map(|back| past[past.len() - 1 - back]);
        let nearest = then.map(|then| (then - shown).abs()).fold(f64::INFINITY, f64::min);
        assert!(nearest <= 101.0, "at {:?}: {nearest} W from anything", replay.now());
        lagging += usize::from((truth(&replay) - shown).abs() > 50_000.0);
    }
    // One step of 100 kW, seen between 5 s and 7.5 s later.
    assert!((90..=170).contains(&lagging), "{lagging} ticks");
    let refresh = pcc(&replay).refresh.unwrap();
    assert!((1.7..2.3).contains(&refresh.as_secs_f64()), "{refresh:?}");
}

#[test]
fn a_noisy_meter_is_wrong_by_something_new_with_every_value() {
    let mut replay = built_in("meter-noisy");
    let mut worst = [0.0_f64; 3];
    let mut ends = (0.0_f64, 0.0_f64);
    let mut values = Vec::new();
    for second in 1..=240 {
        until(&mut replay, f64::from(second));
        let (shown, truth) = (watts(pcc(&replay)), truth(&replay));
        // The value may be as old as a refresh and a poll, in which the truth moves by some hundred watts.
        let error = (shown - truth).abs();
        let phase = match second {
            ..=119 => 0,
            122..=179 => 1,
            182.. => 2,
            _ => continue,
        };
        ends = (ends.0.min(shown - truth), ends.1.max(shown - truth));
        worst[phase] = worst[phase].max(error - truth.abs() * [0.01, 0.02, 0.01][phase]);
        values.push(shown.to_bits());
    }
    assert!((500.0..2_000.0).contains(&worst[0]), "{worst:?}");
    assert!((1_500.0..4_000.0).contains(&worst[1]), "{worst:?}");
    assert!((500.0..2_000.0).contains(&worst[2]), "{worst:?}");
    assert!(ends.0 < -1_000.0 && ends.1 > 1_000.0, "to both sides: {ends:?}");
    values.dedup();
    assert!(values.len() > 200, "{} different values in a row", values.len());
    let again = |mut replay: Replay| {
        until(&mut replay, 30.0);
        watts(pcc(&replay)).to_bits()
    };
    assert_eq!(again(built_in("meter-noisy")), again(built_in("meter-noisy")));
    let mut other = Scenario::find("meter-noisy").unwrap();
    other.seed += 1;
    assert_ne!(again(of(&other)), again(built_in("meter-noisy")), "another seed is other noise");
}

#[test]
fn a_meter_that_refreshes_rarely_has_the_same_value_between_two_refreshes() {
    let more = event("0s", "110s", "meter = { name = \"pcc\", fault = \"refresh\", period = \"10s\" }");
    let mut replay =
        calm(&(more + "[[load.square]]\nname = \"x\"\npower = \"9 kW\"\nhalf_period = \"3s\"\n"));
    until(&mut replay, 12.0);
    let mut changes = 0;
    let mut last = watts(pcc(&replay));
    while replay.now() < Moment::millis(110_000) {
        replay.run(TICK, |_, _| {});
        let value = watts(pcc(&replay));
        changes += u32::from(value.to_bits() != last.to_bits());
        last = value;
    }
    assert!((8..=11).contains(&changes), "{changes}");
    let learned = pcc(&replay).refresh.unwrap();
    assert!((9.0..11.0).contains(&learned.as_secs_f64()), "{learned:?}");
}

#[test]
fn a_glitch_shows_its_value_exactly_and_is_refused_where_it_is_implausible() {
    let mut config = site();
    config.meters[0].plausible = None;
    let mut replay = Replay::new(&config, &Scenario::find("meter-glitch").unwrap()).unwrap();
    let calm = |replay: &Replay| (watts(pcc(replay)) - truth(replay)).abs() < 2_000.0;
    for (from, to, shown) in [(30.0, 32.0, 2_147_483_648.0), (60.0, 63.0, 1e6), (90.0, 93.0, -1e6)] {
        until(&mut replay, from - 0.5);
        assert!(calm(&replay), "before {from}");
        until(&mut replay, from + 1.0);
        // A float of 32 bits has no odd number this large.
        assert_eq!(watts(pcc(&replay)).to_bits(), f64::to_bits(shown));
        until(&mut replay, to + 1.5);
        assert!(calm(&replay), "after {to}: {:?}", pcc(&replay));
    }
    until(&mut replay, 125.0);
    assert_eq!(pcc(&replay).status, MeterStatus::Unavailable, "0 W without voltage");
    until(&mut replay, 140.0);
    let before = watts(pcc(&replay));
    until(&mut replay, 155.0);
    assert!((watts(pcc(&replay)) + before).abs() < 4_000.0, "turned");

    // Without a range of its own, what is a hundred times beyond everything that hangs at the site is refused.
    let mut replay = built_in("meter-glitch");
    until(&mut replay, 29.5);
    let good = pcc(&replay).power.unwrap();
    until(&mut replay, 31.5);
    let input = pcc(&replay);
    assert_eq!(input.status, MeterStatus::Implausible);
    assert!(input.power.unwrap().at < Moment::millis(30_000), "the good one from before");
    assert!((input.power.unwrap().value - good.value).abs() < Watts::whole(2_000));
    assert_eq!(feeder(&replay).status, MeterStatus::Implausible, "this one as well");

    let mut config = site();
    config.meters[0].plausible = Some(Plausible { low: Watts::whole(-700_000), high: Watts::whole(700_000) });
    let mut replay = Replay::new(&config, &Scenario::find("meter-glitch").unwrap()).unwrap();
    until(&mut replay, 61.5);
    assert_eq!(pcc(&replay).status, MeterStatus::Implausible, "a megawatt");
}

#[test]
fn a_meter_without_voltage_says_so_in_its_voltages() {
    let more = event("10s", "10s", "meter = { name = \"pcc\", fault = \"no-voltage\" }");
    let mut config = site();
    // A profile that tells its voltages on registers of their own.
    let mut point = config.meters[0].profile.power.clone();
    for term in &mut point.terms {
        term.address += 400;
    }
    config.meters[0].profile.others.insert(Measure::VoltageL2, point);
    let scenario = Scenario::parse("x.toml", &format!("{CALM}{more}")).unwrap();
    let mut replay = Replay::new(&config, &scenario).unwrap();
    let volts = |replay: &Replay| pcc(replay).others.get(Measure::VoltageL2).unwrap().value;
    until(&mut replay, 9.0);
    assert!((volts(&replay).abs() - 230.0).abs() < 0.01);
    until(&mut replay, 12.0);
    assert_eq!((volts(&replay), pcc(&replay).status), (0.0, MeterStatus::Unavailable));
    assert!(pcc(&replay).power.unwrap().at < Moment::millis(12_000), "no new value");
    assert!(watts(feeder(&replay)) > 300_000.0, "only one is meant");
    until(&mut replay, 22.0);
    assert!((volts(&replay).abs() - 230.0).abs() < 0.01);
    assert!((watts(pcc(&replay)) - truth(&replay)).abs() < 1_000.0);
}

#[test]
fn a_frozen_meter_keeps_its_bits_and_is_found_out_by_them() {
    let mut config = site();
    config.meters[0].frozen_after = Some(seconds(20.0));
    let mut replay = Replay::new(&config, &Scenario::find("meter-frozen").unwrap()).unwrap();
    until(&mut replay, 31.0);
    let (held, held_feeder) = (watts(pcc(&replay)), watts(feeder(&replay)));
    for second in 32..120 {
        until(&mut replay, f64::from(second));
        assert_eq!(watts(pcc(&replay)).to_bits(), held.to_bits());
        assert_eq!(watts(feeder(&replay)).to_bits(), held_feeder.to_bits());
        let found = pcc(&replay).status == MeterStatus::Frozen;
        // It stands since the refresh before the fault.
        if second != 50 {
            assert_eq!(found, second > 50, "at {second} s: {:?}", pcc(&replay).status);
        }
        assert_eq!(feeder(&replay).status, MeterStatus::Ok, "this one has no `frozen_after`");
    }
    assert!((truth(&replay) - held).abs() > 140_000.0, "the truth goes on");
    until(&mut replay, 122.0);
    assert!((watts(pcc(&replay)) - truth(&replay)).abs() < 2_000.0);
    assert_eq!(pcc(&replay).status, MeterStatus::Ok);
}

#[test]
fn answers_that_fail_are_told_apart_and_keep_the_last_good_value() {
    let mut more = String::new();
    let cases = [
        ("silent", MeterStatus::Unreachable),
        ("mute", MeterStatus::Unreachable),
        ("refuse", MeterStatus::Unreachable),
        ("reset", MeterStatus::Unreachable),
        ("slow\", delay = \"4s", MeterStatus::Unreachable),
        ("late\", delay = \"4s", MeterStatus::Unreachable),
        ("cut-off", MeterStatus::Unreachable),
        ("short", MeterStatus::Malformed),
        ("wrong-unit", MeterStatus::Malformed),
        ("crossed", MeterStatus::Malformed),
        ("unavailable", MeterStatus::Unavailable),
    ];
    for (number, (fault, _)) in cases.iter().enumerate() {
        let at = format!("{}s", 20 * number + 10);
        more += &event(&at, "10s", &format!("meter = {{ name = \"pcc\", fault = \"{fault}\" }}"));
    }
    let mut replay = calm(&more);
    let mut at = 0.0;
    for (fault, status) in cases {
        until(&mut replay, at + 9.0);
        assert_eq!(pcc(&replay).status, MeterStatus::Ok, "before {fault}");
        until(&mut replay, at + 19.0);
        let input = pcc(&replay);
        assert_eq!(input.status, status, "{fault}");
        assert!(input.power.unwrap().at <= Moment::after_start(seconds(at + 10.1)), "{fault}");
        assert_eq!(feeder(&replay).status, MeterStatus::Ok, "{fault}");
        at += 20.0;
    }
}

#[test]
fn an_exception_carries_its_code_and_every_other_answer_is_good() {
    let more = event("5s", "20s", "meter = { name = \"pcc\", fault = \"exception\", code = 6, every = 2 }");
    let mut replay = calm(&more);
    until(&mut replay, 6.0);
    let (mut good, mut bad) = (0, 0);
    while replay.now() < Moment::millis(24_000) {
        // One poll each time.
        replay.run(seconds(0.5), |_, _| {});
        match pcc(&replay).status {
            MeterStatus::Ok => good += 1,
            MeterStatus::Exception(6) => bad += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((good, bad), (18, 18));
}

#[test]
fn a_slow_answer_within_the_time_limit_is_a_late_reading_of_then() {
    let more = event("10s", "20s", "meter = { name = \"pcc\", fault = \"slow\", delay = \"800ms\" }");
    let step = "[[event]]\nat = \"20s\"\nload = { by = \"50 kW\" }\n";
    let mut replay = calm(&(more + step));
    until(&mut replay, 20.0);
    let mut seen = None;
    while seen.is_none() {
        replay.run(TICK, |_, _| {});
        seen = (watts(pcc(&replay)) - truth(&replay)).abs().lt(&2_000.0).then_some(replay.now());
        assert_eq!(pcc(&replay).status, MeterStatus::Ok);
    }
    // Asked after the step, answered 800 ms later.
    let late = (seen.unwrap() - Moment::millis(20_000)).as_secs_f64();
    assert!((0.8..=1.9).contains(&late), "{late}");
}
