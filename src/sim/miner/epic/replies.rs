//! What the readable paths answer: names, nesting and units by the vendor's OpenAPI description, values from the
//! simulation.

use serde_json::{Value, json};

use super::super::{MinerState, SimMiner, View, rounded, whole};
use super::Tune;

/// How many presets there are.
const PRESETS: u32 = 6;

/// An algorithm and the range of its targets.
pub(super) struct Offer {
    pub(super) algorithm: &'static str,
    pub(super) low: u64,
    pub(super) high: u64,
    name: &'static str,
}

/// A tune preset.
pub(super) struct Preset {
    pub(super) terahashes: u64,
    pub(super) watts: u64,
}

fn natural(value: f64) -> u64 {
    u64::try_from(whole(value.floor())).unwrap_or_default()
}

/// Hashrate in TH/s at a power, on straight lines between the operating points.
fn terahashes_at(miner: &SimMiner, watts: f64) -> f64 {
    let mut below = (0.0, 0.0);
    for point in &miner.points {
        let here = (point.power.get(), point.hashrate.as_terahashes());
        if watts <= here.0 {
            let share = (watts - below.0) / (here.0 - below.0).max(1e-9);
            return below.1 + share * (here.1 - below.1);
        }
        below = here;
    }
    below.1
}

/// Presets between the least and the most power, by rising power.
pub(super) fn presets(miner: &SimMiner) -> Vec<Preset> {
    let (low, high) = (miner.minimum.get(), miner.maximum.get());
    (0..PRESETS)
        .map(|step| {
            let watts = low + (high - low) * f64::from(step) / f64::from(PRESETS - 1);
            Preset { terahashes: natural(terahashes_at(miner, watts)), watts: natural(watts) }
        })
        .collect()
}

/// The algorithms that this miner has; older firmware has none for power.
pub(super) fn offers(miner: &SimMiner) -> Vec<Offer> {
    let most = natural(terahashes_at(miner, miner.maximum.get()));
    let mut offers = vec![
        Offer { algorithm: "VoltageOptimizer", low: most * 2 / 5, high: most, name: "Voltage Optimizer" },
        Offer { algorithm: "ChipTune", low: most * 2 / 5, high: most, name: "Chip Tune" },
    ];
    if !miner.identity.older {
        let (low, high) = (natural(miner.minimum.get()), natural(miner.maximum.get()));
        offers.push(Offer { algorithm: "Power", low, high, name: "Power Tune" });
    }
    offers
}

/// The power that a target comes to.
pub(super) fn watts(miner: &SimMiner, algorithm: &str, target: u64) -> f64 {
    let number = |value: u64| u32::try_from(value).map_or(f64::MAX, f64::from);
    if algorithm == "Power" {
        return number(target);
    }
    let mut below = (0.0, 0.0);
    for preset in presets(miner) {
        let here = (number(preset.terahashes), number(preset.watts));
        if number(target) <= here.0 {
            let share = (number(target) - below.0) / (here.0 - below.0).max(1e-9);
            return below.1 + share * (here.1 - below.1);
        }
        below = here;
    }
    below.1
}

/// The answer to a readable path, `None` where there is none.
pub(super) fn read(
    miner: &SimMiner,
    view: &View,
    tune: Tune,
    last: Option<&str>,
    path: &str,
) -> Option<Value> {
    Some(match path {
        "/summary" => summary(miner, view, tune, last),
        "/capabilities" => capabilities(miner),
        "/network" => json!({"dhcp": {
            "address": miner.identity.ip, "dns": "127.0.0.1", "gateway": "127.0.0.1", "netmask": "255.0.0.0",
            "mac_address": miner.identity.mac,
        }}),
        "/perpetualtune" => json!({
            "Enable": true, "Running": true, "Current Algorithm": tune.algorithm,
            "Algorithms": {tune.algorithm: stats(view, tune)},
        }),
        "/hashrate" | "/clocks" | "/voltages" | "/temps" | "/temps/board" | "/temps/chip" => json!([]),
        _ => return None,
    })
}

fn stats(view: &View, tune: Tune) -> Value {
    json!({
        "Target": tune.target, "Unit": if tune.algorithm == "Power" { "W" } else { "TH/s" },
        "Optimized": view.state == MinerState::Hashing, "Throttle Target": null, "Error Throttle Target": null,
        "Min Throttle Target": tune.min_throttle, "Throttle Step": tune.throttle_step,
    })
}

fn capabilities(miner: &SimMiner) -> Value {
    let serials: Vec<String> =
        (0..miner.identity.boards).map(|board| format!("{}{board}", miner.identity.serial)).collect();
    let offers: Vec<Value> = offers(miner)
        .iter()
        .map(|offer| {
            json!({
                "algorithm": offer.algorithm, "name": offer.name, "description": "of the simulation",
                "min": offer.low, "max": offer.high,
            })
        })
        .collect();
    let presets: Vec<Value> = presets(miner)
        .iter()
        .map(|preset| {
            json!({"clk": 400, "voltage": 12_500, "hashrate": preset.terahashes, "power": preset.watts})
        })
        .collect();
    json!({
        "Model": miner.identity.model, "Model Subtype": "BHB00000", "Chip Type": "BM1366",
        "Miner Serial Number": miner.identity.serial, "Board Serial Numbers": serials,
        "Control Board Version": {"cpuHardware": "STM32 (Device Tree Support)", "cpuSerial": miner.identity.serial},
        "Coins": ["BTC"], "Default Clock": 485, "Default Voltage": 12_900, "Max HBs": miner.identity.boards,
        "Default Hashrate": natural(miner.top_hashrate() / 1e12), "Chips Per Bank": 10, "Max Clock Configs": 1,
        "Display": ["ClksAndVoltage", "ShutdownTemp"], "Tune Presets": presets, "PerpetualTune": offers,
        "Performance Estimator": {"Chip Count": miner.identity.chips, "Hashes Per Second Per Chip": 894.0},
        "Temp Sensor Info": {"Count": 2, "Type": "Board"},
    })
}

fn state(view: &View) -> &'static str {
    match view.state {
        MinerState::Asleep | MinerState::Tripped => "Idling",
        MinerState::Starting | MinerState::Rebooting => "Initializing",
        MinerState::Tuning | MinerState::Hashing => "Mining",
    }
}

fn summary(miner: &SimMiner, view: &View, tune: Tune, last: Option<&str>) -> Value {
    let identity = &miner.identity;
    let powered = matches!(view.state, MinerState::Hashing | MinerState::Tuning);
    let share = view.hashrate.get() / 1e6 / f64::from(identity.boards);
    let boards: Vec<Value> = (0..identity.boards)
        .filter(|_| powered)
        .map(|index| {
            json!({
                "Index": index, "Hashrate": [rounded(share, 1), 100.0], "Core Clock": [], "Core Clock Avg": 485.0,
                "Input Voltage": 12.6, "Input Current": 0.0, "Input Power": 0.0, "Output Voltage": 0.0,
                "Output Current": 0.0, "Output Power": 0.0, "Temperature": rounded(25.0 + 45.0 * view.warmth, 2),
            })
        })
        .collect();
    let status: Vec<Value> = (0..identity.boards)
        .map(|index| json!({"Index": index, "Detected": true, "Enabled": true}))
        .collect();
    let rpm = whole(2_000.0 + 4_000.0 * view.warmth);
    let error = if view.state == MinerState::Tripped { json!("ChipDetectError") } else { Value::Null };
    json!({
        "Status": {
            "Operating State": state(view), "Last Command": last, "Last Command Result": null, "Last Error": error,
        },
        "Hostname": "sim", "Software": "PowerPlay-BMS v1.30.0", "OS Type": "umcOS",
        "PresetInfo": {"Target Power": 0}, "Mining": {"Coin": "BTC", "Algorithm": "SHA-256"},
        "Stratum": {
            "Config Id": 0, "Current Pool": "pool.invalid:3333", "Current User": "sim.worker", "IsPoolConnected": true,
            "Average Latency": 0.03, "Worker Unique Id": false, "Worker Unique Id Variant": "MacAddress",
        },
        "Session": {
            "Startup Timestamp": 1_700_000_000, "Startup String": "", "Uptime": view.mining_time.as_secs(),
            "Average MHs": rounded(view.hashrate.get() / 1e6, 1), "WorkReceived": 1, "Active HBs": boards.len(),
            "Accepted": view.mining_time.as_secs() / 6, "Rejected": 0, "Submitted": view.mining_time.as_secs() / 6,
            "Last Accepted Share Timer": 1, "Difficulty": 262_144.0,
        },
        "HBs": boards, "HBStatus": status,
        "Fans": {
            "Fans Speed": 60, "Minimum Working Fans": 0,
            "Fan Mode": {"Auto": {"Idle Speed": 20, "Target Temperature": 60}},
        },
        "Fans Rpm": {"Fans Speed 1": rpm, "Fans Speed 2": rpm, "Fans Speed 3": rpm, "Fans Speed 4": rpm},
        "Misc": {"Critical Temp": 100.0, "Shutdown Temp": 85.0, "Locate Miner State": false},
        "StratumConfigs": [{"pool": "stratum+tcp://pool.invalid:3333", "login": "sim.worker", "password": "x"}],
        "PerpetualTune": {"Running": true, "Algorithm": {tune.algorithm: stats(view, tune)}},
        "Power Supply Stats": {
            "Input Voltage": 0.0, "Output Voltage": 12.6, "Input Current": 0.0, "Output Current": 0.0,
            "Input Power": rounded(view.power.get(), 2), "Output Power": 0.0, "Target Voltage": 12_600,
        },
        "HwConfig": {"Boards Target Clock": [{"Index": 0, "Data": 485.0}]}, "IdleOnConnectionLost": true,
        "Overdrive": false, "Disable Board On Failure": true, "Enable Boards On Idle": false,
        "PreInitCooldown Max Duration": 300,
    })
}
