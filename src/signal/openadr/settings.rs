//! What a virtual end node must know of its top node, and what the words of its programme mean here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use crate::control::signal::Basis;
use crate::control::site::Scope;
use crate::secret::Secret;
use crate::units::Watts;

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the top node's API begins: `https://vtn.example/openadr3/3.1.0`. HTTPS, or plain HTTP on loopback.
    pub url: Url,
    /// How the end node says who it is.
    pub account: Account,
    /// The certificates that are believed instead of those of the system, as PEM.
    pub authorities: Option<Arc<[u8]>>,
    /// Whose events are obeyed.
    pub programme: Programme,
    /// For whom events may be meant that name somebody.
    pub names: Names,
    /// Time between two polls.
    pub poll: Duration,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// The unit of powers where neither the event nor its programme names one.
    pub unit: PowerUnit,
    /// What the payload types mean. Those that are not here are not obeyed.
    pub payloads: BTreeMap<String, Rule>,
    /// The caps of the levels of SIMPLE.
    pub simple: [Level; 4],
    /// The rating of the connection: a cap above everything that hangs on the circuit is believed up to here, and refused
    /// above. Without it such a cap is always refused.
    pub rating: Option<Watts>,
    /// Against what orders are judged.
    pub basis: Basis,
    /// What is reported back.
    pub reports: Reports,
}

/// How the end node says who it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Account {
    /// Not at all: for a top node under test, on loopback.
    Nobody,
    /// With a token that was given once.
    Bearer(Secret),
    /// With client credentials (RFC 6749, section 4.4), which are given for a token over and over.
    Client {
        /// Where tokens are given. HTTPS, or plain HTTP on loopback.
        token_url: Url,
        /// The name of the client.
        id: String,
        /// Its secret.
        secret: Secret,
        /// What the token shall be good for; empty to leave that to the server.
        scope: Option<String>,
        /// The name and secret travel in the header (RFC 6749, section 2.3.1) and not in the body, as OpenADR has it.
        basic: bool,
    },
}

/// Whose events are obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Programme {
    /// All that the top node shows.
    Any,
    /// Those of the programme of this name.
    Name(String),
    /// Those of the programme of this id.
    Id(String),
}

/// The names by which events may mean this site. With none of them every event is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The name of the end node, in its reports too.
    pub ven: Option<String>,
    /// Its resources.
    pub resources: Vec<String>,
    /// The groups that it belongs to.
    pub groups: Vec<String>,
    /// Targets as OpenADR 3.1 has them, without a type. The top node is asked for these.
    pub targets: Vec<String>,
}

/// What a payload type means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// How its value is obeyed.
    pub meaning: Meaning,
    /// The unit of its values where neither the event nor its programme names one.
    pub unit: Option<PowerUnit>,
    /// On what it acts, where that is not what the source caps otherwise.
    pub scope: Option<Scope>,
}

/// How the value of a payload is obeyed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meaning {
    /// At most this power.
    Cap,
    /// At most this power, and what a reservation adds to it.
    Subscription,
    /// So much on top of the subscription.
    Reservation,
    /// So much less than the baseline.
    Reduction,
    /// A level of SIMPLE.
    Simple,
    /// Whatever its value: at most this.
    Alert(Level),
}

/// A cap as the operator writes it in a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    /// A share of everything that hangs on the circuit, 0 to 1.
    Share(f64),
    /// A power.
    Power(Watts),
}

/// A unit of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerUnit {
    /// Watts; a private value of the field `units`.
    Watt,
    /// Kilowatts: the one unit of real power that OpenADR 3 enumerates.
    Kilowatt,
    /// Megawatts; a private value.
    Megawatt,
}

impl PowerUnit {
    /// As top nodes write it, in any case of letters but the prefix that would be milli.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "W" | "w" | "WATT" | "WATTS" => Some(Self::Watt),
            "KW" | "kW" | "Kw" | "kw" => Some(Self::Kilowatt),
            "MW" => Some(Self::Megawatt),
            _ => None,
        }
    }

    /// A number of this unit in watts.
    pub fn watts(self, value: f64) -> f64 {
        match self {
            Self::Watt => value,
            Self::Kilowatt => value * 1e3,
            Self::Megawatt => value * 1e6,
        }
    }
}

/// What is reported back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reports {
    /// Whether events are answered that ask for reports.
    pub asked: bool,
    /// Payload types that are reported for every event that is obeyed, whether it asks or not.
    pub always: Vec<Telling>,
    /// The payload type under which the receipt of every event is reported at once; `None` for no receipt. OpenADR 3 has
    /// no message of that kind, so its name is agreed with the programme; `OPERATING_STATE` is the usual one.
    pub acknowledge: Option<String>,
    /// Time between two reports of an event that holds without an end, or that asks for reports at any time.
    pub every: Duration,
    /// The name of the resource in reports.
    pub resource: String,
}

/// What can be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telling {
    /// Mean power.
    Demand,
    /// Energy.
    Usage,
    /// What the site does.
    OperatingState,
    /// By how much the draw could be lowered at once.
    LoadShedDeltaAvailable,
}

impl Telling {
    /// All.
    pub const ALL: [Self; 4] =
        [Self::Demand, Self::Usage, Self::OperatingState, Self::LoadShedDeltaAvailable];

    /// The payload type (OpenADR 3.1.1, report-payloads schema).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Demand => "DEMAND",
            Self::Usage => "USAGE",
            Self::OperatingState => "OPERATING_STATE",
            Self::LoadShedDeltaAvailable => "LOAD_SHED_DELTA_AVAILABLE",
        }
    }

    /// Whether it tells of a time, and not of a moment.
    pub const fn is_mean(self) -> bool {
        matches!(self, Self::Demand | Self::Usage)
    }
}

impl Settings {
    /// Defaults for everything but the way to the top node.
    pub fn new(url: Url, account: Account) -> Self {
        Self {
            url,
            account,
            authorities: None,
            programme: Programme::Any,
            names: Names::default(),
            poll: Duration::from_secs(15),
            timeout: Duration::from_secs(5),
            unit: PowerUnit::Kilowatt,
            payloads: standard_payloads(),
            simple: [Level::Share(1.0), Level::Share(0.6), Level::Share(0.3), Level::Share(0.0)],
            rating: None,
            basis: Basis::Instant,
            reports: Reports {
                asked: true,
                always: Vec::new(),
                acknowledge: None,
                every: Duration::from_secs(60),
                resource: "SITE".into(),
            },
        }
    }
}

/// What the payload types of the specification mean (OpenADR 3.1.1, event-interval-payloads schema).
pub fn standard_payloads() -> BTreeMap<String, Rule> {
    let nothing = Meaning::Alert(Level::Power(Watts::ZERO));
    [
        ("IMPORT_CAPACITY_LIMIT", Meaning::Cap),
        ("IMPORT_CAPACITY_SUBSCRIPTION", Meaning::Subscription),
        ("IMPORT_CAPACITY_RESERVATION", Meaning::Reservation),
        ("DISPATCH_SETPOINT", Meaning::Cap),
        ("SIMPLE", Meaning::Simple),
        ("ALERT_GRID_EMERGENCY", nothing),
        ("ALERT_BLACK_START", nothing),
    ]
    .into_iter()
    .map(|(name, meaning)| (name.to_owned(), Rule { meaning, unit: None, scope: None }))
    .collect()
}

/// Payload types that say nothing about how much may be drawn now: nobody need be warned that they are not obeyed.
pub const INFORMATIVE: [&str; 24] = [
    "PRICE",
    "PRICE_ALTERNATE",
    "EXPORT_PRICE",
    "GHG",
    "CURVE",
    "IMPORT_CAPACITY_RESERVATION_FEE",
    "IMPORT_CAPACITY_AVAILABLE",
    "IMPORT_CAPACITY_AVAILABLE_PRICE",
    "EXPORT_CAPACITY_SUBSCRIPTION",
    "EXPORT_CAPACITY_RESERVATION",
    "EXPORT_CAPACITY_RESERVATION_FEE",
    "EXPORT_CAPACITY_AVAILABLE",
    "EXPORT_CAPACITY_AVAILABLE_PRICE",
    "EXPORT_CAPACITY_LIMIT",
    "CHARGE_STATE_SETPOINT",
    "ALERT_POSSIBLE_OUTAGE",
    "ALERT_FLEX_ALERT",
    "ALERT_FIRE",
    "ALERT_FREEZING",
    "ALERT_WIND",
    "ALERT_TSUNAMI",
    "ALERT_AIR_QUALITY",
    "ALERT_OTHER",
    "CTA2045_REBOOT",
];
