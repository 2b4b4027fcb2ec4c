//! Firmware for Bitmain's Antminers: Bitmain's own, and Braiins OS, VNish, LuxOS, MARA.

use serde_json::Value;

use super::{
    GIGA, described, first_text, flag, hashrate, limit, mac, number, serial, summary_hashrate, text, watts,
};
use crate::discover::evidence::Evidence;
use crate::discover::finding::{Finding, Point, State, WarningKind};
use crate::discover::plan::GRAPH;
use crate::units::{Hashrate, Watts};

/// Hardware that these firmwares run on is Bitmain's, unless the model says otherwise.
fn vendor(model: Option<&str>) -> String {
    let model = model.unwrap_or_default().to_ascii_lowercase();
    let maker = [("whatsminer", "MicroBT"), ("braiins", "Braiins"), ("volcminer", "VolcMiner")]
        .into_iter()
        .find(|(word, _)| model.contains(word));
    maker.map_or("Bitmain", |(_, vendor)| vendor).to_owned()
}

/// A reply's JSON, or nothing.
fn or_null(value: Option<&Value>) -> &Value {
    const NOTHING: &Value = &Value::Null;
    value.unwrap_or(NOTHING)
}

/// Year and month of a Braiins OS release, such as (25, 7); from the login-free GraphQL, or from the details.
pub fn braiins_release(evidence: &Evidence) -> Option<(u32, u32)> {
    // "2026-04-14-0-00000000-25.07-plus": a date, a build, the release.
    let full = braiins_version(evidence)?;
    full.split('-').rev().find_map(|part| {
        let (year, rest) = part.split_once('.')?;
        let month = rest.split('.').next()?;
        let short = |text: &str| (text.len() == 2).then(|| text.parse().ok()).flatten();
        Some((short(year)?, short(month)?))
    })
}

fn braiins_version(evidence: &Evidence) -> Option<String> {
    evidence
        .private("/api/v1/miner/details")
        .and_then(|details| text(details, "/bos_version/current"))
        .or_else(|| text(evidence.json(GRAPH)?, "/data/bos/info/version/full"))
}

/// Braiins OS. Without a login its old GraphQL and the cgminer API tell something; hardware address and serial
/// number need the account.
pub(super) fn braiins(finding: &mut Finding, evidence: &Evidence) {
    let details = or_null(evidence.private("/api/v1/miner/details"));
    let stats = or_null(evidence.private("/api/v1/miner/stats"));
    let constraints = or_null(evidence.private("/api/v1/configuration/constraints"));
    let graph = or_null(evidence.json(GRAPH));
    let model = first_text(details, &["/miner_identity/miner_model", "/miner_identity/name"])
        .or_else(|| text(graph, "/data/bosminer/info/modelName"))
        .or_else(|| text(or_null(evidence.api("devdetails")), "/DEVDETAILS/0/Model"));
    finding.identity.vendor = Some(vendor(model.as_deref()));
    finding.identity.model = model;
    finding.identity.mac = mac(details, "/mac_address");
    finding.identity.serial = serial(details, "/serial_number");
    finding.hostname = text(details, "/hostname").or_else(|| text(graph, "/data/bos/hostname"));
    finding.version = match braiins_release(evidence) {
        Some((year, month)) => Some(format!("{year}.{month:02}")),
        None => braiins_version(evidence),
    };
    finding.power = watts(stats, "/power_stats/approximated_consumption/watt")
        .or_else(|| watts(graph, "/data/bosminer/info/summary/power/approxConsumptionW"));
    finding.hashrate = hashrate(stats, &["/miner_stats/real_hashrate/last_1m/gigahash_per_second"], GIGA)
        .or_else(|| hashrate(graph, &["/data/bosminer/info/workSolver/realHashrate/mhs5S"], super::MEGA))
        .or_else(|| summary_hashrate(evidence));
    let target = "/tuner_constraints/power_target";
    finding.limits.minimum = limit(constraints, &format!("{target}/min/watt"));
    finding.limits.maximum = limit(constraints, &format!("{target}/max/watt"));
    // `status` of the details: 1 not started, 2 normal, 3 paused, 4 suspended, 5 restricted (Braiins public API).
    finding.state = match number(details, "/status").map(f64::round) {
        Some(status) if (2.0..=2.0).contains(&status) => State::Hashing,
        Some(status) if (3.0..=4.0).contains(&status) => State::Asleep,
        _ => by_hashrate(finding.hashrate),
    };
    if finding.firmware == crate::discover::Firmware::BraiinsOsOld {
        finding.warn(
            WarningKind::OldFirmware,
            "its Braiins OS is older than 25.07, the first with the REST API that Ballast uses: update it",
        );
    }
}

fn by_hashrate(rate: Option<Hashrate>) -> State {
    match rate {
        Some(rate) if rate.get() > 0.0 => State::Hashing,
        _ => State::Unknown,
    }
}

/// VNish: `/api/v1/info`, `/summary` and `/perf-summary` need no login (asic-rs `meta/vnish/v1.3.4/api-doc.json`).
pub(super) fn vnish(finding: &mut Finding, evidence: &Evidence) {
    let info = or_null(evidence.web("/api/v1/info"));
    let miner = or_null(evidence.web("/api/v1/summary").and_then(|summary| summary.get("miner")));
    let model = text(info, "/miner")
        .or_else(|| text(or_null(evidence.api("version")), "/VERSION/0/Type"))
        .or_else(|| text(miner, "/miner_type"));
    finding.identity.vendor = Some(vendor(model.as_deref()));
    finding.identity.model = model;
    finding.identity.mac = mac(info, "/system/network_status/mac");
    finding.identity.serial = serial(info, "/serial");
    finding.hostname = text(info, "/system/network_status/hostname");
    finding.version = text(info, "/fw_version");
    finding.power = watts(miner, "/power_consumption").or_else(|| watts(miner, "/power_usage"));
    finding.hashrate =
        hashrate(miner, &["/hr_realtime", "/instant_hashrate", "/hr_average"], vnish_unit(info));
    finding.state = match text(miner, "/miner_status/miner_state").as_deref() {
        Some("mining") => State::Hashing,
        Some("stopped" | "shutting-down") => State::Asleep,
        Some("initializing" | "starting" | "auto-tuning" | "restarting") => State::Starting,
        Some("failure") => State::Fault,
        _ => State::Unknown,
    };
    if let Some(version) = &finding.version {
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let release = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if release < (1, 2) {
            let text = format!("VNish {version} is older than 1.2: update it before it is controlled");
            finding.warn(WarningKind::OldFirmware, text);
        }
    }
    let preset = or_null(evidence.web("/api/v1/perf-summary").and_then(|perf| perf.get("current_preset")));
    let list = evidence.private("/api/v1/autotune/presets").and_then(Value::as_array);
    if text(preset, "/status").as_deref() == Some("untuned") {
        let name = text(preset, "/name").unwrap_or_default();
        finding.warn(
            WarningKind::Untuned,
            format!(
                "its preset {name} was never tuned: tune the presets that Ballast may use, from the top down"
            ),
        );
    } else if let Some(list) = list {
        let is_tuned = |preset: &&Value| text(preset, "/status").as_deref() == Some("tuned");
        let tuned = list.iter().filter(is_tuned).count();
        if tuned < 2 {
            finding.warn(
                WarningKind::Untuned,
                format!("{tuned} of its {} presets are tuned: tune those that Ballast may use", list.len()),
            );
        }
    }
    for preset in list.into_iter().flatten().take(100) {
        // The name of a preset is its power in watts; "3495 watt ~ 132 TH" is for people.
        let tuned = text(preset, "/status").as_deref() == Some("tuned");
        let power =
            number(preset, "/name").and_then(super::plausible_watts).filter(|power| *power > Watts::ZERO);
        let rate = text(preset, "/pretty").and_then(|pretty| {
            let (_, rate) = pretty.split_once('~')?;
            rate.split_whitespace().next()?.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0)
        });
        if let (true, Some(power), Some(rate)) = (tuned, power, rate) {
            finding.points.push(Point { power, hashrate: Hashrate::terahashes(rate) });
        }
    }
}

/// VNish says in `hr_measure` what its hashrates count: `GH/s` or `TH/s`.
fn vnish_unit(info: &Value) -> f64 {
    match text(info, "/hr_measure").as_deref() {
        Some("TH/s") => 1.0,
        Some("MH/s") => super::MEGA,
        _ => GIGA,
    }
}

/// LuxOS: `config`, `power`, `profiles` need no session (Luxor "LuxOS API", read commands).
pub(super) fn luxos(finding: &mut Finding, evidence: &Evidence) {
    let config = or_null(evidence.api("config").and_then(|reply| reply.pointer("/CONFIG/0")));
    let version = or_null(evidence.api("version").and_then(|reply| reply.pointer("/VERSION/0")));
    let model = text(config, "/Model").or_else(|| text(version, "/Type"));
    finding.identity.vendor = Some(vendor(model.as_deref()));
    finding.identity.model = model;
    finding.identity.mac = mac(config, "/MACAddr");
    finding.identity.serial = serial(config, "/SerialNumber");
    finding.hostname = text(config, "/Hostname");
    finding.version = first_text(version, &["/Miner", "/LUXminer"]);
    finding.power = watts(or_null(evidence.api("power")), "/POWER/0/Watts");
    finding.hashrate = summary_hashrate(evidence);
    let curtailed = text(config, "/CurtailMode").map(|mode| mode.eq_ignore_ascii_case("sleep"));
    finding.state = match curtailed {
        Some(true) => State::Asleep,
        _ => by_hashrate(finding.hashrate),
    };
    if flag(config, "/IsAtmEnabled") == Some(true) {
        finding.warn(
            WarningKind::Atm,
            "ATM (advanced thermal management) is on and changes its profile by itself: turn it off on the miner \
             before Ballast sets profiles",
        );
    }
    let profiles = evidence.api("profiles").and_then(|reply| reply.get("PROFILES")).and_then(Value::as_array);
    for profile in profiles.into_iter().flatten().take(100) {
        let rate = hashrate(profile, &["/Hashrate"], 1.0).filter(|rate| rate.get() > 0.0);
        if let (Some(power), Some(hashrate)) = (limit(profile, "/Watts"), rate) {
            finding.points.push(Point { power, hashrate });
        }
    }
    bounds(finding);
}

/// The lowest and highest of the points are the limits.
pub(super) fn bounds(finding: &mut Finding) {
    let powers = || finding.points.iter().map(|point| point.power);
    let (low, high) = (powers().reduce(Watts::min), powers().reduce(Watts::max));
    finding.limits.minimum = low;
    finding.limits.maximum = high;
}

/// Bitmain's own firmware, and those that leave its API as it is. Without a login it tells model and hashrate.
pub(super) fn stock(finding: &mut Finding, evidence: &Evidence) {
    let info = or_null(evidence.private("/cgi-bin/get_system_info.cgi"));
    let settings = or_null(evidence.private("/cgi-bin/get_miner_conf.cgi"));
    let version = or_null(evidence.api("version").and_then(|reply| reply.pointer("/VERSION/0")));
    let stats = or_null(evidence.api("stats"));
    let model =
        text(info, "/minertype").or_else(|| text(version, "/Type")).or_else(|| text(stats, "/STATS/0/Type"));
    finding.identity.vendor = Some(vendor(model.as_deref()));
    finding.identity.model = model;
    finding.identity.mac = mac(info, "/macaddr");
    finding.identity.serial = serial(info, "/serinum");
    finding.hostname = text(info, "/hostname");
    finding.version = text(info, "/system_filesystem_version")
        .or_else(|| first_text(version, &["/CompileTime", "/Miner"]))
        .or_else(|| text(stats, "/STATS/0/CompileTime"));
    finding.hashrate =
        summary_hashrate(evidence).or_else(|| hashrate(stats, &["/STATS/1/GHS 5s", "/STATS/1/GHS av"], GIGA));
    // 1 is sleep, 0 and 3 are modes of work (asic-rs, pyasic).
    let mode = number(settings, "/miner-mode").or_else(|| number(settings, "/bitmain-work-mode"));
    finding.state = match mode.map(f64::round) {
        Some(mode) if (1.0..=1.0).contains(&mode) => State::Asleep,
        _ => by_hashrate(finding.hashrate),
    };
}

/// MARA's firmware: the cgminer API tells the model, the rest is behind a digest login.
pub(super) fn mara(finding: &mut Finding, evidence: &Evidence) {
    let overview = or_null(evidence.private("/kaonsu/v1/overview"));
    let brief = or_null(evidence.private("/kaonsu/v1/brief"));
    let network = or_null(evidence.private("/kaonsu/v1/network_config"));
    let version = or_null(evidence.api("version").and_then(|reply| reply.pointer("/VERSION/0")));
    let model = text(overview, "/model").or_else(|| first_text(version, &["/Model", "/Type"]));
    finding.identity.vendor = Some(vendor(model.as_deref()));
    finding.identity.model = model;
    finding.identity.mac = mac(overview, "/mac");
    finding.hostname = text(network, "/hostname");
    finding.version = text(overview, "/version_firmware").or_else(|| described(evidence));
    finding.power = watts(brief, "/power_consumption_estimated");
    finding.hashrate = hashrate(brief, &["/hashrate_realtime"], 1.0).or_else(|| summary_hashrate(evidence));
    finding.state = match text(brief, "/status").as_deref() {
        Some("Mining") => State::Hashing,
        Some("Sleep" | "Sleeping") => State::Asleep,
        Some(_) => State::Unknown,
        None => by_hashrate(finding.hashrate),
    };
}
