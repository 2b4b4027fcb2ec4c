//! What the tests of contacts, calendars, prices and guards need: a simulated site on loopback with the real daemon in
//! front of it, and a desk of its own for what a running site would take too long to show.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::{Clock, Moment};
use ballast::config::{self, Config, Options};
use ballast::control::decision::Source;
use ballast::control::frame::Frame;
use ballast::control::signal::{Doubt, View, Wall};
use ballast::control::site::SourceId;
use ballast::daemon::Daemon;
use ballast::signal::desk::WallClock;
use ballast::signal::{Context, Desk, Kind, Spec};
use ballast::sim::{Scenario, Simulation};
use tokio_util::sync::CancellationToken;

const LOOK: Duration = Duration::from_millis(50);

/// Six miners that draw 21 kW together at their highest, behind a connection of 100 kW with 2 kW of other load. `NET` is
/// the site's network.
const SITE: &str = r#"
[site]
name = "Level"
mode = "control"
time_zone = "UTC"

[control]
period = "250ms"
raise_rate = "10 kW/s"
deadband = "100 W"
min_sleep = "1s"
start_timeout = "3s"
straggler_grace = "2s"
on_exit = "hold"

[web]
listen = "NET.1:0"

[circuits.pcc]
meter = "pcc"
fail_safe = "15 kW"

[circuits.fleet]
parent = "pcc"

[links.board]
tcp = "NET.1:5020"
timeout = "500ms"
gap = "5ms"

[meters.pcc]
link = "board"
unit = 1
profile = "eastron-sdm630"
period = "250ms"
stale_after = "2s"
fail_safe_after = "5s"

[limits.connection]
circuit = "pcc"
import = "100 kW"
class = "contract"

[groups.m]
driver = "whatsminer-v3"
model = "m60s"
circuit = "fleet"
addresses = ["NET.21-NET.26"]
port = 4433
credentials = { password_file = "password" }
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
"#;

/// The configuration of the site on a network, with sources.
pub fn config(net: &str, signals: &str) -> Config {
    let text = format!("{SITE}{signals}").replace("NET", net);
    let options = Options { files: &[("password", "a-password")], ..Options::default() };
    config::parse(&text, Path::new("level.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is wrong with a configuration with these sources.
pub fn mistakes(signals: &str) -> String {
    let text = format!("{SITE}{signals}").replace("NET", "127.9.9");
    let options = Options { files: &[("password", "a-password")], ..Options::default() };
    match config::parse(&text, Path::new("level.toml"), &options) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

/// A site that runs.
pub struct Site {
    pub simulation: Simulation,
    pub daemon: Option<Daemon>,
    pub clock: Clock,
    config: Config,
}

impl Site {
    /// Starts the simulated site and the daemon.
    pub async fn start(net: &str, signals: &str, events: &str) -> Self {
        let config = config(net, signals);
        let scenario = format!(
            "description = \"level\"\n[load]\nbase = \"2 kW\"\n[miners]\nstart = \"hashing\"\nat = \"100 %\"\n\
             [metering]\nrefresh = \"100ms\"\nlag = \"100ms\"\n{events}"
        );
        let scenario = Scenario::parse("level", &scenario).unwrap_or_else(|error| panic!("{error}"));
        let clock = Clock::start();
        let simulation =
            Simulation::start(&config, &scenario, 1.0, clock, CancellationToken::new()).await.unwrap();
        let daemon = Some(Daemon::start(config.clone(), clock).await.unwrap());
        Self { simulation, daemon, clock, config }
    }

    /// Ends the daemon and starts another, as a restart of the service does.
    pub async fn restart(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop().await;
        }
        self.daemon = Some(Daemon::start(self.config.clone(), self.clock).await.unwrap());
    }

    /// What the miners really draw, in watts.
    pub fn fleet(&self) -> f64 {
        self.simulation.truth().fleet.get()
    }

    /// What really flows in, in watts.
    pub fn import(&self) -> f64 {
        self.simulation.truth().pcc.get()
    }

    /// The latest cycle.
    pub fn frame(&self) -> Option<Frame> {
        self.daemon.as_ref()?.frames().borrow().clone()
    }

    /// The caps that a source sets now, in watts.
    pub fn caps(&self, source: usize) -> Vec<f64> {
        let Some(frame) = self.frame() else { return Vec::new() };
        let orders = frame.snapshot.orders.iter().filter(|order| order.source == SourceId(source));
        orders.map(|order| order.active.cap.get()).collect()
    }

    /// Whether the fail-safe of a source is what binds.
    pub fn is_lost(&self, source: usize) -> bool {
        let lost = Source::LostSource(SourceId(source));
        self.frame().is_some_and(|frame| {
            frame
                .decision
                .circuits
                .iter()
                .any(|circuit| circuit.limits.iter().any(|limit| limit.source == lost))
        })
    }

    /// Waits until something is so; panics with `what` when it is not in a minute.
    pub async fn eventually(&self, what: &str, mut good: impl FnMut(&Self) -> bool) -> Duration {
        let begun = self.clock.now();
        while !good(self) {
            assert!(
                self.clock.now() - begun < Duration::from_secs(60),
                "not within a minute: {what}; fleet {:.0} W, caps {:?}",
                self.fleet(),
                self.caps(1)
            );
            tokio::time::sleep(LOOK).await;
        }
        self.clock.now() - begun
    }

    /// Looks for a while; panics with `what` when it is ever not so.
    pub async fn always(&self, what: &str, time: Duration, mut good: impl FnMut(&Self) -> bool) {
        let begun = self.clock.now();
        while self.clock.now() - begun < time {
            assert!(good(self), "{what}; fleet {:.0} W, caps {:?}", self.fleet(), self.caps(1));
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn stop(self) {
        if let Some(daemon) = self.daemon {
            daemon.stop().await;
        }
        self.simulation.shutdown().await;
    }
}

/// A desk with a wall clock that a test sets, and the task of one source at it.
pub struct Table {
    pub desk: Desk,
    pub clock: Clock,
    wall: Arc<Mutex<(i64, Moment, Doubt)>>,
    spec: Spec,
}

impl Table {
    /// The desk of a configuration at a wall-clock time (milliseconds since 1970).
    pub fn new(signals: &str, wall: i64) -> Self {
        let config = config("127.9.9", signals);
        let clock = Clock::start();
        let wall = Arc::new(Mutex::new((wall, clock.now(), Doubt::None)));
        let shown: WallClock = {
            let wall = wall.clone();
            Arc::new(move || {
                let (base, at, doubt) = *wall.lock().unwrap();
                let passed = i64::try_from((clock.now() - at).as_millis()).unwrap();
                (Wall::unix_millis(base + passed), doubt)
            })
        };
        let settings = config.signals.iter().map(|spec| spec.settings.clone()).collect();
        let desk = Desk::new(config.site.clone(), settings, clock, shown);
        let spec = config.signals.into_iter().nth(1).unwrap();
        Self { desk, clock, wall, spec }
    }

    /// Sets the wall clock.
    pub fn set(&self, wall: i64) {
        let mut state = self.wall.lock().unwrap();
        (state.0, state.1) = (wall, self.clock.now());
    }

    /// Says how far the wall clock can be trusted.
    pub fn doubt(&self, doubt: Doubt) {
        self.wall.lock().unwrap().2 = doubt;
    }

    /// How the source is heard.
    pub fn kind(&self) -> Kind {
        self.spec.kind.clone()
    }

    pub fn context(&self) -> Context {
        Context {
            frames: tokio::sync::watch::channel(None).1,
            source: self.desk.source(&self.spec.settings.name).unwrap(),
            name: self.spec.settings.name.as_str().into(),
            place: self.spec.place,
            desk: self.desk.clone(),
            clock: self.clock,
        }
    }

    /// What the source comes to now.
    pub fn view(&self) -> View {
        self.desk.look();
        self.desk.views().swap_remove(1).unwrap()
    }

    /// The tightest cap of the source, in watts.
    pub fn cap(&self) -> Option<f64> {
        self.view().caps.iter().map(|active| active.cap.get()).reduce(f64::min)
    }
}
