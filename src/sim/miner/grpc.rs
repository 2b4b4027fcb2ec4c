//! As much of gRPC over plain HTTP/2 as tools need that read a miner: single calls with small messages.
//!
//! Sources: RFC 9113 (frames), RFC 7541 (header compression), "gRPC over HTTP2" of the gRPC project (length prefix,
//! trailers). Everything is bounded: frames, headers, messages, streams. What a sound client of a miner does not send
//! (continued headers, compressed messages) ends the connection.

mod hpack;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door::{Door, Guest};
use super::{Obstacle, SimMiner, cgminer};
use hpack::{Headers, Known};

/// Connections that are served at once.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// What every client says first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest frame that may come without another agreement (RFC 9113, 4.2).
const FRAME_MAX: usize = 16_384;
/// Largest message of a request.
const MESSAGE_MAX: usize = 4_096;
/// Calls that may be open on one connection.
const STREAMS_MAX: usize = 32;
/// A connection without a frame for this long is closed.
const IDLE: Duration = Duration::from_secs(30);

/// Types of frames (RFC 9113, 6).
mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
mod flag {
    pub(super) const ACK: u8 = 0x1;
    pub(super) const END_STREAM: u8 = 0x1;
    pub(super) const END_HEADERS: u8 = 0x4;
    pub(super) const PADDED: u8 = 0x8;
    pub(super) const PRIORITY: u8 = 0x20;
}

/// Status codes of gRPC.
pub(super) mod status {
    pub(in super::super) const UNIMPLEMENTED: u8 = 12;
    pub(in super::super) const UNAUTHENTICATED: u8 = 16;
}

/// A call that is complete.
pub(super) struct Call {
    /// `/package.Service/Method`.
    pub(super) path: String,
    /// The header of that name, where there is one.
    pub(super) authorization: Option<String>,
    /// The message, in protobuf.
    pub(super) message: Vec<u8>,
}

/// What a call is answered with.
pub(super) struct Reply {
    /// The message, in protobuf.
    pub(super) message: Vec<u8>,
    /// A token in the headers.
    pub(super) authorization: Option<String>,
}

impl Reply {
    pub(super) fn new(message: Vec<u8>) -> Self {
        Self { message, authorization: None }
    }
}

/// What is behind the transport.
pub(super) trait Service: Send + Sync + 'static {
    /// Answers a call, or gives one of the codes of [`status`].
    fn call(&self, call: &Call) -> Result<Reply, u8>;
}

/// Serves until cancelled.
pub(super) async fn run(mut door: Door, service: impl Service) {
    let service = Arc::new(service);
    let mut guests = JoinSet::new();
    while let Some((guest, _)) = door.next().await {
        while guests.try_join_next().is_some() {}
        let (miner, service) = (Arc::clone(door.miner()), Arc::clone(&service));
        guests.spawn(async move { serve(guest, &miner, &*service).await });
    }
    guests.shutdown().await;
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A call of which not everything has come.
#[derive(Default)]
struct Open {
    headers: Headers,
    body: Vec<u8>,
}

/// `None` at the end, after an idle time, and for a frame that is too large.
async fn read_frame(guest: &mut Guest) -> Option<Frame> {
    let mut head = [0_u8; 9];
    timeout(IDLE, guest.read_exact(&mut head)).await.ok()?.ok()?;
    let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok().filter(|size| *size <= FRAME_MAX)?;
    let mut payload = vec![0_u8; length];
    timeout(IDLE, guest.read_exact(&mut payload)).await.ok()?.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]), payload })
}

fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    out.extend(length.iter().skip(1));
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// The payload without padding and priority (RFC 9113, 6.1 and 6.2).
fn stripped(frame: &Frame) -> Option<&[u8]> {
    let mut rest = frame.payload.as_slice();
    if frame.flags & flag::PADDED != 0 {
        let (&padding, tail) = rest.split_first()?;
        rest = tail.get(..tail.len().checked_sub(usize::from(padding))?)?;
    }
    if frame.kind == kind::HEADERS && frame.flags & flag::PRIORITY != 0 {
        rest = rest.get(5..)?;
    }
    Some(rest)
}

async fn serve(mut guest: Guest, miner: &SimMiner, service: &impl Service) {
    let mut preface = [0_u8; PREFACE.len()];
    if !matches!(timeout(IDLE, guest.read_exact(&mut preface)).await, Ok(Ok(_))) || preface != *PREFACE {
        return;
    }
    if miner.obstacle() == Obstacle::Hang {
        return cgminer::hang(miner, &mut guest).await;
    }
    let mut out = Vec::new();
    // SETTINGS_HEADER_TABLE_SIZE (1) of zero: what the client indexed before it heard of it is all there is.
    put_frame(&mut out, kind::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
    let mut table = hpack::Table::default();
    let mut open: HashMap<u32, Open> = HashMap::new();
    loop {
        if !out.is_empty() && !matches!(timeout(IDLE, guest.write_all(&out)).await, Ok(Ok(()))) {
            return;
        }
        out.clear();
        let Some(frame) = read_frame(&mut guest).await else { return };
        if miner.obstacle() == Obstacle::Hang {
            return cgminer::hang(miner, &mut guest).await;
        }
        match frame.kind {
            kind::SETTINGS if frame.flags & flag::ACK == 0 => {
                put_frame(&mut out, kind::SETTINGS, flag::ACK, 0, &[]);
            }
            kind::PING if frame.flags & flag::ACK == 0 => {
                put_frame(&mut out, kind::PING, flag::ACK, 0, &frame.payload);
            }
            kind::HEADERS => {
                let complete = frame.flags & flag::END_HEADERS != 0 && open.len() < STREAMS_MAX;
                let Some(headers) = stripped(&frame).filter(|_| complete).and_then(|block| table.read(block))
                else {
                    return;
                };
                open.insert(frame.stream, Open { headers, body: Vec::new() });
            }
            kind::DATA => {
                let (Some(part), Some(call)) = (stripped(&frame), open.get_mut(&frame.stream)) else {
                    return;
                };
                call.body.extend(part);
                if call.body.len() > MESSAGE_MAX {
                    return;
                }
            }
            kind::RST_STREAM => {
                open.remove(&frame.stream);
            }
            kind::GOAWAY | kind::CONTINUATION => return,
            _ => {}
        }
        let ends = matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & flag::END_STREAM != 0;
        if ends && let Some(call) = open.remove(&frame.stream) {
            if let Obstacle::Delay(delay) = miner.obstacle() {
                tokio::time::sleep(delay).await;
            }
            answer(&mut out, frame.stream, call, service);
        }
    }
}

/// Headers, message and trailers of an answer.
fn answer(out: &mut Vec<u8>, stream: u32, mut call: Open, service: &impl Service) {
    // One byte for compression, four for the length, then the message.
    let message = match call.body.split_first_chunk::<5>() {
        Some(([0, length @ ..], message))
            if u32::try_from(message.len()) == Ok(u32::from_be_bytes(*length)) =>
        {
            Some(message.to_vec())
        }
        _ => None,
    };
    let result = match (message, call.headers.remove(&Known::Path)) {
        (Some(message), Some(path)) => {
            let authorization = call.headers.remove(&Known::Authorization);
            service.call(&Call { path, authorization, message })
        }
        _ => Err(status::UNIMPLEMENTED),
    };
    let mut head = hpack::status_ok();
    hpack::put(&mut head, "content-type", "application/grpc");
    let code = match result {
        Ok(reply) => {
            if let Some(token) = &reply.authorization {
                hpack::put(&mut head, "authorization", token);
            }
            put_frame(out, kind::HEADERS, flag::END_HEADERS, stream, &head);
            head.clear();
            let mut body = vec![0];
            body.extend(u32::try_from(reply.message.len()).unwrap_or_default().to_be_bytes());
            body.extend(reply.message);
            put_frame(out, kind::DATA, 0, stream, &body);
            0
        }
        Err(code) => code,
    };
    // After a refusal headers and trailers are one.
    hpack::put(&mut head, "grpc-status", &code.to_string());
    put_frame(out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &head);
}

/// A message of protobuf that grows field by field.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        loop {
            let low = u8::try_from(value & 0x7f).unwrap_or_default();
            value >>= 7;
            if value == 0 {
                return self.0.push(low);
            }
            self.0.push(low | 0x80);
        }
    }

    fn key(&mut self, field: u32, wire: u8) {
        self.varint(u64::from(field) << 3 | u64::from(wire));
    }

    /// An unsigned number, a truth value or an enumeration.
    pub(super) fn number(mut self, field: u32, value: u64) -> Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    /// A floating-point number.
    pub(super) fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A text.
    pub(super) fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// Another message.
    pub(super) fn message(self, field: u32, value: Self) -> Self {
        self.bytes(field, &value.0)
    }

    fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(u64::try_from(value.len()).unwrap_or_default());
        self.0.extend(value);
        self
    }

    /// The bytes of it.
    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// The text of a field in a flat message of protobuf; `None` where it is missing or the message cannot be read.
pub(super) fn text_of(mut message: &[u8], wanted: u32) -> Option<String> {
    while !message.is_empty() {
        let (key, rest) = read_varint(message)?;
        message = match key & 7 {
            0 => read_varint(rest)?.1,
            1 => rest.get(8..)?,
            2 => {
                let (length, rest) = read_varint(rest)?;
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                if key >> 3 == u64::from(wanted) {
                    return String::from_utf8(value.to_vec()).ok();
                }
                rest
            }
            5 => rest.get(4..)?,
            _ => return None,
        };
    }
    None
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(place).ok()?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_behind_other_fields() {
        let message = Message::default().number(1, 300).double(2, 1.5).text(3, "root").done();
        assert_eq!(text_of(&message, 3).as_deref(), Some("root"));
        assert_eq!(text_of(&message, 4), None);
        for cut in 1..message.len() {
            assert_eq!(text_of(&message[..cut], 3), None, "cut at {cut}");
        }
    }

    #[test]
    fn padding_and_priority_come_off() {
        let frame = |flags, payload: &[u8]| Frame {
            kind: kind::HEADERS,
            flags,
            stream: 1,
            payload: payload.to_vec(),
        };
        assert_eq!(stripped(&frame(0, b"ab")), Some(&b"ab"[..]));
        assert_eq!(stripped(&frame(flag::PADDED, &[1, 7, 0])), Some(&[7][..]));
        assert_eq!(stripped(&frame(flag::PADDED | flag::PRIORITY, &[0, 0, 0, 0, 0, 0, 9])), Some(&[9][..]));
        assert_eq!(stripped(&frame(flag::PADDED, &[9, 7, 0])), None);
        assert_eq!(stripped(&frame(flag::PADDED, &[])), None);
    }
}
