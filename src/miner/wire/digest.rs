//! HTTP digest authentication (RFC 7616), as web servers of control boards ask for it: `qop=auth` or none, MD5 or
//! SHA-256, never the password in the clear.

use md5::Md5;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use sha2::{Digest, Sha256};

/// Longest nonce, realm or opaque text that is taken over.
const PART_MAX: usize = 256;
/// More ways of logging in than any server offers.
const CHALLENGES_MAX: usize = 4;

/// How the answers are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Md5 => hex(&Md5::digest(text)),
            Self::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

/// What a server asked for, and how often it was answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// The server knows `qop`, so answers are counted.
    counted: bool,
    algorithm: Algorithm,
    /// Whether the server names the algorithm; then the answer does, too.
    named: bool,
    count: u32,
}

impl Challenge {
    /// The first challenge of an answer that is known here.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let offered = headers.get_all(WWW_AUTHENTICATE).iter().take(CHALLENGES_MAX);
        offered.filter_map(|header| header.to_str().ok()).find_map(Self::parse)
    }

    /// Reads a `WWW-Authenticate` header. `None` for another scheme, for an algorithm or a `qop` that is not known
    /// here, and for what cannot be read or is longer than any server's.
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let parameters = parameters(rest)?;
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        let named = get("algorithm");
        let algorithm = match named.as_deref() {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("md5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("sha-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        let counted = match get("qop") {
            None => false,
            Some(list) if list.split(',').any(|word| word.trim().eq_ignore_ascii_case("auth")) => true,
            Some(_) => return None,
        };
        let bounded = |text: String| (text.len() <= PART_MAX).then_some(text);
        Some(Self {
            realm: bounded(get("realm")?)?,
            nonce: bounded(get("nonce").filter(|nonce| !nonce.is_empty())?)?,
            opaque: get("opaque").and_then(bounded),
            counted,
            algorithm,
            named: named.is_some(),
            count: 0,
        })
    }

    /// The `Authorization` header of the next request. `uri` is the path with its query, `fresh` a text that is
    /// never used twice.
    pub fn authorize(
        &mut self,
        username: &str,
        password: &str,
        method: &str,
        uri: &str,
        fresh: &str,
    ) -> String {
        self.count = self.count.wrapping_add(1);
        let (algorithm, nonce) = (self.algorithm, &self.nonce);
        let who = algorithm.hash(&format!("{username}:{}:{password}", self.realm));
        let what = algorithm.hash(&format!("{method}:{uri}"));
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut header = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\"",
            quoted(username),
            quoted(&self.realm),
            quoted(nonce)
        );
        let response = if self.counted {
            let count = format!("{:08x}", self.count);
            header.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{fresh}\""));
            algorithm.hash(&format!("{who}:{nonce}:{count}:{fresh}:auth:{what}"))
        } else {
            algorithm.hash(&format!("{who}:{nonce}:{what}"))
        };
        header.push_str(&format!(", response=\"{response}\""));
        if self.named {
            header.push_str(&format!(", algorithm={}", algorithm.name()));
        }
        if let Some(opaque) = &self.opaque {
            header.push_str(&format!(", opaque=\"{}\"", quoted(opaque)));
        }
        header
    }
}

/// `name=value` pairs between commas; values may be in quotes, where commas count as text.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(|letter| *letter == ',' || letter.is_whitespace()).is_some() {}
        let mut name = String::new();
        while let Some(letter) = letters.next_if(|letter| *letter != '=') {
            name.push(letter);
        }
        if name.is_empty() {
            return Some(found);
        }
        letters.next()?;
        let mut value = String::new();
        if letters.next_if_eq(&'"').is_some() {
            loop {
                match letters.next()? {
                    '"' => break,
                    '\\' => value.push(letters.next()?),
                    letter => value.push(letter),
                }
            }
        } else {
            while let Some(letter) = letters.next_if(|letter| *letter != ',') {
                value.push(letter);
            }
            value.truncate(value.trim_end().len());
        }
        found.push((name.trim().to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRESH: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

    fn challenge(algorithm: &str) -> Challenge {
        Challenge::parse(&format!(
            "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
             opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
        ))
        .unwrap()
    }

    #[test]
    fn the_examples_of_the_standard_come_out() {
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let header =
                challenge(algorithm).authorize("Mufasa", "Circle of Life", "GET", "/dir/index.html", FRESH);
            assert!(header.contains(&format!("response=\"{response}\"")), "{header}");
            assert!(header.contains("nc=00000001") && header.contains(&format!("algorithm={algorithm}")));
            assert!(!header.contains("Circle"));
        }
    }

    #[test]
    fn the_example_of_the_standard_before_comes_out() {
        // RFC 2617, section 3.5.
        let mut challenge = Challenge::parse(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        )
        .unwrap();
        let header = challenge.authorize("Mufasa", "Circle Of Life", "GET", "/dir/index.html", "0a4f113b");
        assert!(header.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{header}");
    }

    #[test]
    fn what_is_longer_than_any_server_s_is_refused() {
        let long = "n".repeat(PART_MAX + 1);
        assert!(Challenge::parse(&format!("Digest realm=\"a\", nonce=\"{long}\"")).is_none());
        assert!(Challenge::parse(&format!("Digest realm=\"{long}\", nonce=\"a\"")).is_none());
    }

    #[test]
    fn each_answer_is_counted() {
        let mut challenge = challenge("MD5");
        challenge.authorize("a", "b", "GET", "/", "x");
        assert!(challenge.authorize("a", "b", "GET", "/", "y").contains("nc=00000002"));
    }

    #[test]
    fn a_server_of_old_without_counting_is_answered_so() {
        // RFC 2069: the response is H(H(A1):nonce:H(A2)).
        let mut old = Challenge::parse("Digest realm=\"antMiner\", nonce=\"abc\"").unwrap();
        let header = old.authorize("root", "root", "GET", "/x", "unused");
        assert!(!header.contains("cnonce") && !header.contains("algorithm"), "{header}");
    }

    #[test]
    fn what_would_give_the_password_away_or_is_unknown_is_refused() {
        for header in [
            "Basic realm=\"x\"",
            "Digest nonce=\"1\"",
            "Digest realm=\"x\", nonce=\"\"",
            "Digest realm=\"x\", nonce=\"1\", algorithm=MD5-sess",
            "Digest realm=\"x\"",
            "Digest realm=\"x\", nonce=\"1\", qop=\"auth-int\"",
            "Digest realm=\"x\", nonce=\"1\", algorithm=SHA-512-256",
            "Digest realm=\"x",
            "Digest",
            "",
        ] {
            assert!(Challenge::parse(header).is_none(), "{header}");
        }
    }

    #[test]
    fn commas_and_quotes_within_a_value_are_text() {
        let mut odd = Challenge::parse(r#"digest realm="a, \"b\"", nonce=n1 , qop=auth"#).unwrap();
        assert!(odd.authorize("u", "p", "GET", "/", "c").contains(r#"realm="a, \"b\"", nonce="n1""#));
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in "(Digest )?.{0,200}") {
            if let Some(mut challenge) = Challenge::parse(&header) {
                challenge.authorize("u", "p", "GET", "/", "c");
            }
        }
    }

    #[test]
    fn a_nonce_with_padding_stays_whole_and_each_new_one_is_counted_from_one() {
        let challenge = |nonce: &str| {
            let header = format!(
                r#"Digest qop="auth", realm="shelly", nonce="{nonce}", algorithm=SHA-256, stale=true"#
            );
            Challenge::parse(&header).unwrap()
        };
        let mut first = challenge("bm9uY2U9PQ==");
        let said = |challenge: &mut Challenge| challenge.authorize("admin", "pw", "GET", "/rpc", "fresh");
        assert!(said(&mut first).contains(r#"nonce="bm9uY2U9PQ==""#));
        assert!(said(&mut first).contains("nc=00000002"));
        assert!(said(&mut challenge("bmV3")).contains("nc=00000001"));
    }
}
