//! Prometheus' own tool finds nothing to say about the metrics.

use crate::metrics_sample;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ballast::control::decision::MeterDecision;
use ballast::control::measure::Measure;
use ballast::control::site::{Combination, Condition, MeterId, Part, Redundant};
use ballast::control::snapshot::{MeterInput, Reading};
use ballast::metrics::{CommandTally, ReadTally};
use ballast::units::Watts;

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let (exporter, _) = metrics_sample::running(6);
    let (reads, commands) = (Arc::new(ReadTally::default()), Arc::new(CommandTally::default()));
    reads.record("pcc", "ok");
    commands.record("braiins-os", "accepted", Duration::from_millis(40));
    exporter.watch_meters(reads);
    exporter.watch_commands(commands);
    // A meter that tells all that there is, redundant ones, lags, and a limit that rests.
    let mut site = metrics_sample::site(6);
    let part = |meter| Part { meter: MeterId(meter), measure: Measure::Power };
    site.meters[0].learn_lag = false;
    site.meters[1].combined = Some(Combination::Redundant(Redundant {
        parts: vec![part(0), part(2)],
        disagreement: Watts::whole(5_000),
        disagreement_for: metrics_sample::SECOND,
        return_after: metrics_sample::SECOND,
    }));
    site.limits[2].condition = Some(Condition { meter: MeterId(0), below: 0.6, until: 0.8 });
    exporter.reconfigure(Arc::new(site));
    metrics_sample::publish(&exporter, |snapshot, decision| {
        for (_, measure) in Measure::NAMES {
            snapshot.meters[0].others.set(measure, Reading { value: 50.0, at: snapshot.now });
        }
        snapshot.meters[0].refresh = Some(metrics_sample::SECOND);
        let outcome = |input: &MeterInput| MeterDecision {
            input: *input,
            lost: 0.0,
            lag: metrics_sample::SECOND,
            learned_lag: Some(metrics_sample::SECOND),
            in_use: Some(0),
            disagreement: Some(false),
            asked: None,
        };
        decision.meters = snapshot.meters.iter().map(outcome).collect();
    });
    let text = exporter.render().unwrap();
    let written = String::from_utf8_lossy(&text);
    for name in ["state_of_charge_ratio", "energy_joules_total", "in_use", "lag_seconds", "voltage_volts"] {
        assert!(written.contains(&format!("ballast_meter_{name}{{")), "{name} is not there to be looked at");
    }

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
