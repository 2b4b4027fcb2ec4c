//! The way to one BMC: the account, one request after the other, and the only paths that are ever written to.
//!
//! Source: DMTF DSP0266, "Redfish Specification", the sections on URIs, ETags, PATCH, status codes, sessions and basic authentication.
//! `GET` reads, `PATCH` sets a power limit, `POST` opens a session and `DELETE` closes that session. Nothing else is sent.

use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MATCH, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::forms::Form;
use super::login::{self, Login, Outcome};
use super::path::Path;
use crate::clock::{Clock, Moment};
use crate::control::snapshot::Rejection;
use crate::miner::reply::fields;
use crate::miner::wire::Place;
use crate::miner::wire::web::{Answer, Web};
use crate::miner::{Connection, DriverError};

/// How long a BMC that is busy is left alone when it does not say.
const QUIET: Duration = Duration::from_secs(5);
/// The longest that it is left alone, whatever it says.
const LONGEST_QUIET: Duration = Duration::from_secs(60);
/// An order that has time waits for a busy BMC as long as this; else it counts as refused, and the control law asks again.
const PATIENCE: Duration = Duration::from_secs(5);
/// A shed is tried on a busy BMC, too, this often.
const SHED_AGAIN: Duration = Duration::from_secs(5);
/// And so is a reading: many are busy for writes alone, and one that is not read counts as silent, and gets no shed.
const POLL_AGAIN: Duration = Duration::from_secs(10);

/// How much what is asked next matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// A reading: a busy BMC is asked once in ten seconds.
    Poll,
    /// An order that has time waits a little for it.
    Order,
    /// A shed, or the question who it is without which no shed goes out: does not heed that it is busy, once in five seconds.
    Shed,
}

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

/// Speaks with one BMC.
pub(super) struct Bmc {
    web: Web,
    login: Login,
    clock: Clock,
    haste: Haste,
    /// It asked to be left alone until then.
    quiet_until: Option<Moment>,
    /// The same when this was begun: what is known already keeps nothing from being sent.
    known_quiet: Option<Moment>,
    /// When it was busy for a shed last.
    shed_refused: Option<Moment>,
    /// When it was busy for anything, or was read all the same, last.
    left_alone: Option<Moment>,
    /// Why nothing may be sent at all.
    barred: Option<&'static str>,
}

impl Bmc {
    /// For one BMC. Nothing is sent yet.
    pub(super) fn new(connection: &Connection, http: &Client, username: &str) -> Self {
        let place = Place::new(connection);
        let (place, barred) = match &connection.certificate {
            None if connection.endpoint.is_here() => (place, None),
            None => (
                place,
                Some("its certificate is not known; write certificate = \"sha256:…\" or ca = \"FILE\""),
            ),
            Some(trust) => place.over_tls(trust.config()),
        };
        let account = connection.credentials.as_ref().map(|account| {
            let name = account.username.clone().unwrap_or_else(|| username.to_owned());
            (name, account.password.clone())
        });
        let web = Web::at(place, connection, http, "");
        Self {
            login: Login::new(web.clone(), account),
            web,
            clock: Clock::start(),
            haste: Haste::Poll,
            quiet_until: None,
            known_quiet: None,
            shed_refused: None,
            left_alone: None,
            barred,
        }
    }

    /// Where it is, for errors.
    pub(super) const fn place(&self) -> &Place {
        self.web.place()
    }

    /// Whether there is an account.
    pub(super) const fn has_account(&self) -> bool {
        self.login.has_account()
    }

    /// Begins something, which may take several exchanges. Whether a BMC that is busy may be asked at all is decided here.
    ///
    /// # Errors
    /// [`Rejection::Busy`] while it is to be left alone.
    pub(super) async fn begin(&mut self, name: &'static str, haste: Haste) -> Result<(), DriverError> {
        self.haste = haste;
        let (now, quiet) = (self.clock.now(), self.quiet());
        let alone = match haste {
            _ if quiet.is_zero() => false,
            Haste::Shed => self.shed_refused.is_some_and(|at| now - at < SHED_AGAIN),
            Haste::Order => quiet > PATIENCE,
            Haste::Poll => self.left_alone.is_some_and(|at| now - at < POLL_AGAIN),
        };
        if alone {
            return Err(self.place().rejected(name, Rejection::Busy));
        }
        self.known_quiet = self.quiet_until;
        if haste == Haste::Poll && !quiet.is_zero() {
            self.left_alone = Some(now);
        }
        match haste {
            Haste::Order => tokio::time::sleep(quiet).await,
            Haste::Poll => self.login.tidy().await,
            Haste::Shed => {}
        }
        Ok(())
    }

    /// Reads a resource; `None` where the BMC has no such one.
    ///
    /// # Errors
    /// Any [`DriverError`].
    pub(super) async fn get(
        &mut self,
        name: &'static str,
        path: &Path,
    ) -> Result<Option<Resource>, DriverError> {
        let answer = self.send(name, Method::GET, path, None, None).await?;
        match answer.status {
            status if status.is_success() => {
                let body = self.web.json(name, &answer)?;
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

    /// Sets a limit where one is, in the version that is told; `*` means any.
    ///
    /// # Errors
    /// Any [`DriverError`]: [`DriverError::Rejected`] only where the BMC says that it did not do it.
    pub(super) async fn patch(
        &mut self,
        form: Form,
        path: &Path,
        body: &Value,
        version: Option<&HeaderValue>,
    ) -> Result<Written, DriverError> {
        let name = form.name();
        if !path.holds_limit(form) {
            return Err(self.place().rejected(name, Rejection::Unsupported));
        }
        let answer = self.send(name, Method::PATCH, path, Some(body), version).await?;
        match answer.status {
            StatusCode::ACCEPTED => Ok(Written::Accepted),
            StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED => Ok(Written::Changed),
            status if status.is_success() => Ok(Written::Done),
            // It failed on the way, and may have done it.
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => {
                Err(self.place().malformed(name, format!("HTTP {}", status.as_u16())))
            }
            _ => Err(self.refusal(name, &answer)),
        }
    }

    /// Gives the sessions back.
    pub(super) async fn close(&mut self) {
        self.login.close().await;
    }

    /// How long it still wants to be left alone.
    fn quiet(&self) -> Duration {
        self.quiet_until.map_or(Duration::ZERO, |until| until.since(self.clock.now()))
    }

    /// It is busy.
    fn busy(&mut self, name: &'static str, answer: &Answer) -> DriverError {
        let now = self.clock.now();
        self.quiet_until = Some(now + retry_after(&answer.headers));
        self.left_alone = Some(now);
        if self.haste == Haste::Shed {
            self.shed_refused = Some(now);
        }
        self.place().rejected(name, Rejection::Busy)
    }

    async fn log_in(&mut self) -> Result<(), DriverError> {
        match self.login.log_in(self.clock.now(), self.haste == Haste::Shed).await? {
            Outcome::In => Ok(()),
            Outcome::Refused => Err(self.place().rejected(login::NAME, Rejection::Credentials)),
            Outcome::Busy(answer) => Err(self.busy(login::NAME, &answer)),
        }
    }

    /// One request, with a login that is renewed once where it has ended.
    async fn send(
        &mut self,
        name: &'static str,
        method: Method,
        path: &Path,
        body: Option<&Value>,
        version: Option<&HeaderValue>,
    ) -> Result<Answer, DriverError> {
        if let Some(why) = self.barred {
            return Err(self.place().other(name, why, &[]));
        }
        // It has become busy since this was begun.
        let news = self.quiet_until != self.known_quiet;
        if self.haste != Haste::Shed && news && !self.quiet().is_zero() {
            return Err(self.place().rejected(name, Rejection::Busy));
        }
        // The service root is for everybody (DSP0266, "Resources available without authentication").
        if *path != Path::root() {
            self.log_in().await?;
        }
        let mut answer = self.once(name, &method, path, body, version).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.login.renew(path, self.clock.now()) {
            self.log_in().await?;
            answer = self.once(name, &method, path, body, version).await?;
            if answer.status == StatusCode::UNAUTHORIZED {
                self.login.note_closed(path, self.clock.now());
            }
        }
        if matches!(answer.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            return Err(self.busy(name, &answer));
        }
        if answer.status.is_success() && *path != Path::root() {
            self.login.taken();
        }
        Ok(answer)
    }

    async fn once(
        &self,
        name: &'static str,
        method: &Method,
        path: &Path,
        body: Option<&Value>,
        version: Option<&HeaderValue>,
    ) -> Result<Answer, DriverError> {
        let request = self.web.request(method.clone(), path.text());
        let mut request = self.login.vouch(request.header("OData-Version", "4.0"));
        if let Some(version) = version {
            request = request.header(IF_MATCH, version);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.web.send(name, request).await
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
                    return self.place().rejected(name, Rejection::OutOfRange);
                }
                let words = fields::text(told, "Message")
                    .or_else(|| body.pointer("/error/message").and_then(Value::as_str))
                    .unwrap_or_default();
                let told = format!("HTTP {}: {words}", status.as_u16());
                return self.place().other(name, &told, &[self.login.password()]);
            }
        };
        self.place().rejected(name, reason)
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
