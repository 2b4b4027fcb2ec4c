//! The Whatsminer 2.x driver against a small miner on a loopback socket.

use crate::drivers_support;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::whatsminer_crypto::{Cipher, md5_crypt};
use ballast::miner::drivers::whatsminer_v2::WhatsminerV2;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency};
use ballast::units::{Hashrate, Watts};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, malformed, misbehaving, nobody, power,
    rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const FIRMWARE: &str = "whatsminer-v2/20230803.11";
const SALT: &str = "BQ5hoXV9";
const NEW_SALT: &str = "jbzkfQls";

/// What the little miner does.
struct State {
    password: String,
    /// Plain answers by command.
    plain: HashMap<String, Vec<u8>>,
    /// Answers to encrypted commands, in order, sealed; afterwards `command_ok`.
    sealed: VecDeque<Vec<u8>>,
    /// Answers to encrypted commands, in order, in the clear; used before `sealed`.
    clear: VecDeque<Vec<u8>>,
    /// The generation of the token that is valid: part of `time`.
    generation: u32,
    tokens: u32,
    log: Vec<Value>,
    wrap_lines: bool,
    end_with_nul: bool,
    /// Leaves the connection open behind an answer, with or without a NUL.
    stay_open: bool,
}

#[derive(Clone)]
struct Miner {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Miner {
    async fn start() -> Self {
        Self::start_at("127.0.0.1").await
    }

    async fn start_at(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let plain = [("summary", "summary"), ("status", "status"), ("get_error_code", "get_error_code")]
            .into_iter()
            .map(|(command, file)| (command.to_owned(), fixture(&format!("{FIRMWARE}/{file}.json"))))
            .collect();
        let state = Arc::new(Mutex::new(State {
            password: PASSWORD.to_owned(),
            plain,
            sealed: VecDeque::new(),
            clear: VecDeque::new(),
            generation: 1,
            tokens: 0,
            log: Vec::new(),
            wrap_lines: false,
            end_with_nul: true,
            stay_open: true,
        }));
        let miner = Self { state: Arc::clone(&state), address };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let count = stream.read(&mut request).await.unwrap_or(0);
                    let Ok(request) = serde_json::from_slice::<Value>(&request[..count]) else {
                        return;
                    };
                    let (answer, nul, open) = {
                        let mut state = state.lock().unwrap();
                        (state.answer(&request), state.end_with_nul, state.stay_open)
                    };
                    let _ = stream.write_all(&answer).await;
                    if nul {
                        let _ = stream.write_all(&[0]).await;
                    }
                    if open {
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                });
            }
        });
        miner
    }

    fn driver(&self) -> WhatsminerV2 {
        WhatsminerV2::new(&connection(DriverKind::WhatsminerV2, self.address))
    }

    fn plain(&self, command: &str, file: &str) {
        let bytes = fixture(&format!("whatsminer-v2/{file}.json"));
        self.state.lock().unwrap().plain.insert(command.to_owned(), bytes);
    }

    fn clear(&self, file: &str) {
        let bytes = fixture(&format!("{FIRMWARE}/{file}.json"));
        self.state.lock().unwrap().clear.push_back(bytes);
    }

    fn sealed(&self, file: &str) {
        let bytes = fixture(&format!("{FIRMWARE}/{file}.json"));
        self.state.lock().unwrap().sealed.push_back(bytes);
    }

    fn commands(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.log.iter().map(|request| request["command"].as_str().unwrap().to_owned()).collect()
    }

    fn last(&self) -> Value {
        self.state.lock().unwrap().log.last().unwrap().clone()
    }

    fn tokens(&self) -> u32 {
        self.state.lock().unwrap().tokens
    }
}

impl State {
    fn answer(&mut self, request: &Value) -> Vec<u8> {
        if request["enc"] == json!(1) {
            return self.answer_sealed(request["data"].as_str().unwrap());
        }
        let command = request["command"].as_str().unwrap().to_owned();
        self.log.push(request.clone());
        if command == "get_token" && !self.plain.contains_key("get_token") {
            self.tokens += 1;
            let time = self.generation.to_string();
            return json!({"STATUS": "S", "When": 1, "Code": 134, "Description": "",
                "Msg": {"time": time, "salt": SALT, "newsalt": NEW_SALT}})
            .to_string()
            .into_bytes();
        }
        self.plain
            .get(&command)
            .cloned()
            .unwrap_or_else(|| fixture(&format!("{FIRMWARE}/invalid_command.json")))
    }

    fn answer_sealed(&mut self, data: &str) -> Vec<u8> {
        let key = md5_crypt(&self.password, SALT);
        let cipher = Cipher::new(&key);
        let inner = cipher.decrypt(data).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let Some(inner) = inner else {
            return fixture(&format!("{FIRMWARE}/invalid_json.json"));
        };
        let sign = md5_crypt(&format!("{key}{}", self.generation), NEW_SALT);
        if inner["token"] != json!(sign) {
            return fixture(&format!("{FIRMWARE}/token_error.json"));
        }
        self.log.push(inner);
        if let Some(clear) = self.clear.pop_front() {
            return clear;
        }
        let answer =
            self.sealed.pop_front().unwrap_or_else(|| fixture(&format!("{FIRMWARE}/command_ok.json")));
        let mut sealed = cipher.encrypt(&String::from_utf8(answer).unwrap());
        if self.wrap_lines {
            sealed = sealed
                .as_bytes()
                .chunks(60)
                .map(|line| String::from_utf8(line.to_vec()).unwrap() + "\n")
                .collect();
        }
        json!({ "enc": sealed }).to_string().into_bytes()
    }
}

#[tokio::test]
async fn a_hashing_miner_reads_as_hashing() {
    let miner = Miner::start().await;
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(3_214)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::terahashes(124.91)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Unsupported);
    assert_eq!(status.range, Some((Watts::whole(33), Watts::whole(3_300))));
    assert_eq!(status.uptime, Some(Duration::from_secs(86_412)));
}

#[tokio::test]
async fn newer_firmware_with_another_shape_tells_its_target() {
    let miner = Miner::start().await;
    miner.plain("summary", "20260312.16/summary");
    miner.plain("status", "20260312.16/status");
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(5_921.4)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(6_000)));
}

#[tokio::test]
async fn an_answer_may_end_with_a_nul_or_with_the_stream() {
    let miner = Miner::start().await;
    miner.state.lock().unwrap().end_with_nul = false;
    let clock = Clock::start();
    miner.driver().read().await.unwrap();
    miner.driver().apply(power(2_000), Urgency::Shed).await.unwrap();
    miner.state.lock().unwrap().end_with_nul = true;
    miner.driver().read().await.unwrap();
    assert!(clock.now().since_start() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_miner_that_was_switched_off_is_asleep() {
    let miner = Miner::start().await;
    miner.plain("summary", "20230803.11/summary_off");
    miner.plain("status", "20230803.11/status_off");
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.target, Measured::Value(Target::Sleep));
    assert_eq!(status.power, Measured::Value(Watts::whole(14)));
}

#[tokio::test]
async fn old_firmware_that_has_no_summary_while_off_is_asleep_with_its_power_unavailable() {
    let miner = Miner::start().await;
    miner.plain("summary", "20210109.22/summary_refused");
    miner.plain("status", "20210109.22/status_off");
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.power, Measured::Unavailable);
    assert_eq!(status.hashrate, Measured::Unavailable);
}

#[tokio::test]
async fn starting_stalled_and_protected_miners_are_told_apart() {
    let miner = Miner::start().await;
    miner.plain("summary", "20230803.11/summary_starting");
    assert_eq!(miner.driver().read().await.unwrap().activity, Activity::Starting);
    miner.plain("summary", "20230803.11/summary_stalled");
    let Activity::Fault(text) = miner.driver().read().await.unwrap().activity else {
        panic!("a stalled miner with error codes has a fault");
    };
    assert_eq!(&*text, "error 218, 110");
    miner.plain("status", "20230803.11/status_fault");
    let Activity::Fault(text) = miner.driver().read().await.unwrap().activity else {
        panic!("a miner that protects itself has a fault");
    };
    assert_eq!(&*text, "over temperature protect");
}

#[tokio::test]
async fn power_is_set_in_percent_and_rounded_down() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    let sent = miner.last();
    assert_eq!(sent["command"], "set_power_pct");
    assert_eq!(sent["percent"], "60");
    driver.apply(power(9_000), Urgency::Normal).await.unwrap();
    assert_eq!(miner.last()["percent"], "100");
    // Less than one percent cannot be said, and zero means full power.
    assert_eq!(rejection(driver.apply(power(20), Urgency::Shed).await), Rejection::OutOfRange);
    assert_eq!(miner.last()["percent"], "100");
}

#[tokio::test]
async fn sleep_answers_before_it_acts_and_waking_comes_before_the_percent() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(miner.last()["command"], "power_off");
    assert_eq!(miner.last()["respbefore"], "true");
    driver.apply(power(1_650), Urgency::Normal).await.unwrap();
    let commands = miner.commands();
    assert_eq!(commands[commands.len() - 2..], ["power_on", "set_power_pct"]);
    assert_eq!(miner.last()["percent"], "50");
}

#[tokio::test]
async fn a_driver_that_has_read_nothing_yet_looks_before_it_wakes() {
    let miner = Miner::start().await;
    miner.plain("status", "20230803.11/status_off");
    miner.driver().apply(power(1_650), Urgency::Normal).await.unwrap();
    assert_eq!(miner.commands(), ["status", "get_token", "power_on", "set_power_pct"]);
}

#[tokio::test]
async fn a_percent_refused_after_waking_is_not_a_yes() {
    let miner = Miner::start().await;
    miner.plain("status", "20230803.11/status_off");
    miner.sealed("command_ok");
    miner.sealed("command_error");
    // It starts, and that at full power: a refusal would say that it still sleeps.
    let words = malformed(miner.driver().apply(power(1_650), Urgency::Normal).await);
    assert!(words.starts_with("it was woken") && words.ends_with("API command ERROR"), "{words}");
}

#[tokio::test]
async fn firmware_without_the_quick_percent_gets_the_gentle_one_and_is_remembered() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.sealed("invalid_command");
    driver.apply(power(1_650), Urgency::Shed).await.unwrap();
    driver.apply(power(2_000), Urgency::Normal).await.unwrap();
    let commands = miner.commands();
    assert_eq!(commands[commands.len() - 3..], ["set_power_pct", "set_power_pct_v2", "set_power_pct_v2"]);
    assert_eq!(miner.last()["percent"], "60");
    // Without either it says so, and never falls back on what restarts mining.
    let miner = Miner::start().await;
    miner.sealed("invalid_command");
    miner.sealed("invalid_command");
    assert_eq!(rejection(miner.driver().apply(power(1_650), Urgency::Shed).await), Rejection::Unsupported);
}

#[tokio::test]
async fn one_token_serves_many_commands() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    for watts in (500..3_300).step_by(100) {
        driver.apply(power(watts), Urgency::Shed).await.unwrap();
    }
    assert_eq!(miner.tokens(), 1);
}

#[tokio::test]
async fn an_ended_token_is_renewed_once() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    miner.state.lock().unwrap().generation = 2;
    driver.apply(power(1_000), Urgency::Shed).await.unwrap();
    assert_eq!(miner.tokens(), 2);
    assert_eq!(miner.last()["percent"], "30");
    // A miner that refuses every token is not asked for ever.
    for _ in 0..4 {
        miner.clear("token_error");
    }
    assert_eq!(rejection(driver.apply(power(900), Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(miner.tokens(), 3);
}

#[tokio::test]
async fn a_wrong_password_is_said_so_and_does_not_use_up_the_tokens() {
    let miner = Miner::start().await;
    miner.state.lock().unwrap().password = "another".to_owned();
    let mut driver = miner.driver();
    for _ in 0..5 {
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    }
    assert_eq!(miner.tokens(), 1);
}

#[tokio::test]
async fn a_miner_without_free_tokens_is_busy_and_is_left_in_peace() {
    let miner = Miner::start().await;
    miner.plain("get_token", "20230803.11/token_over_max");
    let mut driver = miner.driver();
    for _ in 0..3 {
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Busy);
    }
    assert_eq!(miner.commands(), ["get_token"]);
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    for (file, reason) in [
        ("permission_denied", Rejection::WriteDisabled),
        ("no_write_access", Rejection::WriteDisabled),
        ("token_over_max", Rejection::Busy),
        ("invalid_command", Rejection::Unsupported),
        ("command_error", Rejection::Other("API command ERROR".into())),
    ] {
        for sealed in [true, false] {
            let miner = Miner::start().await;
            if sealed {
                miner.sealed(file)
            } else {
                miner.clear(file)
            }
            let result = miner.driver().apply(Target::Sleep, Urgency::Shed).await;
            assert_eq!(rejection(result), reason, "{file} sealed {sealed}");
        }
    }
}

#[tokio::test]
async fn wrapped_base64_in_an_answer_is_understood() {
    let miner = Miner::start().await;
    miner.state.lock().unwrap().wrap_lines = true;
    miner.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn without_credentials_a_miner_is_read_and_not_commanded() {
    let miner = Miner::start().await;
    let mut connection = connection(DriverKind::WhatsminerV2, miner.address);
    connection.credentials = None;
    let mut driver = WhatsminerV2::new(&connection);
    driver.read().await.unwrap();
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    assert!(!miner.commands().contains(&"get_token".to_owned()));
}

#[tokio::test]
async fn neither_password_nor_token_shows_in_an_error() {
    let miner = Miner::start().await;
    let key = md5_crypt(PASSWORD, SALT);
    let sign = md5_crypt(&format!("{key}1"), NEW_SALT);
    let echo = json!({"STATUS": "E", "When": 1, "Code": 132, "Msg": format!("bad {PASSWORD} {sign}")});
    miner.state.lock().unwrap().sealed.push_back(echo.to_string().into_bytes());
    let error = miner.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        assert!(!text.contains(PASSWORD) && !text.contains(&sign), "{text}");
        assert!(text.contains("bad [secret] [secret]"));
    }
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    for answer in [
        "",
        "{}",
        "[]",
        "null",
        "{\"STATUS\":[",
        r#"{"STATUS":"S","SUMMARY":{}}"#,
        r#"{"STATUS":"S","SUMMARY":[7]}"#,
        r#"{"STATUS":"S"}"#,
        r#"{"STATUS":"?","SUMMARY":[{}]}"#,
        &"[".repeat(60_000),
        &format!("{}{}", "[".repeat(3_000), "]".repeat(3_000)),
    ] {
        let miner = Miner::start().await;
        {
            let mut state = miner.state.lock().unwrap();
            state.plain.insert("summary".to_owned(), answer.as_bytes().to_vec());
            state.end_with_nul = false;
            state.stay_open = false;
        }
        let error = miner.driver().read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{answer:.60}: {error}");
    }
}

#[tokio::test]
async fn a_summary_without_power_says_so_instead_of_zero() {
    let miner = Miner::start().await;
    let answer = r#"{"STATUS":"S","SUMMARY":[{"HS RT":1000000,"Elapsed":10000}]}"#;
    miner.state.lock().unwrap().plain.insert("summary".to_owned(), answer.into());
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Unsupported);
    assert_eq!(status.range, None);
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = WhatsminerV2::new(&connection(DriverKind::WhatsminerV2, address));
        let clock = Clock::start();
        let read = driver.read().await.unwrap_err();
        let command = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
        assert!(clock.now().since_start() < Duration::from_millis(1_500), "{how:?}");
        for error in [read, command] {
            let expected = match how {
                Misbehaviour::Silence | Misbehaviour::Drip => matches!(error, DriverError::Timeout { .. }),
                _ => matches!(error, DriverError::Malformed { .. }),
            };
            assert!(expected, "{how:?}: {error}");
        }
    }
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let mut driver = WhatsminerV2::new(&connection(DriverKind::WhatsminerV2, nobody().await));
    assert!(matches!(driver.read().await, Err(DriverError::Unreachable { .. })));
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
    driver.read().await.unwrap();
    driver.apply(power(1_000), Urgency::Shed).await.unwrap();
    assert_eq!(miner.last()["percent"], "30");
}

#[tokio::test]
async fn after_a_restart_the_target_is_what_the_miner_says() {
    let miner = Miner::start().await;
    miner.plain("summary", "20260312.16/summary");
    miner.plain("status", "20260312.16/status");
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(power(6_010), Urgency::Normal).await.unwrap();
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(6_010)));
    let mut summary: Value =
        serde_json::from_slice(&fixture("whatsminer-v2/20260312.16/summary.json")).unwrap();
    let mut status: Value =
        serde_json::from_slice(&fixture("whatsminer-v2/20260312.16/status.json")).unwrap();
    let mut restart = async |elapsed: u32, percent: u32| {
        summary["Msg"]["Elapsed"] = json!(elapsed);
        status["Msg"]["power_pct"] = json!(percent);
        {
            let mut state = miner.state.lock().unwrap();
            state.plain.insert("summary".to_owned(), summary.to_string().into());
            state.plain.insert("status".to_owned(), status.to_string().into());
        }
        driver.read().await.unwrap().target
    };
    assert_eq!(restart(30, 0).await, Measured::Value(power(8_000)));
    // Firmware that keeps the percent over a restart says so, and it is still what was asked for.
    assert_eq!(restart(20, 75).await, Measured::Value(power(6_010)));
}

#[tokio::test]
async fn a_steady_miner_is_asked_for_little() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    for _ in 0..12 {
        driver.read().await.unwrap();
    }
    let commands = miner.commands();
    assert_eq!(commands.iter().filter(|command| *command == "summary").count(), 12);
    assert_eq!(commands.iter().filter(|command| *command == "status").count(), 2);
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
        steps in proptest::collection::vec((any_target(), any::<bool>(), 0..6_usize), 1..12)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let commands = runtime.block_on(async {
            let miner = Miner::start().await;
            let mut driver = miner.driver();
            for (target, shed, answer) in steps {
                let file = ["command_ok", "command_error", "token_error", "permission_denied",
                    "invalid_command", "invalid_json"][answer];
                miner.clear(file);
                miner.plain("summary", ["20230803.11/summary", "20230803.11/summary_off", "20230803.11/summary_stalled"][answer % 3]);
                miner.plain("status", ["20230803.11/status", "20230803.11/status_off"][answer % 2]);
                let urgency = if shed { Urgency::Shed } else { Urgency::Normal };
                let _ = driver.apply(target, urgency).await;
                let _ = driver.read().await;
                driver.keep_alive().await;
            }
            driver.close().await;
            miner.state.lock().unwrap().log.clone()
        });
        for request in commands {
            let command = request["command"].as_str().unwrap();
            let allowed = ["summary", "status", "get_error_code", "get_token", "set_power_pct", "set_power_pct_v2",
                "power_off", "power_on"];
            prop_assert!(allowed.contains(&command), "{command}");
            if command.starts_with("set_power_pct") {
                let percent: u8 = request["percent"].as_str().unwrap().parse().unwrap();
                prop_assert!((1..=100).contains(&percent));
            }
        }
    }
}

/// Firmware from the end of 2024 on leaves the old port open, with less and less behind it.
#[tokio::test]
async fn a_refusal_beside_the_port_of_the_next_api_says_which_driver_it_wants() {
    let _new = TcpListener::bind("127.86.0.2:4433").await.unwrap();
    let miner = Miner::start_at("127.86.0.2").await;
    let mut driver = miner.driver();
    assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing);
    miner.clear("invalid_command");
    let refused = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    miner.state.lock().unwrap().plain.insert("summary".into(), b"{\"STATUS\":\"S\",\"Msg\":7}".to_vec());
    for error in [refused, driver.read().await.unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("4433") && text.contains("whatsminer-v3"), "{text}");
    }
}
