//! Whether the daemon does its work.

use std::time::Duration;

use serde::Serialize;

use crate::control::decision::Mode;
use crate::metrics::Exporter;

/// So many periods may pass without a completed cycle.
const PERIODS: u32 = 5;

/// The answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// `ok` or `unavailable`.
    pub status: &'static str,
    /// What is wrong, absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The state of the controller.
    pub mode: &'static str,
    /// Time since the last completed cycle, absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_cycle_age_seconds: Option<f64>,
}

impl Health {
    /// Whether cycles complete and the start-up is over.
    pub fn is_ok(&self) -> bool {
        self.reason.is_none()
    }
}

/// Looks whether cycles complete. A site that runs on fail-safe values is healthy: the daemon does what it should.
pub fn health(exporter: &Exporter) -> Health {
    let frame = exporter.last_cycle();
    let mode = frame.as_ref().map_or(Mode::StartUp, |frame| frame.decision.mode);
    let age = frame.as_ref().map(|frame| exporter.clock().now().since(frame.decision.at));
    let reason = match &frame {
        None => Some("no control cycle has completed yet".to_owned()),
        Some(frame) => {
            let limit = frame.site.settings.period.saturating_mul(PERIODS);
            let age = age.unwrap_or(Duration::MAX);
            if age > limit {
                Some(format!(
                    "the last control cycle completed {:.1} s ago; one is due every {:.1} s",
                    age.as_secs_f64(),
                    frame.site.settings.period.as_secs_f64()
                ))
            } else if frame.decision.would_be == Mode::StartUp || mode == Mode::StartUp {
                Some("starting up: waiting for the first answers of meters and miners".to_owned())
            } else {
                None
            }
        }
    };
    Health {
        status: if reason.is_none() { "ok" } else { "unavailable" },
        reason,
        mode: mode.name(),
        last_cycle_age_seconds: age.map(|age| age.as_secs_f64()),
    }
}
