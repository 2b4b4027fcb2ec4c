//! A SealMiner A2 with the bdminer API on TCP 4028.
//!
//! Names and types of what it reads follow the replies of firmware 2025091001 that the asic-rs project captured;
//! refusals and the bare answer to `restart` are cgminer's. A new power limit is saved at once and taken up by the
//! mining process when it starts. What a suspended miner writes as its `PM State` is on no record; here it is
//! "Suspended".

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use crate::clock::{Clock, Moment, unix_seconds};
use crate::units::Watts;

use super::cgminer::{self, command_of};
use super::door::Door;
use super::{Face, Habits, Make, MinerState, Refusal, SimMiner, View, legacy, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", ""),
    faces: [Face { model: "A2", chips: 153 }, Face { model: "A2", chips: 153 }],
    // Waking is a restart of the mining process; after a reboot it mines.
    habits: Habits { keeps_sleep: false, sleep_ends_software: true, ..Habits::STEADY },
    connections: legacy::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    /// The limit that is saved and waits for a start of the mining process.
    saved: Mutex<Option<Watts>>,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service { miner: Arc::clone(door.miner()), clock: door.clock(), saved: Mutex::new(None) };
    cgminer::run(door, service).await;
}

impl cgminer::Service for Service {
    fn answer(&self, request: &Map<String, Value>, _client: IpAddr) -> Value {
        let now = self.clock.now();
        let command = command_of(request).unwrap_or_default();
        if let Some(answer) = self.read(&self.miner.view(now), command) {
            return answer;
        }
        match command {
            "ascset" => self.set(request.get("parameter").and_then(Value::as_str).unwrap_or_default(), now),
            "restart" => self.restart(now),
            "quit" | "addpool" | "removepool" | "switchpool" | "enablepool" | "disablepool"
            | "poolpriority" | "updatepools" | "setconfig" | "save" => {
                self.miner.trespass();
                refused(45, &format!("Access denied to '{command}' command"))
            }
            _ => refused(14, "Invalid command"),
        }
    }

    fn broken(&self) -> Value {
        refused(23, "Invalid JSON")
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Option<Watts>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn result(result: Result<(), Refusal>, msg: &str) -> Value {
        match result {
            Ok(()) => json!({"STATUS": status("S", 119, msg), "id": 1}),
            Err(Refusal::WriteDisabled) => refused(45, "Access denied to 'ascset' command"),
            Err(Refusal::Failed) => refused(120, "ASC 0 set failed"),
        }
    }

    /// `ascset`: `<asc>,<option>[,<value>]`.
    fn set(&self, parameter: &str, now: Moment) -> Value {
        let Some((asc, rest)) = parameter.split_once(',') else {
            return refused(118, "Missing ASC option");
        };
        if asc != "0" {
            return refused(107, "Invalid ASC id");
        }
        if rest == "suspend" {
            return Self::result(self.miner.sleep(now), "ASC 0 set OK");
        }
        let Some(value) = rest.strip_prefix("powerlimit,") else {
            self.miner.trespass();
            return refused(120, "ASC 0 set failed: Unknown option");
        };
        let watts = serde_json::from_str::<Value>(value)
            .ok()
            .and_then(|value| value.get("value")?.as_str()?.parse::<u16>().ok())
            .map(|watts| Watts::saturating(f64::from(watts)));
        match watts {
            Some(watts) if watts >= self.miner.minimum.scaled(0.5) && watts <= self.miner.nameplate => {
                // Saved, and otherwise nothing: counted as a command, so that a fault refuses it too.
                let result = self.miner.command(|_| ());
                if result.is_ok() {
                    *self.lock() = Some(watts);
                }
                Self::result(result, "ASC 0 set OK")
            }
            _ => refused(120, "ASC 0 set failed: invalid powerlimit"),
        }
    }

    fn restart(&self, now: Moment) -> Value {
        let limit = self.lock().take();
        let asleep = self.miner.state(now) == MinerState::Asleep;
        let result = self.miner.command(|physics| {
            physics.restart(limit, now);
            if asleep {
                physics.wake(now);
            }
        });
        match result {
            // cgminer's answer is the bare word in braces, which is no JSON; it is the nearest that is.
            Ok(()) => json!({"STATUS": status("S", 0, "RESTART"), "id": 1}),
            Err(_) => {
                *self.lock() = limit;
                refused(45, "Access denied to 'restart' command")
            }
        }
    }

    fn read(&self, view: &View, command: &str) -> Option<Value> {
        if command.contains('+') {
            return cgminer::joined(command, |part| self.read(view, part));
        }
        let rate = rounded(view.hashrate.get() / 1e6, 2);
        let elapsed = view.mining_time.as_secs();
        let (code, msg, name, list) = match command {
            "version" => (22, "BDMiner versions", "VERSION", json!([{"API": "3.7", "BDMiner": "4.11.1"}])),
            "summary" => (
                11,
                "Summary",
                "SUMMARY",
                json!([{
                    "Elapsed": elapsed, "MHS av": rate, "MHS 5s": rate, "MHS 1m": rate, "MHS 5m": rate,
                    "MHS 15m": rate, "Accepted": elapsed / 4, "Rejected": 0, "Hardware Errors": 0, "Stale": 0,
                }]),
            ),
            "stats" => (70, "BDMiner stats", "STATS", json!([self.stats(view, rate, elapsed)])),
            "devdetails" => (
                69,
                "Device Details",
                "DEVDETAILS",
                json!([{
                    "DEVDETAILS": 0, "Name": "A20", "ID": 0, "Driver": "seal", "Kernel": "",
                    "Model": self.miner.identity.model, "Device Path": "",
                }]),
            ),
            "pools" => (
                7,
                "1 Pool(s)",
                "POOLS",
                json!([{
                    "POOL": 0, "URL": "stratum+tcp://pool.invalid:3333", "Status": "Alive", "Priority": 0,
                    "Accepted": elapsed / 4, "Rejected": 0, "User": "sim.worker", "Stratum Active": true,
                }]),
            ),
            _ => return None,
        };
        Some(json!({"STATUS": status("S", code, msg), name: list, "id": 1}))
    }

    fn stats(&self, view: &View, rate: f64, elapsed: u64) -> Value {
        let identity = &self.miner.identity;
        let limit = self.lock().unwrap_or(view.limit);
        let running = matches!(view.state, MinerState::Starting | MinerState::Tuning | MinerState::Hashing);
        let raised = view.state == MinerState::Hashing;
        let error = if view.state == MinerState::Tripped { "0x0200" } else { "" };
        let mut stats = json!({
            "STATS": 0, "ID": "A20", "Elapsed": elapsed, "Calls": 0, "Wait": 0.0, "Max": 0.0, "Min": 99_999_999.0,
            "ASIC": "Seal02-V1", "Model": identity.model, "Firmware": "2025091001",
            "Software Version": "4.11.1-08690-sim", "MAC": identity.mac.to_lowercase(), "IP": identity.ip,
            "Ctrl Board": "taurus_air_v1.1", "Ctrl Board SN": identity.serial, "Liquid Cooling": false,
            "Board Count": identity.boards, "Chip Count": identity.boards * identity.chips, "Bad Chip Count": 0,
            "Error Code": error, "Error Chip": "", "Fan Count": 4, "Mining Mode": "Normal",
            "MHS(30s)": rate, "MHS(1m)": rate, "MHS(5m)": rate, "MHS(15m)": rate, "MHS(Avg)": rate,
            "MHS(Sample)": rate, "MHS(Rated)": rounded(self.miner.top_hashrate() / 1e6, 2),
            "PM State": if running { "Running" } else { "Suspended" },
            "Power Limit": whole(limit.get()), "Raise Freq Done": raised,
            "Tune Status": if raised { "Fine Tuning Done" } else { "Coarse Tuning" },
            "PSU Input Power": whole(view.power.get()),
            "PSU Output Power": whole(view.power.get() * 0.92), "PSU Error": "0x00000000",
            "PSU Input Voltage": 240.0, "PSU Fan Speed": 4_400, "System Uptime": view.uptime.as_secs(),
            "Temp": whole(35.0 + 40.0 * view.warmth),
        });
        if let Some(object) = stats.as_object_mut() {
            for board in 0..identity.boards {
                let share = rounded(rate / f64::from(identity.boards), 2);
                object.insert(format!("{board} Online"), json!(true));
                object.insert(format!("{board} SN"), json!(format!("{}-{board}", identity.serial)));
                object.insert(format!("{board} Chip Count"), json!(identity.chips));
                object.insert(format!("{board} MHS(Sample)"), json!(share));
                object.insert(format!("{board} Temp 0"), json!(whole(35.0 + 40.0 * view.warmth)));
            }
            for fan in 0..4 {
                object.insert(format!("{fan} Speed"), json!(if running { 3_700 } else { 900 }));
            }
        }
        stats
    }
}

fn status(letter: &str, code: u32, msg: &str) -> Value {
    json!([{
        "STATUS": letter, "When": unix_seconds(), "Code": code, "Msg": msg, "Description": "bdminer 4.11.1",
    }])
}

fn refused(code: u32, msg: &str) -> Value {
    json!({"STATUS": status("E", code, msg), "id": 1})
}
