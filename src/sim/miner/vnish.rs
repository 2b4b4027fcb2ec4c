//! A miner with VNish: the HTTP API of the vendor's OpenAPI descriptions "xminer-api" of firmware 1.2.6 and 1.3.4.
//!
//! `POST /api/v1/unlock` gives a token. Reads of `info`, `status`, `summary`, `perf-summary` and `model` need none. From
//! 1.3 on there is `mining/throttle`. An untuned preset is answered with success and ignored, as users report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};

use crate::clock::Moment;
use crate::units::Watts;

use super::antminer::{chip, is_powered, put};
use super::antminer_web::{self, Asked, Site, json as answer};
use super::door::Door;
use super::{Face, Habits, Make, MinerState, Pace, Refusal, Setting, SimMiner, View, legacy, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("admin", "admin"),
    faces: [Face { model: "Antminer S19 Pro", chips: 114 }, Face { model: "Antminer S19j Pro", chips: 126 }],
    // Whether the throttle survives a reboot is not documented; a restart is what hurts.
    habits: Habits {
        keeps_percent: false,
        keeps_sleep: false,
        settled_error: 0.015,
        thermal_drift: 0.004,
        ..Habits::STEADY
    },
    connections: antminer_web::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[legacy::BESIDE],
};

/// Wrong passwords in a row after which the firmware locks itself for a while.
const TRIES_MAX: u32 = 5;
/// For how long.
const LOCKED: Duration = Duration::from_secs(60);
/// Tokens that are known at once; the oldest makes room.
const TOKENS_MAX: usize = 16;
/// Presets as shares of the rated power, and whether each is tuned.
const PRESETS: [(f64, bool); 8] = [
    (0.5, true),
    (0.6, true),
    (0.7, true),
    (0.8, true),
    (0.87, false),
    (0.93, true),
    (1.0, true),
    (1.12, false),
];

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let site = Vnish { miner: Arc::clone(door.miner()), state: Mutex::default() };
    antminer_web::run(door, site).await;
}

/// The firmware's version.
pub(super) fn version(miner: &SimMiner) -> &'static str {
    if miner.identity.older { "1.2.6" } else { "1.3.4" }
}

struct Vnish {
    miner: Arc<SimMiner>,
    state: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    issued: u64,
    tokens: Vec<String>,
    failures: u32,
    locked_until: Option<Moment>,
    /// The active preset's watts; `None` is the rated power.
    preset: Option<i64>,
    /// Stopped, not paused: only `start` ends it.
    stopped: bool,
}

impl Site for Vnish {
    fn answer(&self, asked: &Asked, now: Moment) -> (Response, Duration) {
        (self.dispatch(asked, now), Duration::ZERO)
    }
}

fn error(status: StatusCode, text: &str) -> Response {
    answer(status, json!({"err": text}))
}

/// What every change is answered with.
fn applied() -> Response {
    answer(StatusCode::OK, json!({"restart_required": false, "reboot_required": false}))
}

impl Vnish {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(&self, asked: &Asked, now: Moment) -> Response {
        let path = asked.path.as_str();
        if (asked.method.as_str(), path) == ("GET", "/") {
            return Html("<!doctype html><html><head><title>AnthillOS</title></head><body></body></html>")
                .into_response();
        }
        let Some(command) = path.strip_prefix("/api/v1/") else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let view = self.miner.view(now);
        match (asked.method.as_str(), command) {
            ("POST", "unlock") => return self.unlock(&asked.body, now),
            ("GET", "info") => return answer(StatusCode::OK, self.info(&view)),
            ("GET", "model") => return answer(StatusCode::OK, self.model()),
            ("GET", "summary") => return answer(StatusCode::OK, self.summary(&view)),
            ("GET", "status") => return answer(StatusCode::OK, self.status(&view)),
            ("GET", "perf-summary") => return answer(StatusCode::OK, self.perf_summary()),
            _ => {}
        }
        if !self.is_authorized(&asked.headers) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        match (asked.method.as_str(), command) {
            ("GET", "settings") => answer(StatusCode::OK, self.settings()),
            ("GET", "autotune/presets") => {
                answer(StatusCode::OK, self.presets().map(|preset| preset.json()).collect())
            }
            ("POST", command) => self.write(command, asked, &view, now),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn unlock(&self, body: &[u8], now: Moment) -> Response {
        let mut state = self.lock();
        if let Some(until) = state.locked_until.filter(|until| now < *until) {
            let seconds = until.since(now).as_secs();
            return answer(StatusCode::TOO_MANY_REQUESTS, json!({"unlock_timeout": seconds}));
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        if body.get("pw").and_then(Value::as_str) != Some(&self.miner.password) {
            state.failures += 1;
            if state.failures >= TRIES_MAX {
                state.failures = 0;
                state.locked_until = Some(now + LOCKED);
            }
            return answer(StatusCode::FORBIDDEN, json!({"unlock_timeout": null}));
        }
        state.failures = 0;
        state.issued += 1;
        let token = self.miner.identity.fresh(state.issued, 32);
        if state.tokens.len() >= TOKENS_MAX {
            state.tokens.remove(0);
        }
        state.tokens.push(token.clone());
        answer(StatusCode::OK, json!({"token": token}))
    }

    /// Takes the token as a bearer or, as its web page sends it, bare.
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let given =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let given = given.strip_prefix("Bearer ").unwrap_or(given);
        self.lock().tokens.iter().any(|token| token == given)
    }

    fn write(&self, command: &str, asked: &Asked, view: &View, now: Moment) -> Response {
        let miner = &self.miner;
        let stopped = self.lock().stopped && view.state == MinerState::Asleep;
        let result = match command {
            "lock" => {
                let given = asked.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let given = given.map(|given| given.strip_prefix("Bearer ").unwrap_or(given).to_owned());
                self.lock().tokens.retain(|token| Some(token) != given.as_ref());
                return StatusCode::OK.into_response();
            }
            "mining/throttle" if !miner.identity.older => {
                let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
                match body
                    .get("percent")
                    .and_then(Value::as_u64)
                    .and_then(|percent| u8::try_from(percent).ok())
                {
                    Some(percent) if (20..=100).contains(&percent) => {
                        let percent = f64::from(percent);
                        match self.lock().preset.and_then(preset_watts) {
                            None => miner.set_percent(percent, Pace::Quick, now),
                            Some(watts) => miner.set_power(watts.scaled(percent / 100.0), now),
                        }
                    }
                    _ => return error(StatusCode::UNPROCESSABLE_ENTITY, "percent must be 20 to 100"),
                }
            }
            "settings" => return self.save(&asked.body, now),
            "mining/pause" => miner.sleep(now),
            "mining/stop" => {
                let result = miner.sleep(now);
                self.lock().stopped |= result.is_ok();
                result
            }
            "mining/resume" if stopped => {
                return error(StatusCode::INTERNAL_SERVER_ERROR, "miner is stopped");
            }
            "mining/resume" | "mining/start" => {
                let result = miner.wake(now);
                if result.is_ok() {
                    self.lock().stopped = false;
                }
                result
            }
            "mining/restart" => miner.restart(None, now),
            "system/reboot" => miner.reboot(now),
            "find-miner" => return answer(StatusCode::OK, json!({"on": true})),
            _ if is_foreign(command) => {
                miner.trespass();
                return error(StatusCode::FORBIDDEN, "the simulation does not allow this");
            }
            _ => return StatusCode::NOT_FOUND.into_response(),
        };
        match result {
            Ok(()) if command == "mining/throttle" => applied(),
            Ok(()) => StatusCode::OK.into_response(),
            Err(Refusal::WriteDisabled) => error(StatusCode::FORBIDDEN, "changes are not allowed"),
            Err(Refusal::Failed) => error(StatusCode::INTERNAL_SERVER_ERROR, "request failed"),
        }
    }

    /// `POST /settings`: what is not sent stays. Of all settings only the preset may be changed here.
    fn save(&self, body: &[u8], now: Moment) -> Response {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "not JSON");
        };
        let current = self.settings();
        let wanted = body.pointer("/miner/overclock/preset").and_then(Value::as_str).map(str::to_owned);
        if !is_within(&body, &current, "/miner/overclock/preset", "") {
            self.miner.trespass();
            return error(StatusCode::FORBIDDEN, "the simulation does not allow this");
        }
        let preset = wanted.and_then(|name| self.presets().find(|preset| preset.watts.to_string() == name));
        // Untuned and unknown ones are ignored with success.
        if let Some(preset) = preset.filter(|preset| preset.tuned) {
            let Some(watts) = preset_watts(preset.watts) else {
                return applied();
            };
            match self.miner.set_power(watts, now) {
                Ok(()) => self.lock().preset = Some(preset.watts),
                Err(Refusal::WriteDisabled) => {
                    return error(StatusCode::FORBIDDEN, "changes are not allowed");
                }
                Err(Refusal::Failed) => return error(StatusCode::INTERNAL_SERVER_ERROR, "request failed"),
            }
        }
        applied()
    }

    fn presets(&self) -> impl Iterator<Item = Preset> + '_ {
        PRESETS.into_iter().filter_map(|(share, tuned)| {
            let watts = self.miner.rated.scaled(share);
            let able = watts >= self.miner.minimum;
            let terahashes =
                self.miner.top_hashrate() / 1e12 * (watts.get() / self.miner.maximum.get().max(1.0));
            able.then(|| Preset { watts: whole(watts.get()), terahashes, tuned, modded: share > 1.1 })
        })
    }

    /// The active preset's watts. Firmware without a throttle began at the tuned preset that is nearest to its power.
    fn active(&self) -> i64 {
        let set = self.lock().preset;
        if !self.miner.identity.older || set.is_some() {
            return set.unwrap_or_else(|| whole(self.miner.rated.get()));
        }
        let view = self.miner.view(Moment::START);
        let began = match view.setting {
            Some(Setting::Watts(watts)) => watts,
            Some(Setting::Percent(percent)) => view.limit.scaled(percent / 100.0),
            None => view.limit,
        };
        let began = whole(began.get());
        let tuned = self.presets().filter(|preset| preset.tuned).map(|preset| preset.watts);
        let nearest = tuned.min_by_key(|watts| watts.abs_diff(began)).unwrap_or(began);
        *self.lock().preset.get_or_insert(nearest)
    }

    fn miner_status(&self, view: &View) -> Value {
        let name = match view.state {
            MinerState::Asleep => "stopped",
            MinerState::Starting | MinerState::Rebooting => "starting",
            MinerState::Tuning | MinerState::Hashing => "mining",
            MinerState::Tripped => "failure",
        };
        let seconds = if is_powered(view) { view.mining_time.as_secs() } else { 0 };
        let mut status = json!({"miner_state": name, "miner_state_time": seconds});
        if view.state == MinerState::Tripped {
            put(&mut status, "description", "Chain break detected");
            put(&mut status, "failure_code", 5);
        }
        if !self.miner.identity.older {
            let percent = match view.setting {
                Some(Setting::Percent(percent)) => percent,
                Some(Setting::Watts(watts)) => {
                    let preset = preset_watts(self.active()).unwrap_or(self.miner.rated);
                    100.0 * watts.ratio(preset).unwrap_or(1.0)
                }
                None => 100.0,
            };
            put(&mut status, "throttled", whole(percent.clamp(20.0, 100.0)));
        }
        status
    }

    fn status(&self, view: &View) -> Value {
        let mut status = self.miner_status(view);
        put(&mut status, "restart_required", false);
        put(&mut status, "reboot_required", false);
        put(&mut status, "find_miner", false);
        put(&mut status, "unlocked", false);
        status
    }

    fn summary(&self, view: &View) -> Value {
        let identity = &self.miner.identity;
        let rate = rounded(view.hashrate.get() / 1e9, 2);
        let watts = whole(view.power.get());
        let degrees =
            |offset: f64| json!({"min": whole(chip(view) - offset - 8.0), "max": whole(chip(view) - offset)});
        let boards = f64::from(identity.boards);
        let state = if is_powered(view) { "mining" } else { "stopped" };
        let chains: Vec<Value> = (1..=identity.boards)
            .map(|id| {
                json!({
                    "id": id, "frequency": 525.0, "voltage": 13_200, "hashrate_rt": rounded(rate / boards, 2),
                    "hashrate_ideal": rounded(self.miner.top_hashrate() / 1e9 / boards, 2),
                    "hashrate_percentage": 100.0, "hr_error": 0.0, "hw_errors": 0, "pcb_temp": degrees(15.0),
                    "chip_temp": degrees(0.0), "power_consumption": whole(view.power.get() / boards),
                    "chip_statuses": {"red": 0, "orange": 0, "grey": 0}, "status": {"state": state},
                })
            })
            .collect();
        let efficiency = if rate > 1_000.0 { rounded(view.power.get() / rate * 1_000.0, 2) } else { 0.0 };
        let cooling = json!({
            "fan_num": 4, "fan_duty": whole(35.0 + 60.0 * view.warmth), "settings": {"mode": {"name": "auto"}},
            "fans": (0..4).map(|id| json!({
                "id": id, "rpm": whole(2_000.0 + 4_000.0 * view.warmth), "status": "ok", "max_rpm": 6_000,
            })).collect::<Vec<_>>(),
        });
        let pools = json!([{
            "id": 0, "url": "stratum+tcp://pool.invalid:3333", "user": "sim.worker", "pool_type": "UserPool",
            "status": "active", "accepted": view.mining_time.as_secs() / 6, "rejected": 0, "stale": 0,
            "asic_boost": true, "diff": "65.5K", "diffa": 65_536.0, "ls_diff": 65_536.0, "ls_time": "0:00:06", "ping": 20,
        }]);
        let nominal = rounded(self.miner.top_hashrate() / 1e9, 2);
        let mut miner = json!({
            "miner_type": format!("{} (Vnish {})", identity.model, version(&self.miner)),
            "miner_status": self.miner_status(view), "hr_realtime": rate, "hr_average": rate, "hr_nominal": nominal,
            "hr_stock": nominal, "hr_error": 0.0, "instant_hashrate": rounded(rate / 1e3, 2),
            "average_hashrate": rounded(rate / 1e3, 2), "psu": {"psu_power_metering": true}, "hw_errors": 0,
            "hw_errors_percent": 0.0, "restart_count": 0, "found_blocks": 0, "best_share": 1, "devfee": 0.0,
            "devfee_percent": 2.8, "pcb_temp": degrees(15.0), "chip_temp": degrees(0.0), "chains": chains,
            "cooling": cooling, "pools": pools,
        });
        put(&mut miner, "power_consumption", watts);
        put(&mut miner, "power_efficiency", efficiency);
        // Described as efficiency, read as watts by tools that have met the firmware (pyasic 0.7x).
        put(&mut miner, "power_usage", watts);
        json!({"miner": miner, "system": self.system(view)})
    }

    fn system(&self, view: &View) -> Value {
        let identity = &self.miner.identity;
        json!({
            "os": "GNU/Linux", "miner_name": identity.model, "file_system_version": "sim",
            "uptime": format!("{} s", view.uptime.as_secs()), "mem_total": 237_000, "mem_free": 150_000,
            "mem_free_percent": 63, "mem_buf": 37_000, "mem_buf_percent": 15,
            "network_status": {
                "mac": identity.mac, "dhcp": true, "ip": identity.ip, "netmask": "255.0.0.0", "gateway": "127.0.0.1",
                "dns": ["127.0.0.1"], "hostname": "Antminer",
            },
        })
    }

    fn info(&self, view: &View) -> Value {
        let identity = &self.miner.identity;
        json!({
            "fw_name": "Vnish", "fw_version": version(&self.miner), "platform": "xil", "install_type": "nand",
            "build_time": "2024-01-01 00:00:00", "miner": identity.model, "model": "s19", "serial": identity.serial,
            "algorithm": "sha256d", "hr_measure": "GH/s", "system": self.system(view),
        })
    }

    fn model(&self) -> Value {
        let identity = &self.miner.identity;
        json!({
            "full_name": identity.model, "model": "s19", "algorithm": "sha256d", "platform": "xil", "series": "x19",
            "install_type": "nand", "hr_measure": "GH/s", "serial": identity.serial,
            "chain": {"num_chains": identity.boards, "chips_per_chain": identity.chips, "chips_per_domain": 3},
            "overclock": {"power_metering": true, "max_power_limit": whole(self.miner.nameplate.get())},
        })
    }

    fn perf_summary(&self) -> Value {
        let active = self.active();
        let preset = self.presets().find(|preset| preset.watts == active).map(|preset| preset.json());
        json!({"current_preset": preset, "preset_switcher": {"enabled": false, "top_preset": null}})
    }

    fn settings(&self) -> Value {
        json!({
            "miner": {
                "overclock": {
                    "preset": self.active().to_string(), "modded_psu": false, "globals": {"freq": 525, "volt": 1_320},
                    "preset_switcher": {"enabled": false},
                },
                "cooling": {"mode": {"name": "auto", "param": 65}, "fan_min_duty": 10, "fan_max_duty": 100},
                "pools": [{"url": "stratum+tcp://pool.invalid:3333", "user": "sim.worker", "pass": "x"}],
                "misc": {"asic_boost": true, "quiet_mode": false, "restore_miner_state_on_reboot": false},
            },
            "network": {"dhcp": true, "hostname": "Antminer", "ipaddress": self.miner.identity.ip},
            "regional": {"timezone": {"current": "GMT"}},
            "ui": {"theme": "auto"},
        })
    }
}

struct Preset {
    watts: i64,
    terahashes: f64,
    tuned: bool,
    modded: bool,
}

impl Preset {
    fn json(&self) -> Value {
        let mut preset = json!({
            "name": self.watts.to_string(),
            "pretty": format!("{} watt ~ {:.0} TH", self.watts, self.terahashes),
            "status": if self.tuned { "tuned" } else { "untuned" },
            "modded_psu_required": self.modded,
        });
        if self.tuned {
            put(
                &mut preset,
                "tune_settings",
                json!({
                    "volt": 13_200, "freq": 525, "hashrate": whole(self.terahashes), "modified": false, "chains": [],
                }),
            );
        }
        preset
    }
}

fn preset_watts(watts: i64) -> Option<Watts> {
    i32::try_from(watts).ok().map(Watts::whole)
}

/// Whether a body holds nothing but what is the case already, and one thing that may differ.
fn is_within(body: &Value, current: &Value, free: &str, place: &str) -> bool {
    match body {
        Value::Object(object) => object.iter().all(|(key, value)| {
            let place = format!("{place}/{key}");
            place == free || current.get(key).is_some_and(|current| is_within(value, current, free, &place))
        }),
        value => value == current,
    }
}

/// Commands that change what is none of a power controller's business.
fn is_foreign(command: &str) -> bool {
    [
        "apikeys",
        "autotune/reset",
        "firmware",
        "notes",
        "settings/",
        "mining/switch-pool",
        "logs",
        "lock/others",
    ]
    .iter()
    .any(|group| command.starts_with(group))
}
