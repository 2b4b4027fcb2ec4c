//! A simulated site with the real daemon in front of it, for orders that are pushed: nine miners of three kinds that
//! draw 27.4 kW at their highest, 10 kW of other load, and a connection that stands it all.

use std::net::TcpListener;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, Options, Secrets};
use ballast::control::frame::Frame;
use ballast::daemon::Daemon;
use ballast::sim::{Scenario, Simulation};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub const OPERATOR: &str = "operator-token-of-the-tests";
pub const PUSH: &str = "aggregator-token-of-the-tests";
pub const OTHER: &str = "another-source-of-the-tests";
pub const READ: &str = "reader-token-of-the-tests";

/// An aggregator that orders over HTTP and must be heard, another one that need not be, and a token for each.
pub const HTTP: &str = r#"
[signals.aggregator]
kind = "http"
circuit = "pcc"
lost_after = "2s"
fail_safe = "26 kW"

[signals.other]
kind = "http"
circuit = "pcc"
caps = "miners"

[web.tokens.operator]
token = { file = "operator.token" }
scopes = ["operator"]
[web.tokens.aggregator]
token = { file = "push.token" }
scopes = ["limits"]
source = "aggregator"
[web.tokens.other]
token = { file = "other.token" }
scopes = ["limits"]
source = "other"
[web.tokens.reader]
token = { file = "read.token" }
scopes = ["read"]
"#;

/// The second number of `127.N.0.0/16`, which this process has for itself: whoever holds the port has the network.
fn network() -> u8 {
    static NETWORK: OnceLock<(u8, TcpListener)> = OnceLock::new();
    let claim = || {
        (90..=250).find_map(|number| {
            let listener = TcpListener::bind((format!("127.{number}.0.1"), 59_842)).ok()?;
            Some((number, listener))
        })
    };
    NETWORK.get_or_init(|| claim().expect("a free loopback network")).0
}

/// A free address for the test of this number.
pub fn host(number: u8, device: u8) -> String {
    format!("127.{}.{number}.{device}", network())
}

/// The site, with more sections.
pub fn text(number: u8, more: &str) -> String {
    let mut text = String::from(
        r#"
[site]
name = "Orders"
mode = "control"

[control]
period = "200ms"
raise_rate = "20 kW/s"
deadband = "100 W"
min_sleep = "1s"
start_timeout = "5s"
on_exit = "hold"

[web]
listen = "127.0.0.1:0"

[circuits.pcc]
meter = "pcc"
margin = "500 W"
fail_safe = "15 kW"
other_load = "40 kW"

[circuits.fleet]
parent = "pcc"

[links.switchboard]
tcp = "NET.1:5020"
timeout = "500ms"
gap = "5ms"

[meters.pcc]
link = "switchboard"
unit = 1
profile = "eastron-sdm630"
period = "200ms"
stale_after = "1500ms"
fail_safe_after = "3s"

[limits.connection]
circuit = "pcc"
import = "60 kW"
class = "safety"
"#,
    );
    let groups = [
        ("v2", "whatsminer-v2", "m30s-plus-plus", 4028, 11),
        ("v3", "whatsminer-v3", "m60s", 4433, 21),
        ("bos", "braiins-os", "s19k-pro", 8080, 31),
    ];
    for (name, driver, model, port, first) in groups {
        text.push_str(&format!(
            r#"
[groups.{name}]
driver = "{driver}"
model = "{model}"
circuit = "fleet"
addresses = ["NET.{first}-NET.{last}"]
port = {port}
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
"#,
            last = first + 2,
        ));
    }
    text.push_str(more);
    text.replace("NET", &format!("127.{}.{number}", network()))
}

/// Reads a configuration of [`text`].
pub fn parse(text: &str) -> Config {
    let files = [
        ("password", "demo\n"),
        ("operator.token", OPERATOR),
        ("push.token", PUSH),
        ("other.token", OTHER),
        ("read.token", READ),
    ];
    let options = Options { secrets: Secrets::Read, files: &files, environment: &|_| None };
    config::parse(text, Path::new("orders.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

const SCENARIO: &str = r#"
description = "Orders"
[load]
base = "10 kW"
[miners]
start = "hashing"
at = "100 %"
[metering]
refresh = "100ms"
lag = "50ms"
noise = "0 W"
"#;

/// The running site.
pub struct Bench {
    pub simulation: Simulation,
    pub daemon: Daemon,
    pub config: Config,
    pub clock: Clock,
    pub http: reqwest::Client,
}

impl Bench {
    /// `number` is the test's own, 1 to 250. Returns when the daemon controls the site.
    pub async fn start(number: u8, more: &str) -> Self {
        Self::start_as(number, more, |_| {}).await
    }

    /// As [`Self::start`], with a configuration that is changed before.
    pub async fn start_as(number: u8, more: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = parse(&text(number, more));
        change(&mut config);
        let clock = Clock::start();
        let scenario = Scenario::parse("orders.toml", SCENARIO).unwrap();
        let simulation =
            Simulation::start(&config, &scenario, 1.0, clock, CancellationToken::new()).await.unwrap();
        let daemon = Daemon::start(config.clone(), clock).await.unwrap();
        let bench = Self { simulation, daemon, config, clock, http: reqwest::Client::new() };
        bench
            .until("the daemon controls", 15, |frame| {
                frame.decision.circuits[0].power.is_some()
                    && frame.decision.miners.iter().all(|m| m.setpoint.is_some())
            })
            .await;
        bench
    }

    /// The daemon again, as after a crash of it: the site goes on.
    pub async fn restart(&mut self) {
        let next = Daemon::start(self.config.clone(), self.clock).await.unwrap();
        std::mem::replace(&mut self.daemon, next).stop().await;
    }

    pub async fn stop(self) {
        self.daemon.stop().await;
        self.simulation.shutdown().await;
    }

    /// What really flows into the site, in kilowatts.
    pub fn import(&self) -> f64 {
        self.simulation.truth().pcc.get() / 1e3
    }

    /// What the miners really draw, in kilowatts.
    pub fn fleet(&self) -> f64 {
        self.simulation.truth().fleet.get() / 1e3
    }

    /// The latest cycle.
    pub fn frame(&self) -> Frame {
        self.daemon.exporter().frame().unwrap()
    }

    /// Waits until a cycle is as it should be.
    pub async fn until(&self, what: &str, seconds: u64, good: impl Fn(&Frame) -> bool) {
        let look = || self.daemon.exporter().frame().is_some_and(|frame| good(&frame));
        self.eventually(what, seconds, look).await;
    }

    /// Waits until something holds.
    pub async fn eventually(&self, what: &str, seconds: u64, good: impl Fn() -> bool) {
        let begun = self.clock.now();
        while !good() {
            let waited = self.clock.now() - begun;
            assert!(
                waited < Duration::from_secs(seconds),
                "not within {seconds} s: {what}; the fleet draws {} kW, the site {} kW; {:?}",
                self.fleet(),
                self.import(),
                self.daemon.exporter().frame().map(|frame| frame.decision.binding)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What binds the fleet, as in the metrics: the name of a limit or source.
    pub fn binding(&self) -> String {
        let frame = self.frame();
        ballast::metrics::source_label(&frame.site, frame.decision.binding.source).into_owned()
    }

    /// The tightest cap that an order or its source's loss sets now, in kilowatts.
    pub fn cap(&self) -> Option<f64> {
        let caps =
            self.frame().snapshot.orders.iter().map(|cap| cap.active.cap.get() / 1e3).collect::<Vec<_>>();
        caps.into_iter().min_by(f64::total_cmp)
    }

    /// A request of the interface: status and answer.
    pub async fn ask(&self, method: &str, path: &str, token: &str, body: Option<&str>) -> (u16, Value) {
        let url = format!("http://{}/api/v1/{path}", self.daemon.address());
        let mut request = self.http.request(method.parse().unwrap(), url).bearer_auth(token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
    }

    pub async fn put(&self, path: &str, token: &str, body: &str) -> (u16, Value) {
        self.ask("PUT", path, token, Some(body)).await
    }
}
