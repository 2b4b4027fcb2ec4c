//! What an entry is, and its hash.
//!
//! The hash is SHA-256 over five lines of UTF-8, each with a line feed behind it: the hash of the entry before (64 zeros for
//! the first), the number, the time, the kind, and the body. No part can hold a line feed, so there is one way to read
//! them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What stands in the place of the hash before the first entry.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The chain begins here, and why.
    Begin,
    /// The daemon starts.
    Start,
    /// The daemon stops in order.
    Stop,
    /// A new configuration is in force.
    Reload,
    /// What became of an order.
    Order,
    /// Another limit binds, or the site is in another state.
    Decision,
    /// Somebody has used the operator's rights.
    Operator,
    /// An alarm was raised, is over, or is acknowledged.
    Alarm,
    /// Energy in an interval.
    Energy,
    /// The head is signed.
    Checkpoint,
    /// Somebody else has stamped a head: that it was there at a time.
    Stamp,
    /// Entries were lost on the way to the disk.
    Gap,
    /// The oldest entries were removed.
    Trim,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Begin,
        Self::Start,
        Self::Stop,
        Self::Reload,
        Self::Order,
        Self::Decision,
        Self::Operator,
        Self::Alarm,
        Self::Energy,
        Self::Checkpoint,
        Self::Stamp,
        Self::Gap,
        Self::Trim,
    ];

    /// As it stands in the chain.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reload => "reload",
            Self::Order => "order",
            Self::Decision => "decision",
            Self::Operator => "operator",
            Self::Alarm => "alarm",
            Self::Energy => "energy",
            Self::Checkpoint => "checkpoint",
            Self::Stamp => "stamp",
            Self::Gap => "gap",
            Self::Trim => "trim",
        }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether an entry of this kind waits for the platter, and goes before others where many wait.
    pub const fn weighs(self) -> bool {
        !matches!(self, Self::Decision | Self::Energy)
    }
}

/// One entry, as it is on disk and in an exported file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Rises by one with every entry, from 1.
    pub number: u64,
    /// When it was written, by the wall clock of the machine, in Unix milliseconds.
    pub at: i64,
    /// [`Kind::name`].
    pub kind: String,
    /// JSON in one line, as [`canonical`] writes it.
    pub body: String,
    /// Its hash: 64 small hexadecimal digits.
    pub hash: String,
}

impl Entry {
    /// The entry that follows one whose hash is `previous`.
    pub fn following(previous: &str, number: u64, at: i64, kind: &str, body: String) -> Self {
        let hash = hash(previous, number, at, kind, &body);
        Self { number, at, kind: kind.to_owned(), body, hash }
    }

    /// The body; null for one that is no JSON.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// The hash of an entry.
pub fn hash(previous: &str, number: u64, at: i64, kind: &str, body: &str) -> String {
    hex(&Sha256::digest(format!("{previous}\n{number}\n{at}\n{kind}\n{body}\n")))
}

/// Bytes as small hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// JSON in the one form that the chain knows: names sorted by their characters, no spaces, whole numbers as they are and all
/// others with exactly three digits behind the point, what is not ASCII as it is. Members that are null are left out.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, to: &mut String) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let fixed = format!("{:.3}", number.as_f64().unwrap_or(0.0));
            to.push_str(if fixed == "-0.000" { "0.000" } else { &fixed });
        }
        Value::Array(all) => {
            to.push('[');
            for (index, one) in all.iter().enumerate() {
                if index > 0 {
                    to.push(',');
                }
                write(one, to);
            }
            to.push(']');
        }
        Value::Object(members) => {
            let mut all: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
            all.sort_by(|one, other| one.0.cmp(other.0));
            to.push('{');
            for (index, (name, value)) in all.into_iter().enumerate() {
                if index > 0 {
                    to.push(',');
                }
                to.push_str(&Value::from(name.as_str()).to_string());
                to.push(':');
                write(value, to);
            }
            to.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => to.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_has_one_form() {
        let value = json!({"b": 1, "a": [1.0, -0.0, 2.34567, null], "ä": "é\n\"", "none": null, "c": {"z": true, "y": {}}});
        assert_eq!(
            canonical(&value),
            r#"{"a":[1.000,0.000,2.346,null],"b":1,"c":{"y":{},"z":true},"ä":"é\n\""}"#
        );
        assert!(!canonical(&json!({"a": "\n\r"})).contains(['\n', '\r']));
    }

    #[test]
    fn the_hash_is_that_of_the_bytes_that_the_guide_publishes() {
        // printf '%064d\n1\n0\nbegin\n{}\n' 0 | openssl dgst -sha256
        let first = Entry::following(NO_HASH, 1, 0, "begin", "{}".into());
        assert_eq!(first.hash, "a43b6c580be511efe8a4db56972b95ff7e4bbeeee4a350c90d9c12ea93439867");
    }

    #[test]
    fn a_kind_is_found_by_its_name() {
        assert!(Kind::ALL.into_iter().all(|kind| Kind::named(kind.name()) == Some(kind)));
        assert_eq!(Kind::named("rumour"), None);
    }
}
