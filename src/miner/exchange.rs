//! The two exchanges that all drivers are made of: one request over HTTP, and one JSON request on one TCP connection.
//! Each is bounded in size and time; what an answer means is the drivers' business.

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::DriverError;
use super::fields::JsonEnd;
use super::wire::{MAX_REPLY, Place};

/// How much of a refusal is read for its words.
const MAX_REFUSAL: usize = 4096;

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: whole where the status is a success, cut off where it is a refusal.
    pub body: Vec<u8>,
}

/// One request over HTTP under the time limit of the place: connection, answer and body.
///
/// # Errors
/// No connection, no complete answer in time, no HTTP, an answer larger than 1 MiB. A refusal is an answer.
pub async fn over_http(
    place: &Place,
    name: &'static str,
    request: RequestBuilder,
) -> Result<Answer, DriverError> {
    let work = async {
        let failed = |error: reqwest::Error| failure(place, name, &error);
        let mut response = request.send().await.map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let whole = status.is_success();
        let limit = if whole { MAX_REPLY } else { MAX_REFUSAL };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > limit {
                if whole {
                    return Err(place.malformed(name, "it is larger than 1 MiB"));
                }
                body.extend_from_slice(chunk.get(..limit - body.len()).unwrap_or_default());
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body })
    };
    place.within(name, work).await
}

fn failure(place: &Place, name: &'static str, error: &reqwest::Error) -> DriverError {
    if error.is_connect() {
        // The innermost cause is the operating system's words; the outer ones repeat the address.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        place.unreachable(cause)
    } else if error.is_timeout() {
        place.timeout(name)
    } else if error.is_builder() {
        place.malformed(name, "the request cannot be built; check the address")
    } else {
        place.malformed(name, "it is not HTTP, or the connection broke")
    }
}

/// One request on one TCP connection, as cgminer began it: the reply ends with a NUL, with its JSON value or with the
/// connection. Gives its bytes without the NUL.
///
/// # Errors
/// No connection, no complete answer in time, an answer larger than 1 MiB.
pub async fn over_tcp(place: &Place, name: &'static str, request: &[u8]) -> Result<Vec<u8>, DriverError> {
    let work = async {
        let mut stream = place.connect().await?;
        stream.write_all(request).await.map_err(|error| place.broken(name, &error))?;
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
    place.within(name, work).await
}
