//! Ballast makes a Bitcoin mining site a well-behaved ballast load.

pub use ballast_core::{control, units};

pub mod alarm;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod discover;
mod door;
mod end;
pub mod endpoint;
pub mod energy;
pub mod fetch;
mod files;
pub mod heartbeat;
pub mod history;
mod line;
pub mod maintenance;
pub mod meter;
pub mod metrics;
pub mod miner;
pub mod mqtt;
mod names;
pub mod proof;
pub(crate) mod rate;
pub mod record;
pub mod secret;
pub mod signal;
pub mod sim;
pub mod standby;
pub mod stops;
pub mod store;
pub mod study;
pub mod tls;
pub mod token;
pub mod web;
