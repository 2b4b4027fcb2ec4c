//! The two exchanges that all drivers are made of: one request over HTTP, and one JSON request on one TCP connection.
//! Each is bounded in size and time; what an answer means is the drivers' business.

use std::io;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::clock::Moment;
use crate::miner::DriverError;
use crate::miner::reply::fields::JsonEnd;
use crate::miner::wire::http;
use crate::miner::wire::{MAX_REPLY, Place};

/// How much of a refusal is read for its words.
pub const MAX_REFUSAL: usize = 4096;

/// After a 403 no other login is made because of one for so long.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

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

/// When a login was last renewed because of a 403.
#[derive(Debug, Default)]
pub struct Renewal(Option<Moment>);

impl Renewal {
    /// Whether an answer refuses the login that its request came with, so that the request was not carried out and may be
    /// repeated with a new one. 401 does. 403 may mean more than that: it does where the login is one of `before`, for it may
    /// have ended, or be that of before a restart of the device; and once a minute at the most.
    pub fn is_due(&mut self, status: StatusCode, before: bool, now: Moment) -> bool {
        let forbidden = status == StatusCode::FORBIDDEN && before;
        let due = forbidden && self.0.is_none_or(|at| now.since(at) >= RENEW_AGAIN);
        if due {
            self.0 = Some(now);
        }
        due || status == StatusCode::UNAUTHORIZED
    }
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
    place.within(name, http::exchange(place, name, request)).await
}

/// One request on one TCP connection, as cgminer began it. Gives the bytes of the reply without the NULs.
///
/// # Errors
/// No connection, no complete answer in time, an answer larger than 1 MiB.
pub async fn over_tcp(place: &Place, name: &'static str, request: &[u8]) -> Result<Vec<u8>, DriverError> {
    let work = async {
        let mut stream = place.connect().await?;
        stream.write_all(request).await.map_err(|error| place.broken(name, &error))?;
        reply(&mut stream, MAX_REPLY).await.map_err(|unread| match unread {
            Unread::Broken(error) => place.broken(name, &error),
            Unread::TooLarge(_) => place.malformed(name, "it is larger than 1 MiB"),
        })
    };
    place.within(name, work).await
}

/// Why there is no reply.
#[derive(Debug)]
pub enum Unread {
    /// The connection broke before a byte of it.
    Broken(io::Error),
    /// It is larger than was allowed; what came so far.
    TooLarge(Vec<u8>),
}

/// Reads one reply of the cgminer API: it ends with its JSON value, with the connection, or with a NUL that is not within
/// a value (some firmware writes NULs inside). Gives its bytes without NULs.
///
/// # Errors
/// [`Unread`].
pub async fn reply(stream: &mut (impl AsyncRead + Unpin), most: usize) -> Result<Vec<u8>, Unread> {
    let mut reply = Vec::new();
    let mut end = JsonEnd::default();
    let mut chunk = [0_u8; 4096];
    loop {
        let count = match stream.read(&mut chunk).await {
            Ok(count) => count,
            // Some firmware resets the connection instead of closing it; what came before counts.
            Err(_) if !reply.is_empty() => 0,
            Err(error) => return Err(Unread::Broken(error)),
        };
        if count == 0 {
            return Ok(reply);
        }
        let mut rest = chunk.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let nul = rest.contains(&0).then(|| rest.iter().position(|byte| *byte == 0)).flatten();
            let (text, after) = rest.split_at(nul.unwrap_or(rest.len()));
            reply.extend_from_slice(text);
            if end.feed(text) || (nul.is_some() && !reply.is_empty() && !end.is_within()) {
                return Ok(reply);
            }
            rest = after.get(1..).unwrap_or_default();
        }
        if reply.len() > most {
            return Err(Unread::TooLarge(reply));
        }
    }
}
