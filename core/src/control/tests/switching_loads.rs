//! Loads that come and go.

use super::plant::Plant;
use crate::control::site::{LimitClass, Scope};
use crate::control::testing::{limit, site};

/// A compressor of 40 kW, there for a minute and away for a minute, beside some weather.
fn by_the_minute(at: f64) -> f64 {
    let there = if (at / 60.0) % 2.0 < 1.0 { 40e3 } else { 0.0 };
    there - 100e3 + 600.0 * (at / 7.0).sin()
}

#[test]
fn what_a_load_leaves_while_it_stays_away_is_used() {
    let mut plant = Plant::new(site(20), 0.5, by_the_minute);
    plant.run(720);
    (plant.imported, plant.surplus, plant.captured) = (0.0, 0.0, 0.0);
    plant.run(1_200);
    let (import, captured) = (plant.imported / plant.surplus, plant.captured / plant.surplus);
    assert!(captured > 0.9, "captured {captured:.3}, imported {import:.4}");
    assert!(import < 0.003, "captured {captured:.3}, imported {import:.4}");
}

#[test]
fn below_a_contract_it_may_come_back_early() {
    // From the twelfth minute on it comes back after half of the time now and then.
    let early = |at: f64| at > 720.0 && (at / 60.0) % 8.0 > 3.5 && (at / 60.0) % 8.0 < 4.0;
    let mut site = site(20);
    site.limits = vec![limit("contract", 0, Scope::Import, LimitClass::Contract, 30_000)];
    let mut plant =
        Plant::new(site, 0.5, move |at| by_the_minute(at) + 30e3 + if early(at) { 40e3 } else { 0.0 });
    plant.run(720);
    for _ in 0..1_200 {
        plant.cycle();
        assert!(plant.import() < 31e3, "{} W at {} s", plant.import(), plant.seconds());
    }
    assert!(plant.captured > 0.0);
}
