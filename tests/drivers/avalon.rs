//! The Avalon driver against a small cgminer server, and against the simulated miner.

use crate::drivers_sim;
use crate::drivers_support;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::avalon::Avalon;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency};
use ballast::units::{Hashrate, Watts};
use drivers_sim::Sim;
use drivers_support::{
    MISBEHAVIOURS, Misbehaviour, PASSWORD, connection, fixture, misbehaving, nobody, power, rejection,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[derive(Default)]
struct State {
    answers: HashMap<String, Vec<u8>>,
    /// Answers to the next `ascset`s, in order; none closes without a word.
    commands: VecDeque<Vec<u8>>,
    swallow: bool,
    open: u32,
    most_open: u32,
    log: Vec<String>,
}

#[derive(Clone)]
struct Miner {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Miner {
    async fn start(model: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let miner = Self { state: Arc::default(), address };
        miner.answer("estats", fixture(&format!("avalon/{model}/estats.json")));
        miner.answer("version", r#"{"STATUS":[{"STATUS":"S","When":1792044000}],"VERSION":[{}]}"#);
        let state = Arc::clone(&miner.state);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move {
                    {
                        let mut state = state.lock().unwrap();
                        state.open += 1;
                        state.most_open = state.most_open.max(state.open);
                    }
                    let mut request = [0; 512];
                    let count = stream.read(&mut request).await.unwrap_or(0);
                    let Ok(request) = serde_json::from_slice::<Value>(&request[..count]) else {
                        return;
                    };
                    let answer = state.lock().unwrap().answer(&request);
                    match answer {
                        Some(answer) => {
                            let _ = stream.write_all(&answer).await;
                        }
                        None => tokio::time::sleep(Duration::from_secs(10)).await,
                    }
                    state.lock().unwrap().open -= 1;
                });
            }
        });
        miner
    }

    fn driver(&self) -> Avalon {
        Avalon::new(&connection(DriverKind::Avalon, self.address))
    }

    fn answer(&self, command: &str, bytes: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().answers.insert(command.to_owned(), bytes.into());
    }

    /// Changes the text of the module.
    fn module(&self, model: &str, change: &[(&str, &str)]) {
        let mut text = String::from_utf8(fixture(&format!("avalon/{model}/estats.json"))).unwrap();
        for (from, to) in change {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        self.answer("estats", text);
    }

    fn command(&self, letter: &str, code: u32, message: &str) {
        let answer = json!({"STATUS": [{"STATUS": letter, "When": 1_792_044_000, "Code": code, "Msg": message}], "id": 1});
        self.state.lock().unwrap().commands.push_back(answer.to_string().into_bytes());
    }

    fn commands(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.log.iter().filter_map(|line| line.strip_prefix("ascset ").map(str::to_owned)).collect()
    }
}

impl State {
    fn answer(&mut self, request: &Value) -> Option<Vec<u8>> {
        let command = request["command"].as_str().unwrap().to_owned();
        let parameter = request["parameter"].as_str().unwrap_or_default();
        self.log.push(format!("{command} {parameter}").trim_end().to_owned());
        if command == "ascset" {
            if self.swallow {
                return None;
            }
            return Some(self.commands.pop_front().unwrap_or_default());
        }
        let unknown = br#"{"STATUS":[{"STATUS":"E","When":1,"Code":14,"Msg":"Invalid command"}],"id":1}"#;
        Some(self.answers.get(&command).cloned().unwrap_or(unknown.to_vec()))
    }
}

#[tokio::test]
async fn every_generation_is_read_and_only_the_wall_counts_as_power() {
    for (model, watts, gigahashes, seconds, objective) in [
        ("a1246", Some(3_455), 85_210.5, 24_684, Some(3_150)),
        ("q", Some(1_670), 93_210.25, 117_595, Some(1_600)),
        ("nano3s", Some(66), 6_021.44, 4_021, Some(140)),
    ] {
        let miner = Miner::start(model).await;
        let status = miner.driver().read().await.unwrap();
        assert_eq!(status.power, Measured::Value(Watts::whole(watts.unwrap())), "{model}");
        assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(gigahashes * 1e9)), "{model}");
        assert_eq!(status.activity, Activity::Hashing, "{model}");
        assert_eq!(status.target, Measured::Value(power(objective.unwrap())), "{model}");
        assert_eq!(status.uptime, Some(Duration::from_secs(seconds)), "{model}");
        assert_eq!((status.range, status.points), (None, None));
    }
    // Six values of the supply: the last is the board's power, and averages since the start are no hashrate.
    let miner = Miner::start("a1066").await;
    miner.answer("summary", fixture("avalon/a1066/summary.json"));
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.power, Measured::Unsupported);
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(51_200_000.5 * 1e6)));
    assert_eq!((status.activity, status.target), (Activity::Hashing, Measured::Unavailable));
}

#[tokio::test]
async fn a_stopped_miner_is_asleep_and_one_with_an_error_is_not() {
    let miner = Miner::start("a1246").await;
    miner.answer("estats", fixture("avalon/a1246/estats_off.json"));
    let status = miner.driver().read().await.unwrap();
    assert_eq!(status.activity, Activity::Asleep);
    assert_eq!(status.target, Measured::Value(Target::Sleep));
    assert_eq!(status.power, Measured::Value(Watts::whole(46)));
    let idle = ("Work: In Work", "Work: In Idle");
    let still = ("GHSspd[85210.50]", "GHSspd[0.00]");
    for (changes, expected) in [
        (vec![idle, still, ("ECHU[0 0 0]", "ECHU[513 0 0]")], Activity::Fault("ECHU 513 0 0".into())),
        (vec![idle, still], Activity::Starting),
        (vec![still], Activity::Starting),
        (vec![("Work: In Work", "Work: In Init")], Activity::Starting),
        // A miner that says nothing of its work is known by its hashrate.
        (vec![("SYSTEMSTATU[Work: In Work, Hash Board: 3 ]", "")], Activity::Hashing),
    ] {
        miner.module("a1246", &changes);
        assert_eq!(miner.driver().read().await.unwrap().activity, expected, "{changes:?}");
    }
    // Two modules draw together.
    let mut both: Value = serde_json::from_slice(&fixture("avalon/a1246/estats.json")).unwrap();
    both["STATS"][0]["MM ID1"] = both["STATS"][0]["MM ID0"].clone();
    miner.answer("estats", both.to_string());
    assert_eq!(miner.driver().read().await.unwrap().power, Measured::Value(Watts::whole(6_910)));
}

#[tokio::test]
async fn on_and_off_take_effect_by_the_miners_own_clock() {
    // One that counts its clock from the start.
    let miner = Miner::start("a1066").await;
    miner.answer("summary", fixture("avalon/a1066/summary.json"));
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    miner.command("I", 118, "ASC 0 set info: success softoff:6401");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    assert_eq!(miner.commands(), ["0,softoff,1:6401"]);
    // One whose clock is not known yet.
    let miner = Miner::start("a1246").await;
    let mut driver = miner.driver();
    for _ in 0..2 {
        miner.command("S", 119, "ASC 0 set OK");
    }
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    // The effect does not show yet; the command counts.
    assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing);
    driver.apply(power(3_300), Urgency::Normal).await.unwrap();
    assert_eq!(miner.commands(), ["0,softoff,1:1792044003", "0,softon,1:1792044003"]);
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(3_300)));
    assert_eq!(miner.state.lock().unwrap().most_open, 1);
    // A clock that was read long ago is read again.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(120)).await;
    tokio::time::resume();
    miner.command("I", 118, "ASC 0 set info: success softoff");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    let log = miner.state.lock().unwrap().log.clone();
    assert_eq!(log.iter().filter(|line| *line == "version").count(), 2);
}

#[tokio::test]
async fn an_awake_miner_has_one_power_and_is_sent_nothing() {
    let miner = Miner::start("a1246").await;
    let mut driver = miner.driver();
    for watts in [3_300, 1_000, 9_000] {
        driver.apply(power(watts), Urgency::Shed).await.unwrap();
        assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(watts)));
    }
    assert_eq!(miner.commands(), Vec::<String>::new());
    // Somebody changed its work mode.
    miner.module("a1246", &[("MPO[3150]", "MPO[2600]")]);
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(2_600)));
}

#[tokio::test]
async fn every_refusal_has_its_reason_and_is_not_repeated() {
    for (code, message, reason) in [
        (45, "Access denied to 'ascset' command", Rejection::WriteDisabled),
        (14, "Invalid command", Rejection::Unsupported),
        (120, "ASC 0 set failed: Unknown option: softoff", Rejection::Unsupported),
        (120, "ASC 0 set failed: current mode 0 is caling Don't permit switch mode", Rejection::WrongState),
        (120, "ASC 0 set failed: on fire", Rejection::Other("ASC 0 set failed: on fire".into())),
    ] {
        let miner = Miner::start("a1246").await;
        miner.command("E", code, message);
        let result = miner.driver().apply(Target::Sleep, Urgency::Shed).await;
        assert_eq!(rejection(result), reason, "{message}");
        assert_eq!(miner.commands().len(), 1);
    }
}

#[tokio::test]
async fn a_command_without_an_answer_is_unknown_and_not_said_again() {
    let miner = Miner::start("a1246").await;
    let mut driver = miner.driver();
    driver.read().await.unwrap();
    // Some firmware closes after `softon` without a word.
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
    miner.state.lock().unwrap().swallow = true;
    let error = driver.apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Timeout { .. }), "{error}");
    assert!(!format!("{error:?}").contains(PASSWORD));
    assert_eq!(miner.commands().len(), 2);
}

#[tokio::test]
async fn answers_of_the_wrong_shape_are_malformed() {
    let ok = r#""STATUS":[{"STATUS":"S","When":1}]"#;
    for body in [
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\u{0}".to_owned(),
        r#"{"STATUS":[{"STATUS":"?"}]}"#.to_owned(),
        format!("{{{ok}}}"),
        "[".repeat(100_000),
        format!("{{\"a\":\"{}\"}}", "x".repeat(2_000_000)),
    ] {
        let miner = Miner::start("a1246").await;
        miner.answer("estats", body.clone());
        let error = miner.driver().read().await.unwrap_err();
        assert!(matches!(error, DriverError::Malformed { .. }), "{body:.60}: {error}");
    }
    let miner = Miner::start("a1246").await;
    miner.answer("estats", b"\xff\xfe\x80{}".to_vec());
    assert!(matches!(miner.driver().read().await, Err(DriverError::Malformed { .. })));
    // A miner that does not say its time cannot be told when.
    miner.answer("version", r#"{"STATUS":[{"STATUS":"S","When":"now"}]}"#);
    let error = miner.driver().apply(Target::Sleep, Urgency::Shed).await.unwrap_err();
    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
    assert_eq!(miner.commands().len(), 0);
    // Numbers that are none, as cgminer prints them, do no harm.
    let text = String::from_utf8(fixture("avalon/a1246/estats.json")).unwrap();
    miner.answer(
        "estats",
        text.replace("\"Wait\": 0.0", "\"Wait\":nan").replace("\"Max\": 0.0", "\"Max\":-inf"),
    );
    assert_eq!(miner.driver().read().await.unwrap().activity, Activity::Hashing);
}

#[tokio::test]
async fn a_misbehaving_server_costs_one_time_limit_at_most() {
    for how in MISBEHAVIOURS {
        let mut driver = Avalon::new(&connection(DriverKind::Avalon, misbehaving(how).await));
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
    let mut driver = Avalon::new(&connection(DriverKind::Avalon, nobody().await));
    let error = driver.read().await.unwrap_err();
    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
}

/// A simulated miner of this seed goes off and on.
async fn goes_off_and_on(seed: u64) {
    let points = [(1_700.0, 92.0), (3_400.0, 170.0)];
    let sim = Sim::start(DriverKind::Avalon, seed, "127.0.0.1", 0, &points).await;
    let mut driver = sim.driver();
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing);
    let watts = status.power.value().unwrap().get();
    assert!((watts / sim.power() - 1.0).abs() < 0.03, "{watts}");
    driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    sim.settles(0.0, 100.0).await;
    assert_eq!(driver.read().await.unwrap().activity, Activity::Asleep);
    driver.apply(power(3_400), Urgency::Normal).await.unwrap();
    sim.settles(3_250.0, 3_600.0).await;
    let tally = sim.miner.tally();
    assert_eq!((tally.trespasses, tally.restarts, tally.refused), (0, 0, 0));
    driver.close().await;
}

#[tokio::test]
async fn the_simulated_miner_goes_off_and_on_whatever_its_clock() {
    // Clocks that count from the start, and clocks that are hours off.
    tokio::join!(goes_off_and_on(1), goes_off_and_on(2), goes_off_and_on(3), goes_off_and_on(4));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever is asked, in whatever order and whatever the miner answers, nothing but these commands is sent.
    #[test]
    fn only_harmless_commands_are_ever_sent(
        steps in proptest::collection::vec((any::<Option<i16>>(), 0..4_usize, any::<bool>()), 1..10)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let miner = Miner::start("a1246").await;
            let mut driver = miner.driver();
            for (watts, answer, off) in steps {
                miner.command(["S", "I", "E", "?"][answer], 118, "ASC 0 set info");
                let file = if off { "avalon/a1246/estats_off.json" } else { "avalon/a1246/estats.json" };
                miner.answer("estats", fixture(file));
                let target = watts.map_or(Target::Sleep, |watts| power(i32::from(watts)));
                let _ = driver.apply(target, Urgency::Shed).await;
                let _ = driver.read().await;
            }
            miner.state.lock().unwrap().log.clone()
        });
        for line in log {
            let reads = ["version", "estats", "summary"].contains(&line.as_str());
            let switches = line.starts_with("ascset 0,softoff,1:") || line.starts_with("ascset 0,softon,1:");
            prop_assert!(reads || switches, "{line}");
        }
    }
}
