//! Meters: one task owns each physical link and a queue of reads with deadlines.
//!
//! Any timeout, cancellation or protocol error drops the connection; only a Modbus exception keeps it: a late
//! reply would otherwise be taken for another register's value.

pub mod profile;

use std::time::Duration;

use crate::miner::Endpoint;
use profile::{Plausible, Profile};

/// Position of a link in [`crate::config::Config::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(pub usize);

/// How the bytes travel. Never guessed: a transparent serial gateway is not Modbus TCP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Modbus TCP.
    Tcp(Endpoint),
}

/// A physical link to one or more meters.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Unique name.
    pub name: String,
    /// Where and how.
    pub transport: Transport,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Wait after connecting, for devices that are slow to listen.
    pub connect_delay: Duration,
    /// Silence between two requests.
    pub gap: Duration,
}

/// How a meter is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The link that it hangs on.
    pub link: LinkId,
    /// Modbus unit id.
    pub unit: u8,
    /// What its registers mean.
    pub profile: Profile,
    /// Turns the sign, for current transformers that are mounted the other way round.
    pub invert: bool,
    /// Values outside are refused.
    pub plausible: Option<Plausible>,
    /// An unchanged value for longer than this is taken for frozen; `None` never.
    pub frozen_after: Option<Duration>,
    /// Time between two reads.
    pub period: Duration,
}
