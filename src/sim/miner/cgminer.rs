//! The transport that cgminer began and much firmware kept: one JSON request per TCP connection, the answer ends with
//! the connection, on some firmware after a NUL.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door::{Door, Guest};
use super::{Obstacle, SimMiner};

/// "If no data is received within 10 seconds after the port is connected, the connection will time out" (MicroBT,
/// API 2.0.5).
const IDLE: Duration = Duration::from_secs(10);
/// Longest request: an encrypted pool update has less than 2 KiB.
const REQUEST_MAX: usize = 8 * 1024;
/// Longest wait for a client to close after its answer.
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// Pieces of a kilobyte that are dropped in that time.
const DRAIN_MAX: usize = 64;

/// What is behind the transport.
pub(super) trait Service: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(&self, request: &Map<String, Value>, client: IpAddr) -> Value;

    /// The answer to what is not a request.
    fn broken(&self) -> Value;
}

/// Serves until cancelled.
pub(super) async fn run(mut door: Door, service: impl Service) {
    let service = Arc::new(service);
    let garbled = Arc::new(AtomicU64::new(0));
    let mut guests = JoinSet::new();
    while let Some((guest, peer)) = door.next().await {
        while guests.try_join_next().is_some() {}
        guests.spawn(serve(
            guest,
            peer,
            Arc::clone(door.miner()),
            Arc::clone(&service),
            Arc::clone(&garbled),
        ));
    }
    guests.shutdown().await;
}

/// What came in on a connection.
enum Request {
    Json(Map<String, Value>),
    Broken,
    Nothing,
}

/// Reads one JSON object. Nothing marks its end, so the reading ends where the object does.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Request {
    let mut buffer = Vec::new();
    let mut part = [0_u8; 1024];
    loop {
        let count = match timeout(IDLE, stream.read(&mut part)).await {
            Ok(Ok(count)) => count,
            Ok(Err(_)) | Err(_) => return Request::Nothing,
        };
        buffer.extend(part.iter().take(count));
        let text: &[u8] = buffer.trim_ascii();
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        match serde_json::from_slice::<Map<String, Value>>(text) {
            Ok(object) => return Request::Json(object),
            Err(_) if text.is_empty() && count == 0 => return Request::Nothing,
            Err(error) if error.is_eof() && count > 0 && buffer.len() < REQUEST_MAX => {}
            Err(_) => return Request::Broken,
        }
    }
}

async fn serve<S: Service>(
    mut guest: Guest,
    peer: SocketAddr,
    miner: Arc<SimMiner>,
    service: Arc<S>,
    garbled: Arc<AtomicU64>,
) {
    if miner.obstacle() == Obstacle::Hang {
        return hang(&miner, &mut guest).await;
    }
    let request = read_request(&mut guest).await;
    let obstacle = miner.obstacle();
    let answer = match (&request, obstacle) {
        (Request::Nothing, _) => return,
        (_, Obstacle::Hang) => return hang(&miner, &mut guest).await,
        (_, Obstacle::Garbage) => miner.identity.garbage(garbled.fetch_add(1, Ordering::Relaxed)),
        (Request::Broken, _) => text(&miner, &service.broken()),
        (Request::Json(object), _) => text(&miner, &service.answer(object, peer.ip())),
    };
    if let Obstacle::Delay(delay) = obstacle {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = guest.session().clone().cancelled_owned() => return,
        }
    }
    // A client that does not read its answer is left alone.
    let _ = timeout(IDLE, async {
        guest.write_all(&answer).await?;
        guest.shutdown().await
    })
    .await;
    // Closing with unread bytes would reset the connection and could take the answer back.
    let mut sink = [0_u8; 1024];
    let drain = async {
        for _ in 0..DRAIN_MAX {
            if !guest.read(&mut sink).await.is_ok_and(|count| count > 0) {
                return;
            }
        }
    };
    let _ = timeout(DRAIN_TIME, drain).await;
}

fn text(miner: &SimMiner, answer: &Value) -> Vec<u8> {
    let mut bytes = answer.to_string().into_bytes();
    if miner.identity.ends_with_nul {
        bytes.push(0);
    }
    bytes
}

/// Accepted and never answered; ends with the fault, the client or the miner.
pub(super) async fn hang(miner: &SimMiner, guest: &mut Guest) {
    let mut sink = [0_u8; 256];
    let left = async { while guest.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
    tokio::select! {
        () = left => {}
        () = miner.unhung() => {}
    }
}

/// The vendor's documents have `cmd` for writes and both for reads.
pub(super) fn command_of(object: &Map<String, Value>) -> Option<&str> {
    object.get("command").or_else(|| object.get("cmd")).and_then(Value::as_str)
}

/// Answers several commands at once, joined by `+`; `None` if there is one that cannot be joined or does not exist.
pub(super) fn joined(command: &str, mut read: impl FnMut(&str) -> Option<Value>) -> Option<Value> {
    let mut answer = Map::new();
    for part in command.split('+').take(10) {
        answer.insert(part.to_owned(), Value::Array(vec![read(part)?]));
    }
    answer.insert("id".into(), Value::from(1));
    Some(Value::Object(answer))
}
