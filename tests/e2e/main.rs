//! The program as its users run it: `ballast sim` and `ballast run` in processes of their own, on loopback addresses
//! that no other test has, looked at from outside. Nothing here knows more than files, sockets, signals and words.
//!
//! Most of the time the tests wait for miners to move, so they run beside each other well.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]
#![expect(clippy::float_cmp, reason = "flags and counts in a scrape are exact")]

mod alarms;
mod bench;
mod command_line;
mod commissioning;
mod dashboard;
mod dsx;
mod faults;
mod following;
mod members;
mod mqtt;
mod neighbours;
mod plc;
mod protection;
mod record;
mod service;
mod standby;
mod systemd;
