//! The messages of DSX Flex 1.7: CloudEvents as structured JSON, their topics, and the load targets in them.
//!
//! Fields that are not known are left out. What is too large, too many or not what the schema says makes the whole message
//! unusable: half a list of targets is none.

use serde_json::{Value, json};

use crate::control::signal::Wall;
use crate::line::{is_line, shorten};
use crate::signal::openadr::time::{moment, write_moment};
use crate::units::Watts;

/// The largest message that is looked at, in bytes.
pub const LARGEST: usize = 64 * 1024;
/// Most load targets of a message.
pub const MOST_TARGETS: usize = 64;
/// Most feeds that a target names.
pub const MOST_TAGS: usize = 64;
/// Longest name of anything, in bytes.
pub const LONGEST_NAME: usize = 128;
/// Longest `tracestate`, in bytes (W3C Trace Context, 3.3.1.5).
const LONGEST_STATE: usize = 512;
/// What events of load targets are called.
pub const TARGET_SET: &str = "grid.loadtarget.set.v1";

/// Why a message cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Larger than is read.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// No JSON object, or one that is nested too deeply.
    #[error("it is no JSON object")]
    NotAnObject,
    /// Its data is not signed: an object where the text of a JWS is expected.
    #[error("its data is not signed")]
    Unsigned,
    /// A field that it cannot do without is not there.
    #[error("it has no `{0}`")]
    Missing(&'static str),
    /// A field that is not what the schema says.
    #[error("its `{field}` is {value}, where {expected} is expected")]
    Value {
        /// Which field.
        field: &'static str,
        /// What stands there, shortened.
        value: String,
        /// What should.
        expected: &'static str,
    },
    /// More than is looked at.
    #[error("it has more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
}

/// Where a partner sets load targets.
pub fn target_topic(partner: &str) -> String {
    format!("grid/v1/isv/{partner}/loadtarget/set")
}

/// As what a partner stands in `source`.
pub fn partner_source(partner: &str) -> String {
    format!("//grid/v1/isv/{partner}")
}

/// As what an agent stands in `source`.
pub fn agent_source(identity: &str) -> String {
    format!("//grid/v1/dsx-flex-agent/{identity}")
}

/// As what the infra role stands in `source`.
pub fn infra_source(identity: &str) -> String {
    format!("//grid/v1/infra/{identity}")
}

/// What is sent: the first two by an agent, the last in the role of infra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The state of power, feed by feed.
    Status,
    /// More is drawn than a target allows.
    Breach,
    /// What became of the hints of a breach.
    Enforcement,
}

impl Sent {
    /// Where it goes, of the one of this name.
    pub fn topic(self, identity: &str) -> String {
        match self {
            Self::Status => format!("grid/v1/dsx-flex-agent/{identity}/powerstate/status"),
            Self::Breach => format!("grid/v1/dsx-flex-agent/{identity}/powerbreach"),
            Self::Enforcement => format!("grid/v1/infra/{identity}/powerbreach/enforcement"),
        }
    }

    /// As what its sender stands in `source`.
    fn source(self, identity: &str) -> String {
        match self {
            Self::Status | Self::Breach => agent_source(identity),
            Self::Enforcement => infra_source(identity),
        }
    }

    /// What its events are called.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Status => "grid.powerstate.status.v1",
            Self::Breach => "grid.powerbreach.alert.v1",
            Self::Enforcement => "grid.powerbreach.enforcement.v1",
        }
    }

    const fn subject(self) -> &'static str {
        match self {
            Self::Status => "powerstate",
            Self::Breach | Self::Enforcement => "powerbreach",
        }
    }
}

/// The trace to which a message belongs (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`.
    pub parent: String,
    /// `tracestate`, where there is one.
    pub state: Option<String>,
}

impl Trace {
    /// A trace of our own, from random bits.
    pub fn new(trace: u128, span: u64) -> Self {
        // All zeros are no id.
        Self { parent: format!("00-{:032x}-{:016x}-01", trace.max(1), span.max(1)), state: None }
    }

    /// The same trace, one step further on.
    #[must_use]
    pub fn next(&self, span: u64) -> Self {
        let mut parts = self.parent.split('-');
        let (version, trace) = (parts.next(), parts.next());
        let flags = parts.nth(1);
        match (version, trace, flags) {
            (Some(version), Some(trace), Some(flags)) => Self {
                parent: format!("{version}-{trace}-{:016x}-{flags}", span.max(1)),
                state: self.state.clone(),
            },
            _ => self.clone(),
        }
    }

    /// What a message says of it; `None` where that is no trace. An order is obeyed all the same.
    fn read(value: &Value) -> Option<Self> {
        let parent = value.get("traceparent")?.as_str()?;
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let parts: Vec<&str> = parent.split('-').take(5).collect();
        let [version, trace, span, flags] = parts.as_slice() else { return None };
        let is_none = |id: &str| id.bytes().all(|byte| byte == b'0');
        if !(hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2))
            || *version == "ff"
            || is_none(trace)
            || is_none(span)
        {
            return None;
        }
        let state = value.get("tracestate").and_then(Value::as_str);
        let state = state.filter(|state| state.len() <= LONGEST_STATE && is_line(state));
        Some(Self { parent: parent.to_owned(), state: state.map(str::to_owned) })
    }
}

/// A UUID of version 4 (RFC 9562, section 5.4), from random bits.
pub fn uuid(bits: u128) -> String {
    let bits = (bits & !(0xf_u128 << 76) & !(0x3_u128 << 62)) | (0x4_u128 << 76) | (0x2_u128 << 62);
    let hex = format!("{bits:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Whether a text is a UUID, of whatever version.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A message as it came. Nothing of it is to be believed before its `data` was verified, and even then only `data` is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its name; a UUID.
    pub id: String,
    /// Who says to have sent it.
    pub source: String,
    /// What kind of event it is.
    pub kind: String,
    /// When it was sent, by the clock of its sender.
    pub time: Wall,
    /// By what the partner knows what belongs together; a UUID.
    pub correlation: Option<String>,
    /// The trace to which it belongs.
    pub trace: Option<Trace>,
    /// The compact JWS with its data.
    pub data: String,
}

impl Envelope {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read(payload: &[u8]) -> Result<Self, Fault> {
        if payload.len() > LARGEST {
            return Err(Fault::TooLarge(LARGEST));
        }
        let value: Value = serde_json::from_slice(payload).map_err(|_| Fault::NotAnObject)?;
        if !value.is_object() {
            return Err(Fault::NotAnObject);
        }
        let version = text(&value, "specversion", "1.0.2")?;
        // The schema has the number of the document; what it describes is version 1.0.
        if !matches!(version, "1.0.2" | "1.0" | "1.0.1") {
            return Err(wrong("specversion", version, "1.0.2"));
        }
        let id = text(&value, "id", "a UUID")?;
        if !is_uuid(id) {
            return Err(wrong("id", id, "a UUID"));
        }
        let correlation = match value.get("correlationid").filter(|value| !value.is_null()) {
            None => None,
            Some(given) => {
                let uuid = given.as_str().filter(|text| is_uuid(text));
                Some(uuid.ok_or_else(|| wrong("correlationid", &given.to_string(), "a UUID"))?)
            }
        };
        let time = text(&value, "time", "a time with its offset")?;
        let time = moment(time).ok_or_else(|| wrong("time", time, "a time with its offset"))?;
        let data = match value.get("data").filter(|value| !value.is_null()) {
            None => return Err(Fault::Missing("data")),
            Some(Value::String(data)) => data.clone(),
            Some(_) => return Err(Fault::Unsigned),
        };
        Ok(Self {
            id: id.to_ascii_lowercase(),
            source: text(&value, "source", "a source")?.to_owned(),
            kind: text(&value, "type", "a kind of event")?.to_owned(),
            time,
            correlation: correlation.map(str::to_ascii_lowercase),
            trace: Trace::read(&value),
            data,
        })
    }
}

/// A load target as the partner says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The feeds that it is for; none of them means the whole site.
    pub feeds: Vec<String>,
    /// At most so much into each of them, not negative; `None` for no limit.
    pub cap: Option<Watts>,
    /// From here on; `None` for at once.
    pub from: Option<Wall>,
    /// Up to here; `None` until another list comes.
    pub until: Option<Wall>,
    /// Nobody is to be disturbed for it beyond what goes gently.
    pub best_effort: bool,
}

/// Reads the data of a `grid.loadtarget.set.v1` that was verified: the whole list of targets, at least one.
///
/// # Errors
/// [`Fault`]: then nothing of it is obeyed.
pub fn targets(data: &[u8]) -> Result<Vec<Target>, Fault> {
    let value: Value = serde_json::from_slice(data).map_err(|_| Fault::NotAnObject)?;
    if !value.is_object() {
        return Err(Fault::NotAnObject);
    }
    let list = value.get("targets").ok_or(Fault::Missing("targets"))?;
    let list = list.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| wrong("targets", "none", "a list of at least one"))?;
    if list.len() > MOST_TARGETS {
        return Err(Fault::TooMany { what: "targets", most: MOST_TARGETS });
    }
    list.iter().map(target).collect()
}

fn target(value: &Value) -> Result<Target, Fault> {
    let interval = value.get("interval").ok_or(Fault::Missing("interval"))?;
    if !interval.is_object() {
        return Err(wrong("interval", &interval.to_string(), "an object"));
    }
    let cap = match value.get("load_constraint") {
        // Left out is not null: only the latter lifts.
        None => return Err(Fault::Missing("load_constraint")),
        Some(Value::Null) => None,
        Some(given) => Some(power(given, "load_constraint")?),
    };
    let best_effort = match value.get("strategy").filter(|value| !value.is_null()) {
        None => false,
        Some(strategy) if !strategy.is_object() => {
            return Err(wrong("strategy", &strategy.to_string(), "an object"));
        }
        Some(strategy) => match strategy.get("best_effort").filter(|value| !value.is_null()) {
            None => false,
            Some(word) => {
                word.as_bool().ok_or_else(|| wrong("best_effort", &word.to_string(), "true or false"))?
            }
        },
    };
    Ok(Target {
        feeds: tags(value)?,
        cap,
        from: instant(interval, "start_time")?,
        until: instant(interval, "end_time")?,
        best_effort,
    })
}

fn tags(value: &Value) -> Result<Vec<String>, Fault> {
    let Some(given) = value.get("feed_tags").filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let expected = "a list of names";
    let list = given.as_array().ok_or_else(|| wrong("feed_tags", &given.to_string(), expected))?;
    if list.len() > MOST_TAGS {
        return Err(Fault::TooMany { what: "feed tags", most: MOST_TAGS });
    }
    list.iter()
        .map(|tag| {
            let name = tag.as_str().filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME);
            name.map(str::to_owned).ok_or_else(|| wrong("feed_tags", &tag.to_string(), expected))
        })
        .collect()
}

pub(super) fn instant(interval: &Value, field: &'static str) -> Result<Option<Wall>, Fault> {
    let Some(given) = interval.get(field).filter(|value| !value.is_null()) else { return Ok(None) };
    let at = given.as_str().and_then(moment);
    at.map(Some).ok_or_else(|| wrong(field, &given.to_string(), "a time with its offset"))
}

/// A power with its unit, not negative.
pub(super) fn power(value: &Value, field: &'static str) -> Result<Watts, Fault> {
    let bad = || wrong(field, &value.to_string(), "a power of zero or more with its unit");
    let number =
        value.get("value").and_then(Value::as_f64).filter(|number| *number >= 0.0).ok_or_else(bad)?;
    let factor = match value.get("unit").and_then(Value::as_str) {
        Some("watt") => 1.0,
        Some("kilowatt") => 1e3,
        Some("megawatt") => 1e6,
        _ => return Err(bad()),
    };
    Watts::new(number * factor).map_err(|_| bad())
}

pub(super) fn text<'v>(
    value: &'v Value,
    field: &'static str,
    expected: &'static str,
) -> Result<&'v str, Fault> {
    let given = value.get(field).filter(|value| !value.is_null()).ok_or(Fault::Missing(field))?;
    let text = given.as_str().filter(|text| !text.is_empty() && text.len() <= LONGEST_NAME * 2);
    text.ok_or_else(|| wrong(field, &given.to_string(), expected))
}

pub(super) fn wrong(field: &'static str, value: &str, expected: &'static str) -> Fault {
    Fault::Value { field, value: shorten(value), expected }
}

/// A message of ours, in the making.
#[derive(Clone, Debug)]
pub struct Outgoing<'o> {
    /// What it is.
    pub what: Sent,
    /// Our name.
    pub identity: &'o str,
    /// Its id; a UUID of version 4.
    pub id: &'o str,
    /// When it is sent.
    pub time: Wall,
    /// What it answers; a UUID.
    pub correlation: Option<&'o str>,
    /// The trace to which it belongs.
    pub trace: &'o Trace,
    /// The compact JWS with its data.
    pub data: &'o str,
}

impl Outgoing<'_> {
    /// As it is sent.
    pub fn write(&self) -> String {
        let mut event = json!({
            "specversion": "1.0.2",
            "id": self.id,
            "source": self.what.source(self.identity),
            "type": self.what.kind(),
            "time": write_moment(self.time),
            "datacontenttype": "application/json",
            "subject": self.what.subject(),
            "traceparent": self.trace.parent,
            "data": self.data,
        });
        if let Some(event) = event.as_object_mut() {
            if let Some(state) = &self.trace.state {
                event.insert("tracestate".into(), json!(state));
            }
            if let Some(correlation) = self.correlation {
                event.insert("correlationid".into(), json!(correlation));
            }
        }
        event.to_string()
    }
}

/// The most that a power comes to: rounded down, for who asks for just that must not be refused for a fraction.
pub fn write_most(power: Watts) -> Value {
    json!({ "value": power.at_least_zero().get().floor(), "unit": "watt" })
}

/// A power as the schema has it: in watts, not below zero.
pub fn write_power(power: Watts) -> Value {
    json!({ "value": power.at_least_zero().get().round(), "unit": "watt" })
}
