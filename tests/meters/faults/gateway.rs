//! Several units behind one gateway, and gateways that take few clients.

use std::time::Duration;

use ballast::control::snapshot::MeterStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::bench::{Kind, PATIENCE, Reader, Site, Spec, TIMEOUT, all, fault, watts};
use crate::stalls::Stalls;

const FOUR: [Spec; 4] = [
    ("grid", 1, 10, 1_000),
    ("hall", 2, 10, 20_000),
    ("roof", 17, 10, -300_000),
    ("pump", 247, 10, 4_000_000),
];
const TWO: [Spec; 2] = [("living", 1, 10, 1_000), ("dead", 2, 10, 20_000)];
const ONE: [Spec; 1] = [("grid", 1, 10, 12_345)];

#[tokio::test(flavor = "multi_thread")]
async fn many_units_share_one_connection() {
    all(Kind::ALL.map(|kind| async move {
        let mut reader = Reader::start(kind, &FOUR, "").await;
        for (meter, (name, _, _, value)) in FOUR.into_iter().enumerate() {
            let good = reader.until(meter, MeterStatus::Ok).await;
            assert_eq!(watts(&good), Some(f64::from(value)), "{kind:?} {name}");
        }
        sleep(Duration::from_millis(500)).await;
        let end = reader.clock.now() + PATIENCE;
        while (0..FOUR.len()).any(|meter| reader.reads(meter, "ok") <= 5) && reader.clock.now() < end {
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(reader.connections(), 1, "{kind:?}");
        for meter in 0..FOUR.len() {
            let counters = &reader.meters.counters[meter];
            let others: u64 = counters.reads().iter().filter(|(name, _)| *name != "ok").map(|(_, n)| n).sum();
            assert!(counters.reads_of("ok") > 5 && others == 0, "{kind:?}: {:?}", counters.reads());
        }
    }))
    .await;
}

/// The longest time between two good readings of a meter while something is watched.
async fn longest_gap(reader: &mut Reader, meter: usize, time: Duration) -> (Duration, u32) {
    let mut previous = reader.until(meter, MeterStatus::Ok).await.power.unwrap().at;
    let (end, mut longest, mut count) = (previous + time, Duration::ZERO, 0);
    while previous < end {
        let input = reader.next(meter).await;
        assert_eq!(input.status, MeterStatus::Ok, "the living one has no failure");
        let at = input.power.unwrap().at;
        longest = longest.max(at - previous);
        previous = at;
        count += 1;
    }
    (longest, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_unit_leaves_its_neighbour_its_period() {
    let period = Duration::from_millis(100);
    let site = Site::start(Kind::Tcp, &TWO, &fault("0s", "1h", "dead", "fault = \"silent\"")).await;
    let mut reader =
        site.read(&TWO, |config| config.meters.iter_mut().for_each(|meter| meter.period = period));
    let stalls = Stalls::watch();
    let (longest, count) = longest_gap(&mut reader, 0, Duration::from_secs(4)).await;
    // A timeout of the dead unit may hold a reading up, and the reconnection after it.
    assert!(longest < period + TIMEOUT + Duration::from_millis(90) + stalls.most(), "{longest:?}");
    assert!(count >= 36, "{count} of 40 readings: the beat is kept");
    assert_eq!(reader.now(1).status, MeterStatus::Unreachable);
    assert_eq!(reader.now(1).power, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_unit_on_a_serial_line_costs_its_neighbour_two_timeouts_now_and_then() {
    all([Kind::OverTcp, Kind::Pty].map(|kind| async move {
        let site = Site::start(kind, &TWO, &fault("0s", "1h", "dead", "fault = \"silent\"")).await;
        let mut reader = site.read(&TWO, |config| {
            config.meters.iter_mut().for_each(|meter| meter.period = Duration::from_millis(100));
        });
        let stalls = Stalls::watch();
        let (longest, count) = longest_gap(&mut reader, 0, Duration::from_secs(4)).await;
        assert!(
            longest < Duration::from_millis(100) + TIMEOUT * 3 + Duration::from_millis(150) + stalls.most(),
            "{longest:?}"
        );
        assert!(count >= 28, "{kind:?}: {count} of 40 readings");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_is_not_there_is_told_apart_from_a_dead_one() {
    let stranger = |config: &mut ballast::config::Config| config.meters[1].unit = 99;
    let mut tcp = Site::start(Kind::Tcp, &TWO, "").await.read(&TWO, stranger);
    assert_eq!(tcp.next(1).await.status, MeterStatus::Exception(11), "the gateway says so");
    let mut serial = Site::start(Kind::OverTcp, &TWO, "").await.read(&TWO, stranger);
    assert_eq!(serial.next(1).await.status, MeterStatus::Unreachable, "a line says nothing");
    for reader in [&mut tcp, &mut serial] {
        reader.until(0, MeterStatus::Ok).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_takes_connections_and_says_nothing_is_unreachable() {
    all(Kind::ALL.map(|kind| async move {
        let events = fault("500ms", "500ms", "living", "fault = \"mute\"");
        let mut reader = Reader::start(kind, &TWO, &events).await;
        for meter in [0, 1] {
            reader.until(meter, MeterStatus::Ok).await;
        }
        for meter in [0, 1] {
            let dead = reader.until(meter, MeterStatus::Unreachable).await;
            assert_eq!(watts(&dead), Some(f64::from(TWO[meter].3)), "{kind:?}: all units of the link");
        }
        for meter in [0, 1] {
            reader.until(meter, MeterStatus::Ok).await;
        }
    }))
    .await;
}

/// Somebody else's client, and whether it is still served.
struct Laptop(TcpStream);

impl Laptop {
    async fn connect(port: u16) -> Self {
        Self(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    async fn is_served(&mut self) -> bool {
        let request = [0, 1, 0, 0, 0, 6, 1, 4, 0, 10, 0, 2];
        let mut answer = [0; 13];
        self.0.write_all(&request).await.is_ok()
            && matches!(timeout(Duration::from_secs(60), self.0.read_exact(&mut answer)).await, Ok(Ok(_)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_takes_one_client_is_read_when_it_is_free() {
    let events = fault("0s", "1h", "grid", "fault = \"clients\", most = 1");
    let site = Site::start(Kind::Tcp, &ONE, &events).await;
    let mut laptop = Laptop::connect(site.port).await;
    assert!(laptop.is_served().await);
    let mut reader = site.read(&ONE, |_| ());
    reader.until(0, MeterStatus::Unreachable).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(reader.now(0).power, None);
    assert!(reader.connections() <= 12, "it is not besieged: {}", reader.connections());
    assert!(laptop.is_served().await, "and the other client not disturbed");
    drop(laptop);
    reader.until(0, MeterStatus::Ok).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meter_that_throws_the_older_client_out_is_won_back() {
    let events = fault("0s", "1h", "grid", "fault = \"clients\", most = 1, keeps = \"last\"");
    let site = Site::start(Kind::Tcp, &ONE, &events).await;
    let port = site.port;
    let mut reader = site.read(&ONE, |config| config.meters[0].period = Duration::from_millis(300));
    reader.until(0, MeterStatus::Ok).await;
    let mut laptop = Laptop::connect(port).await;
    assert!(laptop.is_served().await, "the last one counts");
    let before = reader.connections();
    for _ in 0..3 {
        let again = reader.next(0).await;
        assert_eq!((again.status, watts(&again)), (MeterStatus::Ok, Some(12_345.0)), "no read fails");
    }
    assert_eq!(reader.connections(), before + 1, "it connects anew");
    assert!(!laptop.is_served().await, "and now the laptop is out");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gap_is_kept_between_the_units_of_a_gateway() {
    let gap = Duration::from_millis(40);
    let site = Site::start(Kind::Tcp, &FOUR, "").await;
    let mut reader = site.read(&FOUR, |config| config.links[0].gap = gap);
    let start = reader.clock.now();
    for meter in 0..FOUR.len() {
        reader.until(meter, MeterStatus::Ok).await;
    }
    sleep(Duration::from_secs(2)).await;
    let reads: u64 = (0..FOUR.len()).map(|meter| reader.reads(meter, "ok")).sum();
    let most = (reader.clock.now() - start).as_millis() / gap.as_millis() + 1;
    assert!(u128::from(reads) <= most, "{reads} reads, room for {most}");
    assert!(u128::from(reads) > most / 2, "{reads} reads of {most}: and no more than the gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_of_the_wrong_kind_never_gives_a_value() {
    use ballast::meter::Transport;
    use ballast::meter::line::Line;
    for kind in [Kind::Tcp, Kind::OverTcp] {
        let site = Site::start(kind, &ONE, "").await;
        let mut reader = site.read(&ONE, |config| {
            let transport = &mut config.links[0].transport;
            *transport = match transport.clone() {
                Transport::Tcp(endpoint) => Transport::RtuOverTcp(endpoint, Line::default()),
                Transport::RtuOverTcp(endpoint, _) => Transport::Tcp(endpoint),
                other => other,
            };
        });
        for _ in 0..5 {
            let input = reader.next(0).await;
            assert!(
                matches!(input.status, MeterStatus::Unreachable | MeterStatus::Malformed)
                    && input.power.is_none(),
                "{kind:?}: {input:?}"
            );
        }
    }
}
