//! What the readable commands of API 2 answer. Field names and types are those of the vendor's document and of
//! replies that public tools have on record; the values come from the simulation.

use serde_json::{Value, json};

use crate::clock::unix_seconds;

use super::super::cgminer;
use super::super::{MinerState, Setting, SimMiner, View, rounded, whole};
use super::{code, message};

/// What the firmware says of itself.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Firmware {
    version: &'static str,
    api: &'static str,
    platform: &'static str,
}

impl Firmware {
    /// From a year in which API 2 was the only one.
    pub(in super::super) const API2: Self =
        Self { version: "20230911.12.Rel", api: "2.0.5", platform: "H6OS" };
    /// From the time of API 3, which goes on answering the reads of API 2.
    pub(in super::super) const API3: Self =
        Self { version: super::super::whatsminer_v3::replies::FIRMWARE, api: "2.0.6", platform: "H616" };
}

/// The answer to a readable command or several, `None` where there is no such command.
pub(in super::super) fn read(
    miner: &SimMiner,
    view: &View,
    firmware: Firmware,
    command: &str,
) -> Option<Value> {
    if command.contains('+') {
        // cgminer's way of asking for several things; those of the vendor's own are not among them.
        return cgminer::joined(command, |part| {
            let own = part.starts_with("get_") || part == "status";
            if own { None } else { read(miner, view, firmware, part) }
        });
    }
    Some(match command {
        "summary" => summary(miner, view, firmware),
        "devs" | "edevs" => devices(miner, view),
        "devdetails" => details(miner),
        "pools" => pools(view),
        "version" => listed(
            22,
            "CGMiner versions",
            "VERSION",
            json!([{"CGMiner": "4.9.2", "API": "3.7", "Miner": "btminer"}]),
        ),
        "status" => status(view, firmware),
        "get_version" => ok(json!({
            "api_ver": firmware.api, "fw_ver": firmware.version, "platform": firmware.platform, "chip": "K1C360-2106 BINV04-192700D",
        })),
        "get_miner_info" => ok(json!({
            "ip": miner.identity.ip, "proto": "dhcp", "netmask": "255.0.0.0", "gateway": "127.0.0.1",
            "dns": "127.0.0.1", "hostname": "WhatsMiner", "mac": miner.identity.mac, "ledstat": "auto",
            "minersn": miner.identity.serial, "powersn": format!("P{}", miner.identity.serial),
        })),
        "get_psu" => ok(json!({
            "name": "P221B", "hw_version": "V01.00", "sw_version": "V01.00.V01.03", "model": "P221B",
            "iin": whole(view.power.get() / 230.0 * 1_000.0).to_string(), "vin": "23000",
            "pin": whole(view.power.get()).to_string(), "fan_speed": fan(view, 6_500.0).to_string(),
            "version": "-1", "serial_no": format!("P{}", miner.identity.serial), "vendor": "8",
            "temp0": rounded(25.0 + 25.0 * view.warmth, 1).to_string(),
        })),
        "get_error_code" => {
            let codes = if view.state == MinerState::Tripped {
                // 202: power output voltage error.
                json!([{"202": "1970-01-02 00:00:00"}])
            } else {
                json!([])
            };
            ok(json!({"error_code": codes}))
        }
        _ => return None,
    })
}

fn ok(msg: Value) -> Value {
    message(code::OK, "S", msg)
}

/// cgminer's envelope, which the older commands kept.
fn listed(code: u32, msg: &str, name: &str, list: Value) -> Value {
    json!({
        "STATUS": [{
            "STATUS": "S", "When": unix_seconds(), "Code": code, "Msg": msg, "Description": "btminer",
        }],
        name: list,
        "id": 1,
    })
}

/// Fans turn with the heat; a little also when off.
fn fan(view: &View, full: f64) -> i64 {
    whole(full * (0.35 + 0.6 * view.warmth))
}

fn is_mining(view: &View) -> bool {
    matches!(view.state, MinerState::Hashing | MinerState::Tuning)
}

fn summary(miner: &SimMiner, view: &View, firmware: Firmware) -> Value {
    let megahashes = rounded(view.hashrate.get() / 1e6, 2);
    let chip = rounded(28.0 + 48.0 * view.warmth, 2);
    let settled = view.state == MinerState::Hashing;
    let power = view.power.get();
    let rate = if view.hashrate.as_terahashes() > 1.0 { power / view.hashrate.as_terahashes() } else { 0.0 };
    listed(
        11,
        "Summary",
        "SUMMARY",
        json!([{
            "Elapsed": view.mining_time.as_secs(), "MHS av": megahashes, "MHS 5s": megahashes,
            "MHS 1m": megahashes, "MHS 5m": megahashes, "MHS 15m": megahashes, "HS RT": megahashes,
            "Accepted": view.mining_time.as_secs() / 6, "Rejected": view.mining_time.as_secs() / 3_000,
            "Total MH": 0, "Temperature": rounded(chip - 4.0, 1), "freq_avg": if settled { 640 } else { 0 },
            "Fan Speed In": fan(view, 6_900.0), "Fan Speed Out": fan(view, 6_960.0),
            "Power": whole(power), "Power Rate": rounded(rate, 2), "Pool Rejected%": 0.2,
            "Pool Stale%": 0.0, "Last getwork": 0, "Uptime": view.uptime.as_secs(), "Security Mode": 0,
            "Hash Stable": settled, "Hash Stable Cost Seconds": 60, "Hash Deviation%": 0.1,
            "Target Freq": 640, "Target MHS": whole(miner.top_hashrate() / 1e6),
            "Env Temp": 22.0, "Power Mode": "Normal",
            "Factory GHS": whole(miner.top_hashrate() / 1e9),
            "Power Limit": whole(view.limit.get()), "Chip Temp Min": chip - 6.0, "Chip Temp Max": chip + 8.0,
            "Chip Temp Avg": chip, "Btminer Fast Boot": "enable", "Upfreq Complete": i32::from(settled),
            "MAC": miner.identity.mac, "Firmware Version": format!("'{}'", firmware.version),
            "Error Code Count": i32::from(view.state == MinerState::Tripped),
            "Error Code 0": if view.state == MinerState::Tripped { 202 } else { 0 },
            "Liquid Cooling": false,
        }]),
    )
}

fn devices(miner: &SimMiner, view: &View) -> Value {
    let boards = f64::from(miner.identity.boards);
    let megahashes = rounded(view.hashrate.get() / 1e6 / boards, 2);
    let chip = rounded(28.0 + 48.0 * view.warmth, 2);
    let list: Vec<Value> = (0..miner.identity.boards)
        .map(|slot| {
            json!({
                "ASC": slot, "Name": "SM", "ID": slot, "Slot": slot, "Enabled": "Y",
                "Status": if is_mining(view) { "Alive" } else { "Dead" },
                "Temperature": rounded(chip - 4.0, 1), "Chip Frequency": if is_mining(view) { 640 } else { 0 },
                "MHS av": megahashes, "MHS 5s": megahashes, "MHS 1m": megahashes, "MHS 5m": megahashes,
                "MHS 15m": megahashes, "HS RT": megahashes, "Accepted": view.mining_time.as_secs() / 18,
                "Rejected": 0, "Device Elapsed": view.mining_time.as_secs(), "Upfreq Complete": 1,
                "Effective Chips": miner.identity.chips, "PCB SN": format!("{}{slot}", miner.identity.serial),
                "Chip Temp Min": chip - 6.0, "Chip Temp Max": chip + 8.0, "Chip Temp Avg": chip,
                "Factory GHS": whole(miner.top_hashrate() / 1e9 / boards),
            })
        })
        .collect();
    listed(9, "3 ASC(s)", "DEVS", Value::Array(list))
}

fn details(miner: &SimMiner) -> Value {
    let list: Vec<Value> = (0..miner.identity.boards)
        .map(|slot| {
            json!({
                "DEVDETAILS": slot, "Name": "SM", "ID": slot, "Driver": "bitmicro", "Kernel": "",
                "Model": miner.identity.model,
            })
        })
        .collect();
    listed(69, "Device Details", "DEVDETAILS", Value::Array(list))
}

fn pools(view: &View) -> Value {
    listed(
        7,
        "1 Pool(s)",
        "POOLS",
        json!([{
            "POOL": 1, "URL": "stratum+tcp://pool.invalid:3333", "Status": "Alive", "Priority": 0, "Quota": 1,
            "Getworks": 1, "Accepted": view.mining_time.as_secs() / 6, "Rejected": 0, "Works": 1, "Discarded": 0,
            "Stale": 0, "Get Failures": 0, "Remote Failures": 0, "User": "sim.worker",
            "Stratum Active": is_mining(view), "Stratum Difficulty": 65_536, "Pool Rejected%": 0.0,
        }]),
    )
}

fn status(view: &View, firmware: Firmware) -> Value {
    let off = matches!(view.state, MinerState::Asleep | MinerState::Tripped);
    let reason = match view.state {
        MinerState::Asleep => "by whatsminer api",
        MinerState::Tripped => "power error",
        _ => "",
    };
    let percent = match view.setting {
        Some(Setting::Percent(percent)) => whole(percent),
        Some(Setting::Watts(_)) | None => 100,
    };
    ok(json!({
        "mineroff": off.to_string(), "mineroff_reason": reason, "mineroff_time": "",
        "FirmwareVersion": firmware.version, "power_mode": "Normal", "hash_percent": "100",
        "power_limit_set": whole(view.limit.get()).to_string(), "power_pct": percent.to_string(),
    }))
}
