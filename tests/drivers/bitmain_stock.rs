//! The driver of Bitmain's own firmware against a small web server, and against the simulated miner.

use crate::drivers_antminer;
use crate::drivers_support;
use crate::sim_servers::bench;

use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::bitmain_stock::BitmainStock;
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::sim::miner::{Fault, FaultKind, Initial};
use ballast::units::{Hashrate, Watts};
use bench::Bench;
use drivers_antminer::{Reply, Server};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, misbehaving, nobody, power, rejection,
};
use md5::{Digest, Md5};
use proptest::prelude::*;
use serde_json::Value;

const STATS: &str = "GET /cgi-bin/stats.cgi";
const SUMMARY: &str = "GET /cgi-bin/summary.cgi";
const CONFIG: &str = "GET /cgi-bin/get_miner_conf.cgi";
const WRITE: &str = "POST /cgi-bin/set_miner_conf.cgi";
const DONE: &str = r#"{"stats":"success","code":"M000","msg":"OK!"}"#;

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Wants a digest under this nonce, as the firmware's web server does.
fn accept(server: &Server, password: &'static str, nonce: &'static str) {
    server.state().gate = Some(Box::new(move |seen| {
        let header = seen.authorization.clone().unwrap_or_default();
        let field = |name: &str| -> String {
            let parts = header.split([',', ' ']);
            let value = parts.filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name);
            value.map(|(_, value)| value.trim_matches('"').to_owned()).unwrap_or_default()
        };
        let (method, path) = seen.line.split_once(' ').unwrap();
        let who = md5(&format!("root:antMiner Configuration:{password}"));
        let what = md5(&format!("{method}:{path}"));
        let right = md5(&format!("{who}:{nonce}:{}:{}:auth:{what}", field("nc"), field("cnonce")));
        let good = field("response") == right && field("nonce") == nonce && field("uri") == path;
        (!good).then(|| Reply {
            status: 401,
            headers: vec![format!(
                "WWW-Authenticate: Digest realm=\"antMiner Configuration\", nonce=\"{nonce}\", qop=\"auth\""
            )],
            body: b"<html>401</html>".to_vec(),
        })
    }));
}

async fn miner(version: &str) -> Server {
    let server = Server::start().await;
    for (line, file) in [(STATS, "stats"), (CONFIG, "config")] {
        server.answer(line, Reply::ok(fixture(&format!("bitmain-stock/{version}/{file}.json"))));
    }
    server.answer(SUMMARY, Reply::ok(fixture("bitmain-stock/2022.12/summary.json")));
    server.answer(WRITE, Reply::ok(DONE));
    accept(&server, PASSWORD, "n0nce");
    server
}

fn driver(server: &Server) -> BitmainStock {
    BitmainStock::new(&connection(DriverKind::BitmainStock, server.address), &http_client().unwrap())
}

fn stats(server: &Server, change: impl Fn(&mut Value)) {
    let mut stats: Value = serde_json::from_slice(&fixture("bitmain-stock/2022.12/stats.json")).unwrap();
    change(stats.pointer_mut("/STATS/0").unwrap());
    server.answer(STATS, Reply::ok(stats.to_string()));
}

/// The configuration as it was, with another mode.
fn config_in(server: &Server, mode: u8) {
    let text = String::from_utf8(fixture("bitmain-stock/2022.12/config.json")).unwrap();
    let text = text.replace("\"bitmain-work-mode\" : \"0\"", &format!("\"bitmain-work-mode\" : \"{mode}\""));
    server.answer(CONFIG, Reply::ok(text));
}

/// The bodies that were accepted by the login.
fn writes(server: &Server) -> Vec<String> {
    let state = server.state();
    let writes = state.log.iter().filter(|seen| seen.line == WRITE);
    writes.map(|seen| String::from_utf8(seen.body.clone()).unwrap()).collect()
}

#[tokio::test]
async fn a_hashing_miner_without_a_power_reading_says_so() {
    let server = miner("2022.12").await;
    let mut driver = driver(&server);
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Unsupported);
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(100_212.55e9)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_300)));
    assert_eq!((status.range, status.points), (None, None));
    assert_eq!(status.uptime, Some(Duration::from_secs(91_220)));
    // One challenge; after that each request is answered at once, over one connection.
    driver.read().await.unwrap();
    let state = server.state();
    let bare = state.log.iter().filter(|seen| seen.authorization.is_none()).count();
    assert_eq!((bare, state.connections), (1, 1));
    assert!(state.log.last().unwrap().authorization.as_ref().unwrap().contains("nc=00000003"));
}

#[tokio::test]
async fn newer_firmware_tells_its_power_in_one_of_several_ways() {
    let server = miner("2025.10").await;
    let status = driver(&server).read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(5_321)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::terahashes(331.2)));
    for (key, value, expected) in [
        ("chain_power", Value::from("3250 W"), Measured::Value(Watts::whole(3_250))),
        ("power", Value::from(3_251), Measured::Value(Watts::whole(3_251))),
        ("Power", Value::from("3252"), Measured::Value(Watts::whole(3_252))),
        ("chain_power", Value::from("unknown"), Measured::Unsupported),
        ("power", Value::from(0), Measured::Unavailable),
        ("watt", Value::from(-1), Measured::Unavailable),
    ] {
        stats(&server, |stats| stats[key] = value.clone());
        assert_eq!(driver(&server).read().await.unwrap().power, expected, "{key} {value}");
    }
    // cgminer's shape, with a head before the entry.
    server.answer(
        STATS,
        Reply::ok(r#"{"STATS":[{"Type":"Antminer S19"},{"Elapsed":9,"GHS 5s":"95000.1","rate_unit":"GH"}]}"#),
    );
    let status = driver(&server).read().await.unwrap();
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(95_000.1e9)));
}

#[tokio::test]
async fn only_the_mode_is_changed_and_every_other_byte_goes_back_as_it_came() {
    let server = miner("2022.12").await;
    let mut driver = driver(&server);
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    config_in(&server, 1);
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    config_in(&server, 3);
    driver.apply(power(3_300), Urgency::Normal).await.unwrap();
    let read = String::from_utf8(fixture("bitmain-stock/2022.12/config.json")).unwrap();
    let expected = |mode: u8| {
        read.replace("\"bitmain-work-mode\" : \"0\"", &format!("\"bitmain-work-mode\" : \"{mode}\"")).replace(
            "\"bitmain-freq-level\" : \"90\"\n}",
            // The mode is added as the text that the other one is.
            &format!("\"bitmain-freq-level\" : \"90\"\n,\"miner-mode\":\"{mode}\",\"freq-level\":\"90\"}}"),
        )
    };
    assert_eq!(writes(&server), [expected(1), expected(3), expected(0)]);

    let server = miner("2025.10").await;
    BitmainStock::new(&connection(DriverKind::BitmainStock, server.address), &http_client().unwrap())
        .apply(Target::Sleep, Urgency::Shed)
        .await
        .unwrap();
    let read = String::from_utf8(fixture("bitmain-stock/2025.10/config.json")).unwrap();
    assert_eq!(writes(&server), [read.replace("\"miner-mode\":0", "\"miner-mode\":1")]);
}

#[tokio::test]
async fn a_mode_that_is_in_force_is_not_written_again() {
    let server = miner("2022.12").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    driver.apply(power(3_290), Urgency::Normal).await.unwrap();
    assert_eq!(writes(&server).len(), 0, "99 % and more is full power, which it has");
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(3_290)));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    config_in(&server, 1);
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(writes(&server).len(), 1);
    // Configured to sleep and running on by its own word: said once more.
    driver.read().await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(writes(&server).len(), 2);
}

#[tokio::test]
async fn the_state_is_told_from_mode_hashrate_and_complaints() {
    let server = miner("2022.12").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    // Said to sleep, but still hashing: what it does counts.
    config_in(&server, 1);
    stats(&server, |stats| stats["miner-mode"] = 1.into());
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.target), (Activity::Hashing, Measured::Value(Target::Sleep)));
    stats(&server, |stats| {
        stats["miner-mode"] = 1.into();
        stats["rate_5s"] = 0.into();
    });
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    // The mining software is down, as it is in sleep on some firmware.
    for body in ["Socket connect failed: Connection refused\n", "", " \n"] {
        server.answer(STATS, Reply::ok(body));
        let status = driver.read().await.unwrap();
        assert_eq!((status.activity, status.power), (Activity::Asleep, Measured::Unavailable), "{body:?}");
    }
    config_in(&server, 0);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Starting);
    stats(&server, |stats| {
        stats["rate_5s"] = 0.into();
        stats["elapsed"] = 60.into();
    });
    assert_eq!(driver.read().await.unwrap().activity, Activity::Starting);
    stats(&server, |stats| stats["rate_5s"] = 0.into());
    let fault = Activity::Fault("ERROR_FAN_LOST: fan 2 lost".into());
    assert_eq!(driver.read().await.unwrap().activity, fault);
    // What low draws the firmware does not say.
    config_in(&server, 3);
    assert_eq!(driver.read().await.unwrap().target, Measured::Unavailable);
}

#[tokio::test]
async fn a_configuration_that_is_not_whole_is_never_written() {
    for (body, malformed) in [
        (r#"{"pools":[],"bitmain-work-mode":"0"}"#, false),
        (r#"{"pools":[{"url":""}],"bitmain-work-mode":"0"}"#, false),
        (r#"{"bitmain-work-mode":"0"}"#, false),
        (r#"{"pools":[{"url":"stratum+tcp://a.example:1","pass":"***"}],"miner-mode":0}"#, false),
        ("{", true),
        ("{}", true),
        ("[]", true),
        ("", true),
        (r#"{"pools":[{"url":"stratum+tcp://a.example:1"}],"miner-mode":"fast"}"#, true),
    ] {
        let server = miner("2022.12").await;
        server.answer(CONFIG, Reply::ok(body));
        let error = driver(&server).apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
        match error {
            DriverError::Malformed { .. } => assert!(malformed, "{body}"),
            DriverError::Rejected { reason: Rejection::Other(_), .. } => assert!(!malformed, "{body}"),
            other => panic!("{body}: {other}"),
        }
        assert_eq!(server.count(WRITE), 0, "{body}");
    }
}

#[tokio::test]
async fn a_write_is_answered_late_and_not_said_again() {
    let server = miner("2022.12").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    server.state().swallow = Some("POST");
    let clock = Clock::start();
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    let time = clock.now().since_start();
    // Six time limits of 400 ms.
    assert!((Duration::from_millis(2_300)..Duration::from_millis(3_200)).contains(&time), "{time:?}");
    assert_eq!(server.count(WRITE), 1);
    // It had arrived all the same: read back, and nothing is written twice.
    server.state().swallow = None;
    config_in(&server, 1);
    stats(&server, |stats| stats["miner-mode"] = 1.into());
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(Target::Sleep));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(server.count(WRITE), 1);
}

#[tokio::test]
async fn a_new_challenge_is_answered_once_and_the_write_carried_out_once() {
    let server = miner("2022.12").await;
    let mut driver = driver(&server);
    driver.read().await.unwrap();
    accept(&server, PASSWORD, "an0ther");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    let state = server.state();
    let refused = state.log.iter().filter(|seen| {
        seen.authorization
            .as_ref()
            .is_some_and(|header| header.contains("n0nce\"") && !header.contains("an0ther"))
    });
    // The reads before, and the one that met the new challenge; the write met it never.
    assert!(refused.clone().all(|seen| seen.line != WRITE));
    assert_eq!(state.log.iter().filter(|seen| seen.line == WRITE).count(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_said_so_and_not_tried_again_at_once() {
    let server = miner("2022.12").await;
    accept(&server, "another", "n0nce");
    let mut driver = driver(&server);
    for _ in 0..4 {
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
        assert_eq!(rejection(driver.read().await.map(|_| ())), Rejection::Credentials);
    }
    assert_eq!(server.state().log.len(), 2);
    let bare = Connection { credentials: None, ..connection(DriverKind::BitmainStock, server.address) };
    let mut driver = BitmainStock::new(&bare, &http_client().unwrap());
    assert_eq!(rejection(driver.read().await.map(|_| ())), Rejection::Credentials);
    assert_eq!(server.state().log.len(), 2);
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    for (status, body, reason) in [
        (200, r#"{"stats":"error","code":"M001","msg":"Illegal request!"}"#, "M001: Illegal request!"),
        (500, r#"{"msg":"cgi is gone"}"#, "HTTP 500: cgi is gone"),
        (403, "no", "HTTP 403: no"),
    ] {
        let server = miner("2022.12").await;
        server.answer(WRITE, Reply::new(status, body));
        let result = driver(&server).apply(Target::Sleep, Urgency::Shed).await;
        assert_eq!(rejection(result), Rejection::Other(reason.into()));
        assert_eq!(server.count(WRITE), 1);
    }
    let server = miner("2022.12").await;
    server.answer(WRITE, Reply::new(404, ""));
    let result = driver(&server).apply(Target::Sleep, Urgency::Shed).await;
    assert_eq!(rejection(result), Rejection::Unsupported);
    // Neither yes nor no.
    for body in ["", "ok", "{}", "[]", "{\"stats\":7}"] {
        server.answer(WRITE, Reply::ok(body));
        let error = driver(&server).apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{body}: {error}");
    }
    // A server of another kind.
    server.state().gate = None;
    server.answer(
        STATS,
        Reply { status: 401, headers: vec!["WWW-Authenticate: Basic realm=\"x\"".into()], body: Vec::new() },
    );
    let error = driver(&server).read().await.unwrap_err();
    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn the_password_shows_in_no_error() {
    let server = miner("2022.12").await;
    server.answer(WRITE, Reply::new(500, format!("{PASSWORD} {}", "x".repeat(100_000))));
    let error = driver(&server).apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && text.len() < 1_000, "{text}");
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for body in [
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"STATS":"none"}"#.to_owned(),
        "[".repeat(100_000),
        format!("{{\"a\":\"{}\"}}", "x".repeat(2_000_000)),
    ] {
        let server = miner("2022.12").await;
        server.answer(STATS, Reply::ok(body.clone()));
        let error = driver(&server).read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{body:.60}: {error}");
    }
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let connection = connection(DriverKind::BitmainStock, address);
        let mut driver = BitmainStock::new(&connection, &http_client().unwrap());
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
    let nowhere = connection(DriverKind::BitmainStock, nobody().await);
    let error = BitmainStock::new(&nowhere, &http_client().unwrap()).read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

/// A simulated miner with a power reading, or without.
async fn simulated(with_power: bool, initial: Initial) -> (Bench, BitmainStock) {
    for seed in 1..64 {
        let bench = Bench::start_seeded(DriverKind::BitmainStock, initial, seed).await;
        let mut driver = BitmainStock::new(&bench.connection(), &http_client().unwrap());
        let status = driver.read().await.unwrap();
        if matches!(status.power, Measured::Value(_)) == with_power {
            return (bench, driver);
        }
    }
    panic!("no seed of 63 gives that firmware");
}

#[tokio::test]
async fn the_simulated_miner_sleeps_wakes_low_and_goes_back_to_normal() {
    let (bench, mut driver) = simulated(true, Initial::Hashing { fraction: 1.0 }).await;
    let Measured::Value(shown) = driver.read().await.unwrap().power else { panic!("no power") };
    assert!((shown.get() / bench.power() - 1.0).abs() < 0.03);
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.until("sleep", |bench| bench.power() < 50.0).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(Target::Sleep));
    driver.apply(power(2_600), Urgency::Normal).await.unwrap();
    // Three quarters of 3400 W, and up to 5 % above while it tunes.
    bench.until("low", |bench| (2_480.0..2_720.0).contains(&bench.power())).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_600)));
    driver.apply(power(3_400), Urgency::Normal).await.unwrap();
    bench.until("normal", |bench| bench.power() > 3_250.0).await;
    let tally = bench.miner.tally();
    assert_eq!((tally.trespasses, tally.refused), (0, 0));
    assert!(tally.restarts >= 1, "a change between modes restarts mining, which is counted");
}

#[tokio::test]
async fn a_simulated_miner_without_a_power_reading_sleeps_and_says_so() {
    let (_bench, mut driver) = simulated(false, Initial::Hashing { fraction: 1.0 }).await;
    assert_eq!(driver.read().await.unwrap().power, Measured::Unsupported);
    let (bench, mut driver) = simulated(false, Initial::Asleep).await;
    let status = driver.read().await.unwrap();
    assert_eq!((status.activity, status.target), (Activity::Asleep, Measured::Value(Target::Sleep)));
    driver.apply(power(3_400), Urgency::Normal).await.unwrap();
    bench.until("waking", |bench| bench.power() > 3_000.0).await;
    assert_eq!(bench.miner.tally().trespasses, 0);
}

#[tokio::test]
async fn the_faults_of_the_simulated_miner_show() {
    let (bench, mut driver) = simulated(true, Initial::Hashing { fraction: 1.0 }).await;
    bench.inject(Fault::RejectCommands);
    let reason = rejection(driver.apply(Target::Sleep, Urgency::Shed).await);
    assert_eq!(reason, Rejection::Other("M009: Failed!".into()));
    bench.clear(FaultKind::RejectCommands);
    bench.inject(Fault::Garbage);
    for _ in 0..3 {
        assert!(matches!(driver.read().await, Err(DriverError::Malformed { .. })));
    }
    bench.clear(FaultKind::Garbage);
    bench.inject(Fault::Hang);
    assert!(matches!(driver.read().await, Err(DriverError::Timeout { .. })));
    bench.clear(FaultKind::Hang);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever is asked and whatever the miner answers, a write differs from what was read in its mode alone.
    #[test]
    fn no_write_ever_changes_anything_but_the_mode(
        steps in proptest::collection::vec((0.0..6_000.0_f64, any::<bool>(), 0..5_usize, 0..4_u8), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let server = miner("2022.12").await;
            let mut driver = driver(&server);
            for (watts, sleep, answer, mode) in steps {
                let status = [200, 200, 500, 404, 302][answer];
                server.answer(WRITE, Reply::new(status, DONE));
                config_in(&server, mode);
                let target = if sleep { Target::Sleep } else { Target::Power(Watts::saturating(watts)) };
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            driver.close().await;
            server.state().log.clone()
        });
        let read: Value = serde_json::from_slice(&fixture("bitmain-stock/2022.12/config.json")).unwrap();
        for seen in log {
            if seen.line != WRITE {
                prop_assert!([STATS, SUMMARY, CONFIG].contains(&seen.line.as_str()), "{}", seen.line);
                continue;
            }
            let mut body: Value = serde_json::from_slice(&seen.body).unwrap();
            let object = body.as_object_mut().unwrap();
            let mode = object.remove("miner-mode").unwrap();
            // 2 is what some of the configurations here had before.
            prop_assert!(["0", "1", "2", "3"].contains(&mode.as_str().unwrap()));
            prop_assert_eq!(&object["bitmain-work-mode"], &mode);
            prop_assert_eq!(object.remove("freq-level").unwrap(), "90");
            object.insert("bitmain-work-mode".into(), "0".into());
            prop_assert_eq!(&body, &read);
        }
    }

    #[test]
    fn no_answer_breaks_the_driver(body in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = miner("2022.12").await;
            server.answer(STATS, Reply::ok(body));
            let _ = driver(&server).read().await;
            server.answer(STATS, Reply::ok(text));
            let _ = driver(&server).read().await;
        });
    }
}

fn modes(server: &Server) -> Vec<Value> {
    writes(server)
        .iter()
        .map(|body| {
            serde_json::from_str::<Value>(body).unwrap().get("miner-mode").cloned().unwrap_or_default()
        })
        .collect()
}

#[tokio::test]
async fn a_miner_wakes_in_the_mode_in_which_it_was_put_to_sleep() {
    // 2, which some models have for their efficient mode, and 3, where the operator chose it.
    for before in [2, 3, 0] {
        let server = miner("2022.12").await;
        let mut driver = driver(&server);
        config_in(&server, before);
        driver.read().await.unwrap();
        driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
        config_in(&server, 1);
        driver.apply(power(3_300), Urgency::Normal).await.unwrap();
        assert_eq!(modes(&server), ["1".to_owned(), before.to_string()], "{before}");
    }
    // Awake, 2 is full power already and low, once it was asked for, ends with the operator's mode.
    let server = miner("2022.12").await;
    let mut driver = driver(&server);
    config_in(&server, 2);
    driver.apply(power(3_300), Urgency::Normal).await.unwrap();
    assert_eq!(writes(&server).len(), 0);
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    config_in(&server, 3);
    driver.apply(power(3_300), Urgency::Normal).await.unwrap();
    assert_eq!(modes(&server), ["3", "2"]);
}

#[tokio::test]
async fn a_mode_is_written_as_the_device_has_it_and_the_other_way_where_that_is_refused() {
    // As a number, since it gave a number.
    let server = miner("2025.10").await;
    let mut driver = driver(&server);
    server.answer(WRITE, Reply::new(400, "bad request"));
    let refused = driver.apply(Target::Sleep, Urgency::Shed).await;
    assert!(matches!(rejection(refused), Rejection::Other(_)));
    assert_eq!(modes(&server), [Value::from(1), Value::from("1")], "once each way and no more");
}
