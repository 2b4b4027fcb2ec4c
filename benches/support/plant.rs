//! A light plant: miners with dead time and ramp, polled every other second, two meters and an order.
//!
//! It exists to put the control law into states that a site would put it in; it is no measure of how well the law
//! follows (the simulator is).

use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::control::Decision;
use ballast::control::site::{Miner, Site};
use ballast::control::snapshot::{
    Activity, Contact, Delivery, Measured, MeterInput, MeterStatus, MinerInput, MinerStatus, Outcome,
    Reading, Snapshot, Target,
};
use ballast::units::{Hashrate, Watts};

/// One in this many miners has stopped answering.
const SILENT: usize = 211;
/// One in this many miners says yes and does nothing.
const DEAF: usize = 397;

#[derive(Clone)]
struct Unit {
    draw: f64,
    from: f64,
    goal: f64,
    since: Moment,
    waking: bool,
    target: Target,
}

/// The plant around a site.
#[derive(Clone)]
pub struct Plant {
    site: Arc<Site>,
    units: Vec<Unit>,
    inputs: Vec<MinerInput>,
    now: Moment,
}

impl Plant {
    /// All miners hash at this fraction of their maximum.
    pub fn new(site: Arc<Site>, fraction: f64) -> Self {
        let now = Moment::after_start(Duration::from_secs(100));
        let unit = |miner: &Miner| {
            let power = miner.maximum().scaled(fraction).max(miner.minimum());
            let draw = power.get();
            Unit {
                draw,
                from: draw,
                goal: draw,
                since: Moment::START,
                waking: false,
                target: Target::Power(power),
            }
        };
        let units: Vec<Unit> = site.miners.iter().map(unit).collect();
        let inputs = units
            .iter()
            .enumerate()
            .map(|(index, unit)| {
                let silent = index % SILENT == SILENT - 1;
                MinerInput {
                    contact: if silent { Contact::Unreachable { since: now } } else { Contact::Reachable },
                    status: (!silent).then(|| Reading { value: status(unit, now), at: now }),
                    delivery: None,
                }
            })
            .collect();
        Self { site, units, inputs, now }
    }

    /// What the fleet draws, in watts.
    pub fn draw(&self) -> f64 {
        self.units.iter().map(|unit| unit.draw).sum()
    }

    /// One second passes; generation beyond other load is this many watts, the order per container that many.
    pub fn advance(&mut self, surplus: f64, order: f64) -> Snapshot {
        self.now = self.now + Duration::from_secs(1);
        let now = self.now;
        for (unit, miner) in self.units.iter_mut().zip(&self.site.miners) {
            unit.go(miner, now);
        }
        let odd = now.since_start().as_secs() % 2;
        for ((unit, input), index) in self.units.iter().zip(&mut self.inputs).zip(0_u64..) {
            if index % 2 == odd && input.status.is_some() {
                input.status = Some(Reading { value: status(unit, now), at: now });
            }
        }
        let draw = self.draw();
        let meter = |watts: f64| {
            MeterInput::new(MeterStatus::Ok, Some(Reading { value: Watts::saturating(watts), at: now }))
        };
        Snapshot::new(now, vec![meter(draw - surplus), meter(draw), meter(order)], self.inputs.clone())
    }

    /// Carries the commands of a decision out.
    pub fn obey(&mut self, decision: &Decision) {
        for command in &decision.commands {
            let index = command.miner.0;
            let (Some(unit), Some(input), Some(miner)) =
                (self.units.get_mut(index), self.inputs.get_mut(index), self.site.miners.get(index))
            else {
                continue;
            };
            let silent = index % SILENT == SILENT - 1;
            input.delivery = Some(Delivery {
                sequence: command.sequence,
                target: command.target,
                at: self.now,
                outcome: if silent { Outcome::Unknown } else { Outcome::Accepted },
            });
            if silent || index % DEAF == DEAF - 1 {
                continue;
            }
            unit.waking = command.target != Target::Sleep && (unit.waking || unit.target == Target::Sleep);
            unit.target = command.target;
            unit.from = unit.draw;
            unit.since = self.now;
            unit.goal = match command.target {
                Target::Sleep => miner.sleep.get(),
                Target::Power(power) => power.get(),
            };
        }
    }
}

impl Unit {
    fn go(&mut self, miner: &Miner, now: Moment) {
        let response = &miner.response;
        let (dead, ramp) = if self.goal < self.from {
            (response.dead_time_down, response.ramp_down)
        } else if self.waking {
            (response.start_time, response.ramp_up)
        } else {
            (response.dead_time_up, response.ramp_up)
        };
        let moved = ramp.get() * (now - self.since).saturating_sub(dead).as_secs_f64();
        self.draw = if self.goal < self.from {
            (self.from - moved).max(self.goal)
        } else {
            (self.from + moved).min(self.goal)
        };
        self.waking = self.waking && self.draw < miner.minimum().get() * 0.9;
    }
}

fn status(unit: &Unit, now: Moment) -> MinerStatus {
    let activity = match unit.target {
        Target::Sleep => Activity::Asleep,
        Target::Power(_) if unit.waking => Activity::Starting,
        Target::Power(_) => Activity::Hashing,
    };
    MinerStatus {
        power: Measured::Value(Watts::saturating(unit.draw)),
        hashrate: Measured::Value(Hashrate::terahashes(unit.draw / 25.0)),
        activity,
        target: Measured::Value(unit.target),
        range: None,
        uptime: Some(now.since_start()),
        points: None,
    }
}

/// The surplus of a second as a fraction of what the fleet can take: clouds of three lengths, and steps.
pub fn weather(second: u32) -> f64 {
    let time = f64::from(second);
    let wave = |period: f64| (time * std::f64::consts::TAU / period).sin();
    let step = if (second / 45).is_multiple_of(3) { -0.12 } else { 0.04 };
    (0.55 + 0.25 * wave(140.0) + 0.08 * wave(37.0) + 0.03 * wave(7.0) + step).clamp(0.02, 1.0)
}
