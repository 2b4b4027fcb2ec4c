//! The driver of `zeusd` against the real one, where there is one, on a stand-in for NVIDIA's library (`tests/peers/nvml`).
//!
//! `BALLAST_TEST_ZEUSD` is the path of the program (`cargo install zeusd --version 0.5.0`), `BALLAST_TEST_NVML` the folder into which
//! `tests/peers/nvml/build` has put the library. To set limits it must run as root. What the library was told is its own word, and no
//! answer of the daemon's.

use crate::drivers_support;
use crate::redfish::{range, said};

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ballast::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use ballast::miner::drivers::zeusd::Zeusd;
use ballast::miner::{Connection, Credentials, Driver, DriverKind, Gpus, Urgency, http_client};
use ballast::secret::Secret;
use ballast::units::Watts;
use drivers_support::{connection, malformed, nobody, power, rejection};
use tokio::net::{TcpStream, UnixStream};

/// The program and the folder of the library.
fn peer() -> Option<(String, String)> {
    let found = (std::env::var("BALLAST_TEST_ZEUSD"), std::env::var("BALLAST_TEST_NVML"));
    match found {
        (Ok(program), Ok(library)) => Some((program, library)),
        _ => {
            eprintln!(
                "SKIPPED: BALLAST_TEST_ZEUSD and BALLAST_TEST_NVML do not name a zeusd and a libnvidia-ml.so.1"
            );
            None
        }
    }
}

/// Whether this process is root, as far as the system tells.
fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(2) == Some("0")
}

/// A daemon with two processors, which ends with the test.
struct Peer {
    program: String,
    library: String,
    /// Where its key and its socket are, and what the processors were told (`tests/peers/nvml/nvml.c`).
    folder: PathBuf,
    port: u16,
    /// Its groups.
    groups: &'static str,
    /// The lowest and highest limits of its processors, in milliwatts; empty for 100 to 400 W each.
    ranges: &'static str,
    /// It listens on a socket of Unix, as it does unless told otherwise.
    unix: bool,
    running: Option<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const BOTH: &str = "gpu-control,gpu-read";

impl Peer {
    /// One that is not started yet.
    async fn found(groups: &'static str) -> Option<Self> {
        let (program, library) = peer()?;
        if groups.contains("gpu-control") && !is_root() {
            eprintln!("SKIPPED: zeusd sets limits as root alone, and this is not root");
            return None;
        }
        let port = nobody().await.port();
        let folder = std::env::temp_dir().join(format!("ballast-zeusd-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("key"), "a signing key of a test, long enough").unwrap();
        Some(Self { program, library, folder, port, groups, ranges: "", unix: false, running: None })
    }

    async fn new(groups: &'static str) -> Option<Self> {
        let mut peer = Self::found(groups).await?;
        peer.start().await;
        Some(peer)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("LD_LIBRARY_PATH", &self.library).env("BALLAST_NVML_DEMAND_MW", "350000");
        command.env("BALLAST_NVML_FOLDER", &self.folder).env("BALLAST_NVML_RANGES", self.ranges);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("zeusd.sock")
    }

    async fn start(&mut self) {
        let mut command = self.command();
        command.args(["serve", "--num-workers", "1", "--enable", self.groups]).stdout(Stdio::null());
        command.arg("--signing-key-path").arg(self.folder.join("key"));
        if self.unix {
            command.arg("--socket-path").arg(self.socket());
        } else {
            command.args(["--mode", "tcp", "--tcp-bind-address", &format!("127.0.0.1:{}", self.port)]);
        }
        self.running = Some(command.spawn().unwrap());
        for _ in 0..100 {
            let listens = if self.unix {
                UnixStream::connect(self.socket()).await.is_ok()
            } else {
                TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
            };
            if listens {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} does not listen on port {} or its socket", self.program, self.port);
    }

    fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }

    /// Lets something go wrong: `stuck-0`, `lost-1`, `reload`.
    fn spoil(&self, what: &str) {
        std::fs::write(self.folder.join(what), "").unwrap();
    }

    /// What the library was told since the last time, in an order of its own.
    fn written(&self) -> Vec<String> {
        let writes = self.folder.join("writes");
        let text = std::fs::read_to_string(&writes).unwrap_or_default();
        let _ = std::fs::remove_file(writes);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// A token as its own program issues it.
    fn token(&self, scopes: &str) -> String {
        let mut command = self.command();
        command.args(["token", "issue", "--user", "ballast", "--expires", "1h", "--scope", scopes]);
        let told = command.arg("--signing-key-path").arg(self.folder.join("key")).output().unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        let token = told.lines().map(str::trim).rfind(|line| line.matches('.').count() == 2);
        token.unwrap_or_else(|| panic!("no token in {told:?}")).to_owned()
    }

    /// With 200 W beside its processors.
    fn driver(&self, token: String) -> Zeusd {
        let connection = connection(DriverKind::Zeusd, ([127, 0, 0, 1], self.port).into());
        let socket = self.unix.then(|| Arc::from(self.socket()));
        let connection = Connection {
            credentials: Some(Credentials { username: None, password: Secret::new(token) }),
            gpus: Some(Gpus { only: None, base: Watts::whole(200), socket }),
            timeout: Duration::from_secs(5),
            ..connection
        };
        Zeusd::new(&connection, &http_client().unwrap())
    }
}

fn is_at(status: &MinerStatus, drawn: i32, limit: i32) -> bool {
    status.power == Measured::Value(Watts::whole(drawn)) && status.target == Measured::Value(power(limit))
}

#[tokio::test]
async fn the_real_one_is_read_and_set_and_loses_its_limits_with_its_process() {
    let Some(mut peer) = Peer::new(BOTH).await else { return };
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    assert!(driver.prove_account().await.unwrap());
    let status = driver.read().await.unwrap();
    assert!(is_at(&status, 900, 1_000) && status.range == range(400, 1_000), "{status:?}");
    assert_eq!(status.activity, Activity::Hashing);
    let who = driver.identify().await.unwrap().unwrap();
    assert_eq!(who.model.as_deref(), Some("2 x Stand-in GPU 400W"));
    assert!(peer.written().is_empty(), "reading writes nothing");
    driver.apply(power(701), Urgency::Shed).await.unwrap();
    assert_eq!(peer.written(), ["limit 0 251000", "limit 1 250000"]);
    assert!(is_at(&driver.read().await.unwrap(), 701, 701));
    driver.apply(power(960), Urgency::Normal).await.unwrap();
    assert_eq!(peer.written(), ["limit 0 380000", "limit 1 380000"]);
    assert!(is_at(&driver.read().await.unwrap(), 900, 960), "a cap above the draw saves nothing");
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Unsupported);
    assert_eq!(peer.written(), ["limit 0 100000", "limit 1 100000"]);
    assert!(is_at(&driver.read().await.unwrap(), 400, 400));
    peer.end();
    assert!(driver.read().await.is_err());
    assert!(driver.apply(power(700), Urgency::Shed).await.is_err());
    peer.start().await;
    assert!(is_at(&driver.read().await.unwrap(), 900, 1_000), "the limits were lost, and that shows");
    driver.apply(power(700), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 700, 700));
    driver.close().await;
    assert_eq!(peer.written(), ["limit 0 250000", "limit 1 250000"], "an end sets nothing");
}

#[tokio::test]
async fn limits_that_are_lost_under_the_real_one_show_in_the_next_reading_and_are_set_again() {
    let Some(peer) = Peer::new(BOTH).await else { return };
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    driver.apply(power(700), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 700, 700));
    peer.spoil("reload");
    assert!(is_at(&driver.read().await.unwrap(), 900, 1_000), "it does not say so, and the limits do");
    driver.apply(power(700), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 700, 700));
    // A shed that does not know it yet is right all the same.
    peer.spoil("reload");
    driver.apply(power(600), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 600, 600));
}

#[tokio::test]
async fn what_the_real_one_refuses_for_one_processor_is_no_yes() {
    let Some(peer) = Peer::new(BOTH).await else { return };
    peer.spoil("stuck-1");
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    let words = malformed(driver.apply(power(700), Urgency::Shed).await);
    assert!(words.contains("1 of 2 limits stand; GPU 1: NVML error"), "{words}");
    assert_eq!(peer.written(), ["limit 0 250000"]);
    // One at 250 W, one at what its work demands under its 400 W.
    assert!(is_at(&driver.read().await.unwrap(), 800, 850));
    peer.spoil("stuck-0");
    let words = said(driver.apply(power(600), Urgency::Shed).await);
    assert!(words.contains("GPU 0: NVML error") && words.contains("and 1 more"), "{words}");
}

#[tokio::test]
async fn a_processor_that_the_real_one_has_lost_is_told_and_the_other_is_lowered() {
    let Some(peer) = Peer::new(BOTH).await else { return };
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    driver.read().await.unwrap();
    peer.spoil("lost-1");
    let status = driver.read().await.unwrap();
    let told = matches!(&status.activity, Activity::Fault(words) if words.contains("GPU 1: NVML error") && words.contains("bus"));
    assert!(told, "{status:?}");
    assert_eq!((status.power, status.target), (Measured::Unavailable, Measured::Unavailable));
    let words = malformed(driver.apply(power(700), Urgency::Shed).await);
    assert!(words.contains("1 of 2 limits stand; GPU 1"), "{words}");
    assert_eq!(peer.written(), ["limit 0 250000"]);
}

#[tokio::test]
async fn processors_of_the_real_one_that_allow_different_limits_share_within_them() {
    let Some(mut peer) = Peer::found(BOTH).await else { return };
    peer.ranges = "100000-400000,200000-700000";
    peer.start().await;
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    assert_eq!(driver.read().await.unwrap().range, range(500, 1_300));
    driver.apply(power(1_100), Urgency::Normal).await.unwrap();
    assert_eq!(peer.written(), ["limit 0 400000", "limit 1 500000"]);
    driver.apply(power(520), Urgency::Shed).await.unwrap();
    assert_eq!(peer.written(), ["limit 0 120000", "limit 1 200000"]);
    assert!(is_at(&driver.read().await.unwrap(), 520, 520));
    assert_eq!(rejection(driver.apply(power(450), Urgency::Shed).await), Rejection::OutOfRange);
    assert!(is_at(&driver.read().await.unwrap(), 500, 500));
}

#[tokio::test]
async fn the_real_one_is_spoken_with_over_its_socket() {
    let Some(mut peer) = Peer::found(BOTH).await else { return };
    peer.unix = true;
    peer.start().await;
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    assert!(driver.prove_account().await.unwrap());
    driver.apply(power(700), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 700, 700));
    assert_eq!(peer.written(), ["limit 0 250000", "limit 1 250000"]);
}

#[tokio::test]
async fn tokens_and_groups_of_the_real_one_are_told_apart() {
    let Some(peer) = Peer::new(BOTH).await else { return };
    let mut reader = peer.driver(peer.token("gpu-read"));
    reader.read().await.unwrap();
    for result in [reader.prove_account().await.map(|_| ()), reader.apply(power(700), Urgency::Shed).await] {
        assert!(result.as_ref().unwrap_err().to_string().contains("--scope"), "{result:?}");
        assert_eq!(rejection(result), Rejection::Credentials);
    }
    let mut stranger = peer.driver("not.a.token".to_owned());
    assert_eq!(rejection(stranger.apply(power(700), Urgency::Shed).await), Rejection::Credentials);
    assert_eq!(rejection(stranger.prove_account().await.map(|_| ())), Rejection::Credentials);
}

#[tokio::test]
async fn the_real_one_without_the_group_for_limits_is_read_and_not_set() {
    let Some(peer) = Peer::new("gpu-read").await else { return };
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    let status = driver.read().await.unwrap();
    assert!(is_at(&status, 900, 1_000), "{status:?}");
    assert!(matches!(&status.activity, Activity::Fault(words) if words.contains("gpu-control is off")));
    assert!(said(driver.apply(power(700), Urgency::Shed).await).contains("--enable"));
}
