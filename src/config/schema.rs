//! The schema of the configuration for editors (JSON Schema, draft 7): what the readers are declared to take
//! ([`keys`](super::keys)), in the words of the commented example ([`reference`](super::reference)).
//!
//! Draft 7 (<https://json-schema.org/draft-07>) is what editors of TOML read. It knows no units, so a quantity is a text with
//! a pattern; what hangs on more than one key, `ballast check` alone can tell.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::keys::{Key, ROOT, Section, Shape};
use super::quantity::{self, Unit};
use super::reference::{REFERENCE, Reference};

/// The schema of the whole file.
pub fn schema() -> Value {
    let mut maker = Maker { reference: Reference::read(REFERENCE), definitions: Map::new() };
    let mut file = maker.section(&ROOT);
    file.insert("$schema".into(), json!("http://json-schema.org/draft-07/schema#"));
    file.insert("title".into(), json!("The configuration of Ballast"));
    file.insert("definitions".into(), Value::Object(maker.definitions));
    Value::Object(file)
}

struct Maker {
    reference: Reference<'static>,
    /// The sections so far, by name.
    definitions: Map<String, Value>,
}

impl Maker {
    /// A table with these keys.
    fn section(&mut self, section: &'static Section) -> Map<String, Value> {
        let mut table = Map::new();
        table.insert("type".into(), json!("object"));
        if let Some(shape) = &section.named {
            table.insert("additionalProperties".into(), self.takes(shape));
            if let Some(names) = section.names {
                table.insert("propertyNames".into(), json!({ "enum": names() }));
            }
            return table;
        }
        let own: Vec<&'static Key> = listed(section.keys);
        let mut properties: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for key in own.iter().copied() {
            properties.insert(key.name, vec![self.property(section, None, key)]);
        }
        let mut kinds: Vec<(&str, Vec<(&'static Key, Value)>)> = Vec::new();
        for &(kind, keys) in section.kinds {
            let mut of_kind = Vec::new();
            for key in listed(keys) {
                let property = self.property(section, Some(kind), key);
                let known = properties.entry(key.name).or_default();
                if !known.contains(&property) {
                    known.push(property.clone());
                }
                of_kind.push((key, property));
            }
            kinds.push((kind, of_kind));
        }
        let conditions: Vec<Value> =
            kinds.iter().map(|(kind, keys)| condition(kind, &own, keys, &properties)).collect();
        let properties: Map<String, Value> =
            properties.into_iter().map(|(name, values)| (name.to_owned(), one_of(values))).collect();
        table.insert("properties".into(), Value::Object(properties));
        table.insert("additionalProperties".into(), json!(false));
        if let Some(required) = required(own.iter().copied()) {
            table.insert("required".into(), required);
        }
        if !conditions.is_empty() {
            table.insert("allOf".into(), json!(conditions));
        }
        table
    }

    /// A key with its words. Of keys that only one kind of section has, those are looked for in such sections.
    fn property(&mut self, section: &'static Section, kind: Option<&str>, key: &'static Key) -> Value {
        let takes = self.takes(&key.takes);
        let mut beside = Map::new();
        if matches!(key.takes, Shape::Gone) {
            beside.insert("description".into(), json!("Has no effect any more: take the line out."));
            beside.insert("deprecated".into(), json!(true));
        } else if let Some((words, own)) = self.reference.of(section.told, kind, key.name) {
            beside.insert("description".into(), json!(words));
            if let Some(default) = default_of(words).filter(|value| own && can_be(&key.takes, value)) {
                beside.insert("default".into(), default);
            }
        } else if let Some(words) = self.reference.of_tables(section.told, key.name) {
            beside.insert("description".into(), json!(words));
        }
        match takes {
            takes if beside.is_empty() => takes,
            // Draft 7 ignores what stands beside a reference.
            Value::Object(takes) if !takes.contains_key("$ref") => {
                beside.extend(takes);
                Value::Object(beside)
            }
            reference => {
                beside.insert("allOf".into(), json!([reference]));
                Value::Object(beside)
            }
        }
    }

    /// What a key takes.
    fn takes(&mut self, shape: &'static Shape) -> Value {
        match shape {
            Shape::Text => json!({ "type": "string" }),
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Whole(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
            Shape::Bits => json!({ "type": "integer", "minimum": 0 }),
            Shape::Number => json!({ "type": "number" }),
            Shape::Quantity(kind) => text_like(&number("[+-]?", &units(kind.units))),
            Shape::Amount(kind) => text_like(&number("\\+?", &units(kind.units))),
            Shape::Price(per) => text_like(&number("[+-]?", &currency(per))),
            Shape::PriceUnit(per) => text_like(&format!("^ *{} *$", currency(per))),
            Shape::Words(words) => json!({ "type": "string", "enum": words }),
            Shape::OneOf(words) => json!({ "type": "string", "enum": words() }),
            Shape::Known(names) => json!({ "anyOf": [{ "enum": names() }, { "type": "string" }] }),
            Shape::List(shape) => json!({ "type": "array", "items": self.takes(shape) }),
            Shape::Table(section) => self.refer(section),
            Shape::Tables(section) => {
                let one = self.refer(section);
                json!({ "anyOf": [one, { "type": "array", "items": one }] })
            }
            Shape::Any(shapes) => {
                let all: Vec<Value> = shapes.iter().map(|shape| self.takes(shape)).collect();
                json!({ "anyOf": all })
            }
            Shape::Gone | Shape::Refused => json!({}),
        }
    }

    /// Where the section is defined.
    fn refer(&mut self, section: &'static Section) -> Value {
        if !self.definitions.contains_key(section.name) {
            // Its place is taken before its keys are looked at, should one of them lead back.
            self.definitions.insert(section.name.to_owned(), Value::Null);
            let table = self.section(section);
            self.definitions.insert(section.name.to_owned(), Value::Object(table));
        }
        json!({ "$ref": format!("#/definitions/{}", section.name) })
    }
}

/// The keys of a section that may be written.
fn listed(keys: &'static [&'static [Key]]) -> Vec<&'static Key> {
    keys.iter().copied().flatten().filter(|key| !matches!(key.takes, Shape::Refused)).collect()
}

/// Which keys a section of a kind has, and what they take there that they do not take in others.
fn condition(
    kind: &str,
    own: &[&'static Key],
    keys: &[(&'static Key, Value)],
    all: &BTreeMap<&str, Vec<Value>>,
) -> Value {
    let mut names: Vec<&str> =
        own.iter().copied().chain(keys.iter().map(|(key, _)| *key)).map(|key| key.name).collect();
    names.sort_unstable();
    let mut then = Map::new();
    then.insert("propertyNames".into(), json!({ "enum": names }));
    let differs = |name: &str| all.get(name).is_some_and(|known| known.len() > 1);
    let special: Map<String, Value> = keys
        .iter()
        .filter(|(key, _)| differs(key.name))
        .map(|(key, property)| (key.name.to_owned(), property.clone()))
        .collect();
    if !special.is_empty() {
        then.insert("properties".into(), Value::Object(special));
    }
    if let Some(required) = required(keys.iter().map(|(key, _)| *key)) {
        then.insert("required".into(), required);
    }
    json!({ "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] }, "then": then })
}

fn required(keys: impl Iterator<Item = &'static Key>) -> Option<Value> {
    let names: Vec<&str> = keys.filter(|key| key.must).map(|key| key.name).collect();
    (!names.is_empty()).then(|| json!(names))
}

/// One of several values, of which there may be one.
fn one_of(mut values: Vec<Value>) -> Value {
    match values.pop() {
        Some(only) if values.is_empty() => only,
        last => json!({ "anyOf": values.into_iter().chain(last).collect::<Vec<Value>>() }),
    }
}

fn text_like(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

/// The pattern of a number and what follows it, as [`quantity::parse`] reads it.
fn number(sign: &str, unit: &str) -> String {
    format!("^ *{sign}([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)? *{unit} *$")
}

fn units(units: &[Unit]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, ..)| *name).collect();
    format!("({})", names.join("|"))
}

fn currency(per: &[Unit]) -> String {
    format!("[A-Za-z]{{2,5}}/{}", units(per))
}

/// The default that is told in the words of a key: `Default "5s".`
fn default_of(words: &str) -> Option<Value> {
    let (_, rest) = words.split_once("Default ").or_else(|| words.split_once("default "))?;
    let length = match rest.strip_prefix('"') {
        Some(text) => text.find('"')?.saturating_add(2),
        None => rest.find([' ', ',', ';', ')', '\n']).unwrap_or(rest.trim_end_matches('.').len()),
    };
    serde_json::from_str(rest.get(..length)?.trim_end_matches('.')).ok()
}

/// Whether a default that was found in words is one that the key takes.
fn can_be(shape: &Shape, value: &Value) -> bool {
    let word = |words: &[&str]| value.as_str().is_some_and(|text| words.contains(&text));
    let measured = |kind| value.as_str().is_some_and(|text| quantity::parse(text, kind).is_ok());
    match shape {
        Shape::Text => value.is_string(),
        Shape::Boolean => value.is_boolean(),
        Shape::Whole(low, high) => {
            value.as_u64().is_some_and(|number| (u64::from(*low)..=u64::from(*high)).contains(&number))
        }
        Shape::Number => value.is_number(),
        Shape::Quantity(kind) | Shape::Amount(kind) => measured(*kind),
        Shape::Words(words) => word(words),
        Shape::OneOf(words) => word(&words()),
        Shape::List(_) => value.as_array().is_some_and(Vec::is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_found_in_the_words_and_nothing_else_is() {
        assert_eq!(default_of("How long. Default \"5 s\"."), Some(json!("5 s")));
        assert_eq!(default_of("(in bits; default 16)"), Some(json!(16)));
        assert_eq!(default_of("Default true."), Some(json!(true)));
        assert_eq!(default_of("Default []."), Some(json!([])));
        assert_eq!(default_of("Default: learned"), None);
        assert_eq!(default_of("The default of a driver"), None);
        assert!(can_be(&Shape::Amount(&quantity::TIME), &json!("5 s")));
        assert!(!can_be(&Shape::Amount(&quantity::TIME), &json!("5 W")));
        assert!(!can_be(&Shape::Whole(1, 9), &json!(10)));
    }
}
