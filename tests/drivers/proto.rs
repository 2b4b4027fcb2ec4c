//! The Proto driver against a little REST server on a loopback socket, and against the simulated rig.

use crate::drivers_rest;
use crate::drivers_support;
use crate::sim_servers::bench as sim_bench;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::proto::Proto;
use ballast::miner::{Credentials, Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::secret::Secret;
use ballast::sim::miner::{Fault, FaultKind, MinerState};
use ballast::units::{Hashrate, Watts};
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, misbehaving, nobody, power, rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sim_bench::Bench;

/// What the little rig does.
struct Rig {
    generation: u32,
    answers: HashMap<&'static str, (u16, String)>,
    swallow: bool,
}

impl Rig {
    fn new(version: &str) -> Self {
        let mut answers = HashMap::new();
        for (path, file) in [
            ("GET /api/v1/mining", "mining"),
            ("GET /api/v1/mining/target", "target"),
            ("GET /api/v1/telemetry?level=miner", "telemetry"),
            ("GET /api/v1/errors", "errors"),
        ] {
            let place = format!("{}/tests/fixtures/proto/{version}/{file}.json", env!("CARGO_MANIFEST_DIR"));
            if let Ok(body) = std::fs::read_to_string(place) {
                answers.insert(path, (200, body));
            }
        }
        Self { generation: 1, answers, swallow: false }
    }

    fn answer(&mut self, seen: &Seen) -> Reply {
        if seen.line == "POST /api/v1/auth/login" {
            let body: Value = serde_json::from_str(&seen.body).unwrap();
            if body != json!({"password": PASSWORD}) {
                return reply(401, "{\"message\":\"bad password\"}");
            }
            let tokens = json!({
                "access_token": format!("access-{}", self.generation), "refresh_token": "refresh-1",
            });
            return reply(200, tokens.to_string());
        }
        if seen.header("authorization") != Some(&format!("Bearer access-{}", self.generation)) {
            return reply(401, "");
        }
        let write = !seen.line.starts_with("GET");
        if write && self.swallow {
            return None;
        }
        if let Some((status, body)) = self.answers.get(seen.line.as_str()) {
            return reply(*status, body.clone());
        }
        match seen.line.as_str() {
            "PUT /api/v1/mining/target" => reply(200, seen.body.clone()),
            line if line.starts_with("POST /api/v1/mining/") => reply(202, "{\"message\":\"ok\"}"),
            "POST /api/v1/auth/logout" => reply(200, "{\"message\":\"bye\"}"),
            _ => reply(404, ""),
        }
    }
}

struct Bed {
    server: Server,
    rig: Arc<Mutex<Rig>>,
}

impl Bed {
    async fn start(version: &str) -> Self {
        let rig = Arc::new(Mutex::new(Rig::new(version)));
        let shared = Arc::clone(&rig);
        let server = Server::start(move |seen| shared.lock().unwrap().answer(seen)).await;
        Self { server, rig }
    }

    fn driver(&self) -> Proto {
        Proto::new(&connection(DriverKind::Proto, self.server.address), &http_client().unwrap())
    }

    fn put(&self, line: &'static str, status: u16, body: impl Into<String>) {
        self.rig.lock().unwrap().answers.insert(line, (status, body.into()));
    }

    /// Another state than that of the fixture.
    fn mining(&self, change: impl Fn(&mut Value)) {
        let mut value: Value = serde_json::from_slice(&fixture("proto/1.8.0/mining.json")).unwrap();
        change(value.get_mut("mining-status").unwrap());
        self.put("GET /api/v1/mining", 200, value.to_string());
    }

    /// The commands that came, with their bodies; logins apart.
    fn commands(&self) -> Vec<String> {
        let log = self.server.log();
        let writes = log.iter().filter(|seen| !seen.line.starts_with("GET") && !seen.line.contains("/auth/"));
        writes.map(|seen| format!("{} {}", seen.line, seen.body).trim_end().to_owned()).collect()
    }

    fn count(&self, line: &str) -> usize {
        self.server.log().iter().filter(|seen| seen.line == line).count()
    }
}

#[tokio::test]
async fn a_mining_rig_reads_as_hashing() {
    let bed = Bed::start("1.8.0").await;
    let status = bed.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(3_391.75)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(140_210.5e9)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_400)));
    assert_eq!(status.range, Some((Watts::whole(1_000), Watts::whole(6_000))));
    assert_eq!(status.uptime, Some(Duration::from_secs(7_231)));
}

#[tokio::test]
async fn a_version_without_the_present_hashrate_is_asked_for_its_telemetry() {
    let bed = Bed::start("1.8.2").await;
    let status = bed.driver().read().await.unwrap();
    assert_eq!(status.hashrate, Measured::Value(Hashrate::terahashes(108.25)));
    assert_eq!(status.activity, Activity::Hashing, "degraded mining is mining");
    assert_eq!(status.range, Some((Watts::whole(400), Watts::whole(3_000))));
    // Without telemetry the average is better than nothing.
    bed.put("GET /api/v1/telemetry?level=miner", 404, "");
    let status = bed.driver().read().await.unwrap();
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(101_000.5e9)));
}

#[tokio::test]
async fn every_state_of_the_document_has_its_meaning() {
    for (state, expected) in [
        ("Uninitialized", Activity::Starting),
        ("PoweringOn", Activity::Starting),
        ("Mining", Activity::Hashing),
        ("DegradedMining", Activity::Hashing),
        ("PoweringOff", Activity::Asleep),
        ("Stopped", Activity::Asleep),
        ("Curtailed", Activity::Asleep),
        ("NoPools", Activity::Fault("no pool".into())),
        ("Error", Activity::Fault("error".into())),
        ("Dreaming", Activity::Unknown),
    ] {
        let bed = Bed::start("1.8.0").await;
        bed.mining(|status| status["status"] = json!(state));
        let status = bed.driver().read().await.unwrap();
        assert_eq!(status.activity, expected, "{state}");
        let asleep = expected == Activity::Asleep;
        assert_eq!(status.target == Measured::Value(Target::Sleep), asleep, "{state}");
    }
    let bed = Bed::start("1.8.2").await;
    bed.mining(|status| status["status"] = json!("Error"));
    let fault = "FanSlow: Fan 3 has stalled. Target RPM: 100, Actual RPM: 0";
    assert_eq!(bed.driver().read().await.unwrap().activity, Activity::Fault(fault.into()));
    bed.mining(|status| status["hashrate_ghs"] = json!(0));
    assert_eq!(bed.driver().read().await.unwrap().activity, Activity::Starting);
}

#[tokio::test]
async fn a_rig_without_statistics_is_starting_and_its_power_is_not_zero() {
    let bed = Bed::start("1.8.0").await;
    bed.put("GET /api/v1/mining", 204, "");
    let status = bed.driver().read().await.unwrap();
    assert_eq!((status.activity, status.power), (Activity::Starting, Measured::Unavailable));
    bed.mining(|status| status["power_usage_watts"] = json!(null));
    assert_eq!(bed.driver().read().await.unwrap().power, Measured::Unavailable);
}

#[tokio::test]
async fn the_target_alone_is_sent_in_whole_watts_and_within_the_range() {
    let bed = Bed::start("1.8.0").await;
    let mut driver = bed.driver();
    driver.read().await.unwrap();
    driver.apply(Target::Power(Watts::saturating(2_999.9)), Urgency::Shed).await.unwrap();
    driver.apply(power(9_999), Urgency::Normal).await.unwrap();
    assert_eq!(
        bed.commands(),
        [
            r#"PUT /api/v1/mining/target {"power_target_watts":2999}"#,
            r#"PUT /api/v1/mining/target {"power_target_watts":6000}"#
        ]
    );
    assert_eq!(rejection(driver.apply(power(999), Urgency::Shed).await), Rejection::OutOfRange);
    assert_eq!(bed.commands().len(), 2);
}

#[tokio::test]
async fn a_target_that_the_rig_raised_by_itself_is_not_a_yes() {
    let bed = Bed::start("1.8.0").await;
    bed.put("PUT /api/v1/mining/target", 200, r#"{"power_target_watts":3400}"#);
    assert_eq!(rejection(bed.driver().apply(power(2_000), Urgency::Shed).await), Rejection::OutOfRange);
}

#[tokio::test]
async fn waking_sets_the_target_first_and_starts_once() {
    let bed = Bed::start("1.8.0").await;
    let mut driver = bed.driver();
    driver.read().await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    driver.apply(power(2_100), Urgency::Normal).await.unwrap();
    let expected = [
        "POST /api/v1/mining/stop",
        r#"PUT /api/v1/mining/target {"power_target_watts":2000}"#,
        "POST /api/v1/mining/start",
        r#"PUT /api/v1/mining/target {"power_target_watts":2100}"#,
    ];
    assert_eq!(bed.commands(), expected);
    // A driver that has just begun looks before it leaps.
    bed.mining(|status| status["status"] = json!("Stopped"));
    bed.driver().apply(power(2_000), Urgency::Normal).await.unwrap();
    assert_eq!(bed.commands().last().unwrap(), "POST /api/v1/mining/start");
}

#[tokio::test]
async fn one_login_serves_all_is_renewed_when_it_ends_and_given_back() {
    let bed = Bed::start("1.8.0").await;
    let mut driver = bed.driver();
    for watts in [1_000, 2_000, 3_000] {
        driver.read().await.unwrap();
        driver.apply(power(watts), Urgency::Shed).await.unwrap();
    }
    assert_eq!(bed.count("POST /api/v1/auth/login"), 1);
    assert_eq!(bed.count("GET /api/v1/mining/target"), 1);
    bed.rig.lock().unwrap().generation = 2;
    driver.apply(power(1_500), Urgency::Shed).await.unwrap();
    assert_eq!(bed.count("POST /api/v1/auth/login"), 2);
    driver.close().await;
    let last = bed.server.log().pop().unwrap();
    assert_eq!(last.line, "POST /api/v1/auth/logout");
    let body: Value = serde_json::from_str(&last.body).unwrap();
    assert_eq!(body, json!({"access_token": "access-2", "refresh_token": "refresh-1"}));
    driver.close().await;
    assert_eq!(bed.count("POST /api/v1/auth/logout"), 1);
}

#[tokio::test]
async fn a_login_that_is_refused_with_403_is_renewed_once() {
    let bed = Bed::start("1.8.0").await;
    let mut driver = bed.driver();
    driver.read().await.unwrap();
    bed.put("POST /api/v1/mining/stop", 403, r#"{"message":"no"}"#);
    for _ in 0..2 {
        let words = Rejection::Other("HTTP 403: no".into());
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), words);
    }
    assert_eq!((bed.count("POST /api/v1/auth/login"), bed.commands().len()), (2, 3));
}

#[tokio::test]
async fn a_wrong_password_is_said_so_and_not_tried_again_at_once() {
    let bed = Bed::start("1.8.0").await;
    let mut wrong = connection(DriverKind::Proto, bed.server.address);
    let password = Secret::new("another password".to_owned());
    wrong.credentials = Some(Credentials { username: None, password });
    let mut driver = Proto::new(&wrong, &http_client().unwrap());
    for _ in 0..4 {
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
        assert_eq!(rejection(driver.read().await.map(|_| ())), Rejection::Credentials);
    }
    assert_eq!(bed.count("POST /api/v1/auth/login"), 1);
    wrong.credentials = None;
    let mut driver = Proto::new(&wrong, &http_client().unwrap());
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
}

#[tokio::test]
async fn every_refusal_has_its_reason_and_is_not_repeated() {
    let words = Rejection::Other("HTTP 403: default password must be changed".into());
    for (line, target, status, reason) in [
        ("PUT /api/v1/mining/target", power(2_000), 422, Rejection::OutOfRange),
        ("POST /api/v1/mining/stop", Target::Sleep, 422, Rejection::WrongState),
        ("POST /api/v1/mining/stop", Target::Sleep, 404, Rejection::Unsupported),
        ("POST /api/v1/mining/stop", Target::Sleep, 503, Rejection::Busy),
        ("POST /api/v1/mining/stop", Target::Sleep, 403, words),
    ] {
        let bed = Bed::start("1.8.0").await;
        bed.put(line, status, r#"{"message":"default password must be changed"}"#);
        assert_eq!(rejection(bed.driver().apply(target, Urgency::Shed).await), reason, "{status}");
        assert_eq!(bed.commands().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let bed = Bed::start("1.8.0").await;
    let mut driver = bed.driver();
    driver.read().await.unwrap();
    bed.rig.lock().unwrap().swallow = true;
    let error = driver.apply(power(2_000), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    bed.rig.lock().unwrap().swallow = false;
    driver.read().await.unwrap();
    assert_eq!(bed.commands().len(), 1);
}

#[tokio::test]
async fn neither_password_nor_token_shows_in_an_error() {
    let bed = Bed::start("1.8.0").await;
    bed.put("POST /api/v1/mining/stop", 500, format!("{PASSWORD} access-1 {}", "x".repeat(50_000)));
    let error = bed.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && !text.contains("access-1") && text.len() < 1_000, "{text}");
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for (line, body) in [
        ("GET /api/v1/mining", "{".to_owned()),
        ("GET /api/v1/mining", "[]".to_owned()),
        ("GET /api/v1/mining", "{}".to_owned()),
        ("GET /api/v1/mining", r#"{"mining-status":7}"#.to_owned()),
        ("GET /api/v1/mining", "[".repeat(100_000)),
        ("GET /api/v1/mining", format!("{{\"a\":\"{}\"}}", "x".repeat(1_200_000))),
        ("GET /api/v1/mining/target", "{".to_owned()),
        ("POST /api/v1/auth/login", "{}".to_owned()),
    ] {
        let bed = Bed::start("1.8.0").await;
        let mut driver = if line.ends_with("login") {
            let server = Server::start(move |_| reply(200, body.clone())).await;
            Proto::new(&connection(DriverKind::Proto, server.address), &http_client().unwrap())
        } else {
            bed.put(line, 200, body);
            bed.driver()
        };
        let error = driver.read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{line}: {error}");
    }
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = Proto::new(&connection(DriverKind::Proto, address), &http_client().unwrap());
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
    let mut driver = Proto::new(&connection(DriverKind::Proto, nobody().await), &http_client().unwrap());
    assert!(matches!(driver.read().await.unwrap_err(), DriverError::Unreachable { .. }));
}

fn with_sim(bench: &Bench) -> Proto {
    let mut connection = connection(DriverKind::Proto, bench.address());
    let password = Secret::new(sim_bench::PASSWORD.to_owned());
    connection.credentials = Some(Credentials { username: None, password });
    connection.timeout = Duration::from_secs(2);
    Proto::new(&connection, &http_client().unwrap())
}

#[tokio::test]
async fn the_simulated_rig_is_throttled_put_to_sleep_and_woken() {
    let bench = Bench::start(DriverKind::Proto).await;
    let mut driver = with_sim(&bench);
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.range, Some((Watts::whole(1_700), Watts::whole(3_400))));
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    bench.until("2 kW", |bench| (bench.power() - 2_000.0).abs() < 60.0).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_000)));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.until("sleep", |bench| bench.power() < 100.0).await;
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    driver.apply(power(2_500), Urgency::Normal).await.unwrap();
    bench.until("2.5 kW", |bench| (bench.power() - 2_500.0).abs() < 150.0).await;
    driver.close().await;
    let tally = bench.miner.tally();
    assert_eq!((tally.trespasses, tally.refused, tally.restarts), (0, 0, 0));
}

#[tokio::test]
async fn refusals_and_faults_of_the_simulated_rig_are_told() {
    let bench = Bench::start(DriverKind::Proto).await;
    let mut driver = with_sim(&bench);
    bench.inject(Fault::RejectCommands);
    assert_eq!(rejection(driver.apply(power(2_000), Urgency::Shed).await), Rejection::OutOfRange);
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::WrongState);
    bench.clear(FaultKind::RejectCommands);
    bench.inject(Fault::Trips);
    bench.until("a trip", |bench| bench.miner.state(bench.clock.now()) == MinerState::Tripped).await;
    let fault = Activity::Fault("SimulatedFault: tripped".into());
    assert_eq!(driver.read().await.unwrap().activity, fault);
    bench.clear(FaultKind::Trips);
    bench.inject(Fault::Garbage);
    assert!(matches!(driver.read().await.unwrap_err(), DriverError::Malformed { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is asked and whatever the rig answers, nothing but these requests is sent.
    #[test]
    fn only_harmless_requests_are_ever_sent(
        steps in proptest::collection::vec(
            (prop_oneof![Just(Target::Sleep), (-100.0..9e3_f64).prop_map(|w| Target::Power(Watts::saturating(w)))],
             0..6_usize, any::<bool>(), "[{}\\[\\]\":a-z0-9]{0,40}"), 1..8)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let bed = Bed::start("1.8.0").await;
            let mut driver = bed.driver();
            for (target, which, garbage, text) in steps {
                let status = [200, 202, 204, 401, 422, 500][which];
                bed.put("PUT /api/v1/mining/target", status, if garbage { text.clone() } else { String::new() });
                if garbage {
                    bed.put("GET /api/v1/mining", 200, text);
                } else {
                    bed.mining(|status| status["status"] = json!(["Mining", "Stopped", "Error"][which % 3]));
                }
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            driver.close().await;
            bed.server.log()
        });
        for seen in log {
            let allowed = [
                "POST /api/v1/auth/login", "POST /api/v1/auth/logout", "GET /api/v1/mining",
                "GET /api/v1/mining/target", "GET /api/v1/telemetry?level=miner", "GET /api/v1/errors",
                "PUT /api/v1/mining/target", "POST /api/v1/mining/start", "POST /api/v1/mining/stop",
            ];
            prop_assert!(allowed.contains(&seen.line.as_str()), "{}", seen.line);
            if seen.line.starts_with("PUT") {
                let body: Value = serde_json::from_str(&seen.body).unwrap();
                prop_assert!(body.as_object().unwrap().keys().eq(["power_target_watts"]));
            }
        }
    }
}
