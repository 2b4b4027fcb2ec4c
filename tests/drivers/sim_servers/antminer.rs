//! VNish, LuxOS and Bitmain's own firmware on the wire, as a client sees them that is not one of the drivers.

use std::net::SocketAddr;
use std::time::Duration;

use ballast::miner::{DriverKind, driver, http_client};
use ballast::sim::miner::{Initial, MinerState};
use serde_json::{Value, json};

use super::bench::{Bench, PASSWORD};
use super::whatsminer_v2::v2;

const HASHING: Initial = Initial::Hashing { fraction: 1.0 };

fn client() -> reqwest::Client {
    ballast::tls::ready();
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap()
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn vnish_ignores_an_untuned_preset_with_success_and_guards_its_settings() {
    let bench = Bench::start_seeded(DriverKind::Vnish, HASHING, 11).await;
    let base = format!("http://{}/api/v1/", bench.address());
    let client = client();
    let post = |path: &str, body: Value| client.post(format!("{base}{path}")).json(&body);
    assert_eq!(answer(client.get(format!("{base}summary"))).await.0, 200, "reads are open");
    assert_eq!(answer(post("mining/pause", json!({}))).await.0, 401);
    assert_eq!(answer(post("unlock", json!({"pw": "wrong"}))).await.0, 403);
    let (_, reply) = answer(post("unlock", json!({ "pw": PASSWORD }))).await;
    let token = reply["token"].as_str().unwrap().to_owned();
    let send = |path: &str, body: Value| answer(post(path, body).bearer_auth(&token));
    let get = |path: &str| answer(client.get(format!("{base}{path}")).bearer_auth(&token));

    let (_, presets) = get("autotune/presets").await;
    let name = |status: &str| {
        let preset = presets.as_array().unwrap().iter().find(|preset| preset["status"] == status).unwrap();
        preset["name"].as_str().unwrap().to_owned()
    };
    let settings = |preset: String| json!({"miner": {"overclock": {"preset": preset}}});
    let (_, before) = get("settings").await;
    assert_eq!(send("settings", settings(name("untuned"))).await.0, 200);
    assert_eq!(get("settings").await.1, before);
    assert_eq!(send("settings", settings(name("tuned"))).await.0, 200);
    assert_eq!(get("settings").await.1["miner"]["overclock"]["preset"], name("tuned"));
    assert_eq!(bench.miner.tally().trespasses, 0);
    assert_eq!(send("settings", json!({"miner": {"pools": []}})).await.0, 403);
    assert_eq!(send("firmware/remove", json!({})).await.0, 403);
    assert_eq!(bench.miner.tally().trespasses, 2);

    assert_eq!(send("mining/stop", json!({})).await.0, 200);
    bench.until("stop", |bench| bench.miner.state(bench.clock.now()) == MinerState::Asleep).await;
    assert_eq!(send("mining/resume", json!({})).await.0, 500, "stopped is not paused");
    assert_eq!(send("mining/start", json!({})).await.0, 200);
    assert_eq!(send("lock", json!({})).await.0, 200);
    assert_eq!(send("mining/pause", json!({})).await.0, 401);
    for _ in 0..5 {
        answer(post("unlock", json!({"pw": "wrong"}))).await;
    }
    assert_eq!(answer(post("unlock", json!({ "pw": PASSWORD }))).await.0, 429);
}

async fn lux(address: SocketAddr, command: &str, parameter: &str) -> (u64, Value) {
    let reply = v2(address, json!({"command": command, "parameter": parameter})).await;
    (reply["STATUS"][0]["Code"].as_u64().unwrap_or_default(), reply)
}

#[tokio::test]
async fn luxos_has_one_session_and_atm_holds_the_profile() {
    let bench = Bench::start_seeded(DriverKind::Luxos, HASHING, 11).await;
    let address = bench.address();
    let joined = v2(address, json!({"command": "summary+power+config+profiles"})).await;
    assert_eq!(joined["config"][0]["CONFIG"][0]["CurtailMode"], "None");
    let profile = joined["profiles"][0]["PROFILES"][0]["Profile Name"].as_str().unwrap().to_owned();
    assert_eq!(lux(address, "curtail", "made-up,sleep").await.0, 401);
    let (_, reply) = lux(address, "logon", "").await;
    let session = reply["SESSION"][0]["SessionID"].as_str().unwrap().to_owned();
    assert_eq!(lux(address, "logon", "").await.0, 402);
    assert_eq!(lux(address, "profileset", &format!("{session},{profile}")).await.0, 321);
    assert_eq!(lux(address, "profileset", &format!("{session},no such")).await.0, 400);
    bench.until("the profile", |bench| bench.power() < 2_500.0).await;
    assert_eq!(bench.miner.tally().trespasses, 0);
    assert_eq!(lux(address, "fanset", &format!("{session},100")).await.0, 400);
    assert_eq!(lux(address, "atmset", &format!("{session},enabled=true")).await.0, 340);
    assert_eq!(bench.miner.tally().trespasses, 2);
    let (_, refused) = lux(address, "profileset", &format!("{session},default")).await;
    assert!(refused["STATUS"][0]["Msg"].as_str().unwrap().contains("ATM"));
    assert_eq!(lux(address, "curtail", &format!("{session},sleep")).await.0, 335);
    bench.until("sleep", |bench| bench.miner.state(bench.clock.now()) == MinerState::Asleep).await;
    let (_, again) = lux(address, "curtail", &format!("{session},sleep")).await;
    assert!(again["STATUS"][0]["Msg"].as_str().unwrap().contains("Already"));
    assert_eq!(lux(address, "logoff", &session).await.0, 317);
    assert_eq!(lux(address, "curtail", &format!("{session},wakeup")).await.0, 401);
}

#[tokio::test]
async fn bitmain_asks_for_a_digest_and_names_itself_in_its_realm() {
    let bench = Bench::start_seeded(DriverKind::BitmainStock, HASHING, 11).await;
    let base = format!("http://{}", bench.address());
    for path in ["/", "/cgi-bin/stats.cgi", "/cgi-bin/get_miner_conf.cgi"] {
        let response = client().get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401);
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Digest realm=\"antMiner"), "{challenge}");
    }
    let basic =
        client().post(format!("{base}/cgi-bin/set_miner_conf.cgi")).basic_auth("root", Some(PASSWORD));
    assert_eq!(answer(basic.json(&json!({"miner-mode": 1}))).await.0, 401);
    assert!(bench.power() > 3_000.0);
    // Any driver reaches it by the connection of the bench.
    let mut driver = driver(&bench.connection(), &http_client().unwrap());
    assert!(driver.read().await.unwrap().uptime.is_some());
}
