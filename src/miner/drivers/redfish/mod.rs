//! The power limit of a server, set from outside of its operating system by its BMC: DMTF Redfish over HTTPS.
//!
//! A BMC has its limit in one of three forms (`forms`), which is found out on first contact (`find`) and remembered. A limit is a cap:
//! the server draws what its work needs below it. Where each processor has its own, the caps are summed, together with what
//! the rest of the server draws, and a target is shared among them.
//!
//! - **A server does not sleep.** [`Target::Sleep`] sets the lowest cap that is allowed and counts as refused, so that nobody
//!   counts on a draw that it does not have.
//! - **Yes is not done.** After each write the limit is read back. Some BMCs say yes and change nothing; in mode `Disabled` all do.
//! - **BMCs are slow and easily overloaded**: one connection, one exchange at a time, one order in five seconds. An order that comes
//!   sooner waits; a shed does not wait for an order that was none.
//! - Nothing but power limits is ever written: never a reset, a power-off, a setting of the boot or a firmware action. What may be
//!   written to is `Path::holds_limit` in `path`, and with what `Form::body` in `forms`.

mod find;
mod forms;
mod order;
mod path;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Client;
use reqwest::header::HeaderValue;

use crate::clock::{Clock, Moment};
use crate::control::site::{ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::identity::{Identity, meaningful_serial};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};
use find::{Found, Search};
use forms::{Limit, watts};
use wire::Bmc;

/// Account name where the configuration has none: that of NVIDIA's and most other BMCs.
const USERNAME: &str = "admin";

/// What is known of such a server before it was spoken with. Times are cautious guesses for a BMC that hands a limit on within
/// seconds; they are replaced by what is learned.
pub(in crate::miner) const ABOUT: About = About {
    name: "redfish",
    needs_password: true,
    new: |connection, http| Box::new(Redfish::new(connection, http)),
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: false,
        // Some keep a limit over a restart of the server, some over one of the BMC, some not at all.
        persists: false,
        response: Response {
            dead_time_down: Duration::from_secs(3),
            dead_time_up: Duration::from_secs(3),
            ramp_down: WattsPerSecond::whole(500),
            ramp_up: WattsPerSecond::whole(500),
            start_time: Duration::from_secs(10),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: true,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(10),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(10),
        },
        port: 443,
        username: Some(USERNAME),
    },
};

/// A BMC in which no limit was found is searched again after so long.
const SEARCH_AGAIN: Duration = Duration::from_secs(60);
/// Readings over which the draw of the rest of a server is the highest one seen.
const ENVELOPE: usize = 6;

/// The latest of one limit.
#[derive(Clone, Debug)]
struct Known {
    limit: Limit,
    etag: Option<HeaderValue>,
}

/// Speaks with one BMC.
pub struct Redfish {
    bmc: Bmc,
    clock: Clock,
    rated: f64,
    search: Search,
    found: Option<Found>,
    /// When nothing was found last.
    missing_since: Option<Moment>,
    /// What each limit of `found` said last.
    known: Vec<Known>,
    /// What the rest of the server drew in the latest readings, where its processors have limits of their own.
    rest: Vec<f64>,
    /// What of it the targets are reckoned with: it moves with an order only, or every target would seem to move with it.
    taken: Option<f64>,
    /// The latest order that was written.
    written: Option<(Moment, Urgency)>,
}

impl Redfish {
    /// For one BMC. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            bmc: Bmc::new(connection, http, USERNAME),
            clock: Clock::start(),
            rated: connection.rated.get().max(1.0),
            search: Search::default(),
            found: None,
            missing_since: None,
            known: Vec::new(),
            rest: Vec::new(),
            taken: None,
            written: None,
        }
    }

    /// Where its limits are, as soon as that is known.
    async fn found(&mut self) -> Result<Found, DriverError> {
        if let Some(found) = &self.found {
            let again = self.missing_since.is_some_and(|since| self.clock.now() - since >= SEARCH_AGAIN);
            if !again {
                return Ok(found.clone());
            }
        }
        let found = self.search.run(&mut self.bmc, self.rated).await?;
        self.missing_since = found.limits.is_empty().then(|| self.clock.now());
        Ok(self.found.insert(found).clone())
    }

    /// Reads the limits, and the draw of the whole server where that is told.
    async fn ask(&mut self) -> Result<(Found, Measured<Watts>), DriverError> {
        let found = self.found().await?;
        let mut known = Vec::new();
        let mut whole: Option<Option<f64>> = None;
        let mut pointer = found.meter.as_ref();
        for path in &found.limits {
            let name = found.form.name();
            let Some(resource) = self.bmc.get(name, path).await? else {
                return Err(self.gone(name));
            };
            if let Some(meter) = pointer.filter(|meter| meter.path == *path) {
                whole = Some(watts(resource.body.pointer(meter.pointer)));
                pointer = None;
            }
            // One that cannot be read now has no value, and is still there; one that was never read has no unit to be set in.
            let before = self.known.get(known.len()).map(|known| known.limit).unwrap_or_default();
            let limit = Limit::read(found.form, &resource.body, self.rated);
            let limit = limit.unwrap_or(Limit { set: None, power: None, ..before });
            known.push(Known { limit, etag: resource.etag });
        }
        if let Some(meter) = pointer {
            let resource = self.bmc.get("its draw", &meter.path).await?;
            let body = resource.map(|resource| resource.body).unwrap_or_default();
            whole = Some(watts(body.pointer(meter.pointer)));
        }
        self.known = known;
        let parts: Option<f64> = self.known.iter().map(|known| known.limit.power).sum();
        let several = found.limits.len() > 1;
        if several {
            self.learn_rest(whole.flatten(), parts);
        }
        // The sum of the processors is not the draw of the server.
        let power = match whole {
            Some(reading) => fields::watts(reading, true),
            None => Measured::Unsupported,
        };
        Ok((found, power))
    }

    /// The firmware was changed: what was found is no longer there.
    fn gone(&mut self, name: &'static str) -> DriverError {
        self.found = None;
        self.bmc.place().malformed(name, "what was there before is gone; it is looked for again")
    }

    /// What the server draws beside the processors that have limits.
    fn learn_rest(&mut self, whole: Option<f64>, parts: Option<f64>) {
        if let (Some(whole), Some(parts)) = (whole, parts) {
            if self.rest.len() >= ENVELOPE {
                self.rest.remove(0);
            }
            self.rest.push((whole - parts).max(0.0));
        }
        if self.taken.is_none() {
            self.taken = self.highest_rest();
        }
    }

    fn highest_rest(&self) -> Option<f64> {
        self.rest.iter().copied().reduce(f64::max)
    }

    /// Draw beside the limits, as the targets are reckoned: nothing where one limit covers all.
    fn beside(&self) -> f64 {
        if self.known.len() < 2 {
            return 0.0;
        }
        let high: f64 = self.known.iter().filter_map(|known| known.limit.high).sum();
        self.taken.unwrap_or_else(|| (self.rated - high).max(0.0))
    }

    fn limits(&self) -> Vec<Limit> {
        self.known.iter().map(|known| known.limit).collect()
    }

    /// Why no limit is worth setting, in words that say what to do.
    fn refuses(&self, limits: &[Limit]) -> Option<&'static str> {
        if limits.is_empty() {
            return Some("it states no power limit that could be set");
        }
        if limits.iter().any(|limit| limit.kills) {
            return Some(
                "its LimitException is HardPowerOff: a limit that cannot be held would shut it down; set LogEventOnly",
            );
        }
        limits.iter().any(|limit| limit.disabled).then_some(
            "its power limit is disabled and would be ignored; set ControlMode to Automatic in the BMC",
        )
    }

    /// What the limits say together.
    fn status(&self, power: Measured<Watts>) -> MinerStatus {
        let limits = self.limits();
        let beside = self.beside();
        let sum = |of: fn(&Limit) -> Option<f64>| -> Option<f64> {
            if limits.is_empty() {
                None
            } else {
                limits.iter().map(of).sum::<Option<f64>>().map(|sum| sum + beside)
            }
        };
        let refuses = self.refuses(&limits);
        let target = match sum(|limit| limit.set).filter(|_| refuses.is_none()) {
            Some(set) => Measured::Value(Target::Power(Watts::saturating(set.round()))),
            None if limits.is_empty() => Measured::Unsupported,
            None => Measured::Unavailable,
        };
        let range = match (sum(|limit| limit.low), sum(|limit| limit.high)) {
            (Some(low), Some(high)) if low <= high => {
                Some((Watts::saturating(low.ceil()), Watts::saturating(high.floor().max(low.ceil()))))
            }
            _ => None,
        };
        MinerStatus {
            power,
            // It does no work that can be counted here.
            hashrate: Measured::Unsupported,
            activity: refuses.map_or(Activity::Hashing, |why| Activity::Fault(Arc::from(why))),
            target,
            range,
            ..MinerStatus::default()
        }
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &serde_json::Value) -> Vec<crate::miner::reply::said::Said> {
    let forms = [forms::Form::Environment, forms::Form::Control, forms::Form::Power];
    let limits = forms.into_iter().filter_map(|form| Limit::read(form, reply, 3_300.0));
    limits
        .map(|limit| crate::miner::reply::said::Said {
            power: fields::watts(limit.power, true),
            ..crate::miner::reply::said::Said::default()
        })
        .collect()
}

#[async_trait]
impl Driver for Redfish {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let (_, power) = self.ask().await?;
        Ok(self.status(power))
    }

    async fn apply(&mut self, target: Target, urgency: Urgency) -> Result<(), DriverError> {
        let name = "sleep";
        if self.known.is_empty() {
            self.ask().await?;
        }
        let lowest = self.lowest();
        match target {
            Target::Sleep => {
                self.set(lowest, urgency).await?;
                Err(self.bmc.place().rejected(name, Rejection::Unsupported))
            }
            Target::Power(power) => {
                self.set(power.get(), urgency).await?;
                // It went as low as it goes, which is more than was asked for.
                if power.get() < lowest - 1.0 {
                    return Err(self.bmc.place().rejected("a power limit", Rejection::OutOfRange));
                }
                Ok(())
            }
        }
    }

    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        let Some(chassis) = self.found().await?.chassis else { return Ok(None) };
        let Some(resource) = self.bmc.get("a chassis", &chassis).await? else { return Ok(None) };
        // DMTF schema `Chassis`: Manufacturer, Model, SerialNumber.
        let text = |key: &str| {
            let text = fields::text(&resource.body, key).map(str::trim).filter(|text| !text.is_empty());
            text.map(|text| fields::words(text, &[]))
        };
        let serial = text("SerialNumber").and_then(|serial| meaningful_serial(&serial));
        Ok(Some(Identity { vendor: text("Manufacturer"), model: text("Model"), mac: None, serial }))
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        if !self.bmc.has_account() {
            return Ok(false);
        }
        self.ask().await?;
        Ok(true)
    }

    async fn close(&mut self) {
        // The limit stays: the control law has said before what it is to be.
        self.bmc.close().await;
    }
}
