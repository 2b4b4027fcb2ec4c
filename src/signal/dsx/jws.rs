//! Signatures: compact JWS (RFC 7515) with ES256 or RS256 (RFC 7518), and the keys for them (JWKS, RFC 7517).
//!
//! Nothing is taken from a signature but which key it names: the algorithm belongs to the key, and a signature that names another
//! one is none.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::line::shorten;
use crate::secret::Secret;

/// The largest key set that is read, in bytes.
pub const LARGEST_KEYS: usize = 256 * 1024;
/// Most keys of a set.
const MOST_KEYS: usize = 64;
/// Longest name of a key, in bytes.
pub const LONGEST_KEY_NAME: usize = 256;
/// Longest header of a JWS, in bytes as it is written.
const LONGEST_HEADER: usize = 4_096;
/// How many bytes of an ES256 signature are its first number, `r`.
const R: usize = 32;

/// Why a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// It is none.
    #[error("its data is no compact JWS")]
    NotCompact,
    /// An algorithm that is not taken, `none` among them.
    #[error("it is signed with {0}; ES256 and RS256 are taken")]
    Algorithm(String),
    /// It asks for something that is not known here (`crit`).
    #[error("its signature asks for an extension (`crit`)")]
    Critical,
    /// It names no key.
    #[error("its signature names no key (`kid`)")]
    NoKey,
    /// It names a key that the partner has not published.
    #[error("it is signed with the key {0}, which is not among those of the partner")]
    UnknownKey(String),
    /// It names a key that is for another algorithm.
    #[error("the key {0} is not for the algorithm that the signature names")]
    OtherAlgorithm(String),
    /// It is not the signature of this content.
    #[error("its signature is wrong")]
    Forged,
}

/// Why a key set cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is none.
    #[error("it is no JSON with a list of `keys`")]
    NotASet,
    /// More keys than are read.
    #[error("it has more than {0} keys")]
    TooMany(usize),
    /// Two keys have one name.
    #[error("two of its keys have the same `kid`")]
    Twice,
    /// No key that could have signed anything.
    #[error("it has no key for ES256 or RS256 with a `kid`")]
    Empty,
}

/// Why a key cannot be signed with. Says nothing of the key but that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No private key in PKCS #8.
    #[error("there is no private key in PKCS #8 in it (-----BEGIN PRIVATE KEY-----)")]
    NotPkcs8,
    /// Not of the curve P-256.
    #[error("it is no key of the curve P-256")]
    NotP256,
    /// The signature could not be made.
    #[error("it could not be signed with")]
    Failed,
}

struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The public keys of a partner, by their names.
pub struct KeySet(BTreeMap<String, Key>);

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The protected header, which is signed, too.
    pub header: Value,
    /// The content.
    pub payload: Vec<u8>,
    /// By what the same signature is known again, also where somebody has rewritten it into its equal.
    pub mark: [u8; 32],
}

impl KeySet {
    /// No key at all: nothing is believed.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Reads a key set. Keys of other kinds and for other uses are left out.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn read(bytes: &[u8]) -> Result<Self, KeySetError> {
        let value: Value = serde_json::from_slice(bytes).map_err(|_| KeySetError::NotASet)?;
        let list = value.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotASet)?;
        if list.len() > MOST_KEYS {
            return Err(KeySetError::TooMany(MOST_KEYS));
        }
        let mut keys = BTreeMap::new();
        for (name, key) in list.iter().filter_map(one) {
            if keys.insert(name, key).is_some() {
                return Err(KeySetError::Twice);
            }
        }
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(keys)) }
    }

    /// Verifies a compact JWS.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn verify(&self, compact: &str) -> Result<Verified, JwsError> {
        let (message, signature) = compact.rsplit_once('.').ok_or(JwsError::NotCompact)?;
        let (header, payload) = message.split_once('.').ok_or(JwsError::NotCompact)?;
        if header.len() > LONGEST_HEADER || payload.contains('.') || signature.is_empty() {
            return Err(JwsError::NotCompact);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::NotCompact);
        let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| JwsError::NotCompact)?;
        let word = header.get("alg").and_then(Value::as_str).ok_or(JwsError::NotCompact)?;
        let algorithm = algorithm(word).ok_or_else(|| JwsError::Algorithm(shorten(word)))?;
        if header.get("crit").is_some() {
            return Err(JwsError::Critical);
        }
        let name = header.get("kid").and_then(Value::as_str).filter(|name| is_key_name(name));
        let name = name.ok_or(JwsError::NoKey)?;
        let key = self.0.get(name).ok_or_else(|| JwsError::UnknownKey(shorten(name)))?;
        if key.algorithm != algorithm {
            return Err(JwsError::OtherAlgorithm(shorten(name)));
        }
        match crypto::verify(signature, message.as_bytes(), &key.key, algorithm) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(JwsError::Forged),
        }
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        let mut hasher = Sha256::new();
        hasher.update(message.as_bytes());
        if algorithm == Algorithm::ES256 {
            // Who knows one signature (r, s) can make (r, -s) of it, which is as good; r is the same. Two signatures of one
            // content by the partner differ in it.
            hasher.update(signature.get(..R).unwrap_or_default());
        }
        Ok(Verified { header, payload, mark: hasher.finalize().into() })
    }
}

fn algorithm(word: &str) -> Option<Algorithm> {
    match word {
        "ES256" => Some(Algorithm::ES256),
        "RS256" => Some(Algorithm::RS256),
        _ => None,
    }
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_KEY_NAME
}

/// One key of a set with its name; `None` for one that is not for us.
fn one(value: &Value) -> Option<(String, Key)> {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let name = text("kid").filter(|name| is_key_name(name))?;
    if text("use").is_some_and(|word| word != "sig") {
        return None;
    }
    let (algorithm, key) = match text("kty")? {
        "EC" if text("crv") == Some("P-256") => {
            (Algorithm::ES256, DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?)
        }
        "RSA" => (Algorithm::RS256, DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?),
        _ => return None,
    };
    let own = if algorithm == Algorithm::ES256 { "ES256" } else { "RS256" };
    if text("alg").is_some_and(|word| word != own) {
        return None;
    }
    Some((name.to_owned(), Key { algorithm, key }))
}

/// Signs what is sent, with ES256.
pub struct Signer {
    key: EncodingKey,
    /// The protected header, as it is written.
    header: String,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// Takes a private key of the curve P-256 (PEM, PKCS #8) and the name by which others find its public half.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(pem: &Secret, name: &str) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| KeyError::NotPkcs8)?;
        let PrivateKeyDer::Pkcs8(der) = der else { return Err(KeyError::NotPkcs8) };
        let header = json!({ "alg": "ES256", "kid": name }).to_string();
        let header = URL_SAFE_NO_PAD.encode(header);
        let signer = Self { key: EncodingKey::from_ec_der(der.secret_pkcs8_der()), header };
        signer.sign(b"{}").map_err(|_| KeyError::NotP256)?;
        Ok(signer)
    }

    /// Signs a content; gives the compact JWS.
    ///
    /// # Errors
    /// [`KeyError::Failed`].
    pub fn sign(&self, payload: &[u8]) -> Result<String, KeyError> {
        let message = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(payload));
        let signature = crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256);
        let signature = signature.map_err(|_| KeyError::Failed)?;
        Ok(format!("{message}.{signature}"))
    }
}
