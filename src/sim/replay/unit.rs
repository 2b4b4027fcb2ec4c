//! A miner in simulated time: the simulated one, with its faults, and what a session makes of its answers.

use std::time::Duration;

use crate::clock::Moment;
use crate::control::decision::{Cause, Command};
use crate::control::site::Miner;
use crate::control::snapshot::{
    Activity, Contact, Delivery, Measured, MinerInput, MinerStatus, Outcome, Reading, Rejection, Target,
};
use crate::miner::{Connection, DriverKind};
use crate::sim::fleet::parsed;
use crate::sim::miner::{MinerState, Obstacle, Pace, Refusal, Setting, SimMiner, Work};
use crate::sim::scenario::MinerFault;
use crate::sim::script::Turn;
use crate::units::{Hashrate, Watts};

/// From a command on one side to the other, and back.
const WIRE: Duration = Duration::from_millis(30);
/// The same to a BMC: it is asked what stands before it is told, and takes about 0.3 s for each.
const BMC_WIRE: Duration = Duration::from_millis(600);
/// The same to a `zeusd`: eight processors, one after the other, 32 ms each.
const ZEUSD_WIRE: Duration = Duration::from_millis(8 * 32);
/// How often one is looked at that does not answer.
const OBSTACLE: Duration = Duration::from_millis(250);
/// When a miner is read back after a command.
const READ_BACKS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The longest pause between two polls of a miner that does not answer.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// What was asked of a miner.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Poll,
    Command {
        target: Target,
        sequence: u64,
    },
    /// It has done what it was told, and has yet to say so.
    Answer {
        target: Target,
        sequence: u64,
    },
}

/// An exchange that has not ended.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    ask: Ask,
    /// When the request is there.
    arrives: Moment,
    /// When it is given up.
    until: Moment,
}

/// How an exchange stands.
enum Way {
    Waits,
    Answers,
    /// No connection, no answer in time, or none that can be read.
    Fails,
}

/// Whether a target asks for less power than another.
fn is_below(target: Target, other: Target) -> bool {
    match (target, other) {
        (Target::Sleep, Target::Power(_)) => true,
        (Target::Power(one), Target::Power(other)) => one < other,
        (_, Target::Sleep) => false,
    }
}

pub(super) struct Unit {
    sim: SimMiner,
    driver: DriverKind,
    rated: Watts,
    /// The least that it draws while it works.
    lowest: Watts,
    /// From a command on this side to the other.
    wire: Duration,
    timeout: Duration,
    poll_period: Duration,
    silent_after: Duration,
    input: MinerInput,
    /// The input was changed since it was last taken.
    changed: bool,
    exchange: Option<Exchange>,
    /// The latest order that was not sent yet.
    order: Option<(Target, u64)>,
    next_poll: Moment,
    read_backs: Vec<Moment>,
    /// What it says that it was told.
    target: Target,
    uptime: Option<Duration>,
    contact_at: Moment,
    failing_since: Option<Moment>,
    failures: u32,
    starts: u32,
    sleeps: u32,
}

impl Unit {
    pub(super) fn new(
        sim: SimMiner,
        spec: &Miner,
        connection: &Connection,
        first_poll: Moment,
        target: Target,
    ) -> Self {
        Self {
            sim,
            driver: connection.driver,
            rated: connection.rated,
            lowest: spec.minimum(),
            wire: match connection.driver {
                DriverKind::Redfish => BMC_WIRE,
                DriverKind::Zeusd => ZEUSD_WIRE,
                _ => WIRE,
            },
            timeout: connection.timeout,
            poll_period: spec.poll_period,
            silent_after: spec.silent_after,
            input: MinerInput::PENDING,
            changed: true,
            exchange: None,
            order: None,
            next_poll: first_poll,
            read_backs: Vec::new(),
            target,
            uptime: None,
            contact_at: Moment::START,
            failing_since: None,
            failures: 0,
            starts: 0,
            sleeps: 0,
        }
    }

    /// What is known of it.
    pub(super) fn input(&self) -> &MinerInput {
        &self.input
    }

    pub(super) fn power(&self, now: Moment) -> Watts {
        self.sim.power(now)
    }

    pub(super) fn hashrate(&self, now: Moment) -> Hashrate {
        self.sim.hashrate(now)
    }

    /// Draw, hashrate, and up to when the draw stands still by itself.
    pub(super) fn pulse(&self, now: Moment) -> (Watts, Hashrate, Moment) {
        self.sim.pulse(now)
    }

    /// The work that it was asked for and has done.
    pub(super) fn work(&self) -> Option<Work> {
        self.sim.work()
    }

    /// How often it was woken, and how often put to sleep.
    pub(super) fn turns(&self) -> (u32, u32) {
        (self.starts, self.sleeps)
    }

    /// What is known of it, if that has changed since it was last taken.
    pub(super) fn news(&mut self) -> Option<&MinerInput> {
        std::mem::take(&mut self.changed).then_some(&self.input)
    }

    /// Nothing is on its way to it, and nothing waits to be.
    pub(super) fn rests(&self) -> bool {
        let polled = self.exchange.is_none_or(|exchange| exchange.ask == Ask::Poll);
        polled && self.order.is_none() && self.read_backs.is_empty() && self.failing_since.is_none()
    }

    /// It sleeps as it was told.
    pub(super) fn sleeps(&self) -> bool {
        self.target == Target::Sleep && self.rests()
    }

    /// When it has to be looked at next, having been looked at now.
    pub(super) fn due(&self, now: Moment) -> Moment {
        let mut due = match &self.exchange {
            Some(exchange) if now < exchange.arrives => exchange.arrives,
            // Something stands in the way, and may go at any time.
            Some(exchange) => exchange.until.min(now + OBSTACLE),
            None => self.read_backs.first().map_or(self.next_poll, |at| self.next_poll.min(*at)),
        };
        if self.failing_since.is_some() && !matches!(self.input.contact, Contact::Unreachable { .. }) {
            due = due.min(self.contact_at + self.silent_after);
        }
        due.max(now + Duration::from_millis(1))
    }

    /// Leaves out the polls before a moment but the last; nothing else must be due before it.
    pub(super) fn skip(&mut self, to: Moment) {
        if self.exchange.is_none() && self.rests() {
            let periods = to.since(self.next_poll).as_nanos() / self.poll_period.as_nanos().max(1);
            self.next_poll =
                self.next_poll + self.poll_period.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX));
        }
    }

    pub(super) fn restarts(&self) -> u32 {
        self.sim.tally().restarts
    }

    pub(super) fn turn(&self, fault: &MinerFault, turn: Turn, now: Moment) {
        // What cannot be parsed was refused before the start.
        if let Ok(fault) = parsed(fault) {
            match turn {
                Turn::Begins => self.sim.inject(fault, now),
                Turn::Ends => self.sim.clear(fault.kind(), now),
            }
        }
    }

    /// Gives it a command of the control law. It goes out at once unless another one is on its way; a poll waits for
    /// one that hurries, and another one for the poll.
    pub(super) fn command(&mut self, command: &Command, now: Moment) {
        let draw = self.input.status.as_ref().and_then(|status| status.value.power.value());
        let hurries = match (command.cause, command.target) {
            (Cause::Shed | Cause::Escalate, _) | (_, Target::Sleep) => true,
            (Cause::Reapply, Target::Power(power)) => draw.is_none_or(|draw| draw > power),
            (Cause::Raise | Cause::Rebalance | Cause::Maintenance, Target::Power(_)) => false,
        };
        self.order(command.target, command.sequence, hurries, now);
    }

    /// Gives it an order.
    pub(super) fn order(&mut self, target: Target, sequence: u64, hurries: bool, now: Moment) {
        self.order = Some((target, sequence));
        match self.exchange.map(|exchange| exchange.ask) {
            Some(Ask::Poll) if hurries => self.exchange = None,
            // One that asks for less does not wait until the one before is answered.
            Some(Ask::Answer { target: before, sequence: earlier })
                if hurries && is_below(target, before) =>
            {
                self.exchange = None;
                self.deliver(before, earlier, Outcome::Unknown, now);
            }
            _ => {}
        }
        self.send(now);
    }

    /// Sends what waits, if nothing is on its way.
    fn send(&mut self, now: Moment) {
        if self.exchange.is_some() {
            return;
        }
        if let Some((target, sequence)) = self.order.take() {
            self.exchange = Some(Exchange {
                ask: Ask::Command { target, sequence },
                arrives: now + self.wire,
                until: now + self.timeout,
            });
            self.input.delivery = Some(Delivery { sequence, target, at: now, outcome: Outcome::InFlight });
            self.changed = true;
            return;
        }
        let read_back = self.read_backs.first().is_some_and(|at| *at <= now);
        if read_back || now >= self.next_poll {
            self.read_backs.retain(|at| *at > now);
            self.next_poll = now + self.poll_period;
            self.exchange = Some(Exchange { ask: Ask::Poll, arrives: now, until: now + self.timeout });
        }
    }

    pub(super) fn tick(&mut self, now: Moment) {
        self.finish(now);
        self.send(now);
        // A poll that nothing stands in the way of is over at once.
        if self.exchange.is_some_and(|exchange| exchange.ask == Ask::Poll) {
            self.finish(now);
        }
        let known = matches!(self.input.contact, Contact::Unreachable { .. });
        if let Some(since) = self.failing_since.filter(|_| !known)
            && now.since(self.contact_at) >= self.silent_after
        {
            self.input.contact = Contact::Unreachable { since };
            self.changed = true;
        }
    }

    /// How an exchange stands now, and when that was decided.
    fn way(&self, exchange: &Exchange, now: Moment) -> (Way, Moment) {
        if now < exchange.arrives {
            return (Way::Waits, now);
        }
        let silent = || if now >= exchange.until { (Way::Fails, exchange.until) } else { (Way::Waits, now) };
        // A board that is down is not on the network: nobody says no.
        if self.sim.state(now) == MinerState::Rebooting {
            return silent();
        }
        if !self.sim.reach(now).up {
            return (Way::Fails, exchange.arrives);
        }
        match self.sim.obstacle() {
            Obstacle::Nothing => (Way::Answers, exchange.arrives),
            Obstacle::Garbage => (Way::Fails, exchange.arrives),
            Obstacle::Hang => silent(),
            Obstacle::Delay(delay) => {
                let answer = exchange.arrives + delay;
                match () {
                    () if answer >= exchange.until => silent(),
                    () if now >= answer => (Way::Answers, answer),
                    () => (Way::Waits, now),
                }
            }
        }
    }

    /// Ends the exchange that is on its way, if it is over.
    fn finish(&mut self, now: Moment) {
        let Some(exchange) = self.exchange else { return };
        let (way, at) = self.way(&exchange, now);
        match (way, exchange.ask) {
            (Way::Waits, _) => return,
            (Way::Answers, Ask::Poll) => self.polled(at.max(exchange.arrives)),
            (Way::Fails, Ask::Poll) => {
                self.failures = self.failures.saturating_add(1);
                let longest = self.poll_period.saturating_mul(4).min(LONGEST_BACK_OFF).max(self.poll_period);
                let pause = self.poll_period.saturating_mul(1 << self.failures.saturating_sub(1).min(2));
                self.next_poll = at + pause.min(longest);
                self.failing_since.get_or_insert(at);
            }
            (Way::Answers, Ask::Command { target, sequence }) => {
                let answers = self.sim.answers();
                let switches = target == Target::Sleep || self.target == Target::Sleep;
                let takes = if switches { answers.switch } else { answers.set };
                let outcome = match self.obey(target, at) {
                    Ok(()) if !takes.is_zero() && !self.driver.is_server() => {
                        let (arrives, until) = (at + takes, at + takes + self.timeout);
                        self.exchange =
                            Some(Exchange { ask: Ask::Answer { target, sequence }, arrives, until });
                        return;
                    }
                    Ok(()) => {
                        self.answered(at);
                        Outcome::Accepted
                    }
                    Err(Refusal::WriteDisabled) => Outcome::Rejected(Rejection::WriteDisabled),
                    Err(Refusal::Failed) => Outcome::Rejected(Rejection::Other("no reason given".into())),
                };
                self.deliver(target, sequence, outcome, at);
            }
            (Way::Answers, Ask::Answer { target, sequence }) => {
                self.answered(at);
                self.deliver(target, sequence, Outcome::Accepted, at);
            }
            (Way::Fails, Ask::Command { target, sequence } | Ask::Answer { target, sequence }) => {
                self.failing_since.get_or_insert(at);
                self.deliver(target, sequence, Outcome::Unknown, at);
            }
        }
        self.exchange = None;
    }

    fn deliver(&mut self, target: Target, sequence: u64, outcome: Outcome, at: Moment) {
        self.read_backs = READ_BACKS.iter().map(|after| at + *after).collect();
        self.input.delivery = Some(Delivery { sequence, target, at, outcome });
        self.changed = true;
    }

    fn answered(&mut self, at: Moment) {
        self.contact_at = at;
        self.failing_since = None;
        self.failures = 0;
        self.input.contact = Contact::Reachable;
        self.changed = true;
    }

    fn polled(&mut self, at: Moment) {
        self.answered(at);
        let view = self.sim.view(at);
        let activity = match view.state {
            MinerState::Asleep => Activity::Asleep,
            MinerState::Rebooting | MinerState::Starting | MinerState::Tuning => Activity::Starting,
            MinerState::Hashing => Activity::Hashing,
            MinerState::Tripped => Activity::Fault("tripped".into()),
        };
        // It was down in between: what it was told may be forgotten.
        if self.uptime.is_some_and(|before| view.uptime < before) {
            self.target = match (view.state, view.setting) {
                (MinerState::Asleep, _) => Target::Sleep,
                (_, None) => Target::Power(view.limit),
                (_, Some(Setting::Watts(watts))) => Target::Power(watts),
                (_, Some(Setting::Percent(percent))) => Target::Power(view.limit.scaled(percent / 100.0)),
            };
        }
        self.uptime = Some(view.uptime);
        let status = MinerStatus {
            power: Measured::Value(view.power),
            hashrate: Measured::Value(view.hashrate),
            activity,
            target: Measured::Value(self.target),
            range: None,
            points: None,
            uptime: Some(view.mining_time),
        };
        self.input.status = Some(Reading { value: status, at });
    }

    /// Carries a command out, as its driver would.
    fn obey(&mut self, target: Target, at: Moment) -> Result<(), Refusal> {
        match target {
            // As their drivers do: the lowest cap, and no yes.
            Target::Sleep if self.driver.is_server() => {
                self.sim.set_power(self.lowest, at)?;
                if self.sim.obeys() {
                    self.target = Target::Power(self.lowest);
                }
                return Err(Refusal::Failed);
            }
            Target::Sleep => {
                let mines = self.sim.state(at) != MinerState::Asleep;
                self.sim.sleep(at)?;
                self.sleeps += u32::from(mines && self.target != Target::Sleep);
            }
            Target::Power(power) => {
                if self.target == Target::Sleep || self.sim.state(at) == MinerState::Asleep {
                    self.sim.wake(at)?;
                    self.starts += 1;
                }
                let percent = || (power.ratio(self.rated).unwrap_or(1.0) * 100.0).floor().min(100.0);
                match self.driver {
                    // Percent, rounded down, as the drivers do.
                    DriverKind::WhatsminerV2 | DriverKind::WhatsminerV3 => {
                        self.sim.set_percent(percent(), Pace::Quick, at)?;
                    }
                    DriverKind::Vnish => self.sim.set_percent(percent().max(20.0), Pace::Quick, at)?,
                    // The replay's miner takes watts where the firmware has steps: the control law gives only powers
                    // that are steps.
                    _ => self.sim.set_power(power, at)?,
                }
            }
        }
        if self.sim.obeys() {
            self.target = target;
        }
        Ok(())
    }
}
