//! A token for client credentials (RFC 6749, section 4.4): how one is asked for, and what is made of the answer. Who asks decides
//! over which client, for how long and where the words go.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use crate::secret::Secret;

/// Largest answer that is read, in bytes.
pub const LARGEST: usize = 64 * 1024;
/// Longest token, in bytes.
const LONGEST_TOKEN: usize = 16 * 1024;
/// For how long a token is taken to be good whose life the server does not tell; a refusal ends it sooner.
const UNTOLD_LIFE: Duration = Duration::from_secs(3_600);
/// A token is renewed this long before its end, or after four fifths of a short life.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// What is given for a token, over and over.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// Where tokens are given. HTTPS, or plain HTTP on loopback.
    pub token_url: Url,
    /// The name of the client.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// What the token shall be good for; `None` to leave that to the server.
    pub scope: Option<String>,
    /// Name and secret travel in the header (RFC 6749, section 2.3.1) and not in the body.
    pub basic: bool,
}

/// A token that was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    /// The token.
    pub token: Secret,
    /// For how long it is used, from when it was asked for.
    pub use_for: Duration,
}

/// The request for a token. Nothing is sent yet.
pub fn request(http: &Client, account: &Credentials) -> RequestBuilder {
    let mut fields = vec![("grant_type", "client_credentials")];
    if !account.basic {
        fields.extend([("client_id", account.id.as_str()), ("client_secret", account.secret.expose())]);
    }
    if let Some(scope) = &account.scope {
        fields.push(("scope", scope));
    }
    let request = http
        .post(account.token_url.clone())
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Accept", "application/json")
        .body(form(&fields));
    if account.basic {
        // RFC 6749, section 2.3.1: both are form-encoded before they are put together.
        request.basic_auth(encoded(&account.id), Some(encoded(account.secret.expose())))
    } else {
        request
    }
}

/// The token in an answer. `clean` makes words of the server fit for a message: none of what is secret may stay in them.
///
/// # Errors
/// Why there is none, in words that begin no sentence.
pub fn granted(status: StatusCode, body: &[u8], clean: impl Fn(&str) -> String) -> Result<Granted, String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str);
    if !status.is_success() {
        // RFC 6749, section 5.2; some servers send a problem (RFC 9457) instead.
        let word = text("error").map(|word| format!(": {}", clean(word)));
        let title = || text("title").or_else(|| text("detail")).map(|words| format!(" ({})", clean(words)));
        return Err(format!("HTTP {}{}", status.as_u16(), word.or_else(title).unwrap_or_default()));
    }
    let token = text("access_token").filter(|token| !token.is_empty());
    let token = token.ok_or("the answer has no `access_token`")?;
    let kind = text("token_type").unwrap_or("Bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(format!("it is a token of type {}, not Bearer", clean(kind)));
    }
    if token.len() > LONGEST_TOKEN {
        return Err(format!("it is longer than {LONGEST_TOKEN} bytes"));
    }
    let token = Secret::new(token.to_owned());
    Ok(Granted { token, use_for: use_for(answer.get("expires_in")) })
}

/// For how long a token is used that is good for so many seconds. A very short life is good for one request at least.
fn use_for(expires_in: Option<&Value>) -> Duration {
    let told = expires_in.and_then(|life| life.as_f64().or_else(|| life.as_str()?.parse().ok()));
    let life = told.filter(|life| *life >= 0.0).map_or(UNTOLD_LIFE, |life| {
        Duration::try_from_secs_f64(life.min(86_400.0 * 365.0)).unwrap_or(UNTOLD_LIFE)
    });
    life.saturating_sub(RENEW_BEFORE).max(life.mul_f64(0.8).min(RENEW_BEFORE))
}

/// Fields as a form (application/x-www-form-urlencoded).
fn form(fields: &[(&str, &str)]) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_renewed_before_its_end_and_a_short_one_in_time() {
        for (life, expected) in
            [(json!(3600), 3540), (json!("600"), 540), (json!(50), 40), (json!(0), 0), (json!(null), 3540)]
        {
            assert_eq!(use_for(Some(&life)).as_secs(), expected, "{life}");
        }
        assert_eq!(use_for(Some(&json!(-5))).as_secs(), 3540);
    }

    #[test]
    fn a_secret_with_signs_arrives_as_it_is() {
        assert_eq!(form(&[("client_secret", "a&b=c d+é")]), "client_secret=a%26b%3Dc%20d%2B%C3%A9");
    }

    #[test]
    fn an_answer_without_a_token_says_why() {
        let clean = |words: &str| words.to_owned();
        let read = |status: u16, body: &str| {
            granted(StatusCode::from_u16(status).unwrap(), body.as_bytes(), clean).unwrap_err()
        };
        assert_eq!(read(401, r#"{"error": "invalid_client"}"#), "HTTP 401: invalid_client");
        assert_eq!(read(500, r#"{"title": "broken"}"#), "HTTP 500 (broken)");
        assert_eq!(read(502, "<html>"), "HTTP 502");
        assert!(read(200, "{}").contains("access_token"));
        assert!(read(200, r#"{"access_token": "t", "token_type": "mac"}"#).contains("mac"));
    }
}
