//! The power limit of a server, set from outside of its operating system by its BMC: DMTF Redfish over HTTPS.
//!
//! A BMC has its limit in one of three forms (`forms`), which is found out on first contact (`find`, `tree`) and looked at again now and
//! then. A limit is a cap: the server draws what its work needs below it. Where each part has its own, the caps are summed,
//! together with what the rest of the server draws, and a target is shared among them (`plan`).
//!
//! - **A server does not sleep.** [`Target::Sleep`] sets the lowest cap that is allowed and counts as refused, so that nobody
//!   counts on a draw that it does not have.
//! - **Yes is not done.** After each write the limit is read back (`order`). Some BMCs say yes and change nothing; in mode `Disabled` all do.
//! - **BMCs are slow and easily overloaded**: one connection, one exchange at a time, one order in five seconds. An order that comes
//!   sooner waits; a shed waits for nothing, and never writes above what stands.
//! - Nothing but power limits is ever written: never a reset, a power-off, a setting of the boot or a firmware action. What may be
//!   written to is `Path::holds_limit` in `path`, and with what `Form::body` in `forms`.

mod find;
mod forms;
mod login;
mod order;
mod path;
mod plan;
mod tree;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Client;
use serde_json::Value;

use crate::clock::{Clock, Moment};
use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::identity::{Identity, meaningful_serial};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};
use find::{Found, Rated, Search};
use plan::Limit;
use wire::{Bmc, Haste};

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
        answers: AnswerWithin::NONE,
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
            // A cap interrupts no work.
            adjust: Duration::from_secs(1),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(10),
        },
        port: 443,
        username: Some(USERNAME),
    },
};

/// A BMC in which no limit was found is searched again after so long.
const SEARCH_AGAIN: Duration = Duration::from_secs(60);
/// One in which some were found is looked around in again after so long: what was off at the first contact may be there by now.
const LOOK_AROUND: Duration = Duration::from_secs(15 * 60);
/// So many resources of it with each reading, so that no reading takes much longer.
const LOOKS: usize = 6;
/// Readings over which the draw of the rest of a server is the highest one seen.
const ENVELOPE: usize = 6;
/// A meter that reads below this part of what the parts draw together is none of the whole.
const AGREES: f64 = 0.95;

/// Speaks with one BMC.
pub struct Redfish {
    bmc: Bmc,
    clock: Clock,
    rated: Rated,
    search: Search,
    found: Found,
    /// When it was searched last.
    searched: Option<Moment>,
    /// What the rest of the server drew in the latest readings, where its parts have limits of their own.
    rest: Vec<f64>,
    /// What of it the targets are reckoned with: it moves with an order only, or every target would seem to move with it.
    taken: Option<f64>,
    /// When something was written last.
    written: Option<Moment>,
}

impl Redfish {
    /// For one BMC. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            bmc: Bmc::new(connection, http, USERNAME),
            clock: Clock::start(),
            rated: Rated { watts: connection.rated.get().max(1.0), is_told: connection.rated_is_told },
            search: Search::default(),
            found: Found::default(),
            searched: None,
            rest: Vec::new(),
            taken: None,
            written: None,
        }
    }

    /// What errors call its limit.
    fn name(&self) -> &'static str {
        self.found.limits.first().map_or("its power limit", |limit| limit.form.name())
    }

    /// Looks for the limits where none is known.
    async fn find(&mut self) -> Result<(), DriverError> {
        let fruitless = self.searched.is_some_and(|at| self.clock.now() - at < SEARCH_AGAIN);
        if self.found.limits.is_empty() && !fruitless { self.renew().await } else { Ok(()) }
    }

    /// Looks for the limits anew; those that are known stay until others are found.
    async fn renew(&mut self) -> Result<(), DriverError> {
        let found = self.search.run(&mut self.bmc, self.rated, usize::MAX).await?;
        self.adopt(found);
        Ok(())
    }

    /// Looks around for what was not there before, a little at a time.
    async fn look_around(&mut self) {
        if self.searched.is_some_and(|at| self.clock.now() - at < LOOK_AROUND) {
            return;
        }
        match self.search.run(&mut self.bmc, self.rated, LOOKS).await {
            // What is known is not given up for nothing.
            Ok(found) if found.limits.is_empty() => self.searched = Some(self.clock.now()),
            Ok(found) => self.adopt(found),
            Err(_) if self.search.is_under_way() => {}
            Err(_) => self.searched = Some(self.clock.now()),
        }
    }

    fn adopt(&mut self, found: Found) {
        self.searched = Some(self.clock.now());
        let place = |limit: &Limit| (limit.path.clone(), limit.form, limit.hundred.is_some());
        if self.found.limits.iter().map(place).eq(found.limits.iter().map(place)) {
            // What is known of each is later than what the search saw.
            let limits = std::mem::take(&mut self.found.limits);
            self.found = Found { limits, ..found };
        } else {
            self.found = found;
            self.rest.clear();
            self.taken = None;
        }
    }

    /// Reads one limit; `None` where it is gone.
    async fn look(&mut self, place: usize) -> Result<Option<Value>, DriverError> {
        let Some(limit) = self.found.limits.get_mut(place) else { return Ok(None) };
        let Some(resource) = self.bmc.get(limit.form.name(), &limit.path).await? else { return Ok(None) };
        limit.take(&resource.body, resource.etag);
        if !limit.fresh {
            // It is there, and has no limit any more: that is looked for as soon as there is time.
            self.searched = None;
        }
        Ok(Some(resource.body))
    }

    /// The firmware was changed: what was found is no longer there.
    fn gone(&self) -> DriverError {
        self.bmc.place().malformed(self.name(), "what was there before is gone; it is looked for again")
    }

    /// Reads the limits, and the draw of the whole server where that is told.
    async fn ask(&mut self) -> Result<Measured<Watts>, DriverError> {
        self.bmc.begin("its state", Haste::Poll).await?;
        self.find().await?;
        for again in [true, false] {
            match self.look_over().await? {
                Some(power) => {
                    if !self.found.limits.is_empty() {
                        self.look_around().await;
                    }
                    return Ok(power);
                }
                None if again => self.renew().await?,
                None => {}
            }
        }
        Err(self.gone())
    }

    /// Reads them once; `None` where one is gone.
    async fn look_over(&mut self) -> Result<Option<Measured<Watts>>, DriverError> {
        let meter = self.found.meter.clone();
        let mut whole: Option<Option<f64>> = None;
        for place in 0..self.found.limits.len() {
            let Some(body) = self.look(place).await? else { return Ok(None) };
            let own = self.found.limits.get(place).map(|limit| &limit.path);
            if let Some(meter) = meter.as_ref().filter(|meter| Some(&meter.path) == own) {
                whole = Some(meter.draw.read(&body));
            }
        }
        let whole = match whole {
            Some(known) => known,
            None => self.read_meter().await?,
        };
        let agrees = self.learn_rest(whole);
        // The sum of the parts is not the draw of the server, and neither is what one of them draws.
        let power =
            if meter.is_some() && agrees { fields::watts(whole, true) } else { Measured::Unsupported };
        Ok(Some(power))
    }

    /// The draw of the whole server by a resource of its own, in watts.
    async fn read_meter(&mut self) -> Result<Option<f64>, DriverError> {
        let Some(meter) = &self.found.meter else { return Ok(None) };
        let resource = self.bmc.get("its draw", &meter.path).await?;
        Ok(resource.and_then(|resource| meter.draw.read(&resource.body)))
    }

    /// What the server draws beside the parts that have limits; says whether the two go together.
    fn learn_rest(&mut self, whole: Option<f64>) -> bool {
        let parts: Option<f64> = self.found.limits.iter().map(|limit| limit.said.power).sum();
        let (Some(whole), Some(parts), false) = (whole, parts, self.found.whole) else { return true };
        if whole < parts * AGREES {
            return false;
        }
        if self.rest.len() >= ENVELOPE {
            self.rest.remove(0);
        }
        self.rest.push((whole - parts).max(0.0));
        self.taken = self.taken.or_else(|| self.highest_rest());
        true
    }

    /// What an order is reckoned with; read now where nothing is known of it yet.
    async fn take_rest(&mut self) {
        if self.rest.is_empty() && !self.found.whole {
            // What cannot be read is assumed.
            let whole = self.read_meter().await.unwrap_or_default();
            self.learn_rest(whole);
        }
        self.taken = self.highest_rest().or(self.taken);
    }

    fn highest_rest(&self) -> Option<f64> {
        self.rest.iter().copied().reduce(f64::max)
    }

    /// Draw beside the limits in watts, as the targets are reckoned: nothing where one limit covers all.
    fn beside(&self) -> f64 {
        if self.found.whole {
            return 0.0;
        }
        let high: f64 = self.found.limits.iter().map(|limit| limit.bounds().1).sum();
        self.taken.unwrap_or_else(|| (self.rated.watts - high).max(0.0))
    }

    /// Why no limit is worth setting, in words that say what to do.
    fn refuses(&self) -> Option<&'static str> {
        let limits = &self.found.limits;
        if limits.is_empty() && self.found.needs_rated {
            return Some("its power control counts in percent; say with `rated` what it draws at its 100 %");
        }
        if limits.is_empty() {
            return Some("it states no power limit that could be set");
        }
        if limits.iter().any(|limit| limit.said.is_usable()) {
            return None;
        }
        limits.iter().find_map(|limit| limit.said.refuses())
    }

    /// What the limits say together.
    fn status(&self, power: Measured<Watts>) -> MinerStatus {
        let limits = &self.found.limits;
        let beside = self.beside();
        let sum = |of: fn(&Limit) -> Option<f64>| -> Option<f64> {
            let parts: Option<f64> = limits.iter().map(of).sum();
            parts.filter(|_| !limits.is_empty()).map(|sum| sum + beside)
        };
        let refuses = self.refuses();
        // One that cannot be set may let everything through.
        let set = |limit: &Limit| limit.said.set.filter(|_| limit.said.is_usable());
        let low = |limit: &Limit| if limit.said.is_usable() { limit.said.low } else { limit.said.high };
        let target = match sum(set) {
            Some(set) => Measured::Value(Target::Power(Watts::saturating(set.round()))),
            None if limits.is_empty() => Measured::Unsupported,
            None => Measured::Unavailable,
        };
        let range = match (sum(low), sum(|limit| limit.said.high)) {
            (Some(low), Some(high)) if low <= high => {
                Some((Watts::saturating(low.ceil()), Watts::saturating(high.floor().max(low.ceil()))))
            }
            _ => None,
        };
        let odd = limits.iter().any(|limit| limit.said.odd);
        MinerStatus {
            power: if odd { Measured::Unavailable } else { power },
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
    let read = forms.into_iter().filter_map(|form| forms::Said::read(form, reply, Some(3_300.0)));
    read.map(|limit| crate::miner::reply::said::Said {
        power: fields::watts(limit.power, true),
        ..crate::miner::reply::said::Said::default()
    })
    .collect()
}

#[async_trait]
impl Driver for Redfish {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let power = self.ask().await?;
        Ok(self.status(power))
    }

    async fn apply(&mut self, target: Target, urgency: Urgency) -> Result<(), DriverError> {
        let power = match target {
            Target::Sleep => 0.0,
            Target::Power(power) => power.get(),
        };
        let plan = self.set(power, urgency).await?;
        let name = self.name();
        if target == Target::Sleep {
            return Err(self.bmc.place().rejected(name, Rejection::Unsupported));
        }
        if plan.reached <= power + plan.grain.max(1.0) {
            return Ok(());
        }
        // It went as low as it goes, which is more than was asked for.
        if plan.left > 0 && !plan.writes.is_empty() {
            let text = format!("{} of {} limits cannot be set", plan.left, self.found.limits.len());
            return Err(self.bmc.place().malformed(name, text));
        }
        if urgency == Urgency::Normal && !plan.writes.is_empty() {
            // No refusal: that would put back what was written.
            return Err(self.bmc.place().malformed(name, "it does not go as low as that"));
        }
        Err(self.bmc.place().rejected(name, Rejection::OutOfRange))
    }

    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        // A shed may wait for the answer.
        self.bmc.begin("a chassis", Haste::Shed).await?;
        self.find().await?;
        let Some(chassis) = self.found.chassis.clone() else { return Ok(None) };
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
