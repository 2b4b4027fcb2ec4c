//! A simulated site with the real daemon in front of it: six miners behind a meter that exists on loopback alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, Options};
use ballast::daemon::Daemon;
use ballast::signal::record::Record;
use ballast::sim::{Scenario, Simulation};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything that the site should come to.
const PATIENCE: Duration = Duration::from_secs(60);

/// 10 kW of other load; 40 kW may be imported, so the miners run at their highest.
fn text(database: &Path, net: &str) -> String {
    format!(
        r#"
[site]
name = "Orders"
mode = "control"
[store]
path = "{}"
[control]
period = "250ms"
raise_rate = "20 kW/s"
deadband = "100 W"
min_sleep = "1s"
start_timeout = "5s"
straggler_grace = "2s"
on_exit = "hold"
[web]
listen = "127.0.0.1:0"
[circuits.pcc]
meter = "pcc"
margin = "200 W"
fail_safe = "0 W"
[circuits.fleet]
parent = "pcc"
[links.switchboard]
tcp = "{net}.1:5020"
timeout = "500ms"
gap = "5ms"
[meters.pcc]
link = "switchboard"
unit = 1
profile = "eastron-sdm630"
period = "250ms"
stale_after = "3s"
fail_safe_after = "6s"
[limits.contract]
circuit = "pcc"
import = "40 kW"
class = "contract"
[groups.bos]
driver = "braiins-os"
model = "s19k-pro"
circuit = "fleet"
addresses = ["{net}.31-{net}.36"]
port = 8080
credentials = {{ password_file = "password" }}
timeout = "2s"
poll_period = "500ms"
silent_after = "6s"
start_time = "1s"
dead_time_down = "300ms"
dead_time_up = "300ms"
ramp_down = "1 kW/s"
ramp_up = "500 W/s"
min_interval = "500ms"
adjust_cost = "1s"
[signals.utility]
kind = "http"
lost_after = "60s"
fail_safe = "22 kW"
"#,
        database.display()
    )
}

const SCENARIO: &str = r#"
description = "Orders"
[generation]
steady = "0 W"
[load]
base = "10 kW"
[miners]
start = "hashing"
at = "100 %"
[metering]
refresh = "100ms"
lag = "100ms"
"#;

pub struct Plant {
    pub daemon: Daemon,
    pub config: Config,
    simulation: Simulation,
    clock: Clock,
}

fn configure(database: &Path) -> Config {
    // Loopback addresses of this process's own, as far as one can have them.
    let process = std::process::id();
    let net = format!("127.{}.{}", 130 + process % 100, 1 + process / 100 % 250);
    let options = Options { files: &[("password", "s3cret-in-a-test\n")], ..Options::default() };
    config::parse(&text(database, &net), &PathBuf::from("orders.toml"), &options)
        .unwrap_or_else(|errors| panic!("{errors}"))
}

impl Plant {
    pub async fn start(database: &Path) -> Self {
        let (config, clock) = (configure(database), Clock::start());
        let scenario = Scenario::parse("orders.toml", SCENARIO).unwrap();
        let simulation =
            Simulation::start(&config, &scenario, 1.0, clock, CancellationToken::new()).await.unwrap();
        let daemon = Daemon::start(config.clone(), clock).await.unwrap();
        Self { daemon, config, simulation, clock }
    }

    /// Stops the daemon and starts it anew in front of the same site.
    pub async fn restarted(self) -> Self {
        self.daemon.stop().await;
        let daemon = Daemon::start(self.config.clone(), self.clock).await.unwrap();
        Self { daemon, ..self }
    }

    /// True import in watts.
    pub fn power(&self) -> f64 {
        self.simulation.truth().pcc.get()
    }

    /// Waits for an import in watts.
    pub async fn reaches(&self, what: &str, good: impl Fn(f64) -> bool) {
        let begun = self.clock.now();
        while !good(self.power()) {
            assert!(self.clock.now() - begun < PATIENCE, "{what}: still {} W", self.power());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the newest record of an order to be as wanted.
    pub async fn record(&self, id: &str, good: impl Fn(&Record) -> bool) -> Record {
        let begun = self.clock.now();
        loop {
            let found = self.daemon.desk().records().into_iter().find(|record| &*record.id == id);
            match found {
                Some(record) if good(&record) => return record,
                other => assert!(self.clock.now() - begun < PATIENCE, "{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub async fn stop(self) {
        self.daemon.stop().await;
        self.simulation.shutdown().await;
    }
}
