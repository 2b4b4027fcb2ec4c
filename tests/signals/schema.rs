//! The interface against its own document, asked by a program that nobody here wrote: schemathesis makes requests out of the
//! document, good and bad ones, and looks whether the answers are what the document says.
//!
//! Needs a Python with schemathesis 4: `python3`, or the one named by `BALLAST_TEST_PYTHON`. Without it the tests say so and pass.

use crate::signals_push;

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use signals_push::{Bench, HTTP, OPERATOR, PUSH};
use tokio::time::timeout;

/// What is looked at in each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,negative_data_rejection,allow_header_conformance";

/// A run that has not ended by then hangs.
const LONGEST: Duration = Duration::from_secs(240);

/// What counts as a no to a request that is none: what it takes for that by itself, and a body that is too large or too late.
const SETTINGS: &str = "[checks.negative_data_rejection]\n\
    expected-statuses = [\"400\", \"401\", \"403\", \"404\", \"405\", \"408\", \"409\", \"413\", \"415\", \"422\", \"429\"]\n";

fn python() -> Option<String> {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = |code: &str| {
        let mut command = Command::new(&python);
        command.args(["-c", code]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if has("import schemathesis; assert schemathesis.__version__.startswith('4.')") {
        return Some(python);
    }
    println!("SKIPPED: {python} has no schemathesis 4; install it or set BALLAST_TEST_PYTHON");
    None
}

/// Ends a process with whoever waits for it.
struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks what the arguments choose of the document, so many requests a second.
async fn ask(bench: &Bench, python: &str, what: [&str; 2], token: Option<&str>, rate: &str) {
    let at = format!("http://{}", bench.daemon.address());
    let folder =
        std::env::temp_dir().join(format!("ballast-schema-{}-{}", std::process::id(), token.is_some()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("schemathesis.toml"), SETTINGS).unwrap();
    let report = folder.join("report");
    let to = || File::options().create(true).append(true).open(&report).unwrap();
    // All that can be thought of takes minutes: orders are asked no faster than a token may.
    let all = token.is_none() || std::env::var_os("BALLAST_TEST_ALL").is_some();
    let phases = if all { "examples,coverage,fuzzing" } else { "examples,fuzzing" };
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "run", &format!("{at}/api/v1/openapi.json"), "--url", &at])
        // The events have no end, which is not what it waits for.
        .args(what)
        .args(["--exclude-path", "/api/v1/events", "--checks", CHECKS])
        .args(["--phases", phases, "-n", "10", "--seed", "7", "--no-shrink"])
        .args(["--rate-limit", rate, "--request-timeout", "10", "--no-color", "--warnings", "off"])
        .args(["--generation-database", "none", "--suppress-health-check", "all"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(to())
        .stderr(to());
    if let Some(token) = token {
        command.arg("-H").arg(format!("Authorization:Bearer {token}"));
    }
    let mut child = Child(command.spawn().unwrap());
    let end = async {
        loop {
            if let Some(status) = child.0.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let status = timeout(LONGEST, end).await;
    let said = std::fs::read_to_string(&report).unwrap_or_default();
    let _ = std::fs::remove_dir_all(&folder);
    println!("{said}");
    assert!(status.is_ok_and(|status| status.success()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_what_the_document_says() {
    let Some(python) = python() else { return };
    let bench = Bench::start(15, HTTP).await;
    ask(&bench, &python, ["--include-tag", "site"], None, "20/s").await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_answered_as_the_document_says_however_they_are_written() {
    let Some(python) = python() else { return };
    let bench = Bench::start(16, HTTP).await;
    ask(&bench, &python, ["--include-tag", "orders"], Some(OPERATOR), "9/s").await;
    // Only a source says that it lives.
    ask(&bench, &python, ["--include-path", "/api/v1/heartbeat"], Some(PUSH), "9/s").await;
    // Whatever was ordered, the site is controlled as before.
    bench.eventually("cycles go on", 60, || bench.frame().decision.circuits[0].power.is_some()).await;
    bench.stop().await;
}
