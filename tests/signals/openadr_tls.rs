//! The way to a top node over TLS: the certificate is checked, always. The fixtures are keys made for this test alone.

use crate::signals_openadr_site;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use ballast::clock::Clock;
use ballast::secret::Secret;
use ballast::signal::openadr::client::{Client, VenError};
use ballast::signal::openadr::settings::{Account, Settings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use signals_openadr_site::seconds;

const AUTHORITY: &[u8] = include_bytes!("../fixtures/openadr/ca.pem");
const SERVER: &[u8] = include_bytes!("../fixtures/openadr/server.pem");
const KEY: &[u8] = include_bytes!("../fixtures/openadr/server.key");

/// Serves `[]` over TLS to whoever comes, as long as the test runs; gives the port. The certificate is for localhost
/// and 127.0.0.1.
fn serve(address: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let chain = vec![CertificateDer::from_pem_slice(SERVER).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let mut head = [0_u8; 4096];
            // A client that does not like the certificate ends here.
            let Ok(count) = stream.read(&mut head) else { continue };
            let head = String::from_utf8_lossy(&head[..count]).to_lowercase();
            let known = head.contains("authorization: bearer hush");
            let status = if known { "200 OK" } else { "401 Unauthorized" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]");
            let _ = stream.write_all(answer.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    port
}

async fn ask(host: &str, port: u16, authorities: Option<&[u8]>) -> Result<serde_json::Value, VenError> {
    let url = format!("https://{host}:{port}/openadr3").parse().unwrap();
    let mut settings = Settings::new(url, Account::Bearer(Secret::new("hush".into())));
    settings.authorities = authorities.map(Arc::from);
    settings.timeout = seconds(5.0);
    let wall = Arc::new(|| ballast::control::signal::Wall::unix_millis(0));
    let client = Client::new(&settings, Clock::start(), wall)?;
    client.get(client.address(&["events"])).await.map(|answer| answer.body)
}

#[tokio::test]
async fn a_top_node_with_a_certificate_of_the_configured_authority_is_heard() {
    let port = serve(Ipv4Addr::LOCALHOST);
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(ask(host, port, Some(AUTHORITY)).await, Ok(serde_json::json!([])), "{host}");
    }
}

#[tokio::test]
async fn a_top_node_that_nobody_vouches_for_is_not_heard_and_gets_no_token() {
    let port = serve(Ipv4Addr::LOCALHOST);
    match ask("localhost", port, None).await {
        Err(VenError::Unreachable { cause, .. }) => assert!(!cause.is_empty()),
        // A machine without any certificates believes nobody either.
        Err(VenError::Prepare(_)) => {}
        other => panic!("{other:?}"),
    }
    let other = ask("localhost", port, Some(SERVER)).await;
    assert!(other.is_err(), "the certificate of the server is no authority: {other:?}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let port = serve(Ipv4Addr::new(127, 0, 0, 2));
    let found = ask("127.0.0.2", port, Some(AUTHORITY)).await;
    let Err(VenError::Unreachable { cause, .. }) = &found else { panic!("{found:?}") };
    assert!(cause.contains("certificate"), "{cause}");
}
