//! MicroBT Whatsminers.

use serde_json::Value;

use super::{first_text, flag, hashrate, limit, mac, number, serial, summary_hashrate, text, watts};
use crate::discover::evidence::Evidence;
use crate::discover::finding::{Finding, Firmware, State, WarningKind};

const VENDOR: &str = "MicroBT";

/// API 3: `get.device.info` and `get.miner.status` (MicroBT "WhatsMiner API 3.0").
pub(super) fn v3(finding: &mut Finding, evidence: &Evidence) {
    let nothing = Value::Null;
    let info = evidence.framed("get.device.info").unwrap_or(&nothing);
    finding.identity.vendor = Some(VENDOR.into());
    finding.identity.model = text(info, "/miner/type");
    finding.identity.mac = mac(info, "/network/mac");
    finding.identity.serial = serial(info, "/miner/miner-sn");
    finding.hostname = text(info, "/network/hostname");
    finding.version = text(info, "/system/fwversion");
    let faulty = info.get("error-code").and_then(Value::as_array).is_some_and(|errors| {
        errors.iter().any(|error| error.as_object().is_some_and(|map| !map.is_empty()))
    });
    finding.limits.maximum = limit(info, "/miner/power-limit-set");
    if let Some(summary) = evidence.framed("get.miner.status").and_then(|status| status.get("summary")) {
        finding.power = watts(summary, "/power-realtime").or_else(|| watts(summary, "/power-5min"));
        finding.hashrate = hashrate(summary, &["/hash-realtime", "/hash-1min", "/hash-average"], 1.0);
        finding.limits.maximum = limit(summary, "/power-limit").or(finding.limits.maximum);
    }
    finding.state = match flag(info, "/miner/working") {
        Some(true) if finding.hashrate.is_none_or(|rate| rate.get() > 0.0) => State::Hashing,
        Some(true) => State::Starting,
        Some(false) if faulty => State::Fault,
        Some(false) => State::Asleep,
        None => State::Unknown,
    };
    if flag(info, "/system/apiswitch") == Some(false) {
        finding.warn(
            WarningKind::WriteDisabled,
            "its write API is off: change the password of the account, then enable the API with WhatsMinerTool",
        );
    }
}

/// API 2 and before: `get_version`, `get_miner_info`, `devdetails`, `summary`, `status` (MicroBT API 2.0.x document).
pub(super) fn v2(finding: &mut Finding, evidence: &Evidence) {
    let nothing = Value::Null;
    let reply = |command| evidence.api(command).unwrap_or(&nothing);
    let (version, info, status) = (reply("get_version"), reply("get_miner_info"), reply("status"));
    let summary = reply("summary").pointer("/SUMMARY/0").unwrap_or(&nothing);
    finding.identity.vendor = Some(VENDOR.into());
    finding.identity.model = text(reply("devdetails"), "/DEVDETAILS/0/Model");
    finding.identity.mac = mac(info, "/Msg/mac").or_else(|| mac(summary, "/MAC"));
    finding.identity.serial = serial(info, "/Msg/minersn");
    finding.hostname = text(info, "/Msg/hostname");
    finding.version = text(version, "/Msg/fw_ver")
        .or_else(|| first_text(status, &["/Msg/FirmwareVersion", "/Msg/Firmware Version"]))
        .or_else(|| text(summary, "/Firmware Version"))
        // Some firmware puts the version into quotation marks of its own.
        .map(|version| version.trim_matches('\'').to_owned());
    finding.power = watts(summary, "/Power");
    finding.hashrate = summary_hashrate(evidence);
    finding.limits.maximum = limit(summary, "/Power Limit").or_else(|| limit(status, "/Msg/power_limit_set"));
    let off = flag(status, "/Msg/mineroff").or_else(|| flag(status, "/Msg/btmineroff"));
    let hashing = number(summary, "/HS RT").or_else(|| number(summary, "/MHS av")).map(|rate| rate > 0.0);
    finding.state = match (off, hashing) {
        (Some(true), _) => State::Asleep,
        (_, Some(true)) => State::Hashing,
        (Some(false), Some(false)) => State::Starting,
        _ => State::Unknown,
    };
    if finding.firmware == Firmware::WhatsminerV1 {
        finding.warn(
            WarningKind::OldFirmware,
            "its firmware has API 1, which takes no commands: install one with API 2 (2021 or later)",
        );
    }
}

/// A web interface like a Whatsminer's, and APIs that say nothing.
pub(super) fn silent(finding: &mut Finding) {
    finding.identity.vendor = Some(VENDOR.into());
    finding.warn(
        WarningKind::Silent,
        "its web page looks like a Whatsminer's, but its API does not answer: enable it with WhatsMinerTool, or \
         restart the miner",
    );
}
