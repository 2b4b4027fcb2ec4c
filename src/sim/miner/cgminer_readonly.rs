//! A miner of the long tail: cgminer 4.11 with its API open for reading only (`api-allow` without `W:`), as old
//! Innosilicon and Canaan firmware has it. It tells no power, as most of them.
//!
//! Source: cgminer `API-README` 3.7: sections, codes and messages.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::clock::{Clock, unix_seconds};

use super::cgminer::{self, command_of};
use super::door::Door;
use super::{Face, Habits, Make, SimMiner, View, legacy, rounded};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", ""),
    faces: [Face { model: "T3+", chips: 57 }, Face { model: "T3+", chips: 57 }],
    habits: Habits::STEADY,
    connections: legacy::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service { miner: Arc::clone(door.miner()), clock: door.clock() };
    cgminer::run(door, service).await;
}

impl cgminer::Service for Service {
    fn answer(&self, request: &Map<String, Value>, _client: IpAddr) -> Value {
        let command = command_of(request).unwrap_or_default();
        let view = self.miner.view(self.clock.now());
        if let Some(answer) = read(&self.miner, &view, command) {
            return answer;
        }
        if is_privileged(command) {
            // Nothing on this API is any business of a client that only reads.
            self.miner.trespass();
            return refused(45, &format!("Access denied to '{command}' command"));
        }
        refused(14, "Invalid command")
    }

    fn broken(&self) -> Value {
        refused(23, "Invalid JSON")
    }
}

fn status(letter: &str, code: u32, msg: &str) -> Value {
    json!([{
        "STATUS": letter, "When": unix_seconds(), "Code": code, "Msg": msg, "Description": "cgminer 4.11.1",
    }])
}

fn refused(code: u32, msg: &str) -> Value {
    json!({"STATUS": status("E", code, msg), "id": 1})
}

/// The commands that cgminer keeps for those with write access.
fn is_privileged(command: &str) -> bool {
    [
        "ascset",
        "ascenable",
        "ascdisable",
        "restart",
        "quit",
        "addpool",
        "removepool",
        "switchpool",
        "enablepool",
        "disablepool",
        "poolpriority",
        "save",
        "setconfig",
        "failover-only",
        "zero",
        "hotplug",
    ]
    .contains(&command)
}

fn read(miner: &SimMiner, view: &View, command: &str) -> Option<Value> {
    if command.contains('+') {
        return cgminer::joined(command, |part| read(miner, view, part));
    }
    let rate = rounded(view.hashrate.get() / 1e6, 2);
    let elapsed = view.mining_time.as_secs();
    let (code, msg, name, list) = match command {
        "version" => (22, "CGMiner versions", "VERSION", json!([{"CGMiner": "4.11.1", "API": "3.7"}])),
        "summary" => (
            11,
            "Summary",
            "SUMMARY",
            json!([{
                "Elapsed": elapsed, "MHS av": rate, "MHS 5s": rate, "MHS 1m": rate, "MHS 5m": rate,
                "MHS 15m": rate, "Found Blocks": 0, "Getworks": elapsed / 30, "Accepted": elapsed / 6,
                "Rejected": 0, "Hardware Errors": 0, "Utility": 10.0, "Stale": 0,
                "Difficulty Accepted": 0.0, "Best Share": 0, "Device Hardware%": 0.0, "Pool Rejected%": 0.0,
            }]),
        ),
        "stats" => (
            70,
            "CGMiner stats",
            "STATS",
            json!([{
                "STATS": 0, "ID": "TC30", "Elapsed": elapsed, "Calls": 0, "Wait": 0.0, "Max": 0.0,
                "Min": 99_999_999.0, "Type": miner.identity.model, "Num chips": miner.identity.chips,
                "Temp": rounded(40.0 + 40.0 * view.warmth, 1),
            }]),
        ),
        "devs" => (
            9,
            "1 ASC(s)",
            "DEVS",
            json!([{
                "ASC": 0, "Name": "T3", "ID": 0, "Enabled": "Y", "Status": "Alive", "MHS av": rate, "MHS 5s": rate,
            }]),
        ),
        "pools" => (
            7,
            "1 Pool(s)",
            "POOLS",
            json!([{
                "POOL": 0, "URL": "stratum+tcp://pool.invalid:3333", "Status": "Alive", "Priority": 0, "Quota": 1,
                "Getworks": elapsed / 30, "Accepted": elapsed / 6, "Rejected": 0, "Get Failures": 0,
                "Remote Failures": 0, "User": "sim.worker", "Stratum Active": true,
            }]),
        ),
        _ => return None,
    };
    Some(json!({"STATUS": status("S", code, msg), name: list, "id": 1}))
}
