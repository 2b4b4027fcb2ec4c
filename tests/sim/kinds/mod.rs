//! What scenarios can do to meters, miners and the whole site, in simulated time: that each fault does what it says. How
//! well the control law copes is not looked at here; it only observes.

#![cfg(test)]

mod bench;
mod differ;
mod loads;
mod meters;
mod miners;
mod outage;

use ballast::sim::Scenario;
use ballast::sim::miner::FaultKind;
use ballast::sim::scenario::METER_FAULTS;

#[test]
fn the_guide_names_every_scenario_and_every_fault() {
    let guide = include_str!("../../../docs/guide/demo-and-simulator.md");
    let scenarios = Scenario::EMBEDDED.iter().map(|(name, _)| *name);
    let faults = METER_FAULTS.iter().map(|(name, ..)| *name).chain(FaultKind::ALL.map(FaultKind::name));
    for name in scenarios.chain(faults) {
        assert!(guide.contains(&format!("\n| `{name}` |")), "`{name}` has no row of its own");
    }
}

#[test]
fn the_examples_of_the_guide_are_scenarios() {
    let guide = include_str!("../../../docs/guide/demo-and-simulator.md");
    let examples: Vec<&str> =
        guide.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        let head = if example.contains("description") { "" } else { "description = \"x\"\n" };
        let scenario = Scenario::parse("guide", &format!("{head}{example}")).unwrap();
        // Jobs are for the servers of another fleet: `hall/jobs.rs` has them.
        if !example.contains("household") && !example.contains("[[job]]") {
            bench::of(&scenario);
        }
    }
}
