//! The transport that cgminer began: one JSON request on one TCP connection, the answer ends with a NUL, with the JSON
//! value or with the connection. Everything is bounded in size and time.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::DriverError;
use super::fields::{self, JsonEnd};
use super::wire::{MAX_REPLY, Place};

/// One request and its answer.
pub async fn ask(place: &Place, name: &'static str, request: &Value) -> Result<Value, DriverError> {
    let work = async {
        let mut stream = place.connect().await?;
        let bytes = request.to_string();
        stream.write_all(bytes.as_bytes()).await.map_err(|error| place.broken(name, &error))?;
        let mut reply = Vec::new();
        let mut end = JsonEnd::default();
        let mut chunk = [0_u8; 4096];
        loop {
            let count = match stream.read(&mut chunk).await {
                Ok(count) => count,
                // Some firmware resets the connection instead of closing it; what came before counts.
                Err(_) if !reply.is_empty() => 0,
                Err(error) => return Err(place.broken(name, &error)),
            };
            let bytes = chunk.get(..count).unwrap_or_default();
            let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            reply.extend_from_slice(text);
            if reply.len() > MAX_REPLY {
                return Err(place.malformed(name, "it is larger than 1 MiB"));
            }
            let complete = end.feed(text);
            if count == 0 || text.len() < count || complete {
                return Ok(reply);
            }
        }
    };
    let reply = place.within(name, work).await?;
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
