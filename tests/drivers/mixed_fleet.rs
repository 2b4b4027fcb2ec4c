//! The demo's mixed fleet: at least one miner of every driver behind the real daemon, through a surplus that falls away.

use crate::drivers_support::until;

use std::collections::BTreeSet;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, DemoFleet};
use ballast::daemon::Daemon;
use ballast::miner::DriverKind;
use ballast::sim::{Scenario, Simulation, Truth};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// 300 kW of surplus, and after ten seconds 15 kW: less than the least of all that hash, more than all asleep.
const SCENARIO: &str = r#"
description = "A surplus that falls away"
[generation]
steady = "490 kW"
[load]
base = "190 kW"
[miners]
start = "hashing"
at = "60 %"
[[event]]
at = "10s"
load = { by = "285 kW", over = "1s" }
"#;

/// The site on a network that no other test and no demo uses.
fn site() -> Config {
    let mut config = config::demo_fleet(DemoFleet::Mixed, 89).unwrap();
    config.web.listen.set_port(0);
    config
}

/// All that are miners or the operator's own. A member is a daemon with a site of its own, and is tried with real ones
/// (`tests/e2e/members.rs`); a server does not sleep, and this fleet is put to sleep.
fn devices() -> impl Iterator<Item = DriverKind> {
    let others = [DriverKind::Ballast, DriverKind::Redfish, DriverKind::Zeusd];
    DriverKind::ALL.into_iter().filter(move |kind| !others.contains(kind))
}

#[test]
fn the_mixed_fleet_has_every_driver() {
    let config = site();
    let kinds: BTreeSet<DriverKind> = config.miners.iter().map(|miner| miner.driver).collect();
    assert_eq!(kinds, devices().collect());
    for name in ["heater", "boiler"] {
        assert!(config.site.miners.iter().any(|miner| miner.name.as_str() == name), "{name}");
    }
}

async fn scrape(daemon: &Daemon) -> String {
    let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// The sum of a metric's lines that have all of these.
fn sum(metrics: &str, name: &str, with: &[&str]) -> f64 {
    let lines =
        metrics.lines().filter(|line| line.starts_with(name) && with.iter().all(|part| line.contains(part)));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_driver_takes_a_command_and_the_fleet_follows() {
    let config = site();
    let clock = Clock::start();
    let scenario = Scenario::parse("falls-away", SCENARIO).unwrap();
    let simulation =
        Simulation::start(&config, &scenario, 1.0, clock, CancellationToken::new()).await.unwrap();
    let began = simulation.truth().fleet.get();
    let daemon = Daemon::start(config, clock).await.unwrap();

    let fleet = |truth: &Truth| truth.fleet.get();
    until(&simulation, "the fleet takes some of the surplus", 60, |now| fleet(now) > began + 5_000.0).await;
    // The two that can only be watched go on; the slow firmware takes half a minute. What is left of the surplus may be
    // used to the last watt: how far below it the fleet comes to rest is not asked here.
    let gone = |now: &Truth| now.scenario_time > Duration::from_secs(11) && now.pcc.get() < 0.0;
    until(&simulation, "the surplus is gone, the miners sleep, nothing is imported", 150, gone).await;

    let metrics = scrape(&daemon).await;
    for kind in devices() {
        let driver = format!("driver=\"{}\"", kind.name());
        let accepted = sum(&metrics, "ballast_commands_total", &[&driver, "result=\"accepted\""]);
        let all = sum(&metrics, "ballast_commands_total", &[&driver]);
        println!("{}: {accepted} of {all} commands accepted", kind.name());
        if kind == DriverKind::CgminerReadOnly {
            assert!(all == 0.0, "what can only be read is never commanded");
        } else {
            assert!(accepted >= 1.0, "{} has taken no command", kind.name());
        }
    }
    for device in ["heater", "boiler"] {
        let label = format!("miner=\"{device}\"");
        let mut power = f64::INFINITY;
        // What is known of it is its last reading, which may be from on the way down.
        for _ in 0..600 {
            power = sum(&scrape(&daemon).await, "ballast_miner_power_watts", &[&label]);
            if power < 100.0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(power < 100.0, "the {device} draws {power} W");
    }
    daemon.stop().await;
    simulation.shutdown().await;
}
