//! One event, read from JSON. Both shapes are read where versions 3.0 and 3.1 differ.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::fault::Fault;
use super::settings::Names;
use super::time::{Length, Start, length, moment, start};
use crate::control::signal::Wall;
use crate::line::shorten;

/// Most intervals of an event: a week of five minutes each, nearly.
pub const MOST_INTERVALS: usize = 2_000;
/// Most payloads of an interval.
const MOST_PAYLOADS: usize = 32;
/// Most values of a payload: the five minutes of a day.
const MOST_VALUES: usize = 288;
/// Most of anything else that comes in a list.
const MOST_OTHERS: usize = 256;

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its id, given by the top node.
    pub id: String,
    /// The id of its programme; empty where it does not say.
    pub program: String,
    /// When it was last changed, by the top node's clock; `None` where it does not say.
    pub changed: Option<Wall>,
    /// Lower is better; [`u32::MAX`] without one.
    pub priority: u32,
    /// For whom it is meant; empty: for everybody.
    pub targets: Vec<Target>,
    /// The units of its payload types, as they are written.
    pub units: BTreeMap<String, String>,
    /// What holds for intervals that do not say it themselves.
    pub period: Period,
    /// How long the intervals are repeated, or that not all of them are carried out.
    pub duration: Option<Length>,
    /// What holds when.
    pub intervals: Vec<Interval>,
    /// What it wants to have reported.
    pub reports: Vec<ReportWish>,
}

/// From when and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Period {
    /// When it begins.
    pub start: Option<Start>,
    /// How long it lasts.
    pub length: Option<Length>,
    /// By how much its start is shifted at random at the most, either way.
    pub randomize: Option<Duration>,
}

/// What holds in a part of the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Its id; unique in the event, whatever the top node wrote.
    pub id: String,
    /// The number that the top node gave it, for reports.
    pub number: i64,
    /// When.
    pub period: Period,
    /// Payload types with their values.
    pub payloads: Vec<(String, Vec<Value>)>,
}

/// For whom an event is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What kind of name it is (version 3.0); `None` for the plain names of version 3.1.
    pub kind: Option<String>,
    /// The name.
    pub name: String,
}

/// A report that an event asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportWish {
    /// The payload type.
    pub payload: String,
    /// The unit that is asked for.
    pub unit: Option<String>,
    /// After how many intervals a report is due; 0: at any time, negative: after all of them.
    pub frequency: i64,
    /// Whether it looks back; a forecast otherwise.
    pub historical: bool,
    /// How many reports; negative: without an end.
    pub repeat: i64,
}

/// The id of an event, even where nothing else of it can be read.
pub fn id_of(value: &Value) -> Option<&str> {
    value.get("id")?.as_str().filter(|id| !id.is_empty())
}

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    /// [`Fault`]; the event is then skipped as a whole.
    pub fn read(value: &Value) -> Result<Self, Fault> {
        if !value.is_object() {
            return Err(Fault::NotAnObject);
        }
        let id = id_of(value).ok_or(Fault::Missing("id"))?.to_owned();
        let program = value.get("programID").and_then(Value::as_str).unwrap_or_default().to_owned();
        let changed = ["modificationDateTime", "createdDateTime"]
            .iter()
            .find_map(|key| moment(value.get(*key)?.as_str()?));
        let priority = match given(value, "priority") {
            None => u32::MAX,
            Some(number) => whole(number)
                .and_then(|number| u32::try_from(number).ok())
                .ok_or_else(|| unreadable("priority", number))?,
        };
        let duration = match given(value, "duration") {
            None => None,
            Some(text) => Some(length_of("duration", text, false)?),
        };
        Ok(Self {
            id,
            program,
            changed,
            priority,
            targets: targets(value)?,
            units: units(value)?,
            period: Period::read(given(value, "intervalPeriod"))?,
            duration,
            intervals: intervals(value)?,
            reports: wishes(value),
        })
    }

    /// Whether it is meant for a site of these names.
    pub fn is_for(&self, names: &Names) -> bool {
        let configured = names.ven.is_some()
            || !(names.resources.is_empty() && names.groups.is_empty() && names.targets.is_empty());
        !configured || self.targets.is_empty() || self.targets.iter().any(|target| target.means(names))
    }

    /// Its version: later ones have higher numbers.
    pub fn revision(&self) -> u64 {
        self.changed.and_then(|at| u64::try_from(at.as_unix_millis()).ok()).unwrap_or(0)
    }
}

impl Target {
    fn means(&self, names: &Names) -> bool {
        let is = |known: &String| *known == self.name;
        let ven = || names.ven.as_ref().is_some_and(is);
        let plain = || names.targets.iter().any(is);
        match self.kind.as_deref() {
            Some("VEN_NAME") => ven(),
            Some("RESOURCE_NAME") => names.resources.iter().any(is),
            Some("GROUP" | "GROUP_NAME") => names.groups.iter().any(is),
            Some(_) => plain(),
            None => ven() || plain() || names.resources.iter().any(is) || names.groups.iter().any(is),
        }
    }
}

impl Period {
    fn read(value: Option<&Value>) -> Result<Self, Fault> {
        let Some(value) = value else { return Ok(Self::default()) };
        if !value.is_object() {
            return Err(unreadable("intervalPeriod", value));
        }
        let begin = match given(value, "start") {
            None => None,
            Some(text) => {
                Some(text.as_str().and_then(start).ok_or_else(|| unreadable("intervalPeriod.start", text))?)
            }
        };
        let lasts = match given(value, "duration") {
            None => None,
            Some(text) => Some(length_of("intervalPeriod.duration", text, false)?),
        };
        let randomize = match given(value, "randomizeStart") {
            None => None,
            Some(text) => match length_of("intervalPeriod.randomizeStart", text, true)? {
                Length::For(time) => Some(time).filter(|time| !time.is_zero()),
                Length::Forever => return Err(unreadable("intervalPeriod.randomizeStart", text)),
            },
        };
        Ok(Self { start: begin, length: lasts, randomize })
    }
}

/// A field that is there and not null.
fn given<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    value.get(key).filter(|value| !value.is_null())
}

fn unreadable(field: &'static str, value: &Value) -> Fault {
    Fault::Unreadable { field, value: shorten(&value.to_string()) }
}

fn length_of(field: &'static str, value: &Value, signed: bool) -> Result<Length, Fault> {
    value.as_str().and_then(|text| length(text, signed)).ok_or_else(|| unreadable(field, value))
}

/// A whole number, also where it is written with a decimal point.
fn whole(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64().filter(|number| number.fract().abs() < f64::EPSILON && number.abs() < 1e9)?;
    format!("{number:.0}").parse().ok()
}

fn list<'v>(value: &'v Value, key: &'static str, most: usize) -> Result<&'v [Value], Fault> {
    let Some(value) = given(value, key) else { return Ok(&[]) };
    let array = value.as_array().ok_or_else(|| unreadable(key, value))?;
    if array.len() > most {
        return Err(Fault::TooMany { what: key, most });
    }
    Ok(array)
}

/// In version 3.1 a list of names; in version 3.0 a list of `{ "type": …, "values": [ … ] }`.
fn targets(value: &Value) -> Result<Vec<Target>, Fault> {
    let mut targets = Vec::new();
    for target in list(value, "targets", MOST_OTHERS)? {
        if let Some(name) = target.as_str() {
            targets.push(Target { kind: None, name: name.to_owned() });
            continue;
        }
        let kind = target.get("type").and_then(Value::as_str).ok_or_else(|| unreadable("targets", target))?;
        let values = target.get("values").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for name in values.iter().take(MOST_OTHERS) {
            let name = name.as_str().ok_or_else(|| unreadable("targets", target))?;
            targets.push(Target { kind: Some(kind.to_owned()), name: name.to_owned() });
        }
    }
    Ok(targets)
}

/// The units of the payload types, of an event or of a programme.
///
/// # Errors
/// The list is none, or too long.
pub fn units(value: &Value) -> Result<BTreeMap<String, String>, Fault> {
    let mut units = BTreeMap::new();
    for descriptor in list(value, "payloadDescriptors", MOST_OTHERS)? {
        // Those of reports have units of their own.
        if descriptor.get("objectType").and_then(Value::as_str) == Some("REPORT_PAYLOAD_DESCRIPTOR") {
            continue;
        }
        let kind = descriptor.get("payloadType").and_then(Value::as_str);
        if let (Some(kind), Some(unit)) = (kind, given(descriptor, "units")) {
            let unit = unit.as_str().map_or_else(|| unit.to_string(), str::to_owned);
            units.insert(kind.to_owned(), unit);
        }
    }
    Ok(units)
}

fn intervals(value: &Value) -> Result<Vec<Interval>, Fault> {
    let mut intervals: Vec<Interval> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (interval, position) in list(value, "intervals", MOST_INTERVALS)?.iter().zip(0_i64..) {
        if !interval.is_object() {
            return Err(unreadable("intervals", interval));
        }
        let number = interval.get("id").and_then(whole);
        // A number that stands twice names nobody: the place in the list does.
        let id = number.map(|number| number.to_string()).filter(|id| seen.insert(id.clone()));
        let mut payloads = Vec::new();
        for payload in list(interval, "payloads", MOST_PAYLOADS)? {
            let kind = payload.get("type").and_then(Value::as_str).filter(|kind| !kind.is_empty());
            let kind = kind.ok_or_else(|| unreadable("payloads", payload))?;
            let values = list(payload, "values", MOST_VALUES)?;
            payloads.push((kind.to_owned(), values.to_vec()));
        }
        intervals.push(Interval {
            id: id.unwrap_or_else(|| format!("at{position}")),
            number: number.unwrap_or(position),
            period: Period::read(given(interval, "intervalPeriod"))?,
            payloads,
        });
    }
    Ok(intervals)
}

/// What cannot be read of a wish for a report is no reason not to obey the event.
fn wishes(value: &Value) -> Vec<ReportWish> {
    let Ok(descriptors) = list(value, "reportDescriptors", MOST_OTHERS) else { return Vec::new() };
    let number = |descriptor: &Value, key, default| given(descriptor, key).and_then(whole).unwrap_or(default);
    descriptors
        .iter()
        .filter_map(|descriptor| {
            Some(ReportWish {
                payload: descriptor.get("payloadType")?.as_str()?.to_owned(),
                unit: given(descriptor, "units").and_then(Value::as_str).map(str::to_owned),
                frequency: number(descriptor, "frequency", -1),
                historical: descriptor.get("historical").and_then(Value::as_bool).unwrap_or(true),
                repeat: number(descriptor, "repeat", 1),
            })
        })
        .collect()
}
