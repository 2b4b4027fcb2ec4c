//! Points that the devices offer.

use std::sync::Arc;

use super::plant::Plant;
use crate::control::site::OperatingPoint;
use crate::control::snapshot::Target;
use crate::control::testing::{curve, site};

fn offered(points: &[(i32, f64)]) -> Option<Arc<[OperatingPoint]>> {
    Some(curve(points).into())
}

#[test]
fn a_device_that_offers_points_is_put_on_those_alone() {
    let mut plant = Plant::new(site(20), 0.0, |_| -77e3);
    plant.points = offered(&[(1_500, 85.0), (2_100, 118.0), (2_900, 151.0)]);
    let decision = plant.run(200);
    let known = [1_500.0, 2_100.0, 2_900.0];
    let mut seen = 0;
    for miner in &decision.miners {
        if let Some(Target::Power(power)) = miner.setpoint {
            seen += 1;
            assert!(known.iter().any(|known| (power.get() - known).abs() < 0.5), "{power}");
        }
    }
    assert!(seen > 20, "{seen} miners run");
    assert!(plant.draw() > 68e3, "draws {}", plant.draw());
}

#[test]
fn points_outside_of_what_the_operator_allows_are_not_used() {
    let mut plant = Plant::new(site(20), 0.0, |_| -300e3);
    plant.flickers = Some(1.0);
    plant.points = offered(&[(900, 50.0), (2_900, 151.0), (4_100, 190.0)]);
    let decision = plant.run(200);
    for miner in &decision.miners {
        match miner.setpoint {
            Some(Target::Power(power)) => assert!((power.get() - 2_900.0).abs() < 0.5, "{power}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn points_that_change_while_it_runs_are_followed() {
    let mut plant = Plant::new(site(20), 0.0, |_| -300e3);
    plant.points = offered(&[(1_500, 85.0), (2_900, 151.0)]);
    plant.run(120);
    plant.points = offered(&[(1_500, 85.0), (3_200, 165.0)]);
    let decision = plant.run(150);
    let raised = decision.miners.iter().filter(
        |miner| matches!(miner.setpoint, Some(Target::Power(power)) if (power.get() - 3_200.0).abs() < 0.5),
    );
    assert_eq!(raised.count(), 40);
}
