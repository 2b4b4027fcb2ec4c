//! Whether a daemon of the same configuration runs: two masters must never command, and a meter that serves one client
//! serves only one of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for a daemon's answer.
const ANSWER: Duration = Duration::from_secs(2);
/// More of an answer than this is not looked at.
const LONGEST: u64 = 64 * 1024;

/// Who has the address at which the daemon of a configuration serves its pages.
#[derive(Debug)]
pub(super) enum Holder {
    /// Nobody. As long as this is kept, no daemon can start there.
    Nobody(
        #[cfg_attr(not(test), expect(dead_code, reason = "holds the address as long as it lives"))]
        TcpListener,
    ),
    /// A daemon, in this mode.
    Daemon(String),
    /// Something that does not answer as a daemon does.
    Other,
    /// It cannot be listened on, for another reason than that it is taken.
    Unusable(io::Error),
}

/// Looks who has the address, and takes it if nobody does.
pub(super) async fn holder(listen: SocketAddr) -> Holder {
    match TcpListener::bind(listen).await {
        Ok(listener) => Holder::Nobody(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match daemon(listen).await {
            Some(mode) => Holder::Daemon(mode),
            None => Holder::Other,
        },
        Err(error) => Holder::Unusable(error),
    }
}

/// The mode of the daemon that serves its pages at an address; `None` when nothing answers as a daemon does.
pub(super) async fn daemon(listen: SocketAddr) -> Option<String> {
    // An address that stands for all addresses is reached at this computer's own.
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let asked = timeout(ANSWER, ask(SocketAddr::new(ip, listen.port()))).await;
    mode(&asked.ok()?.ok()?)
}

async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(
            format!("GET /healthz HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The mode in the answer of `/healthz`, if that is what it is.
fn mode(answer: &str) -> Option<String> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let health: serde_json::Value = serde_json::from_str(body).ok()?;
    health.get("status")?;
    Some(health.get("mode")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_known_by_its_health() {
        let health = "HTTP/1.1 503 X\r\nA: b\r\n\r\n{\"status\":\"unavailable\",\"reason\":\"r\",\"mode\":\"start-up\"}";
        assert_eq!(mode(health).as_deref(), Some("start-up"));
        assert_eq!(mode("HTTP/1.1 404 X\r\n\r\n{\"status\":\"x\"}"), None);
        assert_eq!(mode("SSH-2.0-x\r\n"), None);
    }

    #[tokio::test]
    async fn an_address_that_is_held_is_held_by_somebody() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let Holder::Nobody(listener) = holder(any).await else { panic!("any port is free") };
        let address = listener.local_addr().unwrap();
        // It takes connections and says nothing.
        let silent = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        assert!(matches!(holder(address).await, Holder::Other));
        silent.abort();
    }
}
