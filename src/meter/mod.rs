//! Meters: one task owns each physical link and a queue of reads with deadlines.
//!
//! Any timeout, cancellation or protocol error drops the connection; only a Modbus exception keeps it: a late
//! reply would otherwise be taken for another register's value. On serial lines, where an answer carries no number
//! of its request, the line is moreover waited out and drained, and a unit that owes an answer is not believed until
//! it is certainly in step again.
//!
//! - [`profile`]: what the registers mean, as data; [`decode`]: from registers to numbers; [`plan`]: the fewest
//!   requests that read them; [`sunspec`]: devices that say themselves what their registers mean.
//! - `link`: the task of a link, its schedule and its pauses; `batch`: what of a meter is read together; `quest`: how a
//!   SunSpec meter comes to its registers. `session`: one connection, one request at a time.
//!   `guard`, [`rtu`]: what the bytes must look like before tokio-modbus sees them, over TCP and on serial lines;
//!   [`mod@line`]: how long characters take.
//! - [`survey`]: a link asked by hand, for `ballast meter read` and `scan`.
//! - `intake`: the judgement of a value, its publication and its log; `refresh`: how often a device has a new one;
//!   [`counters`]: what the metrics show.
//!
//! Another way for the bytes to travel is another [`Transport`] and another arm where `session` opens it.

mod batch;
pub mod counters;
pub mod decode;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
pub(crate) mod intake;
pub mod line;
mod link;
mod pattern;
pub mod plan;
pub mod profile;
mod quest;
mod refresh;
pub mod rtu;
mod session;
pub mod sunspec;
pub mod survey;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::error;

use crate::clock::Clock;
use crate::control::snapshot::{MeterInput, MeterStatus};
use crate::endpoint::Endpoint;
use counters::{LinkCounters, MeterCounters};
use intake::Intake;
use line::Line;
use link::{Owner, Polled};
use profile::{Plausible, Profile};

pub use session::{ExceptionKind, ReadError};

/// Position of a link in [`crate::config::Config::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(pub usize);

/// How the bytes travel. Never guessed: a transparent serial gateway is not Modbus TCP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Modbus TCP.
    Tcp(Endpoint),
    /// RTU frames over a TCP connection: a transparent serial gateway. The line is that behind the gateway, as far as
    /// it is known; it only tells how long characters take.
    RtuOverTcp(Endpoint, Line),
    /// A serial port of this machine, by its path.
    Rtu(String, Line),
}

impl Transport {
    /// The serial line at its end, where there is one that is spoken to directly.
    pub const fn line(&self) -> Option<&Line> {
        match self {
            Self::Tcp(_) => None,
            Self::RtuOverTcp(_, line) | Self::Rtu(_, line) => Some(line),
        }
    }

    /// What it is, for messages.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "Modbus TCP",
            Self::RtuOverTcp(..) => {
                "Modbus RTU over TCP, and the wiring, termination and settings of the serial line"
            }
            Self::Rtu(..) => "Modbus RTU with this baud rate and parity, and its wiring and termination",
        }
    }
}

impl std::fmt::Display for Transport {
    /// The place, for messages.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(endpoint) | Self::RtuOverTcp(endpoint, _) => endpoint.fmt(f),
            Self::Rtu(path, _) => f.write_str(path),
        }
    }
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
    /// Silence between two requests; on serial lines at least 3.5 characters, whatever stands here.
    pub gap: Duration,
    /// Whether answers carry the number of their request, as Modbus TCP has it. Serial lines have no numbers, whatever stands
    /// here, and some gateways give their answers numbers of their own.
    pub numbered: bool,
}

impl Link {
    /// The silence that is kept between two requests.
    fn silence(&self) -> Duration {
        self.gap.max(self.transport.line().map_or(Duration::ZERO, Line::silence))
    }

    /// Whether an answer says which request it belongs to.
    fn tells_requests_apart(&self) -> bool {
        self.numbered && self.transport.line().is_none()
    }

    /// For how long the device is left alone when an answer may still come; zero where answers are numbered.
    fn quarantine(&self) -> Duration {
        let silence = self.transport.line().map_or(self.gap, Line::silence);
        if self.tells_requests_apart() { Duration::ZERO } else { self.timeout.saturating_add(silence) }
    }
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
    /// Values outside are refused. `None` refuses none; a configuration always makes one.
    pub plausible: Option<Plausible>,
    /// An unchanged value for longer than this is taken for frozen; `None` never.
    pub frozen_after: Option<Duration>,
    /// From this age on a value is not used as it is any more. A value that is the same to the last bit is taken for a
    /// new sample after half of this time at the latest, whatever was learned of the device.
    pub stale_after: Duration,
    /// Time between two reads of power.
    pub period: Duration,
}

/// What comes from the meters.
#[derive(Debug)]
pub struct Meters {
    /// The latest of each meter, in the order of the connections. Marked as changed after every attempt to read what
    /// its status follows (power, where it tells that), good or bad; pending until the first. Other values change
    /// without a mark.
    pub inputs: Vec<watch::Receiver<MeterInput>>,
    /// What has become of the reads of each meter, in the same order.
    pub counters: Vec<Arc<MeterCounters>>,
    /// What has become of the connections of each link, in the order of the links.
    pub links: Vec<Arc<LinkCounters>>,
    /// How many tasks were started; none ends by itself.
    pub tasks: usize,
}

/// Starts one task for each link that has meters, on the present tokio runtime, and returns at once.
///
/// `names` are those of the meters, in the order of `connections`. The tasks end, and their connections close,
/// when `cancel` is cancelled; `tracker` knows when that is done. A meter whose link does not exist is never read
/// and says `unreachable`.
pub fn spawn(
    links: &[Link],
    connections: &[Connection],
    names: &[&str],
    clock: Clock,
    cancel: &CancellationToken,
    tracker: &TaskTracker,
) -> Meters {
    let now = clock.now();
    let mut meters = Meters {
        inputs: Vec::with_capacity(connections.len()),
        counters: Vec::with_capacity(connections.len()),
        links: links.iter().map(|_| Arc::default()).collect(),
        tasks: 0,
    };
    let mut polled: Vec<Vec<Polled>> = links.iter().map(|_| Vec::new()).collect();
    for (index, connection) in connections.iter().enumerate() {
        let name = names.get(index).copied().unwrap_or("?");
        let counters = Arc::<MeterCounters>::default();
        let (output, input) = watch::channel(MeterInput::PENDING);
        if let Some(on_link) = polled.get_mut(connection.link.0) {
            let intake = Intake::new(name.into(), connection, output, Arc::clone(&counters));
            on_link.push(Polled::new(connection, intake, now));
        } else {
            error!(meter = name, "its link does not exist, so it is never read; check the configuration");
            output.send_modify(|input| input.status = MeterStatus::Unreachable);
        }
        meters.inputs.push(input);
        meters.counters.push(counters);
    }
    for ((link, polled), counters) in links.iter().zip(polled).zip(&meters.links) {
        if polled.is_empty() {
            continue;
        }
        meters.tasks += 1;
        let owner = Owner::new(link.clone(), clock, polled, Arc::clone(counters));
        let cancel = cancel.clone();
        tracker.spawn(async move {
            cancel.run_until_cancelled(owner.run()).await;
        });
    }
    meters
}
