//! From what was worked out in a cycle to the [`Decision`] that tells of it.

use crate::control::allocate::Item;
use crate::control::breaker::Trip;
use crate::control::budget;
use crate::control::combine::Seen;
use crate::control::decision::{
    Binding, BreakerCommand, BreakerState, CircuitDecision, Command, Decision, FleetDecision, HUM,
    MeterDecision, MinerDecision, MinerState, Mode,
};
use crate::control::headroom::Headroom;
use crate::control::lead::Lead;
use crate::control::meters::CircuitMemory;
use crate::control::move_fleet::{Moved, target};
use crate::control::response::Track;
use crate::control::site::{Miner, MinerId, Site};
use crate::control::state::State;
use crate::control::step::Inputs;
use crate::control::stop::{self, StopState};
use crate::moment::Moment;
use crate::units::{Hashrate, Watts};

/// What was worked out in a cycle, on its way into the [`Decision`].
pub(super) struct Decided {
    pub(super) lead: Lead,
    pub(super) binding: Binding,
    pub(super) circuits: Vec<Headroom>,
    pub(super) moved: Moved,
    pub(super) estimates: Vec<f64>,
    pub(super) sent: Vec<Command>,
    pub(super) breakers: Vec<BreakerCommand>,
    pub(super) over: Vec<f64>,
    pub(super) asleep: Vec<f64>,
}

pub(super) struct Report<'a> {
    pub(super) site: &'a Site,
    pub(super) state: &'a State,
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) seen: &'a [Seen],
    pub(super) scales: &'a [f64],
    pub(super) items: &'a [Item<'a>],
}

impl Report<'_> {
    pub(super) fn decision(&self, now: Moment, decided: Decided) -> Decision {
        let (site, state) = (self.site, self.state);
        let mut responses = Vec::new();
        let miners: Vec<MinerDecision> = site
            .miners
            .iter()
            .zip(&state.tracks)
            .zip(self.items)
            .zip(0..)
            .map(|(((miner, track), item), index)| {
                responses.extend(track.responded.map(|after| (MinerId(index), after)));
                self.miner(miner, track, item, index)
            })
            .collect();
        let headrooms: Vec<f64> = decided.circuits.iter().map(|circuit| circuit.headroom).collect();
        let budgets = budget::budgets(site, &headrooms);
        let most = state.nameplates.first().copied().unwrap_or(0.0);
        let mut circuits = Vec::with_capacity(decided.circuits.len());
        for (index, circuit) in decided.circuits.into_iter().enumerate() {
            let value = |list: &[f64]| list.get(index).copied().unwrap_or(0.0);
            let gain = value(self.scales);
            circuits.push(CircuitDecision {
                power: circuit.power,
                other: Watts::saturating(circuit.other()),
                miners: Watts::saturating(value(&decided.estimates) * gain),
                limits: circuit.limits,
                headroom: Watts::saturating(circuit.headroom),
                budget: Watts::saturating(value(&budgets)),
                binding: circuit.binding,
                setpoint: Watts::saturating(value(&decided.moved.sums)),
                shortfall: Watts::saturating(value(&decided.over)),
                asleep: Watts::saturating(value(&decided.asleep) * gain),
                breaker: self.breaker(index),
                emergency_stop: self.emergency_stop(index),
            });
        }
        let root = circuits.first();
        let target = decided.moved.allowed.first().copied().unwrap_or(0.0).min(decided.binding.budget.get());
        let fleet = FleetDecision {
            draw: root.map_or(Watts::ZERO, |root| root.miners),
            setpoint: root.map_or(Watts::ZERO, |root| root.setpoint),
            budget: decided.binding.budget,
            target: Watts::saturating(target.min(most).max(0.0)),
            hashrate: miners.iter().map(|miner| miner.hashrate).sum(),
            shortfall: circuits.iter().map(|circuit| circuit.shortfall).fold(Watts::ZERO, Watts::max),
            surplus: root.map_or(Watts::ZERO, |root| (-root.other).at_least_zero()),
            optimality_gap: state.gap,
            left: Watts::saturating(decided.moved.left),
            left_for: state.left_since.map_or(std::time::Duration::ZERO, |since| now - since),
        };
        let mode = match decided.lead {
            _ if site.settings.observe => Mode::Observe,
            Lead::Follows => Mode::StandBy,
            Lead::Alone | Lead::Leads | Lead::Lowers => state.mode,
        };
        Decision {
            at: now,
            mode,
            lead: decided.lead,
            would_be: state.mode,
            binding: decided.binding,
            fleet,
            circuits,
            meters: self.meters(now),
            miners,
            commands: decided.sent,
            breakers: decided.breakers,
            responses,
            waiting: decided.moved.waiting,
            energy: state.energy,
        }
    }

    fn emergency_stop(&self, circuit: usize) -> Option<StopState> {
        let stop = self.site.circuits.get(circuit)?.emergency_stop.as_ref()?;
        self.state.stops.get(circuit).map(|state| stop::state_of(*state, stop, self.seen))
    }

    fn breaker(&self, circuit: usize) -> Option<BreakerState> {
        self.site.circuits.get(circuit)?.breaker?;
        self.state.trips.get(circuit).map(Trip::state)
    }

    fn meters(&self, now: Moment) -> Vec<MeterDecision> {
        let mut heads: Vec<Option<&CircuitMemory>> = vec![None; self.site.meters.len()];
        for (circuit, memory) in self.site.circuits.iter().zip(&self.state.memories) {
            if let Some(slot) = circuit.meter.and_then(|meter| heads.get_mut(meter.0)) {
                slot.get_or_insert(memory);
            }
        }
        let each =
            self.seen.iter().zip(&self.site.meters).zip(heads).map(|((seen, meter), memory)| MeterDecision {
                input: seen.input,
                lost: seen.lost,
                lag: memory.map_or(meter.lag, |memory| memory.lag_used(meter)),
                learned_lag: memory.and_then(|memory| memory.lag.learned()),
                in_use: seen.in_use,
                disagreement: seen.disagreement,
                asked: memory.and_then(|memory| memory.pulse.asked_after(now)),
            });
        each.collect()
    }

    fn miner(&self, miner: &Miner, track: &Track, item: &Item<'_>, index: usize) -> MinerDecision {
        let gain = self.scales.get(miner.circuit.0).copied().unwrap_or(1.0);
        let status = self.inputs.miner(index).status.as_ref();
        let answers = !matches!(track.state, MinerState::Pending | MinerState::Unreachable);
        let hashrate = status.filter(|_| answers).and_then(|status| status.value.hashrate.value());
        // One that was told to sleep and draws on is on its way there, and not asleep.
        let most = (miner.minimum().get() * 0.5).max(track.sleep(miner) * HUM);
        let state = match track.state {
            MinerState::Asleep if track.draw > most => MinerState::Hashing,
            state => state,
        };
        MinerDecision {
            state,
            draw: Watts::saturating(track.draw * gain),
            counted: Watts::saturating(track.counted * gain),
            hashrate: hashrate.unwrap_or(Hashrate::ZERO),
            setpoint: track.setpoint.map(|_| target(item.level)),
            settled: Watts::saturating(item.settled),
        }
    }
}
