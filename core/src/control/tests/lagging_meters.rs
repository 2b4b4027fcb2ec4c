//! Meters that show late what happens, without anybody having said so.

use std::time::Duration;

use super::plant::Plant;
use super::slow_meters::with_feeder;

struct Result {
    import: f64,
    captured: f64,
    lowest: f64,
    at_last: f64,
    commands: usize,
    learned: Option<f64>,
}

/// Twenty minutes below clouds after ten to learn, then calm, and a step down.
fn run(lag: u64, feeder: bool) -> Result {
    let site = with_feeder(feeder);
    let sky = |at: f64| {
        let clouds = 20e3 * (at / 37.0).sin() + 10e3 * (at / 8.3).sin();
        if at < 1_800.0 { -(95e3 + clouds) } else { -(if at < 1_820.0 { 95e3 } else { 70e3 }) }
    };
    let mut plant = Plant::new(site, 0.6, sky);
    plant.meter_lag = Duration::from_secs(lag);
    let decision = plant.run(600);
    (plant.imported, plant.surplus, plant.captured) = (0.0, 0.0, 0.0);
    let before = plant.commands;
    plant.run(1_200);
    let commands = plant.commands - before;
    let (import, captured) = (plant.imported / plant.surplus, plant.captured / plant.surplus);
    plant.run(15);
    let mut lowest = f64::MAX;
    for _ in 0..60 {
        plant.cycle();
        lowest = lowest.min(plant.draw());
    }
    Result {
        import,
        captured,
        lowest,
        at_last: plant.draw(),
        commands,
        learned: decision.meters[0].learned_lag.map(|lag| lag.as_secs_f64()),
    }
}

#[test]
fn a_lag_that_nobody_told_is_learned_and_then_neither_imports_nor_hunts() {
    for feeder in [false, true] {
        for lag in [0, 2, 4] {
            let known = run(lag, feeder);
            if let Some(learned) = known.learned {
                assert!(
                    (learned - f64::from(u32::try_from(lag).unwrap())).abs() <= 0.5,
                    "{learned} for {lag}"
                );
            }
            // The later a meter is, the more is kept free, and the more is imported all the same.
            let least = match lag {
                0 => 0.95,
                2 => 0.93,
                _ => 0.89,
            };
            assert!(known.captured > least, "{lag} s, {feeder}: captured {}", known.captured);
            let most = if lag > 0 { 0.002_5 } else { 0.001_2 };
            assert!(known.import <= most, "{lag} s, {feeder}: imported {}", known.import);
            assert!(lag == 0 || known.learned.is_some(), "{lag} s, {feeder}");
            // Just over two in a minute and miner under a sky that turns every half minute.
            assert!(known.commands < 1_800, "{lag} s, {feeder}: {} commands", known.commands);
            // From 95 to 70 kW of surplus at once: it is answered once, and what is kept free stays the same.
            let over = known.at_last - known.lowest;
            assert!(over < 2e3, "{lag} s, {feeder}: over-shed by {over} to {}", known.lowest);
            assert!(known.at_last > 58e3, "{lag} s, {feeder}: {}", known.at_last);
        }
    }
}
