//! The fleet follows what the site has to spare.

use crate::bench::{Settings, Site, Truth, always, eventually, scenario, seconds};

/// Lines of the truth from the first to the last in which the surplus is as given.
fn while_surplus(truths: &[Truth], low: f64, high: f64) -> Vec<Truth> {
    truths.iter().copied().filter(|truth| (low..=high).contains(&truth.surplus)).collect()
}

#[test]
fn run_controls_sim_in_another_process() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings { feeder: true, ..Settings::default() }, ""));
    let step = r#"
[[event]]
at = "8s"
for = "9s"
load = { by = "6 kW", over = "500ms" }
"#;
    let sim = site.simulate("site.toml", &scenario(step));
    let daemon = site.run("site.toml");

    // 24 kW of surplus, half a kilowatt of margin: up from 22 kW.
    eventually("the fleet takes the surplus", seconds(10.0), || (sim.truth().fleet > 22_500.0).then_some(()));
    let before = daemon.metrics();
    assert_eq!(before.mode(), "following");
    assert_eq!(before.value("ballast_binding_limit_info{circuit=\"pcc\",source=\"follow-surplus\"}"), 1.0);

    eventually("the surplus falls", seconds(15.0), || (sim.truth().surplus < 18_100.0).then_some(()));
    eventually("import is over", seconds(6.0), || (sim.truth().pcc <= 0.0).then_some(()));
    eventually("the daemon knows it", seconds(2.0), || {
        (daemon.value("ballast_circuit_power_watts{circuit=\"pcc\"}") <= 0.0).then_some(())
    });
    // Until it is certain that the meter shows the first shed, nothing is shed for a hundredth of the surplus.
    always(
        "nothing is imported after the step",
        seconds(2.0),
        || daemon.value("ballast_circuit_power_watts{circuit=\"pcc\"}"),
        |power| *power <= 0.0,
    );
    eventually("the daemon counts what the miners draw", seconds(4.0), || {
        let (truth, counted) = (sim.truth().fleet, daemon.value("ballast_fleet_power_watts"));
        ((counted - truth).abs() < 0.05 * truth).then_some(())
    });

    eventually("the surplus rises", seconds(15.0), || (sim.truth().surplus > 23_900.0).then_some(()));
    eventually("the fleet follows up", seconds(20.0), || (sim.truth().fleet > 21_500.0).then_some(()));
    let low = while_surplus(&sim.truths(), 17_900.0, 18_100.0);
    let importing = low.iter().filter(|truth| truth.pcc > 0.0).count();
    println!("import for {importing} of {} tenths of a second after the step", low.len());
    assert!(importing < 50, "import for {importing} tenths of a second after a step");
    let unused = low.iter().rev().take(10).map(|truth| -truth.pcc).fold(0.0, f64::max);
    assert!(unused < 2_500.0, "{unused} W are left although the miners could use them");
    let risen = sim.truths().iter().rev().take(5).any(|truth| truth.pcc > 0.0);
    assert!(!risen, "the way up imports nothing");
}

#[test]
fn observe_mode_sends_nothing() {
    let site = Site::new();
    let settings = Settings { mode: "observe", on_exit: "sleep", ..Settings::default() };
    site.write("site.toml", &site.config(&settings, ""));
    // The surplus is below what the miners draw from the first moment on.
    let sim = site.simulate("site.toml", &scenario("[[event]]\nat = \"0s\"\nload = { by = \"6 kW\" }\n"));
    let before = sim.truth();
    let mut daemon = site.run("site.toml");

    let metrics = eventually("a decision would lower the fleet", seconds(10.0), || {
        let metrics = daemon.metrics();
        (metrics.get("ballast_budget_watts")? < 18_000.0
            && metrics.value("ballast_fleet_power_watts") > 20_000.0)
            .then_some(metrics)
    });
    assert_eq!(metrics.mode(), "observe");
    always(
        "observing lets the fleet be",
        seconds(4.0),
        || sim.truth().fleet,
        |fleet| (fleet - before.fleet).abs() < 0.02 * before.fleet,
    );
    let metrics = daemon.metrics();
    assert!(metrics.all("ballast_commands_total{").count() > 0, "the counter is there");
    assert_eq!(metrics.sum("ballast_commands_total{"), 0.0);
    let status = site.get("/api/v1/status").unwrap();
    assert!(
        status.contains("\"mode\":\"observe\"") && status.contains("\"would_be\":\"following\""),
        "{status}"
    );

    // The exit policy is a command, too.
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.code(seconds(5.0)), 0);
    always(
        "the end of observing lets the fleet be",
        seconds(2.0),
        || sim.truth().fleet,
        |fleet| (fleet - before.fleet).abs() < 0.02 * before.fleet,
    );
}
