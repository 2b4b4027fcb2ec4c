//! The pure control law: a frozen [`Snapshot`] goes in, a [`Decision`] comes out.
//!
//! No I/O, no clock, no randomness, no logging in here: the same inputs give the same outputs, so a recorded day
//! can be replayed and a test can run a year in seconds. One cycle, one file per step:
//!
//! ```text
//! snapshot ─► combine ───► response ───► meters ─────► headroom ──► move_fleet ─► commands
//!  (frozen)   what each    settle        lag, balance  limit −      ramp          few, each
//!             meter says,  what each     how late a    (meter −     allocate      with its
//!             combined     miner draws,  meter is, and  miners),    who is put    cause
//!             ones too     may draw and  what else      for a shed  where, down
//!                          settles at    draws, with    and for a   at once, up
//!                                        its doubt      raise       with care
//! ```
//!
//! What is not known is carried as a range: how late a meter is, what a miner in flight draws, what the other load is. A
//! shed goes by the one end of it, a raise by the other, and between the two nothing is moved. `docs/architecture.md` has
//! the formulas, and one example with numbers through all steps.
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
//! - **fail-safe**: a reading that a limit needs is older than it may be, or cannot be right; the budget decays to its
//!   fail-safe value.
//! - **observe**: by configuration; [`Decision::would_be`] tells which of the others it would be.

pub mod allocate;
mod array;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod classes;
pub mod combine;
pub mod commands;
pub mod decision;
pub mod farewell;
pub mod frame;
pub mod headroom;
pub mod history;
mod hold;
pub mod lag;
pub mod lead;
pub mod learned;
pub mod measure;
pub mod meters;
mod move_fleet;
pub mod preview;
pub mod ramp;
mod report;
pub mod response;
pub mod restore;
pub mod settle;
pub mod signal;
pub mod site;
pub mod snapshot;
pub mod state;
mod step;
pub mod stop;
pub mod switching;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tree;

pub use decision::Decision;
pub use snapshot::Snapshot;
pub use state::State;
pub use step::step;
