//! A demo whose reader has seen enough, such as `head`, ends in order and without a word.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn a_demo_ends_in_order_when_its_reader_has_seen_enough() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ballast"))
        .args(["demo", "--every", "100ms", "--for", "60s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(demo.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("simulated miners"), "{line}");
    let ended = demo.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
