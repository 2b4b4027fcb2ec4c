//! One exchange with a host: bounded in time by the caller, in size here. Whatever goes wrong is an answer too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::evidence::{Page, Reply};
use crate::miner::reply::fields;
use crate::miner::wire::exchange::{self, Unread};
use crate::miner::wire::frames;

/// Largest answer that is read. The longest on record are about 30 kB.
const MOST_BYTES: usize = 128 * 1024;
/// How much of an answer that is no JSON is kept, in characters.
const NOISE: usize = 200;
/// What a knock at a port found.
#[derive(Debug)]
pub(super) enum Knock {
    /// Somebody listens.
    Open(TcpStream),
    /// The host is there, and nobody listens.
    Refused,
    /// Nothing came back.
    Silent,
    /// This machine could not even try: out of sockets or ports.
    Starved,
}

/// Opens a connection.
pub(super) async fn knock(ip: IpAddr, port: u16, limit: Duration) -> Knock {
    let connecting = TcpStream::connect(SocketAddr::new(ip, port));
    match tokio::time::timeout(limit, connecting).await {
        Ok(Ok(stream)) => {
            // Failing to do so costs a moment, nothing else.
            let _ = stream.set_nodelay(true);
            Knock::Open(stream)
        }
        Ok(Err(error)) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset => Knock::Refused,
            std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::OutOfMemory => Knock::Starved,
            // EMFILE and ENFILE, for which there is no stable kind.
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => Knock::Starved,
            _ => Knock::Silent,
        },
        Err(_) => Knock::Silent,
    }
}

/// One command of the cgminer API, read as the drivers read it.
pub(super) async fn api(mut stream: TcpStream, command: &str) -> Reply {
    let request = json!({ "command": command }).to_string();
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Reply::Nothing;
    }
    match exchange::reply(&mut stream, MOST_BYTES).await {
        Ok(bytes) if bytes.is_empty() => Reply::Nothing,
        Ok(bytes) => data(&bytes),
        Err(Unread::TooLarge(bytes)) => noise(&bytes),
        Err(Unread::Broken(_)) => Reply::Nothing,
    }
}

fn data(bytes: &[u8]) -> Reply {
    fields::parse(bytes).map_or_else(|_| noise(bytes), Reply::Data)
}

fn noise(bytes: &[u8]) -> Reply {
    let head = bytes.get(..bytes.len().min(4 * NOISE)).unwrap_or_default();
    Reply::Noise(String::from_utf8_lossy(head).chars().take(NOISE).collect())
}

/// One command of Whatsminer API 3, behind a length of four bytes, little end first.
pub(super) async fn framed(mut stream: TcpStream, command: &str, parameter: Option<&str>) -> Reply {
    let body = match parameter {
        Some(parameter) => json!({ "cmd": command, "param": parameter }),
        None => json!({ "cmd": command }),
    }
    .to_string();
    let Ok(frame) = frames::frame(&body) else { return Reply::Nothing };
    if stream.write_all(&frame).await.is_err() {
        return Reply::Nothing;
    }
    match frames::read(&mut stream, MOST_BYTES).await {
        Ok(bytes) => data(&bytes),
        Err(frames::Unread::TooLarge) => noise(b"a frame that is too large"),
        Err(_) => Reply::Nothing,
    }
}

/// Sends a request and reads the beginning of the answer.
pub(super) async fn http(request: reqwest::RequestBuilder) -> Reply {
    let Ok(mut response) = request.send().await else {
        return Reply::Nothing;
    };
    let header = |name: &str| {
        let value = response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.chars().take(1_024).collect::<String>()
    };
    let (challenge, location) = (header("www-authenticate"), header("location"));
    let status = response.status().as_u16();
    let mut bytes: Vec<u8> = Vec::new();
    let mut whole = true;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= MOST_BYTES => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Ok(Some(_)) | Err(_) => {
                whole = false;
                break;
            }
        }
    }
    let json = if whole { fields::parse(&bytes).ok() } else { None };
    // Of JSON the text is not needed a second time.
    let body = if json.is_some() { String::new() } else { String::from_utf8_lossy(&bytes).into_owned() };
    Reply::Page(Page { status, challenge, location, body, json })
}

/// The HTTP client of a scan: no redirects, no proxy, nothing kept open.
///
/// # Errors
/// When it cannot be built, which is a fault of the system.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    crate::tls::client(false).pool_max_idle_per_host(0).build()
}
