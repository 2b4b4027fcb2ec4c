//! A Modbus server of our own, so that it can misbehave on demand: Modbus TCP, or RTU frames over TCP.
//!
//! Frame: "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1: transaction id, protocol id 0, length
//! (unit and protocol data unit), unit id, then the protocol data unit. RTU frames are in [`super::rtu`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::bus::{Answer, Bus};
use super::rtu;

/// A client that says nothing for so long is disconnected.
const IDLE: Duration = Duration::from_secs(120);

/// Longest protocol data unit with its unit id.
const LONGEST: u16 = 254;

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

/// Serves until cancelled. While the bus refuses, the port is closed and every connection dropped; afterwards it
/// is opened again. More than `most` connections at once are closed as they come.
pub async fn serve(
    bus: Arc<Bus>,
    listener: TcpListener,
    address: SocketAddr,
    framing: Framing,
    most: usize,
    cancel: CancellationToken,
) {
    let mut listener = Some(listener);
    let mut refusing = bus.refusing();
    let mut connections = JoinSet::new();
    loop {
        if *refusing.borrow_and_update() {
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
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = refusing.changed() => if changed.is_err() {
                return;
            },
            Some(_) = connections.join_next() => {}
            accepted = accept(listener.as_ref()) => match accepted {
                Ok(stream) if connections.len() < most => {
                    connections.spawn(talk(bus.clone(), framing, stream));
                }
                // Full, like a meter that takes one client: closing is the answer.
                Ok(stream) => drop(stream),
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

/// Answers one client, one request after the other, until it leaves or breaks the protocol.
async fn talk(bus: Arc<Bus>, framing: Framing, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    if framing == Framing::Rtu {
        while let Ok(Ok(())) = timeout(IDLE, rtu::exchange(&bus, &mut stream)).await {}
        return;
    }
    // An end of the connection, in whatever way, is the client's affair.
    while let Ok(Some(())) = exchange(&bus, &mut stream).await {}
}

/// One request and its answer; `None` when there is to be no more.
async fn exchange(bus: &Bus, stream: &mut TcpStream) -> io::Result<Option<()>> {
    let mut header = [0; 7];
    match timeout(IDLE, stream.read_exact(&mut header)).await {
        Ok(read) => read?,
        Err(_) => return Ok(None),
    };
    let [t1, t2, p1, p2, l1, l2, unit] = header;
    let length = u16::from_be_bytes([l1, l2]);
    if [p1, p2] != [0, 0] || !(2..=LONGEST).contains(&length) {
        return Ok(None);
    }
    let mut request = vec![0; usize::from(length - 1)];
    match timeout(IDLE, stream.read_exact(&mut request)).await {
        Ok(read) => read?,
        Err(_) => return Ok(None),
    };
    let Answer::Reply { pdu, after, crossed } = bus.answer(unit, &request) else {
        return Ok(Some(()));
    };
    if !after.is_zero() {
        sleep(after).await;
    }
    let transaction = u16::from_be_bytes([t1, t2]).wrapping_sub(u16::from(crossed));
    let length = u16::try_from(pdu.len() + 1).unwrap_or(LONGEST);
    let mut frame = Vec::with_capacity(7 + pdu.len());
    frame.extend(transaction.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(length.to_be_bytes());
    frame.push(unit);
    frame.extend(pdu);
    match timeout(IDLE, stream.write_all(&frame)).await {
        Ok(written) => written.map(Some),
        Err(_) => Ok(None),
    }
}
