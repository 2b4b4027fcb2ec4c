//! What the answers of a host mean. Pure: from [`Evidence`] to a [`Finding`].
//!
//! The shapes of the answers are those on record in asic-rs (`asic-rs-firmwares/*/src/test/json`) and pyasic; what a
//! device leaves out stays unknown, what is of the wrong type counts as left out.

mod antminer;
mod others;
mod whatsminer;

use std::net::IpAddr;

use serde_json::Value;

use super::evidence::{Evidence, LoginResult};
use super::finding::{Finding, Firmware, WarningKind};
use super::identity::{Mac, meaningful_serial};
use super::plan::recognise;
use super::text::clean;
use crate::units::{Hashrate, Watts};

pub use antminer::braiins_release;

/// No miner draws more; a larger number is nonsense.
const MOST_WATTS: f64 = 100e3;
/// No miner hashes faster, in TH/s.
const MOST_TERAHASHES: f64 = 100e3;

/// What a host is; `None` when it is no miner that anything is known of.
pub fn identify(address: IpAddr, evidence: &Evidence) -> Option<Finding> {
    Some(identify_as(address, recognise(evidence)?, evidence))
}

/// What a host with this firmware is.
pub fn identify_as(address: IpAddr, firmware: Firmware, evidence: &Evidence) -> Finding {
    let mut finding = Finding::new(address, firmware);
    match firmware {
        Firmware::WhatsminerV3 => whatsminer::v3(&mut finding, evidence),
        Firmware::WhatsminerV1 | Firmware::WhatsminerV2 => whatsminer::v2(&mut finding, evidence),
        Firmware::WhatsminerWeb => whatsminer::silent(&mut finding),
        Firmware::BraiinsOs | Firmware::BraiinsOsOld => antminer::braiins(&mut finding, evidence),
        Firmware::Vnish => antminer::vnish(&mut finding, evidence),
        Firmware::LuxOs => antminer::luxos(&mut finding, evidence),
        Firmware::BitmainStock | Firmware::Hiveon | Firmware::Msk => antminer::stock(&mut finding, evidence),
        Firmware::Mara => antminer::mara(&mut finding, evidence),
        Firmware::Epic => others::epic(&mut finding, evidence),
        Firmware::Avalon => others::avalon(&mut finding, evidence),
        Firmware::Auradine => others::auradine(&mut finding, evidence),
        Firmware::SealMiner => others::sealminer(&mut finding, evidence),
        Firmware::Proto => others::proto(&mut finding, evidence),
        Firmware::AxeOs => others::axeos(&mut finding, evidence),
        Firmware::Cgminer => others::cgminer(&mut finding, evidence),
    }
    if finding.identity.mac.is_none() {
        finding.identity.mac = evidence.neighbour;
    }
    logins(&mut finding, evidence);
    finding.points.sort_by(|a, b| a.power.total_cmp(&b.power));
    finding
}

fn logins(finding: &mut Finding, evidence: &Evidence) {
    if evidence.logins.account == Some(LoginResult::Refused) {
        finding.warn(
            WarningKind::Account,
            "it refuses the account that was given; check --credentials for this driver",
        );
    }
    finding.default_password_checked =
        matches!(evidence.logins.default, Some(LoginResult::Accepted | LoginResult::Refused));
    if evidence.logins.default == Some(LoginResult::Accepted) {
        finding.warn(
            WarningKind::DefaultPassword,
            "it lets anybody in with the vendor's default password; change it on the miner",
        );
    }
}

/// A text at a place, made fit for printing; `None` for anything else.
fn text(value: &Value, place: &str) -> Option<String> {
    value.pointer(place).and_then(Value::as_str).and_then(clean)
}

/// The first of several texts that is there.
fn first_text(value: &Value, places: &[&str]) -> Option<String> {
    places.iter().find_map(|place| text(value, place))
}

/// A finite number at a place, also where it is written as text with or without a unit behind it.
fn number(value: &Value, place: &str) -> Option<f64> {
    let number = match value.pointer(place)? {
        Value::String(text) => {
            let text = text.trim();
            let end = text
                .find(|character: char| !character.is_ascii_digit() && !matches!(character, '.' | '-'))
                .unwrap_or(text.len());
            text.get(..end)?.parse().ok()
        }
        other => other.as_f64(),
    };
    number.filter(|number: &f64| number.is_finite())
}

/// A power at a place that a miner can have.
fn watts(value: &Value, place: &str) -> Option<Watts> {
    plausible_watts(number(value, place)?)
}

fn plausible_watts(watts: f64) -> Option<Watts> {
    (0.0..=MOST_WATTS).contains(&watts).then(|| Watts::saturating(watts))
}

/// A power limit: zero stands for none.
fn limit(value: &Value, place: &str) -> Option<Watts> {
    watts(value, place).filter(|watts| *watts > Watts::ZERO)
}

/// A hashrate at the first of several places that has one; `unit` is what its number counts, in TH/s.
fn hashrate(value: &Value, places: &[&str], unit: f64) -> Option<Hashrate> {
    let terahashes = places.iter().find_map(|place| number(value, place))? * unit;
    (0.0..=MOST_TERAHASHES).contains(&terahashes).then(|| Hashrate::terahashes(terahashes))
}

/// A hardware address at a place.
fn mac(value: &Value, place: &str) -> Option<Mac> {
    value.pointer(place)?.as_str()?.parse().ok()
}

/// A serial number at a place.
fn serial(value: &Value, place: &str) -> Option<String> {
    meaningful_serial(value.pointer(place)?.as_str()?)
}

/// A truth value in the ways in which vendors write one.
fn flag(value: &Value, place: &str) -> Option<bool> {
    match value.pointer(place)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "enable" | "enabled" | "yes" | "on" => Some(true),
            "false" | "0" | "disable" | "disabled" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The unit of the cgminer API's `MHS` fields, in TH/s.
const MEGA: f64 = 1e-6;
/// The unit of the cgminer API's `GHS` fields, in TH/s.
const GIGA: f64 = 1e-3;

/// The hashrate of the cgminer API's `summary`, in whichever unit its field is named for.
fn summary_hashrate(evidence: &Evidence) -> Option<Hashrate> {
    let summary = evidence.api("summary")?.pointer("/SUMMARY/0")?;
    hashrate(summary, &["/HS RT", "/MHS 1m", "/MHS 5s", "/MHS av"], MEGA)
        .or_else(|| hashrate(summary, &["/GHS 1m", "/GHS 5s", "/GHS av"], GIGA))
}

/// The words in which a cgminer describes itself, such as `LUXminer 2025.4.8`.
fn described(evidence: &Evidence) -> Option<String> {
    text(evidence.api("version")?, "/STATUS/0/Description")
}
