//! What HTTP clients are built from, and what TLS is made with. Every HTTP client of the program comes from here.

use std::error::Error;

use reqwest::redirect::Policy;
use reqwest::retry;

/// What every request says that it comes from.
pub const AGENT: &str = concat!("ballast/", env!("CARGO_PKG_VERSION"));

/// Chooses the cryptography of TLS for the whole process, once; later calls do nothing.
///
/// reqwest is built without a provider of its own (the one it would bring is a long C build), and a client that is
/// built before one is chosen ends the program.
pub fn ready() {
    // An error says that it is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The beginning of a client that goes where it is sent and nowhere else: no redirects, no proxy of the environment, no second
/// attempt.
///
/// `tls` says whether it will ever look at a certificate: without, none of the machine's authorities is loaded, and it can be
/// built on a machine that has none. Such a client refuses every server that speaks TLS.
///
/// Headers that are none are skipped, as curl and browsers do: the servers of embedded devices put a blank before the colon,
/// fold lines, or print an error in between, and nothing of an answer is passed on to anybody who could take it otherwise.
pub fn client(tls: bool) -> reqwest::ClientBuilder {
    ready();
    let builder = reqwest::Client::builder()
        .user_agent(AGENT)
        .redirect(Policy::none())
        .retry(retry::never())
        .no_proxy()
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true);
    if tls { builder } else { builder.tls_certs_only([]) }
}

/// The words at the root of an error. Those around it say that a request failed, and repeat its address.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_root_of_a_failure_is_told() {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        drop(taken);
        let http = client(false).build().unwrap();
        let error = http.get(format!("http://{address}/")).send().await.unwrap_err();
        assert!(innermost(&error).contains("onnection refused"), "{error:?}");
        assert!(!innermost(&error).contains("9842") && !innermost(&error).contains("http://"));
    }
}
