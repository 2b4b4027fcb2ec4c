//! Decoding is free of allocation: from the words of an answer to the value of every point, for every shipped profile.

use std::hint::black_box;

use allocation_counter::measure;
use ballast::config::builtin;
use ballast::meter::decode;
use ballast::meter::plan::Plan;

#[test]
fn taking_over_and_decoding_an_answer_allocates_nothing() {
    let words: Vec<u16> = (0..125).collect();
    let mut points = 0;
    for name in builtin::profile_names() {
        let profile = builtin::profile(name).unwrap();
        let mut plan = Plan::new(profile.points().map(|(_, point)| point));
        let counted = measure(|| {
            for _ in 0..100 {
                let mut position = 0;
                while let Some(span) = plan.span(position) {
                    plan.store(position, black_box(&words[..usize::from(span.count)]));
                    position += 1;
                }
                for (measure, point) in profile.points() {
                    let _ = black_box(decode::point(point, |register| plan.words(register)));
                    let _ = black_box(decode::measured(&profile, measure, |register| plan.words(register)));
                }
            }
        });
        assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{name}");
        points += profile.points().count();
    }
    assert!(points > 100, "{points} points");
}

#[test]
fn an_allocation_would_be_seen() {
    let counted = measure(|| {
        black_box(Vec::<u16>::with_capacity(black_box(7)));
    });
    assert_eq!((counted.count_total, counted.bytes_total), (1, 14));
}
