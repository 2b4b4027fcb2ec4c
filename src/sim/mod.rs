//! A site that behaves: physics, Modbus meters and vendor APIs on loopback sockets, scenario files with faults.
//!
//! ```text
//! scenario ─► plant (sun, other load) ─┐                      ┌─► truth  (what really flowed)
//!                                      ├─► power per circuit ─┤
//! simulated miners (their draw) ───────┘                      └─► meters (what Modbus says of it)
//! ```
//!
//! Two clocks: the sun, the other load and the scripted readings run on **scenario time**, which is real time
//! multiplied by the speed; miners, meters, their faults and every protocol run in real time, always.

pub mod curve;
pub mod fleet;
pub mod jobs;
pub mod meter;
pub mod miner;
pub mod plant;
pub mod price;
pub mod random;
pub mod replay;
pub mod rtu;
pub mod scenario;
mod script;
pub mod site;
pub mod sun;
pub mod truth;
pub mod vtn;

pub use scenario::Scenario;
pub use site::{Load, SimError, Simulation};
pub use truth::Truth;
