//! What an order would do: the control law itself, run forward on its own models.
//!
//! A copy of the state is stepped second by second with the order in force. Miners that answer do what their model, as far as it
//! was learned, says of the latest command; those that do not answer or do not follow stay as they are; the meters move with the
//! miners; sun and other load stand still. So the preview is as good as the models, and it is not a promise. Pure: nothing of
//! the running state changes.

use std::time::Duration;

use crate::control::decision::{Command, Decision, MinerState, Mode};
use crate::control::frame::Frame;
use crate::control::response::Track;
use crate::control::signal::Why;
use crate::control::site::{Actuator, CircuitId, Combination, MeterId, MinerId, Scope, Site};
use crate::control::snapshot::{
    Activity, Contact, Delivery, HeldMiner, Hold, Measured, MinerInput, OrderCap, Outcome, Reading, Snapshot,
    Target,
};
use crate::control::state::State;
use crate::control::step::step;
use crate::moment::Moment;
use crate::units::Watts;

/// Time between two steps.
const STEP: Duration = Duration::from_secs(1);
/// How far ahead is looked at the most.
const HORIZON: u32 = 180;
/// Steps times miners that are worked out at the most: it is asked for by people, who wait.
const MOST_WORK: usize = 120_000;
/// However many miners there are, so many steps are made.
const LEAST: u32 = 12;
/// Steps without a new command after which nothing more is expected.
const QUIET: u32 = 4;
/// A cap is met within this share of it, or of the nameplates below the circuit where that is more.
const MET: f64 = 0.005;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An order is given.
    Give(OrderCap),
    /// An order is taken back, by its source and name; where it acts, for the figures.
    TakeBack {
        /// Whose, and which; the rest does not count.
        order: OrderCap,
    },
    /// Somebody begins or ends work on miners.
    Hold {
        /// The circuit that is looked at.
        circuit: CircuitId,
        /// Who is held from then on.
        holds: Vec<HeldMiner>,
    },
}

/// What would become of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Power in the scope of the order now.
    pub before: Watts,
    /// The same at the end of the look ahead.
    pub after: Watts,
    /// How far it is above the cap then; zero when the cap is met.
    pub short: Watts,
    /// How long it takes to meet the cap; `None` when it is not met within the look ahead, and for an order that is taken back.
    pub met_after: Option<Duration>,
    /// How far was looked ahead.
    pub looked: Duration,
    /// Miners of the circuit that would be moved, in the order of the site.
    pub moves: Vec<Move>,
    /// Miners of the circuit that draw power and would not be moved although they stand in the way, or cannot be; and those of which
    /// nothing was heard yet, whatever they draw.
    pub skipped: Vec<Skipped>,
    /// How much more the miners of other circuits are set to draw by then, or less (negative): they take what is freed, and move for
    /// other reasons, too.
    pub elsewhere: Watts,
    /// The site is still being read: nothing is commanded yet, and the rest says nothing.
    pub starting: bool,
}

/// A miner that would be moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Move {
    /// Which.
    pub miner: MinerId,
    /// What it draws now.
    pub from: Watts,
    /// What it would draw in the end.
    pub to: Watts,
    /// Whether it would sleep.
    pub sleeps: bool,
    /// Whether it sleeps now and would be woken.
    pub wakes: bool,
    /// When it would be there, from now on.
    pub after: Duration,
}

/// A miner that would not be moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Skipped {
    /// Which.
    pub miner: MinerId,
    /// Why.
    pub why: Skip,
    /// What it draws, as far as is known.
    pub draw: Watts,
}

/// Why a miner would not be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// It does not answer.
    Silent,
    /// It answers, and has not answered what it was told last.
    Unanswered,
    /// It does not do what it is told.
    Straggler,
    /// Its driver cannot command it.
    Fixed,
    /// Nothing was heard of it yet.
    Pending,
    /// Somebody works on it.
    Held,
}

impl Skip {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Silent => "does not answer",
            Self::Unanswered => "has not answered its latest order",
            Self::Straggler => "does not do what it is told",
            Self::Fixed => "can be read and not throttled",
            Self::Pending => "has not been heard yet",
            Self::Held => "is being worked on and left alone",
        }
    }
}

/// Runs the control law forward from a copy of its state and what its latest cycle left behind.
pub fn preview(state: State, latest: &Frame, change: &Change) -> Preview {
    let mut ahead = Ahead::new(state, latest, change);
    let site = ahead.state.site().clone();
    let miners = site.miners.len().max(1);
    let affordable = u32::try_from(MOST_WORK / miners).unwrap_or(HORIZON);
    let most = HORIZON.min(affordable.max(LEAST));
    let (mut met, mut quiet, mut steps) = (None, 0, 0);
    let mut last = None;
    while steps < most {
        steps += 1;
        let decision = ahead.step();
        let here = ahead.power(&decision);
        if ahead.is_met(here) {
            met.get_or_insert(STEP * steps.saturating_sub(1));
        } else {
            met = None;
        }
        quiet = if decision.commands.is_empty() { quiet + 1 } else { 0 };
        last = Some(decision);
        if quiet >= QUIET && ahead.settled() {
            break;
        }
    }
    ahead.result(last.as_ref(), met, STEP * steps)
}

/// The control law on its way ahead.
struct Ahead {
    state: State,
    snapshot: Snapshot,
    /// When it begins.
    begun: Moment,
    /// The number of the latest command before.
    first: u64,
    /// Each miner as it was known at the beginning, told what the law tells it on the way. What the law learns there it learns
    /// from these models: were they to follow, it would learn from itself.
    models: Vec<Track>,
    /// What each miner drew at the beginning.
    drawn: Vec<f64>,
    /// What each miner draws now.
    draws: Vec<f64>,
    /// Of each miner, what it was set to at the beginning.
    set: Vec<Option<Target>>,
    /// Of each meter that is a device, its value at the beginning and the circuit whose miners it sees.
    meters: Vec<Option<(Watts, CircuitId)>>,
    /// The circuit, the scope and the cap in question.
    circuit: CircuitId,
    scope: Scope,
    cap: Option<Watts>,
    /// The power in question at the beginning.
    before: Watts,
    /// Whether the site is still being read.
    starting: bool,
}

impl Ahead {
    fn new(state: State, latest: &Frame, change: &Change) -> Self {
        let site = state.site().clone();
        let mut snapshot = Snapshot::clone(&latest.snapshot);
        let (circuit, scope, cap) = match change {
            Change::Give(order) | Change::TakeBack { order } => {
                snapshot.orders.retain(|held| !same(held, order));
                let given = matches!(change, Change::Give(_));
                if given {
                    snapshot.orders.push(order.clone());
                }
                (order.active.circuit, order.active.scope, given.then_some(order.active.cap))
            }
            Change::Hold { circuit, holds } => {
                snapshot.holds.clone_from(holds);
                (*circuit, Scope::Miners, None)
            }
        };
        // What is on its way to a miner that answers will be answered: nobody has to wait for a second try in a preview.
        for input in snapshot.miners.iter_mut().filter(|input| input.contact == Contact::Reachable) {
            if let Some(delivery) = input.delivery.as_mut().filter(|it| it.outcome == Outcome::InFlight) {
                delivery.outcome = Outcome::Accepted;
                delivery.at = snapshot.now;
            }
        }
        let mut meters = vec![None; site.meters.len()];
        for (index, circuit) in site.circuits.iter().enumerate() {
            for meter in circuit.meter.into_iter().flat_map(|meter| devices(&site, meter)) {
                let value = snapshot.meters.get(meter.0).and_then(|input| input.power);
                if let (Some(slot), Some(reading)) = (meters.get_mut(meter.0), value) {
                    *slot = Some((reading.value, CircuitId(index)));
                }
            }
        }
        let drawn: Vec<f64> = state.tracks.iter().map(|track| track.draw).collect();
        let mut ahead = Self {
            starting: latest.decision.would_be == Mode::StartUp,
            begun: snapshot.now,
            first: state.sequence,
            models: state.tracks.clone(),
            draws: drawn.clone(),
            drawn,
            set: state.tracks.iter().map(|track| track.setpoint).collect(),
            meters,
            circuit,
            scope,
            cap,
            before: Watts::ZERO,
            snapshot,
            state,
        };
        ahead.before = ahead.power(&latest.decision);
        ahead
    }

    fn step(&mut self) -> Decision {
        self.snapshot.now = self.snapshot.now + STEP;
        let now = self.snapshot.now;
        self.draw(now);
        self.move_miners(now);
        self.move_meters(now);
        let decision = step(&mut self.state, &self.snapshot);
        for command in &decision.commands {
            let Command { miner, target, sequence, .. } = *command;
            if let (Some(model), Some(draw)) = (self.models.get_mut(miner.0), self.draws.get(miner.0)) {
                model.draw = *draw;
                model.command(target, sequence, false, now);
            }
            if let Some(input) = self.snapshot.miners.get_mut(miner.0)
                && input.contact == Contact::Reachable
            {
                input.delivery = Some(Delivery { sequence, target, at: now, outcome: Outcome::Accepted });
            }
        }
        decision
    }

    /// When a miner was told something on the way, if it was.
    fn told(&self, model: &Track) -> Option<Moment> {
        model.sent.filter(|sent| sent.sequence > self.first).map(|sent| sent.at)
    }

    /// What each miner draws: where its model says, off by as much as it was off at the beginning until it is told something.
    fn draw(&mut self, now: Moment) {
        let site = self.state.site();
        let each = site.miners.iter().zip(&self.models).zip(&self.drawn);
        let draws = each.map(|((miner, model), drawn)| {
            if stays(model) || model.sent.is_none() {
                *drawn
            } else if self.told(model).is_some() {
                model.modelled(miner, now)
            } else {
                (drawn + model.modelled(miner, now) - model.modelled(miner, self.begun)).max(0.0)
            }
        });
        self.draws = draws.collect();
    }

    /// Each miner that answers says what it does.
    fn move_miners(&mut self, now: Moment) {
        let site = self.state.site();
        let told: Vec<Option<Moment>> = self.models.iter().map(|model| self.told(model)).collect();
        let each = site.miners.iter().zip(&self.models).zip(told).zip(&self.draws);
        for ((((miner, model), told), draw), input) in each.zip(&mut self.snapshot.miners) {
            let MinerInput { contact, status, .. } = input;
            let Some(reading) = status.as_mut().filter(|_| *contact == Contact::Reachable) else { continue };
            if model.state == MinerState::Unanswered {
                continue;
            }
            reading.at = now;
            if stays(model) {
                continue;
            }
            let value = &mut reading.value;
            if value.power.value().is_some() {
                value.power = Measured::Value(Watts::saturating(*draw));
            }
            let (Some(told), Some(target)) = (told, model.setpoint) else { continue };
            let there = now - told >= model.way(miner);
            if value.target.value().is_some() {
                value.target = Measured::Value(target);
            }
            value.activity = match (target, &value.activity) {
                (Target::Sleep, _) if there => Activity::Asleep,
                (Target::Power(_), Activity::Asleep) if there => Activity::Hashing,
                (Target::Power(_), Activity::Asleep) => Activity::Starting,
                (Target::Power(_), Activity::Starting) if there => Activity::Hashing,
                (_, activity) => activity.clone(),
            };
        }
    }

    /// Each meter shows what the miners below it have moved since the beginning.
    fn move_meters(&mut self, now: Moment) {
        let mut moved = vec![0.0; self.state.site().circuits.len()];
        for ((miner, draw), drawn) in self.state.site().miners.iter().zip(&self.draws).zip(&self.drawn) {
            self.state.tree.add(&mut moved, miner.circuit, draw - drawn);
        }
        for (input, known) in self.snapshot.meters.iter_mut().zip(&self.meters) {
            // A meter that is lost stays lost.
            let Some(reading) = &mut input.power else { continue };
            if now - reading.at > HOLD && known.is_none() {
                continue;
            }
            let delta = known.and_then(|(_, circuit)| moved.get(circuit.0)).copied().unwrap_or(0.0);
            let value = known.map_or(reading.value, |(value, _)| value);
            *reading = Reading { value: value + Watts::saturating(delta), at: now };
        }
    }

    /// The power in question after a step.
    fn power(&self, decision: &Decision) -> Watts {
        let Some(circuit) = decision.circuits.get(self.circuit.0) else { return Watts::ZERO };
        match self.scope {
            Scope::Import => circuit.power.unwrap_or(circuit.miners + circuit.other),
            Scope::Miners => circuit.miners,
        }
    }

    fn is_met(&self, power: Watts) -> bool {
        let nameplates = self.state.nameplates.get(self.circuit.0).copied().unwrap_or(0.0);
        self.cap.is_some_and(|cap| {
            power <= cap + (cap.abs().scaled(MET)).max(Watts::saturating(nameplates * MET))
        })
    }

    /// Whether every miner that was told something has got where it was told to be.
    fn settled(&self) -> bool {
        let now = self.snapshot.now;
        let mut each = self.state.site().miners.iter().zip(&self.models);
        each.all(|(miner, model)| self.told(model).is_none_or(|told| now - told >= model.way(miner)))
    }

    fn result(&self, last: Option<&Decision>, met_after: Option<Duration>, looked: Duration) -> Preview {
        let after = last.map_or(self.before, |decision| self.power(decision));
        let short = match self.cap {
            Some(cap) if !self.is_met(after) => (after - cap).at_least_zero(),
            _ => Watts::ZERO,
        };
        let site = self.state.site();
        let (mut moves, mut skipped, mut elsewhere) = (Vec::new(), Vec::new(), Watts::ZERO);
        for (index, (miner, model)) in site.miners.iter().zip(&self.models).enumerate() {
            let set = self.set.get(index).copied().flatten();
            let told = self.told(model).filter(|_| set != model.setpoint);
            let to = || Watts::saturating(model.settled(miner, model.setpoint));
            if !self.state.tree.path(miner.circuit.0).contains(&self.circuit.0) {
                if told.is_some() {
                    elsewhere += to() - Watts::saturating(model.settled(miner, set));
                }
                continue;
            }
            let state = last.and_then(|decision| decision.miners.get(index)).map(|miner| miner.state);
            let drawn = self.drawn.get(index).copied().unwrap_or(0.0);
            let from = Watts::saturating(drawn);
            let hold = self.state.tracks.get(index).and_then(|track| track.hold);
            let id = MinerId(index);
            let why = match state {
                _ if miner.actuator == Actuator::Fixed => Some(Skip::Fixed),
                _ if hold == Some(Hold::HandsOff) => Some(Skip::Held),
                Some(MinerState::Unreachable) => Some(Skip::Silent),
                Some(MinerState::Unanswered) => Some(Skip::Unanswered),
                Some(MinerState::Straggler) => Some(Skip::Straggler),
                Some(MinerState::Pending) => Some(Skip::Pending),
                _ => None,
            };
            match (why, told) {
                // Of whom nothing was heard nobody knows what they draw.
                (Some(why), _) if why == Skip::Pending || drawn > model.sleep(miner) => {
                    skipped.push(Skipped { miner: id, why, draw: from });
                }
                (None, Some(told)) => moves.push(Move {
                    miner: id,
                    from,
                    to: to(),
                    sleeps: model.setpoint == Some(Target::Sleep),
                    wakes: set == Some(Target::Sleep),
                    after: (told - self.begun) + model.way(miner),
                }),
                _ => {}
            }
        }
        let (before, starting) = (self.before, self.starting);
        Preview { before, after, short, met_after, looked, moves, skipped, elsewhere, starting }
    }
}

/// Whether a miner does not do what it is told, or nobody knows.
fn stays(track: &Track) -> bool {
    matches!(track.state, MinerState::Straggler | MinerState::Unanswered | MinerState::Unreachable)
}

/// A meter whose value is older is not made young by looking ahead.
const HOLD: Duration = Duration::from_secs(5);

fn same(held: &OrderCap, order: &OrderCap) -> bool {
    let name = |why: &Why| match why {
        Why::Order(id) => Some(id.clone()),
        _ => None,
    };
    held.source == order.source
        && name(&held.active.why).is_some()
        && name(&held.active.why) == name(&order.active.why)
}

/// The devices that show what a meter shows: itself, all parts of a redundant one, the first that is added of a sum.
fn devices(site: &Site, meter: MeterId) -> Vec<MeterId> {
    let mut found = Vec::new();
    let mut open = vec![meter];
    // Combined meters come from devices in the end, and there are no more of them than meters.
    for _ in 0..site.meters.len() {
        let Some(next) = open.pop() else { break };
        match site.meters.get(next.0).and_then(|meter| meter.combined.as_ref()) {
            None => found.push(next),
            Some(Combination::Redundant(redundant)) => {
                open.extend(redundant.parts.iter().map(|part| part.meter));
            }
            Some(Combination::Sum(terms)) => {
                open.extend(terms.iter().find(|term| !term.negative).map(|term| term.part.meter));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::decision::Source;
    use crate::control::signal::{Active, Basis, Urgency};
    use crate::control::site::{LimitClass, OrderSource, SourceId};
    use crate::control::snapshot::{MeterInput, MeterStatus, MinerStatus};
    use crate::control::testing::site;
    use std::sync::Arc;

    const MINERS: usize = 4;

    fn home() -> Site {
        Site { sources: vec![OrderSource { name: "utility".into(), class: LimitClass::Grid }], ..site(2) }
    }

    fn order(watts: i32, scope: Scope) -> OrderCap {
        OrderCap {
            source: SourceId(0),
            active: Active {
                circuit: CircuitId(0),
                scope,
                cap: Watts::whole(watts),
                why: Why::Order("cut".into()),
                basis: Basis::Instant,
                urgency: Urgency::Normal,
            },
        }
    }

    /// A world of its own, in which miners do at once what they are told: two minutes of a surplus of 20 kW.
    struct World {
        state: State,
        snapshot: Snapshot,
        draws: Vec<f64>,
        decision: Option<Decision>,
        deaf: Vec<usize>,
    }

    impl World {
        fn new(deaf: Vec<usize>) -> Self {
            let site = home();
            let snapshot =
                Snapshot::new(Moment::START, vec![MeterInput::PENDING], vec![MinerInput::PENDING; MINERS]);
            let mut world = Self {
                state: State::new(Arc::new(site)),
                snapshot,
                draws: vec![3_400.0; MINERS],
                decision: None,
                deaf,
            };
            for _ in 0..120 {
                world.second();
            }
            world
        }

        fn second(&mut self) -> Decision {
            let now = self.snapshot.now + STEP;
            self.snapshot.now = now;
            let miners: f64 = self.draws.iter().sum();
            let meter = Watts::saturating(miners - 20_000.0);
            self.snapshot.meters =
                vec![MeterInput::new(MeterStatus::Ok, Some(Reading { value: meter, at: now }))];
            for (input, draw) in self.snapshot.miners.iter_mut().zip(&self.draws) {
                input.contact = Contact::Reachable;
                let power = Measured::Value(Watts::saturating(*draw));
                let activity = if *draw < 100.0 { Activity::Asleep } else { Activity::Hashing };
                input.status = Some(Reading {
                    value: MinerStatus { power, activity, ..MinerStatus::default() },
                    at: now,
                });
            }
            let decision = step(&mut self.state, &self.snapshot);
            for command in &decision.commands {
                if !self.deaf.contains(&command.miner.0) {
                    self.draws[command.miner.0] = match command.target {
                        Target::Sleep => 20.0,
                        Target::Power(power) => power.get(),
                    };
                }
                self.snapshot.miners[command.miner.0].delivery = Some(Delivery {
                    sequence: command.sequence,
                    target: command.target,
                    at: now,
                    outcome: Outcome::Accepted,
                });
            }
            self.decision = Some(decision.clone());
            decision
        }

        /// What would become of an order now.
        fn preview(&self, change: &Change) -> Preview {
            let frame = Frame {
                site: self.state.site().clone(),
                snapshot: Arc::new(self.snapshot.clone()),
                decision: Arc::new(self.decision.clone().unwrap()),
            };
            preview(self.state.clone(), &frame, change)
        }

        fn total(&self) -> f64 {
            self.draws.iter().sum()
        }
    }

    #[test]
    fn what_is_foretold_is_what_happens() {
        for watts in [12_000, 9_000, 6_000, 3_000, 0] {
            let mut world = World::new(vec![]);
            let before = world.total();
            let give = Change::Give(order(watts, Scope::Miners));
            let told = world.preview(&give);
            assert!((told.before.get() - before).abs() < 1.0, "{watts}: {told:?}");
            world.snapshot.orders = vec![order(watts, Scope::Miners)];
            for _ in 0..60 {
                world.second();
            }
            let (really, foretold) = (world.total(), told.after.get());
            assert!(
                (really - foretold).abs() < 150.0,
                "{watts}: {foretold} foretold, {really} came: {told:#?}"
            );
            assert!(told.met_after.is_some() || watts == 0, "{watts}: {told:#?}");
            assert!(told.met_after.unwrap_or_default() <= Duration::from_secs(10), "{watts}: {told:#?}");
        }
    }

    #[test]
    fn what_an_order_frees_is_told_where_others_take_it() {
        let mut world = World::new(vec![]);
        world.snapshot.orders = vec![order(9_000, Scope::Miners)];
        for _ in 0..60 {
            world.second();
        }
        let mut hall = order(3_000, Scope::Miners);
        (hall.active.circuit, hall.active.why) = (CircuitId(2), Why::Order("hall".into()));
        let told = world.preview(&Change::Give(hall));
        let freed = told.before - told.after;
        assert!(freed > Watts::whole(1_000) && told.elsewhere > freed.scaled(0.5), "{told:#?}");
        assert!(told.elsewhere < freed.scaled(1.1), "{told:#?}");
        let told = world.preview(&Change::Give(order(6_000, Scope::Miners)));
        assert_eq!(told.elsewhere, Watts::ZERO, "nobody is outside of the whole site");
    }

    #[test]
    fn who_does_not_obey_is_named_and_what_is_short_is_told() {
        let mut world = World::new(vec![]);
        // Two of them answer yes and do nothing.
        world.deaf = vec![0, 1];
        world.snapshot.orders = vec![order(200, Scope::Miners)];
        for _ in 0..90 {
            world.second();
        }
        let told = world.preview(&Change::Give(order(1_000, Scope::Miners)));
        let skipped: Vec<_> = told.skipped.iter().map(|it| (it.miner.0, it.why)).collect();
        assert_eq!(skipped, [(0, Skip::Straggler), (1, Skip::Straggler)], "{told:#?}");
        assert!(told.skipped.iter().all(|it| it.draw > Watts::whole(3_000)), "{told:#?}");
        assert!(told.short > Watts::whole(2_000), "{told:#?}");
        assert_eq!(told.met_after, None);
        assert_eq!(told.moves, [], "the others sleep already");
    }

    #[test]
    fn a_site_that_is_still_being_read_is_no_site_where_nobody_moves() {
        let mut world = World::new(vec![]);
        let give = Change::Give(order(1_000, Scope::Miners));
        assert!(!world.preview(&give).starting);
        // The first cycle of a daemon that has read nothing yet.
        let site = Arc::new(home());
        world.state = State::new(site);
        world.snapshot =
            Snapshot::new(Moment::START, vec![MeterInput::PENDING], vec![MinerInput::PENDING; MINERS]);
        world.decision = Some(step(&mut world.state, &world.snapshot));
        let told = world.preview(&give);
        assert!(told.starting, "{told:#?}");
        assert_eq!(told.moves, []);
        let unheard = told.skipped.iter().filter(|it| it.why == Skip::Pending).count();
        assert_eq!(unheard, MINERS, "{told:#?}");
    }

    #[test]
    fn nothing_of_the_running_state_changes() {
        let mut world = World::new(vec![]);
        let mut other = World::new(vec![]);
        for watts in [0, 5_000] {
            world.preview(&Change::Give(order(watts, Scope::Import)));
        }
        for _ in 0..30 {
            assert_eq!(world.second(), other.second());
        }
    }

    #[test]
    fn an_order_that_is_taken_back_lets_the_fleet_rise() {
        let mut world = World::new(vec![]);
        world.snapshot.orders = vec![order(6_000, Scope::Miners)];
        for _ in 0..60 {
            world.second();
        }
        let order = order(6_000, Scope::Miners);
        let binding = world.second().binding.source;
        assert_eq!(binding, Source::Order(SourceId(0)));
        let told = world.preview(&Change::TakeBack { order });
        assert!(told.after > told.before + Watts::whole(2_000), "{told:#?}");
        assert_eq!((told.met_after, told.short), (None, Watts::ZERO));
    }
}
