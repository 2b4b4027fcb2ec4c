//! A proxy between a driver and a simulated miner. It takes each request apart as far as the wire demands, keeps it in
//! words that can be compared, and may spoil the answer on its way back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use ballast::miner::DriverKind;
use ballast::sim::miner::crypt::{Wrapping, md5_crypt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How requests and answers are told apart on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// One JSON request per connection; the answer ends with the connection.
    Cgminer,
    /// Frames behind a length of four bytes, little end first.
    Frames,
    /// HTTP/1.1.
    Http,
}

impl Wire {
    /// What a driver speaks; the generic one speaks two.
    pub fn of(kind: DriverKind) -> Self {
        match kind {
            DriverKind::WhatsminerV2
            | DriverKind::Luxos
            | DriverKind::Avalon
            | DriverKind::CgminerReadOnly
            | DriverKind::SealMiner => Self::Cgminer,
            DriverKind::WhatsminerV3 => Self::Frames,
            _ => Self::Http,
        }
    }
}

/// One exchange as it passed.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The request in words: `POST /path {body}`, or the JSON of a command. Without what
    /// changes with every request by nature: tokens, times, signatures; and with `<password>` for the password.
    pub request: String,
    /// The body of the request as it was.
    pub body: Vec<u8>,
    /// The body of the true answer.
    pub answer: Vec<u8>,
}

/// What becomes of an answer.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It passes.
    Pass,
    /// This body in its place; on HTTP with the true status.
    Body(Vec<u8>),
    /// These bytes and the end of the connection, whatever the protocol says.
    Raw(Vec<u8>),
    /// Nothing more, on an open connection.
    Silence,
    /// The true answer, one byte every 40 ms.
    Drip,
    /// Spaces in front of the body, for ever.
    Flood,
}

/// Decides on an answer, given the request in words and the true body.
pub type Judge = Arc<dyn Fn(&str, &[u8]) -> Fate + Send + Sync>;

struct Inside {
    wire: Wire,
    upstream: SocketAddr,
    password: &'static str,
    log: Mutex<Vec<Exchange>>,
    judge: Mutex<Judge>,
    /// The salt of a Whatsminer, from its `get_token`.
    salt: Mutex<String>,
}

/// A running proxy. It ends with the test.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    inside: Arc<Inside>,
}

impl Proxy {
    /// Listens at `at` for the miner at `upstream`.
    pub async fn start(wire: Wire, at: SocketAddr, upstream: SocketAddr, password: &'static str) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let inside = Arc::new(Inside {
            wire,
            upstream,
            password,
            log: Mutex::default(),
            judge: Mutex::new(Arc::new(|_, _| Fate::Pass)),
            salt: Mutex::default(),
        });
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&inside);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inside = Arc::clone(&shared);
                tokio::spawn(async move {
                    // A side that goes away ends it.
                    let _ = match inside.wire {
                        Wire::Cgminer => inside.cgminer(stream).await,
                        Wire::Frames => inside.frames(stream).await,
                        Wire::Http => inside.http(stream).await,
                    };
                });
            }
        });
        Self { address, inside }
    }

    pub fn judge(&self, judge: impl Fn(&str, &[u8]) -> Fate + Send + Sync + 'static) {
        *self.inside.judge.lock().unwrap() = Arc::new(judge);
    }

    /// What passed since the last call.
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.inside.log.lock().unwrap())
    }
}

impl Inside {
    fn note(&self, request: &str, body: &[u8], answer: &[u8]) -> Fate {
        let request = request.replace(self.password, "<password>");
        let fate = {
            let judge = Arc::clone(&*self.judge.lock().unwrap());
            judge(&request, answer)
        };
        let exchange = Exchange { request, body: body.to_vec(), answer: answer.to_vec() };
        self.log.lock().unwrap().push(exchange);
        fate
    }

    async fn cgminer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while serde_json::from_slice::<Value>(request.trim_ascii()).is_err() {
            let mut part = [0; 4096];
            let count = stream.read(&mut part).await?;
            if count == 0 {
                return Ok(());
            }
            request.extend_from_slice(&part[..count]);
        }
        let mut up = TcpStream::connect(self.upstream).await?;
        up.write_all(&request).await?;
        let mut answer = Vec::new();
        up.read_to_end(&mut answer).await?;
        let value: Value = serde_json::from_slice(request.trim_ascii()).unwrap();
        let words = self.opened(value);
        if words.contains("get_token")
            && let Ok(token) = serde_json::from_slice::<Value>(answer.strip_suffix(b"\0").unwrap_or(&answer))
            && let Some(salt) = token.pointer("/Msg/salt").and_then(Value::as_str)
        {
            *self.salt.lock().unwrap() = salt.to_owned();
        }
        let fate = self.note(&words, &request, &answer);
        spoil(&mut stream, fate, &answer, |body| body.to_vec()).await
    }

    /// A request of the cgminer API in words; an encrypted one is opened first.
    fn opened(&self, mut value: Value) -> String {
        if let Some(data) = value.get("data").and_then(Value::as_str) {
            let key = md5_crypt(self.password, &self.salt.lock().unwrap());
            let plain = BASE64.decode(data).ok().and_then(|data| Wrapping::new(&key).unwrap(&data));
            value = plain.and_then(|plain| serde_json::from_slice(&plain).ok()).unwrap_or(value);
            if let Some(object) = value.as_object_mut() {
                object.remove("token");
            }
            return format!("encrypted {value}");
        }
        value.to_string()
    }

    async fn frames(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut up = TcpStream::connect(self.upstream).await?;
        loop {
            let Some(request) = read_frame(&mut stream).await? else { continue };
            up.write_all(&framed(&request)).await?;
            let Some(answer) = read_frame(&mut up).await? else { return Ok(()) };
            let mut value: Value = serde_json::from_slice(&request).unwrap();
            if let Some(object) = value.as_object_mut() {
                object.remove("ts");
                object.remove("token");
            }
            match self.note(&value.to_string(), &request, &answer) {
                Fate::Pass => stream.write_all(&framed(&answer)).await?,
                fate => return spoil(&mut stream, fate, &framed(&answer), framed).await,
            }
        }
    }

    async fn http(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let (head, body) = read_http(&mut stream).await?;
            let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
            let mut forwarded = String::new();
            for header in head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:")) {
                forwarded.push_str(header);
                forwarded.push_str("\r\n");
            }
            forwarded.push_str("connection: close\r\n\r\n");
            let mut up = TcpStream::connect(self.upstream).await?;
            up.write_all(forwarded.as_bytes()).await?;
            up.write_all(&body).await?;
            let (answer_head, answer) = read_http(&mut up).await?;
            let words = format!("{line} {}", String::from_utf8_lossy(&body)).trim_end().to_owned();
            let fate = self.note(&words, &body, &answer);
            let with = |body: &[u8]| {
                let mut bytes = Vec::new();
                for header in answer_head.lines().filter(|line| {
                    let name = line.to_ascii_lowercase();
                    !name.starts_with("connection:") && !name.starts_with("content-length:")
                }) {
                    bytes.extend_from_slice(header.as_bytes());
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                bytes.extend_from_slice(body);
                bytes
            };
            match fate {
                Fate::Pass => stream.write_all(&with(&answer)).await?,
                Fate::Body(body) => stream.write_all(&with(&body)).await?,
                Fate::Flood => {
                    // Announces no length, so that it is the reader who must stop.
                    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
                    return spoil(&mut stream, Fate::Flood, &[], |body| body.to_vec()).await;
                }
                fate => return spoil(&mut stream, fate, &with(&answer), with).await,
            }
        }
    }
}

async fn spoil(
    stream: &mut TcpStream,
    fate: Fate,
    answer: &[u8],
    with: impl Fn(&[u8]) -> Vec<u8>,
) -> std::io::Result<()> {
    match fate {
        Fate::Pass => stream.write_all(answer).await?,
        Fate::Body(body) => stream.write_all(&with(&body)).await?,
        Fate::Raw(bytes) => stream.write_all(&bytes).await?,
        Fate::Silence => tokio::time::sleep(std::time::Duration::from_secs(60)).await,
        Fate::Drip => {
            for byte in answer {
                stream.write_all(std::slice::from_ref(byte)).await?;
                tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            }
        }
        Fate::Flood => loop {
            stream.write_all(&[b' '; 64 * 1024]).await?;
        },
    }
    stream.shutdown().await
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// One frame; `None` is a heartbeat.
async fn read_frame(stream: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let length = usize::try_from(stream.read_u32_le().await?).unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((length > 0).then_some(body))
}

/// Head without its last empty line, and the body.
async fn read_http(stream: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().trim_end().to_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    assert!(header("transfer-encoding").is_none(), "the proxy knows no chunks: {head}");
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((head, body))
}
