//! What is worth a line in the log: changes of state, once each. A cycle like the one before leaves no trace.

use std::time::Duration;

use tracing::{debug, info, warn};

use crate::clock::Moment;
use crate::control::decision::{Command, Decision, MinerState, Mode, Source};
use crate::control::site::{CircuitId, Site};
use crate::metrics::{binding_words, describe};
use crate::units::Watts;

/// A binding limit that changes back and forth is told at most this often.
const BINDING_EVERY: Duration = Duration::from_secs(30);
/// A shortfall below this is rounding and noise.
const SHORTFALL: Watts = Watts::whole(500);

/// What was told last.
#[derive(Debug, Default)]
pub struct Journal {
    mode: Option<(Mode, Mode)>,
    binding: Option<(CircuitId, Source, Moment)>,
    short: bool,
    states: Vec<MinerState>,
}

impl Journal {
    /// Tells what has changed since the cycle before.
    pub fn write(&mut self, site: &Site, decision: &Decision) {
        let mode = (decision.mode, decision.would_be);
        if self.mode != Some(mode) {
            let line = describe(site, decision);
            match decision.would_be {
                Mode::FailSafe => warn!(mode = decision.mode.name(), "{line}"),
                _ => info!(mode = decision.mode.name(), "{line}"),
            }
            self.mode = Some(mode);
            self.binding = None;
        }
        self.binding(site, decision);
        self.shortfall(site, decision);
        self.miners(site, decision);
        for command in &decision.commands {
            log_command(site, command);
        }
    }

    fn binding(&mut self, site: &Site, decision: &Decision) {
        let now = (decision.binding.circuit, decision.binding.source);
        let told = self.binding.map(|(circuit, source, _)| (circuit, source));
        let due = self.binding.is_none_or(|(_, _, at)| decision.at - at >= BINDING_EVERY);
        if told == Some(now) || !due {
            return;
        }
        if told.is_some() {
            info!("binding limit: {}", binding_words(site, &decision.binding));
        }
        self.binding = Some((now.0, now.1, decision.at));
    }

    fn shortfall(&mut self, site: &Site, decision: &Decision) {
        let short = decision.fleet.shortfall > SHORTFALL;
        if short && !self.short {
            let worst = decision
                .circuits
                .iter()
                .zip(&site.circuits)
                .max_by(|one, other| one.0.shortfall.total_cmp(&other.0.shortfall));
            let circuit = worst.map_or("?", |(_, circuit)| circuit.name.as_str());
            warn!(
                circuit,
                "{} more than the budget allows: what could be shed is shed", decision.fleet.shortfall
            );
        }
        if !short && self.short {
            info!("the fleet fits its budgets again");
        }
        self.short = short;
    }

    fn miners(&mut self, site: &Site, decision: &Decision) {
        let first = self.states.len() != decision.miners.len();
        if !first {
            for ((miner, now), before) in site.miners.iter().zip(&decision.miners).zip(&self.states) {
                let name = miner.name.as_str();
                match (*before, now.state) {
                    (before, after) if before == after => {}
                    (_, MinerState::Straggler) => warn!(
                        miner = name,
                        "does not follow: draws {} where it was told {}; its power stays counted",
                        now.draw,
                        now.settled
                    ),
                    (_, MinerState::Fault) => warn!(miner = name, "has stopped by a fault of its own"),
                    (MinerState::Straggler | MinerState::Fault, _) => {
                        info!(miner = name, "is back in order: {}", now.state.name());
                    }
                    _ => {}
                }
            }
        }
        self.states.clear();
        self.states.extend(decision.miners.iter().map(|miner| miner.state));
    }
}

fn log_command(site: &Site, command: &Command) {
    let miner = site.miners.get(command.miner.0).map_or("?", |miner| miner.name.as_str());
    debug!(miner, sequence = command.sequence, cause = command.cause.name(), "{:?}", command.target);
}
