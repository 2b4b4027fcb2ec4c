//! A Modbus server of our own, so that it can misbehave on demand: Modbus TCP, or RTU frames over TCP.
//!
//! Frame: "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1: transaction id, protocol id 0, length
//! (unit and protocol data unit), unit id, then the protocol data unit. RTU frames are in [`super::rtu`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::bus::{Bus, exception};
use super::manner::{Answer, When};
use super::rtu;
use crate::sim::scenario::Keeps;

/// A client that says nothing for so long is disconnected.
const IDLE: Duration = Duration::from_secs(120);

/// Transaction (2), protocol (2), length (2).
const HEADER: usize = 6;

/// Longest protocol data unit with its unit id.
const LONGEST: u16 = 254;

/// Longest frame of Modbus TCP.
const LONGEST_FRAME: usize = 260;

/// Pause after a failure of the operating system, so that it is not asked in a busy loop.
const PAUSE: Duration = Duration::from_millis(100);

/// What the bytes of a connection look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Modbus TCP.
    Tcp,
    /// RTU, as through a transparent serial gateway.
    Rtu,
}

/// A request, without its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number; 0 on serial lines.
    pub transaction: u16,
    /// Who is asked.
    pub unit: u8,
    /// Function code and what belongs to it.
    pub pdu: Vec<u8>,
}

/// Serves until cancelled. While the bus refuses, the port is closed and every connection dropped; afterwards it
/// is opened again. `most` says how many connections there may be at once, and which of them stay.
pub async fn serve(
    bus: Arc<Bus>,
    listener: TcpListener,
    address: SocketAddr,
    framing: Framing,
    most: (usize, Keeps),
    cancel: CancellationToken,
) {
    let mut listener = Some(listener);
    let mut door = bus.door();
    let mut connections = JoinSet::new();
    // Those that are open, the oldest first.
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let now = *door.borrow_and_update();
        let (room, keeps) = now.most.unwrap_or(most);
        if now.refusing {
            listener = None;
            connections.abort_all();
        } else if listener.is_none() {
            // The port was ours a moment ago; if someone else has it now, try until it is free.
            match TcpListener::bind(address).await {
                Ok(again) => listener = Some(again),
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot open the meter's port again; trying on");
                    tokio::select! {
                        () = cancel.cancelled() => return,
                        () = sleep(PAUSE) => continue,
                    }
                }
            }
        }
        open.retain(|connection| !connection.is_finished());
        while open.len() > room {
            let surplus = match keeps {
                Keeps::First => open.pop_back(),
                Keeps::Last => open.pop_front(),
            };
            surplus.inspect(AbortHandle::abort);
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = door.changed() => if changed.is_err() {
                return;
            },
            Some(_) = connections.join_next() => {}
            accepted = accept(listener.as_ref()) => match accepted {
                // Full, like a meter that takes one client: closing is the answer.
                Ok(stream) if keeps == Keeps::First && open.iter().filter(|c| !c.is_finished()).count() >= room => {
                    drop(stream);
                }
                Ok(stream) => open.push_back(connections.spawn(client(bus.clone(), framing, stream))),
                Err(_) => sleep(PAUSE).await,
            },
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Serves one client until it leaves or breaks the protocol.
async fn client(bus: Arc<Bus>, framing: Framing, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    // An end of the connection, in whatever way, is the client's affair; but a reset is ours.
    if let Err(error) = talk(&bus, framing, &mut stream).await
        && error.kind() == io::ErrorKind::ConnectionReset
    {
        let _ = stream.set_zero_linger();
    }
}

/// Answers on a stream, one request after the other, for as long as they come.
///
/// # Errors
/// The end of the stream, a request that is no Modbus TCP, two minutes of silence; `ConnectionReset` when the stream is
/// to be reset.
pub async fn talk<S>(bus: &Bus, framing: Framing, stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut inlet = match framing {
        Framing::Tcp => Inlet::Tcp { bytes: [0; LONGEST_FRAME], filled: 0 },
        Framing::Rtu => Inlet::Rtu(rtu::Inlet::new()),
    };
    loop {
        let request = tokio::select! {
            frame = bus.due() => {
                write(stream, &frame).await?;
                continue;
            }
            request = timeout(IDLE, inlet.next(stream)) => request??,
        };
        let Some(Request { transaction, unit, pdu }) = request else {
            continue;
        };
        let reply = match bus.answer(unit, &pdu) {
            Answer::Silence => continue,
            Answer::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
            Answer::Reply(reply) => reply,
        };
        // Nobody there: on a serial line that is silence, and there is no gateway to say so.
        if framing == Framing::Rtu
            && matches!(reply.pdu.as_slice(), [_, exception::GATEWAY_TARGET])
            && !bus.has(unit)
        {
            continue;
        }
        let frame = match framing {
            Framing::Tcp => reply.tcp(transaction),
            Framing::Rtu => reply.rtu(),
        };
        if let Some(frame) = bus.send(&reply, frame) {
            if let When::Slow(delay) = reply.when {
                sleep(delay).await;
            }
            write(stream, &frame).await?;
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    timeout(IDLE, stream.write_all(frame)).await?
}

/// What has come of a request.
enum Inlet {
    Tcp { bytes: [u8; LONGEST_FRAME], filled: usize },
    Rtu(rtu::Inlet),
}

impl Inlet {
    /// Waits for a request. Nothing is lost when the waiting is given up and begun anew.
    async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Request>> {
        let (bytes, filled) = match self {
            Self::Rtu(inlet) => return inlet.next(stream).await,
            Self::Tcp { bytes, filled } => (bytes, filled),
        };
        loop {
            if let Some((request, length)) = parse(bytes.get(..*filled).unwrap_or_default())? {
                bytes.copy_within(length..*filled, 0);
                *filled -= length;
                return Ok(Some(request));
            }
            // There is room: a whole frame would have been taken out.
            let count = stream.read(bytes.get_mut(*filled..).unwrap_or_default()).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *filled += count;
        }
    }
}

/// The first request among some bytes and the length of its frame; none while it is not whole.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let Some(([t1, t2, p1, p2, l1, l2], rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = u16::from_be_bytes([*l1, *l2]);
    if [*p1, *p2] != [0, 0] || !(2..=LONGEST).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = usize::from(length);
    let Some([unit, pdu @ ..]) = rest.get(..length) else {
        return Ok(None);
    };
    let transaction = u16::from_be_bytes([*t1, *t2]);
    Ok(Some((Request { transaction, unit: *unit, pdu: pdu.to_vec() }, HEADER + length)))
}
