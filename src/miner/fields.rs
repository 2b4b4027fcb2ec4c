//! Reading values out of vendors' JSON.
//!
//! Vendors write numbers as text, leave fields out, and change shapes between firmware versions. Absent, empty
//! and wrong are told apart: absent gives `None`, wrong is an error that becomes
//! [`DriverError::Malformed`](super::DriverError::Malformed).

use serde_json::Value;

use crate::control::snapshot::Measured;

/// Longest text that is taken over from a miner into an error or a log line, in characters.
const WORDS: usize = 120;

/// Reads a reply. The parser refuses nesting deeper than 128 levels, so hostile input cannot exhaust the stack.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => "it is cut short".to_owned(),
        // The position and the kind of the mistake, never the text itself.
        _ => format!("it is not JSON (line {}, column {})", error.line(), error.column()),
    })
}

/// A number, also where it is written as text. Absent, `null` and empty text give `None`.
pub fn number(object: &Value, key: &str) -> Result<Option<f64>, String> {
    let number = match object.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_f64(),
    };
    match number.filter(|number: &f64| number.is_finite()) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("`{key}` is not a number")),
    }
}

/// The first of several fields that is there.
pub fn first_number(object: &Value, keys: &[&str]) -> Result<Option<f64>, String> {
    for key in keys {
        if let Some(number) = number(object, key)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// A truth value in any of the ways in which vendors write one. Absent, `null` and empty text give `None`.
pub fn flag(object: &Value, key: &str) -> Result<Option<bool>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::Number(number)) => match number.as_i64() {
            Some(0) => Ok(Some(false)),
            Some(1) => Ok(Some(true)),
            _ => Err(format!("`{key}` is neither 0 nor 1")),
        },
        Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "true" | "1" | "enable" | "enabled" | "yes" => Ok(Some(true)),
            "false" | "0" | "disable" | "disabled" | "no" => Ok(Some(false)),
            _ => Err(format!("`{key}` is neither true nor false")),
        },
        Some(_) => Err(format!("`{key}` is neither true nor false")),
    }
}

/// A reading that is never negative. Negative numbers are what devices write for "not now"; an absent one is
/// unsupported, or, `for_now`, unavailable.
pub fn measured<T>(value: Option<f64>, for_now: bool, unit: impl Fn(f64) -> T) -> Measured<T> {
    match value {
        Some(value) if value >= 0.0 => Measured::Value(unit(value)),
        Some(_) => Measured::Unavailable,
        None if for_now => Measured::Unavailable,
        None => Measured::Unsupported,
    }
}

/// A text; anything else gives `None`.
pub fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

/// An object that must be there.
pub fn object<'a>(parent: &'a Value, key: &str) -> Result<&'a Value, String> {
    match parent.get(key) {
        Some(value) if value.is_object() => Ok(value),
        Some(_) => Err(format!("`{key}` is not an object")),
        None => Err(format!("`{key}` is missing")),
    }
}

/// A vendor's words made fit for an error: one line, bounded, and without anything that is secret.
pub fn words(text: &str, secrets: &[&str]) -> String {
    let mut clean = text.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        clean = clean.replace(secret, "[secret]");
    }
    let line: String = clean
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(WORDS)
        .collect();
    let line = line.trim();
    if line.is_empty() { "no reason given".to_owned() } else { line.to_owned() }
}

/// Finds the end of one JSON value in a stream of bytes, so that a reply is complete without waiting for the
/// other side to close. Reads every byte once.
#[derive(Debug, Default)]
pub struct JsonEnd {
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl JsonEnd {
    /// Whether the value ends within these further bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.in_text {
                match (self.escaped, byte) {
                    (true, _) => self.escaped = false,
                    (false, b'\\') => self.escaped = true,
                    (false, b'"') => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_may_be_text_and_absence_is_not_zero() {
        let object = json!({"a": 3200, "b": "3300", "c": "", "d": null, "e": "watts", "f": [1], "g": "inf"});
        assert_eq!(number(&object, "a"), Ok(Some(3200.0)));
        assert_eq!(number(&object, "b"), Ok(Some(3300.0)));
        for absent in ["c", "d", "z"] {
            assert_eq!(number(&object, absent), Ok(None));
        }
        for wrong in ["e", "f", "g"] {
            assert!(number(&object, wrong).is_err());
        }
        assert_eq!(first_number(&object, &["z", "c", "b", "a"]), Ok(Some(3300.0)));
    }

    #[test]
    fn flags_are_read_in_every_way_vendors_write_them() {
        let object = json!({"a": "true", "b": false, "c": 1, "d": "disable", "e": "", "f": "maybe", "g": 7});
        assert_eq!(flag(&object, "a"), Ok(Some(true)));
        assert_eq!(flag(&object, "b"), Ok(Some(false)));
        assert_eq!(flag(&object, "c"), Ok(Some(true)));
        assert_eq!(flag(&object, "d"), Ok(Some(false)));
        assert_eq!(flag(&object, "e"), Ok(None));
        assert!(flag(&object, "f").is_err());
        assert!(flag(&object, "g").is_err());
    }

    #[test]
    fn hostile_nesting_is_refused() {
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
        let closed = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse(closed.as_bytes()).is_err());
    }

    #[test]
    fn words_are_one_bounded_line_without_secrets() {
        let text = format!("bad\n\u{7}token abc123 {}", "x".repeat(10_000));
        let words = words(&text, &["abc123", ""]);
        assert!(words.starts_with("bad  token [secret] x"));
        assert!(words.chars().count() <= WORDS);
        assert_eq!(super::words(" \n", &[]), "no reason given");
    }

    #[test]
    fn the_end_of_a_value_is_found_across_pieces() {
        let mut end = JsonEnd::default();
        assert!(!end.feed(br#"{"a":"}\"}","#));
        assert!(!end.feed(br#""b":[{}]"#));
        assert!(end.feed(b"}"));
    }
}
