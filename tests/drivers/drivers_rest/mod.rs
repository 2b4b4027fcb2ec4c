//! A little HTTP server whose answers a function gives, over connections that stay open.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// "GET /path?query".
    pub line: String,
    /// Header lines, as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Seen {
    /// A header by its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Status, header lines without their end, body; `None` is silence.
pub type Reply = Option<(u16, String, Vec<u8>)>;

/// An answer with a body and no headers of its own.
pub fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Some((status, String::new(), body.into()))
}

type Answers = Box<dyn FnMut(&Seen) -> Reply + Send>;

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub async fn start(answers: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(Box::new(answers))),
            log: Arc::default(),
        };
        let served = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        server
    }

    /// What was asked so far.
    pub fn log(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let end = loop {
                if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                    break end + 4;
                }
                match stream.read(&mut chunk).await {
                    Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                    _ => return,
                }
            };
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
            let headers: Vec<(String, String)> = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            let mut seen = Seen { line, headers, body: String::new() };
            let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
            while buffer.len() < end + length {
                match stream.read(&mut chunk).await {
                    Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                    _ => return,
                }
            }
            seen.body = String::from_utf8(buffer[end..end + length].to_vec()).unwrap();
            buffer.drain(..end + length);
            self.log.lock().unwrap().push(seen.clone());
            let answer = (*self.answers.lock().unwrap())(&seen);
            let Some((status, headers, body)) = answer else {
                tokio::time::sleep(Duration::from_secs(10)).await;
                return;
            };
            let length =
                if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let mut bytes = format!("HTTP/1.1 {status} X\r\n{length}{headers}\r\n").into_bytes();
            bytes.extend(body);
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}
