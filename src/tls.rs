//! What HTTP clients are built from, and what TLS is made with. Every HTTP client of the program comes from here.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::retry;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use sha2::Digest as _;

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

/// The SHA-256 of a certificate (DER), as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no fingerprint; write \"sha256:\" and 64 hexadecimal digits")]
pub struct NotAFingerprint;

impl Fingerprint {
    /// That of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(sha2::Sha256::digest(certificate.as_ref()).into())
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Reads `sha256:` and the digits, with colons in between or without.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let text = text.trim();
        let (kind, digits) = text.split_once(':').filter(|_| text.len() <= 120).ok_or(NotAFingerprint)?;
        if !matches!(kind.to_ascii_lowercase().as_str(), "sha256" | "sha-256") {
            return Err(NotAFingerprint);
        }
        let digits: Option<Vec<u8>> = digits
            .chars()
            .filter(|letter| *letter != ':')
            .map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let digits = digits.filter(|digits| digits.len() == 64).ok_or(NotAFingerprint)?;
        let mut bytes = [0_u8; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = (high << 4) | low;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose certificate the other end must have, where that is no matter of the machine's authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// This one, whoever made it and whatever name is in it: devices make their own.
    Pinned(Fingerprint),
    /// One that these authorities (PEM) vouch for, with the name that is asked for.
    Authority(Arc<[u8]>),
}

impl Trust {
    /// TLS that takes nothing else.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn config(&self) -> Result<ClientConfig, Unusable> {
        match self {
            Self::Authority(pem) => config(Some(pem), None),
            Self::Pinned(fingerprint) => {
                ready();
                let known = rustls::crypto::ring::default_provider().signature_verification_algorithms;
                let verifier = Pinned { fingerprint: *fingerprint, known };
                let builder = ClientConfig::builder().dangerous();
                Ok(builder.with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
            }
        }
    }
}

/// Takes one certificate alone. That the other end has its key is proven by its signature, as ever.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    /// How what is signed is verified.
    known: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(end_entity);
        if found == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General(format!("not the pinned certificate: {found}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.known.supported_schemes()
    }
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

    #[test]
    fn a_fingerprint_is_read_as_tools_write_it_and_nothing_else_is_one() {
        let bare = format!("sha256:{}", "0a".repeat(32));
        let read: Fingerprint = bare.parse().unwrap();
        assert_eq!(read.to_string(), bare);
        assert_eq!(format!("SHA256:{}", ["0A"; 32].join(":")).parse(), Ok(read));
        for wrong in [
            "",
            "sha256:",
            "sha1:0a",
            &"0a".repeat(32),
            &bare[..70],
            &format!("{bare}0"),
            &bare.replace('a', "x"),
        ] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NotAFingerprint), "{wrong}");
        }
    }

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
