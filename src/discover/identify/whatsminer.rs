//! MicroBT Whatsminers.

use serde_json::Value;

use super::{first_text, mac, serial, text};
use crate::discover::evidence::Evidence;
use crate::discover::finding::{Finding, Firmware, WarningKind};
use crate::miner::drivers::{whatsminer_v2, whatsminer_v3};

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
    let status = evidence.framed("get.miner.status").and_then(whatsminer_v3::Summary::read);
    let told = whatsminer_v3::Info::read(info);
    finding.limits.maximum = whatsminer_v3::limit(status.as_ref(), &told);
    finding.take(whatsminer_v3::said(status.as_ref(), &told));
    if told.writable() == Some(false) {
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
    let values = evidence.api("summary").and_then(|reply| whatsminer_v2::Summary::read(reply).ok().flatten());
    let switch = whatsminer_v2::Switch::read(status);
    finding.limits.maximum = whatsminer_v2::limit(values.as_ref(), &switch);
    // Without either answer nothing is known, which is not the same as nothing to tell.
    if evidence.api("summary").is_some() || evidence.api("status").is_some() {
        finding.take(whatsminer_v2::said(values.as_ref(), &switch));
    }
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
