//! The account at a BMC: one session, which is given back, and no password that is tried again and again.
//!
//! Source: DMTF DSP0266, "Session management" and "HTTP basic authentication". BMCs have few sessions, and lock an account after some
//! wrong passwords; bmcweb says 503 with the message `SessionLimitExceeded` when none is free.

use std::time::Duration;

use reqwest::header::{HeaderValue, LOCATION};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::path::{Path, SESSIONS};
use crate::clock::Moment;
use crate::miner::DriverError;
use crate::miner::reply::fields;
use crate::miner::wire::web::{Answer, Web};
use crate::secret::Secret;

/// What errors call it.
pub(super) const NAME: &str = "the login";
/// A refused account is not tried again for so long, and twice as long after each further refusal; by a shed after the first of
/// it each time.
const AGAIN: Duration = Duration::from_secs(60);
/// The longest of these pauses.
const LONGEST_AGAIN: Duration = Duration::from_secs(15 * 60);
/// A resource that is not for this account does not cost a new session more often than that.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// Sessions that are still to be given back; more are left to end by themselves (`SessionService`, `SessionTimeout`).
const MOST_LEFT: usize = 4;

/// A session that was opened.
#[derive(Clone, Debug)]
pub(super) struct Session {
    token: Secret,
    at: Option<Path>,
}

impl Session {
    /// The session that a login was answered with.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let token = answer.headers.get("X-Auth-Token").and_then(|token| token.to_str().ok())?;
        let at = answer.headers.get(LOCATION).and_then(|at| at.to_str().ok()).and_then(Path::of_session);
        answer.status.is_success().then(|| Self { token: Secret::new(token.to_owned()), at })
    }

    /// A request that comes with it.
    fn vouch(&self, request: RequestBuilder) -> RequestBuilder {
        match HeaderValue::from_str(self.token.expose()) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header("X-Auth-Token", value)
            }
            // It came out of a header.
            Err(_) => request,
        }
    }

    /// Gives it back. One that is not taken back ends by itself.
    async fn end(self, web: &Web) {
        if let Some(at) = &self.at {
            let request = self.vouch(web.request(Method::DELETE, at.text()));
            let _ended = web.send("the end of the session", request).await;
        }
    }
}

/// How requests are vouched for.
enum State {
    /// Not at all yet.
    None,
    /// By a session (DSP0266, "Session authentication").
    Session(Session),
    /// By the account with each request (DSP0266, "HTTP basic authentication"): it has no sessions, or none that is free. Whether
    /// it was taken at all.
    Basic { proven: bool },
}

/// What a login came to.
pub(super) enum Outcome {
    /// Requests are vouched for.
    In,
    /// The account was refused.
    Refused,
    /// It is busy, and says so with this answer.
    Busy(Answer),
}

/// The account at one BMC.
pub(super) struct Login {
    web: Web,
    account: Option<(String, Secret)>,
    state: State,
    /// A login that is under way. It goes on when what asked for it is cut off: the next one needs it as well, and a session of
    /// which nobody knows could not be given back.
    opening: Option<JoinHandle<Result<Answer, DriverError>>>,
    /// Sessions that may have ended or not.
    left: Vec<Session>,
    /// When the account was refused last, and how often in a row.
    refused: Option<(Moment, u32)>,
    /// What even a new session did not open, and when.
    closed: Option<(Path, Moment)>,
}

impl Login {
    /// For one BMC. Nothing is sent yet.
    pub(super) const fn new(web: Web, account: Option<(String, Secret)>) -> Self {
        Self {
            web,
            account,
            state: State::None,
            opening: None,
            left: Vec::new(),
            refused: None,
            closed: None,
        }
    }

    /// Whether there is an account.
    pub(super) const fn has_account(&self) -> bool {
        self.account.is_some()
    }

    /// Takes the password out of what is told.
    pub(super) fn password(&self) -> &str {
        self.account.as_ref().map_or("", |(_, password)| password.expose())
    }

    /// A request that is vouched for as far as it can be.
    pub(super) fn vouch(&self, request: RequestBuilder) -> RequestBuilder {
        match (&self.state, &self.account) {
            (State::Session(session), _) => session.vouch(request),
            (State::Basic { .. }, Some((name, password))) => {
                request.basic_auth(name, Some(password.expose()))
            }
            _ => request,
        }
    }

    /// Opens a session where there is an account and none is open.
    ///
    /// # Errors
    /// No connection, no answer in time, no HTTP.
    pub(super) async fn log_in(&mut self, now: Moment, hurry: bool) -> Result<Outcome, DriverError> {
        if self.account.is_none() || !matches!(self.state, State::None) {
            return Ok(Outcome::In);
        }
        if let Some((at, times)) = self.refused {
            let longer = AGAIN.saturating_mul(1 << times.saturating_sub(1).min(8)).min(LONGEST_AGAIN);
            if now - at < if hurry { AGAIN } else { longer } {
                return Ok(Outcome::Refused);
            }
        }
        let answer = self.open().await?;
        let busy = matches!(answer.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.note_refusal(now);
            return Ok(Outcome::Refused);
        }
        if busy && !is_out_of_sessions(&answer) {
            return Ok(Outcome::Busy(answer));
        }
        // Without sessions, or without a free one, the account goes with each request.
        self.state = Session::of(&answer).map_or(State::Basic { proven: false }, State::Session);
        Ok(Outcome::In)
    }

    /// The answer to a login, also to one that was begun before.
    async fn open(&mut self) -> Result<Answer, DriverError> {
        // How one ended that nobody waited for any more says nothing of now, unless it is a session.
        if self.opening.is_some()
            && let Ok(answer) = self.opened().await
            && answer.status.is_success()
        {
            return Ok(answer);
        }
        let (name, password) =
            self.account.as_ref().map_or(("", ""), |(name, password)| (name.as_str(), password.expose()));
        let body = json!({ "UserName": name, "Password": password });
        let request = self.web.request(Method::POST, SESSIONS).json(&body);
        let web = self.web.clone();
        self.opening = Some(tokio::spawn(async move { web.send(NAME, request).await }));
        self.opened().await
    }

    async fn opened(&mut self) -> Result<Answer, DriverError> {
        let ended = match self.opening.as_mut() {
            Some(opening) => opening.await.ok(),
            None => None,
        };
        self.opening = None;
        ended.unwrap_or_else(|| Err(self.web.place().malformed(NAME, "it was cut off")))
    }

    fn note_refusal(&mut self, now: Moment) {
        let times = self.refused.map_or(0, |(_, times)| times);
        self.refused = Some((now, times.saturating_add(1)));
    }

    /// Takes in that a request was let in.
    pub(super) fn taken(&mut self) {
        if let State::Basic { proven } = &mut self.state {
            *proven = true;
        }
        if !matches!(self.state, State::None) {
            self.refused = None;
        }
    }

    /// A request was not let in (401): whether it is worth another try with a new session. The old one is given back later, for
    /// it may well live: some answer so where an account may not look.
    pub(super) fn renew(&mut self, path: &Path, now: Moment) -> bool {
        match std::mem::replace(&mut self.state, State::None) {
            State::Session(session) => {
                let closed = self.closed.as_ref();
                if closed.is_some_and(|(closed, at)| closed == path && now - *at < RENEW_AGAIN) {
                    self.state = State::Session(session);
                    return false;
                }
                if self.left.len() < MOST_LEFT {
                    self.left.push(session);
                }
                true
            }
            State::Basic { proven: true } => {
                self.state = State::Basic { proven: true };
                false
            }
            State::Basic { proven: false } => {
                self.note_refusal(now);
                false
            }
            State::None => false,
        }
    }

    /// Takes in that a new session did not open a resource.
    pub(super) fn note_closed(&mut self, path: &Path, now: Moment) {
        self.closed = Some((path.clone(), now));
    }

    /// Gives one session back that was replaced.
    pub(super) async fn tidy(&mut self) {
        if let Some(session) = self.left.pop() {
            session.end(&self.web).await;
        }
    }

    /// Gives all sessions back. That goes on when nobody waits for it any more: with a new connection over TLS it takes longer
    /// than an end may.
    pub(super) async fn close(&mut self) {
        let mut sessions = std::mem::take(&mut self.left);
        if let State::Session(session) = std::mem::replace(&mut self.state, State::None) {
            sessions.push(session);
        }
        let opening = self.opening.take();
        if sessions.is_empty() && opening.is_none() {
            return;
        }
        let web = self.web.clone();
        let closing = tokio::spawn(async move {
            if let Some(opening) = opening
                && let Ok(Ok(answer)) = opening.await
            {
                sessions.extend(Session::of(&answer));
            }
            // The latest first: it is the one that lives.
            while let Some(session) = sessions.pop() {
                session.end(&web).await;
            }
        });
        let _ended = closing.await;
    }
}

/// Whether a BMC that is busy has no free session, and would take the account with each request.
fn is_out_of_sessions(answer: &Answer) -> bool {
    let body = fields::parse(&answer.body).unwrap_or_default();
    let told = body.pointer("/error/@Message.ExtendedInfo/0").unwrap_or(&Value::Null);
    fields::text(told, "MessageId").is_some_and(|id| id.ends_with("SessionLimitExceeded"))
}
