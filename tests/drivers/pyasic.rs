//! The simulated miners before an independent client: pyasic identifies and reads them, and its watts, its hashrate and
//! its word on sleep agree with the drivers'.
//!
//! Needs a Python with pyasic: `python3`, or the one named by `BALLAST_TEST_PYTHON`; and the vendors' fixed ports (80,
//! 4028, 4433, 50051) on addresses of 127.0.0.0/8, which usually means root. Without either the test says so and passes.

use crate::sim_servers::bench;

use std::process::{Command, Output};
use std::time::Duration;

use ballast::control::snapshot::{Activity, Measured, Target};
use ballast::miner::{Connection, Driver, DriverKind, Endpoint, Urgency, driver, http_client};
use ballast::sim::miner::Initial;
use bench::{Bench, PASSWORD};
use serde_json::Value;
use tokio::net::TcpListener;

/// Identifies and reads every address given after the password, all at once.
const SCRIPT: &str = r#"
import asyncio, json, logging, sys, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
import pyasic
from pyasic import settings
for vendor in ("vnish", "antminer", "epic", "bosminer"):
    settings.update(f"default_{vendor}_web_password", sys.argv[1])
settings.update("default_bosminer_password", sys.argv[1])
settings.update("default_whatsminer_rpc_password", sys.argv[1])
async def one(ip):
    miner = await pyasic.get_miner(ip)
    if miner is None:
        return {"class": "nothing"}
    try:
        data = await miner.get_data()
    except Exception as error:
        return {"class": type(miner).__name__, "error": f"{type(error).__name__}: {error}"}
    # From Whatsminers with API 3 it reads sleep as a mode of the configuration.
    mode = getattr(getattr(data.config, "mining_mode", None), "mode", None)
    return {"class": type(miner).__name__, "parents": [c.__name__ for c in type(miner).__mro__],
            "firmware": str(data.firmware), "model": str(data.model), "watts": data.wattage,
            "limit": data.wattage_limit, "mining": data.is_mining and mode != "sleep", "mode": str(mode),
            "rate": float(data.hashrate) if data.hashrate else 0.0}
async def main():
    print(json.dumps(await asyncio.gather(*[one(ip) for ip in sys.argv[2:]])))
asyncio.run(main())
"#;

/// One firmware, and what pyasic 0.79 can say of it.
struct Row {
    kind: DriverKind,
    /// One of the classes that it takes the miner for.
    class: &'static str,
    /// It reads watts.
    watts: bool,
    /// It tells sleep from hashing.
    sleep: bool,
}

const ROWS: [Row; 8] = [
    Row { kind: DriverKind::WhatsminerV2, class: "BTMinerV2", watts: true, sleep: true },
    Row { kind: DriverKind::WhatsminerV3, class: "BTMinerV3", watts: true, sleep: true },
    // It reads no power from Bitmain's own firmware.
    Row { kind: DriverKind::BitmainStock, class: "BMMiner", watts: false, sleep: true },
    Row { kind: DriverKind::Vnish, class: "VNish", watts: true, sleep: true },
    // It has no notion of LuxOS's sleep, nor of a paused Bitaxe; their watts tell.
    Row { kind: DriverKind::Luxos, class: "LUXMiner", watts: true, sleep: false },
    Row { kind: DriverKind::BraiinsOs, class: "BOSer", watts: true, sleep: true },
    Row { kind: DriverKind::Epic, class: "ePIC", watts: true, sleep: true },
    Row { kind: DriverKind::AxeOs, class: "BitAxe", watts: true, sleep: false },
];

fn python() -> String {
    std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
}

/// Runs Python beside the servers, not in their way.
async fn run(arguments: Vec<String>) -> Option<Output> {
    tokio::task::spawn_blocking(|| Command::new(python()).args(arguments).output().ok()).await.unwrap()
}

async fn ask(hosts: &[String]) -> Vec<Value> {
    let mut arguments: Vec<String> = ["-c", SCRIPT, PASSWORD].map(String::from).into();
    arguments.extend_from_slice(hosts);
    let output = run(arguments).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether its watts are ours, within what passes between two readings; `None` is for what it cannot read.
fn agree(row: &Row, said: &Value, ours: Measured<ballast::units::Watts>, within: f64) {
    match (said["watts"].as_f64(), ours) {
        (Some(watts), Measured::Value(power)) => {
            assert!((watts - power.get()).abs() <= within, "{}: {said}, ours {power}", row.kind.name());
        }
        (None, _) if !row.watts => {}
        (watts, power) => panic!("{}: pyasic reads {watts:?}, ours {power:?}: {said}", row.kind.name()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyasic_agrees_with_the_drivers() {
    let has = run(["-c", "import pyasic"].map(String::from).into()).await;
    if !has.is_some_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {} has no pyasic; install it or set BALLAST_TEST_PYTHON", python());
        return;
    }
    // Addresses of this process's own, so that the fixed ports are free there.
    let [.., high, low] = std::process::id().to_be_bytes();
    let hosts: Vec<String> =
        (0..ROWS.len()).map(|index| format!("127.{}.{high}.{low}", 91 + index)).collect();
    if TcpListener::bind((hosts[0].as_str(), 80)).await.is_err() {
        eprintln!("SKIPPED: port 80 of {} cannot be opened here", hosts[0]);
        return;
    }
    let mut benches = Vec::new();
    let mut drivers: Vec<Box<dyn Driver>> = Vec::new();
    for (row, host) in ROWS.iter().zip(&hosts) {
        let endpoint = Endpoint { host: host.clone(), port: row.kind.traits().port };
        let bench = Bench::start_at(row.kind, Initial::Hashing { fraction: 1.0 }, endpoint).await;
        let patient = Connection { timeout: Duration::from_secs(3), ..bench.connection() };
        drivers.push(driver(&patient, &http_client().unwrap()));
        benches.push(bench);
    }
    for (said, (row, driver)) in ask(&hosts).await.iter().zip(ROWS.iter().zip(&mut drivers)) {
        println!("{:14} hashing: {said}", row.kind.name());
        let status = driver.read().await.unwrap();
        let parents = said["parents"].as_array().cloned().unwrap_or_default();
        let is = |name: &Value| name.as_str().is_some_and(|name| name.starts_with(row.class));
        assert!(parents.iter().any(is), "{}: {said}", row.kind.name());
        assert_eq!(status.activity, Activity::Hashing);
        if row.sleep {
            assert_eq!(said["mining"], true, "{}: {said}", row.kind.name());
        }
        let ours = status.hashrate.value().unwrap().as_terahashes();
        assert!((said["rate"].as_f64().unwrap() / ours - 1.0).abs() < 0.02, "{ours} TH/s, {said}");
        agree(row, said, status.power, 0.03 * 3_400.0);
        driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    }
    for bench in &benches {
        bench.until("sleep", |bench| bench.power() < 60.0).await;
    }
    // What a miner says of its power is a mean over some seconds, so it comes down later than the power itself.
    for driver in &mut drivers {
        for _ in 0..300 {
            let low = driver.read().await.unwrap().power.value().is_none_or(|power| power.get() < 60.0);
            if low {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    for (said, (row, driver)) in ask(&hosts).await.iter().zip(ROWS.iter().zip(&mut drivers)) {
        println!("{:14} asleep:  {said}", row.kind.name());
        let status = driver.read().await.unwrap();
        assert_eq!(status.target, Measured::Value(Target::Sleep), "{}", row.kind.name());
        assert_eq!(status.activity, Activity::Asleep, "{}", row.kind.name());
        if row.sleep {
            assert_eq!(said["mining"], false, "{}: {said}", row.kind.name());
        }
        agree(row, said, status.power, 60.0);
        driver.close().await;
    }
}
