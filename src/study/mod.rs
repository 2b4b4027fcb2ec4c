//! Work on traces, offline: from a recording of a surplus to how much flexible load it carries.
//!
//! [`trace`] reads and judges a recording, [`assess`] is what can be said about it, [`report`] says it in characters and as a
//! page. [`simulate`] runs a site on one. Nothing here knows of the daemon.

pub mod assess;
mod number;
pub mod report;
pub mod simulate;
pub mod trace;
