//! What programs read: circuits, meters, miners, curves, and events as they come. Over real sockets on loopback.

use crate::{metrics_sample, web as pages};

use std::sync::Arc;
use std::time::Duration;

use ballast::control::decision::{Cause, Command, Held, LimitValue, MinerState, Source, Waiting};
use ballast::control::site::{
    Circuit, CircuitId, EmergencyStop, Interlock, LimitId, LoadClass, MeterId, MinerId, OpensBreaker, Site,
};
use ballast::control::snapshot::{HeldMiner, Hold, Target};
use ballast::units::Watts;
use ballast::web::Viewer;
use metrics_sample::{publish, running, silent};
use pages::{Server, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection on which events come.
struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    async fn open(server: &Server, query: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET /api/v1/events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// Reads until something has come.
    async fn until(&mut self, what: &str) {
        while !self.text.contains(what) {
            let mut bytes = vec![0; 64 * 1024];
            let read = timeout(Duration::from_secs(60), self.stream.read(&mut bytes)).await;
            let read = read.unwrap_or_else(|_| panic!("no {what:?} in {}", self.text)).unwrap();
            assert!(read > 0, "it ended: {}", self.text);
            self.text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }

    /// The next event of a kind.
    async fn next(&mut self, kind: &str) -> Value {
        let head = format!("event: {kind}\ndata: ");
        self.until(&head).await;
        let at = self.text.find(&head).unwrap() + head.len();
        self.text.drain(..at);
        self.until("\n\n").await;
        let end = self.text.find("\n\n").unwrap();
        let event: String = self.text.drain(..end).collect();
        serde_json::from_str(&event).unwrap_or_else(|error| panic!("{error}: {event}"))
    }
}

/// A hall below the container of the sample.
fn deeper(mut site: Site) -> Site {
    let hall = Circuit { name: "hall a/1".into(), parent: Some(CircuitId(1)), ..site.circuits[1].clone() };
    site.circuits.push(hall);
    site.miners[1].circuit = CircuitId(2);
    site
}

#[tokio::test]
async fn each_circuit_tells_what_caps_it_and_why() {
    let (exporter, _) = silent(6);
    exporter.reconfigure(Arc::new(deeper(metrics_sample::site(6))));
    publish(&exporter, |_, decision| {
        decision.circuits[1].headroom = Watts::kilowatts(120.0);
        let mut hall = decision.circuits[1].clone();
        hall.limits.clear();
        decision.circuits.push(hall);
        decision.binding.circuit = CircuitId(1);
        decision.binding.source = Source::Limit(LimitId(2));
    });
    let server = serve(exporter).await;
    let (_, json) = server.json("/api/v1/circuits").await;
    let circuits = json["circuits"].as_array().unwrap();
    assert_eq!((circuits.len(), &circuits[0]["parent"]), (3, &Value::Null));
    assert_eq!(circuits[0]["cap"]["words"], "follows the surplus: 312.4 kW");
    let words = "rating of container, 350 kW (container-feeder)";
    assert_eq!(circuits[1]["cap"]["words"], words);
    // The hall has no limit of its own: what caps it stands above it.
    let (_, hall) = server.json("/api/v1/circuits/hall%20a%2F1").await;
    assert_eq!(hall["parent"], "container");
    assert_eq!(
        hall["cap"],
        json!({ "circuit": "container", "cap_watts": 350_000.0, "source": "container-feeder", "words": words,
                "until": null })
    );
    let (_, status) = server.json("/api/v1/status").await;
    assert_eq!(status["cycle"]["binding"]["words"], words);
    assert_eq!(status["cycle"]["circuits"][2], hall);
    let (_, page) = server.get("/plain").await;
    assert!(page.contains(&format!("What binds: {words}.")), "{page}");
    let (_, meters) = server.json("/api/v1/meters").await;
    assert_eq!(meters["meters"][1]["name"], "dead");
    assert!(meters["meters"][1]["power_watts"].is_null());
}

#[tokio::test]
async fn an_interlock_and_a_contact_tell_what_they_go_by_and_the_cap_is_that_of_the_root() {
    let (exporter, _) = silent(2);
    let mut site = metrics_sample::site(2);
    site.circuits[1].interlock = Some(Interlock { meter: MeterId(2), at_least: Watts::whole(500) });
    site.circuits[1].emergency_stop =
        Some(EmergencyStop { meter: MeterId(0), opens_breaker: OpensBreaker::Never });
    exporter.reconfigure(Arc::new(site));
    publish(&exporter, |snapshot, decision| {
        snapshot.meters[0].power.as_mut().unwrap().value = Watts::whole(1);
        snapshot.meters[2].power.as_mut().unwrap().value = Watts::whole(31);
        // What stops one container is no cap of the site.
        decision.circuits[1].limits.push(LimitValue {
            source: Source::Interlock(CircuitId(1)),
            cap: Some(Watts::ZERO),
            headroom: Watts::ZERO,
            acts: true,
        });
        decision.binding.source = Source::Interlock(CircuitId(1));
    });
    let (_, status) = serve(exporter).await.json("/api/v1/status").await;
    let cycle = &status["cycle"];
    assert_eq!(
        cycle["fleet"]["cap_watts"], 400_000.0,
        "the breaker of the root, neither the surplus nor the interlock"
    );
    let told = json!({ "meter": "pv", "power_watts": 31.0, "at_least_watts": 500.0 });
    assert_eq!(cycle["circuits"][1]["interlock_meter"], told);
    assert_eq!(cycle["circuits"][0]["interlock_meter"], Value::Null);
    assert_eq!(cycle["meters"][0]["contact"], "closed");
    assert_eq!(cycle["meters"][2]["contact"], Value::Null, "a pump is none");
}

#[tokio::test]
async fn miners_are_found_by_state_circuit_and_name_page_by_page() {
    let (exporter, _) = silent(120);
    exporter.reconfigure(Arc::new(deeper(metrics_sample::site(120))));
    publish(&exporter, |_, decision| decision.circuits.push(decision.circuits[1].clone()));
    let server = serve(exporter).await;
    let ask = async |query: &str| server.json(&format!("/api/v1/miners{query}")).await.1;
    let all = ask("").await;
    assert_eq!((&all["total"], all["miners"].as_array().unwrap().len()), (&json!(120), 100));
    let page = ask("?offset=115&limit=1000").await;
    assert_eq!((page["miners"].as_array().unwrap().len(), &page["offset"]), (5, &json!(115)));
    assert_eq!(page["miners"][4]["name"], "rack-002-39");
    assert_eq!(ask("?offset=100000").await["miners"], json!([]));
    let asleep = ask("?state=asleep").await;
    assert_eq!((&asleep["total"], &asleep["miners"][0]["name"]), (&json!(1), &json!("rack-000-01")));
    assert_eq!(ask("?circuit=pcc").await["total"], 120, "what lies below belongs to it");
    assert_eq!(ask("?circuit=hall+a%2F1").await["total"], 1);
    assert_eq!(ask("?search=RACK-001").await["total"], 40);
    assert_eq!(ask("?search=braiins&state=hashing").await["total"], 58);
    for (query, words) in [
        ("?limit=1001", "from 1 to 1000"),
        ("?limit=0", "from 1 to 1000"),
        ("?offset=-1", "whole number"),
        ("?state=sleeping", "there are pending, hashing"),
        ("?colour=red", "there are offset, limit"),
        ("?limit=1&limit=2", "each once"),
    ] {
        let (head, problem) = server.json(&format!("/api/v1/miners{query}")).await;
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert_eq!(problem["status"], 400);
        assert!(problem["detail"].as_str().unwrap().contains(words), "{query}: {problem}");
    }
    let (head, problem) = server.json("/api/v1/miners?circuit=hall-b").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    assert_eq!(problem["detail"], "there are pcc, container, hall a/1");
}

/// The sample with servers: 0 is kept by contract and runs, 1 is paused, 5 is slowed down at the most.
fn with_servers(mut site: Site) -> Site {
    for (at, class) in [(0, LoadClass::Guaranteed), (1, LoadClass::Interruptible), (5, LoadClass::Throttle)] {
        site.miners[at].class = class;
        site.miners[at].sleeps = class == LoadClass::Interruptible;
        site.miners[at].points[0].power = Watts::whole(1_000);
    }
    site.miners[0].contract = Some(Watts::whole(3_000));
    site
}

#[tokio::test]
async fn servers_tell_their_class_what_they_keep_and_whether_they_are_paused() {
    let (exporter, _) = silent(6);
    exporter.reconfigure(Arc::new(with_servers(metrics_sample::site(6))));
    publish(&exporter, |_, _| {});
    let server = serve(exporter).await;
    let ask = async |query: &str| server.json(&format!("/api/v1/miners{query}")).await.1;
    let kept = ask("?class=guaranteed").await;
    assert_eq!(kept["total"], 1);
    let kept = &kept["miners"][0];
    assert_eq!((&kept["class"], &kept["contract_watts"]), (&json!("guaranteed"), &json!(3_000.0)));
    assert_eq!(kept.get("pause"), None, "it is never paused");
    assert_eq!(ask("?class=interruptible&state=asleep").await["miners"][0]["pause"], "paused");
    assert_eq!(ask("?class=miner").await["total"], 3);
    let (_, problem) = server.json("/api/v1/miners?class=gold").await;
    let words = "there are miner, interruptible, throttle, guaranteed";
    assert_eq!((&problem["status"], &problem["detail"]), (&json!(400), &json!(words)));
    let mut events = Events::open(&server, "").await;
    let servers = json!([[0, "guaranteed"], [1, "interruptible"], [5, "throttle"]]);
    assert_eq!(events.next("roster").await["servers"], servers);
}

#[tokio::test]
async fn each_class_tells_what_it_draws_and_what_it_could_still_give() {
    let (exporter, _) = silent(6);
    exporter.reconfigure(Arc::new(deeper(with_servers(metrics_sample::site(6)))));
    publish(&exporter, |_, decision| decision.circuits.push(decision.circuits[1].clone()));
    let server = serve(exporter).await;
    let (_, status) = server.json("/api/v1/status").await;
    let classes = status["cycle"]["classes"].as_array().unwrap();
    let told = |at: usize, key: &str| classes[at][key].clone();
    let names: Vec<_> = (0..4).map(|at| told(at, "class")).collect();
    assert_eq!(names, ["miner", "interruptible", "throttle", "guaranteed"], "the first gives first");
    // Of the three miners one is silent, one does not follow and one was never asked: nobody knows whether they would.
    assert_eq!((told(0, "members"), told(0, "sheddable_watts")), (json!(3), json!(0.0)));
    assert_eq!((told(1, "paused"), told(1, "sheddable_watts")), (json!(1), json!(0.0)));
    // From what it was told, for it draws a little more, down to its lowest, or to its contract.
    assert_eq!((told(2, "power_watts"), told(2, "sheddable_watts")), (json!(3_412.0), json!(2_400.0)));
    assert_eq!((told(3, "setpoint_watts"), told(3, "sheddable_watts")), (json!(3_400.0), json!(400.0)));
    // The hall has the paused server alone; what lies below a circuit belongs to it.
    let circuits = &status["cycle"]["circuits"];
    assert_eq!(circuits[2]["classes"].as_array().unwrap().len(), 1);
    assert_eq!(circuits[2]["classes"][0], classes[1]);
    assert_eq!(circuits[0]["classes"], status["cycle"]["classes"]);

    // Nobody asks a server for power on which somebody works.
    publish(&server.exporter, |snapshot, decision| {
        decision.circuits.push(decision.circuits[1].clone());
        snapshot.holds = vec![HeldMiner { miner: MinerId(5), hold: Hold::HandsOff }];
    });
    let (_, status) = server.json("/api/v1/status").await;
    assert_eq!(status["cycle"]["classes"][2]["sheddable_watts"], 0.0);
    // Without servers a circuit says nothing of classes: most sites have none.
    let (_, plain) = serve(running(6).0).await.json("/api/v1/circuits/pcc").await;
    assert_eq!(plain.get("classes"), None);
}

#[tokio::test]
async fn a_miner_says_why_it_stands_where_it_stands() {
    let (exporter, _) = running(6);
    let command = |miner: usize, target: Target| Command {
        miner: MinerId(miner),
        target,
        sequence: 1,
        cause: Cause::Shed,
    };
    publish(&exporter, |_, decision| {
        decision.commands = vec![command(1, Target::Sleep), command(5, Target::Power(Watts::whole(2_000)))];
    });
    publish(&exporter, |_, decision| {
        decision.waiting = Some(Waiting {
            miner: MinerId(1),
            needs: Watts::whole(3_310),
            there: Watts::whole(2_460),
            held: Held::Short,
        });
        decision.miners[5].state = MinerState::Straggler;
    });
    let server = serve(exporter).await;
    let explanation = async |name: &str| {
        let (_, json) = server.json(&format!("/api/v1/miners/{name}")).await;
        assert_eq!(json["name"], name);
        let each = json["explanation"].as_array().unwrap().iter();
        each.map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let asleep = explanation("rack-000-01").await;
    assert_eq!(asleep[0], "It sleeps as it was told to, and draws 3.41 kW.");
    assert!(asleep[1].starts_with("It has to stay asleep for another "), "{asleep:?}");
    assert!(asleep[1].ends_with(" s (min_sleep)."), "{asleep:?}");
    assert!(asleep[2].starts_with("It was told to sleep 0 s ago, at "), "{asleep:?}");
    assert!(
        asleep[2].ends_with("because there was less for it: follows the surplus: 312.4 kW."),
        "{asleep:?}"
    );
    assert_eq!(asleep[3], "It is the next to be woken, and waits for 3.31 kW, 2.46 kW are there.");
    assert!(asleep[4].starts_with("Its circuit container"), "{asleep:?}");
    let away = explanation("rack-000-02").await;
    assert!(away[0].starts_with("It has not answered for 0 s: it counts with 3.6 kW"), "{away:?}");
    let straggler = explanation("rack-000-05").await;
    assert!(straggler[0].starts_with("It does not do what it was told:"), "{straggler:?}");
    assert!(straggler[1].starts_with("It was told to draw at most 2 kW"), "{straggler:?}");
    let (head, problem) = server.json("/api/v1/miners/rack%20%F0%9F%98%80").await;
    assert!(head.starts_with("http/1.1 404"), "{head}");
    assert_eq!(problem["title"], "the site has no miner `rack 😀`");
}

#[tokio::test]
async fn the_last_hours_are_told_in_lists_of_one_length_and_go_on_over_a_reload() {
    let (exporter, _) = running(3);
    publish(&exporter, |_, decision| decision.circuits[0].power = None);
    exporter.reconfigure(Arc::new(metrics_sample::site(2)));
    publish(&exporter, |_, _| {});
    let server = serve(exporter).await;
    let (_, curves) = server.json("/api/v1/history?minutes=60").await;
    assert_eq!(curves["step_seconds"], 10);
    let lists = ["surplus_watts", "power_watts", "import_watts", "budget_watts", "cap_watts", "binding"];
    // The clock of the test may have passed into the next interval.
    let length = curves["binding"].as_array().unwrap().len();
    assert!((1..=2).contains(&length), "{curves}");
    for list in lists {
        assert_eq!(curves[list].as_array().unwrap().len(), length, "{list}: {curves}");
    }
    assert_eq!(curves["import_watts"][0], -7_500.0, "the mean of what was known");
    assert_eq!(curves["power_watts"][0], 304_900.0);
    assert_eq!(curves["cap_watts"][0], 400_000.0, "the breaker, not the surplus");
    assert_eq!(curves["sources"], json!(["follow-surplus"]));
    assert!(curves["from"].as_i64().unwrap() > 1_700_000_000_000);
    for wrong in ["0", "361", "-5", "4.5", ""] {
        let (head, _) = server.json(&format!("/api/v1/history?minutes={wrong}")).await;
        assert!(head.starts_with("http/1.1 400"), "{wrong}: {head}");
    }
    let (exporter, _) = silent(1);
    let (_, curves) = serve(exporter).await.json("/api/v1/history").await;
    assert_eq!(curves["power_watts"], json!([]), "nothing is invented before the first cycle");
}

#[tokio::test]
async fn events_tell_who_there_is_once_and_then_what_changes() {
    let server = serve(running(6).0).await;
    let mut events = Events::open(&server, "").await;
    let roster = events.next("roster").await;
    let generation = roster["generation"].as_str().unwrap().to_owned();
    assert_eq!(roster["states"][3], "asleep");
    assert_eq!(roster["miners"][0], json!(["rack-000-00", 1, "whatsminer-v3", 3_600.0]));
    assert_eq!(roster["circuits"][1], json!({ "name": "container", "parent": 0 }));
    let frame = events.next("frame").await;
    assert_eq!((&frame["generation"], &frame["miners"]["whole"]), (&json!(generation), &json!(true)));
    let rows = frame["miners"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[0], json!([0, 1, 3_412, 3_400, 0]));
    assert_eq!(rows[1], json!([1, 3, 3_412, -1, 0]), "-1 is sleep");
    assert_eq!(rows[4], json!([4, 0, 3_412, null, 0]), "nothing was told");
    let (_, mut status) = server.json("/api/v1/status").await;
    let mut told = frame["status"].clone();
    // Ages grow with the moment of the question.
    for status in [&mut status, &mut told] {
        status["cycle"]["age_seconds"] = Value::Null;
        for meter in status["cycle"]["meters"].as_array_mut().unwrap() {
            meter["age_seconds"] = Value::Null;
        }
    }
    assert_eq!(told, status, "as the status is told");

    // A draw that moves by two percent or less is not told again, a command is.
    publish(&server.exporter, |_, decision| {
        decision.miners[0].draw = Watts::whole(3_412 - 68);
        decision.miners[1].setpoint = Some(Target::Power(Watts::whole(2_500)));
        decision.miners[5].draw = Watts::whole(3_000);
        decision.waiting = Some(Waiting {
            miner: MinerId(4),
            needs: Watts::whole(9),
            there: Watts::whole(1),
            held: Held::Short,
        });
    });
    let frame = events.next("frame").await;
    assert_eq!(frame["miners"]["whole"], false);
    let rows = json!([[1, 3, 3_412, 2_500, 0], [4, 0, 3_412, null, 1], [5, 1, 3_000, 3_400, 0]]);
    assert_eq!(frame["miners"]["rows"], rows);

    // Who comes again and knows who there is, is not told again; the first frame is whole.
    let mut again = Events::open(&server, &format!("?roster={generation}")).await;
    let frame = again.next("frame").await;
    assert_eq!(frame["miners"]["rows"].as_array().unwrap().len(), 6);
    assert!(!again.text.contains("event: roster"), "{}", again.text);

    // A reload is another generation.
    server.exporter.reconfigure(Arc::new(metrics_sample::site(2)));
    let roster = again.next("roster").await;
    assert_ne!(roster["generation"], json!(generation));
    assert_eq!(roster["miners"].as_array().unwrap().len(), 2);
    publish(&server.exporter, |_, _| {});
    assert_eq!(again.next("frame").await["miners"]["rows"].as_array().unwrap().len(), 2);

    // The end of the daemon ends the stream, at once and in order.
    server.cancel.cancel();
    let end = async {
        let mut rest = Vec::new();
        again.stream.read_to_end(&mut rest).await.unwrap();
        rest
    };
    let rest = timeout(Duration::from_secs(60), end).await.expect("the stream ends");
    assert!(rest.ends_with(b"0\r\n\r\n"), "as an answer that is whole");
}

#[tokio::test]
async fn viewers_are_bounded_and_a_slow_one_holds_up_nobody() {
    let server = serve(running(2_000).0).await;
    // None of these reads a byte.
    let mut viewers = Vec::new();
    for _ in 0..16 {
        viewers.push(Events::open(&server, "").await);
    }
    viewers[15].until("event: frame").await;
    let (head, problem) = server.json("/api/v1/events").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 2"), "{head}");
    assert_eq!(problem["title"], "16 viewers are told of changes already");
    for _ in 0..50 {
        publish(&server.exporter, |_, decision| {
            decision.miners.iter_mut().for_each(|miner| miner.draw = Watts::whole(100));
        });
    }
    // Streams are not silent connections: a crowd that comes does not push them out, nor do they keep it out.
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(server.address).await.unwrap());
    }
    let (head, _) = server.get("/healthz").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let mut last = viewers.pop().unwrap();
    last.text.clear();
    publish(&server.exporter, |_, decision| decision.miners[7].draw = Watts::whole(50));
    last.until("event: frame").await;
    // A place is free once its viewer has gone.
    drop(last);
    let freed = async {
        while !server.get("/api/v1/status").await.0.starts_with("http/1.1 200") {}
        loop {
            let mut events = Events::open(&server, "").await;
            events.until("\r\n\r\n").await;
            if events.text.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    timeout(Duration::from_secs(60), freed).await.expect("a place is free again");
}

#[tokio::test]
async fn the_events_of_ten_thousand_miners_are_small_where_little_changes() {
    let (exporter, clock) = running(10_000);
    let mut viewer = Viewer::default();
    let first = viewer.next(&exporter);
    assert!(first.starts_with("event: roster\n") && first.len() < 1_000_000, "{} bytes", first.len());
    assert!(viewer.next(&exporter).is_empty(), "the same cycle is told once");
    publish(&exporter, |_, decision| {
        for index in (0..10_000).step_by(100) {
            decision.miners[index].draw = Watts::whole(1_000);
        }
    });
    let begun = clock.now();
    let next = viewer.next(&exporter);
    let took = clock.now() - begun;
    println!(
        "roster and whole frame: {} bytes; 100 of 10,000: {} bytes in {took:?}",
        first.len(),
        next.len()
    );
    assert_eq!(next.matches("],[").count(), 99, "the rows that changed, and no others");
    assert!(next.len() < 16 * 1024, "{} bytes", next.len());
}

#[tokio::test]
async fn from_elsewhere_nothing_is_read_without_a_token_and_the_page_is() {
    let server = serve(running(2).0).await;
    let ask = async |path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.0.7\r\nConnection: close\r\n\r\n"
        );
        server.exchange(request.as_bytes()).await
    };
    for path in
        ["status", "circuits", "meters", "miners", "miners/rack-000-00", "history", "events", "openapi.json"]
    {
        let answer = ask(&format!("/api/v1/{path}")).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
        assert!(answer.contains("no token is configured"), "{path}: {answer}");
    }
    for path in ["/", "/plain", "/metrics", "/healthz"] {
        assert!(ask(path).await.starts_with("HTTP/1.1 200"), "{path}");
    }
}

#[tokio::test]
async fn whatever_is_not_yes_is_a_problem_with_what_to_do() {
    let server = serve(silent(1).0).await;
    for (method, path, code) in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v2/status", 404),
        ("POST", "/api/v1/status", 405),
        ("DELETE", "/api/v1/circuits/pcc", 405),
        ("GET", "/api/v1/status?miners=2", 400),
        ("GET", "/api/v1/meters?x=1", 400),
        ("GET", "/api/v1/circuits/%FF", 400),
        ("GET", "/api/v1/circuits", 503),
        ("GET", "/api/v1/miners", 503),
        ("GET", "/api/v1/miners/a", 503),
    ] {
        let (head, body) = server.ask(method, path).await;
        assert!(head.starts_with(&format!("http/1.1 {code}")), "{method} {path}: {head}");
        assert!(head.contains("content-type: application/problem+json"), "{method} {path}: {head}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(code)));
        for key in ["title", "detail"] {
            assert!(
                problem[key].as_str().is_some_and(|words| !words.is_empty()),
                "{method} {path}: {problem}"
            );
        }
        if code == 405 {
            assert!(head.contains("allow: get,head"), "{head}");
        }
    }
}

#[tokio::test]
async fn the_document_tells_every_path_that_there_is() {
    let server = serve(running(6).0).await;
    let (head, document) = server.json("/api/v1/openapi.json").await;
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for path in
        ["status", "circuits", "circuits/{name}", "meters", "miners", "miners/{name}", "history", "events"]
    {
        assert!(paths.contains_key(&format!("/api/v1/{path}")), "{path}: {:?}", paths.keys());
    }
    // Handlers come into the router by the document alone, so that what it tells is there. All can be asked.
    for (path, operations) in paths {
        let path = path.replace("circuits/{name}", "circuits/pcc").replace("{name}", "rack-000-00");
        assert!(operations.get("get").is_some(), "{path}");
        if path != "/api/v1/events" {
            let (head, _) = server.get(&path).await;
            assert!(head.starts_with("http/1.1 200"), "{path}: {head}");
        }
    }
    // No reference leads nowhere.
    let text = document.to_string();
    let names = text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for name in names {
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not told");
    }
}
