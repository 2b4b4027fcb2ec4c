//! Any text as a scenario: read or refused with a place, and its faults keep their bounds.
#![no_main]

use std::time::Duration;

use ballast::sim::Scenario;
use ballast::sim::scenario::{Bend, Fault, MeterFault};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let scenario = match Scenario::parse("fuzz.toml", text) {
        Ok(scenario) => scenario,
        Err(error) => {
            assert!(error.place.line >= 1 && error.place.column >= 1 && !error.message.is_empty());
            return;
        }
    };
    assert!((1..=64).contains(&scenario.connections));
    for event in &scenario.faults {
        let Fault::Meter { fault, .. } = &event.fault else { continue };
        match fault {
            MeterFault::Answers { bend, every } => {
                assert!((1..=1_000).contains(every));
                if let Bend::Slow(delay) | Bend::Late(delay) = bend {
                    assert!(*delay <= Duration::from_secs(60));
                }
            }
            MeterFault::Clients { most, .. } => assert!((1..=64).contains(most)),
            MeterFault::Factor(factor) => assert!(factor.is_finite()),
            MeterFault::Refresh(time) | MeterFault::Lag(time) => assert!(*time <= Duration::from_secs(3_600)),
            _ => {}
        }
    }
});
