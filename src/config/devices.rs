//! The section `[drivers.*]`: devices of the operator's own behind HTTP or Modbus TCP, to be named as a `driver`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use toml::de::DeValue;

use super::diagnostic::At;
use super::names;
use super::reader::{Table, Wrong, integer_of, is_a, number_of, shorten, text_of};
use super::registers;
use super::secrets::Store;
use crate::meter::profile::Function;
use crate::miner::DriverKind;
use crate::miner::drivers::generic::{Description, Protocol, Unit, http, modbus};
use crate::secret::Secret;

/// Longest path and body of a request, in bytes.
const LONGEST: usize = 4_096;
/// Most headers of a device.
const MOST_HEADERS: usize = 16;
/// Headers whose value is a secret whatever the operator thinks.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

/// The devices by their names; `None` for one that could not be read.
#[derive(Default)]
pub(super) struct Devices(BTreeMap<String, Option<Arc<Description>>>);

/// The names of the built-in drivers.
pub(super) fn built_in() -> Vec<&'static str> {
    DriverKind::ALL.into_iter().filter(|kind| *kind != DriverKind::Generic).map(DriverKind::name).collect()
}

impl Devices {
    /// What the value of a key `driver` means: a built-in driver, or a device of `[drivers.*]`.
    pub(super) fn driver(&self, word: &str) -> Result<(DriverKind, Option<Arc<Description>>), Wrong> {
        if let Some(device) = self.0.get(word) {
            return Ok((DriverKind::Generic, device.clone()));
        }
        match DriverKind::from_name(word) {
            Some(DriverKind::Generic) => Err(Wrong::new(
                "needs a device of your own",
                "describe it in [drivers.NAME] and write driver = \"NAME\"",
            )),
            Some(kind) => Ok((kind, None)),
            None => {
                let known: Vec<&str> =
                    built_in().into_iter().chain(self.0.keys().map(String::as_str)).collect();
                let help = names::suggest(word, known.iter().copied());
                Err(Wrong::new(format!("cannot be \"{}\"", shorten(word)), help))
            }
        }
    }
}

/// Reads `[drivers.*]`.
pub(super) fn section(root: &Table<'_>, store: &Store<'_>) -> Devices {
    let mut devices = Devices::default();
    for (name, table) in root.named("drivers") {
        let report = table.report();
        let mistakes = report.count();
        if DriverKind::from_name(name.value).is_some() {
            report.error(
                name.span,
                format!("there is a driver named `{}` already", name.value),
                "give your device a name of its own",
            );
        }
        let device = device(name, table, store);
        let sound = report.count() == mistakes;
        devices.0.insert(name.value.to_owned(), device.filter(|_| sound).map(Arc::new));
    }
    devices
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Http,
    Modbus,
}

fn device(name: At<&str>, table: Table<'_>, store: &Store<'_>) -> Option<Description> {
    let kind = table.choice("kind", &[("http", Kind::Http), ("modbus", Kind::Modbus)]);
    let kind = table.require("kind", kind, "write kind = \"http\" or kind = \"modbus\"");
    let port = table.integer("port", 1, 65_535).and_then(|at| u16::try_from(at.value).ok());
    let Some(kind) = kind else {
        // Which keys it may have depends on the kind: nothing more can be said.
        return None;
    };
    let (setpoint, protocol, usual) = match kind.value {
        Kind::Http => {
            let (unit, description) = http_device(&table, store);
            (unit, description.map(|http| Protocol::Http(Box::new(http))), 80)
        }
        Kind::Modbus => {
            let (unit, description) = modbus_device(&table);
            (unit, description.map(Protocol::Modbus), 502)
        }
    };
    table.finish();
    Some(Description {
        name: name.value.to_owned(),
        port: port.unwrap_or(usual),
        setpoint,
        protocol: protocol?,
    })
}

const CALL_HELP: &str = "write a request, like { method = \"POST\", path = \"/relay/0\", body = \"…\" }";
const STATE_HELP: &str =
    "everything is read back: write state = { path = \"/relay/0\", pointer = \"/ison\" }";

fn http_device(table: &Table<'_>, store: &Store<'_>) -> (Option<Unit>, Option<http::Description>) {
    let headers = table.table("headers").map(|headers| self::headers(headers, store)).unwrap_or_default();
    let fixed = |key| {
        let call = table.table(key).and_then(|inner| call(inner, false));
        table.require(key, call, CALL_HELP).map(|(call, _)| call)
    };
    let (on, off) = (fixed("on"), fixed("off"));
    let setpoint = table.table("setpoint").and_then(|inner| call(inner, true));
    let state = table.table("state").and_then(|inner| {
        let place = look(&inner);
        let value = |key, usual: bool| inner.read(key, value_of).map_or(Value::Bool(usual), |at| at.value);
        let (on, off) = (value("on", true), value("off", false));
        inner.finish();
        Some((place?, on, off))
    });
    let state = table.require("state", state, STATE_HELP);
    let number = |key| {
        table.table(key).and_then(|inner| {
            let place = look(&inner);
            let scale = scale(&inner);
            inner.finish();
            Some((place?, scale))
        })
    };
    let (power, target) = (number("power"), number("target"));
    only_with_setpoint(table, setpoint.is_some());
    let unit = setpoint.as_ref().and_then(|(_, unit)| *unit);
    let description = || {
        Some(http::Description {
            headers,
            on: on?,
            off: off?,
            setpoint: setpoint.map(|(call, _)| call),
            state: state?,
            power,
            target,
        })
    };
    (unit, description())
}

/// A setpoint is read back, so a place for that without a setpoint is a slip.
fn only_with_setpoint(table: &Table<'_>, setpoint: bool) {
    if table.has("target") && !setpoint && !table.has("setpoint") {
        table.report().error(
            table.key_span("target"),
            format!("{} has a `target` and no `setpoint`", table.title()),
            "`target` is where the setpoint reads back; write `setpoint` too, or leave it out",
        );
    }
}

fn headers(table: Table<'_>, store: &Store<'_>) -> Vec<http::Header> {
    let report = table.report();
    let mut headers = Vec::new();
    for (key, span) in table.keys() {
        let name = match reqwest::header::HeaderName::from_bytes(key.as_bytes()) {
            Ok(name) if headers.len() < MOST_HEADERS => name,
            Ok(_) => {
                report.error(
                    span,
                    format!("there are more than {MOST_HEADERS} headers"),
                    "keep those that count",
                );
                break;
            }
            Err(_) => {
                report.error(span, format!("\"{}\" is no name of a header", shorten(key)), "");
                continue;
            }
        };
        let value = if let Some(inner) = table.table_named(key) {
            let value = store.text(&inner);
            inner.finish();
            value
        } else {
            let secret = SECRET_HEADERS.contains(&name.as_str());
            let text = table.read_named(key, |value| {
                let text = text_of(value)?;
                if secret {
                    return Err(Wrong::new(
                        "is a secret, and does not belong into the configuration",
                        "put it into a file of its own and write { file = \"…\" }; credential (systemd) and env \
                         are the other two ways",
                    ));
                }
                Ok(text)
            });
            text.map(|at| Secret::new(at.value.to_owned()))
        };
        if let Some(value) = value {
            if reqwest::header::HeaderValue::from_str(value.expose()).is_err() {
                report.error(span, format!("the value of `{key}` cannot be sent in a header"), "");
            }
            headers.push(http::Header { name, value });
        }
    }
    headers
}

/// A request, and the unit of its setpoint, where it has one.
fn call(table: Table<'_>, setpoint: bool) -> Option<(http::Call, Option<Unit>)> {
    let method = table.choice("method", &[("GET", 0), ("POST", 1), ("PUT", 2), ("PATCH", 3)]).map_or(
        reqwest::Method::POST,
        |at| match at.value {
            0 => reqwest::Method::GET,
            2 => reqwest::Method::PUT,
            3 => reqwest::Method::PATCH,
            _ => reqwest::Method::POST,
        },
    );
    let path = path(&table);
    let body = table.read("body", |value| bounded(text_of(value)?)).map(|at| at.value).unwrap_or_default();
    let status = table.integer("status", 100, 599).and_then(|at| u16::try_from(at.value).ok());
    let expect = table.table("expect").and_then(|inner| {
        let pointer = pointer(&inner);
        let value = inner.read("value", value_of);
        let value = inner.require("value", value, "write what the answer must hold, like value = true");
        inner.finish();
        Some(http::Expect { pointer, value: value?.value })
    });
    let (title, report, span) = (table.title(), table.report(), table.span());
    table.finish();
    let path = path?;
    let has = |word: &str| path.contains(word) || body.contains(word);
    let unit = match (has("{watts}"), has("{percent}")) {
        (true, false) => Some(Unit::Watts),
        (false, true) => Some(Unit::Percent),
        _ => None,
    };
    let message = match (setpoint, unit) {
        (true, None) => Some("needs {watts} or {percent} in its path or body, and not both"),
        (false, None) if has("{watts}") => Some("has {watts} and {percent}, and switches only"),
        (false, Some(_)) => Some("has {watts} or {percent}, and switches only"),
        _ => None,
    };
    if let Some(message) = message {
        report.error(
            span,
            format!("{title} {message}"),
            "{watts} and {percent} stand for the setpoint, in `setpoint` alone",
        );
        return None;
    }
    Some((http::Call { method, path, body, status, expect }, unit))
}

fn bounded(text: &str) -> Result<String, Wrong> {
    if text.len() > LONGEST {
        return Err(Wrong::new("is too long", format!("the most is {LONGEST} bytes")));
    }
    Ok(text.to_owned())
}

fn path(table: &Table<'_>) -> Option<String> {
    let path = table.read("path", |value| {
        let text = bounded(text_of(value)?)?;
        let plain = text.chars().all(|letter| letter.is_ascii_graphic());
        if !text.starts_with('/') || !plain {
            return Err(Wrong::new("is no path", "begin with a slash, and write blanks and the like as %20"));
        }
        Ok(text)
    });
    table.require("path", path, "write where on the device, like path = \"/relay/0\"").map(|at| at.value)
}

fn pointer(table: &Table<'_>) -> Option<String> {
    let pointer = table.read("pointer", |value| {
        let text = bounded(text_of(value)?)?;
        if !text.is_empty() && !text.starts_with('/') {
            return Err(Wrong::new(
                "is no place in an answer",
                "write the keys with slashes, like \"/meters/0/power\" (RFC 6901)",
            ));
        }
        Ok(text)
    });
    pointer.map(|at| at.value)
}

fn look(table: &Table<'_>) -> Option<http::Look> {
    let pointer = pointer(table);
    Some(http::Look { path: path(table)?, pointer })
}

fn scale(table: &Table<'_>) -> f64 {
    let scale = table.read("scale", |value| match number_of(value) {
        Some(number) if number.abs() >= 1e-9 && number.abs() <= 1e9 => Ok(number),
        Some(_) => {
            Err(Wrong::new("is of no use", "it makes watts of what is read: 0.1 for tenths of a watt"))
        }
        None => Err(Wrong::new(is_a(value), "write a number without quotes")),
    });
    scale.map_or(1.0, |at| at.value)
}

/// A text, a number or a truth value.
fn value_of(value: &DeValue<'_>) -> Result<Value, Wrong> {
    match value {
        DeValue::String(text) => Ok(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Ok(Value::from(*flag)),
        DeValue::Integer(_) | DeValue::Float(_) => number_of(value)
            .map(Value::from)
            .ok_or_else(|| Wrong::new("cannot be read as a number", "write it with digits alone")),
        other => Err(Wrong::new(is_a(other), "write a text, a number, true or false")),
    }
}

const SWITCH_HELP: &str =
    "write a coil or a holding register with its value, like { coil = 0, value = true }";

fn modbus_device(table: &Table<'_>) -> (Option<Unit>, Option<modbus::Description>) {
    let unit = table.integer("unit", 0, 255).and_then(|at| u8::try_from(at.value).ok());
    let switch = |key, usual: u16| {
        let switch = table.table(key).and_then(|inner| {
            let address = address(&inner, true);
            let value = inner.read("value", word_of).map_or(usual, |at| at.value);
            inner.finish();
            Some((address?, value))
        });
        table.require(key, switch, SWITCH_HELP)
    };
    let (on, off) = (switch("on", 1), switch("off", 0));
    let state = if table.has("state") {
        table.table("state").and_then(|inner| {
            let address = address(&inner, false);
            let value = |key, usual| inner.read(key, word_of).map_or(usual, |at| at.value);
            let (on, off) = (value("on", 1), value("off", 0));
            inner.finish();
            Some((address?, on, off))
        })
    } else {
        // What was written is what reads back.
        match (on, off) {
            (Some((first, on)), Some((second, off))) if first == second => Some((first, on, off)),
            (Some(_), Some(_)) => {
                table.report().error(
                    table.span(),
                    format!("{} is switched on and off at two places, and has no `state`", table.title()),
                    "everything is read back: write state = { discrete = 0 }",
                );
                None
            }
            _ => None,
        }
    };
    if let Some((_, on, off)) = state
        && on == off
    {
        let same = format!("{} reads alike when it is on and when it is off", table.title());
        table.report().error(table.key_span("state"), same, "give `on` and `off` two values");
    }
    let mut counts = None;
    let mut multiple = false;
    let setpoint = table.table("setpoint").and_then(|inner| {
        counts = inner
            .choice("of", &[("watts", Unit::Watts), ("percent", Unit::Percent)])
            .map_or(Some(Unit::Watts), |at| Some(at.value));
        multiple =
            inner.choice("function", &[("single", false), ("multiple", true)]).is_some_and(|at| at.value);
        let number = number(&inner, true);
        inner.finish();
        number
    });
    let read = |key| {
        table.table(key).and_then(|inner| {
            let number = number(&inner, false);
            inner.finish();
            number
        })
    };
    let (power, target) = (read("power"), read("target"));
    only_with_setpoint(table, setpoint.is_some());
    let description = || {
        Some(modbus::Description {
            unit: unit.unwrap_or(1),
            on: on?,
            off: off?,
            state: state?,
            setpoint,
            multiple,
            power,
            target,
        })
    };
    (counts.filter(|_| setpoint.is_some()), description())
}

/// One of `coil`, `discrete`, `holding` and `input`.
pub(super) fn address(table: &Table<'_>, writable: bool) -> Option<modbus::Address> {
    use modbus::Address;
    let at = |key, function| {
        let address = registers::wire_address(table, key, function)?;
        u16::try_from(address.value).ok()
    };
    // Manuals number coils from 1. Numbers from 10001 on are inputs there, so of an output they say nothing.
    let coil = (!writable).then_some(Function::Coil);
    let mut found = vec![
        at("coil", coil).map(Address::Coil),
        at("holding", Some(Function::Holding)).map(Address::Holding),
    ];
    if !writable {
        found.push(at("discrete", Some(Function::Discrete)).map(Address::Discrete));
        found.push(at("input", Some(Function::Input)).map(Address::Input));
    }
    let mut found = found.into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(address), None) => Some(address),
        (None, _) if ["coil", "holding", "discrete", "input"].iter().any(|key| table.has(key)) => None,
        _ => {
            let keys = if writable { "coil or holding" } else { "coil, discrete, holding or input" };
            table.report().error(
                table.span(),
                format!("{} needs one address", table.title()),
                format!("write one of {keys}, counted from 0 as on the wire: {{ coil = 0 }}"),
            );
            None
        }
    }
}

/// What a coil or register holds: 0 to 65535, true or false.
pub(super) fn word_of(value: &DeValue<'_>) -> Result<u16, Wrong> {
    match value {
        DeValue::Boolean(flag) => Ok(u16::from(*flag)),
        other => integer_of(other)
            .and_then(|number| u16::try_from(number).ok())
            .ok_or_else(|| Wrong::new(is_a(other), "write true, false, or a whole number from 0 to 65535")),
    }
}

pub(super) fn number(table: &Table<'_>, writable: bool) -> Option<modbus::Number> {
    use modbus::{Address, Kind};
    let kinds =
        [("u16", Kind::U16), ("i16", Kind::I16), ("u32", Kind::U32), ("i32", Kind::I32), ("f32", Kind::F32)];
    let kind = table.choice("type", &kinds).map_or(Kind::U16, |at| at.value);
    let low_first =
        table.choice("word_order", &[("high-first", false), ("low-first", true)]).is_some_and(|at| at.value);
    let scale = scale(table);
    let address = address(table, writable)?;
    if matches!(address, Address::Coil(_) | Address::Discrete(_)) {
        table.report().error(
            table.span(),
            format!("{} is a number, and a coil holds none", table.title()),
            "name a register",
        );
        return None;
    }
    Some(modbus::Number { address, kind, scale, low_first })
}
