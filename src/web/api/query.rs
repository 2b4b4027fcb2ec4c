//! What a request carries in its path and behind the question mark.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;

use super::body::shorten;
use super::problem::Problem;

/// A name in the path.
#[derive(Clone, Debug)]
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|_| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "the name in the path cannot be read",
                "write it in UTF-8, with signs that a path cannot hold as %XX",
            )
        })
    }
}

/// The parameters of a request: each that is there is known, and there once.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads them.
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut all: Vec<(String, String)> = Vec::new();
        for (key, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
            let there = known.iter().any(|known| *known == key);
            let twice = all.iter().any(|(other, _)| *other == key);
            if !there || twice {
                let what = if there { "stands there twice" } else { "is not known" };
                let help = match known {
                    [] => "this path takes none".to_owned(),
                    [one] => format!("the only one is `{one}`, once"),
                    many => format!("there are {}, each once", many.join(", ")),
                };
                return Err(bad(format!("the parameter `{}` {what}", shorten(&key)), help));
            }
            all.push((key.into_owned(), value.into_owned()));
        }
        Ok(Self(all))
    }

    /// The value of a parameter.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The same as a whole number in a range.
    pub(super) fn whole<N>(&self, key: &str, least: N, most: N) -> Result<Option<N>, Problem>
    where
        N: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.text(key) else { return Ok(None) };
        // A sign in front is no digit: it would be read by some, and is meant by nobody.
        let number = text.parse::<N>().ok().filter(|number| *number >= least && *number <= most);
        number.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())).map(Some).ok_or_else(|| {
            bad(
                format!("`{key}` is \"{}\"", shorten(text)),
                format!("write a whole number from {least} to {most}"),
            )
        })
    }
}

/// A request that cannot be read.
pub(super) fn bad(error: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_known_once_and_decoded() {
        let query = Query::read(Some("search=s19%20j%2B&limit=7"), &["search", "limit"]).unwrap();
        assert_eq!(query.text("search"), Some("s19 j+"));
        assert_eq!(query.whole("limit", 1, 1_000).unwrap(), Some(7));
        assert_eq!(query.whole::<usize>("offset", 0, 9).unwrap(), None);
        for (wrong, words) in [
            ("limit=0", "from 1 to 1000"),
            ("limit=%2B7", "from 1 to 1000"),
            ("limit=99999999999999999999", "from 1 to 1000"),
            ("limit=", "from 1 to 1000"),
        ] {
            let query = Query::read(Some(wrong), &["limit"]).unwrap();
            assert!(query.whole("limit", 1, 1_000).unwrap_err().help.contains(words), "{wrong}");
        }
        assert!(Query::read(Some("limit=1&limit=1"), &["limit"]).unwrap_err().error.contains("twice"));
        assert!(Query::read(Some("limits=1"), &["limit"]).unwrap_err().error.contains("not known"));
        assert!(Query::read(Some(""), &[]).is_ok() && Query::read(None, &[]).is_ok());
    }
}
