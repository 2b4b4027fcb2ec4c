//! The worked example of `docs/architecture.md`: what is printed there is what the law does.

use std::time::Duration;

use super::plant::Plant;
use crate::control::site::{OperatingPoint, Site};
use crate::control::snapshot::Target;
use crate::control::testing::site;
use crate::units::{Hashrate, Watts, WattsPerSecond};

const TEXT: &str = include_str!("../../../../docs/architecture.md");
/// Seconds before the first step of the surplus.
const BEFORE: f64 = 300.0;
/// The seconds that the text prints.
const PRINTED: &[u32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 11, 101, 102, 103, 104, 106, 107, 109, 302, 303, 304, 306, 308, 310, 402, 404,
    409, 412, 416, 420, 424, 429, 433, 443, 460,
];

fn example() -> Site {
    let mut site = site(20);
    site.circuits[0].margin = Watts::whole(2_000);
    for miner in &mut site.miners {
        let point = |&(power, hashrate): &(i32, f64)| OperatingPoint {
            power: Watts::whole(power),
            hashrate: Hashrate::terahashes(hashrate),
        };
        miner.points =
            [(1_600, 88.0), (2_200, 119.0), (2_800, 147.0), (3_200, 163.0)].iter().map(point).collect();
        miner.nameplate = Watts::whole(3_400);
        miner.response.ramp_down = WattsPerSecond::whole(800);
        miner.response.ramp_up = WattsPerSecond::whole(800);
    }
    site
}

/// Load other than miners, in watts, by the seconds since the first step: clouds, and then four steps.
fn other(at: f64) -> f64 {
    let clouds =
        if (-240.0..-60.0).contains(&at) { 11e3 * (at * std::f64::consts::TAU / 30.0).sin() } else { 0.0 };
    let surplus = match at {
        at if at < 0.0 => 100e3,
        at if at < 100.0 => 80e3,
        at if at < 300.0 => 50e3,
        at if at < 400.0 => 80e3,
        _ => 120e3,
    };
    clouds - surplus
}

fn kilowatts(watts: f64) -> String {
    let text = format!("{:.2}", watts / 1e3);
    if text == "-0.00" { "0.00".into() } else { text.replace('-', "−") }
}

#[test]
fn the_worked_example_is_what_the_law_does() {
    let mut plant = Plant::new(example(), 0.95, |at| other(at - BEFORE));
    plant.meter_lag = Duration::from_secs(2);
    let mut rows = Vec::new();
    for second in 1..=770_u32 {
        let before = plant.commands;
        let decision = plant.cycle();
        let Some(at) = second.checked_sub(300).filter(|at| PRINTED.contains(at)) else { continue };
        let outlook = plant.state.memories[0].balance.outlook().unwrap();
        let circuit = &decision.circuits[0];
        let headroom = circuit.headroom.get();
        let reserve = outlook.below - outlook.level - outlook.ahead - headroom;
        let flying: f64 = decision.miners.iter().map(|miner| miner.counted.get()).sum();
        rows.push(format!(
            "| {at} s | {} | {} | {} | {} / {} | {} | {} | {} | {} | {} | {} |",
            kilowatts(plant.draw()),
            kilowatts(circuit.power.unwrap().get()),
            kilowatts(outlook.level),
            kilowatts(outlook.below),
            kilowatts(outlook.above),
            kilowatts(reserve),
            kilowatts(headroom),
            kilowatts(circuit.setpoint.get()),
            kilowatts(flying),
            plant.commands - before,
            plant.miners.iter().filter(|miner| miner.target == Target::Sleep).count(),
        ));
    }
    let drifted: Vec<&String> = rows.iter().filter(|row| !TEXT.contains(row.as_str())).collect();
    assert!(drifted.is_empty(), "docs/architecture.md prints something else. The law gives:\n{rows:#?}");
}
