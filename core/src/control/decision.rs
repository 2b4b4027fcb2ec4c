//! What the control law decided in one cycle, and why.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::lead::Lead;
use crate::control::site::{CircuitId, LimitId, MeterId, MinerId, Site, SourceId};
use crate::control::snapshot::{MeterInput, Target};
use crate::control::stop::StopState;
use crate::moment::Moment;
use crate::units::{Hashrate, Joules, Watts};

/// The named states of the controller; the diagram is in [`super`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// Waiting for the first answers; nothing is commanded.
    StartUp,
    /// The fleet follows the surplus, or runs free below every limit.
    Following,
    /// A limit other than the surplus binds.
    Limited,
    /// An input is lost and its fail-safe value binds.
    FailSafe,
    /// Everything is decided and exported, nothing is commanded.
    Observe,
    /// As [`Self::Observe`], because another daemon leads.
    StandBy,
}

impl Mode {
    /// All, for metrics.
    pub const ALL: [Self; 6] =
        [Self::StartUp, Self::Following, Self::Limited, Self::FailSafe, Self::Observe, Self::StandBy];

    /// As written in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartUp => "start-up",
            Self::Following => "following",
            Self::Limited => "limited",
            Self::FailSafe => "fail-safe",
            Self::Observe => "observe",
            Self::StandBy => "stand-by",
        }
    }
}

/// What set a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// A limit of the site.
    Limit(LimitId),
    /// An order of a source outside.
    Order(SourceId),
    /// A source of orders that is lost or was not heard yet: its fail-safe.
    LostSource(SourceId),
    /// What must hold before and while the miners of this circuit run does not hold, or nobody knows.
    Interlock(CircuitId),
    /// A meter that is stale, lost or not read yet.
    LostMeter(MeterId),
    /// Nothing: every miner may run at its maximum.
    Fleet,
    /// The emergency stop of this circuit: its contact is not closed, or nobody has released it since.
    Stop(CircuitId),
}

/// The tightest bound and where it acts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// The circuit on which it acts.
    pub circuit: CircuitId,
    /// What set it.
    pub source: Source,
    /// What the miners of the circuit may draw under it.
    pub budget: Watts,
}

/// A limit as it stood in this cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitValue {
    /// What set it.
    pub source: Source,
    /// The cap itself, in its own scope; `None` for a lost meter, which caps the miners alone.
    pub cap: Option<Watts>,
    /// What it leaves to the miners of its circuit; may be negative.
    pub headroom: Watts,
    /// Whether it acts. A limit whose condition is not met stands here with what it would leave.
    pub acts: bool,
}

/// A meter in this cycle, as the control law took it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeterDecision {
    /// The input of the snapshot; of a combined meter, what was made of its parts.
    pub input: MeterInput,
    /// How far its value has gone from trusted (0) to lost (1).
    pub lost: f64,
    /// How much older a sample is taken to be than its stamp.
    pub lag: Duration,
    /// How late it shows what the miners do, as learned; `None` while that is not certain, and for a meter at the
    /// head of no circuit.
    pub learned_lag: Option<Duration>,
    /// Of redundant parts, the position of the one in use.
    pub in_use: Option<usize>,
    /// Whether redundant parts disagree, so that the worse value counts; `None` for what has none.
    pub disagreement: Option<bool>,
    /// For how long it has shown the same value, while its miners are put a little lower to see whether it lives. Left out
    /// where they are not, so that earlier records have the hash that they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Duration>,
}

/// A circuit in this cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CircuitDecision {
    /// Power into the circuit by its meter, the latest good value; `None` without one, or when it is stale.
    pub power: Option<Watts>,
    /// Load other than miners, generation negative, as estimated.
    pub other: Watts,
    /// Estimated draw of its miners now.
    pub miners: Watts,
    /// Every limit that acts here.
    pub limits: Vec<LimitValue>,
    /// What its own limits leave to its miners; may be negative.
    pub headroom: Watts,
    /// What its miners may draw, all circuits above considered. Not negative.
    pub budget: Watts,
    /// What set the headroom.
    pub binding: Source,
    /// Sum of the settled draws that its miners are set to.
    pub setpoint: Watts,
    /// How far its miners cannot help exceeding the budget: they are at their floor, silent, or late.
    pub shortfall: Watts,
    /// What its miners draw together when all of them sleep, as far as is known. Zero in records of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asleep: Watts,
    /// Its breaker; `None` without one.
    pub breaker: Option<BreakerState>,
    /// Its emergency stop; `None` without one. Left out then, so that earlier records have the hash that they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency_stop: Option<StopState>,
}

/// No site has so much, in watts: a budget of more is that of a circuit on which no limit acts.
const UNBOUNDED: f64 = 1e15;

/// Of what miners draw asleep they may draw this much, in fact: meters hum, and so do power supplies.
pub(super) const HUM: f64 = 1.5;

impl CircuitDecision {
    /// The most that its miners draw when all of them sleep.
    pub fn at_most_asleep(&self) -> Watts {
        self.asleep.scaled(HUM).max(self.asleep + Watts::whole(1))
    }

    /// The budget, where a limit acts on it or on what it hangs on.
    pub fn bound(&self) -> Option<Watts> {
        (self.budget.get() < UNBOUNDED).then_some(self.budget)
    }

    /// How far its miners are above the budget, beyond what they would draw if all slept, which nobody can help. What they were told
    /// already and do in time counts as done.
    pub fn over(&self) -> Watts {
        (self.shortfall - (self.asleep - self.budget).at_least_zero()).at_least_zero()
    }
}

impl Decision {
    /// Of each circuit, whether it is at rest: all of its miners sleep as asked, and no more is drawn there than they draw so, by their
    /// own word and by that of a meter that sees them alone. That cannot be helped, so it is no breach of a cap on what they draw.
    /// A circuit without miners is not.
    pub fn at_rest(&self, site: &Site) -> Vec<bool> {
        let mut slept: Vec<Option<bool>> = vec![None; self.circuits.len()];
        for (miner, now) in site.miners.iter().zip(&self.miners) {
            for (id, _) in site.up(miner.circuit) {
                if let Some(slept) = slept.get_mut(id.0) {
                    *slept = Some(slept.unwrap_or(true) && now.state == MinerState::Asleep);
                }
            }
        }
        let each = self.circuits.iter().zip(&site.circuits).zip(slept);
        let mut rests: Vec<Option<bool>> = each
            .map(|((now, circuit), slept)| {
                let most = now.at_most_asleep();
                let seen = !circuit.dedicated || now.power.is_some_and(|power| power <= most);
                slept.map(|slept| slept && now.miners <= most && seen)
            })
            .collect();
        // Nothing rests as a whole of which a part does not: children stand behind their parents.
        for (index, circuit) in site.circuits.iter().enumerate().rev() {
            if let (Some(parent), Some(Some(false))) = (circuit.parent, rests.get(index))
                && let Some(rests) = rests.get_mut(parent.0)
            {
                *rests = Some(false);
            }
        }
        rests.into_iter().map(|rests| rests == Some(true)).collect()
    }
}

fn is_zero(watts: &Watts) -> bool {
    *watts == Watts::ZERO
}

/// The states in which people count miners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MinerState {
    /// No answer yet.
    Pending,
    /// Hashing as asked.
    Hashing,
    /// Told to wake, not hashing yet.
    Starting,
    /// Asleep as asked.
    Asleep,
    /// Does not do what it was told.
    Straggler,
    /// Stopped by a fault of its own.
    Fault,
    /// Was told something and has not answered: it counts at the worst of before and after.
    Unanswered,
    /// Does not answer.
    Unreachable,
}

impl MinerState {
    /// All, for metrics.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Hashing,
        Self::Starting,
        Self::Asleep,
        Self::Straggler,
        Self::Fault,
        Self::Unanswered,
        Self::Unreachable,
    ];

    /// As written in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Hashing => "hashing",
            Self::Starting => "starting",
            Self::Asleep => "asleep",
            Self::Straggler => "straggler",
            Self::Fault => "fault",
            Self::Unanswered => "unanswered",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What the next miner that would be woken waits for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which miner.
    pub miner: MinerId,
    /// What it needs to start.
    pub needs: Watts,
    /// What has been there for as long as a start takes, with everything that runs at its lowest. Less than it needs, unless its turn,
    /// a rest or the others hold it.
    pub there: Watts,
    /// What keeps it from starting. Left out where power does, so that earlier records have the hash that they had.
    #[serde(default, skip_serializing_if = "Held::is_short")]
    pub held: Held,
}

/// What keeps the next miner that would be woken from starting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Held {
    /// There is too little.
    #[default]
    Short,
    /// There is enough, and has not been for as long as a start takes.
    Brief,
    /// A meter has to be seen to show what the miners do first: until then only a few run on its word.
    Proving,
    /// It has been put to sleep, or was raised, a short time ago.
    Resting,
    /// Its turn comes: others were woken just now, and the fleet rises no faster than its settings say.
    Pace,
    /// Those that run can take what there is, and cost no start.
    Others,
}

impl Held {
    fn is_short(&self) -> bool {
        *self == Self::Short
    }

    /// Whether it waits for nothing but its turn.
    pub fn is_turn(self) -> bool {
        matches!(self, Self::Pace | Self::Others)
    }
}

/// A miner in this cycle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinerDecision {
    /// How it is counted.
    pub state: MinerState,
    /// Best estimate of its draw now.
    pub draw: Watts,
    /// The most that it may draw before the next command acts; what the budgets count.
    pub counted: Watts,
    /// Its hashrate by its own word, zero when that is not known.
    pub hashrate: Hashrate,
    /// What it is set to; `None` while nothing was commanded or adopted.
    pub setpoint: Option<Target>,
    /// The settled draw at that setpoint.
    pub settled: Watts,
}

/// Why a command is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The budget fell.
    Shed,
    /// The budget rose.
    Raise,
    /// The same power brings more hashrate elsewhere.
    Rebalance,
    /// The miner is not where it was put: rebooted, changed by hand, or the answer was lost.
    Reapply,
    /// The miner did not follow in time.
    Escalate,
    /// Somebody works on it.
    Maintenance,
}

impl Cause {
    /// As written in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shed => "shed",
            Self::Raise => "raise",
            Self::Rebalance => "rebalance",
            Self::Reapply => "reapply",
            Self::Escalate => "escalate",
            Self::Maintenance => "maintenance",
        }
    }
}

/// An order to one miner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Which miner.
    pub miner: MinerId,
    /// What it is to do.
    pub target: Target,
    /// Rises with every command; a later one replaces an earlier one.
    pub sequence: u64,
    /// Why.
    pub cause: Cause,
}

/// An order to open a circuit: the last resort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerCommand {
    /// Which circuit.
    pub circuit: CircuitId,
    /// As in [`Command::sequence`], from the same numbers.
    pub sequence: u64,
}

/// What is known of the breaker of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BreakerState {
    /// Nothing has been heard of it for long.
    Unknown,
    /// Closed: the circuit is fed.
    Closed,
    /// It was told to open, and is not seen to be open yet.
    Opening,
    /// Open, whoever opened it.
    Open,
}

impl BreakerState {
    /// All, for metrics.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Closed, Self::Opening, Self::Open];

    /// As written in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Closed => "closed",
            Self::Opening => "opening",
            Self::Open => "open",
        }
    }
}

/// Energy at the root circuit since the start, each rising only.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Energy {
    /// What was left over before the miners took any: generation minus other load, where positive.
    pub surplus: Joules,
    /// The part of the surplus that the miners took.
    pub captured: Joules,
    /// What flowed in from the grid while miners drew, up to their draw: their share of the import.
    pub imported: Joules,
    /// The part of the surplus that the miners could have taken at full power and did not.
    pub curtailed: Joules,
}

/// The fleet in this cycle.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct FleetDecision {
    /// Estimated draw now.
    pub draw: Watts,
    /// Sum of the settled draws that the miners are set to.
    pub setpoint: Watts,
    /// What fits the whole tree.
    pub budget: Watts,
    /// The budget after the ramp: what the allocation may use now.
    pub target: Watts,
    /// Sum of the miners' hashrates.
    pub hashrate: Hashrate,
    /// How far the fleet cannot help exceeding its budgets.
    pub shortfall: Watts,
    /// What is left over locally: other load and generation together, sign turned, not negative.
    pub surplus: Watts,
    /// How far the hashrate of the setpoints is below a proven upper bound at the same target, as a fraction;
    /// zero when nothing is to be allocated.
    pub optimality_gap: f64,
    /// What the miners could take within every limit and do not, beyond what is kept free.
    pub left: Watts,
    /// For how long that has been worth telling.
    pub left_for: Duration,
}

/// The outcome of one cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The moment of the cycle.
    pub at: Moment,
    /// The state of the controller; [`Mode::Observe`] and [`Mode::StandBy`] hide what it would be otherwise.
    pub mode: Mode,
    /// What it could do with the miners: less than the snapshot says, where somebody else was seen to move them.
    #[serde(default)]
    pub lead: Lead,
    /// The state that it would have if it commanded.
    pub would_be: Mode,
    /// What binds the fleet as a whole.
    pub binding: Binding,
    /// The fleet.
    pub fleet: FleetDecision,
    /// One for each of the site's circuits.
    pub circuits: Vec<CircuitDecision>,
    /// One for each of the site's meters, the combined ones included.
    pub meters: Vec<MeterDecision>,
    /// One for each of the site's miners.
    pub miners: Vec<MinerDecision>,
    /// What to send. Empty in observe mode and while another daemon leads.
    pub commands: Vec<Command>,
    /// Circuits that are to be opened, each until it is seen to be open. Empty like the commands.
    pub breakers: Vec<BreakerCommand>,
    /// Miners whose draw was first seen at what the latest command asked for, and how long after the command that
    /// reading came. A command that another one overtook, or that asked for the draw there was, is not in it.
    pub responses: Vec<(MinerId, Duration)>,
    /// The next miner that would be woken, where it waits for power.
    pub waiting: Option<Waiting>,
    /// Running totals.
    pub energy: Energy,
}
