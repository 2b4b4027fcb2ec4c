//! The power limits of a server's graphics processors, set from inside its operating system by the daemon `zeusd` (ml-energy, 0.5.0):
//! HTTP over TCP, with a token. Where each route and shape comes from is in `wire` and `found`.
//!
//! A limit is a cap: a processor draws what its work needs below it. The daemon knows the processors alone, so what the rest of the
//! server draws (`base` of the configuration, a constant) is added to all that is read and taken off all that is asked for. The meter
//! of the circuit is the arbiter of what that misses.
//!
//! - **A server does not sleep.** [`Target::Sleep`] sets the lowest limits that are allowed and counts as refused, so that nobody
//!   counts on a draw that it does not have.
//! - **Yes is not done.** After each order the limits are read back. Where some processors took theirs and some did not, it is not known
//!   what the server draws, and the order counts as neither carried out nor refused.
//! - **One that is lost stops nobody.** A processor that says nothing of itself any more while others do ("GPU is lost") counts with the
//!   highest limit that it, or any of the others, can have, and the others are set to what is left. What the server draws is not known then.
//! - **A shed raises no processor** above what was read last: a lower limit of the operator's stays.
//! - **Limits are lost** when the driver of the processors is loaded anew. What is told as the target is what was read last, so
//!   that the control law sees it.
//! - Nothing but power limits is ever written: no clocks, no persistence mode. The whole list of what can be sent is `Request` in `wire`.

mod found;
mod order;
mod share;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Client;
use serde_json::Value;

use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::identity::Identity;
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::{Connection, Driver, DriverError, Gpus, Urgency};
use crate::units::{Watts, WattsPerSecond};
use found::Found;
use wire::{Daemon, Failures, Request, Told};

/// What is known of such a server before it was spoken with. Setting a limit takes about 32 ms for each processor (a public
/// measurement of three calls of `nvidia-smi -pl`); how soon the draw follows was published by nobody, so the times are cautious
/// guesses, which are replaced by what is learned.
pub(in crate::miner) const ABOUT: About = About {
    name: "zeusd",
    needs_password: true,
    new: |connection, http| Box::new(Zeusd::new(connection, http)),
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: false,
        persists: false,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(1),
            dead_time_up: Duration::from_secs(1),
            ramp_down: WattsPerSecond::whole(1_000),
            ramp_up: WattsPerSecond::whole(1_000),
            start_time: Duration::from_secs(10),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: true,
        },
        cost: ChangeCost {
            // A cap interrupts no work.
            adjust: Duration::from_secs(1),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(5),
        },
        // `tcp_bind_address` in its `config.rs`.
        port: 4938,
        username: None,
    },
};

/// What is known of one processor; powers in milliwatts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gpu {
    id: u16,
    /// The limit that it said last.
    limit: Option<u32>,
    /// The lowest and the highest limit. It is burnt in, so an earlier answer holds where there is none now.
    range: Option<(u32, u32)>,
    power: Option<u32>,
    /// It does not answer for itself while others do. It cannot be set and counts with the highest limit that it can have.
    lost: bool,
}

/// What is known of all of them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    gpus: Vec<Gpu>,
    /// These are all that there are.
    whole: bool,
    /// Why nothing can be set at all.
    refuses: Option<String>,
    /// What is wrong with some of them.
    fault: Option<String>,
}

/// Speaks with one daemon.
pub struct Zeusd {
    daemon: Daemon,
    settings: Gpus,
    /// What it said of itself, while that is sound.
    found: Option<Found>,
    known: Known,
}

impl Zeusd {
    /// For one daemon. Nothing is sent yet.
    pub fn new(connection: &Connection, http: &Client) -> Self {
        Self {
            daemon: Daemon::new(connection, http),
            settings: connection.gpus.clone().unwrap_or_default(),
            found: None,
            known: Known::default(),
        }
    }

    /// Which processors there are: asked once, and again after anything went wrong.
    async fn found(&mut self) -> Result<Found, DriverError> {
        if let Some(found) = &self.found {
            return Ok(found.clone());
        }
        let name = Request::Discover.path();
        let reply = match self.daemon.ask(Request::Discover, None).await? {
            Told::All(reply) => reply,
            Told::Failed(_) => Value::Null,
        };
        let found = Found::read(&reply, self.settings.only.as_deref())
            .map_err(|reason| self.daemon.place().malformed(name, reason))?;
        self.found = Some(found.clone()).filter(Found::is_sound);
        Ok(found)
    }

    /// Asks one thing of these processors: where some cannot tell, of the others once more.
    async fn of_each(&self, request: Request, ids: &[u16]) -> Result<(Value, Failures), DriverError> {
        let all = self.settings.only.is_none();
        let mut failures = match self.daemon.ask(request, (!all).then_some(ids)).await? {
            Told::All(reply) => return Ok((reply, Failures::new())),
            Told::Failed(failures) => failures,
        };
        let others: Vec<u16> = ids.iter().copied().filter(|id| !failures.contains_key(id)).collect();
        if others.is_empty() {
            return Ok((Value::Null, failures));
        }
        match self.daemon.ask(request, Some(&others)).await? {
            Told::All(reply) => Ok((reply, failures)),
            Told::Failed(more) => {
                failures.extend(more);
                Ok((Value::Null, failures))
            }
        }
    }

    /// Reads everything anew.
    async fn ask(&mut self) -> Result<(), DriverError> {
        match self.look().await {
            Ok(known) => self.known = known,
            Err(error) => {
                // Another daemon may have come, with other processors.
                self.found = None;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<Known, DriverError> {
        let found = self.found().await?;
        if found.ids.is_empty() {
            let fault = found.lacks;
            return Ok(Known { gpus: Vec::new(), whole: false, refuses: found.refuses, fault });
        }
        let (powers, mut failures) = self.of_each(Request::Power, &found.ids).await?;
        let (limits, more) = self.of_each(Request::Limits, &found.ids).await?;
        failures.extend(more);
        let (ranges, more) = self.of_each(Request::Ranges, &found.ids).await?;
        failures.extend(more);
        let before = |id: u16| self.known.gpus.iter().find(|gpu| gpu.id == id).and_then(|gpu| gpu.range);
        let gpu = |id: &u16| Gpu {
            id: *id,
            limit: found::limit(&limits, *id),
            range: found::range(&ranges, *id).or_else(|| before(*id)),
            power: found::power(&powers, *id),
            lost: false,
        };
        let mut gpus: Vec<Gpu> = found.ids.iter().map(gpu).collect();
        let highest = gpus.iter().filter_map(|gpu| gpu.range).map(|range| range.1).max();
        if let Some(highest) = highest.filter(|_| gpus.iter().any(|gpu| gpu.limit.is_some())) {
            for gpu in gpus.iter_mut().filter(|gpu| gpu.limit.is_none() && failures.contains_key(&gpu.id)) {
                let most = gpu.range.map_or(highest, |range| range.1);
                *gpu = Gpu { limit: Some(most), range: Some((most, most)), power: None, lost: true, ..*gpu };
            }
        }
        // One came or went: it is asked anew which there are, and meanwhile the sum is nobody's.
        let others = self.settings.only.is_none() && failures.is_empty() && found::told(&powers) != found.ids;
        if others {
            self.found = None;
        }
        let whole = found.lacks.is_none() && !others;
        Ok(Known { gpus, whole, refuses: found.refuses, fault: found.lacks.or_else(|| words(&failures)) })
    }

    /// The sum of something over all processors and the rest of the server, in watts; `None` where any of them is not known.
    fn whole(&self, of: fn(&Gpu) -> Option<u32>) -> Option<f64> {
        if !self.known.whole || self.known.gpus.is_empty() {
            return None;
        }
        let sum: Option<f64> = self.known.gpus.iter().map(|gpu| of(gpu).map(f64::from)).sum();
        sum.map(|milliwatts| milliwatts / 1e3 + self.settings.base.get())
    }

    /// What they say together.
    fn status(&self) -> MinerStatus {
        let target = match self.whole(|gpu| gpu.limit) {
            Some(limit) => Measured::Value(Target::Power(Watts::saturating(limit.round()))),
            None if self.known.gpus.is_empty() => Measured::Unsupported,
            None => Measured::Unavailable,
        };
        let low = self.whole(|gpu| gpu.range.map(|range| range.0));
        let high = self.whole(|gpu| gpu.range.map(|range| range.1));
        let range = low.zip(high).map(|(low, high)| {
            let low = low.ceil();
            (Watts::saturating(low), Watts::saturating(high.floor().max(low)))
        });
        let amiss = self.known.refuses.as_deref().or(self.known.fault.as_deref());
        MinerStatus {
            power: fields::watts(self.whole(|gpu| gpu.power), true),
            // It does no work that can be counted here.
            hashrate: Measured::Unsupported,
            activity: amiss.map_or(Activity::Hashing, |why| Activity::Fault(Arc::from(why))),
            target,
            range,
            ..MinerStatus::default()
        }
    }
}

/// What went wrong with some of them, by the first: where, and what.
fn words(failures: &Failures) -> Option<String> {
    let (id, why) = failures.first_key_value()?;
    let more = match failures.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    // `NvmlError::NoPermission` and `NotSupported` of nvml-wrapper 0.12, in its words.
    let hint = if why.contains("permission") {
        "; run zeusd as root"
    } else if why.contains("not available on the target device") {
        "; its limit cannot be set: leave it out of `gpus`"
    } else {
        ""
    };
    Some(format!("GPU {id}: {why}{more}{hint}"))
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<crate::miner::reply::said::Said> {
    let ids = found::told(reply);
    let _ = Found::read(reply, None);
    let limits: Vec<_> = ids.iter().map(|id| (found::limit(reply, *id), found::range(reply, *id))).collect();
    let power: Option<f64> = ids.iter().map(|id| found::power(reply, *id).map(f64::from)).sum();
    let power = fields::watts(power.filter(|_| !limits.is_empty()).map(|milliwatts| milliwatts / 1e3), true);
    vec![crate::miner::reply::said::Said { power, ..crate::miner::reply::said::Said::default() }]
}

#[async_trait]
impl Driver for Zeusd {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        self.ask().await?;
        Ok(self.status())
    }

    async fn apply(&mut self, target: Target, urgency: Urgency) -> Result<(), DriverError> {
        let Target::Power(power) = target else {
            self.set(0.0, urgency).await?;
            return Err(self.daemon.place().rejected("sleep", Rejection::Unsupported));
        };
        let moved = self.set(power.get(), urgency).await?;
        if power.get() >= self.lowest() - 1.0 {
            return Ok(());
        }
        // It went as low as it goes, which is more than was asked for.
        let name = "a power limit";
        if urgency == Urgency::Normal && moved {
            // No refusal: that would put back what was written.
            return Err(self.daemon.place().malformed(name, "it does not go as low as that"));
        }
        Err(self.daemon.place().rejected(name, Rejection::OutOfRange))
    }

    async fn identify(&mut self) -> Result<Option<Identity>, DriverError> {
        // It tells no serial number.
        Ok(Some(Identity { model: self.found().await?.model, ..Identity::default() }))
    }

    async fn prove_account(&mut self) -> Result<bool, DriverError> {
        self.daemon.prove().await
    }

    async fn close(&mut self) {
        // The limits stay: the control law has said before what they are to be.
    }
}
