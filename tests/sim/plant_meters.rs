//! The simulated meters through a Modbus client that nobody here wrote, on real sockets.

use crate::sim_plant_site;

use std::net::SocketAddr;
use std::time::Duration;

use ballast::meter::profile::{Format, Function, Register, WordOrder};
use ballast::sim::Simulation;
use sim_plant_site::{config, free_port, register, start};
use tokio::time::{sleep, timeout};
use tokio_modbus::client::{Context, Reader, tcp};
use tokio_modbus::{ExceptionCode, Slave};

/// What the point of common coupling shows in the calm scenario: 50 kW are missing and 8 kW are mined with.
const CALM_PCC: f64 = 58_000.0;

const HIGH: WordOrder = WordOrder::HighFirst;

async fn client(port: u16, unit: u8) -> std::io::Result<Context> {
    tcp::connect_slave(SocketAddr::from(([127, 0, 0, 1], port)), Slave(unit)).await
}

/// A site with the meter `pcc` alone, at unit 1.
async fn single(register: Register, invert: bool, more: &str) -> (Simulation, Context, u16) {
    let port = free_port();
    let config = config(port, &[("pcc", 1, vec![register], invert)]);
    let (simulation, _) = start(&config, more).await.unwrap();
    (simulation, client(port, 1).await.unwrap(), port)
}

async fn float(context: &mut Context) -> f64 {
    let words = context.read_input_registers(10, 2).await.unwrap().unwrap();
    f64::from(f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1])))
}

fn decode(format: Format, mut words: Vec<u16>, order: WordOrder) -> f64 {
    if order == WordOrder::LowFirst {
        words.reverse();
    }
    let bits = words.iter().fold(0_u64, |bits, word| bits << 16 | u64::from(*word));
    let bytes = bits.to_be_bytes();
    let low = |n: usize| &bytes[8 - n..];
    match format {
        Format::U16 => f64::from(u16::from_be_bytes(low(2).try_into().unwrap())),
        Format::I16 => f64::from(i16::from_be_bytes(low(2).try_into().unwrap())),
        Format::U32 => f64::from(u32::from_be_bytes(low(4).try_into().unwrap())),
        Format::I32 => f64::from(i32::from_be_bytes(low(4).try_into().unwrap())),
        Format::U64 => f64::from(u32::try_from(bits).unwrap()),
        Format::I64 => f64::from(i32::try_from(i64::from_be_bytes(bytes)).unwrap()),
        Format::F32 => f64::from(f32::from_be_bytes(low(4).try_into().unwrap())),
        Format::F64 => f64::from_be_bytes(bytes),
        Format::Sm16 if bits & 0x8000 != 0 => -f64::from(u16::try_from(bits & 0x7FFF).unwrap()),
        Format::Sm32 if bits & 0x8000_0000 != 0 => -f64::from(u32::try_from(bits & 0x7FFF_FFFF).unwrap()),
        Format::Sm16 | Format::Sm32 => f64::from(u32::try_from(bits).unwrap()),
        Format::Bcd16 | Format::Bcd32 | Format::Bcd64 => format!("{bits:x}").parse().unwrap(),
        Format::F16 | Format::Bool => panic!("too coarse"),
    }
}

#[tokio::test]
async fn every_format_and_word_order_shows_the_same_power_on_the_wire() {
    for (name, format) in
        Format::NAMES.into_iter().filter(|(_, format)| !matches!(format, Format::Bool | Format::F16))
    {
        for order in [WordOrder::HighFirst, WordOrder::LowFirst] {
            for function in [Function::Input, Function::Holding] {
                // Ten watts a count, so that 16 bits are enough.
                let register = Register { function, ..register(format, order, 10.0) };
                let (simulation, mut context, _) = single(register, false, "").await;
                let count = format.words();
                let words = match function {
                    Function::Input => context.read_input_registers(10, count).await,
                    _ => context.read_holding_registers(10, count).await,
                };
                let power = decode(format, words.unwrap().unwrap(), order) * 10.0;
                assert!((power - CALM_PCC).abs() < 1e-6, "{name} {order:?} {function:?}: {power}");
                simulation.shutdown().await;
            }
        }
    }
}

#[tokio::test]
async fn signs_are_turned_where_the_site_turns_them() {
    // Export of 92 kW without the other load; the profile counts export positive, or the transformers are turned.
    let export = "[[event]]\nat = \"0s\"\nload = { by = \"-150 kW\" }\n";
    for (scale, invert, expected) in
        [(1.0, false, -92e3), (-1.0, false, 92e3), (1.0, true, 92e3), (-1.0, true, -92e3)]
    {
        let (simulation, mut context, _) = single(register(Format::F32, HIGH, scale), invert, export).await;
        let power = float(&mut context).await;
        assert!((power - expected).abs() < 0.1, "scale {scale}, invert {invert}: {power}");
        simulation.shutdown().await;
    }
}

#[tokio::test]
async fn wrong_requests_get_the_exception_that_the_standard_names() {
    let (simulation, mut context, port) = single(register(Format::F32, HIGH, 1.0), false, "").await;
    let exception = |answer: tokio_modbus::Result<Vec<u16>>| answer.unwrap().unwrap_err();
    assert_eq!(exception(context.read_input_registers(0, 2).await), ExceptionCode::IllegalDataAddress);
    assert_eq!(exception(context.read_input_registers(10, 3).await), ExceptionCode::IllegalDataAddress);
    assert_eq!(exception(context.read_holding_registers(10, 2).await), ExceptionCode::IllegalDataAddress);
    assert_eq!(exception(context.read_input_registers(10, 126).await), ExceptionCode::IllegalDataValue);
    let coils = context.read_coils(0, 1).await.unwrap().unwrap_err();
    assert_eq!(coils, ExceptionCode::IllegalFunction);
    let mut stranger = client(port, 7).await.unwrap();
    assert_eq!(exception(stranger.read_input_registers(10, 2).await), ExceptionCode::GatewayTargetDevice);
    // The connection lives on after all of that.
    assert!((float(&mut context).await - CALM_PCC).abs() < 0.1);
    simulation.shutdown().await;
}

#[tokio::test]
async fn several_meters_live_behind_one_address() {
    let port = free_port();
    let f32_ = || vec![register(Format::F32, HIGH, 1.0)];
    let config =
        config(port, &[("pcc", 1, f32_(), false), ("hall", 2, f32_(), false), ("plc", 3, f32_(), false)]);
    let plc = "[readings.plc]\nvalue = \"30 kW\"\nsteps = [{ at = \"900ms\", to = \"10 kW\" }]\n";
    let (simulation, _) = start(&config, plc).await.unwrap();
    let mut shown = Vec::new();
    for unit in 1..=3 {
        shown.push(float(&mut client(port, unit).await.unwrap()).await);
    }
    let whole: Vec<String> = shown.iter().map(|watts| format!("{watts:.1}")).collect();
    assert_eq!(whole, ["58000.0", "8000.0", "30000.0"]);
    let mut shown = f64::NAN;
    for _ in 0..3_000 {
        sleep(Duration::from_millis(20)).await;
        shown = float(&mut client(port, 3).await.unwrap()).await;
        if shown < 29_000.0 {
            break;
        }
    }
    assert!((shown - 10_000.0).abs() < 0.1, "{shown}");
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_register_that_is_followed_shows_the_surplus_unless_told_otherwise() {
    let port = free_port();
    let config = config(port, &[("plc", 3, vec![register(Format::F32, HIGH, 1.0)], false)]);
    let sunny = "[[event]]\nat = \"0s\"\nload = { by = \"-150 kW\" }\n";
    let (simulation, _) = start(&config, sunny).await.unwrap();
    assert!((float(&mut client(port, 3).await.unwrap()).await - 100_000.0).abs() < 0.1);
    simulation.shutdown().await;
}

/// A fault from the start on, for so long.
fn fault(words: &str, lasting: &str) -> String {
    format!("[[event]]\nat = \"0s\"\nfor = \"{lasting}\"\nmeter = {{ name = \"p*\", {words} }}\n")
}

/// Reads on new connections until the value is right; a machine under load only makes it slower.
async fn eventually(port: u16, right: impl Fn(f64) -> bool) {
    let mut last = f64::NAN;
    for _ in 0..3_000 {
        if let Ok(mut context) = client(port, 1).await
            && let Ok(Ok(Ok(words))) =
                timeout(Duration::from_secs(60), context.read_input_registers(10, 2)).await
        {
            last = f64::from(f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1])));
            if right(last) {
                return;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("still {last}");
}

fn calm(value: f64) -> bool {
    (value - CALM_PCC).abs() < 0.1
}

#[tokio::test]
async fn faults_of_the_value_come_and_go() {
    for (words, shown) in [
        ("fault = \"offset\", by = \"-50 kW\"", 8_000.0),
        ("fault = \"factor\", factor = -1.0", -CALM_PCC),
        ("fault = \"unavailable\"", f64::NAN),
        ("fault = \"glitch\", to = \"1 MW\"", 1e6),
        ("fault = \"no-voltage\"", 0.0),
        // All that it remembers is what has been since the start.
        ("fault = \"delay\", time = \"10min\"", CALM_PCC),
    ] {
        let more = fault(words, "600ms");
        let (simulation, mut context, port) = single(register(Format::F32, HIGH, 1.0), false, &more).await;
        let during = float(&mut context).await;
        assert!((during - shown).abs() < 0.1 || (shown.is_nan() && during.is_nan()), "{words}: {during}");
        eventually(port, calm).await;
        simulation.shutdown().await;
    }
}

#[tokio::test]
async fn a_frozen_meter_answers_with_its_last_value() {
    let more = "[[event]]\nat = \"100ms\"\nfor = \"2s\"\nmeter = { name = \"*\", fault = \"frozen\" }\n\
                [[event]]\nat = \"300ms\"\nload = { by = \"10 kW\" }\n";
    let (simulation, mut context, port) = single(register(Format::F32, HIGH, 1.0), false, more).await;
    let mut truth = simulation.watch();
    truth.wait_for(|truth| truth.pcc > ballast::units::Watts::whole(67_000)).await.unwrap();
    assert!(calm(float(&mut context).await), "the truth goes on, the meter does not");
    eventually(port, |value| (value - 68_000.0).abs() < 0.1).await;
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_sentinel_is_shown_as_the_profile_declares_it() {
    let mut sentinel = register(Format::I32, HIGH, 1.0);
    sentinel.unavailable = vec![0x7FFF_FFFF];
    let more = fault("fault = \"unavailable\"", "1h");
    let (simulation, mut context, _) = single(sentinel, false, &more).await;
    let words = context.read_input_registers(10, 2).await.unwrap().unwrap();
    assert_eq!(words, [0x7FFF, 0xFFFF]);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_silent_meter_takes_requests_and_answers_none() {
    let more = fault("fault = \"silent\"", "800ms");
    let (simulation, mut context, port) = single(register(Format::F32, HIGH, 1.0), false, &more).await;
    let read = timeout(Duration::from_millis(150), context.read_input_registers(10, 2)).await;
    assert!(read.is_err(), "{read:?}");
    assert!(client(port, 1).await.is_ok(), "the port stays open");
    eventually(port, calm).await;
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_refusing_meter_closes_its_port_and_opens_it_again() {
    let more = "[[event]]\nat = \"500ms\"\nfor = \"2s\"\nmeter = { name = \"*\", fault = \"refuse\" }\n";
    let (simulation, mut context, port) = single(register(Format::F32, HIGH, 1.0), false, more).await;
    assert!(calm(float(&mut context).await));
    let mut refused = None;
    for _ in 0..100 {
        sleep(Duration::from_millis(20)).await;
        refused = client(port, 1).await.err().map(|e| e.kind());
        // One that was on its way in when the port closed is reset.
        if refused.is_some_and(|kind| kind != std::io::ErrorKind::ConnectionReset) {
            break;
        }
    }
    assert_eq!(refused, Some(std::io::ErrorKind::ConnectionRefused));
    assert!(context.read_input_registers(10, 2).await.is_err(), "open connections are dropped");
    eventually(port, calm).await;
    simulation.shutdown().await;
}

#[tokio::test]
async fn an_exception_is_answered_as_long_as_the_fault_lasts() {
    let more = fault("fault = \"exception\", code = 6", "600ms");
    let (simulation, mut context, port) = single(register(Format::F32, HIGH, 1.0), false, &more).await;
    let answer = context.read_input_registers(10, 2).await.unwrap();
    assert_eq!(answer, Err(ExceptionCode::ServerDeviceBusy));
    eventually(port, calm).await;
    assert!(calm(float(&mut context).await), "the connection has lived through it");
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_slow_meter_answers_late_but_rightly() {
    let more = fault("fault = \"slow\", delay = \"250ms\"", "1h");
    let (simulation, mut context, _) = single(register(Format::F32, HIGH, 1.0), false, &more).await;
    let clock = ballast::clock::Clock::start();
    assert!(calm(float(&mut context).await));
    assert!(clock.now().since_start() >= Duration::from_millis(250));
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_short_answer_lacks_a_register() {
    let more = fault("fault = \"short\"", "1h");
    let (simulation, _, port) = single(register(Format::F32, HIGH, 1.0), false, &more).await;
    // By hand: the client may or may not notice, and that is not what is tested here.
    let answer = raw(port, &[0, 1, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2], 11).await;
    assert_eq!(answer[..9], [0, 1, 0, 0, 0, 5, 1, 4, 2]);
    assert_eq!(answer.len(), 11);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_crossed_answer_carries_a_foreign_transaction() {
    let more = fault("fault = \"crossed\"", "1h");
    let (simulation, _, port) = single(register(Format::F32, HIGH, 1.0), false, &more).await;
    let answer = raw(port, &[0, 9, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2], 13).await;
    assert_eq!(answer[..2], [0, 8]);
    simulation.shutdown().await;
}

/// Sends bytes and gives what comes back, up to a length, the end, or a second.
async fn raw(port: u16, request: &[u8], length: u64) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset has given what it gave.
    let _ = timeout(Duration::from_secs(1), stream.take(length).read_to_end(&mut answer)).await;
    answer
}

#[tokio::test]
async fn what_is_no_modbus_is_hung_up_on() {
    let (simulation, _, port) = single(register(Format::F32, HIGH, 1.0), false, "").await;
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 1, 0, 0, 0, 1, 1],
        &[0, 1, 0, 0, 1, 0, 1, 4],
        &[0, 1, 0, 7, 0, 6, 1, 4, 0, 10, 0, 2],
    ] {
        assert!(raw(port, nonsense, 1).await.is_empty(), "{nonsense:?}");
    }
    assert!(!raw(port, &[0, 1, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2], 13).await.is_empty());
    simulation.shutdown().await;
}

#[tokio::test]
async fn two_requests_in_one_packet_are_both_answered() {
    let (simulation, _, port) = single(register(Format::F32, HIGH, 1.0), false, "").await;
    let one = [0, 1, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2];
    let both: Vec<u8> = one.iter().chain(&one).copied().collect();
    assert_eq!(raw(port, &both, 26).await.len(), 26);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_meter_takes_only_so_many_connections() {
    let port = free_port();
    let config = config(port, &[("pcc", 1, vec![register(Format::F32, HIGH, 1.0)], false)]);
    let text = sim_plant_site::CALM.replace("[metering]", "[metering]\nconnections = 1");
    let scenario = ballast::sim::Scenario::parse("one.toml", &text).unwrap();
    let (simulation, _) = sim_plant_site::start_scenario(&config, &scenario, 1.0).await.unwrap();
    let mut first = client(port, 1).await.unwrap();
    assert!((float(&mut first).await - CALM_PCC).abs() < 0.1);
    let mut second = client(port, 1).await.unwrap();
    assert!(second.read_input_registers(10, 2).await.is_err(), "the second is hung up on");
    assert!((float(&mut first).await - CALM_PCC).abs() < 0.1, "the first does not notice");
    drop(first);
    sleep(Duration::from_millis(50)).await;
    assert!((float(&mut client(port, 1).await.unwrap()).await - CALM_PCC).abs() < 0.1);
    simulation.shutdown().await;
}
