//! The old reading port that newer firmware keeps beside its own: TCP 4028 of Whatsminers with API 3, of Braiins OS, of
//! VNish and of Bitmain's own firmware.
//!
//! The drivers do not need it; other tools identify a miner by it. It answers reads and refuses writes.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::clock::{Clock, unix_seconds};
use crate::miner::DriverKind;

use super::antminer;
use super::braiins_os;
use super::cgminer::{self, command_of};
use super::door::Door;
use super::whatsminer_v2;
use super::{Beside, MinerState, SimMiner, View, rounded, whole};

/// Connections that are served at once.
pub(super) const CONNECTIONS_MAX: usize = 16;
/// The port of cgminer's API beside another.
pub(super) const BESIDE: Beside =
    Beside { port: 4028, connections: CONNECTIONS_MAX, serve: |door| tokio::spawn(run(door)) };

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
        if self.miner.driver == DriverKind::Mara {
            return super::mara::old(&self.miner, &view, command);
        }
        if self.miner.driver == DriverKind::BraiinsOs {
            return braiins(&self.miner, &view, command)
                .unwrap_or_else(|| json!({"STATUS": [envelope("E", 14, "Invalid command")], "id": 1}));
        }
        if matches!(self.miner.driver, DriverKind::Vnish | DriverKind::BitmainStock) {
            let program = antminer::program(&self.miner);
            return antminer::read(&self.miner, &view, &program, request, command).unwrap_or_else(|| {
                json!({"STATUS": [antminer::envelope("E", 14, "Invalid command", program.description)], "id": 1})
            });
        }
        let firmware = whatsminer_v2::replies::Firmware::API3;
        whatsminer_v2::replies::read(&self.miner, &view, firmware, command).unwrap_or_else(|| {
            if whatsminer_v2::is_write(command) || command == "get_token" {
                whatsminer_v2::write_denied()
            } else {
                whatsminer_v2::invalid_command()
            }
        })
    }

    fn broken(&self) -> Value {
        if matches!(self.miner.driver, DriverKind::BraiinsOs | DriverKind::Mara) {
            json!({"STATUS": [envelope("E", 23, "Invalid JSON")], "id": 1})
        } else if matches!(self.miner.driver, DriverKind::Vnish | DriverKind::BitmainStock) {
            json!({"STATUS": [antminer::envelope("E", 23, "Invalid JSON", "cgminer 1.0.0")], "id": 1})
        } else {
            whatsminer_v2::invalid_json()
        }
    }
}

fn envelope(status: &str, code: u32, msg: &str) -> Value {
    json!({
        "STATUS": status, "When": unix_seconds(), "Code": code, "Msg": msg,
        "Description": "BOSer boser-openwrt 0.1.0-sim",
    })
}

/// cgminer's reads in the words of Braiins OS.
fn braiins(miner: &SimMiner, view: &View, command: &str) -> Option<Value> {
    if command.contains('+') {
        return cgminer::joined(command, |part| braiins(miner, view, part));
    }
    let mining = view.state == MinerState::Hashing || view.state == MinerState::Tuning;
    let boards = f64::from(miner.identity.boards);
    let rates = |share: f64| {
        let megahashes = rounded(view.hashrate.get() / 1e6 * share, 2);
        json!({
            "MHS 5s": if mining { megahashes } else { 0.0 }, "MHS 1m": megahashes, "MHS 5m": megahashes, "MHS 15m": megahashes,
            "MHS av": megahashes, "Accepted": view.mining_time.as_secs() / 6, "Rejected": 0,
        })
    };
    let with = |mut base: Value, more: Value| {
        if let (Some(base), Value::Object(more)) = (base.as_object_mut(), more) {
            base.extend(more);
        }
        base
    };
    let slots = 0..miner.identity.boards;
    let (code, msg, name, list) = match command {
        "version" => (
            22,
            "BOSer versions",
            "VERSION",
            json!([{"API": "3.7", "BOSer": "boser-openwrt 0.1.0-sim", "CGMiner": ""}]),
        ),
        "devdetails" => {
            let list: Vec<Value> = slots
                .map(|slot| {
                    json!({
                        "DEVDETAILS": slot, "ID": slot + 1, "Name": "", "Driver": "", "Kernel": "",
                        "Model": miner.identity.model, "Chips": miner.identity.chips,
                    })
                })
                .collect();
            (69, "Device Details", "DEVDETAILS", Value::Array(list))
        }
        "devs" => {
            let list: Vec<Value> = slots
                .map(|slot| {
                    let status = if mining { "Alive" } else { "Dead" };
                    with(
                        rates(1.0 / boards),
                        json!({"ASC": slot, "ID": slot + 1, "Enabled": "Y", "Status": status}),
                    )
                })
                .collect();
            (9, "3 ASC(s)", "DEVS", Value::Array(list))
        }
        "summary" => (
            11,
            "Summary",
            "SUMMARY",
            json!([with(rates(1.0), json!({"Elapsed": view.mining_time.as_secs()}))]),
        ),
        "tunerstatus" => {
            let watts = whole(view.power.get());
            let chains: Vec<Value> = slots
                .map(|slot| {
                    json!({
                        "HashchainIndex": slot + 1, "Status": "Stable",
                        "ApproximatePowerConsumptionWatt": whole(view.power.get() / boards),
                    })
                })
                .collect();
            let status = json!([{
                "ApproximateChainPowerConsumption": watts, "ApproximateMinerPowerConsumption": watts,
                "DynamicPowerScaling": "Disabled", "PowerLimit": whole(braiins_os::target(view)),
                "TunerChainStatus": chains,
            }]);
            (203, "Tuner status", "TUNERSTATUS", status)
        }
        _ => return None,
    };
    Some(json!({"STATUS": [envelope("S", code, msg)], name: list, "id": 1}))
}
