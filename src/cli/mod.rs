//! The subcommands of `ballast`.

pub mod check;
