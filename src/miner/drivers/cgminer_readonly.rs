//! Whatever answers the cgminer API on TCP 4028 and has no driver of its own: it is read, and never commanded.
//!
//! The long tail of firmware keeps this interface for monitoring. What it says of hashrate and uptime is alike
//! everywhere; power is told by few, each in a place of its own:
//!
//! | Firmware, by its `version` | Where power is | Source |
//! |---|---|---|
//! | LuxOS (`LUXminer`) | `power`: `POWER[0].Watts` | LuxOS API, command `power` |
//! | Braiins OS (`BOSer`, `BOSminer+`) | `tunerstatus`: `TUNERSTATUS[0].ApproximateMinerPowerConsumption` | Braiins OS "BOSminer API" |
//! | SealMiner (`BDMiner`) | `stats`: `STATS[0]["PSU Input Power"]` | captured by the asic-rs project |
//! | all others | `summary`: `Power_RT` or `Power`, as Whatsminers have it | MicroBT "WhatsMiner API v2.0.5" |
//!
//! Where none of them is there, power is unsupported; it is never reckoned from anything else. The miner then counts
//! with what the configuration says of it.
//!
//! Sources of the shapes: cgminer `API-README` (`summary`, `version`), Innosilicon, Antminer and Avalon replies as
//! pyasic 0.79 reads them. The whole list of what can be sent is `Request` below; every one of them reads.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::control::site::{AnswerWithin, ChangeCost, Response};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::miner::kind::{About, Class, Quantum, Traits};
use crate::miner::reply::fields;
use crate::miner::reply::models;
use crate::miner::reply::said::Said;
use crate::miner::wire::rpc::{Reply, Rpc};
use crate::miner::{Connection, Driver, DriverError, Urgency};
use crate::units::{Watts, WattsPerSecond};

/// What is known of such a miner before it was spoken with.
pub(in crate::miner) const ABOUT: About = About {
    name: "cgminer-readonly",
    needs_password: true,
    new: |connection, _| Box::new(CgminerReadOnly::new(connection)),
    // Never commanded: the response only says how its reading may be expected to move, and is that of a
    // cautious guess.
    traits: Traits {
        quantum: Quantum::Watts(Watts::whole(1)),
        class: Class::ReadOnly,
        restarts: false,
        persists: true,
        answers: AnswerWithin::NONE,
        response: Response {
            dead_time_down: Duration::from_secs(5),
            dead_time_up: Duration::from_secs(5),
            ramp_down: WattsPerSecond::whole(100),
            ramp_up: WattsPerSecond::whole(20),
            start_time: Duration::from_secs(300),
            starts_at_full: true,
            start_overshoot: 0.05,
            caps: false,
        },
        cost: ChangeCost {
            adjust: Duration::from_secs(60),
            sleep: Duration::from_secs(300),
            min_interval: Duration::from_secs(60),
        },
        port: 4028,
        username: None,
    },
};

/// A miner that does not hash counts as starting for so long after its software started, in seconds; afterwards
/// nobody can tell from here why it does not.
const START_TIME: f64 = 900.0;

/// The hashrates of one window, each with the hashes a second that it counts.
macro_rules! window {
    ($name:literal) => {
        [
            (concat!("GHS ", $name), 1e9),
            (concat!("MHS ", $name), 1e6),
            (concat!("THS ", $name), 1e12),
            (concat!("KHS ", $name), 1e3),
            (concat!("HS ", $name), 1e6),
        ]
    };
}

/// The averages that firmware has, from the shortest on.
const RATES: [[(&str, f64); 5]; 7] = [
    window!("RT"),
    window!("5s"),
    window!("20s"),
    window!("30s"),
    window!("1m"),
    window!("5m"),
    window!("av"),
];

/// Everything that this driver can say to a miner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Version,
    Summary,
    Stats,
    Power,
    TunerStatus,
}

impl Request {
    const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Summary => "summary",
            Self::Stats => "stats",
            Self::Power => "power",
            Self::TunerStatus => "tunerstatus",
        }
    }
}

/// Where a firmware tells its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Summary,
    Other { request: Request, section: &'static str, field: &'static str },
}

impl Source {
    /// By the keys and words of `version`.
    fn of(version: &Value) -> Self {
        let text = version.to_string().to_ascii_uppercase();
        if text.contains("LUXMINER") {
            Self::Other { request: Request::Power, section: "POWER", field: "Watts" }
        } else if text.contains("BOSER") || text.contains("BOSMINER") {
            Self::Other {
                request: Request::TunerStatus,
                section: "TUNERSTATUS",
                field: "ApproximateMinerPowerConsumption",
            }
        } else if text.contains("BDMINER") {
            Self::Other { request: Request::Stats, section: "STATS", field: "PSU Input Power" }
        } else {
            Self::Summary
        }
    }
}

/// Reads one miner.
pub struct CgminerReadOnly {
    rpc: Rpc,
    source: Option<Source>,
    /// It hashes something else than Bitcoin, by the name of its model.
    foreign: bool,
    elapsed: Option<f64>,
}

impl CgminerReadOnly {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Self {
        Self { rpc: Rpc::new(connection), source: None, foreign: false, elapsed: None }
    }

    async fn ask(&self, request: Request) -> Result<Reply, DriverError> {
        self.rpc.ask(request.name(), &json!({ "command": request.name() })).await
    }

    /// Where it tells its power. Asked once, and again after a restart: the firmware may be another one.
    async fn source(&mut self) -> Result<Source, DriverError> {
        if let Some(source) = self.source {
            return Ok(source);
        }
        let reply = self.ask(Request::Version).await?;
        // Firmware without `version` still has `summary`.
        let version = reply.row("VERSION").unwrap_or(&Value::Null);
        let source = Source::of(version);
        self.foreign = ["Type", "Model", "PROD"]
            .iter()
            .any(|key| fields::text(version, key).is_some_and(|model| !models::hashes_bitcoin(model)));
        self.source = Some(source);
        Ok(source)
    }

    /// The draw, where it is told outside of `summary`.
    async fn power(&self, source: Source) -> Result<Option<Measured<Watts>>, DriverError> {
        let Source::Other { request, section, field } = source else { return Ok(None) };
        let reply = self.ask(request).await?;
        let watts = reply.row(section).ok().and_then(|row| fields::number(row, field));
        // This firmware has the value: where it is missing it is so for now.
        Ok(Some(fields::watts(watts.filter(|_| reply.is_success()), true)))
    }
}

/// The shortest average that is there and fits the others, in hashes a second. Where a firmware writes the same window in
/// two units they mean the same.
pub(crate) fn hashrate(summary: &Value) -> Option<f64> {
    fields::agreed(
        RATES.iter().flatten().map(|(key, factor)| fields::number(summary, key).map(|rate| rate * factor)),
    )
}

/// What `summary` means, without memory.
pub(crate) fn said(summary: &Value) -> Said {
    let rate = hashrate(summary);
    let elapsed = fields::number(summary, "Elapsed");
    let powers = ["Power_RT", "Power"];
    Said {
        power: fields::watts(
            fields::first_number(summary, &powers),
            summary.is_null() || fields::is_there(summary, &powers),
        ),
        hashrate: fields::hashes(rate, summary.is_null()),
        activity: match rate {
            Some(rate) if rate > 0.0 => Activity::Hashing,
            Some(_) if elapsed.is_some_and(|seconds| seconds < START_TIME) => Activity::Starting,
            _ => Activity::Unknown,
        },
    }
}

/// All readers of this driver, for the fuzz targets.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_all(reply: &Value) -> Vec<Said> {
    let _ = reply.pointer("/VERSION/0").map(Source::of);
    vec![said(reply.pointer("/SUMMARY/0").unwrap_or(reply))]
}

#[async_trait]
impl Driver for CgminerReadOnly {
    async fn read(&mut self) -> Result<MinerStatus, DriverError> {
        let name = Request::Summary.name();
        let source = self.source().await?;
        let reply = self.ask(Request::Summary).await?;
        if !reply.is_success() {
            return Err(self.rpc.refusal(name, &reply));
        }
        let summary = match reply.row("SUMMARY") {
            Ok(row) => row,
            // There, and without anything to tell now, as while it starts.
            Err(_) if reply.is_empty("SUMMARY") => &Value::Null,
            Err(reason) => return Err(self.rpc.place().malformed(name, reason)),
        };
        let elapsed = fields::number(summary, "Elapsed");
        let Said { power, mut hashrate, activity } = said(summary);
        if self.foreign {
            hashrate = Measured::Unsupported;
        }
        let power = self.power(source).await?.unwrap_or(power);
        if matches!((self.elapsed, elapsed), (Some(before), Some(now)) if now < before) {
            self.source = None;
        }
        self.elapsed = elapsed;
        Ok(MinerStatus {
            power,
            hashrate,
            activity,
            target: Measured::Unsupported,
            range: None,
            points: None,
            uptime: elapsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        })
    }

    /// Refuses without a word on the wire.
    async fn apply(&mut self, _: Target, _: Urgency) -> Result<(), DriverError> {
        Err(self.rpc.place().rejected("a command", Rejection::Unsupported))
    }

    async fn close(&mut self) {
        // Nothing is open between two exchanges.
        self.source = None;
    }
}
