//! Any text as a profile: read or refused, and what is read can be planned and decoded.
#![no_main]

use std::path::Path;

use ballast::config::builtin;
use ballast::meter::decode;
use ballast::meter::plan::{MAX_REGISTERS, Plan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok((profile, _)) = builtin::parse_profile("fuzz", text, Path::new("fuzz.toml")) else { return };
    let mut plan = Plan::new(profile.points().map(|(_, point)| point));
    let mut position = 0;
    while let Some(span) = plan.span(position) {
        assert!((1..=MAX_REGISTERS).contains(&span.count));
        plan.store(position, &vec![1; usize::from(span.count)]);
        position += 1;
    }
    for (_, point) in profile.points() {
        if let Some(value) = decode::point(point, |register| plan.words(register)) {
            assert!(value.is_finite());
        }
    }
});
