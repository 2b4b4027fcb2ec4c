//! The way to a top node: requests with a token, bounded in time and size. It follows no redirect, so that no token and no
//! secret goes anywhere but where the configuration says.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{DATE, HeaderValue};
use reqwest::{Client as Http, Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Mutex;

use super::settings::{Account, Settings};
use super::time::http_date;
use crate::clock::{Clock, Moment};
use crate::control::signal::Wall;
use crate::line::shorten;
use crate::oauth;
use crate::secret::Secret;

/// Largest answer, in bytes: fifty events of a thousand intervals.
const LARGEST: usize = 8 * 1024 * 1024;
/// Largest answer with a token, and how much of a refusal is read for its words.
const SMALL: usize = oauth::LARGEST;
/// A token is renewed when it is refused with 403, too, which gateways say of one that has ended: not sooner than this after
/// it was fetched, for 403 may mean more than that.
const FORBIDDEN_AFTER: Duration = Duration::from_secs(60);

/// Why the top node could not be heard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VenError {
    /// The HTTP client cannot be made.
    #[error(
        "cannot prepare TLS: {0}; install the certificates of the system (package ca-certificates), or name those of the \
         top node with `ca`"
    )]
    Prepare(String),
    /// No connection.
    #[error("cannot reach {place}: {cause}; check the network, the address and the certificate")]
    Unreachable {
        /// Where.
        place: String,
        /// The words of the system.
        cause: String,
    },
    /// No complete answer in time.
    #[error("{place} has not answered within {within:?}; it counts as not heard until it does")]
    Timeout {
        /// Where.
        place: String,
        /// The limit.
        within: Duration,
    },
    /// The connection ended in the middle, or what came is no HTTP.
    #[error("{place} has broken its answer off; if that goes on, look into the log of the top node")]
    Broken {
        /// Where.
        place: String,
    },
    /// 401, also with a new token.
    #[error("{place} refuses the token (HTTP 401); check the account and what it may do there")]
    Unauthorised {
        /// Where.
        place: String,
    },
    /// No token.
    #[error("no token from {place}: {why}; check `token_url`, `client_id` and `client_secret`")]
    NoToken {
        /// Where.
        place: String,
        /// Why.
        why: String,
    },
    /// An answer that is none.
    #[error("{place} answers HTTP {status}{title}")]
    Status {
        /// Where.
        place: String,
        /// The status.
        status: u16,
        /// The title of the problem (RFC 9457) in brackets, where there is one.
        title: String,
    },
    /// Larger than is read.
    #[error("the answer of {place} is larger than {most} bytes; it is not read")]
    TooLarge {
        /// Where.
        place: String,
        /// The bound.
        most: usize,
    },
    /// Not what was asked for.
    #[error("the answer of {place} is not {expected}; is `url` the beginning of an OpenADR 3 API?")]
    Malformed {
        /// Where.
        place: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The list changed while it was read page by page, time and again.
    #[error(
        "the list of {place} changes while it is read; what is known stays until it can be read as a whole"
    )]
    Moving {
        /// Where.
        place: String,
    },
    /// Longer than is read.
    #[error("the list of {place} has more than {most}; narrow it down with `program` or `targets`")]
    TooLong {
        /// Where.
        place: String,
        /// The bound.
        most: String,
    },
    /// There is no such programme.
    #[error(
        "the top node shows no programme `{0}` to this account; check `program` and what the account may see"
    )]
    NoProgramme(String),
}

/// An answer of the top node.
#[derive(Debug)]
pub struct Answer {
    /// The body.
    pub body: Value,
    /// How many bytes it came in.
    pub size: usize,
    /// How far the top node's clock is from ours by this answer; `None` where it does not tell.
    pub off: Option<Duration>,
}

/// Our wall clock.
pub type OwnWall = Arc<dyn Fn() -> Wall + Send + Sync>;

/// A token and until when it is used.
struct Token {
    secret: Secret,
    fetched: Moment,
    until: Moment,
}

/// Makes requests to one top node. Copies share one token.
#[derive(Clone)]
pub struct Client {
    http: Http,
    settings: Arc<Settings>,
    clock: Clock,
    wall: OwnWall,
    token: Arc<Mutex<Option<Token>>>,
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// [`VenError::Prepare`].
    pub fn new(settings: &Settings, clock: Clock, wall: OwnWall) -> Result<Self, VenError> {
        let prepare = |error: reqwest::Error| VenError::Prepare(innermost(&error));
        let plain = |url: &Url| url.scheme() == "http";
        let token_plain = match &settings.account {
            Account::Client { token_url, .. } => plain(token_url),
            Account::Nobody | Account::Bearer(_) => true,
        };
        let tls = settings.authorities.is_none() && !(plain(&settings.url) && token_plain);
        let mut builder = crate::tls::client(tls);
        if let Some(pem) = &settings.authorities {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem).map_err(prepare)?);
        }
        let http = builder
            .pool_max_idle_per_host(2)
            .pool_idle_timeout(Duration::from_secs(90))
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout)
            .build()
            .map_err(prepare)?;
        Ok(Self { http, settings: Arc::new(settings.clone()), clock, wall, token: Arc::default() })
    }

    /// The address of a path below the beginning of the API.
    pub fn address(&self, path: &[&str]) -> Url {
        let mut url = self.settings.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// [`VenError`]; a refused token is renewed once before.
    pub async fn get(&self, url: Url) -> Result<Answer, VenError> {
        self.ask(Method::GET, url, None).await
    }

    /// Hands JSON over.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post(&self, url: Url, body: &Value) -> Result<Answer, VenError> {
        self.ask(Method::POST, url, Some(body)).await
    }

    async fn ask(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Answer, VenError> {
        let place = place(&url);
        let mut renewed = false;
        loop {
            let mut request =
                self.http.request(method.clone(), url.clone()).header("Accept", "application/json");
            if let Some(body) = body {
                request = request.json(body);
            }
            let token = self.authorisation().await?;
            if let Some(token) = &token {
                request = request.header("Authorization", bearer(token)?);
            }
            let (status, off, bytes) = self.send(request, &place, LARGEST).await?;
            if status == StatusCode::UNAUTHORIZED {
                let can_renew = matches!(self.settings.account, Account::Client { .. });
                self.forget(token.as_ref(), Duration::ZERO).await;
                if !can_renew || renewed {
                    return Err(VenError::Unauthorised { place });
                }
                renewed = true;
                continue;
            }
            if status == StatusCode::FORBIDDEN
                && !renewed
                && self.forget(token.as_ref(), FORBIDDEN_AFTER).await
            {
                renewed = true;
                continue;
            }
            if !status.is_success() {
                let title = self.title(&bytes).await;
                return Err(VenError::Status { place, status: status.as_u16(), title });
            }
            // An answer to a report may be empty.
            if body.is_some() && bytes.is_empty() {
                return Ok(Answer { body: Value::Null, size: 0, off });
            }
            let Ok(body) = serde_json::from_slice(&bytes) else {
                return Err(VenError::Malformed { place, expected: "JSON" });
            };
            return Ok(Answer { body, size: bytes.len(), off });
        }
    }

    /// Sends a request and reads the answer within the time limit.
    async fn send(
        &self,
        request: RequestBuilder,
        place: &str,
        most: usize,
    ) -> Result<(StatusCode, Option<Duration>, Vec<u8>), VenError> {
        let within = self.settings.timeout;
        let failed = |error: reqwest::Error| {
            let place = place.to_owned();
            if error.is_timeout() {
                VenError::Timeout { place, within }
            } else if error.is_connect() {
                VenError::Unreachable { place, cause: innermost(&error) }
            } else {
                VenError::Broken { place }
            }
        };
        let work = async {
            let sent = (self.wall)();
            let mut response = request.send().await.map_err(failed)?;
            let status = response.status();
            let received = (self.wall)();
            let date = response.headers().get(DATE).and_then(|date| http_date(date.to_str().ok()?));
            let off = date.map(|date| difference(date, sent, received));
            let most = if status.is_success() { most } else { SMALL };
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if body.len().saturating_add(chunk.len()) > most {
                    return Err(VenError::TooLarge { place: place.to_owned(), most });
                }
                body.extend_from_slice(&chunk);
            }
            Ok((status, off, body))
        };
        // The client has the same limit; this one holds whatever becomes of that.
        tokio::time::timeout(within, work)
            .await
            .unwrap_or_else(|_| Err(VenError::Timeout { place: place.to_owned(), within }))
    }

    /// The token that says who asks; one is fetched where there is none that is good for a while.
    async fn authorisation(&self) -> Result<Option<Secret>, VenError> {
        match &self.settings.account {
            Account::Nobody => Ok(None),
            Account::Bearer(secret) => Ok(Some(secret.clone())),
            Account::Client { .. } => {
                // Held while a token is fetched: one is enough for all.
                let mut held = self.token.lock().await;
                if let Some(token) = held.as_ref().filter(|token| self.clock.now() < token.until) {
                    return Ok(Some(token.secret.clone()));
                }
                let token = self.fetch_token().await?;
                let secret = token.secret.clone();
                *held = Some(token);
                Ok(Some(secret))
            }
        }
    }

    /// A token was refused. One that came in the meantime stays, and so does one that is younger than `least`. Whether there
    /// was one to forget.
    async fn forget(&self, refused: Option<&Secret>, least: Duration) -> bool {
        let mut held = self.token.lock().await;
        let now = self.clock.now();
        let is_it = |token: &Token| Some(&token.secret) == refused && now - token.fetched >= least;
        held.take_if(|token| is_it(token)).is_some()
    }

    async fn fetch_token(&self) -> Result<Token, VenError> {
        let Account::Client { token_url, id, secret, scope, basic } = self.settings.account.clone() else {
            return Err(VenError::Prepare("there are no client credentials".into()));
        };
        let place = place(&token_url);
        let account = oauth::Credentials { token_url, id, secret, scope, basic };
        let asked = self.clock.now();
        let request = oauth::request(&self.http, &account);
        let (status, _, bytes) = self.send(request, &place, SMALL).await?;
        let granted = oauth::granted(status, &bytes, |words| self.clean(words, None));
        let granted = granted.map_err(|why| VenError::NoToken { place, why })?;
        bearer(&granted.token)?;
        Ok(Token { fetched: asked, until: asked + granted.use_for, secret: granted.token })
    }

    /// The title of a problem (RFC 9457) in brackets.
    async fn title(&self, bytes: &[u8]) -> String {
        let token = self.token.lock().await.as_ref().map(|token| token.secret.clone());
        self.words_of(bytes, token.as_ref())
    }

    fn words_of(&self, bytes: &[u8], token: Option<&Secret>) -> String {
        let problem: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let words = problem.get("title").or_else(|| problem.get("detail")).and_then(Value::as_str);
        words.map(|words| format!(" ({})", self.clean(words, token))).unwrap_or_default()
    }

    /// Words of the other side as they may stand in a message: none of ours that are secret.
    fn clean(&self, words: &str, token: Option<&Secret>) -> String {
        let ours = match &self.settings.account {
            Account::Nobody => None,
            Account::Bearer(secret) | Account::Client { secret, .. } => Some(secret),
        };
        let secret = [ours, token].into_iter().flatten().any(|secret| words.contains(secret.expose()));
        if secret { "…".into() } else { shorten(words) }
    }
}

/// How far a clock is from ours that showed `date`, in whole seconds, between two moments of ours.
fn difference(date: Wall, sent: Wall, received: Wall) -> Duration {
    date.since(received).max(sent.since(date.later(Duration::from_secs(1))))
}

fn bearer(secret: &Secret) -> Result<HeaderValue, VenError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
        .map_err(|_| VenError::Prepare("the token cannot be sent in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Where something was asked, for messages: without the query.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    shorten(&format!("{host}{port}{}", url.path()))
}

/// The words of the system: the outer errors repeat the address.
fn innermost(error: &reqwest::Error) -> String {
    shorten(&crate::tls::innermost(error))
}
