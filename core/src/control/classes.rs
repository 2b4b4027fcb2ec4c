//! What each class of a fleet draws, and what it could still give up. For people to look at: the law goes by its own figures.

use crate::control::decision::{MinerDecision, MinerState};
use crate::control::frame::Frame;
use crate::control::site::{Actuator, LoadClass, Miner, MinerId};
use crate::control::snapshot::{Target, hold_of};
use crate::units::Watts;

/// The members of one class together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassSum {
    /// Which class.
    pub class: LoadClass,
    /// How many members.
    pub members: u64,
    /// Best estimate of their draw.
    pub draw: Watts,
    /// Settled draw at their setpoints.
    pub setpoint: Watts,
    /// What they would draw less if all of them were told the lowest that breaks no contract. Never negative.
    pub sheddable: Watts,
    /// How many servers of it are paused.
    pub paused: u64,
}

/// How a server stands that may be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Its work runs.
    Running,
    /// It was told to pause and is not known to be.
    Pausing,
    /// Its work is paused.
    Paused,
}

impl Pause {
    /// As written in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
        }
    }
}

/// How a server stands that may be paused; `None` of a miner, and of a server that never is.
pub fn pause(miner: &Miner, decided: &MinerDecision) -> Option<Pause> {
    if miner.class == LoadClass::Miner || !miner.sleeps {
        return None;
    }
    Some(match (decided.state, decided.setpoint) {
        (MinerState::Asleep, _) => Pause::Paused,
        // It was told to, and its hook does not.
        (MinerState::Straggler, _) => Pause::Running,
        (_, Some(Target::Sleep)) => Pause::Pausing,
        _ => Pause::Running,
    })
}

/// What a member would draw less if it were told its lowest now: below its contract it is not told to go. What it was told already
/// and still draws is on its way and no more to be had. Nothing of one that does not answer, does not follow, or has not been asked:
/// nobody knows whether it would.
fn sheds(miner: &Miner, decided: &MinerDecision) -> Watts {
    match decided.state {
        MinerState::Hashing | MinerState::Starting => {}
        // With what is left of it.
        MinerState::Fault if miner.class != LoadClass::Miner && decided.draw > miner.minimum() => {}
        MinerState::Pending
        | MinerState::Asleep
        | MinerState::Straggler
        | MinerState::Fault
        | MinerState::Unanswered
        | MinerState::Unreachable => return Watts::ZERO,
    }
    if decided.setpoint == Some(Target::Sleep) {
        return Watts::ZERO;
    }
    let stays = decided.setpoint.map_or(decided.draw, |_| decided.draw.min(decided.settled));
    (stays - miner.least()).at_least_zero()
}

type Row = [ClassSum; LoadClass::ALL.len()];

fn empty() -> Row {
    LoadClass::ALL.map(|class| ClassSum { class, ..ClassSum::default() })
}

fn add(row: &mut Row, one: &ClassSum) {
    for sum in row.iter_mut().filter(|sum| sum.class == one.class) {
        sum.members = sum.members.saturating_add(one.members);
        sum.draw += one.draw;
        sum.setpoint += one.setpoint;
        sum.sheddable += one.sheddable;
        sum.paused = sum.paused.saturating_add(one.paused);
    }
}

fn there(row: &Row) -> Vec<ClassSum> {
    row.iter().filter(|sum| sum.members > 0).copied().collect()
}

/// Each member as a sum of its own. Nobody asks one for power on which somebody works.
fn each(frame: &Frame) -> impl Iterator<Item = (&Miner, ClassSum)> {
    let members = frame.site.miners.iter().zip(&frame.decision.miners).enumerate();
    members.map(move |(index, (miner, decided))| {
        // Nor one that can be told nothing.
        let held =
            miner.actuator == Actuator::Fixed || hold_of(&frame.snapshot.holds, MinerId(index)).is_some();
        let one = ClassSum {
            class: miner.class,
            members: 1,
            draw: decided.draw,
            setpoint: decided.settled,
            sheddable: if held { Watts::ZERO } else { sheds(miner, decided) },
            paused: u64::from(pause(miner, decided) == Some(Pause::Paused)),
        };
        (miner, one)
    })
}

/// The classes that have members, in the order in which they give power up.
pub fn by_class(frame: &Frame) -> Vec<ClassSum> {
    let mut row = empty();
    for (_, one) in each(frame) {
        add(&mut row, &one);
    }
    there(&row)
}

/// The same of each circuit, of the members at or below it.
pub fn by_circuit(frame: &Frame) -> Vec<Vec<ClassSum>> {
    let site = &frame.site;
    let mut rows = vec![empty(); site.circuits.len()];
    for (miner, one) in each(frame) {
        for (circuit, _) in site.up(miner.circuit) {
            if let Some(row) = rows.get_mut(circuit.0) {
                add(row, &one);
            }
        }
    }
    rows.iter().map(there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::testing::{curve, miner};
    use crate::units::Hashrate;

    fn server(class: LoadClass, sleeps: bool, contract: Option<i32>) -> Miner {
        let mut server = miner("gpu", 0);
        server.points = curve(&[(3_000, 80.0), (6_000, 100.0)]);
        server.nameplate = Watts::whole(6_500);
        server.sleep = Watts::whole(1_500);
        (server.class, server.sleeps, server.contract) = (class, sleeps, contract.map(Watts::whole));
        server
    }

    fn decided(state: MinerState, setpoint: Option<Target>, draw: i32, settled: i32) -> MinerDecision {
        MinerDecision {
            state,
            draw: Watts::whole(draw),
            counted: Watts::whole(6_500),
            hashrate: Hashrate::ZERO,
            setpoint,
            settled: Watts::whole(settled),
        }
    }

    #[test]
    fn a_class_gives_up_what_it_draws_down_to_the_lowest_that_breaks_no_contract() {
        let full = Some(Target::Power(Watts::whole(6_000)));
        let runs = decided(MinerState::Hashing, full, 5_500, 6_000);
        let of = |class, sleeps, contract| sheds(&server(class, sleeps, contract), &runs);
        assert_eq!(of(LoadClass::Interruptible, true, None), Watts::whole(4_000), "it is paused");
        assert_eq!(of(LoadClass::Throttle, false, None), Watts::whole(2_500), "to its knee");
        assert_eq!(of(LoadClass::Guaranteed, false, Some(5_000)), Watts::whole(500), "to its contract");
        assert_eq!(
            of(LoadClass::Guaranteed, false, Some(6_000)),
            Watts::whole(0),
            "it draws less than that already"
        );
    }

    #[test]
    fn what_was_told_already_is_no_more_to_be_had_and_who_does_not_answer_gives_nothing() {
        let server = server(LoadClass::Interruptible, true, None);
        let capped = Some(Target::Power(Watts::whole(3_000)));
        let on_its_way = decided(MinerState::Hashing, capped, 5_500, 3_000);
        assert_eq!(
            sheds(&server, &on_its_way),
            Watts::whole(1_500),
            "from its cap, not from what it still draws"
        );
        let pausing = decided(MinerState::Hashing, Some(Target::Sleep), 5_500, 1_500);
        assert_eq!(sheds(&server, &pausing), Watts::ZERO);
        assert_eq!(pause(&server, &pausing), Some(Pause::Pausing), "told is not yet done");
        for state in
            [MinerState::Pending, MinerState::Straggler, MinerState::Unanswered, MinerState::Unreachable]
        {
            assert_eq!(
                sheds(&server, &decided(state, capped, 5_500, 3_000)),
                Watts::ZERO,
                "{}",
                state.name()
            );
        }
        let paused = decided(MinerState::Asleep, Some(Target::Sleep), 1_500, 1_500);
        assert_eq!(pause(&server, &paused), Some(Pause::Paused));
    }

    #[test]
    fn a_miner_and_a_server_without_a_hook_are_never_paused() {
        let asleep = decided(MinerState::Asleep, Some(Target::Sleep), 20, 20);
        assert_eq!(pause(&miner("m", 0), &asleep), None);
        assert_eq!(pause(&server(LoadClass::Throttle, false, None), &asleep), None);
    }
}
