//! A device that answers anything: the discovery ends within its bounds, and what it gives can be read.
#![no_main]

use ballast::meter::plan::{MAX_REGISTERS, Plan};
use ballast::meter::sunspec::{Discovery, MAX_REQUESTS, Refused};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut discovery = Discovery::new();
    let mut rest = data.iter().copied();
    let mut requests = 0;
    while let Some(request) = discovery.request() {
        requests += 1;
        assert!(requests <= MAX_REQUESTS);
        // One byte says how the device answers; the words follow.
        let answer = match rest.next() {
            None | Some(0) => Err(Refused),
            Some(1) => Ok(vec![0x5375, 0x6E53]),
            Some(_) => Ok((0..request.count)
                .map(|_| u16::from_be_bytes([rest.next().unwrap_or(0), rest.next().unwrap_or(0)]))
                .collect()),
        };
        discovery.answer(&answer);
    }
    for found in discovery.finish().unwrap_or_default() {
        let plan = Plan::new(found.profile.points().map(|(_, point)| point));
        for span in (0..).map_while(|position| plan.span(position)) {
            assert!((1..=MAX_REGISTERS).contains(&span.count));
            assert!(u32::from(span.address) + u32::from(span.count) <= 65_536);
        }
    }
});
