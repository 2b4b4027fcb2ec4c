//! A small plant for closed loops: miners with dead time and ramp, one meter, everything in steps of 100 ms.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::control::decision::Decision;
use crate::control::lead::Lead;
use crate::control::site::{CircuitId, OperatingPoint, Site};
use crate::control::snapshot::{
    Activity, Contact, Delivery, HeldMiner, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus,
    OrderCap, Outcome, Reading, Rejection, Snapshot, Target,
};
use crate::control::{State, step};
use crate::moment::Moment;
use crate::units::{Hashrate, Watts};

/// How a simulated miner treats commands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Obeys,
    /// Says yes and does nothing.
    Ignores,
    /// Says no.
    Refuses,
    /// Obeys, but its answers to commands are lost.
    Mute,
    /// Takes no command and answers none, and says what it draws.
    Hangs,
    /// Does not answer any more and goes on as it was.
    Silent,
}

#[derive(Clone, Debug)]
pub struct SimMiner {
    pub draw: f64,
    pub goal: f64,
    pub from: f64,
    pub since: Moment,
    pub waking: bool,
    pub manner: Manner,
    pub target: Target,
    pub delivery: Option<Delivery>,
    /// How long it takes to answer a command that sets its power, and one that puts it to sleep or wakes it. While it does, it
    /// tells nothing else.
    pub answers: [Duration; 2],
    /// The answer that is on its way.
    answer: Option<Delivery>,
    pub uptime_from: Moment,
    /// It is asked for a reading no more often than this.
    pub read_every: Duration,
    /// It takes commands, and is not heard of otherwise.
    pub unread: bool,
    /// A part of it is dead: it says so, and neither what it draws nor its target. Commands are carried out by the rest of it.
    pub faulty: bool,
    /// Told to sleep, it goes to this draw, runs on, and says no: a server whose hook refuses.
    pub refuses_sleep: Option<f64>,
    /// Its software ends when it goes to sleep.
    pub ends_software: bool,
    /// True settled draw over target.
    pub error: f64,
    /// Told to pause, it goes to its lowest cap at once and is paused only after so long, whatever its notice.
    pub pauses: Option<Duration>,
    /// It cannot go lower than this while it runs, whatever it is told; and draws this asleep.
    pub floor: f64,
    pub asleep: f64,
    /// It draws no more than this, whatever it is told: what its work needs.
    pub demand: f64,
    /// What it says of its draw over what it draws.
    pub says: f64,
    /// Over how many seconds what it says of its draw is averaged.
    pub averages: f64,
    averaged: f64,
    reading: (Moment, f64),
}

/// What a meter says at this moment.
pub type Device = Box<dyn Fn(&Plant) -> MeterInput>;

pub struct Plant {
    pub site: Arc<Site>,
    pub state: State,
    pub miners: Vec<SimMiner>,
    pub now: Moment,
    /// Load other than miners as a function of time; generation negative.
    pub other: Box<dyn Fn(f64) -> f64>,
    /// The meter answers.
    pub meter_up: bool,
    /// After how many seconds the last digit of the meters moves; never without any.
    pub flickers: Option<f64>,
    /// What the meter at the connection point shows of what is true, by the time.
    pub shown: Box<dyn Fn(f64, f64) -> f64>,
    /// The meter at the connection point cannot show less than this, in watts.
    pub end: f64,
    pub meter_lag: Duration,
    /// How often the meter at the connection point has a new value; zero for whenever it is read.
    pub refresh: Duration,
    renewed: Option<Moment>,
    trail: Vec<(Moment, f64)>,
    pub meter: MeterInput,
    feeder: Option<Reading<Watts>>,
    /// Meters after the first two.
    pub more: Vec<Device>,
    /// Caps that somebody outside has ordered.
    pub orders: Vec<OrderCap>,
    /// Miners that somebody works on.
    pub holds: Vec<HeldMiner>,
    /// Circuits whose emergency stop is released in the next cycle.
    pub released: Vec<CircuitId>,
    /// What the daemon may do with the miners.
    pub lead: Lead,
    /// The miners say which target they have.
    pub tells: bool,
    /// Of each circuit with a breaker that obeys, whether it is open; circuits without one are not here.
    pub breakers: BTreeMap<usize, bool>,
    /// The points that every miner says it has.
    pub points: Option<Arc<[OperatingPoint]>>,
    pub commands: usize,
    pub imported: f64,
    pub surplus: f64,
    pub captured: f64,
}

impl Plant {
    /// All miners hashing at this fraction of their maximum.
    pub fn new(site: Site, fraction: f64, other: impl Fn(f64) -> f64 + 'static) -> Self {
        let site = Arc::new(site);
        let now = Moment::after_start(Duration::from_secs(100));
        let miners = site
            .miners
            .iter()
            .map(|miner| {
                let power = miner.maximum().scaled(fraction).max(miner.minimum());
                let draw = if fraction > 0.0 { power.get() } else { miner.sleep.get() };
                let target = if fraction > 0.0 { Target::Power(power) } else { Target::Sleep };
                SimMiner {
                    draw,
                    goal: draw,
                    from: draw,
                    since: Moment::START,
                    waking: false,
                    manner: Manner::Obeys,
                    target,
                    delivery: None,
                    answers: [Duration::ZERO; 2],
                    answer: None,
                    uptime_from: Moment::START,
                    unread: false,
                    faulty: false,
                    refuses_sleep: None,
                    ends_software: false,
                    error: 1.0,
                    floor: 0.0,
                    pauses: None,
                    read_every: Duration::ZERO,
                    asleep: miner.sleep.get(),
                    demand: f64::INFINITY,
                    says: 1.0,
                    averages: 0.0,
                    averaged: draw,
                    reading: (now, draw),
                }
            })
            .collect();
        Self {
            state: State::new(site.clone()),
            site,
            miners,
            now,
            other: Box::new(other),
            meter_up: true,
            flickers: None,
            shown: Box::new(|_, truth| truth),
            end: f64::MIN,
            meter_lag: Duration::ZERO,
            refresh: Duration::ZERO,
            renewed: None,
            trail: Vec::new(),
            meter: MeterInput::PENDING,
            feeder: None,
            more: Vec::new(),
            orders: Vec::new(),
            holds: Vec::new(),
            released: Vec::new(),
            lead: Lead::Alone,
            tells: false,
            breakers: BTreeMap::new(),
            points: None,
            commands: 0,
            imported: 0.0,
            surplus: 0.0,
            captured: 0.0,
        }
    }

    pub fn seconds(&self) -> f64 {
        self.now.since_start().as_secs_f64() - 100.0
    }

    pub fn draw(&self) -> f64 {
        self.miners.iter().map(|miner| miner.draw).sum()
    }

    pub fn import(&self) -> f64 {
        (self.other)(self.seconds()) + self.draw()
    }

    fn physics(&mut self) {
        for (miner, spec) in self.miners.iter_mut().zip(&self.site.miners) {
            let (dead, ramp) = if miner.goal < miner.from {
                let notice = if miner.target == Target::Sleep { spec.notice } else { Duration::ZERO };
                (spec.response.dead_time_down + notice, spec.response.ramp_down.get())
            } else if miner.waking {
                (spec.response.start_time, spec.response.ramp_up.get())
            } else {
                (spec.response.dead_time_up, spec.response.ramp_up.get())
            };
            let moved = ((self.now - miner.since).as_secs_f64() - dead.as_secs_f64()).max(0.0) * ramp;
            miner.draw = if miner.goal < miner.from {
                (miner.from - moved).max(miner.goal)
            } else {
                (miner.from + moved).min(miner.goal)
            };
            if let Some(after) = miner.pauses.filter(|_| miner.target == Target::Sleep) {
                let paused = self.now - miner.since >= after;
                miner.draw = if paused { miner.asleep } else { miner.from.min(spec.minimum().get()) };
            }
            miner.draw = miner.draw.min(miner.demand);
            if miner.waking && miner.draw > spec.minimum().get() * 0.9 {
                miner.waking = false;
            }
            if self.breakers.get(&spec.circuit.0) == Some(&true) {
                miner.draw = 0.0;
                miner.manner = Manner::Silent;
            }
            miner.averaged += (miner.draw - miner.averaged) * (0.1 / miner.averages.max(0.1));
        }
    }

    fn flicker(&self, pace: f64) -> f64 {
        self.flickers.map_or(0.0, |every| 0.001 * ((self.seconds() / every).floor() * pace).sin())
    }

    /// A reading every second, the miners' half a second old.
    fn measure(&mut self) {
        self.trail.push((self.now, self.import()));
        let instant = self.now.earlier(self.meter_lag);
        let past = self.trail.iter().rev().find(|(at, _)| *at <= instant).map_or(0.0, |(_, value)| *value);
        let due = self.renewed.is_none_or(|renewed| self.now - renewed >= self.refresh);
        if self.meter_up && due {
            self.renewed = Some(self.now);
            // The last digit of a meter that lives never stands still.
            let flicker = self.flicker(1.9);
            let shown = (self.shown)(self.seconds(), past + flicker);
            let power = Watts::new(shown.max(self.end)).unwrap();
            self.meter = MeterInput {
                refresh: (!self.refresh.is_zero()).then_some(self.refresh),
                at_most: shown < self.end,
                ..MeterInput::new(MeterStatus::Ok, Some(Reading { value: power, at: self.now }))
            };
        } else if !self.meter_up {
            self.meter.status = MeterStatus::Unreachable;
        }
    }

    pub fn snapshot(&mut self) -> Snapshot {
        let miners = self
            .miners
            .iter()
            .zip(&self.site.miners)
            .map(|(miner, spec)| {
                let pausing = miner.pauses.is_some() && miner.reading.1 > miner.asleep * 1.1;
                let asleep = miner.target == Target::Sleep && !pausing;
                let activity = if miner.faulty {
                    Activity::Fault("GPU 3: lost".into())
                } else if asleep {
                    Activity::Asleep
                } else if miner.waking {
                    Activity::Starting
                } else {
                    Activity::Hashing
                };
                let contact = match miner.manner {
                    Manner::Silent => Contact::Unreachable { since: miner.reading.0 },
                    _ => Contact::Reachable,
                };
                let status = MinerStatus {
                    power: if miner.faulty {
                        Measured::Unavailable
                    } else {
                        Measured::Value(Watts::new(miner.reading.1).unwrap())
                    },
                    hashrate: Measured::Value(Hashrate::terahashes(miner.reading.1 / 20.0)),
                    activity,
                    target: if self.tells && !miner.faulty {
                        Measured::Value(miner.target)
                    } else {
                        Measured::Unsupported
                    },
                    range: None,
                    points: self.points.clone(),
                    uptime: Some(if asleep && miner.ends_software {
                        Duration::ZERO
                    } else {
                        self.now - miner.uptime_from
                    }),
                };
                let _ = spec;
                MinerInput {
                    contact,
                    status: Some(Reading { value: status, at: miner.reading.0 }),
                    delivery: miner.delivery.clone(),
                }
            })
            .collect();
        // The first meter is the connection point's; a second one sees the miners alone.
        if self.meter_up {
            let flicker = self.flicker(2.3);
            self.feeder = Some(Reading { value: Watts::new(self.draw() + flicker).unwrap(), at: self.now });
        }
        let feeder = MeterInput::new(self.meter.status, self.feeder);
        let mut devices = vec![self.meter, feeder];
        devices.extend(self.more.iter().map(|meter| meter(self)));
        let meters = devices.into_iter().take(self.site.meters.len()).collect();
        let breaker = |circuit| {
            let Some(open) = self.breakers.get(&circuit) else { return MinerInput::PENDING };
            let activity = if *open { Activity::Asleep } else { Activity::Hashing };
            let status = MinerStatus { activity, ..MinerStatus::default() };
            MinerInput {
                contact: Contact::Reachable,
                status: Some(Reading { value: status, at: self.now }),
                delivery: None,
            }
        };
        let breakers = (0..self.site.circuits.len()).map(breaker).collect();
        let (orders, holds) = (self.orders.clone(), self.holds.clone());
        let released = std::mem::take(&mut self.released);
        let lead = self.lead;
        Snapshot { orders, breakers, holds, released, lead, ..Snapshot::new(self.now, meters, miners) }
    }

    fn deliver(&mut self, decision: &Decision) {
        self.commands += decision.commands.len();
        for command in &decision.breakers {
            self.breakers.entry(command.circuit.0).and_modify(|open| *open = true);
        }
        for command in &decision.commands {
            let miner = &mut self.miners[command.miner.0];
            let refused = miner.refuses_sleep.filter(|_| command.target == Target::Sleep);
            let outcome = match miner.manner {
                Manner::Obeys if refused.is_some() => Outcome::Rejected(Rejection::Other("HTTP 500".into())),
                Manner::Obeys | Manner::Ignores => Outcome::Accepted,
                Manner::Refuses => Outcome::Rejected(Rejection::WriteDisabled),
                Manner::Silent | Manner::Mute => Outcome::Unknown,
                Manner::Hangs => Outcome::InFlight,
            };
            let switches = miner.target == Target::Sleep || command.target == Target::Sleep;
            let takes = miner.answers[usize::from(switches)];
            let said = Delivery { sequence: command.sequence, target: command.target, at: self.now, outcome };
            miner.answer = (!takes.is_zero()).then(|| Delivery { at: self.now + takes, ..said.clone() });
            let outcome = if takes.is_zero() { said.outcome.clone() } else { Outcome::InFlight };
            miner.delivery = Some(Delivery { outcome, ..said });
            if !matches!(miner.manner, Manner::Obeys | Manner::Mute) {
                continue;
            }
            if let Some(watts) = refused {
                miner.target = Target::Power(Watts::saturating(watts));
                (miner.from, miner.since, miner.goal) = (miner.draw, self.now, watts);
                continue;
            }
            miner.waking |= miner.target == Target::Sleep && command.target != Target::Sleep;
            miner.waking &= command.target != Target::Sleep;
            if miner.pauses.is_some() && (miner.target, command.target) == (Target::Sleep, Target::Sleep) {
                // It is at it.
                continue;
            }
            miner.target = command.target;
            miner.from = miner.draw;
            miner.since = self.now;
            miner.goal = match command.target {
                Target::Sleep => miner.asleep,
                Target::Power(power) => (power.get() * miner.error).max(miner.floor),
            };
        }
    }

    /// A miner reboots: it starts anew, at its maximum, whatever it was set to.
    pub fn reboot(&mut self, index: usize) {
        let top = self.site.miners[index].maximum();
        let miner = &mut self.miners[index];
        miner.draw = 0.0;
        miner.from = 0.0;
        miner.goal = top.get();
        miner.since = self.now;
        miner.waking = true;
        miner.target = Target::Power(top);
        miner.uptime_from = self.now;
    }

    /// One second of physics, then one cycle of control.
    pub fn cycle(&mut self) -> Decision {
        for tenth in 0..10 {
            self.now = self.now + Duration::from_millis(100);
            self.physics();
            let (import, other) = (self.import(), (self.other)(self.seconds()));
            self.imported += import.max(0.0).min(self.draw()) * 0.1;
            self.surplus += (-other).max(0.0) * 0.1;
            self.captured += (-other).max(0.0).min(self.draw()) * 0.1;
            for miner in &mut self.miners {
                if let Some(answer) = miner.answer.take_if(|answer| answer.at <= self.now) {
                    miner.delivery = Some(answer);
                }
            }
            if tenth == 4 {
                let told = |miner: &&mut SimMiner| {
                    let due = self.now - miner.reading.0 >= miner.read_every;
                    miner.manner != Manner::Silent && !miner.unread && miner.answer.is_none() && due
                };
                for miner in self.miners.iter_mut().filter(told) {
                    miner.reading = (self.now, miner.averaged * miner.says);
                }
            }
        }
        self.measure();
        let snapshot = self.snapshot();
        self.decide(&snapshot)
    }

    /// A second daemon decides in the same second, by the same readings: its state, and what it may do.
    pub fn second(&mut self, state: &mut State, lead: Lead, orders: &[OrderCap]) -> Decision {
        let snapshot = Snapshot { lead, orders: orders.to_vec(), ..self.snapshot() };
        std::mem::swap(&mut self.state, state);
        let decision = self.decide(&snapshot);
        std::mem::swap(&mut self.state, state);
        decision
    }

    fn decide(&mut self, snapshot: &Snapshot) -> Decision {
        let decision = step(&mut self.state, snapshot);
        self.deliver(&decision);
        decision
    }

    pub fn run(&mut self, seconds: u32) -> Decision {
        let mut last = self.cycle();
        for _ in 1..seconds {
            last = self.cycle();
        }
        last
    }
}
