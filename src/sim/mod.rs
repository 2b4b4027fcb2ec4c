//! A site that behaves: physics, Modbus meters and vendor APIs on loopback sockets, scenario files with faults.

pub mod miner;
