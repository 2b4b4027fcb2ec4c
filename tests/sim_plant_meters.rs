//! The simulated meters through a Modbus client that nobody here wrote, on real sockets.

#![cfg(test)]

mod sim_plant_site;

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
    let bits = words
        .iter()
        .fold(0_u64, |bits, word| bits << 16 | u64::from(*word));
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
    }
}

#[tokio::test]
async fn every_format_and_word_order_shows_the_same_power_on_the_wire() {
    for (name, format) in Format::NAMES {
        for order in [WordOrder::HighFirst, WordOrder::LowFirst] {
            for function in [Function::Input, Function::Holding] {
                // Ten watts a count, so that 16 bits are enough.
                let register = Register {
                    function,
                    ..register(format, order, 10.0)
                };
                let (simulation, mut context, _) = single(register, false, "").await;
                let count = format.words();
                let words = match function {
                    Function::Input => context.read_input_registers(10, count).await,
                    Function::Holding => context.read_holding_registers(10, count).await,
                };
                let power = decode(format, words.unwrap().unwrap(), order) * 10.0;
                assert!(
                    (power - CALM_PCC).abs() < 1e-6,
                    "{name} {order:?} {function:?}: {power}"
                );
                simulation.shutdown().await;
            }
        }
    }
}

#[tokio::test]
async fn signs_are_turned_where_the_site_turns_them() {
    // Export of 92 kW without the other load; the profile counts export positive, or the transformers are turned.
    let export = "[[event]]\nat = \"0s\"\nload = { by = \"-150 kW\" }\n";
    for (scale, invert, expected) in [
        (1.0, false, -92e3),
        (-1.0, false, 92e3),
        (1.0, true, 92e3),
        (-1.0, true, -92e3),
    ] {
        let (simulation, mut context, _) = single(register(Format::F32, HIGH, scale), invert, export).await;
        let power = float(&mut context).await;
        assert!(
            (power - expected).abs() < 0.1,
            "scale {scale}, invert {invert}: {power}"
        );
        simulation.shutdown().await;
    }
}

#[tokio::test]
async fn wrong_requests_get_the_exception_that_the_standard_names() {
    let (simulation, mut context, port) = single(register(Format::F32, HIGH, 1.0), false, "").await;
    let exception = |answer: tokio_modbus::Result<Vec<u16>>| answer.unwrap().unwrap_err();
    assert_eq!(
        exception(context.read_input_registers(0, 2).await),
        ExceptionCode::IllegalDataAddress
    );
    assert_eq!(
        exception(context.read_input_registers(10, 3).await),
        ExceptionCode::IllegalDataAddress
    );
    assert_eq!(
        exception(context.read_holding_registers(10, 2).await),
        ExceptionCode::IllegalDataAddress
    );
    assert_eq!(
        exception(context.read_input_registers(10, 126).await),
        ExceptionCode::IllegalDataValue
    );
    let coils = context.read_coils(0, 1).await.unwrap().unwrap_err();
    assert_eq!(coils, ExceptionCode::IllegalFunction);
    let mut stranger = client(port, 7).await.unwrap();
    assert_eq!(
        exception(stranger.read_input_registers(10, 2).await),
        ExceptionCode::GatewayTargetDevice
    );
    // The connection lives on after all of that.
    assert!((float(&mut context).await - CALM_PCC).abs() < 0.1);
    simulation.shutdown().await;
}

#[tokio::test]
async fn several_meters_live_behind_one_address() {
    let port = free_port();
    let f32_ = || vec![register(Format::F32, HIGH, 1.0)];
    let config = config(
        port,
        &[
            ("pcc", 1, f32_(), false),
            ("hall", 2, f32_(), false),
            ("plc", 3, f32_(), false),
        ],
    );
    let plc = "[readings.plc]\nvalue = \"30 kW\"\nsteps = [{ at = \"300ms\", to = \"10 kW\" }]\n";
    let (simulation, _) = start(&config, plc).await.unwrap();
    let mut shown = Vec::new();
    for unit in 1..=3 {
        shown.push(float(&mut client(port, unit).await.unwrap()).await);
    }
    let whole: Vec<String> = shown.iter().map(|watts| format!("{watts:.1}")).collect();
    assert_eq!(whole, ["58000.0", "8000.0", "30000.0"]);
    sleep(Duration::from_millis(500)).await;
    assert!((float(&mut client(port, 3).await.unwrap()).await - 10_000.0).abs() < 0.1);
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

fn fault(words: &str) -> String {
    format!("[[event]]\nat = \"150ms\"\nfor = \"300ms\"\nmeter = {{ name = \"p*\", {words} }}\n")
}

/// Runs a fault from 150 to 450 ms, and gives what the meter showed during it and after it.
async fn during_and_after(register: Register, words: &str) -> (f64, f64) {
    let (simulation, mut context, _) = single(register, false, &fault(words)).await;
    assert!((float(&mut context).await - CALM_PCC).abs() < 0.1);
    sleep(Duration::from_millis(300)).await;
    let during = float(&mut context).await;
    sleep(Duration::from_millis(350)).await;
    let after = float(&mut context).await;
    simulation.shutdown().await;
    (during, after)
}

#[tokio::test]
async fn faults_of_the_value_come_and_go() {
    let plain = || register(Format::F32, HIGH, 1.0);
    let close = |value: f64, to: f64| (value - to).abs() < 0.1;
    let (during, after) = during_and_after(plain(), "fault = \"offset\", by = \"-50 kW\"").await;
    assert!(
        close(during, 8_000.0) && close(after, CALM_PCC),
        "{during} {after}"
    );
    let (during, after) = during_and_after(plain(), "fault = \"factor\", factor = -1.0").await;
    assert!(
        close(during, -CALM_PCC) && close(after, CALM_PCC),
        "{during} {after}"
    );
    let (during, after) = during_and_after(plain(), "fault = \"unavailable\"").await;
    assert!(during.is_nan() && close(after, CALM_PCC), "{during} {after}");
}

#[tokio::test]
async fn a_frozen_meter_answers_with_its_last_value() {
    let more = format!(
        "{}[[event]]\nat = \"200ms\"\nload = {{ by = \"10 kW\" }}\n",
        fault("fault = \"frozen\"")
    );
    let (simulation, mut context, _) = single(register(Format::F32, HIGH, 1.0), false, &more).await;
    sleep(Duration::from_millis(350)).await;
    assert!((float(&mut context).await - CALM_PCC).abs() < 0.1);
    assert!(
        (simulation.truth().pcc.get() - 68_000.0).abs() < 0.1,
        "the truth goes on"
    );
    sleep(Duration::from_millis(350)).await;
    assert!((float(&mut context).await - 68_000.0).abs() < 0.1);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_sentinel_is_shown_as_the_profile_declares_it() {
    let mut sentinel = register(Format::I32, HIGH, 1.0);
    sentinel.unavailable = vec![0x7FFF_FFFF];
    let (simulation, mut context, _) = single(sentinel, false, &fault("fault = \"unavailable\"")).await;
    sleep(Duration::from_millis(300)).await;
    let words = context.read_input_registers(10, 2).await.unwrap().unwrap();
    assert_eq!(words, [0x7FFF, 0xFFFF]);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_silent_meter_takes_requests_and_answers_none() {
    let (simulation, mut context, port) = single(
        register(Format::F32, HIGH, 1.0),
        false,
        &fault("fault = \"silent\""),
    )
    .await;
    sleep(Duration::from_millis(200)).await;
    let read = timeout(Duration::from_millis(150), context.read_input_registers(10, 2)).await;
    assert!(read.is_err(), "{read:?}");
    assert!(client(port, 1).await.is_ok(), "the port stays open");
    sleep(Duration::from_millis(300)).await;
    // A new connection, as every reader should make one after a timeout.
    assert!((float(&mut client(port, 1).await.unwrap()).await - CALM_PCC).abs() < 0.1);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_refusing_meter_closes_its_port_and_opens_it_again() {
    let (simulation, mut context, port) = single(
        register(Format::F32, HIGH, 1.0),
        false,
        &fault("fault = \"refuse\""),
    )
    .await;
    assert!((float(&mut context).await - CALM_PCC).abs() < 0.1);
    sleep(Duration::from_millis(300)).await;
    assert!(
        context.read_input_registers(10, 2).await.is_err(),
        "open connections are dropped"
    );
    let error = client(port, 1).await.err().map(|e| e.kind());
    assert_eq!(error, Some(std::io::ErrorKind::ConnectionRefused));
    sleep(Duration::from_millis(350)).await;
    assert!((float(&mut client(port, 1).await.unwrap()).await - CALM_PCC).abs() < 0.1);
    simulation.shutdown().await;
}

#[tokio::test]
async fn an_exception_is_answered_as_long_as_the_fault_lasts() {
    let words = "fault = \"exception\", code = 6";
    let (simulation, mut context, _) = single(register(Format::F32, HIGH, 1.0), false, &fault(words)).await;
    sleep(Duration::from_millis(300)).await;
    let answer = context.read_input_registers(10, 2).await.unwrap();
    assert_eq!(answer, Err(ExceptionCode::ServerDeviceBusy));
    sleep(Duration::from_millis(350)).await;
    assert!((float(&mut context).await - CALM_PCC).abs() < 0.1);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_slow_meter_answers_late_but_rightly() {
    let words = "fault = \"slow\", delay = \"250ms\"";
    let (simulation, mut context, _) = single(register(Format::F32, HIGH, 1.0), false, &fault(words)).await;
    sleep(Duration::from_millis(200)).await;
    let early = timeout(Duration::from_millis(100), float(&mut context)).await;
    assert!(early.is_err(), "too early");
    drop(context);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_short_answer_lacks_a_register() {
    let (simulation, _, port) = single(
        register(Format::F32, HIGH, 1.0),
        false,
        &fault("fault = \"short\""),
    )
    .await;
    sleep(Duration::from_millis(250)).await;
    // By hand: the client may or may not notice, and that is not what is tested here.
    let answer = raw(port, &[0, 1, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2]).await;
    assert_eq!(answer[..9], [0, 1, 0, 0, 0, 5, 1, 4, 2]);
    assert_eq!(answer.len(), 11);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_crossed_answer_carries_a_foreign_transaction() {
    let (simulation, _, port) = single(
        register(Format::F32, HIGH, 1.0),
        false,
        &fault("fault = \"crossed\""),
    )
    .await;
    sleep(Duration::from_millis(250)).await;
    let answer = raw(port, &[0, 9, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2]).await;
    assert_eq!(answer[..2], [0, 8]);
    simulation.shutdown().await;
}

/// Sends bytes and gives what comes back within a tenth of a second.
async fn raw(port: u16, request: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = vec![0; 300];
    let length = match timeout(Duration::from_millis(100), stream.read(&mut answer)).await {
        Ok(read) => read.unwrap_or(0),
        Err(_) => 0,
    };
    answer.truncate(length);
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
        assert!(raw(port, nonsense).await.is_empty(), "{nonsense:?}");
    }
    assert!(!raw(port, &[0, 1, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2]).await.is_empty());
    simulation.shutdown().await;
}

#[tokio::test]
async fn two_requests_in_one_packet_are_both_answered() {
    let (simulation, _, port) = single(register(Format::F32, HIGH, 1.0), false, "").await;
    let one = [0, 1, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2];
    let both: Vec<u8> = one.iter().chain(&one).copied().collect();
    assert!(raw(port, &both).await.len() >= 13);
    simulation.shutdown().await;
}

#[tokio::test]
async fn a_meter_takes_only_so_many_connections() {
    let port = free_port();
    let config = config(port, &[("pcc", 1, vec![register(Format::F32, HIGH, 1.0)], false)]);
    let text = sim_plant_site::CALM.replace("[metering]", "[metering]\nconnections = 1");
    let scenario = ballast::sim::Scenario::parse("one.toml", &text).unwrap();
    let (simulation, _) = sim_plant_site::start_scenario(&config, &scenario, 1.0)
        .await
        .unwrap();
    let mut first = client(port, 1).await.unwrap();
    assert!((float(&mut first).await - CALM_PCC).abs() < 0.1);
    let mut second = client(port, 1).await.unwrap();
    assert!(
        second.read_input_registers(10, 2).await.is_err(),
        "the second is hung up on"
    );
    assert!(
        (float(&mut first).await - CALM_PCC).abs() < 0.1,
        "the first does not notice"
    );
    drop(first);
    sleep(Duration::from_millis(50)).await;
    assert!((float(&mut client(port, 1).await.unwrap()).await - CALM_PCC).abs() < 0.1);
    simulation.shutdown().await;
}
