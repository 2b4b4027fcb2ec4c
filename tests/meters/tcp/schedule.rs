//! Who is read when: beats, fairness beside a dead unit, pauses, reconnection, and the end.

use std::time::Duration;

use super::device::{Act, Device, PERIOD, Reader, TIMEOUT, meter, watts};
use crate::stalls::Stalls;
use ballast::control::snapshot::MeterStatus;
use ballast::meter::{ExceptionKind, LinkId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

#[tokio::test]
async fn each_meter_is_read_on_its_own_beat_over_one_connection() {
    let device = Device::start().await;
    device.set(1, 10, 1);
    device.set(2, 10, 2);
    let mut slow = meter(2, &[10]);
    slow.period = Duration::from_millis(400);
    let reader = device.read(vec![meter(1, &[10]), slow]);
    sleep(Duration::from_millis(1650)).await;
    let fast: Vec<_> = device.asked().into_iter().filter(|asked| asked.unit == 1).collect();
    assert!((12..=17).contains(&fast.len()), "{} reads in 1.65 s at 100 ms", fast.len());
    assert!((3..=5).contains(&reader.reads(1, "ok")));
    assert_eq!((device.connections(), device.most_open()), (1, 1));
}

#[tokio::test]
async fn a_dead_unit_costs_its_neighbour_one_timeout_now_and_then() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    let stalls = Stalls::watch();
    let mut reader = device.read(vec![meter(9, &[10]), meter(1, &[10])]);
    let start = reader.clock.now();
    let mut previous = start;
    let mut longest = Duration::ZERO;
    while reader.clock.now() - start < Duration::from_secs(3) {
        let input = reader.next(1).await;
        assert_eq!(input.status, MeterStatus::Ok);
        let at = input.power.unwrap().at;
        longest = longest.max(at - previous);
        previous = at;
    }
    assert!(longest < TIMEOUT + PERIOD + Duration::from_millis(300) + stalls.most(), "{longest:?}");
    assert_eq!(reader.now(0).status, MeterStatus::Unreachable);
    let tries = device.asked().iter().filter(|asked| asked.unit == 9).count();
    assert!((2..=6).contains(&tries), "{tries} tries of a dead unit in 3 s: doubling pauses");
    assert!(reader.reads(1, "ok") >= 15, "{}", reader.reads(1, "ok"));
}

#[tokio::test]
async fn the_first_timeout_of_a_unit_skips_the_rest_of_that_unit() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    let stalls = Stalls::watch();
    let mut reader = device.read(vec![meter(9, &[10]), meter(9, &[20]), meter(9, &[30]), meter(1, &[10])]);
    let good = reader.until(3, MeterStatus::Ok).await;
    let after = good.power.unwrap().at.since_start();
    assert!(after < TIMEOUT * 5 / 2 + stalls.most(), "{after:?}: after one timeout, not three");
    for index in 0..3 {
        assert_eq!(reader.now(index).status, MeterStatus::Unreachable);
        assert_eq!(reader.reads(index, "unreachable"), 1);
    }
    sleep(Duration::from_millis(1500)).await;
    let tries = device.asked().iter().filter(|asked| asked.unit == 9).count();
    assert!((2..=5).contains(&tries), "{tries} tries in 1.7 s: they pause together");
}

#[tokio::test]
async fn a_gateway_that_reports_a_dead_unit_late_is_spared_as_well() {
    assert_eq!(ExceptionKind::of(11), ExceptionKind::Transient);
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.script(|asked, right| match asked.unit {
        1 => Act::Send(right),
        _ => Act::Late(Duration::from_millis(150), asked.exception(11)),
    });
    let mut reader = device.read(vec![meter(9, &[10]), meter(1, &[10])]);
    reader.until(0, MeterStatus::Exception(11)).await;
    sleep(Duration::from_millis(1500)).await;
    assert!(reader.reads(1, "ok") >= 10);
    assert!(reader.reads(0, "exception") <= 5);
    assert_eq!(device.connections(), 1);
}

#[tokio::test]
async fn missed_deadlines_are_skipped_and_not_made_up_for() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.script(|asked, right| match asked.number {
        2 => Act::Late(Duration::from_millis(750), right),
        _ => Act::Send(right),
    });
    let mut link = device.link();
    link.timeout = Duration::from_secs(1);
    let mut reader = device.read_over(link, vec![meter(1, &[10])]);
    for _ in 0..7 {
        assert_eq!(reader.next(0).await.status, MeterStatus::Ok);
    }
    let asked = device.asked();
    for pair in asked[3..].windows(2) {
        let between = pair[1].at - pair[0].at;
        assert!(between > PERIOD / 2, "a burst: {between:?}");
    }
}

#[tokio::test]
async fn the_gap_and_the_connect_delay_are_kept() {
    let device = Device::start().await;
    for address in [10, 20, 30] {
        device.set(1, address, 1);
    }
    let mut link = device.link();
    link.gap = Duration::from_millis(40);
    link.connect_delay = Duration::from_millis(150);
    let mut reader = device.read_over(link, vec![meter(1, &[10, 20]), meter(1, &[30])]);
    reader.until(0, MeterStatus::Ok).await;
    reader.until(1, MeterStatus::Ok).await;
    let asked = device.asked();
    assert!(asked[0].at.since_start() >= Duration::from_millis(150), "{:?}", asked[0].at);
    for pair in asked.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(39), "{:?}", pair[1].at - pair[0].at);
    }
}

#[tokio::test]
async fn a_restarted_device_is_found_again_within_seconds() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    let mut reader = device.read(vec![meter(1, &[10])]);
    let good = reader.until(0, MeterStatus::Ok).await;
    let address = device.address;
    device.stop().await;
    let down = reader.until(0, MeterStatus::Unreachable).await;
    assert_eq!(watts(&down), watts(&good));
    sleep(Duration::from_millis(1200)).await;
    let tries = reader.meters.links[0].failures();
    assert!((2..=6).contains(&tries), "{tries} attempts to connect in 1.2 s");
    assert_eq!(reader.now(0).status, MeterStatus::Unreachable);
    let device = Device::start_at(address).await;
    device.set(1, 10, 800);
    let (back, stalls) = (reader.clock.now(), Stalls::watch());
    let input = reader.until(0, MeterStatus::Ok).await;
    assert_eq!(watts(&input), Some(800.0));
    assert!(reader.clock.now() - back < Duration::from_millis(2600) + stalls.most());
}

#[tokio::test]
async fn a_device_that_hangs_up_after_every_answer_is_read_without_a_failure() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.set(1, 20, 7);
    device.script(|_, right| Act::SendAndClose(right));
    let mut reader = device.read(vec![meter(1, &[10, 20])]);
    for _ in 0..5 {
        let input = reader.next(0).await;
        assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(707.0)));
    }
    assert_eq!(reader.reads(0, "unreachable"), 0);
    assert_eq!(device.most_open(), 1);
}

#[tokio::test]
async fn a_device_with_one_place_is_read_once_the_other_client_leaves() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.set(2, 10, 800);
    device.limit(1);
    let other = TcpStream::connect(device.address).await.unwrap();
    while device.open() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let mut reader = device.read(vec![meter(1, &[10]), meter(2, &[10])]);
    reader.until(0, MeterStatus::Unreachable).await;
    reader.until(1, MeterStatus::Unreachable).await;
    sleep(Duration::from_millis(800)).await;
    let tries = reader.meters.links[0].connections();
    assert!((2..=6).contains(&tries), "{tries} connections to a device that hangs up at once");
    drop(other);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(700.0));
    assert_eq!(watts(&reader.until(1, MeterStatus::Ok).await), Some(800.0));
    sleep(Duration::from_millis(300)).await;
    assert_eq!(device.most_open(), 1);
}

#[tokio::test]
async fn a_device_that_answers_nobody_does_not_get_a_second_connection() {
    let device = Device::start().await;
    device.limit(1);
    let reader = device.read(vec![meter(1, &[10]), meter(2, &[10])]);
    sleep(Duration::from_millis(1200)).await;
    let tried = |reader: &Reader| [0, 1].iter().all(|meter| reader.reads(*meter, "unreachable") >= 2);
    reader.eventually("both are tried twice", tried).await;
    assert_eq!(device.most_open(), 1);
}

#[tokio::test]
async fn cancelling_ends_the_task_and_closes_the_connection() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.script(|asked, right| if asked.number < 2 { Act::Send(right) } else { Act::Silence });
    let mut reader = device.read(vec![meter(1, &[10])]);
    reader.until(0, MeterStatus::Ok).await;
    sleep(PERIOD).await;
    reader.cancel.cancel();
    reader.tracker.close();
    tokio::time::timeout(Duration::from_millis(500), reader.tracker.wait())
        .await
        .expect("at once, in the middle");
    reader.eventually("the connection is closed", |_| device.open() == 0).await;
}

#[tokio::test]
async fn a_meter_without_a_link_is_unreachable_and_harms_nobody() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    let mut stray = meter(1, &[10]);
    stray.link = LinkId(7);
    let mut reader = Reader::start(device.link(), vec![stray, meter(1, &[10])]);
    assert_eq!(watts(&reader.until(1, MeterStatus::Ok).await), Some(700.0));
    assert_eq!(reader.now(0).status, MeterStatus::Unreachable);
}

#[tokio::test]
async fn the_refresh_period_of_a_slow_device_is_learned() {
    let device = Device::start().await;
    device.set(1, 10, 0);
    device.script(|asked, _| {
        let steps = u16::try_from(asked.at.since_start().as_millis() / 400).unwrap();
        Act::Send(asked.words(&[steps]))
    });
    let reader = device.read(vec![meter(1, &[10])]);
    sleep(Duration::from_millis(2300)).await;
    let learned = reader.meters.counters[0].refresh_period().unwrap();
    assert!((Duration::from_millis(280)..Duration::from_millis(520)).contains(&learned), "{learned:?}");
}

#[tokio::test]
async fn garbage_from_a_device_that_is_no_meter_is_survived() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.script(|asked, right| match asked.number {
        0..3 => Act::Send(b"HTTP/1.1 400 Bad Request\r\nServer: camera\r\n\r\n".repeat(50)),
        _ => Act::Send(right),
    });
    let mut reader = device.read(vec![meter(1, &[10])]);
    reader.until(0, MeterStatus::Malformed).await;
    reader.until(0, MeterStatus::Ok).await;
    let mut stream = TcpStream::connect(device.address).await.unwrap();
    stream.shutdown().await.unwrap();
}
