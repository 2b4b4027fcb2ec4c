//! What a cycle of the control law costs: every cycle of five minutes behind clouds, and the worst ones alone.
//!
//! `cargo bench --bench step -- [MINERS...] [--runs N]`. A cycle is the same in every run, so the least
//! of all runs is the time of that cycle without what else the machine was doing. Times are processor time of the
//! thread, which leaves out what other processes were given meanwhile; one row tells the time on the wall. Nothing but
//! `step` is inside the measured time. With `--runs 0` no clock is read, for a run under a profiler such as callgrind.

mod support {
    pub mod fleet;
    pub mod plant;
    pub mod table;
}

use std::sync::Arc;
use std::time::{Duration, Instant};

use ballast::control::decision::Cause;
use ballast::control::frame::Frame;
use ballast::control::preview::{Change, preview};
use ballast::control::signal::{Active, Basis, Urgency, Why};
use ballast::control::site::{CircuitId, Scope, SourceId};
use ballast::control::snapshot::{OrderCap, Target};
use ballast::control::{Decision, Snapshot, State, step};
use ballast::units::Watts;
use rustix::time::{ClockId, clock_gettime};
use support::plant::{Plant, weather};
use support::{fleet, table};

/// Cycles in a run.
const CYCLES: u32 = 300;
/// An order that holds nothing back.
const NO_ORDER: f64 = 1e9;

fn main() {
    let mut sizes: Vec<usize> = Vec::new();
    let mut runs = 5;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => runs = arguments.next().and_then(|value| value.parse().ok()).unwrap_or(runs),
            other => sizes.extend(other.parse::<usize>()),
        }
    }
    if sizes.is_empty() {
        sizes = vec![100, 1_000, 10_000];
    }
    println!("times in milliseconds\n");
    for miners in sizes {
        if runs == 0 {
            println!("{miners} miners, {CYCLES} cycles, not timed");
            at(miners, CYCLES, weather);
            continue;
        }
        following(miners, runs);
        worst(miners, runs * 4);
        foreseen(miners, runs);
    }
}

/// Processor time of this thread since it began.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// One decision, the processor time that it took, and the time on the wall.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn timed(state: &mut State, snapshot: &Snapshot) -> (Decision, Duration, Duration) {
    let (wall, before) = (Instant::now(), busy());
    let decision = step(state, snapshot);
    (decision, busy().saturating_sub(before), wall.elapsed())
}

/// What the commands of a cycle were for.
fn causes(decision: &Decision) -> (usize, usize, usize) {
    let count = |cause| decision.commands.iter().filter(|command| command.cause == cause).count();
    (count(Cause::Shed), count(Cause::Raise), count(Cause::Rebalance))
}

fn watts(target: Target) -> f64 {
    match target {
        Target::Sleep => 0.0,
        Target::Power(power) => power.get(),
    }
}

fn following(miners: usize, runs: u32) {
    let site = Arc::new(fleet::site(miners));
    let all = fleet::maximum(&site, None);
    let mut every: Vec<Duration> = Vec::new();
    let mut walls: Vec<Duration> = Vec::new();
    let mut least: Vec<Duration> = Vec::new();
    let mut kinds: Vec<(usize, usize, usize)> = Vec::new();
    let mut asked = 0.0;
    for run in 0..runs {
        let mut state = State::new(site.clone());
        let mut plant = Plant::new(site.clone(), 0.55);
        for second in 0..CYCLES {
            let snapshot = plant.advance(weather(second) * all, NO_ORDER);
            let (decision, time, wall) = timed(&mut state, &snapshot);
            every.push(time);
            walls.push(wall);
            match least.get_mut(usize::try_from(second).unwrap_or(0)).filter(|_| run > 0) {
                Some(slot) => *slot = (*slot).min(time),
                None => {
                    least.push(time);
                    kinds.push(causes(&decision));
                    asked += decision.commands.iter().map(|command| watts(command.target)).sum::<f64>();
                }
            }
            plant.obey(&decision);
        }
    }
    let of = |want: &dyn Fn(usize, (usize, usize, usize)) -> bool| -> Vec<Duration> {
        let wanted = least.iter().zip(&kinds).enumerate().filter(|(at, (_, kind))| want(*at, **kind));
        wanted.map(|(_, (time, _))| *time).collect()
    };
    let period = usize::try_from(site.settings.rebalance_period.as_secs()).unwrap_or(60);
    let due = move |at: usize| at.is_multiple_of(period);
    println!("{miners} miners, {CYCLES} cycles of following, {runs} runs");
    table::head();
    table::row("all cycles, on the wall", &walls);
    table::row("all cycles", &every);
    table::row("all cycles, least of the runs", &of(&|_, _| true));
    table::row("  that shed", &of(&|at, (sheds, _, _)| sheds > 0 && !due(at)));
    table::row("  that raise", &of(&|at, (sheds, raises, _)| sheds == 0 && raises > 0 && !due(at)));
    table::row("  that compare with the optimum", &of(&|at, _| due(at)));
    let sum = kinds.iter().fold((0, 0, 0), |sum, kind| (sum.0 + kind.0, sum.1 + kind.1, sum.2 + kind.2));
    println!(
        "commands: {} to shed, {} to raise, {} to rebalance; their targets sum up to {asked:.3} W\n",
        sum.0, sum.1, sum.2
    );
}

/// What an order would do: half of what the fleet draws is taken away, and given back.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn foreseen(miners: usize, runs: u32) {
    let (mut state, mut plant, all) = at(miners, 120, |_| 0.7);
    let snapshot = Arc::new(plant.advance(0.7 * all, NO_ORDER));
    let decision = Arc::new(step(&mut state, &snapshot));
    let frame = Frame { site: state.site().clone(), snapshot, decision };
    let order = OrderCap {
        source: SourceId(0),
        active: Active {
            circuit: CircuitId(0),
            scope: Scope::Miners,
            cap: Watts::saturating(0.35 * all),
            why: Why::Order("cut".into()),
            basis: Basis::Instant,
            urgency: Urgency::Normal,
        },
    };
    let (mut copies, mut previews) = (Vec::new(), Vec::new());
    let mut told = None;
    for _ in 0..runs {
        let begun = Instant::now();
        let copy = state.clone();
        copies.push(begun.elapsed());
        let begun = Instant::now();
        told = Some(preview(copy, &frame, &Change::Give(order.clone())));
        previews.push(begun.elapsed());
    }
    println!("{miners} miners, what half of the power would do, {runs} runs, on the wall");
    table::head();
    table::row("copying the state, between two cycles", &copies);
    table::row("working it out, beside them", &previews);
    let (moves, looked) = told.map_or((0, Duration::ZERO), |told| (told.moves.len(), told.looked));
    println!("{moves} miners would be moved; looked {} s ahead\n", looked.as_secs());
}

/// A state to which the same cycle happens many times.
fn at(miners: usize, seconds: u32, surplus: impl Fn(u32) -> f64) -> (State, Plant, f64) {
    let site = Arc::new(fleet::site(miners));
    let all = fleet::maximum(&site, None);
    let mut state = State::new(site.clone());
    let mut plant = Plant::new(site, 0.8);
    for second in 0..seconds {
        let snapshot = plant.advance(surplus(second) * all, NO_ORDER);
        let decision = step(&mut state, &snapshot);
        plant.obey(&decision);
    }
    (state, plant, all)
}

/// The same cycle from the same state, many times. The states are made before, so that each is cold when its turn
/// comes, as it is in a daemon that slept for a second.
fn again(name: &str, state: &State, snapshot: &Snapshot, times: u32) {
    let mut commands = 0;
    let mut states: Vec<State> = (0..times).map(|_| state.clone()).collect();
    let taken: Vec<Duration> = states
        .iter_mut()
        .map(|state| {
            let (decision, time, _) = timed(state, snapshot);
            commands = decision.commands.len();
            time
        })
        .collect();
    table::row(&format!("{name} ({commands} commands)"), &taken);
}

fn worst(miners: usize, times: u32) {
    println!("{miners} miners, single cycles, each {times} times from the same state");
    table::head();
    let site = Arc::new(fleet::site(miners));
    let all = fleet::maximum(&site, None);
    let first = Plant::new(site.clone(), 0.8).advance(all * 0.5, NO_ORDER);
    again("first cycle, half the surplus", &State::new(site), &first, times);

    let (state, plant, all) = at(miners, 70, |_| 0.9);
    again("steady", &state, &plant.clone().advance(all * 0.9, NO_ORDER), times);
    for (name, surplus) in [
        ("surplus to 85 %", 0.85),
        ("surplus to half", 0.5),
        ("surplus to a tenth", 0.1),
        ("surplus to nothing", 0.0),
    ] {
        again(name, &state, &plant.clone().advance(all * surplus, NO_ORDER), times);
    }
    let container = fleet::maximum(state.site(), Some(2));
    let order = plant.clone().advance(all * 0.9, container * 0.6);
    again("order of 60 % to every container", &state, &order, times);

    // A jump cannot be used in one cycle: the ramp passes it on over a minute. Every cycle of that minute counts.
    let (mut state, mut plant, all) = at(miners, 200, |second| if second < 100 { 0.3 } else { 0.02 });
    let mut cycles: Vec<Duration> = Vec::new();
    for _ in 0..90 {
        let snapshot = plant.advance(all * 1.2, NO_ORDER);
        let alike = (0..times.min(5)).map(|_| timed(&mut state.clone(), &snapshot).1).min();
        cycles.extend(alike);
        let decision = step(&mut state, &snapshot);
        plant.obey(&decision);
    }
    table::row("90 cycles after a jump to full, least of five", &cycles);
    println!();
}
