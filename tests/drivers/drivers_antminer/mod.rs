//! A small web server on a loopback socket, for the drivers of Antminer firmware that speak HTTP.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    pub authorization: Option<String>,
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }
}

type Gate = Box<dyn FnMut(&Seen) -> Option<Reply> + Send>;

/// What the server does.
#[derive(Default)]
pub struct State {
    /// Standing answers by method and path.
    pub answers: HashMap<String, Reply>,
    /// Answers to the next such requests, before the standing one.
    pub next: HashMap<String, VecDeque<Reply>>,
    /// Says nothing to requests of this method.
    pub swallow: Option<&'static str>,
    /// Looks at a request first: logging in.
    pub gate: Option<Gate>,
    pub log: Vec<Seen>,
    pub connections: u32,
}

#[derive(Clone)]
pub struct Server {
    state: Arc<Mutex<State>>,
    pub address: SocketAddr,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { state: Arc::default(), address };
        let state = Arc::clone(&server.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&state)));
            }
        });
        server
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A standing answer, like ("GET /api/v1/summary", …).
    pub fn answer(&self, line: &str, reply: Reply) {
        self.state().answers.insert(line.to_owned(), reply);
    }

    pub fn count(&self, line: &str) -> usize {
        self.state().log.iter().filter(|seen| seen.line == line).count()
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                _ => return,
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
        let header = |name: &str| {
            head.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
        while buffer.len() < end + length {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                _ => return,
            }
        }
        let seen = Seen {
            line: head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned(),
            authorization: header("authorization"),
            body: buffer[end..end + length].to_vec(),
        };
        buffer.drain(..end + length);
        let reply = {
            let mut state = state.lock().unwrap();
            state.log.push(seen.clone());
            if state.swallow.is_some_and(|method| seen.line.starts_with(method)) {
                None
            } else {
                let mut gate = state.gate.take();
                let refused = gate.as_mut().and_then(|gate| gate(&seen));
                state.gate = gate;
                let queued = || state.next.get_mut(&seen.line).and_then(VecDeque::pop_front);
                let reply = refused.or_else(queued);
                Some(reply.or_else(|| state.answers.get(&seen.line).cloned()).unwrap_or(Reply::new(404, "")))
            }
        };
        let Some(reply) = reply else {
            tokio::time::sleep(Duration::from_secs(10)).await;
            return;
        };
        let mut answer = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.len());
        for header in reply.headers {
            answer.push_str(&header);
            answer.push_str("\r\n");
        }
        let mut answer = format!("{answer}\r\n").into_bytes();
        answer.extend(reply.body);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
