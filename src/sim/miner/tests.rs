//! Tests of the simulated miner without its server.

use super::physics::tests::spec;
use super::*;
use crate::endpoint::Endpoint;

fn connection(driver: DriverKind, host: &str) -> Connection {
    Connection {
        name: "m1".into(),
        driver,
        endpoint: Endpoint { host: host.into(), port: 0 },
        credentials: None,
        timeout: Duration::from_secs(1),
        rated: Watts::whole(3_400),
        device: None,
        certificate: None,
        gpus: None,
        pause: None,
        rated_is_told: true,
    }
}

/// A miner at full power with the vendor's default account.
pub(super) fn miner(driver: DriverKind, seed: u64) -> SimMiner {
    SimMiner::new(&spec(driver), &connection(driver, "127.0.0.1"), seed, Initial::Hashing { fraction: 1.0 })
}

#[test]
fn a_miner_that_ignores_commands_says_yes() {
    let miner = miner(DriverKind::WhatsminerV2, 1);
    miner.inject(Fault::IgnoreCommands, Moment::START);
    assert_eq!(miner.sleep(Moment::START), Ok(()));
    assert!(miner.power(Moment::millis(20_000)).get() > 3_000.0);
    miner.clear(FaultKind::IgnoreCommands, Moment::millis(20_000));
    assert_eq!(miner.sleep(Moment::millis(20_000)), Ok(()));
    assert!(miner.power(Moment::millis(40_000)).get() < 100.0);
    assert_eq!(miner.tally().commands, 2);
}

#[test]
fn a_miner_without_power_is_dead_and_comes_back_at_its_maximum_whatever_it_was_told() {
    for driver in [DriverKind::WhatsminerV3, DriverKind::BraiinsOs, DriverKind::Luxos] {
        let at = |seconds: u64| Moment::millis(1_000 * seconds);
        let (low, asleep) = (miner(driver, 3), miner(driver, 4));
        assert_eq!(low.set_power(Watts::whole(1_800), at(0)), Ok(()));
        assert_eq!(asleep.sleep(at(0)), Ok(()));
        for miner in [low, asleep] {
            assert!(miner.power(at(60)).get() < 2_000.0);
            miner.inject(Fault::PowerCut { boot: Duration::from_secs(20) }, at(60));
            assert_eq!(miner.power(at(61)), Watts::ZERO);
            assert_eq!(miner.hashrate(at(90)), Hashrate::ZERO);
            assert!(!miner.reach(at(61)).up && miner.reach(at(61)).until.is_none());
            // What comes meanwhile is lost.
            assert_eq!(miner.sleep(at(100)), Ok(()));
            assert_eq!(miner.power(at(200)), Watts::ZERO);
            miner.clear(FaultKind::PowerCut, at(200));
            assert!(!miner.reach(at(219)).up && miner.reach(at(221)).up, "it boots");
            assert_eq!(miner.view(at(230)).setting, None);
            let power = miner.power(at(900)).get();
            assert!((power / 3_400.0 - 1.0).abs() < 0.035, "{driver:?}: {power}");
        }
    }
}

#[test]
fn a_miner_that_refuses_does_not_move() {
    for (fault, refusal) in
        [(Fault::RejectCommands, Refusal::Failed), (Fault::DropsWriteApi, Refusal::WriteDisabled)]
    {
        let miner = miner(DriverKind::BraiinsOs, 2);
        miner.inject(fault, Moment::START);
        assert_eq!(miner.set_power(Watts::whole(2_000), Moment::START), Err(refusal));
        assert!(miner.power(Moment::millis(60_000)).get() > 3_000.0);
        assert_eq!(miner.tally().refused, 1);
    }
}

#[test]
fn a_liar_reports_another_power_than_it_draws() {
    let miner = miner(DriverKind::WhatsminerV3, 3);
    let now = Moment::millis(5_000);
    miner.inject(Fault::Lies { factor: 0.5 }, now);
    let (said, drawn) = (miner.view(now).power.get(), miner.power(now).get());
    assert!((said / drawn - 0.5).abs() < 0.01, "{said} of {drawn}");
}

#[test]
fn a_reboot_is_off_the_network_for_its_time() {
    let miner = miner(DriverKind::WhatsminerV3, 4);
    let off_for = Duration::from_secs(30);
    miner.inject(Fault::Reboot { off_for }, Moment::millis(1_000));
    assert_eq!(miner.reach(Moment::millis(2_000)), Reach { up: false, until: Some(Moment::millis(31_000)) });
    assert!(miner.reach(Moment::millis(31_001)).up);
}

#[test]
fn two_seeds_are_two_miners_and_one_seed_is_one() {
    let power = |seed| {
        let miner = miner(DriverKind::WhatsminerV2, seed);
        (miner.power(Moment::millis(1_000)).get(), miner.identity.mac)
    };
    assert_eq!(power(1), power(1));
    assert_ne!(power(1), power(2));
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    for host in ["0.0.0.0", "192.0.2.1", "miner.example", "::"] {
        let connection = connection(DriverKind::WhatsminerV2, host);
        let miner = Arc::new(miner(DriverKind::WhatsminerV2, 1));
        let error = serve(miner, &connection, Clock::start(), CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("127.0.0.0/8"), "{error}");
    }
}
