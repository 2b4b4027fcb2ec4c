//! Our Modbus TCP server: a terminal writes its registers, and the measured power of a simulated site follows.

use crate::signals_push;

use std::net::SocketAddr;
use std::time::Duration;

use ballast::sim::rtu::{Script, Terminal};
use signals_push::{Bench, OPERATOR, host};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::client::{Context, Reader, Writer, tcp};

/// What the terminal is told of the site.
fn utility(number: u8, more: &str) -> (SocketAddr, String) {
    let listen = format!("{}:1502", host(number, 1)).parse().unwrap();
    let text = format!(
        "[signals.utility]\nkind = \"modbus-server\"\nlisten = \"{listen}\"\ncircuit = \"pcc\"\nfail_safe = \"25 kW\"\n\
         lost_after = \"2s\"\n{more}\n\
         [web.tokens.operator]\ntoken = {{ file = \"operator.token\" }}\nscopes = [\"operator\"]\n"
    );
    (listen, text)
}

async fn connect(address: SocketAddr) -> Context {
    for _ in 0..1_200 {
        if let Ok(context) = tcp::connect(address).await {
            return context;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody listens at {address}");
}

async fn write(context: &mut Context, start: u16, words: &[u16]) -> Result<(), u8> {
    context.write_multiple_registers(start, words).await.unwrap().map_err(|code| code.into())
}

async fn telemetry(context: &mut Context) -> Vec<u16> {
    context.read_input_registers(100, 14).await.unwrap().unwrap()
}

/// 32 bits, high word first.
fn number(words: &[u16]) -> u32 {
    (u32::from(words[0]) << 16) | u32::from(words[1])
}

fn signed(words: &[u16]) -> i32 {
    i32::from_be_bytes(number(words).to_be_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_order_brings_the_measured_power_down_and_reads_back() {
    let (address, text) = utility(51, "");
    let bench = Bench::start(51, &text).await;
    let mut rtu = connect(address).await;
    let words = telemetry(&mut rtu).await;
    assert_eq!(
        (number(&words[0..2]), words[12], words[13]),
        (25_000, 1, 1),
        "until it is heard, the fail-safe"
    );
    // 40 kW, enabled, first beat, no emergency.
    write(&mut rtu, 0, &[0, 40_000, 1, 1, 0]).await.unwrap();
    bench.until("its limit holds", 60, |_| bench.cap() == Some(40.0)).await;
    bench.eventually("everything runs", 60, || bench.import() > 34.0).await;
    // Heartbeats keep it; a smaller limit brings the site down.
    let mut beat = 2;
    write(&mut rtu, 3, &[beat]).await.unwrap();
    write(&mut rtu, 0, &[0, 28_000]).await.unwrap();
    for _ in 0..24 {
        beat += 1;
        write(&mut rtu, 3, &[beat]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(bench.import() < 28.0, "{}", bench.import());
    assert_eq!(bench.binding(), "utility");
    let words = telemetry(&mut rtu).await;
    let power = f64::from(signed(&words[2..4])) / 1e3;
    assert!((power - bench.import()).abs() < 1.5, "{power} is told, {} flows", bench.import());
    let shed = f64::from(number(&words[4..6])) / 1e3;
    assert!((10.0..18.5).contains(&shed), "{shed}");
    assert_eq!((number(&words[0..2]), words[6], words[7], words[8]), (28_000, 2, 2, 0), "{words:?}");
    assert_eq!(number(&words[9..11]), 0, "no shortfall");
    assert!(words[11] <= 1, "seconds since it was heard: {}", words[11]);
    assert_eq!(rtu.read_holding_registers(0, 5).await.unwrap().unwrap(), [0, 28_000, 1, beat, 0]);
    // An emergency on top of it, and no limit at all.
    write(&mut rtu, 4, &[1]).await.unwrap();
    bench.until("the emergency cap holds", 60, |_| bench.cap() == Some(0.0)).await;
    write(&mut rtu, 2, &[0, beat + 1, 0]).await.unwrap();
    bench.until("nothing caps", 60, |_| bench.cap().is_none()).await;
    assert_eq!(telemetry(&mut rtu).await[6], 1, "controlled");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_loss_is_a_counter_that_stands_still_and_a_counter_alone_gives_no_control_back() {
    let (address, text) = utility(52, "");
    let bench = Bench::start(52, &text).await;
    // A terminal whose program hangs while its communication goes on: the same block over and over.
    let script =
        Script { period: Duration::from_millis(200), limit: 40_000, stuck_after: 5, ..Script::default() };
    let terminal = Terminal::start(address, script);
    bench.until("its limit holds", 60, |_| bench.cap() == Some(40.0)).await;
    bench.until("the counter is seen to stand still", 60, |_| bench.cap() == Some(25.0)).await;
    bench.eventually("the import is below the fail-safe", 60, || bench.import() < 25.0).await;
    assert!(terminal.written() > 12, "it has written on: {}", terminal.written());
    drop(terminal);
    let mut rtu = connect(address).await;
    assert_eq!(telemetry(&mut rtu).await[6], 4, "failsafe");
    for beat in 900..906 {
        write(&mut rtu, 3, &[beat]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(bench.cap(), Some(25.0), "alive is not in control");
    write(&mut rtu, 0, &[0, 40_000]).await.unwrap();
    bench.until("the limit rules again", 60, |_| bench.cap() == Some(40.0)).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_outage_of_the_terminal_brings_the_fail_safe_and_keeps_a_tighter_limit() {
    let (address, text) = utility(53, "");
    let bench = Bench::start(53, &text).await;
    let script = Script { period: Duration::from_millis(200), limit: 20_000, ..Script::default() };
    let terminal = Terminal::start(address, script);
    bench.until("its limit holds", 60, |_| bench.cap() == Some(20.0)).await;
    drop(terminal);
    tokio::time::sleep(Duration::from_millis(2_600)).await;
    bench.until("it is lost", 60, |frame| frame.snapshot.orders.len() > 1).await;
    assert_eq!(
        bench.cap(),
        Some(20.0),
        "what was in force does not loosen, although the fail-safe is higher"
    );
    let script = Script { period: Duration::from_millis(200), limit: 40_000, ..Script::default() };
    let _terminal = Terminal::start(address, script);
    bench.until("it is back", 60, |_| bench.cap() == Some(40.0)).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_restart_stands_at_the_fail_safe_until_the_terminal_writes_a_limit() {
    let (address, text) = utility(54, "");
    let mut bench = Bench::start(54, &text).await;
    let mut rtu = connect(address).await;
    write(&mut rtu, 0, &[0, 40_000, 1, 1, 0]).await.unwrap();
    bench.until("its limit holds", 60, |_| bench.cap() == Some(40.0)).await;
    bench.restart().await;
    let mut rtu = connect(address).await;
    write(&mut rtu, 3, &[2]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.cap(), Some(25.0), "alive, and has not said what holds");
    // It speaks, but not of a limit: what held without a word still holds.
    write(&mut rtu, 4, &[0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.cap(), Some(25.0));
    write(&mut rtu, 0, &[0, 40_000]).await.unwrap();
    bench.until("its limit holds", 60, |_| bench.cap() == Some(40.0)).await;
    // A reload is no restart: what was ordered goes on, and the port is open again.
    bench.daemon.reload(bench.config.clone()).await.unwrap();
    let mut rtu = connect(address).await;
    assert_eq!(rtu.read_holding_registers(0, 3).await.unwrap().unwrap(), [0, 40_000, 1]);
    assert_eq!(bench.cap(), Some(40.0));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_bad_value_is_an_exception_and_the_limit_before_stays() {
    let (address, text) = utility(55, "");
    let bench = Bench::start(55, &text).await;
    let mut rtu = connect(address).await;
    write(&mut rtu, 0, &[0, 40_000, 1, 1, 0]).await.unwrap();
    for (start, words, code) in [
        (0, &[0xFFFF, 0xFFFF][..], 3),
        (0, &[0x00FF, 0], 3),
        (2, &[2], 3),
        (4, &[7], 3),
        (0, &[0, 30_000, 9, 2, 0], 3),
        (5, &[1], 2),
        (100, &[1], 2),
        (3, &[1, 0, 0], 2),
    ] {
        assert_eq!(write(&mut rtu, start, words).await, Err(code), "{words:?} from {start} on");
    }
    assert_eq!(rtu.read_holding_registers(0, 5).await.unwrap().unwrap(), [0, 40_000, 1, 1, 0]);
    assert_eq!(rtu.read_holding_registers(0, 6).await.unwrap().map_err(u8::from), Err(2));
    assert_eq!(rtu.read_coils(0, 1).await.unwrap().map_err(u8::from), Err(1));
    // The state is that of the latest cycle.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.cap(), Some(40.0), "the limit before stands");
    let words = telemetry(&mut rtu).await;
    assert_eq!((words[6], words[7], words[8]), (3, 1, 8), "degraded; accepted and refused");
    // Two single writes are one limit, taken with the low word.
    rtu.write_single_register(0, 0).await.unwrap().unwrap();
    assert_eq!(telemetry(&mut rtu).await[7], 1);
    rtu.write_single_register(1, 30_000).await.unwrap().unwrap();
    bench.until("the new limit holds", 60, |_| bench.cap() == Some(30.0)).await;
    assert_eq!(telemetry(&mut rtu).await[6], 2, "limited, and sound again");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_duplicate_is_a_sign_of_life_and_no_new_order() {
    let (address, text) = utility(56, "");
    let bench = Bench::start(56, &text).await;
    let mut rtu = connect(address).await;
    let revision = async || {
        let (_, answer) = bench.ask("GET", "limits/limit?source=utility", OPERATOR, None).await;
        answer["revision"].as_u64().unwrap()
    };
    write(&mut rtu, 0, &[0, 40_000]).await.unwrap();
    let first = revision().await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        write(&mut rtu, 0, &[0, 40_000]).await.unwrap();
        assert_eq!(bench.cap(), Some(40.0), "it lives");
    }
    assert_eq!(revision().await, first);
    write(&mut rtu, 0, &[0, 41_000]).await.unwrap();
    assert!(revision().await > first);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_clock_skew_cannot_be_for_registers_carry_no_time() {
    let (address, text) = utility(57, "scale = \"1 kW\"\nclock_tolerance = \"1s\"");
    let bench = Bench::start(57, &text).await;
    let mut rtu = connect(address).await;
    // A limit has neither beginning nor end: it holds from its write on. In kilowatts one register is enough.
    rtu.write_single_register(1, 40).await.unwrap().unwrap();
    bench.until("it holds", 60, |_| bench.cap() == Some(40.0)).await;
    let words = telemetry(&mut rtu).await;
    assert_eq!((number(&words[0..2]), words[6], words[12]), (40, 2, 1_000), "limited, not degraded");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_lets_in_only_whom_it_knows_and_never_too_many() {
    let (address, text) =
        utility(58, &format!("clients = [\"127.0.0.1\", \"{}/32\"]\nidle_timeout = \"1s\"", host(58, 200)));
    let bench = Bench::start(58, &text).await;
    let from = async |ip: &str| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        socket.connect(address).await.unwrap()
    };
    let mut known = tcp::attach(from(&host(58, 200)).await);
    write(&mut known, 0, &[0, 40_000]).await.unwrap();
    let mut stranger = tcp::attach(from(&host(58, 201)).await);
    assert!(stranger.write_multiple_registers(0, &[0, 0]).await.is_err(), "turned away");
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(bench.cap(), Some(40.0), "the stranger orders nothing");
    }
    // Eight that say nothing, and the ninth still gets in. Garbage and silence end a connection.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(from("127.0.0.1").await);
    }
    let mut ninth = tcp::attach(from("127.0.0.1").await);
    write(&mut ninth, 0, &[0, 41_000]).await.unwrap();
    let mut garbage = from("127.0.0.1").await;
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(60), garbage.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "{rest:?}");
    let mut last: TcpStream = silent.pop().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), last.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.is_empty(), "silence ends a connection");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_listens_as_soon_as_its_port_is_free() {
    let (address, text) = utility(59, "");
    let taken = TcpListener::bind(address).await.unwrap();
    let bench = Bench::start(59, &text).await;
    bench.until("the fail-safe stands", 60, |_| bench.cap() == Some(25.0)).await;
    drop(taken);
    let mut rtu = None;
    for _ in 0..1_200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if let Ok(context) = tcp::connect(address).await {
            rtu = Some(context);
            break;
        }
    }
    write(&mut rtu.expect("it listens in the end"), 0, &[0, 40_000]).await.unwrap();
    bench.until("its limit holds", 60, |_| bench.cap() == Some(40.0)).await;
    bench.stop().await;
}

/// Needs a Python with pymodbus: `python3`, or the one named by `BALLAST_TEST_PYTHON`. Without it the test says so and
/// passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_takes_orders_from_an_independent_client() {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut look = std::process::Command::new(&python);
    look.args(["-c", "import pymodbus.client"]).stderr(std::process::Stdio::null());
    if !look.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: {python} has no pymodbus; install it or set BALLAST_TEST_PYTHON");
        return;
    }
    let (address, text) = utility(60, "");
    let bench = Bench::start(60, &text).await;
    drop(connect(address).await);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pymodbus_terminal.py");
    let mut command = std::process::Command::new(&python);
    command.args([script, &address.ip().to_string(), &address.port().to_string()]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    for good in ["whole", "high", "low"] {
        assert_eq!(told[good], false, "{told}");
    }
    assert_eq!(told["commands"], serde_json::json!([0, 29_000, 1, 1, 0]), "{told}");
    assert_eq!((&told["telemetry"][12], &told["telemetry"][13]), (&1.into(), &1.into()), "{told}");
    assert_eq!(told["above_nameplate"], 3, "{told}");
    assert_eq!(told["read_only"], 2, "{told}");
    assert_eq!(told["function"], 1, "{told}");
    bench.until("its limit holds", 60, |_| bench.cap() == Some(29.0)).await;
    bench.stop().await;
}
