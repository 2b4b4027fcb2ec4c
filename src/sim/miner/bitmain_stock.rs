//! A miner with Bitmain's own firmware: CGI programs behind digest authentication, as public tools know them
//! (asic-rs 0.8.6, pyasic 0.7x).
//!
//! `set_miner_conf.cgi` takes the whole configuration, heeds the mode under `miner-mode` alone, restarts mining with every
//! write, and takes its time to answer. What is missing from the write is gone, pools included: that is a trespass.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::clock::Moment;

use super::antminer::{chip, put};
use super::antminer_web::{self, Asked, Site, json as answer};
use super::door::Door;
use super::{Face, Habits, Make, MinerState, Refusal, SimMiner, View, legacy, rounded, whole};

/// What such a device is like where simulated miners differ.
pub(super) const MAKE: Make = Make {
    account: ("root", "root"),
    faces: [Face { model: "Antminer S19 Pro", chips: 114 }, Face { model: "Antminer S19j Pro", chips: 126 }],
    habits: Habits {
        sleep_ends_software: true,
        report_lag: 2.0,
        settled_error: 0.02,
        thermal_drift: 0.004,
        ..Habits::STEADY
    },
    connections: antminer_web::CONNECTIONS_MAX,
    serve: |door, _| tokio::spawn(run(door)),
    beside: &[legacy::BESIDE],
};

/// How long a write takes to be answered at the least. The firmware needs 20 s and more, which a site that is read from a file
/// tells its simulated miners ([`SimMiner::answers`]).
const WRITE_TIME: Duration = Duration::from_millis(800);
/// A nonce that is older is stale (lighttpd).
const NONCE_LIFE: Duration = Duration::from_secs(600);
/// As lighttpd on this firmware names its realm; other tools know the vendor by it.
const REALM: &str = "antMiner Configuration";
/// What low draws, of the rated power. Not public; a plausible share.
const LOW: f64 = 0.75;

/// Serves until cancelled.
pub(super) async fn run(door: Door) {
    let site = Stock { miner: Arc::clone(door.miner()), state: Mutex::default() };
    antminer_web::run(door, site).await;
}

struct Stock {
    miner: Arc<SimMiner>,
    state: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    issued: u64,
    nonce: Option<(String, Moment)>,
    /// 0, 1 or 3; `None` is what the physics began with.
    mode: Option<u8>,
}

impl Site for Stock {
    fn answer(&self, asked: &Asked, now: Moment) -> (Response, Duration) {
        if let Err(refused) = self.authorize(&asked.headers, asked.method.as_str(), &asked.path, now) {
            return (*refused, Duration::ZERO);
        }
        let view = self.miner.view(now);
        let program = asked.path.strip_prefix("/cgi-bin/").unwrap_or_default();
        let response = match (asked.method.as_str(), program) {
            ("POST", "set_miner_conf.cgi") => {
                return (self.write(&asked.body, &view, now), WRITE_TIME.max(self.miner.answers().set));
            }
            ("GET", "get_miner_conf.cgi") => {
                ([(header::CONTENT_TYPE, "text/html")], self.config(&view)).into_response()
            }
            ("GET", "stats.cgi") if view.state == MinerState::Asleep && self.miner.identity.older => {
                "Socket connect failed: Connection refused\n".into_response()
            }
            ("GET", "stats.cgi") => answer(StatusCode::OK, self.stats(&view)),
            ("GET", "summary.cgi") => answer(StatusCode::OK, self.summary(&view)),
            ("GET", "get_system_info.cgi") => answer(StatusCode::OK, self.system_info()),
            ("GET", "get_network_info.cgi") => answer(
                StatusCode::OK,
                json!({"nettype": "DHCP", "netdevice": "eth0", "macaddr": self.miner.identity.mac,
                    "ipaddress": self.miner.identity.ip, "conf_nettype": "DHCP", "conf_hostname": "Antminer"}),
            ),
            ("GET", "get_blink_status.cgi") => answer(StatusCode::OK, json!({"blink": false})),
            ("GET", "/" | "") => "<!doctype html><title>Antminer</title>".into_response(),
            ("POST" | "GET", "reboot.cgi") => match self.miner.reboot(now) {
                Ok(()) => StatusCode::OK.into_response(),
                Err(_) => StatusCode::FORBIDDEN.into_response(),
            },
            ("POST", _) => {
                self.miner.trespass();
                StatusCode::FORBIDDEN.into_response()
            }
            _ => (StatusCode::NOT_FOUND, "404 Not Found").into_response(),
        };
        (response, Duration::ZERO)
    }
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Stock {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RFC 7616 with MD5 and `qop=auth`, from the server's side.
    fn authorize(
        &self,
        headers: &HeaderMap,
        method: &str,
        path: &str,
        now: Moment,
    ) -> Result<(), Box<Response>> {
        let mut state = self.lock();
        let header =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let field = |name: &str| {
            header
                .split([',', ' '])
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
                .map(|value| value.trim_matches('"'))
        };
        let mut stale = "";
        if let (Some(user), Some(nonce), Some(count), Some(own), Some(uri), Some(response)) =
            (field("username"), field("nonce"), field("nc"), field("cnonce"), field("uri"), field("response"))
        {
            let who = md5(&format!("{user}:{REALM}:{}", self.miner.password));
            let what = md5(&format!("{method}:{uri}"));
            let right = md5(&format!("{who}:{nonce}:{count}:{own}:auth:{what}"));
            if right == response && user == self.miner.username && uri == path {
                match &state.nonce {
                    Some((known, until)) if known == nonce && now < *until => return Ok(()),
                    _ => stale = ", stale=true",
                }
            }
        }
        let expired = state.nonce.as_ref().is_none_or(|(_, until)| now >= *until);
        if expired {
            state.issued += 1;
            let nonce = self.miner.identity.fresh(state.issued, 24);
            state.nonce = Some((nonce, now + NONCE_LIFE));
        }
        let nonce = state.nonce.as_ref().map(|(nonce, _)| nonce.as_str()).unwrap_or_default();
        let challenge = format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", qop=\"auth\"{stale}");
        let body = "<html><head><title>401 Unauthorized</title></head></html>";
        Err(Box::new(
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)], body).into_response(),
        ))
    }

    fn mode(&self, view: &View) -> u8 {
        let began = if view.state == MinerState::Asleep { 1 } else { 0 };
        *self.lock().mode.get_or_insert(began)
    }

    /// The configuration as text, in the vendor's order and spacing.
    fn config(&self, view: &View) -> String {
        let mode = self.mode(view);
        format!(
            "{{\n\"pools\" : [\n{{\n\"url\" : \"stratum+tcp://pool.invalid:3333\",\n\"user\" : \"sim.worker\",\n\"pass\" : \
             \"x\"\n}},\n{{\n\"url\" : \"\",\n\"user\" : \"\",\n\"pass\" : \"\"\n}},\n{{\n\"url\" : \"\",\n\"user\" : \"\",\n\"pass\" : \
             \"\"\n}}\n]\n,\n\"api-listen\" : true,\n\"api-network\" : true,\n\"api-groups\" : \
             \"A:stats:pools:devs:summary:version\",\n\"api-allow\" : \"A:0/0,W:*\",\n\"bitmain-fan-ctrl\" : \
             false,\n\"bitmain-fan-pwm\" : \"100\",\n\"bitmain-use-vil\" : true,\n\"bitmain-freq\" : \"675\",\n\"bitmain-voltage\" : \
             \"1280\",\n\"bitmain-ccdelay\" : \"0\",\n\"bitmain-pwth\" : \"0\",\n\"bitmain-work-mode\" : \
             \"{mode}\",\n\"bitmain-freq-level\" : \"100\"\n}}\n"
        )
    }

    fn write(&self, body: &[u8], view: &View, now: Moment) -> Response {
        let miner = &self.miner;
        let refuse = |code: &str, msg: &str| {
            answer(StatusCode::OK, json!({"stats": "error", "code": code, "msg": msg}))
        };
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return refuse("M001", "Illegal request!");
        };
        let before = self.mode(view);
        let config: Value = serde_json::from_str(&self.config(view)).unwrap_or_default();
        let same = |key: &str, was: &str| body.get(key) == config.get(was);
        if !(same("pools", "pools")
            && same("bitmain-fan-ctrl", "bitmain-fan-ctrl")
            && same("bitmain-fan-pwm", "bitmain-fan-pwm")
            && same("freq-level", "bitmain-freq-level"))
        {
            miner.trespass();
        }
        let mode = match body.get("miner-mode") {
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64().and_then(|mode| u8::try_from(mode).ok()),
            None => Some(before),
        };
        let rated = miner.rated;
        let result = match mode {
            Some(1) => miner.sleep(now),
            Some(mode @ (0 | 3)) => {
                let limit = if mode == 3 { rated.scaled(LOW) } else { rated };
                miner.command(|physics| {
                    physics.restart(Some(limit), now);
                    physics.wake(now);
                })
            }
            _ => return refuse("M003", "Illegal miner mode!"),
        };
        match result {
            Ok(()) => {
                self.lock().mode = mode;
                answer(StatusCode::OK, json!({"stats": "success", "code": "M000", "msg": "OK!"}))
            }
            Err(Refusal::WriteDisabled) => refuse("M002", "Not permitted!"),
            Err(Refusal::Failed) => refuse("M009", "Failed!"),
        }
    }

    fn head(&self) -> Value {
        json!({"miner_version": "49.0.1.3", "CompileTime": "Mon Jan  1 00:00:00 CST 2024",
            "type": self.miner.identity.model})
    }

    fn stats(&self, view: &View) -> Value {
        let mut table = table(&self.miner, view);
        put(&mut table, "miner-mode", self.mode(view));
        json!({
            "STATUS": {"STATUS": "S", "when": crate::clock::unix_seconds(), "Msg": "stats", "api_version": "1.0.0"},
            "INFO": self.head(), "STATS": [table],
        })
    }

    fn summary(&self, view: &View) -> Value {
        let rate = rounded(view.hashrate.get() / 1e9, 2);
        let (status, msg) = if view.state == MinerState::Tripped {
            ("e", "ERROR_TEMP_TOO_HIGH: over max temp")
        } else {
            ("s", "")
        };
        json!({
            "STATUS": {"STATUS": "S", "when": crate::clock::unix_seconds(), "Msg": "summary", "api_version": "1.0.0"},
            "INFO": self.head(),
            "SUMMARY": [{
                "elapsed": view.mining_time.as_secs(), "rate_5s": rate, "rate_30m": rate, "rate_avg": rate,
                "rate_ideal": rounded(self.miner.top_hashrate() / 1e9, 2), "rate_unit": "GH/s", "hw_all": 0,
                "bestshare": 1,
                "status": [
                    {"type": "rate", "status": "s", "code": 0, "msg": ""},
                    {"type": "network", "status": "s", "code": 0, "msg": ""},
                    {"type": "fans", "status": "s", "code": 0, "msg": ""},
                    {"type": "temp", "status": status, "code": 0, "msg": msg},
                ],
            }],
        })
    }

    fn system_info(&self) -> Value {
        let identity = &self.miner.identity;
        json!({
            "minertype": identity.model, "nettype": "DHCP", "netdevice": "eth0", "macaddr": identity.mac,
            "hostname": "Antminer", "ipaddress": identity.ip, "netmask": "255.0.0.0", "gateway": "", "dnsservers": "",
            "system_mode": "GNU/Linux", "system_kernel_version": "Linux 4.9.113",
            "system_filesystem_version": "Mon Jan  1 00:00:00 CST 2024", "firmware_type": "Release",
            "serinum": identity.serial,
        })
    }
}

/// The table of `stats.cgi`, which is also the newer shape of `stats` on the cgminer port. Newer firmware with a
/// supply that measures tells its power.
pub(super) fn table(miner: &SimMiner, view: &View) -> Value {
    let identity = &miner.identity;
    let rate = view.hashrate.get() / 1e9;
    let boards = f64::from(identity.boards);
    let warm = [whole(chip(view)), whole(chip(view) - 2.0), whole(chip(view) - 4.0), whole(chip(view) - 1.0)];
    let ideal = miner.top_hashrate() / 1e9;
    let chains: Vec<Value> = (0..identity.boards)
        .map(|index| {
            json!({
                "index": index, "freq_avg": 675, "rate_ideal": rounded(ideal / boards, 2),
                "rate_real": rounded(rate / boards, 2), "asic_num": identity.chips, "asic": "", "temp_pic": warm,
                "temp_pcb": warm, "temp_chip": warm, "hw": 0, "eeprom_loaded": true,
                "sn": format!("{}{index}", identity.serial), "hwp": 0.0, "tpl": [],
            })
        })
        .collect();
    let mut table = json!({
        "elapsed": view.mining_time.as_secs(), "rate_5s": rounded(rate, 2), "rate_30m": rounded(rate, 2),
        "rate_avg": rounded(rate, 2), "rate_ideal": rounded(ideal, 2), "rate_unit": "GH/s",
        "chain_num": identity.boards, "fan_num": 4, "fan": [whole(2_000.0 + 4_000.0 * view.warmth), 4_000, 4_000, 4_000],
        "hwp_total": 0.0, "miner-mode": 0, "freq-level": 100, "chain": chains,
    });
    if !identity.older {
        put(&mut table, "watt", whole(view.power.get()));
    }
    table
}
