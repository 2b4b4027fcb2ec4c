//! A simulated miner with its server on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::site::{Actuator, AnswerWithin, CircuitId, LoadClass, Miner, OperatingPoint, Response};
use ballast::miner::drivers::generic::{Description, Protocol, http};
use ballast::miner::{Connection, Credentials, DriverKind, Endpoint};
use ballast::secret::Secret;
use ballast::sim::miner::{Fault, FaultKind, Initial, ServerHandle, SimMiner, serve};
use ballast::units::{Hashrate, Watts, WattsPerSecond};
use tokio_util::sync::CancellationToken;

pub(crate) const PASSWORD: &str = "not the default";

/// A miner with its server on a port of its own.
pub(crate) struct Bench {
    pub(crate) miner: Arc<SimMiner>,
    pub(crate) server: ServerHandle,
    pub(crate) clock: Clock,
    pub(crate) cancel: CancellationToken,
    driver: DriverKind,
}

impl Bench {
    pub(crate) async fn start(driver: DriverKind) -> Self {
        Self::start_as(driver, Initial::Hashing { fraction: 1.0 }).await
    }

    pub(crate) async fn start_as(driver: DriverKind, initial: Initial) -> Self {
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: 0 };
        Self::start_at(driver, initial, endpoint).await
    }

    /// A device of the operator's own.
    pub(crate) async fn start_device(device: Arc<Description>, initial: Initial, endpoint: Endpoint) -> Self {
        Self::start_with(DriverKind::Generic, Some(device), initial, endpoint, 11).await
    }

    pub(crate) async fn start_at(driver: DriverKind, initial: Initial, endpoint: Endpoint) -> Self {
        if let Some(device) = device(driver) {
            return Self::start_device(device, initial, endpoint).await;
        }
        Self::start_with(driver, None, initial, endpoint, 11).await
    }

    /// With a seed of its own, which decides among the versions of a firmware.
    pub(crate) async fn start_seeded(driver: DriverKind, initial: Initial, seed: u64) -> Self {
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: 0 };
        Self::start_with(driver, device(driver), initial, endpoint, seed).await
    }

    async fn start_with(
        driver: DriverKind,
        device: Option<Arc<Description>>,
        initial: Initial,
        endpoint: Endpoint,
        seed: u64,
    ) -> Self {
        let traits = driver.traits();
        let point = |watts: i32, terahashes: f64| OperatingPoint {
            power: Watts::whole(watts),
            hashrate: Hashrate::terahashes(terahashes),
        };
        // Quick, so that the tests are: what the vendors' ramps are is the business of the physics' own tests.
        let response = Response {
            dead_time_down: Duration::from_millis(100),
            dead_time_up: Duration::from_millis(100),
            ramp_down: WattsPerSecond::whole(10_000),
            ramp_up: WattsPerSecond::whole(10_000),
            start_time: Duration::from_millis(700),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        };
        let spec = Miner {
            name: "bench".into(),
            driver: driver.name(),
            circuit: CircuitId(0),
            points: vec![point(1_700, 92.0), point(3_400, 170.0)],
            class: LoadClass::Miner,
            contract: None,
            sleeps: true,
            notice: Duration::ZERO,
            answer_within: AnswerWithin::NONE,
            restarts: false,
            sleep: Watts::whole(20),
            nameplate: Watts::whole(3_700),
            actuator: Actuator::Continuous { quantum: Watts::whole(34) },
            response,
            cost: traits.cost,
            poll_period: Duration::from_secs(2),
            silent_after: Duration::from_secs(10),
        };
        let connection = Connection {
            name: "bench".into(),
            driver,
            endpoint,
            credentials: Some(Credentials { username: None, password: Secret::new(PASSWORD.into()) }),
            timeout: Duration::from_secs(2),
            rated: Watts::whole(3_400),
            device,
            certificate: None,
            gpus: None,
            pause: None,
            rated_is_told: true,
        };
        let clock = Clock::start();
        let cancel = CancellationToken::new();
        let miner = Arc::new(SimMiner::new(&spec, &connection, seed, initial));
        let server = serve(Arc::clone(&miner), &connection, clock, cancel.clone()).await.unwrap();
        Self { miner, server, clock, cancel, driver }
    }

    /// The way to it, for a driver.
    pub(crate) fn connection(&self) -> Connection {
        let address = self.address();
        Connection {
            name: "bench".into(),
            driver: self.driver,
            endpoint: Endpoint { host: address.ip().to_string(), port: address.port() },
            credentials: Some(Credentials { username: None, password: Secret::new(PASSWORD.into()) }),
            timeout: Duration::from_millis(600),
            rated: Watts::whole(3_400),
            device: device(self.driver),
            certificate: None,
            gpus: None,
            pause: None,
            rated_is_told: true,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn power(&self) -> f64 {
        self.miner.power(self.clock.now()).get()
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.miner.inject(fault, self.clock.now());
    }

    pub(crate) fn clear(&self, kind: FaultKind) {
        self.miner.clear(kind, self.clock.now());
    }

    /// Waits until something holds; fails after a minute, which is enough for a busy machine.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1_200 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} did not come about; power {} W", self.power());
    }
}

/// A smart outlet behind HTTP.
pub(crate) fn outlet() -> Description {
    let call = |turn: &str| http::Call {
        method: reqwest::Method::POST,
        path: "/relay/0".into(),
        body: format!("{{\"turn\":\"{turn}\"}}"),
        status: None,
        expect: None,
    };
    let state = http::Look { path: "/relay/0".into(), pointer: Some("/ison".into()) };
    Description {
        name: "outlet".into(),
        port: 80,
        setpoint: None,
        protocol: Protocol::Http(Box::new(http::Description {
            headers: Vec::new(),
            on: call("on"),
            off: call("off"),
            setpoint: None,
            state: (state, true.into(), false.into()),
            power: None,
            target: None,
        })),
    }
}

/// What a driver of the operator's own needs; nothing for the others.
fn device(driver: DriverKind) -> Option<Arc<Description>> {
    (driver == DriverKind::Generic).then(|| Arc::new(outlet()))
}
