//! The cryptography of the Whatsminer APIs: salted MD5 passwords and AES for version 2, SHA-256 tokens for
//! version 3.
//!
//! None of it is strong (MD5, ECB mode, a token of 48 bits); it is what the vendor's documents ask for. Sources:
//! MicroBT "WhatsMiner API 2.x", sections "Get token" and "Encryption"; MicroBT "WhatsMiner API 3.0", section
//! "Token Generation". The salted MD5 is the `$1$` scheme of crypt(3).

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use sha2::Sha256;

const BLOCK: usize = 16;
/// Rounds of the salted MD5, by its definition.
const ROUNDS: usize = 1000;
/// crypt(3) uses at most this much of a salt.
const SALT_LENGTH: usize = 8;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The `$1$` hash of a password: the 22 characters after the last `$`, which is all that the vendor uses.
pub fn md5_crypt(password: &str, salt: &str) -> String {
    let password = password.as_bytes();
    let salt = salt.as_bytes();
    let salt = salt.get(..SALT_LENGTH).unwrap_or(salt);

    let mut alternate = Md5::new();
    alternate.update(password);
    alternate.update(salt);
    alternate.update(password);
    let alternate: [u8; BLOCK] = alternate.finalize().into();

    let mut digest = Md5::new();
    digest.update(password);
    digest.update(b"$1$");
    digest.update(salt);
    for (_, byte) in password.iter().zip(alternate.iter().cycle()) {
        digest.update([*byte]);
    }
    // The definition walks the bits of the length: a zero byte for a one, the first character for a zero.
    let mut length = password.len();
    while length != 0 {
        match (length & 1, password.first()) {
            (0, Some(first)) => digest.update([*first]),
            _ => digest.update([0]),
        }
        length >>= 1;
    }
    let mut state: [u8; BLOCK] = digest.finalize().into();

    for round in 0..ROUNDS {
        let mut digest = Md5::new();
        let odd = round % 2 == 1;
        if odd {
            digest.update(password);
        } else {
            digest.update(state);
        }
        if round % 3 != 0 {
            digest.update(salt);
        }
        if round % 7 != 0 {
            digest.update(password);
        }
        if odd {
            digest.update(state);
        } else {
            digest.update(password);
        }
        state = digest.finalize().into();
    }

    let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15] = state;
    let mut text = String::with_capacity(22);
    for [high, middle, low] in [[s0, s6, s12], [s1, s7, s13], [s2, s8, s14], [s3, s9, s15], [s4, s10, s5]] {
        push_base64(&mut text, u32::from_be_bytes([0, high, middle, low]), 4);
    }
    push_base64(&mut text, u32::from(s11), 2);
    text
}

/// Appends six bits at a time, the lowest first, in crypt(3)'s alphabet.
fn push_base64(text: &mut String, mut bits: u32, characters: usize) {
    for _ in 0..characters {
        let index = usize::try_from(bits & 0x3f).unwrap_or_default();
        if let Some(character) = ALPHABET.get(index) {
            text.push(char::from(*character));
        }
        bits >>= 6;
    }
}

/// The cipher of API 2.x: AES-256 in ECB mode, its key the SHA-256 of the salted password.
pub struct Cipher(Aes256);

impl Cipher {
    /// From the salted password, [`md5_crypt`] of the account's password.
    pub fn new(key: &str) -> Self {
        Self(Aes256::new(&Array::from(<[u8; 32]>::from(Sha256::digest(key)))))
    }

    /// Pads with zeros to whole blocks, encrypts, and writes base64 without line breaks.
    pub fn encrypt(&self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        for chunk in bytes.chunks_exact_mut(BLOCK) {
            if let Ok(block) = <&mut Array<u8, _>>::try_from(chunk) {
                self.0.encrypt_block(block);
            }
        }
        STANDARD.encode(bytes)
    }

    /// Turns [`Self::encrypt`] around. Line breaks in the base64 are allowed: some firmware wraps its lines.
    ///
    /// # Errors
    /// What is wrong with it, when it is not base64, not whole blocks, or not text once decrypted (the usual sign
    /// of a key that differs).
    pub fn decrypt(&self, base64: &str) -> Result<String, &'static str> {
        let joined: String = base64.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let mut bytes = STANDARD.decode(joined).map_err(|_| "its encrypted part is not base64")?;
        if bytes.len() % BLOCK != 0 {
            return Err("its encrypted part is not a whole number of cipher blocks");
        }
        for chunk in bytes.chunks_exact_mut(BLOCK) {
            if let Ok(block) = <&mut Array<u8, _>>::try_from(chunk) {
                self.0.decrypt_block(block);
            }
        }
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        String::from_utf8(bytes).map_err(|_| "its encrypted part does not decrypt to text")
    }
}

/// The token of a write command of API 3.x: the first eight characters of the base64 of the SHA-256 of command,
/// password, salt and Unix time.
pub fn v3_token(command: &str, password: &str, salt: &str, unix_seconds: u64) -> String {
    let mut digest = Sha256::new();
    digest.update(command);
    digest.update(password);
    digest.update(salt);
    digest.update(unix_seconds.to_string());
    let mut token = STANDARD.encode(digest.finalize());
    token.truncate(8);
    token
}

#[cfg(test)]
mod tests {
    use super::*;

    // Every expected value below was computed with `openssl passwd -1`, `openssl enc -aes-256-ecb -nopad` and
    // Python's hashlib, not with this code.

    #[test]
    fn salted_passwords_match_openssl() {
        for (password, salt, hash) in [
            ("admin", "BQ5hoXV9", "RxmaDUO33TS7O26yeMHZ81"),
            ("password", "abcdefgh", "G//4keteveJp0qb8z2DxG/"),
            ("", "a", "8CfZSfErbeskipdhZHtvu."),
            ("0123456789abcdefghijklmnopqrstuvwxyz", "Xy", "PC5dOL48FFm3frLCNlMNN1"),
            ("pässwörd", "jbzkfQls", "RRkfWogKRNtVREQEeC8GT."),
        ] {
            assert_eq!(md5_crypt(password, salt), hash, "{password:?} with {salt:?}");
        }
    }

    #[test]
    fn a_long_salt_counts_up_to_its_eighth_character() {
        assert_eq!(md5_crypt("admin", "BQ5hoXV9more"), md5_crypt("admin", "BQ5hoXV9"));
    }

    #[test]
    fn token_and_command_match_openssl() {
        let key = md5_crypt("s3cret", "BQ5hoXV9");
        assert_eq!(key, "zh1vb6Zp4u7d0Hpb7a.kS0");
        let sign = md5_crypt(&format!("{key}5626"), "jbzkfQls");
        assert_eq!(sign, "H9EWpCPHOgEUXHEAIE.pq1");
        let cipher = Cipher::new(&key);
        let command = format!(r#"{{"command":"power_on","token":"{sign}"}}"#);
        let encrypted =
            "89ABFoyfLDS8uhmnTjBPjEg8DClmYNWkAGSoby0blqwH+C58S4gM8Ukj5hVu5X6szJojcUxaxzCaOVgUSij7HQ==";
        assert_eq!(cipher.encrypt(&command), encrypted);
        assert_eq!(cipher.decrypt(encrypted), Ok(command));
    }

    #[test]
    fn wrapped_base64_is_accepted() {
        let cipher = Cipher::new("zh1vb6Zp4u7d0Hpb7a.kS0");
        let wrapped = "PMMmecaQpIZDZIRR\nXgFGPzzDJnnGkKSG\r\nQ2SEUV4BRj8=\n";
        assert_eq!(cipher.decrypt(wrapped), Ok("x".repeat(32)));
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        let cipher = Cipher::new("key");
        assert!(cipher.decrypt("not base64!").is_err());
        assert!(cipher.decrypt("YWJj").is_err());
        let other = Cipher::new("another key").encrypt("a reply under another key, of some length");
        assert!(cipher.decrypt(&other).is_err());
        assert_eq!(cipher.decrypt(""), Ok(String::new()));
    }

    #[test]
    fn a_v3_token_matches_hashlib() {
        assert_eq!(v3_token("set.miner.power_percent", "abcdefg", "QbVy1Ou3", 1_700_000_000), "Z0RjxmW7");
    }
}
