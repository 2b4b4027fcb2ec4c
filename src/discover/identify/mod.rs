//! What the answers of a host mean. Pure: from [`Evidence`] to a [`Finding`].
//!
//! Draw, hashrate and state are read by the readers of the drivers; here stands what only discovery wants: names, limits,
//! warnings. The shapes of the answers are those on record in asic-rs (`asic-rs-firmwares/*/src/test/json`) and pyasic;
//! what a device leaves out stays unknown, what is of the wrong type counts as left out.

mod antminer;
mod others;
mod whatsminer;

use std::net::IpAddr;

use serde_json::Value;

use super::evidence::{Evidence, LoginResult};
use super::finding::{Control, Finding, Firmware, WarningKind};
use super::plan::recognise;
use crate::miner::drivers::cgminer_readonly;
use crate::miner::identity::{Mac, meaningful_serial};
use crate::miner::reply::fields;
use crate::miner::reply::models::other_algorithm as other_algorithm_of;
use crate::miner::reply::said::Said;
use crate::miner::reply::text::clean;
use crate::units::Watts;

pub use antminer::braiins_release;

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
        Firmware::Vnish => antminer::xminer(&mut finding, evidence),
        Firmware::LuxOs => antminer::luxminer(&mut finding, evidence),
        Firmware::BitmainStock | Firmware::Hiveon | Firmware::Msk => antminer::stock(&mut finding, evidence),
        Firmware::Mara => antminer::kaonsu(&mut finding, evidence),
        Firmware::Epic => others::epic_umc(&mut finding, evidence),
        Firmware::Avalon => others::canaan(&mut finding, evidence),
        Firmware::Auradine => others::fluxos(&mut finding, evidence),
        Firmware::SealMiner => others::bitdeer(&mut finding, evidence),
        Firmware::Proto => others::proto_os(&mut finding, evidence),
        Firmware::Ballast => others::ballast(&mut finding, evidence),
        Firmware::AxeOs => others::esp_miner(&mut finding, evidence),
        Firmware::Cgminer => others::cgminer(&mut finding, evidence),
    }
    other_algorithm(&mut finding);
    if finding.identity.mac.is_none() {
        finding.identity.mac = evidence.neighbour;
    }
    logins(&mut finding, evidence);
    finding.points.sort_by(|a, b| a.power.total_cmp(&b.power));
    finding
}

/// Miners of another algorithm are named, and not taken: their hashrate is no Bitcoin hashrate.
fn other_algorithm(finding: &mut Finding) {
    let Some(algorithm) = finding.identity.model.as_deref().and_then(other_algorithm_of) else { return };
    finding.hashrate = None;
    finding.points.clear();
    finding.control = Control::Nothing;
    finding.warn(
        WarningKind::Algorithm,
        format!("it hashes {algorithm} and not Bitcoin, so it is not taken: describe it as a `generic` device or leave it out"),
    );
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
    fields::as_number(value.pointer(place)?)
}

/// A power limit that a miner can have: zero stands for none.
fn limit(value: &Value, place: &str) -> Option<Watts> {
    power(number(value, place)?)
}

fn power(watts: f64) -> Option<Watts> {
    fields::live_watts(Some(watts), false).value()
}

/// A hardware address at a place.
fn mac(value: &Value, place: &str) -> Option<Mac> {
    value.pointer(place)?.as_str()?.parse().ok()
}

/// A serial number at a place.
fn serial(value: &Value, place: &str) -> Option<String> {
    meaningful_serial(value.pointer(place)?.as_str()?)
}

/// A reply's JSON, or nothing.
fn or_null(value: Option<&Value>) -> &Value {
    const NOTHING: &Value = &Value::Null;
    value.unwrap_or(NOTHING)
}

/// What `summary` of the cgminer API says, as the driver that only reads has it.
fn by_summary(evidence: &Evidence) -> Said {
    cgminer_readonly::said(or_null(evidence.api("summary").and_then(|reply| reply.pointer("/SUMMARY/0"))))
}

/// The words in which a cgminer describes itself, such as `LUXminer 2025.4.8`.
fn described(evidence: &Evidence) -> Option<String> {
    text(evidence.api("version")?, "/STATUS/0/Description")
}
