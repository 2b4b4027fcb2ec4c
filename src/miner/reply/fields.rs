//! Reading values out of vendors' JSON, for drivers and for discovery.
//!
//! Vendors write numbers as text, with units, leave fields out, and change shapes between firmware versions. Each field is
//! read by itself: one that is there and is not what it should be counts as not there now, is named in the log at debug
//! level, and spoils nothing else.

use serde_json::Value;

use crate::control::snapshot::Measured;
use crate::miner::reply::mend;
use crate::units::{Hashrate, Watts};

/// Longest text that is taken over from a miner into an error or a log line, in characters.
const WORDS: usize = 160;
/// No miner draws more, in watts; a larger number is nonsense. The largest on the market draw about 12 kW.
pub const MOST_WATTS: f64 = 100e3;
/// No miner hashes faster, in hashes a second; a larger number is nonsense, or in another unit than its name says.
pub const MOST_HASHES: f64 = 100e15;
/// What a counter of 32 bits shows that was never set: Whatsminers with API 3 write it for a few seconds after a start.
const NEVER_SET: f64 = 4_294_967_295.0;

/// Reads a reply, mended where known firmware writes what is no JSON (see [`mend`]).
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    let read = mend::read(bytes)?;
    if !read.mended.is_empty() {
        tracing::debug!(mended = %read.mended.join(", "), "a reply was not quite JSON");
    }
    Ok(read.value)
}

/// A finite number, also where it is written as text, with or without a unit that does not scale it (`"3250 W"`), and in
/// kilowatts. Anything else is none.
pub fn as_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => {
            let text = text.trim();
            let end =
                text.find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, '.' | '-' | '+'));
            let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
            let factor = match unit.trim() {
                "" | "W" | "w" | "watt" | "watts" | "Watt" | "Watts" | "s" | "sec" | "%" | "MHz" => Some(1.0),
                "kW" | "KW" => Some(1e3),
                _ => None,
            };
            match factor {
                Some(factor) => digits.parse().ok().map(|number: f64| number * factor),
                // "3.2e3"
                None => text.parse().ok(),
            }
        }
        value => value.as_f64(),
    };
    number.filter(|number| number.is_finite() && (number - NEVER_SET).abs() > 0.5)
}

/// Whether any of these fields is there at all, whatever stands in it.
pub fn is_there(object: &Value, keys: &[&str]) -> bool {
    let empty = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
    keys.iter().any(|key| object.get(key).is_some_and(|value| !empty(value)))
}

/// A number, also where it is written as text. Absent, `null`, empty and anything else than a number give `None`.
pub fn number(object: &Value, key: &str) -> Option<f64> {
    let number = as_number(object.get(key)?);
    if number.is_none() && is_there(object, &[key]) {
        tracing::debug!(field = key, "is not a number and counts as absent");
    }
    number
}

/// The first of several fields that is there and is a number.
pub fn first_number(object: &Value, keys: &[&str]) -> Option<f64> {
    keys.iter().find_map(|key| number(object, key))
}

/// The number with which a device confirms what it was told. It may be left out; what is there must be one, for an answer
/// that cannot be read is no yes.
///
/// # Errors
/// Says what is wrong with it.
pub fn confirmed(reply: &Value, key: &str) -> Result<Option<f64>, String> {
    match number(reply, key) {
        None if is_there(reply, &[key]) => Err(format!("`{key}` is not a number")),
        number => Ok(number),
    }
}

/// A truth value in any of the ways in which vendors write one. Anything else gives `None`.
pub fn flag(object: &Value, key: &str) -> Option<bool> {
    let flag = match object.get(key)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "enable" | "enabled" | "yes" | "on" => Some(true),
            "false" | "0" | "disable" | "disabled" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    };
    if flag.is_none() && is_there(object, &[key]) {
        tracing::debug!(field = key, "is neither true nor false and counts as absent");
    }
    flag
}

/// A draw in watts. Negative numbers are what devices write for "not now", and no miner draws more than [`MOST_WATTS`];
/// an absent one is unsupported, or, `for_now`, unavailable.
pub fn watts(value: Option<f64>, for_now: bool) -> Measured<Watts> {
    measured(value.map(|watts| if watts > MOST_WATTS { -1.0 } else { watts }), for_now, Watts::saturating)
}

/// As [`watts`], for firmware that says 0 where nothing was measured: what answers draws something.
pub fn live_watts(value: Option<f64>, for_now: bool) -> Measured<Watts> {
    watts(value.map(|watts| if watts > 0.0 { watts } else { -1.0 }), for_now)
}

/// A hashrate, from hashes a second; bounded and told apart as [`watts`].
pub fn hashes(value: Option<f64>, for_now: bool) -> Measured<Hashrate> {
    measured(value.map(|rate| if rate > MOST_HASHES { -1.0 } else { rate }), for_now, Hashrate::saturating)
}

/// A reading that is never negative.
pub fn measured<T>(value: Option<f64>, for_now: bool, unit: impl Fn(f64) -> T) -> Measured<T> {
    match value {
        Some(value) if value >= 0.0 => Measured::Value(unit(value)),
        Some(_) => Measured::Unavailable,
        None if for_now => Measured::Unavailable,
        None => Measured::Unsupported,
    }
}

/// The hashrate among several averages, in hashes a second, from the shortest on: the first that does not contradict the
/// longest one. Firmware writes one of them in another unit than its name says (a Whatsminer's `HS RT` beside `MHS av`):
/// then the two differ by 10⁶, and only the long one, whose name tells its unit everywhere, is taken.
pub fn agreed(rates: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let rates: Vec<f64> =
        rates.into_iter().flatten().filter(|rate| (0.0..=MOST_HASHES).contains(rate)).collect();
    let Some(longest) = rates.iter().rev().copied().find(|rate| *rate > 0.0) else {
        return rates.first().copied();
    };
    let fits = |rate: f64| {
        let apart = (rate / longest).log10();
        // What falls to nothing after a stop is far below its average, too, but passes this band in a moment.
        apart < 5.5 && !(-6.5..-5.5).contains(&apart)
    };
    let taken = rates.iter().copied().find(|rate| *rate <= 0.0 || fits(*rate));
    if rates.iter().any(|rate| *rate > 0.0 && !fits(*rate)) {
        tracing::debug!("two of its hashrates contradict each other by 10^6");
    }
    taken
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
    let shown = clean.chars().map(|character| match crate::line::shown(character) {
        '\u{fffd}' => ' ',
        shown => shown,
    });
    let mut line: String = shown.take(WORDS).collect();
    if clean.chars().nth(WORDS).is_some() {
        line.push('…');
    }
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
    /// Whether a value has begun and not ended.
    pub const fn is_within(&self) -> bool {
        self.depth > 0
    }

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
    fn numbers_may_be_text_with_a_unit_and_absence_is_not_zero() {
        let object = json!({"a": 3200, "b": "3300", "c": "", "d": null, "e": "watts", "f": [1], "g": "inf", "h": "nan",
            "i": "3250 W", "j": "58.94W", "k": "3.2 kW", "l": "1e3", "m": 4_294_967_295_u32, "n": "12 GH/s", "o": "0x10"});
        let read = |key: &str| number(&object, key);
        assert_eq!(["a", "b", "i", "j", "l"].map(read), [3200.0, 3300.0, 3250.0, 58.94, 1000.0].map(Some));
        assert!(read("k").is_some_and(|watts| (watts - 3200.0).abs() < 1e-6));
        for none in ["c", "d", "z", "e", "f", "g", "h", "m", "n", "o"] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(first_number(&object, &["z", "c", "e", "b", "a"]), Some(3300.0));
        assert!(is_there(&object, &["z", "e"]) && !is_there(&object, &["z", "c", "d"]));
    }

    #[test]
    fn flags_are_read_in_every_way_vendors_write_them() {
        let object = json!({"a": "true", "b": false, "c": 1, "d": "disable", "e": "", "f": "maybe", "g": 7, "h": "on"});
        let read = |key: &str| flag(&object, key);
        assert_eq!(["a", "b", "c", "d", "h"].map(read), [true, false, true, false, true].map(Some));
        assert_eq!(["e", "f", "g", "z"].map(read), [None; 4]);
    }

    #[test]
    fn a_reading_that_no_miner_has_is_none() {
        assert_eq!(watts(Some(3_200.0), false), Measured::Value(Watts::whole(3_200)));
        assert_eq!(watts(Some(0.0), false), Measured::Value(Watts::ZERO));
        assert_eq!(live_watts(Some(0.0), false), Measured::Unavailable);
        assert_eq!(watts(Some(3.2e6), false), Measured::Unavailable);
        assert_eq!((watts(None, false), watts(None, true)), (Measured::Unsupported, Measured::Unavailable));
        assert_eq!(hashes(Some(170.8e18), false), Measured::Unavailable);
        assert_eq!(hashes(Some(170.8e12), false), Measured::Value(Hashrate::terahashes(170.8)));
    }

    #[test]
    fn a_hashrate_that_contradicts_another_by_a_million_is_not_taken() {
        let good = Some(170.8e12);
        assert_eq!(agreed([Some(171.0e12), good]), Some(171.0e12));
        assert_eq!(agreed([Some(170.8e18), good]), good, "too high");
        assert_eq!(agreed([Some(170.8e6), good]), good, "too low");
        assert_eq!(agreed([Some(0.5e6), Some(0.5e12)]), Some(0.5e12), "a small one");
        assert_eq!(agreed([Some(0.0), good]), Some(0.0), "stopped");
        assert_eq!(agreed([Some(3e9), good]), Some(3e9), "falling");
        assert_eq!(agreed([Some(170.8e12), Some(0.004e12)]), good, "just woken");
        assert_eq!((agreed([]), agreed([None, Some(-1.0)])), (None, None));
        assert_eq!(agreed([Some(0.0), Some(0.0)]), Some(0.0));
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
        assert!(words.chars().count() <= WORDS + 1 && words.ends_with('…'), "what is cut says so");
        let pinned = format!("unexpected error: not the pinned certificate: sha256:{}", "0a".repeat(32));
        assert_eq!(super::words(&pinned, &[]), pinned);
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
