//! A Whatsminer with API 3 on TCP 4433, as MicroBT's API documentation 3.0 describes it.
//!
//! Each message is its length in four bytes, little-endian, and JSON; a length of zero is a heartbeat and is sent
//! back. A connection may carry many requests, idles out after 300 s, and a miner serves ten at most. Reads need no
//! account; writes carry a token that only someone who knows the password can compute.

pub(super) mod replies;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::clock::{Clock, Moment, unix_seconds};
use crate::units::Watts;

use super::cgminer;
use super::door::{Door, Guest};
use super::{Face, Make, Obstacle, Pace, Refusal, SimMiner, legacy};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("super", "super"),
    faces: [Face { model: "M60S_VK40", chips: 225 }, Face { model: "M50S+_VK30", chips: 117 }],
    habits: super::whatsminer_v2::MAKE.habits,
    connections: CLIENTS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[legacy::BESIDE],
};

/// "Up to 10 clients at the same time."
pub(super) const CLIENTS_MAX: usize = 10;
/// A connection without any message for this long is closed.
const IDLE: Duration = Duration::from_secs(300);
/// Longest wait for the rest of a message that has begun.
const MESSAGE_TIME: Duration = Duration::from_secs(10);
/// Longest request; power commands have about 200 bytes.
const REQUEST_MAX: usize = 16 * 1024;
/// How far the timestamp of a write may lie from the miner's clock, in seconds.
const CLOCK_TOLERANCE: u64 = 600;
/// Letters of a token.
const TOKEN_LETTERS: usize = 8;

/// Codes of the vendor's documentation; several public clients agree on them.
mod code {
    pub(super) const OK: i32 = 0;
    pub(super) const FAILED: i32 = -1;
    pub(super) const INVALID_COMMAND: i32 = -2;
    pub(super) const INVALID_JSON: i32 = -3;
    pub(super) const NO_PERMISSION: i32 = -4;
}

struct Service {
    miner: Arc<SimMiner>,
    clock: Clock,
    garbled: AtomicU64,
}

/// Serves until cancelled.
pub(super) async fn run(mut door: Door) {
    let service = Arc::new(Service {
        miner: Arc::clone(door.miner()),
        clock: door.clock(),
        garbled: AtomicU64::new(0),
    });
    let mut guests = JoinSet::new();
    while let Some((guest, _)) = door.next().await {
        while guests.try_join_next().is_some() {}
        guests.spawn(Arc::clone(&service).serve(guest));
    }
    guests.shutdown().await;
}

/// Reads one message; `None` at the end, after an idle time, and for a length that no request has.
async fn read_message(guest: &mut Guest) -> Option<Vec<u8>> {
    let mut length = [0_u8; 4];
    timeout(IDLE, guest.read_exact(&mut length)).await.ok()?.ok()?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= REQUEST_MAX)?;
    let mut body = vec![0_u8; length];
    timeout(MESSAGE_TIME, guest.read_exact(&mut body)).await.ok()?.ok()?;
    Some(body)
}

/// Puts the length in front.
fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or_default();
    let mut message = length.to_le_bytes().to_vec();
    message.extend_from_slice(body);
    message
}

/// The vendor's envelope.
fn message(code: i32, command: &str, msg: impl Into<Value>) -> Value {
    json!({"code": code, "when": unix_seconds(), "msg": msg.into(), "desc": command})
}

/// The token of a write: the first letters of base64(SHA-256(command + password + salt + timestamp)).
fn token(command: &str, password: &str, salt: &str, timestamp: u64) -> String {
    let digest = Sha256::digest(format!("{command}{password}{salt}{timestamp}").as_bytes());
    BASE64.encode(digest).chars().take(TOKEN_LETTERS).collect()
}

impl Service {
    async fn serve(self: Arc<Self>, mut guest: Guest) {
        while let Some(request) = read_message(&mut guest).await {
            if self.miner.obstacle() == Obstacle::Hang {
                return cgminer::hang(&self.miner, &mut guest).await;
            }
            if request.is_empty() {
                if !send(&mut guest, &framed(&[])).await {
                    return;
                }
                continue;
            }
            if self.miner.obstacle() == Obstacle::Garbage {
                let index = self.garbled.fetch_add(1, Ordering::Relaxed);
                let nonsense = self.miner.identity.garbage(index);
                // By turns inside of a frame, and instead of one.
                let bytes = if index.is_multiple_of(2) { framed(&nonsense) } else { nonsense };
                let _ = send(&mut guest, &bytes).await;
                return;
            }
            let answer = framed(self.answer(&request).to_string().as_bytes());
            if let Obstacle::Delay(delay) = self.miner.obstacle() {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = guest.session().clone().cancelled_owned() => return,
                }
            }
            if !send(&mut guest, &answer).await {
                return;
            }
        }
    }

    fn answer(&self, request: &[u8]) -> Value {
        let Ok(object) = serde_json::from_slice::<Map<String, Value>>(request) else {
            return message(code::INVALID_JSON, "", "invalid json");
        };
        let Some(command) = object.get("cmd").and_then(Value::as_str) else {
            return message(code::INVALID_COMMAND, "", "invalid command");
        };
        let param = object.get("param").filter(|param| !param.is_null());
        let now = self.clock.now();
        if command.starts_with("get.") {
            let view = self.miner.view(now);
            return match replies::read(&self.miner, &view, command, param) {
                Ok(msg) => message(code::OK, command, msg),
                Err((code, text)) => message(code, command, text),
            };
        }
        if !command.starts_with("set.") {
            return message(code::INVALID_COMMAND, command, "invalid command");
        }
        if let Err(text) = self.authorize(command, &object) {
            return message(code::NO_PERMISSION, command, text);
        }
        self.write(command, param, now)
    }

    fn authorize(&self, command: &str, object: &Map<String, Value>) -> Result<(), &'static str> {
        let account = object.get("account").and_then(Value::as_str).unwrap_or_default();
        // "admin" is the account of the web page, not of the API.
        if account != self.miner.username || account == "admin" {
            return Err("permission denied");
        }
        let timestamp = object.get("ts").and_then(Value::as_u64).ok_or("invalid ts")?;
        if timestamp.abs_diff(unix_seconds()) > CLOCK_TOLERANCE {
            return Err("invalid ts");
        }
        let given = object.get("token").and_then(Value::as_str).unwrap_or_default();
        let salt = &self.miner.identity.salt;
        if given != token(command, &self.miner.password, salt, timestamp) {
            return Err("invalid token");
        }
        Ok(())
    }

    fn write(&self, command: &str, param: Option<&Value>, now: Moment) -> Value {
        let miner = &self.miner;
        let invalid = || message(code::FAILED, command, "invalid param");
        let watts = || {
            let text = || param.and_then(Value::as_str).and_then(|text| text.parse().ok());
            param
                .and_then(Value::as_u64)
                .or_else(text)
                .and_then(|watts| u32::try_from(watts).ok())
                .filter(|watts| *watts <= 99_999)
                .map(|watts| Watts::saturating(f64::from(watts)))
        };
        let result = match command {
            "set.miner.power_percent" => {
                // The documentation says number, the firmware reads text only (seen by the makers of MiningOS).
                let field = |name| param.and_then(|param| param.get(name)).and_then(Value::as_str);
                let percent = field("percent")
                    .and_then(|text| text.parse::<u8>().ok())
                    .filter(|percent| *percent <= 100);
                let pace = match field("mode") {
                    Some("fast") => Some(Pace::Quick),
                    Some("normal") => Some(Pace::Gentle),
                    _ => None,
                };
                match (percent, pace) {
                    (Some(percent), Some(pace)) => miner.set_percent(f64::from(percent), pace, now),
                    _ => return invalid(),
                }
            }
            "set.miner.power" => match watts() {
                Some(watts) => miner.set_power(watts, now),
                None => return invalid(),
            },
            "set.miner.power_limit" => match watts() {
                Some(watts) => miner.restart(Some(watts), now),
                None => return invalid(),
            },
            "set.miner.service" => match param.and_then(Value::as_str) {
                Some("start") => miner.wake(now),
                Some("stop") => miner.sleep(now),
                Some("restart") => miner.restart(None, now),
                _ => return invalid(),
            },
            "set.miner.power_mode" => match param.and_then(Value::as_str) {
                Some("low") => miner.restart(Some(miner.rated.scaled(0.8)), now),
                Some("normal") => miner.restart(Some(miner.rated), now),
                Some("high") => miner.restart(Some(miner.nameplate), now),
                _ => return invalid(),
            },
            "set.system.reboot" => miner.reboot(now),
            _ if is_known(command) => {
                miner.trespass();
                return message(code::NO_PERMISSION, command, "permission denied");
            }
            _ => return message(code::INVALID_COMMAND, command, "invalid command"),
        };
        match result {
            Ok(()) => message(code::OK, command, "ok"),
            Err(Refusal::WriteDisabled) => message(code::NO_PERMISSION, command, "permission denied"),
            Err(Refusal::Failed) => message(code::FAILED, command, "fail"),
        }
    }
}

/// Commands that exist but that a power controller has no business with: its account is not allowed them.
fn is_known(command: &str) -> bool {
    ["set.user.", "set.system.", "set.miner.", "set.fan.", "set.log.", "set.device.", "set.shell."]
        .iter()
        .any(|group| command.starts_with(group))
}

async fn send(guest: &mut Guest, bytes: &[u8]) -> bool {
    matches!(timeout(MESSAGE_TIME, guest.write_all(bytes)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_agrees_with_openssl() {
        // printf %s 'set.miner.servicesuperAbc123xy1759800000' | openssl dgst -sha256 -binary | base64
        assert_eq!(token("set.miner.service", "super", "Abc123xy", 1_759_800_000), "Cg2iuKaj");
    }
}
