//! A device of the operator's own behind HTTP: requests with a method, a path and a body, and values in the answers.

use reqwest::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::Value;

use super::Unit;
use crate::miner::reply::fields;
use crate::miner::wire::web::{Answer, Web};
use crate::miner::{Connection, DriverError};
use crate::secret::Secret;

/// A header that goes with every request.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value, hidden in logs and errors.
    pub value: Secret,
}

/// A request that changes something. `{watts}` and `{percent}` in path and body stand for the setpoint, a whole number.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path with its query, beginning with a slash.
    pub path: String,
    /// The body; empty for none.
    pub body: String,
    /// The status that means yes; `None`: every status from 200 to 299.
    pub status: Option<u16>,
    /// What the answer must hold to mean yes.
    pub expect: Option<Expect>,
}

/// A value at a place in an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// Where (RFC 6901); `None`: the whole answer as text.
    pub pointer: Option<String>,
    /// What.
    pub value: Value,
}

/// Where a value is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Path with its query, beginning with a slash.
    pub path: String,
    /// Where in the answer (RFC 6901); `None`: the whole answer as text.
    pub pointer: Option<String>,
}

/// How a device behind HTTP is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Headers of every request.
    pub headers: Vec<Header>,
    /// Switches it on.
    pub on: Call,
    /// Switches it off.
    pub off: Call,
    /// Sets its power.
    pub setpoint: Option<Call>,
    /// Whether it is on: the place, what it says when it is on, and when it is off.
    pub state: (Look, Value, Value),
    /// Its draw, with the factor that makes watts of it.
    pub power: Option<(Look, f64)>,
    /// Its setpoint, with the factor that makes the unit of the setpoint of it.
    pub target: Option<(Look, f64)>,
}

/// Speaks with one device.
pub(super) struct Http {
    web: Web,
    description: Description,
}

impl Http {
    pub(super) fn new(connection: &Connection, description: &Description, http: &Client) -> Self {
        Self { web: Web::new(connection, http, ""), description: description.clone() }
    }

    async fn send(
        &self,
        name: &'static str,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Answer, DriverError> {
        // Small devices serve one client at a time: one that keeps its connection keeps everybody else out.
        let mut request = self.web.request(method, path).header(CONNECTION, "close");
        let mut typed = false;
        for header in &self.description.headers {
            let mut value = HeaderValue::from_str(header.value.expose()).map_err(|_| {
                self.web.place().malformed(name, "a header of its description cannot be sent")
            })?;
            value.set_sensitive(true);
            typed |= header.name == CONTENT_TYPE;
            request = request.header(header.name.clone(), value);
        }
        if !body.is_empty() {
            if !typed {
                let json = body.trim_start().starts_with(['{', '[']);
                let form = "application/x-www-form-urlencoded";
                request = request.header(CONTENT_TYPE, if json { "application/json" } else { form });
            }
            request = request.body(body);
        }
        self.web.send(name, request).await
    }

    fn refused(&self, name: &'static str, answer: &Answer) -> DriverError {
        let secrets: Vec<&str> =
            self.description.headers.iter().map(|header| header.value.expose()).collect();
        self.web.refused(name, answer, &secrets)
    }

    /// Makes a change and takes only the described answer for a yes.
    async fn call(
        &self,
        name: &'static str,
        call: &Call,
        setpoint: Option<(Unit, f64)>,
    ) -> Result<(), DriverError> {
        let fill = |text: &str| match setpoint {
            Some((Unit::Watts, value)) => text.replace("{watts}", &format!("{value:.0}")),
            Some((Unit::Percent, value)) => text.replace("{percent}", &format!("{value:.0}")),
            None => text.to_owned(),
        };
        let answer = self.send(name, call.method.clone(), &fill(&call.path), fill(&call.body)).await?;
        let right = match call.status {
            Some(status) => answer.status.as_u16() == status,
            None => answer.status.is_success(),
        };
        if !right {
            return Err(self.refused(name, &answer));
        }
        let Some(expect) = &call.expect else { return Ok(()) };
        match self.value(name, &answer, expect.pointer.as_deref())? {
            Some(value) if alike(&value, &expect.value) => Ok(()),
            _ => Err(self.refused(name, &answer)),
        }
    }

    /// The value at a place of an answer; `None` when it is not there.
    fn value(
        &self,
        name: &'static str,
        answer: &Answer,
        pointer: Option<&str>,
    ) -> Result<Option<Value>, DriverError> {
        match pointer {
            Some(pointer) => Ok(self.web.json(name, answer)?.pointer(pointer).cloned()),
            None => {
                let place = self.web.place();
                let text = std::str::from_utf8(&answer.body)
                    .map_err(|_| place.malformed(name, "it is not UTF-8"))?;
                Ok(Some(Value::from(text.trim())))
            }
        }
    }

    async fn look(&self, name: &'static str, look: &Look) -> Result<Option<Value>, DriverError> {
        let answer = self.send(name, Method::GET, &look.path, String::new()).await?;
        if !answer.status.is_success() {
            return Err(self.refused(name, &answer));
        }
        self.value(name, &answer, look.pointer.as_deref())
    }

    async fn number(&self, name: &'static str, look: &Look, factor: f64) -> Result<Option<f64>, DriverError> {
        let Some(value) = self.look(name, look).await? else { return Ok(None) };
        let number = fields::confirmed(&serde_json::json!({ "value": value }), "value")
            .map_err(|_| self.web.place().malformed(name, "what stands there is not a number"))?;
        Ok(number.map(|number| number * factor).filter(|number| number.is_finite()))
    }

    pub(super) async fn is_on(&self) -> Result<bool, DriverError> {
        let name = "its state";
        let (look, on, off) = &self.description.state;
        match self.look(name, look).await? {
            Some(value) if alike(&value, on) => Ok(true),
            Some(value) if alike(&value, off) => Ok(false),
            Some(_) => Err(self.web.place().malformed(name, "it is neither on nor off")),
            None => Err(self.web.place().malformed(name, "nothing stands at the described place")),
        }
    }

    /// `None` without a place for it, `Some(None)` when nothing stands there now.
    pub(super) async fn power(&self) -> Result<Option<Option<f64>>, DriverError> {
        match &self.description.power {
            Some((look, factor)) => Ok(Some(self.number("its power", look, *factor).await?)),
            None => Ok(None),
        }
    }

    pub(super) async fn target(&self) -> Result<Option<f64>, DriverError> {
        match &self.description.target {
            Some((look, factor)) => self.number("its setpoint", look, *factor).await,
            None => Ok(None),
        }
    }

    pub(super) async fn switch(&self, on: bool) -> Result<(), DriverError> {
        let (name, call) = if on { ("on", &self.description.on) } else { ("off", &self.description.off) };
        self.call(name, call, None).await
    }

    pub(super) async fn set(&self, unit: Unit, value: f64) -> Result<(), DriverError> {
        match &self.description.setpoint {
            Some(call) => self.call("setpoint", call, Some((unit, value))).await,
            None => Ok(()),
        }
    }
}

/// Whether a device's value is the described one. Numbers may be text, words may be in other letters.
fn alike(value: &Value, described: &Value) -> bool {
    let text = |value: &Value| match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        other => other.to_string(),
    };
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    match (number(value), number(described)) {
        (Some(value), Some(described)) => (value - described).abs() < 1e-9,
        _ => text(value) == text(described),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_alike_in_every_way_devices_write_them() {
        for (value, described) in [
            (json!(true), json!(true)),
            (json!("true"), json!(true)),
            (json!("ON"), json!("on")),
            (json!("1"), json!(1)),
            (json!(1.0), json!("1")),
        ] {
            assert!(alike(&value, &described), "{value} {described}");
        }
        for (value, described) in
            [(json!(1), json!(true)), (json!(null), json!(false)), (json!("offline"), json!("off"))]
        {
            assert!(!alike(&value, &described), "{value} {described}");
        }
    }
}
