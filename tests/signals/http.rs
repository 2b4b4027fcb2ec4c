//! Orders over HTTP: from the request to the measured power of a simulated site, and everything that can go wrong.

use crate::signals_push;

use std::time::Duration;

use serde_json::Value;
use signals_push::{Bench, HTTP, OPERATOR, OTHER, PUSH, READ};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An aggregator that need not be heard all the time; else as [`HTTP`].
fn calm() -> String {
    HTTP.replace("lost_after = \"2s\"\nfail_safe = \"26 kW\"", "")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_order_brings_the_measured_power_down_and_its_withdrawal_gives_it_back() {
    let bench = Bench::start(1, &calm()).await;
    bench.eventually("everything runs", 60, || bench.import() > 34.0).await;

    let (mut frames, begun) = (bench.daemon.frames(), bench.clock.now());
    let (status, answer) = bench.put("limits/evening", PUSH, r#"{"cap": "28 kW", "revision": 1}"#).await;
    let commanded =
        frames.wait_for(|frame| frame.as_ref().is_some_and(|frame| !frame.snapshot.orders.is_empty()));
    commanded.await.unwrap();
    let took = bench.clock.now() - begun;
    println!("from the request to the commands: {took:?}");
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!((status, answer["outcome"].as_str()), (201, Some("accepted")), "{answer}");
    assert_eq!(answer["limit"]["cap_watts"], 28_000.0);
    assert_eq!(answer["limit"]["circuit"], "pcc");
    bench.eventually("the import is below the cap", 60, || bench.import() < 28.0).await;
    assert_eq!(bench.binding(), "aggregator");
    let (_, status) = bench.ask("GET", "status", READ, None).await;
    let words = "held at 28 kW by the order evening of aggregator until it is taken back";
    assert_eq!(status["cycle"]["binding"]["words"], words);
    assert_eq!(status["cycle"]["circuits"][1]["cap"]["words"], words, "what lies above counts below, too");

    // Nobody but its source, and the operator, sees it; everybody sees it bind.
    assert_eq!(bench.ask("GET", "limits/evening", PUSH, None).await.1["revision"], 1);
    assert_eq!(bench.ask("GET", "limits/evening", OTHER, None).await.0, 404);
    let (_, list) = bench.ask("GET", "limits", READ, None).await;
    assert_eq!(list["limits"][0]["id"], "evening", "{list}");
    assert_eq!(list["sources"][1]["state"], "limited", "{list}");
    assert_eq!(list["sources"][1]["acting"][0]["order"], "evening", "{list}");
    assert_eq!(bench.ask("GET", "orders", READ, None).await.0, 200);

    // The other source caps the miners' own draw, and both bind: the tighter one wins.
    let (status, _) = bench.put("limits/a", OTHER, r#"{"cap_watts": 15000, "duration": "1h"}"#).await;
    assert_eq!(status, 201);
    bench.eventually("the miners are below the other cap", 60, || bench.fleet() < 15.0).await;
    assert_eq!(bench.ask("DELETE", "limits/a", PUSH, None).await.0, 404, "not its own");
    assert_eq!(bench.ask("DELETE", "limits/a", OTHER, None).await.0, 200);
    assert_eq!(bench.ask("DELETE", "limits/evening?revision=0", PUSH, None).await.0, 409);
    assert_eq!(bench.ask("DELETE", "limits/evening?revision=1", PUSH, None).await.0, 200);
    bench.eventually("power returns", 60, || bench.import() > 34.0).await;
    assert_eq!(bench.ask("DELETE", "limits/evening", PUSH, None).await.0, 404);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_loss_of_the_heartbeat_brings_the_fail_safe_and_only_an_order_or_a_list_gives_control_back() {
    let bench = Bench::start(2, HTTP).await;
    bench.until("the fail-safe stands until something is heard", 60, |_| bench.cap() == Some(26.0)).await;
    let (status, _) = bench.put("limits/a", PUSH, r#"{"cap": "36 kW"}"#).await;
    assert_eq!(status, 201);
    bench.until("the order is in force", 60, |_| bench.cap() == Some(36.0)).await;
    // Heartbeats keep it.
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (status, answer) = bench.ask("POST", "heartbeat", PUSH, Some("{}")).await;
        assert_eq!((status, answer["state_before"].as_str()), (200, Some("limited")));
        assert_eq!(bench.cap(), Some(36.0));
    }
    // Ten times as late would be wrong on any machine.
    bench.until("the silence is noticed", 20, |_| bench.cap() == Some(26.0)).await;
    bench.eventually("the import is below the fail-safe", 60, || bench.import() < 26.0).await;
    // To be alive is not to be in control; nor is a list that names what is not known here.
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, None).await.0, 200);
    let (status, answer) = bench.ask("POST", "heartbeat", PUSH, Some(r#"{"limits": ["a", "b"]}"#)).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["title"].as_str().unwrap().contains("`b`"), "{answer}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.cap(), Some(26.0));
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, Some(r#"{"limits": ["a"]}"#)).await.0, 200);
    bench.until("the order rules again", 60, |_| bench.cap() == Some(36.0)).await;
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, Some(r#"{"limits": []}"#)).await.0, 200);
    bench.until("no order stands", 60, |_| bench.cap().is_none()).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_outage_of_a_source_that_need_not_be_heard_keeps_its_orders_to_their_end() {
    let bench = Bench::start(3, &calm()).await;
    let (status, _) = bench.put("limits/a", PUSH, r#"{"cap": "28 kW", "duration": "4s"}"#).await;
    assert_eq!(status, 201);
    bench.until("the order is in force", 60, |_| bench.cap() == Some(28.0)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.cap(), Some(28.0), "nobody has said a word since");
    bench.until("it ends by itself", 60, |_| bench.cap().is_none()).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_restart_stands_at_the_fail_safe_until_the_source_speaks() {
    let mut bench = Bench::start(4, HTTP).await;
    assert_eq!(bench.put("limits/a", PUSH, r#"{"cap": "36 kW"}"#).await.0, 201);
    bench.until("the order is in force", 60, |_| bench.cap() == Some(36.0)).await;
    bench.restart().await;
    bench.until("the fail-safe stands", 60, |_| bench.cap() == Some(26.0)).await;
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, None).await.0, 200);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.cap(), Some(26.0), "a heartbeat alone gives no control back");
    let (status, _) = bench.put("limits/a", PUSH, r#"{"cap": "36 kW"}"#).await;
    assert!(status < 300, "{status}");
    bench.until("the order is in force again", 60, |_| bench.cap() == Some(36.0)).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_bad_value_is_refused_and_the_cap_before_stays() {
    let bench = Bench::start(5, &calm()).await;
    assert_eq!(bench.put("limits/a", PUSH, r#"{"cap": "28 kW", "revision": 1}"#).await.0, 201);
    for (body, code, words) in [
        ("{", 400, "cannot be read as JSON"),
        (r#"{"cap": "28 kw", "revision": 2}"#, 400, "no unit of power"),
        (r#"{"cap": "-1 kW", "revision": 2}"#, 422, "below zero"),
        (r#"{"cap": "28 MW", "revision": 2}"#, 422, "check the unit"),
        (r#"{"cap": "40 kW", "revision": 2, "circuit": "pc"}"#, 422, "no circuit `pc`"),
        (r#"{"cap": "40 kW", "revision": 2, "capp": 1}"#, 400, "unknown key `capp`"),
        (r#"{"reduce_by": "9 MW", "revision": 2}"#, 422, "is above"),
        (
            r#"{"cap": "40 kW", "revision": 2, "valid_until": "2020-01-01T00:00:00Z"}"#,
            422,
            "ends before it begins",
        ),
        (
            r#"{"cap": "40 kW", "revision": 2, "valid_from": "2019-01-01T00:00:00Z", "valid_until": "2020-01-01T00:00:00Z"}"#,
            422,
            "over already",
        ),
    ] {
        let (status, answer) = bench.put("limits/a", PUSH, body).await;
        let error = answer["title"].as_str().unwrap();
        let help = answer["detail"].as_str().unwrap();
        assert!(status == code && error.contains(words) && !help.is_empty(), "{body}: {status} {answer}");
    }
    // The state is that of the latest cycle.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bench.cap(), Some(28.0), "the first cap stands");
    let (_, list) = bench.ask("GET", "limits?source=aggregator", OPERATOR, None).await;
    assert_eq!(list["sources"][0]["state"], "degraded", "{list}");
    assert!(
        list["sources"][0]["trouble"][0].as_str().unwrap().starts_with("could not be obeyed: a: "),
        "{list}"
    );
    // Zero is a value; it makes the source sound again.
    assert_eq!(bench.put("limits/a", PUSH, r#"{"cap_watts": 0, "revision": 2}"#).await.0, 200);
    bench.until("zero is in force", 60, |_| bench.cap() == Some(0.0)).await;
    let (_, list) = bench.ask("GET", "limits?source=aggregator", OPERATOR, None).await;
    assert_eq!(list["sources"][0]["state"], "limited", "{list}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_duplicate_changes_nothing_and_an_older_version_is_refused() {
    let bench = Bench::start(6, &calm()).await;
    let body = r#"{"cap": "28 kW", "duration": "1h", "revision": 5}"#;
    let (status, first) = bench.put("limits/a", PUSH, body).await;
    assert_eq!(status, 201);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (status, again) = bench.put("limits/a", PUSH, body).await;
    assert_eq!((status, again["outcome"].as_str()), (200, Some("duplicate")), "{again}");
    assert_eq!(first["limit"]["valid_until"], again["limit"]["valid_until"]);
    let (status, answer) = bench.put("limits/a", PUSH, r#"{"cap": "50 kW", "revision": 4}"#).await;
    assert_eq!(status, 409, "{answer}");
    let (status, answer) = bench.put("limits/a", PUSH, r#"{"cap": "50 kW", "revision": 5}"#).await;
    assert_eq!(status, 409, "two under one number, and the later is looser: {answer}");
    let (status, _) = bench.put("limits/a", PUSH, r#"{"cap": "20 kW", "revision": 5}"#).await;
    assert_eq!(status, 200, "and the stricter counts");
    // Without a version the latest word counts; the same word again is no news.
    let (_, answer) = bench.put("limits/a", PUSH, r#"{"cap": "30 kW"}"#).await;
    assert_eq!(answer["outcome"], "replaced");
    let (_, answer) = bench.put("limits/a", PUSH, r#"{"cap": "30 kW"}"#).await;
    assert_eq!(answer["outcome"], "duplicate");
    let (_, one) = bench.put("limits/a", PUSH, r#"{"cap": "30 kW", "duration": "10min"}"#).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let (_, two) = bench.put("limits/a", PUSH, r#"{"cap": "30 kW", "duration": "10min"}"#).await;
    assert_ne!(one["limit"]["valid_until"], two["limit"]["valid_until"], "ten more minutes from now on");
    // Taken back, and given again.
    assert_eq!(bench.ask("DELETE", "limits/a", PUSH, None).await.0, 200);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.put("limits/a", PUSH, r#"{"cap": "30 kW"}"#).await.0, 201);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_clock_skew_makes_the_source_degraded_and_windows_wide() {
    let bench = Bench::start(7, &calm()).await;
    let now = jiff::Timestamp::try_from(ballast::clock::wall()).unwrap();
    let after = |seconds: i64| now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    // Their clock is two minutes ahead of ours; what begins in a minute by theirs begins now.
    let body = format!(
        r#"{{"cap": "28 kW", "valid_from": "{}", "valid_until": "{}", "sent_at": "{}"}}"#,
        after(60),
        after(600),
        after(120)
    );
    assert_eq!(bench.put("limits/a", PUSH, &body).await.0, 201);
    bench.until("it begins early", 20, |_| bench.cap() == Some(28.0)).await;
    let (_, list) = bench.ask("GET", "limits?source=aggregator", READ, None).await;
    assert_eq!(list["sources"][0]["state"], "degraded", "{list}");
    assert!(list["sources"][0]["trouble"][0].as_str().unwrap().contains("differ by 1"), "{list}");
    // Set right again, it begins as it says.
    let body = format!(r#"{{"sent_at": "{}"}}"#, after(1));
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, Some(&body)).await.0, 200);
    bench.until("it has not begun", 60, |_| bench.cap().is_none()).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_clock_without_a_calendar_moves_nothing_and_is_said() {
    let bench = Bench::start(12, &calm()).await;
    let now = jiff::Timestamp::try_from(ballast::clock::wall()).unwrap();
    let tonight = now.checked_add(jiff::SignedDuration::from_hours(3)).unwrap();
    let body = format!(r#"{{"cap": "28 kW", "valid_from": "{tonight}", "revision": 1}}"#);
    assert_eq!(bench.put("limits/tonight", PUSH, &body).await.0, 201);
    let (status, answer) =
        bench.put("limits/b", PUSH, r#"{"cap": "30 kW", "sent_at": "1970-01-01T00:00:07Z"}"#).await;
    assert_eq!(status, 422, "{answer}");
    let body = Some(r#"{"limits": [], "sent_at": "1970-01-01T00:00:07Z"}"#);
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, body).await.0, 422);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.cap(), None);
    let (_, one) = bench.ask("GET", "limits/tonight", PUSH, None).await;
    assert_eq!((&one["phase"], &one["withdrawn_at"]), (&"ahead".into(), &Value::Null), "{one}");
    let (_, list) = bench.ask("GET", "limits?source=aggregator", READ, None).await;
    assert_eq!(list["sources"][0]["state"], "degraded", "{list}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_list_that_was_made_before_an_order_does_not_take_it_back() {
    let bench = Bench::start(13, HTTP).await;
    let now = jiff::Timestamp::try_from(ballast::clock::wall()).unwrap();
    let at = |millis: i64| now.checked_add(jiff::SignedDuration::from_millis(millis)).unwrap();
    // The fail-safe of 26 kW stands. What never was is not taken back, and says nothing of what stands.
    bench.until("the fail-safe holds", 60, |_| bench.cap() == Some(26.0)).await;
    assert_eq!(bench.ask("DELETE", "limits/never", PUSH, None).await.0, 404);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.cap(), Some(26.0));
    let put = format!(r#"{{"cap": "20 kW", "sent_at": "{}"}}"#, at(200));
    let (status, answer) = bench.put("limits/a", PUSH, &put).await;
    assert_eq!((status, &answer["stored"]), (201, &false.into()), "nothing is kept here: {answer}");
    let beat = format!(r#"{{"limits": [], "sent_at": "{}"}}"#, at(100));
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, Some(&beat)).await.0, 200);
    bench.until("the order holds", 60, |_| bench.cap() == Some(20.0)).await;
    let late = format!(r#"{{"cap": "60 kW", "sent_at": "{}"}}"#, at(150));
    assert_eq!(bench.put("limits/a", PUSH, &late).await.0, 409, "an older version, come late");
    let beat = format!(r#"{{"limits": [], "sent_at": "{}"}}"#, at(300));
    assert_eq!(bench.ask("POST", "heartbeat", PUSH, Some(&beat)).await.0, 200);
    bench.until("it is taken back", 60, |_| bench.cap().is_none()).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_moves_power_is_reached_without_a_token_that_may() {
    let bench = Bench::start(8, HTTP).await;
    let all = [
        ("PUT", "limits/a", r#"{"cap_watts": 0}"#),
        ("DELETE", "limits/a", ""),
        ("GET", "limits", ""),
        ("GET", "limits/a", ""),
        ("GET", "orders", ""),
        ("POST", "heartbeat", "{}"),
        ("PUT", "lifts/aggregator", r#"{"by": "A. Khan", "duration": "5min"}"#),
        ("DELETE", "lifts/aggregator", ""),
    ];
    let url = |path: &str| format!("http://{}/api/v1/{path}", bench.daemon.address());
    for (method, path, body) in all {
        let plain = bench.http.request(method.parse().unwrap(), url(path));
        let answer = plain.header("content-type", "application/json").body(body).send().await.unwrap();
        let challenge = answer.headers().get("www-authenticate").cloned();
        assert_eq!((answer.status().as_u16(), challenge.is_some()), (401, true), "{method} {path}");
    }
    let body = Some(r#"{"cap_watts": 0}"#);
    assert_eq!(bench.ask("PUT", "limits/a", READ, body).await.0, 403);
    assert_eq!(bench.ask("DELETE", "limits/a", READ, None).await.0, 403);
    assert_eq!(bench.ask("POST", "heartbeat", READ, None).await.0, 403);
    assert_eq!(bench.ask("POST", "heartbeat", OPERATOR, None).await.0, 403);
    for token in [READ, PUSH] {
        let lift = Some(r#"{"by": "A. Khan", "duration": "5min"}"#);
        assert_eq!(bench.ask("PUT", "lifts/other", token, lift).await.0, 403);
        assert_eq!(bench.ask("DELETE", "lifts/other", token, None).await.0, 403);
    }
    assert_eq!(bench.ask("GET", "limits?source=other", PUSH, None).await.0, 403);
    assert!(
        bench.frame().snapshot.orders.iter().all(|cap| cap.active.cap.get() > 0.0),
        "nothing has come through"
    );

    // Guessing ends in 429, and keeps nobody else out.
    let mut last = 0;
    for _ in 0..12 {
        last = bench.ask("GET", "limits", "guess-guess-guess-guess", None).await.0;
    }
    assert_eq!(last, 429);
    assert_eq!(bench.ask("GET", "limits", PUSH, None).await.0, 200);
    // What was open stays open.
    let status = bench.http.get(url("status")).send().await.unwrap();
    assert_eq!(status.status(), 200);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded_in_size_type_and_time() {
    let bench = Bench::start(9, &calm()).await;
    let large = format!(r#"{{"cap": "28 kW"{}}}"#, " ".repeat(20_000));
    assert_eq!(bench.put("limits/a", PUSH, &large).await.0, 413);
    let url = format!("http://{}/api/v1/limits/a", bench.daemon.address());
    let plain = bench.http.put(&url).bearer_auth(PUSH).header("content-type", "text/plain");
    assert_eq!(plain.body(r#"{"cap": "28 kW"}"#).send().await.unwrap().status(), 415);
    assert_eq!(bench.put(&format!("limits/{}", "a".repeat(300)), PUSH, r#"{"cap": "28 kW"}"#).await.0, 400);
    // One that says less than it sends: chunks without an end are cut off at the bound.
    let mut stream = tokio::net::TcpStream::connect(bench.daemon.address()).await.unwrap();
    let head = format!(
        "PUT /api/v1/limits/a HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {PUSH}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
    for _ in 0..5 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert_eq!(bench.cap(), None);
    // A token that asks without end is slowed down.
    let mut codes = Vec::new();
    for _ in 0..60 {
        codes.push(bench.ask("GET", "limits", READ, None).await.0);
    }
    assert!(codes.contains(&429) && codes[..20].iter().all(|code| *code == 200), "{codes:?}");
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_in_the_configuration_nobody_can_order() {
    let bench = Bench::start(10, "").await;
    let (status, answer) = bench.put("limits/a", OPERATOR, r#"{"cap_watts": 0}"#).await;
    assert_eq!(status, 403);
    assert!(answer["title"].as_str().unwrap().contains("no token is configured"), "{answer}");
    assert!(matches!(answer["detail"], Value::String(_)));
    // A reload brings one.
    let config = signals_push::parse(&signals_push::text(10, HTTP));
    bench.daemon.reload(config).await.unwrap();
    assert_eq!(bench.put("limits/a", OPERATOR, r#"{"cap": "28 kW"}"#).await.0, 201);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_from_another_machine_needs_a_token_of_any_scope() {
    let bench = Bench::start(14, &calm()).await;
    let ask = async |token: Option<&str>, path: &str| {
        let url = format!("http://{}/api/v1/{path}", bench.daemon.address());
        // As a proxy of this machine hands a request on.
        let request = bench.http.get(url).header("X-Forwarded-For", "192.0.2.7");
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        request.send().await.unwrap()
    };
    for path in ["status", "circuits", "meters", "miners", "history", "openapi.json"] {
        let refused = ask(None, path).await;
        assert_eq!(refused.status(), 401, "{path}");
        assert!(refused.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{path}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json", "{path}");
        for token in [READ, PUSH, OPERATOR] {
            assert_eq!(ask(Some(token), path).await.status(), 200, "{path}");
        }
    }
    assert_eq!(ask(Some("guess"), "status").await.status(), 401);
    let mut events = ask(Some(READ), "events").await;
    assert_eq!(
        (events.status().as_u16(), events.headers()["content-type"].to_str().unwrap()),
        (200, "text/event-stream")
    );
    assert!(events.chunk().await.unwrap().unwrap().starts_with(b"retry: "));
    drop(events);
    bench.stop().await;
}

/// What is said of a configuration.
fn said(more: &str) -> String {
    use ballast::config::{Options, Secrets, parse};
    let files = [("password", "demo"), ("a.token", PUSH), ("short.token", "too-short"), ("same.token", PUSH)];
    let options = Options { secrets: Secrets::Read, files: &files, environment: &|_| None };
    match parse(&signals_push::text(11, more), std::path::Path::new("orders.toml"), &options) {
        Ok(config) => config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn tokens_that_cannot_be_used_are_told_with_their_place() {
    let http =
        "[signals.push]\nkind = \"http\"\n[signals.peak]\nkind = \"modbus-server\"\nfail_safe = \"0 W\"\n";
    let token = |keys: &str| format!("{http}[web.tokens.a]\n{keys}\n");
    for (keys, words) in [
        ("scopes = [\"read\"]", "has no `token`"),
        ("token = \"abc\"\nscopes = [\"read\"]", "it must be a table"),
        ("token = { file = \"short.token\" }\nscopes = [\"read\"]", "20 to 512 letters"),
        ("token = { file = \"a.token\" }", "has no `scopes`"),
        ("hash = \"sha256:12\"\nscopes = [\"read\"]", "64 hexadecimal digits"),
        ("hash = 5\nscopes = [\"read\"]", "is a bare number"),
        ("token = { file = \"a.token\" }\nhash = \"HASH\"\nscopes = [\"read\"]", "is given twice"),
        (
            "token = { file = \"a.token\" }\nscopes = [\"read\"]\n[web.tokens.b]\nhash = \"HASH\"\nscopes = [\"read\"]",
            "are the same text",
        ),
        ("token = { file = \"a.token\" }\nscopes = []", "may do nothing"),
        ("token = { file = \"a.token\" }\nscopes = [\"reed\"]", "did you mean `read`?"),
        ("token = { file = \"a.token\" }\nscopes = [\"limits\"]", "has no `source`"),
        (
            "token = { file = \"a.token\" }\nscopes = [\"limits\"]\nsource = \"pull\"",
            "there is no source `pull`",
        ),
        (
            "token = { file = \"a.token\" }\nscopes = [\"limits\"]\nsource = \"peak\"",
            "its kind is `modbus-server`",
        ),
        ("token = { file = \"a.token\" }\nscopes = [\"read\"]\nsource = \"push\"", "does not have it"),
        (
            "token = { file = \"a.token\" }\nscopes = [\"limits\", \"operator\"]\nsource = \"push\"",
            "both `limits` and `operator`",
        ),
        ("token = { file = \"a.token\" }\nscopes = [\"read\"]\nscope = 1", "unknown key `scope`"),
        (
            "token = { file = \"a.token\" }\nscopes = [\"read\"]\n[web.tokens.b]\ntoken = { file = \"same.token\" }\n\
             scopes = [\"read\"]",
            "are the same text",
        ),
    ] {
        let hash = ballast::token::Hash::of(PUSH.as_bytes()).to_string();
        let told = said(&token(&keys.replace("HASH", &hash)));
        assert!(told.contains(words) && told.contains("orders.toml:"), "{keys}: {told}");
        assert!(!told.contains(PUSH), "a token is never printed: {told}");
    }
    assert!(said(http).contains("nobody can give the orders of [signals.push]"));
    let open =
        said(&token("token = { file = \"a.token\" }\nscopes = [\"read\"]")).contains("without encryption");
    assert!(!open, "on loopback nobody listens in");
}
