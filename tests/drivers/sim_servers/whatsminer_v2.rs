//! API 2 on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use ballast::miner::DriverKind;
use ballast::sim::miner::MinerState;
use ballast::sim::miner::crypt::{Wrapping, md5_crypt};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bench::{Bench, PASSWORD};

/// One exchange with API 2: everything until the connection ends.
pub(crate) async fn v2_raw(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    if answer.last() == Some(&0) {
        answer.pop();
    }
    answer
}

pub(crate) async fn v2(address: SocketAddr, request: Value) -> Value {
    serde_json::from_slice(&v2_raw(address, request.to_string().as_bytes()).await).unwrap()
}

/// The client's side of an API 2 session.
pub(crate) struct V2Session {
    key: String,
    sign: String,
}

impl V2Session {
    pub(crate) async fn open(address: SocketAddr, password: &str) -> Self {
        let token = v2(address, json!({"command": "get_token"})).await;
        assert_eq!((&token["STATUS"], &token["Code"]), (&json!("S"), &json!(134)));
        let field = |name: &str| token["Msg"][name].as_str().unwrap().to_owned();
        let key = md5_crypt(password, &field("salt"));
        let sign = md5_crypt(&format!("{key}{}", field("time")), &field("newsalt"));
        Self { key, sign }
    }

    pub(crate) async fn send(&self, address: SocketAddr, mut command: Value) -> Value {
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
    assert_eq!((&status["Code"], &status["Msg"]["mineroff"]), (&json!(131), &json!("false")));
    assert_eq!(v2(at, json!({"command": "devs"})).await["DEVS"].as_array().unwrap().len(), 3);
    assert_eq!(v2(at, json!({"command": "edevs"})).await["DEVS"].as_array().unwrap().len(), 3);
    assert_eq!(v2(at, json!({"command": "get_version"})).await["Msg"]["api_ver"], "2.0.5");
    for command in ["get_miner_info", "get_psu", "get_error_code"] {
        assert_eq!(v2(at, json!({"command": command})).await["Code"], 131, "{command}");
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
    let answer = session.send(at, json!({"cmd": "set_power_pct", "percent": "60"})).await;
    assert_eq!((&answer["Code"], &answer["Msg"]), (&json!(131), &json!("API command OK")));
    bench.until("60 %", |bench| bench.power() < 2_120.0).await;
    // The same token serves again: nothing asks for a fresh one per command.
    assert_eq!(session.send(at, json!({"cmd": "restore_power_pct"})).await["Code"], 131);
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
    assert_eq!(session.send(at, json!({"cmd": "update_pools", "pool1": "x"})).await["Code"], 132);
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
    assert_eq!((&codes[32]["Code"], &codes[32]["Msg"]), (&json!(136), &json!("over max connect")));
}

#[tokio::test]
async fn v2_sleeps_wakes_and_punishes_a_new_power_limit() {
    let bench = Bench::start(DriverKind::WhatsminerV2).await;
    let at = bench.address();
    let session = V2Session::open(at, PASSWORD).await;
    assert_eq!(session.send(at, json!({"cmd": "power_off", "respbefore": "true"})).await["Code"], 131);
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
