//! The Auradine driver against a small HTTP server with its reading port, and against the simulated miner.

use crate::drivers_http;
use crate::drivers_sim;
use crate::drivers_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::auradine::Auradine;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::units::{Hashrate, Watts};
use drivers_http::HttpMiner;
use drivers_sim::Sim;
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, misbehaving, nobody, power, rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const YES: &str = r#"{"STATUS":[{"STATUS":"S","Code":540,"Msg":"set"}],"id":1}"#;

/// A miner on a loopback address of its own; the reading port answers with what the lock holds.
async fn miner(host: &str) -> (HttpMiner, Arc<Mutex<Vec<u8>>>) {
    let miner = HttpMiner::start(&format!("{host}:0")).await;
    miner.answer("POST /token", 200, token("token-1"));
    miner.answer("GET /mode", 200, fixture("auradine/2023-12/mode.json"));
    miner.answer("GET /psu", 200, fixture("auradine/2023-12/psu.json"));
    // The path of the commands is that of a reading, so the commands have answers in order and the reading its own.
    let summary = Arc::new(Mutex::new(fixture("auradine/2023-12/summary.json")));
    let listener = TcpListener::bind(format!("{host}:4028")).await.unwrap();
    let answer = Arc::clone(&summary);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 256];
            let count = stream.read(&mut request).await.unwrap_or(0);
            assert_eq!(&request[..count], br#"{"command":"summary"}"#);
            let bytes = answer.lock().unwrap().clone();
            let _ = stream.write_all(&bytes).await;
        }
    });
    (miner, summary)
}

fn token(text: &str) -> String {
    json!({"STATUS": [{"STATUS": "S"}], "Token": [{"Token": text}]}).to_string()
}

fn driver(miner: &HttpMiner) -> Auradine {
    Auradine::new(&connection(DriverKind::Auradine, miner.address), &http_client().unwrap())
}

/// The commands without the logins.
fn commands(miner: &HttpMiner) -> Vec<String> {
    miner.commands().into_iter().filter(|command| !command.starts_with("POST /token")).collect()
}

fn logins(miner: &HttpMiner) -> usize {
    miner.commands().len() - commands(miner).len()
}

#[tokio::test]
async fn both_generations_are_read() {
    let (miner, summary) = miner("127.81.0.1").await;
    let mut driver = driver(&miner);
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(1_992.25)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(112_599_767.5 * 1e6)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(2_000)));
    assert_eq!((status.range, status.points), (None, None));
    assert_eq!(status.uptime, Some(Duration::from_secs(56_696)));
    // Newer firmware tells the draw in the summary: the supply is not asked any more.
    *summary.lock().unwrap() = fixture("auradine/2024-06/summary.json");
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(2_988)));
    let log = miner.state.lock().unwrap().log.clone();
    assert_eq!(log.iter().filter(|seen| seen.line == "GET /psu").count(), 1);
    // One login serves all, and its token goes with all else.
    assert_eq!(logins(&miner), 1);
    let others = log.iter().filter(|seen| seen.line != "POST /token");
    assert!(others.into_iter().all(|seen| seen.token.as_deref() == Some("token-1")));
}

#[tokio::test]
async fn power_and_sleep_go_as_recorded() {
    let (miner, _) = miner("127.81.0.2").await;
    let mut driver = driver(&miner);
    for _ in 0..5 {
        miner.command(200, YES);
    }
    driver.apply(Target::Power(Watts::saturating(2_500.9)), Urgency::Shed).await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    // The target first, so that it wakes towards it.
    driver.apply(power(1_800), Urgency::Normal).await.unwrap();
    driver.apply(power(1_900), Urgency::Normal).await.unwrap();
    assert_eq!(
        commands(&miner),
        [
            r#"POST /mode {"command":"mode","mode":"custom","power":2500,"tune":"power"}"#,
            r#"POST /mode {"command":"mode","sleep":"on"}"#,
            r#"POST /mode {"command":"mode","mode":"custom","power":1800,"tune":"power"}"#,
            r#"POST /mode {"command":"mode","sleep":"off"}"#,
            r#"POST /mode {"command":"mode","mode":"custom","power":1900,"tune":"power"}"#,
        ]
    );
    assert_eq!(rejection(driver.apply(power(0), Urgency::Shed).await), Rejection::OutOfRange);
    // What was asked reads back as it was asked.
    miner.command(200, YES);
    driver.apply(Target::Power(Watts::saturating(2_000.7)), Urgency::Shed).await.unwrap();
    assert_eq!(
        driver.read().await.unwrap().target,
        Measured::Value(Target::Power(Watts::saturating(2_000.7)))
    );
}

#[tokio::test]
async fn a_sleeping_miner_reads_as_asleep_and_is_woken() {
    let (miner, summary) = miner("127.81.0.3").await;
    miner.answer("GET /mode", 200, fixture("auradine/2023-12/mode_sleep.json"));
    // The mining software is down.
    *summary.lock().unwrap() = br#"{"STATUS":[{"STATUS":"E","Code":14,"Msg":"not ready"}],"id":1}"#.to_vec();
    let mut driver = driver(&miner);
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.target, Measured::Value(Target::Sleep));
    assert_eq!(status.hashrate, Measured::Unavailable);
    miner.command(200, YES);
    miner.command(200, YES);
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    assert_eq!(commands(&miner).len(), 2);
}

#[tokio::test]
async fn without_the_reading_port_it_is_controlled_all_the_same() {
    let miner = HttpMiner::start("127.81.0.4:0").await;
    miner.answer("POST /token", 200, token("token-1"));
    miner.answer("GET /mode", 200, fixture("auradine/2023-12/mode.json"));
    let status = driver(&miner).read().await.unwrap();
    assert_eq!(status.activity, Activity::Unknown);
    assert_eq!((status.power, status.hashrate), (Measured::Unsupported, Measured::Unavailable));
    // Another mode has no power target.
    miner.answer(
        "GET /mode",
        200,
        r#"{"STATUS":[{"STATUS":"S"}],"Mode":[{"Mode":"eco","Sleep":false,"Power":9}]}"#,
    );
    assert_eq!(driver(&miner).read().await.unwrap().target, Measured::Unavailable);
}

#[tokio::test]
async fn an_ended_login_is_renewed_once() {
    let (miner, _) = miner("127.81.0.5").await;
    let mut driver = driver(&miner);
    driver.read().await.unwrap();
    for ended in ["", r#"{"STATUS":[{"STATUS":"E","Code":45,"Msg":"Token expired"}]}"#] {
        let before = commands(&miner).len();
        miner.command(if ended.is_empty() { 401 } else { 200 }, ended);
        miner.command(200, YES);
        driver.apply(power(2_000), Urgency::Shed).await.unwrap();
        assert_eq!(commands(&miner).len(), before + 2);
    }
    assert_eq!(logins(&miner), 3);
    // A miner that refuses even a fresh login is not asked for ever.
    miner.command(401, "");
    miner.command(401, "");
    assert_eq!(rejection(driver.apply(power(1_000), Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(logins(&miner), 4);
}

#[tokio::test]
async fn a_login_that_is_refused_with_403_is_renewed_and_that_not_time_and_again() {
    let (miner, _) = miner("127.81.0.17").await;
    let mut driver = driver(&miner);
    driver.read().await.unwrap();
    miner.command(403, "");
    miner.command(200, YES);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    assert_eq!((logins(&miner), commands(&miner).len()), (2, 2));
    miner.command(403, "");
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    assert_eq!((logins(&miner), commands(&miner).len()), (2, 3));
}

#[tokio::test]
async fn a_wrong_password_is_said_so_and_not_tried_again_at_once() {
    let (miner, _) = miner("127.81.0.6").await;
    for (status, body) in [(401, ""), (200, r#"{"STATUS":[{"STATUS":"E","Msg":"Invalid user"}]}"#)] {
        miner.answer("POST /token", status, body);
        let before = logins(&miner);
        let mut driver = driver(&miner);
        for _ in 0..3 {
            assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
            assert_eq!(rejection(driver.read().await.map(|_| ())), Rejection::Credentials);
        }
        assert_eq!(logins(&miner), before + 1);
    }
    let mut bare = connection(DriverKind::Auradine, miner.address);
    bare.credentials = None;
    let mut driver = Auradine::new(&bare, &http_client().unwrap());
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
}

#[tokio::test]
async fn every_refusal_has_its_reason_and_is_not_repeated() {
    let (miner, _) = miner("127.81.0.7").await;
    let mut driver = driver(&miner);
    for (status, message, reason) in [
        (200, "Power out of range", Rejection::OutOfRange),
        (200, "Permission denied", Rejection::WriteDisabled),
        (200, "Invalid command", Rejection::Unsupported),
        (200, "on fire", Rejection::Other("on fire".into())),
        (404, "", Rejection::Unsupported),
        (503, "", Rejection::Busy),
    ] {
        let before = commands(&miner).len();
        miner.command(status, &json!({"STATUS": [{"STATUS": "E", "Msg": message}]}).to_string());
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), reason, "{status} {message}");
        assert_eq!(commands(&miner).len(), before + 1);
    }
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again_and_nothing_secret_is_told() {
    let (miner, _) = miner("127.81.0.8").await;
    let mut driver = driver(&miner);
    driver.read().await.unwrap();
    miner.state.lock().unwrap().swallow = true;
    let error = driver.apply(power(2_000), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    miner.state.lock().unwrap().swallow = false;
    driver.read().await.unwrap();
    assert_eq!(commands(&miner).len(), 1);
    miner.command(500, &format!("{PASSWORD} token-1 {}", "x".repeat(100_000)));
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && !text.contains("token-1") && text.len() < 1_000, "{text}");
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    let (miner, summary) = miner("127.81.0.9").await;
    let good = summary.lock().unwrap().clone();
    for (line, body) in [
        ("POST /token", "{".to_owned()),
        ("POST /token", r#"{"STATUS":[{"STATUS":"S"}],"Token":[{}]}"#.to_owned()),
        ("POST /token", r#"{"STATUS":[{"STATUS":"S"}],"Token":[{"Token":"a\nb"}]}"#.to_owned()),
        ("GET /mode", "[]".to_owned()),
        ("GET /mode", r#"{"STATUS":[{"STATUS":"?"}]}"#.to_owned()),
        ("GET /psu", "[".repeat(100_000)),
        ("GET /psu", format!("{{\"a\":\"{}\"}}", "x".repeat(2_000_000))),
        ("summary", "{\"STATUS\":[{\"STATUS\":\"S\"}]".to_owned()),
        ("summary", "{}".to_owned()),
        ("summary", "[".repeat(2_000_000)),
    ] {
        miner.answer("POST /token", 200, token("token-1"));
        miner.answer("GET /mode", 200, fixture("auradine/2023-12/mode.json"));
        miner.answer("GET /psu", 200, fixture("auradine/2023-12/psu.json"));
        summary.lock().unwrap().clone_from(&good);
        if line == "summary" {
            *summary.lock().unwrap() = body.clone().into_bytes();
        } else {
            miner.answer(line, 200, body.clone());
        }
        let error = driver(&miner).read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{line} {body:.60}: {error}");
    }
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = Auradine::new(&connection(DriverKind::Auradine, address), &http_client().unwrap());
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
    let mut driver =
        Auradine::new(&connection(DriverKind::Auradine, nobody().await), &http_client().unwrap());
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_simulated_miner_follows_from_full_power_to_sleep_and_back() {
    let points = [(1_700.0, 92.0), (2_500.0, 130.0), (3_400.0, 170.0)];
    for (seed, host) in [(1, "127.81.1.1"), (2, "127.81.1.2")] {
        // The vendor's own port, so that the reading port is there too.
        let sim = Sim::start(DriverKind::Auradine, seed, host, 8080, &points).await;
        let mut driver = sim.driver();
        let status = driver.read().await.unwrap();
        assert_eq!(status.activity, Activity::Hashing);
        assert!(status.hashrate.value().unwrap().as_terahashes() > 150.0);
        let watts = status.power.value().unwrap().get();
        assert!((watts / sim.power() - 1.0).abs() < 0.03, "{watts}");
        driver.apply(power(2_100), Urgency::Shed).await.unwrap();
        sim.settles(2_040.0, 2_160.0).await;
        assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_100)));
        driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
        sim.settles(0.0, 100.0).await;
        assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
        driver.apply(power(3_000), Urgency::Normal).await.unwrap();
        sim.settles(2_900.0, 3_130.0).await;
        let tally = sim.miner.tally();
        assert_eq!((tally.trespasses, tally.restarts, tally.refused), (0, 0, 0));
        driver.close().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever is asked and whatever the miner answers, nothing but these commands is sent.
    #[test]
    fn only_harmless_commands_are_ever_sent(
        steps in proptest::collection::vec((any::<Option<u16>>(), 0..5_usize), 1..8)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = HttpMiner::start("127.81.2.1:0").await;
            miner.answer("POST /token", 200, token("token-1"));
            miner.answer("GET /mode", 200, fixture("auradine/2023-12/mode.json"));
            let mut driver = driver(&miner);
            for (watts, answer) in steps {
                let answers = [YES, "{}", "", r#"{"STATUS":[{"STATUS":"E","Msg":"token"}]}"#, "[]"];
                miner.command(200, answers[answer]);
                let target = watts.map_or(Target::Sleep, |watts| power(i32::from(watts)));
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            miner.state.lock().unwrap().log.clone()
        });
        for seen in log {
            let allowed = ["POST /token", "GET /mode", "GET /psu", "POST /mode"];
            prop_assert!(allowed.contains(&seen.line.as_str()), "{}", seen.line);
            if seen.line == "POST /mode" {
                let body: Value = serde_json::from_slice(&seen.body).unwrap();
                let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
                prop_assert!(keys == ["command", "sleep"] || keys == ["command", "mode", "power", "tune"]);
            }
        }
    }
}
