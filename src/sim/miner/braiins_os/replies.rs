//! What the readable paths answer. Names and types follow the vendor's public OpenAPI description and replies that
//! public tools have on record; the values come from the simulation.

use serde_json::{Value, json};

use crate::units::Watts;

use super::super::{MinerState, Setting, SimMiner, View, rounded, whole};

/// Values of `status` in `/miner/details`, in the order of the vendor's enumeration.
mod status {
    pub(super) const NOT_STARTED: i32 = 1;
    pub(super) const NORMAL: i32 = 2;
    pub(super) const PAUSED: i32 = 3;
    pub(super) const SUSPENDED: i32 = 4;
}

/// Values of `overall_tuner_state`, in the order of the vendor's enumeration.
mod tuner {
    pub(super) const DISABLED: i32 = 1;
    pub(super) const STABLE: i32 = 2;
    pub(super) const TUNING: i32 = 3;
    pub(super) const ERROR: i32 = 4;
}

/// Firmware: date, build, release.
pub(super) const VERSION: &str = "2025-11-21-0-00000000-25.11-plus";

/// The power targets that this miner accepts.
pub(super) fn target_range(miner: &SimMiner) -> (Watts, Watts) {
    // Whole watts, outwards: the ends that are shown are accepted.
    let low = miner.minimum.get().floor();
    let high = miner.maximum.max(miner.rated).get().ceil();
    (Watts::saturating(low), Watts::saturating(high))
}

/// The answer to a readable path below `/api/v1/`, `None` where there is none.
pub(super) fn read(miner: &SimMiner, view: &View, stopped: bool, path: &str) -> Option<Value> {
    let target = whole(target_of(view));
    Some(match path {
        "miner/details" => details(miner, view, stopped),
        "miner/stats" => stats(view),
        "miner/hw/hashboards" => boards(miner, view),
        "miner/errors" => json!({"errors": []}),
        "configuration/constraints" => constraints(miner),
        "configuration/miner" => json!({
            "pool_groups": [],
            "tuner": {
                "enabled": true, "tuner_mode": 1, "power_target": {"watt": target}, "hashrate_target": null,
            },
        }),
        "performance/tuner-state" => tuner_state(view, target),
        "performance/mode" => mode(target),
        "cooling/state" => {
            let turns = if view.state == MinerState::Asleep { 0.2 } else { 0.35 + 0.6 * view.warmth };
            let fan = |position: u32| {
                json!({
                    "position": position, "rpm": whole(6_000.0 * turns), "target_speed_ratio": rounded(turns, 2),
                })
            };
            json!({
                "fans": [fan(0), fan(1), fan(2), fan(3)],
                "highest_temperature": {
                    "id": null, "location": 1, "temperature": {"degree_c": chip(view)},
                },
            })
        }
        "actions/locate" => json!(false),
        "network" => json!({
            "name": "eth0", "hostname": "Antminer", "mac_address": miner.identity.mac.to_lowercase(), "protocol": 1,
            "dns_servers": ["127.0.0.1"], "default_gateway": "127.0.0.1",
            "networks": [{"address": miner.identity.ip, "netmask": "255.0.0.0"}],
        }),
        "pools" => json!([{
            "name": "default", "uid": "0", "strategy": {"quota": {"value": 1}},
            "pools": [{
                "uid": "1", "url": "stratum+tcp://pool.invalid:3333", "user": "sim.worker", "enabled": true,
                "alive": true, "active": view.hashrate.get() > 0.0,
                "stats": {
                    "accepted_shares": view.mining_time.as_secs() / 6, "rejected_shares": 0, "stale_shares": 0,
                    "last_difficulty": 65_536, "best_share": 1, "generated_work": 1, "last_share_time": null,
                },
            }],
        }]),
        _ => return None,
    })
}

/// The performance mode with this target.
pub(super) fn mode(watts: impl Into<Value>) -> Value {
    json!({"tunermode": {"target": {"powertarget": {"power_target": {"watt": watts.into()}}}}})
}

/// The power target in force, in watts.
pub(in super::super) fn target_of(view: &View) -> f64 {
    match view.setting {
        Some(Setting::Watts(watts)) => watts.get(),
        Some(Setting::Percent(percent)) => view.limit.get() * percent / 100.0,
        None => view.limit.get(),
    }
}

fn chip(view: &View) -> f64 {
    rounded(25.0 + 50.0 * view.warmth, 1)
}

fn details(miner: &SimMiner, view: &View, stopped: bool) -> Value {
    let status = match view.state {
        MinerState::Asleep if stopped => status::NOT_STARTED,
        MinerState::Asleep => status::PAUSED,
        MinerState::Tripped => status::SUSPENDED,
        MinerState::Rebooting | MinerState::Starting | MinerState::Tuning | MinerState::Hashing => {
            status::NORMAL
        }
    };
    let identity = &miner.identity;
    json!({
        "uid": identity.serial, "serial_number": identity.serial, "hostname": "Antminer", "status": status,
        "mac_address": identity.mac.to_lowercase(), "platform": 6, "bos_mode": 5, "control_board_soc_family": 1,
        "miner_identity": {
            "brand": 1, "miner_model": identity.model, "name": identity.model, "model": 14,
        },
        "bos_version": {
            "current": VERSION, "major": "2022-09-13-0-00000000-22.08-plus",
            "bos_plus": true,
        },
        "bosminer_uptime_s": view.mining_time.as_secs(), "system_uptime": view.uptime.as_secs(),
        "system_uptime_s": view.uptime.as_secs(), "kernel_version": "4.9.38",
        "sticker_hashrate": {"gigahash_per_second": miner.top_hashrate() / 1e9},
        "psu_info": {
            "model_name": "APW121215f", "version": 118, "fw_version": null, "serial_number": null,
            "min_voltage": {"volt": 11.96}, "max_voltage": {"volt": 15.2},
        },
    })
}

/// The averages that the vendor lists; a simulation without luck has one value for all.
fn averages(gigahashes: f64) -> Value {
    let rate = json!({"gigahash_per_second": gigahashes});
    json!({
        "last_5s": rate, "last_15s": rate, "last_30s": rate, "last_1m": rate, "last_5m": rate, "last_15m": rate,
        "last_30m": rate, "last_1h": rate, "last_24h": rate, "since_restart": rate,
    })
}

fn stats(view: &View) -> Value {
    let gigahashes = rounded(view.hashrate.get() / 1e9, 3);
    let efficiency = if gigahashes > 1_000.0 {
        json!({"joule_per_terahash": view.power.get() / gigahashes * 1_000.0})
    } else {
        Value::Null
    };
    json!({
        "miner_stats": {
            "best_share": 1, "found_blocks": 0, "error_hashrate": {"megahash_per_second": 0.0},
            "nominal_hashrate": {"gigahash_per_second": gigahashes}, "real_hashrate": averages(gigahashes),
        },
        "pool_stats": {
            "accepted_shares": view.mining_time.as_secs() / 6, "rejected_shares": 0, "stale_shares": 0,
            "last_difficulty": 65_536, "best_share": 1, "generated_work": 1, "last_share_time": null,
        },
        "power_stats": {
            "approximated_consumption": {"watt": whole(view.power.get())}, "efficiency": efficiency,
        },
    })
}

fn boards(miner: &SimMiner, view: &View) -> Value {
    let gigahashes = rounded(view.hashrate.get() / 1e9 / f64::from(miner.identity.boards), 3);
    let list: Vec<Value> = (1..=miner.identity.boards)
        .map(|id| {
            json!({
                "id": id.to_string(), "enabled": true, "chips_count": miner.identity.chips,
                "board_temp": {"degree_c": chip(view) - 15.0}, "lowest_inlet_temp": {"degree_c": 28.0},
                "highest_outlet_temp": {"degree_c": chip(view) - 15.0},
                "highest_chip_temp": {"id": 1, "location": 1, "temperature": {"degree_c": chip(view)}},
                "current_frequency": {"hertz": 500_000_000.0}, "current_voltage": {"volt": 13.2},
                "serial_number": format!("{}{id}", miner.identity.serial), "board_name": "BHB56801",
                "model": "BHB56801", "chip_type": "BM1366",
                "stats": {
                    "nominal_hashrate": {"gigahash_per_second": gigahashes}, "real_hashrate": averages(gigahashes),
                    "error_hashrate": {"megahash_per_second": 0.0}, "found_blocks": 0, "best_share": 1,
                },
            })
        })
        .collect();
    json!({"hashboards": list})
}

fn constraints(miner: &SimMiner) -> Value {
    let (low, high) = target_range(miner);
    let watts = |power: Watts| json!({"watt": whole(power.get())});
    let top = miner.top_hashrate() / 1e12;
    let terahashes = |share: f64| json!({"terahash_per_second": rounded(top * share, 1)});
    json!({
        "tuner_constraints": {
            "enabled": {"value": true}, "default_mode": 1,
            "power_target": {"min": watts(low), "default": watts(miner.rated), "max": watts(high)},
            "hashrate_target": {"min": terahashes(0.4), "default": terahashes(1.0), "max": terahashes(1.0)},
        },
        "cooling_constraints": null, "dps_constraints": null, "hashboards_constraints": null,
    })
}

fn tuner_state(view: &View, target: i64) -> Value {
    let near = (view.power.get() / target_of(view).max(1.0) - 1.0).abs() < 0.05;
    let overall = match view.state {
        MinerState::Asleep => tuner::DISABLED,
        MinerState::Tripped => tuner::ERROR,
        MinerState::Hashing if near => tuner::STABLE,
        _ => tuner::TUNING,
    };
    json!({
        "overall_tuner_state": overall,
        "mode_state": {
            "powertargetmodestate": {
                "current_target": {"watt": target},
                "profile": {
                    "created": {"seconds": 1_700_000_000, "nanos": 0},
                    "target": {"watt": target},
                    "estimated_power_consumption": {"watt": whole(view.power.get())},
                    "measured_hashrate": {"gigahash_per_second": rounded(view.hashrate.get() / 1e9, 3)},
                },
            },
        },
    })
}
