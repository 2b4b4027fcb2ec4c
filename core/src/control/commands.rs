//! From the changes that the allocation wants to the few commands that are sent.
//!
//! A miner gets at most one command in a cycle. Beside the allocation's changes there are two more causes: a miner
//! that is not where it was put is put there again, and one that does not follow is escalated: its target once
//! more, then sleep.

use std::time::Duration;

use crate::control::decision::{Cause, Command, MinerState};
use crate::control::response::{Track, near};
use crate::control::site::{Actuator, LoadClass, Miner, MinerId, Settings};
use crate::control::snapshot::{Activity, Contact, Measured, MinerInput, MinerStatus, Reading, Target};
use crate::moment::Moment;
use crate::units::Watts;

/// Least time between a command and a second one that says the same: the miner gets time to follow, and the
/// reading time to show it.
const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// How often a target that is not followed is tried before sleep is.
const GENTLE_TRIES: u32 = 2;

/// How long the latest command is given before it is repeated.
fn patience(miner: &Miner, track: &Track) -> Duration {
    let way = track.way(miner).mul_f64(1.5);
    // One whose start is called off may go on to say that it starts, for as long as that takes it.
    let called_off = track.setpoint == Some(Target::Sleep) && track.sent.is_some_and(|sent| sent.from_sleep);
    way.max(if called_off { REPEAT_AFTER * 3 } else { REPEAT_AFTER })
}

/// The latest reading, where it was taken after the latest command had time to show and is not old.
fn evidence<'a>(
    miner: &Miner,
    input: &'a MinerInput,
    after: Moment,
    now: Moment,
) -> Option<&'a Reading<MinerStatus>> {
    let reachable = matches!(input.contact, Contact::Reachable);
    input.status.as_ref().filter(|status| {
        reachable && status.at > after + Duration::from_secs(1) && now - status.at <= miner.silent_after
    })
}

/// Whether it was put to sleep, slept or was out of reach since, and has begun to run by itself.
pub fn is_awake_unasked(
    miner: &Miner,
    track: &Track,
    input: &MinerInput,
    now: Moment,
    settings: &Settings,
) -> bool {
    if track.setpoint != Some(Target::Sleep) || track.is_fixed(miner) || track.is_deaf() {
        return false;
    }
    let done = track
        .sent
        .is_none_or(|sent| sent.arrived || now - sent.at > patience(miner, track) + settings.straggler_grace);
    let asked = track.sent.map_or(Moment::START, |sent| sent.at);
    done && evidence(miner, input, asked, now).is_some_and(|status| match status.value.activity {
        Activity::Starting => true,
        Activity::Hashing => !near(miner, track.draw, track.sleep(miner)),
        Activity::Asleep | Activity::Unknown | Activity::Fault(_) => false,
    })
}

/// Whether it is a server that was told to pause, has not, and draws no more than it does at its lowest cap: all that could be had of it
/// without its hook was had.
pub fn is_held_low(miner: &Miner, track: &Track, input: &MinerInput, now: Moment) -> bool {
    let asked = track.sent.map_or(Moment::START, |sent| sent.at);
    let lowest = miner.minimum().get();
    miner.class != LoadClass::Miner
        && track.state == MinerState::Straggler
        && track.setpoint == Some(Target::Sleep)
        && !track.is_fixed(miner)
        && now - asked >= patience(miner, track)
        && (track.draw <= lowest || near(miner, track.draw, lowest))
        && evidence(miner, input, asked, now)
            .is_some_and(|status| !matches!(status.value.activity, Activity::Asleep | Activity::Starting))
}

/// Whether it says another target than the one that it had followed, without having restarted: somebody else has told it so.
pub fn is_moved(miner: &Miner, track: &mut Track, input: &MinerInput, now: Moment) -> bool {
    let settled = matches!(track.state, MinerState::Hashing | MinerState::Asleep | MinerState::Starting);
    let Some(setpoint) = track.setpoint.filter(|_| settled && !track.is_fixed(miner) && track.hold.is_none())
    else {
        return false;
    };
    let asked = track.sent.map_or(Moment::START, |sent| sent.at);
    let Some(status) = evidence(miner, input, asked, now) else { return false };
    let says = match (&status.value.activity, status.value.target) {
        (Activity::Asleep, _) => Target::Sleep,
        (Activity::Hashing | Activity::Starting, Measured::Value(target)) => target,
        _ => return false,
    };
    let same = match (setpoint, says) {
        (Target::Sleep, Target::Sleep) => true,
        (Target::Power(power), Target::Power(says)) => !is_off(miner, power, says),
        (Target::Sleep, Target::Power(_)) | (Target::Power(_), Target::Sleep) => false,
    };
    let moved = !same && track.agreed && !track.restarted;
    track.agreed = same;
    moved
}

/// Whether a target that a miner says is another one than it was put to.
fn is_off(miner: &Miner, power: Watts, says: Watts) -> bool {
    let tolerance = match miner.actuator {
        Actuator::Continuous { quantum } => quantum.get() * 1.5,
        Actuator::Steps | Actuator::OnOff | Actuator::Fixed => 0.0,
    };
    (power.get() - says.get()).abs() > tolerance.max(miner.nameplate.get() * 0.02)
}

/// Whether the latest command got no answer, and readings since show that it was not carried out.
pub fn is_lost(miner: &Miner, track: &Track, input: &MinerInput, now: Moment, settings: &Settings) -> bool {
    let Some(sent) = track.sent.filter(|_| !track.is_fixed(miner)) else { return false };
    if !track.unheard(now) {
        return false;
    }
    let late = sent.at + patience(miner, track) + settings.straggler_grace;
    now > late && evidence(miner, input, late, now).is_some()
}

/// Whether it can be told to go to its lowest and was told more than that.
pub fn is_above(miner: &Miner, track: &Track, input: &MinerInput) -> bool {
    let more = match (track.setpoint, track.lowest(miner)) {
        (Some(Target::Power(told)), Target::Power(lowest)) => told > lowest,
        (Some(Target::Power(_)), Target::Sleep) => true,
        (Some(Target::Sleep) | None, _) => false,
    };
    more && !track.is_fixed(miner) && matches!(input.contact, Contact::Reachable)
}

/// What a miner needs beside the allocation, if anything: whether a budget is exceeded that it counts for, and the lowest that it may be
/// put to.
pub fn correction(
    miner: &Miner,
    track: &Track,
    input: &MinerInput,
    needs: (bool, Target),
    now: Moment,
) -> Option<(Target, Cause)> {
    let setpoint = track.setpoint.filter(|_| !track.is_fixed(miner))?;
    if !matches!(input.contact, Contact::Reachable) {
        return None;
    }
    let wanted = wanted(miner, track, setpoint, input, needs, now)?;
    // The pause is for what was tried in vain. The hard way was not, and somebody needs it.
    if now < track.retry_at && wanted.0 == setpoint {
        return None;
    }
    let early = track.sent.is_some_and(|sent| now - sent.at < patience(miner, track));
    (!early).then_some(wanted)
}

/// The same, whatever it was told when.
fn wanted(
    miner: &Miner,
    track: &Track,
    setpoint: Target,
    input: &MinerInput,
    (over, lowest): (bool, Target),
    now: Moment,
) -> Option<(Target, Cause)> {
    let asked = track.sent.map_or(Moment::START, |sent| sent.at);
    if track.state == MinerState::Straggler {
        // The gentle way again, then the hard way where that is needed.
        // What was agreed may have been broken before: nobody is told more for that.
        let lowest = match (lowest, setpoint) {
            (Target::Power(lowest), Target::Power(now)) => Target::Power(lowest.min(now)),
            _ => lowest,
        };
        let gentle = track.failures < GENTLE_TRIES && setpoint != lowest;
        return match (gentle, over) {
            (true, _) => Some((setpoint, Cause::Escalate)),
            (false, true) => Some((lowest, Cause::Escalate)),
            (false, false) => None,
        };
    }
    let status = evidence(miner, input, asked, now)?;
    let differs = match (setpoint, &status.value.activity, status.value.target) {
        // Awake by itself in the middle of a limit.
        (Target::Sleep, Activity::Hashing | Activity::Starting, _) => {
            // One that has not gone to sleep yet is late, not awake again.
            let slept = track.sent.is_none_or(|sent| sent.arrived);
            slept && !near(miner, track.draw, track.sleep(miner))
                || status.value.activity == Activity::Starting
        }
        (Target::Sleep, _, _) => false,
        // Stopped by somebody else.
        (Target::Power(_), Activity::Asleep, _) => true,
        (Target::Power(power), Activity::Hashing, Measured::Value(Target::Power(says))) => {
            is_off(miner, power, says)
        }
        (Target::Power(_), Activity::Hashing, _) => {
            track.restarted && !near(miner, track.draw, track.settled(miner, Some(setpoint)))
        }
        (Target::Power(_), _, _) => false,
    };
    differs.then_some((setpoint, Cause::Reapply))
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
