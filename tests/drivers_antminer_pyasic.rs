//! The simulated Antminers with VNish, LuxOS and Bitmain's own firmware before an independent client: pyasic identifies
//! and reads them, and its watts and its sleep agree with the drivers'.
//!
//! Needs a Python with pyasic: `python3`, or the one named by `BALLAST_TEST_PYTHON`; and the vendors' fixed ports 80 and
//! 4028 on addresses of 127.0.0.0/8, which usually means root. Without either the test says so and passes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

#[path = "sim_miner_servers/bench.rs"]
#[expect(dead_code, reason = "the bench has more than one test needs")]
mod bench;

use std::process::{Command, Output};
use std::time::Duration;

use ballast::control::snapshot::{Activity, Measured, Target};
use ballast::miner::{Connection, Driver, DriverKind, Endpoint, Urgency, driver, http_client};
use ballast::sim::miner::Initial;
use bench::{Bench, PASSWORD};
use serde_json::Value;
use tokio::net::TcpListener;

const SCRIPT: &str = r#"
import asyncio, json, logging, sys, warnings
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
import pyasic
from pyasic import settings
for vendor in ("vnish", "antminer"):
    settings.update(f"default_{vendor}_web_password", sys.argv[1])
async def main():
    found = []
    for ip in sys.argv[2:]:
        miner = await pyasic.get_miner(ip)
        data = await miner.get_data()
        found.append({"class": type(miner).__name__, "firmware": str(data.firmware), "watts": data.wattage,
                      "mining": data.is_mining, "rate": float(data.hashrate) if data.hashrate else 0.0})
    print(json.dumps(found))
asyncio.run(main())
"#;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyasic_agrees_with_the_drivers() {
    let has = run(["-c", "import pyasic"].map(String::from).into()).await;
    if !has.is_some_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {} has no pyasic; install it or set BALLAST_TEST_PYTHON", python());
        return;
    }
    // Addresses of this process's own, so that the fixed ports are free there.
    let [.., high, low] = std::process::id().to_be_bytes();
    let kinds = [DriverKind::Vnish, DriverKind::Luxos, DriverKind::BitmainStock];
    let hosts: Vec<String> = (0..3).map(|index| format!("127.{}.{high}.{low}", 91 + index)).collect();
    if TcpListener::bind((hosts[0].as_str(), 80)).await.is_err() {
        eprintln!("SKIPPED: port 80 of {} cannot be opened here", hosts[0]);
        return;
    }
    let mut benches = Vec::new();
    let mut drivers: Vec<Box<dyn Driver>> = Vec::new();
    for (kind, host) in kinds.into_iter().zip(&hosts) {
        let endpoint = Endpoint { host: host.clone(), port: kind.traits().port };
        let bench = Bench::start_at(kind, Initial::Hashing { fraction: 1.0 }, endpoint).await;
        let patient = Connection { timeout: Duration::from_secs(3), ..bench.connection() };
        drivers.push(driver(&patient, &http_client().unwrap()));
        benches.push(bench);
    }
    let found = ask(&hosts).await;
    for ((index, driver), class) in drivers.iter_mut().enumerate().zip(["VNish", "LUXMiner", "BMMiner"]) {
        let (said, status) = (&found[index], driver.read().await.unwrap());
        assert!(said["class"].as_str().unwrap().starts_with(class), "{said}");
        assert_eq!(said["mining"], true, "{said}");
        assert_eq!(status.activity, Activity::Hashing);
        let ours = status.hashrate.value().unwrap().as_terahashes();
        assert!((said["rate"].as_f64().unwrap() / ours - 1.0).abs() < 0.02, "{said}");
        // pyasic reads no power from Bitmain's own firmware.
        match (said["watts"].as_f64(), status.power) {
            (Some(watts), Measured::Value(power)) => {
                assert!((watts / power.get() - 1.0).abs() < 0.03, "{said} {power}");
            }
            (watts, _) => assert!(watts.is_none() && class == "BMMiner", "{said}"),
        }
        driver.apply(Target::Sleep, Urgency::Shed).await.unwrap();
    }
    for bench in &benches {
        bench.until("sleep", |bench| bench.power() < 50.0).await;
    }
    // What a miner says of its power is a mean over some seconds, so it comes down later than the power itself.
    for driver in &mut drivers {
        for _ in 0..100 {
            let low = driver.read().await.unwrap().power.value().is_none_or(|power| power.get() < 60.0);
            if low {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let found = ask(&hosts).await;
    for (index, driver) in drivers.iter_mut().enumerate() {
        let (said, status) = (&found[index], driver.read().await.unwrap());
        assert_eq!(status.target, Measured::Value(Target::Sleep));
        // pyasic has no notion of LuxOS's sleep; its watts tell.
        if index != 1 {
            assert_eq!(said["mining"], false, "{said}");
        }
        if let (Some(watts), Measured::Value(power)) = (said["watts"].as_f64(), status.power) {
            assert!(watts < 100.0 && power.get() < 100.0, "{said} {power}");
        }
        driver.close().await;
    }
}
