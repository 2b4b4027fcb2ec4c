//! One bounded HTTP exchange with a service that the configuration names: in time, no larger than it may be, and with status 200.

use std::time::Duration;

use reqwest::header::DATE;
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, Url};

use crate::tls;

/// Time between two attempts to make a client.
const AGAIN: Duration = Duration::from_secs(60);

/// What is taken of an answer, and what to do where there is none: words that end the message.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest body that is read, in bytes.
    pub largest: usize,
    /// Where there is no connection, no answer in time or a broken one.
    pub unreachable: &'static str,
    /// Where the status is another than 200.
    pub status: &'static str,
    /// Where the body is larger.
    pub too_large: &'static str,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its body.
    pub body: Vec<u8>,
    /// The `Date` that its sender put on it.
    pub date: Option<String>,
}

/// Why there is no whole answer. It names the host alone: the rest of an address may hold a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place} {what}; {help}")]
pub struct FetchError {
    place: String,
    what: What,
    help: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum What {
    #[error("does not answer: {0}")]
    Unreachable(String),
    #[error("answers HTTP {0}")]
    Status(u16),
    #[error("answers with more than {0} bytes")]
    TooLarge(usize),
}

impl FetchError {
    /// A closed set of words, so that the same trouble is told once.
    pub const fn kind(&self) -> &'static str {
        match self.what {
            What::Unreachable(_) => "unreachable",
            What::Status(_) => "status",
            What::TooLarge(_) => "too large",
        }
    }
}

/// The client of a service: no redirects, no proxy of the environment, certificates checked. `secure` says whether an address of it
/// is of `https`, `ca` who else may vouch for it then (PEM), and `limit` how long a whole answer may take.
///
/// # Errors
/// It cannot be built: the system gives no certificates, or the authority's is none.
pub fn client(secure: bool, ca: Option<&[u8]>, limit: Duration) -> Result<Client, reqwest::Error> {
    let builder = tls::client(secure).timeout(limit).pool_max_idle_per_host(1);
    match ca {
        Some(pem) if secure => builder.tls_certs_merge(Certificate::from_pem_bundle(pem)?).build(),
        _ => builder.build(),
    }
}

/// As [`client`], tried until there is one: the machine may have no certificates yet, and what is not needed to lead miners keeps
/// nobody from leading them. `who` is who needs it, for the log.
pub async fn patient(who: &str, secure: bool, ca: Option<&[u8]>, limit: Duration) -> Client {
    loop {
        match client(secure, ca, limit) {
            Ok(client) => return client,
            Err(error) => tracing::warn!(
                "{who}: cannot prepare TLS: {}; install the certificates of the system (package ca-certificates), or check `ca` in \
                 the configuration; tried again in a minute",
                tls::innermost(&error)
            ),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The host of an address, for messages.
pub fn place(url: &Url) -> String {
    url.host_str().unwrap_or("?").to_owned()
}

/// Asks once. `place` is the host, for messages.
///
/// # Errors
/// [`FetchError`].
pub async fn ask(request: RequestBuilder, place: &str, bounds: &Bounds) -> Result<Answer, FetchError> {
    let fail = |what: What, help: &'static str| FetchError { place: place.to_owned(), what, help };
    let broken = |error: reqwest::Error| {
        fail(What::Unreachable(tls::innermost(&error.without_url())), bounds.unreachable)
    };
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(fail(What::Status(status.as_u16()), bounds.status));
    }
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len().saturating_add(chunk.len()) > bounds.largest {
            return Err(fail(What::TooLarge(bounds.largest), bounds.too_large));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { body, date })
}
