//! The way to one `zeusd`: all that is ever sent to it, and what its refusals mean.
//!
//! Source: `zeusd` 0.5.0 (github.com/ml-energy/zeus, tag `zeusd-v0.5.0`, folder `zeusd/src`): routes and shapes in `routes/gpu.rs` and
//! `routes/server.rs`, the tokens in `auth.rs`, the status of each error in `error.rs`. Its default address over TCP,
//! `127.0.0.1:4938`, is in `config.rs`.
//!
//! | Status | What it means there |
//! |---|---|
//! | 200 | done; the body of a write is empty |
//! | 400 | NVML: an argument is invalid, or the device has no such thing; or there is no such processor |
//! | 401 | no token, an unknown one, or one that has expired |
//! | 403 | the token lacks the scope, or NVML: no permission |
//! | 404 | the group of the route is not enabled; for `/auth/whoami`: there are no tokens |
//! | 500 | every other error of NVML and of the daemon |
//!
//! Where it did not work for some processors the status is the worst of theirs, and the body `{"errors": {"1": "…"}}` names them; for
//! the others it did (a write), or nothing is told (a reading).

use std::collections::BTreeMap;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::control::snapshot::Rejection;
use crate::miner::reply::fields::{self, words};
use crate::miner::wire::Place;
use crate::miner::wire::web::{Answer, Web};
use crate::miner::{Connection, DriverError};
use crate::secret::Secret;

/// More processors than any server has: 16 are the most in one chassis (2026).
pub(super) const MOST_GPUS: usize = 64;
/// What is refused to a token without the scope for it, and what to do.
const WITHOUT_SCOPE: &str =
    "a token without this scope (issue one: zeusd token issue --scope gpu-read,gpu-control)";

/// Everything that this driver can say to the daemon. The limit of power is all that is ever written: no clocks, no persistence mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Which processors there are and which groups are enabled; for everybody.
    Discover,
    /// What the token may do.
    WhoAmI,
    /// What each processor draws, in mW (`NVML_FI_DEV_POWER_INSTANT`); scope `gpu-read`.
    Power,
    /// The limit of each, in mW; scope `gpu-read`.
    Limits,
    /// The lowest and highest limit of each, in mW; scope `gpu-read`.
    Ranges,
    /// Sets a limit; scope `gpu-control`.
    SetLimit,
}

impl Request {
    /// What errors call it, and its path below the root.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::WhoAmI => "auth/whoami",
            Self::Power => "gpu/get_power",
            Self::Limits => "gpu/get_power_limit",
            Self::Ranges => "gpu/get_power_limit_constraints",
            Self::SetLimit => "gpu/set_power_limit",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::SetLimit => Method::POST,
            _ => Method::GET,
        }
    }
}

/// For which processors it did not work, and why, in words that are fit for an error.
pub(super) type Failures = BTreeMap<u16, String>;

/// An answer.
#[derive(Debug)]
pub(super) enum Told {
    /// It worked: the body; nothing for a write.
    All(Value),
    /// It did not work for these.
    Failed(Failures),
}

/// Speaks with one daemon.
pub(super) struct Daemon {
    web: Web,
    token: Option<Secret>,
}

impl Daemon {
    /// For one daemon. Nothing is sent yet.
    pub(super) fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: Web::new(connection, http, "/"),
            token: connection.credentials.as_ref().map(|account| account.password.clone()),
        }
    }

    /// Where it is, for errors.
    pub(super) const fn place(&self) -> &Place {
        self.web.place()
    }

    /// Whether there is a token.
    pub(super) const fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Reads something, of these processors or of all.
    pub(super) async fn ask(&self, request: Request, gpus: Option<&[u16]>) -> Result<Told, DriverError> {
        let query = gpus.map(|ids| format!("?gpu_ids={}", list(ids))).unwrap_or_default();
        self.call(request, &query).await
    }

    /// Sets one limit, in milliwatts, of these processors, and waits until NVML has taken it (`block=true`).
    pub(super) async fn set(&self, milliwatts: u32, gpus: &[u16]) -> Result<Told, DriverError> {
        let query = format!("?gpu_ids={}&power_limit_mw={milliwatts}&block=true", list(gpus));
        self.call(Request::SetLimit, &query).await
    }

    /// Proves the token. `false` where there is nothing to prove: no token, or a daemon that asks for none.
    pub(super) async fn prove(&self) -> Result<bool, DriverError> {
        if self.token.is_none() {
            return Ok(false);
        }
        let body = match self.ask(Request::WhoAmI, None).await {
            Ok(Told::All(body)) => body,
            Ok(Told::Failed(_)) => Value::Null,
            Err(DriverError::Rejected { reason: Rejection::Unsupported, .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let scopes = body.get("scopes").and_then(Value::as_array);
        let lacks = |scope: &str| {
            scopes.is_some_and(|scopes| !scopes.iter().any(|known| known.as_str() == Some(scope)))
        };
        if lacks("gpu-control") || lacks("gpu-read") {
            return Err(self.place().rejected(WITHOUT_SCOPE, Rejection::Credentials));
        }
        Ok(true)
    }

    async fn call(&self, request: Request, query: &str) -> Result<Told, DriverError> {
        let name = request.path();
        let mut builder = self.web.request(request.method(), &format!("{name}{query}"));
        // What is for everybody is asked without it.
        if let Some(token) = self.token.as_ref().filter(|_| request != Request::Discover) {
            builder = builder.bearer_auth(token.expose());
        }
        let answer = self.web.send(name, builder).await?;
        if answer.status.is_success() {
            let body =
                if request == Request::SetLimit { Value::Null } else { self.web.json(name, &answer)? };
            return Ok(Told::All(body));
        }
        match self.failures(&answer) {
            Some(failures) => Ok(Told::Failed(failures)),
            None => Err(self.refusal(request, &answer)),
        }
    }

    /// The processors that a refusal names.
    fn failures(&self, answer: &Answer) -> Option<Failures> {
        if answer.status == StatusCode::UNAUTHORIZED {
            return None;
        }
        let body = fields::parse(&answer.body).ok()?;
        let errors = body.get("errors")?.as_object()?;
        let one = |(id, why): (&String, &Value)| Some((id.parse::<u16>().ok()?, self.clean(why.as_str()?)));
        let failures: Failures = errors.iter().take(MOST_GPUS).filter_map(one).collect();
        (!failures.is_empty()).then_some(failures)
    }

    fn clean(&self, text: &str) -> String {
        let token = self.token.as_ref().map_or("", Secret::expose);
        words(text, &[token])
    }

    /// What a refusal of the whole request means.
    fn refusal(&self, request: Request, answer: &Answer) -> DriverError {
        let name = request.path();
        let body = fields::parse(&answer.body).unwrap_or_default();
        let error = fields::text(&body, "error");
        match answer.status {
            StatusCode::UNAUTHORIZED => self.place().rejected(name, Rejection::Credentials),
            StatusCode::FORBIDDEN => self.place().rejected(WITHOUT_SCOPE, Rejection::Credentials),
            StatusCode::NOT_FOUND if error.is_some_and(|error| error.contains("API group")) => {
                let group = if request == Request::SetLimit { "gpu-control" } else { "gpu-read" };
                let text = format!("its group {group} is off; start it with --enable gpu-read,gpu-control");
                self.place().other(name, &text, &[])
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                self.place().rejected(name, Rejection::Unsupported)
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                self.place().rejected(name, Rejection::Busy)
            }
            status => {
                let text = String::from_utf8_lossy(&answer.body);
                let why = self.clean(error.unwrap_or(&text));
                self.place().other(name, &format!("HTTP {}: {why}", status.as_u16()), &[])
            }
        }
    }
}

fn list(ids: &[u16]) -> String {
    ids.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}
