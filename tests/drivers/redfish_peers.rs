//! The driver of BMCs over TLS, and against DMTF's mock-up server where there is one; and the simulated BMC before DMTF's validator and
//! its client.

use crate::drivers_support;
use crate::redfish::range;
use crate::redfish_manners::{FORMS, bench, driver, near};
use crate::sim_servers::bench::{Bench, PASSWORD};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ballast::control::snapshot::Measured;
use ballast::miner::drivers::redfish::Redfish;
use ballast::miner::{Connection, Driver, DriverError, DriverKind, Endpoint, Urgency, http_client};
use ballast::sim::miner::BmcForm;
use ballast::tls::{Fingerprint, Trust};
use ballast::units::Watts;
use drivers_support::{connection, fixture, nobody, power};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

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

fn python() -> String {
    std::env::var("BALLAST_TEST_PYTHON").unwrap_or_else(|_| "python3".into())
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
    let python = python();
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

/// Runs a command of Python beside the servers; `None` where it has not what is imported.
async fn run(script: &str, arguments: Vec<String>, folder: &Path) -> Option<Output> {
    let mut command = Command::new(python());
    command.current_dir(folder).arg("-c").arg(script).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output().ok()).await.unwrap()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if words.contains("ModuleNotFoundError") {
        return None;
    }
    assert!(output.status.code().is_some(), "{words}");
    Some(output)
}

const JUDGE: &str = "from redfish_service_validator.console_scripts import main; main()";

/// What the validator has found: the words behind `FAIL - ` and `WARN - `, and what it has let pass.
fn findings(folder: &Path) -> (Vec<String>, Vec<String>) {
    let mut logs = Vec::new();
    for run in std::fs::read_dir(folder.join("logs")).unwrap().map(Result::unwrap) {
        logs.extend(std::fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    logs.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    assert_eq!(logs.len(), 1, "{logs:?}");
    let log = std::fs::read_to_string(&logs[0]).unwrap();
    let of = |what: &[&str]| {
        let words = |line: &str| what.iter().find_map(|what| Some(line.split_once(what)?.1.to_owned()));
        log.lines().filter_map(words).collect()
    };
    (of(&[" - FAIL - ", " - WARN - "]), of(&[" - PASS - "]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_validator_of_dmtf_finds_no_fault_with_the_simulated_bmc_in_any_form() {
    let Ok(schema) = std::env::var("BALLAST_TEST_REDFISH_SCHEMA") else {
        eprintln!("SKIPPED: BALLAST_TEST_REDFISH_SCHEMA does not name a folder with DMTF's schemas (CSDL)");
        return;
    };
    for form in FORMS {
        let bench = bench(form).await;
        // More than one entry of the old form is judged, too.
        bench.miner.bmc(|manner| manner.entries = 2);
        let port = bench.address().port();
        let folder = std::env::temp_dir().join(format!("ballast-judge-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let at = format!("http://127.0.0.1:{port}");
        let words = ["--rhost", &at, "--user", "admin", "--password", PASSWORD, "--authtype", "Session"];
        let words = words.into_iter().chain(["--schema_directory", &schema, "--skipschema"]);
        let Some(output) = run(JUDGE, words.map(str::to_owned).collect(), &folder).await else {
            eprintln!("SKIPPED: {} has no redfish_service_validator; set BALLAST_TEST_PYTHON", python());
            return;
        };
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(folder.join("logs").is_dir(), "{form:?}: {told}");
        let (mut found, passed) = findings(&folder);
        let _ = std::fs::remove_dir_all(&folder);
        if form == BmcForm::Power {
            // That it is the old form is no fault.
            let before = found.len();
            found.retain(|words| {
                !words.contains("eprecated") || !words.contains("/redfish/v1/Chassis/1/Power")
            });
            assert_eq!(before - found.len(), 2, "{found:?}");
        }
        assert!(found.is_empty() && output.status.success(), "{form:?}: {found:#?} {told}");
        // It has looked at the limits, and at nothing that is not there.
        let (limit, count) = match form {
            BmcForm::Environment => ("/PowerLimitWatts/SetPoint ", 1),
            BmcForm::Processors | BmcForm::Modules => ("/PowerLimitWatts/SetPoint ", 4),
            BmcForm::Control | BmcForm::Percent => ("/SetPoint ", 1),
            BmcForm::Power => ("/LimitInWatts ", 2),
        };
        let limits = passed.iter().filter(|words| words.contains(limit)).count();
        assert_eq!(limits, count, "{form:?}: {passed:#?}");
        assert_eq!(bench.miner.bmc(|manner| (manner.logins, manner.open_sessions)), (1, 0), "{form:?}");
        assert_eq!(bench.miner.tally().trespasses, 0, "{form:?}");
    }
}

/// Finds a limit of the chassis by the links alone, and lowers it.
const LOWER: &str = r#"
import sys, redfish
at, password, watts, rated = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
bmc = redfish.redfish_client(base_url=at, username="admin", password=password, timeout=5, max_retry=1)
bmc.login(auth="session")
chassis = bmc.get(bmc.get(bmc.root.Chassis["@odata.id"]).dict["Members"][0]["@odata.id"]).dict
def of(key):
    return bmc.get(chassis[key]["@odata.id"]) if key in chassis else None
metrics, controls, power = of("EnvironmentMetrics"), of("Controls"), of("Power")
if metrics and "PowerLimitWatts" in metrics.dict:
    found, body = metrics, {"PowerLimitWatts": {"SetPoint": watts}}
elif controls:
    found = bmc.get(controls.dict["Members"][0]["@odata.id"])
    body = {"SetPoint": watts if found.dict["SetPointUnits"] == "W" else watts * 100 // rated}
else:
    found, body = power, {"PowerControl": [{"PowerLimit": {"LimitInWatts": watts}}]}
answer = bmc.patch(found.dict["@odata.id"], body=body, headers={"If-Match": found.getheader("ETag")})
bmc.logout()
sys.exit(0 if answer.status in (200, 204) else f"HTTP {answer.status}: {answer.text}")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_client_of_dmtf_has_set_the_driver_reads() {
    for form in [BmcForm::Environment, BmcForm::Control, BmcForm::Percent, BmcForm::Power] {
        let bench = bench(form).await;
        let at = format!("http://{}", bench.address());
        let rated = bench.connection().rated.get().round();
        let words = [at, PASSWORD.to_owned(), "2380".to_owned(), format!("{rated:.0}")];
        let Some(output) = run(LOWER, words.to_vec(), &std::env::temp_dir()).await else {
            eprintln!("SKIPPED: {} has no redfish; set BALLAST_TEST_PYTHON", python());
            return;
        };
        assert!(output.status.success(), "{form:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(bench.miner.bmc(|manner| manner.open_sessions), 0);
        let mut driver = driver(&bench);
        let status = driver.read().await.unwrap();
        assert!(near(status.target, 2_380.0), "{form:?}: {status:?}");
        driver.close().await;
    }
}
