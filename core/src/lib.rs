//! The control law of Ballast, and nothing else: no input or output, no clock, no chance.
//!
//! The law is in [`control`]; a time is a [`moment::Moment`], which the caller gives; powers, energies and their like are in
//! [`units`]; what must look random is made in [`mix`]. What this crate may depend on is the whole of its purity: it has no runtime, no network and no file to name.

pub mod control;
pub mod mix;
pub mod moment;
pub mod units;
