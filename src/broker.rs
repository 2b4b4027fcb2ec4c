//! What every connection to a broker of MQTT has in common, whichever version of the protocol is spoken there.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::Transport;

use crate::secret::Secret;
use crate::tls;

/// Wait before the first new attempt to connect; it doubles with each that fails …
pub const FIRST_WAIT: Duration = Duration::from_secs(1);
/// … up to this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A connection that has lasted so long was a good one.
pub const GOOD: Duration = Duration::from_secs(30);
/// The broker must be heard in this time, else it is asked whether it lives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Nothing at all happens on a connection for so long: it is dead, whatever the network says.
pub const SILENCE: Duration = Duration::from_secs(40);
/// The longest time to connect, in seconds.
pub const CONNECT_SECONDS: u64 = 10;
/// The longest wait for the last words to go out.
pub const GOODBYE: Duration = Duration::from_secs(1);
/// The longest words of an error, in characters.
const LONGEST_WORDS: usize = 200;

/// A certificate and its key, both PEM.
pub type Identity = (Arc<[u8]>, Secret);

/// How a connection is encrypted.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Certificates (PEM) of those who may vouch for the broker; those that the machine trusts without it.
    pub authority: Option<Arc<[u8]>>,
    /// Our own certificate and its key (PEM).
    pub identity: Option<Identity>,
}

/// A connection that is encrypted as the configuration says.
///
/// # Errors
/// A certificate or key cannot be used.
pub fn transport(plan: &Tls) -> Result<Transport, tls::Unusable> {
    let Tls { authority, identity } = plan;
    let identity = identity.as_ref().map(|(certificate, key)| (&certificate[..], key.expose().as_bytes()));
    let config = tls::config(authority.as_deref(), identity)?;
    Ok(Transport::tls_with_config(config.into()))
}

/// A little longer for each client in a way of its own: many must not come back in one moment.
pub fn spread(wait: Duration, client: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    let part = u32::try_from(hasher.finish() >> 32).unwrap_or(0);
    wait.mul_f64(1.0 + 0.25 * f64::from(part) / f64::from(u32::MAX))
}

/// The words of an error as they may stand in a log.
pub fn shown(words: &str) -> String {
    words.chars().take(LONGEST_WORDS).map(crate::line::shown).collect()
}
