//! What a scan says of one host.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::control::snapshot::Activity;
use crate::miner::DriverKind;
use crate::miner::identity::Identity;
use crate::miner::reply::said::Said;
use crate::units::{Hashrate, Watts};

/// The firmware that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Firmware {
    /// MicroBT, before API 2: no token, no commands that can be trusted.
    WhatsminerV1,
    /// MicroBT, API 2.
    WhatsminerV2,
    /// MicroBT, API 3.
    WhatsminerV3,
    /// Braiins OS with its REST API (25.07 and later).
    BraiinsOs,
    /// Braiins OS before that.
    BraiinsOsOld,
    /// VNish, AnthillOS.
    Vnish,
    /// LuxOS.
    LuxOs,
    /// Bitmain's own.
    BitmainStock,
    /// ePIC PowerPlay, UMC OS.
    Epic,
    /// Canaan's own.
    Avalon,
    /// Auradine FluxOS.
    Auradine,
    /// MARA firmware.
    Mara,
    /// Bitdeer's own.
    SealMiner,
    /// Proto OS.
    Proto,
    /// Ballast itself: another daemon with its own miners.
    Ballast,
    /// AxeOS and its relatives: Bitaxe, NerdAxe and others.
    AxeOs,
    /// Hiveon.
    Hiveon,
    /// MSK firmware.
    Msk,
    /// Something else that speaks the cgminer API.
    Cgminer,
    /// A web interface that looks like a Whatsminer whose APIs did not answer.
    WhatsminerWeb,
}

impl Firmware {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::WhatsminerV1,
        Self::WhatsminerV2,
        Self::WhatsminerV3,
        Self::BraiinsOs,
        Self::BraiinsOsOld,
        Self::Vnish,
        Self::LuxOs,
        Self::BitmainStock,
        Self::Epic,
        Self::Avalon,
        Self::Auradine,
        Self::Mara,
        Self::SealMiner,
        Self::Proto,
        Self::Ballast,
        Self::AxeOs,
        Self::Hiveon,
        Self::Msk,
        Self::Cgminer,
        Self::WhatsminerWeb,
    ];

    /// For people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::WhatsminerV1 => "Whatsminer API 1",
            Self::WhatsminerV2 => "Whatsminer API 2",
            Self::WhatsminerV3 => "Whatsminer API 3",
            Self::BraiinsOs | Self::BraiinsOsOld => "Braiins OS",
            Self::Vnish => "VNish",
            Self::LuxOs => "LuxOS",
            Self::BitmainStock => "Bitmain stock",
            Self::Epic => "ePIC",
            Self::Avalon => "Avalon stock",
            Self::Auradine => "FluxOS",
            Self::Mara => "MARA",
            Self::SealMiner => "SealMiner stock",
            Self::Proto => "Proto OS",
            Self::Ballast => "Ballast",
            Self::AxeOs => "AxeOS",
            Self::Hiveon => "Hiveon",
            Self::Msk => "MSK",
            Self::Cgminer => "cgminer",
            Self::WhatsminerWeb => "Whatsminer, API silent",
        }
    }

    /// What Ballast can do with it.
    pub const fn control(self) -> Control {
        match self {
            Self::WhatsminerV2 => Control::Driver(DriverKind::WhatsminerV2),
            Self::WhatsminerV3 => Control::Driver(DriverKind::WhatsminerV3),
            Self::BraiinsOs => Control::Driver(DriverKind::BraiinsOs),
            Self::Vnish => Control::Driver(DriverKind::Vnish),
            Self::LuxOs => Control::Driver(DriverKind::Luxos),
            Self::BitmainStock => Control::Driver(DriverKind::BitmainStock),
            Self::Epic => Control::Driver(DriverKind::Epic),
            Self::Avalon => Control::Driver(DriverKind::Avalon),
            Self::Auradine => Control::Driver(DriverKind::Auradine),
            Self::Mara => Control::Driver(DriverKind::Mara),
            Self::SealMiner => Control::Driver(DriverKind::SealMiner),
            Self::Proto => Control::Driver(DriverKind::Proto),
            Self::Ballast => Control::Driver(DriverKind::Ballast),
            Self::AxeOs => Control::Driver(DriverKind::AxeOs),
            Self::WhatsminerV1 | Self::BraiinsOsOld | Self::Hiveon | Self::Msk | Self::Cgminer => {
                Control::ReadOnly
            }
            Self::WhatsminerWeb => Control::Nothing,
        }
    }
}

impl Serialize for Firmware {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.title())
    }
}

/// What Ballast can do with a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// Throttle it, with this driver.
    Driver(DriverKind),
    /// Read it, as everything that speaks the cgminer API and cannot be throttled by it; it counts as a load.
    ReadOnly,
    /// Neither.
    Nothing,
}

impl Control {
    /// The driver for the configuration, where there is one.
    pub const fn driver(self) -> Option<DriverKind> {
        match self {
            Self::Driver(kind) => Some(kind),
            Self::ReadOnly => Some(DriverKind::CgminerReadOnly),
            Self::Nothing => None,
        }
    }

    /// Its name.
    pub fn driver_name(self) -> Option<&'static str> {
        self.driver().map(DriverKind::name)
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(kind) => f.pad(kind.name()),
            Self::ReadOnly => f.pad("read only"),
            Self::Nothing => f.pad("none"),
        }
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("driver", &self.driver_name())?;
        map.serialize_entry("available", &self.driver().is_some())?;
        map.serialize_entry("throttles", &matches!(self, Self::Driver(_)))?;
        map.end()
    }
}

/// What a miner is doing, by its own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does not say without a login.
    #[default]
    Unknown,
    /// Hashing.
    Hashing,
    /// Stopped, asleep, paused or curtailed.
    Asleep,
    /// Starting or tuning.
    Starting,
    /// Out of order.
    Fault,
}

impl State {
    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "-",
            Self::Hashing => "hashing",
            Self::Asleep => "asleep",
            Self::Starting => "starting",
            Self::Fault => "fault",
        }
    }
}

/// The powers that the miner itself names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// The lowest that it can be set to.
    #[serde(rename = "minimum_watts", serialize_with = "watts")]
    pub minimum: Option<Watts>,
    /// The highest that it can be set to.
    #[serde(rename = "maximum_watts", serialize_with = "watts")]
    pub maximum: Option<Watts>,
}

/// An operating point that the miner itself lists.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Draw.
    #[serde(rename = "watts", serialize_with = "plain_watts")]
    pub power: Watts,
    /// What it gives for it.
    #[serde(rename = "terahashes", serialize_with = "plain_terahashes")]
    pub hashrate: Hashrate,
}

/// What kind of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// The vendor's password is still set.
    DefaultPassword,
    /// The miner takes no commands.
    WriteDisabled,
    /// LuxOS manages temperature and profile itself.
    Atm,
    /// VNish runs a preset that was never tuned.
    Untuned,
    /// The firmware is too old for commands.
    OldFirmware,
    /// The miner's clock is wrong.
    Clock,
    /// It looks like a miner, but does not answer.
    Silent,
    /// The account that was given is refused.
    Account,
    /// It hashes something else than Bitcoin.
    Algorithm,
}

/// Something that stands in the way of control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Which.
    pub kind: WarningKind,
    /// What it means and what to do; one sentence.
    pub text: String,
}

/// One miner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Where it answered.
    pub address: IpAddr,
    /// Who it is.
    #[serde(flatten)]
    pub identity: Identity,
    /// What runs on it.
    pub firmware: Firmware,
    /// The version of that.
    pub version: Option<String>,
    /// The name that it has on the network.
    pub hostname: Option<String>,
    /// What Ballast can do with it.
    pub control: Control,
    /// What it is doing.
    pub state: State,
    /// Its draw, by its own word.
    #[serde(rename = "power_watts", serialize_with = "watts")]
    pub power: Option<Watts>,
    /// Its hashrate, by its own word.
    #[serde(rename = "hashrate_terahashes", serialize_with = "terahashes")]
    pub hashrate: Option<Hashrate>,
    /// Powers that it names.
    #[serde(flatten)]
    pub limits: Limits,
    /// Operating points that it lists, by rising power.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// What stands in the way of control.
    pub warnings: Vec<Warning>,
    /// Whether the vendor's default password was tried.
    pub default_password_checked: bool,
    /// The port of its API, where a scan was told another one than the usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Finding {
    /// With nothing known but what runs on it.
    pub fn new(address: IpAddr, firmware: Firmware) -> Self {
        Self {
            address,
            identity: Identity::default(),
            firmware,
            version: None,
            hostname: None,
            control: firmware.control(),
            state: State::Unknown,
            power: None,
            hashrate: None,
            limits: Limits::default(),
            points: Vec::new(),
            warnings: Vec::new(),
            default_password_checked: false,
            port: None,
        }
    }

    /// Takes over what the miner says of itself.
    pub(crate) fn take(&mut self, said: Said) {
        self.power = said.power.value();
        self.hashrate = said.hashrate.value();
        self.state = match said.activity {
            Activity::Hashing => State::Hashing,
            Activity::Asleep => State::Asleep,
            Activity::Starting => State::Starting,
            Activity::Fault(_) => State::Fault,
            Activity::Unknown => State::Unknown,
        };
    }

    /// Notes something that stands in the way.
    pub fn warn(&mut self, kind: WarningKind, text: impl Into<String>) {
        self.warnings.push(Warning { kind, text: text.into() });
    }

    /// Whether it is warned of this.
    pub fn is_warned(&self, kind: WarningKind) -> bool {
        self.warnings.iter().any(|warning| warning.kind == kind)
    }
}

fn watts<S: Serializer>(value: &Option<Watts>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(Watts::get).serialize(serializer)
}

fn terahashes<S: Serializer>(value: &Option<Hashrate>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(Hashrate::as_terahashes).serialize(serializer)
}

fn plain_watts<S: Serializer>(value: &Watts, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.get())
}

fn plain_terahashes<S: Serializer>(value: &Hashrate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(value.as_terahashes())
}
