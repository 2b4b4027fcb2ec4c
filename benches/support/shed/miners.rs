//! The far side of the benchmark: miners that know one answer to each question, and give it after a while.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ballast::miner::DriverKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How long a miner takes for an answer.
pub const ANSWER_TIME: Duration = Duration::from_millis(20);
/// Miners in each subnet.
const IN_A_SUBNET: usize = 250;
/// Largest request that is read.
const MOST: usize = 64 * 1024;

/// The three kinds of connection that there are.
pub const KINDS: [DriverKind; 3] = [DriverKind::WhatsminerV3, DriverKind::BraiinsOs, DriverKind::AxeOs];

/// The model that the miners are.
pub fn model(kind: DriverKind) -> &'static str {
    match kind {
        DriverKind::BraiinsOs => "s19k-pro",
        _ => "m60s",
    }
}

/// Where the miner of this number listens: a loopback address of its own, 250 to a subnet.
pub fn address(number: usize) -> SocketAddr {
    let third = u8::try_from(number / IN_A_SUBNET).unwrap_or(u8::MAX);
    let fourth = u8::try_from(number % IN_A_SUBNET + 1).unwrap_or(u8::MAX);
    SocketAddr::from((Ipv4Addr::new(127, 213, third, fourth), 18_080))
}

/// A request and its answer, as they went over a connection.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Which connection, by the order of their opening.
    pub connection: u64,
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
}

/// What was said, for the floor to repeat.
#[derive(Default)]
pub struct Record {
    connections: AtomicU64,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Record {
    /// Everything since the last call.
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.exchanges.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Listens at an address. The queue is short: a miner has few clients.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(16)
}

/// Answers on every connection, for ever.
pub async fn serve(listener: TcpListener, kind: DriverKind, record: Option<Arc<Record>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(converse(stream, kind, record.clone()));
    }
}

async fn converse(mut stream: TcpStream, kind: DriverKind, record: Option<Arc<Record>>) {
    let connection = record.as_ref().map_or(0, |record| record.connections.fetch_add(1, Ordering::Relaxed));
    let framed = kind == DriverKind::WhatsminerV3;
    let mut waiting = Vec::with_capacity(1024);
    loop {
        let length = match if framed { frame(&waiting) } else { request(&waiting) } {
            Some(length) => length,
            None if waiting.len() > MOST => return,
            None => match stream.read_buf(&mut waiting).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            },
        };
        let request: Vec<u8> = waiting.drain(..length).collect();
        tokio::time::sleep(ANSWER_TIME).await;
        let answer = if framed { framed_answer(&request) } else { http_answer(kind, &request) };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
        let close = !framed && contains(&request, b"connection: close");
        if let Some(record) = &record {
            let mut exchanges = record.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
            exchanges.push(Exchange { connection, request, answer });
        }
        if close {
            return;
        }
    }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|part| part.eq_ignore_ascii_case(words))
}

/// The length of the first frame, once it is whole.
fn frame(waiting: &[u8]) -> Option<usize> {
    let (length, rest) = waiting.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (rest.len() >= length).then_some(length + 4)
}

/// The length of the first request, once it is whole.
fn request(waiting: &[u8]) -> Option<usize> {
    let head = waiting.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(waiting.get(..head)?).to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = head + body.and_then(|length| length.trim().parse::<usize>().ok()).unwrap_or(0);
    (waiting.len() >= length).then_some(length)
}

fn framed_answer(request: &[u8]) -> Vec<u8> {
    let files: [(&[u8], &[u8]); 3] = [
        (
            b"get.device.info",
            include_bytes!("../../../tests/fixtures/whatsminer-v3/20251209.16/get_device_info.json"),
        ),
        (
            b"get.miner.status",
            include_bytes!("../../../tests/fixtures/whatsminer-v3/20251209.16/get_miner_status_summary.json"),
        ),
        (
            b"get.miner.setting",
            include_bytes!("../../../tests/fixtures/whatsminer-v3/20251209.16/get_miner_setting.json"),
        ),
    ];
    let known = files.into_iter().find(|(name, _)| contains(request, name)).map(|(_, answer)| answer);
    let body = known.unwrap_or(br#"{"code":0,"when":1770100200,"msg":"ok","desc":"set.miner.service"}"#);
    let mut answer = u32::try_from(body.len()).unwrap_or(0).to_le_bytes().to_vec();
    answer.extend_from_slice(body);
    answer
}

fn http_answer(kind: DriverKind, request: &[u8]) -> Vec<u8> {
    const BRAIINS: [(&[u8], &[u8]); 5] = [
        (b"/auth/login", include_bytes!("../../../tests/fixtures/braiins-os/25.07/login.json")),
        (b"/miner/stats", include_bytes!("../../../tests/fixtures/braiins-os/25.07/miner_stats.json")),
        (b"/miner/details", include_bytes!("../../../tests/fixtures/braiins-os/25.07/miner_details.json")),
        (b"/tuner-state", include_bytes!("../../../tests/fixtures/braiins-os/25.07/tuner_state.json")),
        (b"/constraints", include_bytes!("../../../tests/fixtures/braiins-os/25.07/constraints.json")),
    ];
    const AXEOS: [(&[u8], &[u8]); 2] = [
        (b"/api/system/info", include_bytes!("../../../tests/fixtures/axeos/2.14/info.json")),
        (b"/api/system/asic", include_bytes!("../../../tests/fixtures/axeos/2.14/asic.json")),
    ];
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let files: &[(&[u8], &[u8])] = if kind == DriverKind::BraiinsOs { &BRAIINS } else { &AXEOS };
    let body = files.iter().find(|(path, _)| contains(line, path)).map_or(&b"{}"[..], |(_, body)| body);
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}
