//! The driver of BMCs over TLS, and against DMTF's mock-up server where there is one.

use crate::drivers_support;
use crate::redfish::range;
use crate::redfish_manners::bench;
use crate::sim_servers::bench::Bench;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
