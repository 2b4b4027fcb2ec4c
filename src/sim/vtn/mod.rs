//! A virtual top node of OpenADR 3 on loopback: programmes, events, tokens, pages and a box for reports, and everything
//! that goes wrong with such servers.
//!
//! It speaks versions 3.0 and 3.1 as far as a polling end node sees them. Whoever has a token may also put events in over
//! HTTP, so that a person can try it by hand.

mod body;
mod routes;
pub(super) mod script;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::{Clock, Moment};
use crate::control::signal::Wall;
use crate::signal::openadr::time::write_moment;

/// Most events and programmes, and most reports that are kept.
const MOST: usize = 5_000;
/// Most tokens that are good at once; the oldest go first.
const MOST_TOKENS: usize = 64;

/// Who may come in, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name and secret of the one client; `None` lets everybody in.
    pub client: Option<(String, String)>,
    /// For how long a token is good.
    pub token_life: Duration,
    /// The path at which the API begins; empty for none.
    pub root: String,
    /// Most entries of a page, whatever is asked for; at least 1.
    pub page: usize,
}

impl Default for Options {
    fn default() -> Self {
        let client = Some((String::from("site"), String::from("vtn-secret")));
        Self {
            client,
            token_life: Duration::from_secs(3_600),
            root: String::from("/openadr3/3.1.0"),
            page: 50,
        }
    }
}

/// What can go wrong. Each lasts until it is cleared.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Requests are taken and never answered.
    Hang,
    /// 401, whatever the token.
    Unauthorised,
    /// A token that is not known is refused with 403, as some gateways do, instead of 401.
    Forbids,
    /// The token server gives no token (401, `invalid_client`).
    NoToken,
    /// 500.
    ServerError,
    /// The answer ends in the middle, and the connection with it.
    HalfAnswer,
    /// The answer ends in the middle, with a length that fits.
    CutJson,
    /// The answer is a page for people.
    Html,
    /// The answer is an object where a list is expected.
    NoList,
    /// The clock is off by so much; ahead where it says so.
    Skew {
        /// By how much.
        by: Duration,
        /// Ahead of ours, or behind it.
        ahead: bool,
    },
    /// An event that makes no sense stands among the others; the text is its JSON.
    BadEvent(String),
    /// The answer never ends.
    Endless,
    /// Every request is sent elsewhere.
    Redirect(String),
    /// Pages begin where they like: `skip` is not known.
    NoSkip,
    /// The box for reports is broken (500); the rest is in order.
    NoReports,
}

/// What was asked of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tokens that were given.
    pub tokens: u64,
    /// Requests for the list of events that were answered in full.
    pub events: u64,
    /// All requests.
    pub requests: u64,
    /// Requests that carried a token to where none is known, or none where one is needed.
    pub refused: u64,
}

struct State {
    programmes: BTreeMap<String, Value>,
    /// In the order in which they came.
    events: Vec<Value>,
    reports: Vec<Value>,
    tokens: Vec<(String, Moment)>,
    counts: Counts,
    next: u64,
}

struct Shared {
    options: Options,
    clock: Clock,
    address: SocketAddr,
    faults: watch::Sender<Vec<Fault>>,
    state: Mutex<State>,
}

/// A running top node. It ends when it is dropped.
pub struct Vtn {
    shared: Arc<Shared>,
    _guard: DropGuard,
}

impl std::fmt::Debug for Vtn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vtn").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

impl Vtn {
    /// Listens at an address of this computer; port 0 takes any.
    ///
    /// # Errors
    /// The address is not loopback, or cannot be opened.
    pub async fn start(address: SocketAddr, options: Options, clock: Clock) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let words =
                format!("{address} is not loopback; a simulated top node is served on 127.0.0.1 or ::1 only");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let listener = tokio::net::TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            options,
            clock,
            address: listener.local_addr()?,
            faults: watch::Sender::new(Vec::new()),
            state: Mutex::new(State {
                programmes: BTreeMap::new(),
                events: Vec::new(),
                reports: Vec::new(),
                tokens: Vec::new(),
                counts: Counts::default(),
                next: 1,
            }),
        });
        let cancel = CancellationToken::new();
        tokio::spawn(routes::serve(listener, shared.clone(), cancel.clone()));
        Ok(Self { shared, _guard: cancel.drop_guard() })
    }

    /// Where its API begins.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.shared.address, self.shared.options.root)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Puts a programme in, in the place of one with the same `id`; gives the id.
    pub fn put_programme(&self, programme: Value) -> String {
        let mut state = self.shared.state();
        let (id, programme) = state.complete(programme, "PROGRAM", wall());
        if state.programmes.len() < MOST {
            state.programmes.insert(id.clone(), programme);
        }
        id
    }

    /// Takes a programme out.
    pub fn delete_programme(&self, id: &str) {
        self.shared.state().programmes.remove(id);
    }

    /// Puts an event in, in the place of one with the same `id`; gives the id. Dates of its own are kept, others are now.
    pub fn put_event(&self, event: Value) -> String {
        self.shared.put_event(event)
    }

    /// Takes an event out. `false` when there is none.
    pub fn delete_event(&self, id: &str) -> bool {
        self.shared.delete_event(id)
    }

    /// The reports that came, the latest last.
    pub fn reports(&self) -> Vec<Value> {
        self.shared.state().reports.clone()
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
        self.shared.state().counts
    }

    /// Makes every token that was given worthless.
    pub fn revoke_tokens(&self) {
        self.shared.state().tokens.clear();
    }

    /// Lets faults begin; those that are not named end.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults.send_replace(faults.into_iter().collect());
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, fault: &Fault) -> bool {
        self.faults.borrow().contains(fault)
    }

    fn put_event(&self, event: Value) -> String {
        let mut state = self.state();
        let (id, event) = state.complete(event, "EVENT", wall());
        let same = |known: &Value| known.get("id").and_then(Value::as_str) == Some(&id);
        match state.events.iter().position(same) {
            Some(at) => {
                if let Some(known) = state.events.get_mut(at) {
                    *known = event;
                }
            }
            None if state.events.len() < MOST => state.events.push(event),
            None => {}
        }
        id
    }

    fn delete_event(&self, id: &str) -> bool {
        let mut state = self.state();
        let before = state.events.len();
        state.events.retain(|event| event.get("id").and_then(Value::as_str) != Some(id));
        state.events.len() < before
    }

    /// The server's clock, as it shows it.
    fn wall(&self) -> Wall {
        let skew = self.faults.borrow().iter().find_map(|fault| match fault {
            Fault::Skew { by, ahead } => Some((*by, *ahead)),
            _ => None,
        });
        match skew {
            Some((by, true)) => wall().later(by),
            Some((by, false)) => wall().earlier(by),
            None => wall(),
        }
    }

    fn give_token(&self) -> String {
        let now = self.clock.now();
        let mut state = self.state();
        state.tokens.retain(|(_, until)| *until > now);
        while state.tokens.len() >= MOST_TOKENS {
            state.tokens.remove(0);
        }
        let token = format!("{:032x}", rand::random::<u128>());
        state.tokens.push((token.clone(), now + self.options.token_life));
        state.counts.tokens = state.counts.tokens.saturating_add(1);
        token
    }

    fn knows(&self, token: &str) -> bool {
        let now = self.clock.now();
        self.state().tokens.iter().any(|(known, until)| known == token && *until > now)
    }
}

impl State {
    /// What the server adds to an object that is put in.
    fn complete(&mut self, mut object: Value, kind: &str, now: Wall) -> (String, Value) {
        let id = object.get("id").and_then(Value::as_str).map(str::to_owned);
        let id = id.unwrap_or_else(|| {
            self.next += 1;
            format!("{}-{}", kind.to_lowercase(), self.next)
        });
        if let Some(fields) = object.as_object_mut() {
            let date = json!(write_moment(now));
            fields.insert("id".into(), json!(id));
            fields.entry("objectType").or_insert(json!(kind));
            fields.entry("createdDateTime").or_insert(date.clone());
            fields.entry("modificationDateTime").or_insert(date);
        }
        (id, object)
    }
}

fn wall() -> Wall {
    let since = crate::clock::wall().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
