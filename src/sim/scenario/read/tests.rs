//! What scenario files may say, and how mistakes are told.

use super::*;

fn refused(text: &str) -> String {
    Scenario::parse("t.toml", text).unwrap_err().to_string()
}

const HEAD: &str = "description = \"test\"\n";

#[test]
fn a_bare_number_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[sun]\npeak = 5\nstart = \"14:00\"\n");
    assert!(error.starts_with("t.toml:3:8: "), "{error}");
    assert!(error.contains("a power with its unit"), "{error}");
}

#[test]
fn an_unknown_unit_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[[event]]\nat = \"5 parsec\"\nload = { by = \"1 kW\" }\n");
    assert!(error.starts_with("t.toml:3:6: "), "{error}");
    assert!(error.contains("ms, s, min, h"), "{error}");
}

#[test]
fn an_unknown_key_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[load]\nbase = \"1 kW\"\nbass = \"1 kW\"\n");
    assert!(error.starts_with("t.toml:4:1: "), "{error}");
    assert!(error.contains("bass"), "{error}");
    let error =
        refused("description = \"x\"\n[[event]]\nat = \"5s\"\nload = { by = \"1 kW\", ovr = \"1s\" }\n");
    assert!(error.starts_with("t.toml:4:23: "), "{error}");
}

#[test]
fn broken_toml_is_refused_at_its_place() {
    let error = refused("description = \"x\"\n[sun\n");
    assert!(error.starts_with("t.toml:2:"), "{error}");
}

#[test]
fn an_event_is_exactly_one_thing() {
    let error = refused("description = \"x\"\n[[event]]\nat = \"5s\"\n");
    assert!(error.starts_with("t.toml:3:6: "), "{error}");
    let two =
        "description = \"x\"\n[[event]]\nat = \"5s\"\nload = { by = \"1 kW\" }\nsun = { times = 0.5 }\n";
    assert!(refused(two).contains("exactly one"));
}

#[test]
fn faults_check_their_parameters() {
    for (fault, words) in [
        ("fault = \"melted\"", "there are silent, refuse"),
        ("fault = \"silent\", by = \"1 W\"", "takes no parameters"),
        ("fault = \"offset\"", "takes `by`"),
        ("fault = \"exception\", code = 0", "takes `code`"),
        ("fault = \"slow\"", "takes `delay`"),
        ("fault = \"factor\"", "takes `factor`"),
    ] {
        let error = refused(&format!("{HEAD}[[event]]\nat = \"1s\"\nmeter = {{ name = \"m\", {fault} }}\n"));
        assert!(error.starts_with("t.toml:4:31: "), "{error}");
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn too_many_clouds_for_their_edges_are_refused() {
    let error = refused(&format!(
        "{HEAD}[sun]\npeak = \"1 MW\"\nstart = \"12:00\"\npatches_per_hour = 200\npatch_edge = \"8s\"\n"
    ));
    assert!(error.starts_with("t.toml:5:20: "), "{error}");
    assert!(error.contains("112"), "{error}");
}

#[test]
fn readings_say_where_their_value_comes_from() {
    assert!(refused(&format!("{HEAD}[readings.plc]\n")).starts_with("t.toml:2:11: "));
    assert!(refused(&format!("{HEAD}[readings.plc]\nfollows = \"moon\"\n")).contains("surplus"));
    let unordered = "[readings.plc]\nvalue = \"1 kW\"\nsteps = [{ at = \"9s\", to = \"1 W\" }, { at = \"8s\", to = \"1 W\" }]";
    assert!(refused(&format!("{HEAD}{unordered}\n")).contains("order"));
}

#[test]
fn other_ranges_are_kept() {
    for text in [
        "[metering]\nrefresh = \"10ms\"\n",
        "[metering]\nconnections = 0\n",
        "[miners]\nstart = \"tired\"\n",
        "[miners]\nstart = \"asleep\"\nat = \"50 %\"\n",
        "[miners]\nstart = \"hashing\"\nat = \"150 %\"\n",
        "[sun]\npeak = \"-1 MW\"\nstart = \"12:00\"\n",
        "[sun]\npeak = \"1 MW\"\nstart = \"12:00\"\nflutter = \"40 %\"\n",
        "[load]\nbase = \"1 kW\"\nswing_period = \"0s\"\n",
        "[[event]]\nat = \"1s\"\nminer = { name = \"*\", fault = \"x\", count = 0 }\n",
        "[[event]]\nat = \"1s\"\nsun = { times = -1.0 }\n",
        "[[event]]\nat = \"1s\"\nsun = {}\n",
    ] {
        let error = refused(&format!("{HEAD}{text}"));
        assert!(error.starts_with("t.toml:") && !error.starts_with("t.toml:1:"), "{error}");
    }
}

#[test]
fn a_full_scenario_is_read_as_written() {
    let text = r#"
description = "all"
seed = 9
[sun]
peak = "1 MW"
start = "15:00"
flutter = "2 %"
patches_per_hour = 30
patch_depth = "20 %"
patch_edge = "6s"
circuit = "roof"
[generation]
steady = "50 kW"
[load]
base = "300 kW"
[[load.machine]]
name = "compressor"
power = "40 kW"
on = "60s"
off = "90s"
[auxiliary]
container = "3 kW"
[miners]
start = "asleep"
[metering]
refresh = "1s"
connections = 1
[meters.pcc]
lag = "2s"
[readings.plc]
value = "300 kW"
steps = [{ at = "60s", to = "100 kW" }]
[[event]]
at = "60s"
for = "30s"
surplus = { to = "-20 kW", over = "5s" }
[[event]]
at = "1min"
miner = { name = "m*", circuit = "c", count = 2, fault = "slow", with = { delay = "3s" } }
"#;
    let s = Scenario::parse("all.toml", text).unwrap();
    assert_eq!(s.seed, 9);
    assert_eq!(s.sun.peak, Watts::whole(1_000_000));
    assert_eq!(s.sun.circuit.as_ref().unwrap().place, Place { line: 11, column: 11 });
    assert_eq!(s.metering.refresh, Duration::from_secs(1));
    assert_eq!(s.metering("pcc").refresh, Duration::from_secs(1));
    assert_eq!(s.metering("pcc").lag, Duration::from_secs(2));
    assert_eq!(s.metering("x").lag, Duration::from_millis(300));
    assert_eq!(s.connections, 1);
    assert_eq!(s.miners, InitialMiners::Asleep);
    assert_eq!(s.plant_events.len(), 1);
    let plc = &s.readings[0];
    assert_eq!(plc.value(Duration::from_secs(59), Watts::ZERO), Watts::whole(300_000));
    assert_eq!(plc.value(Duration::from_secs(60), Watts::ZERO), Watts::whole(100_000));
    let Fault::Miner { choice, fault } = &s.faults[0].fault else { panic!("a fault of miners") };
    assert_eq!(choice.count, Some(2));
    assert_eq!(fault.duration("delay"), Ok(Some(Duration::from_secs(3))));
    assert_eq!(fault.duration("other"), Ok(None));
    assert!(fault.power("delay").is_err());
}
