//! The VNish driver against a small web server, and against the simulated miner.

use crate::drivers_antminer;
use crate::drivers_support;
use crate::sim_servers::bench;

use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::vnish::Vnish;
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::sim::miner::{Fault, FaultKind, Initial, MinerState};
use ballast::units::{Hashrate, Watts};
use bench::Bench;
use drivers_antminer::{Reply, Seen, Server};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, malformed, misbehaving, nobody, power,
    rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const UNLOCK: &str = "POST /api/v1/unlock";
const DONE: &str = r#"{"restart_required":false,"reboot_required":false}"#;

/// Everything that was sent with POST but the logins, as "POST path body".
fn posts(server: &Server) -> Vec<String> {
    let state = server.state();
    let posts = state.log.iter().filter(|seen| seen.line.starts_with("POST ") && seen.line != UNLOCK);
    let text = |seen: &Seen| format!("{} {}", seen.line, String::from_utf8_lossy(&seen.body));
    posts.map(|seen| text(seen).trim_end().to_owned()).collect()
}

fn get(path: &str) -> String {
    format!("GET /api/v1/{path}")
}

fn post(path: &str) -> String {
    format!("POST /api/v1/{path}")
}

/// A miner of firmware 1.3.4 or 1.2.6 that wants its token where the vendor says so.
async fn miner(version: &str) -> Server {
    let server = Server::start().await;
    for (path, file) in [("summary", "summary"), ("perf-summary", "perf_summary")] {
        server.answer(&get(path), Reply::ok(fixture(&format!("vnish/{version}/{file}.json"))));
    }
    if version == "1.2.6" {
        server.answer(&get("autotune/presets"), Reply::ok(fixture("vnish/1.2.6/presets.json")));
        server.answer(&get("settings"), Reply::ok(fixture("vnish/1.2.6/settings.json")));
    }
    for path in ["mining/throttle", "settings"] {
        server.answer(&post(path), Reply::ok(DONE));
    }
    for path in ["mining/pause", "mining/resume", "mining/start", "lock"] {
        server.answer(&post(path), Reply::ok(""));
    }
    accept(&server, PASSWORD, "token-1");
    server
}

/// Takes this password and gives this token; all that needs a token needs this one.
fn accept(server: &Server, password: &'static str, token: &'static str) {
    server.state().gate = Some(Box::new(move |seen| {
        let open = ["summary", "perf-summary", "status", "info"].map(get);
        if seen.line == UNLOCK {
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            return Some(if body == json!({ "pw": password }) {
                Reply::ok(json!({ "token": token }).to_string())
            } else {
                Reply::new(403, r#"{"unlock_timeout":null}"#)
            });
        }
        let known = seen.authorization.as_deref() == Some(&format!("Bearer {token}"));
        (!known && !open.contains(&seen.line)).then(|| Reply::new(401, ""))
    }));
}

fn driver(server: &Server) -> Vnish {
    Vnish::new(&connection(DriverKind::Vnish, server.address), &http_client().unwrap())
}

fn summary(server: &Server, version: &str, change: impl Fn(&mut Value)) {
    let mut summary: Value =
        serde_json::from_slice(&fixture(&format!("vnish/{version}/summary.json"))).unwrap();
    change(&mut summary);
    server.answer(&get("summary"), Reply::ok(summary.to_string()));
}

fn state(server: &Server, version: &str, state: &str) {
    summary(server, version, |summary| {
        summary["miner"]["miner_status"]["miner_state"] = state.into();
        if state != "mining" {
            summary["miner"]["hr_realtime"] = 0.into();
            summary["miner"]["miner_status"]["miner_state_time"] = 0.into();
        }
    });
}

#[tokio::test]
async fn a_miner_with_a_throttle_reads_without_a_login() {
    let server = miner("1.3.4").await;
    let status = driver(&server).read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(2_796)), "not the efficiency beside it");
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(105_901.44e9)));
    assert_eq!(status.activity, Activity::Hashing);
    // 80 % of the active preset.
    assert_eq!(status.target, Measured::Value(power(2_796)));
    assert_eq!(status.range, Some((Watts::whole(699), Watts::whole(3_495))));
    assert_eq!(status.points, None);
    assert_eq!(status.uptime, Some(Duration::from_secs(81_234)));
    assert_eq!(server.count(UNLOCK), 0);
}

#[tokio::test]
async fn a_miner_without_a_throttle_reads_with_its_tuned_presets() {
    let server = miner("1.2.6").await;
    let status = driver(&server).read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(2_781)));
    assert_eq!(status.target, Measured::Value(power(2_800)));
    assert_eq!(status.range, None);
    let points = status.points.unwrap();
    let watts: Vec<f64> = points.iter().map(|point| point.power.get()).collect();
    assert_eq!(watts, [1_900.0, 2_400.0, 2_800.0]);
    assert_eq!(points[0].hashrate, Hashrate::terahashes(73.0));
    // Without an account the presets stay unknown, and everything else is read.
    let bare = Connection { credentials: None, ..connection(DriverKind::Vnish, server.address) };
    let status = Vnish::new(&bare, &http_client().unwrap()).read().await.unwrap();
    assert_eq!(status.points, None);
    assert_eq!(status.activity, Activity::Hashing);
}

#[tokio::test]
async fn the_throttle_is_a_whole_percent_of_the_active_preset_rounded_down() {
    let server = miner("1.3.4").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    for watts in [2_500, 9_999, 3_495, 699] {
        driver.apply(power(watts), Urgency::Shed).await.unwrap();
    }
    assert_eq!(rejection(driver.apply(power(698), Urgency::Shed).await), Rejection::OutOfRange);
    let throttle = |percent: u8| format!("{} {{\"percent\":{percent}}}", post("mining/throttle"));
    assert_eq!(posts(&server), [throttle(71), throttle(100), throttle(100), throttle(20)]);
    assert_eq!(server.count(UNLOCK), 1);
    assert_eq!(server.state().connections, 1);
    // What was asked for reads back, not what its rounding gave.
    summary(&server, "1.3.4", |summary| summary["miner"]["miner_status"]["throttled"] = 71.into());
    driver.apply(power(2_500), Urgency::Shed).await.unwrap();
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_500)));
}

#[tokio::test]
async fn a_preset_is_sent_by_its_name_alone_and_only_a_tuned_one() {
    let server = miner("1.2.6").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    // 2150 would fit better, but is not tuned.
    driver.apply(power(2_300), Urgency::Shed).await.unwrap();
    let active = r#"{"current_preset":{"name":"1900","pretty":"1900 watt ~ 73 TH","status":"tuned"}}"#;
    server.answer(&get("perf-summary"), Reply::ok(active));
    // 1500 would fit, but is not tuned: the lowest tuned one is in force already.
    driver.apply(power(1_000), Urgency::Shed).await.unwrap();
    assert_eq!(
        posts(&server),
        [format!(r#"{} {{"miner":{{"overclock":{{"preset":"1900"}}}}}}"#, post("settings"))]
    );
}

#[tokio::test]
async fn a_preset_that_was_changed_by_hand_is_set_again() {
    let server = miner("1.2.6").await;
    let mut driver = driver(&server);
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_800)));
    server.answer(&get("perf-summary"), Reply::ok(r#"{"current_preset":{"name":"2400"}}"#));
    server.answer(&get("settings"), Reply::ok(r#"{"miner":{"overclock":{"preset":"2800"}}}"#));
    driver.apply(power(2_800), Urgency::Normal).await.unwrap();
    assert_eq!(posts(&server).len(), 1);
}

#[tokio::test]
async fn a_preset_that_was_in_force_before_a_raise_without_an_answer_is_sent() {
    let server = miner("1.2.6").await;
    // Firmware that does not tell which one is active.
    server.answer(&get("perf-summary"), Reply::new(404, ""));
    let mut driver = driver(&server);
    driver.apply(power(1_900), Urgency::Shed).await.unwrap();
    server.state().swallow = Some("POST /api/v1/settings");
    let error = driver.apply(power(2_450), Urgency::Normal).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    server.state().swallow = None;
    driver.apply(power(1_900), Urgency::Shed).await.unwrap();
    assert_eq!(posts(&server).len(), 3);
}

#[tokio::test]
async fn a_preset_that_was_ignored_with_success_is_a_refusal() {
    let server = miner("1.2.6").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    let reason = rejection(driver.apply(power(2_450), Urgency::Shed).await);
    assert!(matches!(&reason, Rejection::Other(text) if text.contains("kept 1900")), "{reason:?}");
    // The same as a number.
    server.answer(&get("settings"), Reply::ok(r#"{"miner":{"overclock":{"preset":2400}}}"#));
    driver.apply(power(2_450), Urgency::Shed).await.unwrap();
    // What cannot be read back is neither a yes nor a refusal.
    server.answer(&get("settings"), Reply::new(500, ""));
    let words = malformed(driver.apply(power(1_900), Urgency::Shed).await);
    assert!(words.starts_with("it said yes"), "{words}");
    // A miner without any tuned preset is told so.
    server.answer(&get("autotune/presets"), Reply::ok("[]"));
    let reason = rejection(driver.apply(power(2_450), Urgency::Shed).await);
    assert!(matches!(&reason, Rejection::Other(text) if text.contains("no tuned preset")), "{reason:?}");
}

#[tokio::test]
async fn a_value_that_wants_a_restart_is_a_refusal_and_nothing_is_restarted() {
    for version in ["1.3.4", "1.2.6"] {
        let server = miner(version).await;
        let wants = Reply::ok(r#"{"restart_required":true,"reboot_required":false}"#);
        server.answer(&post("mining/throttle"), wants.clone());
        server.answer(&post("settings"), wants);
        let mut driver = driver(&server);
        driver.read().await.unwrap();
        let reason = rejection(driver.apply(power(1_950), Urgency::Shed).await);
        assert!(matches!(&reason, Rejection::Other(text) if text.contains("restart")), "{reason:?}");
        assert_eq!(posts(&server).len(), 1);
    }
}

#[tokio::test]
async fn sleep_is_a_pause_and_waking_sets_the_power_first() {
    let server = miner("1.3.4").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    state(&server, "1.3.4", "stopped");
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.target, Measured::Value(Target::Sleep));
    assert_eq!(status.uptime, None);
    driver.apply(power(1_750), Urgency::Normal).await.unwrap();
    state(&server, "1.3.4", "starting");
    assert_eq!(driver.read().await.unwrap().activity, Activity::Starting);
    driver.apply(power(3_495), Urgency::Normal).await.unwrap();
    let throttle = |percent: u8| format!("{} {{\"percent\":{percent}}}", post("mining/throttle"));
    assert_eq!(posts(&server), [post("mining/pause"), throttle(50), post("mining/resume"), throttle(100)]);
}

#[tokio::test]
async fn a_throttle_refused_after_waking_is_neither_a_yes_nor_a_refusal() {
    let server = miner("1.3.4").await;
    state(&server, "1.3.4", "stopped");
    server.answer(&post("mining/throttle"), Reply::new(500, r#"{"err":"not now"}"#));
    let words = malformed(driver(&server).apply(power(1_750), Urgency::Normal).await);
    assert!(words.starts_with("it was woken"), "{words}");
    assert_eq!(server.count(&post("mining/resume")), 1);
}

#[tokio::test]
async fn a_miner_that_was_stopped_and_not_paused_is_started() {
    // Refused, or accepted without effect.
    for refused in [true, false] {
        let server = miner("1.3.4").await;
        state(&server, "1.3.4", "stopped");
        if refused {
            server.answer(&post("mining/resume"), Reply::new(500, r#"{"err":"not paused"}"#));
        }
        let mut driver = driver(&server);
        driver.apply(power(3_000), Urgency::Normal).await.unwrap();
        if !refused {
            driver.read().await.unwrap();
            driver.apply(power(3_000), Urgency::Normal).await.unwrap();
        }
        assert_eq!(server.count(&post("mining/resume")), 1);
        assert_eq!(server.count(&post("mining/start")), 1);
    }
}

#[tokio::test]
async fn the_state_is_told_from_its_name() {
    for (name, expected) in [
        ("mining", Activity::Hashing),
        ("initializing", Activity::Starting),
        ("starting", Activity::Starting),
        ("auto-tuning", Activity::Starting),
        ("restarting", Activity::Starting),
        ("stopped", Activity::Asleep),
        ("paused", Activity::Asleep),
        ("shutting-down", Activity::Unknown),
        ("failure", Activity::Fault("Chain 2 is gone".into())),
        ("daydreaming", Activity::Unknown),
    ] {
        let server = miner("1.3.4").await;
        summary(&server, "1.3.4", |summary| {
            let miner = &mut summary["miner"];
            miner["miner_status"]["miner_state"] = name.into();
            miner["miner_status"]["description"] = "Chain 2\nis gone".into();
            if name != "mining" {
                miner["hr_realtime"] = 0.into();
            }
        });
        assert_eq!(driver(&server).read().await.unwrap().activity, expected, "{name}");
    }
    // Said to be stopped and still hashing: what it does counts.
    let server = miner("1.3.4").await;
    summary(&server, "1.3.4", |summary| {
        summary["miner"]["miner_status"]["miner_state"] = "stopped".into();
    });
    assert_eq!(driver(&server).read().await.unwrap().activity, Activity::Hashing);
}

#[tokio::test]
async fn what_is_missing_is_never_zero() {
    let server = miner("1.3.4").await;
    summary(&server, "1.3.4", |summary| {
        summary["miner"].as_object_mut().unwrap().remove("power_consumption");
        summary["miner"]["hr_realtime"] = json!(null);
    });
    server.answer(&get("perf-summary"), Reply::ok(r#"{"current_preset":null}"#));
    let status = driver(&server).read().await.unwrap();
    assert_eq!(status.power, Measured::Unsupported);
    assert_eq!(status.hashrate, Measured::Unsupported);
    assert_eq!(status.activity, Activity::Starting);
    // Without a preset the configured power is the base.
    assert_eq!(status.range, Some((Watts::whole(660), Watts::whole(3_300))));
    summary(&server, "1.3.4", |summary| summary["miner"]["power_consumption"] = 0.into());
    assert_eq!(driver(&server).read().await.unwrap().power, Measured::Unavailable);
    // While the mining software is down, only the state is known.
    server.answer(&get("summary"), Reply::ok(r#"{"miner":null}"#));
    server.answer(&get("status"), Reply::ok(r#"{"miner_state":"starting","throttled":100}"#));
    let status = driver(&server).read().await.unwrap();
    assert_eq!((status.power, status.activity), (Measured::Unavailable, Activity::Starting));
}

#[tokio::test]
async fn an_ended_login_is_renewed_once() {
    let server = miner("1.3.4").await;
    let mut driver = driver(&server);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    accept(&server, PASSWORD, "token-2");
    driver.apply(power(2_500), Urgency::Shed).await.unwrap();
    assert_eq!(server.count(UNLOCK), 2);
    // A miner that refuses even a fresh token is not asked for ever.
    for _ in 0..2 {
        let mut state = server.state();
        state.next.entry(post("mining/pause")).or_default().push_back(Reply::new(401, ""));
    }
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(server.count(UNLOCK), 3);
}

#[tokio::test]
async fn a_login_that_is_refused_with_403_is_renewed_and_that_not_time_and_again() {
    let server = miner("1.3.4").await;
    let mut driver = driver(&server);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    let refuse = || {
        let mut state = server.state();
        state.next.entry(post("mining/pause")).or_default().push_back(Reply::new(403, ""));
    };
    refuse();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!((server.count(UNLOCK), server.count(&post("mining/pause"))), (2, 2));
    refuse();
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    assert_eq!((server.count(UNLOCK), server.count(&post("mining/pause"))), (2, 3));
}

#[tokio::test]
async fn a_wrong_password_is_said_so_and_not_tried_again_at_once() {
    let server = miner("1.3.4").await;
    accept(&server, "another", "token-1");
    let mut driver = driver(&server);
    for _ in 0..4 {
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
        assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing, "reads go on");
    }
    assert_eq!(server.count(UNLOCK), 1);
    let bare = Connection { credentials: None, ..connection(DriverKind::Vnish, server.address) };
    let mut driver = Vnish::new(&bare, &http_client().unwrap());
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
}

#[tokio::test]
async fn a_locked_miner_is_busy_for_as_long_as_it_says() {
    let server = miner("1.3.4").await;
    server.state().gate = None;
    server.answer(UNLOCK, Reply::new(429, r#"{"unlock_timeout":120}"#));
    let mut driver = driver(&server);
    for _ in 0..3 {
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Busy);
    }
    assert_eq!(server.count(UNLOCK), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(121)).await;
    tokio::time::resume();
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Busy);
    assert_eq!(server.count(UNLOCK), 2);
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    for (status, reason) in [
        (403, Rejection::Credentials),
        (404, Rejection::Unsupported),
        (409, Rejection::WrongState),
        (422, Rejection::OutOfRange),
        (429, Rejection::Busy),
        (500, Rejection::Other("HTTP 500: tuner is on fire".into())),
        (302, Rejection::Other("HTTP 302: tuner is on fire".into())),
    ] {
        let server = miner("1.3.4").await;
        server.answer(&post("mining/pause"), Reply::new(status, r#"{"err":"tuner is on fire"}"#));
        let result = driver(&server).apply(Target::Sleep, Urgency::Shed).await;
        assert_eq!(rejection(result), reason, "{status}");
        assert_eq!(server.count(&post("mining/pause")), 1, "{status} is not repeated");
    }
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let server = miner("1.3.4").await;
    let mut driver = driver(&server);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    server.state().swallow = Some("POST");
    let error = driver.apply(power(2_500), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    server.state().swallow = None;
    driver.read().await.unwrap();
    assert_eq!(posts(&server).len(), 2);
}

#[tokio::test]
async fn the_session_is_given_back() {
    let server = miner("1.3.4").await;
    let mut driver = driver(&server);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    driver.close().await;
    driver.close().await;
    let state = server.state();
    let locks: Vec<_> = state.log.iter().filter(|seen| seen.line == post("lock")).collect();
    assert_eq!(locks.len(), 1);
    assert_eq!(locks[0].authorization.as_deref(), Some("Bearer token-1"));
}

#[tokio::test]
async fn neither_password_nor_token_shows_in_an_error() {
    let server = miner("1.3.4").await;
    let mut driver = driver(&server);
    let text = format!("{PASSWORD} token-1 {}", "x".repeat(100_000));
    server.answer(&post("mining/pause"), Reply::new(500, text));
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && !text.contains("token-1"), "{text}");
    assert!(text.len() < 1_000);
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for (path, body) in [
        ("summary", "{".to_owned()),
        ("summary", "[]".to_owned()),
        ("summary", r#"{"miner":[]}"#.to_owned()),
        ("summary", "[".repeat(100_000)),
        ("summary", format!("{{\"a\":\"{}\"}}", "x".repeat(2_000_000))),
        ("perf-summary", "{".to_owned()),
        ("autotune/presets", r#"{"presets":7}"#.to_owned()),
    ] {
        let server = miner("1.2.6").await;
        server.answer(&get(path), Reply::ok(body.clone()));
        let error = driver(&server).read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{path} {body:.60}: {error}");
    }
    let server = miner("1.3.4").await;
    server.answer(&get("summary"), Reply::ok(vec![0xff, 0xfe, b'{']));
    assert!(matches!(driver(&server).read().await, Err(DriverError::Malformed { .. })));
    // A yes that cannot be read leaves the effect unknown.
    server.answer(&post("mining/throttle"), Reply::ok("<html>"));
    summary(&server, "1.3.4", |_| {});
    let error = driver(&server).apply(power(3_000), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = Vnish::new(&connection(DriverKind::Vnish, address), &http_client().unwrap());
        let clock = Clock::start();
        let read = driver.read().await.unwrap_err();
        let command = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
        driver.close().await;
        assert!(clock.now().since_start() < Duration::from_millis(1_500), "{how:?}");
        for error in [read, command] {
            let expected = match how {
                Misbehaviour::Silence => matches!(error, DriverError::Timeout { .. }),
                _ => matches!(error, DriverError::Malformed { .. } | DriverError::Timeout { .. }),
            };
            assert!(expected, "{how:?}: {error}");
        }
    }
    let mut driver = Vnish::new(&connection(DriverKind::Vnish, nobody().await), &http_client().unwrap());
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

/// A simulated miner of the version that is asked for, and a driver for it.
async fn simulated(older: bool, initial: Initial) -> (Bench, Vnish) {
    // The seed decides the firmware.
    for seed in 1..64 {
        let bench = Bench::start_seeded(DriverKind::Vnish, initial, seed).await;
        let mut driver = Vnish::new(&bench.connection(), &http_client().unwrap());
        let status = driver.read().await.unwrap();
        if status.range.is_none() == older {
            return (bench, driver);
        }
    }
    unreachable!("no seed of 63 gives that firmware");
}

#[tokio::test]
async fn the_simulated_miner_is_throttled_put_to_sleep_and_woken() {
    let (bench, mut driver) = simulated(false, Initial::Hashing { fraction: 1.0 }).await;
    let status = driver.read().await.unwrap();
    let Measured::Value(shown) = status.power else { panic!("{status:?}") };
    assert!((shown.get() / bench.power() - 1.0).abs() < 0.03);
    assert_eq!(status.activity, Activity::Hashing);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    bench.until("2400 W", |bench| bench.power() < 2_450.0).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_400)));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.until("sleep", |bench| bench.power() < 50.0).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(Target::Sleep));
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    bench.until("2000 W", |bench| bench.power() > 1_900.0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bench.power() < 2_200.0, "it woke towards its target, at {} W", bench.power());
    let tally = bench.miner.tally();
    assert_eq!((tally.trespasses, tally.restarts, tally.refused), (0, 0, 0));
    driver.close().await;
}

#[tokio::test]
async fn a_simulated_miner_in_its_sleep_reads_as_asleep() {
    let (bench, mut driver) = simulated(false, Initial::Asleep).await;
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.target), (Activity::Asleep, Measured::Value(Target::Sleep)));
    driver.apply(power(1_800), Urgency::Normal).await.unwrap();
    bench.until("waking", |bench| bench.power() > 1_700.0).await;
}

#[tokio::test]
async fn the_simulated_older_miner_follows_its_tuned_presets() {
    let (bench, mut driver) = simulated(true, Initial::Hashing { fraction: 1.0 }).await;
    let points = driver.read().await.unwrap().points.unwrap();
    assert!(points.len() >= 4 && points.windows(2).all(|pair| pair[0].power < pair[1].power));
    for point in points.iter() {
        driver.apply(Target::Power(point.power), Urgency::Shed).await.unwrap();
        let status = driver.read().await.unwrap();
        assert_eq!(status.target, Measured::Value(Target::Power(point.power)));
    }
    // Between two: the lower.
    driver.apply(Target::Power(points[2].power - Watts::whole(80)), Urgency::Shed).await.unwrap();
    let near = |bench: &Bench| (bench.power() / points[1].power.get() - 1.0).abs() < 0.05;
    bench.until("the lower preset", near).await;
    let tally = bench.miner.tally();
    assert_eq!((tally.trespasses, tally.restarts), (0, 0));
}

#[tokio::test]
async fn the_faults_of_the_simulated_miner_show() {
    let (bench, mut driver) = simulated(false, Initial::Hashing { fraction: 1.0 }).await;
    bench.inject(Fault::Trips);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Fault("Chain break detected".into()));
    bench.clear(FaultKind::Trips);
    bench.inject(Fault::RejectCommands);
    assert!(matches!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Other(_)));
    bench.clear(FaultKind::RejectCommands);
    bench.inject(Fault::Garbage);
    for _ in 0..3 {
        assert!(matches!(driver.read().await, Err(DriverError::Malformed { .. })));
    }
    bench.clear(FaultKind::Garbage);
    bench.inject(Fault::Hang);
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    bench.clear(FaultKind::Hang);
    driver.read().await.unwrap();
    assert_ne!(bench.miner.state(bench.clock.now()), MinerState::Asleep);
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Sleep),
        (-100.0..12_000.0_f64).prop_map(|watts| Target::Power(Watts::saturating(watts))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is asked, in whatever order and whatever the miner answers, nothing but these commands is sent, and
    /// never an untuned preset.
    #[test]
    fn only_harmless_commands_are_ever_sent(
        older in any::<bool>(),
        steps in proptest::collection::vec((any_target(), 0..6_usize, 0..5_usize), 1..10),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let version = if older { "1.2.6" } else { "1.3.4" };
            let server = miner(version).await;
            let mut driver = driver(&server);
            for (target, answer, named) in steps {
                let status = [200, 401, 403, 409, 500, 404][answer];
                for path in ["mining/throttle", "settings", "mining/pause", "mining/resume", "mining/start"] {
                    server.answer(&post(path), Reply::new(status, DONE));
                }
                state(&server, version, ["mining", "stopped", "failure", "starting", "odd"][named]);
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
                driver.keep_alive().await;
            }
            driver.close().await;
            server.state().log.clone()
        });
        for seen in log {
            if seen.line == post("settings") {
                let body: Value = serde_json::from_slice(&seen.body).unwrap();
                let preset = body["miner"]["overclock"]["preset"].as_str().unwrap();
                prop_assert!(["1900", "2400", "2800"].contains(&preset), "{preset}");
                prop_assert_eq!(body.to_string().len(), r#"{"miner":{"overclock":{"preset":"2400"}}}"#.len());
                continue;
            }
            let allowed = [
                "unlock", "lock", "mining/throttle", "mining/pause", "mining/resume", "mining/start",
            ];
            let reads = ["summary", "perf-summary", "status", "autotune/presets", "settings"];
            let fine = allowed.iter().any(|path| seen.line == post(path))
                || reads.iter().any(|path| seen.line == get(path));
            prop_assert!(fine, "{}", seen.line);
        }
    }

    /// Arbitrary answers, also such as are nearly right, give a reading or a clear error.
    #[test]
    fn no_answer_breaks_the_driver(body in proptest::collection::vec(any::<u8>(), 0..200), key in 0..5_usize, value in ".{0,20}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = miner("1.3.4").await;
            server.answer(&get("perf-summary"), Reply::ok(body));
            let _ = driver(&server).read().await;
            summary(&server, "1.3.4", |summary| {
                let miner = &mut summary["miner"];
                let parsed = serde_json::from_str(&value).unwrap_or(Value::String(value.clone()));
                let place = match key {
                    0 => &mut miner["power_consumption"],
                    1 => &mut miner["hr_realtime"],
                    2 => &mut miner["miner_status"]["throttled"],
                    3 => &mut miner["miner_status"]["miner_state"],
                    _ => &mut miner["miner_status"]["miner_state_time"],
                };
                *place = parsed;
            });
            let _ = driver(&server).read().await;
        });
    }
}
