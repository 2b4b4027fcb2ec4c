//! The sections about meters and what their registers mean, and the places of numbers and bits in other Modbus devices.

use super::{
    ADDRESS, EMPTY, Key, LOAD, ORDER, POWER, Section, Shape, TEXTS, TIME, UNIT_ID, key, must, words,
};
use crate::config::{builtin, profiles, quantity};
use crate::meter::line::Parity;
use crate::meter::profile::{Certainty, Format, Function};
use crate::meter::sunspec::Kind;

fn parities() -> Vec<&'static str> {
    words(&Parity::NAMES)
}

fn known_profiles() -> Vec<&'static str> {
    builtin::profile_names().chain([profiles::SUNSPEC]).collect()
}

fn certainties() -> Vec<&'static str> {
    words(&Certainty::NAMES)
}

fn functions() -> Vec<&'static str> {
    words(&Function::NAMES)
}

fn formats() -> Vec<&'static str> {
    words(&Format::NAMES)
}

fn sunspec_kinds() -> Vec<&'static str> {
    words(&Kind::NAMES)
}

/// Bit patterns.
const PATTERNS: Shape = Shape::List(&Shape::Bits);

pub(super) static LINK: Section = Section {
    name: "link",
    told: &["links.*"],
    keys: &[&[
        key("tcp", Shape::Text),
        key("rtu_over_tcp", Shape::Text),
        key("rtu", Shape::Text),
        key("baud", Shape::Whole(300, 4_000_000)),
        key("parity", Shape::OneOf(parities)),
        key("stop_bits", Shape::Whole(1, 2)),
        key("timeout", TIME),
        key("connect_timeout", TIME),
        key("connect_delay", TIME),
        key("gap", TIME),
        key("numbered", Shape::Boolean),
    ]],
    ..EMPTY
};

pub(super) static METER: Section = Section {
    name: "meter",
    told: &["meters.*", "profiles.*"],
    keys: &[
        &[
            key("link", Shape::Text),
            key("unit", UNIT_ID),
            key("profile", Shape::Known(known_profiles)),
            key("sunspec", Shape::Table(&SUNSPEC)),
            key("full_scale", Shape::Table(&FULL_SCALE)),
            key("invert", Shape::Boolean),
            key("period", TIME),
            key("lag", TIME),
            key("stale_after", TIME),
            key("fail_safe_after", TIME),
            key("frozen_after", TIME),
            key("plausible", Shape::Table(&PLAUSIBLE)),
            key("sum", TEXTS),
            key("redundant", TEXTS),
            key("disagreement", LOAD),
            key("disagreement_for", TIME),
            key("return_after", TIME),
        ],
        POINTS,
    ],
    ..EMPTY
};

static SUNSPEC: Section = Section {
    name: "sunspec",
    keys: &[&[key("prefer", Shape::OneOf(sunspec_kinds)), key("base", Shape::Whole(0, 65_533))]],
    ..EMPTY
};

static FULL_SCALE: Section = Section {
    name: "full_scale",
    keys: &[&[key("power", LOAD), key("voltage", Shape::Amount(&quantity::VOLTAGE))]],
    ..EMPTY
};

static PLAUSIBLE: Section =
    Section { name: "plausible", keys: &[&[must("low", POWER), must("high", POWER)]], ..EMPTY };

/// A meter profile: `[profiles.NAME]` and a file in `config/meters/`.
pub(in crate::config) static PROFILE: Section = Section {
    name: "profile",
    told: &["profiles.*"],
    keys: &[
        &[
            key("description", Shape::Text),
            key("certainty", Shape::OneOf(certainties)),
            key("invert", Shape::Boolean),
            key("pace", Shape::Table(&PACE)),
            key("plausible", Shape::Table(&PLAUSIBLE)),
        ],
        POINTS,
    ],
    ..EMPTY
};

static PACE: Section =
    Section { name: "pace", keys: &[&[key("connect_delay", TIME), key("timeout", TIME)]], ..EMPTY };

/// What a meter tells.
static POINTS: &[Key] = &[
    key("power", Shape::Tables(&REGISTER)),
    key("power_l1", Shape::Tables(&REGISTER)),
    key("power_l2", Shape::Tables(&REGISTER)),
    key("power_l3", Shape::Tables(&REGISTER)),
    key("voltage_l1", Shape::Tables(&REGISTER)),
    key("voltage_l2", Shape::Tables(&REGISTER)),
    key("voltage_l3", Shape::Tables(&REGISTER)),
    key("frequency", Shape::Tables(&REGISTER)),
    key("energy_import", Shape::Tables(&REGISTER)),
    key("energy_export", Shape::Tables(&REGISTER)),
    key("state_of_charge", Shape::Tables(&REGISTER)),
    key("status", Shape::Table(&STATUS)),
];

/// What every register has.
static PLAIN: &[Key] = &[
    must("function", Shape::OneOf(functions)),
    must("address", ADDRESS),
    key("format", Shape::OneOf(formats)),
    key("word_order", ORDER),
    key("byte_order", ORDER),
    key("scale", Shape::Number),
    key("offset", Shape::Number),
    key("zero", PATTERNS),
    key("unavailable", PATTERNS),
];

static REGISTER: Section = Section {
    name: "register",
    told: &["profiles.*.power"],
    keys: &[
        PLAIN,
        &[
            key("scale_register", ADDRESS),
            key("sign", Shape::Table(&SIGN)),
            key("multiply", Shape::Tables(&BESIDE)),
            key("exponent", Shape::Tables(&BESIDE)),
            key("range", Shape::Table(&RANGE)),
            key("saturated", PATTERNS),
        ],
    ],
    ..EMPTY
};

/// What a register beside a value does not have.
static OF_VALUES: &[Key] = &[
    key("scale_register", Shape::Refused),
    key("sign", Shape::Refused),
    key("multiply", Shape::Refused),
    key("exponent", Shape::Refused),
    key("range", Shape::Refused),
    key("saturated", Shape::Refused),
];

static BESIDE: Section =
    Section { name: "register_beside", told: &["profiles.*.power"], keys: &[PLAIN, OF_VALUES], ..EMPTY };

static STATUS: Section = Section {
    name: "status",
    told: &["profiles.*.power"],
    keys: &[
        PLAIN,
        OF_VALUES,
        &[key("mask", Shape::Whole(0, u32::MAX)), key("good", PATTERNS), key("bad", PATTERNS)],
    ],
    ..EMPTY
};

static SIGN: Section = Section {
    name: "sign",
    keys: &[&[
        must("address", ADDRESS),
        key("mask", Shape::Whole(1, 0xFFFF)),
        key("positive", PATTERNS),
        must("negative", PATTERNS),
    ]],
    ..EMPTY
};

static RANGE: Section = Section {
    name: "range",
    keys: &[&[
        key("raw_low", Shape::Number),
        must("raw_high", Shape::Number),
        key("low", Shape::Number),
        key("high", Shape::Number),
        key("full_scale", Shape::Words(&["power", "voltage"])),
        key("both_ways", Shape::Boolean),
    ]],
    ..EMPTY
};

/// What a coil or register holds.
const WORD: Shape = Shape::Any(&[Shape::Boolean, Shape::Whole(0, 65_535)]);

/// Where something is written.
static WRITTEN: &[Key] = &[key("coil", ADDRESS), key("holding", ADDRESS)];

pub(super) static PLACE: Section = Section { name: "place", keys: &[WRITTEN], ..EMPTY };

pub(super) static SWITCH: Section =
    Section { name: "switch", keys: &[WRITTEN, &[key("value", WORD)]], ..EMPTY };

pub(super) static SWITCH_STATE: Section = Section {
    name: "switch_state",
    keys: &[WRITTEN, &[key("discrete", ADDRESS), key("input", ADDRESS), key("on", WORD), key("off", WORD)]],
    ..EMPTY
};

/// How a number stands in registers.
static NUMBER: &[Key] = &[
    key("type", Shape::Words(&["u16", "i16", "u32", "i32", "f32"])),
    key("word_order", ORDER),
    key("scale", Shape::Number),
    key("holding", ADDRESS),
    key("coil", Shape::Refused),
];

/// A number that is written.
pub(super) static PLC_NUMBER: Section = Section { name: "number", keys: &[NUMBER], ..EMPTY };

/// A number that is read.
pub(super) static READ_NUMBER: Section = Section {
    name: "read_number",
    keys: &[NUMBER, &[key("input", ADDRESS), key("discrete", Shape::Refused)]],
    ..EMPTY
};

/// A setpoint that is written.
pub(super) static SETPOINT: Section = Section {
    name: "setpoint",
    keys: &[
        NUMBER,
        &[
            key("of", Shape::Words(&["watts", "percent"])),
            key("function", Shape::Words(&["single", "multiple"])),
        ],
    ],
    ..EMPTY
};
