//! Answers that come after their timeout: the fault for which a connection is dropped.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_modbus::Slave;
use tokio_modbus::client::{Context, Reader as _, rtu, tcp};

use super::bench::{Kind, PATIENCE, Reader, Site, Spec, TIMEOUT, all, fault};

/// Two registers of one unit, far apart: each is a plausible answer to the request for the other.
const TWO: [Spec; 2] = [("left", 1, 10, 1_000_000), ("right", 1, 20, -900_000)];

/// The good rounds and those that failed.
fn count(reader: &Reader) -> (u64, u64) {
    let count = |result: &str| reader.reads(0, result) + reader.reads(1, result);
    (count("ok"), count("unreachable") + count("malformed"))
}

/// Reads both for a time while answers come late, and on until there are as many good rounds and failed ones as are wanted.
/// Tells how many there were of either.
async fn never_crossed(
    kind: Kind,
    numbered: bool,
    delay: Duration,
    every: u32,
    time: Duration,
    wanted: (u64, u64),
) -> (u64, u64) {
    let words = format!("fault = \"late\", delay = \"{}ms\", every = {every}", delay.as_millis());
    let site = Site::start(kind, &TWO, &fault("0s", "1h", "*", &words)).await;
    let reader = site.read(&TWO, |config| config.links[0].numbered = numbered);
    sleep(time).await;
    let end = reader.clock.now() + PATIENCE;
    let mut rounds = count(&reader);
    while (rounds.0 < wanted.0 || rounds.1 < wanted.1) && reader.clock.now() < end {
        sleep(Duration::from_millis(50)).await;
        rounds = count(&reader);
    }
    for meter in [0, 1] {
        assert_eq!(
            reader.reads(meter, "implausible"),
            0,
            "a foreign value, {kind:?}, {delay:?}, every {every}"
        );
    }
    rounds
}

async fn harmless(kind: Kind, numbered: bool, rounds: u64) {
    // From just behind the timeout to far behind it, in and out of step with the recovery.
    let tenths = [11, 13, 16, 19, 22, 27, 33, 45];
    let wanted = (rounds.div_ceil(8), rounds.div_ceil(5 * 8));
    let benches = tenths.map(|tenths| {
        let every = 3 + tenths % 4;
        let time = Duration::from_secs(5);
        tokio::spawn(never_crossed(kind, numbered, TIMEOUT * tenths / 10, every, time, wanted))
    });
    let mut sum = (0, 0);
    for bench in benches {
        match bench.await {
            Ok((good, failed)) => sum = (sum.0 + good, sum.1 + failed),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    println!("{kind:?}: {} good rounds, {} that failed", sum.0, sum.1);
    assert!(sum.0 >= rounds && sum.1 >= rounds / 5, "{kind:?}: {sum:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_over_tcp_is_never_taken_for_that_of_the_next_request() {
    harmless(Kind::Tcp, true, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_of_a_gateway_without_numbers_is_never_taken_for_that_of_the_next_request() {
    harmless(Kind::Tcp, false, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_over_rtu_in_tcp_is_never_taken_for_that_of_the_next_request() {
    harmless(Kind::OverTcp, true, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_on_a_serial_line_is_never_taken_for_that_of_the_next_request() {
    harmless(Kind::Pty, true, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_is_always_late_has_no_value_and_never_a_foreign_one() {
    all(Kind::ALL.map(|kind| async move {
        let (good, failed) = never_crossed(kind, true, TIMEOUT * 2, 1, Duration::from_secs(3), (0, 6)).await;
        assert!(good == 0 && failed > 5, "{kind:?}: {good} good, {failed} failed");
    }))
    .await;
}

/// Only slow, with nobody else asked in the meantime: the answer comes over the connection that asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_that_is_in_time_is_a_value() {
    all(Kind::ALL.map(|kind| async move {
        let mut reader =
            Site::start(kind, &TWO, &fault("0s", "1h", "*", "fault = \"slow\", delay = \"20ms\""))
                .await
                .read(&TWO, |config| config.links[0].timeout = Duration::from_secs(2));
        for meter in [0, 1] {
            reader.until(meter, ballast::control::snapshot::MeterStatus::Ok).await;
            assert_eq!(reader.reads(meter, "unreachable"), 0, "{kind:?}");
        }
    }))
    .await;
}

async fn float(context: &mut Context, address: u16) -> Result<f64, String> {
    match timeout(TIMEOUT, context.read_input_registers(address, 2)).await {
        Ok(Ok(Ok(words))) => Ok(f64::from(f32::from_bits(u32::from(words[0]) << 16 | u32::from(words[1])))),
        Ok(other) => Err(format!("{other:?}")),
        Err(_) => Err("late".into()),
    }
}

/// What the rule is for: that the simulator's fault is the one of real buses, and that it does harm where the
/// connection is kept.
#[tokio::test]
async fn a_client_that_keeps_its_connection_takes_the_value_of_another_register() {
    let late = fault("0s", "1h", "left", "fault = \"late\", delay = \"90ms\"");
    let site = Site::start(Kind::OverTcp, &TWO, &late).await;
    let address = SocketAddr::from(([127, 0, 0, 1], site.port));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut naive = rtu::attach_slave(stream, Slave(1));
    assert_eq!(float(&mut naive, 10).await, Err("late".into()));
    assert_eq!(
        float(&mut naive, 20).await,
        Ok(1_000_000.0),
        "the left value for the right register, silently"
    );

    let site = Site::start(Kind::Tcp, &TWO, &late).await;
    let address = SocketAddr::from(([127, 0, 0, 1], site.port));
    let mut naive = tcp::connect_slave(address, Slave(1)).await.unwrap();
    assert_eq!(float(&mut naive, 10).await, Err("late".into()));
    let next = float(&mut naive, 20).await.unwrap_err();
    assert!(next.contains("HeaderMismatch"), "{next}");
}
