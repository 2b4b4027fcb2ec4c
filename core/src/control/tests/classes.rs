//! Members that give power up one class after the other, and such as do not sleep.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::plant::{Manner, Plant};
use super::quality::items;
use crate::control::allocate::Level;
use crate::control::allocate::optimum::{Hulls, solve};
use crate::control::decision::{Decision, MinerState};
use crate::control::headroom;
use crate::control::signal::{Active, Basis, Urgency, Why};
use crate::control::site::{
    CircuitId, LimitClass, LoadClass, MeterId, Miner, MinerId, OrderSource, Scope, Site, SourceId,
};
use crate::control::snapshot::{HeldMiner, Hold, MeterInput, MeterStatus, OrderCap, Reading, Target};
use crate::control::testing::{curve, limit, meter, miner, site};
use crate::control::tree::Tree;
use crate::units::{Watts, WattsPerSecond};

/// Four servers of 3 to 6 kW stand behind the miners of a site.
const SERVERS: usize = 4;
pub(super) const FULL: f64 = 24e3;

fn server(name: usize, class: LoadClass) -> Miner {
    let mut server = miner(&format!("s{name}"), 1);
    server.class = class;
    server.sleeps = false;
    server.points = curve(&[(3_000, 80.0), (4_000, 95.0), (6_000, 100.0)]);
    server.nameplate = Watts::whole(6_500);
    server.response.caps = true;
    server.response.dead_time_down = Duration::from_millis(200);
    server.response.dead_time_up = Duration::from_millis(200);
    server.response.ramp_down = WattsPerSecond::whole(20_000);
    server.response.ramp_up = WattsPerSecond::whole(20_000);
    server
}

/// Miners in two containers, and the servers in the first of them.
fn hall(miners: usize, class: LoadClass) -> Site {
    let mut site = site(miners / 2);
    site.miners.extend((0..SERVERS).map(|index| server(index, class)));
    site.sources = vec![OrderSource { name: "utility".into(), class: LimitClass::Grid }];
    site
}

pub(super) fn order(watts: i32, urgency: Urgency) -> OrderCap {
    let active = Active {
        circuit: CircuitId(0),
        scope: Scope::Miners,
        cap: Watts::whole(watts),
        basis: Basis::Instant,
        urgency,
        why: Why::Order("event".into()),
    };
    OrderCap { source: SourceId(0), active }
}

pub(super) fn servers(plant: &Plant) -> f64 {
    let miners = plant.miners.len() - SERVERS;
    plant.miners.iter().skip(miners).map(|server| server.draw).sum()
}

pub(super) fn miners(plant: &Plant) -> f64 {
    plant.draw() - servers(plant)
}

/// Runs for so long; nobody who does not sleep is told to.
pub(super) fn run(plant: &mut Plant, seconds: u32) -> Decision {
    let mut last = plant.cycle();
    for _ in 1..seconds {
        for command in &last.commands {
            let member = &plant.site.miners[command.miner.0];
            assert!(member.sleeps || command.target != Target::Sleep, "{} is told to sleep", member.name);
        }
        last = plant.cycle();
    }
    last
}

#[test]
fn servers_give_power_up_when_every_miner_sleeps_and_have_it_back_before_any_is_woken() {
    let surplus = |seconds: f64| match seconds {
        _ if seconds < 300.0 => -52e3,
        _ if seconds < 600.0 => -34e3,
        _ if seconds < 900.0 => -18e3,
        _ => -60e3,
    };
    let mut plant = Plant::new(hall(10, LoadClass::Throttle), 0.9, surplus);
    run(&mut plant, 280);
    assert!(servers(&plant) > 0.98 * FULL && miners(&plant) > 20e3, "{} W", servers(&plant));
    run(&mut plant, 300);
    assert!(servers(&plant) > 0.98 * FULL, "while miners have something to give: {} W", servers(&plant));
    assert!(miners(&plant) > 4e3, "what is left is theirs: {} W", miners(&plant));
    run(&mut plant, 300);
    assert!(miners(&plant) < 1e3, "no miner runs: {} W", miners(&plant));
    let left = servers(&plant);
    assert!((14e3..18e3).contains(&left), "the servers follow: {left} W");
    let mut first = None;
    for second in 0..300 {
        let decision = plant.cycle();
        let wakes = decision.commands.iter().any(|it| it.miner.0 < 10 && it.target != Target::Sleep);
        if plant.seconds() > 900.0 && wakes && first.is_none() {
            first = Some((second, servers(&plant)));
        }
    }
    let (_, drawn) = first.expect("somebody is woken in the end");
    assert!(drawn > 0.9 * FULL, "servers first: {drawn} W when the first miner was woken");
    assert!(plant.draw() > 52e3, "{} W", plant.draw());
}

#[test]
fn within_a_class_whoevers_work_is_worth_less_gives_power_up_first_and_has_it_back_last() {
    let mut hall = hall(0, LoadClass::Throttle);
    // The first two earn twice as much with each watt; each watt of a server brings as much as the one before.
    for (index, server) in hall.miners.iter_mut().enumerate() {
        let full = if index < 2 { 200.0 } else { 100.0 };
        server.points = curve(&[(3_000, full / 2.0), (6_000, full)]);
    }
    let mut plant = Plant::new(hall, 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.orders = vec![order(19_000, Urgency::Normal)];
    run(&mut plant, 60);
    let draws = |plant: &Plant| plant.miners.iter().map(|server| server.draw).collect::<Vec<f64>>();
    let drawn = draws(&plant);
    assert!(drawn[..2].iter().all(|draw| *draw > 5_900.0), "{drawn:?}");
    assert!(drawn[2] + drawn[3] < 7_100.0, "{drawn:?}");
    plant.orders = vec![order(15_000, Urgency::Normal)];
    run(&mut plant, 60);
    let drawn = draws(&plant);
    assert!(drawn[2] + drawn[3] < 6_100.0 && drawn[0] + drawn[1] > 7_900.0, "{drawn:?}");
    plant.orders = vec![order(18_000, Urgency::Normal)];
    run(&mut plant, 120);
    let drawn = draws(&plant);
    assert!(drawn[0] + drawn[1] > 10_900.0 && drawn[3] < 3_100.0, "they are raised first: {drawn:?}");
}

#[test]
fn a_server_with_a_dead_processor_gives_power_up_with_the_others_and_has_it_back() {
    let mut plant = Plant::new(hall(0, LoadClass::Throttle), 0.9, |_| -90e3);
    run(&mut plant, 120);
    assert!(servers(&plant) > 0.98 * FULL, "{}", servers(&plant));
    for server in &mut plant.miners {
        server.faulty = true;
    }
    run(&mut plant, 30);
    plant.orders = vec![order(14_000, Urgency::Emergency)];
    run(&mut plant, 10);
    assert!(servers(&plant) < 14_100.0, "{} W are drawn", servers(&plant));
    plant.orders.clear();
    run(&mut plant, 60);
    assert!(servers(&plant) > 0.95 * FULL, "{} W when it is over", servers(&plant));
}

#[test]
fn a_cap_below_what_servers_cannot_be_kept_from_drawing_is_told_as_a_shortfall_and_none_is_told_to_sleep() {
    let mut plant = Plant::new(hall(10, LoadClass::Throttle), 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.orders = vec![order(5_000, Urgency::Normal)];
    let decision = run(&mut plant, 60);
    assert!(miners(&plant) < 1e3 && (servers(&plant) - 12e3).abs() < 10.0, "{} W", servers(&plant));
    let missing = decision.fleet.shortfall.get();
    assert!((6_000.0..9_000.0).contains(&missing), "told as a shortfall: {missing} W");
    let last = plant.commands;
    let decision = run(&mut plant, 600);
    assert_eq!(plant.commands, last, "nothing is repeated that cannot be had");
    assert!(decision.miners.iter().skip(10).all(|server| server.state == MinerState::Hashing));
    plant.orders.clear();
    run(&mut plant, 60);
    assert!(servers(&plant) > 0.98 * FULL, "{} W", servers(&plant));
}

#[test]
fn only_what_protects_something_goes_below_a_contract() {
    let mut site = hall(4, LoadClass::Guaranteed);
    for server in site.miners.iter_mut().skip(4) {
        server.contract = Some(Watts::whole(5_000));
    }
    let mut plant = Plant::new(site.clone(), 0.9, |_| -90e3);
    run(&mut plant, 60);
    plant.orders = vec![order(8_000, Urgency::Emergency)];
    run(&mut plant, 60);
    assert!((servers(&plant) - 20e3).abs() < 10.0, "what was agreed stands: {} W", servers(&plant));
    site.limits.push(limit("rating", 1, Scope::Miners, LimitClass::Safety, 16_000));
    let mut plant = Plant::new(site, 0.9, |_| -90e3);
    run(&mut plant, 60);
    let left = servers(&plant);
    assert!((14e3..16e3).contains(&left), "below its contract, and no lower than needed: {left} W");
}

#[test]
fn what_was_agreed_comes_back_with_the_room_for_it() {
    let mut site = hall(0, LoadClass::Guaranteed);
    for server in site.miners.iter_mut() {
        server.contract = Some(Watts::whole(5_000));
    }
    site.sources[0].class = LimitClass::Safety;
    let mut plant = Plant::new(site, 0.9, |_| -90e3);
    run(&mut plant, 60);
    for (cap, low, high) in [(13_000, 12e3, 13e3), (17_000, 12e3, 17e3), (21_000, 20e3, 21e3)] {
        plant.orders = vec![order(cap, Urgency::Normal)];
        run(&mut plant, 60);
        let left = servers(&plant);
        assert!((low..=high).contains(&left), "{left} W under {cap} W");
    }
}

#[test]
fn what_a_server_does_not_draw_under_its_cap_is_left_to_miners_and_its_next_job_is_made_room_for() {
    let mut plant = Plant::new(hall(20, LoadClass::Throttle), 0.9, |_| -60e3);
    for server in plant.miners.iter_mut().skip(20) {
        server.demand = 1_500.0;
    }
    run(&mut plant, 240);
    assert!(plant.draw() > 57e3, "idle servers hold nothing back: {} W", plant.draw());
    let before = plant.imported;
    for server in plant.miners.iter_mut().skip(20) {
        server.demand = f64::INFINITY;
    }
    run(&mut plant, 5);
    assert!(servers(&plant) > 0.98 * FULL, "a job that begins is not held back: {} W", servers(&plant));
    run(&mut plant, 60);
    assert!(plant.import() <= 0.0, "imports {} W", plant.import());
    let imported = (plant.imported - before) / 18e3;
    assert!(imported < 10.0, "miners make room within seconds: {imported:.1} s of the step");
    assert!(servers(&plant) > 0.98 * FULL && plant.draw() > 57e3, "{} W", plant.draw());
}

#[test]
fn servers_that_are_idle_give_nothing_and_are_not_taken_for_miners_that_did_not_wake() {
    let mut plant = Plant::new(hall(0, LoadClass::Throttle), 0.9, |_| -60e3);
    for server in &mut plant.miners {
        server.demand = 300.0;
    }
    run(&mut plant, 120);
    plant.orders = vec![order(16_000, Urgency::Normal)];
    let decision = run(&mut plant, 300);
    assert!(
        decision.miners.iter().all(|server| server.state == MinerState::Hashing),
        "{:?}",
        decision.miners
    );
    // Caps that take nothing from anybody come down first, so that the next jobs stay within the order.
    assert_eq!(decision.fleet.shortfall, Watts::ZERO);
    for server in &mut plant.miners {
        server.demand = f64::INFINITY;
    }
    for second in 0..120 {
        plant.cycle();
        assert!(plant.draw() < 16_100.0, "{} W after {second} s", plant.draw());
    }
    assert!(plant.draw() > 14e3, "{} W", plant.draw());
}

#[test]
fn idle_servers_keep_no_miner_asleep_under_an_order_or_none() {
    let mut plant = Plant::new(hall(20, LoadClass::Throttle), 0.0, |_| -60e3);
    for server in plant.miners.iter_mut().skip(20) {
        server.target = Target::Power(Watts::whole(6_000));
        (server.draw, server.goal, server.demand) = (1_500.0, 6_000.0, 1_500.0);
    }
    run(&mut plant, 900);
    assert!(plant.draw() > 55e3, "{} W", plant.draw());
    // Six above what is drawn, and less than what the caps allow.
    plant.orders = vec![order(72_000, Urgency::Normal)];
    let first = plant.cycle();
    let miners_told = |decision: &Decision| decision.commands.iter().filter(|it| it.miner.0 < 20).count();
    let trimmed = first.commands.iter().filter(|it| it.miner.0 >= 20).count();
    assert!(trimmed > 0 && miners_told(&first) == 0, "caps that nobody uses go first: {:?}", first.commands);
    plant.orders = vec![order(50_000, Urgency::Normal)];
    run(&mut plant, 300);
    assert!(plant.draw() > 40e3 && plant.draw() <= 50.1e3, "{} W", plant.draw());
}

#[test]
fn in_an_emergency_quick_servers_stand_in_while_miners_go_down() {
    let mut site = hall(20, LoadClass::Throttle);
    for miner in site.miners.iter_mut().take(20) {
        miner.response.dead_time_down = Duration::from_secs(8);
    }
    let mut plant = Plant::new(site, 0.9, |_| -200e3);
    run(&mut plant, 120);
    let full = plant.draw();
    plant.orders = vec![order(82_000, Urgency::Emergency)];
    assert!(full - 82e3 < 12e3 && full > 90e3, "{full} W");
    run(&mut plant, 2);
    let drawn = plant.draw();
    assert!(drawn <= 82e3 + 100.0, "within two seconds: {drawn} W");
    run(&mut plant, 120);
    assert!(servers(&plant) > 0.98 * FULL, "they have it back: {} W", servers(&plant));
    assert!(plant.draw() > 80e3 && plant.draw() < 82.1e3, "{} W", plant.draw());
}

/// Servers that swing do so up to what is counted for them. What somebody has plugged in beside them is seen only by the meter of
/// the hall, and stands above its rating whether they swing or not.
#[test]
fn a_load_that_nobody_knows_of_does_not_hide_behind_servers_that_swing() {
    let mut site = hall(0, LoadClass::Throttle);
    site.circuits[1].meter = Some(MeterId(2));
    site.circuits[1].dedicated = true;
    site.meters.extend([meter("spare"), meter("hall")]);
    site.limits.push(limit("rating", 1, Scope::Import, LimitClass::Safety, 26_000));
    let beside = Rc::new(Cell::new(0.0));
    let mut plant = Plant::new(site, 0.9, |_| -60e3);
    let more = beside.clone();
    plant.more.push(Box::new(move |plant| {
        let value = Watts::saturating(plant.draw() + more.get());
        MeterInput::new(MeterStatus::Ok, Some(Reading { value, at: plant.now }))
    }));
    for second in 0..120_u32 {
        let demand = 4_750.0 + 1_250.0 * (f64::from(second) * 1.6).sin();
        plant.miners.iter_mut().for_each(|server| server.demand = demand);
        plant.cycle();
    }
    plant.miners.iter_mut().for_each(|server| server.demand = 3_500.0);
    beside.set(13e3);
    run(&mut plant, 4);
    let into = plant.draw() + beside.get();
    assert!(into <= 26.05e3, "{into} W");
}

/// Servers by their BMCs: seconds until they begin, and a slow way down.
fn slow_hall() -> Plant {
    let mut site = hall(0, LoadClass::Throttle);
    for server in &mut site.miners {
        server.response.dead_time_down = Duration::from_secs(3);
        server.response.ramp_down = WattsPerSecond::whole(500);
    }
    let mut plant = Plant::new(site, 0.9, |_| -60e3);
    run(&mut plant, 120);
    assert!(plant.draw() > 0.98 * FULL, "{} W", plant.draw());
    plant
}

#[test]
fn in_an_emergency_those_that_do_not_sleep_go_down_together() {
    let mut plant = slow_hall();
    plant.orders = vec![order(17_000, Urgency::Emergency)];
    run(&mut plant, 8);
    // 1.75 kW each are 3.5 s; to its lowest one would take 6.
    assert!(plant.draw() <= 17.1e3, "{} W", plant.draw());
}

#[test]
fn an_emergency_is_one_of_its_circuit_and_those_below_alone() {
    let site = hall(4, LoadClass::Throttle);
    let mut there = order(10_000, Urgency::Emergency);
    there.active.circuit = CircuitId(1);
    let normal = order(20_000, Urgency::Normal);
    assert_eq!(headroom::emergencies(&site, &[there, normal]), [false, true, false]);
    assert_eq!(headroom::emergencies(&site, &[order(10_000, Urgency::Emergency)]), [true; 3]);
}

#[test]
fn a_small_emergency_does_not_move_everybody() {
    let mut plant = slow_hall();
    plant.orders = vec![order(23_900, Urgency::Emergency)];
    let told = plant.cycle().commands.len();
    assert!((1..=2).contains(&told), "{told} are told");
}

#[test]
fn a_server_that_somebody_works_on_is_left_alone_whatever_was_asked() {
    let mut plant = Plant::new(hall(0, LoadClass::Interruptible), 0.9, |_| -60e3);
    plant.holds = vec![HeldMiner { miner: MinerId(0), hold: Hold::Asleep }];
    run(&mut plant, 60);
    let before = plant.miners[0].draw;
    plant.orders = vec![order(14_000, Urgency::Normal)];
    run(&mut plant, 60);
    assert!((plant.miners[0].draw - before).abs() < 1.0, "{} W", plant.miners[0].draw);
}

#[test]
fn the_best_allocation_serves_classes_one_after_the_other_and_each_within_its_bound() {
    let site = hall(10, LoadClass::Throttle);
    let (tree, items) = (Tree::new(&site), items(&site.miners));
    let mut hulls = Hulls::default();
    hulls.refresh(&items);
    for budget in [12_500.0, 16e3, 24.3e3, 30e3, 45e3, 80e3] {
        let found = solve(&items, &hulls, &tree, &[budget, f64::INFINITY, f64::INFINITY]);
        let power = |from: usize| -> f64 {
            items.iter().zip(&found.levels).skip(from).map(|(item, level)| item.power_at(*level)).sum()
        };
        let (all, servers) = (power(0), power(10));
        assert!(all <= budget + 1e-6, "{all} W of {budget} W");
        let asleep = 10.0 * 20.0;
        assert!((servers - (budget - asleep).min(FULL)).abs() < 11.0, "{servers} W of {budget} W");
        let awake = found.levels.iter().take(10).any(|level| *level != Level::Sleep);
        assert!(!awake || servers >= FULL - 1e-6, "a miner runs while servers are held back");
        // Less than one of ten miners needs is nothing.
        let none = (FULL..FULL + 2e3).contains(&budget);
        assert!(none || found.gap() < 0.06, "{budget} W: {:.4} below the bound", found.gap());
    }
}

/// Two of the servers may be paused, with a notice of half a minute; the other two are only slowed down.
pub(super) fn hall_with_hooks(miners: usize) -> Site {
    let mut site = hall(miners, LoadClass::Throttle);
    for server in site.miners.iter_mut().skip(miners).take(2) {
        server.class = LoadClass::Interruptible;
        server.sleeps = true;
        server.sleep = Watts::whole(600);
        server.notice = Duration::from_secs(30);
    }
    site
}

#[test]
fn work_whose_hook_refused_to_pause_is_not_held_at_its_lowest_when_nobody_needs_it_any_more() {
    let mut plant = Plant::new(hall_with_hooks(0), 0.9, |_| -90e3);
    run(&mut plant, 120);
    for server in plant.miners.iter_mut().take(2) {
        server.refuses_sleep = Some(3_000.0);
    }
    // Two of them must be paused, and are at their lowest.
    plant.orders = vec![order(7_000, Urgency::Emergency)];
    let decision = run(&mut plant, 90);
    assert!((11_500.0..12_600.0).contains(&servers(&plant)), "{} W", servers(&plant));
    let stragglers =
        |decision: &Decision| decision.miners.iter().filter(|it| it.state == MinerState::Straggler).count();
    assert_eq!(stragglers(&decision), 2, "they are told");
    plant.orders.clear();
    let decision = run(&mut plant, 90);
    assert!(servers(&plant) > 0.95 * FULL, "{} W when it is over", servers(&plant));
    assert_eq!(stragglers(&decision), 0);
}

/// Whatever was said about it last: one that refuses and does not say what it draws counts as before.
#[test]
fn a_server_that_refuses_and_says_nothing_of_its_draw_counts_as_before_and_the_others_make_up_for_it() {
    let mut plant = Plant::new(hall(0, LoadClass::Throttle), 0.9, |_| -90e3);
    run(&mut plant, 120);
    for server in plant.miners.iter_mut().take(2) {
        (server.faulty, server.manner) = (true, Manner::Refuses);
    }
    run(&mut plant, 30);
    plant.orders = vec![order(19_000, Urgency::Emergency)];
    run(&mut plant, 60);
    assert!(servers(&plant) < 19_100.0, "{} W are drawn", servers(&plant));
    plant.orders = vec![order(15_000, Urgency::Emergency)];
    let decision = run(&mut plant, 60);
    assert!((17_900.0..18_100.0).contains(&servers(&plant)), "{} W are drawn", servers(&plant));
    assert!(decision.fleet.shortfall.get() > 2_900.0, "and that is said: {}", decision.fleet.shortfall);
}

/// A BMC that says no to a cap and has it all the same, minutes later.
#[test]
fn a_server_that_comes_down_late_is_counted_on_again_and_raised() {
    let mut plant = Plant::new(hall(0, LoadClass::Throttle), 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.miners[0].manner = Manner::Refuses;
    plant.orders = vec![order(13_000, Urgency::Emergency)];
    let decision = run(&mut plant, 60);
    assert_eq!(decision.miners[0].state, MinerState::Straggler);
    plant.orders.clear();
    let decision = run(&mut plant, 60);
    let Some(Target::Power(told)) = decision.miners[0].setpoint else { panic!("{decision:?}") };
    let now = plant.now;
    let server = &mut plant.miners[0];
    server.manner = Manner::Obeys;
    (server.from, server.since, server.goal) = (server.draw, now, told.get());
    server.target = Target::Power(told);
    run(&mut plant, 90);
    assert!(servers(&plant) > 0.95 * FULL, "{} W, told {told}", servers(&plant));
}

#[test]
fn a_server_whose_hook_refuses_counts_at_its_draw_and_the_others_make_up_for_it() {
    let mut plant = Plant::new(hall_with_hooks(10), 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.miners[10].manner = Manner::Refuses;
    plant.orders = vec![order(17_500, Urgency::Normal)];
    run(&mut plant, 120);
    let refusing = plant.miners[10].draw;
    assert!(refusing > 5_900.0, "it goes on: {refusing} W");
    assert!(plant.draw() <= 17_600.0, "{} W", plant.draw());
}

#[test]
fn a_server_that_stands_above_its_cap_is_counted_where_it_stands() {
    let mut plant = Plant::new(hall(0, LoadClass::Throttle), 0.9, |_| -60e3);
    for server in &mut plant.miners {
        server.error = 1.08;
    }
    run(&mut plant, 120);
    plant.orders = vec![order(16_000, Urgency::Normal)];
    run(&mut plant, 180);
    // With the margin of a kilowatt.
    assert!(plant.draw() <= 15_050.0 && plant.draw() > 14e3, "{} W", plant.draw());
}

#[test]
fn servers_by_their_bmcs_stand_in_while_another_is_paused() {
    let mut site = hall_with_hooks(10);
    for server in site.miners.iter_mut().skip(10) {
        server.response.dead_time_down = Duration::from_secs(3);
    }
    let mut plant = Plant::new(site, 0.9, |_| -90e3);
    run(&mut plant, 120);
    plant.orders = vec![order(17_500, Urgency::Normal)];
    run(&mut plant, 12);
    assert!(plant.draw() <= 17_600.0, "{} W", plant.draw());
}

#[test]
fn a_server_that_does_not_follow_is_told_no_less_than_it_has_by_contract() {
    let mut site = hall(4, LoadClass::Guaranteed);
    for server in site.miners.iter_mut().skip(4) {
        server.contract = Some(Watts::whole(5_000));
    }
    let mut plant = Plant::new(site, 0.9, |_| -90e3);
    run(&mut plant, 60);
    for server in plant.miners.iter_mut().skip(4) {
        server.manner = Manner::Ignores;
    }
    plant.orders = vec![order(10_000, Urgency::Normal)];
    let mut least = f64::INFINITY;
    for _ in 0..600 {
        for command in plant.cycle().commands.iter().filter(|it| it.miner.0 >= 4) {
            let Target::Power(power) = command.target else { panic!("{command:?}") };
            least = least.min(power.get());
        }
    }
    assert!((least - 5_000.0).abs() < 1.0, "{least} W");
}

/// Servers with a contract that are told less by an order of the grid and treat it so; then people are in danger.
fn least_told_in_danger(manner: Manner) -> f64 {
    let mut site = hall(4, LoadClass::Guaranteed);
    for server in site.miners.iter_mut().skip(4) {
        server.contract = Some(Watts::whole(5_000));
    }
    site.sources.push(OrderSource { name: "protection".into(), class: LimitClass::Safety });
    let mut plant = Plant::new(site, 0.9, |_| -90e3);
    run(&mut plant, 60);
    for server in plant.miners.iter_mut().skip(4) {
        server.manner = manner;
    }
    plant.orders = vec![order(10_000, Urgency::Normal)];
    run(&mut plant, 60);
    plant.orders.push(OrderCap { source: SourceId(1), ..order(9_000, Urgency::Emergency) });
    let told = (0..120).flat_map(|_| plant.cycle().commands).filter(|it| it.miner.0 >= 4);
    told.fold(f64::INFINITY, |least, command| match command.target {
        Target::Power(power) => least.min(power.get()),
        Target::Sleep => panic!("{command:?}"),
    })
}

#[test]
fn who_does_not_follow_or_answer_has_no_contract_against_what_protects_people() {
    for manner in [Manner::Ignores, Manner::Hangs] {
        let least = least_told_in_danger(manner);
        assert!(least < 4_000.0, "{manner:?}: {least} W");
    }
}

/// One server, on a site without a meter, that goes on after a pause: how many seconds until it has its power back.
fn back_after_a_pause(min_interval: u64, adjust: u64) -> u32 {
    let mut hall = hall_with_hooks(0);
    hall.miners.truncate(1);
    hall.meters.clear();
    hall.limits = vec![limit("rating", 0, Scope::Miners, LimitClass::Safety, 20_000)];
    hall.circuits[0].meter = None;
    let server = &mut hall.miners[0];
    server.points = curve(&[(3_500, 72.0), (4_375, 84.0), (5_250, 90.5), (6_125, 95.5), (7_000, 100.0)]);
    (server.nameplate, server.sleep) = (Watts::whole(7_700), Watts::whole(1_500));
    server.response.ramp_down = WattsPerSecond::whole(500);
    server.response.ramp_up = WattsPerSecond::whole(500);
    server.cost.min_interval = Duration::from_secs(min_interval);
    server.cost.adjust = Duration::from_secs(adjust);
    hall.settings.raise_rate = WattsPerSecond::whole(154);
    let mut plant = Plant::new(hall, 1.0, |_| 0.0);
    plant.run(60);
    plant.orders = vec![order(2_000, Urgency::Normal)];
    plant.run(60);
    plant.orders.clear();
    let mut before = plant.draw();
    for second in 0..300 {
        // The last of it may not be worth a command.
        if plant.draw() > 6_700.0 {
            return second;
        }
        plant.cycle();
        assert!(plant.draw() - before < 1_600.0, "{second} s: {before} to {} W", plant.draw());
        before = plant.draw();
    }
    panic!("it stays at {} W", plant.draw());
}

#[test]
fn one_that_may_be_raised_now_and_then_only_is_raised_by_more_then() {
    let often = back_after_a_pause(0, 0);
    let seldom = back_after_a_pause(10, 0);
    assert!(often < 60 && seldom < 100, "{often} s and {seldom} s");
}

#[test]
fn one_whose_every_small_step_costs_more_than_it_brings_goes_all_the_way_all_the_same() {
    assert!(back_after_a_pause(0, 10) < 90);
    assert!(back_after_a_pause(10, 10) < 120);
}

#[test]
fn no_cap_lies_below_a_contract_whatever_was_learned_of_what_a_cap_comes_to() {
    for error in [1.08, 1.0, 0.95] {
        let mut site = hall(4, LoadClass::Guaranteed);
        for server in site.miners.iter_mut().skip(4) {
            server.contract = Some(Watts::whole(5_000));
        }
        let mut plant = Plant::new(site, 0.9, |_| -90e3);
        for server in plant.miners.iter_mut().skip(4) {
            server.error = error;
        }
        run(&mut plant, 120);
        plant.orders = vec![order(8_000, Urgency::Normal)];
        let mut least = f64::INFINITY;
        for _ in 0..300 {
            for command in plant.cycle().commands.iter().filter(|it| it.miner.0 >= 4) {
                let Target::Power(power) = command.target else { panic!("{command:?}") };
                least = least.min(power.get());
            }
        }
        assert!(least >= 5_000.0 - 1e-6, "{least} W where a cap comes to {error} times of it");
        let left = servers(&plant);
        assert!((19_900.0..21_700.0).contains(&left), "{left} W at {error}");
    }
}

#[test]
fn a_cap_that_is_hardly_used_is_not_moved_up_and_down() {
    let mut plant = Plant::new(hall(20, LoadClass::Throttle), 0.9, |_| -90e3);
    for server in plant.miners.iter_mut().skip(20) {
        server.demand = 5_500.0;
    }
    run(&mut plant, 120);
    plant.orders = vec![order(40_000, Urgency::Normal)];
    run(&mut plant, 180);
    let mut moved = 0;
    for _ in 0..300 {
        moved += plant.cycle().commands.iter().filter(|it| it.miner.0 >= 20).count();
    }
    assert!(moved <= SERVERS, "{moved} caps were told within five minutes");
    for server in plant.miners.iter_mut().skip(20) {
        server.demand = f64::INFINITY;
    }
    run(&mut plant, 60);
    // But for a rest that is not worth moving miners for.
    assert!(servers(&plant) > 0.97 * FULL, "a job that wants more has it: {} W", servers(&plant));
}
