//! What is said to a pause hook and what it answers, over HTTP or by a command. The protocol is in `docs/guide/ai-halls.md`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Url};
use serde_json::json;

use super::command::{self, Program};
use super::{Pause, Way};
use crate::miner::reply::fields;
use crate::miner::wire::Place;
use crate::miner::wire::exchange::{self, Answer};
use crate::miner::{Connection, DriverError, Endpoint};
use crate::secret::Secret;
use crate::tls::{self, Trust};

/// The longest that its state is waited for.
const STATE: Duration = Duration::from_secs(2);

/// What the work does, by the hook's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It runs, and is being paused.
    Pausing,
    /// It is paused, because it was asked for here.
    Paused,
}

impl State {
    const ALL: [Self; 3] = [Self::Running, Self::Pausing, Self::Paused];

    /// As written on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim();
        Self::ALL.into_iter().find(|state| state.name().eq_ignore_ascii_case(name))
    }
}

/// What a hook is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Pause,
    Resume,
}

impl Action {
    /// As written on the wire.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// What it is called in errors.
    const fn exchange(self) -> &'static str {
        match self {
            Self::Pause => "the pause hook (pause)",
            Self::Resume => "the pause hook (resume)",
        }
    }

    /// Why, for whoever reads the hook's log.
    const fn reason(self) -> &'static str {
        match self {
            Self::Pause => "the limits of the site leave it no power",
            Self::Resume => "there is power for it again",
        }
    }
}

/// What the question for the state is called in errors.
const ASK_STATE: &str = "the pause hook (state)";

/// Asks one hook.
pub(super) struct Hook {
    name: Arc<str>,
    settings: Arc<Pause>,
    /// For errors, and what there is over HTTP.
    place: Place,
    wire: Wire,
}

enum Wire {
    Http {
        client: Client,
        url: Url,
        token: Option<Secret>,
        /// Why nothing may be sent at all.
        barred: Option<&'static str>,
    },
    Command(Program),
}

impl Hook {
    /// For the server of a connection. Nothing is sent yet.
    pub(super) fn new(connection: &Connection, settings: &Arc<Pause>, http: &Client) -> Self {
        let name = Arc::clone(&connection.name);
        // Errors of a command name the server.
        let at = |endpoint: Endpoint| {
            Place::new(&Connection { endpoint, timeout: settings.timeout, ..connection.clone() })
        };
        let (place, wire) = match &settings.way {
            Way::Http { url, token, trust } => {
                let url = &addressed(url, &name);
                let place = at(endpoint_of(url));
                let (place, barred) = if url.scheme() == "https" {
                    place.over_tls(trust.as_ref().map_or_else(|| tls::config(None, None), Trust::config))
                } else {
                    (place, None)
                };
                let (client, url, token) = (http.clone(), url.clone(), token.clone());
                (place, Wire::Http { client, url, token, barred })
            }
            Way::Command(words) => {
                let program = Program::new(words, &name, settings.notice);
                (at(connection.endpoint.clone()), Wire::Command(program))
            }
        };
        Self { name, settings: Arc::clone(settings), place, wire }
    }

    /// Asks it to do something; what it says of the state with its yes, where it says it.
    ///
    /// # Errors
    /// [`DriverError::Rejected`] where it says no or cannot be reached: then nothing has happened. `Timeout` and `Malformed`: it is not
    /// known what has.
    pub(super) async fn tell(&self, action: Action) -> Result<Option<State>, DriverError> {
        let exchange = action.exchange();
        match &self.wire {
            Wire::Http { client, url, .. } => {
                let notice = match action {
                    Action::Pause => self.settings.notice.as_secs(),
                    Action::Resume => 0,
                };
                let body = json!({
                    "server": &*self.name,
                    "action": action.name(),
                    "notice_seconds": notice,
                    "reason": action.reason(),
                });
                let request = client.request(Method::POST, url.clone()).json(&body);
                let answer = self.over_http(exchange, request).await?;
                // A yes needs no words.
                let reply = fields::parse(&answer.body).unwrap_or_default();
                Ok(fields::text(&reply, "state").and_then(State::named))
            }
            Wire::Command(program) => {
                let done = self.run(program, action.name(), exchange, self.settings.timeout).await?;
                if let Some(said) = done.said() {
                    tracing::debug!(miner = &*self.name, "{exchange} says: {said}");
                }
                Ok(None)
            }
        }
    }

    /// What it says that the work does.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub(super) async fn state(&self) -> Result<State, DriverError> {
        let unknown = || self.place.malformed(ASK_STATE, "it says none of running, pausing and paused");
        let limit = self.settings.timeout.min(STATE);
        match &self.wire {
            Wire::Http { client, url, .. } => {
                let request = client.request(Method::GET, url.clone());
                let asking = self.over_http(ASK_STATE, request);
                let Ok(answer) = tokio::time::timeout(limit, asking).await else {
                    return Err(self.late(ASK_STATE, limit));
                };
                let reply = self.place.json(ASK_STATE, &answer?.body)?;
                fields::text(&reply, "state").and_then(State::named).ok_or_else(unknown)
            }
            Wire::Command(program) => {
                let done = self.run(program, "state", ASK_STATE, limit).await?;
                done.word().and_then(|word| State::named(&word)).ok_or_else(unknown)
            }
        }
    }

    /// That its state is not known, for it has not said it.
    pub(super) fn unheard(&self) -> DriverError {
        self.late(ASK_STATE, self.settings.timeout.min(STATE))
    }

    /// One request. What never left is a no, and so is everything but a success.
    async fn over_http(
        &self,
        exchange: &'static str,
        request: RequestBuilder,
    ) -> Result<Answer, DriverError> {
        let Wire::Http { token, barred, .. } = &self.wire else {
            return Err(self.no(exchange, "it is not reached over HTTP"));
        };
        if let Some(why) = barred {
            return Err(self.no(exchange, why));
        }
        let request = match token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let answer = match exchange::over_http(&self.place, exchange, request).await {
            Err(DriverError::Unreachable { reason, .. }) => {
                return Err(self.no(exchange, &format!("it cannot be reached: {reason}")));
            }
            answer => answer?,
        };
        if answer.status.is_success() {
            return Ok(answer);
        }
        let status = answer.status.as_u16();
        let text = String::from_utf8_lossy(&answer.body);
        let reply = fields::parse(&answer.body).unwrap_or_default();
        let keys = ["message", "error", "reason", "detail"];
        let said = keys.iter().find_map(|key| fields::text(&reply, key)).unwrap_or(&text);
        Err(self.no(exchange, format!("HTTP {status} {said}").trim_end()))
    }

    /// Runs the command. What cannot be started is a no, and so is everything but the status 0.
    async fn run(
        &self,
        program: &Program,
        word: &str,
        exchange: &'static str,
        limit: Duration,
    ) -> Result<command::Done, DriverError> {
        let Ok(ended) = tokio::time::timeout(limit, program.run(word)).await else {
            return Err(self.late(exchange, limit));
        };
        let done = ended.map_err(|error| self.no(exchange, &format!("it cannot be run: {error}")))?;
        if done.success {
            return Ok(done);
        }
        let said = done.said().map(|said| format!(": {said}")).unwrap_or_default();
        Err(self.no(exchange, &format!("{}{said}", done.how)))
    }

    /// A no, in bounded words that have nothing of the token in them.
    fn no(&self, exchange: &'static str, words: &str) -> DriverError {
        match &self.wire {
            Wire::Http { token: Some(token), .. } => self.place.other(exchange, words, &[token.expose()]),
            Wire::Http { token: None, .. } | Wire::Command(_) => self.place.other(exchange, words, &[]),
        }
    }

    fn late(&self, exchange: &'static str, limit: Duration) -> DriverError {
        match self.place.timeout(exchange) {
            DriverError::Timeout { endpoint, exchange, .. } => {
                DriverError::Timeout { endpoint, exchange, limit }
            }
            other => other,
        }
    }
}

/// The address for one server: `{name}` in it stands for its name. A parser writes the braces of a path as `%7B` and `%7D`.
pub(super) fn addressed(url: &Url, name: &str) -> Url {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let text = url.as_str().replace("%7Bname%7D", &name).replace("{name}", &name);
    text.parse().unwrap_or_else(|_| url.clone())
}

/// Where an address leads.
fn endpoint_of(url: &Url) -> Endpoint {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    Endpoint { host, port: url.port_or_known_default().unwrap_or(80) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_words_are_states_and_no_others() {
        for state in State::ALL {
            assert_eq!(State::named(state.name()), Some(state));
        }
        assert_eq!(State::named(" Paused\n"), Some(State::Paused));
        for other in ["", "pause", "resumed", "paused now", "PAUSED!"] {
            assert_eq!(State::named(other), None, "{other:?}");
        }
    }

    #[test]
    fn each_server_of_a_group_has_an_address_of_its_own() {
        for (url, expected) in [
            ("https://tenant.example/pause/{name}", "https://tenant.example/pause/gpu-001"),
            ("https://tenant.example/pause?of={name}", "https://tenant.example/pause?of=gpu-001"),
            ("https://tenant.example/pause", "https://tenant.example/pause"),
        ] {
            assert_eq!(addressed(&url.parse().unwrap(), "gpu-001").as_str(), expected);
        }
    }

    #[test]
    fn an_address_leads_to_its_host_and_port() {
        for (url, host, port) in [
            ("http://127.0.0.1:9000/pause", "127.0.0.1", 9000),
            ("https://[::1]/pause?a=1", "::1", 443),
            ("http://tenant.example", "tenant.example", 80),
        ] {
            let at = endpoint_of(&url.parse().unwrap());
            assert_eq!((at.host.as_str(), at.port), (host, port));
        }
    }
}
