//! The read-only cgminer driver against a little miner on a loopback socket, and against the simulated one.

use crate::drivers_support;
use crate::drivers_tcp;
use crate::sim_servers::bench as sim_bench;

use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::cgminer_readonly::CgminerReadOnly;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency};
use ballast::units::{Hashrate, Watts};
use drivers_support::{MISBEHAVIOURS, Misbehaviour, connection, fixture, misbehaving, nobody};
use drivers_tcp::Miner;
use proptest::prelude::*;
use serde_json::{Value, json};
use sim_bench::Bench;

const DENIED: &str = r#"{"STATUS":[{"STATUS":"E","When":1,"Code":45,"Msg":"Access denied"}],"id":1}"#;
const NO_COMMAND: &str = r#"{"STATUS":[{"STATUS":"E","When":1,"Code":14,"Msg":"Invalid command"}],"id":1}"#;

/// A miner that has the commands of one firmware's folder of fixtures.
async fn miner(firmware: &'static str) -> Miner {
    Miner::start(move |request| Some(of(firmware, request))).await
}

fn of(firmware: &str, request: &Value) -> Vec<u8> {
    let command = request["command"].as_str().unwrap();
    let path =
        format!("{}/tests/fixtures/cgminer-readonly/{firmware}/{command}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap_or_else(|_| NO_COMMAND.into())
}

fn driver(miner: &Miner) -> CgminerReadOnly {
    CgminerReadOnly::new(&connection(DriverKind::CgminerReadOnly, miner.address))
}

#[tokio::test]
async fn hashrate_is_read_whatever_its_unit_and_window() {
    for (firmware, rate, uptime) in [
        ("cgminer-4.11.1", 85_011_200.5e6, 86_413),
        ("antminer-s9", 13_611.42e9, 412_233),
        ("luxos-2025.6", 121_011.5e9, 7_200),
        ("braiins-os-24.04", 96_011_200.1e6, 5_011),
    ] {
        let miner = miner(firmware).await;
        let status = driver(&miner).read().await.unwrap();
        assert_eq!(status.activity, Activity::Hashing, "{firmware}");
        let Measured::Value(hashrate) = status.hashrate else { panic!("{firmware} has a hashrate") };
        assert!((hashrate.get() / rate - 1.0).abs() < 1e-9, "{firmware}: {hashrate}");
        assert_eq!(status.uptime, Some(Duration::from_secs(uptime)));
        assert_eq!(status.target, Measured::Unsupported);
        assert_eq!((status.range, status.points), (None, None));
    }
}

#[tokio::test]
async fn power_is_read_where_the_firmware_tells_it_and_nowhere_else() {
    for (firmware, power) in [
        ("cgminer-4.11.1", Measured::Unsupported),
        ("antminer-s9", Measured::Unsupported),
        ("luxos-2025.6", Measured::Value(Watts::whole(2_788))),
        ("braiins-os-24.04", Measured::Value(Watts::whole(2_871))),
        // It should have `stats`, and does not now: that is neither zero nor unsupported.
        ("bdminer-4.11.1", Measured::Unavailable),
    ] {
        let miner = miner(firmware).await;
        assert_eq!(driver(&miner).read().await.unwrap().power, power, "{firmware}");
    }
    let miner = Miner::start(|request| {
        Some(match request["command"].as_str() {
            Some("stats") => fixture("sealminer/2025091001/stats.json"),
            _ => of("bdminer-4.11.1", request),
        })
    })
    .await;
    assert_eq!(driver(&miner).read().await.unwrap().power, Measured::Value(Watts::whole(3_489)));
}

#[tokio::test]
async fn a_whatsminers_summary_has_its_power() {
    let miner = Miner::start(|request| {
        Some(match request["command"].as_str() {
            Some("version") => NO_COMMAND.into(),
            _ => fixture("whatsminer-v2/20230803.11/summary.json"),
        })
    })
    .await;
    let status = driver(&miner).read().await.unwrap();
    assert!(
        matches!(status.power, Measured::Value(watts) if watts > Watts::whole(1_000)),
        "{:?}",
        status.power
    );
}

#[tokio::test]
async fn a_miner_without_hashrate_is_starting_for_a_while_and_then_unknown() {
    let miner = miner("innosilicon-2.2").await;
    let status = driver(&miner).read().await.unwrap();
    assert_eq!(status.activity, Activity::Starting);
    assert_eq!(status.hashrate, Measured::Value(Hashrate::ZERO));
    miner.answers(|request| {
        let text = String::from_utf8(of("innosilicon-2.2", request)).unwrap();
        Some(text.replace("\"Elapsed\":120", "\"Elapsed\":9000").into_bytes())
    });
    assert_eq!(driver(&miner).read().await.unwrap().activity, Activity::Unknown);
}

#[tokio::test]
async fn no_command_reaches_the_wire() {
    let miner = miner("cgminer-4.11.1").await;
    let mut driver = driver(&miner);
    for target in [Target::Sleep, Target::Power(Watts::whole(2_000)), Target::Power(Watts::ZERO)] {
        let error = driver.apply(target, Urgency::Shed).await.unwrap_err();
        assert!(matches!(error, DriverError::Rejected { reason: Rejection::Unsupported, .. }), "{error}");
    }
    driver.keep_alive().await;
    driver.close().await;
    assert_eq!(miner.log(), Vec::<Value>::new());
}

#[tokio::test]
async fn the_firmware_is_asked_for_once_and_again_after_a_restart() {
    let miner = miner("cgminer-4.11.1").await;
    let mut driver = driver(&miner);
    for _ in 0..3 {
        driver.read().await.unwrap();
    }
    let versions = || miner.log().iter().filter(|request| request["command"] == "version").count();
    assert_eq!(versions(), 1);
    // Another firmware came with the restart.
    miner.answers(|request| Some(of("luxos-2025.6", request)));
    driver.read().await.unwrap();
    assert_eq!(driver.read().await.unwrap().power, Measured::Value(Watts::whole(2_788)));
    assert_eq!(versions(), 2);
}

#[tokio::test]
async fn a_nul_a_reset_and_an_open_connection_end_a_reply_alike() {
    let miner = Miner::start(|request| {
        let mut reply = of("cgminer-4.11.1", request);
        reply.extend(b"\0rubbish");
        Some(reply)
    })
    .await;
    assert_eq!(driver(&miner).read().await.unwrap().activity, Activity::Hashing);
}

#[tokio::test]
async fn replies_of_the_wrong_shape_are_malformed() {
    for summary in [
        "".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"STATUS":[{"STATUS":"?"}]}"#.to_owned(),
        r#"{"STATUS":[{"STATUS":"S"}]}"#.to_owned(),
        r#"{"STATUS":[{"STATUS":"S"}],"SUMMARY":[7]}"#.to_owned(),
        r#"{"STATUS":[{"STATUS":"S"}],"SUMMARY":"x"}"#.to_owned(),
        "[".repeat(100_000),
        format!("{{\"a\":\"{}", "x".repeat(1_200_000)),
    ] {
        let shown: String = summary.chars().take(60).collect();
        let miner = Miner::start(move |request| {
            Some(match request["command"].as_str() {
                Some("summary") => summary.clone().into_bytes(),
                _ => of("cgminer-4.11.1", request),
            })
        })
        .await;
        let error = driver(&miner).read().await.unwrap_err();
        assert!(
            matches!(error, DriverError::Malformed { .. } | DriverError::Timeout { .. }),
            "{shown}: {error}"
        );
        assert!(error.to_string().len() < 400, "{shown}");
    }
}

#[tokio::test]
async fn a_refused_summary_is_a_refusal() {
    let miner = Miner::start(|_| Some(DENIED.into())).await;
    let error = driver(&miner).read().await.unwrap_err();
    assert!(matches!(error, DriverError::Rejected { reason: Rejection::WriteDisabled, .. }), "{error}");
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let mut driver =
            CgminerReadOnly::new(&connection(DriverKind::CgminerReadOnly, misbehaving(how).await));
        let clock = Clock::start();
        let error = driver.read().await.unwrap_err();
        assert!(clock.now().since_start() < Duration::from_millis(1_000), "{how:?}");
        let expected = match how {
            Misbehaviour::Silence | Misbehaviour::Drip => matches!(error, DriverError::Timeout { .. }),
            _ => matches!(error, DriverError::Malformed { .. } | DriverError::Timeout { .. }),
        };
        assert!(expected, "{how:?}: {error}");
    }
    let mut driver = CgminerReadOnly::new(&connection(DriverKind::CgminerReadOnly, nobody().await));
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_simulated_miner_is_read_and_never_moved() {
    let bench = Bench::start(DriverKind::CgminerReadOnly).await;
    let mut driver = CgminerReadOnly::new(&connection(DriverKind::CgminerReadOnly, bench.address()));
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.power, Measured::Unsupported);
    assert!(matches!(status.hashrate, Measured::Value(rate) if rate > Hashrate::terahashes(100.0)));
    assert!(driver.apply(Target::Sleep, Urgency::Shed).await.is_err());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bench.power() > 3_000.0);
    let tally = bench.miner.tally();
    assert_eq!((tally.commands, tally.refused, tally.trespasses, tally.restarts), (0, 0, 0, 0));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z0-9 .]{0,12}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "STATUS", "SUMMARY", "VERSION", "Elapsed", "MHS 5s", "GHS av", "Power", "Power_RT", "Code", "Msg",
        "LUXminer",
    ]);
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whatever it answers, the driver gives a reading or a typed error, and sends nothing but these questions.
    #[test]
    fn any_answer_is_read_or_refused(
        answer in prop_oneof![
            any_json().prop_map(|value| value.to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..200),
            any_json().prop_map(|row| json!({"STATUS": [{"STATUS": "S"}], "SUMMARY": [row]}).to_string().into_bytes()),
        ]
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = Miner::start(move |_| Some(answer.clone())).await;
            let mut driver = driver(&miner);
            let _ = driver.read().await;
            let _ = driver.read().await;
            miner.log()
        });
        for request in log {
            let command = request["command"].as_str().unwrap();
            prop_assert!(["version", "summary", "stats", "power", "tunerstatus"].contains(&command));
            prop_assert_eq!(request.as_object().unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_scrypt_miner_has_no_bitcoin_hashrate_and_counts_as_the_load_that_it_is() {
    let miner = Miner::start(|request| {
        Some(match request["command"].as_str() {
            Some("version") => {
                r#"{"STATUS":[{"STATUS":"S"}],"VERSION":[{"Type":"Antminer L7","Miner":"1"}]}"#.into()
            }
            _ => r#"{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Elapsed":900,"MHS 5s":9500.0,"Power":3425}]}"#
                .into(),
        })
    })
    .await;
    let status = driver(&miner).read().await.unwrap();
    assert_eq!((status.hashrate, status.activity), (Measured::Unsupported, Activity::Hashing));
    assert_eq!(status.power, Measured::Value(Watts::whole(3_425)));
}
