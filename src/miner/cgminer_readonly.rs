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

use super::fields::{self, measured};
use super::rpc::{Reply, Rpc};
use super::{Connection, Driver, DriverError, Urgency};
use crate::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use crate::units::{Hashrate, Watts};

/// A miner that does not hash counts as starting for so long after its software started, in seconds; afterwards
/// nobody can tell from here why it does not.
const START_TIME: f64 = 900.0;

/// The averages that firmware has, from the shortest on.
const WINDOWS: [&str; 7] = ["RT", "5s", "20s", "30s", "1m", "5m", "av"];
/// The prefixes of its hashrates, in hashes a second.
const PREFIXES: [(&str, f64); 5] = [("GHS", 1e9), ("MHS", 1e6), ("THS", 1e12), ("KHS", 1e3), ("HS", 1e6)];

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
    elapsed: Option<f64>,
}

impl CgminerReadOnly {
    /// For one miner. Nothing is sent yet.
    pub fn new(connection: &Connection) -> Self {
        Self { rpc: Rpc::new(connection), source: None, elapsed: None }
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
        let source = reply.row("VERSION").map_or(Source::Summary, Source::of);
        self.source = Some(source);
        Ok(source)
    }

    async fn power(&self, source: Source, summary: &Value) -> Result<Measured<Watts>, DriverError> {
        let (request, section, field) = match source {
            Source::Summary => {
                let watts = fields::first_number(summary, &["Power_RT", "Power"])
                    .map_err(|reason| self.rpc.place().malformed(Request::Summary.name(), reason))?;
                return Ok(measured(watts, false, Watts::saturating));
            }
            Source::Other { request, section, field } => (request, section, field),
        };
        let reply = self.ask(request).await?;
        if !reply.is_success() {
            return Ok(Measured::Unavailable);
        }
        let watts = reply
            .row(section)
            .and_then(|row| fields::number(row, field))
            .map_err(|reason| self.rpc.place().malformed(request.name(), reason))?;
        // This firmware has the value: where it is missing it is so for now.
        Ok(measured(watts, true, Watts::saturating))
    }
}

/// The shortest average that is there, in hashes a second. Where a firmware writes the same window in two units they
/// mean the same.
fn hashrate(summary: &Value) -> Result<Option<f64>, String> {
    for window in WINDOWS {
        for (prefix, factor) in PREFIXES {
            if let Some(rate) = fields::number(summary, &format!("{prefix} {window}"))? {
                return Ok(Some(rate * factor));
            }
        }
    }
    Ok(None)
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
        let malformed = |reason| self.rpc.place().malformed(name, reason);
        let summary = reply.row("SUMMARY").map_err(malformed)?;
        let rate = hashrate(summary).map_err(malformed)?;
        let elapsed = fields::number(summary, "Elapsed").map_err(malformed)?;
        let power = self.power(source, summary).await?;
        if matches!((self.elapsed, elapsed), (Some(before), Some(now)) if now < before) {
            self.source = None;
        }
        self.elapsed = elapsed;
        let activity = match rate {
            Some(rate) if rate > 0.0 => Activity::Hashing,
            Some(_) if elapsed.is_some_and(|seconds| seconds < START_TIME) => Activity::Starting,
            _ => Activity::Unknown,
        };
        Ok(MinerStatus {
            power,
            hashrate: measured(rate, false, Hashrate::saturating),
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
