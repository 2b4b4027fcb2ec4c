//! Discovery: what answers mean, what a scan of a loopback network finds, what becomes of a configuration.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod alike;
mod bench;
mod check;
mod hostile;
mod identify;
mod merge;
mod scan;
