//! The key that signs the head of the chain (Ed25519, RFC 8032), and its signatures.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

use super::entry::hex;
use crate::files::{self, Readers};

/// The private key, beside the database.
pub const PRIVATE: &str = "proof.key";
/// The public key, beside it.
pub const PUBLIC: &str = "proof.pub.pem";
/// What stands before the 32 bytes of a public key in the form of X.509 (RFC 8410, chapter 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const FIRST: &str = "-----BEGIN PUBLIC KEY-----";
const LAST: &str = "-----END PUBLIC KEY-----";
/// A key file is no longer.
const LONGEST: u64 = 4_096;

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("{file}: {reason}")]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is no key.
    #[error("{0} holds no Ed25519 key")]
    NoKey(String),
    /// The system has no random numbers.
    #[error("no key can be made: the system gives no random numbers")]
    Random,
}

/// The key of this machine.
pub struct Key {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.public().fingerprint()).finish()
    }
}

impl Key {
    /// A new key, in memory alone, and its file's content.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<(Self, Vec<u8>), KeyError> {
        let file = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Ok((Self::of(file.as_ref(), "a new key")?, file.as_ref().to_vec()))
    }

    fn of(file: &[u8], name: &str) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(file).map_err(|_| KeyError::NoKey(name.to_owned()))?;
        Ok(Self { pair })
    }

    /// The key of a folder; it is made where there is none, for the eyes of this account alone, and its public part written
    /// beside it.
    ///
    /// # Errors
    /// It cannot be read or made, or what is there is none.
    pub fn of_folder(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(PRIVATE);
        let fail = |file: &Path, error: &io::Error| KeyError::File {
            file: file.to_owned(),
            reason: error.to_string(),
        };
        let key = match read(&path) {
            Ok(file) => Self::of(&file, &path.display().to_string())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (key, file) = Self::new()?;
                files::replace(&path, &file, Readers::Writer).map_err(|error| fail(&path, &error))?;
                key
            }
            Err(error) => return Err(fail(&path, &error)),
        };
        let (public, pem) = (folder.join(PUBLIC), key.public().pem());
        if read(&public).ok().as_deref() != Some(pem.as_bytes()) {
            files::replace(&public, pem.as_bytes(), Readers::Everybody)
                .map_err(|error| fail(&public, &error))?;
        }
        Ok(key)
    }

    /// Its public part.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.pair.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// Signs the head of a chain, in base64.
    pub fn sign(&self, number: u64, hash: &str) -> String {
        STANDARD.encode(self.pair.sign(message(number, hash).as_bytes()))
    }
}

/// What is signed: `NUMBER:HASH`, and nothing behind it.
pub fn message(number: u64, hash: &str) -> String {
    format!("{number}:{hash}")
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, LONGEST), &mut content)?;
    Ok(content)
}

/// A key by which signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads one as `openssl` writes it (PEM).
    ///
    /// # Errors
    /// It is none. `name` says of what, for the message.
    pub fn of_pem(text: &str, name: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::NoKey(name.to_owned());
        let (_, rest) = text.split_once(FIRST).ok_or_else(wrong)?;
        let (inside, _) = rest.split_once(LAST).ok_or_else(wrong)?;
        let inside: String = inside.split_whitespace().collect();
        let bytes = STANDARD.decode(inside).map_err(|_| wrong())?;
        let key = bytes.strip_prefix(&SPKI).ok_or_else(wrong)?;
        Ok(Self(key.try_into().map_err(|_| wrong())?))
    }

    /// Reads one from a file.
    ///
    /// # Errors
    /// It cannot be read, or holds none.
    pub fn of_file(path: &Path) -> Result<Self, KeyError> {
        let content = read(path)
            .map_err(|error| KeyError::File { file: path.to_owned(), reason: error.to_string() })?;
        Self::of_pem(&String::from_utf8_lossy(&content), &path.display().to_string())
    }

    fn der(&self) -> Vec<u8> {
        [&SPKI[..], &self.0[..]].concat()
    }

    /// As `openssl` reads it.
    pub fn pem(&self) -> String {
        format!("{FIRST}\n{}\n{LAST}\n", STANDARD.encode(self.der()))
    }

    /// Names it: SHA-256 of what `openssl pkey -pubin -outform DER` gives.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(self.der()))
    }

    /// Whether a signature in base64 is this key's, of this head.
    pub fn signed(&self, number: u64, hash: &str, signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(message(number, hash).as_bytes(), &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_for_this_account_alone_and_told_as_pem() {
        let folder = std::env::temp_dir().join(format!("ballast-key-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let key = Key::of_folder(&folder).unwrap();
        let mode = |name: &str| std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(PRIVATE), 0o600);
        let public = PublicKey::of_file(&folder.join(PUBLIC)).unwrap();
        assert_eq!(public, key.public());
        assert_eq!(Key::of_folder(&folder).unwrap().public(), public, "the same one");
        let signature = key.sign(7, "ab");
        assert!(public.signed(7, "ab", &signature));
        assert!(!public.signed(8, "ab", &signature) && !public.signed(7, "ab", "AAAA"));
        assert!(!Key::new().unwrap().0.public().signed(7, "ab", &signature), "another one's");
        std::fs::write(folder.join(PRIVATE), "rubbish").unwrap();
        assert!(matches!(Key::of_folder(&folder), Err(KeyError::NoKey(_))));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
