//! Orders from outside: what they say, which of them count, and what counts when their source falls silent.
//!
//! A *source* (an OpenADR programme, a utility's terminal, a contact, a calendar, an operator) keeps its *orders* in
//! a [`Book`]. Each cycle the book says which caps act and why; the budget takes the tightest of all books, so no
//! source can loosen another. The shell feeds the book with whole, authenticated answers and nothing else.
//!
//! ```text
//!            fresh order                    order ends
//!   Init ───────────────────► Limited ◄──────────────────► Controlled
//!    │                           │  ▲                          │
//!    │ no signal in time         │  │ fresh order              │ signal lost
//!    ▼          signal lost      ▼  │                          ▼
//!   Failsafe ◄───────────────────────┴──────────────────── Failsafe ── hold over ──► Released
//! ```
//!
//! *Degraded* is Limited or Controlled with a doubt: a clock that cannot be trusted, an event that could not be read.
//! After the "limitation of power consumption" use case of EEBus, with one difference: nothing here is ever released
//! to *unlimited* because a link died. *Released* means a higher cap that somebody configured.

pub mod book;
pub mod contacts;
pub mod delivery;
pub mod economics;
pub mod guard_law;
pub mod order;
pub mod source;
#[cfg(test)]
mod tests;
pub mod time;

pub use book::{Active, Book, View, Why};
pub use order::{Ask, Basis, Order, Receipt, Refusal, Urgency};
pub use source::{Feed, Release, SourceSettings, SourceState};
pub use time::{Doubt, Now, Wall};
