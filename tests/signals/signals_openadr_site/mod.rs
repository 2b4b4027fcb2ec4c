//! A site that imports 10 kW for others and up to 27 kW for nine miners, with a top node of OpenADR 3 above it.
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of it")]

use std::path::Path;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, Options, Secrets};
use ballast::control::decision::Source;
use ballast::control::site::SourceId;
use ballast::daemon::Daemon;
use ballast::signal::Kind;
use ballast::signal::openadr::Settings;
use ballast::sim::vtn::{self, Vtn};
use ballast::sim::{Scenario, Simulation};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The source; the operator is the first.
pub const UTILITY: SourceId = SourceId(1);

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The site as a file. `NET` in it is the network, `more` stands in the section of the source.
pub fn text(number: u8, url: &str, more: &str) -> String {
    let mut text = String::from(
        r#"
[site]
name = "OpenADR"
mode = "control"

[control]
period = "250ms"
raise_rate = "10 kW/s"
deadband = "100 W"
min_sleep = "1s"
start_timeout = "5s"
straggler_grace = "2s"
on_exit = "hold"

[web]
listen = "127.0.0.1:0"

[circuits.pcc]
meter = "pcc"
margin = "500 W"
other_load = "20 kW"
fail_safe = "15 kW"

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
period = "250ms"
stale_after = "1500ms"
fail_safe_after = "3s"

[limits.transformer]
circuit = "pcc"
import = "45 kW"
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
    text.push_str(&format!(
        "\n[signals.utility]\nkind = \"openadr\"\nurl = \"{url}\"\nfail_safe = \"12 kW\"\npoll = \"1s\"\n{more}\n"
    ));
    text.replace("NET", &format!("127.84.{number}"))
}

/// What most tests write into the section of the source.
pub const ACCOUNT: &str =
    "client_id = \"site\"\nclient_secret = { file = \"vtn.secret\" }\nlost_after = \"3s\"\n";

pub fn parse(text: &str) -> Config {
    let options = Options {
        secrets: Secrets::Read,
        files: &[("password", "ballast"), ("vtn.secret", "vtn-secret")],
        environment: &|_| None,
    };
    config::parse(text, Path::new("site.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The settings of the source, to be changed.
pub fn settings(config: &mut Config) -> &mut Settings {
    match &mut config.signals[UTILITY.0].kind {
        Kind::OpenAdr(settings) => settings,
        other => panic!("{}", other.name()),
    }
}

/// A top node at a port of its own.
pub async fn vtn(options: vtn::Options) -> Vtn {
    let vtn = Vtn::start("127.0.0.1:0".parse().unwrap(), options, Clock::start()).await.unwrap();
    vtn.put_programme(json!({ "id": "p1", "programName": "capacity" }));
    vtn
}

/// An event of an hour, from now on.
pub fn event(id: &str, payload: &str, value: impl Into<Value>) -> Value {
    json!({
        "id": id,
        "programID": "p1",
        "payloadDescriptors": [{ "objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": payload, "units": "KW" }],
        "intervalPeriod": { "start": "0001-01-01T00:00:00Z", "duration": "PT1H" },
        "intervals": [{ "id": 0, "payloads": [{ "type": payload, "values": [value.into()] }] }],
    })
}

/// A moment from now, as events write it.
pub fn from_now(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// The simulated site, the real daemon and the top node.
pub struct Bench {
    pub vtn: Vtn,
    pub config: Config,
    pub simulation: Simulation,
    pub daemon: Daemon,
}

impl Bench {
    /// `number` is the test's own network, 1 to 250.
    pub async fn start(number: u8, more: &str) -> Self {
        let vtn = vtn(vtn::Options::default()).await;
        Self::with(number, more, vtn, None, "").await
    }

    /// With a script in the scenario; the top node is that of the scenario at `url`, and `vtn` an idle one.
    pub async fn scripted(number: u8, more: &str, url: &str, script: &str) -> Self {
        let vtn = vtn(vtn::Options::default()).await;
        Self::with(number, more, vtn, Some(url), script).await
    }

    async fn with(number: u8, more: &str, vtn: Vtn, url: Option<&str>, script: &str) -> Self {
        let own = vtn.url();
        let url = url.unwrap_or(&own);
        let mut config = parse(&text(number, url, &format!("{ACCOUNT}{more}")));
        settings(&mut config).poll = seconds(0.2);
        settings(&mut config).timeout = seconds(1.0);
        let scenario = r#"
description = "A site that imports"
[load]
base = "10 kW"
[miners]
start = "hashing"
at = "80 %"
[metering]
refresh = "100ms"
lag = "100ms"
"#;
        let scenario = Scenario::parse("openadr.toml", &format!("{scenario}{script}")).unwrap();
        let clock = Clock::start();
        let simulation =
            Simulation::start(&config, &scenario, 1.0, clock, CancellationToken::new()).await.unwrap();
        let daemon = Daemon::start(config.clone(), clock).await.unwrap();
        Self { vtn, config, simulation, daemon }
    }

    /// What the meter at the point of common coupling sees in truth.
    pub fn import(&self) -> f64 {
        self.simulation.truth().pcc.get()
    }

    /// Waits until the import is at or below a power.
    ///
    /// By a part of the margin of 500 W more: on its way down the sum of noisy miners crosses a line more than once.
    pub async fn falls_to(&self, watts: f64, within: f64) {
        let below = watts - 200.0;
        self.until(&format!("the import falls to {watts} W"), within, |bench| bench.import() <= below).await;
    }

    /// Waits until the import is at or above a power.
    pub async fn rises_to(&self, watts: f64, within: f64) {
        self.until(&format!("the import rises to {watts} W"), within, |bench| bench.import() >= watts).await;
    }

    pub async fn until(&self, what: &str, within: f64, look: impl Fn(&Self) -> bool) {
        let begun = Clock::start();
        while !look(self) {
            let (import, binding) = (self.import(), self.binding());
            assert!(
                begun.now().since_start() < seconds(within),
                "{what}, but it is {import} W, bound by {binding:?}"
            );
            sleep(seconds(0.05)).await;
        }
    }

    /// The import stays between two powers for a while.
    pub async fn stays(&self, low: f64, high: f64, time: f64) {
        let begun = Clock::start();
        while begun.now().since_start() < seconds(time) {
            let import = self.import();
            assert!((low..=high).contains(&import), "{import} W, bound by {:?}", self.binding());
            sleep(seconds(0.05)).await;
        }
    }

    /// The tightest cap of the source on the import, in watts.
    pub fn cap(&self) -> Option<f64> {
        let frame = self.daemon.exporter().frame()?;
        let caps = frame.snapshot.orders.iter().filter(|order| order.source == UTILITY);
        caps.map(|order| order.active.cap.get()).min_by(f64::total_cmp)
    }

    /// What binds the fleet.
    pub fn binding(&self) -> Option<Source> {
        let frame = self.daemon.exporter().frame()?;
        Some(frame.decision.binding.source)
    }

    pub async fn stop(self) {
        self.daemon.stop().await;
        self.simulation.shutdown().await;
    }

    /// Ends the daemon and starts it anew.
    pub async fn restart(mut self) -> Self {
        self.daemon.stop().await;
        self.daemon = Daemon::start(self.config.clone(), Clock::start()).await.unwrap();
        self
    }
}
