//! Firmware for Bitmain's Antminers: Bitmain's own, and Braiins OS, VNish, LuxOS, MARA.

use serde_json::Value;

use super::{by_summary, described, first_text, limit, mac, number, or_null, power, serial, text};
use crate::discover::evidence::Evidence;
use crate::discover::finding::{Control, Finding, Firmware, Point, State, WarningKind};
use crate::discover::plan::GRAPH;
use crate::miner::drivers::{bitmain_stock, braiins_os, luxos, mara, vnish};
use crate::miner::reply::fields;
use crate::units::Watts;

/// Hardware that these firmwares run on is Bitmain's, unless the model says otherwise.
fn vendor(model: Option<&str>) -> String {
    let model = model.unwrap_or_default().to_ascii_lowercase();
    let maker = [("whatsminer", "MicroBT"), ("braiins", "Braiins"), ("volcminer", "VolcMiner")]
        .into_iter()
        .find(|(word, _)| model.contains(word));
    maker.map_or("Bitmain", |(_, vendor)| vendor).to_owned()
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
    // Without a login its old GraphQL and the cgminer API tell some of it.
    finding.take(braiins_os::said(stats, braiins_os::Details::read(details)));
    let watts = number(graph, "/data/bosminer/info/summary/power/approxConsumptionW");
    finding.power = finding.power.or(watts.and_then(power));
    let megahashes = number(graph, "/data/bosminer/info/workSolver/realHashrate/mhs5S");
    finding.hashrate = finding
        .hashrate
        .or_else(|| fields::hashes(megahashes.map(|rate| rate * 1e6), true).value())
        .or_else(|| by_summary(evidence).hashrate.value());
    if finding.state == State::Unknown && finding.hashrate.is_some_and(|rate| rate.get() > 0.0) {
        finding.state = State::Hashing;
    }
    if let Some((low, high)) = braiins_os::range(constraints) {
        (finding.limits.minimum, finding.limits.maximum) = (power(low), power(high));
    }
    if finding.firmware == Firmware::BraiinsOsOld {
        finding.warn(
            WarningKind::OldFirmware,
            "its Braiins OS is older than 25.07, the first with the REST API that Ballast uses: update it",
        );
    }
}

/// An operating point, where both numbers are those of one.
pub(super) fn point(power: Option<Watts>, terahashes: Option<f64>) -> Option<Point> {
    let rate = fields::hashes(terahashes.map(|rate| rate * 1e12), true).value()?;
    (rate.get() > 0.0).then_some(Point { power: power?, hashrate: rate })
}

/// VNish: `/api/v1/info`, `/summary` and `/perf-summary` need no login (asic-rs `meta/vnish/v1.3.4/api-doc.json`).
pub(super) fn xminer(finding: &mut Finding, evidence: &Evidence) {
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
    if let Some(summary) = evidence.web("/api/v1/summary") {
        let state = vnish::State::read(or_null(miner.get("miner_status")));
        let known = summary.get("miner").filter(|miner| miner.is_object());
        finding.take(vnish::said(known, &state, text(info, "/hr_measure").as_deref()));
    }
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
        if text(preset, "/status").as_deref() == Some("tuned")
            && let Some(step) = vnish::preset_step(preset)
            && step.point.hashrate.get() > 0.0
        {
            finding.points.push(Point { power: step.point.power, hashrate: step.point.hashrate });
        }
    }
}

/// LuxOS: `config`, `power`, `profiles` need no session (Luxor "LuxOS API", read commands).
pub(super) fn luxminer(finding: &mut Finding, evidence: &Evidence) {
    let config = or_null(evidence.api("config").and_then(|reply| reply.pointer("/CONFIG/0")));
    let version = or_null(evidence.api("version").and_then(|reply| reply.pointer("/VERSION/0")));
    let model = text(config, "/Model").or_else(|| text(version, "/Type"));
    finding.identity.vendor = Some(vendor(model.as_deref()));
    finding.identity.model = model;
    finding.identity.mac = mac(config, "/MACAddr");
    finding.identity.serial = serial(config, "/SerialNumber");
    finding.hostname = text(config, "/Hostname");
    finding.version = first_text(version, &["/Miner", "/LUXminer"]);
    let known = luxos::Config::read(config);
    let row = |command, place: &str| or_null(evidence.api(command).and_then(|reply| reply.pointer(place)));
    let readings = luxos::Readings::read(row("summary", "/SUMMARY/0"), row("power", "/POWER/0"));
    if evidence.api("config").is_some() || evidence.api("summary").is_some() {
        finding.take(readings.said(&known, None));
    }
    if known.holds_profile() {
        finding.warn(
            WarningKind::Atm,
            "ATM (advanced thermal management) is on and changes its profile by itself: turn it off on the miner \
             before Ballast sets profiles",
        );
    }
    let profiles = evidence.api("profiles").and_then(|reply| reply.get("PROFILES")).and_then(Value::as_array);
    for profile in profiles.into_iter().flatten().take(100) {
        finding.points.extend(point(limit(profile, "/Watts"), number(profile, "/Hashrate")));
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
    let mode = bitmain_stock::Mode::of(settings);
    let own = evidence.private("/cgi-bin/stats.cgi").unwrap_or(stats);
    let told = bitmain_stock::Stats::read(own).ok().flatten();
    finding.take(match told {
        Some(told) => bitmain_stock::Stats::said(Some(told), mode),
        None if mode.is_some() => bitmain_stock::Stats::said(None, mode),
        None => by_summary(evidence),
    });
    // Without a login nobody can tell a sleeping one from one that starts.
    if mode.is_none() && told.is_none_or(|told| !told.tells_mode()) && finding.state == State::Starting {
        finding.state = State::Unknown;
    }
    if finding.firmware == Firmware::BitmainStock && !has_modes(finding.identity.model.as_deref(), settings) {
        finding.control = Control::ReadOnly;
        finding.warn(
            WarningKind::OldFirmware,
            "its firmware has no modes, so it can be read and not be put to sleep: install one that can, or switch it",
        );
    }
}

/// Whether stock firmware can be put to sleep: by its configuration, where it was seen, else by the model. The S9 and its
/// contemporaries (up to the X17 of 2019) have neither modes nor `stats.cgi`.
fn has_modes(model: Option<&str>, settings: &Value) -> bool {
    if settings.is_object() {
        return bitmain_stock::Mode::of(settings).is_some();
    }
    let lower = model.unwrap_or_default().to_ascii_lowercase();
    let name = lower.trim_start_matches("bitmain ").trim_start_matches("antminer ").trim();
    let number = name.trim_start_matches(|letter: char| letter.is_ascii_alphabetic());
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    let old = |number: u32| number < 19;
    !(name.starts_with(['s', 't', 'r', 'v']) && digits.parse().is_ok_and(old))
}

/// MARA's firmware: the cgminer API tells the model, the rest is behind a digest login.
pub(super) fn kaonsu(finding: &mut Finding, evidence: &Evidence) {
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
    finding.take(if brief.is_null() { by_summary(evidence) } else { mara::said(brief) });
}
