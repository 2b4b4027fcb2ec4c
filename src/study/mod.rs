//! Work on traces, offline: from a recording of a surplus to how much flexible load it carries.
//!
//! [`trace`] reads and judges a recording, [`assess`] is what can be said about it, [`report`] says it in characters and as a
//! page; [`energy`] does so with what a site's daemon has kept. [`simulate`] runs a site on one. Nothing here knows of the daemon.

pub mod assess;
pub mod energy;
mod number;
mod page;
pub mod report;
pub mod simulate;
pub mod trace;
