//! What a client writes: the JSON bodies, read key by key, so that every mistake is told with its place and what to do.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::config::quantity::{self, Kind};
use crate::control::signal::book::MOST_NAME;
use crate::control::signal::{Ask, Basis, Urgency, Wall};
use crate::control::site::Scope;
use crate::line::is_line;
pub(super) use crate::line::shorten;
use crate::signal::openadr::time;
use crate::units::Watts;

/// The largest body, in bytes.
pub const LARGEST: usize = 16 * 1024;

/// The largest power that is believed: ten gigawatts.
const MOST_POWER: f64 = 10e9;
/// The longest time that an order may hold by a length; a point in time may lie further off.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// The longest name of a circuit or a person.
pub(super) const LONGEST_NAME: usize = 128;
/// The longest remark on an order, in bytes.
pub(super) const LONGEST_REMARK: usize = 500;
/// The most names in a heartbeat.
const MOST_NAMES: usize = 512;

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}; {help}")]
pub struct Wrong {
    /// What, and where.
    pub error: String,
    /// What to do.
    pub help: String,
}

impl Wrong {
    /// Both in words.
    pub fn new(error: impl Into<String>, help: impl Into<String>) -> Self {
        Self { error: error.into(), help: help.into() }
    }
}

/// When an order ends, as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When it is taken back.
    Open,
    /// At this point.
    At(Wall),
    /// This long after it begins.
    After(Duration),
}

/// The body of `PUT /api/v1/limits/{id}`.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitBody {
    /// How much.
    pub ask: Ask,
    /// Where; the source's own circuit without it.
    pub circuit: Option<String>,
    /// On what; the source's own scope without it.
    pub scope: Option<Scope>,
    /// From when on; now without it.
    pub from: Option<Wall>,
    /// Up to when.
    pub end: End,
    /// Its version; the next one without it.
    pub revision: Option<u64>,
    /// Lower wins within the source.
    pub priority: Option<u32>,
    /// Against what it is judged.
    pub basis: Basis,
    /// How it wants power to move.
    pub urgency: Urgency,
    /// Its start may be put off by up to this.
    pub start_spread: Duration,
    /// What the client's clock showed.
    pub sent_at: Option<Wall>,
    /// Who answers for it.
    pub by: Option<String>,
    /// Why, in their words.
    pub note: Option<String>,
}

/// The body of `POST /api/v1/heartbeat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatBody {
    /// The names of all orders that stand, where the client tells.
    pub limits: Option<Vec<String>>,
    /// What the client's clock showed.
    pub sent_at: Option<Wall>,
}

/// What takes an order back, as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearBody {
    /// The name of the order.
    pub id: String,
    /// Up to which version.
    pub revision: Option<u64>,
    /// What the client's clock showed.
    pub sent_at: Option<Wall>,
}

/// The body of `PUT /api/v1/lifts/{source}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiftBody {
    /// In whose name.
    pub by: String,
    /// Why, in their words.
    pub note: Option<String>,
    /// Up to when; never [`End::Open`].
    pub end: End,
}

/// Reads the body of an order.
///
/// # Errors
/// [`Wrong`].
pub fn limit(bytes: &[u8]) -> Result<LimitBody, Wrong> {
    limit_of(Keys::read(bytes)?)
}

/// Reads an order that came as a message, which has its name beside the keys of [`limit`].
///
/// # Errors
/// [`Wrong`], and the name as far as that could be read.
pub fn named_limit(bytes: &[u8]) -> Result<(String, LimitBody), (Option<String>, Wrong)> {
    let mut keys = Keys::read(bytes).map_err(|wrong| (None, wrong))?;
    let id = keys.id().map_err(|wrong| (None, wrong))?;
    match limit_of(keys) {
        Ok(limit) => Ok((id, limit)),
        Err(wrong) => Err((Some(id), wrong)),
    }
}

/// Reads a message that takes an order back.
///
/// # Errors
/// [`Wrong`].
pub fn clear(bytes: &[u8]) -> Result<ClearBody, Wrong> {
    let mut keys = Keys::read(bytes)?;
    let body = ClearBody {
        id: keys.id()?,
        revision: keys.whole("revision", u64::MAX)?,
        sent_at: keys.instant("sent_at")?,
    };
    keys.finish()?;
    Ok(body)
}

fn limit_of(mut keys: Keys) -> Result<LimitBody, Wrong> {
    let cap = keys.power("cap", "cap_watts")?;
    let reduce_by = keys.power("reduce_by", "reduce_by_watts")?;
    let percent = keys.number("percent")?;
    let ask = match (cap, reduce_by, percent) {
        (Some(cap), None, None) => Ask::Cap(cap),
        (None, Some(by), None) => Ask::ReduceBy(by),
        (None, None, Some(percent)) if (0.0..=100.0).contains(&percent) => {
            Ask::ShareOfNameplate(percent / 100.0)
        }
        (None, None, Some(percent)) => {
            return Err(Wrong::new(
                format!("`percent` is {percent}"),
                "it is the part of the nameplate that may be drawn, from 0 to 100",
            ));
        }
        (None, None, None) => {
            return Err(Wrong::new(
                "the order does not say how much",
                "write one of `cap` (\"400 kW\"), `cap_watts` (400000), `reduce_by`, `reduce_by_watts` or `percent`",
            ));
        }
        _ => {
            return Err(Wrong::new(
                "the order says how much in more than one way",
                "keep one of `cap`, `reduce_by` and `percent`",
            ));
        }
    };
    let mean = keys.time("mean_window", "mean_window_seconds", LONGEST)?;
    let basis = match mean {
        None => Basis::Instant,
        Some(window) if window >= Duration::from_secs(1) => Basis::Mean(window),
        Some(_) => {
            return Err(Wrong::new(
                "`mean_window` is shorter than a second",
                "write the window of the mean, like \"15min\"; without it every instant counts",
            ));
        }
    };
    let body = LimitBody {
        ask,
        circuit: keys.text("circuit", LONGEST_NAME)?,
        scope: keys.choice("scope", &[("import", Scope::Import), ("miners", Scope::Miners)])?,
        from: keys.instant("valid_from")?,
        end: keys.end()?,
        revision: keys.whole("revision", u64::MAX)?,
        priority: keys.whole("priority", u64::from(u32::MAX))?.and_then(|number| u32::try_from(number).ok()),
        basis,
        urgency: keys
            .choice("urgency", &[("normal", Urgency::Normal), ("emergency", Urgency::Emergency)])?
            .unwrap_or_default(),
        start_spread: keys
            .time("start_spread", "start_spread_seconds", Duration::from_secs(86_400))?
            .unwrap_or_default(),
        sent_at: keys.instant("sent_at")?,
        by: keys.text("by", LONGEST_NAME)?.filter(|by| !by.trim().is_empty()),
        note: keys.text("note", LONGEST_REMARK)?.filter(|note| !note.trim().is_empty()),
    };
    keys.finish()?;
    Ok(body)
}

/// Reads the body of a heartbeat, which may be empty.
///
/// # Errors
/// [`Wrong`].
pub fn heartbeat(bytes: &[u8]) -> Result<HeartbeatBody, Wrong> {
    if bytes.trim_ascii().is_empty() {
        return Ok(HeartbeatBody::default());
    }
    let mut keys = Keys::read(bytes)?;
    let body = HeartbeatBody { limits: keys.names("limits")?, sent_at: keys.instant("sent_at")? };
    keys.finish()?;
    Ok(body)
}

/// Reads the body of a lift.
///
/// # Errors
/// [`Wrong`].
pub fn lift(bytes: &[u8]) -> Result<LiftBody, Wrong> {
    let mut keys = Keys::read(bytes)?;
    let by = keys.text("by", LONGEST_NAME)?.filter(|by| !by.trim().is_empty());
    let by = by.ok_or_else(|| {
        Wrong::new(
            "nobody has put a name to it",
            "write who answers for drawing more than was ordered, like \"by\": \"A. Khan, night shift\"",
        )
    })?;
    let end = keys.end()?;
    if end == End::Open {
        return Err(Wrong::new(
            "a lift without an end is not possible",
            "write `duration` (\"30min\") or `valid_until`",
        ));
    }
    let note = keys.text("note", LONGEST_REMARK)?.filter(|note| !note.trim().is_empty());
    keys.finish()?;
    Ok(LiftBody { by, note, end })
}

/// The keys of an object, taken out one by one.
struct Keys {
    left: Map<String, Value>,
    asked: Vec<&'static str>,
}

impl Keys {
    fn read(bytes: &[u8]) -> Result<Self, Wrong> {
        let help = "the body is one JSON object, like {\"cap\": \"400 kW\"}";
        let unique: Unique = serde_json::from_slice(bytes)
            .map_err(|error| Wrong::new(format!("the body cannot be read as JSON: {error}"), help))?;
        Ok(Self { left: unique.0, asked: Vec::new() })
    }

    /// The name of an order.
    fn id(&mut self) -> Result<String, Wrong> {
        self.text("id", MOST_NAME)?
            .filter(|id| !id.is_empty())
            .ok_or_else(|| Wrong::new("the message has no `id`", "name the order, like \"id\": \"evening\""))
    }

    /// The value of a key; `null` is none.
    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.left.remove(key).filter(|value| !value.is_null())
    }

    fn number(&mut self, key: &'static str) -> Result<Option<f64>, Wrong> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite())
                .map(Some)
                .ok_or_else(|| Wrong::new(format!("`{key}` {}", is_a(&value)), "write a number")),
        }
    }

    fn whole(&mut self, key: &'static str, most: u64) -> Result<Option<u64>, Wrong> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => value.as_u64().filter(|number| *number <= most).map(Some).ok_or_else(|| {
                Wrong::new(
                    format!("`{key}` {}", is_a(&value)),
                    format!("write a whole number from 0 to {most}"),
                )
            }),
        }
    }

    fn text(&mut self, key: &'static str, longest: usize) -> Result<Option<String>, Wrong> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= longest && is_line(&text) => Ok(Some(text)),
            Some(Value::String(_)) => Err(Wrong::new(
                format!("`{key}` is too long, or has control characters"),
                format!("write at most {longest} bytes"),
            )),
            Some(other) => Err(Wrong::new(format!("`{key}` {}", is_a(&other)), "write a text in quotes")),
        }
    }

    fn names(&mut self, key: &'static str) -> Result<Option<Vec<String>>, Wrong> {
        let help = "write a list of names, like [\"evening\"]; an empty one says that no order stands";
        let list = match self.take(key) {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(Wrong::new(format!("`{key}` {}", is_a(&other)), help)),
        };
        if list.len() > MOST_NAMES {
            return Err(Wrong::new(
                format!("`{key}` has {} names", list.len()),
                format!("the most is {MOST_NAMES}"),
            ));
        }
        let name = |value: Value| match value {
            Value::String(name) => Ok(name),
            other => Err(Wrong::new(format!("a name in `{key}` {}", is_a(&other)), help)),
        };
        list.into_iter().map(name).collect::<Result<_, _>>().map(Some)
    }

    fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, Wrong> {
        let Some(word) = self.text(key, LONGEST_NAME)? else { return Ok(None) };
        let found = choices.iter().find(|(name, _)| *name == word).map(|(_, choice)| *choice);
        found.map(Some).ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            Wrong::new(
                format!("`{key}` cannot be \"{}\"", shorten(&word)),
                format!("write {}", names.join(" or ")),
            )
        })
    }

    /// A quantity as a text with its unit under one key, or as a number in the base unit under the other.
    fn quantity(
        &mut self,
        key: &'static str,
        plain: &'static str,
        kind: &'static Kind,
    ) -> Result<Option<f64>, Wrong> {
        let number = self.number(plain)?;
        let with_unit = match self.take(key) {
            None => None,
            Some(Value::String(text)) => {
                let value = quantity::parse(&text, kind).map_err(|error| {
                    let words = error.to_string();
                    let (what, help) = words.split_once("; ").unwrap_or((&words, ""));
                    Wrong::new(format!("`{key}` {what}"), help)
                })?;
                Some(value)
            }
            Some(other) => {
                return Err(Wrong::new(
                    format!("`{key}` {}", is_a(&other)),
                    format!("write it with its unit in quotes, or a number under `{plain}`"),
                ));
            }
        };
        match (with_unit, number) {
            (Some(_), Some(_)) => {
                Err(Wrong::new(format!("both `{key}` and `{plain}` are there"), "keep one of them"))
            }
            (value, other) => Ok(value.or(other)),
        }
    }

    /// A power that can be meant. What is below zero is for the book to refuse, for the record.
    fn power(&mut self, key: &'static str, plain: &'static str) -> Result<Option<Watts>, Wrong> {
        match self.quantity(key, plain, &quantity::POWER)? {
            Some(watts) if watts.abs() > MOST_POWER => {
                Err(Wrong::new(format!("`{key}` is {watts:e} W"), "nothing is that large; check the unit"))
            }
            watts => Ok(watts.map(Watts::saturating)),
        }
    }

    fn time(
        &mut self,
        key: &'static str,
        plain: &'static str,
        longest: Duration,
    ) -> Result<Option<Duration>, Wrong> {
        let Some(seconds) = self.quantity(key, plain, &quantity::TIME)? else { return Ok(None) };
        Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= longest).map(Some).ok_or_else(|| {
            Wrong::new(
                format!("`{key}` is no time that can be meant"),
                format!("write a time from zero to {}", quantity::write_time(longest)),
            )
        })
    }

    /// A point in time (RFC 3339).
    fn instant(&mut self, key: &'static str) -> Result<Option<Wall>, Wrong> {
        let Some(text) = self.text(key, LONGEST_NAME)? else { return Ok(None) };
        time::moment(&text).map(Some).ok_or_else(|| {
            Wrong::new(
                format!("`{key}` is no point in time: \"{}\"", shorten(&text)),
                "write date, time and offset as in RFC 3339, like \"2026-07-01T18:00:00+05:00\" or \
                 \"2026-07-01T13:00:00Z\"",
            )
        })
    }

    fn end(&mut self) -> Result<End, Wrong> {
        match (self.instant("valid_until")?, self.time("duration", "duration_seconds", LONGEST)?) {
            (None, None) => Ok(End::Open),
            (Some(at), None) => Ok(End::At(at)),
            (None, Some(time)) if time.is_zero() => Err(Wrong::new(
                "`duration` is zero",
                "write how long it holds; DELETE takes an order back, and without an end it holds until then",
            )),
            (None, Some(time)) => Ok(End::After(time)),
            (Some(_), Some(_)) => {
                Err(Wrong::new("both `valid_until` and `duration` are there", "keep one of them"))
            }
        }
    }

    /// Refuses what nobody asked for: a misspelt key must not be an order that is obeyed by half.
    fn finish(self) -> Result<(), Wrong> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => Err(Wrong::new(
                format!("unknown key `{}`", shorten(key)),
                format!("there are {}", self.asked.join(", ")),
            )),
        }
    }
}

/// An object in which no key stands twice: of two caps under one key, nobody knows which is meant.
struct Unique(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Unique;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut access: A) -> Result<Unique, A::Error> {
                let mut map = Map::new();
                while let Some((key, value)) = access.next_entry::<String, Value>()? {
                    if map.contains_key(&key) {
                        let words = format!("the key `{}` stands there twice", shorten(&key));
                        return Err(serde::de::Error::custom(words));
                    }
                    map.insert(key, value);
                }
                Ok(Unique(map))
            }
        }
        from.deserialize_map(Visitor)
    }
}

fn is_a(value: &Value) -> &'static str {
    match value {
        Value::Null => "is null",
        Value::Bool(_) => "is true or false",
        Value::Number(_) => "is a number that cannot be meant here",
        Value::String(_) => "is a text in quotes",
        Value::Array(_) => "is a list",
        Value::Object(_) => "is an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<LimitBody, Wrong> {
        limit(text.as_bytes())
    }

    fn wrong(text: &str) -> String {
        read(text).map_or_else(|wrong| wrong.to_string(), |body| panic!("{text} was read as {body:?}"))
    }

    #[test]
    fn an_order_is_read_with_numbers_and_with_units() {
        let body = read(r#"{"cap": "400 kW"}"#).unwrap();
        assert_eq!((body.ask, body.end, body.from), (Ask::Cap(Watts::kilowatts(400.0)), End::Open, None));
        assert_eq!(body, read(r#"{"cap_watts": 400000, "circuit": null}"#).unwrap());
        let body = read(
            r#"{"reduce_by": "0.1 MW", "circuit": "pcc", "scope": "miners", "valid_from": "2026-07-01T18:00:00+05:00",
                "duration": "2h", "revision": 7, "priority": 0, "mean_window_seconds": 900, "urgency": "emergency",
                "start_spread": "5min", "sent_at": "2026-07-01T12:59:59.5Z"}"#,
        )
        .unwrap();
        assert_eq!(body.ask, Ask::ReduceBy(Watts::kilowatts(100.0)));
        assert_eq!((body.circuit.as_deref(), body.scope), (Some("pcc"), Some(Scope::Miners)));
        assert_eq!(body.from, Some(Wall::unix_millis(1_782_910_800_000)));
        assert_eq!(body.sent_at, Some(Wall::unix_millis(1_782_910_799_500)));
        // As programs write "for ever".
        assert!(read(r#"{"cap": "1 kW", "valid_until": "9999-12-31T23:59:59Z"}"#).is_ok());
        assert_eq!(body.end, End::After(Duration::from_secs(7_200)));
        assert_eq!((body.revision, body.priority), (Some(7), Some(0)));
        assert_eq!(body.basis, Basis::Mean(Duration::from_secs(900)));
        assert_eq!(body.urgency, Urgency::Emergency);
        assert_eq!(body.start_spread, Duration::from_secs(300));
        assert_eq!(read(r#"{"percent": 40}"#).unwrap().ask, Ask::ShareOfNameplate(0.4));
        assert_eq!(read(r#"{"cap_watts": 0}"#).unwrap().ask, Ask::Cap(Watts::ZERO), "zero is a value");
    }

    #[test]
    fn every_mistake_is_told_with_its_place_and_what_to_do() {
        for (text, words) in [
            ("", "cannot be read as JSON"),
            ("[]", "an object"),
            (r#"{"cap": "400 kW""#, "line 1 column"),
            (r#"{"cap": "400"}"#, "`cap` has no unit; write it like \"400 W\""),
            (r#"{"cap": 400}"#, "a number under `cap_watts`"),
            (r#"{"cap": "400 kw"}"#, "did you mean `kW`"),
            (r#"{"cap_watts": "400"}"#, "`cap_watts` is a text in quotes; write a number"),
            (r#"{"cap_watts": 1e999}"#, "number out of range"),
            (r#"{"cap_watts": 1e12}"#, "check the unit"),
            (r#"{"cap": "NaN W"}"#, "is not a power"),
            (r#"{"cap": "1 kW", "cap_watts": 1000}"#, "keep one of them"),
            (r#"{"cap": "1 kW", "percent": 5}"#, "more than one way"),
            (r#"{"percent": 101}"#, "from 0 to 100"),
            ("{}", "does not say how much"),
            (r#"{"cap": "1 kW", "cap": "9 MW"}"#, "stands there twice"),
            (r#"{"cap": "1 kW", "ciruit": "pcc"}"#, "unknown key `ciruit`"),
            (r#"{"cap": "1 kW", "scope": "all"}"#, "\"import\" or \"miners\""),
            (r#"{"cap": "1 kW", "valid_from": "2026-07-01T18:00:00"}"#, "offset as in RFC 3339"),
            (r#"{"cap": "1 kW", "valid_until": "tomorrow"}"#, "no point in time"),
            (r#"{"cap": "1 kW", "valid_until": "2026-07-01T18:00:00Z", "duration": "1h"}"#, "keep one"),
            (r#"{"cap": "1 kW", "duration": "0s"}"#, "`duration` is zero"),
            (r#"{"cap": "1 kW", "duration": "-1h"}"#, "from zero to"),
            (r#"{"cap": "1 kW", "duration_seconds": 1e300}"#, "from zero to"),
            (r#"{"cap": "1 kW", "revision": -1}"#, "whole number"),
            (r#"{"cap": "1 kW", "revision": 1.5}"#, "whole number"),
            (r#"{"cap": "1 kW", "priority": 4294967296}"#, "whole number"),
            (r#"{"cap": "1 kW", "mean_window": "10ms"}"#, "shorter than a second"),
            (r#"{"cap": "1 kW", "urgency": true}"#, "`urgency` is true or false"),
        ] {
            let told = wrong(text);
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn a_heartbeat_may_be_empty_and_may_name_what_stands() {
        assert_eq!(heartbeat(b" \n").unwrap(), HeartbeatBody::default());
        assert_eq!(heartbeat(br#"{"limits": ["a", "b"]}"#).unwrap().limits.unwrap(), ["a", "b"]);
        assert!(heartbeat(br#"{"limits": "a"}"#).is_err());
        assert!(heartbeat(br#"{"limit": []}"#).is_err());
        let many = format!("{{\"limits\": [{}]}}", vec!["\"a\""; 513].join(","));
        assert!(heartbeat(many.as_bytes()).is_err());
    }

    #[test]
    fn a_lift_needs_a_name_and_an_end() {
        let body = lift(br#"{"by": "A. Khan", "note": "a test", "duration": "30min"}"#).unwrap();
        assert_eq!((body.by.as_str(), body.end), ("A. Khan", End::After(Duration::from_secs(1_800))));
        assert_eq!(body.note.as_deref(), Some("a test"));
        for text in
            [r#"{"duration": "30min"}"#, r#"{"by": " ", "duration": "30min"}"#, r#"{"by": "A. Khan"}"#]
        {
            assert!(lift(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::super::fuzzing::body(&bytes);
        }

        #[test]
        fn text_that_is_nearly_an_order_never_panics(
            key in "(cap|cap_watts|reduce_by|percent|duration|valid_from|valid_until|revision|priority|mean_window)",
            value in "(\"[0-9a-zA-Z .:+-]{0,24}\"|-?[0-9]{1,20}(\\.[0-9]{1,6})?(e[0-9]{1,3})?|null|true|\\[\\]|\\{\\})",
            more in "(, \"cap\": \"4 kW\")?",
        ) {
            super::super::fuzzing::body(format!("{{\"{key}\": {value}{more}}}").as_bytes());
        }
    }
}
