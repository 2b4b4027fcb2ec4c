//! The driver of BMCs against replies of real shape.

use crate::drivers_rest;
use crate::drivers_support;

use std::sync::{Arc, Mutex};

use ballast::control::snapshot::{Activity, Measured, Rejection, Target};
use ballast::miner::drivers::redfish::Redfish;
use ballast::miner::{Driver, DriverError, DriverKind, Urgency, http_client};
use ballast::units::Watts;
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{connection, example, fails_on_the_wire, fixture, hall, power, rejection};
use serde_json::{Value, json};

const ENVIRONMENT: &str = "/redfish/v1/Chassis/1U/EnvironmentMetrics";
const CONTROL: &str = "/redfish/v1/Chassis/1U/Controls/PowerLimit";
const POWER: &str = "/redfish/v1/Chassis/1U/Power";

/// A BMC that says what is in files, and takes over what is patched.
type Tree = Arc<Mutex<Vec<(String, Value)>>>;

fn tree(files: &[(&str, &str)]) -> Tree {
    let always = [
        ("/redfish/v1/", "root"),
        ("/redfish/v1/Chassis", "chassis-collection"),
        ("/redfish/v1/Chassis/1U", "chassis"),
    ];
    let read = |(path, file): &(&str, &str)| {
        let bytes = fixture(&format!("redfish/2022.3/{file}.json"));
        ((*path).to_owned(), serde_json::from_slice(&bytes).unwrap())
    };
    Arc::new(Mutex::new(always.iter().chain(files).map(read).collect()))
}

fn merge(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            old.iter_mut().zip(new).for_each(|(old, new)| merge(old, new))
        }
        (old, new) => *old = new.clone(),
    }
}

fn answer(tree: &Tree, seen: &Seen) -> Reply {
    let (method, path) = seen.line.split_once(' ').unwrap();
    if method == "POST" {
        return reply(404, "");
    }
    let mut tree = tree.lock().unwrap();
    let Some((_, body)) = tree.iter_mut().find(|(known, _)| known == path) else { return reply(404, "") };
    if method == "PATCH" {
        merge(body, &serde_json::from_str(&seen.body).unwrap());
        return reply(204, "");
    }
    reply(200, body.to_string())
}

async fn served(tree: &Tree) -> (Server, Redfish) {
    let shared = Arc::clone(tree);
    let server = Server::start(move |seen| answer(&shared, seen)).await;
    let driver = Redfish::new(&connection(DriverKind::Redfish, server.address), &http_client().unwrap());
    (server, driver)
}

pub(crate) fn said(result: Result<(), DriverError>) -> String {
    match rejection(result) {
        Rejection::Other(words) => words.to_string(),
        other => panic!("expected words, got {other:?}"),
    }
}

pub(crate) fn range(low: i32, high: i32) -> Option<(Watts, Watts)> {
    Some((Watts::whole(low), Watts::whole(high)))
}

fn writes(server: &Server) -> Vec<String> {
    let log = server.log();
    let written = log.iter().filter(|seen| seen.line.starts_with("PATCH"));
    written.map(|seen| format!("{} {}", seen.line, seen.body)).collect()
}

#[tokio::test]
async fn the_newest_form_is_taken_where_there_are_several() {
    let tree = tree(&[(ENVIRONMENT, "environment"), (POWER, "power"), (CONTROL, "control")]);
    let (server, mut driver) = served(&tree).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::whole(374)));
    assert_eq!((status.target, status.range), (Measured::Value(power(500)), range(150, 1_000)));
    assert_eq!((status.activity, status.hashrate), (Activity::Hashing, Measured::Unsupported));
    driver.apply(Target::Power(Watts::saturating(410.9)), Urgency::Shed).await.unwrap();
    assert_eq!(writes(&server), [format!(r#"PATCH {ENVIRONMENT} {{"PowerLimitWatts":{{"SetPoint":410}}}}"#)]);
    let patch = server.log().into_iter().find(|seen| seen.line.starts_with("PATCH")).unwrap();
    assert_eq!(patch.header("if-match"), Some("W/\"17\""));
    assert!(patch.header("authorization").unwrap().starts_with("Basic "), "it has no sessions");
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(410)));
    // What stands is not written again, and what it is asked once is not searched again.
    driver.apply(power(410), Urgency::Normal).await.unwrap();
    assert_eq!(writes(&server).len(), 1);
    let searched = server.log().iter().filter(|seen| seen.line == "GET /redfish/v1/Chassis").count();
    assert_eq!(searched, 1);
    let who = driver.identify().await.unwrap().unwrap();
    assert_eq!((who.vendor.as_deref(), who.model.as_deref()), (Some("Contoso"), Some("3500RX")));
    assert_eq!(who.serial.as_deref(), Some("SN-0001-TEST"));
}

#[tokio::test]
async fn a_control_is_taken_where_the_newest_form_has_no_limit_and_the_draw_is_that_of_a_sensor() {
    let tree = tree(&[
        (ENVIRONMENT, "environment-without-limit"),
        ("/redfish/v1/Chassis/1U/Sensors/TotalPower", "sensor"),
        ("/redfish/v1/Chassis/1U/Controls", "controls"),
        ("/redfish/v1/Chassis/1U/Controls/CPU1Freq", "control-frequency"),
        (CONTROL, "control"),
    ]);
    let (server, mut driver) = served(&tree).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(374.6)));
    assert_eq!((status.target, status.range), (Measured::Value(power(500)), range(150, 1_000)));
    driver.apply(power(300), Urgency::Normal).await.unwrap();
    assert_eq!(writes(&server), [format!(r#"PATCH {CONTROL} {{"SetPoint":300}}"#)]);
}

#[tokio::test]
async fn the_old_form_is_read_and_set_and_never_where_it_would_switch_off() {
    let tree = tree(&[(POWER, "power")]);
    let (server, mut driver) = served(&tree).await;
    let status = driver.read().await.unwrap();
    assert_eq!(
        (status.power, status.target),
        (Measured::Value(Watts::whole(344)), Measured::Value(power(500)))
    );
    assert_eq!(status.range, None, "it states none");
    driver.apply(power(600), Urgency::Normal).await.unwrap();
    assert_eq!(
        writes(&server),
        [format!(r#"PATCH {POWER} {{"PowerControl":[{{"PowerLimit":{{"LimitInWatts":600}}}}]}}"#)]
    );
    let at = |tree: &Tree, change: &dyn Fn(&mut Value)| {
        change(tree.lock().unwrap().last_mut().unwrap().1.pointer_mut("/PowerControl/0/PowerLimit").unwrap());
    };
    at(&tree, &|limit| limit["LimitException"] = json!("HardPowerOff"));
    let status = driver.read().await.unwrap();
    assert!(
        matches!(&status.activity, Activity::Fault(words) if words.contains("HardPowerOff")),
        "{status:?}"
    );
    assert!(said(driver.apply(power(500), Urgency::Shed).await).contains("HardPowerOff"));
    at(&tree, &|limit| *limit = json!({ "LimitInWatts": null, "LimitException": "LogEventOnly" }));
    assert_eq!(
        driver.read().await.unwrap().target,
        Measured::Unavailable,
        "no limit stands, and none is not zero"
    );
    assert_eq!(writes(&server).len(), 1);
}

#[tokio::test]
async fn a_collection_is_read_to_its_last_page_and_one_without_an_end_is_none() {
    let tree = tree(&[(ENVIRONMENT, "environment")]);
    let page = "/redfish/v1/Chassis?$skip=1";
    let last = json!({ "Members": [{ "@odata.id": "/redfish/v1/Chassis/1U" }] });
    let first = json!({ "Members": [], "Members@odata.nextLink": page });
    {
        let mut resources = tree.lock().unwrap();
        resources.iter_mut().find(|(path, _)| path == "/redfish/v1/Chassis").unwrap().1 = first;
        resources.push((page.to_owned(), last));
    }
    let (_server, mut driver) = served(&tree).await;
    assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(500)));
    tree.lock().unwrap().last_mut().unwrap().1["Members@odata.nextLink"] = json!(page);
    let (_server, mut driver) = served(&tree).await;
    assert!(matches!(driver.read().await, Err(DriverError::Malformed { .. })));
}

#[tokio::test]
async fn a_bmc_without_a_limit_is_read_and_says_so() {
    let tree = tree(&[
        (ENVIRONMENT, "environment-without-limit"),
        ("/redfish/v1/Chassis/1U/Sensors/TotalPower", "sensor"),
    ]);
    let (server, mut driver) = served(&tree).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.power, Measured::Value(Watts::saturating(374.6)));
    assert_eq!((status.target, status.range), (Measured::Unsupported, None));
    assert!(matches!(&status.activity, Activity::Fault(words) if words.contains("no power limit")));
    assert!(said(driver.apply(Target::Sleep, Urgency::Shed).await).contains("no power limit"));
    assert!(writes(&server).is_empty());
}

#[tokio::test]
async fn without_a_certificate_nothing_leaves_this_machine() {
    let mut elsewhere = connection(DriverKind::Redfish, "127.0.0.1:1".parse().unwrap());
    elsewhere.endpoint.host = "192.0.2.1".into();
    let words =
        said(Redfish::new(&elsewhere, &http_client().unwrap()).apply(Target::Sleep, Urgency::Shed).await);
    assert!(words.contains("certificate"), "{words}");
}

#[tokio::test]
async fn whatever_goes_wrong_on_the_wire_is_an_error_that_names_the_place_and_no_secret() {
    fails_on_the_wire(DriverKind::Redfish).await;
}

#[test]
fn the_server_of_the_guide_goes_into_a_site() {
    let guide = include_str!("../../docs/guide/miners.md");
    let config = hall(example(guide.split("## Servers by their BMC").nth(1).unwrap()));
    assert!(config.miners[0].certificate.is_some() && config.miners[0].endpoint.port == 443);
    let server = &config.site.miners[0];
    assert!(server.response.caps);
    assert_eq!(server.sleep, Watts::whole(3_499), "asleep it draws what it draws at its lowest");
}
