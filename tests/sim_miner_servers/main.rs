//! The simulated miners over real loopback sockets: each vendor's protocol byte by byte, its refusals and its faults.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

mod antminer;
mod bench;
mod braiins_os;
mod faults;
mod whatsminer_v2;
mod whatsminer_v3;
