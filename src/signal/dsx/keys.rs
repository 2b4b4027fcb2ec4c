//! Where key sets and tokens come from: a file, and services over HTTPS.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, StatusCode};

use super::jws::{KeySet, LARGEST_KEYS};
use super::settings::{Account, KeysFrom, Link};
use crate::clock::{Clock, Moment};
use crate::fetch::{self, Bounds};
use crate::line::shorten;
use crate::oauth::{self, Credentials};
use crate::secret::Secret;

/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_secs(5);
const KEYS: Bounds = Bounds {
    largest: LARGEST_KEYS,
    unreachable: "check the address, the network and the certificate",
    status: "check the address of the key set",
    too_large: "that is no key set",
};
const TOKENS: Bounds = Bounds {
    largest: oauth::LARGEST,
    unreachable: "check the address, the network and the certificate",
    status: "check `token_url`, `client_id` and `client_secret` of `oauth`",
    too_large: "that is no token",
};

/// The client for both, where one is needed at all; tried until there is one.
pub async fn client(name: &str, link: &Link) -> Client {
    let keys = match &link.keys {
        KeysFrom::Url(url) => url.scheme() == "https",
        KeysFrom::File(_) => false,
    };
    let tokens = match &link.account {
        Account::Token(account) => account.token_url.scheme() == "https",
        Account::Certificate | Account::Login(..) => false,
    };
    fetch::patient(name, keys || tokens, link.authority.as_deref(), LIMIT).await
}

/// Reads the keys of the other side.
///
/// # Errors
/// Why there are none, in words.
pub async fn read(from: KeysFrom, http: Client) -> Result<KeySet, String> {
    match from {
        KeysFrom::File(path) => {
            let shown = path.display().to_string();
            let bytes = tokio::task::spawn_blocking(move || read_file(&path)).await;
            let bytes = bytes.map_err(|_| String::from("the program ends"))?;
            let bytes = bytes.map_err(|error| format!("cannot read the key set in {shown}: {error}"))?;
            KeySet::read(&bytes).map_err(|error| format!("the key set in {shown} cannot be used: {error}"))
        }
        KeysFrom::Url(url) => {
            let place = fetch::place(&url);
            let request = http.get(url).header("Accept", "application/json");
            let answer = fetch::ask(request, &place, &KEYS).await.map_err(|error| error.to_string())?;
            let keys = KeySet::read(&answer.body);
            keys.map_err(|error| format!("the key set of {place} cannot be used: {error}"))
        }
    }
}

/// A file of keys, bounded.
///
/// # Errors
/// It cannot be read, is no file, or is too large.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let most = u64::try_from(LARGEST_KEYS).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST_KEYS {
        return Err(io::Error::other(format!("it is larger than {LARGEST_KEYS} bytes")));
    }
    Ok(bytes)
}

/// Keeps a token for the broker.
pub struct Tokens {
    account: Credentials,
    http: Client,
    clock: Clock,
    held: Option<(Secret, Moment)>,
}

impl Tokens {
    /// Nothing is asked for yet.
    pub fn new(account: Credentials, http: Client, clock: Clock) -> Self {
        Self { account, http, clock, held: None }
    }

    /// The broker did not take it.
    pub fn forget(&mut self) {
        self.held = None;
    }

    /// A token that is good for a while.
    ///
    /// # Errors
    /// Why there is none, in words without anything secret.
    pub async fn get(&mut self) -> Result<Secret, String> {
        let now = self.clock.now();
        if let Some((token, _)) = self.held.as_ref().filter(|(_, until)| now < *until) {
            return Ok(token.clone());
        }
        let place = fetch::place(&self.account.token_url);
        let request = oauth::request(&self.http, &self.account);
        let answer = fetch::ask(request, &place, &TOKENS).await.map_err(|error| error.to_string())?;
        let secret = &self.account.secret;
        let clean =
            |words: &str| if words.contains(secret.expose()) { String::from("…") } else { shorten(words) };
        let granted = oauth::granted(StatusCode::OK, &answer.body, clean);
        let granted = granted.map_err(|why| format!("no token from {place}: {why}"))?;
        self.held = Some((granted.token.clone(), now + granted.use_for));
        Ok(granted.token)
    }
}
