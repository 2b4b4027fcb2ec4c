//! State to a real broker and orders from it: mosquitto on a loopback address, asked and told with its own tools.

use std::process::Command;

use serde_json::Value;

use crate::bench::{Process, Settings, Site, always, eventually, scenario, seconds, skip};

/// Looked for in logs.
pub const SECRET: &str = "broker-password-of-the-e2e-tests";
pub const USER: &str = "site";
/// What topics begin with where the file does not say.
const PREFIX: &str = "ballast/end-to-end";

/// What of the broker's tools is missing here.
pub fn missing() -> Option<&'static str> {
    let there = |program: &str, with: &str| Command::new(program).arg(with).output().is_ok();
    let all = [("mosquitto_pub", "--help"), ("mosquitto_sub", "--help"), ("mosquitto_passwd", "-h")];
    let lacking = all.into_iter().find(|(program, with)| !there(program, with)).map(|(program, _)| program);
    lacking.or_else(|| server().is_none().then_some("mosquitto"))
}

/// Debian keeps it where ordinary accounts do not look.
fn server() -> Option<&'static str> {
    ["mosquitto", "/usr/sbin/mosquitto"]
        .into_iter()
        .find(|name| Command::new(name).arg("-h").output().is_ok())
}

fn run(site: &Site, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(&site.folder).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The broker of a site.
pub struct Broker<'s> {
    site: &'s Site,
    process: Option<Process>,
}

impl<'s> Broker<'s> {
    /// With an account for everybody who comes; `more` is added to its configuration.
    pub fn start(site: &'s Site, more: &str) -> Self {
        run(site, "mosquitto_passwd", &["-b", "-c", "accounts", USER, SECRET]);
        let host = site.host(60);
        let text = format!(
            "user root\npersistence false\nallow_anonymous false\npassword_file accounts\nlistener 1883 {host}\n{more}"
        );
        site.write("mosquitto.conf", &text);
        site.write("broker.password", SECRET);
        let mut broker = Self { site, process: None };
        broker.up();
        broker
    }

    pub fn up(&mut self) {
        let mut command = Command::new(server().unwrap());
        command.args(["-c", "mosquitto.conf"]).current_dir(&self.site.folder);
        self.process = Some(self.site.spawn("mosquitto", &mut command));
        let address = format!("{}:1883", self.site.host(60));
        eventually("the broker listens", seconds(60.0), || std::net::TcpStream::connect(&address).ok());
    }

    pub fn down(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", &self.site.host(60), "-p", "1883", "-u", USER, "-P", SECRET]);
        command.current_dir(&self.site.folder);
        command
    }

    /// Listens to everything from now on, in `NAME.out`: topic, a space and the payload, line by line.
    fn listen(&self, name: &'static str) -> Process {
        let mut command = self.tool("mosquitto_sub");
        command.args(["-q", "1", "-v", "-t", "ballast/#", "-t", "homeassistant/#"]);
        self.site.spawn(name, &mut command)
    }

    fn publish(&self, topic: &str, payload: &str, more: &[&str]) {
        self.site.write("payload", payload);
        let mut command = self.tool("mosquitto_pub");
        command.args(["-q", "1", "-t", &format!("{PREFIX}/{topic}"), "-f", "payload"]).args(more);
        assert!(command.status().unwrap().success(), "{topic}");
    }

    /// What the broker keeps under a topic; `None` for nothing.
    fn kept(&self, topic: &str) -> Option<String> {
        let mut command = self.tool("mosquitto_sub");
        command.args(["-C", "1", "-W", "1", "-t", topic]);
        let said = command.output().unwrap().stdout;
        Some(String::from_utf8_lossy(&said).trim().to_owned()).filter(|text| !text.is_empty())
    }
}

/// What was heard last at a topic.
fn last(site: &Site, name: &str, topic: &str) -> Option<Value> {
    let said = site.read(&format!("{name}.out"));
    let line = said.lines().rfind(|line| line.split(' ').next() == Some(topic))?;
    serde_json::from_str(line.split_once(' ')?.1).ok()
}

/// So many seconds from now, to the millisecond, as answers have it.
fn stamp(seconds: i64) -> String {
    let now = jiff::Timestamp::try_from(ballast::clock::wall()).unwrap().as_millisecond();
    jiff::Timestamp::from_millisecond(now + seconds * 1_000).unwrap().to_string()
}

/// The answer to the message that was sent at this moment.
fn answer(site: &Site, sent: &str) -> Value {
    let topic = format!("{PREFIX}/limit/result ");
    eventually("the message is answered", seconds(60.0), || {
        let said = site.read("sub.out");
        let mut answers =
            said.lines().filter_map(|line| serde_json::from_str(line.strip_prefix(&topic)?).ok());
        answers.rfind(|answer: &Value| answer["sent_at"] == sent)
    })
}

fn plain() -> String {
    String::from(
        "\n[mqtt]\nbroker = \"mqtt://NET.60\"\nperiod = \"1s\"\ncredentials = { username = \"site\", password_file = \
         \"broker.password\" }\n",
    )
}

/// A dispatcher that must be heard within seconds and caps the miners.
fn dispatcher(lost_after: &str) -> String {
    format!(
        "{}\n[store]\npath = \"ballast.db\"\n[signals.dispatcher]\nkind = \"mqtt\"\ncircuit = \"fleet\"\ncaps = \
         \"miners\"\nlost_after = \"{lost_after}\"\nfail_safe = \"15 kW\"\n",
        plain()
    )
}

fn surplus() -> Settings {
    Settings::default()
}

#[test]
fn a_broker_is_told_what_the_interface_tells_and_says_offline_when_the_daemon_is_killed() {
    if let Some(program) = missing() {
        return skip(&format!("state over MQTT ({program} is missing)"));
    }
    let site = Site::new();
    let broker = Broker::start(&site, "");
    let gone = format!("{PREFIX}/circuits/of-last-year");
    broker.publish("circuits/of-last-year", "{}", &["-r"]);
    broker.publish("of-somebody-else", "{}", &["-r"]);
    site.write("site.toml", &site.config(&surplus(), &plain()));
    let sim = site.simulate("site.toml", &scenario(""));
    let _sub = broker.listen("sub");
    let mut daemon = site.run("site.toml");
    daemon.reaches("following", 10.0);
    let topic = format!("{PREFIX}/site");
    eventually("the fleet takes the surplus", seconds(20.0), || (sim.truth().fleet > 22_000.0).then_some(()));
    eventually("the broker is told", seconds(60.0), || {
        let told = last(&site, "sub", &topic)?;
        let near = (told["cycle"]["fleet"]["power_watts"].as_f64()? - sim.truth().fleet).abs() < 1_500.0;
        (near && told["mode"] == "following").then_some(())
    });
    // The same words and the same keys as over HTTP; what has a topic of its own is left out there.
    let told = last(&site, "sub", &topic).unwrap();
    let asked: Value = serde_json::from_str(&site.get("/api/v1/status").unwrap()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let of_cycle = keys(&asked["cycle"]).into_iter().filter(|key| key != "circuits" && key != "meters");
    assert_eq!(keys(&told["cycle"]), of_cycle.collect::<Vec<_>>());
    let circuit = last(&site, "sub", &format!("{PREFIX}/circuits/pcc")).unwrap();
    assert_eq!(keys(&circuit), keys(&asked["cycle"]["circuits"][0]));
    assert!(!circuit["cap"]["words"].as_str().unwrap().is_empty(), "{circuit}");
    assert!(last(&site, "sub", &format!("{PREFIX}/meters/pcc")).unwrap()["power_watts"].is_f64());
    assert!(last(&site, "sub", &format!("{PREFIX}/alarms")).unwrap()["alarms"].is_array());
    assert!(broker.kept(&format!("{PREFIX}/availability")).is_some_and(|word| word == "online"));

    // Home Assistant finds what it is told to look for.
    let said = site.read("sub.out");
    let configs: Vec<(String, Value)> = said
        .lines()
        .filter(|line| line.starts_with("homeassistant/"))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(topic, text)| (topic.to_owned(), serde_json::from_str(text).unwrap()))
        .collect();
    let mut ids: Vec<&str> =
        configs.iter().map(|(_, config)| config["unique_id"].as_str().unwrap()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert!(count > 20 && ids.len() == count, "{count} entities, {} ids", ids.len());
    for (topic, config) in &configs {
        let at = config["state_topic"].as_str().unwrap();
        assert!(last(&site, "sub", at).is_some(), "{topic}: nothing is told at {at}");
        assert_eq!(config["availability_topic"], format!("{PREFIX}/availability"), "{topic}");
        assert_eq!(config["device"]["identifiers"][0], "ballast_end-to-end", "{topic}");
    }
    let find = |id: &str| &configs.iter().find(|(_, config)| config["unique_id"] == id).unwrap().1;
    let power = find("ballast_end-to-end_fleet_power");
    assert_eq!((&power["device_class"], &power["unit_of_measurement"]), (&"power".into(), &"W".into()));
    assert_eq!(find("ballast_end-to-end_alarm")["device_class"], "problem");
    // What an earlier configuration left is taken away; what is somebody else's stays.
    eventually("what was left behind is gone", seconds(60.0), || broker.kept(&gone).is_none().then_some(()));
    assert!(broker.kept(&format!("{PREFIX}/of-somebody-else")).is_some());
    assert!(
        daemon.value("ballast_mqtt_connected") > 0.5 && daemon.value("ballast_mqtt_published_total") > 30.0
    );

    daemon.process.kill();
    let availability = format!("{PREFIX}/availability offline");
    eventually("the last will is heard", seconds(5.0), || {
        site.read("sub.out").contains(&availability).then_some(())
    });
    // Without discovery nothing of it stays.
    site.write("site.toml", &site.config(&surplus(), &format!("{}discovery = false\n", plain())));
    let mut daemon = site.run("site.toml");
    let entity = "homeassistant/sensor/ballast_end-to-end/fleet_power/config";
    eventually("no entity is left", seconds(60.0), || broker.kept(entity).is_none().then_some(()));
    // An orderly end says so, too.
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.code(seconds(6.0)), 0);
    assert!(broker.kept(&format!("{PREFIX}/availability")).is_some_and(|word| word == "offline"));
    let log = site.read("run.out") + &site.read("run.err");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn an_order_over_mqtt_acts_and_is_confirmed_and_one_that_is_old_or_retained_or_garbage_does_not() {
    if let Some(program) = missing() {
        return skip(&format!("orders over MQTT ({program} is missing)"));
    }
    let site = Site::new();
    let broker = Broker::start(&site, "");
    // Was kept by the broker before the daemon came.
    let old = format!(r#"{{"id": "kept", "cap": "16 kW", "sent_at": "{}"}}"#, stamp(0));
    broker.publish("limit/set", &old, &["-r"]);
    let patient = dispatcher("10min").replace("lost_after", "oldest_message = \"5min\"\nlost_after");
    site.write("site.toml", &site.config(&surplus(), &patient));
    let sim = site.simulate("site.toml", &scenario(""));
    let _sub = broker.listen("sub");
    let mut daemon = site.run("site.toml");
    daemon.reaches("fail-safe", 15.0);
    eventually("nothing is more than the fail-safe before somebody is heard", seconds(20.0), || {
        (sim.truth().fleet < 15_500.0).then_some(())
    });
    let give = |id: &str, cap: &str, more: &str| {
        let sent = stamp(0);
        let body = format!(r#"{{"id": "{id}", "cap": "{cap}", "sent_at": "{sent}"{more}}}"#);
        broker.publish("limit/set", &body, &[]);
        (sent, body)
    };
    let (sent, _) = give("wide", "29 kW", "");
    let told = answer(&site, &sent);
    assert_eq!(
        (&told["status"], &told["outcome"], &told["stored"]),
        (&201.into(), &"accepted".into(), &true.into())
    );
    assert_eq!((&told["id"], &told["limit"]["source"]), (&"wide".into(), &"dispatcher".into()), "{told}");
    eventually("control is given back", seconds(30.0), || (sim.truth().fleet > 20_000.0).then_some(()));
    let before = stamp(-1);
    let (sent, body) = give("evening", "17 kW", r#", "duration": "1h", "by": "A. Khan""#);
    let first = answer(&site, &sent);
    eventually("it acts", seconds(20.0), || (sim.truth().fleet < 17_200.0).then_some(()));
    let binding =
        || last(&site, "sub", &format!("{PREFIX}/site")).unwrap()["cycle"]["binding"]["words"].to_string();
    eventually("and is told", seconds(60.0), || binding().contains("evening of dispatcher").then_some(()));

    // The same message again is the same order, and does not hold for longer.
    broker.publish("limit/set", &body, &[]);
    let again = eventually("it is known", seconds(60.0), || {
        Some(answer(&site, &sent)).filter(|answer| answer["outcome"] == "duplicate")
    });
    assert_eq!(first["limit"]["valid_until"], again["limit"]["valid_until"]);

    // None of these moves anything.
    for (what, body, more, status) in [
        (
            "too old",
            format!(r#"{{"id": "evening", "cap": "29 kW", "sent_at": "{}"}}"#, stamp(-400)),
            &[][..],
            422,
        ),
        (
            "a clock ahead",
            format!(r#"{{"id": "evening", "cap": "29 kW", "sent_at": "{}"}}"#, stamp(900)),
            &[],
            422,
        ),
        (
            "before the other",
            format!(r#"{{"id": "evening", "cap": "29 kW", "sent_at": "{}"}}"#, stamp(-30)),
            &[],
            409,
        ),
        (
            "retained",
            format!(r#"{{"id": "evening", "cap": "29 kW", "sent_at": "{}"}}"#, stamp(0)),
            &["-r"],
            422,
        ),
        ("no time", String::from(r#"{"id": "evening", "cap": "29 kW"}"#), &[], 400),
        ("no name", format!(r#"{{"cap": "29 kW", "sent_at": "{}"}}"#, stamp(0)), &[], 400),
        (
            "a key too many",
            format!(r#"{{"id": "evening", "cap": "29 kW", "x": 1, "sent_at": "{}"}}"#, stamp(0)),
            &[],
            400,
        ),
        ("no JSON", String::from("\u{0}\u{1} garbage"), &[], 400),
        ("nothing", String::new(), &["-n"], 400),
        ("large", format!(r#"{{"id": "{}"}}"#, "x".repeat(20_000)), &[], 413),
        ("huge, which the broker keeps from us", format!(r#"{{"id": "{}"}}"#, "x".repeat(1_000_000)), &[], 0),
    ] {
        let answers = || site.read("sub.out").matches("/limit/result ").count();
        let before = answers();
        if more == ["-n"] {
            let mut command = broker.tool("mosquitto_pub");
            let topic = format!("{PREFIX}/limit/set");
            assert!(command.args(["-q", "1", "-n", "-t", &topic]).status().unwrap().success());
        } else {
            broker.publish("limit/set", &body, more);
        }
        if status == 0 {
            continue;
        }
        eventually(what, seconds(5.0), || (answers() > before).then_some(()));
        let told = last(&site, "sub", &format!("{PREFIX}/limit/result")).unwrap();
        assert_eq!(told["status"], status, "{what}: {told}");
        assert!(
            !told["title"].as_str().unwrap().is_empty() && !told["detail"].as_str().unwrap().is_empty(),
            "{told}"
        );
    }
    always("the order holds", seconds(2.0), || sim.truth().fleet, |fleet| *fleet < 17_500.0);
    assert!(daemon.value("ballast_mqtt_messages_total{result=\"refused\"}") >= 10.0);

    // What was kept by the broker does nothing to a daemon that comes back, and what was ordered stands.
    daemon.process.kill();
    let mut daemon = site.run("site.toml");
    daemon.reaches("fail-safe", 15.0);
    eventually("it is connected", seconds(60.0), || {
        (daemon.value("ballast_mqtt_connected") > 0.5).then_some(())
    });
    let counts = || {
        ["done", "refused"].map(|it| daemon.value(&format!("ballast_mqtt_messages_total{{result=\"{it}\"}}")))
    };
    always("the retained order is not even looked at", seconds(3.0), counts, |counts| *counts == [0.0, 0.0]);
    assert!(!site.read("sub.out").contains("\"id\":\"kept\""));
    let beat = stamp(0);
    broker.publish(
        "limit/heartbeat",
        &format!(r#"{{"limits": ["wide", "evening"], "sent_at": "{beat}"}}"#),
        &[],
    );
    assert_eq!(answer(&site, &beat)["outcome"], "heard");
    always("the order holds over the restart", seconds(2.0), || sim.truth().fleet, |fleet| *fleet < 17_500.0);
    // One that was sent before the order takes nothing back, after a restart neither.
    broker.publish("limit/clear", &format!(r#"{{"id": "evening", "sent_at": "{before}"}}"#), &[]);
    assert_eq!(answer(&site, &before)["status"], 409);
    let sent = stamp(0);
    broker.publish("limit/clear", &format!(r#"{{"id": "evening", "sent_at": "{sent}"}}"#), &[]);
    assert_eq!(answer(&site, &sent)["outcome"], "withdrawn");
    eventually("power returns", seconds(30.0), || (sim.truth().fleet > 20_000.0).then_some(()));
    // And does not come back when the broker delivers the order again.
    broker.publish("limit/set", &body, &[]);
    always("what was taken back stays away", seconds(2.0), || sim.truth().fleet, |fleet| *fleet > 19_000.0);
    // Whoever counts versions goes on counting after taking one back without saying which, known or not.
    let sent = stamp(0);
    broker.publish("limit/clear", &format!(r#"{{"id": "counted", "sent_at": "{sent}"}}"#), &[]);
    assert_eq!(answer(&site, &sent)["status"], 404);
    let (sent, _) = give("counted", "28 kW", r#", "revision": 1"#);
    assert_eq!(answer(&site, &sent)["outcome"], "accepted");
    let sent = stamp(0);
    broker.publish("limit/clear", &format!(r#"{{"id": "counted", "sent_at": "{sent}"}}"#), &[]);
    assert_eq!(answer(&site, &sent)["outcome"], "withdrawn");
    let (sent, _) = give("counted", "27 kW", r#", "revision": 2"#);
    assert_eq!(answer(&site, &sent)["outcome"], "accepted");
    // And one that comes late takes nothing back.
    let late = stamp(-20);
    broker.publish("limit/clear", &format!(r#"{{"id": "counted", "sent_at": "{late}"}}"#), &[]);
    assert_eq!(answer(&site, &late)["status"], 409);
    daemon.process.signal("TERM");
    assert_eq!(daemon.process.code(seconds(6.0)), 0);
}

#[test]
fn a_lost_broker_brings_the_fail_safe_of_its_source_and_its_return_gives_control_back() {
    if let Some(program) = missing() {
        return skip(&format!("a lost broker of MQTT ({program} is missing)"));
    }
    let site = Site::new();
    let mut broker = Broker::start(&site, "");
    site.write("site.toml", &site.config(&surplus(), &dispatcher("4s")));
    let sim = site.simulate("site.toml", &scenario(""));
    let _sub = broker.listen("sub");
    let daemon = site.run("site.toml");
    // The dispatcher says twice a second that it lives, and what stands.
    let line = format!(
        "while :; do mosquitto_pub -h {host} -u {USER} -P {SECRET} -t {PREFIX}/limit/heartbeat -m \
         \"{{\\\"limits\\\": [], \\\"sent_at\\\": \\\"$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)\\\"}}\"; sleep 0.5; done",
        host = site.host(60)
    );
    let _dispatcher = site.spawn("dispatcher", Command::new("sh").args(["-c", &line]));
    eventually("the fleet takes the surplus", seconds(40.0), || (sim.truth().fleet > 21_000.0).then_some(()));
    let cycles = || daemon.value("ballast_cycle_duration_seconds_count");
    broker.down();
    eventually("the fail-safe is obeyed", seconds(25.0), || (sim.truth().fleet < 15_500.0).then_some(()));
    assert!(daemon.value("ballast_mqtt_connected") < 0.5);
    let before = cycles();
    eventually("control goes on", seconds(5.0), || (cycles() > before + 4.0).then_some(()));
    broker.up();
    let _again = broker.listen("again");
    eventually("the broker is told again", seconds(60.0), || last(&site, "again", &format!("{PREFIX}/site")));
    eventually("control is given back", seconds(40.0), || (sim.truth().fleet > 21_000.0).then_some(()));
}

/// A certificate of an authority of this test's own, for an address.
fn certificates(site: &Site) -> bool {
    if Command::new("openssl").arg("version").output().is_err() {
        return false;
    }
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout"];
    let with = |rest: &[&'static str]| [&new[..], rest].concat();
    run(
        site,
        "openssl",
        &with(&["ca.key", "-x509", "-out", "ca.pem", "-subj", "/CN=authority of a test", "-days", "2"]),
    );
    site.write("server.ext", &format!("subjectAltName = IP:{}\n", site.host(60)));
    site.write("client.ext", "extendedKeyUsage = clientAuth\n");
    for (name, subject) in [("server", "/CN=broker"), ("client", "/CN=site")] {
        let arguments =
            [new.as_slice(), &[&format!("{name}.key"), "-out", &format!("{name}.csr"), "-subj", subject]];
        run(site, "openssl", &arguments.concat());
        let [request, certificate, extension] = ["csr", "pem", "ext"].map(|end| format!("{name}.{end}"));
        let sign =
            ["x509", "-req", "-in", &request, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out"];
        run(site, "openssl", &[&sign[..], &[&certificate, "-days", "2", "-extfile", &extension]].concat());
    }
    true
}

#[test]
fn a_broker_over_tls_must_show_its_certificate_and_may_ask_for_ours() {
    if let Some(program) = missing() {
        return skip(&format!("MQTT over TLS ({program} is missing)"));
    }
    let site = Site::new();
    if !certificates(&site) {
        return skip("MQTT over TLS (openssl is missing)");
    }
    let tls = format!(
        "listener 8883 {}\ncafile ca.pem\ncertfile server.pem\nkeyfile server.key\nrequire_certificate true\n",
        site.host(60)
    );
    let broker = Broker::start(&site, &tls);
    let ours = "\n[mqtt]\nbroker = \"mqtts://NET.60\"\nperiod = \"1s\"\ncertificate_file = \"client.pem\"\nkey_file = \
                \"client.key\"\ncredentials = { username = \"site\", password_file = \"broker.password\" }\n";
    let _sub = broker.listen("sub");
    // The authorities of this machine do not know the broker.
    site.write("site.toml", &site.config(&surplus(), ours));
    let _sim = site.simulate("site.toml", &scenario(""));
    let daemon = site.run("site.toml");
    eventually("nobody is believed whom nobody vouches for", seconds(10.0), || {
        let log = daemon.log();
        (log.contains("is not connected") && log.contains("ertificate")).then_some(())
    });
    assert!(!site.read("sub.out").contains("online"));
    site.write("site.toml", &site.config(&surplus(), &format!("{ours}ca = \"ca.pem\"\n")));
    daemon.process.signal("HUP");
    eventually("state comes over TLS", seconds(60.0), || last(&site, "sub", &format!("{PREFIX}/site")));
    assert!(daemon.value("ballast_mqtt_connected") > 0.5);
    let log = daemon.log();
    assert!(!log.contains(SECRET) && !log.contains("PRIVATE KEY"), "{log}");
}
