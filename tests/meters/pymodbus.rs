//! Meters read from a Modbus server that nobody here wrote: pymodbus, over TCP, over RTU in TCP and on a serial line.
//!
//! Needs a Python with pymodbus 3.16 or later (and pyserial for the serial line): `python3`, or the one named by
//! `BALLAST_TEST_PYTHON`. Without it the tests say so and pass.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{MeterInput, MeterStatus};
use ballast::endpoint::Endpoint;
use ballast::meter::line::Line;
use ballast::meter::profile::{
    Condition, Effect, Factor, Format, Function, Patterns, Plausible, Point, Profile, Register, Sign,
    WordOrder,
};
use ballast::meter::{Connection, Link, LinkId, Meters, Transport, spawn};
use ballast::units::Watts;
use tokio::time::{sleep, timeout};
use tokio_serial::{SerialPort as _, SerialStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The server's process, ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str], import: &str) -> Option<Server> {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python)
        .args(["-c", &format!("from pymodbus.simulator import SimDevice, SimData{import}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!(
            "SKIPPED: {python} has no pymodbus 3.16 (with pyserial); install it or set BALLAST_TEST_PYTHON"
        );
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pymodbus_server.py");
    let child = Command::new(&python).arg(script).args(arguments).spawn().expect("python starts");
    Some(Server(child))
}

fn register(function: Function, address: u16, format: Format, word_order: WordOrder, scale: f64) -> Register {
    Register { function, address, format, word_order, scale, ..Register::default() }
}

fn meter(unit: u8, terms: Vec<Register>) -> Connection {
    Connection {
        link: LinkId(0),
        unit,
        profile: Profile { name: "test".into(), power: Point::of(terms), ..Profile::default() },
        invert: false,
        plausible: None,
        frozen_after: None,
        stale_after: Duration::from_secs(5),
        period: Duration::from_millis(100),
    }
}

/// Waits for good readings of a meter and collects different values.
async fn values(meters: &mut Meters, index: usize, count: usize) -> Vec<f64> {
    let input = meters.inputs.get_mut(index).unwrap();
    let mut values: Vec<f64> = Vec::new();
    let collect = async {
        while values.len() < count {
            let state: MeterInput = *input.borrow_and_update();
            let value = state.power.map(|reading| reading.value.get());
            if let Some(value) = value.filter(|value| values.iter().all(|known| (known - value).abs() > 1e-9))
            {
                values.push(value);
            }
            input.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(60), collect).await.expect("values in time");
    values
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_foreign_server_is_read_to_the_last_bit() {
    let port = free_port();
    let Some(_server) = start(&[&port.to_string()], "") else { return };
    read_all(Transport::Tcp(Endpoint { host: "localhost".into(), port })).await;
}

#[tokio::test]
async fn a_foreign_server_is_read_over_rtu_in_tcp() {
    let port = free_port();
    let Some(_server) = start(&[&port.to_string(), "rtu"], "") else { return };
    let line = Line { baud: 19_200, ..Line::default() };
    read_all(Transport::RtuOverTcp(Endpoint { host: "localhost".into(), port }, line)).await;
}

/// Two pseudo-terminals, joined at their backs: a cable.
#[tokio::test]
async fn a_foreign_server_is_read_over_a_serial_line() {
    let Some((_server, transport)) = serial().await else { return };
    read_all(transport).await;
}

/// What a profile can say beside a number: the sign, a ratio and a power of ten in registers of their own, in either
/// table, digits, and whether the meter is there at all.
#[tokio::test]
async fn what_stands_beside_a_value_is_read_from_a_foreign_server() {
    let port = free_port();
    let Some(_server) = start(&[&port.to_string()], "") else { return };
    let link = Link {
        name: "pymodbus".into(),
        transport: Transport::Tcp(Endpoint { host: "localhost".into(), port }),
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_millis(400),
        connect_delay: Duration::ZERO,
        numbered: true,
        gap: Duration::from_millis(5),
    };
    let plain = |function, address, format| register(function, address, format, WordOrder::HighFirst, 1.0);
    let pattern = |bits| Patterns { mask: 0xFFFF, any_of: vec![bits] };
    let signed = Register {
        sign: Some(Sign { address: 0x12, positive: pattern(0), negative: pattern(1) }),
        factors: vec![
            Factor { register: plain(Function::Holding, 0x20, Format::U16), effect: Effect::Multiply },
            Factor { register: plain(Function::Input, 0x30, Format::I16), effect: Effect::PowerOfTen },
        ],
        ..plain(Function::Input, 0x10, Format::U32)
    };
    let there = |is: u64| Condition {
        register: plain(Function::Holding, 0x60, Format::U16),
        patterns: pattern(is),
        good: true,
    };
    let mut meters = [
        signed,
        plain(Function::Holding, 0x40, Format::Bcd32),
        plain(Function::Holding, 0x50, Format::F16),
        plain(Function::Holding, 0x40, Format::Bcd32),
    ]
    .map(|term| meter(10, vec![term]));
    meters[1].profile.only_if(&there(1));
    meters[3].profile.only_if(&there(2));
    let cancel = CancellationToken::new();
    let names = ["signed", "digits", "half", "gone"];
    let mut meters = spawn(&[link], &meters, &names, Clock::start(), &cancel, &TaskTracker::new());
    for (index, expected) in [-12_000.0, 12_345_678.0, 1.5].into_iter().enumerate() {
        let found = values(&mut meters, index, 1).await;
        assert!((found[0] - expected).abs() < 1e-9, "{index}: {found:?}");
    }
    let gone = meters.inputs.get_mut(3).unwrap();
    let status =
        timeout(Duration::from_secs(60), gone.wait_for(|input| input.status != MeterStatus::Pending));
    let input = *status.await.unwrap().unwrap();
    assert_eq!((input.status, input.power), (MeterStatus::Unavailable, None));
    cancel.cancel();
}

async fn serial() -> Option<(Server, Transport)> {
    let (mut our_back, mut our_end) = SerialStream::pair().unwrap();
    let (mut its_back, its_end) = SerialStream::pair().unwrap();
    // Of the port that the meters open there can be one only; still, one must be open, or the line ends.
    our_end.set_exclusive(false).unwrap();
    let our_name = our_end.name().unwrap();
    let held = std::fs::File::open(&our_name).unwrap();
    drop(our_end);
    let server = start(&[&its_end.name().unwrap()], "; import serial")?;
    tokio::spawn(async move {
        let copied = tokio::io::copy_bidirectional(&mut our_back, &mut its_back).await;
        drop((held, its_end));
        copied
    });
    let line = Line { baud: 19_200, ..Line::default() };
    Some((server, Transport::Rtu(our_name, line)))
}

#[tokio::test(flavor = "multi_thread")]
async fn late_answers_of_a_foreign_server_are_never_taken_for_others_over_tcp() {
    let port = free_port();
    let Some(_server) = start(&[&port.to_string()], "") else { return };
    late(Transport::Tcp(Endpoint { host: "localhost".into(), port }), &[6, 7, 8], 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_answers_of_a_foreign_server_are_never_taken_for_others_over_rtu_in_tcp() {
    let port = free_port();
    let Some(_server) = start(&[&port.to_string(), "rtu"], "") else { return };
    let line = Line { baud: 115_200, ..Line::default() };
    late(Transport::RtuOverTcp(Endpoint { host: "localhost".into(), port }, line), &[6, 7, 8], 150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_answers_of_a_foreign_server_are_never_taken_for_others_on_a_serial_line() {
    // One unit on each line: when pymodbus is asked something else while an answer is late, it puts the unit of the
    // new request into the late answer, and then nobody can tell whose it is. Real units know their own number.
    let Some((_one, first)) = serial().await else { return };
    let Some((_other, second)) = serial().await else { return };
    tokio::join!(late(first, &[6], 75), late(second, &[7], 75));
}

/// Two registers of one unit, either of which would pass for the other, while every fifth answer comes behind its
/// timeout. A value that is not the meter's own counts as implausible; so none slips by unseen.
async fn late(transport: Transport, units: &[u8], rounds: u64) {
    let link = Link {
        name: "pymodbus".into(),
        transport,
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_millis(60),
        connect_delay: Duration::ZERO,
        numbered: true,
        gap: Duration::from_millis(1),
    };
    let own = |unit, address, value| {
        let terms = vec![register(Function::Input, address, Format::F32, WordOrder::HighFirst, 1.0)];
        let plausible = Some(Plausible { low: Watts::whole(value - 1), high: Watts::whole(value + 1) });
        Connection { plausible, period: Duration::from_millis(10), ..meter(unit, terms) }
    };
    // On one link the units disturb each other, which is worse than a link for each.
    let connections: Vec<Connection> =
        units.iter().flat_map(|unit| [own(*unit, 10, 1_000_000), own(*unit, 20, -900_000)]).collect();
    let cancel = CancellationToken::new();
    let names = ["left-6", "right-6", "left-7", "right-7", "left-8", "right-8"];
    let meters = spawn(&[link], &connections, &names, Clock::start(), &cancel, &TaskTracker::new());
    let sum = |result: &str| meters.counters.iter().map(|counters| counters.reads_of(result)).sum::<u64>();
    let enough = async {
        while sum("ok") < rounds || sum("unreachable") < rounds / 15 {
            sleep(Duration::from_millis(50)).await;
            assert_eq!(sum("implausible"), 0, "the value of another register");
        }
    };
    let ended = timeout(Duration::from_secs(60), enough).await;
    println!("good {}, late {}, broken {}", sum("ok"), sum("unreachable"), sum("malformed"));
    ended.expect("rounds in time");
    cancel.cancel();
}

async fn read_all(transport: Transport) {
    let serial = transport.line().is_some();
    let link = Link {
        name: "pymodbus".into(),
        transport,
        connect_timeout: Duration::from_secs(1),
        timeout: Duration::from_millis(400),
        connect_delay: Duration::ZERO,
        numbered: true,
        gap: Duration::from_millis(5),
    };
    let (high, low) = (WordOrder::HighFirst, WordOrder::LowFirst);
    let connections = [
        meter(1, vec![register(Function::Input, 0x34, Format::F32, high, 1.0)]),
        meter(
            2,
            vec![
                register(Function::Holding, 0x28, Format::I32, low, 0.1),
                register(Function::Holding, 0x2A, Format::I32, low, -0.1),
            ],
        ),
        meter(3, vec![register(Function::Input, 0, Format::U16, high, 1.0)]),
        meter(4, vec![register(Function::Input, 0, Format::U16, high, 1.0)]),
        meter(
            5,
            vec![
                register(Function::Input, 0, Format::U16, high, 1.0),
                register(Function::Input, 1, Format::U16, high, 1.0),
            ],
        ),
        meter(9, vec![register(Function::Input, 0, Format::U16, high, 1.0)]),
    ];
    let names = ["float", "integers", "busy", "late", "single", "lost"];
    let cancel = CancellationToken::new();
    let tracker = TaskTracker::new();
    let mut meters = spawn(&[link], &connections, &names, Clock::start(), &cancel, &tracker);

    let mut floats = values(&mut meters, 0, 3).await;
    floats.sort_by(f64::total_cmp);
    assert_eq!(floats, [-300.25, 1200.5, 15_750_000.0]);
    let sum = values(&mut meters, 1, 1).await;
    assert!(sum.iter().all(|value| (value + 12_445.6).abs() < 1e-9), "{sum:?}");
    assert_eq!(values(&mut meters, 2, 1).await, [77.0]);
    assert_eq!(values(&mut meters, 3, 1).await, [88.0]);
    assert_eq!(values(&mut meters, 4, 1).await, [42.0]);

    sleep(Duration::from_secs(2)).await;
    let reads = |index: usize, result| meters.counters.get(index).unwrap().reads_of(result);
    if serial {
        // Answers in doubt are thrown away, exceptions among them; and every third is late, also in the recovery.
        assert!(reads(2, "exception") <= 3 && reads(3, "unreachable") > 0);
    } else {
        assert_eq!(reads(2, "exception"), 3, "busy three times");
        assert!(reads(3, "unreachable") > 0 && reads(3, "ok") > 2, "late now and then");
    }
    assert_eq!(reads(4, "exception"), 0, "split at once");
    assert_eq!(meters.inputs.last().unwrap().borrow().status, MeterStatus::Exception(11));
    let malformed: u64 = (0..6).map(|index| reads(index, "malformed")).sum();
    assert_eq!(malformed, 0);
    for (name, counters) in names.iter().zip(&meters.counters) {
        println!("{name}: {:?}", counters.reads());
    }

    cancel.cancel();
    tracker.close();
    timeout(Duration::from_secs(60), tracker.wait()).await.expect("the tasks end");
}
