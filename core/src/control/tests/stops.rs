//! Emergency stops: what is stopped stays stopped until somebody releases it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::plant::{Manner, Plant};
use crate::control::State;
use crate::control::decision::{BreakerState, Decision, MinerState, Mode, Source};
use crate::control::site::{Breaker, CircuitId, EmergencyStop, MeterId, OpensBreaker, Site};
use crate::control::snapshot::{HeldMiner, Hold, MeterInput, MeterStatus, Reading, Target};
use crate::control::stop::StopState;
use crate::control::testing::{meter, site};
use crate::units::Watts;

const NORTH: CircuitId = CircuitId(1);

/// What the contact does: closed, open, or not to be read.
type Contact = Rc<Cell<Option<bool>>>;

fn with_stop(opens_breaker: OpensBreaker) -> Site {
    let mut site = site(10);
    site.meters.push(meter("unused"));
    site.meters.push(meter("stop"));
    site.circuits[1].emergency_stop = Some(EmergencyStop { meter: MeterId(2), opens_breaker });
    site
}

fn plant_of(site: Site) -> (Plant, Contact) {
    let contact: Contact = Rc::new(Cell::new(Some(true)));
    let mut plant = Plant::new(site, 0.8, |_| -120e3);
    wire(&mut plant, &contact);
    (plant, contact)
}

fn wire(plant: &mut Plant, contact: &Contact) {
    let says = contact.clone();
    let last = Cell::new(None);
    plant.more.push(Box::new(move |plant| {
        let Some(closed) = says.get() else { return MeterInput::new(MeterStatus::Unreachable, last.get()) };
        let value = if closed { Watts::whole(1) } else { Watts::ZERO };
        last.set(Some(Reading { value, at: plant.now }));
        MeterInput::new(MeterStatus::Ok, last.get())
    }));
}

fn plant() -> (Plant, Contact) {
    plant_of(with_stop(OpensBreaker::Always))
}

fn north(plant: &Plant) -> f64 {
    let each = plant.miners.iter().zip(&plant.site.miners);
    each.filter(|(_, spec)| spec.circuit == NORTH).map(|(miner, _)| miner.draw).sum()
}

fn latched(plant: &Plant) -> bool {
    plant.state.latched().any(|circuit| circuit == NORTH)
}

fn state_of(decision: &Decision) -> Option<StopState> {
    decision.circuits[NORTH.0].emergency_stop
}

#[test]
fn an_open_contact_puts_its_circuit_to_sleep_at_once_and_until_somebody_releases_it() {
    let (mut plant, contact) = plant();
    let ready = plant.run(60);
    assert_eq!(state_of(&ready), Some(StopState::Ready));
    assert!(north(&plant) > 20e3);
    contact.set(Some(false));
    let first = plant.cycle();
    let told = first.commands.iter().filter(|command| plant.site.miners[command.miner.0].circuit == NORTH);
    let asleep = told.filter(|command| command.target == Target::Sleep).count();
    let there = plant.site.miners.iter().filter(|miner| miner.circuit == NORTH).count();
    assert_eq!(asleep, there, "every one in the cycle that reads it");
    assert_eq!(first.circuits[1].binding, Source::Stop(NORTH));
    assert_eq!(state_of(&first), Some(StopState::Open));
    plant.run(6);
    assert!(north(&plant) < 250.0, "draws {}", north(&plant));
    assert!(plant.draw() > 20e3, "the other container runs on");
    // Released while it is open: nothing.
    plant.released.push(NORTH);
    plant.run(5);
    contact.set(Some(true));
    let closed = plant.run(600);
    assert_eq!(state_of(&closed), Some(StopState::Latched));
    assert!(north(&plant) < 250.0, "a contact that closes again starts nobody: {}", north(&plant));
    plant.released.push(NORTH);
    let released = plant.run(240);
    assert_eq!(state_of(&released), Some(StopState::Ready));
    assert!(north(&plant) > 20e3, "draws {}", north(&plant));
}

#[test]
fn an_open_contact_waits_for_no_pause_of_one_that_did_not_follow_before() {
    let (mut plant, contact) = plant();
    plant.run(60);
    let there = plant.site.miners.iter().position(|miner| miner.circuit == NORTH).unwrap();
    plant.miners[there].manner = Manner::Ignores;
    // There is less, so that everybody is told something, and what is told to this one is told again with longer pauses.
    plant.other = Box::new(|_| -60e3);
    let peace = |plant: &Plant| {
        let track = &plant.state.tracks[there];
        track.retry_at > plant.now + Duration::from_secs(2) && track.setpoint != Some(Target::Sleep)
    };
    let straggles =
        (0..600).any(|_| plant.cycle().miners[there].state == MinerState::Straggler && peace(&plant));
    assert!(straggles, "it is left in peace for a while");
    contact.set(Some(false));
    let first = plant.cycle();
    let told = first.commands.iter().find(|command| command.miner.0 == there);
    assert_eq!(told.map(|command| command.target), Some(Target::Sleep), "in the cycle that reads it");
}

#[test]
fn a_contact_that_cannot_be_read_for_its_time_stops_and_latches() {
    let (mut plant, contact) = plant();
    plant.run(60);
    contact.set(None);
    // The meter of the tests is stale after four seconds.
    plant.run(3);
    assert!(!latched(&plant) && north(&plant) > 20e3);
    let lost = plant.run(9);
    assert!(latched(&plant));
    assert_eq!(state_of(&lost), Some(StopState::Unknown));
    assert!(north(&plant) < 250.0, "draws {}", north(&plant));
    contact.set(Some(true));
    plant.run(120);
    assert!(north(&plant) < 250.0, "it is heard again, and starts nobody");
}

fn with_breakers(opens: OpensBreaker) -> (Plant, Contact) {
    let mut site = with_stop(opens);
    for index in [1, 2] {
        site.circuits[index].breaker = Some(Breaker { after: Duration::from_secs(60) });
    }
    let (mut plant, contact) = plant_of(site);
    plant.breakers.extend([(1, false), (2, false)]);
    plant.run(60);
    (plant, contact)
}

#[test]
fn it_opens_the_breaker_of_its_circuit_at_once_and_again_when_somebody_closes_it_too_early() {
    let (mut plant, contact) = with_breakers(OpensBreaker::Always);
    contact.set(Some(false));
    let first = plant.cycle();
    assert_eq!(first.breakers.iter().map(|command| command.circuit).collect::<Vec<_>>(), [NORTH]);
    let open = plant.run(3);
    assert_eq!(open.circuits[1].breaker, Some(BreakerState::Open));
    assert!(!plant.breakers[&2], "the other circuit has nothing to do with it");
    plant.breakers.insert(1, false);
    plant.run(8);
    assert!(plant.breakers[&1], "closed while it is stopped, it is opened again");
    contact.set(Some(true));
    plant.released.push(NORTH);
    plant.run(5);
    plant.breakers.insert(1, false);
    plant.run(60);
    assert!(!plant.breakers[&1], "released, it stays as somebody has put it");
}

#[test]
fn a_lost_contact_opens_no_breaker_where_that_is_not_wanted() {
    for (opens, lost, open) in [
        (OpensBreaker::Always, true, true),
        (OpensBreaker::WhenOpen, false, true),
        (OpensBreaker::Never, false, false),
    ] {
        let (mut plant, contact) = with_breakers(opens);
        contact.set(None);
        plant.run(12);
        assert_eq!((latched(&plant), plant.breakers[&1]), (true, lost), "{opens:?}");
        contact.set(Some(false));
        plant.run(3);
        assert_eq!(plant.breakers[&1], open, "{opens:?}");
    }
}

#[test]
fn in_observe_mode_it_latches_and_nothing_is_told() {
    let mut site = with_stop(OpensBreaker::Always);
    site.settings.observe = true;
    site.circuits[1].breaker = Some(Breaker { after: Duration::from_secs(60) });
    let (mut plant, contact) = plant_of(site);
    plant.breakers.insert(1, false);
    plant.run(60);
    contact.set(Some(false));
    let decision = plant.run(30);
    assert_eq!((plant.commands, plant.breakers[&1]), (0, false));
    assert!(latched(&plant) && decision.would_be == Mode::Limited, "{:?}", decision.would_be);
}

/// A daemon that starts beside a plant that runs.
fn restart(plant: &mut Plant, latched: bool) {
    plant.state = State::new(plant.site.clone());
    if latched {
        plant.state.latch(NORTH);
    }
}

#[test]
fn what_was_stopped_before_a_restart_stays_stopped() {
    let (mut plant, contact) = plant();
    plant.run(60);
    contact.set(Some(false));
    plant.run(20);
    contact.set(Some(true));
    plant.run(5);
    restart(&mut plant, true);
    plant.run(300);
    assert!(latched(&plant) && north(&plant) < 250.0, "draws {}", north(&plant));
    plant.released.push(NORTH);
    plant.run(240);
    assert!(!latched(&plant) && north(&plant) > 20e3, "draws {}", north(&plant));
}

#[test]
fn a_start_stops_nobody_whose_contact_is_read_in_time_and_everybody_whose_is_not() {
    let (mut plant, contact) = plant();
    plant.run(60);
    restart(&mut plant, false);
    contact.set(None);
    plant.run(2);
    contact.set(Some(true));
    plant.run(60);
    assert!(!latched(&plant) && north(&plant) > 20e3, "draws {}", north(&plant));

    let contact: Contact = Rc::default();
    let mut plant = Plant::new(with_stop(OpensBreaker::Always), 0.8, |_| -120e3);
    wire(&mut plant, &contact);
    plant.run(30);
    assert!(latched(&plant) && north(&plant) < 250.0, "it was never read: {}", north(&plant));
}

#[test]
fn a_reload_keeps_what_is_latched_also_when_the_contact_is_another_one() {
    let (mut plant, contact) = plant();
    plant.run(30);
    contact.set(Some(false));
    plant.run(5);
    contact.set(Some(true));
    let mut site = (*plant.site).clone();
    site.meters[2].name = "another contact".into();
    let mut state = State::new(Arc::new(site));
    state.inherit(&plant.state);
    assert!(state.latched().any(|circuit| circuit == NORTH));
}

#[test]
fn an_emergency_puts_also_those_to_sleep_that_were_to_be_left_alone() {
    let (mut plant, contact) = plant();
    plant.run(60);
    plant.holds = (0..10)
        .map(|at| HeldMiner { miner: crate::control::site::MinerId(at), hold: Hold::HandsOff })
        .collect();
    plant.run(20);
    assert!(north(&plant) > 20e3);
    contact.set(Some(false));
    plant.run(10);
    assert!(north(&plant) < 250.0, "draws {}", north(&plant));
}

/// What happens in a second: the contact, and whether somebody releases.
fn second() -> impl Strategy<Value = (Option<bool>, bool)> {
    (prop_oneof![6 => Just(Some(true)), 1 => Just(Some(false)), 2 => Just(None)], prop::bool::weighted(0.2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against a model of three lines, for any history of contact and hand.
    #[test]
    fn only_a_release_beside_a_closed_contact_ends_a_stop(history in prop::collection::vec(second(), 20..120)) {
        let (mut plant, contact) = plant();
        plant.run(15);
        let (mut model, mut silent, mut last) = (false, 0_u32, true);
        for (says, releases) in history {
            contact.set(says);
            if releases {
                plant.released.push(NORTH);
            }
            silent = if says.is_some() { 0 } else { silent + 1 };
            last = says.unwrap_or(last);
            // What was read four seconds ago counts still.
            let known = (silent <= 4).then_some(last);
            model &= !(releases && known == Some(true));
            model |= known != Some(true);
            let decision = plant.cycle();
            prop_assert_eq!(latched(&plant), model, "{:?} {} {}", says, releases, silent);
            if model {
                let woken = decision.commands.iter().any(|command| {
                    plant.site.miners[command.miner.0].circuit == NORTH && command.target != Target::Sleep
                });
                prop_assert!(!woken, "nobody is told to run");
                let budget = decision.circuits[1].budget;
            // What they draw asleep is learned from readings, and none could run with it.
            prop_assert!(budget.get() < plant.site.miners[0].minimum().get() / 2.0, "{budget}");
            }
        }
    }
}
