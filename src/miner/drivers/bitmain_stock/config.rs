//! The miner's whole configuration, of which one field is changed and all else stays byte for byte as it was read.
//!
//! `set_miner_conf.cgi` takes the configuration as a whole, pools included. It reads the mode from `miner-mode` and the
//! frequency level from `freq-level`, while `get_miner_conf.cgi` shows them as `bitmain-work-mode` and
//! `bitmain-freq-level` (seen on firmware of December 2022, asic-rs #245, #249, #312); so a missing one of the first
//! pair is added, with the new mode written as the one that is there, and with the level exactly as read. Nothing is parsed and written anew: the text
//! that came is edited where the mode stands.

use std::ops::Range;

use serde_json::Value;

use crate::miner::reply::fields;

/// The keys under which the mode is read and written.
const MODES: [&str; 2] = ["miner-mode", "bitmain-work-mode"];

/// What a miner is set to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Hash at full power.
    Normal,
    /// Stop hashing.
    Sleep,
    /// More than full power, on some models.
    High,
    /// Less than full power; how much less the firmware does not say.
    Low,
}

impl Mode {
    /// As the firmware counts them.
    pub const fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Sleep => 1,
            Self::High => 2,
            Self::Low => 3,
        }
    }

    /// The mode of a number or a number as text.
    pub fn read(value: &Value) -> Option<Self> {
        let number = fields::as_number(value)?;
        [Self::Normal, Self::Sleep, Self::High, Self::Low]
            .into_iter()
            .find(|mode| (f64::from(mode.number()) - number).abs() < 1e-9)
    }

    /// The mode of a configuration. `miner-mode` is the key that the firmware heeds.
    pub fn of(config: &Value) -> Option<Self> {
        MODES.iter().find_map(|key| config.get(*key)).and_then(Self::read)
    }
}

/// A configuration that was read.
#[derive(Clone, PartialEq)]
pub struct Config {
    bytes: Vec<u8>,
    mode: Mode,
}

impl Config {
    /// Takes what `get_miner_conf.cgi` gave.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value = fields::parse(bytes)?;
        let object = value.as_object().ok_or("it is not an object")?;
        if !MODES.iter().any(|key| object.contains_key(*key)) {
            return Err(
                "it has neither `miner-mode` nor `bitmain-work-mode`: firmware without modes".to_owned()
            );
        }
        let mode = Mode::of(&value).ok_or("its mode is not a number from 0 to 3")?;
        Ok(Self { bytes: bytes.to_vec(), mode })
    }

    /// The mode in force.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The same with another mode. A mode that has to be added is written as the one that is there, as text or as a number;
    /// `other` writes all of them the other way, for firmware that refuses the first.
    ///
    /// # Errors
    /// Says why it is not fit to be written back: what is not complete would wipe the pools (a firmware that has just
    /// started answers so), and what is not quite JSON was mended for reading alone.
    pub fn with(&self, mode: Mode, other: bool) -> Result<String, String> {
        let value: Value = serde_json::from_slice(&self.bytes).map_err(
            |_| "it came as something that is not quite JSON, and writing it back could lose something",
        )?;
        let text = std::str::from_utf8(&self.bytes).map_err(|_| "it is not UTF-8")?;
        let has_pool = value.get("pools").and_then(Value::as_array).is_some_and(|pools| {
            pools.iter().any(|pool| fields::text(pool, "url").is_some_and(|url| !url.trim().is_empty()))
        });
        if !has_pool {
            return Err("it came without pools, and writing it back would wipe them".to_owned());
        }
        if is_masked(&value) {
            return Err("it came with masked fields, and writing it back would lose them".to_owned());
        }
        let members = members(text).ok_or("its fields cannot be told apart")?;
        let mut edited = String::with_capacity(text.len() + 64);
        let mut done = 0;
        let mut level = None;
        let (mut has_mode, mut has_level) = (false, false);
        let mut written = String::new();
        for (key, place) in &members {
            let raw = text.get(place.clone()).unwrap_or_default();
            match key.as_str() {
                "bitmain-freq-level" => level = Some(raw),
                "freq-level" => has_level = true,
                key if MODES.contains(&key) => {
                    has_mode |= key == "miner-mode";
                    edited.push_str(text.get(done..place.start).unwrap_or_default());
                    // Text stays text and a number stays a number.
                    let quote = if raw.starts_with('"') != other { "\"" } else { "" };
                    written = format!("{quote}{}{quote}", mode.number());
                    edited.push_str(&written);
                    done = place.end;
                }
                _ => {}
            }
        }
        let end = text.trim_end().len().saturating_sub(1);
        edited.push_str(text.get(done..end).unwrap_or_default());
        let tail = text.get(end..).unwrap_or_default();
        if !has_mode {
            edited.push_str(&format!(",\"miner-mode\":{written}"));
        }
        if let (Some(level), false) = (level, has_level) {
            edited.push_str(&format!(",\"freq-level\":{level}"));
        }
        edited.push_str(tail);
        Ok(edited)
    }
}

/// Whether a value holds text that only stands for another, as some web servers hide passwords.
fn is_masked(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            text.chars().count() >= 3 && text.chars().all(|letter| matches!(letter, '*' | '•'))
        }
        Value::Array(list) => list.iter().any(is_masked),
        Value::Object(object) => object.values().any(is_masked),
        _ => false,
    }
}

/// The members of the outermost object of a valid JSON text: key and place of the value.
fn members(text: &str) -> Option<Vec<(String, Range<usize>)>> {
    let mut found = Vec::new();
    let (mut depth, mut in_text, mut escaped) = (0_u32, false, false);
    // Where the latest text of the outermost level lies, which is a key if a colon follows.
    let mut latest = None;
    let mut opened = 0;
    let mut key: Option<(String, usize)> = None;
    for (place, byte) in text.bytes().enumerate() {
        if in_text {
            match (escaped, byte) {
                (true, _) => escaped = false,
                (false, b'\\') => escaped = true,
                (false, b'"') => {
                    in_text = false;
                    if depth == 1 && key.is_none() {
                        latest = Some(opened..place + 1);
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                in_text = true;
                opened = place;
            }
            b':' if depth == 1 && key.is_none() => {
                let raw = text.get(latest.take()?)?;
                key = Some((serde_json::from_str(raw).ok()?, place + 1));
            }
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' => {
                if depth == 1
                    && let Some((key, start)) = key.take()
                {
                    let raw = text.get(start..place)?;
                    let start = start + (raw.len() - raw.trim_start().len());
                    found.push((key, start..start + raw.trim().len()));
                }
                if byte != b',' {
                    depth = depth.checked_sub(1)?;
                }
            }
            _ => {}
        }
    }
    (depth == 0 && !in_text).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POOLS: &str =
        r#""pools": [ {"url": "stratum+tcp://a.example:1", "user": "u\"}],{", "pass": "p,q"} ]"#;

    fn edited(text: &str, mode: Mode) -> String {
        Config::parse(text.as_bytes()).unwrap().with(mode, false).unwrap()
    }

    #[test]
    fn only_the_mode_changes_and_every_other_byte_stays() {
        let text = format!("{{\n {POOLS} ,\n\t\"bitmain-work-mode\" : \"0\", \"x\":1.50, \"y\": 1e3}}\n");
        let expected = format!(
            "{{\n {POOLS} ,\n\t\"bitmain-work-mode\" : \"1\", \"x\":1.50, \"y\": 1e3,\"miner-mode\":\"1\"}}\n"
        );
        assert_eq!(edited(&text, Mode::Sleep), expected);
    }

    #[test]
    fn the_kind_of_a_value_stays_and_the_level_goes_under_both_names() {
        let text = format!("{{{POOLS},\"miner-mode\":0,\"bitmain-freq-level\":\"90\"}}");
        let expected =
            format!("{{{POOLS},\"miner-mode\":3,\"bitmain-freq-level\":\"90\",\"freq-level\":\"90\"}}");
        assert_eq!(edited(&text, Mode::Low), expected);
        let both = format!("{{\"freq-level\":100,\"miner-mode\":\"1\",{POOLS},\"bitmain-work-mode\":1}}");
        let expected = format!("{{\"freq-level\":100,\"miner-mode\":\"0\",{POOLS},\"bitmain-work-mode\":0}}");
        assert_eq!(edited(&both, Mode::Normal), expected);
        let other = Config::parse(both.as_bytes()).unwrap().with(Mode::Normal, true).unwrap();
        let expected = format!("{{\"freq-level\":100,\"miner-mode\":0,{POOLS},\"bitmain-work-mode\":\"0\"}}");
        assert_eq!(other, expected);
    }

    #[test]
    fn a_configuration_that_would_lose_something_is_not_written() {
        for (pools, part) in [
            (r#""pools":[]"#, "pools"),
            (r#""pools":[{"url":"","user":"","pass":""}]"#, "pools"),
            (r#""pools":"none""#, "pools"),
            (r#""other":1"#, "pools"),
            (r#""pools":[{"url":"stratum+tcp://a.example:1","pass":"****"}]"#, "masked"),
        ] {
            let config = Config::parse(format!("{{{pools},\"miner-mode\":0}}").as_bytes()).unwrap();
            let reason = config.with(Mode::Sleep, false).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
        for text in ["[]", "{}", "{", "{\"miner-mode\":9}", "{\"miner-mode\":[]}", "\u{feff}{}"] {
            assert!(Config::parse(text.as_bytes()).is_err(), "{text}");
        }
        // What had to be mended is read, and never written.
        for bytes in [
            format!("{{{POOLS},\"miner-mode\":1,}}").into_bytes(),
            [POOLS.as_bytes(), b",\"miner-mode\":1,\"a\":\"\xff\"}"].concat(),
        ] {
            let bytes = if bytes.starts_with(b"{") { bytes } else { [b"{", &bytes[..]].concat() };
            let config = Config::parse(&bytes).unwrap();
            assert_eq!(config.mode(), Mode::Sleep);
            assert!(config.with(Mode::Normal, false).unwrap_err().contains("not quite JSON"));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map("[ -~]{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_else_a_configuration_holds_it_is_kept(
            extra in proptest::collection::hash_map("[a-z\"\\\\{}:,]{1,8}", any_json(), 0..6),
            pretty in any::<bool>(),
        ) {
            let mut object: serde_json::Map<String, Value> = extra.into_iter().collect();
            object.insert("pools".into(), serde_json::json!([{"url": "stratum+tcp://a.example:1"}]));
            object.insert("bitmain-work-mode".into(), "0".into());
            let value = Value::Object(object.clone());
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let config = Config::parse(text.unwrap().as_bytes()).unwrap();
            prop_assert_eq!(config.mode(), Mode::Normal);
            if let Ok(edited) = config.with(Mode::Sleep, false) {
                let after: Value = serde_json::from_str(&edited).unwrap();
                object.insert("bitmain-work-mode".into(), "1".into());
                object.insert("miner-mode".into(), "1".into());
                prop_assert_eq!(after, Value::Object(object));
            }
        }

        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(config) = Config::parse(&bytes) {
                let _ = config.with(Mode::Low, true);
            }
        }
    }
}
