//! The Braiins REST API on the wire.

use std::net::SocketAddr;
use std::time::Duration;

use ballast::miner::DriverKind;
use ballast::sim::miner::{Fault, MinerState};
use serde_json::{Value, json};

use super::bench::{Bench, PASSWORD};

/// A client of the Braiins REST API.
pub(crate) struct Rest {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Rest {
    pub(crate) fn new(address: SocketAddr) -> Self {
        ballast::tls::ready();
        Self {
            client: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap(),
            base: format!("http://{address}/api/v1/"),
            token: String::new(),
        }
    }

    pub(crate) async fn login(address: SocketAddr) -> Self {
        let mut rest = Self::new(address);
        let (status, body) = rest.post("auth/login", json!({"username": "root", "password": PASSWORD})).await;
        assert_eq!((status, &body["timeout_s"]), (200, &json!(3_600)));
        rest.token = body["token"].as_str().unwrap().into();
        rest
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let request =
            if self.token.is_empty() { request } else { request.header("Authorization", &self.token) };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(format!("{}{path}", self.base))).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(self.client.put(format!("{}{path}", self.base)).json(&body)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(self.client.post(format!("{}{path}", self.base)).json(&body)).await
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
    let watt = stats["power_stats"]["approximated_consumption"]["watt"].as_f64().unwrap();
    assert!((watt / bench.power() - 1.0).abs() < 0.02, "{watt}");
    let (_, details) = rest.get("miner/details").await;
    assert_eq!(details["status"], 2);
    let (_, constraints) = rest.get("configuration/constraints").await;
    let range = &constraints["tuner_constraints"]["power_target"];
    assert_eq!((&range["min"]["watt"], &range["max"]["watt"]), (&json!(1_700), &json!(3_400)));
    let (_, tuner) = rest.get("performance/tuner-state").await;
    assert_eq!(tuner["mode_state"]["powertargetmodestate"]["current_target"]["watt"], 3_400);
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
    assert_eq!(rest.put(path, json!({"watt": 2_600})).await, (200, json!({"watt": 2_600})));
    let (_, mode) = rest.get("performance/mode").await;
    assert_eq!(mode["tunermode"]["target"]["powertarget"]["power_target"]["watt"], 2_600);
    bench.until("2600 W", |bench| bench.power() < 2_660.0).await;
    assert_eq!(rest.put("pools/batch", json!([])).await.0, 403);
    assert_eq!(bench.miner.tally().trespasses, 1);
    let large = rest.client.put(format!("{}{path}", rest.base)).body("x".repeat(20_000));
    assert_eq!(rest.send(large).await.0, 413);
}

#[tokio::test]
async fn braiins_pauses_resumes_and_knows_its_states() {
    let bench = Bench::start(DriverKind::BraiinsOs).await;
    let rest = Rest::login(bench.address()).await;
    assert_eq!(rest.put("actions/pause", Value::Null).await, (200, json!(false)));
    bench.until("pause", |bench| bench.miner.state(bench.clock.now()) == MinerState::Asleep).await;
    assert_eq!(rest.get("miner/details").await.1["status"], 3);
    assert_eq!(rest.put("actions/pause", Value::Null).await, (200, json!(true)));
    assert_eq!(rest.put("actions/stop", Value::Null).await.0, 200);
    assert_eq!(rest.get("miner/details").await.1["status"], 1);
    assert_eq!(rest.put("actions/resume", Value::Null).await.0, 409);
    assert_eq!(rest.put("actions/start", Value::Null).await, (200, json!(false)));
    bench.until("start", |bench| bench.power() > 100.0).await;
    assert_eq!(rest.get("miner/details").await.1["status"], 2);
    assert_eq!(rest.get("performance/tuner-state").await.1["overall_tuner_state"], 3);
    bench.inject(Fault::Trips);
    assert_eq!(rest.put("actions/resume", Value::Null).await.0, 409);
}
