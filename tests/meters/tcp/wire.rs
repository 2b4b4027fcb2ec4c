//! Meters over Modbus TCP: what devices and gateways do wrong on the wire, and that no wrong value comes of it.

use std::time::Duration;

use super::device::{Act, Asked, Device, TIMEOUT, meter, plausible, watts};
use ballast::control::snapshot::MeterStatus;
use ballast::meter::Link;

#[tokio::test]
async fn a_reading_is_stamped_when_it_arrives() {
    let device = Device::start().await;
    device.set(1, 10, 1500);
    let delay = Duration::from_millis(60);
    device.script(move |_, right| Act::Late(delay, right));
    let mut reader = device.read(vec![meter(1, &[10])]);
    let before = reader.clock.now();
    let input = reader.until(0, MeterStatus::Ok).await;
    assert_eq!(watts(&input), Some(1500.0));
    let age = input.power.unwrap().at - before;
    assert!(age >= delay && age < TIMEOUT, "{age:?}");
}

/// The fault that the rule is for: an answer that comes after its timeout is lying in wait for the next request.
#[tokio::test]
async fn a_late_answer_is_never_taken_for_that_of_the_next_request() {
    let device = Device::start().await;
    device.set(1, 10, 1000);
    device.set(1, 20, 2000);
    device.script(|asked, right| {
        if asked.number % 3 == 1 {
            Act::Late(TIMEOUT + Duration::from_millis(20), right)
        } else {
            Act::Send(right)
        }
    });
    let mut reader = device.read(vec![meter(1, &[10]), meter(1, &[20])]);
    let end = reader.clock.now() + Duration::from_secs(2);
    while reader.clock.now() < end {
        for (index, right) in [(0, 1000.0), (1, 2000.0)] {
            let input = reader.next(index).await;
            assert!(
                watts(&input).is_none_or(|value| (value - right).abs() < 0.5),
                "meter {index}: {input:?}"
            );
        }
    }
    assert!(reader.reads(0, "ok") > 2 && reader.reads(0, "unreachable") > 0);
    assert_eq!(reader.reads(0, "malformed") + reader.reads(1, "malformed"), 0);
    assert_eq!(device.most_open(), 1, "the old connection is gone before the new one is opened");
}

/// A gateway that hands the late answer of a dropped connection to the connection that follows it.
#[tokio::test]
async fn a_late_answer_that_comes_over_the_next_connection_is_refused() {
    let device = Device::start().await;
    device.set(1, 10, 1000);
    device.set(1, 20, 2000);
    let mut held: Option<Vec<u8>> = None;
    device.script(move |_, right| match held.take() {
        Some(late) => Act::Send(late),
        None => {
            held = Some(right);
            Act::Silence
        }
    });
    let reader = device.read(vec![meter(1, &[10]), meter(1, &[20])]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let refused =
        |reader: &super::device::Reader| reader.reads(0, "malformed") + reader.reads(1, "malformed") > 0;
    reader.eventually("a late answer is refused", refused).await;
    assert_eq!(reader.now(0).power, None);
    assert_eq!(reader.now(1).power, None);
}

/// Gateways that give every answer the number 0, or one of their own.
#[tokio::test]
async fn a_gateway_that_repeats_no_numbers_is_read_where_the_link_says_so() {
    for number in [|_: &Asked| 0, |asked: &Asked| asked.transaction[1].wrapping_add(1)] {
        let start = async || {
            let device = Device::start().await;
            device.set(1, 10, 1500);
            device.set(1, 20, 2500);
            device.script(move |asked, mut right| {
                right[..2].copy_from_slice(&[0, number(asked)]);
                Act::Send(right)
            });
            device
        };
        let meters = || vec![meter(1, &[10]), meter(1, &[20])];
        let mut reader = start().await.read(meters());
        assert_eq!(reader.until(0, MeterStatus::Malformed).await.power, None);
        let device = start().await;
        let mut reader = device.read_over(Link { numbered: false, ..device.link() }, meters());
        for (index, right) in [(0, 1500.0), (1, 2500.0)] {
            assert_eq!(watts(&reader.until(index, MeterStatus::Ok).await), Some(right));
        }
        // A late answer, also one that comes over the next connection, is no value of the next request.
        let mut held: Option<Vec<u8>> = None;
        device.script(move |asked, right| match (asked.number % 5, held.take()) {
            (_, Some(late)) => Act::Send(late),
            (0, None) => {
                held = Some(right);
                Act::Silence
            }
            _ => Act::Send(right),
        });
        let end = reader.clock.now() + Duration::from_secs(3);
        while reader.clock.now() < end {
            for (index, right) in [(0, 1500.0), (1, 2500.0)] {
                let input = reader.next(index).await;
                assert_eq!(watts(&input), Some(right), "meter {index}: {input:?}");
            }
        }
    }
}

type Fault = fn(&Asked, Vec<u8>) -> Act;

fn changed(mut frame: Vec<u8>, index: usize, byte: u8) -> Act {
    frame[index] = byte;
    Act::Send(frame)
}

const MALFORMED: [(&str, Fault); 14] = [
    ("wrong transaction", |_, right| {
        let other = right[1].wrapping_add(1);
        changed(right, 1, other)
    }),
    ("wrong protocol", |_, right| changed(right, 3, 7)),
    ("wrong unit", |_, right| changed(right, 6, 2)),
    ("wrong function", |_, right| changed(right, 7, 3)),
    ("exception of another function", |asked, _| Act::Send(asked.frame(&[0x83, 2]))),
    ("exception with a tail", |asked, _| Act::Send(asked.frame(&[0x84, 2, 0, 0]))),
    ("giant length", |_, mut right| {
        right[4..6].copy_from_slice(&[0xFF, 0xFF]);
        Act::Send(right)
    }),
    ("length zero", |_, right| changed(right, 5, 0)),
    ("byte count too small", |_, right| changed(right, 8, 2)),
    ("byte count too large", |_, right| changed(right, 8, 6)),
    ("odd byte count", |_, right| changed(right, 8, 3)),
    ("fewer words", |asked, _| Act::Send(asked.words(&[1]))),
    ("more words", |asked, _| Act::Send(asked.words(&[1, 2, 3]))),
    ("cut off and closed", |_, right| Act::SendAndClose(right[..9].to_vec())),
];

#[tokio::test]
async fn an_answer_that_breaks_the_protocol_drops_the_connection_and_keeps_the_reading() {
    for (name, fault) in MALFORMED {
        let device = Device::start().await;
        device.set(1, 10, 700);
        device.set(1, 11, 77);
        device.script(
            move |asked, right| {
                if asked.number == 1 { fault(asked, right) } else { Act::Send(right) }
            },
        );
        let mut reader = device.read(vec![meter(1, &[10, 11])]);
        let first = reader.next(0).await;
        assert_eq!(watts(&first), Some(777.0), "{name}");
        let bad = reader.next(0).await;
        assert_eq!(bad.status, MeterStatus::Malformed, "{name}");
        assert_eq!(bad.power, first.power, "{name}");
        let again = reader.next(0).await;
        assert_eq!((again.status, watts(&again)), (MeterStatus::Ok, Some(777.0)), "{name}");
        assert_eq!(device.connections(), 2, "{name}");
    }
}

const UNREACHABLE: [(&str, Fault); 6] = [
    ("swallowed", |_, _| Act::Silence),
    ("slow drip", |_, right| Act::Drip(Duration::from_millis(40), right)),
    ("an answer that stops in the middle", |_, right| Act::Send(right[..10].to_vec())),
    ("a header alone", |_, right| Act::Send(right[..7].to_vec())),
    ("closed", |_, _| Act::SendAndClose(Vec::new())),
    ("reset", |_, _| Act::Reset),
];

#[tokio::test]
async fn an_answer_that_does_not_come_drops_the_connection_and_keeps_the_reading() {
    for (name, fault) in UNREACHABLE {
        let device = Device::start().await;
        device.set(1, 10, 700);
        device.script(
            move |asked, right| {
                if asked.number == 1 { fault(asked, right) } else { Act::Send(right) }
            },
        );
        let mut reader = device.read(vec![meter(1, &[10])]);
        let first = reader.next(0).await;
        assert_eq!(watts(&first), Some(700.0), "{name}");
        let asked = reader.clock.now();
        let bad = reader.next(0).await;
        let waited = reader.clock.now() - asked;
        assert_eq!(bad.status, MeterStatus::Unreachable, "{name}");
        assert!(waited < TIMEOUT + Duration::from_millis(500), "{name}: {waited:?}");
        assert_eq!(bad.power, first.power, "{name}");
        let again = reader.next(0).await;
        assert_eq!((again.status, watts(&again)), (MeterStatus::Ok, Some(700.0)), "{name}");
        assert_eq!(device.connections(), 2, "{name}");
    }
}

#[tokio::test]
async fn an_exception_keeps_the_connection() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    const CODES: [u8; 9] = [1, 2, 3, 4, 5, 6, 8, 99, 0];
    device.script(|asked, right| match CODES.get(asked.number) {
        Some(code) => Act::Send(asked.exception(*code)),
        None => Act::Send(right),
    });
    let mut reader = device.read(vec![meter(1, &[10])]);
    for code in CODES {
        let input = reader.next(0).await;
        assert_eq!((input.status, input.power), (MeterStatus::Exception(code), None));
    }
    assert_eq!(reader.next(0).await.status, MeterStatus::Ok);
    assert_eq!(device.connections(), 1);
    let kinds = reader.meters.counters[0].exceptions();
    assert_eq!(kinds, [("configuration", 3), ("transient", 2), ("device", 4)]);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_never_become_a_value() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.script(|asked, mut right| {
        if asked.number == 1 {
            // A second answer, to the transaction that comes next.
            let next = u16::from_be_bytes(asked.transaction).wrapping_add(1).to_be_bytes();
            let second = Asked { transaction: next, ..asked.clone() };
            right.extend(second.words(&[666]));
        }
        Act::Send(right)
    });
    let mut reader = device.read(vec![meter(1, &[10])]);
    for status in [MeterStatus::Ok, MeterStatus::Ok, MeterStatus::Malformed, MeterStatus::Ok] {
        let input = reader.next(0).await;
        assert_eq!((input.status, watts(&input)), (status, Some(700.0)));
    }
    assert_eq!(device.connections(), 2);
}

#[tokio::test]
async fn a_merged_read_is_split_after_exception_2_and_stays_split() {
    let device = Device::start().await;
    for (address, value) in [(10, 100), (11, 20), (12, 3)] {
        device.set(1, address, value);
    }
    device.script(|asked, right| match asked.count {
        1 => Act::Send(right),
        _ => Act::Send(asked.exception(2)),
    });
    let mut reader = device.read(vec![meter(1, &[10, 11, 12])]);
    for _ in 0..3 {
        let input = reader.next(0).await;
        assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(123.0)));
    }
    let counts: Vec<u16> = device.asked().iter().map(|asked| asked.count).collect();
    assert_eq!(counts[..5], [3, 1, 2, 1, 1], "split while the first reading is taken");
    assert!(counts[5..].iter().all(|count| *count == 1), "and remembered: {counts:?}");
    assert_eq!(device.connections(), 1);
    assert_eq!(reader.reads(0, "exception"), 0);
}

#[tokio::test]
async fn a_gap_between_registers_is_never_read() {
    let device = Device::start().await;
    for (address, value) in [(10, 100), (11, 20), (13, 3)] {
        device.set(1, address, value);
    }
    let mut reader = device.read(vec![meter(1, &[13, 10, 11])]);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(123.0));
    let spans: Vec<_> = device.asked().iter().map(|asked| (asked.address, asked.count)).collect();
    assert_eq!(spans[..2], [(10, 2), (13, 1)]);
}

#[tokio::test]
async fn a_sentinel_is_unavailable_and_not_zero() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    device.set(1, 11, 5);
    let mut reader = device.read(vec![meter(1, &[10, 11])]);
    let good = reader.until(0, MeterStatus::Ok).await;
    assert_eq!(watts(&good), Some(705.0));
    device.set(1, 11, 0xFFFF);
    let absent = reader.until(0, MeterStatus::Unavailable).await;
    assert_eq!(watts(&absent), Some(705.0), "the latest good reading");
    assert!(reader.now(0).power.unwrap().at < reader.clock.now().earlier(Duration::from_millis(50)));
    device.set(1, 11, 6);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(706.0));
}

#[tokio::test]
async fn an_implausible_value_and_a_frozen_one_are_told_apart_from_a_good_one() {
    let device = Device::start().await;
    device.set(1, 10, 700);
    let mut connection = meter(1, &[10]);
    connection.invert = true;
    connection.plausible = plausible(-1000, 0);
    connection.frozen_after = Some(Duration::from_millis(350));
    let mut reader = device.read(vec![connection]);
    let good = reader.until(0, MeterStatus::Ok).await;
    assert_eq!(watts(&good), Some(-700.0));
    let frozen = reader.until(0, MeterStatus::Frozen).await;
    let stamp = frozen.power.unwrap().at;
    assert!(stamp - good.power.unwrap().at <= Duration::from_millis(350));
    assert_eq!(reader.next(0).await.power.unwrap().at, stamp, "stands still");
    device.set(1, 10, 1100);
    let absurd = reader.until(0, MeterStatus::Implausible).await;
    assert_eq!((watts(&absurd), absurd.power.unwrap().at), (Some(-700.0), stamp));
    device.set(1, 10, 701);
    let moved = reader.until(0, MeterStatus::Ok).await;
    assert_eq!(watts(&moved), Some(-701.0));
    assert!(moved.power.unwrap().at > stamp);
}
