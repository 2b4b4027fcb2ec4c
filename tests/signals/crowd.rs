//! Orders beside many who want nothing good: connections that say nothing, little, or too much.

use crate::signals_push;

use std::net::SocketAddr;
use std::time::Duration;

use signals_push::{Bench, HTTP, OPERATOR, OTHER, host};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_modbus::client::{Reader, Writer, tcp};

/// Long before the server would close a silent connection by itself (10 s), or one that is old (120 s): who waits so long waits
/// for others to go.
const STUCK: Duration = Duration::from_secs(6);

/// Two hundred connections, held open: silent ones, heads that never end, keep-alive ones that were answered, wrong tokens with
/// bodies that do not come, and readers of large answers that do not read.
async fn crowd(address: SocketAddr) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let said: &[u8] = match number % 5 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-A: ",
            2 => b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
            3 => {
                b"PUT /api/v1/limits/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess\r\n\
                  Content-Type: application/json\r\nContent-Length: 9000\r\n\r\n{"
            }
            _ => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        };
        // The server may have shown it out already.
        let _ = stream.write_all(said).await;
        if number % 5 == 2 {
            let _ =
                timeout(STUCK, stream.read(&mut [0; 64])).await.expect("everybody is answered or shown out");
        }
        crowd.push(stream);
    }
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_answered_while_two_hundred_others_hold_their_connections_open() {
    let bench = Bench::start(71, HTTP).await;
    let crowd = crowd(bench.daemon.address()).await;
    let begun = bench.clock.now();
    let order = bench.put("limits/a", OTHER, r#"{"cap": "12 kW"}"#);
    let (status, answer) = timeout(STUCK, order).await.expect("nobody waits for a place");
    println!("beside {} connections an order is answered after {:?}", crowd.len(), bench.clock.now() - begun);
    assert_eq!(status, 201, "{answer}");
    bench.until("it is in force", 3, |_| bench.cap() == Some(12.0)).await;
    // And so are those who only look.
    let page = bench.http.get(format!("http://{}/healthz", bench.daemon.address())).send();
    assert_eq!(timeout(STUCK, page).await.expect("nobody waits for a place").unwrap().status(), 200);
    drop(crowd);
    bench.stop().await;
}

/// The head of the next answer on a connection; `None` when the server has closed it.
async fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut part = [0; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match timeout(STUCK, stream.read(&mut part)).await.expect("an answer or an end") {
            Ok(0) | Err(_) => return None,
            Ok(read) => head.extend_from_slice(&part[..read]),
        }
    }
    Some(String::from_utf8(head).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_shown_a_token_keeps_his_connection_and_the_most_silent_goes_first() {
    let bench = Bench::start(72, HTTP).await;
    let address = bench.daemon.address();
    let ask =
        format!("GET /api/v1/limits HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OPERATOR}\r\n\r\n");
    let mut operator = TcpStream::connect(address).await.unwrap();
    operator.write_all(ask.as_bytes()).await.unwrap();
    assert!(answer(&mut operator).await.unwrap().starts_with("HTTP/1.1 200"));
    // As many strangers as there is room for, one after the other; the first one speaks again.
    let hello = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut strangers = Vec::new();
    for _ in 0..64 {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(hello).await.unwrap();
        assert!(answer(&mut stranger).await.is_some());
        strangers.push(stranger);
    }
    strangers[0].write_all(hello).await.unwrap();
    assert!(answer(&mut strangers[0]).await.is_some());
    for _ in 0..3 {
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        newcomer.write_all(hello).await.unwrap();
        assert!(answer(&mut newcomer).await.is_some());
        strangers.push(newcomer);
    }
    // Those who have been silent for the longest time are gone, and nobody else. What was written to them is lost.
    let mut gone = Vec::new();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        let heard = stranger.write_all(hello).await.is_ok();
        if !heard || answer(stranger).await.is_none() {
            gone.push(number);
        }
    }
    assert_eq!(gone, [1, 2, 3]);
    let more = crowd(address).await;
    operator.write_all(ask.as_bytes()).await.unwrap();
    let told = answer(&mut operator).await.expect("nobody takes the place of one who may order");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    drop(more);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_terminal_that_orders_keeps_its_connection_beside_two_hundred_others() {
    let listen = format!("{}:1502", host(73, 1));
    let bench = Bench::start(
        73,
        &format!(
            "[signals.utility]\nkind = \"modbus-server\"\nlisten = \"{listen}\"\ncircuit = \"pcc\"\nfail_safe = \"25 kW\"\n\
             lost_after = \"1min\"\n"
        ),
    )
    .await;
    let address: SocketAddr = listen.parse().unwrap();
    let mut terminal = tcp::connect(address).await.unwrap();
    terminal.write_multiple_registers(0, &[0, 40_000]).await.unwrap().unwrap();
    let mut others = Vec::new();
    for number in 0..200 {
        let mut other = TcpStream::connect(address).await.unwrap();
        // Every second one begins a frame that does not end.
        if number % 2 == 0 {
            let _ = other.write_all(&[0, 1, 0, 0, 0, 6]).await;
        }
        others.push(other);
    }
    let write = timeout(STUCK, terminal.write_multiple_registers(0, &[0, 30_000])).await;
    write.expect("the server answers").expect("the terminal's connection is there").unwrap();
    bench.until("its limit holds", 3, |_| bench.cap() == Some(30.0)).await;
    // One that comes now is heard too.
    let mut newcomer = tcp::connect(address).await.unwrap();
    let read = timeout(STUCK, newcomer.read_holding_registers(0, 2)).await;
    assert_eq!(read.expect("the server answers").unwrap().unwrap(), [0, 30_000]);
    drop(others);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_of_this_machine_asks_for_the_same_token_and_takes_the_same_orders() {
    let folder = std::env::temp_dir().join(format!("ballast-crowd-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ballast.sock");
    let bench = Bench::start_as(74, HTTP, |config| config.web.socket = Some(path.clone())).await;
    let http = ballast::tls::client(false).unix_socket(path.as_path()).build().unwrap();
    let order = http.put("http://localhost/api/v1/limits/a").json(&serde_json::json!({"cap": "12 kW"}));
    let refused = order.try_clone().unwrap().send().await.unwrap();
    assert_eq!(refused.status(), 401, "who may connect may not order without a token");
    let crowd = crowd(bench.daemon.address()).await;
    let given = timeout(STUCK, order.bearer_auth(OTHER).send()).await.expect("it is answered").unwrap();
    assert_eq!(given.status(), 201);
    bench.until("it is in force", 3, |_| bench.cap() == Some(12.0)).await;
    drop(crowd);
    bench.stop().await;
    assert!(!path.exists(), "the socket goes with the daemon");
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_meant_for_another_host_is_refused_with_a_good_token_too() {
    let bench = Bench::start_as(75, HTTP, |config| config.web.hosts = vec!["mill.example".into()]).await;
    let port = bench.daemon.address().port();
    for (named, expected) in [
        (format!("evil.example:{port}"), 421),
        ("localhost.evil.example".into(), 421),
        (format!("mill.example:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (bench.daemon.address().to_string(), 200),
    ] {
        for path in ["limits", "status"] {
            let url = format!("http://{}/api/v1/{path}", bench.daemon.address());
            let response =
                bench.http.get(url).bearer_auth(OPERATOR).header("host", &named).send().await.unwrap();
            assert_eq!(response.status(), expected, "{named} {path}");
        }
    }
    // A reload takes other names.
    let mut config = bench.config.clone();
    config.web.hosts = vec!["other.example".into()];
    bench.daemon.reload(config).await.unwrap();
    for (named, expected) in [("mill.example", 421), ("other.example", 200)] {
        let url = format!("http://{}/healthz", bench.daemon.address());
        assert_eq!(
            bench.http.get(url).header("host", named).send().await.unwrap().status(),
            expected,
            "{named}"
        );
    }
    bench.stop().await;
}
