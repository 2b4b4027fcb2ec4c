//! A price asked for over HTTP: one bounded exchange, and the number that a JSON pointer (RFC 6901) leads to.

use std::time::Duration;

use reqwest::header::{ACCEPT, DATE};
use serde_json::Value;

use crate::control::signal::Wall;
use crate::secret::Secret;

/// Longest wait for a whole answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Largest answer that is read, in bytes.
pub const LARGEST: usize = 1 << 20;
/// Numbers above this are seconds since 1970 no more, but milliseconds: it is the year 5138.
const MOST_SECONDS: f64 = 1e11;

/// How a price is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// Where; `http` or `https`, without an account.
    pub url: reqwest::Url,
    /// Where in the answer the number stands, as a JSON pointer.
    pub pointer: String,
    /// Where in the answer it stands when the price is from: seconds or milliseconds since 1970, or RFC 3339.
    pub time_pointer: Option<String>,
    /// Turns the number into one per base.
    pub factor: f64,
    /// Numbers (per base) below are refused.
    pub lowest: Option<f64>,
    /// Numbers (per base) above are refused.
    pub highest: Option<f64>,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
}

/// Why there is no price.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// No connection, no answer in time, a broken answer.
    #[error("{place} gives no price: {reason}; check the address, the network and the certificate")]
    Unreachable {
        /// Which host.
        place: String,
        /// In which way; without the URL, which may hold a key.
        reason: String,
    },
    /// Another status than 200.
    #[error("{place} answers HTTP {status}; 401 and 403 mean the token, 3xx that the URL has moved")]
    Status {
        /// Which host.
        place: String,
        /// The code.
        status: u16,
    },
    /// More than [`LARGEST`].
    #[error("{place} answers with more than {LARGEST} bytes; ask for less than a whole database")]
    TooLarge {
        /// Which host.
        place: String,
    },
    /// No JSON.
    #[error("{place} answers with something that is not JSON (line {line})")]
    Json {
        /// Which host.
        place: String,
        /// Where the reader gave up.
        line: usize,
    },
    /// Nothing, or no number, where the pointer leads.
    #[error("the answer of {place} has no number at `{pointer}`; look at it, and at `pointer`")]
    NoNumber {
        /// Which host.
        place: String,
        /// The pointer.
        pointer: String,
    },
    /// A number that cannot be meant.
    #[error(
        "{price} (per kWh, or per TH and day) at `{pointer}` of {place} is outside of what was called possible"
    )]
    OutOfRange {
        /// Which host.
        place: String,
        /// The pointer.
        pointer: String,
        /// The number, per base.
        price: f64,
    },
    /// The price says to be old.
    #[error("the price of {place} is {age:?} old by its own word; whoever writes it has stopped")]
    Old {
        /// Which host.
        place: String,
        /// How old.
        age: Duration,
    },
    /// Nobody pays for hashing to be done.
    #[error("a hash price of {0} is below zero, which cannot be meant")]
    Negative(f64),
}

impl PriceError {
    /// Whether there was a whole answer whose price cannot be meant.
    pub const fn is_bad_value(&self) -> bool {
        matches!(self, Self::NoNumber { .. } | Self::OutOfRange { .. } | Self::Negative(_))
    }

    /// A closed set of words, so that the same trouble is told once.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Status { .. } => "status",
            Self::TooLarge { .. } => "too large",
            Self::Json { .. } => "json",
            Self::NoNumber { .. } => "no number",
            Self::OutOfRange { .. } => "out of range",
            Self::Old { .. } => "old",
            Self::Negative(_) => "negative",
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its body.
    pub body: Vec<u8>,
    /// The `Date` that its sender put on it.
    pub date: Option<String>,
}

/// The client of a source: no redirects, no proxy of the environment, certificates checked. `tls` says whether one of its
/// addresses is of `https`.
///
/// # Errors
/// It cannot be built: the system gives no certificates, or the authority's is none.
pub fn client(tls: bool, ca: Option<&[u8]>) -> Result<reqwest::Client, reqwest::Error> {
    let builder = crate::tls::client(tls).timeout(LIMIT).pool_max_idle_per_host(1);
    match ca {
        Some(pem) if tls => builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?).build(),
        _ => builder.build(),
    }
}

/// Asks once.
///
/// # Errors
/// No whole answer with status 200 in time.
pub async fn ask(client: &reqwest::Client, poll: &Poll) -> Result<Answer, PriceError> {
    let place = poll.place();
    let broken =
        |error: reqwest::Error| PriceError::Unreachable { place: place.clone(), reason: reason(error) };
    let mut request = client.get(poll.url.clone()).header(ACCEPT, "application/json");
    if let Some(token) = &poll.token {
        request = request.bearer_auth(token.expose());
    }
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        return Err(PriceError::Status { place, status: status.as_u16() });
    }
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len().saturating_add(chunk.len()) > LARGEST {
            return Err(PriceError::TooLarge { place });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { body, date })
}

/// What went wrong, down to its root, without the URL.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    for _ in 0..4 {
        let Some(deeper) = source else { break };
        words = format!("{words}: {deeper}");
        source = deeper.source();
    }
    words.chars().take(300).collect()
}

impl Poll {
    /// The host, for messages.
    fn place(&self) -> String {
        self.url.host_str().unwrap_or("?").to_owned()
    }

    /// The price (per base) in an answer, and the moment at which its sender says to have sent it.
    ///
    /// # Errors
    /// The answer is no JSON, has no number there, one that cannot be meant, or one that is older than `oldest`.
    pub fn read(
        &self,
        answer: &Answer,
        now: Wall,
        oldest: Duration,
    ) -> Result<(f64, Option<Wall>), PriceError> {
        let place = self.place();
        let document: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| PriceError::Json { place: place.clone(), line: error.line() })?;
        let missing =
            |pointer: &str| PriceError::NoNumber { place: place.clone(), pointer: pointer.to_owned() };
        let number =
            document.pointer(&self.pointer).and_then(number).ok_or_else(|| missing(&self.pointer))?;
        let price = number * self.factor;
        let low = self.lowest.is_some_and(|lowest| price < lowest);
        let high = self.highest.is_some_and(|highest| price > highest);
        if low || high || !price.is_finite() {
            return Err(PriceError::OutOfRange { place, pointer: self.pointer.clone(), price });
        }
        if let Some(pointer) = &self.time_pointer {
            let from = document.pointer(pointer).and_then(moment).ok_or_else(|| missing(pointer))?;
            let age = now.since(from);
            if age > oldest {
                return Err(PriceError::Old { place, age });
            }
        }
        Ok((price, answer.date.as_deref().and_then(http_date)))
    }
}

/// A number, or a text that is nothing but one.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) if text.len() <= 64 => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// A moment as documents write it.
fn moment(value: &Value) -> Option<Wall> {
    if let Value::String(text) = value
        && let Ok(at) = text.trim().parse::<jiff::Timestamp>()
    {
        return Some(Wall::unix_millis(at.as_millisecond()));
    }
    let number = number(value)?;
    let millis = if number.abs() > MOST_SECONDS { number } else { number * 1e3 };
    let whole = format!("{:.0}", millis.clamp(-1e17, 1e17));
    whole.parse().ok().map(Wall::unix_millis)
}

/// The `Date` of HTTP (RFC 9110, 6.6.1).
fn http_date(text: &str) -> Option<Wall> {
    let at = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Wall::unix_millis(at.timestamp().as_millisecond()))
}

/// A way in for fuzzing and its ordinary test: whatever comes, a price is finite and within what was called possible.
pub fn any_answer(pointer: &str, body: &[u8], date: &str) {
    let Ok(url) = reqwest::Url::parse("http://127.0.0.1/") else { return };
    let poll = Poll {
        url,
        pointer: pointer.to_owned(),
        time_pointer: None,
        factor: 1e-3,
        lowest: Some(-1.0),
        highest: Some(10.0),
        token: None,
    };
    let answer = Answer { body: body.to_vec(), date: Some(date.to_owned()) };
    if let Ok((price, _)) = poll.read(&answer, Wall::unix_millis(0), Duration::MAX) {
        assert!((-1.0..=10.0).contains(&price));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn poll() -> Poll {
        Poll {
            url: "https://prices.example/now?key=topsecret".parse().unwrap(),
            pointer: "/data/0/price".into(),
            time_pointer: None,
            factor: 1e-3,
            lowest: Some(-1.0),
            highest: Some(5.0),
            token: None,
        }
    }

    const NOW: Wall = Wall::unix_millis(1_800_000_000_000);

    fn read(poll: &Poll, body: &str) -> Result<f64, PriceError> {
        let answer = Answer { body: body.as_bytes().to_vec(), date: None };
        poll.read(&answer, NOW, Duration::from_secs(3_600)).map(|(price, _)| price)
    }

    #[test]
    fn the_number_that_the_pointer_leads_to_counts_in_its_unit() {
        assert!((read(&poll(), r#"{"data":[{"price":85.5}]}"#).unwrap() - 0.0855).abs() < 1e-12);
        assert!((read(&poll(), r#"{"data":[{"price":" -3 "}]}"#).unwrap() + 0.003).abs() < 1e-12);
        assert!(read(&poll(), r#"{"data":[{"price":0}]}"#).unwrap().abs() < 1e-12, "zero is a price");
    }

    #[test]
    fn what_is_no_price_is_told_apart_from_no_answer() {
        for body in [r#"{"data":[{"price":null}]}"#, r#"{"data":[]}"#, r#"{"data":[{"price":"NaN"}]}"#, "[1]"]
        {
            let error = read(&poll(), body).unwrap_err();
            assert!(error.is_bad_value(), "{error}");
        }
        let wrong_unit = read(&poll(), r#"{"data":[{"price":85500}]}"#).unwrap_err();
        assert!(matches!(wrong_unit, PriceError::OutOfRange { .. }) && wrong_unit.is_bad_value());
        let half = read(&poll(), r#"{"data":[{"price":85."#).unwrap_err();
        assert!(matches!(half, PriceError::Json { .. }) && !half.is_bad_value());
        assert!(!half.to_string().contains("topsecret"), "{half}");
    }

    #[test]
    fn a_price_that_says_to_be_old_is_none() {
        let poll = Poll { time_pointer: Some("/at".into()), ..poll() };
        let with = |at: &str| read(&poll, &format!(r#"{{"at":{at},"data":[{{"price":50}}]}}"#));
        assert!(with("1799999000").is_ok());
        assert!(with("1799999000000").is_ok(), "milliseconds");
        assert!(with("\"2027-01-15T07:30:00Z\"").is_ok());
        assert!(matches!(with("1799990000"), Err(PriceError::Old { .. })));
        assert!(matches!(with("\"soon\""), Err(PriceError::NoNumber { .. })));
    }

    #[test]
    fn the_date_of_the_answer_tells_the_senders_clock() {
        let date = Some("Sun, 22 Nov 2026 17:04:58 GMT".to_owned());
        let answer = Answer { body: br#"{"data":[{"price":1}]}"#.to_vec(), date };
        let (_, sent) = poll().read(&answer, NOW, Duration::from_secs(1)).unwrap();
        assert_eq!(sent, Some(Wall::unix_millis(1_795_367_098_000)));
        assert_eq!(http_date("yesterday"), None);
    }

    proptest! {
        #[test]
        fn no_answer_makes_a_price_that_cannot_be(
            body in proptest::collection::vec(any::<u8>(), 0..80), pointer in "[/a-z0-9~]{0,12}", date in ".{0,40}",
        ) {
            any_answer(&pointer, &body, &date);
        }

        #[test]
        fn no_document_makes_a_price_that_cannot_be(number in any::<f64>(), text in "[-+0-9.eEnaif]{0,12}") {
            any_answer("/a", format!("{{\"a\":{number:e}}}").as_bytes(), "");
            any_answer("/a", format!("{{\"a\":\"{text}\"}}").as_bytes(), "");
        }
    }
}
