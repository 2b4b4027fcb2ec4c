//! Prometheus' own tool finds nothing to say about the metrics.

mod metrics_sample;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ballast::metrics::{CommandTally, ReadTally};

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let (exporter, _) = metrics_sample::running(6);
    let (reads, commands) = (Arc::new(ReadTally::default()), Arc::new(CommandTally::default()));
    reads.record("pcc", "ok");
    commands.record("braiins-os", "accepted", Duration::from_millis(40));
    exporter.watch_meters(reads);
    exporter.watch_commands(commands);
    let text = exporter.render().unwrap();

    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Straight to the terminal: what a passing test prints is hidden.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: promtool is not installed (Debian: apt-get install prometheus)"
            );
            return;
        }
        Err(error) => panic!("promtool does not start: {error}"),
    };
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "promtool says:\n{said}");
}
