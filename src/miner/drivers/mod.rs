//! The drivers, one file or folder for each vendor's API. How to add one: `docs/architecture.md`, "How to add".

pub mod auradine;
pub mod avalon;
pub mod axeos;
pub mod ballast;
pub mod bitmain_stock;
pub mod braiins_os;
pub mod cgminer_readonly;
pub mod epic;
pub mod generic;
pub mod luxos;
pub mod mara;
pub mod proto;
pub mod redfish;
pub mod sealminer;
pub mod vnish;
pub mod whatsminer_crypto;
pub mod whatsminer_v2;
pub mod whatsminer_v3;
pub mod zeusd;
