//! Requests over plain HTTP, as several vendors' APIs want them: one bounded exchange at a time, errors that name
//! the place. What a status code means is the drivers' business.

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use crate::miner::wire::Place;
use crate::miner::wire::exchange;
use crate::miner::{Connection, DriverError};
use crate::secret::Secret;

/// One request.
pub struct Ask<'a> {
    /// What it is called in errors.
    pub name: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path below the base, without a leading slash.
    pub path: &'static str,
    /// A header that carries a token.
    pub token: Option<(HeaderName, &'a Secret)>,
    /// The JSON body.
    pub body: Option<&'a Value>,
    /// Whether the connection is kept for the next request.
    pub keep: bool,
}

impl Ask<'_> {
    /// A request that reads.
    pub const fn get(name: &'static str, path: &'static str) -> Self {
        Self { name, method: Method::GET, path, token: None, body: None, keep: true }
    }
}

/// The way to one miner.
pub struct PlainHttp {
    place: Place,
    base: String,
    http: Client,
}

impl PlainHttp {
    /// To the endpoint of a connection. The client, and with it the pool of connections, is shared.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            place: Place::new(connection),
            base: format!("http://{}/", connection.endpoint),
            http: http.clone(),
        }
    }

    /// Where it leads, for errors.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// One request: connection, answer and body under the time limit. Gives the status and the bounded body.
    pub async fn send(&self, ask: Ask<'_>) -> Result<(StatusCode, Vec<u8>), DriverError> {
        let name = ask.name;
        let mut builder = self.http.request(ask.method, format!("{}{}", self.base, ask.path));
        if let Some((header, token)) = ask.token {
            let mut value = HeaderValue::from_str(token.expose())
                .map_err(|_| self.place.malformed(name, "the token cannot go into a header"))?;
            value.set_sensitive(true);
            builder = builder.header(header, value);
        }
        if !ask.keep {
            builder = builder.header(reqwest::header::CONNECTION, "close");
        }
        if let Some(body) = ask.body {
            builder = builder.json(body);
        }
        let answer = exchange::over_http(&self.place, name, builder).await?;
        Ok((answer.status, answer.body))
    }
}

#[cfg(test)]
pub mod testing {
    //! Replies that no vendor would send.

    use proptest::prelude::*;
    use serde_json::Value;

    /// Any JSON with a vendor's names in it, four levels deep.
    pub fn any_json(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            prop::sample::select(keys).prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            let key = prop::sample::select(keys).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
