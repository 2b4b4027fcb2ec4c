//! What of the decisions goes into the proof: that another limit binds, or that the site is in another state.

use std::time::Duration;

use serde_json::json;

use crate::clock::Moment;
use crate::control::decision::{Decision, Mode, Source};
use crate::control::site::{CircuitId, Site};
use crate::metrics::source_label;
use crate::proof::{Kind, Writer};
use crate::units::Watts;

type Told = (Mode, Mode, CircuitId, Source);

/// What was handed over last.
#[derive(Default)]
pub(super) struct Proven {
    writer: Writer,
    every: Duration,
    told: Option<(Told, Moment)>,
    /// What it was in the cycle before.
    before: Option<Told>,
    /// Changes since, that came too fast.
    left_out: u64,
}

impl Proven {
    pub(super) fn new(writer: Writer, every: Duration) -> Self {
        Self { writer, every, ..Self::default() }
    }

    pub(super) fn configure(&mut self, every: Duration) {
        self.every = every;
        // Positions mean something else now.
        self.told = None;
    }

    pub(super) fn write(&mut self, site: &Site, decision: &Decision) {
        let now = (decision.mode, decision.would_be, decision.binding.circuit, decision.binding.source);
        let changed = self.before.replace(now) != Some(now);
        let same = self.told.is_some_and(|(told, _)| told == now);
        if same && !changed {
            return;
        }
        let due = self.told.is_none_or(|(_, at)| decision.at - at >= self.every);
        if !due || same {
            // What came and went between is told by its number.
            self.left_out = self.left_out.saturating_add(u64::from(changed));
            return;
        }
        let circuit = site.circuits.get(now.2.0).map(|circuit| circuit.name.as_str());
        let body = json!({
            "mode": decision.mode.name(),
            "would_be": (decision.would_be != decision.mode).then(|| decision.would_be.name()),
            "limit": source_label(site, decision.binding.source),
            "circuit": circuit,
            "allowed_w": decision.binding.budget.get(),
            "fleet_w": decision.fleet.draw.get(),
            "target_w": decision.fleet.target.get(),
            "shortfall_w": (decision.fleet.shortfall > Watts::ZERO).then(|| decision.fleet.shortfall.get()),
            "left_out": (self.left_out > 0).then_some(self.left_out),
        });
        self.writer.append(Kind::Decision, body);
        self.left_out = 0;
        self.told = Some((now, decision.at));
    }
}
