//! The demo's site under broken cloud, with its hall and without: the hall costs nothing of what is captured, and imports nothing.

use std::time::Duration;

use ballast::config::{self, Config, DEMO_NETWORK, DemoFleet};
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use ballast::sim::truth::Totals;

const SKY: &str = include_str!("../../scenarios/cloudy-hour.toml");

/// As `ai-event` has them.
const JOBS: &str = r#"
[[job]]
name = "held-*"
inference = { low = "45 %" }
[[job]]
name = "slowed-*"
training = { swing = "5 %", frequency = "0.5 Hz" }
[[job]]
name = "waits-*"
training = {}
"#;

/// Captured of what the fleet could use, and imported, as parts of the surplus, over half an hour.
fn came(what: &str, config: &Config, jobs: &str) -> (f64, f64) {
    let totals = totals(what, config, &format!("{SKY}\n{jobs}"));
    (totals.usable_captured_share().unwrap(), totals.attributable_import.ratio(totals.surplus).unwrap())
}

/// What half an hour came to.
fn totals(what: &str, config: &Config, scenario: &str) -> Totals {
    let scenario = Scenario::parse("cloudy-hour", scenario).unwrap();
    let mut replay = Replay::new(config, &scenario).unwrap();
    replay.run(Duration::from_secs(180), |_, _| {});
    replay.restart_counting();
    replay.run(Duration::from_secs(1_800), |_, _| {});
    let totals = replay.totals();
    let captured = totals.usable_captured_share().unwrap();
    let imported = totals.attributable_import.ratio(totals.surplus).unwrap();
    println!(
        "{what}: captured {:.2} %, imported {:.3} %, at most {}; {} of {} left over",
        100.0 * captured,
        100.0 * imported,
        totals.peak_import,
        totals.surplus - totals.captured,
        totals.surplus,
    );
    totals
}

#[test]
#[ignore = "an aim that is not reached: 94.8 % of the surplus instead of 95.4 (docs/benchmarks.md)"]
fn a_site_with_a_hall_captures_and_imports_as_one_with_miners_alone() {
    let alone = came("miners alone", &config::demo(DEMO_NETWORK).unwrap(), "");
    let ai = config::demo_fleet(DemoFleet::Ai, DEMO_NETWORK).unwrap();
    let mixed = came("with the hall", &ai, JOBS);
    assert!(mixed.0 > alone.0 - 0.005, "captured {:.4} and {:.4}", mixed.0, alone.0);
    assert!(mixed.1 < alone.1 + 0.005, "imported {:.4} and {:.4}", mixed.1, alone.1);
}

/// What the hall of the demo draws on the mean under these jobs, in place of the site's own 190 kW.
const WITH_THE_HALL: (&str, &str) = ("base = \"190 kW\"", "base = \"272 kW\"");

#[test]
fn miners_beside_a_hall_leave_no_more_than_miners_beside_a_load_of_its_size() {
    let (before, after) = WITH_THE_HALL;
    assert!(SKY.contains(before));
    let beside = config::demo(DEMO_NETWORK).unwrap();
    let load = totals("miners beside a load", &beside, &SKY.replace(before, after));
    let ai = config::demo_fleet(DemoFleet::Ai, DEMO_NETWORK).unwrap();
    let hall = totals("miners beside the hall", &ai, &format!("{SKY}\n{JOBS}"));
    let left = |totals: &Totals| (totals.surplus - totals.captured).get();
    assert!(left(&hall) < left(&load) * 1.02, "{} and {} left over", left(&hall), left(&load));
    // Without what is left to the slow ones for the next rise it was 94.39 %.
    assert!(hall.usable_captured_share().unwrap() > 0.946, "{:?} captured", hall.usable_captured_share());
    let imported = |totals: &Totals| totals.attributable_import.get();
    assert!(imported(&hall) < imported(&load) * 1.02 + 1.0, "{} and {}", imported(&hall), imported(&load));
}
