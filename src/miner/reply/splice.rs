//! Changing single values in a JSON text and leaving every other byte as it was read: order of keys, blanks, and the
//! way in which numbers are written.
//!
//! Firmware that takes its whole configuration back at once must get back what it gave. A parsed and rewritten
//! document would equal it for a machine that compares values, and may not for one that does not.

use std::ops::Range;

use serde_json::Value;

/// One change: where, by the keys from the outermost object on, and the JSON text that takes the place.
pub struct Change<'c> {
    /// Keys from the outside inwards.
    pub path: &'c [&'c str],
    /// The new value as JSON.
    pub value: String,
}

/// The text with some values replaced. Each place must be there, once.
///
/// # Errors
/// Says what is wrong with the text.
pub fn replace(text: &str, changes: &[Change<'_>]) -> Result<String, String> {
    // The walk below relies on text that is JSON, of bounded depth.
    serde_json::from_str::<Value>(text)
        .map_err(|_| "it is not quite JSON, and writing it back could lose something")?;
    let mut places = Vec::with_capacity(changes.len());
    for change in changes {
        places.push((locate(text, change.path)?, change.value.as_str()));
    }
    places.sort_by_key(|(range, _)| range.start);
    let mut result = String::with_capacity(text.len() + 64);
    let mut end = 0;
    for (range, value) in places {
        let between = text.get(end..range.start).ok_or("two changes overlap")?;
        result.push_str(between);
        result.push_str(value);
        end = range.end;
    }
    result.push_str(text.get(end..).unwrap_or_default());
    Ok(result)
}

/// Where the value at a path stands.
fn locate(text: &str, path: &[&str]) -> Result<Range<usize>, String> {
    let mut range = 0..text.len();
    for key in path {
        range = member(text, range, key)?;
    }
    Ok(range)
}

/// Where the value of a key stands, within the object that fills a range.
fn member(text: &str, object: Range<usize>, wanted: &str) -> Result<Range<usize>, String> {
    let bytes = text.as_bytes().get(..object.end).unwrap_or_default();
    let mut at = blank(bytes, object.start);
    let broken = || format!("`{wanted}` cannot be found in it");
    if bytes.get(at) != Some(&b'{') {
        return Err(format!("what should hold `{wanted}` is not an object"));
    }
    at = blank(bytes, at + 1);
    let mut found = None;
    while bytes.get(at) == Some(&b'"') {
        let key_end = value_end(bytes, at);
        let key: String =
            text.get(at..key_end).and_then(|key| serde_json::from_str(key).ok()).ok_or_else(broken)?;
        at = blank(bytes, key_end);
        if bytes.get(at) != Some(&b':') {
            return Err(broken());
        }
        at = blank(bytes, at + 1);
        let end = value_end(bytes, at);
        if key == wanted && found.replace(at..end).is_some() {
            return Err(format!("`{wanted}` is there twice"));
        }
        at = blank(bytes, end);
        if bytes.get(at) == Some(&b',') {
            at = blank(bytes, at + 1);
        }
    }
    found.ok_or_else(|| format!("`{wanted}` is missing"))
}

/// The first byte from here on that is not blank.
fn blank(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// The byte after the value that begins here.
fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0_u32;
    let (mut in_text, mut escaped) = (false, false);
    for (offset, byte) in bytes.get(from..).unwrap_or_default().iter().enumerate() {
        let here = from + offset;
        if in_text {
            match (escaped, byte) {
                (true, _) => escaped = false,
                (false, b'\\') => escaped = true,
                (false, b'"') => {
                    in_text = false;
                    if depth == 0 {
                        return here + 1;
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return here,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return here + 1;
                }
            }
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return here,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn change<'c>(path: &'c [&'c str], value: &str) -> Change<'c> {
        Change { path, value: value.to_owned() }
    }

    #[test]
    fn everything_else_stays_byte_for_byte() {
        let text = "{ \"z\":1.50 ,\n\t\"mode\" : {\"b\":[1, {\"x\":\"}\\\"\"}],\"x\":\"old\", \"n\":3.20e3}, \"x\":null}\n";
        let changed =
            replace(text, &[change(&["mode", "n"], "2800"), change(&["mode", "x"], "\"new\"")]).unwrap();
        assert_eq!(
            changed,
            "{ \"z\":1.50 ,\n\t\"mode\" : {\"b\":[1, {\"x\":\"}\\\"\"}],\"x\":\"new\", \"n\":2800}, \"x\":null}\n"
        );
    }

    #[test]
    fn a_place_that_is_not_there_or_there_twice_is_refused() {
        for (text, path) in [
            ("{\"a\":1}", &["b"][..]),
            ("{\"a\":1}", &["a", "b"]),
            ("{\"a\":1,\"a\":2}", &["a"]),
            ("{\"a\":1,\"\\u0061\":2}", &["a"]),
            ("[1]", &["a"]),
            ("{\"a\":", &["a"]),
            ("nonsense", &["a"]),
        ] {
            assert!(replace(text, &[change(path, "3")]).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_document_only_the_one_value_differs(
            keys in proptest::collection::btree_map("[a-z\"\\\\ü]{1,4}", -1e9..1e9_f64, 1..8),
            which in any::<proptest::sample::Index>(),
        ) {
            let wanted = keys.keys().nth(which.index(keys.len())).unwrap().clone();
            let document = json!({"outer": keys, "list": [1, "two"]});
            let text = serde_json::to_string_pretty(&document).unwrap();
            // Read back first: the parser may miss the last bit of a number.
            let mut document: Value = serde_json::from_str(&text).unwrap();
            let changed = replace(&text, &[change(&["outer", &wanted], "42")]).unwrap();
            document["outer"][&wanted] = json!(42);
            prop_assert_eq!(serde_json::from_str::<Value>(&changed).unwrap(), document);
        }

        #[test]
        fn any_text_is_changed_or_refused(text in ".{0,120}") {
            let _ = replace(&text, &[change(&["a"], "1")]);
        }
    }
}
