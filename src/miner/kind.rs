//! The drivers there are, and what is known of each vendor's actuator before anything was learned.

use std::time::Duration;

use crate::control::site::{ChangeCost, Response};
use crate::units::{Watts, WattsPerSecond};

/// A driver, by the name that the configuration uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DriverKind {
    /// MicroBT Whatsminer, API 2.x on TCP 4028.
    WhatsminerV2,
    /// MicroBT Whatsminer, API 3.x on TCP 4433.
    WhatsminerV3,
    /// Braiins OS 25.07 and later, REST on port 80.
    BraiinsOs,
    /// VNish (also sold as AnthillOS), HTTP on port 80.
    Vnish,
    /// LuxOS, cgminer-style JSON on TCP 4028.
    Luxos,
    /// Bitmain's own firmware for Antminers, HTTP with digest authentication on port 80.
    BitmainStock,
    /// ePIC UMC OS, HTTP on port 4028.
    Epic,
    /// AxeOS of the Bitaxe, HTTP on port 80.
    AxeOs,
    /// Canaan Avalon, cgminer API on TCP 4028.
    Avalon,
    /// Auradine FluxOS, HTTP on port 8080.
    Auradine,
    /// Anything that answers the cgminer API on TCP 4028: read, never commanded.
    CgminerReadOnly,
    /// Proto Rig, MDK API 1.8 on port 80.
    Proto,
    /// MARA firmware, REST with digest authentication on port 80.
    Mara,
    /// Bitdeer SealMiner, bdminer API on TCP 4028.
    SealMiner,
    /// A device of the operator's own, described in the configuration.
    Generic,
}

/// What a driver's actuator can do and what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traits {
    /// Smallest step of power that the actuator can make; percent actuators: one percent of the rated power.
    pub quantum: Quantum,
    /// How finely it can be set, where neither the model nor the operator says otherwise.
    pub class: Class,
    /// Whether a change of power restarts mining: such a miner is changed rarely.
    pub restarts: bool,
    /// Whether a setting outlives a restart of the miner.
    pub persists: bool,
    /// How the draw follows.
    pub response: Response,
    /// What a change costs.
    pub cost: ChangeCost,
    /// The port that the vendor uses.
    pub port: u16,
    /// Account name for commands, where the vendor has accounts.
    pub username: Option<&'static str>,
}

/// How finely a firmware lets power be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Any power between two bounds, in steps of the quantum.
    Continuous,
    /// Only at certain powers: presets, profiles, modes.
    Steps,
    /// Full power or asleep.
    OnOff,
    /// Not at all: it can be read, and counts as a load.
    ReadOnly,
}

/// The step of an actuator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantum {
    /// A fixed number of watts.
    Watts(Watts),
    /// A fraction of the rated power.
    Fraction(f64),
}

impl DriverKind {
    /// Every driver.
    pub const ALL: [Self; 15] = [
        Self::WhatsminerV2,
        Self::WhatsminerV3,
        Self::BraiinsOs,
        Self::Vnish,
        Self::Luxos,
        Self::BitmainStock,
        Self::Epic,
        Self::AxeOs,
        Self::Avalon,
        Self::Auradine,
        Self::CgminerReadOnly,
        Self::Proto,
        Self::Mara,
        Self::SealMiner,
        Self::Generic,
    ];

    /// As written in the configuration and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WhatsminerV2 => "whatsminer-v2",
            Self::WhatsminerV3 => "whatsminer-v3",
            Self::BraiinsOs => "braiins-os",
            Self::Vnish => "vnish",
            Self::Luxos => "luxos",
            Self::BitmainStock => "bitmain-stock",
            Self::Epic => "epic",
            Self::AxeOs => "axeos",
            Self::Avalon => "avalon",
            Self::Auradine => "auradine",
            Self::CgminerReadOnly => "cgminer-readonly",
            Self::Proto => "proto",
            Self::Mara => "mara",
            Self::SealMiner => "sealminer",
            Self::Generic => "generic",
        }
    }

    /// Whether commands need a password. LuxOS has none on its API: a session there keeps programs apart and is no
    /// security feature (vendor's page "Session management"). Nor have AxeOS, Avalon's and SealMiner's; a device of the
    /// operator's own has its secrets in its description.
    pub const fn needs_password(self) -> bool {
        !matches!(self, Self::Luxos | Self::AxeOs | Self::Avalon | Self::SealMiner | Self::Generic)
    }

    /// The driver of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What is known of its actuator. Times are from the vendors' documents where they give any, else cautious
    /// guesses that the response model replaces by what it learns.
    pub fn traits(self) -> Traits {
        let seconds = Duration::from_secs;
        match self {
            Self::WhatsminerV2 | Self::WhatsminerV3 => Traits {
                quantum: Quantum::Fraction(0.01),
                class: Class::Continuous,
                restarts: false,
                // The percentage is meant as temporary, and is gone after a reboot.
                persists: false,
                response: Response {
                    dead_time_down: seconds(1),
                    dead_time_up: seconds(1),
                    ramp_down: WattsPerSecond::whole(2_000),
                    ramp_up: WattsPerSecond::whole(1_000),
                    start_time: seconds(60),
                    // The percent takes effect once tuning has ended (vendor's API 3 document); until then the
                    // miner may run at its limit.
                    starts_at_full: true,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(1), sleep: seconds(300), min_interval: seconds(2) },
                port: if matches!(self, Self::WhatsminerV2) { 4028 } else { 4433 },
                username: if matches!(self, Self::WhatsminerV2) { None } else { Some("super") },
            },
            Self::BraiinsOs => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::Continuous,
                restarts: false,
                persists: true,
                response: Response {
                    dead_time_down: seconds(2),
                    dead_time_up: seconds(4),
                    ramp_down: WattsPerSecond::whole(300),
                    ramp_up: WattsPerSecond::whole(20),
                    start_time: seconds(60),
                    starts_at_full: false,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(30), sleep: seconds(300), min_interval: seconds(60) },
                port: 80,
                username: Some("root"),
            },
            Self::Vnish => Traits {
                quantum: Quantum::Fraction(0.01),
                // By throttle, from firmware 1.3; older firmware tells its presets, which are then its steps.
                class: Class::Continuous,
                restarts: false,
                // Not documented for the throttle: taken as lost, so that it is set anew after a restart.
                persists: false,
                response: Response {
                    // "Within seconds and proportionally" (a user's report on an S19 Pro Hydro, asic-rs #289); the
                    // figures are cautious guesses within that.
                    dead_time_down: seconds(2),
                    dead_time_up: seconds(2),
                    ramp_down: WattsPerSecond::whole(300),
                    ramp_up: WattsPerSecond::whole(100),
                    start_time: seconds(90),
                    starts_at_full: true,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(5), sleep: seconds(300), min_interval: seconds(10) },
                port: 80,
                // The password alone counts (`POST /unlock {"pw"}`).
                username: None,
            },
            Self::Luxos => Traits {
                quantum: Quantum::Fraction(0.05),
                class: Class::Steps,
                restarts: false,
                // While autosave is on, which it is by default; sleep always (vendor's pages "profileset", "curtail").
                persists: true,
                response: Response {
                    // Boards are ramped in steps of 5 MHz and 0.05 V by default ("profileset"); how long that takes is
                    // a cautious guess. Sleep is under 5 s by the vendor's word.
                    dead_time_down: seconds(2),
                    dead_time_up: seconds(4),
                    ramp_down: WattsPerSecond::whole(150),
                    ramp_up: WattsPerSecond::whole(40),
                    start_time: seconds(60),
                    starts_at_full: false,
                    start_overshoot: 0.05,
                },
                // One session at a time, and every profile is saved to flash.
                cost: ChangeCost { adjust: seconds(30), sleep: seconds(180), min_interval: seconds(60) },
                port: 4028,
                username: None,
            },
            Self::BitmainStock => Traits {
                quantum: Quantum::Fraction(0.01),
                class: Class::OnOff,
                restarts: true,
                persists: true,
                response: Response {
                    // The write takes about 21 s to be answered (measured on an S19j Pro, asic-rs #245); the rest
                    // are cautious guesses.
                    dead_time_down: seconds(25),
                    dead_time_up: seconds(25),
                    ramp_down: WattsPerSecond::whole(500),
                    ramp_up: WattsPerSecond::whole(50),
                    start_time: seconds(240),
                    starts_at_full: true,
                    start_overshoot: 0.05,
                },
                // Each change restarts mining from cold and writes flash: rarely.
                cost: ChangeCost { adjust: seconds(300), sleep: seconds(600), min_interval: seconds(900) },
                port: 80,
                username: Some("root"),
            },
            // The class is that of the power algorithm; a miner that has none tells its presets as points. The
            // vendor says that tuning is perpetual and live, and gives no times: all of them are cautious guesses.
            Self::Epic => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::Continuous,
                restarts: false,
                persists: true,
                response: Response {
                    dead_time_down: seconds(5),
                    dead_time_up: seconds(10),
                    ramp_down: WattsPerSecond::whole(50),
                    ramp_up: WattsPerSecond::whole(15),
                    start_time: seconds(120),
                    starts_at_full: false,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(60), sleep: seconds(600), min_interval: seconds(120) },
                port: 4028,
                // The password goes alone.
                username: None,
            },
            // ESP-Miner looks for a new clock ten times a second and walks there in small steps; the ramps and the time to
            // start are cautious guesses. A clock is written to flash, a pause is not kept.
            Self::AxeOs => Traits {
                quantum: Quantum::Fraction(0.03),
                class: Class::Continuous,
                restarts: false,
                persists: true,
                response: Response {
                    dead_time_down: seconds(1),
                    dead_time_up: seconds(1),
                    ramp_down: WattsPerSecond::whole(5),
                    ramp_up: WattsPerSecond::whole(2),
                    start_time: seconds(15),
                    starts_at_full: false,
                    start_overshoot: 0.1,
                },
                cost: ChangeCost { adjust: seconds(30), sleep: seconds(60), min_interval: seconds(60) },
                port: 80,
                username: None,
            },
            // Switching off takes effect at a moment three seconds ahead; all other times are cautious guesses, as is
            // that it comes back hashing after a reboot.
            Self::Avalon => Traits {
                quantum: Quantum::Fraction(1.0),
                class: Class::OnOff,
                restarts: false,
                persists: false,
                response: Response {
                    dead_time_down: seconds(5),
                    dead_time_up: seconds(5),
                    ramp_down: WattsPerSecond::whole(500),
                    ramp_up: WattsPerSecond::whole(50),
                    start_time: seconds(180),
                    starts_at_full: true,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(600), sleep: seconds(600), min_interval: seconds(60) },
                port: 4028,
                username: None,
            },
            // The vendor publishes no times: all of them are cautious guesses.
            Self::Auradine => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::Continuous,
                restarts: false,
                persists: true,
                response: Response {
                    dead_time_down: seconds(5),
                    dead_time_up: seconds(10),
                    ramp_down: WattsPerSecond::whole(100),
                    ramp_up: WattsPerSecond::whole(20),
                    start_time: seconds(120),
                    starts_at_full: false,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(60), sleep: seconds(600), min_interval: seconds(60) },
                port: 8080,
                username: Some("admin"),
            },
            // Never commanded: the response only says how its reading may be expected to move, and is that of a
            // cautious guess.
            Self::CgminerReadOnly => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::ReadOnly,
                restarts: false,
                persists: true,
                response: Response {
                    dead_time_down: seconds(5),
                    dead_time_up: seconds(5),
                    ramp_down: WattsPerSecond::whole(100),
                    ramp_up: WattsPerSecond::whole(20),
                    start_time: seconds(300),
                    starts_at_full: true,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(60), sleep: seconds(300), min_interval: seconds(60) },
                port: 4028,
                username: None,
            },
            // Whole watts, live and kept: MDK API 1.8.2, `mining/target`. No time is documented: cautious guesses.
            Self::Proto => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::Continuous,
                restarts: false,
                persists: true,
                response: Response {
                    dead_time_down: seconds(2),
                    dead_time_up: seconds(4),
                    ramp_down: WattsPerSecond::whole(300),
                    ramp_up: WattsPerSecond::whole(20),
                    start_time: seconds(60),
                    starts_at_full: false,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(30), sleep: seconds(300), min_interval: seconds(60) },
                port: 80,
                username: None,
            },
            // Nothing is documented in public; that a change restarts mining is a cautious guess, as is every time.
            // The write budget is that of a configuration file in flash.
            Self::Mara => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::Continuous,
                restarts: true,
                persists: true,
                response: Response {
                    dead_time_down: seconds(5),
                    dead_time_up: seconds(10),
                    ramp_down: WattsPerSecond::whole(100),
                    ramp_up: WattsPerSecond::whole(10),
                    start_time: seconds(120),
                    starts_at_full: false,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(120), sleep: seconds(300), min_interval: seconds(300) },
                port: 80,
                username: Some("root"),
            },
            // A new power limit needs a restart of the mining process. An A2 with firmware 2025091001 gave as its own
            // figures a boot time of 222 s and a coarse tuning of 628 s for 3.5 kW (captured by the asic-rs project):
            // the start, the ramp of 5 W/s and the costs. The way down and the write budget are cautious guesses.
            Self::SealMiner => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::Continuous,
                restarts: true,
                persists: true,
                response: Response {
                    dead_time_down: seconds(5),
                    dead_time_up: seconds(10),
                    ramp_down: WattsPerSecond::whole(500),
                    ramp_up: WattsPerSecond::whole(5),
                    start_time: seconds(220),
                    starts_at_full: false,
                    start_overshoot: 0.05,
                },
                cost: ChangeCost { adjust: seconds(600), sleep: seconds(600), min_interval: seconds(900) },
                port: 4028,
                username: None,
            },
            // A switch or a heater: nothing is known of it but what its description says. Cautious guesses; the class
            // and the port are those of the description.
            Self::Generic => Traits {
                quantum: Quantum::Watts(Watts::whole(1)),
                class: Class::OnOff,
                restarts: false,
                persists: true,
                response: Response {
                    dead_time_down: seconds(2),
                    dead_time_up: seconds(2),
                    ramp_down: WattsPerSecond::whole(1_000),
                    ramp_up: WattsPerSecond::whole(1_000),
                    start_time: seconds(5),
                    starts_at_full: true,
                    start_overshoot: 0.05,
                },
                // Contactors wear with every cycle.
                cost: ChangeCost { adjust: seconds(1), sleep: seconds(300), min_interval: seconds(60) },
                port: 80,
                username: None,
            },
        }
    }
}
