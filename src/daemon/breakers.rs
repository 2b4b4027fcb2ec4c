//! The breakers of the circuits: outputs that are read all the time and told to open when nothing else helps.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::decision::BreakerCommand;
use crate::control::snapshot::{MinerInput, Target};
use crate::miner::session::{self, Gate, Order, Session, SessionSpec};
use crate::miner::tally::SessionMetrics;
use crate::miner::{Connection, Urgency};

/// Time between two looks at an output.
const POLL_PERIOD: Duration = Duration::from_secs(2);
/// Without an answer for this long nobody knows how it stands.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// More outputs than are ever read at once.
const POLLS_AT_ONCE: usize = 64;

/// A session for each breaker, in the order of the site's circuits. Dropping it ends them.
pub struct Breakers {
    members: Vec<Option<(Connection, Session, CancellationToken)>>,
    http: reqwest::Client,
    gate: Arc<Gate>,
    stats: Arc<SessionMetrics>,
    cancel: CancellationToken,
}

impl Drop for Breakers {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Breakers {
    /// Starts a session for each breaker of the configuration.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn start(config: &Config, clock: Clock) -> Result<Self, reqwest::Error> {
        let mut breakers = Self {
            members: Vec::new(),
            http: crate::miner::http_client()?,
            gate: Arc::new(Gate::new(POLLS_AT_ONCE)),
            stats: Arc::new(SessionMetrics::default()),
            cancel: CancellationToken::new(),
        };
        breakers.configure(config, clock);
        Ok(breakers)
    }

    /// Takes a new configuration. Sessions whose connection did not change go on.
    pub fn configure(&mut self, config: &Config, clock: Clock) {
        let mut known: Vec<_> = std::mem::take(&mut self.members).into_iter().flatten().collect();
        for wanted in &config.breakers {
            let Some(connection) = wanted else {
                self.members.push(None);
                continue;
            };
            let kept = known.iter().position(|(known, ..)| known == connection);
            let member = kept.map(|at| known.swap_remove(at)).unwrap_or_else(|| self.open(connection, clock));
            self.members.push(Some(member));
        }
        for (_, _, gone) in known {
            gone.cancel();
        }
    }

    fn open(&self, connection: &Connection, clock: Clock) -> (Connection, Session, CancellationToken) {
        let cancel = self.cancel.child_token();
        let spec = SessionSpec {
            name: connection.name.clone(),
            kind: connection.driver,
            endpoint: connection.endpoint.clone(),
            identity: crate::discover::Identity::default(),
            model: None,
            poll_period: POLL_PERIOD,
            silent_after: SILENT_AFTER,
            timeout: connection.timeout,
        };
        let driver = crate::miner::driver(connection, &self.http);
        let (gate, stats) = (self.gate.clone(), self.stats.clone());
        let session = session::spawn(driver, spec, clock, gate, stats, cancel.clone());
        (connection.clone(), session, cancel)
    }

    /// What each says, in the order of the site's circuits; pending where there is none.
    pub fn inputs(&self) -> Vec<MinerInput> {
        let input = |member: &Option<(Connection, Session, CancellationToken)>| match member {
            Some((_, session, _)) => session.report.borrow().clone(),
            None => MinerInput::PENDING,
        };
        self.members.iter().map(input).collect()
    }

    /// Opens what is to be opened. Never waits.
    pub fn send(&self, commands: &[BreakerCommand]) {
        for command in commands {
            let order = Order { target: Target::Sleep, sequence: command.sequence, urgency: Urgency::Shed };
            if let Some(Some((_, session, _))) = self.members.get(command.circuit.0) {
                session.order.send_replace(Some(order));
            }
        }
    }
}
