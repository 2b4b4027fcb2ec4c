//! What the readable commands of API 3 answer. Field names and types are those of the vendor's documentation and of
//! replies that public tools have on record; the values come from the simulation.

use serde_json::{Map, Value, json};

use super::super::{MinerState, Setting, SimMiner, View, rounded, whole};
use super::code;

/// Firmware from the time after API 2.
pub(in super::super) const FIRMWARE: &str = "20251209.16.Rel2";
const API: &str = "3.0.3";

/// The `msg` of a readable command, or code and text of an error.
pub(super) fn read(
    miner: &SimMiner,
    view: &View,
    command: &str,
    param: Option<&Value>,
) -> Result<Value, (i32, &'static str)> {
    let section = param.and_then(Value::as_str);
    match command {
        "get.device.info" => select(device_info(miner, view), section),
        "get.miner.status" => match section {
            // The documentation asks for a view; there is no default.
            None => Err((code::INVALID_JSON, "param is null")),
            Some(_) => select(status(miner, view), section),
        },
        "get.miner.setting" => Ok(setting(view)),
        "get.system.setting" => Ok(json!({
            "ntp-server": ["pool.ntp.invalid"], "timezone": "UTC", "zonename": "UTC", "hostname": "WhatsMiner",
            "webpools": "enable", "time-randomized": {"stop": "0", "start": "0"},
        })),
        "get.fan.setting" => Ok(json!({"fan-poweroff-cool": 1, "fan-zero-speed": 0, "fan-temp-offset": 0})),
        _ => Err((code::INVALID_COMMAND, "invalid command")),
    }
}

/// Picks the parts that were asked for, joined by `+`.
fn select(whole: Value, sections: Option<&str>) -> Result<Value, (i32, &'static str)> {
    let Some(sections) = sections else {
        return Ok(whole);
    };
    let mut picked = Map::new();
    for name in sections.split('+').take(10) {
        let part = whole.get(name).ok_or((code::FAILED, "invalid param"))?;
        picked.insert(name.to_owned(), part.clone());
    }
    Ok(Value::Object(picked))
}

fn is_mining(view: &View) -> bool {
    matches!(view.state, MinerState::Hashing | MinerState::Tuning)
}

/// Fans turn with the heat; a little also when off.
fn fan(view: &View, full: f64) -> i64 {
    whole(full * (0.35 + 0.6 * view.warmth))
}

fn device_info(miner: &SimMiner, view: &View) -> Value {
    let identity = &miner.identity;
    let working = !matches!(view.state, MinerState::Asleep | MinerState::Tripped);
    let errors = if view.state == MinerState::Tripped {
        json!([{"202": "1970-01-02 00:00:00", "reason": "power output voltage error"}])
    } else {
        json!([])
    };
    json!({
        "network": {
            "ip": identity.ip, "proto": "dhcp", "netmask": "255.0.0.0", "dns": "127.0.0.1", "mac": identity.mac,
            "gateway": "127.0.0.1", "hostname": "WhatsMiner",
        },
        "miner": {
            "working": working.to_string(), "type": identity.model, "hash-board": "K40",
            "detect-hash-rate": "0:0:0", "board-num": identity.boards.to_string(),
            "pcbsn0": format!("{}0", identity.serial), "pcbsn1": format!("{}1", identity.serial),
            "pcbsn2": format!("{}2", identity.serial), "miner-sn": identity.serial, "fast-boot": "enable",
            "hash-percent": "0", "pool-strategy": "FAILOVER",
            "power-limit-set": whole(view.limit.get()).to_string(),
        },
        "power": {
            "type": "P221B", "mode": "1", "hwversion": "RT0159", "swversion": "230224.220429", "model": "P221B",
            "iin": rounded(view.power.get() / 230.0, 2), "vin": 230.0, "pin": whole(view.power.get()),
            "fanspeed": fan(view, 6_500.0), "sn": format!("P{}", identity.serial), "vendor": "1",
        },
        "system": {
            "api": API, "platform": "H616", "fwversion": FIRMWARE, "control-board-version": "CB6V10",
            "btrom": "1", "ledstatus": "auto", "apiswitch": if view.write_api_off { "0" } else { "1" },
        },
        "salt": identity.salt,
        "error-code": errors,
    })
}

fn status(miner: &SimMiner, view: &View) -> Value {
    let terahashes = rounded(view.hashrate.as_terahashes(), 3);
    let boards = f64::from(miner.identity.boards);
    let chip = rounded(28.0 + 48.0 * view.warmth, 1);
    let board = rounded(chip - 33.0 * view.warmth, 1);
    let frequency = if is_mining(view) { 625 } else { 0 };
    let rate = if terahashes > 1.0 { rounded(view.power.get() / terahashes, 2) } else { 0.0 };
    let edevs: Vec<Value> = (0..miner.identity.boards)
        .map(|slot| {
            json!({
                "id": slot, "slot": slot, "hash-average": rounded(terahashes / boards, 2),
                "hash-realtime": rounded(terahashes / boards, 2),
                "factory-hash": rounded(miner.top_hashrate() / 1e12 / boards, 2), "freq": frequency,
                "effective-chips": miner.identity.chips, "chip-temp-min": rounded(chip - 6.0, 1),
                "chip-temp-avg": chip, "chip-temp-max": rounded(chip + 8.0, 1),
                "status": if is_mining(view) { "alive" } else { "dead" },
            })
        })
        .collect();
    json!({
        "summary": {
            "elapsed": view.mining_time.as_secs(), "bootup-time": view.uptime.as_secs(), "freq-avg": frequency,
            "target-freq": 625, "factory-hash": rounded(miner.top_hashrate() / 1e12, 3),
            "hash-average": terahashes, "hash-1min": terahashes, "hash-15min": terahashes,
            "hash-realtime": terahashes, "power-rate": rate, "power-5min": rounded(view.average.get(), 1),
            "power-realtime": rounded(view.power.get(), 1), "environment-temperature": 22.0,
            "board-temperature": [board, board, board], "chip-temp-min": rounded(chip - 6.0, 1),
            "chip-temp-avg": chip, "chip-temp-max": rounded(chip + 8.0, 1),
            "power-limit": whole(view.limit.get()),
            "up-freq-finish": i32::from(view.state == MinerState::Hashing),
            "fan-speed-in": fan(view, 6_900.0), "fan-speed-out": fan(view, 6_960.0), "Debug": "",
        },
        "pools": [{
            "id": 1, "url": "stratum+tcp://pool.invalid:3333", "status": "alive", "account": "sim.worker",
            "pool-priority": 0, "stratum-active": is_mining(view), "reject-rate": 0.0, "last-share-time": 0.0,
        }],
        "edevs": edevs,
    })
}

fn setting(view: &View) -> Value {
    // Zero stands for "no such setting is active".
    let (percent, power) = match view.setting {
        Some(Setting::Percent(percent)) => (whole(percent), 0),
        Some(Setting::Watts(watts)) => (0, whole(watts.get())),
        None => (0, 0),
    };
    json!({
        "power-limit": whole(view.limit.get()), "upfreq-speed": 0, "power-mode": "normal", "fast-boot": "enable",
        "fast-hash": "disable", "heat-mode": "normal", "target-freq": 0, "power": power,
        "power-percent": percent, "btrom-worker-suffix": "",
    })
}
