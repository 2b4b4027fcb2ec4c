//! Everything the control law is told in one cycle: each value with its age and its quality, frozen.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::lead::Lead;
use crate::control::measure::Readings;
use crate::control::signal::Active;
use crate::control::site::{CircuitId, MinerId, OperatingPoint, SourceId};
use crate::moment::Moment;
use crate::units::{Hashrate, Watts};

/// A value and the moment at which it reached the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading<T> {
    /// The value, in the unit that its type says.
    pub value: T,
    /// When it arrived.
    pub at: Moment,
}

/// A value that a device may not have. Absence is never zero.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub enum Measured<T> {
    /// The device said this.
    Value(T),
    /// The device has no such value at all.
    Unsupported,
    /// The device has it, but not now.
    #[default]
    Unavailable,
}

impl<T> Measured<T> {
    /// The value, where there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Unsupported | Self::Unavailable => None,
        }
    }
}

/// How the latest attempt to read a meter ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MeterStatus {
    /// No attempt has ended yet.
    Pending,
    /// A good value came.
    Ok,
    /// No connection, or no answer in time.
    Unreachable,
    /// The answer broke the protocol.
    Malformed,
    /// The device answered with a Modbus exception of this code.
    Exception(u8),
    /// The device said that it has no value (a sentinel).
    Unavailable,
    /// The value is outside of what is plausible for this meter.
    Implausible,
    /// The value has not changed for longer than this meter's noise allows, or while it had to show what miners did.
    Frozen,
    /// It moves the wrong way when the miners move.
    Turned,
}

impl MeterStatus {
    /// As written in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ok => "ok",
            Self::Unreachable => "unreachable",
            Self::Malformed => "malformed",
            Self::Exception(_) => "exception",
            Self::Unavailable => "unavailable",
            Self::Implausible => "implausible",
            Self::Frozen => "frozen",
            Self::Turned => "turned",
        }
    }
}

/// What is known of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeterInput {
    /// How the latest attempt ended.
    pub status: MeterStatus,
    /// The latest good value, however old. For a meter on a circuit: power into the circuit, import positive.
    ///
    /// Its stamp is that of the *sample*: the moment at which this value first came. A value that is the same to the
    /// last bit is a new sample only once the meter's refresh period has gone by.
    pub power: Option<Reading<Watts>>,
    /// The latest good value of everything else that the meter tells.
    pub others: Readings,
    /// How often the device has a new value, learned; `None` until that is known, and for what is no device.
    pub refresh: Option<Duration>,
    /// The power is what the value says or less: the register stands at the end where power flows out. It does not
    /// move there, whatever the miners do.
    pub at_most: bool,
}

impl MeterInput {
    /// A meter of which nothing is known yet.
    pub const PENDING: Self = Self::new(MeterStatus::Pending, None);

    /// A meter that tells its power and nothing else.
    pub const fn new(status: MeterStatus, power: Option<Reading<Watts>>) -> Self {
        Self { status, power, others: Readings::NONE, refresh: None, at_most: false }
    }
}

/// What a miner can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// Stop hashing, stay reachable.
    Sleep,
    /// Hash at this power. Positive.
    Power(Watts),
}

/// What a miner is doing, by its own word.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Activity {
    /// It does not say.
    #[default]
    Unknown,
    /// Hashing.
    Hashing,
    /// Starting or tuning: on its way to hashing.
    Starting,
    /// Stopped on command.
    Asleep,
    /// Stopped by a fault of its own; the text is the vendor's.
    Fault(Arc<str>),
}

/// One reading of a miner.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MinerStatus {
    /// Draw at the wall.
    pub power: Measured<Watts>,
    /// Hashrate, the shortest average that the miner offers.
    pub hashrate: Measured<Hashrate>,
    /// What it is doing.
    pub activity: Activity,
    /// The target that it says it has been given.
    pub target: Measured<Target>,
    /// The range of power targets that the device accepts while hashing.
    pub range: Option<(Watts, Watts)>,
    /// The powers at which it can run, by its own word (presets, profiles), by rising power; `None` where it does
    /// not say or is not bound to any.
    pub points: Option<Arc<[OperatingPoint]>>,
    /// Time since the mining software started, where it says; a fall means a restart.
    pub uptime: Option<Duration>,
}

/// Whether a miner answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contact {
    /// Not asked yet, or the first answer is still to come.
    Pending,
    /// The latest exchange succeeded.
    Reachable,
    /// The latest exchanges failed; the first of them at this moment.
    Unreachable {
        /// When it began.
        since: Moment,
    },
}

/// Why a miner refused a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rejection {
    /// Wrong account or password.
    Credentials,
    /// The write interface of the miner is switched off.
    WriteDisabled,
    /// Out of sessions or tokens; later it may work.
    Busy,
    /// The target is outside of what the miner accepts.
    OutOfRange,
    /// Not possible in the state that the miner is in.
    WrongState,
    /// The firmware has no such command.
    Unsupported,
    /// Another miner answers at its address; nothing was sent.
    AnotherMiner,
    /// Something else, in the vendor's words (bounded in length).
    Other(Arc<str>),
}

impl Rejection {
    /// As written in metrics: a closed set of labels.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Credentials => "rejected_credentials",
            Self::WriteDisabled => "rejected_write_disabled",
            Self::Busy => "rejected_busy",
            Self::OutOfRange => "rejected_out_of_range",
            Self::WrongState => "rejected_wrong_state",
            Self::Unsupported => "rejected_unsupported",
            Self::AnotherMiner => "rejected_another_miner",
            Self::Other(_) => "rejected_other",
        }
    }

    /// What it means and what to do.
    pub fn explain(&self) -> String {
        match self {
            Self::Credentials => "wrong account or password; check the miner's credentials".into(),
            Self::WriteDisabled => "its write interface is off; enable it with the vendor's tool".into(),
            Self::Busy => "it is busy, or has no free session; close other tools that talk to it".into(),
            Self::OutOfRange => "the value is outside of what it accepts".into(),
            Self::WrongState => "not possible in its present state".into(),
            Self::Unsupported => "its firmware has no such command".into(),
            Self::AnotherMiner => {
                "another miner answers at its address; correct the address, or `mac` and `serial`".into()
            }
            Self::Other(text) => text.to_string(),
        }
    }
}

/// How the delivery of a command ended. Accepted is not applied: the draw tells that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// On its way.
    InFlight,
    /// The miner said yes.
    Accepted,
    /// The miner said no.
    Rejected(Rejection),
    /// No answer, or one that cannot be read: it may or may not have arrived.
    Unknown,
}

/// The latest command to a miner and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The number that the control law gave the command.
    pub sequence: u64,
    /// What was asked.
    pub target: Target,
    /// When `outcome` was set.
    pub at: Moment,
    /// How it ended.
    pub outcome: Outcome,
}

/// What is known of a miner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinerInput {
    /// Whether it answers.
    pub contact: Contact,
    /// Its latest reading, however old.
    pub status: Option<Reading<MinerStatus>>,
    /// The latest command.
    pub delivery: Option<Delivery>,
}

impl MinerInput {
    /// A miner of which nothing is known yet.
    pub const PENDING: Self = Self { contact: Contact::Pending, status: None, delivery: None };
}

/// A cap that a source of orders sets now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderCap {
    /// Which source.
    pub source: SourceId,
    /// What it caps, and why.
    pub active: Active,
}

/// How a miner is kept while somebody works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Hold {
    /// It is put to sleep, and to sleep again when it begins by itself; nothing else is told to it.
    Asleep,
    /// Nothing at all is told to it: whoever works on it moves it. It is read, and counts at what it draws.
    HandsOff,
}

impl Hold {
    /// As written in requests, logs and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::HandsOff => "hands-off",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Asleep, Self::HandsOff].into_iter().find(|hold| hold.name() == name)
    }
}

/// A miner that somebody works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeldMiner {
    /// Which.
    pub miner: MinerId,
    /// How it is kept.
    pub hold: Hold,
}

/// How a miner is kept, in a cycle whose holds stand by rising miner.
pub fn hold_of(holds: &[HeldMiner], miner: MinerId) -> Option<Hold> {
    let at = holds.binary_search_by_key(&miner, |held| held.miner).ok()?;
    holds.get(at).map(|held| held.hold)
}

/// All inputs of one cycle. The order is that of [`super::site::Site`]; a missing entry counts as pending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The moment of the cycle.
    pub now: Moment,
    /// One for each of the site's meters that is a device. What is put together from them, the control law works out.
    pub meters: Vec<MeterInput>,
    /// One for each of the site's miners.
    pub miners: Vec<MinerInput>,
    /// Every cap that the sources of orders set now, in any order; what is not here does not act.
    pub orders: Vec<OrderCap>,
    /// What the breaker of each of the site's circuits says, as a miner would: *asleep* is open. A circuit without one,
    /// and a missing entry, count as pending.
    pub breakers: Vec<MinerInput>,
    /// The miners that somebody works on, by rising miner, each once.
    pub holds: Vec<HeldMiner>,
    /// The circuits whose emergency stop somebody releases in this cycle; it is released only while its contact is closed.
    #[serde(default)]
    pub released: Vec<CircuitId>,
    /// The circuits whose emergency stop is latched at the machine that leads, where this one stands by and has heard of it.
    #[serde(default)]
    pub latched: Vec<CircuitId>,
    /// What this daemon may do with the miners, where another one stands by.
    #[serde(default)]
    pub lead: Lead,
}

impl Snapshot {
    /// A snapshot in which nobody has ordered anything.
    pub const fn new(now: Moment, meters: Vec<MeterInput>, miners: Vec<MinerInput>) -> Self {
        Self {
            now,
            meters,
            miners,
            orders: Vec::new(),
            breakers: Vec::new(),
            holds: Vec::new(),
            released: Vec::new(),
            latched: Vec::new(),
            lead: Lead::Alone,
        }
    }
}
