//! Signs of life for a PLC: written for cycles that have run, and for nothing else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::control::decision::{MinerState, Mode};
use ballast::control::frame::Frame;
use ballast::endpoint::Endpoint;
use ballast::heartbeat::{Heartbeats, Settings, Withheld, judge};
use ballast::miner::drivers::generic::modbus::{Address, Kind, Number};
use tokio::sync::watch;

use crate::metrics_sample;

fn frame(change: impl FnOnce(&mut ballast::control::decision::Decision)) -> Frame {
    let site = metrics_sample::site(10);
    let now = Moment::after_start(Duration::from_secs(60));
    let snapshot = metrics_sample::snapshot(&site, now);
    let mut decision = metrics_sample::decision(&site, now);
    (decision.mode, decision.would_be) = (Mode::Following, Mode::Following);
    for miner in &mut decision.miners {
        miner.state = MinerState::Hashing;
    }
    change(&mut decision);
    Frame { site: Arc::new(site), snapshot: Arc::new(snapshot), decision: Arc::new(decision) }
}

fn settings(address: SocketAddr) -> Settings {
    Settings {
        name: "plc".into(),
        endpoint: Endpoint { host: address.ip().to_string(), port: address.port() },
        unit: 1,
        beat: Address::Holding(100),
        alive: None,
        state: None,
        draw: None,
        setpoint: None,
        period: Duration::from_millis(200),
        timeout: Duration::from_millis(500),
        in_observe: false,
        stops_in_fail_safe: false,
        stops_above_lost: None,
    }
}

/// A PLC: takes single writes and tells of each what was written where.
fn plc() -> (SocketAddr, Receiver<(u8, u16, u16)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, writes) = channel();
    let serve = move |mut stream: TcpStream| {
        let mut request = [0; 12];
        while stream.read_exact(&mut request).is_ok() {
            let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
            let _ = told.send((request[7], word(8), word(10)));
            let _ = stream.write_all(&request);
        }
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
    (address, writes)
}

const SOON: Duration = Duration::from_secs(60);
/// Three periods, in which a beat of its own accord would show.
const WHILE: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_beats_for_each_cycle_that_has_run_and_never_by_itself() {
    let (address, writes) = plc();
    let (cycles, frames) = watch::channel(None);
    let told = Settings { state: Some(Address::Holding(101)), ..settings(address) };
    let mut heartbeats = Heartbeats::start(&[told], Clock::start(), frames);
    let mut values = Vec::new();
    for _ in 0..3 {
        // Cycles go on until one of them is beaten for.
        let beat = loop {
            cycles.send_replace(Some(frame(|_| {})));
            if let Ok(beat) = writes.recv_timeout(Duration::from_millis(50)) {
                break beat;
            }
        };
        assert_eq!((beat.0, beat.1), (6, 100));
        values.push(beat.2);
        assert_eq!(writes.recv_timeout(SOON), Ok((6, 101, 2)), "following");
        // A loop that hangs: the value stands still.
        assert!(writes.recv_timeout(WHILE).is_err(), "nothing is written without a cycle");
    }
    let next = |value: u16| value.checked_add(1).unwrap_or(1);
    assert_eq!(values[1..], [next(values[0]), next(next(values[0]))]);
    let board = heartbeats.board();
    assert_eq!(board.list()[0].1.beats, 3);
    // Nothing is in force while the site starts up: the state is told, without a beat.
    let start_up = || frame(|decision| (decision.mode, decision.would_be) = (Mode::StartUp, Mode::StartUp));
    let state = loop {
        cycles.send_replace(Some(start_up()));
        if let Ok(state) = writes.recv_timeout(Duration::from_millis(50)) {
            break state;
        }
    };
    assert_eq!(state, (6, 101, 1));
    // It is noted once the PLC has answered.
    assert!(writes.recv_timeout(WHILE).is_err());
    assert_eq!(board.list()[0].1.withheld, Some(Withheld::StartUp));
    heartbeats.end();
    cycles.send_replace(Some(frame(|_| {})));
    assert!(writes.recv_timeout(WHILE).is_err(), "after its end nothing is written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coil_is_toggled_and_a_plc_that_is_gone_is_told_of() {
    let (address, writes) = plc();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (cycles, frames) = watch::channel(None);
    let coil = Settings { beat: Address::Coil(3), ..settings(address) };
    let lost = Settings { name: "gone".into(), ..settings(gone) };
    let heartbeats = Heartbeats::start(&[coil, lost], Clock::start(), frames);
    let mut values = Vec::new();
    while values.len() < 4 {
        cycles.send_replace(Some(frame(|_| {})));
        if let Ok((function, at, value)) = writes.recv_timeout(Duration::from_millis(50)) {
            assert_eq!((function, at), (5, 3));
            values.push(value);
        }
    }
    assert!(values.windows(2).all(|pair| pair[0] != pair[1]), "{values:?}");
    assert!(values.iter().all(|value| [0, 0xFF00].contains(value)), "{values:?}");
    let lost = heartbeats.board().list().into_iter().find(|(name, _)| &**name == "gone").unwrap().1;
    assert!(lost.failures > 0 && lost.beats == 0 && lost.error.unwrap().contains("cannot connect"));
}

#[test]
fn it_is_withheld_while_nothing_that_is_decided_is_in_force() {
    let plain = settings(([127, 0, 0, 1], 502).into());
    let of = |settings: &Settings, change: fn(&mut ballast::control::decision::Decision)| {
        let judgement = judge(settings, &frame(change));
        (judgement.withheld, judgement.state)
    };
    assert_eq!(of(&plain, |_| {}), (None, Some(2)));
    // Whoever stands by has no state of its own to tell.
    assert_eq!(of(&plain, |decision| decision.mode = Mode::StandBy).1, None);
    let observe: fn(&mut ballast::control::decision::Decision) = |decision| decision.mode = Mode::Observe;
    assert_eq!(of(&plain, observe), (Some(Withheld::Observe), Some(5)));
    assert_eq!(of(&Settings { in_observe: true, ..plain.clone() }, observe), (None, Some(5)));
    let lost: fn(&mut ballast::control::decision::Decision) =
        |decision| (decision.mode, decision.would_be) = (Mode::FailSafe, Mode::FailSafe);
    assert_eq!(of(&plain, lost), (None, Some(4)));
    assert_eq!(
        of(&Settings { stops_in_fail_safe: true, ..plain.clone() }, lost),
        (Some(Withheld::FailSafe), Some(4))
    );
    // Six of ten alike miners do not answer or do not obey.
    let out: fn(&mut ballast::control::decision::Decision) = |decision| {
        decision.miners.iter_mut().take(3).for_each(|miner| miner.state = MinerState::Unreachable);
        decision.miners.iter_mut().skip(3).take(3).for_each(|miner| miner.state = MinerState::Straggler);
    };
    let half = Settings { stops_above_lost: Some(0.5), ..plain.clone() };
    assert!(matches!(of(&half, out).0, Some(Withheld::Lost(share)) if (share - 0.6).abs() < 1e-9));
    assert_eq!(of(&Settings { stops_above_lost: Some(0.6), ..plain.clone() }, out).0, None);
    assert_eq!(of(&plain, out).0, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn powers_are_told_in_their_unit_and_what_does_not_fit_is_the_highest() {
    let (address, writes) = plc();
    let number =
        |at, scale| Number { address: Address::Holding(at), kind: Kind::U16, scale, low_first: false };
    let told = Settings {
        alive: Some((Address::Coil(7), 1)),
        draw: Some(number(102, 1_000.0)),
        setpoint: Some(number(103, 1.0)),
        ..settings(address)
    };
    let (cycles, frames) = watch::channel(None);
    let _heartbeats = Heartbeats::start(&[told], Clock::start(), frames);
    let mut all = Vec::new();
    while all.len() < 4 {
        cycles.send_replace(Some(frame(|decision| {
            decision.fleet.draw = ballast::units::Watts::kilowatts(412.9);
            decision.fleet.setpoint = ballast::units::Watts::kilowatts(412.9);
        })));
        all.extend(writes.recv_timeout(Duration::from_millis(50)));
    }
    assert_eq!(all[1..4], [(5, 7, 0xFF00), (6, 102, 412), (6, 103, 0xFFFF)]);
}

/// The reference with something else in its heartbeat.
fn reference(from: &str, to: &str) -> Result<ballast::config::Config, String> {
    use ballast::config::{Options, Secrets, load_with, parse};
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/ballast.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    load_with(&path, &options).unwrap_or_else(|errors| panic!("{errors}"));
    parse(&text.replace(from, to), &path, &options).map_err(|errors| errors.to_string())
}

#[test]
fn its_section_is_read_and_mistakes_in_it_are_told() {
    let beat = "beat = { holding = 100 }";
    let read = reference(beat, "beat = { coil = 5 }").unwrap().heartbeats;
    assert_eq!(read[0].endpoint.to_string(), "192.168.30.40:502");
    assert_eq!((read[0].beat, read[0].state), (Address::Coil(5), Some(Address::Holding(101))));
    assert_eq!((read[0].stops_above_lost, read[0].period), (Some(0.5), Duration::from_secs(1)));
    for (from, to, says) in [
        (beat, "", "has no `beat`"),
        (beat, "beat = { holding = 101 }", "two things to holding register 101"),
        (beat, "beat = { discrete = 1 }", "unknown key"),
        (beat, "beat = { coil = 1, holding = 1 }", "needs one address"),
        ("draw = { holding = 102, type = \"u16\"", "draw = { holding = 102, type = \"u32\"", "register 103"),
        ("state = { holding = 101 }", "state = { coil = 9 }", "a coil holds none"),
        ("stops_above_lost = \"50 %\"", "stops_above_lost = \"150 %\"", "stops_above_lost"),
    ] {
        let errors = reference(from, to).map(drop).unwrap_err();
        assert!(errors.contains(says), "{to}: {errors}");
    }
}

#[test]
fn the_emergency_stop_of_a_circuit_is_read_and_mistakes_in_it_are_told() {
    use ballast::control::site::OpensBreaker;
    let stop = "emergency_stop = { meter = \"stop-1\", opens_breaker = \"when-open\" }";
    let read = |to: &str| reference(stop, to);
    let config = read("emergency_stop = { meter = \"stop-1\" }").unwrap();
    let circuit = config.site.circuits.iter().find(|circuit| circuit.emergency_stop.is_some()).unwrap();
    let there = circuit.emergency_stop.unwrap();
    assert_eq!(config.site.meters[there.meter.0].name, "stop-1");
    assert_eq!((circuit.name.as_str(), there.opens_breaker), ("container-1", OpensBreaker::Always));
    let warned = |config: &ballast::config::Config, what: &str| {
        config.warnings.iter().any(|warning| warning.to_string().contains(what))
    };
    assert!(!warned(&config, "`stop-1` is read, but nothing uses it") && !warned(&config, "no coil"));
    let odd = read("emergency_stop = { meter = \"coolant-pump\" }").unwrap();
    assert!(warned(&odd, "no coil or discrete input"), "{:?}", odd.warnings);
    for (to, says) in [
        ("emergency_stop = { meter = \"stop-2\" }", "no meter `stop-2`"),
        ("emergency_stop = {}", "has no `meter`"),
        ("emergency_stop = { meter = \"stop-1\", opens_breaker = \"maybe\" }", "opens_breaker"),
    ] {
        let errors = read(to).map(drop).unwrap_err();
        assert!(errors.contains(says), "{to}: {errors}");
    }
}
