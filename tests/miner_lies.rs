//! A miner that lies about its power. Its own word is never the last one: a meter decides. The headroom comes from the
//! meter at the point of common coupling, and a dedicated meter of the fleet's feeder replaces the sum of what miners say.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use ballast::clock::Clock;
use ballast::config;
use ballast::daemon::Daemon;
use ballast::sim::{Scenario, Simulation};
use tokio_util::sync::CancellationToken;

/// Two thirds of the miners say `factor` of what they draw, under a steady surplus of 300 kW.
fn scenario(factor: &str) -> Scenario {
    let text = format!(
        r#"
description = "Miners that lie"
[generation]
steady = "500 kW"
[load]
base = "200 kW"
[miners]
start = "hashing"
at = "80 %"
[[event]]
at = "0s"
miner = {{ name = "m60s-*", fault = "lies", with = {{ factor = {factor} }} }}
[[event]]
at = "0s"
miner = {{ name = "m30s-*", fault = "lies", with = {{ factor = {factor} }} }}
"#
    );
    Scenario::parse("lies", &text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_that_say_half_of_what_they_draw_do_not_import_for_long() {
    let mut config = config::demo(87).unwrap();
    config.listen.set_port(0);
    let clock = Clock::start();
    let simulation =
        Simulation::start(&config, &scenario("0.5"), 1.0, clock, CancellationToken::new()).await.unwrap();
    let daemon = Daemon::start(config, clock).await.unwrap();
    tokio::time::sleep(Duration::from_secs(45)).await;
    simulation.restart_counting();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let truth = simulation.truth();
    println!("the fleet draws {}, the point of common coupling {}", truth.fleet, truth.pcc);
    let imported = truth.totals.imported.ratio(truth.totals.surplus).unwrap();
    assert!(imported < 0.01, "{:.1} % of the surplus are imported on the word of miners", 100.0 * imported);
    assert!(truth.fleet.get() > 40_000.0, "the fleet draws {} only", truth.fleet);
    daemon.stop().await;
    simulation.shutdown().await;
}
