//! A Whatsminer with API 2 on TCP 4028, as MicroBT's "WhatsMiner API v2.0.5" describes it.
//!
//! One request per connection; the answer ends with the connection, on some firmware after a NUL. Reads are plain
//! JSON, several in one request as `"summary+pools"`. Writes are JSON encrypted with a key that only someone who
//! knows the password can derive from `get_token`; a token lives 30 minutes, one client may have 32 and there may
//! be 16 clients.

pub(super) mod replies;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::clock::{Clock, Moment, unix_seconds};
use crate::units::Watts;

use super::cgminer::{self, command_of};
use super::crypt::{Wrapping, md5_crypt};
use super::door::Door;
use super::{Face, Habits, Make, Pace, Refusal, SimMiner};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("admin", "admin"),
    faces: [Face { model: "M30S++_VG40", chips: 111 }, Face { model: "M30S+_VE40", chips: 156 }],
    habits: Habits {
        keeps_percent: false,
        keeps_sleep: false,
        sleep_ends_software: true,
        waits_for_tuning: true,
        restarts_below_minimum: true,
        report_lag: 0.7,
        settled_error: 0.02,
        thermal_drift: 0.006,
    },
    connections: CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[],
};

/// Connections that are served at once; the control board has little memory.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// "Miner supports max 16 IP clients, one IP can get 32 tokens, and a token keepalive time is 30 minutes."
const CLIENTS_MAX: usize = 16;
/// Tokens of one client.
const TOKENS_MAX: usize = 32;
/// Life of a token.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);

/// Codes of the vendor's table "Message Code".
mod code {
    pub(super) const INVALID_COMMAND: u32 = 14;
    pub(super) const INVALID_JSON: u32 = 23;
    pub(super) const PERMISSION_DENIED: u32 = 45;
    pub(super) const OK: u32 = 131;
    pub(super) const ERROR: u32 = 132;
    pub(super) const TOKEN_OK: u32 = 134;
    pub(super) const TOKEN_ERROR: u32 = 135;
    pub(super) const TOKENS_EXHAUSTED: u32 = 136;
    pub(super) const BASE64_ERROR: u32 = 137;
}

/// What the server keeps besides the miner: its tokens.
struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    /// md5crypt of the password with the miner's salt.
    key: String,
    tokens: Mutex<Tokens>,
}

#[derive(Default)]
struct Tokens {
    issued: u64,
    clients: HashMap<IpAddr, Vec<(String, Moment)>>,
}

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let service = Service {
        key: md5_crypt(&door.miner().password, &door.miner().identity.salt),
        miner: Arc::clone(door.miner()),
        clock: door.clock(),
        tokens: Mutex::default(),
    };
    cgminer::run(door, service).await;
}

impl cgminer::Service for Service {
    fn answer(&self, request: &Map<String, Value>, client: IpAddr) -> Value {
        if request.contains_key("enc") { self.unwrap(request, client) } else { self.plain(request, client) }
    }

    fn broken(&self) -> Value {
        invalid_json()
    }
}

impl Service {
    fn lock(&self) -> std::sync::MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request without encryption: reads only.
    fn plain(&self, object: &Map<String, Value>, client: IpAddr) -> Value {
        let Some(command) = command_of(object) else {
            return invalid_command();
        };
        if command == "get_token" {
            return self.issue(client);
        }
        if let Some(answer) = self.read(command) {
            return answer;
        }
        if is_write(command) {
            return write_denied();
        }
        invalid_command()
    }

    fn read(&self, command: &str) -> Option<Value> {
        let view = self.miner.view(self.clock.now());
        replies::read(&self.miner, &view, replies::Firmware::API2, command)
    }

    /// `get_token`: the means to derive key and signature. The signature is known here at once.
    fn issue(&self, client: IpAddr) -> Value {
        let now = self.clock.now();
        let mut tokens = self.lock();
        for signs in tokens.clients.values_mut() {
            signs.retain(|(_, until)| *until > now);
        }
        tokens.clients.retain(|_, signs| !signs.is_empty());
        let known = tokens.clients.len();
        let held = tokens.clients.get(&client).map(Vec::len);
        if held.map_or(known >= CLIENTS_MAX, |held| held >= TOKENS_MAX) {
            return message(code::TOKENS_EXHAUSTED, "E", "over max connect".into());
        }
        tokens.issued += 1;
        let newsalt = self.miner.identity.fresh(tokens.issued, 8);
        let time = format!("{:04}", unix_seconds() % 10_000);
        let sign = md5_crypt(&format!("{}{time}", self.key), &newsalt);
        tokens.clients.entry(client).or_default().push((sign, now + TOKEN_LIFE));
        message(
            code::TOKEN_OK,
            "S",
            json!({"time": time, "salt": self.miner.identity.salt, "newsalt": newsalt}),
        )
    }

    /// An encrypted request: `{"enc":1,"data":"…"}`.
    fn unwrap(&self, object: &Map<String, Value>, client: IpAddr) -> Value {
        let Some(cipher) =
            object.get("data").and_then(Value::as_str).and_then(|data| BASE64.decode(data).ok())
        else {
            return message(code::BASE64_ERROR, "E", "base64 decode err".into());
        };
        let wrapping = Wrapping::new(&self.key);
        let inner = wrapping
            .unwrap(&cipher)
            .and_then(|plain| serde_json::from_slice::<Map<String, Value>>(&plain).ok());
        // A wrong password shows as nonsense after decryption.
        let Some(inner) = inner else {
            return message(code::INVALID_JSON, "E", "enc json load err".into());
        };
        let now = self.clock.now();
        let token = inner.get("token").and_then(Value::as_str).unwrap_or_default();
        let valid = self
            .lock()
            .clients
            .get(&client)
            .is_some_and(|signs| signs.iter().any(|(sign, until)| sign == token && *until > now));
        if !valid {
            return message(code::TOKEN_ERROR, "E", "check token err".into());
        }
        let answer = match command_of(&inner) {
            Some(command) => match self.read(command) {
                Some(answer) => answer,
                None => self.write(command, &inner, now),
            },
            None => invalid_command(),
        };
        json!({"enc": BASE64.encode(wrapping.wrap(answer.to_string().as_bytes()))})
    }

    fn write(&self, command: &str, object: &Map<String, Value>, now: Moment) -> Value {
        let miner = &self.miner;
        if !is_write(command) {
            return invalid_command();
        }
        // The vendor passes numbers as strings; only the thinly documented `set_power` is seen with both.
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let number = |name: &str, low: f64, high: f64| {
            text(name)
                .and_then(|text| text.trim().parse::<u32>().ok())
                .map(f64::from)
                .filter(|value| (low..=high).contains(value))
        };
        let result = match command {
            "power_off" => miner.sleep(now),
            "power_on" => miner.wake(now),
            "set_power_pct" | "set_power_pct_v2" => match number("percent", 0.0, 100.0) {
                Some(percent) => {
                    let pace = if command == "set_power_pct" { Pace::Quick } else { Pace::Gentle };
                    miner.set_percent(percent, pace, now)
                }
                None => return invalid_command(),
            },
            "restore_power_pct" => miner.restore(now),
            "set_power" => {
                let given = object.get("power").and_then(Value::as_f64);
                match given.or_else(|| number("power", 0.0, 99_999.0)) {
                    Some(watts) if (0.0..=99_999.0).contains(&watts) => {
                        miner.set_power(Watts::saturating(watts), now)
                    }
                    _ => return invalid_command(),
                }
            }
            "adjust_power_limit" => match number("power_limit", 0.0, 99_999.0) {
                Some(watts) => miner.restart(Some(Watts::saturating(watts)), now),
                None => return invalid_command(),
            },
            "set_low_power" => miner.restart(Some(miner.rated.scaled(0.8)), now),
            "set_normal_power" => miner.restart(Some(miner.rated), now),
            "set_high_power" => miner.restart(Some(miner.nameplate), now),
            "set_target_freq" | "restart_btminer" => miner.restart(None, now),
            "reboot" => miner.reboot(now),
            _ => {
                miner.trespass();
                Err(Refusal::Failed)
            }
        };
        match result {
            Ok(()) => message(code::OK, "S", "API command OK".into()),
            Err(Refusal::WriteDisabled) => write_denied(),

            Err(Refusal::Failed) => message(code::ERROR, "E", "API command ERROR".into()),
        }
    }
}

/// The writable commands of API 2.0.5.
pub(super) fn is_write(command: &str) -> bool {
    const WRITES: [&str; 34] = [
        "power_off",
        "power_on",
        "set_power_pct",
        "set_power_pct_v2",
        "restore_power_pct",
        "set_power",
        "adjust_power_limit",
        "set_low_power",
        "set_normal_power",
        "set_high_power",
        "set_target_freq",
        "restart_btminer",
        "reboot",
        "update_pools",
        "set_led",
        "update_firmware",
        "factory_reset",
        "update_pwd",
        "net_config",
        "download_logs",
        "enable_btminer_fast_boot",
        "disable_btminer_fast_boot",
        "enable_web_pools",
        "disable_web_pools",
        "set_hostname",
        "set_zone",
        "load_log",
        "pre_power_on",
        "set_temp_offset",
        "adjust_upfreq_speed",
        "set_poweroff_cool",
        "set_fan_zero_speed",
        "disable_btminer_init",
        "enable_btminer_init",
    ];
    WRITES.contains(&command)
}

pub(super) fn invalid_command() -> Value {
    message(code::INVALID_COMMAND, "E", "invalid cmd".into())
}

pub(super) fn invalid_json() -> Value {
    message(code::INVALID_JSON, "E", "invalid json".into())
}

/// The answer to a write that does not come the right way, or while writes are off.
pub(super) fn write_denied() -> Value {
    message(code::PERMISSION_DENIED, "E", "can't access write cmd".into())
}

/// The vendor's envelope.
fn message(code: u32, status: &str, msg: Value) -> Value {
    json!({"STATUS": status, "When": unix_seconds(), "Code": code, "Msg": msg, "Description": ""})
}

#[cfg(test)]
mod tests {
    use super::super::tests::miner;
    use super::*;
    use crate::miner::DriverKind;

    fn service() -> Service {
        let miner = Arc::new(miner(DriverKind::WhatsminerV2, 1));
        Service {
            key: md5_crypt(&miner.password, &miner.identity.salt),
            miner,
            clock: Clock::start(),
            tokens: Mutex::default(),
        }
    }

    fn client(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    /// What a client makes of `get_token`, and a command that it sends with it.
    fn write(service: &Service, token: &Value, command: &str, from: IpAddr) -> Value {
        let field = |name: &str| token["Msg"][name].as_str().unwrap().to_owned();
        let key = md5_crypt("admin", &field("salt"));
        let sign = md5_crypt(&format!("{key}{}", field("time")), &field("newsalt"));
        let plain = json!({"cmd": command, "token": sign}).to_string();
        let data = BASE64.encode(Wrapping::new(&key).wrap(plain.as_bytes()));
        let request = json!({"enc": 1, "data": data});
        let answer = service.unwrap(request.as_object().unwrap(), from);
        match answer["enc"].as_str() {
            Some(data) => {
                let plain = Wrapping::new(&key).unwrap(&BASE64.decode(data).unwrap()).unwrap();
                serde_json::from_slice(&plain).unwrap()
            }
            None => answer,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_lives_thirty_minutes() {
        let service = service();
        let token = service.issue(client(1));
        assert_eq!(token["Code"], 134);
        tokio::time::advance(Duration::from_secs(29 * 60)).await;
        assert_eq!(write(&service, &token, "power_off", client(1))["Code"], 131);
        tokio::time::advance(Duration::from_secs(2 * 60)).await;
        assert_eq!(write(&service, &token, "power_off", client(1))["Code"], 135);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_worth_nothing_to_another_client() {
        let service = service();
        let token = service.issue(client(1));
        assert_eq!(write(&service, &token, "power_off", client(2))["Code"], 135);
    }

    #[tokio::test(start_paused = true)]
    async fn the_thirty_third_token_and_the_seventeenth_client_are_refused_until_some_expire() {
        let service = service();
        for _ in 0..TOKENS_MAX {
            assert_eq!(service.issue(client(1))["Code"], 134);
        }
        assert_eq!(service.issue(client(1))["Code"], 136);
        for last in 2..=16 {
            assert_eq!(service.issue(client(last))["Code"], 134);
        }
        assert_eq!(service.issue(client(17))["Code"], 136);
        tokio::time::advance(TOKEN_LIFE).await;
        assert_eq!(service.issue(client(1))["Code"], 134);
        assert_eq!(service.issue(client(17))["Code"], 134);
    }
}
