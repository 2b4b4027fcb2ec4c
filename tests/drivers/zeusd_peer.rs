//! The driver of `zeusd` against the real one, where there is one, on a stand-in for NVIDIA's library (`tests/peers/nvml`).
//!
//! `BALLAST_TEST_ZEUSD` is the path of the program (`cargo install zeusd --version 0.5.0`), `BALLAST_TEST_NVML` the folder into which
//! `tests/peers/nvml/build` has put the library. To set limits it must run as root.

use crate::drivers_support;
use crate::redfish::{range, said};

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ballast::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use ballast::miner::drivers::zeusd::Zeusd;
use ballast::miner::{Connection, Credentials, Driver, DriverKind, Gpus, Urgency, http_client};
use ballast::secret::Secret;
use ballast::units::Watts;
use drivers_support::{connection, malformed, nobody, power, rejection};
use tokio::net::TcpStream;

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
    folder: PathBuf,
    port: u16,
    /// Its groups.
    groups: &'static str,
    /// The processor that refuses every limit.
    stuck: Option<u16>,
    running: Option<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Peer {
    async fn new(groups: &'static str, stuck: Option<u16>) -> Option<Self> {
        let (program, library) = peer()?;
        if groups.contains("gpu-control") && !is_root() {
            eprintln!("SKIPPED: zeusd sets limits as root alone, and this is not root");
            return None;
        }
        let port = nobody().await.port();
        let folder = std::env::temp_dir().join(format!("ballast-zeusd-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("key"), "a signing key of a test, long enough").unwrap();
        let mut peer = Self { program, library, folder, port, groups, stuck, running: None };
        peer.start().await;
        Some(peer)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("LD_LIBRARY_PATH", &self.library).env("BALLAST_NVML_DEMAND_MW", "350000");
        if let Some(stuck) = self.stuck {
            command.env("BALLAST_NVML_STUCK", stuck.to_string());
        }
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    async fn start(&mut self) {
        let mut command = self.command();
        command
            .args(["serve", "--mode", "tcp", "--num-workers", "1", "--enable", self.groups])
            .args(["--tcp-bind-address", &format!("127.0.0.1:{}", self.port), "--signing-key-path"])
            .arg(self.folder.join("key"))
            .stdout(Stdio::null());
        self.running = Some(command.spawn().unwrap());
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{} does not listen on port {}", self.program, self.port);
    }

    fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
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
        let connection = Connection {
            credentials: Some(Credentials { username: None, password: Secret::new(token) }),
            gpus: Some(Gpus { only: None, base: Watts::whole(200) }),
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
    let Some(mut peer) = Peer::new("gpu-control,gpu-read", None).await else { return };
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    assert!(driver.prove_account().await.unwrap());
    let status = driver.read().await.unwrap();
    assert!(is_at(&status, 900, 1_000) && status.range == range(400, 1_000), "{status:?}");
    assert_eq!(status.activity, Activity::Hashing);
    let who = driver.identify().await.unwrap().unwrap();
    assert_eq!(who.model.as_deref(), Some("2 x Stand-in GPU 400W"));
    driver.apply(power(701), Urgency::Shed).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 701, 701));
    driver.apply(power(960), Urgency::Normal).await.unwrap();
    assert!(is_at(&driver.read().await.unwrap(), 900, 960), "a cap above the draw saves nothing");
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Unsupported);
    assert!(is_at(&driver.read().await.unwrap(), 400, 400));
    peer.end();
    assert!(driver.read().await.is_err());
    peer.start().await;
    assert!(is_at(&driver.read().await.unwrap(), 900, 1_000), "the limits were lost, and that shows");
    driver.close().await;
}

#[tokio::test]
async fn what_the_real_one_refuses_for_one_processor_is_no_yes() {
    let Some(peer) = Peer::new("gpu-control,gpu-read", Some(1)).await else { return };
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    let words = malformed(driver.apply(power(700), Urgency::Shed).await);
    assert!(words.contains("1 of 2 limits stand; GPU 1: NVML error"), "{words}");
    // One at 250 W, one at what its work demands under its 400 W.
    assert!(is_at(&driver.read().await.unwrap(), 800, 850));
}

#[tokio::test]
async fn tokens_and_groups_of_the_real_one_are_told_apart() {
    let Some(peer) = Peer::new("gpu-control,gpu-read", None).await else { return };
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
    let Some(peer) = Peer::new("gpu-read", None).await else { return };
    let mut driver = peer.driver(peer.token("gpu-read,gpu-control"));
    let status = driver.read().await.unwrap();
    assert!(is_at(&status, 900, 1_000), "{status:?}");
    assert!(matches!(&status.activity, Activity::Fault(words) if words.contains("gpu-control is off")));
    assert!(said(driver.apply(power(700), Urgency::Shed).await).contains("--enable"));
}
