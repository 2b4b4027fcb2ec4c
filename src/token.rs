//! Tokens: who may do what. Compared as hashes, in constant time, over all of them.

mod hash;
pub mod kept;

use std::fmt;
use std::sync::Arc;

use crate::clock::Moment;
use crate::rate::Bucket;
use crate::secret::Secret;
pub use hash::{Hash, NoHash};

/// The longest header that is looked at, in bytes.
const LONGEST: usize = 1024;
/// Requests of one token: so many at once …
const REQUESTS: u32 = 40;
/// … and so many per second on and on.
const REQUESTS_PER_SECOND: f64 = 10.0;
/// Wrong tokens of everybody together: so many at once …
const FAILURES: u32 = 10;
/// … and so many per second on and on.
const FAILURES_PER_SECOND: f64 = 1.0 / 6.0;

/// What a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    /// Give and take back the orders of one source, and read them.
    pub limits: bool,
    /// Read the orders of all sources.
    pub read: bool,
    /// Give and take back the operator's orders, lift those of others, and read all.
    pub operator: bool,
}

impl Scopes {
    /// Their names.
    pub const NAMES: [&'static str; 3] = ["limits", "read", "operator"];

    /// From names; `None` for none at all, for one that is unknown, and for `limits` together with `operator`, for then nobody
    /// could say in whose name an order is given.
    pub fn of<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        let mut scopes = Self::default();
        for name in names {
            match name {
                "limits" => scopes.limits = true,
                "read" => scopes.read = true,
                "operator" => scopes.operator = true,
                _ => return None,
            }
        }
        (scopes != Self::default() && !(scopes.limits && scopes.operator)).then_some(scopes)
    }

    /// The names of those that it has.
    pub fn names(self) -> Vec<&'static str> {
        let all = Self::NAMES.into_iter().zip([self.limits, self.read, self.operator]);
        all.filter_map(|(name, has)| has.then_some(name)).collect()
    }
}

/// A token, as the configuration or the file of tokens names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its name, for logs.
    pub name: Arc<str>,
    /// The text itself; `None` when secrets were not to be read: then nobody has it.
    pub secret: Option<Secret>,
    /// Its hash, where that is given in the place of the text.
    pub hash: Option<Hash>,
    /// What it may do.
    pub scopes: Scopes,
    /// The source for which the scope `limits` orders; there exactly with that scope.
    pub source: Option<String>,
    /// From when on it lets nobody in, in milliseconds since 1970 (UTC); `None` for never.
    pub expires: Option<i64>,
}

impl Token {
    /// Its hash; `None` when secrets were not to be read.
    pub fn hash(&self) -> Option<Hash> {
        self.hash.or_else(|| Some(Hash::of(self.secret.as_ref()?.expose().as_bytes())))
    }
}

/// Who asks: a token that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Scopes,
    /// The source for which it orders.
    pub source: Option<String>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// No token is configured at all.
    Closed,
    /// The request has no token, or none that could be one.
    Missing,
    /// The token is not known.
    Wrong,
    /// The token is not known, and too many before it were not either.
    TooMany,
    /// The token is known, and has asked too often.
    TooFast,
    /// The token is known, and its time is over.
    Expired,
}

/// The door: knows the tokens and counts who comes how often.
pub struct Gate {
    entries: Vec<Entry>,
    failures: Bucket,
}

struct Entry {
    hash: Hash,
    caller: Caller,
    requests: Bucket,
    expires: Option<i64>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("tokens", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Gate {
    /// A door for these tokens.
    pub fn new<'t>(tokens: impl IntoIterator<Item = &'t Token>) -> Self {
        let mut gate = Self { entries: Vec::new(), failures: Bucket::new(FAILURES, FAILURES_PER_SECOND) };
        gate.set(tokens);
        gate
    }

    /// Knows these tokens from here on. One that it knew before has asked as often as it has.
    pub fn set<'t>(&mut self, tokens: impl IntoIterator<Item = &'t Token>) {
        let mut before = std::mem::take(&mut self.entries);
        let mut entry = |token: &Token| {
            let hash = token.hash()?;
            let known = before.iter().position(|entry| entry.hash == hash);
            Some(Entry {
                hash,
                caller: Caller {
                    name: token.name.clone(),
                    scopes: token.scopes,
                    source: token.source.clone(),
                },
                requests: match known {
                    Some(at) => before.swap_remove(at).requests,
                    None => Bucket::new(REQUESTS, REQUESTS_PER_SECOND),
                },
                expires: token.expires,
            })
        };
        self.entries = tokens.into_iter().filter_map(&mut entry).collect();
    }

    /// Who has sent this `Authorization` header (`Bearer TOKEN`, RFC 6750).
    ///
    /// Tokens that are known get in however many wrong ones came before: otherwise whoever reaches the port could keep
    /// the operator out. They are too long to be found by trying. `wall` is the time by the wall clock, in milliseconds since 1970
    /// (UTC), against which tokens expire.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn admit(&mut self, header: Option<&[u8]>, now: Moment, wall: i64) -> Result<Caller, Unknown> {
        if self.entries.is_empty() {
            return Err(Unknown::Closed);
        }
        let Some(given) = header.and_then(bearer) else {
            return Err(self.failed(Unknown::Missing, now));
        };
        let hash = Hash::of(given);
        // All are compared, whichever fits.
        let mut found = None;
        for entry in &mut self.entries {
            if entry.hash.matches(&hash) {
                found = Some(entry);
            }
        }
        match found {
            Some(entry) => {
                if !entry.requests.take(now) {
                    return Err(Unknown::TooFast);
                }
                let over = entry.expires.is_some_and(|expires| wall >= expires);
                if over { Err(Unknown::Expired) } else { Ok(entry.caller.clone()) }
            }
            None => Err(self.failed(Unknown::Wrong, now)),
        }
    }

    fn failed(&mut self, how: Unknown, now: Moment) -> Unknown {
        if self.failures.take(now) { how } else { Unknown::TooMany }
    }
}

/// The token of a header.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(7).filter(|_| header.len() <= LONGEST)?;
    let token = rest.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, text: &str) -> Token {
        Token {
            name: name.into(),
            secret: Some(Secret::new(text.into())),
            hash: None,
            scopes: Scopes { read: true, ..Scopes::default() },
            source: None,
            expires: None,
        }
    }

    fn gate() -> Gate {
        Gate::new(&[token("one", "first-token-of-two"), token("two", "second-token-of-two")])
    }

    #[test]
    fn a_token_is_known_and_everything_else_is_not() {
        let mut gate = gate();
        let mut admit = |header: &str| gate.admit(Some(header.as_bytes()), Moment::START, 0);
        assert_eq!(&*admit("Bearer first-token-of-two").unwrap().name, "one");
        assert_eq!(&*admit("bearer second-token-of-two ").unwrap().name, "two");
        for wrong in ["Bearer first-token-of-tw", "Bearer first-token-of-two2", "Bearer FIRST-TOKEN-OF-TWO"] {
            assert_eq!(admit(wrong), Err(Unknown::Wrong), "{wrong}");
        }
        for missing in ["", "Bearer", "Bearer  ", "Basic first-token-of-two", "first-token-of-two"] {
            assert_eq!(admit(missing), Err(Unknown::Missing), "{missing}");
        }
        assert_eq!(gate.admit(None, Moment::START, 0), Err(Unknown::Missing));
    }

    #[test]
    fn without_tokens_nobody_is_let_in() {
        let unread = Token { secret: None, ..token("one", "x") };
        for tokens in [vec![], vec![unread]] {
            let admitted = Gate::new(&tokens).admit(Some(b"Bearer x"), Moment::START, 0);
            assert_eq!(admitted, Err(Unknown::Closed));
        }
    }

    #[test]
    fn guessing_is_slowed_down_and_keeps_nobody_out() {
        let mut gate = gate();
        let wrong = Some(&b"Bearer guess"[..]);
        for _ in 0..FAILURES {
            assert_eq!(gate.admit(wrong, Moment::START, 0), Err(Unknown::Wrong));
        }
        assert_eq!(gate.admit(wrong, Moment::START, 0), Err(Unknown::TooMany));
        assert!(gate.admit(Some(b"Bearer first-token-of-two"), Moment::START, 0).is_ok());
        assert_eq!(gate.admit(wrong, Moment::millis(6_000), 0), Err(Unknown::Wrong));
        assert_eq!(gate.admit(wrong, Moment::millis(6_000), 0), Err(Unknown::TooMany));
    }

    #[test]
    fn a_token_that_asks_without_end_is_slowed_down_alone() {
        let mut gate = gate();
        let one = Some(&b"Bearer first-token-of-two"[..]);
        let asked = (0..1_000).filter(|_| gate.admit(one, Moment::START, 0).is_ok()).count();
        assert_eq!(asked, usize::try_from(REQUESTS).unwrap());
        assert_eq!(gate.admit(one, Moment::START, 0), Err(Unknown::TooFast));
        assert!(gate.admit(Some(b"Bearer second-token-of-two"), Moment::START, 0).is_ok());
        assert!(gate.admit(one, Moment::millis(100), 0).is_ok());
    }

    #[test]
    fn a_token_is_known_by_its_hash_until_it_expires_and_keeps_what_it_has_asked() {
        let text = "ballast_a-token-that-stands-nowhere";
        let hashed = Token {
            secret: None,
            hash: Some(Hash::of(text.as_bytes())),
            expires: Some(1_000),
            ..token("one", "")
        };
        let mut gate = Gate::new([&hashed]);
        let header = format!("Bearer {text}");
        let header = Some(header.as_bytes());
        assert_eq!(&*gate.admit(header, Moment::START, 999).unwrap().name, "one");
        assert_eq!(gate.admit(header, Moment::START, 1_000), Err(Unknown::Expired));
        for _ in 0..REQUESTS {
            let _ = gate.admit(header, Moment::START, 0);
        }
        gate.set([&token("two", "second-token-of-two"), &hashed]);
        assert_eq!(
            gate.admit(header, Moment::START, 0),
            Err(Unknown::TooFast),
            "a new list is no new beginning"
        );
        gate.set([]);
        assert_eq!(gate.admit(header, Moment::START, 0), Err(Unknown::Closed));
    }

    #[test]
    fn scopes_are_what_their_names_say() {
        for names in [vec!["limits"], vec!["read"], vec!["limits", "read"], vec!["read", "operator"]] {
            assert_eq!(Scopes::of(names.iter().copied()).unwrap().names(), names);
        }
        for wrong in [vec![], vec!["all"], vec!["limits", "operator"]] {
            assert_eq!(Scopes::of(wrong.iter().copied()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_token_shows_in_no_debug_output() {
        let token = token("one", "first-token-of-two");
        let gate = Gate::new(std::slice::from_ref(&token));
        assert!(!format!("{token:?}{gate:?}").contains("first-token"));
    }
}
