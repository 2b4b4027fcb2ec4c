//! Scenarios: what the simulated site is and what happens to it, as a TOML file that a reviewer can read.
//!
//! Every power, duration and share carries its unit; unknown keys are errors; every mistake is told with
//! file, line and column. `tests/scenarios/cloudy-hour.toml` shows all that a plant can have,
//! `meter-faults.toml`, `meter-glitch.toml` and `miners-hang.toml` beside it faults, `miners-differ.toml` miners that are
//! not what their model says, `outage.toml` a site without power, and `ai-event.toml` the jobs of servers.
//! `docs/guide/demo-and-simulator.md` names every key.
//!
//! Two clocks (see [`crate::sim`]): sun, load and readings run on scenario time; faults of meters and miners in
//! real time. At speed 1 they are the same.

mod differ;
mod events;
mod job;
mod meter_fault;
pub mod quantity;
mod raw;
mod read;
mod vtn;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::random::lattice;
use crate::units::Watts;

pub use differ::{Deviation, Differ};
pub use events::{
    Bend, Change, Fault, FaultEvent, Keeps, MeterFault, MinerChoice, MinerFault, OrderEvent, Part, PlantEvent,
};
pub use job::{Demand, JobEvent};
pub use meter_fault::FAULTS as METER_FAULTS;
pub use vtn::{VtnAction, VtnEvent};

/// Largest scenario file that is read.
const LARGEST_FILE: u64 = 1 << 20;

/// A mistake in a scenario file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{place}: {message}")]
pub struct ScenarioError {
    /// The file, or the name of an embedded scenario.
    pub file: String,
    /// Where in the file; line 0 when the file could not be read at all.
    pub place: Place,
    /// What is wrong and what to do.
    pub message: String,
}

/// A place in a text file; both count from 1. Written as `:line:column`, and as nothing at all for line 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => Ok(()),
            line => write!(f, ":{line}:{}", self.column),
        }
    }
}

/// A name (of a circuit, a meter, a miner) as the scenario wrote it, to be looked up in the site later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name; where the scenario allows it a pattern with `*` and `?`.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

impl Named {
    /// Whether a name fits the pattern: `*` stands for any text, `?` for one character.
    pub fn matches(&self, name: &str) -> bool {
        glob(&self.text, name)
    }
}

/// Matches in time proportional to pattern × name: after each pattern character it is known which beginnings
/// of the name fit.
fn glob(pattern: &str, name: &str) -> bool {
    let mut fits: Vec<bool> = std::iter::once(true).chain(name.chars().map(|_| false)).collect();
    for wanted in pattern.chars() {
        fits = if wanted == '*' {
            let mut seen = false;
            fits.iter()
                .map(|fit| {
                    seen |= fit;
                    seen
                })
                .collect()
        } else {
            std::iter::once(false)
                .chain(fits.iter().zip(name.chars()).map(|(fit, c)| *fit && (wanted == '?' || wanted == c)))
                .collect()
        };
    }
    fits.last().copied().unwrap_or(false)
}

/// The photovoltaic plant.
#[derive(Debug, Clone, PartialEq)]
pub struct Sun {
    /// Installed peak power; also the most that its inverters let through. The recorded array has 6 kW.
    pub peak: Watts,
    /// Time of the recorded day at which the scenario starts, since midnight.
    pub start: Duration,
    /// Fine, restless variation, as a fraction of the present output.
    pub flutter: f64,
    /// How often a cloud edge (or a gap) crosses the plant.
    pub patches_per_hour: f64,
    /// The deepest change that a crossing cloud makes, as a fraction of the present output.
    pub patch_depth: f64,
    /// The shortest time in which such an edge crosses the plant.
    pub patch_edge: Duration,
    /// The circuit on which it feeds; `None` is the root.
    pub circuit: Option<Named>,
}

/// A machine that switches on and off by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Name, for people.
    pub name: String,
    /// Draw while on.
    pub power: Watts,
    /// Time on.
    pub on: Duration,
    /// Time off, on average.
    pub off: Duration,
    /// Time from nothing to full draw and back.
    pub ramp: Duration,
}

/// A load that is on and off for the same time, without a ramp.
#[derive(Debug, Clone, PartialEq)]
pub struct Square {
    /// Name, for people.
    pub name: String,
    /// Draw while on.
    pub power: Watts,
    /// Time on, and time off.
    pub half_period: Duration,
    /// When it goes on for the first time.
    pub from: Duration,
    /// The circuit on which it hangs; `None` is that of the other load.
    pub circuit: Option<Named>,
}

impl Square {
    /// What it draws at a scenario time.
    pub fn at(&self, time: Duration) -> Watts {
        match time.checked_sub(self.from).map(|since| lattice(since, self.half_period)) {
            Some((half, _)) if half % 2 == 0 => self.power,
            _ => Watts::ZERO,
        }
    }
}

/// Everything that draws power at the site and is not a miner.
#[derive(Debug, Clone, PartialEq)]
pub struct OtherLoad {
    /// What is always there.
    pub base: Watts,
    /// Amplitude of a slow swing around it.
    pub swing: Watts,
    /// Period of the swing.
    pub swing_period: Duration,
    /// Amplitude of fine noise.
    pub noise: Watts,
    /// Machines that cycle.
    pub machines: Vec<Machine>,
    /// Loads that go on and off at once.
    pub squares: Vec<Square>,
    /// The circuit on which all of this hangs; `None` is the root.
    pub circuit: Option<Named>,
}

/// What miners do when the simulation starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InitialMiners {
    /// All hash, at this fraction of their highest power.
    Hashing {
        /// Above 0, at most 1.
        fraction: f64,
    },
    /// All sleep.
    Asleep,
}

/// How a simulated meter measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metering {
    /// Time between two new values in its registers.
    pub refresh: Duration,
    /// Time constant of its filter: how far its value trails a ramp.
    pub lag: Duration,
    /// A pure delay behind the filter: its value is the one of so long ago.
    pub delay: Duration,
    /// Its noise.
    pub noise: Noise,
}

/// Noise of a measurement: evenly spread between plus and minus the sum of the two, new with every refresh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// In watts.
    pub absolute: Watts,
    /// As a fraction of the value.
    pub share: f64,
}

impl Noise {
    /// An exact meter.
    pub const NONE: Self = Self { absolute: Watts::ZERO, share: 0.0 };

    /// The largest error at a value in watts.
    pub fn amplitude(&self, value: f64) -> f64 {
        self.absolute.get() + self.share * value.abs()
    }
}

/// Values for a meter whose reading *is* a cap (an energy manager's or a utility's register).
#[derive(Debug, Clone, PartialEq)]
pub struct ReadingScript {
    /// Which meter.
    pub meter: Named,
    /// What it shows.
    pub source: ReadingSource,
}

/// What a scripted reading shows.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadingSource {
    /// The surplus of the plant as it really is, not below zero.
    Surplus,
    /// A value that changes in steps.
    Steps {
        /// Before the first step.
        first: Watts,
        /// From each scenario time on, by rising time.
        then: Vec<(Duration, Watts)>,
    },
}

impl ReadingScript {
    /// What the register shows, given the surplus (not below zero).
    pub fn value(&self, time: Duration, surplus: Watts) -> Watts {
        match &self.source {
            ReadingSource::Surplus => surplus,
            ReadingSource::Steps { first, then } => {
                then.iter().rev().find(|(at, _)| *at <= time).map_or(*first, |(_, value)| *value)
            }
        }
    }
}

/// A simulated site and its script.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file, or the name of the embedded scenario: for messages.
    pub file: String,
    /// What it shows, for people.
    pub description: String,
    /// All randomness comes from it.
    pub seed: u64,
    /// The photovoltaic plant.
    pub sun: Sun,
    /// Generation that does not change: hydro power, steady wind.
    pub steady_generation: Watts,
    /// What else draws power.
    pub load: OtherLoad,
    /// Steady draws of circuits, like the fans of a container.
    pub auxiliaries: Vec<(Named, Watts)>,
    /// The state of the miners at the start.
    pub miners: InitialMiners,
    /// How miners differ from what the configuration says of them; of two that say the same, the later counts.
    pub differ: Vec<Differ>,
    /// What servers work on; of two that the same server has from the same time on, the later counts.
    pub jobs: Vec<JobEvent>,
    /// How meters measure unless told otherwise.
    pub metering: Metering,
    /// Most connections that a meter's address takes at once.
    pub connections: usize,
    /// Which of them stay when there is one too many.
    pub keeps: Keeps,
    /// How particular meters measure.
    pub meters: Vec<(Named, Metering)>,
    /// Values of meters whose reading is a cap.
    pub readings: Vec<ReadingScript>,
    /// Changes of the plant.
    pub plant_events: Vec<PlantEvent>,
    /// Caps of the operator.
    pub orders: Vec<OrderEvent>,
    /// Faults of devices.
    pub faults: Vec<FaultEvent>,
    /// What the top nodes of OpenADR do.
    pub vtn: Vec<VtnEvent>,
}

impl Scenario {
    /// The scenarios in the binary: name and text.
    pub const EMBEDDED: [(&'static str, &'static str); 19] = [
        ("cloudy-hour", include_str!("../../../tests/scenarios/cloudy-hour.toml")),
        ("clear-day", include_str!("../../../tests/scenarios/clear-day.toml")),
        ("night", include_str!("../../../tests/scenarios/night.toml")),
        ("step-down", include_str!("../../../tests/scenarios/step-down.toml")),
        ("surplus-register", include_str!("../../../tests/scenarios/surplus-register.toml")),
        ("meter-silent", include_str!("../../../tests/scenarios/meter-silent.toml")),
        ("meter-faults", include_str!("../../../tests/scenarios/meter-faults.toml")),
        ("miner-unreachable", include_str!("../../../tests/scenarios/miner-unreachable.toml")),
        ("miner-ignores", include_str!("../../../tests/scenarios/miner-ignores.toml")),
        ("miner-reboots", include_str!("../../../tests/scenarios/miner-reboots.toml")),
        ("meter-late", include_str!("../../../tests/scenarios/meter-late.toml")),
        ("meter-noisy", include_str!("../../../tests/scenarios/meter-noisy.toml")),
        ("meter-glitch", include_str!("../../../tests/scenarios/meter-glitch.toml")),
        ("meter-frozen", include_str!("../../../tests/scenarios/meter-frozen.toml")),
        ("square-load", include_str!("../../../tests/scenarios/square-load.toml")),
        ("miners-differ", include_str!("../../../tests/scenarios/miners-differ.toml")),
        ("miners-hang", include_str!("../../../tests/scenarios/miners-hang.toml")),
        ("outage", include_str!("../../../tests/scenarios/outage.toml")),
        ("ai-event", include_str!("../../../tests/scenarios/ai-event.toml")),
    ];

    /// Reads a scenario from text; `file` is its name in messages.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        read::scenario(file, text)
    }

    /// Takes an embedded scenario by its name, or else reads a file.
    ///
    /// # Errors
    /// What is wrong with the file, or the names of the embedded scenarios if there is none.
    pub fn find(name_or_path: &str) -> Result<Self, ScenarioError> {
        if let Some((name, text)) = Self::EMBEDDED.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(name, text);
        }
        Self::load(Path::new(name_or_path))
    }

    /// Reads a scenario file.
    ///
    /// # Errors
    /// A file that cannot be read or is over 1 MiB, and every mistake in it.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let file = path.display().to_string();
        let unreadable =
            |message: String| ScenarioError { file: file.clone(), place: Place::default(), message };
        let names = Self::EMBEDDED.map(|(name, _)| name).join(", ");
        let size = std::fs::metadata(path)
            .map_err(|e| unreadable(format!("cannot be read: {e}; built in are: {names}")))?
            .len();
        if size > LARGEST_FILE {
            return Err(unreadable(format!("is {size} bytes long; a scenario has at most {LARGEST_FILE}")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| unreadable(format!("cannot be read: {e}")))?;
        Self::parse(&file, &text)
    }

    /// A mistake at a place of this scenario.
    pub fn error(&self, place: Place, message: impl Into<String>) -> ScenarioError {
        ScenarioError { file: self.file.clone(), place, message: message.into() }
    }

    /// How a meter measures: its own settings, else the general ones.
    pub fn metering(&self, meter: &str) -> Metering {
        self.meters
            .iter()
            .find(|(name, _)| name.text == meter)
            .map_or(self.metering, |(_, metering)| *metering)
    }

    /// The longest pure delay that any meter has at any time: how far back they must remember.
    pub fn longest_delay(&self) -> Duration {
        let scripted = self.faults.iter().filter_map(|event| match &event.fault {
            Fault::Meter { fault: MeterFault::Delay(time), .. } => Some(*time),
            _ => None,
        });
        let always = self.meters.iter().map(|(_, metering)| metering.delay);
        scripted.chain(always).chain([self.metering.delay]).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "anything", true),
            ("rack-?-*", "rack-1-07", true),
            ("rack-?-*", "rack-10-07", false),
            ("m1", "m1", true),
            ("m1", "m12", false),
            ("*-07", "rack-07-07", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("", "", true),
            ("", "x", false),
            ("**x", "abx", true),
        ] {
            assert_eq!(glob(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn every_embedded_scenario_parses_and_says_what_it_is() {
        for (name, _) in Scenario::EMBEDDED {
            let scenario = Scenario::find(name).unwrap();
            assert!(!scenario.description.is_empty(), "{name}");
        }
    }

    #[test]
    fn an_unknown_scenario_names_the_built_in_ones() {
        let error = Scenario::find("no-such-thing").unwrap_err().to_string();
        assert!(error.contains("cloudy-hour"), "{error}");
    }
}
