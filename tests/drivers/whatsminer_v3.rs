//! The Whatsminer 3.x driver against a small miner on a loopback socket.

use crate::drivers_support;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::whatsminer_crypto::v3_token;
use ballast::miner::drivers::whatsminer_v3::WhatsminerV3;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency};
use ballast::units::{Hashrate, Watts};
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, malformed, misbehaving, nobody, power,
    rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FIRMWARE: &str = "whatsminer-v3/20251209.16";

/// What the little miner does.
struct State {
    answers: HashMap<String, Vec<u8>>,
    /// Answers to commands with a good token, in order; afterwards "ok".
    commands: VecDeque<Vec<u8>>,
    /// Frames sent raw in place of the next answers.
    raw: VecDeque<Vec<u8>>,
    salt: String,
    log: Vec<Value>,
    connections: u32,
    heartbeats_received: u32,
    /// Heartbeats in front of every answer.
    heartbeats: usize,
    /// Closes after each answer.
    close_after_answer: bool,
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
            ("get.device.info", "get_device_info"),
            ("get.miner.status", "get_miner_status_summary"),
            ("get.miner.setting", "get_miner_setting"),
        ]
        .into_iter()
        .map(|(command, file)| (command.to_owned(), fixture(&format!("{FIRMWARE}/{file}.json"))))
        .collect();
        let state = Arc::new(Mutex::new(State {
            answers,
            commands: VecDeque::new(),
            raw: VecDeque::new(),
            salt: "uhCiDyVj".to_owned(),
            log: Vec::new(),
            connections: 0,
            heartbeats_received: 0,
            heartbeats: 0,
            close_after_answer: false,
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

    fn driver(&self) -> WhatsminerV3 {
        WhatsminerV3::new(&connection(DriverKind::WhatsminerV3, self.address))
    }

    fn answer(&self, command: &str, file: &str) {
        let bytes = fixture(&format!("whatsminer-v3/{file}.json"));
        self.state.lock().unwrap().answers.insert(command.to_owned(), bytes);
    }

    fn command(&self, file: &str) {
        let bytes = fixture(&format!("{FIRMWARE}/{file}.json"));
        self.state.lock().unwrap().commands.push_back(bytes);
    }

    fn raw(&self, bytes: Vec<u8>) {
        self.state.lock().unwrap().raw.push_back(bytes);
    }

    fn log(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.log.iter().map(|request| request["cmd"].as_str().unwrap().to_owned()).collect()
    }

    fn last(&self) -> Value {
        self.state.lock().unwrap().log.last().unwrap().clone()
    }

    fn connections(&self) -> u32 {
        self.state.lock().unwrap().connections
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    loop {
        let mut prefix = [0; 4];
        if stream.read_exact(&mut prefix).await.is_err() {
            return;
        }
        let length = usize::try_from(u32::from_le_bytes(prefix)).unwrap();
        if length == 0 {
            state.lock().unwrap().heartbeats_received += 1;
            continue;
        }
        let mut request = vec![0; length];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let request: Value = serde_json::from_slice(&request).unwrap();
        let (bytes, close) = {
            let mut state = state.lock().unwrap();
            let bytes = state.frame(&request);
            (bytes, state.close_after_answer)
        };
        if stream.write_all(&bytes).await.is_err() || close {
            return;
        }
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

impl State {
    fn frame(&mut self, request: &Value) -> Vec<u8> {
        let command = request["cmd"].as_str().unwrap().to_owned();
        self.log.push(request.clone());
        let mut bytes = vec![0; 4 * self.heartbeats];
        if let Some(raw) = self.raw.pop_front() {
            bytes.extend(raw);
            return bytes;
        }
        let answer = if command.starts_with("set.") {
            let time = request["ts"].as_u64().unwrap();
            let good = request["account"] == "super"
                && request["token"] == json!(v3_token(&command, PASSWORD, &self.salt, time));
            let mut answer: Value = serde_json::from_slice(&match self.commands.pop_front() {
                _ if !good => fixture(&format!("{FIRMWARE}/no_permission.json")),
                Some(answer) => answer,
                None => fixture(&format!("{FIRMWARE}/ok.json")),
            })
            .unwrap();
            answer["desc"] = json!(command);
            answer.to_string().into_bytes()
        } else {
            self.answers.get(&command).cloned().unwrap_or_else(|| {
                json!({"code": -2, "when": 1, "msg": "invalid command", "desc": command})
                    .to_string()
                    .into_bytes()
            })
        };
        bytes.extend(frame(&answer));
        bytes
    }
}

#[tokio::test]
async fn a_hashing_miner_reads_as_hashing() {
    let miner = Miner::start().await;
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(3_148)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::terahashes(171.1)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(3_600)));
    assert_eq!(status.range, Some((Watts::whole(36), Watts::whole(3_600))));
    assert_eq!(status.uptime, Some(Duration::from_secs(50_210)));
}

#[tokio::test]
async fn one_connection_serves_all() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    for watts in (500..3_500).step_by(250) {
        driver.read().await.unwrap();
        driver.apply(power(watts), Urgency::Shed).await.unwrap();
    }
    assert_eq!(miner.connections(), 1);
}

#[tokio::test]
async fn power_is_set_in_percent_as_text_in_the_fast_mode() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    let sent = miner.last();
    assert_eq!(sent["cmd"], "set.miner.power_percent");
    assert_eq!(sent["param"], json!({"percent": "55", "mode": "fast"}));
    assert_eq!(rejection(driver.apply(power(30), Urgency::Shed).await), Rejection::OutOfRange);
}

#[tokio::test]
async fn firmware_without_the_fast_mode_gets_the_normal_one_and_without_percent_watts() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.command("invalid_item");
    for _ in 0..2 {
        driver.apply(Target::Power(Watts::whole(2_000)), Urgency::Shed).await.unwrap();
        assert_eq!(miner.last()["param"]["mode"], "normal");
    }
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.command("invalid_command");
    driver.apply(Target::Power(Watts::saturating(2_000.9)), Urgency::Shed).await.unwrap();
    assert_eq!(miner.last()["cmd"], "set.miner.power");
    assert_eq!(miner.last()["param"], 2_000, "watts are rounded down");
    driver.apply(Target::Power(Watts::whole(9_999)), Urgency::Normal).await.unwrap();
    assert!(
        miner.last()["param"].as_i64().unwrap() <= 3_600,
        "never above the limit of the device: {}",
        miner.last()
    );
    // Whether watts are in force is not shown.
    assert_eq!(driver.read().await.unwrap().target, Measured::Unsupported);
    // Where all three are refused the first refusals are not held against the miner for ever.
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    miner.command("invalid_command");
    miner.command("invalid_command");
    assert!(driver.apply(Target::Power(Watts::whole(2_000)), Urgency::Shed).await.is_err());
    driver.apply(Target::Power(Watts::whole(2_000)), Urgency::Shed).await.unwrap();
    assert_eq!(miner.last()["param"]["mode"], "fast");
}

#[tokio::test]
async fn what_was_asked_reads_back_until_it_is_lost() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    let mut setting: Value =
        serde_json::from_slice(&fixture(&format!("{FIRMWARE}/get_miner_setting.json"))).unwrap();
    setting["msg"]["power-percent"] = json!(55);
    let set = |setting: &Value| {
        let mut state = miner.state.lock().unwrap();
        state.answers.insert("get.miner.setting".to_owned(), setting.to_string().into());
    };
    set(&setting);
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_000)));
    // The miner has rebooted: the percent is gone.
    setting["msg"]["power-percent"] = json!(0);
    set(&setting);
    miner.answer("get.miner.status", "20251209.16/get_miner_status_summary_starting");
    let status = driver.read().await.unwrap();
    assert_eq!(status.target, Measured::Value(power(3_600)));
    assert_eq!(status.activity, Activity::Starting);
    assert_eq!(status.uptime, Some(Duration::from_secs(40)));
}

#[tokio::test]
async fn a_stopped_miner_is_asleep_even_with_warnings() {
    let miner = Miner::start().await;
    miner.answer("get.miner.status", "20251209.16/get_miner_status_summary_idle");
    miner.answer("get.device.info", "20251209.16/get_device_info_stopped");
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.target, Measured::Value(Target::Sleep));
    assert_eq!(status.power, Measured::Value(Watts::whole(21)));
}

#[tokio::test]
async fn a_miner_that_should_hash_and_has_errors_has_a_fault() {
    let miner = Miner::start().await;
    miner.answer("get.miner.status", "20251209.16/get_miner_status_summary_idle");
    miner.answer("get.device.info", "20251209.16/get_device_info_fault");
    let Activity::Fault(text) = miner.driver().read().await.unwrap().activity else {
        panic!("expected a fault");
    };
    assert!(text.starts_with("error 267 Power watch dog protected."), "{text}");
}

#[tokio::test]
async fn older_firmware_does_not_tell_its_target() {
    let miner = Miner::start().await;
    miner.answer("get.miner.setting", "20240722.07/get_miner_setting");
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.target, Measured::Unsupported);
    assert_eq!(status.range.unwrap().1, Watts::whole(3_500));
    miner.state.lock().unwrap().answers.remove("get.miner.setting");
    let mut driver = miner.driver();
    for _ in 0..3 {
        assert_eq!(driver.read().await.unwrap().target, Measured::Unsupported);
    }
    assert_eq!(miner.log().iter().filter(|command| *command == "get.miner.setting").count(), 2);
}

#[tokio::test]
async fn sleeping_and_waking_are_the_mining_service() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(miner.last()["cmd"], "set.miner.service");
    assert_eq!(miner.last()["param"], "stop");
    driver.apply(power(1_800), Urgency::Normal).await.unwrap();
    let state = miner.state.lock().unwrap();
    let [start, percent] = &state.log[state.log.len() - 2..] else {
        panic!("two commands");
    };
    assert_eq!(start["param"], "start");
    assert_eq!(percent["param"]["percent"], "50");
}

#[tokio::test]
async fn a_driver_that_has_read_nothing_yet_looks_before_it_wakes() {
    let miner = Miner::start().await;
    miner.answer("get.device.info", "20251209.16/get_device_info_stopped");
    miner.driver().apply(power(1_800), Urgency::Normal).await.unwrap();
    assert_eq!(miner.log(), ["get.device.info", "set.miner.service", "set.miner.power_percent"]);
}

#[tokio::test]
async fn a_percent_refused_after_waking_is_neither_a_yes_nor_a_refusal() {
    let miner = Miner::start().await;
    miner.answer("get.device.info", "20251209.16/get_device_info_stopped");
    miner.command("ok");
    miner.command("no_permission");
    let words = malformed(miner.driver().apply(power(1_800), Urgency::Normal).await);
    assert!(words.starts_with("it was woken"), "{words}");
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    for (file, reason) in [
        ("fail", Rejection::WrongState),
        ("invalid_command", Rejection::Unsupported),
        ("invalid_item", Rejection::OutOfRange),
        ("no_permission", Rejection::Credentials),
        ("no_memory", Rejection::Busy),
    ] {
        let miner = Miner::start().await;
        miner.command(file);
        let mut driver = miner.driver();
        assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), reason, "{file}");
        // The connection is still good.
        driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
        assert_eq!(miner.connections(), 1);
    }
}

#[tokio::test]
async fn a_switched_off_write_interface_is_not_taken_for_a_wrong_password() {
    let miner = Miner::start().await;
    miner.answer("get.device.info", "20251209.16/get_device_info_read_only");
    miner.command("no_permission");
    let result = miner.driver().apply(Target::Sleep, Urgency::Shed).await;
    assert_eq!(rejection(result), Rejection::WriteDisabled);
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_one_are_said_so() {
    let miner = Miner::start().await;
    let mut connection = connection(DriverKind::WhatsminerV3, miner.address);
    connection.credentials.as_mut().unwrap().password = ballast::secret::Secret::new("wrong".to_owned());
    let mut driver = WhatsminerV3::new(&connection);
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Credentials);
    connection.credentials = None;
    let mut driver = WhatsminerV3::new(&connection);
    driver.read().await.unwrap();
    let before = miner.log().len();
    assert_eq!(rejection(driver.apply(power(1_000), Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(miner.log().len(), before);
}

#[tokio::test]
async fn a_new_salt_after_a_reboot_is_found_out() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    let mut info: Value =
        serde_json::from_slice(&fixture(&format!("{FIRMWARE}/get_device_info.json"))).unwrap();
    info["msg"]["salt"] = json!("another1");
    {
        let mut state = miner.state.lock().unwrap();
        state.salt = "another1".to_owned();
        state.answers.insert("get.device.info".to_owned(), info.to_string().into());
    }
    assert_eq!(rejection(driver.apply(power(1_000), Urgency::Shed).await), Rejection::Credentials);
    driver.apply(power(1_000), Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn heartbeats_in_front_of_an_answer_are_skipped() {
    let miner = Miner::start().await;
    miner.state.lock().unwrap().heartbeats = 3;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(power(1_000), Urgency::Shed).await.unwrap();
    // Nothing but heartbeats is not an answer.
    miner.raw(vec![0; 4 * 1_000]);
    assert!(matches!(driver.read().await, Err(DriverError::Malformed { .. })));
}

#[tokio::test]
async fn an_idle_connection_gets_a_heartbeat_before_the_miner_gives_it_up() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.keep_alive().await;
    assert_eq!(miner.state.lock().unwrap().heartbeats_received, 0);
    // Only the clock is moved: no socket waits meanwhile.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(100)).await;
    tokio::time::resume();
    driver.keep_alive().await;
    driver.read().await.unwrap();
    assert_eq!(miner.state.lock().unwrap().heartbeats_received, 1);
    assert_eq!(miner.connections(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(299)).await;
    tokio::time::resume();
    driver.keep_alive().await;
    driver.read().await.unwrap();
    assert_eq!(miner.connections(), 2, "a connection at the idle limit is not trusted");
}

#[tokio::test]
async fn a_connection_that_the_miner_closed_is_opened_again() {
    let miner = Miner::start().await;
    miner.state.lock().unwrap().close_after_answer = true;
    let mut driver = miner.driver();
    for _ in 0..3 {
        driver.read().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        driver.apply(power(2_000), Urgency::Shed).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

#[tokio::test]
async fn frames_that_are_wrong_are_malformed_and_the_next_exchange_works() {
    let cut = {
        let mut bytes = 500_u32.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{\"code\":0");
        bytes
    };
    for (name, bytes) in [
        ("huge", u32::MAX.to_le_bytes().to_vec()),
        ("just over the limit", (1024 * 1024 + 1_u32).to_le_bytes().to_vec()),
        ("not JSON", frame(b"hello")),
        ("not text", frame(b"\xff\xfe\xfd")),
        ("no code", frame(b"{\"msg\":{\"summary\":{}}}")),
        ("code of the wrong type", frame(b"{\"code\":\"fine\",\"msg\":{\"summary\":{}}}")),
        ("another answer", frame(br#"{"code":0,"msg":{"summary":{"elapsed":9}},"desc":"get.fan.setting"}"#)),
        ("no message", frame(br#"{"code":0,"msg":7,"desc":"get.miner.status"}"#)),
        ("deep", frame("[".repeat(200_000).as_bytes())),
    ] {
        let miner = Miner::start().await;
        let mut driver = miner.driver();
        driver.read().await.unwrap();
        miner.raw(bytes);
        let error = driver.read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{name}: {error}");
        driver.read().await.unwrap();
    }
    // A frame that never becomes whole takes the time limit and no longer.
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.raw(cut);
    assert!(matches!(driver.read().await, Err(DriverError::Timeout { .. })));
    driver.read().await.unwrap();
    assert_eq!(miner.connections(), 2);
}

#[tokio::test]
async fn a_command_whose_answer_was_lost_is_not_said_again() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    {
        let mut state = miner.state.lock().unwrap();
        state.raw.push_back(Vec::new());
        state.close_after_answer = true;
    }
    let error = driver.apply(power(2_000), Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
    let commands = miner.log();
    let sent = commands.iter().filter(|command| *command == "set.miner.power_percent").count();
    assert_eq!(sent, 1);
}

#[tokio::test]
async fn the_password_does_not_show_in_an_error() {
    let miner = Miner::start().await;
    let echo = json!({"code": -9, "msg": format!("{PASSWORD} is wrong"), "desc": "set.miner.service"});
    miner.state.lock().unwrap().commands.push_back(echo.to_string().into());
    let error = miner.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(PASSWORD));
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = WhatsminerV3::new(&connection(DriverKind::WhatsminerV3, address));
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
    let mut driver = WhatsminerV3::new(&connection(DriverKind::WhatsminerV3, nobody().await));
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
    assert_eq!(driver.read().await.unwrap().power, Measured::Value(Watts::whole(3_148)));
    driver.apply(power(1_000), Urgency::Shed).await.unwrap();
    assert_eq!(miner.last()["param"]["percent"], "27");
}

#[tokio::test]
async fn closing_gives_the_place_back() {
    let miner = Miner::start().await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.close().await;
    driver.close().await;
    driver.read().await.unwrap();
    assert_eq!(miner.connections(), 2);
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
        let requests = runtime.block_on(async {
            let miner = Miner::start().await;
            let mut driver = miner.driver();
            for (target, shed, answer) in steps {
                miner.command(["ok", "fail", "invalid_command", "invalid_item", "no_permission", "no_memory"][answer]);
                let summary = ["summary", "summary_starting", "summary_idle"][answer % 3];
                miner.answer("get.miner.status", &format!("20251209.16/get_miner_status_{summary}"));
                let info = ["info", "info_stopped", "info_fault", "info_read_only"][answer % 4];
                miner.answer("get.device.info", &format!("20251209.16/get_device_{info}"));
                let urgency = if shed { Urgency::Shed } else { Urgency::Normal };
                let _ = driver.apply(target, urgency).await;
                let _ = driver.read().await;
                driver.keep_alive().await;
            }
            driver.close().await;
            miner.state.lock().unwrap().log.clone()
        });
        for request in requests {
            match request["cmd"].as_str().unwrap() {
                "get.device.info" | "get.miner.setting" => {}
                "get.miner.status" => prop_assert_eq!(&request["param"], "summary"),
                "set.miner.service" => prop_assert!(request["param"] == "stop" || request["param"] == "start"),
                "set.miner.power_percent" => {
                    let percent: u8 = request["param"]["percent"].as_str().unwrap().parse().unwrap();
                    prop_assert!((1..=100).contains(&percent));
                    prop_assert!(request["param"]["mode"] == "fast" || request["param"]["mode"] == "normal");
                }
                "set.miner.power" => prop_assert!(request["param"].as_i64().unwrap() <= 3_600),
                other => prop_assert!(false, "{} was sent", other),
            }
        }
    }
}
