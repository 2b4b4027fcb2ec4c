//! The driver of BMCs: against replies of real shape, against the simulated BMC in all its forms and manners, over TLS, and
//! against DMTF's mock-up server where there is one.

use crate::drivers_proxy;
use crate::drivers_rest;
use crate::drivers_support;
use crate::sim_servers::bench as sim_bench;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::clock::Clock;
use ballast::control::snapshot::{Activity, Measured, MinerStatus, Rejection, Target};
use ballast::miner::drivers::redfish::Redfish;
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Endpoint, Urgency, http_client};
use ballast::sim::miner::{BmcForm, Fault, FaultKind};
use ballast::tls::{Fingerprint, Trust};
use ballast::units::Watts;
use drivers_proxy::{Proxy, Wire};
use drivers_rest::{Reply, Seen, Server, reply};
use drivers_support::{MISBEHAVIOURS, PASSWORD, connection, fixture, misbehaving, nobody};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sim_bench::Bench;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const FORMS: [BmcForm; 5] =
    [BmcForm::Environment, BmcForm::Processors, BmcForm::Control, BmcForm::Percent, BmcForm::Power];
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

fn power(watts: i32) -> Target {
    Target::Power(Watts::whole(watts))
}

fn rejection(result: Result<(), DriverError>) -> Rejection {
    match result {
        Err(DriverError::Rejected { reason, .. }) => reason,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

fn said(result: Result<(), DriverError>) -> String {
    match rejection(result) {
        Rejection::Other(words) => words.to_string(),
        other => panic!("expected words, got {other:?}"),
    }
}

fn range(low: i32, high: i32) -> Option<(Watts, Watts)> {
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

fn driver(bench: &Bench) -> Redfish {
    let patient = Connection { timeout: Duration::from_secs(3), ..bench.connection() };
    Redfish::new(&patient, &http_client().unwrap())
}

async fn bench(form: BmcForm) -> Bench {
    let bench = Bench::start(DriverKind::Redfish).await;
    bench.miner.bmc(|manner| manner.form = form);
    bench
}

fn near(value: Measured<Target>, watts: f64) -> bool {
    matches!(value, Measured::Value(Target::Power(power)) if (power.get() - watts).abs() < 40.0)
}

/// A life in one form: lowered, and put to sleep, which is the lowest.
async fn life(form: BmcForm) -> Vec<String> {
    let bench = bench(form).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::start(Wire::Http, any, bench.address(), sim_bench::PASSWORD).await;
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: proxy.address.port() };
    let connection = Connection { endpoint, timeout: Duration::from_secs(3), ..bench.connection() };
    let mut driver = Redfish::new(&connection, &http_client().unwrap());
    let status = driver.read().await.unwrap();
    assert!(near(status.target, 3_400.0), "{form:?}: {status:?}");
    let stated = status.range.map(|(low, high)| (low.get().round(), high.get().round()));
    match (form, stated) {
        (BmcForm::Power, None) => {}
        (_, Some((low, high))) => {
            assert!((low - 1_700.0).abs() < 40.0 && (high - 3_400.0).abs() < 40.0, "{form:?}")
        }
        other => panic!("{other:?}"),
    }
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    bench.until("the lower power", |bench| (bench.power() - 2_400.0).abs() < 120.0).await;
    let status = driver.read().await.unwrap();
    assert!(near(status.target, 2_400.0), "{form:?}: {status:?}");
    // A shed does not wait for the order before it.
    assert_eq!(
        rejection(driver.apply(Target::Sleep, Urgency::Shed).await),
        Rejection::Unsupported,
        "{form:?}"
    );
    bench.until("the lowest power", |bench| (bench.power() - 1_700.0).abs() < 120.0).await;
    let status = driver.read().await.unwrap();
    assert_eq!(status.activity, Activity::Hashing, "a server is never called asleep: {form:?}");
    assert!(near(status.target, 1_700.0), "{form:?}: {status:?}");
    driver.close().await;
    assert_eq!(bench.miner.tally().trespasses, 0, "{form:?}");
    proxy
        .take()
        .into_iter()
        .map(|exchange| exchange.request)
        .filter(|request| !request.starts_with("GET "))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_is_every_path_that_is_ever_written_to() {
    let mut lives = tokio::task::JoinSet::new();
    for form in FORMS {
        lives.spawn(life(form));
    }
    let digits =
        |word: String| word.split(|letter: char| letter.is_ascii_digit()).collect::<Vec<_>>().join("");
    let mut written = BTreeSet::new();
    for request in lives.join_all().await.into_iter().flatten() {
        let (method, rest) = request.split_once(' ').unwrap();
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        match method {
            "DELETE" => assert!(path.starts_with("/redfish/v1/SessionService/Sessions/"), "{request}"),
            _ => {
                written.insert(format!("{method} {path} {}", digits(body.to_owned())));
            }
        }
    }
    let limit = r#"{"PowerLimitWatts":{"SetPoint":}}"#;
    let gpu =
        |place: u8| format!("PATCH /redfish/v1/Systems/1/Processors/GPU_{place}/EnvironmentMetrics {limit}");
    let expected: BTreeSet<String> = [
        format!("PATCH /redfish/v1/Chassis/1/EnvironmentMetrics {limit}"),
        r#"PATCH /redfish/v1/Chassis/1/Controls/PowerLimit {"SetPoint":}"#.to_owned(),
        r#"PATCH /redfish/v1/Chassis/1/Power {"PowerControl":[{"PowerLimit":{"LimitInWatts":}}]}"#.to_owned(),
        r#"POST /redfish/v1/SessionService/Sessions {"Password":"<password>","UserName":"admin"}"#.to_owned(),
        gpu(0),
        gpu(1),
        gpu(2),
        gpu(3),
    ]
    .into();
    assert_eq!(written, expected);
}

#[tokio::test]
async fn a_yes_that_changes_nothing_is_not_believed() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    bench.inject(Fault::IgnoreCommands);
    let words = said(driver.apply(power(2_400), Urgency::Normal).await);
    assert!(words.contains("still 3400 W"), "{words}");
    bench.clear(FaultKind::IgnoreCommands);
    // One that drops low caps takes others.
    bench.miner.bmc(|manner| manner.drops_below = 2_000.0);
    driver.apply(power(2_500), Urgency::Shed).await.unwrap();
    let words = said(driver.apply(power(1_800), Urgency::Shed).await);
    assert!(words.contains("still 2500 W"), "{words}");
}

#[tokio::test]
async fn a_limit_in_mode_disabled_is_not_set_and_told() {
    for form in [BmcForm::Environment, BmcForm::Control] {
        let bench = bench(form).await;
        let mut driver = driver(&bench);
        bench.inject(Fault::DropsWriteApi);
        let status = driver.read().await.unwrap();
        assert!(
            matches!(&status.activity, Activity::Fault(words) if words.contains("ControlMode")),
            "{status:?}"
        );
        assert_eq!(status.target, Measured::Unavailable);
        assert!(said(driver.apply(power(2_400), Urgency::Shed).await).contains("ControlMode"));
        assert_eq!(bench.miner.tally().commands, 0);
    }
}

#[tokio::test]
async fn one_that_is_switched_off_while_it_is_set_is_not_believed() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.inject(Fault::DropsWriteApi);
    let words = said(driver.apply(power(2_400), Urgency::Shed).await);
    assert!(words.contains("Disabled"), "{words}");
}

#[tokio::test]
async fn a_set_point_outside_of_what_is_allowed_is_not_known_to_hold() {
    let bench = bench(BmcForm::Environment).await;
    bench.miner.bmc(|manner| manner.beyond = true);
    let status = driver(&bench).read().await.unwrap();
    assert_eq!((status.target, status.range), (Measured::Unavailable, range(1_700, 3_400)));
}

#[tokio::test]
async fn a_busy_bmc_is_left_alone_as_long_as_it_asks_for() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| (manner.busy, manner.retry_after) = (1, 60));
    assert_eq!(rejection(driver.apply(power(2_400), Urgency::Normal).await), Rejection::Busy);
    assert_eq!(rejection(driver.apply(power(2_400), Urgency::Shed).await), Rejection::Busy);
    assert!(matches!(driver.read().await, Err(DriverError::Rejected { reason: Rejection::Busy, .. })));
    assert_eq!(bench.miner.bmc(|manner| manner.busy), 0, "only one request went out");
    assert!(bench.power() > 3_000.0);
}

#[tokio::test]
async fn a_shed_waits_a_little_for_a_busy_bmc() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| (manner.busy, manner.retry_after) = (1, 1));
    assert_eq!(rejection(driver.apply(power(2_400), Urgency::Normal).await), Rejection::Busy);
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    bench.until("the lower power", |bench| bench.power() < 2_600.0).await;
}

#[tokio::test]
async fn what_somebody_else_changed_is_read_again_and_written_once_more() {
    let bench = bench(BmcForm::Control).await;
    let mut driver = driver(&bench);
    driver.read().await.unwrap();
    bench.miner.bmc(|manner| manner.outrun = 1);
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    assert_eq!(bench.miner.tally().commands, 1);
    bench.miner.bmc(|manner| manner.outrun = 2);
    assert_eq!(rejection(driver.apply(power(2_000), Urgency::Shed).await), Rejection::Busy);
    assert_eq!(bench.miner.tally().commands, 1);
}

#[tokio::test]
async fn what_is_only_accepted_is_waited_for() {
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    bench.miner.bmc(|manner| manner.late = 1);
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    assert!(near(driver.read().await.unwrap().target, 2_400.0));
}

#[tokio::test]
async fn a_session_that_has_ended_is_opened_anew_once_and_without_sessions_the_account_goes_along() {
    let bench = bench(BmcForm::Environment).await;
    let mut one = driver(&bench);
    one.read().await.unwrap();
    bench.miner.bmc(|manner| manner.forgets = true);
    one.read().await.unwrap();
    bench.miner.bmc(|manner| manner.forgets = true);
    one.apply(power(2_400), Urgency::Normal).await.unwrap();
    assert_eq!(bench.miner.tally().commands, 1);
    bench.miner.bmc(|manner| manner.sessions = false);
    let mut other = driver(&bench);
    assert!(other.prove_account().await.unwrap());
    other.apply(power(3_000), Urgency::Normal).await.unwrap();
    assert_eq!(bench.miner.tally().commands, 2);
}

#[tokio::test]
async fn an_order_in_five_seconds_and_a_shed_goes_before_one_that_waits() {
    let clock = Clock::start();
    let bench = bench(BmcForm::Environment).await;
    let mut driver = driver(&bench);
    driver.apply(power(3_000), Urgency::Normal).await.unwrap();
    // One that waits is given up for a shed, which goes at once.
    let waiting =
        tokio::time::timeout(Duration::from_millis(300), driver.apply(power(3_200), Urgency::Normal));
    assert!(waiting.await.is_err());
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    assert!(clock.now().since_start() < Duration::from_secs(3));
    assert_eq!(bench.miner.tally().commands, 2);
    let before = clock.now();
    driver.apply(power(2_600), Urgency::Normal).await.unwrap();
    assert!(clock.now() - before > Duration::from_secs(4));
}

#[tokio::test]
async fn the_sum_of_processors_leaves_room_for_the_rest_of_the_server() {
    let bench = bench(BmcForm::Processors).await;
    let mut driver = driver(&bench);
    let first: MinerStatus = driver.read().await.unwrap();
    driver.apply(power(2_400), Urgency::Normal).await.unwrap();
    bench.until("the lower power", |bench| (bench.power() - 2_400.0).abs() < 120.0).await;
    for _ in 0..3 {
        let status = driver.read().await.unwrap();
        assert!(near(status.target, 2_400.0), "a target moves with an order only: {status:?}");
        assert!(status.range.unwrap().0.get() > 1_600.0 && first.range.is_some());
    }
}

/// TLS in front of a plain server, with the certificate of the tests.
async fn tls(upstream: SocketAddr) -> SocketAddr {
    ballast::tls::ready();
    let chain =
        CertificateDer::pem_slice_iter(&fixture("openadr/server.pem")).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(&fixture("openadr/server.key")).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut inner) = acceptor.accept(stream).await else { return };
                let Ok(mut outer) = TcpStream::connect(upstream).await else { return };
                let _ = copy_bidirectional(&mut inner, &mut outer).await;
            });
        }
    });
    address
}

fn over_tls(bench: &Bench, at: SocketAddr, certificate: Option<Trust>) -> Redfish {
    let endpoint = Endpoint { host: "127.0.0.1".into(), port: at.port() };
    let timeout = Duration::from_secs(3);
    Redfish::new(
        &Connection { endpoint, certificate, timeout, ..bench.connection() },
        &http_client().unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_certificate_that_is_pinned_or_signed_is_spoken_with() {
    let bench = bench(BmcForm::Environment).await;
    let at = tls(bench.address()).await;
    let pem = fixture("openadr/server.pem");
    let own = Fingerprint::of(&CertificateDer::from_pem_slice(&pem).unwrap());
    let ca: Arc<[u8]> = fixture("openadr/ca.pem").into();
    for trust in [Trust::Pinned(own), Trust::Authority(Arc::clone(&ca))] {
        let mut driver = over_tls(&bench, at, Some(trust));
        assert!(driver.read().await.unwrap().power.value().is_some());
        driver.read().await.unwrap();
        driver.close().await;
    }
    let mut driver = over_tls(&bench, at, Some(Trust::Pinned(own)));
    driver.apply(power(2_400), Urgency::Shed).await.unwrap();
    let other: Fingerprint = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    match over_tls(&bench, at, Some(Trust::Pinned(other))).read().await {
        Err(error @ DriverError::Unreachable { .. }) => {
            assert!(error.to_string().contains(&own.to_string()[..40]), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // Nothing in the clear where TLS is wanted, and no TLS where it is not.
    assert!(over_tls(&bench, bench.address(), Some(Trust::Pinned(own))).read().await.is_err());
    assert!(over_tls(&bench, at, None).read().await.is_err());
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
    for how in MISBEHAVIOURS {
        let address = misbehaving(how).await;
        let mut driver = Redfish::new(&connection(DriverKind::Redfish, address), &http_client().unwrap());
        let error = driver.read().await.unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && !error.contains(PASSWORD), "{error}");
        assert!(driver.apply(Target::Sleep, Urgency::Shed).await.is_err());
    }
    let mut driver = Redfish::new(&connection(DriverKind::Redfish, nobody().await), &http_client().unwrap());
    assert!(matches!(driver.read().await, Err(DriverError::Unreachable { .. })));
}

/// DMTF's mock-up server on a copy of its mock-up, which ends with the test.
struct MockUp {
    server: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for MockUp {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let place = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

impl MockUp {
    /// Without these keys of these resources, so that another form is left.
    async fn start(python: &str, source: &Path, without: &[(&str, &str)]) -> Self {
        let port = nobody().await.port();
        let folder = std::env::temp_dir().join(format!("ballast-redfish-{}-{port}", std::process::id()));
        copy(&source.join("public-rackmount1"), &folder);
        for (resource, key) in without {
            let file = folder.join(resource).join("index.json");
            let mut body: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            body.as_object_mut().unwrap().remove(*key).unwrap();
            std::fs::write(&file, body.to_string()).unwrap();
        }
        let server = Command::new(python)
            .current_dir(source)
            .args(["redfishMockupServer.py", "-H", "127.0.0.1", "-p", &port.to_string(), "-S", "-D"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { server, folder, port }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mock_up_server_of_dmtf_is_read_and_set_in_each_form() {
    let python = std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let Ok(source) = std::env::var("BALLAST_REDFISH_MOCKUP") else {
        eprintln!("SKIPPED: BALLAST_REDFISH_MOCKUP does not name the folder of DMTF's Redfish-Mockup-Server");
        return;
    };
    let limit = ("Chassis/1U/EnvironmentMetrics", "PowerLimitWatts");
    let (environment, controls) = (("Chassis/1U", "EnvironmentMetrics"), ("Chassis/1U", "Controls"));
    let stated = range(150, 1_000);
    // In its old form the mock-up draws 344 W, and states no range.
    for (without, draw, range) in
        [(&[][..], 374, stated), (&[limit], 374, stated), (&[environment, controls], 344, None)]
    {
        let server = MockUp::start(&python, Path::new(&source), without).await;
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: server.port };
        let timeout = Duration::from_secs(5);
        let connection = connection(DriverKind::Redfish, "127.0.0.1:1".parse().unwrap());
        let connection = Connection { endpoint, timeout, ..connection };
        let mut driver = Redfish::new(&connection, &http_client().unwrap());
        let status = driver.read().await.unwrap();
        assert_eq!(status.power, Measured::Value(Watts::whole(draw)), "{without:?}");
        assert_eq!((status.target, status.range), (Measured::Value(power(500)), range), "{without:?}");
        driver.apply(power(420), Urgency::Shed).await.unwrap();
        assert_eq!(driver.read().await.unwrap().target, Measured::Value(power(420)), "{without:?}");
        assert!(driver.identify().await.unwrap().unwrap().serial.is_some());
        driver.close().await;
    }
}
