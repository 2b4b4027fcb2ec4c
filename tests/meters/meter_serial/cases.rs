//! What holds on every serial line, however it is reached.

use std::time::Duration;

use super::{Act, Asked, Device, Kind, PERIOD, Reader, TIMEOUT, frame, meter, watts};
use ballast::control::measure::Measure;
use ballast::control::snapshot::MeterStatus;
use ballast::meter::Link;
use ballast::meter::profile::{Format, Function};
use tokio::time::sleep;

/// Reads two registers of one unit for a time and fails as soon as one shows anything but its own value.
async fn never_crossed(device: &Device, time: Duration) -> Reader {
    device.set(1, 10, 1000);
    device.set(1, 20, 2000);
    let mut reader = device.read(vec![meter(1, &[10]), meter(1, &[20])]);
    let end = reader.clock.now() + time;
    while reader.clock.now() < end {
        for (index, right) in [(0, 1000.0), (1, 2000.0)] {
            let input = reader.next(index).await;
            let found = watts(&input);
            assert!(found.is_none_or(|value| (value - right).abs() < 0.5), "meter {index}: {input:?}");
        }
    }
    reader
}

/// The fault that all the care is for: an answer that comes after its timeout fits the next request.
pub async fn late_now_and_then(kind: Kind) {
    // Up to and beyond the time for which the line is left alone.
    let devices = [11, 15, 19, 21, 25, 33, 47].map(|tenths| async move {
        let device = Device::start(kind).await;
        device.script(move |asked, right| match asked.number % 7 {
            1 => Act::Late(TIMEOUT * tenths / 10, right),
            _ => Act::Send(right),
        });
        let reader = never_crossed(&device, Duration::from_secs(3)).await;
        assert!(
            reader.reads(0, "ok") > 2 && reader.reads(1, "ok") > 2,
            "after {tenths} tenths of the timeout"
        );
        assert!(reader.reads(0, "unreachable") + reader.reads(1, "unreachable") > 1, "{tenths}");
    });
    all(devices).await;
}

/// The hiccup hits the exchanges of the recovery itself, too.
pub async fn late_in_a_row(kind: Kind) {
    let devices = [15, 25, 35].map(|tenths| async move {
        let device = Device::start(kind).await;
        device.script(move |asked, right| match asked.number % 11 {
            2 | 3 | 6 => Act::Late(TIMEOUT * tenths / 10, right),
            _ => Act::Send(right),
        });
        let reader = never_crossed(&device, Duration::from_secs(4)).await;
        assert!(reader.reads(0, "unreachable") + reader.reads(1, "unreachable") > 1, "{tenths}");
    });
    all(devices).await;
}

pub async fn always_late(kind: Kind) {
    let devices = [15, 25, 35].map(|tenths| async move {
        let device = Device::start(kind).await;
        device.script(move |_, right| Act::Late(TIMEOUT * tenths / 10, right));
        let reader = never_crossed(&device, Duration::from_secs(3)).await;
        assert_eq!((reader.now(0).power, reader.now(1).power), (None, None), "{tenths}");
    });
    all(devices).await;
}

/// A gateway that gives each answer only when the next request comes, from the start or from some moment on: it is
/// always one answer behind, and every answer has the form of the one that was asked for.
pub async fn one_behind(kind: Kind) {
    let devices = [0_u32, 3, 8].map(|from| async move {
        let device = Device::start(kind).await;
        let mut held: Option<Vec<u8>> = None;
        let mut seen = 0;
        device.script(move |_, right| {
            seen += 1;
            if seen <= from {
                return Act::Send(right);
            }
            held.replace(right).map_or(Act::Silence, Act::Send)
        });
        let reader = never_crossed(&device, Duration::from_secs(4)).await;
        assert!(reader.reads(0, "malformed") + reader.reads(0, "unreachable") > 1, "{from}");
    });
    all(devices).await;
}

async fn all<F: Future<Output = ()> + Send + 'static>(tasks: impl IntoIterator<Item = F>) {
    let mut set: tokio::task::JoinSet<()> = tasks.into_iter().collect();
    while let Some(ended) = set.join_next().await {
        ended.unwrap();
    }
}

type Fault = fn(&Asked, Vec<u8>) -> Act;

fn changed(mut frame: Vec<u8>, index: usize) -> Act {
    frame[index] ^= 0x10;
    Act::Send(frame)
}

const MALFORMED: [(&str, Fault); 10] = [
    ("wrong check", |_, right| changed(right, 7)),
    ("flipped bit in a register", |_, right| changed(right, 4)),
    ("wrong unit", |asked, _| Act::Send(Asked { unit: 2, ..asked.clone() }.words(&[700, 77]))),
    ("wrong function", |asked, _| Act::Send(Asked { function: 3, ..asked.clone() }.words(&[700, 77]))),
    ("exception of another function", |asked, _| Act::Send(frame(&[asked.unit, 0x83, 2]))),
    ("fewer words", |asked, _| Act::Send(asked.words(&[1]))),
    ("more words", |asked, _| Act::Send(asked.words(&[1, 2, 3]))),
    ("odd byte count", |asked, _| Act::Send(frame(&[asked.unit, 4, 3, 1, 2, 3]))),
    ("noise before", |_, right| Act::Send([vec![0x55, 0xAA], right].concat())),
    ("the request comes back twice", |_, right| {
        Act::Send([frame(&[1, 4, 0, 10, 0, 2]), frame(&[1, 4, 0, 10, 0, 2]), right].concat())
    }),
];

/// An adapter that hears itself: each request comes back before its answer.
pub async fn echoes(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 10, 700);
    device.set(1, 11, 77);
    device.script(|_, right| Act::Send([frame(&[1, 4, 0, 10, 0, 2]), right].concat()));
    let mut reader = device.read(vec![meter(1, &[10, 11])]);
    for _ in 0..5 {
        let input = reader.next(0).await;
        assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(777.0)));
    }
    assert_eq!(reader.connections(), 1);
}

pub async fn malformed(kind: Kind) {
    all(MALFORMED.map(|(name, fault)| async move {
        let device = Device::start(kind).await;
        device.set(1, 10, 700);
        device.set(1, 11, 77);
        device.script(
            move |asked, right| if asked.number == 1 { fault(asked, right) } else { Act::Send(right) },
        );
        let mut reader = device.read(vec![meter(1, &[10, 11])]);
        let first = reader.next(0).await;
        assert_eq!(watts(&first), Some(777.0), "{name}");
        let bad = reader.next(0).await;
        assert_eq!((bad.status, bad.power), (MeterStatus::Malformed, first.power), "{name}");
        let again = reader.next(0).await;
        assert_eq!((again.status, watts(&again)), (MeterStatus::Ok, Some(777.0)), "{name}");
        assert_eq!(reader.connections(), 2, "{name}");
    }))
    .await;
}

const UNREACHABLE: [(&str, Fault); 4] = [
    ("swallowed", |_, _| Act::Silence),
    ("cut off", |_, right| Act::Send(right[..5].to_vec())),
    ("without its check", |_, right| Act::Send(right[..7].to_vec())),
    ("slow drip", |_, right| Act::Drip(Duration::from_millis(30), right)),
];

pub async fn unreachable(kind: Kind) {
    all(UNREACHABLE.map(|(name, fault)| async move {
        let device = Device::start(kind).await;
        device.set(1, 10, 700);
        device.set(1, 11, 77);
        device.script(
            move |asked, right| if asked.number == 1 { fault(asked, right) } else { Act::Send(right) },
        );
        let mut reader = device.read(vec![meter(1, &[10, 11])]);
        let first = reader.next(0).await;
        assert_eq!(watts(&first), Some(777.0), "{name}");
        let bad = reader.next(0).await;
        assert_eq!((bad.status, bad.power), (MeterStatus::Unreachable, first.power), "{name}");
        let again = reader.until(0, MeterStatus::Ok).await;
        assert_eq!(watts(&again), Some(777.0), "{name}");
        assert!(reader.connections() >= 2, "{name}");
    }))
    .await;
}

pub async fn exceptions_keep_the_link(kind: Kind) {
    const CODES: [u8; 9] = [1, 2, 3, 4, 5, 6, 8, 99, 0];
    let device = Device::start(kind).await;
    device.set(1, 10, 700);
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
    assert_eq!((reader.connections(), device.asked().len()), (1, CODES.len() + 1));
}

pub async fn silence_after_a_failure(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 10, 700);
    device.script(|asked, right| if asked.number == 2 { Act::Silence } else { Act::Send(right) });
    let mut reader = device.read(vec![meter(1, &[10])]);
    reader.until(0, MeterStatus::Unreachable).await;
    reader.until(0, MeterStatus::Ok).await;
    let asked = device.asked();
    let first = asked[0].at.since_start();
    assert!(first >= TIMEOUT, "whoever was here before may have asked: {first:?}");
    let after = asked[3].at - asked[2].at;
    assert!(after >= TIMEOUT * 2, "a timeout, and another for the answer to come: {after:?}");
    let doubt = [asked[4].at - asked[3].at, asked[5].at - asked[4].at];
    assert!(
        doubt[0] < TIMEOUT && doubt[1] >= TIMEOUT,
        "two in a row, then the line is listened to: {doubt:?}"
    );
    for pair in asked.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(5), "the gap is kept");
    }
}

pub async fn a_dead_unit_beside_a_living_one(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 10, 700);
    let mut reader = device.read(vec![meter(9, &[10]), meter(1, &[10])]);
    let start = reader.clock.now();
    let mut previous = start;
    let mut longest = Duration::ZERO;
    while reader.clock.now() - start < Duration::from_secs(3) {
        let input = reader.next(1).await;
        assert_eq!((input.status, watts(&input)), (MeterStatus::Ok, Some(700.0)));
        let at = input.power.unwrap().at;
        longest = longest.max(at - previous);
        previous = at;
    }
    assert_eq!(reader.now(0).status, MeterStatus::Unreachable);
    // The wait at the start, a timeout, and as long again in silence.
    assert!(longest < TIMEOUT * 3 + PERIOD + Duration::from_millis(300), "{longest:?}");
    assert!(reader.reads(1, "ok") >= 20, "{}", reader.reads(1, "ok"));
}

pub async fn a_dead_unit_that_comes_back(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 10, 700);
    let mut reader = device.read(vec![meter(9, &[10]), meter(1, &[10])]);
    reader.until(0, MeterStatus::Unreachable).await;
    device.set(9, 10, 900);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(900.0));
    assert_eq!(watts(&reader.now(1)), Some(700.0));
}

pub async fn unasked_bytes(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 10, 700);
    device.script(|asked, right| {
        // A second answer at once, and it would fit the next request.
        let second = if asked.number == 1 { asked.words(&[666]) } else { Vec::new() };
        Act::Send([right, second].concat())
    });
    let mut reader = device.read(vec![meter(1, &[10])]);
    for status in [MeterStatus::Ok, MeterStatus::Ok, MeterStatus::Malformed, MeterStatus::Ok] {
        let input = reader.next(0).await;
        assert_eq!((input.status, watts(&input)), (status, Some(700.0)));
    }
    assert_eq!(reader.connections(), 2);
}

pub async fn a_line_that_is_never_silent(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 10, 700);
    // A busy machine may stretch the pauses of the other master; they must stay shorter than the gap.
    let link = Link { gap: Duration::from_millis(60), ..device.link() };
    let mut reader = Reader::start(link, vec![meter(1, &[10])]);
    let end = reader.clock.now() + Duration::from_secs(1);
    while reader.clock.now() < end {
        // Another master's requests and answers, with hardly a pause.
        device.send(&frame(&[7, 4, 2, 6, 6])).await;
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(reader.now(0).power, None);
    assert!(device.asked().len() <= 1, "it is not talked into: {}", device.asked().len());
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(700.0), "and used once it is silent");
}

pub async fn unplugged_and_plugged_in_again(kind: Kind) {
    let mut device = Device::start(kind).await;
    device.set(1, 10, 700);
    let mut reader = device.read(vec![meter(1, &[10])]);
    let good = reader.until(0, MeterStatus::Ok).await;
    device.unplug().await;
    let gone = reader.until(0, MeterStatus::Unreachable).await;
    assert_eq!(watts(&gone), watts(&good));
    sleep(Duration::from_millis(500)).await;
    assert!(reader.meters.links[0].failures() > 0);
    assert!(!reader.meters.links[0].connected());
    device.set(1, 10, 800);
    device.plug().await;
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(800.0));
    device.unplug().await;
}

/// What is told beside power comes over the same line, and a late answer to it is no more believed than any other.
pub async fn other_points(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 10, 1000);
    device.set(1, 20, 50);
    device.set(1, 30, 230);
    let mut rich = meter(1, &[10]);
    for (measure, address) in [(Measure::Frequency, 20), (Measure::VoltageL1, 30)] {
        rich.profile.others.insert(measure, meter(1, &[address]).profile.power);
    }
    let mut late = 0;
    device.script(move |asked, right| match asked.address {
        30 if late < 1 => {
            late += 1;
            Act::Late(TIMEOUT * 17 / 10, right)
        }
        _ => Act::Send(right),
    });
    let mut reader = device.read(vec![rich]);
    let end = reader.clock.now() + Duration::from_secs(4);
    while reader.clock.now() < end {
        let input = reader.next(0).await;
        assert!(watts(&input).is_none_or(|value| (value - 1000.0).abs() < 0.5), "{input:?}");
        for (measure, right) in [(Measure::Frequency, 50.0), (Measure::VoltageL1, 230.0)] {
            let value = input.others.get(measure).map(|reading| reading.value);
            assert!(value.is_none_or(|value| (value - right).abs() < 0.5), "{measure:?}: {input:?}");
        }
    }
    let input = reader.now(0);
    assert_eq!(input.status, MeterStatus::Ok);
    assert!(input.others.get(Measure::Frequency).is_some());
    assert_eq!(reader.reads(0, "unreachable"), 0, "what fails beside power is no failure of the meter");
}

/// Single bits come over a serial line as well.
pub async fn single_bits(kind: Kind) {
    let device = Device::start(kind).await;
    device.set(1, 7, 0);
    device.script(|asked, _| match (asked.function, asked.address, asked.count) {
        (2, 7, 2) => Act::Send(frame(&[asked.unit, 2, 1, 0b10])),
        _ => Act::Silence,
    });
    let mut contacts = meter(1, &[7, 8]);
    for term in &mut contacts.profile.power.terms {
        (term.function, term.format, term.unavailable) = (Function::Discrete, Format::Bool, Vec::new());
        term.scale = f64::from(term.address);
    }
    let mut reader = device.read(vec![contacts]);
    assert_eq!(watts(&reader.until(0, MeterStatus::Ok).await), Some(8.0));
    device.script(|asked, _| Act::Send(frame(&[asked.unit, 2, 2, 0, 0])));
    reader.until(0, MeterStatus::Malformed).await;
}
