//! What the control law knows of the site and what never changes while it runs: circuits, limits, miners.
//!
//! The configuration builds a [`Site`], outside of this crate; the control law trusts it to be consistent: every id
//! is in range, a parent comes before its children, curves are sorted by power.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::measure::Measure;
use crate::control::snapshot::Target;
use crate::units::{Hashrate, Watts, WattsPerSecond};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub usize);
    };
}

id! {
    /// Position of a circuit in [`Site::circuits`].
    CircuitId
}
id! {
    /// Position of a meter in [`Site::meters`].
    MeterId
}
id! {
    /// Position of a limit in [`Site::limits`].
    LimitId
}
id! {
    /// Position of a source of orders in [`Site::sources`].
    SourceId
}
id! {
    /// Position of a miner in [`Site::miners`].
    MinerId
}

/// The whole site, as the control law sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The name that the operator gave the site.
    pub name: String,
    /// All circuits, each after its parent; the first is the root, the point of common coupling.
    pub circuits: Vec<Circuit>,
    /// All meters: those that are devices first, in the order of the snapshot; then the combined ones.
    pub meters: Vec<Meter>,
    /// All limits.
    pub limits: Vec<Limit>,
    /// Everything outside that may give orders ([`super::signal`]), the operator included.
    pub sources: Vec<OrderSource>,
    /// All miners.
    pub miners: Vec<Miner>,
    /// How the control law behaves.
    pub settings: Settings,
}

/// A piece of the site's electrical tree into which the power that flows can be capped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Circuit {
    /// Unique name.
    pub name: String,
    /// The circuit that feeds this one; `None` for the root alone.
    pub parent: Option<CircuitId>,
    /// The meter at the head of this circuit, `None` where there is none.
    pub meter: Option<MeterId>,
    /// Nothing but miners hangs on this circuit, so its meter *is* their draw.
    pub dedicated: bool,
    /// Kept free below every limit of this circuit that is not there to follow the surplus. Below those that are, it is
    /// kept free until it is known how the other load moves. Not negative.
    pub margin: Watts,
    /// The largest load other than miners that hangs directly on this circuit; counted in full where no meter
    /// tells. Not negative.
    pub other_load: Watts,
    /// What the miners of this circuit may draw together once its meter has been silent for
    /// [`Meter::fail_safe_after`]. Not negative.
    pub fail_safe: Watts,
    /// What must hold before and while miners run here, their cooling above all; `None` where nothing must.
    pub interlock: Option<Interlock>,
    /// The contact that must be closed for miners to run here, and whose opening stays in force until somebody releases it;
    /// `None` without one.
    #[serde(default)]
    pub emergency_stop: Option<EmergencyStop>,
    /// What opens this circuit when nothing else brings its draw down; `None` where nothing can.
    pub breaker: Option<Breaker>,
}

/// What must hold before and while the miners of a circuit run. What is not known does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interlock {
    /// The meter whose power tells: that of a pump or fan, or a contact.
    pub meter: MeterId,
    /// Its power is at least this.
    pub at_least: Watts,
}

/// An emergency stop: see [`super::stop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyStop {
    /// The meter that reads the contact: [`super::stop::CLOSED`] or more is closed.
    pub meter: MeterId,
    /// Which breakers it opens, of its circuit and those below.
    pub opens_breaker: OpensBreaker,
}

/// When an emergency stop opens breakers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpensBreaker {
    /// Whenever it stops.
    Always,
    /// When its contact was seen to be open, and not when it could not be read.
    WhenOpen,
    /// Never: its miners are only put to sleep.
    Never,
}

/// The last resort against miners that do not do what they are told: an output that opens their circuit. It is never
/// closed again by the program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// For how long a budget must have been exceeded because of them, with everything else shed.
    pub after: Duration,
}

/// What the control law must know of a meter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// Unique name.
    pub name: String,
    /// Expected time between new samples.
    pub period: Duration,
    /// How much older a value is than its arrival: filter and refresh time of the device. Zero for a combined meter,
    /// whose stamp takes the lag of its parts off already.
    pub lag: Duration,
    /// Nobody has told the lag: what is learned of it counts, once that is certain.
    pub learn_lag: bool,
    /// Up to this age a value is used as it is.
    pub stale_after: Duration,
    /// From this age on the fail-safe value stands alone. At least `stale_after`.
    pub fail_safe_after: Duration,
    /// How it is put together from other meters; `None` for a device of its own. Its times are the tightest of its
    /// parts' and serve for display: whether it is stale follows from its parts.
    pub combined: Option<Combination>,
}

/// One power of one meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which meter; of a combined one, its power alone.
    pub meter: MeterId,
    /// Which of its powers.
    pub measure: Measure,
}

/// A part of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// What is added.
    pub part: Part,
    /// It is taken off instead.
    pub negative: bool,
}

/// How a meter is put together from others. No meter is a part of itself, however far down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Combination {
    /// The sum of its parts at one instant. Lost with any of them.
    Sum(Vec<Term>),
    /// Several meters of the same power.
    Redundant(Redundant),
}

/// Several meters of the same power.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redundant {
    /// In the order in which they are preferred; at least two.
    pub parts: Vec<Part>,
    /// How far two of them may lie apart.
    pub disagreement: Watts,
    /// For how long they may lie further apart; then the worse value counts. As long they must agree again.
    pub disagreement_for: Duration,
    /// For how long a preferred part must have been good again before it is returned to.
    pub return_after: Duration,
}

impl Combination {
    /// The parts, in the order of the configuration.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let (sum, redundant) = match self {
            Self::Sum(terms) => (terms.as_slice(), &[][..]),
            Self::Redundant(redundant) => (&[][..], redundant.parts.as_slice()),
        };
        sum.iter().map(|term| term.part).chain(redundant.iter().copied())
    }
}

/// What kind of authority stands behind a limit. All are obeyed alike: the tightest binds. The class decides the
/// words in which the program speaks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitClass {
    /// Follow the surplus: what is left over locally and no more.
    Surplus,
    /// The rating of a transformer, breaker or cable.
    Safety,
    /// An order from the grid.
    Grid,
    /// A contractual maximum.
    Contract,
    /// The operator's or the market's wish; can only lower.
    Economic,
}

impl LimitClass {
    /// As written in the configuration, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Surplus => "surplus",
            Self::Safety => "safety",
            Self::Grid => "grid",
            Self::Contract => "contract",
            Self::Economic => "economic",
        }
    }
}

/// What a cap is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The power that flows into the circuit, other load and generation included; negative caps demand export.
    Import,
    /// The draw of the circuit's miners alone.
    Miners,
}

/// Where the value of a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Cap {
    /// Does not change.
    Constant(Watts),
    /// The power reading of a meter, an energy manager or a utility's terminal: its value *is* the cap.
    Reading {
        /// Which reading.
        meter: MeterId,
        /// The cap once the reading has been silent for [`Meter::fail_safe_after`].
        fail_safe: Watts,
    },
}

/// Who gives orders. What they say comes with each snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSource {
    /// Unique name, also among the limits: the `source` in metrics and logs.
    pub name: String,
    /// Who stands behind it.
    pub class: LimitClass,
}

/// A cap on a circuit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Unique name; the `source` in metrics and logs.
    pub name: String,
    /// The circuit that it caps.
    pub circuit: CircuitId,
    /// What it caps there.
    pub scope: Scope,
    /// Who stands behind it.
    pub class: LimitClass,
    /// How much.
    pub cap: Cap,
    /// When it acts; `None` always.
    pub condition: Option<Condition>,
}

/// A battery goes first: the limit acts while its charge is low.
///
/// It acts from a charge below `below` on until one above `until`. A charge that is not known or stale, the first
/// moments included, counts as a low one: unknown means the worst case.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The meter that tells the state of charge.
    pub meter: MeterId,
    /// From here on it acts, as a fraction of full. 0.6 = 60 %.
    pub below: f64,
    /// Above this it does not act any more, as a fraction of full. Above `below`.
    pub until: f64,
}

/// One point at which a miner can run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// Settled draw at the wall.
    pub power: Watts,
    /// Hashrate at that draw.
    pub hashrate: Hashrate,
}

/// How finely a miner's power can be set while it hashes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Actuator {
    /// Any power between minimum and maximum, in steps of the quantum.
    Continuous {
        /// The smallest difference that the miner can tell apart. Above zero.
        quantum: Watts,
    },
    /// Only the powers of the operating points.
    Steps,
    /// Full power or asleep.
    OnOff,
    /// Not at all: it is read, counts as a load, and is never commanded.
    Fixed,
}

/// How a miner's draw follows a command, before anything was learned about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// From a command to lower until the draw begins to fall.
    pub dead_time_down: Duration,
    /// From a command to raise until the draw begins to rise.
    pub dead_time_up: Duration,
    /// How fast the draw falls. Above zero.
    pub ramp_down: WattsPerSecond,
    /// How fast the draw rises. Above zero.
    pub ramp_up: WattsPerSecond,
    /// From waking until the draw begins to rise.
    pub start_time: Duration,
    /// Whether it starts at full power and takes up its target only when it has tuned: then its maximum is kept
    /// free until it hashes steadily.
    pub starts_at_full: bool,
    /// How far above its target a miner may draw while it starts or tunes, as a fraction. 0.05 = 5 %.
    pub start_overshoot: f64,
    /// Whether a target is a cap, under which it may stay for reasons of its own, for minutes: a whole fleet behind one name.
    /// Then a draw that is not near it says nothing of where it settles.
    #[serde(default)]
    pub caps: bool,
}

/// How long a device may take to answer a command, where it is known before it was asked that it takes long: some firmware answers only
/// when it has done what it was told, and the hook of a tenant when it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerWithin {
    /// A command that sets its power.
    pub set: Duration,
    /// One that puts it to sleep or wakes it.
    pub switch: Duration,
}

impl AnswerWithin {
    /// No longer than others, or nothing is known.
    pub const NONE: Self = Self { set: Duration::ZERO, switch: Duration::ZERO };
}

/// What a change costs, in time at full hashrate: the change must bring more than that.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeCost {
    /// A change of power while hashing: flash wear, tuning.
    pub adjust: Duration,
    /// Going to sleep and coming back: thermal cycle, start-up.
    pub sleep: Duration,
    /// Least time between two raises of power; never delays a shed.
    pub min_interval: Duration,
}

/// What a member of the fleet is, and so who gives power up before whom: the first of these first, and back in the reverse
/// order. Within a class it goes by what a watt brings. Below a class nobody is lowered while somebody of a class before it can
/// still give something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LoadClass {
    /// A miner: stopping it costs nothing but the time.
    #[default]
    Miner,
    /// A server whose work may be slowed down, and paused where there is a way to.
    Interruptible,
    /// A server whose work may be slowed down and is never paused.
    Throttle,
    /// A server that has power by contract ([`Miner::contract`]).
    Guaranteed,
}

impl LoadClass {
    /// All, in the order in which they give power up.
    pub const ALL: [Self; 4] = [Self::Miner, Self::Interruptible, Self::Throttle, Self::Guaranteed];

    /// As written in the configuration, metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Miner => "miner",
            Self::Interruptible => "interruptible",
            Self::Throttle => "throttle",
            Self::Guaranteed => "guaranteed",
        }
    }
}

/// A member of the fleet, as the control law sees it: a miner, a server, or a whole fleet behind one name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Miner {
    /// Unique name.
    pub name: String,
    /// Which driver speaks with it; a label for metrics and the words of a reason. Not kept by `serde`.
    #[serde(skip)]
    pub driver: &'static str,
    /// The circuit that feeds it.
    pub circuit: CircuitId,
    /// Points at which it can run, by rising power, at least one, each above `sleep`.
    pub points: Vec<OperatingPoint>,
    /// Who gives power up before whom.
    #[serde(default)]
    pub class: LoadClass,
    /// Only a limit of class [`LimitClass::Safety`], an interlock or an emergency stop takes it below this draw; `None` where
    /// nothing was agreed. Between the lowest and the highest point.
    #[serde(default)]
    pub contract: Option<Watts>,
    /// Whether it can be put to sleep. One that cannot is lowered to its lowest point and stays there, whatever the limit.
    #[serde(default = "sleeps")]
    pub sleeps: bool,
    /// How long it may go on drawing after it was told to sleep, beside what [`Response`] says: the notice that whoever works on it was
    /// promised. Nothing for a miner. It is agreed and not learned, and a lowering that is no sleep takes none of it.
    #[serde(default)]
    pub notice: Duration,
    /// How long it may take to answer a command.
    #[serde(default)]
    pub answer_within: AnswerWithin,
    /// Whether a change of its power restarts its software and outlives that: a restart on the way there is no loss of what it was told.
    #[serde(default)]
    pub restarts: bool,
    /// Draw while asleep. Of one that does not sleep it says nothing.
    pub sleep: Watts,
    /// The most it can ever draw: what it counts for when it does not answer. At least the highest point.
    pub nameplate: Watts,
    /// How finely it can be set.
    pub actuator: Actuator,
    /// How it follows a command.
    pub response: Response,
    /// What a change costs.
    pub cost: ChangeCost,
    /// Time between two polls of its state.
    pub poll_period: Duration,
    /// No answer for this long means unreachable.
    pub silent_after: Duration,
}

impl Site {
    /// A circuit and those above it, up to the root.
    pub fn up(&self, circuit: CircuitId) -> impl Iterator<Item = (CircuitId, &Circuit)> {
        let at = move |id: CircuitId| Some((id, self.circuits.get(id.0)?));
        // A tree is no deeper than it has circuits.
        std::iter::successors(at(circuit), move |(_, circuit)| at(circuit.parent?)).take(self.circuits.len())
    }

    /// Whether a circuit is another one, or feeds it.
    pub fn feeds(&self, upper: CircuitId, lower: CircuitId) -> bool {
        self.up(lower).any(|(id, _)| id == upper)
    }

    /// Of each circuit, the sum of something over the miners at or below it.
    pub fn sums(&self, of: impl Fn(MinerId, &Miner) -> Watts) -> Vec<Watts> {
        let mut sums = vec![Watts::ZERO; self.circuits.len()];
        for (index, miner) in self.miners.iter().enumerate() {
            let much = of(MinerId(index), miner);
            for (circuit, _) in self.up(miner.circuit) {
                if let Some(sum) = sums.get_mut(circuit.0) {
                    *sum += much;
                }
            }
        }
        sums
    }

    /// Of each circuit, the sum of the nameplates of the miners at or below it.
    pub fn nameplates(&self) -> Vec<Watts> {
        self.sums(|_, miner| miner.nameplate)
    }

    /// Whether a meter reads the contact of an emergency stop.
    pub fn reads_stop(&self, meter: MeterId) -> bool {
        self.circuits.iter().any(|circuit| circuit.emergency_stop.is_some_and(|stop| stop.meter == meter))
    }

    /// A site without anything, for what has not been given one yet.
    pub(super) fn nowhere() -> Self {
        let none = Duration::ZERO;
        let settings = Settings {
            observe: true,
            period: Duration::from_secs(1),
            raise_rate: WattsPerSecond::ZERO,
            import_share: 0.0,
            deadband: None,
            min_sleep: none,
            start_timeout: none,
            horizon: none,
            rebalance_period: none,
            straggler_grace: none,
        };
        Self {
            name: String::new(),
            circuits: Vec::new(),
            meters: Vec::new(),
            limits: Vec::new(),
            sources: Vec::new(),
            miners: Vec::new(),
            settings,
        }
    }
}

/// Sites that were recorded before there were others.
const fn sleeps() -> bool {
    true
}

impl Miner {
    /// The lowest that it can be told: to sleep, or its lowest point.
    pub fn lowest(&self) -> Target {
        if self.sleeps { Target::Sleep } else { Target::Power(self.minimum()) }
    }

    /// What it draws at the least where nothing breaks what was agreed: asleep, or where it does not sleep by its contract or at its
    /// lowest point.
    pub fn least(&self) -> Watts {
        if self.sleeps { self.sleep } else { self.contract.unwrap_or_else(|| self.minimum()) }
    }

    /// The least it can draw while hashing.
    pub fn minimum(&self) -> Watts {
        self.points.first().map_or(self.nameplate, |point| point.power)
    }

    /// The most it can be asked to draw.
    pub fn maximum(&self) -> Watts {
        self.points.last().map_or(self.nameplate, |point| point.power)
    }
}

/// How the control law behaves. Every default is in `config/ballast.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Decide and export everything, but send no command.
    pub observe: bool,
    /// Time between two cycles.
    pub period: Duration,
    /// The most by which the fleet's target may rise, per second.
    pub raise_rate: WattsPerSecond,
    /// What may be imported because the surplus moves faster than the fleet can follow, as a share of what the miners
    /// draw: so much is kept free that it stays below this. Zero keeps free whatever has ever been needed of late.
    pub import_share: f64,
    /// Differences below this are not worth a command; `None` for a small share of what hangs on each circuit. Never
    /// holds back a shed that is needed.
    pub deadband: Option<Watts>,
    /// Least time asleep before a miner is woken.
    pub min_sleep: Duration,
    /// How long the start-up waits for every input before the fail-safe values apply.
    pub start_timeout: Duration,
    /// Over how much time a gain in hashrate must pay for the change that brings it.
    pub horizon: Duration,
    /// Time between two looks for a better allocation at the same power.
    pub rebalance_period: Duration,
    /// How long after its expected time a miner may be late before it is a straggler.
    pub straggler_grace: Duration,
}
