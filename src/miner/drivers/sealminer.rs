//! Bitdeer SealMiner (A2 and its kin): the bdminer API on TCP 4028, without a password.
//!
//! Sources: asic-rs 0.8.6, SealMiner backend `v2025`, with replies of an A2 with firmware 2025091001: `stats` has all
//! that is read here; `ascset|0,powerlimit,{"value":"3500"}` sets the power limit, `ascset|0,suspend` stops mining,
//! `restart` starts the mining process anew and is how a suspended miner is woken. asic-rs restarts the control board
//! after a power limit; the mining process reads it when it starts, so here only that is restarted, which is shorter.
//! The shape of `ascset`'s refusals and of the bare answer to `restart` is cgminer's (`API-README`, `api.c`).
//!
//! There is no way to change the power of this miner without a restart of mining, which costs four minutes of boot and
//! more of tuning. So a limit that is in force already is never sent again, and waking and a new limit take one restart
//! between them. A site that wants none of these restarts writes `actuator = "on-off"`: then the miner is put to sleep
//! and woken, at the limit that it has.
//!
//! The whole list of what can be sent is `Request` below.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::said::Said;
use crate::miner::wire::rpc::Rpc;
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "sealminer",
    // Its API knows no accounts.
    needs_password: false,
    new: |connection, _| Box::new(SealMiner::new(connection)),
    // A new power limit needs a restart of the mining process. An A2 with firmware 2025091001 gave as its own
    // figures a boot time of 222 s and a coarse tuning of 628 s for 3.5 kW (captured by the asic-rs project):
    // the start, the ramp of 5 W/s and the costs. The way down and the write budget are cautious guesses.
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::Continuous,
        restarts: true,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(5),
            dead_time_up: Duration::from_secs(10),
            ramp_down: WattsPerSecond::whole(500),
            ramp_up: WattsPerSecond::whole(5),
            start_time: Duration::from_secs(220),
            starts_at_full: false,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(600),
            sleep: Duration::from_secs(600),
            min_interval: Duration::from_secs(900),
        },
        port: 4028,
        username: None,
    },
};

/// The largest power limit that is ever sent; no miner comes near.
const MAX_WATTS: f64 = 1e6;

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Stats,
    PowerLimit(u32),
    Suspend,
    Restart,
}

impl Request {
    const fn name(self) -> &'static str {
        match self {
            Self::Stats => "stats",
            Self::PowerLimit(_) => "ascset powerlimit",
            Self::Suspend => "ascset suspend",
            Self::Restart => "restart",
        }
    }

    fn body(self) -> Value {
        match self {
            Self::Stats => json!({ "command": "stats" }),
            // The value is text within JSON within the parameter's text.
            Self::PowerLimit(watts) => json!({
                "command": "ascset", "parameter": format!("0,powerlimit,{{\"value\":\"{watts}\"}}"),
            }),
            Self::Suspend => json!({ "command": "ascset", "parameter": "0,suspend" }),
            Self::Restart => json!({ "command": "restart" }),
        }
    }
}

/// What the miner says it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// "Running", the only word on record.
    Running,
    /// A word that speaks of being stopped.
    Suspended,
    /// Another word, or none.
    Other,
}

/// What `stats` says, in our units.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    power: Option<f64>,
    limit: Option<f64>,
    rate: Option<f64>,
    elapsed: Option<f64>,
    state: State,
    /// Still raising its frequency.
    raising: bool,
    fault: Option<Arc<str>>,
}

impl Stats {
    /// Reads `STATS[0]`; what is missing is unknown.
    pub(crate) fn read(row: &Value) -> Self {
        let state = match fields::text(row, "PM State").unwrap_or_default().to_ascii_lowercase() {
            word if word == "running" => State::Running,
            word if ["suspend", "sleep", "standby", "stop", "idle", "power off", "poweroff"]
                .iter()
                .any(|part| word.contains(part)) =>
            {
                State::Suspended
            }
            _ => State::Other,
        };
        let mut fault = fields::text(row, "Error Code").map(str::trim).filter(|code| !code.is_empty());
        // "0x00000000" is the supply's way to say that all is well.
        let supply = fields::text(row, "PSU Error").map(|code| code.trim().trim_start_matches("0x"));
        if fault.is_none() && supply.is_some_and(|code| code.chars().any(|digit| digit != '0')) {
            fault = fields::text(row, "PSU Error").map(str::trim);
        }
        let keys = ["MHS(30s)", "MHS(1m)", "MHS(Sample)", "MHS(Avg)"];
        Self {
            power: fields::number(row, "PSU Input Power"),
            limit: fields::number(row, "Power Limit").filter(|watts| *watts > 0.0),
            rate: fields::agreed(keys.map(|key| fields::number(row, key).map(|rate| rate * 1e6))),
            elapsed: fields::number(row, "Elapsed"),
            state,
            raising: fields::flag(row, "Raise Freq Done") == Some(false),
            fault: fault.map(|code| Arc::from(fields::words(&format!("error {code}"), &[]))),
        }
    }

    fn is_hashing(&self) -> bool {
        self.rate.is_some_and(|rate| rate > 0.0)
    }

    /// The power limit in force, in watts.
    pub(crate) const fn limit(&self) -> Option<f64> {
        self.limit
    }

    /// Whether it is stopped on command; `suspended`: by a command of ours.
    fn is_asleep(&self, suspended: bool) -> bool {
        match self.state {
            State::Running => false,
            State::Suspended => true,
            State::Other => suspended && !self.is_hashing(),
        }
    }

    /// What it means; `suspended`: put to sleep by us.
    pub(crate) fn said(&self, suspended: bool) -> Said {
        let asleep = self.is_asleep(suspended);
        // An error of a miner that was put to sleep here is not why it is stopped.
        let fault = self.fault.as_ref().filter(|_| !suspended && (asleep || !self.is_hashing()));
        let activity = match fault {
            Some(fault) => Activity::Fault(fault.clone()),
            _ if asleep => Activity::Asleep,
            _ if self.is_hashing() && !self.raising => Activity::Hashing,
            _ if self.is_hashing() || self.state == State::Running || self.raising => Activity::Starting,
            _ => Activity::Unknown,
        };
        Said { power: fields::watts(self.power, true), hashrate: fields::hashes(self.rate, true), activity }
    }
}

/// Speaks the API with one miner.
pub struct SealMiner {
    rpc: Rpc,
    /// Put to sleep by us, so that a state with an unknown word can be told.
    suspended: bool,
    /// A power limit was taken that no restart has put into force yet.
    waiting: bool,
}

impl SealMiner {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Self {
        Self { rpc: Rpc::new(connection), suspended: false, waiting: false }
    }

    async fn stats(&self) -> Result<Stats, DriverError> {
        let name = Request::Stats.name();
        let reply = self.rpc.ask(name, &Request::Stats.body()).await?;
        if !reply.is_success() {
            return Err(self.rpc.refusal(name, &reply));
        }
        match reply.row("STATS") {
            Ok(row) => Ok(Stats::read(row)),
            // There, and without anything to tell now.
            Err(_) if reply.is_empty("STATS") => Ok(Stats::read(&Value::Null)),
            Err(reason) => Err(self.rpc.place().malformed(name, reason)),
        }
    }

    async fn command(&self, request: Request) -> Result<(), DriverError> {
        let name = request.name();
        let reply = self.rpc.ask(name, &request.body()).await?;
        if reply.is_success() { Ok(()) } else { Err(self.rpc.refusal(name, &reply)) }
    }

    /// Starts the mining process anew. cgminer answers with the bare word, which is no JSON of the usual shape.
    async fn restart(&mut self) -> Result<(), DriverError> {
        let request = Request::Restart;
        let name = request.name();
        let bytes = self.rpc.exchange(name, &request.body()).await?;
        let bare = bytes.trim_ascii();
        let said_so =
            [&b"RESTART"[..], b"{\"RESTART\"}", b"\"RESTART\"", b"{\"RESTART\",\"id\":1}"].contains(&bare);
        if !said_so {
            let reply = self.rpc.reply(name, &bytes)?;
            if !reply.is_success() {
                return Err(self.rpc.refusal(name, &reply));
            }
        }
        self.suspended = false;
        self.waiting = false;
        Ok(())
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let stats = Stats::read(reply.pointer("/STATS/0").unwrap_or(reply));
    vec![stats.said(false), stats.said(true)]
}

#[async_trait]
impl Driver for SealMiner {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let stats = self.stats().await?;
        self.suspended &= stats.is_asleep(self.suspended);
        let Said { power, hashrate, activity } = stats.said(self.suspended);
        let target = match stats.limit {
            _ if activity == Activity::Asleep => Measured::Value(Target::Sleep),
            Some(watts) => Measured::Value(Target::Power(Watts::saturating(watts))),
            None => Measured::Unavailable,
        };
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target,
            range: None,
            points: None,
            uptime: stats.elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    async fn apply(&mut self, target: Target, _: Urgency) -> Result<(), DriverError> {
        let power = match target {
            Target::Sleep => {
                self.command(Request::Suspend).await?;
                self.suspended = true;
                return Ok(());
            }
            Target::Power(power) => power,
        };
        let request = Request::PowerLimit(0).name();
        let refuse = |reason| self.rpc.place().rejected(request, reason);
        let whole = power.get().floor();
        if !(1.0..=MAX_WATTS).contains(&whole) {
            return Err(refuse(Rejection::OutOfRange));
        }
        let watts: u32 = format!("{whole:.0}").parse().map_err(|_| refuse(Rejection::OutOfRange))?;
        let stats = self.stats().await?;
        let asleep = stats.is_asleep(self.suspended);
        if stats.limit.is_none_or(|limit| (limit - whole).abs() > 0.5) {
            // From now on: it may have taken what it does not answer.
            let waited = std::mem::replace(&mut self.waiting, true);
            self.command(Request::PowerLimit(watts)).await.inspect_err(|error| {
                if matches!(error, DriverError::Rejected { .. }) {
                    self.waiting = waited;
                }
            })?;
        }
        if asleep || self.waiting { self.restart().await } else { Ok(()) }
    }

    async fn close(&mut self) {
        // Nothing is open between two exchanges, and there is no login.
    }
}
