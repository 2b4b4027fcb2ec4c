//! The pure control law.
pub mod decision;
pub mod site;
pub mod snapshot;
