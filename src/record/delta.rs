//! One cycle after another: of its inputs, what has changed; of its decision, a hash, the numbers of the fleet, the commands,
//! and what has changed of the miners.
//!
//! All inputs come back to the last bit, but for the hashrate that a miner reports: the control law adds it up for people and
//! decides nothing by it, so it is kept to a hundredth of the miner's highest, and the hash leaves it out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::columns::{Column, Columns, Damage, Reading, of_steps, short, steps};
use crate::clock::Moment;
use crate::control::decision::{BreakerCommand, Command, FleetDecision, MinerDecision, MinerState, Mode};
use crate::control::lead::Lead;
use crate::control::site::{MinerId, Site};
use crate::control::snapshot::{
    Delivery, HeldMiner, Measured, MeterInput, MinerInput, MinerStatus, OrderCap, Reading as Read, Snapshot,
    Target,
};
use crate::control::{Decision, measure::Readings};
use crate::units::{Hashrate, Watts};

/// Most commands of one cycle that are believed.
const MOST_COMMANDS: usize = 1_000_000;

/// What was decided in a cycle, as far as it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Of the fleet and its binding limit, the circuits, the meters and the miners.
    pub hashes: [u16; 4],
    /// The state of the controller.
    pub mode: Mode,
    /// Draw, setpoint, budget, target, shortfall and surplus of the fleet, in watts, to seven digits.
    pub fleet: [f32; 6],
    /// What was sent.
    pub commands: Vec<Command>,
    /// Which circuits were to be opened.
    pub breakers: Vec<BreakerCommand>,
    /// Of each miner, how it was counted and where it was put.
    pub miners: Vec<(MinerState, Option<Target>)>,
}

/// What each of [`Outcome::hashes`] is of.
pub const HASHED: [&str; 4] = ["the fleet", "the circuits", "the meters", "the miners"];
/// What each of [`Outcome::fleet`] is.
pub const FLEET: [&str; 6] = ["draw", "setpoint", "budget", "target", "shortfall", "surplus"];

/// A hash that a later version must find again (FNV-1a of 64 bits, folded).
fn hash(bytes: &[u8]) -> u16 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let folded = hash ^ (hash >> 32);
    u16::try_from((folded ^ (folded >> 16)) & 0xffff).unwrap_or(0)
}

impl Outcome {
    /// What is recorded of a decision.
    pub fn of(decision: &Decision) -> Self {
        let no_hashrate = |miner: &MinerDecision| MinerDecision { hashrate: Hashrate::ZERO, ..*miner };
        let miners: Vec<MinerDecision> = decision.miners.iter().map(no_hashrate).collect();
        let fleet = FleetDecision { hashrate: Hashrate::ZERO, ..decision.fleet };
        let whole = (
            (decision.at, decision.would_be, decision.binding, fleet, decision.energy, decision.waiting),
            (&decision.commands, &decision.breakers, &decision.responses),
        );
        let of = |bytes: Result<Vec<u8>, rmp_serde::encode::Error>| hash(&bytes.unwrap_or_default());
        let numbers =
            [fleet.draw, fleet.setpoint, fleet.budget, fleet.target, fleet.shortfall, fleet.surplus];
        Self {
            hashes: [
                of(rmp_serde::to_vec(&whole)),
                of(rmp_serde::to_vec(&decision.circuits)),
                of(rmp_serde::to_vec(&decision.meters)),
                of(rmp_serde::to_vec(&miners)),
            ],
            mode: decision.mode,
            fleet: numbers.map(|watts| short(watts.get())),
            commands: decision.commands.clone(),
            breakers: decision.breakers.clone(),
            miners: decision.miners.iter().map(|miner| (miner.state, miner.setpoint)).collect(),
        }
    }
}

/// A cycle as it is recorded.
#[derive(Clone, Debug)]
pub struct Cycle {
    /// Wall-clock time, in milliseconds since 1970.
    pub wall: i64,
    /// What the control law was told.
    pub snapshot: Snapshot,
    /// What it decided.
    pub outcome: Outcome,
}

/// What is to be known of a miner or breaker to write it shortly.
#[derive(Clone, Copy, Debug)]
struct Spec {
    poll: Duration,
    /// A step of its hashrate, in hashes per second.
    step: f64,
}

/// The cycle before, from which the next one differs. Writer and reader have the same.
#[derive(Clone, Debug)]
pub(super) struct Before {
    specs: Vec<Spec>,
    breaker_specs: Vec<Spec>,
    meter_periods: Vec<Duration>,
    period: Duration,
    now: Moment,
    wall: i64,
    meters: Vec<MeterInput>,
    miners: Vec<MinerInput>,
    breakers: Vec<MinerInput>,
    orders: Vec<OrderCap>,
    holds: Vec<HeldMiner>,
    lead: Lead,
    decided: Vec<(MinerState, Option<Target>)>,
    /// The number of the latest command.
    sequence: u64,
}

/// What of a snapshot seldom changes, and has.
const ORDERS: u8 = 1;
const HOLDS: u8 = 2;
const LEAD: u8 = 4;
/// What is true of one cycle alone.
const RELEASED: u8 = 8;
const LATCHED: u8 = 16;

const READ: u8 = 1;
const POWER: u8 = 2;
const HASHRATE: u8 = 4;
const UPTIME: u8 = 8;
const DELIVERY: u8 = 16;
const CONTACT: u8 = 32;
const STATUS: u8 = 64;
const TARGET: u8 = 128;

/// A target is the one that is known from where the miner was put, or is written out.
const KNOWN: u8 = 1;
const WRITTEN: u8 = 0;

const METER_POWER: u8 = 1;
const METER_OTHERS: u8 = 2;
const METER_STATUS: u8 = 4;
const METER_REFRESH: u8 = 8;
const METER_ALL: u8 = 16;

impl Before {
    /// Nothing was before.
    pub(super) fn nothing(site: &Site) -> Self {
        let spec =
            |poll: Duration, most: f64| Spec { poll, step: if most > 0.0 { most / 100.0 } else { 1e12 } };
        let most = |points: &[crate::control::site::OperatingPoint]| {
            points.iter().map(|point| point.hashrate.get()).fold(0.0, f64::max)
        };
        let devices = site.meters.iter().filter(|meter| meter.combined.is_none());
        Self {
            specs: site.miners.iter().map(|miner| spec(miner.poll_period, most(&miner.points))).collect(),
            breaker_specs: site.circuits.iter().map(|_| spec(Duration::from_secs(1), 0.0)).collect(),
            meter_periods: devices.clone().map(|meter| meter.period).collect(),
            period: site.settings.period,
            now: Moment::START,
            wall: 0,
            meters: Vec::new(),
            miners: Vec::new(),
            breakers: Vec::new(),
            orders: Vec::new(),
            holds: Vec::new(),
            lead: Lead::Alone,
            decided: Vec::new(),
            sequence: 0,
        }
    }

    /// Writes a cycle.
    pub(super) fn write(&mut self, to: &mut Columns, wall: i64, snapshot: &Snapshot, outcome: &Outcome) {
        to.moment(Column::Head, Column::Head, self.now + self.period, snapshot.now);
        let went = i64::try_from((snapshot.now - self.now).as_millis()).unwrap_or(0);
        to.signed(Column::Head, wall.saturating_sub(self.wall.saturating_add(went)));
        (self.now, self.wall) = (snapshot.now, wall);
        let (ordered, held) = (self.orders != snapshot.orders, self.holds != snapshot.holds);
        let led = self.lead != snapshot.lead;
        let seldom = (u8::from(ordered) * ORDERS) | (u8::from(held) * HOLDS) | (u8::from(led) * LEAD);
        let released = u8::from(!snapshot.released.is_empty()) * RELEASED;
        let latched = u8::from(!snapshot.latched.is_empty()) * LATCHED;
        to.byte(Column::Head, seldom | released | latched);
        if ordered {
            to.any(Column::Seldom, &snapshot.orders);
            self.orders.clone_from(&snapshot.orders);
        }
        if held {
            to.any(Column::Seldom, &snapshot.holds);
            self.holds.clone_from(&snapshot.holds);
        }
        if led {
            to.any(Column::Seldom, &snapshot.lead);
            self.lead = snapshot.lead;
        }
        if released != 0 {
            to.any(Column::Seldom, &snapshot.released);
        }
        if latched != 0 {
            to.any(Column::Seldom, &snapshot.latched);
        }
        write_meters(to, &self.meter_periods, &mut self.meters, &snapshot.meters);
        let near = Near { now: self.now, decided: &self.decided };
        write_inputs(to, near, &self.specs, &mut self.miners, &snapshot.miners);
        let near = Near { decided: &[], ..near };
        write_inputs(to, near, &self.breaker_specs, &mut self.breakers, &snapshot.breakers);
        self.write_outcome(to, outcome);
    }

    fn write_outcome(&mut self, to: &mut Columns, outcome: &Outcome) {
        outcome.hashes.iter().for_each(|hash| to.bytes(Column::Hashes, &hash.to_le_bytes()));
        outcome.fleet.iter().for_each(|number| to.bytes(Column::Fleet, &number.to_bits().to_le_bytes()));
        to.any(Column::Decided, &outcome.mode);
        self.write_commands(to, &outcome.commands);
        list(to, &outcome.breakers);
        self.decided.resize(outcome.miners.len(), (MinerState::Pending, None));
        to.count(Column::Decided, outcome.miners.len());
        let changed = differing(&self.decided, &outcome.miners, |one, other| one == other);
        let told = by_miner(&outcome.commands);
        to.count(Column::Decided, changed.len());
        let mut next = 0;
        for at in changed {
            to.count(Column::Decided, at - next);
            next = at + 1;
            if let Some((state, setpoint)) = outcome.miners.get(at) {
                to.any(Column::Decided, state);
                write_target(to, told.get(&at).copied(), *setpoint);
            }
        }
        self.decided.clone_from(&outcome.miners);
    }

    /// Reads the next cycle.
    pub(super) fn read(&mut self, from: &mut Reading) -> Result<Cycle, Damage> {
        let now = from.moment(Column::Head, Column::Head, self.now + self.period)?;
        let went = i64::try_from((now - self.now).as_millis()).unwrap_or(0);
        let off = from.signed(Column::Head)?;
        let wall = self.wall.checked_add(went).and_then(|wall| wall.checked_add(off));
        (self.now, self.wall) = (now, wall.ok_or(Damage::Nonsense)?);
        let changed = from.byte(Column::Head)?;
        if changed > ORDERS | HOLDS | LEAD | RELEASED | LATCHED {
            return Err(Damage::Nonsense);
        }
        if changed & ORDERS != 0 {
            self.orders = from.any(Column::Seldom)?;
        }
        if changed & HOLDS != 0 {
            self.holds = from.any(Column::Seldom)?;
        }
        if changed & LEAD != 0 {
            self.lead = from.any(Column::Seldom)?;
        }
        let released = if changed & RELEASED != 0 { from.any(Column::Seldom)? } else { Vec::new() };
        let latched = if changed & LATCHED != 0 { from.any(Column::Seldom)? } else { Vec::new() };
        read_meters(from, &self.meter_periods, &mut self.meters)?;
        let near = Near { now: self.now, decided: &self.decided };
        read_inputs(from, near, &self.specs, &mut self.miners)?;
        let near = Near { decided: &[], ..near };
        read_inputs(from, near, &self.breaker_specs, &mut self.breakers)?;
        let outcome = self.read_outcome(from)?;
        let snapshot = Snapshot {
            now,
            meters: self.meters.clone(),
            miners: self.miners.clone(),
            orders: self.orders.clone(),
            breakers: self.breakers.clone(),
            holds: self.holds.clone(),
            lead: self.lead,
            released,
            latched,
        };
        Ok(Cycle { wall: self.wall, snapshot, outcome })
    }

    fn write_commands(&mut self, to: &mut Columns, commands: &[Command]) {
        to.count(Column::Decided, commands.len());
        for command in commands {
            to.count(Column::Decided, command.miner.0);
            to.number(Column::Decided, command.sequence.wrapping_sub(self.sequence));
            self.sequence = command.sequence;
            to.any(Column::Decided, &command.cause);
            match command.target {
                Target::Sleep => to.byte(Column::Decided, 0),
                Target::Power(power) => {
                    to.byte(Column::Decided, 1);
                    let before = power_of(self.decided.get(command.miner.0));
                    to.value(Column::Decided, Column::Target, before, power.get());
                }
            }
        }
    }

    fn read_commands(&mut self, from: &mut Reading) -> Result<Vec<Command>, Damage> {
        let count = from.count(Column::Decided, MOST_COMMANDS)?;
        let mut commands = Vec::new();
        for _ in 0..count {
            let miner = MinerId(from.count(Column::Decided, self.specs.len())?);
            self.sequence = self.sequence.wrapping_add(from.number(Column::Decided)?);
            let cause = from.any(Column::Decided)?;
            let target = match from.byte(Column::Decided)? {
                0 => Target::Sleep,
                1 => {
                    let before = power_of(self.decided.get(miner.0));
                    let power = from.value(Column::Decided, Column::Target, before)?;
                    Target::Power(Watts::saturating(power))
                }
                _ => return Err(Damage::Nonsense),
            };
            commands.push(Command { miner, target, sequence: self.sequence, cause });
        }
        Ok(commands)
    }

    fn read_outcome(&mut self, from: &mut Reading) -> Result<Outcome, Damage> {
        let mut hashes = [0; 4];
        for hash in &mut hashes {
            *hash = u16::from_le_bytes(from.array(Column::Hashes)?);
        }
        let mut fleet = [0.0; 6];
        for number in &mut fleet {
            *number = f32::from_le_bytes(from.array(Column::Fleet)?);
        }
        let mode = from.any(Column::Decided)?;
        let commands = self.read_commands(from)?;
        let breakers = read_list(from)?;
        let miners = from.count(Column::Decided, self.specs.len())?;
        self.decided.resize(miners, (MinerState::Pending, None));
        let changed = from.count(Column::Decided, miners)?;
        let told = by_miner(&commands);
        let mut next = 0_usize;
        for _ in 0..changed {
            let at = next.saturating_add(from.count(Column::Decided, miners)?);
            let decided = self.decided.get_mut(at).ok_or(Damage::Nonsense)?;
            let state = from.any(Column::Decided)?;
            *decided = (state, read_target(from, told.get(&at).copied())?);
            next = at + 1;
        }
        Ok(Outcome { hashes, mode, fleet, commands, breakers, miners: self.decided.clone() })
    }
}

/// The power at which a miner was put before, in watts; zero where it was put to sleep or nowhere.
fn power_of(decided: Option<&(MinerState, Option<Target>)>) -> f64 {
    match decided {
        Some((_, Some(Target::Power(power)))) => power.get(),
        _ => 0.0,
    }
}

/// What lies near the inputs of a cycle: its moment, and where each miner was put in the cycle before.
#[derive(Clone, Copy)]
struct Near<'n> {
    now: Moment,
    decided: &'n [(MinerState, Option<Target>)],
}

impl Near<'_> {
    fn put(self, at: usize) -> Option<Target> {
        self.decided.get(at).and_then(|(_, setpoint)| *setpoint)
    }
}

/// What each miner was told in a cycle, at first where it was told more than once.
fn by_miner(commands: &[Command]) -> BTreeMap<usize, Target> {
    commands.iter().rev().map(|command| (command.miner.0, command.target)).collect()
}

fn write_target(to: &mut Columns, known: Option<Target>, target: Option<Target>) {
    if known.is_some() && known == target {
        to.byte(Column::Decided, KNOWN);
    } else {
        to.byte(Column::Decided, WRITTEN);
        to.any(Column::Decided, &target);
    }
}

fn read_target(from: &mut Reading, known: Option<Target>) -> Result<Option<Target>, Damage> {
    match from.byte(Column::Decided)? {
        KNOWN => known.map(Some).ok_or(Damage::Nonsense),
        WRITTEN => from.any(Column::Decided),
        _ => Err(Damage::Nonsense),
    }
}

fn write_delivery(to: &mut Columns, near: Near<'_>, known: Option<Target>, delivery: Option<&Delivery>) {
    match delivery {
        Some(delivery) if known == Some(delivery.target) => {
            to.byte(Column::Told, KNOWN);
            to.number(Column::Told, delivery.sequence);
            to.moment(Column::Told, Column::Told, near.now, delivery.at);
            to.any(Column::Told, &delivery.outcome);
        }
        delivery => {
            to.byte(Column::Told, WRITTEN);
            to.any(Column::Seldom, &delivery);
        }
    }
}

fn read_delivery(
    from: &mut Reading,
    near: Near<'_>,
    known: Option<Target>,
) -> Result<Option<Delivery>, Damage> {
    match from.byte(Column::Told)? {
        KNOWN => Ok(Some(Delivery {
            target: known.ok_or(Damage::Nonsense)?,
            sequence: from.number(Column::Told)?,
            at: from.moment(Column::Told, Column::Told, near.now)?,
            outcome: from.any(Column::Told)?,
        })),
        WRITTEN => from.any(Column::Seldom),
        _ => Err(Damage::Nonsense),
    }
}

fn list<T: Serialize>(to: &mut Columns, list: &[T]) {
    to.count(Column::Decided, list.len());
    list.iter().for_each(|it| to.any(Column::Decided, it));
}

fn read_list<T: serde::de::DeserializeOwned>(from: &mut Reading) -> Result<Vec<T>, Damage> {
    let count = from.count(Column::Decided, MOST_COMMANDS)?;
    (0..count).map(|_| from.any(Column::Decided)).collect()
}

/// The positions at which two lists differ, as far as both go.
fn differing<T>(before: &[T], after: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<usize> {
    let pairs = before.iter().zip(after).enumerate();
    pairs.filter(|(_, (before, after))| !same(before, after)).map(|(at, _)| at).collect()
}

/// A status as it is recorded.
fn coarse(status: &Read<MinerStatus>, spec: Spec) -> Read<MinerStatus> {
    let mut status = status.clone();
    if let Measured::Value(hashrate) = status.value.hashrate {
        let hashrate = of_steps(steps(hashrate.get(), spec.step), spec.step);
        status.value.hashrate = Measured::Value(Hashrate::saturating(hashrate));
    }
    status
}

fn seconds(time: Option<Duration>) -> Option<i64> {
    time.filter(|time| time.subsec_nanos() == 0).and_then(|time| i64::try_from(time.as_secs()).ok())
}

/// By how much a miner must have run longer, in whole seconds.
fn ran(before: Moment, after: Moment) -> i64 {
    let went = (after - before).as_millis().saturating_add(500) / 1_000;
    i64::try_from(went).unwrap_or(0)
}

fn write_inputs(
    to: &mut Columns,
    near: Near<'_>,
    specs: &[Spec],
    before: &mut Vec<MinerInput>,
    after: &[MinerInput],
) {
    let length = after.len().min(specs.len());
    to.count(Column::Head, length);
    before.resize(length, MinerInput::PENDING);
    let all = before.iter().zip(after).zip(specs).enumerate();
    let changed: Vec<(usize, MinerInput)> = all
        .filter_map(|(at, ((before, after), spec))| {
            let status = match (&before.status, &after.status) {
                // Most of a fleet has said nothing new.
                (Some(before), Some(after)) if before.at == after.at => {
                    let new = coarse(after, *spec);
                    (new != *before).then_some(Some(new))
                }
                (None, None) => None,
                (_, after) => Some(after.as_ref().map(|status| coarse(status, *spec))),
            };
            let rest = before.contact != after.contact || before.delivery != after.delivery;
            let status = match status {
                None if !rest => return None,
                None => before.status.clone(),
                Some(new) => new,
            };
            let (contact, delivery) = (after.contact, after.delivery.clone());
            Some((at, MinerInput { contact, status, delivery }))
        })
        .collect();
    let awaited = awaited(near.now, specs, before);
    let mut changed: BTreeMap<usize, MinerInput> = changed.into_iter().collect();
    for at in awaited {
        match changed.remove(&at) {
            None => to.byte(Column::What, 0),
            Some(after) => write_one(to, near, specs, before, at, after),
        }
    }
    to.count(Column::Head, changed.len());
    let mut next = 0;
    for (at, after) in changed {
        to.count(Column::Who, at - next);
        next = at + 1;
        write_one(to, near, specs, before, at, after);
    }
}

fn write_one(
    to: &mut Columns,
    near: Near<'_>,
    specs: &[Spec],
    before: &mut [MinerInput],
    at: usize,
    after: MinerInput,
) {
    if let (Some(before), Some(spec)) = (before.get_mut(at), specs.get(at)) {
        write_input(to, (near, near.put(at)), *spec, before, &after);
        *before = after;
    }
}

/// Which of them are to have been polled again by now. Of these it is told whether they have; of the others, which.
fn awaited(now: Moment, specs: &[Spec], before: &[MinerInput]) -> Vec<usize> {
    let due = |input: &MinerInput, spec: &Spec| {
        input.status.as_ref().is_some_and(|status| status.at + spec.poll <= now)
    };
    let all = before.iter().zip(specs).enumerate();
    all.filter(|(_, (input, spec))| due(input, spec)).map(|(at, _)| at).collect()
}

/// Whether of two readings only the numbers differ.
fn regular(before: &MinerStatus, after: &MinerStatus) -> bool {
    let uptime = match (before.uptime, after.uptime) {
        (None, None) => true,
        (before, after) => seconds(before).is_some() && seconds(after).is_some(),
    };
    let kind = |power: &Measured<Watts>| matches!(power, Measured::Value(_));
    let rate = |rate: &Measured<Hashrate>| matches!(rate, Measured::Value(_));
    uptime
        && (before.power == after.power || kind(&before.power) && kind(&after.power))
        && (before.hashrate == after.hashrate || rate(&before.hashrate) && rate(&after.hashrate))
        && before.activity == after.activity
        && before.range == after.range
        && before.points == after.points
}

fn write_input(
    to: &mut Columns,
    (near, known): (Near<'_>, Option<Target>),
    spec: Spec,
    before: &MinerInput,
    after: &MinerInput,
) {
    let mut what = 0;
    if before.contact != after.contact {
        what |= CONTACT;
        to.any(Column::Seldom, &after.contact);
    }
    if before.delivery != after.delivery {
        what |= DELIVERY;
        write_delivery(to, near, known, after.delivery.as_ref());
    }
    match (&before.status, &after.status) {
        (old, new) if old == new => {}
        (Some(old), Some(new)) if regular(&old.value, &new.value) => {
            what |= READ;
            to.moment(Column::Codes, Column::At, old.at + spec.poll, new.at);
            let (one, other) = (&old.value, &new.value);
            if let (true, Measured::Value(before), Measured::Value(after)) =
                (one.power != other.power, one.power, other.power)
            {
                what |= POWER;
                to.value(Column::Codes, Column::Power, before.get(), after.get());
            }
            if let (true, Measured::Value(before), Measured::Value(after)) =
                (one.hashrate != other.hashrate, one.hashrate, other.hashrate)
            {
                what |= HASHRATE;
                let (before, after) = (steps(before.get(), spec.step), steps(after.get(), spec.step));
                to.signed(Column::Hashrate, after.saturating_sub(before));
            }
            if one.target != other.target {
                what |= TARGET;
                if known.is_some() && known == other.target.value() {
                    to.byte(Column::Told, KNOWN);
                } else {
                    to.byte(Column::Told, WRITTEN);
                    to.any(Column::Seldom, &other.target);
                }
            }
            if let (Some(before), Some(after)) = (seconds(one.uptime), seconds(other.uptime)) {
                what |= UPTIME;
                to.signed(Column::Uptime, after - before - ran(old.at, new.at));
            }
        }
        (_, new) => {
            what |= STATUS;
            to.any(Column::Seldom, new);
        }
    }
    to.byte(Column::What, what);
}

fn read_inputs(
    from: &mut Reading,
    near: Near<'_>,
    specs: &[Spec],
    inputs: &mut Vec<MinerInput>,
) -> Result<(), Damage> {
    let length = from.count(Column::Head, specs.len())?;
    inputs.resize(length, MinerInput::PENDING);
    for at in awaited(near.now, specs, inputs) {
        let (input, spec) = inputs.get_mut(at).zip(specs.get(at)).ok_or(Damage::Nonsense)?;
        read_input(from, (near, near.put(at)), *spec, input)?;
    }
    let changed = from.count(Column::Head, length)?;
    let mut next = 0_usize;
    for _ in 0..changed {
        let at = next.saturating_add(from.count(Column::Who, length)?);
        next = at.saturating_add(1);
        let (input, spec) = inputs.get_mut(at).zip(specs.get(at)).ok_or(Damage::Nonsense)?;
        read_input(from, (near, near.put(at)), *spec, input)?;
    }
    Ok(())
}

fn read_input(
    from: &mut Reading,
    (near, known): (Near<'_>, Option<Target>),
    spec: Spec,
    input: &mut MinerInput,
) -> Result<(), Damage> {
    let what = from.byte(Column::What)?;
    if what & CONTACT != 0 {
        input.contact = from.any(Column::Seldom)?;
    }
    if what & DELIVERY != 0 {
        input.delivery = read_delivery(from, near, known)?;
    }
    if what & STATUS != 0 {
        input.status = from.any(Column::Seldom)?;
    }
    if what & READ == 0 {
        return Ok(());
    }
    let status = input.status.as_mut().ok_or(Damage::Nonsense)?;
    let before = status.at;
    status.at = from.moment(Column::Codes, Column::At, before + spec.poll)?;
    if what & POWER != 0 {
        let old = status.value.power.value().ok_or(Damage::Nonsense)?;
        let power = from.value(Column::Codes, Column::Power, old.get())?;
        status.value.power = Measured::Value(Watts::saturating(power));
    }
    if what & HASHRATE != 0 {
        let old = status.value.hashrate.value().ok_or(Damage::Nonsense)?;
        let number = from.signed(Column::Hashrate)?.saturating_add(steps(old.get(), spec.step));
        status.value.hashrate = Measured::Value(Hashrate::saturating(of_steps(number, spec.step)));
    }
    if what & TARGET != 0 {
        status.value.target = match from.byte(Column::Told)? {
            KNOWN => Measured::Value(known.ok_or(Damage::Nonsense)?),
            WRITTEN => from.any(Column::Seldom)?,
            _ => return Err(Damage::Nonsense),
        };
    }
    if what & UPTIME != 0 {
        let old = seconds(status.value.uptime).ok_or(Damage::Nonsense)?;
        let off = from.signed(Column::Uptime)?;
        let now = old.checked_add(ran(before, status.at)).and_then(|time| time.checked_add(off));
        let now = now.and_then(|now| u64::try_from(now).ok()).ok_or(Damage::Nonsense)?;
        status.value.uptime = Some(Duration::from_secs(now));
    }
    Ok(())
}

fn write_meters(to: &mut Columns, periods: &[Duration], before: &mut Vec<MeterInput>, after: &[MeterInput]) {
    let length = after.len().min(periods.len());
    to.count(Column::Head, length);
    before.resize(length, MeterInput::PENDING);
    for ((before, after), period) in before.iter_mut().zip(after).zip(periods) {
        write_meter(to, *period, before, after);
        *before = *after;
    }
}

/// Whether both tell the same measures.
fn same_measures(before: &Readings, after: &Readings) -> bool {
    before.iter().map(|(measure, _)| measure).eq(after.iter().map(|(measure, _)| measure))
}

fn write_meter(to: &mut Columns, period: Duration, before: &MeterInput, after: &MeterInput) {
    let alike = before.at_most == after.at_most
        && before.power.is_some() == after.power.is_some()
        && same_measures(&before.others, &after.others);
    if !alike {
        to.byte(Column::Meter, METER_ALL);
        to.any(Column::Seldom, after);
        return;
    }
    let flag = |differs: bool, flag: u8| if differs { flag } else { 0 };
    let what = flag(before.status != after.status, METER_STATUS)
        | flag(before.refresh != after.refresh, METER_REFRESH)
        | flag(before.power != after.power, METER_POWER)
        | flag(before.others != after.others, METER_OTHERS);
    to.byte(Column::Meter, what);
    if what & METER_STATUS != 0 {
        to.any(Column::Seldom, &after.status);
    }
    if what & METER_REFRESH != 0 {
        to.any(Column::Seldom, &after.refresh);
    }
    if let (Some(old), Some(new)) = (before.power, after.power)
        && what & METER_POWER != 0
    {
        to.moment(Column::MeterCodes, Column::MeterAt, old.at + period, new.at);
        to.value(Column::MeterCodes, Column::MeterValue, old.value.get(), new.value.get());
    }
    if what & METER_OTHERS == 0 {
        return;
    }
    let near = after.power.map(|power| power.at);
    for ((_, old), (_, new)) in before.others.iter().zip(after.others.iter()) {
        let differs = old.at != new.at || old.value.to_bits() != new.value.to_bits();
        to.byte(Column::Meter, flag(differs, 1));
        if differs {
            to.moment(Column::MeterCodes, Column::MeterAt, near.unwrap_or(old.at + period), new.at);
            to.value(Column::MeterCodes, Column::MeterValue, old.value, new.value);
        }
    }
}

fn read_meters(from: &mut Reading, periods: &[Duration], inputs: &mut Vec<MeterInput>) -> Result<(), Damage> {
    let length = from.count(Column::Head, periods.len())?;
    inputs.resize(length, MeterInput::PENDING);
    for (input, period) in inputs.iter_mut().zip(periods) {
        read_meter(from, *period, input)?;
    }
    Ok(())
}

fn read_meter(from: &mut Reading, period: Duration, input: &mut MeterInput) -> Result<(), Damage> {
    let what = from.byte(Column::Meter)?;
    if what & METER_ALL != 0 {
        *input = from.any(Column::Seldom)?;
        return Ok(());
    }
    if what & METER_STATUS != 0 {
        input.status = from.any(Column::Seldom)?;
    }
    if what & METER_REFRESH != 0 {
        input.refresh = from.any(Column::Seldom)?;
    }
    if what & METER_POWER != 0 {
        let power = input.power.as_mut().ok_or(Damage::Nonsense)?;
        power.at = from.moment(Column::MeterCodes, Column::MeterAt, power.at + period)?;
        let value = from.value(Column::MeterCodes, Column::MeterValue, power.value.get())?;
        power.value = Watts::saturating(value);
    }
    if what & METER_OTHERS != 0 {
        let near = input.power.map(|power| power.at);
        let before = input.others;
        for (measure, old) in before.iter() {
            if from.byte(Column::Meter)? == 0 {
                continue;
            }
            let expected = near.unwrap_or(old.at + period);
            let at = from.moment(Column::MeterCodes, Column::MeterAt, expected)?;
            let value = from.value(Column::MeterCodes, Column::MeterValue, old.value)?;
            input.others.set(measure, Read { value, at });
        }
    }
    Ok(())
}
