//! Square loads, and loads on circuits of their own.

use ballast::sim::Scenario;
use ballast::sim::replay::Replay;
use ballast::units::Watts;

use super::bench::{CALM, built_in, calm, site, truth, until};

#[test]
fn square_loads_and_steps_are_as_high_and_as_long_as_they_are_written() {
    let mut replay = built_in("square-load");
    let other = |replay: &Replay| {
        let fleet: f64 = replay.draws().iter().map(|power| power.get()).sum();
        (truth(replay) - fleet + 600_000.0).round()
    };
    for (at, kilowatts) in [
        (29.9, 200.0),
        (31.0, 280.0),
        (33.9, 280.0),
        (35.0, 260.0),
        (39.0, 280.0),
        (54.9, 280.0),
        (56.0, 220.0),
        (60.0, 200.0),
        (80.5, 280.0),
        (299.0, 260.0),
        (301.0, 300.0),
    ] {
        until(&mut replay, at);
        assert!((other(&replay) - kilowatts * 1e3).abs() < 1.0, "at {at} s: {}", other(&replay));
    }
}

#[test]
fn a_load_on_a_circuit_shows_there_and_above_and_nowhere_else() {
    let square =
        "[[load.square]]\nname = \"x\"\npower = \"30 kW\"\nhalf_period = \"5s\"\ncircuit = \"container-1\"\n";
    let step = "[[event]]\nat = \"20s\"\nfor = \"10s\"\nload = { by = \"7 kW\", circuit = \"fleet\" }\n";
    let mut replay = calm(&format!("{square}{step}"));
    // Names of the demo: pcc, fleet, container-1, container-2, container-3.
    let names: Vec<String> = site().site.circuits.iter().map(|circuit| circuit.name.clone()).collect();
    assert_eq!(names, ["pcc", "fleet", "container-1", "container-2", "container-3"]);
    for (at, expected) in [
        (4.0, [30.0, 30.0, 30.0, 0.0, 0.0]),
        (6.0, [0.0; 5]),
        (12.0, [30.0, 30.0, 30.0, 0.0, 0.0]),
        (24.0, [37.0, 37.0, 30.0, 0.0, 0.0]),
        (26.0, [7.0, 7.0, 0.0, 0.0, 0.0]),
        (36.0, [0.0; 5]),
    ] {
        until(&mut replay, at);
        let draws = replay.draws();
        let below = |container: &[Watts]| container.iter().map(|power| power.get()).sum::<f64>();
        let fleet = below(&draws);
        let miners =
            [fleet - 400_000.0, fleet, below(&draws[..40]), below(&draws[40..80]), below(&draws[80..])];
        for ((power, miners), expected) in replay.circuits().iter().zip(miners).zip(expected) {
            assert!((power.get() - miners - expected * 1e3).abs() < 1.0, "at {at} s: {power} {expected}");
        }
    }
}

#[test]
fn a_load_on_a_circuit_that_there_is_not_is_told_with_its_place() {
    let text = format!("{CALM}[[event]]\nat = \"1s\"\nload = {{ by = \"7 kW\", circuit = \"cellar\" }}\n");
    let error = Replay::new(&site(), &Scenario::parse("x.toml", &text).unwrap()).err().unwrap().to_string();
    assert!(error.starts_with("x.toml:13:") && error.contains("no circuit `cellar`"), "{error}");
}
