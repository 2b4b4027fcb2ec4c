//! Meters that renew themselves seldom, or show late what happens: no hunting, and nothing is raised on old news.

use std::time::Duration;

use super::plant::Plant;
use crate::control::site::{CircuitId, MeterId, Site};
use crate::control::testing::{circuit, meter, site};

/// 40 miners of up to 3.4 kW below a connection point, with or without a meter that sees them alone.
pub fn with_feeder(feeder: bool) -> Site {
    let mut site = site(20);
    if feeder {
        let mut fleet = circuit("fleet", Some(0));
        fleet.meter = Some(MeterId(1));
        fleet.dedicated = true;
        site.circuits = vec![site.circuits[0].clone(), fleet];
        site.meters.push(meter("feeder"));
        for miner in &mut site.miners {
            miner.circuit = CircuitId(1);
        }
    }
    site
}

fn slow(refresh: u64, feeder: bool, fraction: f64, other: impl Fn(f64) -> f64 + 'static) -> Plant {
    let mut site = with_feeder(feeder);
    site.meters[0].stale_after = Duration::from_secs(3 * refresh + 4);
    site.meters[0].fail_safe_after = Duration::from_secs(6 * refresh + 14);
    let mut plant = Plant::new(site, fraction, other);
    plant.refresh = Duration::from_secs(refresh);
    plant
}

const EACH: [(u64, bool); 8] =
    [(1, false), (1, true), (5, false), (5, true), (10, false), (10, true), (30, false), (30, true)];

#[test]
fn a_meter_that_renews_itself_seldom_does_not_make_the_fleet_hunt() {
    for (refresh, feeder) in EACH {
        let mut plant = slow(refresh, feeder, 0.5, |_| -100e3);
        plant.flickers = Some(1.0);
        plant.run(600);
        let draw = plant.draw();
        assert!((94e3..=100e3).contains(&draw), "{refresh} s, {feeder}: settles at {draw}");
        let before = plant.commands;
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for _ in 0..300 {
            plant.cycle();
            low = low.min(plant.draw());
            high = high.max(plant.draw());
            assert!(plant.import() <= 0.0, "{refresh} s, {feeder}: imports {}", plant.import());
        }
        assert!(high - low < 3e3, "{refresh} s, {feeder}: swings from {low} to {high}");
        assert!(plant.commands - before <= 10, "{refresh} s, {feeder}: {} commands", plant.commands - before);
    }
}

#[test]
fn a_register_at_its_end_neither_locks_a_fleet_asleep_nor_is_taken_for_frozen() {
    for feeder in [false, true] {
        // It shows no more than 60 kW of export, and there is three times as much, until the sun sinks.
        let mut plant = Plant::new(with_feeder(feeder), 0.0, |at| if at < 900.0 { -180e3 } else { -70e3 });
        plant.end = -60e3;
        let all: f64 = plant.site.miners.iter().map(|miner| miner.maximum().get()).sum();
        plant.run(600);
        assert!(plant.draw() > 0.95 * all.min(120e3), "{feeder}: {} of {all} run", plant.draw());
        let before = plant.draw();
        plant.run(290);
        assert!(plant.draw() >= 0.99 * before, "{feeder}: and go on to: {} of {before}", plant.draw());
        plant.run(60);
        assert!(plant.import() <= 0.0, "{feeder}: what comes back is followed: {}", plant.import());
    }
}

#[test]
fn a_step_that_is_seen_late_is_answered_once() {
    for (refresh, feeder) in EACH {
        let mut plant = slow(refresh, feeder, 0.9, |at| if at < 200.0 { -130e3 } else { -90e3 });
        plant.run(200);
        let (mut seconds, mut lowest) = (0, f64::MAX);
        for second in 1..=150 {
            plant.cycle();
            if plant.import() > 0.0 {
                seconds = second;
            }
            lowest = lowest.min(plant.draw());
        }
        // One renewal until it is seen, and what a shed takes.
        assert!(seconds <= refresh + 6, "{refresh} s, {feeder}: still importing after {seconds} s");
        assert!(lowest > 82e3, "{refresh} s, {feeder}: over-shed to {lowest}");
    }
}

#[test]
fn nothing_is_raised_beyond_what_the_newest_sample_has_shown() {
    for (refresh, feeder) in EACH {
        let sky = |at: f64| -(85e3 + 35e3 * (at / 90.0).sin());
        let mut plant = slow(refresh, feeder, 0.3, sky);
        let (mut raised, mut shown, mut setpoint) = (0, 0.0, f64::MAX);
        for second in 0..900 {
            let decision = plant.cycle();
            if second % refresh == 0 {
                shown = -(plant.other)(plant.seconds());
            }
            let now = decision.fleet.setpoint.get();
            if now > setpoint + 1.0 {
                raised += 1;
                assert!(now <= shown + 200.0, "{refresh} s, {feeder}: {now} with {shown} shown");
            }
            setpoint = now;
        }
        assert!(raised > 5, "{refresh} s, {feeder}: followed the rise {raised} times only");
    }
}

#[test]
fn clouds_over_a_slow_meter_are_followed_with_bounded_import() {
    for (refresh, feeder) in EACH {
        let sky = |at: f64| -(95e3 + 25e3 * (at / 97.0).sin());
        let mut plant = slow(refresh, feeder, 0.6, sky);
        plant.run(300);
        (plant.imported, plant.surplus, plant.captured) = (0.0, 0.0, 0.0);
        let mut highest = f64::MIN;
        for _ in 0..1_800 {
            plant.cycle();
            highest = highest.max(plant.import());
        }
        let (import, captured) = (plant.imported / plant.surplus, plant.captured / plant.surplus);
        let apart = Duration::from_secs(refresh).as_secs_f64();
        // Between two samples the sky changes by at most 0.26 kW/s; the rest is what a shed takes.
        assert!(highest < 1e3 + 260.0 * (apart + 3.0), "{refresh} s, {feeder}: {highest} W");
        assert!(import < 0.001 + 0.000_25 * apart, "{refresh} s, {feeder}: imported {import:.4}");
        assert!(captured > 0.90, "{refresh} s, {feeder}: captured {captured:.3}");
    }
}

#[test]
fn what_a_slow_meter_shows_of_a_flickering_sky_is_answered_with_each_of_its_values() {
    for (refresh, feeder) in EACH.into_iter().filter(|(refresh, _)| *refresh >= 5) {
        // From just before one value to just before the next the same sky, and then another one: neighbouring changes cancel as those of noise do.
        let apart = Duration::from_secs(refresh).as_secs_f64();
        let sky = move |at: f64| {
            let draw = (((at - 0.9) / apart).floor() * 12.9898).sin() * 43_758.545_3;
            -(95e3 + 16e3 * (draw.fract().abs() - 0.5))
        };
        let mut plant = slow(refresh, feeder, 0.6, sky);
        plant.run(900);
        let (mut worst, mut import) = (f64::MIN, 0.0);
        for _ in 0..60 {
            // A second before the next value the fleet is where this one lets it be.
            plant.run(u32::try_from(refresh).unwrap());
            worst = worst.max(plant.import());
            import += plant.import().max(0.0) / 60.0;
        }
        assert!(
            worst < 500.0,
            "{refresh} s, {feeder}: {worst} W are still imported when the next value comes"
        );
        assert!(import < 100.0, "{refresh} s, {feeder}: {import} W are imported on the mean");
    }
}
