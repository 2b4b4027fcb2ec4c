//! From the changes that the allocation wants to the few commands that are sent.
//!
//! A miner gets at most one command in a cycle. Beside the allocation's changes there are two more causes: a miner
//! that is not where it was put is put there again, and one that does not follow is escalated: its target once
//! more, then sleep.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::decision::{Cause, Command, MinerState};
use crate::control::response::{Track, near};
use crate::control::site::{Actuator, Miner, MinerId};
use crate::control::snapshot::{Activity, Contact, Measured, MinerInput, Target};

/// Least time between a command and a second one that says the same: the miner gets time to follow, and the
/// reading time to show it.
const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// How often a target that is not followed is tried before sleep is.
const GENTLE_TRIES: u32 = 2;

/// What a miner needs beside the allocation, if anything.
pub fn correction(miner: &Miner, track: &Track, input: &MinerInput, now: Moment) -> Option<(Target, Cause)> {
    let setpoint = track.setpoint.filter(|_| miner.actuator != Actuator::Fixed)?;
    if !matches!(input.contact, Contact::Reachable) || now < track.retry_at {
        return None;
    }
    let asked = track.sent.map_or(Moment::START, |sent| sent.at);
    if track.sent.is_some() && now - asked < REPEAT_AFTER {
        return None;
    }
    if track.state == MinerState::Straggler {
        // The gentle way again, then the hard way.
        let target = if track.failures < GENTLE_TRIES { setpoint } else { Target::Sleep };
        return Some((target, Cause::Escalate));
    }
    let status = input.status.as_ref()?;
    let fresh = status.at > asked + Duration::from_secs(1) && now - status.at <= miner.silent_after;
    if !fresh || matches!(status.value.activity, Activity::Fault(_)) {
        return None;
    }
    let lost_answer = track.unanswered && track.sent.is_some_and(|sent| sent.answered && !sent.arrived);
    let differs = match (setpoint, &status.value.activity, status.value.target) {
        // Awake by itself in the middle of a limit.
        (Target::Sleep, Activity::Hashing | Activity::Starting, _) => !near(track.draw, miner.sleep.get()),
        (Target::Sleep, _, _) => false,
        // Stopped by somebody else.
        (Target::Power(_), Activity::Asleep, _) => true,
        (Target::Power(power), Activity::Hashing, Measured::Value(Target::Power(says))) => {
            let tolerance = match miner.actuator {
                Actuator::Continuous { quantum } => quantum.get() * 1.5,
                Actuator::Steps | Actuator::OnOff | Actuator::Fixed => 0.0,
            };
            (power.get() - says.get()).abs() > tolerance.max(miner.nameplate.get() * 0.02)
        }
        (Target::Power(_), Activity::Hashing, _) => {
            track.restarted && !near(track.draw, track.settled(miner, Some(setpoint)))
        }
        (Target::Power(_), _, _) => false,
    };
    (differs || lost_answer).then_some((setpoint, Cause::Reapply))
}

/// Sends a command: numbers it and notes it in the track.
pub fn send(
    tracks: &mut [Track],
    miner: usize,
    target: Target,
    cause: Cause,
    sequence: &mut u64,
    now: Moment,
) -> Option<Command> {
    let track = tracks.get_mut(miner)?;
    *sequence += 1;
    track.command(target, *sequence, cause == Cause::Escalate, now);
    Some(Command { miner: MinerId(miner), target, sequence: *sequence, cause })
}
