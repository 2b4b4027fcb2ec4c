//! Discovery: which miners are there, what can be done with them, and what is written into the configuration.
//!
//! A scan knocks at three ports of every address (4028, 4433 and 80), and asks only what an open port makes worth
//! asking. What was answered is [`Evidence`]; two pure functions make sense of it: [`plan::next`] says what to ask
//! next, [`identify`](identify::identify) says what the miner is. Everything that is sent is a documented read; a
//! login is only made with accounts that the operator gave, or with vendors' default passwords when asked to.
//!
//! | File | What it does |
//! |---|---|
//! | `targets` | addresses, ranges and networks from the command line |
//! | `evidence` | what was asked and what came back |
//! | `plan` | what to ask next; pure |
//! | `identify/` | what the answers mean, by vendor; pure |
//! | `finding` | the result; pure |
//! | `probe`, `wire`, `login` | asking one host, bounded in time and size |
//! | `who`, `identified` | asking a miner whose firmware is known who it is, and a driver that can do so |
//! | `neighbours` | the kernel's table of hardware addresses |
//! | `scan` | many hosts, politely |
//! | `report` | tables for people |
//! | `merge`, `diff` | into the configuration, without losing what stands there |

pub mod diff;
pub mod evidence;
pub mod finding;
pub mod identified;
pub mod identify;
pub mod login;
pub mod merge;
mod merge_groups;
pub mod neighbours;
pub mod plan;
pub mod probe;
pub mod report;
pub mod scan;
pub mod targets;
pub mod who;
mod wire;

pub use crate::miner::identity::{Identity, Mac, Sameness, same_miner};
pub use evidence::{Evidence, Ports};
pub use finding::{Control, Finding, Firmware, State, Warning, WarningKind};
pub use identify::identify;
pub use scan::{Options, Progress, Scan, scan};
