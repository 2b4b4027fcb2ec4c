//! An AI hall beside miners, in simulated time: the figures that the control law must reach with servers in its fleet. Each test
//! prints what it measured: `cargo test --test sim hall -- --nocapture`; docs/benchmarks.md has them.

mod emergency;
mod event;
mod jobs;
mod mixed;
mod swing;

use std::path::Path;

use ballast::clock::Moment;
use ballast::config::{self, Config, Options, Secrets};
use ballast::control::decision::Decision;
use ballast::control::site::LoadClass;
use ballast::sim::Scenario;
use ballast::sim::replay::{Replay, Setup, Steps, Watcher};
use ballast::sim::truth::Flows;

/// The point of common coupling and a hall, each with a meter.
const HEAD: &str = r#"
[site]
name = "hall"
mode = "control"
[control]
period = "1s"
raise_rate = "200 kW/s"
[circuits.pcc]
meter = "pcc"
margin = "500 W"
fail_safe = "0 W"
[circuits.hall]
parent = "pcc"
meter = "hall"
dedicated = true
fail_safe = "50 kW"
[limits.follow-surplus]
circuit = "pcc"
import = "0 W"
class = "surplus"
[links.board]
tcp = "127.0.0.1:5020"
[meters.pcc]
link = "board"
unit = 1
profile = "eastron-sdm630"
period = "500ms"
[meters.hall]
link = "board"
unit = 2
profile = "eastron-sdm630"
period = "500ms"
"#;

/// A yard for miners, with a meter of its own.
const YARD: &str = r#"
[circuits.yard]
parent = "pcc"
meter = "yard"
dedicated = true
fail_safe = "50 kW"
[meters.yard]
link = "board"
unit = 3
profile = "eastron-sdm630"
period = "500ms"
"#;

/// Devices whose own time is short, so that what is measured is the program's.
const QUICK: &str = "dead_time_down = \"250ms\"\nramp_down = \"20 kW/s\"\n";

/// A group of members on a circuit; `net` makes their addresses.
fn group(name: &str, driver: &str, circuit: &str, (net, count): (u8, u8), more: &str) -> String {
    format!(
        "[groups.{name}]\ndriver = \"{driver}\"\ncircuit = \"{circuit}\"\naddresses = [\"127.0.{net}.1-127.0.{net}.{count}\"]\n\
         credentials = {{ password_env = \"NOT_SET_FOR_A_SIMULATION\" }}\npoll_period = \"2s\"\nsilent_after = \"20s\"\n{more}\n"
    )
}

/// Servers of 7 kW with eight processors each; `more` has their class.
fn servers(name: &str, driver: &str, place: (u8, u8), more: &str) -> String {
    group(name, driver, "hall", place, &format!("maximum = \"7 kW\"\nnameplate = \"7.4 kW\"\n{more}"))
}

/// Twelve servers: three with their power by contract, six that may be slowed down, three whose work may wait.
fn hall(manner: &str) -> String {
    let held = format!("class = \"guaranteed\"\ncontract = \"7 kW\"\n{manner}");
    let slowed = format!("class = \"throttle\"\n{manner}");
    let waits = format!("class = \"interruptible\"\n{manner}");
    servers("held", "zeusd", (4, 3), &held)
        + &servers("slowed-a", "zeusd", (5, 3), &slowed)
        + &servers("slowed-b", "redfish", (6, 3), "class = \"throttle\"\n")
        + &servers("waits", "zeusd", (7, 3), &waits)
}

/// The demo's 120 miners, on one circuit.
fn yard(manner: &str) -> String {
    let miners = |name: &str, driver: &str, model: &str, net: u8| {
        group(
            name,
            driver,
            "yard",
            (net, 40),
            &format!("model = \"{model}\"\nstart_time = \"30s\"\n{manner}"),
        )
    };
    YARD.to_owned()
        + &miners("m60s", "whatsminer-v3", "m60s", 1)
        + &miners("m30s", "whatsminer-v2", "m30s-plus-plus", 2)
        + &miners("s19k", "braiins-os", "s19k-pro", 3)
}

pub fn site(text: &str) -> Config {
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    config::parse(text, Path::new("hall.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

/// More than all members of a site can draw, in kilowatts.
fn plenty(config: &Config) -> f64 {
    config.site.miners.iter().map(|member| member.nameplate.get()).sum::<f64>() * 1.3 / 1e3
}

/// A steady surplus without other load, and what is added to it.
fn scenario(kilowatts: f64, more: &str) -> Scenario {
    let text = format!("description = \"hall\"\n[generation]\nsteady = \"{kilowatts:.0} kW\"\n{more}");
    Scenario::parse("hall.toml", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// From a time of the scenario on.
pub fn replay(config: &Config, scenario: &Scenario, steps: Steps, start: f64) -> Replay {
    // As the daemon does, a cycle comes with each new value of a meter (`daemon::cycle`).
    let setup = Setup { steps, start: at(start), earliest: 0.25, ..Setup::default() };
    Replay::with(config, scenario, setup).unwrap_or_else(|error| panic!("{error}"))
}

fn at(seconds: f64) -> Moment {
    Moment::after_start(std::time::Duration::from_secs_f64(seconds))
}

fn run(replay: &mut Replay, seconds: f64, seen: &mut Seen) {
    replay.watch(std::time::Duration::from_secs_f64(seconds), seen);
}

/// A cap on all members together, for so long from a time on, in seconds.
fn order(from: f64, lasting: f64, watts: f64, emergency: bool) -> String {
    format!(
        "[[event]]\nat = \"{from}s\"\nfor = \"{lasting}s\"\norder = {{ circuit = \"pcc\", cap = \"{watts:.0} W\", miners = true, emergency = {emergency} }}\n"
    )
}

/// Everything that happened.
#[derive(Default)]
struct Seen {
    /// Seconds, draw of all members and import in watts.
    flows: Vec<(f64, f64, f64)>,
    /// Seconds and the member that was commanded.
    commands: Vec<(f64, usize)>,
}

impl Watcher for Seen {
    fn flows(&mut self, at: Moment, flows: &Flows) {
        self.flows.push((at.since_start().as_secs_f64(), flows.fleet.get(), flows.pcc().get()));
    }

    fn decision(&mut self, decision: &Decision, _: &Flows) {
        let seconds = decision.at.since_start().as_secs_f64();
        self.commands.extend(decision.commands.iter().map(|command| (seconds, command.miner.0)));
    }
}

impl Seen {
    /// The mean draw from a time to another.
    fn mean(&self, from: f64, to: f64) -> f64 {
        let (mut energy, mut time) = (0.0_f64, 0.0_f64);
        for pair in self.flows.windows(2) {
            let [(then, before, _), (now, after, _)] = pair else { continue };
            if *then >= from && *now <= to {
                energy += 0.5 * (before + after) * (now - then);
                time += now - then;
            }
        }
        energy / time
    }

    /// Of the first command from a time on.
    fn decided(&self, from: f64) -> f64 {
        self.commands.iter().find(|(at, _)| *at >= from).map(|(at, _)| *at).expect("something is commanded")
    }

    /// From when on the draw stays at or below a power, up to a time.
    fn met(&self, from: f64, to: f64, watts: f64) -> f64 {
        let above = |(at, draw, _): &&(f64, f64, f64)| *at >= from && *at <= to && *draw > watts;
        self.flows.iter().filter(above).map(|(at, ..)| *at).fold(from, f64::max)
    }

    /// The mean of what was imported from a time on, exports apart.
    fn imported(&self, from: f64) -> f64 {
        let (mut energy, mut time) = (0.0_f64, 0.0_f64);
        for pair in self.flows.windows(2) {
            let [(then, _, _), (now, _, import)] = pair else { continue };
            if *then >= from {
                energy += import.max(0.0) * (now - then);
                time += now - then;
            }
        }
        energy / time
    }

    /// The highest import from a time on.
    fn import(&self, from: f64) -> f64 {
        self.flows.iter().filter(|(at, ..)| *at >= from).map(|(_, _, import)| *import).fold(0.0, f64::max)
    }
}

/// How many members are no servers, and whether a position is one of them.
fn miners(config: &Config) -> (f64, impl Fn(usize) -> bool + '_) {
    let is = move |position: usize| config.site.miners[position].class == LoadClass::Miner;
    let count = (0..config.site.miners.len()).filter(|position| is(*position)).count();
    (f64::from(u32::try_from(count).unwrap()), is)
}
