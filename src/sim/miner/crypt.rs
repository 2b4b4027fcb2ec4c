//! The cryptography of the Whatsminer protocols, seen from the miner's side.
//!
//! Written from the description of md5crypt in FreeBSD's `crypt(3)` and from the vendor's API documents, apart from
//! the driver's own implementation, which makes each a check of the other.

use aes::Aes256;
use aes::cipher::array::Array;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use md5::{Digest, Md5};
use sha2::Sha256;

/// The alphabet of crypt(3), six bits a letter.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// md5crypt of a password (`openssl passwd -1`): the part behind the third `$`, 22 letters. Only the first eight
/// bytes of the salt count.
pub fn md5_crypt(password: &str, salt: &str) -> String {
    let password = password.as_bytes();
    let salt: Vec<u8> = salt.bytes().take(8).collect();
    let inner = Md5::new().chain_update(password).chain_update(&salt).chain_update(password).finalize();

    let mut outer = Md5::new().chain_update(password).chain_update(b"$1$").chain_update(&salt);
    let stretched: Vec<u8> = inner.iter().copied().cycle().take(password.len()).collect();
    outer.update(&stretched);
    let first = password.first().copied().unwrap_or_default();
    let mut length = password.len();
    while length > 0 {
        // As in the original: a zero byte for a set bit, the first letter for a clear one.
        outer.update([if length & 1 == 1 { 0 } else { first }]);
        length >>= 1;
    }
    let mut sum = outer.finalize();

    for round in 0_u32..1_000 {
        let mut digest = Md5::new();
        if round & 1 == 1 {
            digest.update(password);
        } else {
            digest.update(sum);
        }
        if round % 3 != 0 {
            digest.update(&salt);
        }
        if round % 7 != 0 {
            digest.update(password);
        }
        if round & 1 == 1 {
            digest.update(sum);
        } else {
            digest.update(password);
        }
        sum = digest.finalize();
    }

    // Three bytes a group, in the order of the original, least significant letter first.
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let byte = |place: usize| u32::from(sum.get(place).copied().unwrap_or_default());
    let mut text = String::with_capacity(22);
    for [high, middle, low] in ORDER {
        push_letters(&mut text, byte(high) << 16 | byte(middle) << 8 | byte(low), 4);
    }
    push_letters(&mut text, byte(11), 2);
    text
}

fn push_letters(text: &mut String, mut value: u32, count: usize) {
    for _ in 0..count {
        let letter = usize::try_from(value & 0x3f).unwrap_or_default();
        text.push(char::from(ALPHABET.get(letter).copied().unwrap_or(b'.')));
        value >>= 6;
    }
}

/// AES-256 in ECB mode with zero padding, keyed with the SHA-256 of a text: what API 2 wraps its commands in.
pub struct Wrapping(Aes256);

impl Wrapping {
    /// Keyed with a text.
    pub fn new(key: &str) -> Self {
        Self(Aes256::new(&Array::from(<[u8; 32]>::from(Sha256::digest(key.as_bytes())))))
    }

    /// Encrypts, padded with zeros to whole blocks.
    pub fn wrap(&self, plain: &[u8]) -> Vec<u8> {
        let mut output = Vec::with_capacity(plain.len() + 16);
        for chunk in plain.chunks(16) {
            let mut block = [0_u8; 16];
            for (to, from) in block.iter_mut().zip(chunk) {
                *to = *from;
            }
            let mut block = Array::from(block);
            self.0.encrypt_block(&mut block);
            output.extend_from_slice(&block);
        }
        output
    }

    /// Decrypts and drops the padding; `None` unless it is whole blocks.
    pub fn unwrap(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        if !cipher.len().is_multiple_of(16) {
            return None;
        }
        let mut output = Vec::with_capacity(cipher.len());
        for chunk in cipher.chunks(16) {
            let mut block = Array::from(<[u8; 16]>::try_from(chunk).ok()?);
            self.0.decrypt_block(&mut block);
            output.extend_from_slice(&block);
        }
        while output.last() == Some(&0) {
            output.pop();
        }
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_crypt_agrees_with_openssl() {
        // openssl passwd -1 -salt <salt> <password>
        for (salt, password, expected) in [
            ("BQ5hoXV9", "admin", "RxmaDUO33TS7O26yeMHZ81"),
            ("x", "", "fwjfZtMwarkdetsjiQreU1"),
            ("abcdefgh", "a rather long password over sixteen bytes", "Sm/ASWMkZ/LJfHbelADGo1"),
            ("jbzkfQls", "h2GhXm.vqEoPqMRmy5E6l.5626", "k7A7PhoySklGrZ7Vq3sw00"),
        ] {
            assert_eq!(md5_crypt(password, salt), expected, "{password}");
        }
    }

    #[test]
    fn wrapping_agrees_with_openssl() {
        // key=$(printf %s "$K" | sha256sum | cut -c1-64)
        // printf '%s' '{"cmd":"power_on"}' | openssl enc -aes-256-ecb -K $key -nopad (zero-padded to 32 bytes)
        let wrapping = Wrapping::new("RxmaDUO33TS7O26yeMHZ81");
        let cipher = wrapping.wrap(br#"{"cmd":"power_on"}"#);
        let hex: String = cipher.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "595cf9536d3d78d9f9174bc01020ec5ec0859e9ed9c082de85f4de3aa5cdbfee");
        assert_eq!(wrapping.unwrap(&cipher).as_deref(), Some(br#"{"cmd":"power_on"}"#.as_slice()));
    }

    #[test]
    fn what_is_not_whole_blocks_is_refused() {
        assert_eq!(Wrapping::new("k").unwrap(&[1, 2, 3]), None);
        assert_eq!(Wrapping::new("k").unwrap(&[]), Some(Vec::new()));
    }
}
