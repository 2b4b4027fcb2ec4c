//! Reading meters over Modbus TCP from a device on a loopback socket that can do everything wrong.

mod asked;
mod device;
mod points;
mod schedule;
mod wire;
