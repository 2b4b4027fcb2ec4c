//! Which miners are lowered, and by how much. Pure.
//!
//! Only what can be undone is done: a miner is moved when it hashes, says which power it was set to, and can run at less
//! without sleeping. It is never set above what it did before.

use crate::config::quantity;
use crate::control::site::{Actuator, Miner};
use crate::control::snapshot::{Activity, Contact, MinerInput, Target};
use crate::miner::kind::Traits;
use crate::units::Watts;

/// A change of less than this part of a miner's draw is lost in its own control, and not worth a command.
const LEAST: f64 = 0.02;

/// How large the step is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// So many watts.
    Power(Watts),
    /// A part of what the movable miners draw.
    Share(f64),
}

/// A step as a person writes it: `20 kW` or `20 %`.
pub(super) fn parse(text: &str) -> Result<Step, String> {
    if text.trim_end().ends_with('%') {
        let share = quantity::parse(text, &quantity::SHARE).map_err(|error| error.to_string())?;
        return match share {
            share if share > 0.0 && share <= 1.0 => Ok(Step::Share(share)),
            _ => Err(String::from("a share is above 0 % and at most 100 %")),
        };
    }
    let watts = quantity::parse(text, &quantity::POWER).map_err(|error| error.to_string())?;
    if watts <= 0.0 {
        return Err(String::from("a step is above zero: the miners are lowered by it and raised again"));
    }
    Ok(Step::Power(Watts::saturating(watts)))
}

/// Why a miner is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unmovable {
    /// The configuration has no password for it.
    ReadOnly,
    /// It does not answer.
    Silent,
    /// It sleeps, starts, or has a fault.
    NotHashing,
    /// It does not say how much it draws.
    NoPower,
    /// It does not say what it was set to, so it could not be put back.
    NoSetpoint,
    /// It can only run or sleep.
    OnOff,
    /// It already runs at its lowest.
    AtMinimum,
}

impl Unmovable {
    /// In words, after a number of miners.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::ReadOnly => "without a password in the configuration",
            Self::Silent => "not answering",
            Self::NotHashing => "not hashing",
            Self::NoPower => "not saying what they draw",
            Self::NoSetpoint => "not saying what they are set to, so they could not be put back",
            Self::OnOff => "that can only run or sleep",
            Self::AtMinimum => "already at their lowest",
        }
    }
}

/// A miner that can be moved.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Its position.
    pub(super) miner: usize,
    /// What it is set to: where it is put back.
    pub(super) setpoint: Watts,
    /// What it draws.
    pub(super) draw: Watts,
    /// The least that it can be set to.
    pub(super) floor: Watts,
    /// The only powers that it can be set to, rising; empty where any will do.
    pub(super) points: Vec<Watts>,
    /// Whether a change restarts mining (never chosen before those that do not), or writes to flash.
    pub(super) reluctance: u8,
}

impl Candidate {
    /// Looks whether a miner can be moved.
    pub(super) fn new(
        miner: usize,
        spec: &Miner,
        traits: &Traits,
        writable: bool,
        input: &MinerInput,
    ) -> Result<Self, Unmovable> {
        if !writable {
            return Err(Unmovable::ReadOnly);
        }
        let status = match (&input.contact, &input.status) {
            (Contact::Reachable, Some(status)) => &status.value,
            _ => return Err(Unmovable::Silent),
        };
        if status.activity != Activity::Hashing {
            return Err(Unmovable::NotHashing);
        }
        if spec.actuator == Actuator::OnOff {
            return Err(Unmovable::OnOff);
        }
        let draw = status.power.value().ok_or(Unmovable::NoPower)?;
        let Some(Target::Power(setpoint)) = status.target.value() else {
            return Err(Unmovable::NoSetpoint);
        };
        let floor = status.range.map_or(spec.minimum(), |(low, _)| low.max(spec.minimum()));
        let points = match (&status.points, spec.actuator) {
            (Some(own), _) => own.iter().map(|point| point.power).collect(),
            (None, Actuator::Steps) => spec.points.iter().map(|point| point.power).collect(),
            (None, _) => Vec::new(),
        };
        let candidate = Self {
            miner,
            setpoint,
            draw,
            floor,
            points,
            reluctance: 2 * u8::from(traits.restarts) + u8::from(traits.persists),
        };
        if candidate.room() < candidate.least() { Err(Unmovable::AtMinimum) } else { Ok(candidate) }
    }

    /// From where it is lowered: a target above the draw does not hold it, so lowering that moves nothing.
    fn top(&self) -> Watts {
        self.draw.min(self.setpoint)
    }

    /// How far it can be lowered.
    pub(super) fn room(&self) -> Watts {
        self.top() - self.lowered(self.top())
    }

    fn least(&self) -> Watts {
        self.draw.scaled(LEAST).max(Watts::whole(10))
    }

    /// The target that lowers it by about this much.
    fn lowered(&self, by: Watts) -> Watts {
        let wish = (self.top() - by).max(self.floor);
        if self.points.is_empty() {
            return wish.min(self.top());
        }
        let below = self.points.iter().copied().filter(|point| *point >= self.floor && *point < self.top());
        below
            .min_by(|one, other| (*one - wish).abs().total_cmp(&(*other - wish).abs()))
            .unwrap_or_else(|| self.top())
    }
}

/// One miner's part in the test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Move {
    /// Its position.
    pub(super) miner: usize,
    /// What it is put back to.
    pub(super) back: Watts,
    /// What it is lowered to.
    pub(super) low: Watts,
    /// What it draws before.
    pub(super) draw: Watts,
}

/// Chooses the miners: as few as will do, those first that a change costs least. Together they may fall short of the step.
pub(super) fn choose(candidates: &[Candidate], step: Watts) -> Vec<Move> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by(|one, other| {
        one.reluctance
            .cmp(&other.reluctance)
            .then(other.room().total_cmp(&one.room()))
            .then(one.miner.cmp(&other.miner))
    });
    let mut left = step;
    let mut moves = Vec::new();
    for candidate in order {
        if left < candidate.least() {
            // Only crumbs are left; another miner of the same size would not do better.
            if left <= Watts::ZERO {
                break;
            }
            continue;
        }
        let low = candidate.lowered(left);
        let gained = candidate.top() - low;
        // A single step of a coarse miner may be far more than is asked for: then another one may do.
        if gained < candidate.least() || gained > left.scaled(1.5) {
            continue;
        }
        left -= gained;
        moves.push(Move { miner: candidate.miner, back: candidate.setpoint, low, draw: candidate.draw });
    }
    moves
}

/// How much the moves lower the fleet, as far as commands can tell.
pub(super) fn total(moves: &[Move]) -> Watts {
    moves.iter().map(|step| (step.draw - step.low).at_least_zero()).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Moment;
    use crate::control::site::{AnswerWithin, CircuitId, LoadClass, OperatingPoint};
    use crate::control::snapshot::{Measured, MinerStatus, Reading};
    use crate::miner::DriverKind;
    use crate::units::Hashrate;

    fn spec(actuator: Actuator) -> Miner {
        let traits = DriverKind::WhatsminerV3.traits();
        let point =
            |power| OperatingPoint { power: Watts::whole(power), hashrate: Hashrate::terahashes(100.0) };
        Miner {
            name: "m".into(),
            driver: "whatsminer-v3",
            circuit: CircuitId(0),
            points: vec![point(2_000), point(2_600), point(3_400)],
            class: LoadClass::Miner,
            contract: None,
            sleeps: true,
            notice: Duration::ZERO,
            answer_within: AnswerWithin::NONE,
            restarts: false,
            sleep: Watts::whole(40),
            nameplate: Watts::whole(3_600),
            actuator,
            response: traits.response,
            cost: traits.cost,
            poll_period: Duration::from_secs(1),
            silent_after: Duration::from_secs(10),
        }
    }

    fn input(change: impl FnOnce(&mut MinerStatus)) -> MinerInput {
        let mut value = MinerStatus {
            power: Measured::Value(Watts::whole(3_300)),
            activity: Activity::Hashing,
            target: Measured::Value(Target::Power(Watts::whole(3_400))),
            ..MinerStatus::default()
        };
        change(&mut value);
        MinerInput {
            contact: Contact::Reachable,
            status: Some(Reading { value, at: Moment::START }),
            delivery: None,
        }
    }

    const ANY: Actuator = Actuator::Continuous { quantum: Watts::whole(1) };

    fn candidate(actuator: Actuator, input: &MinerInput) -> Result<Candidate, Unmovable> {
        Candidate::new(0, &spec(actuator), &DriverKind::WhatsminerV3.traits(), true, input)
    }

    #[test]
    fn only_what_can_be_put_back_is_moved() {
        let traits = DriverKind::WhatsminerV3.traits();
        let good = input(|_| ());
        assert_eq!(Candidate::new(0, &spec(ANY), &traits, false, &good), Err(Unmovable::ReadOnly));
        assert_eq!(candidate(ANY, &MinerInput::PENDING), Err(Unmovable::Silent));
        assert_eq!(candidate(Actuator::OnOff, &good), Err(Unmovable::OnOff));
        for (change, expected) in [
            (
                (|status: &mut MinerStatus| status.activity = Activity::Asleep) as fn(&mut MinerStatus),
                Unmovable::NotHashing,
            ),
            (|status| status.activity = Activity::Starting, Unmovable::NotHashing),
            (|status| status.power = Measured::Unavailable, Unmovable::NoPower),
            (|status| status.target = Measured::Unsupported, Unmovable::NoSetpoint),
            (|status| status.target = Measured::Value(Target::Sleep), Unmovable::NoSetpoint),
            (|status| status.power = Measured::Value(Watts::whole(2_010)), Unmovable::AtMinimum),
            (|status| status.range = Some((Watts::whole(3_290), Watts::whole(3_600))), Unmovable::AtMinimum),
        ] {
            assert_eq!(candidate(ANY, &input(change)), Err(expected));
        }
    }

    #[test]
    fn a_miner_is_lowered_from_its_draw_and_put_back_to_its_setpoint() {
        let one = candidate(ANY, &input(|_| ())).unwrap();
        let moves = choose(&[one], Watts::whole(500));
        assert_eq!(
            moves,
            [Move {
                miner: 0,
                back: Watts::whole(3_400),
                low: Watts::whole(2_800),
                draw: Watts::whole(3_300)
            }]
        );
        assert_eq!(total(&moves), Watts::whole(500));
    }

    #[test]
    fn as_few_miners_as_will_do_and_those_first_that_mind_least() {
        let make = |miner, reluctance, draw: i32| Candidate {
            miner,
            setpoint: Watts::whole(draw),
            draw: Watts::whole(draw),
            floor: Watts::whole(2_000),
            points: Vec::new(),
            reluctance,
        };
        let all = [make(0, 1, 3_500), make(1, 0, 2_500), make(2, 0, 3_000), make(3, 0, 2_200)];
        let chosen =
            |step| choose(&all, Watts::whole(step)).iter().map(|step| step.miner).collect::<Vec<_>>();
        assert_eq!(chosen(900), [2]);
        assert_eq!(chosen(1_400), [2, 1]);
        assert_eq!(chosen(2_000), [2, 1, 3, 0]);
        assert_eq!(total(&choose(&all, Watts::whole(50_000))), Watts::whole(3_200), "all there is");
        for step in choose(&all, Watts::whole(50_000)) {
            assert!(step.low >= Watts::whole(2_000) && step.low < step.back);
        }
    }

    #[test]
    fn a_miner_with_steps_takes_the_nearest_one_below() {
        let one = candidate(Actuator::Steps, &input(|_| ())).unwrap();
        assert_eq!(choose(std::slice::from_ref(&one), Watts::whole(800))[0].low, Watts::whole(2_600));
        assert_eq!(choose(std::slice::from_ref(&one), Watts::whole(1_500))[0].low, Watts::whole(2_000));
        assert_eq!(choose(&[one], Watts::whole(200)), [], "its smallest step is far more");
    }

    #[test]
    fn steps_are_powers_or_shares() {
        assert_eq!(parse("20 kW"), Ok(Step::Power(Watts::whole(20_000))));
        assert_eq!(parse("20 %"), Ok(Step::Share(0.2)));
        assert_eq!(parse("5%"), Ok(Step::Share(0.05)));
        for text in ["20", "0 W", "-5 kW", "0 %", "120 %", "x %"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
