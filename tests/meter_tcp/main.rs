//! Reading meters over Modbus TCP from a device on a loopback socket that can do everything wrong.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

mod asked;
mod device;
mod points;
mod schedule;
mod wire;
