//! What is particular to a source whose orders come as messages over MQTT.

use std::time::Duration;

/// How old a message may be unless the configuration says otherwise.
pub const OLDEST: Duration = Duration::from_secs(60);

/// The keys of this kind alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long ago a message may have been sent, by the clock of its sender.
    pub oldest: Duration,
}
