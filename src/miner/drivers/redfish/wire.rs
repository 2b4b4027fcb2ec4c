//! The way to one BMC: the account, one request after the other, and the only paths that are ever written to.
//!
//! Source: DMTF DSP0266, "Redfish Specification", the sections on URIs, ETags, PATCH, status codes, sessions and basic authentication.
//! `GET` reads, `PATCH` sets a power limit, `POST` opens a session and `DELETE` closes that session. Nothing else is sent.

use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::forms::Form;
use super::path::Path;
use crate::clock::{Clock, Moment};
use crate::control::snapshot::Rejection;
use crate::miner::reply::fields;
use crate::miner::wire::Place;
use crate::miner::wire::exchange::{self, Answer};
use crate::miner::wire::stream::Secure;
use crate::miner::{Connection, DriverError};
use crate::secret::Secret;

/// Where sessions are opened (DSP0266, "Session login").
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";
/// How long a BMC that is busy is left alone when it does not say.
const QUIET: Duration = Duration::from_secs(5);
/// The longest that it is left alone, whatever it says.
const LONGEST_QUIET: Duration = Duration::from_secs(60);
/// An order waits for a busy BMC as long as this; else it counts as refused, and the control law asks again.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a resource says, and which version of it.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) body: Value,
    pub(super) etag: Option<HeaderValue>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It says that it is done (200, 204).
    Done,
    /// It says that it will do it (202).
    Accepted,
    /// The resource is another one than was read (412), or an ETag was needed (428).
    Changed,
}

/// How requests are vouched for.
enum Login {
    /// Not at all yet.
    None,
    /// By a session (DSP0266, "Session authentication").
    Session { token: Secret, at: Option<Path> },
    /// By the account with each request (DSP0266, "HTTP basic authentication"): it has no sessions.
    Basic,
}

/// Speaks with one BMC.
pub(super) struct Bmc {
    place: Place,
    http: Client,
    base: String,
    account: Option<(String, Secret)>,
    login: Login,
    clock: Clock,
    /// It asked to be left alone until then.
    quiet_until: Option<Moment>,
    /// Why nothing may be sent at all.
    barred: Option<&'static str>,
}

impl Bmc {
    /// For one BMC. Nothing is sent yet.
    pub(super) fn new(connection: &Connection, http: &Client, username: &str) -> Self {
        let place = Place::new(connection);
        let host = &connection.endpoint.host;
        let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let (place, barred) = match &connection.certificate {
            None if here => (place, None),
            None => (
                place,
                Some("its certificate is not known; write certificate = \"sha256:…\" or ca = \"FILE\""),
            ),
            Some(trust) => match trust.config().ok().and_then(|config| Secure::new(host, config)) {
                Some(secure) => (place.over_tls(secure), None),
                None => {
                    (place, Some("TLS cannot be prepared for it; check `certificate`, `ca` and its address"))
                }
            },
        };
        let account = connection.credentials.as_ref();
        Self {
            base: format!("{}://{}", place.scheme(), connection.endpoint),
            place,
            http: http.clone(),
            account: account.map(|account| {
                let name = account.username.clone().unwrap_or_else(|| username.to_owned());
                (name, account.password.clone())
            }),
            login: Login::None,
            clock: Clock::start(),
            quiet_until: None,
            barred,
        }
    }

    /// Where it is, for errors.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// Whether there is an account.
    pub(super) const fn has_account(&self) -> bool {
        self.account.is_some()
    }

    /// Reads a resource; `None` where the BMC has no such one.
    pub(super) async fn get(
        &mut self,
        name: &'static str,
        path: &Path,
    ) -> Result<Option<Resource>, DriverError> {
        let quiet = self.quiet();
        if !quiet.is_zero() {
            return Err(self.place.rejected(name, Rejection::Busy));
        }
        let answer = self.send(name, Method::GET, path, None, None).await?;
        match answer.status {
            status if status.is_success() => {
                let body = self.place.json(name, &answer.body)?;
                let tag = || HeaderValue::from_str(fields::text(&body, "@odata.etag")?).ok();
                let etag = answer.headers.get(ETAG).cloned().or_else(tag);
                Ok(Some(Resource { body, etag }))
            }
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::GONE
            | StatusCode::NOT_IMPLEMENTED => Ok(None),
            _ => Err(self.refusal(name, &answer)),
        }
    }

    /// Sets a limit where one is, in the version that was read. Waits a little for a BMC that is busy.
    pub(super) async fn patch(
        &mut self,
        name: &'static str,
        form: Form,
        path: &Path,
        body: &Value,
        etag: Option<&HeaderValue>,
    ) -> Result<Written, DriverError> {
        if !path.holds_limit(form) {
            return Err(self.place.rejected(name, Rejection::Unsupported));
        }
        let quiet = self.quiet();
        if quiet > PATIENCE {
            return Err(self.place.rejected(name, Rejection::Busy));
        }
        tokio::time::sleep(quiet).await;
        let answer = self.send(name, Method::PATCH, path, Some(body), etag).await?;
        match answer.status {
            StatusCode::ACCEPTED => Ok(Written::Accepted),
            StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED => Ok(Written::Changed),
            status if status.is_success() => Ok(Written::Done),
            _ => Err(self.refusal(name, &answer)),
        }
    }

    /// Gives the session back.
    pub(super) async fn close(&mut self) {
        if let Login::Session { token, at: Some(at) } = std::mem::replace(&mut self.login, Login::None) {
            let request = self.http.delete(format!("{}{}", self.base, at.text()));
            // One that is not taken back ends by itself (SessionService, SessionTimeout).
            let _ended = self.over_the_wire("the end of the session", with_token(request, &token)).await;
        }
    }

    /// How long it still wants to be left alone.
    fn quiet(&self) -> Duration {
        self.quiet_until.map_or(Duration::ZERO, |until| until.since(self.clock.now()))
    }

    /// One request, with a login that is renewed once where it has ended.
    async fn send(
        &mut self,
        name: &'static str,
        method: Method,
        path: &Path,
        body: Option<&Value>,
        etag: Option<&HeaderValue>,
    ) -> Result<Answer, DriverError> {
        // The service root is for everybody (DSP0266, "Resources available without authentication").
        if *path != Path::root() {
            self.log_in().await?;
        }
        let first = self.once(name, &method, path, body, etag).await?;
        let ended = first.status == StatusCode::UNAUTHORIZED && matches!(self.login, Login::Session { .. });
        let answer = if ended {
            self.login = Login::None;
            self.log_in().await?;
            self.once(name, &method, path, body, etag).await?
        } else {
            first
        };
        // What was refused with the account alone is tried with a session the next time.
        if answer.status == StatusCode::UNAUTHORIZED {
            self.login = Login::None;
        }
        if matches!(answer.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            self.quiet_until = Some(self.clock.now() + retry_after(&answer.headers));
            return Err(self.place.rejected(name, Rejection::Busy));
        }
        Ok(answer)
    }

    async fn once(
        &self,
        name: &'static str,
        method: &Method,
        path: &Path,
        body: Option<&Value>,
        etag: Option<&HeaderValue>,
    ) -> Result<Answer, DriverError> {
        let mut request = self.http.request(method.clone(), format!("{}{}", self.base, path.text()));
        request = request.header("OData-Version", "4.0");
        request = match (&self.login, &self.account) {
            (Login::Session { token, .. }, _) => with_token(request, token),
            (Login::Basic, Some((name, password))) => request.basic_auth(name, Some(password.expose())),
            _ => request,
        };
        if let Some(etag) = etag {
            request = request.header(IF_MATCH, etag);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.over_the_wire(name, request).await
    }

    async fn over_the_wire(
        &self,
        name: &'static str,
        request: RequestBuilder,
    ) -> Result<Answer, DriverError> {
        if let Some(why) = self.barred {
            return Err(self.place.other(name, why, &[]));
        }
        exchange::over_http(&self.place, name, request).await
    }

    /// Opens a session where there is an account and none is open.
    async fn log_in(&mut self) -> Result<(), DriverError> {
        let name = "the login";
        let (Login::None, Some((username, password))) = (&self.login, &self.account) else { return Ok(()) };
        let body = json!({ "UserName": username, "Password": password.expose() });
        let request = self.http.post(format!("{}{SESSIONS}", self.base)).json(&body);
        let answer = self.over_the_wire(name, request).await?;
        let token = answer.headers.get("X-Auth-Token").and_then(|token| token.to_str().ok());
        self.login = match (answer.status, token) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                return Err(self.place.rejected(name, Rejection::Credentials));
            }
            (status, Some(token)) if status.is_success() => {
                let at = answer.headers.get(LOCATION).and_then(|at| at.to_str().ok());
                let at = at.and_then(Path::of_text).filter(|at| {
                    // What is deleted at the end is this session and nothing else.
                    at.text()
                        .strip_prefix(SESSIONS)
                        .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
                });
                Login::Session { token: Secret::new(token.to_owned()), at }
            }
            // No sessions, or none free: the account goes with each request.
            _ => Login::Basic,
        };
        Ok(())
    }

    /// What a refusal means.
    fn refusal(&self, name: &'static str, answer: &Answer) -> DriverError {
        let reason = match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Rejection::Credentials,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
                Rejection::Unsupported
            }
            StatusCode::CONFLICT => Rejection::WrongState,
            status => {
                let body = fields::parse(&answer.body).unwrap_or_default();
                let told = body.pointer("/error/@Message.ExtendedInfo/0").unwrap_or(&Value::Null);
                // `Base.1.x.PropertyValueOutOfRange` and its like (DMTF DSP2065, base registry).
                let id = fields::text(told, "MessageId").unwrap_or_default();
                if ["OutOfRange", "LimitExceeded", "NotInList"].iter().any(|word| id.ends_with(word)) {
                    return self.place.rejected(name, Rejection::OutOfRange);
                }
                let words = fields::text(told, "Message")
                    .or_else(|| body.pointer("/error/message").and_then(Value::as_str))
                    .unwrap_or_default();
                let password = self.account.as_ref().map_or("", |(_, password)| password.expose());
                return self.place.other(name, &format!("HTTP {}: {words}", status.as_u16()), &[password]);
            }
        };
        self.place.rejected(name, reason)
    }
}

fn with_token(request: RequestBuilder, token: &Secret) -> RequestBuilder {
    match HeaderValue::from_str(token.expose()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header("X-Auth-Token", value)
        }
        // It came out of a header.
        Err(_) => request,
    }
}

/// How long to wait: what is told in seconds, within bounds. A date is not believed: the clocks of BMCs are often wrong.
fn retry_after(headers: &HeaderMap) -> Duration {
    let told = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    told.map_or(QUIET, Duration::from_secs).clamp(Duration::from_secs(1), LONGEST_QUIET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_bmc_is_left_alone_as_it_asks_within_bounds() {
        let told = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))])).as_secs()
        };
        assert_eq!((told("7"), told("0"), told("86400")), (7, 1, 60));
        assert_eq!((told("Fri, 01 Jan 2027 00:00:00 GMT"), retry_after(&HeaderMap::new()).as_secs()), (5, 5));
    }
}
