//! The ePIC driver against a small HTTP server, and against the simulated miner.

use crate::drivers_http;
use crate::drivers_sim;
use crate::drivers_support;

use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::epic::Epic;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::units::{Hashrate, Watts};
use drivers_http::HttpMiner;
use drivers_sim::Sim;
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, misbehaving, nobody, power, rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const YES: &str = r#"{"result":true,"error":null}"#;

/// A miner with the answers of a firmware version.
async fn miner(version: &str) -> HttpMiner {
    let miner = HttpMiner::start("127.0.0.1:0").await;
    for path in ["summary", "capabilities"] {
        miner.answer(&format!("GET /{path}"), 200, fixture(&format!("epic/{version}/{path}.json")));
    }
    miner
}

fn driver(miner: &HttpMiner) -> Epic {
    Epic::new(&connection(DriverKind::Epic, miner.address), &http_client().unwrap())
}

fn summary(miner: &HttpMiner, version: &str, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fixture(&format!("epic/{version}/summary.json"))).unwrap();
    change(&mut value);
    miner.answer("GET /summary", 200, value.to_string());
}

#[tokio::test]
async fn a_hashing_miner_without_the_power_algorithm_tells_its_presets() {
    let miner = miner("1.22.5").await;
    let status = driver(&miner).read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(3_342.25)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(141_612_000.0 * 1e6)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_350)));
    assert_eq!(status.range, None);
    assert_eq!(status.uptime, Some(Duration::from_secs(40_210)));
    // Those that the running algorithm accepts and that say their watts, by rising power.
    let watts: Vec<f64> = status.points.unwrap().iter().map(|point| point.power.get()).collect();
    assert_eq!(watts, [2_200.0, 2_700.0, 3_350.0, 3_850.0]);
}

#[tokio::test]
async fn a_miner_with_the_power_algorithm_tells_its_range() {
    let miner = miner("1.30.0").await;
    let status = driver(&miner).read().await.unwrap();
    assert_eq!(status.target, Measured::Value(power(3_000)));
    assert_eq!(status.range, Some((Watts::whole(1_600), Watts::whole(4_200))));
    assert_eq!(status.points, None);
}

#[tokio::test]
async fn power_goes_in_whole_watts_and_the_throttle_settings_go_back_as_read() {
    let miner = miner("1.30.0").await;
    let mut driver = driver(&miner);
    for _ in 0..3 {
        miner.command(200, YES);
    }
    driver.apply(Target::Power(Watts::saturating(2_500.9)), Urgency::Shed).await.unwrap();
    summary(&miner, "1.30.0", |summary| {
        let stats = &mut summary["PerpetualTune"]["Algorithm"]["Power"];
        stats["Min Throttle Target"] = json!(1_234);
        stats["Throttle Step"] = json!(null);
    });
    driver.apply(power(9_000), Urgency::Normal).await.unwrap();
    assert_eq!(
        miner.commands(),
        [
            format!(
                r#"POST /perpetualtune/algo {{"param":{{"algo":"Power","min_throttle":1500,"target":2500,"throttle_step":100}},"password":"{PASSWORD}"}}"#
            ),
            format!(
                r#"POST /perpetualtune/algo {{"param":{{"algo":"Power","min_throttle":1234,"target":4200}},"password":"{PASSWORD}"}}"#
            ),
        ]
    );
    // Below the range the miner would draw more than it was asked to.
    assert_eq!(rejection(driver.apply(power(900), Urgency::Shed).await), Rejection::OutOfRange);
    assert_eq!(miner.commands().len(), 2);
}

#[tokio::test]
async fn the_name_of_the_power_algorithm_is_the_miners_own() {
    let miner = miner("1.30.0").await;
    let mut known: Value = serde_json::from_slice(&fixture("epic/1.30.0/capabilities.json")).unwrap();
    known["PerpetualTune"][3]["algorithm"] = json!("PowerTune");
    miner.answer("GET /capabilities", 200, known.to_string());
    miner.command(200, YES);
    driver(&miner).apply(power(2_000), Urgency::Normal).await.unwrap();
    // Another algorithm runs: its throttle settings are not this one's.
    assert_eq!(
        miner.commands(),
        [format!(
            r#"POST /perpetualtune/algo {{"param":{{"algo":"PowerTune","target":2000}},"password":"{PASSWORD}"}}"#
        )]
    );
}

#[tokio::test]
async fn without_it_the_highest_preset_within_the_power_is_taken_and_below_all_the_lowest() {
    for (watts, terahashes) in
        [(3_350, 142), (3_340, 142), (3_300, 120), (2_199, 100), (900, 100), (99_999, 154)]
    {
        let miner = miner("1.22.5").await;
        miner.command(200, YES);
        let mut driver = driver(&miner);
        driver.apply(power(watts), Urgency::Shed).await.unwrap();
        assert_eq!(
            miner.commands(),
            [format!(
                r#"POST /perpetualtune/algo {{"param":{{"algo":"VoltageOptimizer","min_throttle":50,"target":{terahashes},"throttle_step":5}},"password":"{PASSWORD}"}}"#
            )],
            "{watts}"
        );
        // It reads back as it was asked.
        summary(&miner, "1.22.5", |summary| {
            summary["PerpetualTune"]["Algorithm"]["VoltageOptimizer"]["Target"] = json!(terahashes);
        });
        assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(watts)));
    }
}

#[tokio::test]
async fn tuning_that_is_off_stays_off() {
    let miner = miner("1.22.5").await;
    summary(&miner, "1.22.5", |summary| summary["PerpetualTune"]["Running"] = json!(false));
    let mut driver = driver(&miner);
    let status = driver.read().await.unwrap();
    assert_eq!((status.target, status.points), (Measured::Unavailable, None));
    let Rejection::Other(text) = rejection(driver.apply(power(2_000), Urgency::Shed).await) else {
        panic!("no words");
    };
    assert!(text.contains("perpetual tune is off"), "{text}");
    assert_eq!(miner.commands(), Vec::<String>::new());
    // It can be stopped all the same.
    miner.command(200, YES);
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(miner.commands(), [format!(r#"POST /miner {{"param":"Stop","password":"{PASSWORD}"}}"#)]);
}

#[tokio::test]
async fn waking_sets_the_target_first() {
    let miner = miner("1.30.0").await;
    summary(&miner, "1.30.0", |summary| summary["Status"]["Operating State"] = json!("Idling"));
    let mut driver = driver(&miner);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    miner.command(200, YES);
    miner.command(200, YES);
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    let commands = miner.commands();
    assert_eq!(commands.len(), 2);
    assert!(commands[0].starts_with("POST /perpetualtune/algo ") && commands[0].contains("2000"));
    assert_eq!(commands[1], format!(r#"POST /miner {{"param":"Autostart","password":"{PASSWORD}"}}"#));
    // A miner that does not take the target is not woken towards another one.
    miner.command(200, r#"{"result":false,"error":{"LastCmdStillPending":"PerpetualTune"}}"#);
    assert_eq!(rejection(driver.apply(power(2_000), Urgency::Normal).await), Rejection::Busy);
    assert_eq!(miner.commands().len(), 3);
}

#[tokio::test]
async fn the_state_is_told_from_its_name() {
    let fault = |word: &str| Activity::Fault(word.into());
    for (state, last, error, hashing, expected) in [
        ("Mining", json!(null), json!(null), true, Activity::Hashing),
        ("Mining", json!(null), json!(null), false, Activity::Starting),
        ("AdjustingClockVoltage", json!(null), json!(null), true, Activity::Hashing),
        ("Initializing", json!(null), json!(null), false, Activity::Starting),
        ("PreInitCooldown", json!(null), json!(null), false, Activity::Starting),
        ("Stopping", json!(null), json!(null), true, Activity::Hashing),
        ("Stopping", json!(null), json!(null), false, Activity::Asleep),
        ("Idling", json!(null), json!(null), false, Activity::Asleep),
        ("Idling", json!("Stop"), json!("ChipDetectError"), false, Activity::Asleep),
        ("Idling", json!("Autostart"), json!("ChipDetectError"), false, fault("ChipDetectError")),
        ("Idling", json!(null), json!({"HbChipDetectError": [1]}), false, fault("HbChipDetectError")),
        ("Dancing", json!(null), json!(null), true, Activity::Unknown),
    ] {
        let miner = miner("1.22.5").await;
        summary(&miner, "1.22.5", |summary| {
            let status = &mut summary["Status"];
            status["Operating State"] = json!(state);
            status["Last Command"] = last.clone();
            status["Last Error"] = error.clone();
            if !hashing {
                summary["HBs"] = json!([]);
            }
        });
        let mut driver = driver(&miner);
        for _ in 0..2 {
            assert_eq!(driver.read().await.unwrap().activity, expected, "{state} {error}");
        }
    }
}

#[tokio::test]
async fn every_refusal_has_its_reason_and_is_not_repeated() {
    for (status, body, reason) in [
        (200, r#"{"result":false,"error":"BadPassword"}"#, Rejection::Credentials),
        (200, r#"{"result":false,"error":"SystemUpdateInProgress"}"#, Rejection::WrongState),
        (200, r#"{"result":false,"error":{"LastCmdStillPending":"x"}}"#, Rejection::Busy),
        (200, r#"{"result":false,"error":{"InvalidMethod":"POST"}}"#, Rejection::Unsupported),
        (200, r#"{"result":false,"error":"MissingParam"}"#, Rejection::Other("MissingParam".into())),
        (200, r#"{"result":false}"#, Rejection::Other("no reason given".into())),
        (401, "", Rejection::Credentials),
        (404, "", Rejection::Unsupported),
        (503, "", Rejection::Busy),
        (500, "on fire", Rejection::Other("HTTP 500: on fire".into())),
        (302, "", Rejection::Other("HTTP 302:".into())),
    ] {
        let miner = miner("1.30.0").await;
        miner.command(status, body);
        let result = driver(&miner).apply(Target::Sleep, Urgency::Shed).await;
        assert_eq!(rejection(result), reason, "{status} {body}");
        assert_eq!(miner.commands().len(), 1);
    }
    let miner = miner("1.30.0").await;
    let mut bare = connection(DriverKind::Epic, miner.address);
    bare.credentials = None;
    let mut driver = Epic::new(&bare, &http_client().unwrap());
    // It can be read, and not commanded.
    assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing);
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(miner.commands().len(), 0);
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let miner = miner("1.30.0").await;
    let mut driver = driver(&miner);
    miner.state.lock().unwrap().swallow = true;
    let error = driver.apply(power(2_000), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    miner.state.lock().unwrap().swallow = false;
    driver.read().await.unwrap();
    assert_eq!(miner.commands().len(), 1);
    // A yes that is none.
    miner.command(200, "{}");
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn the_password_does_not_show_in_an_error_nor_go_to_a_read() {
    let miner = miner("1.30.0").await;
    miner.command(500, &format!("{PASSWORD} {}", "x".repeat(100_000)));
    let mut driver = driver(&miner);
    driver.read().await.unwrap();
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && text.len() < 1_000, "{text}");
    let log = miner.state.lock().unwrap().log.clone();
    assert!(log.iter().filter(|seen| seen.line.starts_with("GET ")).all(|seen| seen.body.is_empty()));
    assert!(log.iter().all(|seen| seen.token.is_none()));
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for (path, body) in [
        ("summary", "{".to_owned()),
        ("summary", "[]".to_owned()),
        ("summary", "{}".to_owned()),
        ("summary", "\u{fffd}\u{0}".to_owned()),
        ("summary", "[".repeat(100_000)),
        ("summary", format!("{{\"a\":\"{}\"}}", "x".repeat(2_000_000))),
        ("capabilities", "7".to_owned()),
    ] {
        let miner = miner("1.30.0").await;
        miner.answer(&format!("GET /{path}"), 200, body.clone());
        let error = driver(&miner).read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{path} {body:.60}: {error}");
    }
}

#[tokio::test]
async fn what_is_missing_is_not_zero() {
    let miner = miner("1.30.0").await;
    summary(&miner, "1.30.0", |summary| {
        summary["Power Supply Stats"]["Input Power"] = json!(0.0);
        summary["HBs"] = json!(null);
        summary.as_object_mut().unwrap().remove("PerpetualTune");
    });
    miner.answer("GET /capabilities", 404, "");
    let status = driver(&miner).read().await.unwrap();
    assert_eq!((status.power, status.hashrate), (Measured::Unavailable, Measured::Unavailable));
    assert_eq!((status.target, status.range), (Measured::Unavailable, None));
    summary(&miner, "1.30.0", |summary| {
        summary.as_object_mut().unwrap().remove("Power Supply Stats");
    });
    assert_eq!(driver(&miner).read().await.unwrap().power, Measured::Unsupported);
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = Epic::new(&connection(DriverKind::Epic, address), &http_client().unwrap());
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
    let mut driver = Epic::new(&connection(DriverKind::Epic, nobody().await), &http_client().unwrap());
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

const POINTS: [(f64, f64); 3] = [(1_700.0, 92.0), (2_500.0, 130.0), (3_400.0, 170.0)];

#[tokio::test]
async fn the_simulated_miner_follows_from_full_power_to_sleep_and_back() {
    let mut seeds = (0, 0);
    for seed in 0..40 {
        if seeds.0 > 0 && seeds.1 > 0 {
            break;
        }
        let sim = Sim::start(DriverKind::Epic, seed, "127.0.0.1", 0, &POINTS).await;
        let mut driver = sim.driver();
        let status = driver.read().await.unwrap();
        assert_eq!(status.activity, Activity::Hashing);
        let watts = status.power.value().unwrap().get();
        assert!((watts / sim.power() - 1.0).abs() < 0.03, "{watts}");
        // Both kinds of firmware, once each: with the power algorithm and with presets alone.
        let counter = if status.range.is_some() { &mut seeds.0 } else { &mut seeds.1 };
        if *counter > 0 {
            continue;
        }
        *counter += 1;
        assert!(status.points.is_some() != status.range.is_some());
        driver.apply(power(2_100), Urgency::Shed).await.unwrap();
        sim.settles(1_950.0, 2_160.0).await;
        assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_100)));
        driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
        sim.settles(0.0, 100.0).await;
        let status = driver.read().await.unwrap();
        assert_eq!(status.activity, Activity::Asleep);
        assert_eq!(status.target, Measured::Value(Target::Sleep));
        // The firmware takes no second change of its tuning while the first is in the works.
        tokio::time::sleep(Duration::from_millis(320)).await;
        driver.apply(power(3_000), Urgency::Normal).await.unwrap();
        sim.settles(2_650.0, 3_130.0).await;
        let tally = sim.miner.tally();
        assert_eq!((tally.trespasses, tally.restarts, tally.refused), (0, 0, 0));
        driver.close().await;
    }
    assert_eq!(seeds, (1, 1));
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Sleep),
        (-100.0..12_000.0_f64).prop_map(|watts| Target::Power(Watts::saturating(watts))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever is asked, in whatever order and whatever the miner answers, nothing but these commands is sent, and
    /// never a target above what was asked.
    #[test]
    fn only_harmless_commands_are_ever_sent(
        steps in proptest::collection::vec((any_target(), 0..5_usize, any::<Option<u16>>()), 1..10)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = miner("1.30.0").await;
            let mut driver = driver(&miner);
            for (target, answer, byte) in steps {
                miner.command(200, [YES, "{\"result\":false}", "", "[]", "{\"result\":1}"][answer]);
                // Now and then an answer that is nothing.
                match byte {
                    Some(noise) => miner.answer("GET /summary", 200, noise.to_string().repeat(answer)),
                    None => summary(&miner, "1.30.0", |_| {}),
                }
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            miner.state.lock().unwrap().log.clone()
        });
        for seen in log {
            let allowed = ["GET /summary", "GET /capabilities", "POST /miner", "POST /perpetualtune/algo"];
            prop_assert!(allowed.contains(&seen.line.as_str()), "{}", seen.line);
            if seen.line.ends_with("/algo") {
                let body: Value = serde_json::from_slice(&seen.body).unwrap();
                prop_assert!(body["param"]["target"].as_f64().unwrap() <= 4_200.0);
                prop_assert_eq!(&body["param"]["algo"], "Power");
            }
        }
    }
}
