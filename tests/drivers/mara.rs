//! The MARA driver against a little server with digest authentication, and against the simulated miner.

use crate::drivers_rest;
use crate::drivers_support;
use crate::sim_servers::bench as sim_bench;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::mara::Mara;
use ballast::miner::{Connection, Credentials, Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::secret::Secret;
use ballast::sim::miner::{Fault, FaultKind, Initial};
use ballast::units::{Hashrate, Watts};
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, misbehaving, nobody, power, rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sim_bench::Bench;

const SUCCESS: &str = r#"{"error":false,"msg":"success"}"#;

/// What the little miner does. Whether a digest is right is the simulated miner's business; this one only wants one
/// for its present nonce.
struct State {
    nonce: u32,
    answers: HashMap<&'static str, (u16, String)>,
    swallow: bool,
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Reply {
        let digest = seen.header("authorization").unwrap_or_default();
        if !digest.contains(&format!("nonce=\"n{}\"", self.nonce)) {
            let challenge = format!(
                "WWW-Authenticate: Digest realm=\"MaraFW\", nonce=\"n{}\", algorithm=MD5, qop=\"auth\"\r\n",
                self.nonce
            );
            return Some((401, challenge, Vec::new()));
        }
        if seen.line.starts_with("POST") && self.swallow {
            return None;
        }
        match self.answers.get(seen.line.as_str()) {
            Some((status, body)) => reply(*status, body.clone()),
            None => reply(404, ""),
        }
    }
}

struct Bed {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Bed {
    async fn start() -> Self {
        let text = |file: &str| String::from_utf8(fixture(&format!("mara/2.3/{file}.json"))).unwrap();
        let answers = HashMap::from([
            ("GET /kaonsu/v1/brief", (200, text("brief"))),
            ("GET /kaonsu/v1/miner_config", (200, text("miner_config"))),
            ("GET /kaonsu/v1/log?type=miner_config_history", (200, text("history"))),
            ("POST /kaonsu/v1/miner_config", (200, SUCCESS.to_owned())),
        ]);
        let state = Arc::new(Mutex::new(State { nonce: 1, answers, swallow: false }));
        let shared = Arc::clone(&state);
        let server = Server::start(move |seen| shared.lock().unwrap().answer(seen)).await;
        Self { server, state }
    }

    fn driver(&self) -> Mara {
        Mara::new(&connection(DriverKind::Mara, self.server.address), &http_client().unwrap())
    }

    fn put(&self, line: &'static str, status: u16, body: impl Into<String>) {
        self.state.lock().unwrap().answers.insert(line, (status, body.into()));
    }

    /// Exchanges a piece of the configuration's text.
    fn config(&self, from: &str, to: &str) -> String {
        let mut state = self.state.lock().unwrap();
        let (_, text) = state.answers.get_mut("GET /kaonsu/v1/miner_config").unwrap();
        assert!(text.contains(from), "{from}");
        *text = text.replacen(from, to, 1);
        text.clone()
    }

    /// The configurations that were written with a digest.
    fn written(&self) -> Vec<String> {
        let log = self.server.log();
        let writes = log.iter().filter(|seen| seen.line.starts_with("POST"));
        writes.filter(|seen| seen.header("authorization").is_some()).map(|seen| seen.body.clone()).collect()
    }
}

#[tokio::test]
async fn a_mining_miner_reads_as_hashing() {
    let bed = Bed::start().await;
    let status = bed.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(3_311.4)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::terahashes(181.25)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_300)));
    assert_eq!(status.uptime, Some(Duration::from_secs(40_321)));
    assert_eq!((status.range, status.points), (None, None));
}

#[tokio::test]
async fn the_unit_of_the_hashrate_is_told_by_the_ideal_one() {
    let bed = Bed::start().await;
    bed.put("GET /kaonsu/v1/brief", 200, String::from_utf8(fixture("mara/2.3/brief_gigahash.json")).unwrap());
    let status = bed.driver().read().await.unwrap();
    assert_eq!(status.hashrate, Measured::Value(Hashrate::terahashes(181.25)));
    bed.put(
        "GET /kaonsu/v1/brief",
        200,
        r#"{"status":"Mining","hashrate_realtime":7,"hashrate_unit":"GH/s"}"#,
    );
    assert_eq!(bed.driver().read().await.unwrap().hashrate, Measured::Value(Hashrate::saturating(7e9)));
    bed.put(
        "GET /kaonsu/v1/brief",
        200,
        r#"{"status":"Mining","hashrate_realtime":7,"hashrate_unit":"furlong"}"#,
    );
    assert_eq!(
        bed.driver().read().await.unwrap().hashrate,
        Measured::Unavailable,
        "a unit that nobody knows"
    );
}

#[tokio::test]
async fn states_are_told_by_their_words_and_nothing_is_no_reading_of_power() {
    for (status, rate, expected) in [
        ("Mining", 0.0, Activity::Starting),
        ("Tuning", 90.0, Activity::Starting),
        ("Sleeping", 0.0, Activity::Asleep),
        ("Paused", 12.0, Activity::Asleep),
        ("Failure: board 2", 0.0, Activity::Fault("Failure: board 2".into())),
        ("", 0.0, Activity::Unknown),
        ("Hashing on", 100.0, Activity::Hashing),
    ] {
        let bed = Bed::start().await;
        let brief = json!({"status": status, "hashrate_realtime": rate, "power_consumption_estimated": 0});
        bed.put("GET /kaonsu/v1/brief", 200, brief.to_string());
        let read = bed.driver().read().await.unwrap();
        assert_eq!(read.activity, expected, "{status}");
        assert_eq!(read.power, Measured::Unavailable);
    }
    let bed = Bed::start().await;
    bed.config("\"Auto\"", "\"Sleep\"");
    let read = bed.driver().read().await.unwrap();
    assert_eq!((read.activity, read.target), (Activity::Asleep, Measured::Value(Target::Sleep)));
    bed.config("\"Sleep\"", "\"Fixed\"");
    assert_eq!(bed.driver().read().await.unwrap().target, Measured::Unavailable);
}

#[tokio::test]
async fn a_new_target_leaves_every_other_byte_as_it_was_read() {
    let bed = Bed::start().await;
    let before = String::from_utf8(fixture("mara/2.3/miner_config.json")).unwrap();
    bed.driver().apply(Target::Power(Watts::saturating(2_800.9)), Urgency::Shed).await.unwrap();
    let after = before.replacen("3300.0 ,", "2800 ,", 1);
    assert_ne!(before, after);
    assert_eq!(bed.written(), [after]);
}

#[tokio::test]
async fn sleep_leaves_every_other_byte_as_it_was_read() {
    let bed = Bed::start().await;
    let before = String::from_utf8(fixture("mara/2.3/miner_config.json")).unwrap();
    bed.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(bed.written(), [before.replacen("\"Auto\"", "\"Sleep\"", 1)]);
}

#[tokio::test]
async fn what_is_in_force_already_is_not_written_again() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    driver.apply(power(3_300), Urgency::Shed).await.unwrap();
    bed.config("\"Auto\"", "\"Sleep\"");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert!(bed.written().is_empty());
}

#[tokio::test]
async fn waking_goes_back_to_the_mode_before_with_the_new_target_in_one_writing() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    driver.read().await.unwrap();
    let asleep = bed.config("\"Auto\"", "\"Sleep\"");
    driver.apply(power(2_500), Urgency::Normal).await.unwrap();
    let expected = asleep.replacen("\"Sleep\"", "\"Auto\"", 1).replacen("3300.0", "2500", 1);
    assert_eq!(bed.written(), [expected]);
}

#[tokio::test]
async fn the_miners_own_history_tells_the_mode_before_sleep() {
    let bed = Bed::start().await;
    let asleep = bed.config("\"Auto\"", "\"Sleep\"");
    // Its history says that it was in a mode without a power target: full power is the one that it can be woken to.
    let reason = rejection(bed.driver().apply(power(2_500), Urgency::Normal).await);
    assert!(matches!(&reason, Rejection::Other(words) if words.contains("Fixed")), "{reason:?}");
    assert!(bed.written().is_empty());
    bed.driver().apply(power(3_300), Urgency::Normal).await.unwrap();
    assert_eq!(bed.written(), [asleep.replacen("\"Sleep\"", "\"Fixed\"", 1)]);
    // Without a history it wakes to its power target.
    bed.put("GET /kaonsu/v1/log?type=miner_config_history", 404, "");
    bed.driver().apply(power(2_500), Urgency::Normal).await.unwrap();
    assert_eq!(bed.written()[1], asleep.replacen("\"Sleep\"", "\"Auto\"", 1).replacen("3300.0", "2500", 1));
}

#[tokio::test]
async fn a_mode_that_the_operator_chose_is_left_alone() {
    for (from, to) in [("\"Auto\"", "\"Stock\""), ("\"Auto\"", "\"Fixed\""), ("PowerTarget", "Hashrate")] {
        let bed = Bed::start().await;
        bed.config(from, to);
        let reason = rejection(bed.driver().apply(power(2_500), Urgency::Shed).await);
        assert!(matches!(&reason, Rejection::Other(words) if words.contains("power target")), "{reason:?}");
        // Full power is what it draws, and sleep is open to every mode.
        bed.driver().apply(power(3_300), Urgency::Normal).await.unwrap();
        assert!(bed.written().is_empty());
        bed.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap();
        assert_eq!(bed.written().len(), 1);
    }
}

#[tokio::test]
async fn one_challenge_serves_until_it_ends() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    for _ in 0..3 {
        driver.read().await.unwrap();
    }
    let counts = |log: &[Seen]| log.iter().filter(|seen| seen.header("authorization").is_none()).count();
    assert_eq!(counts(&bed.server.log()), 1);
    assert_eq!(bed.server.log().len(), 7);
    bed.state.lock().unwrap().nonce = 2;
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(bed.written().len(), 1);
    let log = bed.server.log();
    let headers: Vec<&str> = log.iter().filter_map(|seen| seen.header("authorization")).collect();
    assert!(headers.iter().all(|header| !header.contains(PASSWORD)));
    assert!(headers[1].contains("nc=00000002"), "{}", headers[1]);
}

#[tokio::test]
async fn a_wrong_password_is_said_so_and_not_tried_again_at_once() {
    let server = Server::start(|_| {
        Some((401, "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n".to_owned(), Vec::new()))
    })
    .await;
    let mut driver = Mara::new(&connection(DriverKind::Mara, server.address), &http_client().unwrap());
    for _ in 0..4 {
        assert_eq!(rejection(driver.read().await.map(|_| ())), Rejection::Credentials);
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    }
    assert_eq!(server.log().len(), 2);
    let mut without = connection(DriverKind::Mara, server.address);
    without.credentials = None;
    let mut driver = Mara::new(&without, &http_client().unwrap());
    assert_eq!(rejection(driver.read().await.map(|_| ())), Rejection::Credentials);
}

#[tokio::test]
async fn a_server_that_wants_the_password_in_the_clear_does_not_get_it() {
    let server =
        Server::start(|_| Some((401, "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), Vec::new())))
            .await;
    let mut driver = Mara::new(&connection(DriverKind::Mara, server.address), &http_client().unwrap());
    let error = driver.read().await.unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
    assert!(server.log().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn refusals_have_their_reason_and_an_unclear_answer_is_no_yes() {
    let line = "POST /kaonsu/v1/miner_config";
    let words = |text: &str| Rejection::Other(text.into());
    for (status, body, reason) in [
        (200, r#"{"error":true,"msg":"locked"}"#, words("locked")),
        (500, r#"{"msg":"no"}"#, words("HTTP 500: no")),
        (404, "", Rejection::Unsupported),
        (503, "", Rejection::Busy),
        (403, "", Rejection::Credentials),
    ] {
        let bed = Bed::start().await;
        bed.put(line, status, body);
        assert_eq!(rejection(bed.driver().apply(Target::Sleep, Urgency::Shed).await), reason);
        assert_eq!(bed.written().len(), 1, "{status} is not repeated");
    }
    for body in ["", "{", "{}", "[]", r#"{"error":"perhaps"}"#] {
        let bed = Bed::start().await;
        bed.put(line, 200, body);
        let error = bed.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{body}: {error}");
        assert_eq!(bed.written().len(), 1);
    }
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let bed = Bed::start().await;
    let mut driver = bed.driver();
    driver.read().await.unwrap();
    bed.state.lock().unwrap().swallow = true;
    let error = driver.apply(power(2_000), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    assert_eq!(bed.written().len(), 1);
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed_and_nothing_is_written() {
    for (line, body) in [
        ("GET /kaonsu/v1/brief", "[]".to_owned()),
        ("GET /kaonsu/v1/miner_config", String::new()),
        ("GET /kaonsu/v1/miner_config", "{}".to_owned()),
        ("GET /kaonsu/v1/miner_config", r#"{"mode":{}}"#.to_owned()),
        ("GET /kaonsu/v1/miner_config", r#"{"mode":{"work-mode-selector":7}}"#.to_owned()),
        ("GET /kaonsu/v1/miner_config", format!("{}{}", "[".repeat(5_000), "]".repeat(5_000))),
        ("GET /kaonsu/v1/miner_config", format!("{{\"a\":\"{}\"}}", "x".repeat(1_200_000))),
    ] {
        let bed = Bed::start().await;
        bed.put(line, 200, body);
        if line.ends_with("config") {
            // What it does it says in `brief`; its target is not known.
            let status = bed.driver().read().await.unwrap();
            assert_eq!((status.activity, status.target), (Activity::Hashing, Measured::Unavailable));
            assert!(bed.driver().apply(Target::Sleep, Urgency::Shed).await.is_err());
            assert!(bed.written().is_empty());
        } else {
            let error = bed.driver().read().await.unwrap_err();
            assert!(matches!(error, DriverError::Malformed { .. }), "{line}: {error}");
        }
    }
    // A key that is there twice: nobody knows which of the two counts.
    let bed = Bed::start().await;
    bed.config("\"mode-select\"", "\"power-target\":1,\"mode-select\"");
    assert!(bed.driver().apply(power(2_000), Urgency::Shed).await.is_err());
    assert!(bed.written().is_empty());
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = Mara::new(&connection(DriverKind::Mara, address), &http_client().unwrap());
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
    let mut driver = Mara::new(&connection(DriverKind::Mara, nobody().await), &http_client().unwrap());
    assert!(matches!(driver.read().await.unwrap_err(), DriverError::Unreachable { .. }));
}

fn account(bench: &Bench, password: &str) -> Connection {
    let mut connection = connection(DriverKind::Mara, bench.address());
    connection.credentials = Some(Credentials { username: None, password: Secret::new(password.to_owned()) });
    connection.timeout = Duration::from_secs(2);
    connection
}

fn with_sim(bench: &Bench) -> Mara {
    Mara::new(&account(bench, sim_bench::PASSWORD), &http_client().unwrap())
}

#[tokio::test]
async fn the_simulated_miner_is_throttled_put_to_sleep_and_woken() {
    let bench = Bench::start(DriverKind::Mara).await;
    let mut driver = with_sim(&bench);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    bench.until("2 kW", |bench| (bench.power() - 2_000.0).abs() < 60.0).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_000)));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.until("sleep", |bench| bench.power() < 100.0).await;
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    // Another driver, as after a restart of the daemon: the history tells the mode.
    let mut driver = with_sim(&bench);
    driver.apply(power(2_500), Urgency::Normal).await.unwrap();
    bench.until("2.5 kW", |bench| (bench.power() - 2_500.0).abs() < 150.0).await;
    let tally = bench.miner.tally();
    assert_eq!((tally.trespasses, tally.refused), (0, 0));
    let mut wrong = Mara::new(&account(&bench, "wrong"), &http_client().unwrap());
    assert_eq!(rejection(wrong.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
}

#[tokio::test]
async fn refusals_and_faults_of_the_simulated_miner_are_told() {
    let bench = Bench::start_as(DriverKind::Mara, Initial::Asleep).await;
    let mut driver = with_sim(&bench);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    bench.inject(Fault::RejectCommands);
    let reason = rejection(driver.apply(power(2_000), Urgency::Normal).await);
    assert_eq!(reason, Rejection::Other("internal error".into()));
    bench.clear(FaultKind::RejectCommands);
    bench.inject(Fault::Garbage);
    assert!(matches!(driver.read().await.unwrap_err(), DriverError::Malformed { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever the configuration looks like and whatever is asked, what is written differs in nothing else.
    #[test]
    fn only_mode_and_target_ever_change(
        mode in prop::sample::select(vec!["Auto", "Fixed", "Stock", "Sleep", "Odd"]),
        select in prop::sample::select(vec!["PowerTarget", "Hashrate"]),
        watts in 0.0..6_000.0_f64,
        other in "[a-zA-Z0-9{}\\[\\],: \"\\\\é]{0,20}",
        asked in prop::collection::vec(prop_oneof![Just(-1.0), 0.0..6_000.0_f64], 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = json!({"z": other, "mode": {"work-mode-selector": mode,
            "concorde": {"power-target": watts, "mode-select": select, "x": [other, 1.0e3]}}, "a": {"mode": other}});
        let text = serde_json::to_string_pretty(&config).unwrap();
        // Read back first: the parser may miss the last bit of a number.
        let config: Value = serde_json::from_str(&text).unwrap();
        let (log, written) = runtime.block_on(async {
            let bed = Bed::start().await;
            bed.put("GET /kaonsu/v1/miner_config", 200, text.clone());
            let mut driver = bed.driver();
            for watts in asked {
                let target = if watts < 0.0 { Target::Sleep } else { Target::Power(Watts::saturating(watts)) };
                let _ = driver.apply(target, Urgency::Shed).await;
            }
            (bed.server.log(), bed.written())
        });
        let lines = ["GET /kaonsu/v1/miner_config", "POST /kaonsu/v1/miner_config",
            "GET /kaonsu/v1/log?type=miner_config_history"];
        prop_assert!(log.iter().all(|seen| lines.contains(&seen.line.as_str())));
        for body in written {
            let mut value: Value = serde_json::from_str(&body).unwrap();
            let new = value["mode"]["work-mode-selector"].take();
            prop_assert!(["Auto", "Fixed", "Stock", "Sleep", "Odd"].contains(&new.as_str().unwrap()));
            value["mode"]["work-mode-selector"] = json!(mode);
            value["mode"]["concorde"]["power-target"] = config["mode"]["concorde"]["power-target"].clone();
            prop_assert_eq!(&value, &config);
            // Nor does a blank or a key move: the lines are the same but for the two.
            let changed = body.lines().zip(text.lines()).filter(|(new, old)| new != old).count();
            prop_assert!(body.lines().count() == text.lines().count() && changed <= 2);
        }
    }
}
