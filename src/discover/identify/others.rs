//! ePIC, Avalon, Auradine, SealMiner, Proto, AxeOS, and whatever else speaks the cgminer API.

use serde_json::Value;

use super::antminer::{bounds, point};
use super::{by_summary, described, first_text, limit, mac, number, or_null, power, serial, text};
use crate::discover::evidence::{Evidence, Question};
use crate::discover::finding::{Finding, WarningKind};
use crate::miner::drivers::{auradine, avalon, axeos, epic, proto, sealminer};
use crate::miner::identity::meaningful_serial;

/// Clocks that differ by less are good enough for a command that carries a time.
const CLOCK_TOLERANCE: u64 = 60;

/// ePIC PowerPlay: `/capabilities`, `/summary`, `/network` (asic-rs `meta/epic/*/powerplay.json`).
pub(super) fn epic_umc(finding: &mut Finding, evidence: &Evidence) {
    let able = or_null(evidence.json(Question::Epic("/capabilities")));
    let summary = or_null(evidence.json(Question::Epic("/summary")));
    let network = or_null(evidence.json(Question::Epic("/network")));
    let model = text(able, "/Model").filter(|model| !model.eq_ignore_ascii_case("undefined"));
    let lower = model.as_deref().unwrap_or_default().to_ascii_lowercase();
    let maker = [("antminer", "Bitmain"), ("whatsminer", "MicroBT"), ("volcminer", "VolcMiner")];
    let vendor = maker.into_iter().find(|(word, _)| lower.contains(word)).map_or("ePIC", |(_, maker)| maker);
    finding.identity.vendor = Some(vendor.into());
    finding.identity.model = model;
    finding.identity.mac = mac(network, "/dhcp/mac_address").or_else(|| mac(network, "/static/mac_address"));
    finding.identity.serial =
        serial(able, "/Miner Serial Number").or_else(|| serial(able, "/Control Board Version/cpuSerial"));
    finding.hostname = text(summary, "/Hostname");
    finding.version = text(summary, "/Software");
    if !summary.is_null() {
        finding.take(epic::said(summary, false));
    }
    let presets = able.get("Tune Presets").and_then(Value::as_array);
    for preset in presets.into_iter().flatten().take(100) {
        finding.points.extend(point(limit(preset, "/power"), number(preset, "/hashrate")));
    }
    bounds(finding);
    let tunes = able.get("PerpetualTune").and_then(Value::as_array);
    if let Some(tunes) = tunes
        && !tunes.iter().any(|tune| text(tune, "/algorithm").as_deref() == Some("PowerTune"))
    {
        finding.warn(
            WarningKind::OldFirmware,
            "its firmware has no PowerTune, so it can only be stopped and started: update it to set its power",
        );
    }
}

/// Canaan Avalon: `version`, and `estats` with its fields in brackets.
pub(super) fn canaan(finding: &mut Finding, evidence: &Evidence) {
    let reply = or_null(evidence.api("version"));
    let version = or_null(reply.pointer("/VERSION/0"));
    finding.identity.vendor = Some("Canaan".into());
    finding.identity.model = first_text(version, &["/PROD", "/MODEL"]);
    finding.identity.mac = mac(version, "/MAC");
    finding.identity.serial = serial(version, "/DNA");
    finding.version = first_text(version, &["/VERSION", "/CGVERSION", "/LVERSION"]);
    let estats = or_null(evidence.api("estats"));
    if let Ok(stats) = avalon::Stats::read(estats) {
        finding.take(stats.said(evidence.api("summary").and_then(avalon::summary_rate)));
    } else {
        finding.take(by_summary(evidence));
    }
    if finding.identity.serial.is_none() {
        let rows =
            estats.get("STATS").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
        let texts =
            rows.flatten().filter(|(key, _)| key.starts_with("MM ID")).filter_map(|(_, text)| text.as_str());
        finding.identity.serial =
            texts.take(1).find_map(|text| meaningful_serial(avalon::bracket(text, "DNA")?));
    }
    let theirs = reply.pointer("/STATUS/0/When").and_then(Value::as_u64);
    if let Some(theirs) = theirs
        && evidence.unix_seconds > 0
        && theirs.abs_diff(evidence.unix_seconds) > CLOCK_TOLERANCE
    {
        let way = if theirs < evidence.unix_seconds { "behind" } else { "ahead" };
        finding.warn(
            WarningKind::Clock,
            format!(
                "its clock is {} s {way}; it is put to sleep and woken by a time of its own clock: give it a time server \
                 that it can reach",
                theirs.abs_diff(evidence.unix_seconds)
            ),
        );
    }
}

/// Auradine FluxOS: its cgminer API tells model and hashrate, the rest needs a token.
pub(super) fn fluxos(finding: &mut Finding, evidence: &Evidence) {
    let report = or_null(evidence.private("/ipreport").and_then(|reply| reply.pointer("/IPReport/0")));
    finding.identity.vendor = Some("Auradine".into());
    finding.identity.model =
        text(report, "/model").or_else(|| text(or_null(evidence.api("devdetails")), "/DEVDETAILS/0/Model"));
    finding.identity.mac = mac(report, "/mac");
    finding.identity.serial = serial(report, "/SerialNo");
    finding.hostname = text(report, "/hostname");
    finding.version = text(report, "/version").or_else(|| described(evidence));
    let summary = auradine::Summary::read(or_null(evidence.api("summary")));
    let mode = auradine::Mode::read(or_null(evidence.private("/mode")));
    finding.take(auradine::said(&summary, &mode, evidence.private("/psu").and_then(auradine::supply_power)));
}

/// Bitdeer SealMiner: `stats` tells everything.
pub(super) fn bitdeer(finding: &mut Finding, evidence: &Evidence) {
    let stats = or_null(evidence.api("stats").and_then(|reply| reply.pointer("/STATS/0")));
    finding.identity.vendor = Some("Bitdeer".into());
    finding.identity.model = text(stats, "/Model").map(|model| {
        if model.to_ascii_lowercase().contains("seal") { model } else { format!("SealMiner {model}") }
    });
    finding.identity.mac = mac(stats, "/MAC");
    finding.identity.serial = serial(stats, "/Ctrl Board SN");
    finding.version = first_text(stats, &["/Firmware", "/Software Version"]);
    let said = sealminer::Stats::read(stats);
    finding.limits.maximum = said.limit().and_then(power);
    if stats.is_null() {
        finding.take(by_summary(evidence));
    } else {
        finding.take(said.said(false));
    }
}

/// Proto OS: `/api/v1/system`, `/network`, `/mining`.
pub(super) fn proto_os(finding: &mut Finding, evidence: &Evidence) {
    let system = or_null(evidence.web("/api/v1/system").and_then(|reply| reply.get("system-info")));
    let network = or_null(evidence.web("/api/v1/network").and_then(|reply| reply.get("network-info")));
    finding.identity.vendor = first_text(system, &["/manufacturer"]).or_else(|| Some("Proto".into()));
    finding.identity.model = first_text(system, &["/product_name", "/model"]);
    finding.identity.mac = mac(network, "/mac");
    finding.identity.serial = serial(system, "/cb_sn");
    finding.hostname = text(network, "/hostname").or_else(|| text(system, "/os/hostname"));
    finding.version = text(system, "/os/version");
    if let Some(mining) = evidence.web("/api/v1/mining").and_then(|reply| proto::Mining::read(reply).ok()?) {
        finding.take(mining.said(None, None));
    }
}

/// Another Ballast: `/api/v1/status`, which it tells to its own machine alone without a token.
pub(super) fn ballast(finding: &mut Finding, evidence: &Evidence) {
    let status = or_null(evidence.web("/api/v1/status"));
    finding.identity.vendor = Some("Ballast".into());
    finding.identity.serial = text(status, "/site");
    finding.version = text(status, "/version");
}

/// AxeOS: `/api/system/info` (ESP-Miner's OpenAPI document); NerdAxe and Lucky Miner write the same.
pub(super) fn esp_miner(finding: &mut Finding, evidence: &Evidence) {
    let info = or_null(evidence.web("/api/system/info"));
    let model = first_text(info, &["/deviceModel", "/minerModel"]);
    let nerd = model.as_deref().is_some_and(|model| model.contains("Nerd"));
    finding.identity.vendor = Some(if nerd { "NerdAxe" } else { "Bitaxe" }.into());
    // Bitaxe names its chip and the revision of its board.
    finding.identity.model = model.or_else(|| text(info, "/ASICModel").map(|chip| format!("Bitaxe {chip}")));
    finding.identity.mac = mac(info, "/macAddr");
    finding.hostname = text(info, "/hostname");
    finding.version = text(info, "/version");
    finding.limits.maximum = limit(info, "/maxPower");
    if let Ok(info) = axeos::Info::read(info) {
        finding.take(info.said());
    }
}

/// Something else that speaks the cgminer API.
pub(super) fn cgminer(finding: &mut Finding, evidence: &Evidence) {
    let version = or_null(evidence.api("version").and_then(|reply| reply.pointer("/VERSION/0")));
    finding.identity.model = first_text(version, &["/Type", "/Model", "/PROD"])
        .or_else(|| text(or_null(evidence.api("devdetails")), "/DEVDETAILS/0/Model"));
    finding.version = described(evidence);
    finding.take(by_summary(evidence));
}
