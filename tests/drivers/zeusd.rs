//! The driver of `zeusd` against replies in the shape of its source (`tests/fixtures/zeusd`).

use crate::drivers_rest;
use crate::drivers_support;
use crate::redfish::{range, said};

use std::path::Path;
use std::sync::{Arc, Mutex};

use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::zeusd::Zeusd;
use ballast::miner::{Connection, Driver, DriverKind, Gpus, Urgency, http_client};
use ballast::units::Watts;
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{
    PASSWORD, connection, example, fails_on_the_wire, fixture, hall, malformed, power, rejection,
};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener};

/// A server that says what is in files, and takes over the limits that are set.
struct Node {
    discover: Value,
    power: Value,
    limits: Value,
    constraints: Value,
    /// Processors that are lost: they fail whatever is asked.
    lost: Vec<&'static str>,
    /// Processors that refuse each limit.
    stuck: Vec<&'static str>,
    /// It says yes and changes nothing.
    ignores: bool,
    /// What each write is answered with.
    refusal: Option<(u16, Vec<u8>)>,
}

type Shared = Arc<Mutex<Node>>;

fn file(name: &str) -> Value {
    serde_json::from_slice(&fixture(&format!("zeusd/0.5.0/{name}.json"))).unwrap()
}

fn node() -> Shared {
    Arc::new(Mutex::new(Node {
        discover: file("discover"),
        power: file("power"),
        limits: file("power-limit"),
        constraints: file("constraints"),
        lost: Vec::new(),
        stuck: Vec::new(),
        ignores: false,
        refusal: None,
    }))
}

/// The value of a key in a query.
fn part<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

fn errors(ids: &[&str]) -> Reply {
    let words = "NVML error: device fell off the bus or has otherwise become inacessible";
    let errors: serde_json::Map<String, Value> =
        ids.iter().map(|id| ((*id).to_owned(), words.into())).collect();
    reply(500, json!({ "errors": errors }).to_string())
}

fn answer(node: &mut Node, seen: &Seen) -> Reply {
    let (method, target) = seen.line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if path == "/discover" {
        assert_eq!(seen.header("authorization"), None, "what is for everybody is asked without the token");
        return reply(200, node.discover.to_string());
    }
    if seen.header("authorization") != Some(&format!("Bearer {PASSWORD}")) {
        return reply(401, fixture("zeusd/0.5.0/unauthorized.json"));
    }
    let ids: Vec<String> = part(query, "gpu_ids").unwrap_or("0,1").split(',').map(str::to_owned).collect();
    let among = |some: &[&'static str]| -> Vec<&'static str> {
        some.iter().copied().filter(|id| ids.iter().any(|asked| asked == id)).collect()
    };
    if method == "POST" {
        assert_eq!((path, part(query, "block")), ("/gpu/set_power_limit", Some("true")));
        if let Some((status, body)) = &node.refusal {
            return reply(*status, body.clone());
        }
        let limit: u32 = part(query, "power_limit_mw").unwrap().parse().unwrap();
        let failed = [among(&node.lost), among(&node.stuck)].concat();
        for id in ids.iter().filter(|id| !failed.contains(&id.as_str()) && !node.ignores) {
            node.limits[id]["power_limit_mw"] = limit.into();
        }
        return if failed.is_empty() { reply(200, "") } else { errors(&failed) };
    }
    if path == "/auth/whoami" {
        return reply(200, file("whoami").to_string());
    }
    let lost = among(&node.lost);
    if !lost.is_empty() {
        return errors(&lost);
    }
    let only = |map: &Value| -> Value {
        let known = map.as_object().unwrap().iter().filter(|(id, _)| ids.contains(id));
        Value::Object(known.map(|(id, value)| (id.clone(), value.clone())).collect())
    };
    match path {
        "/gpu/get_power" => {
            let body = json!({ "timestamp_ms": node.power["timestamp_ms"], "power_mw": only(&node.power["power_mw"]) });
            reply(200, body.to_string())
        }
        "/gpu/get_power_limit" => reply(200, only(&node.limits).to_string()),
        "/gpu/get_power_limit_constraints" => reply(200, only(&node.constraints).to_string()),
        _ => reply(404, ""),
    }
}

/// One that draws 500 W and says yes to all that is asked of it.
pub async fn serve() -> Server {
    let node = node();
    Server::start(move |seen| answer(&mut node.lock().unwrap(), seen)).await
}

/// With 400 W beside its processors.
async fn served(node: &Shared, only: Option<&[u16]>) -> (Server, Zeusd) {
    let shared = Arc::clone(node);
    let server = Server::start(move |seen| answer(&mut shared.lock().unwrap(), seen)).await;
    let gpus = Gpus { only: only.map(Arc::from), base: Watts::whole(400), socket: None };
    let connection = Connection { gpus: Some(gpus), ..connection(DriverKind::Zeusd, server.address) };
    let driver = Zeusd::new(&connection, &http_client().unwrap());
    (server, driver)
}

fn writes(server: &Server) -> Vec<String> {
    let log = server.log();
    let written = log.iter().filter_map(|seen| seen.line.strip_prefix("POST /gpu/set_power_limit?"));
    written.map(str::to_owned).collect()
}

fn fault(activity: &Activity) -> &str {
    match activity {
        Activity::Fault(words) => words,
        other => panic!("expected a fault, got {other:?}"),
    }
}

#[tokio::test]
async fn a_server_is_its_processors_and_the_rest() {
    let (server, mut driver) = served(&node(), None).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(900)));
    assert_eq!((status.target, status.range), (Measured::Value(power(1_000)), range(600, 1_100)));
    assert_eq!((status.activity, status.hashrate), (Activity::Hashing, Measured::Unsupported));
    driver.read().await.unwrap();
    let asked = server.log().iter().filter(|seen| seen.line == "GET /discover").count();
    assert_eq!(asked, 1, "which processors there are is asked once");
    let who = driver.identify().await.unwrap().unwrap();
    assert_eq!(who.model.as_deref(), Some("2 x NVIDIA A100-SXM4-80GB"));
    assert!(driver.prove_account().await.unwrap());
    assert!(writes(&server).is_empty());
}

#[tokio::test]
async fn a_power_is_shared_equally_and_never_exceeded() {
    let (server, mut driver) = served(&node(), None).await;
    driver.apply(power(900), Urgency::Shed).await.unwrap();
    assert_eq!(writes(&server), ["gpu_ids=0,1&power_limit_mw=250000&block=true"]);
    driver.apply(Target::Power(Watts::saturating(901.9)), Urgency::Normal).await.unwrap();
    // What rises comes last.
    assert_eq!(
        writes(&server)[1..],
        ["gpu_ids=1&power_limit_mw=250000&block=true", "gpu_ids=0&power_limit_mw=251000&block=true"]
    );
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(901)));
    driver.apply(power(5_000), Urgency::Normal).await.unwrap();
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(1_100)));
}

#[tokio::test]
async fn lower_than_its_lowest_is_set_and_told_as_out_of_range_and_sleep_as_unsupported() {
    let (server, mut driver) = served(&node(), None).await;
    assert_eq!(rejection(driver.apply(power(500), Urgency::Shed).await), Rejection::OutOfRange);
    assert_eq!(rejection(driver.apply(Target::Sleep, Urgency::Shed).await), Rejection::Unsupported);
    assert_eq!(writes(&server), ["gpu_ids=0,1&power_limit_mw=100000&block=true"; 2]);
    assert_eq!(driver.read().await.unwrap().activity, Activity::Hashing, "a server is never called asleep");
}

#[tokio::test]
async fn only_the_processors_that_are_named_are_read_and_set() {
    let (server, mut driver) = served(&node(), Some(&[1])).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(648.77)));
    assert_eq!((status.target, status.range), (Measured::Value(power(700)), range(500, 750)));
    driver.apply(power(650), Urgency::Shed).await.unwrap();
    assert_eq!(writes(&server), ["gpu_ids=1&power_limit_mw=250000&block=true"]);
    let (server, mut driver) = served(&node(), Some(&[1, 7])).await;
    let status = driver.read().await.unwrap();
    assert!(fault(&status.activity).contains("no GPU 7"));
    assert_eq!(
        (status.power, status.target, status.range),
        (Measured::Unavailable, Measured::Unavailable, None)
    );
    // What is there is lowered all the same, and nobody counts on it.
    assert!(malformed(driver.apply(power(650), Urgency::Shed).await).contains("no GPU 7"));
    assert_eq!(writes(&server), ["gpu_ids=1&power_limit_mw=250000&block=true"]);
}

#[tokio::test]
async fn an_order_that_some_refuse_is_neither_carried_out_nor_refused() {
    let node = node();
    let (_server, mut driver) = served(&node, None).await;
    node.lock().unwrap().stuck = vec!["1"];
    let words = malformed(driver.apply(power(800), Urgency::Shed).await);
    assert!(words.contains("1 of 2") && words.contains("GPU 1: NVML error"), "{words}");
    // What it has now is what was read.
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(900)));
    node.lock().unwrap().stuck = vec!["0", "1"];
    let words = said(driver.apply(power(700), Urgency::Shed).await);
    assert!(words.contains("GPU 0: NVML error") && words.contains("and 1 more"), "{words}");
    node.lock().unwrap().stuck.clear();
    driver.apply(power(700), Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn one_that_is_lost_leaves_the_draw_unknown_counts_at_its_most_and_the_others_are_set() {
    let node = node();
    let (server, mut driver) = served(&node, None).await;
    driver.read().await.unwrap();
    node.lock().unwrap().lost = vec!["1"];
    let status = driver.read().await.unwrap();
    assert!(fault(&status.activity).contains("GPU 1: NVML error: device fell off the bus"));
    // 300 W of the one, the 350 W that the other can have at the most, and 400 W beside them.
    assert_eq!((status.power, status.target), (Measured::Unavailable, Measured::Value(power(1_050))));
    assert_eq!(status.range, range(850, 1_100));
    driver.apply(power(900), Urgency::Shed).await.unwrap();
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(900)));
    assert!(writes(&server).iter().all(|write| write.contains("gpu_ids=0")), "{:?}", writes(&server));
    assert_eq!(rejection(driver.apply(power(800), Urgency::Shed).await), Rejection::OutOfRange);
    // It is back, with the limit that it had.
    node.lock().unwrap().lost.clear();
    assert_eq!(driver.read().await.unwrap().range, range(600, 1_100));
}

#[tokio::test]
async fn a_yes_that_changes_nothing_is_not_believed() {
    let node = node();
    let (_server, mut driver) = served(&node, None).await;
    node.lock().unwrap().ignores = true;
    let words = said(driver.apply(power(800), Urgency::Shed).await);
    assert!(words.contains("GPU 0: its limit is still 300 W"), "{words}");
}

#[tokio::test]
async fn limits_that_were_lost_show_in_the_next_reading() {
    let node = node();
    let (_server, mut driver) = served(&node, None).await;
    driver.apply(power(700), Urgency::Shed).await.unwrap();
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(700)));
    for id in ["0", "1"] {
        node.lock().unwrap().limits[id]["power_limit_mw"] = json!(350_000);
    }
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(1_100)));
}

#[tokio::test]
async fn each_refusal_has_its_meaning() {
    let bytes = |name: &str| fixture(&format!("zeusd/0.5.0/{name}.json"));
    let node = node();
    let (_server, mut driver) = served(&node, None).await;
    let mut refused = async |status: u16, body: Vec<u8>| {
        node.lock().unwrap().refusal = Some((status, body));
        driver.apply(power(800), Urgency::Shed).await
    };
    assert_eq!(rejection(refused(401, bytes("unauthorized")).await), Rejection::Credentials);
    let scope = refused(403, bytes("forbidden")).await;
    assert!(scope.as_ref().unwrap_err().to_string().contains("--scope gpu-read,gpu-control"), "{scope:?}");
    assert_eq!(rejection(scope), Rejection::Credentials);
    assert!(
        said(refused(404, bytes("group-off")).await).contains("gpu-control is off; start it with --enable")
    );
    assert_eq!(rejection(refused(404, Vec::new()).await), Rejection::Unsupported);
    assert_eq!(said(refused(400, bytes("no-such-gpu")).await), "HTTP 400: GPU 7 not found");
    assert_eq!(
        said(refused(400, b"GPU index 7 does not exist.".to_vec()).await),
        "HTTP 400: GPU index 7 does not exist."
    );
    assert_eq!(said(refused(500, b"no".to_vec()).await), "HTTP 500: no");
    assert_eq!(rejection(refused(503, Vec::new()).await), Rejection::Busy);
    let root = json!({ "errors": { "0": "NVML error: the current user does not have permission to perform this operation" } });
    let words = said(refused(403, root.to_string().into_bytes()).await);
    assert!(words.contains("run zeusd as root"), "{words}");
}

#[tokio::test]
async fn a_group_that_is_off_is_told_before_the_first_order_and_nothing_is_sent() {
    let node = node();
    node.lock().unwrap().discover["enabled_api_groups"] = json!(["gpu-read"]);
    let (server, mut driver) = served(&node, None).await;
    let status = driver.read().await.unwrap();
    assert!(fault(&status.activity).contains("--enable gpu-read,gpu-control"));
    assert_eq!(status.power, Measured::Value(Watts::whole(900)), "it is read all the same");
    assert!(said(driver.apply(power(800), Urgency::Shed).await).contains("--enable"));
    assert!(writes(&server).is_empty());
    node.lock().unwrap().discover = file("discover");
    driver.apply(power(800), Urgency::Shed).await.unwrap();
}

#[tokio::test]
async fn another_number_of_processors_is_noticed() {
    let node = node();
    let (server, mut driver) = served(&node, None).await;
    driver.read().await.unwrap();
    node.lock().unwrap().power["power_mw"] = json!({ "0": 251_230 });
    node.lock().unwrap().discover["gpus"] = json!([{ "id": 0, "name": "NVIDIA A100-SXM4-80GB" }]);
    assert_eq!(driver.read().await.unwrap().power, Measured::Unavailable);
    assert_eq!(driver.read().await.unwrap().power, Measured::Value(Watts::saturating(651.23)));
    assert_eq!(server.log().iter().filter(|seen| seen.line == "GET /discover").count(), 2);
}

#[tokio::test]
async fn without_a_token_nothing_is_set() {
    let (server, _) = served(&node(), None).await;
    let connection = Connection { credentials: None, ..connection(DriverKind::Zeusd, server.address) };
    let mut driver = Zeusd::new(&connection, &http_client().unwrap());
    assert_eq!(rejection(driver.apply(power(800), Urgency::Shed).await), Rejection::Credentials);
    assert!(!driver.prove_account().await.unwrap());
    assert!(server.log().is_empty());
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_wire_is_an_error_that_names_the_place_and_no_secret() {
    fails_on_the_wire(DriverKind::Zeusd).await;
}

#[tokio::test]
async fn a_daemon_that_listens_on_a_socket_of_this_machine_is_set_there_and_nowhere_else() {
    let node = node();
    let (server, _) = served(&node, None).await;
    let folder = std::env::temp_dir().join(format!("ballast-socket-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let socket: Arc<Path> = folder.join("zeusd.sock").into();
    let mut driver = {
        let gpus = Gpus { base: Watts::whole(400), socket: Some(Arc::clone(&socket)), ..Gpus::default() };
        let connection = connection(DriverKind::Zeusd, server.address);
        Zeusd::new(&Connection { gpus: Some(gpus), ..connection }, &http_client().unwrap())
    };
    let error = driver.read().await.unwrap_err().to_string();
    assert!(error.contains("zeusd.sock") && server.log().is_empty(), "{error}");

    let listener = UnixListener::bind(&socket).unwrap();
    let to = server.address;
    let way = tokio::spawn(async move {
        while let Ok((mut outer, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut inner = TcpStream::connect(to).await.unwrap();
                let _ = copy_bidirectional(&mut outer, &mut inner).await;
            });
        }
    });
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(900)), "{status:?}");
    driver.apply(power(600), Urgency::Shed).await.unwrap();
    assert!(!writes(&server).is_empty());
    way.abort();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_server_of_the_guide_goes_into_a_site() {
    let guide = include_str!("../../docs/guide/miners.md");
    let config = hall(example(guide.split("## Servers by a daemon on them").nth(1).unwrap()));
    let connection = &config.miners[0];
    assert_eq!((connection.driver, connection.endpoint.port), (DriverKind::Zeusd, 4938));
    assert_eq!(connection.gpus.as_ref().unwrap().base, Watts::whole(1_200));
    let server = &config.site.miners[0];
    assert!(server.response.caps);
    assert_eq!(
        server.sleep,
        server.points[0].power - Watts::whole(1),
        "asleep it draws what it draws at its lowest"
    );
}
