//! Who stamps the head of the chain now and then: asked over HTTP, and its tokens become entries.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::CONTENT_TYPE;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::stamp::{self, StampError, Stamped};
use super::{Kind, Writer};
use crate::fetch::{self, Bounds, FetchError};

/// After the start, before the first question: the daemon has more urgent things to do.
const FIRST: Duration = Duration::from_secs(60);
/// After a question that brought nothing.
const AGAIN: Duration = Duration::from_secs(600);
/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_secs(20);
/// What is taken of an answer: a token with its certificates.
const BOUNDS: Bounds = Bounds {
    largest: 20 << 10,
    unreachable: "check the address and the network",
    status: "check the address: an RFC 3161 service must answer there",
    too_large: "check the address: that is no RFC 3161 service",
};

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
    /// There is no whole answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
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
        fetch::place(&self.url)
    }

    /// The client for it, as soon as there can be one.
    pub async fn client(&self) -> reqwest::Client {
        fetch::patient("[proof.time_stamps]", self.url.scheme() == "https", self.ca.as_deref(), LIMIT).await
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
        let request = stamp::request(text, nonce).map_err(wrong)?;
        let request =
            client.post(self.url.clone()).header(CONTENT_TYPE, "application/timestamp-query").body(request);
        let answer = fetch::ask(request, &place, &BOUNDS).await?;
        stamp::read(&answer.body, text, nonce).map_err(wrong)
    }

    /// Has the head of the chain stamped, for ever.
    pub async fn run(self, writer: Writer) -> std::convert::Infallible {
        let mut failing = false;
        tokio::time::sleep(FIRST.min(self.every)).await;
        let client = self.client().await;
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
