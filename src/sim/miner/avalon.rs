//! A Canaan Avalon: the cgminer API on TCP 4028, by the vendor's A10 manual, its Avalon Q document, and replies that
//! public tools have on record.
//!
//! `softoff` and `softon` carry the moment at which they take effect, in the miner's own clock, which is wrong by an
//! amount of its own. A moment that has gone by is answered with success and never comes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::{Clock, unix_seconds};

use super::cgminer::{self, command_of};
use super::door::Door;
use super::{Face, Habits, Make, MinerState, SimMiner, View, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("", ""),
    faces: [Face { model: "15-194", chips: 160 }, Face { model: "Q", chips: 160 }],
    // Whether a pause is kept is not known.
    habits: Habits { keeps_sleep: false, report_lag: 1.0, ..Habits::STEADY },
    connections: CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

/// Connections that are served at once; the control board is small.
pub(super) const CONNECTIONS_MAX: usize = 16;
/// The furthest ahead that a moment may lie, in seconds.
const FURTHEST: u64 = 86_400;

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
        if command == "ascset" {
            let parameter = request.get("parameter").and_then(Value::as_str).unwrap_or_default();
            return self.set(parameter);
        }
        let view = self.miner.view(self.clock.now());
        self.read(&view, command).unwrap_or_else(|| self.status("E", 14, "Invalid command"))
    }

    fn broken(&self) -> Value {
        self.status("E", 23, "Invalid JSON")
    }
}

impl Service {
    /// The miner's clock: hours off for half of them, counting from the start for the other.
    fn when(&self) -> u64 {
        if self.miner.identity.ends_with_nul {
            self.miner.view(self.clock.now()).uptime.as_secs()
        } else {
            unix_seconds().saturating_sub(7_213)
        }
    }

    fn envelope(&self, letter: &str, code: u32, message: &str) -> Value {
        json!([{
            "STATUS": letter, "When": self.when(), "Code": code, "Msg": message, "Description": "cgminer 4.11.1",
        }])
    }

    fn status(&self, letter: &str, code: u32, message: &str) -> Value {
        json!({"STATUS": self.envelope(letter, code, message), "id": 1})
    }

    /// `ascset`: the number of the device, the option, its value.
    fn set(&self, parameter: &str) -> Value {
        let mut parts = parameter.splitn(3, ',');
        let (device, option, value) =
            (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
        if device != "0" {
            return self.status("E", 107, "Invalid ASC id");
        }
        match option {
            "softoff" | "softon" => self.soft(option, value.unwrap_or_default()),
            "help" => self.status("I", 118, "ASC 0 set info: help|workmode|worklevel|softon|softoff|reboot|"),
            // Changes of mode are answered and not simulated: they belong to the operator.
            "workmode" | "worklevel" | "led" | "fan-spd" | "ip" | "dns" | "setpool" | "password"
            | "voltage" | "frequency" | "reboot" | "restore" | "time" | "target-temp" => {
                self.miner.trespass();
                self.status("E", 120, "ASC 0 set failed: the simulation does not allow this")
            }
            _ => self.status("E", 120, &format!("ASC 0 set failed: Unknown option: {option}")),
        }
    }

    fn soft(&self, option: &str, value: &str) -> Value {
        let faults = self.miner.lock().faults;
        if faults.write_api_off {
            self.miner.lock().tally.refused += 1;
            return self.status("E", 45, "Access denied to 'ascset' command");
        }
        let moment = value.strip_prefix("1:").and_then(|moment| moment.parse::<u64>().ok());
        let Some(moment) = moment.filter(|_| !faults.rejects) else {
            self.miner.lock().tally.refused += 1;
            return self.status("E", 120, "ASC 0 set failed: Invalid parameter");
        };
        if let Some(ahead) = moment.checked_sub(self.when()).filter(|ahead| (1..=FURTHEST).contains(ahead)) {
            let (miner, clock, off) = (Arc::clone(&self.miner), self.clock, option == "softoff");
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(ahead)).await;
                let now = clock.now();
                // A fault that came meanwhile has been counted; nobody is left to tell it to.
                let _ = if off { miner.sleep(now) } else { miner.wake(now) };
            });
        }
        self.status("I", 118, &format!("ASC 0 set info: success {option}:{moment}"))
    }

    fn read(&self, view: &View, command: &str) -> Option<Value> {
        if command.contains('+') {
            return cgminer::joined(command, |part| self.read(view, part));
        }
        let identity = &self.miner.identity;
        let megahashes = rounded(view.hashrate.get() / 1e6, 2);
        let elapsed = view.mining_time.as_secs();
        let (code, message, name, list) = match command {
            "version" => {
                let name = if identity.model == "Q" {
                    "Avalon Q".to_owned()
                } else {
                    format!("AvalonMiner {}", identity.model)
                };
                let row = json!({
                    "CGMiner": "4.11.1", "API": "3.7", "PROD": name, "MODEL": identity.model, "HWTYPE": "MM4v2_X3",
                    "SWTYPE": "MM319", "LVERSION": "25052801_sim", "BVERSION": "25052801_sim",
                    "CGVERSION": "25052801_sim", "DNA": identity.serial,
                    "MAC": identity.mac.replace(':', "").to_lowercase(),
                });
                (22, "CGMiner versions", "VERSION", json!([row]))
            }
            "summary" => (
                11,
                "Summary",
                "SUMMARY",
                json!([{
                    "Elapsed": elapsed, "MHS av": megahashes, "MHS 5s": megahashes, "MHS 1m": megahashes,
                    "MHS 5m": megahashes, "MHS 15m": megahashes, "Accepted": elapsed / 6, "Rejected": 0,
                }]),
            ),
            "devs" => (
                9,
                "1 ASC(s)",
                "DEVS",
                json!([{
                    "ASC": 0, "Name": "AVALON", "ID": 0, "Enabled": "Y", "Status": "Alive", "Temperature": 0.0,
                    "MHS av": megahashes, "MHS 5s": megahashes, "MHS 1m": megahashes, "MHS 5m": megahashes,
                    "Accepted": elapsed / 6, "Rejected": 0, "Device Elapsed": elapsed,
                }]),
            ),
            "pools" => (
                7,
                "1 Pool(s)",
                "POOLS",
                json!([{
                    "POOL": 0, "URL": "stratum+tcp://pool.invalid:3333", "User": "sim.worker", "Status": "Alive",
                    "Priority": 0, "Accepted": elapsed / 6, "Rejected": 0, "Stratum Active": true, "Get Failures": 0,
                    "Remote Failures": 0,
                }]),
            ),
            "stats" | "estats" | "litestats" => (
                70,
                "CGMiner stats",
                "STATS",
                json!([{
                    "STATS": 0, "ID": "AVALON0", "Elapsed": elapsed, "Calls": 0, "Wait": 0.0, "Max": 0.0, "MM Count": 1,
                    "MM ID0": self.module(view),
                }]),
            ),
            _ => return None,
        };
        Some(json!({"STATUS": self.envelope("S", code, message), name: list, "id": 1}))
    }

    /// The text in which all of a module's state is.
    fn module(&self, view: &View) -> String {
        let identity = &self.miner.identity;
        let (work, soft_off) = match view.state {
            MinerState::Asleep => ("In Idle", 4),
            MinerState::Tripped => ("In Idle", 0),
            MinerState::Starting | MinerState::Rebooting => ("In Init", 0),
            MinerState::Tuning | MinerState::Hashing => ("In Work", 0),
        };
        let wall = whole(view.power.get());
        let board = whole(view.power.get() * 0.94);
        let gigahashes = rounded(view.hashrate.get() / 1e9, 2);
        let chip = whole(28.0 + 42.0 * view.warmth);
        let each = rounded(gigahashes / f64::from(identity.boards), 2);
        let rpm = whole(1_500.0 + 3_000.0 * view.warmth);
        format!(
            "Ver[{model}-25052801_sim] DNA[{serial}] MEMFREE[67896] NETFAIL[0 0 0 0 0 0 0 0] \
             SYSTEMSTATU[Work: {work}, Hash Board: {boards} ] Elapsed[{elapsed}] BOOTBY[0x01.00000000] LW[1] MH[0] HW[0] \
             DH[1.100%] Temp[27] ITemp[27] HBITemp[40] HBOTemp[{chip}] TMax[{chip}] TAvg[{chip}] Fan1[{rpm}] Fan2[{rpm}] \
             FanR[45%] PS[0 1221 1300 {board} {board} 1302 {wall}] GHSspd[{gigahashes}] DHspd[1.1%] GHSmm[{gigahashes}] \
             GHSavg[{gigahashes}] WU[1] Freq[500.00] Led[0] MGHS[{each} {each} {each}] MTmax[{chip} {chip} {chip}] \
             MTavg[{chip} {chip} {chip}] TA[{chips}] Core[A3197S] POWS[0] HASHS[0 0 0] POOLS[0] SoftOFF[{soft_off}] \
             ECHU[{fault} 0 0] ECMM[0] WORKMODE[0] WORKLEVEL[0] MPO[{objective}] {wall_power}ADJ[1] Nonce Mask[25]",
            model = identity.model,
            serial = identity.serial,
            boards = identity.boards,
            elapsed = view.mining_time.as_secs(),
            chips = identity.boards * identity.chips,
            fault = if view.state == MinerState::Tripped { 513 } else { 0 },
            // Newer firmware says it by name too.
            wall_power = if identity.older { String::new() } else { format!("WALLPOWER[{wall}] ") },
            objective = whole(self.miner.rated.get() * 0.94),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::miner;
    use super::*;
    use crate::miner::DriverKind;

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_has_gone_by_is_answered_and_never_comes() {
        let clock = Clock::start();
        let service = Service { miner: Arc::new(miner(DriverKind::Avalon, 1)), clock };
        let late = service.set(&format!("0,softoff,1:{}", service.when()));
        assert_eq!(late["STATUS"][0]["STATUS"], "I");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(service.miner.state(clock.now()), MinerState::Hashing);
        service.set(&format!("0,softoff,1:{}", service.when() + 5));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(service.miner.state(clock.now()), MinerState::Asleep);
        let mode = service.set("0,workmode,set,0");
        assert_eq!(mode["STATUS"][0]["Code"], 120);
        assert_eq!(service.miner.tally().trespasses, 1);
    }
}
