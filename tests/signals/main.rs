//! Orders from outside, by every way that they come, and what is kept of them.
#![cfg(test)]

mod calendar;
mod clock;
mod conflict;
mod contact;
mod crowd;
mod dsx;
mod dsx_gate;
mod dsx_heed;
mod dsx_infra;
mod guard;
mod http;
mod openadr;
mod openadr_config;
mod openadr_tls;
mod openadr_wire;
mod operator;
mod pair;
mod persistence;
mod price;
mod proof;
mod schema;
mod server;
mod signals_bench;
mod signals_level;
mod signals_openadr_site;
mod signals_plant;
mod signals_push;
mod stamps;
mod store;
