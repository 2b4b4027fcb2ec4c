//! A driver changes power and nothing else. Every request that every driver sends is taken down between driver and
//! simulated miner, over a fixed life: read, lower, raise, sleep, wake, close. What is not on the list of its driver fails
//! the test, so a new request anywhere must be written down here, and be looked at, first.

use crate::drivers_proxy;
use crate::sim_servers::bench;

use std::time::Duration;

use ballast::control::snapshot::Target;
use ballast::miner::{Connection, DriverKind, Endpoint, Urgency, driver, http_client};
use ballast::sim::miner::Initial;
use ballast::units::Watts;
use bench::{Bench, PASSWORD};
use drivers_proxy::{Exchange, Proxy, Wire};

/// What one driver may send. `*` stands for anything but a quote or a space; `…` at the end for the rest.
struct Allowed {
    kind: DriverKind,
    /// Questions and sessions.
    asks: &'static [&'static str],
    /// What changes power. Every line must be seen in one life or the other, so that the list does not outlive the code.
    changes: &'static [&'static str],
}

const ALLOWED: [Allowed; 18] = [
    Allowed {
        kind: DriverKind::WhatsminerV2,
        asks: &[
            r#"{"command":"summary"}"#,
            r#"{"command":"status"}"#,
            r#"{"command":"get_error_code"}"#,
            r#"{"command":"get_token"}"#,
        ],
        changes: &[
            r#"encrypted {"command":"set_power_pct","percent":"*"}"#,
            r#"encrypted {"command":"power_off","respbefore":"true"}"#,
            r#"encrypted {"command":"power_on"}"#,
        ],
    },
    Allowed {
        kind: DriverKind::WhatsminerV3,
        asks: &[
            r#"{"cmd":"get.device.info"}"#,
            r#"{"cmd":"get.miner.status","param":"summary"}"#,
            r#"{"cmd":"get.miner.setting"}"#,
        ],
        changes: &[
            r#"{"account":"super","cmd":"set.miner.power_percent","param":{"mode":"fast","percent":"*"}}"#,
            r#"{"account":"super","cmd":"set.miner.service","param":"stop"}"#,
            r#"{"account":"super","cmd":"set.miner.service","param":"start"}"#,
        ],
    },
    Allowed {
        kind: DriverKind::BraiinsOs,
        asks: &[
            r#"POST /api/v1/auth/login {"password":"<password>","username":"root"}"#,
            "GET /api/v1/miner/stats",
            "GET /api/v1/miner/details",
            "GET /api/v1/performance/tuner-state",
            "GET /api/v1/configuration/constraints",
        ],
        changes: &[
            r#"PUT /api/v1/performance/power-target {"watt":*}"#,
            "PUT /api/v1/actions/pause",
            "PUT /api/v1/actions/resume",
        ],
    },
    Allowed {
        kind: DriverKind::Vnish,
        asks: &[
            "GET /api/v1/summary",
            "GET /api/v1/perf-summary",
            "GET /api/v1/status",
            "GET /api/v1/autotune/presets",
            "GET /api/v1/settings",
            r#"POST /api/v1/unlock {"pw":"<password>"}"#,
            "POST /api/v1/lock",
        ],
        changes: &[
            r#"POST /api/v1/mining/throttle {"percent":*}"#,
            "POST /api/v1/mining/pause",
            "POST /api/v1/mining/resume",
            // Firmware without a throttle.
            r#"POST /api/v1/settings {"miner":{"overclock":{"preset":"*"}}}"#,
        ],
    },
    Allowed {
        kind: DriverKind::Luxos,
        asks: &[
            r#"{"command":"summary+power+config"}"#,
            r#"{"command":"summary+power+config+profiles+limits"}"#,
            r#"{"command":"config"}"#,
            r#"{"command":"profiles"}"#,
            r#"{"command":"limits"}"#,
            r#"{"command":"logon"}"#,
            r#"{"command":"logoff","parameter":"*"}"#,
        ],
        changes: &[
            r#"{"command":"profileset","parameter":"*,*"}"#,
            r#"{"command":"powertargetset","parameter":"*,power=*"}"#,
            r#"{"command":"curtail","parameter":"*,sleep"}"#,
            r#"{"command":"curtail","parameter":"*,wakeup"}"#,
        ],
    },
    Allowed {
        kind: DriverKind::BitmainStock,
        asks: &["GET /cgi-bin/stats.cgi", "GET /cgi-bin/summary.cgi", "GET /cgi-bin/get_miner_conf.cgi"],
        changes: &["POST /cgi-bin/set_miner_conf.cgi …"],
    },
    Allowed {
        kind: DriverKind::Epic,
        asks: &["GET /summary", "GET /capabilities"],
        changes: &[
            r#"POST /perpetualtune/algo {"param":{"algo":"Power","target":*},"password":"<password>"}"#,
            r#"POST /miner {"param":"Stop","password":"<password>"}"#,
            r#"POST /miner {"param":"Autostart","password":"<password>"}"#,
        ],
    },
    Allowed {
        kind: DriverKind::AxeOs,
        asks: &["GET /api/system/info", "GET /api/system/asic"],
        // Never `coreVoltage`.
        changes: &[
            r#"PATCH /api/system {"frequency":*}"#,
            "POST /api/system/pause",
            "POST /api/system/resume",
        ],
    },
    Allowed {
        kind: DriverKind::Avalon,
        asks: &[r#"{"command":"version"}"#, r#"{"command":"summary"}"#, r#"{"command":"estats"}"#],
        changes: &[
            r#"{"command":"ascset","parameter":"0,softoff,1:*"}"#,
            r#"{"command":"ascset","parameter":"0,softon,1:*"}"#,
        ],
    },
    Allowed {
        kind: DriverKind::Auradine,
        asks: &[
            r#"POST /token {"command":"token","password":"<password>","user":"admin"}"#,
            "GET /mode",
            "GET /psu",
            "GET /summary",
        ],
        changes: &[
            r#"POST /mode {"command":"mode","mode":"custom","power":*,"tune":"power"}"#,
            r#"POST /mode {"command":"mode","sleep":"on"}"#,
            r#"POST /mode {"command":"mode","sleep":"off"}"#,
        ],
    },
    Allowed {
        kind: DriverKind::CgminerReadOnly,
        asks: &[
            r#"{"command":"version"}"#,
            r#"{"command":"summary"}"#,
            r#"{"command":"power"}"#,
            r#"{"command":"tunerstatus"}"#,
            r#"{"command":"stats"}"#,
        ],
        changes: &[],
    },
    Allowed {
        kind: DriverKind::Proto,
        asks: &[
            r#"POST /api/v1/auth/login {"password":"<password>"}"#,
            r#"POST /api/v1/auth/logout {"access_token":"*","refresh_token":"*"}"#,
            r#"POST /api/v1/auth/refresh {"refresh_token":"*"}"#,
            "GET /api/v1/mining",
            "GET /api/v1/mining/target",
        ],
        changes: &[
            r#"PUT /api/v1/mining/target {"power_target_watts":*}"#,
            "POST /api/v1/mining/stop",
            "POST /api/v1/mining/start",
        ],
    },
    Allowed {
        kind: DriverKind::Mara,
        asks: &["GET /kaonsu/v1/brief", "GET /kaonsu/v1/miner_config"],
        changes: &["POST /kaonsu/v1/miner_config …"],
    },
    Allowed {
        kind: DriverKind::SealMiner,
        asks: &[r#"{"command":"stats"}"#],
        changes: &[
            r#"{"command":"ascset","parameter":"0,powerlimit,{\"value\":\"*\"}"}"#,
            r#"{"command":"ascset","parameter":"0,suspend"}"#,
            // Of the mining process: without it no limit and no waking takes effect.
            r#"{"command":"restart"}"#,
        ],
    },
    // One order, by its name alone, and that somebody stands behind it.
    Allowed {
        kind: DriverKind::Ballast,
        asks: &["GET /api/v1/member", "POST /api/v1/heartbeat"],
        changes: &[r#"PUT /api/v1/limits/ballast {"cap_watts":*,"scope":"miners"}"#],
    },
    // Sessions of its own, and a limit; every form is in `redfish_manners.rs`.
    Allowed {
        kind: DriverKind::Redfish,
        asks: &[
            "GET /redfish/v1/",
            r#"POST /redfish/v1/SessionService/Sessions {"Password":"<password>","UserName":"admin"}"#,
            "DELETE /redfish/v1/SessionService/Sessions/*",
            "GET /redfish/v1/Chassis",
            "GET /redfish/v1/Chassis/1",
            "GET /redfish/v1/Chassis/1/EnvironmentMetrics",
        ],
        changes: &[r#"PATCH /redfish/v1/Chassis/1/EnvironmentMetrics {"PowerLimitWatts":{"SetPoint":*}}"#],
    },
    // A limit, of all its processors at once where all get the same.
    Allowed {
        kind: DriverKind::Zeusd,
        asks: &[
            "GET /discover",
            "GET /gpu/get_power",
            "GET /gpu/get_power_limit",
            "GET /gpu/get_power_limit_constraints",
        ],
        changes: &["POST /gpu/set_power_limit?gpu_ids=0,1,2,3&power_limit_mw=*&block=true"],
    },
    // The outlet of the bench: what its description says, and nothing else.
    Allowed {
        kind: DriverKind::Generic,
        asks: &["GET /relay/0"],
        changes: &[r#"POST /relay/0 {"turn":"on"}"#, r#"POST /relay/0 {"turn":"off"}"#],
    },
];

/// Whether a request is what a line of the list says.
fn is(request: &str, line: &str) -> bool {
    if let Some(start) = line.strip_suffix('…') {
        return request.starts_with(start);
    }
    let mut rest = request;
    let mut parts = line.split('*').peekable();
    let Some(first) = parts.next() else { return false };
    let Some(tail) = rest.strip_prefix(first) else { return false };
    rest = tail;
    while let Some(part) = parts.next() {
        let free = rest.find(['"', ' ', '}', '\\', ',']).unwrap_or(rest.len());
        let last = parts.peek().is_none();
        let found = if last && part.is_empty() { Some(rest.len()) } else { rest.find(part) };
        match found {
            Some(place) if place > 0 && place <= free => rest = &rest[place + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty()
}

/// The keys whose values a configuration that is read and written back may differ in.
fn may_change(kind: DriverKind) -> &'static [&'static str] {
    match kind {
        DriverKind::BitmainStock => &["miner-mode", "bitmain-work-mode"],
        DriverKind::Mara => &["work-mode-selector", "power-target"],
        _ => &[],
    }
}

/// The text with the values of these keys taken out: the rest must be the same byte for byte.
fn without(text: &str, keys: &[&str]) -> String {
    let mut text = text.to_owned();
    for key in keys {
        let Some(start) = text.find(&format!("\"{key}\"")) else { continue };
        let start = start + key.len() + 2;
        let end = start + text[start..].find([',', '}', '\n']).unwrap();
        text.replace_range(start..end, "");
    }
    text
}

/// Stock firmware is read under other names than it is written (asic-rs #245): the names that are added for that, with the
/// level exactly as it was read, are no change.
fn as_read(sent: &str, config: &str) -> String {
    let read: serde_json::Value = serde_json::from_str(config).unwrap();
    match read.get("bitmain-freq-level") {
        Some(level) => sent.replace(&format!(",\"miner-mode\",\"freq-level\":{level}"), ""),
        None => sent.to_owned(),
    }
}

/// One life of a driver: what it sends while it reads, lowers, raises, sleeps, wakes and closes.
async fn life(kind: DriverKind, seed: u64, lowered: i32) -> Vec<Exchange> {
    let bench = Bench::start_seeded(kind, Initial::Hashing { fraction: 1.0 }, seed).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::start(Wire::of(kind), any, bench.address(), PASSWORD).await;
    let connection = Connection {
        endpoint: Endpoint { host: "127.0.0.1".into(), port: proxy.address.port() },
        timeout: Duration::from_secs(5),
        ..bench.connection()
    };
    let mut driver = driver(&connection, &http_client().unwrap());
    driver.read().await.unwrap();
    let power = |watts| Target::Power(Watts::whole(watts));
    for (target, urgency) in [
        (power(lowered), Urgency::Shed),
        (power(3_400), Urgency::Normal),
        (Target::Sleep, Urgency::Shed),
        (power(3_400), Urgency::Normal),
    ] {
        let result = driver.apply(target, urgency).await;
        let refuses =
            kind == DriverKind::CgminerReadOnly || (kind == DriverKind::Generic && target == power(lowered));
        // It goes as low as it goes, and says that this is no sleep.
        let refuses = refuses || (kind.is_server() && target == Target::Sleep);
        assert_eq!(result.is_err(), refuses, "{} {target:?}: {result:?}", kind.name());
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        for _ in 0..2 {
            driver.read().await.unwrap();
        }
    }
    driver.keep_alive().await;
    driver.close().await;
    let tally = bench.miner.tally();
    assert_eq!(tally.trespasses, 0, "{}: {tally:?}", kind.name());
    // Stock firmware restarts mining with every change, and a SealMiner's process with every limit and waking; MARA's may.
    if !kind.traits().restarts {
        assert_eq!(tally.restarts, 0, "{}: {tally:?}", kind.name());
    }
    bench.cancel.cancel();
    proxy.take()
}

/// Looks at one life; gives the lines of changes that were seen.
fn judge(allowed: &Allowed, exchanges: &[Exchange]) -> Vec<&'static str> {
    let mut seen = Vec::new();
    let mut config = String::new();
    for Exchange { request, body, answer } in exchanges {
        let change = allowed.changes.iter().find(|line| is(request, line));
        let ask = allowed.asks.iter().any(|line| is(request, line));
        assert!(change.is_some() || ask, "{} sends what nobody allowed: {request}", allowed.kind.name());
        assert!(!request.contains("open_write_api"), "an undocumented unlock");
        seen.extend(change);
        let keys = may_change(allowed.kind);
        if keys.is_empty() {
            continue;
        }
        if request.starts_with("GET ") && request.contains("conf") && !answer.is_empty() {
            config = String::from_utf8(answer.clone()).unwrap();
        } else if change.is_some() && !body.is_empty() {
            let sent = String::from_utf8(body.clone()).unwrap();
            assert_eq!(
                as_read(&without(&sent, keys), &config),
                without(&config, keys),
                "{}",
                allowed.kind.name()
            );
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_driver_sends_what_is_not_on_its_list() {
    assert_eq!(ALLOWED.each_ref().map(|allowed| allowed.kind), DriverKind::ALL);
    let mut lives = tokio::task::JoinSet::new();
    for (place, allowed) in ALLOWED.iter().enumerate() {
        // Seed 1 runs the newer firmware. Of VNish 1.2 and of LuxOS with power targets the seeds are looked up below.
        for seed in seeds(allowed.kind) {
            lives.spawn(async move {
                let lowered = if allowed.kind == DriverKind::BitmainStock { 20 } else { 2_400 };
                (place, life(allowed.kind, seed, lowered).await)
            });
        }
    }
    let mut seen = vec![Vec::new(); ALLOWED.len()];
    while let Some(done) = lives.join_next().await {
        let (place, exchanges) = done.unwrap();
        assert!(!exchanges.is_empty());
        seen[place].extend(judge(&ALLOWED[place], &exchanges));
    }
    for (allowed, seen) in ALLOWED.iter().zip(seen) {
        for line in allowed.changes {
            assert!(seen.contains(line), "{} never sends {line}; take it off the list", allowed.kind.name());
        }
    }
}

/// Seeds whose miners run each firmware that the driver knows.
fn seeds(kind: DriverKind) -> Vec<u64> {
    match kind {
        DriverKind::Vnish | DriverKind::Luxos => (1..=8).collect(),
        _ => vec![1, 2],
    }
}

#[test]
fn the_list_is_read_strictly() {
    assert!(is(r#"PUT /x {"watt":3200}"#, r#"PUT /x {"watt":*}"#));
    assert!(!is(r#"PUT /x {"watt":3200,"fan":1}"#, r#"PUT /x {"watt":*}"#));
    assert!(!is(r#"PUT /x {"watt":}"#, r#"PUT /x {"watt":*}"#));
    assert!(is("0,softoff,1:17", "0,softoff,1:*") && !is("0,softoff,1:17,reboot", "0,softoff,1:*"));
    assert!(is("POST /c anything", "POST /c …") && !is("POST /d anything", "POST /c …"));
    assert_eq!(
        without("{\"a\" : 1,\n\"mode\" : \"0\",\n\"b\":2}", &["mode"]),
        "{\"a\" : 1,\n\"mode\",\n\"b\":2}"
    );
}
