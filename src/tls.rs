//! What HTTP clients are built from, and what TLS is made with. Every HTTP client of the program comes from here.

use std::error::Error;

use reqwest::redirect::Policy;
use reqwest::retry;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

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

/// Why a certificate or key cannot be used. Says nothing of a key but that.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file of authorities has no certificate that can be read.
    #[error("there is no certificate of an authority in it that can be read")]
    Authority,
    /// The client's certificate cannot be read.
    #[error("there is no certificate in it that can be read")]
    Certificate,
    /// The client's key cannot be read.
    #[error("there is no private key in it that can be read")]
    Key,
    /// Certificate and key are not of one pair, or the machine has no authorities.
    #[error("TLS cannot be prepared: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS for connections that are not HTTP. `authority` are certificates (PEM) of those who may vouch for the other end, and nobody
/// else may; without them those that the machine trusts. `identity` is our own certificate and key (PEM), where the other end
/// wants one.
///
/// # Errors
/// [`Unusable`].
pub fn config(authority: Option<&[u8]>, identity: Option<(&[u8], &[u8])>) -> Result<ClientConfig, Unusable> {
    ready();
    let builder = ClientConfig::builder();
    let builder = match authority {
        None => builder.with_platform_verifier()?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate.map_err(|_| Unusable::Authority)?).map_err(|_| Unusable::Authority)?;
            }
            if roots.is_empty() {
                return Err(Unusable::Authority);
            }
            builder.with_root_certificates(roots)
        }
    };
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Unusable::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Unusable::Key)?;
    Ok(builder.with_client_auth_cert(chain, key)?)
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
