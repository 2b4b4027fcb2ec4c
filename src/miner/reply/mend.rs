//! JSON as miners write it: read strictly first, and with the slips of known firmware forgiven where that fails.
//!
//! Drivers and discovery read every reply with this, so what one of them understands the other understands too. What is
//! forgiven is what firmware is known to get wrong (recorded by the public projects asic-rs, `whatsminer` API 1 and
//! `rpc.rs`, and pyasic, `rpc/base.py`):
//!
//! | Slip | Seen at |
//! |---|---|
//! | a comma too many (`,}`, `[,{`) | btminer, bmminer |
//! | a comma missing between two objects, or before a key | bmminer `stats`, btminer of 2023 |
//! | raw line ends and tabs inside a text, unknown escapes | btminer `version` |
//! | `nan`, `-inf` as numbers | cgminer, Avalon |
//! | a NUL at the end or inside, a byte order mark | most of cgminer's descendants |
//! | pairs in a list (`["110":"2023-…"]`) | Whatsminer API 2.0.4, `error_code` |
//! | text in another encoding | host names, pool names |
//! | something behind the value | replies that overwrite a longer one |
//!
//! What is cut short is never completed: a reading that ends early might lack what makes it true.

use serde_json::{Map, Number, Value};

/// Deeper nesting is refused, as by the strict parser, so that hostile input cannot exhaust the stack.
const DEEPEST: usize = 128;

/// A reply that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Its value.
    pub value: Value,
    /// What had to be mended; nothing for JSON.
    pub mended: Vec<&'static str>,
}

/// Reads a reply.
///
/// # Errors
/// Says what is wrong with it, by place and kind, never in its own words.
pub fn read(bytes: &[u8]) -> Result<Read, String> {
    let error = match serde_json::from_slice(bytes) {
        Ok(value) => return Ok(Read { value, mended: Vec::new() }),
        Err(error) => error,
    };
    let text = String::from_utf8_lossy(bytes);
    let mut parser = Parser { text: &text, at: 0, mended: Vec::new() };
    if text.contains(char::REPLACEMENT_CHARACTER) {
        parser.mend("another encoding");
    }
    if parser.text.starts_with('\u{feff}') {
        parser.at = '\u{feff}'.len_utf8();
        parser.mend("a byte order mark");
    }
    match parser.document() {
        Ok(value) => Ok(Read { value, mended: parser.mended }),
        Err(Fault::Cut) => Err("it is cut short".to_owned()),
        Err(Fault::NoJson) => {
            Err(format!("it is not JSON (line {}, column {})", error.line(), error.column()))
        }
    }
}

/// Why not even the mended text is a value.
enum Fault {
    Cut,
    NoJson,
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    mended: Vec<&'static str>,
}

impl Parser<'_> {
    fn mend(&mut self, what: &'static str) {
        if !self.mended.contains(&what) {
            self.mended.push(what);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that means something, and whether there was a comma before it.
    fn next(&mut self) -> (Option<u8>, bool) {
        let mut commas = 0_u32;
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => {}
                Some(0) => self.mend("a NUL inside"),
                Some(b',') => commas = commas.saturating_add(1),
                byte => {
                    if commas > 1 {
                        self.mend("a comma too many");
                    }
                    return (byte, commas > 0);
                }
            }
            self.at += 1;
        }
    }

    fn document(&mut self) -> Result<Value, Fault> {
        let value = match self.next() {
            (Some(b'{' | b'['), false) => self.value(0)?,
            (None, _) => return Err(Fault::Cut),
            _ => return Err(Fault::NoJson),
        };
        let rest = self.text.get(self.at..).unwrap_or_default();
        if rest.contains('\0') {
            self.mend("a NUL at the end");
        }
        if rest.contains(|letter: char| !matches!(letter, '\0' | ' ' | '\t' | '\r' | '\n')) {
            self.mend("something behind the value");
        }
        Ok(value)
    }

    /// The value that begins here.
    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        if depth >= DEEPEST {
            return Err(Fault::NoJson);
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Value::from),
            Some(_) => self.word(),
            None => Err(Fault::Cut),
        }
    }

    /// A colon and the value behind it.
    fn member(&mut self, depth: usize) -> Result<Value, Fault> {
        match self.next() {
            (Some(b':'), false) => self.at += 1,
            (None, _) => return Err(Fault::Cut),
            _ => return Err(Fault::NoJson),
        }
        match self.next() {
            (_, false) => self.value(depth + 1),
            _ => Err(Fault::NoJson),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        self.at += 1;
        let mut object = Map::new();
        loop {
            let (byte, comma) = self.next();
            match byte {
                Some(b'}') => {
                    if comma {
                        self.mend("a comma too many");
                    }
                    self.at += 1;
                    return Ok(Value::Object(object));
                }
                Some(b'"') => {
                    self.between(object.is_empty(), comma);
                    let key = self.string()?;
                    let value = self.member(depth)?;
                    object.insert(key, value);
                }
                Some(_) => return Err(Fault::NoJson),
                None => return Err(Fault::Cut),
            }
        }
    }

    /// Notes a comma that is there before the first part, or is missing before another.
    fn between(&mut self, first: bool, comma: bool) {
        match (first, comma) {
            (true, true) => self.mend("a comma too many"),
            (false, false) => self.mend("a comma missing"),
            _ => {}
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        self.at += 1;
        let mut list = Vec::new();
        // Pairs, where the list is an object in the wrong brackets.
        let mut pairs = Map::new();
        loop {
            let (byte, comma) = self.next();
            match byte {
                Some(b']') => {
                    if comma {
                        self.mend("a comma too many");
                    }
                    self.at += 1;
                    if !pairs.is_empty() {
                        list.push(Value::Object(pairs));
                    }
                    return Ok(Value::Array(list));
                }
                None => return Err(Fault::Cut),
                Some(next) => {
                    let first = list.is_empty() && pairs.is_empty();
                    self.between(first, comma);
                    // Without a comma only what cannot be anything else: one object or list after another.
                    let joined = matches!(next, b'{' | b'[')
                        && list.last().is_some_and(|last| last.is_object() || last.is_array());
                    if !first && !comma && !joined {
                        return Err(Fault::NoJson);
                    }
                    let value = self.value(depth + 1)?;
                    match value {
                        Value::String(key) if self.colon_follows() => {
                            self.mend("pairs in a list");
                            let value = self.member(depth)?;
                            pairs.insert(key, value);
                        }
                        value => list.push(value),
                    }
                }
            }
        }
    }

    fn colon_follows(&self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        rest.trim_start().starts_with(':')
    }

    /// A text, from its quotation mark on.
    fn string(&mut self) -> Result<String, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find_map(|(place, byte)| match (escaped, byte) {
            (true, _) => {
                escaped = false;
                None
            }
            (false, b'\\') => {
                escaped = true;
                None
            }
            (false, b'"') => Some(place),
            _ => None,
        });
        let end = end.ok_or(Fault::Cut)?;
        self.at += end + 1;
        if let Ok(text) = serde_json::from_str(rest.get(..=end).unwrap_or_default()) {
            return Ok(text);
        }
        self.mend("signs inside a text");
        let mut letters = rest.get(1..end).unwrap_or_default().chars();
        let mut text = String::with_capacity(end);
        while let Some(letter) = letters.next() {
            match letter {
                '\0' => {}
                '\\' => match letters.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(letter @ ('"' | '\\' | '/')) => text.push(letter),
                    Some(letter) => text.extend(['\\', letter]),
                    None => {}
                },
                letter => text.push(letter),
            }
        }
        Ok(text)
    }

    /// A number, a truth value or `null`, without quotation marks.
    fn word(&mut self) -> Result<Value, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find([',', ':', '"', '{', '}', '[', ']', ' ', '\t', '\r', '\n', '\0']);
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        if self.at >= self.text.len() {
            return Err(Fault::Cut);
        }
        if let Ok(value) = serde_json::from_str(word) {
            return Ok(value);
        }
        // "-nan(ind)" and "1.#INF" are how another C library writes them.
        let bare = word.trim_start_matches(['-', '+']).to_ascii_lowercase();
        if ["nan", "inf", "infinity"].contains(&bare.as_str())
            || bare.starts_with("nan(")
            || bare.starts_with("1.#")
        {
            self.mend("a number that is none");
            return Ok(Value::Null);
        }
        let plain =
            word.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.'));
        let number = word.parse().ok().filter(|_| plain).and_then(Number::from_f64);
        self.mend("a number in another notation");
        number.map(Value::Number).ok_or(Fault::NoJson)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mended(text: &str) -> Value {
        let read = read(text.as_bytes()).unwrap();
        assert!(!read.mended.is_empty(), "{text}: nothing was said to be mended");
        read.value
    }

    #[test]
    fn the_slips_of_known_firmware_are_mended_and_told() {
        let cases = [
            ("{\"a\":1}\0", json!({"a": 1})),
            ("{\"a\":1\0,\"b\":\"x\0y\"}", json!({"a": 1, "b": "xy"})),
            ("\u{feff}{\"a\":1}", json!({"a": 1})),
            ("{\"STATS\":[{\"a\":1}{\"b\":2}],\"id\":1}", json!({"STATS": [{"a": 1}, {"b": 2}], "id": 1})),
            ("{\"STATS\":[,{\"a\":1}]}", json!({"STATS": [{"a": 1}]})),
            ("{\"a\":{\"b\":1,},}\r\n", json!({"a": {"b": 1}})),
            ("{\"a\":\"line\nand\ttab \\q\"}", json!({"a": "line\nand\ttab \\q"})),
            ("{\"sn\":\"x\"\"temp0\":1,\"b\":2}", json!({"sn": "x", "temp0": 1, "b": 2})),
            (
                r#"{"a":nan,"b":-inf,"c":-nan,"d":"x:nan","e":-nan(ind),"f":1.#INF}"#,
                json!({"a": null, "b": null, "c": null, "d": "x:nan", "e": null, "f": null}),
            ),
            (
                "{\"error_code\":[\"110\":\"2023-01-01\",\"111\":\"x\"]}",
                json!({"error_code": [{"110": "2023-01-01", "111": "x"}]}),
            ),
            ("{\"a\":007,\"b\":+5,\"c\":.5,\"d\":5.}", json!({"a": 7.0, "b": 5.0, "c": 0.5, "d": 5.0})),
            ("{\"a\":1}\0{\"an older\", longer one", json!({"a": 1})),
            ("{\n}\u{c}", json!({})),
        ];
        for (text, value) in cases {
            assert_eq!(mended(text), value, "{text}");
        }
        let read = read(b"{\"Msg\":\"caf\xe9\",\"a\":1}").unwrap();
        assert_eq!((read.value.pointer("/a"), read.mended), (Some(&json!(1)), vec!["another encoding"]));
    }

    #[test]
    fn what_is_cut_short_or_no_json_at_all_is_refused() {
        for text in ["", "{", "{\"a\":\"\0", "{\"a\":1", "{\"a\":12", "[{\"a\":1},", "\0"] {
            assert_eq!(read(text.as_bytes()), Err("it is cut short".to_owned()), "{text:?}");
        }
        for text in [
            "HTTP/1.1 400 Bad Request",
            "Socket connect failed: Connection refused",
            "{\"a\":none}",
            "{\"a\" 1}",
            "{a:1}",
            "[1 2]",
            "[\"a\" \"b\"]",
            "{\"a\":1 2}",
            "{\"a\":,1}",
            "nan",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(read(&[b'{', 0xff, b'}']).is_err());
    }

    #[test]
    fn hostile_nesting_is_refused() {
        for deep in [
            "[".repeat(100_000),
            "{\"a\":[,".repeat(10_000),
            format!("{}{},", "[".repeat(500), "]".repeat(500)),
        ] {
            assert!(read(deep.as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn json_is_read_as_it_is(value in crate::miner::wire::plain_http::testing::any_json(&["a", "b\"", "c\n"])) {
            let text = value.to_string();
            let strict: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read(text.as_bytes()), Ok(Read { value: strict.clone(), mended: Vec::new() }));
            // Forgiving as it is, the other way gives the same.
            if strict.is_object() || strict.is_array() {
                prop_assert_eq!(read(format!("{text}\0").as_bytes()).map(|read| read.value), Ok(strict));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_near_json_is_read_or_refused(text in "[\\[\\]{},:\"\\\\ 0-9a-n\\x00\\x0b.-]{0,60}", after in "[ \\x00\\x0b}]{0,2}") {
            for text in [text.clone(), format!("{{\"a\":[{text}]}}{after}")] {
                if let Ok(read) = read(text.as_bytes()) {
                    let strict = serde_json::from_str::<Value>(&text).is_ok();
                    prop_assert_eq!(read.mended.is_empty(), strict, "{}: {:?}", text, read.mended);
                }
            }
        }
    }
}
