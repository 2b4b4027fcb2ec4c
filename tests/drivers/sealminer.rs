//! The SealMiner driver against a little miner on a loopback socket, and against the simulated one.

use crate::drivers_support;
use crate::drivers_tcp;
use crate::sim_servers::bench as sim_bench;

use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::sealminer::SealMiner;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency};
use ballast::sim::miner::{Fault, FaultKind, MinerState};
use ballast::units::{Hashrate, Watts};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, connection, fixture, misbehaving, nobody, power, rejection,
};
use drivers_tcp::Miner;
use proptest::prelude::*;
use serde_json::{Value, json};
use sim_bench::Bench;

fn stats(change: impl Fn(&mut Value)) -> Vec<u8> {
    let mut stats: Value = serde_json::from_slice(&fixture("sealminer/2025091001/stats.json")).unwrap();
    change(&mut stats["STATS"][0]);
    stats.to_string().into_bytes()
}

/// A miner with these `stats` that says yes to everything.
async fn miner(change: impl Fn(&mut Value) + Send + 'static) -> Miner {
    Miner::start(move |request| {
        Some(match request["command"].as_str() {
            Some("stats") => stats(&change),
            Some("restart") => b"{\"RESTART\"}".to_vec(),
            _ => fixture("sealminer/2025091001/ascset.json"),
        })
    })
    .await
}

fn driver(miner: &Miner) -> SealMiner {
    SealMiner::new(&connection(DriverKind::SealMiner, miner.address))
}

/// What was said besides reading.
fn commands(miner: &Miner) -> Vec<String> {
    let log = miner.log();
    let writes = log.iter().filter(|request| request["command"] != "stats");
    writes.map(ToString::to_string).collect()
}

const SUSPEND: &str = r#"{"command":"ascset","parameter":"0,suspend"}"#;
const RESTART: &str = r#"{"command":"restart"}"#;

fn limit(watts: u32) -> String {
    json!({"command": "ascset", "parameter": format!("0,powerlimit,{{\"value\":\"{watts}\"}}")}).to_string()
}

#[tokio::test]
async fn a_running_miner_reads_as_hashing() {
    let miner = miner(|_| ()).await;
    let status = driver(&miner).read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(3_489)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(219_500_667.5e6)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_500)));
    assert_eq!(status.uptime, Some(Duration::from_secs(5_210)));
    assert_eq!((status.range, status.points), (None, None));
}

#[tokio::test]
async fn states_are_told_by_the_words_of_the_power_manager() {
    for (state, rate, raised, error, expected) in [
        ("Running", 1.0, true, "", Activity::Hashing),
        ("Running", 1.0, false, "", Activity::Starting),
        ("Running", 0.0, false, "", Activity::Starting),
        ("Suspended", 0.0, true, "", Activity::Asleep),
        ("Standby", 0.0, true, "", Activity::Asleep),
        ("Whatever", 0.0, true, "", Activity::Unknown),
        ("Whatever", 1.0, true, "", Activity::Hashing),
        ("Stopped", 0.0, true, "0x0200", Activity::Fault("error 0x0200".into())),
        ("Running", 1.0, true, "0x0200", Activity::Hashing),
    ] {
        let miner = miner(move |row| {
            row["PM State"] = json!(state);
            row["MHS(30s)"] = json!(rate);
            row["Raise Freq Done"] = json!(raised);
            row["Error Code"] = json!(error);
        })
        .await;
        let status = driver(&miner).read().await.unwrap();
        assert_eq!(status.activity, expected, "{state} {rate}");
        let asleep = expected == Activity::Asleep;
        assert_eq!(status.target == Measured::Value(Target::Sleep), asleep, "{state}");
    }
    let miner = miner(|row| {
        row["PSU Error"] = json!("0x00000004");
        row["MHS(30s)"] = json!(0);
    })
    .await;
    assert_eq!(driver(&miner).read().await.unwrap().activity, Activity::Fault("error 0x00000004".into()));
}

#[tokio::test]
async fn what_is_missing_is_unavailable_and_not_zero() {
    let miner = miner(|row| {
        for key in
            ["PSU Input Power", "MHS(30s)", "MHS(1m)", "MHS(Sample)", "MHS(Avg)", "Power Limit", "Elapsed"]
        {
            row.as_object_mut().unwrap().remove(key);
        }
    })
    .await;
    let status = driver(&miner).read().await.unwrap();
    assert_eq!(status.power, Measured::Unavailable);
    assert_eq!(status.hashrate, Measured::Unavailable);
    assert_eq!(status.target, Measured::Unavailable);
    assert_eq!(status.uptime, None);
}

#[tokio::test]
async fn a_new_limit_is_one_command_and_one_restart() {
    let miner = miner(|_| ()).await;
    driver(&miner).apply(Target::Power(Watts::saturating(2_800.9)), Urgency::Shed).await.unwrap();
    assert_eq!(commands(&miner), [limit(2_800), RESTART.to_owned()]);
}

#[tokio::test]
async fn a_limit_that_is_in_force_costs_no_restart() {
    let miner = miner(|_| ()).await;
    let mut driver = driver(&miner);
    for _ in 0..5 {
        driver.apply(power(3_500), Urgency::Normal).await.unwrap();
    }
    assert_eq!(commands(&miner), Vec::<String>::new());
}

#[tokio::test]
async fn sleep_is_suspend_and_waking_is_a_restart_at_the_limit_that_it_has() {
    let asleep = miner(|row| row["PM State"] = json!("Suspended")).await;
    driver(&asleep).apply(Target::Sleep, Urgency::Shed).await.unwrap();
    driver(&asleep).apply(power(3_500), Urgency::Normal).await.unwrap();
    assert_eq!(commands(&asleep), [SUSPEND, RESTART]);
    let asleep = miner(|row| row["PM State"] = json!("Suspended")).await;
    driver(&asleep).apply(power(3_000), Urgency::Normal).await.unwrap();
    assert_eq!(commands(&asleep), [limit(3_000), RESTART.to_owned()]);
    // A word that nobody knows: it was put to sleep by this driver and does not hash.
    let odd = miner(|row| {
        row["PM State"] = json!("Zzz");
        row["MHS(30s)"] = json!(0);
    })
    .await;
    let mut driver = driver(&odd);
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    driver.apply(power(3_500), Urgency::Normal).await.unwrap();
    assert_eq!(commands(&odd), [SUSPEND, RESTART]);
}

#[tokio::test]
async fn a_limit_whose_restart_was_lost_is_put_into_force_by_the_next_command() {
    let lost = Miner::start(|request| match request["command"].as_str() {
        Some("stats") => Some(stats(|row| row["Power Limit"] = json!(2_800))),
        Some("restart") => None,
        _ => Some(fixture("sealminer/2025091001/ascset.json")),
    })
    .await;
    lost.answers(|request| match request["command"].as_str() {
        Some("stats") => Some(stats(|_| ())),
        Some("restart") => None,
        _ => Some(fixture("sealminer/2025091001/ascset.json")),
    });
    let mut driver = driver(&lost);
    let error = driver.apply(power(2_800), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    assert_eq!(commands(&lost), [limit(2_800), RESTART.to_owned()], "nothing is repeated");
    lost.answers(|request| {
        Some(match request["command"].as_str() {
            Some("stats") => stats(|row| row["Power Limit"] = json!(2_800)),
            _ => b"RESTART".to_vec(),
        })
    });
    driver.apply(power(2_800), Urgency::Shed).await.unwrap();
    assert_eq!(commands(&lost), [limit(2_800), RESTART.to_owned(), RESTART.to_owned()]);
}

#[tokio::test]
async fn a_limit_whose_answer_was_lost_is_put_into_force_by_the_next_command() {
    let lost = Miner::start(|request| (request["command"] == "stats").then(|| stats(|_| ()))).await;
    let mut driver = driver(&lost);
    let error = driver.apply(power(2_800), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    lost.answers(|request| {
        Some(match request["command"].as_str() {
            Some("stats") => stats(|row| row["Power Limit"] = json!(2_800)),
            _ => b"RESTART".to_vec(),
        })
    });
    driver.apply(power(2_800), Urgency::Shed).await.unwrap();
    assert_eq!(commands(&lost), [limit(2_800), RESTART.to_owned()]);
}

#[tokio::test]
async fn refusals_have_their_reason_and_no_restart_follows_a_refused_limit() {
    let body = |code: u32, msg: &str| {
        json!({"STATUS": [{"STATUS": "E", "When": 1, "Code": code, "Msg": msg}], "id": 1})
            .to_string()
            .into_bytes()
    };
    for (answer, reason) in [
        (fixture("sealminer/2025091001/denied.json"), Rejection::WriteDisabled),
        (body(14, "Invalid command"), Rejection::Unsupported),
        (body(120, "ASC 0 set failed"), Rejection::Other("ASC 0 set failed".into())),
    ] {
        let miner = Miner::start(move |request| {
            Some(if request["command"] == "stats" { stats(|_| ()) } else { answer.clone() })
        })
        .await;
        assert_eq!(rejection(driver(&miner).apply(power(3_000), Urgency::Shed).await), reason);
        assert_eq!(commands(&miner), [limit(3_000)]);
    }
    let miner = miner(|_| ()).await;
    for watts in [0, -5] {
        assert_eq!(rejection(driver(&miner).apply(power(watts), Urgency::Shed).await), Rejection::OutOfRange);
    }
    assert!(commands(&miner).is_empty());
}

#[tokio::test]
async fn an_unclear_answer_to_a_command_is_no_yes() {
    for answer in ["", "{", "RESTARTED", "{}", r#"{"STATUS":[{}]}"#] {
        let miner = Miner::start(move |request| {
            Some(match request["command"].as_str() {
                Some("stats") => stats(|row| row["PM State"] = json!("Suspended")),
                _ => answer.as_bytes().to_vec(),
            })
        })
        .await;
        let error = driver(&miner).apply(power(3_500), Urgency::Normal).await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{answer}: {error}");
        assert_eq!(commands(&miner), [RESTART]);
    }
}

#[tokio::test]
async fn replies_of_the_wrong_shape_are_malformed() {
    for answer in ["[]".to_owned(), r#"{"STATUS":[{"STATUS":"S"}]}"#.to_owned(), "{".repeat(100_000)] {
        let miner = Miner::start(move |_| Some(answer.clone().into_bytes())).await;
        let error = driver(&miner).read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. } | DriverError::Timeout { .. }), "{error}");
        assert!(driver(&miner).apply(power(3_000), Urgency::Shed).await.is_err());
        assert!(commands(&miner).is_empty());
    }
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let mut driver = SealMiner::new(&connection(DriverKind::SealMiner, misbehaving(how).await));
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
    let mut driver = SealMiner::new(&connection(DriverKind::SealMiner, nobody().await));
    assert!(matches!(driver.read().await.unwrap_err(), DriverError::Unreachable { .. }));
}

fn with_sim(bench: &Bench) -> SealMiner {
    let mut connection = connection(DriverKind::SealMiner, bench.address());
    connection.timeout = Duration::from_secs(2);
    SealMiner::new(&connection)
}

#[tokio::test]
async fn the_simulated_miner_is_limited_put_to_sleep_and_woken_with_two_restarts() {
    let bench = Bench::start(DriverKind::SealMiner).await;
    let mut driver = with_sim(&bench);
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.target), (Activity::Hashing, Measured::Value(power(3_400))));
    driver.apply(power(2_500), Urgency::Shed).await.unwrap();
    assert_eq!(bench.miner.tally().restarts, 1);
    bench.until("2.5 kW", |bench| (bench.power() - 2_500.0).abs() < 150.0).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_500)));
    driver.apply(power(2_500), Urgency::Shed).await.unwrap();
    assert_eq!(bench.miner.tally().restarts, 1);
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.until("sleep", |bench| bench.power() < 100.0).await;
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    bench.until("2 kW", |bench| (bench.power() - 2_000.0).abs() < 150.0).await;
    let tally = bench.miner.tally();
    // Waking from sleep is no restart of something that ran.
    assert_eq!((tally.trespasses, tally.refused, tally.restarts), (0, 0, 1));
}

#[tokio::test]
async fn refusals_and_faults_of_the_simulated_miner_are_told() {
    let bench = Bench::start(DriverKind::SealMiner).await;
    let mut driver = with_sim(&bench);
    bench.inject(Fault::DropsWriteApi);
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::WriteDisabled);
    bench.clear(FaultKind::DropsWriteApi);
    bench.inject(Fault::Trips);
    bench.until("a trip", |bench| bench.miner.state(bench.clock.now()) == MinerState::Tripped).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let activity = driver.read().await.unwrap().activity;
    assert!(matches!(activity, Activity::Fault(_)), "{activity:?}");
    bench.clear(FaultKind::Trips);
    assert_eq!(
        rejection(driver.apply(power(90), Urgency::Shed).await),
        Rejection::Other("ASC 0 set failed: invalid powerlimit".into())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is asked and whatever the miner answers, nothing but these commands is sent.
    #[test]
    fn only_these_commands_are_ever_sent(
        targets in prop::collection::vec(prop_oneof![Just(-1.0), 0.0..9_000.0_f64], 1..6),
        answer in prop_oneof![
            Just(fixture("sealminer/2025091001/ascset.json")),
            Just(b"RESTART".to_vec()),
            prop::collection::vec(any::<u8>(), 0..60),
        ],
        state in "[A-Za-z]{0,8}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = Miner::start(move |request| Some(match request["command"].as_str() {
                Some("stats") => stats(|row| row["PM State"] = json!(state)),
                _ => answer.clone(),
            })).await;
            let mut driver = driver(&miner);
            for watts in targets {
                let target = if watts < 0.0 { Target::Sleep } else { Target::Power(Watts::saturating(watts)) };
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            miner.log()
        });
        for request in log {
            let parameter = request["parameter"].as_str().unwrap_or_default();
            prop_assert!(match request["command"].as_str().unwrap() {
                "stats" | "restart" => parameter.is_empty(),
                "ascset" => parameter == "0,suspend" || parameter.starts_with("0,powerlimit,{\"value\":\""),
                _ => false,
            }, "{request}");
        }
    }
}
