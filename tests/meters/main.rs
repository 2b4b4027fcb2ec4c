//! Meters over every transport: as they should be, as they are on real buses, and against servers that others wrote.
#![cfg(test)]

mod faults;
mod links;
mod mbpoll;
mod meter_serial;
mod profiles;
mod pymodbus;
mod rtu;
mod rtu_over_tcp;
#[path = "../shared/sim_plant_site.rs"]
mod sim_plant_site;
mod stalls;
mod sunspec;
mod sunspec_peer;
mod tcp;
