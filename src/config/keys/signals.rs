//! The section of those who may give orders, and the windows of calendars.

use super::site::{SECRET, WAY};
use super::{ADDRESS, EMPTY, Key, LOAD, SHARE, Section, Shape, TEXTS, TIME, UNIT_ID, key, must};
use crate::config::quantity;
use crate::signal::openadr::settings::Telling;

fn reports() -> Vec<&'static str> {
    Telling::ALL.map(Telling::name).to_vec()
}

fn kinds() -> Vec<&'static str> {
    SIGNAL.kinds.iter().map(|(kind, _)| *kind).collect()
}

/// A cap: a power, a share of the nameplates of what hangs there, or none.
const CAP: Shape = Shape::Any(&[LOAD, SHARE, Shape::Words(&["none"])]);
/// A cap: a power, or a share.
const LEVEL: Shape = Shape::Any(&[LOAD, SHARE]);
/// What a guard watches.
const WATCHED: Shape = Shape::Any(&[Shape::Amount(&quantity::FREQUENCY), Shape::Amount(&quantity::VOLTAGE)]);
/// On what a cap acts.
const SCOPE: Shape = Shape::Words(&["import", "miners"]);
/// Units of powers.
const POWER_UNIT: Shape = Shape::Words(&["W", "kW", "MW"]);
/// How a client of OAuth shows its secret.
const TOKEN_AUTH: Shape = Shape::Words(&["body", "basic"]);

pub(super) static SIGNAL: Section = Section {
    name: "signal",
    told: &["signals.*"],
    keys: &[&[
        must("kind", Shape::OneOf(kinds)),
        key("class", Shape::Words(&["safety", "grid", "contract", "economic"])),
        key("circuit", Shape::Text),
        key("caps", SCOPE),
        key("lost_after", TIME),
        key("fail_safe", LOAD),
        key("fail_safe_hold", TIME),
        key("release_to", LOAD),
        key("finish_schedule", Shape::Boolean),
        key("return_spread", TIME),
        key("clock_tolerance", TIME),
        key("clock_allowance", TIME),
        key("baseline", Shape::Words(&["meter-before", "10-in-10", "same-day-3+2", "firm"])),
        key("firm_level", LOAD),
    ]],
    kinds: &[
        ("http", &[]),
        ("mqtt", &[&[key("oldest_message", TIME)]]),
        ("openadr", &[OPENADR]),
        ("modbus-server", &[SERVER]),
        ("contact", &[CONTACTS]),
        ("calendar", &[CALENDAR]),
        ("price", &[PRICE]),
        ("guard", &[GUARD]),
        ("dsx-flex", &[WAY, DSX, AGENT]),
        ("dsx-flex-infra", &[WAY, DSX, INFRA]),
    ],
    ..EMPTY
};

static OPENADR: &[Key] = &[
    must("url", Shape::Text),
    key("token_url", Shape::Text),
    key("client_id", Shape::Text),
    key("client_secret", Shape::Table(&SECRET)),
    key("token_auth", TOKEN_AUTH),
    key("scope", Shape::Text),
    key("token", Shape::Table(&SECRET)),
    key("ca", Shape::Text),
    key("ca_file", Shape::Refused),
    key("program", Shape::Text),
    key("program_id", Shape::Text),
    key("ven_name", Shape::Text),
    key("resources", TEXTS),
    key("groups", TEXTS),
    key("targets", TEXTS),
    key("poll", TIME),
    key("timeout", TIME),
    key("unit", POWER_UNIT),
    key("rating", LOAD),
    key("judged_over", TIME),
    key("simple", Shape::List(&LEVEL)),
    key("report", Shape::Boolean),
    key("report_always", Shape::List(&Shape::OneOf(reports))),
    key("report_every", TIME),
    key("acknowledge", Shape::Text),
    key("resource_name", Shape::Text),
    key("alerts", Shape::Table(&ALERTS)),
    key("payloads", Shape::Table(&PAYLOADS)),
];

static ALERTS: Section = Section { name: "alerts", named: Some(LEVEL), ..EMPTY };

static PAYLOADS: Section = Section { name: "payloads", named: Some(Shape::Table(&PAYLOAD)), ..EMPTY };

static PAYLOAD: Section = Section {
    name: "payload",
    keys: &[&[
        must("means", Shape::Words(&["cap", "subscription", "reservation", "reduction", "simple"])),
        key("unit", POWER_UNIT),
        key("caps", SCOPE),
    ]],
    ..EMPTY
};

static SERVER: &[Key] = &[
    key("listen", Shape::Text),
    key("clients", TEXTS),
    key("scale", LOAD),
    key("emergency_cap", LOAD),
    key("idle_timeout", TIME),
];

static CONTACTS: &[Key] = &[
    must("link", Shape::Text),
    must("unit", UNIT_ID),
    key("period", TIME),
    key("debounce", TIME),
    key("stages", Shape::Words(&["first", "strictest", "one", "number"])),
    key("steps", Shape::List(&CAP)),
    key("otherwise", CAP),
    must("contacts", Shape::Tables(&CONTACT)),
];

static CONTACT: Section = Section {
    name: "contact",
    told: &["signals.*.contacts"],
    keys: &[&[
        key("name", Shape::Text),
        key("table", Shape::Words(&["discrete", "coil"])),
        must("address", ADDRESS),
        key("speaks_when", Shape::Words(&["closed", "open"])),
        key("cap", CAP),
    ]],
    ..EMPTY
};

static CALENDAR: &[Key] =
    &[key("time_zone", Shape::Text), key("holidays", TEXTS), must("windows", Shape::Tables(&CAP_WINDOW))];

/// A window that comes back.
pub(super) static WINDOW: &[Key] = &[
    key("name", Shape::Text),
    key("from", Shape::Text),
    key("to", Shape::Text),
    key("days", TEXTS),
    key("except_holidays", Shape::Boolean),
    key("season", Shape::Table(&SEASON)),
];

static SEASON: Section =
    Section { name: "season", keys: &[&[must("from", Shape::Text), must("to", Shape::Text)]], ..EMPTY };

static CAP_WINDOW: Section = Section {
    name: "cap_window",
    told: &["signals.*.windows"],
    keys: &[WINDOW, &[must("cap", CAP)]],
    ..EMPTY
};

static PRICE: &[Key] = &[
    must("power_price", Shape::Any(&POWER_PRICE)),
    must("hash_price", Shape::Any(&EARNING)),
    key("every", TIME),
    key("overhead", SHARE),
    key("hysteresis", SHARE),
    key("minimum_hold", TIME),
    key("when_lost", Shape::Words(&["keep", "nothing"])),
    key("ca", Shape::Text),
];

const ENERGY_PRICE: Shape = Shape::Price(quantity::PER_ENERGY);
const HASH_PRICE: Shape = Shape::Price(quantity::PER_HASHING);
/// What power costs: always, or where it is told when.
static POWER_PRICE: [Shape; 2] = [ENERGY_PRICE, Shape::Table(&ENERGY_QUOTE)];
/// What hashing earns: always, or where it is told when.
static EARNING: [Shape; 2] = [HASH_PRICE, Shape::Table(&HASH_QUOTE)];

/// Where a price is asked for, or when which one holds: what both goods share.
static QUOTE: &[Key] = &[
    key("url", Shape::Text),
    key("pointer", Shape::Text),
    key("time_pointer", Shape::Text),
    key("token", Shape::Table(&SECRET)),
    key("time_zone", Shape::Text),
    key("holidays", TEXTS),
];

static ENERGY_QUOTE: Section = Section {
    name: "energy_quote",
    told: &["signals.*.power_price"],
    keys: &[
        QUOTE,
        &[
            key("unit", Shape::PriceUnit(quantity::PER_ENERGY)),
            key("lowest", ENERGY_PRICE),
            key("highest", ENERGY_PRICE),
            key("otherwise", ENERGY_PRICE),
            key("windows", Shape::Tables(&ENERGY_WINDOW)),
        ],
    ],
    ..EMPTY
};

static ENERGY_WINDOW: Section = Section {
    name: "energy_price_window",
    told: &["signals.*.windows"],
    keys: &[WINDOW, &[must("price", ENERGY_PRICE)]],
    ..EMPTY
};

static HASH_QUOTE: Section = Section {
    name: "hash_quote",
    told: &["signals.*.power_price"],
    keys: &[
        QUOTE,
        &[
            key("unit", Shape::PriceUnit(quantity::PER_HASHING)),
            key("lowest", HASH_PRICE),
            key("highest", HASH_PRICE),
            key("otherwise", HASH_PRICE),
            key("windows", Shape::Tables(&HASH_WINDOW)),
        ],
    ],
    ..EMPTY
};

static HASH_WINDOW: Section = Section {
    name: "hash_price_window",
    told: &["signals.*.windows"],
    keys: &[WINDOW, &[must("price", HASH_PRICE)]],
    ..EMPTY
};

static GUARD: &[Key] = &[
    must("meter", Shape::Text),
    key("measure", Shape::Words(&["frequency", "voltage"])),
    key("below", WATCHED),
    key("back_above", WATCHED),
    key("cap", CAP),
    key("droop", Shape::Tables(&DROOP)),
    key("hysteresis", WATCHED),
    key("samples", Shape::Whole(1, 100)),
    key("return_after", TIME),
    key("when_unknown", Shape::Words(&["act", "nothing"])),
];

static DROOP: Section =
    Section { name: "droop", keys: &[&[must("at", WATCHED), must("cap", SHARE)]], ..EMPTY };

/// Of both roles.
static DSX: &[Key] = &[
    key("oauth", Shape::Table(&OAUTH)),
    must("identity", Shape::Text),
    must("signing_key_file", Shape::Text),
    must("signing_key_id", Shape::Text),
    key("oldest_message", TIME),
    key("require_iat", Shape::Boolean),
];

static AGENT: &[Key] = &[
    must("partner", Shape::Text),
    key("partner_keys", Shape::Text),
    key("partner_keys_url", Shape::Text),
    key("feeds", Shape::Table(&FEEDS)),
    key("status_every", TIME),
    key("breach_over", SHARE),
    key("breach_after", TIME),
];

static INFRA: &[Key] = &[
    must("agent", Shape::Text),
    key("agent_keys", Shape::Text),
    key("agent_keys_url", Shape::Text),
    key("resources", Shape::Table(&RESOURCES)),
    key("applied_within", TIME),
];

static OAUTH: Section = Section {
    name: "oauth",
    keys: &[&[
        must("token_url", Shape::Text),
        must("client_id", Shape::Text),
        must("client_secret", Shape::Table(&SECRET)),
        key("scope", Shape::Text),
        key("token_auth", TOKEN_AUTH),
    ]],
    ..EMPTY
};

static RESOURCES: Section = Section { name: "resources", named: Some(Shape::Text), ..EMPTY };

static FEEDS: Section = Section { name: "feeds", named: Some(Shape::Text), ..EMPTY };
