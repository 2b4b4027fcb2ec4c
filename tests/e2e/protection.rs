//! The last resort: an output that opens a circuit.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::bench::{Settings, Site, eventually, scenario, seconds};

/// An output behind HTTP, as a relay box has it: `GET /state` says `closed` or `open`, `POST /trip` opens it.
struct Relay {
    open: Arc<AtomicBool>,
    trips: Arc<AtomicUsize>,
}

impl Relay {
    fn serve(address: &str) -> Self {
        let relay = Self { open: Arc::default(), trips: Arc::default() };
        let (open, trips) = (relay.open.clone(), relay.trips.clone());
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = [0; 2048];
                let length = stream.read(&mut head).unwrap_or(0);
                if head.get(..length).unwrap_or_default().starts_with(b"POST /trip ") {
                    trips.fetch_add(1, Ordering::SeqCst);
                    open.store(true, Ordering::SeqCst);
                }
                let word = if open.load(Ordering::SeqCst) { "open" } else { "closed" };
                let length = word.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{word}"
                );
            }
        });
        relay
    }
}

#[test]
fn miners_that_ignore_everything_are_cut_off_by_their_breaker() {
    let site = Site::new();
    let relay = Relay::serve(&format!("{}:8099", site.host(50)));
    let breaker = r#"
[circuits.fleet.breaker]
device = "relay"
address = "NET.50"
after = "6s"
[drivers.relay]
kind = "http"
port = 8099
on = { path = "/close" }
off = { path = "/trip" }
state = { path = "/state", on = "closed", off = "open" }
"#;
    site.write("site.toml", &site.config(&Settings::default(), breaker));
    let names =
        ["v2", "v3", "bos"].into_iter().flat_map(|kind| (1..=3).map(move |n| format!("{kind}-00{n}")));
    let deaf: String = names
        .map(|name| {
            format!("[[event]]\nat = \"0s\"\nminer = {{ name = \"{name}\", fault = \"ignore-commands\" }}\n")
        })
        .collect();
    let more = format!("{deaf}[[event]]\nat = \"6s\"\nload = {{ by = \"16 kW\", over = \"500ms\" }}\n");
    let sim = site.simulate("site.toml", &scenario(&more));
    let daemon = site.run("site.toml");
    let state = |state: &str| {
        let series = format!("ballast_circuit_breaker_state{{circuit=\"fleet\",state=\"{state}\"}}");
        daemon.metrics().get(&series)
    };
    eventually("the breaker is seen to be closed", seconds(8.0), || (state("closed")? > 0.5).then_some(()));
    eventually("the surplus falls", seconds(12.0), || (sim.truth().surplus < 9_000.0).then_some(()));
    assert_eq!(relay.trips.load(Ordering::SeqCst), 0, "the gentle ways come first");
    eventually("the breaker is open", seconds(30.0), || (state("open")? > 0.5).then_some(()));
    assert!(relay.open.load(Ordering::SeqCst));
    let metrics = daemon.metrics();
    assert_eq!(metrics.value("ballast_miners{state=\"unreachable\"}"), 9.0, "nothing can answer behind it");
    let log = daemon.log();
    assert!(log.contains("the breaker of fleet is told to open"), "the log says it:\n{log}");
    let told = relay.trips.load(Ordering::SeqCst);
    std::thread::sleep(seconds(6.0));
    assert_eq!(relay.trips.load(Ordering::SeqCst), told, "once it is open it is left alone");
}
