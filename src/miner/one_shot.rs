//! The transport that cgminer began: one JSON request on one TCP connection, the answer ends with a NUL, with the JSON
//! value or with the connection. Everything is bounded in size and time.

use serde_json::Value;

use super::fields;
use super::wire::Place;
use super::{DriverError, exchange};

/// One request and its answer.
pub async fn ask(place: &Place, name: &'static str, request: &Value) -> Result<Value, DriverError> {
    let reply = exchange::over_tcp(place, name, request.to_string().as_bytes()).await?;
    parse(&reply).map_err(|reason| place.malformed(name, reason))
}

/// Reads a reply. cgminer prints numbers that are none as `nan` and `inf`, which JSON does not have: they count as
/// absent.
fn parse(reply: &[u8]) -> Result<Value, String> {
    let error = match fields::parse(reply) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let mut text = String::from_utf8(reply.to_vec()).map_err(|_| error.clone())?;
    for word in ["-nan", "nan", "-inf", "inf"] {
        text = text.replace(&format!("\":{word}"), "\":null");
    }
    fields::parse(text.as_bytes()).map_err(|_| error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_none_count_as_absent() {
        let value = parse(br#"{"a":nan,"b":-inf,"c":-nan,"d":"x:nan","e":1}"#).unwrap();
        assert_eq!(value, serde_json::json!({"a": null, "b": null, "c": null, "d": "x:nan", "e": 1}));
        assert!(parse(b"{\"a\":none}").is_err());
        assert!(parse(b"\xff\xfe").is_err());
    }
}
