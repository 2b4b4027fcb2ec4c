//! Sources of orders: whoever outside may cap a circuit, and the desk that takes their orders in.
//!
//! ```text
//!  OpenADR ─┐  orders, heartbeats           caps that act now
//!  RTU ─────┤ ──────────────────► Desk ─────────────────────────► Snapshot
//!  HTTP ────┤                      │ ▲
//!  … ───────┘          before they │ │ what was measured
//!                       are obeyed ▼ │ while they held
//!                                store
//! ```
//!
//! Each source is a task of its own and can fail without taking another along. It hands over whole, authenticated
//! answers and nothing else; what they come to is worked out in [`crate::control::signal`], which is pure.
//!
//! | File | The source |
//! |---|---|
//! | `desk` | no source: takes the orders of all of them in, and says each cycle which caps act |
//! | `key`, `glance` | how a source is named across a wait, and all of it at one moment |
//! | `heard` | whether a source is heard, and all that it says |
//! | `steady` | the scale on which the time of orders is counted |
//! | `record`, `ledger` | what became of each order |
//! | `prove` | the same, for the proof |
//! | `foresee` | what an order would come to |
//! | `baseline` | what would be drawn without an order |
//! | `status` | what metrics and pages are told of each source |
//! | `keep`, `start` | what the store holds of a source, and what a start and a reload make of it |
//! | `mirror` | what the desks of two machines know of each other |
//! | `wall` | the wall clock, and how far it can be trusted |
//! | `mqtt` | what is particular to orders that come as messages |
//! | `openadr` | a virtual end node of OpenADR 3 that polls its top node |
//! | `server` | a Modbus TCP server that a utility's terminal writes to |
//! | `contact` | contacts, read over Modbus |
//! | `calendar` | hours of the day in the site's time zone |
//! | `price` | what power costs against what it earns |
//! | `windows` | no source: hours of the day that come back, for calendars and tariffs |
//! | `guard` | frequency and voltage at a meter |
//! | `dsx` | load targets of a partner of the grid, or hints of a foreign agent, by DSX Flex over a broker of its own |
//!
//! Orders over HTTP and those of the operator come through the pages ([`crate::web`]) straight to the desk, and so do those over
//! MQTT (`src/mqtt/`).

mod baseline;
pub mod calendar;
pub mod contact;
pub mod desk;
pub mod dsx;
mod foresee;
pub mod glance;
pub mod guard;
mod heard;
mod keep;
mod keeper;
mod key;
mod ledger;
pub mod link;
pub mod mirror;
pub mod mqtt;
pub mod openadr;
pub mod price;
mod prove;
pub mod record;
pub mod server;
pub mod start;
pub mod status;
mod steady;
pub mod wall;
pub mod windows;

use std::pin::Pin;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::control::frame::Frame;
use crate::control::signal::SourceSettings;
use crate::control::site::{CircuitId, Scope};
use crate::control::snapshot::MeterInput;
use crate::energy::baseline::Baseline;

pub use desk::{Answer, Desk, DeskError, List, SourceKey};
pub use heard::Word;

/// The name of the source that is always there: the operator.
pub const OPERATOR: &str = "operator";

/// A source as the configuration describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// What the book of its orders must know.
    pub settings: SourceSettings,
    /// Where its orders act unless they say otherwise.
    pub place: Place,
    /// How it is heard.
    pub kind: Kind,
    /// Against what its orders are settled.
    pub baseline: Baseline,
}

/// Where orders act that do not say it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// On this circuit.
    pub circuit: CircuitId,
    /// On its import or on its miners' draw.
    pub scope: Scope,
}

/// How a source is heard.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Over the pages, with a token of the operator's; always there.
    Operator,
    /// Over the pages, with a token of this source's.
    Http,
    /// Over a broker of MQTT, at the topics of `[mqtt]`.
    Mqtt(mqtt::Settings),
    /// OpenADR 3.
    OpenAdr(Box<openadr::Settings>),
    /// Our own Modbus TCP server.
    Server(server::Settings),
    /// Contacts.
    Contact(Box<contact::Settings>),
    /// Hours of the day.
    Calendar(calendar::Settings),
    /// A price of power.
    Price(Box<price::Settings>),
    /// Frequency and voltage.
    Guard(guard::Settings),
    /// Load targets by DSX Flex.
    Dsx(Box<dsx::Settings>),
    /// Hints of a foreign agent by DSX Flex.
    DsxInfra(Box<dsx::InfraSettings>),
}

impl Kind {
    /// As written in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Http => "http",
            Self::Mqtt(_) => "mqtt",
            Self::OpenAdr(_) => "openadr",
            Self::Server(_) => "modbus-server",
            Self::Contact(_) => "contact",
            Self::Calendar(_) => "calendar",
            Self::Price(_) => "price",
            Self::Guard(_) => "guard",
            Self::Dsx(_) => "dsx-flex",
            Self::DsxInfra(_) => "dsx-flex-infra",
        }
    }
}

/// What a source's task is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// Which source it is. The circuit of `place` is numbered by the same configuration.
    pub source: SourceKey,
    /// Its name, for logs.
    pub name: std::sync::Arc<str>,
    /// Where its orders act unless they say otherwise.
    pub place: Place,
    /// Where its orders go.
    pub desk: Desk,
    /// The daemon's clock.
    pub clock: Clock,
    /// The latest cycle, for what a source reports back; `None` before the first.
    pub frames: watch::Receiver<Option<Frame>>,
}

/// Starts the task of each source that has one. They end when `cancel` is cancelled; `tracker` knows when that is done.
/// Those of kinds that need none (the operator, HTTP, MQTT, the guard) are served where their inputs are. `contacts` are the
/// inputs of the sources that are contacts, in their order. Gives how many there are; none ends by itself.
pub fn start(
    specs: &[Spec],
    desk: &Desk,
    clock: Clock,
    frames: &watch::Receiver<Option<Frame>>,
    contacts: &[watch::Receiver<MeterInput>],
    cancel: &CancellationToken,
    tracker: &TaskTracker,
) -> usize {
    let mut contacts = contacts.iter().cloned();
    let mut count = 0;
    let mut begin = |task: Pin<Box<dyn Future<Output = ()> + Send>>| {
        tracker.spawn(crate::end::at(cancel.clone(), task));
        count += 1;
    };
    for spec in specs {
        let Some(source) = desk.source(&spec.settings.name) else { continue };
        let context = Context {
            source,
            name: spec.settings.name.as_str().into(),
            place: spec.place,
            desk: desk.clone(),
            clock,
            frames: frames.clone(),
        };
        match spec.kind.clone() {
            Kind::Operator | Kind::Http | Kind::Mqtt(_) | Kind::Guard(_) => {}
            Kind::OpenAdr(settings) => {
                begin(Box::pin(openadr::run(*settings, context)));
            }
            Kind::Server(settings) => {
                begin(Box::pin(server::run(settings, context)));
            }
            Kind::Contact(settings) => {
                if let Some(input) = contacts.next() {
                    begin(Box::pin(contact::run(*settings, context, input)));
                }
            }
            Kind::Calendar(settings) => {
                begin(Box::pin(calendar::run(settings, context)));
            }
            Kind::Price(settings) => {
                begin(Box::pin(price::run(*settings, context)));
            }
            Kind::Dsx(settings) => {
                begin(Box::pin(dsx::run(*settings, context)));
            }
            Kind::DsxInfra(settings) => {
                begin(Box::pin(dsx::infra::run(*settings, context)));
            }
        }
    }
    count
}
