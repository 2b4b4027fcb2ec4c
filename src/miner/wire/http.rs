//! One connection to one miner over HTTP/1.1, without the machinery that a client for the whole web needs: no pool
//! over all hosts, no proxies, no task for each connection. A request and its connection run in the task of the session that
//! waits for the answer, so a shed of a whole fleet costs little more than its bytes.
//!
//! The connection is kept for the next request where both sides want that, and for [`IDLE`] at the most. A request that is
//! dropped takes its connection with it, so no late answer is ever taken for that of another request. HTTP/1.1 does not say which
//! answer belongs to which request: a device that has once sent what nobody asked for, such as a second answer, gets a connection
//! for each request from then on.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::header::{ACCEPT, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use reqwest::{Body, RequestBuilder};

use crate::clock::{Clock, Moment};
use crate::miner::DriverError;
use crate::miner::wire::exchange::{Answer, MAX_REFUSAL};
use crate::miner::wire::stream::Stream;
use crate::miner::wire::{MAX_REPLY, Place};

/// A connection that was idle for longer is not used again: the miner may be about to close it.
const IDLE: Duration = Duration::from_secs(60);

/// An open connection.
struct Open {
    sender: SendRequest<Body>,
    connection: Pin<Box<Connection<TokioIo<Stream>, Body>>>,
}

/// The connection that was kept, and since when.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Keeping>>);

#[derive(Default)]
struct Keeping {
    open: Option<(Open, Moment)>,
    /// The device sends what nobody asks for.
    never: bool,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Kept {
    /// Takes it, where it is still good.
    async fn take(&self, clock: Clock) -> Option<Open> {
        let (mut open, since) = self.keeping().open.take()?;
        // One that the miner has closed meanwhile ends now, and so does one on which something waits.
        let now = poll_fn(|context| Poll::Ready(open.connection.as_mut().poll(context))).await;
        self.note(&now);
        let good = now.is_pending() && clock.now() - since < IDLE && !open.sender.is_closed();
        good.then_some(open)
    }

    fn put(&self, open: Open, clock: Clock) {
        let mut keeping = self.keeping();
        if !keeping.never && !open.sender.is_closed() {
            keeping.open = Some((open, clock.now()));
        }
    }

    /// How a connection ended between two requests: by an error that comes neither from the transport nor from a message that
    /// was begun, where something came unasked.
    fn note(&self, ended: &Poll<hyper::Result<()>>) {
        if let Poll::Ready(Err(error)) = ended
            && error.source().is_none()
            && !(error.is_incomplete_message() || error.is_parse())
        {
            self.keeping().never = true;
        }
    }

    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no answer.
enum Failure {
    /// The connection was over before the miner began to answer, and doing the same again does no harm: a request that never
    /// left, or one that asks and changes nothing.
    Stale,
    Told(DriverError),
}

/// One request and its answer, without a time limit of its own. A connection that was kept and turns out to be over is
/// replaced once: miners close those that are idle for seconds, just when the next question comes.
///
/// # Errors
/// No connection, no HTTP, an answer larger than 1 MiB. A refusal is an answer.
pub async fn exchange(
    place: &Place,
    name: &'static str,
    builder: RequestBuilder,
) -> Result<Answer, DriverError> {
    let unfit = || place.malformed(name, "the request cannot be built; check the address");
    let again = builder.try_clone();
    let request = prepared(place, builder).ok_or_else(unfit)?;
    let request = match place.kept().take(place.clock()).await {
        None => request,
        Some(open) => match (talk(place, name, open, request).await, again) {
            (Ok(answer), _) => return Ok(answer),
            (Err(Failure::Stale), Some(again)) => prepared(place, again).ok_or_else(unfit)?,
            (Err(Failure::Stale), None) => return Err(broken(place, name)),
            (Err(Failure::Told(error)), _) => return Err(error),
        },
    };
    let stream = TokioIo::new(place.open().await?);
    // As in `tls::client`.
    let handshake = Builder::new()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(stream);
    let (sender, connection) = handshake.await.map_err(|_| broken(place, name))?;
    let open = Open { sender, connection: Box::pin(connection) };
    talk(place, name, open, request).await.map_err(|failure| match failure {
        Failure::Stale => broken(place, name),
        Failure::Told(error) => error,
    })
}

/// One request and its answer over an open connection, which is kept afterwards where both sides want that.
async fn talk(
    place: &Place,
    name: &'static str,
    open: Open,
    request: Request<Body>,
) -> Result<Answer, Failure> {
    let Open { mut sender, mut connection } = open;
    let asks = *request.method() == Method::GET;
    let talk = async {
        sender.ready().await.map_err(|_| Failure::Stale)?;
        let response = sender.send_request(request).await.map_err(|error| {
            let over = error.is_canceled() || asks && !error.is_parse();
            if over { Failure::Stale } else { Failure::Told(broken(place, name)) }
        })?;
        let (head, body) = response.into_parts();
        let whole = head.status.is_success();
        let (body, ended) = read(place, name, body, whole).await.map_err(Failure::Told)?;
        Ok((Answer { status: head.status, headers: head.headers, body }, ended))
    };
    let mut gone = false;
    // Boxed, so that it can be dropped before what it borrows.
    let mut talk = Box::pin(talk);
    let outcome = poll_fn(|context| {
        let mut outcome = talk.as_mut().poll(context);
        let mut look = |context: &mut Context<'_>| {
            if !gone {
                let now = connection.as_mut().poll(context);
                place.kept().note(&now);
                gone = now.is_ready();
            }
        };
        look(context);
        if outcome.is_pending() {
            outcome = talk.as_mut().poll(context);
            // One that is not to be kept closes as soon as it is looked at, and one on which more waits ends.
            if outcome.is_ready() {
                look(context);
            }
        }
        outcome
    })
    .await;
    drop(talk);
    let (answer, read_to_its_end) = outcome?;
    if read_to_its_end && !gone {
        place.kept().put(Open { sender, connection }, place.clock());
    }
    Ok(answer)
}

/// The request as it goes over the wire; `None` where it cannot be built.
fn prepared(place: &Place, builder: RequestBuilder) -> Option<Request<Body>> {
    let request = builder.build().ok().filter(|request| request.url().scheme() == place.scheme())?;
    let url = request.url();
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str()?),
        None => url.host_str()?.to_owned(),
    };
    let mut request = Request::<Body>::try_from(request).ok()?;
    let path = request.uri().path_and_query().cloned()?;
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(&host).ok()?);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(crate::tls::AGENT));
    Some(request)
}

/// Reads the body: whole where it must be, else as much as tells why it was refused. Says whether that was all of it.
async fn read(
    place: &Place,
    name: &'static str,
    mut body: Incoming,
    whole: bool,
) -> Result<(Vec<u8>, bool), DriverError> {
    let limit = if whole { MAX_REPLY } else { MAX_REFUSAL };
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| broken(place, name))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if read.len() + chunk.len() > limit {
            if whole {
                return Err(place.malformed(name, "it is larger than 1 MiB"));
            }
            read.extend_from_slice(chunk.get(..limit - read.len()).unwrap_or_default());
            return Ok((read, false));
        }
        read.extend_from_slice(&chunk);
    }
    Ok((read, true))
}

fn broken(place: &Place, name: &'static str) -> DriverError {
    place.malformed(name, "it is not HTTP, or the connection broke")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use reqwest::Client;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;

    use super::*;
    use crate::miner::wire::exchange;
    use crate::miner::{Connection, DriverKind, Endpoint, http_client};
    use crate::units::Watts;

    /// A device that says this to each request, on as many connections as come.
    struct Device {
        place: Place,
        base: String,
        connections: Arc<AtomicUsize>,
        heard: Arc<Mutex<Vec<String>>>,
        /// Lets it say its answer once more, unasked.
        again: Arc<Notify>,
        http: Client,
    }

    impl Device {
        async fn start(answer: &'static [u8], closes_after: usize) -> Self {
            Self::with(answer, closes_after, usize::MAX).await
        }

        /// It hears one request more on each connection than it answers.
        async fn mute_after(answer: &'static [u8], answers: usize) -> Self {
            Self::with(answer, answers + 1, answers).await
        }

        async fn with(answer: &'static [u8], closes_after: usize, answers: usize) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let (connections, heard) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
            let again = Arc::<Notify>::default();
            let (count, told, unasked) = (Arc::clone(&connections), Arc::clone(&heard), Arc::clone(&again));
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    for number in 0..closes_after {
                        let mut request = Vec::new();
                        while !request.ends_with(b"\r\n\r\n") {
                            let read = tokio::select! {
                                read = stream.read_buf(&mut request) => read,
                                () = unasked.notified() => stream.write_all(answer).await.map(|()| 1),
                            };
                            if !read.is_ok_and(|count| count > 0) {
                                break;
                            }
                        }
                        if request.is_empty() {
                            break;
                        }
                        told.lock().unwrap().push(String::from_utf8(request).unwrap());
                        if number < answers {
                            stream.write_all(answer).await.unwrap();
                        }
                    }
                }
            });
            let connection = Connection {
                name: "m1".into(),
                driver: DriverKind::AxeOs,
                endpoint: Endpoint { host: "127.0.0.1".into(), port },
                credentials: None,
                timeout: Duration::from_secs(5),
                rated: Watts::whole(15),
                device: None,
                certificate: None,
                gpus: None,
                pause: None,
                rated_is_told: true,
            };
            let place = Place::new(&connection);
            let base = format!("http://127.0.0.1:{port}");
            Self { place, base, connections, heard, again, http: http_client().unwrap() }
        }

        async fn ask(&self, path: &str) -> Result<Answer, DriverError> {
            exchange::over_http(&self.place, "question", self.http.get(format!("{}{path}", self.base))).await
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_one_that_the_miner_closed_is_replaced() {
        let device = Device::start(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 3).await;
        for connections in [1, 1, 1, 2, 2] {
            assert_eq!(device.ask("/info?a=1").await.unwrap().body, b"{}");
            assert_eq!(device.connections(), connections);
            // The end that the device sends after its last answer has come by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let heard = device.heard.lock().unwrap().first().cloned().unwrap().to_ascii_lowercase();
        assert!(heard.starts_with("get /info?a=1 http/1.1\r\n"), "{heard}");
        let host = device.base.trim_start_matches("http://");
        for line in [format!("host: {host}"), "accept: */*".into(), "user-agent: ballast/".into()] {
            assert!(heard.contains(&line), "{heard}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_ends_just_when_it_is_used_again_fails_no_question_and_repeats_no_command() {
        // It takes the second request of each connection and closes without a word.
        let device = Device::mute_after(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 1).await;
        for connections in [1, 2, 3] {
            assert_eq!(device.ask("/").await.unwrap().body, b"{}");
            assert_eq!(device.connections(), connections);
        }
        let command = device.http.post(format!("{}/power", device.base));
        let outcome = exchange::over_http(&device.place, "command", command).await;
        assert!(matches!(outcome, Err(DriverError::Malformed { .. })), "it may have been carried out");
        assert_eq!(device.heard.lock().unwrap().iter().filter(|heard| heard.starts_with("POST")).count(), 1);
    }

    #[tokio::test]
    async fn every_way_to_end_a_body_is_understood_and_nothing_is_kept_that_ends_with_it() {
        for (answer, kept) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"[..], true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", false),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", false),
        ] {
            let device = Device::start(answer, usize::MAX).await;
            assert_eq!(device.ask("/").await.unwrap().body, b"{}");
            assert_eq!(device.place.kept().take(device.place.clock()).await.is_some(), kept);
        }
        let closing = Device::start(b"HTTP/1.1 200 OK\r\n\r\n{}", 1).await;
        assert_eq!(closing.ask("/").await.unwrap().body, b"{}");
        assert!(closing.place.kept().take(closing.place.clock()).await.is_none());
    }

    #[tokio::test]
    async fn what_embedded_servers_write_into_headers_spoils_no_answer() {
        for answer in [
            &b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nX Bad: a\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nno header at all\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nServer: a\x01b\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ] {
            let device = Device::start(answer, 1).await;
            let said = String::from_utf8_lossy(answer);
            assert_eq!(device.ask("/").await.unwrap().body, b"{}", "{said}");
            // Discovery, and who asks a miner who it is, use the client itself.
            let device = Device::start(answer, 1).await;
            let page = device.http.get(&device.base).send().await.unwrap().bytes().await.unwrap();
            assert_eq!(page, &b"{}"[..], "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_no_http_is_told_and_so_is_a_long_refusal_cut_off() {
        for answer in [&b"SSH-2.0-OpenSSH_9\r\n"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"] {
            let device = Device::start(answer, 1).await;
            assert!(matches!(device.ask("/").await, Err(DriverError::Malformed { .. })));
        }
        let mut long = b"HTTP/1.1 500 No\r\nContent-Length: 9000\r\n\r\n".to_vec();
        long.resize(long.len() + 9_000, b'x');
        let device = Device::start(long.leak(), usize::MAX).await;
        for connections in [1, 2] {
            assert_eq!(device.ask("/").await.unwrap().body.len(), MAX_REFUSAL);
            assert_eq!(device.connections(), connections, "what is left of it belongs to no other answer");
        }
    }

    #[tokio::test]
    async fn a_device_that_answers_twice_is_never_a_question_behind() {
        const ONE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        // Both at once: the second one is there as soon as the first has been read.
        let device = Device::start([ONE, ONE].concat().leak(), usize::MAX).await;
        for connections in [1, 2, 3] {
            assert_eq!(device.ask("/").await.unwrap().body, b"{}");
            assert_eq!(device.connections(), connections, "the other answer belongs to no question");
        }
        // Late: it comes between two questions, and from then on no connection is kept for a third one to be in its way.
        let device = Device::start(ONE, usize::MAX).await;
        assert_eq!(device.ask("/").await.unwrap().body, b"{}");
        assert!(device.place.kept().keeping().open.is_some());
        device.again.notify_one();
        while device.place.kept().take(device.place.clock()).await.is_some_and(|open| {
            device.place.kept().put(open, device.place.clock());
            true
        }) {
            tokio::task::yield_now().await;
        }
        for connections in [2, 3] {
            assert_eq!(device.ask("/").await.unwrap().body, b"{}");
            assert_eq!(device.connections(), connections);
        }
        // One that only closes, or breaks, is kept as ever: `a_connection_is_kept_and_one_that_the_miner_closed_is_replaced`.
    }

    #[tokio::test]
    async fn a_question_that_is_dropped_takes_its_connection_with_it() {
        let device = Device::start(b"", usize::MAX).await;
        for connections in [1, 2] {
            let heard = async {
                while device.heard.lock().unwrap().len() < connections {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                _ = device.ask("/") => panic!("nobody answers"),
                () = heard => {}
            }
            assert_eq!(device.connections(), connections);
        }
    }
}
