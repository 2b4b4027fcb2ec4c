//! `ballast assess` on recordings that others made, and on wrong ones; `ballast simulate` on made ones.
#![cfg(test)]

mod browser;
mod energy;
mod field;
mod published;
mod simulate;
mod wrong;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `ballast assess`.
fn assess(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ballast")).arg("assess").args(arguments).output().unwrap()
}

/// What it says as JSON.
#[track_caller]
fn told(arguments: &[&str]) -> serde_json::Value {
    let output = assess(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A folder of this test's own below the target directory.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("study").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
