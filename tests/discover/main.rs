//! Discovery: what answers mean, what a scan of a loopback network finds, what becomes of a configuration.

mod bench;
mod check;
mod hostile;
mod identify;
mod merge;
mod scan;
