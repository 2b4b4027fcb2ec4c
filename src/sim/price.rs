//! Somebody who tells a price over HTTP, on loopback, and can fail in the ways that such services do.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest request that is read.
const LARGEST: usize = 16 * 1024;
/// Most clients at once.
const MOST_CLIENTS: usize = 16;

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// A document, with status 200.
    Document(String),
    /// The same with this `Date`, as HTTP writes it.
    Dated(String, String),
    /// A status without a document.
    Status(u16),
    /// The beginning of a document, and then the end of the connection.
    Half(String),
    /// Nothing, ever.
    Nothing,
}

/// The running service. Dropping it ends it.
#[derive(Debug)]
pub struct PriceServer {
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    _guard: DropGuard,
}

impl PriceServer {
    /// Serves at an address of this machine.
    ///
    /// # Errors
    /// The address is not loopback, or cannot be listened on.
    pub async fn start(address: SocketAddr, says: Says) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a simulated service is on loopback alone",
            ));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::default());
        let cancel = CancellationToken::new();
        let serving = serve(listener, Arc::clone(&says), Arc::clone(&asked));
        tokio::spawn(cancel.clone().run_until_cancelled_owned(serving));
        Ok(Self { says, asked, address, _guard: cancel.drop_guard() })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it answers from now on.
    pub fn say(&self, says: Says) {
        *self.says.lock().unwrap_or_else(PoisonError::into_inner) = says;
    }

    /// The heads of the latest requests.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, says: Arc<Mutex<Says>>, asked: Arc<Mutex<Vec<String>>>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = clients.join_next() => {}
            accepted = listener.accept(), if clients.len() < MOST_CLIENTS => {
                if let Ok((stream, _)) = accepted {
                    clients.spawn(answer(stream, Arc::clone(&says), Arc::clone(&asked)));
                }
            }
        }
    }
}

async fn answer(mut stream: TcpStream, says: Arc<Mutex<Says>>, asked: Arc<Mutex<Vec<String>>>) {
    let Ok(Some(head)) = tokio::time::timeout(PATIENCE, head(&mut stream)).await else { return };
    {
        let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
        // The latest hundred.
        let surplus = asked.len().saturating_sub(99);
        asked.drain(..surplus);
        asked.push(head);
    }
    let says = says.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let whole = |body: &str, more: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{more}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let text = match says {
        Says::Document(body) => whole(&body, ""),
        Says::Dated(body, date) => whole(&body, &format!("date: {date}\r\n")),
        Says::Status(code) => format!("HTTP/1.1 {code} So\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
        Says::Half(body) => {
            let whole = whole(&body, "");
            whole.get(..whole.len().saturating_sub(body.len() / 2)).unwrap_or_default().to_owned()
        }
        Says::Nothing => {
            // Until the client has had enough.
            let _ = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
            return;
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Reads a request up to the empty line.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while bytes.len() < LARGEST {
        bytes.push(stream.read_u8().await.ok()?);
        if bytes.ends_with(b"\r\n\r\n") {
            return String::from_utf8(bytes).ok();
        }
    }
    None
}
