//! ePIC, Avalon, Auradine, SealMiner, Proto, AxeOS, and whatever else speaks the cgminer API.

use serde_json::Value;

use super::antminer::bounds;
use super::{
    GIGA, MEGA, described, first_text, flag, hashrate, limit, mac, number, plausible_watts, serial,
    summary_hashrate, text, watts,
};
use crate::discover::evidence::{Evidence, Question};
use crate::discover::finding::{Finding, Point, State, WarningKind};
use crate::discover::identity::meaningful_serial;

/// Clocks that differ by less are good enough for a command that carries a time.
const CLOCK_TOLERANCE: u64 = 60;

/// A reply's JSON, or nothing.
fn or_null(value: Option<&Value>) -> &Value {
    const NOTHING: &Value = &Value::Null;
    value.unwrap_or(NOTHING)
}

fn hashing(finding: &Finding) -> State {
    match finding.hashrate {
        Some(rate) if rate.get() > 0.0 => State::Hashing,
        _ => State::Unknown,
    }
}

/// ePIC PowerPlay: `/capabilities`, `/summary`, `/network` (asic-rs `meta/epic/*/powerplay.json`).
pub(super) fn epic(finding: &mut Finding, evidence: &Evidence) {
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
    finding.power = watts(summary, "/Power Supply Stats/Input Power");
    // Each board gives its hashrate in MH/s as the first of three numbers.
    let boards = summary.get("HBs").and_then(Value::as_array);
    finding.hashrate = boards.and_then(|boards| {
        let total: f64 = boards.iter().take(16).filter_map(|board| number(board, "/Hashrate/0")).sum();
        hashrate(&Value::from(total), &[""], MEGA)
    });
    finding.state = match text(summary, "/Status/Operating State").as_deref() {
        Some("Mining") => State::Hashing,
        Some("Idling" | "Stopped" | "Idle") => State::Asleep,
        Some(state) if state.contains("Fault") || state.contains("Error") => State::Fault,
        Some(_) => State::Starting,
        None => State::Unknown,
    };
    let presets = able.get("Tune Presets").and_then(Value::as_array);
    for preset in presets.into_iter().flatten().take(100) {
        let rate = hashrate(preset, &["/hashrate"], 1.0).filter(|rate| rate.get() > 0.0);
        if let (Some(power), Some(hashrate)) = (limit(preset, "/power"), rate) {
            finding.points.push(Point { power, hashrate });
        }
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
pub(super) fn avalon(finding: &mut Finding, evidence: &Evidence) {
    let reply = or_null(evidence.api("version"));
    let version = or_null(reply.pointer("/VERSION/0"));
    finding.identity.vendor = Some("Canaan".into());
    finding.identity.model = first_text(version, &["/PROD", "/MODEL"]);
    finding.identity.mac = mac(version, "/MAC");
    finding.identity.serial = serial(version, "/DNA");
    finding.version = first_text(version, &["/VERSION", "/CGVERSION", "/LVERSION"]);
    let stats = evidence
        .api("estats")
        .and_then(|reply| reply.pointer("/STATS/0/MM ID0"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    // The fifth number of PS is the draw in watts.
    finding.power = bracketed(stats, "PS")
        .and_then(|numbers| numbers.split_whitespace().nth(4)?.parse().ok())
        .and_then(plausible_watts);
    finding.hashrate = bracketed(stats, "GHSmm")
        .and_then(|rate| hashrate(&Value::from(rate), &[""], GIGA))
        .or_else(|| summary_hashrate(evidence));
    if finding.identity.serial.is_none() {
        finding.identity.serial = bracketed(stats, "DNA").and_then(meaningful_serial);
    }
    let system = bracketed(stats, "SYSTEMSTATU").unwrap_or_default();
    let soft_off = bracketed(stats, "SoftOFF").is_some_and(|value| value.trim() != "0");
    finding.state = if soft_off || system.contains("Idle") || system.contains("Standby") {
        State::Asleep
    } else if system.contains("In Work") {
        State::Hashing
    } else if system.contains("Init") {
        State::Starting
    } else {
        hashing(finding)
    };
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

/// The text behind `NAME[` and before the next `]`.
fn bracketed<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.find(name) {
        let start = from + found;
        let whole_word =
            text.get(..start)?.chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        let rest = text.get(start + name.len()..)?;
        if let (true, Some(rest)) = (whole_word, rest.strip_prefix('[')) {
            return rest.split(']').next();
        }
        from = start + name.len();
    }
    None
}

/// Auradine FluxOS: its cgminer API tells model and hashrate, the rest needs a token.
pub(super) fn auradine(finding: &mut Finding, evidence: &Evidence) {
    let report = or_null(evidence.private("/ipreport").and_then(|reply| reply.pointer("/IPReport/0")));
    let mode = or_null(evidence.private("/mode").and_then(|reply| reply.pointer("/Mode/0")));
    finding.identity.vendor = Some("Auradine".into());
    finding.identity.model =
        text(report, "/model").or_else(|| text(or_null(evidence.api("devdetails")), "/DEVDETAILS/0/Model"));
    finding.identity.mac = mac(report, "/mac");
    finding.identity.serial = serial(report, "/SerialNo");
    finding.hostname = text(report, "/hostname");
    finding.version = text(report, "/version").or_else(|| described(evidence));
    finding.power = watts(or_null(evidence.private("/psu")), "/PSU/0/PowerIn");
    finding.hashrate = summary_hashrate(evidence);
    finding.state = match flag(mode, "/Sleep") {
        Some(true) => State::Asleep,
        _ => hashing(finding),
    };
}

/// Bitdeer SealMiner: `stats` tells everything.
pub(super) fn sealminer(finding: &mut Finding, evidence: &Evidence) {
    let stats = or_null(evidence.api("stats").and_then(|reply| reply.pointer("/STATS/0")));
    finding.identity.vendor = Some("Bitdeer".into());
    finding.identity.model = text(stats, "/Model").map(|model| {
        if model.to_ascii_lowercase().contains("seal") { model } else { format!("SealMiner {model}") }
    });
    finding.identity.mac = mac(stats, "/MAC");
    finding.identity.serial = serial(stats, "/Ctrl Board SN");
    finding.version = first_text(stats, &["/Firmware", "/Software Version"]);
    finding.power = watts(stats, "/PSU Input Power");
    finding.hashrate = hashrate(stats, &["/MHS(1m)", "/MHS(Sample)", "/MHS(Avg)"], MEGA)
        .or_else(|| summary_hashrate(evidence));
    finding.limits.maximum = limit(stats, "/Power Limit");
    finding.state = match text(stats, "/PM State").as_deref() {
        Some("Running") => State::Hashing,
        Some("Sleep" | "Sleeping" | "Suspend" | "Suspended") => State::Asleep,
        Some("Fault" | "Error") => State::Fault,
        Some(_) => State::Starting,
        None => hashing(finding),
    };
}

/// Proto OS: `/api/v1/system`, `/network`, `/mining`.
pub(super) fn proto(finding: &mut Finding, evidence: &Evidence) {
    let system = or_null(evidence.web("/api/v1/system").and_then(|reply| reply.get("system-info")));
    let network = or_null(evidence.web("/api/v1/network").and_then(|reply| reply.get("network-info")));
    let mining = or_null(evidence.web("/api/v1/mining").and_then(|reply| reply.get("mining-status")));
    finding.identity.vendor = first_text(system, &["/manufacturer"]).or_else(|| Some("Proto".into()));
    finding.identity.model = first_text(system, &["/product_name", "/model"]);
    finding.identity.mac = mac(network, "/mac");
    finding.identity.serial = serial(system, "/cb_sn");
    finding.hostname = text(network, "/hostname").or_else(|| text(system, "/os/hostname"));
    finding.version = text(system, "/os/version");
    finding.power = watts(mining, "/power_usage_watts");
    finding.hashrate = hashrate(mining, &["/hashrate_ghs", "/average_hashrate_ghs"], GIGA);
    finding.state = match text(mining, "/status").as_deref() {
        Some("Mining" | "DegradedMining") => State::Hashing,
        Some("Stopped" | "PoweringOff" | "Uninitialized") => State::Asleep,
        Some("PoweringOn" | "NoPools") => State::Starting,
        Some("Error") => State::Fault,
        _ => State::Unknown,
    };
}

/// AxeOS: `/api/system/info` (ESP-Miner's OpenAPI document); NerdAxe and Lucky Miner write the same.
pub(super) fn axeos(finding: &mut Finding, evidence: &Evidence) {
    let info = or_null(evidence.web("/api/system/info"));
    let model = first_text(info, &["/deviceModel", "/minerModel"]);
    let nerd = model.as_deref().is_some_and(|model| model.contains("Nerd"));
    finding.identity.vendor = Some(if nerd { "NerdAxe" } else { "Bitaxe" }.into());
    // Bitaxe names its chip and the revision of its board.
    finding.identity.model = model.or_else(|| text(info, "/ASICModel").map(|chip| format!("Bitaxe {chip}")));
    finding.identity.mac = mac(info, "/macAddr");
    finding.hostname = text(info, "/hostname");
    finding.version = text(info, "/version");
    finding.power = watts(info, "/power");
    finding.hashrate = hashrate(info, &["/hashRate", "/hashRate_1m"], GIGA);
    finding.limits.maximum = limit(info, "/maxPower");
    finding.state = match flag(info, "/miningPaused").or_else(|| flag(info, "/isPaused")) {
        Some(true) => State::Asleep,
        _ => hashing(finding),
    };
}

/// Something else that speaks the cgminer API.
pub(super) fn cgminer(finding: &mut Finding, evidence: &Evidence) {
    let version = or_null(evidence.api("version").and_then(|reply| reply.pointer("/VERSION/0")));
    finding.identity.model = first_text(version, &["/Type", "/Model", "/PROD"])
        .or_else(|| text(or_null(evidence.api("devdetails")), "/DEVDETAILS/0/Model"));
    finding.version = described(evidence);
    finding.hashrate = summary_hashrate(evidence);
    finding.state = hashing(finding);
}
