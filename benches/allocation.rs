//! How good an allocation is: against a proven upper bound, against the exact optimum, and after an hour of following.
//!
//! `cargo bench --bench allocation`. Nothing here depends on how fast the machine is.

mod support {
    pub mod fleet;
}

use std::time::Duration;

use ballast::config;
use ballast::control::allocate::optimum::{Hulls, Optimum, solve};
use ballast::control::allocate::{Item, Level};
use ballast::control::site::{Actuator, Miner, Site};
use ballast::control::tree::Tree;
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use support::fleet;

/// The exact optimum is found over cells of this many watts; every power in the fleet is a multiple of it.
const CELL: f64 = 1.0;

fn main() {
    println!("gap below the proven bound and below the exact optimum, in percent\n");
    println!("{:>7}{:>9}{:>14}{:>12}{:>12}", "miners", "budget", "container", "bound", "optimum");
    for miners in [20, 100, 1_000] {
        for share in [0.2, 0.5, 0.8] {
            for tight in [false, true] {
                row(miners, share, tight);
            }
        }
    }
    hours();
}

fn row(miners: usize, share: f64, tight: bool) {
    let site = fleet::site(miners);
    let items = asleep(&site);
    let tree = Tree::new(&site);
    let mut hulls = Hulls::default();
    hulls.refresh(&items);
    let nameplate: f64 = site.miners.iter().map(|miner| miner.nameplate.get()).sum();
    let budget = (nameplate * share).floor();
    let mut budgets = vec![f64::INFINITY; site.circuits.len()];
    if let Some(root) = budgets.first_mut() {
        *root = budget;
    }
    // The first container may have half of its part: all of the budget, where there is only one.
    let first: f64 =
        site.miners.iter().filter(|miner| miner.circuit.0 == 2).map(|miner| miner.nameplate.get()).sum();
    if let Some(container) = budgets.get_mut(2).filter(|_| tight) {
        *container = (first * share * 0.5).floor();
    }
    let found = solve(&items, &hulls, &tree, &budgets);
    check(&items, &tree, &budgets, &found);
    let exact = (miners <= 100 && !tight).then(|| exact(&site.miners, budget));
    let exact = exact.map_or("-".to_owned(), |exact| format!("{:.4}", percent(found.worth.sum(), exact)));
    println!(
        "{miners:>7}{:>7.0} %{:>14}{:>12.4}{exact:>12}",
        share * 100.0,
        if tight { "half its part" } else { "free" },
        percent(found.worth.sum(), found.bound.sum()),
    );
}

/// How far a value is below the best one, in percent.
fn percent(value: f64, best: f64) -> f64 {
    100.0 * (1.0 - value / best)
}

/// A result that is over a budget, or better than its bound, would be worth nothing.
fn check(items: &[Item<'_>], tree: &Tree, budgets: &[f64], found: &Optimum) {
    let mut sums = vec![0.0; budgets.len()];
    for (item, level) in items.iter().zip(&found.levels) {
        let circuit = ballast::control::site::CircuitId(item.circuit);
        tree.add(&mut sums, circuit, item.power_at(*level));
    }
    let inside = sums.iter().zip(budgets).all(|(sum, budget)| *sum <= budget + 1e-6);
    assert!(inside && found.worth.sum() <= found.bound.sum() * (1.0 + 1e-12), "{sums:?} over {budgets:?}");
}

/// The fleet with every miner asleep and free to move.
fn asleep(site: &Site) -> Vec<Item<'_>> {
    fn item(miner: &Miner) -> Item<'_> {
        let Miner { sleep, response, cost, .. } = miner;
        Item {
            circuit: miner.circuit.0,
            points: &miner.points,
            class: miner.class,
            sleeps: miner.sleeps,
            contract: 0.0,
            sleep: sleep.get(),
            floor: 0.0,
            base: sleep.get(),
            scale: 1.0,
            actuator: miner.actuator,
            range: (0.0, f64::INFINITY),
            level: Level::Sleep,
            settled: sleep.get(),
            drawn: sleep.get(),
            counted: sleep.get(),
            held: false,
            slack: 0.0,
            movable: true,
            steady: true,
            starts_at_full: false,
            raisable: true,
            wakeable: true,
            resting: false,
            adjust_cost: cost.adjust.as_secs_f64(),
            sleep_cost: cost.sleep.as_secs_f64(),
            wary: 1.0,
            dead_time_down: response.dead_time_down.as_secs_f64(),
            ramp_down: response.ramp_down.get(),
            dead_time_up: (response.start_time.as_secs_f64(), response.dead_time_up.as_secs_f64()),
            ramp_up: response.ramp_up.get(),
            rest: miner.cost.min_interval.as_secs_f64(),
            overshoot: response.start_overshoot,
        }
    }
    site.miners.iter().map(item).collect()
}

/// The most hashrate that the miners can have together within a budget: dynamic programming over whole watts and
/// every power that a miner can be set to.
fn exact(miners: &[Miner], budget: f64) -> f64 {
    let cells = cells(budget);
    let mut best = vec![0.0_f64; cells + 1];
    for miner in miners {
        let mut next = vec![f64::NEG_INFINITY; cells + 1];
        for (watts, hashrate) in options(miner) {
            let Some(to) = next.get_mut(watts..) else { continue };
            for (from, value) in best.iter().zip(to) {
                let sum = from + hashrate;
                *value = if sum > *value { sum } else { *value };
            }
        }
        best = next;
    }
    best.last().copied().unwrap_or(0.0)
}

/// Every power to which a miner can be set, in cells, with its hashrate.
fn options(miner: &Miner) -> Vec<(usize, f64)> {
    let mut powers: Vec<f64> = Vec::new();
    match miner.actuator {
        Actuator::OnOff | Actuator::Fixed => powers.push(miner.maximum().get()),
        Actuator::Steps => powers.extend(miner.points.iter().map(|point| point.power.get())),
        Actuator::Continuous { quantum } => {
            let (low, high) = (miner.minimum().get(), miner.maximum().get());
            let mut power = (low / quantum.get()).ceil() * quantum.get();
            powers.extend([low, high]);
            while power < high {
                powers.push(power);
                power += quantum.get();
            }
        }
    }
    let hashrate = |power| ballast::control::allocate::curve::hashrate(&miner.points, power);
    let awake = powers.into_iter().map(|power| (cells(power), hashrate(power)));
    awake.chain([(cells(miner.sleep.get()), 0.0)]).collect()
}

/// Whole cells of a power.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a power of a fleet, in watts")]
fn cells(watts: f64) -> usize {
    (watts / CELL).round().max(0.0) as usize
}

/// What following does to the allocation: an hour of the demo's site in each of its scenarios.
fn hours() {
    println!(
        "\nan hour of the demo's site, after ten minutes: gap of the setpoints below the bound, in percent\n"
    );
    println!(
        "{:<18}{:>10}{:>14}{:>8}{:>8}{:>8}{:>10}{:>10}",
        "scenario", "commands", "per miner, h", "p50", "p90", "max", "captured", "imported"
    );
    for name in ["cloudy-hour", "night"] {
        let replay = config::demo(config::DEMO_NETWORK).ok().and_then(|config| {
            Scenario::find(name).ok().and_then(|scenario| Replay::new(&config, &scenario).ok())
        });
        let Some(mut replay) = replay else {
            println!("{name:<18} cannot be replayed");
            continue;
        };
        replay.run(Duration::from_secs(600), |_, _| {});
        replay.restart_counting();
        let before = replay.commands();
        let mut gaps: Vec<f64> = Vec::new();
        let mut miners: u32 = 0;
        replay.run(Duration::from_secs(3_600), |decision, _| {
            gaps.push(decision.fleet.optimality_gap * 100.0);
            miners = u32::try_from(decision.miners.len()).unwrap_or(u32::MAX);
        });
        gaps.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            gaps.get((gaps.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0.0)
        };
        let commands = u32::try_from(replay.commands() - before).unwrap_or(u32::MAX);
        let totals = replay.totals();
        let share = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.2} %", part * 100.0));
        println!(
            "{name:<18}{commands:>10}{:>14.1}{:>8.2}{:>8.2}{:>8.2}{:>10}{:>10}",
            f64::from(commands) / f64::from(miners.max(1)),
            at(50),
            at(90),
            at(100),
            share(totals.captured_share()),
            share(totals.imported.ratio(totals.surplus)),
        );
    }
}
