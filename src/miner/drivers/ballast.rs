//! Another Ballast as one large miner: its interface under `/api/v1`, over HTTP on port 9842.
//!
//! `GET member` tells draw, range and state of the circuit on which the orders of the token's source act. Power is an order
//! without an end, `PUT limits/ballast`, on the draw of the miners there; sleep is one of 0 W. `POST heartbeat` before each reading
//! says that the order still has somebody behind it: not merely this session, but a control loop that runs and commands.
//!
//! **Nobody's silence raises anything.** An order with an end would leave the lower daemon without a cap when that comes, so the
//! orders have none: what a lost upper daemon has ordered holds on, and beside it the fail-safe of the source, after its
//! `lost_after`. A daemon whose source has no `lost_after` is read and not commanded: it would never notice. After a loss a
//! heartbeat alone does not give control back there; an order does, which the control law sends where the draw is not what it
//! has set. A heartbeat is sent only where an order of this session was taken.
//!
//! The whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::identity::Identity;
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::wire::web::{Answer, Web};
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::secret::Secret;
use crate::units::{Hashrate, Watts, WattsPerSecond};

/// What is known of such a member before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "ballast",
    needs_password: true,
    new: |connection, http| Box::new(Ballast::new(connection, http)),
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: false,
        persists: true,
        answers: AnswerWithin::NONE,
        // Of a megawatt; see `response`.
        response: Response {
            dead_time_down: Duration::from_secs(2),
            dead_time_up: Duration::from_secs(3),
            ramp_down: WattsPerSecond::whole(100_000),
            ramp_up: WattsPerSecond::whole(20_000),
            start_time: Duration::from_secs(90),
            starts_at_full: false,
            start_overshoot: 0.02,
            caps: true,
        },
        // It chooses among its own miners what a change is worth.
        cost: ChangeCost {
            adjust: Duration::from_secs(2),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(2),
        },
        port: 9842,
        username: None,
    },
};

/// A control cycle that is older than this says nothing of now.
const STANDS_STILL: f64 = 10.0;
/// A draw that is older than this is none.
const OLD: f64 = 30.0;
/// The largest power that is believed: ten gigawatts, as the interface has it.
const MOST_WATTS: f64 = 10e9;
/// The largest hashrate that is believed: a thousand times what the world had in 2026.
const MOST_HASHES: f64 = 1e24;

/// How the draw of a member of this size follows, before anything is learned: its own loop, and miners beside each other.
#[must_use]
pub fn response(nameplate: Watts) -> Response {
    let seed = ABOUT.traits.response;
    let of = |rate: WattsPerSecond| WattsPerSecond::saturating((rate.get() * nameplate.get() / 1e6).max(1.0));
    Response { ramp_down: of(seed.ramp_down), ramp_up: of(seed.ramp_up), ..seed }
}

/// Everything that this driver can say to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Member,
    Heartbeat,
    SetLimit,
}

impl Request {
    const fn path(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Heartbeat => "heartbeat",
            Self::SetLimit => "limits/ballast",
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Member => Method::GET,
            Self::Heartbeat => Method::POST,
            Self::SetLimit => Method::PUT,
        }
    }
}

/// Speaks with one daemon.
pub struct Ballast {
    web: Web,
    token: Option<Secret>,
    /// The latest word of it.
    known: Option<Member>,
    /// The order of this session that was taken last, in watts, and whether as an emergency: somebody stands behind it.
    told: Option<(f64, bool)>,
    /// A control law stands behind that.
    vouched: bool,
    /// What it is told belongs to an emergency.
    emergency: bool,
    /// The version of the latest order, so that one that comes late is older than the one that overtook it.
    revision: Option<u64>,
}

impl Ballast {
    /// For one daemon. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            web: Web::new(connection, http, "/api/v1/"),
            token: connection.credentials.as_ref().map(|account| account.password.clone()),
            known: None,
            told: None,
            vouched: false,
            emergency: false,
            revision: None,
        }
    }

    /// Orders a cap, in watts.
    async fn order(&mut self, cap: f64) -> Result<(), DriverError> {
        let name = Request::SetLimit.path();
        // Until this one is taken nothing is kept alive that was ordered before: it may be more.
        self.told = None;
        let mut order = json!({ "cap_watts": cap, "scope": "miners" });
        // Without one the daemon gives it the next.
        self.revision = self.revision.map(|known| known.saturating_add(1));
        if let (Some(revision), Some(order)) = (self.revision, order.as_object_mut()) {
            order.insert("revision".into(), revision.into());
        }
        if let Some(order) = order.as_object_mut().filter(|_| self.emergency) {
            order.insert("urgency".into(), "emergency".into());
        }
        let answer = self.call(Request::SetLimit, Some(&order)).await.inspect_err(|error| {
            // One that was not answered may come yet: what follows must be newer than it.
            if matches!(error, DriverError::Rejected { .. }) {
                self.revision = None;
            }
        })?;
        let reply = self.web.json(name, &answer)?;
        self.revision = reply.pointer("/limit/revision").and_then(Value::as_u64);
        let taken = fields::confirmed(reply.get("limit").unwrap_or(&Value::Null), "cap_watts");
        match taken.map_err(|reason| self.web.place().malformed(name, reason))? {
            Some(taken) if taken <= cap + 0.5 => {
                self.told = Some((cap, self.emergency));
                Ok(())
            }
            Some(_) => Err(self.web.place().rejected(name, Rejection::OutOfRange)),
            None => Err(self.web.place().malformed(name, "it does not say what it has taken")),
        }
    }

    async fn call(&self, request: Request, body: Option<&Value>) -> Result<Answer, DriverError> {
        let name = request.path();
        let Some(token) = &self.token else {
            return Err(self.web.place().rejected(name, Rejection::Credentials));
        };
        let mut builder = self.web.request(request.method(), name).bearer_auth(token.expose());
        if let Some(body) = body {
            builder = builder.json(body);
        }
        let answer = self.web.send(name, builder).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(self.refusal(request, &answer, token)) }
    }

    /// What a refusal means, in the words of the daemon where there is more to say than a word.
    fn refusal(&self, request: Request, answer: &Answer, token: &Secret) -> DriverError {
        let name = request.path();
        let reason = match answer.status {
            // The token is not known, or is not one of a source.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Rejection::Credentials,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Rejection::Unsupported,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Rejection::Busy,
            _ => return self.web.refused(name, answer, &[token.expose()]),
        };
        self.web.place().rejected(name, reason)
    }

    async fn ask(&mut self) -> Result<&Member, DriverError> {
        let name = Request::Member.path();
        let answer = self.call(Request::Member, None).await?;
        let reply = self.web.json(name, &answer)?;
        let member = Member::read(&reply).map_err(|reason| self.web.place().malformed(name, reason))?;
        Ok(self.known.insert(member))
    }
}

/// What `member` says, in our units.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    site: Option<String>,
    mode: String,
    cycle_age: Option<f64>,
    stale: Option<Vec<String>>,
    power: Option<f64>,
    power_age: Option<f64>,
    lowest: Option<f64>,
    highest: Option<f64>,
    nameplate: Option<f64>,
    held_by: Option<(f64, String)>,
    hashrate: Option<f64>,
    awake: Option<f64>,
    source: String,
    watched: bool,
    lifted_by: Option<String>,
    cap: Option<f64>,
}

impl Member {
    /// Reads it, each field by itself: what is not told is not known, and no number.
    ///
    /// # Errors
    /// When it is no such answer at all.
    pub(crate) fn read(reply: &Value) -> Result<Self, String> {
        let (power, range) = (fields::object(reply, "power")?, fields::object(reply, "range")?);
        let source = fields::object(reply, "source")?;
        let number = |object: &Value, key: &str| {
            fields::number(object, key).filter(|value| (0.0..=MOST_WATTS).contains(value))
        };
        let text = |object: &Value, key: &str| fields::text(object, key).map(|text| fields::words(text, &[]));
        let held_by = reply.get("held_by").filter(|held| held.is_object());
        let states = reply.get("miners_by_state").and_then(Value::as_object);
        // A count that cannot be read is somebody.
        let awake = |(state, count): (&String, &Value)| {
            if state == "asleep" { 0.0 } else { fields::as_number(count).unwrap_or(1.0) }
        };
        let stale = reply.get("stale_meters").and_then(Value::as_array);
        let names = |stale: &Vec<Value>| {
            stale.iter().take(4).filter_map(Value::as_str).map(|name| fields::words(name, &[])).collect()
        };
        Ok(Self {
            site: text(reply, "site").filter(|site| !site.is_empty()),
            mode: text(reply, "mode").ok_or("`mode` is missing")?,
            cycle_age: number(reply, "cycle_age_seconds"),
            stale: stale.map(names),
            power: number(power, "watts"),
            power_age: number(power, "age_seconds"),
            lowest: number(range, "lowest_watts"),
            highest: number(range, "highest_watts"),
            nameplate: number(range, "nameplate_watts"),
            held_by: held_by.and_then(|held| Some((number(held, "watts")?, text(held, "source")?))),
            hashrate: fields::number(reply, "hashrate_hashes_per_second")
                .filter(|rate| (0.0..=MOST_HASHES).contains(rate)),
            awake: states.map(|states| states.iter().map(awake).sum()),
            source: text(source, "name").unwrap_or_default(),
            watched: number(source, "lost_after_seconds").is_some(),
            lifted_by: text(source, "lifted_by"),
            cap: number(source, "cap_watts"),
        })
    }

    /// Why no order is worth sending, in words that say what to do.
    fn refuses(&self) -> Option<String> {
        if self.mode == "observe" {
            return Some(String::from(
                "it only observes and would obey nothing; write mode = \"control\" in its [site]",
            ));
        }
        if self.mode == "stand-by" {
            return Some(String::from(
                "it stands by and commands nothing; write the address that its pair shares",
            ));
        }
        (!self.watched).then(|| {
            format!(
                "its source `{}` would never miss this daemon; write lost_after and fail_safe in its [signals.{}]",
                self.source, self.source
            )
        })
    }

    /// What of it is wrong: with its data, or with its being led.
    fn fault(&self) -> Option<String> {
        if let Some(refuses) = self.refuses() {
            return Some(refuses);
        }
        // That no meter is stale must be told: then its own source alone is lost, which an order ends.
        let stale = self.stale.as_ref().map(|stale| stale.join(", "));
        if self.mode == "fail-safe" && stale.as_ref().is_none_or(|stale| !stale.is_empty()) {
            let what = stale.unwrap_or_else(|| String::from("something"));
            return Some(format!("it is in fail-safe: no fresh value of {what}"));
        }
        if let Some(by) = &self.lifted_by {
            return Some(format!("{by} has lifted the caps of its source `{}`", self.source));
        }
        let (lowest, held) = (self.lowest, self.held_by.as_ref());
        match (lowest, held) {
            (None, _) => Some(String::from("none of its miners can be moved")),
            (Some(lowest), Some((watts, by))) if *watts < lowest => {
                Some(format!("`{by}` leaves it {watts:.0} W, less than its lowest miner needs"))
            }
            _ => None,
        }
    }

    /// The power targets that it can come to: up to all its miners at their highest, as far as nobody else holds it.
    fn range(&self) -> Option<(Watts, Watts)> {
        let lowest = self.lowest?.ceil();
        let held = self.held_by.as_ref().map_or(f64::INFINITY, |(watts, _)| *watts);
        let highest = self.highest?.min(held).floor().max(lowest);
        Some((Watts::saturating(lowest), Watts::saturating(highest)))
    }

    /// What it means.
    fn status(&self) -> MinerStatus {
        let old = self.cycle_age.is_none() || self.power_age.is_some_and(|age| age > OLD);
        let power = fields::measured(self.power.filter(|_| !old), true, Watts::saturating);
        let lowest = self.lowest.unwrap_or(0.0);
        let target = match self.cap {
            Some(cap) if cap < lowest => Measured::Value(Target::Sleep),
            Some(cap) => Measured::Value(Target::Power(Watts::saturating(cap))),
            None => Measured::Unavailable,
        };
        let activity = match self.fault() {
            _ if self.mode == "start-up" => Activity::Starting,
            Some(fault) => Activity::Fault(Arc::from(fault)),
            None if self.awake == Some(0.0) && target == Measured::Value(Target::Sleep) => Activity::Asleep,
            None => Activity::Hashing,
        };
        let power = if activity == Activity::Starting { Measured::Unavailable } else { power };
        MinerStatus {
            power,
            hashrate: fields::measured(self.hashrate, true, Hashrate::saturating),
            activity,
            target,
            range: self.range(),
            ..MinerStatus::default()
        }
    }
}

#[async_trait]
impl Driver for Ballast {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        match self.told.filter(|_| self.vouched) {
            // An emergency has begun or ended, and what it may draw stays: that one, too, is an order.
            Some(told) if told.1 != self.emergency => {
                self.order(told.0).await.inspect_err(|_| self.told = Some(told))?;
            }
            Some(_) => {
                self.call(Request::Heartbeat, None).await?;
            }
            None => {}
        }
        let member = self.ask().await?;
        if let Some(age) = member.cycle_age.filter(|age| *age > STANDS_STILL) {
            let reason = format!("its control cycle has stood still for {age:.0} s");
            return Err(self.web.place().malformed(Request::Member.path(), reason));
        }
        Ok(member.status())
    }

    fn vouched(&mut self, vouched: bool) {
        self.vouched = vouched;
    }

    fn emergency(&mut self, emergency: bool) {
        self.emergency = emergency;
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let name = Request::SetLimit.path();
        if self.known.is_none() {
            self.ask().await?;
        }
        let member = self.known.as_ref();
        if let Some(refuses) = member.and_then(Member::refuses) {
            return Err(self.web.place().other(name, &refuses, &[]));
        }
        let most = member.and_then(|member| member.nameplate).unwrap_or(MOST_WATTS);
        let cap = match target {
            Target::Sleep => 0.0,
            Target::Power(power) => power.get().min(most).floor().max(0.0),
        };
        self.order(cap).await
    }

    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        let serial = self.ask().await?.site.clone();
        Ok(Some(Identity { vendor: Some("Ballast".into()), serial, ..Identity::default() }))
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if self.token.is_none() {
            return Ok(false);
        }
        self.ask().await?;
        Ok(true)
    }

    async fn close(&mut self) {
        // What was ordered holds, and its fail-safe comes after it.
        self.told = None;
    }
}
