//! Miners that hang, ignore, refuse and lie.

use ballast::clock::Moment;
use ballast::control::site::MinerId;
use ballast::control::snapshot::{Contact, Measured, Outcome, Rejection, Target};
use ballast::units::Watts;

use super::bench::{TICK, built_in, calm, draw, event, miner, range, seconds, site, told, until};

#[test]
fn hanging_miners_leave_commands_open_until_the_time_is_over_and_tell_nothing() {
    let mut replay = built_in("miners-hang");
    let config = site();
    until(&mut replay, 32.5);
    // Spread over the fleet: the fourth is the first of them.
    let (hung, well) = (3, 4);
    let before = draw(&replay, hung);
    let target = Target::Power(Watts::saturating(range(hung).0));
    for (number, sequence) in [(hung, 1), (well, 1)] {
        replay.order(MinerId(number), target, sequence);
    }
    let sent = replay.now();
    let timeout = config.miners[hung].timeout;
    replay.run(TICK, |_, _| {});
    assert_eq!(miner(&replay, well).delivery.unwrap().outcome, Outcome::Accepted);
    while replay.now() + TICK < sent + timeout {
        assert_eq!(miner(&replay, hung).delivery.unwrap().outcome, Outcome::InFlight, "{:?}", replay.now());
        replay.run(TICK, |_, _| {});
    }
    replay.run(TICK * 2, |_, _| {});
    let delivery = miner(&replay, hung).delivery.unwrap();
    assert_eq!((delivery.outcome, delivery.at), (Outcome::Unknown, sent + timeout));

    until(&mut replay, 100.0);
    let snapshot = replay.snapshot();
    let silent: Vec<usize> = (0..120)
        .filter(|number| snapshot.miners[*number].status.as_ref().unwrap().at < Moment::millis(30_100))
        .collect();
    assert_eq!(silent.len(), 36, "three in ten: {silent:?}");
    for container in 0..3 {
        let here = silent.iter().filter(|number| **number / 40 == container).count();
        assert_eq!(here, 12);
    }
    for number in &silent {
        let contact = snapshot.miners[*number].contact;
        assert!(matches!(contact, Contact::Unreachable { .. }), "{number}: {contact:?}");
    }
    assert!((draw(&replay, hung) / before - 1.0).abs() < 0.02, "the command never arrived");
    assert!(draw(&replay, well) < 0.9 * before);
    // It is over at 110 s; the next poll may be some seconds away.
    until(&mut replay, 150.0);
    let snapshot = replay.snapshot();
    assert!(snapshot.miners.iter().all(|miner| miner.contact == Contact::Reachable));
    assert!(snapshot.miners.iter().all(|miner| miner.status.as_ref().unwrap().at > Moment::millis(140_000)));
}

#[test]
fn an_order_that_comes_while_another_is_open_goes_right_after_it_and_only_the_latest() {
    let name = site().site.miners[0].name.clone();
    let fault = format!("miner = {{ name = \"{name}\", fault = \"hang\" }}");
    let mut replay = calm(&event("10s", "8s", &fault));
    until(&mut replay, 12.0);
    let timeout = site().miners[0].timeout;
    for sequence in 1..=3 {
        let watts = Watts::saturating(range(0).1 * (1.0 - 0.1 * f64::from(u32::try_from(sequence).unwrap())));
        replay.order(MinerId(0), Target::Power(watts), sequence);
        replay.run(seconds(1.0), |_, _| {});
        assert_eq!(miner(&replay, 0).delivery.unwrap().sequence, 1);
    }
    until(&mut replay, 12.0 + timeout.as_secs_f64() + 0.1);
    let delivery = miner(&replay, 0).delivery.unwrap();
    assert_eq!((delivery.sequence, delivery.outcome), (3, Outcome::InFlight));
    // It hangs no more before the time of this one is over.
    until(&mut replay, 18.2);
    assert_eq!(miner(&replay, 0).delivery.unwrap().outcome, Outcome::Accepted);
    until(&mut replay, 40.0);
    assert!((draw(&replay, 0) / (0.7 * range(0).1) - 1.0).abs() < 0.05, "{}", draw(&replay, 0));
}

#[test]
fn a_miner_that_ignores_says_yes_and_stays_as_it_is() {
    let name = site().site.miners[0].name.clone();
    let fault = format!("miner = {{ name = \"{name}\", fault = \"ignore-commands\" }}");
    let mut replay = calm(&event("10s", "30s", &fault));
    until(&mut replay, 15.0);
    let before = draw(&replay, 0);
    replay.order(MinerId(0), Target::Sleep, 1);
    until(&mut replay, 39.0);
    assert_eq!(miner(&replay, 0).delivery.unwrap().outcome, Outcome::Accepted);
    assert!((draw(&replay, 0) / before - 1.0).abs() < 0.02);
    assert!(matches!(miner(&replay, 0).status.unwrap().value.target, Measured::Value(Target::Power(_))));
    until(&mut replay, 41.0);
    replay.order(MinerId(0), Target::Sleep, 2);
    until(&mut replay, 80.0);
    assert!(draw(&replay, 0) < 100.0);
}

#[test]
fn refusals_and_connections_that_are_refused_end_at_once() {
    let names: Vec<String> = site().site.miners.iter().map(|miner| miner.name.clone()).collect();
    let mut more = String::new();
    for (number, fault) in ["reject-commands", "drops-write-api", "unreachable", "garbage"].iter().enumerate()
    {
        let fault = format!("miner = {{ name = \"{}\", fault = \"{fault}\" }}", names[number]);
        more += &event("10s", "60s", &fault);
    }
    let mut replay = calm(&more);
    until(&mut replay, 15.0);
    for number in 0..4 {
        replay.order(MinerId(number), Target::Sleep, 1);
    }
    replay.run(TICK, |_, _| {});
    let outcome = |number| miner(&replay, number).delivery.unwrap().outcome;
    assert!(matches!(outcome(0), Outcome::Rejected(Rejection::Other(_))), "{:?}", outcome(0));
    assert_eq!(outcome(1), Outcome::Rejected(Rejection::WriteDisabled));
    assert_eq!((outcome(2), outcome(3)), (Outcome::Unknown, Outcome::Unknown));
    until(&mut replay, 60.0);
    assert!((0..4).all(|number| draw(&replay, number) > 1_000.0), "none of them sleeps");
    let unreachable = |number| matches!(miner(&replay, number).contact, Contact::Unreachable { .. });
    assert_eq!([0, 1, 2, 3].map(unreachable), [false, false, true, true]);
}

#[test]
fn lies_and_readings_that_are_off_multiply() {
    let lie = event("0s", "1h", "miner = { name = \"*\", fault = \"lies\", with = { factor = 0.5 } }");
    let mut replay = calm(&(lie + "[[differ]]\nreadings = 1.2\n"));
    until(&mut replay, 20.0);
    for number in [0, 60, 119] {
        let ratio = told(&replay, number) / draw(&replay, number);
        assert!((ratio - 0.6).abs() < 0.02, "{ratio}");
    }
}
