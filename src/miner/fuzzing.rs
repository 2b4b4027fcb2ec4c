//! A way in for the fuzz targets and for property tests: any bytes as the answers of a miner, through its readers alone, or
//! through the whole driver.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::Value;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::control::snapshot::{Activity, MinerStatus, Target};
use crate::miner::drivers::{
    auradine, avalon, axeos, bitmain_stock, braiins_os, cgminer_readonly, epic, luxos, mara, proto, redfish,
};
use crate::miner::drivers::{sealminer, vnish, whatsminer_v2, whatsminer_v3, zeusd};
use crate::miner::reply::said::Said;
use crate::miner::reply::{fields, mend, splice};
use crate::miner::wire::{exchange, frames};
use crate::miner::{Connection, Credentials, DriverKind, Endpoint, Urgency, driver, http_client};
use crate::secret::Secret;
use crate::units::Watts;

/// Between two answers; the ASCII sign for it.
pub const SEPARATOR: u8 = 0x1e;
/// Answers that are given in turn; then the last one again.
const ANSWERS_MAX: usize = 16;
/// The longest that a driver may take here.
const LIMIT: Duration = Duration::from_secs(2);

/// How answers go over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// As they are, then the connection ends.
    Cgminer,
    /// Behind a length.
    Frames,
    /// As the bodies of successes.
    Http,
}

/// The drivers of a wire; the generic ones are what their description makes them and are left out, and a BMC is spared: its driver
/// waits longer between two orders than a life here takes.
pub fn kinds(wire: Wire) -> &'static [DriverKind] {
    match wire {
        Wire::Cgminer => &[
            DriverKind::WhatsminerV2,
            DriverKind::Luxos,
            DriverKind::Avalon,
            DriverKind::CgminerReadOnly,
            DriverKind::SealMiner,
        ],
        Wire::Frames => &[DriverKind::WhatsminerV3],
        Wire::Http => &[
            DriverKind::BraiinsOs,
            DriverKind::Vnish,
            DriverKind::BitmainStock,
            DriverKind::Epic,
            DriverKind::AxeOs,
            DriverKind::Auradine,
            DriverKind::Proto,
            DriverKind::Mara,
            DriverKind::Ballast,
            DriverKind::Zeusd,
        ],
    }
}

/// The readers of one driver.
type Readers = fn(&Value) -> Vec<Said>;

/// Any bytes on the connection of a miner that speaks the cgminer API: the reply is taken off it and read by every driver of
/// that API.
///
/// # Panics
/// When a reading is none that the control law may see.
pub fn cgminer_parsers(bytes: &[u8]) {
    let mut stream = bytes;
    let Some(Ok(reply)) = at_once(exchange::reply(&mut stream, 1024 * 1024)) else { return };
    assert!(reply.len() <= bytes.len(), "a reply longer than what came");
    let readers: [Readers; 6] = [
        whatsminer_v2::read_all,
        luxos::read_all,
        avalon::read_all,
        cgminer_readonly::read_all,
        sealminer::read_all,
        auradine::read_all,
    ];
    read_with(&reply, &readers);
}

/// The same for frames of Whatsminer API 3, one after the other; and for the bytes as what is in one.
///
/// # Panics
/// As [`cgminer_parsers`].
pub fn frame_parsers(bytes: &[u8]) {
    let mut stream = bytes;
    for _ in 0..ANSWERS_MAX {
        let Some(Ok(answer)) = at_once(frames::read(&mut stream, 1024 * 1024)) else { break };
        read_with(&answer, &[whatsminer_v3::read_all]);
    }
    read_with(bytes, &[whatsminer_v3::read_all]);
}

/// The same for the body of an answer over HTTP, and for a configuration that is written back.
///
/// # Panics
/// As [`cgminer_parsers`], and when a configuration that is written back would differ in more than it should.
pub fn http_parsers(bytes: &[u8]) {
    let readers: [Readers; 10] = [
        braiins_os::read_all,
        vnish::read_all,
        bitmain_stock::read_all,
        epic::read_all,
        axeos::read_all,
        auradine::read_all,
        proto::read_all,
        mara::read_all,
        redfish::read_all,
        zeusd::read_all,
    ];
    let Some(value) = read_with(bytes, &readers) else { return };
    if bitmain_stock::Mode::of(&value).is_some() {
        bitmain_stock::rewrite(bytes);
    }
    if let (Some(_), Ok(text)) = (value.pointer("/mode/work-mode-selector"), std::str::from_utf8(bytes)) {
        let change = splice::Change { path: &["mode", "work-mode-selector"], value: "\"Sleep\"".to_owned() };
        if let Ok(written) = splice::replace(text, &[change]) {
            assert!(serde_json::from_str::<Value>(&written).is_ok(), "what is written back is no JSON");
        }
    }
}

/// The outcome of something that never waits, since all its bytes are there.
fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

/// Gives the value, where the bytes hold one.
fn read_with(bytes: &[u8], readers: &[Readers]) -> Option<Value> {
    let read = mend::read(bytes).ok()?;
    for said in readers.iter().flat_map(|reader| reader(&read.value)) {
        let watts = said.power.value().map_or(0.0, Watts::get);
        assert!((0.0..=fields::MOST_WATTS).contains(&watts), "{watts} W");
        let rate = said.hashrate.value().map_or(0.0, |rate| rate.get());
        assert!((0.0..=fields::MOST_HASHES).contains(&rate), "{rate} H/s");
        if let Activity::Fault(words) = &said.activity {
            assert!(words.len() <= 1_024 && !words.contains(char::is_control), "{words:?}");
        }
    }
    Some(read.value)
}

/// Reads, commands and reads again, with these bytes as the answers; gives the readings that came of them.
///
/// # Panics
/// When a reading is none that the control law may see, or when a driver does not come back.
pub fn life(wire: Wire, kind: DriverKind, bytes: &[u8]) -> Vec<MinerStatus> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let mut answers: Vec<Vec<u8>> =
        bytes.split(|byte| *byte == SEPARATOR).take(ANSWERS_MAX).map(<[u8]>::to_vec).collect();
    answers.reverse();
    runtime.block_on(async {
        let Ok(listener) = TcpListener::bind("127.0.0.1:0").await else { return Vec::new() };
        let Ok(address) = listener.local_addr() else { return Vec::new() };
        let serving = serve(wire, listener, answers);
        let driving = async {
            let connection = Connection {
                name: Arc::from("m1"),
                driver: kind,
                endpoint: Endpoint { host: address.ip().to_string(), port: address.port() },
                credentials: Some(Credentials { username: None, password: Secret::new("fuzz".to_owned()) }),
                timeout: Duration::from_millis(100),
                rated: Watts::whole(3_300),
                device: None,
                certificate: None,
                gpus: None,
                pause: None,
                rated_is_told: true,
            };
            let Some(http) = client() else { return Vec::new() };
            let mut driver = driver(&connection, http);
            let mut read = Vec::new();
            let _ = driver.read().await.map(|status| read.push(status));
            let _ = driver.apply(Target::Power(Watts::whole(2_000)), Urgency::Shed).await;
            let _ = driver.apply(Target::Sleep, Urgency::Shed).await;
            let _ = driver.read().await.map(|status| read.push(status));
            driver.close().await;
            read
        };
        let read = tokio::select! {
            read = tokio::time::timeout(LIMIT, driving) => read,
            () = serving => Ok(Vec::new()),
        };
        assert!(read.is_ok(), "{} does not come back", kind.name());
        let read = read.unwrap_or_default();
        read.iter().for_each(|status| check(kind, status));
        read
    })
}

/// Building one costs more than all the rest.
fn client() -> Option<&'static reqwest::Client> {
    static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
    CLIENT.get_or_init(|| http_client().ok()).as_ref()
}

/// What must hold of every reading.
fn check(kind: DriverKind, status: &MinerStatus) {
    let name = kind.name();
    if let Some((low, high)) = status.range {
        assert!(low <= high, "{name}: a range from {low} to {high}");
    }
    if let Activity::Fault(words) = &status.activity {
        assert!(words.len() <= 1_024 && !words.contains(char::is_control), "{name}: {words:?}");
    }
    if let Some(points) = &status.points {
        assert!(points.len() <= 1_024, "{name}: {} points", points.len());
        assert!(points.iter().is_sorted_by_key(|point| point.power), "{name}: points out of order");
    }
}

async fn serve(wire: Wire, listener: TcpListener, mut answers: Vec<Vec<u8>>) {
    // One connection after the other is enough: a driver has one exchange in flight.
    while let Ok((mut stream, _)) = listener.accept().await {
        while let Some(true) = heard(wire, &mut stream).await {
            let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() };
            let answer = answer.unwrap_or_default();
            let length = u32::try_from(answer.len()).unwrap_or_default();
            let head = match wire {
                Wire::Cgminer => Vec::new(),
                Wire::Frames => length.to_le_bytes().to_vec(),
                Wire::Http => {
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")
                        .into_bytes()
                }
            };
            let sent = stream.write_all(&[head, answer].concat()).await;
            if sent.is_err() || wire != Wire::Frames {
                break;
            }
        }
        let _ = stream.shutdown().await;
    }
}

/// Waits for a request; what it says does not matter.
async fn heard(wire: Wire, stream: &mut TcpStream) -> Option<bool> {
    let mut part = vec![0; 16 * 1024];
    if wire != Wire::Http {
        return stream.read(&mut part).await.ok().map(|count| count > 0);
    }
    let mut request = Vec::new();
    loop {
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        request.extend(part.iter().take(count));
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
        let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0_usize);
        if body.len() >= length {
            return Some(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The captured answers of a driver, one after the other.
    fn fixtures(kind: DriverKind) -> Vec<Vec<u8>> {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind.name());
        let mut files: Vec<_> = std::fs::read_dir(root)
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(|version| std::fs::read_dir(version.path()).into_iter().flatten().flatten())
            .map(|file| file.path())
            .collect();
        files.sort();
        files.into_iter().filter_map(|file| std::fs::read(file).ok()).collect()
    }

    fn wires() -> impl Strategy<Value = (Wire, DriverKind)> {
        let all: Vec<_> = [Wire::Cgminer, Wire::Frames, Wire::Http]
            .into_iter()
            .flat_map(|wire| kinds(wire).iter().map(move |kind| (wire, *kind)))
            .collect();
        prop::sample::select(all)
    }

    #[test]
    fn every_driver_has_captured_answers_to_begin_with() {
        for wire in [Wire::Cgminer, Wire::Frames, Wire::Http] {
            for kind in kinds(wire) {
                assert!(!fixtures(*kind).is_empty(), "{}", kind.name());
            }
        }
    }

    type Parser = fn(&[u8]);
    const PARSERS: [(Wire, Parser); 3] =
        [(Wire::Cgminer, cgminer_parsers), (Wire::Frames, frame_parsers), (Wire::Http, http_parsers)];

    /// The captured answers of all drivers of a wire.
    fn all_fixtures(wire: Wire) -> Vec<Vec<u8>> {
        kinds(wire).iter().flat_map(|kind| fixtures(*kind)).collect()
    }

    #[test]
    fn every_captured_answer_is_read_by_the_parsers_alone() {
        for (wire, parse) in PARSERS {
            for answer in all_fixtures(wire) {
                parse(&answer);
                parse(&frames::frame(std::str::from_utf8(&answer).unwrap()).unwrap());
                parse(&[&answer[..], b"\0"].concat());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn no_answer_breaks_a_parser(which in any::<prop::sample::Index>(), cuts in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..40, "[\\[\\]{},:\"\\\\ 0-9a-n\\x00.-]{0,8}"), 0..6)) {
            for (wire, parse) in PARSERS {
                let answers = all_fixtures_once(wire);
                let mut bytes = answers[which.index(answers.len())].clone();
                for (place, length, by) in &cuts {
                    let from = place.index(bytes.len().max(1)).min(bytes.len());
                    let to = (from + length).min(bytes.len());
                    bytes.splice(from..to, by.bytes());
                }
                parse(&bytes);
            }
        }
    }

    /// Read from the disk once.
    fn all_fixtures_once(wire: Wire) -> &'static [Vec<u8>] {
        static ALL: OnceLock<Vec<(Wire, Vec<Vec<u8>>)>> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            [Wire::Cgminer, Wire::Frames, Wire::Http].map(|wire| (wire, all_fixtures(wire))).to_vec()
        });
        all.iter().find(|(of, _)| *of == wire).map(|(_, answers)| answers.as_slice()).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn no_answer_breaks_a_driver((wire, kind) in wires(), order in any::<u64>(), cuts in prop::collection::vec(
            (any::<prop::sample::Index>(), 0_usize..6, prop::collection::vec(any::<u8>(), 0..6)), 0..4)) {
            let mut files = fixtures(kind);
            let places = files.len();
            files.rotate_left(usize::try_from(order % 64).unwrap() % places.max(1));
            let mut bytes = files.join(&SEPARATOR);
            for (place, length, by) in cuts {
                let from = place.index(bytes.len().max(1)).min(bytes.len());
                let to = (from + length).min(bytes.len());
                bytes.splice(from..to, by);
            }
            life(wire, kind, &bytes);
        }
    }
}
