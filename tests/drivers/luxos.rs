//! The LuxOS driver against a small server on a loopback socket, and against the simulated miner.

use crate::drivers_support;
use crate::sim_servers::bench;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::luxos::Luxos;
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Urgency};
use ballast::sim::miner::{Fault, FaultKind, Initial};
use ballast::units::{Hashrate, Watts};
use bench::Bench;
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, connection, fixture, malformed, misbehaving, nobody, power, rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SESSION: &str = "yT4nc0m1";

/// What the little miner does.
#[derive(Default)]
struct State {
    /// Replies to single reads, by command.
    sections: HashMap<String, Value>,
    /// Whether somebody else holds the session.
    taken: bool,
    /// The session that is open.
    session: Option<String>,
    opened: u32,
    /// Bytes for the next requests of a command.
    next: HashMap<String, VecDeque<Vec<u8>>>,
    /// Says nothing to this command.
    swallow: Option<&'static str>,
    log: Vec<String>,
}

#[derive(Clone)]
struct Miner {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Miner {
    async fn start(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sections = ["summary", "power", "config", "profiles", "limits"]
            .map(|name| {
                let bytes = fixture(&format!("luxos/{version}/{name}.json"));
                (name.to_owned(), serde_json::from_slice(&bytes).unwrap())
            })
            .into_iter()
            .collect();
        let state = Arc::new(Mutex::new(State { sections, ..State::default() }));
        let miner = Self { state: Arc::clone(&state), address };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&state)));
            }
        });
        miner
    }

    fn driver(&self) -> Luxos {
        Luxos::new(&connection(DriverKind::Luxos, self.address))
    }

    fn config(&self, key: &str, value: impl Into<Value>) {
        self.state.lock().unwrap().sections.get_mut("config").unwrap()["CONFIG"][0][key] = value.into();
    }

    fn section(&self, name: &str, change: impl Fn(&mut Value)) {
        change(self.state.lock().unwrap().sections.get_mut(name).unwrap());
    }

    fn next(&self, command: &str, reply: impl Into<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        state.next.entry(command.to_owned()).or_default().push_back(reply.into());
    }

    /// Everything but reads.
    fn commands(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let reads = ["summary", "config"];
        state.log.iter().filter(|line| !reads.iter().any(|read| line.starts_with(read))).cloned().collect()
    }

    fn reads(&self) -> usize {
        self.state.lock().unwrap().log.iter().filter(|line| line.starts_with("summary")).count()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; 8192];
    let Ok(count) = stream.read(&mut buffer).await else { return };
    let request: Value = serde_json::from_slice(&buffer[..count]).unwrap();
    let Some(reply) = state.lock().unwrap().answer(&request) else {
        tokio::time::sleep(Duration::from_secs(10)).await;
        return;
    };
    let _ = stream.write_all(&reply).await;
}

fn no(code: u32, msg: &str) -> String {
    json!({"STATUS": [{"STATUS": "E", "When": 1, "Code": code, "Msg": msg, "Description": ""}], "id": 1})
        .to_string()
}

impl State {
    fn answer(&mut self, request: &Value) -> Option<Vec<u8>> {
        let command = request["command"].as_str().unwrap().to_owned();
        let parameter = request.get("parameter").and_then(Value::as_str).unwrap_or_default();
        self.log.push(format!("{command} {parameter}").trim().to_owned());
        if self.swallow == Some(command.as_str()) {
            return None;
        }
        if let Some(bytes) = self.next.get_mut(&command).and_then(VecDeque::pop_front) {
            return Some(bytes);
        }
        let yes = |name: &str, entry: Value| {
            json!({"STATUS": [{"STATUS": "S", "When": 1, "Code": 300, "Msg": "", "Description": ""}], name: [entry],
                "id": 1})
            .to_string()
        };
        let (given, argument) = parameter.split_once(',').unwrap_or((parameter, ""));
        let text = match command.as_str() {
            "logon" if self.taken || self.session.is_some() => no(402, "Another session is active"),
            "logon" => {
                self.opened += 1;
                let id = format!("{SESSION}{}", self.opened);
                self.session = Some(id.clone());
                yes("SESSION", json!({ "SessionID": id }))
            }
            "logoff" | "curtail" | "profileset" | "powertargetset"
                if self.session.as_deref() != Some(given) =>
            {
                no(401, "Session does not exist")
            }
            "logoff" => {
                self.session = None;
                yes("SESSION", json!({ "SessionID": given }))
            }
            "curtail" => yes("CURTAIL", json!({"Action": "sleep mode"})),
            "profileset" => yes("PROFILE", json!({"Board": 0, "Profile": argument})),
            "powertargetset" => yes("POWERTARGET", json!({})),
            joined if joined.contains('+') => {
                let mut reply = json!({"id": 1});
                for part in joined.split('+') {
                    reply[part] = json!([self.sections.get(part).cloned().unwrap_or_default()]);
                }
                reply.to_string()
            }
            single => self.sections.get(single).cloned().unwrap_or_default().to_string(),
        };
        let mut bytes = text.into_bytes();
        bytes.push(0);
        Some(bytes)
    }
}

/// A command in its session: log on, write, log off.
fn within(session: u32, lines: &[&str]) -> Vec<String> {
    let mut all = vec!["logon".to_owned()];
    all.extend(lines.iter().map(|line| line.replace('$', &format!("{SESSION}{session}"))));
    all.push(format!("logoff {SESSION}{session}"));
    all
}

#[tokio::test]
async fn a_hashing_miner_reads_with_its_profiles_in_one_request() {
    let miner = Miner::start("2025.4").await;
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(1_779)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(85_140.4e9)));
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.target, Measured::Value(power(1_785)));
    assert_eq!(status.range, None);
    assert_eq!(status.uptime, Some(Duration::from_secs(7_312)));
    let watts: Vec<f64> = status.points.unwrap().iter().map(|point| point.power.get()).collect();
    // Up to the default profile, with the operator's own that lies below it; never an overclocked one, and never one
    // whose name would select by value.
    assert_eq!(
        watts,
        [1_657.0, 1_785.0, 1_840.0, 1_916.0, 2_052.0, 2_192.0, 2_336.0, 2_485.0, 2_637.0, 2_794.0]
    );
    assert_eq!(miner.state.lock().unwrap().log.len(), 1);
}

#[tokio::test]
async fn a_profile_that_the_operator_overclocked_to_stays_in_use() {
    let miner = Miner::start("2025.4").await;
    miner.config("Profile", "615MHz");
    miner.config("ProfileStep", "1");
    let status = miner.driver().read().await.unwrap();
    let points = status.points.unwrap();
    assert_eq!(points.last().unwrap().power, Watts::whole(2_954));
}

#[tokio::test]
async fn the_profiles_are_read_rarely_and_after_a_restart() {
    let miner = Miner::start("2025.4").await;
    let mut driver = miner.driver();
    for _ in 0..3 {
        driver.read().await.unwrap();
    }
    miner.section("summary", |summary| summary["SUMMARY"][0]["Elapsed"] = 5.into());
    for _ in 0..2 {
        driver.read().await.unwrap();
    }
    let full = "summary+power+config+profiles+limits";
    let short = "summary+power+config";
    assert_eq!(miner.state.lock().unwrap().log, [full, short, short, short, full]);
}

#[tokio::test]
async fn a_command_logs_on_writes_and_logs_off() {
    let miner = Miner::start("2025.4").await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    driver.apply(power(2_500), Urgency::Shed).await.unwrap();
    driver.apply(power(1), Urgency::Normal).await.unwrap();
    // In force already: nothing is written.
    driver.apply(power(1_600), Urgency::Normal).await.unwrap();
    let expected = [within(1, &["profileset $,540MHz"]), within(2, &["profileset $,390MHz"])].concat();
    assert_eq!(miner.commands(), expected);
    assert_eq!(miner.state.lock().unwrap().session, None);
}

#[tokio::test]
async fn sleep_is_curtail_and_waking_sets_the_profile_first() {
    let miner = Miner::start("2025.4").await;
    let mut driver = miner.driver();
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    miner.config("CurtailMode", "Sleep");
    miner.config("IsPowerSupplyOn", false);
    miner.section("summary", |summary| summary["SUMMARY"][0]["GHS 5s"] = 0.into());
    miner.section("power", |power| power["POWER"][0]["Watts"] = 0.into());
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.target, Measured::Value(Target::Sleep));
    assert_eq!(status.power, Measured::Unavailable, "a control board that answers draws something");
    driver.apply(power(2_052), Urgency::Normal).await.unwrap();
    driver.apply(power(2_200), Urgency::Normal).await.unwrap();
    let expected = [
        within(1, &["curtail $,sleep"]),
        within(2, &["profileset $,465MHz", "curtail $,wakeup"]),
        within(3, &["profileset $,490MHz"]),
    ];
    assert_eq!(miner.commands(), expected.concat());
}

#[tokio::test]
async fn a_miner_that_takes_no_profile_in_its_sleep_is_woken_first() {
    let miner = Miner::start("2025.4").await;
    miner.config("CurtailMode", "Sleep");
    miner.next("profileset", no(400, "Miner is curtailed"));
    miner.driver().apply(power(2_052), Urgency::Normal).await.unwrap();
    let expected = within(1, &["profileset $,465MHz", "curtail $,wakeup", "profileset $,465MHz"]);
    assert_eq!(miner.commands(), expected);
    // What it refuses then is no refusal of the whole: it is awake by now.
    let miner = Miner::start("2025.4").await;
    miner.config("CurtailMode", "Sleep");
    for words in ["Miner is curtailed", "Boards are on fire"] {
        miner.next("profileset", no(400, words));
    }
    let words = malformed(miner.driver().apply(power(2_052), Urgency::Normal).await);
    assert!(words.starts_with("it was woken"), "{words}");
}

#[tokio::test]
async fn power_targeting_takes_whole_watts() {
    let miner = Miner::start("2026.5").await;
    let mut driver = miner.driver();
    let status = driver.read().await.unwrap();
    assert_eq!(status.range, Some((Watts::whole(1_400), Watts::whole(3_500))));
    assert_eq!(status.points, None);
    assert_eq!(status.target, Measured::Value(power(3_000)));
    driver.apply(Target::Power(Watts::saturating(2_999.9)), Urgency::Shed).await.unwrap();
    driver.apply(power(9_000), Urgency::Normal).await.unwrap();
    assert_eq!(rejection(driver.apply(power(1_300), Urgency::Shed).await), Rejection::OutOfRange);
    let expected =
        [within(1, &["powertargetset $,power=2999"]), within(2, &["powertargetset $,power=3500"])].concat();
    assert_eq!(miner.commands(), expected);
}

#[tokio::test]
async fn atm_is_said_to_be_on_and_left_alone() {
    let miner = Miner::start("2025.4").await;
    miner.config("IsAtmEnabled", true);
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    let reason = rejection(driver.apply(power(2_000), Urgency::Shed).await);
    assert!(matches!(&reason, Rejection::Other(text) if text.contains("ATM is on")), "{reason:?}");
    assert_eq!(miner.commands(), Vec::<String>::new());
    // Sleep works all the same.
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    // Switched off since: asked again before it is refused.
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.config("IsAtmEnabled", false);
    driver.apply(power(2_000), Urgency::Shed).await.unwrap();
    // Switched on since: the miner's own words.
    miner.next("profileset", no(400, "Not allowed: ATM is enabled"));
    let reason = rejection(driver.apply(power(2_500), Urgency::Shed).await);
    assert!(matches!(&reason, Rejection::Other(text) if text.contains("ATM is on")), "{reason:?}");
}

#[tokio::test]
async fn a_session_of_somebody_else_is_respected() {
    let miner = Miner::start("2025.4").await;
    miner.state.lock().unwrap().taken = true;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Busy);
    assert_eq!(miner.commands(), ["logon"]);
    miner.state.lock().unwrap().taken = false;
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn a_session_whose_log_off_was_lost_is_used_again_and_given_back() {
    let miner = Miner::start("2025.4").await;
    let mut driver = miner.driver();
    miner.next("logoff", "nonsense");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert!(miner.state.lock().unwrap().session.is_some());
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(miner.state.lock().unwrap().opened, 1);
    // One that has ended at the miner is replaced, and the command is said once more: it was not carried out.
    miner.next("logoff", "nonsense");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    miner.state.lock().unwrap().session = None;
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(miner.state.lock().unwrap().session, None);
    miner.next("logoff", "nonsense");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    driver.close().await;
    assert_eq!(miner.state.lock().unwrap().session, None);
}

#[tokio::test]
async fn a_command_without_an_answer_is_not_said_again() {
    let miner = Miner::start("2025.4").await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.state.lock().unwrap().swallow = Some("curtail");
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    miner.state.lock().unwrap().swallow = None;
    driver.read().await.unwrap();
    assert_eq!(miner.commands(), ["logon".to_owned(), format!("curtail {SESSION}1,sleep")]);
    driver.close().await;
    assert_eq!(miner.state.lock().unwrap().session, None);
}

#[tokio::test]
async fn a_profile_that_was_in_force_before_a_raise_without_an_answer_is_sent() {
    let miner = Miner::start("2025.4").await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.state.lock().unwrap().swallow = Some("profileset");
    let error = driver.apply(power(2_500), Urgency::Normal).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    miner.state.lock().unwrap().swallow = None;
    driver.apply(power(1_785), Urgency::Shed).await.unwrap();
    let expected = ["logon", "profileset $,540MHz", "profileset $,415MHz", "logoff $"];
    assert_eq!(miner.commands(), expected.map(|line| line.replace('$', &format!("{SESSION}1"))));
}

#[tokio::test]
async fn every_refusal_has_its_reason() {
    for (code, msg, reason) in [
        (14, "Invalid command", Rejection::Unsupported),
        (400, "Boards are on fire", Rejection::Other("Boards are on fire".into())),
        (400, "", Rejection::Other("no reason given".into())),
        (401, "Session does not exist", Rejection::Busy),
    ] {
        let miner = Miner::start("2025.4").await;
        miner.next("curtail", no(code, msg));
        let result = miner.driver().apply(Target::Sleep, Urgency::Shed).await;
        assert_eq!(rejection(result), reason, "{code} {msg}");
        assert_eq!(miner.commands().len(), 3);
    }
    // Asleep already is as good as asleep.
    let miner = Miner::start("2025.4").await;
    miner.next("curtail", no(400, "Already in sleep mode"));
    miner.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap();
    // Another profile than asked for is not a yes.
    miner.next(
        "profileset",
        r#"{"STATUS":[{"STATUS":"S","Code":321}],"PROFILE":[{"Board":0,"Profile":"default"}],"id":1}"#,
    );
    let reason = rejection(miner.driver().apply(power(2_052), Urgency::Shed).await);
    assert!(matches!(&reason, Rejection::Other(text) if text.contains("it took default")), "{reason:?}");
}

#[tokio::test]
async fn the_state_is_told_from_mode_and_hashrate() {
    for (mode, system, supply, rate, expected) in [
        ("None", "Normal", true, 80_000.0, Activity::Hashing),
        ("None", "Normal", true, 0.0, Activity::Starting),
        ("Sleep", "Normal", false, 0.0, Activity::Asleep),
        ("Sleep", "Normal", true, 80_000.0, Activity::Hashing),
        ("None", "Overtemp", true, 0.0, Activity::Fault("Overtemp".into())),
        ("None", "Normal", false, 0.0, Activity::Fault("its power supply is off".into())),
    ] {
        let miner = Miner::start("2025.4").await;
        miner.config("CurtailMode", mode);
        miner.config("SystemStatus", system);
        miner.config("IsPowerSupplyOn", supply);
        miner.section("summary", |summary| summary["SUMMARY"][0]["GHS 5s"] = rate.into());
        assert_eq!(miner.driver().read().await.unwrap().activity, expected, "{mode} {system} {rate}");
    }
    // A profile that is not listed has no known power.
    let miner = Miner::start("2025.4").await;
    miner.config("Profile", "secret");
    assert_eq!(miner.driver().read().await.unwrap().target, Measured::Unavailable);
    // Firmware without `power`.
    miner.section("power", |power| *power = serde_json::from_str(&no(14, "Invalid command")).unwrap());
    assert_eq!(miner.driver().read().await.unwrap().power, Measured::Unavailable);
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    let full = "summary+power+config+profiles+limits";
    for body in [
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"config":[],"id":1}"#.to_owned(),
        "\u{0}".to_owned(),
        String::new(),
        "[".repeat(100_000),
        format!("{{\"a\":\"{}\"}}", "x".repeat(2_000_000)),
    ] {
        let miner = Miner::start("2025.4").await;
        miner.next(full, body.clone());
        let error = miner.driver().read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{body:.60}: {error}");
    }
    for (section, place, value) in [
        ("config", "/CONFIG/0", json!(7)),
        ("summary", "/STATUS", json!([])),
        ("power", "/STATUS/0/STATUS", json!(1)),
        ("config", "/STATUS", json!("S")),
    ] {
        let miner = Miner::start("2025.4").await;
        miner.section(section, |whole| *whole.pointer_mut(place).unwrap() = value.clone());
        let error = miner.driver().read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{section} {place}: {error}");
    }
    // A session that would break the list of parameters.
    let miner = Miner::start("2025.4").await;
    miner.next(
        "logon",
        r#"{"STATUS":[{"STATUS":"S","Code":316}],"SESSION":[{"SessionID":"a,wakeup"}],"id":1}"#,
    );
    let error = miner.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
    assert_eq!(miner.commands(), ["logon"]);
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = Luxos::new(&connection(DriverKind::Luxos, address));
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
    let mut driver = Luxos::new(&connection(DriverKind::Luxos, nobody().await));
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn no_password_is_needed() {
    let miner = Miner::start("2025.4").await;
    let bare = Connection { credentials: None, ..connection(DriverKind::Luxos, miner.address) };
    Luxos::new(&bare).apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(miner.reads(), 0);
}

const HASHING: Initial = Initial::Hashing { fraction: 1.0 };

/// A simulated miner with power targeting, or without.
async fn simulated(targets: bool, initial: Initial) -> (Bench, Luxos) {
    for seed in 1..64 {
        let bench = Bench::start_seeded(DriverKind::Luxos, initial, seed).await;
        let mut driver = Luxos::new(&bench.connection());
        let status = driver.read().await.unwrap();
        if status.points.is_none() == targets {
            return (bench, driver);
        }
    }
    panic!("no seed of 63 gives that model");
}

#[tokio::test]
async fn the_simulated_miner_follows_its_profiles_sleeps_and_wakes() {
    let (bench, mut driver) = simulated(false, HASHING).await;
    let status = driver.read().await.unwrap();
    let points = status.points.unwrap();
    assert_eq!(points.last().unwrap().power, Watts::whole(3_400), "not above the default profile");
    let Measured::Value(shown) = status.power else { panic!("no power") };
    assert!((shown.get() / bench.power() - 1.0).abs() < 0.03);
    let middle = points[3].power;
    driver.apply(Target::Power(middle + Watts::whole(60)), Urgency::Shed).await.unwrap();
    bench.until("the profile", |bench| (bench.power() / middle.get() - 1.0).abs() < 0.03).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(Target::Power(middle)));
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    bench.until("sleep", |bench| bench.power() < 50.0).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(Target::Sleep));
    driver.apply(Target::Power(points[1].power), Urgency::Normal).await.unwrap();
    bench.until("waking", |bench| bench.power() > 0.95 * points[1].power.get()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(bench.power() < 1.1 * points[1].power.get(), "{} W", bench.power());
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
    bench.until("waking", |bench| bench.power() > 1_600.0).await;
}

#[tokio::test]
async fn the_simulated_miner_with_power_targeting_takes_watts() {
    let (bench, mut driver) = simulated(true, HASHING).await;
    assert_eq!(driver.read().await.unwrap().range, Some((Watts::whole(1_700), Watts::whole(3_400))));
    driver.apply(power(2_345), Urgency::Shed).await.unwrap();
    bench.until("2345 W", |bench| (bench.power() / 2_345.0 - 1.0).abs() < 0.03).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_345)));
    assert_eq!(bench.miner.tally().trespasses, 0);
}

#[tokio::test]
async fn the_faults_of_the_simulated_miner_show() {
    let (bench, mut driver) = simulated(false, HASHING).await;
    bench.inject(Fault::RejectCommands);
    let reason = rejection(driver.apply(Target::Sleep, Urgency::Shed).await);
    assert_eq!(reason, Rejection::Other("Command failed".into()));
    bench.clear(FaultKind::RejectCommands);
    bench.inject(Fault::Garbage);
    for _ in 0..3 {
        assert!(matches!(driver.read().await, Err(DriverError::Malformed { .. })));
    }
    bench.clear(FaultKind::Garbage);
    bench.inject(Fault::Hang);
    assert!(matches!(driver.read().await, Err(DriverError::Timeout { .. })));
    bench.clear(FaultKind::Hang);
    driver.read().await.unwrap();
    bench.inject(Fault::Unreachable);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(driver.read().await, Err(DriverError::Unreachable { .. })));
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Sleep),
        (-100.0..12_000.0_f64).prop_map(|watts| Target::Power(Watts::saturating(watts))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever is asked and whatever the miner answers, nothing but these commands is sent.
    #[test]
    fn only_harmless_commands_are_ever_sent(
        targeting in any::<bool>(),
        steps in proptest::collection::vec((any_target(), 0..6_usize, any::<bool>(), any::<bool>()), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = Miner::start(if targeting { "2026.5" } else { "2025.4" }).await;
            let mut driver = miner.driver();
            for (target, answer, asleep, atm) in steps {
                let refusals = ["Session does not exist", "ATM is on", "no", "already", "curtailed"];
                if let Some(msg) = refusals.get(answer) {
                    for command in ["profileset", "curtail", "powertargetset"] {
                        miner.next(command, no(400, msg));
                    }
                }
                miner.config("CurtailMode", if asleep { "Sleep" } else { "None" });
                miner.config("IsAtmEnabled", atm);
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            driver.close().await;
            miner.state.lock().unwrap().log.clone()
        });
        for line in log {
            let (command, parameter) = line.split_once(' ').unwrap_or((&line, ""));
            let argument = parameter.split_once(',').map_or("", |(_, argument)| argument);
            let fine = match command {
                "logon" | "logoff" | "config" => argument.is_empty(),
                "curtail" => ["sleep", "wakeup"].contains(&argument),
                "profileset" => argument.ends_with("MHz") || ["default", "night-shift"].contains(&argument),
                "powertargetset" => argument.strip_prefix("power=").is_some_and(|watts| watts.parse::<u32>().is_ok()),
                other => other.starts_with("summary+power+config"),
            };
            prop_assert!(fine, "{line}");
            prop_assert!(!["615MHz", "640MHz"].contains(&argument), "never overclocked: {line}");
        }
    }
}
