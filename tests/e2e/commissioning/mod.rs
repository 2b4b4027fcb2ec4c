//! `ballast meter read`, `scan` and `verify` as a person in a switch room runs them: processes of their own against
//! `ballast sim`, and against pymodbus, which nobody here wrote.

mod read_and_scan;
mod verify;

use std::process::Output;

use crate::bench::Site;

/// Runs `ballast meter …` to its end: exit code, standard output and standard error.
fn meter(site: &Site, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        site.ballast(&["meter"]).args(arguments).output().expect("ballast starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

/// Every part must be in the text, in this order.
fn says(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            panic!("`{part}` is not (in this order) in:\n{text}")
        };
        rest = after;
    }
}
