//! A reload that replaces sessions, over real sockets: no miner is ever spoken with by two.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::config::{self, Config, ExitPolicy, Options};
use ballast::control::decision::{Cause, Command};
use ballast::control::site::MinerId;
use ballast::control::snapshot::Target;
use ballast::daemon::fleet::Fleet;

/// A miner that takes connections and never answers. Keeps every connection, in the order in which they came.
struct Device {
    address: SocketAddr,
    /// For each connection how many of those before it were still open.
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Device {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<usize>>>::default();
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut streams: Vec<TcpStream> = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                let open = streams.iter().filter(|stream| is_open(stream)).count();
                stream.set_nonblocking(true).unwrap();
                streams.push(stream);
                told.lock().unwrap().push(open);
            }
        });
        Self { address, seen }
    }

    fn connections(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits for so many connections, and not for so long that one comes because an exchange has run into its limit (20 s).
    async fn comes(&self, connections: usize) {
        for _ in 0..750 {
            if self.connections() >= connections {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} connections instead of {connections}", self.connections());
    }

    fn most_at_once(&self) -> usize {
        self.seen.lock().unwrap().iter().max().map_or(0, |before| before + 1)
    }
}

/// Whether the other end has not closed it: all that was sent is read, and then its end.
fn is_open(mut stream: &TcpStream) -> bool {
    let mut bytes = [0_u8; 4096];
    loop {
        match std::io::Read::read(&mut stream, &mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// A site of these miners: name, address, password.
fn site(miners: &[(&str, SocketAddr, &str)]) -> Config {
    let mut text = "[site]\nname = \"Test\"\nmode = \"control\"\n[circuits.pcc]\n[limits.all]\ncircuit = \"pcc\"\n\
         miners = \"10 kW\"\n[groups.g]\ndriver = \"whatsminer-v3\"\nmodel = \"m60s\"\ncircuit = \"pcc\"\ntimeout = \"20 s\"\n\
         poll_period = \"300 s\"\nsilent_after = \"900 s\"\n"
        .to_owned();
    for (name, address, password) in miners {
        write!(
            text,
            "[miners.{name}]\ngroup = \"g\"\naddress = \"{address}\"\ncredentials = {{ password_file = \"{password}\" }}\n"
        )
        .unwrap();
    }
    let options = Options { files: &[("p", "one"), ("q", "two")], ..Options::default() };
    config::parse(&text, Path::new("site.toml"), &options).unwrap_or_else(|errors| panic!("{errors}"))
}

fn command(miner: usize, sequence: u64, target: Target, cause: Cause) -> Command {
    Command { miner: MinerId(miner), target, sequence, cause }
}

#[tokio::test]
async fn renamed_readdressed_or_with_another_account_a_miner_has_one_session() {
    let (one, other) = (Device::start(), Device::start());
    let (a, b) = (one.address, other.address);
    let before = site(&[("m0", a, "p"), ("m1", b, "p")]);
    let renamed = site(&[("n0", a, "p"), ("n1", b, "p")]);
    let swapped = site(&[("n0", b, "p"), ("n1", a, "p")]);
    let account = site(&[("n0", b, "q"), ("n1", a, "q")]);
    let mut fleet = Fleet::start(&before, Clock::start()).unwrap();
    let mut sequence = 0;
    let mut come = (1, 1);
    for after in [renamed, swapped, account] {
        // Each of them is in an exchange when the reload comes: one in a poll, the other in a command.
        one.comes(come.0).await;
        other.comes(come.1).await;
        sequence += 1;
        fleet.send(&[command(1, sequence, Target::Sleep, Cause::Shed)]);
        let all = come.0 + come.1;
        while one.connections() + other.connections() == all {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fleet.configure(&after, Clock::start());
        sequence += 1;
        fleet.send(&[command(0, sequence, Target::Sleep, Cause::Shed)]);
        come = (one.connections() + 1, other.connections() + 1);
    }
    one.comes(come.0).await;
    other.comes(come.1).await;
    assert_eq!((one.most_at_once(), other.most_at_once()), (1, 1));
    fleet.stop(ExitPolicy::Hold, sequence, &[], &[]).await;
}

#[tokio::test]
async fn a_shed_that_was_not_answered_before_the_reload_is_given_to_the_next_session() {
    let device = Device::start();
    let mut fleet = Fleet::start(&site(&[("m0", device.address, "p")]), Clock::start()).unwrap();
    device.comes(1).await;
    fleet.send(&[command(0, 7, Target::Sleep, Cause::Shed)]);
    fleet.configure(&site(&[("m0", device.address, "q")]), Clock::start());
    let delivery = async {
        loop {
            if let Some(delivery) = fleet.inputs().first().and_then(|input| input.delivery.clone()) {
                return delivery;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let delivery = tokio::time::timeout(Duration::from_secs(15), delivery).await.unwrap();
    assert_eq!((delivery.sequence, delivery.target), (7, Target::Sleep));
    assert_eq!(device.most_at_once(), 1);
    fleet.stop(ExitPolicy::Hold, 7, &[], &[]).await;
}
