//! One cycle in one line, for the demo, the logs and the status page.

use std::fmt::Write as _;

use super::collector::count_by_state;
use super::sources::binding_words;
use super::surplus;
use crate::control::decision::{Decision, Held, MinerDecision, MinerState, Mode, Source, Waiting};
use crate::control::site::{CircuitId, LimitClass, Site};
use crate::control::snapshot::Target;
use crate::units::Watts;

/// What is going on, in one line:
/// `surplus 312.4 kW · budget 306.1 kW (follow-surplus at pcc) · fleet 304.9 kW · export 7.50 kW · 16.2 PH/s ·
/// 92 hashing, 28 asleep`.
///
/// The mode stands in front unless the fleet follows the surplus, a shortfall stands behind the fleet, and the
/// exchange with the grid says `grid unknown` without a reading of the root circuit's meter.
pub fn describe(site: &Site, decision: &Decision) -> String {
    let fleet = &decision.fleet;
    let mut parts = Vec::with_capacity(8);
    match decision.mode {
        Mode::Following => {}
        Mode::Observe => parts.push(format!("observe, else {}", decision.would_be.name())),
        Mode::StandBy => parts.push(format!("stand-by, else {}", decision.would_be.name())),
        mode => parts.push(mode.name().to_owned()),
    }
    if no_miner_is_reached(decision) {
        parts.push("no miner can be reached".into());
    }
    let follows = site.limits.iter().any(|limit| limit.class == LimitClass::Surplus);
    if let Some(surplus) = surplus(site, decision).filter(|surplus| follows || *surplus > Watts::ZERO) {
        parts.push(format!("surplus {surplus}"));
    }
    let why = match decision.binding.source {
        Source::Fleet if !all_run(decision) => "no limit binds".into(),
        _ => binding_words(site, &decision.binding),
    };
    parts.push(format!("budget {} ({why}{})", fleet.budget, bound_cap(decision)));
    parts.push(format!("fleet {}", fleet.draw));
    if let Some(Over { by, at_most, .. }) = over_budget(site, decision) {
        parts.push(format!("{}{by} over budget", if at_most { "up to " } else { "" }));
    }
    parts.push(exchange(decision));
    parts.push(fleet.hashrate.to_string());
    parts.push(miners(decision));
    parts.join(" · ")
}

fn states(decision: &Decision) -> impl Iterator<Item = MinerState> {
    decision.miners.iter().map(|miner| miner.state)
}

/// Whether there are miners, and none of them answers.
fn no_miner_is_reached(decision: &Decision) -> bool {
    let silent = |state| matches!(state, MinerState::Unreachable | MinerState::Pending);
    states(decision).any(|state| state == MinerState::Unreachable) && states(decision).all(silent)
}

/// Whether every miner hashes as asked: then nothing but the miners themselves holds the fleet back.
pub(super) fn all_run(decision: &Decision) -> bool {
    states(decision).all(|state| state == MinerState::Hashing)
}

/// More is drawn in a part of the site than may be, even once all have done what they were told in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Over {
    /// Where: the one that is farthest above, and of those below it that are nearly as far the last one.
    pub circuit: CircuitId,
    /// By how much.
    pub by: Watts,
    /// It is the most that it may be: some there that do not answer are counted at their worst.
    pub at_most: bool,
}

/// Power up to this share of a draw above what it may be is what meters and miners hum.
const HUM: f64 = 0.002;
/// A circuit below that is above its budget by this share of the one above it is where it comes from.
const NEARLY: f64 = 0.9;

/// How far the miners of the worst circuit are above its budget; `None` where that is no more than they hum, or all of them are at rest. What
/// they draw asleep does not count, see [`CircuitDecision::over`](crate::control::decision::CircuitDecision::over).
pub fn over_budget(site: &Site, decision: &Decision) -> Option<Over> {
    if decision.fleet.shortfall < Watts::whole(1) {
        return None;
    }
    let each = || decision.circuits.iter().enumerate().map(|(id, now)| (CircuitId(id), now));
    // Of several that are as far above the first: it feeds the others, or has nothing to do with them.
    let farther =
        |one: (CircuitId, Watts), other: (CircuitId, Watts)| if other.1 > one.1 { other } else { one };
    let (worst, most) = each().map(|(id, now)| (id, now.over())).reduce(farther)?;
    let (circuit, now) =
        each().rev().find(|(id, now)| site.feeds(worst, *id) && now.over() > most.scaled(NEARLY))?;
    let (over, draw) = (now.over(), now.miners);
    let rests = || decision.at_rest(site).get(circuit.0) == Some(&true);
    if over < Watts::whole(1).max(draw.scaled(HUM)) || rests() {
        return None;
    }
    // Nobody is further over a budget than they draw, where all of them are seen: those are figures of two moments.
    let at_most = over > draw && unseen(site, decision, circuit);
    Some(Over { circuit, by: if at_most { over } else { over.min(draw) }, at_most })
}

/// Whether some of a circuit may draw more than is seen of them.
fn unseen(site: &Site, decision: &Decision, circuit: CircuitId) -> bool {
    let silent =
        |state| matches!(state, MinerState::Unreachable | MinerState::Unanswered | MinerState::Pending);
    let mut each = site.miners.iter().zip(states(decision));
    each.any(|(miner, state)| silent(state) && site.feeds(circuit, miner.circuit))
}

/// The cap that binds, where it is another figure than the budget beside it: it is that of a part of the site, or other
/// loads and what is kept free have their part of it. A cap of zero or below is the surplus, whose figure stands before.
fn bound_cap(decision: &Decision) -> String {
    let binding = &decision.binding;
    let Some(circuit) = decision.circuits.get(binding.circuit.0) else { return String::new() };
    let limit = circuit.limits.iter().find(|limit| limit.source == binding.source);
    let Some(cap) = limit.and_then(|limit| limit.cap).filter(|cap| *cap > Watts::ZERO) else {
        return String::new();
    };
    let (words, own) = (cap.to_string(), circuit.budget);
    if words == decision.fleet.budget.to_string() {
        String::new()
    } else if words == own.to_string() {
        format!(", {words}")
    } else if own < cap {
        format!(", {words} less {}", cap - own)
    } else {
        format!(", {words} and {} generated there", own - cap)
    }
}

/// The exchange with the grid at the root circuit.
fn exchange(decision: &Decision) -> String {
    match decision.circuits.first().and_then(|root| root.power) {
        Some(power) if power < Watts::ZERO => format!("export {}", power.abs()),
        Some(power) => format!("import {power}"),
        None => "grid unknown".into(),
    }
}

fn word(state: MinerState, count: u64) -> &'static str {
    match (state, count) {
        (MinerState::Straggler, 1) => "straggler",
        (MinerState::Straggler, _) => "stragglers",
        (MinerState::Fault, _) => "with a fault",
        (MinerState::Pending, _) => "not asked yet",
        (state, _) => state.name(),
    }
}

/// The states that occur, with how many miners are in each.
fn miners(decision: &Decision) -> String {
    let mut text = String::new();
    for (state, count) in count_by_state(decision) {
        if count > 0 {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing into a string cannot fail.
            let _ = write!(text, "{comma}{count} {}", word(state, count));
        }
    }
    if text.is_empty() { "no miners".into() } else { text }
}

/// What the next miner to be woken waits for: `waits for 3.31 kW, 2.46 kW are there`.
pub(crate) fn waiting_words(waiting: &Waiting) -> String {
    match waiting.held {
        Held::Short => format!("waits for {}, {} are there", waiting.needs, waiting.there),
        Held::Brief => {
            format!("waits until the {} that it needs have been there for long enough", waiting.needs)
        }
        Held::Proving => "waits until the meter has shown what the miners draw".into(),
        Held::Resting => "waits until it has slept for long enough".into(),
        Held::Pace => "waits its turn: the fleet rises no faster than raise_rate".into(),
        Held::Others => "waits, because those that run or start can take what there is".into(),
    }
}

/// Why miners leave surplus that they could take: `4 asleep, the next waits for 3.31 kW, 2.46 kW are there; 2 stragglers`.
pub(crate) fn left_words(decision: &Decision) -> String {
    let counts = count_by_state(decision);
    let count = |state: MinerState| counts.get(&state).copied().filter(|count| *count > 0);
    let mut reasons = Vec::new();
    if let Some(asleep) = count(MinerState::Asleep) {
        let next =
            decision.waiting.map_or_else(String::new, |next| format!(", the next {}", waiting_words(&next)));
        reasons.push(format!("{asleep} {}{next}", word(MinerState::Asleep, asleep)));
    }
    for state in [
        MinerState::Starting,
        MinerState::Straggler,
        MinerState::Fault,
        MinerState::Unanswered,
        MinerState::Unreachable,
        MinerState::Pending,
    ] {
        reasons.extend(count(state).map(|count| format!("{count} {}", word(state, count))));
    }
    if reasons.is_empty() { "those that run could draw more".into() } else { reasons.join("; ") }
}

/// What a miner does instead of what it was told. Two figures stand beside each other only where they differ as printed.
pub(crate) fn disobedience(now: &MinerDecision) -> String {
    let told = match now.setpoint {
        Some(Target::Sleep) => String::from("to sleep"),
        Some(Target::Power(power)) => format!("{power}"),
        None => now.settled.to_string(),
    };
    let draws = now.draw.to_string();
    if draws == told {
        return format!(
            "does not follow: what it was told, {told}, is not taken or not kept; its power stays counted"
        );
    }
    format!("does not follow: draws {draws} where it was told {told}; its power stays counted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_figures_that_are_alike_are_not_told_as_a_difference() {
        use crate::units::{Hashrate, Watts};
        let mut now = MinerDecision {
            state: MinerState::Straggler,
            draw: Watts::whole(3_162),
            counted: Watts::whole(3_162),
            hashrate: Hashrate::ZERO,
            setpoint: Some(Target::Power(Watts::whole(3_158))),
            settled: Watts::whole(3_158),
        };
        assert!(!disobedience(&now).contains("draws"), "{}", disobedience(&now));
        now.setpoint = Some(Target::Sleep);
        assert!(disobedience(&now).contains("draws 3.16 kW where it was told to sleep"));
        now.setpoint = Some(Target::Power(Watts::whole(2_000)));
        assert!(disobedience(&now).contains("draws 3.16 kW where it was told 2.00 kW"));
    }
}
