//! Whether a cycle deserves a beat, and what is told beside it. Pure.

use super::Settings;
use crate::control::decision::{MinerState, Mode};
use crate::control::frame::Frame;
use crate::control::lead::Lead;

/// Why there is no beat though a cycle has run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Withheld {
    /// Another machine leads, and gives the sign of life: this one writes nothing at all.
    StandsBy,
    /// The site starts up: nothing is in force yet.
    StartUp,
    /// It only observes: nothing that it decides is in force.
    Observe,
    /// A fail-safe value holds, and the configuration wants no beat then.
    FailSafe,
    /// Miners with this share of the nameplates are out of hand: they do not answer or do not obey.
    Lost(f64),
}

/// What a cycle is worth to a PLC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Why there is no beat; `None`: it beats.
    pub withheld: Option<Withheld>,
    /// The state, see [`code`].
    pub state: Option<u16>,
}

/// The number of a state in a register: 1 start-up, 2 following the surplus, 3 limited, 4 fail-safe, 5 observe. Zero is never
/// written: so a PLC that has restarted knows that nobody has told it anything. `None` for a machine that stands by: the one that
/// leads writes its own state there.
pub const fn code(mode: Mode) -> Option<u16> {
    match mode {
        Mode::StartUp => Some(1),
        Mode::Following => Some(2),
        Mode::Limited => Some(3),
        Mode::FailSafe => Some(4),
        Mode::Observe => Some(5),
        Mode::StandBy => None,
    }
}

/// Looks at what a cycle left behind.
pub fn judge(settings: &Settings, frame: &Frame) -> Judgement {
    let decision = &frame.decision;
    let start = decision.mode == Mode::StartUp || decision.would_be == Mode::StartUp;
    let observe = decision.mode == Mode::Observe && !settings.in_observe;
    let fail_safe = decision.would_be == Mode::FailSafe && settings.stops_in_fail_safe;
    let lost = settings.stops_above_lost.map(|most| (lost(frame), most));
    let withheld = if frame.snapshot.lead == Lead::Follows {
        Some(Withheld::StandsBy)
    } else if start {
        Some(Withheld::StartUp)
    } else if observe {
        Some(Withheld::Observe)
    } else if fail_safe {
        Some(Withheld::FailSafe)
    } else {
        lost.filter(|(share, most)| share > most).map(|(share, _)| Withheld::Lost(share))
    };
    Judgement { withheld, state: code(decision.mode) }
}

/// The share of the nameplates whose miners do not answer or do not obey, 0 to 1.
fn lost(frame: &Frame) -> f64 {
    let (mut all, mut lost) = (0.0, 0.0);
    for (miner, now) in frame.site.miners.iter().zip(&frame.decision.miners) {
        let watts = miner.nameplate.get();
        all += watts;
        if matches!(now.state, MinerState::Straggler | MinerState::Unanswered | MinerState::Unreachable) {
            lost += watts;
        }
    }
    if all > 0.0 { lost / all } else { 0.0 }
}
