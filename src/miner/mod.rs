//! Miners: one trait, one file per vendor API, one session per miner.
//!
//! | Room | What is there |
//! |---|---|
//! | `drivers/` | one file or folder for each vendor's API: what is asked, what is told, what the answers mean |
//! | `wire/` | how an exchange goes to and fro, and what bounds it |
//! | `reply/` | how values are read out of what vendors write, and what several firmwares share |
//! | `session/` | one task per miner: the latest target, polls, read-back, whether it is still the same miner |
//! | `pause/` | a server whose work its tenant pauses and resumes, around its driver |
//! | `identity`, `kind` | who a miner is; which drivers there are |
//!
//! A driver changes power and nothing else: never pools, fans, network or passwords, and never an undocumented
//! unlock. It never decides; it carries out the latest [`Target`] and reports what the miner says.

pub mod drivers;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod identity;
pub mod kind;
pub mod pause;
pub mod reply;
pub mod session;
pub(crate) mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::control::snapshot::{MinerStatus, Rejection, Target};
use crate::secret::Secret;
use crate::units::Watts;

pub use crate::endpoint::Endpoint;
pub use identity::Identity;
pub use kind::DriverKind;

/// An account on a miner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Account name, where the vendor has accounts.
    pub username: Option<String>,
    /// Its password.
    pub password: Secret,
}

/// All that a driver needs to reach its miner.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The miner's name, for logs.
    pub name: Arc<str>,
    /// Which driver.
    pub driver: DriverKind,
    /// Where the miner listens.
    pub endpoint: Endpoint,
    /// Account for commands; `None` lets the miner be read only.
    pub credentials: Option<Credentials>,
    /// Longest wait for one exchange.
    pub timeout: Duration,
    /// Draw at 100 %, by the configuration or the model: the base for firmware that is set in percent and does
    /// not say its base itself.
    pub rated: Watts,
    /// How a device of the operator's own is spoken to; `None` for every other driver.
    pub device: Option<Arc<drivers::generic::Description>>,
    /// Whose certificate it must have where it is reached over HTTPS; `None` for plain connections.
    pub certificate: Option<crate::tls::Trust>,
    /// Which processors of a server are set from inside of it, and what it draws beside them; `None`: all, and nothing.
    pub gpus: Option<Gpus>,
    /// How the work of a server is paused and resumed; `None`: there is no way to.
    pub pause: Option<Arc<pause::Pause>>,
    /// Whether the configuration or the model says what `rated` is; else it is the highest power, which firmware that is
    /// set in percent may take for less than its own 100 %.
    pub rated_is_told: bool,
}

/// The graphics processors of a server whose limits are set from inside of its operating system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpus {
    /// Their ids (0 and up), as the daemon on the server counts them; `None`: all that it has.
    pub only: Option<Arc<[u16]>>,
    /// What the server draws beside them, in watts, 0 or more: taken for constant.
    pub base: Watts,
    /// The Unix socket of a daemon on this machine, an absolute path; `None`: it listens at the address.
    pub socket: Option<Arc<Path>>,
}

/// How much a command hurries: a driver may have a faster and a gentler way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Power must fall now.
    Shed,
    /// There is time.
    Normal,
}

/// Why an exchange with a miner failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DriverError {
    /// No connection.
    #[error("cannot connect to {endpoint}: {reason}; check its address, its power and the network")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// The operating system's words.
        reason: String,
    },
    /// Connected, but no complete answer in time. A command may or may not have arrived.
    #[error("{endpoint} did not answer {exchange} within {limit:?}")]
    Timeout {
        /// Where.
        endpoint: Endpoint,
        /// Which exchange.
        exchange: &'static str,
        /// The time given.
        limit: Duration,
    },
    /// An answer that is not what the vendor documents. A command may or may not have been carried out.
    #[error("{endpoint} answered {exchange} with something else than documented: {reason}")]
    Malformed {
        /// Where.
        endpoint: Endpoint,
        /// Which exchange.
        exchange: &'static str,
        /// What is wrong with it; never the whole answer.
        reason: String,
    },
    /// The miner understood and said no.
    #[error("{endpoint} refused {exchange}: {}", reason.explain())]
    Rejected {
        /// Where.
        endpoint: Endpoint,
        /// Which exchange.
        exchange: &'static str,
        /// Why.
        reason: Rejection,
    },
}

/// Speaks with one miner. One exchange at a time; dropping a call in flight must leave the driver usable (it
/// drops the connection).
#[async_trait]
pub trait Driver: Send {
    /// Reads what the miner says of itself.
    ///
    /// # Errors
    /// Any [`DriverError`].
    async fn read(&mut self) -> Result<MinerStatus, DriverError>;

    /// Tells the miner what to do and returns when it has said yes. Never restarts mining where the firmware has
    /// a gentler command. `Power` wakes a sleeping miner first.
    ///
    /// # Errors
    /// Any [`DriverError`]; after `Timeout` and `Malformed` the effect is unknown.
    async fn apply(&mut self, target: Target, urgency: Urgency) -> Result<(), DriverError>;

    /// Asks the miner who it is: `None` where its firmware does not tell. Only reads, in an exchange or two; asked before
    /// the first command and whenever another miner may have come to its address, not with each poll.
    ///
    /// # Errors
    /// Any [`DriverError`].
    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        Ok(None)
    }

    /// Proves the account of the connection with a read, where the vendor has one that needs it: so a wrong password shows
    /// before the first command. Whether there is such a read, and an account to prove.
    ///
    /// # Errors
    /// Any [`DriverError`]; [`Rejection::Credentials`] when the miner refuses the account.
    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        Ok(false)
    }

    /// Keeps an idle connection open where the vendor closes silent ones. Called now and then while nothing else
    /// is done; bounded, and its failure shows in the next exchange.
    async fn keep_alive(&mut self) {}

    /// Says before a read whether a control law stands behind what the miner was told last. Only those care that are kept where they
    /// are by being spoken to.
    fn vouched(&mut self, _: bool) {}

    /// Says before each read and command whether what the miner was or is told belongs to an emergency. Only those care that can pass
    /// it on.
    fn emergency(&mut self, _: bool) {}

    /// Gives back sessions and connections. Does nothing to the miner's power.
    async fn close(&mut self);
}

/// The driver of a connection, with its pause hook where there is one. Nothing is sent before its first call. `http` comes from
/// [`http_client`] and is shared by all.
pub fn driver(connection: &Connection, http: &reqwest::Client) -> Box<dyn Driver> {
    let driver = (connection.driver.about().new)(connection, http);
    match &connection.pause {
        Some(settings) => Box::new(pause::Paused::new(driver, connection, settings, http)),
        None => driver,
    }
}

/// The one HTTP client of all: the drivers make their requests with it, and send them over a connection of their own
/// (`http`); who a miner is, is asked with it. It follows no redirects and heeds no proxy of the environment: a miner is
/// reached at its address or not at all. It keeps at most one idle connection per miner, and not for long. Time limits and
/// sizes are the drivers' business.
///
/// # Errors
/// When the client cannot be built, which is a fault of the system and not of the configuration.
pub fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    // Miners speak plain HTTP.
    crate::tls::client(false).build()
}
