//! Meters and miners fail, and the site stays within what it may draw.

use crate::bench::{Settings, Site, eventually, scenario, seconds};

#[test]
fn a_killed_meter_takes_the_fleet_to_its_fail_safe_and_back() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings { fail_safe: "16 kW", ..Settings::default() }, ""));
    let silence = r#"
[[event]]
at = "6s"
for = "10s"
meter = { name = "pcc", fault = "silent" }
"#;
    let sim = site.simulate("site.toml", &scenario(silence));
    let daemon = site.run("site.toml");
    daemon.reaches("following", 5.0);
    let before = sim.truth().fleet;
    assert!(before > 20_000.0, "{before}");

    // Three seconds from the last value to the fail-safe of 16 kW, at which all nine can just run, then what they need.
    daemon.reaches("fail-safe", 12.0);
    eventually("the fleet is at its fail-safe", seconds(5.0), || {
        (sim.truth().fleet < 16_300.0).then_some(())
    });
    let metrics = daemon.metrics();
    assert_eq!(metrics.mode(), "fail-safe");
    assert_eq!(metrics.value("ballast_meter_up{meter=\"pcc\"}"), 0.0);
    assert_eq!(metrics.get("ballast_meter_power_watts{meter=\"pcc\"}"), None, "a stale value is no value");
    let lost = metrics.all("ballast_binding_limit_info{").next().map(|(name, _)| name.to_owned()).unwrap();
    assert!(lost.contains("pcc") && !lost.contains("follow-surplus"), "{lost}");

    daemon.reaches("following", 60.0);
    eventually("the fleet comes back", seconds(60.0), || (sim.truth().fleet > 20_500.0).then_some(()));
    let log = daemon.log();
    assert!(log.contains("WARN fail-safe"), "the log says it:\n{log}");
}

#[test]
fn after_a_crash_without_its_meter_the_fail_safe_holds() {
    let site = Site::new();
    site.write("site.toml", &site.config(&Settings { fail_safe: "16 kW", ..Settings::default() }, ""));
    let silence = "[[event]]\nat = \"8s\"\nmeter = { name = \"pcc\", fault = \"silent\" }\n";
    let sim = site.simulate("site.toml", &scenario(silence));
    let mut daemon = site.run("site.toml");
    daemon.reaches("following", 5.0);
    assert!(sim.truth().fleet > 20_000.0);
    daemon.process.kill();
    // While nobody is there the miners stay where they were put.
    std::thread::sleep(seconds(5.0));
    assert!(sim.truth().fleet > 20_000.0, "{:?}", sim.truth());
    let daemon = site.run("site.toml");
    daemon.reaches("fail-safe", 15.0);
    eventually("the fleet is at its fail-safe", seconds(8.0), || {
        (sim.truth().fleet < 16_300.0).then_some(())
    });
}

#[test]
fn a_miner_that_ignores_commands_is_named_and_the_others_make_up() {
    let site = Site::new();
    // A Braiins OS miner that is told to go down on its way up needs more than two seconds until its reading shows it.
    let settings = Settings { grace: "5s", feeder: true, ..Settings::default() };
    site.write("site.toml", &site.config(&settings, ""));
    // The least efficient ones are lowered first, and this is one of them.
    let deaf = r#"
[[event]]
at = "0s"
miner = { name = "v2-001", fault = "ignore-commands" }
[[event]]
at = "6s"
load = { by = "6 kW", over = "500ms" }
"#;
    let sim = site.simulate("site.toml", &scenario(deaf));
    let daemon = site.run("site.toml");
    eventually("the surplus falls", seconds(12.0), || (sim.truth().surplus < 18_100.0).then_some(()));
    let straggler = "ballast_miner_straggler{miner=\"v2-001\",circuit=\"fleet\",driver=\"whatsminer-v2\"}";
    // Both of one scrape: once the others have made up it may be raised to where it stands, and is none any more.
    let metrics = eventually("the straggler is named", seconds(12.0), || {
        let metrics = daemon.metrics();
        (metrics.get(straggler)? > 0.5).then_some(metrics)
    });
    assert_eq!(metrics.value("ballast_miners{state=\"straggler\"}"), 1.0, "one and no more");
    eventually("the others make up", seconds(8.0), || (sim.truth().pcc <= 0.0).then_some(()));
    let power = metrics.all("ballast_miner_power_watts{miner=\"v2-001\"").next().unwrap().1;
    assert!(power > 2_300.0, "it did not move: {power} W");
    let log = daemon.log();
    assert!(log.contains("does not follow") && log.contains("v2-001"), "the log names it:\n{log}");
}

#[test]
fn a_rebooted_whatsminer_gets_its_setpoint_again() {
    let site = Site::new();
    // Such a miner takes a setting at the end of its tuning only, up to 20 s after its start.
    let settings = Settings { grace: "20s", ..Settings::default() };
    site.write("site.toml", &site.config(&settings, ""));
    // The surplus is 18.5 kW, so every Whatsminer is set well below the power that a reboot brings it back to.
    let reboot = r#"
[[event]]
at = "0s"
load = { by = "5500 W" }
[[event]]
at = "6s"
miner = { name = "v2-001", fault = "reboot", with = { off_for = "2s" } }
"#;
    let sim = site.simulate("site.toml", &scenario(reboot));
    let daemon = site.run("site.toml");
    let of_it = "{miner=\"v2-001\",circuit=\"fleet\",driver=\"whatsminer-v2\"}";
    let power = || daemon.metrics().get(&format!("ballast_miner_power_watts{of_it}"));
    eventually("it goes down", seconds(15.0), || (power()? < 500.0).then_some(()));
    eventually("it hashes again", seconds(15.0), || (power()? > 1_900.0).then_some(()));
    let mut highest = 0.0_f64;
    eventually("it is back at its setpoint and has been above", seconds(35.0), || {
        let metrics = daemon.metrics();
        let power = metrics.get(&format!("ballast_miner_power_watts{of_it}"))?;
        let setpoint = metrics.get(&format!("ballast_miner_setpoint_watts{of_it}"))?;
        highest = highest.max(power);
        let set = setpoint < 2_700.0 && (power - setpoint).abs() < 0.06 * setpoint;
        (set && highest > 2_900.0).then_some(())
    });
    eventually("nothing is imported", seconds(6.0), || (sim.truth().pcc <= 0.0).then_some(()));
}
