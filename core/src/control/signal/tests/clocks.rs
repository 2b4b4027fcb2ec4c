//! A wall clock that jumps raises no cap: what has begun stays so, and its time is counted.

use super::*;
use crate::control::signal::book::{Begun, Phase};

/// A second of the test at which the wall clock is off by so many seconds.
fn off(second: u64, by: i64) -> Now {
    let wall = Wall::unix_millis(at(second).wall.as_unix_millis() + by * 1_000);
    Now { wall, ..at(second) }
}

fn view(book: &mut Book, now: Now) -> Option<f64> {
    book.fresh(Told::Orders, None, &now);
    cap(&book.view(&now))
}

#[test]
fn a_clock_that_goes_back_lifts_no_cap_in_force() {
    for back in [20, 1_200, 86_400 * 30, 56 * 365 * 86_400] {
        let mut book = book(settings());
        give(&mut book, order("open", 50.0, 0, None), 0).unwrap();
        give(&mut book, order("window", 20.0, 0, Some(600)), 0).unwrap();
        assert_eq!(view(&mut book, at(1)), Some(20.0));
        for second in [2, 17, 599] {
            assert_eq!(view(&mut book, off(second, -back)), Some(20.0), "{back} s back, second {second}");
        }
        assert_eq!(view(&mut book, off(600, -back)), Some(50.0), "its ten minutes are over, {back} s back");
        assert_eq!(view(&mut book, off(50_000, -back)), Some(50.0));
    }
}

#[test]
fn a_clock_that_goes_ahead_ends_no_order() {
    let mut book = book(settings());
    give(&mut book, order("window", 20.0, 0, Some(600)), 0).unwrap();
    for second in [1, 30, 599] {
        assert_eq!(view(&mut book, off(second, 86_400 * 500)), Some(20.0));
    }
    assert_eq!(view(&mut book, off(600, 86_400 * 500)), None);
}

#[test]
fn an_order_of_later_that_a_wrong_clock_began_comes_again_at_its_time() {
    let mut book = book(settings());
    give(&mut book, order("tonight", 20.0, 10_000, Some(11_000)), 0).unwrap();
    assert_eq!(view(&mut book, off(1, 10_200)), Some(20.0), "the clock is ahead: it seems to be tonight");
    assert_eq!(view(&mut book, at(2)), Some(20.0), "what has begun is not taken back with the mistake");
    assert_eq!(view(&mut book, at(900)), None, "but it is over when its time is");
    assert_eq!(view(&mut book, at(9_999)), None);
    assert_eq!(view(&mut book, at(10_000)), Some(20.0), "and tonight it is there");
    assert_eq!(view(&mut book, at(10_999)), Some(20.0));
    assert_eq!(view(&mut book, at(11_000)), None);
}

#[test]
fn an_order_that_is_over_does_not_come_again_with_a_clock_that_goes_back() {
    let mut book = book(settings());
    give(&mut book, order("done", 20.0, 100, Some(200)), 0).unwrap();
    assert_eq!(view(&mut book, at(100)), Some(20.0));
    // No look at the moment of its end: it is not pruned before the clock goes back.
    let held = book.orders().next().unwrap().clone();
    assert_eq!(held.phase(&off(250, -200), Duration::ZERO), Phase::Over);
    assert_eq!(view(&mut book, off(250, -200)), None);
}

#[test]
fn a_restart_with_an_earlier_clock_resumes_what_had_begun() {
    let mut before = book(settings());
    give(&mut before, order("open", 0.0, 0, None), 0).unwrap();
    assert_eq!(view(&mut before, at(1)), Some(0.0));
    let disk: Vec<_> = before.orders().cloned().collect();
    assert_eq!(disk[0].begun, Some(Begun { wall: DAY, steady: DAY }));
    for by in [-1_200, -86_400 * 365 * 56, 86_400 * 500] {
        let mut after = Book::restore(settings(), disk.clone());
        assert_eq!(view(&mut after, off(5, by)), Some(0.0), "{by} s off");
    }
}

#[test]
fn a_correction_of_an_order_goes_on_with_its_count() {
    let mut book = book(settings());
    give(&mut book, order("a", 50.0, 0, Some(1_000)), 0).unwrap();
    let later = Order { revision: 2, ..order("a", 40.0, 0, Some(2_000)) };
    let now = off(100, -1_200);
    assert_eq!(book.accept(later, &BASES, &now), Ok(Receipt::Replaced));
    assert_eq!(view(&mut book, now), Some(40.0), "it does not wait for the clock");
    assert_eq!(view(&mut book, off(1_999, -1_200)), Some(40.0));
    assert_eq!(view(&mut book, off(2_000, -1_200)), None);
}

#[test]
fn the_random_return_is_counted_too() {
    let mut book = book(SourceSettings { return_spread: seconds(600), ..settings() });
    give(&mut book, order("a", 50.0, 0, None), 0).unwrap();
    assert_eq!(view(&mut book, at(1)), Some(50.0));
    assert!(book.withdraw("a", None, &at(10)));
    assert_eq!(view(&mut book, off(11, 86_400)), Some(50.0));
    assert_eq!(view(&mut book, off(309, -86_400)), Some(50.0));
    assert_eq!(view(&mut book, off(310, -86_400)), None);
}

#[test]
fn a_lift_is_not_prolonged_by_a_clock_that_goes_back() {
    let mut book = book(settings());
    give(&mut book, order("a", 50.0, 0, None), 0).unwrap();
    assert!(book.lift("night shift", DAY.later(seconds(60)), &at(0)));
    assert_eq!(view(&mut book, off(30, -3_600)), None);
    assert_eq!(view(&mut book, off(60, -3_600)), Some(50.0));
}

#[test]
fn the_first_synchronisation_gives_nothing_back() {
    let mut book = book(settings());
    let unkept = |second, by| Now { doubt: Doubt::Unknown, ..off(second, by) };
    give(&mut book, order("soon", 50.0, 200, Some(5_000)), 0).unwrap();
    assert_eq!(
        view(&mut book, unkept(1, 0)),
        Some(50.0),
        "early by the allowance, for nobody keeps the clock"
    );
    // The clock is set ten minutes back.
    for second in [2, 150, 299] {
        assert_eq!(view(&mut book, off(second, -600)), Some(50.0), "second {second}");
    }
    assert_eq!(view(&mut book, off(302, -600)), None, "for as long as it might have been early");
    assert_eq!(view(&mut book, off(800, -600)), Some(50.0));
}

#[test]
fn an_end_that_a_clock_without_a_date_made_is_mended_when_the_clock_is_set() {
    let mut book = book(settings());
    let years = 56 * 365 * 86_400;
    let unset = Now { doubt: Doubt::Unknown, ..off(0, -years) };
    let from_now = |id: &str, cap, until| Order { from: unset.wall, until, ..order(id, cap, 0, None) };
    // Until a date, and for ten minutes.
    book.accept(from_now("date", 50.0, Some(at(1_000).wall)), &BASES, &unset).unwrap();
    let long = from_now("long", 20.0, Some(unset.wall.later(seconds(600))));
    book.accept(long, &BASES, &unset).unwrap();
    assert_eq!(view(&mut book, unset), Some(20.0));
    assert_eq!(view(&mut book, at(300)), Some(20.0), "ten minutes are ten minutes");
    assert_eq!(view(&mut book, at(599)), Some(20.0));
    assert_eq!(view(&mut book, at(999)), Some(50.0));
    assert_eq!(view(&mut book, at(1_001)), None, "a date is a date");
}

#[test]
fn what_began_while_a_change_was_brought_to_disk_stays_begun() {
    let mut book = book(settings());
    give(&mut book, order("a", 50.0, 10, None), 0).unwrap();
    let mut copy = book.clone();
    assert_eq!(view(&mut book, at(10)), Some(50.0));
    copy.accept(order("b", 80.0, 0, None), &BASES, &at(9)).unwrap();
    book.adopt(copy);
    assert_eq!(view(&mut book, off(11, -100)), Some(50.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The clock jumps as it likes, also over restarts: an order that was given to hold from now on holds for exactly as
    /// long as it says.
    #[test]
    fn however_the_clock_jumps_an_order_holds_for_its_time(
        long in 1..2_000_u64,
        looks in proptest::collection::vec((1..400_u64, -2_000_000_000..2_000_000_000_i64, any::<bool>()), 1..30),
        first in -2_000_000_i64..2_000_000,
    ) {
        let mut book = book(settings());
        let begin = off(0, first);
        let order = Order {
            from: begin.wall,
            until: Some(begin.wall.later(seconds(long))),
            ..order("a", 50.0, 0, None)
        };
        book.accept(order, &BASES, &begin).unwrap();
        let mut second = 0;
        for (wait, by, restarts) in looks {
            second += wait;
            if restarts {
                book = Book::restore(settings(), book.orders().cloned());
            }
            let acts = view(&mut book, off(second, by)) == Some(50.0);
            prop_assert_eq!(acts, second < long, "second {} of {}, clock off by {}", second, long, by);
        }
    }
}
