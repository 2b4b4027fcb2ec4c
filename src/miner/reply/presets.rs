//! Firmware that is set in steps: the presets or profiles that a device lists, and which of them a target means.

use std::sync::Arc;

use crate::control::site::OperatingPoint;
use crate::units::{Hashrate, Watts};

/// How far a step may lie above the target and still be meant by it: steps are named in rounded watts.
const TOLERANCE: f64 = 0.01;
/// Longest name of a step that is ever sent back to a device.
const NAME_MAX: usize = 64;
/// More steps than any firmware has; the rest is left out.
const STEPS_MAX: usize = 256;

/// One step, by the device's own word.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What the device calls it.
    pub name: String,
    /// What it draws and gives there.
    pub point: OperatingPoint,
}

/// The steps that may be used, by rising power.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps(Vec<Step>);

impl Steps {
    /// Sorts them. Steps without power, and a second one of the same power, are left out.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut list: Vec<Step> = steps
            .into_iter()
            .filter(|step| step.point.power > Watts::ZERO && step.name.len() <= NAME_MAX)
            .take(STEPS_MAX)
            .collect();
        list.sort_by(|a, b| {
            a.point.power.total_cmp(&b.point.power).then(b.point.hashrate.total_cmp(&a.point.hashrate))
        });
        list.dedup_by(|later, earlier| later.point.power == earlier.point.power);
        Self(list)
    }

    /// The highest step that is not above a target, or the lowest where all are.
    pub fn choose(&self, target: Watts) -> Option<&Step> {
        let most = target.scaled(1.0 + TOLERANCE);
        self.0.iter().rev().find(|step| step.point.power <= most).or_else(|| self.0.first())
    }

    /// What a step of this name draws.
    pub fn power(&self, name: &str) -> Option<Watts> {
        self.0.iter().find(|step| step.name == name).map(|step| step.point.power)
    }

    /// As the control law wants them; `None` where there are none.
    pub fn points(&self) -> Option<Arc<[OperatingPoint]>> {
        (!self.0.is_empty()).then(|| self.0.iter().map(|step| step.point).collect())
    }
}

/// A step from plain numbers.
pub fn step(name: &str, watts: f64, terahashes: f64) -> Step {
    let point = OperatingPoint {
        power: Watts::saturating(watts),
        hashrate: Hashrate::terahashes(terahashes.max(0.0)),
    };
    Step { name: name.to_owned(), point }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Steps {
        Steps::new([
            step("c", 3_000.0, 120.0),
            step("a", 1_000.0, 50.0),
            step("b", 2_000.0, 90.0),
            step("nothing", 0.0, 1.0),
            step("twin", 2_000.0, 80.0),
        ])
    }

    #[test]
    fn the_highest_step_not_above_the_target_is_chosen() {
        let name = |watts| steps().choose(Watts::whole(watts)).map(|step| step.name.clone());
        assert_eq!(name(9_000).as_deref(), Some("c"));
        assert_eq!(name(2_999).as_deref(), Some("c"), "within one percent");
        assert_eq!(name(2_969).as_deref(), Some("b"));
        assert_eq!(name(1_500).as_deref(), Some("a"));
        assert_eq!(name(100).as_deref(), Some("a"), "the lowest, where all are above");
        assert_eq!(Steps::default().choose(Watts::whole(100)), None);
    }

    #[test]
    fn of_two_steps_of_one_power_the_better_stays() {
        let points = steps().points().unwrap_or_default();
        assert_eq!(points.len(), 3);
        assert!(points.windows(2).all(|pair| pair[0].power < pair[1].power));
        assert_eq!(points[1].hashrate, Hashrate::terahashes(90.0));
        assert_eq!(steps().power("b"), Some(Watts::whole(2_000)));
        assert_eq!(steps().power("twin"), None);
    }
}
