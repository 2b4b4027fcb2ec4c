//! The cgminer port of the Antminer firmwares: what VNish and Bitmain's own answer on TCP 4028, and the tables of
//! hash boards that LuxOS has too. Names and types follow replies that public tools have on record.

use serde_json::{Map, Value, json};

use crate::clock::unix_seconds;
use crate::miner::DriverKind;

use super::{MinerState, SimMiner, View, cgminer, rounded, whole};

/// Who answers.
pub(super) struct Program {
    /// In `Description`.
    pub(super) description: &'static str,
    /// In `VERSION`.
    pub(super) version: Value,
    /// In the head of `stats`.
    pub(super) kind: String,
}

/// The program of a firmware.
pub(super) fn program(miner: &SimMiner) -> Program {
    let model = miner.identity.model;
    if miner.driver == DriverKind::Vnish {
        let firmware = super::vnish::version(miner);
        return Program {
            description: "cgminer 1.0.0",
            version: json!({
                "API": "3.1", "CGMiner": "1.0.0", "CompileTime": "Mon Jan  1 00:00:00 UTC 2024",
                "Miner": format!("Vnish {firmware}"),
            }),
            kind: format!("{model} (Vnish {firmware})"),
        };
    }
    Program {
        description: "cgminer 1.0.0",
        version: json!({
            "API": "3.1", "BMMiner": "1.0.0", "CompileTime": "Mon Jan  1 00:00:00 CST 2024", "Miner": "49.0.1.3",
            "Type": model,
        }),
        kind: model.to_owned(),
    }
}

/// The answer to a read, `None` where there is none.
pub(super) fn read(
    miner: &SimMiner,
    view: &View,
    program: &Program,
    request: &Map<String, Value>,
    command: &str,
) -> Option<Value> {
    if command.contains('+') {
        return cgminer::joined(command, |part| read(miner, view, program, request, part));
    }
    let (code, msg, name, list) = match command {
        "version" => (22, "CGMiner versions", "VERSION", json!([program.version])),
        "summary" => (11, "Summary", "SUMMARY", json!([summary(view)])),
        // The newer firmware's own shape, which is that of `stats.cgi`.
        "stats" if request.get("new_api").and_then(Value::as_bool) == Some(true) => {
            (70, "CGMiner stats", "STATS", json!([super::bitmain_stock::table(miner, view)]))
        }
        "stats" => (70, "CGMiner stats", "STATS", json!([head(program), stats(miner, view)])),
        "pools" => (7, "3 Pool(s)", "POOLS", pools(view)),
        _ => return None,
    };
    Some(json!({"STATUS": [envelope("S", code, msg, program.description)], name: list, "id": 1}))
}

/// cgminer's head of an answer.
pub(super) fn envelope(status: &str, code: u32, msg: &str, description: &str) -> Value {
    json!({"STATUS": status, "When": unix_seconds(), "Code": code, "Msg": msg, "Description": description})
}

fn head(program: &Program) -> Value {
    json!({
        "BMMiner": "1.0.0", "CompileTime": "Mon Jan  1 00:00:00 UTC 2024", "Miner": "49.0.1.3", "Type": program.kind,
    })
}

/// The only entry of `summary`.
pub(super) fn summary(view: &View) -> Value {
    let rate = rounded(view.hashrate.get() / 1e9, 2);
    json!({
        "Elapsed": view.mining_time.as_secs(), "GHS 5s": rate, "GHS 1m": rate, "GHS 5m": rate, "GHS 15m": rate,
        "GHS 30m": rate, "GHS av": rate, "Found Blocks": 0, "Getworks": view.mining_time.as_secs() / 12,
        "Accepted": view.mining_time.as_secs() / 6, "Rejected": 0, "Hardware Errors": 0, "Stale": 0,
        "Best Share": 1, "Difficulty Accepted": 65_536, "Utility": 10.0, "Work Utility": 10.0,
    })
}

/// The second entry of `stats`.
pub(super) fn stats(miner: &SimMiner, view: &View) -> Value {
    let boards = miner.identity.boards;
    let rate = view.hashrate.get() / 1e9;
    let mut entry = json!({
        "STATS": 0, "ID": "BTM_SOC0", "Elapsed": view.mining_time.as_secs(), "Calls": 0, "Wait": 0, "Max": 0,
        "Min": 99_999_999, "Mode": 2, "GHS 5s": rounded(rate, 2), "GHS av": rounded(rate, 2),
        "rate_30m": rounded(rate, 2), "rate_unit": "GH", "miner_count": boards, "frequency": 525, "fan_num": 4,
        "temp_num": boards, "temp_max": chip(view), "total_rateideal": rounded(miner.top_hashrate() / 1e9, 2),
        "total_acn": boards * miner.identity.chips, "no_matching_work": 0, "miner_version": "49.0.1.3",
    });
    if let Some(entry) = entry.as_object_mut() {
        for fan in 1..=4 {
            entry.insert(format!("fan{fan}"), json!(whole(2_000.0 + 4_000.0 * view.warmth)));
        }
        let degrees = |offset: f64| {
            let warm = whole((chip(view) - offset).max(1.0));
            format!("{warm}-{warm}-{warm}-{warm}")
        };
        for board in 1..=boards {
            let share = rate / f64::from(boards);
            entry.insert(format!("chain_rate{board}"), json!(format!("{share:.2}")));
            entry.insert(format!("chain_acn{board}"), json!(miner.identity.chips));
            entry.insert(format!("chain_acs{board}"), json!(""));
            entry.insert(format!("chain_hw{board}"), json!(0));
            entry.insert(format!("freq{board}"), json!(525));
            entry.insert(format!("temp{board}"), json!(whole(chip(view) - 15.0)));
            entry.insert(format!("temp_chip{board}"), json!(degrees(0.0)));
            entry.insert(format!("temp_pcb{board}"), json!(degrees(15.0)));
            entry.insert(format!("temp_pic{board}"), json!(degrees(15.0)));
        }
    }
    entry
}

/// A pool that is nowhere.
pub(super) fn pools(view: &View) -> Value {
    json!([{
        "POOL": 0, "GROUP": 0, "URL": "stratum+tcp://pool.invalid:3333", "Status": "Alive", "Priority": 0, "Quota": 1,
        "User": "sim.worker", "Stratum Active": view.hashrate.get() > 0.0, "Stratum URL": "pool.invalid",
        "Accepted": view.mining_time.as_secs() / 6, "Rejected": 0, "Stale": 0, "Get Failures": 0,
        "Remote Failures": 0, "Best Share": 1, "Works": 0,
    }])
}

/// Adds a field to an object.
pub(super) fn put(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value.into());
    }
}

/// Temperature of the warmest chip.
pub(super) fn chip(view: &View) -> f64 {
    rounded(25.0 + 50.0 * view.warmth, 1)
}

/// Whether the boards are under power.
pub(super) fn is_powered(view: &View) -> bool {
    matches!(view.state, MinerState::Tuning | MinerState::Hashing)
}
