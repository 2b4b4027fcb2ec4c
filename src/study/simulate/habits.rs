//! The ways in which people follow a surplus today, on the same plant. Each sees the true power at the point of common
//! coupling and the true draw of the fleet at the moment of its decision: better than any meter.

use std::time::Duration;

use crate::control::site::{Actuator, Miner, MinerId, Site};
use crate::control::snapshot::{Snapshot, Target};
use crate::sim::replay::Pilot;
use crate::sim::truth::Flows;
use crate::units::Watts;

/// One of the ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// The whole fleet on or off.
    OnOff,
    /// `setpoint −= grid`.
    Integrator,
    /// Groups of a tenth, one more every 30 s at the most.
    Groups,
}

impl Habit {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OnOff, Self::Integrator, Self::Groups];

    /// As it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnOff => "on/off",
            Self::Integrator => "integrator",
            Self::Groups => "groups",
        }
    }

    /// What it does, for the reader of a report.
    pub const fn told(self) -> &'static str {
        match self {
            Self::OnOff => {
                "the whole fleet runs at full power once the surplus has been enough for all of it for a minute, and \
                 sleeps once the grid has given more than 2 % of its power for a minute"
            }
            Self::Integrator => {
                "every 5 s setpoint = setpoint - power from the grid, between nothing and full power, shared out among as \
                 many miners as can take it"
            }
            Self::Groups => {
                "ten groups, on or off at full power: every 30 s as many as fit into the surplus, one more at the most"
            }
        }
    }

    /// The one who does it.
    pub fn pilot(self) -> Box<dyn Pilot> {
        match self {
            Self::OnOff => Box::new(OnOff::default()),
            Self::Integrator => Box::new(Integrator::default()),
            Self::Groups => Box::new(Groups::default()),
        }
    }
}

/// What the fleet could use: what flows out, and what it draws itself.
fn seen(flows: &Flows) -> f64 {
    (flows.fleet - flows.pcc()).get()
}

/// The miners that can be commanded.
fn movable(site: &Site) -> impl Iterator<Item = (MinerId, &Miner)> {
    let all = site.miners.iter().enumerate().map(|(at, miner)| (MinerId(at), miner));
    all.filter(|(_, miner)| miner.actuator != Actuator::Fixed)
}

/// What all of them draw at full power.
fn full(site: &Site) -> f64 {
    movable(site).map(|(_, miner)| miner.maximum().get()).sum()
}

/// The highest power that a miner can be set to and that is not above a power; its least where that is above it.
fn fit(miner: &Miner, power: f64) -> Watts {
    match miner.actuator {
        Actuator::Continuous { .. } => Watts::saturating(power).clamp(miner.minimum(), miner.maximum()),
        Actuator::Steps => {
            let below = miner.points.iter().rev().find(|point| point.power.get() <= power);
            below.map_or(miner.minimum(), |point| point.power)
        }
        Actuator::OnOff | Actuator::Fixed => miner.maximum(),
    }
}

/// For so long a reason must have been there before the whole fleet is switched.
const PATIENCE: u32 = 6;

/// The whole fleet on or off, with hysteresis.
#[derive(Debug, Default)]
struct OnOff {
    on: bool,
    /// Decisions in a row that speak for a switch.
    reasons: u32,
    begun: bool,
}

impl Pilot for OnOff {
    fn decide(&mut self, site: &Site, _: &Snapshot, flows: &Flows) -> Vec<(MinerId, Target)> {
        let full = full(site);
        let wants = if self.on { flows.pcc().get() > 0.02 * full } else { full > 0.0 && seen(flows) >= full };
        self.reasons = if wants { self.reasons.saturating_add(1) } else { 0 };
        // Whatever the fleet does when it begins, it is switched off first.
        let first = !std::mem::replace(&mut self.begun, true);
        if self.reasons < PATIENCE && !first {
            return Vec::new();
        }
        self.on = !self.on && !first;
        self.reasons = 0;
        let on = self.on;
        let target = |miner: &Miner| if on { Target::Power(miner.maximum()) } else { Target::Sleep };
        movable(site).map(|(id, miner)| (id, target(miner))).collect()
    }

    fn period(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// `setpoint −= grid`.
#[derive(Debug, Default)]
struct Integrator {
    setpoint: Option<f64>,
    told: Vec<Option<Target>>,
    awake: usize,
}

impl Pilot for Integrator {
    fn decide(&mut self, site: &Site, _: &Snapshot, flows: &Flows) -> Vec<(MinerId, Target)> {
        let full = full(site);
        let before = self.setpoint.unwrap_or(flows.fleet.get());
        let setpoint = (before - flows.pcc().get()).clamp(0.0, full);
        self.setpoint = Some(setpoint);
        self.told.resize(site.miners.len(), None);
        // As many as can take it at full power, and no more than it is enough for at the least.
        let all: Vec<(MinerId, &Miner)> = movable(site).collect();
        let sum = |count: usize, of: &dyn Fn(&Miner) -> Watts| -> f64 {
            all.iter().take(count).map(|(_, miner)| of(miner).get()).sum()
        };
        while self.awake > 0 && sum(self.awake, &Miner::minimum) > setpoint {
            self.awake -= 1;
        }
        while self.awake < all.len()
            && sum(self.awake, &Miner::maximum) < setpoint
            && sum(self.awake + 1, &Miner::minimum) <= setpoint
        {
            self.awake += 1;
        }
        let most = sum(self.awake, &Miner::maximum).max(1.0);
        let mut orders = Vec::new();
        for (position, (id, miner)) in all.iter().enumerate() {
            let share = miner.maximum().get() * setpoint / most;
            let target = if position < self.awake { Target::Power(fit(miner, share)) } else { Target::Sleep };
            let Some(told) = self.told.get_mut(id.0) else { continue };
            let moved = match (*told, target) {
                (Some(Target::Power(before)), Target::Power(now)) => {
                    (now - before).abs() > miner.maximum().scaled(0.01)
                }
                (before, now) => before != Some(now),
            };
            if moved {
                *told = Some(target);
                orders.push((*id, target));
            }
        }
        orders
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// How many groups there are.
const GROUPS: usize = 10;

/// Groups on or off at full power.
#[derive(Debug, Default)]
struct Groups {
    /// How many run; `None` before the first decision.
    on: Option<usize>,
}

impl Pilot for Groups {
    fn decide(&mut self, site: &Site, _: &Snapshot, flows: &Flows) -> Vec<(MinerId, Target)> {
        let all: Vec<(MinerId, &Miner)> = movable(site).collect();
        let size = all.len().div_ceil(GROUPS).max(1);
        let groups: Vec<&[(MinerId, &Miner)]> = all.chunks(size).collect();
        let (mut fits, mut sum) = (0, 0.0);
        for group in &groups {
            sum += group.iter().map(|(_, miner)| miner.maximum().get()).sum::<f64>();
            if sum > seen(flows) {
                break;
            }
            fits += 1;
        }
        let before = self.on;
        let on = before.map_or(0, |before| fits.min(before + 1));
        self.on = Some(on);
        let mut orders = Vec::new();
        for (position, group) in groups.iter().enumerate() {
            let runs = position < on;
            if before.is_some_and(|before| runs == (position < before)) {
                continue;
            }
            let target = |miner: &Miner| if runs { Target::Power(miner.maximum()) } else { Target::Sleep };
            orders.extend(group.iter().map(|(id, miner)| (*id, target(miner))));
        }
        orders
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::config;
    use crate::units::Hashrate;

    fn site() -> std::sync::Arc<Site> {
        config::demo(config::DEMO_NETWORK).unwrap().site
    }

    fn flows(surplus: f64, fleet: f64) -> Flows {
        Flows {
            generation: Watts::saturating(surplus),
            other: Watts::ZERO,
            fleet: Watts::saturating(fleet),
            hashrate: Hashrate::ZERO,
        }
    }

    fn ask(pilot: &mut dyn Pilot, site: &Site, surplus: f64, fleet: f64) -> Vec<(MinerId, Target)> {
        pilot.decide(site, &Snapshot::new(Moment::START, Vec::new(), Vec::new()), &flows(surplus, fleet))
    }

    fn awake(orders: &[(MinerId, Target)]) -> usize {
        orders.iter().filter(|(_, target)| *target != Target::Sleep).count()
    }

    #[test]
    fn the_whole_fleet_goes_on_after_a_minute_of_plenty_and_off_after_a_minute_of_import() {
        let (site, mut pilot) = (site(), Habit::OnOff.pilot());
        let full = full(&site);
        assert_eq!(awake(&ask(&mut *pilot, &site, full, 0.0)), 0, "first it is switched off");
        for _ in 0..5 {
            assert!(ask(&mut *pilot, &site, full * 1.1, 0.0).is_empty());
        }
        assert_eq!(awake(&ask(&mut *pilot, &site, full * 1.1, 0.0)), site.miners.len());
        for _ in 0..5 {
            assert!(ask(&mut *pilot, &site, full * 0.9, full).is_empty());
        }
        assert!(ask(&mut *pilot, &site, full * 0.99, full).is_empty(), "a small import is let pass");
        for _ in 0..5 {
            assert!(ask(&mut *pilot, &site, full * 0.9, full).is_empty());
        }
        let off = ask(&mut *pilot, &site, full * 0.9, full);
        assert_eq!((off.len(), awake(&off)), (site.miners.len(), 0));
    }

    #[test]
    fn the_integrator_takes_the_grid_off_its_setpoint() {
        let (site, mut pilot) = (site(), Integrator::default());
        let full = full(&site);
        ask(&mut pilot, &site, full * 0.5, 0.0);
        assert!((pilot.setpoint.unwrap() - full * 0.5).abs() < 1.0);
        // Nothing has come of it yet: it winds up.
        ask(&mut pilot, &site, full * 0.5, 0.0);
        assert!((pilot.setpoint.unwrap() - full).abs() < 1.0);
        let orders = ask(&mut pilot, &site, 0.0, full * 0.8);
        assert!((pilot.setpoint.unwrap() - full * 0.2).abs() < 1.0);
        assert!(orders.iter().any(|(_, target)| *target == Target::Sleep));
    }

    #[test]
    fn groups_come_one_by_one_and_go_all_at_once() {
        let (site, mut pilot) = (site(), Habit::Groups.pilot());
        let full = full(&site);
        ask(&mut *pilot, &site, full, 0.0);
        for _ in 0..4 {
            let orders = ask(&mut *pilot, &site, full, 0.0);
            assert_eq!((orders.len(), awake(&orders)), (12, 12));
        }
        let orders = ask(&mut *pilot, &site, full * 0.01, full * 0.4);
        assert_eq!((orders.len(), awake(&orders)), (48, 0));
    }
}
