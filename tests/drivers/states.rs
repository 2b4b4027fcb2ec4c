//! What devices say while they sleep, start, are out of order or were just updated: they leave fields out, and are read all
//! the same. Each case is a driver before a simulated miner some of whose answers are replaced by recorded shapes.

use crate::drivers_proxy;
use crate::sim_servers::bench;

use std::path::Path;
use std::time::Duration;

use ballast::control::snapshot::{Activity, Measured, MinerStatus, Target};
use ballast::miner::{Connection, Driver, DriverKind, Endpoint, Urgency, driver, http_client};
use ballast::sim::miner::Initial;
use ballast::units::{Hashrate, Watts};
use bench::{Bench, PASSWORD};
use drivers_proxy::{Fate, Proxy, Wire};
use serde_json::Value;

/// An answer that takes the place of a true one: the request, and a fixture of its driver or bytes of its own.
type Answer = (&'static str, &'static str);

fn fixture(kind: DriverKind, name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind.name()).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn key(request: &str) -> String {
    if let Ok(value) = serde_json::from_str::<Value>(request) {
        let name = value.get("command").or_else(|| value.get("cmd")).and_then(Value::as_str);
        return name.unwrap_or_default().to_owned();
    }
    request.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

struct Stand {
    bench: Bench,
    proxy: Proxy,
    driver: Box<dyn Driver>,
}

async fn stand(kind: DriverKind, seed: u64, initial: Initial, answers: &'static [Answer]) -> Stand {
    let bench = Bench::start_seeded(kind, initial, seed).await;
    let proxy = Proxy::start(Wire::of(kind), "127.0.0.1:0".parse().unwrap(), bench.address(), PASSWORD).await;
    proxy.judge(move |request, _| {
        let about = key(request);
        match answers.iter().find(|(wanted, _)| *wanted == about) {
            Some((_, raw)) if raw.starts_with("HTTP/") => Fate::Raw(raw.as_bytes().to_vec()),
            Some((_, name)) => Fate::Body(fixture(kind, name)),
            None => Fate::Pass,
        }
    });
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: proxy.address.port() };
    let connection = Connection { endpoint, timeout: Duration::from_secs(4), ..bench.connection() };
    let driver = driver(&connection, &http_client().unwrap());
    Stand { bench, proxy, driver }
}

/// One reading of a miner that hashes but for what is replaced.
async fn read(kind: DriverKind, answers: &'static [Answer]) -> MinerStatus {
    let mut stand = stand(kind, 1, Initial::Hashing { fraction: 1.0 }, answers).await;
    stand.driver.read().await.unwrap_or_else(|error| panic!("{} {answers:?}: {error}", kind.name()))
}

const DOWN: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn what_sleeps_is_asleep_whatever_it_leaves_out() {
    let cases: [(DriverKind, &'static [Answer], Option<i32>); 6] = [
        (
            DriverKind::BitmainStock,
            &[
                ("GET /cgi-bin/stats.cgi", "2022.12/stats_asleep.json"),
                ("GET /cgi-bin/get_miner_conf.cgi", "2022.12/config_asleep.json"),
            ],
            None,
        ),
        // It draws far more asleep than its data sheet says.
        (DriverKind::Avalon, &[("estats", "q/estats_asleep.json")], Some(146)),
        (
            DriverKind::BraiinsOs,
            &[
                ("GET /api/v1/miner/stats", "26.04/miner_stats_paused.json"),
                ("GET /api/v1/miner/details", "26.04/miner_details_paused.json"),
            ],
            None,
        ),
        (DriverKind::Epic, &[("GET /summary", "1.30.0/summary_idle.json")], None),
        (DriverKind::Proto, &[("GET /api/v1/mining", "1.8.2/mining_stopped.json")], Some(200)),
        (
            DriverKind::Mara,
            &[
                ("GET /kaonsu/v1/brief", DOWN),
                ("GET /kaonsu/v1/miner_config", "2.3/miner_config_asleep.json"),
            ],
            None,
        ),
    ];
    for (kind, answers, watts) in cases {
        let status = read(kind, answers).await;
        let name = kind.name();
        assert_eq!(status.activity, Activity::Asleep, "{name}");
        assert_eq!(status.target, Measured::Value(Target::Sleep), "{name}");
        assert_eq!(status.power.value(), watts.map(Watts::whole), "{name}");
        assert!(status.hashrate.value().is_none_or(|rate| rate == Hashrate::ZERO), "{name}");
    }
}

#[tokio::test]
async fn what_starts_is_starting_and_not_unreachable() {
    let cases: [(DriverKind, &'static [Answer]); 9] = [
        (DriverKind::BitmainStock, &[("GET /cgi-bin/stats.cgi", "2022.12/stats_starting.json")]),
        (DriverKind::Avalon, &[("estats", "q/estats_starting.json"), ("summary", "q/estats_starting.json")]),
        (DriverKind::WhatsminerV2, &[("summary", "20230803.11/summary_empty.json")]),
        (
            DriverKind::WhatsminerV3,
            &[("get.miner.status", "20251209.16/get_miner_status_summary_just_started.json")],
        ),
        (
            DriverKind::BraiinsOs,
            &[
                ("GET /api/v1/miner/stats", DOWN),
                ("GET /api/v1/miner/details", "26.04/miner_details_starting.json"),
                ("GET /api/v1/performance/tuner-state", DOWN),
            ],
        ),
        (
            DriverKind::Vnish,
            &[
                ("GET /api/v1/summary", "1.3.4/summary_down.json"),
                ("GET /api/v1/status", "1.3.4/status_starting.json"),
            ],
        ),
        (DriverKind::Mara, &[("GET /kaonsu/v1/brief", "2.3/brief_starting.json")]),
        (DriverKind::Mara, &[("GET /kaonsu/v1/brief", DOWN)]),
        (
            DriverKind::Proto,
            &[("GET /api/v1/mining", "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")],
        ),
    ];
    for (kind, answers) in cases {
        let status = read(kind, answers).await;
        let what = format!("{} {answers:?}", kind.name());
        assert_eq!(status.activity, Activity::Starting, "{what}");
        // What it does not say is no number, and least of all the counter that was never set.
        assert_eq!((status.power.value(), status.hashrate.value()), (None, None), "{what}");
    }
    // What tells nothing at all is known to be there.
    for (kind, answers) in [
        (DriverKind::SealMiner, &[("stats", "2025091001/stats_empty.json")][..]),
        (DriverKind::Auradine, &[("GET /mode", DOWN), ("GET /psu", DOWN)]),
    ] {
        assert_eq!(read(kind, answers).await.activity, Activity::Unknown, "{}", kind.name());
    }
}

#[tokio::test]
async fn what_is_out_of_order_is_a_fault_without_a_hashrate() {
    let cases: [(DriverKind, &'static [Answer], &str); 3] = [
        (DriverKind::AxeOs, &[("GET /api/system/info", "2.14/info_power_fault.json")], "Overcurrent"),
        (DriverKind::Vnish, &[("GET /api/v1/summary", "1.3.4/summary_failure.json")], "No chains found"),
        (DriverKind::Proto, &[("GET /api/v1/mining", "1.8.2/mining_no_pools.json")], "no pool"),
    ];
    for (kind, answers, fault) in cases {
        let status = read(kind, answers).await;
        assert_eq!(status.activity, Activity::Fault(fault.into()), "{}", kind.name());
        assert!(status.hashrate.value().is_none_or(|rate| rate == Hashrate::ZERO), "{}", kind.name());
    }
}

#[tokio::test]
async fn a_stock_antminer_that_sleeps_without_stats_wakes() {
    let answers: &[Answer] = &[("GET /cgi-bin/stats.cgi", "2022.12/stats_asleep.json")];
    let mut stand = stand(DriverKind::BitmainStock, 1, Initial::Asleep, answers).await;
    assert_eq!(stand.driver.read().await.unwrap().activity, Activity::Asleep);
    stand.driver.apply(Target::Power(Watts::whole(3_400)), Urgency::Normal).await.unwrap();
    stand.bench.until("waking", |bench| bench.power() > 3_000.0).await;
    drop(stand.proxy);
}

#[tokio::test]
async fn a_whatsminer_with_a_slip_in_every_second_field_is_read() {
    let status = read(DriverKind::WhatsminerV2, &[("summary", "20230803.11/summary_nearly_json.json")]).await;
    assert_eq!(status.activity, Activity::Hashing);
    assert_eq!(status.power, Measured::Value(Watts::whole(3_214)));
    assert_eq!(status.hashrate, Measured::Value(Hashrate::saturating(124.91e12)));
    assert_eq!(status.uptime, None);
    // Its `HS RT` in hashes and all else in megahashes.
    let status = read(DriverKind::WhatsminerV2, &[("summary", "20230803.11/summary_other_unit.json")]).await;
    let rate = status.hashrate.value().unwrap().as_terahashes();
    assert!((124.0..126.0).contains(&rate), "{rate} TH/s");
}

#[tokio::test]
async fn a_nano_3_tells_its_watts_in_another_place_than_a_nano_3s() {
    let status = read(DriverKind::Avalon, &[("estats", "nano3/estats.json")]).await;
    assert_eq!(status.power, Measured::Value(Watts::whole(89)));
    assert_eq!(status.activity, Activity::Hashing);
}

#[tokio::test]
async fn milliwatts_of_a_relative_of_axeos_are_not_watts() {
    let watts = |status: MinerStatus| status.power.value().unwrap().get();
    for name in ["nerdqaxe-1.0/info.json", "nerdqaxe-1.0/info_milliwatts.json"] {
        let answers = if name.ends_with("watts.json") {
            &[("GET /api/system/info", "nerdqaxe-1.0/info_milliwatts.json")]
        } else {
            &[("GET /api/system/info", "nerdqaxe-1.0/info.json")]
        };
        assert!((watts(read(DriverKind::AxeOs, answers).await) - 78.25).abs() < 0.01, "{name}");
    }
}

#[tokio::test]
async fn a_luxos_whose_mining_software_starts_is_read_by_its_configuration() {
    let mut stand = stand(DriverKind::Luxos, 1, Initial::Hashing { fraction: 1.0 }, &[]).await;
    let starting: Value =
        serde_json::from_slice(&fixture(DriverKind::Luxos, "2025.4/summary_starting.json")).unwrap();
    stand.proxy.judge(move |_, body| {
        let whole = serde_json::from_slice::<Value>(body.strip_suffix(b"\0").unwrap_or(body));
        let Ok(mut value) = whole else { return Fate::Pass };
        for section in ["summary", "power", "profiles"] {
            if value.get(section).is_some() {
                value[section] = serde_json::json!([starting]);
            }
        }
        Fate::Body(value.to_string().into_bytes())
    });
    let status = stand.driver.read().await.unwrap();
    assert_eq!((status.activity, status.power.value()), (Activity::Starting, None));
}
