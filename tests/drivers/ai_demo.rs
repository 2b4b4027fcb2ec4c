//! The demo's AI hall and its miners behind the real daemon, when the relay of the utility asks for a lot less: servers take their
//! limits by both ways, and those that have their power by contract keep it.

use crate::drivers_support::until;

use ballast::clock::Clock;
use ballast::config::{self, DemoFleet};
use ballast::control::site::LoadClass;
use ballast::daemon::Daemon;
use ballast::sim::jobs::Throughput;
use ballast::sim::{Scenario, Simulation};
use tokio_util::sync::CancellationToken;

/// More than all can draw; after ten seconds the relay speaks for as long as anybody looks.
const SCENARIO: &str = r#"
description = "The grid asks for a lot less"
[generation]
steady = "700 kW"
[load]
base = "100 kW"
[miners]
start = "hashing"
at = "60 %"
[[job]]
name = "held-*"
training = {}
[[job]]
name = "slowed-*"
training = { swing = "5 %", frequency = "0.5 Hz" }
[[job]]
name = "waits-*"
training = {}
[[event]]
at = "10s"
contact = { source = "utility", name = "a-lot-less" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_asks_for_a_lot_less_and_who_has_a_contract_goes_on() {
    let mut config = config::demo_fleet(DemoFleet::Ai, 93).unwrap();
    config.web.listen.set_port(0);
    let site = config.site.clone();
    let hall = site.circuits.iter().position(|circuit| circuit.name == "hall").unwrap();
    let clock = Clock::start();
    let scenario = Scenario::parse("a-lot-less", SCENARIO).unwrap();
    let simulation =
        Simulation::start(&config, &scenario, 1.0, clock, CancellationToken::new()).await.unwrap();
    assert!(simulation.truth().circuits[hall].get() > 78e3, "all servers work");
    let daemon = Daemon::start(config, clock).await.unwrap();

    until(&simulation, "all draw what the relay allows", 150, |truth| truth.fleet.get() < 74e3).await;
    let drawn = simulation.truth().circuits[hall].get();
    assert!((40e3..74e3).contains(&drawn), "the hall draws {drawn} W");
    let work = Throughput::of(&site, &simulation.truth().work).unwrap();
    assert!(work.class(LoadClass::Guaranteed).unwrap() > 0.99, "{work}");
    assert!(work.class(LoadClass::Interruptible).unwrap() < 1.0, "{work}");
    daemon.stop().await;
    simulation.shutdown().await;
}
