//! A simulated miner behind its vendor's server, for tests of a driver from end to end.

use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::site::{Actuator, AnswerWithin, CircuitId, LoadClass, Miner, OperatingPoint, Response};
use ballast::miner::{Connection, Credentials, Driver, DriverKind, Endpoint, driver, http_client};
use ballast::secret::Secret;
use ballast::sim::miner::{Initial, SimMiner, serve};
use ballast::units::{Hashrate, Watts, WattsPerSecond};
use tokio_util::sync::CancellationToken;

use super::drivers_support::PASSWORD;

/// A miner, its server and the way to it.
pub struct Sim {
    pub miner: Arc<SimMiner>,
    pub connection: Connection,
    pub clock: Clock,
    cancel: CancellationToken,
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Sim {
    /// At full power, with these operating points as watts and terahashes; quick, so that the tests are.
    pub async fn start(kind: DriverKind, seed: u64, host: &str, port: u16, points: &[(f64, f64)]) -> Self {
        let point = |(watts, terahashes): &(f64, f64)| OperatingPoint {
            power: Watts::saturating(*watts),
            hashrate: Hashrate::terahashes(*terahashes),
        };
        let points: Vec<_> = points.iter().map(point).collect();
        let rated = points.last().unwrap().power;
        let spec = Miner {
            name: "m1".into(),
            driver: kind.name(),
            circuit: CircuitId(0),
            class: LoadClass::Miner,
            contract: None,
            sleeps: true,
            notice: Duration::ZERO,
            answer_within: AnswerWithin::NONE,
            restarts: false,
            sleep: rated.scaled(0.01),
            nameplate: rated.scaled(1.1),
            points,
            actuator: Actuator::Continuous { quantum: Watts::whole(1) },
            response: Response {
                dead_time_down: Duration::from_millis(50),
                dead_time_up: Duration::from_millis(50),
                ramp_down: WattsPerSecond::whole(20_000),
                ramp_up: WattsPerSecond::whole(20_000),
                start_time: Duration::from_millis(200),
                starts_at_full: false,
                start_overshoot: 0.02,
                caps: false,
            },
            cost: kind.traits().cost,
            poll_period: Duration::from_secs(2),
            silent_after: Duration::from_secs(10),
        };
        let mut connection = Connection {
            name: "m1".into(),
            driver: kind,
            endpoint: Endpoint { host: host.into(), port },
            credentials: Some(Credentials { username: None, password: Secret::new(PASSWORD.into()) }),
            timeout: Duration::from_secs(2),
            rated,
            device: None,
            certificate: None,
            gpus: None,
            pause: None,
            rated_is_told: true,
        };
        let (clock, cancel) = (Clock::start(), CancellationToken::new());
        let miner = Arc::new(SimMiner::new(&spec, &connection, seed, Initial::Hashing { fraction: 1.0 }));
        let server = serve(Arc::clone(&miner), &connection, clock, cancel.clone()).await.unwrap();
        connection.endpoint.port = server.address().port();
        Self { miner, connection, clock, cancel }
    }

    pub fn driver(&self) -> Box<dyn Driver> {
        driver(&self.connection, &http_client().unwrap())
    }

    pub fn power(&self) -> f64 {
        self.miner.power(self.clock.now()).get()
    }

    /// Waits until the true draw lies between two bounds; fails after a minute, which is enough for a busy machine.
    pub async fn settles(&self, low: f64, high: f64) {
        for _ in 0..1_200 {
            if (low..=high).contains(&self.power()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the draw is {} W and not from {low} to {high} W", self.power());
    }
}
