//! The AxeOS driver against a small HTTP server, and against the simulated miner.

use crate::drivers_http;
use crate::drivers_sim;
use crate::drivers_support;

use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::axeos::AxeOs;
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::units::{Hashrate, Watts};
use drivers_http::HttpMiner;
use drivers_sim::Sim;
use drivers_support::{MISBEHAVIOURS, Misbehaviour, connection, fixture, misbehaving, nobody, rejection};
use proptest::prelude::*;
use serde_json::{Value, json};

const INFO: &str = "GET /api/system/info";

async fn miner(version: &str) -> HttpMiner {
    let miner = HttpMiner::start("127.0.0.1:0").await;
    miner.answer(INFO, 200, fixture(&format!("axeos/{version}/info.json")));
    if version == "2.14" {
        miner.answer("GET /api/system/asic", 200, fixture("axeos/2.14/asic.json"));
    }
    miner
}

fn way(miner: &HttpMiner) -> Connection {
    Connection { rated: Watts::whole(18), ..connection(DriverKind::AxeOs, miner.address) }
}

fn driver(miner: &HttpMiner) -> AxeOs {
    AxeOs::new(&way(miner), &http_client().unwrap())
}

fn info(miner: &HttpMiner, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fixture("axeos/2.14/info.json")).unwrap();
    change(&mut value);
    miner.answer(INFO, 200, value.to_string());
}

fn power(watts: f64) -> Target {
    Target::Power(Watts::saturating(watts))
}

#[tokio::test]
async fn both_generations_read_alike() {
    for (version, watts, gigahashes, seconds) in
        [("2.4", 14.625, 612.25, 86_411), ("2.14", 17.281_25, 1_064.812_5, 40_021)]
    {
        let miner = miner(version).await;
        let status = driver(&miner).read().await.unwrap();
        assert_eq!(status.power, Measured::Value(Watts::saturating(watts)));
        assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(gigahashes * 1e9)));
        assert_eq!(status.activity, Activity::Hashing);
        assert_eq!((status.target, status.range, status.points), (Measured::Unavailable, None, None));
        assert_eq!(status.uptime, Some(Duration::from_secs(seconds)));
    }
}

#[tokio::test]
async fn the_clock_alone_is_changed_and_only_when_it_differs() {
    let miner = miner("2.14").await;
    let mut driver = driver(&miner);
    driver.read().await.unwrap();
    for _ in 0..9 {
        miner.command(200, "");
    }
    // 17.28 W at 525 MHz by the reading: less than in proportion, since a part of the draw stays.
    driver.apply(power(15.0), Urgency::Shed).await.unwrap();
    info(&miner, |info| info["frequency"] = json!(438));
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(15.0)));
    driver.apply(power(15.0), Urgency::Normal).await.unwrap();
    // Below the lowest clock: the lowest. Above all: the operator's own, never more.
    driver.apply(power(5.0), Urgency::Shed).await.unwrap();
    driver.apply(power(99.0), Urgency::Normal).await.unwrap();
    assert_eq!(
        miner.commands(),
        [
            r#"PATCH /api/system {"frequency":438}"#,
            r#"PATCH /api/system {"frequency":400}"#,
            r#"PATCH /api/system {"frequency":525}"#,
        ]
    );
}

#[tokio::test]
async fn a_clock_above_the_operators_needs_the_voltage_that_goes_with_it() {
    for (millivolts, highest) in [(1_150, 525), (1_200, 525), (1_060, 450)] {
        let miner = miner("2.14").await;
        info(&miner, |info| {
            info["frequency"] = json!(450);
            info["coreVoltage"] = json!(millivolts);
        });
        miner.command(200, "");
        driver(&miner).apply(power(99.0), Urgency::Normal).await.unwrap();
        let expected = format!(r#"PATCH /api/system {{"frequency":{highest}}}"#);
        let commands = miner.commands();
        assert!(commands.iter().all(|command| *command == expected), "{commands:?}");
        assert_eq!(commands.len(), usize::from(highest != 450));
    }
    // Firmware without a list of clocks keeps to the operator's.
    let miner = miner("2.4").await;
    driver(&miner).apply(power(99.0), Urgency::Normal).await.unwrap();
    assert_eq!(miner.commands(), Vec::<String>::new());
}

#[tokio::test]
async fn a_clock_goes_no_higher_than_the_voltage_of_now_carries_and_never_up_in_a_fault() {
    let miner = miner("2.14").await;
    let mut driver = driver(&miner);
    let says = |hot: u8, clock: u32, millivolts: u32, watts: f64| {
        info(&miner, |info| {
            info["overheat_mode"] = json!(hot);
            info["frequency"] = json!(clock);
            info["coreVoltage"] = json!(millivolts);
            info["power"] = json!(watts);
        });
    };
    // The operator ran 525 MHz at the voltage of the recorded reply.
    driver.read().await.unwrap();
    // Too hot: the firmware sets a clock and a voltage of its own, hashes on with them and says so until somebody clears it.
    says(1, 50, 1_000, 4.0);
    assert!(matches!(driver.read().await.unwrap().activity, Activity::Fault(_)));
    driver.apply(power(18.0), Urgency::Normal).await.unwrap();
    // Cleared, and the voltage is still the low one.
    says(0, 50, 1_000, 4.0);
    driver.read().await.unwrap();
    driver.apply(power(18.0), Urgency::Normal).await.unwrap();
    assert_eq!(miner.commands(), Vec::<String>::new());
    // Somebody cools it down to 450 MHz with less voltage: that is what it may run now.
    says(0, 450, 1_060, 12.0);
    driver.read().await.unwrap();
    driver.apply(power(18.0), Urgency::Normal).await.unwrap();
    assert_eq!(miner.commands(), Vec::<String>::new());
    // With the voltage of before, the clock of before.
    says(0, 450, 1_150, 13.0);
    miner.command(200, "");
    driver.apply(power(18.0), Urgency::Normal).await.unwrap();
    assert_eq!(miner.commands(), [r#"PATCH /api/system {"frequency":525}"#]);
}

#[tokio::test]
async fn sleep_is_pause_and_waking_sets_the_clock_first() {
    let miner = miner("2.14").await;
    let mut driver = driver(&miner);
    driver.read().await.unwrap();
    for _ in 0..3 {
        miner.command(200, r#"{"message":"done"}"#);
    }
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    info(&miner, |info| {
        info["miningPaused"] = json!(true);
        info["hashRate"] = json!(0);
        info["power"] = json!(1.25);
    });
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.target, Measured::Value(Target::Sleep));
    driver.apply(power(16.0), Urgency::Normal).await.unwrap();
    assert_eq!(
        miner.commands(),
        ["POST /api/system/pause", r#"PATCH /api/system {"frequency":476}"#, "POST /api/system/resume"]
    );
}

#[tokio::test]
async fn firmware_that_cannot_pause_goes_to_its_lowest_clock_and_says_so() {
    for status in [404, 405, 302] {
        let miner = miner("2.4").await;
        let mut driver = driver(&miner);
        miner.command(status, "");
        let result = driver.apply(Target::Sleep, Urgency::Shed).await;
        assert_eq!(rejection(result), Rejection::Unsupported, "it is no sleep");
        assert_eq!(miner.commands(), ["POST /api/system/pause", r#"PATCH /api/system {"frequency":400}"#]);
        let status = driver.read().await.unwrap();
        assert_eq!((status.activity, status.target), (Activity::Hashing, Measured::Unavailable));
    }
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    for (status, reason) in [
        (400, Rejection::OutOfRange),
        (401, Rejection::Other("it talks to its own network alone".into())),
        (503, Rejection::Busy),
        (500, Rejection::Other("HTTP 500: on fire".into())),
    ] {
        let miner = miner("2.14").await;
        miner.command(status, "on fire");
        let mut driver = driver(&miner);
        assert_eq!(rejection(driver.apply(power(14.0), Urgency::Shed).await), reason, "{status}");
        assert_eq!(miner.commands().len(), 1);
        // What was refused is not reported as the target.
        assert_eq!(driver.read().await.unwrap().target, Measured::Unavailable);
    }
}

#[tokio::test]
async fn faults_are_told_by_name() {
    for (key, value, fault) in [
        ("overheat_mode", json!(1), "overheat mode"),
        ("hardware_fault", json!("ASIC communication failed"), "ASIC communication failed"),
        ("power_fault", json!("VIN undervoltage"), "VIN undervoltage"),
    ] {
        let miner = miner("2.14").await;
        info(&miner, |info| info[key] = value.clone());
        assert_eq!(driver(&miner).read().await.unwrap().activity, Activity::Fault(fault.into()));
    }
    let miner = miner("2.14").await;
    info(&miner, |info| info["hashRate"] = json!(0));
    assert_eq!(driver(&miner).read().await.unwrap().activity, Activity::Starting);
}

#[tokio::test]
async fn a_reading_on_its_way_is_no_measure_for_the_next_clock() {
    let miner = miner("2.14").await;
    let mut driver = driver(&miner);
    driver.read().await.unwrap();
    miner.command(200, "");
    miner.command(200, "");
    driver.apply(power(15.0), Urgency::Shed).await.unwrap();
    // The clock is the new one, the draw still the old one: taken for steady it would halve the next clock's error.
    info(&miner, |info| info["frequency"] = json!(438));
    driver.read().await.unwrap();
    driver.apply(power(14.5), Urgency::Shed).await.unwrap();
    assert_eq!(miner.commands().last().unwrap(), r#"PATCH /api/system {"frequency":419}"#);
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let miner = miner("2.14").await;
    let mut driver = driver(&miner);
    miner.state.lock().unwrap().swallow = true;
    let error = driver.apply(power(14.0), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    miner.state.lock().unwrap().swallow = false;
    driver.read().await.unwrap();
    assert_eq!(miner.commands().len(), 1);
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for body in [
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "<html>AxeOS</html>".to_owned(),
        "[".repeat(100_000),
        format!("{{\"power\":\"{}\"}}", "1".repeat(2_000_000)),
    ] {
        let miner = miner("2.14").await;
        miner.answer(INFO, 200, body.clone());
        let error = driver(&miner).read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{body:.60}: {error}");
        let error = driver(&miner).apply(power(9.0), Urgency::Shed).await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{body:.60}: {error}");
        assert_eq!(miner.commands().len(), 0);
    }
    // A page in place of the list of clocks is as good as none.
    let miner = miner("2.14").await;
    miner.answer("GET /api/system/asic", 200, "<html>AxeOS</html>");
    assert_eq!(driver(&miner).read().await.unwrap().activity, Activity::Hashing);
}

#[tokio::test]
async fn what_is_missing_is_not_zero() {
    let miner = miner("2.14").await;
    info(&miner, |info| info["power"] = json!(0));
    assert_eq!(driver(&miner).read().await.unwrap().power, Measured::Unavailable);
    miner.answer(INFO, 200, r#"{"hashRate":900.5}"#);
    let mut driver = driver(&miner);
    let status = driver.read().await.unwrap();
    assert_eq!((status.power, status.uptime), (Measured::Unsupported, None));
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = AxeOs::new(&connection(DriverKind::AxeOs, address), &http_client().unwrap());
        let clock = Clock::start();
        let read = driver.read().await.unwrap_err();
        let command = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
        assert!(clock.now().since_start() < Duration::from_millis(1_500), "{how:?}");
        for error in [read, command] {
            let expected = match how {
                Misbehaviour::Silence => matches!(error, DriverError::Timeout { .. }),
                _ => matches!(error, DriverError::Malformed { .. } | DriverError::Timeout { .. }),
            };
            assert!(expected, "{how:?}: {error}");
        }
    }
    let mut driver = AxeOs::new(&connection(DriverKind::AxeOs, nobody().await), &http_client().unwrap());
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_simulated_miner_follows_from_full_power_to_sleep_and_back() {
    let points = [(12.0, 0.8), (15.0, 0.95), (18.0, 1.1)];
    let sim = Sim::start(DriverKind::AxeOs, 5, "127.0.0.1", 0, &points).await;
    let mut driver = sim.driver();
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing);
    let watts = status.power.value().unwrap().get();
    assert!((watts / sim.power() - 1.0).abs() < 0.03, "{watts}");
    driver.apply(power(15.5), Urgency::Shed).await.unwrap();
    // Never above, and not far below.
    sim.settles(14.2, 15.7).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(15.5)));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    sim.settles(0.0, 1.0).await;
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    driver.apply(power(18.0), Urgency::Normal).await.unwrap();
    sim.settles(17.0, 18.7).await;
    let tally = sim.miner.tally();
    assert_eq!((tally.trespasses, tally.restarts, tally.refused), (0, 0, 0));
    driver.close().await;
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![Just(Target::Sleep), (-10.0..60.0_f64).prop_map(power)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever is asked, in whatever order and whatever the miner answers, nothing but these commands is sent, and no
    /// clock above the operator's.
    #[test]
    fn only_harmless_commands_are_ever_sent(
        steps in proptest::collection::vec((any_target(), 0..6_usize, any::<bool>(), 300..525_u32), 1..10)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = miner("2.14").await;
            let mut driver = driver(&miner);
            for (target, answer, paused, clock) in steps {
                miner.command([200, 200, 204, 400, 404, 500][answer], "");
                info(&miner, |info| {
                    info["miningPaused"] = json!(paused);
                    info["frequency"] = json!(clock);
                });
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            miner.state.lock().unwrap().log.clone()
        });
        for seen in log {
            let allowed = [
                INFO, "GET /api/system/asic", "PATCH /api/system", "POST /api/system/pause", "POST /api/system/resume",
            ];
            prop_assert!(allowed.contains(&seen.line.as_str()), "{}", seen.line);
            prop_assert!(seen.token.is_none());
            if seen.line.starts_with("PATCH") {
                let body: Value = serde_json::from_slice(&seen.body).unwrap();
                prop_assert_eq!(body.as_object().unwrap().len(), 1);
                let clock = body["frequency"].as_u64().unwrap();
                prop_assert!((300..=525).contains(&clock));
            }
        }
    }
}
