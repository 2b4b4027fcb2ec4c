//! The pages, over real sockets on loopback.

use crate::metrics_sample;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ballast::control::decision::{Held, MeterDecision, MinerState, Mode, Source, Waiting};
use ballast::control::measure::Measure;
use ballast::control::site::{Combination, MeterId, MinerId, Part, Redundant, SourceId};
use ballast::control::snapshot::{MeterInput, MeterStatus, Reading};
use ballast::metrics::Exporter;
use ballast::units::Watts;
use ballast::web;
use metrics_sample::{publish, running, silent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub struct Server {
    pub address: SocketAddr,
    pub exporter: Arc<Exporter>,
    pub cancel: CancellationToken,
    pub task: JoinHandle<()>,
}

pub async fn serve(exporter: Exporter) -> Server {
    let listener = web::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (exporter, cancel) = (Arc::new(exporter), CancellationToken::new());
    let task = tokio::spawn(web::serve(listener, exporter.clone(), cancel.clone()));
    Server { address, exporter, cancel, task }
}

impl Server {
    /// Sends bytes and reads all that comes until the server closes the connection.
    pub async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // A reset after the answer is as good as an end.
        let _ = timeout(Duration::from_secs(8), read).await.expect("the server closes");
        String::from_utf8(answer).unwrap()
    }

    /// Head and body of the answer to a request of this method and path.
    pub async fn ask(&self, method: &str, path: &str) -> (String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = self.exchange(request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    pub async fn get(&self, path: &str) -> (String, String) {
        self.ask("GET", path).await
    }

    pub async fn json(&self, path: &str) -> (String, serde_json::Value) {
        let (head, body) = self.get(path).await;
        let json = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        (head, json)
    }
}

#[tokio::test]
async fn metrics_are_served_in_the_text_format_of_prometheus() {
    let server = serve(running(6).0).await;
    let (head, body) = server.get("/metrics").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\nballast_budget_watts 306100\n"), "{body}");
    let (head, body) = server.ask("HEAD", "/metrics").await;
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
}

/// What the control law took a meter for.
fn outcome(input: MeterInput, in_use: Option<usize>) -> MeterDecision {
    MeterDecision {
        input,
        lost: 0.0,
        lag: Duration::from_secs(2),
        learned_lag: Some(Duration::from_secs(2)),
        in_use,
        disagreement: in_use.map(|_| true),
        asked: None,
    }
}

#[tokio::test]
async fn redundant_meters_and_limits_that_rest_are_shown() {
    let (exporter, _) = silent(1);
    let mut site = metrics_sample::site(1);
    let part = |meter| Part { meter: MeterId(meter), measure: Measure::Power };
    site.meters[2].name = "pv & <roof>".into();
    site.meters[2].combined = Some(Combination::Redundant(Redundant {
        parts: vec![part(0), part(1)],
        disagreement: Watts::whole(5_000),
        disagreement_for: Duration::from_secs(10),
        return_after: Duration::from_secs(60),
    }));
    exporter.reconfigure(Arc::new(site));
    publish(&exporter, |snapshot, decision| {
        let charge = Reading { value: 64.2, at: snapshot.now };
        snapshot.meters[0].others.set(Measure::StateOfCharge, charge);
        let inputs = snapshot.meters.iter().enumerate();
        decision.meters = inputs.map(|(index, input)| outcome(*input, (index == 2).then_some(1))).collect();
        decision.circuits[1].limits[0].acts = false;
    });
    let server = serve(exporter).await;
    let (_, json) = server.json("/api/v1/status").await;
    let meters = &json["cycle"]["meters"];
    assert_eq!(meters[2]["in_use"], "dead");
    assert_eq!(meters[2]["disagreement"], true);
    assert_eq!(meters[0]["readings"]["state_of_charge"], 64.2);
    assert_eq!(meters[0]["lag_seconds"], 2.0);
    assert!(meters[0].get("disagreement").is_none());
    assert_eq!(json["cycle"]["circuits"][1]["limits"][0]["acts"], false);
    assert!(json["cycle"]["circuits"][1]["headroom_watts"].is_null(), "nothing of its own acts there");
    let (_, page) = server.get("/plain").await;
    assert!(page.contains("What binds: follows the surplus: 312.4 kW."), "{page}");
    assert!(page.contains("Does not act at present: container-feeder at container."), "{page}");
    assert!(page.contains("its parts disagree: the worse value counts"), "{page}");
    assert!(page.contains("charged 64 %") && page.contains("pv &amp; &lt;roof&gt;"), "{page}");
}

#[tokio::test]
async fn what_is_left_and_what_the_next_miner_waits_for_is_told_in_words() {
    let (exporter, _) = running(6);
    let server = serve(exporter).await;
    let (_, json) = server.json("/api/v1/status").await;
    let fleet = &json["cycle"]["fleet"];
    assert_eq!(fleet["left_watts"], 5_700.0);
    assert_eq!(fleet["left_for_seconds"], 40.0);
    assert!(fleet["waiting"].is_null());
    publish(&server.exporter, |snapshot, decision| {
        decision.meters = snapshot.meters.iter().map(|input| outcome(*input, None)).collect();
        decision.meters[0].input.status = MeterStatus::Turned;
        decision.miners[0].state = MinerState::Unanswered;
        decision.fleet.left_for = Duration::from_secs(240);
        decision.waiting = Some(Waiting {
            miner: MinerId(1),
            needs: Watts::whole(3_310),
            there: Watts::whole(2_460),
            held: Held::Short,
        });
    });
    let (_, json) = server.json("/api/v1/status").await;
    let fleet = &json["cycle"]["fleet"];
    assert_eq!(fleet["waiting"]["words"], "waits for 3.31 kW, 2.46 kW are there");
    assert_eq!(fleet["waiting"]["miner"], metrics_sample::site(6).miners[1].name.as_str());
    assert_eq!(json["cycle"]["miners_by_state"]["unanswered"], 1);
    assert_eq!(json["cycle"]["meters"][0]["status"], "turned");
    assert!(json["summary"].as_str().unwrap().contains("1 unanswered"), "{json}");
    let (_, page) = server.get("/plain").await;
    let left = "5.70 kW could be taken and are not, for 4 min: 1 asleep, the next waits for 3.31 kW, 2.46 kW are there; \
                1 straggler; 1 unanswered;";
    assert!(page.contains(left), "{page}");
    assert!(page.contains("waits for 3.31 kW, 2.46 kW are there.</p>"), "{page}");
    assert!(page.contains("turned: moves the wrong way when the miners move"), "{page}");
    // Who is put to sleep by an order does not wait for power.
    publish(&server.exporter, |_, decision| {
        decision.waiting = Some(Waiting {
            miner: MinerId(1),
            needs: Watts::whole(3_310),
            there: Watts::ZERO,
            held: Held::Short,
        });
        for circuit in &mut decision.circuits {
            (circuit.budget, circuit.headroom) = (Watts::ZERO, Watts::ZERO);
            circuit.binding = Source::Order(SourceId(0));
        }
    });
    let (_, json) = server.json("/api/v1/status").await;
    assert!(json["cycle"]["fleet"]["waiting"].is_null(), "{json}");
}

#[tokio::test]
async fn the_daemon_is_healthy_when_cycles_complete_and_the_start_up_is_over() {
    let server = serve(running(2).0).await;
    let (head, json) = server.json("/healthz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(json["status"], "ok");
    assert_eq!(json["mode"], "following");
    publish(&server.exporter, |_, decision| {
        (decision.mode, decision.would_be) = (Mode::FailSafe, Mode::FailSafe);
    });
    let (head, _) = server.json("/healthz").await;
    assert!(head.starts_with("http/1.1 200"), "a lost meter is not a broken daemon: {head}");
}

#[tokio::test]
async fn the_daemon_is_not_healthy_before_the_first_cycle_nor_while_it_starts_up() {
    let server = serve(silent(2).0).await;
    let (head, json) = server.json("/healthz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(json["reason"], "no control cycle has completed yet");
    for mode in [Mode::StartUp, Mode::Observe] {
        publish(&server.exporter, |_, decision| {
            (decision.mode, decision.would_be) = (mode, Mode::StartUp);
        });
        let (head, json) = server.json("/healthz").await;
        assert!(head.starts_with("http/1.1 503"), "{head}");
        assert!(json["reason"].as_str().unwrap().starts_with("starting up"), "{json}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_daemon_is_not_healthy_when_cycles_stop() {
    let (exporter, _) = running(2);
    tokio::time::sleep(Duration::from_millis(4_900)).await;
    assert!(web::health(&exporter).is_ok());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let health = web::health(&exporter);
    let reason = health.reason.unwrap();
    assert_eq!(reason, "the last control cycle completed 5.1 s ago; one is due every 1.0 s");
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_no_illness_and_cycles_that_do_not_come_after_it_are() {
    let (exporter, _) = running(2);
    exporter.reconfigure(Arc::new(metrics_sample::site(3)));
    assert!(exporter.frame().is_none(), "what was published belongs to the old site");
    assert_eq!(web::health(&exporter).reason, None);
    exporter.reconfigure(Arc::new(metrics_sample::site(2)));
    assert_eq!(web::health(&exporter).reason, None, "nor are two");
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    assert!(web::health(&exporter).reason.is_some());
}

#[tokio::test]
async fn the_status_tells_what_binds_and_leaves_unknown_values_null() {
    let server = serve(running(6).0).await;
    let (head, json) = server.json("/api/v1/status").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    let cycle = &json["cycle"];
    assert_eq!(json["site"], "Mill Creek");
    assert_eq!(cycle["binding"]["words"], "follows the surplus: 312.4 kW");
    assert_eq!(cycle["binding"]["class"], "surplus");
    assert_eq!(cycle["fleet"]["budget_watts"], 306_100.0);
    assert_eq!(cycle["circuits"][0]["power_watts"], -7_500.0);
    assert_eq!(cycle["circuits"][0]["limits"][1]["source"], "main-breaker");
    assert!(cycle["meters"][1]["power_watts"].is_null(), "never answered");
    assert_eq!(cycle["meters"][1]["status"], "unreachable");
    assert_eq!(cycle["miners_by_state"]["hashing"], 2);
    assert!(cycle.get("miners").is_none(), "only when asked for");

    let (_, json) = server.json("/api/v1/status?miners=1").await;
    let miners = json["cycle"]["miners"].as_array().unwrap();
    assert_eq!(miners.len(), 6);
    assert_eq!(miners[1]["setpoint"], "sleep");
    assert!(miners[2]["power_watts"].is_null() && miners[2]["up"] == false);
    assert!(miners[4]["up"].is_null(), "never asked");
    let (head, _) = server.get("/api/v1/status?miners=yes").await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
}

#[tokio::test]
async fn the_page_shows_the_state_and_runs_no_script() {
    let server = serve(running(6).0).await;
    let (head, body) = server.get("/plain").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(body.contains("budget 306.1 kW (follow-surplus at pcc)"), "{body}");
    assert!(!body.contains("<script"));
    // The page for browsers has its scripts in files of their own, from here alone.
    let (head, body) = server.get("/").await;
    assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
    assert!(!body.contains("<script>") && !body.contains("<style"), "{body}");
    let (head, _) = server.get("/nothing").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
}

#[tokio::test]
async fn nothing_can_be_ordered() {
    let server = serve(running(1).0).await;
    for path in ["/", "/plain", "/metrics", "/healthz", "/api/v1/status"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let (head, _) = server.ask(method, path).await;
            assert!(head.starts_with("http/1.1 405"), "{method} {path}: {head}");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = serve(running(1).0).await;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // The server may hang up before all is sent.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let (head, _) = server.get("/healthz").await;
    assert!(head.starts_with("http/1.1 200"), "the next one is served: {head}");
}

#[tokio::test]
async fn silent_connections_are_bounded_and_keep_nobody_waiting() {
    let server = serve(running(1).0).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    // All places are taken: the one that has been silent for the longest time is shown out.
    let (head, _) = server.get("/healthz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let ended = timeout(Duration::from_secs(5), silent[0].read(&mut [0; 1])).await;
    assert!(matches!(ended, Ok(Ok(0) | Err(_))), "more connections are served than the bound says");
    let last = timeout(Duration::from_millis(100), silent[63].read(&mut [0; 1])).await;
    assert!(last.is_err(), "the others stay");
}

#[tokio::test]
async fn whoever_asks_without_end_over_one_connection_is_shown_out() {
    let server = serve(running(1).0).await;
    let one = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answers = server.exchange(one.repeat(1_000).as_bytes()).await;
    let (good, refused) = (answers.matches("HTTP/1.1 200").count(), answers.matches("HTTP/1.1 429").count());
    // The connection ends with so much unread that some of the answers may be lost on the way.
    assert!((1..500).contains(&good) && refused <= 1, "{good} answered, {refused} refused");
    let (head, _) = server.get("/").await;
    assert!(head.starts_with("http/1.1 200"), "another one is as good as before: {head}");
}

#[tokio::test]
async fn metrics_are_compressed_for_whoever_asks_for_it() {
    let server = serve(running(50).0).await;
    let ask = async |accept: &str| {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accept}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
    };
    let (head, plain) = ask("identity").await;
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(head.contains("vary: accept-encoding"), "{head}");
    for accept in ["gzip", "br;q=1.0, GZIP;q=0.8, *;q=0.1", "*"] {
        let (head, body) = ask(accept).await;
        assert!(head.contains("content-encoding: gzip") && head.contains("text/plain"), "{accept}: {head}");
        assert!(body.len() * 4 < plain.len(), "{} bytes of {}", body.len(), plain.len());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&body[..]), &mut text).unwrap();
        // The clock goes on between two answers, and little else.
        assert_eq!(text.lines().count(), plain.split(|byte| *byte == b'\n').count() - 1);
        assert!(text.contains("\nballast_budget_watts 306100\n"), "{text}");
    }
    for accept in ["", "deflate, br", "gzip;q=0", "*;q=0", "identity;q=1, gzip;q=0.000"] {
        let (head, body) = ask(accept).await;
        assert!(!head.contains("content-encoding"), "{accept}: {head}");
        assert!(body.starts_with(b"# HELP"), "{accept}");
    }
}

#[tokio::test]
async fn a_page_of_somebody_else_cannot_read_what_is_served_here() {
    let server = serve(running(1).0).await;
    for path in ["/", "/metrics", "/healthz", "/api/v1/status", "/nothing"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example:9842\r\nConnection: close\r\n\r\n");
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{path}: {answer}");
        assert!(answer.contains("add the name to `hosts` in [web]"), "{path}: {answer}");
    }
    let answer = server.exchange(b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200"), "who names no host is no browser: {answer}");
}

#[tokio::test]
async fn many_scrapes_at_once_are_all_answered() {
    let server = Arc::new(serve(running(500).0).await);
    let scrapes: Vec<_> = (0..64)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move { server.get("/metrics").await.0 })
        })
        .collect();
    for scrape in scrapes {
        assert!(scrape.await.unwrap().starts_with("http/1.1 200"));
    }
}

#[tokio::test]
async fn serving_ends_when_it_is_cancelled_even_with_a_silent_connection() {
    let server = serve(running(1).0).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let (head, _) = server.get("/healthz").await;
    assert!(head.starts_with("http/1.1 200"));
    server.cancel.cancel();
    timeout(Duration::from_secs(5), server.task).await.expect("it ends").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is free");
}

#[tokio::test]
async fn a_taken_address_is_named_with_what_to_do() {
    let taken = web::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = web::bind(address).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(error.contains("another program listens there"), "{error}");
    let error = web::bind("192.0.2.1:9842".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("this computer has no address 192.0.2.1"), "{error}");
}
