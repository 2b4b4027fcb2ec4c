//! API 3 on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use ballast::clock::unix_seconds;
use ballast::miner::DriverKind;
use ballast::sim::miner::MinerState;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bench::{Bench, PASSWORD};

/// A connection to API 3.
pub(crate) struct V3(pub(crate) TcpStream);

impl V3 {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) async fn send_bytes(&mut self, body: &[u8]) {
        let length = u32::try_from(body.len()).unwrap().to_le_bytes();
        self.0.write_all(&length).await.unwrap();
        self.0.write_all(body).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).await?;
        let mut body = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
        self.0.read_exact(&mut body).await?;
        Ok(body)
    }

    pub(crate) async fn ask(&mut self, request: Value) -> Value {
        self.send_bytes(request.to_string().as_bytes()).await;
        let body = timeout(Duration::from_secs(60), self.receive()).await.unwrap().unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) async fn write(&mut self, command: &str, param: Value) -> Value {
        self.write_as("super", PASSWORD, unix_seconds(), command, param).await
    }

    pub(crate) async fn write_as(
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
        self.ask(json!({"cmd": command, "param": param, "account": account, "ts": ts, "token": token})).await
    }
}

#[tokio::test]
async fn v3_reads_have_the_shape_of_the_vendor() {
    let bench = Bench::start(DriverKind::WhatsminerV3).await;
    let mut api = V3::open(bench.address()).await;
    let info = api.ask(json!({"cmd": "get.device.info"})).await;
    assert_eq!((&info["code"], &info["desc"]), (&json!(0), &json!("get.device.info")));
    assert_eq!(info["msg"]["miner"]["working"], "true");
    let status = api.ask(json!({"cmd": "get.miner.status", "param": "summary"})).await;
    let summary = &status["msg"]["summary"];
    let power = summary["power-realtime"].as_f64().unwrap();
    assert!((power / bench.power() - 1.0).abs() < 0.02, "{power}");
    assert_eq!((&summary["power-limit"], &summary["up-freq-finish"]), (&json!(3_400), &json!(1)));
    let both = api.ask(json!({"cmd": "get.miner.status", "param": "summary+edevs"})).await;
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
    assert_eq!(api.ask(json!({"cmd": "get.miner.status", "param": "nothing"})).await["code"], -1);
    assert_eq!(api.ask(json!({"cmd": "set.miner.service", "param": "stop"})).await["code"], -4);
    let now = unix_seconds();
    let stop = json!("stop");
    for (account, password, ts) in [
        ("super", "wrong", now),
        ("admin", PASSWORD, now),
        ("user1", PASSWORD, now),
        ("super", PASSWORD, now - 10_000),
        ("super", PASSWORD, now * 1_000),
    ] {
        let answer = api.write_as(account, password, ts, "set.miner.service", stop.clone()).await;
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
    assert!(timeout(Duration::from_secs(8), api.receive()).await.unwrap().is_err());
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
    assert!(timeout(Duration::from_secs(60), eleventh.receive()).await.unwrap().is_err());
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
