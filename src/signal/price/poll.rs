//! A price asked for over HTTP: the question, and the number that a JSON pointer (RFC 6901) leads to.

use std::time::Duration;

use reqwest::header::ACCEPT;
use serde_json::Value;

use crate::control::signal::Wall;
use crate::fetch::{self, Answer, Bounds, FetchError};
use crate::secret::Secret;
use crate::signal::openadr::time;

/// Longest wait for a whole answer.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
const BOUNDS: Bounds = Bounds {
    largest: 1 << 20,
    unreachable: "check the address, the network and the certificate",
    status: "401 and 403 mean the token, 3xx that the URL has moved",
    too_large: "ask for less than a whole database",
};
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
    /// There is no whole answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
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
            Self::Fetch(error) => error.kind(),
            Self::Json { .. } => "json",
            Self::NoNumber { .. } => "no number",
            Self::OutOfRange { .. } => "out of range",
            Self::Old { .. } => "old",
            Self::Negative(_) => "negative",
        }
    }
}

/// Asks once.
///
/// # Errors
/// No whole answer with status 200 in time.
pub async fn ask(client: &reqwest::Client, poll: &Poll) -> Result<Answer, PriceError> {
    let mut request = client.get(poll.url.clone()).header(ACCEPT, "application/json");
    if let Some(token) = &poll.token {
        request = request.bearer_auth(token.expose());
    }
    Ok(fetch::ask(request, &poll.place(), &BOUNDS).await?)
}

impl Poll {
    /// The host, for messages.
    fn place(&self) -> String {
        fetch::place(&self.url)
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
        && let Some(at) = time::moment(text)
    {
        return Some(at);
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
