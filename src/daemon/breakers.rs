//! The breakers of the circuits: outputs that are read all the time and told to open when nothing else helps.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::decision::BreakerCommand;
use crate::control::snapshot::{MinerInput, Target};
use crate::miner::session::{self, Gate, Order, Session, SessionSpec, Shared};
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
    shared: Shared,
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
            shared: Shared::new(Gate::new(POLLS_AT_ONCE)),
            cancel: CancellationToken::new(),
        };
        breakers.configure(config, clock);
        Ok(breakers)
    }

    /// Takes a new configuration. Sessions whose connection did not change go on.
    pub fn configure(&mut self, config: &Config, clock: Clock) {
        let mut known: Vec<_> = std::mem::take(&mut self.members).into_iter().flatten().collect();
        let kept: Vec<_> = config
            .breakers
            .iter()
            .map(|wanted| {
                let at = known.iter().position(|(known, ..)| Some(known) == wanted.as_ref())?;
                Some(known.swap_remove(at))
            })
            .collect();
        for (_, session, gone) in known {
            gone.cancel();
            self.shared.leaving.add(session.task);
        }
        for (wanted, kept) in config.breakers.iter().zip(kept) {
            let member = kept.or_else(|| wanted.as_ref().map(|connection| self.open(connection, clock)));
            self.members.push(member);
        }
    }

    fn open(&self, connection: &Connection, clock: Clock) -> (Connection, Session, CancellationToken) {
        let cancel = self.cancel.child_token();
        let spec = SessionSpec {
            name: connection.name.clone(),
            kind: connection.driver,
            endpoint: connection.endpoint.clone(),
            identity: crate::miner::identity::Identity::default(),
            model: None,
            poll_period: POLL_PERIOD,
            silent_after: SILENT_AFTER,
            timeout: connection.timeout,
        };
        let driver = crate::miner::driver(connection, &self.http);
        let session = session::spawn(driver, spec, clock, self.shared.clone(), cancel.clone());
        (connection.clone(), session, cancel)
    }

    /// The name of a breaker whose session has ended by itself.
    pub fn ended(&self) -> Option<&str> {
        let members = self.members.iter().flatten();
        members.filter(|(_, session, _)| session.task.is_finished()).map(|(known, ..)| &*known.name).next()
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
