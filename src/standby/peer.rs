//! What the other machine says, asked over HTTP.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::ACCEPT;

use super::{Settings, Word};
use crate::tls;

/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_millis(1_000);
/// Largest answer that is read, in bytes: all orders of several sources that have as many as a book takes.
const LARGEST: usize = 4 << 20;
/// Where it answers.
const PATH: &str = "/api/v1/standby";

/// Why it was not heard.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// No connection, no answer in time, a broken one.
    #[error(
        "{place} does not answer: {reason}; check the machine, its daemon and the network between the two"
    )]
    Unreachable {
        /// Which host.
        place: String,
        /// In which way.
        reason: String,
    },
    /// Another status than 200.
    #[error(
        "{place} answers HTTP {status}; 401 means the token in [standby], 404 that it has no [standby] or is older"
    )]
    Status {
        /// Which host.
        place: String,
        /// The code.
        status: u16,
    },
    /// More than any desk knows.
    #[error("{0} answers with more than {LARGEST} bytes: that is no Ballast")]
    TooLarge(String),
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

/// The client for it.
///
/// # Errors
/// It cannot be built: the system gives no certificates, or the authority's is none.
pub(super) fn client(settings: &Settings) -> Result<reqwest::Client, reqwest::Error> {
    let secure = settings.peer.scheme() == "https";
    let builder = tls::client(secure).timeout(LIMIT).pool_max_idle_per_host(1);
    match &settings.ca {
        Some(pem) if secure => builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?).build(),
        _ => builder.build(),
    }
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
    let place = settings.peer.host_str().unwrap_or("?").to_owned();
    match fetch(client, settings, &place).await {
        Err(error) => Heard { leads: None, word: Err(error) },
        Ok(body) => read(&body, place),
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

async fn fetch(client: &reqwest::Client, settings: &Settings, place: &str) -> Result<Vec<u8>, PeerError> {
    let mut url = settings.peer.clone();
    url.set_path(PATH);
    let place = || place.to_owned();
    let broken =
        |error: reqwest::Error| PeerError::Unreachable { place: place(), reason: tls::innermost(&error) };
    let mut request = client.get(url).header(ACCEPT, "application/json");
    if let Some(token) = &settings.token {
        request = request.bearer_auth(token.expose());
    }
    let mut response = request.send().await.map_err(broken)?;
    if response.status() != StatusCode::OK {
        return Err(PeerError::Status { place: place(), status: response.status().as_u16() });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len().saturating_add(chunk.len()) > LARGEST {
            return Err(PeerError::TooLarge(place()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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
