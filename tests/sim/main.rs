//! The simulator: the plant, its faults, and the control law on it in simulated time.
#![cfg(test)]

mod hall;
mod kinds;
mod miner_lies;
mod orders;
mod plant;
mod plant_meters;
mod plant_run;
mod record;
mod replay;
#[path = "../shared/sim_plant_site.rs"]
mod sim_plant_site;
