//! The eleven rules of grid signals, each by its number.

mod clocks;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::book::{Active, Book, Told, Trouble, View, Why, tightest};
use super::delivery::Delivery;
use super::order::{Ask, Bases, Basis, Order, Receipt, Refusal, Urgency};
use super::source::{FailSafe, Feed, Release, SourceSettings, SourceState};
use super::time::{Doubt, Now, Wall};
use crate::control::site::{CircuitId, LimitClass, Scope};
use crate::moment::Moment;
use crate::units::Watts;

const PCC: CircuitId = CircuitId(0);
/// When the tests begin: 2026-06-01 00:00 UTC.
const DAY: Wall = Wall::unix_millis(1_780_272_000_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// This many seconds after the start, on both clocks.
fn at(second: u64) -> Now {
    let wall = DAY.later(seconds(second));
    Now { moment: Moment::millis(second * 1000), steady: wall, wall, doubt: Doubt::None }
}

fn settings() -> SourceSettings {
    SourceSettings {
        name: "utility".into(),
        class: LimitClass::Grid,
        feed: Feed::Polled,
        lost_after: seconds(120),
        fail_safe: Some(FailSafe { circuit: PCC, scope: Scope::Import, cap: Watts::kilowatts(100.0) }),
        fail_safe_hold: Duration::ZERO,
        release: Release::FreshSignal,
        finish_schedule: false,
        return_spread: Duration::ZERO,
        clock_allowance: seconds(300),
        clock_tolerance: seconds(30),
    }
}

const BASES: Bases = Bases { nameplate: Watts::whole(1_000_000), baseline: None, draw: 0.5 };

/// A cap in kilowatts between two seconds of the test.
fn order(id: &str, cap: f64, from: u64, until: Option<u64>) -> Order {
    Order {
        id: id.into(),
        revision: 1,
        lane: "IMPORT_CAPACITY_LIMIT".into(),
        priority: 5,
        circuit: PCC,
        scope: Scope::Import,
        ask: Ask::Cap(Watts::kilowatts(cap)),
        basis: Basis::Instant,
        urgency: Urgency::Normal,
        from: DAY.later(seconds(from)),
        until: until.map(|until| DAY.later(seconds(until))),
        start_spread: Duration::ZERO,
    }
}

fn ids(ids: &[&str]) -> Vec<Arc<str>> {
    ids.iter().map(|id| Arc::from(*id)).collect()
}

/// A book that is in control from second 0 on.
fn book(settings: SourceSettings) -> Book {
    let mut book = Book::new(settings);
    book.fresh(Told::Orders, None, &at(0));
    book
}

fn cap(view: &View) -> Option<f64> {
    tightest([view], PCC, Scope::Import).map(|active| active.cap.get() / 1e3)
}

/// The cap in kilowatts at a second at which the source has just answered.
fn fresh_cap(book: &mut Book, second: u64) -> Option<f64> {
    book.fresh(Told::Orders, None, &at(second));
    cap(&book.view(&at(second)))
}

fn give(book: &mut Book, order: Order, second: u64) -> Result<Receipt, Refusal> {
    book.accept(order, &BASES, &at(second))
}

#[test]
fn rule_1_inside_a_source_priority_then_strictness_then_revision_decides() {
    let mut book = book(settings());
    give(&mut book, order("strict", 50.0, 0, None), 0).unwrap();
    let better = Order { priority: 1, ..order("better", 300.0, 0, None) };
    give(&mut book, better, 0).unwrap();
    assert_eq!(fresh_cap(&mut book, 1), Some(300.0), "the better priority hides the stricter order");
    let tie = Order { priority: 1, ..order("tie", 200.0, 0, None) };
    give(&mut book, tie, 1).unwrap();
    assert_eq!(fresh_cap(&mut book, 2), Some(200.0), "among equals the stricter one");
    let newer = Order { priority: 1, revision: 9, ..order("newer", 200.0, 0, None) };
    give(&mut book, newer, 2).unwrap();
    let view = book.view(&at(2));
    let why = &tightest([&view], PCC, Scope::Import).unwrap().why;
    assert_eq!(*why, Why::Order("newer".into()), "and then the newer one");
}

#[test]
fn rule_1_a_price_of_better_priority_hides_no_limit() {
    let mut book = book(settings());
    give(&mut book, order("limit", 50.0, 0, None), 0).unwrap();
    let other = Order { priority: 0, lane: "PRICE".into(), ..order("price", 900.0, 0, None) };
    give(&mut book, other, 0).unwrap();
    assert_eq!(fresh_cap(&mut book, 1), Some(50.0));
}

#[test]
fn rule_2_no_source_loosens_another() {
    let (mut one, mut two) = (book(settings()), book(settings()));
    give(&mut one, order("a", 400.0, 0, None), 0).unwrap();
    let first = Order { priority: 0, ..order("b", 700.0, 0, None) };
    give(&mut two, first, 0).unwrap();
    let views = [one.view(&at(1)), two.view(&at(1))];
    assert_eq!(tightest(&views, PCC, Scope::Import).unwrap().cap, Watts::kilowatts(400.0));
    assert_eq!(tightest(&views, PCC, Scope::Miners), None);
}

#[test]
fn rule_3_decreases_act_at_once_and_delays_are_the_signals_own() {
    let mut book = book(SourceSettings { return_spread: seconds(60), ..settings() });
    give(&mut book, order("now", 50.0, 0, Some(100)), 0).unwrap();
    assert_eq!(fresh_cap(&mut book, 0), Some(50.0));
    assert_eq!(fresh_cap(&mut book, 129), Some(50.0), "its end is put off by half of the spread");
    assert_eq!(fresh_cap(&mut book, 130), None);
    let spread = Order { start_spread: seconds(40), ..order("spread", 10.0, 200, Some(300)) };
    give(&mut book, spread, 130).unwrap();
    assert_eq!(fresh_cap(&mut book, 219), None, "the signal asked for a random start");
    assert_eq!(fresh_cap(&mut book, 220), Some(10.0));
    book.withdraw("spread", None, &at(230));
    assert_eq!(fresh_cap(&mut book, 259), Some(10.0), "what is taken back returns at a random moment, too");
    assert_eq!(fresh_cap(&mut book, 260), None);
}

#[test]
fn rule_4_windows_begin_early_and_end_late_by_the_doubt_in_the_clock() {
    let mut book = book(settings());
    give(&mut book, order("window", 50.0, 1000, Some(2000)), 0).unwrap();
    let mut with = |second: u64, doubt: Doubt| {
        book.fresh(Told::Orders, None, &at(second));
        let view = book.view(&Now { doubt, ..at(second) });
        (view.state, cap(&view))
    };
    let off = Doubt::Off(seconds(45));
    assert_eq!(with(900, Doubt::Off(seconds(30))), (SourceState::Controlled, None), "30 s are tolerated");
    assert_eq!(with(950, off), (SourceState::Degraded, None));
    assert_eq!(with(955, off), (SourceState::Degraded, Some(50.0)));
    assert_eq!(with(956, Doubt::None), (SourceState::Controlled, None));
    assert_eq!(with(957, Doubt::Unknown), (SourceState::Degraded, Some(50.0)));
    assert_eq!(with(2044, off), (SourceState::Degraded, Some(50.0)));
    assert_eq!(with(2045, off), (SourceState::Degraded, None));
}

#[test]
fn rule_4_holds_and_losses_do_not_follow_the_wall_clock() {
    let mut book = book(settings());
    // The wall clock jumps a day ahead; ten seconds have gone by.
    let jumped = Now { wall: DAY.later(seconds(86_400)), ..at(10) };
    assert_eq!(book.view(&jumped).state, SourceState::Controlled);
    // It jumps back; the signal is lost all the same.
    let back = Now { wall: DAY, ..at(200) };
    assert_eq!(book.view(&back).state, SourceState::Failsafe);
}

#[test]
fn rule_5_a_bad_event_is_skipped_and_empties_nothing() {
    let mut book = book(settings());
    give(&mut book, order("a", 300.0, 0, None), 0).unwrap();
    give(&mut book, order("b", 200.0, 0, None), 0).unwrap();
    // The next answer lists both; b cannot be read any more.
    assert_eq!(give(&mut book, order("a", 300.0, 0, None), 10), Ok(Receipt::Duplicate));
    book.complete(&ids(&["a", "b"]), &at(10));
    book.fresh(Told::Orders, Some("b: unknown unit".into()), &at(10));
    let view = book.view(&at(10));
    assert_eq!((view.state, cap(&view)), (SourceState::Degraded, Some(200.0)));
    assert_eq!(view.trouble, [Trouble::Unreadable("b: unknown unit".into())]);
    // A sound answer without it takes it back.
    book.complete(&ids(&["a"]), &at(20));
    assert_eq!(fresh_cap(&mut book, 20), Some(300.0));
    assert_eq!(book.view(&at(20)).state, SourceState::Limited);
}

#[test]
fn rule_5_only_a_fresh_answer_keeps_a_source_alive() {
    let mut book = book(settings());
    assert_eq!(book.view(&at(120)).state, SourceState::Controlled);
    let lost = book.view(&at(121));
    assert_eq!((lost.state, cap(&lost), lost.age), (SourceState::Failsafe, Some(100.0), Some(seconds(121))));
    assert_eq!(lost.caps.first().unwrap().why, Why::FailSafe);
}

#[test]
fn rule_5_a_heartbeat_alone_gives_no_control_back() {
    let mut book = book(SourceSettings { feed: Feed::Stream, ..settings() });
    book.fresh(Told::Heartbeat, None, &at(100));
    assert_eq!(book.view(&at(200)).state, SourceState::Controlled, "it keeps alive what is in control");
    assert_eq!(book.view(&at(300)).state, SourceState::Failsafe);
    book.fresh(Told::Heartbeat, None, &at(301));
    assert_eq!(book.view(&at(301)).state, SourceState::Failsafe);
    assert_eq!(fresh_cap(&mut book, 302), None);
}

#[test]
fn rule_6_a_lost_signal_never_rises_above_what_was_known() {
    let mut book = book(settings());
    give(&mut book, order("tight", 40.0, 0, Some(500)), 0).unwrap();
    give(&mut book, order("tighter", 20.0, 300, Some(400)), 0).unwrap();
    assert_eq!(cap(&book.view(&at(10))), Some(40.0));
    assert_eq!(cap(&book.view(&at(200))), Some(40.0), "the fail-safe of 100 kW is no release");
    assert_eq!(cap(&book.view(&at(300))), Some(20.0), "what was announced still comes");
    assert_eq!(cap(&book.view(&at(600))), Some(20.0), "and what has ended unseen is not given back");
    assert_eq!(fresh_cap(&mut book, 700), None);
}

#[test]
fn rule_6_a_known_schedule_is_finished_where_that_is_configured() {
    let mut book = book(SourceSettings { finish_schedule: true, ..settings() });
    give(&mut book, order("one", 300.0, 0, Some(200)), 0).unwrap();
    give(&mut book, order("two", 200.0, 400, Some(500)), 0).unwrap();
    assert_eq!(cap(&book.view(&at(150))), Some(300.0));
    assert_eq!(cap(&book.view(&at(300))), None, "the pause between two windows was announced");
    assert_eq!(cap(&book.view(&at(450))), Some(200.0));
    assert_eq!(cap(&book.view(&at(500))), Some(100.0), "after the last of them the fail-safe stands");
    assert_eq!(book.view(&at(500)).state, SourceState::Failsafe);
}

#[test]
fn rule_6_a_link_that_comes_and_goes_does_not_pump_the_fleet() {
    let mut book = book(SourceSettings { fail_safe_hold: seconds(600), ..settings() });
    assert_eq!(cap(&book.view(&at(200))), Some(100.0));
    assert_eq!(fresh_cap(&mut book, 210), Some(100.0), "back at once, held all the same");
    give(&mut book, order("tight", 30.0, 0, None), 220).unwrap();
    assert_eq!(fresh_cap(&mut book, 220), Some(30.0), "a tighter order is obeyed at once");
    book.withdraw("tight", None, &at(300));
    for second in [300, 400, 500, 600, 700, 799] {
        assert_eq!(fresh_cap(&mut book, second), Some(100.0));
    }
    assert_eq!(fresh_cap(&mut book, 800), None);
}

#[test]
fn rule_6_what_is_released_is_what_was_configured_and_never_everything() {
    let release = Release::AfterHold(Watts::kilowatts(250.0));
    let mut book = book(SourceSettings { release, fail_safe_hold: seconds(3600), ..settings() });
    assert_eq!(cap(&book.view(&at(121))), Some(100.0));
    assert_eq!(cap(&book.view(&at(3720))), Some(100.0));
    let view = book.view(&at(3721));
    assert_eq!((view.state, cap(&view)), (SourceState::Released, Some(250.0)));
}

#[test]
fn rule_7_a_restart_resumes_and_is_no_release() {
    let mut before = book(settings());
    give(&mut before, order("tight", 40.0, 0, Some(5000)), 0).unwrap();
    give(&mut before, order("loose", 400.0, 0, None).with_lane("other"), 0).unwrap();
    let disk: Vec<_> = before.orders().cloned().collect();
    let mut after = Book::restore(settings(), disk);
    // The monotonic clock begins anew, the wall clock goes on.
    let now = |second: u64| Now { moment: Moment::millis(second * 1000), ..at(1000 + second) };
    let view = after.view(&now(0));
    assert_eq!((view.state, cap(&view)), (SourceState::Init, Some(40.0)));
    after.withdraw("tight", None, &now(1));
    assert_eq!(cap(&after.view(&now(1))), Some(40.0), "nothing loosens before the source has spoken");
    after.fresh(Told::Orders, None, &now(2));
    assert_eq!(cap(&after.view(&now(2))), Some(400.0));
}

#[test]
fn rule_7_after_a_power_cut_the_fail_safe_stands_until_the_source_speaks() {
    let mut book = Book::new(settings());
    let view = book.view(&at(0));
    assert_eq!((view.state, cap(&view)), (SourceState::Init, Some(100.0)));
    assert_eq!(book.view(&at(121)).state, SourceState::Failsafe);
    assert_eq!(fresh_cap(&mut book, 130), None);
}

#[test]
fn rule_8_a_value_that_cannot_be_meant_is_refused_and_changes_nothing() {
    let mut book = book(settings());
    give(&mut book, order("a", 300.0, 0, None), 0).unwrap();
    let mut with = |ask: Ask| give(&mut book, Order { revision: 2, ask, ..order("a", 0.0, 0, None) }, 1);
    assert!(matches!(with(Ask::Cap(Watts::whole(-1))), Err(Refusal::Negative(_))));
    assert!(matches!(with(Ask::Cap(Watts::kilowatts(1000.1))), Err(Refusal::AboveNameplate { .. })));
    assert!(matches!(with(Ask::ShareOfNameplate(1.2)), Err(Refusal::Share(_))));
    assert!(matches!(with(Ask::ShareOfNameplate(f64::NAN)), Err(Refusal::Share(_))));
    assert!(matches!(with(Ask::ReduceBy(Watts::whole(-5))), Err(Refusal::Negative(_))));
    assert_eq!(with(Ask::ReduceBy(Watts::whole(5))), Err(Refusal::NoBaseline));
    let backwards = Order { revision: 2, ..order("a", 10.0, 50, Some(49)) };
    assert_eq!(give(&mut book, backwards, 1), Err(Refusal::Backwards));
    let nameless = order("", 10.0, 0, None);
    assert!(matches!(give(&mut book, nameless, 1), Err(Refusal::Name(_))));
    assert_eq!(fresh_cap(&mut book, 1), Some(300.0));
    let zero = Order { revision: 2, ..order("a", 0.0, 0, None) };
    assert_eq!(give(&mut book, zero, 2), Ok(Receipt::Replaced), "zero is a value");
    assert_eq!(fresh_cap(&mut book, 2), Some(0.0));
}

#[test]
fn rule_8_what_comes_twice_or_out_of_order_is_ignored() {
    let mut book = book(settings());
    let third = Order { revision: 3, ..order("a", 300.0, 0, None) };
    assert_eq!(give(&mut book, third.clone(), 0), Ok(Receipt::Accepted));
    assert_eq!(give(&mut book, third.clone(), 1), Ok(Receipt::Duplicate));
    let second = Order { revision: 2, ..order("a", 900.0, 0, None) };
    assert_eq!(give(&mut book, second, 2), Ok(Receipt::Outdated));
    let looser = Order { revision: 3, ..order("a", 900.0, 0, None) };
    assert_eq!(give(&mut book, looser, 2), Err(Refusal::SameRevision));
    let stricter = Order { revision: 3, ..order("a", 100.0, 0, None) };
    assert_eq!(give(&mut book, stricter, 2), Ok(Receipt::Replaced), "of two under one number the stricter");
    assert!(book.withdraw("a", Some(4), &at(3)));
    assert!(!book.withdraw("a", Some(4), &at(3)));
    assert_eq!(give(&mut book, third, 4), Ok(Receipt::Outdated), "what was taken back stays so");
    assert_eq!(fresh_cap(&mut book, 4), None);
    let over = order("over", 10.0, 0, Some(3));
    assert_eq!(give(&mut book, over, 5), Ok(Receipt::Over));
}

#[test]
fn rule_8_a_book_has_an_end() {
    let mut book = book(settings());
    for number in 0..super::book::MOST_ORDERS {
        give(&mut book, order(&format!("{number}"), 500.0, 0, Some(100)), 0).unwrap();
    }
    assert!(matches!(give(&mut book, order("more", 500.0, 0, None), 1), Err(Refusal::Full(_))));
    assert_eq!(
        give(&mut book, order("more", 500.0, 0, None), 100),
        Ok(Receipt::Accepted),
        "what is over goes"
    );
}

#[test]
fn rule_9_a_cap_that_is_not_reached_is_a_shortfall() {
    let mut delivery = Delivery::new(Watts::kilowatts(100.0), None, Basis::Instant, DAY);
    delivery.observe(DAY.later(seconds(1)), Some(Watts::kilowatts(130.0)), false);
    assert_eq!(delivery.shortfall, Some(Watts::kilowatts(30.0)));
    assert_eq!(delivery.met, None);
    delivery.observe(DAY.later(seconds(2)), None, false);
    assert_eq!(delivery.shortfall, None, "what nobody measures is no success");
    delivery.observe(DAY.later(seconds(3)), Some(Watts::kilowatts(100.5)), false);
    assert_eq!(delivery.shortfall, Some(Watts::ZERO));
    assert_eq!(delivery.met, Some(DAY.later(seconds(3))));
}

#[test]
fn what_miners_draw_asleep_meets_a_cap_below_it_and_is_counted() {
    let mut pause = Delivery::new(Watts::ZERO, None, Basis::Instant, DAY);
    let asleep = Some(Watts::kilowatts(1.8));
    pause.observe(DAY.later(seconds(1)), Some(Watts::kilowatts(130.0)), false);
    pause.observe(DAY.later(seconds(2)), asleep, true);
    assert_eq!((pause.shortfall, pause.met), (Some(Watts::ZERO), Some(DAY.later(seconds(2)))));
    assert_eq!((pause.worst, pause.mean()), (Watts::kilowatts(1.8), asleep));
    pause.observe(DAY.later(seconds(3)), asleep, false);
    assert_eq!(pause.shortfall, asleep, "somebody runs again");
}

#[test]
fn rule_10_the_record_says_when_and_how_much() {
    let basis = Basis::Mean(seconds(900));
    let baseline = Some(Watts::kilowatts(300.0));
    let mut delivery = Delivery::new(Watts::kilowatts(100.0), baseline, basis, DAY);
    for second in 1..=1801 {
        let power = if second < 11 { 300.0 } else { 80.0 };
        delivery.observe(DAY.later(seconds(second)), Some(Watts::kilowatts(power)), false);
    }
    delivery.end(DAY.later(seconds(1802)));
    assert_eq!(delivery.applied, Some(DAY.later(seconds(1))));
    assert_eq!(delivery.met, Some(DAY.later(seconds(11))));
    assert_eq!(delivery.ended, Some(DAY.later(seconds(1802))));
    assert_eq!(delivery.measured, seconds(1800));
    let mean = delivery.mean().unwrap().get();
    assert!((mean - 81_100.0).abs() < 1.0, "{mean}");
    assert!(delivery.deviation().unwrap() < Watts::ZERO);
    assert!((delivery.delivered().unwrap() - 1.0945).abs() < 1e-3, "a little more than was asked");
    assert!((delivery.avoided().unwrap().kilowatt_hours() - 109.45).abs() < 0.01);
    let worst = delivery.worst_mean.unwrap().get();
    assert!((worst - 82_200.0).abs() < 1.0, "the first quarter of an hour: {worst}");
}

#[test]
fn rule_11_raising_above_a_cap_needs_a_name_and_an_end() {
    let mut book = book(settings());
    give(&mut book, order("a", 50.0, 0, None), 0).unwrap();
    assert!(!book.lift("", DAY.later(seconds(60)), &at(1)));
    assert!(!book.lift("night shift", DAY, &at(1)));
    assert_eq!(fresh_cap(&mut book, 1), Some(50.0));
    assert!(book.lift("night shift", DAY.later(seconds(60)), &at(1)));
    let view = book.view(&at(2));
    assert_eq!(cap(&view), None);
    assert_eq!(view.lifted, Some(("night shift".into(), DAY.later(seconds(60)))));
    assert_eq!(fresh_cap(&mut book, 60), Some(50.0), "it ends by itself");
}

#[test]
fn a_reduction_is_measured_from_the_baseline_of_its_acceptance() {
    let mut book = book(settings());
    let ask = Ask::ReduceBy(Watts::kilowatts(120.0));
    let bases = Bases { baseline: Some(Watts::kilowatts(300.0)), ..BASES };
    book.accept(Order { ask, ..order("a", 0.0, 0, None) }, &bases, &at(0)).unwrap();
    assert_eq!(fresh_cap(&mut book, 1), Some(180.0));
    assert_eq!(book.orders().next().unwrap().baseline, bases.baseline);
    let more = Order { revision: 2, ask: Ask::ReduceBy(Watts::kilowatts(400.0)), ..order("a", 0.0, 0, None) };
    book.accept(more, &bases, &at(2)).unwrap();
    assert_eq!(fresh_cap(&mut book, 2), Some(0.0), "no less than nothing");
}

#[test]
fn a_calendar_needs_nobody() {
    let mut book = Book::new(SourceSettings { feed: Feed::Calendar, ..settings() });
    give(&mut book, order("peak", 0.0, 1000, Some(2000)), 0).unwrap();
    assert_eq!(cap(&book.view(&at(999))), None);
    assert_eq!(cap(&book.view(&at(1000))), Some(0.0));
    assert_eq!(book.view(&at(2000)).state, SourceState::Controlled);
}

impl Order {
    fn with_lane(self, lane: &str) -> Self {
        Self { lane: lane.into(), ..self }
    }
}

/// One thing that can happen to a site with two sources.
#[derive(Clone, Debug)]
enum Event {
    Give { source: usize, id: u8, revision: u64, cap: u32, from: u64, long: u64, priority: u32 },
    Withdraw { source: usize, id: u8 },
    Hear { source: usize },
    Restart,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let source = 0..2_usize;
    prop_oneof![
        4 => (source.clone(), 0..4_u8, 0..6_u64, 0..1_000_000_u32, 0..400_u64, 1..900_u64, 0..3_u32).prop_map(
            |(source, id, revision, cap, from, long, priority)| Event::Give {
                source, id, revision, cap, from, long, priority
            }
        ),
        1 => (source.clone(), 0..4_u8).prop_map(|(source, id)| Event::Withdraw { source, id }),
        4 => source.prop_map(|source| Event::Hear { source }),
        1 => Just(Event::Restart),
        4 => (1..200_u64).prop_map(Event::Wait),
    ]
}

fn effective(views: &[View]) -> f64 {
    tightest(views, PCC, Scope::Import).map_or(f64::INFINITY, |active: &Active| active.cap.get())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever happens: the effective cap is the minimum over the sources, it is never above the best order of any
    /// lane of a source that is heard, and as long as a source is lost its own cap never rises.
    #[test]
    fn the_tightest_valid_cap_always_binds_and_a_loss_never_loosens(
        events in proptest::collection::vec(event(), 1..60),
        hold in 0..300_u64,
    ) {
        let settings = SourceSettings { fail_safe_hold: seconds(hold), ..settings() };
        let mut books = vec![book(settings.clone()), book(settings.clone())];
        let (mut second, mut started) = (0_u64, 0_u64);
        let mut before: Vec<Option<f64>> = vec![None, None];
        for event in events {
            let now = Now { moment: at(second - started).moment, ..at(second) };
            let mut restarted = false;
            match event {
                Event::Give { source, id, revision, cap, from, long, priority } => {
                    let order = Order {
                        revision,
                        priority,
                        ask: Ask::Cap(Watts::whole(i32::try_from(cap).unwrap())),
                        ..order(&id.to_string(), 0.0, second + from, Some(second + from + long))
                    };
                    let _ = books[source].accept(order, &BASES, &now);
                }
                Event::Withdraw { source, id } => {
                    books[source].withdraw(&id.to_string(), None, &now);
                }
                Event::Hear { source } => books[source].fresh(Told::Orders, None, &now),
                Event::Restart => {
                    books = books
                        .iter()
                        .map(|book| Book::restore(settings.clone(), book.orders().cloned()))
                        .collect();
                    started = second;
                    restarted = true;
                }
                Event::Wait(time) => second += time,
            }
            let now = Now { moment: at(second - started).moment, ..at(second) };
            let views: Vec<View> = books.iter_mut().map(|book| book.view(&now)).collect();
            let own: Vec<f64> = views.iter().map(|view| effective(std::slice::from_ref(view))).collect();
            prop_assert!(effective(&views).total_cmp(&own[0].min(own[1])).is_eq());
            for ((view, book), (own, before)) in
                views.iter().zip(&books).zip(own.iter().zip(before.iter_mut()))
            {
                // The best acting order of this one lane, worked out anew.
                let acting = book.orders().filter(|held| {
                    held.withdrawn.is_none()
                        && held.order.from <= now.wall
                        && held.order.until.is_some_and(|until| now.wall < until)
                });
                let best = acting.min_by(|a, b| {
                    a.order.priority.cmp(&b.order.priority).then(a.cap.total_cmp(&b.cap))
                });
                if let Some(best) = best {
                    prop_assert!(*own <= best.cap.get(), "{view:?}");
                }
                let lost = matches!(view.state, SourceState::Init | SourceState::Failsafe);
                if lost {
                    prop_assert!(*own <= 100_000.0, "{view:?}");
                }
                if let Some(before) = before.filter(|_| lost && view.age.is_none_or(|age| age > seconds(120))) {
                    prop_assert!(*own <= before || restarted, "rose from {before}: {view:?}");
                }
                *before = Some(*own);
            }
        }
    }
}
