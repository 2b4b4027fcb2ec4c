//! The sections about miners, servers and devices of the operator's own.

use super::meters::{READ_NUMBER, SETPOINT, SWITCH, SWITCH_STATE};
use super::site::SECRET;
use super::{EMPTY, Key, LOAD, PORT, RATE, SHARE, Section, Shape, TEXTS, TIME, UNIT_ID, key, must};
use crate::config::{builtin, devices, quantity};
use crate::miner::DriverKind;

fn models() -> Vec<&'static str> {
    builtin::model_names().collect()
}

/// The drivers whose commands carry a password.
fn with_accounts() -> Vec<&'static str> {
    let takes = |name: &&'static str| DriverKind::from_name(name).is_some_and(DriverKind::needs_password);
    devices::built_in().into_iter().filter(takes).collect()
}

/// How finely a miner is set.
const FINENESS: Shape = Shape::Words(&["continuous", "steps", "on-off"]);

/// How a draw follows a command, and what a change costs.
static RESPONSE: &[Key] = &[
    key("dead_time_down", TIME),
    key("dead_time_up", TIME),
    key("ramp_down", RATE),
    key("ramp_up", RATE),
    key("start_time", TIME),
    key("start_overshoot", SHARE),
    key("adjust_cost", TIME),
    key("sleep_cost", TIME),
    key("min_interval", TIME),
];

/// A miner model: `[models.NAME]` and a file in `config/models/`.
pub(in crate::config) static MODEL: Section = Section {
    name: "model",
    told: &["models.*"],
    keys: &[
        &[
            key("description", Shape::Text),
            must("points", Shape::Tables(&OPERATING_POINT)),
            key("sleep", LOAD),
            key("nameplate", LOAD),
            key("rated", LOAD),
            key("actuator", FINENESS),
        ],
        RESPONSE,
    ],
    ..EMPTY
};

static OPERATING_POINT: Section = Section {
    name: "operating_point",
    keys: &[&[must("power", LOAD), must("hashrate", Shape::Amount(&quantity::HASHRATE))]],
    ..EMPTY
};

/// What groups and miners share.
static SHARED: &[Key] = &[
    key("driver", Shape::Known(devices::built_in)),
    key("circuit", Shape::Text),
    key("tenant", Shape::Text),
    key("model", Shape::Known(models)),
    key("port", PORT),
    key("credentials", Shape::Table(&ACCOUNT)),
    key("certificate", Shape::Text),
    key("ca", Shape::Text),
    key("gpus", Shape::List(&Shape::Whole(0, 63))),
    key("base", LOAD),
    key("class", Shape::Words(&["interruptible", "throttle", "guaranteed"])),
    key("contract", LOAD),
    key("worth", SHARE),
    key("pause", Shape::Table(&PAUSE)),
    key("timeout", TIME),
    key("poll_period", TIME),
    key("silent_after", TIME),
    key("minimum", LOAD),
    key("maximum", LOAD),
    key("nameplate", LOAD),
    key("sleep", LOAD),
    key("rated", LOAD),
    key("efficiency", Shape::Amount(&quantity::EFFICIENCY)),
    key("actuator", FINENESS),
];

pub(super) static GROUP: Section = Section {
    name: "group",
    told: &["groups.*", "models.*"],
    keys: &[&[key("addresses", TEXTS)], SHARED, RESPONSE],
    ..EMPTY
};

pub(super) static MINER: Section = Section {
    name: "miner",
    told: &["miners.*", "groups.*", "models.*"],
    keys: &[
        &[
            key("group", Shape::Text),
            must("address", Shape::Text),
            key("mac", Shape::Text),
            key("serial", Shape::Text),
            key("socket", Shape::Text),
        ],
        SHARED,
        RESPONSE,
    ],
    ..EMPTY
};

static PAUSE: Section = Section {
    name: "pause",
    keys: &[&[
        key("url", Shape::Text),
        key("token_file", Shape::Text),
        key("certificate", Shape::Text),
        key("ca", Shape::Text),
        key("command", TEXTS),
        key("notice", TIME),
        key("timeout", TIME),
        key("draw", LOAD),
    ]],
    ..EMPTY
};

/// An account, and where its password is.
pub(super) static ACCOUNT: Section = Section {
    name: "account",
    keys: &[&[
        key("username", Shape::Text),
        key("password_file", Shape::Text),
        key("password_credential", Shape::Text),
        key("password_env", Shape::Text),
        key("password", Shape::Refused),
    ]],
    ..EMPTY
};

pub(super) static ACCOUNTS: Section =
    Section { name: "accounts", named: Some(Shape::Table(&ACCOUNT)), names: Some(with_accounts), ..EMPTY };

pub(super) static DRIVER: Section = Section {
    name: "driver",
    told: &["drivers.*"],
    keys: &[&[must("kind", Shape::Words(&["http", "modbus"])), key("port", PORT)]],
    kinds: &[("http", &[HTTP]), ("modbus", &[MODBUS])],
    ..EMPTY
};

static HTTP: &[Key] = &[
    key("headers", Shape::Table(&HEADERS)),
    must("on", Shape::Table(&CALL)),
    must("off", Shape::Table(&CALL)),
    key("setpoint", Shape::Table(&CALL)),
    must("state", Shape::Table(&CALL_STATE)),
    key("power", Shape::Table(&LOOK)),
    key("target", Shape::Table(&LOOK)),
];

static MODBUS: &[Key] = &[
    key("unit", UNIT_ID),
    must("on", Shape::Table(&SWITCH)),
    must("off", Shape::Table(&SWITCH)),
    key("state", Shape::Table(&SWITCH_STATE)),
    key("setpoint", Shape::Table(&SETPOINT)),
    key("power", Shape::Table(&READ_NUMBER)),
    key("target", Shape::Table(&READ_NUMBER)),
];

static HEADERS: Section = Section { name: "headers", named: Some(Shape::Any(&HEADER)), ..EMPTY };

/// The value of a header, or where it is.
static HEADER: [Shape; 2] = [Shape::Text, Shape::Table(&SECRET)];

/// What stands in an answer.
const VALUE: Shape = Shape::Any(&[Shape::Text, Shape::Number, Shape::Boolean]);

static CALL: Section = Section {
    name: "call",
    keys: &[&[
        key("method", Shape::Words(&["GET", "POST", "PUT", "PATCH"])),
        must("path", Shape::Text),
        key("body", Shape::Text),
        key("status", Shape::Whole(100, 599)),
        key("expect", Shape::Table(&EXPECT)),
    ]],
    ..EMPTY
};

static EXPECT: Section =
    Section { name: "expect", keys: &[&[key("pointer", Shape::Text), must("value", VALUE)]], ..EMPTY };

static CALL_STATE: Section = Section {
    name: "call_state",
    keys: &[&[must("path", Shape::Text), key("pointer", Shape::Text), key("on", VALUE), key("off", VALUE)]],
    ..EMPTY
};

static LOOK: Section = Section {
    name: "look",
    keys: &[&[must("path", Shape::Text), key("pointer", Shape::Text), key("scale", Shape::Number)]],
    ..EMPTY
};
