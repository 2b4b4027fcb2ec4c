//! How good an allocation is, measured against exact optima and the proven bound.

use crate::control::allocate::optimum::{Hulls, solve};
use crate::control::allocate::track::{self, Terms};
use crate::control::allocate::{Item, Level};
use crate::control::site::{Actuator, Miner, Site};
use crate::control::testing::{curve, miner, site};
use crate::control::tree::Tree;
use crate::units::Watts;

pub fn items(miners: &[Miner]) -> Vec<Item<'_>> {
    miners
        .iter()
        .map(|miner| Item {
            circuit: miner.circuit.0,
            points: &miner.points,
            class: miner.class,
            sleeps: miner.sleeps,
            contract: 0.0,
            sleep: miner.sleep.get(),
            floor: 0.0,
            base: miner.sleep.get(),
            scale: 1.0,
            actuator: miner.actuator,
            range: (0.0, f64::INFINITY),
            level: Level::Sleep,
            settled: miner.sleep.get(),
            drawn: miner.sleep.get(),
            counted: miner.sleep.get(),
            slack: 0.0,
            movable: true,
            held: false,
            steady: true,
            raisable: true,
            wakeable: true,
            resting: false,
            adjust_cost: 1.0,
            sleep_cost: 100.0,
            wary: 1.0,
            dead_time_down: 1.0,
            ramp_down: 1_000.0,
            dead_time_up: (20.0, 1.0),
            ramp_up: 1_000.0,
            rest: 0.0,
            overshoot: 0.0,
            starts_at_full: false,
        })
        .collect()
}

fn mixed(count: usize) -> Site {
    let mut site = site(0);
    site.miners = (0..count)
        .map(|index| {
            let mut miner = miner(&format!("m{index}"), 1 + index % 2);
            miner.actuator = Actuator::Steps;
            match index % 3 {
                0 => {
                    miner.points =
                        curve(&[(784, 39.2), (1_299, 65.0), (1_916, 90.8), (2_794, 121.8), (4_195, 163.1)])
                }
                1 => miner.points = curve(&[(1_700, 80.0), (2_700, 120.0), (3_350, 142.0), (4_400, 169.0)]),
                _ => miner.points = curve(&[(3_495, 132.0), (4_400, 155.0), (5_560, 175.0)]),
            }
            miner.nameplate = Watts::whole(6_000);
            miner
        })
        .collect();
    site
}

/// The exact optimum under one budget, by dynamic programming over whole watts.
fn exact(miners: &[Miner], budget: u32) -> f64 {
    let budget = budget as usize;
    let mut best = vec![0.0_f64; budget + 1];
    for miner in miners {
        let mut next = vec![f64::NEG_INFINITY; budget + 1];
        let sleep = (miner.sleep.get(), 0.0);
        let options =
            miner.points.iter().map(|point| (point.power.get(), point.hashrate.get())).chain([sleep]);
        for (watts, hashrate) in options {
            let watts = format!("{watts:.0}").parse::<usize>().unwrap();
            for room in watts..=budget {
                next[room] = next[room].max(best[room - watts] + hashrate);
            }
        }
        best = next;
    }
    best[budget]
}

#[test]
fn small_fleets_come_close_to_the_exact_optimum_and_never_above_the_bound() {
    for count in [3_u32, 6, 9, 12] {
        let site = mixed(count as usize);
        let tree = Tree::new(&site);
        let items = items(&site.miners);
        let mut hulls = Hulls::default();
        hulls.refresh(&items);
        for share in [15, 35, 60, 85] {
            let budget = count * 40 * share;
            let found = solve(&items, &hulls, &tree, &[f64::from(budget), f64::INFINITY, f64::INFINITY]);
            let best = exact(&site.miners, budget);
            assert!(found.bound.sum() >= best - 1.0, "the bound must bound");
            assert!(found.worth.sum() <= best + 1.0, "better than exact: something is counted wrong");
            let gap = if best > 0.0 { 1.0 - found.worth.sum() / best } else { 0.0 };
            assert!(gap < 0.02, "{count} miners, {budget} W: {gap:.4} below the exact optimum");
        }
    }
}

#[test]
fn a_fleet_of_a_hundred_is_within_a_thousandth_of_the_exact_optimum() {
    let site = mixed(100);
    let tree = Tree::new(&site);
    let items = items(&site.miners);
    let mut hulls = Hulls::default();
    hulls.refresh(&items);
    for budget in [94_000_u32, 150_000, 236_000] {
        let found = solve(&items, &hulls, &tree, &[f64::from(budget), f64::INFINITY, f64::INFINITY]);
        let gap = 1.0 - found.worth.sum() / exact(&site.miners, budget);
        assert!(gap < 0.001, "{budget} W: {gap:.5} below the exact optimum");
    }
}

#[test]
fn fleets_are_close_to_the_bound_and_inside_every_budget() {
    // The bound is that of the concave relaxation: with a hundred coarse miners it lies up to 0.3 % above what any
    // allocation can reach, with a thousand a tenth of that.
    for (count, most) in [(100_u32, 0.003), (1_000, 0.001)] {
        let site = mixed(count as usize);
        let tree = Tree::new(&site);
        let items = items(&site.miners);
        let mut hulls = Hulls::default();
        hulls.refresh(&items);
        for share in [20, 50, 80] {
            let budget = f64::from(count * 45 * share);
            for north in [f64::INFINITY, budget * 0.3] {
                let budgets = [budget, north, f64::INFINITY];
                let found = solve(&items, &hulls, &tree, &budgets);
                assert!(found.gap() < most, "{count} miners, {share} %: gap {:.5}", found.gap());
                let mut sums = [0.0; 3];
                for (item, level) in items.iter().zip(&found.levels) {
                    sums[item.circuit] += item.power_at(*level);
                    sums[0] += item.power_at(*level);
                }
                assert!(sums[0] <= budget + 1e-6 && sums[1] <= north + 1e-6, "{sums:?} over {budgets:?}");
            }
        }
    }
}

/// 20 miners that come up by 20 W/s: in a room of 6 kW.
#[test]
fn a_rise_leaves_those_that_may_be_raised_seldom_for_the_next_one() {
    let site = site(10);
    let raised = |rest: f64| {
        let mut items = items(&site.miners);
        for item in &mut items {
            (item.level, item.settled, item.drawn, item.counted) =
                (Level::Power(1_400.0), 1_400.0, 1_400.0, 1_400.0);
            (item.ramp_up, item.rest) = (20.0, rest);
        }
        let terms =
            Terms { horizon: 600.0, calm: 600.0, deadbands: vec![200.0; 3], emergency: false, lot: 0 };
        let tree = Tree::new(&site);
        let mut sums = track::in_flight(&items, &tree, 3);
        let mut changes = Vec::new();
        let budgets = [sums[0] + 6e3, f64::INFINITY, f64::INFINITY];
        track::raise(&mut items, &tree, (&budgets, &budgets), &mut sums, &[], &terms, &mut changes);
        assert!((budgets[0] - sums[0]).abs() < 100.0, "{} W are left", budgets[0] - sums[0]);
        changes.len()
    };
    assert_eq!(raised(2.0), 20, "300 W each are soon there");
    // 1,200 W in a minute.
    assert_eq!(raised(60.0), 5);
}
