//! What the driver tests share: fixtures, connections to loopback, and ways in which a server misbehaves.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballast::config::{self, Config, Options, Secrets};
use ballast::control::snapshot::{Rejection, Target};
use ballast::miner::{
    Connection, Credentials, DriverError, DriverKind, Endpoint, Urgency, driver, http_client,
};
use ballast::secret::Secret;
use ballast::sim::{Simulation, Truth};
use ballast::units::Watts;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

pub const PASSWORD: &str = "s3cret-pa55word";

pub fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub fn connection(driver: DriverKind, address: SocketAddr) -> Connection {
    Connection {
        name: Arc::from("m1"),
        driver,
        endpoint: Endpoint { host: address.ip().to_string(), port: address.port() },
        credentials: Some(Credentials { username: None, password: Secret::new(PASSWORD.to_owned()) }),
        timeout: Duration::from_millis(400),
        rated: Watts::whole(3_300),
        device: None,
        certificate: None,
        gpus: None,
        pause: None,
        rated_is_told: true,
    }
}

pub fn power(watts: i32) -> Target {
    Target::Power(Watts::whole(watts))
}

pub fn rejection(result: Result<(), DriverError>) -> Rejection {
    match result {
        Err(DriverError::Rejected { reason, .. }) => reason,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

/// The words of an order of which nobody knows what came of it.
pub fn malformed(result: Result<(), DriverError>) -> String {
    match result {
        Err(DriverError::Malformed { reason, .. }) => reason,
        other => panic!("expected that nothing is known, got {other:?}"),
    }
}

/// The first configuration in a text of the guide.
pub fn example(text: &str) -> &str {
    text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap()
}

/// A site that only observes, with these servers in its hall.
pub fn hall(servers: &str) -> Config {
    let site = "[site]\nname = \"s\"\nmode = \"observe\"\n[circuits.hall]\n[limits.cap]\ncircuit = \"hall\"\nminers = \"30 kW\"\n";
    let options = Options { secrets: Secrets::Skip, ..Options::default() };
    config::parse(&format!("{site}{servers}"), Path::new("site.toml"), &options)
        .unwrap_or_else(|words| panic!("{words}"))
}

/// Waits until something holds of a simulated site; fails after so many seconds.
pub async fn until(simulation: &Simulation, what: &str, seconds: u32, holds: impl Fn(&Truth) -> bool) {
    for _ in 0..seconds * 10 {
        if holds(&simulation.truth()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within {seconds} s; the fleet draws {}", simulation.truth().fleet);
}

/// What a server sends in place of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Misbehaviour {
    /// Closes at once.
    Close,
    /// Accepts, reads, and never answers.
    Silence,
    /// Sends one byte every 30 ms, for ever.
    Drip,
    /// Sends bytes that are no protocol at all.
    Garbage,
    /// Sends more than any answer has, for ever.
    Flood,
}

pub const MISBEHAVIOURS: [Misbehaviour; 5] = [
    Misbehaviour::Close,
    Misbehaviour::Silence,
    Misbehaviour::Drip,
    Misbehaviour::Garbage,
    Misbehaviour::Flood,
];

/// A server that does nothing but misbehave.
pub async fn misbehaving(how: Misbehaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(misbehave(stream, how));
        }
    });
    address
}

async fn misbehave(mut stream: TcpStream, how: Misbehaviour) {
    match how {
        Misbehaviour::Close => {}
        Misbehaviour::Silence => tokio::time::sleep(Duration::from_secs(60)).await,
        Misbehaviour::Drip => {
            while stream.write_all(b"{").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        Misbehaviour::Garbage => {
            let _ = stream.write_all(b"\xff\xfe\x01\x02}{]\"\x80 hello\r\n\r\n").await;
        }
        Misbehaviour::Flood => {
            let block = [b' '; 16 * 1024];
            while stream.write_all(&block).await.is_ok() {}
        }
    }
}

/// Whatever goes wrong on the wire is an error that names the place and no secret.
pub async fn fails_on_the_wire(kind: DriverKind) {
    let at = |address| driver(&connection(kind, address), &http_client().unwrap());
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = at(address);
        let error = driver.read().await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && !error.contains(PASSWORD), "{error}");
        assert!(driver.apply(Target::Sleep, Urgency::Shed).await.is_err());
    }
    assert!(matches!(at(nobody().await).read().await, Err(DriverError::Unreachable { .. })));
}

/// An address on which nobody listens.
pub async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
