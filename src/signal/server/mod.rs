//! Our own Modbus TCP server: a utility's or aggregator's terminal writes a limit and reads back what became of it.
//!
//! The registers are described in [`map`]. Nobody is asked for a password, because Modbus has none: whoever connects from
//! an address of the configured list may order, all others are turned away before a byte is read. The source lives as
//! long as something new is written to it: a limit, or a heartbeat counter that moves.

pub mod fuzzing;
pub mod map;
mod terminal;
pub mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Context;
use crate::door::{self, Door, Row, Seat, Seats};
use crate::rate::Bucket;
use crate::units::Watts;
use map::Exception;
use terminal::Terminal;
use wire::{HEADER, Head, Request};

/// A frame that has begun must be whole, and an answer be taken, within this time.
const FRAME_TIME: Duration = Duration::from_secs(2);
/// The pauses between two attempts to listen, from the first to all later ones.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Requests of one connection: so many at once, and so many per second on and on.
const REQUESTS: (u32, f64) = (100, 50.0);

/// Connections at one time: of anybody in `clients`, and besides of those that have ordered. A terminal that restarts leaves its
/// old connection half open, and a program that looks for devices opens many: neither costs the terminal its own.
const SEATS: Seats = Seats { open: 32, kept: 8 };

/// Addresses that may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub address: IpAddr,
    /// How many leading bits must agree.
    pub prefix: u8,
}

impl Network {
    /// Whether an address lies in it. An IPv4 address in the dress of IPv6 is what it is.
    pub fn holds(&self, address: IpAddr) -> bool {
        fn agree(one: &[u8], other: &[u8], prefix: u8) -> bool {
            let mut left = u32::from(prefix);
            one.iter().zip(other).all(|(one, other)| {
                let bits = left.min(8);
                left -= bits;
                (one ^ other).leading_zeros() >= bits
            })
        }
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => agree(&ours.octets(), &theirs.octets(), self.prefix),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => agree(&ours.octets(), &theirs.octets(), self.prefix),
            _ => false,
        }
    }
}

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may connect; at least one.
    pub clients: Vec<Network>,
    /// A connection that says nothing for so long is closed.
    pub idle_timeout: Duration,
    /// One unit of power in the registers, 1 W to 50 kW.
    pub scale: Watts,
    /// What holds while the terminal says that there is an emergency. Not negative.
    pub emergency_cap: Watts,
}

/// Runs until it is dropped.
pub async fn run(settings: Settings, context: Context) {
    let source = context.name.clone();
    let terminal = Arc::new(Terminal::new(&settings, context));
    let mut pause = PAUSES.0;
    loop {
        match door::listen(settings.listen) {
            Ok(listener) => return serve(&listener, &settings, &terminal).await,
            Err(error) if pause > PAUSES.0 => tracing::warn!(
                source = &*source, address = %settings.listen, %error,
                "the Modbus server cannot listen: stop the program that uses the port, or give `listen` another one; \
                 trying on"
            ),
            // After a reload the server before this one may still be about to close the port.
            Err(_) => {}
        }
        sleep(pause).await;
        pause = if pause == PAUSES.0 { PAUSES.0 * 2 } else { PAUSES.1 };
    }
}

/// Takes connections until it is dropped. Those that are there end with it.
async fn serve(listener: &TcpListener, settings: &Settings, terminal: &Arc<Terminal>) {
    let door = Door::new(SEATS);
    let (mut talks, mut row) = (JoinSet::new(), Row::default());
    let mut strangers = Bucket::new(5, 1.0 / 60.0);
    loop {
        // What has ended is taken out, so that the set stays as small as the door.
        while talks.try_join_next().is_some() {}
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Such as for lack of file descriptors. Whoever is connected stays so.
                if strangers.take(terminal.now()) {
                    tracing::warn!(source = terminal.name(), %error, "cannot accept a connection; trying on");
                }
                sleep(PAUSES.0).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        if !settings.clients.iter().any(|network| network.holds(address)) {
            if strangers.take(terminal.now()) {
                tracing::warn!(
                    source = terminal.name(), %address,
                    "a connection from an address that is not in `clients` was turned away"
                );
            }
            continue;
        }
        let seat = door.enter();
        let (terminal, idle) = (terminal.clone(), settings.idle_timeout);
        talks.spawn(async move {
            let talk = talk(stream, address, &terminal, &seat, idle);
            // Whoever has said nothing for the longest time makes room for the one that comes.
            let ended = seat.until_evicted(talk).await;
            if let Some(Err(error)) = ended {
                tracing::debug!(source = terminal.name(), %address, %error, "a connection of the Modbus server ended");
            }
        });
        row.one_more().await;
    }
}

/// One connection to its end.
async fn talk(
    mut stream: TcpStream,
    peer: IpAddr,
    terminal: &Terminal,
    seat: &Seat,
    idle: Duration,
) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut requests = Bucket::new(REQUESTS.0, REQUESTS.1);
    let mut body = [0; 256];
    loop {
        let mut head = [0; HEADER];
        let (first, rest) = head.split_at_mut(1);
        timeout(idle, stream.read_exact(first)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        timeout(FRAME_TIME, stream.read_exact(rest)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let head = Head::read(head).ok_or(io::ErrorKind::InvalidData)?;
        let room = body.get_mut(..head.length).ok_or(io::ErrorKind::InvalidData)?;
        timeout(FRAME_TIME, stream.read_exact(room)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let _busy = seat.busy();
        let now = terminal.now();
        let Some((function, request)) = room.split_first() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let answer = if requests.take(now) {
            answer(*function, request, peer, terminal, seat).await
        } else {
            Err(Exception::Busy)
        };
        let frame = head.answer(*function, &answer);
        timeout(FRAME_TIME, stream.write_all(&frame)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

async fn answer(
    function: u8,
    body: &[u8],
    peer: IpAddr,
    terminal: &Terminal,
    seat: &Seat,
) -> Result<Vec<u8>, Exception> {
    match Request::read(function, body)? {
        Request::Read { start, count } => terminal.read(start, count).await.map(|words| wire::words(&words)),
        Request::Write { start, words, echo } => {
            terminal.write(peer, start, &words).await?;
            seat.keep();
            Ok(echo.to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix: u8) -> Network {
        Network { address: address.parse().unwrap(), prefix }
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_other() {
        let net = network("10.1.16.0", 20);
        for (address, held) in [
            ("10.1.16.0", true),
            ("10.1.31.255", true),
            ("10.1.32.0", false),
            ("10.2.16.1", false),
            ("::ffff:10.1.20.7", true),
            ("::1", false),
        ] {
            assert_eq!(net.holds(address.parse().unwrap()), held, "{address}");
        }
        assert!(network("10.0.0.5", 32).holds("10.0.0.5".parse().unwrap()));
        assert!(!network("10.0.0.5", 32).holds("10.0.0.4".parse().unwrap()));
        assert!(network("0.0.0.0", 0).holds("192.0.2.1".parse().unwrap()));
        assert!(network("2001:db8::", 33).holds("2001:db8:7fff::1".parse().unwrap()));
        assert!(!network("2001:db8::", 33).holds("2001:db8:8000::1".parse().unwrap()));
    }
}
