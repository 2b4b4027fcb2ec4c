//! Logins: with accounts that the operator gave, or, only when asked to, with vendors' default passwords.
//!
//! Only calls that read or hand out a session are ever made: Braiins OS `auth/login`, VNish `unlock`, Auradine
//! `token`, and a digest login (RFC 7616) on a page that only reads for Bitmain stock and MARA. One attempt each, so
//! that nothing is locked out. Whatsminer, ePIC and others have no login that is not a command; there it is not tried.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::evidence::{LoginResult, Page, Ports, Reply};
use super::finding::Firmware;
use super::wire;
use crate::miner::wire::digest::Challenge;
use crate::secret::Secret;

/// An account for all miners of one driver.
#[derive(Clone, Debug)]
pub struct Account {
    /// The driver, by the name that the configuration uses.
    pub driver: String,
    /// The account's name; `None`: the vendor's usual one.
    pub username: Option<String>,
    /// Its password.
    pub password: Secret,
    /// The file that it came from, for the configuration.
    pub file: PathBuf,
}

/// What opens the private pages of a host.
#[derive(Clone, Debug)]
pub(super) enum Session {
    /// A header with a token.
    Token(&'static str, Secret),
    /// Name and password for each request.
    Digest(String, Secret),
}

/// The vendor's account after unpacking (vendors' manuals; asic-rs `default_auth`); `None` where no harmless login is
/// known.
fn default_account(firmware: Firmware) -> Option<(&'static str, &'static str)> {
    match firmware {
        Firmware::BraiinsOs | Firmware::BitmainStock | Firmware::Mara => Some(("root", "root")),
        Firmware::Vnish => Some(("", "admin")),
        Firmware::Auradine => Some(("admin", "admin")),
        _ => None,
    }
}

/// Where a firmware's private pages are.
pub(super) fn port(firmware: Firmware, ports: &Ports) -> u16 {
    if firmware == Firmware::Auradine { ports.auradine } else { ports.web }
}

/// Logs in to one host.
pub(super) struct Client<'c> {
    pub(super) http: &'c reqwest::Client,
    pub(super) address: SocketAddr,
    pub(super) firmware: Firmware,
    pub(super) limit: Duration,
}

impl<'c> Client<'c> {
    pub(super) fn new(
        http: &'c reqwest::Client,
        ip: IpAddr,
        ports: &Ports,
        firmware: Firmware,
        limit: Duration,
    ) -> Self {
        Self { http, address: SocketAddr::new(ip, port(firmware, ports)), firmware, limit }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        tokio::time::timeout(self.limit, wire::http(request)).await.unwrap_or(Reply::Nothing)
    }

    /// With the operator's account.
    pub(super) async fn with_account(&self, account: &Account) -> (LoginResult, Option<Session>) {
        let usual = default_account(self.firmware).map_or("root", |(name, _)| name);
        self.login(account.username.as_deref().unwrap_or(usual), &account.password).await
    }

    /// With the vendor's default; `None` where that cannot be tried harmlessly.
    pub(super) async fn with_default(&self) -> Option<(LoginResult, Option<Session>)> {
        let (name, password) = default_account(self.firmware)?;
        Some(self.login(name, &Secret::new(password.to_owned())).await)
    }

    async fn login(&self, name: &str, password: &Secret) -> (LoginResult, Option<Session>) {
        match self.firmware {
            Firmware::BraiinsOs => {
                let body = json!({ "username": name, "password": password.expose() });
                self.token("/api/v1/auth/login", &body, "/token", "Authorization", "").await
            }
            Firmware::Vnish => {
                let body = json!({ "pw": password.expose() });
                self.token("/api/v1/unlock", &body, "/token", "Authorization", "Bearer ").await
            }
            Firmware::Auradine => {
                let body = json!({ "command": "token", "user": name, "password": password.expose() });
                self.token("/token", &body, "/Token/0/Token", "Token", "").await
            }
            Firmware::BitmainStock => self.digest("/cgi-bin/get_system_info.cgi", name, password).await,
            Firmware::Mara => self.digest("/kaonsu/v1/overview", name, password).await,
            _ => (LoginResult::Unclear, None),
        }
    }

    /// A login that hands out a token.
    async fn token(
        &self,
        path: &str,
        body: &Value,
        place: &str,
        header: &'static str,
        prefix: &str,
    ) -> (LoginResult, Option<Session>) {
        let reply = self.send(self.http.post(self.url(path)).json(body)).await;
        let Reply::Page(page) = reply else { return (LoginResult::Unclear, None) };
        let token = page.json.as_ref().and_then(|json| json.pointer(place)).and_then(Value::as_str);
        match (page.status, token) {
            (200..=299, Some(token)) if !token.is_empty() && token.len() <= 4_096 => {
                let secret = Secret::new(format!("{prefix}{token}"));
                (LoginResult::Accepted, Some(Session::Token(header, secret)))
            }
            (400 | 401 | 403, _) => (LoginResult::Refused, None),
            // Auradine says no with status 200 and without a token.
            (200, None) if self.firmware == Firmware::Auradine => (LoginResult::Refused, None),
            _ => (LoginResult::Unclear, None),
        }
    }

    /// A login that is made anew with each request.
    async fn digest(&self, path: &str, name: &str, password: &Secret) -> (LoginResult, Option<Session>) {
        let session = Session::Digest(name.to_owned(), password.clone());
        match self.get(path, &session).await {
            Reply::Page(Page { status: 200, .. }) => (LoginResult::Accepted, Some(session)),
            Reply::Page(Page { status: 401 | 403, .. }) => (LoginResult::Refused, None),
            _ => (LoginResult::Unclear, None),
        }
    }

    /// Reads a page with a session.
    pub(super) async fn get(&self, path: &str, session: &Session) -> Reply {
        let request = self.http.get(self.url(path));
        match session {
            Session::Token(header, token) => {
                let Ok(mut value) = reqwest::header::HeaderValue::from_str(token.expose()) else {
                    return Reply::Nothing;
                };
                value.set_sensitive(true);
                self.send(request.header(*header, value)).await
            }
            Session::Digest(name, password) => {
                let first = self.send(request).await;
                let Reply::Page(page) = &first else { return first };
                if page.status != 401 {
                    return first;
                }
                let nonce = format!("{:016x}", rand::random::<u64>());
                let Some(mut challenge) = Challenge::parse(&page.challenge) else { return first };
                let header = challenge.authorize(name, password.expose(), "GET", path, &nonce);
                let Ok(mut value) = reqwest::header::HeaderValue::from_str(&header) else { return first };
                value.set_sensitive(true);
                self.send(self.http.get(self.url(path)).header("Authorization", value)).await
            }
        }
    }
}
