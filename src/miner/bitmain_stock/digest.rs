//! HTTP digest authentication (RFC 7616), as the lighttpd of Bitmain's firmware asks for it: MD5, or SHA-256, with or
//! without `qop=auth`.

use std::fmt::Write as _;

use md5::{Digest as _, Md5};
use sha2::Sha256;

/// Longest nonce or realm that is taken over.
const PART_MAX: usize = 256;

/// Which hash the server wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

/// What a server asked for, and how often it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    algorithm: Algorithm,
    /// As written, to be given back; `None` where the server named none.
    algorithm_name: Option<String>,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    with_count: bool,
    count: u32,
}

impl Challenge {
    /// Reads a `WWW-Authenticate` header; `None` where it is no digest that is known here.
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let part = |wanted: &str| {
            parts(rest).find(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
        };
        let algorithm_name = part("algorithm");
        let algorithm = match algorithm_name.as_deref() {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        let with_count = match part("qop") {
            None => false,
            Some(list) if list.split(',').any(|word| word.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
        };
        let bounded = |text: String| (text.len() <= PART_MAX).then_some(text);
        Some(Self {
            algorithm,
            algorithm_name,
            realm: bounded(part("realm")?)?,
            nonce: bounded(part("nonce").filter(|nonce| !nonce.is_empty())?)?,
            opaque: part("opaque").and_then(bounded),
            with_count,
            count: 0,
        })
    }

    /// The value of the `Authorization` header for the next request. `fresh` is a text that nobody can guess.
    pub fn answer(&mut self, username: &str, password: &str, method: &str, uri: &str, fresh: &str) -> String {
        self.count = self.count.saturating_add(1);
        let count = format!("{:08x}", self.count);
        let hash = |text: String| match self.algorithm {
            Algorithm::Md5 => hex(&Md5::digest(text.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(text.as_bytes())),
        };
        let who = hash(format!("{username}:{}:{password}", self.realm));
        let what = hash(format!("{method}:{uri}"));
        let response = if self.with_count {
            hash(format!("{who}:{}:{count}:{fresh}:auth:{what}", self.nonce))
        } else {
            hash(format!("{who}:{}:{what}", self.nonce))
        };
        let mut header = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{response}\"",
            quoted(username),
            quoted(&self.realm),
            quoted(&self.nonce)
        );
        // Writing into a text cannot fail.
        if let Some(name) = &self.algorithm_name {
            let _ = write!(header, ", algorithm={name}");
        }
        if self.with_count {
            let _ = write!(header, ", qop=auth, nc={count}, cnonce=\"{fresh}\"");
        }
        if let Some(opaque) = &self.opaque {
            let _ = write!(header, ", opaque=\"{}\"", quoted(opaque));
        }
        header
    }
}

/// The `key=value` pairs of a challenge; values may be quoted, with commas and escapes inside.
fn parts(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([',', ' ', '\t']).to_owned();
        let after = after.trim_start();
        let mut value = String::new();
        if let Some(inner) = after.strip_prefix('"') {
            let mut letters = inner.char_indices();
            let mut end = inner.len();
            while let Some((place, letter)) = letters.next() {
                match letter {
                    '"' => {
                        end = place + 1;
                        break;
                    }
                    '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                    letter => value.push(letter),
                }
            }
            rest = inner.get(end..).unwrap_or_default();
        } else {
            let (plain, after) = after.split_once(',').unwrap_or((after, ""));
            plain.trim().clone_into(&mut value);
            rest = after;
        }
        Some((key, value))
    })
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of RFC 7616, section 3.9.1.
    const EXAMPLE: &str = "realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
                           nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                           opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
    const FRESH: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    #[test]
    fn the_examples_of_the_standard_come_out() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let mut challenge =
                Challenge::parse(&format!("Digest {EXAMPLE}, algorithm={algorithm}")).unwrap();
            let header = challenge.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", FRESH);
            assert!(header.contains(&format!("response=\"{response}\"")), "{header}");
            assert!(header.contains("nc=00000001") && header.contains("qop=auth,"), "{header}");
            let again = challenge.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", FRESH);
            assert!(again.contains("nc=00000002"), "{again}");
        }
    }

    #[test]
    fn other_schemes_and_unknown_wishes_are_left_alone() {
        assert_eq!(Challenge::parse("Basic realm=\"antMiner\""), None);
        assert_eq!(Challenge::parse("Digest realm=\"a\", nonce=\"b\", algorithm=MD5-sess"), None);
        assert_eq!(Challenge::parse("Digest realm=\"a\", nonce=\"b\", qop=\"auth-int\""), None);
        assert_eq!(Challenge::parse("Digest realm=\"a\""), None);
        let mut old = Challenge::parse("digest nonce=abc , realm=\"a \\\"b\\\", c\"").unwrap();
        let header = old.answer("root", "pw", "GET", "/x", "f");
        assert!(header.contains("realm=\"a \\\"b\\\", c\"") && !header.contains("qop"), "{header}");
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_parser(text in ".{0,200}") {
            let _ = Challenge::parse(&text);
            let _ = Challenge::parse(&format!("Digest {text}"));
        }
    }
}
