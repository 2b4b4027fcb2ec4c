//! Who stamps the head of the chain now and then: asked over HTTP, and its tokens become entries.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::stamp::{self, StampError, Stamped};
use super::{Kind, Writer};
use crate::tls;

/// After the start, before the first question: the daemon has more urgent things to do.
const FIRST: Duration = Duration::from_secs(60);
/// After a question that brought nothing.
const AGAIN: Duration = Duration::from_secs(600);
/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_secs(20);
/// Largest answer that is read, in bytes: a token with its certificates.
const LARGEST: usize = 20 << 10;

/// `[proof.time_stamps]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Where it answers.
    pub url: reqwest::Url,
    /// Who signs its certificate, as PEM, where `url` is of https and this machine does not know them.
    pub ca: Option<Vec<u8>>,
    /// Time between two stamps.
    pub every: Duration,
}

/// Why there is no stamp.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No connection, no answer in time, a broken one.
    #[error("{place} does not answer: {reason}; check the address and the network")]
    Unreachable {
        /// Which host.
        place: String,
        /// In which way.
        reason: String,
    },
    /// Another status than 200.
    #[error("{place} answers HTTP {status}")]
    Status {
        /// Which host.
        place: String,
        /// The code.
        status: u16,
    },
    /// More than a token has.
    #[error("{0} answers with more than {LARGEST} bytes")]
    TooLarge(String),
    /// Nothing that can be used.
    #[error("{place}: {error}")]
    Answer {
        /// Which host.
        place: String,
        /// What is wrong with it.
        error: StampError,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl Authority {
    fn place(&self) -> String {
        self.url.host_str().unwrap_or("?").to_owned()
    }

    /// The client for it.
    ///
    /// # Errors
    /// It cannot be built: the system gives no certificates, or the authority's is none.
    pub fn client(&self) -> Result<reqwest::Client, reqwest::Error> {
        let secure = self.url.scheme() == "https";
        let builder = tls::client(secure).timeout(LIMIT);
        match &self.ca {
            Some(pem) if secure => {
                builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?).build()
            }
            _ => builder.build(),
        }
    }

    /// Asks once for a stamp of a text.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, client: &reqwest::Client, text: &str) -> Result<Stamped, AskError> {
        let place = self.place();
        let mut nonce = [0; 8];
        SystemRandom::new().fill(&mut nonce).map_err(|_| AskError::Random)?;
        let wrong = |error| AskError::Answer { place: place.clone(), error };
        let broken = |error: reqwest::Error| AskError::Unreachable {
            place: place.clone(),
            reason: tls::innermost(&error.without_url()),
        };
        let request = stamp::request(text, nonce).map_err(wrong)?;
        let sent =
            client.post(self.url.clone()).header(CONTENT_TYPE, "application/timestamp-query").body(request);
        let mut response = sent.send().await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(AskError::Status { place, status: response.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len().saturating_add(chunk.len()) > LARGEST {
                return Err(AskError::TooLarge(place));
            }
            body.extend_from_slice(&chunk);
        }
        stamp::read(&body, text, nonce).map_err(wrong)
    }

    /// Has the head of the chain stamped, for ever.
    pub async fn run(self, writer: Writer) -> std::convert::Infallible {
        let mut failing = false;
        tokio::time::sleep(FIRST.min(self.every)).await;
        let client = tls::patient("[proof.time_stamps]", || self.client()).await;
        loop {
            let head = writer.head().map(|(number, hash)| format!("{number}:{hash}"));
            let mut pause = self.every;
            // A stamp is an entry itself: the head that follows is always another one.
            if let Some(text) = head {
                match self.ask(&client, &text).await {
                    Ok(stamped) => {
                        if failing {
                            tracing::info!("the proof is stamped again by {}", self.place());
                        }
                        failing = false;
                        append(&writer, &text, &self.place(), &stamped);
                    }
                    Err(error) => {
                        if !failing {
                            tracing::warn!("the proof is not stamped: {error}; it is tried again");
                        }
                        failing = true;
                        pause = self.every.min(AGAIN);
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// A stamp becomes an entry.
pub fn append(writer: &Writer, text: &str, place: &str, stamped: &Stamped) {
    let body = json!({
        "by": place,
        "head": text,
        "time": stamped.time,
        "token": STANDARD.encode(&stamped.token),
    });
    writer.append(Kind::Stamp, body);
}
