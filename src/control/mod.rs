//! The pure control law: a frozen [`Snapshot`] goes in, a [`Decision`] comes out.
//!
//! No I/O, no clock, no randomness, no logging in here: the same inputs give the same outputs, so a recorded day
//! can be replayed and a test can run a year in seconds. One cycle, one file per step:
//!
//! ```text
//! snapshot ─► response ─► headroom ─► budget ─► ramp ─► allocate ─► commands
//!  (frozen)   what each    limit −     tightest  down    which miner   few, each
//!             miner draws  (meter −    of the    at      runs at       with its
//!             and may draw  miners)    tree      once    which power   cause
//! ```
//!
//! Before them `combine` makes of the snapshot what each meter says, those included that are put together from others,
//! and `lag` learns how late each shows what the miners do, so that `headroom` compares like with like.
//!
//! # States
//!
//! ```text
//!                 every input answered, or the start-up time is over
//!   ┌──────────┐ ───────────────────────────────────────────────────► ┌───────────┐
//!   │ start-up │                                                      │ following │◄────────┐
//!   └──────────┘            a rating, contract or order binds         └───────────┘         │
//!        │                 ┌───────────────────────────────────────────┘   │ ▲              │
//!        │                 ▼                    surplus binds              │ │ fresh        │
//!        │            ┌─────────┐ ─────────────────────────────────────────┘ │ samples      │
//!        │            │ limited │                                            │ again        │
//!        │            └─────────┘                                            │              │
//!        │                 │ a needed reading is stale: its fail-safe binds  │              │
//!        │                 ▼                                                 │              │
//!        │           ┌───────────┐ ──────────────────────────────────────────┘              │
//!        └─────────► │ fail-safe │ ◄────────────────────────────────────────────────────────┘
//!  still unanswered  └───────────┘              a needed reading is stale
//!
//!   observe: any of these, with every command withheld
//! ```
//!
//! - **start-up**: nothing is commanded; the first cycle after it adopts what the miners are doing.
//! - **following**: the surplus binds, or nothing does and every miner may run at its maximum.
//! - **limited**: another limit binds.
//! - **fail-safe**: a reading that a limit needs is older than it may be; the budget decays to its fail-safe value.
//! - **observe**: by configuration; [`Decision::would_be`] tells which of the others it would be.

pub mod allocate;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod combine;
pub mod commands;
pub mod decision;
pub mod headroom;
pub mod history;
pub mod lag;
pub mod learned;
pub mod measure;
pub mod meters;
mod move_fleet;
pub mod ramp;
mod report;
pub mod response;
pub mod settle;
pub mod signal;
pub mod site;
pub mod snapshot;
pub mod state;
mod step;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod tree;

pub use decision::Decision;
pub use snapshot::Snapshot;
pub use state::State;
pub use step::step;
