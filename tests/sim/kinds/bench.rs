//! The demo's site in simulated time, and what can be seen of it.

use std::sync::Arc;
use std::time::Duration;

use ballast::clock::Moment;
use ballast::config::{self, Config};
use ballast::control::snapshot::{Measured, MeterInput, MinerInput};
use ballast::sim::Scenario;
use ballast::sim::replay::Replay;

pub const TICK: Duration = Duration::from_millis(50);

/// A steady site with exact and quick meters: 400 kW of surplus, the fleet at its maximum.
pub const CALM: &str = r#"
description = "calm"
[generation]
steady = "600 kW"
[metering]
refresh = "50ms"
lag = "0s"
noise = "0 W"
[load]
base = "200 kW"
"#;

/// The demo's site, which only observes.
pub fn site() -> Config {
    let mut config = config::demo(config::DEMO_NETWORK).unwrap();
    let mut site = (*config.site).clone();
    site.settings.observe = true;
    config.site = Arc::new(site);
    config
}

pub fn of(scenario: &Scenario) -> Replay {
    Replay::new(&site(), scenario).unwrap()
}

/// The calm site and what is added to it.
pub fn calm(more: &str) -> Replay {
    of(&Scenario::parse("calm.toml", &format!("{CALM}{more}")).unwrap())
}

pub fn built_in(name: &str) -> Replay {
    of(&Scenario::find(name).unwrap())
}

pub fn event(at: &str, lasting: &str, what: &str) -> String {
    format!("[[event]]\nat = \"{at}\"\nfor = \"{lasting}\"\n{what}\n")
}

pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Runs up to a time since the start.
pub fn until(replay: &mut Replay, time: f64) {
    let time = Moment::after_start(seconds(time)) - replay.now();
    replay.run(time, |_, _| {});
}

/// The demo's meter at the point of common coupling.
pub fn pcc(replay: &Replay) -> MeterInput {
    replay.snapshot().meters[0]
}

/// The demo's meter of the feeder to the fleet.
pub fn feeder(replay: &Replay) -> MeterInput {
    replay.snapshot().meters[1]
}

pub fn watts(input: MeterInput) -> f64 {
    input.power.unwrap().value.get()
}

pub fn truth(replay: &Replay) -> f64 {
    replay.circuits()[0].get()
}

pub fn miner(replay: &Replay, number: usize) -> MinerInput {
    replay.snapshot().miners[number].clone()
}

pub fn draw(replay: &Replay, number: usize) -> f64 {
    replay.draws()[number].get()
}

pub fn told(replay: &Replay, number: usize) -> f64 {
    match miner(replay, number).status.unwrap().value.power {
        Measured::Value(power) => power.get(),
        other => panic!("{other:?}"),
    }
}

/// The highest power of one of the demo's miners, and the least that its model allows.
pub fn range(number: usize) -> (f64, f64) {
    let site = site().site;
    (site.miners[number].minimum().get(), site.miners[number].maximum().get())
}
