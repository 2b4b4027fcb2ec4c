//! A little HTTP miner for the driver tests: answers by path, answers to the next commands in order, and a log.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

/// One request as the little miner saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    pub token: Option<String>,
    pub body: Vec<u8>,
}

/// What the little miner does.
#[derive(Default)]
pub struct State {
    /// Answers by method and path.
    answers: HashMap<String, (u16, Vec<u8>)>,
    /// Answers to the next commands that have none of their own, in order.
    commands: VecDeque<(u16, Vec<u8>)>,
    /// Says nothing to commands.
    pub swallow: bool,
    pub log: Vec<Seen>,
}

#[derive(Clone)]
pub struct HttpMiner {
    pub state: Arc<Mutex<State>>,
    pub address: SocketAddr,
}

impl HttpMiner {
    /// Listens on a port of its own at this loopback address.
    pub async fn start(place: &str) -> Self {
        let listener = TcpListener::bind(place).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { state, address }
    }

    /// Sets the answer to a method and path.
    pub fn answer(&self, line: &str, status: u16, body: impl Into<Vec<u8>>) {
        self.state.lock().unwrap().answers.insert(line.to_owned(), (status, body.into()));
    }

    /// Queues the answer to a command.
    pub fn command(&self, status: u16, body: &str) {
        self.state.lock().unwrap().commands.push_back((status, body.as_bytes().to_vec()));
    }

    /// The commands that came, as "method path body".
    pub fn commands(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let writes = state.log.iter().filter(|seen| !seen.line.starts_with("GET "));
        writes
            .map(|seen| {
                format!("{} {}", seen.line, String::from_utf8_lossy(&seen.body)).trim_end().to_owned()
            })
            .collect()
    }
}

async fn serve(
    Shared(state): Shared<Arc<Mutex<State>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let line = format!("{method} {}", uri.path());
    let answer = {
        let mut state = state.lock().unwrap();
        let token = headers.get("token").map(|token| token.to_str().unwrap().to_owned());
        state.log.push(Seen { line: line.clone(), token, body: body.to_vec() });
        if state.swallow && method != Method::GET {
            None
        } else if let Some(answer) = state.answers.get(&line).cloned() {
            Some(answer)
        } else if method == Method::GET {
            Some((404, Vec::new()))
        } else {
            Some(state.commands.pop_front().unwrap_or((404, Vec::new())))
        }
    };
    match answer {
        Some((status, body)) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        None => {
            tokio::time::sleep(Duration::from_secs(10)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
    }
}
