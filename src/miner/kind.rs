//! What there is to know of a driver before any miner was spoken with, and the table of them all.
//!
//! Each driver's file holds an [`About`]; what is added here for a new one is its line in the table.

use reqwest::Client;

use super::drivers::{
    auradine, avalon, axeos, ballast, bitmain_stock, braiins_os, cgminer_readonly, epic, generic, luxos,
    mara, proto, redfish, sealminer, vnish, whatsminer_v2, whatsminer_v3, zeusd,
};
use super::{Connection, Driver};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::units::Watts;

/// What is known of a driver, the same for all its miners.
#[derive(Debug)]
pub struct About {
    /// As written in the configuration and in metrics.
    pub name: &'static str,
    /// Whether commands need a password.
    pub needs_password: bool,
    /// The driver of one miner. Nothing is sent before its first call.
    pub new: fn(&Connection, &Client) -> Box<dyn Driver>,
    /// What is known of its actuator. Times are from the vendors' documents where they give any, else cautious guesses
    /// that the response model replaces by what it learns.
    pub traits: Traits,
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
    /// How long it may take to answer, where that is long.
    pub answers: AnswerWithin,
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

/// Builds what is enumerated over all drivers, so that no driver can be left out of one of them.
macro_rules! table {
    ($( $(#[$doc:meta])+ $kind:ident => $module:ident, )+) => {
        /// A driver, by the name that the configuration uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DriverKind {
            $( $(#[$doc])+ $kind, )+
        }

        impl DriverKind {
            /// Every driver.
            pub const ALL: [Self; [$(stringify!($kind)),+].len()] = [$(Self::$kind),+];

            /// What is known of it.
            pub const fn about(self) -> &'static About {
                match self {
                    $( Self::$kind => &$module::ABOUT, )+
                }
            }
        }

        /// One of something for each driver.
        #[derive(Debug, Default)]
        pub struct PerDriver<T> {
            $( $module: T, )+
        }

        impl<T> PerDriver<T> {
            /// That of a driver.
            pub const fn get(&self, kind: DriverKind) -> &T {
                match kind {
                    $( DriverKind::$kind => &self.$module, )+
                }
            }
        }
    };
}

table! {
    /// MicroBT Whatsminer, API 2.x on TCP 4028.
    WhatsminerV2 => whatsminer_v2,
    /// MicroBT Whatsminer, API 3.x on TCP 4433.
    WhatsminerV3 => whatsminer_v3,
    /// Braiins OS 25.07 and later, REST on port 80.
    BraiinsOs => braiins_os,
    /// VNish (also sold as AnthillOS), HTTP on port 80.
    Vnish => vnish,
    /// LuxOS, cgminer-style JSON on TCP 4028.
    Luxos => luxos,
    /// Bitmain's own firmware for Antminers, HTTP with digest authentication on port 80.
    BitmainStock => bitmain_stock,
    /// ePIC UMC OS, HTTP on port 4028.
    Epic => epic,
    /// AxeOS of the Bitaxe, HTTP on port 80.
    AxeOs => axeos,
    /// Canaan Avalon, cgminer API on TCP 4028.
    Avalon => avalon,
    /// Auradine FluxOS, HTTP on port 8080.
    Auradine => auradine,
    /// Anything that answers the cgminer API on TCP 4028: read, never commanded.
    CgminerReadOnly => cgminer_readonly,
    /// Proto Rig, MDK API 1.8 on port 80.
    Proto => proto,
    /// MARA firmware, REST with digest authentication on port 80.
    Mara => mara,
    /// Bitdeer SealMiner, bdminer API on TCP 4028.
    SealMiner => sealminer,
    /// Another Ballast, HTTP on port 9842: all its miners as one.
    Ballast => ballast,
    /// The power limit of a server by its BMC, Redfish on port 443.
    Redfish => redfish,
    /// The power limits of a server's graphics processors by the daemon `zeusd` on it, HTTP on port 4938.
    Zeusd => zeusd,
    /// A device of the operator's own, described in the configuration.
    Generic => generic,
}

impl DriverKind {
    /// As written in the configuration and in metrics.
    pub const fn name(self) -> &'static str {
        self.about().name
    }

    /// Whether commands need a password.
    pub const fn needs_password(self) -> bool {
        self.about().needs_password
    }

    /// Whether it speaks with a server, which goes to its lowest power where a miner sleeps.
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Redfish | Self::Zeusd)
    }

    /// The driver of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What is known of its actuator.
    pub const fn traits(self) -> Traits {
        self.about().traits
    }
}
