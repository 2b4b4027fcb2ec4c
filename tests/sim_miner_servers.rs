//! The simulated miners over real loopback sockets: each vendor's protocol byte by byte, its refusals and its faults.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballast::clock::{Clock, unix_seconds};
use ballast::control::site::{Actuator, CircuitId, Miner, OperatingPoint, Response};
use ballast::miner::{Connection, Credentials, DriverKind, Endpoint};
use ballast::secret::Secret;
use ballast::sim::miner::crypt::{Wrapping, md5_crypt};
use ballast::sim::miner::{Fault, FaultKind, Initial, MinerState, ServerHandle, SimMiner, serve};
use ballast::units::{Hashrate, Watts, WattsPerSecond};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "not the default";

/// A miner with its server on a port of its own.
struct Bench {
    miner: Arc<SimMiner>,
    server: ServerHandle,
    clock: Clock,
    cancel: CancellationToken,
}

impl Bench {
    async fn start(driver: DriverKind) -> Self {
        Self::start_as(driver, Initial::Hashing { fraction: 1.0 }).await
    }

    async fn start_as(driver: DriverKind, initial: Initial) -> Self {
        let traits = driver.traits();
        let point = |watts: i32, terahashes: f64| OperatingPoint {
            power: Watts::whole(watts),
            hashrate: Hashrate::terahashes(terahashes),
        };
        // Quick, so that the tests are: what the vendors' ramps are is the business of the physics' own tests.
        let response = Response {
            dead_time_down: Duration::from_millis(100),
            dead_time_up: Duration::from_millis(100),
            ramp_down: WattsPerSecond::whole(10_000),
            ramp_up: WattsPerSecond::whole(10_000),
            start_time: Duration::from_millis(700),
            start_overshoot: 0.05,
        };
        let spec = Miner {
            name: "bench".into(),
            driver: driver.name(),
            circuit: CircuitId(0),
            points: vec![point(1_700, 92.0), point(3_400, 170.0)],
            sleep: Watts::whole(20),
            nameplate: Watts::whole(3_700),
            actuator: Actuator::Continuous {
                quantum: Watts::whole(34),
            },
            response,
            cost: traits.cost,
            poll_period: Duration::from_secs(2),
            silent_after: Duration::from_secs(10),
        };
        let connection = Connection {
            name: "bench".into(),
            driver,
            endpoint: Endpoint {
                host: "127.0.0.1".into(),
                port: 0,
            },
            credentials: Some(Credentials {
                username: None,
                password: Secret::new(PASSWORD.into()),
            }),
            timeout: Duration::from_secs(2),
            rated: Watts::whole(3_400),
        };
        let clock = Clock::start();
        let cancel = CancellationToken::new();
        let miner = Arc::new(SimMiner::new(&spec, &connection, 11, initial));
        let server = serve(Arc::clone(&miner), &connection, clock, cancel.clone())
            .await
            .unwrap();
        Self {
            miner,
            server,
            clock,
            cancel,
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn power(&self) -> f64 {
        self.miner.power(self.clock.now()).get()
    }

    fn inject(&self, fault: Fault) {
        self.miner.inject(fault, self.clock.now());
    }

    fn clear(&self, kind: FaultKind) {
        self.miner.clear(kind, self.clock.now());
    }

    /// Waits until something holds, at most ten seconds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..200 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what} did not come about; power {} W", self.power());
    }
}

/// One exchange with API 2: everything until the connection ends.
async fn v2_raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    if answer.last() == Some(&0) {
        answer.pop();
    }
    answer
}

async fn v2(address: SocketAddr, request: Value) -> Value {
    serde_json::from_slice(&v2_raw(address, request.to_string().as_bytes()).await).unwrap()
}

/// The client's side of an API 2 session.
struct V2Session {
    key: String,
    sign: String,
}

impl V2Session {
    async fn open(address: SocketAddr, password: &str) -> Self {
        let token = v2(address, json!({"command": "get_token"})).await;
        assert_eq!((&token["STATUS"], &token["Code"]), (&json!("S"), &json!(134)));
        let field = |name: &str| token["Msg"][name].as_str().unwrap().to_owned();
        let key = md5_crypt(password, &field("salt"));
        let sign = md5_crypt(&format!("{key}{}", field("time")), &field("newsalt"));
        Self { key, sign }
    }

    async fn send(&self, address: SocketAddr, mut command: Value) -> Value {
        command["token"] = json!(self.sign);
        let wrapping = Wrapping::new(&self.key);
        let data = BASE64.encode(wrapping.wrap(command.to_string().as_bytes()));
        let answer = v2(address, json!({"enc": 1, "data": data})).await;
        match answer["enc"].as_str() {
            Some(data) => {
                serde_json::from_slice(&wrapping.unwrap(&BASE64.decode(data).unwrap()).unwrap()).unwrap()
            }
            None => answer,
        }
    }
}

#[tokio::test]
async fn v2_reads_have_the_shape_of_the_vendor() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let at = bench.address();
    let summary = v2(at, json!({"command": "summary"})).await;
    assert_eq!(summary["STATUS"][0]["STATUS"], "S");
    let power = summary["SUMMARY"][0]["Power"].as_f64().unwrap();
    assert!((power / bench.power() - 1.0).abs() < 0.02, "{power}");
    assert_eq!(summary["SUMMARY"][0]["Power Limit"], 3_400);
    assert_eq!(summary["SUMMARY"][0]["Upfreq Complete"], 1);
    let megahashes = summary["SUMMARY"][0]["MHS 1m"].as_f64().unwrap();
    assert!((160e6..=170e6).contains(&megahashes), "{megahashes}");

    let status = v2(at, json!({"cmd": "status"})).await;
    assert_eq!(
        (&status["Code"], &status["Msg"]["mineroff"]),
        (&json!(131), &json!("false"))
    );
    assert_eq!(
        v2(at, json!({"command": "devs"})).await["DEVS"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        v2(at, json!({"command": "edevs"})).await["DEVS"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert_eq!(
        v2(at, json!({"command": "get_version"})).await["Msg"]["api_ver"],
        "2.0.5"
    );
    for command in ["get_miner_info", "get_psu", "get_error_code"] {
        assert_eq!(
            v2(at, json!({"command": command})).await["Code"],
            131,
            "{command}"
        );
    }
    let several = v2(at, json!({"command": "summary+pools+devdetails"})).await;
    assert_eq!(several["devdetails"][0]["DEVDETAILS"][0]["Driver"], "bitmicro");
    assert_eq!(several["pools"][0]["POOLS"][0]["POOL"], 1);
}

#[tokio::test]
async fn v2_says_what_is_wrong_with_a_request() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let at = bench.address();
    assert_eq!(v2(at, json!({"command": "open_sesame"})).await["Code"], 14);
    assert_eq!(v2(at, json!({"command": "open_write_api"})).await["Code"], 14);
    assert_eq!(v2(at, json!({"commando": 1})).await["Code"], 14);
    assert_eq!(v2(at, json!({"cmd": "power_off"})).await["Code"], 45);
    assert_eq!(v2(at, json!({"enc": 1, "data": "***"})).await["Code"], 137);
    assert_eq!(v2(at, json!({"enc": 1})).await["Code"], 137);
    assert_eq!(v2(at, json!({"enc": 1, "data": "AAAA"})).await["Code"], 23);
    for broken in [&b"hello"[..], b"[1]", b"{\"command\":}"] {
        let answer: Value = serde_json::from_slice(&v2_raw(at, broken).await).unwrap();
        assert_eq!(answer["Code"], 23);
    }
    let long = format!("{{\"command\":\"{}", "x".repeat(9_000));
    let answer: Value = serde_json::from_slice(&v2_raw(at, long.as_bytes()).await).unwrap();
    assert_eq!(answer["Code"], 23);
    assert_eq!(bench.miner.state(bench.clock.now()), MinerState::Hashing);
}

#[tokio::test]
async fn v2_takes_a_request_in_pieces() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let mut stream = TcpStream::connect(bench.address()).await.unwrap();
    for piece in ["{\"comm", "and\":\"sta", "tus\"}"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("mineroff"), "{answer}");
}

#[tokio::test]
async fn v2_power_follows_an_encrypted_percentage_within_seconds() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let at = bench.address();
    let session = V2Session::open(at, PASSWORD).await;
    let answer = session
        .send(at, json!({"cmd": "set_power_pct", "percent": "60"}))
        .await;
    assert_eq!(
        (&answer["Code"], &answer["Msg"]),
        (&json!(131), &json!("API command OK"))
    );
    bench.until("60 %", |bench| bench.power() < 2_120.0).await;
    // The same token serves again: nothing asks for a fresh one per command.
    assert_eq!(
        session.send(at, json!({"cmd": "restore_power_pct"})).await["Code"],
        131
    );
    bench.until("100 %", |bench| bench.power() > 3_200.0).await;
    assert_eq!(bench.miner.tally().restarts, 0);
}

#[tokio::test]
async fn v2_refuses_a_wrong_password_a_wrong_token_and_wrong_values() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let at = bench.address();
    let stranger = V2Session::open(at, "admin").await;
    assert_eq!(stranger.send(at, json!({"cmd": "power_off"})).await["Code"], 23);
    let mut session = V2Session::open(at, PASSWORD).await;
    for command in [
        json!({"cmd": "set_power_pct", "percent": 60}),
        json!({"cmd": "set_power_pct", "percent": "101"}),
        json!({"cmd": "set_power_pct", "percent": "-1"}),
        json!({"cmd": "set_power_pct"}),
        json!({"cmd": "adjust_power_limit", "power_limit": "100000"}),
        json!({"cmd": "no_such_command"}),
    ] {
        assert_eq!(session.send(at, command.clone()).await["Code"], 14, "{command}");
    }
    assert_eq!(
        session
            .send(at, json!({"cmd": "update_pools", "pool1": "x"}))
            .await["Code"],
        132
    );
    assert_eq!(bench.miner.tally().trespasses, 1);
    session.sign = "0".repeat(22);
    assert_eq!(session.send(at, json!({"cmd": "power_off"})).await["Code"], 135);
    assert_eq!(bench.miner.state(bench.clock.now()), MinerState::Hashing);
}

#[tokio::test]
async fn v2_runs_out_of_tokens() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let at = bench.address();
    let mut codes = Vec::new();
    for _ in 0..33 {
        codes.push(v2(at, json!({"command": "get_token"})).await);
    }
    assert_eq!(codes[31]["Code"], 134);
    assert_eq!(
        (&codes[32]["Code"], &codes[32]["Msg"]),
        (&json!(136), &json!("over max connect"))
    );
}

#[tokio::test]
async fn v2_sleeps_wakes_and_punishes_a_new_power_limit() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let at = bench.address();
    let session = V2Session::open(at, PASSWORD).await;
    assert_eq!(
        session
            .send(at, json!({"cmd": "power_off", "respbefore": "true"}))
            .await["Code"],
        131
    );
    bench.until("sleep", |bench| bench.power() < 70.0).await;
    let status = v2(at, json!({"command": "status"})).await;
    assert_eq!(status["Msg"]["mineroff"], "true");
    assert_eq!(session.send(at, json!({"cmd": "power_on"})).await["Code"], 131);
    bench.until("hashing", |bench| bench.power() > 3_000.0).await;
    let limit = json!({"cmd": "adjust_power_limit", "power_limit": "3000"});
    assert_eq!(session.send(at, limit).await["Code"], 131);
    bench.until("restart", |bench| bench.power() < 100.0).await;
    assert_eq!(bench.miner.tally().restarts, 1);
}

/// A connection to API 3.
struct V3(TcpStream);

impl V3 {
    async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn send_bytes(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        self.0.write_all(&length).await.unwrap();
        self.0.write_all(body).await.unwrap();
    }

    async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).await?;
        let mut body = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
        self.0.read_exact(&mut body).await?;
        Ok(body)
    }

    async fn ask(&mut self, request: Value) -> Value {
        self.send_bytes(request.to_string().as_bytes()).await;
        let body = timeout(Duration::from_secs(5), self.receive())
            .await
            .unwrap()
            .unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    async fn write(&mut self, command: &str, param: Value) -> Value {
        self.write_as("super", PASSWORD, unix_seconds(), command, param)
            .await
    }

    async fn write_as(
        &mut self,
        account: &str,
        password: &str,
        ts: u64,
        command: &str,
        param: Value,
    ) -> Value {
        let info = self.ask(json!({"cmd": "get.device.info", "param": "salt"})).await;
        let salt = info["msg"]["salt"].as_str().unwrap();
        let digest = Sha256::digest(format!("{command}{password}{salt}{ts}"));
        let token = &BASE64.encode(digest)[..8];
        self.ask(json!({"cmd": command, "param": param, "account": account, "ts": ts, "token": token}))
            .await
    }
}

#[tokio::test]
async fn v3_reads_have_the_shape_of_the_vendor() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut api = V3::open(bench.address()).await;
    let info = api.ask(json!({"cmd": "get.device.info"})).await;
    assert_eq!(
        (&info["code"], &info["desc"]),
        (&json!(0), &json!("get.device.info"))
    );
    assert_eq!(info["msg"]["miner"]["working"], "true");
    let status = api
        .ask(json!({"cmd": "get.miner.status", "param": "summary"}))
        .await;
    let summary = &status["msg"]["summary"];
    let power = summary["power-realtime"].as_f64().unwrap();
    assert!((power / bench.power() - 1.0).abs() < 0.02, "{power}");
    assert_eq!(
        (&summary["power-limit"], &summary["up-freq-finish"]),
        (&json!(3_400), &json!(1))
    );
    let both = api
        .ask(json!({"cmd": "get.miner.status", "param": "summary+edevs"}))
        .await;
    assert_eq!(both["msg"]["edevs"].as_array().unwrap().len(), 3);
    assert!(both["msg"].get("pools").is_none());
    let setting = api.ask(json!({"cmd": "get.miner.setting"})).await;
    assert_eq!(setting["msg"]["power-percent"], 0);
    // A heartbeat is answered with one.
    api.send_bytes(b"").await;
    assert_eq!(api.receive().await.unwrap(), b"");
}

#[tokio::test]
async fn v3_says_what_is_wrong_with_a_request() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut api = V3::open(bench.address()).await;
    api.send_bytes(b"{broken").await;
    let broken: Value = serde_json::from_slice(&api.receive().await.unwrap()).unwrap();
    assert_eq!(broken["code"], -3);
    assert_eq!(api.ask(json!({"cmd": "get.nothing"})).await["code"], -2);
    assert_eq!(api.ask(json!({"cmd": "get.miner.status"})).await["code"], -3);
    assert_eq!(
        api.ask(json!({"cmd": "get.miner.status", "param": "nothing"}))
            .await["code"],
        -1
    );
    assert_eq!(
        api.ask(json!({"cmd": "set.miner.service", "param": "stop"}))
            .await["code"],
        -4
    );
    let now = unix_seconds();
    let stop = json!("stop");
    for (account, password, ts) in [
        ("super", "wrong", now),
        ("admin", PASSWORD, now),
        ("user1", PASSWORD, now),
        ("super", PASSWORD, now - 10_000),
        ("super", PASSWORD, now * 1_000),
    ] {
        let answer = api
            .write_as(account, password, ts, "set.miner.service", stop.clone())
            .await;
        assert_eq!(answer["code"], -4, "{account} {ts}");
    }
    // The firmware reads the percentage as text only.
    let number = json!({"percent": 60, "mode": "fast"});
    assert_eq!(api.write("set.miner.power_percent", number).await["code"], -1);
    let mode = json!({"percent": "60", "mode": "quick"});
    assert_eq!(api.write("set.miner.power_percent", mode).await["code"], -1);
    assert_eq!(api.write("set.user.change_passwd", json!("x")).await["code"], -4);
    assert_eq!(api.write("set.nothing", json!("x")).await["code"], -2);
    assert_eq!(bench.miner.tally().trespasses, 1);
    assert_eq!(bench.miner.state(bench.clock.now()), MinerState::Hashing);
}

#[tokio::test]
async fn v3_closes_on_a_length_that_no_request_has() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut api = V3::open(bench.address()).await;
    api.0.write_all(&[0xff; 8]).await.unwrap();
    assert!(
        timeout(Duration::from_secs(2), api.receive())
            .await
            .unwrap()
            .is_err()
    );
}

#[tokio::test]
async fn v3_serves_ten_clients_and_no_eleventh() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = V3::open(bench.address()).await;
        assert_eq!(client.ask(json!({"cmd": "get.device.info"})).await["code"], 0);
        clients.push(client);
    }
    let mut eleventh = V3::open(bench.address()).await;
    assert!(
        timeout(Duration::from_secs(2), eleventh.receive())
            .await
            .unwrap()
            .is_err()
    );
    clients.pop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut late = V3::open(bench.address()).await;
    assert_eq!(late.ask(json!({"cmd": "get.device.info"})).await["code"], 0);
}

#[tokio::test]
async fn v3_obeys_percent_watts_and_service() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut api = V3::open(bench.address()).await;
    let percent = json!({"percent": "60", "mode": "fast"});
    assert_eq!(api.write("set.miner.power_percent", percent).await["msg"], "ok");
    bench.until("60 %", |bench| bench.power() < 2_120.0).await;
    let setting = api.ask(json!({"cmd": "get.miner.setting"})).await;
    assert_eq!(setting["msg"]["power-percent"], 60);
    assert_eq!(api.write("set.miner.power", json!(2_800)).await["code"], 0);
    bench.until("2800 W", |bench| bench.power() > 2_700.0).await;
    assert_eq!(api.write("set.miner.service", json!("stop")).await["code"], 0);
    bench.until("sleep", |bench| bench.power() < 70.0).await;
    let info = api.ask(json!({"cmd": "get.device.info", "param": "miner"})).await;
    assert_eq!(info["msg"]["miner"]["working"], "false");
    assert_eq!(api.write("set.miner.service", json!("start")).await["code"], 0);
    bench.until("hashing", |bench| bench.power() > 2_700.0).await;
    assert_eq!(bench.miner.tally().restarts, 0);
}

/// A client of the Braiins REST API.
struct Rest {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Rest {
    fn new(address: SocketAddr) -> Self {
        Self {
            client: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(5))
                .build()
                .unwrap(),
            base: format!("http://{address}/api/v1/"),
            token: String::new(),
        }
    }

    async fn login(address: SocketAddr) -> Self {
        let mut rest = Self::new(address);
        let (status, body) = rest
            .post("auth/login", json!({"username": "root", "password": PASSWORD}))
            .await;
        assert_eq!((status, &body["timeout_s"]), (200, &json!(3_600)));
        rest.token = body["token"].as_str().unwrap().into();
        rest
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let request = if self.token.is_empty() {
            request
        } else {
            request.header("Authorization", &self.token)
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default(),
        )
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(self.client.put(format!("{}{path}", self.base)).json(&body))
            .await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(self.client.post(format!("{}{path}", self.base)).json(&body))
            .await
    }
}

#[tokio::test]
async fn braiins_asks_for_a_token() {
    let bench = Bench::start(DriverKind::BraiinsOs).await;
    let mut rest = Rest::new(bench.address());
    assert_eq!(rest.get("version").await.0, 200);
    assert_eq!(rest.get("miner/stats").await.0, 401);
    assert_eq!(rest.get("no/such/path").await.0, 401);
    assert_eq!(rest.put("actions/pause", Value::Null).await.0, 401);
    rest.token = "made-up".into();
    assert_eq!(rest.get("miner/stats").await.0, 401);
    rest.token.clear();
    let wrong = json!({"username": "root", "password": "root"});
    assert_eq!(rest.post("auth/login", wrong).await.0, 401);
    assert_eq!(rest.post("auth/login", json!({"username": "root"})).await.0, 422);
    let broken = rest.client.post(format!("{}auth/login", rest.base)).body("{");
    assert_eq!(rest.send(broken).await.0, 400);
    assert_eq!(bench.miner.state(bench.clock.now()), MinerState::Hashing);
}

#[tokio::test]
async fn braiins_reads_have_the_shape_of_the_vendor() {
    let bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(bench.address()).await;
    let (_, stats) = rest.get("miner/stats").await;
    let watt = stats["power_stats"]["approximated_consumption"]["watt"]
        .as_f64()
        .unwrap();
    assert!((watt / bench.power() - 1.0).abs() < 0.02, "{watt}");
    let (_, details) = rest.get("miner/details").await;
    assert_eq!(details["status"], 2);
    let (_, constraints) = rest.get("configuration/constraints").await;
    let range = &constraints["tuner_constraints"]["power_target"];
    assert_eq!(
        (&range["min"]["watt"], &range["max"]["watt"]),
        (&json!(1_700), &json!(3_400))
    );
    let (_, tuner) = rest.get("performance/tuner-state").await;
    assert_eq!(
        tuner["mode_state"]["powertargetmodestate"]["current_target"]["watt"],
        3_400
    );
    for path in [
        "miner/hw/hashboards",
        "miner/errors",
        "configuration/miner",
        "performance/mode",
        "cooling/state",
        "network",
        "pools",
    ] {
        assert_eq!(rest.get(path).await.0, 200, "{path}");
    }
    assert_eq!(rest.get("no/such/path").await.0, 404);
}

#[tokio::test]
async fn braiins_lowers_a_target_live_and_checks_it() {
    let bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(bench.address()).await;
    let path = "performance/power-target";
    for (body, status) in [
        (json!({"watt": 1_699}), 412),
        (json!({"watt": 3_401}), 412),
        (json!({"watt": "2000"}), 422),
        (json!({"watt": 2_000.5}), 422),
        (json!({"watt": -5}), 422),
        (json!({}), 422),
    ] {
        assert_eq!(rest.put(path, body.clone()).await.0, status, "{body}");
    }
    let broken = rest.client.put(format!("{}{path}", rest.base)).body("{watt");
    assert_eq!(rest.send(broken).await.0, 400);
    assert_eq!(
        rest.put(path, json!({"watt": 2_600})).await,
        (200, json!({"watt": 2_600}))
    );
    let (_, mode) = rest.get("performance/mode").await;
    assert_eq!(
        mode["tunermode"]["target"]["powertarget"]["power_target"]["watt"],
        2_600
    );
    bench.until("2600 W", |bench| bench.power() < 2_660.0).await;
    assert_eq!(rest.put("pools/batch", json!([])).await.0, 403);
    assert_eq!(bench.miner.tally().trespasses, 1);
    let large = rest
        .client
        .put(format!("{}{path}", rest.base))
        .body("x".repeat(20_000));
    assert_eq!(rest.send(large).await.0, 413);
}

#[tokio::test]
async fn braiins_pauses_resumes_and_knows_its_states() {
    let bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(bench.address()).await;
    assert_eq!(rest.put("actions/pause", Value::Null).await, (200, json!(false)));
    bench
        .until("pause", |bench| {
            bench.miner.state(bench.clock.now()) == MinerState::Asleep
        })
        .await;
    assert_eq!(rest.get("miner/details").await.1["status"], 3);
    assert_eq!(rest.put("actions/pause", Value::Null).await, (200, json!(true)));
    assert_eq!(rest.put("actions/stop", Value::Null).await.0, 200);
    assert_eq!(rest.get("miner/details").await.1["status"], 1);
    assert_eq!(rest.put("actions/resume", Value::Null).await.0, 409);
    assert_eq!(rest.put("actions/start", Value::Null).await, (200, json!(false)));
    bench.until("start", |bench| bench.power() > 100.0).await;
    assert_eq!(rest.get("miner/details").await.1["status"], 2);
    assert_eq!(
        rest.get("performance/tuner-state").await.1["overall_tuner_state"],
        3
    );
    bench.inject(Fault::Trips);
    assert_eq!(rest.put("actions/resume", Value::Null).await.0, 409);
}

#[tokio::test]
async fn a_slow_miner_answers_late_but_acts_at_once() {
    let bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(bench.address()).await;
    bench.inject(Fault::Slow {
        delay: Duration::from_millis(600),
    });
    #[expect(clippy::disallowed_methods, reason = "the test measures real time")]
    let before = Instant::now();
    assert_eq!(rest.put("actions/pause", Value::Null).await.0, 200);
    assert!(before.elapsed() >= Duration::from_millis(600));
    bench.clear(FaultKind::Slow);
    assert!(bench.power() < 1_000.0);
}

#[tokio::test]
async fn an_unreachable_miner_refuses_and_comes_back_on_the_same_port() {
    for driver in DriverKind::ALL {
        let bench = Bench::start(driver).await;
        let mut open = TcpStream::connect(bench.address()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.inject(Fault::Unreachable);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(TcpStream::connect(bench.address()).await.is_err(), "{driver:?}");
        let mut byte = [0];
        let ended = timeout(Duration::from_secs(2), open.read(&mut byte))
            .await
            .unwrap();
        assert!(ended.map_or(true, |count| count == 0), "{driver:?}");
        assert!(bench.power() > 3_000.0, "it goes on");
        bench.clear(FaultKind::Unreachable);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(TcpStream::connect(bench.address()).await.is_ok(), "{driver:?}");
    }
}

#[tokio::test]
async fn a_reboot_answers_first_and_then_takes_the_network_down() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut api = V3::open(bench.address()).await;
    assert_eq!(api.write("set.system.reboot", Value::Null).await["code"], 0);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(TcpStream::connect(bench.address()).await.is_err());
    assert!(bench.power() < 100.0);

    let bench = Bench::start(DriverKind::BraiinsOs).await;
    bench.inject(Fault::Reboot {
        off_for: Duration::from_millis(500),
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(bench.address()).await.is_err());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(TcpStream::connect(bench.address()).await.is_ok());
}

#[tokio::test]
async fn a_hung_miner_accepts_and_says_nothing() {
    for driver in DriverKind::ALL {
        let bench = Bench::start(driver).await;
        bench.inject(Fault::Hang);
        let mut stream = TcpStream::connect(bench.address()).await.unwrap();
        let request: &[u8] = match driver {
            DriverKind::WhatsminerV2 => b"{\"command\":\"summary\"}",
            DriverKind::WhatsminerV3 => b"\x19\0\0\0{\"cmd\":\"get.device.info\"}",
            DriverKind::BraiinsOs => b"GET /api/v1/version HTTP/1.1\r\nHost: miner\r\n\r\n",
        };
        stream.write_all(request).await.unwrap();
        let mut byte = [0];
        let silent = timeout(Duration::from_millis(400), stream.read(&mut byte))
            .await
            .is_err();
        assert!(silent, "{driver:?}");
        bench.clear(FaultKind::Hang);
        assert!(
            timeout(Duration::from_secs(2), stream.read(&mut byte))
                .await
                .is_ok(),
            "{driver:?}"
        );
    }
}

#[tokio::test]
async fn garbage_is_never_a_valid_answer() {
    let v2_bench = Bench::start(DriverKind::WhatsminerV2).await;
    v2_bench.inject(Fault::Garbage);
    let v3_bench = Bench::start(DriverKind::WhatsminerV3).await;
    v3_bench.inject(Fault::Garbage);
    let rest_bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(rest_bench.address()).await;
    rest_bench.inject(Fault::Garbage);
    for _ in 0..6 {
        let answer = v2_raw(v2_bench.address(), b"{\"command\":\"summary\"}").await;
        assert!(serde_json::from_slice::<Value>(&answer).is_err());

        let mut api = V3::open(v3_bench.address()).await;
        api.send_bytes(b"{\"cmd\":\"get.device.info\"}").await;
        let mut answer = Vec::new();
        timeout(Duration::from_secs(2), api.0.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(serde_json::from_slice::<Value>(&answer[4..]).is_err());

        assert_eq!(rest.get("miner/stats").await, (200, Value::Null));
    }
}

#[tokio::test]
async fn a_write_api_that_is_off_is_said_to_be_off() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    bench.inject(Fault::DropsWriteApi);
    let session = V2Session::open(bench.address(), PASSWORD).await;
    assert_eq!(
        session.send(bench.address(), json!({"cmd": "power_off"})).await["Code"],
        45
    );

    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    bench.inject(Fault::DropsWriteApi);
    let mut api = V3::open(bench.address()).await;
    assert_eq!(api.write("set.miner.service", json!("stop")).await["code"], -4);
    let system = api
        .ask(json!({"cmd": "get.device.info", "param": "system"}))
        .await;
    assert_eq!(system["msg"]["system"]["apiswitch"], "0");

    let bench = Bench::start(DriverKind::BraiinsOs).await;
    bench.inject(Fault::DropsWriteApi);
    let rest = Rest::login(bench.address()).await;
    assert_eq!(rest.put("actions/pause", Value::Null).await.0, 403);
}

#[tokio::test]
async fn rejected_commands_have_the_vendors_code() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    bench.inject(Fault::RejectCommands);
    let session = V2Session::open(bench.address(), PASSWORD).await;
    assert_eq!(
        session.send(bench.address(), json!({"cmd": "power_off"})).await["Code"],
        132
    );
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    bench.inject(Fault::RejectCommands);
    let mut api = V3::open(bench.address()).await;
    assert_eq!(api.write("set.miner.service", json!("stop")).await["code"], -1);
}

#[tokio::test]
async fn a_sleeping_miner_reports_its_standby_draw() {
    let bench = Bench::start_as(DriverKind::WhatsminerV2, Initial::Asleep).await;
    let summary = v2(bench.address(), json!({"command": "summary"})).await;
    let power = summary["SUMMARY"][0]["Power"].as_f64().unwrap();
    assert!((18.0..=22.0).contains(&power), "{power}");
    assert_eq!(summary["SUMMARY"][0]["HS RT"], 0.0);
}

#[tokio::test]
async fn a_cancelled_server_ends_and_frees_its_port() {
    for driver in DriverKind::ALL {
        let bench = Bench::start(driver).await;
        let address = bench.address();
        let mut open = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.cancel.cancel();
        timeout(Duration::from_secs(2), bench.server.finished())
            .await
            .unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "{driver:?}");
        let mut byte = [0];
        let ended = timeout(Duration::from_secs(2), open.read(&mut byte))
            .await
            .unwrap();
        assert!(ended.map_or(true, |count| count == 0), "{driver:?}");
    }
}
