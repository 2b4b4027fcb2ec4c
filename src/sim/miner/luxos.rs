//! A miner with LuxOS: the cgminer-style API of docs.luxor.tech/firmware/api on TCP 4028; envelopes and fields as recorded
//! for LUXminer 2025.4 and later.
//!
//! One session at a time, a minute idle; a second one is refused with code 402. While ATM is on, the profile is not to
//! be set. On some models power targeting takes watts.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::clock::{Clock, Moment};
use crate::units::Watts;

use super::antminer::{envelope, pools, put, stats, summary};
use super::cgminer::{self, command_of};
use super::door::Door;
use super::{Face, Habits, Make, MinerState, Refusal, Setting, SimMiner, View, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("root", "root"),
    faces: [Face { model: "Antminer S19 XP", chips: 110 }, Face { model: "Antminer S19k Pro", chips: 77 }],
    habits: Habits { settled_error: 0.015, thermal_drift: 0.004, ..Habits::STEADY },
    connections: CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

/// Connections that are served at once.
pub(super) const CONNECTIONS_MAX: usize = 16;
/// "Sessions expire automatically after one minute. This period is refreshed every time you use the session."
const SESSION_LIFE: Duration = Duration::from_secs(60);
/// Steps below and above the default profile.
const STEPS: std::ops::RangeInclusive<i32> = -8..=2;
/// Power from one step to the next, of the rated power.
const STEP: f64 = 0.055;
const DESCRIPTION: &str = "LUXminer 2025.9.8.152528-sim";

/// Codes of the vendor's documents and, for errors, of users' reports.
mod code {
    pub(super) const INVALID: u32 = 14;
    pub(super) const JSON: u32 = 23;
    pub(super) const SESSION: u32 = 316;
    pub(super) const LOGGED_OFF: u32 = 317;
    pub(super) const PROFILE: u32 = 321;
    pub(super) const CURTAIL: u32 = 335;
    pub(super) const FAILED: u32 = 400;
    pub(super) const NO_SESSION: u32 = 401;
    pub(super) const BUSY: u32 = 402;
}

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    state: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    issued: u64,
    session: Option<(String, Moment)>,
    atm: bool,
    /// The step of the active profile.
    step: Option<i32>,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service { miner: Arc::clone(door.miner()), clock: door.clock(), state: Mutex::default() };
    cgminer::run(door, service).await;
}

impl cgminer::Service for Service {
    fn answer(&self, request: &Map<String, Value>, _client: IpAddr) -> Value {
        let command = command_of(request).unwrap_or_default();
        let parameter = request.get("parameter").and_then(Value::as_str).unwrap_or_default();
        let now = self.clock.now();
        let view = self.miner.view(now);
        if let Some(answer) = self.read(&view, command) {
            return answer;
        }
        self.write(command, parameter, &view, now)
    }

    fn broken(&self) -> Value {
        refuse(code::JSON, "Invalid JSON")
    }
}

fn yes(code: u32, msg: &str, name: &str, list: Value) -> Value {
    json!({"STATUS": [envelope("S", code, msg, DESCRIPTION)], name: list, "id": 1})
}

fn refuse(code: u32, msg: &str) -> Value {
    json!({"STATUS": [envelope("E", code, msg, DESCRIPTION)], "id": 1})
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Models on which power targeting is on.
    fn targets(&self) -> bool {
        self.miner.identity.older
    }

    fn power(&self, step: i32) -> Watts {
        self.miner.rated.scaled(1.0 + STEP * f64::from(step))
    }

    /// The step that is active: the one that was set, or the one nearest to the power that the miner began with.
    fn step(&self, view: &View) -> i32 {
        let set = match view.setting {
            Some(Setting::Watts(watts)) => watts,
            Some(Setting::Percent(percent)) => view.limit.scaled(percent / 100.0),
            None => view.limit,
        };
        let nearest = || {
            let distance = |step: &i32| (self.power(*step) - set).abs();
            STEPS.min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0)
        };
        *self.lock().step.get_or_insert_with(nearest)
    }

    fn profiles(&self) -> Vec<Value> {
        STEPS
            .filter(|step| self.power(*step) >= self.miner.minimum)
            .map(|step| {
                let power = self.power(step);
                let share = power.get() / self.miner.maximum.get().max(1.0);
                json!({
                    "Profile Name": name(step), "Step": step.to_string(), "Frequency": 545 + 25 * step,
                    "Voltage": 13.4, "Watts": whole(power.get()), "IsTuned": step == 0, "IsDynamic": true,
                    "Hashrate": rounded(self.miner.top_hashrate() / 1e12 * share, 1), "CanRestore": true,
                    "HasOverrides": false,
                })
            })
            .collect()
    }

    fn read(&self, view: &View, command: &str) -> Option<Value> {
        if command.contains('+') {
            return cgminer::joined(command, |part| self.read(view, part));
        }
        let miner = &self.miner;
        let identity = &miner.identity;
        Some(match command {
            "version" => yes(
                22,
                "LUXminer versions",
                "VERSION",
                json!([{"API": "3.7", "CompileTime": "Mon Sep  8 15:25:28 UTC 2025", "LUXminer": "2025.9.8.152528-sim",
                    "Miner": "2025.9.8.152528", "Type": identity.model}]),
            ),
            "summary" => yes(11, "Summary", "SUMMARY", json!([summary(view)])),
            "stats" => yes(
                70,
                "LUXminer stats",
                "STATS",
                json!([{"Type": identity.model, "Miner": "2025.9.8.152528"}, stats(miner, view)]),
            ),
            "pools" => yes(7, "1 Pool(s)", "POOLS", pools(view)),
            "power" => {
                yes(311, "Power usage", "POWER", json!([{"PSU": true, "Watts": whole(view.power.get())}]))
            }
            "config" => yes(33, "LUXminer config", "CONFIG", json!([self.config(view)])),
            "profiles" => yes(320, "Profiles", "PROFILES", Value::Array(self.profiles())),
            "limits" => yes(
                324,
                "Limits",
                "LIMITS",
                json!([{"FrequencyMin": 50, "FrequencyMax": 1_000, "VoltageMin": 11.88, "VoltageMax": 15.1,
                    "PowerTargetMin": whole(miner.minimum.get()), "PowerTargetMax": whole(miner.rated.get())}]),
            ),
            "atm" => yes(
                339,
                "ATM configuration values",
                "ATM",
                json!([{"Enabled": self.lock().atm, "MaxProfile": "default", "MinProfile": "", "TempWindow": 5.0,
                    "StartupMinutes": 15, "PostRampMinutes": 15}]),
            ),
            "fans" => {
                let fan = |id: u32| json!({"FAN": id, "ID": id, "RPM": whole(2_000.0 + 4_000.0 * view.warmth), "Speed": 60});
                yes(302, "4 Fan(s)", "FANS", json!([fan(0), fan(1), fan(2), fan(3)]))
            }
            "tempctrl" => yes(
                329,
                "Temperature control",
                "TEMPCTRL",
                json!([{"Target": 60.0, "Hot": 70.0, "Dangerous": 80.0, "Mode": "Automatic"}]),
            ),
            "groups" => {
                yes(314, "1 Group(s)", "GROUPS", json!([{"GROUP": 0, "Name": "default", "Quota": 1}]))
            }
            "events" => yes(357, "Miner Events", "EVENTS", json!([])),
            "session" => {
                let id = self.live_session(self.clock.now()).unwrap_or_default();
                yes(code::SESSION, "Session information", "SESSION", json!([{"SessionID": id}]))
            }
            _ => return None,
        })
    }

    fn config(&self, view: &View) -> Value {
        let identity = &self.miner.identity;
        let step = self.step(view);
        let asleep = view.state == MinerState::Asleep;
        let mut config = json!({
            "ASC Count": identity.boards, "BcastAddr": "127.255.255.255", "ControlBoardType": "cvitek", "Cooling": "Air",
            "CurtailMode": if asleep { "Sleep" } else { "None" }, "DHCP": true, "FeeStatus": "Ok", "Gateway": "127.0.0.1",
            "GreenLed": "auto", "Hostname": "Antminer", "IPAddr": identity.ip, "ImmersionMode": false,
            "IsAtmEnabled": self.lock().atm, "IsPowerSupplyOn": !asleep, "IsSingleVoltage": true,
            "IsTuning": view.state == MinerState::Tuning, "MACAddr": identity.mac.to_lowercase(),
            "Model": identity.model, "NameplateTHS": rounded(self.miner.top_hashrate() / 1e12, 1),
            "Netmask": "255.0.0.0", "OS": "LuxOS", "PSULabel": "APW121215e", "Pool Count": 1, "Profile": name(step),
            "ProfileStep": step.to_string(), "RedLed": "auto", "SerialNumber": identity.serial,
            "SystemStatus": if view.state == MinerState::Tripped { "Overtemp" } else { "Normal" },
        });
        if self.targets() {
            let watts = match view.setting {
                Some(Setting::Watts(watts)) => watts,
                _ => view.limit,
            };
            put(&mut config, "IsPowerTargetEnabled", true);
            put(&mut config, "IdealPowerTarget", whole(watts.get()));
            put(&mut config, "ActualPowerTarget", whole(watts.get()));
            put(&mut config, "PowerLimit", whole(self.miner.nameplate.get()));
        }
        config
    }

    fn live_session(&self, now: Moment) -> Option<String> {
        self.lock().session.as_ref().filter(|(_, until)| now < *until).map(|(id, _)| id.clone())
    }

    fn write(&self, command: &str, parameter: &str, view: &View, now: Moment) -> Value {
        let miner = &self.miner;
        if command == "logon" {
            if self.live_session(now).is_some() {
                return refuse(code::BUSY, "Another session is active");
            }
            let mut state = self.lock();
            state.issued += 1;
            let id = miner.identity.fresh(state.issued, 8);
            state.session = Some((id.clone(), now + SESSION_LIFE));
            return yes(code::SESSION, "Session created", "SESSION", json!([{"SessionID": id}]));
        }
        if !is_write(command) {
            return refuse(code::INVALID, "Invalid command");
        }
        let (given, argument) = parameter.split_once(',').unwrap_or((parameter, ""));
        if self.live_session(now).is_none_or(|id| id != given) {
            return refuse(code::NO_SESSION, "Session does not exist or is not active");
        }
        if let Some((_, until)) = &mut self.lock().session {
            *until = now + SESSION_LIFE;
        }
        let (result, answer) = match (command, argument) {
            ("logoff", _) => {
                self.lock().session = None;
                return yes(code::LOGGED_OFF, "Session terminated", "SESSION", json!([{"SessionID": given}]));
            }
            ("curtail", "sleep") if view.state == MinerState::Asleep => {
                return refuse(code::FAILED, "Already in sleep mode");
            }
            ("curtail", "sleep") => (
                miner.sleep(now),
                yes(code::CURTAIL, "Curtailment command sent", "CURTAIL", json!([{"Action": "sleep mode"}])),
            ),
            ("curtail", "wakeup") => (
                miner.wake(now),
                yes(code::CURTAIL, "Curtailment command sent", "CURTAIL", json!([{"Action": "wake up"}])),
            ),
            ("profileset", profile) => {
                if self.lock().atm {
                    return refuse(code::FAILED, "Profile cannot be changed while ATM is enabled");
                }
                let Some(step) = STEPS.into_iter().find(|step| name(*step) == profile) else {
                    return refuse(code::FAILED, "Profile not found");
                };
                let result = miner.set_power(self.power(step), now);
                if result.is_ok() {
                    self.lock().step = Some(step);
                }
                let entry =
                    json!([{"Board": 0, "FrequencyStep": 5, "Profile": profile, "VoltageStep": 0.05}]);
                (result, yes(code::PROFILE, "Profile Set", "PROFILE", entry))
            }
            ("powertargetset", argument) if self.targets() => {
                let watts = argument.strip_prefix("power=").and_then(|watts| watts.parse::<u32>().ok());
                match watts.map(|watts| Watts::saturating(f64::from(watts))) {
                    Some(watts)
                        if watts >= miner.minimum.clamp(Watts::ZERO, watts.scaled(1.001))
                            && watts <= miner.rated =>
                    {
                        (
                            miner.set_power(watts, now),
                            yes(
                                code::PROFILE,
                                "Power target set",
                                "POWERTARGET",
                                json!([{"Power": whole(watts.get())}]),
                            ),
                        )
                    }
                    _ => return refuse(code::FAILED, "Power target out of range"),
                }
            }
            ("atmset", "enabled=true") => {
                // An operator's switch, which the tests turn; a controller must not.
                miner.trespass();
                self.lock().atm = true;
                return yes(340, "ATM configuration set", "ATM", json!([{"Enabled": true}]));
            }
            ("resetminer", _) => (miner.restart(None, now), yes(348, "Restarting", "RESET", json!([]))),
            ("rebootdevice", _) => (miner.reboot(now), yes(307, "Rebooting", "REBOOT", json!([]))),
            _ => {
                miner.trespass();
                return refuse(code::FAILED, "The simulation does not allow this");
            }
        };
        match result {
            Ok(()) => answer,
            Err(Refusal::WriteDisabled) => refuse(code::FAILED, "Changes are not allowed"),
            Err(Refusal::Failed) => refuse(code::FAILED, "Command failed"),
        }
    }
}

/// What a profile is called.
fn name(step: i32) -> String {
    if step == 0 { "default".to_owned() } else { format!("{}MHz", 545 + 25 * step) }
}

fn is_write(command: &str) -> bool {
    const WRITES: [&str; 18] = [
        "logoff",
        "curtail",
        "profileset",
        "powertargetset",
        "atmset",
        "resetminer",
        "rebootdevice",
        "fanset",
        "ledset",
        "addpool",
        "switchpool",
        "removepool",
        "frequencyset",
        "voltageset",
        "tempctrlset",
        "reboot",
        "psuset",
        "updaterun",
    ];
    WRITES.contains(&command)
}
