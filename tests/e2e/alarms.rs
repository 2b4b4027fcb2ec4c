//! Alarms from the meter to whoever is called, and orders that are looked at before they are given.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::bench::{Settings, Site, eventually, scenario, seconds};

/// Whoever is called: keeps what is posted, and fails the first request.
fn hook(address: &str) -> Arc<Mutex<Vec<(String, Value)>>> {
    let kept: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let (listener, to) = (TcpListener::bind(address).unwrap(), kept.clone());
    std::thread::spawn(move || {
        let mut failed = false;
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                let lower = line.to_ascii_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            let whole = reader.read_exact(&mut body).is_ok();
            let code = if std::mem::replace(&mut failed, true) { "204 No Content" } else { "503 Later" };
            let _ = write!(stream, "HTTP/1.1 {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if whole && code.starts_with("204") {
                to.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
            }
        }
    });
    kept
}

const TOKEN: &str = "e2e-operator-token-0123456789";
const HOOK_TOKEN: &str = "e2e-hook-token-9876543210";

fn operator(site: &Site, more: &str) -> String {
    site.write("operator.token", TOKEN);
    site.write("hook.token", HOOK_TOKEN);
    let token = "\n[web.tokens.operator]\ntoken = { file = \"operator.token\" }\nscopes = [\"operator\"]\n";
    site.config(&Settings::default(), &format!("{token}{more}"))
}

fn say(site: &Site, arguments: &[&str]) -> String {
    let output = site.ballast(arguments).output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

#[test]
fn an_alarm_reaches_whoever_is_called_and_outlives_a_restart() {
    let site = Site::new();
    let posts = hook(&format!("{}:8099", site.host(50)));
    let more = r#"
[store]
path = "ballast.db"
[alarms.webhook]
url = "http://NET.50:8099/ballast"
token = { file = "hook.token" }
[alarms.kinds.meter-lost]
after = "1s"
"#;
    site.write("site.toml", &operator(&site, more));
    let events = "[[event]]\nat = \"6s\"\nfor = \"10min\"\nmeter = { name = \"pcc\", fault = \"silent\" }\n";
    let _sim = site.simulate("site.toml", &scenario(events));
    let mut daemon = site.run("site.toml");
    let posted = |event: &str| {
        let posts = posts.lock().unwrap();
        posts
            .iter()
            .find(|(_, body)| body["event"] == event && body["alarm"]["kind"] == "meter-lost")
            .cloned()
    };
    let (head, body) = eventually("whoever is called is told", seconds(60.0), || posted("raised"));
    assert!(head.contains(&format!("Bearer {HOOK_TOKEN}")), "{head}");
    assert_eq!(body["alarm"]["severity"], "critical");
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("[End to end] CRITICAL: pcc does not answer"), "{text}");
    let id = body["alarm"]["id"].to_string();
    let series = "ballast_alarm_raised{kind=\"meter-lost\",severity=\"critical\",subject=\"pcc\"}";
    assert_eq!(daemon.value(series), 1.0);
    let log = daemon.log();
    assert!(log.contains("alarm: pcc does not answer"), "{log}");
    assert!(!log.contains(HOOK_TOKEN) && !log.contains("/ballast\""), "{log}");
    let listed = say(&site, &["alarms", "-c", "site.toml"]);
    assert!(listed.contains("pcc does not answer") && listed.contains("new"), "{listed}");
    let said = say(
        &site,
        &["alarms", "acknowledge", &id, "--by", "Aisha", "--note", "on my way", "-c", "site.toml"],
    );
    assert!(said.contains("is acknowledged by Aisha"), "{said}");
    let (_, body) = eventually("they are told who knows", seconds(60.0), || posted("acknowledged"));
    assert_eq!(body["alarm"]["acknowledged"]["by"], "Aisha");
    eventually("it is on disk", seconds(60.0), || {
        let database = rusqlite::Connection::open(site.path("ballast.db")).unwrap();
        let count: i64 = database
            .query_row("SELECT count(*) FROM alarms WHERE acknowledged_by = 'Aisha'", [], |row| row.get(0))
            .unwrap_or(0);
        (count == 1).then_some(())
    });

    daemon.process.kill();
    let before = posts.lock().unwrap().len();
    let daemon = site.run("site.toml");
    eventually("the alarm stands and is known", seconds(60.0), || {
        let known = "ballast_alarm_acknowledged{kind=\"meter-lost\",severity=\"critical\",subject=\"pcc\"}";
        (daemon.metrics().get(known)? > 0.5).then_some(())
    });
    std::thread::sleep(seconds(5.0));
    let listed = say(&site, &["alarms", "--json", "-c", "site.toml"]);
    let alarms: Value = serde_json::from_str(&listed).unwrap();
    let pcc: Vec<&Value> =
        alarms["alarms"].as_array().unwrap().iter().filter(|alarm| alarm["subject"] == "pcc").collect();
    assert_eq!((pcc.len(), pcc[0]["id"].to_string()), (1, id), "{listed}");
    let again = posts.lock().unwrap().iter().skip(before).any(|(_, body)| body["alarm"]["subject"] == "pcc");
    assert!(!again, "nobody is called twice");
}

#[test]
fn a_preview_foretells_what_the_order_then_does_and_does_nothing_itself() {
    let site = Site::new();
    site.write("site.toml", &operator(&site, ""));
    let sim = site.simulate("site.toml", &scenario(""));
    let daemon = site.run("site.toml");
    daemon.reaches("following", 10.0);
    eventually("the fleet takes the surplus", seconds(20.0), || (sim.truth().fleet > 22_000.0).then_some(()));
    let cut = ["limit", "set", "cut", "--cap", "17 kW", "--circuit", "fleet", "--miners", "-c", "site.toml"];
    let told = say(&site, &[&cut[..], &["--preview", "--json"]].concat());
    let told: Value = serde_json::from_str(&told).unwrap();
    let words = say(&site, &[&cut[..], &["--preview"]].concat());
    assert!(words.contains("the miners of fleet take") && words.contains("Nothing was ordered"), "{words}");
    assert!(say(&site, &["limit", "list", "-c", "site.toml"]).contains("no orders"), "nothing is kept");
    let after = told["after_watts"].as_f64().unwrap();
    assert!((13_900.0..=17_100.0).contains(&after), "{told}");
    assert!(told["met_after_seconds"].as_f64().is_some_and(|met| met < 15.0), "{told}");
    assert!(sim.truth().fleet > 20_000.0, "nothing has moved");
    say(&site, &cut);
    eventually("what was foretold comes", seconds(20.0), || {
        ((sim.truth().fleet - after).abs() < 1_000.0).then_some(())
    });
    let back = say(&site, &["limit", "clear", "cut", "--preview", "--json", "-c", "site.toml"]);
    let back: Value = serde_json::from_str(&back).unwrap();
    assert!(back["after_watts"].as_f64().unwrap() > after + 2_000.0, "{back}");
}

#[test]
fn whoever_is_worked_on_sleeps_until_that_is_ended_whatever_restarts_meanwhile() {
    let site = Site::new();
    site.write("operator.token", TOKEN);
    let more = "\n[web.tokens.operator]\ntoken = { file = \"operator.token\" }\nscopes = [\"operator\"]\n\n[store]\npath = \"ballast.db\"\n";
    let settings = Settings { on_exit: "restore", ..Settings::default() };
    site.write("site.toml", &site.config(&settings, more));
    let sim = site.simulate("site.toml", &scenario(""));
    let mut daemon = site.run("site.toml");
    daemon.reaches("following", 10.0);
    eventually("the fleet takes the surplus", seconds(20.0), || (sim.truth().fleet > 22_000.0).then_some(()));
    let miners: Value = serde_json::from_str(&site.get("/api/v1/miners").unwrap()).unwrap();
    let name = miners["miners"][0]["name"].as_str().unwrap().to_owned();
    let power = || {
        let miner = site.get(&format!("/api/v1/miners/{name}")).unwrap();
        let miner: Value = serde_json::from_str(&miner).unwrap();
        (
            miner["power_watts"].as_f64().unwrap_or(f64::NAN),
            miner["explanation"][0].as_str().unwrap().to_owned(),
        )
    };
    let begin = ["maintenance", "begin", &name, "--by", "Aisha", "--note", "fan 2", "-c", "site.toml"];
    let told = say(&site, &[&begin[..], &["--preview"]].concat());
    assert!(told.contains("1 put to sleep") && told.contains("Nothing was ordered"), "{told}");
    assert!(say(&site, &["maintenance", "-c", "site.toml"]).contains("nothing is in maintenance"));
    assert!(say(&site, &begin).contains("is in maintenance"));
    eventually("it sleeps", seconds(15.0), || (power().0 < 200.0).then_some(()));
    let (_, words) = power();
    assert!(
        words.starts_with("In maintenance by Aisha (fan 2): it is kept asleep until that is ended"),
        "{words}"
    );
    assert_eq!(daemon.value("ballast_maintenance_miners{hold=\"asleep\"}"), 1.0);

    daemon.process.signal("TERM");
    assert_eq!(daemon.process.code(seconds(6.0)), 0);
    let daemon = site.run("site.toml");
    daemon.reaches("following", 15.0);
    std::thread::sleep(seconds(5.0));
    assert!(power().0 < 200.0, "neither the end nor the start has woken it");
    let listed = say(&site, &["maintenance", "-c", "site.toml"]);
    let status = site.ballast(&["status", "-c", "site.toml"]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains(&format!("in maintenance: miner {name} since")), "{status}");
    assert!(status.contains("by Aisha: fan 2"), "{status}");
    let history = say(&site, &["history", "-c", "site.toml", "--last", "2min", "--csv"]);
    assert!(
        history.starts_with("start,seconds,surplus_watts,draw_watts,import_watts,cap_watts\n"),
        "{history}"
    );
    assert!(history.lines().count() > 1, "{history}");
    let quarters = say(&site, &["history", "-c", "site.toml", "--circuit", "fleet", "--json"]);
    assert!(quarters.contains("\"step_seconds\": 900"), "{quarters}");
    let wrong = site.ballast(&["history", "-c", "site.toml", "--circuit", "flete"]).output().unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("there are pcc, fleet"), "{wrong:?}");
    assert!(listed.contains(&name) && listed.contains("Aisha") && listed.contains("fan 2"), "{listed}");
    assert!(
        say(&site, &["maintenance", "end", &name, "--by", "Bilal", "-c", "site.toml"])
            .contains("not in maintenance any more")
    );
    // The others have taken what it left: whether it is worth waking is the control law's affair again.
    eventually("it is one of the fleet", seconds(60.0), || {
        (!power().1.contains("maintenance")).then_some(())
    });
}
