//! Meters that are put together from others, each rule by itself.

use std::time::Duration;

use crate::control::combine::{Combiner, Seen};
use crate::control::measure::Measure;
use crate::control::site::{
    Cap, CircuitId, Combination, Limit, LimitClass, Meter, MeterId, Part, Redundant, Scope, Site, Term,
};
use crate::control::snapshot::{MeterInput, MeterStatus, Reading, Snapshot};
use crate::control::testing::{meter, site};
use crate::moment::Moment;
use crate::units::Watts;

pub fn part(meter: usize) -> Part {
    Part { meter: MeterId(meter), measure: Measure::Power }
}

pub fn sum(name: &str, terms: &[(usize, bool)]) -> Meter {
    let terms = terms.iter().map(|&(meter, negative)| Term { part: part(meter), negative });
    Meter { combined: Some(Combination::Sum(terms.collect())), ..meter(name) }
}

pub fn redundant(name: &str, parts: &[usize]) -> Meter {
    let redundant = Redundant {
        parts: parts.iter().map(|&meter| part(meter)).collect(),
        disagreement: Watts::whole(5_000),
        disagreement_for: Duration::from_secs(10),
        return_after: Duration::from_secs(60),
    };
    Meter { combined: Some(Combination::Redundant(redundant)), ..meter(name) }
}

/// Devices `a` and `b`, and whatever is put together from them.
fn with(combined: impl IntoIterator<Item = Meter>) -> Site {
    let mut site = site(1);
    site.meters = vec![meter("a"), meter("b")];
    site.meters.extend(combined);
    site
}

fn at(seconds: f64) -> Moment {
    Moment::after_start(Duration::from_secs_f64(100.0 + seconds))
}

fn ok(watts: f64, seconds: f64) -> MeterInput {
    MeterInput::new(MeterStatus::Ok, Some(Reading { value: Watts::saturating(watts), at: at(seconds) }))
}

struct Desk {
    site: Site,
    combiner: Combiner,
}

impl Desk {
    fn new(site: Site) -> Self {
        Self { combiner: Combiner::new(&site), site }
    }

    /// What all meters say at a moment, given what the devices say.
    fn look(&mut self, seconds: f64, devices: &[MeterInput]) -> Vec<Seen> {
        let snapshot = Snapshot::new(at(seconds), devices.to_vec(), Vec::new());
        self.combiner.look(&self.site, &snapshot)
    }
}

fn power(seen: &Seen) -> (f64, f64) {
    let reading = seen.input.power.expect("a value");
    (reading.value.get(), reading.at.since_start().as_secs_f64() - 100.0)
}

fn near(found: (f64, f64), expected: (f64, f64)) -> bool {
    (found.0 - expected.0).abs() < 1e-6 && (found.1 - expected.1).abs() < 1e-6
}

#[test]
fn a_sum_is_taken_at_the_newest_instant_that_all_its_parts_know() {
    let mut desk = Desk::new(with([sum("net", &[(0, false), (1, true)])]));
    desk.look(0.0, &[ok(1_000.0, 0.0), ok(400.0, 0.0)]);
    // `a` rises by 100 W each second and was read 0.4 s after `b`.
    desk.look(1.0, &[ok(1_100.0, 1.0), ok(400.0, 0.6)]);
    let seen = desk.look(1.6, &[ok(1_100.0, 1.0), ok(500.0, 1.6)]);
    // At 1.0 s, `b` lies four tenths of the way from 400 W to 500 W.
    assert!(near(power(&seen[2]), (1_100.0 - 440.0, 1.0)), "{:?}", seen[2]);
    assert_eq!((seen[2].lost, seen[2].input.status), (0.0, MeterStatus::Ok));
}

#[test]
fn what_is_out_of_date_is_never_added_to_what_is_new() {
    let mut desk = Desk::new(with([sum("net", &[(0, false), (1, false)])]));
    desk.look(0.0, &[ok(1_000.0, 0.0), ok(400.0, 0.0)]);
    for second in 1..=4 {
        let now = f64::from(second);
        let seen = desk.look(now, &[ok(9_000.0, now), ok(400.0, 0.0)]);
        assert!(near(power(&seen[2]), (1_400.0, 0.0)), "as old as its oldest part: {:?}", seen[2]);
        assert!(seen[2].fresh());
    }
    let silent = MeterInput { status: MeterStatus::Unreachable, ..ok(400.0, 0.0) };
    let seen = desk.look(9.0, &[ok(9_000.0, 9.0), silent]);
    assert_eq!(seen[2].input.status, MeterStatus::Unreachable, "the word is that of the worst part");
    assert!((seen[2].lost - 0.5).abs() < 1e-9, "lost as far as its worst part: {}", seen[2].lost);
    assert!(near(power(&seen[2]), (1_400.0, 0.0)));
}

#[test]
fn a_part_that_is_known_to_one_side_counts_on_that_side_only() {
    let mut desk =
        Desk::new(with([sum("net", &[(0, false), (1, true)]), sum("all", &[(0, false), (1, false)])]));
    let end = |seconds| MeterInput { at_most: true, ..ok(-32_768.0, seconds) };
    // A battery gives more than its meter can show: without it as much more flows in, and nobody knows how much.
    let seen = desk.look(0.0, &[ok(1_000.0, 0.0), end(0.0)]);
    assert!(power(&seen[2]).0 > 1e9, "{:?}", seen[2]);
    assert!(near(power(&seen[3]), (-31_768.0, 0.0)), "{:?}", seen[3]);
    assert!(seen[3].one_sided() && seen[3].fresh());
    let seen = desk.look(1.0, &[ok(1_000.0, 1.0), ok(-30_000.0, 1.0)]);
    assert!(near(power(&seen[2]), (31_000.0, 1.0)) && !seen[3].one_sided(), "{:?}", seen[2]);
}

#[test]
fn a_sum_without_one_of_its_parts_has_no_value() {
    let mut desk = Desk::new(with([sum("net", &[(0, false), (1, false)])]));
    let seen = desk.look(0.0, &[ok(1_000.0, 0.0), MeterInput::PENDING]);
    assert_eq!((seen[2].input.power, seen[2].input.status), (None, MeterStatus::Pending));
    assert!(seen[2].lost >= 1.0);
    // The second part comes half a minute after the first: the first sum is that of an instant that both know.
    let seen = desk.look(1.0, &[ok(1_000.0, 0.0), ok(1_000.0, 30.0)]);
    assert!(seen[2].input.power.is_none() && seen[2].lost >= 1.0, "{:?}", seen[2]);
    // Nor is a snapshot that is shorter than the site any trouble.
    assert_eq!(desk.look(1.0, &[]).len(), 3);
}

#[test]
fn three_phases_of_one_meter_add_up() {
    let phases = [Measure::PowerL1, Measure::PowerL2, Measure::PowerL3];
    let terms = phases.map(|measure| Term { part: Part { meter: MeterId(0), measure }, negative: false });
    let total = Meter { combined: Some(Combination::Sum(terms.to_vec())), ..meter("total") };
    let mut desk = Desk::new(with([total]));
    let mut input = ok(0.0, 0.0);
    for (measure, value) in phases.into_iter().zip([100.0, -30.0, 5.0]) {
        input.others.set(measure, Reading { value, at: at(0.0) });
    }
    let seen = desk.look(0.5, &[input, ok(0.0, 0.0)]);
    assert!(near(power(&seen[2]), (75.0, 0.0)));
    assert!(desk.look(9.0, &[input, ok(0.0, 0.0)])[2].lost > 0.0, "the phases have stamps of their own");
}

#[test]
fn combined_meters_may_be_parts_of_others_in_any_order() {
    let mut desk =
        Desk::new(with([sum("all", &[(3, false), (0, false)]), sum("inner", &[(0, false), (1, true)])]));
    let seen = desk.look(0.0, &[ok(1_000.0, 0.0), ok(300.0, 0.0)]);
    assert!(near(power(&seen[3]), (700.0, 0.0)));
    assert!(near(power(&seen[2]), (1_700.0, 0.0)));
}

#[test]
fn a_meter_that_is_a_part_of_itself_is_never_known_and_holds_nothing_up() {
    let mut desk = Desk::new(with([sum("x", &[(3, false)]), sum("y", &[(2, false)])]));
    let seen = desk.look(0.0, &[ok(1.0, 0.0), ok(1.0, 0.0)]);
    assert_eq!((seen[2].input.power, seen[3].input.power), (None, None));
}

#[test]
fn the_fallback_is_used_while_the_preferred_meter_fails_and_for_a_while_after() {
    let mut desk = Desk::new(with([redundant("pcc", &[0, 1])]));
    let both = |now: f64| [ok(1_000.0, now), ok(1_200.0, now)];
    assert_eq!(desk.look(0.0, &both(0.0))[2].in_use, Some(0));
    for status in [MeterStatus::Frozen, MeterStatus::Implausible, MeterStatus::Unavailable] {
        let mut desk = Desk::new(with([redundant("pcc", &[0, 1])]));
        desk.look(0.0, &both(0.0));
        let seen = desk.look(1.0, &[MeterInput { status, ..ok(1_000.0, 0.0) }, ok(1_200.0, 1.0)]);
        assert_eq!(seen[2].in_use, Some(1), "{status:?} speaks against the meter at once");
        assert!(near(power(&seen[2]), (1_200.0, 1.0)));
    }
    // A lost read does not; silence does.
    let silent = MeterInput { status: MeterStatus::Unreachable, ..ok(1_000.0, 0.0) };
    assert_eq!(desk.look(1.0, &[silent, ok(1_200.0, 1.0)])[2].in_use, Some(0));
    assert_eq!(desk.look(4.0, &[silent, ok(1_200.0, 4.0)])[2].in_use, Some(1));
    let mut switches = 0;
    for second in 5..125 {
        let now = f64::from(second);
        // Back for ten seconds and gone for five, again and again; from 80 s on it stays.
        let there = second % 15 < 10 || second >= 80;
        let first = if there { ok(1_000.0, now) } else { silent };
        let in_use = desk.look(now, &[first, ok(1_200.0, now)])[2].in_use;
        switches += usize::from(in_use == Some(0));
    }
    assert!(switches == 0, "flaps: {switches}");
    let seen = desk.look(150.0, &both(150.0));
    assert_eq!(seen[2].in_use, Some(0), "good for a minute");
}

#[test]
fn while_parts_disagree_for_long_the_worse_value_counts() {
    let mut site = with([redundant("pcc", &[0, 1]), redundant("free", &[0, 1]), sum("back", &[(2, true)])]);
    site.limits.push(Limit {
        name: "plc".into(),
        circuit: CircuitId(0),
        scope: Scope::Miners,
        class: LimitClass::Surplus,
        cap: Cap::Reading { meter: MeterId(3), fail_safe: Watts::ZERO },
        condition: None,
    });
    let mut desk = Desk::new(site);
    let mut seen = Vec::new();
    for second in 0..=20 {
        let now = f64::from(second);
        // They differ by 6 kW from the third second on.
        let other = if second < 3 { 1_000.0 } else { 7_000.0 };
        seen = desk.look(now, &[ok(1_000.0, now), ok(other, now)]);
        assert_eq!(seen[2].disagreement, Some(second >= 13), "{second} s");
    }
    assert!(near(power(&seen[2]), (7_000.0, 20.0)), "flowing in, more is worse: {:?}", seen[2]);
    assert!(near(power(&seen[3]), (1_000.0, 20.0)), "of a cap, less is worse: {:?}", seen[3]);
    assert!(near(power(&seen[4]), (-1_000.0, 20.0)), "what is turned round is worse at its other end");
    // Near again: it takes as long to be believed.
    for second in 21..=40 {
        let now = f64::from(second);
        seen = desk.look(now, &[ok(1_000.0, now), ok(2_000.0, now)]);
        assert_eq!(seen[2].disagreement, Some(second < 31), "{second} s");
    }
    assert!(near(power(&seen[2]), (1_000.0, 40.0)), "the preferred one again");
}

#[test]
fn a_part_that_fails_cannot_disagree() {
    let mut desk = Desk::new(with([redundant("pcc", &[0, 1])]));
    for second in 0..30 {
        let now = f64::from(second);
        let frozen = MeterInput { status: MeterStatus::Frozen, ..ok(90_000.0, 0.0) };
        let seen = desk.look(now, &[ok(1_000.0, now), frozen]);
        assert_eq!((seen[2].disagreement, seen[2].in_use), (Some(false), Some(0)));
    }
}

#[test]
fn what_was_known_of_a_combined_meter_outlives_a_reload() {
    let site = with([redundant("pcc", &[0, 1])]);
    let mut desk = Desk::new(site.clone());
    let frozen = MeterInput { status: MeterStatus::Frozen, ..ok(1_000.0, 0.0) };
    desk.look(0.0, &[frozen, ok(1_200.0, 0.0)]);
    let mut after = Desk::new(site.clone());
    after.combiner.inherit(&site, &desk.combiner, &site);
    let seen = after.look(1.0, &[ok(1_000.0, 1.0), ok(1_200.0, 1.0)]);
    assert_eq!(seen[2].in_use, Some(1), "the reload is no reason to trust it again");
}
