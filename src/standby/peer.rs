//! What the other machine says, asked over HTTP.

use std::time::Duration;

use reqwest::header::ACCEPT;

use super::{Settings, Word};
use crate::fetch::{self, Bounds, FetchError};

/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_millis(1_000);
/// What is taken of an answer: all orders of several sources that have as many as a book takes.
const BOUNDS: Bounds = Bounds {
    largest: 4 << 20,
    unreachable: "check the machine, its daemon and the network between the two",
    status: "401 means the token in [standby], 404 that it has no [standby] or is older",
    too_large: "that is no Ballast",
};
/// Where it answers.
const PATH: &str = "/api/v1/standby";

/// Why it was not heard.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is no whole answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Nothing that is understood.
    #[error(
        "{place} says something that is not understood ({reason}); run the same version on both machines"
    )]
    Nonsense {
        /// Which host.
        place: String,
        /// What the reader says.
        reason: String,
    },
}

/// The client for it; waited for where this machine cannot make it yet.
pub(super) async fn client(settings: &Settings) -> reqwest::Client {
    fetch::patient("[standby]", settings.peer.scheme() == "https", settings.ca.as_deref(), LIMIT).await
}

/// What was heard.
pub(super) struct Heard {
    /// Whether it says that it leads; `None` when it says nothing.
    pub(super) leads: Option<bool>,
    /// All that it says.
    pub(super) word: Result<Word, PeerError>,
}

/// Asks once. Whether it leads is read by itself: it counts, whatever is wrong with the rest.
pub(super) async fn ask(client: &reqwest::Client, settings: &Settings) -> Heard {
    let place = fetch::place(&settings.peer);
    let mut url = settings.peer.clone();
    url.set_path(PATH);
    let mut request = client.get(url).header(ACCEPT, "application/json");
    if let Some(token) = &settings.token {
        request = request.bearer_auth(token.expose());
    }
    match fetch::ask(request, &place, &BOUNDS).await {
        Err(error) => Heard { leads: None, word: Err(error.into()) },
        Ok(answer) => read(&answer.body, place),
    }
}

fn read(body: &[u8], place: String) -> Heard {
    let nonsense = |error: serde_json::Error| PeerError::Nonsense { place, reason: error.to_string() };
    match serde_json::from_slice::<serde_json::Value>(body) {
        Err(error) => Heard { leads: None, word: Err(nonsense(error)) },
        Ok(value) => Heard {
            leads: value.get("leads").and_then(serde_json::Value::as_bool),
            word: serde_json::from_value(value).map_err(nonsense),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_it_leads_is_heard_whatever_is_wrong_with_the_rest() {
        for (body, leads) in [
            (r#"{"leads":true,"site":7}"#, Some(true)),
            (r#"{"leads":false}"#, Some(false)),
            (r#"{"leads":true,"desk":{"sources":[{"heard_ms":-1}]}}"#, Some(true)),
            (r#"{"leads":"yes"}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            let heard = read(body.as_bytes(), "there".into());
            assert_eq!(heard.leads, leads, "{body}");
            assert!(heard.word.is_err(), "{body}");
        }
    }
}
