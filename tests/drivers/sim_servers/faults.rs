//! Faults, and the way in and out of the network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ballast::miner::{DriverKind, Endpoint};
use ballast::sim::miner::{Fault, FaultKind, Initial};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bench::{Bench, PASSWORD};
use super::braiins_os::Rest;
use super::whatsminer_v2::{V2Session, v2, v2_raw};
use super::whatsminer_v3::V3;

/// Before a simulated miner closes a silent connection by itself, after ten seconds.
const SOON: Duration = Duration::from_secs(8);

/// Waits until an address takes connections, or takes none any more; fails after a minute.
async fn takes_connections(address: SocketAddr, wanted: bool) {
    for _ in 0..1_200 {
        if TcpStream::connect(address).await.is_ok() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{address} takes connections: still not {wanted}");
}

#[tokio::test]
async fn a_slow_miner_answers_late_but_acts_at_once() {
    let bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(bench.address()).await;
    bench.inject(Fault::Slow { delay: Duration::from_millis(600) });
    #[expect(clippy::disallowed_methods, reason = "the test measures real time")]
    let before = Instant::now();
    assert_eq!(rest.put("actions/pause", Value::Null).await.0, 200);
    assert!(before.elapsed() >= Duration::from_millis(600));
    bench.clear(FaultKind::Slow);
    assert!(bench.power() < 1_000.0);
}

#[tokio::test]
async fn an_unreachable_miner_refuses_and_comes_back_on_the_same_port() {
    for driver in DriverKind::ALL {
        let bench = Bench::start(driver).await;
        let mut open = TcpStream::connect(bench.address()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.inject(Fault::Unreachable);
        takes_connections(bench.address(), false).await;
        let mut byte = [0];
        let ended = timeout(SOON, open.read(&mut byte)).await.unwrap();
        assert!(ended.map_or(true, |count| count == 0), "{driver:?}");
        assert!(bench.power() > 3_000.0, "it goes on");
        bench.clear(FaultKind::Unreachable);
        takes_connections(bench.address(), true).await;
    }
}

#[tokio::test]
async fn a_reboot_answers_first_and_then_takes_the_network_down() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut api = V3::open(bench.address()).await;
    assert_eq!(api.write("set.system.reboot", Value::Null).await["code"], 0);
    takes_connections(bench.address(), false).await;
    bench.until("the reboot", |bench| bench.power() < 100.0).await;

    let bench = Bench::start(DriverKind::BraiinsOs).await;
    bench.inject(Fault::Reboot { off_for: Duration::from_secs(2) });
    takes_connections(bench.address(), false).await;
    takes_connections(bench.address(), true).await;
}

#[tokio::test]
async fn a_hung_miner_accepts_and_says_nothing() {
    for driver in DriverKind::ALL {
        let bench = Bench::start(driver).await;
        bench.inject(Fault::Hang);
        let mut stream = TcpStream::connect(bench.address()).await.unwrap();
        let request: &[u8] = match driver {
            DriverKind::WhatsminerV2 | DriverKind::Luxos => b"{\"command\":\"summary\"}",
            DriverKind::WhatsminerV3 => b"\x19\0\0\0{\"cmd\":\"get.device.info\"}",
            DriverKind::Epic => b"GET /summary HTTP/1.1\r\nHost: miner\r\n\r\n",
            DriverKind::AxeOs => b"GET /api/system/info HTTP/1.1\r\nHost: miner\r\n\r\n",
            DriverKind::Avalon => b"{\"command\":\"version\"}",
            DriverKind::Auradine => b"GET /mode HTTP/1.1\r\nHost: miner\r\n\r\n",
            DriverKind::CgminerReadOnly | DriverKind::SealMiner => b"{\"command\":\"version\"}",
            DriverKind::BraiinsOs
            | DriverKind::Vnish
            | DriverKind::BitmainStock
            | DriverKind::Proto
            | DriverKind::Mara
            | DriverKind::Ballast
            | DriverKind::Redfish
            | DriverKind::Zeusd
            | DriverKind::Generic => b"GET /api/v1/version HTTP/1.1\r\nHost: miner\r\n\r\n",
        };
        stream.write_all(request).await.unwrap();
        let mut byte = [0];
        let silent = timeout(Duration::from_millis(400), stream.read(&mut byte)).await.is_err();
        assert!(silent, "{driver:?}");
        bench.clear(FaultKind::Hang);
        assert!(timeout(SOON, stream.read(&mut byte)).await.is_ok(), "{driver:?}");
    }
}

#[tokio::test]
async fn garbage_is_never_a_valid_answer() {
    let v2_bench = Bench::start(DriverKind::WhatsminerV2).await;
    v2_bench.inject(Fault::Garbage);
    let v3_bench = Bench::start(DriverKind::WhatsminerV3).await;
    v3_bench.inject(Fault::Garbage);
    let rest_bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(rest_bench.address()).await;
    rest_bench.inject(Fault::Garbage);
    for _ in 0..6 {
        let answer = v2_raw(v2_bench.address(), b"{\"command\":\"summary\"}").await;
        assert!(serde_json::from_slice::<Value>(&answer).is_err());

        let mut api = V3::open(v3_bench.address()).await;
        api.send_bytes(b"{\"cmd\":\"get.device.info\"}").await;
        let mut answer = Vec::new();
        timeout(Duration::from_secs(60), api.0.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(serde_json::from_slice::<Value>(&answer[4..]).is_err());

        assert_eq!(rest.get("miner/stats").await, (200, Value::Null));
    }
}

#[tokio::test]
async fn a_write_api_that_is_off_is_said_to_be_off() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    bench.inject(Fault::DropsWriteApi);
    let session = V2Session::open(bench.address(), PASSWORD).await;
    assert_eq!(session.send(bench.address(), json!({"cmd": "power_off"})).await["Code"], 45);

    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    bench.inject(Fault::DropsWriteApi);
    let mut api = V3::open(bench.address()).await;
    assert_eq!(api.write("set.miner.service", json!("stop")).await["code"], -4);
    let system = api.ask(json!({"cmd": "get.device.info", "param": "system"})).await;
    assert_eq!(system["msg"]["system"]["apiswitch"], "0");

    let bench = Bench::start(DriverKind::BraiinsOs).await;
    bench.inject(Fault::DropsWriteApi);
    let rest = Rest::login(bench.address()).await;
    assert_eq!(rest.put("actions/pause", Value::Null).await.0, 403);
}

#[tokio::test]
async fn rejected_commands_have_the_vendors_code() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    bench.inject(Fault::RejectCommands);
    let session = V2Session::open(bench.address(), PASSWORD).await;
    assert_eq!(session.send(bench.address(), json!({"cmd": "power_off"})).await["Code"], 132);
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    bench.inject(Fault::RejectCommands);
    let mut api = V3::open(bench.address()).await;
    assert_eq!(api.write("set.miner.service", json!("stop")).await["code"], -1);
}

#[tokio::test]
async fn a_sleeping_miner_reports_its_standby_draw() {
    let bench = Bench::start_as(DriverKind::WhatsminerV2, Initial::Asleep).await;
    let summary = v2(bench.address(), json!({"command": "summary"})).await;
    let power = summary["SUMMARY"][0]["Power"].as_f64().unwrap();
    assert!((18.0..=22.0).contains(&power), "{power}");
    assert_eq!(summary["SUMMARY"][0]["HS RT"], 0.0);
}

#[tokio::test]
async fn a_cancelled_server_ends_and_frees_its_port() {
    for driver in DriverKind::ALL {
        let bench = Bench::start(driver).await;
        let address = bench.address();
        let mut open = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.cancel.cancel();
        timeout(SOON, bench.server.finished()).await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "{driver:?}");
        let mut byte = [0];
        let ended = timeout(SOON, open.read(&mut byte)).await.unwrap();
        assert!(ended.map_or(true, |count| count == 0), "{driver:?}");
    }
}

#[tokio::test]
async fn an_old_reading_port_opens_beside_the_vendors_own() {
    // An address of this process's own, so that the vendor's fixed ports are free there.
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = format!("127.77.{high}.{low}");
    let endpoint = Endpoint { host: host.clone(), port: 4433 };
    let initial = Initial::Hashing { fraction: 1.0 };
    let bench = Bench::start_at(DriverKind::WhatsminerV3, initial, endpoint).await;
    let old: SocketAddr = format!("{host}:4028").parse().unwrap();
    let version = v2(old, json!({"command": "get_version"})).await;
    assert_eq!(version["Msg"]["fw_ver"], "20251209.16.Rel2");
    assert_eq!(v2(old, json!({"command": "summary"})).await["STATUS"][0]["STATUS"], "S");
    for refused in ["power_off", "get_token"] {
        assert_eq!(v2(old, json!({"command": refused})).await["Code"], 45, "{refused}");
    }
    bench.inject(Fault::Unreachable);
    takes_connections(old, false).await;
}
