//! Verifying a meter by moving miners.

use super::{meter, says};
use crate::bench::{Settings, Sim, Site, eventually, scenario, seconds};

/// A quick test of the meter at the connection point.
const QUICK: [&str; 10] =
    ["verify", "pcc", "--yes", "--step", "3 kW", "--rounds", "1", "--watch", "3s", "-c"];

fn quick(file: &str) -> Vec<&str> {
    QUICK.iter().copied().chain([file]).collect()
}

/// The simulated site, settled.
fn site() -> (Site, String) {
    let site = Site::new();
    let config = site.config(&Settings::default(), "");
    site.write("site.toml", &config);
    (site, config)
}

/// The fleet draws what it drew before.
fn is_back(sim: &Sim<'_>, before: f64) {
    eventually("the fleet is back", seconds(30.0), || {
        ((sim.truth().fleet - before).abs() < 0.04 * before).then_some(())
    });
}

/// Waits until the miners draw evenly, and gives what they draw.
fn settled(sim: &Sim<'_>) -> f64 {
    let draw = || sim.truths().iter().rev().take(10).map(|truth| truth.fleet).collect::<Vec<_>>();
    eventually("the miners draw evenly", seconds(30.0), || {
        let seen = draw();
        let mean = seen.iter().sum::<f64>() / 10.0;
        (seen.len() == 10 && mean > 10_000.0 && seen.iter().all(|power| (power - mean).abs() < 200.0))
            .then_some(mean)
    })
}

#[test]
fn a_meter_that_sees_its_miners_passes_and_they_are_put_back() {
    let (site, _) = site();
    let sim = site.simulate("site.toml", &scenario(""));
    let before = settled(&sim);
    let arguments: Vec<&str> =
        quick("site.toml").into_iter().map(|word| if word == "1" { "2" } else { word }).collect();
    let (code, out, err) = meter(&site, &arguments);
    assert_eq!(code, 0, "{out}{err}");
    says(
        &out,
        &[
            "Meter pcc at the head of circuit pcc, with 9 miners",
            "standard deviation",
            "can be moved",
            "The test lowers",
            "2 times down and up again",
            "the miners say",
            "fell by",
            "\nPASS\n",
            "lag = \"",
            "told and confirmed: back at",
        ],
    );
    is_back(&sim, before);
    let lowest = sim.truths().iter().map(|truth| truth.fleet).fold(f64::INFINITY, f64::min);
    assert!(lowest < before - 2_000.0, "it was lowered: {lowest} from {before}");
    let highest = sim.truths().iter().map(|truth| truth.fleet).fold(0.0, f64::max);
    assert!(highest < 1.06 * before, "never above what it drew before: {highest} from {before}");
}

#[test]
fn a_turned_meter_is_told_and_so_is_a_missing_transformer_ratio() {
    let (site, config) = site();
    // The meter shows the truth; the configuration turns it.
    site.write("turned.toml", &config.replace("unit = 1\n", "unit = 1\ninvert = true\n"));
    // As a meter shows that knows nothing of its transformers of 400/5 A.
    let power = "power = { function = \"input\", address = 0x34, format = \"f32\", scale = 0.0125 }";
    site.write("ratio.toml", &config.replace("profile = \"eastron-sdm630\"", power));
    let sim = site.simulate("site.toml", &scenario(""));
    let before = settled(&sim);
    let (code, out, err) = meter(&site, &quick("turned.toml"));
    assert_eq!(code, 1, "{out}{err}");
    says(
        &out,
        &["\nWRONG DIRECTION\n", "remove `invert = true` from [meters.pcc]", "told and confirmed: back at"],
    );
    is_back(&sim, before);
    let (code, out, err) = meter(&site, &quick("ratio.toml"));
    assert_eq!(code, 1, "{out}{err}");
    says(&out, &["\nWRONG SCALE\n", "reads 1/", "is not set in the meter"]);
    is_back(&sim, before);
}

#[test]
fn a_late_meter_and_a_slow_one_are_not_called_noisy_or_wrong() {
    let (site, config) = site();
    site.write("late.toml", &config);
    for (meter_is, title, words) in [
        ("delay = \"14s\"", "\nTOO LATE\n", "write lag = \""),
        ("refresh = \"35s\"", "\nTOO SLOW\n", "--watch "),
    ] {
        let sim = site.simulate("late.toml", &scenario(&format!("[meters.pcc]\n{meter_is}\n")));
        let before = settled(&sim);
        let (code, out, err) = meter(&site, &quick("late.toml"));
        assert_eq!(code, 1, "{out}{err}");
        says(&out, &[title, words, "told and confirmed: back at"]);
        is_back(&sim, before);
    }
}

#[test]
fn nothing_is_moved_beside_a_daemon_or_without_a_yes() {
    let (site, config) = site();
    site.write("observe.toml", &config.replace("mode = \"control\"", "mode = \"observe\""));
    let sim = site.simulate("site.toml", &scenario(""));
    let (code, _, err) = meter(&site, &["verify", "-c", "site.toml", "pcc"]);
    assert_eq!(code, 1);
    assert!(err.contains("say --yes"), "{err}");
    let (code, _, err) = meter(&site, &["verify", "-c", "site.toml", "nope", "--yes"]);
    assert_eq!(code, 78);
    assert!(err.contains("there are: pcc"), "{err}");
    let daemon = site.run("observe.toml");
    let (code, _, err) = meter(&site, &quick("site.toml"));
    assert_eq!(code, 1);
    assert!(err.contains("two masters must never command") && err.contains("systemctl stop"), "{err}");
    drop(daemon);
    let lowest = sim.truths().iter().skip(50).map(|truth| truth.fleet).fold(f64::INFINITY, f64::min);
    assert!(lowest > 15_000.0, "nothing was lowered: {lowest}");
}

#[test]
fn an_interrupted_test_puts_the_miners_back() {
    let (site, _) = site();
    let sim = site.simulate("site.toml", &scenario(""));
    let before = settled(&sim);
    let arguments: Vec<&str> = ["meter"].into_iter().chain(quick("site.toml")).collect();
    let mut process = site.spawn("verify", &mut site.ballast(&arguments));
    eventually("the miners are lowered", seconds(40.0), || {
        (sim.truth().fleet < before - 2_000.0).then_some(())
    });
    process.signal("INT");
    assert_eq!(process.code(seconds(30.0)), 1);
    let out = site.read("verify.out");
    says(&out, &["Ended. Putting the miners back", "told and confirmed: back at"]);
    is_back(&sim, before);
}
