//! One exchange with a host: bounded in time by the caller, in size here. Whatever goes wrong is an answer too.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::evidence::{Page, Reply};

/// Largest answer that is read. The longest on record are about 30 kB.
const MOST_BYTES: usize = 128 * 1024;
/// How much of an answer that is no JSON is kept, in characters.
const NOISE: usize = 200;
/// How often an answer that has not ended yet is tried as JSON.
const MOST_TRIALS: u32 = 64;

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

/// One command of the cgminer API: JSON in, JSON out, ended by the other side closing, by a NUL, or by its last brace.
pub(super) async fn api(mut stream: TcpStream, command: &str) -> Reply {
    let request = json!({ "command": command }).to_string();
    if stream.write_all(request.as_bytes()).await.is_err() {
        return Reply::Nothing;
    }
    let mut bytes: Vec<u8> = Vec::new();
    let mut part = [0_u8; 4096];
    let mut trials = 0;
    loop {
        let count = match stream.read(&mut part).await {
            Ok(0) => break,
            Ok(count) => count,
            // Some firmware resets the connection once it has answered.
            Err(_) if !bytes.is_empty() => break,
            Err(_) => return Reply::Nothing,
        };
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        if bytes.len() > MOST_BYTES {
            return noise(&bytes);
        }
        match bytes.last() {
            Some(0) => break,
            Some(b'}' | b'\n') if trials < MOST_TRIALS => {
                trials += 1;
                if let Ok(value) = serde_json::from_slice(&bytes) {
                    return Reply::Data(value);
                }
            }
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Reply::Nothing;
    }
    tolerant(&bytes).map_or_else(|| noise(&bytes), Reply::Data)
}

/// JSON with the slips that miners are known to make: NULs, two objects without a comma in between, a comma before
/// the closing brace.
fn tolerant(bytes: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_matches(|character: char| character == '\0' || character.is_whitespace());
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mended = text.replace('\0', "").replace("}{", "},{").replace("[,{", "[{").replace(",}", "}");
    serde_json::from_str(&mended).ok()
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
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or_default().to_le_bytes());
    frame.extend_from_slice(body.as_bytes());
    if stream.write_all(&frame).await.is_err() {
        return Reply::Nothing;
    }
    let mut length = [0_u8; 4];
    // A few heartbeats may come first.
    for _ in 0..4 {
        if stream.read_exact(&mut length).await.is_err() {
            return Reply::Nothing;
        }
        if length != [0; 4] {
            break;
        }
    }
    let expected = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if expected > MOST_BYTES {
        return noise(&length);
    }
    let mut bytes = Vec::with_capacity(expected.min(4096));
    let limit = u64::try_from(expected).unwrap_or_default();
    if (&mut stream).take(limit).read_to_end(&mut bytes).await.is_err() || bytes.len() < expected {
        return Reply::Nothing;
    }
    serde_json::from_slice(&bytes).map_or_else(|_| noise(&bytes), Reply::Data)
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
    let json = if whole { serde_json::from_slice(&bytes).ok() } else { None };
    // Of JSON the text is not needed a second time.
    let body = if json.is_some() { String::new() } else { String::from_utf8_lossy(&bytes).into_owned() };
    Reply::Page(Page { status, challenge, location, body, json })
}

/// The HTTP client of a scan: no redirects, no proxy, nothing kept open.
///
/// # Errors
/// When it cannot be built, which is a fault of the system.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // The HTTP library is built without cryptography of its own and panics without a provider. One that is there
    // already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("ballast/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slips_of_known_firmware_are_forgiven_and_others_are_not() {
        for text in [
            "{\"a\":1}\0",
            "{\"STATS\":[{\"a\":1}{\"b\":2}],\"id\":1}",
            "{\"STATS\":[,{\"a\":1}]}",
            "{\"a\":{\"b\":1,}}\r\n",
        ] {
            assert!(tolerant(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["", "{", "HTTP/1.1 400 Bad Request", "{\"a\":\"\u{0}"] {
            assert!(tolerant(text.as_bytes()).is_none(), "{text}");
        }
        assert!(tolerant(&[b'{', 0xff, b'}']).is_none());
    }
}
