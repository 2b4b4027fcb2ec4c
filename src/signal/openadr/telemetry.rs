//! What of a cycle is reported to a top node.

use crate::clock::Moment;
use crate::control::decision::{MinerState, Mode};
use crate::control::frame::{Frame, circuit_power};
use crate::control::signal::Why;
use crate::control::site::{Actuator, Scope, SourceId};
use crate::signal::Place;
use crate::units::Watts;

/// A draw below this part of the miners' nameplates is as good as none.
const IDLE: f64 = 0.02;

/// What the site does, in the words of OpenADR 3 (Definition, table of operating states).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatingState {
    /// It draws, and no order of this source holds.
    RunningNormal,
    /// It draws, and an order of this source holds.
    RunningCurtailed,
    /// It hardly draws, and no order of this source holds.
    IdleNormal,
    /// It hardly draws, and an order of this source holds.
    IdleCurtailed,
    /// What is drawn is not known, or a fail-safe value holds.
    Error,
}

impl OperatingState {
    /// As the specification writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RunningNormal => "RUNNING_NORMAL",
            Self::RunningCurtailed => "RUNNING_CURTAILED",
            Self::IdleNormal => "IDLE_NORMAL",
            Self::IdleCurtailed => "IDLE_CURTAILED",
            Self::Error => "ERROR",
        }
    }
}

/// The state at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// What is measured where the source's orders act; `None` while nobody knows.
    pub power: Option<Watts>,
    /// What the site does.
    pub state: OperatingState,
    /// By how much the miners could lower their draw at once: down to asleep, those alone that obey. `None` before the
    /// first cycle.
    pub sheddable: Option<Watts>,
}

impl Sample {
    /// Nothing is known.
    pub const NONE: Self = Self { power: None, state: OperatingState::Error, sheddable: None };
}

/// Takes a sample of a cycle for a source whose orders act at a place.
pub fn sample(frame: &Frame, source: SourceId, place: Place, now: Moment) -> Sample {
    let Frame { site, snapshot, decision } = frame;
    let Some(circuit) = decision.circuits.get(place.circuit.0) else { return Sample::NONE };
    let power = match place.scope {
        Scope::Import => circuit_power(frame, place.circuit, now),
        Scope::Miners => Some(circuit.miners),
    };
    let (mut sheddable, mut nameplate) = (Watts::ZERO, Watts::ZERO);
    for (miner, outcome) in site.miners.iter().zip(&decision.miners) {
        if !site.feeds(place.circuit, miner.circuit) {
            continue;
        }
        nameplate += miner.nameplate;
        let obeys = miner.actuator != Actuator::Fixed
            && !matches!(
                outcome.state,
                MinerState::Unreachable
                    | MinerState::Unanswered
                    | MinerState::Straggler
                    | MinerState::Pending
            );
        if obeys && !site.settings.observe {
            sheddable += (outcome.draw - miner.least()).at_least_zero();
        }
    }
    let ordered = snapshot
        .orders
        .iter()
        .any(|order| order.source == source && matches!(order.active.why, Why::Order(_) | Why::Returning(_)));
    let idle = circuit.miners < nameplate.scaled(IDLE);
    let state = match (power, decision.would_be) {
        (None, _) | (_, Mode::FailSafe | Mode::StartUp) => OperatingState::Error,
        _ => match (idle, ordered) {
            (false, false) => OperatingState::RunningNormal,
            (false, true) => OperatingState::RunningCurtailed,
            (true, false) => OperatingState::IdleNormal,
            (true, true) => OperatingState::IdleCurtailed,
        },
    };
    Sample { power, state, sheddable: Some(sheddable) }
}
