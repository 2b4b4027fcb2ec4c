//! What must be known of a partner, of the broker between us, and of the feeds that are agreed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::plan::Feeds;
use crate::broker::Tls;
use crate::control::site::CircuitId;
use crate::oauth::Credentials;
use crate::secret::Secret;

/// How old a message may be unless the configuration says otherwise.
pub const OLDEST: Duration = Duration::from_secs(60);
/// Time between two statuses while nothing changes, unless the configuration says otherwise.
pub const STATUS_EVERY: Duration = Duration::from_secs(30);
/// How far above a target still counts as met, as a fraction, unless the configuration says otherwise.
pub const BREACH_OVER: f64 = 0.02;
/// How long a new target may take, unless the configuration says otherwise.
pub const BREACH_AFTER: Duration = Duration::from_secs(30);
/// How long a hint may take unless the configuration says otherwise.
pub const APPLIED_WITHIN: Duration = Duration::from_secs(60);
/// The broker is asked this often whether it lives, and is heard as often.
pub const SIGN_OF_LIFE: Duration = crate::broker::KEEP_ALIVE;

/// The way to the other side: the broker between us, and who we both are.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// With TLS, and how; `None` in the clear.
    pub tls: Option<Tls>,
    /// How the broker is told who we are.
    pub account: Account,
    /// By what the broker knows our session; not empty, and no two clients there may have one.
    pub client_id: String,
    /// Our name among those of our role.
    pub identity: String,
    /// The name of those who are obeyed: the partner of an agent, the agent of the infra role.
    pub partner: String,
    /// Where their public keys are.
    pub keys: KeysFrom,
    /// Certificates (PEM) of those who may vouch for the servers of keys and tokens beside those that the machine trusts.
    pub authority: Option<Arc<[u8]>>,
    /// Our private key (PEM, PKCS #8, curve P-256).
    pub signing_key: Secret,
    /// By what name others find its public half.
    pub signing_key_id: String,
    /// How long ago a message may have been sent, by its own word, and how far ahead.
    pub oldest: Duration,
    /// A message must say under its signature when it was signed.
    pub require_iat: bool,
}

/// The settings of the role of the agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The way to the partner.
    pub link: Link,
    /// Which circuits are feeds.
    pub feeds: Feeds,
    /// Time between two statuses while nothing changes.
    pub status_every: Duration,
    /// How far above a target still counts as met, as a fraction. 0.02 = 2 %.
    pub breach_over: f64,
    /// How long a target that is new or tighter may take before it is a breach not to meet it.
    pub breach_after: Duration,
}

/// The settings of the role of infra.
#[derive(Clone, Debug, PartialEq)]
pub struct InfraSettings {
    /// The way to the agent whose hints are carried out.
    pub link: Link,
    /// Which circuits their resources are, by the agent's names; each circuit once.
    pub resources: BTreeMap<String, CircuitId>,
    /// How long a hint may take until the measured draw shows it; then it has failed.
    pub applied_within: Duration,
}

/// How a broker is told who we are.
#[derive(Clone, Debug, PartialEq)]
pub enum Account {
    /// By our certificate, or not at all on this machine.
    Certificate,
    /// By a name and a password.
    Login(String, Secret),
    /// By a token, which is the password of the name `oauthtoken`.
    Token(Credentials),
}

/// Where the public keys of a partner are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    /// In a file.
    File(PathBuf),
    /// At an address of https, or of http on this machine.
    Url(Url),
}
