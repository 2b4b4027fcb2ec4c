//! Names of devices on the network, and connections to what is behind them.
//!
//! The system answers names in a thread that waits: for seconds where nobody answers the question for version 6 (mDNS), for
//! half a minute where the name server is gone. So each name is asked for once at a time, whoever waits for it, and few are
//! asked for at once, so that a fleet of names does not take the threads that others need. A name whose address is known from before is not waited for longer than [`PATIENCE`]; then, and where it is not answered at all, the
//! addresses that it had last are used for [`KEPT`] more. Each connection asks anew, so a device that moves is found.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::{Clock, Moment};

/// How long a new answer is waited for where an earlier one is known. Name servers of a site answer in a few milliseconds.
const PATIENCE: Duration = Duration::from_millis(250);
/// For how long an answer is used while the name is not answered any more.
const KEPT: Duration = Duration::from_secs(3_600);
/// Names that are asked for at the same time.
const AT_ONCE: usize = 64;
/// Names that are remembered; more than any site has.
const MOST: usize = 20_000;
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;
/// The next address of a name is tried when the one before has not answered for so long (RFC 8305, 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The addresses of a name, with any port.
type Addresses = Arc<[SocketAddr]>;
/// What became of a question. Errors are told to several, so they are copies.
type Answer = Result<Addresses, (io::ErrorKind, String)>;
/// A question to the system.
type Asking = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Opens a TCP connection to a name or an address, without a time limit of its own.
///
/// # Errors
/// The name is not known, or nobody listens at any of its addresses.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return TcpStream::connect((ip, port)).await;
    }
    let addresses = NAMES.addresses(host, port).await?;
    let (stream, address) = first(&addresses, TcpStream::connect).await?;
    NAMES.prefer(host, address.ip());
    Ok(stream)
}

/// The address of a name: the one that was last connected to, where that is still one of them.
///
/// # Errors
/// The name is not known.
pub(crate) async fn address(host: &str, port: u16) -> io::Result<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let addresses = NAMES.addresses(host, port).await?;
    addresses.first().map(SocketAddr::ip).ok_or_else(nowhere)
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    Names::new(|host| Box::pin(async move { Ok(tokio::net::lookup_host((&*host, 0)).await?.collect()) }))
});

fn nowhere() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

/// What is known of a name.
#[derive(Default)]
struct Known {
    /// Its latest answer that was one, and when that came.
    answer: Option<(Addresses, Moment)>,
    /// The address that was last connected to.
    preferred: Option<IpAddr>,
    /// The question that is under way.
    asking: Option<watch::Receiver<Option<Answer>>>,
}

/// The names that were asked for.
struct Names {
    ask: fn(Arc<str>) -> Asking,
    clock: Clock,
    known: Arc<Mutex<BTreeMap<Arc<str>, Known>>>,
    turns: Arc<Semaphore>,
}

fn locked(known: &Mutex<BTreeMap<Arc<str>, Known>>) -> MutexGuard<'_, BTreeMap<Arc<str>, Known>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Names {
    fn new(ask: fn(Arc<str>) -> Asking) -> Self {
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        Self { ask, clock: Clock::start(), known: Arc::default(), turns }
    }

    /// The addresses of a name, in the order in which they are to be tried. Devices have those of version 4, and a name that
    /// has one of version 6 too mostly leads nowhere by that.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host: Arc<str> = host.into();
        let mut asking = self.question(&host);
        let answered = async {
            let answer = asking.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone());
            // The question ended with the runtime that asked it.
            answer.unwrap_or_else(|| {
                Err((io::ErrorKind::Interrupted, String::from("the name was not answered")))
            })
        };
        let (known, preferred) = self.known(&host);
        let answer = match known {
            None => answered.await,
            Some(known) => match timeout(PATIENCE, answered).await {
                Ok(Ok(new)) => Ok(new),
                Ok(Err(_)) | Err(_) => {
                    tracing::debug!(
                        name = &*host,
                        "the name is not answered; the address that it had last is used"
                    );
                    Ok(known)
                }
            },
        };
        let answer = answer.map_err(|(kind, words)| io::Error::new(kind, words))?;
        let mut addresses = answer.to_vec();
        addresses.sort_by_key(|address| (Some(address.ip()) != preferred, address.is_ipv6()));
        addresses.truncate(MOST_ADDRESSES);
        addresses.iter_mut().for_each(|address| address.set_port(port));
        Ok(addresses)
    }

    /// What a name's answer was, where it is not too old, and which of its addresses answered.
    fn known(&self, host: &str) -> (Option<Addresses>, Option<IpAddr>) {
        let now = self.clock.now();
        let known = locked(&self.known);
        let Some(known) = known.get(host) else { return (None, None) };
        let answer = known.answer.as_ref().filter(|(_, at)| now.since(*at) < KEPT);
        (answer.map(|(addresses, _)| Arc::clone(addresses)), known.preferred)
    }

    /// The question that is under way, or a new one, which goes on whoever stops waiting for it.
    fn question(&self, host: &Arc<str>) -> watch::Receiver<Option<Answer>> {
        let mut names = locked(&self.known);
        if names.len() >= MOST && !names.contains_key(host) {
            names.clear();
        }
        let known = names.entry(Arc::clone(host)).or_default();
        // One whose runtime is gone is never answered.
        if let Some(asking) = known.asking.as_ref().filter(|asking| asking.has_changed().is_ok()) {
            return asking.clone();
        }
        let (tell, asking) = watch::channel(None);
        known.asking = Some(asking.clone());
        let (ask, clock, turns) = (self.ask, self.clock, Arc::clone(&self.turns));
        let (names, host) = (Arc::clone(&self.known), Arc::clone(host));
        tokio::spawn(async move {
            let _turn = turns.acquire_owned().await;
            let found = ask(Arc::clone(&host)).await;
            let answer: Answer = match found {
                Ok(addresses) if addresses.is_empty() => {
                    Err((io::ErrorKind::NotFound, nowhere().to_string()))
                }
                Ok(addresses) => Ok(addresses.into()),
                Err(error) => Err((error.kind(), error.to_string())),
            };
            if let Some(known) = locked(&names).get_mut(&host) {
                known.asking = None;
                if let Ok(addresses) = &answer {
                    known.answer = Some((Arc::clone(addresses), clock.now()));
                }
            }
            tell.send_replace(Some(answer));
        });
        asking
    }

    /// Takes note that somebody answered there.
    fn prefer(&self, host: &str, ip: IpAddr) {
        if let Some(known) = locked(&self.known).get_mut(host) {
            known.preferred = Some(ip);
        }
    }
}

/// Connects to the first of several addresses that answers: each is tried when the one before has failed, or has not answered
/// for a moment.
async fn first<T, F>(addresses: &[SocketAddr], open: impl Fn(SocketAddr) -> F) -> io::Result<(T, SocketAddr)>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut failed = None;
    let mut rest = addresses.iter().copied();
    loop {
        let next = rest.next();
        if let Some(address) = next {
            let opening = open(address);
            attempts.spawn(async move { opening.await.map(|stream| (stream, address)) });
        }
        let delay = async {
            match next {
                Some(_) => sleep(NEXT_ADDRESS).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => failed = failed.or(Some(error)),
                Some(Err(_)) => {}
                None => return Err(failed.unwrap_or_else(nowhere)),
            },
            () = delay => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const V4: &str = "10.0.0.7:0";
    const V6: &str = "[fe80::7]:0";

    fn parsed(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    fn ports(addresses: &[&str]) -> Vec<SocketAddr> {
        let mut addresses = parsed(addresses);
        addresses.iter_mut().for_each(|address| address.set_port(80));
        addresses
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_answered_any_more_leads_where_it_led_before() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = Names::new(|_| {
            Box::pin(async {
                match ASKED.fetch_add(1, Ordering::Relaxed) {
                    0 => Ok(parsed(&[V6, V4])),
                    // The server is gone: it takes long to say so.
                    1..=2 => {
                        sleep(Duration::from_secs(30)).await;
                        Err(io::Error::other("Temporary failure in name resolution"))
                    }
                    // The device has moved.
                    3 => Ok(parsed(&["10.0.0.8:0"])),
                    _ => Err(io::Error::other("Name or service not known")),
                }
            })
        });
        let begun = names.clock.now();
        let asked = || async { (names.addresses("miner", 80).await, names.clock.now().since(begun)) };
        let (found, took) = asked().await;
        assert_eq!((found.unwrap(), took), (ports(&[V4, V6]), Duration::ZERO), "version 4 first");
        for expected in [1, 2] {
            let (found, took) = asked().await;
            assert_eq!((found.unwrap(), took), (ports(&[V4, V6]), PATIENCE * expected));
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 2, "one question at a time");
        sleep(Duration::from_secs(60)).await;
        assert!(asked().await.0.is_ok());
        sleep(Duration::from_secs(60)).await;
        assert_eq!(asked().await.0.unwrap(), ports(&["10.0.0.8:0"]), "a device that moves is found");
        sleep(KEPT - Duration::from_secs(1)).await;
        assert_eq!(asked().await.0.unwrap(), ports(&["10.0.0.8:0"]));
        sleep(Duration::from_secs(2)).await;
        assert!(asked().await.0.unwrap_err().to_string().contains("not known"), "and not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn many_names_that_nobody_answers_take_few_threads_and_one_question_each() {
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        static MOST_UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = Arc::new(Names::new(|_| {
            Box::pin(async {
                ASKED.fetch_add(1, Ordering::Relaxed);
                let now = UNDER_WAY.fetch_add(1, Ordering::Relaxed) + 1;
                MOST_UNDER_WAY.fetch_max(now, Ordering::Relaxed);
                sleep(Duration::from_secs(10)).await;
                UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
                Err(io::Error::other("no"))
            })
        }));
        for _ in 0..3 {
            for number in 0..100 {
                let names = Arc::clone(&names);
                tokio::spawn(async move {
                    let name = format!("miner-{number}");
                    let asking = names.addresses(&name, 80);
                    // Whoever asks gives up long before.
                    assert!(timeout(Duration::from_secs(2), asking).await.is_err());
                });
            }
            sleep(Duration::from_secs(3)).await;
        }
        sleep(Duration::from_secs(100)).await;
        assert_eq!((ASKED.load(Ordering::Relaxed), UNDER_WAY.load(Ordering::Relaxed)), (100, 0));
        assert_eq!(MOST_UNDER_WAY.load(Ordering::Relaxed), AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_leads_nowhere_does_not_keep_the_next_one_waiting() {
        async fn open(address: SocketAddr) -> io::Result<u8> {
            match address.port() {
                1 => std::future::pending().await,
                2 => Err(io::Error::other("refused")),
                _ => Ok(7),
            }
        }
        let clock = Clock::start();
        let places = |ports: &[u16]| -> Vec<SocketAddr> {
            ports.iter().map(|port| SocketAddr::from(([10, 0, 0, 1], *port))).collect()
        };
        let (stream, address) = first(&places(&[1, 2, 3]), open).await.unwrap();
        assert_eq!((stream, address.port(), clock.now()), (7, 3, Moment::START + NEXT_ADDRESS));
        // The one that answered is the first from then on.
        let names = Names::new(|_| Box::pin(async { Ok(parsed(&[V4, "10.0.0.9:0", V6])) }));
        names.addresses("miner", 80).await.unwrap();
        names.prefer("miner", "fe80::7".parse().unwrap());
        assert_eq!(names.addresses("miner", 80).await.unwrap(), ports(&[V6, V4, "10.0.0.9:0"]));
        let refused = first(&places(&[2, 2]), open).await.unwrap_err();
        assert_eq!(refused.to_string(), "refused");
        assert!(first(&[], open).await.is_err());
    }
}
