//! How a power of the whole server becomes set points. Nothing here speaks with a BMC.

use reqwest::header::HeaderValue;
use serde_json::Value;

use super::forms::{Form, Said};
use super::path::Path;
use crate::miner::Urgency;

/// The most that a limit allows is no such number below this part of what is behind it.
const ODD: f64 = 0.02;
/// Where a BMC does not say how low it goes: below half, a server is slowed out of proportion, and it pays to pause its work.
const UNSTATED_FLOOR: f64 = 0.5;
/// How far a limit that reads back may lie above what was asked for, in its own unit: BMCs count in whole ones.
const CLOSE: f64 = 0.5;
/// How far it may lie below, as a part of what was asked for: some BMCs round to their own steps, and that down.
const ROUNDS: f64 = 0.02;

/// One limit that was found, and the latest that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    /// Where it is.
    pub(super) path: Path,
    /// How it is written.
    pub(super) form: Form,
    /// What is behind it at the most where it does not say, in watts: its part of the server.
    pub(super) base: f64,
    /// What its 100 % are in watts, where that is known.
    pub(super) hundred: Option<f64>,
    /// What it said last.
    pub(super) said: Said,
    /// Whether it said so in the order or reading that is under way, and was not written since.
    pub(super) fresh: bool,
    /// In which version.
    pub(super) etag: Option<HeaderValue>,
    /// What it made of the latest set point that it took, in watts: it may round it.
    pub(super) made: Option<(i32, f64)>,
}

impl Limit {
    /// One of which this was read.
    pub(super) const fn new(path: Path, form: Form, hundred: Option<f64>, said: Said) -> Self {
        Self { path, form, base: 0.0, hundred, said, fresh: false, etag: None, made: None }
    }

    /// Takes in what its resource says now. What cannot be read has no value, and is still there.
    pub(super) fn take(&mut self, body: &Value, etag: Option<HeaderValue>) {
        let read = Said::read(self.form, body, self.hundred);
        self.fresh = read.is_some();
        self.said = read.unwrap_or(Said { set: None, power: None, ..self.said });
        self.etag = etag;
        self.doubt();
    }

    /// What a server of kilowatts cannot mean it has not said: some firmware has counted in kilowatts after an update. Nothing is known then,
    /// and nothing is set.
    pub(super) fn doubt(&mut self) {
        if self.said.high.is_some_and(|high| high < self.base * ODD) {
            self.said = Said { set: None, low: None, high: None, power: None, odd: true, ..self.said };
        }
    }

    /// The limit that stands for certain, in watts.
    pub(super) fn stands(&self) -> Option<f64> {
        self.said.set.filter(|_| self.fresh)
    }

    /// The range within which it is set, stated or assumed, in watts. Half of a range that is larger than what is behind it would be
    /// no floor but a raise.
    pub(super) fn bounds(&self) -> (f64, f64) {
        let high = self.said.high.unwrap_or_else(|| self.base.max(self.said.low.unwrap_or(0.0))).max(1.0);
        let floor = high.min(self.base.max(1.0)) * UNSTATED_FLOOR;
        (self.said.low.unwrap_or(floor).min(high), high)
    }

    /// The set point for a power, in its own unit, rounded down but not below the lowest.
    pub(super) fn set_point(&self, watts: f64) -> i32 {
        let (low, high) = self.bounds();
        // Lets what is exactly a unit survive the rounding of binary fractions.
        let units = |watts: f64| watts / self.said.unit + 1e-6;
        let lowest = (low / self.said.unit - 1e-6).ceil();
        let wanted = units(watts.clamp(low, high)).floor().max(lowest).max(1.0);
        format!("{wanted:.0}").parse().unwrap_or(i32::MAX)
    }

    /// A set point in watts.
    pub(super) fn watts(&self, set_point: i32) -> f64 {
        f64::from(set_point) * self.said.unit
    }

    /// Whether this limit is what it makes of a set point.
    fn is_made_of(&self, set: f64, set_point: i32) -> bool {
        let close = |asked: f64| (set - asked).abs() <= CLOSE * self.said.unit;
        close(self.watts(set_point))
            || self.made.is_some_and(|(made_of, made)| made_of == set_point && close(made))
    }

    /// Whether what stands now fulfils a set point that was written: it, or what its steps make of it. A shed is fulfilled by anything
    /// lower, too.
    pub(super) fn fulfils(&self, set_point: i32, urgency: Urgency) -> bool {
        let asked = self.watts(set_point);
        let least = match urgency {
            Urgency::Shed => 0.0,
            Urgency::Normal => asked - (asked * ROUNDS).max(self.said.unit),
        };
        let most = asked + CLOSE * self.said.unit;
        self.stands().is_some_and(|set| (least..=most).contains(&set))
    }

    /// Whether it still stands where it stood.
    pub(super) fn still(&self, before: Option<f64>) -> bool {
        let both = self.stands().zip(before);
        both.is_some_and(|(set, before)| (set - before).abs() <= CLOSE * self.said.unit)
    }

    /// The set point for a share of a power, where one is to be written.
    fn step(&self, share: f64, urgency: Urgency) -> Option<i32> {
        let wanted = self.set_point(share);
        let lowered = |standing: f64| {
            // As it would be written: to the unit, and at least one.
            let units = (standing / self.said.unit + 1e-6).floor().max(1.0);
            wanted.min(format!("{units:.0}").parse().unwrap_or(i32::MAX))
        };
        match (urgency, self.stands()) {
            // What stands is as low already: a shed never writes more, and a write may wear its flash.
            (Urgency::Shed, Some(set)) if self.watts(wanted) >= set - CLOSE * self.said.unit => None,
            (_, Some(set)) if self.is_made_of(set, wanted) => None,
            // Not known what stands: no more than was known last.
            (Urgency::Shed, None) => Some(self.said.set.map_or(wanted, lowered)),
            _ => Some(wanted),
        }
    }
}

/// What is to be written for a power.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Which limits are to have which set points.
    pub(super) writes: Vec<(usize, i32)>,
    /// What the whole server may draw then at the most, in watts.
    pub(super) reached: f64,
    /// By how much that may be more than was asked for, because limits are whole units.
    pub(super) grain: f64,
    /// So many limits cannot be set.
    pub(super) left: usize,
}

/// What to write for a power of the whole server, in watts; `beside` is what is drawn beside the limits. Limits that cannot be set
/// count with the most that may be behind them. On a shed nothing is ever written above what stands.
pub(super) fn plan(limits: &[Limit], power: f64, beside: f64, urgency: Urgency) -> Plan {
    let unusable = limits.iter().filter(|limit| !limit.said.is_usable());
    let lost: f64 = unusable.clone().map(|limit| limit.bounds().1).sum();
    let left = unusable.count();
    let usable: Vec<(usize, &Limit)> =
        limits.iter().enumerate().filter(|(_, limit)| limit.said.is_usable()).collect();
    let ranges: Vec<(f64, f64)> = usable.iter().map(|(_, limit)| limit.bounds()).collect();
    let mut plan = Plan { writes: Vec::new(), reached: beside + lost, grain: 0.0, left };
    for ((place, limit), share) in usable.into_iter().zip(split(&ranges, power - beside - lost)) {
        plan.grain += limit.said.unit;
        match limit.step(share, urgency) {
            Some(set_point) => {
                plan.writes.push((place, set_point));
                plan.reached += limit.watts(set_point);
            }
            None => plan.reached += limit.stands().unwrap_or(share),
        }
    }
    plan
}

/// Shares a power among several ranges, in watts: each goes to the same part of its own.
fn split(ranges: &[(f64, f64)], watts: f64) -> Vec<f64> {
    let low: f64 = ranges.iter().map(|(low, _)| low).sum();
    let span: f64 = ranges.iter().map(|(low, high)| high - low).sum();
    let part = if span > 0.0 { ((watts - low) / span).clamp(0.0, 1.0) } else { 0.0 };
    ranges.iter().map(|(low, high)| low + part * (high - low)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOTHING: [(usize, i32); 0] = [];

    /// A limit of a part in watts that was just read.
    fn limit(set: Option<f64>, low: Option<f64>, high: Option<f64>, base: f64) -> Limit {
        let path = Path::known("/redfish/v1/Chassis/1/EnvironmentMetrics");
        let said = Said { set, low, high, ..Said::default() };
        Limit { base, fresh: true, ..Limit::new(path, Form::Environment, None, said) }
    }

    fn whole(set: f64) -> Limit {
        limit(Some(set), Some(1_000.0), Some(7_000.0), 7_000.0)
    }

    fn writes(limits: &[Limit], power: f64, urgency: Urgency) -> Vec<(usize, i32)> {
        plan(limits, power, 0.0, urgency).writes
    }

    #[test]
    fn a_shed_never_writes_above_what_stands() {
        assert_eq!(writes(&[whole(3_000.0)], 2_400.9, Urgency::Shed), [(0, 2_400)]);
        // An operator's cap that is lower stays, and a raise may lift it.
        assert_eq!(writes(&[whole(2_000.0)], 2_400.0, Urgency::Shed), NOTHING);
        assert_eq!(writes(&[whole(2_000.0)], 2_400.0, Urgency::Normal), [(0, 2_400)]);
        let same = plan(&[whole(2_400.0)], 2_400.0, 0.0, Urgency::Normal);
        assert_eq!((same.writes.len(), same.reached), (0, 2_400.0));
    }

    #[test]
    fn the_floor_that_is_not_stated_is_half_of_what_is_behind_and_no_raise() {
        // The capacity is that of the supplies.
        let old = limit(Some(5_000.0), None, Some(12_000.0), 7_000.0);
        assert_eq!(old.bounds(), (3_500.0, 12_000.0));
        assert_eq!(writes(&[old], 3_500.0, Urgency::Shed), [(0, 3_500)]);
        // One that stands lower than the floor is left there, and what was asked for is not reached.
        let low = limit(Some(3_000.0), None, Some(12_000.0), 7_000.0);
        let plan = plan(&[low], 2_500.0, 0.0, Urgency::Shed);
        assert_eq!((plan.writes.len(), plan.reached), (0, 3_000.0));
        let small = limit(None, None, Some(800.0), 1_000.0);
        assert_eq!(small.bounds(), (400.0, 800.0));
    }

    #[test]
    fn each_of_several_limits_has_its_own_part_of_the_server_behind_it() {
        let gpus: Vec<Limit> = (0..8).map(|_| limit(Some(875.0), None, None, 875.0)).collect();
        let plan = plan(&gpus, 4_000.0, 0.0, Urgency::Shed);
        assert_eq!(plan.writes.len(), 8);
        assert!(plan.writes.iter().all(|(_, set_point)| *set_point == 500), "{plan:?}");
        assert!((plan.reached - 4_000.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_not_known_is_written_blind_and_not_above_what_was_known_last() {
        let blind = |set| Limit { fresh: false, ..limit(set, Some(1_000.0), Some(7_000.0), 7_000.0) };
        assert_eq!(writes(&[blind(Some(2_400.0))], 2_400.0, Urgency::Shed), [(0, 2_400)]);
        assert_eq!(writes(&[blind(Some(2_000.0))], 2_400.0, Urgency::Shed), [(0, 2_000)]);
        assert_eq!(writes(&[blind(None)], 2_400.0, Urgency::Shed), [(0, 2_400)]);
    }

    #[test]
    fn one_that_cannot_be_set_counts_with_its_most_and_the_rest_is_set() {
        let mut gpus = vec![limit(Some(700.0), Some(200.0), Some(700.0), 700.0); 3];
        gpus[1].said.disabled = true;
        let plan = plan(&gpus, 1_500.0, 0.0, Urgency::Shed);
        assert_eq!((plan.writes, plan.left), (vec![(0, 400), (2, 400)], 1));
        assert!((plan.reached - 1_500.0).abs() < 1e-6);
    }

    #[test]
    fn a_bmc_that_rounds_down_is_not_written_to_again() {
        let mut rounding = limit(Some(2_400.0), Some(1_000.0), Some(7_000.0), 7_000.0);
        assert!(rounding.fulfils(2_409, Urgency::Normal) && rounding.fulfils(2_409, Urgency::Shed));
        assert!(!rounding.fulfils(2_399, Urgency::Shed), "it is above");
        assert!(!rounding.fulfils(3_000, Urgency::Normal) && rounding.fulfils(3_000, Urgency::Shed));
        assert_eq!(writes(&[rounding.clone()], 2_409.0, Urgency::Normal), [(0, 2_409)]);
        rounding.made = Some((2_409, 2_400.0));
        assert_eq!(writes(&[rounding.clone()], 2_409.0, Urgency::Normal), NOTHING);
        assert_eq!(writes(&[rounding], 2_420.0, Urgency::Normal), [(0, 2_420)]);
    }

    #[test]
    fn percent_are_rounded_down_and_stay_within_the_range() {
        let body = json!({ "ControlType": "Power", "SetPointUnits": "%", "SetPoint": 80, "AllowableMin": 40,
            "AllowableMax": 100, "ControlMode": "Automatic" });
        let said = Said::read(Form::Control, &body, Some(3_000.0)).unwrap();
        let path = Path::known("/redfish/v1/Chassis/1/Controls/PowerLimit");
        let limit = Limit { base: 3_000.0, ..Limit::new(path, Form::Control, Some(3_000.0), said) };
        assert_eq!([2_399.0, 0.0, 9e9].map(|watts| limit.set_point(watts)), [79, 40, 100]);
        assert_eq!(limit.bounds(), (1_200.0, 3_000.0));
    }

    proptest! {
        #[test]
        fn what_is_shared_is_never_more_than_was_asked_for_nor_more_than_stands(
            ranges in prop::collection::vec((50.0..300.0_f64, 1.0..500.0_f64, 0.0..1.0_f64), 1..9), part in 0.0..1.2_f64
        ) {
            let limits: Vec<Limit> = ranges
                .iter()
                .map(|(low, span, set)| limit(Some((low + set * span).floor()), Some(*low), Some(low + span), 800.0))
                .collect();
            let low: f64 = ranges.iter().map(|(low, ..)| low.ceil()).sum();
            let high: f64 = ranges.iter().map(|(low, span, _)| low + span).sum();
            let asked = low + part * (high - low).max(0.0);
            for urgency in [Urgency::Shed, Urgency::Normal] {
                let plan = plan(&limits, asked, 0.0, urgency);
                prop_assert!(plan.reached <= asked + plan.grain, "{plan:?} for {asked}");
                for (place, set_point) in &plan.writes {
                    let standing = limits[*place].stands().unwrap();
                    prop_assert!(urgency == Urgency::Normal || f64::from(*set_point) <= standing);
                }
            }
        }
    }
}
