//! The Braiins OS driver against a small REST server on a loopback socket.

use crate::drivers_support;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::braiins_os::BraiinsOs;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::units::{Hashrate, Watts};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, malformed, misbehaving, nobody, power,
    rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as the little miner saw it.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    token: Option<String>,
    body: Vec<u8>,
}

/// What the little miner does.
struct State {
    password: String,
    generation: u32,
    logins: u32,
    /// Answers by path: status and body.
    answers: HashMap<String, (u16, Vec<u8>)>,
    /// Answers to the next commands, in order.
    commands: VecDeque<(u16, Vec<u8>)>,
    /// Says nothing to the next command.
    swallow: bool,
    log: Vec<Seen>,
    connections: u32,
}

#[derive(Clone)]
struct Miner {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Miner {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = [
            ("miner/stats", "miner_stats"),
            ("miner/details", "miner_details"),
            ("performance/tuner-state", "tuner_state"),
            ("configuration/constraints", "constraints"),
        ]
        .into_iter()
        .map(|(path, file)| {
            let body = fixture(&format!("braiins-os/25.07/{file}.json"));
            (format!("/api/v1/{path}"), (200, body))
        })
        .collect();
        let state = Arc::new(Mutex::new(State {
            password: PASSWORD.to_owned(),
            generation: 1,
            logins: 0,
            answers,
            commands: VecDeque::new(),
            swallow: false,
            log: Vec::new(),
            connections: 0,
        }));
        let miner = Self { state: Arc::clone(&state), address };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&state)));
            }
        });
        miner
    }

    fn driver(&self) -> BraiinsOs {
        BraiinsOs::new(&connection(DriverKind::BraiinsOs, self.address), &http_client().unwrap())
    }

    fn answer(&self, path: &str, status: u16, body: &str) {
        let mut state = self.state.lock().unwrap();
        state.answers.insert(format!("/api/v1/{path}"), (status, body.as_bytes().to_vec()));
    }

    fn details(&self, change: impl Fn(&mut Value)) {
        let mut details: Value =
            serde_json::from_slice(&fixture("braiins-os/25.07/miner_details.json")).unwrap();
        change(&mut details);
        self.answer("miner/details", 200, &details.to_string());
    }

    fn stats(&self, change: impl Fn(&mut Value)) {
        let mut stats: Value = serde_json::from_slice(&fixture("braiins-os/25.07/miner_stats.json")).unwrap();
        change(&mut stats);
        self.answer("miner/stats", 200, &stats.to_string());
    }

    fn command(&self, status: u16, body: &str) {
        self.state.lock().unwrap().commands.push_back((status, body.as_bytes().to_vec()));
    }

    /// The commands that came, as "path body".
    fn commands(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state
            .log
            .iter()
            .filter(|seen| seen.line.starts_with("PUT "))
            .map(|seen| {
                let path = seen.line.strip_prefix("PUT /api/v1/").unwrap();
                format!("{path} {}", String::from_utf8_lossy(&seen.body)).trim_end().to_owned()
            })
            .collect()
    }

    fn logins(&self) -> u32 {
        self.state.lock().unwrap().logins
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                _ => return,
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
        let header = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < end + length {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                _ => return,
            }
        }
        let seen = Seen {
            line: head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned(),
            token: header("authorization"),
            body: buffer[end..end + length].to_vec(),
        };
        buffer.drain(..end + length);
        let Some((status, body)) = state.lock().unwrap().answer(seen) else {
            tokio::time::sleep(Duration::from_secs(10)).await;
            return;
        };
        let mut answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend(body);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

impl State {
    fn answer(&mut self, seen: Seen) -> Option<(u16, Vec<u8>)> {
        self.log.push(seen.clone());
        let (method, path) = seen.line.split_once(' ').unwrap();
        if (method, path) == ("POST", "/api/v1/auth/login") {
            self.logins += 1;
            let body: Value = serde_json::from_slice(&seen.body).unwrap();
            if body != json!({"username": "root", "password": self.password}) {
                return Some((401, b"{\"message\":\"bad password\"}".to_vec()));
            }
            let token = format!("token-{}", self.generation);
            return Some((200, json!({"token": token, "timeout_s": 3600}).to_string().into_bytes()));
        }
        if seen.token.as_deref() != Some(&format!("token-{}", self.generation)) {
            return Some((401, Vec::new()));
        }
        if method == "PUT" {
            if self.swallow {
                return None;
            }
            return Some(self.commands.pop_front().unwrap_or((200, seen.body)));
        }
        Some(self.answers.get(path).cloned().unwrap_or((404, Vec::new())))
    }
}

#[tokio::test]
async fn a_hashing_miner_reads_as_hashing() {
    let miner = Miner::start().await;
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(3_122)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(141_210.5e9)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_050)));
    assert_eq!(status.range, Some((Watts::whole(770), Watts::whole(5_418))));
    assert_eq!(status.uptime, Some(Duration::from_secs(69_710)));
}

#[tokio::test]
async fn a_newer_firmware_reads_alike() {
    let miner = Miner::start().await;
    for (path, file) in [
        ("miner/stats", "miner_stats"),
        ("miner/details", "miner_details"),
        ("performance/tuner-state", "tuner_state"),
    ] {
        let body = fixture(&format!("braiins-os/26.04/{file}.json"));
        miner.answer(path, 200, &String::from_utf8(body).unwrap());
    }
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_050)));
    assert!(matches!(status.power, Measured::Value(watts) if watts > Watts::whole(3_000)));
}

#[tokio::test]
async fn one_login_and_one_connection_serve_all_and_the_token_goes_bare() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    for watts in [1_000, 2_000, 3_000] {
        driver.read().await.unwrap();
        driver.apply(power(watts), Urgency::Shed).await.unwrap();
    }
    let state = miner.state.lock().unwrap();
    assert_eq!(state.logins, 1);
    assert_eq!(state.connections, 1);
    let constraints = state.log.iter().filter(|seen| seen.line.ends_with("/constraints")).count();
    assert_eq!(constraints, 1);
    for seen in state.log.iter().filter(|seen| !seen.line.ends_with("/login")) {
        assert_eq!(seen.token.as_deref(), Some("token-1"));
    }
}

#[tokio::test]
async fn power_is_set_in_whole_watts_rounded_down_within_the_range() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(Target::Power(Watts::saturating(2_999.9)), Urgency::Shed).await.unwrap();
    driver.apply(power(9_999), Urgency::Normal).await.unwrap();
    assert_eq!(
        miner.commands(),
        [r#"performance/power-target {"watt":2999}"#, r#"performance/power-target {"watt":5418}"#]
    );
    // Below the range the miner would draw more than it was asked to.
    assert_eq!(rejection(driver.apply(power(500), Urgency::Shed).await), Rejection::OutOfRange);
    assert_eq!(miner.commands().len(), 2);
}

#[tokio::test]
async fn a_target_that_the_miner_raised_by_itself_is_not_a_yes() {
    let miner = Miner::start().await;
    miner.command(200, r#"{"watt":1400}"#);
    let mut driver = miner.driver();
    assert_eq!(rejection(driver.apply(power(500), Urgency::Shed).await), Rejection::OutOfRange);
    // An answer without a body is a yes.
    miner.command(204, "");
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn sleep_is_pause_and_waking_sets_the_target_first() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    driver.apply(power(2_100), Urgency::Normal).await.unwrap();
    assert_eq!(
        miner.commands(),
        [
            "actions/pause",
            r#"performance/power-target {"watt":2000}"#,
            "actions/resume",
            r#"performance/power-target {"watt":2100}"#,
        ]
    );
}

#[tokio::test]
async fn firmware_that_takes_a_target_only_while_mining_is_woken_first() {
    let miner = Miner::start().await;
    miner.details(|details| details["status"] = json!(3));
    miner.command(409, "");
    miner.driver().apply(power(2_000), Urgency::Normal).await.unwrap();
    assert_eq!(
        miner.commands(),
        [
            r#"performance/power-target {"watt":2000}"#,
            "actions/resume",
            r#"performance/power-target {"watt":2000}"#
        ]
    );
}

#[tokio::test]
async fn a_target_refused_after_waking_is_neither_a_yes_nor_a_refusal() {
    let miner = Miner::start().await;
    miner.details(|details| details["status"] = json!(3));
    for status in [409, 204, 412] {
        miner.command(status, "");
    }
    let words = malformed(miner.driver().apply(power(2_000), Urgency::Normal).await);
    assert!(words.starts_with("it was woken"), "{words}");
}

#[tokio::test]
async fn the_state_is_told_from_its_number_or_name() {
    for (state, expected) in [
        (json!(1), Activity::Starting),
        (json!(2), Activity::Hashing),
        (json!(3), Activity::Asleep),
        (json!(4), Activity::Fault("suspended".into())),
        (json!(5), Activity::Hashing),
        (json!("MINER_STATUS_PAUSED"), Activity::Asleep),
        (json!("normal"), Activity::Hashing),
        (json!(77), Activity::Hashing),
        (json!(null), Activity::Hashing),
    ] {
        let miner = Miner::start().await;
        miner.details(|details| details["status"] = state.clone());
        let status = miner.driver().read().await.unwrap();
        assert_eq!(status.activity, expected, "{state}");
        if expected == Activity::Asleep {
            assert_eq!(status.target, Measured::Value(Target::Sleep));
        }
    }
    let miner = Miner::start().await;
    miner.stats(|stats| stats["miner_stats"]["real_hashrate"]["last_5s"]["gigahash_per_second"] = json!(0));
    assert_eq!(miner.driver().read().await.unwrap().activity, Activity::Starting);
}

#[tokio::test]
async fn an_ended_login_is_renewed_once() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.state.lock().unwrap().generation = 2;
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    assert_eq!(miner.logins(), 2);
    // A miner that refuses even a fresh login is not asked for ever.
    miner.command(401, "");
    miner.command(401, "");
    assert_eq!(rejection(driver.apply(power(1_000), Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(miner.logins(), 3);
}

#[tokio::test]
async fn a_login_that_is_refused_with_403_is_renewed_and_that_not_time_and_again() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.command(403, r#"{"message":"session expired"}"#);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    assert_eq!((miner.logins(), miner.commands().len()), (2, 2));
    miner.command(403, r#"{"message":"not allowed"}"#);
    let words = Rejection::Other("HTTP 403: not allowed".into());
    assert_eq!(rejection(driver.apply(power(1_000), Urgency::Shed).await), words);
    assert_eq!((miner.logins(), miner.commands().len()), (2, 3));
}

#[tokio::test]
async fn a_login_that_idled_out_is_renewed_before_it_is_refused() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_590)).await;
    tokio::time::resume();
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    assert_eq!(miner.logins(), 2);
    assert_eq!(miner.commands().len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_said_so_and_not_tried_again_at_once() {
    let miner = Miner::start().await;
    miner.state.lock().unwrap().password = "another".to_owned();
    let mut driver = miner.driver();
    for _ in 0..4 {
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
        assert_eq!(rejection(driver.read().await.map(|_| ())), Rejection::Credentials);
    }
    assert_eq!(miner.logins(), 1);
    let mut connection = connection(DriverKind::BraiinsOs, miner.address);
    connection.credentials = None;
    let mut driver = BraiinsOs::new(&connection, &http_client().unwrap());
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    for (status, reason) in [
        (409, Rejection::WrongState),
        (412, Rejection::OutOfRange),
        (422, Rejection::OutOfRange),
        (404, Rejection::Unsupported),
        (501, Rejection::Unsupported),
        (503, Rejection::Busy),
        (429, Rejection::Busy),
        (500, Rejection::Other("HTTP 500: tuner is on fire".into())),
        (403, Rejection::Other("HTTP 403: tuner is on fire".into())),
        (302, Rejection::Other("HTTP 302: tuner is on fire".into())),
    ] {
        let miner = Miner::start().await;
        miner.command(status, r#"{"message":"tuner is on fire"}"#);
        let result = miner.driver().apply(Target::Sleep, Urgency::Shed).await;
        assert_eq!(rejection(result), reason, "{status}");
        assert_eq!(miner.commands().len(), 1, "{status} is not repeated");
    }
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.state.lock().unwrap().swallow = true;
    let error = driver.apply(power(2_000), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    assert_eq!(miner.commands().len(), 1);
    miner.state.lock().unwrap().swallow = false;
    driver.read().await.unwrap();
    assert_eq!(miner.commands().len(), 1);
}

#[tokio::test]
async fn neither_password_nor_token_shows_in_an_error() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.command(500, &format!("{PASSWORD} token-1 {}", "x".repeat(100_000)));
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(PASSWORD) && !text.contains("token-1"), "{text}");
    assert!(text.len() < 1_000);
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for (path, body) in [
        ("miner/stats", "{".to_owned()),
        ("miner/stats", "[]".to_owned()),
        ("miner/stats", "{}".to_owned()),
        ("miner/stats", "[".repeat(100_000)),
        ("miner/stats", format!("{{\"a\":\"{}\"}}", "x".repeat(2_000_000))),
        ("miner/details", "<html>".to_owned()),
        ("performance/tuner-state", "{".to_owned()),
        ("configuration/constraints", "[".repeat(100_000)),
    ] {
        let miner = Miner::start().await;
        miner.answer(path, 200, &body);
        let error = miner.driver().read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{path} {body:.60}: {error}");
    }
    let miner = Miner::start().await;
    miner.answer("miner/stats", 200, "\u{0}");
    assert!(miner.driver().read().await.is_err());
}

#[tokio::test]
async fn what_is_missing_is_unavailable_and_not_zero() {
    let miner = Miner::start().await;
    miner.stats(|stats| stats["power_stats"]["approximated_consumption"] = json!(null));
    miner.answer("performance/tuner-state", 501, "");
    miner.answer("configuration/constraints", 501, "");
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Unavailable);
    assert_eq!(status.target, Measured::Unsupported);
    assert_eq!(status.range, None);
    // Another tuning mode has no power target.
    miner.answer("performance/tuner-state", 200, r#"{"mode_state":{"hashratetargetmodestate":{}}}"#);
    assert_eq!(miner.driver().read().await.unwrap().target, Measured::Unavailable);
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = BraiinsOs::new(&connection(DriverKind::BraiinsOs, address), &http_client().unwrap());
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
        BraiinsOs::new(&connection(DriverKind::BraiinsOs, nobody().await), &http_client().unwrap());
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_dropped_call_leaves_the_driver_usable() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    for microseconds in [0, 50, 200, 500, 1_000, 2_000] {
        let limit = Duration::from_micros(microseconds);
        let _ = tokio::time::timeout(limit, driver.read()).await;
        let _ = tokio::time::timeout(limit, driver.apply(power(2_000), Urgency::Shed)).await;
    }
    assert_eq!(driver.read().await.unwrap().power, Measured::Value(Watts::whole(3_122)));
    driver.apply(power(1_000), Urgency::Shed).await.unwrap();
    assert_eq!(miner.commands().last().unwrap(), r#"performance/power-target {"watt":1000}"#);
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Sleep),
        (-100.0..12_000.0_f64).prop_map(|watts| Target::Power(Watts::saturating(watts))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever is asked, in whatever order and whatever the miner answers, nothing but these commands is sent.
    #[test]
    fn only_harmless_commands_are_ever_sent(
        steps in proptest::collection::vec((any_target(), any::<bool>(), 0..7_usize), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = Miner::start().await;
            let mut driver = miner.driver();
            for (target, shed, answer) in steps {
                let status = [200, 204, 401, 409, 412, 500, 501][answer];
                miner.command(status, "");
                miner.details(|details| details["status"] = json!(answer));
                let urgency = if shed { Urgency::Shed } else { Urgency::Normal };
                let _ = driver.apply(target, urgency).await;
                let _ = driver.read().await;
                driver.keep_alive().await;
            }
            driver.close().await;
            miner.state.lock().unwrap().log.clone()
        });
        for seen in log {
            let allowed = [
                "POST /api/v1/auth/login", "GET /api/v1/miner/stats", "GET /api/v1/miner/details",
                "GET /api/v1/performance/tuner-state", "GET /api/v1/configuration/constraints",
                "PUT /api/v1/performance/power-target", "PUT /api/v1/actions/pause", "PUT /api/v1/actions/resume",
            ];
            prop_assert!(allowed.contains(&seen.line.as_str()), "{}", seen.line);
        }
    }
}
