//! The drivers of the miners: against little servers that say what they are told to, against the simulated miners, and
//! against clients that others wrote.
#![cfg(test)]

mod ai_demo;
mod auradine;
mod avalon;
mod axeos;
mod bad_replies;
mod ballast;
mod bitmain_stock;
mod braiins_os;
mod cgminer_readonly;
mod drivers_antminer;
mod drivers_http;
mod drivers_proxy;
mod drivers_rest;
mod drivers_sim;
mod drivers_support;
mod drivers_tcp;
mod epic;
mod fleet_credentials;
mod fleet_identity;
mod fleet_reload;
mod fleet_witness;
mod generic;
mod luxos;
mod mara;
mod mixed_fleet;
mod only_power;
mod pause;
mod proto;
mod pyasic;
mod read_command;
mod redfish;
mod redfish_faults;
mod redfish_manners;
mod redfish_peers;
mod sealminer;
mod session;
mod sim_servers;
mod states;
mod vnish;
mod whatsminer_v2;
mod whatsminer_v3;
mod zeusd;
mod zeusd_manners;
mod zeusd_peer;
