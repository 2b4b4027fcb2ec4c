//! Two daemons at one site: one leads and the other stands by, and what becomes of it when both lead.

use std::collections::BTreeSet;

use super::plant::{Manner, Plant};
use crate::control::State;
use crate::control::decision::{MinerState, Mode};
use crate::control::lead::Lead;
use crate::control::signal::{Active, Basis, Urgency, Why};
use crate::control::site::{CircuitId, Scope, SourceId};
use crate::control::snapshot::{OrderCap, Target};
use crate::control::testing::site;
use crate::units::Watts;

const MINERS: usize = 20;

fn plant(other: impl Fn(f64) -> f64 + 'static) -> (Plant, State) {
    let mut plant = Plant::new(site(MINERS), 0.9, other);
    plant.tells = true;
    plant.lead = Lead::Leads;
    let second = State::new(plant.site.clone());
    (plant, second)
}

/// A cap on what the miners draw.
fn cap(power: f64) -> Vec<OrderCap> {
    let active = Active {
        circuit: CircuitId(0),
        scope: Scope::Miners,
        cap: Watts::new(power).unwrap(),
        why: Why::Order("curtail".into()),
        basis: Basis::Instant,
        urgency: Urgency::Normal,
    };
    vec![OrderCap { source: SourceId(0), active }]
}

#[test]
fn whoever_stands_by_tells_nobody_anything_and_goes_on_without_a_step() {
    for surplus in [25e3, 45e3, 60e3] {
        let (mut plant, mut second) = plant(move |_| -surplus);
        plant.flickers = Some(1.0);
        for _ in 0..300 {
            plant.cycle();
            let decision = plant.second(&mut second, Lead::Follows, &[]);
            assert_eq!((decision.mode, decision.commands.len()), (Mode::StandBy, 0));
        }
        let before = plant.draw();
        assert!(before > 0.93 * surplus.min(56e3), "it follows: {before} of {surplus}");
        // The first one is gone, for three seconds nobody leads, and then the second one does.
        plant.lead = Lead::Follows;
        let mut first = State::new(plant.site.clone());
        std::mem::swap(&mut plant.state, &mut first);
        std::mem::swap(&mut plant.state, &mut second);
        plant.run(3);
        plant.lead = Lead::Leads;
        // What the first one told some of them last is seen only now.
        for miner in 2..5 {
            let lower = plant.site.miners[miner].minimum();
            let miner = &mut plant.miners[miner];
            (miner.target, miner.goal, miner.from, miner.since) =
                (Target::Power(lower), miner.draw, miner.draw, plant.now);
        }
        for second in 0..120 {
            let decision = plant.cycle();
            assert_ne!(decision.mode, Mode::StartUp);
            assert_eq!(decision.lead, Lead::Leads, "{second} s");
            let off = (plant.draw() - before).abs();
            assert!(off < 0.03 * before, "{off:.0} W of {before:.0} W, {second} s after it took over");
            assert!(plant.import() < 100.0);
        }
    }
}

#[test]
fn whoever_takes_over_while_the_surplus_is_gone_sheds_in_its_first_cycle() {
    let (mut plant, mut second) = plant(|at| if at < 200.0 { -50e3 } else { -15e3 });
    for _ in 0..199 {
        plant.cycle();
        plant.second(&mut second, Lead::Follows, &[]);
    }
    // Nobody leads while it happens.
    plant.lead = Lead::Follows;
    plant.run(4);
    assert!(plant.import() > 20e3);
    std::mem::swap(&mut plant.state, &mut second);
    plant.lead = Lead::Leads;
    let decision = plant.cycle();
    assert!(!decision.commands.is_empty(), "{:?}", decision.mode);
    plant.run(20);
    assert!(plant.import() < 100.0, "imports {:.0} W", plant.import());
}

#[test]
fn whoever_may_only_lower_raises_nobody_and_puts_nobody_back() {
    // A quarter of an hour of less surplus between two of more.
    let (mut plant, _) = plant(|at| if (300.0..1_200.0).contains(&at) { -20e3 } else { -50e3 });
    plant.run(250);
    let before = plant.draw();
    assert!(before > 46e3);
    plant.lead = Lead::Lowers;
    plant.run(300);
    let low = plant.draw();
    assert!(low < 20.1e3 && low > 10e3, "it sheds what it must: {low}");
    let mut told = 0;
    for _ in 0..1_000 {
        told += plant.cycle().commands.len();
        assert!(plant.draw() <= low + 1.0, "{} W, from {low} W", plant.draw());
    }
    assert!(told <= 2, "and then nobody is told anything: {told}");
    plant.lead = Lead::Leads;
    plant.run(600);
    assert!(plant.draw() > 46e3, "it goes on when it leads again: {}", plant.draw());
}

#[test]
fn two_that_both_lead_lower_and_do_not_fight() {
    let (mut plant, mut second) = plant(|_| -70e3);
    for _ in 0..120 {
        plant.cycle();
        plant.second(&mut second, Lead::Follows, &[]);
    }
    // A cap that one of them alone knows, and both lead.
    let (cap_at, order) = (25e3, cap(25e3));
    let (mut over, mut commands, mut lowers) = (0.0, 0, 0);
    let seconds = 1_800;
    for second_of in 0..seconds {
        let first = plant.cycle();
        let other = plant.second(&mut second, Lead::Leads, &order);
        commands += first.commands.len() + other.commands.len();
        lowers += usize::from(first.lead == Lead::Lowers);
        if second_of > 60 {
            over += (plant.draw() - cap_at).max(0.0);
        }
    }
    let mean = over / f64::from(seconds - 60);
    // What it comes to: 2 W, 381 commands, 1,747 s.
    let all = format!("{mean:.0} W over the cap, {commands} commands, {lowers} s of lowering alone");
    assert!(mean < 0.02 * cap_at && commands < 40 * MINERS && lowers > 1_500, "{all}");
}

#[test]
fn two_that_both_lead_without_knowing_it_import_no_more_than_one() {
    let load = |at: f64| -40e3 + 12e3 * (at / 97.0).sin();
    let (mut alone, _) = plant(load);
    alone.run(1_800);
    let (mut plant, mut second) = plant(load);
    for _ in 0..1_800 {
        plant.cycle();
        plant.second(&mut second, Lead::Leads, &[]);
    }
    let more = plant.imported - alone.imported;
    // What it comes to: 370 kJ beside 328 kJ.
    assert!(more < 0.001 * plant.surplus, "{more:.0} J more of {:.0} J", plant.surplus);
    assert!(plant.captured > 0.9 * plant.surplus, "and it wastes little: {:.0} J", plant.captured);
}

#[test]
fn one_miner_that_somebody_moves_at_its_page_stops_nobody() {
    let (mut plant, _) = plant(|_| -50e3);
    plant.run(200);
    plant.miners[3].target = Target::Power(plant.site.miners[3].minimum());
    for _ in 0..30 {
        assert_eq!(plant.cycle().lead, Lead::Leads);
    }
    for miner in 5..8 {
        plant.miners[miner].target = Target::Power(plant.site.miners[miner].minimum());
    }
    plant.run(3);
    assert_eq!(plant.cycle().lead, Lead::Lowers);
    plant.run(90);
    assert_eq!(plant.cycle().lead, Lead::Leads, "it leads again when nobody moves them any more");
}

#[test]
fn one_that_ignores_what_it_is_told_is_found_out_also_by_whoever_only_lowers() {
    let (mut plant, _) = plant(|at| if at < 100.0 { -60e3 } else { -20e3 });
    plant.run(95);
    plant.lead = Lead::Lowers;
    for miner in 0..3 {
        plant.miners[miner].manner = Manner::Ignores;
    }
    let (mut found, mut told, mut orders) = (BTreeSet::new(), BTreeSet::new(), 0);
    for _ in 0..300 {
        let decision = plant.cycle();
        let first = decision.commands.iter().filter(|command| command.miner.0 < 3);
        for command in first {
            // Whoever was told to sleep is told nothing higher again.
            assert!(!told.contains(&command.miner.0) || command.target == Target::Sleep, "{command:?}");
            orders += 1;
            if command.target == Target::Sleep {
                told.insert(command.miner.0);
            }
        }
        let stragglers = decision.miners.iter().take(3).enumerate();
        found.extend(
            stragglers.filter(|(_, miner)| miner.state == MinerState::Straggler).map(|(index, _)| index),
        );
    }
    assert!(told.len() >= 2 && found == told, "told {told:?}, found {found:?}");
    assert!(orders < 40, "and they are not hammered: {orders} orders in five minutes");
    // The others have made up for them, as far as they can.
    let others: f64 = plant.miners.iter().skip(3).map(|miner| miner.draw).sum();
    assert!(others < 16e3, "{others} W");
}
