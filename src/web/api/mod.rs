//! The interface for programs: what is going on, for whoever may read, and orders, for whoever has a token.
//!
//! | Request | Scope of the token | |
//! |---|---|---|
//! | `GET /api/v1/status`, `/circuits`, `/meters`, `/miners`, `/history` | any, none on this machine | what is going on |
//! | `GET /api/v1/events` | any, none on this machine | the same as it changes |
//! | `GET /api/v1/energy` | any, none on this machine | energy by the quarter hour |
//! | `GET /api/v1/alarms` | any, none on this machine | what somebody should know of |
//! | `POST /api/v1/alarms/{id}/acknowledge` | `operator` | says that somebody knows |
//! | `GET /api/v1/maintenance` | any, none on this machine | what somebody works on |
//! | `PUT`, `DELETE /api/v1/maintenance/{name}` | `operator` | somebody begins or ends work on a miner or circuit |
//! | `GET /api/v1/stops` | any, none on this machine | emergency stops |
//! | `POST /api/v1/stops/{circuit}/release` | `operator` | somebody releases one |
//! | `GET /api/v1/standby` | `read`, `operator` | all that the other machine of a pair must know |
//! | `GET /api/v1/proof/head` | any, none on this machine | where the chained record ends |
//! | `POST /api/v1/preview` | `limits`, `operator` | what an order would do |
//! | `GET /api/v1/openapi.json` | any, none on this machine | all of this as OpenAPI 3.1 |
//! | `PUT /api/v1/limits/{id}` | `limits`, `operator` | gives an order, or a later version of it |
//! | `DELETE /api/v1/limits/{id}` | `limits`, `operator` | takes it back; `?revision=` up to which version, `?by=` who |
//! | `GET /api/v1/limits`, `/{id}` | any | orders that are known, and the state of their sources |
//! | `GET /api/v1/orders` | any | what became of them |
//! | `GET /api/v1/member` | `limits` | what another Ballast must know to lead this one |
//! | `POST /api/v1/heartbeat` | `limits` | says that the source lives, and which orders stand |
//! | `PUT`, `DELETE /api/v1/lifts/{source}` | `operator` | raises above the caps of a source, for a time and in a name |
//!
//! A token of scope `limits` sees and moves the orders of its own source alone. Answers that are not yes are problem details
//! (RFC 9457). A handler bears its path and is put into the router and the document at once, so that none is without the other.

mod alarms;
mod answer;
pub mod body;
mod document;
mod energy;
mod events;
pub mod fuzzing;
mod giving;
mod limits;
mod maintenance;
mod member;
pub mod message;
mod preview;
mod problem;
mod proof;
mod query;
mod reads;
mod standby;
mod stops;
mod tokens;
mod viewer;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Hosts;
use crate::alarm::Alarms;
use crate::clock::Moment;
use crate::config::Config;
use crate::control::site::Scope;
use crate::door::Seat;
use crate::maintenance::Maintenance;
use crate::metrics::Exporter;
use crate::rate::Bucket;
use crate::signal::{Desk, OPERATOR, Place, SourceKey};
use crate::standby::Standby;
use crate::stops::Stops;
use crate::token::{Caller, Gate, Scopes, Token, Unknown};
pub use alarms::raised;
use energy::Shelf;
pub use preview::{Ask, Asker};
pub use problem::Problem;
use reads::Reads;
use tokens::KeptTokens;
pub use viewer::Viewer;

/// The longest time for a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Who has connected.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// From where, for the log; `None` by the socket of this machine.
    pub(super) address: Option<SocketAddr>,
    /// Their place among the connections.
    pub(super) seat: Arc<Seat>,
    /// How much they may ask before they have shown a token.
    pub(super) asks: Arc<Mutex<Bucket>>,
    /// Cancelled when the connection is to close.
    pub(super) closing: CancellationToken,
}

impl Peer {
    /// Whether one more request is answered that has shown no token before.
    pub(super) fn may_ask(&self, now: Moment) -> bool {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner).take(now)
    }

    /// Whether they are on this machine: by its own socket or on loopback. Somebody whom a proxy of this machine lets through is
    /// not, as far as the proxy says so.
    fn is_here(&self, headers: &HeaderMap) -> bool {
        let own = self.address.is_none_or(|address| match address.ip() {
            IpAddr::V4(ip) => ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
        });
        own && !FORWARDED.iter().any(|name| headers.contains_key(*name))
    }
}

/// What proxies add to a request that they let through.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Orders over HTTP: the desk behind a door.
#[derive(Debug)]
pub struct Api {
    desk: Desk,
    hosts: Arc<Hosts>,
    state: Mutex<Inside>,
    kept: Mutex<KeptTokens>,
    alarms: Option<Alarms>,
    maintenance: Option<Maintenance>,
    stops: Option<Stops>,
    asker: Option<Asker>,
    shelf: Option<Shelf>,
    standby: Option<Standby>,
}

#[derive(Debug)]
struct Inside {
    gate: Gate,
    /// Those of the configuration; the ones that are kept in a file come beside them.
    tokens: Vec<Token>,
    /// Where the orders of each source act unless they say otherwise: by names, for positions change.
    places: Vec<(String, (String, Scope))>,
}

impl Inside {
    fn new(config: &Config) -> Self {
        let circuit =
            |place: Place| config.site.circuits.get(place.circuit.0).map(|circuit| circuit.name.clone());
        let place = |place: Place| (circuit(place).unwrap_or_default(), place.scope);
        let places =
            config.signals.iter().map(|spec| (spec.settings.name.clone(), place(spec.place))).collect();
        Self { gate: Gate::new(&config.web.tokens), tokens: config.web.tokens.clone(), places }
    }
}

/// Who answers for something, and why, as far as they say so: several people may have one token.
#[derive(Clone, Copy, Debug, Default)]
struct Person<'p> {
    by: Option<&'p str>,
    note: Option<&'p str>,
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Read.
    Read,
    /// Give an order, or take it back.
    Order,
    /// Say that a source lives.
    Heartbeat,
    /// What only the operator may.
    Operator,
}

impl Api {
    /// With the tokens of a configuration. The desk must know its sources.
    pub fn new(config: &Config, desk: Desk) -> Self {
        let hosts = Arc::new(Hosts::new(&config.web.hosts));
        let api = Self {
            desk,
            hosts,
            state: Mutex::new(Inside::new(config)),
            kept: Mutex::new(KeptTokens::new(config)),
            alarms: None,
            maintenance: None,
            stops: None,
            asker: None,
            shelf: None,
            standby: None,
        };
        api.look_at_tokens();
        api
    }

    /// Tells of alarms, too.
    pub fn with_alarms(self, alarms: Alarms) -> Self {
        Self { alarms: Some(alarms), ..self }
    }

    /// Takes maintenance, too.
    pub fn with_maintenance(self, maintenance: Maintenance) -> Self {
        Self { maintenance: Some(maintenance), ..self }
    }

    /// Takes releases of emergency stops, too.
    pub fn with_stops(self, stops: Stops) -> Self {
        Self { stops: Some(stops), ..self }
    }

    /// Tells what an order would do, too.
    pub fn with_previews(self, asker: Asker) -> Self {
        Self { asker: Some(asker), ..self }
    }

    /// Tells of energy, too, from this database.
    pub fn with_energy(self, database: std::path::PathBuf) -> Self {
        Self { shelf: Some(Shelf::new(database)), ..self }
    }

    /// Tells the other machine of a pair, and takes no orders while that one leads.
    pub fn with_standby(self, standby: Option<Standby>) -> Self {
        Self { standby, ..self }
    }

    /// The names by which the daemon may be called.
    pub(super) fn hosts(&self) -> Arc<Hosts> {
        Arc::clone(&self.hosts)
    }

    /// Takes the tokens and sources of a new configuration.
    pub fn configure(&self, config: &Config) {
        self.hosts.set(&config.web.hosts);
        // Both are made before they take the place of the ones in force: nobody who is known is shut out meanwhile.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut next, mut inside) = (KeptTokens::new(config), Inside::new(config));
        if let Some(tokens) = next.news() {
            inside.know(tokens);
        }
        *kept = next;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = inside;
    }

    /// Who asks, if they may.
    fn admit(&self, headers: &HeaderMap, peer: Option<Peer>, need: Need) -> Result<Caller, Problem> {
        let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        let now = self.desk.moment();
        let admitted = self.state.lock().unwrap_or_else(PoisonError::into_inner).gate.admit(
            given,
            now,
            crate::clock::unix_millis(),
        );
        let caller = admitted.inspect_err(|unknown| {
            // Where too many fail, the log has said so already.
            if matches!(unknown, Unknown::Missing | Unknown::Wrong) {
                let from = peer.as_ref().and_then(|peer| peer.address);
                let from = from.map_or_else(|| "this machine".into(), |address| address.to_string());
                tracing::warn!(from, "a request came without a token that is known");
            }
        })?;
        // Too many others cannot cost them their connection any more, nor this request its answer.
        if let Some(peer) = peer {
            peer.seat.keep();
        }
        let Scopes { limits, read: _, operator } = caller.scopes;
        let (may, scope) = match need {
            Need::Read => (true, ""),
            Need::Order => (limits || operator, "`limits` or `operator`"),
            Need::Heartbeat => (limits, "`limits`"),
            Need::Operator => (operator, "`operator`"),
        };
        if need != Need::Read {
            self.takes_orders()?;
        }
        if !may {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                format!("the token `{}` may not do this", caller.name),
                format!("use one with the scope {scope}"),
            ));
        }
        Ok(caller)
    }

    /// Refuses what moves something while another machine leads.
    fn takes_orders(&self) -> Result<(), Problem> {
        match self.standby.as_ref().filter(|it| it.refuses_orders()) {
            None => Ok(()),
            Some(standby) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "this machine stands by, and another one leads",
                format!("ask {}, the address of whichever leads", standby.address()),
            )),
        }
    }

    /// Hands over to the proof that somebody has used the operator's rights.
    fn prove(
        &self,
        caller: &Caller,
        event: &str,
        source: &str,
        order: Option<&str>,
        Person { by, note }: Person<'_>,
    ) {
        if caller.scopes.operator {
            let token = &*caller.name;
            let body = serde_json::json!({
                "event": event, "token": token, "by": by, "note": note, "source": source, "order": order,
            });
            self.desk.proof().append(crate::proof::Kind::Operator, body);
        }
    }

    /// The source for which somebody orders, and where its orders act.
    fn source_of(&self, caller: &Caller) -> Result<(SourceKey, String), Problem> {
        let name = if caller.scopes.operator { OPERATOR } else { caller.source.as_deref().unwrap_or("") };
        self.source(name).map(|source| (source, name.to_owned()))
    }

    /// The name of the circuit and the scope on which the orders of a source act unless they say otherwise.
    fn place(&self, name: &str) -> Option<(String, Scope)> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.places.iter().find(|(known, _)| known == name).map(|(_, place)| place.clone())
    }

    /// A source by its name.
    fn source(&self, name: &str) -> Result<SourceKey, Problem> {
        self.desk.source(name).ok_or_else(|| {
            let site = self.desk.site();
            let names: Vec<&str> = site.sources.iter().map(|source| source.name.as_str()).collect();
            Problem::new(
                StatusCode::NOT_FOUND,
                format!("there is no source `{}`", body::shorten(name)),
                format!("there are {}", names.join(", ")),
            )
        })
    }
}

/// The body of a request as its shape has it; `help` says what to send.
async fn shape_of<T: DeserializeOwned>(headers: &HeaderMap, body: Body, help: &str) -> Result<T, Problem> {
    let bytes = body_of(headers, body).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| query::bad(format!("the body cannot be read: {error}"), help))
}

/// The whole body of a request, in good time and of the right type.
async fn body_of(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let empty = length == Some("0") || (length.is_none() && headers.get(header::TRANSFER_ENCODING).is_none());
    if !empty && !essence.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the body is of type \"{}\"", body::shorten(essence)),
            "send JSON, with the header `Content-Type: application/json`",
        ));
    }
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {} KiB, or broke off", body::LARGEST / 1024),
            "an order needs a few hundred bytes; send one order at a time",
        )
    };
    if length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > body::LARGEST) {
        return Err(too_large());
    }
    match timeout(BODY_TIME, to_bytes(body, body::LARGEST)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
            "send it at once",
        )),
    }
}

/// The routes of this interface, and the document that tells of them. Without a desk it takes no orders.
///
/// What is added later is one more `merge`.
pub(super) fn router(exporter: Arc<Exporter>, orders: Option<Arc<Api>>) -> Router {
    let reads = Reads::new(exporter, orders.clone());
    let mut all = OpenApiRouter::with_openapi(document::blank()).merge(reads::routes(reads.clone()));
    if let Some(api) = orders {
        all = all.merge(member::routes(reads.clone(), api.clone())).merge(order_routes(api));
    }
    let (router, document) = all.split_for_parts();
    reads.documented(&document);
    router.method_not_allowed_fallback(async || Problem::method())
}

fn order_routes(api: Arc<Api>) -> OpenApiRouter {
    let mut more = OpenApiRouter::new();
    if api.asker.is_some() {
        more = more.routes(routes!(preview::preview));
    }
    if api.alarms.is_some() {
        more = more.routes(routes!(alarms::acknowledge));
    }
    if api.standby.is_some() {
        more = more.routes(routes!(standby::standby));
    }
    if api.maintenance.is_some() {
        more = more.routes(routes!(maintenance::begin, maintenance::end));
        if api.asker.is_some() {
            more = more.routes(routes!(maintenance::preview));
        }
    }
    if api.stops.is_some() {
        more = more.routes(routes!(stops::release));
    }
    OpenApiRouter::new()
        .routes(routes!(limits::list))
        .routes(routes!(limits::give, limits::take_back, limits::one))
        .routes(routes!(limits::orders))
        .routes(routes!(limits::heartbeat))
        .routes(routes!(limits::lift, limits::end_lift))
        .merge(more)
        .with_state(api)
}

type Shared = State<Arc<Api>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::{Door, Seats};

    #[test]
    fn only_whoever_is_on_this_machine_reads_without_a_token() {
        let door = Door::new(Seats { open: 1, kept: 1 });
        let peer = |address: Option<&str>| Peer {
            address: address.map(|address| address.parse().unwrap()),
            seat: Arc::new(door.enter()),
            asks: Arc::new(Mutex::new(Bucket::new(1, 1.0))),
            closing: CancellationToken::new(),
        };
        let none = HeaderMap::new();
        for here in
            [None, Some("127.0.0.1:1"), Some("127.9.8.7:1"), Some("[::1]:1"), Some("[::ffff:127.0.0.1]:1")]
        {
            assert!(peer(here).is_here(&none), "{here:?}");
        }
        for there in ["10.0.0.1:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1", "0.0.0.0:1", "[::]:1"] {
            assert!(!peer(Some(there)).is_here(&none), "{there}");
        }
        for name in FORWARDED {
            let mut headers = HeaderMap::new();
            headers.insert(name, header::HeaderValue::from_static("127.0.0.1"));
            assert!(!peer(Some("127.0.0.1:1")).is_here(&headers), "{name}");
        }
    }
}
