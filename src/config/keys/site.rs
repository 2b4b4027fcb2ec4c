//! The whole file, and the sections about the site, its circuits and limits, and how the daemon is reached.

use super::meters::{LINK, METER, PLACE, PLC_NUMBER, PROFILE, SWITCH};
use super::miners::{ACCOUNT, ACCOUNTS, DRIVER, GROUP, MINER, MODEL};
use super::signals::{SIGNAL, WINDOW};
use super::{EMPTY, Key, LOAD, POWER, RATE, SHARE, Section, Shape, TEXTS, TIME, UNIT_ID, key, must};
use crate::alarm::kind::Kind;
use crate::token::Scopes;

/// The file.
pub(in crate::config) static ROOT: Section = Section {
    name: "file",
    told: &[""],
    keys: &[&[
        must("site", Shape::Table(&SITE)),
        key("control", Shape::Table(&CONTROL)),
        key("web", Shape::Table(&WEB)),
        must("circuits", Shape::Table(&CIRCUITS)),
        key("limits", Shape::Table(&LIMITS)),
        key("links", Shape::Table(&LINKS)),
        key("meters", Shape::Table(&METERS)),
        key("profiles", Shape::Table(&PROFILES)),
        key("store", Shape::Table(&STORE)),
        key("proof", Shape::Table(&PROOF)),
        key("standby", Shape::Table(&STANDBY)),
        key("record", Shape::Table(&RECORD)),
        key("alarms", Shape::Table(&ALARMS)),
        key("signals", Shape::Table(&SIGNALS)),
        key("mqtt", Shape::Table(&MQTT)),
        key("models", Shape::Table(&MODELS)),
        key("groups", Shape::Table(&GROUPS)),
        key("miners", Shape::Table(&MINERS)),
        key("credentials", Shape::Table(&ACCOUNTS)),
        key("drivers", Shape::Table(&DRIVERS)),
        key("heartbeat", Shape::Table(&HEARTBEATS)),
    ]],
    ..EMPTY
};

static CIRCUITS: Section = Section { name: "circuits", named: Some(Shape::Table(&CIRCUIT)), ..EMPTY };
static LIMITS: Section = Section { name: "limits", named: Some(Shape::Table(&LIMIT)), ..EMPTY };
static LINKS: Section = Section { name: "links", named: Some(Shape::Table(&LINK)), ..EMPTY };
static METERS: Section = Section { name: "meters", named: Some(Shape::Table(&METER)), ..EMPTY };
static PROFILES: Section = Section { name: "profiles", named: Some(Shape::Table(&PROFILE)), ..EMPTY };
static SIGNALS: Section = Section { name: "signals", named: Some(Shape::Table(&SIGNAL)), ..EMPTY };
static MODELS: Section = Section { name: "models", named: Some(Shape::Table(&MODEL)), ..EMPTY };
static GROUPS: Section = Section { name: "groups", named: Some(Shape::Table(&GROUP)), ..EMPTY };
static MINERS: Section = Section { name: "miners", named: Some(Shape::Table(&MINER)), ..EMPTY };
static DRIVERS: Section = Section { name: "drivers", named: Some(Shape::Table(&DRIVER)), ..EMPTY };
static HEARTBEATS: Section = Section { name: "heartbeats", named: Some(Shape::Table(&HEARTBEAT)), ..EMPTY };

static SITE: Section = Section {
    name: "site",
    told: &["site"],
    keys: &[&[
        must("name", Shape::Text),
        must("mode", Shape::Words(&["control", "observe"])),
        key("profiles", Shape::Text),
        key("clock", Shape::Words(&["checked", "trusted"])),
        key("time_zone", Shape::Text),
    ]],
    ..EMPTY
};

static CONTROL: Section = Section {
    name: "control",
    told: &["control"],
    keys: &[&[
        key("period", TIME),
        key("raise_rate", RATE),
        key("import_share", SHARE),
        key("deadband", LOAD),
        key("min_sleep", TIME),
        key("start_timeout", TIME),
        key("horizon", TIME),
        key("rebalance_period", TIME),
        key("straggler_grace", TIME),
        key("on_exit", Shape::Words(&["sleep", "hold", "restore"])),
        key("raise_hold", Shape::Gone),
        key("raise_samples", Shape::Gone),
        key("anticipate", Shape::Gone),
        key("max_starting", Shape::Gone),
    ]],
    ..EMPTY
};

static STORE: Section = Section {
    name: "store",
    told: &["store"],
    keys: &[&[key("path", Shape::Text), key("outage_after", TIME), key("restart_spread", TIME)]],
    ..EMPTY
};

static RECORD: Section = Section {
    name: "record",
    told: &["record"],
    keys: &[&[
        key("enabled", Shape::Boolean),
        key("folder", Shape::Text),
        key("max_megabytes", Shape::Whole(16, 1_000_000)),
        key("keep", TIME),
    ]],
    ..EMPTY
};

static PROOF: Section = Section {
    name: "proof",
    told: &["proof"],
    keys: &[&[
        key("keep", Shape::Whole(2_000, 10_000_000)),
        key("decisions_every", TIME),
        key("time_stamps", Shape::Table(&TIME_STAMPS)),
    ]],
    ..EMPTY
};

static TIME_STAMPS: Section = Section {
    name: "time_stamps",
    told: &["proof.time_stamps"],
    keys: &[&[must("url", Shape::Text), key("every", TIME), key("ca", Shape::Text)]],
    ..EMPTY
};

static STANDBY: Section = Section {
    name: "standby",
    told: &["standby"],
    keys: &[&[
        must("address", Shape::Text),
        must("peer", Shape::Text),
        key("token", Shape::Table(&SECRET)),
        key("ca", Shape::Text),
    ]],
    ..EMPTY
};

/// Where a secret text is.
pub(super) static SECRET: Section = Section {
    name: "secret",
    keys: &[&[key("file", Shape::Text), key("credential", Shape::Text), key("env", Shape::Text)]],
    ..EMPTY
};

static WEB: Section = Section {
    name: "web",
    told: &["web"],
    keys: &[&[
        key("listen", Shape::Text),
        key("socket", Shape::Text),
        key("hosts", TEXTS),
        key("tokens_file", Shape::Text),
        key("tokens", Shape::Table(&TOKENS)),
    ]],
    ..EMPTY
};

static TOKENS: Section = Section { name: "tokens", named: Some(Shape::Table(&TOKEN)), ..EMPTY };

static TOKEN: Section = Section {
    name: "token",
    told: &["web.tokens.*"],
    keys: &[&[
        key("token", Shape::Table(&SECRET)),
        key("hash", Shape::Text),
        must("scopes", Shape::List(&Shape::OneOf(scopes))),
        key("source", Shape::Text),
    ]],
    ..EMPTY
};

fn scopes() -> Vec<&'static str> {
    Scopes::NAMES.to_vec()
}

static CIRCUIT: Section = Section {
    name: "circuit",
    told: &["circuits.*"],
    keys: &[&[
        key("parent", Shape::Text),
        key("meter", Shape::Text),
        key("dedicated", Shape::Boolean),
        key("margin", LOAD),
        key("other_load", LOAD),
        key("fail_safe", LOAD),
        key("interlock", Shape::Table(&INTERLOCK)),
        key("emergency_stop", Shape::Table(&EMERGENCY_STOP)),
        key("breaker", Shape::Table(&BREAKER)),
    ]],
    ..EMPTY
};

static INTERLOCK: Section =
    Section { name: "interlock", keys: &[&[must("meter", Shape::Text), must("at_least", LOAD)]], ..EMPTY };

static EMERGENCY_STOP: Section = Section {
    name: "emergency_stop",
    keys: &[&[
        must("meter", Shape::Text),
        key("opens_breaker", Shape::Words(&["always", "when-open", "never"])),
    ]],
    ..EMPTY
};

static BREAKER: Section = Section {
    name: "breaker",
    keys: &[&[
        must("device", Shape::Text),
        must("address", Shape::Text),
        key("after", TIME),
        key("timeout", TIME),
    ]],
    ..EMPTY
};

static LIMIT: Section = Section {
    name: "limit",
    told: &["limits.*"],
    keys: &[&[
        must("circuit", Shape::Text),
        key("import", Shape::Any(&IMPORT)),
        key("miners", Shape::Any(&DRAW)),
        key("class", Shape::Words(&["surplus", "safety", "grid", "contract", "economic"])),
        key("while", Shape::Table(&CONDITION)),
    ]],
    ..EMPTY
};

/// A cap of the import, or where it is read.
static IMPORT: [Shape; 2] = [POWER, Shape::Table(&READ_IMPORT)];
/// A cap of the miners, or where it is read.
static DRAW: [Shape; 2] = [LOAD, Shape::Table(&READ_DRAW)];

static READ_IMPORT: Section = Section {
    name: "read_import",
    keys: &[&[must("reading", Shape::Text), key("fail_safe", POWER)]],
    ..EMPTY
};

static READ_DRAW: Section =
    Section { name: "read_draw", keys: &[&[must("reading", Shape::Text), key("fail_safe", LOAD)]], ..EMPTY };

static CONDITION: Section = Section {
    name: "condition",
    keys: &[&[must("meter", Shape::Text), must("state_of_charge_below", SHARE), must("until_above", SHARE)]],
    ..EMPTY
};

static ALARMS: Section = Section {
    name: "alarms",
    told: &["alarms"],
    keys: &[&[
        key("quiet", TEXTS),
        key("windows", Shape::Tables(&ALARM_WINDOW)),
        key("webhook", Shape::Table(&WEBHOOK)),
        key("kinds", Shape::Table(&ALARM_KINDS)),
    ]],
    ..EMPTY
};

static ALARM_WINDOW: Section = Section {
    name: "alarm_window",
    told: &["alarms.windows"],
    keys: &[
        WINDOW,
        &[
            key("begins", Shape::Text),
            key("ends", Shape::Text),
            key("kinds", Shape::List(&Shape::OneOf(alarm_kinds))),
            key("circuits", TEXTS),
            key("also_safety", Shape::Boolean),
        ],
    ],
    ..EMPTY
};

static WEBHOOK: Section = Section {
    name: "webhook",
    told: &["alarms.webhook"],
    keys: &[&[
        key("url", Shape::Text),
        key("secret_url", Shape::Table(&SECRET)),
        key("token", Shape::Table(&SECRET)),
        key("severity", Shape::Words(&["notice", "warning", "critical"])),
    ]],
    ..EMPTY
};

static ALARM_KINDS: Section = Section {
    name: "alarm_kinds",
    named: Some(Shape::Table(&ALARM_KIND)),
    names: Some(alarm_kinds),
    ..EMPTY
};

static ALARM_KIND: Section = Section {
    name: "alarm_kind",
    told: &["alarms.kinds.*"],
    keys: &[&[key("severity", Shape::Words(&["off", "notice", "warning", "critical"])), key("after", TIME)]],
    ..EMPTY
};

fn alarm_kinds() -> Vec<&'static str> {
    Kind::ALL.map(Kind::name).to_vec()
}

/// Where a broker is, and how the connection to it is encrypted.
pub(super) static WAY: &[Key] = &[
    must("broker", Shape::Text),
    key("ca", Shape::Text),
    key("certificate_file", Shape::Text),
    key("key_file", Shape::Text),
    key("credentials", Shape::Table(&ACCOUNT)),
    key("client_id", Shape::Text),
];

static MQTT: Section = Section {
    name: "mqtt",
    told: &["mqtt"],
    keys: &[
        WAY,
        &[
            key("prefix", Shape::Text),
            key("period", TIME),
            key("discovery", Shape::Boolean),
            key("discovery_prefix", Shape::Text),
        ],
    ],
    ..EMPTY
};

static HEARTBEAT: Section = Section {
    name: "heartbeat",
    told: &["heartbeat.*"],
    keys: &[&[
        must("address", Shape::Text),
        key("unit", UNIT_ID),
        must("beat", Shape::Table(&PLACE)),
        key("alive", Shape::Table(&SWITCH)),
        key("state", Shape::Table(&PLACE)),
        key("draw", Shape::Table(&PLC_NUMBER)),
        key("setpoint", Shape::Table(&PLC_NUMBER)),
        key("period", TIME),
        key("timeout", TIME),
        key("in_observe", Shape::Boolean),
        key("stops_in_fail_safe", Shape::Boolean),
        key("stops_above_lost", SHARE),
    ]],
    ..EMPTY
};
