//! What was told, and what of what there is to tell is news.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;

/// Ages and times that run on: that they have grown is no news.
const AGES: &str = "age_seconds";
/// As [`AGES`].
const RUNNING: &str = "for_seconds";
/// What is told in whole units.
const WHOLE: [&str; 3] = ["_watts", "_joules", "_per_second"];
/// What else is told in fractions has no more of them than these parts.
const FINEST: f64 = 1e3;

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Where.
    pub name: String,
    /// What, as it is sent.
    pub payload: String,
    /// Two that say the same have the same.
    key: u64,
}

impl Topic {
    /// A topic, its numbers rounded to what is worth telling.
    pub fn new(name: String, mut value: Value) -> Self {
        settle(&mut value);
        let payload = value.to_string();
        forget_ages(&mut value);
        let mut hasher = DefaultHasher::new();
        value.to_string().hash(&mut hasher);
        Self { name, payload, key: hasher.finish() }
    }
}

fn settle(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match inner.as_f64().filter(|_| inner.is_f64()) {
                    Some(number) if WHOLE.iter().any(|end| key.ends_with(end)) => {
                        *inner = Value::from(number.round());
                    }
                    Some(number) => *inner = Value::from((number * FINEST).round() / FINEST),
                    None => settle(inner),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(settle),
        _ => {}
    }
}

fn forget_ages(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !key.ends_with(AGES) && !key.ends_with(RUNNING));
            map.values_mut().for_each(forget_ages);
        }
        Value::Array(list) => list.iter_mut().for_each(forget_ages),
        _ => {}
    }
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel<'t> {
    /// Where.
    pub topic: &'t str,
    /// What; empty takes away what the broker keeps there.
    pub payload: &'t str,
}

/// What the broker was told on this connection.
#[derive(Debug, Default)]
pub struct Outbox {
    sent: BTreeMap<String, u64>,
    known: BTreeSet<String>,
}

impl Outbox {
    /// Sends what is news, and takes away what is not there any more. `send` says whether there was room; what found none is
    /// news again the next time. Gives how many found none.
    pub fn tell(&mut self, all: &[Topic], mut send: impl FnMut(&Parcel<'_>) -> bool) -> u64 {
        let mut left = 0_u64;
        self.known = all.iter().map(|topic| topic.name.clone()).collect();
        for topic in all {
            if self.sent.get(&topic.name) == Some(&topic.key) {
                continue;
            }
            if send(&Parcel { topic: &topic.name, payload: &topic.payload }) {
                self.sent.insert(topic.name.clone(), topic.key);
            } else {
                left = left.saturating_add(1);
            }
        }
        let known = &self.known;
        self.sent.retain(|name, _| {
            if known.contains(name) || send(&Parcel { topic: name, payload: "" }) {
                return known.contains(name);
            }
            left = left.saturating_add(1);
            true
        });
        left
    }

    /// Whether there is something to tell at a topic.
    pub fn knows(&self, topic: &str) -> bool {
        self.known.contains(topic)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn topics(all: &[(&str, Value)]) -> Vec<Topic> {
        all.iter().map(|(name, value)| Topic::new((*name).to_owned(), value.clone())).collect()
    }

    fn told(outbox: &mut Outbox, all: &[(&str, Value)], room: usize) -> Vec<(String, String)> {
        let mut sent = Vec::new();
        outbox.tell(&topics(all), |parcel| {
            let fits = sent.len() < room;
            if fits {
                sent.push((parcel.topic.to_owned(), parcel.payload.to_owned()));
            }
            fits
        });
        sent
    }

    #[test]
    fn only_news_is_sent_and_a_growing_age_is_none() {
        let mut outbox = Outbox::default();
        let at = |power: f64, age: f64| json!({ "power_watts": power, "age_seconds": age });
        let first = told(&mut outbox, &[("a", at(100.2, 1.0)), ("b", at(5.0, 1.0))], 9);
        assert_eq!(first.len(), 2);
        assert_eq!(first[0].1, r#"{"age_seconds":1.0,"power_watts":100.0}"#, "whole watts");
        assert!(told(&mut outbox, &[("a", at(100.4, 2.0)), ("b", at(5.0, 9.0))], 9).is_empty());
        let volts = Topic::new("c".into(), json!({ "readings": { "voltage_l1": 230.123_456, "count": 7 } }));
        assert_eq!(volts.payload, r#"{"readings":{"count":7,"voltage_l1":230.123}}"#);
        let next = told(&mut outbox, &[("a", at(101.0, 2.0)), ("b", at(5.0, 9.0))], 9);
        assert_eq!(next.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_finds_no_room_is_sent_the_next_time_and_so_is_a_removal() {
        let mut outbox = Outbox::default();
        let all = [("a", json!(1)), ("b", json!(2)), ("c", json!(3))];
        assert_eq!(told(&mut outbox, &all, 1).len(), 1);
        assert_eq!(told(&mut outbox, &all, 9).len(), 2);
        let fewer = [("a", json!(1))];
        assert!(told(&mut outbox, &fewer, 0).is_empty());
        assert!(!outbox.knows("b"));
        let gone = [(String::from("b"), String::new()), (String::from("c"), String::new())];
        assert_eq!(told(&mut outbox, &fewer, 9), gone);
        assert!(told(&mut outbox, &fewer, 9).is_empty(), "once");
    }
}
