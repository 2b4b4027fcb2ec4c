//! The simulated miners over real loopback sockets: each vendor's protocol byte by byte, its refusals and its faults.

mod antminer;
pub mod bench;
mod braiins_os;
mod faults;
mod whatsminer_v2;
mod whatsminer_v3;
