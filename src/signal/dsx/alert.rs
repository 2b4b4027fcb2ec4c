//! What an agent says, as the infra role hears it: alerts with their hints, and statuses.
//!
//! Read as strictly as load targets are: an alert with a mistake in it is none.

use serde_json::Value;

use super::breach::Status;
use super::message::{Fault, LONGEST_NAME, instant, is_uuid, power, text, wrong};
use crate::control::signal::{SourceState, Wall};
use crate::line::is_line;
use crate::units::Watts;

/// Most hints of an alert.
pub const MOST_HINTS: usize = 64;
/// Most feeds of a status.
const MOST_FEEDS: usize = 1_024;
/// What is harder than any hint, in the words of the schema. None of it is ever done here.
const HARDER: [&str; 4] = ["SHUTDOWN_NODES", "SHUTDOWN_RACKS", "CUT_DATA_FEEDS", "TRIP_BREAKERS"];

/// What kind of thing a resource is, in the words of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceType {
    /// A server.
    Node,
    /// A graphics processor.
    Gpu,
    /// A chassis.
    Chassis,
}

impl ResourceType {
    /// All.
    pub const ALL: [Self; 3] = [Self::Node, Self::Gpu, Self::Chassis];

    /// As the schema has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Gpu => "gpu",
            Self::Chassis => "chassis",
        }
    }
}

/// What a hint asks for, in the words of the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A power that it stays below.
    PowerCap,
    /// To be slowed down.
    Throttle,
    /// To be paused.
    Suspend,
}

impl Action {
    /// All.
    pub const ALL: [Self; 3] = [Self::PowerCap, Self::Throttle, Self::Suspend];

    /// As the schema has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerCap => "power_cap",
            Self::Throttle => "throttle",
            Self::Suspend => "suspend",
        }
    }
}

/// What an agent would have a resource do.
#[derive(Clone, Debug, PartialEq)]
pub struct ShedHint {
    /// The agent's name of the resource, a line of 1 to 128 bytes.
    pub resource: String,
    /// What kind of thing it is.
    pub kind: ResourceType,
    /// What it is to do.
    pub action: Action,
    /// Below what power, not negative, where the agent says one.
    pub target: Option<Watts>,
}

/// An alert of a breach.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The agent's name of the feed, a line of 1 to 128 bytes.
    pub feed: String,
    /// Where the breach stands.
    pub status: Status,
    /// Its id, from its beginning to its end; a UUID.
    pub breach: String,
    /// What the agent proposes, what should go first first.
    pub hints: Vec<ShedHint>,
    /// What it proposes that is harder than that.
    pub harder: Vec<&'static str>,
}

impl Alert {
    /// Whether the breach is over.
    pub fn is_over(&self) -> bool {
        self.status == Status::Resolved
    }
}

/// How the feeds of an agent stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Of when that is, by the agent's clock and signed.
    pub at: Wall,
    /// Each of them meets its target, by the agent's word.
    pub compliant: bool,
}

/// What a status says of whether the agent is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Nothing: something that it said was missed, or may have been before a start, and more may be drawn than it allows.
    Nothing,
    /// It lives.
    Sign,
    /// It lives, and what it said before is all that it wants: where it was lost, or is in doubt, that gives control back.
    Control,
}

impl State {
    /// What it means for a source that stands there; `whole` tells that the agent was obeyed since the start, and nothing of what it said
    /// is known to be missed.
    pub fn means(self, whole: bool, known: Option<SourceState>) -> Life {
        match (whole, known) {
            (false, _) if !self.compliant => Life::Nothing,
            (true, Some(SourceState::Controlled | SourceState::Limited)) => Life::Sign,
            _ => Life::Control,
        }
    }
}

/// The data of a `grid.powerbreach.alert.v1`.
///
/// # Errors
/// [`Fault`].
pub fn alert(data: &[u8]) -> Result<Alert, Fault> {
    let value = object(data)?;
    let status = word(&value, "status", &Status::ALL.map(|status| (status.name(), status)))?;
    let breach = value.get("breach").ok_or(Fault::Missing("breach"))?;
    let id = text(breach, "breach_id", "a UUID")?;
    if !is_uuid(id) {
        return Err(wrong("breach_id", id, "a UUID"));
    }
    let given = value.get("shed_hints").filter(|value| !value.is_null());
    let given = given.map(|list| list_of(list, "shed_hints", MOST_HINTS)).transpose()?;
    let mut hints = given.into_iter().flatten().map(hint).collect::<Result<Vec<_>, Fault>>()?;
    hints.sort_by_key(|(priority, _)| *priority);
    let given = value.get("infrastructure_actions").filter(|value| !value.is_null());
    let named = given.map(|list| list_of(list, "infrastructure_actions", HARDER.len())).transpose()?;
    let harder = named.into_iter().flatten().map(harder).collect::<Result<Vec<_>, Fault>>()?;
    Ok(Alert {
        feed: name(&value, "feed_tag")?,
        status,
        breach: id.to_ascii_lowercase(),
        hints: hints.into_iter().map(|(_, hint)| hint).collect(),
        harder,
    })
}

/// The data of a `grid.powerstate.status.v1`, as far as it is of use here.
///
/// # Errors
/// [`Fault`].
pub fn state(data: &[u8]) -> Result<State, Fault> {
    let value = object(data)?;
    let at = instant(&value, "snapshot_time")?.ok_or(Fault::Missing("snapshot_time"))?;
    let feeds = value.get("feeds").ok_or(Fault::Missing("feeds"))?;
    let feeds = feeds.as_object().ok_or_else(|| wrong("feeds", &feeds.to_string(), "an object"))?;
    if feeds.len() > MOST_FEEDS {
        return Err(Fault::TooMany { what: "feeds", most: MOST_FEEDS });
    }
    let met = |feed: &Value| feed.get("compliant").and_then(Value::as_bool) == Some(true);
    Ok(State { at, compliant: feeds.values().all(met) })
}

fn object(data: &[u8]) -> Result<Value, Fault> {
    let value: Value = serde_json::from_slice(data).map_err(|_| Fault::NotAnObject)?;
    if value.is_object() { Ok(value) } else { Err(Fault::NotAnObject) }
}

fn list_of<'v>(value: &'v Value, field: &'static str, most: usize) -> Result<&'v Vec<Value>, Fault> {
    let list = value.as_array().ok_or_else(|| wrong(field, &value.to_string(), "a list"))?;
    if list.len() > most { Err(Fault::TooMany { what: field, most }) } else { Ok(list) }
}

/// A hint with its priority.
fn hint(value: &Value) -> Result<(u64, ShedHint), Fault> {
    let priority = value.get("priority").ok_or(Fault::Missing("priority"))?;
    let number = priority.as_u64().filter(|number| *number >= 1);
    let number = number.ok_or_else(|| wrong("priority", &priority.to_string(), "a number from 1 on"))?;
    let target = value.get("target_power").filter(|value| !value.is_null());
    let hint = ShedHint {
        resource: name(value, "resource_id")?,
        kind: word(value, "resource_type", &ResourceType::ALL.map(|kind| (kind.name(), kind)))?,
        action: word(value, "action", &Action::ALL.map(|action| (action.name(), action)))?,
        target: target.map(|target| power(target, "target_power")).transpose()?,
    };
    Ok((number, hint))
}

fn harder(value: &Value) -> Result<&'static str, Fault> {
    let known = value.as_str().and_then(|word| HARDER.into_iter().find(|known| *known == word));
    known.ok_or_else(|| wrong("infrastructure_actions", &value.to_string(), "a word of the schema"))
}

/// A name that comes to stand in our own lists.
fn name(value: &Value, field: &'static str) -> Result<String, Fault> {
    let expected = "a line of 1 to 128 bytes";
    let name = text(value, field, expected)?;
    if name.len() > LONGEST_NAME || !is_line(name) {
        return Err(wrong(field, name, expected));
    }
    Ok(name.to_owned())
}

fn word<T: Copy>(value: &Value, field: &'static str, words: &[(&str, T)]) -> Result<T, Fault> {
    let given = text(value, field, "a word of the schema")?;
    let known = words.iter().find(|(word, _)| *word == given).map(|(_, meaning)| *meaning);
    known.ok_or_else(|| wrong(field, given, "a word of the schema"))
}
